//! DataFusion's planning errors in our words, at their place in the script.

use std::ops::Range;

use datafusion::common::{Column, Diagnostic, SchemaError, Span};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span as SqlSpan};
use windrow_core::time::{WINDOW_END, WINDOW_START, WINDOW_TIME};

use super::fault_calls;
use crate::dialect::Positions;
use crate::error::{Error, ErrorKind, nearest};
use crate::words::in_sql_words;

/// What is known where an error is told.
pub struct Context<'a> {
    /// The way from spans to bytes.
    pub positions: &'a Positions,
    /// The bytes of the query.
    pub span: Range<usize>,
    /// The names of tables.
    pub tables: &'a [String],
    /// The names of functions.
    pub functions: &'a [String],
}

impl Context<'_> {
    /// An error of planning, told to a user.
    pub fn tell(&self, error: DataFusionError) -> Error {
        let error = match error {
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(error) => {
                    let path = || self.find_path(&error);
                    return self.place(match error.span().is_none().then(path).flatten() {
                        Some(span) => error.at(span),
                        None => *error,
                    });
                }
                Err(inner) => DataFusionError::External(inner),
            },
            other => other,
        };
        let diagnostic = error.diagnostic().cloned();
        let span = diagnostic
            .as_ref()
            .and_then(|diagnostic| self.range(diagnostic));
        let own = own_error(&error);
        let told = match own {
            Some(error) => error,
            None => self.translate(&error, diagnostic.as_ref()),
        };
        // A call is a better place than a word of it.
        if told.span().is_some() {
            return self.place(told);
        }
        let told = match span.or_else(|| self.find(&told)) {
            Some(span) => told.at(span),
            None => told,
        };
        self.place(told)
    }

    fn place(&self, error: Error) -> Error {
        error
            .at(self.span.clone())
            .in_script(self.positions.script())
    }

    fn range(&self, diagnostic: &Diagnostic) -> Option<Range<usize>> {
        let Span { start, end } = diagnostic.span?;
        let location = |at: datafusion::common::Location| Location {
            line: at.line,
            column: at.column,
        };
        let span = SqlSpan {
            start: location(start),
            end: location(end),
        };
        self.positions.range(span)
    }

    /// The place of a name in quotation marks that a message speaks of.
    fn find(&self, error: &Error) -> Option<Range<usize>> {
        self.word(error.message().split('"').nth(1)?)
    }

    /// The place of a path that a message speaks of.
    fn find_path(&self, error: &Error) -> Option<Range<usize>> {
        let quoted = error.message().split('\'').nth(1);
        self.word(quoted.filter(|path| path.contains(['.', '/']))?)
    }

    fn translate(&self, error: &DataFusionError, diagnostic: Option<&Diagnostic>) -> Error {
        if let DataFusionError::SchemaError(schema_error, _) = error.find_root() {
            return schema_fault(schema_error);
        }
        let sentence = crate::exec::sentence(error);
        if let Some(name) = between(&sentence, "table '", "' not found") {
            // The catalogue and the schema stand before the name, which may be a path.
            let (schema, name) = (name.split_once('.'))
                .and_then(|(_, rest)| rest.split_once('.'))
                .unwrap_or(("", name));
            return match schema {
                "windrow" => no_system_table(name),
                _ => self.no_table(name),
            };
        }
        if let Some(name) = between(&sentence, "invalid function '", "'") {
            let error = Error::new(ErrorKind::Plan, format!("there is no function \"{name}\""));
            return match nearest(name, self.functions.iter().map(String::as_str)) {
                Some(meant) => error.help(format!("did you mean {meant}?")),
                None => error.help("SHOW FUNCTIONS lists them all"),
            };
        }
        if let Some(name) = between(&sentence, "table function '", "' not found") {
            let known = [
                "tumble",
                "hop",
                "cumulate",
                "session",
                "count_window",
                "late",
                "rejected",
            ];
            let error = Error::new(
                ErrorKind::Plan,
                format!("there is no table function \"{name}\""),
            );
            return match nearest(name, known) {
                Some(meant) => error.help(format!("did you mean {}?", meant.to_uppercase())),
                None => error.help(
                    "the window functions are TUMBLE, HOP, CUMULATE, SESSION and COUNT_WINDOW",
                ),
            };
        }
        if let Some(error) = self.ungrouped(&sentence, diagnostic) {
            return error;
        }
        if let Some(error) = crate::exec::misfit(&sentence, self.positions, &self.span) {
            return error;
        }
        if let Some(error) = fault_calls::misfit(&sentence, self.positions, &self.span) {
            return error;
        }
        if let Some(error) = known_fault(&sentence) {
            return error;
        }
        let message = match diagnostic {
            Some(diagnostic) => decapitalised(&diagnostic.message),
            None => sentence,
        };
        if crate::exec::is_dump(&message) {
            return Error::new(ErrorKind::Unsupported, "this form is not supported")
                .help("write it in another way, or compute it in a subquery");
        }
        let message = in_sql_words(&message);
        let kind = match error.find_root() {
            DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
            DataFusionError::Internal(_) => ErrorKind::Internal,
            _ => ErrorKind::Plan,
        };
        let told = Error::new(kind, message);
        match diagnostic.and_then(|diagnostic| diagnostic.helps.first()) {
            Some(help) => told.help(decapitalised(&help.message)),
            None => told,
        }
    }

    /// A column that has many values in a group, and stands where one is needed.
    fn ungrouped(&self, sentence: &str, diagnostic: Option<&Diagnostic>) -> Option<Error> {
        if sentence.starts_with("HAVING clause references") {
            let error = Error::new(
                ErrorKind::Plan,
                "HAVING is about groups, and there are none",
            );
            let help = "write WHERE to choose rows, or add GROUP BY";
            return Some(error.help(help).at(self.word("HAVING")?));
        }
        let path = between(sentence, "column \"", "\" must appear in the group by")?;
        let span = diagnostic.and_then(|diagnostic| self.range(diagnostic));
        let written = span.as_ref().map(|span| self.positions.text(span));
        let name = match written {
            Some(written) => written.to_owned(),
            None => quoted(self.without_table(path)),
        };
        let message = format!("column {name} is neither grouped nor aggregated");
        let grouped = match self.word("GROUP") {
            Some(_) => format!("add {name} to GROUP BY"),
            None => format!("add GROUP BY {name}"),
        };
        let help = match WINDOW_COLUMNS.contains(&name.as_str()) {
            true => grouped,
            false => format!("{grouped}, or aggregate it: max({name}), first_value({name})"),
        };
        let error = Error::new(ErrorKind::Plan, message).help(help);
        let star = || self.positions.star(&self.span);
        Some(match span.or_else(star).or_else(|| self.word(&name)) {
            Some(span) => error.at(span),
            None => error,
        })
    }

    /// A column's name without that of its table, which is written in the query and may be
    /// a path with dots of its own.
    fn without_table<'p>(&self, path: &'p str) -> &'p str {
        let mut dots = path.rmatch_indices('.').map(|(at, _)| at);
        let table = dots.find(|at| self.word(&path[..*at]).is_some());
        table.map_or(path, |at| &path[at + 1..])
    }

    /// The first place in the query where a word stands.
    fn word(&self, word: &str) -> Option<Range<usize>> {
        let text = self.positions.script().text.get(self.span.clone())?;
        let start = self.span.start + find_word(text, word)?;
        Some(start..start + word.len())
    }

    fn no_table(&self, name: &str) -> Error {
        let error = Error::new(
            ErrorKind::Plan,
            format!("there is no stream, view or file \"{name}\""),
        );
        let is_path = name.contains(['.', '/']);
        match nearest(name, self.tables.iter().map(String::as_str)) {
            Some(meant) => error.help(format!("did you mean {meant}?")),
            None if self.tables.is_empty() => error.help(
                "create it with CREATE STREAM, or name a file in quotation marks: FROM 'data/readings.csv'",
            ),
            None if is_path => {
                error.help("a file's path counts from the folder in which windrow was started")
            }
            None => error.help(format!("there are {}", self.tables.join(", "))),
        }
    }
}

/// The tables of the schema `windrow`, which tells of the session.
const SYSTEM_TABLES: [&str; 3] = ["streams", "queries", "operators"];

fn no_system_table(name: &str) -> Error {
    let message = format!("there is no table windrow.{name}");
    let error = Error::new(ErrorKind::Plan, message);
    match nearest(name, SYSTEM_TABLES) {
        Some(meant) => error.help(format!("did you mean windrow.{meant}?")),
        None => error.help(format!(
            "there are {}",
            SYSTEM_TABLES
                .map(|name| format!("windrow.{name}"))
                .join(", ")
        )),
    }
}

/// The columns that a window adds.
const WINDOW_COLUMNS: [&str; 3] = [WINDOW_START, WINDOW_END, WINDOW_TIME];

/// Sentences that say it in the planner's own words.
fn known_fault(sentence: &str) -> Option<Error> {
    if sentence.starts_with("OVER and WITHIN GROUP") {
        return Some(
            Error::new(ErrorKind::Plan, "WITHIN GROUP cannot stand beside OVER")
                .help("give the column as an argument: percentile_cont(x, 0.95) OVER (…)"),
        );
    }
    if sentence.contains("across values list") {
        let was = in_sql_words(between(sentence, "was ", " but found")?);
        let found = in_sql_words(sentence.rsplit("found ").next()?);
        let message = format!("the rows of VALUES mix {was} and {found} in one column");
        return Some(Error::new(ErrorKind::Plan, message).help(format!(
            "write all of them in one form, or convert them: CAST(… AS {was})"
        )));
    }
    if sentence.contains("unique expression names") {
        let name = sentence.split(" AS ").nth(1)?.split('"').next()?.trim();
        let error = Error::new(ErrorKind::Plan, format!("two columns are called {name}"));
        return Some(error.help("give one of them another name with AS"));
    }
    if let Some(of) = between(sentence, "non-boolean predicate '", "'") {
        let name = of.rsplit('.').next().unwrap_or(of);
        let given = in_sql_words(sentence.rsplit("returning ").next()?);
        let message = format!("a condition is BOOLEAN; {name} is {given}");
        return Some(Error::new(ErrorKind::Plan, message).help("compare it: v > 0, or k = 'a'"));
    }
    None
}

/// An error of ours that came through DataFusion.
fn own_error(error: &DataFusionError) -> Option<Error> {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<Error>().cloned(),
        _ => None,
    }
}

fn schema_fault(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let name = &field.name;
            if let Some(error) = no_qualifier(field, valid_fields) {
                return error;
            }
            let error = Error::new(ErrorKind::Plan, format!("there is no column \"{name}\""));
            let mut names: Vec<&str> = valid_fields
                .iter()
                .map(|field| field.name.as_str())
                .collect();
            names.sort_unstable();
            names.dedup();
            let same = names.iter().find(|known| known.eq_ignore_ascii_case(name));
            match (same, nearest(name, names.iter().copied())) {
                (Some(same), _) => error.help(format!(
                    "names in quotation marks keep their case: write \"{same}\""
                )),
                (None, Some(meant)) => error.help(format!("did you mean {}?", quoted(meant))),
                (None, None) if names.is_empty() => error,
                (None, None) => {
                    let names: Vec<String> = names.into_iter().map(quoted).collect();
                    error.help(format!("the columns are {}", names.join(", ")))
                }
            }
        }
        SchemaError::AmbiguousReference { field } => Error::new(
            ErrorKind::Plan,
            format!("the column \"{}\" is in more than one table", field.name),
        )
        .help(format!("name the table too: t.{}", field.name)),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => Error::new(
            ErrorKind::Plan,
            format!("the column \"{name}\" comes up twice"),
        )
        .help("give one of them another name with AS"),
    }
}

/// The error of `x.k` where there is no table x, if that is the fault.
fn no_qualifier(field: &Column, valid_fields: &[Column]) -> Option<Error> {
    let wanted = field.relation.as_ref()?.table();
    let mut tables: Vec<&str> = (valid_fields.iter())
        .filter_map(|field| Some(field.relation.as_ref()?.table()))
        .collect();
    tables.sort_unstable();
    tables.dedup();
    if tables.is_empty() || tables.contains(&wanted) {
        return None;
    }
    let error = Error::new(ErrorKind::Plan, format!("there is no table {wanted} here"));
    let only = (tables.len() == 1).then(|| tables[0]);
    Some(match nearest(wanted, tables.iter().copied()).or(only) {
        Some(meant) => error.help(format!("did you mean {meant}?")),
        None => error.help(format!("there are {}", tables.join(", "))),
    })
}

/// A name as it has to be written in SQL.
fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        name.into()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let lower = text.to_lowercase();
    let start = lower.find(before)? + before.len();
    let length = lower.get(start..)?.find(after)?;
    text.get(start..start + length)
}

fn decapitalised(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    match chars.next() {
        Some(first) if chars.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        Some(first) => std::iter::once(first).chain(chars).collect(),
        None => String::new(),
    }
}

/// The first place of `word` in `text` where it stands as a word, in any case.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let (lower, word) = (text.to_ascii_lowercase(), word.to_ascii_lowercase());
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    lower.match_indices(&word).map(|(at, _)| at).find(|at| {
        !is_part(lower[..*at].chars().next_back())
            && !is_part(lower[at + word.len()..].chars().next())
    })
}
