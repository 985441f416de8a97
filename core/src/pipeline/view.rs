//! The rows of a materialized view, readable while they grow.
//!
//! A view is an append-only list of immutable batches. Reading takes the list as it
//! is, without waiting for anyone; a subscription is a position in it. A view holds
//! rows up to a limit in bytes; the oldest it lets go are counted.
//!
//! The view of an aggregation by key without a window is no list but the operator's own
//! table, of which each reading takes the rows of that moment. When its query ends, its
//! last rows are kept as a list.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::batch::{bytes_of, compacted};
use crate::error::{Error, Result};
use crate::operator::KeyedTable;
use crate::snapshot::Snapshot;

/// A materialized view's rows.
#[derive(Debug)]
pub struct View {
    schema: SchemaRef,
    bytes_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<RecordBatch>,
    /// How many batches were let go before the first one here.
    first: u64,
    bytes: usize,
    rows: u64,
    rows_let_go: u64,
    ended: bool,
    failure: Option<Arc<Error>>,
    /// Where its rows are computed when they are read.
    table: Option<Arc<KeyedTable>>,
}

/// How much a view holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewSize {
    /// Rows held.
    pub rows: u64,
    /// Bytes held.
    pub bytes: usize,
    /// Rows let go because of the limit.
    pub rows_let_go: u64,
}

/// What a subscription finds at its position.
#[derive(Debug)]
pub enum Next {
    /// The next rows.
    Batch(RecordBatch),
    /// Nothing new for now.
    Pending,
    /// The view's query has ended and all its rows have been given.
    End,
    /// The view's query has failed; the rows before that have been given.
    Failed(Arc<Error>),
}

/// A position in a view's rows.
#[derive(Debug)]
pub struct Cursor {
    view: Arc<View>,
    next: u64,
    missed: u64,
}

impl View {
    /// An empty view that holds about `bytes_max` bytes at most.
    pub fn new(schema: SchemaRef, bytes_max: usize) -> Self {
        Self {
            schema,
            bytes_max,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// A view of a table that an operator keeps.
    pub fn of_table(table: Arc<KeyedTable>) -> Self {
        Self {
            schema: table.schema(),
            bytes_max: usize::MAX,
            state: Mutex::new(State {
                table: Some(table),
                ..State::default()
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below leaves the state whole, so that a panic elsewhere in a
        // holder's thread does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Whether its rows still change.
    pub fn is_table(&self) -> bool {
        self.state().table.is_some()
    }

    /// Adds rows and wakes who waits for them.
    pub fn append(&self, records: RecordBatch) {
        // Rows that cannot be copied stay where they are.
        let records = compacted(records.clone()).unwrap_or(records);
        let mut state = self.state();
        state.bytes += bytes_of(&records);
        state.rows += records.num_rows() as u64;
        state.batches.push_back(records);
        while state.bytes > self.bytes_max && state.batches.len() > 1 {
            if let Some(oldest) = state.batches.pop_front() {
                state.bytes -= bytes_of(&oldest);
                state.rows -= oldest.num_rows() as u64;
                state.rows_let_go += oldest.num_rows() as u64;
                state.first += 1;
            }
        }
        self.changed.notify_all();
    }

    /// Says that nothing follows.
    pub fn end(&self) {
        // What cannot be computed any longer says so when it is read.
        let _ = self.keep_last();
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Keeps the rows of a table as they are: its operator takes no more.
    ///
    /// # Errors
    /// If they cannot be computed.
    pub(super) fn keep_last(&self) -> Result<()> {
        let Some(table) = self.state().table.clone() else {
            return Ok(());
        };
        let batches = table.batches()?;
        let mut state = self.state();
        state.bytes = batches.iter().map(bytes_of).sum();
        state.rows = rows_of(&batches);
        state.batches = batches.into();
        state.table = None;
        Ok(())
    }

    /// Says that nothing follows because of an error.
    pub fn fail(&self, error: Arc<Error>) {
        // What cannot be computed any longer says so when it is read.
        let _ = self.keep_last();
        let mut state = self.state();
        state.failure = Some(error);
        state.ended = true;
        drop(state);
        self.changed.notify_all();
    }

    /// The rows as they are now.
    ///
    /// # Errors
    /// If they are computed now, and a value is refused.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let state = self.state();
        match state.table.clone() {
            None => Ok(state.batches.iter().cloned().collect()),
            Some(table) => {
                drop(state);
                table.batches()
            }
        }
    }

    /// How much it holds; of a table whose rows cannot be computed, nothing.
    pub fn size(&self) -> ViewSize {
        let state = self.state();
        if let Some(table) = state.table.clone() {
            drop(state);
            let batches = table.batches().unwrap_or_default();
            return ViewSize {
                rows: rows_of(&batches),
                bytes: batches.iter().map(bytes_of).sum(),
                rows_let_go: 0,
            };
        }
        ViewSize {
            rows: state.rows,
            bytes: state.bytes,
            rows_let_go: state.rows_let_go,
        }
    }

    /// A position before the first row that is held.
    pub fn subscribe(self: &Arc<Self>) -> Cursor {
        let next = self.state().first;
        Cursor {
            view: self.clone(),
            next,
            missed: 0,
        }
    }

    pub(super) fn save(&self) -> Result<Snapshot> {
        let state = self.state();
        let mut snapshot = Snapshot::default();
        let rows = concat_batches(&self.schema, &state.batches)?;
        snapshot.tables.insert("rows".into(), rows);
        (snapshot.numbers).insert("rows_let_go".into(), state.rows_let_go as i64);
        (snapshot.numbers).insert("ended".into(), i64::from(state.ended));
        Ok(snapshot)
    }

    pub(super) fn load(&self, snapshot: &Snapshot) -> Result<()> {
        let rows = snapshot.table("rows")?.clone();
        if rows.num_rows() > 0 {
            self.append(rows);
        }
        let mut state = self.state();
        state.rows_let_go = snapshot.count("rows_let_go")?;
        state.ended = snapshot.number("ended")? != 0;
        if state.ended {
            state.table = None;
        }
        Ok(())
    }
}

fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

impl Cursor {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.view.schema()
    }

    /// The next rows, waiting for them at most `wait`.
    pub fn next(&mut self, wait: Duration) -> Next {
        let view = self.view.clone();
        let mut state = view.state();
        let last = state.first + state.batches.len() as u64;
        if self.next >= last && !state.ended && !wait.is_zero() {
            let waited = view.changed.wait_timeout_while(state, wait, |state| {
                self.next >= state.first + state.batches.len() as u64 && !state.ended
            });
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if self.next < state.first {
            self.missed += state.first - self.next;
            self.next = state.first;
        }
        match state.batches.get((self.next - state.first) as usize) {
            Some(records) => {
                self.next += 1;
                Next::Batch(records.clone())
            }
            None if state.ended => match &state.failure {
                Some(error) => Next::Failed(error.clone()),
                None => Next::End,
            },
            None => Next::Pending,
        }
    }

    /// How many batches were let go before this subscription read them.
    pub fn missed_batches(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    fn rows(values: &[i64]) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("v", column)]).expect("one column")
    }

    #[test]
    fn a_subscription_reads_each_batch_once_and_then_the_end() {
        let view = Arc::new(View::new(rows(&[]).schema(), 1 << 20));
        let mut cursor = view.subscribe();
        assert!(matches!(cursor.next(Duration::ZERO), Next::Pending));
        view.append(rows(&[1]));
        view.append(rows(&[2, 3]));
        view.end();
        assert!(matches!(cursor.next(Duration::ZERO), Next::Batch(b) if b == rows(&[1])));
        assert!(matches!(cursor.next(Duration::ZERO), Next::Batch(b) if b == rows(&[2, 3])));
        assert!(matches!(cursor.next(Duration::ZERO), Next::End));
    }

    #[test]
    fn a_subscription_reads_the_rows_before_a_failure_and_then_the_error() {
        let view = Arc::new(View::new(rows(&[]).schema(), 1 << 20));
        let mut cursor = view.subscribe();
        view.append(rows(&[1]));
        view.fail(Arc::new(Error::invalid("no such luck")));
        assert!(matches!(cursor.next(Duration::ZERO), Next::Batch(b) if b == rows(&[1])));
        let failed = cursor.next(Duration::ZERO);
        assert!(matches!(failed, Next::Failed(error) if error.to_string() == "no such luck"));
    }

    #[test]
    fn what_the_limit_lets_go_is_counted() {
        let one = bytes_of(&rows(&[7]));
        let view = Arc::new(View::new(rows(&[]).schema(), 2 * one));
        let mut cursor = view.subscribe();
        for value in 0..5 {
            view.append(rows(&[value]));
        }
        assert_eq!(view.size().rows, 2);
        assert_eq!(view.size().rows_let_go, 3);
        assert!(matches!(cursor.next(Duration::ZERO), Next::Batch(b) if b == rows(&[3])));
        assert_eq!(cursor.missed_batches(), 3);
    }
}
