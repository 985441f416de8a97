//! What aggregates over frames that slide from row to row are asked.

use std::fmt::Debug;
use std::ops::Range;

use arrow::array::ArrayRef;

use super::Rows;
use crate::error::Result;

/// So many rows are worth a thread of their own.
const SHARD_ROWS: usize = 8_192;

/// Rows of one key that stand next to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The key.
    pub key: u32,
    /// The rows.
    pub rows: Range<usize>,
}

/// How a row's frame follows from that of the key's row before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Move {
    /// How many rows leave before the row comes in.
    pub leaving: u32,
    /// Whether the frame is that of the row after it, which is its peer.
    pub has_peer: bool,
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
    fn slide(&mut self, rows: Rows<'_>, stretches: &[Stretch], moves: &[Move]) -> Result<ArrayRef>;

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

/// Something for each row from `first` on.
#[derive(Debug)]
struct OfRows<'a, T> {
    first: usize,
    slots: &'a mut [T],
}

impl<T> OfRows<'_, T> {
    #[inline(always)]
    fn range(&mut self, rows: Range<usize>) -> &mut [T] {
        &mut self.slots[rows.start - self.first..rows.end - self.first]
    }
}

/// Does some work for each stretch, by as many threads as are worth it; the sum of what it
/// gives. `keys`: by key, `rows`: by row.
///
/// # Panics
/// If keys or rows of the stretches do not rise, or are not there.
pub(crate) fn by_shards<S: Send, T: Send>(
    stretches: &[Stretch],
    keys: &mut [S],
    rows: &mut [T],
    work: &(impl Fn(&Stretch, &mut S, &mut [T]) -> isize + Sync),
) -> isize {
    let first = stretches.first().map_or(0, |stretch| stretch.rows.start);
    debug_assert_eq!(first, 0, "the rows are all those of the stretches");
    shard(
        stretches,
        OfKeys {
            first: 0,
            slots: keys,
        },
        OfRows {
            first: 0,
            slots: rows,
        },
        work,
    )
}

fn shard<S: Send, T: Send>(
    stretches: &[Stretch],
    mut keys: OfKeys<'_, S>,
    mut rows: OfRows<'_, T>,
    work: &(impl Fn(&Stretch, &mut S, &mut [T]) -> isize + Sync),
) -> isize {
    if rows.slots.len() < 2 * SHARD_ROWS || stretches.len() < 2 {
        let each = stretches.iter().map(|stretch| {
            let slots = rows.range(stretch.rows.clone());
            work(stretch, keys.get(stretch.key), slots)
        });
        return each.sum();
    }
    let half = rows.first + rows.slots.len() / 2;
    let middle = stretches.partition_point(|stretch| stretch.rows.end <= half);
    let middle = middle.clamp(1, stretches.len() - 1);
    let (left, right) = stretches.split_at(middle);
    let (key, row) = (right[0].key, right[0].rows.start);
    let (left_keys, right_keys) = keys.slots.split_at_mut((key - keys.first) as usize);
    let (left_rows, right_rows) = rows.slots.split_at_mut(row - rows.first);
    let left_keys = OfKeys {
        first: keys.first,
        slots: left_keys,
    };
    let left_rows = OfRows {
        first: rows.first,
        slots: left_rows,
    };
    let right_keys = OfKeys {
        first: key,
        slots: right_keys,
    };
    let right_rows = OfRows {
        first: row,
        slots: right_rows,
    };
    let (left, right) = rayon::join(
        || shard(left, left_keys, left_rows, work),
        || shard(right, right_keys, right_rows, work),
    );
    left + right
}
