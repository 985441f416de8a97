//! What `count`, `sum`, `avg`, `min` and `max` of a `Float64` column have in common.

use std::fmt::Debug;

use arrow::datatypes::Float64Type;

use super::fold::fold_rows;
use super::min_max::FloatKey;
use super::shards::{SHARD_ROWS, are_worth_sharing, in_shards};
use crate::kernel::{self, LaneRecord, Record};

/// The numbers of one slot.
pub(super) trait Numbers: Copy + Debug + Send + 'static {
    const EMPTY: Self;

    /// How many sums there are.
    const SUMS: usize;

    fn add(&mut self, value: f64);

    /// Adds each row to the record of its slot.
    fn add_rows(records: &mut [Self], slots: &[u32], values: &[f64]) {
        fold_rows(records, slots, &values, None, Self::add);
    }

    /// Adds rows to one record.
    fn add_run(record: &mut Self, values: &[f64]) {
        values.iter().for_each(|value| record.add(*value));
    }

    /// Adds those of later rows.
    fn merge(&mut self, later: Self);

    /// What the sum is made of: [`Numbers::SUMS`] of them.
    fn sums(&self) -> &[f64];

    /// The sum.
    fn sum(&self) -> f64;

    /// How many values there are that are not NULL.
    fn count(&self) -> u64;

    /// The least and the greatest, as keys of the total order of floats; where they are not
    /// kept or there is no value, the greatest and the least key.
    fn span(&self) -> [i64; 2];

    /// What was saved: [`Numbers::SUMS`] sums, count, span.
    fn of(sums: &[f64], count: u64, span: [i64; 2]) -> Self;
}

const NO_SPAN: [i64; 2] = [i64::MAX, i64::MIN];

fn wider([least, greatest]: [i64; 2], other: [i64; 2]) -> [i64; 2] {
    [least.min(other[0]), greatest.max(other[1])]
}

/// What `count`, `sum` and `avg` have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Total {
    sum: f64,
    count: u64,
}

impl Numbers for Total {
    const EMPTY: Self = Self { sum: 0.0, count: 0 };

    const SUMS: usize = 1;

    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    #[inline(always)]
    fn merge(&mut self, later: Self) {
        self.sum += later.sum;
        self.count += later.count;
    }

    fn sums(&self) -> &[f64] {
        std::slice::from_ref(&self.sum)
    }

    fn sum(&self) -> f64 {
        self.sum
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn span(&self) -> [i64; 2] {
        NO_SPAN
    }

    fn of(sums: &[f64], count: u64, _: [i64; 2]) -> Self {
        let sum = sums[0];
        Self { sum, count }
    }
}

impl Numbers for Record {
    const EMPTY: Self = Self::EMPTY;

    const SUMS: usize = 1;

    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
        self.span = wider(self.span, [Float64Type::key(value); 2]);
    }

    fn add_rows(records: &mut [Self], slots: &[u32], values: &[f64]) {
        if !are_worth_sharing(records, slots.len()) {
            return kernel::add_rows(records, slots, values);
        }
        in_shards(records, slots, |records, slots, rows| {
            let mut own = [0.0; SHARD_ROWS];
            for (value, row) in own.iter_mut().zip(rows) {
                *value = values[*row];
            }
            kernel::add_rows(records, slots, &own[..slots.len()]);
        });
    }

    #[inline(always)]
    fn merge(&mut self, later: Self) {
        self.sum += later.sum;
        self.count += later.count;
        self.span = wider(self.span, later.span);
    }

    fn sums(&self) -> &[f64] {
        std::slice::from_ref(&self.sum)
    }

    fn sum(&self) -> f64 {
        self.sum
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn span(&self) -> [i64; 2] {
        self.span
    }

    fn of(sums: &[f64], count: u64, span: [i64; 2]) -> Self {
        let sum = sums[0];
        Self { sum, count, span }
    }
}

impl Numbers for LaneRecord {
    const EMPTY: Self = Self::EMPTY;

    const SUMS: usize = Self::EMPTY.sums.len();

    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.sums[(self.count % Self::SUMS as u64) as usize] += value;
        self.count += 1;
        self.span = wider(self.span, [Float64Type::key(value); 2]);
    }

    fn add_run(record: &mut Self, values: &[f64]) {
        kernel::add_run(record, values);
    }

    fn merge(&mut self, later: Self) {
        for (sum, later) in self.sums.iter_mut().zip(later.sums) {
            *sum += later;
        }
        self.count += later.count;
        self.span = wider(self.span, later.span);
    }

    fn sums(&self) -> &[f64] {
        &self.sums
    }

    fn sum(&self) -> f64 {
        let [a, b, c, d, e, f, g, h] = self.sums;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn span(&self) -> [i64; 2] {
        self.span
    }

    fn of(lanes: &[f64], count: u64, span: [i64; 2]) -> Self {
        let mut sums = Self::EMPTY.sums;
        sums.copy_from_slice(lanes);
        Self { sums, count, span }
    }
}
