//! Several aggregates of one column of floats with shared records for each slot.
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
//! Percentiles of one column have one state, too: the values, or their sketch.
//!
//! Sums are added in the same order as alone: every value has the same bits. Where there is
//! no key, a sum alone is such a record, too, for its lanes.

use arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array, Int64Array, StructArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, UInt64Type};
use std::fmt::Debug;
use std::sync::Arc;

use super::counts::Counts;
use super::fold::{column, fold_rows};
use super::numbers::{Numbers, Total};
use super::saved::Saved;
use super::select::{filtered, for_each_row, selected, two_runs};
use super::{AggregateCall, AggregateFactory, AggregateState, Rows, Shared};
use crate::batch::room;
use crate::error::Result;
use crate::kernel::{LaneRecord, Record};

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
    /// Whether what is evaluated is a struct with a column for each of them.
    is_fused: bool,
}

impl FusedCall {
    /// The values of each call in [`FusedCall::outputs`], from what
    /// [`AggregateState::evaluate`] gave.
    pub fn columns(&self, evaluated: ArrayRef) -> Vec<ArrayRef> {
        match self.is_fused {
            true => evaluated.as_struct().columns().to_vec(),
            false => vec![evaluated],
        }
    }
}

/// Into how many groups the rows of a pane fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// There is no key: rows come in runs, which are added lane by lane.
    One,
    /// One for each key.
    Many,
}

/// Joins calls that can share records; each call is an output of exactly one of the
/// result.
pub fn fuse(calls: &[AggregateCall], groups: Groups) -> Vec<FusedCall> {
    // Calls over a float column, by column and filter.
    let mut shared: Vec<(usize, Option<usize>, Vec<usize>)> = vec![];
    let group_of = |shared: &[(usize, Option<usize>, Vec<usize>)], call: &AggregateCall| {
        (shared.iter()).position(|(column, filter, _)| {
            *filter == call.filter && call.args.iter().all(|arg| arg == column)
        })
    };
    for (place, call) in calls.iter().enumerate() {
        let over_floats = !matches!(call.factory.shared(), None | Some(Shared::Count));
        if let (true, [column]) = (over_floats, &call.args[..]) {
            match group_of(&shared, call) {
                Some(group) => shared[group].2.push(place),
                None => shared.push((*column, call.filter, vec![place])),
            }
        }
    }
    // Counts of the rows or of such a column join a group that is there.
    for (place, call) in calls.iter().enumerate() {
        if call.factory.shared() == Some(Shared::Count)
            && call.args.len() <= 1
            && let Some(group) = group_of(&shared, call)
        {
            shared[group].2.push(place);
        }
    }
    let calls_min = match groups {
        Groups::One => 1,
        Groups::Many => CALLS_MIN,
    };
    shared.retain(|(_, _, places)| places.len() >= calls_min);
    let alone = (0..calls.len())
        .filter(|place| !shared.iter().any(|(_, _, places)| places.contains(place)));
    let alone = join_alike(calls, alone);
    (shared.into_iter())
        .map(|(column, filter, mut outputs)| {
            outputs.sort_unstable();
            let output = |place: &usize| Output::of(&calls[*place]);
            FusedCall {
                factory: Arc::new(FusedFactory {
                    outputs: outputs.iter().filter_map(output).collect(),
                    groups,
                    is_narrow: (outputs.iter()).any(|place| calls[*place].factory.is_narrow()),
                }),
                args: vec![column],
                filter,
                outputs,
                is_fused: true,
            }
        })
        .chain(alone)
        .collect()
}

/// Joins calls that make different things of one state, such as two percentiles.
fn join_alike(calls: &[AggregateCall], places: impl Iterator<Item = usize>) -> Vec<FusedCall> {
    let mut joined: Vec<FusedCall> = Vec::new();
    for place in places {
        let call = &calls[place];
        let with = |fused: &FusedCall| {
            let first = &calls[fused.outputs[0]];
            let same_rows = first.args.first() == call.args.first() && first.filter == call.filter;
            let others = fused.outputs[1..].iter().chain([&place]);
            let others: Vec<_> = others.map(|place| calls[*place].factory.clone()).collect();
            (same_rows).then(|| first.factory.join(&others)).flatten()
        };
        let found = (joined.iter().enumerate())
            .find_map(|(number, fused)| with(fused).map(|factory| (number, factory)));
        match found {
            Some((number, factory)) => {
                let fused = &mut joined[number];
                fused.factory = factory;
                fused.outputs.push(place);
                fused.is_fused = true;
            }
            None => joined.push(FusedCall {
                factory: call.factory.clone(),
                args: call.args.clone(),
                filter: call.filter,
                outputs: vec![place],
                is_fused: false,
            }),
        }
    }
    joined
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

    fn data_type(self, is_narrow: bool) -> DataType {
        match self {
            Self::Rows | Self::Shared(Shared::Count) => DataType::Int64,
            Self::Shared(Shared::Min | Shared::Max) if is_narrow => DataType::Float32,
            Self::Shared(_) => DataType::Float64,
        }
    }
}

#[derive(Debug)]
struct FusedFactory {
    outputs: Arc<[Output]>,
    groups: Groups,
    is_narrow: bool,
}

fn fields(outputs: &[Output], is_narrow: bool) -> Fields {
    (outputs.iter().enumerate())
        .map(|(place, output)| Field::new(place.to_string(), output.data_type(is_narrow), true))
        .collect()
}

impl AggregateFactory for FusedFactory {
    fn create(&self) -> Result<Box<dyn AggregateState>> {
        let is_extreme =
            |output: &Output| matches!(output, Output::Shared(Shared::Min | Shared::Max));
        let has_extremes = self.outputs.iter().any(is_extreme);
        Ok(match (self.groups, has_extremes, self.is_narrow) {
            (Groups::One, ..) => Box::new(FusedState::<LaneRecord>::new(self)),
            (Groups::Many, false, _) => Box::new(FusedState::<Total>::new(self)),
            (Groups::Many, true, false) => Box::new(FusedState::<Record>::new(self)),
            (Groups::Many, true, true) => Box::new(FusedState::<Record<i32>>::new(self)),
        })
    }

    fn return_type(&self) -> DataType {
        DataType::Struct(fields(&self.outputs, self.is_narrow))
    }
}

#[derive(Debug)]
struct FusedState<R> {
    outputs: Arc<[Output]>,
    is_narrow: bool,
    records: Vec<R>,
    counts: Counts,
    /// `[slots]`: rows whose value is NULL; empty as long as none was and all that is
    /// asked needs it.
    nulls: Vec<u64>,
}

impl<R: Numbers> FusedState<R> {
    fn new(factory: &FusedFactory) -> Self {
        Self {
            outputs: factory.outputs.clone(),
            is_narrow: factory.is_narrow,
            records: vec![],
            counts: Counts::default(),
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

    /// How many values a slot has that are not NULL.
    fn count(&self, slot: u32) -> u64 {
        self.records[slot as usize].count() + self.counts.of(slot)
    }

    fn output(&self, output: Output, slots: &[u32]) -> ArrayRef {
        match self.counts.are_there() {
            true => self.output_by(output, slots, |slot, _| self.count(slot)),
            false => self.output_by(output, slots, |_, record| record.count()),
        }
    }

    #[inline(always)]
    fn output_by(
        &self,
        output: Output,
        slots: &[u32],
        count: impl Fn(u32, &R) -> u64 + Copy,
    ) -> ArrayRef {
        let records = || (slots.iter()).map(|slot| &self.records[*slot as usize]);
        let counts = || (slots.iter().zip(records())).map(|(slot, record)| count(*slot, record));
        // A window mostly has a value of every key that is in it.
        let nulls = || {
            (counts().any(|count| count == 0)).then(|| counts().map(|count| count > 0).collect())
        };
        let floats = |values: ScalarBuffer<f64>| Arc::new(Float64Array::new(values, nulls()));
        let extremes = |which: usize| -> ArrayRef {
            let values = records().map(|record| record.extremes()[which]);
            match self.is_narrow {
                // They were of 32 bits.
                true => Arc::new(Float32Array::new(
                    values.map(|value| value as f32).collect(),
                    nulls(),
                )),
                false => floats(values.collect()),
            }
        };
        match output {
            Output::Rows => Arc::new(Int64Array::from_iter_values(
                (slots.iter().zip(counts()))
                    .map(|(slot, count)| (count + self.nulls_of(*slot)) as i64),
            )),
            Output::Shared(Shared::Count) => {
                column::<Int64Type>(counts().map(|count| count as i64))
            }
            Output::Shared(Shared::Sum) => floats(records().map(R::sum).collect()),
            Output::Shared(Shared::Avg) => floats(
                (records().zip(counts()))
                    .map(|(record, count)| record.sum() / count as f64)
                    .collect(),
            ),
            Output::Shared(Shared::Min) => extremes(0),
            Output::Shared(Shared::Max) => extremes(1),
        }
    }
}

impl<R: Numbers> AggregateState for FusedState<R> {
    fn resize(&mut self, slots: usize) {
        if slots > self.records.len() {
            room::resize(&mut self.records, slots, R::EMPTY);
            self.counts.resize(slots);
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.records[*slot as usize] = R::EMPTY;
            self.counts.clear(*slot);
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
        (first..first + len).for_each(|slot| self.counts.clear(slot));
        if !self.nulls.is_empty() {
            self.nulls.resize(self.records.len(), 0);
            self.nulls[run].fill(0);
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let values = R::values(&rows.args[0]);
        let selection = selected(&rows, &rows.args[..1]);
        self.counts.expect(&mut self.records, values.len());
        match &selection {
            None => R::add_rows(&mut self.records, rows.slots, &values),
            Some(_) => fold_rows(
                &mut self.records,
                rows.slots,
                &values,
                selection.as_ref(),
                R::add,
            ),
        }
        if self.outputs.contains(&Output::Rows) {
            self.count_nulls(&rows);
        }
        Ok(())
    }

    fn update_run(&mut self, slot: u32, rows: Rows<'_>) -> Result<()> {
        let selection = selected(&rows, &rows.args[..1]);
        if selection.is_some() {
            return self.update(Rows {
                slots: &vec![slot; rows.times.len()],
                ..rows
            });
        }
        let values = R::values(&rows.args[0]);
        self.counts.expect(&mut self.records, values.len());
        R::add_run(&mut self.records[slot as usize], &values);
        Ok(())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "slots are merged in pairs");
        let records = self.records.as_mut_slice();
        for (into, from) in into.iter().zip(from) {
            let from = records[*from as usize];
            records[*into as usize].merge(from);
        }
        if self.counts.are_there() {
            (into.iter().zip(from)).for_each(|(into, from)| self.counts.merge(*into, *from));
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
        if self.counts.are_there() {
            (0..len).for_each(|place| self.counts.merge(into + place, from + place));
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
            fields(&self.outputs, self.is_narrow),
            columns,
            None,
        )))
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let records = || (slots.iter()).map(|slot| &self.records[*slot as usize]);
        let sums =
            (0..R::SUMS).map(|sum| column::<Float64Type>(records().map(|record| record.part(sum))));
        Ok(sums
            .chain([
                column::<UInt64Type>(slots.iter().map(|slot| self.count(*slot))),
                column::<Int64Type>(records().map(|record| record.span()[0])),
                column::<Int64Type>(records().map(|record| record.span()[1])),
                column::<UInt64Type>(slots.iter().map(|slot| self.nulls_of(*slot))),
            ])
            .collect())
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let saved = Saved::new(columns, R::SUMS + 4, slots.len())?;
        let sums = (0..R::SUMS)
            .map(|sum| saved.values::<Float64Type>(sum))
            .collect::<Result<Vec<_>>>()?;
        let count = saved.values::<UInt64Type>(R::SUMS)?;
        let least = saved.values::<Int64Type>(R::SUMS + 1)?;
        let greatest = saved.values::<Int64Type>(R::SUMS + 2)?;
        let nulls = saved.values::<UInt64Type>(R::SUMS + 3)?;
        if nulls.iter().any(|nulls| *nulls > 0) {
            self.nulls.resize(self.records.len(), 0);
        }
        for (row, slot) in slots.iter().enumerate() {
            let sums: Vec<f64> = sums.iter().map(|sums| sums[row]).collect();
            let count = self.counts.load::<R>(self.records.len(), *slot, count[row]);
            self.records[*slot as usize] = R::of(&sums, count, [least[row], greatest[row]]);
            if let Some(of_slot) = self.nulls.get_mut(*slot as usize) {
                *of_slot = nulls[row];
            }
        }
        self.counts.expect(&mut self.records, 0);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let nulls = self.nulls.capacity() * size_of::<u64>();
        self.records.capacity() * size_of::<R>() + nulls + self.counts.bytes()
    }
}
