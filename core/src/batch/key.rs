//! Keys as dense ids.
//!
//! Panes and operators do not know keys: they know ids `0, 1, 2, …`, so that the
//! state of a key is a place in a column. A [`KeyInterner`] gives each distinct key an
//! id in the order in which keys first appear, and takes ids of dead keys back to
//! give them out again.
//!
//! ```text
//!  no column        one key
//!  one column       number, time, boolean, float ──▶ code  ─▶ direct or hashed table
//!                   string, binary               ──▶ words ─▶ hashed table, arena
//!                   dictionary                   ──▶ each entry once, as its type
//!                   anything else                ──▶ arrow's row format, as a string
//!  several columns  each as above, then pairs of ids as codes
//! ```
//!
//! NULL is a key like any other. All NaNs are one key, and so are 0.0 and -0.0.
//!
//! This module knows no pane and no query: who releases a key knows that nothing
//! refers to its id any more.

pub(crate) mod far;
mod hash;
mod ids;
mod table;
mod bytes;
mod code;
mod column;
mod rows;
mod dictionary;
mod pair;
#[cfg(test)]
mod tests;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use crate::error::{Error, Result};
use bytes::ByteTable;
use code::CodeTable;
use column::{Find, Intern, byte_keys, code_keys, is_bytes, is_code, with_bytes, with_codes};
use dictionary::{Dictionaries, dictionary_keys};
use ids::Ids;
use pair::Pairs;
use rows::RowKeys;
use table::Keyed;

/// Gives keys of any number of columns dense ids.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow::array::{ArrayRef, AsArray, StringArray};
/// # use arrow::datatypes::DataType;
/// # use windrow_core::batch::key::KeyInterner;
/// let mut interner = KeyInterner::new(&[DataType::Utf8])?;
/// let sensors: ArrayRef = Arc::new(StringArray::from(vec!["roof", "yard", "roof"]));
/// let mut ids = Vec::new();
/// interner.intern(&[sensors], 3, &mut ids)?;
/// assert_eq!(ids, [0, 1, 0]);
/// assert_eq!(interner.keys(&[1])?[0].as_string::<i32>().value(0), "yard");
/// # Ok::<(), windrow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct KeyInterner {
    types: Vec<DataType>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Single(Ids),
    Codes(Keyed<CodeTable>),
    Bytes(Keyed<ByteTable>),
    Rows(RowKeys),
    Dictionary {
        values: Box<KeyInterner>,
        dictionaries: Dictionaries,
    },
    Pairs(Box<Pair>),
}

/// Key columns as two parts: all but the last, and the last.
#[derive(Debug)]
struct Pair {
    left: KeyInterner,
    right: KeyInterner,
    pairs: Pairs,
    left_ids: Vec<u32>,
    right_ids: Vec<u32>,
}

impl KeyInterner {
    /// An interner of keys with a column of each type. Without columns every row has
    /// the one key 0.
    ///
    /// # Errors
    /// If values of a type cannot be compared.
    pub fn new(types: &[DataType]) -> Result<Self> {
        let kind = match types {
            [] => Kind::Single(Ids::default()),
            [one] if is_code(one) => Kind::Codes(Keyed::new(CodeTable::new())),
            [one] if is_bytes(one) => Kind::Bytes(Keyed::new(ByteTable::new())),
            [DataType::Dictionary(_, values)] => Kind::Dictionary {
                values: Box::new(Self::new(std::slice::from_ref(values))?),
                dictionaries: Dictionaries::default(),
            },
            [one] => Kind::Rows(RowKeys::new(one)?),
            [left @ .., right] => Kind::Pairs(Box::new(Pair {
                left: Self::new(left)?,
                right: Self::new(std::slice::from_ref(right))?,
                pairs: Pairs::new(),
                left_ids: Vec::new(),
                right_ids: Vec::new(),
            })),
        };
        Ok(Self {
            types: types.to_vec(),
            kind,
        })
    }

    /// Fills `ids`, `[rows]`, with the id of each row's key; new keys are taken in, in
    /// the order of their first rows. What was in `ids` is cleared.
    ///
    /// - `columns`: one for each type, each `[rows]`.
    ///
    /// Large batches are looked up by the threads of rayon's current pool; the ids do
    /// not depend on their number.
    ///
    /// # Errors
    /// If the columns are not of the interner's types, or when there are more than
    /// 2³² − 3 keys.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize, ids: &mut Vec<u32>) -> Result<()> {
        if columns.len() != self.types.len() {
            return Err(Error::invalid(format!(
                "keys have {} columns, not {}",
                self.types.len(),
                columns.len()
            )));
        }
        for (column, data_type) in columns.iter().zip(&self.types) {
            if column.data_type() != data_type || column.len() != rows {
                return Err(Error::invalid(format!(
                    "a key column should be {rows} rows of {data_type}, not {} of {}",
                    column.len(),
                    column.data_type()
                )));
            }
        }
        match &mut self.kind {
            Kind::Single(single) => {
                if rows > 0 && single.len() == 0 {
                    single.take()?;
                }
                ids.clear();
                ids.resize(rows, 0);
            }
            Kind::Codes(keyed) => {
                with_codes(&columns[0], Intern { keyed, ids })?;
            }
            Kind::Bytes(keyed) => {
                with_bytes(&columns[0], Intern { keyed, ids })?;
            }
            Kind::Rows(keys) => keys.intern(&columns[0], ids)?,
            Kind::Dictionary {
                values,
                dictionaries,
            } => dictionaries.intern(&columns[0], ids, |entries, ids| {
                let rows = entries.len();
                values.intern(&[entries], rows, ids)
            })?,
            Kind::Pairs(pair) => {
                let (right, left) = columns
                    .split_last()
                    .expect("a pair has two columns or more");
                pair.left.intern(left, rows, &mut pair.left_ids)?;
                (pair.right).intern(std::slice::from_ref(right), rows, &mut pair.right_ids)?;
                pair.pairs.intern(&pair.left_ids, &pair.right_ids, ids)?;
            }
        }
        Ok(())
    }

    /// Fills `ids` with those of the keys of the rows from `first` on, if all of them are
    /// known; else false, and what is in `ids` means nothing. Any number of threads may
    /// ask at a time.
    ///
    /// - `columns`: as [`KeyInterner::intern`] takes them.
    ///
    /// # Panics
    /// If the columns are not of the interner's types, or too short.
    pub fn find(&self, columns: &[ArrayRef], first: usize, ids: &mut [u32]) -> bool {
        match &self.kind {
            Kind::Single(single) => {
                ids.fill(0);
                single.len() > 0
            }
            Kind::Codes(keyed) => {
                with_codes(&columns[0], Find { keyed, first, ids }).is_ok_and(|missed| !missed)
            }
            Kind::Bytes(keyed) => {
                with_bytes(&columns[0], Find { keyed, first, ids }).is_ok_and(|missed| !missed)
            }
            Kind::Rows(keys) => keys.find(&columns[0], first, ids),
            Kind::Dictionary { dictionaries, .. } => dictionaries.find(&columns[0], first, ids),
            Kind::Pairs(pair) => {
                let (mut left_ids, mut right_ids) = (vec![0; ids.len()], vec![0; ids.len()]);
                columns.split_last().is_some_and(|(right, left)| {
                    pair.left.find(left, first, &mut left_ids)
                        && (pair.right).find(std::slice::from_ref(right), first, &mut right_ids)
                        && pair.pairs.find(&left_ids, &right_ids, ids)
                })
            }
        }
    }

    /// The keys of ids as columns of the interner's types, each `[ids]`.
    ///
    /// # Errors
    /// If they do not fit into a column of a type: more than 2 GiB of strings with
    /// 32-bit offsets, more distinct values than a dictionary's keys can number.
    ///
    /// # Panics
    /// If an id is not in use: a caller's bug.
    pub fn keys(&self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        self.assert_live(ids);
        Ok(match &self.kind {
            Kind::Single(_) => Vec::new(),
            Kind::Codes(keyed) => vec![code_keys(keyed, &self.types[0], ids)?],
            Kind::Bytes(keyed) => vec![byte_keys(keyed, &self.types[0], ids)?],
            Kind::Rows(keys) => vec![keys.keys(&self.types[0], ids)?],
            Kind::Dictionary { values, .. } => {
                let DataType::Dictionary(key_type, _) = &self.types[0] else {
                    unreachable!("the kind follows from the type")
                };
                let keys = |ids: &[u32]| Ok(values.keys(ids)?.swap_remove(0));
                vec![dictionary_keys(key_type, ids, keys)?]
            }
            Kind::Pairs(pair) => {
                let (left, right) = pair.pairs.parts(ids);
                let mut columns = pair.left.keys(&left)?;
                columns.extend(pair.right.keys(&right)?);
                columns
            }
        })
    }

    /// Forgets keys: their ids are given out again, those released last first and the
    /// lowest of them first. When no key is left, ids start at zero again.
    ///
    /// # Panics
    /// If an id is not in use, or stands twice in `ids`: a caller's bug.
    pub fn release(&mut self, ids: &[u32]) {
        if ids.is_empty() {
            return;
        }
        self.assert_live(ids);
        match &mut self.kind {
            Kind::Single(single) => single.release(ids),
            Kind::Codes(keyed) => keyed.release(ids),
            Kind::Bytes(keyed) => keyed.release(ids),
            Kind::Rows(keys) => keys.keyed.release(ids),
            Kind::Dictionary {
                values,
                dictionaries,
            } => {
                values.release(ids);
                dictionaries.forget_ids();
            }
            Kind::Pairs(pair) => {
                let (left, right) = pair.pairs.release(ids);
                pair.left.release(&left);
                pair.right.release(&right);
            }
        }
    }

    /// One more than the greatest id that is in use or waits to be used again: how
    /// long a dense table of ids must be.
    pub fn bound(&self) -> usize {
        self.ids().bound()
    }

    /// How many keys are in use.
    pub fn len(&self) -> usize {
        self.ids().len()
    }

    /// Whether no key is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes the keys and their tables hold. Dictionaries of the source that
    /// are remembered are not counted.
    pub fn state_bytes(&self) -> usize {
        match &self.kind {
            Kind::Single(single) => single.bytes(),
            Kind::Codes(keyed) => keyed.bytes(),
            Kind::Bytes(keyed) => keyed.bytes(),
            Kind::Rows(keys) => keys.keyed.bytes(),
            Kind::Dictionary {
                values,
                dictionaries,
            } => values.state_bytes() + dictionaries.bytes(),
            Kind::Pairs(pair) => {
                let scratch = pair.left_ids.capacity() + pair.right_ids.capacity();
                pair.pairs.bytes()
                    + pair.left.state_bytes()
                    + pair.right.state_bytes()
                    + scratch * size_of::<u32>()
            }
        }
    }

    fn ids(&self) -> &Ids {
        match &self.kind {
            Kind::Single(single) => single,
            Kind::Codes(keyed) => &keyed.ids,
            Kind::Bytes(keyed) => &keyed.ids,
            Kind::Rows(keys) => &keys.keyed.ids,
            Kind::Dictionary { values, .. } => values.ids(),
            Kind::Pairs(pair) => &pair.pairs.keyed.ids,
        }
    }

    fn assert_live(&self, ids: &[u32]) {
        let live = self.ids();
        for &id in ids {
            assert!(live.is_live(id), "key {id} is not in use");
        }
    }
}
