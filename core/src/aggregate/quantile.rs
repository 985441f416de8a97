//! What `median` and `percentile_cont` are of values.
//!
//! Values are ordered totally (−0.0 below 0.0); NaN is one value and the greatest.

use std::fmt::Debug;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{Float32Type, Float64Type};

use crate::kernel::Around;

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
        let (lower, upper, weight) = self.ranks(n);
        let (_, low, above) = values.select_nth_unstable_by(lower, T::compare);
        let low = *low;
        if lower == upper {
            return Some(low);
        }
        let high = (above.iter().copied())
            .min_by(T::compare)
            .expect("a rank above the lower one has a value");
        Some(self.between::<T>(low, high, weight))
    }

    fn ranks(self, n: usize) -> (usize, usize, f64) {
        match self {
            Self::Median => ((n - 1) / 2, n / 2, 0.5),
            Self::Percentile(fraction) => ranks(n, fraction),
        }
    }

    /// How far from the least value to the greatest it lies.
    pub(super) fn fraction(self) -> f64 {
        match self {
            Self::Median => 0.5,
            Self::Percentile(fraction) => fraction,
        }
    }

    fn between<T: Quantile>(self, low: T::Native, high: T::Native, weight: f64) -> T::Native {
        match self {
            Self::Median => T::middle(low, high),
            Self::Percentile(_) => T::of_f64(between(T::to_f64(low), T::to_f64(high), weight)),
        }
    }

    /// The quantile of a frame, if it has values.
    pub(super) fn of_frame<T: Quantile>(self, around: &Around) -> Option<T::Native> {
        if around.values == 0 {
            return None;
        }
        let (low, high) = (T::of_f64(around.lower), T::of_f64(around.upper));
        let (lower, upper, weight) = self.ranks(around.values as usize);
        Some(match lower == upper {
            true => low,
            false => self.between::<T>(low, high, weight),
        })
    }
}
