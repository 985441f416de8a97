//! The shell: statements as they are typed, in one session that lives as long.
//!
//! ```text
//!  line ─▶ gathered until a ; ends a statement ─▶ session ─▶ rows on stdout
//!   ▲                                               │
//!   └── at the prompt: streams, views and sinks ◀───┘
//!       go on, on a thread of their own
//! ```
//!
//! Ctrl-C at the prompt clears what is typed. While a statement runs it stops the
//! statement, and the session goes on.

mod dot;

mod complete;

mod above;

mod editor;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{Write, sink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use windrow_core::stream::Sink;

use super::args::Running;
use super::failures::{self, after_failure, warning_of};
use super::output::{Output, Sharing, unwritten};
use super::pipe::{Pipe, is_given_up};
use super::progress::{Display, duration, open_windows, warnings};
use super::world::{Io, STACK_BYTES, no_thread, read_scripts};
use crate::connector::registry::{Connector, ConnectorKind, Pairs};
use crate::connector::stdout::is_closed_pipe;
use crate::dialect::typed;
use crate::error::{Error, ErrorKind, Result, Script};
use crate::format::encode::OutputFormat;
use crate::session::{Faults, Progress, Session, SessionConfig};
use crate::words::counted;
use above::{Above, Show};
use dot::{Dot, Mode};
pub(super) use editor::Editor;

const PROMPT: &str = "windrow> ";

/// The prompt of a line that goes on with a statement.
const PROMPT_AGAIN: &str = "    ...> ";

const GREETING: &str = concat!(
    "windrow ",
    env!("CARGO_PKG_VERSION"),
    ": a statement ends with ; and .help lists what else there is\n"
);

/// Bytes of a statement that is typed or pasted.
const TYPED_BYTES_MAX: usize = 16 << 20;

/// How long a look for rows at the prompt lasts if there are none.
const LOOK: Duration = Duration::from_millis(20);

/// When the end takes so long, a word of why is due.
const PATIENCE: Duration = Duration::from_millis(700);

/// What somebody gives at the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, or several that were pasted.
    Typed(String),
    /// Nothing: what was typed so far is not wanted.
    Cleared,
    /// There are no more.
    End,
}

/// Where lines come from.
pub(super) trait Lines {
    /// The next line. `before`: the lines before it, of the same statement.
    ///
    /// # Errors
    /// If there can be no more.
    fn next(&mut self, prompt: &str, before: &str) -> Result<Line>;

    /// Keeps a statement, to be asked for again.
    fn remember(&mut self, text: &str);

    /// What shows lines above the prompt while [`Lines::next`] waits, if anything can.
    fn show_above(&mut self) -> Option<Show> {
        None
    }

    /// The columns of the terminal now, if they are known.
    fn width(&self) -> Option<u16> {
        None
    }
}

/// What comes after a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The next one.
    GoOn,
    /// The prompt: what was typed behind it is not run.
    Ask,
    /// The end: nobody reads what is said.
    Leave,
}

/// A session somebody talks to.
pub(super) struct Shell<'a> {
    io: &'a mut Io,
    session: Session,
    cancel: Arc<AtomicBool>,
    display: Display,
    pipe: Pipe,
    above: Above,
    sharing: Sharing,
    format: OutputFormat,
    /// Whether each row of a table is shown as lines.
    vertical: bool,
    /// The columns of the terminal.
    width: Option<u16>,
    timer: bool,
    /// What has been warned of: counts in all, and rejects of each stream.
    told: Progress,
    told_rejects: BTreeMap<String, u64>,
    /// The views and sinks that are known to have failed, and why.
    told_failures: Vec<(String, String)>,
    /// The sinks that are known to leave rows out.
    told_left_out: Vec<String>,
}

impl<'a> Shell<'a> {
    /// A shell with a new session.
    ///
    /// # Errors
    /// If its threads cannot be started.
    pub(super) fn new(format: OutputFormat, running: Running, io: &'a mut Io) -> Result<Self> {
        let session = Session::with_config(SessionConfig {
            workers: running.workers.map_or(0, usize::from),
            ..SessionConfig::default()
        })?;
        let cancel = session.cancel_flag();
        (io.on_start)(&cancel);
        let display = Display::new(running.progress.unwrap_or_default(), io.stderr_is_terminal);
        display.clear();
        let above = Above::default();
        io.stdout = above.writer(std::mem::replace(&mut io.stdout, Box::new(sink())));
        let pipe = io.pipe(&cancel, &display)?;
        let keyboard = Keyboard(session.connector("stdin")?);
        session.register_connector("stdin", Arc::new(keyboard));
        let width = io.stdout_width;
        let shell = Self {
            io,
            session,
            cancel,
            display,
            pipe,
            above,
            sharing: Sharing::default(),
            format,
            vertical: false,
            width,
            timer: false,
            told: Progress::default(),
            told_rejects: BTreeMap::new(),
            told_failures: Vec::new(),
            told_left_out: Vec::new(),
        };
        shell.share_stdout();
        Ok(shell)
    }

    /// Its session.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Sinks write to stdout as queries do.
    fn share_stdout(&self) {
        let stdout = (self.sharing).connector(self.format, self.width, &self.pipe);
        self.session.register_connector("stdout", Arc::new(stdout));
    }

    /// Does what the lines say until they end; whether a sink has failed.
    ///
    /// # Errors
    /// If there can be no more lines, or nothing can be written.
    pub(super) fn run(&mut self, lines: &mut dyn Lines) -> Result<bool> {
        self.say(GREETING)?;
        if let Some(show) = lines.show_above() {
            (self.above.start(show)).map_err(|error| no_thread(&error))?;
        }
        let mut text = String::new();
        loop {
            self.tell();
            let prompt = if text.is_empty() {
                PROMPT
            } else {
                PROMPT_AGAIN
            };
            let typed = match self.ask(lines, prompt, &text)? {
                Line::Typed(typed) => typed,
                Line::Cleared => {
                    text.clear();
                    continue;
                }
                Line::End => break,
            };
            self.width = lines.width().or(self.width);
            if self.take(&mut text, &typed, lines)? == Then::Leave {
                break;
            }
        }
        Ok(self.leave())
    }

    /// Takes what is typed or pasted, line by line. `text`: what a statement has so far.
    fn take(&mut self, text: &mut String, typed: &str, lines: &mut dyn Lines) -> Result<Then> {
        for line in typed.split('\n') {
            let command = match text.is_empty() {
                true => dot::command(line),
                false => None,
            };
            let then = match command {
                Some(command) => {
                    lines.remember(line.trim());
                    self.obey(command)?
                }
                None => self.gather(text, line, lines)?,
            };
            if then != Then::GoOn {
                text.clear();
                return Ok(then);
            }
        }
        Ok(Then::GoOn)
    }

    /// Asks for a line, and lets the session go on meanwhile.
    fn ask(&mut self, lines: &mut dyn Lines, prompt: &str, before: &str) -> Result<Line> {
        /// Ends the waiting, however that ends.
        struct Over<'a>(&'a AtomicBool, &'a Above);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
                self.1.end();
            }
        }
        let is_over = AtomicBool::new(false);
        let (session, above, is_over) = (&self.session, &self.above, &is_over);
        let stderr = &mut self.io.stderr;
        let mut looked = Looked {
            seen: session.faults_seen(),
            failures: &mut self.told_failures,
            left_out: &mut self.told_left_out,
        };
        let is_terminal = self.io.stderr_is_terminal;
        let mut remark = move |line: &str| {
            let line = format!("{line}\n");
            if !is_terminal || !above.put(line.as_bytes()) {
                // A closed stderr is no reason to fail.
                let _ = stderr.write_all(line.as_bytes());
            }
        };
        thread::scope(|scope| {
            let over = Over(is_over, above);
            let go_on = move || {
                // Nothing is being read, or a signal has come, until the next statement.
                while !is_over.load(Ordering::Relaxed) && matches!(session.go_on(LOOK), Ok(true)) {
                    looked.look(session, &mut remark);
                }
            };
            above.begin();
            let going_on = (thread::Builder::new().name("windrow-go-on".into()))
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, go_on)
                .map_err(|error| no_thread(&error))?;
            let line = lines.next(prompt, before);
            drop(over);
            let gone_on = going_on.join();
            self.pipe.touch();
            match gone_on {
                Ok(()) => line,
                Err(fault) => std::panic::resume_unwind(fault),
            }
        })
    }

    /// Adds a line to what is typed, and runs the statements that it ends.
    fn gather(&mut self, text: &mut String, line: &str, lines: &mut dyn Lines) -> Result<Then> {
        if text.len() + line.len() > TYPED_BYTES_MAX {
            let message = format!("a statement may have {} MiB here", TYPED_BYTES_MAX >> 20);
            let error =
                Error::new(ErrorKind::Limit, message).help("run it as a script: .read FILE");
            self.io.report(&error);
            return Ok(Then::Ask);
        }
        text.push_str(line);
        text.push('\n');
        let typed = typed(text);
        if let Some(last) = typed.ended.last() {
            lines.remember(text[..last.end].trim());
        }
        let rest = typed.rest.map_or("", |start| &text[start..]).to_owned();
        for bytes in typed.ended {
            let script = Arc::new(Script {
                name: "shell".into(),
                text: text[bytes].to_owned(),
            });
            match self.statement(&script)? {
                Then::GoOn => {}
                then => return Ok(then),
            }
        }
        *text = rest;
        Ok(Then::GoOn)
    }

    /// Does what a command says.
    fn obey(&mut self, command: Result<Dot>) -> Result<Then> {
        let told = |name: &str, text: String| {
            let name = name.to_owned();
            Arc::new(Script { name, text })
        };
        match command {
            Err(error) => {
                self.io.report(&error);
                return Ok(Then::Ask);
            }
            Ok(Dot::Help) => self.say(&dot::help())?,
            Ok(Dot::Tables) => return self.statement(&told(".tables", "SHOW TABLES".into())),
            Ok(Dot::Schema(name)) => {
                return self.statement(&told(".schema", format!("DESCRIBE {}", named(&name))));
            }
            Ok(Dot::Read(path)) => return self.read(&path),
            Ok(Dot::Mode(mode)) => {
                self.vertical = mode == Mode::Vertical;
                self.format = mode.format();
                self.share_stdout();
            }
            Ok(Dot::Timer(timer)) => self.timer = timer,
            Ok(Dot::Quit) => return Ok(Then::Leave),
        }
        Ok(Then::GoOn)
    }

    fn read(&mut self, path: &Path) -> Result<Then> {
        match read_scripts(&[path.to_owned()], self.io) {
            Ok(scripts) => {
                for script in scripts {
                    match self.statement(&script)? {
                        Then::GoOn => {}
                        then => return Ok(then),
                    }
                }
                Ok(Then::GoOn)
            }
            Err(error) => {
                self.io.report(&error);
                Ok(Then::Ask)
            }
        }
    }

    /// Runs a statement, or a script, until it is done or stopped.
    fn statement(&mut self, script: &Arc<Script>) -> Result<Then> {
        let started = Instant::now();
        if self.cancel.load(Ordering::SeqCst) {
            // A signal came while nothing was at work.
            self.session.resume();
        }
        let (pipe, sharing) = (self.pipe.clone(), self.sharing.clone());
        let mut output =
            Output::new(self.format, self.width, pipe, sharing).vertical(self.vertical);
        let (session, display) = (&self.session, &self.display);
        let run = || {
            let done = session.run_beside_live(script, &mut output);
            done.and(output.close())
        };
        let lines = Mutex::new(&mut self.io.stderr);
        let mut failures = failures::Lines(&lines);
        // The progress line and the rows stay whole.
        let mut remark = |line: &str| {
            // A closed stderr is no reason to fail.
            display.suspend(|| drop(writeln!(failures, "{line}")));
        };
        let mut looked = Looked {
            seen: session.faults_seen(),
            failures: &mut self.told_failures,
            left_out: &mut self.told_left_out,
        };
        let watched = display.watch(session, &mut failures::Lines(&lines), || {
            aside(run, || looked.look(session, &mut remark))
        });
        let done = watched?;
        let rows = output.row_count();
        // What it holds goes to the pipe, or away with what waits there.
        drop(output);
        let is_stopped = self.cancel.load(Ordering::SeqCst);
        let mut left_open = None;
        if is_stopped {
            self.pipe.clear();
            let before = self.session.progress().open_windows;
            let unwritten = self.session.resume();
            // Those of views and sinks stay open.
            let after = self.session.progress().open_windows;
            left_open = open_windows(before.saturating_sub(after));
            self.io.report_unwritten(unwritten);
            // What is being written comes before the prompt; an error is told later.
            let _ = self.pipe.drain();
        }
        let elapsed = duration(started.elapsed());
        let then = match done {
            Err(error) if is_closed_pipe(&error) => return Ok(Then::Leave),
            // What fails then fails because of it.
            _ if is_stopped => {
                self.remark(&format!("stopped after {elapsed}"));
                if let Some(line) = left_open {
                    self.remark(&line);
                }
                Then::Ask
            }
            Err(error) => {
                self.io.report(&error);
                Then::Ask
            }
            Ok(()) => Then::GoOn,
        };
        if self.timer && then == Then::GoOn {
            self.remark(&match rows {
                None => format!("done in {elapsed}"),
                Some(rows) => format!("{} in {elapsed}", counted(rows, "row", "rows")),
            });
        }
        Ok(then)
    }

    /// Tells of views and sinks that have failed, and of rows that are in no result, once.
    fn tell(&mut self) {
        let stderr = &mut self.io.stderr;
        tell_failures(&self.session, &mut self.told_failures, &mut |line| {
            // A closed stderr is no reason to fail.
            let _ = writeln!(stderr, "{line}");
        });
        tell_left_out(&self.session, &mut self.told_left_out, &mut |line| {
            // As above.
            let _ = writeln!(stderr, "{line}");
        });
        let progress = self.session.progress();
        let is_told = |count: fn(&Progress) -> u64| count(&progress) == count(&self.told);
        if is_told(|progress| progress.rejected) && is_told(|progress| progress.late) {
            return;
        }
        let mut losses = self.session.losses();
        for loss in &mut losses {
            let told = (self.told_rejects).insert(loss.stream.clone(), loss.rejected);
            if told == Some(loss.rejected) {
                loss.rejected = 0;
            }
        }
        for warning in warnings(&losses, progress.late.saturating_sub(self.told.late), "") {
            self.remark(&format!("warning: {warning}"));
        }
        self.told = progress;
    }

    /// A line on stderr.
    fn remark(&mut self, line: &str) {
        // A closed stderr is no reason to fail.
        let _ = writeln!(self.io.stderr, "{line}");
    }

    /// A text on stdout.
    fn say(&self, text: &str) -> Result<()> {
        let written = (self.pipe.send(text.as_bytes().to_vec())).and_then(|()| self.pipe.drain());
        match written.map_err(unwritten) {
            // It is given up with what asked for it.
            Err(error) if is_given_up(&error) => Ok(()),
            written => written,
        }
    }

    /// Stops the session. When that takes long, says what it waits for.
    fn stop(&mut self) -> Result<Vec<String>> {
        let (session, stderr) = (&self.session, &mut self.io.stderr);
        thread::scope(|scope| {
            // Dropped when it has stopped.
            let (_stopping, stopped) = mpsc::channel::<()>();
            let wait = move || {
                if stopped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout)
                    && let Some(sink) = session.closing_sink()
                {
                    // A closed stderr is no reason to fail.
                    let _ = writeln!(
                        stderr,
                        "stopping: sink {sink} is delivering what it was given; Ctrl-C gives it up"
                    );
                }
            };
            // Without the thread nothing is said.
            let _ =
                (thread::Builder::new().name("windrow-stopping".into())).spawn_scoped(scope, wait);
            session.stop()
        })
    }

    /// Publishes what live sinks were given; whether a sink has failed.
    fn leave(&mut self) -> bool {
        let left_open = open_windows(self.session.progress().open_windows);
        let stopped = self.stop();
        self.tell();
        let failed = self.session.failed_sinks();
        for after in failed.iter().filter_map(after_failure) {
            self.remark(&format!("error: {after}"));
        }
        // What else is wrong has been told when it happened.
        self.io.report_unwritten(stopped.unwrap_or_default());
        if let Some(line) = left_open {
            self.remark(&line);
        }
        !failed.is_empty()
    }
}

/// What has gone wrong, looked at again and again.
struct Looked<'a> {
    /// How much it was at the last look.
    seen: Faults,
    failures: &'a mut Vec<(String, String)>,
    left_out: &'a mut Vec<String>,
}

impl Looked<'_> {
    /// Tells of what has come since the last look.
    fn look(&mut self, session: &Session, remark: &mut dyn FnMut(&str)) {
        let now = session.faults_seen();
        let before = std::mem::replace(&mut self.seen, now);
        if before.failed != now.failed {
            tell_failures(session, self.failures, remark);
        }
        if before.left_out != now.left_out {
            tell_left_out(session, self.left_out, remark);
        }
    }
}

/// Tells of the views and sinks that have failed and are not among those that are `told`.
fn tell_failures(
    session: &Session,
    told: &mut Vec<(String, String)>,
    remark: &mut dyn FnMut(&str),
) {
    let failures: Vec<_> = (session.failures().into_iter())
        .map(|(name, error)| (name, error.to_string()))
        .collect();
    for failure in &failures {
        if !told.contains(failure) {
            let (name, error) = failure;
            // The error of a sink names it: it may have been dropped, all others of its rows
            // delivered.
            match error.starts_with(&format!("sink {name}: ")) {
                true => remark(&format!("error: {error}")),
                false => remark(&format!("error: {name} has failed: {error}")),
            }
        }
    }
    *told = failures;
}

/// Tells of the first row that each sink has left out which is not among those that are
/// `told`.
fn tell_left_out(session: &Session, told: &mut Vec<String>, remark: &mut dyn FnMut(&str)) {
    // What is in use is looked at with the next row.
    for (sink, left_out) in session.first_left_out(told).unwrap_or_default() {
        remark(&format!("warning: {}", warning_of(&sink, &left_out)));
        told.push(sink);
    }
}

/// Runs work on a thread with a stack that planning needs. `look` is called again and again
/// meanwhile.
fn aside<T: Send>(work: impl FnOnce() -> T + Send, mut look: impl FnMut()) -> Result<T> {
    thread::scope(|scope| {
        // Dropped when the work is done, or has panicked.
        let (at_work, done) = mpsc::channel::<()>();
        let work = move || {
            let _at_work = at_work;
            work()
        };
        let working = (thread::Builder::new().name("windrow-run".into()))
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| no_thread(&error))?;
        while done.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            look();
        }
        match working.join() {
            Ok(done) => Ok(done),
            Err(fault) => std::panic::resume_unwind(fault),
        }
    })
}

/// A name or a path as DESCRIBE takes it.
fn named(name: &str) -> String {
    let is_quoted = name.starts_with(['\'', '"']);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_system = (name.split_once('.'))
        .is_some_and(|(schema, name)| schema == "windrow" && name.chars().all(is_word));
    match is_quoted || is_system || name.chars().all(is_word) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "''")),
    }
}

/// The standard input where statements are typed into it.
#[derive(Debug)]
struct Keyboard(Arc<dyn ConnectorKind>);

impl ConnectorKind for Keyboard {
    fn source(&self, _: &Pairs, _: Option<SchemaRef>) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let message = "stdin is the keyboard here, and gives no rows";
        Err(Error::new(ErrorKind::Plan, message)
            .help("read a file, or give the rows to windrow -c through a pipe"))
    }

    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        self.0.sink(options, schema)
    }

    fn option_names(&self) -> Vec<&'static str> {
        self.0.option_names()
    }
}
