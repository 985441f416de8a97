//! Where rows go that reach no window: the rejects and the late rows of a stream.
//!
//! Both are kept whole, the newest first to stay: when a store is full the oldest are
//! let go and counted, so that every row is accounted for although memory is bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::operator::LateRows;
use crate::stream::Reject;

/// The newest rejects of a stream.
#[derive(Debug)]
pub(super) struct Rejects {
    rows: VecDeque<Reject>,
    rows_max: usize,
    let_go: u64,
}

impl Rejects {
    pub(super) fn new(rows_max: usize) -> Self {
        Self {
            rows: VecDeque::new(),
            rows_max,
            let_go: 0,
        }
    }

    pub(super) fn extend(&mut self, rejects: impl IntoIterator<Item = Reject>) {
        for reject in rejects {
            if self.rows.len() >= self.rows_max {
                self.rows.pop_front();
                self.let_go += 1;
                if self.rows_max == 0 {
                    continue;
                }
            }
            self.rows.push_back(reject);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Reject> {
        self.rows.iter()
    }

    pub(super) fn let_go(&self) -> u64 {
        self.let_go
    }

    pub(super) fn restore(&mut self, rows: impl IntoIterator<Item = Reject>, let_go: u64) {
        self.rows = rows.into_iter().collect();
        self.let_go = let_go;
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
    let_go: u64,
}

impl LateStore {
    pub(super) fn new(rows_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            rows: 0,
            rows_max,
            let_go: 0,
        }
    }

    pub(super) fn push(&mut self, query: &Arc<str>, late: LateRows) {
        self.rows += late.late_by.len();
        self.entries.push_back(LateRecords {
            query: query.clone(),
            rows: late.rows,
            late_by: late.late_by,
        });
        while self.rows > self.rows_max {
            let excess = self.rows - self.rows_max;
            let Some(oldest) = self.entries.front_mut() else {
                break;
            };
            let rows = oldest.late_by.len();
            let gone = rows.min(excess);
            if gone == rows {
                self.entries.pop_front();
            } else {
                oldest.rows = oldest.rows.slice(gone, rows - gone);
                oldest.late_by.drain(..gone);
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
        self.rows = entries.iter().map(|entry| entry.late_by.len()).sum();
        self.entries = entries.into();
        self.let_go = let_go;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    fn late(values: &[i64]) -> LateRows {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        LateRows {
            stream: "s".into(),
            rows: RecordBatch::try_from_iter([("v", column)]).expect("one column"),
            late_by: values.to_vec(),
        }
    }

    #[test]
    fn the_newest_late_rows_stay_and_the_others_are_counted() {
        let mut store = LateStore::new(4);
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
        let mut store = LateStore::new(0);
        store.push(&"q".into(), late(&[1, 2, 3]));
        assert_eq!((store.entries().count(), store.let_go()), (0, 3));
        let mut rejects = Rejects::new(0);
        rejects.extend([Reject {
            text: String::new(),
            position: String::new(),
            reason: String::new(),
            rule: String::new(),
        }]);
        assert_eq!((rejects.iter().count(), rejects.let_go()), (0, 1));
    }
}
