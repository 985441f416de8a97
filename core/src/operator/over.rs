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

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{FieldRef, Int64Type, Schema, SchemaRef, UInt32Type, UInt64Type};
use rayon::prelude::*;

use super::counted::admit;
use super::frame::{field, load_counters, save_counters, select, time_type};
use super::late::Late;
use super::outbox::{OUTPUT_ROWS, Outbox, Steps, drain};
use super::{Counters, Drain, LateRows, Operator, Output, OverSpec};
use crate::aggregate::slide::{Move, SavedFrames, SlidingState, Stretch};
use crate::aggregate::{AggregateCall, Rows};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, MIN_TIME};
use crate::window::frames::Frames;
use crate::window::in_time::InTime;
use crate::window::store::Keys;
use crate::window::tables::{column, table};

/// An aggregate call and its frame.
#[derive(Debug)]
struct Line {
    call: AggregateCall,
    state: Box<dyn SlidingState>,
    /// Its place in [`OverAggregate::frames`].
    frames: usize,
}

#[derive(Debug)]
struct OverAggregate {
    input: SchemaRef,
    schema: SchemaRef,
    time: usize,
    keeps_untimed: bool,
    lines: Vec<Line>,
    /// About how many rows are given out at once.
    step_rows: usize,
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
    watermark: i64,
    ended: bool,
    outbox: Outbox,
    late: Late,
    counters: Counters,
}

/// Makes the operator for per-row windows.
///
/// # Errors
/// If the specification names columns that are not there or of a wrong type, or an
/// aggregate that has no sliding state.
pub fn over(spec: OverSpec) -> Result<Box<dyn Operator>> {
    time_type(&spec.input, spec.time)?;
    let mut fields: Vec<FieldRef> = spec.input.fields().to_vec();
    let (mut lines, mut frames) = (Vec::new(), Vec::new());
    for over in spec.calls {
        let call = over.call;
        for &column in call.args.iter().chain(&call.filter) {
            field(&spec.input, column)?;
        }
        let state = call
            .factory
            .sliding()
            .ok_or_else(|| Error::invalid(format!("{} has no sliding state", call.field.name())))?;
        let place = (frames.iter()).position(|frames: &Frames| frames.kind() == over.frame);
        let place = place.unwrap_or_else(|| {
            frames.push(Frames::new(over.frame));
            frames.len() - 1
        });
        fields.push(call.field.clone());
        lines.push(Line {
            call,
            state,
            frames: place,
        });
    }
    let types = (spec.keys.iter())
        .map(|&key| Ok(field(&spec.input, key)?.data_type().clone()))
        .collect::<Result<Vec<_>>>()?;
    let reaches = frames.iter().map(Frames::reach);
    let reach = reaches.collect::<Option<Vec<_>>>();
    let step_rows = lines.iter().map(|line: &Line| line.state.step_rows());
    let schema = Arc::new(Schema::new(fields));
    Ok(Box::new(OverAggregate {
        step_rows: step_rows.min().unwrap_or(OUTPUT_ROWS),
        schema: schema.clone(),
        time: spec.time,
        keeps_untimed: spec.keeps_untimed,
        lines,
        frames,
        reach: reach.map(|reaches| reaches.into_iter().max().unwrap_or(0)),
        keys: Keys::new(&types, spec.keys)?,
        lasts: Vec::new(),
        leaving: VecDeque::new(),
        ordinal: 0,
        waiting: InTime::new(spec.input.clone(), spec.time),
        input: spec.input,
        watermark: MIN_TIME,
        ended: false,
        outbox: Outbox::new(schema),
        late: Late::default(),
        counters: Counters::default(),
    }))
}

/// The places of rows in order of their keys, rows of one key in their order, and where
/// each key stands.
fn by_key(owners: &[u32], bound: usize) -> (Vec<u32>, Vec<Stretch>) {
    let mut order: Vec<u32> = (0..owners.len() as u32).collect();
    if bound <= owners.len() {
        // A stable counting sort.
        let mut starts = vec![0u32; bound + 1];
        for &owner in owners {
            starts[owner as usize + 1] += 1;
        }
        for key in 0..bound {
            starts[key + 1] += starts[key];
        }
        for (row, &owner) in owners.iter().enumerate() {
            let start = &mut starts[owner as usize];
            order[*start as usize] = row as u32;
            *start += 1;
        }
    } else {
        order.sort_unstable_by_key(|&row| (owners[row as usize], row));
    }
    let mut stretches: Vec<Stretch> = Vec::new();
    for (place, &row) in order.iter().enumerate() {
        let key = owners[row as usize];
        match stretches.last_mut() {
            Some(stretch) if stretch.key == key => stretch.rows.end = place + 1,
            _ => stretches.push(Stretch {
                key,
                rows: place..place + 1,
            }),
        }
    }
    (order, stretches)
}

impl OverAggregate {
    /// Gives out rows whose turn has come; false if there are none.
    fn give_due(&mut self) -> Result<bool> {
        let before = (!self.ended).then_some(self.watermark);
        let Some(records) = self.waiting.due(before, self.step_rows)? else {
            return Ok(false);
        };
        let values = self.values(&records)?;
        self.counters.rows_out += records.num_rows() as u64;
        let mut columns = records.columns().to_vec();
        columns.extend(values);
        (self.outbox).push(RecordBatch::try_new(self.schema.clone(), columns)?)?;
        Ok(true)
    }

    /// The values of the calls for rows in order of time.
    fn values(&mut self, records: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let rows = records.num_rows();
        let mut owners = Vec::new();
        self.keys.intern(records, &mut owners)?;
        let (order, stretches) = by_key(&owners, self.keys.bound());
        let times = self.waiting.times(records)?;
        let times: Vec<i64> = order.iter().map(|&row| times[row as usize]).collect();
        let moves: Vec<Vec<Move>> = (self.frames.iter_mut())
            .map(|frames| frames.moves(&times, &stretches))
            .collect();

        // Rows of one key stand in their order already.
        let is_sorted = stretches.len() == 1;
        let mut places = vec![0u32; rows];
        for (place, &row) in order.iter().enumerate() {
            places[row as usize] = place as u32;
        }
        let (order, places) = (UInt32Array::from(order), UInt32Array::from(places));
        let moved = |column: &ArrayRef, order: &UInt32Array| -> Result<ArrayRef> {
            match is_sorted {
                true => Ok(column.clone()),
                false => Ok(take(column, order, None)?),
            }
        };
        let mut used: Vec<usize> = (self.lines.iter())
            .flat_map(|line| line.call.args.iter().chain(&line.call.filter))
            .copied()
            .collect();
        used.sort_unstable();
        used.dedup();
        let sorted = (used.par_iter())
            .map(|&column| Ok((column, moved(records.column(column), &order)?)))
            .collect::<Result<BTreeMap<usize, ArrayRef>>>()?;
        let slots = vec![0; rows];
        let first_ordinal = self.ordinal;
        let slide = |line: &mut Line| -> Result<ArrayRef> {
            let args: Vec<ArrayRef> = (line.call.args.iter())
                .map(|arg| sorted[arg].clone())
                .collect();
            let rows = Rows {
                slots: &slots,
                args: &args,
                filter: line.call.filter.map(|filter| sorted[&filter].as_boolean()),
                times: &times,
                first_ordinal,
            };
            let values = (line.state).slide(rows, &stretches, &moves[line.frames])?;
            moved(&values, &places)
        };
        let values = (self.lines.par_iter_mut().map(slide)).collect::<Result<Vec<_>>>()?;
        self.ordinal += rows as u64;
        self.note(&times, &stretches);
        Ok(values)
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
        if self.ended {
            let keys = self.lasts.iter().enumerate();
            gone.extend(keys.filter_map(|(key, last)| last.map(|_| key as u32)));
            self.leaving.clear();
        } else if let Some(reach) = self.reach {
            let until = self.watermark.saturating_sub(reach);
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
        }
        self.keys.release(&gone);
    }
}

impl Steps for OverAggregate {
    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn step(&mut self, _budget_rows: usize) -> Result<bool> {
        let some = self.give_due()?;
        if !some {
            self.forget();
        }
        Ok(some)
    }
}

impl Operator for OverAggregate {
    fn name(&self) -> &str {
        "OverAggregate"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn on_batch(&mut self, _input: usize, batch: Batch) -> Result<()> {
        self.counters.rows_in += batch.num_rows() as u64;
        if self.keeps_untimed {
            self.counters.in_window += batch.num_rows() as u64;
            return self.waiting.push(batch.records);
        }
        let rows = admit(
            &batch,
            self.time,
            self.watermark,
            &mut self.late,
            &mut self.counters,
        )?;
        self.waiting.push(select(&batch.records, &rows)?)
    }

    fn on_watermark(&mut self, _input: usize, watermark: i64) -> Result<()> {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.ended |= watermark == MAX_TIME;
            self.outbox.promise(watermark);
        }
        Ok(())
    }

    fn on_end(&mut self, _input: usize) -> Result<()> {
        self.ended = true;
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
        let lines: usize = (self.lines.iter())
            .map(|line| line.state.state_bytes())
            .sum();
        let frames: usize = self.frames.iter().map(Frames::bytes).sum();
        let fixed = self.keys.bytes()
            + self.lasts.capacity() * size_of::<Option<i64>>()
            + self.leaving.capacity() * size_of::<(i64, u32)>();
        Counters {
            keys: self.keys.alive() as u64,
            state_bytes: (lines + frames + fixed + self.waiting.bytes() + self.outbox.bytes())
                as u64,
            ..self.counters
        }
    }

    fn save(&mut self) -> Result<Snapshot> {
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
        snapshot.numbers.extend([
            ("watermark".into(), self.watermark),
            ("ended".into(), self.ended.into()),
            ("ordinal".into(), self.ordinal as i64),
        ]);
        snapshot.tables.extend([
            ("keys".into(), table(keys)?),
            ("waiting".into(), self.waiting.rows()?),
        ]);
        snapshot.parts.extend([
            ("outbox".into(), self.outbox.save()?),
            ("late".into(), self.late.save()?),
            ("counters".into(), save_counters(self.counters)),
        ]);
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.watermark = snapshot.number("watermark")?;
        self.ended = snapshot.number("ended")? != 0;
        self.ordinal = snapshot.number("ordinal")? as u64;
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
        let waiting = snapshot.table("waiting")?;
        if waiting.schema().fields() != self.input.fields() {
            return Err(Error::Snapshot("its waiting rows are damaged".into()));
        }
        self.waiting.push(waiting.clone())?;
        self.outbox.load(snapshot.part("outbox")?)?;
        self.late.load(snapshot.part("late")?)?;
        self.counters = load_counters(snapshot.part("counters")?)?;
        Ok(())
    }
}
