//! Keys as dense numbers: equal key values have equal ids, and ids of dead keys are
//! given out again.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::error::Result;

/// Gives dense ids to the values of key columns.
#[derive(Debug)]
pub struct KeyInterner {
    converter: Option<RowConverter>,
    ids: HashMap<OwnedRow, u32>,
    rows: Vec<Option<OwnedRow>>,
    free: Vec<u32>,
}

impl KeyInterner {
    /// An interner for key columns of these types; none: every row has the id 0.
    ///
    /// # Errors
    /// If a type cannot be grouped by.
    pub fn new(types: &[DataType]) -> Result<Self> {
        let converter = match types {
            [] => None,
            types => Some(RowConverter::new(
                types.iter().cloned().map(SortField::new).collect(),
            )?),
        };
        Ok(Self {
            converter,
            ids: HashMap::new(),
            rows: Vec::new(),
            free: Vec::new(),
        })
    }

    /// The ids of `rows` rows, in order; new keys get the lowest ids that are free.
    ///
    /// # Errors
    /// If the columns are not of the types given at the start.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize, ids: &mut Vec<u32>) -> Result<()> {
        ids.clear();
        let Some(converter) = &mut self.converter else {
            ids.resize(rows, 0);
            return Ok(());
        };
        for row in converter.convert_columns(columns)?.iter() {
            let row = row.owned();
            if let Some(id) = self.ids.get(&row) {
                ids.push(*id);
                continue;
            }
            let id = self.free.pop().unwrap_or(self.rows.len() as u32);
            if id as usize == self.rows.len() {
                self.rows.push(None);
            }
            self.rows[id as usize] = Some(row.clone());
            self.ids.insert(row, id);
            ids.push(id);
        }
        Ok(())
    }

    /// The key values of ids that are in use, one column for each key.
    ///
    /// # Errors
    /// If the values cannot be made into columns.
    pub fn keys(&self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else {
            return Ok(Vec::new());
        };
        let rows = ids.iter().map(|&id| {
            let row = self.rows[id as usize].as_ref();
            row.expect("the id is in use").row()
        });
        Ok(converter.convert_rows(rows)?)
    }

    /// Says that these keys are dead: their ids are given out again.
    pub fn release(&mut self, ids: &[u32]) {
        for &id in ids {
            if self.converter.is_some()
                && let Some(row) = self.rows[id as usize].take()
            {
                self.ids.remove(&row);
                self.free.push(id);
            }
        }
    }

    /// One more than the greatest id.
    pub fn bound(&self) -> usize {
        self.rows.len().max(1)
    }

    /// How many keys are alive.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no key is alive.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How many bytes the keys hold.
    pub fn state_bytes(&self) -> usize {
        self.rows.len() * 64
    }
}
