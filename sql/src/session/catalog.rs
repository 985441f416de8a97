//! What has been created: streams, views, sinks and tables by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use windrow_core::pipeline::{EventTime, LiveRules, OnError, QueryId, StreamId, StreamSpec, View};

use super::stream_rules::Rules;
use crate::connector::registry::{Connector, ConnectorKind, Pairs};
use crate::error::Result;
use crate::plan::{RowsNow, Timing};

/// Everything that has a name.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) entries: BTreeMap<String, Entry>,
    /// Queries without a name of their own, numbered from one.
    pub(super) queries: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Entry {
    Stream(Arc<StreamEntry>),
    View(Arc<ViewEntry>),
    Sink(Arc<SinkEntry>),
    Table(Arc<TableEntry>),
}

impl Entry {
    /// What it is, for errors.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Stream(_) => "stream",
            Self::View(view) if view.kept.is_some() => "materialized view",
            Self::View(_) => "view",
            Self::Sink(_) => "sink",
            Self::Table(_) => "table",
        }
    }
}

/// A stream as it was declared, and its readings.
#[derive(Debug)]
pub(super) struct StreamEntry {
    pub(super) name: String,
    pub(super) rules: Rules,
    pub(super) event_time: Option<EventTime>,
    /// The bound as it was declared, for `DESCRIBE`.
    pub(super) watermark: Option<String>,
    pub(super) live: Option<LiveRules>,
    pub(super) on_error: OnError,
    /// `None`: fed by INSERT and push.
    pub(super) connector: Option<Arc<dyn Connector>>,
    pub(super) connector_name: String,
    /// Whether it stands for a file named in a query.
    pub(super) implicit: bool,
    pub(super) readings: std::sync::Mutex<Vec<Reading>>,
}

/// One run through a source, shared by the queries that were there when it started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) id: StreamId,
    pub(super) started: bool,
}

impl StreamEntry {
    pub(super) fn schema(&self) -> SchemaRef {
        self.rules.schema.clone()
    }

    pub(super) fn timing(&self) -> Timing {
        let columns = self.event_time.map(|time| crate::plan::TimeColumn {
            column: time.column,
            lag: 0,
        });
        Timing {
            columns: columns.into_iter().collect(),
            watermarked: self.event_time.is_some(),
            bounded: self.live.is_none(),
        }
    }

    pub(super) fn readings(&self) -> std::sync::MutexGuard<'_, Vec<Reading>> {
        // The list is only pushed to and marked: a panic elsewhere leaves it whole.
        (self.readings.lock()).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl StreamEntry {
    /// What the engine has to know of a reading. Readings after the first have names of
    /// their own, so that their rows are told apart.
    pub(super) fn spec(&self, reading: usize) -> StreamSpec {
        let name = match reading {
            0 => self.name.clone(),
            later => format!("{}#{}", self.name, later + 1),
        };
        StreamSpec {
            name: name.into(),
            prepare: self.rules.prepare(),
            event_time: self.event_time,
            live: self.live,
            partitions: match &self.connector {
                Some(connector) => connector.partitions(),
                // Producers join when they push.
                None => 0,
            },
            on_error: self.on_error,
        }
    }
}

/// A view: a name for a query, or kept results.
#[derive(Debug)]
pub(super) struct ViewEntry {
    pub(super) name: String,
    pub(super) schema: SchemaRef,
    /// The text of the query.
    pub(super) text: String,
    /// The names that it reads.
    pub(super) reads: Vec<String>,
    pub(super) kept: Option<Kept>,
    /// What a plain view stands for.
    pub(super) plan: Option<LogicalPlan>,
}

/// The kept results of a materialized view.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) view: Arc<View>,
    pub(super) timing: Timing,
    /// `None`: computed once when the bounded inputs have been read.
    pub(super) query: Option<QueryId>,
}

impl RowsNow for Kept {
    fn rows(&self) -> Result<Vec<RecordBatch>> {
        Ok(self.view.batches())
    }
}

/// A sink as it was declared.
#[derive(Debug)]
pub(super) struct SinkEntry {
    pub(super) name: String,
    pub(super) kind: Arc<dyn ConnectorKind>,
    pub(super) connector_name: String,
    pub(super) options: Pairs,
    /// The columns, where they are declared or have been written before.
    pub(super) schema: Option<SchemaRef>,
    pub(super) reads: Vec<String>,
    /// The continuous query written in CREATE SINK.
    pub(super) query: std::sync::Mutex<Vec<QueryId>>,
}

/// A table in memory.
#[derive(Debug)]
pub(super) struct TableEntry {
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
}

impl RowsNow for TableEntry {
    fn rows(&self) -> Result<Vec<RecordBatch>> {
        Ok(self.batches.clone())
    }
}

impl Catalog {
    /// A name for a query without one.
    pub(super) fn query_name(&mut self) -> String {
        self.queries += 1;
        format!("query {}", self.queries)
    }

    /// The names that read from `name`.
    pub(super) fn readers(&self, name: &str) -> Vec<String> {
        let reads = |reads: &[String]| reads.iter().any(|read| read == name);
        (self.entries.iter())
            .filter(|(_, entry)| match entry {
                Entry::View(view) => reads(&view.reads),
                Entry::Sink(sink) => reads(&sink.reads),
                _ => false,
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The names of what was created, without files named in queries.
    pub(super) fn names(&self) -> Vec<String> {
        (self.entries.iter())
            .filter(|(_, entry)| !matches!(entry, Entry::Stream(stream) if stream.implicit))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
