//! `count(*)` and `count(x, …)`.

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Int64Type};

use super::fold::{Column, Fold, column, valid};
use super::saved::Saved;
use super::{Rows, Shared, stacks};
use crate::error::Result;

/// How many rows there are in which all arguments are valid.
#[derive(Debug)]
pub(super) struct Count;

/// Rows of which only the number matters.
#[derive(Debug)]
pub(super) struct NoColumn(usize);

impl Column for NoColumn {
    type Value = ();

    #[inline(always)]
    fn rows(&self) -> usize {
        self.0
    }

    #[inline(always)]
    fn value(&self, _row: usize) {}
}

impl Fold for Count {
    type Slot = i64;
    type Value = ();
    type Columns<'a> = NoColumn;

    const EMPTY: i64 = 0;
    const SAVED: usize = 1;

    fn columns<'a>(&self, rows: &Rows<'a>) -> NoColumn {
        NoColumn(rows.slots.len())
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, rows.args.len())
    }

    #[inline(always)]
    fn add(count: &mut i64, (): ()) {
        *count += 1;
    }

    #[inline(always)]
    fn merge(into: &mut i64, from: i64) {
        *into += from;
    }

    fn return_type(&self) -> DataType {
        DataType::Int64
    }

    fn shared(&self) -> Option<Shared> {
        Some(Shared::Count)
    }

    fn evaluate(&self, counts: &[i64]) -> ArrayRef {
        column::<Int64Type>(counts.iter().copied())
    }

    fn save(&self, counts: &[i64]) -> Vec<ArrayRef> {
        vec![column::<Int64Type>(counts.iter().copied())]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<i64>> {
        Ok(saved.values::<Int64Type>(0)?.to_vec())
    }
}

/// A factory of counts.
pub(super) fn count() -> std::sync::Arc<dyn super::AggregateFactory> {
    stacks::factory(Count)
}
