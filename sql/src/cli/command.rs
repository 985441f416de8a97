//! What each command does.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use clap::error::{ContextKind, ContextValue, ErrorKind as UsageKind};
use clap::{CommandFactory, Parser};
use windrow_core::kernel;
use windrow_core::stream::Sink;

use super::args::{Action, Command, Running};
use super::generate::Generate;
use super::output::{Output, Sharing};
use super::pipe::{Pipe, is_given_up};
use super::progress::Display;
use crate::connector::registry::{Connector, ConnectorKind, Pairs};
use crate::connector::stdout::{StdoutKind, is_closed_pipe};
use crate::error::{Error, ErrorKind, Result, Script, reason};
use crate::format::encode::OutputFormat;
use crate::session::{Session, SessionConfig};

/// How long the work is waited for until it is asked whether it is to stop.
const LOOK: Duration = Duration::from_millis(10);

/// How long the work has to follow when it is to stop.
const GRACE: Duration = Duration::from_millis(100);

/// The stack of the thread that plans: plans are as deep as queries are nested.
const STACK_BYTES: usize = 16 << 20;

const EXIT_DONE: u8 = 0;
pub(super) const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

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
    fn pipe(&mut self, cancel: &Arc<AtomicBool>, display: &Display) -> Result<Pipe> {
        let out = std::mem::replace(&mut self.stdout, Box::new(io::sink()));
        let display = display.clone();
        let around = move |write: &mut dyn FnMut()| display.suspend(write);
        Pipe::new(out, cancel.clone(), around).map_err(|error| no_thread(&error))
    }

    fn report(&mut self, error: &Error) {
        // A closed stderr must not hide the exit code.
        let _ = writeln!(self.stderr, "error: {error}");
    }

    fn report_unwritten(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            // As above.
            let _ = writeln!(
                self.stderr,
                "not written: {name}: stopped before its last row"
            );
        }
    }
}

fn no_thread(error: &io::Error) -> Error {
    let message = format!("a thread cannot be started: {}", reason(error));
    Error::new(ErrorKind::Io, message)
}

/// How a command ended, other than well.
enum Failure {
    /// The arguments do not fit.
    Usage(clap::Error),
    /// The arguments do not fit what they are for.
    Unfit(Error),
    Error(Error),
    /// Errors that have been reported.
    Reported,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Runs a command line; the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, io: &mut Io) -> u8 {
    let mut args: Vec<OsString> = args.into_iter().collect();
    // Who asks for the help of help wants help.
    if args.len() == 3 && args[1] == "help" && (args[2] == "--help" || args[2] == "-h") {
        args.truncate(2);
    }
    let done = Command::try_parse_from(&args)
        .map_err(|error| Failure::Usage(advised(error)))
        .and_then(|command| obey(command, io));
    match done {
        Ok(()) => EXIT_DONE,
        Err(Failure::Reported) => EXIT_FAILED,
        Err(Failure::Usage(error)) => explain(&error, io),
        Err(Failure::Unfit(error)) => {
            io.report(&error);
            EXIT_USAGE
        }
        Err(Failure::Error(error)) => {
            io.report(&error);
            EXIT_FAILED
        }
    }
}

fn obey(command: Command, io: &mut Io) -> Result<(), Failure> {
    kernel::level().map_err(|error| Failure::Unfit(error.into()))?;
    let sql = command.sql;
    let unused = |action: &str| {
        let message = match sql.commands.is_empty() {
            true => format!("--format, --progress and --workers are not for {action}"),
            false => format!("-c is not for {action}: give SQL or a command"),
        };
        Failure::Usage(Command::command().error(UsageKind::ArgumentConflict, message))
    };
    let is_plain = sql.commands.is_empty() && sql.running == Running::default();
    match command.action {
        None if sql.commands.is_empty() => {
            let message = "there is nothing to run: give -c SQL or a command";
            let error = Command::command().error(UsageKind::MissingRequiredArgument, message);
            Err(Failure::Usage(error))
        }
        None => {
            let is_one = sql.commands.len() == 1;
            let scripts = (sql.commands.into_iter().enumerate())
                .map(|(place, text)| {
                    let name = match is_one {
                        true => "-c".to_owned(),
                        false => format!("-c #{}", place + 1),
                    };
                    Arc::new(Script { name, text })
                })
                .collect();
            run_scripts(scripts, sql.running, io)
        }
        Some(Action::Run { .. }) if !sql.commands.is_empty() => Err(unused("run")),
        Some(Action::Run { files, running }) => {
            let scripts = read_scripts(&files, io)?;
            run_scripts(scripts, running.or(sql.running), io)
        }
        Some(Action::Check { .. }) if !is_plain => Err(unused("check")),
        Some(Action::Check { files }) => {
            let scripts = read_scripts(&files, io)?;
            check_scripts(&scripts, io)
        }
        Some(Action::Generate(_)) if !is_plain => Err(unused("generate")),
        Some(Action::Generate(arguments)) => generate(*arguments, io),
    }
}

/// The complaint with what was probably meant: a script or SQL without `run` or `-c`.
fn advised(mut error: clap::Error) -> clap::Error {
    let word = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word.clone(),
        _ => return error,
    };
    let meant = if word.ends_with(".sql") || Path::new(&word).is_file() {
        format!("to run a script: windrow run {word}")
    } else if word.contains(char::is_whitespace) {
        "to run SQL: windrow -c \"SELECT …\"".to_owned()
    } else {
        return error;
    };
    let meant = ContextValue::StyledStrs(vec![meant.into()]);
    error.insert(ContextKind::Suggested, meant);
    error
}

/// Help and the version go to stdout, complaints to stderr.
fn explain(error: &clap::Error, io: &mut Io) -> u8 {
    let (out, is_terminal): (&mut dyn Write, bool) = match error.use_stderr() {
        true => (io.stderr.as_mut(), io.stderr_is_terminal),
        false => (io.stdout.as_mut(), io.stdout_width.is_some()),
    };
    let text = error.render();
    // Nobody may be left to read it.
    let _ = match is_terminal {
        true => write!(out, "{}", text.ansi()),
        false => write!(out, "{text}"),
    };
    let _ = out.flush();
    match error.exit_code() {
        0 => EXIT_DONE,
        _ => EXIT_USAGE,
    }
}

fn read_scripts(files: &[PathBuf], io: &mut Io) -> Result<Vec<Arc<Script>>> {
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

fn refuse_binary(format: OutputFormat, io: &Io) -> Result<(), Failure> {
    if format.is_binary() && io.stdout_width.is_some() {
        let error = Error::new(ErrorKind::Option, format!("{format} is not for a terminal"));
        return Err(Failure::Unfit(error.help(
            "send stdout to a file or a pipe, or choose another --format",
        )));
    }
    Ok(())
}

fn run_scripts(scripts: Vec<Arc<Script>>, running: Running, io: &mut Io) -> Result<(), Failure> {
    let format = running.format.unwrap_or(match io.stdout_width {
        Some(_) => OutputFormat::Table,
        None => OutputFormat::Csv,
    });
    refuse_binary(format, io)?;
    let session = Session::with_config(SessionConfig {
        workers: running.workers.map_or(0, usize::from),
        ..SessionConfig::default()
    })?;
    let cancel = session.cancel_flag();
    (io.on_start)(&cancel);
    let display = Display::new(running.progress.unwrap_or_default(), io.stderr_is_terminal);
    let pipe = io.pipe(&cancel, &display)?;
    let sharing = Sharing::default();
    let stdout = {
        let (pipe, sharing) = (pipe.clone(), sharing.clone());
        let open = move |format| sharing.sink(format, pipe.clone());
        StdoutKind::new(format, io.stdout_width, open)
    };
    session.register_connector("stdout", Arc::new(stdout));
    let work = Work {
        session: session.clone(),
        scripts,
        output: Output::new(format, io.stdout_width, pipe, sharing),
    };
    let started = Instant::now();
    let done = display.watch(&session, io.stderr.as_mut(), || work.run_stoppable(&cancel));
    let progress = session.progress();
    let stopped = cancel.load(Ordering::SeqCst);
    let unwritten = match done {
        Err(error) if stopped && is_given_up(&error) => session.stop()?,
        Err(error) if is_closed_pipe(&error) => return Ok(()),
        done => {
            // A thread that was left behind may hold what a look would wait for.
            if !stopped && progress.rejected + progress.late > 0 {
                display.warn(&session, progress.late, io.stderr.as_mut());
            }
            let mut unwritten = done?;
            // Streams that nobody has ended go on for ever: what they gave until now counts.
            unwritten.extend(session.stop()?);
            unwritten
        }
    };
    io.report_unwritten(unwritten);
    display.summarize(&progress, stopped, started.elapsed(), io.stderr.as_mut());
    if stopped {
        // The process ends: the system is faster to take all memory back than we are to
        // return it piece by piece.
        std::mem::forget(session);
    }
    Ok(())
}

/// Scripts on their way.
struct Work {
    session: Session,
    scripts: Vec<Arc<Script>>,
    output: Output,
}

impl Work {
    /// Runs the scripts on a thread of their own, which is left behind when `cancel` is
    /// set and it does not follow: what is waited for may never come.
    /// The names of the outputs that are missing therefore.
    fn run_stoppable(mut self, cancel: &Arc<AtomicBool>) -> Result<Vec<String>> {
        let session = self.session.clone();
        let flag = cancel.clone();
        let (done, waiting) = sync_channel(1);
        let run = move || {
            let ran = self.run(&flag);
            // The process may end as soon as it is told; what is left is put away before.
            drop(self);
            // Nobody waits any more for the work that was left behind.
            let _ = done.send(ran);
        };
        (thread::Builder::new().name("windrow-run".into()))
            .stack_size(STACK_BYTES)
            .spawn(run)
            .map_err(|error| no_thread(&error))?;
        let mut asked = None;
        loop {
            match waiting.recv_timeout(LOOK) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::Internal, "the work has broken off"));
                }
            }
            if cancel.load(Ordering::SeqCst)
                && asked.get_or_insert_with(Instant::now).elapsed() >= GRACE
            {
                return session.stop();
            }
        }
    }

    fn run(&mut self, cancel: &AtomicBool) -> Result<Vec<String>> {
        let Self {
            session,
            scripts,
            output,
        } = self;
        let mut gone = Ok(());
        let done = (scripts.iter()).try_for_each(|script| {
            match session.run_script(script, output) {
                // Nobody reads the rows of SELECT any more; sinks are written to the end.
                Err(error) if is_closed_pipe(&error) => gone = Err(error),
                done => done?,
            }
            Ok(())
        });
        let done = match done {
            // What the readers of live sinks and of stdout were given is theirs.
            Err(_) if cancel.load(Ordering::SeqCst) => session.stop(),
            Err(error) => {
                session.abort();
                Err(error)
            }
            Ok(()) => Ok(Vec::new()),
        };
        let written = output.close();
        let unwritten = done?;
        match gone.and(written) {
            // What is missing is told first.
            Err(error) if unwritten.is_empty() => Err(error),
            _ => Ok(unwritten),
        }
    }
}

/// Plans each script, for itself or after those before it, as it may be meant to run.
fn check_scripts(scripts: &[Arc<Script>], io: &mut Io) -> Result<(), Failure> {
    let stdin_is_terminal = io.stdin_is_terminal;
    let new_session = || -> Result<Session> {
        let session = Session::new()?;
        if stdin_is_terminal {
            let unread = Unread(session.connector("stdin")?);
            session.register_connector("stdin", Arc::new(unread));
        }
        Ok(session)
    };
    let together = new_session()?;
    let mut failed = false;
    for (place, script) in scripts.iter().enumerate() {
        let checked = match together.check(script) {
            Err(after_others) if place > 0 => new_session()?.check(script).map_err(|alone| {
                // The one that comes further in the text knows more.
                let reached = |errors: &[Error]| {
                    let first = errors.first().and_then(Error::span);
                    first.map_or(0, |span| span.start)
                };
                match reached(&after_others) > reached(&alone) {
                    true => after_others,
                    false => alone,
                }
            }),
            checked => checked,
        };
        match checked {
            // A closed stderr must not hide the exit code.
            Ok(()) => drop(writeln!(io.stderr, "{}: ok", script.name)),
            Err(errors) => {
                errors.iter().for_each(|error| io.report(error));
                failed = true;
            }
        }
    }
    match failed {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}

/// The standard input where nobody is to be kept waiting for its first rows.
#[derive(Debug)]
struct Unread(Arc<dyn ConnectorKind>);

impl ConnectorKind for Unread {
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        if declared.is_none() {
            return Err(
                Error::new(ErrorKind::Plan, "the columns of stdin are not known here").help(
                    "declare them with CREATE STREAM, or give some rows: \
                     head readings.csv | windrow check …",
                ),
            );
        }
        self.0.source(options, declared)
    }

    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        self.0.sink(options, schema)
    }

    fn option_names(&self) -> Vec<&'static str> {
        self.0.option_names()
    }
}

fn generate(arguments: Generate, io: &mut Io) -> Result<(), Failure> {
    let plan = (arguments.plan()).map_err(|error| Failure::Unfit(of_argument(error)))?;
    let cancel = Arc::new(AtomicBool::new(false));
    if let Some(path) = plan.file.clone() {
        (io.on_start)(&cancel);
        let unwritten = plan.write_file(&path, &cancel)?;
        io.report_unwritten(unwritten);
        return Ok(());
    }
    refuse_binary(plan.format, io)?;
    (io.on_start)(&cancel);
    let pipe = io.pipe(&cancel, &Display::Off)?;
    match plan.write_pipe(io.stdout_width, &pipe, &cancel) {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        Err(error) if cancel.load(Ordering::SeqCst) && is_given_up(&error) => Ok(()),
        written => Ok(written?),
    }
}

/// The error of an option in words of the command line: `delay_share` is `--delay-share`.
fn of_argument(error: Error) -> Error {
    let argument = (error.message().strip_prefix("option ")).and_then(|rest| {
        let (name, rest) = rest.split_once(' ')?;
        Some(format!("--{} {rest}", name.replace('_', "-")))
    });
    match argument {
        Some(message) => error.worded(message),
        None => error,
    }
}
