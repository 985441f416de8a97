//! `CountAggregate`: aggregates over every `n` rows of a key, in event-time order.
//!
//! Rows wait until the watermark is past them, then are taken in by (event time,
//! arrival); a row behind the watermark is late. Within a partition, the windows of
//! counts are those of a [`Grid`] whose time is the row's number, so that panes,
//! suffixes and prefixes are the same as elsewhere.
//!
//! At the end, a partition's next window is given out as it is when it holds a row
//! that no full window held: every row is in at least one window. Such a window may
//! end before what was promised downstream; it comes with the watermark that it lies
//! behind.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, UInt8Array, UInt32Array,
};
use arrow::datatypes::{Int64Type, SchemaRef, UInt8Type, UInt32Type, UInt64Type};

use super::counted::{count_grid, filled_by, filled_until, push_unfinished};
use super::frame::{Bounds, Frame, select};
use super::outbox::OUTPUT_ROWS;
use super::windowed::{Progress, Windowed};
use super::{Counters, WindowAggregateSpec};
use crate::aggregate::fused::Groups;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{MIN_TIME, ticks};
use crate::window::arena::Arena;
use crate::window::grid::Grid;
use crate::window::held::{HeldRows, Waiting};
use crate::window::opened::Window;
use crate::window::rollover::{Piece, Rollover};
use crate::window::store::{Keys, Store};
use crate::window::tables::{Columns, column, table};

#[derive(Debug)]
pub(super) struct CountAggregate {
    frame: Frame,
    input: SchemaRef,
    grid: Grid,
    slide: i64,
    store: Store,
    partition_keys: Keys,
    partitions: Vec<Option<Partition>>,
    live: usize,
    held: HeldRows,
    waiting: Waiting,
    /// At the end: partitions whose last window is not full, the first to end last.
    unfinished: Option<Vec<u32>>,
    progress: Progress,
}

/// The rows of a partition that were taken in.
#[derive(Debug)]
struct Partition {
    /// How many rows, since it held none.
    taken: i64,
    /// The time of the last one.
    last: i64,
    rollover: Rollover,
    /// The first rows of windows that are not full: time, and place in the order of
    /// arrival.
    starts: VecDeque<(i64, u64)>,
}

/// A window that a row has filled.
struct Filled {
    partition: u32,
    end: i64,
    start: i64,
    last: i64,
}

impl CountAggregate {
    pub(super) fn new(
        spec: WindowAggregateSpec,
        frame: Frame,
        rows: u64,
        slide: u64,
    ) -> Result<Self> {
        let types: Vec<_> = (spec.keys.iter())
            .map(|&key| spec.input.field(key).data_type().clone())
            .collect();
        let count = spec.partition_keys;
        Ok(Self {
            grid: count_grid(rows, slide)?,
            slide: slide as i64,
            partition_keys: Keys::new(&types[..count], spec.keys[..count].to_vec())?,
            store: Store {
                keys: Keys::new(&types, spec.keys)?,
                arena: Arena::new(spec.aggregates, Groups::Many)?,
            },
            partitions: Vec::new(),
            live: 0,
            held: HeldRows::new(spec.input.clone(), frame.time),
            input: spec.input,
            waiting: Waiting::default(),
            unfinished: None,
            progress: Progress::new(frame.schema.clone()),
            frame,
        })
    }

    /// Takes in about `budget` rows whose turn has come, and gives out the windows that
    /// they fill; false if there are none.
    fn take_in(&mut self, budget: usize) -> Result<bool> {
        let before = self.progress.due_before();
        let due = self.waiting.due(before, budget.clamp(1, OUTPUT_ROWS));
        if due.is_empty() {
            return Ok(false);
        }
        let records = self.held.gather(due.iter().map(|row| row.2))?;
        self.held.release(due.iter().map(|row| row.2));
        let (times, _) = ticks(records.column(self.frame.time))?;
        let (mut keys, mut owners, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        self.store.keys.intern(&records, &mut keys)?;
        self.partition_keys.intern(&records, &mut owners)?;
        let mut filled = Vec::new();
        for (((&time, &key), &owner), row) in times.iter().zip(&keys).zip(&owners).zip(&due) {
            self.seat(owner);
            let partition = self.partitions[owner as usize].as_mut().expect("seated");
            if partition.taken % self.slide == 0 {
                partition.starts.push_back((time, row.1));
            }
            let place = partition.rollover.seat(self.grid.pane(partition.taken));
            (partition.rollover).place(place, &[key], &mut self.store, &mut slots);
            partition.taken += 1;
            partition.last = time;
            if let Some(end) = filled_by(&self.grid, partition.taken) {
                let start = partition.starts.pop_front();
                filled.push(Filled {
                    partition: owner,
                    end,
                    start: start.expect("a window has a first row").0,
                    last: time,
                });
            }
        }
        self.store.arena.update(&records, times, &slots)?;
        for filled in filled {
            self.give(filled)?;
        }
        // Where windows do not overlap, a partition between two windows holds nothing.
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            let partition = self.partitions[owner as usize].as_ref();
            if partition.is_some_and(|partition| partition.starts.is_empty() && self.is_tumbling())
            {
                self.unseat(owner);
            }
        }
        Ok(true)
    }

    fn is_tumbling(&self) -> bool {
        self.grid.panes().is_tumbling()
    }

    /// Makes a partition, unless it is there.
    fn seat(&mut self, owner: u32) {
        if self.partitions.len() <= owner as usize {
            self.partitions.resize_with(owner as usize + 1, || None);
        }
        if self.partitions[owner as usize].is_none() {
            self.partition_keys.refer(owner);
            self.live += 1;
            self.partitions[owner as usize] = Some(Partition {
                taken: 0,
                last: MIN_TIME,
                rollover: Rollover::new(self.grid.panes(), &self.store.arena),
                starts: VecDeque::new(),
            });
        }
    }

    /// Lets a partition go, with all that it holds.
    fn unseat(&mut self, owner: u32) {
        if let Some(mut partition) = self.partitions[owner as usize].take() {
            partition.rollover.clear(&mut self.store);
            self.live -= 1;
            self.partition_keys.release(&[owner]);
        }
    }

    /// Gives out a full window.
    fn give(&mut self, filled: Filled) -> Result<()> {
        let partition = self.partitions[filled.partition as usize].as_mut();
        let rollover = &mut partition.expect("the partition fills a window").rollover;
        let window = rollover.open(filled.end, &mut self.store)?;
        let records = evaluate(
            &self.frame,
            &mut self.store,
            &window,
            filled.start,
            filled.last,
        )?;
        rollover.finish(window, &mut self.store);
        self.progress.counters.windows += records.num_rows() as u64;
        self.progress.counters.rows_out += records.num_rows() as u64;
        self.progress.outbox.push(records)
    }

    /// At the end: gives out a window that is not full; false if there is none left.
    fn give_unfinished(&mut self) -> Result<bool> {
        if !self.progress.ended {
            return Ok(false);
        }
        let unfinished = match self.unfinished.take() {
            Some(unfinished) => unfinished,
            None => self.find_unfinished(),
        };
        let unfinished = self.unfinished.insert(unfinished);
        let Some(owner) = unfinished.pop() else {
            return Ok(false);
        };
        let partition = self.partitions[owner as usize].as_mut();
        let partition = partition.expect("an unfinished partition is there");
        let panes = self.grid.panes();
        let end = match partition.rollover.closed() {
            i64::MIN => panes.first_end(),
            closed => panes.end_after(closed),
        };
        let start = partition.starts.front().copied();
        let (start, _) = start.expect("an unfinished window has a first row");
        let window = partition.rollover.open(end, &mut self.store)?;
        let last = partition.last;
        let records = evaluate(&self.frame, &mut self.store, &window, start, last)?;
        partition.rollover.finish(window, &mut self.store);
        self.unseat(owner);
        self.progress.counters.windows += records.num_rows() as u64;
        self.progress.counters.rows_out += records.num_rows() as u64;
        push_unfinished::<Self>(&mut self.progress, records, last)?;
        Ok(true)
    }

    /// The partitions that hold rows which no full window held, the first to end last;
    /// ties by arrival of the first row.
    fn find_unfinished(&mut self) -> Vec<u32> {
        let (mut found, mut empty) = (Vec::new(), Vec::new());
        for (owner, partition) in self.partitions.iter().enumerate() {
            let Some(partition) = partition else { continue };
            // No window has been filled, or rows follow the last that has.
            if filled_until(&self.grid, partition.taken) < partition.taken {
                found.push((
                    partition.last,
                    partition.starts.front().copied(),
                    owner as u32,
                ));
            } else {
                empty.push(owner as u32);
            }
        }
        for owner in empty {
            self.unseat(owner);
        }
        found.sort_unstable();
        found.into_iter().rev().map(|(_, _, owner)| owner).collect()
    }
}

/// The rows of a window between the times of its first and last reading.
fn evaluate(
    frame: &Frame,
    store: &mut Store,
    window: &Window,
    start: i64,
    last: i64,
) -> Result<RecordBatch> {
    let mut bounds = Bounds::default();
    bounds.push_inclusive(start, last, window.keys.len());
    let keys = store.keys.values(&window.keys)?;
    let values = store.arena.evaluate(&window.slots)?;
    frame.rows(keys, bounds, values)
}

impl Windowed for CountAggregate {
    const NAME: &'static str = "CountAggregate";

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn take_batch(&mut self, batch: Batch) -> Result<()> {
        let rows = self.progress.admit(&batch, self.frame.time)?;
        let records = select(&batch.records, &rows)?;
        self.held.hold(records, |row| self.waiting.push(row))
    }

    fn step(&mut self, budget_rows: usize) -> Result<bool> {
        Ok(self.take_in(budget_rows)? || self.give_unfinished()?)
    }

    fn counted(&self) -> Counters {
        let partitions = self.partitions.iter().flatten();
        let panes: usize = partitions.clone().map(|held| held.rollover.bytes()).sum();
        let bytes = [
            panes,
            self.partitions.capacity() * size_of::<Option<Partition>>(),
            self.store.bytes(),
            self.partition_keys.bytes(),
            self.held.bytes(),
            self.waiting.bytes(),
        ];
        Counters {
            keys: self.store.keys.alive() as u64,
            panes: self.live as u64,
            open_windows: self.live as u64,
            state_bytes: bytes.into_iter().sum::<usize>() as u64,
            ..self.progress.counters
        }
    }

    fn save_windows(&mut self) -> Result<Snapshot> {
        let (mut owners, mut takens, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut closeds, mut starts, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut numbers, mut pieces, mut panes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut keys, mut slots) = (Vec::new(), Vec::new());
        for (owner, partition) in self.partitions.iter().enumerate() {
            let Some(partition) = partition else { continue };
            for (piece, held) in partition.rollover.entries() {
                let rows = keys.len() + held.len();
                let (piece, pane) = piece.to_numbers();
                numbers.resize(rows, owners.len() as u32);
                pieces.resize(rows, piece);
                panes.resize(rows, pane);
                keys.extend_from_slice(held.keys());
                slots.extend_from_slice(held.slots());
            }
            owners.push(owner as u32);
            takens.push(partition.taken);
            lasts.push(partition.last);
            closeds.push(partition.rollover.closed());
            let first = partition.starts.iter();
            starts.push(Some(
                first.clone().map(|start| Some(start.0)).collect::<Vec<_>>(),
            ));
            firsts.push(Some(first.map(|start| Some(start.1)).collect::<Vec<_>>()));
        }
        let (key_columns, places) = self.store.keys.save(&keys)?;
        let (mut partitions, _) = self.partition_keys.save(&owners)?;
        let starts = ListArray::from_iter_primitive::<Int64Type, _, _>(starts);
        let firsts = ListArray::from_iter_primitive::<UInt64Type, _, _>(firsts);
        let columns: [(&str, ArrayRef); 5] = [
            ("taken", Arc::new(Int64Array::from(takens))),
            ("last", Arc::new(Int64Array::from(lasts))),
            ("closed", Arc::new(Int64Array::from(closeds))),
            ("starts", Arc::new(starts)),
            ("arrivals", Arc::new(firsts)),
        ];
        partitions.extend(columns.map(|(name, column)| (name.to_string(), column)));
        let mut columns: Columns = vec![
            ("partition".into(), Arc::new(UInt32Array::from(numbers))),
            ("pane".into(), Arc::new(Int64Array::from(panes))),
            ("piece".into(), Arc::new(UInt8Array::from(pieces))),
            ("key".into(), Arc::new(UInt32Array::from(places))),
        ];
        columns.extend(self.store.arena.save(&slots)?);
        let waiting = self.waiting.sorted().into_iter().map(|row| row.2);
        let mut snapshot = Snapshot::default();
        snapshot.numbers.extend([
            ("ordinal".into(), self.store.arena.ordinal() as i64),
            ("arrived".into(), self.held.arrived() as i64),
        ]);
        snapshot.tables.extend([
            ("keys".into(), table(key_columns)?),
            ("partitions".into(), table(partitions)?),
            ("slots".into(), table(columns)?),
            ("waiting".into(), self.held.gather(waiting)?),
        ]);
        Ok(snapshot)
    }

    fn load_windows(&mut self, snapshot: &Snapshot) -> Result<()> {
        let damaged = || Error::Snapshot("its counted windows are damaged".into());
        let partitions = snapshot.table("partitions")?;
        let owners = self.partition_keys.load(partitions)?;
        let takens = column::<Int64Type>(partitions, "taken")?;
        let lasts = column::<Int64Type>(partitions, "last")?;
        let closeds = column::<Int64Type>(partitions, "closed")?;
        let lists = |name: &str| {
            (partitions.column_by_name(name))
                .and_then(|column| column.as_any().downcast_ref::<ListArray>())
                .ok_or_else(damaged)
        };
        let (starts, firsts) = (lists("starts")?, lists("arrivals")?);
        if starts.null_count() + firsts.null_count() > 0 {
            return Err(damaged());
        }
        for (number, &owner) in owners.iter().enumerate() {
            self.seat(owner);
            let partition = self.partitions[owner as usize].as_mut().expect("seated");
            partition.taken = takens[number];
            partition.last = lasts[number];
            partition.rollover.restore_closed(closeds[number]);
            let (starts, firsts) = (starts.value(number), firsts.value(number));
            let starts = starts.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
            let firsts = firsts
                .as_primitive_opt::<UInt64Type>()
                .ok_or_else(damaged)?;
            let pairs = starts.values().iter().zip(firsts.values());
            (partition.starts).extend(pairs.map(|(&time, &arrival)| (time, arrival)));
        }
        let ids = self.store.keys.load(snapshot.table("keys")?)?;
        let rows = snapshot.table("slots")?;
        let numbers = column::<UInt32Type>(rows, "partition")?;
        let panes = column::<Int64Type>(rows, "pane")?;
        let pieces = column::<UInt8Type>(rows, "piece")?;
        let mut slots = Vec::with_capacity(rows.num_rows());
        for (row, &place) in column::<UInt32Type>(rows, "key")?.iter().enumerate() {
            let key = *ids.get(place as usize).ok_or_else(damaged)?;
            let owner = *owners.get(numbers[row] as usize).ok_or_else(damaged)?;
            let partition = self.partitions[owner as usize].as_mut().expect("seated");
            let piece = Piece::from_numbers(pieces[row], panes[row])?;
            slots.push(partition.rollover.restore(piece, key, &mut self.store)?);
        }
        let ordinal = snapshot.count("ordinal")?;
        self.store.arena.load(&slots, rows, ordinal)?;
        let waiting = snapshot.table("waiting")?;
        if waiting.schema().fields() != self.input.fields() {
            return Err(damaged());
        }
        self.held.restore_arrived(snapshot.count("arrived")?);
        (self.held).hold(waiting.clone(), |row| self.waiting.push(row))?;
        Ok(())
    }
}
