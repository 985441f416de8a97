//! Errors as a user reads them: what, where, and what to do now.
//!
//! ```text
//! error: this query would keep state for ever
//!   --> city.sql:3:10: GROUP BY device
//!    = help: group by a window, for example TUMBLE(readings, ts, INTERVAL '1' MINUTE)
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::secret::without_secrets;

/// The result of a call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The domain of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is no SQL.
    Syntax,
    /// A name, a type or a clause does not fit: the statement cannot be planned.
    Plan,
    /// The statement is understood, but not supported here.
    Unsupported,
    /// An option of a stream or a sink does not fit.
    Option,
    /// Data could not be used.
    Data,
    /// Reading or writing failed.
    Io,
    /// A named limit was reached.
    Limit,
    /// The work was cancelled by the user.
    Cancelled,
    /// A fault of Windrow's own.
    Internal,
}

/// A script: its name as shown in errors, and its text.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// A file name, or `-c`, or `sql`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// An error with its place and its remedy.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    help: Option<String>,
    span: Option<Range<usize>>,
    script: Option<Arc<Script>>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with one lowercase sentence without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
            span: None,
            script: None,
            source: None,
        }
    }

    /// What to write or to change instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error in other words.
    #[must_use]
    pub fn worded(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The bytes of the script that the error points at. The innermost place, which
    /// is given first, stays.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span.get_or_insert(span);
        self
    }

    /// The script that [`Error::at`] counts in.
    #[must_use]
    pub fn in_script(mut self, script: &Arc<Script>) -> Self {
        self.script.get_or_insert_with(|| script.clone());
        self
    }

    /// The cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Its domain.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The sentence, and what to write or to change instead: for who reads one line.
    pub(crate) fn advice(&self) -> String {
        match &self.help {
            Some(help) => format!("{}; {help}", self.message),
            None => self.message.clone(),
        }
    }

    /// The bytes of the script that it points at.
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        (self.source.as_deref()).map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let (Some(span), Some(script)) = (&self.span, &self.script) {
            let start = script.text.floor_char_boundary(span.start);
            let end = script
                .text
                .ceil_char_boundary(span.end.min(script.text.len()));
            let before = &script.text[..start];
            let line = before.matches('\n').count() + 1;
            let column = before
                .rsplit('\n')
                .next()
                .map_or(0, |text| text.chars().count())
                + 1;
            let text = script.text[start..end.max(start)]
                .lines()
                .next()
                .unwrap_or("");
            let text = without_secrets(&script.text, start..start + text.len());
            write!(f, "\n  --> {}:{line}:{column}: {text}", script.name)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n   = help: {help}")?;
        }
        Ok(())
    }
}

impl From<windrow_core::Error> for Error {
    fn from(error: windrow_core::Error) -> Self {
        use windrow_core::Error as Core;
        let kind = match &error {
            Core::Invalid(_) => ErrorKind::Plan,
            Core::Limit { .. } | Core::Bound { .. } => ErrorKind::Limit,
            Core::Io { .. } => ErrorKind::Io,
            Core::Panic { .. } => ErrorKind::Internal,
            Core::External(inner) => {
                if let Some(error) = inner.downcast_ref::<Error>() {
                    return error.clone();
                }
                ErrorKind::Data
            }
            _ => ErrorKind::Data,
        };
        Self::new(kind, error.to_string()).caused_by(error)
    }
}

impl From<Error> for windrow_core::Error {
    fn from(error: Error) -> Self {
        Self::external(error)
    }
}

/// Why something failed, in words alone: without the number of the operating system and
/// without the path, which may be a temporary one.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

/// The known word nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    (known.into_iter())
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_the_script_is_not_shown() {
        let script = Arc::new(Script {
            name: "-c".to_owned(),
            text: "CREATE SINK s WITH (password = 'hidden') AS SELECT 1".to_owned(),
        });
        let error = Error::new(ErrorKind::Option, "no").at(7..script.text.len());
        assert_eq!(
            error.in_script(&script).to_string(),
            "no\n  --> -c:1:8: SINK s WITH (password = '…') AS SELECT 1"
        );
    }
}
