//! Queries that DataFusion answers over parts that end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use windrow_core::pipeline::{QueryId, Stepped, StreamId, View};
use windrow_core::stream::Sink;

use super::results::{QueueSink, ResultQueue};
use super::shared::{Job, STEP_WAIT, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::data_fault;
use crate::plan::{BatchPlan, LeafSource, PlannedTable};

/// Batches that DataFusion may be ahead of their reader.
const AHEAD_BATCHES: usize = 4;

/// The rows of a running query, taken out of a queue.
#[derive(Debug)]
pub(super) struct GraphRows {
    pub(super) query: QueryId,
    pub(super) queue: Arc<ResultQueue>,
}

/// What a look for the next rows finds.
#[derive(Debug)]
pub(super) enum Found {
    Rows(RecordBatch),
    /// Nothing is there, and nothing is being read that could bring it.
    Stalled,
    /// Nothing is there yet.
    Pending,
    End,
}

impl GraphRows {
    /// Looks for rows; steps the engine once if there are none.
    pub(super) fn look(&self, shared: &Shared) -> Result<Found> {
        if let Some(rows) = self.queue.pop() {
            return Ok(Found::Rows(rows));
        }
        if self.queue.has_ended() {
            return match shared.failure(self.query) {
                Some(error) => Err(error),
                None => Ok(Found::End),
            };
        }
        Ok(match shared.step(STEP_WAIT)? {
            Stepped::NoSource => Found::Stalled,
            Stepped::Progress | Stepped::Idle => Found::Pending,
        })
    }
}

/// A leaf's rows: taken from the engine on demand.
#[derive(Debug)]
struct EngineLeaf {
    shared: std::sync::Weak<Shared>,
    rows: GraphRows,
}

impl LeafSource for EngineLeaf {
    fn next(&self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(shared) = self.shared.upgrade() else {
                return Err(Error::new(ErrorKind::Cancelled, "the session is closed"));
            };
            match self.rows.look(&shared)? {
                Found::Rows(rows) => return Ok(Some(rows)),
                Found::Pending => {}
                Found::End => return Ok(None),
                Found::Stalled => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "a part of this query waits for rows that nobody reads",
                    ));
                }
            }
        }
    }
}

/// A batch plan whose parts have been attached.
#[derive(Debug)]
pub(super) struct BatchQuery {
    plan: LogicalPlan,
    pub(super) schema: SchemaRef,
    pub(super) queries: Vec<QueryId>,
    tables: Vec<(StreamId, PlannedTable)>,
}

impl BatchQuery {
    pub(super) fn attach(shared: &Arc<Shared>, plan: BatchPlan, name: &str) -> Result<Self> {
        let mut queries = Vec::with_capacity(plan.leaves.len());
        let mut tables = Vec::new();
        for (number, (leaf, graph)) in plan.leaves.into_iter().enumerate() {
            let name = match number {
                0 => name.to_string(),
                number => format!("{name}, part {}", number + 1),
            };
            let queue = Arc::new(ResultQueue::default());
            let sink = Box::new(QueueSink(queue.clone()));
            let attached = shared.attach(graph, &name, None, vec![sink])?;
            queries.push(attached.query);
            tables.extend(attached.tables);
            leaf.plug(Arc::new(EngineLeaf {
                shared: Arc::downgrade(shared),
                rows: GraphRows {
                    query: attached.query,
                    queue,
                },
            }));
        }
        Ok(Self {
            plan: plan.plan,
            schema: plan.schema,
            queries,
            tables,
        })
    }

    /// Starts DataFusion over the parts.
    pub(super) fn start(self, shared: &Shared) -> Result<RunningBatch> {
        shared.start_tables(self.tables);
        let state = shared.state();
        let plan = self.plan;
        let (sender, receiver) = sync_channel(AHEAD_BATCHES);
        let task = shared.runtime()?.spawn(async move {
            let physical = state
                .query_planner()
                .create_physical_plan(&plan, &state)
                .await;
            let stream = physical.and_then(|plan| execute_stream(plan, state.task_ctx()));
            let mut stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    // Nobody may be left who wants to know.
                    let _ = sender.send(Err(data_fault(error)));
                    return;
                }
            };
            while let Some(batch) = stream.next().await {
                let failed = batch.is_err();
                if sender.send(batch.map(Some).map_err(data_fault)).is_err() || failed {
                    return;
                }
            }
            // As above.
            let _ = sender.send(Ok(None));
        });
        Ok(RunningBatch {
            schema: self.schema,
            receiver,
            task,
        })
    }
}

/// A batch plan at work.
#[derive(Debug)]
pub(super) struct RunningBatch {
    schema: SchemaRef,
    /// `None` follows the last rows.
    receiver: Receiver<Result<Option<RecordBatch>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for RunningBatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RunningBatch {
    /// The next rows; `None` after the last.
    pub(super) fn next(&self, shared: &Shared) -> Result<Option<RecordBatch>> {
        const LOOK: Duration = Duration::from_millis(50);
        loop {
            shared.check_cancelled()?;
            match self.receiver.recv_timeout(LOOK) {
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(batch))) if batch.num_rows() == 0 => {}
                Ok(Ok(Some(batch))) => {
                    let columns = batch.columns().to_vec();
                    let batch = RecordBatch::try_new(self.schema.clone(), columns)
                        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
                    return Ok(Some(batch));
                }
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "the work on this query has broken off",
                    ));
                }
            }
        }
    }
}

/// A continuous query that is answered once, when its bounded inputs have been read.
#[derive(Debug)]
pub(super) struct BatchJob {
    pub(super) query: BatchQuery,
    pub(super) view: Option<Arc<View>>,
    pub(super) sinks: Vec<Box<dyn Sink>>,
}

impl Job for BatchJob {
    fn abort(&mut self) {
        for sink in &mut self.sinks {
            sink.abort();
        }
        if let Some(view) = &self.view {
            view.end();
        }
    }

    fn run(self: Box<Self>, shared: &Shared) -> Result<()> {
        let Self {
            query,
            view,
            mut sinks,
        } = *self;
        let done = Self::copy(query, view.as_deref(), &mut sinks, shared);
        for sink in &mut sinks {
            match &done {
                Ok(()) => sink.finish()?,
                Err(_) => sink.abort(),
            }
        }
        if let Some(view) = &view {
            view.end();
        }
        done
    }
}

impl BatchJob {
    fn copy(
        query: BatchQuery,
        view: Option<&View>,
        sinks: &mut [Box<dyn Sink>],
        shared: &Shared,
    ) -> Result<()> {
        let running = query.start(shared)?;
        while let Some(rows) = running.next(shared)? {
            for sink in &mut *sinks {
                sink.write(&rows)?;
            }
            if let Some(view) = view {
                view.append(rows);
            }
        }
        Ok(())
    }
}
