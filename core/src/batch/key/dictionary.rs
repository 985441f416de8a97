//! Dictionary columns: each entry is looked up once for each dictionary.
//!
//! ```text
//!  row ──▶ key of the dictionary ──▶ ids_of_entries ──▶ id
//!                                          │ not looked up yet
//!                                          ▼
//!                                    table of the values
//! ```
//!
//! Batches of one source often share their dictionary: the ids of its entries are
//! kept as long as it is the same memory. An entry is looked up when its first row
//! comes, so that entries without rows are no keys. Entries that are equal, and NULL
//! as a key or as an entry, have one id.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, ArrowPrimitiveType, AsArray, DictionaryArray, PrimitiveArray,
    UInt64Array, make_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{ArrowDictionaryKeyType, ArrowNativeType, DataType};
use hashbrown::HashMap;
use rayon::prelude::*;

use super::hash::NO_ID;
use super::table::{MORSEL_ROWS, in_parallel};
use crate::error::{Error, Result};

/// An entry that is about to be looked up. No key has this id.
const PENDING: u32 = NO_ID - 1;

/// How many dictionaries are remembered: a few sources that take turns.
const DICTIONARIES_MAX: usize = 4;

/// The dictionaries seen last, with the ids of their entries.
#[derive(Debug, Default)]
pub(super) struct Dictionaries {
    /// The most recent one last.
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    values: ArrayData,
    /// `[entries + 1]`: [`NO_ID`] where no row has come yet; the last one is NULL.
    ids: Vec<u32>,
}

/// Calls `$of::<K>` with the type of a dictionary's keys.
macro_rules! with_dictionary_key {
    ($data_type:expr, $of:ident ( $($arg:expr),* )) => {{
        use arrow::datatypes::{DataType::*, *};
        match $data_type {
            Int8 => $of::<Int8Type>($($arg),*),
            Int16 => $of::<Int16Type>($($arg),*),
            Int32 => $of::<Int32Type>($($arg),*),
            Int64 => $of::<Int64Type>($($arg),*),
            UInt8 => $of::<UInt8Type>($($arg),*),
            UInt16 => $of::<UInt16Type>($($arg),*),
            UInt32 => $of::<UInt32Type>($($arg),*),
            UInt64 => $of::<UInt64Type>($($arg),*),
            other => Err(Error::invalid(format!(
                "a dictionary cannot have keys of type {other}"
            ))),
        }
    }};
}

impl Dictionaries {
    /// Fills `ids` with the id of each row; `intern` gives ids to values, in order.
    pub(super) fn intern(
        &mut self,
        column: &dyn Array,
        ids: &mut Vec<u32>,
        intern: impl FnMut(ArrayRef, &mut Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        fn of<K: ArrowDictionaryKeyType>(
            this: &mut Dictionaries,
            column: &dyn Array,
            ids: &mut Vec<u32>,
            intern: impl FnMut(ArrayRef, &mut Vec<u32>) -> Result<()>,
        ) -> Result<()> {
            let column = column.as_dictionary::<K>();
            let seen = this.seen(column.values().to_data());
            let keys = column.keys();
            seen.intern(keys.values(), keys.nulls(), ids, intern)
        }
        let column_type = column.data_type();
        let DataType::Dictionary(key_type, _) = column_type else {
            return Err(Error::invalid(format!("{column_type} is no dictionary")));
        };
        with_dictionary_key!(key_type.as_ref(), of(self, column, ids, intern))
    }

    /// Fills `ids` with those of the rows from `first` on; whether the dictionary has been
    /// seen, and with it all of these rows' entries.
    pub(super) fn find(&self, column: &dyn Array, first: usize, ids: &mut [u32]) -> bool {
        fn of<K: ArrowDictionaryKeyType>(
            this: &Dictionaries,
            column: &dyn Array,
            first: usize,
            ids: &mut [u32],
        ) -> Result<bool> {
            let column = column.as_dictionary::<K>();
            let values = column.values().to_data();
            let mut seen = this.seen.iter().rev();
            let seen = seen.find(|seen| seen.values.ptr_eq(&values));
            let keys = column.keys();
            Ok(seen.is_some_and(|seen| !seen.gather(keys.values(), keys.nulls(), first, ids)))
        }
        let DataType::Dictionary(key_type, _) = column.data_type() else {
            return false;
        };
        let found: Result<bool> =
            with_dictionary_key!(key_type.as_ref(), of(self, column, first, ids));
        found.unwrap_or(false)
    }

    /// Forgets the ids of entries, since some of them are given back.
    pub(super) fn forget_ids(&mut self) {
        for seen in &mut self.seen {
            seen.ids.fill(NO_ID);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        (self.seen.iter())
            .map(|seen| seen.ids.capacity() * size_of::<u32>())
            .sum()
    }

    fn seen(&mut self, values: ArrayData) -> &mut Seen {
        let found = self
            .seen
            .iter()
            .rposition(|seen| seen.values.ptr_eq(&values));
        let seen = match found {
            Some(at) => self.seen.remove(at),
            None => {
                if self.seen.len() == DICTIONARIES_MAX {
                    self.seen.remove(0);
                }
                Seen {
                    ids: vec![NO_ID; values.len() + 1],
                    values,
                }
            }
        };
        self.seen.push(seen);
        self.seen.last_mut().expect("one was pushed")
    }
}

/// The entry of a row. Under a NULL the key may be any number.
#[inline(always)]
fn entry<N: ArrowNativeType>(
    keys: &[N],
    nulls: Option<&NullBuffer>,
    null_entry: usize,
    row: usize,
) -> usize {
    match nulls {
        Some(nulls) if nulls.is_null(row) => null_entry,
        _ => keys[row].as_usize(),
    }
}

impl Seen {
    /// Fills `ids` with those of the rows from `first` on; whether one was missed.
    fn gather<N: ArrowNativeType>(
        &self,
        keys: &[N],
        nulls: Option<&NullBuffer>,
        first: usize,
        ids: &mut [u32],
    ) -> bool {
        let null_entry = self.ids.len() - 1;
        let mut missed = false;
        for (i, id) in ids.iter_mut().enumerate() {
            *id = self.ids[entry(keys, nulls, null_entry, first + i)];
            missed |= *id >= PENDING;
        }
        missed
    }

    fn intern<N: ArrowNativeType>(
        &mut self,
        keys: &[N],
        nulls: Option<&NullBuffer>,
        ids: &mut Vec<u32>,
        mut intern: impl FnMut(ArrayRef, &mut Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        let null_entry = self.ids.len() - 1;
        let entry = |row: usize| entry(keys, nulls, null_entry, row);
        ids.clear();
        ids.resize(keys.len(), NO_ID);
        let gather_all = |this: &Self, ids: &mut [u32]| {
            let gather = |(morsel, ids): (usize, &mut [u32])| {
                this.gather(keys, nulls, morsel * MORSEL_ROWS, ids)
            };
            if in_parallel(keys.len()) {
                (ids.par_chunks_mut(MORSEL_ROWS).enumerate())
                    .map(gather)
                    .reduce(|| false, |a, b| a | b)
            } else {
                (ids.chunks_mut(MORSEL_ROWS).enumerate())
                    .fold(false, |missed, morsel| gather(morsel) | missed)
            }
        };
        if !gather_all(self, ids) {
            return Ok(());
        }

        // The entries of rows that were missed, in the order of their first rows.
        let mut missed = Vec::new();
        for (row, id) in ids.iter().enumerate() {
            let entry = entry(row);
            if *id == NO_ID && self.ids[entry] == NO_ID {
                self.ids[entry] = PENDING;
                missed.push(entry);
            }
        }
        let indices: UInt64Array = (missed.iter())
            .map(|&entry| (entry != null_entry).then_some(entry as u64))
            .collect();
        let mut found = Vec::new();
        let result = take(&make_array(self.values.clone()), &indices, None)
            .map_err(Error::from)
            .and_then(|values| intern(values, &mut found));
        for (i, &entry) in missed.iter().enumerate() {
            self.ids[entry] = found.get(i).copied().unwrap_or(NO_ID);
        }
        result?;
        gather_all(self, ids);
        Ok(())
    }
}

/// A dictionary column with the keys of ids: each distinct id is one entry. `keys`
/// gives the values of ids.
pub(super) fn dictionary_keys(
    key_type: &DataType,
    ids: &[u32],
    keys: impl FnOnce(&[u32]) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    fn of<K: ArrowDictionaryKeyType>(entries: &[u32], values: ArrayRef) -> Result<ArrayRef> {
        let overflow = || {
            Error::invalid(format!(
                "{} distinct keys do not fit into a dictionary with {} keys",
                values.len(),
                K::DATA_TYPE
            ))
        };
        let keys = (entries.iter())
            .map(|&entry| {
                // NULL is a NULL among the keys, not an entry.
                if values.is_null(entry as usize) {
                    return Ok(None);
                }
                let key = <K as ArrowPrimitiveType>::Native::from_usize(entry as usize);
                key.ok_or_else(overflow).map(Some)
            })
            .collect::<Result<PrimitiveArray<K>>>()?;
        Ok(Arc::new(DictionaryArray::try_new(keys, values.clone())?))
    }
    let (distinct, entries) = numbered(ids);
    let values = keys(&distinct)?;
    with_dictionary_key!(key_type, of(&entries, values))
}

/// The distinct ids in order of first appearance, and the place of each id among them.
fn numbered(ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
    // A table by id, unless most of it would be empty.
    const TABLE_SHARE: usize = 8;
    fn with(ids: &[u32], mut place: impl FnMut(u32, u32) -> u32) -> (Vec<u32>, Vec<u32>) {
        let mut distinct: Vec<u32> = Vec::new();
        let places = (ids.iter())
            .map(|&id| {
                let next = distinct.len() as u32;
                let place = place(id, next);
                if place == next {
                    distinct.push(id);
                }
                place
            })
            .collect();
        (distinct, places)
    }
    let bound = ids.iter().max().map_or(0, |id| *id as usize + 1);
    if bound > ids.len() * TABLE_SHARE {
        let mut places = HashMap::new();
        return with(ids, |id, next| *places.entry(id).or_insert(next));
    }
    let mut places = vec![NO_ID; bound];
    with(ids, |id, next| {
        let place = &mut places[id as usize];
        *place = (*place).min(next);
        *place
    })
}
