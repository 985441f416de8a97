//! DataFusion's errors over data, in our words.

use datafusion::error::DataFusionError;

use crate::error::{Error, ErrorKind};

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
    Error::new(kind, sentence)
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
