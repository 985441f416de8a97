//! Where rows go that reach no window: the rejects and the late rows of a stream.
//!
//! Both are kept whole, the newest first to stay: when a store is full the oldest are
//! let go and counted, so that every row is accounted for although memory is bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use crate::batch::bytes_of;
use crate::operator::LateRows;
use crate::stream::Reject;

/// How much of each is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) rejects_max: usize,
    pub(super) rejects_bytes_max: usize,
    pub(super) late_rows_max: usize,
    pub(super) late_bytes_max: usize,
}

/// The newest rejects of a stream.
#[derive(Debug)]
pub(super) struct Rejects {
    rows: VecDeque<Reject>,
    rows_max: usize,
    bytes: usize,
    bytes_max: usize,
    let_go: u64,
}

fn bytes_of_reject(reject: &Reject) -> usize {
    let texts = [&reject.text, &reject.position, &reject.reason, &reject.rule];
    size_of::<Reject>() + texts.iter().map(|text| text.len()).sum::<usize>()
}

impl Rejects {
    pub(super) fn new(kept: &Kept) -> Self {
        Self {
            rows: VecDeque::new(),
            rows_max: kept.rejects_max,
            bytes: 0,
            bytes_max: kept.rejects_bytes_max,
            let_go: 0,
        }
    }

    pub(super) fn extend(&mut self, rejects: impl IntoIterator<Item = Reject>) {
        for reject in rejects {
            self.bytes += bytes_of_reject(&reject);
            self.rows.push_back(reject);
            while self.rows.len() > self.rows_max || self.bytes > self.bytes_max {
                let Some(oldest) = self.rows.pop_front() else {
                    break;
                };
                self.bytes -= bytes_of_reject(&oldest);
                self.let_go += 1;
            }
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Reject> {
        self.rows.iter()
    }

    pub(super) fn let_go(&self) -> u64 {
        self.let_go
    }

    pub(super) fn restore(&mut self, rows: impl IntoIterator<Item = Reject>, let_go: u64) {
        self.let_go = let_go;
        self.extend(rows);
    }
}

/// Rows that came too late for a query.
#[derive(Debug, Clone)]
pub struct LateRecords {
    /// The query they were late for.
    pub query: Arc<str>,
    /// The whole rows, as the stream accepted them.
    pub rows: RecordBatch,
    /// `[rows]`: how many ticks each lay behind the watermark.
    pub late_by: Vec<i64>,
}

/// The newest late rows of a stream.
#[derive(Debug)]
pub(super) struct LateStore {
    entries: VecDeque<LateRecords>,
    rows: usize,
    rows_max: usize,
    bytes: usize,
    bytes_max: usize,
    let_go: u64,
}

/// Entries of up to so many rows are put together, so that rows which come late one by
/// one do not take a batch each.
const ENTRY_ROWS: usize = 4_096;

fn bytes_of_entry(entry: &LateRecords) -> usize {
    // An entry costs something for each column, however few its rows are.
    const COLUMN_BYTES: usize = 256;
    let columns = entry.rows.num_columns() * COLUMN_BYTES;
    bytes_of(&entry.rows) + entry.late_by.len() * size_of::<i64>() + columns
}

impl LateStore {
    pub(super) fn new(kept: &Kept) -> Self {
        Self {
            entries: VecDeque::new(),
            rows: 0,
            rows_max: kept.late_rows_max,
            bytes: 0,
            bytes_max: kept.late_bytes_max,
            let_go: 0,
        }
    }

    pub(super) fn push(&mut self, query: &Arc<str>, late: LateRows) {
        self.add(LateRecords {
            query: query.clone(),
            rows: late.rows,
            late_by: late.late_by,
        });
        self.join_last();
        self.let_go_oldest();
    }

    fn add(&mut self, entry: LateRecords) {
        self.rows += entry.late_by.len();
        self.bytes += bytes_of_entry(&entry);
        self.entries.push_back(entry);
    }

    /// Puts the last entries of one query together while the last is not the smaller:
    /// so each row is copied a few times in all.
    fn join_last(&mut self) {
        while let Some(before) = self.entries.len().checked_sub(2) {
            let (first, second) = (&self.entries[before], &self.entries[before + 1]);
            let rows = (first.late_by.len(), second.late_by.len());
            if first.query != second.query || rows.1 < rows.0 || rows.0 + rows.1 > ENTRY_ROWS {
                return;
            }
            let schema = first.rows.schema();
            let Ok(joined) = concat_batches(&schema, [&first.rows, &second.rows]) else {
                return;
            };
            let Some(second) = self.entries.pop_back() else {
                return;
            };
            self.bytes -= bytes_of_entry(&second);
            let first = &mut self.entries[before];
            self.bytes -= bytes_of_entry(first);
            first.rows = joined;
            first.late_by.extend(second.late_by);
            self.bytes += bytes_of_entry(first);
        }
    }

    fn let_go_oldest(&mut self) {
        while self.rows > self.rows_max || self.bytes > self.bytes_max {
            let excess = self.rows.saturating_sub(self.rows_max);
            let Some(oldest) = self.entries.front_mut() else {
                break;
            };
            let rows = oldest.late_by.len();
            self.bytes -= bytes_of_entry(oldest);
            let gone = if excess == 0 {
                // Of what is too large, by parts, so that the newest rows stay.
                rows.div_ceil(4)
            } else {
                rows.min(excess)
            };
            if gone == rows {
                self.entries.pop_front();
            } else {
                oldest.rows = oldest.rows.slice(gone, rows - gone);
                oldest.late_by.drain(..gone);
                self.bytes += bytes_of_entry(oldest);
            }
            self.rows -= gone;
            self.let_go += gone as u64;
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &LateRecords> {
        self.entries.iter()
    }

    pub(super) fn let_go(&self) -> u64 {
        self.let_go
    }

    pub(super) fn restore(&mut self, entries: Vec<LateRecords>, let_go: u64) {
        self.let_go = let_go;
        for entry in entries {
            self.add(entry);
        }
        self.let_go_oldest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array};

    fn kept(rows_max: usize) -> Kept {
        Kept {
            rejects_max: rows_max,
            rejects_bytes_max: 1 << 20,
            late_rows_max: rows_max,
            late_bytes_max: 1 << 20,
        }
    }

    fn late(values: &[i64]) -> LateRows {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        LateRows {
            stream: "s".into(),
            rows: RecordBatch::try_from_iter([("v", column)]).expect("one column"),
            source_rows: UInt32Array::from(vec![0; values.len()]),
            late_by: values.to_vec(),
        }
    }

    #[test]
    fn the_newest_late_rows_stay_and_the_others_are_counted() {
        let mut store = LateStore::new(&kept(4));
        store.push(&"q".into(), late(&[1, 2, 3]));
        store.push(&"q".into(), late(&[4, 5, 6]));
        let kept: Vec<i64> = (store.entries())
            .flat_map(|entry| entry.late_by.clone())
            .collect();
        assert_eq!(kept, [3, 4, 5, 6]);
        assert_eq!(store.let_go(), 2);
        let rows: usize = store.entries().map(|entry| entry.rows.num_rows()).sum();
        assert_eq!(rows, 4);
    }

    #[test]
    fn a_store_of_no_rows_counts_all() {
        let mut store = LateStore::new(&kept(0));
        store.push(&"q".into(), late(&[1, 2, 3]));
        assert_eq!((store.entries().count(), store.let_go()), (0, 3));
        let mut rejects = Rejects::new(&kept(0));
        rejects.extend([Reject {
            text: String::new(),
            position: String::new(),
            reason: String::new(),
            rule: String::new(),
        }]);
        assert_eq!((rejects.iter().count(), rejects.let_go()), (0, 1));
    }

    #[test]
    fn rows_that_come_late_one_by_one_share_entries_in_their_order() {
        let mut store = LateStore::new(&kept(10_000));
        for value in 0..1_000 {
            store.push(&"q".into(), late(&[value]));
        }
        assert!(store.entries().count() <= 10);
        let kept: Vec<i64> = (store.entries())
            .flat_map(|entry| entry.late_by.clone())
            .collect();
        assert_eq!(kept, (0..1_000).collect::<Vec<_>>());
        assert!(store.entries().all(|entry| {
            let column: &Int64Array = entry.rows.column(0).as_primitive();
            column.values().to_vec() == entry.late_by
        }));
    }

    #[test]
    fn both_stores_are_bounded_in_bytes() {
        let limits = Kept {
            late_bytes_max: 8_000,
            rejects_bytes_max: 8_000,
            ..kept(1_000_000)
        };
        let mut store = LateStore::new(&limits);
        for value in 0..100_000 {
            store.push(&"q".into(), late(&[value]));
        }
        let rows: usize = store.entries().map(|entry| entry.late_by.len()).sum();
        // Each row is 16 bytes here.
        assert!((100..=500).contains(&rows), "{rows} rows");
        assert_eq!(rows as u64 + store.let_go(), 100_000);
        let last = store
            .entries()
            .last()
            .and_then(|entry| entry.late_by.last().copied());
        assert_eq!(last, Some(99_999));

        let mut rejects = Rejects::new(&limits);
        rejects.extend((0..100).map(|_| Reject {
            text: "x".repeat(1_000),
            position: String::new(),
            reason: String::new(),
            rule: String::new(),
        }));
        assert_eq!(rejects.iter().count(), 7);
        assert_eq!(rejects.let_go(), 93);
    }
}
