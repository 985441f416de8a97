//! Rows that are there, as a source: tables in memory and the views of now.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::error::Result as CoreResult;
use windrow_core::stream::{Source, SourceEvent};

use crate::plan::RowsNow;

/// Gives the rows of the moment when it is first polled.
pub(super) struct RowsSource {
    schema: SchemaRef,
    rows: Arc<dyn RowsNow>,
    batches: Option<VecDeque<RecordBatch>>,
}

impl RowsSource {
    pub(super) fn new(schema: SchemaRef, rows: Arc<dyn RowsNow>) -> Self {
        Self {
            schema,
            rows,
            batches: None,
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
        let batches = match &mut self.batches {
            Some(batches) => batches,
            empty => empty.insert(self.rows.rows()?.into()),
        };
        Ok(match batches.pop_front() {
            Some(records) => SourceEvent::Batch {
                partition: 0,
                bytes: records.get_array_memory_size() as u64,
                records,
                rejected: Vec::new(),
            },
            None => SourceEvent::End,
        })
    }
}
