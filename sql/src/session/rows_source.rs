//! Rows that are there, as a source: tables in memory and the views of now.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::error::Result as CoreResult;
use windrow_core::stream::{Source, SourceEvent};

/// Gives rows that were taken before it started: a source is polled inside the engine,
/// which those rows may have to ask.
pub(super) struct RowsSource {
    schema: SchemaRef,
    batches: VecDeque<RecordBatch>,
}

impl RowsSource {
    pub(super) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self {
            schema,
            batches: batches.into(),
        }
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
        Ok(match self.batches.pop_front() {
            Some(records) => SourceEvent::Batch {
                partition: 0,
                bytes: records.get_array_memory_size() as u64,
                records,
                rejected: Vec::new(),
                origin: None,
            },
            None => SourceEvent::End,
        })
    }
}
