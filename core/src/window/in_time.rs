//! Rows that wait for their turn in event time, as batches.
//!
//! Each part is sorted by time when it comes, rows of one time by arrival; parts stand in
//! order of arrival. Rows that come in order leave as slices of what came; others are sorted
//! among each other when their turn has come.

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::frames::UNTIMED;
use crate::batch::{bytes_of, compacted};
use crate::error::{Error, Result};
use crate::time::ticks;

/// How many bytes rows may take in one operator that wait for the watermark (`OVER`).
pub const WAITING_BYTES_MAX: usize = 8 << 30;

/// Parts of fewer rows are merged when there are as many after them.
const MERGE_ROWS_MAX: usize = 1 << 15;

/// A part is copied down once its rows were more than so many times those that are left.
const COMPACT_FACTOR: usize = 4;

/// Rows in order of time.
#[derive(Debug)]
struct Part {
    records: RecordBatch,
    /// `[rows]`.
    times: ScalarBuffer<i64>,
    /// What `records` keeps in memory.
    bytes: usize,
    /// How many rows `records` was cut from.
    of_rows: usize,
}

impl Part {
    fn rows(&self) -> usize {
        self.times.len()
    }

    /// How many rows come before a time; all, if it is `None`.
    fn before(&self, time: Option<i64>) -> usize {
        match time {
            Some(time) => self.times.partition_point(|other| *other < time),
            None => self.rows(),
        }
    }
}

fn times(records: &RecordBatch, time: usize) -> Result<ScalarBuffer<i64>> {
    let (times, nulls) = ticks(records.column(time))?;
    Ok(match nulls {
        Some(nulls) if nulls.null_count() > 0 => (times.iter().zip(nulls))
            .map(|(time, is_valid)| if is_valid { *time } else { UNTIMED })
            .collect(),
        _ => times.clone(),
    })
}

/// Rows that wait.
#[derive(Debug)]
pub(crate) struct InTime {
    schema: SchemaRef,
    /// The place of the time column.
    time: usize,
    /// In order of arrival.
    parts: Vec<Part>,
    bytes: usize,
}

impl InTime {
    pub(crate) fn new(schema: SchemaRef, time: usize) -> Self {
        Self {
            schema,
            time,
            parts: Vec::new(),
            bytes: 0,
        }
    }

    /// The times of rows; those without one come last.
    pub(crate) fn times(&self, records: &RecordBatch) -> Result<ScalarBuffer<i64>> {
        times(records, self.time)
    }

    /// A part of rows, sorted.
    fn part(&self, records: RecordBatch) -> Result<Part> {
        let times = self.times(&records)?;
        let (records, times) = match times.is_sorted() {
            true => (records, times),
            false => {
                let mut order: Vec<u32> = (0..times.len() as u32).collect();
                order.sort_by_key(|row| times[*row as usize]);
                let records = take_record_batch(&records, &UInt32Array::from(order))?;
                let times = self.times(&records)?;
                (records, times)
            }
        };
        let last = times.len() - times.partition_point(|time| *time < UNTIMED);
        if last > records.column(self.time).null_count() {
            return Err(Error::invalid(
                "a row of an OVER window is at the last tick that a time can have",
            ));
        }
        Ok(Part {
            bytes: bytes_of(&records),
            of_rows: records.num_rows(),
            records,
            times,
        })
    }

    /// Takes rows, later ones in order of arrival than all before.
    ///
    /// # Errors
    /// If they are too many.
    pub(crate) fn push(&mut self, records: RecordBatch) -> Result<()> {
        if records.num_rows() == 0 {
            return Ok(());
        }
        if self.bytes > WAITING_BYTES_MAX {
            return Err(Error::Bound {
                what: "the rows that wait for an OVER window".into(),
                limit: format!("{} GiB", WAITING_BYTES_MAX >> 30),
                remedy: "select fewer columns, or let the watermark follow the event time more closely",
            });
        }
        let part = self.part(compacted(records)?)?;
        self.bytes += part.bytes;
        self.parts.push(part);
        // As a binary counter does: each row is copied as often as there are powers of two.
        while let [.., first, second] = self.parts.as_slice()
            && first.rows() <= second.rows()
            && second.rows() < MERGE_ROWS_MAX
        {
            let merged = self.merged(&[&first.records, &second.records])?;
            self.bytes = self.bytes - first.bytes - second.bytes + merged.bytes;
            self.parts.truncate(self.parts.len() - 2);
            self.parts.push(merged);
        }
        Ok(())
    }

    fn merged(&self, records: &[&RecordBatch]) -> Result<Part> {
        let all = concat_batches(&self.schema, records.iter().copied())?;
        self.part(all)
    }

    /// The next rows before a time (all, if it is `None`), about `count` of them, and all
    /// that have the time of the last one; in order of time, then of arrival. In pieces,
    /// of which there are none if no row is due.
    pub(crate) fn due(&mut self, before: Option<i64>, count: usize) -> Result<Vec<RecordBatch>> {
        let mut due: Vec<(i64, i64, usize)> = (self.parts.iter())
            .map(|part| (part, part.before(before)))
            .filter(|(_, rows)| *rows > 0)
            .map(|(part, rows)| {
                let rows = rows.min(count);
                (part.times[0], part.times[rows - 1], rows)
            })
            .collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        // Up to where so many rows come, if no two parts overlap.
        due.sort_unstable();
        let mut rows_before = 0;
        let enough = due.iter().position(|(_, _, rows)| {
            rows_before += rows;
            rows_before >= count
        });
        let until = enough.and_then(|enough| {
            let last = due[enough].1;
            (last < UNTIMED).then(|| last + 1)
        });
        let until = until.or(before);
        let mut taken = Vec::new();
        let (mut last, mut is_in_order) = (i64::MIN, true);
        for part in &mut self.parts {
            let rows = part.before(until);
            if rows == 0 {
                continue;
            }
            taken.push(part.records.slice(0, rows));
            is_in_order &= last <= part.times[0];
            last = part.times[rows - 1];
            let rest = part.rows() - rows;
            part.records = part.records.slice(rows, rest);
            part.times = part.times.slice(rows, rest);
            if rest > 0 && part.of_rows > COMPACT_FACTOR * rest {
                self.bytes -= part.bytes;
                part.records = compacted(part.records.clone())?;
                part.times = times(&part.records, self.time)?;
                part.bytes = bytes_of(&part.records);
                part.of_rows = rest;
                self.bytes += part.bytes;
            }
        }
        let gone = self.parts.iter().filter(|part| part.rows() == 0);
        self.bytes -= gone.map(|part| part.bytes).sum::<usize>();
        self.parts.retain(|part| part.rows() > 0);
        if is_in_order {
            return Ok(taken);
        }
        let taken: Vec<&RecordBatch> = taken.iter().collect();
        Ok(vec![self.merged(&taken)?.records])
    }

    /// All rows, as [`InTime::push`] takes them.
    pub(crate) fn rows(&self) -> Result<RecordBatch> {
        let records = self.parts.iter().map(|part| &part.records);
        Ok(concat_batches(&self.schema, records)?)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampSecondArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn rows(times: &[Option<i64>], first: i64) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(first..first + times.len() as i64);
        let columns: [(&str, ArrayRef); 2] = [
            ("ts", Arc::new(TimestampSecondArray::from(times.to_vec()))),
            ("number", Arc::new(numbers)),
        ];
        let columns = columns.map(|(name, column)| (name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("it fits")
    }

    fn waiting() -> InTime {
        InTime::new(rows(&[], 0).schema(), 0)
    }

    fn numbers(records: Vec<RecordBatch>) -> Vec<i64> {
        let numbers = records.iter().map(|records| {
            let numbers = records.column(1).as_primitive::<Int64Type>();
            numbers.values().to_vec()
        });
        numbers.flatten().collect()
    }

    #[test]
    fn rows_leave_in_order_of_time_then_of_arrival() {
        let mut waiting = waiting();
        let times = [5, 3, 3, 9].map(Some);
        waiting.push(rows(&times, 0)).expect("few rows");
        waiting
            .push(rows(&[3, 4, 9].map(Some), 4))
            .expect("few rows");
        let mut due = |before, count| numbers(waiting.due(before, count).expect("it fits"));
        assert_eq!(due(Some(3), 10), [0; 0]);
        // All of one time, however few are asked for.
        assert_eq!(due(Some(9), 1), [1, 2, 4]);
        assert_eq!(due(Some(9), 10), [5, 0]);
        assert_eq!(due(Some(9), 10), [0; 0]);
        assert_eq!(due(None, 10), [3, 6]);
        assert_eq!(waiting.bytes(), 0);
    }

    #[test]
    fn rows_without_a_time_come_last() {
        let mut waiting = waiting();
        let times = [None, Some(i64::MAX - 1), None, Some(0)];
        waiting.push(rows(&times, 0)).expect("few rows");
        waiting.push(rows(&[None, Some(7)], 4)).expect("few rows");
        let mut due = |before, count| numbers(waiting.due(before, count).expect("it fits"));
        assert_eq!(due(None, 1), [3]);
        // Up to the second row of the part that comes first.
        assert_eq!(due(None, 2), [5, 1, 0, 2, 4]);
    }

    #[test]
    fn no_time_is_taken_for_none() {
        let refused = waiting().push(rows(&[Some(i64::MAX), None], 0));
        let message = refused.expect_err("it cannot be told").to_string();
        assert!(message.contains("last tick"), "{message}");
    }

    #[test]
    fn single_rows_are_gathered_and_let_go() {
        let mut waiting = waiting();
        let (rows_in, behind) = (5_000, 100);
        let mut given = Vec::new();
        for row in 0..rows_in {
            let time = if row % 3 == 0 { row } else { row - 50 };
            waiting.push(rows(&[Some(time)], row)).expect("few rows");
            assert!(waiting.parts.len() < 20, "{}", waiting.parts.len());
            let due = waiting.due(Some(row - behind), 64).expect("it fits");
            given.extend(numbers(due));
            // About 16 bytes a row.
            assert!(waiting.bytes() < 64 << 10, "{}", waiting.bytes());
        }
        loop {
            let due = waiting.due(None, 64).expect("it fits");
            if due.is_empty() {
                break;
            }
            given.extend(numbers(due));
        }
        let mut expected: Vec<i64> = (0..rows_in).collect();
        expected.sort_by_key(|row| if row % 3 == 0 { *row } else { row - 50 });
        assert_eq!(given, expected);
    }
}
