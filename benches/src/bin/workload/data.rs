//! The readings: a function of the set and the row's number, the same everywhere.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use windrow_bench::{BATCH_ROWS, FIRST_US, SECOND_US, SENSORS, mixed};

/// Sensors of [`Set::Wide`].
const SENSORS_WIDE: usize = 1_000_000;

/// The exponent of [`Set::Zipf`].
const ZIPF: f64 = 1.1;

/// Of [`Set::Bids`].
const BIDS_PER_ITEM: usize = 20;
const ITEMS_OPEN: usize = 100_000;
const ITEMS_PER_HOT: usize = 100;

/// How late a reading of [`Set::Disorder`] may be without being *late*.
pub const BOUND_US: i64 = 10 * SECOND_US;

/// How far behind the watermark its late readings are at most.
const LATE_US: i64 = 60 * SECOND_US;

/// Readings of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// 1,000 sensors, each as often as the others; 20,000 readings a second.
    Uniform,
    /// As `Uniform`, but few sensors send most of the readings.
    Zipf,
    /// A million sensors and a million readings a second.
    Wide,
    /// 2,000 readings a second, and twice as many as of the others.
    Slow,
    /// As `Uniform`, but one in five arrives up to ten seconds after its time, and one
    /// in a thousand behind the watermark.
    Disorder,
    /// Nexmark's bids, as far as their keys go: of half of them the newest hot item, of
    /// the others any of the last 100,000; a new item every 20 bids.
    Bids,
}

impl Set {
    pub const ALL: [Self; 6] = [
        Self::Uniform,
        Self::Zipf,
        Self::Wide,
        Self::Slow,
        Self::Disorder,
        Self::Bids,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Wide => "wide",
            Self::Slow => "slow",
            Self::Disorder => "disorder",
            Self::Bids => "bids",
        }
    }

    /// How many readings it has where the main workload has `rows`.
    pub fn rows(self, rows: usize) -> usize {
        match self {
            Self::Slow => 2 * rows,
            _ => rows,
        }
    }

    /// Microseconds from one reading to the next.
    fn step_us(self) -> i64 {
        match self {
            Self::Wide => 1,
            Self::Slow => 500,
            _ => 50,
        }
    }
}

/// Readings of a set in order of arrival, made as they are asked for.
#[derive(Debug)]
pub struct Readings {
    set: Set,
    names: Vec<String>,
    /// Of [`Set::Zipf`]: the share of the sensors up to each.
    shares: Vec<f64>,
    /// Of [`Set::Disorder`]: the row's number at each place of arrival.
    arrivals: Vec<u32>,
}

impl Readings {
    pub fn new(set: Set, rows: usize) -> Self {
        let (sensors, digits) = match set {
            Set::Wide => (SENSORS_WIDE, 6),
            Set::Bids => (rows / BIDS_PER_ITEM + 1, 6),
            _ => (SENSORS, 4),
        };
        Self {
            set,
            names: (0..sensors)
                .map(|sensor| format!("sensor-{sensor:0digits$}"))
                .collect(),
            shares: if set == Set::Zipf {
                zipf(sensors)
            } else {
                Vec::new()
            },
            arrivals: if set == Set::Disorder {
                arrivals(rows)
            } else {
                Vec::new()
            },
        }
    }

    /// Those at these places of arrival: `ts`, `sensor`, `pm25`, `temp`.
    pub fn batch(&self, places: std::ops::Range<usize>) -> RecordBatch {
        let rows: Vec<u64> = places.map(|place| self.row(place)).collect();
        let times = rows.iter().map(|&row| self.time(row));
        let names = rows.iter().map(|&row| &self.names[self.sensor(row)]);
        // Three and two decimals, as instruments give them.
        let pm25 = rows
            .iter()
            .map(|&row| (salted(row, 1) % 200_000) as f64 / 1000.0);
        let temp = rows
            .iter()
            .map(|&row| (salted(row, 2) % 4_000) as f64 / 100.0);
        let columns: [(&str, ArrayRef); 4] = [
            (
                "ts",
                Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            ),
            ("sensor", Arc::new(StringArray::from_iter_values(names))),
            ("pm25", Arc::new(Float64Array::from_iter_values(pm25))),
            ("temp", Arc::new(Float64Array::from_iter_values(temp))),
        ];
        RecordBatch::try_from_iter(columns).expect("the columns are of one length")
    }

    /// All of them in batches.
    pub fn batches(&self, rows: usize) -> impl Iterator<Item = RecordBatch> {
        (0..rows)
            .step_by(BATCH_ROWS)
            .map(move |first| self.batch(first..rows.min(first + BATCH_ROWS)))
    }

    fn row(&self, place: usize) -> u64 {
        (self.arrivals.get(place)).map_or(place as u64, |&row| u64::from(row))
    }

    fn time(&self, row: u64) -> i64 {
        let us = row as i64 * self.set.step_us();
        // Sessions are to be the same for engines that know no less than milliseconds.
        let whole = if self.set == Set::Bids { us % 1_000 } else { 0 };
        FIRST_US + us - whole
    }

    fn sensor(&self, row: u64) -> usize {
        let word = salted(row, 0);
        match self.set {
            Set::Zipf => {
                let share = share(word);
                let sensor = self.shares.partition_point(|&upto| upto <= share);
                sensor.min(self.names.len() - 1)
            }
            Set::Bids => {
                let newest = row as usize / BIDS_PER_ITEM;
                match word % 2 {
                    0 => newest - newest % ITEMS_PER_HOT,
                    _ => newest - (word / 2) as usize % ITEMS_OPEN.min(newest + 1),
                }
            }
            _ => (word % self.names.len() as u64) as usize,
        }
    }
}

/// A word that looks random, of a row and of what it is for.
fn salted(row: u64, purpose: u64) -> u64 {
    mixed(row ^ (purpose << 40))
}

/// In `[0, 1)`.
fn share(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

/// The share of the first sensor, of the first two, and so on.
fn zipf(sensors: usize) -> Vec<f64> {
    let weights = (1..=sensors).map(|rank| (rank as f64).powf(-ZIPF));
    let mut sum = 0.0;
    let mut upto: Vec<f64> = weights
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect();
    upto.iter_mut().for_each(|share| *share /= sum);
    upto
}

/// Rows in the order in which they arrive.
fn arrivals(rows: usize) -> Vec<u32> {
    let step_us = Set::Disorder.step_us();
    let delay_us = |row: u64| {
        let (kind, length) = (salted(row, 3) % 1_000, share(salted(row, 4)));
        match kind {
            0 => BOUND_US + (length * LATE_US as f64) as i64,
            1..=200 => (length * BOUND_US as f64) as i64,
            _ => 0,
        }
    };
    let mut order: Vec<(i64, u32)> = (0..rows as u32)
        .map(|row| (i64::from(row) * step_us + delay_us(u64::from(row)), row))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, row)| row).collect()
}
