//! Aggregates that have no columnar state of our own: DataFusion's and the user's.
//!
//! Each slot holds an accumulator while rows come in, and its partial state as values
//! once the slot has been combined or read: DataFusion's accumulators give up their
//! state when they are asked for it, so the values are kept and merged into a fresh
//! accumulator whenever one is needed again.
//!
//! ```text
//!            rows                    merge, evaluate, save
//!  Empty ──────────▶ Running(accumulator) ──────────▶ Held(state values)
//!                        ▲                                 │ rows
//!                        └──────── merge into a fresh one ─┘
//! ```
//!
//! Aggregates with an ORDER BY of their own keep their rows instead, up to
//! [`ORDERED_ROWS_MAX`], and are computed over the sorted rows when they are read:
//! their partial states need not survive a merge in another order.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortColumn, concat, lexsort_to_indices, take};
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use windrow_core::aggregate::{AggregateFactory, AggregateState, Rows};
use windrow_core::error::{Error, Result};

use super::fault::data_fault;

/// Rows that an aggregate with an ORDER BY may hold in one query.
pub const ORDERED_ROWS_MAX: usize = 10_000_000;

/// About how many bytes the states of one such aggregate may take.
pub const FOREIGN_BYTES_MAX: usize = 2 << 30;

/// About what an array takes beside its values.
const ARRAY_BYTES: usize = 128;

/// How much may come into a state before it is worth measuring.
const SMALL_BYTES: usize = 256;

/// Makes the states of an aggregate that DataFusion computes.
#[derive(Debug)]
pub struct ForeignAggregate {
    expr: Arc<AggregateFunctionExpr>,
}

impl ForeignAggregate {
    /// An aggregate call. Its arguments are followed by its ORDER BY expressions.
    pub fn new(expr: Arc<AggregateFunctionExpr>) -> Self {
        Self { expr }
    }
}

impl AggregateFactory for ForeignAggregate {
    /// Its values may depend on how rows are cut, and each update of few rows costs.
    fn takes_parts(&self) -> bool {
        false
    }

    fn create(&self) -> Result<Box<dyn AggregateState>> {
        if self.expr.order_bys().is_empty() {
            Ok(Box::new(Accumulators {
                expr: self.expr.clone(),
                slots: Vec::new(),
                sizes: Vec::new(),
                bytes: 0,
            }))
        } else {
            Ok(Box::new(OrderedRows {
                expr: self.expr.clone(),
                slots: Vec::new(),
                rows: 0,
                bytes: 0,
            }))
        }
    }

    fn return_type(&self) -> DataType {
        self.expr.field().data_type().clone()
    }

    fn holds_values(&self) -> bool {
        // Some are of a fixed size, but which is not told.
        true
    }
}

fn fault(error: datafusion::error::DataFusionError) -> Error {
    Error::from(data_fault(error))
}

/// The rows of a batch by slot: `(slot, arguments, about their bytes)`, rows in their order.
fn by_slot(rows: &Rows<'_>) -> Result<Vec<(u32, Vec<ArrayRef>, usize)>> {
    let mut order: Vec<u32> = match rows.filter {
        Some(filter) => selected(filter),
        None => (0..rows.slots.len() as u32).collect(),
    };
    let slot = |row: &u32| rows.slots[*row as usize];
    if order.is_empty() {
        return Ok(Vec::new());
    }
    order.sort_by_key(slot);
    let indices = UInt32Array::from(order);
    let args = (rows.args.iter())
        .map(|arg| Ok(take(arg, &indices, None)?))
        .collect::<Result<Vec<_>>>()?;
    let bytes: usize = args.iter().map(|arg| arg.get_array_memory_size()).sum();
    // What holds on to few values has its own size too.
    let of_arrays = args.len() * ARRAY_BYTES;
    let order = indices.values();
    let mut groups = Vec::new();
    let mut start = 0;
    while start < order.len() {
        let this = slot(&order[start]);
        let length = order[start..]
            .iter()
            .take_while(|row| slot(row) == this)
            .count();
        let part = args.iter().map(|arg| arg.slice(start, length)).collect();
        groups.push((this, part, bytes / order.len() * length + of_arrays));
        start += length;
    }
    Ok(groups)
}

fn selected(filter: &BooleanArray) -> Vec<u32> {
    (0..filter.len() as u32)
        .filter(|row| filter.is_valid(*row as usize) && filter.value(*row as usize))
        .collect()
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Running(Box<dyn Accumulator>),
    Held(Vec<ScalarValue>),
}

impl Slot {
    /// The heap memory of the state, which may take a look at every part of it.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Running(accumulator) => accumulator.size(),
            Self::Held(state) => state.iter().map(ScalarValue::size).sum(),
        }
    }
}

/// The heap memory of a slot, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// When it was last measured.
    measured: usize,
    /// That and what has come in since.
    grown: usize,
}

impl Size {
    fn of(slot: &Slot) -> Self {
        let measured = slot.heap_bytes();
        Self {
            measured,
            grown: measured,
        }
    }
}

#[derive(Debug)]
struct Accumulators {
    expr: Arc<AggregateFunctionExpr>,
    slots: Vec<Slot>,
    /// `[slots]`: measured again when a quarter has come in, so that measuring takes no
    /// more than a share of the work.
    sizes: Vec<Size>,
    /// Their sum.
    bytes: usize,
}

fn merge_values(into: &mut dyn Accumulator, state: &[ScalarValue]) -> Result<()> {
    let columns = (state.iter())
        .map(|value| value.to_array())
        .collect::<Result<Vec<_>, _>>()
        .map_err(fault)?;
    into.merge_batch(&columns).map_err(fault)
}

impl Accumulators {
    fn fresh(&self) -> Result<Box<dyn Accumulator>> {
        self.expr.create_accumulator().map_err(fault)
    }

    /// Counts what has come into a slot.
    fn grow(&mut self, slot: usize, bytes: usize) {
        let size = &mut self.sizes[slot];
        self.bytes -= size.grown;
        size.grown = size.grown.saturating_add(bytes);
        if size.grown - size.measured > (size.measured / 4).max(SMALL_BYTES) {
            *size = Size::of(&self.slots[slot]);
        }
        self.bytes += size.grown;
    }

    /// Puts a state into a slot.
    fn put(&mut self, slot: usize, state: Slot) {
        self.bytes -= self.sizes[slot].grown;
        self.sizes[slot] = Size::of(&state);
        self.bytes += self.sizes[slot].grown;
        self.slots[slot] = state;
    }

    /// Measures all states once they may take too much.
    fn check_bytes(&mut self) -> Result<()> {
        if self.bytes <= FOREIGN_BYTES_MAX {
            return Ok(());
        }
        self.sizes = self.slots.iter().map(Size::of).collect();
        self.bytes = self.sizes.iter().map(|size| size.grown).sum();
        if self.bytes <= FOREIGN_BYTES_MAX {
            return Ok(());
        }
        Err(Error::Bound {
            what: format!("{}()", self.expr.fun().name()),
            limit: format!("{} GiB for its windows", FOREIGN_BYTES_MAX >> 30),
            remedy: "shorten the windows, or group by fewer keys",
        })
    }

    /// The accumulator of a slot, ready for more rows.
    fn running(&mut self, slot: usize) -> Result<&mut Box<dyn Accumulator>> {
        if !matches!(self.slots[slot], Slot::Running(_)) {
            let mut fresh = self.fresh()?;
            if let Slot::Held(state) = &self.slots[slot] {
                merge_values(&mut *fresh, state)?;
            }
            self.put(slot, Slot::Running(fresh));
        }
        match &mut self.slots[slot] {
            Slot::Running(accumulator) => Ok(accumulator),
            _ => unreachable!("the slot was made running above"),
        }
    }

    /// The state of a slot as values; of an empty slot: none.
    fn held(&mut self, slot: usize) -> Result<Option<&[ScalarValue]>> {
        if let Slot::Running(accumulator) = &mut self.slots[slot] {
            let state = accumulator.state().map_err(fault)?;
            self.put(slot, Slot::Held(state));
        }
        Ok(match &self.slots[slot] {
            Slot::Held(state) => Some(state),
            _ => None,
        })
    }
}

impl AggregateState for Accumulators {
    fn resize(&mut self, slots: usize) {
        if slots > self.slots.len() {
            self.slots.resize_with(slots, Slot::default);
            self.sizes.resize(slots, Size::default());
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.put(*slot as usize, Slot::Empty);
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        for (slot, args, bytes) in by_slot(&rows)? {
            let accumulator = self.running(slot as usize)?;
            accumulator.update_batch(&args).map_err(fault)?;
            self.grow(slot as usize, bytes);
        }
        self.check_bytes()
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "one source for each target");
        for (into, from) in into.iter().zip(from) {
            let Some(state) = self.held(*from as usize)?.map(<[_]>::to_vec) else {
                continue;
            };
            let into = *into as usize;
            if matches!(self.slots[into], Slot::Empty) {
                self.put(into, Slot::Held(state));
            } else {
                merge_values(&mut **self.running(into)?, &state)?;
                self.grow(into, self.sizes[*from as usize].grown);
            }
            self.check_bytes()?;
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        let data_type = self.expr.field().data_type().clone();
        let mut values = Vec::with_capacity(slots.len());
        for slot in slots {
            let mut fresh = self.fresh()?;
            if let Some(state) = self.held(*slot as usize)? {
                merge_values(&mut *fresh, state)?;
            }
            values.push(fresh.evaluate().map_err(fault)?);
        }
        to_array(values, &data_type)
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let fields = self.expr.state_fields().map_err(fault)?;
        let mut columns = vec![Vec::with_capacity(slots.len()); fields.len()];
        for slot in slots {
            let state = match self.held(*slot as usize)? {
                Some(state) => state.to_vec(),
                None => self.fresh()?.state().map_err(fault)?,
            };
            for (column, value) in columns.iter_mut().zip(state) {
                column.push(value);
            }
        }
        (columns.into_iter().zip(&fields))
            .map(|(values, field)| to_array(values, field.data_type()))
            .collect()
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate() {
            let state = (columns.iter())
                .map(|column| ScalarValue::try_from_array(column, row))
                .collect::<Result<Vec<_>, _>>()
                .map_err(fault)?;
            self.put(*slot as usize, Slot::Held(state));
        }
        self.check_bytes()
    }

    fn state_bytes(&self) -> usize {
        let tables =
            self.slots.capacity() * size_of::<Slot>() + self.sizes.capacity() * size_of::<Size>();
        self.bytes + tables
    }
}

fn to_array(values: Vec<ScalarValue>, data_type: &DataType) -> Result<ArrayRef> {
    if values.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    ScalarValue::iter_to_array(values).map_err(fault)
}

/// Rows in order of arrival.
#[derive(Debug, Clone, Default)]
struct Arrived {
    /// Arguments of some rows each.
    batches: Vec<Vec<ArrayRef>>,
    rows: usize,
    /// About what they take.
    bytes: usize,
}

impl Arrived {
    fn append(&mut self, later: Self) {
        self.batches.extend(later.batches);
        self.rows += later.rows;
        self.bytes += later.bytes;
    }
}

/// Rows of slots, for aggregates with an ORDER BY.
#[derive(Debug)]
struct OrderedRows {
    expr: Arc<AggregateFunctionExpr>,
    slots: Vec<Arrived>,
    /// Of all slots.
    rows: usize,
    /// Of all slots.
    bytes: usize,
}

impl OrderedRows {
    fn columns(&self) -> usize {
        self.expr.expressions().len() + self.expr.order_bys().len()
    }

    /// The rows of a slot, column by column; `None` if there are none.
    fn gathered(&self, slot: u32) -> Result<Option<Vec<ArrayRef>>> {
        let batches = &self.slots[slot as usize].batches;
        if batches.is_empty() {
            return Ok(None);
        }
        let columns = (0..self.columns()).map(|column| {
            let parts: Vec<&dyn Array> = batches.iter().map(|batch| &*batch[column]).collect();
            Ok(concat(&parts)?)
        });
        columns.collect::<Result<Vec<_>>>().map(Some)
    }

    fn append(&mut self, slot: u32, arrived: Arrived) -> Result<()> {
        self.rows += arrived.rows;
        self.bytes += arrived.bytes;
        self.slots[slot as usize].append(arrived);
        if self.rows > ORDERED_ROWS_MAX {
            return Err(Error::Bound {
                what: format!("{}() with its ORDER BY", self.expr.fun().name()),
                limit: format!("{ORDERED_ROWS_MAX} rows in its windows"),
                remedy: "shorten the windows, or leave the ORDER BY out",
            });
        }
        Ok(())
    }
}

impl AggregateState for OrderedRows {
    fn resize(&mut self, slots: usize) {
        if slots > self.slots.len() {
            self.slots.resize_with(slots, Arrived::default);
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            let left = std::mem::take(&mut self.slots[*slot as usize]);
            self.rows -= left.rows;
            self.bytes -= left.bytes;
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        for (slot, args, bytes) in by_slot(&rows)? {
            let arrived = Arrived {
                rows: args[0].len(),
                batches: vec![args],
                bytes,
            };
            self.append(slot, arrived)?;
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "one source for each target");
        for (into, from) in into.iter().zip(from) {
            let later = self.slots[*from as usize].clone();
            self.append(*into, later)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        let data_type = self.expr.field().data_type().clone();
        let args = self.expr.expressions().len();
        let mut values = Vec::with_capacity(slots.len());
        for slot in slots {
            let mut fresh = self.expr.create_accumulator().map_err(fault)?;
            if let Some(columns) = self.gathered(*slot)? {
                let keys: Vec<SortColumn> = (self.expr.order_bys().iter())
                    .zip(&columns[args..])
                    .map(|(order, values)| SortColumn {
                        values: values.clone(),
                        options: Some(order.options),
                    })
                    .collect();
                // The rows' places break ties: an unstable sort stays stable.
                let places: ArrayRef =
                    Arc::new(UInt32Array::from_iter_values(0..columns[0].len() as u32));
                let keys: Vec<SortColumn> = (keys.into_iter())
                    .chain([SortColumn {
                        values: places,
                        options: None,
                    }])
                    .collect();
                let indices = lexsort_to_indices(&keys, None)?;
                let sorted = (columns.iter())
                    .map(|column| Ok(take(column, &indices, None)?))
                    .collect::<Result<Vec<_>>>()?;
                fresh.update_batch(&sorted).map_err(fault)?;
            }
            values.push(fresh.evaluate().map_err(fault)?);
        }
        to_array(values, &data_type)
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.columns()];
        let mut lengths = Vec::with_capacity(slots.len());
        for slot in slots {
            match self.gathered(*slot)? {
                Some(rows) => {
                    lengths.push(rows[0].len());
                    for (column, values) in columns.iter_mut().zip(rows) {
                        column.push(values);
                    }
                }
                None => lengths.push(0),
            }
        }
        let args = self.expr.expressions();
        let orders = self.expr.order_bys().iter().map(|order| order.expr.clone());
        let schema = arrow::datatypes::Schema::empty();
        (columns.into_iter().zip(args.into_iter().chain(orders)))
            .map(|(parts, expr)| {
                let values = if parts.is_empty() {
                    // Without rows the type does not matter: there is nothing to load.
                    new_empty_array(&expr.data_type(&schema).unwrap_or(DataType::Null))
                } else {
                    concat(&parts.iter().map(|part| &**part).collect::<Vec<_>>())?
                };
                let field = Field::new_list_field(values.data_type().clone(), true);
                let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
                let list = ListArray::try_new(Arc::new(field), offsets, values, None)?;
                Ok(Arc::new(list) as ArrayRef)
            })
            .collect()
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate() {
            let args = (columns.iter())
                .map(|column| {
                    (column.as_list_opt::<i32>().map(|list| list.value(row))).ok_or_else(|| {
                        Error::Snapshot("rows of an ordered aggregate are no list".into())
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            if !args.is_empty() && !args[0].is_empty() {
                let arrived = Arrived {
                    rows: args[0].len(),
                    bytes: (args.iter())
                        .map(|arg| Ok(arg.to_data().get_slice_memory_size()?))
                        .sum::<Result<usize>>()?,
                    batches: vec![args],
                };
                self.append(*slot, arrived)?;
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.bytes + self.slots.capacity() * size_of::<Arrived>()
    }
}

#[cfg(test)]
mod tests;
