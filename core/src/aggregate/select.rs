//! Which rows of a batch take part, and one loop over them.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;

use super::Rows;

/// The rows that a filter lets through and where every argument is valid; `None` =
/// all of them.
///
/// NULLs are those of the values: an index of a dictionary that points at NULL counts.
pub(super) fn selected(rows: &Rows<'_>, args: &[ArrayRef]) -> Option<BooleanBuffer> {
    let mut selection = filtered(rows);
    for array in args {
        if let Some(nulls) = array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
            selection = Some(both(selection, nulls.inner()));
        }
    }
    selection
}

/// The rows that a filter lets through; `None` = all of them.
pub(super) fn filtered(rows: &Rows<'_>) -> Option<BooleanBuffer> {
    let filter = rows.filter?;
    Some(match filter.nulls() {
        Some(nulls) => filter.values() & nulls.inner(),
        None => filter.values().clone(),
    })
}

fn both(selection: Option<BooleanBuffer>, valid: &BooleanBuffer) -> BooleanBuffer {
    match selection {
        Some(selection) => &selection & valid,
        None => valid.clone(),
    }
}

/// Selected rows: a row, or 64 neighbours.
pub(super) enum Run {
    /// One row.
    Row(usize),
    /// Neighbours.
    Rows(Range<usize>),
}

/// Calls `visit` with the selected rows, in order.
#[inline(always)]
pub(super) fn for_each_run(selection: &BooleanBuffer, mut visit: impl FnMut(Run)) {
    for (chunk, mut bits) in selection.bit_chunks().iter_padded().enumerate() {
        let first = chunk * 64;
        if bits == u64::MAX {
            visit(Run::Rows(first..first + 64));
            continue;
        }
        while bits != 0 {
            visit(Run::Row(first + bits.trailing_zeros() as usize));
            bits &= bits - 1;
        }
    }
}

/// Calls `visit` with each selected row of `0 .. rows`, in order.
#[inline(always)]
pub(super) fn for_each_row(
    rows: usize,
    selection: Option<&BooleanBuffer>,
    mut visit: impl FnMut(usize),
) {
    let Some(selection) = selection else {
        return (0..rows).for_each(visit);
    };
    assert_eq!(selection.len(), rows, "a mask is as long as its batch");
    selection.set_indices().for_each(&mut visit);
}

/// Two slots of a column of states: the one that changes, and the one that stays.
///
/// # Panics
/// If they are the same slot: a caller's bug.
pub(super) fn two<T>(slots: &mut [T], into: u32, from: u32) -> (&mut T, &T) {
    let [into, from] = slots
        .get_disjoint_mut([into as usize, from as usize])
        .expect("two different slots are merged");
    (into, from)
}

/// Two runs of a column of states: the one that changes, and the one that stays.
///
/// # Panics
/// If they overlap: a caller's bug.
pub(super) fn two_runs<T>(slots: &mut [T], into: u32, from: u32, len: u32) -> (&mut [T], &[T]) {
    let run = |first: u32| first as usize..(first + len) as usize;
    let [into, from] = slots
        .get_disjoint_mut([run(into), run(from)])
        .expect("two different runs are merged");
    (into, from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selected_row_is_visited_once_in_order() {
        for offset in [0, 3, 64, 65] {
            let bits: Vec<bool> = (0..400)
                .map(|i| i % 7 != 2 || (70..200).contains(&i))
                .collect();
            let mask = BooleanBuffer::from(bits.clone()).slice(offset, 400 - offset);
            let expected: Vec<usize> = (offset..400)
                .filter(|i| bits[*i])
                .map(|i| i - offset)
                .collect();
            let (mut rows, mut runs) = (vec![], vec![]);
            for_each_row(mask.len(), Some(&mask), |row| rows.push(row));
            for_each_run(&mask, |run| match run {
                Run::Row(row) => runs.push(row),
                Run::Rows(range) => runs.extend(range),
            });
            assert_eq!(rows, expected);
            assert_eq!(runs, expected);
        }
    }
}
