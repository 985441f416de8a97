//! What can be named in SQL now, for who completes words.

use super::Session;
use super::catalog::Entry;
use super::declare::OWN_OPTIONS;
use super::show;

/// What can be named in SQL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// What was created, in the order of the names.
    pub relations: Vec<Relation>,
    /// Functions and the kinds of windows.
    pub functions: Vec<String>,
    /// Kinds of connectors, each with the options of its streams and sinks.
    pub connectors: Vec<(String, Vec<String>)>,
    /// What `SET` changes.
    pub settings: Vec<String>,
}

/// A stream, a view, a sink or a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name, as it is stored.
    pub name: String,
    /// Its columns, as far as they are known.
    pub columns: Vec<String>,
}

impl Session {
    /// What can be named in SQL now. Waits for nothing that is being read.
    pub fn known(&self) -> Known {
        let connectors = self.shared.connectors();
        let options = connectors.iter().map(|(name, kind)| {
            let own = OWN_OPTIONS.into_iter();
            let mut options: Vec<String> = (kind.option_names().into_iter())
                .chain(kind.sink_option_names())
                .chain(own)
                .map(str::to_owned)
                .collect();
            options.sort();
            options.dedup();
            (name.to_owned(), options)
        });
        let settings = self.shared.settings();
        let settings = settings.list().map(|(name, _, _)| name.to_string());
        Known {
            relations: self.relations(),
            functions: (show::functions(&self.shared).into_iter())
                .map(|(name, _)| name)
                .collect(),
            connectors: options.collect(),
            settings: settings.collect(),
        }
    }

    fn relations(&self) -> Vec<Relation> {
        let standing = self.shared.catalog().standing();
        (standing.into_iter())
            .filter(|(_, entry)| !matches!(entry, Entry::Stream(stream) if stream.implicit))
            .map(|(name, entry)| {
                let schema = match &entry {
                    Entry::Stream(stream) => Some(stream.schema()),
                    Entry::View(view) => Some(view.schema.clone()),
                    Entry::Table(table) => Some(table.schema.clone()),
                    Entry::Sink(sink) => sink.schema.clone(),
                };
                let fields = schema.iter().flat_map(|schema| schema.fields().iter());
                let columns = fields.map(|field| field.name().clone()).collect();
                Relation { name, columns }
            })
            .collect()
    }
}
