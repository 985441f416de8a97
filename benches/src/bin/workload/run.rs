//! Windrow on a workload: the answer once, then the time of each repeat.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use clap::Args;
use serde_json::{Value, json};
use windrow_bench::{BATCH_ROWS, FIRST_US};
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

/// What a workload reads.
#[derive(Debug)]
struct Readings {
    workload: Workload,
    path: PathBuf,
    batches: Vec<RecordBatch>,
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
    fn answering(answering: bool) -> Self {
        let answer = answering.then(Answer::default);
        Self(Arc::new(Mutex::new(Results {
            answer,
            ..Results::default()
        })))
    }

    fn take(&self, records: &RecordBatch) {
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        results.rows += records.num_rows();
        let added = results.answer.as_mut().map(|answer| answer.add(records));
        if let Some(Err(error)) = added {
            results.fault = Some(error.to_string());
        }
    }

    fn answer(&self) -> Result<Value> {
        let results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
    let form = match workload.input {
        Input::File(form) => form,
        _ => Form::Arrow,
    };
    let stored = match form.is_text() {
        true => settings.text_rows,
        false => workload.set.rows(settings.rows),
    };
    let path = files::path(&settings.dir, workload.set, stored, form);
    let rows = match workload.input {
        Input::File(_) => stored,
        _ => settings.first.unwrap_or(stored).min(stored),
    };
    let (batches, bytes) = match workload.input {
        Input::File(_) => {
            let length = fs::metadata(&path).map_err(|error| {
                format!("{}: {error}; `workload data` writes it", path.display())
            })?;
            (Vec::new(), length.len() as f64)
        }
        Input::Table(names) => {
            let keys = workload.keyed.then_some(names);
            let bytes = rows as f64 * files::bytes_per_row(keys);
            (files::load(&path, names, rows)?, bytes)
        }
        Input::Stream { .. } => {
            let names = windrow_bench::Names::Text;
            let bytes = rows as f64 * files::bytes_per_row(Some(names));
            (files::load(&path, names, rows)?, bytes)
        }
    };
    let input = Readings {
        workload,
        path,
        batches,
    };
    let (loaded_bytes, _) = machine::resident();
    // It also warms up.
    let received = Received::answering(true);
    once(&input, settings.threads, &received)?;
    let answer = received.answer()?;
    let mut seconds = Vec::with_capacity(settings.repeat);
    for _ in 0..settings.repeat {
        let time = once(&input, settings.threads, &Received::default())?;
        seconds.push(time.as_secs_f64());
    }
    let median = median(&seconds);
    Ok(json!({
        "engine": "windrow",
        "version": env!("CARGO_PKG_VERSION"),
        "simd": kernel::level()?.to_string(),
        "workload": id,
        "threads": settings.threads,
        "rows": rows,
        "bytes": bytes,
        "seconds": median,
        "rows_per_second": median.map(|median| rows as f64 / median),
        "repeats": seconds,
        "loaded_bytes": loaded_bytes,
        "rss_bytes_max": machine::resident().1,
        "answer": answer,
    }))
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
fn once(input: &Readings, threads: usize, received: &Received) -> Result<Duration> {
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

/// Puts readings of so many sensors, known by number, into one pane; gives what is held
/// for each.
pub fn state_of(keys: usize, threads: usize) -> Result<Value> {
    let session = Session::with_config(SessionConfig {
        workers: threads,
        ..SessionConfig::default()
    })?;
    session.sql(
        "CREATE STREAM readings (ts TIMESTAMP(6), sensor BIGINT, pm25 DOUBLE, WATERMARK FOR ts); \
         CREATE SINK answer WITH (connector = 'blackhole') AS \
         SELECT sensor, window_start, window_end, count(*) AS n, sum(pm25) AS total, \
         min(pm25) AS low, max(pm25) AS high FROM TUMBLE(readings, ts, INTERVAL '1' HOUR) \
         GROUP BY sensor, window_start, window_end",
    )?;
    let before = machine::resident().0;
    for first in (0..keys).step_by(BATCH_ROWS) {
        let rows = (first as i64)..(keys.min(first + BATCH_ROWS) as i64);
        // Spread over 64 bits, so that no table by number will do.
        let sensors = rows
            .clone()
            .map(|row| windrow_bench::mixed(row as u64) as i64);
        let columns: [(&str, ArrayRef); 3] = [
            (
                "ts",
                Arc::new(TimestampMicrosecondArray::from_iter_values(
                    rows.clone().map(|row| FIRST_US + row),
                )),
            ),
            ("sensor", Arc::new(Int64Array::from_iter_values(sensors))),
            (
                "pm25",
                Arc::new(Float64Array::from_iter_values(rows.map(|row| row as f64))),
            ),
        ];
        session.push("readings", RecordBatch::try_from_iter(columns)?)?;
    }
    let (held, peak) = machine::resident();
    let state_bytes = session.progress().state_bytes;
    session.sql("ALTER STREAM readings END")?;
    let each = |bytes: u64| bytes as f64 / keys as f64;
    Ok(json!({
        "engine": "windrow",
        "workload": "W10",
        "threads": threads,
        "keys": keys,
        "state_bytes": state_bytes,
        "state_bytes_per_key": each(state_bytes),
        "rss_bytes_per_key": each(held.saturating_sub(before)),
        "rss_bytes_max": peak,
        "rss_bytes_max_with_results": machine::resident().1,
    }))
}
