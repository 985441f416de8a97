//! What each command does.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use clap::error::{ContextKind, ContextValue, ErrorKind as UsageKind};
use clap::{CommandFactory, Parser};
use windrow_core::kernel;
use windrow_core::stream::Sink;

use super::args::{Action, Command, ProgressMode, Running};
use super::failures::{Lines, Told};
use super::generate::Generate;
use super::output::{Output, Sharing};
use super::pipe::is_given_up;
use super::progress::{Display, End};
use super::progress_json;
use super::shell::{self, Shell};
use super::top;
use super::world::{Io, STACK_BYTES, no_thread, read_scripts};
use crate::connector::registry::{Connector, ConnectorKind, Pairs};
use crate::connector::stdout::is_closed_pipe;
use crate::error::{Error, ErrorKind, Result, Script};
use crate::format::encode::OutputFormat;
use crate::session::{Progress, Session, SessionConfig};
use crate::threads;

/// How long the work is waited for until it is asked whether it is to stop.
const LOOK: Duration = Duration::from_millis(10);

/// How long the work has to follow when it is to stop.
const GRACE: Duration = Duration::from_millis(100);

const EXIT_DONE: u8 = 0;
pub(super) const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

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
        None if sql.commands.is_empty() => converse(sql.running, io),
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
        Some(Action::Top { .. }) if !is_plain => Err(unused("top")),
        Some(Action::Top { files, workers }) => {
            top::refuse_no_terminal(io).map_err(Failure::Unfit)?;
            let scripts = read_scripts(&files, io)?;
            let session = Session::with_config(SessionConfig {
                workers: workers.map_or(0, usize::from),
                ..SessionConfig::default()
            })?;
            Ok(top::run(session, scripts, io)?)
        }
        Some(Action::Check { .. }) if !is_plain => Err(unused("check")),
        Some(Action::Check { files }) => {
            let scripts = read_scripts(&files, io)?;
            check_scripts(&scripts, io)
        }
        Some(Action::Completions { .. }) if !is_plain => Err(unused("completions")),
        Some(Action::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "windrow", &mut script);
            // Nobody may be left to read it.
            let _ = io.stdout.write_all(&script);
            Ok(())
        }
        Some(Action::Generate(_)) if !is_plain => Err(unused("generate")),
        Some(Action::Generate(arguments)) => generate(*arguments, io),
    }
}

/// The shell where somebody sits at a terminal; elsewhere the script that stdin is, or help
/// if it is none.
fn converse(running: Running, io: &mut Io) -> Result<(), Failure> {
    if io.stdin_is_terminal && io.stdout_width.is_some() {
        let format = running.format.unwrap_or(OutputFormat::Table);
        refuse_binary(format, io)?;
        refuse_bar(running, io)?;
        let mut shell = Shell::new(format, running, io)?;
        let mut editor = shell::Editor::new(shell.session())?;
        return match shell.run(&mut editor)? {
            true => Err(Failure::Reported),
            false => Ok(()),
        };
    }
    if !io.stdin_is_terminal {
        let scripts = read_scripts(&[PathBuf::from("-")], io)?;
        if scripts.iter().any(|script| !script.text.trim().is_empty()) {
            return run_scripts(scripts, running, io);
        }
    }
    let help = Command::command().render_help();
    let kind = UsageKind::DisplayHelpOnMissingArgumentOrSubcommand;
    Err(Failure::Usage(Command::command().error(kind, help)))
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

fn refuse_binary(format: OutputFormat, io: &Io) -> Result<(), Failure> {
    if format.is_binary() && io.stdout_width.is_some() {
        let error = Error::new(ErrorKind::Option, format!("{format} is not for a terminal"));
        return Err(Failure::Unfit(error.help(
            "send stdout to a file or a pipe, or choose another --format",
        )));
    }
    Ok(())
}

/// A moving line needs a terminal to move on.
fn refuse_bar(running: Running, io: &Io) -> Result<(), Failure> {
    if running.progress == Some(ProgressMode::Bar) && !io.stderr_is_terminal {
        let error = Error::new(
            ErrorKind::Option,
            "--progress bar needs a terminal on stderr",
        );
        return Err(Failure::Unfit(
            error.help("choose --progress plain for lines, or json for programs"),
        ));
    }
    Ok(())
}

fn run_scripts(scripts: Vec<Arc<Script>>, running: Running, io: &mut Io) -> Result<(), Failure> {
    refuse_bar(running, io)?;
    let done = run_all(scripts, running, io);
    match done {
        // Who reads the progress reads the error in its words.
        Err(Failure::Error(error)) if running.progress == Some(ProgressMode::Json) => {
            let line = progress_json::remark("error", &error.to_string());
            // A closed stderr must not hide the exit code.
            let _ = writeln!(io.stderr, "{line}");
            Err(Failure::Reported)
        }
        done => done,
    }
}

fn run_all(scripts: Vec<Arc<Script>>, running: Running, io: &mut Io) -> Result<(), Failure> {
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
    let stdout = sharing.connector(format, io.stdout_width, &pipe);
    session.register_connector("stdout", Arc::new(stdout));
    let work = Work {
        session: session.clone(),
        scripts,
        output: Output::new(format, io.stdout_width, pipe, sharing),
    };
    let started = Instant::now();
    let mut told = Told::default();
    let done = {
        let lines = Mutex::new(&mut io.stderr);
        let mut failures = Lines(&lines);
        display.watch(&session, &mut Lines(&lines), || {
            work.run_stoppable(&cancel, || told.look(&session, &display, &mut failures))
        })
    };
    let progress = session.progress();
    let ended = conclude(&session, &display, done, &progress, started, io);
    if ended.is_err() {
        display.fail(&progress, started.elapsed(), io.stderr.as_mut());
    }
    // A sink that failed is no reason to hide another.
    let stopped = cancel.load(Ordering::SeqCst);
    let sinks_failed = told.end(&session, &display, io.stderr.as_mut());
    if ended.is_err() && sinks_failed {
        // Nor what became of the rows.
        let end = if stopped { End::Stopped } else { End::Failed };
        let elapsed = started.elapsed();
        display.summarize(&progress, end, elapsed, io.stderr.as_mut());
    }
    if stopped {
        // The process ends: the system is faster to take all memory back than we are to
        // return it piece by piece.
        std::mem::forget(session);
    }
    match ended {
        Err(error) if told.has(&error) => Err(Failure::Reported),
        ended => Ok(ended?),
    }
}

/// Says how the work has ended that is `done`, and what is missing.
fn conclude(
    session: &Session,
    display: &Display,
    done: Result<Vec<String>>,
    progress: &Progress,
    started: Instant,
    io: &mut Io,
) -> Result<()> {
    let stopped = session.cancel_flag().load(Ordering::SeqCst);
    let unwritten = match done {
        Err(error) if stopped && is_given_up(&error) => session.stop()?,
        Err(error) if is_closed_pipe(&error) => return Ok(()),
        done => {
            // A thread that was left behind may hold what a look would wait for.
            if !stopped && progress.rejected + progress.late > 0 {
                display.warn(session, progress.late, io.stderr.as_mut());
            }
            let mut unwritten = done?;
            // Streams that nobody has ended go on for ever: what they gave until now counts.
            unwritten.extend(session.stop()?);
            unwritten
        }
    };
    match display {
        Display::Json => {
            for name in unwritten {
                // A closed stderr is no reason to fail.
                let _ = writeln!(io.stderr, "{}", progress_json::remark("not_written", &name));
            }
        }
        _ => io.report_unwritten(unwritten),
    }
    let end = if stopped { End::Stopped } else { End::Done };
    display.summarize(progress, end, started.elapsed(), io.stderr.as_mut());
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
    /// `look` is called again and again meanwhile.
    fn run_stoppable(
        mut self,
        cancel: &Arc<AtomicBool>,
        mut look: impl FnMut(),
    ) -> Result<Vec<String>> {
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
        threads::start("windrow-run", Some(STACK_BYTES), run).map_err(|error| no_thread(&error))?;
        let mut asked = None;
        loop {
            match waiting.recv_timeout(LOOK) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) if !cancel.load(Ordering::SeqCst) => look(),
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
