//! What each command does.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{CommandFactory, Parser};

use super::args::{Action, Command, Generate, Output as OutputArgs, OutputFormat};
use super::output::Output;
use super::progress::Display;
use super::runner::{CancelFlag, ResultHandler, Runner, Tools};
use crate::error::{Error, ErrorKind, Result, Script};

const EXIT_DONE: u8 = 0;
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_INTERRUPTED: u8 = 130;

/// The streams of the process.
pub struct Io {
    /// Rows, help and the version.
    pub stdout: Box<dyn Write>,
    /// Whether a person reads `stdout`.
    pub stdout_is_terminal: bool,
    /// Everything else.
    pub stderr: Box<dyn Write + Send>,
    /// Whether a person reads `stderr`.
    pub stderr_is_terminal: bool,
    /// Where `-` reads a script from.
    pub stdin: Box<dyn Read>,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("stdout_is_terminal", &self.stdout_is_terminal)
            .field("stderr_is_terminal", &self.stderr_is_terminal)
            .finish_non_exhaustive()
    }
}

/// How a command ended, other than well.
enum Failure {
    /// The reader of the rows has gone: nothing to say.
    Closed,
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
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    tools: &Tools<'_>,
    io: &mut Io,
    cancel: &CancelFlag,
) -> u8 {
    let command = match Command::try_parse_from(args) {
        Ok(command) => command,
        Err(error) => return usage(&error, io),
    };
    let result = match command.action {
        None if command.sql.commands.is_empty() => {
            let error = Command::command().error(
                clap::error::ErrorKind::MissingRequiredArgument,
                "there is nothing to run: give -c SQL or a command",
            );
            return usage(&error, io);
        }
        None => {
            let scripts = (command.sql.commands.into_iter())
                .map(|text| {
                    Arc::new(Script {
                        name: "-c".into(),
                        text,
                    })
                })
                .collect();
            run_scripts(scripts, command.sql.output, tools, io, cancel)
        }
        Some(Action::Run { files, output }) => read_scripts(&files, io)
            .map_err(Failure::Error)
            .and_then(|scripts| run_scripts(scripts, output, tools, io, cancel)),
        Some(Action::Check { files }) => read_scripts(&files, io)
            .map_err(Failure::Error)
            .and_then(|scripts| check_scripts(&scripts, tools, io)),
        Some(Action::Generate(generate)) => self::generate(&generate, tools, io, cancel),
    };
    match result {
        Ok(()) | Err(Failure::Closed) => EXIT_DONE,
        Err(Failure::Reported) => EXIT_FAILED,
        Err(Failure::Error(error)) if error.kind() == ErrorKind::Cancelled => EXIT_INTERRUPTED,
        Err(Failure::Error(error)) => {
            report(&error, io);
            EXIT_FAILED
        }
    }
}

/// Help and the version go to stdout, complaints to stderr.
fn usage(error: &clap::Error, io: &mut Io) -> u8 {
    let (out, is_terminal): (&mut dyn Write, bool) = match error.use_stderr() {
        true => (io.stderr.as_mut(), io.stderr_is_terminal),
        false => (io.stdout.as_mut(), io.stdout_is_terminal),
    };
    let text = error.render();
    // Nobody may be left to read it.
    let _ = match is_terminal {
        true => write!(out, "{}", text.ansi()),
        false => write!(out, "{text}"),
    };
    match error.exit_code() {
        0 => EXIT_DONE,
        _ => EXIT_USAGE,
    }
}

fn report(error: &Error, io: &mut Io) {
    // A closed stderr must not hide the exit code.
    let _ = writeln!(io.stderr, "error: {error}");
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
                Error::new(ErrorKind::Io, format!("{name} cannot be read: {error}"))
                    .caused_by(error)
            })?;
            Ok(Arc::new(Script { name, text }))
        })
        .collect()
}

fn run_scripts(
    scripts: Vec<Arc<Script>>,
    args: OutputArgs,
    tools: &Tools<'_>,
    io: &mut Io,
    cancel: &CancelFlag,
) -> Result<(), Failure> {
    let format = args.format.unwrap_or(match io.stdout_is_terminal {
        true => OutputFormat::Table,
        false => OutputFormat::Csv,
    });
    refuse_binary(format, io.stdout_is_terminal)?;
    let runner = (tools.runner)()?;
    let display = Display::new(args.progress, io.stderr_is_terminal);
    let started = Instant::now();
    let mut last = None;
    let mut out = BufWriter::new(&mut io.stdout);
    for script in &scripts {
        let mut output = Output::new(format, tools.encoder, display.clone(), &mut out);
        let runner: &dyn Runner = runner.as_ref();
        let result = display.watch(runner, &mut io.stderr, || {
            runner.run(script, &mut output, cancel)
        });
        if output.is_closed() {
            return Err(Failure::Closed);
        }
        let summary = result?;
        let cancelled = summary.cancelled;
        last = Some(summary);
        if cancelled {
            break;
        }
    }
    if let Some(summary) = last {
        display.summarize(&summary, started.elapsed(), &mut io.stderr);
    }
    Ok(())
}

fn check_scripts(scripts: &[Arc<Script>], tools: &Tools<'_>, io: &mut Io) -> Result<(), Failure> {
    let runner = (tools.runner)()?;
    let mut failed = false;
    for script in scripts {
        if let Err(error) = runner.check(script) {
            report(&error, io);
            failed = true;
        }
    }
    match failed {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}

fn generate(
    args: &Generate,
    tools: &Tools<'_>,
    io: &mut Io,
    cancel: &CancelFlag,
) -> Result<(), Failure> {
    let by_name = args.output.as_deref().and_then(OutputFormat::of_file);
    let format = args.format.or(by_name).unwrap_or(OutputFormat::Csv);
    let mut file;
    let target: &mut dyn Write = match &args.output {
        Some(path) => {
            file = create(path)?;
            &mut file
        }
        None => {
            refuse_binary(format, io.stdout_is_terminal)?;
            &mut io.stdout
        }
    };
    let mut out = BufWriter::new(target);
    let mut output = Output::new(format, tools.encoder, Display::Off, &mut out);
    let result = write_readings(args, tools, &mut output, cancel);
    if output.is_closed() {
        return Err(Failure::Closed);
    }
    Ok(result?)
}

fn write_readings(
    args: &Generate,
    tools: &Tools<'_>,
    output: &mut Output<'_>,
    cancel: &CancelFlag,
) -> Result<()> {
    let mut begun = false;
    for rows in (tools.generator)(&args.options)? {
        let rows = rows?;
        if !begun {
            output.begin(0, &rows.schema())?;
            begun = true;
        }
        output.rows(0, &rows)?;
        if cancel.is_set() {
            break;
        }
    }
    match begun {
        true => output.end(0),
        false => Ok(()),
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|error| {
        let message = format!("{} cannot be written: {error}", path.display());
        Error::new(ErrorKind::Io, message).caused_by(error)
    })
}

fn refuse_binary(format: OutputFormat, is_terminal: bool) -> Result<()> {
    if format.is_binary() && is_terminal {
        let message = format!("{} is not for a terminal", format.name());
        return Err(Error::new(ErrorKind::Option, message)
            .help("send stdout to a file or a pipe, or choose another --format"));
    }
    Ok(())
}
