//! The end of a short piece of text, eight bytes at a time.
//!
//! Fields and strings are short: a call of `memchr2` for each costs more than they do.

pub(crate) const LOW: u64 = u64::from_le_bytes([0x01; 8]);
pub(crate) const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// The first place from `start` on where one of two bytes stands, or the end.
#[inline]
pub(crate) fn find(bytes: &[u8], start: usize, one: u8, other: u8) -> usize {
    find_any(bytes, start, [one, other])
}

/// The first place from `start` on where one of the `wanted` bytes stands, or the end.
#[inline]
pub(crate) fn find_any<const N: usize>(bytes: &[u8], start: usize, wanted: [u8; N]) -> usize {
    let all = wanted.map(|byte| LOW * u64::from(byte));
    let mut at = start;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // The lowest bit set marks the first zero byte (Mycroft).
        let found = all.iter().fold(0, |found, byte| {
            let other = word ^ byte;
            found | (other.wrapping_sub(LOW) & !other)
        }) & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    (bytes[at..].iter())
        .position(|byte| wanted.contains(byte))
        .map_or(bytes.len(), |found| at + found)
}

/// The first place from `start` on of a quote, a backslash or a control character.
#[inline]
pub(crate) fn string_stop(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let quotes = word ^ (LOW * u64::from(b'"'));
        let backslashes = word ^ (LOW * u64::from(b'\\'));
        // The lowest bit set marks the first byte that is zero, or below 0x20 (Mycroft).
        let found = ((quotes.wrapping_sub(LOW) & !quotes)
            | (backslashes.wrapping_sub(LOW) & !backslashes)
            | (word.wrapping_sub(LOW * 0x20) & !word))
            & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    (bytes[at..].iter())
        .position(|byte| matches!(byte, b'"' | b'\\' | ..0x20))
        .map_or(bytes.len(), |found| at + found)
}
