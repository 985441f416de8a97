//! What is simulated.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::Utc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::encode::setting::{Settings, unfit, unknown};

/// What the sensors measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    /// Fine dust, temperature and humidity in the districts of a city.
    #[default]
    City,
    /// Vibration, temperature and humidity of machines in the halls of a plant.
    Plant,
}

impl Theme {
    const NAMES: [&'static str; 2] = ["city", "plant"];
}

/// Simulated readings; equal options give equal rows.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorOptions {
    /// Readings that the sensors take; `None` = they never stop. As many rows arrive,
    /// but for loss, silence and duplicates.
    pub rows: Option<u64>,
    /// How many sensors take turns.
    pub sensors: u32,
    /// Readings per second of event time, of all sensors together; rounded to
    /// thousandths.
    pub rate: f64,
    /// The first reading's event time, in microseconds since the epoch. `None` = the
    /// beginning of 2026, or now when paced by the clock.
    pub start: Option<i64>,
    /// Other seeds give other readings.
    pub seed: u64,
    /// The most that a reading is delayed: a watermark of this bound finds none late.
    pub disorder: Duration,
    /// The share of readings that are delayed.
    pub delay_share: f64,
    /// The share of readings that never arrive.
    pub loss: f64,
    /// The share of readings that arrive twice.
    pub duplicates: f64,
    /// The share of readings that are far too high.
    pub spikes: f64,
    /// The share of sensors that give the same value for a while, in every 120
    /// readings of theirs.
    pub stuck: f64,
    /// The share of sensors that give nothing for a while, in every 120 readings of
    /// theirs.
    pub silent: f64,
    /// The share of readings without a value.
    pub nulls: f64,
    /// Whether rows come as the wall clock passes, a second of event time a second.
    pub realtime: bool,
    /// What is measured.
    pub theme: Theme,
    /// Rows in a batch.
    pub batch_rows: usize,
}

/// 2026-01-01T00:00:00Z in microseconds.
pub(super) const START_MICROS: i64 = 1_767_225_600_000_000;

/// The most readings that may be under way at once: 24 bytes each.
const UNDER_WAY_MAX: f64 = 20_000_000.0;

const DISORDER_MAX: Duration = Duration::from_secs(366 * 86_400);

impl Default for GeneratorOptions {
    fn default() -> Self {
        Self {
            rows: Some(1_000_000),
            sensors: 100,
            rate: 1_000.0,
            start: None,
            seed: 42,
            disorder: Duration::ZERO,
            delay_share: 0.2,
            loss: 0.0,
            duplicates: 0.0,
            spikes: 0.0,
            stuck: 0.0,
            silent: 0.0,
            nulls: 0.0,
            realtime: false,
            theme: Theme::City,
            batch_rows: 8_192,
        }
    }
}

impl GeneratorOptions {
    /// The names that [`GeneratorOptions::from_pairs`] knows.
    pub const NAMES: [&'static str; 16] = [
        "rows",
        "sensors",
        "rate",
        "start",
        "seed",
        "disorder",
        "delay_share",
        "loss",
        "duplicates",
        "spikes",
        "stuck",
        "silent",
        "nulls",
        "realtime",
        "theme",
        "batch_rows",
    ];

    /// Options by name, and the names that are unknown. `rows` may be `endless`, which
    /// it is by default for `realtime`.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Option`] if a value does not fit; it says what is allowed.
    pub fn from_pairs(pairs: &BTreeMap<String, String>) -> Result<(Self, Vec<String>)> {
        let mut settings = Settings::new(pairs);
        let mut options = Self::default();
        if let Some(realtime) = settings.flag("realtime")? {
            options.realtime = realtime;
        }
        let rows = "a whole number of at least 0, or endless";
        match settings.parse("rows", rows, |text| match text {
            "endless" => Some(None),
            digits => digits.replace('_', "").parse().ok().map(Some),
        })? {
            Some(rows) => options.rows = rows,
            None if options.realtime => options.rows = None,
            None => {}
        }
        if let Some(sensors) = settings.count("sensors", 1..=10_000_000)? {
            options.sensors = sensors as u32;
        }
        let rate = "readings per second, from 0.001 to 1000000000";
        if let Some(rate) = settings.parse("rate", rate, |text| {
            let rate = text.replace('_', "").parse().ok()?;
            (0.001..=1e9).contains(&rate).then_some(rate)
        })? {
            options.rate = rate;
        }
        let start = "a time from 1678 to 2261, such as 2026-01-01T00:00:00Z";
        options.start = settings.parse("start", start, |text| {
            let time = string_to_datetime(&Utc, text).ok()?;
            // Whatever nanoseconds can hold.
            time.timestamp_nanos_opt()?;
            Some(time.timestamp_micros())
        })?;
        if let Some(seed) = settings.count("seed", 0..=u64::MAX)? {
            options.seed = seed;
        }
        if let Some(disorder) = settings.duration("disorder")? {
            options.disorder = disorder;
        }
        for (name, share) in [
            ("delay_share", &mut options.delay_share),
            ("loss", &mut options.loss),
            ("duplicates", &mut options.duplicates),
            ("spikes", &mut options.spikes),
            ("stuck", &mut options.stuck),
            ("silent", &mut options.silent),
            ("nulls", &mut options.nulls),
        ] {
            if let Some(given) = settings.share(name)? {
                *share = given;
            }
        }
        if let Some(word) = settings.text("theme") {
            options.theme = match word.to_lowercase().as_str() {
                "city" => Theme::City,
                "plant" => Theme::Plant,
                _ => return Err(unknown("theme", word, &Theme::NAMES)),
            };
        }
        if let Some(rows) = settings.count("batch_rows", 1..=1 << 20)? {
            options.batch_rows = rows as usize;
        }
        options.validate()?;
        Ok((options, settings.rest()))
    }

    /// Whether the options fit each other.
    pub(super) fn validate(&self) -> Result<()> {
        if self.disorder > DISORDER_MAX {
            return Err(unfit(
                "disorder",
                &format!("{:?}", self.disorder),
                "at most 366 days",
            ));
        }
        let delayed = self.rate * self.disorder.as_secs_f64();
        let under_way = delayed * self.delay_share.max(self.duplicates);
        if under_way > UNDER_WAY_MAX {
            let error = unfit(
                "disorder",
                &format!("{:?}", self.disorder),
                &format!("so short that at most {UNDER_WAY_MAX} readings are under way"),
            );
            return Err(error.help(format!(
                "at this rate {under_way:.0} would be: lower disorder, rate or delay_share"
            )));
        }
        for (name, share) in [
            ("delay_share", self.delay_share),
            ("loss", self.loss),
            ("duplicates", self.duplicates),
            ("spikes", self.spikes),
            ("stuck", self.stuck),
            ("silent", self.silent),
            ("nulls", self.nulls),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(unfit(name, &share.to_string(), "a share from 0 to 1"));
            }
        }
        let first = self.start.unwrap_or(START_MICROS);
        let last = self.rows.unwrap_or(0) as f64 / self.rate * 1e6 + first as f64;
        if self.sensors == 0 || self.batch_rows == 0 || !(0.001..=1e9).contains(&self.rate) {
            return Err(Error::new(
                ErrorKind::Option,
                "sensors, batch_rows and rate must be greater than 0",
            ));
        }
        if last >= i64::MAX as f64 {
            return Err(Error::new(
                ErrorKind::Option,
                "the last reading would lie beyond every calendar",
            )
            .help("lower rows, or raise rate"));
        }
        Ok(())
    }

    /// Thousandths of a reading per second.
    pub(super) fn rate_milli(&self) -> u64 {
        ((self.rate * 1_000.0).round() as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<(GeneratorOptions, Vec<String>)> {
        let pairs = (pairs.iter())
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        GeneratorOptions::from_pairs(&pairs)
    }

    #[test]
    fn options_are_read_by_name() {
        let (options, rest) = from(&[
            ("rows", "endless"),
            ("start", "2026-01-01T01:00:00+01:00"),
            ("disorder", "10 seconds"),
            ("theme", "plant"),
            ("connector", "generator"),
        ])
        .expect("they fit");
        assert_eq!(options.rows, None);
        assert_eq!(options.start, Some(START_MICROS));
        assert_eq!(options.disorder, Duration::from_secs(10));
        assert_eq!(options.theme, Theme::Plant);
        assert_eq!(rest, ["connector"]);
        assert_eq!(from(&[]).expect("defaults").0, GeneratorOptions::default());
        assert_eq!(from(&[("realtime", "true")]).expect("fits").0.rows, None);
    }

    #[test]
    fn errors_name_what_is_allowed() {
        for (name, value, text) in [
            (
                "rows",
                "some",
                "option rows is 'some', but must be a whole number of at least 0, or endless",
            ),
            (
                "sensors",
                "0",
                "option sensors is '0', but must be a whole number from 1 to 10000000",
            ),
            (
                "rate",
                "0",
                "option rate is '0', but must be readings per second, from 0.001 to 1000000000",
            ),
            (
                "start",
                "yesterday",
                "option start is 'yesterday', but must be a time from 1678 to 2261, such as \
                 2026-01-01T00:00:00Z",
            ),
            (
                "theme",
                "citi",
                "unknown theme 'citi'\n   = help: did you mean 'city'? known are city, plant",
            ),
            (
                "disorder",
                "30 days",
                "option disorder is '2592000s', but must be so short that at most 20000000 \
                 readings are under way\n   = help: at this rate 518400000 would be: lower \
                 disorder, rate or delay_share",
            ),
        ] {
            assert_eq!(from(&[(name, value)]).expect_err("unfit").to_string(), text);
        }
    }
}
