//! What aggregates over frames that slide from row to row are asked.

use std::fmt::Debug;
use std::ops::Range;

use arrow::array::ArrayRef;

use super::Rows;
use crate::error::Result;

/// Rows of one key that stand next to each other, and their frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The key.
    pub key: u32,
    /// The rows.
    pub rows: Range<usize>,
}

/// How the frames of rows follow from those before.
#[derive(Debug, Default)]
pub struct Moves {
    /// `[rows]`: how many rows leave the key's frame before the row comes in.
    pub leaving: Vec<u32>,
    /// `[rows]`: whether its frame is that of the row after it, which is its peer.
    pub peers: Vec<bool>,
}

/// The frames of one aggregate call, one for each key.
pub trait SlidingState: Send + Debug {
    /// Moves frames over rows, which stand in order of keys and, for each key, of frames;
    /// the values, `[rows]`.
    ///
    /// # Errors
    /// On data that the aggregate refuses.
    ///
    /// # Panics
    /// If more rows leave a frame than it holds, or lengths disagree.
    fn slide(&mut self, rows: Rows<'_>, stretches: &[Stretch], moves: &Moves) -> Result<ArrayRef>;

    /// Empties the frame of a key.
    fn clear(&mut self, key: u32);

    /// The frames of keys: columns of records, and for each key how many of them are its
    /// front and its back.
    ///
    /// # Errors
    /// If a state cannot be expressed as columns.
    fn save(&mut self, keys: &[u32]) -> Result<SavedFrames>;

    /// Takes over saved frames.
    ///
    /// # Errors
    /// If they are not those of [`SlidingState::save`].
    fn load(&mut self, keys: &[u32], saved: &SavedFrames) -> Result<()>;

    /// How many bytes the frames hold.
    fn state_bytes(&self) -> usize;
}

/// Frames as columns.
#[derive(Debug, Default)]
pub struct SavedFrames {
    /// Records, key after key: the front as it is stacked, then the back.
    pub columns: Vec<ArrayRef>,
    /// `[keys]`.
    pub fronts: Vec<u32>,
    /// `[keys]`.
    pub backs: Vec<u32>,
}
