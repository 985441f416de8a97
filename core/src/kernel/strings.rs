//! Short strings to the numbers that a table has given them.

use super::lanes::Backend;
use super::words::{FIND_ROWS, Further, SHORT_LEN_MAX, WORD_LEN, WordTable, hash_word, short_word};

/// As [`super::reference::find_short`].
#[inline(always)]
pub(super) fn find_short<B: Backend>(
    values: &[u8],
    offsets: &[i32],
    table: WordTable<'_>,
    ids: &mut [u32],
    further: &mut [u32; FIND_ROWS],
) -> usize {
    let mut further = Further::new(further);
    let first = B::find_eights(values, offsets, table, ids, &mut further);
    let place = |offset: i32| offset as usize;
    find(values, offsets, place, table, first, ids, further)
}

/// As [`super::reference::find_short`].
#[inline(always)]
pub(super) fn find_short_large<B: Backend>(
    values: &[u8],
    offsets: &[i64],
    table: WordTable<'_>,
    ids: &mut [u32],
    further: &mut [u32; FIND_ROWS],
) -> usize {
    let place = |offset: i64| offset as usize;
    find(values, offsets, place, table, 0, ids, Further::new(further))
}

/// A plain loop over the rows from `first` on; how many are listed in all.
#[inline(always)]
fn find<O: Copy>(
    values: &[u8],
    offsets: &[O],
    place: impl Fn(O) -> usize,
    table: WordTable<'_>,
    first: usize,
    ids: &mut [u32],
    mut further: Further<'_>,
) -> usize {
    assert!(offsets.len() == ids.len() + 1 && ids.len() <= FIND_ROWS);
    let WordTable {
        secret,
        slots,
        shift,
        words,
    } = table;
    let mask = slots.len() - 1;
    let rows = offsets.array_windows().zip(ids).enumerate().skip(first);
    for (row, (&[start, end], id)) in rows {
        let (start, end) = (place(start), place(end));
        let len = end.wrapping_sub(start);
        // At the end of the buffer there is no whole window.
        let window = values.get(start..).and_then(<[u8]>::first_chunk);
        let is_whole = window.is_some();
        let window = window.map_or(0, |window| u128::from_le_bytes(*window));
        let word = short_word(window, len % WORD_LEN);
        *id = slots[(hash_word(secret, word) >> shift) as usize & mask];
        let is_found = words.get(*id as usize) == Some(&word);
        further.rows[further.count % FIND_ROWS] = row as u32;
        further.count += usize::from(!(is_found & is_whole & (len <= SHORT_LEN_MAX)));
    }
    further.count
}
