//! What counted windows have in common: rows numbered within their partition are the
//! times of a [`Grid`], and rows behind the watermark are late.

use super::Counters;
use super::frame::behind_unannounced;
use super::late::Late;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::time::{MIN_TIME, ticks};
use crate::window::grid::Grid;
use crate::window::{Alignment, Span, WindowKind};
use arrow::datatypes::TimeUnit;

/// The grid of counted windows: its times are numbers of rows.
pub(crate) fn count_grid(rows: u64, slide: u64) -> Result<Grid> {
    let span = |rows: u64| {
        let rows = i64::try_from(rows)
            .ok()
            .filter(|&rows| rows <= i64::MAX / 4);
        rows.map(Span::Ticks)
            .ok_or_else(|| Error::invalid("COUNT_WINDOW counts too many rows"))
    };
    let kind = WindowKind::Hop {
        slide: span(slide)?,
        size: span(rows)?,
    };
    Grid::new(kind, Alignment::default(), TimeUnit::Nanosecond)
        .map_err(|_| Error::invalid("COUNT_WINDOW needs 1 <= slide <= rows"))
}

/// The end, as a pane edge, of the window that is full when `taken` rows are there.
pub(crate) fn filled_by(grid: &Grid, taken: i64) -> Option<i64> {
    (filled_until(grid, taken) == taken).then(|| grid.closed(taken))
}

/// How many of `taken` rows are in full windows.
pub(crate) fn filled_until(grid: &Grid, taken: i64) -> i64 {
    let closed = grid.closed(taken);
    // Windows that would start before the first row are none.
    if grid.panes().start_of(closed) < 0 {
        0
    } else {
        grid.start(closed)
    }
}

/// The rows of a batch that are not late; those that are, and those without event
/// time, are counted and set aside.
pub(crate) fn admit(
    batch: &Batch,
    time: usize,
    watermark: i64,
    late: &mut Late,
    counters: &mut Counters,
) -> Result<Vec<u32>> {
    let (times, nulls) = ticks(batch.records.column(time))?;
    let mut kept = Vec::with_capacity(times.len());
    let (mut late_rows, mut late_by) = (Vec::new(), Vec::new());
    for (row, &time) in times.iter().enumerate() {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            counters.filtered += 1;
            continue;
        }
        let arrived = (batch.behind.as_ref()).map_or(MIN_TIME, |behind| behind.watermarks[row]);
        let watermark = watermark.max(arrived);
        if time >= watermark {
            kept.push(row as u32);
        } else if batch.behind.is_some() {
            late_rows.push(row as u32);
            late_by.push(watermark.saturating_sub(time));
        } else {
            return Err(behind_unannounced(time, watermark));
        }
    }
    counters.late += late_rows.len() as u64;
    counters.in_window += kept.len() as u64;
    if let Some(behind) = &batch.behind {
        late.add(behind, late_rows, late_by)?;
    }
    Ok(kept)
}
