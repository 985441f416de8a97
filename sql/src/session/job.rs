//! Queries that DataFusion answers over parts that end.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use windrow_core::batch::renamed;
use windrow_core::error::Result as CoreResult;
use windrow_core::pipeline::{QueryId, Stepped, StreamId, View};
use windrow_core::stream::{Sink, Source, SourceEvent};

use super::catalog::{Failure, Work};
use super::results::{QueueSink, ResultQueue};
use super::rows_source::RowsSource;
use super::settle::Inputs;
use super::shared::{Job, STEP_WAIT, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Blame;
use crate::plan::{BatchPlan, Graph, LeafSource, RowsNow, TableRows};

/// Batches that DataFusion may be ahead of their reader.
const AHEAD_BATCHES: usize = 4;

/// A graph that has been attached, with the parts that it reads.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) query: QueryId,
    /// The queries of the parts that feed it.
    pub(super) parts: Vec<QueryId>,
    /// Tables that it reads, to be started when it runs.
    pub(super) tables: Vec<ReadyTable>,
    /// Whether one of them is the view that a job is still to compute.
    pub(super) waits: bool,
}

/// Rows that a graph reads, not yet asked for.
#[derive(Debug)]
pub(super) struct ReadyTable {
    stream: StreamId,
    schema: SchemaRef,
    rows: ReadyRows,
    /// The column by which windows over it close.
    time: Option<usize>,
}

#[derive(Debug)]
enum ReadyRows {
    Now(Arc<dyn RowsNow>),
    Computed(Box<BatchQuery>),
}

/// Attaches a graph under a name, and the parts that feed it; what the engine does for
/// them is added to `work`.
pub(super) fn attach(
    shared: &Arc<Shared>,
    graph: Graph,
    name: &str,
    view: Option<Arc<View>>,
    sinks: Vec<Box<dyn Sink>>,
    work: &mut Work,
) -> Result<Ready> {
    attach_over(shared, graph, name, view, sinks, &[], work)
}

/// As [`attach`], over the queries of what several parts read.
fn attach_over(
    shared: &Arc<Shared>,
    graph: Graph,
    name: &str,
    view: Option<Arc<View>>,
    sinks: Vec<Box<dyn Sink>>,
    common: &[QueryId],
    work: &mut Work,
) -> Result<Ready> {
    let attached = shared.attach(graph, name, view, sinks, common, work)?;
    let (mut parts, mut tables, mut waits) = (Vec::new(), Vec::new(), attached.waits);
    for (stream, table) in attached.tables {
        let rows = match table.rows {
            TableRows::Now(rows) => ReadyRows::Now(rows),
            TableRows::Computed(plan) => {
                let name = format!("{name}, input");
                let mut query = BatchQuery::attach(shared, *plan, &name, work)?;
                parts.extend_from_slice(&query.queries);
                tables.append(&mut query.tables);
                waits |= query.waits;
                ReadyRows::Computed(Box::new(query))
            }
        };
        tables.push(ReadyTable {
            stream,
            schema: table.schema,
            rows,
            time: table.time,
        });
    }
    Ok(Ready {
        query: attached.query,
        parts,
        tables,
        waits,
    })
}

/// Starts the tables of an attached graph: their rows are those of now. They are taken
/// before the driver is, for they may come from the engine.
pub(super) fn start_tables(shared: &Shared, tables: Vec<ReadyTable>) {
    for table in tables {
        let source = match table.rows {
            ReadyRows::Now(rows) => rows.rows().map(|rows| -> Box<dyn Source> {
                Box::new(RowsSource::new(table.schema, rows, table.time))
            }),
            ReadyRows::Computed(query) => query.start(shared).map(|running| -> Box<dyn Source> {
                Box::new(BatchSource {
                    schema: table.schema,
                    running,
                    is_over: false,
                })
            }),
        };
        match source {
            Ok(source) => shared.driver().start(table.stream, source),
            Err(error) => {
                let error = Arc::new(windrow_core::Error::from(error));
                shared.driver().engine.fail_stream(table.stream, &error);
            }
        }
    }
}

/// Starts what a continuous query reads of rows that are there: at once, or when what
/// they come from has been read. `waits`: whether a job is still to compute some of them.
pub(super) fn start(
    shared: &Shared,
    tables: Vec<ReadyTable>,
    waits: bool,
    inputs: Inputs,
    work: &mut Work,
) {
    if waits || inputs.waits {
        shared.add_job(Box::new(StartTables(tables)), inputs.entries, work);
    } else {
        start_tables(shared, tables);
    }
}

/// Starts tables whose rows are those of the moment when bounded inputs have been read.
#[derive(Debug)]
struct StartTables(Vec<ReadyTable>);

impl Job for StartTables {
    fn abort(&mut self) {
        self.0.clear();
    }

    fn stop(&mut self, _: &Shared) {
        self.0.clear();
    }

    fn run(self: Box<Self>, shared: &Shared) -> Result<()> {
        start_tables(shared, self.0);
        Ok(())
    }
}

/// The rows of a batch plan as a source of the engine.
struct BatchSource {
    schema: SchemaRef,
    running: RunningBatch,
    is_over: bool,
}

impl fmt::Debug for BatchSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchSource").finish_non_exhaustive()
    }
}

impl Source for BatchSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn poll(&mut self, wait: Duration) -> CoreResult<SourceEvent> {
        if self.is_over {
            return Ok(SourceEvent::End);
        }
        // The plan may need the engine that waits here.
        const PATIENCE: Duration = Duration::from_millis(1);
        Ok(match self.running.look(wait.min(PATIENCE))? {
            None => SourceEvent::Pending,
            Some(None) => {
                self.is_over = true;
                SourceEvent::End
            }
            Some(Some(records)) => SourceEvent::Batch {
                partition: 0,
                bytes: records.get_array_memory_size() as u64,
                records,
                rejected: Vec::new(),
                origin: None,
            },
        })
    }
}

/// The rows of a running query, taken out of a queue.
#[derive(Debug)]
pub(super) struct GraphRows {
    pub(super) query: QueryId,
    /// The queries of the parts that feed it.
    pub(super) parts: Vec<QueryId>,
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
        // Many rows may be waiting, and nobody for them any more.
        shared.check_cancelled()?;
        if let Some(found) = self.ready(shared)? {
            return Ok(found);
        }
        match found(shared.step(STEP_WAIT)?) {
            // A source that could not be opened has ended the query.
            Found::Stalled => Ok(self.ready(shared)?.unwrap_or(Found::Stalled)),
            found => Ok(found),
        }
    }

    /// Whether nothing is being read that could bring more rows, though they have not
    /// ended.
    pub(super) fn is_stalled(&self, shared: &Shared) -> Result<bool> {
        Ok(!self.queue.has_ended()
            && shared.step(Duration::ZERO)? == Stepped::NoSource
            && !self.queue.has_ended())
    }

    /// As [`GraphRows::look`], beside other threads that may be stepping the engine.
    fn look_beside_others(&self, shared: &Shared) -> Result<Found> {
        if let Some(found) = self.ready(shared)? {
            return Ok(found);
        }
        Ok(match shared.try_step(STEP_WAIT)? {
            Some(stepped) => found(stepped),
            None => {
                self.queue.wait(STEP_WAIT);
                Found::Pending
            }
        })
    }

    /// What is there without a step of the engine.
    fn ready(&self, shared: &Shared) -> Result<Option<Found>> {
        if let Some(rows) = self.queue.pop() {
            return Ok(Some(Found::Rows(rows)));
        }
        if !self.queue.has_ended() {
            return Ok(None);
        }
        // A part's own error says more than that of the plan above it.
        let mut queries = self.parts.iter().chain([&self.query]);
        match queries.find_map(|query| shared.failure(*query)) {
            Some(error) => Err(error),
            None => Ok(Some(Found::End)),
        }
    }
}

fn found(stepped: Stepped) -> Found {
    match stepped {
        Stepped::NoSource => Found::Stalled,
        Stepped::Progress | Stepped::Idle => Found::Pending,
    }
}

/// A leaf's rows: taken from the engine on demand.
#[derive(Debug)]
struct EngineLeaf {
    shared: Weak<Shared>,
    rows: GraphRows,
}

impl LeafSource for EngineLeaf {
    fn next(&self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(shared) = self.shared.upgrade() else {
                return Err(Error::new(ErrorKind::Cancelled, "the session is closed"));
            };
            match self.rows.look_beside_others(&shared)? {
                Found::Rows(rows) => return Ok(Some(rows)),
                Found::Pending => {}
                Found::End => return Ok(None),
                Found::Stalled => {
                    return Err(Error::new(
                        ErrorKind::Plan,
                        "this query waits for rows that nobody reads any more",
                    )
                    .help("a stream that it reads may have been dropped"));
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
    tables: Vec<ReadyTable>,
    waits: bool,
    blame: Arc<Blame>,
}

impl BatchQuery {
    pub(super) fn attach(
        shared: &Arc<Shared>,
        plan: BatchPlan,
        name: &str,
        work: &mut Work,
    ) -> Result<Self> {
        let mut queries = Vec::with_capacity(plan.leaves.len() + plan.common.len());
        let (mut tables, mut waits) = (Vec::new(), false);
        let first = work.queries.len();
        let mut common = Vec::with_capacity(plan.common.len());
        for (number, graph) in plan.common.into_iter().enumerate() {
            let name = format!("{name}, common part {}", number + 1);
            let ready = attach(shared, graph, &name, None, Vec::new(), work)?;
            waits |= ready.waits;
            queries.extend_from_slice(&ready.parts);
            queries.push(ready.query);
            common.push(ready.query);
            tables.extend(ready.tables);
        }
        // What feeds the common parts, and they themselves.
        let of_common = queries.clone();
        let attached = of_common.len();
        for (number, (leaf, graph)) in plan.leaves.into_iter().enumerate() {
            let name = match number {
                0 => name.to_string(),
                number => format!("{name}, part {}", number + 1),
            };
            let queue = Arc::new(ResultQueue::default());
            let sink = Box::new(QueueSink(queue.clone()));
            let ready = attach_over(shared, graph, &name, None, vec![sink], &common, work)?;
            waits |= ready.waits;
            queries.extend_from_slice(&ready.parts);
            queries.push(ready.query);
            tables.extend(ready.tables);
            leaf.plug(Arc::new(EngineLeaf {
                shared: Arc::downgrade(shared),
                rows: GraphRows {
                    query: ready.query,
                    parts: [&ready.parts, of_common.as_slice()].concat(),
                    queue,
                },
            }));
        }
        // Those of parts follow what they feed.
        work.queries[first..].rotate_left(attached);
        Ok(Self {
            plan: plan.plan,
            schema: plan.schema,
            queries,
            tables,
            waits,
            blame: plan.blame,
        })
    }

    /// Starts DataFusion over the parts.
    pub(super) fn start(self, shared: &Shared) -> Result<RunningBatch> {
        start_tables(shared, self.tables);
        let state = shared.state();
        let (plan, blame) = (self.plan, self.blame);
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
                    let _ = sender.send(Err(blame.fault(error)));
                    return;
                }
            };
            while let Some(batch) = stream.next().await {
                let failed = batch.is_err();
                let batch = batch.map(Some).map_err(|error| blame.fault(error));
                if sender.send(batch).is_err() || failed {
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
            if let Some(next) = self.look(LOOK)? {
                return Ok(next);
            }
        }
    }

    /// The next rows, `Some(None)` after the last, or `None` if none come within `wait`.
    pub(super) fn look(&self, wait: Duration) -> Result<Option<Option<RecordBatch>>> {
        match self.receiver.recv_timeout(wait) {
            Ok(Ok(Some(batch))) if batch.num_rows() == 0 => Ok(None),
            Ok(Ok(Some(batch))) => Ok(Some(Some(renamed(&batch, &self.schema)?))),
            Ok(Ok(None)) => Ok(Some(None)),
            Ok(Err(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::new(
                ErrorKind::Internal,
                "the work on this query has broken off",
            )),
        }
    }
}

/// A continuous query that is answered once, when its bounded inputs have been read.
#[derive(Debug)]
pub(super) struct BatchJob {
    pub(super) query: BatchQuery,
    pub(super) view: Option<Arc<View>>,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    /// Set if it is given up while it runs.
    pub(super) failure: Failure,
}

impl Job for BatchJob {
    fn abort(&mut self) {
        self.sinks.iter_mut().for_each(|sink| sink.abort());
        if let Some(view) = &self.view {
            view.end();
        }
    }

    fn stop(&mut self, shared: &Shared) {
        Self::end_early(&mut self.sinks, shared);
        if let Some(view) = &self.view {
            view.end();
        }
    }

    fn run(self: Box<Self>, shared: &Shared) -> Result<()> {
        let Self {
            query,
            view,
            mut sinks,
            failure,
        } = *self;
        let parts = query.queries.clone();
        let done = Self::copy(query, view.as_deref(), &mut sinks, shared);
        let done = match (done, failure.get()) {
            (Ok(()), Some(given_up)) => Err(given_up.clone()),
            // A part's own error says more than that of the plan above it.
            (Err(error), _) => Err((parts.iter())
                .find_map(|query| shared.failure(*query))
                .unwrap_or(error)),
            (done, None) => done,
        };
        let done = match done {
            Ok(()) => sinks.iter_mut().try_for_each(|sink| Ok(sink.finish()?)),
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                Self::end_early(&mut sinks, shared);
                Err(error)
            }
            Err(error) => {
                sinks.iter_mut().for_each(|sink| sink.abort());
                Err(error)
            }
        };
        if let Some(view) = &view {
            view.end();
        }
        done
    }
}

impl BatchJob {
    /// Ends the output of work that is stopped before its end.
    fn end_early(sinks: &mut [Box<dyn Sink>], shared: &Shared) {
        for sink in sinks {
            match sink.stop() {
                Ok(name) => shared.note_unwritten(name),
                Err(_) => sink.abort(),
            }
        }
    }

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
