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
    BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch, UInt8Array, UInt32Array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, UInt8Type, UInt32Type};

use super::count_aggregate::CountAggregate;
use super::frame::{Bounds, Frame, behind_unannounced, repeat, select};
use super::outbox::OUTPUT_ROWS;
use super::session_aggregate::SessionAggregate;
use super::windowed::{Progress, Windowed};
use super::{Counters, Operator, WindowAggregateSpec};
use crate::aggregate::fused::Groups;
use crate::batch::{Batch, Behind};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{MIN_TIME, span, ticks};
use crate::window::WindowKind;
use crate::window::arena::Arena;
use crate::window::gathered::Gathered;
use crate::window::grid::Grid;
use crate::window::key_slots::FULL_SHARE;
use crate::window::lift::Lifter;
use crate::window::opened::Window;
use crate::window::rollover::{Piece, Placed, Rollover};
use crate::window::route::{Route, Times};
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
    /// Windows that end here or before are closed, or are to be closed by `drain`.
    target: i64,
    progress: Progress,
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

    /// Their places, rising.
    fn places(&self) -> Vec<u32> {
        let behind = self.behind.iter().map(|(row, _)| row);
        let mut places: Vec<u32> = (self.filtered.iter().chain(&self.late).chain(behind))
            .copied()
            .collect();
        places.sort_unstable();
        places
    }

    /// The rows that are left.
    fn without(&self, records: &RecordBatch) -> Result<RecordBatch> {
        let rows = records.num_rows();
        if self.open(rows) == rows {
            return Ok(records.clone());
        }
        let mut is_open = BooleanBufferBuilder::new(rows);
        is_open.append_n(rows, true);
        for row in self.places() {
            is_open.set_bit(row as usize, false);
        }
        let is_open = BooleanArray::new(is_open.finish(), None);
        Ok(filter_record_batch(records, &is_open)?)
    }
}

/// Where so many rows stand for one that is in no pane, they are not copied to leave it out.
const SKIP_SHARE: usize = 64;

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
            progress: Progress::new(frame.schema.clone()),
            frame,
            grid,
            opened: None,
            target: i64::MIN,
            lifter: Lifter::default(),
            slots: Vec::new(),
        })
    }

    /// Adds rows whose windows are all open, but those that are skipped.
    ///
    /// - `least`, `greatest`: bounds of the times of the others.
    fn lift(
        &mut self,
        records: &RecordBatch,
        (least, greatest): (i64, i64),
        skipped: Vec<u32>,
    ) -> Result<()> {
        let (ticks, _) = ticks(records.column(self.frame.time))?;
        // As many panes as so many rows can fill.
        let mut slots = ticks.len() * FULL_SHARE + self.store.keys.bound();
        let (rollover, store) = (&mut self.rollover, &mut self.store);
        let times = Times {
            ticks,
            least,
            greatest,
            skipped,
        };
        let seat = |pane| rollover.seat_block(pane, &mut slots, store);
        let route = Route::new(times, &self.grid, seat);
        (self.lifter).lift(records, ticks, &route, rollover, store)?;
        if route.spread().is_some() {
            rollover.vacate_empty(self.grid.pane(least)..=self.grid.pane(greatest), store);
        }
        Ok(())
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
    fn sort_out(&mut self, batch: &Batch, (least, greatest): (i64, i64)) -> Result<()> {
        let (times, nulls) = ticks(batch.records.column(self.frame.time))?;
        let (earliest, latest) = self.grid.limits();
        let panes = self.grid.panes();
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let mut others = Others::default();
        let mut late_by = Vec::new();
        // Windows of rows from here on are open at the batch's end still.
        let open_last = self.open_from(last_watermark(&batch.behind));
        // What is closed is the same until the watermark comes to `same_until`.
        let (mut closed, mut open_from, mut same_until) = (self.target, MIN_TIME, MIN_TIME);
        for (row, &time) in times.iter().enumerate() {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            if time >= open_last && time < latest && !is_null {
                continue;
            }
            if is_null || time < earliest || time >= latest {
                others.filtered.push(row as u32);
                continue;
            }
            let behind = batch.behind.as_ref();
            let watermark = behind.map_or(MIN_TIME, |behind| behind.watermarks[row]);
            let watermark = watermark.max(self.progress.watermark);
            if watermark >= same_until {
                let (closed_now, until) = self.grid.closed_until(watermark);
                same_until = until;
                closed = closed.max(closed_now);
                open_from = self.grid.start(closed);
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
                self.progress.counters.missed_windows += panes.ends_until(pane, closed);
            }
        }
        self.progress.counters.filtered += others.filtered.len() as u64;
        self.progress.counters.late += others.late.len() as u64;
        self.progress.counters.in_window += (others.open(times.len()) + others.behind.len()) as u64;
        if others.open(times.len()) > 0 {
            let bounds = (
                least.max(self.open_from(self.progress.watermark)),
                greatest.min(latest - 1),
            );
            let skipped = others.places();
            if self.store.arena.takes_parts() && skipped.len() * SKIP_SHARE <= times.len() {
                self.lift(&batch.records, bounds, skipped)?;
            } else {
                let records = others.without(&batch.records)?;
                self.lift(&records, bounds, Vec::new())?;
            }
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
            Some(behind) => self.progress.late.add(behind, others.late, late_by),
            None => Ok(()),
        }
    }

    /// From when on the windows of a row that comes at a watermark are all open.
    fn open_from(&self, watermark: i64) -> i64 {
        let (earliest, _) = self.grid.limits();
        let closed = self.grid.closed(watermark).max(self.target);
        self.grid.start(closed).max(earliest)
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
        let budget = budget.clamp(1, OUTPUT_ROWS);
        if let Some((window, given)) = self.opened.take() {
            self.give_out(window, given, budget)?;
            return Ok(true);
        }
        let mut gathered = Gathered::default();
        while gathered.keys.len() < budget {
            let Some(end) = self.rollover.next_end(self.target) else {
                break;
            };
            let mut window = self.rollover.open(end, &mut self.store)?;
            if self.grid.is_repeated(end) {
                self.rollover.finish(window, &mut self.store);
            } else if Gathered::takes(&window, &self.store.arena) {
                gathered.add(&mut window, &mut self.store)?;
                self.rollover.finish(window, &mut self.store);
            } else {
                self.give_gathered(gathered)?;
                self.give_out(window, 0, budget)?;
                return Ok(true);
            }
        }
        if self.give_gathered(gathered)? {
            return Ok(true);
        }
        self.rollover.advance(self.target, &mut self.store);
        Ok(false)
    }

    /// Gives out about `budget` rows of a window, from row `given` on.
    fn give_out(&mut self, window: Window, given: usize, budget: usize) -> Result<()> {
        let until = window.keys.len().min(given + budget);
        let rows = given..until;
        let ends = [(window.end, rows.len())];
        self.evaluate(&window.keys[rows.clone()], &window.slots[rows], &ends)?;
        if until < window.keys.len() {
            self.opened = Some((window, until));
        } else {
            self.rollover.finish(window, &mut self.store);
        }
        Ok(())
    }

    /// Gives out windows of few keys; says whether there were any.
    fn give_gathered(&mut self, mut gathered: Gathered) -> Result<bool> {
        let Gathered { keys, slots, ends } = &gathered;
        self.evaluate(keys, slots, ends)?;
        let some = !ends.is_empty();
        gathered.release(&mut self.store);
        Ok(some)
    }

    /// Gives out rows of windows, which end at the given edges and have so many rows each.
    fn evaluate(&mut self, keys: &[u32], slots: &[u32], ends: &[(i64, usize)]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let Store { keys: known, arena } = &mut self.store;
        // By one thread: to meet another costs as much as it would save.
        let (columns, values) = (known.values(keys)?, arena.evaluate(slots)?);
        let mut bounds = Bounds::default();
        for &(end, rows) in ends {
            let start = self.grid.start(self.grid.panes().start_of(end));
            bounds.push(start, self.grid.start(end), rows);
        }
        self.progress
            .outbox
            .push(self.frame.rows(columns, bounds, values)?)?;
        self.progress.counters.windows += keys.len() as u64;
        self.progress.counters.rows_out += keys.len() as u64;
        Ok(())
    }
}

/// The watermark at which a batch's last row arrived.
fn last_watermark(behind: &Option<Box<Behind>>) -> i64 {
    (behind.as_ref())
        .and_then(|behind| behind.watermarks.last().copied())
        .unwrap_or(MIN_TIME)
}

impl Windowed for WindowAggregate {
    const NAME: &'static str = "WindowAggregate";
    const SAVES_END: bool = false;

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn take_batch(&mut self, batch: Batch) -> Result<()> {
        let (times, nulls) = ticks(batch.records.column(self.frame.time))?;
        let (_, latest) = self.grid.limits();
        let open_from = self.open_from(last_watermark(&batch.behind));
        let (least, greatest) = span(times);
        let some_null = nulls.is_some_and(|nulls| nulls.null_count() > 0);
        if some_null || least < open_from || greatest >= latest {
            return self.sort_out(&batch, (least, greatest));
        }
        self.progress.counters.in_window += batch.num_rows() as u64;
        match times.is_empty() {
            true => Ok(()),
            false => self.lift(&batch.records, (least, greatest), Vec::new()),
        }
    }

    fn close_until(&mut self, watermark: i64) {
        self.target = self.target.max(self.grid.closed(watermark));
    }

    fn step(&mut self, budget_rows: usize) -> Result<bool> {
        self.close_some(budget_rows)
    }

    fn counted(&self) -> Counters {
        Counters {
            keys: self.store.keys.alive() as u64,
            panes: self.rollover.live_panes() as u64,
            open_windows: self.rollover.open_windows(),
            state_bytes: (self.store.bytes() + self.rollover.bytes()) as u64,
            ..self.progress.counters
        }
    }

    fn save_windows(&mut self) -> Result<Snapshot> {
        // The rest of a window that is half given out is no longer a matter of panes.
        while self.opened.is_some() {
            self.close_some(OUTPUT_ROWS)?;
        }
        let (mut pieces, mut panes) = (Vec::new(), Vec::new());
        let (mut keys, mut slots) = (Vec::new(), Vec::new());
        for (piece, held) in self.rollover.entries() {
            let (piece, pane) = piece.to_numbers();
            pieces.resize(pieces.len() + held.len(), piece);
            panes.resize(panes.len() + held.len(), pane);
            keys.extend_from_slice(held.keys());
            slots.extend_from_slice(held.slots());
        }
        let (key_columns, places) = self.store.keys.save(&keys)?;
        let mut columns: Columns = vec![
            ("piece".into(), Arc::new(UInt8Array::from(pieces))),
            ("pane".into(), Arc::new(Int64Array::from(panes))),
            ("key".into(), Arc::new(UInt32Array::from(places))),
        ];
        columns.extend(self.store.arena.save(&slots)?);
        let mut snapshot = Snapshot::default();
        snapshot.numbers.extend([
            ("target".into(), self.target),
            ("closed".into(), self.rollover.closed()),
            ("ordinal".into(), self.store.arena.ordinal() as i64),
        ]);
        snapshot.tables.insert("keys".into(), table(key_columns)?);
        snapshot.tables.insert("slots".into(), table(columns)?);
        Ok(snapshot)
    }

    fn load_windows(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.target = snapshot.number("target")?;
        let closed = snapshot.number("closed")?;
        if closed > self.target {
            return Err(Error::Snapshot(
                "a window in it is closed that was not to be".into(),
            ));
        }
        self.rollover.restore_closed(closed);
        let ids = self.store.keys.load(snapshot.table("keys")?)?;
        let rows = snapshot.table("slots")?;
        let panes = column::<Int64Type>(rows, "pane")?;
        let pieces = column::<UInt8Type>(rows, "piece")?;
        let mut slots = Vec::with_capacity(panes.len());
        for (row, &place) in column::<UInt32Type>(rows, "key")?.iter().enumerate() {
            let key = (ids.get(place as usize).copied())
                .ok_or_else(|| Error::Snapshot("a pane in it names no key of it".into()))?;
            let piece = Piece::from_numbers(pieces[row], panes[row])?;
            if let Piece::Pane(pane) = piece
                && (!self.grid.holds(pane) || self.grid.panes().last_end(pane) <= closed)
            {
                return Err(Error::Snapshot("a pane in it is of no open window".into()));
            }
            slots.push(self.rollover.restore(piece, key, &mut self.store)?);
        }
        let ordinal = snapshot.count("ordinal")?;
        self.store.arena.load(&slots, rows, ordinal)?;
        Ok(())
    }
}
