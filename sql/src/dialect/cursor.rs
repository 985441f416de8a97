//! A place in the tokens of one statement, with sqlparser's own parser at it.

use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::clauses;
use super::message::{syntax_error, unexpected};
use super::positions::Positions;
use super::statement::Name;
use super::syntax::WindrowDialect;
use crate::error::{Error, ErrorKind, Result};

/// Words that are never a name unless quoted.
pub(super) const RESERVED: &[&str] = &[
    "AS",
    "CHECK",
    "CONSTRAINT",
    "EMIT",
    "FROM",
    "GROUP",
    "HAVING",
    "NOT",
    "NULL",
    "ON",
    "ORDER",
    "SELECT",
    "VALUES",
    "WHERE",
    "WITH",
];

/// Reads the tokens `within` a script.
pub(super) struct Cursor<'a> {
    positions: &'a Arc<Positions>,
    within: Range<usize>,
    parser: Parser<'static>,
    /// Whether `next` was asked for a token after the last.
    past_end: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(positions: &'a Arc<Positions>, within: Range<usize>) -> Self {
        let tokens = positions.tokens()[within.clone()].to_vec();
        Self {
            positions,
            within,
            parser: Parser::new(&WindrowDialect).with_tokens_with_locations(tokens),
            past_end: false,
        }
    }

    pub(super) fn positions(&self) -> &'a Arc<Positions> {
        self.positions
    }

    /// The token that comes next, counted in the script.
    pub(super) fn index(&self) -> usize {
        (self.within.start + self.parser.index()).min(self.within.end)
    }

    /// The tokens that are left.
    pub(super) fn rest(&self) -> Range<usize> {
        self.index()..self.within.end
    }

    /// Gives the last tokens up: nothing from `end` on is read.
    pub(super) fn until(&self, end: usize) -> Self {
        Self::new(self.positions, self.index()..end)
    }

    /// Goes on at a token of the script.
    pub(super) fn skip_to(&mut self, index: usize) {
        while self.index() < index {
            self.parser.advance_token();
        }
    }

    /// The bytes from a token to the last of the statement.
    pub(super) fn bytes_from(&self, start: usize) -> Range<usize> {
        self.positions.token_bytes(start).start
            ..self
                .positions
                .token_bytes(self.within.end.saturating_sub(1))
                .end
    }

    pub(super) fn at_end(&self) -> bool {
        self.index() == self.within.end
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Token> {
        let index = self.index() + ahead;
        (index < self.within.end).then(|| &self.positions.tokens()[index].token)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.past_end = token.is_none();
        if token.is_some() {
            self.parser.advance_token();
        }
        token
    }

    /// The bytes of the token that comes next, or of the last one.
    pub(super) fn here(&self) -> Range<usize> {
        let last = self.within.end.saturating_sub(1);
        self.positions.token_bytes(self.index().min(last))
    }

    /// The first byte after the token read last.
    pub(super) fn end_of_last(&self) -> usize {
        (self.positions)
            .token_bytes(self.index().saturating_sub(1).max(self.within.start))
            .end
    }

    pub(super) fn text(&self, bytes: &Range<usize>) -> &str {
        self.positions.text(bytes)
    }

    fn is_word(token: Option<&Token>, expected: &str) -> bool {
        matches!(token, Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
    }

    pub(super) fn at_words(&self, words: &[&str]) -> bool {
        (words.iter().enumerate()).all(|(ahead, word)| Self::is_word(self.peek_at(ahead), word))
    }

    /// Whether `word (` comes next.
    pub(super) fn at_call(&self, word: &str) -> bool {
        Self::is_word(self.peek(), word) && self.peek_at(1) == Some(&Token::LParen)
    }

    pub(super) fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = self.at_words(words);
        if found {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        found
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        self.eat_words(&[word])
    }

    pub(super) fn expect_words(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.eat_word(word) {
                return Err(self.expected(word));
            }
        }
        Ok(())
    }

    pub(super) fn eat(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.parser.advance_token();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<()> {
        match self.eat(token) {
            true => Ok(()),
            false => Err(self.expected(&format!("`{token}`"))),
        }
    }

    /// An error that `what` is not what comes next.
    pub(super) fn expected(&self, what: &str) -> Error {
        let message = match self.at_end() {
            true => format!("the statement ends where {what} is expected"),
            false => format!("{what} is expected before `{}`", self.text(&self.here())),
        };
        self.error(ErrorKind::Syntax, message, self.here())
    }

    /// A name that is not qualified.
    pub(super) fn name(&mut self, what: &str) -> Result<Name> {
        let name = match self.peek() {
            Some(Token::Word(word)) => match word.quote_style {
                Some(_) => word.value.clone(),
                None if RESERVED.iter().any(|r| r.eq_ignore_ascii_case(&word.value)) => {
                    let help = format!("quote it if it is the name: \"{}\"", word.value);
                    return Err(self.expected(what).help(help));
                }
                None => word.value.to_lowercase(),
            },
            _ => return Err(self.expected(what)),
        };
        let span = self.here();
        self.parser.advance_token();
        if self.peek() == Some(&Token::Period) {
            let message = "a name is not qualified here";
            return Err(self
                .error(ErrorKind::Unsupported, message, span)
                .help("streams, views and sinks live in one schema; if the dot belongs to the name, quote it"));
        }
        Ok(Name { value: name, span })
    }

    /// A name, that of a system table (`windrow.streams`), or the path of files in quotation
    /// marks of either kind.
    pub(super) fn name_or_path(&mut self, what: &str) -> Result<Name> {
        match self.peek() {
            Some(Token::SingleQuotedString(path)) => {
                let (value, span) = (path.clone(), self.here());
                self.parser.advance_token();
                Ok(Name { value, span })
            }
            Some(Token::Word(word))
                if word.value.eq_ignore_ascii_case("windrow")
                    && self.peek_at(1) == Some(&Token::Period)
                    && matches!(self.peek_at(2), Some(Token::Word(_))) =>
            {
                let start = self.here().start;
                self.parser.advance_token();
                self.parser.advance_token();
                let table = self.name(what)?;
                Ok(Name {
                    value: format!("windrow.{}", table.value),
                    span: start..table.span.end,
                })
            }
            _ => self.name(what),
        }
    }

    /// What sqlparser reads here.
    pub(super) fn parsed<T>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T> {
        parse(&mut self.parser).map_err(|error| syntax_error(self.positions, &self.within, &error))
    }

    pub(super) fn expr(&mut self) -> Result<Expr> {
        if self.at_end() {
            return Err(self.expected("an expression"));
        }
        let mut expr = self.parsed(|parser| parser.parse_expr())?;
        clauses::check_expr(&mut expr, self.positions)?;
        Ok(expr)
    }

    pub(super) fn error(
        &self,
        kind: ErrorKind,
        message: impl Into<String>,
        span: Range<usize>,
    ) -> Error {
        Error::new(kind, message)
            .at(span)
            .in_script(self.positions.script())
    }

    /// An error at the token that comes next.
    pub(super) fn error_here(&self, message: &str) -> Error {
        let message = match self.at_end() {
            true => format!("the statement ends too early: {message}"),
            false => message.to_owned(),
        };
        self.error(ErrorKind::Syntax, message, self.here())
    }

    /// An error at the token that `next` gave.
    pub(super) fn error_before(&mut self, message: &str) -> Error {
        if !self.past_end {
            self.parser.prev_token();
        }
        self.error_here(message)
    }

    /// Makes sure that nothing is left.
    pub(super) fn finish(&self) -> Result<()> {
        match self.at_end() {
            true => Ok(()),
            false => Err(unexpected(self.positions, &self.within, self.index())),
        }
    }
}
