//! What goes wrong while the work goes on, told when it happens: sinks that fail, the first
//! reject of each live stream, and the first row that each sink over one leaves out. At the
//! end, how many rows came after a sink had failed.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use windrow_core::stream::{LeftOut, Reject};

use super::progress::Display;
use super::progress_json;
use crate::error::Error;
use crate::session::{FailedSink, Faults, Session};
use crate::words::counted;

/// What has been told of sinks and streams.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What had gone wrong when it was last looked at.
    seen: Faults,
    /// The errors that were told.
    errors: Vec<String>,
    /// The streams of which a reject was told.
    streams: Vec<String>,
    /// The sinks that were told to leave rows out.
    sinks: Vec<String>,
}

impl Told {
    /// Tells of the sinks that have failed since the last look, of the first reject of each
    /// live stream, and of the first row that each sink over one has left out.
    pub(super) fn look(&mut self, session: &Session, display: &Display, lines: &mut dyn Write) {
        let now = session.faults_seen();
        if now.rejected != self.seen.rejected
            && !matches!(display, Display::Off)
            && let Some(rejects) = session.first_rejects(&self.streams)
        {
            self.warn(rejects, display, lines);
            self.seen.rejected = now.rejected;
        }
        if now.left_out != self.seen.left_out
            && !matches!(display, Display::Off)
            && let Some(left_out) = session.first_left_out(&self.sinks)
        {
            for (sink, left_out) in left_out {
                say("warning", &warning_of(&sink, &left_out), display, lines);
                self.sinks.push(sink);
            }
            self.seen.left_out = now.left_out;
        }
        if now.failed == std::mem::replace(&mut self.seen.failed, now.failed) {
            return;
        }
        for FailedSink { error, .. } in session.failed_sinks() {
            self.tell(&error, display, lines);
        }
    }

    /// Tells of the sinks that have failed and were not told of, and how many rows none of
    /// them was given; whether there are any.
    pub(super) fn end(
        &mut self,
        session: &Session,
        display: &Display,
        lines: &mut dyn Write,
    ) -> bool {
        let failed = session.failed_sinks();
        for sink in &failed {
            self.tell(&sink.error, display, lines);
            if let Some(after) = after_failure(sink) {
                say("error", &after, display, lines);
            }
        }
        !failed.is_empty()
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

/// What is said of the rows that came for a sink after it had failed, if there are any.
pub(super) fn after_failure(sink: &FailedSink) -> Option<String> {
    let rows = counted(sink.rows_after, "row", "rows");
    let name = &sink.name;
    (sink.rows_after > 0).then(|| format!("sink {name}: {rows} came after it had failed"))
}

/// What is said of the first row that a sink has left out.
pub(super) fn warning_of(sink: &str, left_out: &LeftOut) -> String {
    let LeftOut { first, help, .. } = left_out;
    format!(
        "sink {sink}: {first}\n   = help: further ones are counted, and told when it ends; {help}"
    )
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
