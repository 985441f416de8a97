//! A sink that counts rows and forgets them: for measuring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use windrow_core::stream::Sink;

/// Counts what it is given.
#[derive(Debug, Default)]
pub struct BlackholeSink {
    counts: Arc<BlackholeCounts>,
}

/// What a [`BlackholeSink`] was given so far.
#[derive(Debug, Default)]
pub struct BlackholeCounts {
    rows: AtomicU64,
    batches: AtomicU64,
}

impl BlackholeCounts {
    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// In how many batches.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }
}

impl BlackholeSink {
    /// A sink that was given nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its counts, which go on while the sink is used elsewhere.
    pub fn counts(&self) -> Arc<BlackholeCounts> {
        self.counts.clone()
    }
}

impl Sink for BlackholeSink {
    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        let rows = records.num_rows() as u64;
        self.counts.rows.fetch_add(rows, Ordering::Relaxed);
        self.counts.batches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    #[test]
    fn rows_and_batches_are_counted() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        let mut sink = BlackholeSink::new();
        let counts = sink.counts();
        sink.write(&batch).expect("nothing can fail");
        sink.write(&batch.slice(0, 1)).expect("nothing can fail");
        sink.finish().expect("nothing can fail");
        assert_eq!((counts.rows(), counts.batches()), (4, 2));
    }
}
