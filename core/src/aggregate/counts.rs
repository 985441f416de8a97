//! Counts beyond what a record has room for.
//!
//! A record of 28 bytes counts to 2³² − 1. Before one of them could have to count further,
//! what all have counted is put aside:
//!
//! ```text
//!  count of a slot  =  records[slot].count  +  aside[slot]      aside: empty, almost always
//! ```

use super::numbers::Numbers;

/// What has been put aside, and when that has to be done again.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// `[slots]`, or shorter: the rest is 0.
    aside: Vec<u64>,
    /// At least what any record counts, also once it is merged with others of which no two
    /// have a row in common.
    bound: u64,
}

impl Counts {
    /// What is aside for a slot.
    pub(super) fn of(&self, slot: u32) -> u64 {
        self.aside.get(slot as usize).copied().unwrap_or(0)
    }

    /// Whether anything is.
    pub(super) fn are_there(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Makes room for so many more values.
    #[inline]
    pub(super) fn expect<R: Numbers>(&mut self, records: &mut [R], values: usize) {
        let values = values as u64;
        self.bound = self.bound.saturating_add(values);
        if self.bound > R::COUNT_MAX {
            self.make_room(records, values);
        }
    }

    #[cold]
    fn make_room<R: Numbers>(&mut self, records: &mut [R], values: u64) {
        let counts = records.iter().map(R::count);
        self.bound = counts.fold(values, u64::saturating_add);
        // Not again with the next few rows.
        if self.bound <= R::COUNT_MAX / 2 {
            return;
        }
        self.aside.resize(records.len(), 0);
        for (aside, record) in self.aside.iter_mut().zip(records) {
            *aside += record.take_count();
        }
        self.bound = values;
    }

    /// Takes over a count that was saved, for a slot out of so many; what its record is to
    /// have of it. [`Counts::expect`] is to follow.
    pub(super) fn load<R: Numbers>(&mut self, slots: usize, slot: u32, count: u64) -> u64 {
        self.clear(slot);
        if count > R::COUNT_MAX / 2 {
            self.aside.resize(slots, 0);
            self.aside[slot as usize] = count;
            return 0;
        }
        self.bound = self.bound.saturating_add(count);
        count
    }

    /// Adds what is aside for `from`.
    pub(super) fn merge(&mut self, into: u32, from: u32) {
        let more = self.of(from);
        if let Some(aside) = self.aside.get_mut(into as usize) {
            *aside += more;
        }
    }

    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(aside) = self.aside.get_mut(slot as usize) {
            *aside = 0;
        }
    }

    /// Slots were added.
    pub(super) fn resize(&mut self, slots: usize) {
        if self.are_there() {
            self.aside.resize(slots, 0);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.aside.capacity() * size_of::<u64>()
    }
}
