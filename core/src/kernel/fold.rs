//! What frames are folded by: sums, and the least and greatest in either of two ways.
//!
//! Where floats are ordinary, the processor's `min` and `max` are right. Where there is a
//! NaN or a −0.0, lanes hold the integer keys of floats.

use super::lanes::{LANES, Lanes};
use super::order::{key, of_key, usual};

/// How two folded values are joined, the earlier rows first.
pub(super) trait Fold {
    type Element: Copy;

    /// Changes no value that it is joined with.
    const IDENTITY: Self::Element;

    fn one(a: Self::Element, b: Self::Element) -> Self::Element;
    fn lanes<L: Lanes<Element = Self::Element>>(a: L, b: L) -> L;

    /// A value as it is given out.
    #[inline(always)]
    fn usual(value: Self::Element) -> Self::Element {
        value
    }

    /// Values as they are given out.
    #[inline(always)]
    fn usual_lanes<L: Lanes<Element = Self::Element>>(values: L) -> L {
        values
    }
}

pub(super) struct SumF64;

impl Fold for SumF64 {
    type Element = f64;

    const IDENTITY: f64 = -0.0;

    #[inline(always)]
    fn one(a: f64, b: f64) -> f64 {
        a + b
    }

    #[inline(always)]
    fn lanes<L: Lanes<Element = f64>>(a: L, b: L) -> L {
        a.add(b)
    }

    #[inline(always)]
    fn usual(value: f64) -> f64 {
        usual(value)
    }

    #[inline(always)]
    fn usual_lanes<L: Lanes<Element = f64>>(values: L) -> L {
        values.usual()
    }
}

macro_rules! fold {
    ($name:ident, $element:ty, $identity:expr, $one:expr, $lanes:ident) => {
        pub(super) struct $name;

        impl Fold for $name {
            type Element = $element;

            const IDENTITY: $element = $identity;

            #[inline(always)]
            fn one(a: $element, b: $element) -> $element {
                $one(a, b)
            }

            #[inline(always)]
            fn lanes<L: Lanes<Element = $element>>(a: L, b: L) -> L {
                a.$lanes(b)
            }
        }
    };
}

// Of floats that are ordinary: neither NaN nor −0.0.
fold!(
    MinF64,
    f64,
    f64::INFINITY,
    |a, b| if a < b { a } else { b },
    fast_min
);
fold!(
    MaxF64,
    f64,
    f64::NEG_INFINITY,
    |a, b| if a > b { a } else { b },
    fast_max
);
fold!(SumI64, i64, 0, i64::wrapping_add, add);
fold!(MinI64, i64, i64::MAX, i64::min, fast_min);
fold!(MaxI64, i64, i64::MIN, i64::max, fast_max);

/// Of all floats, by keys.
macro_rules! fold_keyed {
    ($name:ident, $identity:expr, $one:expr, $lanes:ident) => {
        fold!(
            $name,
            f64,
            $identity,
            |a, b| of_key($one(key(a), key(b))),
            $lanes
        );
    };
}

fold_keyed!(MinKeyed, f64::NAN, i64::min, fast_min);
fold_keyed!(MaxKeyed, f64::NEG_INFINITY, i64::max, fast_max);

/// Floats in lanes of their keys.
#[derive(Clone, Copy)]
pub(super) struct Keyed<L>(L);

impl<L: Lanes<Element = i64>> Lanes for Keyed<L> {
    type Element = f64;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self(L::splat(key(value)))
    }

    #[inline(always)]
    fn new(values: [f64; LANES]) -> Self {
        Self(L::new(values.map(key)))
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        self.0.to_array().map(of_key)
    }

    fn add(self, _: Self) -> Self {
        unreachable!("keys are compared")
    }

    #[inline(always)]
    fn fast_min(self, other: Self) -> Self {
        Self(self.0.fast_min(other.0))
    }

    #[inline(always)]
    fn fast_max(self, other: Self) -> Self {
        Self(self.0.fast_max(other.0))
    }

    #[inline(always)]
    fn below<const HALF: usize>(self, fill: Self) -> Self {
        Self(self.0.below::<HALF>(fill.0))
    }

    #[inline(always)]
    fn above<const HALF: usize>(self, fill: Self) -> Self {
        Self(self.0.above::<HALF>(fill.0))
    }

    #[inline(always)]
    fn first(self) -> Self {
        Self(self.0.first())
    }

    #[inline(always)]
    fn last(self) -> Self {
        Self(self.0.last())
    }

    #[inline(always)]
    fn usual(self) -> Self {
        self
    }
}
