//! Readings for the benchmarks: the same on every machine and in every run.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

/// Readings in the main workload.
pub const ROWS: usize = 10_000_000;

/// Rows of a batch.
pub const BATCH_ROWS: usize = 64 * 1024;

/// Distinct sensors.
pub const SENSORS: usize = 1_000;

/// Readings in a second of event time.
pub const ROWS_PER_SECOND: usize = 20_000;

/// The first reading, 2025-01-01, in microseconds since the Unix epoch.
pub const FIRST_US: i64 = 1_735_689_600_000_000;

/// Microseconds.
pub const SECOND_US: i64 = 1_000_000;

/// How a sensor is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A string, `sensor-0042`.
    Text,
    /// Its number.
    Number,
    /// A string in a dictionary that all batches share.
    Dictionary,
}

/// Where readings lie in event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// One after the other from 2025 on.
    One,
    /// Batches of 1970 and of 2025 in turn.
    Two,
}

/// Batches of `rows` readings: `ts`, `sensor`, `pm25`, `temp`.
pub fn readings(rows: usize, names: Names, era: Era) -> Vec<RecordBatch> {
    let texts: Vec<String> = (0..SENSORS)
        .map(|sensor| format!("sensor-{sensor:04}"))
        .collect();
    let dictionary: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    let batch = |number: usize| {
        let first = number * BATCH_ROWS;
        let places = first..rows.min(first + BATCH_ROWS);
        let sensors = places
            .clone()
            .map(|row| (mixed(row as u64) % SENSORS as u64) as usize);
        let sensor: ArrayRef = match names {
            Names::Text => Arc::new(StringArray::from_iter_values(
                sensors.map(|sensor| &texts[sensor]),
            )),
            Names::Number => Arc::new(Int64Array::from_iter_values(
                sensors.map(|sensor| sensor as i64),
            )),
            Names::Dictionary => Arc::new(DictionaryArray::new(
                Int32Array::from_iter_values(sensors.map(|sensor| sensor as i32)),
                dictionary.clone(),
            )),
        };
        let (start, before) = match era {
            Era::One => (FIRST_US, 0),
            Era::Two if number.is_multiple_of(2) => (0, number / 2 * BATCH_ROWS),
            Era::Two => (FIRST_US, (number / 2 + 1) * BATCH_ROWS),
        };
        let time = |row: usize| {
            let row = (row - before) as i64;
            start + row * SECOND_US / ROWS_PER_SECOND as i64
        };
        let times = TimestampMicrosecondArray::from_iter_values(places.clone().map(time));
        let value = |salt: u64, scale: f64| -> ArrayRef {
            let share = |row: usize| (mixed(row as u64 ^ salt) >> 11) as f64 / (1_u64 << 53) as f64;
            Arc::new(Float64Array::from_iter_values(
                places.clone().map(|row| share(row) * scale),
            ))
        };
        let columns: [(&str, ArrayRef); 4] = [
            ("ts", Arc::new(times)),
            ("sensor", sensor),
            ("pm25", value(1 << 40, 200.0)),
            ("temp", value(1 << 41, 40.0)),
        ];
        RecordBatch::try_from_iter(columns).expect("the columns are of one length")
    };
    (0..rows.div_ceil(BATCH_ROWS)).map(batch).collect()
}

/// A number that looks random, of a row's place (splitmix64).
pub fn mixed(place: u64) -> u64 {
    let mut word = place.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
