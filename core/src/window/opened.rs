//! A window that is about to be given out: its pieces put together, key by key.
//!
//! A key that only one piece holds needs no state of its own: the window names the slot that
//! it has there.

use super::arena::Arena;
use super::key_slots::{Block, KeySlots, NONE};
use super::store::Store;
use crate::error::Result;

/// A window that is about to be given out: a slot for each of its keys.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The pane edge at which it ends.
    pub(crate) end: i64,
    pub(crate) keys: Vec<u32>,
    pub(crate) slots: Vec<u32>,
    /// Slots made for it alone.
    scratch: Vec<u32>,
    block: Option<Block>,
}

impl Window {
    pub(super) fn new(end: i64) -> Self {
        Self {
            end,
            ..Self::default()
        }
    }

    /// Takes over the keys and slots of one pane.
    pub(super) fn take(&mut self, pane: &KeySlots) {
        self.keys.extend_from_slice(pane.keys());
        self.slots.extend_from_slice(pane.slots());
    }

    /// Appends its slots to others and gives them away, if all were made for it alone, one
    /// by one; says whether they were.
    pub(crate) fn give_scratch(&mut self, slots: &mut Vec<u32>) -> bool {
        let is_own = self.scratch.len() == self.slots.len();
        if is_own {
            slots.extend_from_slice(&self.slots);
            self.scratch.clear();
        }
        is_own
    }

    /// Lets go what was made for it alone.
    pub(super) fn release(self, arena: &mut Arena) {
        arena.release(&self.scratch);
        if let Some(block) = self.block {
            arena.release_block(block);
        }
    }

    /// Puts two pieces together, the earlier first.
    pub(super) fn unite(
        &mut self,
        earlier: &KeySlots,
        later: &KeySlots,
        store: &mut Store,
    ) -> Result<()> {
        self.take(earlier);
        if let (Some(first), Some(second)) = (earlier.block(), later.block()) {
            if !earlier.is_complete(store.keys.bound()) {
                let is_new = |key: &u32| earlier.get(*key).is_none();
                (self.keys).extend(later.keys().iter().copied().filter(is_new));
            }
            let len = first.len.max(second.len);
            let block = store.arena.allocate_block(len as usize);
            self.block = Some(block);
            self.slots.clear();
            (self.slots).extend(self.keys.iter().map(|key| block.first + key));
            store.arena.merge_block(block, first, first.len)?;
            return store.arena.merge_block(block, second, second.len);
        }
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let others = later.get_all(earlier.keys());
        for (later, slot) in others.into_iter().zip(&mut self.slots) {
            if later != NONE {
                let scratch = store.arena.allocate();
                first.push(*slot);
                second.push(later);
                self.scratch.push(scratch);
                *slot = scratch;
            }
        }
        let others = earlier.get_all(later.keys());
        for ((key, slot), other) in later.keys().iter().zip(later.slots()).zip(others) {
            if other == NONE {
                self.keys.push(*key);
                self.slots.push(*slot);
            }
        }
        store.arena.merge(&self.scratch, &first)?;
        store.arena.merge(&self.scratch, &second)
    }

    /// Puts panes that have keys together, in their order.
    pub(super) fn put_together(&mut self, panes: &[&KeySlots], store: &mut Store) -> Result<()> {
        let blocks: Option<Vec<Block>> = panes.iter().map(|pane| pane.block()).collect();
        match (panes, blocks) {
            ([], _) => Ok(()),
            ([pane], _) => {
                self.take(pane);
                Ok(())
            }
            _ if store.arena.holds_values() => self.put_values_together(panes, store),
            (_, Some(blocks)) => self.put_blocks_together(panes, &blocks, store),
            (_, None) => self.put_states_together(panes, store),
        }
    }

    /// Finds the place in the window of each pane's keys, one pane after the other.
    fn find_places(&mut self, panes: &[&KeySlots], bound: usize) -> Vec<u32> {
        // `[keys]`
        let mut places = vec![NONE; bound];
        let rows = panes.iter().map(|pane| pane.len()).sum();
        let mut found = Vec::with_capacity(rows);
        for &key in panes.iter().flat_map(|pane| pane.keys()) {
            let place = &mut places[key as usize];
            if *place == NONE {
                *place = self.keys.len() as u32;
                self.keys.push(key);
            }
            found.push(*place);
        }
        found
    }

    /// Combines panes into neighbouring states of the window's own.
    fn put_states_together(&mut self, panes: &[&KeySlots], store: &mut Store) -> Result<()> {
        let mut into = self.find_places(panes, store.keys.bound());
        let len = self.keys.len();
        let block = store.arena.allocate_block(len);
        self.block = Some(block);
        self.slots.extend(block.first..block.first + len as u32);
        into.iter_mut().for_each(|place| *place += block.first);
        let mut rest = &into[..];
        for pane in panes {
            let (these, others) = rest.split_at(pane.len());
            store.arena.merge(these, pane.slots())?;
            rest = others;
        }
        Ok(())
    }

    /// As [`Window::put_states_together`], of panes whose states lie by key.
    fn put_blocks_together(
        &mut self,
        panes: &[&KeySlots],
        blocks: &[Block],
        store: &mut Store,
    ) -> Result<()> {
        let bound = store.keys.bound();
        match panes[0].is_complete(bound) {
            true => self.keys.extend_from_slice(panes[0].keys()),
            false => drop(self.find_places(panes, bound)),
        }
        let len = blocks.iter().map(|block| block.len).max().unwrap_or(0);
        let block = store.arena.allocate_block(len as usize);
        self.block = Some(block);
        self.slots
            .extend(self.keys.iter().map(|key| block.first + key));
        let mut blocks = blocks.iter();
        blocks.try_for_each(|from| store.arena.merge_block(block, *from, from.len))
    }

    /// As [`Window::put_states_together`], of states that are better not copied: a key that
    /// only one pane has keeps its slot there.
    fn put_values_together(&mut self, panes: &[&KeySlots], store: &mut Store) -> Result<()> {
        let places = self.find_places(panes, store.keys.bound());
        self.slots.resize(self.keys.len(), NONE);
        let mut is_own = vec![false; self.keys.len()];
        let mut places = places.into_iter();
        let (mut into, mut from) = (Vec::new(), Vec::new());
        for pane in panes {
            into.clear();
            from.clear();
            for (&slot, at) in pane.slots().iter().zip(&mut places) {
                let held = &mut self.slots[at as usize];
                if *held == NONE {
                    *held = slot;
                    continue;
                }
                if !std::mem::replace(&mut is_own[at as usize], true) {
                    let scratch = store.arena.allocate();
                    self.scratch.push(scratch);
                    into.push(scratch);
                    from.push(*held);
                    *held = scratch;
                }
                into.push(*held);
                from.push(slot);
            }
            store.arena.merge(&into, &from)?;
        }
        Ok(())
    }
}
