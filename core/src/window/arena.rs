//! The partial states of an operator's aggregates.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use rayon::prelude::*;

use super::key_slots::Block;
use super::tables::Columns;
use crate::aggregate::fused::{FusedCall, Groups, fuse};
use crate::aggregate::{AggregateCall, AggregateState, Rows};
use crate::error::Result;

/// From so many rows on, aggregates are updated in parallel.
const PARALLEL_ROWS_MIN: usize = 8_192;

/// The partial states of an operator's aggregates, by slot.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Calls, those fused that can share a record.
    calls: Vec<FusedCall>,
    states: Vec<Box<dyn AggregateState>>,
    /// One more than the greatest slot ever given out.
    bound: usize,
    /// What the states have room for.
    room: usize,
    free: Vec<u32>,
    /// Blocks that nobody has, by their length.
    free_blocks: BTreeMap<u32, Vec<u32>>,
    /// How many rows were lifted: the next row's place in the order of arrival.
    ordinal: u64,
}

/// The length of a block for so many keys: a power of two, so that those of a growing
/// number of keys, kept for when it falls again, are no more than the greatest of them.
fn block_len(keys: usize) -> u32 {
    u32::try_from(keys.next_power_of_two()).expect("key ids have 32 bits")
}

impl Arena {
    pub(crate) fn new(calls: Vec<AggregateCall>, groups: Groups) -> Result<Self> {
        let calls = fuse(&calls, groups);
        let states = (calls.iter())
            .map(|call| call.factory.create())
            .collect::<Result<_>>()?;
        Ok(Self {
            calls,
            states,
            bound: 0,
            room: 0,
            free: Vec::new(),
            free_blocks: BTreeMap::new(),
            ordinal: 0,
        })
    }

    /// Whether there is no aggregate.
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether all states may be given a batch in parts.
    pub(crate) fn takes_parts(&self) -> bool {
        self.calls.iter().all(|call| call.factory.takes_parts())
    }

    /// Whether some state grows with its rows.
    pub(crate) fn holds_values(&self) -> bool {
        self.calls.iter().any(|call| call.factory.holds_values())
    }

    /// An empty slot.
    pub(crate) fn allocate(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.bound).expect("2^32 states do not fit into memory");
            self.bound += 1;
            slot
        })
    }

    /// Takes slots back.
    pub(crate) fn release(&mut self, slots: &[u32]) {
        self.make_room();
        for state in &mut self.states {
            state.clear(slots);
        }
        // The next pane takes them in the order of this one: neighbours in memory stay
        // neighbours.
        self.free.extend(slots.iter().rev());
    }

    /// Neighbouring empty slots, one for each of so many keys at least.
    pub(crate) fn allocate_block(&mut self, keys: usize) -> Block {
        let len = block_len(keys);
        // One twice as long serves as well.
        let fitting = self.free_blocks.range_mut(len..=len.saturating_mul(2));
        for (&len, firsts) in fitting {
            if let Some(first) = firsts.pop() {
                return Block { first, len };
            }
        }
        let first = u32::try_from(self.bound).expect("2^32 states do not fit into memory");
        self.bound += len as usize;
        Block { first, len }
    }

    /// Takes a block back.
    pub(crate) fn release_block(&mut self, block: Block) {
        self.make_room();
        for state in &mut self.states {
            state.clear_block(block.first, block.len);
        }
        (self.free_blocks.entry(block.len).or_default()).push(block.first);
    }

    /// Combines the first `len` slots of `from` into those of `into`, which hold the
    /// earlier rows.
    pub(crate) fn merge_block(&mut self, into: Block, from: Block, len: u32) -> Result<()> {
        debug_assert!(len <= into.len && len <= from.len);
        self.make_room();
        let merge =
            |state: &mut Box<dyn AggregateState>| state.merge_block(into.first, from.first, len);
        if len as usize >= PARALLEL_ROWS_MIN && self.states.len() > 1 {
            self.states.par_iter_mut().try_for_each(merge)
        } else {
            self.states.iter_mut().try_for_each(merge)
        }
    }

    fn make_room(&mut self) {
        if self.room < self.bound {
            // By an eighth, so that no batch waits for as many states as there are already.
            self.room = self.bound.max(self.room + self.room / 8);
            for state in &mut self.states {
                state.resize(self.room);
            }
        }
    }

    /// Lifts rows into slots: `slots[i]` is that of row `i` of `records`.
    pub(crate) fn update(
        &mut self,
        records: &RecordBatch,
        times: &[i64],
        slots: &[u32],
    ) -> Result<()> {
        let lifted = self.number(times);
        self.update_part(records, &lifted, 0, slots)
    }

    /// Numbers the rows of a batch in the order of arrival.
    pub(crate) fn number<'a>(&mut self, times: &'a [i64]) -> Lifted<'a> {
        let first_ordinal = self.ordinal;
        self.ordinal += times.len() as u64;
        Lifted {
            times,
            first_ordinal,
        }
    }

    /// Lifts the rows from `first` on into their slots.
    pub(crate) fn update_part(
        &mut self,
        records: &RecordBatch,
        lifted: &Lifted<'_>,
        first: usize,
        slots: &[u32],
    ) -> Result<()> {
        let mut lines = self.lines(records);
        let update = |line: &mut Line<'_>| line.update(lifted, first, slots);
        if slots.len() >= PARALLEL_ROWS_MIN && lines.len() > 1 {
            lines.par_iter_mut().try_for_each(update)
        } else {
            lines.iter_mut().try_for_each(update)
        }
    }

    /// Lifts runs of rows, each into one slot.
    pub(crate) fn update_runs(
        &mut self,
        records: &RecordBatch,
        lifted: &Lifted<'_>,
        runs: &[(u32, Range<usize>)],
    ) -> Result<()> {
        let mut lines = self.lines(records);
        let update = |line: &mut Line<'_>| {
            let mut runs = runs.iter();
            runs.try_for_each(|(slot, rows)| line.update_run(lifted, rows.clone(), *slot))
        };
        if lifted.len() >= PARALLEL_ROWS_MIN && lines.len() > 1 {
            lines.par_iter_mut().try_for_each(update)
        } else {
            lines.iter_mut().try_for_each(update)
        }
    }

    /// The states, each with what it takes of a batch.
    pub(crate) fn lines<'a>(&'a mut self, records: &'a RecordBatch) -> Vec<Line<'a>> {
        self.make_room();
        (self.states.iter_mut().zip(&self.calls))
            .map(|(state, call)| Line {
                state,
                args: (call.args.iter())
                    .map(|&column| records.column(column).clone())
                    .collect(),
                filter: (call.filter).map(|column| records.column(column).as_boolean()),
            })
            .collect()
    }

    /// Combines `from[i]` into `into[i]`, which holds the earlier rows.
    pub(crate) fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        self.make_room();
        if into.is_empty() {
            return Ok(());
        }
        if into.len() >= PARALLEL_ROWS_MIN && self.states.len() > 1 {
            (self.states.par_iter_mut()).try_for_each(|state| state.merge(into, from))
        } else {
            (self.states.iter_mut()).try_for_each(|state| state.merge(into, from))
        }
    }

    /// The values of slots, one column for each aggregate.
    pub(crate) fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.make_room();
        let evaluated: Vec<ArrayRef> = if slots.len() >= PARALLEL_ROWS_MIN && self.states.len() > 1
        {
            (self.states.par_iter_mut())
                .map(|state| state.evaluate(slots))
                .collect::<Result<_>>()?
        } else {
            (self.states.iter_mut())
                .map(|state| state.evaluate(slots))
                .collect::<Result<_>>()?
        };
        let mut values: Vec<(usize, ArrayRef)> = (self.calls.iter().zip(evaluated))
            .flat_map(|(call, evaluated)| {
                (call.outputs.iter().copied()).zip(call.columns(evaluated))
            })
            .collect();
        values.sort_unstable_by_key(|(place, _)| *place);
        Ok(values.into_iter().map(|(_, values)| values).collect())
    }

    /// How many rows were lifted.
    pub(crate) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The states of slots as named columns.
    pub(crate) fn save(&mut self, slots: &[u32]) -> Result<Columns> {
        self.make_room();
        let mut columns = Vec::new();
        for (number, state) in self.states.iter_mut().enumerate() {
            for (part, column) in state.save(slots)?.into_iter().enumerate() {
                columns.push((format!("state_{number}_{part}"), column));
            }
        }
        Ok(columns)
    }

    /// Takes over saved states.
    pub(crate) fn load(&mut self, slots: &[u32], table: &RecordBatch, ordinal: u64) -> Result<()> {
        self.make_room();
        self.ordinal = ordinal;
        for (number, state) in self.states.iter_mut().enumerate() {
            let mut columns = Vec::new();
            while let Some(column) =
                table.column_by_name(&format!("state_{number}_{}", columns.len()))
            {
                columns.push(column.clone());
            }
            state.load(slots, &columns)?;
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        let states: usize = self.states.iter().map(|state| state.state_bytes()).sum();
        let free_blocks: usize = self.free_blocks.values().map(Vec::capacity).sum();
        states + (self.free.capacity() + free_blocks) * size_of::<u32>()
    }
}

/// An aggregate's states and what they take of a batch.
pub(crate) struct Line<'a> {
    state: &'a mut Box<dyn AggregateState>,
    args: Vec<ArrayRef>,
    filter: Option<&'a BooleanArray>,
}

/// The rows of a batch on their way into states.
pub(crate) struct Lifted<'a> {
    times: &'a [i64],
    first_ordinal: u64,
}

impl Lifted<'_> {
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }
}

impl Line<'_> {
    /// Adds the rows from `first` on to their slots.
    pub(crate) fn update(&mut self, rows: &Lifted<'_>, first: usize, slots: &[u32]) -> Result<()> {
        if slots.len() == rows.times.len() {
            return self.state.update(Rows {
                slots,
                args: &self.args,
                filter: self.filter,
                times: rows.times,
                first_ordinal: rows.first_ordinal,
            });
        }
        self.update_some(rows, first..first + slots.len(), |state, rows| {
            state.update(Rows { slots, ..rows })
        })
    }

    /// Adds rows to one slot.
    fn update_run(&mut self, rows: &Lifted<'_>, range: Range<usize>, slot: u32) -> Result<()> {
        self.update_some(rows, range, |state, rows| state.update_run(slot, rows))
    }

    fn update_some(
        &mut self,
        rows: &Lifted<'_>,
        range: Range<usize>,
        update: impl FnOnce(&mut dyn AggregateState, Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let args: Vec<ArrayRef> = (self.args.iter())
            .map(|arg| arg.slice(range.start, range.len()))
            .collect();
        let filter = (self.filter).map(|filter| filter.slice(range.start, range.len()));
        let rows = Rows {
            slots: &[],
            args: &args,
            filter: filter.as_ref(),
            times: &rows.times[range.clone()],
            first_ordinal: rows.first_ordinal + range.start as u64,
        };
        update(self.state.as_mut(), rows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use arrow::datatypes::{DataType, Field};

    use super::*;
    use crate::aggregate::AggregateFactory;

    /// An aggregate that only notes how much room its states are given.
    #[derive(Debug, Clone, Default)]
    struct Rooms(Arc<Mutex<Vec<usize>>>);

    impl AggregateFactory for Rooms {
        fn create(&self) -> Result<Box<dyn AggregateState>> {
            Ok(Box::new(self.clone()))
        }

        fn return_type(&self) -> DataType {
            DataType::Int64
        }
    }

    impl AggregateState for Rooms {
        fn resize(&mut self, slots: usize) {
            self.0.lock().expect("nobody panics").push(slots);
        }

        fn clear(&mut self, _: &[u32]) {}

        fn update(&mut self, _: Rows<'_>) -> Result<()> {
            Ok(())
        }

        fn merge(&mut self, _: &[u32], _: &[u32]) -> Result<()> {
            Ok(())
        }

        fn evaluate(&mut self, _: &[u32]) -> Result<ArrayRef> {
            unreachable!("nothing is read")
        }

        fn save(&mut self, _: &[u32]) -> Result<Vec<ArrayRef>> {
            unreachable!("nothing is saved")
        }

        fn load(&mut self, _: &[u32], _: &[ArrayRef]) -> Result<()> {
            unreachable!("nothing is loaded")
        }

        fn state_bytes(&self) -> usize {
            0
        }
    }

    #[test]
    fn room_grows_seldom_and_never_by_much_at_once() {
        let rooms = Rooms::default();
        let mut arena = Arena::new(
            vec![AggregateCall {
                factory: Arc::new(rooms.clone()),
                args: vec![],
                filter: None,
                field: Arc::new(Field::new("rooms", DataType::Int64, true)),
            }],
            Groups::Many,
        )
        .expect("it has states");
        let (batches, slots) = (1_000, 1_000);
        for _ in 0..batches {
            for _ in 0..slots {
                arena.allocate();
            }
            arena.merge(&[], &[]).expect("nothing fails");
        }
        let rooms = rooms.0.lock().expect("nobody panics").clone();
        assert!(
            rooms.len() < 60,
            "{} of {batches} batches wait",
            rooms.len()
        );
        for pair in rooms.windows(2) {
            let added = pair[1] - pair[0];
            assert!(added <= slots.max(pair[0] / 8), "{added} after {}", pair[0]);
        }
        assert!(rooms.last().is_some_and(|room| *room >= batches * slots));
    }
}
