//! Frames that slide over a slice: one result a row.
//!
//! ```text
//!  rows      · · · · a b c d e f g h | i j k l m · · ·      blocks of w = 8
//!  frame               └───────────────────┘   of row l
//!                      e f g h   folded from the block's end: one value, kept
//!                                i j k l   folded from the block's beginning
//! ```
//!
//! Every row is folded twice, once from either end, and each result joins two values:
//! the cost does not depend on `w`. Where times say which rows are in a frame, blocks are
//! as long as they happen to be: the two stacks.

use super::fold::{
    Fold, Keyed, MaxF64, MaxI64, MaxKeyed, MinF64, MinI64, MinKeyed, SumF64, SumI64,
};
use super::lanes::{Backend, LANES, Lanes};
use super::order::is_ordinary;
use super::reference::{Frame, NARROW_ROWS};

// ---------------------------------------------------------------------------------
// The last w rows.

/// As [`super::reference::rows_sum_f64`], into `out`, of the same length.
#[inline(always)]
pub(super) fn rows_sum_f64<B: Backend>(values: &[f64], width: usize, out: &mut [f64]) {
    rows::<B::F64, SumF64>(values, width, out);
}

/// As [`super::reference::rows_min_f64`], into `out`, of the same length.
#[inline(always)]
pub(super) fn rows_min_f64<B: Backend>(values: &[f64], width: usize, out: &mut [f64]) {
    if is_ordinary(values) {
        rows::<B::F64, MinF64>(values, width, out);
    } else {
        rows::<Keyed<B::I64>, MinKeyed>(values, width, out);
    }
}

/// As [`super::reference::rows_max_f64`], into `out`, of the same length.
#[inline(always)]
pub(super) fn rows_max_f64<B: Backend>(values: &[f64], width: usize, out: &mut [f64]) {
    if is_ordinary(values) {
        rows::<B::F64, MaxF64>(values, width, out);
    } else {
        rows::<Keyed<B::I64>, MaxKeyed>(values, width, out);
    }
}

/// As [`super::reference::rows_sum_i64`], into `out`, of the same length. What wraps can
/// be subtracted again: a plain loop, but for the shortest frames.
#[inline(always)]
pub(super) fn rows_sum_i64<B: Backend>(values: &[i64], width: usize, out: &mut [i64]) {
    const SHORT_ROWS: usize = 4;
    if width <= SHORT_ROWS {
        return rows::<B::I64, SumI64>(values, width, out);
    }
    running_sums(values, width, out);
}

/// Of one code for every level: with more instructions to choose from, compilers make less of
/// it.
#[inline(never)]
fn running_sums(values: &[i64], width: usize, out: &mut [i64]) {
    assert_eq!(values.len(), out.len(), "one result for each row");
    let (begun, whole) = out.split_at_mut(width.min(values.len()));
    let mut sum = 0_i64;
    for (value, out) in values.iter().zip(begun) {
        sum = sum.wrapping_add(*value);
        *out = sum;
    }
    // Additions of a chunk do not wait for those of the chunk before.
    const CHUNK_ROWS: usize = 8;
    let entering = values[values.len() - whole.len()..].chunks(CHUNK_ROWS);
    let leaving = values.chunks(CHUNK_ROWS);
    for ((entering, leaving), out) in entering.zip(leaving).zip(whole.chunks_mut(CHUNK_ROWS)) {
        let mut change = 0_i64;
        for ((value, gone), out) in entering.iter().zip(leaving).zip(out) {
            change = change.wrapping_add(value.wrapping_sub(*gone));
            *out = sum.wrapping_add(change);
        }
        sum = sum.wrapping_add(change);
    }
}

/// As [`super::reference::rows_min_i64`], into `out`, of the same length.
#[inline(always)]
pub(super) fn rows_min_i64<B: Backend>(values: &[i64], width: usize, out: &mut [i64]) {
    rows::<B::I64, MinI64>(values, width, out);
}

/// As [`super::reference::rows_max_i64`], into `out`, of the same length.
#[inline(always)]
pub(super) fn rows_max_i64<B: Backend>(values: &[i64], width: usize, out: &mut [i64]) {
    rows::<B::I64, MaxI64>(values, width, out);
}

#[inline(always)]
fn rows<L: Lanes, F: Fold<Element = L::Element>>(
    values: &[L::Element],
    width: usize,
    out: &mut [L::Element],
) {
    assert_eq!(values.len(), out.len(), "one result for each row");
    assert!(width > 0, "a frame holds its row");
    if width <= NARROW_ROWS {
        narrow::<L, F>(values, width, out);
    } else {
        blocks::<L, F>(values, width.min(values.len()), out);
    }
}

/// Adds up `width` shifted slices.
#[inline(always)]
fn narrow<L: Lanes, F: Fold<Element = L::Element>>(
    values: &[L::Element],
    width: usize,
    out: &mut [L::Element],
) {
    let one = |frame: &[L::Element]| {
        let folded = frame
            .iter()
            .fold(F::IDENTITY, |folded, value| F::one(folded, *value));
        F::usual(folded)
    };
    let short = (width - 1).min(values.len());
    for row in 0..short {
        out[row] = one(&values[..=row]);
    }
    // Row `short + i` sees values `i ..i + width`.
    let (groups, tail) = out[short..].as_chunks_mut::<LANES>();
    for (group, out) in groups.iter_mut().enumerate() {
        let seen = &values[group * LANES..][..LANES + width - 1];
        let mut folded = L::splat(F::IDENTITY);
        for shifted in seen.array_windows::<LANES>() {
            folded = F::lanes(folded, L::new(*shifted));
        }
        *out = F::usual_lanes(folded).to_array();
    }
    let first = groups.len() * LANES;
    for (row, out) in tail.iter_mut().enumerate() {
        *out = one(&values[first + row..][..width]);
    }
}

/// Rows before and after the values of a kept suffix, for groups that reach over its ends.
const MARGIN: usize = LANES;

#[inline(always)]
fn blocks<L: Lanes, F: Fold<Element = L::Element>>(
    values: &[L::Element],
    width: usize,
    out: &mut [L::Element],
) {
    // At `MARGIN + i`: rows `i ..` of the block before, folded. Nothing beyond its end.
    let mut suffix = vec![F::IDENTITY; MARGIN + width + MARGIN];
    let mut start = 0;
    while start < values.len() {
        let end = values.len().min(start + width);
        let rest = &values[start..];
        // The last group may reach into the next block, which writes there later.
        let groups = (end - start).div_ceil(LANES).min(rest.len() / LANES);
        let mut carry = L::splat(F::IDENTITY);
        for group in 0..groups {
            let row = group * LANES;
            let older = L::new(*array(&suffix[MARGIN + row + 1..]));
            let newer = prefixes::<L, F>(L::new(*array(&rest[row..])));
            let folded = F::lanes(older, F::lanes(carry, newer));
            *array_mut(&mut out[start + row..]) = F::usual_lanes(folded).to_array();
            carry = F::lanes(carry, newer.last());
        }
        let row = groups * LANES;
        if row < end - start {
            let tail = &rest[row..];
            let mut group = [F::IDENTITY; LANES];
            group[..tail.len()].copy_from_slice(tail);
            let older = L::new(*array(&suffix[MARGIN + row + 1..]));
            let newer = prefixes::<L, F>(L::new(group));
            let folded = F::lanes(older, F::lanes(carry, newer));
            let results = F::usual_lanes(folded).to_array();
            out[start + row..].copy_from_slice(&results[..tail.len()]);
        }
        if end < values.len() {
            suffixes::<L, F>(values, start, end, &mut suffix);
        }
        start = end;
    }
}

/// Folds rows `start ..end` from the end: `suffix[MARGIN + i]` becomes what rows
/// `start + i ..end` come to. What lies before `MARGIN` is overwritten.
#[inline(always)]
fn suffixes<L: Lanes, F: Fold<Element = L::Element>>(
    values: &[L::Element],
    start: usize,
    end: usize,
    suffix: &mut [L::Element],
) {
    let mut carry = L::splat(F::IDENTITY);
    // The last group may reach over the start; its lower lanes change no upper ones.
    let groups = (end - start).div_ceil(LANES).min(end / LANES);
    for group in 1..=groups {
        let from = end - group * LANES;
        let folded = suffixes_of::<L, F>(L::new(*array(&values[from..])));
        *array_mut(&mut suffix[MARGIN + from - start..]) = F::lanes(folded, carry).to_array();
        carry = F::lanes(folded.first(), carry);
    }
    let rest = end - groups * LANES;
    if rest > start {
        let mut group = [F::IDENTITY; LANES];
        group[LANES - rest..].copy_from_slice(&values[..rest]);
        let folded = suffixes_of::<L, F>(L::new(group));
        *array_mut(&mut suffix[MARGIN + rest - start - LANES..]) =
            F::lanes(folded, carry).to_array();
    }
}

/// Each lane folded with all above it, by a tree.
#[inline(always)]
pub(super) fn suffixes_of<L: Lanes, F: Fold<Element = L::Element>>(group: L) -> L {
    let mut folded = group;
    folded = F::lanes(folded, folded.above::<1>(L::splat(F::IDENTITY)));
    folded = F::lanes(folded, folded.above::<2>(L::splat(F::IDENTITY)));
    F::lanes(folded, folded.above::<4>(L::splat(F::IDENTITY)))
}

/// Each lane folded with all below it, by a tree.
#[inline(always)]
pub(super) fn prefixes<L: Lanes, F: Fold<Element = L::Element>>(group: L) -> L {
    let mut folded = group;
    folded = F::lanes(folded.below::<1>(L::splat(F::IDENTITY)), folded);
    folded = F::lanes(folded.below::<2>(L::splat(F::IDENTITY)), folded);
    F::lanes(folded.below::<4>(L::splat(F::IDENTITY)), folded)
}

#[inline(always)]
fn array<T>(slice: &[T]) -> &[T; LANES] {
    slice.first_chunk().expect("a margin after the values")
}

#[inline(always)]
fn array_mut<T>(slice: &mut [T]) -> &mut [T; LANES] {
    slice.first_chunk_mut().expect("a margin after the values")
}

// ---------------------------------------------------------------------------------
// A range of times.

/// For each row, the rows whose time is at most `width` before its own, and not after
/// it. Rows of one time are in each other's frames.
///
/// - `times`: `[rows]`, ascending; `width` in the same unit; `frames`: `[rows]`.
///
/// # Panics
/// If lengths disagree, or there are 2³² rows.
pub fn range_frames(times: &[i64], width: u64, frames: &mut [Frame]) {
    assert_eq!(times.len(), frames.len(), "one frame for each row");
    each_start(times, times, width, |row, start| frames[row].start = start);
    let mut end = times.len() as u32;
    for row in (0..times.len()).rev() {
        let has_next_peer = times.get(row + 1) == Some(&times[row]);
        end = if has_next_peer { end } else { row as u32 + 1 };
        frames[row].end = end;
    }
}

/// For each row, how many of `older` lie more than `width` before it.
///
/// - `older`, `times`: ascending; `width` in the same unit; `starts`: one for each of
///   `times`.
///
/// # Panics
/// If lengths disagree, or there are 2³² older ones.
pub fn range_starts(older: &[i64], times: &[i64], width: u64, starts: &mut [u32]) {
    assert_eq!(times.len(), starts.len(), "one start for each row");
    each_start(older, times, width, |row, start| starts[row] = start);
}

/// Calls `set` with each row and how many of `older` are before its frame. A plain loop at
/// every level: lanes of rows and of times cost more to make than they save.
#[inline(always)]
fn each_start(older: &[i64], times: &[i64], width: u64, mut set: impl FnMut(usize, u32)) {
    // About as many rows leave frames as enter: this is mostly enough for a group.
    const GROUP: usize = 2;
    const PROBES: usize = 6;
    assert!(
        u32::try_from(older.len()).is_ok(),
        "rows are numbered by 32 bits"
    );
    // Where it saturates, no time lies before it.
    let earliest_of = |time: &i64| time.saturating_sub_unsigned(width);
    let mut start = (times.first()).map_or(0, |time| gallop(older, earliest_of(time)));
    let (groups, rest) = times.as_chunks::<GROUP>();
    for (group, times_of) in groups.iter().enumerate() {
        let earliest = times_of.each_ref().map(earliest_of);
        // How many rows leave with a row is hard to foretell: they are counted without a
        // branch, and all rows of a group from the same one on.
        let mut left = [0; GROUP];
        let mut counted = 0;
        if let Some(oldest) = older[start..].first_chunk::<PROBES>() {
            counted = PROBES;
            for time in oldest {
                for (left, earliest) in left.iter_mut().zip(&earliest) {
                    *left += usize::from(time < earliest);
                }
            }
        }
        let first = start;
        for (row, (left, earliest)) in left.iter().zip(earliest).enumerate() {
            start = first + left;
            if *left == counted {
                while older.get(start).is_some_and(|time| *time < earliest) {
                    start += 1;
                }
            }
            set(group * GROUP + row, start as u32);
        }
    }
    for (row, time) in (groups.len() * GROUP..).zip(rest) {
        let earliest = earliest_of(time);
        while older.get(start).is_some_and(|time| *time < earliest) {
            start += 1;
        }
        set(row, start as u32);
    }
}

/// How many times are before one, in steps that double.
#[inline(always)]
fn gallop(times: &[i64], earliest: i64) -> usize {
    let mut step = LANES;
    while times.get(step).is_some_and(|time| *time < earliest) {
        step *= 2;
    }
    let (from, until) = (
        if step == LANES { 0 } else { step / 2 },
        times.len().min(step),
    );
    from + times[from..until].partition_point(|time| *time < earliest)
}

/// As [`super::reference::range_sum_f64`], into `out`, one for each frame.
#[inline(always)]
pub(super) fn range_sum_f64<B: Backend>(
    values: &[f64],
    frames: &[Frame],
    split: usize,
    out: &mut [f64],
) -> usize {
    range::<B::F64, SumF64>(values, frames, split, out)
}

/// As [`super::reference::range_min_f64`], into `out`, one for each frame.
#[inline(always)]
pub(super) fn range_min_f64<B: Backend>(values: &[f64], frames: &[Frame], out: &mut [f64]) {
    if is_ordinary(values) {
        range::<B::F64, MinF64>(values, frames, 0, out);
    } else {
        range::<Keyed<B::I64>, MinKeyed>(values, frames, 0, out);
    }
}

/// As [`super::reference::range_max_f64`], into `out`, one for each frame.
#[inline(always)]
pub(super) fn range_max_f64<B: Backend>(values: &[f64], frames: &[Frame], out: &mut [f64]) {
    if is_ordinary(values) {
        range::<B::F64, MaxF64>(values, frames, 0, out);
    } else {
        range::<Keyed<B::I64>, MaxKeyed>(values, frames, 0, out);
    }
}

/// As [`super::reference::range_sum_i64`], into `out`, one for each frame.
#[inline(always)]
pub(super) fn range_sum_i64<B: Backend>(values: &[i64], frames: &[Frame], out: &mut [i64]) {
    range::<B::I64, SumI64>(values, frames, 0, out);
}

/// As [`super::reference::range_min_i64`], into `out`, one for each frame.
#[inline(always)]
pub(super) fn range_min_i64<B: Backend>(values: &[i64], frames: &[Frame], out: &mut [i64]) {
    range::<B::I64, MinI64>(values, frames, 0, out);
}

/// As [`super::reference::range_max_i64`], into `out`, one for each frame.
#[inline(always)]
pub(super) fn range_max_i64<B: Backend>(values: &[i64], frames: &[Frame], out: &mut [i64]) {
    range::<B::I64, MaxI64>(values, frames, 0, out);
}

/// Two stacks that meet at `split`: the older rows folded from their end, all of them
/// kept; the newer folded into one value. When the older stack is empty, all rows of the
/// frame become it.
#[inline(always)]
fn range<L: Lanes, F: Fold<Element = L::Element>>(
    values: &[L::Element],
    frames: &[Frame],
    mut split: usize,
    out: &mut [L::Element],
) -> usize {
    assert_eq!(frames.len(), out.len(), "one result for each frame");
    let mut older = Vec::new();
    // The row of the oldest value kept.
    let mut base = frames.first().map_or(0, |frame| frame.start as usize);
    if base < split {
        older.resize(MARGIN + split - base, F::IDENTITY);
        suffixes::<L, F>(values, base, split, &mut older);
    }
    let mut end = split;
    let mut newer = F::IDENTITY;
    for (frame, out) in frames.iter().zip(out.iter_mut()) {
        let (start, last) = (frame.start as usize, frame.end as usize);
        while end < last {
            newer = F::one(newer, values[end]);
            end += 1;
        }
        if start >= split {
            older.clear();
            older.resize(MARGIN + end - start, F::IDENTITY);
            suffixes::<L, F>(values, start, end, &mut older);
            (base, split, newer) = (start, end, F::IDENTITY);
        }
        *out = F::one(older[MARGIN + start - base], newer);
    }
    let (groups, tail) = out.as_chunks_mut::<LANES>();
    for group in groups {
        *group = F::usual_lanes(L::new(*group)).to_array();
    }
    for out in tail {
        *out = F::usual(*out);
    }
    split
}
