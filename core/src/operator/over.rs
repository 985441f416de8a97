//! `OverAggregate`: aggregates over the rows around each row (`OVER`).
//!
//! A row waits until the watermark is past it, so that it stands among its neighbours in
//! event time. Rows whose turn has come are sorted by key; each aggregate moves the frames
//! of their keys over them, and the values go back to the rows' places.
//!
//! ```text
//!  rows ─▶ wait ─▶ due, by time ──sort by key──▶ frames slide ──▶ values ─▶ rows, by time
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{
    FieldRef, Float64Type, Int64Type, Schema, SchemaRef, UInt32Type, UInt64Type,
};
use rayon::prelude::*;

use super::by_key::ByKey;
use super::frame::{field, select, time_type};
use super::windowed::{Progress, Windowed};
use super::{Counters, Operator, OverSpec};
use crate::aggregate::slide::{Moves, SHARD_ROWS, SavedFrames, SlidingState, Stretch};
use crate::aggregate::slide_floats::{Group, Places, SavedFloats, group};
use crate::aggregate::{AggregateCall, Rows};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::window::frames::Frames;
use crate::window::in_time::InTime;
use crate::window::store::Keys;
use crate::window::tables::{column, table};

/// An aggregate call and its frame.
#[derive(Debug)]
struct Line {
    call: AggregateCall,
    /// Its place among the calls.
    place: usize,
    state: Box<dyn SlidingState>,
    /// Its place in [`OverAggregate::frames`].
    frames: usize,
}

/// Calls over floats that share their frames.
#[derive(Debug)]
struct FloatLine {
    group: Group,
    /// Its place in [`OverAggregate::frames`].
    frames: usize,
}

/// Rows of a step, if no call asks for fewer: their columns stay in the cache.
const STEP_ROWS: usize = 1 << 16;

#[derive(Debug)]
struct OverAggregate {
    input: SchemaRef,
    schema: SchemaRef,
    time: usize,
    keeps_untimed: bool,
    calls: usize,
    lines: Vec<Line>,
    float_lines: Vec<FloatLine>,
    /// Each frame that some call has.
    frames: Vec<Frames>,
    /// After how many ticks a row is in no frame any more; `None` = never.
    reach: Option<i64>,
    keys: Keys,
    /// By key: the time of its last row, if it has frames.
    lasts: Vec<Option<i64>>,
    /// (The time of a key's last row when it was noted, the key), in order of time.
    leaving: VecDeque<(i64, u32)>,
    /// Rows that were given out: the next one's place among them.
    ordinal: u64,
    waiting: InTime,
    progress: Progress,
    scratch: Scratch,
}

/// Makes the operator for per-row windows.
///
/// # Errors
/// If the specification names columns that are not there or of a wrong type, or an
/// aggregate that has no sliding state.
pub fn over(spec: OverSpec) -> Result<Box<dyn Operator>> {
    time_type(&spec.input, spec.time)?;
    let mut fields: Vec<FieldRef> = spec.input.fields().to_vec();
    let mut frames: Vec<Frames> = Vec::new();
    let mut calls = Vec::new();
    for over in spec.calls {
        for &column in over.call.args.iter().chain(&over.call.filter) {
            field(&spec.input, column)?;
        }
        let place = (frames.iter()).position(|frames| frames.kind() == over.frame);
        let place = place.unwrap_or_else(|| {
            frames.push(Frames::new(over.frame));
            frames.len() - 1
        });
        fields.push(over.call.field.clone());
        calls.push((over.call, place));
    }
    let float_lines = float_lines(&calls, frames.len());
    let count = calls.len();
    let mut lines = Vec::new();
    for (place, (call, frames)) in calls.into_iter().enumerate() {
        if (float_lines.iter()).any(|line| line.group.calls.contains(&place)) {
            continue;
        }
        let state = call
            .factory
            .sliding()
            .ok_or_else(|| Error::invalid(format!("{} has no sliding state", call.field.name())))?;
        lines.push(Line {
            call,
            place,
            state,
            frames,
        });
    }
    let types = (spec.keys.iter())
        .map(|&key| Ok(field(&spec.input, key)?.data_type().clone()))
        .collect::<Result<Vec<_>>>()?;
    let reaches = frames.iter().map(Frames::reach);
    let reach = reaches.collect::<Option<Vec<_>>>();
    let schema = Arc::new(Schema::new(fields));
    Ok(Box::new(OverAggregate {
        schema: schema.clone(),
        time: spec.time,
        keeps_untimed: spec.keeps_untimed,
        calls: count,
        lines,
        float_lines,
        frames,
        reach: reach.map(|reaches| reaches.into_iter().max().unwrap_or(0)),
        keys: Keys::new(&types, spec.keys)?,
        lasts: Vec::new(),
        leaving: VecDeque::new(),
        ordinal: 0,
        waiting: InTime::new(spec.input.clone(), spec.time),
        input: spec.input,
        progress: Progress::new(schema),
        scratch: Scratch::default(),
    }))
}

/// The calls that share frames, each with the place of its frame among so many.
fn float_lines(calls: &[(AggregateCall, usize)], frames: usize) -> Vec<FloatLine> {
    let of = |frames: usize| {
        let calls: Vec<(usize, &AggregateCall)> = (calls.iter().enumerate())
            .filter(|(_, (_, place))| *place == frames)
            .map(|(place, (call, _))| (place, call))
            .collect();
        let groups = group(&calls).into_iter();
        groups.map(move |group| FloatLine { group, frames })
    };
    (0..frames).flat_map(of).collect()
}

/// Room for a step, kept from one to the next while rows are due.
#[derive(Debug, Default)]
struct Scratch {
    /// The ids of the rows' keys.
    owners: Vec<u32>,
    piece_owners: Vec<u32>,
    by_key: ByKey,
    /// Of the rows by key.
    times: Vec<i64>,
    /// By frame.
    moves: Vec<Moves>,
}

/// A column of all pieces.
fn joined(pieces: &[RecordBatch], column: usize) -> Result<ArrayRef> {
    if let [piece] = pieces {
        return Ok(piece.column(column).clone());
    }
    let parts: Vec<&dyn Array> = (pieces.iter())
        .map(|piece| piece.column(column).as_ref())
        .collect();
    Ok(concat(&parts)?)
}

impl OverAggregate {
    /// Gives out rows whose turn has come; false if there are none.
    fn give_due(&mut self) -> Result<bool> {
        let before = self.progress.due_before();
        let pieces = self.waiting.due(before, self.step_rows())?;
        if pieces.is_empty() {
            return Ok(false);
        }
        let values = self.values(&pieces)?;
        let mut row = 0;
        for piece in pieces {
            let rows = piece.num_rows();
            let mut columns = piece.columns().to_vec();
            columns.extend(values.iter().map(|column| column.slice(row, rows)));
            (self.progress.outbox).push(RecordBatch::try_new(self.schema.clone(), columns)?)?;
            row += rows;
        }
        self.progress.counters.rows_out += row as u64;
        Ok(true)
    }

    /// How many rows are computed at once.
    fn step_rows(&self) -> usize {
        let slowest = self.lines.iter().map(|line| line.state.step_rows()).min();
        slowest.unwrap_or(STEP_ROWS)
    }

    /// The values of the calls for rows in order of time.
    fn values(&mut self, pieces: &[RecordBatch]) -> Result<Vec<ArrayRef>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let times = self.take_in(pieces, &mut scratch)?;
        let rows = times.len();
        let by_key = &scratch.by_key;
        let times: &[i64] = match by_key.places() {
            None => &times,
            Some(Places { order, .. }) => {
                let sorted = &mut scratch.times;
                sorted.resize(rows, 0);
                let shards = sorted
                    .par_chunks_mut(SHARD_ROWS)
                    .zip(order.par_chunks(SHARD_ROWS));
                shards.for_each(|(sorted, order)| {
                    for (time, row) in sorted.iter_mut().zip(order) {
                        *time = times[*row as usize];
                    }
                });
                sorted
            }
        };
        scratch.moves.resize_with(self.frames.len(), Moves::default);
        for (frames, moves) in self.frames.iter_mut().zip(&mut scratch.moves) {
            frames.moves(times, &by_key.stretches, moves)?;
        }
        let mut values: Vec<Option<ArrayRef>> = vec![None; self.calls];
        for line in &mut self.float_lines {
            let group = &mut line.group;
            let filter = group.filter.map(|filter| joined(pieces, filter));
            let filter = filter.transpose()?;
            let rows = Rows {
                slots: &[],
                args: &[joined(pieces, group.column)?],
                filter: filter.as_ref().map(|filter| filter.as_boolean()),
                times: &[],
                first_ordinal: self.ordinal,
            };
            let moves = &scratch.moves[line.frames];
            let columns = (group.state).slide(rows, by_key.places(), &by_key.stretches, moves);
            for (call, column) in group.calls.iter().zip(columns) {
                values[*call] = Some(column);
            }
        }
        for (call, column) in self.line_values(pieces, by_key, times, &scratch.moves)? {
            values[call] = Some(column);
        }
        self.ordinal += rows as u64;
        self.note(times, &by_key.stretches);
        self.scratch = scratch;
        let values = values.into_iter();
        Ok(values
            .map(|column| column.expect("each call has a line"))
            .collect())
    }

    /// Sorts rows by key; their times, as they stand.
    fn take_in(
        &mut self,
        pieces: &[RecordBatch],
        scratch: &mut Scratch,
    ) -> Result<ScalarBuffer<i64>> {
        let owners = &mut scratch.owners;
        let mut times = Vec::with_capacity(pieces.len());
        if let [piece] = pieces {
            self.keys.intern(piece, owners)?;
        } else {
            owners.clear();
        }
        for piece in pieces {
            times.push(self.waiting.times(piece)?);
            if pieces.len() > 1 {
                self.keys.intern(piece, &mut scratch.piece_owners)?;
                owners.extend_from_slice(&scratch.piece_owners);
            }
        }
        scratch.by_key.sort(owners, self.keys.bound());
        Ok(match times.len() {
            1 => times.swap_remove(0),
            _ => {
                let slices: Vec<&[i64]> = times.iter().map(|times| &times[..]).collect();
                slices.concat().into()
            }
        })
    }

    /// The values of the calls that have frames of their own. `times`, `moves`: by key.
    fn line_values(
        &mut self,
        pieces: &[RecordBatch],
        by_key: &ByKey,
        times: &[i64],
        moves: &[Moves],
    ) -> Result<Vec<(usize, ArrayRef)>> {
        if self.lines.is_empty() {
            return Ok(Vec::new());
        }
        let places = by_key.places().map(|Places { order, places }| {
            let column = |places: &[u32]| UInt32Array::from(places.to_vec());
            (column(order), column(places))
        });
        let sorted = |column: ArrayRef| match &places {
            Some((order, _)) => take(&column, order, None),
            None => Ok(column),
        };
        let mut used: Vec<usize> = (self.lines.iter())
            .flat_map(|line| line.call.args.iter().chain(&line.call.filter))
            .copied()
            .collect();
        used.sort_unstable();
        used.dedup();
        let columns = (used.par_iter())
            .map(|&column| Ok((column, sorted(joined(pieces, column)?)?)))
            .collect::<Result<BTreeMap<usize, ArrayRef>>>()?;
        let slots = vec![0; times.len()];
        let first_ordinal = self.ordinal;
        let slide = |line: &mut Line| -> Result<(usize, ArrayRef)> {
            let args: Vec<ArrayRef> = (line.call.args.iter())
                .map(|arg| columns[arg].clone())
                .collect();
            let rows = Rows {
                slots: &slots,
                args: &args,
                filter: line.call.filter.map(|filter| columns[&filter].as_boolean()),
                times,
                first_ordinal,
            };
            let values = (line.state).slide(rows, &by_key.stretches, &moves[line.frames])?;
            let values = match &places {
                Some((_, places)) => take(&values, places, None)?,
                None => values,
            };
            Ok((line.place, values))
        };
        self.lines.par_iter_mut().map(slide).collect()
    }

    /// Notes until when keys have rows in their frames.
    fn note(&mut self, times: &[i64], stretches: &[Stretch]) {
        self.lasts.resize(self.keys.bound(), None);
        let mut noted = Vec::with_capacity(stretches.len());
        for stretch in stretches {
            let last = times[stretch.rows.end - 1];
            if self.lasts[stretch.key as usize].replace(last).is_none() {
                self.keys.refer(stretch.key);
            }
            noted.push((last, stretch.key));
        }
        if self.reach.is_some() {
            noted.sort_unstable();
            self.leaving.extend(noted);
        }
    }

    /// Forgets keys of which no row is in the frame of a row to come.
    fn forget(&mut self) {
        let mut gone = Vec::new();
        if self.progress.ended {
            let keys = self.lasts.iter().enumerate();
            gone.extend(keys.filter_map(|(key, last)| last.map(|_| key as u32)));
            self.leaving.clear();
        } else if let Some(reach) = self.reach {
            let until = self.progress.watermark.saturating_sub(reach);
            while let Some(&(last, key)) = self.leaving.front()
                && last < until
            {
                self.leaving.pop_front();
                if self.lasts[key as usize] == Some(last) {
                    gone.push(key);
                }
            }
        }
        for &key in &gone {
            self.lasts[key as usize] = None;
            self.frames.iter_mut().for_each(|frames| frames.clear(key));
            (self.lines.iter_mut()).for_each(|line| line.state.clear(key));
            (self.float_lines.iter_mut()).for_each(|line| line.group.state.clear(key));
        }
        self.keys.release(&gone);
    }
}

impl Windowed for OverAggregate {
    const NAME: &'static str = "OverAggregate";

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn take_batch(&mut self, batch: Batch) -> Result<()> {
        if self.keeps_untimed {
            self.progress.counters.in_window += batch.num_rows() as u64;
            return self.waiting.push(batch.records);
        }
        let rows = self.progress.admit(&batch, self.time)?;
        self.waiting.push(select(&batch.records, &rows)?)
    }

    fn step(&mut self, _budget_rows: usize) -> Result<bool> {
        let some = self.give_due()?;
        if !some {
            self.scratch = Scratch::default();
            (self.float_lines.iter_mut()).for_each(|line| line.group.state.rest());
            self.forget();
        }
        Ok(some)
    }

    fn counted(&self) -> Counters {
        let lines: usize = (self.lines.iter())
            .map(|line| line.state.state_bytes())
            .sum();
        let floats: usize = (self.float_lines.iter())
            .map(|line| line.group.state.state_bytes())
            .sum();
        let frames: usize = self.frames.iter().map(Frames::bytes).sum();
        let fixed = self.keys.bytes()
            + self.lasts.capacity() * size_of::<Option<i64>>()
            + self.leaving.capacity() * size_of::<(i64, u32)>();
        Counters {
            keys: self.keys.alive() as u64,
            state_bytes: (lines + floats + frames + fixed + self.waiting.bytes()) as u64,
            ..self.progress.counters
        }
    }

    fn save_windows(&mut self) -> Result<Snapshot> {
        let (owners, lasts): (Vec<u32>, Vec<i64>) = (self.lasts.iter().enumerate())
            .filter_map(|(key, last)| Some((key as u32, (*last)?)))
            .unzip();
        let (mut keys, _) = self.keys.save(&owners)?;
        keys.push(("last".into(), Arc::new(Int64Array::from(lasts))));
        let mut snapshot = Snapshot::default();
        for (number, frames) in self.frames.iter().enumerate() {
            let (counts, times) = frames.save(&owners);
            let counts: ArrayRef = Arc::new(UInt64Array::from(counts));
            keys.push((format!("frame_{number}"), counts));
            let times: ArrayRef = Arc::new(Int64Array::from(times));
            let times = table(vec![("time".into(), times)])?;
            snapshot.tables.insert(format!("frame_{number}"), times);
        }
        for (number, line) in self.lines.iter_mut().enumerate() {
            let saved = line.state.save(&owners)?;
            for (name, lengths) in [("front", saved.fronts), ("back", saved.backs)] {
                let lengths: ArrayRef = Arc::new(UInt32Array::from(lengths));
                keys.push((format!("{name}_{number}"), lengths));
            }
            let columns = saved.columns.into_iter().enumerate();
            let columns = columns.map(|(part, column)| (format!("part_{part}"), column));
            let columns = table(columns.collect())?;
            snapshot.tables.insert(format!("line_{number}"), columns);
        }
        for (number, line) in self.float_lines.iter().enumerate() {
            let saved = line.group.state.save(&owners);
            for (name, numbers) in [("ordinal", saved.ordinals), ("rows", saved.rows)] {
                let numbers: ArrayRef = Arc::new(UInt64Array::from(numbers));
                keys.push((format!("{name}_{number}"), numbers));
            }
            let values: ArrayRef = Arc::new(saved.values);
            let values = table(vec![("value".into(), values)])?;
            snapshot.tables.insert(format!("floats_{number}"), values);
        }
        let ordinal = self.ordinal as i64;
        snapshot.numbers.insert("ordinal".into(), ordinal);
        snapshot.tables.extend([
            ("keys".into(), table(keys)?),
            ("waiting".into(), self.waiting.rows()?),
        ]);
        Ok(snapshot)
    }

    fn load_windows(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.ordinal = snapshot.count("ordinal")?;
        let keys = snapshot.table("keys")?;
        let owners = self.keys.load(keys)?;
        let lasts = column::<Int64Type>(keys, "last")?;
        self.lasts.resize(self.keys.bound(), None);
        for (&owner, &last) in owners.iter().zip(lasts) {
            self.keys.refer(owner);
            self.lasts[owner as usize] = Some(last);
        }
        if self.reach.is_some() {
            let mut leaving: Vec<_> = lasts.iter().copied().zip(owners.iter().copied()).collect();
            leaving.sort_unstable();
            self.leaving = leaving.into();
        }
        for (number, frames) in self.frames.iter_mut().enumerate() {
            let name = format!("frame_{number}");
            let counts = column::<UInt64Type>(keys, &name)?;
            let times = column::<Int64Type>(snapshot.table(&name)?, "time")?;
            frames.load(&owners, counts, times)?;
        }
        for (number, line) in self.lines.iter_mut().enumerate() {
            let saved = SavedFrames {
                columns: (snapshot.table(&format!("line_{number}"))?.columns()).to_vec(),
                fronts: column::<UInt32Type>(keys, &format!("front_{number}"))?.to_vec(),
                backs: column::<UInt32Type>(keys, &format!("back_{number}"))?.to_vec(),
            };
            line.state.load(&owners, &saved)?;
        }
        for (number, line) in self.float_lines.iter_mut().enumerate() {
            let name = format!("floats_{number}");
            let values = snapshot.table(&name)?.column_by_name("value");
            let values = values.and_then(|values| values.as_primitive_opt::<Float64Type>());
            let numbers = |name: &str| column::<UInt64Type>(keys, &format!("{name}_{number}"));
            let saved = SavedFloats {
                values: (values.cloned())
                    .ok_or_else(|| Error::Snapshot("its frames are damaged".into()))?,
                ordinals: numbers("ordinal")?.to_vec(),
                rows: numbers("rows")?.to_vec(),
            };
            line.group.state.load(&owners, &saved)?;
        }
        let waiting = snapshot.table("waiting")?;
        if waiting.schema().fields() != self.input.fields() {
            return Err(Error::Snapshot("its waiting rows are damaged".into()));
        }
        self.waiting.push(waiting.clone())?;
        Ok(())
    }
}
