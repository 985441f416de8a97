//! Keys that are strings of bytes.
//!
//! A string of at most 16 bytes is two words, kept and compared in the slot itself.
//! A longer one lies in an arena; its slot holds its hash and its place.
//!
//! ```text
//!  slot   │ low      │ high           │ len │ id │
//!  short  │ bytes 0–7│ bytes 8–15     │ ≤ 16│    │
//!  long   │ hash     │ place in arena │ > 16│    │ ──▶ arena │…│long string│…│
//! ```
//!
//! The bytes of dead strings stay in the arena until they are half of it; then the
//! others are moved together.

use super::hash::{NO_ID, Seed, Slot, Slots};
use super::table::Table;
use crate::error::{Error, Result};

/// The longest string that is kept in a slot.
pub(super) const SHORT_LEN_MAX: usize = 16;

/// `MASKS[n]` keeps the first `n` bytes of a little-endian window of 16.
const MASKS: [u128; SHORT_LEN_MAX + 1] = {
    let mut masks = [u128::MAX; SHORT_LEN_MAX + 1];
    let mut len = 0;
    while len < SHORT_LEN_MAX {
        masks[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    masks
};

/// A string, borrowed from a column.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByteKey<'a> {
    len: usize,
    /// The bytes of a short string, zeros behind them.
    words: u128,
    /// The bytes of a long string.
    long: &'a [u8],
}

impl<'a> ByteKey<'a> {
    /// The string `values[start .. end]`.
    ///
    /// A short string is read as a window of 16 bytes and cut by a mask: no loop, no
    /// branch on its length. Only at the end of the buffer the window is a copy.
    #[inline(always)]
    pub(super) fn new(values: &'a [u8], start: usize, end: usize) -> Self {
        let len = end - start;
        if len > SHORT_LEN_MAX {
            return Self {
                len,
                words: 0,
                long: &values[start..end],
            };
        }
        let window = match values.get(start..).and_then(<[u8]>::first_chunk) {
            Some(window) => *window,
            None => {
                let mut window = [0; SHORT_LEN_MAX];
                window[..len].copy_from_slice(&values[start..end]);
                window
            }
        };
        Self::short(u128::from_le_bytes(window), len)
    }

    /// The first `len` bytes of a little-endian window; `len` is at most 16.
    #[inline(always)]
    pub(super) fn short(window: u128, len: usize) -> Self {
        Self {
            len,
            words: window & MASKS[len],
            long: &[],
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct ByteSlot {
    low: u64,
    high: u64,
    len: u32,
    id: u32,
}

/// The length in a slot without key: longer than any string that is taken in.
const NO_LEN: u32 = u32::MAX;

impl Slot for ByteSlot {
    const EMPTY: Self = Self {
        low: 0,
        high: 0,
        len: NO_LEN,
        id: NO_ID,
    };

    #[inline(always)]
    fn id(&self) -> u32 {
        self.id
    }

    #[inline(always)]
    fn hash(&self, seed: Seed) -> u64 {
        if self.len as usize <= SHORT_LEN_MAX {
            short_hash(seed, self.low, self.high, self.len as usize)
        } else {
            self.low
        }
    }
}

#[inline(always)]
fn short_hash(seed: Seed, low: u64, high: u64, len: usize) -> u64 {
    // "a" and "a\0" are the same words: the length moves them apart in the table.
    seed.mix(low, high).wrapping_add((len as u64) << 59)
}

/// A table of strings of bytes.
#[derive(Debug)]
pub(super) struct ByteTable {
    slots: Slots<ByteSlot>,
    /// `[ids]`: a copy of the slot of each id; empty if the id is not in use.
    entries: Vec<ByteSlot>,
    arena: Vec<u8>,
    /// How many bytes of the arena belong to no key.
    garbage: usize,
}

/// An arena smaller than this is not worth moving.
const GARBAGE_MIN: usize = 4 * 1024;

impl ByteTable {
    pub(super) fn new() -> Self {
        Self {
            slots: Slots::new(),
            entries: Vec::new(),
            arena: Vec::new(),
            garbage: 0,
        }
    }

    /// How long the key of an id in use is.
    pub(super) fn len(&self, id: u32) -> usize {
        self.entries[id as usize].len as usize
    }

    /// Appends the key of an id in use.
    pub(super) fn append(&self, id: u32, bytes: &mut Vec<u8>) {
        let entry = &self.entries[id as usize];
        let len = entry.len as usize;
        if len <= SHORT_LEN_MAX {
            let words = u128::from(entry.low) | (u128::from(entry.high) << 64);
            bytes.extend_from_slice(&words.to_le_bytes()[..len]);
        } else {
            let start = entry.high as usize;
            bytes.extend_from_slice(&self.arena[start..start + len]);
        }
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for entry in &mut self.entries {
            let len = entry.len as usize;
            if len > SHORT_LEN_MAX && entry.id != NO_ID {
                let start = entry.high as usize;
                entry.high = arena.len() as u64;
                arena.extend_from_slice(&self.arena[start..start + len]);
            }
        }
        self.arena = arena;
        self.garbage = 0;
        let live: Vec<ByteSlot> = (self.entries.iter())
            .filter(|entry| entry.id != NO_ID)
            .copied()
            .collect();
        self.slots.refill(live.into_iter());
    }

    #[inline(never)]
    fn find_long(&self, bytes: &[u8], hash: u64) -> u32 {
        self.slots.find(hash, |slot| {
            slot.low == hash && slot.len as usize == bytes.len() && slot.id != NO_ID && {
                let start = slot.high as usize;
                self.arena[start..start + bytes.len()] == *bytes
            }
        })
    }
}

impl Table for ByteTable {
    type Key<'k> = ByteKey<'k>;

    #[inline(always)]
    fn hash(&self, key: ByteKey<'_>) -> u64 {
        if key.len > SHORT_LEN_MAX {
            return self.slots.seed.bytes(key.long);
        }
        let (low, high) = (key.words as u64, (key.words >> 64) as u64);
        short_hash(self.slots.seed, low, high, key.len)
    }

    #[inline(always)]
    fn find_at_once(&self, key: ByteKey<'_>, hash: u64) -> u32 {
        if key.len > SHORT_LEN_MAX {
            return self.find_long(key.long, hash);
        }
        let (low, high) = (key.words as u64, (key.words >> 64) as u64);
        self.slots.find_at_home(hash, |slot| {
            (slot.low == low) & (slot.high == high) & (slot.len as usize == key.len)
        })
    }

    fn find(&self, key: ByteKey<'_>) -> u32 {
        let hash = self.hash(key);
        if key.len > SHORT_LEN_MAX {
            return self.find_long(key.long, hash);
        }
        let (low, high) = (key.words as u64, (key.words >> 64) as u64);
        self.slots.find(hash, |slot| {
            slot.low == low && slot.high == high && slot.len as usize == key.len
        })
    }

    fn insert(&mut self, key: ByteKey<'_>, id: u32) -> Result<()> {
        let len = (u32::try_from(key.len).ok())
            .filter(|&len| len < NO_LEN)
            .ok_or_else(|| {
                Error::invalid(format!("a key of {} bytes is longer than 4 GiB", key.len))
            })?;
        let slot = if key.len > SHORT_LEN_MAX {
            let start = self.arena.len() as u64;
            self.arena.extend_from_slice(key.long);
            ByteSlot {
                low: self.slots.seed.bytes(key.long),
                high: start,
                len,
                id,
            }
        } else {
            ByteSlot {
                low: key.words as u64,
                high: (key.words >> 64) as u64,
                len,
                id,
            }
        };
        self.slots.insert(slot);
        if self.entries.len() <= id as usize {
            self.entries.resize(id as usize + 1, ByteSlot::EMPTY);
        }
        self.entries[id as usize] = slot;
        Ok(())
    }

    fn remove(&mut self, id: u32) {
        let entry = std::mem::replace(&mut self.entries[id as usize], ByteSlot::EMPTY);
        self.slots.remove(entry.hash(self.slots.seed), id);
        if entry.len as usize > SHORT_LEN_MAX {
            self.garbage += entry.len as usize;
        }
    }

    fn shrink(&mut self, len: usize) {
        if len == 0 {
            *self = Self::new();
        } else if self.garbage > GARBAGE_MIN && self.garbage * 2 > self.arena.len() {
            self.compact();
        } else {
            self.slots.shrink();
        }
    }

    fn bytes(&self) -> usize {
        self.slots.bytes() + self.entries.capacity() * size_of::<ByteSlot>() + self.arena.capacity()
    }
}
