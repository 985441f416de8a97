//! How far a stream's event time has come.
//!
//! ```text
//!  partition 0   max 12:00:07 ─┐
//!  partition 1   max 12:00:05 ─┼─ least ── − bound ──▶ W   (never falls)
//!  partition 2   idle          ┘ (not waited for)
//! ```
//!
//! For row *i*, `W` is the least over the active partitions of (the greatest accepted
//! event time before row *i* − bound). It depends on the rows and their order only,
//! not on how they are cut into batches.
//!
//! Times are ticks; clock readings are nanoseconds and given by the caller.

use std::collections::BTreeMap;

use arrow::buffer::ScalarBuffer;

use crate::error::Result;
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, MIN_TIME, span};

/// The name of those that have ended in a snapshot.
const ENDED: &str = "ended";

/// The watermark of one stream.
#[derive(Debug)]
pub(super) struct WatermarkTracker {
    /// The bound on disorder, in ticks.
    bound: i64,
    partitions: BTreeMap<u32, Partition>,
    /// What those that have ended gave: a stream that all have left is as idle as one in
    /// which all are silent.
    ended: Option<Partition>,
    /// The watermark in force.
    current: i64,
}

#[derive(Debug)]
struct Partition {
    /// The greatest accepted event time; [`MIN_TIME`] before the first row.
    max: i64,
    idle: bool,
    /// When it last gave rows, in nanoseconds of the caller's clock.
    heard_at: i64,
}

impl Partition {
    fn new(now: i64) -> Self {
        Self {
            max: MIN_TIME,
            idle: false,
            heard_at: now,
        }
    }
}

fn minus(time: i64, bound: i64) -> i64 {
    if time == MIN_TIME {
        MIN_TIME
    } else {
        time.saturating_sub(bound)
    }
}

/// The greatest of `times` and `start`, and whether a row lies before the watermark that
/// was in force when it came. `in_force` gives that of the greatest time before a row; it
/// never falls, and lies `bound` behind at least.
fn look_back(times: &[i64], start: i64, bound: i64, in_force: impl Fn(i64) -> i64) -> (i64, bool) {
    // Most blocks are told by their bounds, without a step from row to row.
    const BLOCK_ROWS: usize = 512;
    let (mut max, mut any_behind) = (start, false);
    for block in times.chunks(BLOCK_ROWS) {
        let (least, greatest) = span(block);
        let is_open = |least: i64, max: i64| least >= in_force(max);
        if !is_open(least, max.max(greatest)) {
            // In order, no row lies before the one that came before it.
            let is_told = bound >= 0 && is_open(least, max) && block.is_sorted();
            if !is_told {
                let mut max = max;
                for &time in block {
                    any_behind |= time < in_force(max);
                    max = max.max(time);
                }
            }
        }
        max = max.max(greatest);
    }
    (max, any_behind)
}

impl WatermarkTracker {
    pub(super) fn new(bound: i64, partitions: u32, now: i64) -> Self {
        Self {
            bound,
            partitions: (0..partitions).map(|p| (p, Partition::new(now))).collect(),
            ended: None,
            current: MIN_TIME,
        }
    }

    pub(super) fn current(&self) -> i64 {
        self.current
    }

    /// As [`WatermarkTracker::advance_telling`], if any row lies behind.
    #[cfg(test)]
    fn advance(&mut self, partition: u32, times: &[i64], now: i64) -> Option<ScalarBuffer<i64>> {
        self.advance_telling(partition, times, now, false)
    }

    /// Takes accepted rows of a partition in order of arrival. Gives the watermark in
    /// force at each row if any of them lies behind its own, or if `always`.
    pub(super) fn advance_telling(
        &mut self,
        partition: u32,
        times: &[i64],
        now: i64,
        always: bool,
    ) -> Option<ScalarBuffer<i64>> {
        let others = (self.partitions.iter())
            .filter(|(other, state)| **other != partition && !state.idle)
            .map(|(_, state)| minus(state.max, self.bound))
            .min()
            .unwrap_or(MAX_TIME);
        let bound = self.bound;
        let before = self.current;
        let in_force = |max: i64| before.max(others.min(minus(max, bound)));

        let state = (self.partitions.entry(partition)).or_insert_with(|| Partition::new(now));
        state.idle = false;
        state.heard_at = now;
        let start = state.max;
        let (greatest, any_behind) = look_back(times, start, bound, in_force);
        state.max = greatest;
        self.current = in_force(greatest);
        if !any_behind && !always {
            return None;
        }
        let mut max = start;
        let watermarks = times.iter().map(|&time| {
            let watermark = in_force(max);
            max = max.max(time);
            watermark
        });
        Some(watermarks.collect())
    }

    /// Says that a partition has ended: it is no longer waited for.
    pub(super) fn end_partition(&mut self, partition: u32) {
        let Some(state) = self.partitions.remove(&partition) else {
            return;
        };
        let ended = self.ended.get_or_insert(Partition::new(state.heard_at));
        ended.max = ended.max.max(state.max);
        ended.heard_at = ended.heard_at.max(state.heard_at);
        ended.idle = false;
        self.refresh();
    }

    /// Says by hand that rows before `time` are no longer waited for.
    pub(super) fn force(&mut self, time: i64) {
        self.current = self.current.max(time);
    }

    /// Lets the clock tell which partitions are idle, and move a wholly idle stream
    /// on.
    pub(super) fn tick(&mut self, now: i64, idle_timeout_ns: i64, nanos_per_tick: i64) {
        if idle_timeout_ns <= 0 {
            return;
        }
        for state in self.partitions.values_mut().chain(&mut self.ended) {
            state.idle |= now.saturating_sub(state.heard_at) >= idle_timeout_ns;
        }
        if self.partitions.values().any(|state| !state.idle) {
            self.refresh();
        } else if self.ended.as_ref().is_none_or(|ended| ended.idle) {
            let all = || self.partitions.values().chain(&self.ended);
            let max = all().map(|state| state.max).max();
            let heard = all().map(|state| state.heard_at).max();
            if let (Some(max), Some(heard)) = (max, heard)
                && max != MIN_TIME
            {
                let idle = now.saturating_sub(heard) / nanos_per_tick;
                self.force(minus(max.saturating_add(idle), self.bound));
            }
        }
    }

    /// Takes the least of the active partitions into account.
    fn refresh(&mut self) {
        let least = (self.partitions.values())
            .filter(|state| !state.idle)
            .map(|state| minus(state.max, self.bound))
            .min();
        if let Some(least) = least {
            self.force(least);
        }
    }

    pub(super) fn save(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.numbers.insert("current".into(), self.current);
        let partitions = (self.partitions.iter())
            .map(|(partition, state)| (partition.to_string(), state))
            .chain(self.ended.iter().map(|state| (ENDED.to_string(), state)));
        for (name, state) in partitions {
            let numbers = BTreeMap::from([
                ("max".to_string(), state.max),
                ("idle".to_string(), i64::from(state.idle)),
            ]);
            let part = Snapshot {
                numbers,
                ..Snapshot::default()
            };
            snapshot.parts.insert(name, part);
        }
        snapshot
    }

    pub(super) fn load(&mut self, snapshot: &Snapshot, now: i64) -> Result<()> {
        self.current = snapshot.number("current")?;
        self.partitions.clear();
        self.ended = None;
        for (name, part) in &snapshot.parts {
            let state = Partition {
                max: part.number("max")?,
                idle: part.number("idle")? != 0,
                heard_at: now,
            };
            if name == ENDED {
                self.ended = Some(state);
                continue;
            }
            let partition = (name.parse())
                .map_err(|_| crate::Error::Snapshot("a partition has no number".into()))?;
            self.partitions.insert(partition, state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn a_row_at_the_watermark_is_on_time_and_one_before_it_is_behind() {
        let mut tracker = WatermarkTracker::new(5, 1, 0);
        assert_eq!(tracker.advance(0, &[10, 5], 0), None);
        let watermarks = tracker
            .advance(0, &[10, 4, 20, 14], 0)
            .expect("4 and 14 are behind");
        assert_eq!(&watermarks[..], &[5, 5, 5, 15]);
        assert_eq!(tracker.current(), 15);
    }

    #[test]
    fn long_batches_tell_the_same_as_single_rows() {
        let mut seed = 7_u64;
        let mut random = move |range: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((seed >> 33) % range) as i64
        };
        for (bound, disorder, step) in [(0, 1, 3), (0, 2, 3), (40, 30, 2), (40, 60, 2), (-5, 1, 3)]
        {
            let times: Vec<i64> = (0..5_000)
                .map(|row| row / step - random(disorder) * i64::from(row % 700 > 600))
                .collect();
            let mut whole = WatermarkTracker::new(bound, 1, 0);
            whole.advance(0, &[-100], 0);
            let mut single = WatermarkTracker::new(bound, 1, 0);
            single.advance(0, &[-100], 0);
            let all = whole.advance(0, &times, 0);
            let mut any_behind = false;
            for (row, time) in times.iter().enumerate() {
                let before = single.current();
                any_behind |= *time < before;
                if let Some(all) = &all {
                    assert_eq!(all[row], before, "row {row}");
                }
                single.advance(0, &[*time], 0);
            }
            assert_eq!(all.is_some(), any_behind, "{bound} {disorder}");
            assert_eq!(whole.current(), single.current());
        }
    }

    #[test]
    fn the_cut_into_batches_does_not_matter() {
        let times = [3, 9, 1, 12, 12, 2, 30, 24, 25, -4];
        let mut whole = WatermarkTracker::new(4, 1, 0);
        let all = whole.advance(0, &times, 0).expect("some are behind");
        let mut single = WatermarkTracker::new(4, 1, 0);
        for (row, time) in times.iter().enumerate() {
            let before = single.current();
            let one = single.advance(0, &[*time], 0);
            assert_eq!(one.is_some(), *time < before);
            assert_eq!(all[row], before, "row {row}");
        }
        assert_eq!(whole.current(), single.current());
    }

    #[test]
    fn partitions_hold_the_watermark_until_they_give_rows_or_end() {
        let mut tracker = WatermarkTracker::new(0, 3, 0);
        tracker.advance(0, &[100], 0);
        assert_eq!(tracker.current(), MIN_TIME);
        tracker.advance(1, &[50], 0);
        assert_eq!(tracker.current(), MIN_TIME);
        tracker.end_partition(2);
        assert_eq!(tracker.current(), 50);
        tracker.end_partition(1);
        assert_eq!(tracker.current(), 100);
        tracker.end_partition(0);
        assert_eq!(tracker.current(), 100);
    }

    #[test]
    fn an_idle_partition_is_not_waited_for_and_an_idle_stream_follows_the_clock() {
        let mut tracker = WatermarkTracker::new(2, 2, 0);
        tracker.advance(0, &[100], 0);
        tracker.tick(30 * SECOND_NS, 30 * SECOND_NS, SECOND_NS);
        assert_eq!(tracker.current(), 128, "both idle for 30 s: 100 + 30 - 2");
        tracker.advance(1, &[40], 31 * SECOND_NS);
        assert_eq!(tracker.current(), 128, "a watermark never falls");
        tracker.advance(1, &[140], 32 * SECOND_NS);
        assert_eq!(tracker.current(), 138, "partition 0 is idle");
    }

    #[test]
    fn a_stream_that_all_have_left_follows_the_clock() {
        let mut tracker = WatermarkTracker::new(2, 0, 0);
        tracker.tick(60 * SECOND_NS, 30 * SECOND_NS, SECOND_NS);
        assert_eq!(tracker.current(), MIN_TIME, "nobody has come yet");
        tracker.advance(0, &[100], 60 * SECOND_NS);
        tracker.advance(1, &[90], 61 * SECOND_NS);
        tracker.end_partition(0);
        tracker.end_partition(1);
        assert_eq!(
            tracker.current(),
            98,
            "as far as the first one had come alone"
        );
        tracker.tick(90 * SECOND_NS, 30 * SECOND_NS, SECOND_NS);
        assert_eq!(tracker.current(), 98, "29 s");
        let mut restored = WatermarkTracker::new(2, 0, 0);
        (restored.load(&tracker.save(), 61 * SECOND_NS)).expect("it was saved");
        for tracker in [&mut tracker, &mut restored] {
            tracker.tick(91 * SECOND_NS, 30 * SECOND_NS, SECOND_NS);
            assert_eq!(tracker.current(), 128, "idle for 30 s: 100 + 30 - 2");
            tracker.advance(2, &[110], 92 * SECOND_NS);
            tracker.tick(93 * SECOND_NS, 30 * SECOND_NS, SECOND_NS);
            assert_eq!(tracker.current(), 128, "one is there again");
        }
    }

    #[test]
    fn one_who_has_just_left_may_come_back_before_the_clock_moves_on() {
        let mut tracker = WatermarkTracker::new(0, 0, 0);
        tracker.advance(0, &[100], 0);
        tracker.advance(1, &[200], 40 * SECOND_NS);
        tracker.tick(40 * SECOND_NS, 30 * SECOND_NS, SECOND_NS);
        assert_eq!(tracker.current(), 200, "partition 0 is idle");
        tracker.end_partition(1);
        tracker.tick(69 * SECOND_NS, 30 * SECOND_NS, SECOND_NS);
        assert_eq!(tracker.current(), 200, "29 s");
        tracker.tick(70 * SECOND_NS, 30 * SECOND_NS, SECOND_NS);
        assert_eq!(tracker.current(), 230, "all silent for 30 s");
    }

    #[test]
    fn the_extremes_of_time_do_not_overflow() {
        let mut tracker = WatermarkTracker::new(10, 1, 0);
        tracker.advance(0, &[i64::MIN + 3], 0);
        assert_eq!(tracker.current(), i64::MIN);
        tracker.advance(0, &[i64::MAX], 0);
        assert_eq!(tracker.current(), i64::MAX - 10);
    }
}
