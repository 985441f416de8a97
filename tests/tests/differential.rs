//! A windowed query against DataFusion's own batch SQL over the same rows: TUMBLE is
//! `date_bin`, HOP one `date_bin` for each window that holds a row. Values and types are
//! the same, also of aggregates for which Windrow keeps no state of its own.
//!
//! NaN is kept out: there DataFusion's grouped `min` and `max` depend on the order of
//! rows. Approximate aggregates are kept out: their sketches differ.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use datafusion::prelude::SessionContext;
use windrow_sql::session::Session;
use windrow_tests::cell::texts;
use windrow_tests::random::Random;

const COLUMNS: &str = "ts TIMESTAMP, k TEXT, v DOUBLE, w BIGINT, b BOOLEAN, id BIGINT";

/// How far a float may be from DataFusion's, relative to it.
const SUM: f64 = 1e-12;
const MOMENT: f64 = 1e-9;

/// Aggregates by the states that are kept for them. All `v` are positive, so that a
/// sum is the sum of the magnitudes too.
const NATIVE: &[(&str, f64)] = &[
    ("count(*)", 0.0),
    ("count(v)", 0.0),
    ("count(v, w)", 0.0),
    ("count(DISTINCT w)", 0.0),
    ("count(DISTINCT k)", 0.0),
    ("sum(v)", SUM),
    ("sum(w)", 0.0),
    ("sum(v) FILTER (WHERE w > 0)", SUM),
    ("avg(v)", SUM),
    ("avg(w)", MOMENT),
    ("mean(v)", SUM),
    ("min(v)", 0.0),
    ("max(v)", 0.0),
    ("min(w)", 0.0),
    ("max(w) FILTER (WHERE b)", 0.0),
    ("min(k)", 0.0),
    ("max(ts)", 0.0),
    ("var_pop(v)", MOMENT),
    ("var_samp(v)", MOMENT),
    ("var(w)", MOMENT),
    ("stddev_pop(v)", MOMENT),
    ("stddev_samp(v)", MOMENT),
    ("stddev(w)", MOMENT),
    ("covar_pop(v, w)", MOMENT),
    ("covar_samp(v, w)", MOMENT),
    ("corr(v, w)", MOMENT),
    ("regr_slope(v, w)", MOMENT),
    ("regr_intercept(v, w)", MOMENT),
    ("regr_r2(v, w)", MOMENT),
    ("regr_count(v, w)", 0.0),
    ("regr_avgx(v, w)", MOMENT),
    ("regr_avgy(v, w)", MOMENT),
    ("regr_sxx(v, w)", MOMENT),
    ("regr_syy(v, w)", MOMENT),
    ("regr_sxy(v, w)", MOMENT),
    ("median(v)", MOMENT),
    ("median(w)", MOMENT),
    ("percentile_cont(v, 0.1)", MOMENT),
    (
        "percentile_cont(0.9) WITHIN GROUP (ORDER BY v DESC)",
        MOMENT,
    ),
    ("bool_and(b)", 0.0),
    ("bool_or(b)", 0.0),
];

/// Aggregates that are DataFusion's own in both.
const FOREIGN: &[(&str, f64)] = &[
    ("array_sort(array_agg(w))", 0.0),
    ("array_agg(k ORDER BY id)", 0.0),
    ("array_sort(array_agg(DISTINCT w))", 0.0),
    ("string_agg(k, ',' ORDER BY id)", 0.0),
    ("nth_value(v, 2 ORDER BY id)", 0.0),
    ("first_value(v ORDER BY w DESC, id)", 0.0),
    ("last_value(k ORDER BY v, id)", 0.0),
    ("sum(DISTINCT w)", 0.0),
    ("bit_and(w)", 0.0),
    ("bit_or(w)", 0.0),
    ("bit_xor(w)", 0.0),
    ("max(b)", 0.0),
    ("sum(v + w) + max(w) * 2", MOMENT),
    ("sum_of_squares(v)", SUM),
    ("sum_of_squares(w) FILTER (WHERE b)", SUM),
];

/// The sum of squares: an aggregate that neither knows by itself.
fn sum_of_squares() -> AggregateUDF {
    #[derive(Debug, Default)]
    struct Squares(f64);

    impl Accumulator for Squares {
        fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
            let values = values[0].as_primitive::<Float64Type>();
            self.0 += values.iter().flatten().map(|v| v * v).sum::<f64>();
            Ok(())
        }

        fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
            let states = states[0].as_primitive::<Float64Type>();
            self.0 += states.iter().flatten().sum::<f64>();
            Ok(())
        }

        fn state(&mut self) -> Result<Vec<ScalarValue>> {
            Ok(vec![ScalarValue::Float64(Some(self.0))])
        }

        fn evaluate(&mut self) -> Result<ScalarValue> {
            Ok(ScalarValue::Float64(Some(self.0)))
        }

        fn size(&self) -> usize {
            size_of_val(self)
        }
    }

    create_udaf(
        "sum_of_squares",
        vec![DataType::Float64],
        Arc::new(DataType::Float64),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::<Squares>::default())),
        Arc::new(vec![DataType::Float64]),
    )
}

struct Reading {
    ts: i64,
    k: Option<String>,
    v: Option<f64>,
    w: Option<i64>,
    b: Option<bool>,
}

fn readings(random: &mut Random, count: usize) -> Vec<Reading> {
    let mut clock = -40_000_000;
    (0..count)
        .map(|_| {
            clock += random.between(0, 900_000);
            Reading {
                ts: clock - random.between(0, 3_000_000),
                k: (random.pick(&[
                    Some("north"),
                    Some("south"),
                    Some("a longer name of a key"),
                    None,
                ]))
                .map(str::to_owned),
                v: (!random.one_in(8)).then(|| random.between(1, 1_000_000) as f64 / 7.0),
                w: (!random.one_in(8)).then(|| random.between(-30, 30)),
                b: (!random.one_in(8)).then(|| random.one_in(2)),
            }
        })
        .collect()
}

fn batch(readings: &[Reading], first: usize) -> RecordBatch {
    let ts: TimestampMicrosecondArray = readings.iter().map(|row| Some(row.ts)).collect();
    let k: StringArray = readings.iter().map(|row| row.k.clone()).collect();
    let v: Float64Array = readings.iter().map(|row| row.v).collect();
    let w: Int64Array = readings.iter().map(|row| row.w).collect();
    let b: BooleanArray = readings.iter().map(|row| row.b).collect();
    let id: Int64Array = (first..)
        .take(readings.len())
        .map(|id| Some(id as i64))
        .collect();
    let columns: [(&str, ArrayRef); 6] = [
        ("ts", Arc::new(ts)),
        ("k", Arc::new(k)),
        ("v", Arc::new(v)),
        ("w", Arc::new(w)),
        ("b", Arc::new(b)),
        ("id", Arc::new(id)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .expect("columns of one length")
}

/// Text and type of each cell, row by row.
type Table = (Vec<DataType>, Vec<Vec<String>>);

fn table(batches: &[RecordBatch], schema: &arrow::datatypes::Schema) -> Table {
    let types = schema
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    let rows = (batches.iter())
        .flat_map(|batch| texts(batch).expect("cells are text"))
        .collect();
    (types, rows)
}

/// The answer of Windrow: rows in random batches through a view.
fn windrow(readings: &[Reading], query: &str, random: &mut Random) -> Table {
    let session = Session::new().expect("a session");
    session.register_aggregate(sum_of_squares());
    let run = |sql: &str| {
        (session.sql(sql).and_then(|answer| {
            let schema = answer.schema();
            Ok((schema, answer.collect()?))
        }))
        .unwrap_or_else(|error| panic!("{sql}\n{error}"))
    };
    run(&format!(
        "CREATE STREAM s ({COLUMNS}, WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)"
    ));
    run(&format!("CREATE MATERIALIZED VIEW m AS {query}"));
    let mut pushed = 0;
    for piece in random.pieces(readings.len(), 97) {
        let report = session
            .push("s", batch(&readings[pushed..pushed + piece], pushed))
            .expect("rows are pushed");
        assert_eq!(report.accepted, piece as u64);
        assert_eq!(report.late, 0, "all rows are on time");
        pushed += piece;
    }
    run("ALTER STREAM s END");
    let (schema, batches) = run("SELECT * FROM m ORDER BY k NULLS FIRST, window_start");
    table(&batches, &schema)
}

/// The answer of DataFusion over all rows at once.
fn datafusion(readings: &[Reading], query: &str) -> Table {
    let batch = batch(readings, 0);
    let provider = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table");
    let context = SessionContext::new();
    context.register_udaf(sum_of_squares());
    (context.register_table("s", Arc::new(provider))).expect("a new name");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let query = format!("SELECT * FROM ({query}) ORDER BY k NULLS FIRST, window_start");
        let frame = (context.sql(&query).await).unwrap_or_else(|error| panic!("{query}\n{error}"));
        let schema = frame.schema().as_arrow().clone();
        let batches = (frame.collect().await).unwrap_or_else(|error| panic!("{query}\n{error}"));
        table(&batches, &schema)
    })
}

fn calls(aggregates: &[(&str, f64)]) -> String {
    (aggregates.iter().enumerate())
        .map(|(i, (sql, _))| format!(", {sql} AS a{i}"))
        .collect()
}

fn compare(windrow: &Table, datafusion: &Table, aggregates: &[(&str, f64)]) {
    for (i, (sql, _)) in aggregates.iter().enumerate() {
        assert_eq!(windrow.0[i + 2], datafusion.0[i + 2], "the type of {sql}");
    }
    assert_eq!(windrow.1.len(), datafusion.1.len(), "number of results");
    assert!(windrow.1.len() > 20, "{} results", windrow.1.len());
    for (ours, theirs) in windrow.1.iter().zip(&datafusion.1) {
        assert_eq!(ours[..2], theirs[..2], "key and window");
        for (i, (sql, slack)) in aggregates.iter().enumerate() {
            let (our, their) = (&ours[i + 2], &theirs[i + 2]);
            let is_near = match (our.parse::<f64>(), their.parse::<f64>()) {
                (Ok(our), Ok(their)) => (our - their).abs() <= slack * their.abs().max(1.0),
                _ => false,
            };
            assert!(
                our == their || is_near,
                "{sql} of {} {}: {our}, by DataFusion {their}",
                ours[0],
                ours[1]
            );
        }
    }
}

fn tumble(aggregates: &[(&str, f64)], size_us: i64, seed: u64) {
    let mut random = Random::new(seed);
    let readings = readings(&mut random, 700);
    let calls = calls(aggregates);
    let size = format!("INTERVAL '{size_us} microseconds'");
    let ours = format!(
        "SELECT k, window_start{calls} FROM TUMBLE(s, ts, {size}) \
         GROUP BY k, window_start, window_end"
    );
    let theirs = format!(
        "SELECT k, window_start{calls} FROM (SELECT *, date_bin({size}, ts) AS window_start FROM s) \
         GROUP BY k, window_start"
    );
    compare(
        &windrow(&readings, &ours, &mut random),
        &datafusion(&readings, &theirs),
        aggregates,
    );
}

fn hop(aggregates: &[(&str, f64)], slide_us: i64, size_us: i64, seed: u64) {
    let mut random = Random::new(seed);
    let readings = readings(&mut random, 400);
    let calls = calls(aggregates);
    let interval = |us| format!("INTERVAL '{us} microseconds'");
    let (slide, size) = (interval(slide_us), interval(size_us));
    let ours = format!(
        "SELECT k, window_start{calls} FROM HOP(s, ts, {slide}, {size}) \
         GROUP BY k, window_start, window_end"
    );
    let windows: Vec<String> = (0..=size_us / slide_us)
        .map(|back| {
            let back = interval(back * slide_us);
            format!("SELECT *, date_bin({slide}, ts) - {back} AS window_start FROM s")
        })
        .collect();
    let theirs = format!(
        "SELECT k, window_start{calls} FROM ({}) WHERE ts < window_start + {size} \
         GROUP BY k, window_start",
        windows.join(" UNION ALL ")
    );
    compare(
        &windrow(&readings, &ours, &mut random),
        &datafusion(&readings, &theirs),
        aggregates,
    );
}

#[test]
fn tumbling_windows() {
    tumble(NATIVE, 10_000_000, 1);
    tumble(NATIVE, 1_700_001, 2);
}

#[test]
fn tumbling_windows_of_other_aggregates() {
    tumble(FOREIGN, 10_000_000, 3);
    tumble(FOREIGN, 1_700_001, 4);
}

#[test]
fn hopping_windows() {
    hop(NATIVE, 5_000_000, 20_000_000, 5);
    hop(NATIVE, 4_000_000, 10_000_000, 6);
}

#[test]
fn hopping_windows_of_other_aggregates() {
    hop(FOREIGN, 5_000_000, 20_000_000, 7);
    hop(FOREIGN, 4_000_000, 10_000_000, 8);
}

/// Aggregates that DataFusion can slide; it takes rows out again, which costs floats some
/// digits.
const SLIDING: &[(&str, f64)] = &[
    ("count(*)", 0.0),
    ("count(v)", 0.0),
    ("sum(v)", MOMENT),
    ("sum(w)", 0.0),
    ("sum(v) FILTER (WHERE w > 0)", MOMENT),
    ("sum(v + w)", MOMENT),
    ("avg(v)", MOMENT),
    ("avg(w)", MOMENT),
    ("min(v)", 0.0),
    ("max(v)", 0.0),
    ("max(w) FILTER (WHERE b)", 0.0),
    ("min(k)", 0.0),
    ("max(ts)", 0.0),
    ("var_pop(v)", 1e-6),
    ("stddev(v)", 1e-6),
    ("first_value(v)", 0.0),
    ("last_value(w)", 0.0),
    ("first_value(k)", 0.0),
    ("median(v)", MOMENT),
    ("median(w) FILTER (WHERE b)", MOMENT),
    ("percentile_cont(v, 0.3)", MOMENT),
];

/// Frames that end with the current row.
const FRAMES: [&str; 4] = [
    "RANGE BETWEEN INTERVAL '2' SECOND PRECEDING AND CURRENT ROW",
    "RANGE BETWEEN CURRENT ROW AND CURRENT ROW",
    "ROWS BETWEEN 5 PRECEDING AND CURRENT ROW",
    "ROWS BETWEEN CURRENT ROW AND CURRENT ROW",
];

/// `SELECT k, id, …`: the id stands where a window's start does elsewhere.
fn over(
    aggregates: &[(&str, f64)],
    time: &str,
    partition: &str,
    frame: &str,
    from: &str,
) -> String {
    let calls: String = (aggregates.iter().enumerate())
        .map(|(i, (sql, _))| format!(", {sql} OVER ({partition} ORDER BY {time} {frame}) AS a{i}"))
        .collect();
    format!("SELECT k, id AS window_start{calls} FROM {from}")
}

#[test]
fn rows_around_rows_of_a_stream() {
    for (seed, frame) in FRAMES.iter().enumerate() {
        for partition in ["PARTITION BY k", ""] {
            let mut random = Random::new(90 + seed as u64);
            let readings = readings(&mut random, 300);
            let query = over(SLIDING, "ts", partition, frame, "s");
            compare(
                &windrow(&readings, &query, &mut random),
                &datafusion(&readings, &query),
                SLIDING,
            );
        }
    }
}

#[test]
fn rows_around_rows_of_a_table() {
    // Rows without a time come last, among themselves. Which of them is first is open. The
    // sort by id makes DataFusion the reader of what Windrow gives.
    let aggregates: Vec<(&str, f64)> = (SLIDING.iter())
        .filter(|(sql, _)| !sql.contains("_value"))
        .copied()
        .collect();
    let aggregates = aggregates.as_slice();
    let from = "(SELECT *, CASE WHEN id % 10 < 3 THEN NULL ELSE ts END AS t FROM s)";
    let mut random = Random::new(95);
    let readings = readings(&mut random, 300);
    for frame in &FRAMES[..2] {
        for partition in ["PARTITION BY k", ""] {
            let query = over(aggregates, "t", partition, frame, from);
            let session = Session::new().expect("a session");
            let mut first = 0;
            let batches: Vec<RecordBatch> = (random.pieces(readings.len(), 97).into_iter())
                .map(|piece| {
                    first += piece;
                    batch(&readings[first - piece..first], first - piece)
                })
                .collect();
            (session.register_table("s", batches[0].schema(), batches)).expect("a new name");
            let query_in_order =
                format!("SELECT * FROM ({query}) ORDER BY k NULLS FIRST, window_start");
            let answer = (session.sql(&query_in_order))
                .unwrap_or_else(|error| panic!("{query_in_order}\n{error}"));
            let schema = answer.schema();
            let ours = table(&answer.collect().expect("it runs"), &schema);
            compare(&ours, &datafusion(&readings, &query), aggregates);
        }
    }
}
