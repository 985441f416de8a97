//! A table of ids that is larger than the caches next to the processor.
//!
//! ```text
//!  entry   │ top half of the hash │ id │
//!
//!  rows ─▶ hashes ┈▶ entry of each ─▶ its id ┈▶ key of the id, compared
//! ```
//!
//! What a look-up costs here is waiting for memory. An entry tells by its half of the hash
//! whether it is worth looking at the key that it stands for, so that hardly any other
//! key's is fetched; and each step is done for many rows before the next, which asks for
//! what the next one reads: it is waited for together. As an entry tells its own place,
//! the table grows and shrinks without a look at the keys.
//!
//! Ids are placed by linear probing, at most three in four places are taken, and a removal
//! shifts those behind it back.

use crate::kernel;

/// The id of no key. Greater than every id that is given out.
pub(super) const NO_ID: u32 = u32::MAX;

/// Where no id is. Its id is [`NO_ID`].
const EMPTY: u64 = u64::MAX;

/// Ids by the top halves of hashes.
#[derive(Debug)]
pub(crate) struct FarSlots {
    /// `[power of two]`
    entries: Vec<u64>,
    shift: u32,
}

/// How many places a table of `len` ids has.
fn size_for(len: usize) -> usize {
    (len + len / 3 + 1).next_power_of_two()
}

/// What an entry keeps of a hash.
fn half(hash: u64) -> u64 {
    hash >> u32::BITS << u32::BITS
}

impl FarSlots {
    /// An empty table with places for `len` ids.
    pub(crate) fn new(len: usize) -> Self {
        let size = size_for(len).max(2);
        let mut entries = Vec::with_capacity(size);
        kernel::in_large_pages(&entries);
        entries.resize(size, EMPTY);
        Self {
            entries,
            shift: u64::BITS - size.trailing_zeros(),
        }
    }

    /// Where to look first for the id of a hash, or of the half of it in an entry.
    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        (half(hash) >> self.shift) as usize
    }

    #[inline(always)]
    fn at(&self, place: usize) -> u64 {
        self.entries[place & (self.entries.len() - 1)]
    }

    /// The id of the first entry with this half of a hash that `matches`, or [`NO_ID`].
    pub(crate) fn find(&self, hash: u64, matches: impl Fn(u32) -> bool) -> u32 {
        let mut place = self.home(hash);
        loop {
            let entry = self.at(place);
            let is_alike = half(entry ^ hash) == 0;
            if entry == EMPTY || is_alike && matches(entry as u32) {
                return entry as u32;
            }
            place += 1;
        }
    }

    /// The id of the first entry with this half of a hash, which is most likely its key's;
    /// [`NO_ID`] if there is none.
    #[inline(always)]
    pub(crate) fn find_likely(&self, hash: u64) -> u32 {
        let home = self.home(hash);
        let is_last = |entry: u64| (half(entry ^ hash) == 0) | (entry == EMPTY);
        // Most are in the first two places; in which is a coin toss that the processor
        // cannot foresee.
        let (first, second) = (self.at(home), self.at(home + 1));
        let mut entry = if is_last(first) { first } else { second };
        let mut place = home + 1;
        while !is_last(entry) {
            place += 1;
            entry = self.at(place);
        }
        entry as u32
    }

    /// Asks for the entries that a look-up of a hash begins with.
    #[inline(always)]
    pub(crate) fn fetch(&self, hash: u64) {
        kernel::fetch(&self.entries, self.home(hash));
    }

    /// Makes places for `len` ids.
    pub(crate) fn make_room(&mut self, len: usize) {
        if size_for(len) > self.entries.len() {
            self.resize(len);
        }
    }

    /// Gives memory back if the table is four times as large as `len` ids need.
    pub(crate) fn shrink(&mut self, len: usize) {
        if size_for(len) * 4 <= self.entries.len() {
            self.resize(len);
        }
    }

    fn resize(&mut self, len: usize) {
        let old = std::mem::replace(self, Self::new(len));
        for entry in old.entries.into_iter().filter(|entry| *entry != EMPTY) {
            self.place(entry);
        }
    }

    /// Adds an id that is not in the table, which has a place for it.
    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        self.place(half(hash) | u64::from(id));
    }

    fn place(&mut self, entry: u64) {
        let mask = self.entries.len() - 1;
        let mut place = self.home(entry) & mask;
        while self.entries[place] != EMPTY {
            place = (place + 1) & mask;
        }
        self.entries[place] = entry;
    }

    /// Removes an id that is in the table.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let mask = self.entries.len() - 1;
        let entry = half(hash) | u64::from(id);
        let mut hole = self.home(entry) & mask;
        while self.entries[hole] != entry {
            assert!(self.entries[hole] != EMPTY, "the id is in the table");
            hole = (hole + 1) & mask;
        }
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let other = self.entries[place];
            if other == EMPTY {
                break;
            }
            // It may move back into the hole unless its home lies behind the hole.
            let home = self.home(other) & mask;
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.entries[hole] = other;
                hole = place;
            }
        }
        self.entries[hole] = EMPTY;
    }

    /// All ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        let entries = self.entries.iter().filter(|entry| **entry != EMPTY);
        entries.map(|entry| *entry as u32)
    }

    /// Forgets all ids; their places stay.
    pub(crate) fn clear(&mut self) {
        self.entries.fill(EMPTY);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Ids that come and go, some of them with one half of a hash, others with one
        /// home at the table's end, are those of a map.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..40_u32, any::<bool>()), 1..300)) {
            // Ids 0, 8, 16, … have one hash, as far as the table sees.
            let hash = |id: u32| match id % 8 {
                0 => u64::MAX - 7,
                1 => u64::MAX << 40 | u64::from(id) << 33,
                _ => (u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            };
            let mut table = FarSlots::new(0);
            let mut model: HashMap<u32, u64> = HashMap::new();
            for (id, is_new) in steps {
                match (is_new, model.contains_key(&id)) {
                    (true, false) => {
                        table.make_room(model.len() + 1);
                        table.insert(hash(id), id);
                        model.insert(id, hash(id));
                    }
                    (false, true) => {
                        table.remove(hash(id), id);
                        model.remove(&id);
                        table.shrink(model.len());
                    }
                    _ => {}
                }
                prop_assert!(model.len() * 4 <= table.entries.len() * 3);
                prop_assert!(table.entries.len() <= size_for(model.len()) * 4);
                let mut ids: Vec<u32> = table.ids().collect();
                ids.sort_unstable();
                let mut expected: Vec<u32> = model.keys().copied().collect();
                expected.sort_unstable();
                prop_assert_eq!(ids, expected);
                for id in 0..40 {
                    let found = table.find(hash(id), |other| other == id);
                    prop_assert_eq!(found, if model.contains_key(&id) { id } else { NO_ID });
                    let alike = |other: &u32| half(hash(*other)) == half(hash(id));
                    match table.find_likely(hash(id)) {
                        NO_ID => prop_assert!(!model.keys().any(alike)),
                        other => prop_assert!(model.contains_key(&other) && alike(&other)),
                    }
                }
            }
        }
    }
}
