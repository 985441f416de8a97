//! Windrow in a program: push readings, follow the windows.
//!
//! ```sh
//! cargo run -p windrow-sql --example embed
//! ```

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::pretty::print_batches;
use windrow_sql::{Result, Session};

fn main() -> Result<()> {
    let session = Session::new()?;
    session.sql(
        "CREATE STREAM readings (
           ts TIMESTAMP, sensor TEXT, value DOUBLE,
           WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
         );
         CREATE MATERIALIZED VIEW per_ten_seconds AS
         SELECT sensor, window_start, avg(value) AS mean, count(*) AS n
         FROM TUMBLE(readings, ts, INTERVAL '10' SECOND)
         GROUP BY sensor, window_start",
    )?;
    let mut windows = session.subscribe("per_ten_seconds")?;

    let start = 1_767_225_600; // 2026-01-01
    for minute in 0..3 {
        let seconds: Vec<i64> = (0..60).map(|second| start + minute * 60 + second).collect();
        let columns = RecordBatch::try_from_iter([
            (
                "ts",
                Arc::new(TimestampMicrosecondArray::from_iter_values(
                    seconds.iter().map(|second| second * 1_000_000),
                )) as _,
            ),
            (
                "sensor",
                Arc::new(StringArray::from_iter_values(
                    seconds
                        .iter()
                        .map(|second| if second % 2 == 0 { "north" } else { "south" }),
                )) as _,
            ),
            (
                "value",
                Arc::new(Float64Array::from_iter_values(
                    seconds.iter().map(|second| (second % 60) as f64),
                )) as _,
            ),
        ]);
        let readings = columns.expect("three columns of sixty rows");
        let report = session.push("readings", readings)?;
        println!(
            "accepted {}, late {}, rejected {}",
            report.accepted, report.late, report.rejected
        );
        while let Some(rows) = windows.poll() {
            print_batches(&[rows]).expect("rows can be printed");
        }
    }
    // The last window is open until the stream ends.
    session.sql("ALTER STREAM readings END")?;
    while let Some(rows) = windows.poll() {
        print_batches(&[rows]).expect("rows can be printed");
    }
    Ok(())
}
