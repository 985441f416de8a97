//! `CountRows`: each row with the counted windows that hold it, when those are full.
//!
//! Rows are taken in as in the aggregation over counted windows, and given out with
//! each window that they fill, in event-time order.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::datatypes::{Int64Type, UInt32Type};

use super::Counters;
use super::counted::{count_grid, filled_until, push_unfinished};
use super::frame::{Bounds, RowsFrame, select};
use super::outbox::OUTPUT_ROWS;
use super::windowed::{Progress, Windowed};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::window::grid::Grid;
use crate::window::held::{Held, HeldRows, Waiting};
use crate::window::store::Keys;
use crate::window::tables::{column, table};

#[derive(Debug)]
pub(super) struct CountRows {
    frame: RowsFrame,
    grid: Grid,
    rows: i64,
    slide: i64,
    keys: Keys,
    partitions: Vec<Partition>,
    live: usize,
    held: HeldRows,
    waiting: Waiting,
    /// At the end: partitions whose last window is not full, the first to end last.
    unfinished: Option<Vec<u32>>,
    progress: Progress,
}

/// The rows of a partition from the first of its next window on.
#[derive(Debug, Default)]
struct Partition {
    /// How many rows were taken in, since it held none.
    taken: i64,
    rows: VecDeque<Held>,
    seated: bool,
}

impl CountRows {
    pub(super) fn new(frame: RowsFrame, keys: Vec<usize>, rows: u64, slide: u64) -> Result<Self> {
        Ok(Self {
            grid: count_grid(rows, slide)?,
            rows: rows as i64,
            slide: slide as i64,
            keys: Keys::new(&frame.key_types(&keys), keys)?,
            partitions: Vec::new(),
            live: 0,
            held: HeldRows::new(frame.input.clone(), frame.time),
            waiting: Waiting::default(),
            unfinished: None,
            progress: Progress::new(frame.schema.clone()),
            frame,
        })
    }

    /// Takes in rows whose turn has come and gives out the windows that they fill,
    /// about `budget` rows; false if there are none.
    fn take_in(&mut self, budget: usize) -> Result<bool> {
        let before = self.progress.due_before();
        // Each row may fill a window of `rows` rows.
        let count = (budget.clamp(1, OUTPUT_ROWS) as i64 * self.slide / self.rows).max(1);
        let due = self.waiting.due(before, count as usize);
        if due.is_empty() {
            return Ok(false);
        }
        let records = self.held.gather(due.iter().map(|row| row.2))?;
        let mut owners = Vec::new();
        self.keys.intern(&records, &mut owners)?;
        let (mut places, mut bounds) = (Vec::new(), Bounds::default());
        let mut gone = Vec::new();
        for (row, &owner) in due.into_iter().zip(&owners) {
            let partition = self.seat(owner);
            partition.taken += 1;
            partition.rows.push_back(row);
            let (taken, last) = (partition.taken, row.0);
            if filled_until(&self.grid, taken) == taken {
                let partition = &mut self.partitions[owner as usize];
                let start = partition.rows.front().expect("a window has rows").0;
                places.extend(partition.rows.iter().map(|row| row.2));
                bounds.push_inclusive(start, last, partition.rows.len());
                gone.extend(partition.rows.drain(..self.slide as usize).map(|row| row.2));
                self.progress.counters.windows += 1;
            }
        }
        self.progress.counters.rows_out += places.len() as u64;
        let records = self.held.gather(places)?;
        self.held.release(gone);
        self.progress
            .outbox
            .push(self.frame.rows(&records, bounds)?)?;
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            if self.partitions[owner as usize].rows.is_empty() {
                self.unseat(owner);
            }
        }
        Ok(true)
    }

    fn seat(&mut self, owner: u32) -> &mut Partition {
        if self.partitions.len() <= owner as usize {
            (self.partitions).resize_with(owner as usize + 1, Partition::default);
        }
        let partition = &mut self.partitions[owner as usize];
        if !partition.seated {
            partition.seated = true;
            self.keys.refer(owner);
            self.live += 1;
        }
        partition
    }

    fn unseat(&mut self, owner: u32) {
        let partition = std::mem::take(&mut self.partitions[owner as usize]);
        self.held
            .release(partition.rows.into_iter().map(|row| row.2));
        self.live -= 1;
        self.keys.release(&[owner]);
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
        let Some(owner) = self.unfinished.insert(unfinished).pop() else {
            return Ok(false);
        };
        let rows = &self.partitions[owner as usize].rows;
        let (first, last) = rows.front().zip(rows.back()).expect("it has rows");
        let (start, last) = (first.0, last.0);
        let records = self.held.gather(rows.iter().map(|row| row.2))?;
        let mut bounds = Bounds::default();
        bounds.push_inclusive(start, last, rows.len());
        self.unseat(owner);
        let rows = records.num_rows();
        self.progress.counters.windows += 1;
        self.progress.counters.rows_out += rows as u64;
        let records = self.frame.rows(&records, bounds)?;
        push_unfinished::<Self>(&mut self.progress, records, last)?;
        Ok(true)
    }

    /// The partitions that hold rows which no full window held, the first to end last;
    /// ties by arrival of the first row.
    fn find_unfinished(&mut self) -> Vec<u32> {
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        for (owner, partition) in self.partitions.iter().enumerate() {
            let Some((first, last)) = partition.rows.front().zip(partition.rows.back()) else {
                continue;
            };
            if filled_until(&self.grid, partition.taken) < partition.taken {
                found.push((last.0, first.0, first.1, owner as u32));
            } else {
                seen.push(owner as u32);
            }
        }
        for owner in seen {
            self.unseat(owner);
        }
        found.sort_unstable();
        found.into_iter().rev().map(|found| found.3).collect()
    }
}

impl Windowed for CountRows {
    const NAME: &'static str = "CountRows";

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
        let rows: usize = (self.partitions.iter())
            .map(|partition| partition.rows.capacity() * size_of::<Held>())
            .sum();
        let fixed = self.keys.bytes() + self.partitions.capacity() * size_of::<Partition>();
        let held = rows + self.held.bytes() + self.waiting.bytes();
        Counters {
            keys: self.keys.alive() as u64,
            panes: self.live as u64,
            open_windows: self.live as u64,
            state_bytes: (fixed + held) as u64,
            ..self.progress.counters
        }
    }

    fn save_windows(&mut self) -> Result<Snapshot> {
        let (mut owners, mut takens) = (Vec::new(), Vec::new());
        let mut rows: Vec<(Held, u32)> = Vec::new();
        for (owner, partition) in self.partitions.iter().enumerate() {
            if !partition.rows.is_empty() {
                let number = owners.len() as u32;
                rows.extend(partition.rows.iter().map(|row| (*row, number)));
                owners.push(owner as u32);
                takens.push(partition.taken);
            }
        }
        // In the order in which they were taken in, which tells ties apart.
        rows.sort_unstable();
        let numbers: Vec<u32> = rows.iter().map(|row| row.1).collect();
        let rows = rows.iter().map(|row| row.0.2);
        let (mut partitions, _) = self.keys.save(&owners)?;
        partitions.push(("taken".into(), Arc::new(Int64Array::from(takens))));
        let numbers: ArrayRef = Arc::new(UInt32Array::from(numbers));
        let waiting = self.waiting.sorted().into_iter().map(|row| row.2);
        let mut snapshot = Snapshot::default();
        snapshot.tables.extend([
            ("partitions".into(), table(partitions)?),
            (
                "partitions_of_rows".into(),
                table(vec![("partition".into(), numbers)])?,
            ),
            ("rows".into(), self.held.gather(rows)?),
            ("waiting".into(), self.held.gather(waiting)?),
        ]);
        Ok(snapshot)
    }

    fn load_windows(&mut self, snapshot: &Snapshot) -> Result<()> {
        let damaged = || Error::Snapshot("its counted windows are damaged".into());
        let partitions = snapshot.table("partitions")?;
        let owners = self.keys.load(partitions)?;
        let takens = column::<Int64Type>(partitions, "taken")?;
        let (rows, waiting) = (snapshot.table("rows")?, snapshot.table("waiting")?);
        let numbers = snapshot.table("partitions_of_rows")?;
        let numbers = column::<UInt32Type>(numbers, "partition")?;
        let fits = [rows, waiting]
            .iter()
            .all(|rows| rows.schema().fields() == self.frame.input.fields());
        if !fits || rows.num_rows() != numbers.len() {
            return Err(damaged());
        }
        let mut held = Vec::with_capacity(numbers.len());
        self.held.hold(rows.clone(), |row| held.push(row))?;
        for (row, &number) in held.into_iter().zip(numbers) {
            let owner = *owners.get(number as usize).ok_or_else(damaged)?;
            let partition = self.seat(owner);
            partition.rows.push_back(row);
            partition.taken = takens[number as usize];
        }
        (self.held).hold(waiting.clone(), |row| self.waiting.push(row))?;
        Ok(())
    }
}
