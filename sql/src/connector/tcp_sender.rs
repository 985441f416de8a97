//! The thread of a sink over TCP.
//!
//! ```text
//!  queue ─▶ due ─▶ socket ─▶ unconfirmed ─▶ acknowledged: let go
//!            ▲                    │
//!            └── connection broke ┘
//! ```
//!
//! Blocks that the receiver's machine had not acknowledged when a connection broke are sent
//! once more on the next one, so that a row may come twice but is not lost on the way. What
//! has arrived at the machine counts as delivered: whether the program there has read it, TCP
//! does not tell.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use windrow_core::batch::queue::{Popped, Queue, Weight};

use super::drops::kernel_name;
use super::presence::{ask_when_silent, wait_for_acknowledgement};
use crate::error::reason;

/// Once the work is to stop, a receiver that takes nothing for so long is given up.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Once nobody waits for the end of the rows, a receiver that takes nothing for so long is
/// given up.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the kernel is asked to hold of what has been sent; it may allow less.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// The kernel may hold so much more than it says.
const SEND_BUFFER_SLACK: u64 = 128 << 10;

/// An attempt to connect takes no longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What lies between two attempts to connect: twice as much after each, up to the second.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// So often a thread that waits sees whether it is to stop.
pub(super) const WAKE: Duration = Duration::from_millis(50);

/// Whole lines.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// 0: a header.
    pub(super) rows: u64,
}

/// What the sink and its thread share.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) queue: Queue<Block>,
    /// Rows that were taken and are not known to have been delivered.
    pub(super) undelivered: AtomicU64,
    /// Whether the receiver has been there: then some of these rows may have arrived.
    pub(super) connected: AtomicBool,
    /// Why the receiver was given up.
    failed: Mutex<Option<String>>,
    /// Nobody waits for anything any more.
    pub(super) abandoned: AtomicBool,
    /// Set when the work is to stop.
    pub(super) stop: OnceLock<Arc<AtomicBool>>,
    /// Since when nobody waits for the end of the rows.
    left_at: OnceLock<Instant>,
}

impl Sending {
    /// Nothing yet; `queue_bytes` may wait.
    pub(super) fn new(queue_bytes: usize) -> Self {
        Self {
            queue: Queue::new(Weight {
                rows: usize::MAX,
                bytes: queue_bytes,
            }),
            undelivered: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            failed: Mutex::default(),
            abandoned: AtomicBool::new(false),
            stop: OnceLock::new(),
            left_at: OnceLock::new(),
        }
    }

    /// A receiver that takes nothing is not waited for from now on.
    pub(super) fn leave(&self) {
        // The first time counts.
        let _ = self.left_at.set(Instant::now());
    }

    /// Whether nobody waits for the end of the rows.
    pub(super) fn is_left(&self) -> bool {
        self.left_at.get().is_some()
    }

    fn is_stopping(&self) -> bool {
        self.stop.get().is_some_and(|stop| stop.load(Relaxed))
    }

    pub(super) fn failure(&self) -> Option<String> {
        let failed = self.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
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
    /// Whether the kernel has a table, and this connection in it.
    is_listed: bool,
}

/// What the kernel tells of bytes that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// So many have not been acknowledged.
    Waiting(u64),
    /// There is no such connection any more.
    Gone,
    /// Nothing: it has no table, or not this connection in it.
    Nothing,
}

/// What sends blocks.
pub(super) struct Sender {
    addresses: Vec<SocketAddr>,
    header: Vec<u8>,
    send_timeout: Option<Duration>,
    shared: Arc<Sending>,
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
    /// Sends what comes into the queue of `shared` to the first of `addresses` that answers;
    /// on each connection `header` comes first.
    pub(super) fn new(
        addresses: Vec<SocketAddr>,
        header: Vec<u8>,
        send_timeout: Option<Duration>,
        shared: Arc<Sending>,
    ) -> Self {
        Self {
            addresses,
            header,
            send_timeout,
            shared,
            connection: None,
            due: VecDeque::new(),
            progress_at: Instant::now(),
            taken: 0,
            wait: None,
            reason: String::new(),
        }
    }

    pub(super) fn run(mut self) {
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
        let waited = self.progress_at.elapsed();
        // One that was silent before has its second all the same.
        let left = self.shared.left_at.get().map(Instant::elapsed);
        let is_left = left.is_some_and(|left| left.min(waited) >= LEAVE_TIMEOUT);
        let stopping = self.shared.is_stopping().then_some(STOP_TIMEOUT);
        let timeouts = [self.send_timeout, stopping];
        let timeout = timeouts.into_iter().flatten().min();
        if !is_left && timeout.is_none_or(|timeout| waited < timeout) {
            return Ok(());
        }
        let why = match &self.connection {
            None => &self.reason,
            Some(_) => "it is connected, but does not read",
        };
        let seconds = waited.as_secs_f64();
        Err(format!("nothing was taken for {seconds:.1} s ({why})"))
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
            match stream.and_then(|stream| Connection::new(stream, self.send_timeout)) {
                Ok(connection) => {
                    self.shared.connected.store(true, Relaxed);
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
    fn new(stream: TcpStream, send_timeout: Option<Duration>) -> io::Result<Self> {
        // Where nobody listens, a connection may by chance be one with itself.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WAKE))?;
        ask_when_silent(&stream)?;
        if let Some(timeout) = send_timeout {
            // Rows that wait are given up before. These are on their way, and none follow:
            // a new connection may still deliver them.
            wait_for_acknowledgement(&stream, timeout * 2)?;
        }
        let socket = SockRef::from(&stream);
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        let held_max = socket.send_buffer_size()? as u64 + SEND_BUFFER_SLACK;
        let mut connection = Self {
            stream,
            begun: 0,
            sent: 0,
            held_max,
            unconfirmed: VecDeque::new(),
            is_listed: true,
        };
        connection.is_listed = matches!(connection.told(), Told::Waiting(_));
        Ok(connection)
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
        if !self.is_listed {
            return Told::Nothing;
        }
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
    use std::net::TcpListener;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_receiver_that_has_vanished_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let timeout = Duration::from_secs(3);
        for (allowed, most) in [(Some(timeout), Some(timeout * 2)), (None, None)] {
            let stream = TcpStream::connect(address).expect("it listens");
            let connection = Connection::new(stream, allowed).expect("it is connected");
            let socket = SockRef::from(&connection.stream);
            assert!(socket.keepalive().expect("a socket"));
            assert_eq!(socket.tcp_user_timeout().expect("a socket"), most);
        }
    }

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   5: 0100007F:A3D2 0100007F:1BBF 01 0000A1B2:00000000 01:00000014 00000000     0        0 91877 2 0000000000000000 20 4 30 10 -1";
        let read = |local, peer| unacknowledged_of(line, local, peer);
        assert_eq!(read("0100007F:A3D2", "0100007F:1BBF"), Some(0xA1B2));
        assert_eq!(read("0100007F:1BBF", "0100007F:A3D2"), None);
        assert_eq!(unacknowledged_of("", "a", "b"), None);
    }
}
