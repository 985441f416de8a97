//! A query and its tail.
//!
//! sqlparser would read `EMIT` as an alias: the tail is cut off before it sees the
//! query.

use std::ops::Range;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::interval::{FixedInterval, fixed_nanos};
use super::statement::{Emit, Query};
use super::{clauses, names, windows};
use crate::error::{Error, ErrorKind, Result, nearest};

const EMIT_FORMS: &str =
    "write EMIT ON WINDOW CLOSE, EMIT CHANGES or EMIT EVERY INTERVAL '10' SECOND";

impl Cursor<'_> {
    /// Whether a query starts here.
    pub(super) fn at_query(&self) -> bool {
        (["SELECT", "WITH", "VALUES", "FROM"].iter()).any(|word| self.at_words(&[word]))
            || (self.at_words(&["TABLE"]) && !self.at_call("TABLE"))
            || self.peek() == Some(&Token::LParen)
    }

    /// A query that takes all tokens that are left.
    pub(super) fn query(&mut self) -> Result<Query> {
        let rest = self.rest();
        if rest.is_empty() {
            return Err(self.expected("a query"));
        }
        let span = self.bytes_from(rest.start);
        let cut = self.tail_start(&rest);
        let mut ast = match self.until(cut).body() {
            Ok(ast) => ast,
            Err(error) => return Err(self.error_of_subquery(rest.start..cut).unwrap_or(error)),
        };
        self.skip_to(cut);
        let (emit, allow_lateness) = self.tail()?;
        let positions = self.positions();
        clauses::expand(&mut ast, positions)?;
        // Before a function of a window becomes a column of it, which has a name.
        names::name_columns(&mut ast, positions, &(rest.start..cut));
        let windows = windows::canonical(&mut ast, positions)?;
        Ok(Query {
            ast,
            windows,
            emit,
            allow_lateness,
            span,
            positions: positions.clone(),
        })
    }

    /// A query without a tail.
    fn body(&mut self) -> Result<ast::Query> {
        let query = self.parsed(|parser| parser.parse_query())?;
        self.finish()?;
        Ok(*query)
    }

    /// The error of the innermost subquery that is wrong by itself.
    ///
    /// sqlparser tries several readings of a parenthesis, and reports what was wrong
    /// with the last one, far from the word that is wrong in the subquery.
    fn error_of_subquery(&self, within: Range<usize>) -> Option<Error> {
        let tokens = self.positions().tokens();
        let mut open = vec![];
        for index in within {
            match tokens[index].token {
                Token::LParen => open.push(index),
                Token::RParen => {
                    let start = open.pop()? + 1;
                    let mut inside = Cursor::new(self.positions(), start..index);
                    let is_query = ["SELECT", "WITH"]
                        .iter()
                        .any(|word| inside.at_words(&[word]));
                    if is_query && let Err(error) = inside.body() {
                        return Some(error);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The first token of the tail, outside parentheses.
    fn tail_start(&self, rest: &Range<usize>) -> usize {
        let tokens = self.positions().tokens();
        let word = |index: usize| match tokens.get(index).map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() && index < rest.end => {
                word.value.to_uppercase()
            }
            _ => String::new(),
        };
        let mut depth = 0usize;
        for index in rest.clone() {
            match tokens[index].token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            let follows = word(index + 1);
            let starts = match word(index).as_str() {
                // A column or an alias of that name is followed by none of these.
                "EMIT" => {
                    // `JOIN t emit ON …` is a table's alias.
                    follows == "ON"
                        && (index + 2 == rest.end
                            || nearest(&word(index + 2), ["WINDOW"]).is_some())
                        || nearest(&follows, ["CHANGES", "EVERY", "WINDOW", "FINAL"]).is_some()
                }
                "ALLOW" => nearest(&follows, ["LATENESS"]).is_some(),
                _ => false,
            };
            if depth == 0 && starts && index > rest.start {
                return index;
            }
        }
        rest.end
    }

    /// `[EMIT …] [ALLOW LATENESS …]`, in either order.
    fn tail(&mut self) -> Result<(Emit, Option<FixedInterval>)> {
        let (mut emit, mut allow_lateness) = (Emit::Default, None);
        while !self.at_end() {
            let start = self.here();
            if self.eat_word("EMIT") {
                let mode = self.emit()?;
                if emit != Emit::Default {
                    return Err(self.error(ErrorKind::Syntax, "EMIT is given twice", start));
                }
                emit = mode;
            } else if self.eat_word("ALLOW") {
                if !self.eat_word("LATENESS") {
                    return Err(self
                        .expected("LATENESS")
                        .help("write ALLOW LATENESS INTERVAL '1' HOUR"));
                }
                let lateness = self.fixed_interval("ALLOW LATENESS INTERVAL '1' HOUR")?;
                if allow_lateness.replace(lateness).is_some() {
                    let message = "ALLOW LATENESS is given twice";
                    return Err(self.error(ErrorKind::Syntax, message, start));
                }
            } else {
                return Err(self
                    .expected("the end of the statement")
                    .help("EMIT and ALLOW LATENESS come last"));
            }
        }
        Ok((emit, allow_lateness))
    }

    fn emit(&mut self) -> Result<Emit> {
        if self.eat_word("CHANGES") {
            return Ok(Emit::Changes);
        }
        if self.eat_words(&["ON", "WINDOW", "CLOSE"]) {
            return Ok(Emit::OnWindowClose);
        }
        if self.eat_word("EVERY") {
            return Ok(Emit::Every(
                self.fixed_interval("EMIT EVERY INTERVAL '10' SECOND")?,
            ));
        }
        let message = match self.at_end() {
            true => "the statement ends after EMIT".to_owned(),
            false => format!("EMIT {} is not known", self.text(&self.here())),
        };
        Err(self
            .error(ErrorKind::Syntax, message, self.here())
            .help(EMIT_FORMS))
    }

    /// An interval without calendar units.
    fn fixed_interval(&mut self, form: &str) -> Result<FixedInterval> {
        let start = self.here().start;
        let expr = self.expr()?;
        let span = start..self.end_of_last();
        match fixed_nanos(&expr) {
            Some(nanos) => Ok(FixedInterval { nanos, span }),
            None => {
                let message = "a constant interval of days or less is expected here";
                Err(self
                    .error(ErrorKind::Syntax, message, span)
                    .help(format!("write {form}")))
            }
        }
    }
}
