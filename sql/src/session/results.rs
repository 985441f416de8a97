//! Results on their way from the engine to who asked for them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use windrow_core::error::{Error as CoreError, Result as CoreResult};
use windrow_core::stream::Sink;

/// Bytes of results that may wait to be read. Where a query joins two inputs, those of one
/// wait here while the other is read; beyond this the query fails.
pub const RESULT_BYTES_MAX: usize = 4 << 30;

/// A bounded queue of result batches.
#[derive(Debug, Default)]
pub(super) struct ResultQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<RecordBatch>,
    bytes: usize,
    ended: bool,
}

impl ResultQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        // A batch is in the queue or not: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch that is there.
    pub(super) fn pop(&self) -> Option<RecordBatch> {
        let mut state = self.state();
        let batch = state.batches.pop_front()?;
        state.bytes -= batch.get_array_memory_size();
        Some(batch)
    }

    /// Waits until something is there or has ended, at most `wait`.
    pub(super) fn wait(&self, wait: Duration) {
        let unchanged = |state: &mut State| state.batches.is_empty() && !state.ended;
        let _ = self
            .changed
            .wait_timeout_while(self.state(), wait, unchanged);
    }

    /// Whether nothing follows but what is there.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }
}

/// The engine's end of a [`ResultQueue`].
#[derive(Debug)]
pub(super) struct QueueSink(pub(super) Arc<ResultQueue>);

impl Sink for QueueSink {
    fn write(&mut self, records: &RecordBatch) -> CoreResult<()> {
        let mut state = self.0.state();
        state.bytes += records.get_array_memory_size();
        if state.bytes > RESULT_BYTES_MAX && !state.batches.is_empty() {
            return Err(CoreError::Limit {
                what: "results that wait to be read".into(),
                limit: format!("{} GiB", RESULT_BYTES_MAX >> 30),
                setting: "nothing: read them as they come, or write them to a sink",
            });
        }
        state.batches.push_back(records.clone());
        self.0.changed.notify_all();
        Ok(())
    }

    fn finish(&mut self) -> CoreResult<()> {
        self.abort();
        Ok(())
    }

    fn abort(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}
