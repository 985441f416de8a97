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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;

use super::accounts::Kept;
use super::ingress::{Ingress, StreamSpec};
use super::sharing::{Meeting, Ways};
use super::stats::{Accounted, PushReport, QueryStatus};
use super::view::View;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::kernel;
use crate::operator::{Operator, Output};
use crate::stream::{Arrival, Reject, Sink};
use crate::time::MIN_TIME;

/// Limits and sizes of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Threads that operators share; 0 = one for each core.
    pub workers: usize,
    /// Rejects kept for each stream (`rejects_max`).
    pub rejects_max: usize,
    /// About how many bytes the rejects kept for each stream may take
    /// (`rejects_bytes_max`).
    pub rejects_bytes_max: usize,
    /// Late rows kept for each stream (`late_rows_max`).
    pub late_rows_max: usize,
    /// About how many bytes the late rows kept for each stream may take
    /// (`late_bytes_max`).
    pub late_bytes_max: usize,
    /// About how many rows an operator gives before they are carried on.
    pub drain_rows: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            rejects_max: 100_000,
            rejects_bytes_max: 256 << 20,
            late_rows_max: 100_000,
            late_bytes_max: 256 << 20,
            drain_rows: 16_384,
        }
    }
}

impl EngineConfig {
    fn kept(&self) -> Kept {
        Kept {
            rejects_max: self.rejects_max,
            rejects_bytes_max: self.rejects_bytes_max,
            late_rows_max: self.late_rows_max,
            late_bytes_max: self.late_bytes_max,
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
    pub(super) query: QueryId,
    pub(super) targets: Vec<Target>,
    /// Whether no window stands between this operator and the query's inputs: its
    /// counters are about rows, not about results.
    pub(super) on_rows: bool,
    pub(super) is_window: bool,
    pub(super) failed: bool,
    /// How rows of streams come out of it.
    ways: Ways,
}

/// Operators that were taken out of an engine, with their states. It takes its time to drop
/// large ones.
#[derive(Debug)]
#[must_use = "they are better dropped where nobody waits"]
pub struct Removed {
    /// Why a sink could not be completed, if that came only now.
    pub undelivered: Option<Arc<Error>>,
    _nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Query {
    pub(super) name: Arc<str>,
    pub(super) nodes: Vec<usize>,
    pub(super) view: Option<Arc<View>>,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) targets: Vec<Target>,
    pub(super) status: QueryStatus,
    pub(super) accepted: u64,
    pub(super) passed: u64,
    pub(super) rows_out: u64,
    pub(super) watermark: i64,
    /// How it accounted for rows before it was restored, if it had ended by then.
    pub(super) before: Accounted,
    /// Whether rows have been written since the sinks were last flushed.
    pub(super) unflushed: bool,
    /// Streams whose branches meet in it, and whether they all come at once.
    meetings: Vec<(usize, bool)>,
    /// Whether it reads a live stream: it has no end but that it is stopped.
    pub(super) is_live: bool,
    /// What it read when it failed, with the rows that each had given by then.
    pub(super) left: Vec<(Input, u64)>,
}

impl Query {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.status, QueryStatus::Running)
    }
}

/// Streams and queries. See the module's documentation.
#[derive(Debug)]
pub struct Engine {
    pub(super) config: EngineConfig,
    pool: Arc<rayon::ThreadPool>,
    pub(super) cancel: Arc<AtomicBool>,
    // By number, each given out once: those that are gone leave nothing behind, and an
    // operator stands after all that it reads from.
    pub(super) streams: BTreeMap<usize, Ingress>,
    pub(super) stream_targets: BTreeMap<usize, Vec<Target>>,
    pub(super) nodes: BTreeMap<usize, Node>,
    pub(super) queries: BTreeMap<usize, Query>,
    next_id: usize,
    /// Operators that put branches of a stream in order.
    pub(super) gathering: BTreeSet<usize>,
    /// Streams whose rows are carried through one by one.
    by_row: BTreeSet<usize>,
    /// The stream whose rows are under way, and which of them were late for a query.
    pub(super) late_now: Option<(Arc<str>, Vec<u32>)>,
    /// Queries whose sinks have been written to since they were last flushed.
    pub(super) unflushed: Vec<QueryId>,
    /// How many rows the queries have given out.
    pub(super) given_out: u64,
}

impl Engine {
    /// An engine without streams. `cancel`, once true, stops the giving out of results
    /// at the next opportunity; what was not given out stays in the state.
    ///
    /// # Errors
    /// If threads cannot be started, or `WINDROW_SIMD` forces a level that is not there.
    pub fn new(config: EngineConfig, cancel: Arc<AtomicBool>) -> Result<Self> {
        kernel::level()?;
        let pool = (rayon::ThreadPoolBuilder::new().num_threads(config.workers))
            .thread_name(|worker| format!("windrow-{worker}"))
            .build()
            .map_err(Error::external)?;
        Ok(Self {
            config,
            pool: Arc::new(pool),
            cancel,
            streams: BTreeMap::new(),
            stream_targets: BTreeMap::new(),
            nodes: BTreeMap::new(),
            queries: BTreeMap::new(),
            next_id: 0,
            gathering: BTreeSet::new(),
            by_row: BTreeSet::new(),
            late_now: None,
            unflushed: Vec::new(),
            given_out: 0,
        })
    }

    fn new_id(&mut self) -> usize {
        self.next_id += 1;
        self.next_id
    }

    /// Adds a stream at the caller's clock reading `now`, in nanoseconds.
    ///
    /// # Errors
    /// If the event-time column is no timestamp.
    pub fn add_stream(&mut self, spec: StreamSpec, now: i64) -> Result<StreamId> {
        let ingress = Ingress::new(spec, &self.config.kept(), now)?;
        let id = self.new_id();
        self.streams.insert(id, ingress);
        self.stream_targets.insert(id, Vec::new());
        Ok(StreamId(id))
    }

    /// Takes a stream away. Its queries must have been detached.
    pub fn remove_stream(&mut self, stream: StreamId) {
        self.streams.remove(&stream.0);
        self.stream_targets.remove(&stream.0);
    }

    /// Attaches a query; it is given what arrives from now on.
    ///
    /// # Errors
    /// If a step names an input that is not there.
    pub fn attach(&mut self, spec: QuerySpec) -> Result<QueryId> {
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

        let query = QueryId(self.new_id());
        let ids: Vec<usize> = spec.steps.iter().map(|_| self.new_id()).collect();
        let is_live = (spec.steps.iter().flat_map(|step| &step.inputs)).any(|input| match *input {
            Input::Stream(stream) => self.is_live(stream).unwrap_or(false),
            Input::Query(other) => self.query(other).is_ok_and(|other| other.is_live),
            Input::Operator(_) => false,
        });
        let mut catch_up = Vec::new();
        let mut meetings = Vec::new();
        for (place, mut step) in spec.steps.into_iter().enumerate() {
            let node = ids[place];
            let mut ways = Vec::with_capacity(step.inputs.len());
            for (input, from) in step.inputs.iter().enumerate() {
                let target = Target::Node { node, input };
                match *from {
                    Input::Stream(stream) => {
                        ways.push(Ways::of_stream(stream.0));
                        (self.stream_targets.entry(stream.0).or_default()).push(target);
                        catch_up.push((target, *from));
                    }
                    Input::Query(other) => {
                        ways.push(self.ways_of(other));
                        self.query_mut(other)?.targets.push(target);
                        catch_up.push((target, *from));
                    }
                    Input::Operator(other) => {
                        if let Some(other) = self.nodes.get_mut(&ids[other]) {
                            ways.push(other.ways.clone());
                            other.targets.push(target);
                        }
                    }
                }
            }
            if let Some(meeting) = Meeting::of(&ways) {
                let streams = meeting.streams.iter();
                meetings.extend(streams.map(|&stream| (stream, meeting.is_prompt)));
                if meeting.is_prompt {
                    step.operator.gather(meeting.inputs);
                    self.gathering.insert(node);
                }
            }
            let is_prompt = step.operator.is_prompt() && !step.is_window;
            let new = Node {
                operator: step.operator,
                query,
                targets: Vec::new(),
                on_rows: on_rows[place],
                is_window: step.is_window,
                failed: false,
                ways: Ways::after(&ways, is_prompt),
            };
            self.nodes.insert(node, new);
        }
        let last = ids.last().and_then(|last| self.nodes.get_mut(last));
        if let Some(last) = last {
            last.targets.push(Target::Output(query));
        }
        let new = Query {
            name: spec.name,
            nodes: ids,
            view: spec.view,
            sinks: spec.sinks,
            targets: Vec::new(),
            status: QueryStatus::Running,
            accepted: 0,
            passed: 0,
            rows_out: 0,
            watermark: MIN_TIME,
            before: Accounted::default(),
            unflushed: false,
            meetings,
            is_live,
            left: Vec::new(),
        };
        self.queries.insert(query.0, new);
        self.note_meetings();
        self.install(move |engine| {
            for (target, from) in catch_up {
                engine.catch_up(target, from);
            }
        });
        Ok(query)
    }

    /// How rows of streams come out of a query.
    fn ways_of(&self, query: QueryId) -> Ways {
        let last = self
            .queries
            .get(&query.0)
            .and_then(|query| query.nodes.last());
        let node = last.and_then(|last| self.nodes.get(last));
        node.map(|node| node.ways.clone()).unwrap_or_default()
    }

    /// Lets streams know whose branches meet.
    fn note_meetings(&mut self) {
        let meetings: Vec<(usize, bool)> = (self.queries.values())
            .flat_map(|query| query.meetings.iter().copied())
            .collect();
        for (id, ingress) in &mut self.streams {
            ingress.tells_arrival = meetings.iter().any(|(stream, _)| stream == id);
        }
        let by_row = meetings.iter().filter(|(_, is_prompt)| !is_prompt);
        self.by_row = by_row.map(|(stream, _)| *stream).collect();
    }

    /// Tells a new reader how far its input has come.
    pub(super) fn catch_up(&mut self, target: Target, from: Input) {
        let (watermark, ended) = match from {
            Input::Stream(stream) => match self.streams.get(&stream.0) {
                Some(ingress) => (ingress.tracker.current(), ingress.ended),
                None => return,
            },
            Input::Query(query) => match self.queries.get(&query.0) {
                Some(query) => {
                    let ended = !matches!(query.status, QueryStatus::Running);
                    (query.watermark, ended)
                }
                None => return,
            },
            Input::Operator(_) => return,
        };
        if watermark > MIN_TIME {
            self.deliver(target, Output::Watermark(watermark));
        }
        if ended {
            self.deliver(target, Output::End);
        }
    }

    /// Takes a query off. Its sinks end as [`Engine::stop`] would end them, but who does not
    /// answer is not waited for; its open windows are given up.
    pub fn detach(&mut self, query: QueryId) -> Removed {
        let failure = |engine: &Self| match &engine.queries.get(&query.0)?.status {
            QueryStatus::Failed(error) => Some(error.clone()),
            QueryStatus::Running | QueryStatus::Ended => None,
        };
        let before = failure(self);
        self.cut_sinks_by(query, |sink| sink.leave());
        let undelivered = failure(self).filter(|_| before.is_none());
        self.unlink(query);
        let query = self.queries.remove(&query.0);
        let numbers = query.map_or_else(Vec::new, |query| query.nodes);
        let nodes = (numbers.iter())
            .filter_map(|number| {
                self.gathering.remove(number);
                self.nodes.remove(number)
            })
            .collect();
        self.note_meetings();
        Removed {
            undelivered,
            _nodes: nodes,
        }
    }

    /// Takes all operators out of an engine that is not used any more.
    pub fn clear(&mut self) -> Removed {
        self.gathering.clear();
        let nodes = std::mem::take(&mut self.nodes);
        Removed {
            undelivered: None,
            _nodes: nodes.into_values().collect(),
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
        let arrival = Arrival {
            partition,
            records,
            rejected,
            origin: None,
            bytes,
        };
        self.take(stream, arrival, now)
    }

    /// As [`Engine::push`], of rows that know where they were read.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn take(&mut self, stream: StreamId, arrival: Arrival<'_>, now: i64) -> Result<PushReport> {
        self.install(|engine| {
            let ingress = engine.ingress_mut(stream)?;
            if ingress.ended {
                return Err(Error::invalid(format!(
                    "stream {} has ended and takes no more rows",
                    ingress.spec.name
                )));
            }
            let before = ingress.counters;
            let name = ingress.spec.name.clone();
            let origin = arrival.origin;
            let batch = match ingress.accept(arrival, now) {
                Ok(batch) => batch,
                Err(error) => {
                    // What reaches no query because of the failure must not vanish
                    // uncounted.
                    let counters = &mut ingress.counters;
                    counters.rejected = counters.received - counters.accepted - counters.dropped;
                    let error = Arc::new(error);
                    engine.fail_stream(stream, &error);
                    return Err(Error::Shared(error));
                }
            };
            let after = ingress.counters;
            let advanced = ingress.tracker.current();
            engine.late_now = Some((name, Vec::new()));
            let readers = engine.readers(stream);
            let given = engine.given_out;
            match batch {
                Some(batch) if engine.by_row.contains(&stream.0) => {
                    engine.carry_rows(stream, &batch, advanced);
                }
                Some(batch) => engine.carry(stream, Output::Batch(batch)),
                None => {}
            }
            engine.carry_watermark(stream, advanced);
            let mut late = engine.late_now.take().map_or(Vec::new(), |(_, rows)| rows);
            late.sort_unstable();
            late.dedup();
            engine.flush();
            let report = PushReport {
                accepted: after.accepted - before.accepted,
                rejected: after.rejected - before.rejected,
                late: late.len() as u64,
            };
            engine.account(stream, &report, &readers, given);
            if let Some(origin) = origin {
                origin.settled(&report);
            }
            Ok(report)
        })
    }

    /// The queries that take a stream's rows.
    fn readers(&self, stream: StreamId) -> Vec<QueryId> {
        let targets = self.stream_targets.get(&stream.0).into_iter().flatten();
        targets
            .filter_map(|target| match *target {
                Target::Node { node, .. } => self.nodes.get(&node).map(|node| node.query),
                Target::Output(query) => Some(query),
            })
            .collect()
    }

    /// Notes what became of rows that have been carried to their `readers`. `given`: what
    /// the queries had given out before.
    fn account(&mut self, stream: StreamId, report: &PushReport, readers: &[QueryId], given: u64) {
        let is_read = (readers.iter())
            .filter_map(|reader| self.queries.get(&reader.0))
            .any(|query| !matches!(query.status, QueryStatus::Failed(_)));
        let rest = report.accepted.saturating_sub(report.late);
        let emitted = self.given_out - given;
        if let Some(ingress) = self.streams.get_mut(&stream.0) {
            let counters = &mut ingress.counters;
            counters.late += report.late;
            match is_read {
                true => counters.processed += rest,
                false => counters.unread += rest,
            }
            counters.emitted += emitted;
        }
    }

    /// Notes what a stream has brought out since the queries had given out `given` rows.
    pub(super) fn account_emitted(&mut self, stream: StreamId, given: u64) {
        let emitted = self.given_out - given;
        if let Some(ingress) = self.streams.get_mut(&stream.0) {
            ingress.counters.emitted += emitted;
        }
    }

    /// Carries an event of a stream to all that read it.
    fn carry(&mut self, stream: StreamId, event: Output) {
        for target in self
            .stream_targets
            .get(&stream.0)
            .cloned()
            .unwrap_or_default()
        {
            if let (Output::Batch(batch), Some(query)) = (&event, self.query_of(target)) {
                query.accepted += batch.num_rows() as u64;
            }
            self.deliver(target, event.clone());
        }
        self.settle();
    }

    /// Carries a stream's watermark to its readers, unless they know it.
    fn carry_watermark(&mut self, stream: StreamId, watermark: i64) {
        let told = self
            .streams
            .get_mut(&stream.0)
            .map(|ingress| &mut ingress.told);
        if let Some(told) = told.filter(|told| watermark > **told) {
            *told = watermark;
            self.carry(stream, Output::Watermark(watermark));
        }
    }

    /// Carries rows through one by one, each with the watermark that follows from it.
    fn carry_rows(&mut self, stream: StreamId, batch: &Batch, advanced: i64) {
        for row in 0..batch.num_rows() {
            self.carry(stream, Output::Batch(batch.slice(row, 1)));
            let next = (batch.behind.as_ref()).and_then(|behind| behind.watermarks.get(row + 1));
            self.carry_watermark(stream, next.copied().unwrap_or(advanced));
        }
    }

    /// Counts rows that were dropped before they could be read. They move nothing; a stream
    /// that is not there has nothing to count.
    pub fn note_dropped(&mut self, stream: StreamId, rows: u64) {
        if let Ok(ingress) = self.ingress_mut(stream) {
            ingress.counters.received += rows;
            ingress.counters.dropped += rows;
        }
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

    /// Lets live streams know the time: idle partitions are not waited for. Sinks do
    /// what is due.
    pub fn tick(&mut self, now: i64) {
        for stream in self.streams.keys().copied().collect::<Vec<_>>() {
            // The stream was just seen to be there.
            let _ = self.move_watermark(StreamId(stream), |ingress| ingress.tick(now));
        }
        self.tick_sinks();
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
        change(ingress);
        let after = ingress.tracker.current();
        if after > ingress.told {
            let given = self.given_out;
            self.install(|engine| {
                engine.carry_watermark(stream, after);
                engine.flush();
            });
            self.account_emitted(stream, given);
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
        let given = self.given_out;
        self.install(|engine| engine.carry(stream, Output::End));
        self.account_emitted(stream, given);
        Ok(())
    }

    /// Fails every query that reads from a stream.
    pub fn fail_stream(&mut self, stream: StreamId, error: &Arc<Error>) {
        let mut failing = self.readers(stream);
        failing.dedup();
        for query in failing {
            self.fail(query, error.clone());
        }
    }

    /// The engine's own threads.
    pub(super) fn pool(&self) -> Arc<rayon::ThreadPool> {
        self.pool.clone()
    }

    /// Runs `work` with the engine's own threads.
    pub(super) fn install<R: Send>(&mut self, work: impl FnOnce(&mut Self) -> R + Send) -> R {
        let pool = self.pool.clone();
        pool.install(|| work(self))
    }

    pub(super) fn ingress(&self, stream: StreamId) -> Result<&Ingress> {
        (self.streams.get(&stream.0)).ok_or_else(|| Error::invalid("there is no such stream"))
    }

    pub(super) fn ingress_mut(&mut self, stream: StreamId) -> Result<&mut Ingress> {
        (self.streams.get_mut(&stream.0)).ok_or_else(|| Error::invalid("there is no such stream"))
    }

    pub(super) fn query(&self, query: QueryId) -> Result<&Query> {
        (self.queries.get(&query.0)).ok_or_else(|| Error::invalid("there is no such query"))
    }

    pub(super) fn query_mut(&mut self, query: QueryId) -> Result<&mut Query> {
        (self.queries.get_mut(&query.0)).ok_or_else(|| Error::invalid("there is no such query"))
    }

    pub(super) fn query_of(&mut self, target: Target) -> Option<&mut Query> {
        let query = match target {
            Target::Node { node, .. } => self.nodes.get(&node)?.query,
            Target::Output(query) => query,
        };
        self.queries.get_mut(&query.0)
    }
}
