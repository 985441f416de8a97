//! What has been created: streams, views, sinks and tables by name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use windrow_core::pipeline::{
    EventTime, Expect, LiveRules, OnError, QueryId, StreamId, StreamSpec, View,
};

use super::stream_rules::Rules;
use crate::connector::registry::{Connector, ConnectorKind, Pairs, Wanted};
use crate::error::{Error, ErrorKind, Result, Script};
use crate::exec::RangeCondition;
use crate::format::passing::{Excludes, Passing};
use crate::plan::{PlannedScan, RowsNow, Timing};

/// Everything that has a name.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) entries: BTreeMap<String, Entry>,
    /// What a script drops or replaces, until that statement's turn comes: the statements
    /// before it still read it.
    leaving: Vec<(Ticket, String, Entry)>,
    /// Names of what is being created.
    pub(super) reserved: BTreeSet<String>,
    /// Queries without a name of their own, numbered from one.
    queries: u64,
    tickets: u64,
}

/// Stands for an entry that is leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// A piece of work that waits for bounded inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JobId(pub(super) u64);

/// The error that a job has failed with, if it has.
pub(super) type Failure = Arc<OnceLock<Error>>;

/// What the engine does for one query, to be given up with it.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Queries of the engine and their names; those of parts follow the one they feed.
    pub(super) queries: Vec<(String, QueryId)>,
    /// Streams of the engine that give the rows of tables.
    pub(super) tables: Vec<StreamId>,
    /// The readings of streams that it has joined.
    pub(super) readings: Vec<(Arc<StreamEntry>, StreamId)>,
    /// What waits for bounded inputs.
    pub(super) jobs: Vec<JobId>,
    pub(super) failure: Failure,
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

    /// How it is dropped, for errors.
    pub(super) fn drop_words(&self) -> &'static str {
        match self {
            Self::Stream(_) => "DROP STREAM",
            Self::View(_) => "DROP VIEW",
            Self::Sink(_) => "DROP SINK",
            Self::Table(_) => "DROP TABLE",
        }
    }

    pub(super) fn is_view(&self) -> bool {
        matches!(self, Self::View(_))
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
    /// How many readings should come.
    pub(super) expect: Option<Expect>,
    /// `None`: fed by INSERT and push.
    pub(super) connector: Option<Arc<dyn Connector>>,
    pub(super) connector_name: String,
    /// Whether it stands for a file named in a query.
    pub(super) implicit: bool,
    /// Where it is declared, for what goes wrong when it is opened.
    pub(super) place: Option<(Range<usize>, Arc<Script>)>,
    pub(super) readings: Mutex<Readings>,
}

/// The readings of a stream: those that queries have joined, and the newest.
#[derive(Debug, Clone, Default)]
pub(super) struct Readings {
    pub(super) list: Vec<Reading>,
    /// How many there have been.
    pub(super) made: usize,
}

/// One run through a source, shared by the queries that were there when it started.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) id: StreamId,
    /// What the engine calls it.
    pub(super) name: Arc<str>,
    pub(super) started: bool,
    /// How many queries and views have joined it.
    pub(super) users: usize,
    /// What those take of it that were there when it started.
    pub(super) scans: Vec<PlannedScan>,
}

impl StreamEntry {
    /// The same stream, of which nothing has been read.
    pub(super) fn afresh(&self) -> Self {
        Self {
            name: self.name.clone(),
            rules: self.rules.clone(),
            event_time: self.event_time,
            watermark: self.watermark.clone(),
            live: self.live,
            on_error: self.on_error,
            expect: self.expect.clone(),
            connector: self.connector.clone(),
            connector_name: self.connector_name.clone(),
            implicit: self.implicit,
            place: self.place.clone(),
            readings: Mutex::default(),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.rules.schema.clone()
    }

    /// What queries that take `scans` want of the source.
    pub(super) fn wanted(&self, scans: &[PlannedScan]) -> Wanted {
        let time = self.event_time.map(|time| time.column);
        let asked = scans.iter().flat_map(|scan| scan.columns.iter().copied());
        let expected = self
            .expect
            .iter()
            .flat_map(|expect| expect.keys.iter().copied());
        Wanted {
            columns: self.rules.source_columns(asked.chain(time).chain(expected)),
            passing: self.passing(scans),
        }
    }

    /// Rows of which no query takes any, as far as that can be told without reading them.
    pub(super) fn passing(&self, scans: &[PlannedScan]) -> Option<Passing> {
        let condition = |scan: &PlannedScan| -> Option<Arc<dyn Excludes>> {
            let fields = scan
                .columns
                .iter()
                .map(|place| self.rules.schema.field(*place).clone());
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let places: Vec<usize> = (scan.columns.iter())
                .map(|place| self.rules.places[*place])
                .collect();
            let condition = RangeCondition::new(scan.condition.as_ref()?, &schema, &places)?;
            Some(Arc::new(condition))
        };
        let valid = (self.event_time.map(|time| time.column).into_iter())
            .chain(self.rules.not_null.iter().copied());
        let valid = valid.map(|place| self.rules.places[place]).collect();
        let conditions = scans.iter().map(condition).collect::<Option<Vec<_>>>()?;
        // Rows that stand in for others have not their times and keys.
        let takes_each_alike = self.rules.take_each_alike() && self.expect.is_none();
        (takes_each_alike && !conditions.is_empty()).then_some(Passing { conditions, valid })
    }

    /// Whether a query that reads it alone may have parts of it passed over.
    pub(super) fn may_pass_over(&self, scan: &PlannedScan) -> bool {
        let scans = std::slice::from_ref(scan);
        let connector = self.connector.as_ref();
        connector.is_some_and(|connector| connector.passes_over()) && self.passing(scans).is_some()
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

    pub(super) fn readings(&self) -> MutexGuard<'_, Readings> {
        // Each change leaves the list whole: a panic elsewhere does not spoil it.
        (self.readings.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamEntry {
    /// What the engine has to know of a reading. Readings after the first have names of
    /// their own, so that their rows are told apart.
    pub(super) fn spec(&self, reading: usize) -> StreamSpec {
        let name = match reading {
            0 => self.name.clone(),
            later => format!("{}{READING_SIGN}{}", self.name, later + 1),
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
            expect: self.expect.clone(),
        }
    }
}

/// Stands between the name of a stream and the number of a later reading.
const READING_SIGN: char = '#';

/// Refuses a name of a stream that is one of another stream's later readings.
pub(super) fn refuse_reading(name: &str) -> Result<()> {
    let Some((stream, number)) = name.rsplit_once(READING_SIGN) else {
        return Ok(());
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    let message = format!(
        "a stream cannot be called \"{name}\": so is reading {number} of a stream \"{stream}\" \
         that is read again"
    );
    let help = format!("write another name, for example \"{stream}_{number}\"");
    Err(Error::new(ErrorKind::Plan, message).help(help))
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
    /// What those names stood for when it was created.
    pub(super) sources: Vec<Entry>,
    pub(super) work: Work,
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
        Ok(self.view.batches()?)
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
    /// What no other sink may write to.
    pub(super) place: Option<String>,
    /// Whether a query writes to it, or has.
    pub(super) is_written: AtomicBool,
    /// What is written to it, by CREATE SINK or by INSERT.
    pub(super) fed: Mutex<Fed>,
}

/// What writes to a sink.
#[derive(Debug, Default)]
pub(super) struct Fed {
    /// The names that they read.
    pub(super) reads: Vec<String>,
    pub(super) works: Vec<Work>,
}

impl SinkEntry {
    pub(super) fn fed(&self) -> MutexGuard<'_, Fed> {
        // Each change leaves the lists whole: a panic elsewhere does not spoil them.
        self.fed.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    /// Puts an entry under a name; what had the name before is leaving.
    pub(super) fn put(&mut self, name: &str, entry: Entry) -> Option<Ticket> {
        let ticket = self.take(name);
        self.entries.insert(name.into(), entry);
        ticket
    }

    /// Takes a name away; what had it is leaving.
    pub(super) fn take(&mut self, name: &str) -> Option<Ticket> {
        let entry = self.entries.remove(name)?;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.leaving.push((ticket, name.into(), entry));
        Some(ticket)
    }

    /// Lets go what was leaving.
    pub(super) fn let_go(&mut self, ticket: Ticket) -> Option<Entry> {
        let place = (self.leaving.iter()).position(|(leaving, _, _)| *leaving == ticket)?;
        Some(self.leaving.remove(place).2)
    }

    /// What the statement sees whose turn it is: later ones have not dropped or replaced
    /// anything yet.
    pub(super) fn standing(&self) -> BTreeMap<String, Entry> {
        let mut standing = self.entries.clone();
        for (_, name, entry) in self.leaving.iter().rev() {
            standing.insert(name.clone(), entry.clone());
        }
        standing
    }

    /// The names that read from `name`.
    pub(super) fn readers(&self, name: &str) -> Vec<String> {
        let reads = |reads: &[String]| reads.iter().any(|read| read == name);
        (self.entries.iter())
            .filter(|(_, entry)| match entry {
                Entry::View(view) => reads(&view.reads),
                Entry::Sink(sink) => reads(&sink.fed().reads),
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
