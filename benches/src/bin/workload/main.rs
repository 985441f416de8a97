//! One workload of the comparison with other engines, by SQL, as one line of JSON.
//!
//! ```text
//!  workload data       writes the files that all engines read
//!  workload run W2     times Windrow on them
//!  workload latency    how long a window's result takes (W9)
//!  workload memory     bytes of state for each key (W10)
//!  workload datagrams  what becomes of datagrams over UDP (S1)
//!  workload bandwidth  how fast this machine reads memory, and what a second thread adds
//! ```
//!
//! `benches/rivals/run.py` calls it; the scripts beside that one print the same line
//! for other engines.

mod answer;
mod catalog;
mod data;
mod files;
mod machine;
mod pace;
mod run;
mod latency;
mod state;
mod datagrams;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug, Parser)]
#[command(about = "Windrow's side of the comparison with other engines")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the files that are missing
    Data {
        #[arg(long)]
        dir: PathBuf,
        /// Readings of each set (`slow` has twice as many)
        #[arg(long, default_value_t = windrow_bench::ROWS)]
        rows: usize,
        /// Readings of the text files
        #[arg(long, default_value_t = 2_000_000)]
        text_rows: usize,
        /// Files to write; all, if none is named
        names: Vec<String>,
    },
    /// Time a workload
    Run {
        workload: String,
        #[command(flatten)]
        settings: run::Settings,
    },
    /// Time windows' results, at shares of the greatest rate
    Latency {
        #[command(flatten)]
        settings: latency::Settings,
    },
    /// Measure the state of many keys in one pane
    Memory {
        #[arg(long, default_value_t = 10_000_000)]
        keys: usize,
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Send datagrams to `systems/datagrams.sql` and account for each
    Datagrams {
        #[command(flatten)]
        settings: datagrams::Settings,
    },
    /// Measure how fast memory is read
    Bandwidth,
    /// Name the workloads
    List,
}

fn main() -> ExitCode {
    // As the binary does.
    windrow_core::kernel::keep_freed_memory();
    match act(Arguments::parse().action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> Result<()> {
    match action {
        Action::Data {
            dir,
            rows,
            text_rows,
            names,
        } => files::write_missing(&dir, rows, text_rows, &names),
        Action::Run { workload, settings } => {
            println!("{}", run::timed(&workload, &settings)?);
            Ok(())
        }
        Action::Latency { settings } => {
            println!("{}", latency::measured(&settings)?);
            Ok(())
        }
        Action::Memory { keys, threads } => {
            println!("{}", state::of_keys(keys, threads)?);
            Ok(())
        }
        Action::Datagrams { settings } => {
            println!("{}", datagrams::measured(&settings)?);
            Ok(())
        }
        Action::Bandwidth => {
            let [one, two] = [1, 2].map(machine::bandwidth);
            let compute = machine::compute_gain(2);
            println!("{}", json!({"1": one, "2": two, "compute_gain": compute}));
            Ok(())
        }
        Action::List => {
            for id in catalog::IDS {
                println!("{id}");
            }
            Ok(())
        }
    }
}
