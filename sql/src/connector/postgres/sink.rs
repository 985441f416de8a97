//! The sink: rows become batches, and batches wait for the thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::batch::queue::{Refused, Weight};
use windrow_core::stream::{self, Sink};

use super::lines::{self, LeftOut};
use super::route::Route;
use super::sender::{Batch, Patience, Sender, Shared, WAKE};
use super::table::Table;
use super::wire::Failure;
use crate::connector::file_sink::Existing;
use crate::connector::registry::{Connector, ConnectorKind, Pairs, no_source};
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::format::encode::setting::{Settings, unfit};
use crate::words::counted;

/// Rows are written as lines by so many, and then it is seen how many bytes they are.
const STEP_ROWS: usize = 256;

/// Where rows go, and how.
#[derive(Debug, Clone)]
pub(super) struct PostgresSinkOptions {
    route: Route,
    table: String,
    existing: Existing,
    patience: Patience,
    /// A transaction holds so many rows at most (`batch_rows`).
    batch_rows: usize,
    /// A transaction of so many bytes is written (`batch_bytes`).
    batch_bytes: usize,
    /// Rows wait so long for others at most (`linger`).
    linger: Duration,
    /// What waits to be written at most (`queue_rows`, `queue_bytes`).
    queue: Weight,
}

impl PostgresSinkOptions {
    const NAMES: [&'static str; 11] = [
        "url",
        "password",
        "table",
        "existing",
        "batch_rows",
        "batch_bytes",
        "linger",
        "queue_rows",
        "queue_bytes",
        "request_timeout",
        "retry_timeout",
    ];

    /// Options by name, and the names that are unknown.
    ///
    /// # Errors
    /// If a value does not fit.
    pub(super) fn from_pairs(pairs: &Pairs) -> Result<(Self, Vec<String>)> {
        let mut settings = Settings::new(pairs);
        let mut needed = |name: &str, example: &str| {
            settings.text(name).ok_or_else(|| {
                let message = format!("a postgres sink needs the option {name}");
                let error = Error::new(ErrorKind::Option, message);
                match nearest(name, pairs.keys().map(String::as_str)) {
                    Some(written) => error.help(format!("write {name} instead of {written}")),
                    None => error.help(format!("for example {example}")),
                }
            })
        };
        let url = needed("url", "url = 'postgres://user@127.0.0.1:5432/database'")?;
        let table = needed("table", "table = 'readings'")?.to_owned();
        let route = Route::of(url, settings.text("password"))?;
        let existing = settings.parse("existing", "'append' or 'replace'", |word| match word {
            "append" => Some(Existing::Append),
            "replace" => Some(Existing::Replace),
            _ => None,
        })?;
        let mut count = |name: &str, default: usize| -> Result<usize> {
            let count = settings.count(name, 1..=1 << 30)?;
            Ok(count.map_or(default, |count| count as usize))
        };
        let (batch_rows, batch_bytes) =
            (count("batch_rows", 10_000)?, count("batch_bytes", 1 << 20)?);
        let queue = Weight {
            rows: count("queue_rows", 100_000)?,
            bytes: count("queue_bytes", 16 << 20)?,
        };
        let linger = settings.duration("linger")?;
        let request_timeout = settings.duration("request_timeout")?;
        if request_timeout == Some(Duration::ZERO) {
            return Err(unfit("request_timeout", "0", "longer than nothing"));
        }
        let retry_timeout = settings.duration("retry_timeout")?;
        let retry_timeout = retry_timeout.unwrap_or(Duration::from_secs(60));
        let options = Self {
            route,
            table,
            existing: existing.unwrap_or_default(),
            patience: Patience {
                request_timeout: Some(request_timeout.unwrap_or(Duration::from_secs(30))),
                retry_timeout: (!retry_timeout.is_zero()).then_some(retry_timeout),
            },
            batch_rows,
            batch_bytes,
            linger: linger.unwrap_or(Duration::from_millis(100)),
            queue,
        };
        Ok((options, settings.rest()))
    }

    /// The place, for errors.
    fn place(&self) -> String {
        format!("table '{}' of {}", self.table, self.route)
    }

    /// The error of a failure before which `rows` were not written, those that were `left_out`
    /// besides.
    fn error(&self, rows: u64, left_out: &LeftOut, failure: &Failure) -> Error {
        let what = match rows + left_out.rows {
            0 => format!("cannot write to {}", self.place()),
            rows => format!(
                "{} not written to {}",
                counted(rows, "row was", "rows were"),
                self.place()
            ),
        };
        let others = left_out.told(rows).unwrap_or_default();
        match failure {
            Failure::Lost(why) => Error::new(ErrorKind::Io, format!("{what}: {why}{others}")).help(
                "see whether host and port are right and the database runs, or raise the option \
                     retry_timeout",
            ),
            Failure::Denied(why) => Error::new(ErrorKind::Io, format!("{what}: {why}{others}"))
                .help(
                    "see whether the user, the password and the database are right: in the url, or \
                 the password in the option password",
                ),
            Failure::Refused(why) => Error::new(ErrorKind::Io, format!("{what}: {why}{others}"))
                .help(match why.as_str() {
                    "it holds rows already" => {
                        "add existing = 'append' to keep them, existing = 'replace' to remove \
                         them with the first new ones, or name another table"
                    }
                    _ => {
                        "change the query or its CASTs so that the rows fit the table, or the \
                          options of the sink"
                    }
                }),
        }
    }
}

/// Rows that become a batch.
struct Open {
    batch: Batch,
    since: Instant,
}

/// Writes rows to a table.
pub(super) struct PostgresSink {
    options: PostgresSinkOptions,
    shared: Arc<Shared>,
    open: Option<Open>,
    /// Rows that the table cannot hold.
    left_out: LeftOut,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSink")
            .field("place", &self.options.place())
            .finish_non_exhaustive()
    }
}

impl PostgresSink {
    /// A sink for rows of `schema`. The database need not be there yet; if it is, the table is
    /// made, or seen to fit.
    ///
    /// # Errors
    /// If the user is not let in, the table does not fit, or no thread can be started.
    pub(super) fn open(options: PostgresSinkOptions, schema: &SchemaRef) -> Result<Self> {
        let table = Table::new(&options.table, schema)?;
        let shared = Arc::new(Shared::new(options.queue));
        let mut sender = Sender::new(
            options.route.clone(),
            table,
            options.existing,
            options.patience,
            Arc::clone(&shared),
        );
        match sender.prepare() {
            Err(failure @ (Failure::Refused(_) | Failure::Denied(_))) => {
                return Err(options.error(0, &LeftOut::default(), &failure));
            }
            // The thread tries again.
            Ok(()) | Err(Failure::Lost(_)) => {}
        }
        let thread = (thread::Builder::new().name("postgres-send".into()))
            .spawn(move || sender.run())
            .map_err(|error| Error::new(ErrorKind::Io, format!("starting a thread: {error}")))?;
        Ok(Self {
            options,
            shared,
            open: None,
            left_out: LeftOut::default(),
            thread: Some(thread),
        })
    }

    /// The error with which the thread has ended, if it has; besides what is open `more` rows
    /// were not given to it.
    fn failed(&self, more: usize) -> Result<()> {
        match self.shared.failure() {
            Some(failure) => {
                let open = self.open.as_ref().map_or(0, |open| open.batch.rows);
                let rows = self.shared.waiting.load(Relaxed) + (open + more) as u64;
                Err(self.options.error(rows, &self.left_out, &failure))
            }
            None => Ok(()),
        }
    }

    fn append(&mut self, records: &RecordBatch) -> Result<()> {
        let mut offset = 0;
        self.failed(records.num_rows())?;
        while offset < records.num_rows() {
            let open = self.open.get_or_insert_with(|| Open {
                batch: Batch {
                    lines: Vec::new(),
                    rows: 0,
                },
                since: Instant::now(),
            });
            let batch = &mut open.batch;
            let room = (self.options.batch_rows - batch.rows).min(STEP_ROWS);
            let rows = room.min(records.num_rows() - offset);
            let slice = records.slice(offset, rows);
            batch.rows += lines::append(&slice, &mut batch.lines, &mut self.left_out)?;
            offset += rows;
            let is_full = batch.rows >= self.options.batch_rows
                || batch.lines.len() >= self.options.batch_bytes;
            if is_full {
                self.give(records.num_rows() - offset)?;
            }
        }
        Ok(())
    }

    /// Gives what is open to the thread, waiting for room; `more` rows follow.
    fn give(&mut self, more: usize) -> Result<()> {
        let Some(Open { mut batch, .. }) = self.open.take() else {
            return Ok(());
        };
        let weight = Weight {
            rows: batch.rows,
            bytes: batch.lines.len(),
        };
        self.shared.waiting.fetch_add(weight.rows as u64, Relaxed);
        loop {
            match self.shared.queue.push_over(batch, weight, WAKE) {
                Ok(()) => return Ok(()),
                Err(Refused::Full(refused)) => batch = refused,
                Err(Refused::Closed(_)) => {
                    self.failed(more)?;
                    let message = "rows came after the end of a postgres sink";
                    return Err(Error::new(ErrorKind::Internal, message));
                }
            }
        }
    }

    fn give_if_due(&mut self) -> Result<()> {
        self.failed(0)?;
        match &self.open {
            Some(open) if open.since.elapsed() >= self.options.linger => self.give(0),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.give(0)?;
        self.shared.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            let message = "the thread of a postgres sink has failed";
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.failed(0)?;
        self.some_left_out()
    }

    /// The error for the rows that the table cannot hold, when the others are in it.
    fn some_left_out(&self) -> Result<()> {
        let Some((why, help)) = &self.left_out.first else {
            return Ok(());
        };
        let rows = counted(self.left_out.rows, "row was", "rows were");
        let first = if self.left_out.rows == 1 {
            ""
        } else {
            "the first: "
        };
        let message = format!(
            "{rows} not written to {}, all others were: {first}{why}",
            self.options.place()
        );
        Err(Error::new(ErrorKind::Data, message).help(help.clone()))
    }
}

impl Drop for PostgresSink {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Sink for PostgresSink {
    fn watch(&mut self, stop: &Arc<AtomicBool>) {
        // It is told once.
        let _ = self.shared.stop.set(stop.clone());
    }

    fn has_room(&self) -> bool {
        !self.shared.queue.is_full()
    }

    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        Ok(self.append(records)?)
    }

    fn flush(&mut self) -> windrow_core::Result<()> {
        Ok(self.give_if_due()?)
    }

    fn tick(&mut self) -> windrow_core::Result<()> {
        Ok(self.give_if_due()?)
    }

    fn left_out(&self) -> Option<stream::LeftOut> {
        let (why, help) = self.left_out.first.as_ref()?;
        Some(stream::LeftOut {
            rows: self.left_out.rows,
            first: format!("a row was left out of {}: {why}", self.options.place()),
            help: help.clone(),
        })
    }

    fn stop(&mut self) -> windrow_core::Result<Option<String>> {
        // Old rows that no new one has replaced stay.
        self.end()?;
        Ok(None)
    }

    fn leave(&mut self) -> windrow_core::Result<()> {
        self.shared.leave();
        self.finish()
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        self.shared.complete.store(true, Relaxed);
        Ok(self.end()?)
    }

    fn abort(&mut self) {
        self.open = None;
        self.shared.abandoned.store(true, Relaxed);
        self.shared.queue.close();
    }
}

/// `connector = 'postgres'`.
#[derive(Debug)]
pub(in crate::connector) struct PostgresKind;

impl ConnectorKind for PostgresKind {
    fn source(&self, _: &Pairs, _: Option<SchemaRef>) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        no_source("postgres")
    }

    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        let (options, unknown) = PostgresSinkOptions::from_pairs(options)?;
        Ok((Box::new(PostgresSink::open(options, schema)?), unknown))
    }

    fn check_sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<Vec<String>> {
        let (options, unknown) = PostgresSinkOptions::from_pairs(options)?;
        Table::new(&options.table, schema)?;
        Ok(unknown)
    }

    fn sink_place(&self, options: &Pairs) -> Option<String> {
        let (options, _) = PostgresSinkOptions::from_pairs(options).ok()?;
        // Rows of several sinks may be appended.
        (options.existing != Existing::Append).then(|| options.place())
    }

    fn option_names(&self) -> Vec<&'static str> {
        PostgresSinkOptions::NAMES.to_vec()
    }
}
