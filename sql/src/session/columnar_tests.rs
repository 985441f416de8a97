//! What of a columnar file is read for a query, and that nothing else depends on it.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::util::display::array_value_to_string;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::Session;
use crate::error::Result;

/// The rows of the last statement, as texts.
pub(super) fn try_rows(session: &Session, sql: &str) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for batch in session.sql(sql)?.collect()? {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| {
                array_value_to_string(column, row).expect("every type can be written")
            });
            rows.push(values.collect::<Vec<_>>().join(" "));
        }
    }
    Ok(rows)
}

fn rows(sql: &str) -> Vec<String> {
    let session = Session::new().expect("threads start");
    try_rows(&session, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Readings at these seconds, of `k`, the values `v` and a `note` each.
fn readings(seconds: &[i64]) -> RecordBatch {
    let numbers = 0..seconds.len();
    let time = seconds.iter().map(|second| second * 1_000_000);
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(time));
    let key: ArrayRef = Arc::new(StringArray::from_iter_values(
        numbers.clone().map(|n| format!("k{}", n % 2)),
    ));
    let value: ArrayRef = Arc::new(Float64Array::from_iter_values(
        numbers.clone().map(|n| n as f64 + 1.0),
    ));
    let note: ArrayRef = Arc::new(StringArray::from_iter_values(
        numbers.map(|n| format!("note {}", n + 1)),
    ));
    RecordBatch::try_from_iter([("ts", time), ("k", key), ("v", value), ("note", note)])
        .expect("columns of one length")
}

/// A Parquet file with row groups of ten rows.
fn parquet(folder: &TempDir, records: &RecordBatch) -> PathBuf {
    let path = folder.path().join("readings.parquet");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(10));
    let file = File::create(&path).expect("created");
    let mut writer =
        ArrowWriter::try_new(file, records.schema(), Some(properties.build())).expect("a writer");
    writer.write(records).expect("written");
    writer.close().expect("written");
    path
}

/// Makes a column of a Parquet file unreadable.
fn spoil(path: &Path, column: &str) {
    let file = File::open(path).expect("opens");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let mut file = File::options().write(true).open(path).expect("opens");
    for row_group in reader.metadata().row_groups() {
        for chunk in row_group.columns() {
            if chunk.column_path().string() == column {
                let (start, len) = chunk.byte_range();
                file.seek(SeekFrom::Start(start)).expect("inside");
                file.write_all(&vec![0xFF; len as usize]).expect("written");
            }
        }
    }
}

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A script over the stream `s` of a file, its watermark 5 seconds behind.
fn stream(path: &Path, rest: &str) -> String {
    format!(
        "CREATE STREAM s (ts TIMESTAMP, k TEXT, v DOUBLE CHECK (v <> 25), note TEXT,
         WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
         WITH (connector = 'file', path = '{}', batch_rows = '4');
         {rest}",
        path.display()
    )
}

const SUMS: &str = "CREATE MATERIALIZED VIEW sums AS SELECT window_start, sum(v) AS total
    FROM TUMBLE(s, ts, INTERVAL '10' SECOND) GROUP BY window_start;";

#[test]
fn columns_that_no_query_asks_for_are_not_read() {
    let folder = folder();
    let path = parquet(&folder, &readings(&(0..25).collect::<Vec<_>>()));
    spoil(&path, "note");
    let file = path.display();
    // 1 + … + 10, 11 + … + 20, 21 + … + 25
    let sums = ["55.0", "155.0", "115.0"];
    let query = format!(
        "SELECT sum(v) FROM TUMBLE('{file}', ts, INTERVAL '10' SECOND) GROUP BY window_start"
    );
    assert_eq!(rows(&query), sums);
    assert_eq!(rows(&format!("SELECT sum(v) FROM '{file}'")), ["325.0"]);
    assert_eq!(rows(&format!("SELECT count(*) FROM '{file}'")), ["25"]);
    let keys = format!("SELECT k, v FROM '{file}' WHERE v > 23 ORDER BY v");
    assert_eq!(rows(&keys), ["k1 24.0", "k0 25.0"]);

    let session = Session::new().expect("threads start");
    let error = try_rows(&session, &format!("SELECT note FROM '{file}'"));
    let error = error.expect_err("it is spoilt").to_string();
    assert!(error.contains("cannot be read as Parquet"), "{error}");
}

/// An Arrow file of batches of ten rows, compressed or not.
fn arrow(folder: &TempDir, records: &RecordBatch, compression: Option<CompressionType>) -> PathBuf {
    let path = folder.path().join("readings.arrow");
    let file = File::create(&path).expect("created");
    let options = IpcWriteOptions::default().try_with_compression(compression);
    let options = options.expect("it is built in");
    let mut writer = FileWriter::try_new_with_options(file, &records.schema(), options);
    let writer = writer.as_mut().expect("a writer");
    for start in (0..records.num_rows()).step_by(10) {
        let rows = 10.min(records.num_rows() - start);
        writer.write(&records.slice(start, rows)).expect("written");
    }
    writer.finish().expect("written");
    path
}

#[test]
fn columns_of_arrow_that_no_query_asks_for_are_not_read() {
    let folder = folder();
    let seconds: Vec<i64> = (0..25).collect();
    let path = arrow(&folder, &readings(&seconds), None);
    // No text any more.
    let mut bytes = fs::read(&path).expect("reads");
    for place in 0..bytes.len() - 4 {
        if &bytes[place..place + 4] == b"note" && bytes[place + 4] == b' ' {
            bytes[place] = 0xFF;
        }
    }
    fs::write(&path, bytes).expect("written");
    let file = path.display();
    let keys = format!("SELECT k, v FROM '{file}' WHERE v > 23 ORDER BY v");
    assert_eq!(rows(&keys), ["k1 24.0", "k0 25.0"]);
    assert_eq!(rows(&format!("SELECT count(*) FROM '{file}'")), ["25"]);
    let session = Session::new().expect("threads start");
    let error = try_rows(&session, &format!("SELECT note FROM '{file}'"));
    let error = error.expect_err("it is spoilt").to_string();
    assert!(error.contains("cannot be read as Arrow IPC"), "{error}");
}

#[test]
fn rows_of_arrow_are_kept_whole() {
    let folder = folder();
    let mut seconds: Vec<i64> = (0..40).collect();
    seconds[33] = 9;
    for compression in [None, Some(CompressionType::ZSTD)] {
        let path = arrow(&folder, &readings(&seconds), compression);
        let session = Session::new().expect("threads start");
        session.sql(&stream(&path, SUMS)).expect("it fits");
        let ask = |sql: &str| try_rows(&session, sql).expect("it is read");
        // 1 … 10; 11 … 20; 21 … 30 without 25; 31 … 40 without 34.
        let sums = ["55.0", "155.0", "230.0", "321.0"];
        assert_eq!(ask("SELECT total FROM sums ORDER BY window_start"), sums);
        assert_eq!(ask("SELECT k, v, note FROM late('s')"), ["k1 34.0 note 34"]);
        assert_eq!(
            ask("SELECT text FROM rejected('s')"),
            ["1970-01-01T00:00:24,k0,25.0,note 25"]
        );
    }
}

#[test]
fn queries_that_share_a_reading_get_the_columns_of_each() {
    let folder = folder();
    let path = parquet(&folder, &readings(&(0..25).collect::<Vec<_>>()));
    let notes = "CREATE MATERIALIZED VIEW notes AS SELECT note FROM s WHERE v IN (3, 24);";
    let session = Session::new().expect("threads start");
    for statement in [&*stream(&path, ""), SUMS, notes] {
        session.sql(statement).expect("it fits");
    }
    let ask = |sql: &str| try_rows(&session, sql).expect("it is read");
    assert_eq!(
        ask("SELECT total FROM sums ORDER BY window_start"),
        ["55.0", "155.0", "90.0"]
    );
    assert_eq!(ask("SELECT note FROM notes"), ["note 3", "note 24"]);
    // It comes when all has been read: the file is read again.
    assert_eq!(ask("SELECT k, note FROM s WHERE v = 7"), ["k0 note 7"]);
}

#[test]
fn rows_that_come_late_or_break_a_rule_are_kept_whole() {
    let folder = folder();
    let mut seconds: Vec<i64> = (0..40).collect();
    // Behind the watermark of 7, but on time for its window; late; late.
    (seconds[13], seconds[21], seconds[33]) = (4, 8, 9);
    let path = parquet(&folder, &readings(&seconds));
    let session = Session::new().expect("threads start");
    session.sql(&stream(&path, SUMS)).expect("it fits");
    let ask = |sql: &str| try_rows(&session, sql).expect("it is read");
    // 1 … 10 and 14; 11 … 20 without 14; 21 … 30 without 22 and 25; 31 … 40 without 34.
    let sums = ["69.0", "141.0", "208.0", "321.0"];
    assert_eq!(ask("SELECT total FROM sums ORDER BY window_start"), sums);
    assert_eq!(
        ask("SELECT k, v, note FROM late('s')"),
        ["k1 22.0 note 22", "k1 34.0 note 34"]
    );
    let rejected = ask("SELECT text, position FROM rejected('s')");
    let expected = format!("1970-01-01T00:00:24,k0,25.0,note 25 {}:25", path.display());
    assert_eq!(rejected, [expected]);

    // In order, no row is behind: the rejected one alone is looked at.
    let path = parquet(&folder, &readings(&(0..40).collect::<Vec<_>>()));
    let session = Session::new().expect("threads start");
    session.sql(&stream(&path, SUMS)).expect("it fits");
    let rejected = try_rows(&session, "SELECT text FROM rejected('s')").expect("it is read");
    assert_eq!(rejected, ["1970-01-01T00:00:24,k0,25.0,note 25"]);
}
