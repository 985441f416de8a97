//! `sum` and `avg`.
//!
//! Floating sums are plain additions in row order; integer sums wrap, as DataFusion's
//! do.

use std::fmt::Debug;
use std::marker::PhantomData;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, BooleanArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use std::sync::Arc;

use super::fold::{Fold, column, nullable, valid, values};
use super::physical::{integers, typed};
use super::saved::Saved;
use super::{Rows, Shared};
use crate::error::Result;

/// `sum` of floats.
///
/// The state is the sum alone. It starts at −0.0, which no sum of rows can be, as
/// every value has 0.0 added first: that turns −0.0 into 0.0 and changes nothing else.
#[derive(Debug)]
pub(super) struct SumFloat;

/// The sum of no rows.
const NO_ROWS: f64 = -0.0;

fn some_sum(sum: f64) -> Option<f64> {
    (sum.to_bits() != NO_ROWS.to_bits()).then_some(sum)
}

impl Fold for SumFloat {
    type Slot = f64;
    type Value = f64;
    type Columns<'a> = &'a [f64];

    const EMPTY: f64 = NO_ROWS;
    const SAVED: usize = 1;

    fn columns<'a>(&self, rows: &Rows<'a>) -> &'a [f64] {
        values::<Float64Type>(rows, 0)
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, 1)
    }

    #[inline(always)]
    fn add(sum: &mut f64, value: f64) {
        *sum += value + 0.0;
    }

    #[inline(always)]
    fn merge(into: &mut f64, from: f64) {
        *into += from;
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn shared(&self) -> Option<Shared> {
        Some(Shared::Sum)
    }

    fn evaluate(&self, sums: &[f64]) -> ArrayRef {
        Arc::new(nullable::<Float64Type>(
            sums.iter().map(|sum| some_sum(*sum)),
        ))
    }

    fn save(&self, sums: &[f64]) -> Vec<ArrayRef> {
        vec![column::<Float64Type>(sums.iter().copied())]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<f64>> {
        Ok(saved.values::<Float64Type>(0)?.to_vec())
    }
}

/// `sum` of integers and durations: wraps.
#[derive(Debug)]
pub(super) struct SumInt<T>(DataType, PhantomData<fn() -> T>);

impl<T> SumInt<T> {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self(data_type.clone(), PhantomData)
    }
}

impl<T: ArrowPrimitiveType + Debug> Fold for SumInt<T> {
    type Slot = (T::Native, bool);
    type Value = T::Native;
    type Columns<'a> = ScalarBuffer<T::Native>;

    const EMPTY: Self::Slot = (T::Native::ZERO, false);
    const SAVED: usize = 2;

    fn columns(&self, rows: &Rows<'_>) -> ScalarBuffer<T::Native> {
        integers(&rows.args[0])
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, 1)
    }

    #[inline(always)]
    fn add((sum, seen): &mut Self::Slot, value: T::Native) {
        *sum = sum.add_wrapping(value);
        *seen = true;
    }

    #[inline(always)]
    fn merge((sum, seen): &mut Self::Slot, from: Self::Slot) {
        *sum = sum.add_wrapping(from.0);
        *seen |= from.1;
    }

    fn return_type(&self) -> DataType {
        self.0.clone()
    }

    fn evaluate(&self, sums: &[Self::Slot]) -> ArrayRef {
        let sum = |(sum, seen): &Self::Slot| seen.then_some(*sum);
        typed(nullable::<T>(sums.iter().map(sum)), &self.0)
    }

    fn save(&self, sums: &[Self::Slot]) -> Vec<ArrayRef> {
        let seen: BooleanArray = sums.iter().map(|(_, seen)| Some(*seen)).collect();
        vec![
            column::<T>(sums.iter().map(|(sum, _)| *sum)),
            Arc::new(seen),
        ]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>> {
        let seen = saved.array::<BooleanArray>(1)?.values();
        Ok((saved.values::<T>(0)?.iter().copied()).zip(seen).collect())
    }
}

/// A sum and the number of values in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mean<N> {
    sum: N,
    count: u64,
}

/// `avg` of floats and of durations. The average of durations is rounded towards zero.
#[derive(Debug)]
pub(super) struct Avg<T>(DataType, PhantomData<fn() -> T>);

impl<T> Avg<T> {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self(data_type.clone(), PhantomData)
    }
}

/// How the average of a type is taken.
pub(super) trait Divide: ArrowPrimitiveType + Debug {
    /// `sum / count`, `count` above zero.
    fn divide(sum: Self::Native, count: u64) -> Self::Native;
}

impl Divide for Float64Type {
    fn divide(sum: f64, count: u64) -> f64 {
        sum / count as f64
    }
}

// Durations.
impl Divide for Int64Type {
    fn divide(sum: i64, count: u64) -> i64 {
        sum / count as i64
    }
}

impl<T: Divide> Fold for Avg<T> {
    type Slot = Mean<T::Native>;
    type Value = T::Native;
    type Columns<'a> = ScalarBuffer<T::Native>;

    const EMPTY: Self::Slot = Mean {
        sum: T::Native::ZERO,
        count: 0,
    };
    const SAVED: usize = 2;

    fn columns(&self, rows: &Rows<'_>) -> ScalarBuffer<T::Native> {
        integers(&rows.args[0])
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, 1)
    }

    #[inline(always)]
    fn add(slot: &mut Self::Slot, value: T::Native) {
        slot.sum = slot.sum.add_wrapping(value);
        slot.count += 1;
    }

    #[inline(always)]
    fn merge(into: &mut Self::Slot, from: Self::Slot) {
        into.sum = into.sum.add_wrapping(from.sum);
        into.count += from.count;
    }

    fn return_type(&self) -> DataType {
        self.0.clone()
    }

    fn shared(&self) -> Option<Shared> {
        (self.0 == DataType::Float64).then_some(Shared::Avg)
    }

    fn evaluate(&self, slots: &[Self::Slot]) -> ArrayRef {
        let mean = |slot: &Self::Slot| (slot.count > 0).then(|| T::divide(slot.sum, slot.count));
        typed(nullable::<T>(slots.iter().map(mean)), &self.0)
    }

    fn save(&self, slots: &[Self::Slot]) -> Vec<ArrayRef> {
        vec![
            column::<T>(slots.iter().map(|slot| slot.sum)),
            column::<UInt64Type>(slots.iter().map(|slot| slot.count)),
        ]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>> {
        let counts = saved.values::<UInt64Type>(1)?;
        Ok((saved.values::<T>(0)?.iter().zip(counts))
            .map(|(&sum, &count)| Mean { sum, count })
            .collect())
    }
}
