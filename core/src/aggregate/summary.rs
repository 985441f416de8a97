//! `count`, `sum`, `avg`, `min` and `max` of one column of floats as one record.
//!
//! A query that asks for several of them over the same column reads the column and the
//! slots once and touches one record for each row, instead of one for each call:
//!
//! ```text
//!  slot │ sum │ count │ least key │ greatest key │     32 bytes; 16 without min and max
//!          └avg─┘
//! ```
//!
//! Values are those of the separate states, bit for bit: the same additions in the
//! same order, the same keys. `count(*)` is the number of values and of NULLs; NULLs are
//! counted apart, in a column that is not there until the first one comes.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, UInt64Type};

use super::fold::column;
use super::min_max::FloatKey;
use super::saved::Saved;
use super::{AggregateCall, SummaryPart};
use crate::error::Result;

/// What a summary of a column gives to one of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// `count(*)`.
    Rows,
    Part(SummaryPart),
}

/// A partial state of one column of floats.
trait Record: Copy + Debug + Send + Sync + 'static {
    const EMPTY: Self;

    /// The number of columns that it is saved as.
    const SAVED: usize;

    fn add(&mut self, value: f64);

    fn merge(&mut self, later: Self);

    fn mean(&self) -> Mean;

    /// The keys of the least and the greatest value; of no values, any.
    fn extremes(&self) -> (i64, i64);

    fn of(mean: Mean, least: i64, greatest: i64) -> Self;
}

#[derive(Debug, Clone, Copy)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Record for Mean {
    const EMPTY: Self = Self { sum: 0.0, count: 0 };
    const SAVED: usize = 2;

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

    fn mean(&self) -> Mean {
        *self
    }

    fn extremes(&self) -> (i64, i64) {
        (0, 0)
    }

    fn of(mean: Mean, _least: i64, _greatest: i64) -> Self {
        mean
    }
}

/// A mean with the extremes, by their keys.
#[derive(Debug, Clone, Copy)]
struct Whole {
    mean: Mean,
    least: i64,
    greatest: i64,
}

impl Record for Whole {
    const EMPTY: Self = Self {
        mean: Mean::EMPTY,
        least: i64::MAX,
        greatest: i64::MIN,
    };
    const SAVED: usize = 4;

    #[inline(always)]
    fn add(&mut self, value: f64) {
        let key = Float64Type::key(value);
        self.mean.add(value);
        self.least = self.least.min(key);
        self.greatest = self.greatest.max(key);
    }

    #[inline(always)]
    fn merge(&mut self, later: Self) {
        self.mean.merge(later.mean);
        self.least = self.least.min(later.least);
        self.greatest = self.greatest.max(later.greatest);
    }

    fn mean(&self) -> Mean {
        self.mean
    }

    fn extremes(&self) -> (i64, i64) {
        (self.least, self.greatest)
    }

    fn of(mean: Mean, least: i64, greatest: i64) -> Self {
        Self {
            mean,
            least,
            greatest,
        }
    }
}

/// The summaries of one column, one for each slot.
pub(crate) trait Summary: Send + Debug {
    /// Makes room for slots `0 .. slots`; the new ones are empty.
    fn resize(&mut self, slots: usize);

    /// Makes slots empty again.
    fn clear(&mut self, slots: &[u32]);

    /// Adds rows to their slots, in row order; `column` is of floats.
    fn update(&mut self, slots: &[u32], column: &ArrayRef);

    /// Combines slot `from[i]` into slot `into[i]`, which holds the earlier rows.
    fn merge(&mut self, into: &[u32], from: &[u32]);

    /// The values of slots, one column for each call, with the call's place.
    fn evaluate(&self, slots: &[u32]) -> Vec<(usize, ArrayRef)>;

    /// The states of slots as columns.
    fn save(&self, slots: &[u32]) -> Vec<ArrayRef>;

    /// Takes over saved states.
    ///
    /// # Errors
    /// If the columns are not those of [`Summary::save`].
    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()>;

    fn state_bytes(&self) -> usize;
}

/// Calls that one summary of a column answers.
#[derive(Debug)]
pub(crate) struct Group {
    /// The column.
    pub(crate) column: usize,
    calls: Vec<(usize, Asked)>,
}

impl Group {
    /// The places of its calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = usize> {
        self.calls.iter().map(|&(call, _)| call)
    }

    /// A summary without slots.
    pub(crate) fn summary(self) -> Box<dyn Summary> {
        use SummaryPart::{Max, Min};
        let has_extremes = (self.calls.iter())
            .any(|(_, asked)| matches!(asked, Asked::Part(Min) | Asked::Part(Max)));
        if has_extremes {
            Box::new(Summaries::<Whole>::new(self.calls))
        } else {
            Box::new(Summaries::<Mean>::new(self.calls))
        }
    }
}

/// The groups of calls that share a summary. A call without a partner is in none.
pub(crate) fn groups(calls: &[AggregateCall]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let parts = || {
        (calls.iter().enumerate())
            .filter(|(_, call)| call.filter.is_none())
            .filter_map(|(place, call)| Some((place, call, call.factory.summary_part()?)))
    };
    for (place, call, part) in parts() {
        // What a count counts may be of any type: it follows the others.
        if let [column] = call.args[..]
            && part != SummaryPart::Count
        {
            let call = (place, Asked::Part(part));
            match groups.iter_mut().find(|group| group.column == column) {
                Some(group) => group.calls.push(call),
                None => groups.push(Group {
                    column,
                    calls: vec![call],
                }),
            }
        }
    }
    for (place, call, part) in parts().filter(|(.., part)| *part == SummaryPart::Count) {
        match call.args[..] {
            [] => {
                if let Some(group) = groups.first_mut() {
                    group.calls.push((place, Asked::Rows));
                }
            }
            [column] => {
                if let Some(group) = groups.iter_mut().find(|group| group.column == column) {
                    group.calls.push((place, Asked::Part(part)));
                }
            }
            _ => {}
        }
    }
    groups.retain(|group| group.calls.len() > 1);
    groups
}

#[derive(Debug)]
struct Summaries<R> {
    calls: Vec<(usize, Asked)>,
    records: Vec<R>,
    /// `[slots]`, or nothing while no NULL has come.
    nulls: Vec<u64>,
}

impl<R: Record> Summaries<R> {
    fn new(calls: Vec<(usize, Asked)>) -> Self {
        Self {
            calls,
            records: Vec::new(),
            nulls: Vec::new(),
        }
    }

    fn nulls_of(&self, slot: u32) -> u64 {
        self.nulls.get(slot as usize).copied().unwrap_or(0)
    }

    /// Rows of which some are NULL.
    fn update_some(&mut self, slots: &[u32], values: &[f64], nulls: &NullBuffer) {
        self.nulls.resize(self.records.len(), 0);
        for (row, (&slot, &value)) in slots.iter().zip(values).enumerate() {
            if nulls.is_valid(row) {
                self.records[slot as usize].add(value);
            } else {
                self.nulls[slot as usize] += 1;
            }
        }
    }
}

/// Adds rows that all take part.
#[inline(never)]
fn add_all<R: Record>(records: &mut [R], slots: &[u32], values: &[f64]) {
    let Some(&first) = slots.first() else {
        return;
    };
    // As in a fold: rows of one slot keep its record in registers.
    if slots.iter().all(|slot| *slot == first) {
        let mut record = records[first as usize];
        values.iter().for_each(|value| record.add(*value));
        records[first as usize] = record;
    } else {
        for (&slot, &value) in slots.iter().zip(values) {
            records[slot as usize].add(value);
        }
    }
}

/// Values where there are any, by number of values.
fn present<R, T: ArrowPrimitiveType>(
    records: &[R],
    count: impl Fn(&R) -> u64,
    value: impl Fn(&R) -> T::Native,
) -> PrimitiveArray<T> {
    let values = records.iter().map(value).collect();
    let some = records.iter().any(|record| count(record) == 0);
    let nulls = some.then(|| NullBuffer::from_iter(records.iter().map(|record| count(record) > 0)));
    PrimitiveArray::new(values, nulls)
}

impl<R: Record> Summary for Summaries<R> {
    fn resize(&mut self, slots: usize) {
        if slots > self.records.len() {
            self.records.resize(slots, R::EMPTY);
            if !self.nulls.is_empty() {
                self.nulls.resize(slots, 0);
            }
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.records[*slot as usize] = R::EMPTY;
        }
        if !self.nulls.is_empty() {
            for slot in slots {
                self.nulls[*slot as usize] = 0;
            }
        }
    }

    fn update(&mut self, slots: &[u32], column: &ArrayRef) {
        let column: &Float64Array = column.as_primitive();
        assert_eq!(column.len(), slots.len(), "each row has a slot");
        match column.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => add_all(&mut self.records, slots, column.values()),
            Some(nulls) => self.update_some(slots, column.values(), nulls),
        }
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) {
        assert_eq!(into.len(), from.len(), "slots are merged in pairs");
        let records = self.records.as_mut_slice();
        for (into, from) in into.iter().zip(from) {
            let from = records[*from as usize];
            records[*into as usize].merge(from);
        }
        if !self.nulls.is_empty() {
            for (into, from) in into.iter().zip(from) {
                self.nulls[*into as usize] += self.nulls[*from as usize];
            }
        }
    }

    fn evaluate(&self, slots: &[u32]) -> Vec<(usize, ArrayRef)> {
        let records: Vec<R> = (slots.iter())
            .map(|slot| self.records[*slot as usize])
            .collect();
        let count = |record: &R| record.mean().count;
        let floats = |value: fn(&R) -> f64| -> ArrayRef {
            Arc::new(present::<R, Float64Type>(&records, count, value))
        };
        let values = |asked: Asked| -> ArrayRef {
            match asked {
                Asked::Rows => Arc::new(Int64Array::from_iter_values(
                    (slots.iter().zip(&records))
                        .map(|(slot, record)| (count(record) + self.nulls_of(*slot)) as i64),
                )),
                Asked::Part(SummaryPart::Count) => Arc::new(Int64Array::from_iter_values(
                    records.iter().map(|record| count(record) as i64),
                )),
                Asked::Part(SummaryPart::Sum) => floats(|record| record.mean().sum),
                Asked::Part(SummaryPart::Mean) => floats(|record| {
                    let Mean { sum, count } = record.mean();
                    sum / count as f64
                }),
                Asked::Part(SummaryPart::Min) => {
                    floats(|record| Float64Type::of_key(record.extremes().0))
                }
                Asked::Part(SummaryPart::Max) => {
                    floats(|record| Float64Type::of_key(record.extremes().1))
                }
            }
        };
        (self.calls.iter())
            .map(|&(call, asked)| (call, values(asked)))
            .collect()
    }

    fn save(&self, slots: &[u32]) -> Vec<ArrayRef> {
        let records = || slots.iter().map(|slot| &self.records[*slot as usize]);
        let mut columns = vec![
            column::<UInt64Type>(slots.iter().map(|slot| self.nulls_of(*slot))),
            column::<Float64Type>(records().map(|record| record.mean().sum)),
            column::<UInt64Type>(records().map(|record| record.mean().count)),
        ];
        if R::SAVED > 2 {
            columns.extend([
                column::<Int64Type>(records().map(|record| record.extremes().0)),
                column::<Int64Type>(records().map(|record| record.extremes().1)),
            ]);
        }
        columns
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let saved = Saved::new(columns, 1 + R::SAVED, slots.len())?;
        let nulls = saved.values::<UInt64Type>(0)?;
        if nulls.iter().any(|nulls| *nulls > 0) {
            self.nulls.resize(self.records.len(), 0);
            for (&slot, &nulls) in slots.iter().zip(nulls) {
                self.nulls[slot as usize] = nulls;
            }
        }
        let sums = saved.values::<Float64Type>(1)?;
        let counts = saved.values::<UInt64Type>(2)?;
        let extremes = match R::SAVED > 2 {
            true => Some((saved.values::<Int64Type>(3)?, saved.values::<Int64Type>(4)?)),
            false => None,
        };
        for (row, &slot) in slots.iter().enumerate() {
            let mean = Mean {
                sum: sums[row],
                count: counts[row],
            };
            let (least, greatest) =
                extremes.map_or((0, 0), |(least, greatest)| (least[row], greatest[row]));
            self.records[slot as usize] = R::of(mean, least, greatest);
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.records.capacity() * size_of::<R>() + self.nulls.capacity() * size_of::<u64>()
    }
}
