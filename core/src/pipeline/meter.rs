//! What a driver measures of a stream by its caller's clock: since when it is read, and how
//! long its results take.
//!
//! ```text
//!  rows are read ─── wait to be taken ───▶ the driver ─── operators ───▶ results are written
//!  └──────────────────────────────── the delay ─────────────────────────────────┘
//! ```
//!
//! A delay is that of a whole batch, noted once for all result rows that it brings out: a
//! row costs nothing. Those of the last minute or two are kept, in bins that are about 1 %
//! wide.

use hdrhistogram::Histogram;

use super::ingress::StreamCounters;

/// Delays are kept for at least so long and at most twice that.
const SPAN_NS: i64 = 60_000_000_000;

/// A longer delay counts as this one.
const DELAY_US_MAX: u64 = 3_600_000_000;

/// What is measured of one stream.
#[derive(Debug)]
pub struct Meter {
    /// When it was first asked for rows or given some, in nanoseconds of the clock.
    pub started: i64,
    /// When its source ended or was stopped.
    pub ended: Option<i64>,
    /// What had been counted when it started.
    pub before: StreamCounters,
    delays: Delays,
}

impl Meter {
    /// Measures from `now` on a stream that has counted `before`.
    pub(super) fn new(now: i64, before: StreamCounters) -> Self {
        Self {
            started: now,
            ended: None,
            before,
            delays: Delays::default(),
        }
    }

    /// Notes that `rows` result rows came out `delay` nanoseconds after what brought them.
    pub(super) fn note(&mut self, now: i64, delay: i64, rows: u64) {
        self.delays.note(now, delay, rows);
    }

    /// The delay in nanoseconds within which the part `quantile` of the last results came
    /// out; `None` if there were none.
    pub fn delay(&self, quantile: f64) -> Option<i64> {
        self.delays.quantile(quantile)
    }
}

/// The delays of the last results, in microseconds.
#[derive(Debug, Default)]
struct Delays {
    recent: Option<(i64, Histogram<u64>)>,
    older: Option<Histogram<u64>>,
}

impl Delays {
    fn note(&mut self, now: i64, delay: i64, rows: u64) {
        let age = self
            .recent
            .as_ref()
            .map(|(since, _)| now.saturating_sub(*since));
        match age {
            // A clock may be set back.
            Some(age) if (0..SPAN_NS).contains(&age) => {}
            Some(age) => {
                let recent = self.recent.take().map(|(_, histogram)| histogram);
                self.older = recent.filter(|_| age < 2 * SPAN_NS);
            }
            None => {}
        }
        let (_, histogram) = self.recent.get_or_insert_with(|| (now, empty()));
        let micros = u64::try_from(delay / 1_000).unwrap_or(0);
        histogram.saturating_record_n(micros, rows);
    }

    fn quantile(&self, quantile: f64) -> Option<i64> {
        let (_, recent) = self.recent.as_ref()?;
        let micros = match &self.older {
            None => recent.value_at_quantile(quantile),
            Some(older) => {
                let mut both = recent.clone();
                both.add(older).expect("both have the same bounds");
                both.value_at_quantile(quantile)
            }
        };
        Some(
            i64::try_from(micros)
                .unwrap_or(i64::MAX)
                .saturating_mul(1_000),
        )
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, DELAY_US_MAX, 2).expect("the bounds are in order")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn ms(meter: &Meter, quantile: f64) -> Option<f64> {
        meter.delay(quantile).map(|delay| delay as f64 / MS as f64)
    }

    fn meter() -> Meter {
        Meter::new(0, StreamCounters::default())
    }

    #[test]
    fn quantiles_are_those_of_result_rows() {
        let mut meter = meter();
        assert_eq!(meter.delay(0.5), None);
        // 98 rows after 1 ms, one after 20 ms, one after 300 ms.
        meter.note(0, MS, 98);
        meter.note(1, 20 * MS, 1);
        meter.note(2, 300 * MS, 1);
        for (quantile, expected) in [(0.5, 1.0), (0.98, 1.0), (0.99, 20.0), (1.0, 300.0)] {
            let found = ms(&meter, quantile).expect("there are some");
            assert!(
                (found / expected - 1.0).abs() < 0.011,
                "{quantile}: {found}"
            );
        }
    }

    #[test]
    fn old_delays_are_forgotten_and_a_clock_may_be_set_back() {
        let mut meter = meter();
        meter.note(0, 500 * MS, 1);
        // Within two spans both are seen, then only the newer one.
        meter.note(SPAN_NS, MS, 1);
        assert!(ms(&meter, 1.0).expect("two") > 490.0);
        meter.note(2 * SPAN_NS, MS, 1);
        assert!(ms(&meter, 1.0).expect("two") < 2.0);
        meter.note(-SPAN_NS, 7 * MS, 1);
        assert!((ms(&meter, 1.0).expect("some") - 7.0).abs() < 0.1);
        // A delay before the arrival is none; one without end is the longest.
        meter.note(-SPAN_NS, -MS, 1);
        meter.note(-SPAN_NS, i64::MAX, 1);
        assert!(ms(&meter, 1.0).expect("some") > 3_500_000.0);
    }
}
