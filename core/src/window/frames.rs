//! Frames that slide from row to row: which rows are in each.

use std::collections::VecDeque;

use rayon::prelude::*;

use crate::aggregate::slide::{Moves, SHARD_ROWS, Stretch, by_shards};
use crate::error::{Error, Result};
use crate::kernel;

/// Stands for the time of a row that has none: it comes after all others.
pub(crate) const UNTIMED: i64 = i64::MAX;

/// So many rows fit into one frame.
const ROWS_MAX: u64 = u32::MAX as u64;

/// The frame of a row: it and rows before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverFrame {
    /// `RANGE BETWEEN … PRECEDING AND CURRENT ROW`: the rows of the key from so many ticks
    /// before its time to its time; its peers, which have its time, are among them.
    Range {
        /// Ticks of the time column; not negative.
        preceding: i64,
    },
    /// `ROWS BETWEEN … PRECEDING AND CURRENT ROW`: so many rows of the key before it, and
    /// itself.
    Rows {
        /// Rows.
        preceding: u64,
    },
}

/// How many rows are in the frame of each key's last row, and their times.
#[derive(Debug)]
pub(crate) enum Frames {
    Range {
        preceding: i64,
        /// By key.
        times: Vec<VecDeque<i64>>,
        /// Times in all frames.
        held: usize,
    },
    Rows {
        preceding: u64,
        /// By key.
        counts: Vec<u64>,
    },
}

impl Frames {
    pub(crate) fn new(frame: OverFrame) -> Self {
        match frame {
            OverFrame::Range { preceding } => Self::Range {
                preceding,
                times: Vec::new(),
                held: 0,
            },
            OverFrame::Rows { preceding } => Self::Rows {
                preceding,
                counts: Vec::new(),
            },
        }
    }

    pub(crate) fn kind(&self) -> OverFrame {
        match *self {
            Self::Range { preceding, .. } => OverFrame::Range { preceding },
            Self::Rows { preceding, .. } => OverFrame::Rows { preceding },
        }
    }

    /// After how many ticks a row is in no frame any more, if time alone tells.
    pub(crate) fn reach(&self) -> Option<i64> {
        match *self {
            Self::Range { preceding, .. } => Some(preceding),
            Self::Rows { .. } => None,
        }
    }

    /// How many rows are in the frame of a key.
    fn rows(&self, key: u32) -> u64 {
        match self {
            Self::Range { times, .. } => {
                (times.get(key as usize)).map_or(0, |frame| frame.len() as u64)
            }
            Self::Rows { counts, .. } => counts.get(key as usize).copied().unwrap_or(0),
        }
    }

    /// Says which rows are in the frames of rows. `times`: `[rows]`, rising within each
    /// stretch; `moves`: what was in it is overwritten.
    ///
    /// # Errors
    /// If there are too many in one.
    pub(crate) fn moves(
        &mut self,
        times: &[i64],
        stretches: &[Stretch],
        moves: &mut Moves,
    ) -> Result<()> {
        for stretch in stretches {
            if self.rows(stretch.key) + stretch.rows.len() as u64 > ROWS_MAX {
                return Err(Error::Bound {
                    what: "the rows of a frame of an OVER window".into(),
                    limit: ROWS_MAX.to_string(),
                    remedy: "shorten the frame, or partition by more columns",
                });
            }
        }
        moves.lengths.resize(times.len(), 0);
        moves.has_peer.resize(times.len(), false);
        let keys = (stretches.last()).map_or(0, |stretch| stretch.key as usize + 1);
        match self {
            Self::Range {
                preceding,
                times: frames,
                held,
            } => {
                if frames.len() < keys {
                    frames.resize_with(keys, VecDeque::new);
                }
                let width = preceding.unsigned_abs();
                let work =
                    |stretch: &Stretch,
                     frame: &mut VecDeque<i64>,
                     (lengths, has_peer): (&mut [u32], &mut [bool])| {
                        let times = &times[stretch.rows.clone()];
                        let before = frame.len();
                        starts(frame, times, width, lengths);
                        let last = lengths[lengths.len() - 1];
                        for (row, start) in lengths.iter_mut().enumerate() {
                            *start = (before + row + 1) as u32 - *start;
                        }
                        for (has_peer, pair) in has_peer.iter_mut().zip(times.windows(2)) {
                            *has_peer = pair[0] == pair[1];
                        }
                        // No peer of it comes later: rows of one time come at once.
                        has_peer[times.len() - 1] = false;
                        advance(frame, times, last as usize);
                        frame.len() as isize - before as isize
                    };
                let rows = (&mut moves.lengths[..], &mut moves.has_peer[..]);
                let more = by_shards(stretches, frames, rows, &work);
                *held = held.strict_add_signed(more);
            }
            Self::Rows { preceding, counts } => {
                if counts.len() < keys {
                    counts.resize(keys, 0);
                }
                let most = preceding.saturating_add(1);
                moves.has_peer.fill(false);
                for stretch in stretches {
                    let count = &mut counts[stretch.key as usize];
                    for length in &mut moves.lengths[stretch.rows.clone()] {
                        *count = most.min(*count + 1);
                        *length = *count as u32;
                    }
                }
            }
        }
        Ok(())
    }

    /// Empties the frame of a key.
    pub(crate) fn clear(&mut self, key: u32) {
        match self {
            Self::Range { times, held, .. } => {
                if let Some(frame) = times.get_mut(key as usize) {
                    *held -= frame.len();
                    *frame = VecDeque::new();
                }
            }
            Self::Rows { counts, .. } => {
                if let Some(count) = counts.get_mut(key as usize) {
                    *count = 0;
                }
            }
        }
    }

    /// How many rows are in the frames of keys, and their times if they matter.
    pub(crate) fn save(&self, keys: &[u32]) -> (Vec<u64>, Vec<i64>) {
        match self {
            Self::Range { times, .. } => {
                let frames = || keys.iter().map(|key| times.get(*key as usize));
                let counts = frames().map(|frame| frame.map_or(0, VecDeque::len) as u64);
                (
                    counts.collect(),
                    frames().flatten().flatten().copied().collect(),
                )
            }
            Self::Rows { counts, .. } => {
                let count = |key: &u32| counts.get(*key as usize).copied().unwrap_or(0);
                (keys.iter().map(count).collect(), Vec::new())
            }
        }
    }

    /// Takes over what [`Frames::save`] gave.
    pub(crate) fn load(&mut self, keys: &[u32], saved: &[u64], times: &[i64]) -> Result<()> {
        let bound = keys.iter().max().map_or(0, |key| *key as usize + 1);
        match self {
            Self::Range {
                times: frames,
                held,
                ..
            } => {
                if saved.iter().sum::<u64>() != times.len() as u64 || saved.len() != keys.len() {
                    return Err(Error::Snapshot("its frames are damaged".into()));
                }
                frames.resize_with(bound, VecDeque::new);
                let mut times = times.iter().copied();
                for (key, count) in keys.iter().zip(saved) {
                    frames[*key as usize] = times.by_ref().take(*count as usize).collect();
                    *held += *count as usize;
                }
            }
            Self::Rows { counts, .. } => {
                counts.resize(bound, 0);
                for (key, count) in keys.iter().zip(saved) {
                    counts[*key as usize] = *count;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            // About: queues keep room for times to come.
            Self::Range { times, held, .. } => {
                2 * held * size_of::<i64>() + times.capacity() * size_of::<VecDeque<i64>>()
            }
            Self::Rows { counts, .. } => counts.capacity() * size_of::<u64>(),
        }
    }
}

/// How many of the rows of a frame, and then of `times`, are before the frame of each of
/// `times`.
fn starts(frame: &VecDeque<i64>, times: &[i64], width: u64, starts: &mut [u32]) {
    // Rows without a time have each other in their frames, and no others.
    let timed = times.partition_point(|time| *time < UNTIMED);
    let (starts, untimed) = starts.split_at_mut(timed);
    if !untimed.is_empty() {
        let before = frame.partition_point(|time| *time < UNTIMED);
        untimed.fill((before + timed) as u32);
    }
    let times = &times[..timed];
    let work = |(times_of, starts): (&[i64], &mut [u32])| {
        let (head, tail) = frame.as_slices();
        kernel::range_starts(head, times_of, width, starts);
        let mut before = head.len();
        for older in [tail, times] {
            // Where all of those before have left.
            let first = starts.partition_point(|start| (*start as usize) < before);
            before += older.len();
            let (times_of, starts) = (&times_of[first..], &mut starts[first..]);
            if starts.is_empty() || older.is_empty() {
                continue;
            }
            kernel::range_starts(older, times_of, width, starts);
            let left = before - older.len();
            starts.iter_mut().for_each(|start| *start += left as u32);
        }
    };
    if timed < 2 * SHARD_ROWS {
        work((times, starts));
    } else {
        (times
            .par_chunks(SHARD_ROWS)
            .zip(starts.par_chunks_mut(SHARD_ROWS)))
        .for_each(work);
    }
}

/// Takes the first rows out of a frame and new ones in.
fn advance(frame: &mut VecDeque<i64>, times: &[i64], leaving: usize) {
    let old = leaving.min(frame.len());
    frame.drain(..old);
    let times = &times[leaving - old..];
    let (len, room) = (frame.len() + times.len(), frame.capacity());
    if len > room {
        frame.reserve_exact(times.len() + len / 4);
    } else if room > 4 * (len + 16) {
        // Room for rows of a burst is not kept.
        frame.shrink_to(2 * len);
    }
    frame.extend(times);
}
