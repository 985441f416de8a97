//! `WindowRows`: each row with the windows that hold it.
//!
//! Over TUMBLE, HOP and CUMULATE a row is given on at once, for each of its windows
//! that was not closed when it arrived, in order of their starts; nothing is kept but
//! batches that are half given out. Rows come in order of arrival, and those behind
//! the watermark keep saying so. An input column that is named like a window column is
//! replaced.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::take;
use arrow::datatypes::{Int64Type, UInt32Type};

use super::count_rows::CountRows;
use super::frame::{Bounds, RowsFrame, behind_unannounced, repeat, select};
use super::outbox::{OUTPUT_ROWS, load_batch, save_batch};
use super::session_rows::SessionRows;
use super::windowed::{Progress, Windowed};
use super::{Counters, Operator, WindowRowsSpec};
use crate::batch::{Batch, Behind, bytes_of};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{ticks, time_unit};
use crate::window::WindowKind;
use crate::window::grid::Grid;
use crate::window::tables::{column, table};

/// The operator of a window function without aggregation.
///
/// Its event time downstream is `window_time`: rows of SESSION and COUNT windows come
/// out when their window closes, long after their own time.
///
/// # Errors
/// If the window's sizes do not fit each other or the columns do not fit the input.
pub fn window_rows(spec: WindowRowsSpec) -> Result<Box<dyn Operator>> {
    let frame = RowsFrame::new(&spec)?;
    match spec.kind {
        WindowKind::Session { gap } => {
            Ok(Box::new(SessionRows::new(frame, spec.partition_keys, gap)?))
        }
        WindowKind::Count { rows, slide } => {
            let keys = spec.partition_keys;
            Ok(Box::new(CountRows::new(frame, keys, rows, slide)?))
        }
        WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => {
            let unit = time_unit(&frame.time_type)?;
            let grid = Grid::new(spec.kind, spec.alignment, unit)?;
            Ok(Box::new(WindowRows {
                grid,
                jobs: VecDeque::new(),
                progress: Progress::new(frame.schema.clone()),
                frame,
            }))
        }
    }
}

#[derive(Debug)]
struct WindowRows {
    frame: RowsFrame,
    grid: Grid,
    jobs: VecDeque<Job>,
    progress: Progress,
}

/// Rows that are to be given on, and how far they have been.
#[derive(Debug)]
struct Job {
    batch: Batch,
    /// `[rows]`: the ends of the first and of the last window of each row.
    first: Vec<i64>,
    last: Vec<i64>,
    /// The first row that has windows left.
    row: usize,
}

impl WindowRows {
    /// The rows that have open windows.
    fn sort_out(&mut self, batch: &Batch) -> Result<()> {
        let (times, nulls) = ticks(batch.records.column(self.frame.time))?;
        let (earliest, latest) = self.grid.limits();
        let panes = self.grid.panes();
        let mut rows = Vec::with_capacity(times.len());
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let (mut late, mut late_by) = (Vec::new(), Vec::new());
        let mut watermark = self.progress.watermark;
        let mut closed = self.grid.closed(watermark);
        for (row, &time) in times.iter().enumerate() {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            if is_null || time < earliest || time >= latest {
                self.progress.counters.filtered += 1;
                continue;
            }
            if let Some(behind) = &batch.behind
                && behind.watermarks[row] > watermark
            {
                watermark = behind.watermarks[row];
                closed = self.grid.closed(watermark);
            }
            let pane = self.grid.pane(time);
            let last_end = panes.last_end(pane);
            if pane < closed && batch.behind.is_none() {
                return Err(behind_unannounced(time, watermark));
            }
            if last_end <= closed {
                late.push(row as u32);
                late_by.push(watermark.saturating_sub(time));
                continue;
            }
            self.progress.counters.missed_windows += panes.ends_until(pane, closed);
            rows.push(row as u32);
            first.push(panes.end_after(pane.max(closed)));
            last.push(last_end);
        }
        self.progress.counters.in_window += rows.len() as u64;
        self.progress.set_aside(batch, late, late_by)?;
        if !rows.is_empty() {
            let row = 0;
            let batch = pick(batch, select(&batch.records, &rows)?, &rows)?;
            self.jobs.push_back(Job {
                batch,
                first,
                last,
                row,
            });
        }
        Ok(())
    }

    /// Gives on about `budget` rows; false if there are none.
    fn give(&mut self, budget: usize) -> Result<bool> {
        let Some(job) = self.jobs.front_mut() else {
            return Ok(false);
        };
        let panes = self.grid.panes();
        let (mut rows, mut bounds) = (Vec::new(), Bounds::default());
        while rows.len() < budget.clamp(1, OUTPUT_ROWS) && job.row < job.first.len() {
            let end = job.first[job.row];
            if !self.grid.is_repeated(end) {
                let start = self.grid.start(panes.start_of(end));
                bounds.push(start, self.grid.start(end), 1);
                rows.push(job.row as u32);
            }
            let next = panes.end_after(end);
            if next > job.last[job.row] {
                job.row += 1;
            } else {
                job.first[job.row] = next;
            }
        }
        let records = (self.frame).rows(&repeat(&job.batch.records, &rows)?, bounds)?;
        let given = pick(&job.batch, records, &rows)?;
        if job.row == job.first.len() {
            self.jobs.pop_front();
        }
        self.progress.counters.windows += rows.len() as u64;
        self.progress.counters.rows_out += rows.len() as u64;
        match given.behind {
            None => self.progress.outbox.push(given.records)?,
            Some(_) => self.progress.outbox.push_batch(given)?,
        }
        Ok(true)
    }
}

/// `records` as the rows of `batch` at `rows`.
fn pick(batch: &Batch, records: RecordBatch, rows: &[u32]) -> Result<Batch> {
    let Some(behind) = &batch.behind else {
        return Ok(Batch::on_time(records));
    };
    let places = arrow::array::UInt32Array::from(rows.to_vec());
    let source_rows = take(&behind.source_rows, &places, None)?;
    let source_rows = arrow::array::AsArray::as_primitive::<UInt32Type>(&source_rows).clone();
    let watermarks = rows.iter().map(|&row| behind.watermarks[row as usize]);
    Ok(Batch {
        records,
        behind: Some(Box::new(Behind {
            watermarks: watermarks.collect(),
            source_rows,
            stream: behind.stream.clone(),
            source: behind.source.clone(),
        })),
    })
}

impl Windowed for WindowRows {
    const NAME: &'static str = "WindowRows";
    const SAVES_END: bool = false;

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn take_batch(&mut self, batch: Batch) -> Result<()> {
        self.sort_out(&batch)
    }

    fn step(&mut self, budget_rows: usize) -> Result<bool> {
        self.give(budget_rows)
    }

    fn counted(&self) -> Counters {
        let jobs = (self.jobs.iter()).map(|job| bytes_of(&job.batch.records));
        Counters {
            state_bytes: jobs.sum::<usize>() as u64,
            ..self.progress.counters
        }
    }

    fn save_windows(&mut self) -> Result<Snapshot> {
        let mut jobs = Snapshot::default();
        for (number, job) in self.jobs.iter().enumerate() {
            let left = job.first.len() - job.row;
            let mut saved = save_batch(&job.batch.slice(job.row, left))?;
            let ends =
                |ends: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(ends[job.row..].to_vec())) };
            let columns = vec![
                ("first".into(), ends(&job.first)),
                ("last".into(), ends(&job.last)),
            ];
            saved.tables.insert("ends".into(), table(columns)?);
            jobs.parts.insert(format!("{number:08}"), saved);
        }
        let mut snapshot = Snapshot::default();
        snapshot.parts.insert("jobs".into(), jobs);
        Ok(snapshot)
    }

    fn load_windows(&mut self, snapshot: &Snapshot) -> Result<()> {
        for saved in snapshot.part("jobs")?.parts.values() {
            let ends = saved.table("ends")?;
            let job = Job {
                batch: load_batch(saved, &self.frame.input)?,
                first: column::<Int64Type>(ends, "first")?.to_vec(),
                last: column::<Int64Type>(ends, "last")?.to_vec(),
                row: 0,
            };
            if job.first.len() != job.batch.num_rows() {
                return Err(Error::Snapshot("its rows and windows disagree".into()));
            }
            self.jobs.push_back(job);
        }
        Ok(())
    }
}
