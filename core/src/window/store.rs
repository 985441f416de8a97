//! What panes, sessions and counted windows keep: keys and slots of partial states.
//!
//! Every (pane, key) of an operator has one slot; each aggregate is one column over
//! all of them, so that a batch is one call to each aggregate however many panes and
//! keys it touches. Slots and key ids that nothing refers to any longer are used
//! again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{ArrowPrimitiveType, DataType};
use rayon::prelude::*;

use super::key_slots::KeySlots;
use crate::aggregate::fused::{FusedCall, fuse};
use crate::aggregate::{AggregateCall, AggregateState, Rows};
use crate::batch::key::KeyInterner;
use crate::error::{Error, Result};

/// From so many rows on, aggregates are updated in parallel.
const PARALLEL_ROWS_MIN: usize = 8_192;

/// Named columns of one length.
pub(crate) type Columns = Vec<(String, ArrayRef)>;

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
    /// How many rows were lifted: the next row's place in the order of arrival.
    ordinal: u64,
}

impl Arena {
    pub(crate) fn new(calls: Vec<AggregateCall>) -> Result<Self> {
        let calls = fuse(&calls);
        let states = (calls.iter())
            .map(|call| call.factory.create())
            .collect::<Result<_>>()?;
        Ok(Self {
            calls,
            states,
            bound: 0,
            room: 0,
            free: Vec::new(),
            ordinal: 0,
        })
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

    fn make_room(&mut self) {
        if self.room < self.bound {
            self.room = self.bound.next_power_of_two();
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
        self.make_room();
        let first_ordinal = self.ordinal;
        self.ordinal += slots.len() as u64;
        let update = |(state, call): (&mut Box<dyn AggregateState>, &FusedCall)| {
            let args: Vec<ArrayRef> = (call.args.iter())
                .map(|&column| records.column(column).clone())
                .collect();
            let filter = (call.filter).map(|column| records.column(column).as_boolean());
            state.update(Rows {
                slots,
                args: &args,
                filter,
                times,
                first_ordinal,
            })
        };
        if slots.len() >= PARALLEL_ROWS_MIN && self.states.len() > 1 {
            (self.states.par_iter_mut())
                .zip(self.calls.par_iter())
                .try_for_each(update)
        } else {
            self.states.iter_mut().zip(&self.calls).try_for_each(update)
        }
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

    /// How many slots are in use.
    pub(crate) fn used(&self) -> usize {
        self.bound - self.free.len()
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
        states + self.free.capacity() * size_of::<u32>()
    }
}

/// Key values as ids, counted by what refers to them.
#[derive(Debug)]
pub(crate) struct Keys {
    interner: KeyInterner,
    columns: Vec<usize>,
    references: Vec<u32>,
    alive: usize,
}

impl Keys {
    /// The keys in these columns of the operator's input.
    pub(crate) fn new(types: &[DataType], columns: Vec<usize>) -> Result<Self> {
        Ok(Self {
            interner: KeyInterner::new(types)?,
            columns,
            references: Vec::new(),
            alive: 0,
        })
    }

    /// The ids of the rows' keys. An id that nothing comes to refer to is to be given
    /// to [`Keys::sweep`].
    pub(crate) fn intern(&mut self, records: &RecordBatch, ids: &mut Vec<u32>) -> Result<()> {
        let columns: Vec<ArrayRef> = (self.columns.iter())
            .map(|&column| records.column(column).clone())
            .collect();
        self.intern_columns(&columns, records.num_rows(), ids)
    }

    fn intern_columns(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        self.interner.intern(columns, rows, ids)?;
        self.references.resize(self.interner.bound(), 0);
        Ok(())
    }

    /// One more than the greatest id.
    pub(crate) fn bound(&self) -> usize {
        self.references.len()
    }

    /// How many keys something refers to.
    pub(crate) fn alive(&self) -> usize {
        self.alive
    }

    /// Notes one more reference to a key.
    pub(crate) fn refer(&mut self, key: u32) {
        let references = &mut self.references[key as usize];
        self.alive += usize::from(*references == 0);
        *references += 1;
    }

    /// Takes one reference from each key, and back the ids that were the last.
    pub(crate) fn release(&mut self, keys: &[u32]) {
        let dead: Vec<u32> = (keys.iter().copied())
            .filter(|&key| self.drop(key))
            .collect();
        self.interner.release(&dead);
    }

    /// Takes one reference from a key; its id stays until it is swept. Says whether it
    /// was the last.
    pub(crate) fn drop(&mut self, key: u32) -> bool {
        let references = &mut self.references[key as usize];
        *references -= 1;
        let dead = *references == 0;
        self.alive -= usize::from(dead);
        dead
    }

    /// Takes back those of these ids that nothing refers to.
    pub(crate) fn sweep(&mut self, ids: &mut Vec<u32>) {
        if ids.is_empty() {
            return;
        }
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|&id| self.references[id as usize] == 0);
        self.interner.release(ids);
        ids.clear();
    }

    /// The key columns of ids.
    pub(crate) fn values(&self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        self.interner.keys(ids)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.interner.state_bytes() + self.references.capacity() * size_of::<u32>()
    }

    /// The values of the keys in `ids`, each once, as named columns, and `ids` as
    /// places in them.
    pub(crate) fn save(&self, ids: &[u32]) -> Result<(Columns, Vec<u32>)> {
        let mut places = vec![u32::MAX; self.bound()];
        let mut distinct = Vec::new();
        let mut found = Vec::with_capacity(ids.len());
        for &id in ids {
            let place = &mut places[id as usize];
            if *place == u32::MAX {
                *place = distinct.len() as u32;
                distinct.push(id);
            }
            found.push(*place);
        }
        let values = self.values(&distinct)?.into_iter().enumerate();
        let mut columns: Columns = values
            .map(|(number, column)| (format!("key_{number}"), column))
            .collect();
        let numbers = UInt32Array::from_iter_values(0..distinct.len() as u32);
        columns.push(("place".into(), Arc::new(numbers)));
        Ok((columns, found))
    }

    /// The ids of saved keys, in the order in which they were saved.
    pub(crate) fn load(&mut self, table: &RecordBatch) -> Result<Vec<u32>> {
        let columns = (0..self.columns.len())
            .map(|number| {
                (table.column_by_name(&format!("key_{number}")).cloned())
                    .ok_or_else(|| Error::Snapshot(format!("it holds no key column {number}")))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut ids = Vec::new();
        self.intern_columns(&columns, table.num_rows(), &mut ids)?;
        Ok(ids)
    }
}

/// The slots and the keys that panes share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) arena: Arena,
    pub(crate) keys: Keys,
}

impl Store {
    /// Appends the slots of rows' keys in a pane; keys that it does not hold yet get one.
    pub(crate) fn find(&mut self, pane: &mut KeySlots, keys: &[u32], slots: &mut Vec<u32>) {
        let (ids, arena) = (&mut self.keys, &mut self.arena);
        pane.find(keys, ids.bound(), slots, |key| {
            ids.refer(key);
            arena.allocate()
        });
    }

    /// Takes back all that a pane holds.
    pub(crate) fn release(&mut self, pane: &mut KeySlots) {
        if pane.is_empty() {
            return;
        }
        let (keys, slots) = pane.take();
        self.arena.release(&slots);
        self.keys.release(&keys);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.arena.bytes() + self.keys.bytes()
    }
}

/// A table of a snapshot from named columns of one length.
pub(crate) fn table(columns: Columns) -> Result<RecordBatch> {
    let columns = (columns.into_iter()).map(|(name, column)| {
        let nullable = true;
        (name, column, nullable)
    });
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// A column of a snapshot's table, of a type that must be its own.
pub(crate) fn column<'a, T: ArrowPrimitiveType>(
    table: &'a RecordBatch,
    name: &str,
) -> Result<&'a [T::Native]> {
    (table.column_by_name(name))
        .and_then(|column| column.as_primitive_opt::<T>())
        .filter(|column| column.null_count() == 0)
        .map(|column| column.values().as_ref())
        .ok_or_else(|| Error::Snapshot(format!("it holds no column {name:?}")))
}
