//! Short strings as words, and tables of them.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;

/// How many bytes are compared of a string.
pub const WORD_LEN: usize = 16;

/// The longest string that is a word.
pub const SHORT_LEN_MAX: usize = WORD_LEN - 1;

/// `MASKS[n]` keeps the first `n` bytes of a little-endian window of 16.
const MASKS: [u128; WORD_LEN] = {
    let mut masks = [0; WORD_LEN];
    let mut len = 0;
    while len < WORD_LEN {
        masks[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    masks
};

/// A string of at most [`SHORT_LEN_MAX`] bytes as a word: its bytes, the first the least
/// significant, and its length in the last.
///
/// - `window`: its bytes and whatever follows them.
#[inline(always)]
pub fn short_word(window: u128, len: usize) -> u128 {
    (window & MASKS[len]) | ((len as u128) << (u128::BITS - u8::BITS))
}

/// Hashes a word: its four parts of 32 bits, each with a secret added, two products, their
/// sum; and once more multiplied, for its top bits.
///
/// - `secret`: the last is odd.
///
/// Source: NH of UMAC, Black et al., CRYPTO 1999: who does not know the secret finds no two
/// words that are likely to meet.
#[inline(always)]
pub fn hash_word(secret: [u64; 3], word: u128) -> u64 {
    let product = |half: u64, secret: u64| {
        let low = (half as u32).wrapping_add(secret as u32);
        let high = ((half >> u32::BITS) as u32).wrapping_add((secret >> u32::BITS) as u32);
        u64::from(low) * u64::from(high)
    };
    let low = product(word as u64, secret[0]);
    let high = product((word >> u64::BITS) as u64, secret[1]);
    low.wrapping_add(high).wrapping_mul(secret[2])
}

/// An open-addressing table of words.
#[derive(Debug, Clone, Copy)]
pub struct WordTable<'a> {
    /// Of [`hash_word`].
    pub secret: [u64; 3],
    /// `[power of two]`: ids; the top bits of the hash are the place where to look first.
    pub slots: &'a [u32],
    /// What a hash is shifted right by to have those bits.
    pub shift: u32,
    /// `[ids]`: the word of each.
    pub words: &'a [u128],
}

/// So many rows at most are looked up at a time.
pub const FIND_ROWS: usize = 256;

/// Rows that are to be looked up once more.
#[derive(Debug)]
pub(super) struct Further<'a> {
    pub(super) rows: &'a mut [u32; FIND_ROWS],
    pub(super) count: usize,
}

impl<'a> Further<'a> {
    pub(super) fn new(rows: &'a mut [u32; FIND_ROWS]) -> Self {
        Self { rows, count: 0 }
    }
}
