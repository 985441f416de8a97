//! `median` and `percentile_cont`: exact, over all values.
//!
//! Values are ordered totally (−0.0 below 0.0); NaN is one value and the greatest.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use super::collect::{Collect, HeldMax};
use super::fold::{column, nullable};
use super::saved::{Saved, list_column};
use crate::error::Result;

/// A float type whose quantiles can be taken.
pub(super) trait Quantile: ArrowPrimitiveType + Debug {
    /// The same value with the usual NaN, which the total order puts last.
    fn usual(value: Self::Native) -> Self::Native;

    /// The total order.
    fn compare(a: &Self::Native, b: &Self::Native) -> std::cmp::Ordering;

    /// Half of the sum, in the type's own arithmetic.
    fn middle(a: Self::Native, b: Self::Native) -> Self::Native;

    /// Exactly.
    fn to_f64(value: Self::Native) -> f64;

    /// The nearest.
    fn of_f64(value: f64) -> Self::Native;
}

macro_rules! quantile {
    ($type:ident, $native:ty) => {
        impl Quantile for $type {
            fn usual(value: $native) -> $native {
                if value.is_nan() {
                    <$native>::NAN
                } else {
                    value
                }
            }

            fn compare(a: &$native, b: &$native) -> std::cmp::Ordering {
                a.total_cmp(b)
            }

            fn middle(a: $native, b: $native) -> $native {
                (a + b) / 2.0
            }

            fn to_f64(value: $native) -> f64 {
                f64::from(value)
            }

            fn of_f64(value: f64) -> $native {
                value as $native
            }
        }
    };
}

quantile!(Float32Type, f32);
quantile!(Float64Type, f64);

/// Which quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Which {
    /// The middle value, or half the sum of the two middle ones.
    Median,
    /// The value at a fraction of the way from the least to the greatest, linear
    /// between two values.
    Percentile(f64),
}

/// The values at the ranks around `fraction · (n − 1)`, and how much of the upper one
/// is taken. As in DataFusion the weight is cut to six decimal places.
pub(super) fn ranks(n: usize, fraction: f64) -> (usize, usize, f64) {
    let index = fraction * (n - 1) as f64;
    let lower = index.floor();
    let weight = ((index - lower) * 1e6).floor() / 1e6;
    (lower as usize, index.ceil() as usize, weight)
}

/// A value between two others.
pub(super) fn between(lower: f64, upper: f64, weight: f64) -> f64 {
    lower + (upper - lower) * weight
}

impl Which {
    /// The quantile of `values`, which are put into another order; `None` if there
    /// are none.
    pub(super) fn of<T: Quantile>(self, values: &mut [T::Native]) -> Option<T::Native> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let (lower, upper, weight) = match self {
            Self::Median => ((n - 1) / 2, n / 2, 0.5),
            Self::Percentile(fraction) => ranks(n, fraction),
        };
        let (_, low, above) = values.select_nth_unstable_by(lower, T::compare);
        let low = *low;
        if lower == upper {
            return Some(low);
        }
        let high = (above.iter().copied())
            .min_by(T::compare)
            .expect("a rank above the lower one has a value");
        Some(match self {
            Self::Median => T::middle(low, high),
            Self::Percentile(_) => T::of_f64(between(T::to_f64(low), T::to_f64(high), weight)),
        })
    }
}

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
