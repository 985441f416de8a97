//! What Windrow holds for each key (W10).

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use serde_json::{Value, json};
use windrow_bench::{BATCH_ROWS, FIRST_US};
use windrow_sql::{Session, SessionConfig};

use crate::Result;
use crate::machine;

/// Puts readings of so many sensors, known by number, into one pane; gives what is held
/// for each.
pub fn of_keys(keys: usize, threads: usize) -> Result<Value> {
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
