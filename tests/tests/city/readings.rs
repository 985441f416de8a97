//! Readings of a city, and what is true of them, by plain loops.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};

pub const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// A reading is due so often of each sensor, as `expect_every` says.
const EVERY: i64 = SECOND / 2;

/// Midnight, 1 January 2026: the first reading of a generator that is not paced.
pub const START: i64 = 1_767_225_600 * SECOND;

/// What is above is an alert.
const ALERT: f64 = 100.0;

#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub sensor: String,
    pub ts: i64,
    pub seq: i64,
    pub district: String,
    pub value: Option<f64>,
    pub humidity: Option<f64>,
    /// What is wrong with it; empty: nobody knows.
    pub label: String,
}

impl Reading {
    /// One that the test sends itself, `at` so long after the start.
    pub fn own(sensor: &str, seq: i64, at: i64, value: f64) -> Self {
        Self {
            sensor: sensor.into(),
            ts: START + at,
            seq,
            district: "centre".into(),
            value: Some(value),
            humidity: None,
            label: "normal".into(),
        }
    }

    /// As a line of NDJSON.
    pub fn line(&self) -> String {
        let micros = self.ts - START;
        let (minute, rest) = (micros / MINUTE, micros % MINUTE);
        let label = match self.label.as_str() {
            "" => String::new(),
            label => format!(",\"label\":\"{label}\""),
        };
        format!(
            "{{\"ts\":\"2026-01-01T00:{minute:02}:{:02}.{:06}Z\",\"sensor\":\"{}\",\"district\":\"{}\",\
             \"value\":{},\"seq\":{}{label}}}\n",
            rest / SECOND,
            rest % SECOND,
            self.sensor,
            self.district,
            self.value.expect("own readings have one"),
            self.seq,
        )
    }

    pub fn id(&self) -> String {
        format!("{}/{}", self.sensor, self.seq)
    }

    pub fn is_alert(&self) -> bool {
        self.value.is_some_and(|value| value > ALERT)
    }
}

/// The readings of batches with the columns of the generator.
pub fn readings(batches: impl IntoIterator<Item = RecordBatch>) -> Vec<Reading> {
    let mut readings = Vec::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).expect("a column");
        let text = |name: &str, row: usize| column(name).as_string::<i32>().value(row).to_owned();
        let float = |name: &str, row: usize| {
            let floats = column(name).as_primitive::<Float64Type>();
            floats.is_valid(row).then(|| floats.value(row))
        };
        for row in 0..batch.num_rows() {
            readings.push(Reading {
                sensor: text("sensor", row),
                ts: (column("ts").as_primitive::<TimestampMicrosecondType>()).value(row),
                seq: column("seq").as_primitive::<Int64Type>().value(row),
                district: text("district", row),
                value: float("value", row),
                humidity: float("humidity", row),
                label: text("label", row),
            });
        }
    }
    readings
}

pub fn sorted(mut readings: Vec<Reading>) -> Vec<Reading> {
    readings.sort_by(|a, b| (&a.sensor, a.ts, a.seq).cmp(&(&b.sensor, b.ts, b.seq)));
    readings
}

/// Each sensor's readings, in the order of their times.
pub fn by_sensor(readings: &[Reading]) -> BTreeMap<String, Vec<Reading>> {
    let mut by_sensor: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
    for reading in sorted(readings.to_vec()) {
        let own = by_sensor.entry(reading.sensor.clone()).or_default();
        own.push(reading);
    }
    by_sensor
}

pub fn last_time(readings: &[Reading]) -> i64 {
    (readings.iter().map(|reading| reading.ts).max()).expect("there are some")
}

/// One is due of each sensor every half second, from its first to the last of the door.
pub fn due(door: &[Reading]) -> i64 {
    let last = last_time(door);
    let of_sensor = |own: &Vec<Reading>| (last - own[0].ts) / EVERY + 1;
    by_sensor(door).values().map(of_sensor).sum()
}

/// How many readings of each label there are, where there is one, and how many the analysis identifies rightly.
pub fn identified(readings: &[Reading]) -> BTreeMap<String, (i64, i64)> {
    let mut counts = BTreeMap::new();
    for own in by_sensor(readings).values() {
        for (place, reading) in own.iter().enumerate() {
            if reading.label.is_empty() {
                continue;
            }
            let frame = |rows: usize| -> Vec<f64> {
                let first = (place + 1).saturating_sub(rows);
                let frame = own[first..=place].iter();
                frame.filter_map(|reading| reading.value).collect()
            };
            let is_wrong = match reading.value {
                None => true,
                Some(value) => is_far(value, &frame(20)) || is_held(&frame(4)),
            };
            let counts: &mut (i64, i64) = counts.entry(reading.label.clone()).or_default();
            counts.0 += 1;
            counts.1 += i64::from(is_wrong == (reading.label != "normal"));
        }
    }
    counts
}

/// Whether a value is more than three standard deviations off the mean.
fn is_far(value: f64, frame: &[f64]) -> bool {
    let count = frame.len() as f64;
    let mean = frame.iter().sum::<f64>() / count;
    let squares: f64 = frame.iter().map(|value| (value - mean).powi(2)).sum();
    frame.len() > 1 && (value - mean).abs() > 3.0 * (squares / (count - 1.0)).sqrt()
}

/// Whether four values are one.
fn is_held(frame: &[f64]) -> bool {
    frame.len() == 4 && frame.iter().all(|value| *value == frame[0])
}

/// What a sensor has measured in a minute.
#[derive(Debug)]
pub struct Minute {
    pub mean: f64,
    pub peak: f64,
    /// Readings, with those that have no value.
    pub count: i64,
    /// What the line of least squares gains in a minute.
    pub trend: Option<f64>,
    /// Pearson's coefficient of value and humidity.
    pub with_humidity: Option<f64>,
}

impl Minute {
    fn new(readings: &[&Reading]) -> Self {
        let known = readings.iter().filter_map(|reading| reading.value);
        let known: Vec<f64> = known.collect();
        // Minutes since the first of all, so that little is lost to rounding.
        let time = |reading: &Reading| (reading.ts - START) as f64 / MINUTE as f64;
        let over_time = (readings.iter())
            .filter_map(|reading| Some((time(reading), reading.value?)))
            .collect();
        let over_humidity = (readings.iter())
            .filter_map(|reading| Some((reading.humidity?, reading.value?)))
            .collect();
        let (time, humidity) = (moments(over_time), moments(over_humidity));
        Self {
            mean: known.iter().sum::<f64>() / known.len() as f64,
            peak: known.iter().copied().fold(f64::MIN, f64::max),
            count: readings.len() as i64,
            trend: time.map(|[xx, xy, _]| xy / xx),
            with_humidity: humidity.map(|[xx, xy, yy]| xy / (xx * yy).sqrt()),
        }
    }
}

/// Sxx, Sxy and Syy of points (x, y), of which there are two at least.
fn moments(points: Vec<(f64, f64)>) -> Option<[f64; 3]> {
    let count = points.len() as f64;
    let x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let mut sums = [0.0; 3];
    for point in &points {
        let (x, y) = (point.0 - x, point.1 - y);
        sums = [sums[0] + x * x, sums[1] + x * y, sums[2] + y * y];
    }
    (points.len() > 1).then_some(sums)
}

/// Each sensor's minutes before `end`, by number.
pub fn minutes(readings: &[Reading], end: i64) -> BTreeMap<(String, i64), Minute> {
    let mut minutes: BTreeMap<(String, i64), Vec<&Reading>> = BTreeMap::new();
    for reading in readings {
        let minute = (reading.ts - START).div_euclid(MINUTE);
        if START + (minute + 1) * MINUTE <= end {
            let key = (reading.sensor.clone(), minute);
            minutes.entry(key).or_default().push(reading);
        }
    }
    let minutes = minutes.into_iter();
    minutes
        .map(|(key, readings)| (key, Minute::new(&readings)))
        .collect()
}
