//! `SessionRows`: each row with its session, when that closes.
//!
//! Rows are held until their session closes and come out in event-time order, ties in
//! order of arrival. Sessions, lateness and what is promised downstream are those of
//! the aggregation over sessions.

use std::sync::Arc;

use arrow::array::{Int64Array, UInt32Array, UInt64Array};
use arrow::datatypes::{Int64Type, UInt32Type, UInt64Type};

use super::Counters;
use super::frame::{Bounds, RowsFrame, behind_unannounced, select};
use super::outbox::OUTPUT_ROWS;
use super::windowed::{Progress, Windowed};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, ticks};
use crate::window::held::{Held, HeldRows};
use crate::window::session::{Sessions, Touched};
use crate::window::store::Keys;
use crate::window::tables::{Columns, column, table};

#[derive(Debug)]
pub(super) struct SessionRows {
    frame: RowsFrame,
    keys: Keys,
    sessions: Sessions<Vec<Held>>,
    held: HeldRows,
    progress: Progress,
    dead: Vec<u32>,
}

impl SessionRows {
    pub(super) fn new(frame: RowsFrame, keys: Vec<usize>, gap: i64) -> Result<Self> {
        if gap <= 0 {
            return Err(Error::invalid("the gap of SESSION must be above zero"));
        }
        Ok(Self {
            keys: Keys::new(&frame.key_types(&keys), keys)?,
            sessions: Sessions::new(gap),
            held: HeldRows::new(frame.input.clone(), frame.time),
            progress: Progress::new(frame.schema.clone()),
            frame,
            dead: Vec::new(),
        })
    }

    /// Finds each row its session.
    fn take_in(&mut self, batch: &Batch) -> Result<()> {
        let (times, nulls) = ticks(batch.records.column(self.frame.time))?;
        let mut keys = Vec::new();
        self.keys.intern(&batch.records, &mut keys)?;
        let mut dated = Vec::with_capacity(times.len());
        for (row, &time) in times.iter().enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) || time > self.sessions.latest() {
                self.dead.push(keys[row]);
            } else {
                dated.push(row as u32);
            }
        }
        self.progress.counters.filtered += (times.len() - dated.len()) as u64;
        let mut held = Vec::with_capacity(dated.len());
        (self.held).hold(select(&batch.records, &dated)?, |row| held.push(row))?;
        let (mut late, mut late_by) = (Vec::new(), Vec::new());
        let mut watermark = self.progress.watermark;
        for (&row, held) in dated.iter().zip(held) {
            let (time, key) = (held.0, keys[row as usize]);
            if let Some(behind) = &batch.behind {
                watermark = watermark.max(behind.watermarks[row as usize]);
            }
            if time < watermark {
                if batch.behind.is_none() {
                    return Err(behind_unannounced(time, watermark));
                }
                while self.close_some(Some(watermark), OUTPUT_ROWS)? {}
            }
            match self.sessions.touched(key, time) {
                Touched::Nothing if self.sessions.end(time) <= watermark => {
                    late.push(row);
                    late_by.push(watermark.saturating_sub(time));
                    self.dead.push(key);
                    self.held.release([held.2]);
                    continue;
                }
                Touched::Nothing => {
                    self.keys.refer(key);
                    self.sessions.open(key, time, vec![held]);
                }
                Touched::One(session) => {
                    self.sessions.extend(session, time);
                    self.sessions.get_mut(session).carried.push(held);
                }
                Touched::Two(earlier, later) => {
                    let rows = self.sessions.merge(earlier, later);
                    self.keys.drop(key);
                    let into = &mut self.sessions.get_mut(earlier).carried;
                    into.extend(rows);
                    into.push(held);
                }
            }
            self.progress.counters.in_window += 1;
        }
        self.progress.set_aside(batch, late, late_by)
    }

    /// Gives out about `budget` rows of sessions that the watermark is past; false if
    /// there are none.
    fn close_some(&mut self, watermark: Option<i64>, budget: usize) -> Result<bool> {
        let (mut places, mut bounds) = (Vec::new(), Bounds::default());
        while places.len() < budget.clamp(1, OUTPUT_ROWS)
            && let Some(session) = self.sessions.first_closed(watermark)
        {
            let mut session = self.sessions.remove(session);
            session.carried.sort_unstable();
            let end = self.sessions.end(session.last);
            bounds.push(session.start, end, session.carried.len());
            places.extend(session.carried.iter().map(|row| row.2));
            if self.keys.drop(session.partition) {
                self.dead.push(session.partition);
            }
            self.progress.counters.windows += 1;
        }
        if places.is_empty() {
            return Ok(false);
        }
        self.progress.counters.rows_out += places.len() as u64;
        let records = self.held.gather(places.iter().copied())?;
        self.held.release(places);
        self.progress
            .outbox
            .push(self.frame.rows(&records, bounds)?)?;
        Ok(true)
    }
}

impl Windowed for SessionRows {
    const NAME: &'static str = "SessionRows";

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn take_batch(&mut self, batch: Batch) -> Result<()> {
        let taken = self.take_in(&batch);
        self.keys.sweep(&mut self.dead);
        taken
    }

    fn promised(&self, watermark: i64) -> i64 {
        match watermark {
            MAX_TIME => MAX_TIME,
            _ => watermark - 1,
        }
    }

    fn step(&mut self, budget_rows: usize) -> Result<bool> {
        let watermark = self.progress.due_before();
        let some = self.close_some(watermark, budget_rows)?;
        self.keys.sweep(&mut self.dead);
        Ok(some)
    }

    fn counted(&self) -> Counters {
        let rows: usize = (self.sessions.iter())
            .map(|session| session.carried.capacity() * size_of::<Held>())
            .sum();
        let fixed = self.keys.bytes() + self.sessions.bytes();
        let state = fixed + rows + self.held.bytes();
        Counters {
            keys: self.keys.alive() as u64,
            panes: self.sessions.len() as u64,
            open_windows: self.sessions.len() as u64,
            state_bytes: state as u64,
            ..self.progress.counters
        }
    }

    fn save_windows(&mut self) -> Result<Snapshot> {
        let (mut starts, mut lasts, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        let (mut rows, mut arrivals) = (Vec::new(), Vec::new());
        for (number, session) in self.sessions.iter().enumerate() {
            arrivals.push(session.arrival);
            starts.push(session.start);
            lasts.push(session.last);
            owners.push(session.partition);
            let held = session.carried.iter();
            rows.extend(held.map(|&(_, ordinal, place)| (ordinal, place, number as u32)));
        }
        rows.sort_unstable();
        let (keys, places) = self.keys.save(&owners)?;
        let sessions: Columns = vec![
            ("start".into(), Arc::new(Int64Array::from(starts))),
            ("last".into(), Arc::new(Int64Array::from(lasts))),
            ("arrival".into(), Arc::new(UInt64Array::from(arrivals))),
            ("key".into(), Arc::new(UInt32Array::from(places))),
        ];
        let numbers = UInt32Array::from_iter_values(rows.iter().map(|row| row.2));
        let numbers: Columns = vec![("session".into(), Arc::new(numbers))];
        let mut snapshot = Snapshot::default();
        snapshot.tables.extend([
            ("keys".into(), table(keys)?),
            ("sessions".into(), table(sessions)?),
            ("sessions_of_rows".into(), table(numbers)?),
            (
                "rows".into(),
                self.held.gather(rows.iter().map(|row| row.1))?,
            ),
        ]);
        Ok(snapshot)
    }

    fn load_windows(&mut self, snapshot: &Snapshot) -> Result<()> {
        let damaged = || Error::Snapshot("its sessions are damaged".into());
        let ids = self.keys.load(snapshot.table("keys")?)?;
        let sessions = snapshot.table("sessions")?;
        let starts = column::<Int64Type>(sessions, "start")?;
        let lasts = column::<Int64Type>(sessions, "last")?;
        let arrivals = column::<UInt64Type>(sessions, "arrival")?;
        let mut opened = Vec::with_capacity(starts.len());
        for (number, &place) in column::<UInt32Type>(sessions, "key")?.iter().enumerate() {
            let key = *ids.get(place as usize).ok_or_else(damaged)?;
            self.keys.refer(key);
            let bounds = (starts[number], lasts[number]);
            let arrival = arrivals[number];
            opened.push(self.sessions.insert(key, bounds, arrival, Vec::new()));
        }
        let rows = snapshot.table("rows")?;
        let numbers = column::<UInt32Type>(snapshot.table("sessions_of_rows")?, "session")?;
        if rows.schema().fields() != self.frame.input.fields() || rows.num_rows() != numbers.len() {
            return Err(damaged());
        }
        let mut held = Vec::with_capacity(numbers.len());
        self.held.hold(rows.clone(), |row| held.push(row))?;
        for (row, &number) in held.into_iter().zip(numbers) {
            let session = *opened.get(number as usize).ok_or_else(damaged)?;
            self.sessions.get_mut(session).carried.push(row);
        }
        Ok(())
    }
}
