//! What scripts say, by what a reader would say that they say.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{SelectItem, SetExpr};

use super::*;
use crate::error::Script;

mod arbitrary;
mod errors;
mod limits;
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

/// A query as text, without the names that columns without any are given.
fn plain(query: &Query) -> String {
    let mut ast = query.ast.clone();
    let mut body = ast.body.as_mut();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left.as_mut();
    }
    if let SetExpr::Select(select) = body {
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { expr, alias } = item
                && alias.quote_style == Some('"')
            {
                *item = SelectItem::UnnamedExpr(expr.clone());
            }
        }
    }
    ast.to_string()
}
