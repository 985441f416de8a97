//! `WindowAggregate`: aggregates over TUMBLE, HOP and CUMULATE windows.
//!
//! ```text
//! rows ─▶ pane of each row ─▶ slot of (pane, key) ─▶ aggregates       (lift)
//!                                   │
//! watermark ─▶ windows closed by it ┴▶ combine ─▶ evaluate ─▶ rows     (drain)
//! ```
//!
//! Rows whose windows are all open are lifted in bulk: the watermarks that were in
//! force among them do not matter. A row that lies behind is held against the
//! watermark of its own arrival. When some of its windows had closed by then, they are
//! computed before the row is added, so that results are those of rows coming one by
//! one, however they were batched.
//!
//! A row without event time, or so near to the ends of 64-bit time that its windows
//! cannot be told, is in no window and counts as filtered.

use std::sync::Arc;

use arrow::array::{
    AsArray, BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch, UInt32Array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef, UInt32Type};

use super::count_aggregate::CountAggregate;
use super::frame::{
    Bounds, Frame, behind_unannounced, load_counters, repeat, save_counters, select,
};
use super::late::Late;
use super::outbox::{OUTPUT_ROWS, Outbox, Steps, drain};
use super::session_aggregate::SessionAggregate;
use super::{Counters, Drain, LateRows, Operator, Output, WindowAggregateSpec};
use crate::aggregate::fused::Groups;
use crate::batch::{Batch, Behind};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, MIN_TIME, span, ticks};
use crate::window::WindowKind;
use crate::window::arena::Arena;
use crate::window::grid::Grid;
use crate::window::key_slots::FULL_SHARE;
use crate::window::lift::{Lifter, Run};
use crate::window::rollover::{Placed, Rollover, Window};
use crate::window::store::{Keys, Store};
use crate::window::tables::{Columns, column, table};

/// The operator of a windowed aggregation.
///
/// # Errors
/// If the window's sizes do not fit each other or the columns do not fit the input.
pub fn window_aggregate(spec: WindowAggregateSpec) -> Result<Box<dyn Operator>> {
    let frame = Frame::new(&spec)?;
    match spec.kind {
        WindowKind::Session { gap } => Ok(Box::new(SessionAggregate::new(spec, frame, gap)?)),
        WindowKind::Count { rows, slide } => {
            Ok(Box::new(CountAggregate::new(spec, frame, rows, slide)?))
        }
        WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => {
            let grid = Grid::new(spec.kind, spec.alignment, frame.unit()?)?;
            Ok(Box::new(WindowAggregate::new(spec, frame, grid)?))
        }
    }
}

#[derive(Debug)]
struct WindowAggregate {
    frame: Frame,
    grid: Grid,
    store: Store,
    rollover: Rollover,
    /// The window that is being given out, and how many of its keys have been.
    opened: Option<(Window, usize)>,
    watermark: i64,
    /// Windows that end here or before are closed, or are to be closed by `drain`.
    target: i64,
    outbox: Outbox,
    late: Late,
    counters: Counters,
    lifter: Lifter,
    slots: Vec<u32>,
}

/// The rows of a batch that are not simply added to their panes, by place.
#[derive(Debug, Default)]
struct Others {
    /// Those in no window.
    filtered: Vec<u32>,
    /// Those whose windows are all closed.
    late: Vec<u32>,
    /// Those some of whose windows are closed: all that end at the given edge or before.
    behind: Vec<(u32, i64)>,
}

impl Others {
    /// How many of so many rows are left.
    fn open(&self, rows: usize) -> usize {
        rows - self.filtered.len() - self.late.len() - self.behind.len()
    }

    /// The rows that are left.
    fn without(&self, records: &RecordBatch) -> Result<RecordBatch> {
        let rows = records.num_rows();
        if self.open(rows) == rows {
            return Ok(records.clone());
        }
        let mut is_open = BooleanBufferBuilder::new(rows);
        is_open.append_n(rows, true);
        let behind = self.behind.iter().map(|(row, _)| row);
        for row in self.filtered.iter().chain(&self.late).chain(behind) {
            is_open.set_bit(*row as usize, false);
        }
        let is_open = BooleanArray::new(is_open.finish(), None);
        Ok(filter_record_batch(records, &is_open)?)
    }
}

/// How many panes a batch in disorder is expected to touch at a time.
const RECENT_PANES: usize = 16;

/// As many panes before a batch's first row have numbers above zero.
const PANES_BACK: f64 = (1 << 20) as f64;

impl WindowAggregate {
    fn new(spec: WindowAggregateSpec, frame: Frame, grid: Grid) -> Result<Self> {
        let types: Vec<_> = (spec.keys.iter())
            .map(|&key| spec.input.field(key).data_type().clone())
            .collect();
        let groups = match spec.keys.is_empty() {
            true => Groups::One,
            false => Groups::Many,
        };
        let store = Store {
            keys: Keys::new(&types, spec.keys)?,
            arena: Arena::new(spec.aggregates, groups)?,
        };
        Ok(Self {
            rollover: Rollover::new(grid.panes(), &store.arena),
            store,
            outbox: Outbox::new(frame.schema.clone()),
            frame,
            grid,
            opened: None,
            watermark: MIN_TIME,
            target: i64::MIN,
            late: Late::default(),
            counters: Counters::default(),
            lifter: Lifter::default(),
            slots: Vec::new(),
        })
    }

    /// Adds rows whose windows are all open.
    ///
    /// - `all_in`: the pane that all of them are in, where that is known.
    fn lift(&mut self, records: &RecordBatch, all_in: Option<i64>) -> Result<()> {
        let (times, _) = ticks(records.column(self.frame.time))?;
        let mut runs = Vec::new();
        // As many panes as so many rows can fill.
        let mut slots = times.len() * FULL_SHARE + self.store.keys.bound();
        let mut seat = |pane| (self.rollover).seat_block(pane, &mut slots, &mut self.store);
        if let Some(pane) = all_in {
            runs.push(Run {
                place: seat(pane),
                end: times.len(),
            });
        }
        // (first tick, first tick after, place), by a guess at the pane's number: whether it
        // was right is seen by the ticks.
        let mut recent = [(0, 0, 0); RECENT_PANES];
        let mut panes_per_tick = 0.0;
        let mut row = runs.last().map_or(0, |run| run.end);
        while row < times.len() {
            let time = times[row];
            let guess = time.wrapping_sub(times[0]) as f64 * panes_per_tick + PANES_BACK;
            let entry = &mut recent[guess as i64 as usize % RECENT_PANES];
            if time < entry.0 || time >= entry.1 {
                let pane = self.grid.pane(time);
                *entry = (self.grid.start(pane), self.grid.start(pane + 1), seat(pane));
                if panes_per_tick == 0.0 {
                    panes_per_tick = 1.0 / (entry.1.wrapping_sub(entry.0) as f64);
                }
            }
            let (start, end, place) = *entry;
            row += 1 + run_within(&times[row + 1..], start, end);
            runs.push(Run { place, end: row });
        }
        (self.lifter).lift(records, times, &runs, &mut self.rollover, &mut self.store)
    }

    /// Adds rows some of whose windows are closed: each goes to all that its pane has
    /// been combined into.
    fn lift_behind(&mut self, records: &RecordBatch) -> Result<()> {
        let (times, _) = ticks(records.column(self.frame.time))?;
        let mut ids = Vec::new();
        if times.is_empty() {
            return Ok(());
        }
        self.store.keys.intern(records, &mut ids)?;
        let mut rows = Vec::new();
        self.slots.clear();
        for (row, (&time, &key)) in times.iter().zip(&ids).enumerate() {
            let pane = self.grid.pane(time);
            loop {
                let lifted = rows.is_empty();
                let placed = (self.rollover).place_behind(
                    pane,
                    key,
                    lifted,
                    &mut self.store,
                    &mut self.slots,
                )?;
                if placed == Placed::Slots {
                    break;
                }
                self.lift_repeated(records, &mut rows)?;
            }
            rows.resize(self.slots.len(), row as u32);
        }
        self.lift_repeated(records, &mut rows)
    }

    /// Adds `rows`, which may be named more than once, to the slots at hand.
    fn lift_repeated(&mut self, records: &RecordBatch, rows: &mut Vec<u32>) -> Result<()> {
        let records = repeat(records, rows)?;
        let (times, _) = ticks(records.column(self.frame.time))?;
        self.store.arena.update(&records, times, &self.slots)?;
        rows.clear();
        self.slots.clear();
        Ok(())
    }

    /// Adds the rows of a batch of which some may be late or have no event time.
    ///
    /// Rows whose windows are all open when they come are in no window that a row before
    /// or after them closes, so they can be added first, all at once.
    fn sort_out(&mut self, batch: &Batch) -> Result<()> {
        let (times, nulls) = ticks(batch.records.column(self.frame.time))?;
        let (earliest, latest) = self.grid.limits();
        let panes = self.grid.panes();
        let mut others = Others::default();
        let mut late_by = Vec::new();
        let (mut watermark, mut closed) = (self.watermark, self.target);
        // What is closed is the same until the watermark comes to `same_until`.
        let mut same_until = MIN_TIME;
        let mut open_from = self.grid.start(closed).max(earliest);
        for (row, &time) in times.iter().enumerate() {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            if is_null || time < earliest || time >= latest {
                others.filtered.push(row as u32);
                continue;
            }
            if let Some(behind) = &batch.behind
                && behind.watermarks[row] > watermark
            {
                watermark = behind.watermarks[row];
                if watermark >= same_until {
                    let (closed_now, until) = self.grid.closed_until(watermark);
                    same_until = until;
                    closed = closed.max(closed_now);
                    open_from = self.grid.start(closed).max(earliest);
                }
            }
            if time >= open_from {
                continue;
            }
            if batch.behind.is_none() {
                return Err(behind_unannounced(time, watermark));
            }
            let pane = self.grid.pane(time);
            if panes.last_end(pane) <= closed {
                others.late.push(row as u32);
                late_by.push(watermark.saturating_sub(time));
            } else {
                others.behind.push((row as u32, closed));
                self.counters.missed_windows += panes.ends_until(pane, closed);
            }
        }
        self.counters.filtered += others.filtered.len() as u64;
        self.counters.late += others.late.len() as u64;
        self.counters.in_window += (others.open(times.len()) + others.behind.len()) as u64;
        if others.open(times.len()) > 0 {
            self.lift(&others.without(&batch.records)?, None)?;
        }
        let mut part = Vec::new();
        for (row, closed) in others.behind {
            if closed > self.rollover.closed() || self.opened.is_some() {
                self.lift_behind(&select(&batch.records, &part)?)?;
                part.clear();
                self.close_through(closed)?;
            }
            part.push(row);
        }
        self.lift_behind(&select(&batch.records, &part)?)?;
        match &batch.behind {
            Some(behind) => self.late.add(behind, others.late, late_by),
            None => Ok(()),
        }
    }

    /// Computes all windows that end at `closed` or before, at once.
    fn close_through(&mut self, closed: i64) -> Result<()> {
        self.target = self.target.max(closed);
        while self.close_some(OUTPUT_ROWS)? {}
        Ok(())
    }

    /// Computes about `budget` rows of windows that are to be closed; false if there
    /// are none.
    fn close_some(&mut self, budget: usize) -> Result<bool> {
        let (window, given) = match self.opened.take() {
            Some(opened) => opened,
            None => match self.rollover.next_end(self.target) {
                Some(end) => (self.rollover.open(end, &mut self.store)?, 0),
                None => {
                    self.rollover.advance(self.target, &mut self.store);
                    return Ok(false);
                }
            },
        };
        if self.grid.is_repeated(window.end) {
            self.rollover.finish(window, &mut self.store);
            return Ok(true);
        }
        let until = window.keys.len().min(given + budget.clamp(1, OUTPUT_ROWS));
        let keys = self.store.keys.values(&window.keys[given..until])?;
        let values = (self.store.arena).evaluate(&window.slots[given..until])?;
        let mut bounds = Bounds::default();
        let start = self.grid.start(self.grid.panes().start_of(window.end));
        bounds.push(start, self.grid.start(window.end), until - given);
        self.outbox.push(self.frame.rows(keys, bounds, values)?)?;
        self.counters.windows += (until - given) as u64;
        self.counters.rows_out += (until - given) as u64;
        if until < window.keys.len() {
            self.opened = Some((window, until));
        } else {
            self.rollover.finish(window, &mut self.store);
        }
        Ok(true)
    }
}

/// How many of the first times lie between `start` and just before `end`, which is
/// after it.
fn run_within(times: &[i64], start: i64, end: i64) -> usize {
    // Whole chunks without a branch for each row.
    const CHUNK_ROWS: usize = 64;
    const FEW_ROWS: usize = 4;
    let width = end.wrapping_sub(start) as u64;
    let is_within = |time: &i64| (time.wrapping_sub(start) as u64) < width;
    // In disorder runs are short.
    if let Some(run) = (times.iter().take(FEW_ROWS)).position(|time| !is_within(time)) {
        return run;
    }
    let mut run = 0;
    for chunk in times.chunks(CHUNK_ROWS) {
        let all = chunk.iter().fold(true, |all, time| all & is_within(time));
        if !all {
            return run + chunk.iter().take_while(|time| is_within(time)).count();
        }
        run += chunk.len();
    }
    run
}

/// The watermark at which a batch's last row arrived.
fn last_watermark(behind: &Option<Box<Behind>>) -> i64 {
    (behind.as_ref())
        .and_then(|behind| behind.watermarks.last().copied())
        .unwrap_or(MIN_TIME)
}

impl Steps for WindowAggregate {
    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn step(&mut self, budget_rows: usize) -> Result<bool> {
        self.close_some(budget_rows)
    }
}

impl Operator for WindowAggregate {
    fn name(&self) -> &str {
        "WindowAggregate"
    }

    fn schema(&self) -> SchemaRef {
        self.frame.schema.clone()
    }

    fn on_batch(&mut self, _input: usize, batch: Batch) -> Result<()> {
        self.counters.rows_in += batch.num_rows() as u64;
        self.rollover.fold_due(&mut self.store)?;
        let (times, nulls) = ticks(batch.records.column(self.frame.time))?;
        let (earliest, latest) = self.grid.limits();
        let closed = self.grid.closed(last_watermark(&batch.behind));
        let open_from = self.grid.start(closed.max(self.target)).max(earliest);
        let (least, greatest) = span(times);
        let some_null = nulls.is_some_and(|nulls| nulls.null_count() > 0);
        if some_null || least < open_from || greatest >= latest {
            self.sort_out(&batch)
        } else {
            self.counters.in_window += batch.num_rows() as u64;
            if times.is_empty() {
                return Ok(());
            }
            let pane = self.grid.pane(least);
            let all_in = (greatest < self.grid.start(pane + 1)).then_some(pane);
            self.lift(&batch.records, all_in)
        }
    }

    fn on_watermark(&mut self, _input: usize, watermark: i64) -> Result<()> {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.target = self.target.max(self.grid.closed(watermark));
            self.outbox.promise(watermark);
        }
        Ok(())
    }

    fn on_end(&mut self, _input: usize) -> Result<()> {
        self.target = self.target.max(self.grid.closed(MAX_TIME));
        self.outbox.promise_end();
        Ok(())
    }

    fn drain(&mut self, budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain> {
        drain(self, budget_rows, out)
    }

    fn take_late(&mut self) -> Vec<LateRows> {
        self.late.take()
    }

    fn counters(&self) -> Counters {
        Counters {
            keys: self.store.keys.alive() as u64,
            panes: self.rollover.live_panes() as u64,
            state_bytes: (self.store.bytes() + self.rollover.bytes() + self.outbox.bytes()) as u64,
            ..self.counters
        }
    }

    fn save(&mut self) -> Result<Snapshot> {
        // The rest of a window that is half given out is no longer a matter of panes.
        while self.opened.is_some() {
            self.close_some(OUTPUT_ROWS)?;
        }
        self.rollover.fold_due(&mut self.store)?;
        let (mut panes, mut prefix) = (Vec::new(), Vec::new());
        let (mut keys, mut slots) = (Vec::new(), Vec::new());
        for (pane, held) in self.rollover.entries() {
            panes.resize(panes.len() + held.len(), pane.unwrap_or_default());
            prefix.resize(prefix.len() + held.len(), pane.is_none());
            keys.extend_from_slice(held.keys());
            slots.extend_from_slice(held.slots());
        }
        let (key_columns, places) = self.store.keys.save(&keys)?;
        let mut columns: Columns = vec![
            ("pane".into(), Arc::new(Int64Array::from(panes))),
            ("prefix".into(), Arc::new(BooleanArray::from(prefix))),
            ("key".into(), Arc::new(UInt32Array::from(places))),
        ];
        columns.extend(self.store.arena.save(&slots)?);
        let mut snapshot = Snapshot::default();
        snapshot.numbers.extend([
            ("watermark".into(), self.watermark),
            ("target".into(), self.target),
            ("closed".into(), self.rollover.closed()),
            ("ordinal".into(), self.store.arena.ordinal() as i64),
        ]);
        snapshot.tables.insert("keys".into(), table(key_columns)?);
        snapshot.tables.insert("slots".into(), table(columns)?);
        snapshot.parts.extend([
            ("outbox".into(), self.outbox.save()?),
            ("late".into(), self.late.save()?),
            ("counters".into(), save_counters(self.counters)),
        ]);
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.watermark = snapshot.number("watermark")?;
        self.target = snapshot.number("target")?;
        self.rollover.restore_closed(snapshot.number("closed")?);
        let ids = self.store.keys.load(snapshot.table("keys")?)?;
        let rows = snapshot.table("slots")?;
        let panes = column::<Int64Type>(rows, "pane")?;
        let prefix = (rows.column_by_name("prefix"))
            .and_then(|column| column.as_boolean_opt())
            .ok_or_else(|| Error::Snapshot("it does not tell panes from prefixes".into()))?;
        let mut slots = Vec::with_capacity(panes.len());
        for (row, &place) in column::<UInt32Type>(rows, "key")?.iter().enumerate() {
            let key = (ids.get(place as usize).copied())
                .ok_or_else(|| Error::Snapshot("a pane in it names no key of it".into()))?;
            let pane = (!prefix.value(row)).then_some(panes[row]);
            slots.push(self.rollover.restore(pane, key, &mut self.store)?);
        }
        let ordinal = snapshot.number("ordinal")? as u64;
        self.store.arena.load(&slots, rows, ordinal)?;
        self.outbox.load(snapshot.part("outbox")?)?;
        self.late.load(snapshot.part("late")?)?;
        self.counters = load_counters(snapshot.part("counters")?)?;
        Ok(())
    }
}
