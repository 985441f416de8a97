//! The world around a command: its streams, its terminal, its scripts.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::pipe::Pipe;
use super::progress::Display;
use crate::error::{Error, ErrorKind, Result, Script, reason};

/// The stack of the thread that plans: plans are as deep as queries are nested.
pub(super) const STACK_BYTES: usize = 16 << 20;

/// Takes the flag that cancels a session, when one starts.
pub type OnStart = Box<dyn Fn(&Arc<AtomicBool>)>;

/// The streams and the signals of the process.
pub struct Io {
    /// Rows, help and the version.
    pub stdout: Box<dyn Write + Send>,
    /// The columns of the terminal that a person reads `stdout` on, if it is one.
    pub stdout_width: Option<u16>,
    /// Everything else.
    pub stderr: Box<dyn Write + Send>,
    /// Whether a person reads `stderr`.
    pub stderr_is_terminal: bool,
    /// Where `-` reads a script from.
    pub stdin: Box<dyn Read>,
    /// Whether a person writes `stdin`.
    pub stdin_is_terminal: bool,
    /// Called once when long work starts, with the flag that stops it cleanly.
    pub on_start: OnStart,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("stdout_width", &self.stdout_width)
            .field("stderr_is_terminal", &self.stderr_is_terminal)
            .finish_non_exhaustive()
    }
}

impl Io {
    /// Stdout as a pipe, out of the way of the progress line.
    pub(super) fn pipe(&mut self, cancel: &Arc<AtomicBool>, display: &Display) -> Result<Pipe> {
        let out = std::mem::replace(&mut self.stdout, Box::new(io::sink()));
        let display = display.clone();
        let around = move |write: &mut dyn FnMut()| display.suspend(write);
        Pipe::new(out, cancel.clone(), around).map_err(|error| no_thread(&error))
    }

    /// Says what is wrong.
    pub(super) fn report(&mut self, error: &Error) {
        // A closed stderr must not hide the exit code.
        let _ = writeln!(self.stderr, "error: {error}");
    }

    /// Says which outputs are missing because the work was stopped.
    pub(super) fn report_unwritten(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            // As above.
            let _ = writeln!(
                self.stderr,
                "not written: {name}: stopped before its last row"
            );
        }
    }
}

/// The error of work that no thread can be started for.
pub(super) fn no_thread(error: &io::Error) -> Error {
    let message = format!("a thread cannot be started: {}", reason(error));
    Error::new(ErrorKind::Io, message)
}

/// Reads scripts; `-` is stdin.
///
/// # Errors
/// If one cannot be read, or is no text.
pub(super) fn read_scripts(files: &[PathBuf], io: &mut Io) -> Result<Vec<Arc<Script>>> {
    (files.iter())
        .map(|path| {
            let (name, text) = if path.as_os_str() == "-" {
                let mut text = String::new();
                let result = io.stdin.read_to_string(&mut text);
                ("stdin".to_owned(), result.map(|_| text))
            } else {
                (path.display().to_string(), std::fs::read_to_string(path))
            };
            let text = text.map_err(|error| {
                let message = match error.kind() {
                    io::ErrorKind::NotFound => format!("there is no file {name}"),
                    io::ErrorKind::InvalidData => format!("{name} is no text in UTF-8"),
                    _ => format!("{name} cannot be read: {}", reason(&error)),
                };
                Error::new(ErrorKind::Io, message).caused_by(error)
            })?;
            // Some editors begin a file with a mark that is no SQL.
            let text = match text.strip_prefix('\u{feff}') {
                Some(rest) => rest.to_owned(),
                None => text,
            };
            Ok(Arc::new(Script { name, text }))
        })
        .collect()
}
