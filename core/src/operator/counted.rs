//! What counted windows have in common: rows numbered within their partition are the
//! times of a [`Grid`], and a window that is not full comes out at the end.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::TimeUnit;

use super::windowed::{Progress, Windowed};
use crate::batch::{Batch, Behind};
use crate::error::{Error, Result};
use crate::window::grid::Grid;
use crate::window::{Alignment, Span, WindowKind};

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

/// Gives out the rows of a window that is not full, which ends at `last`. Where more has
/// been promised, they come with the watermark that they lie behind.
pub(crate) fn push_unfinished<W: Windowed>(
    progress: &mut Progress,
    records: RecordBatch,
    last: i64,
) -> Result<()> {
    if last >= progress.watermark {
        return progress.outbox.push(records);
    }
    let rows = records.num_rows();
    let behind = Behind {
        watermarks: vec![progress.watermark; rows].into(),
        source_rows: UInt32Array::from_iter_values(0..rows as u32),
        stream: W::NAME.into(),
        source: records.clone(),
    };
    progress.outbox.push_batch(Batch {
        records,
        behind: Some(Box::new(behind)),
    })
}
