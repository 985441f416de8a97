//! How many readings a second go through a windowed aggregation, by SQL, in memory.
//!
//! `sql/…` reads a table to its end and drains the result, windows that only the end
//! closes included. `push/…` pushes the same rows into a stream with a watermark and
//! stops before its end, as a stream that goes on does. `kernel/…` is the parts by hand.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use windrow_bench::{BATCH_ROWS, Era, Names, ROWS, SENSORS, readings};
use windrow_core::aggregate::Rows;
use windrow_core::aggregate::registry::{Limits, NativeCall, native};
use windrow_core::batch::key::KeyInterner;
use windrow_sql::{Session, SessionConfig};

const TUMBLE: &str = "TUMBLE({}, ts, INTERVAL '10' SECOND)";
const HOP_MINUTE: &str = "HOP({}, ts, INTERVAL '1' SECOND, INTERVAL '60' SECOND)";
const HOP_HOUR: &str = "HOP({}, ts, INTERVAL '1' SECOND, INTERVAL '3600' SECOND)";

const BASIC: &str = "count(*) AS n, avg(pm25) AS mean, min(pm25) AS low, max(pm25) AS high";
const WITH_SPREAD: &str = "count(*) AS n, avg(pm25) AS mean, min(pm25) AS low, max(pm25) AS high, \
                           stddev(pm25) AS spread";

const BOTH_WORKERS: usize = 2;

fn query(table: &str, window: &str, aggregates: &str, by_sensor: bool) -> String {
    let window = window.replace("{}", table);
    let key = if by_sensor { "sensor, " } else { "" };
    format!(
        "SELECT {key}window_start, window_end, {aggregates} FROM {window} \
         GROUP BY {key}window_start, window_end"
    )
}

fn over(table: &str, frame: &str, by_sensor: bool) -> String {
    let partition = if by_sensor {
        "PARTITION BY sensor "
    } else {
        ""
    };
    format!(
        "SELECT avg(pm25) OVER w AS mean, min(pm25) OVER w AS low, max(pm25) OVER w AS high \
         FROM {table} WINDOW w AS ({partition}ORDER BY ts {frame} PRECEDING)"
    )
}

fn session(workers: usize) -> Session {
    Session::with_config(SessionConfig {
        workers,
        ..SessionConfig::default()
    })
    .expect("threads can be started")
}

/// Reads a table to its end; gives the number of result rows.
fn drained(session: &Session, query: &str) -> usize {
    let answer = session.sql(query).expect("the query fits");
    answer
        .map(|rows| rows.expect("the query runs").num_rows())
        .sum()
}

fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sql");
    group.throughput(Throughput::Elements(ROWS as u64));
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));

    let text = readings(ROWS, Names::Text, Era::One);
    let numbers = readings(ROWS, Names::Number, Era::One);
    let codes = readings(ROWS, Names::Dictionary, Era::One);
    let eras = readings(ROWS, Names::Text, Era::Two);
    for workers in [BOTH_WORKERS, 1] {
        let session = session(workers);
        for (name, rows) in [
            ("text", &text),
            ("numbers", &numbers),
            ("codes", &codes),
            ("eras", &eras),
        ] {
            (session.register_table(name, rows[0].schema(), rows.clone()))
                .expect("the name is free");
        }
        let cases = [
            ("tumble 10 s", "text", TUMBLE, BASIC, true),
            ("hop 60 s / 1 s", "text", HOP_MINUTE, BASIC, true),
            ("hop 3600 s / 1 s", "text", HOP_HOUR, BASIC, true),
            (
                "hop 60 s / 1 s, stddev",
                "text",
                HOP_MINUTE,
                WITH_SPREAD,
                true,
            ),
            (
                "hop 60 s / 1 s, integer keys",
                "numbers",
                HOP_MINUTE,
                BASIC,
                true,
            ),
            (
                "hop 60 s / 1 s, dictionary keys",
                "codes",
                HOP_MINUTE,
                BASIC,
                true,
            ),
            ("hop 60 s / 1 s, no key", "text", HOP_MINUTE, BASIC, false),
            (
                "hop 60 s / 1 s, 1970 and 2025",
                "eras",
                HOP_MINUTE,
                BASIC,
                true,
            ),
        ];
        let shown = if workers == 1 { 2 } else { cases.len() };
        for (name, table, window, aggregates, by_sensor) in &cases[..shown] {
            let query = query(table, window, aggregates, *by_sensor);
            group.bench_function(format!("{name}, {workers} workers"), |bencher| {
                bencher.iter(|| black_box(drained(&session, &query)));
            });
        }
        for (name, frame, by_sensor) in [
            ("over range 60 s", "RANGE INTERVAL '60' SECOND", true),
            (
                "over range 60 s, no key",
                "RANGE INTERVAL '60' SECOND",
                false,
            ),
            ("over rows 1000", "ROWS 999", true),
            ("over rows 1000, no key", "ROWS 999", false),
        ] {
            let query = over("text", frame, by_sensor);
            group.bench_function(format!("{name}, {workers} workers"), |bencher| {
                bencher.iter(|| assert_eq!(drained(&session, &query), ROWS));
            });
        }
    }
    group.finish();
}

/// Pushes all rows into a new stream; gives the time of the pushes alone.
fn pushed(rows: &[RecordBatch], window: &str) -> Duration {
    let session = session(BOTH_WORKERS);
    let query = query("readings", window, BASIC, true);
    let script = format!(
        "CREATE STREAM readings (ts TIMESTAMP, sensor TEXT, pm25 DOUBLE, temp DOUBLE, \
         WATERMARK FOR ts); \
         CREATE SINK nothing WITH (connector = 'blackhole') AS {query}"
    );
    session.sql(&script).expect("the script fits");
    let start = Instant::now();
    for batch in rows {
        session.push("readings", batch.clone()).expect("it fits");
    }
    start.elapsed()
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("push");
    group.throughput(Throughput::Elements(ROWS as u64));
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    let rows = readings(ROWS, Names::Text, Era::One);
    for (name, window) in [
        ("tumble 10 s", TUMBLE),
        ("hop 60 s / 1 s", HOP_MINUTE),
        ("hop 3600 s / 1 s", HOP_HOUR),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| pushed(&rows, window)).sum());
        });
    }
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel");
    group.throughput(Throughput::Elements(BATCH_ROWS as u64));
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(2));
    let mut ids = Vec::new();
    for (name, names) in [
        ("text", Names::Text),
        ("integers", Names::Number),
        ("a dictionary", Names::Dictionary),
    ] {
        let rows = readings(BATCH_ROWS, names, Era::One).swap_remove(0);
        let keys = [rows.column(1).clone()];
        let mut interner =
            KeyInterner::new(&[keys[0].data_type().clone()]).expect("it can be compared");
        // Outside of an engine's pool: one thread.
        let pool = (rayon::ThreadPoolBuilder::new().num_threads(1).build())
            .expect("a thread can be started");
        group.bench_function(format!("keys of {name} to ids"), |bencher| {
            pool.install(|| {
                bencher.iter(|| {
                    interner
                        .intern(&keys, BATCH_ROWS, &mut ids)
                        .expect("few keys")
                });
            });
        });
    }
    let rows = readings(BATCH_ROWS, Names::Number, Era::One).swap_remove(0);
    let values: ArrayRef = rows.column(2).clone();
    let times = vec![0; BATCH_ROWS];
    assert!(values.as_any().is::<Float64Array>());
    for name in ["sum", "min", "max", "avg", "stddev"] {
        let call = NativeCall {
            name,
            distinct: false,
            ignore_nulls: false,
            descending: false,
            arg_types: &[DataType::Float64],
            literals: &[None],
            limits: Limits::default(),
        };
        let factory = (native(&call).expect("no literals")).expect("it is native");
        let mut state = factory.create().expect("its type fits");
        state.resize(SENSORS);
        let args = [Arc::clone(&values)];
        group.bench_function(format!("{name} into 1,000 slots"), |bencher| {
            bencher.iter(|| {
                let rows = Rows {
                    slots: &ids,
                    args: &args,
                    filter: None,
                    times: &times,
                    first_ordinal: 0,
                };
                state.update(rows).expect("floats are taken");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tables, streams, kernels);
criterion_main!(benches);
