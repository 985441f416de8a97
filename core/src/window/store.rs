//! What panes, sessions and counted windows keep: keys and slots of partial states.
//!
//! Every (pane, key) of an operator has one slot; each aggregate is one column over
//! all of them, so that a batch is one call to each aggregate however many panes and
//! keys it touches. Slots that nothing refers to any longer are used again, and so are
//! key ids after a while.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::DataType;

use super::arena::Arena;
use super::idle::Idle;
use super::key_slots::{KeySlots, Owner};
use super::tables::Columns;
use crate::batch::key::KeyInterner;
use crate::batch::room;
use crate::error::{Error, Result};

/// Key values as ids, counted by what refers to them.
#[derive(Debug)]
pub(crate) struct Keys {
    interner: KeyInterner,
    columns: Vec<usize>,
    references: Vec<u32>,
    alive: usize,
    /// How many were at a time, of late.
    most_alive: usize,
    idle: Idle,
    /// The ids that were last asked for, and their columns: one window often has the keys
    /// of the window before.
    last: Option<(Vec<u32>, Vec<ArrayRef>)>,
}

impl Keys {
    /// The keys in these columns of the operator's input.
    pub(crate) fn new(types: &[DataType], columns: Vec<usize>) -> Result<Self> {
        Ok(Self {
            interner: KeyInterner::new(types)?,
            columns,
            references: Vec::new(),
            alive: 0,
            most_alive: 0,
            idle: Idle::default(),
            last: None,
        })
    }

    /// The ids of the rows' keys. An id that nothing comes to refer to is to be given
    /// to [`Keys::sweep`].
    pub(crate) fn intern(&mut self, records: &RecordBatch, ids: &mut Vec<u32>) -> Result<()> {
        self.intern_columns(&self.columns(records), records.num_rows(), ids)
    }

    /// Whether there is no key column: all rows have one key.
    pub(crate) fn is_one(&self) -> bool {
        self.columns.is_empty()
    }

    /// The key columns of the operator's input.
    pub(crate) fn columns(&self, records: &RecordBatch) -> Vec<ArrayRef> {
        (self.columns.iter())
            .map(|&column| records.column(column).clone())
            .collect()
    }

    /// As [`KeyInterner::find`].
    pub(crate) fn find(&self, columns: &[ArrayRef], first: usize, ids: &mut [u32]) -> bool {
        self.interner.find(columns, first, ids)
    }

    /// As [`Keys::intern`], of key columns.
    pub(crate) fn intern_columns(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        self.interner.intern(columns, rows, ids)?;
        room::resize(&mut self.references, self.interner.bound(), 0);
        Ok(())
    }

    /// One more than the greatest id.
    pub(crate) fn bound(&self) -> usize {
        self.references.len()
    }

    /// How many keys have an id.
    pub(crate) fn known(&self) -> usize {
        self.interner.len()
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

    /// Takes one reference from each key. Those that it was the last of are idle: they keep
    /// their ids for a while.
    pub(crate) fn release(&mut self, keys: &[u32]) {
        for &key in keys {
            if self.drop(key) {
                self.idle.add(key);
            }
        }
        self.forget();
    }

    /// Takes back the ids of keys that have been idle for long.
    fn forget(&mut self) {
        let references = &self.references;
        let is_used = |key: u32| references[key as usize] > 0;
        let dead = self.idle.leave(self.most_alive, is_used);
        if !dead.is_empty() {
            self.last = None;
            self.interner.release(&dead);
            // What was in use long ago says little.
            self.most_alive = self.alive.max(self.most_alive / 2);
        }
    }

    /// Takes one reference from a key; its id stays until it is swept. Says whether it
    /// was the last.
    pub(crate) fn drop(&mut self, key: u32) -> bool {
        self.most_alive = self.most_alive.max(self.alive);
        let references = &mut self.references[key as usize];
        *references -= 1;
        let dead = *references == 0;
        self.alive -= usize::from(dead);
        dead
    }

    /// Lets those of these ids be idle that nothing refers to.
    pub(crate) fn sweep(&mut self, ids: &mut Vec<u32>) {
        for id in ids.drain(..) {
            if self.references[id as usize] == 0 {
                self.idle.add(id);
            }
        }
        self.forget();
    }

    /// The key columns of ids.
    pub(crate) fn values(&mut self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        if let Some((last, columns)) = &self.last
            && last == ids
        {
            return Ok(columns.clone());
        }
        let columns = self.interner.keys(ids)?;
        self.last = Some((ids.to_vec(), columns.clone()));
        Ok(columns)
    }

    pub(crate) fn bytes(&self) -> usize {
        let last = self.last.as_ref().map_or(0, |(ids, columns)| {
            let columns = columns.iter().map(|column| column.get_array_memory_size());
            columns.sum::<usize>() + ids.capacity() * size_of::<u32>()
        });
        self.interner.state_bytes()
            + last
            + self.idle.bytes()
            + self.references.capacity() * size_of::<u32>()
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
        let values = self.interner.keys(&distinct)?.into_iter().enumerate();
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

impl Owner for Store {
    fn hold(&mut self, key: u32) {
        self.keys.refer(key);
    }

    fn allocate(&mut self) -> u32 {
        self.arena.allocate()
    }
}

impl Store {
    /// Appends the slots of rows' keys in a pane; keys that it does not hold yet get one.
    pub(crate) fn find(&mut self, pane: &mut KeySlots, keys: &[u32], slots: &mut Vec<u32>) {
        pane.find(keys, slots, self);
    }

    /// Gives an empty pane a block for all keys.
    pub(crate) fn reserve(&mut self, pane: &mut KeySlots) {
        pane.reserve(self.arena.allocate_block(self.keys.bound()));
    }

    /// Combines the later pane `from` into the earlier `into`, key by key.
    pub(crate) fn merge(&mut self, into: &mut KeySlots, from: &KeySlots) -> Result<()> {
        match (into.block(), from.block()) {
            (Some(first), Some(second)) if second.len <= first.len => {
                if !into.is_complete(self.keys.bound()) {
                    into.hold_all(from.keys(), self);
                }
                self.arena.merge_block(first, second, second.len)
            }
            _ => {
                let mut slots = Vec::with_capacity(from.len());
                self.find(into, from.keys(), &mut slots);
                self.arena.merge(&slots, from.slots())
            }
        }
    }

    /// Takes back all that a pane holds.
    pub(crate) fn release(&mut self, pane: &mut KeySlots) {
        if pane.is_empty() && pane.block().is_none() {
            return;
        }
        let (keys, slots, block) = pane.take();
        if let Some(block) = block {
            self.arena.release_block(block);
        }
        self.arena.release(&slots);
        self.keys.release(&keys);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.arena.bytes() + self.keys.bytes()
    }
}
