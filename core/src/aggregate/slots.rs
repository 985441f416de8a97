//! Frames of aggregates whose partial states lie on the heap: as [`super::stacks`], with a
//! slot of the aggregate's state for each row.

use arrow::array::ArrayRef;

use super::slide::{Moves, SavedFrames, SlidingState, Stretch};
use super::{AggregateState, Rows};
use crate::error::{Error, Result};

/// How many bytes the frames of one such call may take.
const SLIDING_BYTES_MAX: usize = 2 << 30;

/// An error if the frames of a call take too many bytes.
pub(super) fn check_bytes(bytes: usize) -> Result<()> {
    if bytes > SLIDING_BYTES_MAX {
        return Err(Error::Bound {
            what: "the frames of an OVER window".into(),
            limit: format!("{} GiB", SLIDING_BYTES_MAX >> 30),
            remedy: "shorten the frames, or partition by fewer keys",
        });
    }
    Ok(())
}

/// Rows of a step: each has two states, and is combined by calls of its own.
const STEP_ROWS: usize = 1_024;

/// A key's frame, by slots.
#[derive(Debug, Default)]
struct Stacks {
    /// Slots of a row and all after it in front, the first row's last.
    front: Vec<u32>,
    back: Vec<u32>,
    /// All of `back`, if there is any.
    sum: Option<u32>,
}

/// Slots that are given out and taken back.
#[derive(Debug)]
struct Slots {
    state: Box<dyn AggregateState>,
    free: Vec<u32>,
    bound: u32,
}

impl Slots {
    fn allocate(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.bound += 1;
            // Twice as much as there is, so that growing costs each slot little.
            if self.bound.is_power_of_two() {
                self.state.resize(2 * self.bound as usize);
            }
            self.bound - 1
        })
    }

    fn release(&mut self, slots: &[u32]) {
        self.state.clear(slots);
        self.free.extend_from_slice(slots);
    }

    fn merge(&mut self, into: u32, from: u32) -> Result<()> {
        self.state.merge(&[into], &[from])
    }

    fn push(&mut self, frame: &mut Stacks, row: u32) -> Result<()> {
        frame.back.push(row);
        let sum = *frame.sum.get_or_insert_with(|| self.allocate());
        self.merge(sum, row)
    }

    /// Takes the first row out.
    fn leave(&mut self, frame: &mut Stacks) -> Result<()> {
        if frame.front.is_empty() {
            let mut after = None;
            for row in frame.back.drain(..).rev() {
                if let Some(after) = after {
                    self.merge(row, after)?;
                }
                after = Some(row);
                frame.front.push(row);
            }
            self.release(frame.sum.take().as_slice());
        }
        let first = frame.front.pop().expect("no row leaves that is not there");
        self.release(&[first]);
        Ok(())
    }

    /// A slot of its own for the whole frame.
    fn total(&mut self, frame: &Stacks) -> Result<u32> {
        let total = self.allocate();
        for part in frame.front.last().into_iter().chain(&frame.sum) {
            self.merge(total, *part)?;
        }
        Ok(total)
    }
}

/// The frames of an aggregate, one for each key.
#[derive(Debug)]
struct SlidingSlots {
    slots: Slots,
    /// By key.
    frames: Vec<Stacks>,
}

/// Frames over an aggregate's states.
pub(super) fn sliding(state: Box<dyn AggregateState>) -> Box<dyn SlidingState> {
    let slots = Slots {
        state,
        free: Vec::new(),
        bound: 0,
    };
    Box::new(SlidingSlots {
        slots,
        frames: Vec::new(),
    })
}

impl SlidingSlots {
    fn make_frames(&mut self, keys: u32) {
        if self.frames.len() < keys as usize {
            self.frames.resize_with(keys as usize, Stacks::default);
        }
    }
}

impl SlidingState for SlidingSlots {
    fn slide(&mut self, rows: Rows<'_>, stretches: &[Stretch], moves: &Moves) -> Result<ArrayRef> {
        let count = moves.lengths.len();
        self.make_frames(stretches.last().map_or(0, |stretch| stretch.key + 1));
        let own: Vec<u32> = (0..count).map(|_| self.slots.allocate()).collect();
        (self.slots.state).update(Rows {
            slots: &own,
            ..rows
        })?;
        // Slots of whole frames, and those of the rows.
        let (mut made, mut totals) = (Vec::new(), Vec::with_capacity(count));
        for stretch in stretches {
            let frame = &mut self.frames[stretch.key as usize];
            let mut peers = 0;
            for row in stretch.rows.clone() {
                let rows = frame.front.len() + frame.back.len();
                for _ in 0..rows + 1 - moves.lengths[row] as usize {
                    self.slots.leave(frame)?;
                }
                self.slots.push(frame, own[row])?;
                peers += 1;
                if !moves.has_peer[row] {
                    let total = self.slots.total(frame)?;
                    made.push(total);
                    totals.extend(std::iter::repeat_n(total, peers));
                    peers = 0;
                }
            }
        }
        let values = self.slots.state.evaluate(&totals)?;
        self.slots.release(&made);
        check_bytes(self.state_bytes())?;
        Ok(values)
    }

    fn step_rows(&self) -> usize {
        STEP_ROWS
    }

    fn clear(&mut self, key: u32) {
        if let Some(frame) = self.frames.get_mut(key as usize) {
            let frame = std::mem::take(frame);
            self.slots.release(&frame.front);
            self.slots.release(&frame.back);
            self.slots.release(frame.sum.as_slice());
        }
    }

    fn save(&mut self, keys: &[u32]) -> Result<SavedFrames> {
        let mut saved = SavedFrames::default();
        let mut slots = Vec::new();
        self.make_frames(keys.iter().max().map_or(0, |key| key + 1));
        for key in keys {
            let frame = &self.frames[*key as usize];
            saved.fronts.push(frame.front.len() as u32);
            saved.backs.push(frame.back.len() as u32);
            slots.extend_from_slice(&frame.front);
            slots.extend_from_slice(&frame.back);
        }
        saved.columns = self.slots.state.save(&slots)?;
        Ok(saved)
    }

    fn load(&mut self, keys: &[u32], saved: &SavedFrames) -> Result<()> {
        if saved.fronts.len() != keys.len() || saved.backs.len() != keys.len() {
            return Err(Error::Snapshot("its frames are damaged".into()));
        }
        let lengths = || saved.fronts.iter().chain(&saved.backs);
        let records: usize = lengths().map(|length| *length as usize).sum();
        let slots: Vec<u32> = (0..records).map(|_| self.slots.allocate()).collect();
        self.slots.state.load(&slots, &saved.columns)?;
        self.make_frames(keys.iter().max().map_or(0, |key| key + 1));
        let mut slots = slots.into_iter();
        for (key, (front, back)) in keys.iter().zip(saved.fronts.iter().zip(&saved.backs)) {
            let frame = &mut self.frames[*key as usize];
            frame.front = slots.by_ref().take(*front as usize).collect();
            for row in slots.by_ref().take(*back as usize) {
                self.slots.push(frame, row)?;
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let slots = self.slots.bound as usize + self.slots.free.capacity();
        self.slots.state.state_bytes()
            + slots * size_of::<u32>()
            + self.frames.capacity() * size_of::<Stacks>()
    }
}
