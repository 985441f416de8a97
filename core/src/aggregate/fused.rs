//! Several aggregates of one `Float64` column with shared records for each slot.
//!
//! `count(*)`, `count(x)`, `sum(x)`, `avg(x)`, `min(x)`, `max(x)` have four numbers in
//! common. Apart they are up to six passes over the rows and six places of memory for
//! each slot; fused they are two of each, totals and extremes, side by side:
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
use std::sync::Arc;

use super::fold::{column, fold_rows};
use super::min_max::FloatKey;
use super::saved::Saved;
use super::select::{filtered, for_each_row, selected};
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
        Ok(Box::new(FusedState {
            outputs: self.0.clone(),
            totals: vec![],
            extremes: vec![],
            nulls: vec![],
        }))
    }

    fn return_type(&self) -> DataType {
        DataType::Struct(fields(&self.0))
    }
}

/// What `count`, `sum` and `avg` have in common.
#[derive(Debug, Clone, Copy)]
struct Total {
    sum: f64,
    /// Values that are not NULL.
    count: u64,
}

const NO_TOTAL: Total = Total { sum: 0.0, count: 0 };

impl Total {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    #[inline(always)]
    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }
}

/// Keys of the total order of floats.
#[derive(Debug, Clone, Copy)]
struct Extremes {
    min: i64,
    max: i64,
}

const NO_EXTREMES: Extremes = Extremes {
    min: i64::MAX,
    max: i64::MIN,
};

impl Extremes {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        let key = Float64Type::key(value);
        self.min = self.min.min(key);
        self.max = self.max.max(key);
    }

    #[inline(always)]
    fn merge(&mut self, other: Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// From so many rows on, totals and extremes are found side by side.
const PARALLEL_ROWS_MIN: usize = 16 * 1024;

#[derive(Debug)]
struct FusedState {
    outputs: Arc<[Output]>,
    totals: Vec<Total>,
    /// `[slots]`, or empty where nobody asks for them.
    extremes: Vec<Extremes>,
    /// `[slots]`: rows whose value is NULL; empty as long as none was and all that is
    /// asked needs it.
    nulls: Vec<u64>,
}

impl FusedState {
    fn has_extremes(&self) -> bool {
        let is_one = |output: &Output| matches!(output, Output::Shared(Shared::Min | Shared::Max));
        self.outputs.iter().any(is_one)
    }

    fn nulls_of(&self, slot: u32) -> u64 {
        self.nulls.get(slot as usize).copied().unwrap_or(0)
    }

    /// Counts the rows that only `count(*)` sees.
    fn count_nulls(&mut self, rows: &Rows<'_>) {
        let Some(valid) = rows.args[0].nulls().filter(|nulls| nulls.null_count() > 0) else {
            return;
        };
        self.nulls.resize(self.totals.len(), 0);
        let selection = match filtered(rows) {
            Some(filter) => &filter & &!valid.inner(),
            None => !valid.inner(),
        };
        for_each_row(rows.slots.len(), Some(&selection), |row| {
            self.nulls[rows.slots[row] as usize] += 1;
        });
    }

    fn output(&self, output: Output, slots: &[u32]) -> ArrayRef {
        let totals = || slots.iter().map(|slot| self.totals[*slot as usize]);
        let extremes = || slots.iter().map(|slot| self.extremes[*slot as usize]);
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

impl AggregateState for FusedState {
    fn resize(&mut self, slots: usize) {
        if slots > self.totals.len() {
            self.totals.resize(slots, NO_TOTAL);
            if self.has_extremes() {
                self.extremes.resize(slots, NO_EXTREMES);
            }
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.totals[*slot as usize] = NO_TOTAL;
        }
        if !self.extremes.is_empty() {
            for slot in slots {
                self.extremes[*slot as usize] = NO_EXTREMES;
            }
        }
        if !self.nulls.is_empty() {
            for slot in slots {
                if let Some(nulls) = self.nulls.get_mut(*slot as usize) {
                    *nulls = 0;
                }
            }
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let values: &[f64] = rows.args[0].as_primitive::<Float64Type>().values();
        let selection = selected(&rows, &rows.args[..1]);
        let (totals, extremes) = (&mut self.totals, &mut self.extremes);
        let mut total = || fold_rows(totals, rows.slots, &values, selection.as_ref(), Total::add);
        if extremes.is_empty() {
            total();
        } else {
            let selection = selection.as_ref();
            let mut extreme = || fold_rows(extremes, rows.slots, &values, selection, Extremes::add);
            // Each keeps the order of the rows, so that the values do not depend on it.
            if rows.slots.len() >= PARALLEL_ROWS_MIN && rayon::current_num_threads() > 1 {
                rayon::join(total, extreme);
            } else {
                total();
                extreme();
            }
        }
        if self.outputs.contains(&Output::Rows) {
            self.count_nulls(&rows);
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "slots are merged in pairs");
        let totals = self.totals.as_mut_slice();
        for (into, from) in into.iter().zip(from) {
            let from = totals[*from as usize];
            totals[*into as usize].merge(from);
        }
        let extremes = self.extremes.as_mut_slice();
        if !extremes.is_empty() {
            for (into, from) in into.iter().zip(from) {
                let from = extremes[*from as usize];
                extremes[*into as usize].merge(from);
            }
        }
        if !self.nulls.is_empty() {
            self.nulls.resize(self.totals.len(), 0);
            for (into, from) in into.iter().zip(from) {
                self.nulls[*into as usize] += self.nulls[*from as usize];
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
        let totals = || slots.iter().map(|slot| self.totals[*slot as usize]);
        let extremes = || {
            let of_slot = |slot: &u32| self.extremes.get(*slot as usize).copied();
            (slots.iter()).map(move |slot| of_slot(slot).unwrap_or(NO_EXTREMES))
        };
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
            self.nulls.resize(self.totals.len(), 0);
        }
        for (row, slot) in slots.iter().enumerate() {
            self.totals[*slot as usize] = Total {
                sum: sum[row],
                count: count[row],
            };
            if let Some(extremes) = self.extremes.get_mut(*slot as usize) {
                *extremes = Extremes {
                    min: min[row],
                    max: max[row],
                };
            }
            if let Some(of_slot) = self.nulls.get_mut(*slot as usize) {
                *of_slot = nulls[row];
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.totals.capacity() * size_of::<Total>()
            + self.extremes.capacity() * size_of::<Extremes>()
            + self.nulls.capacity() * size_of::<u64>()
    }
}
