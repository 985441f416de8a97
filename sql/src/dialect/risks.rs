//! Where a query can fail over its data: its casts and its divisions, by their words.
//!
//! ```text
//! SELECT CAST(v AS INT), n::SMALLINT, a / (b - 1) FROM r
//!        ╰─ cast v ────╯ ╰─ cast n ─╯ ╰─ a by (b - 1)
//! ```

use std::ops::Range;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::data_type::arrow_type;
use super::positions::Positions;
use super::syntax::WindrowDialect;
use crate::words::sql_type;

/// A conversion that fails where a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// The type as SQL names it, without its digits.
    pub to: String,
    /// The bytes of all of it.
    pub span: Range<usize>,
    /// The bytes of what is converted.
    pub of: Range<usize>,
    /// The bytes of the type.
    pub type_span: Range<usize>,
}

/// A division, or the rest of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// The bytes of all of it.
    pub span: Range<usize>,
    /// The bytes of what is divided by.
    pub by: Range<usize>,
}

/// A type's name without digits and zone: `DECIMAL` of `DECIMAL(10, 2)`.
pub fn bare_type(name: &str) -> &str {
    let end = name.find('(').or_else(|| name.find(" WITH "));
    name[..end.unwrap_or(name.len())].trim_end()
}

impl Positions {
    /// The casts among some bytes, in their order. `TRY_CAST` does not fail.
    pub fn casts(&self, within: &Range<usize>) -> Vec<Cast> {
        let tokens = self.tokens();
        (self.indices(within))
            .filter_map(|index| match &tokens[index].token {
                Token::Word(word) if word.keyword == Keyword::CAST => self.cast_call(index),
                Token::DoubleColon => self.cast_of_colons(index),
                _ => None,
            })
            .collect()
    }

    /// The divisions among some bytes, in their order.
    pub fn divisions(&self, within: &Range<usize>) -> Vec<Division> {
        let tokens = self.tokens();
        (self.indices(within))
            .filter(|index| matches!(tokens[*index].token, Token::Div | Token::Mod))
            .filter_map(|index| {
                let start = self.operand_before(index)?;
                let end = self.operand_after(index)?;
                Some(Division {
                    span: self.bytes_of(start..end),
                    by: self.bytes_of(index + 1..end),
                })
            })
            .collect()
    }

    fn indices(&self, within: &Range<usize>) -> impl Iterator<Item = usize> {
        (0..self.tokens().len()).filter(|index| within.contains(&self.token_bytes(*index).start))
    }

    fn bytes_of(&self, tokens: Range<usize>) -> Range<usize> {
        let last = tokens.end.saturating_sub(1).max(tokens.start);
        self.token_bytes(tokens.start).start..self.token_bytes(last).end
    }

    /// `CAST(of AS type)` whose name is at `index`.
    fn cast_call(&self, index: usize) -> Option<Cast> {
        let end = self.closing(index + 1)?;
        let mut depth = 0;
        let word_as = (index + 1..end).rfind(|inner| {
            match self.tokens()[*inner].token {
                Token::RParen => depth += 1,
                Token::LParen => depth -= 1,
                _ => {}
            }
            depth == 0
                && matches!(&self.tokens()[*inner].token,
                    Token::Word(word) if word.keyword == Keyword::AS)
        })?;
        self.cast(index..end + 1, index + 2..word_as, word_as + 1..end)
    }

    /// `of::type` whose colons are at `index`.
    fn cast_of_colons(&self, index: usize) -> Option<Cast> {
        let start = self.operand_before(index)?;
        let name = index + 1;
        let end = self.closing(name + 1).map_or(name + 1, |end| end + 1);
        self.cast(start..end, start..index, name..end)
    }

    fn cast(&self, all: Range<usize>, of: Range<usize>, to: Range<usize>) -> Option<Cast> {
        let type_span = self.bytes_of(to);
        let parser = Parser::new(&WindrowDialect).try_with_sql(self.text(&type_span));
        let written = parser.ok()?.parse_data_type().ok()?;
        let name = sql_type(&arrow_type(&written).ok()?);
        Some(Cast {
            to: bare_type(&name).to_owned(),
            span: self.bytes_of(all),
            of: self.bytes_of(of),
            type_span,
        })
    }

    /// The token that closes the parenthesis at `open`, if there is one.
    fn closing(&self, open: usize) -> Option<usize> {
        let tokens = self.tokens();
        if tokens.get(open)?.token != Token::LParen {
            return None;
        }
        let mut depth = 0;
        (open..tokens.len()).find(|index| {
            match tokens[*index].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            depth == 0
        })
    }

    /// The token that opens the parenthesis that `close` closes.
    fn opening(&self, close: usize) -> Option<usize> {
        let tokens = self.tokens();
        let mut depth = 0;
        (0..close + 1).rfind(|index| {
            match tokens[*index].token {
                Token::RParen => depth += 1,
                Token::LParen => depth -= 1,
                _ => {}
            }
            depth == 0
        })
    }

    /// The first token of the name, the call, the number or the parenthesis before `index`.
    fn operand_before(&self, index: usize) -> Option<usize> {
        let tokens = self.tokens();
        let mut first = index.checked_sub(1)?;
        if tokens[first].token == Token::RParen {
            first = self.opening(first)?;
            let is_call = first.checked_sub(1).is_some_and(|before| {
                matches!(&tokens[before].token,
                    Token::Word(word) if !is_reserved(word.keyword))
            });
            first -= usize::from(is_call);
        }
        while first >= 2 && tokens[first - 1].token == Token::Period {
            first -= 2;
        }
        Some(first)
    }

    /// Past the last token of the name, the call, the number or the parenthesis after
    /// `index`.
    fn operand_after(&self, index: usize) -> Option<usize> {
        let tokens = self.tokens();
        let token = |at: usize| tokens.get(at).map(|token| &token.token);
        let mut last = index + 1;
        while matches!(token(last)?, Token::Minus | Token::Plus) {
            last += 1;
        }
        while matches!(token(last + 1), Some(Token::Period)) && token(last + 2).is_some() {
            last += 2;
        }
        let is_word = matches!(token(last)?, Token::Word(_));
        let open = last + usize::from(is_word);
        Some(self.closing(open).unwrap_or(last) + 1)
    }
}

/// The words before a parenthesis that call nothing.
fn is_reserved(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::SELECT
            | Keyword::DISTINCT
            | Keyword::WHERE
            | Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::ON
            | Keyword::BY
            | Keyword::HAVING
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::BETWEEN
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Script;

    fn positions(text: &str) -> Positions {
        let script = Arc::new(Script {
            name: "sql".into(),
            text: text.into(),
        });
        Positions::new(&script).unwrap()
    }

    #[test]
    fn casts_are_found_in_either_form() {
        for (text, expected) in [
            ("SELECT CAST(v AS INT)", "v"),
            ("SELECT cast(a.v + 1 AS DECIMAL(3, 1)) x", "a.v + 1"),
            ("SELECT t.v::SMALLINT, 1", "t.v"),
            ("SELECT 1 + (a + b)::BIGINT", "(a + b)"),
            ("SELECT lower(k)::DECIMAL(3, 1)", "lower(k)"),
        ] {
            let positions = positions(text);
            let casts = positions.casts(&(0..text.len()));
            assert_eq!(casts.len(), 1, "{text}");
            let of = positions.text(&casts[0].of);
            assert_eq!(of, expected, "{text}");
        }
    }

    #[test]
    fn casts_know_their_types() {
        let text = "SELECT CAST(CAST(v AS TEXT) AS INTEGER), w::TIMESTAMP(3), TRY_CAST(x AS INT), \
                    CAST(y AS DOUBLE PRECISION), CAST(z AS DECIMAL(10, 2))";
        let positions = positions(text);
        let casts = positions.casts(&(0..text.len()));
        let found: Vec<_> = (casts.iter())
            .map(|cast| (cast.to.as_str(), positions.text(&cast.span)))
            .collect();
        assert_eq!(
            found,
            [
                ("INT", "CAST(CAST(v AS TEXT) AS INTEGER)"),
                ("TEXT", "CAST(v AS TEXT)"),
                ("TIMESTAMP", "w::TIMESTAMP(3)"),
                ("DOUBLE", "CAST(y AS DOUBLE PRECISION)"),
                ("DECIMAL", "CAST(z AS DECIMAL(10, 2))"),
            ]
        );
    }

    #[test]
    fn divisions_have_both_sides() {
        for (text, span, by) in [
            ("SELECT 1 + a / b FROM r", "a / b", "b"),
            ("SELECT t.a % (b - 1) + 2", "t.a % (b - 1)", "(b - 1)"),
            ("SELECT sum(a) / count(b)", "sum(a) / count(b)", "count(b)"),
            ("SELECT (a) / -t.b", "(a) / -t.b", "-t.b"),
        ] {
            let positions = positions(text);
            let divisions = positions.divisions(&(0..text.len()));
            assert_eq!(divisions.len(), 1, "{text}");
            assert_eq!(positions.text(&divisions[0].span), span);
            assert_eq!(positions.text(&divisions[0].by), by);
        }
    }
}
