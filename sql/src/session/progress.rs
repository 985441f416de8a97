//! Where a session stands, for a progress line.

use std::sync::Arc;
use std::time::Instant;

use windrow_core::pipeline::{Driver, QueryId, QueryStats, QueryStatus};
use windrow_core::stream::Reject;
use windrow_core::time::{self, MAX_TIME, MIN_TIME};

use super::catalog::{Reading, StreamEntry};

/// Where a session stands, for a progress line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows received.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of the inputs being read, if they are known.
    pub bytes_total: Option<u64>,
    /// Rows that came too late for a query, each counted once however many it was late for.
    pub late: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Rows that a bounded buffer of a source could not take.
    pub dropped: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Windows with rows that no query has given out, of those that have not failed.
    pub open_windows: u64,
    /// The least watermark of the running queries, in milliseconds since the Unix
    /// epoch.
    pub watermark_ms: Option<i64>,
    /// Whether rows are read as they happen, so that the watermark follows the clock.
    pub is_live: bool,
}

impl Progress {
    /// The part of the inputs that has been read, from 0 to 1, if their size is known.
    pub fn share(&self) -> Option<f64> {
        let total = self.bytes_total.filter(|total| *total > 0)?;
        Some(self.bytes.min(total) as f64 / total as f64)
    }

    /// How far the watermark is behind the clock `now`, in milliseconds since the Unix
    /// epoch, where rows are read as they happen.
    pub fn lag_ms(&self, now: i64) -> Option<i64> {
        let watermark = self.watermark_ms.filter(|_| self.is_live)?;
        Some(now.saturating_sub(watermark))
    }
}

/// What a stream did not take into its results.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// The stream, or the file that a query names.
    pub stream: String,
    /// How many rows were rejected.
    pub rejected: u64,
    /// The oldest of them that is kept.
    pub example: Option<Reject>,
    /// Whether rows are kept that came too late for a query.
    pub late: bool,
}

/// Where a session stood when that was last looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) at: Option<Instant>,
    pub(super) progress: Progress,
    /// What streams and queries that are no longer there had counted.
    pub(super) before: Progress,
    /// What had gone wrong.
    pub(super) faults: Faults,
}

/// How much had gone wrong when that was last looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Queries that had failed.
    pub failed: usize,
    /// Rows that had been rejected.
    pub rejected: u64,
    /// Rows that sinks of live queries had left out.
    pub left_out: u64,
}

/// Where a session stands whose streams have these readings and whose engine has these
/// queries, and that had counted `before`.
pub(super) fn look(
    driver: &Driver,
    readings: &[(&Arc<StreamEntry>, Vec<Reading>)],
    queries: &[(QueryId, QueryStats)],
    before: &Progress,
) -> Progress {
    let mut progress = *before;
    // The inputs that have been read belong to the whole too.
    let mut bytes_read = before.bytes;
    for (stream, readings) in readings {
        for reading in readings {
            let Ok(stats) = driver.engine.stream_stats(reading.id) else {
                continue;
            };
            progress.rows += stats.counters.received;
            progress.bytes += stats.counters.bytes;
            progress.rejected += stats.counters.rejected;
            progress.late += stats.counters.late;
            progress.dropped += stats.counters.dropped;
            if driver.is_running(reading.id) {
                progress.is_live |= stream.live.is_some();
            } else {
                bytes_read += stats.counters.bytes;
            }
            let watermark = watermark_micros(stream, stats.watermark).map(|micros| micros / 1000);
            progress.watermark_ms = match (progress.watermark_ms, watermark) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    progress.bytes_total = driver.bytes_total().map(|bytes| bytes + bytes_read);
    for (_, stats) in queries {
        progress.state_bytes += stats.state_bytes;
        progress.open_windows += open_windows(stats);
    }
    progress
}

/// The windows that a query may still give out.
pub(super) fn open_windows(stats: &QueryStats) -> u64 {
    match stats.status {
        QueryStatus::Failed(_) => 0,
        QueryStatus::Running | QueryStatus::Ended => stats.open_windows,
    }
}

/// A watermark in microseconds; `None` before the first and after the last.
pub(super) fn watermark_micros(stream: &StreamEntry, watermark: i64) -> Option<i64> {
    if watermark == MIN_TIME || watermark == MAX_TIME {
        return None;
    }
    let column = stream.event_time?.column;
    let schema = stream.schema();
    let unit = time::time_unit(schema.field(column).data_type()).ok()?;
    let nanos = i128::from(watermark) * i128::from(time::nanos_per_tick(unit));
    i64::try_from(nanos.div_euclid(1000)).ok()
}
