//! Frames that slide from row to row: which rows are in each.

use std::collections::VecDeque;

use crate::aggregate::slide::{Move, Stretch, by_shards};
use crate::error::{Error, Result};

/// Stands for the time of a row that has none: it comes after all others.
pub(crate) const UNTIMED: i64 = i64::MAX;

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

    /// How the frames of rows follow from those before. `times`: `[rows]`, rising within
    /// each stretch.
    pub(crate) fn moves(&mut self, times: &[i64], stretches: &[Stretch]) -> Vec<Move> {
        let mut moves = vec![Move::default(); times.len()];
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
                let preceding = *preceding;
                let work = |stretch: &Stretch, frame: &mut VecDeque<i64>, moves: &mut [Move]| {
                    let times = &times[stretch.rows.clone()];
                    let before = frame.len();
                    for (row, (&time, step)) in times.iter().zip(moves).enumerate() {
                        let from = match time {
                            UNTIMED => UNTIMED,
                            time => time.saturating_sub(preceding),
                        };
                        while frame.front().is_some_and(|time| *time < from) {
                            frame.pop_front();
                            step.leaving += 1;
                        }
                        frame.push_back(time);
                        step.has_peer = times.get(row + 1) == Some(&time);
                    }
                    // Room for rows of a burst is not kept.
                    if frame.capacity() > 4 * (frame.len() + 16) {
                        frame.shrink_to(2 * frame.len());
                    }
                    frame.len() as isize - before as isize
                };
                let more = by_shards(stretches, frames, &mut moves, &work);
                *held = held.strict_add_signed(more);
            }
            Self::Rows { preceding, counts } => {
                if counts.len() < keys {
                    counts.resize(keys, 0);
                }
                for stretch in stretches {
                    let count = &mut counts[stretch.key as usize];
                    for step in &mut moves[stretch.rows.clone()] {
                        if *count > *preceding {
                            step.leaving = 1;
                        } else {
                            *count += 1;
                        }
                    }
                }
            }
        }
        moves
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
