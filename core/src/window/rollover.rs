//! Panes become windows: suffixes and prefixes of blocks.
//!
//! Panes are grouped in blocks of half a window, at the multiples of their size. So a
//! window is the end of one block, the next one whole, and the start of a third:
//!
//! ```text
//! panes        0  1  2 │ 3  4  5 │ 6  7  8 │        windows of 6, blocks of 3
//! window          └────────────────────┘
//!             suffix(1)  long prefix(3 … 7)
//! ```
//!
//! Two prefixes grow pane by pane: the short one from the start of the block on, the long one
//! from that of the block before, as whose short one it began. While a block is the first of
//! the long prefix, its panes become suffixes, one for each window that is closed, from the last
//! pane to the first: they are all there when the window's start comes to them. So each
//! window takes three combinations to keep and two to give out, however long it is, and none
//! waits for more: two stacks whose flip is spread over the time until it is needed. (van Herk
//! 1992; Gil and Werman 1993; de-amortised: Tangwongsan et al., DEBS 2017.)
//!
//! Windows of few panes are the end of one block and the start of the next, each as long as the
//! window: one combination less, and a flip is soon done. It is done when the next block's first
//! window is closed.
//!
//! The order of every addition follows from pane numbers alone: not from when the stream
//! began, how it was batched or where it was restored. The state is a function of the rows
//! and of `closed`, the end of the last closed window: `block` is the one that the last pane
//! before `closed` lies in, and the prefixes end there. A row for a pane before `closed` that
//! still has open windows is added wherever its pane has gone.
//!
//! Windows of CUMULATE are prefixes alone, of blocks as long as the longest.
//!
//! Where a state grows with its rows, as a median's does, a suffix would hold a copy of
//! all that follows in its block: k²/8 panes' worth. Such panes are not folded, and neither
//! are those of windows of a handful of panes; each window of a HOP is put together from its
//! panes in their order and let go again.
//!
//! This module knows pane numbers, keys and slots; it knows no times and no rows.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use super::arena::Arena;
use super::grid::Panes;
use super::key_slots::KeySlots;
use super::opened::Window;
use super::store::Store;
use crate::error::{Error, Result};

/// From so many keys on, an emptied pane keeps its table only if it was full.
const SPARE_KEYS_MAX: usize = 4_096;

/// So many panes before a new one tell how many keys it will hold; the last of them may
/// still be filling.
const PANES_ASKED: usize = 2;

/// How many emptied panes are kept for use.
const SPARE_PANES_MAX: usize = 4;

/// Windows of more panes have blocks of half their length.
const FEW_PANES: i64 = 16;

/// Windows of no more panes are put together from them: to keep prefixes and suffixes would
/// take as many look-ups.
const APART_PANES_MAX: i64 = 6;

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
    /// The panes of `block` before `closed`.
    short: KeySlots,
    /// Its first pane.
    block: i64,
    /// Those of the block before it, too; empty if blocks are as long as windows.
    long: KeySlots,
    /// The end of the last window that was closed.
    closed: i64,
}

/// What states belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Pane(i64),
    Short,
    Long,
}

impl Piece {
    /// As it is saved: its kind and the number of a pane.
    pub(crate) fn to_numbers(self) -> (u8, i64) {
        match self {
            Self::Pane(pane) => (0, pane),
            Self::Short => (1, 0),
            Self::Long => (2, 0),
        }
    }

    /// # Errors
    /// If it is none.
    pub(crate) fn from_numbers(kind: u8, pane: i64) -> Result<Self> {
        match kind {
            0 => Ok(Self::Pane(pane)),
            1 => Ok(Self::Short),
            2 => Ok(Self::Long),
            _ => Err(Error::Snapshot(format!(
                "it has states of a kind {kind}, which is none"
            ))),
        }
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
        let folds = match panes {
            Panes::Hop { size, .. } => size > APART_PANES_MAX && !arena.holds_values(),
            Panes::Cumulate { .. } => true,
        };
        Self {
            panes,
            folds,
            live: BTreeMap::new(),
            pool: Vec::new(),
            spare: Vec::new(),
            short: KeySlots::default(),
            block: i64::MIN,
            long: KeySlots::default(),
            closed: i64::MIN,
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
        if let (Panes::Cumulate { size }, false) = (self.panes, self.short.is_empty()) {
            until = self.block.saturating_add(size);
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
            + self.short.bytes()
            + self.long.bytes()
            + self.live.len() * size_of::<(i64, u32)>()
    }

    /// Whether a window is two blocks long, or a pane longer.
    fn is_halved(&self) -> bool {
        matches!(self.panes, Panes::Hop { size, .. } if size > FEW_PANES)
    }

    /// How many panes a block has.
    fn block_size(&self) -> i64 {
        match self.panes {
            Panes::Hop { size, .. } if self.is_halved() => size / 2,
            Panes::Hop { size, .. } | Panes::Cumulate { size } => size,
        }
    }

    /// The first pane of the block that holds a pane.
    fn block_of(&self, pane: i64) -> i64 {
        let size = self.block_size();
        pane.div_euclid(size).saturating_mul(size)
    }

    /// The block that prefixes end in when windows are closed as far as an edge. A window
    /// of CUMULATE that ends with its block leaves nothing to the next.
    fn home(&self, edge: i64) -> i64 {
        match self.panes {
            Panes::Hop { .. } => self.block_of(edge.saturating_sub(1)),
            Panes::Cumulate { .. } => self.block_of(edge),
        }
    }

    /// The block before one.
    fn before(&self, block: i64) -> i64 {
        block.saturating_sub(self.block_size())
    }

    /// The first pane of the block before `block` that is a suffix, when windows are closed as
    /// far as an edge of `block`.
    fn folded_from(&self, block: i64, edge: i64) -> i64 {
        let Panes::Hop { size, .. } = self.panes else {
            return block;
        };
        if !self.is_halved() {
            return self.before(block);
        }
        // Where a window is two blocks, none takes the first of the two as a suffix.
        let is_even = size == 2 * self.block_size();
        let folded = edge.saturating_sub(block) - i64::from(is_even);
        block.saturating_sub(folded.max(0))
    }

    /// Where the block ends of which windows take suffixes.
    fn suffixes_end(&self) -> i64 {
        match self.is_halved() {
            true => self.before(self.block),
            false => self.block,
        }
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
        if !self.folds {
            self.find(Piece::Pane(pane), key, store, slots);
            return Ok(Placed::Slots);
        }
        if let Panes::Cumulate { .. } = self.panes {
            self.find(Piece::Short, key, store, slots);
            return Ok(Placed::Slots);
        }
        let (block, before) = (self.block_of(pane), self.before(self.block));
        // From here on the panes of its block are suffixes.
        let folded = if block == self.block {
            i64::MAX
        } else if block == before {
            self.folded_from(self.block, self.closed)
        } else {
            block
        };
        if pane >= folded && !self.live.contains_key(&pane) && self.starts_between(folded, pane) {
            let block_end = block.saturating_add(self.block_size());
            let next = (self.live.range(pane..block_end).next()).map(|(_, &place)| place);
            if next.is_some() && !lifted {
                return Ok(Placed::LiftFirst);
            }
            let place = self.seat(pane);
            if let Some(next) = next {
                self.merge_panes(place, next, store)?;
            }
        }
        if block == self.block {
            self.find(Piece::Short, key, store, slots);
        }
        if self.is_halved() && block >= before {
            self.find(Piece::Long, key, store, slots);
        }
        if pane < folded {
            self.find(Piece::Pane(pane), key, store, slots);
            return Ok(Placed::Slots);
        }
        for (_, &place) in self.live.range(folded..=pane) {
            store.find(&mut self.pool[place as usize], &[key], slots);
        }
        Ok(Placed::Slots)
    }

    /// Appends the slot of a key.
    fn find(&mut self, piece: Piece, key: u32, store: &mut Store, slots: &mut Vec<u32>) {
        store.find(self.piece(piece), &[key], slots);
    }

    fn piece(&mut self, piece: Piece) -> &mut KeySlots {
        match piece {
            Piece::Pane(pane) => {
                let place = self.seat(pane);
                &mut self.pool[place as usize]
            }
            Piece::Short => &mut self.short,
            Piece::Long => &mut self.long,
        }
    }

    /// Whether an open window starts after the live suffix before `pane`, the first of them
    /// being `folded`, and not after `pane`: that window's suffix is to start at `pane`.
    fn starts_between(&self, folded: i64, pane: i64) -> bool {
        let Panes::Hop { slide, size } = self.panes else {
            return false;
        };
        let before = self.live.range(folded..pane).next_back();
        let before = before.map_or(i64::MIN, |(&before, _)| before);
        let start = pane.div_euclid(slide) * slide;
        start > before && start > self.closed.saturating_sub(size)
    }

    /// The next window with rows that ends at `until` or before.
    pub(crate) fn next_end(&self, until: i64) -> Option<i64> {
        let end = match self.panes {
            Panes::Cumulate { .. } if !self.short.is_empty() => self.closed.saturating_add(1),
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
        let mut window = Window::new(end);
        match self.panes {
            Panes::Hop { size: 1, .. } => {
                let place = self.live.get(&(end - 1)).copied();
                let pane = &self.pool[place.expect("the window has rows") as usize];
                window.take(pane);
            }
            Panes::Hop { size, .. } if !self.folds => {
                let panes = self.live.range(end - size..end);
                let panes: Vec<&KeySlots> = panes
                    .map(|(_, &place)| &self.pool[place as usize])
                    .filter(|pane| !pane.is_empty())
                    .collect();
                window.put_together(&panes, store)?;
            }
            Panes::Hop { size, .. } => {
                self.roll(end, store)?;
                let suffix = (self.live.range(end - size..self.suffixes_end()).next())
                    .map(|(_, &place)| &self.pool[place as usize]);
                let prefix = match self.is_halved() {
                    true => &self.long,
                    false => &self.short,
                };
                match suffix {
                    Some(suffix) if prefix.is_empty() => window.take(suffix),
                    Some(suffix) => window.unite(suffix, prefix, store)?,
                    None => window.take(prefix),
                }
            }
            Panes::Cumulate { .. } => {
                let block = self.panes.start_of(end);
                if self.block != block {
                    store.release(&mut self.short);
                    self.block = block;
                }
                self.extend(Piece::Short, block.max(self.closed)..end, store)?;
                window.take(&self.short);
            }
        }
        self.closed = end;
        Ok(window)
    }

    /// Brings prefixes and suffixes to where they are when windows are closed as far as
    /// `end`.
    fn roll(&mut self, end: i64, store: &mut Store) -> Result<()> {
        let block = self.home(end);
        let mut closed = self.closed;
        if block != self.block {
            self.turn(block, store)?;
            closed = block;
        }
        self.extend(Piece::Short, closed..end, store)?;
        if self.is_halved() {
            self.extend(Piece::Long, closed..end, store)?;
            let (from, until) = (
                self.folded_from(block, end),
                self.folded_from(block, closed),
            );
            self.fold(from..until, block, store)?;
        }
        self.closed = end;
        Ok(())
    }

    /// Goes on to a later block.
    fn turn(&mut self, block: i64, store: &mut Store) -> Result<()> {
        let (before, last, closed) = (self.before(block), self.block, self.closed);
        self.block = block;
        if !self.is_halved() {
            store.release(&mut self.short);
            return self.fold(before..block, block, store);
        }
        store.release(&mut self.long);
        let folded = if before == last {
            self.extend(Piece::Short, closed.max(before)..block, store)?;
            self.folded_from(before, closed)
        } else {
            store.release(&mut self.short);
            self.extend(Piece::Short, before..block, store)?;
            before
        };
        std::mem::swap(&mut self.short, &mut self.long);
        self.fold(self.before(before)..folded, before, store)
    }

    /// Lets go what the window that was opened last was the last to need.
    pub(crate) fn finish(&mut self, window: Window, store: &mut Store) {
        window.release(&mut store.arena);
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
        store.release(&mut self.short);
        store.release(&mut self.long);
    }

    fn settle(&mut self, store: &mut Store) {
        // Where windows were passed over since none had rows, none of these had either.
        let home = self.home(self.closed);
        if self.block != home {
            store.release(&mut self.short);
            store.release(&mut self.long);
            self.block = home;
        }
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
        let full = pane.len() * 2 >= store.keys.bound() || pane.keeps_little();
        store.release(pane);
        if self.spare.len() >= SPARE_PANES_MAX || !full && store.keys.bound() > SPARE_KEYS_MAX {
            *pane = KeySlots::default();
        }
        self.spare.push(place);
    }

    /// Makes suffixes of these panes of the block that ends at `block_end`; those after them
    /// are suffixes.
    fn fold(&mut self, panes: Range<i64>, block_end: i64, store: &mut Store) -> Result<()> {
        let Panes::Hop { slide, .. } = self.panes else {
            return Ok(());
        };
        let entry = |(&pane, &place): (&i64, &u32)| (pane, place);
        let mut later = (self.live.range(panes.end..block_end).next()).map(entry);
        let mut until = panes.end;
        while let Some((pane, place)) = (self.live.range(panes.start..until).next_back()).map(entry)
        {
            if let Some((after, suffix)) = later.replace((pane, place)) {
                self.merge_panes(place, suffix, store)?;
                // No window starts after this pane and not after that one: nobody asks for
                // that suffix.
                if after.div_euclid(slide) * slide <= pane {
                    self.live.remove(&after);
                    self.vacate(suffix, store);
                }
            }
            until = pane;
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

    /// Adds live panes to a prefix.
    fn extend(&mut self, prefix: Piece, panes: Range<i64>, store: &mut Store) -> Result<()> {
        if panes.is_empty() {
            return Ok(());
        }
        let mut extended = std::mem::take(self.piece(prefix));
        let mut places = self.live.range(panes);
        let merged = places.try_for_each(|(_, &place)| {
            let pane = &self.pool[place as usize];
            if extended.is_empty() && extended.block().is_none() && pane.block().is_some() {
                store.reserve(&mut extended);
            }
            store.merge(&mut extended, pane)
        });
        *self.piece(prefix) = extended;
        merged
    }

    /// What it holds, in any order.
    pub(crate) fn entries(&self) -> Vec<(Piece, &KeySlots)> {
        let panes = (self.live.iter())
            .map(|(&pane, &place)| (Piece::Pane(pane), &self.pool[place as usize]));
        panes
            .chain([(Piece::Short, &self.short), (Piece::Long, &self.long)])
            .collect()
    }

    /// Takes over that windows were closed as far as `closed`, before any entry.
    pub(crate) fn restore_closed(&mut self, closed: i64) {
        self.closed = closed;
        self.block = self.home(closed);
    }

    /// Takes over one entry and gives the slot for its state.
    pub(crate) fn restore(&mut self, piece: Piece, key: u32, store: &mut Store) -> Result<u32> {
        let held = self.piece(piece);
        let mut slots = Vec::new();
        let before = held.len();
        store.find(held, &[key], &mut slots);
        if held.len() == before {
            return Err(Error::Snapshot("a pane in it holds a key twice".into()));
        }
        Ok(slots[0])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field};

    use super::super::store::Keys;
    use super::*;
    use crate::aggregate::{AggregateCall, AggregateFactory, AggregateState, Rows};

    /// An aggregate that only notes how many states are combined.
    #[derive(Debug, Clone, Default)]
    struct Merges(Arc<AtomicUsize>);

    impl AggregateFactory for Merges {
        fn create(&self) -> Result<Box<dyn AggregateState>> {
            Ok(Box::new(self.clone()))
        }

        fn return_type(&self) -> DataType {
            DataType::Int64
        }
    }

    impl AggregateState for Merges {
        fn resize(&mut self, _: usize) {}

        fn clear(&mut self, _: &[u32]) {}

        fn update(&mut self, _: Rows<'_>) -> Result<()> {
            Ok(())
        }

        fn merge(&mut self, into: &[u32], _: &[u32]) -> Result<()> {
            self.0.fetch_add(into.len(), Ordering::Relaxed);
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

    /// How many states are combined for each of so many windows, where each pane has each of
    /// `keys` keys.
    fn merges(panes: Panes, keys: usize, windows: usize) -> Vec<usize> {
        let merges = Merges::default();
        let call = AggregateCall {
            factory: Arc::new(merges.clone()),
            args: vec![],
            filter: None,
            field: Arc::new(Field::new("merges", DataType::Int64, true)),
        };
        let mut store = Store {
            arena: Arena::new(vec![call], crate::aggregate::fused::Groups::Many).expect("a state"),
            keys: Keys::new(&[DataType::Int64], vec![0]).expect("a key column"),
        };
        let mut ids = Vec::new();
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..keys as i64));
        (store.keys.intern_columns(&[column], keys, &mut ids)).expect("keys");
        let mut rollover = Rollover::new(panes, &store.arena);
        let (mut filled, mut end) = (0, panes.first_end());
        let each = (0..windows).map(|_| {
            while filled < end {
                let place = rollover.seat(filled);
                rollover.place(place, &ids, &mut store, &mut Vec::new());
                filled += 1;
            }
            merges.0.store(0, Ordering::Relaxed);
            let window = rollover.open(end, &mut store).expect("a window");
            assert_eq!(window.keys.len(), keys);
            rollover.finish(window, &mut store);
            end = panes.end_after(end);
            merges.0.load(Ordering::Relaxed)
        });
        each.collect()
    }

    #[test]
    fn no_window_waits_for_others() {
        let keys = 10;
        for (slide, sizes) in [(1, [2, 3, 60, 61, 600]), (2, [3, 5, 61, 119, 601])] {
            for size in sizes {
                let each = merges(Panes::Hop { slide, size }, keys, 3 * size as usize);
                // The first has all its panes to take in.
                assert!(
                    each[0] <= 3 * (size as usize + 1) * keys,
                    "{size}: {}",
                    each[0]
                );
                // A slide of panes to both prefixes, as many suffixes, and two pieces into
                // states of the window's own; a flip of few panes; a handful of panes each time.
                let most = each[1..].iter().max().copied().unwrap_or_default();
                let steps = match size {
                    few if few <= APART_PANES_MAX => size as usize,
                    ..=FEW_PANES => size as usize + slide as usize + 2,
                    _ => 3 * slide as usize + 2,
                };
                assert!(most <= steps * keys, "{size}: {most} of {steps}");
            }
        }
    }
}
