//! Rows that wait: for their turn in event time, or for their window to close.
//!
//! The batches stay as they came and rows are named by their place in them. A batch of
//! which few rows are left is copied down to these, and is let go with its last row: so
//! memory follows the rows that wait, not those that came with them. Rows that only wait for their turn stand in a heap by
//! (event time, arrival).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::batch::{bytes_of, compacted};
use crate::error::{Error, Result};
use crate::time::ticks;

/// How many rows an operator holds at most that wait for their turn in event time or
/// for their window to close (COUNT_WINDOW, and SESSION without aggregation).
pub const COUNT_WINDOW_ROWS_MAX: usize = 50_000_000;

/// How many bytes such rows may take in one operator.
pub const COUNT_WINDOW_BYTES_MAX: usize = 8 << 30;

/// A batch is copied down once its rows are more than so many times those that are left.
const COMPACT_FACTOR: usize = 4;

/// Batches of so few rows stay as they are.
const COMPACT_ROWS_MIN: usize = 8;

/// The place of a held row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    batch: u32,
    row: u32,
}

/// A held row's event time, its ordinal in the order of arrival, and its place.
pub(crate) type Held = (i64, u64, Place);

/// Rows by place.
#[derive(Debug)]
pub(crate) struct HeldRows {
    schema: SchemaRef,
    time: usize,
    batches: Vec<Option<HeldBatch>>,
    free: Vec<u32>,
    live: usize,
    bytes: usize,
    ordinal: u64,
}

/// A batch of which some rows are held.
#[derive(Debug)]
struct HeldBatch {
    records: RecordBatch,
    bytes: usize,
    /// How many rows are held.
    live: usize,
    /// `[rows of records]`: which are held.
    is_live: Vec<bool>,
    /// `[rows of records]`, rising: their places in the batch as it came, once it was
    /// copied down.
    places: Option<Vec<u32>>,
}

impl HeldBatch {
    /// Where a row is now that came as the batch's `row`.
    fn find(&self, row: u32) -> usize {
        match &self.places {
            None => row as usize,
            Some(places) => (places.binary_search(&row)).expect("a held row has its batch"),
        }
    }

    /// Copies it down to the rows that are held.
    fn compact(&mut self) -> Result<()> {
        let rows: Vec<u32> = (0..self.is_live.len() as u32)
            .filter(|&row| self.is_live[row as usize])
            .collect();
        let places = match &self.places {
            None => rows.clone(),
            Some(places) => rows.iter().map(|&row| places[row as usize]).collect(),
        };
        self.records = take_record_batch(&self.records, &UInt32Array::from(rows))?;
        self.is_live = vec![true; places.len()];
        self.places = Some(places);
        self.measure();
        Ok(())
    }

    fn measure(&mut self) {
        let places = self.places.as_ref().map_or(0, Vec::len);
        self.bytes = bytes_of(&self.records) + self.is_live.len() + places * size_of::<u32>();
    }
}

impl HeldRows {
    pub(crate) fn new(schema: SchemaRef, time: usize) -> Self {
        Self {
            schema,
            time,
            batches: Vec::new(),
            free: Vec::new(),
            live: 0,
            bytes: 0,
            ordinal: 0,
        }
    }

    /// Takes rows, in order of arrival, and tells each.
    ///
    /// # Errors
    /// When there are too many rows.
    pub(crate) fn hold(&mut self, records: RecordBatch, mut tell: impl FnMut(Held)) -> Result<()> {
        let rows = records.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if self.live + rows > COUNT_WINDOW_ROWS_MAX {
            return Err(Error::invalid(format!(
                "more than {COUNT_WINDOW_ROWS_MAX} rows wait for their window; shorten the \
                 window, or let the watermark follow the event time more closely"
            )));
        }
        if self.bytes > COUNT_WINDOW_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the rows that wait for their window take more than {} GiB; shorten the \
                 window, select fewer columns, or let the watermark follow the event time more \
                 closely",
                COUNT_WINDOW_BYTES_MAX >> 30
            )));
        }
        let batch = self.free.pop().unwrap_or_else(|| {
            self.batches.push(None);
            (self.batches.len() - 1) as u32
        });
        let (times, _) = ticks(records.column(self.time))?;
        for (row, &time) in times.iter().enumerate() {
            let row = row as u32;
            tell((time, self.ordinal, Place { batch, row }));
            self.ordinal += 1;
        }
        self.live += rows;
        let mut held = HeldBatch {
            records: compacted(records)?,
            bytes: 0,
            live: rows,
            is_live: vec![true; rows],
            places: None,
        };
        held.measure();
        self.bytes += held.bytes;
        self.batches[batch as usize] = Some(held);
        Ok(())
    }

    /// Lets rows go.
    pub(crate) fn release(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            let slot = &mut self.batches[place.batch as usize];
            let held = slot.as_mut().expect("a held row has its batch");
            let row = held.find(place.row);
            held.is_live[row] = false;
            held.live -= 1;
            self.live -= 1;
            if held.live == 0 {
                self.bytes -= held.bytes;
                *slot = None;
                self.free.push(place.batch);
            } else if held.is_live.len() > COMPACT_ROWS_MIN.max(COMPACT_FACTOR * held.live) {
                let before = held.bytes;
                // A batch that cannot be copied stays whole.
                if held.compact().is_ok() {
                    self.bytes = self.bytes - before + held.bytes;
                }
            }
        }
    }

    /// How many rows were ever held: the next one's place in the order of arrival.
    pub(crate) fn arrived(&self) -> u64 {
        self.ordinal
    }

    /// Takes over how many rows were ever held.
    pub(crate) fn restore_arrived(&mut self, arrived: u64) {
        self.ordinal = self.ordinal.max(arrived);
    }

    /// Copies of rows.
    pub(crate) fn gather(&self, places: impl IntoIterator<Item = Place>) -> Result<RecordBatch> {
        let places: Vec<Place> = places.into_iter().collect();
        if let Some(rows) = self.neighbours(&places) {
            return Ok(rows);
        }
        let mut numbers = vec![usize::MAX; self.batches.len()];
        let (mut batches, mut indices) = (Vec::new(), Vec::new());
        for place in places {
            let held = self.batches[place.batch as usize].as_ref();
            let held = held.expect("a held row has its batch");
            let number = &mut numbers[place.batch as usize];
            if *number == usize::MAX {
                *number = batches.len();
                batches.push(&held.records);
            }
            indices.push((*number, held.find(place.row)));
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        Ok(interleave_record_batch(&batches, &indices)?)
    }

    /// Rows that stand next to each other in one batch: they need not be copied.
    fn neighbours(&self, places: &[Place]) -> Option<RecordBatch> {
        let first = places.first()?;
        let is_next = |(place, number): (&Place, u32)| {
            place.batch == first.batch && place.row == first.row + number
        };
        let held = self.batches[first.batch as usize].as_ref();
        let held = held.expect("a held row has its batch");
        (held.places.is_none() && places.iter().zip(0..).all(is_next))
            .then(|| held.records.slice(first.row as usize, places.len()))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// From so many rows on that are all due, they are sorted at once.
const SORT_ROWS_MIN: usize = 256;

/// Rows that wait for their turn: those that came in order, and a heap of the others.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    in_order: VecDeque<Held>,
    heap: BinaryHeap<Reverse<Held>>,
}

impl Waiting {
    pub(crate) fn push(&mut self, row: Held) {
        match self.in_order.back() {
            Some(last) if *last > row => self.heap.push(Reverse(row)),
            _ => self.in_order.push_back(row),
        }
    }

    /// The rows before a time (all, if it is `None`), at most `count`, in event-time
    /// order, ties in order of arrival.
    pub(crate) fn due(&mut self, before: Option<i64>, count: usize) -> Vec<Held> {
        if before.is_none() && self.heap.len() >= SORT_ROWS_MIN {
            self.in_order = self.sorted().into();
            self.heap.clear();
        }
        let is_due = |row: &Held| before.is_none_or(|before| row.0 < before);
        let mut rows = Vec::new();
        while rows.len() < count {
            let first = self.in_order.front().filter(|row| is_due(row));
            let other = (self.heap.peek())
                .map(|row| &row.0)
                .filter(|row| is_due(row));
            match (first, other) {
                (Some(first), Some(other)) if other < first => {
                    rows.push(*other);
                    self.heap.pop();
                }
                (Some(first), _) => {
                    rows.push(*first);
                    self.in_order.pop_front();
                }
                (None, Some(other)) => {
                    rows.push(*other);
                    self.heap.pop();
                }
                (None, None) => break,
            }
        }
        rows
    }

    /// All rows in their order, for a snapshot.
    pub(crate) fn sorted(&self) -> Vec<Held> {
        let others = self.heap.iter().map(|row| row.0);
        let mut rows: Vec<Held> = self.in_order.iter().copied().chain(others).collect();
        rows.sort_unstable();
        rows
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.in_order.capacity() + self.heap.capacity()) * size_of::<Held>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, TimestampSecondArray};
    use std::sync::Arc;

    fn batch(times: &[i64]) -> RecordBatch {
        let column: ArrayRef = Arc::new(TimestampSecondArray::from(times.to_vec()));
        RecordBatch::try_from_iter([("ts", column)]).expect("one column")
    }

    #[test]
    fn rows_come_in_order_of_time_then_arrival_and_leave_nothing() {
        let mut held = HeldRows::new(batch(&[]).schema(), 0);
        let mut waiting = Waiting::default();
        for times in [&[5, 3, 9][..], &[], &[3, 1]] {
            let tell = |row| waiting.push(row);
            held.hold(batch(times), tell).expect("there is room");
        }
        let due = waiting.due(Some(9), 10);
        let order: Vec<_> = due.iter().map(|row| (row.0, row.1)).collect();
        assert_eq!(order, [(1, 4), (3, 1), (3, 3), (5, 0)]);
        let rows = held.gather(due.iter().map(|row| row.2)).expect("held");
        assert_eq!(rows, batch(&[1, 3, 3, 5]));
        held.release(due.iter().map(|row| row.2));
        let last = waiting.due(None, 10);
        held.release(last.iter().map(|row| row.2));
        assert_eq!((held.live, held.bytes), (0, 0));
    }

    #[test]
    fn few_rows_of_large_batches_take_little_memory_and_keep_their_places() {
        let mut held = HeldRows::new(batch(&[]).schema(), 0);
        let mut kept = Vec::new();
        for first in 0..100 {
            let mut all = Vec::new();
            let times: Vec<i64> = (first * 1_000..(first + 1) * 1_000).collect();
            held.hold(batch(&times), |row| all.push(row))
                .expect("there is room");
            kept.push(all.remove(777));
            held.release(all.iter().map(|row| row.2));
        }
        assert_eq!(held.live, 100);
        // 1,000 rows of 8 bytes would be 8,000 bytes for each.
        assert!(held.bytes() < 100 * 200, "{} bytes", held.bytes());
        let rows = held.gather(kept.iter().map(|row| row.2)).expect("held");
        let expected: Vec<i64> = (0..100).map(|first| first * 1_000 + 777).collect();
        assert_eq!(rows, batch(&expected));
        held.release(kept.iter().map(|row| row.2));
        assert_eq!((held.live, held.bytes), (0, 0));
    }

    #[test]
    fn rows_that_came_in_any_order_leave_in_theirs() {
        let place = |row| Place { batch: 0, row };
        let mut rows: Vec<Held> = (0..2_000_u32)
            .map(|row| (i64::from(row * 7_919 % 500), u64::from(row), place(row)))
            .collect();
        let mut waiting = Waiting::default();
        rows.iter().for_each(|row| waiting.push(*row));
        rows.sort_unstable();
        let early = rows.partition_point(|row| row.0 < 100);
        assert_eq!(waiting.sorted(), rows);
        assert_eq!(waiting.due(Some(100), 50), rows[..50]);
        assert_eq!(waiting.due(Some(100), 10_000), rows[50..early]);
        // All that is left, sorted at once; later rows join it.
        assert!(waiting.heap.len() >= SORT_ROWS_MIN);
        assert_eq!(waiting.due(None, 5), rows[early..early + 5]);
        let first = (-1, 2_000, place(2_000));
        waiting.push(first);
        assert_eq!(waiting.due(None, 1), [first]);
        assert_eq!(waiting.due(None, 10_000), rows[early + 5..]);
    }
}
