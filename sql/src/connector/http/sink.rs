//! Results, posted.
//!
//! ```text
//!  rows ─▶ body ─ full, or linger is over ─▶ │ bounded queue │ ─▶ sender ─▶ receiver
//! ```
//!
//! Bodies are posted one after the other by a thread of its own. While the queue is full
//! the query waits, and with it its sources: a slow receiver costs time, not memory.
//!
//! A row is told by the header `Idempotency-Key` of its body and its place in it; the keys of
//! two runs have nothing in common. `Windrow-First-Row` counts the rows of the run from 1.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ureq::http::{HeaderValue, Uri};
use windrow_core::batch::queue::{Popped, Queue, Refused, Weight};
use windrow_core::stream::Sink;

use super::deliver::{Body, Postman, Route, Stop};
use crate::connector::registry::Pairs;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;
use crate::format::encode::setting::{Settings, unfit};
use crate::format::encode::{Compression, EncodeOptions, OutputFormat, encoder};
use crate::secret::without_password;
use crate::threads;
use crate::words::counted;

/// Rows are encoded by so many, and then it is seen how many bytes they are.
const STEP_ROWS: usize = 1_024;

/// So often one that waits for room sees whether the sender has failed.
const WAKE: Duration = Duration::from_millis(50);

/// So often one that waits for the end of the sender sees whether it has come.
const END_WAKE: Duration = Duration::from_millis(2);

/// A sender that waits between two attempts sees within this that it is to end, and says why.
const END_GRACE: Duration = Duration::from_millis(200);

/// How results are posted.
#[derive(Debug, Clone)]
pub(super) struct HttpSinkOptions {
    route: Route,
    format: OutputFormat,
    encode: EncodeOptions,
    /// A body holds so many rows at most (`batch_rows`).
    batch_rows: usize,
    /// A body of so many bytes is posted (`batch_bytes`).
    batch_bytes: usize,
    /// Rows wait so long for others at most (`linger`).
    linger: Duration,
    /// What waits to be posted at most (`queue_rows`, `queue_bytes`).
    queue: Weight,
}

impl HttpSinkOptions {
    /// The names that it knows besides those of [`EncodeOptions::NAMES`].
    pub(super) const NAMES: [&'static str; 10] = [
        "url",
        "format",
        "authorization",
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
        let url = settings.text("url").ok_or_else(|| {
            Error::new(ErrorKind::Option, "an http sink needs the option url")
                .help("for example url = 'http://127.0.0.1:8080/rows'")
        })?;
        check_url(url)?;
        let authorization = settings.text("authorization").map(str::to_owned);
        if (authorization.as_ref()).is_some_and(|value| HeaderValue::from_str(value).is_err()) {
            let message = "option authorization holds a character that no header can";
            return Err(Error::new(ErrorKind::Option, message)
                .help("for example authorization = 'Bearer 1234'"));
        }
        let format = match settings.text("format") {
            Some(word) => word.parse()?,
            None => OutputFormat::Ndjson,
        };
        let content_type = match format {
            OutputFormat::Ndjson => "application/x-ndjson",
            OutputFormat::Json => "application/json",
            OutputFormat::Csv => "text/csv",
            OutputFormat::Line => "text/plain; charset=utf-8",
            OutputFormat::Arrow => "application/vnd.apache.arrow.stream",
            OutputFormat::Parquet => "application/vnd.apache.parquet",
            OutputFormat::Table | OutputFormat::Markdown => {
                let allowed = "ndjson, json, csv, line, arrow or parquet";
                return Err(unfit("format", format.name(), allowed));
            }
        };
        let encode = EncodeOptions::take(&mut settings)?;
        let content_encoding = match encode.compression {
            Some(Compression::Gzip) if !format.is_binary() => Some("gzip"),
            Some(Compression::Zstd) if !format.is_binary() => Some("zstd"),
            _ => None,
        };
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
        let retry_timeout =
            (settings.duration("retry_timeout")?).unwrap_or(Duration::from_secs(60));
        let options = Self {
            route: Route {
                url: url.to_owned(),
                authorization,
                content_type,
                content_encoding,
                request_timeout: request_timeout.unwrap_or(Duration::from_secs(30)),
                retry_timeout: (!retry_timeout.is_zero()).then_some(retry_timeout),
            },
            format,
            encode,
            batch_rows,
            batch_bytes,
            linger: linger.unwrap_or(Duration::from_millis(100)),
            queue,
        };
        Ok((options, settings.rest()))
    }

    /// Whether the format can hold the rows.
    ///
    /// # Errors
    /// If it cannot.
    pub(super) fn check(&self, schema: &SchemaRef) -> Result<()> {
        encoder(self.format, &self.encode, schema).map(drop)
    }
}

fn check_url(url: &str) -> Result<()> {
    let unfit = |what: &str, help: &str| {
        let message = format!("option url is '{}': {what}", without_password(url));
        Error::new(ErrorKind::Option, message).help(help.to_owned())
    };
    let example = "for example url = 'http://127.0.0.1:8080/rows'";
    let parsed: Uri = url
        .parse()
        .map_err(|error| unfit(&format!("{error}"), example))?;
    match parsed.scheme_str() {
        Some("http") if parsed.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        Some("https") => Err(unfit(
            "connector 'http' posts without encryption",
            "write http://, and let a proxy on this machine encrypt what leaves it",
        )),
        _ => Err(unfit("it does not begin with http:// and a host", example)),
    }
}

/// Rows that become a body.
struct Open {
    encoder: Box<dyn Encoder>,
    bytes: Vec<u8>,
    rows: usize,
    since: Instant,
}

/// Why the sender has ended.
#[derive(Debug, Clone)]
struct Failure {
    error: Error,
    /// How many rows had been taken.
    taken: u64,
    /// How many the body held that was not.
    rows: u64,
}

/// Posts rows.
pub(super) struct HttpSink {
    options: HttpSinkOptions,
    schema: SchemaRef,
    open: Option<Open>,
    /// What the keys of this run begin with.
    run: String,
    /// How many bodies and rows have been given to the sender.
    given: (u64, u64),
    queue: Arc<Queue<Body>>,
    failure: Arc<Mutex<Option<Failure>>>,
    stop: Arc<Stop>,
    /// How many rows have been taken.
    taken: Arc<AtomicU64>,
    sender: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSink")
            .field("url", &without_password(&self.options.route.url))
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Drop for HttpSink {
    fn drop(&mut self) {
        self.abort();
    }
}

impl HttpSink {
    /// A sink for rows of `schema`. The receiver need not be there yet.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn open(options: HttpSinkOptions, schema: &SchemaRef) -> Result<Self> {
        let io = |what: &str| Error::new(ErrorKind::Io, format!("opening an http sink: {what}"));
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| io(&error.to_string()))?;
        let (queue, failure) = (Arc::new(Queue::new(options.queue)), Arc::default());
        let stop = Arc::new(Stop::default());
        let taken = Arc::new(AtomicU64::new(0));
        let sender = Sender {
            postman: Postman::new(options.route.clone(), stop.clone()),
            queue: Arc::clone(&queue),
            failure: Arc::clone(&failure),
            stop: Arc::clone(&stop),
            taken: Arc::clone(&taken),
        };
        let thread = (thread::Builder::new().name("http-send".into()))
            .spawn(move || sender.run())
            .map_err(|error| io(&error.to_string()))?;
        Ok(Self {
            options,
            schema: schema.clone(),
            open: None,
            run: format!("{:032x}", u128::from_le_bytes(random)),
            given: (0, 0),
            queue,
            failure,
            stop,
            taken,
            sender: Some(thread),
        })
    }

    /// The error with which the sender has ended, if it has.
    fn failed(&self) -> Result<()> {
        let failure = (self.failure.lock()).unwrap_or_else(PoisonError::into_inner);
        let Some(Failure { error, taken, rows }) = failure.clone() else {
            return Ok(());
        };
        let open = self.open.as_ref().map_or(0, |open| open.rows as u64);
        let lost = self.given.1 + open - taken;
        if lost == rows {
            return Err(error);
        }
        let lost = counted(lost, "row was", "rows were");
        let message = format!("{}; {lost} not posted in all", error.message());
        Err(error.worded(message))
    }

    fn append(&mut self, records: &RecordBatch) -> Result<()> {
        self.failed()?;
        let mut offset = 0;
        while offset < records.num_rows() {
            let open = match &mut self.open {
                Some(open) => open,
                none => none.insert(Open {
                    encoder: encoder(self.options.format, &self.options.encode, &self.schema)?,
                    bytes: Vec::new(),
                    rows: 0,
                    since: Instant::now(),
                }),
            };
            let room = (self.options.batch_rows - open.rows).min(STEP_ROWS);
            let rows = room.min(records.num_rows() - offset);
            open.encoder
                .encode(&records.slice(offset, rows), &mut open.bytes)?;
            open.rows += rows;
            offset += rows;
            let is_full = open.rows >= self.options.batch_rows
                || open.bytes.len() >= self.options.batch_bytes;
            if is_full {
                self.give()?;
            }
        }
        Ok(())
    }

    /// Gives what is open to the sender, waiting for room.
    fn give(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        open.encoder.finish(&mut open.bytes)?;
        let (number, before) = self.given;
        let mut body = Body {
            bytes: open.bytes,
            key: format!("{}-{}", self.run, number + 1),
            first_row: before + 1,
            rows: open.rows as u64,
        };
        self.given = (number + 1, before + body.rows);
        let weight = Weight {
            rows: open.rows,
            bytes: body.bytes.len(),
        };
        loop {
            match self.queue.push_over(body, weight, WAKE) {
                Ok(()) => return Ok(()),
                Err(Refused::Full(_)) if self.stop.is_over() => return Err(self.silent()),
                Err(Refused::Full(refused)) => body = refused,
                Err(Refused::Closed(_)) => {
                    self.failed()?;
                    let message = "rows came after the end of an http sink";
                    return Err(Error::new(ErrorKind::Internal, message));
                }
            }
        }
    }

    fn give_if_due(&mut self) -> Result<()> {
        self.failed()?;
        match &self.open {
            Some(open) if open.since.elapsed() >= self.options.linger => self.give(),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.give()?;
        self.queue.close();
        let Some(sender) = self.sender.take() else {
            return self.failed();
        };
        let mut over_at = None;
        while !sender.is_finished() {
            if self.stop.is_over() && over_at.get_or_insert_with(Instant::now).elapsed() > END_GRACE
            {
                // It ends with the request that it waits for.
                threads::leave(sender);
                return Err(self.silent());
            }
            thread::sleep(END_WAKE);
        }
        if sender.join().is_err() {
            return Err(Error::new(ErrorKind::Internal, "an http sender panicked"));
        }
        self.failed()
    }

    /// The error where the receiver was not waited for.
    fn silent(&self) -> Error {
        let open = self.open.as_ref().map_or(0, |open| open.rows as u64);
        let lost = counted(
            self.given.1 + open - self.taken.load(Relaxed),
            "row was",
            "rows were",
        );
        let url = without_password(&self.options.route.url);
        let message = format!("{lost} not posted to {url}: stopped while it did not answer");
        Error::new(ErrorKind::Io, message).help("see whether the receiver runs")
    }
}

impl Sink for HttpSink {
    fn watch(&mut self, stop: &Arc<AtomicBool>) {
        // It is told once.
        let _ = self.stop.asked.set(stop.clone());
    }

    fn has_room(&self) -> bool {
        !self.queue.is_full()
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

    fn leave(&mut self) -> windrow_core::Result<()> {
        self.stop.leave();
        self.finish()
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        Ok(self.end()?)
    }

    fn abort(&mut self) {
        self.open = None;
        self.stop.is_abandoned.store(true, Relaxed);
        self.queue.close();
        while let Popped::Item(_) = self.queue.pop(Duration::ZERO) {}
    }
}

/// The thread that posts.
struct Sender {
    postman: Postman,
    queue: Arc<Queue<Body>>,
    failure: Arc<Mutex<Option<Failure>>>,
    stop: Arc<Stop>,
    taken: Arc<AtomicU64>,
}

impl Sender {
    fn run(&self) {
        while let Popped::Item(body) = self.queue.pop(Duration::MAX) {
            if let Err(error) = self.postman.deliver(&body) {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure {
                    error,
                    taken: body.first_row - 1,
                    rows: body.rows,
                });
                // Who waits for room waits in vain.
                self.queue.close();
                return;
            }
            self.taken.fetch_add(body.rows, Relaxed);
            self.stop.has_moved();
        }
    }
}
