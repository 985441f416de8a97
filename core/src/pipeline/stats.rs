//! How streams and queries account for their rows.

use std::sync::Arc;

use super::ingress::StreamCounters;
use crate::error::Error;
use crate::operator::Counters;
pub use crate::stream::PushReport;

/// Where a query stands.
#[derive(Debug, Clone)]
pub enum QueryStatus {
    /// It takes rows.
    Running,
    /// All its inputs have ended, or it was stopped.
    Ended,
    /// It was taken off by an error.
    Failed(Arc<Error>),
}

/// How a query has accounted for rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Accounted {
    pub(super) in_window: u64,
    pub(super) filtered: u64,
    pub(super) late: u64,
    pub(super) missed_windows: u64,
}

/// How a query accounts for the rows it was given, and what it holds.
#[derive(Debug, Clone)]
pub struct QueryStats {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands.
    pub status: QueryStatus,
    /// Rows given to it: `accepted = in_window + filtered + late + failed`.
    pub accepted: u64,
    /// Rows in at least one window (or in the result, where there is no window).
    pub in_window: u64,
    /// Rows dropped by a condition.
    pub filtered: u64,
    /// Rows whose windows had all closed.
    pub late: u64,
    /// Closed windows that rows came too late for although others were open.
    pub missed_windows: u64,
    /// Rows of the batch in which the query failed that it did not come to.
    pub failed: u64,
    /// Rows that what it reads has given since it failed. They are in none of the counts
    /// above.
    pub after_failure: u64,
    /// Result rows.
    pub rows_out: u64,
    /// Its watermark, [`MIN_TIME`] if there is none yet.
    pub watermark: i64,
    /// Keys with live state.
    pub keys: u64,
    /// Live panes, sessions or counted windows.
    pub panes: u64,
    /// Windows with rows that have not been given out.
    pub open_windows: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Each operator's name and counters.
    pub operators: Vec<(String, Counters)>,
}

/// How a stream stands.
#[derive(Debug, Clone)]
pub struct StreamStats {
    /// How it accounts for its rows.
    pub counters: StreamCounters,
    /// Its watermark, [`MIN_TIME`] if there is none yet.
    pub watermark: i64,
    /// How many readings should have come, if that is known.
    pub expected: Option<u64>,
    /// Whether it has ended.
    pub ended: bool,
    /// Rejects that are no longer kept.
    pub rejects_let_go: u64,
    /// Late rows that are no longer kept.
    pub late_let_go: u64,
}
