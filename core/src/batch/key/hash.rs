//! A hash by one wide multiplication, and an open-addressing table of ids.
//!
//! ```text
//!  hash ──top bits──▶ slot → next → next → empty     (linear probing, at most half full)
//! ```
//!
//! A slot is four bytes: a table of a thousand keys and the keys themselves lie in the
//! first-level cache. Of more keys than the caches hold, [`FarSlots`] is the table. A
//! removal shifts the slots behind it back: no tombstones, so a table whose keys come and
//! go for years is as fast as on its first day.
//!
//! Source: Knuth, The Art of Computer Programming 3, 6.4, algorithm R (removal); the
//! multiplication whose halves are folded is that of wyhash.
//!
//! This module knows no column and no key type.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::far::FarSlots;
pub(super) use super::far::NO_ID;

/// The secret of one table. Keys come from outside: whoever knew the hash could send
/// keys that all fall into one slot. Ids do not depend on it, so neither do results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seed {
    added: [u64; 2],
    /// Odd, so that no two codes have one product.
    multiplier: u64,
}

impl Seed {
    pub(super) fn random() -> Self {
        let state = RandomState::new();
        let word = |n: u64| {
            let mut hasher = state.build_hasher();
            hasher.write_u64(n);
            hasher.finish()
        };
        Self {
            added: [word(0), word(1)],
            multiplier: word(2) | 1,
        }
    }

    /// The secret as kernels take it.
    pub(super) fn words(self) -> [u64; 3] {
        [self.added[0], self.added[1], self.multiplier]
    }

    /// Hashes a word, also one of many neighbouring ones: their products alone would be as
    /// evenly spaced as they are, and for one secret in some hundred fall into few slots.
    #[inline(always)]
    pub(super) fn word(self, word: u64) -> u64 {
        let hash = self.mix(word, 0);
        (hash ^ hash >> u32::BITS).wrapping_mul(self.multiplier)
    }

    /// Hashes two words.
    #[inline(always)]
    pub(super) fn mix(self, low: u64, high: u64) -> u64 {
        let product = u128::from(low ^ self.added[0]) * u128::from(high ^ self.multiplier);
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

/// An open-addressing table of ids, a power of two in size and at most half full. What
/// an id stands for is known to the caller, who compares keys and tells their hashes.
#[derive(Debug)]
pub(super) struct Slots {
    ids: Vec<u32>,
    len: usize,
    shift: u32,
    /// Instead of `ids`, where there are many.
    far: Option<FarSlots>,
    pub(super) seed: Seed,
}

/// A table of more keys, and the keys, are more than the caches next to the processor hold.
pub(super) const NEAR_KEYS_MAX: usize = 1 << 15;

/// A table of fewer keys is near again.
const NEAR_AGAIN: usize = NEAR_KEYS_MAX / 4;

const SLOTS_MIN: usize = 16;

/// A table of so many slots lies in the caches next to the processor: in a larger one an
/// empty slot costs more than a second look.
const ROOMY_SLOTS_MAX: usize = 1 << 14;

/// How many slots a table of `len` keys has: an eighth of a small table, half of a
/// large one is full at most.
fn size_for(len: usize) -> usize {
    let roomy = (len * 8).next_power_of_two();
    if roomy <= ROOMY_SLOTS_MAX {
        roomy.max(SLOTS_MIN)
    } else {
        (len * 2).next_power_of_two().max(ROOMY_SLOTS_MAX)
    }
}

impl Slots {
    pub(super) fn new() -> Self {
        let mut slots = Self {
            ids: Vec::new(),
            len: 0,
            shift: 0,
            far: None,
            seed: Seed::random(),
        };
        slots.allocate(SLOTS_MIN);
        slots
    }

    /// The id that `matches`, or [`NO_ID`].
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, matches: impl Fn(u32) -> bool) -> u32 {
        if let Some(far) = &self.far {
            return far.find(hash, matches);
        }
        let mask = self.ids.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        loop {
            let id = self.ids[at & mask];
            if id == NO_ID || matches(id) {
                return id;
            }
            at += 1;
        }
    }

    /// The table, if it is far.
    #[inline(always)]
    pub(super) fn far(&self) -> Option<&FarSlots> {
        self.far.as_ref()
    }

    /// The id in the first slot for this hash: that of most keys in a table that is near.
    #[inline(always)]
    pub(super) fn at_home(&self, hash: u64) -> u32 {
        self.along(hash, 0)
    }

    /// The id so many slots behind the first one for this hash, in a table that is near.
    #[inline(always)]
    pub(super) fn along(&self, hash: u64, steps: usize) -> u32 {
        let mask = self.ids.len() - 1;
        self.ids[((hash >> self.shift) as usize + steps) & mask]
    }

    /// All slots of a table that is near; the top bits of a hash say where to look first.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// What a hash is shifted right by to be the place where to look first.
    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// Adds an id that is not in the table. `hash_of` gives the hash of every id in it.
    pub(super) fn insert(&mut self, id: u32, hash_of: impl Fn(u32) -> u64) {
        self.len += 1;
        if self.len > NEAR_KEYS_MAX && self.far.is_none() {
            self.go_far(&hash_of);
        }
        if let Some(far) = &mut self.far {
            far.make_room(self.len);
            far.insert(hash_of(id), id);
            return;
        }
        let size = size_for(self.len);
        if size > self.ids.len() {
            self.resize(size, &hash_of);
        }
        self.place(id, hash_of(id));
    }

    fn go_far(&mut self, hash_of: impl Fn(u32) -> u64) {
        let mut far = FarSlots::new(self.len);
        for id in std::mem::take(&mut self.ids) {
            if id != NO_ID {
                far.insert(hash_of(id), id);
            }
        }
        self.far = Some(far);
    }

    /// Removes an id that is in the table.
    pub(super) fn remove(&mut self, id: u32, hash_of: impl Fn(u32) -> u64) {
        self.len -= 1;
        if let Some(far) = &mut self.far {
            return far.remove(hash_of(id), id);
        }
        let mask = self.ids.len() - 1;
        let mut hole = (hash_of(id) >> self.shift) as usize & mask;
        while self.ids[hole] != id {
            assert!(self.ids[hole] != NO_ID, "the id is in the table");
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let other = self.ids[at];
            if other == NO_ID {
                break;
            }
            // An id may move back into the hole unless its home lies behind the hole.
            let home = (hash_of(other) >> self.shift) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.ids[hole] = other;
                hole = at;
            }
        }
        self.ids[hole] = NO_ID;
    }

    /// Gives memory back if the table is four times as large as it needs to be.
    pub(super) fn shrink(&mut self, hash_of: impl Fn(u32) -> u64) {
        match self.far.take() {
            Some(far) if self.len < NEAR_AGAIN => {
                self.allocate(size_for(self.len));
                far.ids().for_each(|id| self.place(id, hash_of(id)));
                return;
            }
            Some(mut far) => {
                far.shrink(self.len);
                self.far = Some(far);
                return;
            }
            None => {}
        }
        let size = size_for(self.len);
        if size * 4 <= self.ids.len() {
            self.resize(size, hash_of);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let far = self.far.as_ref().map_or(0, FarSlots::bytes);
        far + self.ids.capacity() * size_of::<u32>()
    }

    fn allocate(&mut self, size: usize) {
        self.ids = vec![NO_ID; size];
        self.shift = u64::BITS - size.trailing_zeros();
    }

    fn resize(&mut self, size: usize, hash_of: impl Fn(u32) -> u64) {
        let old = std::mem::take(&mut self.ids);
        self.allocate(size);
        for id in old.into_iter().filter(|id| *id != NO_ID) {
            self.place(id, hash_of(id));
        }
    }

    fn place(&mut self, id: u32, hash: u64) {
        let mask = self.ids.len() - 1;
        let mut at = (hash >> self.shift) as usize & mask;
        while self.ids[at] != NO_ID {
            at = (at + 1) & mask;
        }
        self.ids[at] = id;
    }
}
