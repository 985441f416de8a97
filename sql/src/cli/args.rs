//! The arguments.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use windrow_core::kernel::{self, Level};

use super::generate::Generate;
use crate::format::encode::OutputFormat;

/// Streaming SQL over readings: files, pipes and live sources.
#[derive(Debug, Parser)]
#[command(
    name = "windrow",
    version = version(),
    override_usage = "windrow [OPTIONS] [-c <SQL>]\n       windrow <COMMAND> …",
    after_help = EXAMPLES
)]
pub(super) struct Command {
    #[command(flatten)]
    pub sql: Sql,
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// The version, and the vector instructions in use.
fn version() -> &'static str {
    match kernel::level() {
        Ok(Level::Baseline) => concat!(env!("CARGO_PKG_VERSION"), " (simd: baseline)"),
        Ok(Level::Avx2) => concat!(env!("CARGO_PKG_VERSION"), " (simd: avx2)"),
        Ok(Level::Avx512) => concat!(env!("CARGO_PKG_VERSION"), " (simd: avx512)"),
        Err(_) => concat!(
            env!("CARGO_PKG_VERSION"),
            " (simd: WINDROW_SIMD forces a level that is not there)"
        ),
    }
}

const EXAMPLES: &str = "\
Without -c and a command, windrow is a shell on a terminal, and runs what it is given on
stdin elsewhere.

Examples:
  windrow -c \"SELECT origin, avg(temp) FROM 'data/weather.csv' GROUP BY origin\"
  windrow generate | windrow -c \"SELECT sensor, window_start, avg(value)
      FROM TUMBLE(stdin, ts, INTERVAL '1' MINUTE) GROUP BY sensor, window_start\"
  windrow run city.sql
  windrow top live.sql
  windrow check city.sql alerts.sql
  windrow generate --rows 100000 --output readings.parquet

Rows go to stdout, everything else to stderr. Each SELECT is a block of its own: with
--format json an array; arrow and parquet hold the rows of one SELECT. To write into
files, and several results at once, use CREATE SINK. A file appears when it is whole
and replaces the old one; a folder that holds parts is refused, unless the sink has the
option existing = 'append' or 'replace'.

The first Ctrl-C stops cleanly: what live streams gave until then is published in the
files of their sinks, without the windows that were still open; files of bounded inputs
that had not been read to their ends are not written. The second stops at once. When the reader of stdout goes, as head does, sinks are written
to the end.";

const RUN_EXAMPLES: &str = "\
Examples:
  windrow run city.sql
  windrow run streams.sql report.sql > report.csv
  echo \"SELECT 1 + 1\" | windrow run -";

const TOP_HELP: &str = "\
The rows of SELECT are counted and not shown; sinks are written. q or Ctrl-C quits, and
stops what still runs.

Examples:
  windrow top systems/network.sql";

const CHECK_HELP: &str = "\
Nothing is run, written or connected to; files are looked into for their columns.
A file may stand alone or build on those before it. The exit code is 1 if one is
wrong.";

const COMPLETIONS_HELP: &str = "\
Examples:
  windrow completions bash > ~/.local/share/bash-completion/completions/windrow
  windrow completions zsh > ~/.zfunc/_windrow
  windrow completions fish > ~/.config/fish/completions/windrow.fish";

#[derive(Debug, Args)]
pub(super) struct Sql {
    /// SQL to run; may be given several times
    #[arg(
        short = 'c',
        long = "command",
        value_name = "SQL",
        allow_hyphen_values = true
    )]
    pub commands: Vec<String>,
    #[command(flatten)]
    pub running: Running,
}

/// How scripts are run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Args)]
pub(super) struct Running {
    /// How rows are written: table, csv, json, ndjson, arrow, parquet, line or markdown
    /// [default: table on a terminal, csv otherwise]
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    pub format: Option<OutputFormat>,
    /// How progress is shown on stderr: auto (bar on a terminal, else nothing), bar, plain
    /// (lines), json (one object a line), off
    #[arg(long, value_enum, value_name = "MODE", hide_possible_values = true)]
    pub progress: Option<ProgressMode>,
    /// Threads of the engine [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
}

impl Running {
    /// What is given here, else what is given there.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            format: self.format.or(other.format),
            progress: self.progress.or(other.progress),
            workers: self.workers.or(other.workers),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Run scripts, one after another
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        /// The scripts; `-` is stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        running: Running,
    },
    /// Run scripts and show their streams and queries in a live table, instead of rows
    #[command(after_help = TOP_HELP)]
    Top {
        /// The scripts
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Threads of the engine [default: one for each core]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        workers: Option<u16>,
    },
    /// Say what is wrong in scripts, without running them
    #[command(after_help = CHECK_HELP)]
    Check {
        /// The scripts; `-` is stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print what completes the command in a shell, such as bash, zsh or fish
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Make readings of sensors, the same for the same options
    Generate(Box<Generate>),
}

impl ValueEnum for OutputFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Self::Ndjson => value.alias("jsonl"),
            Self::Markdown => value.alias("md"),
            _ => value,
        })
    }
}

/// Whether progress is shown on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProgressMode {
    /// A line that moves if stderr is a terminal, nothing otherwise.
    #[default]
    Auto,
    /// A line that moves, which needs a terminal.
    Bar,
    /// A new line every few seconds.
    Plain,
    /// An object of JSON on a line of its own every second; warnings and errors too.
    Json,
    /// Nothing.
    Off,
}

impl ValueEnum for ProgressMode {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Bar, Self::Plain, Self::Json, Self::Off]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Bar => "bar",
            Self::Plain => "plain",
            Self::Json => "json",
            Self::Off => "off",
        }))
    }
}
