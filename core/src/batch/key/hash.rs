//! A hash by one wide multiplication, and an open-addressing table of ids.
//!
//! ```text
//!  hash ──top bits──▶ slot → next → next → empty     (linear probing, at most half full)
//! ```
//!
//! The table keeps what is compared inside the slot, so that a hit touches one
//! place. A removal shifts the slots behind it back: no tombstones, so a table whose
//! keys come and go for years is as fast as on its first day.
//!
//! Source: Knuth, The Art of Computer Programming 3, 6.4, algorithm R (removal); the
//! multiplication whose halves are folded is that of wyhash.
//!
//! This module knows no column and no key type.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::select_unpredictable;

/// The id of no key. Greater than every id that is given out.
pub(super) const NO_ID: u32 = u32::MAX;

/// The secret of one table. Keys come from outside: whoever knew the hash could send
/// keys that all fall into one slot. Ids do not depend on it, so neither do results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seed(u64, u64);

impl Seed {
    pub(super) fn random() -> Self {
        let state = RandomState::new();
        let word = |n: u64| {
            let mut hasher = state.build_hasher();
            hasher.write_u64(n);
            hasher.finish()
        };
        // An odd multiplier maps no two codes to one product.
        Self(word(0), word(1) | 1)
    }

    /// Hashes two words.
    #[inline(always)]
    pub(super) fn mix(self, low: u64, high: u64) -> u64 {
        let product = u128::from(low ^ self.0) * u128::from(high ^ self.1);
        (product as u64) ^ ((product >> 64) as u64)
    }

    /// Hashes a string of 16 bytes or more, 16 bytes at a time.
    pub(super) fn bytes(self, bytes: &[u8]) -> u64 {
        let mut hash = bytes.len() as u64;
        let mut add = |window: &[u8; 16]| {
            let word = u128::from_le_bytes(*window);
            hash = self.mix(word as u64 ^ hash, (word >> 64) as u64);
        };
        let (windows, tail) = bytes.as_chunks();
        windows.iter().for_each(&mut add);
        if !tail.is_empty() {
            // The last 16 bytes, some of them for the second time, need no copy.
            add(bytes.last_chunk().expect("longer than 16 bytes"));
        }
        hash
    }
}

/// What a table keeps of one key.
pub(super) trait Slot: Copy + Debug + Send + Sync {
    /// A slot without key.
    const EMPTY: Self;

    /// Its key's id; [`NO_ID`] if it is empty.
    fn id(&self) -> u32;

    /// Its key's hash.
    fn hash(&self, seed: Seed) -> u64;
}

/// An open-addressing table, a power of two in size and at most half full.
#[derive(Debug)]
pub(super) struct Slots<S> {
    slots: Vec<S>,
    len: usize,
    shift: u32,
    pub(super) seed: Seed,
}

const SLOTS_MIN: usize = 16;

/// A table of so many slots lies in the second-level cache: in a larger one an empty
/// slot costs more than a second look.
const ROOMY_SLOTS_MAX: usize = 1 << 14;

/// How many slots a table of `len` keys has: a quarter of a small table, half of a
/// large one is full at most.
fn size_for(len: usize) -> usize {
    let roomy = (len * 4).next_power_of_two();
    if roomy <= ROOMY_SLOTS_MAX {
        roomy.max(SLOTS_MIN)
    } else {
        (len * 2).next_power_of_two().max(ROOMY_SLOTS_MAX)
    }
}

impl<S: Slot> Slots<S> {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![S::EMPTY; SLOTS_MIN],
            len: 0,
            shift: u64::BITS - SLOTS_MIN.trailing_zeros(),
            seed: Seed::random(),
        }
    }

    /// The id of the slot that `matches`, or [`NO_ID`].
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, matches: impl Fn(&S) -> bool) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        loop {
            let slot = &self.slots[at & mask];
            if matches(slot) || slot.id() == NO_ID {
                return slot.id();
            }
            at += 1;
        }
    }

    /// The id of the first slot for this hash if it `matches`, else [`NO_ID`]: the
    /// answer for most keys of a table at most half full, without a branch.
    #[inline(always)]
    pub(super) fn find_at_home(&self, hash: u64, matches: impl Fn(&S) -> bool) -> u32 {
        let mask = self.slots.len() - 1;
        let slot = &self.slots[(hash >> self.shift) as usize & mask];
        select_unpredictable(matches(slot), slot.id(), NO_ID)
    }

    /// Adds a slot whose key is not in the table.
    pub(super) fn insert(&mut self, slot: S) {
        let size = size_for(self.len + 1);
        if size > self.slots.len() {
            self.resize(size);
        }
        self.place(slot);
        self.len += 1;
    }

    /// Removes the slot of `id`, which is in the table with this hash.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let mask = self.slots.len() - 1;
        let mut hole = (hash >> self.shift) as usize & mask;
        while self.slots[hole].id() != id {
            assert!(self.slots[hole].id() != NO_ID, "the id is in the table");
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot.id() == NO_ID {
                break;
            }
            // A slot may move back into the hole unless its home lies behind the hole.
            let home = (slot.hash(self.seed) >> self.shift) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = S::EMPTY;
        self.len -= 1;
    }

    /// Empties the table and sizes it for `slots`, then fills it.
    pub(super) fn refill(&mut self, slots: impl ExactSizeIterator<Item = S>) {
        self.len = slots.len();
        self.slots = Vec::new();
        self.allocate(size_for(self.len));
        for slot in slots {
            self.place(slot);
        }
    }

    /// Gives memory back if the table is four times as large as it needs to be.
    pub(super) fn shrink(&mut self) {
        let size = size_for(self.len);
        if size * 4 <= self.slots.len() {
            self.resize(size);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<S>()
    }

    fn allocate(&mut self, size: usize) {
        self.slots = vec![S::EMPTY; size];
        self.shift = u64::BITS - size.trailing_zeros();
    }

    fn resize(&mut self, size: usize) {
        let old = std::mem::take(&mut self.slots);
        self.allocate(size);
        for slot in old.into_iter().filter(|slot| slot.id() != NO_ID) {
            self.place(slot);
        }
    }

    fn place(&mut self, slot: S) {
        let mask = self.slots.len() - 1;
        let mut at = (slot.hash(self.seed) >> self.shift) as usize & mask;
        while self.slots[at].id() != NO_ID {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}
