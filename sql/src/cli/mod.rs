//! The command `windrow`: arguments, results on stdout, progress on stderr, exit codes.
//!
//! The world (streams, terminals, Ctrl-C) stands behind [`Io`], so that commands are
//! tested without a process. Only [`main`] touches the process.
//!
//! ```text
//!  arguments ─▶ command ─▶ session ─▶ output ─▶ encoder ─▶ pipe ─▶ stdout
//!                            │                             (a thread: whoever reads
//!                            ▼                              slowly holds up no Ctrl-C)
//!                         progress ─▶ stderr
//! ```
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; the shell or the table was left; stopped by the first Ctrl-C; the reader of stdout has gone |
//! | 1 | failed |
//! | 2 | the arguments are wrong |
//! | 130 | stopped at once by the second Ctrl-C |

mod interrupt;

mod faults;

mod pipe;

mod output;

mod generate;

mod args;

mod margin;

mod progress_json;

mod progress;

mod failures;

mod world;

mod shell;

mod top;

mod command;

#[cfg(test)]
mod tests;

pub use args::ProgressMode;
pub use command::run;
pub use world::Io;

use std::io::IsTerminal;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

/// Runs the command with the arguments, the streams and the signals of the process.
pub fn main() -> ExitCode {
    panic::set_hook(Box::new(|fault| {
        // Nobody may be left to read it.
        let _ = interrupt::say(&faults::words(fault));
    }));
    let mut io = Io {
        stdout: Box::new(std::io::stdout()),
        stdout_width: match std::io::stdout().is_terminal() {
            true => Some(terminal_size::terminal_size().map_or(80, |(width, _)| width.0)),
            false => None,
        },
        stderr: Box::new(std::io::stderr()),
        stderr_is_terminal: std::io::stderr().is_terminal(),
        stdin: Box::new(std::io::stdin()),
        stdin_is_terminal: std::io::stdin().is_terminal(),
        on_start: Box::new(interrupt::catch),
    };
    let ran = panic::catch_unwind(AssertUnwindSafe(|| run(std::env::args_os(), &mut io)));
    ExitCode::from(ran.unwrap_or(command::EXIT_FAILED))
}
