//! Statements that are ready to run, and what becomes of them.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use windrow_core::pipeline::{QueryId, StreamId};

use super::catalog::StreamEntry;
use super::job::{BatchQuery, Found, GraphRows, RunningBatch};
use super::shared::Shared;
use super::{Session, show};
use crate::dialect::Show;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::PlannedTable;

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
    Detach(Vec<QueryId>, Vec<StreamId>),
}

/// A query that has been attached, but not started.
pub(super) struct Waiting {
    pub(super) settles: Vec<String>,
    pub(super) query: WaitingQuery,
}

pub(super) enum WaitingQuery {
    Graph {
        rows: GraphRows,
        tables: Vec<(StreamId, PlannedTable)>,
        schema: SchemaRef,
    },
    Batch(BatchQuery),
}

/// An `INSERT` into a stream.
pub(super) struct InsertRows {
    pub(super) stream: Arc<StreamEntry>,
    pub(super) columns: Vec<String>,
    pub(super) rows: Waiting,
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
    },
    Batch {
        rows: RunningBatch,
        schema: SchemaRef,
        queries: Vec<QueryId>,
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

    pub(super) fn detach(&self, shared: &Shared) {
        match self {
            Self::Ready { .. } => {}
            Self::Graph { rows, .. } => shared.detach(rows.query),
            Self::Batch { queries, .. } => {
                for query in queries {
                    shared.detach(*query);
                }
            }
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
            } => {
                shared.start_tables(tables);
                Running::Graph { rows, schema }
            }
            WaitingQuery::Batch(query) => {
                let schema = query.schema.clone();
                let queries = query.queries.clone();
                Running::Batch {
                    rows: query.start(shared)?,
                    schema,
                    queries,
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
                shared.settle(&["*".into()])?;
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
            let mut driver = shared.driver();
            driver.stop(reading);
            driver.engine.end_stream(reading)?;
            Ok(Running::nothing())
        }
        Prepared::Detach(queries, streams) => {
            for query in queries {
                shared.detach(query);
            }
            let mut driver = shared.driver();
            for stream in streams {
                driver.stop(stream);
                driver.engine.remove_stream(stream);
            }
            Ok(Running::nothing())
        }
    }
}

impl InsertRows {
    fn run(self, shared: &Arc<Shared>) -> Result<()> {
        let session = Session {
            shared: shared.clone(),
        };
        let mut running = self.rows.start(shared)?;
        loop {
            let rows = match running.look(shared) {
                Ok(Found::Rows(rows)) => rows,
                Ok(Found::Pending) => continue,
                Ok(Found::Stalled | Found::End) => break,
                Err(error) => {
                    running.detach(shared);
                    return Err(error);
                }
            };
            let fields: Vec<Field> = (rows.schema().fields().iter().zip(&self.columns))
                .map(|(field, name)| Field::new(name, field.data_type().clone(), true))
                .collect();
            let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), rows.columns().to_vec())
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            session.push(&self.stream.name, rows)?;
        }
        running.detach(shared);
        Ok(())
    }
}
