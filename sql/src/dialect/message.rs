//! What sqlparser says about a text, in one sentence of ours.

use std::ops::Range;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use super::positions::Positions;
use crate::error::{Error, ErrorKind, nearest};

/// The words that are looked through for the one that was meant.
pub(super) const CLAUSES: &[&str] = &[
    "SELECT",
    "DISTINCT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "QUALIFY",
    "WINDOW",
    "ORDER BY",
    "LIMIT",
    "OFFSET",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "OUTER",
    "CROSS",
    "BETWEEN",
    "VALUES",
    "INTERVAL",
    "PARTITION",
    "PRECEDING",
    "FOLLOWING",
    "OVER",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "EMIT",
    "ALLOW",
    "WATERMARK",
    "WITH",
    "MILLISECOND",
    "SECOND",
    "MINUTE",
    "HOUR",
    "DAY",
    "WEEK",
    "MONTH",
    "YEAR",
];

/// What to write instead of a join with a versioned table.
pub(super) const TEMPORAL_JOIN: &str =
    "write ASOF JOIN … MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k";

/// Turns sqlparser's error about the tokens `within` into ours.
pub(super) fn syntax_error(
    positions: &Positions,
    within: &Range<usize>,
    error: &ParserError,
) -> Error {
    let raw = match error {
        ParserError::RecursionLimitExceeded => {
            return Error::new(ErrorKind::Limit, "the statement is nested too deeply")
                .at(statement_bytes(positions, within))
                .in_script(positions.script())
                .help("split it into views");
        }
        ParserError::ParserError(raw) | ParserError::TokenizerError(raw) => raw,
    };
    let (text, location) = split_location(raw);
    let found = (location.and_then(|location| positions.token_at(location)))
        .filter(|index| within.contains(index));
    let expected = (text.strip_prefix("Expected: "))
        .map(|rest| rest.rsplit_once(", found: ").map_or(rest, |(left, _)| left));
    let message = match (expected, found) {
        (Some(expected), Some(index)) => {
            let token = positions.text(&positions.token_bytes(index));
            match expected {
                "end of statement" => format!("`{token}` is not expected here"),
                _ => format!("{} is expected before `{token}`", plain(expected)),
            }
        }
        (Some(expected), None) => {
            format!("the statement ends where {} is expected", plain(expected))
        }
        (None, _) => lower_first(text),
    };
    let index = found.unwrap_or(within.end.saturating_sub(1));
    let error = Error::new(ErrorKind::Syntax, message)
        .at(positions.token_bytes(index))
        .in_script(positions.script());
    match help(positions, within, found) {
        Some(help) => error.help(help),
        None => error,
    }
}

/// An error at a token that nothing expects.
pub(super) fn unexpected(positions: &Positions, within: &Range<usize>, index: usize) -> Error {
    let bytes = positions.token_bytes(index);
    let error = Error::new(
        ErrorKind::Syntax,
        format!("`{}` is not expected here", positions.text(&bytes)),
    )
    .at(bytes)
    .in_script(positions.script());
    match help(positions, within, Some(index)) {
        Some(help) => error.help(help),
        None => error,
    }
}

/// The remedy that the words around an error suggest.
fn help(positions: &Positions, within: &Range<usize>, found: Option<usize>) -> Option<String> {
    let index = found?;
    let word = |index: usize| match &positions.tokens()[index].token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.as_str()),
        _ => None,
    };
    match word(index).map(str::to_uppercase).as_deref() {
        Some(first @ ("GROUP" | "ORDER" | "PARTITION")) => {
            return Some(format!("write {first} BY"));
        }
        Some("SYSTEM_TIME") => return Some(TEMPORAL_JOIN.into()),
        _ => {}
    }
    // A mistyped keyword is often taken for an alias: then it is the word before the
    // one that surprises.
    let before = index.checked_sub(1).filter(|index| within.contains(index));
    let is_tail = |word: &str| {
        ["EMIT", "ALLOW"]
            .iter()
            .any(|tail| tail.eq_ignore_ascii_case(word))
    };
    if [Some(index), before]
        .into_iter()
        .flatten()
        .filter_map(word)
        .any(is_tail)
    {
        return Some(
            "EMIT and ALLOW LATENESS stand at the end of the statement, outside parentheses".into(),
        );
    }
    let mistyped = ([Some(index), before].into_iter().flatten())
        .filter_map(word)
        .filter(|word| word.len() > 2)
        .find_map(|word| {
            let known = CLAUSES.iter().map(|clause| first_word(clause));
            let meant = nearest(word, known).filter(|meant| !meant.eq_ignore_ascii_case(word))?;
            let meant = (CLAUSES.iter()).find(|clause| first_word(clause) == meant)?;
            Some(format!("did you mean {meant} instead of {word}?"))
        });
    // Two words without a comma are a column and its alias, a third is too many.
    let follows_a_name = before.and_then(word).is_some() && before.and_then(|at| at.checked_sub(1))
        .filter(|index| within.contains(index))
        .is_some_and(|index| {
            matches!(&positions.tokens()[index].token, Token::Word(word) if word.keyword == Keyword::NoKeyword)
        });
    let is_name = matches!(&positions.tokens()[index].token, Token::Word(word) if word.keyword == Keyword::NoKeyword);
    mistyped
        .or_else(|| (is_name && follows_a_name).then(|| "a comma may be missing before it".into()))
}

fn first_word(clause: &str) -> &str {
    clause.split(' ').next().unwrap_or(clause)
}

fn statement_bytes(positions: &Positions, within: &Range<usize>) -> Range<usize> {
    positions.token_bytes(within.start).start
        ..positions.token_bytes(within.end.saturating_sub(1)).end
}

/// Cuts ` at Line: 1, Column: 8` off.
fn split_location(raw: &str) -> (&str, Option<Location>) {
    let location = |rest: &str| {
        let (line, column) = rest.split_once(", Column: ")?;
        Some(Location {
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        })
    };
    match raw.rsplit_once(" at Line: ") {
        Some((text, rest)) => (text, location(rest)),
        None => (raw, None),
    }
}

/// sqlparser's names of what it expected, as a reader would say them.
fn plain(expected: &str) -> String {
    match expected {
        "an expression" | "an expression:" => "an expression".into(),
        "identifier" => "a name".into(),
        "SELECT, VALUES, or a subquery in the query body" => "a query".into(),
        "literal string" => "a text in single quotes".into(),
        "literal int" | "a value" | "a concrete value" => "a value".into(),
        "ROWS, RANGE, GROUPS" => "ROWS, RANGE or GROUPS".into(),
        "joined table" => "a table".into(),
        "end of statement" => "the end of the statement".into(),
        "a data type name" => "a data type".into(),
        symbol if symbol.chars().all(|c| c.is_ascii_punctuation()) => format!("`{symbol}`"),
        other => other.to_owned(),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    let Some(first) = chars.next() else {
        return "this is no SQL".into();
    };
    first.to_lowercase().chain(chars).collect()
}
