//! Row groups that are passed over: that they are not read, and that nothing shows it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tempfile::TempDir;

use super::Session;
use super::columnar_tests::{folder, try_rows};

const UNITS: [TimeUnit; 3] = [
    TimeUnit::Millisecond,
    TimeUnit::Microsecond,
    TimeUnit::Nanosecond,
];

/// A Parquet file with row groups of ten readings at these seconds, `n` from 0 on and `v`
/// from 1 on.
fn parquet(
    folder: &TempDir,
    seconds: &[Option<i64>],
    unit: TimeUnit,
    statistics: EnabledStatistics,
) -> PathBuf {
    let rows = seconds.len() as i64;
    let nanos = seconds
        .iter()
        .map(|second| second.map(|second| second * 1_000_000_000));
    let nanos = nanos.collect::<TimestampNanosecondArray>();
    let time = cast(&nanos, &DataType::Timestamp(unit, None)).expect("a time");
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let v: ArrayRef = Arc::new(Float64Array::from_iter_values(
        (0..rows).map(|n| n as f64 + 1.0),
    ));
    let records = RecordBatch::try_from_iter([("ts", time), ("n", n), ("v", v)]);
    let records = records.expect("columns of one length");
    let path = folder.path().join("readings.parquet");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(10))
        .set_statistics_enabled(statistics);
    let file = File::create(&path).expect("created");
    let mut writer =
        ArrowWriter::try_new(file, records.schema(), Some(properties.build())).expect("a writer");
    writer.write(&records).expect("written");
    writer.close().expect("written");
    path
}

/// Makes these row groups unreadable.
fn spoil(path: &Path, spoilt: impl Fn(usize) -> bool) {
    let file = File::open(path).expect("opens");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let mut file = File::options().write(true).open(path).expect("opens");
    for (place, row_group) in reader.metadata().row_groups().iter().enumerate() {
        for chunk in row_group.columns().iter().filter(|_| spoilt(place)) {
            let (start, len) = chunk.byte_range();
            file.seek(SeekFrom::Start(start)).expect("inside");
            file.write_all(&vec![0xFF; len as usize]).expect("written");
        }
    }
}

fn in_order(rows: i64) -> Vec<Option<i64>> {
    (0..rows).map(Some).collect()
}

/// A stream `s` of a file. A CHECK looks at every row: nothing is passed over.
fn stream(path: &Path, watermark: bool, check: bool) -> String {
    format!(
        "CREATE STREAM s (ts TIMESTAMP, n BIGINT, v DOUBLE{}{})
         WITH (connector = 'file', path = '{}', batch_rows = '4');",
        if check { " CHECK (v > -1)" } else { "" },
        match watermark {
            true => ", WATERMARK FOR ts AS ts - INTERVAL '3' SECOND",
            false => "",
        },
        path.display()
    )
}

fn seconds(query: &str) -> String {
    // 1970-01-01 00:01:20 is second 80.
    query
        .replace("'80'", "TIMESTAMP '1970-01-01 00:01:20'")
        .replace("'79'", "TIMESTAMP '1970-01-01 00:01:19'")
        .replace("'50'", "TIMESTAMP '1970-01-01 00:00:50'")
        .replace("'30'", "TIMESTAMP '1970-01-01 00:00:30'")
}

#[test]
fn row_groups_without_a_row_for_a_query_are_not_read() {
    let folder = folder();
    for unit in UNITS {
        let path = parquet(&folder, &in_order(100), unit, EnabledStatistics::Chunk);
        spoil(&path, |row_group| !(5..8).contains(&row_group));
        let file = path.display();
        // 51 + … + 60, 61 + … + 70, 71 + … + 80
        let windows = format!(
            "SELECT sum(v) FROM TUMBLE('{file}', ts, INTERVAL '10' SECOND)
             WHERE ts >= '50' AND ts < '80' GROUP BY window_start"
        );
        for query in [
            windows,
            format!("SELECT sum(v) FROM '{file}' WHERE ts BETWEEN '50' AND '79'"),
            format!("SELECT sum(v) FROM '{file}' WHERE n >= 50 AND NOT (n > 79)"),
        ] {
            let session = Session::new().expect("threads start");
            let query = seconds(&query);
            let rows =
                try_rows(&session, &query).unwrap_or_else(|error| panic!("{query}: {error}"));
            match rows.len() {
                3 => assert_eq!(rows, ["555.0", "655.0", "755.0"]),
                _ => assert_eq!(rows, ["1965.0"]),
            }
        }
        let session = Session::new().expect("threads start");
        for query in [
            format!("SELECT sum(v) FROM '{file}' WHERE ts >= '50'"),
            format!("SELECT sum(v) FROM '{file}' WHERE ts >= '50' AND ts < '80' OR v = 1"),
            format!("SELECT sum(v) FROM '{file}'"),
        ] {
            try_rows(&session, &seconds(&query)).expect_err("it is spoilt");
        }
    }
}

#[test]
fn all_is_counted_as_if_everything_were_read() {
    let folder = folder();
    // In disorder by up to nine seconds, and two rows without a time.
    let mut times: Vec<Option<i64>> = (0..120_i64).map(|n| Some(n - n * 7 % 10)).collect();
    (times[33], times[64]) = (None, None);
    for (unit, statistics) in UNITS.into_iter().flat_map(|unit| {
        [EnabledStatistics::None, EnabledStatistics::Page].map(|statistics| (unit, statistics))
    }) {
        let path = parquet(&folder, &times, unit, statistics);
        for watermark in [false, true] {
            for condition in [
                "ts >= '50'",
                "ts < '50'",
                "ts >= '50' AND ts < '80' AND v > 0",
                "ts >= '30' AND (ts < '50' OR n > 85)",
                "ts IN ('30', '80')",
                "ts IS NULL OR n BETWEEN 20 AND 40",
            ] {
                let asked = |check: bool| {
                    let session = Session::new().expect("threads start");
                    let view = seconds(&format!(
                        "CREATE MATERIALIZED VIEW sums AS
                         SELECT window_start, sum(v) AS total, count(*) AS rows
                         FROM TUMBLE(s, ts, INTERVAL '5' SECOND)
                         WHERE {condition} GROUP BY window_start;"
                    ));
                    let script = stream(&path, watermark, check) + &view;
                    session.sql(&script).expect("it fits");
                    [
                        "SELECT * FROM sums ORDER BY window_start",
                        "SELECT * FROM late('s')",
                        "SELECT text, position, rule FROM rejected('s')",
                        "SELECT name, received, accepted, rejected, watermark, bytes
                         FROM windrow.streams",
                        "SELECT name, accepted, in_window, filtered, late, emitted
                         FROM windrow.queries",
                    ]
                    .map(|query| try_rows(&session, query).expect("it is read"))
                };
                let (passed, read) = (asked(false), asked(true));
                assert_eq!(passed, read, "{condition} {unit:?} {watermark}");
                assert!(!read[0].is_empty());
            }
        }
    }
}

#[test]
fn a_row_group_is_read_if_any_query_takes_a_row_of_it() {
    let folder = folder();
    let path = parquet(
        &folder,
        &in_order(100),
        TimeUnit::Microsecond,
        EnabledStatistics::Page,
    );
    let session = Session::new().expect("threads start");
    let views = "CREATE MATERIALIZED VIEW a AS SELECT v FROM s WHERE ts >= '80';
                 CREATE MATERIALIZED VIEW b AS SELECT v FROM s WHERE ts < '30';
                 CREATE MATERIALIZED VIEW c AS SELECT v FROM s WHERE n = 55;";
    session
        .sql(&(stream(&path, true, false) + &seconds(views)))
        .expect("it fits");
    // 81 + … + 100, 1 + … + 30, 56
    for (view, sum) in [("a", "1810.0"), ("b", "465.0"), ("c", "56.0")] {
        let rows = try_rows(&session, &format!("SELECT sum(v) FROM {view}"));
        assert_eq!(rows.expect("it is read"), [sum]);
    }
    // A query without a condition takes all.
    let session = Session::new().expect("threads start");
    let all = "CREATE MATERIALIZED VIEW a AS SELECT v FROM s WHERE ts >= '80';
               CREATE MATERIALIZED VIEW b AS SELECT v FROM s;";
    session
        .sql(&(stream(&path, true, false) + &seconds(all)))
        .expect("it fits");
    let rows = try_rows(&session, "SELECT sum(v) FROM b").expect("it is read");
    assert_eq!(rows, ["5050.0"]);
}

#[test]
fn explain_says_what_is_read() {
    let folder = folder();
    let path = parquet(
        &folder,
        &in_order(20),
        TimeUnit::Microsecond,
        EnabledStatistics::Page,
    );
    let session = Session::new().expect("threads start");
    session.sql(&stream(&path, true, false)).expect("it fits");
    let explained = |query: &str| {
        let rows = try_rows(&session, &seconds(&format!("EXPLAIN {query}")));
        rows.expect("it fits").join("\n")
    };
    let text = explained("SELECT v FROM s WHERE ts >= '50'");
    assert!(text.contains("Read s: ts, v\n"), "{text}");
    assert!(
        text.ends_with("Stream: s, parts without such rows passed over"),
        "{text}"
    );
    // A condition that may fail is asked of every row.
    for all in [
        "SELECT v FROM s",
        "SELECT v FROM s WHERE ts >= '50' AND 1 / n > 0",
    ] {
        let text = explained(all);
        assert!(text.ends_with("Stream: s"), "{text}");
    }
}
