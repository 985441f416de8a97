//! What the operators have in common whose rows come out as the watermark rises.
//!
//! ```text
//!             ┌──────────────── Progress ────────────────┐
//!  rows ────▶ │ late ◀── behind the watermark            │
//!             │          before it ──▶ windows ──▶ outbox│ ────▶ rows, watermark, end
//!             └──────────────────────────────────────────┘
//! ```
//!
//! An operator says how it takes rows into its windows and how it gives out those that are
//! due ([`Windowed`]); the watermark, the end, late rows, counters and their snapshots are
//! kept here. Nothing here knows what a window is.

use std::fmt::Debug;

use arrow::datatypes::SchemaRef;

use super::frame::{behind_unannounced, load_counters, save_counters};
use super::late::Late;
use super::outbox::Outbox;
use super::{Counters, Drain, LateRows, Operator, Output};
use crate::batch::Batch;
use crate::error::Result;
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, MIN_TIME, ticks};

/// How far an operator has come, what it has ready and what it has counted.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Rows before it are no longer waited for.
    pub(crate) watermark: i64,
    /// Whether nothing follows, so that all that is held is due.
    pub(crate) ended: bool,
    pub(crate) outbox: Outbox,
    pub(crate) late: Late,
    pub(crate) counters: Counters,
}

impl Progress {
    /// That of an operator which has seen nothing and gives these columns.
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self {
            watermark: MIN_TIME,
            ended: false,
            outbox: Outbox::new(schema),
            late: Late::default(),
            counters: Counters::default(),
        }
    }

    /// The time before which all is due; `None` = all there is.
    pub(crate) fn due_before(&self) -> Option<i64> {
        (!self.ended).then_some(self.watermark)
    }

    /// Counts late rows of a batch, by their places in it, and sets them aside.
    ///
    /// - `late_by`: `[rows]`, ticks behind the watermark.
    pub(crate) fn set_aside(
        &mut self,
        batch: &Batch,
        rows: Vec<u32>,
        late_by: Vec<i64>,
    ) -> Result<()> {
        self.counters.late += rows.len() as u64;
        match &batch.behind {
            Some(behind) => self.late.add(behind, rows, late_by),
            None => Ok(()),
        }
    }

    /// The rows of a batch that do not lie behind the watermark, as counted windows and
    /// per-row windows take them; those that do, and those without event time, are counted
    /// and set aside.
    pub(crate) fn admit(&mut self, batch: &Batch, time: usize) -> Result<Vec<u32>> {
        let (times, nulls) = ticks(batch.records.column(time))?;
        let mut kept = Vec::with_capacity(times.len());
        let (mut late, mut late_by) = (Vec::new(), Vec::new());
        for (row, &time) in times.iter().enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                self.counters.filtered += 1;
                continue;
            }
            let arrived = (batch.behind.as_ref()).map_or(MIN_TIME, |behind| behind.watermarks[row]);
            let watermark = self.watermark.max(arrived);
            if time >= watermark {
                kept.push(row as u32);
            } else if batch.behind.is_some() {
                late.push(row as u32);
                late_by.push(watermark.saturating_sub(time));
            } else {
                return Err(behind_unannounced(time, watermark));
            }
        }
        self.counters.in_window += kept.len() as u64;
        self.set_aside(batch, late, late_by)?;
        Ok(kept)
    }
}

/// An operator around a [`Progress`].
pub(crate) trait Windowed: Send + Debug {
    /// Its name in `EXPLAIN` and in errors.
    const NAME: &'static str;

    /// Whether its snapshot says that the input has ended: not where the windows do.
    const SAVES_END: bool = true;

    fn progress(&self) -> &Progress;

    fn progress_mut(&mut self) -> &mut Progress;

    /// Takes rows, which have been counted as they came in.
    fn take_batch(&mut self, batch: Batch) -> Result<()>;

    /// Takes the news that the watermark has risen, to [`MAX_TIME`] at the end.
    fn close_until(&mut self, watermark: i64) {
        let _ = watermark;
    }

    /// What is promised downstream at a watermark.
    fn promised(&self, watermark: i64) -> i64 {
        watermark
    }

    /// Computes about `budget_rows` rows of what is due; false if nothing is.
    fn step(&mut self, budget_rows: usize) -> Result<bool>;

    /// Its counters, with the bytes of what it holds besides the outbox.
    fn counted(&self) -> Counters;

    /// Its windows and the rows that wait.
    fn save_windows(&mut self) -> Result<Snapshot>;

    /// Takes over what [`Windowed::save_windows`] saved.
    fn load_windows(&mut self, snapshot: &Snapshot) -> Result<()>;
}

impl<W: Windowed> Operator for W {
    fn name(&self) -> &str {
        W::NAME
    }

    fn schema(&self) -> SchemaRef {
        self.progress().outbox.schema().clone()
    }

    fn on_batch(&mut self, _input: usize, batch: Batch) -> Result<()> {
        self.progress_mut().counters.rows_in += batch.num_rows() as u64;
        self.take_batch(batch)
    }

    fn on_watermark(&mut self, _input: usize, watermark: i64) -> Result<()> {
        if watermark > self.progress().watermark {
            let promised = self.promised(watermark);
            let progress = self.progress_mut();
            progress.watermark = watermark;
            progress.ended |= watermark == MAX_TIME;
            progress.outbox.promise(promised);
            self.close_until(watermark);
        }
        Ok(())
    }

    fn on_end(&mut self, _input: usize) -> Result<()> {
        let progress = self.progress_mut();
        progress.ended = true;
        progress.outbox.promise_end();
        self.close_until(MAX_TIME);
        Ok(())
    }

    fn drain(&mut self, budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain> {
        let mut budget = budget_rows.max(1);
        while let Some(wanted) = self.progress_mut().outbox.serve(&mut budget, out)? {
            if !self.step(wanted)? {
                let done = self.progress_mut().outbox.close(&mut budget, out)?;
                return Ok(if done { Drain::Done } else { Drain::More });
            }
        }
        Ok(Drain::More)
    }

    fn take_late(&mut self) -> Vec<LateRows> {
        self.progress_mut().late.take()
    }

    fn counters(&self) -> Counters {
        let mut counters = self.counted();
        counters.state_bytes += self.progress().outbox.bytes() as u64;
        counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        let mut snapshot = self.save_windows()?;
        let progress = self.progress_mut();
        (snapshot.numbers).insert("watermark".into(), progress.watermark);
        if W::SAVES_END {
            (snapshot.numbers).insert("ended".into(), progress.ended.into());
        }
        snapshot.parts.extend([
            ("outbox".into(), progress.outbox.save()?),
            ("late".into(), progress.late.save()?),
            ("counters".into(), save_counters(progress.counters)),
        ]);
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        let progress = self.progress_mut();
        progress.watermark = snapshot.number("watermark")?;
        if W::SAVES_END {
            progress.ended = snapshot.number("ended")? != 0;
        }
        self.load_windows(snapshot)?;
        let progress = self.progress_mut();
        progress.outbox.load(snapshot.part("outbox")?)?;
        progress.late.load(snapshot.part("late")?)?;
        progress.counters = load_counters(snapshot.part("counters")?)?;
        Ok(())
    }
}
