//! How deep a statement is nested, before anything recurses over it.
//!
//! sqlparser counts parentheses, but reads `a + b + c + …` in a loop, into a tree that
//! is as deep as the chain is long. Whoever walks the tree later would run out of stack.
//!
//! ```text
//!  a = 1 OR b = 2 OR (c + d) > 3          chain of OR: 2
//!  └─ 1 ─┘   └ 1 ┘   └─ 1+1 ─┘            longest operand: 2       depth ≤ 4
//! ```
//!
//! The depth is bounded from above by the tokens alone, so that no tree is made.
//!
//! What follows INTERVAL sqlparser reads twice where it cannot be an interval, and so what
//! is nested in that four times, and so on: computed intervals are counted apart.

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::positions::Positions;
use crate::error::{Error, ErrorKind, Result};

/// How deep expressions, joins and UNIONs of a statement may be nested together.
pub(super) const DEPTH_MAX: usize = 500;

/// How many intervals that are not literals may be nested in each other.
pub(super) const INTERVALS_MAX: usize = 8;

/// Refuses a statement that is nested deeper than [`DEPTH_MAX`], or its computed intervals
/// deeper than [`INTERVALS_MAX`].
pub(super) fn check(positions: &Positions, within: &Range<usize>) -> Result<()> {
    let mut levels = vec![Level::default()];
    for index in within.clone() {
        match &positions.tokens()[index].token {
            Token::LParen | Token::LBracket | Token::LBrace => levels.push(Level::default()),
            Token::RParen | Token::RBracket | Token::RBrace => close(&mut levels),
            Token::Word(word) if word.quote_style.is_none() => {
                match word.value.to_uppercase().as_str() {
                    "CASE" => levels.push(Level {
                        is_case: true,
                        ..Level::default()
                    }),
                    "INTERVAL" if is_computed(positions, index, within) => {
                        top(&mut levels).intervals += 1;
                        let nested: usize = levels.iter().map(|level| level.intervals).sum();
                        if nested > INTERVALS_MAX {
                            let message =
                                format!("intervals are nested deeper than {INTERVALS_MAX} levels");
                            return Err(Error::new(ErrorKind::Limit, message)
                                .at(positions.token_bytes(index))
                                .in_script(positions.script())
                                .help(
                                    "write INTERVAL '5' SECOND; a column is no interval's length",
                                ));
                        }
                    }
                    "END" if top(&mut levels).is_case => close(&mut levels),
                    word => top(&mut levels).word(word),
                }
            }
            Token::Comma => top(&mut levels).comma(),
            Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::Period
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_) => {}
            // Texts in their rarer forms count too: the bound stays one from above.
            _ => top(&mut levels).operators += 1,
        }
        if top(&mut levels).depth() > DEPTH_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("the statement is nested deeper than {DEPTH_MAX} levels"),
            )
            .at(positions.token_bytes(index))
            .in_script(positions.script())
            .help("write x IN (1, 2, …) for many comparisons, or split the statement into views"));
        }
    }
    Ok(())
}

/// Whether what follows INTERVAL, at `index`, is neither a literal nor the end of a cast.
fn is_computed(positions: &Positions, index: usize, within: &Range<usize>) -> bool {
    let token = |index: usize| {
        within
            .contains(&index)
            .then(|| &positions.tokens()[index].token)
    };
    let is_type = match index.checked_sub(1).and_then(token) {
        Some(Token::DoubleColon) => true,
        Some(Token::Word(word)) => word.value.eq_ignore_ascii_case("AS"),
        _ => false,
    };
    let is_literal = matches!(
        token(index + 1),
        Some(Token::SingleQuotedString(_) | Token::Number(..)) | None
    );
    !is_type && !is_literal
}

/// What stands between one pair of parentheses.
#[derive(Debug, Default)]
struct Level {
    /// The deepest part that is complete.
    deepest: usize,
    /// The deepest level inside the expression that is being read.
    inside: usize,
    /// AND and OR in this expression.
    logic: usize,
    /// Operators since the last AND or OR, and the most between two of them.
    operators: usize,
    operators_max: usize,
    /// Computed intervals in this expression.
    intervals: usize,
    /// Tables joined in this SELECT, and queries combined on this level.
    joins: usize,
    sets: usize,
    in_from: bool,
    is_case: bool,
}

impl Level {
    fn expression(&self) -> usize {
        self.inside + self.logic + self.operators_max.max(self.operators)
    }

    fn depth(&self) -> usize {
        self.deepest.max(self.joins + self.expression()) + self.sets
    }

    /// The next expression is beside this one, not around it.
    fn next(&mut self) {
        self.deepest = self.deepest.max(self.joins + self.expression());
        (self.inside, self.logic) = (0, 0);
        (self.operators, self.operators_max) = (0, 0);
        self.intervals = 0;
    }

    fn comma(&mut self) {
        self.next();
        self.joins += usize::from(self.in_from);
    }

    fn word(&mut self, word: &str) {
        match word {
            "AND" | "OR" | "XOR" => {
                self.logic += 1;
                self.operators_max = self.operators_max.max(self.operators);
                self.operators = 0;
            }
            "AT" | "BETWEEN" | "COLLATE" | "DIV" | "ILIKE" | "IN" | "IS" | "LIKE" | "NOT"
            | "PARTITION" | "REGEXP" | "RLIKE" | "SIMILAR" => self.operators += 1,
            "UNION" | "EXCEPT" | "INTERSECT" | "MINUS" => {
                self.next();
                (self.joins, self.in_from) = (0, false);
                self.sets += 1;
            }
            "JOIN" => {
                self.next();
                self.joins += 1;
            }
            "FROM" => {
                self.next();
                self.in_from = true;
            }
            "SELECT" | "WHERE" | "GROUP" | "HAVING" | "ORDER" | "QUALIFY" | "WINDOW" | "LIMIT" => {
                self.next();
                self.in_from = false;
            }
            "ON" | "WHEN" | "THEN" | "ELSE" => self.next(),
            _ => {}
        }
    }
}

fn top(levels: &mut Vec<Level>) -> &mut Level {
    if levels.is_empty() {
        levels.push(Level::default());
    }
    levels.last_mut().expect("pushed above")
}

/// Leaves a level; one that was never opened is for the parser to tell.
fn close(levels: &mut Vec<Level>) {
    if let Some(level) = levels.pop() {
        let outer = top(levels);
        outer.inside = outer.inside.max(level.depth() + 1);
    }
}
