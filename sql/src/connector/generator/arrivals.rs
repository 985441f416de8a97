//! Which reading arrives when.
//!
//! Reading `i` is taken at `t(i) = i / rate` after the start and arrives at
//! `t(i) + delay`, `0 ≤ delay ≤ disorder`. Rows are given in order of arrival, ties in
//! order of ordinal, a copy after its original.
//!
//! Whatever arrives before a reading was taken at most `disorder` after it, so that a
//! watermark with that bound finds nothing late.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::hash::{Chance, Episodes, Sequence, below};
use super::options::GeneratorOptions;

/// A reading that has arrived: its ordinal and whether this is the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrived(u64);

impl Arrived {
    fn new(ordinal: u64, is_copy: bool) -> Self {
        Self(ordinal << 1 | u64::from(is_copy))
    }

    #[inline]
    pub(super) fn ordinal(self) -> u64 {
        self.0 >> 1
    }

    #[inline]
    pub(super) fn is_copy(self) -> bool {
        self.0 & 1 == 1
    }

    /// Whether it is the reading taken just before `next`, both original or both copy.
    #[inline]
    pub(super) fn is_before(self, next: Self) -> bool {
        self.0 + 2 == next.0
    }
}

/// When readings are taken, in microseconds after the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    rate_milli: u64,
    /// `10⁹ / rate_milli`, whole and rest: microseconds from one reading to the next.
    step: u64,
    step_rest: u64,
}

/// A reading's time and what it lacks to the exact one, in `1 / rate_milli` µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) micros: u64,
    rest: u64,
}

impl Schedule {
    pub(super) fn new(options: &GeneratorOptions) -> Self {
        let rate_milli = options.rate_milli();
        Self {
            rate_milli,
            step: 1_000_000_000 / rate_milli,
            step_rest: 1_000_000_000 % rate_milli,
        }
    }

    /// When reading `ordinal` is taken.
    #[inline]
    pub(super) fn at(&self, ordinal: u64) -> Moment {
        match ordinal.checked_mul(1_000_000_000) {
            Some(scaled) => Moment {
                micros: scaled / self.rate_milli,
                rest: scaled % self.rate_milli,
            },
            None => {
                let scaled = u128::from(ordinal) * 1_000_000_000;
                let rate = u128::from(self.rate_milli);
                Moment {
                    micros: (scaled / rate) as u64,
                    rest: (scaled % rate) as u64,
                }
            }
        }
    }

    /// When the reading after one of `moment` is taken.
    #[inline]
    pub(super) fn after(&self, moment: Moment) -> Moment {
        let rest = moment.rest + self.step_rest;
        let carry = u64::from(rest >= self.rate_milli);
        Moment {
            micros: moment.micros + self.step + carry,
            rest: rest - carry * self.rate_milli,
        }
    }
}

/// The most readings that one call decides about, so that it returns even where all of
/// them are lost.
const DECISIONS_MAX: usize = 1 << 20;

/// Readings in order of arrival.
#[derive(Debug)]
pub(super) struct Arrivals {
    schedule: Schedule,
    sensors: u64,
    /// Readings to be taken in all.
    rows: u64,
    disorder: u64,
    lost: Chance,
    delayed: Chance,
    copied: Chance,
    silent: Episodes,
    delays: Sequence,
    copy_delays: Sequence,
    /// The next reading to be taken, and when.
    next: u64,
    next_at: Moment,
    /// What has been taken and not yet arrived: (arrival, reading).
    under_way: BinaryHeap<Reverse<(u64, Arrived)>>,
}

impl Arrivals {
    pub(super) fn new(options: &GeneratorOptions) -> Self {
        let seed = options.seed;
        let schedule = Schedule::new(options);
        let disorder = options.disorder.as_micros() as u64;
        let delay_share = if disorder == 0 {
            0.0
        } else {
            options.delay_share
        };
        Self {
            schedule,
            sensors: u64::from(options.sensors),
            rows: options.rows.unwrap_or(u64::MAX >> 1),
            disorder,
            lost: Chance::new(seed, 1, options.loss),
            delayed: Chance::new(seed, 2, delay_share),
            copied: Chance::new(seed, 3, options.duplicates),
            silent: Episodes::new(seed, 4, options.silent),
            delays: Sequence::new(seed, 5),
            copy_delays: Sequence::new(seed, 6),
            next: 0,
            next_at: schedule.at(0),
            under_way: BinaryHeap::new(),
        }
    }

    /// When the next reading arrives or is decided about; `None` after the last.
    pub(super) fn due(&self) -> Option<u64> {
        let taken = (self.next < self.rows).then_some(self.next_at.micros);
        let arriving = self.under_way.peek().map(|Reverse((at, _))| *at);
        taken.into_iter().chain(arriving).min()
    }

    /// Appends the next `rows_max` arrivals at most, none after `until`. They may be
    /// fewer, even none, where many readings are lost: [`Arrivals::due`] tells the end.
    pub(super) fn take(&mut self, rows_max: usize, until: u64, out: &mut Vec<Arrived>) {
        if self.is_plain() && until == u64::MAX {
            let end = self.rows.min(self.next.saturating_add(rows_max as u64));
            out.extend((self.next..end).map(|ordinal| Arrived::new(ordinal, false)));
            self.next = end;
            self.next_at = self.schedule.at(end);
            return;
        }
        let mut left = rows_max;
        for _ in 0..DECISIONS_MAX.max(rows_max) {
            if left == 0 {
                return;
            }
            let taken = (self.next < self.rows)
                .then(|| (self.next_at.micros, Arrived::new(self.next, false)));
            let arriving = self.under_way.peek().map(|Reverse(first)| *first);
            match (arriving, taken) {
                (Some(first), taken) if taken.is_none_or(|taken| first < taken) => {
                    if first.0 > until {
                        return;
                    }
                    self.under_way.pop();
                    out.push(first.1);
                    left -= 1;
                }
                (_, Some((at, reading))) => {
                    if at > until {
                        return;
                    }
                    if self.send_off(reading, at) {
                        out.push(reading);
                        left -= 1;
                    }
                    self.next += 1;
                    self.next_at = self.schedule.after(self.next_at);
                }
                _ => return,
            }
        }
    }

    /// Whether every reading arrives at once and once.
    fn is_plain(&self) -> bool {
        self.lost.is_never()
            && self.delayed.is_never()
            && self.copied.is_never()
            && self.silent.is_never()
    }

    /// Decides about a reading; gives whether it arrives at once.
    fn send_off(&mut self, reading: Arrived, at: u64) -> bool {
        let ordinal = reading.ordinal();
        if self.lost.hits(ordinal) {
            return false;
        }
        if !self.silent.is_never() {
            let (round, sensor) = (ordinal / self.sensors, ordinal % self.sensors);
            if self.silent.start(sensor, round).is_some() {
                return false;
            }
        }
        let mut delay = 0;
        if self.delayed.hits(ordinal) {
            delay = 1 + below(self.delays.at(ordinal), self.disorder);
            self.under_way.push(Reverse((at + delay, reading)));
        }
        if self.copied.hits(ordinal) {
            let more = below(self.copy_delays.at(ordinal), self.disorder - delay + 1);
            let copy = Arrived::new(ordinal, true);
            self.under_way.push(Reverse((at + delay + more, copy)));
        }
        delay == 0
    }
}
