//! Sinks that fail while others go on: each is told when that happens, and at the end how
//! many rows came after.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::HumanCount;

use super::progress::Display;
use super::progress_json;
use crate::error::Error;
use crate::session::{FailedSink, Session};

/// What has been told of sinks that have failed.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How many queries had failed when the sinks were last looked at.
    seen: usize,
    /// The errors that were told.
    errors: Vec<String>,
}

impl Told {
    /// Tells of the sinks that have failed since the last look.
    pub(super) fn look(&mut self, session: &Session, display: &Display, lines: &mut dyn Write) {
        let failed = session.failed_seen();
        if failed == std::mem::replace(&mut self.seen, failed) {
            return;
        }
        for FailedSink { error, .. } in session.failed_sinks() {
            self.tell(&error, display, lines);
        }
    }

    /// Tells of the sinks that have failed and were not told of, and how many rows none of
    /// them was given.
    pub(super) fn end(&mut self, session: &Session, display: &Display, lines: &mut dyn Write) {
        for FailedSink {
            name,
            error,
            rows_after,
        } in session.failed_sinks()
        {
            self.tell(&error, display, lines);
            let rows = match rows_after {
                0 => continue,
                1 => "1 row".to_owned(),
                rows => format!("{} rows", HumanCount(rows)),
            };
            let after = format!("sink {name}: {rows} came after it had failed");
            say(&after, display, lines);
        }
    }

    /// Whether an error has been told.
    pub(super) fn has(&self, error: &Error) -> bool {
        self.errors.contains(&error.to_string())
    }

    fn tell(&mut self, error: &Error, display: &Display, lines: &mut dyn Write) {
        if !self.has(error) {
            let error = error.to_string();
            say(&error, display, lines);
            self.errors.push(error);
        }
    }
}

fn say(error: &str, display: &Display, lines: &mut dyn Write) {
    let line = match display {
        Display::Json => progress_json::remark("error", error),
        _ => format!("error: {error}"),
    };
    // A closed stderr must not hide the exit code.
    display.suspend(|| drop(writeln!(lines, "{line}")));
}

/// Lines that several threads write, each whole.
pub(super) struct Lines<'a, 'b>(pub(super) &'a Mutex<&'b mut Box<dyn Write + Send>>);

impl Write for Lines<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0.lock().unwrap_or_else(PoisonError::into_inner)).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (self.0.lock().unwrap_or_else(PoisonError::into_inner)).flush()
    }

    fn write_fmt(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        (self.0.lock().unwrap_or_else(PoisonError::into_inner)).write_fmt(line)
    }
}
