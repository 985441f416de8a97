//! What is written while the prompt stands: above it, line by line.
//!
//! ```text
//!  stdout of sinks ─▶ put ─ nobody is asked ─▶ the terminal
//!                      └─ the prompt stands ─▶ text ─▶ thread ─▶ editor: lines, prompt again
//! ```
//!
//! The editor takes a text only while it reads a line, and a thread that gives it one may
//! have to wait for the next prompt. So a thread of its own does that, which nobody waits for.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use memchr::memrchr;

use crate::threads;

/// Bytes that may wait to be shown.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What comes meanwhile is shown at once: the prompt is drawn again with each text.
const SHOW_EVERY: Duration = Duration::from_millis(50);

/// Shows whole lines above the prompt; false if it cannot.
pub(super) type Show = Box<dyn FnMut(String) -> bool + Send>;

/// The place above the prompt.
#[derive(Debug, Clone, Default)]
pub(super) struct Above {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether there is an editor that shows lines.
    has_editor: bool,
    /// Whether the prompt stands.
    is_asking: bool,
    /// Nothing will be shown any more.
    is_over: bool,
    /// What waits to be shown.
    text: Vec<u8>,
}

impl State {
    /// Takes the lines that are whole.
    fn lines(&mut self) -> Option<String> {
        let end = match memrchr(b'\n', &self.text) {
            Some(end) => end + 1,
            // A line that is too long to wait for its end.
            None if self.text.len() >= TEXT_BYTES_MAX => self.text.len(),
            None => return None,
        };
        let rest = self.text.split_off(end);
        let lines = mem::replace(&mut self.text, rest);
        Some(String::from_utf8_lossy(&lines).into_owned())
    }
}

impl Above {
    /// Shows lines by `show` from now on, while the prompt stands.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(&self, mut show: Show) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        threads::start("windrow-above", None, move || {
            while let Some(lines) = shared.next() {
                if !show(lines) {
                    shared.state().has_editor = false;
                    shared.end();
                    return;
                }
                thread::sleep(SHOW_EVERY);
            }
        })?;
        self.shared.state().has_editor = true;
        Ok(())
    }

    /// The prompt stands from now on.
    pub(super) fn begin(&self) {
        let mut state = self.shared.state();
        state.is_asking = state.has_editor;
    }

    /// The prompt does not stand any more. What has not been shown is written before what
    /// follows.
    pub(super) fn end(&self) {
        self.shared.end();
    }

    /// Takes bytes to be shown above the prompt; false if it does not stand.
    pub(super) fn put(&self, bytes: &[u8]) -> bool {
        let shared = &self.shared;
        let mut state = shared.state();
        while state.is_asking && state.text.len() >= TEXT_BYTES_MAX {
            let waited = shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_asking {
            state.text.extend_from_slice(bytes);
            shared.changed.notify_all();
        }
        state.is_asking
    }

    /// A writer to `out` that goes above the prompt while it stands.
    pub(super) fn writer(&self, out: Box<dyn Write + Send>) -> Box<dyn Write + Send> {
        let above = self.clone();
        Box::new(Writer { above, out })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nobody is left to show anything for.
        self.above.shared.state().is_over = true;
        self.above.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Bytes are in the text or not: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().is_asking = false;
        self.changed.notify_all();
    }

    /// The next lines; `None` when none can come any more.
    fn next(&self) -> Option<String> {
        let mut state = self.state();
        loop {
            if state.is_over {
                return None;
            }
            if state.is_asking
                && let Some(lines) = state.lines()
            {
                self.changed.notify_all();
                return Some(lines);
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Writer {
    above: Above,
    out: Box<dyn Write + Send>,
}

impl Writer {
    /// Writes what came while the prompt stood and has not been shown.
    fn catch_up(&mut self) -> io::Result<()> {
        let mut state = self.above.shared.state();
        if state.is_asking || state.text.is_empty() {
            return Ok(());
        }
        let text = mem::take(&mut state.text);
        drop(state);
        self.out.write_all(&text)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.above.put(bytes) {
            return Ok(bytes.len());
        }
        self.catch_up()?;
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.catch_up()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::tests::Kept;
    use super::*;

    #[test]
    fn lines_go_above_the_prompt_while_it_stands_and_none_is_lost() {
        let (kept, above) = (Kept::default(), Above::default());
        let mut writer = above.writer(Box::new(kept.clone()));
        let (shown, lines) = channel();
        let show = move |lines| shown.send(lines).is_ok();
        // Without an editor nothing is held.
        above.begin();
        writer.write_all(b"first\n").unwrap();
        assert_eq!(kept.text(), "first\n");
        above.start(Box::new(show)).unwrap();
        above.begin();
        writer.write_all("second\nth\u{fc}".as_bytes()).unwrap();
        let patience = Duration::from_secs(20);
        assert_eq!(lines.recv_timeout(patience).unwrap(), "second\n");
        // A line that has not ended when the prompt goes is written before what follows.
        above.end();
        writer.write_all(b"rd\n").unwrap();
        assert_eq!(kept.text(), "first\nth\u{fc}rd\n");
        above.begin();
        writer.write_all(b"fourth").unwrap();
        above.end();
        writer.flush().unwrap();
        assert_eq!(kept.text(), "first\nth\u{fc}rd\nfourth");
        // When the editor goes, lines are written as they come.
        drop(lines);
        above.begin();
        writer.write_all(b"lost\n").unwrap();
        let start = std::time::Instant::now();
        while above.put(b"") {
            assert!(start.elapsed() < patience, "the editor has gone");
            thread::sleep(Duration::from_millis(1));
        }
        above.begin();
        writer.write_all(b"last\n").unwrap();
        assert!(kept.text().ends_with("last\n"), "{}", kept.text());
    }
}
