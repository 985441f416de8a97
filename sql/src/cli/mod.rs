//! The command `windrow`: arguments, results on stdout, progress on stderr, exit codes.
//!
//! The engine stands behind [`Runner`], the formats behind a factory of encoders, and
//! the world (arguments, streams, terminals) behind [`Io`], so that every command is
//! tested without a process. Only [`main`] touches the process: its streams, Ctrl-C
//! and the exit code.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; stopped by the first Ctrl-C; the reader of stdout has gone |
//! | 1 | failed |
//! | 2 | the arguments are wrong |
//! | 130 | stopped at once by the second Ctrl-C |

mod runner;

mod args;

mod table;

mod progress;

mod output;

mod command;

#[cfg(test)]
mod tests;

pub use args::{GenerateOptions, OutputFormat, ProgressMode};
pub use command::{Io, run};
pub use runner::{CancelFlag, EncoderFactory, Progress, ResultHandler, Runner, Summary, Tools};

use std::io::IsTerminal;
use std::process::ExitCode;

/// The code of a process that is stopped by a signal from the keyboard.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs the command with the arguments, the streams and the signals of the process.
pub fn main(tools: &Tools<'_>) -> ExitCode {
    let cancel = CancelFlag::default();
    let flag = cancel.clone();
    let handler = move || {
        if flag.set() {
            std::process::exit(EXIT_INTERRUPTED);
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C stops at once: {error}");
    }
    let mut io = Io {
        stdout: Box::new(std::io::stdout()),
        stdout_is_terminal: std::io::stdout().is_terminal(),
        stderr: Box::new(std::io::stderr()),
        stderr_is_terminal: std::io::stderr().is_terminal(),
        stdin: Box::new(std::io::stdin()),
    };
    ExitCode::from(run(std::env::args_os(), tools, &mut io, &cancel))
}
