//! Few values in order of size, side by side.
//!
//! That a value comes and another goes is one pass over all of them, from one array to
//! another. With the one that goes left out, each place has the middle of three: what was
//! below it, what was there, and the one that comes.
//!
//! ```text
//!  5 comes, 2 goes     −1  2  3  7  9     without 2: −1  3  7  9     −1  3  5  7  9
//! ```

use super::FREE;
use crate::kernel::lanes::{Backend, LANES};

/// So many values are few.
pub(super) const FEW_MAX: usize = 128;

/// One less than all values before them, one more than all after.
type Padded = [i64; FEW_MAX + 2];

/// Values while a frame moves over some rows.
pub(super) struct Few {
    arrays: [Padded; 2],
    /// Which of them holds the values.
    current: usize,
    len: usize,
    /// Places that have held a value.
    room: usize,
}

impl Few {
    /// Values in their order, at most [`FEW_MAX`].
    #[inline(always)]
    pub(super) fn new(values: &[i64]) -> Self {
        let mut array = [FREE; FEW_MAX + 2];
        array[0] = i64::MIN;
        let mut arrays = [array; 2];
        arrays[0][1..=values.len()].copy_from_slice(values);
        Self {
            arrays,
            current: 0,
            len: values.len(),
            room: values.len().next_multiple_of(LANES),
        }
    }

    #[inline(always)]
    pub(super) fn values(&self) -> &[i64] {
        &self.arrays[self.current][1..=self.len]
    }

    /// Takes a value out and puts another in; [`FREE`] is none.
    ///
    /// - `leaving`: one that is there.
    /// - `coming`: there is room for it.
    #[inline(always)]
    pub(super) fn replace<B: Backend>(&mut self, leaving: i64, coming: i64) {
        let until = self.len + usize::from(coming != FREE);
        self.len = until - usize::from(leaving != FREE);
        if B::COMPARES_I64 {
            self.room = (self.room).max(self.len.next_multiple_of(LANES));
            let [one, other] = &mut self.arrays;
            let (from, to) = match self.current {
                0 => (one, other),
                _ => (other, one),
            };
            pass(from, &mut to[1..=self.room], leaving, coming);
            self.current = 1 - self.current;
        } else {
            search(&mut self.arrays[0][1..=until], leaving, coming);
        }
    }
}

#[inline(always)]
fn pass(from: &Padded, to: &mut [i64], leaving: i64, coming: i64) {
    let room = to.len();
    let (below, own, above) = (&from[..room], &from[1..=room], &from[2..room + 2]);
    for place in 0..room {
        let (below, own, above) = (below[place], own[place], above[place]);
        // With the first value that is not below `leaving` left out.
        let value = if own < leaving { own } else { above };
        let before = if below < leaving { below } else { own };
        to[place] = before.max(value.min(coming));
    }
}

/// The same where vectors compare no integers. The last place is free, if a value comes.
#[inline(always)]
fn search(values: &mut [i64], leaving: i64, coming: i64) {
    let out = match leaving {
        FREE => values.len() - usize::from(coming != FREE),
        _ => values.partition_point(|value| *value < leaving),
    };
    let at = values.partition_point(|value| *value < coming);
    if out < at {
        values.copy_within(out + 1..at, out);
        values[at - 1] = coming;
    } else if out < values.len() {
        values.copy_within(at..out, at + 1);
        values[at] = coming;
    }
}
