//! What the parts of a session share: the engine, the catalogue, the settings.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use datafusion::execution::SessionState;
use windrow_core::pipeline::{
    Driver, Engine, Input, QueryId, QuerySpec, QueryStats, QueryStatus, Removed, Step, Stepped,
    StreamId, View,
};
use windrow_core::stream::{LeftOut, Reject, Sink};

use super::catalog::{Catalog, Entry, Failure, JobId, Reading, Work};
use super::flow::Flow;
use super::progress::{self, Faults, Losses, Progress, Seen};
use super::settings::Settings;
use super::stream_rules::Rules;
use crate::connector::registry::Connectors;
use crate::connector::stdout::is_closed_pipe;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Graph, PlannedInput, PlannedTable, TableRows};
use crate::threads;

/// How long a step waits for rows before it looks whether it was cancelled.
pub(super) const STEP_WAIT: Duration = Duration::from_millis(20);

/// How long the threads of a session that has been dropped may go on with what they do.
const PATIENCE: Duration = Duration::from_secs(600);

/// The stack of the threads that plan. DataFusion recurses over expressions and plans as
/// deep as they are nested, and a caller's thread may have little stack.
pub(super) const PLANNING_STACK_BYTES: usize = 64 << 20;

/// Work that waits until bounded inputs have been read.
pub(super) trait Job: Send {
    fn run(self: Box<Self>, shared: &Shared) -> Result<()>;

    /// Gives it up, and what its sinks would be given.
    fn abort(&mut self);

    /// As [`Job::abort`], and notes what is missing therefore.
    fn stop(&mut self, shared: &Shared);
}

/// A job whose turn has not come.
pub(super) struct PendingJob {
    pub(super) id: JobId,
    /// What it reads.
    pub(super) inputs: Vec<Entry>,
    /// Where its error goes.
    pub(super) failure: Failure,
    pub(super) job: Box<dyn Job>,
}

/// Sinks that were dropped before all rows were delivered, of which that is kept.
const UNDELIVERED_MAX: usize = 100;

/// How often it is noted where the session stands, for those who ask while it works.
const SEEN_EVERY: Duration = Duration::from_millis(100);

/// How long to wait for rows after a first look that found none; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(10);

pub(super) struct Shared {
    driver: Mutex<Driver>,
    /// Held while one waits for the driver. A thread that steps it again and again queues
    /// here behind those who wait, instead of taking it back before they wake.
    turn: Mutex<()>,
    /// How many looks in a row have found no rows.
    idle: AtomicU32,
    catalog: Mutex<Catalog>,
    pub(super) state: RwLock<SessionState>,
    pub(super) connectors: RwLock<Connectors>,
    pub(super) settings: RwLock<Settings>,
    /// Where the session stood when that was last looked at.
    progress: Mutex<Seen>,
    /// What streams and queries have counted in the last seconds.
    pub(super) flow: Mutex<Flow>,
    /// Work that DataFusion does once bounded inputs have been read, in order.
    pub(super) jobs: Mutex<Vec<PendingJob>>,
    pub(super) jobs_made: AtomicU64,
    /// Held while a job runs.
    pub(super) job_turn: Mutex<()>,
    /// Outputs that are missing because the work was stopped.
    unwritten: Mutex<Vec<String>>,
    /// Sinks that were dropped before all rows were delivered, and why.
    undelivered: Mutex<Vec<(String, Error)>>,
    /// The sink whose output is being completed.
    pub(super) closing: Arc<Mutex<Option<String>>>,
    /// Where it is said of jobs that they were cut short, should the session go on.
    cut: Mutex<Vec<Failure>>,
    /// Operators of queries that were given up when the session was cancelled: large
    /// states take their time to drop.
    removed: Mutex<Vec<Removed>>,
    pub(super) cancel: Arc<AtomicBool>,
    /// Set when the session's work ends: sinks no longer wait for long.
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) workers: usize,
    runtime: OnceLock<tokio::runtime::Runtime>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.check_cancelled().is_err() {
            let mut removed = std::mem::take(&mut *whole(&self.removed));
            removed.push(self.driver().engine.clear());
            free_aside(removed);
        }
        if let Some(runtime) = self.runtime.take() {
            // A session may be dropped inside another runtime, which must not block.
            let ended = Ended(Some(runtime));
            let _ = threads::start("windrow-end", None, move || drop(ended));
        }
    }
}

/// Drops operators on a thread of their own: who cancels waits for the end and not for
/// memory. Where no thread can be started, all is dropped here.
fn free_aside(removed: Vec<Removed>) {
    if removed.is_empty() {
        return;
    }
    let free = move || drop(removed);
    let _ = threads::start("windrow-free", None, free);
}

/// The threads of a session that has been dropped.
struct Ended(Option<tokio::runtime::Runtime>);

impl Drop for Ended {
    fn drop(&mut self) {
        let Some(runtime) = self.0.take() else { return };
        match tokio::runtime::Handle::try_current() {
            // No thread could be started to wait for them.
            Ok(_) => runtime.shutdown_background(),
            Err(_) => runtime.shutdown_timeout(PATIENCE),
        }
    }
}

/// A graph that has been attached.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) query: QueryId,
    /// Tables that it reads, to be started when it runs.
    pub(super) tables: Vec<(StreamId, PlannedTable)>,
    /// Whether one of them is the view that a job is still to compute.
    pub(super) waits: bool,
}

/// The wall clock, in nanoseconds since the Unix epoch.
pub(super) fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

/// Takes a lock whose content stays whole when its holder panics.
pub(super) fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a lock that nobody holds.
fn free<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Shared {
    pub(super) fn new(
        engine: Engine,
        workers: usize,
        settings: Settings,
        state: SessionState,
        connectors: Connectors,
        cancel: Arc<AtomicBool>,
    ) -> Self {
        Self {
            driver: Mutex::new(Driver::new(engine)),
            turn: Mutex::default(),
            idle: AtomicU32::new(0),
            catalog: Mutex::default(),
            state: RwLock::new(state),
            connectors: RwLock::new(connectors),
            settings: RwLock::new(settings),
            progress: Mutex::default(),
            flow: Mutex::default(),
            jobs: Mutex::default(),
            jobs_made: AtomicU64::new(0),
            job_turn: Mutex::default(),
            cut: Mutex::default(),
            removed: Mutex::default(),
            unwritten: Mutex::default(),
            undelivered: Mutex::default(),
            closing: Arc::default(),
            cancel,
            stopping: Arc::default(),
            workers,
            runtime: OnceLock::new(),
        }
    }

    pub(super) fn driver(&self) -> MutexGuard<'_, Driver> {
        let _turn = whole(&self.turn);
        whole(&self.driver)
    }

    pub(super) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        whole(&self.catalog)
    }

    pub(super) fn state(&self) -> SessionState {
        let state = self.state.read();
        let mut state = state.unwrap_or_else(PoisonError::into_inner).clone();
        // Functions are evaluated under the settings that they were planned with.
        state.mark_start_execution();
        state
    }

    pub(super) fn connectors(&self) -> Connectors {
        (self
            .connectors
            .read()
            .unwrap_or_else(PoisonError::into_inner))
        .clone()
    }

    pub(super) fn settings(&self) -> Settings {
        (self.settings.read().unwrap_or_else(PoisonError::into_inner)).clone()
    }

    /// The threads on which DataFusion works.
    pub(super) fn runtime(&self) -> Result<&tokio::runtime::Runtime> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if self.workers > 0 {
            // One more than the workers: a thread may wait for rows of the engine.
            builder.worker_threads(self.workers + 1);
        }
        let runtime = builder
            .thread_name("windrow-sql")
            .thread_stack_size(PLANNING_STACK_BYTES)
            .enable_time()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("threads cannot be started: {error}"))
            })?;
        Ok(self.runtime.get_or_init(|| runtime))
    }

    pub(super) fn check_cancelled(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "stopped"));
        }
        Ok(())
    }

    /// Starts what has to be read and carries on what arrives, waiting for it at most
    /// `wait`.
    pub(super) fn step(&self, wait: Duration) -> Result<Stepped> {
        self.check_cancelled()?;
        self.start_readings()?;
        let driver = self.driver();
        Ok(self.step_with(driver, wait))
    }

    /// As [`Shared::step`]; `None` if another thread is doing it.
    pub(super) fn try_step(&self, wait: Duration) -> Result<Option<Stepped>> {
        self.check_cancelled()?;
        self.start_readings()?;
        let Some(turn) = free(&self.turn) else {
            return Ok(None);
        };
        let driver = free(&self.driver);
        drop(turn);
        Ok(driver.map(|driver| self.step_with(driver, wait)))
    }

    fn step_with(&self, mut driver: MutexGuard<'_, Driver>, wait: Duration) -> Stepped {
        // The waiting is done without the driver, so that rows can be pushed meanwhile.
        let stepped = driver.step(Duration::ZERO, &now_ns);
        if stepped == Stepped::NoSource {
            driver.engine.tick(now_ns());
        }
        drop(driver);
        let is_due = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= SEEN_EVERY);
        let at = whole(&self.progress).at;
        if is_due(at) {
            self.progress();
        }
        match stepped {
            Stepped::Idle => {
                let looks = self.idle.fetch_add(1, Ordering::Relaxed).min(8);
                std::thread::sleep((PAUSE_MIN * (1 << looks)).min(PAUSE_MAX).min(wait));
            }
            Stepped::Progress | Stepped::NoSource => self.idle.store(0, Ordering::Relaxed),
        }
        stepped
    }

    /// Attaches a graph under a name; what the engine does for it is added to `work`,
    /// whether all goes well or not.
    pub(super) fn attach(
        &self,
        graph: Graph,
        name: &str,
        view: Option<Arc<View>>,
        sinks: Vec<Box<dyn Sink>>,
        common: &[QueryId],
        work: &mut Work,
    ) -> Result<Attached> {
        let (mut tables, mut waits) = (Vec::new(), false);
        for table in graph.tables {
            tables.push((self.add_table(&table, work)?, table));
        }
        let mut steps = Vec::with_capacity(graph.steps.len());
        for step in graph.steps {
            let mut inputs = Vec::with_capacity(step.inputs.len());
            for input in step.inputs {
                inputs.push(match input {
                    PlannedInput::Step(step) => Input::Operator(step),
                    PlannedInput::Common(number) => Input::Query(common[number]),
                    PlannedInput::Table(table) => Input::Stream(tables[table].0),
                    PlannedInput::Stream(scan) => {
                        let entry = self.catalog().entries.get(&scan.stream).cloned();
                        let Some(Entry::Stream(entry)) = entry else {
                            return Err(gone(&scan.stream));
                        };
                        Input::Stream(self.join(&entry, &scan, work)?)
                    }
                    PlannedInput::View(view) => {
                        let entry = self.catalog().entries.get(&view).cloned();
                        let Some(Entry::View(entry)) = entry else {
                            return Err(gone(&view));
                        };
                        let Some(kept) = &entry.kept else {
                            return Err(gone(&view));
                        };
                        if let Some(error) = self.work_failure(&entry.work) {
                            return Err(error);
                        }
                        match kept.query.filter(|query| !self.has_ended(*query)) {
                            Some(query) => Input::Query(query),
                            None => {
                                // Its rows are all there, or will be when the job that
                                // computes them has run: they are read again.
                                waits |= kept.query.is_none();
                                let table = PlannedTable {
                                    name: view,
                                    schema: entry.schema.clone(),
                                    rows: TableRows::Now(Arc::new(kept.clone())),
                                    time: None,
                                };
                                let id = self.add_table(&table, work)?;
                                tables.push((id, table));
                                Input::Stream(id)
                            }
                        }
                    }
                });
            }
            steps.push(Step {
                operator: step.operator,
                inputs,
                is_window: step.is_window,
            });
        }
        let spec = QuerySpec {
            name: name.into(),
            steps,
            view,
            sinks,
        };
        let (query, streams) = {
            let engine = &mut self.driver().engine;
            let query = engine.attach(spec)?;
            (query, engine.streams_of(query))
        };
        whole(&self.flow).begin_query(query, streams, now_ns());
        work.queries.push((name.into(), query));
        Ok(Attached {
            query,
            tables,
            waits,
        })
    }

    fn add_table(&self, table: &PlannedTable, work: &mut Work) -> Result<StreamId> {
        let spec = windrow_core::pipeline::StreamSpec {
            name: format!("{} (rows)", table.name).into(),
            prepare: Rules::none(table.schema.clone()).prepare(),
            event_time: None,
            live: None,
            partitions: 1,
            on_error: Default::default(),
            expect: None,
        };
        let id = self.driver().engine.add_stream(spec, now_ns())?;
        work.tables.push(id);
        Ok(id)
    }

    fn has_ended(&self, query: QueryId) -> bool {
        match self.driver().engine.query_stats(query) {
            Ok(stats) => !matches!(stats.status, QueryStatus::Running),
            Err(_) => true,
        }
    }

    /// The error that a query has failed with, if it has.
    pub(super) fn failure(&self, query: QueryId) -> Option<Error> {
        match self.driver().engine.query_stats(query).ok()?.status {
            QueryStatus::Failed(error) => Some(shared_error(&error)),
            _ => None,
        }
    }

    /// Where the session stands, or stood a moment ago if it is at work.
    pub(super) fn progress(&self) -> Progress {
        let streams = self.streams();
        // A source that is being opened may keep its stream locked for long.
        let readings: Option<Vec<_>> = (streams.iter())
            .map(|stream| Some((stream, free(&stream.readings)?.list.clone())))
            .collect();
        let (Some(readings), Some(driver)) = (readings, free(&self.driver)) else {
            return whole(&self.progress).progress;
        };
        // It is asked once: large states take their time to count.
        let queries = driver.engine.all_query_stats();
        let ids = (readings.iter()).flat_map(|(_, list)| list.iter().map(|reading| reading.id));
        whole(&self.flow).look(&driver, ids, &queries, now_ns());
        let mut seen = whole(&self.progress);
        let progress = progress::look(&driver, &readings, &queries, &seen.before);
        seen.progress = progress;
        seen.at = Some(Instant::now());
        let failed = |stats: &QueryStats| matches!(stats.status, QueryStatus::Failed(_));
        let left_out = driver.engine.left_out().into_iter();
        seen.faults = Faults {
            failed: queries.iter().filter(|(_, stats)| failed(stats)).count(),
            rejected: progress.rejected,
            left_out: left_out.map(|(_, left_out)| left_out.rows).sum(),
        };
        progress
    }

    /// How much had gone wrong when that was last looked at.
    pub(super) fn faults_seen(&self) -> Faults {
        whole(&self.progress).faults
    }

    /// What sinks of live queries that are not among those that are `told` have left out;
    /// `None` if the engine is in use.
    pub(super) fn first_left_out(&self, told: &[String]) -> Option<Vec<(String, LeftOut)>> {
        let mut left_out = free(&self.driver)?.engine.left_out();
        left_out.retain(|(name, _)| !told.iter().any(|told| **told == **name));
        let named = left_out.into_iter();
        Some(named.map(|(name, of)| (name.to_string(), of)).collect())
    }

    /// The first reject of each live stream that has one and is not among those that are
    /// `told`; `None` if a stream or the engine is in use.
    pub(super) fn first_rejects(&self, told: &[String]) -> Option<Vec<(String, Reject)>> {
        let mut rejects = Vec::new();
        for stream in self.streams() {
            if stream.live.is_none() || told.contains(&stream.name) {
                continue;
            }
            // A source that is being opened may keep its stream locked for long.
            let readings = free(&stream.readings)?.list.clone();
            let driver = free(&self.driver)?;
            let first = readings.iter().find_map(|reading| {
                let rejects = driver.engine.rejects(reading.id).ok()?;
                rejects.into_iter().find(Reject::is_row)
            });
            rejects.extend(first.map(|first| (stream.name.clone(), first)));
        }
        Some(rejects)
    }

    /// The streams of which rows were rejected or came late.
    pub(super) fn losses(&self) -> Vec<Losses> {
        // The driver is taken after the readings, as everywhere.
        let streams: Vec<_> = (self.streams().iter())
            .map(|stream| (stream.name.clone(), stream.readings().list.clone()))
            .collect();
        let driver = self.driver();
        let of = |(stream, readings): (String, Vec<Reading>)| {
            let mut losses = Losses::default();
            for reading in readings {
                let Ok(stats) = driver.engine.stream_stats(reading.id) else {
                    continue;
                };
                let late = driver.engine.late_rows(reading.id).unwrap_or_default();
                losses.late |= !late.is_empty();
                // Every reading meets the same rejects.
                if stats.counters.rejected > losses.rejected {
                    let rejects = driver.engine.rejects(reading.id).unwrap_or_default();
                    losses.rejected = stats.counters.rejected;
                    losses.example = rejects.into_iter().find(Reject::is_row);
                }
            }
            losses.stream = stream;
            losses
        };
        (streams.into_iter().map(of))
            .filter(|losses| losses.rejected > 0 || losses.late)
            .collect()
    }

    /// Takes a query off.
    pub(super) fn detach(&self, query: QueryId) {
        let mut driver = self.driver();
        if self.check_cancelled().is_err()
            && let Ok(stats) = driver.engine.query_stats(query)
        {
            // Who asks afterwards asks what there was when it was stopped.
            let mut seen = whole(&self.progress);
            seen.before.state_bytes += stats.state_bytes;
            seen.before.open_windows += progress::open_windows(&stats);
        }
        let name = driver.engine.query_stats(query).map(|stats| stats.name);
        let removed = driver.engine.detach(query);
        drop(driver);
        if let (Ok(name), Some(error)) = (name, &removed.undelivered) {
            let mut undelivered = whole(&self.undelivered);
            if undelivered.len() < UNDELIVERED_MAX {
                undelivered.push((name.to_string(), shared_error(error)));
            }
        }
        if self.check_cancelled().is_err() {
            whole(&self.removed).push(removed);
        }
    }

    /// Takes a stream of the engine away; what it has counted stays counted.
    pub(super) fn forget(&self, stream: StreamId) {
        let mut driver = self.driver();
        if let Ok(stats) = driver.engine.stream_stats(stream) {
            let mut seen = whole(&self.progress);
            seen.before.rows += stats.counters.received;
            seen.before.bytes += stats.counters.bytes;
            seen.before.rejected += stats.counters.rejected;
            seen.before.late += stats.counters.late;
            seen.before.dropped += stats.counters.dropped;
        }
        driver.remove_stream(stream);
    }

    /// Takes the rows of a table away, which no stream has counted.
    pub(super) fn forget_table(&self, table: StreamId) {
        self.driver().remove_stream(table);
    }

    /// The sinks that were dropped before all rows were delivered, and why.
    pub(super) fn undelivered(&self) -> Vec<(String, Error)> {
        let told = |(_, error): &(String, Error)| !is_closed_pipe(error);
        let all = whole(&self.undelivered).clone();
        all.into_iter().filter(told).collect()
    }

    /// Notes a job that was cut short when the session was cancelled.
    pub(super) fn note_cut(&self, failure: Failure) {
        whole(&self.cut).push(failure);
    }

    /// Goes on after the session was cancelled.
    pub(super) fn resume(&self) {
        for failure in std::mem::take(&mut *whole(&self.cut)) {
            let cut = Error::new(ErrorKind::Data, "it was interrupted before it had its rows");
            // The first error stays.
            let _ = failure.set(cut.help("create it once more, with CREATE OR REPLACE"));
        }
        let removed = std::mem::take(&mut *whole(&self.removed));
        let mut seen = whole(&self.progress);
        (seen.before.state_bytes, seen.before.open_windows) = (0, 0);
        drop(seen);
        self.cancel.store(false, Ordering::Relaxed);
        free_aside(removed);
        self.driver().engine.resume();
    }

    /// Notes an output that is missing because the work was stopped.
    pub(super) fn note_unwritten(&self, name: Option<String>) {
        whole(&self.unwritten).extend(name);
    }

    /// The outputs that are missing because the work was stopped.
    pub(super) fn take_unwritten(&self) -> Vec<String> {
        std::mem::take(&mut *whole(&self.unwritten))
    }
}

/// An error that an engine's query shares with its neighbours.
pub(super) fn shared_error(error: &Arc<windrow_core::Error>) -> Error {
    use windrow_core::Error as Core;
    match error.as_ref() {
        Core::External(inner) => match inner.downcast_ref::<Error>() {
            Some(error) => error.clone(),
            None => Error::new(ErrorKind::Data, error.to_string()),
        },
        Core::Shared(inner) => shared_error(inner),
        Core::Limit { .. } | Core::Bound { .. } => Error::new(ErrorKind::Limit, error.to_string()),
        Core::Io { .. } => Error::new(ErrorKind::Io, error.to_string()),
        Core::Panic { .. } => Error::new(ErrorKind::Internal, error.to_string()),
        _ => Error::new(ErrorKind::Data, error.to_string()),
    }
}

fn gone(name: &str) -> Error {
    Error::new(
        ErrorKind::Plan,
        format!("{name} was dropped while the query was planned"),
    )
}
