//! Eight lanes in two registers of 256 bits.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::{Backend, FloatLanes, LANES, Lanes, Mask};

/// AVX2. Its methods run only inside shims that enable it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Avx2;

#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct F64x8(__m256d, __m256d);

#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct I64x8(__m256i, __m256i);

/// All bits of a lane are one or zero.
#[derive(Clone, Copy)]
pub(in super::super) struct Mask8(__m256d, __m256d);

impl Backend for Avx2 {
    type F64 = F64x8;
    type I64 = I64x8;

    const COMPARES_I64: bool = true;
}

/// An expression of instructions.
macro_rules! simd {
    ($instructions:expr) => {
        // SAFETY: the types of this file are used by the AVX2 shims alone, which
        // `dispatch` calls only where the processor has the instructions; none of them
        // touches memory, and arrays of numbers are of the size of their lanes. It buys the rows "avx2" of `benches/benches/kernel`.
        unsafe { $instructions }
    };
}

impl Lanes for F64x8 {
    type Element = f64;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        let half = simd!(_mm256_set1_pd(value));
        Self(half, half)
    }

    #[inline(always)]
    fn new(values: [f64; LANES]) -> Self {
        simd!(transmute::<[f64; LANES], Self>(values))
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        simd!(transmute::<Self, [f64; LANES]>(self))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        simd!(Self(
            _mm256_add_pd(self.0, other.0),
            _mm256_add_pd(self.1, other.1)
        ))
    }

    #[inline(always)]
    fn fast_min(self, other: Self) -> Self {
        simd!(Self(
            _mm256_min_pd(self.0, other.0),
            _mm256_min_pd(self.1, other.1)
        ))
    }

    #[inline(always)]
    fn fast_max(self, other: Self) -> Self {
        simd!(Self(
            _mm256_max_pd(self.0, other.0),
            _mm256_max_pd(self.1, other.1)
        ))
    }

    #[inline(always)]
    fn below<const HALF: usize>(self, fill: Self) -> Self {
        #[inline(always)]
        fn pairs(half: __m256d, fill: __m256d) -> __m256d {
            simd!(_mm256_blend_pd::<0b1010>(fill, _mm256_movedup_pd(half)))
        }
        #[inline(always)]
        fn fours(half: __m256d, fill: __m256d) -> __m256d {
            simd!(_mm256_blend_pd::<0b1100>(
                fill,
                _mm256_permute4x64_pd::<0b01_01_01_01>(half)
            ))
        }
        match HALF {
            1 => Self(pairs(self.0, fill.0), pairs(self.1, fill.1)),
            2 => Self(fours(self.0, fill.0), fours(self.1, fill.1)),
            _ => Self(
                fill.0,
                simd!(_mm256_permute4x64_pd::<0b11_11_11_11>(self.0)),
            ),
        }
    }

    #[inline(always)]
    fn above<const HALF: usize>(self, fill: Self) -> Self {
        #[inline(always)]
        fn pairs(half: __m256d, fill: __m256d) -> __m256d {
            simd!(_mm256_blend_pd::<0b1010>(
                _mm256_permute_pd::<0b1111>(half),
                fill
            ))
        }
        #[inline(always)]
        fn fours(half: __m256d, fill: __m256d) -> __m256d {
            simd!(_mm256_blend_pd::<0b1100>(
                _mm256_permute4x64_pd::<0b10_10_10_10>(half),
                fill
            ))
        }
        match HALF {
            1 => Self(pairs(self.0, fill.0), pairs(self.1, fill.1)),
            2 => Self(fours(self.0, fill.0), fours(self.1, fill.1)),
            _ => Self(simd!(_mm256_permute4x64_pd::<0>(self.1)), fill.1),
        }
    }

    #[inline(always)]
    fn first(self) -> Self {
        let half = simd!(_mm256_permute4x64_pd::<0>(self.0));
        Self(half, half)
    }

    #[inline(always)]
    fn last(self) -> Self {
        let half = simd!(_mm256_permute4x64_pd::<0b11_11_11_11>(self.1));
        Self(half, half)
    }

    #[inline(always)]
    fn usual(self) -> Self {
        let values = self.add(Self::splat(0.0));
        Self::select(values.unordered(values), Self::splat(f64::NAN), values)
    }
}

impl FloatLanes for F64x8 {
    type Mask = Mask8;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        simd!(Self(
            _mm256_or_pd(self.0, other.0),
            _mm256_or_pd(self.1, other.1)
        ))
    }

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        simd!(Self(
            _mm256_and_pd(self.0, other.0),
            _mm256_and_pd(self.1, other.1)
        ))
    }

    #[inline(always)]
    fn unordered(self, other: Self) -> Mask8 {
        simd!(Mask8(
            _mm256_cmp_pd::<_CMP_UNORD_Q>(self.0, other.0),
            _mm256_cmp_pd::<_CMP_UNORD_Q>(self.1, other.1),
        ))
    }

    #[inline(always)]
    fn select(mask: Mask8, if_true: Self, if_false: Self) -> Self {
        simd!(Self(
            _mm256_blendv_pd(if_false.0, if_true.0, mask.0),
            _mm256_blendv_pd(if_false.1, if_true.1, mask.1),
        ))
    }
}

impl Mask for Mask8 {
    #[inline(always)]
    fn from_bits(bits: u8) -> Self {
        simd!({
            let bits = _mm256_set1_epi64x(i64::from(bits));
            let low_bit = _mm256_setr_epi64x(1, 2, 4, 8);
            let high_bit = _mm256_setr_epi64x(16, 32, 64, 128);
            let low = _mm256_cmpeq_epi64(_mm256_and_si256(bits, low_bit), low_bit);
            let high = _mm256_cmpeq_epi64(_mm256_and_si256(bits, high_bit), high_bit);
            Self(_mm256_castsi256_pd(low), _mm256_castsi256_pd(high))
        })
    }

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        simd!(Self(
            _mm256_or_pd(self.0, other.0),
            _mm256_or_pd(self.1, other.1)
        ))
    }

    #[inline(always)]
    fn any(self) -> bool {
        simd!(_mm256_movemask_pd(_mm256_or_pd(self.0, self.1)) != 0)
    }
}

impl I64x8 {
    /// The same bits as floats, which shuffle alike.
    #[inline(always)]
    fn floats(self) -> F64x8 {
        simd!(F64x8(
            _mm256_castsi256_pd(self.0),
            _mm256_castsi256_pd(self.1)
        ))
    }

    #[inline(always)]
    fn of_floats(floats: F64x8) -> Self {
        simd!(Self(
            _mm256_castpd_si256(floats.0),
            _mm256_castpd_si256(floats.1)
        ))
    }

    /// Where `self` is greater: `if_greater`, else `if_not`.
    #[inline(always)]
    fn select_greater(self, other: Self, if_greater: Self, if_not: Self) -> Self {
        simd!(Self(
            _mm256_blendv_epi8(if_not.0, if_greater.0, _mm256_cmpgt_epi64(self.0, other.0)),
            _mm256_blendv_epi8(if_not.1, if_greater.1, _mm256_cmpgt_epi64(self.1, other.1)),
        ))
    }
}

impl Lanes for I64x8 {
    type Element = i64;

    #[inline(always)]
    fn splat(value: i64) -> Self {
        let half = simd!(_mm256_set1_epi64x(value));
        Self(half, half)
    }

    #[inline(always)]
    fn new(values: [i64; LANES]) -> Self {
        simd!(transmute::<[i64; LANES], Self>(values))
    }

    #[inline(always)]
    fn to_array(self) -> [i64; LANES] {
        simd!(transmute::<Self, [i64; LANES]>(self))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        simd!(Self(
            _mm256_add_epi64(self.0, other.0),
            _mm256_add_epi64(self.1, other.1)
        ))
    }

    #[inline(always)]
    fn fast_min(self, other: Self) -> Self {
        self.select_greater(other, other, self)
    }

    #[inline(always)]
    fn fast_max(self, other: Self) -> Self {
        self.select_greater(other, self, other)
    }

    #[inline(always)]
    fn below<const HALF: usize>(self, fill: Self) -> Self {
        Self::of_floats(self.floats().below::<HALF>(fill.floats()))
    }

    #[inline(always)]
    fn above<const HALF: usize>(self, fill: Self) -> Self {
        Self::of_floats(self.floats().above::<HALF>(fill.floats()))
    }

    #[inline(always)]
    fn first(self) -> Self {
        Self::of_floats(self.floats().first())
    }

    #[inline(always)]
    fn last(self) -> Self {
        Self::of_floats(self.floats().last())
    }

    #[inline(always)]
    fn usual(self) -> Self {
        self
    }
}
