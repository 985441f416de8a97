//! The latest state by key, read while rows come.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;

use super::Session;

const KEYS: i64 = 300;
const BATCHES: i64 = 60;

/// A row of every key, all with the value `number`.
fn readings(number: i64) -> RecordBatch {
    let times = TimestampMicrosecondArray::from(vec![number; KEYS as usize]);
    let columns: [(&str, ArrayRef); 3] = [
        ("ts", Arc::new(times)),
        ("k", Arc::new(Int64Array::from_iter_values(0..KEYS))),
        ("v", Arc::new(Int64Array::from(vec![number; KEYS as usize]))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn session() -> Session {
    let session = Session::new().expect("threads start");
    let script = "CREATE STREAM s (ts TIMESTAMP, k BIGINT, v BIGINT, WATERMARK FOR ts);
         CREATE MATERIALIZED VIEW twin WITH (max_keys = '300') AS
         SELECT k, last_value(v ORDER BY ts) AS v, count(*) AS n FROM s GROUP BY k;";
    (session.sql(script))
        .expect("it fits")
        .collect()
        .expect("done");
    session
}

fn numbers(session: &Session, query: &str) -> Vec<i64> {
    let answer = session.sql(query).expect("it fits").collect();
    let rows = answer.expect("there are rows");
    let row = rows.first().expect("one row");
    let columns = row.columns().iter();
    columns
        .map(|column| column.as_primitive::<Int64Type>().value(0))
        .collect()
}

#[test]
fn a_view_is_read_while_rows_come_and_is_whole_each_time() {
    let session = session();
    let pushing = session.clone();
    let thread = std::thread::spawn(move || {
        for number in 1..=BATCHES {
            pushing.push("s", readings(number)).expect("it takes rows");
        }
    });
    let query = "SELECT count(*), coalesce(min(n), 0), coalesce(max(n), 0), \
                 coalesce(min(v), 0), coalesce(max(v), 0) FROM twin";
    let mut before = 0;
    while before < BATCHES {
        let read = numbers(&session, query);
        let now = read[1];
        assert!(now >= before && now <= BATCHES, "{before}, then {now}");
        let rows = if now == 0 { 0 } else { KEYS };
        assert_eq!(read, [rows, now, now, now, now]);
        before = now;
        if thread.is_finished() && before < BATCHES {
            assert_eq!(numbers(&session, query)[1], BATCHES);
            break;
        }
    }
    thread.join().expect("all rows are in");
    let figures = "SELECT keys, accepted, in_window FROM windrow.queries \
                   WHERE name = 'twin' AND state_bytes > 0";
    let all = KEYS * BATCHES;
    assert_eq!(numbers(&session, figures), [KEYS, all, all]);
    let shown = "SELECT CAST(n AS BIGINT) FROM twin WHERE k = 7";
    assert_eq!(numbers(&session, shown), [BATCHES]);
}

#[test]
fn rows_that_change_are_not_followed() {
    let session = session();
    let told = |error: crate::error::Error| error.to_string();
    let error = session.subscribe("twin").map(|_| ()).map_err(told);
    let error = error.expect_err("rows change");
    assert!(error.contains("the rows of twin change"), "{error}");
}
