//! What the command asks of the engine.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};

use super::args::{GenerateOptions, OutputFormat};
use crate::error::{Result, Script};
use crate::format::Encoder;

/// An engine that runs scripts. Scripts that are run one after another share its
/// streams and views.
pub trait Runner: Send + Sync {
    /// Plans a script without reading any source.
    ///
    /// # Errors
    /// If a statement cannot be parsed or planned.
    fn check(&self, script: &Arc<Script>) -> Result<()>;

    /// Runs a script to its end, or until it is cancelled.
    ///
    /// # Errors
    /// If a statement cannot be planned or fails, or `handler` fails.
    fn run(
        &self,
        script: &Arc<Script>,
        handler: &mut dyn ResultHandler,
        cancel: &CancelFlag,
    ) -> Result<Summary>;

    /// Where the run stands; asked from another thread while [`Runner::run`] works.
    fn progress(&self) -> Progress;
}

/// Takes the rows of a script's queries. Those of several continuous queries may
/// come by turns.
pub trait ResultHandler {
    /// A query begins: `query` is its number among the queries that give rows, from 0.
    ///
    /// # Errors
    /// If its columns cannot be written in the chosen format.
    fn begin(&mut self, query: usize, schema: &SchemaRef) -> Result<()>;

    /// Rows of a query, in order.
    ///
    /// # Errors
    /// If they cannot be written.
    fn rows(&mut self, query: usize, rows: &RecordBatch) -> Result<()>;

    /// A query has ended.
    ///
    /// # Errors
    /// If its end cannot be written.
    fn end(&mut self, query: usize) -> Result<()>;
}

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Rows received from all sources.
    pub rows_in: u64,
    /// Rows given out by all queries.
    pub rows_out: u64,
    /// The least watermark of all streams that have one.
    pub watermark: Option<DateTime<Utc>>,
    /// How far the watermark is behind the clock, for live streams.
    pub watermark_lag: Option<Duration>,
    /// Late rows.
    pub late: u64,
    /// Rejected rows.
    pub rejected: u64,
    /// The state that operators hold, in bytes.
    pub state_bytes: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Where it stood at the end.
    pub progress: Progress,
    /// Whether it was stopped before its sources ended.
    pub cancelled: bool,
}

/// Says once, from any thread, that work is to stop.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Asks to stop; whether this had been asked before.
    pub fn set(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Makes an encoder of a format other than the tables, which the command writes itself.
pub type EncoderFactory<'a> =
    dyn Fn(OutputFormat, &SchemaRef) -> Result<Box<dyn Encoder>> + Sync + 'a;

/// Makes readings for `windrow generate`.
pub type Generator<'a> =
    dyn Fn(&GenerateOptions) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>>>> + Sync + 'a;

/// What the command works with.
pub struct Tools<'a> {
    /// Starts the engine, once for each invocation that runs or checks a script.
    pub runner: &'a (dyn Fn() -> Result<Box<dyn Runner>> + Sync),
    /// The formats.
    pub encoder: &'a EncoderFactory<'a>,
    /// The generator.
    pub generator: &'a Generator<'a>,
}

impl fmt::Debug for Tools<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}
