//! `SessionAggregate`: aggregates over each key's sessions.
//!
//! Rows are found their session one by one, in order of arrival, and lifted in bulk.
//! Where a row joins two sessions, the rows before it are lifted first, then the
//! states of the later session are combined into those of the earlier.
//!
//! The leading keys, as many as `partition_keys`, say whose session it is; the others
//! divide each session further.
//!
//! A row is late when it touches no open session and its own would have ended at or
//! before the watermark. What goes downstream is promised one tick behind the
//! watermark: a session is held open at its very end (see [`Sessions`]).

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{Int64Type, UInt32Type, UInt64Type};

use super::frame::{Bounds, Frame, behind_unannounced, select};
use super::outbox::OUTPUT_ROWS;
use super::windowed::{Progress, Windowed};
use super::{Counters, WindowAggregateSpec};
use crate::aggregate::fused;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::kernel::AHEAD_ROWS;
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, ticks};
use crate::window::arena::Arena;
use crate::window::key_slots::KeySlots;
use crate::window::session::{Sessions, Touched};
use crate::window::store::{Keys, Store};
use crate::window::tables::{Columns, column, table};

#[derive(Debug)]
pub(super) struct SessionAggregate {
    frame: Frame,
    store: Store,
    /// The leading keys, where other keys divide the sessions; otherwise those of
    /// `store` say whose session it is.
    partitions: Option<Keys>,
    sessions: Sessions<Groups>,
    progress: Progress,
    /// Ids that may have lost their last reference.
    dead: Vec<u32>,
    dead_partitions: Vec<u32>,
}

/// The slots of a session: of one key, or of each key that divides it.
#[derive(Debug)]
enum Groups {
    One { key: u32, slot: u32 },
    Many(Box<KeySlots>),
}

impl Groups {
    fn keys(&self) -> &[u32] {
        match self {
            Self::One { key, .. } => std::slice::from_ref(key),
            Self::Many(groups) => groups.keys(),
        }
    }

    fn slots(&self) -> &[u32] {
        match self {
            Self::One { slot, .. } => std::slice::from_ref(slot),
            Self::Many(groups) => groups.slots(),
        }
    }
}

/// Rows that have found their slots and are not lifted yet.
#[derive(Debug, Default)]
struct Pending {
    rows: Vec<u32>,
    slots: Vec<u32>,
}

impl SessionAggregate {
    pub(super) fn new(spec: WindowAggregateSpec, frame: Frame, gap: i64) -> Result<Self> {
        if gap <= 0 {
            return Err(Error::invalid("the gap of SESSION must be above zero"));
        }
        let types: Vec<_> = (spec.keys.iter())
            .map(|&key| spec.input.field(key).data_type().clone())
            .collect();
        let count = spec.partition_keys;
        let partitions = if count < types.len() {
            Some(Keys::new(&types[..count], spec.keys[..count].to_vec())?)
        } else {
            None
        };
        Ok(Self {
            store: Store {
                keys: Keys::new(&types, spec.keys)?,
                arena: Arena::new(spec.aggregates, fused::Groups::Many)?,
            },
            partitions,
            sessions: Sessions::new(gap),
            progress: Progress::new(frame.schema.clone()),
            frame,
            dead: Vec::new(),
            dead_partitions: Vec::new(),
        })
    }

    /// Finds each row its session.
    fn take_in(&mut self, batch: &Batch) -> Result<()> {
        let records = &batch.records;
        let (times, nulls) = ticks(records.column(self.frame.time))?;
        let (mut keys, mut partitions) = (Vec::new(), Vec::new());
        self.store.keys.intern(records, &mut keys)?;
        if let Some(interner) = &mut self.partitions {
            interner.intern(records, &mut partitions)?;
        }
        let of_row = if self.partitions.is_some() {
            &partitions
        } else {
            &keys
        };
        let mut pending = Pending::default();
        let (mut late, mut late_by) = (Vec::new(), Vec::new());
        let mut watermark = self.progress.watermark;
        for (row, &time) in times.iter().enumerate() {
            let key = keys[row];
            let partition = of_row[row];
            self.sessions.fetch(
                of_row.get(row + AHEAD_ROWS).copied(),
                of_row.get(row + 2 * AHEAD_ROWS).copied(),
            );
            if nulls.is_some_and(|nulls| nulls.is_null(row)) || time > self.sessions.latest() {
                self.progress.counters.filtered += 1;
                self.doubt(key, partition);
                continue;
            }
            if let Some(behind) = &batch.behind {
                watermark = watermark.max(behind.watermarks[row]);
            }
            if time < watermark {
                if batch.behind.is_none() {
                    return Err(behind_unannounced(time, watermark));
                }
                if self.sessions.first_closed(Some(watermark)).is_some() {
                    self.lift(records, &mut pending)?;
                    while self.close_some(Some(watermark), OUTPUT_ROWS)? {}
                }
            }
            let session = match self.sessions.touched(partition, time) {
                Touched::Nothing if self.sessions.end(time) <= watermark => {
                    late.push(row as u32);
                    late_by.push(watermark.saturating_sub(time));
                    self.doubt(key, partition);
                    continue;
                }
                Touched::Nothing => None,
                Touched::One(session) => {
                    self.sessions.extend(session, time);
                    Some(session)
                }
                Touched::Two(earlier, later) => {
                    self.lift(records, &mut pending)?;
                    self.bridge(earlier, later)?;
                    Some(earlier)
                }
            };
            pending.rows.push(row as u32);
            let arrival = self.sessions.opened();
            let (_, slot) = self.slot(session, partition, key, (time, time), arrival);
            pending.slots.push(slot);
        }
        self.lift(records, &mut pending)?;
        self.progress.set_aside(batch, late, late_by)
    }

    /// The session of a row, which is opened with these bounds if there is none, and the
    /// row's slot in it.
    fn slot(
        &mut self,
        session: Option<u32>,
        partition: u32,
        key: u32,
        bounds: (i64, i64),
        arrival: u64,
    ) -> (u32, u32) {
        let store = &mut self.store;
        let Some(session) = session else {
            let (groups, slot) = match &mut self.partitions {
                None => {
                    store.keys.refer(key);
                    let slot = store.arena.allocate();
                    (Groups::One { key, slot }, slot)
                }
                Some(partitions) => {
                    partitions.refer(partition);
                    let (mut groups, mut slots) = (KeySlots::default(), Vec::new());
                    store.find(&mut groups, &[key], &mut slots);
                    (Groups::Many(Box::new(groups)), slots[0])
                }
            };
            let session = self.sessions.insert(partition, bounds, arrival, groups);
            return (session, slot);
        };
        let slot = match &mut self.sessions.get_mut(session).carried {
            Groups::One { slot, .. } => *slot,
            Groups::Many(groups) => groups.get(key).unwrap_or_else(|| {
                let mut slots = Vec::new();
                store.find(groups, &[key], &mut slots);
                slots[0]
            }),
        };
        (session, slot)
    }

    /// Makes two sessions one: the states of the later go into those of the earlier.
    fn bridge(&mut self, earlier: u32, later: u32) -> Result<()> {
        let later = self.sessions.merge(earlier, later);
        let into = match &mut self.sessions.get_mut(earlier).carried {
            Groups::One { slot, .. } => vec![*slot],
            Groups::Many(groups) => {
                let mut slots = Vec::new();
                self.store.find(groups, later.keys(), &mut slots);
                slots
            }
        };
        self.store.arena.merge(&into, later.slots())?;
        let partition = self.sessions.get(earlier).partition;
        self.let_go(&[partition], later.keys(), later.slots());
        Ok(())
    }

    /// Takes back the slots and the references of sessions that are no more.
    fn let_go(&mut self, partitions: &[u32], keys: &[u32], slots: &[u32]) {
        self.store.arena.release(slots);
        for &key in keys {
            if self.store.keys.drop(key) {
                self.dead.push(key);
            }
        }
        if let Some(interner) = &mut self.partitions {
            for &partition in partitions {
                if interner.drop(partition) {
                    self.dead_partitions.push(partition);
                }
            }
        }
    }

    /// Notes ids that were given to a row which is in no session.
    fn doubt(&mut self, key: u32, partition: u32) {
        self.dead.push(key);
        if self.partitions.is_some() {
            self.dead_partitions.push(partition);
        }
    }

    /// Takes back the ids that nothing refers to. Not in the middle of a batch: its
    /// rows may still name them.
    fn sweep(&mut self) {
        self.store.keys.sweep(&mut self.dead);
        if let Some(partitions) = &mut self.partitions {
            partitions.sweep(&mut self.dead_partitions);
        }
    }

    fn lift(&mut self, records: &RecordBatch, pending: &mut Pending) -> Result<()> {
        if pending.rows.is_empty() {
            return Ok(());
        }
        self.progress.counters.in_window += pending.rows.len() as u64;
        let records = select(records, &pending.rows)?;
        let (times, _) = ticks(records.column(self.frame.time))?;
        (self.store.arena).update(&records, times, &pending.slots)?;
        pending.rows.clear();
        pending.slots.clear();
        Ok(())
    }

    /// Gives out about `budget` rows of sessions that the watermark is past; false if
    /// there are none.
    fn close_some(&mut self, watermark: Option<i64>, budget: usize) -> Result<bool> {
        let (mut keys, mut slots, mut partitions) = (Vec::new(), Vec::new(), Vec::new());
        let mut bounds = Bounds::default();
        while slots.len() < budget.clamp(1, OUTPUT_ROWS)
            && let Some(session) = self.sessions.first_closed(watermark)
        {
            let session = self.sessions.remove(session);
            let groups = &session.carried;
            keys.extend_from_slice(groups.keys());
            slots.extend_from_slice(groups.slots());
            let end = self.sessions.end(session.last);
            bounds.push(session.start, end, groups.slots().len());
            partitions.push(session.partition);
        }
        if slots.is_empty() {
            return Ok(false);
        }
        self.progress.counters.windows += slots.len() as u64;
        self.progress.counters.rows_out += slots.len() as u64;
        let values = self.store.arena.evaluate(&slots)?;
        let key_values = self.store.keys.values(&keys)?;
        self.progress
            .outbox
            .push(self.frame.rows(key_values, bounds, values)?)?;
        self.let_go(&partitions, &keys, &slots);
        Ok(true)
    }
}

impl Windowed for SessionAggregate {
    const NAME: &'static str = "SessionAggregate";

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn take_batch(&mut self, batch: Batch) -> Result<()> {
        let taken = self.take_in(&batch);
        self.sweep();
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
        self.sweep();
        Ok(some)
    }

    fn counted(&self) -> Counters {
        let partitions = self.partitions.as_ref().map_or(0, Keys::bytes);
        let groups = match &self.partitions {
            None => 0,
            Some(_) => (self.sessions.iter())
                .map(|session| match &session.carried {
                    Groups::One { .. } => 0,
                    Groups::Many(groups) => size_of::<KeySlots>() + groups.bytes(),
                })
                .sum(),
        };
        let sessions = self.sessions.bytes() + groups;
        let state = self.store.bytes() + sessions + partitions;
        Counters {
            keys: self.store.keys.alive() as u64,
            panes: self.sessions.len() as u64,
            open_windows: self.sessions.len() as u64,
            state_bytes: state as u64,
            ..self.progress.counters
        }
    }

    fn save_windows(&mut self) -> Result<Snapshot> {
        let (mut starts, mut lasts, mut arrivals) = (Vec::new(), Vec::new(), Vec::new());
        let (mut numbers, mut keys, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for (number, session) in self.sessions.iter().enumerate() {
            starts.push(session.start);
            lasts.push(session.last);
            arrivals.push(session.arrival);
            let groups = &session.carried;
            numbers.resize(numbers.len() + groups.keys().len(), number as u32);
            keys.extend_from_slice(groups.keys());
            slots.extend_from_slice(groups.slots());
        }
        let (key_columns, places) = self.store.keys.save(&keys)?;
        let mut columns: Columns = vec![
            ("session".into(), Arc::new(UInt32Array::from(numbers))),
            ("key".into(), Arc::new(UInt32Array::from(places))),
        ];
        columns.extend(self.store.arena.save(&slots)?);
        let sessions: Columns = vec![
            ("start".into(), Arc::new(Int64Array::from(starts))),
            ("last".into(), Arc::new(Int64Array::from(lasts))),
            ("arrival".into(), Arc::new(UInt64Array::from(arrivals))),
        ];
        let mut snapshot = Snapshot::default();
        let ordinal = self.store.arena.ordinal() as i64;
        snapshot.numbers.insert("ordinal".into(), ordinal);
        snapshot.tables.extend([
            ("keys".into(), table(key_columns)?),
            ("sessions".into(), table(sessions)?),
            ("slots".into(), table(columns)?),
        ]);
        Ok(snapshot)
    }

    fn load_windows(&mut self, snapshot: &Snapshot) -> Result<()> {
        let damaged = || Error::Snapshot("its sessions are damaged".into());
        let keys = snapshot.table("keys")?;
        let ids = self.store.keys.load(keys)?;
        let partitions = match &mut self.partitions {
            Some(partitions) => partitions.load(keys)?,
            None => ids.clone(),
        };
        let sessions = snapshot.table("sessions")?;
        let starts = column::<Int64Type>(sessions, "start")?;
        let lasts = column::<Int64Type>(sessions, "last")?;
        let arrivals = column::<UInt64Type>(sessions, "arrival")?;
        let rows = snapshot.table("slots")?;
        let numbers = column::<UInt32Type>(rows, "session")?;
        let mut opened: Vec<Option<u32>> = vec![None; starts.len()];
        let mut slots = Vec::with_capacity(rows.num_rows());
        for (&place, &number) in column::<UInt32Type>(rows, "key")?.iter().zip(numbers) {
            let key = *ids.get(place as usize).ok_or_else(damaged)?;
            let partition = partitions[place as usize];
            let opened = opened.get_mut(number as usize).ok_or_else(damaged)?;
            let bounds = (starts[number as usize], lasts[number as usize]);
            let arrival = arrivals[number as usize];
            let (session, slot) = self.slot(*opened, partition, key, bounds, arrival);
            *opened = Some(session);
            slots.push(slot);
        }
        let ordinal = snapshot.count("ordinal")?;
        self.store.arena.load(&slots, rows, ordinal)?;
        Ok(())
    }
}
