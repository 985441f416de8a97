//! What a sensor measures: columns for readings that have arrived.
//!
//! A quantity is a level of the sensor, plus a daily cycle, plus a walk (random knots
//! every 64 and every 8 readings, straight lines between them), plus noise. All of it is
//! plain arithmetic, no function of a mathematical library, so that the bits are the
//! same on every machine.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};

use super::arrivals::{Arrived, Moment, Schedule};
use super::hash::{Chance, Episodes, Sequence, below, signed_unit};
use super::options::{GeneratorOptions, START_MICROS, Theme};
use super::schema;

const DAY_MICROS: i64 = 86_400_000_000;

/// What a theme's sensors are called and how its quantities behave.
#[derive(Debug)]
struct Scene {
    prefix: &'static str,
    districts: &'static [&'static str],
    /// Kind, and its factor on the level.
    kinds: &'static [(&'static str, f64)],
    level: f64,
    /// The daily cycle's share of the level.
    daily: f64,
    walk: f64,
    noise: f64,
    /// The least that a spike adds; at most twice as much.
    spike: f64,
    temp: f64,
    temp_daily: f64,
    humidity: f64,
}

const CITY: Scene = Scene {
    prefix: "air",
    districts: &[
        "centre", "north", "east", "south", "west", "harbour", "airport", "hills",
    ],
    kinds: &[
        ("traffic", 1.5),
        ("background", 1.0),
        ("industrial", 1.8),
        ("park", 0.6),
    ],
    level: 14.0,
    daily: 0.3,
    walk: 4.0,
    noise: 0.8,
    spike: 120.0,
    temp: 12.0,
    temp_daily: 5.0,
    humidity: 65.0,
};

const PLANT: Scene = Scene {
    prefix: "unit",
    districts: &["hall-1", "hall-2", "hall-3", "hall-4"],
    kinds: &[("pump", 1.0), ("motor", 1.3), ("fan", 0.7), ("press", 1.9)],
    level: 3.0,
    daily: 0.15,
    walk: 0.6,
    noise: 0.25,
    spike: 15.0,
    temp: 55.0,
    temp_daily: 4.0,
    humidity: 40.0,
};

/// One sensor's own nature.
#[derive(Debug, Clone, Copy)]
struct Sensor {
    coarse: Sequence,
    fine: Sequence,
    noise: Sequence,
    level: f64,
    temp: f64,
    humidity: f64,
}

/// One text for each sensor, in order, so that those of a run of sensors lie side by
/// side.
#[derive(Debug)]
struct Texts {
    /// `[sensors + 1]`: where each begins.
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Texts {
    fn new(texts: impl Iterator<Item = String>) -> Self {
        let (mut offsets, mut bytes) = (vec![0], Vec::new());
        for text in texts {
            bytes.extend(text.as_bytes());
            offsets.push(bytes.len() as i32);
        }
        Self { offsets, bytes }
    }
}

/// A column of texts in the making.
#[derive(Debug)]
struct TextColumn {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl TextColumn {
    fn new(rows: usize, width: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            offsets,
            bytes: Vec::with_capacity(rows * width),
        }
    }

    #[inline]
    fn append(&mut self, texts: &Texts, first: usize, count: usize) {
        let begins = &texts.offsets[first..=first + count];
        let shift = self.bytes.len() as i32 - begins[0];
        self.offsets
            .extend(begins[1..].iter().map(|end| end + shift));
        self.bytes
            .extend_from_slice(&texts.bytes[begins[0] as usize..begins[count] as usize]);
    }

    fn finish(self) -> StringArray {
        StringArray::new(
            OffsetBuffer::new(self.offsets.into()),
            self.bytes.into(),
            None,
        )
    }
}

/// What is wrong with a reading, in the order of [`LABELS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Normal,
    Spike,
    Stuck,
    Null,
    Duplicate,
}

const LABELS: [&str; 5] = ["normal", "spike", "stuck", "null", "duplicate"];

/// The columns of any reading.
#[derive(Debug)]
pub(super) struct Readings {
    scene: &'static Scene,
    schedule: Schedule,
    start: i64,
    /// The time of day of `start`, in microseconds.
    start_of_day: u64,
    sensors: Vec<Sensor>,
    names: Texts,
    districts: Texts,
    kinds: Texts,
    labels: Texts,
    /// `batch_rows` times `normal`.
    normal: StringArray,
    spikes: Chance,
    heights: Sequence,
    stuck: Episodes,
    nulls: Chance,
}

impl Readings {
    pub(super) fn new(options: &GeneratorOptions) -> Self {
        let seed = options.seed;
        let start = options.start.unwrap_or(START_MICROS);
        let scene = match options.theme {
            Theme::City => &CITY,
            Theme::Plant => &PLANT,
        };
        let natures = Sequence::new(seed, 10);
        let (coarse, fine) = (Sequence::new(seed, 11), Sequence::new(seed, 12));
        let noise = Sequence::new(seed, 13);
        let count = options.sensors as usize;
        let digits = (count - 1).to_string().len().max(3);
        let ids = 0..options.sensors as u64;
        let district = |id: u64| {
            let place = below(natures.of(id).at(0), scene.districts.len() as u64);
            scene.districts[place as usize]
        };
        let kind = |id: u64| {
            let place = below(natures.of(id).at(1), scene.kinds.len() as u64);
            scene.kinds[place as usize]
        };
        Self {
            scene,
            schedule: Schedule::new(options),
            start,
            start_of_day: start.rem_euclid(DAY_MICROS) as u64,
            sensors: (ids.clone())
                .map(|id| {
                    let own = natures.of(id);
                    let level = scene.level * kind(id).1;
                    Sensor {
                        coarse: coarse.of(id),
                        fine: fine.of(id),
                        noise: noise.of(id),
                        level: level * (1.0 + 0.2 * signed_unit(own.at(2))),
                        temp: scene.temp + 1.5 * signed_unit(own.at(3)),
                        humidity: scene.humidity + 4.0 * signed_unit(own.at(4)),
                    }
                })
                .collect(),
            names: Texts::new((ids.clone()).map(|id| format!("{}-{id:0digits$}", scene.prefix))),
            districts: Texts::new(ids.clone().map(|id| district(id).to_owned())),
            kinds: Texts::new(ids.map(|id| kind(id).0.to_owned())),
            labels: Texts::new(LABELS.into_iter().map(str::to_owned)),
            normal: std::iter::repeat_n(Some(LABELS[0]), options.batch_rows).collect(),
            spikes: Chance::new(seed, 14, options.spikes),
            heights: Sequence::new(seed, 15),
            stuck: Episodes::new(seed, 16, options.stuck),
            nulls: Chance::new(seed, 17, options.nulls),
        }
    }

    /// The rows of readings, in their order.
    pub(super) fn rows(&self, arrived: &[Arrived]) -> RecordBatch {
        let mut rows = Rows::new(self, arrived.len());
        let sensors = self.sensors.len() as u64;
        let mut at = 0;
        while at < arrived.len() {
            let first = arrived[at];
            let (round, sensor) = (first.ordinal() / sensors, first.ordinal() % sensors);
            let run = arrived[at..]
                .windows(2)
                .take((sensors - sensor - 1) as usize)
                .take_while(|pair| pair[0].is_before(pair[1]))
                .count()
                + 1;
            rows.append(first, round, sensor as usize, run);
            at += run;
        }
        rows.finish(arrived.len())
    }

    /// What a sensor measures, nothing being wrong: value, temperature, humidity.
    #[inline]
    fn measure(&self, sensor: &Sensor, round: u64, day: f64) -> [f64; 3] {
        let scene = self.scene;
        let (slow, wave) = knots(sensor.coarse, round, 6);
        let (quick, ripple) = knots(sensor.fine, round, 3);
        let bits = sensor.noise.at(round);
        // Two humps a day for the value, at 8 and 20 hours, and one for the temperature,
        // at 15 hours, against which the humidity falls.
        let rush = cycle(2.0 * day - 5.0 / 12.0);
        let sun = cycle(day - 0.375);
        let walk = slow + 0.4 * quick;
        let other = wave + 0.4 * ripple;
        let value = sensor.level * (1.0 + scene.daily * rush)
            + scene.walk * walk
            + scene.noise * signed_unit(bits);
        let temp =
            sensor.temp + scene.temp_daily * sun + 1.5 * other + 0.2 * signed_unit(bits >> 21);
        let humidity =
            sensor.humidity - 1.8 * (temp - scene.temp) + 3.0 * walk + signed_unit(bits >> 32);
        [
            hundredths(value.max(0.0)),
            hundredths(temp),
            hundredths(humidity.clamp(2.0, 100.0)),
        ]
    }

    /// The time of day at a moment, in days.
    fn day(&self, moment: Moment) -> f64 {
        let micros = self.start_of_day + moment.micros;
        (micros % DAY_MICROS as u64) as i64 as f64 * (1.0 / DAY_MICROS as f64)
    }
}

/// Two walks at a place: straight lines between random knots `2^log` places apart.
#[inline]
fn knots(sequence: Sequence, place: u64, log: u32) -> (f64, f64) {
    let (a, b) = (sequence.at(place >> log), sequence.at((place >> log) + 1));
    let part = (place & ((1 << log) - 1)) as f64 * (1.0 / f64::from(1_u32 << log));
    let line = |a: f64, b: f64| a + (b - a) * part;
    (
        line(signed_unit(a), signed_unit(b)),
        line(signed_unit(a >> 32), signed_unit(b >> 32)),
    )
}

/// A wave of period 1 between −1 and 1, highest at a quarter: two parabolas, close to a
/// sine. `|x| < 2³⁰`.
#[inline]
fn cycle(x: f64) -> f64 {
    let u = x - nearest_whole(x);
    8.0 * u * (1.0 - 2.0 * u.abs())
}

/// Rounded to two decimals. `|x| < 2³⁰`.
#[inline]
fn hundredths(x: f64) -> f64 {
    nearest_whole(x * 100.0) / 100.0
}

/// The nearest whole number, of two the even one. `|x| < 2⁵¹`.
///
/// Where a sum reaches 2⁵² its fraction has no bits left: two additions round on every
/// machine, where `f64::round` is a call on those without an instruction for it.
#[inline]
fn nearest_whole(x: f64) -> f64 {
    const NO_FRACTION: f64 = 6_755_399_441_055_744.0; // 1.5 · 2⁵²
    (x + NO_FRACTION) - NO_FRACTION
}

/// The columns of a batch in the making.
struct Rows<'a> {
    of: &'a Readings,
    times: Vec<i64>,
    names: TextColumn,
    districts: TextColumn,
    kinds: TextColumn,
    values: Vec<f64>,
    temps: Vec<f64>,
    humidities: Vec<f64>,
    seqs: Vec<i64>,
    /// `None` while nothing is wrong.
    labels: Option<TextColumn>,
    /// The rows without a value, in order.
    nulls: Vec<usize>,
}

impl<'a> Rows<'a> {
    fn new(of: &'a Readings, rows: usize) -> Self {
        let width = |texts: &Texts| texts.bytes.len() / (texts.offsets.len() - 1) + 1;
        Self {
            of,
            times: Vec::with_capacity(rows),
            names: TextColumn::new(rows, width(&of.names)),
            districts: TextColumn::new(rows, width(&of.districts)),
            kinds: TextColumn::new(rows, width(&of.kinds)),
            values: Vec::with_capacity(rows),
            temps: Vec::with_capacity(rows),
            humidities: Vec::with_capacity(rows),
            seqs: Vec::with_capacity(rows),
            labels: None,
            nulls: Vec::new(),
        }
    }

    /// Appends readings of neighbouring sensors, taken one after the other.
    fn append(&mut self, first: Arrived, round: u64, sensor: usize, run: usize) {
        let of = self.of;
        let before = self.times.len();
        self.names.append(&of.names, sensor, run);
        self.districts.append(&of.districts, sensor, run);
        self.kinds.append(&of.kinds, sensor, run);
        self.seqs.resize(before + run, round as i64);
        let mut moment = of.schedule.at(first.ordinal());
        for own in &of.sensors[sensor..sensor + run] {
            let [value, temp, humidity] = of.measure(own, round, of.day(moment));
            self.times.push(of.start.wrapping_add(moment.micros as i64));
            self.values.push(value);
            self.temps.push(temp);
            self.humidities.push(humidity);
            moment = of.schedule.after(moment);
        }
        let can_be_wrong = first.is_copy()
            || !(of.spikes.is_never() && of.stuck.is_never() && of.nulls.is_never());
        if can_be_wrong || self.labels.is_some() {
            for place in 0..run {
                let ordinal = first.ordinal() + place as u64;
                let label = self.disturb(before + place, ordinal, round, sensor + place);
                let label = if first.is_copy() {
                    Label::Duplicate
                } else {
                    label
                };
                self.label(before + place, label);
            }
        }
    }

    /// Does to a reading what is wrong with it.
    fn disturb(&mut self, row: usize, ordinal: u64, round: u64, sensor: usize) -> Label {
        let of = self.of;
        let mut label = Label::Normal;
        // The value of the first reading of an episode is right; those that repeat it
        // are not.
        let stuck_at = of.stuck.start(sensor as u64, round);
        if let Some(start) = stuck_at.filter(|start| *start < round) {
            let moment = of
                .schedule
                .at(start * of.sensors.len() as u64 + sensor as u64);
            self.values[row] = of.measure(&of.sensors[sensor], start, of.day(moment))[0];
            label = Label::Stuck;
        } else if of.spikes.hits(ordinal) {
            let height = 1.5 + 0.5 * signed_unit(of.heights.at(ordinal));
            self.values[row] = hundredths(self.values[row] + of.scene.spike * height);
            label = Label::Spike;
        }
        if of.nulls.hits(ordinal) {
            self.nulls.push(row);
            label = Label::Null;
        }
        label
    }

    fn label(&mut self, row: usize, label: Label) {
        let of = self.of;
        if self.labels.is_none() && label != Label::Normal {
            let mut labels = TextColumn::new(self.times.capacity(), LABELS[0].len() + 1);
            for _ in 0..row {
                labels.append(&of.labels, Label::Normal as usize, 1);
            }
            self.labels = Some(labels);
        }
        if let Some(labels) = &mut self.labels {
            labels.append(&of.labels, label as usize, 1);
        }
    }

    fn finish(self, rows: usize) -> RecordBatch {
        let values = match self.nulls.as_slice() {
            [] => Float64Array::from(self.values),
            nulls => {
                let mut valid = vec![true; rows];
                for row in nulls {
                    valid[*row] = false;
                }
                Float64Array::new(self.values.into(), Some(NullBuffer::from(valid)))
            }
        };
        let labels = match self.labels {
            Some(labels) => labels.finish(),
            None => self.of.normal.slice(0, rows),
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(self.times)),
            Arc::new(self.names.finish()),
            Arc::new(self.districts.finish()),
            Arc::new(self.kinds.finish()),
            Arc::new(values),
            Arc::new(Float64Array::from(self.temps)),
            Arc::new(Float64Array::from(self.humidities)),
            Arc::new(Int64Array::from(self.seqs)),
            Arc::new(labels),
        ];
        RecordBatch::try_new(schema(), columns).expect("columns of the schema, equally long")
    }
}
