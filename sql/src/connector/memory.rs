//! Results in memory, for programs and tests.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use windrow_core::error::{Error, Result};
use windrow_core::stream::Sink;

/// Keeps the rows that it is given, up to a number.
#[derive(Debug)]
pub struct MemorySink {
    rows: MemoryRows,
    rows_max: usize,
}

/// The rows of a [`MemorySink`], readable while it is written to.
#[derive(Debug, Clone, Default)]
pub struct MemoryRows(Arc<Mutex<Vec<RecordBatch>>>);

impl MemoryRows {
    /// Takes the rows that have come since the last call.
    pub fn take(&self) -> Vec<RecordBatch> {
        // A batch is in the list or not: a panic elsewhere leaves it whole.
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MemorySink {
    /// A sink for at most `rows_max` rows that have not been taken yet.
    pub fn new(rows_max: usize) -> Self {
        Self {
            rows: MemoryRows::default(),
            rows_max,
        }
    }

    /// The rows, for the reader's side.
    pub fn rows(&self) -> MemoryRows {
        self.rows.clone()
    }
}

impl Sink for MemorySink {
    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        let mut batches = self.rows.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if held + records.num_rows() > self.rows_max {
            return Err(Error::Limit {
                what: "a sink in memory".into(),
                limit: format!("{} rows", self.rows_max),
                setting: "rows_max of MemorySink, or take its rows more often",
            });
        }
        batches.push(records.clone());
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
