//! Whole slices to a few numbers.

use super::bits::Bits;
use super::lanes::{Backend, FloatLanes, LANES, Mask};
use super::order::usual;
use super::reference::{self, BLOCK_ROWS, Summary, add_halves};

/// As [`reference::min_max_i64`]. A plain loop, of which compilers make more than lanes
/// would: as many accumulators as the level has registers for. Where no instruction
/// compares 64-bit integers they make one, and a few beside each other are better.
#[inline(always)]
pub(super) fn min_max_i64<B: Backend>(values: &[i64]) -> Option<(i64, i64)> {
    let span = match B::COMPARES_I64 {
        true => span::<1>(values),
        false => span::<{ LANES / 2 }>(values),
    };
    (!values.is_empty()).then_some(span)
}

/// The least and the greatest, by accumulators that do not wait for each other.
#[inline(always)]
fn span<const WIDTH: usize>(values: &[i64]) -> (i64, i64) {
    let (mut least, mut greatest) = ([i64::MAX; WIDTH], [i64::MIN; WIDTH]);
    let (chunks, rest) = values.as_chunks::<WIDTH>();
    for chunk in chunks {
        for lane in 0..WIDTH {
            least[lane] = least[lane].min(chunk[lane]);
            greatest[lane] = greatest[lane].max(chunk[lane]);
        }
    }
    let mut span = (i64::MAX, i64::MIN);
    for value in least.iter().chain(rest) {
        span.0 = span.0.min(*value);
    }
    for value in greatest.iter().chain(rest) {
        span.1 = span.1.max(*value);
    }
    span
}

/// The sum of [`reference::summarize_f64`].
#[inline(always)]
pub(super) fn sum_f64<B: Backend>(values: &[f64], validity: Option<Bits<'_>>) -> Option<f64> {
    Some(reduce::<B, true, false, false>(values, validity)?.sum)
}

/// The least of [`reference::summarize_f64`].
#[inline(always)]
pub(super) fn min_f64<B: Backend>(values: &[f64], validity: Option<Bits<'_>>) -> Option<f64> {
    Some(reduce::<B, false, true, false>(values, validity)?.min)
}

/// The greatest of [`reference::summarize_f64`].
#[inline(always)]
pub(super) fn max_f64<B: Backend>(values: &[f64], validity: Option<Bits<'_>>) -> Option<f64> {
    Some(reduce::<B, true, false, true>(values, validity)?.max)
}

/// The least and the greatest of [`reference::summarize_f64`].
#[inline(always)]
pub(super) fn min_and_max<B: Backend>(values: &[f64]) -> Option<(f64, f64)> {
    let summary = reduce::<B, true, true, true>(values, None)?;
    Some((summary.min, summary.max))
}

/// As [`reference::summarize_f64`], in one pass.
#[inline(always)]
pub(super) fn summarize_f64<B: Backend>(
    values: &[f64],
    validity: Option<Bits<'_>>,
) -> Option<Summary> {
    reduce::<B, true, true, true>(values, validity)
}

/// What of a summary is wanted; the rest is left undefined. The sum tells whether there
/// may be a NaN, which `MAX` needs.
///
/// The processor's `min` and `max` tell neither −0.0 from 0.0 nor what NaN is to be. Where
/// that matters, a second pass looks at signs: where the least is a zero, nothing is
/// negative but a −0.0.
#[inline(always)]
fn reduce<B: Backend, const SUM: bool, const MIN: bool, const MAX: bool>(
    values: &[f64],
    validity: Option<Bits<'_>>,
) -> Option<Summary> {
    if let Some(bits) = validity {
        assert_eq!(bits.rows(), values.len(), "one bit for each row");
    }
    let count = validity.map_or(values.len(), |bits| bits.count());
    if count == 0 {
        return None;
    }
    let validity = validity.filter(|_| count < values.len());
    let mut totals = Totals::<B::F64, SUM, MIN, MAX>::new();
    totals.sum = blocks::<B::F64, _>(values, validity, &mut totals);
    let (mut min, mut max) = (totals.least(), totals.greatest());
    let maybe_nan = SUM && totals.sum.is_nan() || MIN && totals.has_kept_nan();
    if maybe_nan || MIN && (min == 0.0 || min == GREATEST) || MAX && max == 0.0 {
        let mut signs = Signs::<B::F64>::new();
        blocks::<B::F64, _>(values, validity, &mut signs);
        let some_nan = signs.is_nan.any();
        // All values may be NaN, or a sign may be that of a NaN.
        if MIN && some_nan && (min == GREATEST || min == 0.0 || totals.has_kept_nan()) {
            return reference::summarize_f64(values, validity);
        }
        if min == 0.0 {
            min = if signs.any_is_negative() { -0.0 } else { 0.0 };
        }
        if some_nan {
            max = f64::NAN;
        } else if max == 0.0 {
            max = if signs.all_are_negative() { -0.0 } else { 0.0 };
        }
    }
    Some(Summary {
        count,
        sum: usual(totals.sum),
        min,
        max,
    })
}

/// The neutral values of `min` and `max`.
const GREATEST: f64 = f64::INFINITY;
const LEAST: f64 = f64::NEG_INFINITY;

/// What is kept while rows go by.
trait Accumulate<L: FloatLanes> {
    /// How many blocks go side by side, lest one addition waits for another.
    const ABREAST: usize;

    /// Adds eight values; `sum` is the one of their block.
    fn add(&mut self, sum: &mut L, values: L);

    /// Adds the values that are valid.
    fn add_valid(&mut self, sum: &mut L, values: L, valid: L::Mask);
}

/// Takes in all valid values, block by block; gives the sum of the sums of blocks.
#[inline(always)]
fn blocks<L: FloatLanes, A: Accumulate<L>>(
    values: &[f64],
    validity: Option<Bits<'_>>,
    into: &mut A,
) -> f64 {
    let mut total = 0.0;
    if let Some(validity) = validity {
        for (number, block) in values.chunks(BLOCK_ROWS).enumerate() {
            let mut sum = L::splat(0.0);
            for (word, values) in block.chunks(u64::BITS as usize).enumerate() {
                let mut bits = validity.word(number * (BLOCK_ROWS / u64::BITS as usize) + word);
                let (groups, tail) = values.as_chunks::<LANES>();
                for group in groups {
                    into.add_valid(&mut sum, L::new(*group), L::Mask::from_bits(bits as u8));
                    bits >>= LANES;
                }
                if !tail.is_empty() {
                    into.add_valid(&mut sum, padded(tail), L::Mask::from_bits(bits as u8));
                }
            }
            total += add_halves(sum.to_array());
        }
        return total;
    }
    let (groups, _) = values.as_chunks::<LANES>();
    let (whole, _) = groups.as_chunks::<{ BLOCK_ROWS / LANES }>();
    let mut done = 0;
    if A::ABREAST == 4 {
        done = abreast::<L, A, 4>(whole, into, &mut total);
    } else if A::ABREAST == 2 {
        done = abreast::<L, A, 2>(whole, into, &mut total);
    }
    for block in values[done * BLOCK_ROWS..].chunks(BLOCK_ROWS) {
        let (groups, tail) = block.as_chunks::<LANES>();
        let mut sum = L::splat(0.0);
        for group in groups {
            into.add(&mut sum, L::new(*group));
        }
        if !tail.is_empty() {
            let valid = L::Mask::from_bits((1 << tail.len()) - 1);
            into.add_valid(&mut sum, padded(tail), valid);
        }
        total += add_halves(sum.to_array());
    }
    total
}

/// Takes in `N` whole blocks at a time; gives how many those were.
#[inline(always)]
fn abreast<L: FloatLanes, A: Accumulate<L>, const N: usize>(
    blocks: &[[[f64; LANES]; BLOCK_ROWS / LANES]],
    into: &mut A,
    total: &mut f64,
) -> usize {
    let (many, _) = blocks.as_chunks::<N>();
    for blocks in many {
        let mut sums = [L::splat(0.0); N];
        for group in 0..BLOCK_ROWS / LANES {
            for (sum, block) in sums.iter_mut().zip(blocks) {
                into.add(sum, L::new(block[group]));
            }
        }
        for sum in sums {
            *total += add_halves(sum.to_array());
        }
    }
    many.len() * N
}

/// Fewer than eight values, and zeros.
#[inline(always)]
fn padded<L: FloatLanes>(tail: &[f64]) -> L {
    let mut values = [0.0; LANES];
    values[..tail.len()].copy_from_slice(tail);
    L::new(values)
}

/// Sum, least and greatest.
struct Totals<L, const SUM: bool, const MIN: bool, const MAX: bool> {
    sum: f64,
    min: L,
    max: L,
}

impl<L: FloatLanes, const SUM: bool, const MIN: bool, const MAX: bool> Totals<L, SUM, MIN, MAX> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            sum: 0.0,
            min: L::splat(GREATEST),
            max: L::splat(LEAST),
        }
    }

    #[inline(always)]
    fn least(&self) -> f64 {
        (self.min.to_array().into_iter())
            .fold(GREATEST, |min, value| if value < min { value } else { min })
    }

    #[inline(always)]
    fn greatest(&self) -> f64 {
        (self.max.to_array().into_iter())
            .fold(LEAST, |max, value| if value > max { value } else { max })
    }

    /// Some processors keep NaN in a minimum.
    #[inline(always)]
    fn has_kept_nan(&self) -> bool {
        self.min.unordered(self.min).any()
    }
}

impl<L: FloatLanes, const SUM: bool, const MIN: bool, const MAX: bool> Accumulate<L>
    for Totals<L, SUM, MIN, MAX>
{
    const ABREAST: usize = match MIN || MAX {
        true => 2,
        false => 4,
    };

    #[inline(always)]
    fn add(&mut self, sum: &mut L, values: L) {
        if SUM {
            *sum = sum.add(values);
        }
        if MIN {
            self.min = values.fast_min(self.min);
        }
        if MAX {
            self.max = values.fast_max(self.max);
        }
    }

    #[inline(always)]
    fn add_valid(&mut self, sum: &mut L, values: L, valid: L::Mask) {
        if SUM {
            *sum = sum.add(L::select(valid, values, L::splat(0.0)));
        }
        if MIN {
            self.min = L::select(valid, values, L::splat(GREATEST)).fast_min(self.min);
        }
        if MAX {
            self.max = L::select(valid, values, L::splat(LEAST)).fast_max(self.max);
        }
    }
}

/// The signs of values, in their sign bits, and whether there is a NaN.
struct Signs<L: FloatLanes> {
    any: L,
    all: L,
    is_nan: L::Mask,
}

impl<L: FloatLanes> Signs<L> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            any: L::splat(0.0),
            all: L::splat(-0.0),
            is_nan: L::Mask::from_bits(0),
        }
    }

    #[inline(always)]
    fn any_is_negative(&self) -> bool {
        self.any
            .to_array()
            .iter()
            .any(|sign| sign.is_sign_negative())
    }

    #[inline(always)]
    fn all_are_negative(&self) -> bool {
        self.all
            .to_array()
            .iter()
            .all(|sign| sign.is_sign_negative())
    }
}

impl<L: FloatLanes> Accumulate<L> for Signs<L> {
    const ABREAST: usize = 1;

    #[inline(always)]
    fn add(&mut self, _sum: &mut L, values: L) {
        self.any = self.any.bitor(values);
        self.all = self.all.bitand(values);
        self.is_nan = self.is_nan.bitor(values.unordered(values));
    }

    #[inline(always)]
    fn add_valid(&mut self, _sum: &mut L, values: L, valid: L::Mask) {
        let positive = L::select(valid, values, L::splat(0.0));
        self.any = self.any.bitor(positive);
        self.all = (self.all).bitand(L::select(valid, values, L::splat(-0.0)));
        self.is_nan = self.is_nan.bitor(positive.unordered(positive));
    }
}
