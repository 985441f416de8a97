//! Reading back the columns that a state was saved as.
//!
//! What comes back from a disk is not trusted: its shape is checked here, so that a
//! damaged or foreign snapshot gives an error and not a panic.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, LargeListArray, PrimitiveArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use std::sync::Arc;

use crate::error::{Error, Result};

/// Saved columns of known number and length.
#[derive(Clone, Copy)]
pub(super) struct Saved<'a> {
    columns: &'a [ArrayRef],
}

impl<'a> Saved<'a> {
    /// Checks that there are `count` columns of `rows` rows.
    pub(super) fn new(columns: &'a [ArrayRef], count: usize, rows: usize) -> Result<Self> {
        if columns.len() != count || columns.iter().any(|column| column.len() != rows) {
            return Err(Error::Snapshot(format!(
                "an aggregate's state has {} columns where {count} of {rows} rows are expected",
                columns.len(),
            )));
        }
        Ok(Self { columns })
    }

    /// A column of a type that is known only when the query runs.
    pub(super) fn of_type(&self, column: usize, data_type: &DataType) -> Result<&'a ArrayRef> {
        let array = &self.columns[column];
        if array.data_type() != data_type {
            return Err(Error::Snapshot(format!(
                "column {column} of an aggregate's state is {}, not {data_type}",
                array.data_type()
            )));
        }
        Ok(array)
    }

    /// A column of one type.
    pub(super) fn array<A: Array + 'static>(&self, column: usize) -> Result<&'a A> {
        (self.columns[column].as_any().downcast_ref()).ok_or_else(|| {
            Error::Snapshot(format!(
                "column {column} of an aggregate's state is {}",
                self.columns[column].data_type()
            ))
        })
    }

    /// The values of a primitive column, whatever its NULLs.
    pub(super) fn values<T: ArrowPrimitiveType>(&self, column: usize) -> Result<&'a [T::Native]> {
        Ok(self.array::<PrimitiveArray<T>>(column)?.values())
    }

    /// A column of lists of primitive values, one slice for each row.
    pub(super) fn lists<T: ArrowPrimitiveType>(
        &self,
        column: usize,
    ) -> Result<impl Iterator<Item = &'a [T::Native]> + use<'a, T>> {
        let lists = self.array::<LargeListArray>(column)?;
        let values = (lists.values().as_primitive_opt::<T>()).ok_or_else(|| {
            Error::Snapshot(format!(
                "column {column} of an aggregate's state is {}",
                lists.data_type()
            ))
        })?;
        let values: &[T::Native] = values.values();
        Ok((lists.value_offsets().windows(2))
            .map(move |bounds| &values[bounds[0] as usize..bounds[1] as usize]))
    }

    /// An error that says what is wrong with the content of a column.
    pub(super) fn damaged(what: &str) -> Error {
        Error::Snapshot(format!("an aggregate's state is damaged: {what}"))
    }
}

/// A column of lists: `lengths` values of `values` for each row, in order.
pub(super) fn list_column(lengths: impl IntoIterator<Item = usize>, values: ArrayRef) -> ArrayRef {
    let field = Field::new_list_field(values.data_type().clone(), false);
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(LargeListArray::new(Arc::new(field), offsets, values, None))
}
