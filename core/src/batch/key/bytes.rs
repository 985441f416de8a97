//! Keys that are strings of bytes.
//!
//! A string is compared as one word of 16 bytes. A short one is that word: its bytes,
//! and how many they are in the last. A long one lies in an arena; its word is its hash
//! and its length, and equal words are the reason to compare the bytes.
//!
//! ```text
//!  up to 15 bytes   │ bytes, zeros behind them        │ 0 … 15 │
//!  16 bytes         │ bytes, of which the last is not in 0 … 15 and not 255 │
//!  others           │ hash (8)       │ length (7)     │  255   │ ──▶ arena │…│bytes│…│
//! ```
//!
//! The bytes of dead strings stay in the arena until they are half of it; then the
//! others are moved together.

use super::far::FarSlots;
use super::hash::{Seed, Slots};
use super::table::Table;
use crate::error::{Error, Result};
use crate::kernel::{self, SHORT_LEN_MAX, WORD_LEN, WordTable, hash_word, short_word};

/// The last byte of the word of a long string.
const LONG: u8 = u8::MAX;

/// The longest string that is taken in.
const KEY_LEN_MAX: usize = u32::MAX as usize;

/// What is compared of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Word(u128);

impl Word {
    /// That of no string.
    const NONE: Self = Self(u128::MAX);

    /// The first `len` bytes of a little-endian window, at most 15.
    #[inline(always)]
    fn short(window: u128, len: usize) -> Self {
        Self(short_word(window, len))
    }

    fn long(hash: u64, len: usize) -> Self {
        let high = (u64::from(LONG) << (u64::BITS - u8::BITS)) | len as u64;
        Self(u128::from(hash) | (u128::from(high) << u64::BITS))
    }

    fn last(self) -> u8 {
        (self.0 >> (u128::BITS - u8::BITS)) as u8
    }

    /// How long the string is.
    fn len(self) -> usize {
        match self.last() {
            LONG => (self.0 >> u64::BITS) as usize & KEY_LEN_MAX,
            len if usize::from(len) <= SHORT_LEN_MAX => usize::from(len),
            _ => WORD_LEN,
        }
    }

    #[inline(always)]
    fn is_long(self) -> bool {
        self.last() == LONG
    }
}

/// A string, borrowed from a column.
#[derive(Debug, Clone, Copy)]
pub(super) enum ByteKey<'a> {
    /// One that is a word.
    Short(Word),
    /// A longer one.
    Long(&'a [u8]),
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
            return Self::longer(&values[start..end]);
        }
        let window = match values.get(start..).and_then(<[u8]>::first_chunk) {
            Some(window) => *window,
            None => {
                let mut window = [0; WORD_LEN];
                window[..len].copy_from_slice(&values[start..end]);
                window
            }
        };
        Self::short(u128::from_le_bytes(window), len)
    }

    /// The first `len` bytes of a little-endian window; `len` is at most 15.
    #[inline(always)]
    pub(super) fn short(window: u128, len: usize) -> Self {
        Self::Short(Word::short(window, len))
    }

    fn longer(bytes: &'a [u8]) -> Self {
        if let Ok(window) = bytes.try_into() {
            let word = Word(u128::from_le_bytes(window));
            if usize::from(word.last()) > SHORT_LEN_MAX && word.last() != LONG {
                return Self::Short(word);
            }
        }
        Self::Long(bytes)
    }
}

/// A table of strings of bytes.
#[derive(Debug)]
pub(super) struct ByteTable {
    slots: Slots,
    /// `[ids]`: the [`Word`] of each; [`Word::NONE`] if the id is not in use.
    words: Vec<u128>,
    /// `[ids]`: where a long string begins in the arena; no longer than it needs to be.
    starts: Vec<usize>,
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
            words: Vec::new(),
            starts: Vec::new(),
            arena: Vec::new(),
            garbage: 0,
        }
    }

    fn word_of(&self, id: u32) -> Word {
        Word(self.words[id as usize])
    }

    /// What is needed to look short strings up.
    pub(super) fn as_words(&self) -> WordTable<'_> {
        WordTable {
            secret: self.slots.seed.words(),
            slots: self.slots.ids(),
            shift: self.slots.shift(),
            words: &self.words,
        }
    }

    /// Appends the key of an id in use.
    pub(super) fn append(&self, id: u32, bytes: &mut Vec<u8>) {
        let word = self.word_of(id);
        if word.is_long() {
            bytes.extend_from_slice(self.long(id));
        } else {
            // A whole word is one store; what is not the key's is cut off again.
            let end = bytes.len() + word.len();
            bytes.extend_from_slice(&word.0.to_le_bytes());
            bytes.truncate(end);
        }
    }

    /// The bytes of a long string.
    fn long(&self, id: u32) -> &[u8] {
        let start = self.starts[id as usize];
        &self.arena[start..start + self.word_of(id).len()]
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for id in 0..self.starts.len() {
            let word = Word(self.words[id]);
            if word.is_long() && word != Word::NONE {
                let start = arena.len();
                arena.extend_from_slice(self.long(id as u32));
                self.starts[id] = start;
            }
        }
        self.arena = arena;
        self.garbage = 0;
    }
}

#[inline(always)]
fn hash_of(seed: Seed, word: Word) -> u64 {
    hash_word(seed.words(), word.0)
}

impl Table for ByteTable {
    type Key<'k> = ByteKey<'k>;
    type Word = Word;

    #[inline(always)]
    fn word(&self, key: ByteKey<'_>) -> Word {
        match key {
            ByteKey::Short(word) => word,
            ByteKey::Long(bytes) => Word::long(self.slots.seed.bytes(bytes), bytes.len()),
        }
    }

    #[inline(always)]
    fn far(&self) -> Option<(&FarSlots, Seed)> {
        self.slots.far().map(|far| (far, self.slots.seed))
    }

    #[inline(always)]
    fn fetch(&self, id: u32) {
        kernel::fetch(&self.words, id as usize);
    }

    #[inline(always)]
    fn hash(seed: Seed, word: Word) -> u64 {
        hash_of(seed, word)
    }

    #[inline(always)]
    fn likely(&self, word: Word) -> u32 {
        self.slots.at_home(hash_of(self.slots.seed, word))
    }

    #[inline(always)]
    fn is(&self, id: u32, word: Word) -> bool {
        // Of a long string its bytes are to be looked at.
        (self.words.get(id as usize) == Some(&word.0)) & !word.is_long()
    }

    #[inline(always)]
    fn tells(&self, word: Word) -> bool {
        !word.is_long()
    }

    #[inline(always)]
    fn along(&self, word: Word, steps: usize) -> u32 {
        self.slots.along(hash_of(self.slots.seed, word), steps)
    }

    fn find(&self, word: Word, key: ByteKey<'_>) -> u32 {
        self.slots.find(hash_of(self.slots.seed, word), |id| {
            self.words[id as usize] == word.0
                && match key {
                    ByteKey::Short(_) => true,
                    ByteKey::Long(bytes) => self.long(id) == bytes,
                }
        })
    }

    fn insert(&mut self, key: ByteKey<'_>, id: u32) -> Result<()> {
        let at = id as usize;
        if let ByteKey::Long(bytes) = key {
            if bytes.len() > KEY_LEN_MAX {
                let len = bytes.len();
                return Err(Error::invalid(format!(
                    "a key of {len} bytes is longer than 4 GiB"
                )));
            }
            if self.starts.len() <= at {
                self.starts.resize(at + 1, 0);
            }
            self.starts[at] = self.arena.len();
            self.arena.extend_from_slice(bytes);
        }
        if self.words.len() <= at {
            self.words.resize(at + 1, Word::NONE.0);
        }
        self.words[at] = self.word(key).0;
        let (seed, words) = (self.slots.seed, &self.words);
        (self.slots).insert(id, |id| hash_of(seed, Word(words[id as usize])));
        Ok(())
    }

    fn remove(&mut self, id: u32) {
        let (seed, words) = (self.slots.seed, &self.words);
        (self.slots).remove(id, |id| hash_of(seed, Word(words[id as usize])));
        let word = Word(std::mem::replace(
            &mut self.words[id as usize],
            Word::NONE.0,
        ));
        if word.is_long() {
            self.garbage += word.len();
        }
    }

    fn shrink(&mut self, len: usize) {
        if len == 0 {
            *self = Self::new();
            return;
        }
        if self.garbage > GARBAGE_MIN && self.garbage * 2 > self.arena.len() {
            self.compact();
        }
        let (seed, words) = (self.slots.seed, &self.words);
        (self.slots).shrink(|id| hash_of(seed, Word(words[id as usize])));
    }

    fn bytes(&self) -> usize {
        self.slots.bytes()
            + self.words.capacity() * size_of::<u128>()
            + self.starts.capacity() * size_of::<usize>()
            + self.arena.capacity()
    }
}
