//! A window that is about to be given out: its pieces put together, key by key.
//!
//! A key that only one piece holds needs no state of its own: the window names the slot that
//! it has there.

use super::arena::Arena;
use super::key_slots::{Block, KeySlots};
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

    /// Puts few pieces together, in their order.
    pub(super) fn unite(&mut self, pieces: &[&KeySlots], store: &mut Store) -> Result<()> {
        let blocks: Option<Vec<Block>> = pieces.iter().map(|piece| piece.block()).collect();
        match (pieces, blocks) {
            ([], _) => Ok(()),
            ([piece], _) => {
                self.take(piece);
                Ok(())
            }
            (_, Some(blocks)) => self.unite_blocks(pieces, &blocks, store),
            (_, None) => self.unite_keys(pieces, store),
        }
    }

    fn unite_blocks(
        &mut self,
        pieces: &[&KeySlots],
        blocks: &[Block],
        store: &mut Store,
    ) -> Result<()> {
        let bound = store.keys.bound();
        for (number, piece) in pieces.iter().enumerate() {
            let before = &pieces[..number];
            if before.iter().any(|before| before.is_complete(bound)) {
                break;
            }
            let new = |key: &u32| before.iter().all(|before| before.get(*key).is_none());
            self.keys.extend(piece.keys().iter().copied().filter(new));
        }
        let len = blocks.iter().map(|block| block.len).max().unwrap_or(0);
        let into = store.arena.allocate_block(len as usize);
        self.block = Some(into);
        self.slots
            .extend(self.keys.iter().map(|key| into.first + key));
        (blocks.iter()).try_for_each(|from| store.arena.merge_block(into, *from, from.len))
    }

    fn unite_keys(&mut self, pieces: &[&KeySlots], store: &mut Store) -> Result<()> {
        // `[keys]`: whether the slot was made for the window.
        let mut is_own = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let before = &pieces[..number];
            let (mut own, mut first) = (Vec::new(), Vec::new());
            let (mut into, mut from) = (Vec::new(), Vec::new());
            for ((key, slot), is_own) in self.keys.iter().zip(&mut self.slots).zip(&mut is_own) {
                let Some(later) = piece.get(*key) else {
                    continue;
                };
                if !std::mem::replace(is_own, true) {
                    let scratch = store.arena.allocate();
                    own.push(scratch);
                    first.push(*slot);
                    *slot = scratch;
                }
                into.push(*slot);
                from.push(later);
            }
            for (key, slot) in piece.keys().iter().zip(piece.slots()) {
                if before.iter().all(|before| before.get(*key).is_none()) {
                    self.keys.push(*key);
                    self.slots.push(*slot);
                }
            }
            is_own.resize(self.keys.len(), false);
            store.arena.merge(&own, &first)?;
            store.arena.merge(&into, &from)?;
            self.scratch.append(&mut own);
        }
        Ok(())
    }

    /// Puts many panes together, in their order: as [`Window::unite`], by a table of keys.
    pub(super) fn put_together<'a>(
        &mut self,
        panes: impl Iterator<Item = &'a KeySlots>,
        store: &mut Store,
    ) -> Result<()> {
        const NOWHERE: u32 = u32::MAX;
        // `[keys]`: the place in the window.
        let mut places = vec![NOWHERE; store.keys.bound()];
        let mut is_own: Vec<bool> = Vec::new();
        let (mut into, mut from) = (Vec::new(), Vec::new());
        for pane in panes {
            into.clear();
            from.clear();
            for (&key, &slot) in pane.keys().iter().zip(pane.slots()) {
                let at = places[key as usize];
                if at == NOWHERE {
                    places[key as usize] = self.keys.len() as u32;
                    self.keys.push(key);
                    self.slots.push(slot);
                    is_own.push(false);
                    continue;
                }
                let held = &mut self.slots[at as usize];
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
