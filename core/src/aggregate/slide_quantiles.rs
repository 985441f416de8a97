//! `median` and `percentile_cont` over frames that slide from row to row.
//!
//! Each key keeps the values of its frame in order of size ([`Ranked`]): nothing is sorted
//! anew, and what a frame gives follows from its values alone, however rows were batched.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};

use super::Rows;
use super::fold::nullable;
use super::quantile::{Quantile, Which};
use super::saved::Saved;
use super::select::selected;
use super::slide::{Moves, SavedFrames, SlidingState, Stretch, by_shards};
use super::slots::check_bytes;
use crate::error::{Error, Result};
use crate::kernel::{self, Around, NONE, Ranked};

/// Rows of a step: many, so that those of a key stand together.
const STEP_ROWS: usize = 1 << 16;

/// So many frames are moved at once.
const PIECE_ROWS: usize = 128;

/// The frames of a quantile.
#[derive(Debug)]
pub(super) struct SlidingQuantiles<T> {
    which: Which,
    /// By key.
    frames: Vec<Ranked>,
    /// On the heap, in all frames.
    bytes: usize,
    values: PhantomData<fn() -> T>,
}

impl<T: Quantile> SlidingQuantiles<T> {
    pub(super) fn new(which: Which) -> Self {
        Self {
            which,
            frames: Vec::new(),
            bytes: 0,
            values: PhantomData,
        }
    }

    fn make_frames(&mut self, keys: u32) {
        if self.frames.len() < keys as usize {
            self.frames.resize_with(keys as usize, Ranked::default);
        }
    }
}

impl<T: Quantile> SlidingState for SlidingQuantiles<T> {
    fn slide(&mut self, rows: Rows<'_>, stretches: &[Stretch], moves: &Moves) -> Result<ArrayRef> {
        let column: &[T::Native] = rows.args[0].as_primitive::<T>().values();
        let selection = selected(&rows, &rows.args[..1]);
        let count = moves.lengths.len();
        assert_eq!(column.len(), count, "each row moves its frame");
        self.make_frames(stretches.last().map_or(0, |stretch| stretch.key + 1));
        let mut values = vec![T::Native::default(); count];
        let mut is_some = vec![false; count];
        let which = self.which;
        let work = |stretch: &Stretch,
                    frame: &mut Ranked,
                    (values, is_some): (&mut [T::Native], &mut [bool])| {
            let before = frame.bytes();
            let value = |row: usize| T::to_f64(column[row]);
            match &selection {
                None => frame.push(stretch.rows.clone().map(value)),
                Some(selection) => {
                    frame.push(stretch.rows.clone().map(|row| match selection.value(row) {
                        true => value(row),
                        false => NONE,
                    }))
                }
            }
            let mut around = [Around::default(); PIECE_ROWS];
            let lengths = moves.lengths[stretch.rows.clone()].chunks(PIECE_ROWS);
            let places = (values.chunks_mut(PIECE_ROWS)).zip(is_some.chunks_mut(PIECE_ROWS));
            for (lengths, (values, is_some)) in lengths.zip(places) {
                let around = &mut around[..lengths.len()];
                kernel::rank_frames(frame, lengths, which.fraction(), around);
                for (row, around) in around.iter().enumerate() {
                    let value = which.of_frame::<T>(around);
                    is_some[row] = value.is_some();
                    values[row] = value.unwrap_or_default();
                }
            }
            let has_peer = &moves.has_peer[stretch.rows.clone()];
            for row in (0..values.len()).rev().filter(|row| has_peer[*row]) {
                (values[row], is_some[row]) = (values[row + 1], is_some[row + 1]);
            }
            frame.bytes() as isize - before as isize
        };
        let places = (&mut values[..], &mut is_some[..]);
        let more = by_shards(stretches, &mut self.frames, places, &work);
        self.bytes = self.bytes.strict_add_signed(more);
        check_bytes(self.state_bytes())?;
        let has_none = is_some.contains(&false);
        let valid = has_none.then(|| NullBuffer::new(BooleanBuffer::from(is_some)));
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), valid)))
    }

    fn step_rows(&self) -> usize {
        STEP_ROWS
    }

    fn clear(&mut self, key: u32) {
        if let Some(frame) = self.frames.get_mut(key as usize) {
            self.bytes -= std::mem::take(frame).bytes();
        }
    }

    fn save(&mut self, keys: &[u32]) -> Result<SavedFrames> {
        let frames = || keys.iter().map(|key| self.frames.get(*key as usize));
        let rows = frames().map(|frame| frame.map_or(0, |frame| frame.rows().len() as u32));
        let values = (frames().flatten())
            .flat_map(Ranked::rows)
            .map(|value| value.map(T::of_f64));
        Ok(SavedFrames {
            columns: vec![Arc::new(nullable::<T>(values))],
            fronts: rows.collect(),
            backs: vec![0; keys.len()],
        })
    }

    fn load(&mut self, keys: &[u32], saved: &SavedFrames) -> Result<()> {
        let rows = saved.fronts.iter().map(|rows| *rows as usize).sum();
        let column = Saved::new(&saved.columns, 1, rows)?.array::<PrimitiveArray<T>>(0)?;
        if saved.fronts.len() != keys.len() {
            return Err(Error::Snapshot("its frames are damaged".into()));
        }
        self.make_frames(keys.iter().max().map_or(0, |key| key + 1));
        let mut values = (column.iter()).map(|value| value.map_or(NONE, T::to_f64));
        for (key, rows) in keys.iter().zip(&saved.fronts) {
            let frame = &mut self.frames[*key as usize];
            frame.push(values.by_ref().take(*rows as usize));
            frame.take_in();
            self.bytes += frame.bytes();
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.bytes + self.frames.capacity() * size_of::<Ranked>()
    }
}
