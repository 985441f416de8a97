//! Eight lanes in one register of 512 bits.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::super::words::avx512::find_eights;
use super::super::words::{Further, WordTable};
use super::{Backend, FloatLanes, LANES, Lanes, Mask};

/// AVX-512 F, BW, DQ and VL. Its methods run only inside shims that enable these.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Avx512;

#[derive(Clone, Copy)]
pub(in super::super) struct F64x8(__m512d);

#[derive(Clone, Copy)]
pub(in super::super) struct I64x8(__m512i);

/// One bit a lane, in a mask register.
#[derive(Clone, Copy)]
pub(in super::super) struct Mask8(__mmask8);

/// An expression of instructions.
macro_rules! simd {
    ($instructions:expr) => {
        // SAFETY: the types of this file are used by the AVX-512 shims alone, which
        // `dispatch` calls only where the processor has the instructions; none of them
        // touches memory, and arrays of numbers are of the size of their lanes. It buys the rows "avx512" of `benches/benches/kernel`.
        unsafe { $instructions }
    };
}

impl Backend for Avx512 {
    type F64 = F64x8;
    type I64 = I64x8;

    const COMPARES_I64: bool = true;

    #[inline(always)]
    fn widen(span: [i64; 2], value: i64) -> [i64; 2] {
        simd!({
            let span = transmute::<[i64; 2], __m128i>(span);
            let value = _mm_set1_epi64x(value);
            let least = _mm_min_epi64(span, value);
            transmute::<__m128i, [i64; 2]>(_mm_mask_max_epi64(least, 0b10, span, value))
        })
    }

    #[inline(always)]
    fn find_eights(
        values: &[u8],
        offsets: &[i32],
        table: WordTable<'_>,
        ids: &mut [u32],
        further: &mut Further<'_>,
    ) -> usize {
        find_eights(values, offsets, table, ids, further)
    }
}

/// The lanes in which `lane & half` is set.
const fn upper(half: usize) -> __mmask8 {
    match half {
        1 => 0b1010_1010,
        2 => 0b1100_1100,
        _ => 0b1111_0000,
    }
}

macro_rules! avx512_lanes {
    ($lanes:ident, $element:ty, $register:ty, $set:ident, $add:ident, $min:ident, $max:ident, $permute:ident,
     $permute_some:ident, $usual:expr) => {
        impl Lanes for $lanes {
            type Element = $element;

            #[inline(always)]
            fn splat(value: $element) -> Self {
                Self(simd!($set(value)))
            }

            #[inline(always)]
            fn new(values: [$element; LANES]) -> Self {
                Self(simd!(transmute::<[$element; LANES], $register>(values)))
            }

            #[inline(always)]
            fn to_array(self) -> [$element; LANES] {
                simd!(transmute::<$register, [$element; LANES]>(self.0))
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(simd!($add(self.0, other.0)))
            }

            #[inline(always)]
            fn fast_min(self, other: Self) -> Self {
                Self(simd!($min(self.0, other.0)))
            }

            #[inline(always)]
            fn fast_max(self, other: Self) -> Self {
                Self(simd!($max(self.0, other.0)))
            }

            #[inline(always)]
            fn below<const HALF: usize>(self, fill: Self) -> Self {
                Self(simd!({
                    let from = match HALF {
                        1 => _mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6),
                        2 => _mm512_setr_epi64(1, 1, 1, 1, 5, 5, 5, 5),
                        _ => _mm512_set1_epi64(3),
                    };
                    $permute_some(fill.0, upper(HALF), from, self.0)
                }))
            }

            #[inline(always)]
            fn above<const HALF: usize>(self, fill: Self) -> Self {
                Self(simd!({
                    let from = match HALF {
                        1 => _mm512_setr_epi64(1, 1, 3, 3, 5, 5, 7, 7),
                        2 => _mm512_setr_epi64(2, 2, 2, 2, 6, 6, 6, 6),
                        _ => _mm512_set1_epi64(4),
                    };
                    $permute_some(fill.0, !upper(HALF), from, self.0)
                }))
            }

            #[inline(always)]
            fn first(self) -> Self {
                Self(simd!($permute(_mm512_set1_epi64(0), self.0)))
            }

            #[inline(always)]
            fn last(self) -> Self {
                Self(simd!($permute(_mm512_set1_epi64(7), self.0)))
            }

            #[inline(always)]
            fn usual(self) -> Self {
                $usual(self)
            }
        }
    };
}

avx512_lanes!(
    F64x8,
    f64,
    __m512d,
    _mm512_set1_pd,
    _mm512_add_pd,
    _mm512_min_pd,
    _mm512_max_pd,
    _mm512_permutexvar_pd,
    _mm512_mask_permutexvar_pd,
    |values: F64x8| {
        let values = values.add(F64x8::splat(0.0));
        F64x8::select(values.unordered(values), F64x8::splat(f64::NAN), values)
    }
);
avx512_lanes!(
    I64x8,
    i64,
    __m512i,
    _mm512_set1_epi64,
    _mm512_add_epi64,
    _mm512_min_epi64,
    _mm512_max_epi64,
    _mm512_permutexvar_epi64,
    _mm512_mask_permutexvar_epi64,
    |values| values
);

impl FloatLanes for F64x8 {
    type Mask = Mask8;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(simd!(_mm512_or_pd(self.0, other.0)))
    }

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(simd!(_mm512_and_pd(self.0, other.0)))
    }

    #[inline(always)]
    fn unordered(self, other: Self) -> Mask8 {
        Mask8(simd!(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(self.0, other.0)))
    }

    #[inline(always)]
    fn select(mask: Mask8, if_true: Self, if_false: Self) -> Self {
        Self(simd!(_mm512_mask_blend_pd(mask.0, if_false.0, if_true.0)))
    }
}

impl Mask for Mask8 {
    #[inline(always)]
    fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    fn any(self) -> bool {
        self.0 != 0
    }
}
