//! What the parts of a session share: the engine, the catalogue, the settings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use datafusion::execution::SessionState;
use windrow_core::pipeline::{
    Driver, Engine, Input, QueryId, QuerySpec, QueryStatus, Step, Stepped, StreamId, View,
};
use windrow_core::stream::Sink;

use super::catalog::{Catalog, Entry, Reading, StreamEntry};
use super::progress::{self, Progress, Seen};
use super::rows_source::RowsSource;
use super::settings::Settings;
use super::stream_rules::Rules;
use crate::connector::registry::Connectors;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Graph, PlannedInput, PlannedTable};

/// How long a step waits for rows before it looks whether it was cancelled.
pub(super) const STEP_WAIT: Duration = Duration::from_millis(20);

/// Work that waits until bounded inputs have been read.
pub(super) trait Job: Send {
    fn run(self: Box<Self>, shared: &Shared) -> Result<()>;

    /// Gives up what its sinks were given.
    fn abort(&mut self);
}

/// How often it is noted where the session stands, for those who ask while it works.
const SEEN_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Shared {
    driver: Mutex<Driver>,
    catalog: Mutex<Catalog>,
    pub(super) state: RwLock<SessionState>,
    pub(super) connectors: RwLock<Connectors>,
    pub(super) settings: RwLock<Settings>,
    /// Where the session stood when that was last looked at.
    progress: Mutex<Seen>,
    /// Work that DataFusion does once bounded inputs have been read, in order.
    pub(super) jobs: Mutex<Vec<Box<dyn Job>>>,
    pub(super) cancel: Arc<AtomicBool>,
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
        if let Some(runtime) = self.runtime.take() {
            // A session may be dropped inside another runtime, which must not block.
            runtime.shutdown_background();
        }
    }
}

/// A graph that has been attached.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) query: QueryId,
    /// Tables that it reads, to be started when it runs.
    pub(super) tables: Vec<(StreamId, PlannedTable)>,
}

/// The wall clock, in nanoseconds since the Unix epoch.
pub(super) fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

/// Takes a lock whose content stays whole when its holder panics.
fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
            catalog: Mutex::default(),
            state: RwLock::new(state),
            connectors: RwLock::new(connectors),
            settings: RwLock::new(settings),
            progress: Mutex::default(),
            jobs: Mutex::default(),
            cancel,
            workers,
            runtime: OnceLock::new(),
        }
    }

    pub(super) fn driver(&self) -> MutexGuard<'_, Driver> {
        whole(&self.driver)
    }

    pub(super) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        whole(&self.catalog)
    }

    pub(super) fn state(&self) -> SessionState {
        (self.state.read().unwrap_or_else(PoisonError::into_inner)).clone()
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

    /// Starts what has to be read and carries on what arrives.
    pub(super) fn step(&self, wait: Duration) -> Result<Stepped> {
        self.check_cancelled()?;
        self.start_readings()?;
        let stepped = self.driver().step(wait, &now_ns);
        if stepped == Stepped::NoSource {
            self.driver().engine.tick(now_ns());
        }
        let is_due = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= SEEN_EVERY);
        if is_due(whole(&self.progress).at) {
            self.progress();
        }
        Ok(stepped)
    }

    /// Starts the sources of streams that queries have been attached to.
    fn start_readings(&self) -> Result<()> {
        let streams: Vec<Arc<StreamEntry>> = (self.catalog().entries.values())
            .filter_map(|entry| match entry {
                Entry::Stream(stream) if stream.connector.is_some() => Some(stream.clone()),
                _ => None,
            })
            .collect();
        for stream in streams {
            let Some(connector) = &stream.connector else {
                continue;
            };
            let mut readings = stream.readings();
            for reading in readings.iter_mut().filter(|reading| !reading.started) {
                reading.started = true;
                match connector.open() {
                    Ok(source) => self.driver().start(reading.id, source),
                    Err(error) => {
                        let error = Arc::new(windrow_core::Error::from(error));
                        self.driver().engine.fail_stream(reading.id, &error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The reading of a stream that a new query joins.
    pub(super) fn reading(&self, stream: &StreamEntry) -> Result<StreamId> {
        let mut readings = stream.readings();
        let joins = (readings.last())
            .filter(|reading| !reading.started || stream.live.is_some())
            .copied();
        if let Some(reading) = joins {
            return Ok(reading.id);
        }
        let spec = stream.spec(readings.len());
        let id = self.driver().engine.add_stream(spec, now_ns())?;
        readings.push(Reading {
            id,
            // Nothing has to be started where rows are pushed.
            started: stream.connector.is_none(),
        });
        Ok(id)
    }

    /// The streams of the engine that a stream's or a view's rows come from.
    pub(super) fn upstream(&self, name: &str) -> Vec<StreamId> {
        let entry = self.catalog().entries.get(name).cloned();
        match entry {
            Some(Entry::Stream(stream)) => {
                stream.readings().iter().map(|reading| reading.id).collect()
            }
            Some(Entry::View(view)) => view
                .reads
                .iter()
                .flat_map(|read| self.upstream(read))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Attaches a graph under a name.
    pub(super) fn attach(
        &self,
        graph: Graph,
        name: &str,
        view: Option<Arc<View>>,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Attached> {
        let mut tables = Vec::new();
        for table in &graph.tables {
            let rules = Rules::none(table.schema.clone());
            let id = self.add_table(&table.name, rules)?;
            tables.push((id, table.clone()));
        }
        let mut steps = Vec::with_capacity(graph.steps.len());
        for step in graph.steps {
            let mut inputs = Vec::with_capacity(step.inputs.len());
            for input in step.inputs {
                inputs.push(match input {
                    PlannedInput::Step(step) => Input::Operator(step),
                    PlannedInput::Table(table) => Input::Stream(tables[table].0),
                    PlannedInput::Stream(stream) => {
                        let entry = self.catalog().entries.get(&stream).cloned();
                        let Some(Entry::Stream(entry)) = entry else {
                            return Err(gone(&stream));
                        };
                        Input::Stream(self.reading(&entry)?)
                    }
                    PlannedInput::View(view) => {
                        let entry = self.catalog().entries.get(&view).cloned();
                        let Some(Entry::View(entry)) = entry else {
                            return Err(gone(&view));
                        };
                        let Some(kept) = &entry.kept else {
                            return Err(gone(&view));
                        };
                        match kept.query.filter(|query| !self.has_ended(*query)) {
                            Some(query) => Input::Query(query),
                            None => {
                                // Its rows are all there: they are read again.
                                let rules = Rules::none(entry.schema.clone());
                                let id = self.add_table(&view, rules)?;
                                let table = PlannedTable {
                                    name: view,
                                    schema: entry.schema.clone(),
                                    rows: Arc::new(kept.clone()),
                                };
                                self.driver()
                                    .start(id, Box::new(RowsSource::new(table.schema, table.rows)));
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
        let query = self.driver().engine.attach(spec)?;
        Ok(Attached { query, tables })
    }

    fn add_table(&self, name: &str, rules: Rules) -> Result<StreamId> {
        let spec = windrow_core::pipeline::StreamSpec {
            name: format!("{name} (rows)").into(),
            prepare: rules.prepare(),
            event_time: None,
            live: None,
            partitions: 1,
            on_error: Default::default(),
        };
        Ok(self.driver().engine.add_stream(spec, now_ns())?)
    }

    /// Starts the tables of an attached graph: their rows are those of now.
    pub(super) fn start_tables(&self, tables: Vec<(StreamId, PlannedTable)>) {
        let mut driver = self.driver();
        for (stream, table) in tables {
            driver.start(stream, Box::new(RowsSource::new(table.schema, table.rows)));
        }
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

    /// Whether a stream's rows are still being read and will end.
    fn is_being_read(&self, streams: &[StreamId]) -> bool {
        let driver = self.driver();
        streams.iter().any(|stream| {
            let is_live = driver.engine.is_live(*stream).unwrap_or(true);
            let ended = driver
                .engine
                .stream_stats(*stream)
                .is_ok_and(|stats| stats.ended);
            !is_live && !ended && driver.is_running(*stream)
        })
    }

    /// Reads the bounded inputs of streams and views to their end; of all if `names`
    /// holds `*`.
    pub(super) fn settle(&self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        self.start_readings()?;
        loop {
            let streams: Vec<StreamId> = if names.iter().any(|name| name == "*") {
                let names: Vec<String> = self.catalog().entries.keys().cloned().collect();
                names.iter().flat_map(|name| self.upstream(name)).collect()
            } else {
                names.iter().flat_map(|name| self.upstream(name)).collect()
            };
            if !self.is_being_read(&streams) {
                break;
            }
            self.step(STEP_WAIT)?;
        }
        self.run_jobs()
    }

    /// The streams of the catalogue.
    pub(super) fn streams(&self) -> Vec<Arc<StreamEntry>> {
        (self.catalog().entries.values())
            .filter_map(|entry| match entry {
                Entry::Stream(stream) => Some(stream.clone()),
                _ => None,
            })
            .collect()
    }

    /// Where the session stands, or stood a moment ago if it is at work.
    pub(super) fn progress(&self) -> Progress {
        let streams = self.streams();
        // A source that is being opened may keep its stream locked for long.
        let readings: Option<Vec<_>> = (streams.iter())
            .map(|stream| Some((stream, free(&stream.readings)?.clone())))
            .collect();
        let (Some(readings), Some(driver)) = (readings, free(&self.driver)) else {
            return whole(&self.progress).progress;
        };
        let mut progress = progress::look(&driver, &readings);
        let mut seen = whole(&self.progress);
        progress.late += seen.late_before;
        seen.progress = progress;
        seen.at = Some(Instant::now());
        progress
    }

    /// Takes a query off; what it has counted stays counted.
    pub(super) fn detach(&self, query: QueryId) {
        let mut driver = self.driver();
        if let Ok(stats) = driver.engine.query_stats(query) {
            whole(&self.progress).late_before += stats.late;
        }
        driver.engine.detach(query);
    }

    /// Gives up the work that waits for bounded inputs.
    pub(super) fn abandon_jobs(&self) {
        for mut job in std::mem::take(&mut *whole(&self.jobs)) {
            job.abort();
        }
    }

    /// Runs the work that waits for bounded inputs.
    pub(super) fn run_jobs(&self) -> Result<()> {
        loop {
            let next = {
                let mut jobs = whole(&self.jobs);
                if jobs.is_empty() {
                    None
                } else {
                    Some(jobs.remove(0))
                }
            };
            match next {
                Some(job) => job.run(self)?,
                None => return Ok(()),
            }
        }
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
        Core::Limit { .. } => Error::new(ErrorKind::Limit, error.to_string()),
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
