//! The arguments.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Streaming SQL over readings: files, pipes and live sources.
#[derive(Debug, Parser)]
#[command(
    name = "windrow",
    version,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES
)]
pub(super) struct Command {
    #[command(flatten)]
    pub sql: Sql,
    #[command(subcommand)]
    pub action: Option<Action>,
}

const EXAMPLES: &str = "\
Examples:
  windrow -c \"SELECT sensor, avg(pm25) FROM 'data/*.csv' GROUP BY sensor\"
  cat readings.csv | windrow -c \"SELECT window_start, count(*)
      FROM TUMBLE(stdin, ts, INTERVAL '1' MINUTE) GROUP BY window_start\"
  windrow run city.sql
  windrow check city.sql alerts.sql
  windrow generate --rows 100000 --output readings.parquet

Rows go to stdout, everything else to stderr. The first Ctrl-C stops cleanly, the
second at once.";

#[derive(Debug, Args)]
pub(super) struct Sql {
    /// SQL to run; may be given several times
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub commands: Vec<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Output {
    /// How rows are written [default: table on a terminal, csv otherwise]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<OutputFormat>,
    /// Whether progress is shown on stderr
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub progress: ProgressMode,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Run scripts, one after another
    Run {
        /// The scripts; `-` is stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Parse and plan scripts without running them
    Check {
        /// The scripts; `-` is stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make readings of sensors, the same for the same options
    Generate(Generate),
}

#[derive(Debug, Args)]
pub(super) struct Generate {
    #[command(flatten)]
    pub options: GenerateOptions,
    /// How they are written [default: by the name of the output, otherwise csv]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<OutputFormat>,
    /// Where they are written [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `windrow generate` makes.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct GenerateOptions {
    /// How many readings
    #[arg(long, default_value_t = 1_000)]
    pub rows: u64,
    /// How many sensors they come from
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub sensors: u32,
    /// How many readings a second of event time holds
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub rate: f64,
    /// Another seed gives other readings
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns, for reading
    Table,
    /// A Markdown table
    Markdown,
    /// Comma-separated values with a header
    Csv,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Ndjson,
    /// Line protocol
    Line,
    /// Arrow IPC stream
    Arrow,
    /// Parquet
    Parquet,
}

impl OutputFormat {
    /// Its name in `--format` and in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Markdown => "markdown",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Line => "line",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// Whether it is not for a terminal.
    pub(super) fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }

    /// The format of a file by its name.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()?.to_lowercase().as_str() {
            "csv" => Self::Csv,
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "line" | "lp" => Self::Line,
            "arrow" | "arrows" | "ipc" => Self::Arrow,
            "parquet" => Self::Parquet,
            "md" => Self::Markdown,
            _ => return None,
        })
    }
}

/// Whether progress is shown on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A line that moves if stderr is a terminal, nothing otherwise
    #[default]
    Auto,
    /// A new line every few seconds
    Plain,
    /// Nothing
    Off,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number greater than 0 is expected".into()),
    }
}
