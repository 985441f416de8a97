//! The bytes of one connection, line by line.
//!
//! Only whole lines are given on: what follows the last line end when a connection ends is
//! a line that was cut, which may still look like a row.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use memchr::memrchr;

use super::presence::ask_when_silent;
use crate::format::reader::{Counted, Fill};

/// So often a reader that waits for bytes sees whether it is to stop.
const WAKE: Duration = Duration::from_millis(100);

const READ_BYTES: usize = 64 << 10;

/// Why no more bytes come.
#[derive(Debug)]
pub(super) enum Closed {
    /// The other side has ended it.
    Ended,
    /// Nothing has come for so long.
    Silent(Duration),
    /// The connection is broken.
    Broken(io::Error),
    /// Nobody wants more.
    Stopped,
}

/// A connection as a reader of whole lines.
#[derive(Debug)]
pub(super) struct Client<'a> {
    stream: TcpStream,
    stop: &'a AtomicBool,
    silence_max: Option<Duration>,
    heard_at: Instant,
    has_sent: bool,
    /// What has come and not been given on.
    held: Vec<u8>,
    /// So many bytes without a line end are given on: whoever takes them knows what to do
    /// with so long a line. 0: bytes are given on as they come.
    line_bytes_max: usize,
    buffer: Vec<u8>,
    closed: Option<Closed>,
}

impl<'a> Client<'a> {
    /// Reads from `stream` until it ends, `stop` is true, or nothing has come for
    /// `silence_max`.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(super) fn new(
        stream: TcpStream,
        line_bytes_max: usize,
        silence_max: Option<Duration>,
        stop: &'a AtomicBool,
    ) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(WAKE))?;
        ask_when_silent(&stream)?;
        Ok(Self {
            stream,
            stop,
            silence_max,
            heard_at: Instant::now(),
            has_sent: false,
            held: Vec::new(),
            line_bytes_max,
            buffer: vec![0; READ_BYTES],
            closed: None,
        })
    }

    /// Whether a byte has come.
    pub(super) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Why it has ended, and the line that was cut by that.
    pub(super) fn closed(self) -> (Closed, Vec<u8>) {
        (self.closed.unwrap_or(Closed::Stopped), self.held)
    }

    /// How many of the bytes at hand can be given on.
    fn whole(&self) -> usize {
        match memrchr(b'\n', &self.held) {
            Some(at) => at + 1,
            None if self.held.len() > self.line_bytes_max => self.held.len(),
            None => 0,
        }
    }

    /// Waits for bytes.
    fn receive(&mut self) {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => self.closed = Some(Closed::Ended),
            Ok(len) => {
                self.heard_at = Instant::now();
                self.has_sent = true;
                self.held.extend_from_slice(&self.buffer[..len]);
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    // There may be many that are silent after a long line.
                    self.held.shrink_to_fit();
                }
                ErrorKind::Interrupted => {}
                _ => self.closed = Some(Closed::Broken(error)),
            },
        }
        let silent = self
            .silence_max
            .filter(|max| self.heard_at.elapsed() > *max);
        if let (None, Some(max)) = (&self.closed, silent) {
            self.closed = Some(Closed::Silent(max));
        }
        if self.stop.load(Relaxed) {
            self.closed = Some(Closed::Stopped);
        }
    }
}

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.whole().min(buffer.len());
            if len > 0 || buffer.is_empty() {
                buffer[..len].copy_from_slice(&self.held[..len]);
                self.held.drain(..len);
                return Ok(len);
            }
            if self.closed.is_some() {
                return Ok(0);
            }
            self.receive();
        }
    }
}

impl Fill for Counted<&mut Client<'_>> {}
