//! `approx_percentile_cont` and `approx_median`: a DDSketch.
//!
//! The axis of all numbers is cut into bins, 35 for each doubling, and a slot counts
//! its values in each bin. Bins are the same everywhere, so sketches are combined by
//! adding counts: the result does not depend on how the rows were divided.
//!
//! ```text
//!   −∞ … negative … │ 0 │ … 0.98  1.00  1.02 … positive … +∞ NaN      bins
//!        page −3        page 0       page 560                         64 bins each
//! ```
//!
//! The upper bound of a bin is at most e^0.02 = 1.0202013 times the lower one; their
//! harmonic mean is thus within (γ − 1)/(γ + 1) < 1 % of every value between. The bin
//! of a value comes from its bits and a cubic approximation of the logarithm, without a
//! call to `ln`: every machine gives the same bin. A page of 64 bins exists only where
//! values are. Up to [`EXACT_VALUES`] values are kept as they are, and the result is
//! that of `percentile_cont`.
//!
//! Subnormal numbers count as zero. NaN is the greatest value.
//!
//! Source: Masson, Rim, Lee, DDSketch, VLDB 2019 (and the cubic mapping of its
//! authors' implementation).

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type, Int32Type, UInt64Type};
use rayon::prelude::*;

use super::collect::{Collect, HeldMax};
use super::fold::{column, nullable};
use super::quantile::{Quantile, Which, between, ranks};
use super::saved::{Saved, list_column};
use crate::error::Result;

/// How many values of a slot are kept exactly.
pub(super) const EXACT_VALUES: usize = 32;

/// Bins for each doubling.
const BINS: i32 = 35;

/// The number of doublings of normal numbers.
const DOUBLINGS: i32 = 2046;

/// The key of +∞; −∞ has its negative.
const INFINITY: i32 = DOUBLINGS * BINS + 1;

/// The key of NaN.
const NOT_A_NUMBER: i32 = INFINITY + 1;

/// From so many slots on, threads share their evaluation.
const PARALLEL_SLOTS_MIN: usize = 512;

/// Bins of a page: four cache lines.
const PAGE: usize = 64;

/// Counts have 32 bits. What overflows is counted in the bin of the same place in the
/// page whose number is greater by this, beyond every other page.
const CARRIES: i32 = 1 << 16;

/// How far into its doubling the number 1 + s lies, of 1: within 1 % of log₂(1 + s).
fn progress(s: f64) -> f64 {
    ((6.0 / 35.0 * s - 3.0 / 5.0) * s + 10.0 / 7.0) * s
}

/// The bin of a value. Keys have the order of the values.
#[inline(always)]
fn key(value: f64) -> i32 {
    let size = value.abs();
    if size < f64::MIN_POSITIVE {
        return 0;
    }
    let key = if size < f64::INFINITY {
        let bits = size.to_bits();
        let doubling = (bits >> 52) as i32 - 1;
        let s = f64::from_bits(bits & ((1 << 52) - 1) | 1.0f64.to_bits()) - 1.0;
        let bin = ((progress(s) * f64::from(BINS)) as i32).min(BINS - 1);
        1 + doubling * BINS + bin
    } else if value.is_nan() {
        return NOT_A_NUMBER;
    } else {
        INFINITY
    };
    if value < 0.0 { -key } else { key }
}

/// Where the bins of a doubling begin: `[BINS + 1]`, from 1 to 2.
fn bounds() -> [f64; BINS as usize + 1] {
    std::array::from_fn(|bin| {
        let (mut below, mut above) = (0.0, 1.0);
        // `progress` rises: halve the interval until nothing lies between.
        loop {
            let middle = 0.5 * (below + above);
            if middle <= below || middle >= above {
                return 1.0 + above;
            }
            if progress(middle) * f64::from(BINS) < bin as f64 {
                below = middle;
            } else {
                above = middle;
            }
        }
    })
}

/// A value within 1 % of every value of a bin.
fn value_of(key: i32, bounds: &[f64; BINS as usize + 1]) -> f64 {
    let size = match key.abs() {
        0 => return 0.0,
        NOT_A_NUMBER.. => return f64::NAN,
        INFINITY => f64::INFINITY,
        key => {
            let (doubling, bin) = ((key - 1) / BINS, ((key - 1) % BINS) as usize);
            let scale = f64::from_bits((doubling as u64 + 1) << 52);
            let (low, high) = (bounds[bin], bounds[bin + 1]);
            scale * (2.0 * low * high / (low + high))
        }
    };
    if key < 0 { -size } else { size }
}

/// The counts of the bins `number · PAGE ..`.
#[derive(Debug)]
struct Page {
    number: i32,
    counts: Box<[u32; PAGE]>,
}

/// The page of a bin, and its place there.
#[inline(always)]
fn place_of(key: i32) -> (i32, usize) {
    (
        key.div_euclid(PAGE as i32),
        key.rem_euclid(PAGE as i32) as usize,
    )
}

/// A slot: either exact values, or pages in order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    exact: Vec<f64>,
    pages: Vec<Page>,
    /// The number of values in `pages`.
    counted: u64,
}

impl Sketch {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        if self.pages.is_empty() {
            if self.exact.len() < EXACT_VALUES {
                self.exact.push(value);
                return;
            }
            self.spill();
        }
        self.count(key(value), 1);
    }

    #[inline(always)]
    fn count(&mut self, key: i32, times: u32) {
        let (number, place) = place_of(key);
        let count = &mut self.page(number)[place];
        let (sum, overflows) = count.overflowing_add(times);
        *count = sum;
        if overflows {
            self.carry(number, place, 1);
        }
        self.counted += u64::from(times);
    }

    #[cold]
    fn carry(&mut self, number: i32, place: usize, carries: u32) {
        let count = &mut self.page(number + CARRIES)[place];
        *count = count.saturating_add(carries);
    }

    #[inline(always)]
    fn page(&mut self, number: i32) -> &mut [u32; PAGE] {
        let mut place = self.pages.partition_point(|page| page.number < number);
        if self
            .pages
            .get(place)
            .is_none_or(|page| page.number != number)
        {
            place = self.add_page(place, number);
        }
        &mut self.pages[place].counts
    }

    #[cold]
    fn add_page(&mut self, place: usize, number: i32) -> usize {
        // Most sketches have a handful of pages: no room is kept for more.
        self.pages.reserve_exact(1);
        let counts = Box::new([0; PAGE]);
        self.pages.insert(place, Page { number, counts });
        place
    }

    /// Counts the exact values in bins from now on.
    #[cold]
    fn spill(&mut self) {
        for value in std::mem::take(&mut self.exact) {
            self.count(key(value), 1);
        }
    }

    fn merge(&mut self, other: &Self) {
        let exact = self.pages.is_empty() && other.pages.is_empty();
        if exact && self.exact.len() + other.exact.len() <= EXACT_VALUES {
            self.exact.extend_from_slice(&other.exact);
            return;
        }
        self.spill();
        for value in &other.exact {
            self.count(key(*value), 1);
        }
        for page in &other.pages {
            let counts = self.page(page.number);
            let mut overflows = 0u64;
            for (place, (count, more)) in counts.iter_mut().zip(&*page.counts).enumerate() {
                let (sum, overflow) = count.overflowing_add(*more);
                *count = sum;
                overflows |= u64::from(overflow) << place;
            }
            while overflows != 0 {
                self.carry(page.number, overflows.trailing_zeros() as usize, 1);
                overflows &= overflows - 1;
            }
        }
        self.counted += other.counted;
    }

    /// The pages in order, each with the carries of its counts.
    fn pages(&self) -> impl Iterator<Item = (&Page, Option<&[u32; PAGE]>)> {
        let carries = self.pages.partition_point(|page| page.number < CARRIES / 2);
        let (pages, carries) = self.pages.split_at(carries);
        pages.iter().map(move |page| {
            let carries = (carries.iter()).find(|carries| carries.number == page.number + CARRIES);
            (page, carries.map(|carries| &*carries.counts))
        })
    }

    /// The filled bins in order: (key, count).
    fn bins(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        self.pages().flat_map(|(page, carries)| {
            (0..PAGE).filter_map(move |place| {
                let count = page.count(carries, place);
                (count > 0).then_some((page.key(place), count))
            })
        })
    }

    /// The bin of the value with so many others before it.
    fn bin_at(&self, rank: u64) -> Option<i32> {
        let mut below = 0;
        for (page, carries) in self.pages() {
            let all = |counts: &[u32; PAGE]| counts.iter().map(|count| u64::from(*count)).sum();
            let (low, high): (u64, u64) = (all(&page.counts), carries.map_or(0, all));
            let total = low + (high << 32);
            if below + total <= rank {
                below += total;
                continue;
            }
            for place in 0..PAGE {
                below += page.count(carries, place);
                if below > rank {
                    return Some(page.key(place));
                }
            }
        }
        None
    }

    fn quantile(&self, fraction: f64, bounds: &[f64; BINS as usize + 1]) -> Option<f64> {
        if self.pages.is_empty() {
            let mut values = self.exact.clone();
            (values.iter_mut()).for_each(|value| *value = Float64Type::usual(*value));
            return Which::Percentile(fraction).of::<Float64Type>(&mut values);
        }
        let (lower, upper, weight) = ranks(self.counted as usize, fraction);
        let low = self.bin_at(lower as u64)?;
        let low_value = value_of(low, bounds);
        let high = match upper == lower {
            true => low,
            false => self.bin_at(upper as u64)?,
        };
        Some(match low == high {
            true => low_value,
            false => between(low_value, value_of(high, bounds), weight),
        })
    }
}

impl Page {
    /// The bin at one of its places.
    fn key(&self, place: usize) -> i32 {
        self.number * PAGE as i32 + place as i32
    }

    /// How many values are in the bin at one of its places, with what was carried.
    #[inline(always)]
    fn count(&self, carries: Option<&[u32; PAGE]>, place: usize) -> u64 {
        let high = carries.map_or(0, |carries| carries[place]);
        u64::from(high) << 32 | u64::from(self.counts[place])
    }
}

/// A quantile within 1 %.
#[derive(Debug)]
pub(super) struct Approximate<T> {
    name: &'static str,
    fraction: f64,
    bounds: [f64; BINS as usize + 1],
    values: PhantomData<fn() -> T>,
}

impl<T> Approximate<T> {
    pub(super) fn new(name: &'static str, fraction: f64) -> Self {
        Self {
            name,
            fraction,
            bounds: bounds(),
            values: PhantomData,
        }
    }
}

/// The values of a float column, each widened when it is read.
#[derive(Debug)]
pub(super) struct Widened<'a, T: Quantile>(&'a [T::Native]);

impl<T: Quantile> super::fold::Column for Widened<'_, T> {
    type Value = f64;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn value(&self, row: usize) -> f64 {
        T::to_f64(self.0[row])
    }
}

impl<T: Quantile> Collect for Approximate<T> {
    type Slot = Sketch;
    type Value<'a> = f64;
    type Columns<'a> = Widened<'a, T>;

    const SAVED: usize = 3;

    fn is_alike(&self, _: &Self) -> bool {
        true
    }

    fn name(&self) -> &str {
        self.name
    }

    fn columns<'a>(&self, values: &'a ArrayRef) -> Widened<'a, T> {
        Widened(values.as_primitive::<T>().values())
    }

    #[inline(always)]
    fn add(slot: &mut Sketch, value: f64) {
        slot.add(value);
    }

    fn merge(into: &mut Sketch, from: &Sketch) {
        into.merge(from);
    }

    #[inline(always)]
    fn heap_bytes(slot: &Sketch) -> usize {
        slot.exact.capacity() * size_of::<f64>()
            + slot.pages.capacity() * size_of::<Page>()
            + slot.pages.len() * size_of::<[u32; PAGE]>()
    }

    #[inline(always)]
    fn held(_slot: &Sketch) -> usize {
        0
    }

    fn held_max(&self) -> Option<HeldMax> {
        None
    }

    fn return_type(&self) -> DataType {
        T::DATA_TYPE
    }

    fn evaluate(&self, slots: &[&Sketch]) -> ArrayRef {
        let quantile = |slot: &&Sketch| slot.quantile(self.fraction, &self.bounds);
        let values: Vec<Option<f64>> = match slots.len() >= PARALLEL_SLOTS_MIN {
            true => slots.par_iter().map(quantile).collect(),
            false => slots.iter().map(quantile).collect(),
        };
        let values = values.into_iter().map(|value| value.map(T::of_f64));
        Arc::new(nullable::<T>(values))
    }

    fn save(&self, slots: &[&Sketch]) -> Vec<ArrayRef> {
        let exact = slots.iter().flat_map(|slot| slot.exact.iter().copied());
        let bins: Vec<Vec<(i32, u64)>> = (slots.iter()).map(|slot| slot.bins().collect()).collect();
        let lengths = || bins.iter().map(Vec::len);
        let all = || bins.iter().flatten();
        vec![
            list_column(
                slots.iter().map(|slot| slot.exact.len()),
                column::<Float64Type>(exact),
            ),
            list_column(lengths(), column::<Int32Type>(all().map(|(key, _)| *key))),
            list_column(
                lengths(),
                column::<UInt64Type>(all().map(|(_, count)| *count)),
            ),
        ]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Sketch>> {
        let exact = saved.lists::<Float64Type>(0)?;
        let keys = saved.lists::<Int32Type>(1)?;
        let counts = saved.lists::<UInt64Type>(2)?;
        (exact.zip(keys).zip(counts))
            .map(|((exact, keys), counts)| {
                let known = |key: &i32| (-INFINITY..=NOT_A_NUMBER).contains(key);
                let total = (counts.iter()).try_fold(0u64, |sum, count| sum.checked_add(*count));
                let kinds = usize::from(!exact.is_empty()) + usize::from(!keys.is_empty());
                if keys.len() != counts.len()
                    || !keys.iter().all(known)
                    || total.is_none()
                    || exact.len() > EXACT_VALUES
                    || kinds > 1
                {
                    return Err(Saved::damaged("bins of a sketch"));
                }
                let mut sketch = Sketch {
                    exact: exact.to_vec(),
                    ..Sketch::default()
                };
                for (key, count) in keys.iter().zip(counts) {
                    let (low, high) = (*count as u32, (*count >> 32) as u32);
                    sketch.count(*key, low);
                    if high > 0 {
                        let (number, place) = place_of(*key);
                        sketch.carry(number, place, high);
                        sketch.counted += u64::from(high) << 32;
                    }
                }
                Ok(sketch)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_holds_more_than_32_bits_count() {
        let mut sketch = Sketch::default();
        sketch.count(key(2.0), u32::MAX);
        sketch.count(key(2.0), 7);
        sketch.count(key(-1.0), 5);
        let mut other = Sketch::default();
        other.merge(&sketch);
        other.merge(&sketch);
        let two = 2 * (u64::from(u32::MAX) + 7);
        assert_eq!(
            other.bins().collect::<Vec<_>>(),
            [(key(-1.0), 10), (key(2.0), two)]
        );
        assert_eq!(other.counted, two + 10);
        let at = |rank| other.bin_at(rank);
        assert_eq!(
            (at(0), at(9), at(10)),
            (Some(key(-1.0)), Some(key(-1.0)), Some(key(2.0)))
        );
        assert_eq!((at(two + 9), at(two + 10)), (Some(key(2.0)), None));
        let approximate = Approximate::<Float64Type>::new("approx_median", 0.5);
        let columns = approximate.save(&[&other]);
        let saved = Saved::new(&columns, 3, 1).expect("three columns of one row");
        let loaded = approximate.load(saved).expect("a sketch");
        assert!(loaded[0].bins().eq(other.bins()));
        assert_eq!(loaded[0].counted, other.counted);
    }

    #[test]
    fn bins_cover_the_axis_in_order() {
        let bounds = bounds();
        assert_eq!((bounds[0], bounds[35]), (1.0, 2.0));
        assert!(
            bounds
                .windows(2)
                .all(|pair| pair[1] / pair[0] <= 1.01 / 0.99)
        );
        let (mut before, mut x) = (0, f64::MIN_POSITIVE);
        while x < f64::INFINITY {
            let bin = key(x);
            assert!(
                bin == before || bin == before + 1,
                "a bin is left out at {x}"
            );
            assert!((value_of(bin, &bounds) / x - 1.0).abs() < 0.01, "{x}");
            assert_eq!(key(-x), -bin);
            (before, x) = (bin, x * 1.003);
        }
    }
}
