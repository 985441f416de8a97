//! A text that is still being typed: which statements have ended, and what its pieces are.
//!
//! The tokens are those of a script, so that a `;` in a string, a quoted name or a comment
//! ends nothing. What is wrong is not said here: the parser does when a statement has ended.

use std::collections::BTreeSet;
use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{
    Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace,
};

use super::cursor::RESERVED;
use super::data_type;
use super::message::CLAUSES;
use super::parser::STATEMENTS;
use super::positions::{Walker, is_unclosed};
use super::syntax::WindrowDialect;

/// Keywords that are in no other list.
const FURTHER: &[&str] = &[
    "ADVANCE",
    "ALL",
    "ANALYZE",
    "AND",
    "ANY",
    "ASC",
    "BY",
    "CASCADE",
    "CAST",
    "CHANGES",
    "CLOSE",
    "CURRENT",
    "DESC",
    "END",
    "EVERY",
    "EXISTS",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FIRST",
    "FOR",
    "FUNCTIONS",
    "IF",
    "IN",
    "INTO",
    "IS",
    "LAST",
    "LATENESS",
    "LIKE",
    "MATERIALIZED",
    "NULLS",
    "OR",
    "QUERIES",
    "RANGE",
    "REPLACE",
    "ROW",
    "ROWS",
    "SINK",
    "SINKS",
    "STREAM",
    "STREAMS",
    "TABLES",
    "TO",
    "TRUE",
    "UNBOUNDED",
    "USING",
    "VIEW",
    "VIEWS",
    "WITHIN",
];

/// The keywords of statements, clauses and types, in the order of the alphabet.
pub fn keywords() -> BTreeSet<&'static str> {
    let lists = [STATEMENTS, CLAUSES, RESERVED, data_type::NAMES, FURTHER];
    (lists.into_iter().flatten())
        .flat_map(|words| words.split(' '))
        .collect()
}

/// What a text that is being typed holds so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// The bytes of each statement that has ended, with its `;`.
    pub ended: Vec<Range<usize>>,
    /// Where the statement starts that has not ended; `None` if nothing has begun.
    pub rest: Option<usize>,
}

/// Looks for the statements of a text. A string, a quoted name or a comment that is not
/// closed goes on with what is typed next.
pub fn typed(text: &str) -> Typed {
    let (tokens, failed) = tokens(text);
    let mut walker = Walker::new(text);
    let mut typed = Typed::default();
    let known = tokens.last().map(|token| token.span.end);
    for token in tokens {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => {
                let end = walker.advance(token.span.end);
                let start = typed.rest.take();
                typed.ended.extend(start.map(|start| start..end));
            }
            _ if typed.rest.is_none() => typed.rest = Some(walker.advance(token.span.start)),
            _ => {}
        }
    }
    let Some(error) = failed else {
        return typed;
    };
    let start = (typed.rest).unwrap_or_else(|| known.map_or(0, |end| walker.advance(end)));
    typed.rest = Some(start);
    let end = text.trim_end().len();
    if !is_unclosed(&error) && text[start..end].ends_with(';') {
        // No further line would mend it.
        typed.ended.push(start..end);
        typed.rest = None;
    }
    typed
}

/// A kind of piece of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A word with a meaning of its own.
    Keyword,
    /// Any other word, and quoted names.
    Name,
    /// A text in quotation marks.
    Text,
    /// A number.
    Number,
    /// A comment.
    Comment,
    /// An operator, a parenthesis, a comma.
    Sign,
}

/// The pieces of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Their bytes, in order; what lies between is space.
    pub all: Vec<(Range<usize>, Piece)>,
    /// Whether the last one is not closed.
    pub is_open: bool,
}

/// Cuts a text into pieces, whether it is SQL or not.
pub fn pieces(text: &str) -> Pieces {
    let keywords = keywords();
    let (tokens, failed) = tokens(text);
    let mut walker = Walker::new(text);
    let mut pieces = Pieces::default();
    for token in tokens {
        let piece = match &token.token {
            Token::Whitespace(
                Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
            ) => Piece::Comment,
            Token::Whitespace(_) | Token::EOF => continue,
            Token::Word(word) => {
                let is_plain = word.quote_style.is_none();
                match is_plain && keywords.contains(word.value.to_uppercase().as_str()) {
                    true => Piece::Keyword,
                    false => Piece::Name,
                }
            }
            Token::Number(..) => Piece::Number,
            Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::DollarQuotedString(_) => Piece::Text,
            _ => Piece::Sign,
        };
        let start = walker.advance(token.span.start);
        pieces
            .all
            .push((start..walker.advance(token.span.end), piece));
    }
    if let Some(error) = failed {
        let from = pieces.all.last().map_or(0, |(bytes, _)| bytes.end);
        let start = text.len() - text[from..].trim_start().len();
        let piece = match &text[start..] {
            rest if rest.starts_with("/*") => Piece::Comment,
            rest if rest.starts_with('"') => Piece::Name,
            _ if is_unclosed(&error) => Piece::Text,
            _ => Piece::Sign,
        };
        pieces.all.push((start..text.len(), piece));
        pieces.is_open = is_unclosed(&error);
    }
    pieces
}

/// The tokens of a text, as far as they go, and what is wrong after them.
fn tokens(text: &str) -> (Vec<TokenWithSpan>, Option<TokenizerError>) {
    let mut tokens = Vec::new();
    let mut tokenizer = Tokenizer::new(&WindrowDialect, text);
    let done = tokenizer.tokenize_with_location_into_buf(&mut tokens);
    (tokens, done.err())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statements that have ended, and what is left.
    fn cut(text: &str) -> (Vec<&str>, Option<&str>) {
        let typed = typed(text);
        let ended = typed.ended.into_iter().map(|bytes| &text[bytes]).collect();
        (ended, typed.rest.map(|start| &text[start..]))
    }

    #[test]
    fn a_statement_ends_with_its_semicolon() {
        assert_eq!(cut("SELECT 1"), (vec![], Some("SELECT 1")));
        assert_eq!(cut("SELECT\n 1; "), (vec!["SELECT\n 1;"], None));
        assert_eq!(
            cut("  SELECT 1; SELECT 'ü'; SHOW"),
            (vec!["SELECT 1;", "SELECT 'ü';"], Some("SHOW"))
        );
    }

    #[test]
    fn nothing_but_space_and_comments_is_no_statement() {
        for text in [
            "",
            "  \n",
            ";",
            " ; ;",
            "-- nothing; yet",
            "/* nothing */ ;",
        ] {
            assert_eq!(cut(text), (vec![], None), "{text:?}");
        }
        assert_eq!(
            cut("-- the first\nSELECT 1; -- and only"),
            (vec!["SELECT 1;"], None)
        );
    }

    #[test]
    fn a_semicolon_in_quotes_or_a_comment_ends_nothing() {
        for text in [
            "SELECT ';'",
            "SELECT \"a;\"",
            "SELECT 1 -- ;",
            "SELECT 1 /* ; */",
        ] {
            assert_eq!(cut(text), (vec![], Some(text)));
        }
    }

    #[test]
    fn what_is_not_closed_goes_on() {
        for text in ["SELECT 'a;", "SELECT \"a;", "/* SELECT 1;", "SELECT $$a;"] {
            assert_eq!(cut(text), (vec![], Some(text)));
        }
        assert_eq!(
            cut("SELECT 1; SELECT 'a;"),
            (vec!["SELECT 1;"], Some("SELECT 'a;"))
        );
    }

    #[test]
    fn what_the_parser_refuses_ends_too() {
        assert_eq!(cut("SELECT 1_000;"), (vec!["SELECT 1_000;"], None));
        assert_eq!(cut("SELCT ) 1;"), (vec!["SELCT ) 1;"], None));
    }

    #[test]
    fn pieces_of_a_text() {
        let text = "select avg(v), 'a''b', 1.5 from \"r\" -- end";
        let kinds: Vec<_> = (pieces(text).all.into_iter())
            .map(|(bytes, piece)| (&text[bytes], piece))
            .collect();
        use Piece::{Comment, Keyword, Name, Number, Sign, Text};
        assert_eq!(
            kinds,
            [
                ("select", Keyword),
                ("avg", Name),
                ("(", Sign),
                ("v", Name),
                (")", Sign),
                (",", Sign),
                ("'a''b'", Text),
                (",", Sign),
                ("1.5", Number),
                ("from", Keyword),
                ("\"r\"", Name),
                ("-- end", Comment),
            ]
        );
        let open = pieces("SELECT 'data/we");
        assert_eq!(open.all, [(0..6, Keyword), (7..15, Text)]);
        assert!(open.is_open);
        let open = pieces("SELECT /* a");
        assert_eq!(open.all, [(0..6, Keyword), (7..11, Comment)]);
    }
}
