//! Aggregates over frames that slide from row to row, for each key.
//!
//! Two stacks of records stand for the rows of a frame, in their order:
//!
//! ```text
//!        front                        back
//!   ┌──────────────────────────┐ ┌────────────────┐
//!   │ r0…r3  r1…r3  r2…r3  r3  │ │ r4   r5   r6   │   Σ back = r4…r6
//!   └──────────────────────────┘ └────────────────┘
//!     ▲ each with all after it in front     ▲ new rows
//! ```
//!
//! The frame is the first of `front` and the sum of `back`. When `front` runs out, `back` is
//! turned into it: each row is combined at most three times, whatever the length of the
//! frame, and nothing is ever subtracted. When that happens depends on a key's rows alone,
//! so results are the same bits however rows were batched.
//!
//! Source: two stacks, Tangwongsan, Hirzel, Schneider, DEBS 2017.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::fold::{Column, Fold, FoldState};
use super::saved::Saved;
use super::select::for_each_row;
use super::slide::{Moves, SavedFrames, SlidingState, Stretch, by_shards};
use super::{AggregateFactory, AggregateState, Rows, Shared};
use crate::error::{Error, Result};

/// Rows of a step: many, so that those of a key stand together.
const STEP_ROWS: usize = 1 << 16;

/// A stack with room for so many times its rows gives it back.
const ROOM_FACTOR: usize = 4;

/// Stacks of so few rows keep their room.
const ROOM_MIN: usize = 16;

/// A key's frame.
#[derive(Debug)]
struct Stacks<F: Fold> {
    /// Records of a row and all after it in front, the first row's last.
    front: Vec<F::Slot>,
    back: Vec<F::Slot>,
    /// All of `back`.
    sum: F::Slot,
}

impl<F: Fold> Default for Stacks<F> {
    fn default() -> Self {
        Self {
            front: Vec::new(),
            back: Vec::new(),
            sum: F::EMPTY,
        }
    }
}

impl<F: Fold> Stacks<F> {
    fn len(&self) -> usize {
        self.front.len() + self.back.len()
    }

    #[inline(always)]
    fn push(&mut self, row: F::Slot) {
        self.back.push(row);
        F::merge(&mut self.sum, row);
    }

    /// Takes the first `rows` rows out.
    #[inline(always)]
    fn leave(&mut self, mut rows: usize) {
        while rows > 0 {
            if self.front.is_empty() {
                assert!(rows <= self.back.len(), "no row leaves that is not there");
                self.turn();
            }
            let now = rows.min(self.front.len());
            self.front.truncate(self.front.len() - now);
            rows -= now;
        }
    }

    /// Turns the back into the front.
    fn turn(&mut self) {
        // Room for rows of a burst is not kept.
        let rows = self.back.len();
        if self.front.capacity() > ROOM_FACTOR * (rows + ROOM_MIN) {
            self.front = Vec::new();
        }
        self.front.reserve(rows);
        let mut after = F::EMPTY;
        for mut row in self.back.drain(..).rev() {
            F::merge(&mut row, after);
            after = row;
            self.front.push(row);
        }
        if self.back.capacity() > ROOM_FACTOR * (rows + ROOM_MIN) {
            self.back.shrink_to(rows);
        }
        self.sum = F::EMPTY;
    }

    #[inline(always)]
    fn total(&self) -> F::Slot {
        match self.front.last() {
            Some(&front) => {
                let mut total = front;
                F::merge(&mut total, self.sum);
                total
            }
            None => self.sum,
        }
    }
}

/// The frames of a fold.
#[derive(Debug)]
struct SlidingFold<F: Fold> {
    fold: Arc<F>,
    /// By key.
    frames: Vec<Stacks<F>>,
    /// Records in all frames.
    held: usize,
}

impl<F: Fold> SlidingFold<F> {
    fn new(fold: Arc<F>) -> Self {
        Self {
            fold,
            frames: Vec::new(),
            held: 0,
        }
    }

    fn make_frames(&mut self, keys: u32) {
        if self.frames.len() < keys as usize {
            self.frames.resize_with(keys as usize, Stacks::default);
        }
    }
}

impl<F: Fold> SlidingState for SlidingFold<F> {
    fn slide(&mut self, rows: Rows<'_>, stretches: &[Stretch], moves: &Moves) -> Result<ArrayRef> {
        let columns = self.fold.columns(&rows);
        let selection = self.fold.selection(&rows);
        let count = moves.lengths.len();
        assert_eq!(columns.rows(), count, "each row moves its frame");
        let mut slots = vec![F::EMPTY; count];
        for_each_row(count, selection.as_ref(), |row| {
            F::add(&mut slots[row], columns.value(row));
        });
        self.make_frames(stretches.last().map_or(0, |stretch| stretch.key + 1));
        let work = |stretch: &Stretch, frame: &mut Stacks<F>, slots: &mut [F::Slot]| {
            let before = frame.len();
            let mut first = 0;
            for row in 0..slots.len() {
                let place = stretch.rows.start + row;
                frame.leave(frame.len() + 1 - moves.lengths[place] as usize);
                frame.push(slots[row]);
                if !moves.has_peer[place] {
                    slots[first..=row].fill(frame.total());
                    first = row + 1;
                }
            }
            frame.len() as isize - before as isize
        };
        let more = by_shards(stretches, &mut self.frames, &mut slots[..], &work);
        self.held = self.held.strict_add_signed(more);
        Ok(self.fold.evaluate(&slots))
    }

    fn step_rows(&self) -> usize {
        STEP_ROWS
    }

    fn clear(&mut self, key: u32) {
        if let Some(frame) = self.frames.get_mut(key as usize) {
            self.held -= std::mem::take(frame).len();
        }
    }

    fn save(&mut self, keys: &[u32]) -> Result<SavedFrames> {
        let mut saved = SavedFrames::default();
        let mut slots = Vec::new();
        for key in keys {
            let frame = self.frames.get(*key as usize);
            let (front, back) =
                frame.map_or((&[][..], &[][..]), |frame| (&frame.front, &frame.back));
            saved.fronts.push(front.len() as u32);
            saved.backs.push(back.len() as u32);
            slots.extend_from_slice(front);
            slots.extend_from_slice(back);
        }
        saved.columns = self.fold.save(&slots);
        Ok(saved)
    }

    fn load(&mut self, keys: &[u32], saved: &SavedFrames) -> Result<()> {
        let lengths = || saved.fronts.iter().chain(&saved.backs);
        let records: usize = lengths().map(|length| *length as usize).sum();
        let columns = Saved::new(&saved.columns, F::SAVED, records)?;
        let mut slots = self.fold.load(columns)?.into_iter();
        if saved.fronts.len() != keys.len() || saved.backs.len() != keys.len() {
            return Err(Error::Snapshot("its frames are damaged".into()));
        }
        let lengths = saved.fronts.iter().zip(&saved.backs);
        self.make_frames(keys.iter().max().map_or(0, |key| key + 1));
        for (key, (front, back)) in keys.iter().zip(lengths) {
            let frame = &mut self.frames[*key as usize];
            frame.front = slots.by_ref().take(*front as usize).collect();
            for row in slots.by_ref().take(*back as usize) {
                frame.push(row);
            }
        }
        self.held += records;
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        // About: stacks keep room for rows to come.
        2 * self.held * size_of::<F::Slot>() + self.frames.capacity() * size_of::<Stacks<F>>()
    }
}

/// Makes the states of a fold.
#[derive(Debug)]
struct FoldFactory<F>(Arc<F>);

impl<F: Fold> AggregateFactory for FoldFactory<F> {
    fn create(&self) -> Result<Box<dyn AggregateState>> {
        Ok(Box::new(FoldState::new(self.0.clone())))
    }

    fn return_type(&self) -> DataType {
        self.0.return_type()
    }

    fn shared(&self) -> Option<Shared> {
        self.0.shared()
    }

    fn is_narrow(&self) -> bool {
        self.0.is_narrow()
    }

    fn sliding(&self) -> Option<Box<dyn SlidingState>> {
        Some(Box::new(SlidingFold::new(self.0.clone())))
    }
}

/// A factory of states of `fold`.
pub(super) fn factory<F: Fold>(fold: F) -> Arc<dyn AggregateFactory> {
    Arc::new(FoldFactory(Arc::new(fold)))
}
