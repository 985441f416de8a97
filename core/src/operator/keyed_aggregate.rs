//! `KeyedAggregate`: aggregates by key over all rows so far, as a table that can be read
//! at any moment.
//!
//! ```text
//! rows ─▶ id of each key ─▶ its slot ─▶ aggregates     (the engine, batch by batch)
//!                              │
//!                   a reader ──┴▶ evaluate ─▶ rows     (when somebody asks, once a change)
//! ```
//!
//! No window closes, so that no row is late and nothing is given on: each row would change
//! what was given before. What a row costs does not depend on who reads; a reader pays for
//! one evaluation of all keys if rows have come since the last one. Batches go in and
//! readings come out under one lock: a reader sees all of a batch or none of it.
//!
//! Keys are not forgotten, so the id of a key is its slot too, and `keys_max` bounds both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};

use super::frame::{field, load_counters, save_counters};
use super::outbox::Outbox;
use super::{Counters, Drain, Operator, Output, RowFunction};
use crate::aggregate::AggregateCall;
use crate::aggregate::fused::Groups;
use crate::batch::{Batch, bytes_of};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{MIN_TIME, ticks, time_unit};
use crate::window::arena::Arena;
use crate::window::store::{Keys, Store};
use crate::window::tables::table;

/// What is evaluated at a time: few enough slots that a reader uses no thread but its own.
const READ_ROWS: usize = 4_096;

/// What an aggregation by key without a window computes. Its rows have the keys in their
/// order, then the aggregates, and what `above` makes of them.
#[derive(Debug)]
pub struct KeyedAggregateSpec {
    /// The input's columns.
    pub input: SchemaRef,
    /// The event-time column, which says what is first and last; `None`: the order of
    /// arrival says it.
    pub time: Option<usize>,
    /// The key columns, of any groupable type. None: one row, also before any has come.
    pub keys: Vec<usize>,
    /// The aggregates.
    pub aggregates: Vec<AggregateCall>,
    /// How many keys there may be (`max_keys`).
    pub keys_max: usize,
    /// What is made of the rows when they are read, in this order.
    pub above: Vec<Box<dyn RowFunction>>,
}

/// The operator of an aggregation by key without a window, and the table that it keeps.
///
/// # Errors
/// If the columns do not fit the input.
pub fn keyed_aggregate(spec: KeyedAggregateSpec) -> Result<(Box<dyn Operator>, Arc<KeyedTable>)> {
    let table = Arc::new(KeyedTable::new(spec)?);
    let operator = KeyedAggregate {
        outbox: Outbox::new(table.schema()),
        counters: Counters::default(),
        table: table.clone(),
    };
    Ok((Box::new(operator), table))
}

/// What all rows so far give, one row a key: in step with the rows that have been taken in.
#[derive(Debug)]
pub struct KeyedTable {
    schema: SchemaRef,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The columns of the keys and the aggregates.
    grouped: SchemaRef,
    time: Option<usize>,
    keys_max: usize,
    store: Store,
    /// How many keys have a slot. Ids beyond are of a batch that was refused.
    slots: u32,
    above: Vec<Box<dyn RowFunction>>,
    /// The rows, if they have been read since the last change.
    read: Option<Vec<RecordBatch>>,
    /// Whether a batch is half taken in: it stays so if that failed.
    is_torn: bool,
    ids: Vec<u32>,
}

impl KeyedTable {
    fn new(spec: KeyedAggregateSpec) -> Result<Self> {
        let mut fields: Vec<FieldRef> = Vec::new();
        for &key in &spec.keys {
            fields.push(field(&spec.input, key)?.clone());
        }
        for call in &spec.aggregates {
            for &column in call.args.iter().chain(&call.filter) {
                field(&spec.input, column)?;
            }
            fields.push(call.field.clone());
        }
        if let Some(time) = spec.time {
            time_unit(field(&spec.input, time)?.data_type())?;
        }
        let types: Vec<DataType> = (spec.keys.iter())
            .map(|&key| spec.input.field(key).data_type().clone())
            .collect();
        let grouped: SchemaRef = Arc::new(Schema::new(fields));
        let is_one = spec.keys.is_empty();
        let mut store = Store {
            keys: Keys::new(&types, spec.keys)?,
            arena: Arena::new(spec.aggregates, Groups::Many)?,
        };
        if is_one {
            store.arena.allocate();
        }
        let schema = match spec.above.last() {
            Some(last) => last.schema(),
            None => grouped.clone(),
        };
        let state = State {
            grouped,
            time: spec.time,
            keys_max: spec.keys_max,
            store,
            slots: u32::from(is_one),
            above: spec.above,
            read: None,
            is_torn: false,
            ids: Vec::new(),
        };
        Ok(Self {
            schema,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A change that is cut short by a panic leaves the table torn, and it says so.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The rows as they are now, keys in the order in which they first came.
    ///
    /// # Errors
    /// On values that an aggregate or an expression refuses, or if the query has failed in
    /// the middle of a batch.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        self.state().batches()
    }
}

impl State {
    fn is_one(&self) -> bool {
        self.store.keys.is_one()
    }

    fn take_in(&mut self, records: &RecordBatch) -> Result<()> {
        if records.num_rows() == 0 {
            return Ok(());
        }
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        match self.is_one() {
            true => ids.resize(records.num_rows(), 0),
            false => {
                self.store.keys.intern(records, &mut ids)?;
                self.seat()?;
            }
        }
        let times = self.times(records)?;
        self.is_torn = true;
        self.read = None;
        self.store.arena.update(records, &times, &ids)?;
        self.is_torn = false;
        self.ids = ids;
        Ok(())
    }

    /// Gives each new id a slot, which is of the same number.
    fn seat(&mut self) -> Result<()> {
        let known = self.store.keys.known();
        if known > self.keys_max {
            return Err(Error::Limit {
                what: "the latest state by key".into(),
                limit: format!("{} keys", self.keys_max),
                setting: "max_keys",
            });
        }
        for id in self.slots..known as u32 {
            self.store.keys.refer(id);
            let slot = self.store.arena.allocate();
            debug_assert_eq!(slot, id);
        }
        self.slots = known as u32;
        Ok(())
    }

    /// When each row was; a row without a time is before all others.
    fn times(&self, records: &RecordBatch) -> Result<Vec<i64>> {
        let Some(time) = self.time else {
            return Ok(vec![0; records.num_rows()]);
        };
        let (times, nulls) = ticks(records.column(time))?;
        let mut times = times.to_vec();
        if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
            for (time, is_valid) in times.iter_mut().zip(nulls.iter()) {
                if !is_valid {
                    *time = MIN_TIME;
                }
            }
        }
        Ok(times)
    }

    fn batches(&mut self) -> Result<Vec<RecordBatch>> {
        if self.is_torn {
            return Err(Error::invalid(
                "the query failed in the middle of a batch, so that its rows are not whole",
            ));
        }
        if let Some(read) = &self.read {
            return Ok(read.clone());
        }
        let mut read = Vec::new();
        for first in (0..self.slots).step_by(READ_ROWS) {
            let slots: Vec<u32> = (first..self.slots.min(first + READ_ROWS as u32)).collect();
            let mut columns: Vec<ArrayRef> = match self.is_one() {
                true => Vec::new(),
                false => self.store.keys.values(&slots)?,
            };
            columns.extend(self.store.arena.evaluate(&slots)?);
            let rows = RecordBatch::try_new(self.grouped.clone(), columns)?;
            let mut rows = Batch::on_time(rows);
            for function in &mut self.above {
                rows = function.apply(rows)?;
            }
            if rows.num_rows() > 0 {
                read.push(rows.records);
            }
        }
        self.read = Some(read.clone());
        Ok(read)
    }

    fn bytes(&self) -> usize {
        let read = self.read.iter().flatten().map(bytes_of).sum::<usize>();
        self.store.bytes() + read + self.ids.capacity() * size_of::<u32>()
    }

    fn save(&mut self) -> Result<Snapshot> {
        let slots: Vec<u32> = (0..self.slots).collect();
        let mut snapshot = Snapshot::default();
        let numbers = &mut snapshot.numbers;
        numbers.insert("ordinal".into(), self.store.arena.ordinal() as i64);
        numbers.insert("slots".into(), i64::from(self.slots));
        if !self.is_one() {
            let (columns, _) = self.store.keys.save(&slots)?;
            snapshot.tables.insert("keys".into(), table(columns)?);
        }
        let columns = self.store.arena.save(&slots)?;
        if !columns.is_empty() {
            snapshot.tables.insert("slots".into(), table(columns)?);
        }
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        if !self.is_one() {
            self.store.keys.load(snapshot.table("keys")?)?;
            self.seat()?;
        }
        if i64::from(self.slots) != snapshot.number("slots")? {
            return Err(Error::Snapshot("its keys do not add up".into()));
        }
        if !self.store.arena.is_empty() {
            let states = snapshot.table("slots")?;
            let slots: Vec<u32> = (0..self.slots).collect();
            let ordinal = snapshot.count("ordinal")?;
            self.store.arena.load(&slots, states, ordinal)?;
        }
        self.read = None;
        Ok(())
    }
}

#[derive(Debug)]
struct KeyedAggregate {
    table: Arc<KeyedTable>,
    /// Only promises: rows are read from the table.
    outbox: Outbox,
    counters: Counters,
}

impl Operator for KeyedAggregate {
    fn name(&self) -> &str {
        "KeyedAggregate"
    }

    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn on_batch(&mut self, _input: usize, batch: Batch) -> Result<()> {
        let rows = batch.num_rows() as u64;
        self.counters.rows_in += rows;
        self.table.state().take_in(&batch.records)?;
        self.counters.in_window += rows;
        Ok(())
    }

    fn on_watermark(&mut self, _input: usize, watermark: i64) -> Result<()> {
        self.outbox.promise(watermark);
        Ok(())
    }

    fn on_end(&mut self, _input: usize) -> Result<()> {
        self.outbox.promise_end();
        Ok(())
    }

    fn drain(&mut self, budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain> {
        let mut budget = budget_rows;
        self.outbox.close(&mut budget, out)?;
        Ok(Drain::Done)
    }

    fn counters(&self) -> Counters {
        let state = self.table.state();
        Counters {
            keys: u64::from(state.slots),
            state_bytes: state.bytes() as u64,
            ..self.counters
        }
    }

    fn save(&mut self) -> Result<Snapshot> {
        let mut snapshot = self.table.state().save()?;
        snapshot.parts.extend([
            ("outbox".into(), self.outbox.save()?),
            ("counters".into(), save_counters(self.counters)),
        ]);
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.table.state().load(snapshot)?;
        self.outbox.load(snapshot.part("outbox")?)?;
        self.counters = load_counters(snapshot.part("counters")?)?;
        Ok(())
    }
}
