//! A script's tokens, and the way from sqlparser's lines and columns to bytes.

use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, TokenizerError,
};

use super::syntax::WindrowDialect;
use crate::error::{Error, ErrorKind, Result, Script};

/// A script in tokens, without spaces and comments, each with its bytes.
#[derive(Debug)]
pub struct Positions {
    script: Arc<Script>,
    /// In the order of the text, as are their spans.
    tokens: Vec<TokenWithSpan>,
    /// Of `tokens`.
    bytes: Vec<Range<usize>>,
}

impl Positions {
    /// Cuts a script into tokens.
    ///
    /// # Errors
    /// If a string, a quoted name or a comment never ends, or a number runs into a
    /// word (`1_000`), which sqlparser would read as an alias.
    pub(super) fn new(script: &Arc<Script>) -> Result<Self> {
        let mut walker = Walker::new(&script.text);
        let all = Tokenizer::new(&WindrowDialect, &script.text)
            .tokenize_with_location()
            .map_err(|error| unfinished(error, &mut walker).in_script(script))?;
        let mut tokens = Vec::with_capacity(all.len());
        let mut bytes: Vec<Range<usize>> = Vec::with_capacity(all.len());
        for token in all {
            if matches!(token.token, Token::Whitespace(_) | Token::EOF) {
                continue;
            }
            let start = walker.advance(token.span.start);
            let end = walker.advance(token.span.end);
            tokens.push(token);
            bytes.push(start..end);
        }
        let mut positions = Self {
            script: script.clone(),
            tokens,
            bytes,
        };
        positions.refuse_glued_numbers()?;
        positions.drop_local();
        Ok(positions)
    }

    /// The script.
    pub fn script(&self) -> &Arc<Script> {
        &self.script
    }

    /// The bytes of a span of the syntax tree; `None` for a span that was made up.
    pub fn range(&self, span: Span) -> Option<Range<usize>> {
        let starts_at = |location: Location| {
            (self
                .tokens
                .binary_search_by_key(&key(location), |token| key(token.span.start)))
            .ok()
        };
        let first = starts_at(span.start)?;
        // The last token that ends no later than the span does.
        let after = (self.tokens).partition_point(|token| key(token.span.end) <= key(span.end));
        let last = after.checked_sub(1).filter(|last| *last >= first)?;
        Some(self.bytes[first].start..self.bytes[last].end)
    }

    /// The bytes from a function's name to the parenthesis that closes its call.
    pub(super) fn call(&self, name: Span) -> Option<Range<usize>> {
        let first = (self.tokens)
            .binary_search_by_key(&key(name.start), |token| key(token.span.start))
            .ok()?;
        let mut depth = 0usize;
        for (index, token) in self.tokens.iter().enumerate().skip(first + 1) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth <= 1 => {
                    return Some(self.bytes[first].start..self.bytes[index].end);
                }
                Token::RParen => depth -= 1,
                _ if depth == 0 => break,
                _ => {}
            }
        }
        Some(self.bytes[first].clone())
    }

    /// The bytes of the first call of a function among some bytes, to the parenthesis that
    /// closes it.
    pub fn call_of(&self, within: &Range<usize>, name: &str) -> Option<Range<usize>> {
        let called = (self.tokens.windows(2).enumerate()).find(|(index, pair)| {
            let here = within.contains(&self.bytes[*index].start);
            let is_name = matches!(&pair[0].token,
                Token::Word(word) if word.value.eq_ignore_ascii_case(name));
            here && is_name && pair[1].token == Token::LParen
        });
        self.call(called?.1[0].span)
    }

    /// The bytes of the first `*` among some bytes that stands for all columns.
    pub fn star(&self, within: &Range<usize>) -> Option<Range<usize>> {
        let star = (self.tokens.windows(2).enumerate()).find(|(index, pair)| {
            let is_item = match &pair[0].token {
                Token::Comma | Token::Period => true,
                Token::Word(word) => matches!(
                    word.keyword,
                    Keyword::SELECT | Keyword::DISTINCT | Keyword::ALL
                ),
                _ => false,
            };
            is_item && pair[1].token == Token::Mul && within.contains(&self.bytes[index + 1].start)
        });
        self.bytes.get(star?.0 + 1).cloned()
    }

    /// The text of some bytes.
    pub fn text(&self, bytes: &Range<usize>) -> &str {
        &self.script.text[bytes.clone()]
    }

    pub(super) fn tokens(&self) -> &[TokenWithSpan] {
        &self.tokens
    }

    /// The bytes of a token; for one past the last, of the last.
    pub(super) fn token_bytes(&self, index: usize) -> Range<usize> {
        (self.bytes.get(index).or(self.bytes.last()).cloned()).unwrap_or(0..0)
    }

    /// The token that starts at a line and a column.
    pub(super) fn token_at(&self, location: Location) -> Option<usize> {
        self.tokens
            .binary_search_by_key(&key(location), |token| key(token.span.start))
            .ok()
    }

    /// The token indices of each statement, without the `;` between them.
    pub(super) fn statements(&self) -> Vec<Range<usize>> {
        let mut statements = vec![];
        let mut start = 0;
        for (index, token) in self.tokens.iter().enumerate() {
            if token.token == Token::SemiColon {
                statements.push(start..index);
                start = index + 1;
            }
        }
        statements.push(start..self.tokens.len());
        statements.retain(|statement| !statement.is_empty());
        statements
    }

    fn refuse_glued_numbers(&self) -> Result<()> {
        for (index, pair) in self.tokens.windows(2).enumerate() {
            let [number, word] = pair else { continue };
            let touching = self.bytes[index].end == self.bytes[index + 1].start;
            let (Token::Number(digits, _), Token::Word(_)) = (&number.token, &word.token) else {
                continue;
            };
            if !touching {
                continue;
            }
            let bytes = self.bytes[index].start..self.bytes[index + 1].end;
            let text = self.text(&bytes);
            let plain = text.replace('_', "");
            let help = if plain.chars().all(|c| c.is_ascii_digit()) {
                format!("write {plain}")
            } else if self.starts_interval(index) {
                format!("write INTERVAL '{text}'")
            } else {
                format!("write {digits} alone, or quote the name: \"{text}\"")
            };
            return Err(
                Error::new(ErrorKind::Syntax, format!("`{text}` is no number"))
                    .at(bytes)
                    .in_script(&self.script)
                    .help(help),
            );
        }
        Ok(())
    }

    /// `WITH LOCAL TIME ZONE` is `WITH TIME ZONE`: sqlparser knows no LOCAL there.
    fn drop_local(&mut self) {
        let is = |token: Option<&TokenWithSpan>, expected: Keyword| {
            matches!(token.map(|token| &token.token),
                Some(Token::Word(word)) if word.keyword == expected)
        };
        let tokens = &self.tokens;
        let locals = (1..tokens.len()).filter(|index| {
            is(tokens.get(index - 1), Keyword::WITH)
                && is(tokens.get(*index), Keyword::LOCAL)
                && is(tokens.get(index + 1), Keyword::TIME)
        });
        for index in locals.collect::<Vec<_>>().into_iter().rev() {
            self.tokens.remove(index);
            self.bytes.remove(index);
        }
    }

    fn starts_interval(&self, index: usize) -> bool {
        index.checked_sub(1).is_some_and(|before| {
            matches!(&self.tokens[before].token,
                Token::Word(word) if word.keyword == Keyword::INTERVAL)
        })
    }
}

fn key(location: Location) -> (u64, u64) {
    (location.line, location.column)
}

/// Whether a text, a quoted name or a comment is not closed: more text may close it.
pub(super) fn is_unclosed(error: &TokenizerError) -> bool {
    (["comment", "dollar", "string literal", "delimiter"].iter())
        .any(|what| error.message.contains(what))
}

/// Says what has no end, and where it starts.
fn unfinished(error: TokenizerError, walker: &mut Walker<'_>) -> Error {
    let what = if error.message.contains("comment") {
        ("this comment is never closed", "close it with */")
    } else if error.message.contains("dollar") {
        ("this text is never closed", "close it with the same $tag$")
    } else if error.message.contains("string literal") {
        (
            "this text is never closed",
            "close it with '; a quote inside is written twice: ''",
        )
    } else if error.message.contains("delimiter") {
        ("this quoted name is never closed", "close it with \"")
    } else {
        ("this is no SQL", "remove it, or put it in quotes")
    };
    let start = walker.advance(error.location);
    Error::new(ErrorKind::Syntax, what.0)
        .at(start..walker.text.len())
        .help(what.1)
}

/// Turns rising locations into byte offsets in one pass over the text.
pub(super) struct Walker<'a> {
    text: &'a str,
    line: u64,
    column: u64,
    offset: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            line: 1,
            column: 1,
            offset: 0,
        }
    }

    /// The byte of a location, which is no less than the one before.
    pub(super) fn advance(&mut self, to: Location) -> usize {
        for c in self.text[self.offset..].chars() {
            if key(to) <= (self.line, self.column) {
                break;
            }
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
            self.offset += c.len_utf8();
        }
        self.offset
    }
}
