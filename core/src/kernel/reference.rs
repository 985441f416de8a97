//! Each kernel as plain loops: what it means, and the oracle of its tests.
//!
//! Where floats are added, the order is part of the meaning:
//!
//! - A **reduction** cuts rows into blocks of [`BLOCK_ROWS`] by ordinal. Row `r` of a block
//!   is added to lane `r % 8`; the lanes are added in halves; the blocks in order. Whoever
//!   gets rows in pieces cuts them at multiples of [`BLOCK_ROWS`].
//! - A frame of the last `w` **rows** is the rest of one block of `w` rows, folded from its
//!   end, and the beginning of the next (van Herk, Pattern Recognition Letters 13(7), 1992;
//!   Gil and Werman, IEEE PAMI 15(5), 1993). Nothing is subtracted, so a NaN or a
//!   huge value leaves with its row. Within a block, eight rows are folded as a tree.
//!   Pieces are cut at multiples of `w`, and start one block early.
//! - A frame of a **range** of times is two stacks (Tangwongsan et al., VLDB 2015), the
//!   older folded from its end in the same way, the newer row by row.
//! - A frame over a **tree** is the end of one block of [`TREE_ROWS`], whole blocks, and the
//!   beginning of another. Whole blocks are added as rows are, by larger blocks.

use std::ops::Range;

use super::bits::Bits;
use super::order::{key, key_f32, of_key, usual};
use super::record::{LaneRecord, Record};
use super::words::{SHORT_LEN_MAX, WORD_LEN, WordTable, hash_word, short_word};

/// Rows of a block of a reduction.
pub const BLOCK_ROWS: usize = 256;

/// Frames of so many rows or fewer are folded row by row, the oldest first.
pub const NARROW_ROWS: usize = 12;

/// Rows of a block of a tree, and blocks of a larger one.
pub const TREE_ROWS: usize = 32;

const LANES: usize = 8;

/// What some floats come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Valid values, more than none.
    pub count: usize,
    /// Their sum.
    pub sum: f64,
    /// The least, which is NaN only if all are.
    pub min: f64,
    /// The greatest, which is NaN if one is.
    pub max: f64,
}

/// The rows over which a frame lies: `start ..end`, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frame {
    /// The first row.
    pub start: u32,
    /// The row after the last.
    pub end: u32,
}

impl Frame {
    /// How many rows it holds.
    pub fn rows(&self) -> u32 {
        self.end - self.start
    }

    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The least and the greatest.
pub fn min_max_i64(values: &[i64]) -> Option<(i64, i64)> {
    Some((*values.iter().min()?, *values.iter().max()?))
}

/// Adds each row to the record of its slot, in row order.
pub fn add_rows(records: &mut [Record], slots: &[u32], values: &[f64]) {
    for (slot, value) in slots.iter().zip(values) {
        let record = &mut records[*slot as usize];
        record.sum += *value;
        record.count += 1;
        let [least, greatest] = record.span;
        record.span = [least.min(key(*value)), greatest.max(key(*value))];
    }
}

/// As [`add_rows`], of floats of 32 bits; sums have 64.
pub fn add_rows_f32(records: &mut [Record<i32>], slots: &[u32], values: &[f32]) {
    for (slot, value) in slots.iter().zip(values) {
        let record = &mut records[*slot as usize];
        record.sum += f64::from(*value);
        record.count += 1;
        let [least, greatest] = record.span;
        record.span = [least.min(key_f32(*value)), greatest.max(key_f32(*value))];
    }
}

/// Adds rows to one record, in row order.
pub fn add_run(record: &mut LaneRecord, values: &[f64]) {
    for value in values {
        record.sums[(record.count % LANES as u64) as usize] += value;
        record.count += 1;
        record.span[0] = record.span[0].min(key(*value));
        record.span[1] = record.span[1].max(key(*value));
    }
}

/// Looks up strings: the id in the first slot for each row's hash; lists the rows whose
/// string is not that id's, and how many they are.
pub fn find_short(strings: &[&[u8]], table: WordTable<'_>) -> (Vec<u32>, Vec<usize>) {
    let home = |string: &&[u8]| {
        let mut window = [0; WORD_LEN];
        let len = string.len().min(SHORT_LEN_MAX);
        window[..len].copy_from_slice(&string[..len]);
        let word = short_word(u128::from_le_bytes(window), len);
        (
            word,
            table.slots[(hash_word(table.secret, word) >> table.shift) as usize],
        )
    };
    let ids: Vec<u32> = strings.iter().map(|string| home(string).1).collect();
    let further = (0..strings.len()).filter(|&row| {
        let (word, id) = home(&strings[row]);
        strings[row].len() > SHORT_LEN_MAX || table.words.get(id as usize) != Some(&word)
    });
    let further = further.collect();
    (ids, further)
}

/// Count, sum, min and max.
pub fn summarize_f64(values: &[f64], validity: Option<Bits<'_>>) -> Option<Summary> {
    let is_valid = |row| validity.is_none_or(|bits| bits.is_valid(row));
    let (mut count, mut sum) = (0, 0.0);
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    for (number, block) in values.chunks(BLOCK_ROWS).enumerate() {
        let mut lanes = [0.0; LANES];
        for (row, &value) in block.iter().enumerate() {
            if is_valid(number * BLOCK_ROWS + row) {
                count += 1;
                lanes[row % LANES] += value;
                min = min.min(key(value));
                max = max.max(key(value));
            }
        }
        sum += add_halves(lanes);
    }
    (count > 0).then(|| Summary {
        count,
        sum: usual(sum),
        min: of_key(min),
        max: of_key(max),
    })
}

/// The sum of lanes: the upper half is added to the lower, three times.
#[inline(always)]
pub(super) fn add_halves(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    let [a, b, c, d] = [a + e, b + f, c + g, d + h];
    let [a, b] = [a + c, b + d];
    a + b
}

/// Sums over the last `width` rows.
pub fn rows_sum_f64(values: &[f64], width: usize) -> Vec<f64> {
    (0..values.len())
        .map(|row| {
            let frame = (row + 1).saturating_sub(width)..row + 1;
            if width <= NARROW_ROWS {
                return usual(values[frame].iter().fold(-0.0, |sum, value| sum + value));
            }
            let block = row / width * width;
            let rest = suffix_sum(&values[frame.start.min(block)..block]);
            let begun = prefix_sum(&values[block..], row - block);
            usual(rest + begun)
        })
        .collect()
}

/// The sum of rows `0 ..=row` of a block.
fn prefix_sum(block: &[f64], row: usize) -> f64 {
    let mut carry = -0.0;
    for group in block[..row / LANES * LANES].chunks(LANES) {
        carry += tree_sums(group)[LANES - 1];
    }
    let group = row / LANES * LANES..block.len().min((row / LANES + 1) * LANES);
    carry + tree_sums(&block[group])[row % LANES]
}

/// The sum of all rows, from the last to the first.
fn suffix_sum(rows: &[f64]) -> f64 {
    let backwards: Vec<f64> = rows.iter().rev().copied().collect();
    match backwards.len() {
        0 => -0.0,
        rows => prefix_sum(&backwards, rows - 1),
    }
}

/// The sums of the first one, two … eight rows of a group, by a tree.
///
/// ```text
///  a   b   c   d     e   f   g   h
///  └───┤   └───┤     └───┤   └───┤      pairs
///      ├───┬───┤         ├───┬───┤      fours
///              ├─────┬───┬───┬───┤      eight
/// ```
fn tree_sums(group: &[f64]) -> [f64; LANES] {
    let mut sums = [-0.0; LANES];
    sums[..group.len()].copy_from_slice(group);
    for half in [1, 2, 4] {
        for lane in (0..LANES).filter(|lane| lane & half != 0) {
            sums[lane] += sums[(lane & !(2 * half - 1)) + half - 1];
        }
    }
    sums
}

/// Sums over the last `width` rows; they wrap.
pub fn rows_sum_i64(values: &[i64], width: usize) -> Vec<i64> {
    rows_each(values, width, |frame| {
        frame.iter().fold(0, |sum, value| sum.wrapping_add(*value))
    })
}

/// The least of the last `width` rows.
pub fn rows_min_f64(values: &[f64], width: usize) -> Vec<f64> {
    rows_each(values, width, min_f64)
}

/// The greatest of the last `width` rows.
pub fn rows_max_f64(values: &[f64], width: usize) -> Vec<f64> {
    rows_each(values, width, max_f64)
}

/// The least of the last `width` rows.
pub fn rows_min_i64(values: &[i64], width: usize) -> Vec<i64> {
    rows_each(values, width, min_i64)
}

/// The greatest of the last `width` rows.
pub fn rows_max_i64(values: &[i64], width: usize) -> Vec<i64> {
    rows_each(values, width, max_i64)
}

fn rows_each<T>(values: &[T], width: usize, fold: impl Fn(&[T]) -> T) -> Vec<T> {
    let frame = |row: usize| &values[(row + 1).saturating_sub(width)..=row];
    (0..values.len()).map(|row| fold(frame(row))).collect()
}

/// For each row, the rows whose time is at most `width` before its own, and not after it.
/// Rows of one time are in each other's frames.
pub fn range_frames(times: &[i64], width: u64) -> Vec<Frame> {
    let frame = |&time: &i64| Frame {
        start: times
            .partition_point(|&other| i128::from(other) < i128::from(time) - i128::from(width))
            as u32,
        end: times.partition_point(|&other| other <= time) as u32,
    };
    times.iter().map(frame).collect()
}

/// For each row, how many of some older ones lie more than `width` before it.
pub fn range_starts(older: &[i64], times: &[i64], width: u64) -> Vec<u32> {
    let is_before =
        |time: i64, older: i64| i128::from(older) < i128::from(time) - i128::from(width);
    let start = |&time: &i64| {
        older
            .iter()
            .filter(|older| is_before(time, **older))
            .count() as u32
    };
    times.iter().map(start).collect()
}

/// Sums over frames that only move on, and where the stacks meet at the end.
///
/// `split`: the row at which the older stack ends and the newer begins.
pub fn range_sum_f64(values: &[f64], frames: &[Frame], mut split: usize) -> (Vec<f64>, usize) {
    let sums = frames.iter().map(|frame| {
        let frame = frame.range();
        if frame.start >= split {
            split = frame.end;
        }
        let older = suffix_sum(&values[frame.start..split]);
        let newer = values[split..frame.end]
            .iter()
            .fold(-0.0, |sum, value| sum + value);
        usual(older + newer)
    });
    (sums.collect(), split)
}

/// Sums over frames; they wrap.
pub fn range_sum_i64(values: &[i64], frames: &[Frame]) -> Vec<i64> {
    range_each(values, frames, |frame| {
        frame.iter().fold(0, |sum, value| sum.wrapping_add(*value))
    })
}

/// The least of each frame.
pub fn range_min_f64(values: &[f64], frames: &[Frame]) -> Vec<f64> {
    range_each(values, frames, min_f64)
}

/// The greatest of each frame.
pub fn range_max_f64(values: &[f64], frames: &[Frame]) -> Vec<f64> {
    range_each(values, frames, max_f64)
}

/// The least of each frame.
pub fn range_min_i64(values: &[i64], frames: &[Frame]) -> Vec<i64> {
    range_each(values, frames, min_i64)
}

/// The greatest of each frame.
pub fn range_max_i64(values: &[i64], frames: &[Frame]) -> Vec<i64> {
    range_each(values, frames, max_i64)
}

/// The sum of a frame over a tree of rows; `values`: from row 0 on.
pub fn tree_sum(values: &[f64], frame: Range<usize>) -> f64 {
    let (begun, last) = (frame.start / TREE_ROWS, (frame.end - 1) / TREE_ROWS);
    if begun == last {
        return usual(lanes_sum(&values[frame]));
    }
    let rest = suffix_sum(&values[frame.start..(begun + 1) * TREE_ROWS]);
    let block = &values[last * TREE_ROWS..];
    let beginning = prefix_sum(block, frame.end - 1 - last * TREE_ROWS);
    usual(rest + whole_sum(&block_sums(values), begun + 1..last) + beginning)
}

/// The sum of whole blocks.
fn whole_sum(sums: &[f64], blocks: Range<usize>) -> f64 {
    // From both sides to the middle.
    let (mut ends, mut beginnings) = (-0.0, -0.0);
    let (mut sums, mut blocks) = (sums.to_vec(), blocks);
    while !blocks.is_empty() {
        let (begun, last) = (blocks.start / TREE_ROWS, (blocks.end - 1) / TREE_ROWS);
        if begun == last {
            return ends + lanes_sum(&sums[blocks]) + beginnings;
        }
        ends += lanes_sum(&sums[blocks.start..(begun + 1) * TREE_ROWS]);
        beginnings += lanes_sum(&sums[last * TREE_ROWS..blocks.end]);
        (sums, blocks) = (block_sums(&sums), begun + 1..last);
    }
    ends + beginnings
}

/// The sum of each whole block.
fn block_sums(values: &[f64]) -> Vec<f64> {
    values
        .as_chunks::<TREE_ROWS>()
        .0
        .iter()
        .map(|block| lanes_sum(block))
        .collect()
}

/// Row `r` is added to lane `r % 8`; the lanes are added by a tree.
fn lanes_sum(values: &[f64]) -> f64 {
    let mut lanes = [-0.0; LANES];
    for (row, value) in values.iter().enumerate() {
        lanes[row % LANES] += value;
    }
    tree_sums(&lanes)[LANES - 1]
}

fn range_each<T>(values: &[T], frames: &[Frame], fold: impl Fn(&[T]) -> T) -> Vec<T> {
    (frames.iter().map(|frame| fold(&values[frame.range()]))).collect()
}

fn min_f64(frame: &[f64]) -> f64 {
    of_key(
        frame
            .iter()
            .map(|&value| key(value))
            .fold(i64::MAX, i64::min),
    )
}

fn max_f64(frame: &[f64]) -> f64 {
    of_key(
        frame
            .iter()
            .map(|&value| key(value))
            .fold(i64::MIN, i64::max),
    )
}

fn min_i64(frame: &[i64]) -> i64 {
    frame.iter().copied().fold(i64::MAX, i64::min)
}

fn max_i64(frame: &[i64]) -> i64 {
    frame.iter().copied().fold(i64::MIN, i64::max)
}
