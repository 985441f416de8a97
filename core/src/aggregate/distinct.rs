//! `count(DISTINCT x)`: exact, by a set of the values of each slot.

use arrow::array::{Array, ArrayRef, LargeBinaryArray, LargeListArray};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use hashbrown::HashTable;
use std::sync::Arc;

use super::bytes::slices;
use super::collect::{Collect, HeldMax};
use super::fold::column;
use super::keys::{fixed_keys, hash, mix};
use super::saved::{Saved, list_column};
use crate::error::Result;

const NAME: &str = "count(DISTINCT)";

/// Distinct booleans, numbers and times, by their keys.
#[derive(Debug)]
pub(super) struct DistinctFixed(pub(super) HeldMax);

fn insert(set: &mut HashTable<u64>, key: u64) {
    set.entry(mix(key), |other| *other == key, |key| mix(*key))
        .or_insert(key);
}

impl Collect for DistinctFixed {
    type Slot = HashTable<u64>;
    type Value<'a> = u64;
    type Columns<'a> = Vec<u64>;

    const SAVED: usize = 1;

    fn name(&self) -> &str {
        NAME
    }

    fn columns(&self, values: &ArrayRef) -> Vec<u64> {
        fixed_keys(values)
    }

    #[inline(always)]
    fn add(slot: &mut Self::Slot, key: u64) {
        insert(slot, key);
    }

    fn merge(into: &mut Self::Slot, from: &Self::Slot) {
        from.iter().for_each(|key| insert(into, *key));
    }

    fn heap_bytes(slot: &Self::Slot) -> usize {
        slot.allocation_size()
    }

    fn held(slot: &Self::Slot) -> usize {
        slot.len()
    }

    fn held_max(&self) -> Option<HeldMax> {
        Some(self.0)
    }

    fn return_type(&self) -> DataType {
        DataType::Int64
    }

    fn evaluate(&self, slots: &[&Self::Slot]) -> ArrayRef {
        column::<Int64Type>(slots.iter().map(|slot| slot.len() as i64))
    }

    fn save(&self, slots: &[&Self::Slot]) -> Vec<ArrayRef> {
        let mut keys = vec![];
        for slot in slots {
            // In order of the keys: a set has one saved form, however it came about.
            let first = keys.len();
            keys.extend(slot.iter().copied());
            keys[first..].sort_unstable();
        }
        let lengths = slots.iter().map(|slot| slot.len());
        vec![list_column(lengths, column::<UInt64Type>(keys.into_iter()))]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>> {
        let load = |keys: &[u64]| {
            let mut slot = HashTable::new();
            keys.iter().for_each(|key| insert(&mut slot, *key));
            slot
        };
        Ok(saved.lists::<UInt64Type>(0)?.map(load).collect())
    }
}

/// Distinct strings and binary values.
#[derive(Debug)]
pub(super) struct DistinctBytes(pub(super) HeldMax);

/// A set of byte strings.
#[derive(Debug, Default)]
pub(super) struct BytesSet {
    values: HashTable<Box<[u8]>>,
    /// The sum of their lengths.
    bytes: usize,
}

impl BytesSet {
    fn insert(&mut self, value: &[u8]) {
        let hashed = hash(value);
        if self
            .values
            .find(hashed, |other| **other == *value)
            .is_none()
        {
            self.bytes += value.len();
            (self.values).insert_unique(hashed, value.into(), |other| hash(other));
        }
    }
}

impl Collect for DistinctBytes {
    type Slot = BytesSet;
    type Value<'a> = &'a [u8];
    type Columns<'a> = Vec<&'a [u8]>;

    const SAVED: usize = 1;

    fn name(&self) -> &str {
        NAME
    }

    fn columns<'a>(&self, values: &'a ArrayRef) -> Vec<&'a [u8]> {
        slices(values)
    }

    fn add(slot: &mut BytesSet, value: &[u8]) {
        slot.insert(value);
    }

    fn merge(into: &mut BytesSet, from: &BytesSet) {
        from.values.iter().for_each(|value| into.insert(value));
    }

    fn heap_bytes(slot: &BytesSet) -> usize {
        slot.values.allocation_size() + slot.bytes
    }

    fn held(slot: &BytesSet) -> usize {
        slot.values.len()
    }

    fn held_max(&self) -> Option<HeldMax> {
        Some(self.0)
    }

    fn return_type(&self) -> DataType {
        DataType::Int64
    }

    fn evaluate(&self, slots: &[&BytesSet]) -> ArrayRef {
        column::<Int64Type>(slots.iter().map(|slot| slot.values.len() as i64))
    }

    fn save(&self, slots: &[&BytesSet]) -> Vec<ArrayRef> {
        let mut values: Vec<&[u8]> = vec![];
        for slot in slots {
            let first = values.len();
            values.extend(slot.values.iter().map(|value| &**value));
            values[first..].sort_unstable();
        }
        let lengths = slots.iter().map(|slot| slot.values.len());
        let values = LargeBinaryArray::from_iter_values(values);
        vec![list_column(lengths, Arc::new(values))]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<BytesSet>> {
        let lists = saved.array::<LargeListArray>(0)?;
        if *lists.values().data_type() != DataType::LargeBinary {
            return Err(Saved::damaged("values of a set"));
        }
        let values = slices(lists.values());
        let load = |bounds: &[i64]| {
            let mut slot = BytesSet::default();
            for value in &values[bounds[0] as usize..bounds[1] as usize] {
                slot.insert(value);
            }
            slot
        };
        Ok(lists.value_offsets().windows(2).map(load).collect())
    }
}
