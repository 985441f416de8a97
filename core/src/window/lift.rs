//! Rows of a batch into panes.
//!
//! ```text
//!  part of a batch ─▶ ids of keys ─▶ slots in panes  │ any thread, nothing changes
//!                                         │
//!         ┌───────────────┬───────────────┤          │ in order
//!         ▼               ▼               ▼
//!   which keys came   aggregate 1 …   aggregate n
//! ```
//!
//! Where a part has a key that is new to the interner or to a pane, it is taken in by one
//! thread before the rest goes on. While many parts have such keys, or where an aggregate
//! wants whole batches, these go one step after the other: all ids, all slots, then the
//! states. In each step threads share what is known, and one takes in what is new.
//!
//! Slots are those that the rows would be given one by one: what comes out depends neither
//! on the number of threads nor on how the stream was cut into batches.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};

use super::arena::{Lifted, Line};
use super::key_slots::{Block, KeySlots};
use super::rollover::Rollover;
use super::route::Route;
use super::stages::in_stages;
use super::store::Store;
use crate::error::Result;

/// Rows that one thread looks up at a time.
const PART_ROWS: usize = 4 * 1024;

/// From so many rows on, sharing the work costs less than it gains.
const PARALLEL_ROWS_MIN: usize = 16 * 1024;

/// After a batch most of whose rows had to be taken in step by step, so many others are before
/// parts are tried again.
const STEPWISE_BATCHES: u32 = 4;

/// After so many parts with new keys, the rest of a batch goes step by step.
const NEW_PARTS_MAX: usize = 2;

/// Rows without a key are added run by run where runs are at least so long, on average.
const RUN_ROWS_MIN: usize = 64;

/// Lifts rows; keeps what is worth keeping from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Lifter {
    ids: Vec<u32>,
    slots: Vec<u32>,
    buffers: Buffers,
    /// How many batches are to go step by step.
    stepwise: u32,
}

/// Parts that were looked up, to be filled again.
#[derive(Debug, Default)]
struct Buffers(Mutex<Vec<Part>>);

/// What was looked up for the rows of a part.
#[derive(Debug, Default)]
struct Part {
    /// `[rows]`
    slots: Vec<u32>,
    /// What [`Lookup::look_up`](super::route::Lookup::look_up) gives.
    panes: Vec<u8>,
}

/// A part, given back when it is dropped.
struct Lent<'a> {
    part: Part,
    to: &'a Buffers,
}

/// How many parts are kept from batch to batch.
const BUFFERS_MAX: usize = 64;

impl Buffers {
    fn lend(&self, rows: usize) -> Lent<'_> {
        let mut part = self.held().pop().unwrap_or_default();
        part.slots.resize(rows, 0);
        part.panes.clear();
        Lent { part, to: self }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Part>> {
        // Whatever happened to whoever held it, what is in it is as good as new.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut held = self.to.held();
        if held.len() < BUFFERS_MAX {
            held.push(std::mem::take(&mut self.part));
        }
    }
}

/// The keys that have come to a pane with a block.
struct Arrivals {
    place: u32,
    block: Block,
    /// `[block]`
    held: Vec<bool>,
    new: Vec<u32>,
    /// How many keys may come yet.
    missing: usize,
}

/// Those of all panes that rows of a batch go to.
struct AllArrivals {
    panes: Vec<Arrivals>,
    /// `[places]`: the number of the pane among them, or [`NOT_EXPECTED`].
    numbers: Vec<u32>,
    /// How many keys may come yet, to all of them.
    missing: usize,
}

const NOT_EXPECTED: u32 = u32::MAX;

/// What is done with the parts in order.
enum Fold<'a> {
    Arrivals(AllArrivals),
    State(Line<'a>),
}

impl Lifter {
    /// Adds rows to their panes, not before `closed`.
    ///
    /// # Errors
    /// On data that an aggregate refuses, or when a named limit is reached.
    pub(crate) fn lift(
        &mut self,
        records: &RecordBatch,
        times: &[i64],
        route: &Route<'_>,
        rollover: &mut Rollover,
        store: &mut Store,
    ) -> Result<()> {
        let rows = route.rows();
        let lifted = store.arena.number(times);
        let takes_parts = store.arena.takes_parts();
        if takes_parts
            && store.keys.is_one()
            && let Some(runs) = route.runs(RUN_ROWS_MIN)
        {
            return self.lift_runs(records, &lifted, runs, rollover, store);
        }
        let tries_parts = takes_parts && self.stepwise == 0;
        let mut is_stepwise = !tries_parts;
        self.stepwise = self.stepwise.saturating_sub(1);
        let columns = store.keys.columns(records);
        let mut next = 0;
        let (mut alone, mut new_parts) = (0, 0);
        while next < rows {
            if !is_stepwise {
                let buffers = &self.buffers;
                next = staged(
                    next, records, &columns, &lifted, route, buffers, rollover, store,
                )?;
            }
            if next < rows {
                new_parts += 1;
                is_stepwise |= new_parts > NEW_PARTS_MAX;
                let end = match is_stepwise {
                    true => rows,
                    false => rows.min(next + PART_ROWS),
                };
                alone += end - next;
                for part in route.kept(&(next..end)) {
                    let rows = next + part.start..next + part.end;
                    self.lift_alone(rows, records, &columns, &lifted, route, rollover, store)?;
                }
                next = end;
            }
        }
        if tries_parts && rows > PART_ROWS && alone * 2 > rows {
            self.stepwise = STEPWISE_BATCHES;
        }
        Ok(())
    }

    /// Adds rows without a key: each run goes to one slot.
    fn lift_runs(
        &mut self,
        records: &RecordBatch,
        lifted: &Lifted<'_>,
        mut runs: Vec<(u32, Range<usize>)>,
        rollover: &mut Rollover,
        store: &mut Store,
    ) -> Result<()> {
        store.keys.intern_columns(&[], 1, &mut self.ids)?;
        self.slots.clear();
        for (place, _) in &runs {
            rollover.place(*place, &self.ids, store, &mut self.slots);
        }
        for ((place, _), slot) in runs.iter_mut().zip(&self.slots) {
            *place = *slot;
        }
        store.arena.update_runs(records, lifted, &runs)
    }

    /// Adds neighbouring rows among which there may be new keys.
    #[expect(
        clippy::too_many_arguments,
        reason = "a part of a batch is many things"
    )]
    fn lift_alone(
        &mut self,
        rows: Range<usize>,
        records: &RecordBatch,
        columns: &[ArrayRef],
        lifted: &Lifted<'_>,
        route: &Route<'_>,
        rollover: &mut Rollover,
        store: &mut Store,
    ) -> Result<()> {
        let columns: Vec<ArrayRef> = (columns.iter())
            .map(|column| column.slice(rows.start, rows.len()))
            .collect();
        (store.keys).intern_columns(&columns, rows.len(), &mut self.ids)?;
        self.slots.clear();
        for (place, part) in route.pieces(&rows) {
            rollover.place(place, &self.ids[part], store, &mut self.slots);
        }
        (store.arena).update_part(records, lifted, rows.start, &self.slots)
    }
}

/// Adds the rows from `first` on by parts, as far as all keys are known. The first row
/// that is left.
#[expect(
    clippy::too_many_arguments,
    reason = "a part of a batch is many things"
)]
fn staged(
    first: usize,
    records: &RecordBatch,
    columns: &[ArrayRef],
    lifted: &Lifted<'_>,
    route: &Route<'_>,
    buffers: &Buffers,
    rollover: &mut Rollover,
    store: &mut Store,
) -> Result<usize> {
    let rows = lifted.len();
    let arrivals = expect_arrivals(route.places(first), rollover, store);
    let part_rows = |part: usize| {
        let start = first + part * PART_ROWS;
        start..rows.min(start + PART_ROWS)
    };
    let (keys, panes) = (&store.keys, route.lookup(rollover));
    let prepare = |part: usize| {
        let rows = part_rows(part);
        let mut lent = buffers.lend(rows.len());
        let part = &mut lent.part;
        let is_known = keys.find(columns, rows.start, &mut part.slots)
            && panes.look_up(rows.start, &mut part.slots, &mut part.panes);
        is_known.then_some(lent)
    };
    let fold = |fold: &mut Fold<'_>, part: usize, lent: &Lent<'_>| {
        let (rows, slots) = (part_rows(part), &lent.part.slots);
        match fold {
            Fold::State(line) => {
                for part in route.kept(&rows) {
                    line.update(lifted, rows.start + part.start, &slots[part])?;
                }
            }
            Fold::Arrivals(arrivals) if arrivals.missing > 0 => match route.spread() {
                Some(places) => {
                    for part in route.kept(&rows) {
                        arrivals.note_rows(places, &lent.part.panes[part.clone()], &slots[part]);
                    }
                }
                None => {
                    for (place, part) in route.pieces(&rows) {
                        arrivals.note(place, &slots[part]);
                    }
                }
            },
            Fold::Arrivals(_) => {}
        }
        Ok(())
    };
    let mut folds = vec![Fold::Arrivals(arrivals)];
    folds.extend(store.arena.lines(records).into_iter().map(Fold::State));
    let parts = (rows - first).div_ceil(PART_ROWS);
    let threads = match rows - first >= PARALLEL_ROWS_MIN {
        true => rayon::current_num_threads(),
        false => 1,
    };
    let folded = in_stages(0..parts, threads, prepare, &mut folds, fold);
    if let Some(Fold::Arrivals(arrivals)) = folds.into_iter().next() {
        for Arrivals {
            place, held, new, ..
        } in arrivals.panes
        {
            rollover.give_back_held(place, held, &new, store);
        }
    }
    Ok(rows.min(first + folded? * PART_ROWS))
}

/// What is known of the panes with blocks that rows go to.
fn expect_arrivals(places: Vec<u32>, rollover: &mut Rollover, store: &Store) -> AllArrivals {
    let mut all = AllArrivals {
        panes: Vec::new(),
        numbers: vec![NOT_EXPECTED; rollover.places()],
        missing: 0,
    };
    for place in places {
        if all.numbers[place as usize] != NOT_EXPECTED {
            continue;
        }
        let pane: &mut KeySlots = rollover.pane_mut(place);
        if let Some((block, held)) = pane.lend_held() {
            all.numbers[place as usize] = all.panes.len() as u32;
            let missing = store.keys.known() - pane.len();
            all.missing += missing;
            all.panes.push(Arrivals {
                place,
                block,
                held,
                new: Vec::new(),
                missing,
            });
        }
    }
    all
}

impl AllArrivals {
    /// Notes which keys come to a pane for the first time.
    fn note(&mut self, place: u32, slots: &[u32]) {
        let number = self.numbers[place as usize];
        let pane = self.panes.get_mut(number as usize);
        if let Some(pane) = pane.filter(|pane| pane.missing > 0) {
            for slot in slots {
                self.missing -= usize::from(pane.note(*slot));
            }
        }
    }

    /// As [`AllArrivals::note`], of rows that each go to the pane with the given number
    /// among `places`.
    fn note_rows(&mut self, places: &[u32], panes: &[u8], slots: &[u32]) {
        let of_place = |place: &u32| self.panes.get(self.numbers[*place as usize] as usize);
        let is_missing = |place| of_place(place).is_some_and(|pane| pane.missing > 0);
        let mut are_missing: Vec<bool> = places.iter().map(is_missing).collect();
        for (number, slot) in panes.iter().zip(slots) {
            if are_missing[*number as usize] {
                let place = places[*number as usize];
                let pane = &mut self.panes[self.numbers[place as usize] as usize];
                self.missing -= usize::from(pane.note(*slot));
                are_missing[*number as usize] = pane.missing > 0;
            }
        }
    }
}

impl Arrivals {
    /// Notes that a key has come; says whether it is the first time.
    #[inline(always)]
    fn note(&mut self, slot: u32) -> bool {
        let key = slot - self.block.first;
        let is_new = !std::mem::replace(&mut self.held[key as usize], true);
        if is_new {
            self.new.push(key);
            self.missing -= 1;
        }
        is_new
    }
}
