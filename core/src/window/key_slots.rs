//! The slots of one pane: which key has which.
//!
//! A pane is a plain list while it holds a handful of keys, a hash table while it
//! holds a small share of all keys, and a table indexed by key id beyond that: its
//! memory follows the keys that are in it, and a look-up in a full pane is one load.

use hashbrown::HashMap;
use rayon::prelude::*;

/// No slot.
const NONE: u32 = u32::MAX;

/// Up to so many keys are looked up by going through them.
const LISTED_KEYS_MAX: usize = 8;

/// From one key in so many on, a pane is indexed by key id.
const DENSE_SHARE: usize = 8;

/// Rows that are looked up before new keys among them are taken in.
const BLOCK_ROWS: usize = 256;

/// Rows that one thread looks up at a time.
const MORSEL_ROWS: usize = 8 * 1024;

/// From so many rows on, sharing the work costs less than it gains.
const PARALLEL_ROWS_MIN: usize = 16 * 1024;

/// A map from key ids to slots that remembers the order of insertion.
#[derive(Debug, Default)]
pub(crate) struct KeySlots {
    keys: Vec<u32>,
    slots: Vec<u32>,
    index: Index,
}

#[derive(Debug, Default)]
enum Index {
    #[default]
    Listed,
    Hashed(HashMap<u32, u32>),
    Dense(Vec<u32>),
}

impl KeySlots {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys, in order of insertion.
    pub(crate) fn keys(&self) -> &[u32] {
        &self.keys
    }

    /// The slots, in the order of the keys.
    pub(crate) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The slot of a key.
    pub(crate) fn get(&self, key: u32) -> Option<u32> {
        match &self.index {
            Index::Listed => {
                let place = self.keys.iter().position(|&other| other == key)?;
                Some(self.slots[place])
            }
            Index::Hashed(slots) => slots.get(&key).copied(),
            Index::Dense(slots) => {
                let slot = slots.get(key as usize).copied().unwrap_or(NONE);
                (slot != NONE).then_some(slot)
            }
        }
    }

    /// Gives a slot to a key that has none. `bound` is one more than the greatest id.
    pub(crate) fn insert(&mut self, key: u32, slot: u32, bound: usize) {
        debug_assert!(self.get(key).is_none(), "the key has no slot yet");
        self.keys.push(key);
        self.slots.push(slot);
        match &mut self.index {
            Index::Listed if self.keys.len() <= LISTED_KEYS_MAX => return,
            Index::Listed => {
                let pairs = self.keys.iter().copied().zip(self.slots.iter().copied());
                self.index = Index::Hashed(pairs.collect());
            }
            Index::Hashed(slots) => {
                slots.insert(key, slot);
            }
            Index::Dense(slots) => {
                if slots.len() <= key as usize {
                    slots.resize((key as usize + 1).max(bound), NONE);
                }
                slots[key as usize] = slot;
            }
        }
        if matches!(self.index, Index::Hashed(_)) && self.keys.len() * DENSE_SHARE >= bound {
            let mut slots = vec![NONE; bound.max(key as usize + 1)];
            for (&key, &slot) in self.keys.iter().zip(&self.slots) {
                if slots.len() <= key as usize {
                    slots.resize(key as usize + 1, NONE);
                }
                slots[key as usize] = slot;
            }
            self.index = Index::Dense(slots);
        }
    }

    /// The slots of many rows' keys, appended to `slots`; `insert` makes those that
    /// are missing.
    pub(crate) fn find(
        &mut self,
        keys: &[u32],
        bound: usize,
        slots: &mut Vec<u32>,
        mut insert: impl FnMut(u32) -> u32,
    ) {
        let first = slots.len();
        slots.resize(first + keys.len(), NONE);
        let slots = &mut slots[first..];
        let mut take_in = |pane: &mut Self, keys: &[u32], slots: &mut [u32]| {
            for (&key, slot) in keys.iter().zip(slots) {
                if *slot == NONE {
                    *slot = pane.get(key).unwrap_or_else(|| {
                        let slot = insert(key);
                        pane.insert(key, slot, bound);
                        slot
                    });
                }
            }
        };
        if self.in_parallel(keys.len()) {
            let morsels = keys.par_chunks(MORSEL_ROWS);
            let complete: Vec<bool> = (morsels.zip(slots.par_chunks_mut(MORSEL_ROWS)))
                .map(|(keys, slots)| self.look_up(keys, slots))
                .collect();
            let morsels = keys.chunks(MORSEL_ROWS).zip(slots.chunks_mut(MORSEL_ROWS));
            for ((keys, slots), complete) in morsels.zip(complete) {
                if !complete {
                    take_in(self, keys, slots);
                }
            }
        } else {
            let blocks = keys.chunks(BLOCK_ROWS);
            for (keys, slots) in blocks.zip(slots.chunks_mut(BLOCK_ROWS)) {
                if !self.look_up(keys, slots) {
                    take_in(self, keys, slots);
                }
            }
        }
    }

    /// Whether so many rows are looked up by several threads: a pane that is still taking
    /// in keys is not worth it.
    fn in_parallel(&self, rows: usize) -> bool {
        rows >= PARALLEL_ROWS_MIN
            && matches!(self.index, Index::Dense(_))
            && rayon::current_num_threads() > 1
    }

    /// Fills `slots` with those of keys, [`NONE`] where there is none yet; says whether
    /// all are there.
    fn look_up(&self, keys: &[u32], slots: &mut [u32]) -> bool {
        let rows = keys.iter().zip(slots);
        match &self.index {
            Index::Dense(table) => rows.fold(true, |all, (&key, slot)| {
                *slot = table.get(key as usize).copied().unwrap_or(NONE);
                all & (*slot != NONE)
            }),
            Index::Listed if self.keys.len() == 1 => {
                let (known, its) = (self.keys[0], self.slots[0]);
                rows.fold(true, |all, (&key, slot)| {
                    *slot = if key == known { its } else { NONE };
                    all & (key == known)
                })
            }
            _ => rows.fold(true, |all, (&key, slot)| {
                *slot = self.get(key).unwrap_or(NONE);
                all & (*slot != NONE)
            }),
        }
    }

    /// Forgets all keys and gives them back with their slots. The index keeps its
    /// room: the next pane is often as full.
    pub(crate) fn take(&mut self) -> (Vec<u32>, Vec<u32>) {
        match &mut self.index {
            Index::Listed => {}
            Index::Hashed(_) => self.index = Index::Listed,
            Index::Dense(slots) => {
                for &key in &self.keys {
                    slots[key as usize] = NONE;
                }
            }
        }
        (
            std::mem::take(&mut self.keys),
            std::mem::take(&mut self.slots),
        )
    }

    /// How many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        let index = match &self.index {
            Index::Listed => 0,
            Index::Hashed(slots) => slots.allocation_size(),
            Index::Dense(slots) => slots.capacity() * size_of::<u32>(),
        };
        index + (self.keys.capacity() + self.slots.capacity()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_find_their_slots_however_many_there_are() {
        let mut pane = KeySlots::default();
        for round in 0..3_u32 {
            let keys: Vec<u32> = (0..500).map(|key| (key * 7 + round) % 901).collect();
            let mut slots = Vec::new();
            let mut next = 0;
            pane.find(&keys, 901, &mut slots, |_| {
                next += 1;
                next - 1
            });
            let mut again = Vec::new();
            pane.find(&keys, 901, &mut again, |key| panic!("{key} is known"));
            assert_eq!(slots, again);
            assert_eq!(slots, (0..500).collect::<Vec<u32>>());
            assert_eq!(pane.get(keys[499]), Some(499));
            assert_eq!(pane.get(901), None);
            assert_eq!(pane.take(), (keys, slots));
            assert!(pane.is_empty());
            assert_eq!(pane.get(0), None);
        }
    }
}
