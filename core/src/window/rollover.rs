//! Panes become windows: block suffixes and prefixes.
//!
//! A window of `k` panes is two pieces: panes are grouped in blocks of `k` at the
//! multiples of `k`, so every window is the end of one block and the start of the
//! next:
//!
//! ```text
//! panes        0  1  2  3 │ 4  5  6  7 │ 8  9      blocks of k = 4
//! window          └─────────────┘
//!              suffix(1)    prefix(4 … 5)
//! ```
//!
//! Suffixes of a block are folded once, from its last pane to its first, and stand in the
//! place of the panes; the prefix of the next block grows pane by pane. A window that is a
//! whole block is the prefix, so that it need not wait for the fold, which is done after it
//! has been given out. Each pane is combined about three times whatever `k`
//! is, and the order of every addition follows from pane numbers alone: not from when
//! the stream began, how it was batched or where it was restored. (van Herk 1992; Gil
//! and Werman 1993.)
//!
//! The state is a function of the rows and of `closed`, the end of the last closed
//! window: blocks that end at `closed` or before are folded, the prefix holds the
//! panes before `closed` of the block that it lies in. A row for a pane before
//! `closed` that still has open windows is added wherever its pane has gone.
//!
//! Where a state grows with its rows, as a median's does, a suffix would hold a copy of
//! all that follows in its block: k²/2 panes' worth. Such panes are not folded; each
//! window of a HOP is put together from its panes in their order and let go again.
//!
//! This module knows pane numbers, keys and slots; it knows no times and no rows.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::arena::Arena;
use super::grid::Panes;
use super::key_slots::{Block, KeySlots};
use super::store::Store;
use crate::error::{Error, Result};

/// From so many keys on, an emptied pane keeps its table only if it was full.
const SPARE_KEYS_MAX: usize = 4_096;

/// So many panes before a new one tell how many keys it will hold; the last of them may
/// still be filling.
const PANES_ASKED: usize = 2;

/// How many emptied panes are kept for use.
const SPARE_PANES_MAX: usize = 4;

/// The panes of windows of one kind.
#[derive(Debug)]
pub(crate) struct Rollover {
    panes: Panes,
    /// Whether panes are combined before a window asks for them.
    folds: bool,
    /// Panes as rows filled them or, in folded blocks, suffixes: pane number to place
    /// in `pool`.
    live: BTreeMap<i64, u32>,
    pool: Vec<KeySlots>,
    spare: Vec<u32>,
    prefix: KeySlots,
    /// The block that `prefix` is of: its first pane.
    prefix_block: i64,
    /// The end of the last window that was closed.
    closed: i64,
    /// The block that ends there, while it is still to be folded: its first pane.
    due: Option<i64>,
}

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
    /// Takes over the keys and slots of one pane.
    fn take(&mut self, pane: &KeySlots) {
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
}

/// Where a row goes whose pane has been combined into others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// Its slots were appended.
    Slots,
    /// Rows placed before must be lifted first: their states are about to be copied.
    LiftFirst,
}

impl Rollover {
    pub(crate) fn new(panes: Panes, arena: &Arena) -> Self {
        let grows_in_place = !matches!(panes, Panes::Hop { .. });
        Self {
            panes,
            folds: grows_in_place || !arena.holds_values(),
            live: BTreeMap::new(),
            pool: Vec::new(),
            spare: Vec::new(),
            prefix: KeySlots::default(),
            prefix_block: i64::MIN,
            closed: i64::MIN,
            due: None,
        }
    }

    /// The end of the last window that was closed.
    pub(crate) fn closed(&self) -> i64 {
        self.closed
    }

    pub(crate) fn live_panes(&self) -> usize {
        self.live.len()
    }

    /// How many windows hold a row and have not been closed.
    pub(crate) fn open_windows(&self) -> u64 {
        let (mut open, mut until) = (0_u64, self.closed);
        if let (Panes::Cumulate { size }, false) = (self.panes, self.prefix.is_empty()) {
            until = self.prefix_block.saturating_add(size);
            open = (until - self.closed).max(0) as u64;
        }
        // Windows end in the order in which they start, so that one which ends after the
        // last window of the pane before is counted with this one for the first time.
        for &pane in self.live.keys() {
            let last = self.panes.last_end(pane);
            let all = self.panes.ends_until(pane, last);
            open += all - self.panes.ends_until(pane, until.min(last));
            until = until.max(last);
        }
        open
    }

    pub(crate) fn bytes(&self) -> usize {
        let pool: usize = self.pool.iter().map(KeySlots::bytes).sum();
        pool + self.pool.capacity() * size_of::<KeySlots>()
            + self.prefix.bytes()
            + self.live.len() * size_of::<(i64, u32)>()
    }

    /// How many panes a block has.
    fn block_size(&self) -> i64 {
        match self.panes {
            Panes::Hop { size, .. } | Panes::Cumulate { size } => size,
        }
    }

    /// The first pane of the block that holds a pane.
    fn block_of(&self, pane: i64) -> i64 {
        let size = self.block_size();
        pane.div_euclid(size).saturating_mul(size)
    }

    /// Whether the block that starts at `block` lies before the edge `end`.
    fn is_folded(&self, block: i64, end: i64) -> bool {
        block.saturating_add(self.block_size()) <= end
    }

    /// The place of a pane, which is made if it is not there. It stays the same while
    /// no window is opened, finished or advanced over.
    pub(crate) fn seat(&mut self, pane: i64) -> u32 {
        if let Some(&place) = self.live.get(&pane) {
            return place;
        }
        let place = self.spare.pop().unwrap_or_else(|| {
            self.pool.push(KeySlots::default());
            (self.pool.len() - 1) as u32
        });
        self.live.insert(pane, place);
        place
    }

    /// As [`Rollover::seat`], with a block for a new pane if the panes before it hold most
    /// keys. `slots` is how many may be spent on blocks.
    pub(crate) fn seat_block(&mut self, pane: i64, slots: &mut usize, store: &mut Store) -> u32 {
        let bound = store.keys.bound();
        if *slots < bound || self.live.contains_key(&pane) {
            return self.seat(pane);
        }
        let mut before = self.live.range(..pane).rev().take(PANES_ASKED);
        let is_full = before.any(|(_, &place)| {
            let pane = &self.pool[place as usize];
            // Rows of one batch are on their way to both.
            let is_expected = pane.is_empty() && pane.block().is_some();
            is_expected || pane.is_full(bound)
        });
        let place = self.seat(pane);
        if is_full {
            *slots -= bound;
            store.reserve(&mut self.pool[place as usize]);
        }
        place
    }

    /// One more than the greatest place of a pane.
    pub(crate) fn places(&self) -> usize {
        self.pool.len()
    }

    /// The keys and slots of a pane, by its place.
    pub(crate) fn pane(&self, place: u32) -> &KeySlots {
        &self.pool[place as usize]
    }

    pub(crate) fn pane_mut(&mut self, place: u32) -> &mut KeySlots {
        &mut self.pool[place as usize]
    }

    /// Takes their places from panes that hold no key.
    pub(crate) fn vacate_empty(&mut self, panes: RangeInclusive<i64>, store: &mut Store) {
        let is_empty = |place: &u32| self.pool[*place as usize].is_empty();
        let empty: Vec<(i64, u32)> = (self.live.range(panes))
            .filter(|(_, place)| is_empty(place))
            .map(|(pane, place)| (*pane, *place))
            .collect();
        for (pane, place) in empty {
            self.live.remove(&pane);
            self.vacate(place, store);
        }
    }

    /// As [`KeySlots::give_back_held`].
    pub(crate) fn give_back_held(
        &mut self,
        place: u32,
        held: Vec<bool>,
        new: &[u32],
        store: &mut Store,
    ) {
        self.pool[place as usize].give_back_held(held, new, store);
    }

    /// Appends the slots of rows of one pane, not before `closed`, by its place.
    pub(crate) fn place(
        &mut self,
        place: u32,
        keys: &[u32],
        store: &mut Store,
        slots: &mut Vec<u32>,
    ) {
        store.find(&mut self.pool[place as usize], keys, slots);
    }

    /// Appends the slots of one row of a pane before `closed`, some of whose windows
    /// are open: all that its pane has been combined into.
    ///
    /// # Errors
    /// When a named limit is reached.
    pub(crate) fn place_behind(
        &mut self,
        pane: i64,
        key: u32,
        lifted: bool,
        store: &mut Store,
        slots: &mut Vec<u32>,
    ) -> Result<Placed> {
        debug_assert!(pane < self.closed && self.closed < self.panes.last_end(pane));
        self.fold_due(store)?;
        if !self.folds {
            let place = self.seat(pane);
            store.find(&mut self.pool[place as usize], &[key], slots);
            return Ok(Placed::Slots);
        }
        let block = self.block_of(pane);
        if !self.is_folded(block, self.closed) {
            self.seat_prefix(store);
            store.find(&mut self.prefix, &[key], slots);
            if let Panes::Hop { .. } = self.panes {
                let place = self.seat(pane);
                store.find(&mut self.pool[place as usize], &[key], slots);
            }
            return Ok(Placed::Slots);
        }
        if !self.live.contains_key(&pane) && self.starts_between(block, pane) {
            let next = (self.live)
                .range(pane..block.saturating_add(self.block_size()))
                .next()
                .map(|(_, &place)| place);
            if next.is_some() && !lifted {
                return Ok(Placed::LiftFirst);
            }
            let place = self.seat(pane);
            if let Some(next) = next {
                self.merge_panes(place, next, store)?;
            }
        }
        for (_, &place) in self.live.range(block..=pane) {
            store.find(&mut self.pool[place as usize], &[key], slots);
        }
        Ok(Placed::Slots)
    }

    /// Whether an open window starts after the live pane before `pane`, within the
    /// block, and not after `pane`: that window's suffix is to start at `pane`.
    fn starts_between(&self, block: i64, pane: i64) -> bool {
        let Panes::Hop { slide, size } = self.panes else {
            return false;
        };
        let before = self.live.range(block..pane).next_back();
        let before = before.map_or(i64::MIN, |(&before, _)| before);
        let start = pane.div_euclid(slide) * slide;
        start > before && start > self.closed.saturating_sub(size)
    }

    /// The next window with rows that ends at `until` or before.
    pub(crate) fn next_end(&self, until: i64) -> Option<i64> {
        let end = match self.panes {
            Panes::Cumulate { .. } if !self.prefix.is_empty() => self.closed.saturating_add(1),
            _ => {
                let (&first, _) = self.live.first_key_value()?;
                self.panes.end_after(first.max(self.closed))
            }
        };
        (end <= until).then_some(end)
    }

    /// Makes the window that ends at `end`, as [`Rollover::next_end`] told it, ready
    /// to be evaluated. Until [`Rollover::finish`], rows may come only for panes that
    /// are not before `end`.
    pub(crate) fn open(&mut self, end: i64, store: &mut Store) -> Result<Window> {
        let mut window = Window {
            end,
            ..Window::default()
        };
        match self.panes {
            Panes::Hop { size: 1, .. } => {
                let place = self.live.get(&(end - 1)).copied();
                let pane = &self.pool[place.expect("the window has rows") as usize];
                window.take(pane);
            }
            Panes::Hop { size, .. } if !self.folds => {
                self.put_together(end - size, &mut window, store)?;
            }
            Panes::Hop { size, .. } => {
                self.fold_due(store)?;
                let start = end - size;
                let block = self.block_of(start);
                let block_end = block + size;
                let closed = self.closed;
                if block_end == end {
                    self.closed = end;
                    self.take_prefix(block, closed, &mut window, store)?;
                    self.due = Some(block);
                    return Ok(window);
                }
                if !self.is_folded(block, closed) {
                    self.fold(start, block_end, store)?;
                }
                self.closed = end;
                self.seat_prefix(store);
                self.extend_prefix(block_end.max(closed), end, store)?;
                let suffix = (self.live.range(start..block_end).next()).map(|(_, &place)| place);
                self.unite(suffix, &mut window, store)?;
            }
            Panes::Cumulate { .. } => {
                let block = self.panes.start_of(end);
                self.take_prefix(block, self.closed, &mut window, store)?;
            }
        }
        self.closed = end;
        Ok(window)
    }

    /// Makes the panes of `block` from `closed` to the end of the window part of the
    /// prefix, which is the window.
    fn take_prefix(
        &mut self,
        block: i64,
        closed: i64,
        window: &mut Window,
        store: &mut Store,
    ) -> Result<()> {
        if self.prefix_block != block {
            store.release(&mut self.prefix);
            self.prefix_block = block;
        }
        self.extend_prefix(block.max(closed), window.end, store)?;
        window.take(&self.prefix);
        Ok(())
    }

    /// Folds the block that the last window was, unless that has been done. Until then
    /// the state is not yet the function of the rows that it is said to be.
    pub(crate) fn fold_due(&mut self, store: &mut Store) -> Result<()> {
        match self.due.take() {
            Some(block) => self.fold(block, block + self.block_size(), store),
            None => Ok(()),
        }
    }

    /// Lets go what the window that was opened last was the last to need.
    pub(crate) fn finish(&mut self, window: Window, store: &mut Store) {
        store.arena.release(&window.scratch);
        if let Some(block) = window.block {
            store.arena.release_block(block);
        }
        self.settle(store);
    }

    /// Notes that every window that ends at `closed` or before is closed; those with
    /// rows have been.
    pub(crate) fn advance(&mut self, closed: i64, store: &mut Store) {
        debug_assert!(self.next_end(closed).is_none());
        if closed > self.closed {
            self.closed = closed;
            self.settle(store);
        }
    }

    /// Lets everything go.
    pub(crate) fn clear(&mut self, store: &mut Store) {
        for place in std::mem::take(&mut self.live).into_values() {
            store.release(&mut self.pool[place as usize]);
            self.spare.push(place);
        }
        store.release(&mut self.prefix);
        self.due = None;
    }

    fn settle(&mut self, store: &mut Store) {
        self.seat_prefix(store);
        let needed = match self.panes {
            Panes::Hop { .. } => {
                let next_end = self.panes.end_after(self.closed);
                self.panes.start_of(next_end)
            }
            Panes::Cumulate { .. } => self.closed,
        };
        while let Some(entry) = self.live.first_entry()
            && *entry.key() < needed
        {
            let place = entry.remove();
            self.vacate(place, store);
        }
    }

    /// Empties a pane that is no longer live.
    fn vacate(&mut self, place: u32, store: &mut Store) {
        let pane = &mut self.pool[place as usize];
        let full = pane.len() * 2 >= store.keys.bound();
        store.release(pane);
        if self.spare.len() >= SPARE_PANES_MAX || !full && store.keys.bound() > SPARE_KEYS_MAX {
            *pane = KeySlots::default();
        }
        self.spare.push(place);
    }

    /// Gives the prefix to the block that `closed` lies in.
    fn seat_prefix(&mut self, store: &mut Store) {
        let block = self.block_of(self.closed);
        if self.prefix_block != block {
            store.release(&mut self.prefix);
            self.prefix_block = block;
        }
    }

    /// Folds the block that ends at `block_end` from its end back to `start`, the
    /// first pane that a window still needs: each pane becomes its suffix.
    fn fold(&mut self, start: i64, block_end: i64, store: &mut Store) -> Result<()> {
        let Panes::Hop { slide, .. } = self.panes else {
            return Ok(());
        };
        let panes: Vec<(i64, u32)> = (self.live.range(start..block_end))
            .map(|(&pane, &place)| (pane, place))
            .collect();
        for pair in panes.windows(2).rev() {
            let ((before, into), (pane, from)) = (pair[0], pair[1]);
            self.merge_panes(into, from, store)?;
            // No window starts after the pane before and not after this one: nobody
            // asks for this suffix.
            if pane.div_euclid(slide) * slide <= before {
                self.live.remove(&pane);
                self.vacate(from, store);
            }
        }
        Ok(())
    }

    /// Combines the later pane `from` into the earlier `into`, key by key.
    fn merge_panes(&mut self, into: u32, from: u32, store: &mut Store) -> Result<()> {
        let later = std::mem::take(&mut self.pool[from as usize]);
        let merged = store.merge(&mut self.pool[into as usize], &later);
        self.pool[from as usize] = later;
        merged
    }

    /// Folds the live panes in `from .. end` onto the prefix.
    fn extend_prefix(&mut self, from: i64, end: i64, store: &mut Store) -> Result<()> {
        if from >= end {
            return Ok(());
        }
        let panes: Vec<(i64, u32)> = (self.live.range(from..end))
            .map(|(&pane, &place)| (pane, place))
            .collect();
        for (pane, place) in panes {
            let from = &self.pool[place as usize];
            if self.prefix.is_empty() && self.prefix.block().is_none() && from.block().is_some() {
                store.reserve(&mut self.prefix);
            }
            store.merge(&mut self.prefix, from)?;
            if let Panes::Cumulate { .. } = self.panes {
                self.live.remove(&pane);
                self.vacate(place, store);
            }
        }
        Ok(())
    }

    /// Puts a window together from a suffix and the prefix. Only keys in both need a
    /// slot of their own.
    fn unite(&mut self, suffix: Option<u32>, window: &mut Window, store: &mut Store) -> Result<()> {
        let bound = store.keys.bound();
        let Some(suffix) = suffix.map(|place| &self.pool[place as usize]) else {
            window.take(&self.prefix);
            return Ok(());
        };
        window.take(suffix);
        if self.prefix.is_empty() {
            return Ok(());
        }
        if let (Some(first), Some(second)) = (suffix.block(), self.prefix.block()) {
            if !suffix.is_complete(bound) {
                let later = self.prefix.keys().iter().copied();
                (window.keys).extend(later.filter(|key| suffix.get(*key).is_none()));
            }
            let len = first.len.max(second.len);
            let block = store.arena.allocate_block(len as usize);
            window.block = Some(block);
            window.slots.clear();
            (window.slots).extend(window.keys.iter().map(|key| block.first + key));
            store.arena.merge_block(block, first, first.len)?;
            return store.arena.merge_block(block, second, second.len);
        }
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (&key, slot) in suffix.keys().iter().zip(&mut window.slots) {
            if let Some(later) = self.prefix.get(key) {
                let scratch = store.arena.allocate();
                first.push(*slot);
                second.push(later);
                window.scratch.push(scratch);
                *slot = scratch;
            }
        }
        for (&key, &slot) in self.prefix.keys().iter().zip(self.prefix.slots()) {
            if suffix.get(key).is_none() {
                window.keys.push(key);
                window.slots.push(slot);
            }
        }
        store.arena.merge(&window.scratch, &first)?;
        store.arena.merge(&window.scratch, &second)
    }

    /// Puts a window together from its panes, from `start` on, in their order. A key in
    /// one pane only needs no slot of its own.
    fn put_together(&mut self, start: i64, window: &mut Window, store: &mut Store) -> Result<()> {
        const NOWHERE: u32 = u32::MAX;
        // `[keys]`: the place in the window.
        let mut places = vec![NOWHERE; store.keys.bound()];
        let mut is_own: Vec<bool> = Vec::new();
        let (mut into, mut from) = (Vec::new(), Vec::new());
        for place in self.live.range(start..window.end).map(|(_, &place)| place) {
            let pane = &self.pool[place as usize];
            into.clear();
            from.clear();
            for (&key, &slot) in pane.keys().iter().zip(pane.slots()) {
                let at = places[key as usize];
                if at == NOWHERE {
                    places[key as usize] = window.keys.len() as u32;
                    window.keys.push(key);
                    window.slots.push(slot);
                    is_own.push(false);
                    continue;
                }
                let held = &mut window.slots[at as usize];
                if !std::mem::replace(&mut is_own[at as usize], true) {
                    let scratch = store.arena.allocate();
                    window.scratch.push(scratch);
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

    /// What it holds, in any order: panes, and the prefix as the pane of nobody.
    pub(crate) fn entries(&self) -> Vec<(Option<i64>, &KeySlots)> {
        let panes =
            (self.live.iter()).map(|(&pane, &place)| (Some(pane), &self.pool[place as usize]));
        panes.chain([(None, &self.prefix)]).collect()
    }

    /// Takes over that windows were closed as far as `closed`, before any entry.
    pub(crate) fn restore_closed(&mut self, closed: i64) {
        self.closed = closed;
        self.prefix_block = self.block_of(closed);
    }

    /// Takes over one entry and gives the slot for its state.
    pub(crate) fn restore(
        &mut self,
        pane: Option<i64>,
        key: u32,
        store: &mut Store,
    ) -> Result<u32> {
        let held = match pane {
            Some(pane) => {
                let place = self.seat(pane);
                &mut self.pool[place as usize]
            }
            None => &mut self.prefix,
        };
        let mut slots = Vec::new();
        let before = held.len();
        store.find(held, &[key], &mut slots);
        if held.len() == before {
            return Err(Error::Snapshot("a pane in it holds a key twice".into()));
        }
        Ok(slots[0])
    }
}
