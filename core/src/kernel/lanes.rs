//! Eight numbers at a time: the vocabulary in which kernels are written.
//!
//! A [`Backend`] says how the lanes lie in registers: one of 512 bits, two of 256, four
//! of 128. Every operation gives the same bits in every backend; the methods are named as
//! in the crate `wide`, where it has them.
//!
//! All methods are `inline(always)`: they become part of the shim that names the
//! processor's features, and instructions of one level never meet another.

use super::words::{Further, WordTable};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use portable::Portable;

/// How many lanes a kernel sees, on every machine.
pub(super) const LANES: usize = 8;

/// How the lanes of a level lie in registers.
pub(super) trait Backend {
    type F64: FloatLanes;
    type I64: Lanes<Element = i64>;

    /// Whether there is an instruction that compares 64-bit integers.
    const COMPARES_I64: bool;

    /// A least and a greatest number, and one more.
    #[inline(always)]
    fn widen([least, greatest]: [i64; 2], value: i64) -> [i64; 2] {
        [least.min(value), greatest.max(value)]
    }

    /// Looks up the first strings, if it can do so faster than a plain loop; the first row
    /// that is left. See [`super::reference::find_short`].
    #[inline(always)]
    fn find_eights(
        _values: &[u8],
        _offsets: &[i32],
        _table: WordTable<'_>,
        _ids: &mut [u32],
        _further: &mut Further<'_>,
    ) -> usize {
        0
    }
}

/// Eight numbers of one type.
pub(super) trait Lanes: Copy {
    type Element: Copy;

    fn splat(value: Self::Element) -> Self;
    fn new(values: [Self::Element; LANES]) -> Self;
    fn to_array(self) -> [Self::Element; LANES];

    /// Integers wrap.
    fn add(self, other: Self) -> Self;

    /// Which of −0.0 and 0.0 it is, is not said; nor what it is with NaN, but that x86 and
    /// plain code give `other` if either is NaN.
    fn fast_min(self, other: Self) -> Self;

    /// As [`Lanes::fast_min`].
    fn fast_max(self, other: Self) -> Self;

    /// In each group of `2 * HALF` lanes, the last value of the lower half in the upper
    /// half; `fill` in the lower.
    ///
    /// ```text
    /// HALF = 2:   a b c d  e f g h   ─▶   · · b b  · · f f
    /// ```
    fn below<const HALF: usize>(self, fill: Self) -> Self;

    /// In each group of `2 * HALF` lanes, the first value of the upper half in the lower
    /// half; `fill` in the upper.
    fn above<const HALF: usize>(self, fill: Self) -> Self;

    /// The first value in all lanes.
    fn first(self) -> Self;

    /// The last value in all lanes.
    fn last(self) -> Self;

    /// −0.0 becomes 0.0, and NaN takes its usual form; integers stay.
    fn usual(self) -> Self;
}

/// Eight floats.
pub(super) trait FloatLanes: Lanes<Element = f64> {
    type Mask: Mask;

    fn bitor(self, other: Self) -> Self;
    fn bitand(self, other: Self) -> Self;
    /// Where either is NaN.
    fn unordered(self, other: Self) -> Self::Mask;
    fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self;
}

/// Yes or no for each lane.
pub(super) trait Mask: Copy {
    /// Lane 0 is the least significant bit.
    fn from_bits(bits: u8) -> Self;
    fn bitor(self, other: Self) -> Self;
    fn any(self) -> bool;
}
