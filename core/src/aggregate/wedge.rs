//! Least and greatest values of frames that slide from row to row.
//!
//! Of a key's frame only the rows are kept that no later one outdoes: for a minimum they
//! rise from the first to the last, and the first is the answer. Values in no particular
//! order leave few of them, about the logarithm of the frame's length.
//!
//! ```text
//!  frame    5  2  7  4  6  9          minimum: 2 is left of 5 and 2, 4 of 7 and 4
//!  kept        2     4  6  9          a row of 5 comes in: 6 and 9 go
//! ```
//!
//! Source: the ascending minima algorithm, Harter 2001; Lemire 2006.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::UInt32Type;

use super::Rows;
use super::fold::{Column, Fold};
use super::saved::Saved;
use super::select::for_each_row;
use super::slide::{Move, SavedFrames, SlidingState, Stretch, by_shards};
use crate::error::{Error, Result};

/// A key's frame.
#[derive(Debug)]
struct Wedge<F: Fold> {
    /// Rows that no later one outdoes, with their numbers.
    kept: VecDeque<(u32, F::Slot)>,
    /// The number of the frame's first row; numbers wrap.
    first: u32,
    rows: u32,
}

impl<F: Fold> Default for Wedge<F> {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            first: 0,
            rows: 0,
        }
    }
}

impl<F: Fold> Wedge<F> {
    #[inline(always)]
    fn leave(&mut self, rows: u32) {
        assert!(rows <= self.rows, "no row leaves that is not there");
        self.rows -= rows;
        self.first = self.first.wrapping_add(rows);
        while let Some((number, _)) = self.kept.front()
            && number.wrapping_sub(self.first) >= self.rows
        {
            self.kept.pop_front();
        }
    }

    #[inline(always)]
    fn push(&mut self, row: F::Slot) {
        while let Some((_, last)) = self.kept.back()
            && F::is_outdone(*last, row)
        {
            self.kept.pop_back();
        }
        let number = self.first.wrapping_add(self.rows);
        self.kept.push_back((number, row));
        self.rows += 1;
    }

    #[inline(always)]
    fn total(&self) -> F::Slot {
        self.kept.front().map_or(F::EMPTY, |(_, best)| *best)
    }
}

/// The frames of a fold of which a combination is always one of the two states.
#[derive(Debug)]
pub(super) struct SlidingExtreme<F: Fold> {
    fold: Arc<F>,
    /// By key.
    frames: Vec<Wedge<F>>,
    /// Rows kept in all frames.
    held: usize,
}

impl<F: Fold> SlidingExtreme<F> {
    pub(super) fn new(fold: Arc<F>) -> Self {
        debug_assert!(F::IS_CHOICE);
        Self {
            fold,
            frames: Vec::new(),
            held: 0,
        }
    }

    fn make_frames(&mut self, keys: u32) {
        if self.frames.len() < keys as usize {
            self.frames.resize_with(keys as usize, Wedge::default);
        }
    }
}

impl<F: Fold> SlidingState for SlidingExtreme<F> {
    fn slide(&mut self, rows: Rows<'_>, stretches: &[Stretch], moves: &[Move]) -> Result<ArrayRef> {
        let columns = self.fold.columns(&rows);
        let selection = self.fold.selection(&rows);
        assert_eq!(columns.rows(), moves.len(), "each row moves its frame");
        let mut slots = vec![F::EMPTY; moves.len()];
        for_each_row(moves.len(), selection.as_ref(), |row| {
            F::add(&mut slots[row], columns.value(row));
        });
        self.make_frames(stretches.last().map_or(0, |stretch| stretch.key + 1));
        let work = |stretch: &Stretch, frame: &mut Wedge<F>, slots: &mut [F::Slot]| {
            let before = frame.kept.len();
            let mut first = 0;
            for (row, step) in moves[stretch.rows.clone()].iter().enumerate() {
                frame.leave(step.leaving);
                frame.push(slots[row]);
                if !step.has_peer {
                    slots[first..=row].fill(frame.total());
                    first = row + 1;
                }
            }
            frame.kept.len() as isize - before as isize
        };
        let more = by_shards(stretches, &mut self.frames, &mut slots, &work);
        self.held = self.held.strict_add_signed(more);
        Ok(self.fold.evaluate(&slots))
    }

    fn clear(&mut self, key: u32) {
        if let Some(frame) = self.frames.get_mut(key as usize) {
            self.held -= std::mem::take(frame).kept.len();
        }
    }

    fn save(&mut self, keys: &[u32]) -> Result<SavedFrames> {
        let mut saved = SavedFrames::default();
        let (mut slots, mut places) = (Vec::new(), Vec::new());
        self.make_frames(keys.iter().max().map_or(0, |key| key + 1));
        for key in keys {
            let frame = &self.frames[*key as usize];
            saved.fronts.push(frame.kept.len() as u32);
            saved.backs.push(frame.rows);
            slots.extend(frame.kept.iter().map(|(_, row)| *row));
            let kept = frame.kept.iter();
            places.extend(kept.map(|(number, _)| number.wrapping_sub(frame.first)));
        }
        saved.columns = self.fold.save(&slots);
        saved.columns.push(Arc::new(UInt32Array::from(places)));
        Ok(saved)
    }

    fn load(&mut self, keys: &[u32], saved: &SavedFrames) -> Result<()> {
        let damaged = || Error::Snapshot("its frames are damaged".into());
        if saved.fronts.len() != keys.len() || saved.backs.len() != keys.len() {
            return Err(damaged());
        }
        let records: usize = saved.fronts.iter().map(|kept| *kept as usize).sum();
        let (places, columns) = saved.columns.split_last().ok_or_else(damaged)?;
        let slots = self.fold.load(Saved::new(columns, F::SAVED, records)?)?;
        let places = places
            .as_primitive_opt::<UInt32Type>()
            .ok_or_else(damaged)?;
        if places.len() != records || places.null_count() > 0 {
            return Err(damaged());
        }
        let mut kept = places.values().iter().copied().zip(slots);
        self.make_frames(keys.iter().max().map_or(0, |key| key + 1));
        for (key, (count, rows)) in keys.iter().zip(saved.fronts.iter().zip(&saved.backs)) {
            self.frames[*key as usize] = Wedge {
                kept: kept.by_ref().take(*count as usize).collect(),
                first: 0,
                rows: *rows,
            };
        }
        self.held += records;
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        // A queue keeps room for as much again at most.
        2 * self.held * size_of::<(u32, F::Slot)>() + self.frames.capacity() * size_of::<Wedge<F>>()
    }
}
