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

use super::accounts::{Kept, LateStore, Rejects};
use super::expect::{Expect, Expected};
use super::watermark::WatermarkTracker;
use crate::batch::{Batch, Behind};
use crate::error::{Error, Result};
use crate::stream::{Arrival, Origin, Place, Reject};
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
    /// Counted only; a notice, which is not counted, is kept.
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
    /// How many readings should come, if that is known; only with an event time.
    pub expect: Option<Expect>,
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
    /// Accepted rows that came too late for at least one query.
    pub late: u64,
    /// Accepted rows that the queries have done with, late for none of them:
    /// `accepted = processed + late + unread`.
    pub processed: u64,
    /// Accepted rows that came when no query was there to take them, or all had failed.
    pub unread: u64,
    /// Result rows that the stream's rows, watermarks and end have brought out, of all
    /// queries.
    pub emitted: u64,
}

/// A stream of an engine.
#[derive(Debug)]
pub(super) struct Ingress {
    pub(super) spec: StreamSpec,
    pub(super) tracker: WatermarkTracker,
    pub(super) counters: StreamCounters,
    pub(super) rejects: Rejects,
    pub(super) late: LateStore,
    pub(super) expected: Option<Expected>,
    pub(super) ended: bool,
    /// The watermark that the stream's readers know.
    pub(super) told: i64,
    /// Whether each batch tells when its rows arrived, though none lies behind.
    pub(super) tells_arrival: bool,
    nanos_per_tick: i64,
}

impl Ingress {
    pub(super) fn new(spec: StreamSpec, kept: &Kept, now: i64) -> Result<Self> {
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
            rejects: Rejects::new(kept),
            late: LateStore::new(kept),
            expected: (spec.expect.clone())
                .map(|expect| Expected::new(expect, &schema))
                .transpose()?,
            ended: false,
            told: time::MIN_TIME,
            tells_arrival: false,
            nanos_per_tick,
            spec,
        })
    }

    /// Takes rows of one partition and gives those that are accepted.
    pub(super) fn accept(&mut self, arrival: Arrival<'_>, now: i64) -> Result<Option<Batch>> {
        let Arrival {
            partition,
            records,
            rejected: unparsed,
            origin,
            bytes,
        } = arrival;
        let rows = records.num_rows();
        let first_row = self.counters.received;
        let notices = unparsed.iter().filter(|reject| !reject.is_row()).count();
        self.counters.received += (rows + unparsed.len() - notices) as u64;
        self.counters.bytes += bytes;
        if rows == 0 {
            self.reject(unparsed, notices, origin)?;
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
                self.reject(unparsed, notices, origin)?;
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
        let mut kept = None;
        let (accepted, rejects) = if violations.is_empty() {
            (prepared, unparsed)
        } else {
            let mut keep = vec![true; rows];
            for violation in &violations {
                keep[violation.row] = false;
            }
            let keep = kept.insert(BooleanArray::from(keep));
            let accepted = filter_record_batch(&prepared, keep)?;
            let whole = whole(origin, rows)?;
            let records = whole.as_ref().unwrap_or(records);
            let broken = self.broken(records, violations, origin, first_row);
            let before = origin.map_or(&[][..], Origin::rows_before);
            (accepted, in_order(unparsed, before, broken))
        };
        if let Err(error) = self.reject(rejects, notices, origin) {
            self.counters.rejected += accepted.num_rows() as u64;
            return Err(error);
        }
        if accepted.num_rows() == 0 {
            return Ok(None);
        }
        let watermarks = match self.spec.event_time {
            Some(event_time) => {
                let (times, _) = time::ticks(accepted.column(event_time.column))?;
                if let Some(expected) = &mut self.expected {
                    expected.take(&accepted, times)?;
                }
                (self.tracker).advance_telling(partition, times, now, self.tells_arrival)
            }
            None => (self.tells_arrival).then(|| vec![time::MIN_TIME; accepted.num_rows()].into()),
        };
        let source = match &watermarks {
            // Any of the rows may be late, and is then kept whole.
            Some(_) => match whole(origin, rows)? {
                Some(records) => {
                    let records = self.spec.prepare.prepare(&records)?.records;
                    match &kept {
                        Some(kept) => filter_record_batch(&records, kept)?,
                        None => records,
                    }
                }
                None => accepted.clone(),
            },
            None => accepted.clone(),
        };
        self.counters.accepted += accepted.num_rows() as u64;
        Ok(Some(self.batch(accepted, source, watermarks)))
    }

    /// Rows that break a rule, each with its place in the batch.
    #[cold]
    fn broken(
        &self,
        records: &RecordBatch,
        violations: Vec<Violation>,
        origin: Option<&dyn Origin>,
        first_row: u64,
    ) -> Vec<(usize, Reject)> {
        let rows: Vec<usize> = violations.iter().map(|violation| violation.row).collect();
        let places = match origin {
            Some(origin) => origin.places(&rows),
            None => (rows.iter())
                .map(|row| Place {
                    position: format!("row {}", first_row + *row as u64 + 1),
                    text: None,
                })
                .collect(),
        };
        (violations.into_iter().zip(places))
            .map(|(violation, place)| {
                let described = || self.spec.prepare.describe(records, violation.row);
                let reject = Reject {
                    text: place.text.unwrap_or_else(described),
                    position: place.position,
                    reason: violation.reason,
                    rule: violation.rule,
                };
                (violation.row, reject)
            })
            .collect()
    }

    fn batch(
        &self,
        records: RecordBatch,
        source: RecordBatch,
        watermarks: Option<ScalarBuffer<i64>>,
    ) -> Batch {
        let behind = watermarks.map(|watermarks| {
            Box::new(Behind {
                source_rows: UInt32Array::from_iter_values(0..watermarks.len() as u32),
                watermarks,
                stream: self.spec.name.clone(),
                source,
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

    /// Keeps what was rejected. `notices`: how many of them are no rows.
    fn reject(
        &mut self,
        rejects: Vec<Reject>,
        notices: usize,
        origin: Option<&dyn Origin>,
    ) -> Result<()> {
        let rows = rejects.len() - notices;
        self.counters.rejected += rows as u64;
        if let Some(origin) = origin.filter(|_| !rejects.is_empty()) {
            origin.rejected(&rejects);
        }
        match self.spec.on_error {
            OnError::Keep => self.rejects.extend(rejects),
            OnError::Skip => {
                let notices = rejects.into_iter().filter(|reject| !reject.is_row());
                self.rejects.extend(notices);
            }
            OnError::Fail => {
                let wrong = rejects.iter().find(|reject| reject.is_row());
                // A CHECK may be called as notices are.
                if let Some(reject) = wrong.or(rejects.first()).filter(|_| rows > 0) {
                    let failure = Error::invalid(format!(
                        "a row of {} was rejected at {}: {}",
                        self.spec.name, reject.position, reject.reason
                    ));
                    self.rejects.extend(rejects);
                    return Err(failure);
                }
                self.rejects.extend(rejects);
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

/// The `rows` rows of a batch with all columns, if some were left out of it.
fn whole(origin: Option<&dyn Origin>, rows: usize) -> Result<Option<RecordBatch>> {
    match origin.map(Origin::whole).transpose()?.flatten() {
        Some(records) if records.num_rows() != rows => {
            Err(Error::invalid("rows have changed while they were read"))
        }
        whole => Ok(whole),
    }
}

/// Rejects in the order in which their rows were read: those that could not be parsed,
/// with the number of rows `before` each, and those that broke a rule, with their rows.
fn in_order(unparsed: Vec<Reject>, before: &[usize], broken: Vec<(usize, Reject)>) -> Vec<Reject> {
    let mut merged = Vec::with_capacity(unparsed.len() + broken.len());
    let mut broken = broken.into_iter().peekable();
    for (place, reject) in unparsed.into_iter().enumerate() {
        let before = before.get(place).copied().unwrap_or(0);
        while let Some((_, earlier)) = broken.next_if(|(row, _)| *row < before) {
            merged.push(earlier);
        }
        merged.push(reject);
    }
    merged.extend(broken.map(|(_, reject)| reject));
    merged
}
