//! Aggregates whose partial state is one small record.
//!
//! A [`Fold`] says how a row is added to a record, how two records are combined and
//! what they mean; [`FoldState`] is the column of records. The loop over the rows is
//! compiled for each fold: no call through a table, no allocation.
//!
//! Rows are added to each record in row order, so that floating sums have the same
//! bits however the rows were batched.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};

use super::saved::Saved;
use super::select::{Run, for_each_run, selected, two_runs};
use super::shards::{are_worth_sharing, in_shards};
use super::{AggregateState, Rows, Shared};
use crate::batch::room;
use crate::error::Result;

/// What a row gives to a fold.
pub(super) trait Column: Sync {
    /// One row's part.
    type Value: Copy;

    /// How many rows there are.
    fn rows(&self) -> usize;

    /// The part of `row`, which is below [`Column::rows`].
    fn value(&self, row: usize) -> Self::Value;
}

impl<T: Copy + Sync> Column for &[T] {
    type Value = T;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn value(&self, row: usize) -> T {
        self[row]
    }
}

impl<T: ArrowNativeType> Column for ScalarBuffer<T> {
    type Value = T;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn value(&self, row: usize) -> T {
        self[row]
    }
}

impl<T: Copy + Sync> Column for Vec<T> {
    type Value = T;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn value(&self, row: usize) -> T {
        self[row]
    }
}

impl Column for &BooleanBuffer {
    type Value = bool;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn value(&self, row: usize) -> bool {
        BooleanBuffer::value(self, row)
    }
}

/// Two columns side by side.
impl<T: Copy + Sync> Column for (&[T], &[T]) {
    type Value = (T, T);

    #[inline(always)]
    fn rows(&self) -> usize {
        self.0.len().min(self.1.len())
    }

    #[inline(always)]
    fn value(&self, row: usize) -> (T, T) {
        (self.0[row], self.1[row])
    }
}

/// An aggregate whose partial state is one small record.
pub(super) trait Fold: Debug + Send + Sync + 'static {
    /// The partial state.
    type Slot: Copy + Debug + Send + Sync + 'static;
    /// What a row gives.
    type Value: Copy;
    /// The columns that a batch gives.
    type Columns<'a>: Column<Value = Self::Value>;

    /// The state of no rows.
    const EMPTY: Self::Slot;

    /// The number of columns that a state is saved as.
    const SAVED: usize;

    /// The columns of a batch.
    fn columns<'a>(&self, rows: &Rows<'a>) -> Self::Columns<'a>;

    /// The rows that take part; `None` = all of them.
    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer>;

    /// Adds a row.
    fn add(slot: &mut Self::Slot, value: Self::Value);

    /// Combines the state of later rows into that of earlier ones.
    fn merge(into: &mut Self::Slot, from: Self::Slot);

    /// The type of the values.
    fn return_type(&self) -> DataType;

    /// What it gives where it shares a record with others over one float column.
    fn shared(&self) -> Option<Shared> {
        None
    }

    /// Whether its argument is a column of `Float32`.
    fn is_narrow(&self) -> bool {
        false
    }

    /// The values of states.
    fn evaluate(&self, slots: &[Self::Slot]) -> ArrayRef;

    /// The states as [`Fold::SAVED`] columns.
    fn save(&self, slots: &[Self::Slot]) -> Vec<ArrayRef>;

    /// The states of saved columns.
    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>>;
}

/// A column of records.
#[derive(Debug)]
pub(super) struct FoldState<F: Fold> {
    fold: Arc<F>,
    slots: Vec<F::Slot>,
}

impl<F: Fold> FoldState<F> {
    pub(super) fn new(fold: Arc<F>) -> Self {
        Self {
            fold,
            slots: Vec::new(),
        }
    }

    fn pick(&self, slots: &[u32]) -> Vec<F::Slot> {
        (slots.iter())
            .map(|slot| self.slots[*slot as usize])
            .collect()
    }
}

impl<F: Fold> AggregateState for FoldState<F> {
    fn resize(&mut self, slots: usize) {
        if slots > self.slots.len() {
            room::resize(&mut self.slots, slots, F::EMPTY);
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.slots[*slot as usize] = F::EMPTY;
        }
    }

    fn clear_block(&mut self, first: u32, len: u32) {
        self.slots[first as usize..(first + len) as usize].fill(F::EMPTY);
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let columns = self.fold.columns(&rows);
        let selection = self.fold.selection(&rows);
        fold_rows(
            &mut self.slots,
            rows.slots,
            &columns,
            selection.as_ref(),
            F::add,
        );
        Ok(())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "slots are merged in pairs");
        let slots = self.slots.as_mut_slice();
        for (into, from) in into.iter().zip(from) {
            let from = slots[*from as usize];
            F::merge(&mut slots[*into as usize], from);
        }
        Ok(())
    }

    fn merge_block(&mut self, into: u32, from: u32, len: u32) -> Result<()> {
        let (into, from) = two_runs(&mut self.slots, into, from, len);
        for (into, from) in into.iter_mut().zip(from) {
            F::merge(into, *from);
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        Ok(self.fold.evaluate(&self.pick(slots)))
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(self.fold.save(&self.pick(slots)))
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let saved = Saved::new(columns, F::SAVED, slots.len())?;
        for (slot, record) in slots.iter().zip(self.fold.load(saved)?) {
            self.slots[*slot as usize] = record;
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<F::Slot>()
    }
}

/// Adds the selected rows to their records, in row order.
///
/// # Panics
/// If the columns are shorter than the slots: a caller's bug.
pub(super) fn fold_rows<S: Copy + Send, C: Column>(
    records: &mut [S],
    slots: &[u32],
    columns: &C,
    selection: Option<&BooleanBuffer>,
    add: impl Fn(&mut S, C::Value) + Copy + Sync,
) {
    let rows = slots.len();
    assert_eq!(columns.rows(), rows, "each row has a slot");
    let Some(selection) = selection else {
        if are_worth_sharing(records, rows) {
            return in_shards(records, slots, |records, slots, rows| {
                for (slot, row) in slots.iter().zip(rows) {
                    add(&mut records[*slot as usize], columns.value(*row));
                }
            });
        }
        return fold_range(records, slots, columns, 0..rows, add);
    };
    for_each_run(selection, |run| match run {
        Run::Rows(range) => fold_range(records, slots, columns, range, add),
        Run::Row(row) => add(&mut records[slots[row] as usize], columns.value(row)),
    });
}

/// Adds rows that all take part.
#[inline(never)]
fn fold_range<S: Copy, C: Column>(
    records: &mut [S],
    slots: &[u32],
    columns: &C,
    range: Range<usize>,
    add: impl Fn(&mut S, C::Value),
) {
    let slots = &slots[range.clone()];
    let Some(&first) = slots.first() else {
        return;
    };
    // Rows without a key, or sorted by it, go to one slot: its record stays in
    // registers instead of going through memory for each row.
    if slots.iter().all(|slot| *slot == first) {
        let mut record = records[first as usize];
        range.for_each(|row| add(&mut record, columns.value(row)));
        records[first as usize] = record;
    } else {
        for (row, slot) in range.zip(slots) {
            add(&mut records[*slot as usize], columns.value(row));
        }
    }
}

/// The values of argument `arg` of a batch.
pub(super) fn values<'a, T: ArrowPrimitiveType>(rows: &Rows<'a>, arg: usize) -> &'a [T::Native] {
    rows.args[arg].as_primitive::<T>().values()
}

/// The rows where the first `args` arguments are valid and the filter is true.
pub(super) fn valid(rows: &Rows<'_>, args: usize) -> Option<BooleanBuffer> {
    selected(rows, &rows.args[..args])
}

/// A column without NULLs.
pub(super) fn column<T: ArrowPrimitiveType>(values: impl Iterator<Item = T::Native>) -> ArrayRef {
    let values: ScalarBuffer<T::Native> = values.collect();
    Arc::new(PrimitiveArray::<T>::new(values, None))
}

/// A column with NULLs.
pub(super) fn nullable<T: ArrowPrimitiveType>(
    values: impl Iterator<Item = Option<T::Native>>,
) -> PrimitiveArray<T> {
    values.collect()
}
