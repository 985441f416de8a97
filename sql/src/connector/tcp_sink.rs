//! Rows to a receiver over TCP.
//!
//! ```text
//!  rows ─▶ lines ─▶ │ queue_bytes │ ─▶ thread ─▶ socket ─▶ receiver
//!                    waits when full      │ └ kept until the other machine has them
//!                                         └ connects again when the connection breaks
//! ```
//!
//! A receiver that is slow, or away, slows the query: nothing is dropped. Blocks of whole
//! lines are kept until the receiver's machine has acknowledged them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::batch::queue::{Refused, Weight};
use windrow_core::stream::Sink;

use super::address::addresses;
use super::line_sink::LineFormat;
use super::registry::Pairs;
use super::tcp_sender::{Block, Sender, Sending, WAKE};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;
use crate::format::encode::EncodeOptions;
use crate::format::encode::setting::{Settings, unfit};
use crate::words::counted;

/// So many bytes of lines wait to be sent at most (`queue_bytes`).
const QUEUE_BYTES_DEFAULT: usize = 16 << 20;

/// A receiver that takes nothing for so long is given up (`send_timeout`).
const SEND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Rows that become one block.
const BLOCK_ROWS: usize = 1_024;

const NAMES: [&str; 5] = ["address", "mode", "format", "queue_bytes", "send_timeout"];

/// Where rows are sent, and how.
#[derive(Debug, Clone)]
pub(super) struct TcpSinkOptions {
    addresses: Vec<SocketAddr>,
    lines: LineFormat,
    queue_bytes: usize,
    /// `None`: it is waited for, however long it takes.
    send_timeout: Option<Duration>,
}

impl TcpSinkOptions {
    /// The options of a sink, and the names that are unknown.
    ///
    /// # Errors
    /// If a value does not fit.
    pub(super) fn from_pairs(pairs: &Pairs) -> Result<(Self, Vec<String>)> {
        let addresses = addresses("tcp", pairs)?;
        let mut settings = Settings::new(pairs);
        settings.text("address");
        if let Some(mode) = settings.text("mode").filter(|mode| *mode != "connect") {
            return Err(unfit("mode", mode, "connect: a sink calls its receiver"));
        }
        let lines = LineFormat::take("tcp", &mut settings)?;
        let queue_bytes = settings.count("queue_bytes", 1..=1 << 32)?;
        let send_timeout = settings.duration("send_timeout")?;
        let send_timeout = send_timeout.unwrap_or(SEND_TIMEOUT_DEFAULT);
        let options = Self {
            addresses,
            lines,
            queue_bytes: queue_bytes.map_or(QUEUE_BYTES_DEFAULT, |bytes| bytes as usize),
            send_timeout: (!send_timeout.is_zero()).then_some(send_timeout),
        };
        Ok((options, settings.rest()))
    }

    /// Whether the format can hold the rows.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check(&self, schema: &SchemaRef) -> Result<()> {
        self.lines.encoder(schema).map(drop)
    }

    /// The names of all options.
    pub(super) fn names() -> Vec<&'static str> {
        NAMES.into_iter().chain(EncodeOptions::NAMES).collect()
    }
}

/// Sends rows.
pub(super) struct TcpSink {
    encoder: Box<dyn Encoder>,
    shared: Arc<Sending>,
    receiver: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for TcpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSink")
            .field("receiver", &self.receiver)
            .finish_non_exhaustive()
    }
}

impl TcpSink {
    /// Starts to connect.
    ///
    /// # Errors
    /// If the format cannot hold the rows, or no thread can be started.
    pub(super) fn open(options: &TcpSinkOptions, schema: &SchemaRef) -> Result<Self> {
        let shared = Arc::new(Sending::new(options.queue_bytes));
        let header = match options.lines.has_header() {
            true => options.lines.header(schema)?,
            false => Vec::new(),
        };
        let addresses = options.addresses.clone();
        let sender = Sender::new(addresses, header, options.send_timeout, shared.clone());
        let thread = (thread::Builder::new().name("tcp-send".into()))
            .spawn(move || sender.run())
            .map_err(|error| Error::new(ErrorKind::Io, format!("starting a thread: {error}")))?;
        Ok(Self {
            encoder: options.lines.encoder(schema)?,
            shared,
            receiver: options.addresses[0],
            thread: Some(thread),
        })
    }

    fn check(&self) -> Result<()> {
        match self.shared.failure() {
            None => Ok(()),
            Some(why) => Err(self.undelivered(&why, 0)),
        }
    }

    /// That rows did not arrive, among them some that have not been taken.
    fn undelivered(&self, why: &str, more: u64) -> Error {
        let rows = self.shared.undelivered.load(Relaxed) + more;
        let (what, help) = match self.shared.connected.load(Relaxed) {
            // What was on its way when the connection broke may have arrived all the same.
            true => (
                counted(
                    rows,
                    "row is not known to have been",
                    "rows are not known to have been",
                ),
                "see whether the receiver still runs and reads, or raise send_timeout: a query \
                 waits for as long",
            ),
            false => (
                counted(rows, "row was not", "rows were not"),
                "start the receiver first, or raise send_timeout: a query waits for as long",
            ),
        };
        let help = match self.shared.is_left() {
            true => "see whether the receiver runs and reads",
            false => help,
        };
        let message = format!("{what} delivered to tcp {}: {why}", self.receiver);
        Error::new(ErrorKind::Io, message).help(help)
    }

    fn send(&mut self, records: &RecordBatch) -> Result<()> {
        for start in (0..records.num_rows()).step_by(BLOCK_ROWS) {
            let rows = BLOCK_ROWS.min(records.num_rows() - start);
            let mut bytes = Vec::new();
            self.encoder
                .encode(&records.slice(start, rows), &mut bytes)?;
            // A row of line protocol without any value is no line.
            if bytes.is_empty() {
                continue;
            }
            let weight = Weight {
                rows,
                bytes: bytes.len(),
            };
            let rows = rows as u64;
            let left = (records.num_rows() - start) as u64;
            let mut block = Block { bytes, rows };
            self.shared.undelivered.fetch_add(rows, Relaxed);
            loop {
                let refused = self.shared.queue.push_over(block, weight, WAKE);
                block = match refused {
                    Ok(()) => break,
                    // The thread gives a receiver up that takes nothing, sooner if the work is
                    // to stop; one that is slow gets all rows.
                    Err(Refused::Full(block)) => block,
                    Err(Refused::Closed(_)) => {
                        let why = self.shared.failure();
                        let why = why.unwrap_or_else(|| "the sink has ended".to_owned());
                        return Err(self.undelivered(&why, left - rows));
                    }
                };
            }
        }
        Ok(())
    }
}

impl Sink for TcpSink {
    fn watch(&mut self, stop: &Arc<AtomicBool>) {
        // It is told once.
        let _ = self.shared.stop.set(stop.clone());
    }

    fn has_room(&self) -> bool {
        !self.shared.queue.is_full()
    }

    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        Ok(self.send(records)?)
    }

    fn tick(&mut self) -> windrow_core::Result<()> {
        Ok(self.check()?)
    }

    fn leave(&mut self) -> windrow_core::Result<()> {
        self.shared.leave();
        self.finish()
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        self.shared.queue.close();
        let sent = self.thread.take().map_or(Ok(()), JoinHandle::join);
        if sent.is_err() {
            return Err(self
                .undelivered("the thread that sends has failed", 0)
                .into());
        }
        Ok(self.check()?)
    }

    fn abort(&mut self) {
        self.shared.abandoned.store(true, Relaxed);
        self.shared.queue.close();
    }
}

impl Drop for TcpSink {
    fn drop(&mut self) {
        self.abort();
    }
}
