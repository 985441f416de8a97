//! Rows that wait: for their turn in event time, or for their window to close.
//!
//! The batches stay as they came and rows are named by their place in them; a batch is
//! let go with its last row. Rows that only wait for their turn stand in a heap by
//! (event time, arrival).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::time::ticks;

/// How many rows an operator that must hold rows holds at most.
pub const COUNT_WINDOW_ROWS_MAX: usize = 50_000_000;

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
    batches: Vec<Option<(RecordBatch, usize)>>,
    free: Vec<u32>,
    live: usize,
    bytes: usize,
    ordinal: u64,
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
            return Err(Error::Limit {
                what: format!("holding {} rows until they have a window", self.live + rows),
                limit: format!("{COUNT_WINDOW_ROWS_MAX} rows"),
                setting: "count_window_rows_max",
            });
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
        self.bytes += records.get_array_memory_size();
        self.batches[batch as usize] = Some((records, rows));
        Ok(())
    }

    /// Lets rows go.
    pub(crate) fn release(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            let held = &mut self.batches[place.batch as usize];
            let (records, live) = held.as_mut().expect("a held row has its batch");
            *live -= 1;
            self.live -= 1;
            if *live == 0 {
                self.bytes -= records.get_array_memory_size();
                *held = None;
                self.free.push(place.batch);
            }
        }
    }

    /// Copies of rows.
    pub(crate) fn gather(&self, places: impl IntoIterator<Item = Place>) -> Result<RecordBatch> {
        let mut numbers = vec![usize::MAX; self.batches.len()];
        let (mut batches, mut indices) = (Vec::new(), Vec::new());
        for place in places {
            let number = &mut numbers[place.batch as usize];
            if *number == usize::MAX {
                let held = self.batches[place.batch as usize].as_ref();
                *number = batches.len();
                batches.push(&held.expect("a held row has its batch").0);
            }
            indices.push((*number, place.row as usize));
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        Ok(interleave_record_batch(&batches, &indices)?)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Rows that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    heap: BinaryHeap<Reverse<Held>>,
}

impl Waiting {
    pub(crate) fn push(&mut self, row: Held) {
        self.heap.push(Reverse(row));
    }

    /// The rows before a time (all, if it is `None`), at most `count`, in event-time
    /// order, ties in order of arrival.
    pub(crate) fn due(&mut self, before: Option<i64>, count: usize) -> Vec<Held> {
        let mut rows = Vec::new();
        while rows.len() < count
            && let Some(Reverse(row)) = self.heap.peek()
            && before.is_none_or(|before| row.0 < before)
        {
            rows.push(*row);
            self.heap.pop();
        }
        rows
    }

    /// All rows in their order, for a snapshot.
    pub(crate) fn sorted(&self) -> Vec<Held> {
        let mut rows: Vec<Held> = self.heap.iter().map(|row| row.0).collect();
        rows.sort_unstable();
        rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Reverse<Held>>()
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
}
