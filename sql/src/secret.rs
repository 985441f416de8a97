//! What is left out where a statement or an address is shown: passwords, and what else opens
//! a door to whoever reads it.

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

/// A piece of a statement without the secrets in its strings.
pub(crate) fn without_secrets(statement: &str) -> String {
    let mut shown = String::with_capacity(statement.len());
    let mut rest = statement;
    while let Some(open) = rest.find('\'') {
        let (before, string) = (&rest[..open], &rest[open + 1..]);
        let end = end_of_string(string);
        let value = &string[..end];
        shown.push_str(before);
        shown.push('\'');
        match option_before(&shown[..shown.len() - 1]) {
            Some(option) if is_secret(option) => shown.push('…'),
            Some(_) if value.contains("://") => shown.push_str(&without_password(value)),
            _ => shown.push_str(value),
        }
        if end < string.len() {
            shown.push('\'');
        }
        rest = string.get(end + 1..).unwrap_or("");
    }
    shown + rest
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

/// The name in `… name = `.
fn option_before(text: &str) -> Option<&str> {
    let text = text.trim_end().strip_suffix('=')?.trim_end();
    let text = text.strip_suffix('"').unwrap_or(text);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let start = (text.rfind(|c| !is_name(c))).map_or(0, |at| text.ceil_char_boundary(at + 1));
    Some(&text[start..])
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
            // The end of the line, or of the statement, cuts it.
            ("WITH (password = 'open", "WITH (password = '…"),
            ("wörter = 'ä' ·password='ä", "wörter = 'ä' ·password='…"),
            (
                "url = 'postgres://ada:s:e@h/d', x = 'a'",
                "url = 'postgres://ada:…@h/d', x = 'a'",
            ),
            ("url = 'http://h/a'", "url = 'http://h/a'"),
            ("'", "'"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }
}
