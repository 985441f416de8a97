//! How long a window's result takes after the reading that closes it (W9).
//!
//! Open loop: readings arrive by a schedule that knows nothing of the engine. A batch is
//! pushed when its last reading has arrived; where the engine is behind, it is pushed
//! late, and what it waited counts. So does the filling of the batch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use clap::Args;
use serde_json::{Value, json};
use windrow_bench::{BATCH_ROWS, FIRST_US, SECOND_US};
use windrow_core::kernel;
use windrow_core::stream::Sink;
use windrow_sql::{Session, SessionConfig};

use crate::Result;
use crate::catalog::workload;
use crate::data::{BOUND_US, Readings, Set};
use crate::pace::{Schedule, closing_row, percentile, time_us, windows_closed};

/// Sensors and values come round again after so many readings.
const ROUND_ROWS: usize = 1 << 20;

/// Readings whose windows are compared with those of a table.
const COMPARED_ROWS: usize = 1_000_000;

/// Windows that close before this are not counted: memory is taken for the first time.
const WARM_UP: Duration = Duration::from_secs(1);

/// The greatest rate is the median of so many stretches.
const STRETCHES: usize = 5;
const STRETCH: Duration = Duration::from_secs(1);

/// Shares of the greatest rate at which readings are offered.
const SHARES: [f64; 2] = [0.5, 0.9];

#[derive(Debug, Args)]
pub struct Settings {
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Readings of a batch
    #[arg(long, default_value_t = 8_192, value_parser = clap::value_parser!(u32).range(1..=ROUND_ROWS as i64))]
    batch_rows: u32,
    /// Seconds at each rate, after one to warm up
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Offer shares of so many readings a second, instead of the greatest rate
    #[arg(long)]
    rate: Option<f64>,
}

/// Gives the line that is printed.
pub fn measured(settings: &Settings) -> Result<Value> {
    let query = query()?;
    let mut feed = Feed::new(settings.batch_rows as usize);
    compare(&query, &mut feed, COMPARED_ROWS, settings.threads)?;
    let greatest = greatest_rate(&query, &mut feed, settings.threads)?;
    let full = settings.rate.unwrap_or(greatest);
    let time = WARM_UP + Duration::from_secs(settings.seconds);
    let (mut loads, mut floor) = (Vec::new(), Value::Null);
    for share in SHARES {
        let schedule = Schedule {
            rows_per_second: share * full,
        };
        if floor.is_null() {
            floor = without_engine(&mut feed, schedule, time)?;
        }
        let mut load = offered(&query, &mut feed, schedule, time, settings.threads)?;
        load["share"] = json!(share);
        loads.push(load);
    }
    Ok(json!({
        "engine": "windrow",
        "version": env!("CARGO_PKG_VERSION"),
        "simd": kernel::level()?.to_string(),
        "workload": "W9",
        "threads": settings.threads,
        "batch_rows": settings.batch_rows,
        "rows_per_second_max": greatest,
        "loads": loads,
        "without_engine": floor,
    }))
}

fn query() -> Result<String> {
    let workload = workload("W2-stddev").ok_or("there is no workload W2-stddev")?;
    Ok(workload.query)
}

/// Readings in order, for as long as one likes.
struct Feed {
    round: Vec<RecordBatch>,
    batch_rows: usize,
    /// Readings given out.
    rows: u64,
}

impl Feed {
    fn new(batch_rows: usize) -> Self {
        let batches = ROUND_ROWS.div_ceil(batch_rows);
        let readings = Readings::new(Set::Uniform, batches * batch_rows);
        let batch = |number| readings.batch(number * batch_rows..(number + 1) * batch_rows);
        Self {
            round: (0..batches).map(batch).collect(),
            batch_rows,
            rows: 0,
        }
    }

    fn restart(&mut self) {
        self.rows = 0;
    }

    /// The next batch: its columns but for the time are there already.
    fn next(&mut self) -> Result<RecordBatch> {
        let place = (self.rows as usize / self.batch_rows) % self.round.len();
        let batch = &self.round[place];
        let rows = self.rows..self.rows + self.batch_rows as u64;
        self.rows = rows.end;
        let mut columns = batch.columns().to_vec();
        let times = TimestampMicrosecondArray::from_iter_values(rows.map(time_us));
        columns[0] = Arc::new(times) as ArrayRef;
        Ok(RecordBatch::try_new(batch.schema(), columns)?)
    }
}

/// What a stream's query gives, and when.
#[derive(Debug, Clone, Default)]
struct Received(Arc<Mutex<Results>>);

#[derive(Debug, Default)]
struct Results {
    /// Ends of windows, each with the time of its last row so far.
    windows: Vec<(i64, Instant)>,
    /// While they are to be kept.
    rows: Option<Vec<RecordBatch>>,
}

impl Received {
    fn results(&self) -> MutexGuard<'_, Results> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Received {
    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        let now = Instant::now();
        let mut results = self.results();
        let ends = records.column_by_name("window_end");
        let ends = ends.and_then(|ends| ends.as_primitive_opt::<TimestampMicrosecondType>());
        for &end in ends.map_or(&[][..], |ends| ends.values()) {
            match results.windows.last_mut() {
                Some((last, at)) if *last == end => *at = now,
                _ => results.windows.push((end, now)),
            }
        }
        if let Some(rows) = &mut results.rows {
            rows.push(records.clone());
        }
        Ok(())
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        Ok(())
    }
}

fn session(threads: usize) -> Result<Session> {
    Ok(Session::with_config(SessionConfig {
        workers: threads,
        ..SessionConfig::default()
    })?)
}

/// A live stream and its query.
fn live(query: &str, received: &Received, threads: usize) -> Result<Session> {
    let session = session(threads)?;
    session.sql(&format!(
        "CREATE STREAM readings (ts TIMESTAMP(6), sensor TEXT, pm25 DOUBLE, temp DOUBLE, \
         WATERMARK FOR ts AS ts - INTERVAL '{}' SECOND); \
         CREATE MATERIALIZED VIEW answer AS {query}",
        BOUND_US / 1_000_000
    ))?;
    session.add_sink("answer", Box::new(received.clone()))?;
    Ok(session)
}

/// Refuses to measure what gives other rows than a table of the same readings.
fn compare(query: &str, feed: &mut Feed, rows: usize, threads: usize) -> Result<()> {
    feed.restart();
    let received = Received::default();
    received.results().rows = Some(Vec::new());
    let stream = live(query, &received, threads)?;
    let mut batches = Vec::new();
    while (feed.rows as usize) < rows {
        let batch = feed.next()?;
        stream.push("readings", batch.clone())?;
        batches.push(batch);
    }
    stream.sql("ALTER STREAM readings END")?;
    let all = concat_batches(&batches[0].schema(), &batches)?;
    let parts = (0..all.num_rows()).step_by(BATCH_ROWS);
    let parts = parts.map(|first| all.slice(first, BATCH_ROWS.min(all.num_rows() - first)));
    let table = session(threads)?;
    table.register_table("readings", all.schema(), parts.collect())?;
    let expected = table.sql(query)?.collect()?;
    let given = received.results().rows.take().unwrap_or_default();
    match sorted(&given)? == sorted(&expected)? {
        true => Ok(()),
        false => Err("the stream's windows are not those of a table of its readings".into()),
    }
}

/// Rows as columns in the order of their sensors and windows.
fn sorted(batches: &[RecordBatch]) -> Result<Vec<ArrayRef>> {
    let first = batches.first().ok_or("there are no result rows")?;
    let all = concat_batches(&first.schema(), batches)?;
    let by = ["sensor", "window_start"].map(|name| {
        let values = all.column_by_name(name).cloned();
        values.map(|values| SortColumn {
            values,
            options: None,
        })
    });
    let by: Vec<SortColumn> = by.into_iter().flatten().collect();
    let order = lexsort_to_indices(&by, None)?;
    Ok(take_record_batch(&all, &order)?.columns().to_vec())
}

/// Readings a second where each batch is pushed as soon as the one before is done.
fn greatest_rate(query: &str, feed: &mut Feed, threads: usize) -> Result<f64> {
    feed.restart();
    let stream = live(query, &Received::default(), threads)?;
    let mut rates = Vec::with_capacity(1 + STRETCHES);
    // The first is to warm up.
    while rates.len() < 1 + STRETCHES {
        let (start, first) = (Instant::now(), feed.rows);
        while start.elapsed() < STRETCH {
            stream.push("readings", feed.next()?)?;
        }
        rates.push((feed.rows - first) as f64 / start.elapsed().as_secs_f64());
    }
    let rates = &mut rates[1..];
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

/// Pushes readings by a schedule; gives the latencies of windows.
fn offered(
    query: &str,
    feed: &mut Feed,
    schedule: Schedule,
    time: Duration,
    threads: usize,
) -> Result<Value> {
    let received = Received::default();
    let stream = live(query, &received, threads)?;
    let (start, took) = paced(feed, schedule, time, |batch| {
        stream.push("readings", batch)?;
        Ok(())
    })?;
    let windows = std::mem::take(&mut received.results().windows);
    summary(&windows, feed.rows, schedule, start, took)
}

/// What the machine and the filling of batches cost: the same without an engine.
fn without_engine(feed: &mut Feed, schedule: Schedule, time: Duration) -> Result<Value> {
    let (mut windows, mut rows) = (Vec::new(), 0);
    let (start, took) = paced(feed, schedule, time, |batch| {
        let before = rows;
        rows += batch.num_rows() as u64;
        let closed = windows_closed(before, BOUND_US)..windows_closed(rows, BOUND_US);
        let now = Instant::now();
        windows.extend(closed.map(|window| (FIRST_US + (window as i64 + 1) * SECOND_US, now)));
        Ok(())
    })?;
    summary(&windows, feed.rows, schedule, start, took)
}

/// Pushes each batch when its last reading has arrived, or as soon after as it can; gives
/// the start of the schedule and how long it took.
fn paced(
    feed: &mut Feed,
    schedule: Schedule,
    time: Duration,
    mut push: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<(Instant, Duration)> {
    feed.restart();
    let start = Instant::now();
    loop {
        let batch = feed.next()?;
        let arrived = schedule.at(feed.rows - 1);
        if arrived > time {
            // It was not pushed.
            feed.rows -= batch.num_rows() as u64;
            return Ok((start, start.elapsed()));
        }
        // A sleep would be later than what is measured.
        while start.elapsed() < arrived {
            std::hint::spin_loop();
        }
        push(batch)?;
    }
}

/// The latencies of windows, by their ends and the times of their results.
fn summary(
    windows: &[(i64, Instant)],
    rows: u64,
    schedule: Schedule,
    start: Instant,
    took: Duration,
) -> Result<Value> {
    let closed = windows_closed(rows, BOUND_US);
    if windows.len() as u64 != closed {
        let given = windows.len();
        return Err(format!("{rows} readings close {closed} windows, not {given}").into());
    }
    let mut latencies = Vec::with_capacity(windows.len());
    for &(end, at) in windows {
        let arrived = schedule.at(closing_row(end, BOUND_US));
        let latency = at.checked_duration_since(start + arrived);
        let latency = latency.ok_or("a window came before the reading that closes it")?;
        if arrived >= WARM_UP {
            latencies.push(latency);
        }
    }
    latencies.sort_unstable();
    let ms = |share| percentile(&latencies, share).map(|latency| latency.as_secs_f64() * 1e3);
    Ok(json!({
        "rows_per_second_offered": schedule.rows_per_second,
        "rows_per_second": rows as f64 / took.as_secs_f64(),
        "rows": rows,
        "windows": latencies.len(),
        "p50_ms": ms(0.5),
        "p99_ms": ms(0.99),
        "p99_9_ms": ms(0.999),
        "max_ms": ms(1.0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_go_on_where_a_round_ends() {
        let mut feed = Feed::new(1 << 19);
        let batches: Vec<_> = (0..3).map(|_| feed.next().expect("columns fit")).collect();
        let times = |batch: &RecordBatch| {
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            (times.value(0), times.value(times.len() - 1))
        };
        assert_eq!(
            times(&batches[0]),
            (FIRST_US, FIRST_US + ((1 << 19) - 1) * 50)
        );
        assert_eq!(times(&batches[2]).0, FIRST_US + (1 << 20) * 50);
        assert_eq!(batches[0].columns()[1..], batches[2].columns()[1..]);
        assert_ne!(batches[0].columns()[1..], batches[1].columns()[1..]);
    }

    #[test]
    fn windows_of_the_stream_are_those_of_a_table() {
        let query = query().expect("it is known");
        let mut feed = Feed::new(8_192);
        compare(&query, &mut feed, 60_000, 2).expect("they are the same");
    }

    #[test]
    fn each_window_waits_for_its_batch_at_least() {
        let schedule = Schedule {
            rows_per_second: 1e7,
        };
        let mut feed = Feed::new(8_192);
        let time = Duration::from_millis(100);
        let idle = without_engine(&mut feed, schedule, time).expect("all windows come");
        // 122 batches have arrived in 100 ms. None counts that closes while warming up.
        assert_eq!(idle["rows"], json!(122 * 8_192));
        assert_eq!(idle["windows"], json!(0));
    }

    #[test]
    fn latencies_are_from_the_schedule_on() {
        let (start, rows) = (Instant::now(), 3_000_001);
        // A reading each microsecond: windows close every 20 ms, the first by reading
        // 220,000; those from 1 s on count: 40 are too early, 100 are not.
        let schedule = Schedule {
            rows_per_second: 1e6,
        };
        let windows = |late_us: u64| -> Vec<_> {
            (1..=140)
                .map(|window| {
                    let row = 200_000 + 20_000 * window;
                    let late = late_us * if window == 140 { 10 } else { 1 };
                    let at = start + Duration::from_micros(row + late);
                    (FIRST_US + window as i64 * SECOND_US, at)
                })
                .collect()
        };
        let took = Duration::from_secs(3);
        let given = summary(&windows(500), rows, schedule, start, took).expect("it is whole");
        assert_eq!(given["windows"], json!(101));
        let near = |name: &str, ms: f64| {
            let given = given[name].as_f64().expect("a number");
            assert!((given - ms).abs() < 1e-3, "{name} is {given}");
        };
        near("p50_ms", 0.5);
        near("p99_ms", 0.5);
        near("p99_9_ms", 5.0);
        near("max_ms", 5.0);
        near("rows_per_second", 3_000_001.0 / 3.0);
        let few = summary(&windows(500)[1..], rows, schedule, start, took);
        assert!(few.is_err_and(|error| error.to_string().contains("140 windows, not 139")));
    }
}
