//! What scripts say, by what a reader would say that they say.

use std::sync::Arc;

use super::*;
use crate::error::Script;

mod arbitrary;
mod errors;
mod plans;
mod statements;
mod windows;

fn script(text: &str) -> Arc<Script> {
    Arc::new(Script {
        name: "sql".into(),
        text: text.into(),
    })
}

fn parse(text: &str) -> Vec<Statement> {
    match parse_script(&script(text)) {
        Ok(statements) => statements,
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn one(text: &str) -> StatementKind {
    let mut statements = parse(text);
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0).kind
}

fn query(text: &str) -> Query {
    match one(text) {
        StatementKind::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

fn error(text: &str) -> String {
    match parse_script(&script(text)) {
        Ok(statements) => panic!("{statements:?}"),
        Err(error) => error.to_string(),
    }
}
