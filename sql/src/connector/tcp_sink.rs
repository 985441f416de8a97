//! Rows to a receiver over TCP.
//!
//! ```text
//!  rows ─▶ lines ─▶ │ queue_bytes │ ─▶ thread ─▶ socket ─▶ receiver
//!                    waits when full      │ └ kept until the other machine has them
//!                                         └ connects again when the connection breaks
//! ```
//!
//! A receiver that is slow, or away, slows the query: nothing is dropped. Blocks of whole
//! lines are kept until the receiver's machine has acknowledged them; those that it had not
//! when a connection broke are sent once more on the next one, so that a row may come
//! twice but is not lost on the way. What has arrived at the machine counts as delivered:
//! whether the program there has read it, TCP does not tell.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use socket2::SockRef;
use windrow_core::batch::queue::{Popped, Queue, Refused, Weight};
use windrow_core::stream::Sink;

use super::address::addresses;
use super::drops::kernel_name;
use super::line_sink::LineFormat;
use super::registry::Pairs;
use crate::error::{Error, ErrorKind, Result, reason};
use crate::format::Encoder;
use crate::format::encode::EncodeOptions;
use crate::format::encode::setting::{Settings, unfit};

/// So many bytes of lines wait to be sent at most (`queue_bytes`).
const QUEUE_BYTES_DEFAULT: usize = 16 << 20;

/// A receiver that takes nothing for so long is given up (`send_timeout`).
const SEND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// As long, once the work is to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Rows that become one block.
const BLOCK_ROWS: usize = 1_024;

/// What the kernel is asked to hold of what has been sent; it may allow less.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// The kernel may hold so much more than it says.
const SEND_BUFFER_SLACK: u64 = 128 << 10;

/// So often a thread that waits sees whether it is to stop.
const WAKE: Duration = Duration::from_millis(50);

/// An attempt to connect takes no longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What lies between two attempts to connect: twice as much after each, up to the second.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

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

/// Whole lines.
#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// 0: a header.
    rows: u64,
}

/// What the sink and its thread share.
#[derive(Debug)]
struct Shared {
    queue: Queue<Block>,
    /// Rows that were taken and not delivered.
    undelivered: AtomicU64,
    /// Why the receiver was given up.
    failed: Mutex<Option<String>>,
    /// Nobody waits for anything any more.
    abandoned: AtomicBool,
    /// Set when the work is to stop.
    stop: OnceLock<Arc<AtomicBool>>,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stop.get().is_some_and(|stop| stop.load(Relaxed))
    }

    fn failure(&self) -> Option<String> {
        let failed = self.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends rows.
pub(super) struct TcpSink {
    encoder: Box<dyn Encoder>,
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared {
            queue: Queue::new(Weight {
                rows: usize::MAX,
                bytes: options.queue_bytes,
            }),
            undelivered: AtomicU64::new(0),
            failed: Mutex::default(),
            abandoned: AtomicBool::new(false),
            stop: OnceLock::new(),
        });
        let header = match options.lines.has_header() {
            true => options.lines.header(schema)?,
            false => Vec::new(),
        };
        let sender = Sender {
            addresses: options.addresses.clone(),
            header,
            send_timeout: options.send_timeout,
            shared: shared.clone(),
            connection: None,
            due: VecDeque::new(),
            progress_at: Instant::now(),
            taken: 0,
            wait: None,
            reason: String::new(),
        };
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
        let message = format!(
            "{rows} rows were not delivered to tcp {}: {why}",
            self.receiver
        );
        Error::new(ErrorKind::Io, message)
            .help("start the receiver first, or raise send_timeout: a query waits for as long")
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
                let refused = self.shared.queue.push_timeout(block, weight, WAKE);
                block = match refused {
                    Ok(()) => break,
                    Err(Refused::Full(block)) if !self.shared.is_stopping() => block,
                    Err(refused) => {
                        let why = match (refused, self.shared.failure()) {
                            (Refused::Closed(_), Some(why)) => why,
                            _ => "stopped while the receiver took nothing".to_owned(),
                        };
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

    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        Ok(self.send(records)?)
    }

    fn tick(&mut self) -> windrow_core::Result<()> {
        Ok(self.check()?)
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

/// A connection, and what of it the receiver may not have yet.
struct Connection {
    stream: TcpStream,
    /// How much of the first block that is due has been sent.
    begun: usize,
    /// Bytes that were sent.
    sent: u64,
    /// The kernel holds no more than so many bytes that were sent and not acknowledged.
    held_max: u64,
    /// Blocks that were sent, each with how many bytes were sent at its end.
    unconfirmed: VecDeque<(u64, Block)>,
}

/// What the kernel tells of bytes that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// So many have not been acknowledged.
    Waiting(u64),
    /// There is no such connection any more.
    Gone,
    /// Nothing: it has no table.
    Nothing,
}

/// What sends blocks.
struct Sender {
    addresses: Vec<SocketAddr>,
    header: Vec<u8>,
    send_timeout: Option<Duration>,
    shared: Arc<Shared>,
    connection: Option<Connection>,
    /// Blocks to be sent.
    due: VecDeque<Block>,
    /// When the receiver last took something new, or there was nothing for it to take.
    progress_at: Instant,
    /// So much a connection took, and then broke: as much again is nothing new.
    taken: u64,
    /// How long to wait before the next attempt to connect; nothing has arrived since the
    /// last.
    wait: Option<Duration>,
    /// Why the last connection broke, or there was none.
    reason: String,
}

impl Drop for Sender {
    fn drop(&mut self) {
        // However its thread ends, nobody waits for it.
        self.shared.queue.close();
    }
}

impl Sender {
    fn run(mut self) {
        if let Err(why) = self.send_all() {
            let mut failed = (self.shared.failed.lock()).unwrap_or_else(PoisonError::into_inner);
            *failed = Some(why);
        }
    }

    /// Sends until the queue is closed and everything has arrived, or why it cannot.
    fn send_all(&mut self) -> Result<(), String> {
        let mut is_closed = false;
        while !self.is_abandoned() {
            if !self.owes() {
                self.progress_at = Instant::now();
            }
            if self.due.is_empty() && !is_closed {
                match self.shared.queue.pop(WAKE) {
                    Popped::Item(block) => self.due.push_back(block),
                    Popped::Empty => {
                        // Nobody asks for more than has been sent.
                        self.look();
                        self.progress_at = Instant::now();
                    }
                    Popped::Closed => is_closed = true,
                }
            }
            if self.connection.is_none() && !self.due.is_empty() {
                self.connect()?;
            }
            self.send_due()?;
            if is_closed && self.due.is_empty() {
                if self.has_arrived() {
                    break;
                }
                self.check_time()?;
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Relaxed)
    }

    /// Whether there are blocks that have not arrived.
    fn owes(&self) -> bool {
        let sent = self.connection.as_ref();
        !self.due.is_empty() || sent.is_some_and(|sent| !sent.unconfirmed.is_empty())
    }

    /// Whether the receiver has been waited for long enough.
    fn check_time(&self) -> Result<(), String> {
        let stopping = self.shared.is_stopping().then_some(STOP_TIMEOUT);
        let timeouts = [self.send_timeout, stopping];
        let Some(timeout) = timeouts.into_iter().flatten().min() else {
            return Ok(());
        };
        if self.progress_at.elapsed() < timeout {
            return Ok(());
        }
        let why = match &self.connection {
            None => &self.reason,
            Some(_) => "it is connected, but does not read",
        };
        let seconds = timeout.as_secs_f64();
        Err(format!("nothing was taken for {seconds} s ({why})"))
    }

    /// Connects, or waits before the next attempt.
    fn connect(&mut self) -> Result<(), String> {
        self.check_time()?;
        let (first, longest) = RETRY_WAITS;
        if let Some(wait) = self.wait {
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.is_abandoned() {
                self.check_time()?;
                thread::sleep(WAKE.min(until.saturating_duration_since(Instant::now())));
            }
        }
        self.wait = Some(self.wait.map_or(first, |wait| (wait * 2).min(longest)));
        for address in &self.addresses {
            let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT);
            match stream.and_then(Connection::new) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    if !self.header.is_empty() {
                        let bytes = self.header.clone();
                        self.due.push_front(Block { bytes, rows: 0 });
                    }
                    break;
                }
                Err(error) => self.reason = reason(&error),
            }
        }
        Ok(())
    }

    /// Puts what may not have arrived back to what is due.
    fn has_broken(&mut self, error: &io::Error) {
        self.reason = reason(error);
        if let Some(connection) = self.connection.take() {
            self.taken = self.taken.max(connection.sent);
            for (_, block) in connection.unconfirmed.into_iter().rev() {
                self.due.push_front(block);
            }
        }
        self.due.retain(|block| block.rows > 0);
    }

    /// Sends what is due, as far as the receiver takes it.
    fn send_due(&mut self) -> Result<(), String> {
        while !self.is_abandoned()
            && let (Some(block), Some(connection)) = (self.due.front(), &mut self.connection)
        {
            match connection.stream.write(&block.bytes[connection.begun..]) {
                Ok(len) if len > 0 => {
                    connection.begun += len;
                    connection.sent += len as u64;
                    let (sent, held_max) = (connection.sent, connection.held_max);
                    if connection.begun == block.bytes.len()
                        && let Some(block) = self.due.pop_front()
                    {
                        connection.begun = 0;
                        connection.unconfirmed.push_back((sent, block));
                    }
                    if sent > self.taken {
                        self.progress_at = Instant::now();
                    }
                    self.confirm(sent.saturating_sub(held_max));
                }
                Ok(_) => self.has_broken(&io::ErrorKind::WriteZero.into()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.check_time()?,
                    io::ErrorKind::Interrupted => {}
                    _ => self.has_broken(&error),
                },
            }
        }
        Ok(())
    }

    /// Lets the blocks go that end before byte `arrived` of the connection.
    fn confirm(&mut self, arrived: u64) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        while let Some((end, block)) = connection.unconfirmed.front()
            && *end <= arrived
        {
            self.shared.undelivered.fetch_sub(block.rows, Relaxed);
            connection.unconfirmed.pop_front();
            self.progress_at = Instant::now();
            (self.taken, self.wait) = (0, None);
        }
    }

    /// Sees what has arrived, and whether the receiver is still there.
    fn look(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let told = match connection.unconfirmed.is_empty() {
            true => Told::Nothing,
            false => connection.told(),
        };
        let heard = connection.listen();
        let sent = connection.sent;
        match (told, heard) {
            (Told::Waiting(waiting), _) => self.confirm(sent.saturating_sub(waiting)),
            (Told::Gone, _) => self.has_broken(&io::ErrorKind::ConnectionReset.into()),
            (Told::Nothing, Err(error)) => self.has_broken(&error),
            (Told::Nothing, Ok(())) => {}
        }
    }

    /// Whether everything that was sent has arrived: then the connection is ended.
    fn has_arrived(&mut self) -> bool {
        let Some(connection) = &mut self.connection else {
            return true;
        };
        let told = match connection.unconfirmed.is_empty() {
            true => Told::Waiting(0),
            false => connection.told(),
        };
        let sent = connection.sent;
        match told {
            Told::Waiting(waiting) => self.confirm(sent.saturating_sub(waiting)),
            Told::Gone => self.has_broken(&io::ErrorKind::ConnectionReset.into()),
            Told::Nothing => {
                // The receiver's own end tells that it has seen ours.
                let _ = connection.stream.shutdown(Shutdown::Write);
                match connection.listen() {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        self.confirm(sent);
                    }
                    Err(error) => self.has_broken(&error),
                }
            }
        }
        let is_over = !self.owes();
        if let (true, Some(connection)) = (is_over, &self.connection) {
            // The receiver may have gone by now: it has everything.
            let _ = connection.stream.shutdown(Shutdown::Write);
        }
        is_over
    }
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        // Where nobody listens, a connection may by chance be one with itself.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WAKE))?;
        let socket = SockRef::from(&stream);
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        let held_max = socket.send_buffer_size()? as u64 + SEND_BUFFER_SLACK;
        Ok(Self {
            stream,
            begun: 0,
            sent: 0,
            held_max,
            unconfirmed: VecDeque::new(),
        })
    }

    /// Whether the receiver is still there. What it says is nothing to us.
    fn listen(&mut self) -> io::Result<()> {
        let mut said = [0; 4_096];
        self.stream.set_nonblocking(true)?;
        let heard = loop {
            match io::Read::read(&mut self.stream, &mut said) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.stream.set_nonblocking(false)?;
        heard
    }

    /// What the kernel tells of the bytes that were sent.
    fn told(&self) -> Told {
        let addresses = self.stream.local_addr().and_then(|local| {
            let peer = self.stream.peer_addr()?;
            Ok((local, peer))
        });
        // One that was reset has no peer any more.
        let Ok((local, peer)) = addresses else {
            return Told::Gone;
        };
        let file = match local.is_ipv4() {
            true => "/proc/net/tcp",
            false => "/proc/net/tcp6",
        };
        let Ok(table) = fs::read_to_string(file) else {
            return Told::Nothing;
        };
        let (local, peer) = (kernel_name(local), kernel_name(peer));
        (table.lines())
            .find_map(|line| unacknowledged_of(line, &local, &peer))
            .map_or(Told::Gone, Told::Waiting)
    }
}

/// The bytes that wait in a connection's line of the table.
fn unacknowledged_of(line: &str, local: &str, peer: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if fields.next() != Some(local) || fields.next() != Some(peer) {
        return None;
    }
    let (waiting, _) = fields.nth(1)?.split_once(':')?;
    u64::from_str_radix(waiting, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   5: 0100007F:A3D2 0100007F:1BBF 01 0000A1B2:00000000 01:00000014 00000000     0        0 91877 2 0000000000000000 20 4 30 10 -1";
        let read = |local, peer| unacknowledged_of(line, local, peer);
        assert_eq!(read("0100007F:A3D2", "0100007F:1BBF"), Some(0xA1B2));
        assert_eq!(read("0100007F:1BBF", "0100007F:A3D2"), None);
        assert_eq!(unacknowledged_of("", "a", "b"), None);
    }
}
