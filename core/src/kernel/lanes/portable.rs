//! What the target surely has: SSE2 on x86-64, NEON on ARM, more in a native build.

use std::array::from_fn;

use wide::{f64x8, i32x16, i64x8};

use super::{Backend, FloatLanes, LANES, Lanes, Mask};

/// The vectors of `wide`, which chooses at compile time.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Portable;

impl Backend for Portable {
    type F64 = f64x8;
    type I64 = i64x8;

    const COMPARES_I64: bool = cfg!(not(all(
        target_arch = "x86_64",
        not(target_feature = "sse4.2")
    )));
}

#[inline(always)]
fn below<T: Copy, const HALF: usize>(values: [T; LANES], fill: [T; LANES]) -> [T; LANES] {
    from_fn(|lane| match lane & HALF {
        0 => fill[lane],
        _ => values[(lane & !(2 * HALF - 1)) + HALF - 1],
    })
}

#[inline(always)]
fn above<T: Copy, const HALF: usize>(values: [T; LANES], fill: [T; LANES]) -> [T; LANES] {
    from_fn(|lane| match lane & HALF {
        0 => values[(lane & !(2 * HALF - 1)) + HALF],
        _ => fill[lane],
    })
}

macro_rules! portable_lanes {
    ($lanes:ty, $element:ty, $min:expr, $max:expr, $usual:expr) => {
        impl Lanes for $lanes {
            type Element = $element;

            #[inline(always)]
            fn splat(value: $element) -> Self {
                Self::splat(value)
            }

            #[inline(always)]
            fn new(values: [$element; LANES]) -> Self {
                Self::new(values)
            }

            #[inline(always)]
            fn to_array(self) -> [$element; LANES] {
                Self::to_array(self)
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }

            #[inline(always)]
            fn fast_min(self, other: Self) -> Self {
                $min(self, other)
            }

            #[inline(always)]
            fn fast_max(self, other: Self) -> Self {
                $max(self, other)
            }

            #[inline(always)]
            fn below<const HALF: usize>(self, fill: Self) -> Self {
                Self::new(below::<_, HALF>(self.to_array(), fill.to_array()))
            }

            #[inline(always)]
            fn above<const HALF: usize>(self, fill: Self) -> Self {
                Self::new(above::<_, HALF>(self.to_array(), fill.to_array()))
            }

            #[inline(always)]
            fn first(self) -> Self {
                Self::splat(self.to_array()[0])
            }

            #[inline(always)]
            fn last(self) -> Self {
                Self::splat(self.to_array()[LANES - 1])
            }

            #[inline(always)]
            fn usual(self) -> Self {
                $usual(self)
            }
        }
    };
}

/// Elsewhere, `fast_min` may lose a minimum to a NaN without a trace.
const IS_FAST: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

portable_lanes!(
    f64x8,
    f64,
    |a: f64x8, b| if IS_FAST { a.fast_min(b) } else { a.min(b) },
    |a: f64x8, b| if IS_FAST { a.fast_max(b) } else { a.max(b) },
    |values: f64x8| {
        let values = values + f64x8::splat(0.0);
        values.is_nan().select(f64x8::splat(f64::NAN), values)
    }
);
// SSE2 compares no 64-bit integers: the compiler makes more of single ones.
portable_lanes!(
    i64x8,
    i64,
    |a, b| each(a, b, i64::min),
    |a, b| each(a, b, i64::max),
    |values| values
);

#[inline(always)]
fn each(a: i64x8, b: i64x8, join: fn(i64, i64) -> i64) -> i64x8 {
    let (a, b) = (a.to_array(), b.to_array());
    i64x8::new(from_fn(|lane| join(a[lane], b[lane])))
}

impl FloatLanes for f64x8 {
    type Mask = f64x8;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        self | other
    }

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        self & other
    }

    #[inline(always)]
    fn unordered(self, other: Self) -> Self::Mask {
        self.is_nan() | other.is_nan()
    }

    #[inline(always)]
    fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self {
        mask.select(if_true, if_false)
    }
}

impl Mask for f64x8 {
    #[inline(always)]
    fn from_bits(bits: u8) -> Self {
        // SSE2 compares no 64-bit integers, but halves of them.
        const BIT_OF_HALF: [i32; 2 * LANES] =
            [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128];
        let bit = i32x16::new(BIT_OF_HALF);
        let halves = (i32x16::splat(i32::from(bits)) & bit)
            .simd_eq(bit)
            .to_array();
        Self::new(from_fn(|lane| {
            let (low, high) = (halves[2 * lane] as u32, halves[2 * lane + 1] as u32);
            f64::from_bits(u64::from(low) | u64::from(high) << 32)
        }))
    }

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        self | other
    }

    #[inline(always)]
    fn any(self) -> bool {
        f64x8::any(self)
    }
}
