//! Rows over UDP.
//!
//! ```text
//!  socket ─▶ receiver ─▶ │ bounded queue │ ─▶ parsers ─▶ rows, in order
//!    │                      │
//!    ▼ what the kernel      ▼ what the queue
//!      could not hold         could not take        both are counted as dropped
//! ```
//!
//! A datagram holds one line or more. One of CSV that opens a quote and does not close it
//! takes those after it along, by `line_bytes_max` at most. The receiver does nothing but receive, so that the kernel's buffer is emptied as fast as can be.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use socket2::SockRef;
use windrow_core::stream::{Backlog, Sink, Source, SourceEvent};

use super::address::{in_use, own_address};
use super::drops::KernelDrops;
use super::reading::{Reading, SOURCE_OPTIONS, SourceOptions};
use super::registry::{Connector, ConnectorKind, Pairs};
use super::socket;
use super::udp_sink::{UdpSink, UdpSinkOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::format::options::parse_count;
use crate::format::reader::{Counted, Fill};
use crate::format::text::{TextFormat, TextReader};
use crate::format::{FORMAT_OPTIONS, Format};
use crate::threads;

/// So many bytes wait between the socket and the parsers at most (`queue_bytes`).
const QUEUE_BYTES_DEFAULT: usize = 64 << 20;

/// What the kernel is asked to hold until it is received (`receive_buffer`); it may allow
/// less.
const RECEIVE_BUFFER_DEFAULT: usize = 8 << 20;

/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The default of `line_bytes_max`: no line is longer than its datagram.
const LINE_BYTES_MAX_DEFAULT: usize = DATAGRAM_BYTES_MAX + 1;

/// Datagrams are handed on together, up to so many bytes.
const BLOCK_BYTES: usize = 256 << 10;

/// A block that is shorter takes in what comes after it: a datagram may be a byte.
const BLOCK_BYTES_LEAST: usize = 1 << 10;

/// So often a thread that waits sees whether it is to stop.
const WAKE: Duration = Duration::from_millis(50);

/// So often the kernel is asked what it has dropped.
const DROPS_ASKED: Duration = Duration::from_millis(100);

const NAMES: [&str; 3] = ["address", "queue_bytes", "receive_buffer"];

/// What is read.
const FORMATS: [Format; 3] = [Format::Ndjson, Format::Csv, Format::Line];

/// The connector `udp`.
#[derive(Debug)]
pub(super) struct UdpKind;

#[derive(Debug)]
struct Udp {
    schema: SchemaRef,
    udp: UdpOptions,
    options: SourceOptions,
}

#[derive(Debug, Clone)]
struct UdpOptions {
    address: SocketAddr,
    queue_bytes: usize,
    receive_buffer: usize,
    text: TextFormat,
}

impl UdpOptions {
    /// Reads these options out of all options of a stream; gives back the others.
    fn from_pairs(pairs: &Pairs) -> Result<(Self, Pairs)> {
        let (mut text, mut rest) = socket::text("udp", &FORMATS, LINE_BYTES_MAX_DEFAULT, pairs)?;
        rest.retain(|name, _| !NAMES.contains(&name.as_str()));
        if text.has_header() {
            if pairs.contains_key("header") {
                let message = "datagrams of CSV have no header: any may be the first";
                return Err(Error::new(ErrorKind::Option, message)
                    .help("leave the option header out, and declare the columns in their order"));
            }
            Arc::make_mut(&mut text.options).header = false;
        }
        let count = |name: &str, default: usize, least: usize| match pairs.get(name) {
            Some(value) => parse_count(name, value, least, 1 << 32),
            None => Ok(default),
        };
        let options = Self {
            address: own_address("udp", pairs)?,
            queue_bytes: count("queue_bytes", QUEUE_BYTES_DEFAULT, DATAGRAM_BYTES_MAX + 1)?,
            receive_buffer: count("receive_buffer", RECEIVE_BUFFER_DEFAULT, 1)?,
            text,
        };
        Ok((options, rest))
    }
}

impl Connector for Udp {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(UdpSource::open(
            &self.schema,
            &self.udp,
            &self.options,
        )?))
    }
}

/// Whole lines of some datagrams.
#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// How many of the bytes are line ends that were not sent.
    ends: u64,
    came: Instant,
}

#[derive(Debug, Default)]
struct Waiting {
    blocks: VecDeque<Block>,
    bytes: usize,
    /// How much of the first block has been read.
    read: usize,
    /// All bytes that have been taken in.
    taken: u64,
    /// How long the last block to be read had waited.
    waited: Duration,
    /// Line ends that were not sent in blocks that have been read, and were not taken off the
    /// bytes of the rows yet.
    ends: u64,
}

/// The rows of a block, as far as can be told before they are parsed: lines that hold more
/// than blanks.
fn rows_of(block: &[u8]) -> u64 {
    let lines = block.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.trim_ascii().is_empty()).count() as u64
}

/// What lies between the socket and the parsers.
#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
    bytes_max: usize,
    stop: AtomicBool,
    /// Rows that were dropped and not told yet.
    dropped: AtomicU64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a block of whole lines if there is room for it; else they are counted. Of its
    /// bytes `ends` are line ends that were not sent.
    fn push(&self, block: Vec<u8>, ends: u64) {
        if block.is_empty() {
            return;
        }
        let mut guard = self.lock();
        let waiting = &*guard;
        if waiting.bytes > 0 && waiting.bytes + block.len() > self.bytes_max {
            drop(guard);
            self.dropped.fetch_add(rows_of(&block), Relaxed);
            return;
        }
        let waiting = &mut *guard;
        waiting.bytes += block.len();
        waiting.taken += block.len() as u64;
        match waiting.blocks.back_mut() {
            Some(last) if last.bytes.len() < BLOCK_BYTES_LEAST => {
                last.bytes.extend_from_slice(&block);
                last.ends += ends;
            }
            _ => waiting.blocks.push_back(Block {
                bytes: block,
                ends,
                came: Instant::now(),
            }),
        }
        drop(guard);
        self.came.notify_one();
    }

    fn is_open(&self) -> bool {
        !self.stop.load(Relaxed)
    }
}

/// The end of the queue that the parsers read from.
struct Lines(Arc<Queue>);

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let queue = &*self.0;
        let mut waiting = queue.lock();
        while waiting.blocks.is_empty() {
            if !queue.is_open() {
                return Ok(0);
            }
            waiting = (queue.came.wait_timeout(waiting, WAKE))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let mut len = 0;
        while let Some(block) = waiting.blocks.front()
            && len < buffer.len()
        {
            let waited = block.came.elapsed();
            let rest = &block.bytes[waiting.read..];
            let part = rest.len().min(buffer.len() - len);
            buffer[len..len + part].copy_from_slice(&rest[..part]);
            let is_read = part == rest.len();
            len += part;
            waiting.read += part;
            waiting.waited = waited;
            if is_read {
                waiting.read = 0;
                if let Some(block) = waiting.blocks.pop_front() {
                    waiting.bytes -= block.bytes.len();
                    waiting.ends += block.ends;
                }
            }
        }
        Ok(len)
    }
}

impl Fill for Counted<Lines> {}

/// Rows of datagrams.
struct UdpSource {
    reading: Reading,
    queue: Arc<Queue>,
    given: Given,
}

/// What has come out of the parsers.
#[derive(Debug, Clone, Copy, Default)]
struct Given {
    bytes: u64,
    rows: u64,
}

impl Given {
    /// What is left of `taken` bytes, of which `waiting` lie in a queue for `waiting_max`,
    /// in rows of the mean size; `None` before the first row.
    fn backlog(self, taken: u64, waiting: u64, waiting_max: u64) -> Option<Backlog> {
        let rows = |bytes: u64| {
            let rows = u128::from(bytes) * u128::from(self.rows);
            rows.div_ceil(u128::from(self.bytes)) as u64
        };
        // Beside the queue, what the parsers hold.
        let left = taken.saturating_sub(self.bytes).max(waiting);
        (self.rows > 0 && self.bytes > 0).then(|| Backlog {
            rows: rows(left),
            rows_max: rows(left - waiting + waiting_max),
        })
    }
}

impl fmt::Debug for UdpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSource")
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

impl Drop for UdpSource {
    fn drop(&mut self) {
        self.queue.stop.store(true, Relaxed);
    }
}

impl UdpSource {
    /// Receives from now on: what comes before the first poll waits in the queue.
    fn open(schema: &SchemaRef, udp: &UdpOptions, options: &SourceOptions) -> Result<Self> {
        let failed = |error: io::Error| in_use(udp.address, error);
        let socket = UdpSocket::bind(udp.address).map_err(failed)?;
        // The kernel gives less if it is asked for more than it allows.
        SockRef::from(&socket)
            .set_recv_buffer_size(udp.receive_buffer)
            .map_err(failed)?;
        socket.set_read_timeout(Some(WAKE)).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            came: Condvar::new(),
            bytes_max: udp.queue_bytes,
            stop: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        let receiver = queue.clone();
        threads::start("udp-receive", None, move || {
            receive(&socket, address, &receiver);
        })
        .map_err(|error| Error::new(ErrorKind::Io, format!("starting a thread: {error}")))?;
        let lines = Lines(queue.clone());
        let (text, batch) = (udp.text.clone(), (options.batch_rows, options.batch_bytes));
        let reading = Reading::new("udp", schema, options, move |feed| {
            let read = Arc::new(AtomicU64::new(0));
            let shape = feed.shape(&text, &format!("udp {address}"), batch.0);
            let chunks = text.chunks(Counted::new(lines, read.clone()), batch.1, true)?;
            // Any datagram may be the first: what is wrong with it is wrong with it alone.
            let chunks = chunks.without_mark();
            let _open = feed.text(0, TextReader::new(chunks, text, shape), &read)?;
            Ok(())
        });
        let given = Given::default();
        Ok(Self {
            reading,
            queue,
            given,
        })
    }
}

/// Receives until the queue is closed.
fn receive(socket: &UdpSocket, address: SocketAddr, queue: &Queue) {
    let mut drops = KernelDrops::of(address);
    let mut asked_at = Instant::now();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let (mut block, mut ends) = (Vec::new(), 0);
    let block_bytes = BLOCK_BYTES.min(queue.bytes_max / 4);
    let mut waits = true;
    while queue.is_open() {
        let received = socket.recv(&mut datagram);
        if let Ok(len) = received {
            let lines = &datagram[..len];
            block.extend_from_slice(lines);
            if lines.last().is_some_and(|last| *last != b'\n') {
                block.push(b'\n');
                ends += 1;
            }
        }
        if received.is_err() || block.len() >= block_bytes {
            queue.push(std::mem::take(&mut block), std::mem::take(&mut ends));
        }
        // After one that was waited for, all that have come are taken without waiting.
        if waits == received.is_ok() && socket.set_nonblocking(waits).is_ok() {
            waits = !waits;
        }
        if asked_at.elapsed() >= DROPS_ASKED {
            asked_at = Instant::now();
            queue.dropped.fetch_add(drops.since(), Relaxed);
        }
    }
}

impl Source for UdpSource {
    fn schema(&self) -> SchemaRef {
        self.reading.schema()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn poll(&mut self, wait: Duration) -> windrow_core::Result<SourceEvent> {
        match self.queue.dropped.swap(0, Relaxed) {
            0 => {}
            rows => return Ok(SourceEvent::Dropped(rows)),
        }
        let mut event = self.reading.poll(wait)?;
        if let SourceEvent::Batch {
            records,
            rejected,
            bytes,
            ..
        } = &mut event
        {
            self.given.bytes += *bytes;
            self.given.rows += (records.num_rows() + rejected.len()) as u64;
            // What is told is what was sent.
            let mut waiting = self.queue.lock();
            let ends = waiting.ends.min(*bytes);
            waiting.ends -= ends;
            *bytes -= ends;
        }
        Ok(event)
    }

    fn backlog(&self) -> Option<Backlog> {
        let waiting = self.queue.lock();
        let held = (waiting.bytes - waiting.read) as u64;
        (self.given).backlog(waiting.taken, held, self.queue.bytes_max as u64)
    }

    fn waited(&self) -> Duration {
        self.reading.waited() + self.queue.lock().waited
    }
}

impl ConnectorKind for UdpKind {
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let (udp, rest) = UdpOptions::from_pairs(options)?;
        let (options, unknown) = SourceOptions::from_pairs(&rest)?;
        let udp = Udp {
            schema: socket::columns("udp", &udp.text, declared)?,
            udp,
            options,
        };
        Ok((Arc::new(udp), unknown))
    }

    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        let (options, unknown) = UdpSinkOptions::from_pairs(options)?;
        Ok((Box::new(UdpSink::open(&options, schema)?), unknown))
    }

    fn check_sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<Vec<String>> {
        let (options, unknown) = UdpSinkOptions::from_pairs(options)?;
        options.check(schema)?;
        Ok(unknown)
    }

    fn sink_option_names(&self) -> Vec<&'static str> {
        UdpSinkOptions::names()
    }

    fn option_names(&self) -> Vec<&'static str> {
        let names = NAMES.iter().chain(&FORMAT_OPTIONS).chain(&SOURCE_OPTIONS);
        names.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_that_come_one_by_one_take_no_more_memory_than_their_bytes() {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            came: Condvar::new(),
            bytes_max: 20_000,
            stop: AtomicBool::new(true),
            dropped: AtomicU64::new(0),
        });
        let mut sent = Vec::new();
        let mut push = |number: usize| {
            let line = format!("{}\n", number % 10).into_bytes();
            queue.push(line.clone(), 0);
            sent.extend(line);
        };
        (0..5_000).for_each(&mut push);
        let mut lines = Lines(queue.clone());
        let mut came = vec![0; 9];
        lines.read_exact(&mut came).expect("it is there");
        // Also into one of which a part has been read.
        (5_000..10_000).for_each(&mut push);
        let blocks = queue.lock().blocks.len();
        assert!(blocks <= 20_000 / BLOCK_BYTES_LEAST + 1, "{blocks} blocks");
        lines.read_to_end(&mut came).expect("it is closed");
        assert!(came == sent, "{} bytes of {}", came.len(), sent.len());
        let waiting = queue.lock();
        assert_eq!((waiting.bytes, waiting.read, waiting.taken), (0, 0, 20_000));
    }

    #[test]
    fn what_is_dropped_is_counted_as_it_would_be_read() {
        let queue = Queue {
            waiting: Mutex::default(),
            came: Condvar::new(),
            bytes_max: 10,
            stop: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        };
        for (block, dropped) in [("12345678\n", 0), ("1\n2\n", 2), ("\n\n\r\n \t\n3\n\n", 3)] {
            queue.push(block.into(), 0);
            assert_eq!(queue.dropped.load(Relaxed), dropped);
        }
    }

    #[test]
    fn what_waits_is_told_in_rows_of_the_mean_size() {
        let given = Given {
            bytes: 1_000,
            rows: 50,
        };
        // 400 bytes wait for 20 bytes a row, and 200 are being parsed. The queue takes 600
        // more.
        let backlog = given.backlog(1_600, 400, 1_000).expect("rows have come");
        assert_eq!((backlog.rows, backlog.rows_max), (30, 60));
        let none = given.backlog(1_000, 0, 1_000).expect("rows have come");
        assert_eq!((none.rows, none.rows_max), (0, 50));
        assert_eq!(Given::default().backlog(10, 10, 100), None);
    }
}
