//! Connectors by name: what `WITH (connector = '…')` can say.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use windrow_core::stream::{Sink, Source};

use crate::error::{Error, ErrorKind, Result, nearest};
use crate::format::passing::Passing;

/// The options of a stream or a sink, without those that are not the connector's.
pub type Pairs = BTreeMap<String, String>;

/// What the queries over a source ask for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `[columns]` of the source: whether anything looks at its values.
    pub columns: Vec<bool>,
    /// Rows that may be replaced by others, which no query takes either. `None`: all rows
    /// are looked at.
    pub passing: Option<Passing>,
}

/// A declared source. It is opened when a query needs its rows, and once more for
/// each query that comes later.
pub trait Connector: Debug + Send + Sync {
    /// The columns of its rows.
    fn schema(&self) -> SchemaRef;

    /// How many partitions it has at the start.
    fn partitions(&self) -> u32 {
        1
    }

    /// Whether it may go on for ever and rows arrive as they happen.
    fn is_live(&self) -> bool {
        false
    }

    /// Whether it passes over rows that no query takes ([`Wanted::passing`]) where what it
    /// reads tells of them.
    fn passes_over(&self) -> bool {
        false
    }

    /// Starts reading from the beginning.
    ///
    /// # Errors
    /// If it cannot be read.
    fn open(&self) -> Result<Box<dyn Source>>;

    /// As [`Connector::open`], for queries that ask for no more than `wanted`. Columns that
    /// are not wanted may be NULL if [`windrow_core::stream::Origin::whole`] has them.
    ///
    /// # Errors
    /// As [`Connector::open`].
    fn open_for(&self, wanted: &Wanted) -> Result<Box<dyn Source>> {
        let _ = wanted;
        self.open()
    }
}

/// A kind of connector.
pub trait ConnectorKind: Debug + Send + Sync {
    /// Checks the options of a source and makes it ready; `declared` holds the columns
    /// that are read, if they were declared. Gives the names of options that it does
    /// not know.
    ///
    /// # Errors
    /// If an option does not fit, or the columns cannot be inferred.
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)>;

    /// As [`ConnectorKind::source`], of the stream `name`: for those whose other side names
    /// the stream that it means.
    ///
    /// # Errors
    /// As [`ConnectorKind::source`].
    fn named_source(
        &self,
        name: &str,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let _ = name;
        self.source(options, declared)
    }

    /// Opens a sink for rows of `schema`. Gives the names of options that it does not
    /// know.
    ///
    /// # Errors
    /// If an option does not fit, or the sink cannot be opened.
    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)>;

    /// Checks the options of a sink as [`ConnectorKind::sink`] does, without opening it.
    ///
    /// # Errors
    /// If an option does not fit.
    fn check_sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<Vec<String>> {
        self.sink(options, schema).map(|(_, unknown)| unknown)
    }

    /// What a sink with these options alone may write to, such as the one name of its
    /// file; `None` if others may write to it too.
    fn sink_place(&self, options: &Pairs) -> Option<String> {
        let _ = options;
        None
    }

    /// The options that it knows, as a source, for errors.
    fn option_names(&self) -> Vec<&'static str>;

    /// The options that it knows as a sink, for errors.
    fn sink_option_names(&self) -> Vec<&'static str> {
        self.option_names()
    }
}

/// The connectors of a session.
#[derive(Debug, Clone)]
pub struct Connectors {
    kinds: BTreeMap<String, Arc<dyn ConnectorKind>>,
}

impl Connectors {
    /// No connectors.
    pub fn none() -> Self {
        Self {
            kinds: BTreeMap::new(),
        }
    }

    /// Adds or replaces a kind under a name.
    pub fn register(&mut self, name: &str, kind: Arc<dyn ConnectorKind>) {
        self.kinds.insert(name.to_lowercase(), kind);
    }

    /// The names and their kinds, in the order of the alphabet.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn ConnectorKind>)> {
        self.kinds.iter().map(|(name, kind)| (name.as_str(), kind))
    }

    /// The kind of a name.
    ///
    /// # Errors
    /// If there is none; the error names the nearest.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn ConnectorKind>> {
        self.kinds.get(&name.to_lowercase()).ok_or_else(|| {
            let error = Error::new(
                ErrorKind::Option,
                format!("there is no connector \"{name}\""),
            );
            match nearest(name, self.kinds.keys().map(String::as_str)) {
                Some(meant) => error.help(format!("did you mean '{meant}'?")),
                None => {
                    let names: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
                    error.help(format!("there are {}", names.join(", ")))
                }
            }
        })
    }
}

/// The answer of a connector that is for sinks only.
pub(super) fn no_source<T>(name: &str) -> Result<T> {
    Err(Error::new(
        ErrorKind::Option,
        format!("connector '{name}' gives no rows"),
    )
    .help("it is for sinks: CREATE SINK … WITH (connector = …)"))
}

/// The answer of a connector that is for streams only.
pub(super) fn no_sink<T>(name: &str) -> Result<T> {
    Err(Error::new(
        ErrorKind::Option,
        format!("connector '{name}' takes no rows"),
    )
    .help("it is for streams: CREATE STREAM … WITH (connector = …)"))
}
