//! Rows that are there, as a source: tables in memory and the views of now.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use windrow_core::error::Result as CoreResult;
use windrow_core::stream::{Source, SourceEvent};
use windrow_core::time::{self, MAX_TIME, MIN_TIME};

/// Rows that are given at a time, so that what is computed of them stays in the caches, and
/// windows close meanwhile.
const ROWS_MAX: usize = 64 * 1024;

/// Rows between two watermarks: closing few windows at a time costs more than it frees.
/// Tests have few rows.
const WATERMARK_ROWS: usize = if cfg!(test) { 1 } else { 4 * ROWS_MAX };

/// Gives rows that were taken before it started: a source is polled inside the engine,
/// which those rows may have to ask.
///
/// By the least times of the batches to come it knows, after each, which windows are
/// complete, in whatever order the rows lie.
pub(super) struct RowsSource {
    schema: SchemaRef,
    /// Each with the time before which none of those after it has a row.
    batches: VecDeque<(RecordBatch, i64)>,
    watermark: i64,
    /// Rows given since the last watermark.
    rows: usize,
    /// The watermark to give before the next rows.
    due: Option<i64>,
}

impl RowsSource {
    /// `time`: the column by whose times windows over the rows close; `None`: they close
    /// at the end.
    pub(super) fn new(schema: SchemaRef, batches: Vec<RecordBatch>, time: Option<usize>) -> Self {
        let mut before = MAX_TIME;
        let mut timed = VecDeque::with_capacity(batches.len());
        for batch in batches.iter().rev().flat_map(pieces) {
            let least = time.map_or(MIN_TIME, |time| least(&batch, time));
            timed.push_front((batch, before));
            before = before.min(least);
        }
        Self {
            schema,
            batches: timed,
            watermark: MIN_TIME,
            rows: 0,
            due: None,
        }
    }
}

/// A batch in pieces, the last one first.
fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let starts = (0..rows).step_by(ROWS_MAX).rev();
    starts.map(move |start| batch.slice(start, ROWS_MAX.min(rows - start)))
}

/// The bytes that the rows of a batch take, which may be a piece of a longer one.
fn bytes(batch: &RecordBatch) -> u64 {
    let columns = batch.columns().iter();
    let bytes = columns.filter_map(|column| column.to_data().get_slice_memory_size().ok());
    bytes.map(|bytes| bytes as u64).sum()
}

/// The least time of a batch; rows without one are in no window.
fn least(batch: &RecordBatch, time: usize) -> i64 {
    match time::ticks(batch.column(time)) {
        Ok((times, None)) => time::span(times).0,
        Ok((times, Some(nulls))) => (nulls.valid_indices().map(|row| times[row]))
            .min()
            .unwrap_or(MAX_TIME),
        // It has no times: nothing is known.
        Err(_) => MIN_TIME,
    }
}

impl fmt::Debug for RowsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowsSource").finish_non_exhaustive()
    }
}

impl Source for RowsSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn poll(&mut self, _wait: Duration) -> CoreResult<SourceEvent> {
        if let Some(watermark) = self.due.take() {
            return Ok(SourceEvent::Watermark(watermark));
        }
        Ok(match self.batches.pop_front() {
            Some((records, before)) => {
                // The end says the rest.
                self.rows += records.num_rows();
                let is_time = self.rows >= WATERMARK_ROWS;
                if is_time && before > self.watermark && before < MAX_TIME {
                    self.rows = 0;
                    self.watermark = before;
                    self.due = Some(before);
                }
                SourceEvent::Batch {
                    partition: 0,
                    bytes: bytes(&records),
                    records,
                    rejected: Vec::new(),
                    origin: None,
                }
            }
            None => SourceEvent::End,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::TimestampSecondArray;

    use super::*;

    /// The batches and watermarks of a source over these times.
    fn events(batches: &[&[Option<i64>]], time: Option<usize>) -> Vec<String> {
        let batches: Vec<RecordBatch> = (batches.iter())
            .map(|times| {
                let times = TimestampSecondArray::from(times.to_vec());
                RecordBatch::try_from_iter([("ts", Arc::new(times) as _)]).expect("a column")
            })
            .collect();
        let mut source = RowsSource::new(batches[0].schema(), batches, time);
        let mut events = Vec::new();
        loop {
            match source.poll(Duration::ZERO).expect("it reads nothing") {
                SourceEvent::Batch { records, bytes, .. } => {
                    events.push(format!("{} rows, {bytes} bytes", records.num_rows()));
                }
                SourceEvent::Watermark(time) => events.push(format!("from {time} on")),
                SourceEvent::End => return events,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_watermark_is_the_least_time_of_what_follows() {
        let batches: &[&[Option<i64>]] = &[
            &[Some(3), Some(1)],
            &[Some(9), None],
            // Before the rows above: until it is read, nothing later is complete.
            &[Some(4), Some(5)],
            &[None],
            &[Some(7)],
        ];
        let expected = [
            "2 rows, 16 bytes",
            "from 4 on",
            "2 rows, 17 bytes",
            "2 rows, 16 bytes",
            "from 7 on",
            "1 rows, 9 bytes",
            "1 rows, 8 bytes",
        ];
        assert_eq!(events(batches, Some(0)), expected);
        assert!(!events(batches, None).concat().contains("from"));
    }

    #[test]
    fn a_long_batch_is_given_in_pieces() {
        let rows = ROWS_MAX as i64;
        let times: Vec<Option<i64>> = (0..2 * rows + 1).map(Some).collect();
        let expected = [
            format!("{rows} rows, {} bytes", 8 * rows),
            format!("from {rows} on"),
            format!("{rows} rows, {} bytes", 8 * rows),
            format!("from {} on", 2 * rows),
            "1 rows, 8 bytes".to_owned(),
        ];
        assert_eq!(events(&[&times], Some(0)), expected);
    }
}
