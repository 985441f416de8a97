//! Several aggregates of one `Float64` column with shared records for each slot.
//!
//! `count(*)`, `count(x)`, `sum(x)`, `avg(x)`, `min(x)`, `max(x)` have four numbers in
//! common. Apart they are up to six passes over the rows and six places of memory for
//! each slot; fused they are one of each:
//!
//! ```text
//!   calls     count(*)  sum(x)  last(y)  max(x)        fuse()
//!                │         │       │        │
//!   fused     [ count      sum ]          [ max ]   [ last ]
//!   outputs     0          1                3         2
//!   evaluate    a struct of three columns             a column
//! ```
//!
//! Sums are added in the same order as alone: every value has the same bits.

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StructArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, UInt64Type};
use std::fmt::Debug;
use std::sync::Arc;

use super::fold::{column, fold_rows};
use super::min_max::FloatKey;
use super::saved::Saved;
use super::select::{filtered, for_each_row, selected, two_runs};
use super::{AggregateCall, AggregateFactory, AggregateState, Rows, Shared};
use crate::error::Result;

/// How many calls it takes to fuse them: a shared record is larger than one's own.
const CALLS_MIN: usize = 3;

/// One or more calls that are computed by one state.
#[derive(Debug, Clone)]
pub struct FusedCall {
    /// Makes the states.
    pub factory: Arc<dyn AggregateFactory>,
    /// The argument columns of the operator's input.
    pub args: Vec<usize>,
    /// The boolean column of `FILTER (WHERE …)`.
    pub filter: Option<usize>,
    /// Which of the calls it computes: their places in the list that was fused.
    pub outputs: Vec<usize>,
}

impl FusedCall {
    /// The values of each call in [`FusedCall::outputs`], from what
    /// [`AggregateState::evaluate`] gave.
    pub fn columns(&self, evaluated: ArrayRef) -> Vec<ArrayRef> {
        if self.outputs.len() == 1 {
            vec![evaluated]
        } else {
            evaluated.as_struct().columns().to_vec()
        }
    }
}

/// Joins calls that can share records; each call is an output of exactly one of the
/// result.
pub fn fuse(calls: &[AggregateCall]) -> Vec<FusedCall> {
    // Calls over a float column, by column and filter.
    let mut groups: Vec<(usize, Option<usize>, Vec<usize>)> = vec![];
    let group_of = |groups: &[(usize, Option<usize>, Vec<usize>)], call: &AggregateCall| {
        (groups.iter()).position(|(column, filter, _)| {
            *filter == call.filter && call.args.iter().all(|arg| arg == column)
        })
    };
    for (place, call) in calls.iter().enumerate() {
        let over_floats = !matches!(call.factory.shared(), None | Some(Shared::Count));
        if let (true, [column]) = (over_floats, &call.args[..]) {
            match group_of(&groups, call) {
                Some(group) => groups[group].2.push(place),
                None => groups.push((*column, call.filter, vec![place])),
            }
        }
    }
    // Counts of the rows or of such a column join a group that is there.
    for (place, call) in calls.iter().enumerate() {
        if call.factory.shared() == Some(Shared::Count)
            && call.args.len() <= 1
            && let Some(group) = group_of(&groups, call)
        {
            groups[group].2.push(place);
        }
    }
    groups.retain(|(_, _, places)| places.len() >= CALLS_MIN);
    let alone = (0..calls.len())
        .filter(|place| !groups.iter().any(|(_, _, places)| places.contains(place)))
        .map(|place| FusedCall {
            factory: calls[place].factory.clone(),
            args: calls[place].args.clone(),
            filter: calls[place].filter,
            outputs: vec![place],
        });
    let alone: Vec<FusedCall> = alone.collect();
    (groups.into_iter())
        .map(|(column, filter, mut outputs)| {
            outputs.sort_unstable();
            let output = |place: &usize| Output::of(&calls[*place]);
            FusedCall {
                factory: Arc::new(FusedFactory(outputs.iter().filter_map(output).collect())),
                args: vec![column],
                filter,
                outputs,
            }
        })
        .chain(alone)
        .collect()
}

/// A column of a fused result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// `count(*)`: rows, whatever the value.
    Rows,
    /// What the record gives.
    Shared(Shared),
}

impl Output {
    fn of(call: &AggregateCall) -> Option<Self> {
        match call.factory.shared()? {
            Shared::Count if call.args.is_empty() => Some(Self::Rows),
            shared => Some(Self::Shared(shared)),
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Rows | Self::Shared(Shared::Count) => DataType::Int64,
            Self::Shared(_) => DataType::Float64,
        }
    }
}

#[derive(Debug)]
struct FusedFactory(Arc<[Output]>);

fn fields(outputs: &[Output]) -> Fields {
    (outputs.iter().enumerate())
        .map(|(place, output)| Field::new(place.to_string(), output.data_type(), true))
        .collect()
}

impl AggregateFactory for FusedFactory {
    fn create(&self) -> Result<Box<dyn AggregateState>> {
        let is_extreme =
            |output: &Output| matches!(output, Output::Shared(Shared::Min | Shared::Max));
        Ok(if self.0.iter().any(is_extreme) {
            Box::new(FusedState::<Whole>::new(self.0.clone()))
        } else {
            Box::new(FusedState::<Total>::new(self.0.clone()))
        })
    }

    fn return_type(&self) -> DataType {
        DataType::Struct(fields(&self.0))
    }
}

/// The numbers of one slot.
trait Record: Copy + Debug + Send + 'static {
    const EMPTY: Self;

    fn add(&mut self, value: f64);

    /// Adds those of later rows.
    fn merge(&mut self, later: Self);

    fn total(&self) -> Total;

    fn extremes(&self) -> Extremes;

    fn of(total: Total, extremes: Extremes) -> Self;
}

/// What `count`, `sum` and `avg` have in common.
#[derive(Debug, Clone, Copy)]
struct Total {
    sum: f64,
    /// Values that are not NULL.
    count: u64,
}

impl Record for Total {
    const EMPTY: Self = Self { sum: 0.0, count: 0 };

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

    fn total(&self) -> Total {
        *self
    }

    fn extremes(&self) -> Extremes {
        Extremes::EMPTY
    }

    fn of(total: Total, _: Extremes) -> Self {
        total
    }
}

/// Keys of the total order of floats.
#[derive(Debug, Clone, Copy)]
struct Extremes {
    min: i64,
    max: i64,
}

impl Extremes {
    const EMPTY: Self = Self {
        min: i64::MAX,
        max: i64::MIN,
    };
}

/// Totals and extremes.
#[derive(Debug, Clone, Copy)]
struct Whole {
    total: Total,
    extremes: Extremes,
}

impl Record for Whole {
    const EMPTY: Self = Self {
        total: Total::EMPTY,
        extremes: Extremes::EMPTY,
    };

    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.total.add(value);
        let key = Float64Type::key(value);
        self.extremes.min = self.extremes.min.min(key);
        self.extremes.max = self.extremes.max.max(key);
    }

    #[inline(always)]
    fn merge(&mut self, later: Self) {
        self.total.merge(later.total);
        self.extremes.min = self.extremes.min.min(later.extremes.min);
        self.extremes.max = self.extremes.max.max(later.extremes.max);
    }

    fn total(&self) -> Total {
        self.total
    }

    fn extremes(&self) -> Extremes {
        self.extremes
    }

    fn of(total: Total, extremes: Extremes) -> Self {
        Self { total, extremes }
    }
}

#[derive(Debug)]
struct FusedState<R> {
    outputs: Arc<[Output]>,
    records: Vec<R>,
    /// `[slots]`: rows whose value is NULL; empty as long as none was and all that is
    /// asked needs it.
    nulls: Vec<u64>,
}

impl<R: Record> FusedState<R> {
    fn new(outputs: Arc<[Output]>) -> Self {
        Self {
            outputs,
            records: vec![],
            nulls: vec![],
        }
    }

    fn nulls_of(&self, slot: u32) -> u64 {
        self.nulls.get(slot as usize).copied().unwrap_or(0)
    }

    /// Counts the rows that only `count(*)` sees.
    fn count_nulls(&mut self, rows: &Rows<'_>) {
        let Some(valid) = rows.args[0].nulls().filter(|nulls| nulls.null_count() > 0) else {
            return;
        };
        self.nulls.resize(self.records.len(), 0);
        let selection = match filtered(rows) {
            Some(filter) => &filter & &!valid.inner(),
            None => !valid.inner(),
        };
        for_each_row(rows.slots.len(), Some(&selection), |row| {
            self.nulls[rows.slots[row] as usize] += 1;
        });
    }

    fn output(&self, output: Output, slots: &[u32]) -> ArrayRef {
        let totals = || (slots.iter()).map(|slot| self.records[*slot as usize].total());
        let extremes = || (slots.iter()).map(|slot| self.records[*slot as usize].extremes());
        let floats = |values: ScalarBuffer<f64>| {
            // A window mostly has a value of every key that is in it.
            let nulls = (totals().any(|total| total.count == 0))
                .then(|| totals().map(|total| total.count > 0).collect());
            Arc::new(Float64Array::new(values, nulls))
        };
        match output {
            Output::Rows => Arc::new(Int64Array::from_iter_values(
                (slots.iter().zip(totals()))
                    .map(|(slot, total)| (total.count + self.nulls_of(*slot)) as i64),
            )),
            Output::Shared(Shared::Count) => {
                column::<Int64Type>(totals().map(|total| total.count as i64))
            }
            Output::Shared(Shared::Sum) => floats(totals().map(|total| total.sum).collect()),
            Output::Shared(Shared::Avg) => floats(
                totals()
                    .map(|total| total.sum / total.count as f64)
                    .collect(),
            ),
            Output::Shared(Shared::Min) => floats(
                extremes()
                    .map(|extremes| Float64Type::of_key(extremes.min))
                    .collect(),
            ),
            Output::Shared(Shared::Max) => floats(
                extremes()
                    .map(|extremes| Float64Type::of_key(extremes.max))
                    .collect(),
            ),
        }
    }
}

impl<R: Record> AggregateState for FusedState<R> {
    fn resize(&mut self, slots: usize) {
        if slots > self.records.len() {
            self.records.resize(slots, R::EMPTY);
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.records[*slot as usize] = R::EMPTY;
        }
        if !self.nulls.is_empty() {
            for slot in slots {
                if let Some(nulls) = self.nulls.get_mut(*slot as usize) {
                    *nulls = 0;
                }
            }
        }
    }

    fn clear_block(&mut self, first: u32, len: u32) {
        let run = first as usize..(first + len) as usize;
        self.records[run.clone()].fill(R::EMPTY);
        if !self.nulls.is_empty() {
            self.nulls.resize(self.records.len(), 0);
            self.nulls[run].fill(0);
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let values: &[f64] = rows.args[0].as_primitive::<Float64Type>().values();
        let selection = selected(&rows, &rows.args[..1]);
        fold_rows(
            &mut self.records,
            rows.slots,
            &values,
            selection.as_ref(),
            R::add,
        );
        if self.outputs.contains(&Output::Rows) {
            self.count_nulls(&rows);
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "slots are merged in pairs");
        let records = self.records.as_mut_slice();
        for (into, from) in into.iter().zip(from) {
            let from = records[*from as usize];
            records[*into as usize].merge(from);
        }
        if !self.nulls.is_empty() {
            self.nulls.resize(self.records.len(), 0);
            for (into, from) in into.iter().zip(from) {
                self.nulls[*into as usize] += self.nulls[*from as usize];
            }
        }
        Ok(())
    }

    fn merge_block(&mut self, into: u32, from: u32, len: u32) -> Result<()> {
        let (earlier, later) = two_runs(&mut self.records, into, from, len);
        for (earlier, later) in earlier.iter_mut().zip(later) {
            earlier.merge(*later);
        }
        if !self.nulls.is_empty() {
            self.nulls.resize(self.records.len(), 0);
            let (earlier, later) = two_runs(&mut self.nulls, into, from, len);
            for (earlier, later) in earlier.iter_mut().zip(later) {
                *earlier += later;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        let columns = (self.outputs.iter())
            .map(|output| self.output(*output, slots))
            .collect();
        Ok(Arc::new(StructArray::new(
            fields(&self.outputs),
            columns,
            None,
        )))
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let totals = || (slots.iter()).map(|slot| self.records[*slot as usize].total());
        let extremes = || (slots.iter()).map(|slot| self.records[*slot as usize].extremes());
        Ok(vec![
            column::<Float64Type>(totals().map(|total| total.sum)),
            column::<UInt64Type>(totals().map(|total| total.count)),
            column::<Int64Type>(extremes().map(|extremes| extremes.min)),
            column::<Int64Type>(extremes().map(|extremes| extremes.max)),
            column::<UInt64Type>(slots.iter().map(|slot| self.nulls_of(*slot))),
        ])
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let saved = Saved::new(columns, 5, slots.len())?;
        let sum = saved.values::<Float64Type>(0)?;
        let count = saved.values::<UInt64Type>(1)?;
        let min = saved.values::<Int64Type>(2)?;
        let max = saved.values::<Int64Type>(3)?;
        let nulls = saved.values::<UInt64Type>(4)?;
        if nulls.iter().any(|nulls| *nulls > 0) {
            self.nulls.resize(self.records.len(), 0);
        }
        for (row, slot) in slots.iter().enumerate() {
            let total = Total {
                sum: sum[row],
                count: count[row],
            };
            let extremes = Extremes {
                min: min[row],
                max: max[row],
            };
            self.records[*slot as usize] = R::of(total, extremes);
            if let Some(of_slot) = self.nulls.get_mut(*slot as usize) {
                *of_slot = nulls[row];
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.records.capacity() * size_of::<R>() + self.nulls.capacity() * size_of::<u64>()
    }
}
