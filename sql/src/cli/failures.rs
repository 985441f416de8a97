//! What goes wrong while the work goes on, told when it happens: sinks that fail, and the
//! first reject of each live stream. At the end, how many rows came after a sink had failed.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::HumanCount;
use windrow_core::stream::Reject;

use super::progress::Display;
use super::progress_json;
use crate::error::Error;
use crate::session::{FailedSink, Session};

/// What has been told of sinks and streams.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How many queries had failed when the sinks were last looked at.
    seen: usize,
    /// The errors that were told.
    errors: Vec<String>,
    /// How many rows had been rejected when the streams were last looked at.
    rejected: u64,
    /// The streams of which a reject was told.
    streams: Vec<String>,
}

impl Told {
    /// Tells of the sinks that have failed since the last look, and of the first reject of
    /// each live stream.
    pub(super) fn look(&mut self, session: &Session, display: &Display, lines: &mut dyn Write) {
        let (failed, rejected) = session.faults_seen();
        if rejected != self.rejected
            && !matches!(display, Display::Off)
            && let Some(rejects) = session.first_rejects(&self.streams)
        {
            self.warn(rejects, display, lines);
            self.rejected = rejected;
        }
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
            say("error", &after, display, lines);
        }
    }

    fn warn(&mut self, rejects: Vec<(String, Reject)>, display: &Display, lines: &mut dyn Write) {
        for (stream, reject) in rejects {
            let warning = format!(
                "a row of '{stream}' rejected, the first: {}: {}\n   \
                 = help: further ones are counted; who runs the script in the shell, with .read, can \
                 ask for them there: SELECT * FROM rejected('{stream}')",
                reject.position, reject.reason
            );
            say("warning", &warning, display, lines);
            self.streams.push(stream);
        }
    }

    /// Whether an error has been told.
    pub(super) fn has(&self, error: &Error) -> bool {
        self.errors.contains(&error.to_string())
    }

    fn tell(&mut self, error: &Error, display: &Display, lines: &mut dyn Write) {
        if !self.has(error) {
            let error = error.to_string();
            say("error", &error, display, lines);
            self.errors.push(error);
        }
    }
}

fn say(kind: &str, text: &str, display: &Display, lines: &mut dyn Write) {
    let line = match display {
        Display::Json => progress_json::remark(kind, text),
        _ => format!("{kind}: {text}"),
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
