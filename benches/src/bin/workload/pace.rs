//! When readings arrive, which of them closes a window, and what most windows waited.
//!
//! ```text
//!  scheduled   r0 r1 r2 … r8191 │ r8192 …              evenly, whatever the engine does
//!  pushed                       └─▶ batch: when its last reading has arrived, or later
//!  window                  rN ──────────────▶ result   its latency, from rN's schedule on
//! ```

use std::time::Duration;

use windrow_bench::{FIRST_US, ROWS_PER_SECOND, SECOND_US};

/// Microseconds of event time from one reading to the next.
pub const STEP_US: i64 = SECOND_US / ROWS_PER_SECOND as i64;

/// Readings at a constant rate.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pub rows_per_second: f64,
}

impl Schedule {
    /// When a reading arrives, from the first on.
    pub fn at(self, row: u64) -> Duration {
        Duration::from_secs_f64(row as f64 / self.rows_per_second)
    }
}

/// The event time of a reading.
pub fn time_us(row: u64) -> i64 {
    FIRST_US + row as i64 * STEP_US
}

/// The first reading that is `bound_us` or more past the end of a window: with it the
/// watermark reaches the end.
pub fn closing_row(window_end_us: i64, bound_us: i64) -> u64 {
    let behind = (window_end_us + bound_us - FIRST_US).max(0) as u64;
    behind.div_ceil(STEP_US as u64)
}

/// How many windows, one a second from the first reading on, have closed after so many
/// readings.
pub fn windows_closed(rows: u64, bound_us: i64) -> u64 {
    let last = rows.saturating_sub(1) as i64 * STEP_US - bound_us;
    (last / SECOND_US).max(0) as u64
}

/// The least of sorted samples that a share of them do not exceed; of none, nothing.
pub fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[rank.saturating_sub(1).min(last)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_arrive_evenly() {
        let schedule = Schedule {
            rows_per_second: 50e6,
        };
        assert_eq!(schedule.at(0), Duration::ZERO);
        assert_eq!(schedule.at(1), Duration::from_nanos(20));
        assert_eq!(schedule.at(500_000_000), Duration::from_secs(10));
    }

    #[test]
    fn a_window_is_closed_by_the_first_reading_a_bound_past_its_end() {
        // Readings are 50 µs apart.
        assert_eq!(closing_row(FIRST_US, 0), 0);
        assert_eq!(closing_row(FIRST_US + SECOND_US, 0), 20_000);
        assert_eq!(closing_row(FIRST_US + SECOND_US, SECOND_US), 40_000);
        assert_eq!(closing_row(FIRST_US + 99, 0), 2);
        assert_eq!(closing_row(FIRST_US + 100, 0), 2);
        assert_eq!(closing_row(FIRST_US + 101, 0), 3);
        assert_eq!(closing_row(FIRST_US - SECOND_US, 0), 0);
        assert_eq!(time_us(40_000), FIRST_US + 2 * SECOND_US);
    }

    #[test]
    fn windows_close_one_after_the_other() {
        assert_eq!(windows_closed(0, 0), 0);
        assert_eq!(windows_closed(20_000, 0), 0);
        assert_eq!(windows_closed(20_001, 0), 1);
        assert_eq!(windows_closed(40_000, 0), 1);
        assert_eq!(windows_closed(40_000, SECOND_US), 0);
        assert_eq!(windows_closed(40_001, SECOND_US), 1);
        for window in 1..5 {
            let row = closing_row(FIRST_US + window * SECOND_US, 10 * SECOND_US);
            assert_eq!(windows_closed(row, 10 * SECOND_US), window as u64 - 1);
            assert_eq!(windows_closed(row + 1, 10 * SECOND_US), window as u64);
        }
    }

    #[test]
    fn a_percentile_is_a_sample() {
        let [one, two, three, four] = [1, 2, 3, 4].map(Duration::from_millis);
        let sorted = [one, two, three, four];
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[three], 0.0), Some(three));
        assert_eq!(percentile(&[three], 1.0), Some(three));
        assert_eq!(percentile(&sorted, 0.25), Some(one));
        assert_eq!(percentile(&sorted, 0.26), Some(two));
        assert_eq!(percentile(&sorted, 0.5), Some(two));
        assert_eq!(percentile(&sorted, 0.99), Some(four));
        assert_eq!(percentile(&sorted, 1.0), Some(four));
    }
}
