//! What `count`, `sum`, `avg`, `min` and `max` of a float column have in common.

use std::fmt::Debug;

use arrow::array::{ArrayRef, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{ArrowNativeType, DataType, Float32Type, Float64Type};

use super::fold::fold_rows;
use super::min_max::FloatKey;
use super::shards::{SHARD_ROWS, are_worth_sharing, in_shards};
use crate::kernel::{self, LaneRecord, Record};

/// The numbers of one slot.
pub(super) trait Numbers: Copy + Debug + Send + 'static {
    /// A value as it is added.
    type Value: ArrowNativeType;

    const EMPTY: Self;

    /// How many sums there are.
    const SUMS: usize;

    /// The most values that one of them can count.
    const COUNT_MAX: u64;

    /// The values of a column of floats.
    fn values(column: &ArrayRef) -> ScalarBuffer<Self::Value>;

    fn add(&mut self, value: Self::Value);

    /// Adds each row to the record of its slot.
    fn add_rows(records: &mut [Self], slots: &[u32], values: &[Self::Value]) {
        fold_rows(records, slots, &values, None, Self::add);
    }

    /// Adds rows to one record.
    fn add_run(record: &mut Self, values: &[Self::Value]) {
        values.iter().for_each(|value| record.add(*value));
    }

    /// Adds those of later rows.
    fn merge(&mut self, later: Self);

    /// One of the [`Numbers::SUMS`] that the sum is made of.
    fn part(&self, part: usize) -> f64;

    /// The sum.
    fn sum(&self) -> f64;

    /// How many values it counts: those that are not NULL, apart from what was taken.
    fn count(&self) -> u64;

    /// Counts from 0 again.
    fn take_count(&mut self) -> u64;

    /// The least and the greatest, as keys of the total order of floats; where they are not
    /// kept or there is no value, the greatest and the least key.
    fn span(&self) -> [i64; 2];

    /// The least and the greatest, where they are kept and there is a value.
    fn extremes(&self) -> [f64; 2] {
        self.span().map(Float64Type::of_key)
    }

    /// What was saved: [`Numbers::SUMS`] sums, a count up to [`Numbers::COUNT_MAX`], span.
    fn of(sums: &[f64], count: u64, span: [i64; 2]) -> Self;
}

/// Values of a column of floats, of 64 bits.
fn wide(column: &ArrayRef) -> ScalarBuffer<f64> {
    match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            values.iter().map(|value| f64::from(*value)).collect()
        }
        _ => column.as_primitive::<Float64Type>().values().clone(),
    }
}

/// Values of a column of floats of 32 bits.
fn narrow(column: &ArrayRef) -> ScalarBuffer<f32> {
    column.as_primitive::<Float32Type>().values().clone()
}

const NO_SPAN: [i64; 2] = [i64::MAX, i64::MIN];

fn wider<K: Ord + Copy>([least, greatest]: [K; 2], other: [K; 2]) -> [K; 2] {
    [least.min(other[0]), greatest.max(other[1])]
}

/// As [`Numbers::add_rows`], by several threads where it is worth it.
fn add_shared<R: Numbers>(
    records: &mut [R],
    slots: &[u32],
    values: &[R::Value],
    add_rows: impl Fn(&mut [R], &[u32], &[R::Value]) + Sync,
) {
    if !are_worth_sharing(records, slots.len()) {
        return add_rows(records, slots, values);
    }
    in_shards(records, slots, |records, slots, rows| {
        let mut own = [R::Value::default(); SHARD_ROWS];
        for (value, row) in own.iter_mut().zip(rows) {
            *value = values[*row];
        }
        add_rows(records, slots, &own[..slots.len()]);
    });
}

/// What `count`, `sum` and `avg` have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Total {
    sum: f64,
    count: u64,
}

impl Numbers for Total {
    type Value = f64;

    const EMPTY: Self = Self { sum: 0.0, count: 0 };

    const SUMS: usize = 1;

    const COUNT_MAX: u64 = u64::MAX;

    fn values(column: &ArrayRef) -> ScalarBuffer<f64> {
        wide(column)
    }

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

    fn part(&self, _: usize) -> f64 {
        self.sum
    }

    fn sum(&self) -> f64 {
        self.sum
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.count)
    }

    fn span(&self) -> [i64; 2] {
        NO_SPAN
    }

    fn of(sums: &[f64], count: u64, _: [i64; 2]) -> Self {
        let sum = sums[0];
        Self { sum, count }
    }
}

macro_rules! record {
    ($float:ident, $key:ty, $value:ty, $values:expr, $add_rows:path) => {
        impl Numbers for Record<$key> {
            type Value = $value;

            const EMPTY: Self = Self::EMPTY;

            const SUMS: usize = 1;

            const COUNT_MAX: u64 = u32::MAX as u64;

            fn values(column: &ArrayRef) -> ScalarBuffer<$value> {
                $values(column)
            }

            #[inline(always)]
            fn add(&mut self, value: $value) {
                self.sum += f64::from(value);
                self.count += 1;
                self.span = wider(self.span, [$float::key(value); 2]);
            }

            fn add_rows(records: &mut [Self], slots: &[u32], values: &[$value]) {
                add_shared(records, slots, values, $add_rows);
            }

            #[inline(always)]
            fn merge(&mut self, later: Self) {
                self.sum += later.sum;
                self.count += later.count;
                self.span = wider(self.span, later.span);
            }

            fn part(&self, _: usize) -> f64 {
                self.sum
            }

            fn sum(&self) -> f64 {
                self.sum
            }

            fn count(&self) -> u64 {
                self.count.into()
            }

            fn take_count(&mut self) -> u64 {
                let count = self.count();
                self.count = 0;
                count
            }

            fn span(&self) -> [i64; 2] {
                self.span.map(i64::from)
            }

            fn extremes(&self) -> [f64; 2] {
                self.span.map(|key| f64::from($float::of_key(key)))
            }

            fn of(sums: &[f64], count: u64, span: [i64; 2]) -> Self {
                Self {
                    span: span.map(|key| key.clamp(<$key>::MIN.into(), <$key>::MAX.into()) as $key),
                    sum: sums[0],
                    count: u32::try_from(count).unwrap_or(u32::MAX),
                }
            }
        }
    };
}

record!(Float64Type, i64, f64, wide, kernel::add_rows);
record!(Float32Type, i32, f32, narrow, kernel::add_rows_f32);

impl Numbers for LaneRecord {
    type Value = f64;

    const EMPTY: Self = Self::EMPTY;

    const SUMS: usize = Self::EMPTY.sums.len();

    const COUNT_MAX: u64 = u64::MAX;

    fn values(column: &ArrayRef) -> ScalarBuffer<f64> {
        wide(column)
    }

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

    fn part(&self, part: usize) -> f64 {
        self.sums[part]
    }

    fn sum(&self) -> f64 {
        let [a, b, c, d, e, f, g, h] = self.sums;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.count)
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
