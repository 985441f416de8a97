//! What a word that has been begun may become.
//!
//! ```text
//!  .mo│                   commands          FROM c│        streams, views, sinks
//!  city.p│                its columns       WITH (pa│      options of the connector
//!  FROM 'data/we│         paths             SELECT a│      columns, functions, keywords
//! ```

use std::fs;
use std::path::Path;

use super::dot;
use crate::dialect::{Piece, keywords, pieces, typed};
use crate::format::encode::OutputFormat;
use crate::session::{Known, Relation};

/// Paths that are offered at most.
const PATHS_MAX: usize = 100;

/// The words after which a relation is named.
const BEFORE_RELATION: [&str; 9] = [
    "FROM", "JOIN", "INTO", "DESCRIBE", "DESC", "STREAM", "VIEW", "SINK", "TABLE",
];

/// A piece of the statement before the word: its text and its kind.
type Before<'a> = [(&'a str, Piece)];

/// The words that may stand at the end of a line, and where they start in it.
///
/// - `before`: the lines before it, of the same statement.
/// - `line`: up to the cursor.
pub(super) fn complete(before: &str, line: &str, known: &Known) -> (usize, Vec<String>) {
    if before.trim().is_empty() && line.trim_start().starts_with('.') {
        return dot_words(line, known);
    }
    let text = format!("{before}{line}");
    let statement = match typed(&text).rest {
        Some(start) => &text[start..],
        None => "",
    };
    let cut = pieces(statement);
    let mut all: Vec<(&str, Piece)> = (cut.all.into_iter())
        .map(|(bytes, piece)| (&statement[bytes], piece))
        .collect();
    if cut.is_open {
        let Some((begun, Piece::Text)) = all.pop() else {
            return (line.len(), Vec::new());
        };
        return in_text(begun, &all, line, known);
    }
    let word = word_at_end(line);
    let start = line.len() - word.len();
    if !word.is_empty() && all.last().is_some_and(|(text, _)| text.ends_with(word)) {
        all.pop();
    }
    (start, words(word, &all, known))
}

/// The word that a line ends with; empty after anything else.
fn word_at_end(line: &str) -> &str {
    let head = line.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
    &line[head.len()..]
}

/// What fits in a statement after the pieces before the word.
fn words(word: &str, before: &Before<'_>, known: &Known) -> Vec<String> {
    let last = before.last().map_or("", |(text, _)| *text);
    if last == "." {
        let name = before.len().checked_sub(2).map(|place| before[place].0);
        let relation = name.and_then(|name| relation(known, name));
        let columns = relation.iter().flat_map(|relation| &relation.columns);
        return matching(word, columns.map(|column| quoted(column)));
    }
    if let Some(options) = options(before, known) {
        return match last {
            "(" | "," => matching(word, options),
            _ => Vec::new(),
        };
    }
    let relations = known
        .relations
        .iter()
        .map(|relation| quoted(&relation.name));
    if (BEFORE_RELATION.iter()).any(|word| last.eq_ignore_ascii_case(word)) {
        return matching(word, relations.chain(calls(known)));
    }
    if last.eq_ignore_ascii_case("SET") {
        return matching(word, known.settings.iter().cloned());
    }
    if word.is_empty() {
        return Vec::new();
    }
    let named: Vec<&Relation> = (before.iter())
        .filter_map(|(text, _)| relation(known, text))
        .collect();
    // What the list of a SELECT is about may be named behind it.
    let named = match named.is_empty() {
        true => known.relations.iter().collect(),
        false => named,
    };
    let columns = (named.into_iter()).flat_map(|relation| &relation.columns);
    let mut words = matching(word, columns.map(|column| quoted(column)));
    words.extend(matching(word, relations));
    words.extend(matching(word, calls(known)));
    // As it is typed: capitals, unless they are avoided.
    let is_lower = word.chars().all(|c| !c.is_uppercase());
    let keywords = keywords().into_iter().map(|keyword| match is_lower {
        true => keyword.to_lowercase(),
        false => keyword.to_owned(),
    });
    words.extend(matching(word, keywords));
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
    words
}

/// Functions with the parenthesis that opens their arguments.
fn calls(known: &Known) -> impl Iterator<Item = String> {
    known.functions.iter().map(|name| format!("{name}("))
}

/// The options that fit, where the pieces end in a `WITH (` that is not closed.
fn options(before: &Before<'_>, known: &Known) -> Option<Vec<String>> {
    let mut depth = 0usize;
    let open = before.iter().rposition(|(text, _)| match *text {
        ")" => {
            depth += 1;
            false
        }
        "(" if depth == 0 => true,
        "(" => {
            depth -= 1;
            false
        }
        _ => false,
    })?;
    let with = before[..open].last()?;
    if !with.0.eq_ignore_ascii_case("WITH") {
        return None;
    }
    let kind = before[open..].windows(3).find_map(|option| {
        let is_it = option[0].0.eq_ignore_ascii_case("connector") && option[1].0 == "=";
        is_it.then(|| option[2].0.trim_matches('\''))
    });
    let of_kind = |(name, _): &&(String, Vec<String>)| kind.is_none_or(|kind| kind == name);
    let kinds = known.connectors.iter().filter(of_kind);
    let mut options: Vec<String> = kinds.flat_map(|(_, options)| options.clone()).collect();
    options.sort();
    options.dedup();
    // What has been said is not said again.
    let given = |option: &String| before[open..].iter().any(|(text, _)| text == option);
    options.retain(|option| !given(option));
    Some(options)
}

/// What a text in quotation marks that is not closed may become.
fn in_text(begun: &str, before: &Before<'_>, line: &str, known: &Known) -> (usize, Vec<String>) {
    // It may have begun in a line before, or be of another kind, such as $$.
    let Some(value) = begun.strip_prefix('\'').filter(|text| line.ends_with(text)) else {
        return (line.len(), Vec::new());
    };
    let start = line.len() - value.len();
    let option = match before {
        [.., (name, _), ("=", _)] => name.to_lowercase(),
        _ => String::new(),
    };
    let close = |word: &str| format!("{word}'");
    let words = match option.as_str() {
        "connector" => {
            let names = known.connectors.iter().map(|(name, _)| close(name));
            matching(value, names)
        }
        "format" => {
            let names = OutputFormat::ALL.iter().map(|format| close(format.name()));
            matching(value, names)
        }
        "path" | "" => paths(value),
        _ => Vec::new(),
    };
    (start, words)
}

/// The words of a line that begins with a point.
fn dot_words(line: &str, known: &Known) -> (usize, Vec<String>) {
    let indent = line.len() - line.trim_start().len();
    let Some((name, argument)) = line[indent..].split_once(char::is_whitespace) else {
        let names = dot::COMMANDS.iter().map(|(name, takes, _)| match *takes {
            "" => (*name).to_owned(),
            _ => format!("{name} "),
        });
        return (indent, matching(&line[indent..], names));
    };
    let argument = argument.trim_start();
    let words = match name {
        ".mode" => matching(argument, dot::Mode::names().into_iter().map(str::to_owned)),
        ".timer" => matching(argument, ["on".to_owned(), "off".to_owned()]),
        ".schema" => {
            let names = known
                .relations
                .iter()
                .map(|relation| quoted(&relation.name));
            matching(argument, names)
        }
        ".read" => paths(argument),
        _ => Vec::new(),
    };
    (line.len() - argument.len(), words)
}

/// The files and folders that a path may become.
fn paths(begun: &str) -> Vec<String> {
    let (folder, name) = match begun.rfind('/') {
        Some(slash) => begun.split_at(slash + 1),
        None => ("", begun),
    };
    let place = match folder {
        "" => Path::new("."),
        folder => Path::new(folder),
    };
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    let mut paths: Vec<String> = (entries.flatten())
        .filter_map(|entry| {
            let found = entry.file_name().into_string().ok()?;
            let is_hidden = found.starts_with('.') && !name.starts_with('.');
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (found.starts_with(name) && !is_hidden).then(|| format!("{folder}{found}{slash}"))
        })
        .take(PATHS_MAX)
        .collect();
    paths.sort();
    paths
}

fn relation<'a>(known: &'a Known, text: &str) -> Option<&'a Relation> {
    let name = match text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        Some(quoted) => quoted.to_owned(),
        None => text.to_lowercase(),
    };
    known
        .relations
        .iter()
        .find(|relation| relation.name == name)
}

/// A name as it is written in SQL.
fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match is_plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The words that begin so, with or without capitals.
fn matching(begun: &str, words: impl IntoIterator<Item = String>) -> Vec<String> {
    let begun = begun.to_lowercase();
    let mut matching: Vec<String> = (words.into_iter())
        .filter(|word| {
            word.trim_start_matches('"')
                .to_lowercase()
                .starts_with(&begun)
        })
        .collect();
    matching.sort();
    matching.dedup();
    matching
}
