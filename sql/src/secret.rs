//! What is left out where a statement or an address is shown: passwords, and what else opens
//! a door to whoever reads it.

use std::ops::Range;

/// The options whose values are secrets.
const SECRETS: [&str; 2] = ["authorization", "password"];

/// Whether the value of an option opens a door.
pub(crate) fn is_secret(option: &str) -> bool {
    SECRETS
        .iter()
        .any(|secret| secret.eq_ignore_ascii_case(option))
}

/// A URL without the password in it, however badly that is written.
pub(crate) fn without_password(url: &str) -> String {
    let start = url.find("://").map_or(0, |place| place + 3);
    let Some(end) = url.rfind('@').filter(|end| *end >= start) else {
        return url.to_owned();
    };
    match url[start..end].find(':') {
        Some(colon) => format!("{}…{}", &url[..=start + colon], &url[end..]),
        None => url.to_owned(),
    }
}

/// Some bytes of a script without the secrets in its strings. It is looked at from its
/// beginning on, since what is shown may begin within one.
///
/// # Panics
/// If `shown` lies outside of the script or cuts a character: a caller's bug.
pub(crate) fn without_secrets(script: &str, shown: Range<usize>) -> String {
    let (mut text, mut at) = (String::new(), shown.start);
    for (secret, instead) in secrets(&script[..shown.end]) {
        if secret.end > at {
            text.push_str(&script[at..secret.start.max(at)]);
            text.push_str(&instead);
            at = secret.end;
        }
    }
    text + &script[at..shown.end]
}

/// Where secrets stand, and what is to be shown instead.
fn secrets(script: &str) -> Vec<(Range<usize>, String)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = script[at..].find(['\'', '"', '-', '/']) {
        let begin = at + next;
        let rest = &script[begin..];
        let passed = |end: &str| {
            rest[1..]
                .find(end)
                .map_or(rest.len(), |at| at + 1 + end.len())
        };
        at = begin
            + match rest.as_bytes() {
                [b'-', b'-', ..] => passed("\n"),
                [b'/', b'*', ..] => passed("*/"),
                [b'"', ..] => passed("\""),
                [b'\'', ..] => 1 + end_of_string(&rest[1..]),
                _ => 1,
            };
        if !rest.starts_with('\'') {
            continue;
        }
        let value = &script[begin + 1..at];
        match option_before(&script[..begin]) {
            option if is_secret(option) => found.push((begin + 1..at, "…".to_owned())),
            _ if value.contains("://") => found.push((begin + 1..at, without_password(value))),
            _ => {}
        }
        at = (at + 1).min(script.len());
    }
    found
}

/// Where a string ends that has been opened; a quote in it stands twice.
fn end_of_string(string: &str) -> usize {
    let mut from = 0;
    while let Some(quote) = string[from..].find('\'') {
        let at = from + quote;
        if !string[at + 1..].starts_with('\'') {
            return at;
        }
        from = at + 2;
    }
    string.len()
}

/// The name in `… name = `, also where the sign is forgotten.
fn option_before(text: &str) -> &str {
    let text = text.trim_end();
    let text = text.strip_suffix('=').unwrap_or(text).trim_end();
    let text = text.strip_suffix('"').unwrap_or(text);
    let name = text.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
    &text[name.len()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_url_is_not_shown() {
        for (url, shown) in [
            (
                "postgres://ada:secret@host:5432/db",
                "postgres://ada:…@host:5432/db",
            ),
            ("postgres://ada:a/b@c:d@host/db", "postgres://ada:…@host/db"),
            ("postgres://ada@host:5432/db", "postgres://ada@host:5432/db"),
            ("http://127.0.0.1:8080/rows", "http://127.0.0.1:8080/rows"),
            ("ada:secret@host", "ada:…@host"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn the_secrets_of_a_statement_are_not_shown() {
        for (text, expected) in [
            ("SELECT 'password', 1", "SELECT 'password', 1"),
            ("SELECT 1 WHERE n = 'it''s'", "SELECT 1 WHERE n = 'it''s'"),
            (
                "WITH (password = 'a b', n = '1')",
                "WITH (password = '…', n = '1')",
            ),
            (
                "WITH (Authorization='it''s', n = '1')",
                "WITH (Authorization='…', n = '1')",
            ),
            ("WITH (\"password\" = 'a')", "WITH (\"password\" = '…')"),
            ("WITH (password 'a')", "WITH (password '…')"),
            // The end of the line, or of the statement, cuts it.
            ("WITH (password = 'open", "WITH (password = '…"),
            ("wörter = 'ä' ·password='ä", "wörter = 'ä' ·password='…"),
            (
                "url = 'postgres://ada:s:e@h/d', x = 'a'",
                "url = 'postgres://ada:…@h/d', x = 'a'",
            ),
            ("url = 'http://h/a'", "url = 'http://h/a'"),
            // Quotes that open no string.
            ("-- it's\npassword = 'a'", "-- it's\npassword = '…'"),
            ("/* it's */ password = 'a'", "/* it's */ password = '…'"),
            (
                "\"it's\" 1 - 2 / 3 password='a'",
                "\"it's\" 1 - 2 / 3 password='…'",
            ),
            ("'", "'"),
            ("\"", "\""),
            ("-", "-"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text, 0..text.len()), expected);
        }
        let script = "n = 'a', password = 'hidden', n = 'b'";
        for (shown, expected) in [(20..28, "'…'"), (23..35, "…', n = '"), (23..25, "…")] {
            assert_eq!(without_secrets(script, shown), expected);
        }
    }
}
