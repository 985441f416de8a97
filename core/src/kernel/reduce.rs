//! Whole slices to a few numbers.

use super::bits::Bits;
use super::lanes::{Backend, FloatLanes, LANES, Mask};
use super::order::usual;
use super::reference::{self, BLOCK_ROWS, Summary, add_halves};

/// As [`reference::min_max_i64`]. A plain loop: it is as fast as lanes are.
#[inline(always)]
pub(super) fn min_max_i64<B: Backend>(values: &[i64]) -> Option<(i64, i64)> {
    // Accumulators that do not wait for each other.
    const WIDE: usize = 4 * LANES;
    let (mut least, mut greatest) = ([i64::MAX; WIDE], [i64::MIN; WIDE]);
    let (chunks, rest) = values.as_chunks::<WIDE>();
    for chunk in chunks {
        for lane in 0..WIDE {
            least[lane] = least[lane].min(chunk[lane]);
            greatest[lane] = greatest[lane].max(chunk[lane]);
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        least[lane] = least[lane].min(value);
        greatest[lane] = greatest[lane].max(value);
    }
    let mut span = (least[0], greatest[0]);
    for lane in 1..WIDE {
        span = (span.0.min(least[lane]), span.1.max(greatest[lane]));
    }
    (!values.is_empty()).then_some(span)
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
    Some(reduce::<B, false, false, true>(values, validity)?.max)
}

/// As [`reference::summarize_f64`], in one pass.
#[inline(always)]
pub(super) fn summarize_f64<B: Backend>(
    values: &[f64],
    validity: Option<Bits<'_>>,
) -> Option<Summary> {
    reduce::<B, true, true, true>(values, validity)
}

/// What of a summary is wanted; the rest is left undefined.
#[inline(always)]
fn reduce<B: Backend, const SUM: bool, const MIN: bool, const MAX: bool>(
    values: &[f64],
    validity: Option<Bits<'_>>,
) -> Option<Summary> {
    let count = match validity {
        Some(bits) => {
            assert_eq!(bits.rows(), values.len(), "one bit for each row");
            bits.count()
        }
        None => values.len(),
    };
    if count == 0 {
        return None;
    }
    let mut lanes = Reduction::<B::F64, SUM, MIN, MAX>::new();
    match validity {
        Some(bits) if count < values.len() => lanes.add_valid(values, bits),
        // As many chains of additions as there are registers for.
        _ if B::HAS_32_REGISTERS || !(MIN || MAX) => lanes.add_all::<4>(values),
        _ => lanes.add_all::<2>(values),
    }
    (lanes.summary(count)).or_else(|| reference::summarize_f64(values, validity))
}

/// The state of a reduction.
///
/// The processor's `min` and `max` tell neither −0.0 from 0.0 nor what NaN is to be. That
/// is made good at the end, from the bits of all values: where the least is a zero, nothing
/// is negative but a −0.0.
struct Reduction<L: FloatLanes, const SUM: bool, const MIN: bool, const MAX: bool> {
    /// Of the blocks that are complete.
    sum: f64,
    min: L,
    max: L,
    any_sign: L,
    all_signs: L,
    is_nan: L::Mask,
}

/// The neutral values of `min` and `max`.
const GREATEST: f64 = f64::INFINITY;
const LEAST: f64 = f64::NEG_INFINITY;

impl<L: FloatLanes, const SUM: bool, const MIN: bool, const MAX: bool> Reduction<L, SUM, MIN, MAX> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            sum: 0.0,
            min: L::splat(GREATEST),
            max: L::splat(LEAST),
            any_sign: L::splat(0.0),
            all_signs: L::splat(-0.0),
            is_nan: L::Mask::from_bits(0),
        }
    }

    /// Adds rows that are all valid, `CHAINS` blocks side by side.
    #[inline(always)]
    fn add_all<const CHAINS: usize>(&mut self, values: &[f64]) {
        let (groups, _) = values.as_chunks::<LANES>();
        let (blocks, _) = groups.as_chunks::<{ BLOCK_ROWS / LANES }>();
        let (abreast, _) = blocks.as_chunks::<CHAINS>();
        for blocks in abreast {
            let mut sums = [L::splat(0.0); CHAINS];
            for group in 0..BLOCK_ROWS / LANES {
                for (sum, block) in sums.iter_mut().zip(blocks) {
                    self.add(sum, L::new(block[group]));
                }
            }
            for sum in sums {
                self.sum += add_halves(sum.to_array());
            }
        }
        for block in values[abreast.len() * CHAINS * BLOCK_ROWS..].chunks(BLOCK_ROWS) {
            let (groups, tail) = block.as_chunks::<LANES>();
            let mut sum = L::splat(0.0);
            for group in groups {
                self.add(&mut sum, L::new(*group));
            }
            if !tail.is_empty() {
                self.add_masked(&mut sum, padded(tail), (1 << tail.len()) - 1);
            }
            self.sum += add_halves(sum.to_array());
        }
    }

    /// Adds the valid rows.
    #[inline(always)]
    fn add_valid(&mut self, values: &[f64], validity: Bits<'_>) {
        for (number, block) in values.chunks(BLOCK_ROWS).enumerate() {
            let first = number * (BLOCK_ROWS / LANES);
            let (groups, tail) = block.as_chunks::<LANES>();
            let mut sum = L::splat(0.0);
            for (group, values) in groups.iter().enumerate() {
                self.add_masked(&mut sum, L::new(*values), validity.group(first + group));
            }
            if !tail.is_empty() {
                let valid = validity.group(first + groups.len());
                self.add_masked(&mut sum, padded(tail), valid);
            }
            self.sum += add_halves(sum.to_array());
        }
    }

    #[inline(always)]
    fn add(&mut self, sum: &mut L, values: L) {
        if SUM {
            *sum = sum.add(values);
        }
        if MIN {
            self.min = values.fast_min(self.min);
            self.any_sign = self.any_sign.bitor(values);
        }
        if MAX {
            self.max = values.fast_max(self.max);
            self.all_signs = self.all_signs.bitand(values);
        }
        if MIN || MAX {
            self.is_nan = self.is_nan.bitor(values.unordered(values));
        }
    }

    /// Adds the values whose bit is set.
    #[inline(always)]
    fn add_masked(&mut self, sum: &mut L, values: L, valid: u8) {
        let valid = L::Mask::from_bits(valid);
        let or = |neutral| L::select(valid, values, L::splat(neutral));
        if SUM {
            *sum = sum.add(or(0.0));
        }
        if MIN {
            let values = or(GREATEST);
            self.min = values.fast_min(self.min);
            self.any_sign = self.any_sign.bitor(values);
        }
        if MAX {
            let values = or(LEAST);
            self.max = values.fast_max(self.max);
            self.all_signs = self.all_signs.bitand(values);
        }
        if MIN || MAX {
            let values = or(0.0);
            self.is_nan = self.is_nan.bitor(values.unordered(values));
        }
    }

    /// The summary of `count` values; none where NaN leaves the least in doubt.
    #[inline(always)]
    fn summary(&self, count: usize) -> Option<Summary> {
        let mut min = (self.min.to_array().into_iter())
            .fold(GREATEST, |min, value| if value < min { value } else { min });
        let mut max = (self.max.to_array().into_iter())
            .fold(LEAST, |max, value| if value > max { value } else { max });
        let some_nan = (MIN || MAX) && self.is_nan.any();
        // All values may be NaN, or a sign may be that of a NaN. Some processors keep NaN
        // in a minimum.
        let keeps_nan = || self.min.unordered(self.min).any();
        if MIN && some_nan && (min == GREATEST || min == 0.0 || keeps_nan()) {
            return None;
        }
        if min == 0.0 {
            let any = (self.any_sign.to_array().iter()).any(|value| value.is_sign_negative());
            min = if any { -0.0 } else { 0.0 };
        }
        if some_nan {
            max = f64::NAN;
        } else if max == 0.0 {
            let all = (self.all_signs.to_array().iter()).all(|value| value.is_sign_negative());
            max = if all { -0.0 } else { 0.0 };
        }
        Some(Summary {
            count,
            sum: usual(self.sum),
            min,
            max,
        })
    }
}

/// Fewer than eight values, and zeros.
#[inline(always)]
fn padded<L: FloatLanes>(tail: &[f64]) -> L {
    let mut values = [0.0; LANES];
    values[..tail.len()].copy_from_slice(tail);
    L::new(values)
}
