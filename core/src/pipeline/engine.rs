//! The engine: streams, the queries on them, and what an event does to both.
//!
//! ```text
//!  stream ──┬─▶ operator ─▶ operator ─▶ output of query a ─┬─▶ view, sinks
//!           │                                              └─▶ operators of query c
//!           └─▶ operator ──────────────▶ output of query b ──▶ …
//! ```
//!
//! An event (rows, a watermark, an end, a tick of the clock) is carried through to the
//! sinks before the call returns: between two calls nothing is under way, so that the
//! whole state can be saved. A query that fails is taken off; its neighbours go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::accounts::LateRecords;
use super::ingress::{Ingress, StreamSpec};
use super::stats::{PushReport, QueryStats, QueryStatus, StreamStats};
use super::view::View;
use crate::error::{Error, Result};
use crate::operator::{Drain, Operator, Output};
use crate::stream::{Reject, Sink};
use crate::time::MIN_TIME;

/// Limits and sizes of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Threads that operators share; 0 = one for each core.
    pub workers: usize,
    /// Rejects kept for each stream (`rejects_max`).
    pub rejects_max: usize,
    /// Late rows kept for each stream (`late_rows_max`).
    pub late_rows_max: usize,
    /// About how many rows an operator gives before they are carried on.
    pub drain_rows: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            rejects_max: 100_000,
            late_rows_max: 100_000,
            drain_rows: 65_536,
        }
    }
}

/// A stream of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(super) usize);

/// A query of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(pub(super) usize);

/// Where an operator's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A stream's accepted rows.
    Stream(StreamId),
    /// Another query's results.
    Query(QueryId),
    /// An operator of the same query, by its place.
    Operator(usize),
}

/// An operator of a query, with its inputs in order.
#[derive(Debug)]
pub struct Step {
    /// The operator.
    pub operator: Box<dyn Operator>,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// Whether it puts rows into windows, so that what follows handles results.
    pub is_window: bool,
}

/// A query to attach: operators in an order in which each names only earlier ones;
/// the last one gives the results.
#[derive(Debug)]
pub struct QuerySpec {
    /// Its name in late rows, statistics and snapshots.
    pub name: Arc<str>,
    /// The operators, at least one.
    pub steps: Vec<Step>,
    /// Keeps the results, if they are kept.
    pub view: Option<Arc<View>>,
    /// Receive the results.
    pub sinks: Vec<Box<dyn Sink>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Node { node: usize, input: usize },
    Output(QueryId),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) operator: Box<dyn Operator>,
    query: QueryId,
    targets: Vec<Target>,
    /// Whether no window stands between this operator and the query's inputs: its
    /// counters are about rows, not about results.
    on_rows: bool,
    is_window: bool,
    failed: bool,
}

#[derive(Debug)]
pub(super) struct Query {
    pub(super) name: Arc<str>,
    pub(super) nodes: Vec<usize>,
    pub(super) view: Option<Arc<View>>,
    sinks: Vec<Box<dyn Sink>>,
    targets: Vec<Target>,
    pub(super) status: QueryStatus,
    pub(super) accepted: u64,
    pub(super) passed: u64,
    pub(super) rows_out: u64,
    pub(super) watermark: i64,
    /// Rows of the event under way that were late for this query.
    late_now: u64,
    /// Whether rows have been written since the sinks were last flushed.
    unflushed: bool,
}

/// Streams and queries. See the module's documentation.
#[derive(Debug)]
pub struct Engine {
    pub(super) config: EngineConfig,
    pool: Arc<rayon::ThreadPool>,
    cancel: Arc<AtomicBool>,
    pub(super) streams: Vec<Option<Ingress>>,
    stream_targets: Vec<Vec<Target>>,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) queries: Vec<Option<Query>>,
}

impl Engine {
    /// An engine without streams. `cancel`, once true, stops the giving out of results
    /// at the next opportunity; what was not given out stays in the state.
    ///
    /// # Errors
    /// If threads cannot be started.
    pub fn new(config: EngineConfig, cancel: Arc<AtomicBool>) -> Result<Self> {
        let pool = (rayon::ThreadPoolBuilder::new().num_threads(config.workers))
            .thread_name(|worker| format!("windrow-{worker}"))
            .build()
            .map_err(Error::external)?;
        Ok(Self {
            config,
            pool: Arc::new(pool),
            cancel,
            streams: Vec::new(),
            stream_targets: Vec::new(),
            nodes: Vec::new(),
            queries: Vec::new(),
        })
    }

    /// Adds a stream at the caller's clock reading `now`, in nanoseconds.
    ///
    /// # Errors
    /// If the event-time column is no timestamp.
    pub fn add_stream(&mut self, spec: StreamSpec, now: i64) -> Result<StreamId> {
        let ingress = Ingress::new(
            spec,
            self.config.rejects_max,
            self.config.late_rows_max,
            now,
        )?;
        self.streams.push(Some(ingress));
        self.stream_targets.push(Vec::new());
        Ok(StreamId(self.streams.len() - 1))
    }

    /// Takes a stream away. Its queries must have been detached.
    pub fn remove_stream(&mut self, stream: StreamId) {
        self.streams[stream.0] = None;
        self.stream_targets[stream.0].clear();
    }

    /// Attaches a query; it is given what arrives from now on.
    ///
    /// # Errors
    /// If a step names an input that is not there.
    pub fn attach(&mut self, spec: QuerySpec) -> Result<QueryId> {
        let query = QueryId(self.queries.len());
        let base = self.nodes.len();
        let mut on_rows = Vec::with_capacity(spec.steps.len());
        for (place, step) in spec.steps.iter().enumerate() {
            for input in &step.inputs {
                let known = match *input {
                    Input::Stream(stream) => self.ingress(stream).is_ok(),
                    Input::Query(other) => self.query(other).is_ok(),
                    Input::Operator(other) => other < place,
                };
                if !known {
                    return Err(Error::invalid(format!(
                        "step {place} of query {} has an input that is not there: {input:?}",
                        spec.name
                    )));
                }
            }
            on_rows.push(step.inputs.iter().any(|input| match *input {
                Input::Operator(other) => on_rows[other] && !spec.steps[other].is_window,
                Input::Stream(_) | Input::Query(_) => true,
            }));
        }
        if spec.steps.is_empty() {
            return Err(Error::invalid(format!("query {} has no steps", spec.name)));
        }

        let mut catch_up = Vec::new();
        for (place, step) in spec.steps.into_iter().enumerate() {
            let node = base + place;
            for (input, from) in step.inputs.iter().enumerate() {
                let target = Target::Node { node, input };
                match *from {
                    Input::Stream(stream) => {
                        self.stream_targets[stream.0].push(target);
                        let ingress = self.ingress(stream)?;
                        catch_up.push((target, ingress.tracker.current(), ingress.ended));
                    }
                    Input::Query(other) => {
                        let other = self.query_mut(other)?;
                        other.targets.push(target);
                        let ended = !matches!(other.status, QueryStatus::Running);
                        catch_up.push((target, other.watermark, ended));
                    }
                    Input::Operator(other) => {
                        if let Some(other) = self.nodes[base + other].as_mut() {
                            other.targets.push(target);
                        }
                    }
                }
            }
            self.nodes.push(Some(Node {
                operator: step.operator,
                query,
                targets: Vec::new(),
                on_rows: on_rows[place],
                is_window: step.is_window,
                failed: false,
            }));
        }
        if let Some(last) = self.nodes.last_mut().and_then(Option::as_mut) {
            last.targets.push(Target::Output(query));
        }
        self.queries.push(Some(Query {
            name: spec.name,
            nodes: (base..self.nodes.len()).collect(),
            view: spec.view,
            sinks: spec.sinks,
            targets: Vec::new(),
            status: QueryStatus::Running,
            accepted: 0,
            passed: 0,
            rows_out: 0,
            watermark: MIN_TIME,
            late_now: 0,
            unflushed: false,
        }));
        self.install(move |engine| {
            for (target, watermark, ended) in catch_up {
                if watermark > MIN_TIME {
                    engine.deliver(target, Output::Watermark(watermark));
                }
                if ended {
                    engine.deliver(target, Output::End);
                }
            }
        });
        Ok(query)
    }

    /// Adds a receiver of a query's further results.
    ///
    /// # Errors
    /// If there is no such query.
    pub fn add_sink(&mut self, query: QueryId, sink: Box<dyn Sink>) -> Result<()> {
        self.query_mut(query)?.sinks.push(sink);
        Ok(())
    }

    /// Takes a query off. Its sinks publish what they were given; its open windows
    /// are given up.
    pub fn detach(&mut self, query: QueryId) {
        self.close_sinks(query, false);
        self.unlink(query);
        if let Some(query) = self.queries.get_mut(query.0).and_then(Option::take) {
            for node in query.nodes {
                self.nodes[node] = None;
            }
        }
    }

    /// Takes rows of one partition of a stream, with the rejects found between them,
    /// at the caller's clock reading `now`.
    ///
    /// # Errors
    /// If the stream has ended, or the rows do not fit its columns. Errors of queries
    /// are theirs: see [`QueryStatus::Failed`].
    pub fn push(
        &mut self,
        stream: StreamId,
        partition: u32,
        records: &RecordBatch,
        rejected: Vec<Reject>,
        bytes: u64,
        now: i64,
    ) -> Result<PushReport> {
        self.install(|engine| {
            let ingress = engine.ingress_mut(stream)?;
            if ingress.ended {
                return Err(Error::invalid(format!(
                    "stream {} has ended and takes no more rows",
                    ingress.spec.name
                )));
            }
            let before = ingress.counters;
            let watermark = ingress.tracker.current();
            let batch = match ingress.accept(partition, records, rejected, bytes, now) {
                Ok(batch) => batch,
                Err(error) => {
                    let error = Arc::new(error);
                    engine.fail_stream(stream, &error);
                    return Err(Error::Shared(error));
                }
            };
            let after = ingress.counters;
            let advanced = ingress.tracker.current();
            let mut report = PushReport {
                accepted: after.accepted - before.accepted,
                rejected: after.rejected - before.rejected,
                late: 0,
            };
            let targets = engine.stream_targets[stream.0].clone();
            if let Some(batch) = batch {
                for target in &targets {
                    if let Some(query) = engine.query_of(*target) {
                        query.accepted += batch.num_rows() as u64;
                    }
                    engine.deliver(*target, Output::Batch(batch.clone()));
                }
            }
            if advanced > watermark {
                for target in &targets {
                    engine.deliver(*target, Output::Watermark(advanced));
                }
            }
            for query in engine.queries.iter_mut().flatten() {
                report.late = report.late.max(std::mem::take(&mut query.late_now));
            }
            engine.flush();
            Ok(report)
        })
    }

    /// Says that a partition has ended: the watermark no longer waits for it.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn end_partition(&mut self, stream: StreamId, partition: u32) -> Result<()> {
        self.move_watermark(stream, |ingress| ingress.tracker.end_partition(partition))
    }

    /// Says by hand that rows before `time` are no longer waited for.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn advance_watermark(&mut self, stream: StreamId, time: i64) -> Result<()> {
        self.move_watermark(stream, |ingress| ingress.tracker.force(time))
    }

    /// Lets live streams know the time: idle partitions are not waited for.
    pub fn tick(&mut self, now: i64) {
        for stream in 0..self.streams.len() {
            if self.streams[stream].is_some() {
                // The stream was just seen to be there.
                let _ = self.move_watermark(StreamId(stream), |ingress| ingress.tick(now));
            }
        }
    }

    fn move_watermark(
        &mut self,
        stream: StreamId,
        change: impl FnOnce(&mut Ingress) + Send,
    ) -> Result<()> {
        let ingress = self.ingress_mut(stream)?;
        if ingress.ended {
            return Ok(());
        }
        let before = ingress.tracker.current();
        change(ingress);
        let after = ingress.tracker.current();
        if after > before {
            self.install(|engine| {
                for target in engine.stream_targets[stream.0].clone() {
                    engine.deliver(target, Output::Watermark(after));
                }
                engine.flush();
            });
        }
        Ok(())
    }

    /// Ends a stream: every window closes.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn end_stream(&mut self, stream: StreamId) -> Result<()> {
        let ingress = self.ingress_mut(stream)?;
        if std::mem::replace(&mut ingress.ended, true) {
            return Ok(());
        }
        self.install(|engine| {
            for target in engine.stream_targets[stream.0].clone() {
                engine.deliver(target, Output::End);
            }
        });
        Ok(())
    }

    /// Fails every query that reads from a stream.
    pub fn fail_stream(&mut self, stream: StreamId, error: &Arc<Error>) {
        let mut failing: Vec<QueryId> = (self.stream_targets[stream.0].iter())
            .filter_map(|target| match *target {
                Target::Node { node, .. } => self.nodes[node].as_ref().map(|node| node.query),
                Target::Output(query) => Some(query),
            })
            .collect();
        failing.dedup();
        for query in failing {
            self.fail(query, error.clone());
        }
    }

    /// Stops: sinks publish what they were given, open windows stay open in the state.
    pub fn stop(&mut self) {
        for query in 0..self.queries.len() {
            self.close_sinks(QueryId(query), false);
        }
    }

    /// How a stream stands.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn stream_stats(&self, stream: StreamId) -> Result<StreamStats> {
        let ingress = self.ingress(stream)?;
        Ok(StreamStats {
            counters: ingress.counters,
            watermark: ingress.tracker.current(),
            ended: ingress.ended,
            rejects_let_go: ingress.rejects.let_go(),
            late_let_go: ingress.late.let_go(),
        })
    }

    /// How a query stands.
    ///
    /// # Errors
    /// If there is no such query.
    pub fn query_stats(&self, query: QueryId) -> Result<QueryStats> {
        let query = self.query(query)?;
        let mut stats = QueryStats {
            status: query.status.clone(),
            accepted: query.accepted,
            in_window: query.passed,
            filtered: 0,
            late: 0,
            missed_windows: 0,
            rows_out: query.rows_out,
            watermark: query.watermark,
            keys: 0,
            panes: 0,
            state_bytes: 0,
            operators: Vec::new(),
        };
        for node in query
            .nodes
            .iter()
            .filter_map(|node| self.nodes[*node].as_ref())
        {
            let counters = node.operator.counters();
            if node.on_rows {
                stats.in_window += counters.in_window;
                stats.filtered += counters.filtered;
                stats.late += counters.late;
                stats.missed_windows += counters.missed_windows;
            }
            stats.keys += counters.keys;
            stats.panes += counters.panes;
            stats.state_bytes += counters.state_bytes;
            stats
                .operators
                .push((node.operator.name().into(), counters));
        }
        Ok(stats)
    }

    /// Whether any query takes rows.
    pub fn has_running_queries(&self) -> bool {
        (self.queries.iter().flatten()).any(|query| matches!(query.status, QueryStatus::Running))
    }

    /// How all queries stand.
    pub fn all_query_stats(&self) -> Vec<QueryStats> {
        (0..self.queries.len())
            .filter_map(|query| self.query_stats(QueryId(query)).ok())
            .collect()
    }

    /// The rejects of a stream that are kept, oldest first.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn rejects(&self, stream: StreamId) -> Result<Vec<Reject>> {
        Ok(self.ingress(stream)?.rejects.iter().cloned().collect())
    }

    /// The late rows of a stream that are kept, oldest first.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn late_rows(&self, stream: StreamId) -> Result<Vec<LateRecords>> {
        Ok(self.ingress(stream)?.late.entries().cloned().collect())
    }

    /// Whether a stream may go on for ever.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn is_live(&self, stream: StreamId) -> Result<bool> {
        Ok(self.ingress(stream)?.spec.live.is_some())
    }

    /// The columns of a stream's accepted rows.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn stream_schema(&self, stream: StreamId) -> Result<SchemaRef> {
        Ok(self.ingress(stream)?.spec.prepare.schema())
    }

    /// Runs `work` with the engine's own threads.
    fn install<R: Send>(&mut self, work: impl FnOnce(&mut Self) -> R + Send) -> R {
        let pool = self.pool.clone();
        pool.install(|| work(self))
    }

    fn ingress(&self, stream: StreamId) -> Result<&Ingress> {
        (self.streams.get(stream.0).and_then(Option::as_ref))
            .ok_or_else(|| Error::invalid("there is no such stream"))
    }

    pub(super) fn ingress_mut(&mut self, stream: StreamId) -> Result<&mut Ingress> {
        (self.streams.get_mut(stream.0).and_then(Option::as_mut))
            .ok_or_else(|| Error::invalid("there is no such stream"))
    }

    fn query(&self, query: QueryId) -> Result<&Query> {
        (self.queries.get(query.0).and_then(Option::as_ref))
            .ok_or_else(|| Error::invalid("there is no such query"))
    }

    fn query_mut(&mut self, query: QueryId) -> Result<&mut Query> {
        (self.queries.get_mut(query.0).and_then(Option::as_mut))
            .ok_or_else(|| Error::invalid("there is no such query"))
    }

    fn query_of(&mut self, target: Target) -> Option<&mut Query> {
        let query = match target {
            Target::Node { node, .. } => self.nodes[node].as_ref()?.query,
            Target::Output(query) => query,
        };
        self.queries.get_mut(query.0)?.as_mut()
    }

    /// Carries an event to its target and on to the sinks.
    fn deliver(&mut self, target: Target, event: Output) {
        match target {
            Target::Node { node, input } => self.deliver_to_node(node, input, event),
            Target::Output(query) => self.deliver_to_output(query, event),
        }
    }

    fn deliver_to_node(&mut self, at: usize, input: usize, event: Output) {
        let Some(node) = self.nodes[at].as_mut().filter(|node| !node.failed) else {
            return;
        };
        let taken = guarded(&mut *node.operator, |operator| match event {
            Output::Batch(batch) => operator.on_batch(input, batch),
            Output::Watermark(watermark) => operator.on_watermark(input, watermark),
            Output::End => operator.on_end(input),
        });
        let query = node.query;
        self.collect_late(at);
        if let Err(error) = taken {
            return self.fail(query, Arc::new(error));
        }
        self.carry_on(at);
    }

    /// Gives an operator's results to the next ones until it has no more.
    fn carry_on(&mut self, at: usize) {
        let mut out = Vec::new();
        while !self.cancel.load(Ordering::Relaxed) {
            let Some(node) = self.nodes[at].as_mut().filter(|node| !node.failed) else {
                return;
            };
            let budget = self.config.drain_rows;
            let drained = guarded(&mut *node.operator, |operator| {
                operator.drain(budget, &mut out)
            });
            let query = node.query;
            let targets = node.targets.clone();
            let is_passing = node.on_rows && !node.is_window;
            for event in out.drain(..) {
                for target in &targets {
                    if let (Output::Batch(batch), true, Target::Output(query)) =
                        (&event, is_passing, *target)
                        && let Ok(query) = self.query_mut(query)
                    {
                        query.passed += batch.num_rows() as u64;
                    }
                    self.deliver(*target, event.clone());
                }
            }
            match drained {
                Ok(Drain::More) => {}
                Ok(Drain::Done) => return,
                Err(error) => return self.fail(query, Arc::new(error)),
            }
        }
    }

    /// Moves the late rows that an operator found to their stream's store.
    fn collect_late(&mut self, at: usize) {
        let Some(node) = self.nodes[at].as_mut() else {
            return;
        };
        let late = node.operator.take_late();
        if late.is_empty() {
            return;
        }
        let Some(query) = self.queries[node.query.0].as_mut() else {
            return;
        };
        for rows in late {
            query.late_now += rows.late_by.len() as u64;
            let stream = (self.streams.iter_mut().flatten())
                .find(|ingress| ingress.spec.name == rows.stream);
            if let Some(stream) = stream {
                stream.late.push(&query.name, rows);
            }
        }
    }

    fn deliver_to_output(&mut self, id: QueryId, event: Output) {
        let Some(query) = self.queries[id.0].as_mut() else {
            return;
        };
        if !matches!(query.status, QueryStatus::Running) {
            return;
        }
        match &event {
            Output::Batch(batch) => {
                query.rows_out += batch.num_rows() as u64;
                query.unflushed = true;
                if let Some(view) = &query.view {
                    view.append(batch.records.clone());
                }
                for sink in &mut query.sinks {
                    if let Err(error) = sink.write(&batch.records) {
                        return self.fail(id, Arc::new(error));
                    }
                }
            }
            Output::Watermark(watermark) => query.watermark = query.watermark.max(*watermark),
            Output::End => self.close_sinks(id, true),
        }
        let targets = match self.queries[id.0].as_ref() {
            Some(query) => query.targets.clone(),
            None => return,
        };
        for target in targets {
            if let (Output::Batch(batch), Some(reader)) = (&event, self.query_of(target)) {
                reader.accepted += batch.num_rows() as u64;
            }
            self.deliver(target, event.clone());
        }
        if matches!(event, Output::End) {
            self.unlink(id);
        }
    }

    /// Lets sinks show what they were given since the last call.
    fn flush(&mut self) {
        for id in 0..self.queries.len() {
            let Some(query) = self.queries[id].as_mut().filter(|query| query.unflushed) else {
                continue;
            };
            query.unflushed = false;
            let flushed = query.sinks.iter_mut().try_for_each(|sink| sink.flush());
            if let Err(error) = flushed {
                self.fail(QueryId(id), Arc::new(error));
            }
        }
    }

    /// Publishes what a running query's sinks were given, and says so to its view.
    fn close_sinks(&mut self, id: QueryId, ended: bool) {
        let Some(query) = self.queries.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        if !matches!(query.status, QueryStatus::Running) {
            return;
        }
        query.status = QueryStatus::Ended;
        if ended && let Some(view) = &query.view {
            view.end();
        }
        for mut sink in std::mem::take(&mut query.sinks) {
            if let Err(error) = sink.finish() {
                query.status = QueryStatus::Failed(Arc::new(error));
            }
        }
    }

    /// Takes a query off with an error; those that read its results fail with it.
    fn fail(&mut self, id: QueryId, error: Arc<Error>) {
        let Some(query) = self.queries.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        if !matches!(query.status, QueryStatus::Running) {
            return;
        }
        query.status = QueryStatus::Failed(error.clone());
        if let Some(view) = &query.view {
            view.end();
        }
        for sink in &mut query.sinks {
            sink.abort();
        }
        query.sinks.clear();
        let readers = query.targets.clone();
        for node in &query.nodes {
            if let Some(node) = self.nodes[*node].as_mut() {
                node.failed = true;
            }
        }
        self.unlink(id);
        for reader in readers {
            if let Target::Node { node, .. } = reader
                && let Some(query) = self.nodes[node].as_ref().map(|node| node.query)
            {
                self.fail(query, error.clone());
            }
        }
    }

    /// Takes a query's operators out of the way of further events.
    fn unlink(&mut self, id: QueryId) {
        let nodes = &self.nodes;
        let of_query = |target: &Target| match *target {
            Target::Node { node, .. } => (nodes[node].as_ref()).is_none_or(|node| node.query == id),
            Target::Output(query) => query == id,
        };
        for targets in &mut self.stream_targets {
            targets.retain(|target| !of_query(target));
        }
        for other in self.queries.iter_mut().flatten() {
            other.targets.retain(|target| !of_query(target));
        }
    }

    /// Goes on with what a cancelled or restored operator had not yet given out.
    pub fn resume(&mut self) {
        self.install(|engine| {
            for node in 0..engine.nodes.len() {
                engine.carry_on(node);
            }
            engine.flush();
        });
    }
}

/// Calls an operator so that a panic becomes an error of its query.
fn guarded<R>(
    operator: &mut dyn Operator,
    call: impl FnOnce(&mut dyn Operator) -> Result<R>,
) -> Result<R> {
    match catch_unwind(AssertUnwindSafe(|| call(operator))) {
        Ok(result) => result,
        Err(panic) => {
            let message = (panic.downcast_ref::<String>().cloned())
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_else(|| "a panic without words".into());
            Err(Error::Panic {
                operator: operator.name().into(),
                message,
            })
        }
    }
}
