//! Windows over tables in memory close while those are read; nobody can tell.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampSecondArray};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::Session;

/// Queries whose windows close while a table is read.
const AS_READ: &[&str] = &[
    "SELECT k, window_start, count(*), sum(v), first_value(v ORDER BY ts, v) \
     FROM TUMBLE(t, ts, INTERVAL '10' SECOND) GROUP BY k, window_start, window_end",
    "SELECT k, window_end, min(v), max(v) \
     FROM HOP(t, ts, INTERVAL '5' SECOND, INTERVAL '30' SECOND) GROUP BY k, window_start, window_end",
    "SELECT window_start, window_end, sum(v) \
     FROM CUMULATE(t, ts, INTERVAL '10' SECOND, INTERVAL '1' MINUTE) GROUP BY window_start, window_end",
    "SELECT k, window_start, window_end, count(*) \
     FROM SESSION(t PARTITION BY k, ts, INTERVAL '4' SECOND) GROUP BY k, window_start, window_end",
    "SELECT * FROM TUMBLE((SELECT v + 1 AS w, ts AS at FROM t WHERE v > 3), at, INTERVAL '7' SECOND)",
    "SELECT window_start, max(n) FROM (SELECT k, window_start, count(*) AS n \
     FROM HOP(t, ts, INTERVAL '5' SECOND, INTERVAL '30' SECOND) GROUP BY k, window_start, window_end) \
     GROUP BY window_start",
    // A window over windows.
    "SELECT window_start, sum(n) FROM TUMBLE((SELECT window_time AS at, count(*) AS n \
     FROM TUMBLE(t, ts, INTERVAL '5' SECOND) GROUP BY window_start, window_end, window_time), \
     at, INTERVAL '20' SECOND) GROUP BY window_start, window_end",
    "SELECT count(*) FROM (SELECT k, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '10' SECOND) \
     GROUP BY k, window_start, window_end) WHERE n > 1",
    // Windows that are computed once for two parts.
    "WITH items AS (SELECT k, window_start, count(*) AS n \
     FROM HOP(t, ts, INTERVAL '5' SECOND, INTERVAL '30' SECOND) GROUP BY k, window_start, window_end) \
     SELECT k, window_start, n FROM items \
     JOIN (SELECT window_start AS hot, max(n) AS most FROM items GROUP BY window_start) \
     ON window_start = hot AND n = most ORDER BY window_start, k",
    // One of them takes their results in any order of time: it computes them by itself.
    "WITH items AS (SELECT k, max(other) AS at, count(*) AS n \
     FROM TUMBLE(t, ts, INTERVAL '5' SECOND) GROUP BY k, window_start, window_end) \
     SELECT k, at, n, window_start, total FROM items \
     JOIN (SELECT window_start, sum(n) AS total FROM TUMBLE(items, at, INTERVAL '20' SECOND) \
     GROUP BY window_start, window_end) ON at = window_start ORDER BY k, at, n",
];

/// Queries that take its rows in any order of time.
const AT_THE_END: &[&str] = &[
    "SELECT window_start, sum(n) FROM TUMBLE((SELECT max(other) AS at, count(*) AS n \
     FROM TUMBLE(t, ts, INTERVAL '5' SECOND) GROUP BY window_start, window_end), \
     at, INTERVAL '20' SECOND) GROUP BY window_start, window_end",
    "SELECT window_start, count(*) FROM TUMBLE((SELECT ts, other FROM TUMBLE(t, ts, INTERVAL '5' SECOND)), \
     other, INTERVAL '20' SECOND) GROUP BY window_start, window_end",
    "SELECT window_start, count(*) FROM TUMBLE((SELECT ts, v FROM t UNION ALL SELECT other, v FROM t), \
     ts, INTERVAL '20' SECOND) GROUP BY window_start, window_end",
    "SELECT window_start, sum(s) FROM TUMBLE((SELECT ts, sum(v) OVER (PARTITION BY k ORDER BY ts \
     RANGE INTERVAL '10' SECOND PRECEDING) AS s FROM t), ts, INTERVAL '20' SECOND) GROUP BY window_start, window_end",
];

/// Two times, a key and a value.
type Row = (Option<i64>, i64, u8, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let times = rows.iter().map(|row| row.0);
    let others = rows.iter().map(|row| row.1);
    let keys = rows.iter().map(|row| ["a", "b", "c"][usize::from(row.2)]);
    let values = rows.iter().map(|row| row.3);
    let columns = [
        ("ts", Arc::new(TimestampSecondArray::from_iter(times)) as _),
        (
            "other",
            Arc::new(TimestampSecondArray::from_iter_values(others)) as _,
        ),
        ("k", Arc::new(StringArray::from_iter_values(keys)) as _),
        ("v", Arc::new(Int64Array::from_iter_values(values)) as _),
    ];
    let nullable = columns.map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(nullable).expect("columns of one length")
}

/// What a query gives over a table of these batches, in order.
fn answer(batches: Vec<RecordBatch>, query: &str) -> Vec<String> {
    let session = Session::new().expect("threads start");
    (session.register_table("t", batches[0].schema(), batches)).expect("the name is free");
    let rows = session.sql(query).and_then(|rows| rows.collect());
    let rows = rows.unwrap_or_else(|error| panic!("{query}: {error}"));
    let mut texts = Vec::new();
    for batch in rows {
        for row in 0..batch.num_rows() {
            let values = (batch.columns().iter())
                .map(|column| array_value_to_string(column, row).expect("it can be written"));
            texts.push(values.collect::<Vec<_>>().join(" "));
        }
    }
    texts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A table of one batch has no watermark before its end.
    #[test]
    fn batches_change_nothing(
        mut rows in prop::collection::vec(
            (prop::option::weighted(0.95, 0..120_i64), 0..120_i64, 0..3_u8, 0..9_i64), 1..80),
        disorder in 0..3,
        ends in prop::collection::vec(1..20_usize, 1..8),
    ) {
        match disorder {
            0 => rows.sort(),
            // Each near its place.
            1 => rows.sort_by_key(|row| row.0.map(|time| time / 16)),
            _ => {}
        }
        let mut batches = Vec::new();
        let mut left = rows.as_slice();
        for end in ends.iter().cycle() {
            let (some, more) = left.split_at((*end).min(left.len()));
            batches.push(batch(some));
            left = more;
            if left.is_empty() {
                break;
            }
        }
        for query in [AS_READ, AT_THE_END].concat() {
            let whole = answer(vec![batch(&rows)], query);
            prop_assert_eq!(&whole, &answer(batches.clone(), query), "{}", query);
        }
    }
}

#[test]
fn windows_close_as_a_table_is_read_where_nothing_else_waits() {
    let explained = |query: &str| {
        let table = vec![batch(&[(None, 0, 0, 0)])];
        answer(table, &format!("EXPLAIN {query}")).join("\n")
    };
    for query in AS_READ {
        let plan = explained(query);
        assert!(
            plan.contains("Table: t, windows close as it is read"),
            "{plan}"
        );
    }
    let (once, twice) = (AS_READ[AS_READ.len() - 2], AS_READ[AS_READ.len() - 1]);
    for (query, aggregates) in [(once, 2), (twice, 3)] {
        let plan = explained(query);
        assert!(plan.contains("Common part 1:"), "{plan}");
        assert_eq!(
            plan.matches("WindowAggregate").count(),
            aggregates,
            "{plan}"
        );
    }
    for query in AT_THE_END {
        let plan = explained(query);
        assert!(plan.contains("Table: t"), "{plan}");
        assert!(!plan.contains("as it is read"), "{plan}");
    }
}
