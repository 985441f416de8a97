//! Operators: what rows and watermarks are pushed through.
//!
//! An operator takes events and is then drained:
//!
//! ```text
//!              on_batch · on_watermark · on_end
//!   upstream ───────────────────────────────────▶ operator ──drain──▶ downstream
//! ```
//!
//! It never blocks, never reads a clock and does no I/O. Its work follows the rows
//! and the live panes, never elapsed time: a jump of the watermark over fifty years
//! costs no more than one over a second. Operators may use rayon; the engine installs
//! its pool around every call.

mod frame;
mod late;
mod outbox;

mod windowed;

mod stateless;
mod union;

mod counted;

mod count_aggregate;
mod session_aggregate;

mod count_rows;
mod session_rows;

mod window_aggregate;
mod window_rows;

mod by_key;

mod over;

mod keyed_aggregate;

pub use keyed_aggregate::{KeyedAggregateSpec, KeyedTable, keyed_aggregate};
pub use over::over;
pub use window_aggregate::window_aggregate;
pub use window_rows::window_rows;

use std::fmt::Debug;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

use crate::aggregate::AggregateCall;
use crate::batch::Batch;
use crate::error::Result;
use crate::snapshot::Snapshot;
use crate::window::{Alignment, OverFrame, WindowKind};

pub use stateless::{Lag, Limit, RowFunction, Stateless};
pub use union::Union;

/// What an operator gives to the next one.
#[derive(Debug, Clone)]
pub enum Output {
    /// Rows.
    Batch(Batch),
    /// No later row of this operator lies before this event time.
    Watermark(i64),
    /// Nothing follows.
    End,
}

/// Whether an operator has more to give at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// The budget ran out: call again.
    More,
    /// All that was ready has been given.
    Done,
}

/// How an operator accounts for the rows it was given, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went out.
    pub rows_out: u64,
    /// Rows dropped by a condition.
    pub filtered: u64,
    /// Rows in at least one window (window operators only).
    pub in_window: u64,
    /// Rows whose windows had all closed (window operators only).
    pub late: u64,
    /// Closed windows that a row came too late for although others of its windows
    /// were open.
    pub missed_windows: u64,
    /// Windows given out, one for each key.
    pub windows: u64,
    /// Keys with live state.
    pub keys: u64,
    /// Live panes, sessions or counted windows.
    pub panes: u64,
    /// Windows with rows that have not been given out; of counted windows, the partitions
    /// that hold rows.
    pub open_windows: u64,
    /// Bytes of state.
    pub state_bytes: u64,
}

/// Rows that came too late for every window of theirs.
#[derive(Debug, Clone)]
pub struct LateRows {
    /// The stream they were read from.
    pub stream: Arc<str>,
    /// The whole rows, as the stream accepted them.
    pub rows: RecordBatch,
    /// `[rows]`: their places in the batch that the stream accepted; empty once that is
    /// gone.
    pub source_rows: UInt32Array,
    /// `[rows]`: how many ticks each lay behind the watermark.
    pub late_by: Vec<i64>,
}

/// A step of a query.
pub trait Operator: Send + Debug {
    /// Its name in `EXPLAIN` and in errors, such as `WindowAggregate`.
    fn name(&self) -> &str;

    /// The columns it gives.
    fn schema(&self) -> SchemaRef;

    /// Whether it gives each row on in the event that brought it, with the watermark at
    /// which it arrived.
    fn is_prompt(&self) -> bool {
        false
    }

    /// Says which inputs are branches of one stream, by a number for it: their rows of
    /// an event are to be given out at [`Operator::settle`], in order of arrival.
    fn gather(&mut self, branches: Vec<Option<usize>>) {
        let _ = branches;
    }

    /// Takes the news that an event's rows have come by all inputs.
    ///
    /// # Errors
    /// As [`Operator::on_batch`].
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Takes rows.
    ///
    /// # Errors
    /// On data that the query refuses, or when a named limit is reached: the query
    /// fails, its neighbours go on.
    fn on_batch(&mut self, input: usize, batch: Batch) -> Result<()>;

    /// Takes the news that rows before `watermark` are no longer waited for.
    ///
    /// # Errors
    /// As [`Operator::on_batch`].
    fn on_watermark(&mut self, input: usize, watermark: i64) -> Result<()>;

    /// Takes the news that an input has ended: every window closes.
    ///
    /// # Errors
    /// As [`Operator::on_batch`].
    fn on_end(&mut self, input: usize) -> Result<()>;

    /// Gives what is ready, about `budget_rows` rows at most, in order. What it has
    /// promised by a watermark it has given before it.
    ///
    /// # Errors
    /// As [`Operator::on_batch`].
    fn drain(&mut self, budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain>;

    /// Takes away the late rows found since the last call.
    fn take_late(&mut self) -> Vec<LateRows> {
        Vec::new()
    }

    /// How it accounts for its rows.
    fn counters(&self) -> Counters;

    /// Its whole state, between two events.
    ///
    /// # Errors
    /// If a state cannot be saved.
    fn save(&mut self) -> Result<Snapshot>;

    /// Takes over a saved state. The operator has seen no event yet.
    ///
    /// # Errors
    /// If the snapshot was taken of another operator.
    fn load(&mut self, snapshot: &Snapshot) -> Result<()>;
}

/// What a windowed aggregation computes. Its input holds just the columns that are
/// named here by their place.
///
/// It gives one row for each window and key that has rows, with the columns: the keys
/// in their order, `window_start`, `window_end`, `window_time`, then the aggregates.
#[derive(Debug, Clone)]
pub struct WindowAggregateSpec {
    /// The input's columns.
    pub input: SchemaRef,
    /// The event-time column.
    pub time: usize,
    /// The key columns, of any groupable type.
    pub keys: Vec<usize>,
    /// For SESSION and COUNT: how many leading keys make up the sequence in which
    /// sessions and counts are found; the other keys divide each window further.
    /// All of them for the other kinds.
    pub partition_keys: usize,
    /// The window function.
    pub kind: WindowKind,
    /// Where windows start counting.
    pub alignment: Alignment,
    /// The aggregates; none is allowed (`SELECT DISTINCT key, window_start`).
    pub aggregates: Vec<AggregateCall>,
}

/// What a window function without aggregation computes: each row once for each
/// window that holds it, with `window_start`, `window_end`, `window_time` after the
/// input's columns.
#[derive(Debug, Clone)]
pub struct WindowRowsSpec {
    /// The input's columns.
    pub input: SchemaRef,
    /// The event-time column.
    pub time: usize,
    /// For SESSION and COUNT: the PARTITION BY columns.
    pub partition_keys: Vec<usize>,
    /// The window function.
    pub kind: WindowKind,
    /// Where windows start counting.
    pub alignment: Alignment,
}

/// What per-row windows (`OVER`) compute: each row once, when the watermark is past it, in
/// order of event time, with the values of the calls after the input's columns.
#[derive(Debug, Clone)]
pub struct OverSpec {
    /// The input's columns.
    pub input: SchemaRef,
    /// The event-time column, by which rows are ordered.
    pub time: usize,
    /// The PARTITION BY columns, of any groupable type.
    pub keys: Vec<usize>,
    /// What is computed.
    pub calls: Vec<OverCall>,
    /// Whether rows without a time are there too, after all others and among themselves
    /// (`NULLS LAST`). They are none of a stream, but they are rows of a table.
    pub keeps_untimed: bool,
}

/// An aggregate over the rows around each row.
#[derive(Debug, Clone)]
pub struct OverCall {
    /// The aggregate; its factory has a sliding state.
    pub call: AggregateCall,
    /// The rows.
    pub frame: OverFrame,
}

#[cfg(test)]
mod tests;
