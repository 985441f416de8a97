//! The door of a stream: what is accepted, what is rejected and why, and how far the
//! event time has come.
//!
//! ```text
//!  source rows ─▶ prepare (computed columns, rules) ─▶ event time, future guard ─▶ accepted
//!                      └────────── rejects ◀──────────────────┘
//! ```
//!
//! `received = accepted + rejected + dropped` holds after every call.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;

use super::accounts::{LateStore, Rejects};
use super::watermark::WatermarkTracker;
use crate::batch::{Batch, Behind};
use crate::error::{Error, Result};
use crate::stream::Reject;
use crate::time;

/// Computed columns and quality rules of a stream; implemented outside the engine,
/// over expressions.
pub trait Prepare: Send + Debug {
    /// The columns of accepted rows.
    fn schema(&self) -> SchemaRef;

    /// The rows with all columns of [`Prepare::schema`], and those that break a rule.
    ///
    /// # Errors
    /// If an expression fails on the whole batch.
    fn prepare(&mut self, records: &RecordBatch) -> Result<Prepared>;

    /// The text of a row, as it is kept with a reject.
    fn describe(&self, records: &RecordBatch, row: usize) -> String;
}

/// What [`Prepare::prepare`] gives.
#[derive(Debug)]
pub struct Prepared {
    /// `[rows]`: as many as came in, in their order.
    pub records: RecordBatch,
    /// The rows that break a rule, in order of their places.
    pub violations: Vec<Violation>,
}

/// A row that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its place in the batch.
    pub row: usize,
    /// The rule's name or text.
    pub rule: String,
    /// Why, as a sentence.
    pub reason: String,
}

/// A stream's event time.
#[derive(Debug, Clone, Copy)]
pub struct EventTime {
    /// Its column among those of accepted rows.
    pub column: usize,
    /// The bound on disorder, in ticks.
    pub bound: i64,
}

/// What holds for live streams only.
#[derive(Debug, Clone, Copy)]
pub struct LiveRules {
    /// A partition that is silent for so long is not waited for; 0 = never.
    pub idle_timeout_ns: i64,
    /// A row that is further ahead of the clock is rejected; 0 = never.
    pub max_future_ns: i64,
}

/// What becomes of rows that are rejected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// Kept in the rejects.
    #[default]
    Keep,
    /// Counted only.
    Skip,
    /// The first one fails the stream's queries.
    Fail,
}

/// A stream to add to an engine.
#[derive(Debug)]
pub struct StreamSpec {
    /// Its name in errors, late rows and snapshots.
    pub name: Arc<str>,
    /// Computed columns and rules.
    pub prepare: Box<dyn Prepare>,
    /// The event time; `None`: nothing is late, windows close at the end.
    pub event_time: Option<EventTime>,
    /// `None` for a bounded source.
    pub live: Option<LiveRules>,
    /// Partitions known at the start; others join when they give rows.
    pub partitions: u32,
    /// What becomes of rejected rows.
    pub on_error: OnError,
}

/// How a stream accounts for its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Rows that arrived.
    pub received: u64,
    /// Rows given to the queries.
    pub accepted: u64,
    /// Rows that could not be read or broke a rule.
    pub rejected: u64,
    /// Rows that a bounded buffer could not take.
    pub dropped: u64,
    /// Bytes read from the source.
    pub bytes: u64,
}

/// A stream of an engine.
#[derive(Debug)]
pub(super) struct Ingress {
    pub(super) spec: StreamSpec,
    pub(super) tracker: WatermarkTracker,
    pub(super) counters: StreamCounters,
    pub(super) rejects: Rejects,
    pub(super) late: LateStore,
    pub(super) ended: bool,
    nanos_per_tick: i64,
}

impl Ingress {
    pub(super) fn new(
        spec: StreamSpec,
        rejects_max: usize,
        late_rows_max: usize,
        now: i64,
    ) -> Result<Self> {
        let schema = spec.prepare.schema();
        let (bound, nanos_per_tick) = match spec.event_time {
            Some(event_time) => {
                let unit = time::time_unit(schema.field(event_time.column).data_type())?;
                (event_time.bound, time::nanos_per_tick(unit))
            }
            None => (0, 1),
        };
        Ok(Self {
            tracker: WatermarkTracker::new(bound, spec.partitions, now),
            counters: StreamCounters::default(),
            rejects: Rejects::new(rejects_max),
            late: LateStore::new(late_rows_max),
            ended: false,
            nanos_per_tick,
            spec,
        })
    }

    /// Takes rows of one partition and gives those that are accepted.
    pub(super) fn accept(
        &mut self,
        partition: u32,
        records: &RecordBatch,
        unparsed: Vec<Reject>,
        bytes: u64,
        now: i64,
    ) -> Result<Option<Batch>> {
        let rows = records.num_rows();
        let first_row = self.counters.received;
        self.counters.received += (rows + unparsed.len()) as u64;
        self.counters.bytes += bytes;
        self.reject(unparsed)?;
        if rows == 0 {
            return Ok(None);
        }

        let Prepared {
            records: prepared,
            mut violations,
        } = match self.spec.prepare.prepare(records) {
            Ok(prepared) => prepared,
            Err(error) => {
                // Nothing of the batch reaches a query: it must not vanish uncounted.
                self.counters.rejected += rows as u64;
                return Err(error);
            }
        };
        if let Some(event_time) = self.spec.event_time {
            let breaches = self.time_violations(&prepared, event_time.column, now)?;
            if !breaches.is_empty() {
                violations.extend(breaches);
                violations.sort_by_key(|violation| violation.row);
                violations.dedup_by_key(|violation| violation.row);
            }
        }
        let accepted = if violations.is_empty() {
            prepared
        } else {
            let mut keep = vec![true; rows];
            let mut rejects = Vec::with_capacity(violations.len());
            for violation in violations {
                keep[violation.row] = false;
                rejects.push(Reject {
                    text: self.spec.prepare.describe(records, violation.row),
                    position: format!("row {}", first_row + violation.row as u64 + 1),
                    reason: violation.reason,
                    rule: violation.rule,
                });
            }
            let rejected = self.reject(rejects);
            let accepted = filter_record_batch(&prepared, &BooleanArray::from(keep))?;
            if let Err(error) = rejected {
                self.counters.rejected += accepted.num_rows() as u64;
                return Err(error);
            }
            accepted
        };
        self.counters.accepted += accepted.num_rows() as u64;
        if accepted.num_rows() == 0 {
            return Ok(None);
        }
        let watermarks = match self.spec.event_time {
            Some(event_time) => {
                let (times, _) = time::ticks(accepted.column(event_time.column))?;
                self.tracker.advance(partition, times, now)
            }
            None => None,
        };
        Ok(Some(self.batch(accepted, watermarks)))
    }

    fn batch(&self, records: RecordBatch, watermarks: Option<ScalarBuffer<i64>>) -> Batch {
        let behind = watermarks.map(|watermarks| {
            Box::new(Behind {
                source_rows: UInt32Array::from_iter_values(0..watermarks.len() as u32),
                watermarks,
                stream: self.spec.name.clone(),
                source: records.clone(),
            })
        });
        Batch { records, behind }
    }

    /// Rows without an event time, or from too far in the future.
    fn time_violations(
        &self,
        records: &RecordBatch,
        column: usize,
        now: i64,
    ) -> Result<Vec<Violation>> {
        let (times, nulls) = time::ticks(records.column(column))?;
        let schema = records.schema();
        let name = schema.field(column).name();
        let mut violations = Vec::new();
        if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
            violations.extend(
                (0..times.len())
                    .filter(|row| nulls.is_null(*row))
                    .map(|row| Violation {
                        row,
                        rule: "event time".into(),
                        reason: format!("the event time {name} is NULL"),
                    }),
            );
        }
        let guard = self.spec.live.map_or(0, |rules| rules.max_future_ns);
        if guard > 0 {
            let latest = now.saturating_add(guard).div_euclid(self.nanos_per_tick);
            let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
            let ahead = times.iter().enumerate().filter(|(_, time)| **time > latest);
            violations.extend(ahead.filter(|(row, _)| !is_null(*row)).map(|(row, time)| {
                let seconds = (i128::from(*time) * i128::from(self.nanos_per_tick)
                    - i128::from(now))
                    / 1_000_000_000;
                Violation {
                    row,
                    rule: "future".into(),
                    reason: format!(
                        "the event time {name} is {seconds} s ahead of the clock, more than max_future"
                    ),
                }
            }));
        }
        Ok(violations)
    }

    fn reject(&mut self, rejects: Vec<Reject>) -> Result<()> {
        self.counters.rejected += rejects.len() as u64;
        match self.spec.on_error {
            OnError::Keep => self.rejects.extend(rejects),
            OnError::Skip => {}
            OnError::Fail => {
                if let Some(reject) = rejects.first() {
                    let failure = Error::invalid(format!(
                        "a row of {} was rejected at {}: {}",
                        self.spec.name, reject.position, reject.reason
                    ));
                    self.rejects.extend(rejects);
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Lets the clock tell what is idle.
    pub(super) fn tick(&mut self, now: i64) {
        if let (Some(rules), Some(_)) = (self.spec.live, self.spec.event_time) {
            (self.tracker).tick(now, rules.idle_timeout_ns, self.nanos_per_tick);
        }
    }
}
