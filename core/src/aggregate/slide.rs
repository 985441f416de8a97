//! What aggregates over frames that slide from row to row are asked.

use std::fmt::Debug;
use std::ops::Range;

use arrow::array::ArrayRef;

use super::Rows;
use crate::error::Result;

/// So many rows are worth a thread of their own.
pub(crate) const SHARD_ROWS: usize = 8_192;

/// Rows of one key that stand next to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The key.
    pub key: u32,
    /// The rows.
    pub rows: Range<usize>,
}

/// How the frames of rows lie.
#[derive(Debug, Default)]
pub struct Moves {
    /// `[rows]`: how many rows of its key are in the frame of a row, from the first to
    /// the row itself; at least 1.
    pub lengths: Vec<u32>,
    /// `[rows]`: whether the frame of a row is that of the row after it, its peer.
    pub has_peer: Vec<bool>,
}

/// The frames of one aggregate call, one for each key.
pub trait SlidingState: Send + Debug {
    /// Moves frames over rows, which stand in rising order of keys and, for each key, of
    /// frames; the values, `[rows]`.
    ///
    /// # Errors
    /// On data that the aggregate refuses.
    ///
    /// # Panics
    /// If more rows leave a frame than it holds, or lengths disagree.
    fn slide(&mut self, rows: Rows<'_>, stretches: &[Stretch], moves: &Moves) -> Result<ArrayRef>;

    /// How many rows it slides over within some milliseconds: between two steps of so
    /// many, a query can be stopped.
    fn step_rows(&self) -> usize;

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

/// Something for each key from `first` on.
#[derive(Debug)]
struct OfKeys<'a, S> {
    first: u32,
    slots: &'a mut [S],
}

impl<S> OfKeys<'_, S> {
    #[inline(always)]
    fn get(&mut self, key: u32) -> &mut S {
        &mut self.slots[(key - self.first) as usize]
    }
}

/// Something for each row, which can be cut between two.
pub(crate) trait OfRows: Send {
    /// What belongs to the first `rows` rows, and the rest.
    fn cut(self, rows: usize) -> (Self, Self)
    where
        Self: Sized;
}

impl<T: Send> OfRows for &mut [T] {
    #[inline(always)]
    fn cut(self, rows: usize) -> (Self, Self) {
        self.split_at_mut(rows)
    }
}

impl<A: OfRows, B: OfRows> OfRows for (A, B) {
    #[inline(always)]
    fn cut(self, rows: usize) -> (Self, Self) {
        let (a, b) = (self.0.cut(rows), self.1.cut(rows));
        ((a.0, b.0), (a.1, b.1))
    }
}

/// Does some work for each stretch, by as many threads as are worth it; the sum of what it
/// gives. `keys`: by key, `rows`: by row.
///
/// # Panics
/// If keys or rows of the stretches do not rise, or are not there.
pub(crate) fn by_shards<S: Send, R: OfRows>(
    stretches: &[Stretch],
    keys: &mut [S],
    rows: R,
    work: &(impl Fn(&Stretch, &mut S, R) -> isize + Sync),
) -> isize {
    let keys = OfKeys {
        first: 0,
        slots: keys,
    };
    shard(stretches, keys, rows, work)
}

fn shard<S: Send, R: OfRows>(
    stretches: &[Stretch],
    mut keys: OfKeys<'_, S>,
    mut rows: R,
    work: &(impl Fn(&Stretch, &mut S, R) -> isize + Sync),
) -> isize {
    let (Some(first), Some(last)) = (stretches.first(), stretches.last()) else {
        return 0;
    };
    let (start, count) = (first.rows.start, last.rows.end - first.rows.start);
    if count < 2 * SHARD_ROWS || stretches.len() < 2 {
        let mut sum = 0;
        for stretch in stretches {
            let (slots, rest) = rows.cut(stretch.rows.len());
            rows = rest;
            sum += work(stretch, keys.get(stretch.key), slots);
        }
        return sum;
    }
    let half = start + count / 2;
    let middle = stretches.partition_point(|stretch| stretch.rows.end <= half);
    let middle = middle.clamp(1, stretches.len() - 1);
    let (left, right) = stretches.split_at(middle);
    let (key, row) = (right[0].key, right[0].rows.start);
    let (left_keys, right_keys) = keys.slots.split_at_mut((key - keys.first) as usize);
    let (left_rows, right_rows) = rows.cut(row - start);
    let left_keys = OfKeys {
        first: keys.first,
        slots: left_keys,
    };
    let right_keys = OfKeys {
        first: key,
        slots: right_keys,
    };
    let (left, right) = rayon::join(
        || shard(left, left_keys, left_rows, work),
        || shard(right, right_keys, right_rows, work),
    );
    left + right
}
