//! Windrow on a workload: the answer once, then the time of each repeat.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use clap::Args;
use serde_json::{Value, json};
use windrow_bench::Names;
use windrow_core::kernel;
use windrow_core::stream::Sink;
use windrow_sql::{Session, SessionConfig};

use crate::Result;
use crate::answer::Answer;
use crate::catalog::{IDS, Input, Workload, workload};
use crate::data::BOUND_US;
use crate::files::{self, Form};
use crate::machine;

#[derive(Debug, Args)]
pub struct Settings {
    /// Where the files lie
    #[arg(long)]
    dir: PathBuf,
    /// Readings of the main set, as given to `data`
    #[arg(long, default_value_t = windrow_bench::ROWS)]
    rows: usize,
    /// Readings of the text files, as given to `data`
    #[arg(long, default_value_t = 2_000_000)]
    text_rows: usize,
    /// Take only so many of them, from memory
    #[arg(long)]
    first: Option<usize>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 5)]
    repeat: usize,
}

/// A workload and what it reads.
#[derive(Debug)]
struct Prepared {
    workload: Workload,
    path: PathBuf,
    /// None, if a file is read each time.
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Of the file, or of the columns that the query reads.
    bytes: f64,
}

/// Where result rows go.
#[derive(Debug, Clone, Default)]
struct Received(Arc<Mutex<Results>>);

#[derive(Debug, Default)]
struct Results {
    rows: usize,
    /// While it is given, rows are added to it.
    answer: Option<Answer>,
    fault: Option<String>,
}

impl Received {
    fn answering() -> Self {
        Self(Arc::new(Mutex::new(Results {
            answer: Some(Answer::default()),
            ..Results::default()
        })))
    }

    fn results(&self) -> MutexGuard<'_, Results> {
        // What is half added was a fault of its own: the run has failed by then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self) -> usize {
        self.results().rows
    }

    fn take(&self, records: &RecordBatch) {
        let mut results = self.results();
        results.rows += records.num_rows();
        let added = results.answer.as_mut().map(|answer| answer.add(records));
        if let Some(Err(error)) = added {
            results.fault = Some(error.to_string());
        }
    }

    fn answer(&self) -> Result<Value> {
        let results = self.results();
        match (&results.fault, &results.answer) {
            (Some(fault), _) => Err(fault.clone().into()),
            (None, Some(answer)) => Ok(answer.to_json()),
            (None, None) => Ok(Value::Null),
        }
    }
}

/// Counts what a stream's query gives.
#[derive(Debug)]
struct CountingSink(Received);

impl Sink for CountingSink {
    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        self.0.take(records);
        Ok(())
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        Ok(())
    }
}

/// Times a workload; gives the line that is printed.
pub fn timed(id: &str, settings: &Settings) -> Result<Value> {
    let Some(workload) = workload(id) else {
        return Err(format!("there is no workload {id}; there are {}", IDS.join(", ")).into());
    };
    let input = prepared(workload, settings)?;
    let (loaded_bytes, _) = machine::resident();
    // It also warms up.
    let answering = Received::answering();
    once(&input, settings.threads, &answering)?;
    let (answer, result_rows) = (answering.answer()?, answering.rows());
    let mut seconds = Vec::with_capacity(settings.repeat);
    for _ in 0..settings.repeat {
        let counting = Received::default();
        seconds.push(once(&input, settings.threads, &counting)?.as_secs_f64());
        if counting.rows() != result_rows {
            let rows = counting.rows();
            return Err(format!("{result_rows} result rows at first, then {rows}").into());
        }
    }
    let median = median(&seconds);
    Ok(json!({
        "engine": "windrow",
        "version": env!("CARGO_PKG_VERSION"),
        "simd": kernel::level()?.to_string(),
        "workload": id,
        "threads": settings.threads,
        "rows": input.rows,
        "bytes": input.bytes,
        "seconds": median,
        "rows_per_second": median.map(|median| input.rows as f64 / median),
        "repeats": seconds,
        "loaded_bytes": loaded_bytes,
        "rss_bytes_max": machine::resident().1,
        "answer": answer,
    }))
}

fn prepared(workload: Workload, settings: &Settings) -> Result<Prepared> {
    let form = match workload.input {
        Input::File(form) => form,
        _ => Form::Arrow,
    };
    let stored = match form.is_text() {
        true => settings.text_rows,
        false => workload.set.rows(settings.rows),
    };
    let path = files::path(&settings.dir, workload.set, stored, form);
    let first = settings.first.unwrap_or(stored).min(stored);
    let names = match workload.input {
        Input::Table(names) => names,
        Input::Stream { .. } => Names::Text,
        Input::File(_) => {
            let file = fs::metadata(&path).map_err(|error| {
                format!("{}: {error}; `workload data` writes it", path.display())
            })?;
            return Ok(Prepared {
                workload,
                path,
                batches: Vec::new(),
                rows: stored,
                bytes: file.len() as f64,
            });
        }
    };
    let keys = workload.keyed.then_some(names);
    Ok(Prepared {
        batches: files::load(&path, names, first)?,
        workload,
        path,
        rows: first,
        bytes: first as f64 * files::bytes_per_row(keys),
    })
}

fn median(seconds: &[f64]) -> Option<f64> {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[n / 2]),
        n => Some(sorted[n / 2 - 1].midpoint(sorted[n / 2])),
    }
}

/// From the first row, or the query over a table, to the last row of the answer.
fn once(input: &Prepared, threads: usize, received: &Received) -> Result<Duration> {
    let session = Session::with_config(SessionConfig {
        workers: threads,
        ..SessionConfig::default()
    })?;
    match input.workload.input {
        Input::Table(_) => {
            let schema = input.batches[0].schema();
            session.register_table("readings", schema, input.batches.clone())?;
            drained(&session, &input.workload.query, received)
        }
        Input::File(_) => {
            session.sql(&format!(
                "CREATE STREAM readings (ts TIMESTAMP(6), sensor TEXT, pm25 DOUBLE, temp DOUBLE) \
                 WITH (connector = 'file', path = '{}')",
                input.path.display()
            ))?;
            drained(&session, &input.workload.query, received)
        }
        Input::Stream { ends } => {
            session.sql(&format!(
                "CREATE STREAM readings (ts TIMESTAMP(6), sensor TEXT, pm25 DOUBLE, temp DOUBLE, \
                 WATERMARK FOR ts AS ts - INTERVAL '{}' SECOND); \
                 CREATE MATERIALIZED VIEW answer AS {}",
                BOUND_US / 1_000_000,
                input.workload.query
            ))?;
            session.add_sink("answer", Box::new(CountingSink(received.clone())))?;
            let start = Instant::now();
            for batch in &input.batches {
                session.push("readings", batch.clone())?;
            }
            if ends {
                session.sql("ALTER STREAM readings END")?;
            }
            Ok(start.elapsed())
        }
    }
}

fn drained(session: &Session, query: &str, received: &Received) -> Result<Duration> {
    let start = Instant::now();
    for records in session.sql(query)? {
        received.take(&records?);
    }
    Ok(start.elapsed())
}
