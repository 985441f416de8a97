//! What can go wrong in the engine, as typed variants that a caller can act on.
//!
//! Each message is one lowercase sentence without a full stop that says what is
//! wrong and, where there is a remedy, what to change.

use arrow::error::ArrowError;

/// The result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A specification or an input does not fit: a caller can correct it.
    #[error("{0}")]
    Invalid(String),

    /// A named limit was reached.
    #[error("{what} needs more than {limit}; raise {setting}")]
    Limit {
        /// What needed more.
        what: String,
        /// The limit in force, with its unit.
        limit: String,
        /// The setting that raises it.
        setting: &'static str,
    },

    /// A limit that no setting raises was reached.
    #[error("{what} needs more than {limit}; {remedy}")]
    Bound {
        /// What needed more.
        what: String,
        /// The limit, with its unit.
        limit: String,
        /// What to write instead.
        remedy: &'static str,
    },

    /// Arrow refused an operation.
    #[error("{0}")]
    Arrow(#[from] ArrowError),

    /// Reading or writing failed.
    #[error("{context}: {source}")]
    Io {
        /// What was being read or written.
        context: String,
        /// The operating system's answer.
        source: std::io::Error,
    },

    /// A snapshot does not fit the engine it is restored into.
    #[error("the snapshot cannot be restored: {0}")]
    Snapshot(String),

    /// An operator panicked; its query has failed.
    #[error("internal error in {operator}: {message}")]
    Panic {
        /// The operator's name.
        operator: String,
        /// The panic's message.
        message: String,
    },

    /// An error that several queries share.
    #[error("{0}")]
    Shared(#[source] std::sync::Arc<Error>),

    /// An error of a part that is plugged in: an expression, a source, a sink.
    #[error("{0}")]
    External(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An [`Error::Invalid`] from any text.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// Wraps an error of a plugged-in part.
    pub fn external(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::External(error.into())
    }

    /// An [`Error::Io`] with what was being done.
    pub fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            context: context.into(),
            source,
        }
    }
}
