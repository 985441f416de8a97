//! `windrow top`: runs scripts and shows how their streams and queries stand, instead of
//! rows.
//!
//! ```text
//!  scripts ─▶ session, on a thread of its own ─▶ sinks
//!                 │ figures, twice a second
//!                 ▼
//!              a table on the terminal ◀── q, Ctrl-C
//! ```
//!
//! It watches the scripts that it runs itself: a session opens no door by which another
//! process could ask it. Rows of SELECT are counted and given up, sinks are written.

mod screen;

mod table;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ratatui::Viewport;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};

use super::faults::Quiet;
use super::interrupt;
use super::progress::{Display, End, duration};
use super::world::{Io, STACK_BYTES, no_thread};
use crate::connector::stdout::StdoutKind;
use crate::error::{Error, ErrorKind, Result, Script, reason};
use crate::format::encode::OutputFormat;
use crate::session::{Figures, ResultHandler, Session};
use crate::threads;
use screen::Screen;
use table::Shown;

/// How often the figures are drawn.
const DRAW_EVERY: Duration = Duration::from_millis(500);

/// How long a key is waited for until it is seen what else there is.
const LOOK: Duration = Duration::from_millis(50);

/// How long the work has to follow when it is to stop.
const GRACE: Duration = Duration::from_millis(100);

/// Refuses to draw where nobody would see it.
///
/// # Errors
/// If stdin or stdout is no terminal.
pub(super) fn refuse_no_terminal(io: &Io) -> Result<()> {
    if io.stdin_is_terminal && io.stdout_width.is_some() {
        return Ok(());
    }
    let message = "windrow top draws on a terminal, and stdin or stdout is none";
    Err(Error::new(ErrorKind::Option, message).help(
        "write windrow run --progress json for programs, or SHOW STREAMS at the end of the script",
    ))
}

/// Rows that nobody sees.
struct Unseen;

impl ResultHandler for Unseen {
    fn begin(&mut self, _: &SchemaRef) -> Result<()> {
        Ok(())
    }

    fn rows(&mut self, _: &RecordBatch) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Runs scripts in a session and shows its figures until somebody quits.
///
/// # Errors
/// If a script fails, or nothing can be drawn.
pub(super) fn run(session: Session, scripts: Vec<Arc<Script>>, io: &mut Io) -> Result<()> {
    let cancel = session.cancel_flag();
    (io.on_start)(&cancel);
    interrupt::before_exit(screen::leave_at_once);
    let stdout = StdoutKind::new(OutputFormat::Csv, None, |_| Ok(Box::new(io::sink())));
    session.register_connector("stdout", Arc::new(stdout));
    let name = match scripts.as_slice() {
        [one] => one.name.clone(),
        several => format!("{} scripts", several.len()),
    };
    let mut watched = Watched {
        session: session.clone(),
        figures: look(session.clone())?,
        name,
        started: Instant::now(),
        work: start(session.clone(), scripts, cancel.clone())?,
        done: None,
        rejected: Rejected::default(),
    };
    let looked = {
        // Said when the screen has been left, whatever happens on it.
        let _quiet = Quiet::begin();
        let out = std::mem::replace(&mut io.stdout, Box::new(io::sink()));
        let screen = Screen::open(out, Viewport::Fullscreen, true).map_err(undrawn);
        screen.and_then(|mut screen| watched.show(&mut screen, &cancel))
    };
    let elapsed = match &watched.done {
        Some((_, elapsed)) => *elapsed,
        None => watched.started.elapsed(),
    };
    let (unwritten, is_stopped) = watched.end(&cancel)?;
    looked?;
    io.report_unwritten(unwritten);
    let end = if is_stopped { End::Stopped } else { End::Done };
    Display::Plain.summarize(&session.progress(), end, elapsed, io.stderr.as_mut());
    if is_stopped {
        // The process ends, and the system takes its memory back.
        std::mem::forget(session);
    }
    Ok(())
}

/// How the work has ended: the names of outputs that are missing.
type Ended = Result<Vec<String>>;

/// Starts the work; how it has ended comes out.
fn start(
    session: Session,
    scripts: Vec<Arc<Script>>,
    cancel: Arc<AtomicBool>,
) -> Result<Receiver<Ended>> {
    let (done, work) = sync_channel(1);
    let run = move || {
        let ran = (scripts.iter()).try_for_each(|script| session.run_script(script, &mut Unseen));
        let ended = match ran {
            Ok(()) => Ok(Vec::new()),
            Err(_) if cancel.load(Ordering::SeqCst) => session.stop(),
            Err(error) => {
                session.abort();
                Err(error)
            }
        };
        drop(session);
        // Nobody may wait for it any more.
        let _ = done.send(ended);
    };
    threads::start("windrow-run", Some(STACK_BYTES), run).map_err(|error| no_thread(&error))?;
    Ok(work)
}

/// Looks at the figures again and again, until nobody wants them. A sink that stands still
/// may keep the session from being asked, and is no reason not to hear a key.
fn look(session: Session) -> Result<Receiver<Figures>> {
    let (seen, figures) = sync_channel(0);
    let look = move || {
        while seen.send(session.figures()).is_ok() {
            thread::sleep(DRAW_EVERY);
        }
    };
    threads::start("windrow-look", None, look).map_err(|error| no_thread(&error))?;
    Ok(figures)
}

/// Work that somebody watches.
struct Watched {
    session: Session,
    figures: Receiver<Figures>,
    name: String,
    started: Instant,
    work: Receiver<Ended>,
    /// How it has ended, and after how long.
    done: Option<(Ended, Duration)>,
    rejected: Rejected,
}

/// The row that was rejected last.
#[derive(Debug, Default)]
struct Rejected {
    /// How many there were of each stream.
    seen: BTreeMap<String, u64>,
    /// Its stream, its place and why, in one line.
    last: Option<String>,
}

impl Rejected {
    /// Sees whether there are more.
    fn look(&mut self, figures: &Figures) {
        for stream in &figures.streams {
            let count = stream.counters.rejected;
            let before = self.seen.insert(stream.name.clone(), count);
            if before.is_none_or(|before| before < count)
                && let Some(reject) = &stream.last_reject
            {
                let (name, place, reason) = (&stream.name, &reject.position, &reject.reason);
                self.last = Some(format!("rejected last: {name}, {place}: {reason}"));
            }
        }
    }
}

impl Watched {
    /// Shows the figures until somebody quits or the work fails.
    fn show<W: io::Write>(&mut self, screen: &mut Screen<W>, cancel: &AtomicBool) -> Result<()> {
        let mut drawn: Option<Instant> = None;
        let mut figures = Figures::default();
        while !cancel.load(Ordering::SeqCst) {
            self.look();
            if matches!(self.done, Some((Err(_), _))) {
                return Ok(());
            }
            let newer = self.figures.try_iter().last();
            let is_due = drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY);
            if is_due || newer.is_some() {
                figures = newer.unwrap_or(figures);
                self.rejected.look(&figures);
                self.draw(screen, &figures)?;
                drawn = Some(Instant::now());
            }
            if !event::poll(LOOK).map_err(undrawn)? {
                continue;
            }
            match event::read().map_err(undrawn)? {
                Event::Key(key) if key.is_press() => {
                    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
                    match key.code {
                        KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                        KeyCode::Char('c') if is_control => return Ok(()),
                        _ => {}
                    }
                }
                Event::Resize(..) => self.draw(screen, &figures)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Sees whether the work is done.
    fn look(&mut self) {
        if self.done.is_some() {
            return;
        }
        let ended = match self.work.try_recv() {
            Ok(ended) => ended,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err(broken_off()),
        };
        self.done = Some((ended, self.started.elapsed()));
    }

    fn draw<W: io::Write>(&self, screen: &mut Screen<W>, figures: &Figures) -> Result<()> {
        let state = match &self.done {
            Some((_, elapsed)) => format!("done in {}", duration(*elapsed)),
            None => format!("running for {}", duration(self.started.elapsed())),
        };
        let shown = Shown {
            name: &self.name,
            state: &state,
            figures,
            rejected: self.rejected.last.as_deref(),
        };
        screen
            .draw(|frame| table::draw(frame, &shown))
            .map_err(undrawn)
    }

    /// Stops what still runs, and gives what is missing therefore; whether anything did.
    fn end(self, cancel: &AtomicBool) -> Result<(Vec<String>, bool)> {
        if let Some((ended, _)) = self.done {
            let mut unwritten = ended?;
            // Streams that nobody has ended go on for ever: what they gave until now counts.
            unwritten.extend(self.session.stop()?);
            return Ok((unwritten, false));
        }
        cancel.store(true, Ordering::SeqCst);
        let ended = match self.work.recv_timeout(GRACE) {
            Ok(ended) => ended,
            // It is left behind: what it waits for may never come.
            Err(RecvTimeoutError::Timeout) => self.session.stop(),
            Err(RecvTimeoutError::Disconnected) => Err(broken_off()),
        };
        Ok((ended?, true))
    }
}

fn broken_off() -> Error {
    Error::new(ErrorKind::Internal, "the work has broken off")
}

/// The error of a screen that cannot be drawn on.
fn undrawn(error: io::Error) -> Error {
    let message = format!("the terminal cannot be drawn on: {}", reason(&error));
    Error::new(ErrorKind::Io, message).caused_by(error)
}

#[cfg(test)]
mod tests {
    use windrow_core::pipeline::StreamCounters;
    use windrow_core::stream::Reject;

    use super::*;
    use crate::session::StreamFigures;

    #[test]
    fn the_last_reject_is_that_of_the_stream_with_more_of_them() {
        let stream = |name: &str, rejected: u64, reason: &str| StreamFigures {
            name: name.into(),
            counters: StreamCounters {
                rejected,
                ..StreamCounters::default()
            },
            last_reject: (rejected > 0).then(|| Reject {
                text: "x".into(),
                position: "f.csv:3".into(),
                reason: reason.into(),
                rule: "type".into(),
            }),
            ..StreamFigures::default()
        };
        let figures = |a: u64, b: u64| Figures {
            streams: vec![stream("a", a, "no number"), stream("b", b, "no time")],
            queries: Vec::new(),
        };
        let mut rejected = Rejected::default();
        rejected.look(&figures(0, 0));
        assert_eq!(rejected.last, None);
        for (a, b, last) in [
            (1, 0, "rejected last: a, f.csv:3: no number"),
            (1, 2, "rejected last: b, f.csv:3: no time"),
            (1, 2, "rejected last: b, f.csv:3: no time"),
            (4, 2, "rejected last: a, f.csv:3: no number"),
        ] {
            rejected.look(&figures(a, b));
            assert_eq!(rejected.last.as_deref(), Some(last));
        }
    }
}
