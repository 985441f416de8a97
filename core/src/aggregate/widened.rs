//! Aggregates of `Float64`, over a column of `Float32`: each value is widened on its way.

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Float32Type};

use super::fold::{Fold, values};
use super::saved::Saved;
use super::{Rows, Shared};
use crate::error::Result;

/// Its states and values are those of the inner one.
#[derive(Debug)]
pub(super) struct Widened<F>(pub(super) F);

impl<F: Fold<Value = f64>> Fold for Widened<F> {
    type Slot = F::Slot;
    type Value = f32;
    type Columns<'a> = &'a [f32];

    const EMPTY: Self::Slot = F::EMPTY;
    const SAVED: usize = F::SAVED;

    fn columns<'a>(&self, rows: &Rows<'a>) -> &'a [f32] {
        values::<Float32Type>(rows, 0)
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        self.0.selection(rows)
    }

    #[inline(always)]
    fn add(slot: &mut Self::Slot, value: f32) {
        F::add(slot, value.into());
    }

    #[inline(always)]
    fn merge(into: &mut Self::Slot, from: Self::Slot) {
        F::merge(into, from);
    }

    fn return_type(&self) -> DataType {
        self.0.return_type()
    }

    fn shared(&self) -> Option<Shared> {
        self.0.shared()
    }

    fn is_narrow(&self) -> bool {
        true
    }

    fn evaluate(&self, slots: &[Self::Slot]) -> ArrayRef {
        self.0.evaluate(slots)
    }

    fn save(&self, slots: &[Self::Slot]) -> Vec<ArrayRef> {
        self.0.save(slots)
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>> {
        self.0.load(saved)
    }
}
