//! `first_value` and `last_value` of any type, `min` and `max` of strings and binary
//! values: states whose value lies on the heap.
//!
//! A batch is searched for the winning row of each slot first; only the winners are
//! copied out of it. A value of a dictionary is held without its dictionary, which is
//! the batch's.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Int8Type, Int64Type, UInt64Type};

use super::bytes::{bytes_array, copy_bytes, is_bytes, slices};
use super::first_last::{Held, Stamp};
use super::fold::column;
use super::saved::Saved;
use super::select::{filtered, for_each_row, selected, two};
use super::{AggregateFactory, AggregateState, Rows};
use crate::error::Result;

/// A value of one row, copied out of its batch.
#[derive(Debug, Clone)]
enum Copied {
    /// A string or a binary value.
    Bytes(Box<[u8]>),
    /// A column of one row.
    Row(ArrayRef),
}

impl Copied {
    fn of(array: &ArrayRef, row: usize) -> Result<Self> {
        Ok(if is_bytes(array.data_type()) {
            Self::Bytes(copy_bytes(array, row))
        } else {
            let row = UInt32Array::from(vec![row as u32]);
            Self::Row(take(array, &row, None)?)
        })
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Row(row) => row.get_array_memory_size(),
        }
    }
}

/// The type that values of `data_type` are held as.
fn stored(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// A column of held values.
fn gather<'a>(
    values: impl Iterator<Item = Option<&'a Copied>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    if is_bytes(data_type) {
        let bytes = values.map(|value| match value {
            Some(Copied::Bytes(bytes)) => Some(&**bytes),
            _ => None,
        });
        return Ok(bytes_array(bytes, data_type));
    }
    let null = new_null_array(data_type, 1);
    let rows: Vec<&dyn Array> = values
        .map(|value| match value {
            Some(Copied::Row(row)) => &**row,
            _ => &*null,
        })
        .collect();
    if rows.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    Ok(concat(&rows)?)
}

/// The winning row of each slot that a batch reaches.
#[derive(Debug, Default)]
struct Winners {
    /// `[slots]`: the row that wins so far, or [`Winners::NONE`].
    rows: Vec<u32>,
    /// The slots that have one.
    slots: Vec<u32>,
}

impl Winners {
    const NONE: u32 = u32::MAX;

    /// Lets `row` win in `slot` if it beats the winner so far.
    #[inline(always)]
    fn offer(&mut self, slot: u32, row: usize, beats: impl FnOnce(usize) -> bool) {
        let winner = &mut self.rows[slot as usize];
        if *winner == Self::NONE {
            self.slots.push(slot);
        } else if !beats(*winner as usize) {
            return;
        }
        *winner = row as u32;
    }

    /// Takes the winners out as (slot, row).
    fn drain(&mut self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let rows = &mut self.rows;
        (self.slots.drain(..)).map(|slot| {
            (
                slot,
                std::mem::replace(&mut rows[slot as usize], Self::NONE),
            )
        })
    }

    fn bytes(&self) -> usize {
        (self.rows.capacity() + self.slots.capacity()) * size_of::<u32>()
    }
}

/// Makes states of `first_value` or `last_value` for any type.
#[derive(Debug, Clone)]
pub(super) struct HeldFactory<const LAST: bool> {
    /// The type of the values.
    pub(super) data_type: DataType,
    /// Whether NULLs are passed over.
    pub(super) ignore_nulls: bool,
}

impl<const LAST: bool> AggregateFactory for HeldFactory<LAST> {
    fn create(&self) -> Result<Box<dyn AggregateState>> {
        Ok(Box::new(HeldState {
            spec: self.clone(),
            stamps: vec![],
            held: vec![],
            values: vec![],
            winners: Winners::default(),
            heap_bytes: 0,
        }))
    }

    fn return_type(&self) -> DataType {
        self.data_type.clone()
    }
}

#[derive(Debug)]
struct HeldState<const LAST: bool> {
    spec: HeldFactory<LAST>,
    /// `[slots]`.
    stamps: Vec<Stamp>,
    /// `[slots]`.
    held: Vec<Held>,
    /// `[slots]`: there where `held` says so.
    values: Vec<Option<Copied>>,
    winners: Winners,
    heap_bytes: usize,
}

impl<const LAST: bool> HeldState<LAST> {
    fn put(&mut self, slot: usize, stamp: Stamp, held: Held, value: Option<Copied>) {
        self.stamps[slot] = stamp;
        self.held[slot] = held;
        self.heap_bytes += value.as_ref().map_or(0, Copied::heap_bytes);
        let old = std::mem::replace(&mut self.values[slot], value);
        self.heap_bytes -= old.as_ref().map_or(0, Copied::heap_bytes);
    }

    /// The values of slots, of the type that they are held as.
    fn stored(&self, slots: &[u32]) -> Result<ArrayRef> {
        let values = (slots.iter()).map(|slot| self.values[*slot as usize].as_ref());
        gather(values, stored(&self.spec.data_type))
    }
}

impl<const LAST: bool> AggregateState for HeldState<LAST> {
    fn resize(&mut self, slots: usize) {
        if slots > self.held.len() {
            self.stamps.resize(slots, Stamp::ZERO);
            self.held.resize(slots, Held::Nothing);
            self.values.resize(slots, None);
            self.winners.rows.resize(slots, Winners::NONE);
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.put(*slot as usize, Stamp::ZERO, Held::Nothing, None);
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let values = &rows.args[0];
        let selection = if self.spec.ignore_nulls {
            selected(&rows, &rows.args[..1])
        } else {
            filtered(&rows)
        };
        let stamp = |row: usize| Stamp {
            time: rows.times[row],
            ordinal: rows.first_ordinal.wrapping_add(row as u64),
        };
        for_each_row(rows.slots.len(), selection.as_ref(), |row| {
            (self.winners).offer(rows.slots[row], row, |winner| {
                stamp(row).wins::<LAST>(stamp(winner))
            });
        });
        let (stamps, held) = (&self.stamps, &self.held);
        let (slots, winners): (Vec<usize>, Vec<u32>) = (self.winners.drain())
            .map(|(slot, row)| (slot as usize, row))
            .filter(|(slot, row)| {
                held[*slot] == Held::Nothing || stamp(*row as usize).wins::<LAST>(stamps[*slot])
            })
            .unzip();
        let winners = UInt32Array::from(winners);
        let values = take(values, &winners, None)?;
        let values = cast(&values, stored(&self.spec.data_type))?;
        let nulls = values.logical_nulls();
        for (place, slot) in slots.into_iter().enumerate() {
            let stamp = stamp(winners.value(place) as usize);
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(place)) {
                self.put(slot, stamp, Held::Null, None);
            } else {
                let value = Copied::of(&values, place)?;
                self.put(slot, stamp, Held::Value, Some(value));
            }
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "slots are merged in pairs");
        for (into, from) in into.iter().zip(from) {
            let (into, from) = (*into as usize, *from as usize);
            let later = self.stamps[from];
            if self.held[from] != Held::Nothing
                && (self.held[into] == Held::Nothing || later.wins::<LAST>(self.stamps[into]))
            {
                let value = self.values[from].clone();
                self.put(into, later, self.held[from], value);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        Ok(cast(&self.stored(slots)?, &self.spec.data_type)?)
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let stamps = || slots.iter().map(|slot| self.stamps[*slot as usize]);
        let held = slots.iter().map(|slot| self.held[*slot as usize].code());
        Ok(vec![
            column::<Int64Type>(stamps().map(|stamp| stamp.time)),
            column::<UInt64Type>(stamps().map(|stamp| stamp.ordinal)),
            column::<Int8Type>(held),
            self.stored(slots)?,
        ])
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let saved = Saved::new(columns, 4, slots.len())?;
        let times = saved.values::<Int64Type>(0)?;
        let ordinals = saved.values::<UInt64Type>(1)?;
        let held = saved.values::<Int8Type>(2)?;
        let values = saved.of_type(3, stored(&self.spec.data_type))?;
        for (row, slot) in slots.iter().enumerate() {
            let stamp = Stamp {
                time: times[row],
                ordinal: ordinals[row],
            };
            let held = Held::of_code(held[row]);
            let value = match held {
                Held::Value => Some(Copied::of(values, row)?),
                Held::Nothing | Held::Null => None,
            };
            self.put(*slot as usize, stamp, held, value);
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.stamps.capacity() * size_of::<Stamp>()
            + self.held.capacity() * size_of::<Held>()
            + self.values.capacity() * size_of::<Option<Copied>>()
            + self.winners.bytes()
            + self.heap_bytes
    }
}

/// Makes states of `min` or `max` over strings and binary values, by their bytes.
#[derive(Debug, Clone)]
pub(super) struct BytesExtremeFactory<const MAX: bool> {
    /// The type of the values.
    pub(super) data_type: DataType,
}

impl<const MAX: bool> AggregateFactory for BytesExtremeFactory<MAX> {
    fn create(&self) -> Result<Box<dyn AggregateState>> {
        Ok(Box::new(BytesExtreme::<MAX> {
            data_type: self.data_type.clone(),
            values: vec![],
            winners: Winners::default(),
            heap_bytes: 0,
        }))
    }

    fn return_type(&self) -> DataType {
        self.data_type.clone()
    }
}

#[derive(Debug)]
struct BytesExtreme<const MAX: bool> {
    data_type: DataType,
    /// `[slots]`: `None` = no value yet.
    values: Vec<Option<Box<[u8]>>>,
    winners: Winners,
    heap_bytes: usize,
}

fn beats<const MAX: bool>(value: &[u8], other: &[u8]) -> bool {
    if MAX { value > other } else { value < other }
}

/// Lets a value take the place of the one there if it beats it.
fn offer<const MAX: bool>(slot: &mut Option<Box<[u8]>>, value: &[u8], heap_bytes: &mut usize) {
    match slot {
        Some(held) if !beats::<MAX>(value, held) => {}
        _ => {
            *heap_bytes += value.len();
            *heap_bytes -= slot.as_ref().map_or(0, |held| held.len());
            *slot = Some(value.into());
        }
    }
}

impl<const MAX: bool> AggregateState for BytesExtreme<MAX> {
    fn resize(&mut self, slots: usize) {
        if slots > self.values.len() {
            self.values.resize(slots, None);
            self.winners.rows.resize(slots, Winners::NONE);
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            let old = self.values[*slot as usize].take();
            self.heap_bytes -= old.map_or(0, |held| held.len());
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let values = slices(&rows.args[0]);
        let selection = selected(&rows, &rows.args[..1]);
        for_each_row(rows.slots.len(), selection.as_ref(), |row| {
            (self.winners).offer(rows.slots[row], row, |winner| {
                beats::<MAX>(values[row], values[winner])
            });
        });
        for (slot, row) in self.winners.drain() {
            offer::<MAX>(
                &mut self.values[slot as usize],
                values[row as usize],
                &mut self.heap_bytes,
            );
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "slots are merged in pairs");
        for (into, from) in into.iter().zip(from) {
            let (into, from) = two(&mut self.values, *into, *from);
            if let Some(value) = from {
                offer::<MAX>(into, value, &mut self.heap_bytes);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        let values = (slots.iter()).map(|slot| self.values[*slot as usize].as_deref());
        Ok(bytes_array(values, &self.data_type))
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(slots)?])
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let saved = Saved::new(columns, 1, slots.len())?;
        let values = saved.of_type(0, &self.data_type)?;
        for (row, slot) in slots.iter().enumerate() {
            if values.is_valid(row) {
                let value = copy_bytes(values, row);
                self.heap_bytes += value.len();
                self.values[*slot as usize] = Some(value);
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<Box<[u8]>>>()
            + self.winners.bytes()
            + self.heap_bytes
    }
}

/// A factory of `first_value` or `last_value` for any type.
pub(super) fn first_last(
    last: bool,
    data_type: &DataType,
    ignore_nulls: bool,
) -> Arc<dyn AggregateFactory> {
    let data_type = data_type.clone();
    if last {
        Arc::new(HeldFactory::<true> {
            data_type,
            ignore_nulls,
        })
    } else {
        Arc::new(HeldFactory::<false> {
            data_type,
            ignore_nulls,
        })
    }
}

/// A factory of `min` or `max` over strings and binary values.
pub(super) fn bytes_extreme(max: bool, data_type: &DataType) -> Arc<dyn AggregateFactory> {
    let data_type = data_type.clone();
    if max {
        Arc::new(BytesExtremeFactory::<true> { data_type })
    } else {
        Arc::new(BytesExtremeFactory::<false> { data_type })
    }
}
