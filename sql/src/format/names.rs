//! Declared columns among the names that a file has.

use crate::error::{Error, ErrorKind, Result, nearest};

/// The place of a column among the names of a file: as it is spelled, else in another
/// case if only one is meant.
pub(crate) fn find(names: &[&str], column: &str) -> Option<usize> {
    let exact = names.iter().position(|name| *name == column);
    exact.or_else(|| {
        let mut alike = (names.iter().enumerate())
            .filter(|(_, name)| name.eq_ignore_ascii_case(column))
            .map(|(index, _)| index);
        alike.next().filter(|_| alike.next().is_none())
    })
}

/// That a file has no such column, with the one that may be meant. The message holds
/// `no column NAME`, by which it is placed in a script.
pub(crate) fn missing(file: &str, names: &[&str], column: &str) -> Error {
    let error = Error::new(ErrorKind::Plan, format!("{file} has no column {column}"));
    match nearest(column, names.iter().copied()) {
        Some(meant) => error.help(format!("did you mean {}?", quoted(meant))),
        None => error.help(format!("it has {}", listed(names))),
    }
}

/// A name as it has to be written in SQL.
fn quoted(name: &str) -> String {
    let plain = !name.starts_with(|c: char| c.is_ascii_digit())
        && (name.chars()).all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Some names, for a sentence.
fn listed(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 12;
    let shown = &names[..names.len().min(SHOWN_MAX)];
    let more = if names.len() > SHOWN_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Refuses columns that none of the names is.
///
/// # Errors
/// Names the first column that is missing.
pub(crate) fn require<'a>(
    file: &str,
    names: &[&str],
    columns: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    match (columns.into_iter()).find(|column| find(names, column).is_none()) {
        Some(column) => Err(missing(file, names, column)),
        None => Ok(()),
    }
}

/// As [`require`], of a header that somebody has sent. `twice`: a name that stands there
/// twice.
///
/// # Errors
/// As [`require`].
pub(crate) fn require_header<'a>(
    file: &str,
    names: &[&str],
    twice: Option<&str>,
    columns: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let Some(column) = (columns.into_iter()).find(|column| find(names, column).is_none()) else {
        return Ok(());
    };
    let error = Error::new(
        ErrorKind::Plan,
        format!("{file}: its header has no column {column}"),
    );
    Err(match (twice, nearest(column, names.iter().copied())) {
        (Some(twice), _) => error.help(format!("{twice} stands twice in the header")),
        (None, Some(meant)) => {
            error.help(format!("the header has {meant}; did you mean {column}?"))
        }
        (None, None) => error.help(format!("the header has {}", listed(names))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_found_as_it_is_spelled_or_in_another_case() {
        assert_eq!(find(&["A", "a"], "a"), Some(1));
        assert_eq!(find(&["sensorId", "b"], "sensorid"), Some(0));
        assert_eq!(find(&["SensorId", "sensorID"], "sensorid"), None);
    }

    #[test]
    fn a_missing_column_is_told_with_the_nearest() {
        let told = |column: &str| require("x.csv", &["ts", "PM2.5"], [column]);
        assert!(told("TS").is_ok());
        assert_eq!(
            told("pm25").expect_err("missing").to_string(),
            "x.csv has no column pm25\n   = help: did you mean \"PM2.5\"?"
        );
        assert_eq!(
            told("humidity").expect_err("missing").to_string(),
            "x.csv has no column humidity\n   = help: it has ts, PM2.5"
        );
    }

    #[test]
    fn a_header_is_told_what_it_has() {
        let told = |names: &[&str], twice: Option<&str>| {
            let error = require_header("http", names, twice, ["ts", "room", "co2"]);
            error.expect_err("missing").advice()
        };
        assert_eq!(
            told(&["ts", "rom", "co2"], None),
            "http: its header has no column room; the header has rom; did you mean room?"
        );
        assert_eq!(
            told(&["ts", "n", "n_2"], Some("n")),
            "http: its header has no column room; n stands twice in the header"
        );
        assert!(require_header("http", &["b", "a"], None, ["a", "b"]).is_ok());
    }
}
