//! A session: streams, views and sinks, and the statements that make and read them.
//!
//! ```
//! use windrow_sql::Session;
//!
//! let session = Session::new()?;
//! session.sql(
//!     "CREATE STREAM readings (ts TIMESTAMP, sensor TEXT, value DOUBLE, WATERMARK FOR ts);
//!      CREATE MATERIALIZED VIEW per_minute AS
//!      SELECT sensor, window_start, avg(value) AS mean
//!      FROM TUMBLE(readings, ts, INTERVAL '1' MINUTE) GROUP BY sensor, window_start;
//!      INSERT INTO readings VALUES (TIMESTAMP '2026-01-01 00:00:10', 'a', 1.0),
//!                                  (TIMESTAMP '2026-01-01 00:00:50', 'a', 2.0),
//!                                  (TIMESTAMP '2026-01-01 00:01:00', 'a', 9.0)",
//! )?;
//! let rows = session.sql("SELECT mean FROM per_minute")?.collect()?;
//! assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
//! # Ok::<(), windrow_sql::Error>(())
//! ```
//!
//! A session has no thread that reads in the background: rows move when something is
//! asked for, when rows are pushed, or while [`Session::run`] runs. Two sessions in one
//! process know nothing of each other.

mod settings;

mod results;

mod rows_source;

mod stream_rules;

mod fit;

mod catalog;

mod declare;

mod progress;

mod flow;

mod shared;

mod readings;

mod save;

mod settle;

mod held;

mod job;

mod figures;

mod show;

mod functions;

mod to_timestamp;

mod tables;

mod statement;

mod sink_fit;

mod sinks;

mod no_rows;

mod constant;

mod prepare;

mod script;

mod known;

mod failed;

mod interactive;

#[cfg(test)]
mod cancel_tests;

#[cfg(test)]
mod interactive_tests;

#[cfg(test)]
mod figures_tests;

#[cfg(test)]
mod latest_tests;

#[cfg(test)]
mod live_tests;

#[cfg(test)]
mod columnar_tests;

#[cfg(test)]
mod passing_tests;

#[cfg(test)]
mod restore_tests;

#[cfg(test)]
mod table_tests;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use windrow_core::pipeline::{Cursor, Engine, EngineConfig, Next, PushReport, Stepped};
use windrow_core::stream::Sink;

use crate::connector::registry::{Connector, ConnectorKind, Connectors};
use crate::error::{Error, ErrorKind, Result, Script, nearest};
use catalog::{Entry, TableEntry, ViewEntry};
pub use failed::FailedSink;
pub use figures::{Figures, QueryFigures, StreamFigures};
pub use flow::{QueryRates, StreamRates};
use held::Reserved;
use job::Found;
pub use known::{Known, Relation};
pub use progress::{Faults, Losses, Progress};
use settings::Settings;
use shared::{STEP_WAIT, Shared};
use statement::Running;

/// How a session is set up.
#[derive(Debug, Clone, Default)]
pub struct SessionConfig {
    /// Threads of the engine; 0 = one for each core.
    pub workers: usize,
    /// Rejects kept for each stream; `None` = the default of [`EngineConfig`].
    pub rejects_max: Option<usize>,
    /// Bytes of the rejects kept for each stream; `None` = the default of
    /// [`EngineConfig`].
    pub rejects_bytes_max: Option<usize>,
    /// Late rows kept for each stream; `None` = the default of [`EngineConfig`].
    pub late_rows_max: Option<usize>,
    /// Bytes of the late rows kept for each stream; `None` = the default of
    /// [`EngineConfig`].
    pub late_bytes_max: Option<usize>,
}

/// Streams, views and sinks, and the engine that runs them. Clones share them.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

/// Receives the results of a script as they come.
pub trait ResultHandler {
    /// The rows of a statement begin.
    ///
    /// # Errors
    /// If they cannot be taken; the script ends with this error.
    fn begin(&mut self, schema: &SchemaRef) -> Result<()>;

    /// As [`ResultHandler::begin`], where the rows come one after the other and are
    /// `rows_max` at most: by a LIMIT.
    ///
    /// # Errors
    /// As [`ResultHandler::begin`].
    fn begin_at_most(&mut self, schema: &SchemaRef, rows_max: usize) -> Result<()> {
        let _ = rows_max;
        self.begin(schema)
    }

    /// Rows of the statement.
    ///
    /// # Errors
    /// As [`ResultHandler::begin`].
    fn rows(&mut self, rows: &RecordBatch) -> Result<()>;

    /// The rows of the statement are complete.
    ///
    /// # Errors
    /// As [`ResultHandler::begin`].
    fn end(&mut self) -> Result<()>;

    /// Nothing more is there for now: what was given should be shown.
    ///
    /// # Errors
    /// As [`ResultHandler::begin`].
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Session {
    /// A session with the defaults.
    ///
    /// # Errors
    /// If its threads cannot be started.
    pub fn new() -> Result<Self> {
        Self::with_config(SessionConfig::default())
    }

    /// A session.
    ///
    /// # Errors
    /// If its threads cannot be started.
    pub fn with_config(config: SessionConfig) -> Result<Self> {
        let defaults = EngineConfig::default();
        let engine = EngineConfig {
            workers: config.workers,
            rejects_max: config.rejects_max.unwrap_or(defaults.rejects_max),
            rejects_bytes_max: (config.rejects_bytes_max).unwrap_or(defaults.rejects_bytes_max),
            late_rows_max: config.late_rows_max.unwrap_or(defaults.late_rows_max),
            late_bytes_max: config.late_bytes_max.unwrap_or(defaults.late_bytes_max),
            ..defaults
        };
        let cancel = Arc::new(AtomicBool::new(false));
        let mut connectors = Connectors::none();
        crate::connector::register_all(&mut connectors);
        let settings = Settings::of(&engine);
        let engine = Engine::new(engine, cancel.clone())?;
        let shared = Arc::new_cyclic(|weak| {
            let state = tables::session_state(weak.clone(), config.workers);
            Shared::new(engine, config.workers, settings, state, connectors, cancel)
        });
        Ok(Self { shared })
    }

    /// Runs a script of one or more statements; the answer is that of the last one.
    /// The rows of the others are computed and given up.
    ///
    /// # Errors
    /// If a statement does not fit or fails. Statements before it that created
    /// something have done so, but for sinks: they are opened when the whole script
    /// fits.
    pub fn sql(&self, text: &str) -> Result<Answer> {
        let script = Arc::new(Script {
            name: "sql".into(),
            text: text.into(),
        });
        script::answer(self, &script)
    }

    /// Runs a script, giving the rows of every statement to `handler` as they come, and
    /// reads all its sources to their ends.
    ///
    /// A handler whose reader has gone ([`is_closed_pipe`]) is given no more rows; what
    /// writes to sinks goes on, and this error is the answer.
    ///
    /// [`is_closed_pipe`]: crate::connector::stdout::is_closed_pipe
    ///
    /// # Errors
    /// If a statement does not fit or fails, or the session is cancelled.
    pub fn run_script(&self, script: &Arc<Script>, handler: &mut dyn ResultHandler) -> Result<()> {
        script::run(self, script, handler)
    }

    /// Parses and plans a script without running it: nothing is read but the samples
    /// that columns are inferred from, no sink is opened. What the script declares is
    /// known to those that are checked later; do not run anything in this session.
    ///
    /// # Errors
    /// All that is wrong, in the order of the text, without what only follows from
    /// something before it.
    pub fn check(&self, script: &Arc<Script>) -> Result<(), Vec<Error>> {
        let errors = prepare::check(self, script);
        match errors.is_empty() {
            true => Ok(()),
            false => Err(errors),
        }
    }

    /// Reads the bounded sources of all queries to their ends and completes what waits
    /// for them. Live sources are read until [`Session::cancel`].
    ///
    /// # Errors
    /// If a query has failed, or the session is cancelled.
    pub fn run(&self) -> Result<()> {
        self.shared.run_out()
    }

    /// Pushes rows into a stream without a connector. Columns go by name; a missing one
    /// is NULL, types are converted where nothing is lost.
    ///
    /// # Errors
    /// If there is no such stream, it is fed by a connector or has ended, or a column
    /// does not fit.
    pub fn push(&self, stream: &str, records: RecordBatch) -> Result<PushReport> {
        self.push_from(stream, 0, records)
    }

    /// As [`Session::push`], from one of several producers: the watermark waits for
    /// each of them.
    ///
    /// # Errors
    /// As [`Session::push`].
    pub fn push_from(
        &self,
        stream: &str,
        producer: u32,
        records: RecordBatch,
    ) -> Result<PushReport> {
        self.shared.check_cancelled()?;
        let entry = self.stream_entry(stream)?;
        self.shared.push(&entry, producer, &records)
    }

    fn stream_entry(&self, name: &str) -> Result<Arc<catalog::StreamEntry>> {
        let entry = self.shared.catalog().entries.get(name).cloned();
        match entry {
            Some(Entry::Stream(stream)) => Ok(stream),
            Some(other) => Err(Error::new(
                ErrorKind::Plan,
                format!("{name} is a {}, not a stream", other.noun()),
            )),
            None => Err(self.unknown("stream", name)),
        }
    }

    fn unknown(&self, noun: &str, name: &str) -> Error {
        let names = self.shared.catalog().names();
        let error = Error::new(ErrorKind::Plan, format!("there is no {noun} {name}"));
        match nearest(name, names.iter().map(String::as_str)) {
            Some(meant) => error.help(format!("did you mean {meant}?")),
            None if names.is_empty() => error.help("nothing has been created yet"),
            None => error.help(format!("there are {}", names.join(", "))),
        }
    }

    /// Follows the rows of a materialized view, from the first one that is kept.
    ///
    /// # Errors
    /// If there is no such view.
    pub fn subscribe(&self, view: &str) -> Result<Subscription> {
        let entry = self.shared.catalog().entries.get(view).cloned();
        match entry {
            Some(Entry::View(entry)) => match &entry.kept {
                Some(kept) if kept.view.is_table() => Err(changing(view)),
                Some(kept) => Ok(Subscription {
                    cursor: kept.view.subscribe(),
                    session: self.clone(),
                    view: entry.clone(),
                }),
                None => Err(
                    Error::new(ErrorKind::Plan, format!("view {view} keeps no rows"))
                        .help("create it as a MATERIALIZED VIEW"),
                ),
            },
            Some(other) => Err(Error::new(
                ErrorKind::Plan,
                format!("{view} is a {}, not a materialized view", other.noun()),
            )),
            None => Err(self.unknown("materialized view", view)),
        }
    }

    /// Makes rows in memory readable as a table.
    ///
    /// # Errors
    /// If the name is taken, or the batches have different columns.
    pub fn register_table(
        &self,
        name: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<()> {
        if let Some(other) = batches
            .iter()
            .find(|batch| batch.schema().fields() != schema.fields())
        {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "a batch of table {name} has other columns: {:?}",
                    other.schema()
                ),
            ));
        }
        let entry = TableEntry { schema, batches };
        self.add_entry(name, || Ok(Entry::Table(Arc::new(entry))))
    }

    /// Adds what is made under a name that nothing has.
    fn add_entry(&self, name: &str, make: impl FnOnce() -> Result<Entry>) -> Result<()> {
        let _reserved = {
            let mut catalog = self.shared.catalog();
            if let Some(entry) = catalog.entries.get(name) {
                let message = format!("there is a {} {name} already", entry.noun());
                return Err(Error::new(ErrorKind::Plan, message));
            }
            if !catalog.reserved.insert(name.into()) {
                let message = format!("{name} is being created already");
                return Err(Error::new(ErrorKind::Plan, message));
            }
            Reserved {
                shared: &self.shared,
                name: name.into(),
            }
        };
        let entry = make()?;
        self.shared.catalog().put(name, entry);
        Ok(())
    }

    /// Makes an own source readable as a stream. `event_time` names its event-time
    /// column and the bound on disorder; without it windows close when the source ends.
    ///
    /// # Errors
    /// If the name is taken or that of a reading (`x#2`), or the event-time column is no
    /// timestamp.
    pub fn add_stream(
        &self,
        name: &str,
        source: Arc<dyn Connector>,
        event_time: Option<(&str, Duration)>,
    ) -> Result<()> {
        self.add_entry(name, || {
            catalog::refuse_reading(name)?;
            let entry = declare::own_stream(name, source, event_time)?;
            Ok(Entry::Stream(Arc::new(entry)))
        })
    }

    /// Adds a receiver of a materialized view's further rows.
    ///
    /// # Errors
    /// If there is no such view, or it is computed once only.
    pub fn add_sink(&self, view: &str, sink: Box<dyn Sink>) -> Result<()> {
        let entry = self.shared.catalog().entries.get(view).cloned();
        let kept = match &entry {
            Some(Entry::View(entry)) => entry.kept.as_ref(),
            _ => None,
        };
        if kept.is_some_and(|kept| kept.view.is_table()) {
            return Err(changing(view));
        }
        match kept.and_then(|kept| kept.query) {
            Some(query) => Ok(self.shared.driver().engine.add_sink(query, sink)?),
            None => Err(self.unknown("continuous materialized view", view)),
        }
    }

    /// Makes a kind of source or sink known as `WITH (connector = 'name')`.
    pub fn register_connector(&self, name: &str, kind: Arc<dyn ConnectorKind>) {
        let connectors = self.shared.connectors.write();
        let mut connectors = connectors.unwrap_or_else(std::sync::PoisonError::into_inner);
        connectors.register(name, kind);
    }

    /// The kind of source or sink that a connector's name stands for.
    ///
    /// # Errors
    /// If there is none; the error names the nearest.
    pub fn connector(&self, name: &str) -> Result<Arc<dyn ConnectorKind>> {
        self.shared.connectors().get(name).cloned()
    }

    /// Makes a scalar function known in SQL.
    pub fn register_function(&self, function: ScalarUDF) {
        tables::register_scalar(&self.shared, function);
    }

    /// Makes an aggregate function known in SQL. It runs in windows as the built-in ones
    /// do.
    pub fn register_aggregate(&self, function: AggregateUDF) {
        tables::register_aggregate(&self.shared, function);
    }

    /// The state of all streams, views and queries, between two events.
    ///
    /// # Errors
    /// If a state cannot be saved.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        self.shared.snapshot()
    }

    /// Takes over a saved state. The same streams and views have been created, and no
    /// row has arrived yet.
    ///
    /// # Errors
    /// If the bytes are damaged, or of other streams and views.
    pub fn restore(&self, bytes: &[u8]) -> Result<()> {
        self.shared.restore(bytes)
    }

    /// Stops what is running at the next opportunity; calls that wait return with an
    /// error of kind [`ErrorKind::Cancelled`]. May be called from any thread.
    pub fn cancel(&self) {
        self.shared.cancel.store(true, Ordering::Relaxed);
    }

    /// A flag that does what [`Session::cancel`] does, for a signal handler.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        self.shared.cancel.clone()
    }

    /// Ends sinks before their rows have ended; open windows are not emitted, and what
    /// would be answered once all rows have been read is not begun. What was written over
    /// live streams is published; over bounded ones, a file that would pass for the whole
    /// is not. Gives the names of what is missing therefore.
    ///
    /// # Errors
    /// If a query has failed, or a sink cannot publish.
    pub fn stop(&self) -> Result<Vec<String>> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.abandon_jobs();
        let given_up = self.shared.driver().engine.stop();
        self.shared.first_failure()?;
        if let Some((_, error)) = self.shared.undelivered().into_iter().next() {
            return Err(error);
        }
        Ok([self.shared.take_unwritten(), given_up].concat())
    }

    /// Gives up what sinks were given and have not published: no file is left behind.
    pub fn abort(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.abandon_jobs();
        self.shared.driver().engine.abort();
    }

    /// How the streams and all queries stand, with those of statements that are being
    /// answered. Waits for a step that is being done.
    pub fn figures(&self) -> Figures {
        self.shared.figures()
    }

    /// Where the session stands; asked from any thread, it does not wait.
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// The streams of which rows were rejected or came late. Waits for a step that is
    /// being done.
    pub fn losses(&self) -> Vec<Losses> {
        self.shared.losses()
    }
}

/// The error for following a view whose rows change.
fn changing(view: &str) -> Error {
    let message = format!("the rows of {view} change, so that there are none to follow");
    Error::new(ErrorKind::Plan, message).help(format!("read them again: SELECT * FROM {view}"))
}

/// The answer to a script's last statement: rows that come as they are computed.
#[derive(Debug)]
pub struct Answer {
    session: Session,
    running: Running,
    over: bool,
}

impl Answer {
    fn new(session: &Session, running: Running) -> Self {
        Self {
            session: session.clone(),
            running,
            over: false,
        }
    }

    /// The columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.running.schema()
    }

    /// All rows, once they are computed. Over a live stream it returns when the stream
    /// is ended, or when nothing is being read that could bring more rows.
    ///
    /// # Errors
    /// If the query fails, or the session is cancelled.
    pub fn collect(self) -> Result<Vec<RecordBatch>> {
        self.into_iter_rows().collect()
    }

    fn into_iter_rows(self) -> impl Iterator<Item = Result<RecordBatch>> {
        self
    }
}

impl Iterator for Answer {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            match self.running.look(&self.session.shared) {
                Ok(Found::Rows(rows)) => return Some(Ok(rows)),
                Ok(Found::Pending) => {}
                // More rows may be pushed later; the answer can be asked again.
                Ok(Found::Stalled) => return None,
                Ok(Found::End) => self.over = true,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// The rows of a materialized view as they come.
#[derive(Debug)]
pub struct Subscription {
    cursor: Cursor,
    session: Session,
    view: Arc<ViewEntry>,
}

impl Subscription {
    /// The columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.cursor.schema()
    }

    /// The next rows that are there, without waiting.
    pub fn poll(&mut self) -> Option<RecordBatch> {
        match self.cursor.next(Duration::ZERO) {
            Next::Batch(rows) => Some(rows),
            Next::Pending | Next::End | Next::Failed(_) => None,
        }
    }

    /// The next rows, reading sources and waiting for pushed rows at most `wait`;
    /// `None` if none came or the view has ended.
    ///
    /// # Errors
    /// If the view's query has failed, or the session is cancelled.
    pub fn next_within(&mut self, wait: Duration) -> Result<Option<RecordBatch>> {
        let start = std::time::Instant::now();
        loop {
            match self.cursor.next(Duration::ZERO) {
                Next::Batch(rows) => return Ok(Some(rows)),
                Next::End => {
                    return match self.session.shared.work_failure(&self.view.work) {
                        Some(error) => Err(error),
                        None => Ok(None),
                    };
                }
                Next::Failed(error) => return Err(shared::shared_error(&error)),
                Next::Pending => {}
            }
            let left = wait.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            if self.session.shared.go_on(STEP_WAIT.min(left))? == Stepped::NoSource
                && let Next::Batch(rows) = self.cursor.next(STEP_WAIT.min(left))
            {
                return Ok(Some(rows));
            }
        }
    }

    /// How many batches the view had let go before they were read here.
    pub fn missed_batches(&self) -> u64 {
        self.cursor.missed_batches()
    }
}
