//! DataFusion's errors over data, in our words.

use datafusion::error::DataFusionError;

use crate::dialect::bare_type;
use crate::error::{Error, ErrorKind};
use crate::words::in_sql_words;

/// A value that did not fit where it was needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Misfit {
    /// A value that a type cannot hold.
    Cast { value: String, to: String },
    /// A whole number was divided by zero.
    Division,
    /// The result of a calculation that its type cannot hold.
    Overflow { of: String },
    /// A time that nanoseconds cannot count; empty: it is not told which.
    Time { value: String },
}

impl Misfit {
    /// What a sentence of DataFusion or Arrow is about, if it is about data.
    pub(super) fn of(sentence: &str) -> Option<Self> {
        let lower = sentence.to_ascii_lowercase();
        if lower.starts_with("divide by zero") {
            return Some(Self::Division);
        }
        if lower.starts_with("overflow happened on: ") {
            let of = sentence.split_once(": ")?.1.to_owned();
            return Some(Self::Overflow { of });
        }
        // A date has a number there.
        let is_date = lower.starts_with("cannot cast date")
            && lower.contains(" to timestamp(ns): converted value exceeds");
        if is_date || lower.contains("can be represented as nanoseconds") {
            let value = lower.strip_prefix("overflow converting ");
            let value = value.and_then(|rest| rest.split_once(" to nanosecond"));
            let value = value.map_or("", |(value, _)| value).to_uppercase();
            return Some(Self::Time { value });
        }
        // Each way to say it: before the value, between it and the type, after the type.
        const WAYS: [(&str, &str, &str); 6] = [
            ("cannot cast string ", " to value of ", " type"),
            ("cannot cast value ", " to value of ", " type"),
            ("can't cast value ", " to type ", ""),
            ("", " is too large to store in a ", " of precision"),
            ("", " is too small to store in a ", " of precision"),
            ("error parsing ", " from ", ": "),
        ];
        let (way, found) =
            (WAYS.iter().enumerate()).find_map(|(way, (before, between, after))| {
                let at = lower.find(between)?;
                let value = sentence.get(before.len()..at)?;
                let rest = sentence.get(at + between.len()..)?;
                let rest = match after.is_empty() {
                    true => rest,
                    // The last, for a value may hold the words that follow it.
                    false => &rest[..rest.rfind(after)?],
                };
                lower.starts_with(before).then_some((way, (value, rest)))
            })?;
        let (value, to) = match way {
            // Here the type comes first.
            5 => (found.1, found.0.to_uppercase()),
            _ => (found.0, in_sql_words(found.1)),
        };
        Some(Self::Cast {
            value: value.to_owned(),
            to: bare_type(&to).to_owned(),
        })
    }

    /// The error without its place.
    pub(super) fn error(&self) -> Error {
        let data = |message: String| Error::new(ErrorKind::Data, message);
        match self {
            Self::Cast { value, to } => data(format!("{value} cannot be cast to {to}")),
            Self::Division => data("division by zero".into()),
            Self::Overflow { of } => data(format!("the result of {of} is out of range"))
                .help("calculate in a wider type: CAST(… AS DOUBLE), or CAST(… AS DECIMAL(38, 0))"),
            Self::Time { value } => {
                let value = if value.is_empty() { "a time" } else { value };
                data(format!(
                    "{value} is out of range: TIMESTAMP in a query counts nanoseconds, from \
                     1677-09-21 to 2262-04-11"
                ))
                .help(
                    "write TIMESTAMP(6) '…' or CAST(… AS TIMESTAMP(6)): microseconds reach further",
                )
            }
        }
    }
}

/// An error that data caused while an expression or an aggregate was computed.
pub fn data_fault(error: DataFusionError) -> Error {
    let error = match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(error) => return *error,
            Err(inner) => match inner.downcast::<windrow_core::Error>() {
                Ok(error) => return Error::from(*error),
                Err(inner) => DataFusionError::External(inner),
            },
        },
        other => other,
    };
    let kind = match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Limit,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::Internal(_) => ErrorKind::Internal,
        _ => ErrorKind::Data,
    };
    let sentence = sentence(&error);
    if is_dump(&sentence) {
        return Error::new(ErrorKind::Unsupported, "this form is not supported")
            .help("write it in another way, or compute it in a subquery");
    }
    if let Some(error) = not_sliding(&sentence) {
        return error;
    }
    match kind {
        ErrorKind::Data => match Misfit::of(&sentence) {
            Some(misfit) => misfit.error(),
            None => Error::new(kind, in_sql_words(&sentence)),
        },
        _ => Error::new(kind, sentence),
    }
}

/// The error of an aggregate that cannot let rows go, in a frame whose start moves.
fn not_sliding(sentence: &str) -> Option<Error> {
    let (_, call) = sentence.split_once("`retract_batch` is not implemented: ")?;
    let name = call.split('(').next().unwrap_or(call);
    let message = format!("{name}() cannot run in an OVER window whose first row moves");
    Some(
        Error::new(ErrorKind::Unsupported, message).help(
            "let the frame start with the first row (UNBOUNDED PRECEDING), or use a HOP window",
        ),
    )
}

/// Whether a sentence holds a syntax tree or a plan, printed for programmers.
pub(crate) fn is_dump(sentence: &str) -> bool {
    [
        "Span(",
        "Location(",
        " { ",
        "([",
        "quote_style",
        "<subquery>",
    ]
    .iter()
    .any(|sign| sentence.contains(sign))
}

/// The root's own words, without the trail of contexts and the class's name.
pub(crate) fn sentence(error: &DataFusionError) -> String {
    let root = error.find_root();
    let text = match root {
        DataFusionError::ArrowError(error, _) => error.to_string(),
        other => other.message().to_string(),
    };
    let text = text.lines().next().unwrap_or_default();
    let text = [
        "Cast error: ",
        "Parser error: ",
        "Compute error: ",
        "Arithmetic overflow: ",
        "Invalid argument error: ",
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
    ]
    .iter()
    .fold(text, |text, prefix| {
        text.strip_prefix(prefix).unwrap_or(text)
    });
    let mut chars = text.trim_end_matches('.').chars();
    match chars.next() {
        Some(first) if chars.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        Some(first) => std::iter::once(first).chain(chars).collect(),
        None => "an expression failed without saying why".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_about_values_and_types() {
        for (sentence, value, to) in [
            (
                "cannot cast string 'x' to value of Int32 type",
                "'x'",
                "INT",
            ),
            (
                "Cannot cast value 'it is of a type' to value of Boolean type",
                "'it is of a type'",
                "BOOLEAN",
            ),
            ("can't cast value 300 to type Int8", "300", "TINYINT"),
            (
                "1000.0 is too large to store in a Decimal128 of precision 3. Max is 99.9",
                "1000.0",
                "DECIMAL",
            ),
            (
                "error parsing timestamp from 'x: y': timestamp must contain at least 10 characters",
                "'x: y'",
                "TIMESTAMP",
            ),
            (
                "cannot cast string 'x' to value of Decimal128(38, 10) type",
                "'x'",
                "DECIMAL",
            ),
        ] {
            let expected = Misfit::Cast {
                value: value.into(),
                to: to.into(),
            };
            assert_eq!(Misfit::of(sentence), Some(expected), "{sentence}");
        }
        assert_eq!(Misfit::of("divide by zero error"), Some(Misfit::Division));
        let of = "-32768 / -1".to_owned();
        assert_eq!(
            Misfit::of("Overflow happened on: -32768 / -1"),
            Some(Misfit::Overflow { of })
        );
        for (sentence, value) in [
            (
                "overflow converting 1600-01-01 00:00:00 to Nanosecond. The dates that can be \
                 represented as nanoseconds have to be between 1677 and 2262",
                "1600-01-01 00:00:00",
            ),
            (
                "the dates that can be represented as nanoseconds have to be between 1677 and 2262",
                "",
            ),
            (
                "Cannot cast Date32 value -135140 to Timestamp(ns): converted value exceeds the \
                 representable i64 range",
                "",
            ),
        ] {
            let value = value.to_owned();
            assert_eq!(Misfit::of(sentence), Some(Misfit::Time { value }));
        }
        assert_eq!(Misfit::of("no such thing"), None);
    }
}
