//! What Windrow holds for each key (W10).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use serde_json::{Value, json};
use windrow_bench::{BATCH_ROWS, FIRST_US};
use windrow_core::batch::key::KeyInterner;
use windrow_core::kernel::Record;
use windrow_sql::{Session, SessionConfig};

use crate::Result;
use crate::machine;

/// Puts readings of so many sensors, known by number, into one pane; gives what is held
/// for each: by the keys, whatever panes there are, and by the pane.
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
        let columns: [(&str, ArrayRef); 3] = [
            (
                "ts",
                Arc::new(TimestampMicrosecondArray::from_iter_values(
                    rows.clone().map(|row| FIRST_US + row),
                )),
            ),
            ("sensor", sensors(rows.clone())),
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
    let peak_with_results = machine::resident().1;
    drop(session);
    let key_bytes = of_interner(keys)?;
    let each = |bytes: u64| bytes as f64 / keys as f64;
    let resident = held.saturating_sub(before);
    Ok(json!({
        "engine": "windrow",
        "workload": "W10",
        "threads": threads,
        "keys": keys,
        "state_bytes": state_bytes,
        "state_bytes_per_key": each(state_bytes),
        "key_bytes_per_key": each(key_bytes),
        "pane_bytes_per_key": each(state_bytes.saturating_sub(key_bytes)),
        "record_bytes": size_of::<Record>(),
        "record_bytes_of_real": size_of::<Record<i32>>(),
        "rss_bytes_per_key": each(resident),
        "rss_bytes_max": peak,
        "rss_per_state": peak.saturating_sub(before) as f64 / state_bytes as f64,
        "rss_bytes_max_with_results": peak_with_results,
    }))
}

/// Numbers of sensors, spread over 64 bits, so that no table by number will do.
fn sensors(rows: Range<i64>) -> ArrayRef {
    let numbers = rows.map(|row| windrow_bench::mixed(row as u64) as i64);
    Arc::new(Int64Array::from_iter_values(numbers))
}

/// What the same keys take that have ids and no state.
fn of_interner(keys: usize) -> Result<u64> {
    let mut interner = KeyInterner::new(&[DataType::Int64])?;
    let mut ids = Vec::new();
    for first in (0..keys).step_by(BATCH_ROWS) {
        let rows = (first as i64)..(keys.min(first + BATCH_ROWS) as i64);
        let column = sensors(rows);
        let rows = column.len();
        interner.intern(&[column], rows, &mut ids)?;
    }
    Ok(interner.state_bytes() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_panes_are_told_apart() {
        let line = of_keys(50_000, 1).expect("it runs");
        let each = |name: &str| line[name].as_f64().expect("a number");
        // A key has its number, eight bytes, and half of a table's slots of four at most
        // are in use; a pane has a record of a count, a sum, a least and a greatest.
        assert!(each("key_bytes_per_key") >= 16.0, "{line}");
        assert!(each("pane_bytes_per_key") > 28.0, "{line}");
        assert!(each("pane_bytes_per_key") <= 3.0 * 28.0, "{line}");
        let both = each("key_bytes_per_key") + each("pane_bytes_per_key");
        assert!((each("state_bytes_per_key") - both).abs() < 1e-6, "{line}");
    }
}
