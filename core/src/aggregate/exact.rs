//! `median` and `percentile_cont`: exact, over all values.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;

use super::collect::{Collect, HeldMax};
use super::fold::{column, nullable};
use super::quantile::{Quantile, Which};
use super::saved::{Saved, list_column};
use super::slide::SlidingState;
use super::slide_quantiles::SlidingQuantiles;
use crate::error::Result;

/// All values of a slot.
#[derive(Debug)]
pub(super) struct Exact<T> {
    which: Which,
    max: HeldMax,
    values: PhantomData<fn() -> T>,
}

impl<T> Exact<T> {
    pub(super) fn new(which: Which, max: HeldMax) -> Self {
        Self {
            which,
            max,
            values: PhantomData,
        }
    }
}

impl<T: Quantile> Collect for Exact<T> {
    type Slot = Vec<T::Native>;
    type Value<'a> = T::Native;
    type Columns<'a> = &'a [T::Native];

    const SAVED: usize = 1;

    fn is_alike(&self, other: &Self) -> bool {
        self.max == other.max
    }

    fn name(&self) -> &str {
        match self.which {
            Which::Median => "median",
            Which::Percentile(_) => "percentile_cont",
        }
    }

    fn columns<'a>(&self, values: &'a ArrayRef) -> &'a [T::Native] {
        values.as_primitive::<T>().values()
    }

    #[inline(always)]
    fn add(slot: &mut Self::Slot, value: T::Native) {
        slot.push(T::usual(value));
    }

    fn merge(into: &mut Self::Slot, from: &Self::Slot) {
        into.extend_from_slice(from);
    }

    #[inline(always)]
    fn heap_bytes(slot: &Self::Slot) -> usize {
        slot.capacity() * size_of::<T::Native>()
    }

    #[inline(always)]
    fn held(slot: &Self::Slot) -> usize {
        slot.len()
    }

    fn held_max(&self) -> Option<HeldMax> {
        Some(self.max)
    }

    fn return_type(&self) -> DataType {
        T::DATA_TYPE
    }

    fn sliding(&self) -> Option<Box<dyn SlidingState>> {
        Some(Box::new(SlidingQuantiles::<T>::new(self.which)))
    }

    fn evaluate(&self, slots: &[&Self::Slot]) -> ArrayRef {
        let mut values = vec![];
        let quantiles = slots.iter().map(|slot| {
            values.clear();
            values.extend_from_slice(slot);
            self.which.of::<T>(&mut values)
        });
        Arc::new(nullable::<T>(quantiles))
    }

    fn save(&self, slots: &[&Self::Slot]) -> Vec<ArrayRef> {
        let values = slots.iter().flat_map(|slot| slot.iter().copied());
        vec![list_column(
            slots.iter().map(|slot| slot.len()),
            column::<T>(values),
        )]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>> {
        Ok(saved.lists::<T>(0)?.map(<[_]>::to_vec).collect())
    }
}
