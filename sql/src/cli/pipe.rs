//! The way to stdout, which its reader may hold up for ever.
//!
//! A thread writes what is handed to it, in order, a few megabytes behind at most.
//! Whoever hands it over waits in steps: when the work is to stop, the wait is over, and
//! what the reader has not taken after a moment is given up.
//!
//! ```text
//!  Pipe::send ─▶ [chunk][chunk][chunk] ─▶ thread: write, flush ─▶ stdout
//!                at most CHUNK_BYTES_MAX   an error is kept for the next send
//! ```

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::connector::stdout::is_caused_by;
use crate::error::{Error, ErrorKind, reason};
use crate::threads;

/// Bytes that may wait to be written.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// How long a wait lasts before it looks whether the work is to stop.
const LOOK: Duration = Duration::from_millis(10);

/// How long the thread waits for a chunk until it looks whether one can come.
const IDLE: Duration = Duration::from_secs(1);

/// How long a reader has to take what waits when the work is to stop.
const GRACE: Duration = Duration::from_millis(100);

/// A writer to stdout; clones write to the same one. A chunk stays whole.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    cancel: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the chunks, and of the one that is being written.
    bytes: usize,
    /// Why nothing more can be written.
    failed: Option<(io::ErrorKind, String)>,
    /// Until when a reader is waited for, once the work is to stop.
    deadline: Option<Instant>,
}

impl Pipe {
    /// Starts the thread that writes to `out`. `around` is called with each write, to
    /// clear the way for it.
    pub(super) fn new(
        mut out: Box<dyn Write + Send>,
        cancel: Arc<AtomicBool>,
        around: impl Fn(&mut dyn FnMut()) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            cancel,
        });
        let pipe = Self {
            shared: shared.clone(),
        };
        // It ends with the process: it may be held up for as long.
        threads::start("windrow-stdout", None, move || {
            while let Some(chunk) = shared.next() {
                let mut written = Ok(());
                around(&mut || {
                    written = out.write_all(&chunk).and_then(|()| out.flush());
                });
                shared.has_written(chunk.len(), written);
            }
        })?;
        Ok(pipe)
    }

    /// Hands bytes over, to be written as one.
    pub(super) fn send(&self, chunk: Vec<u8>) -> io::Result<()> {
        let length = chunk.len();
        if length == 0 {
            return Ok(());
        }
        let mut state = self
            .shared
            .wait(|state| state.bytes == 0 || state.bytes + length <= CHUNK_BYTES_MAX)?;
        state.bytes += length;
        state.chunks.push_back(chunk);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Has the writer flushed, although nothing is handed over.
    pub(super) fn touch(&self) {
        let mut state = self.shared.state();
        if state.failed.is_none() {
            state.chunks.push_back(Vec::new());
            self.shared.changed.notify_all();
        }
    }

    /// Gives up what waits to be written. What is being written, is.
    pub(super) fn clear(&self) {
        let mut state = self.shared.state();
        let waiting: usize = state.chunks.drain(..).map(|chunk| chunk.len()).sum();
        state.bytes -= waiting;
        self.shared.changed.notify_all();
    }

    /// Waits until everything is written.
    pub(super) fn drain(&self) -> io::Result<()> {
        (self.shared)
            .wait(|state| state.bytes == 0 && state.chunks.is_empty())
            .map(|_| ())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes.to_vec())?;
        Ok(bytes.len())
    }

    /// What was handed over is written without being asked.
    fn flush(&mut self) -> io::Result<()> {
        match self.shared.state().failed() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl State {
    fn failed(&self) -> Option<io::Error> {
        (self.failed.as_ref()).map(|(kind, words)| io::Error::new(*kind, words.clone()))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A chunk is in the queue or not: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the state is as wished, the pipe fails, or the work is to stop and
    /// the reader does not follow.
    fn wait(&self, wished: impl Fn(&State) -> bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        loop {
            if let Some(error) = state.failed() {
                return Err(error);
            }
            if wished(&state) {
                return Ok(state);
            }
            if self.cancel.load(Ordering::Relaxed) {
                let now = Instant::now();
                if now >= *state.deadline.get_or_insert(now + GRACE) {
                    let words = "stopped before everything was written";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, words));
                }
            } else {
                state.deadline = None;
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next chunk to write; `None` when nobody can send one any more.
    fn next(self: &Arc<Self>) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(chunk) = state.chunks.pop_front() {
                return Some(chunk);
            }
            if Arc::strong_count(self) == 1 {
                return None;
            }
            let waited = self.changed.wait_timeout(state, IDLE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn has_written(&self, bytes: usize, written: io::Result<()>) {
        let mut state = self.state();
        state.bytes -= bytes;
        if let Err(error) = written {
            state.failed = Some((error.kind(), reason(&error)));
            state.chunks.clear();
            state.bytes = 0;
        }
        self.changed.notify_all();
    }
}

/// Whether an error says that the work was stopped before its reader had taken all, or
/// before it began.
pub(super) fn is_given_up(error: &Error) -> bool {
    error.kind() == ErrorKind::Cancelled || is_caused_by(error, io::ErrorKind::TimedOut)
}
