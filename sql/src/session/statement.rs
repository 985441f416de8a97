//! Statements that are ready to run, and what becomes of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use windrow_core::batch::renamed;
use windrow_core::pipeline::QueryId;

use super::catalog::StreamEntry;
use super::held::{Held, Leaving};
use super::job::{BatchQuery, Found, GraphRows, ReadyTable, RunningBatch, start_tables};
use super::settle::Settles;
use super::shared::{Shared, now_ns};
use super::show;
use crate::dialect::Show;
use crate::error::{Error, ErrorKind, Result, Script};

/// A statement that is ready to run.
pub(super) enum Prepared {
    /// All was done when it was prepared.
    Done,
    /// Rows that were known when it was prepared.
    Rows(RecordBatch),
    Show(Show),
    Query(Waiting),
    Insert(InsertRows),
    AdvanceWatermark(Arc<StreamEntry>, i64),
    End(Arc<StreamEntry>),
    Leave(Leaving),
}

/// A query that has been attached, but not started.
pub(super) struct Waiting {
    pub(super) settles: Settles,
    pub(super) query: WaitingQuery,
    pub(super) held: Held,
}

pub(super) enum WaitingQuery {
    Graph {
        rows: GraphRows,
        tables: Vec<ReadyTable>,
        schema: SchemaRef,
        rows_max: Option<usize>,
    },
    Batch(BatchQuery),
}

/// An `INSERT` into a stream.
pub(super) struct InsertRows {
    pub(super) stream: Arc<StreamEntry>,
    pub(super) columns: Vec<String>,
    pub(super) rows: Waiting,
    /// Where it is written.
    pub(super) span: Range<usize>,
    pub(super) script: Arc<Script>,
}

/// Rows on their way to who asked.
#[derive(Debug)]
pub(super) enum Running {
    Ready {
        schema: SchemaRef,
        rows: VecDeque<RecordBatch>,
    },
    Graph {
        rows: GraphRows,
        schema: SchemaRef,
        rows_max: Option<usize>,
        _held: Held,
    },
    Batch {
        rows: RunningBatch,
        schema: SchemaRef,
        queries: Vec<QueryId>,
        _held: Held,
    },
}

impl Running {
    fn ready(rows: RecordBatch) -> Self {
        Self::Ready {
            schema: rows.schema(),
            rows: [rows].into(),
        }
    }

    pub(super) fn nothing() -> Self {
        Self::Ready {
            schema: Arc::new(Schema::empty()),
            rows: VecDeque::new(),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Ready { schema, .. }
            | Self::Graph { schema, .. }
            | Self::Batch { schema, .. } => schema.clone(),
        }
    }

    /// The greatest number of rows that come one after the other, if it is known.
    pub(super) fn rows_max(&self) -> Option<usize> {
        match self {
            Self::Graph { rows_max, .. } => *rows_max,
            Self::Ready { .. } | Self::Batch { .. } => None,
        }
    }

    pub(super) fn look(&mut self, shared: &Shared) -> Result<Found> {
        match self {
            Self::Ready { rows, .. } => Ok(match rows.pop_front() {
                Some(rows) => Found::Rows(rows),
                None => Found::End,
            }),
            Self::Graph { rows, .. } => rows.look(shared),
            Self::Batch { rows, queries, .. } => match rows.next(shared) {
                Ok(Some(rows)) => Ok(Found::Rows(rows)),
                Ok(None) => Ok(Found::End),
                // The part's own error says more than that of the plan above it.
                Err(error) => Err(queries
                    .iter()
                    .find_map(|query| shared.failure(*query))
                    .unwrap_or(error)),
            },
        }
    }

    /// Whether nothing is being read that could bring more rows, though they have not
    /// ended. Rows may be there.
    pub(super) fn is_stalled(&self, shared: &Shared) -> Result<bool> {
        match self {
            Self::Graph { rows, .. } => rows.is_stalled(shared),
            Self::Ready { .. } | Self::Batch { .. } => Ok(false),
        }
    }
}

impl Waiting {
    fn start(self, shared: &Shared) -> Result<Running> {
        shared.settle(&self.settles)?;
        Ok(match self.query {
            WaitingQuery::Graph {
                rows,
                tables,
                schema,
                rows_max,
            } => {
                start_tables(shared, tables);
                Running::Graph {
                    rows,
                    schema,
                    rows_max,
                    _held: self.held,
                }
            }
            WaitingQuery::Batch(query) => {
                let schema = query.schema.clone();
                let queries = query.queries.clone();
                Running::Batch {
                    rows: query.start(shared)?,
                    schema,
                    queries,
                    _held: self.held,
                }
            }
        })
    }
}

/// Runs a statement up to where its rows come.
pub(super) fn execute(shared: &Arc<Shared>, statement: Prepared) -> Result<Running> {
    match statement {
        Prepared::Done => Ok(Running::nothing()),
        Prepared::Rows(rows) => Ok(Running::ready(rows)),
        Prepared::Show(what) => {
            if matches!(what, Show::Streams | Show::Queries | Show::Views) {
                shared.settle(&Settles::all())?;
            }
            Ok(Running::ready(show::show(shared, &what)?))
        }
        Prepared::Query(waiting) => waiting.start(shared),
        Prepared::Insert(insert) => {
            insert.run(shared)?;
            Ok(Running::nothing())
        }
        Prepared::AdvanceWatermark(stream, time) => {
            let reading = shared.reading(&stream)?;
            shared.driver().engine.advance_watermark(reading, time)?;
            Ok(Running::nothing())
        }
        Prepared::End(stream) => {
            let reading = shared.reading(&stream)?;
            shared.driver().end(reading, now_ns())?;
            Ok(Running::nothing())
        }
        Prepared::Leave(leaving) => {
            drop(leaving);
            Ok(Running::nothing())
        }
    }
}

impl InsertRows {
    fn run(self, shared: &Arc<Shared>) -> Result<()> {
        let (span, script) = (self.span.clone(), self.script.clone());
        (self.push_all(shared)).map_err(|error| error.at(span).in_script(&script))
    }

    fn push_all(self, shared: &Arc<Shared>) -> Result<()> {
        let mut running = self.rows.start(shared)?;
        loop {
            let rows = match running.look(shared)? {
                Found::Rows(rows) => rows,
                Found::Pending => continue,
                Found::End => return Ok(()),
                Found::Stalled => {
                    return Err(Error::new(
                        ErrorKind::Plan,
                        "the rows to insert are not read any more",
                    )
                    .help("a stream that they come from may have been dropped"));
                }
            };
            let fields: Vec<Field> = (rows.schema().fields().iter().zip(&self.columns))
                .map(|(field, name)| Field::new(name, field.data_type().clone(), true))
                .collect();
            let rows = renamed(&rows, &Arc::new(Schema::new(fields)))?;
            shared.push(&self.stream, 0, &rows)?;
        }
    }
}
