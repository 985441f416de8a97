//! Keys of every other type: lists, structs, decimals, intervals, maps.
//!
//! arrow's row format turns a value into bytes that are equal exactly when the values
//! are; NULL is one of them. Floats inside are made canonical first.

use arrow::array::{Array, ArrayData, ArrayRef, ArrowPrimitiveType, make_array};
use arrow::buffer::Buffer;
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};
use rayon::prelude::*;

use super::bytes::{ByteKey, ByteTable};
use super::code::Canonical;
use super::table::{Column, Keyed, MORSEL_ROWS, in_parallel};
use crate::error::{Error, Result};

/// The keys of one column by arrow's row format.
#[derive(Debug)]
pub(super) struct RowKeys {
    converter: RowConverter,
    has_floats: bool,
    pub(super) keyed: Keyed<ByteTable>,
}

impl Column<ByteTable> for Rows {
    #[inline(always)]
    fn key(&self, row: usize) -> ByteKey<'_> {
        let bytes = self.row(row).data();
        ByteKey::new(bytes, 0, bytes.len())
    }
}

impl RowKeys {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        let no_key = || Error::invalid(format!("a column of type {data_type} cannot be a key"));
        let field = SortField::new(data_type.clone());
        if !RowConverter::supports_fields(std::slice::from_ref(&field)) {
            return Err(no_key());
        }
        let converter = RowConverter::new(vec![field])?;
        // The row format gives dictionaries back as plain values: they are cast.
        let given = converter.convert_rows([])?;
        if !can_cast_types(given[0].data_type(), data_type) {
            return Err(no_key());
        }
        Ok(Self {
            converter,
            has_floats: has_floats(data_type),
            keyed: Keyed::new(ByteTable::new()),
        })
    }

    pub(super) fn intern(&mut self, column: &ArrayRef, ids: &mut Vec<u32>) -> Result<()> {
        let rows = column.len();
        ids.clear();
        ids.resize(rows, 0);
        // Looks one morsel up; gives back its keys if one was missed.
        let look_up = |this: &Self, (morsel, ids): (usize, &mut [u32])| -> Result<Option<Rows>> {
            let keys = this.rows(&column.slice(morsel * MORSEL_ROWS, ids.len()))?;
            let missed = this.keyed.find_morsel(&keys, None, 0, ids);
            Ok(missed.then_some(keys))
        };
        if in_parallel(rows) {
            let misses: Vec<Option<Rows>> = (ids.par_chunks_mut(MORSEL_ROWS).enumerate())
                .map(|morsel| look_up(self, morsel))
                .collect::<Result<_>>()?;
            for (keys, ids) in misses.iter().zip(ids.chunks_mut(MORSEL_ROWS)) {
                if let Some(keys) = keys {
                    self.keyed.insert_morsel(keys, None, 0, ids)?;
                }
            }
        } else {
            for (morsel, ids) in ids.chunks_mut(MORSEL_ROWS).enumerate() {
                if let Some(keys) = look_up(self, (morsel, ids))? {
                    self.keyed.insert_morsel(&keys, None, 0, ids)?;
                }
            }
        }
        Ok(())
    }

    /// Fills `ids` with those of the rows from `first` on; whether all are known.
    pub(super) fn find(&self, column: &ArrayRef, first: usize, ids: &mut [u32]) -> bool {
        let keys = self.rows(&column.slice(first, ids.len()));
        keys.is_ok_and(|keys| !self.keyed.find_morsel(&keys, None, 0, ids))
    }

    /// A column in the row format.
    fn rows(&self, column: &ArrayRef) -> Result<Rows> {
        let column = if self.has_floats {
            make_array(canonical(column.to_data())?)
        } else {
            column.clone()
        };
        Ok(self.converter.convert_columns(&[column])?)
    }

    pub(super) fn keys(&self, data_type: &DataType, ids: &[u32]) -> Result<ArrayRef> {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(ids.len());
        for &id in ids {
            self.keyed.table.append(id, &mut bytes);
            ends.push(bytes.len());
        }
        let parser = self.converter.parser();
        let mut start = 0;
        let rows = ends.into_iter().map(|end| {
            let row = parser.parse(&bytes[start..end]);
            start = end;
            row
        });
        let column = self.converter.convert_rows(rows)?.swap_remove(0);
        if column.data_type() == data_type {
            Ok(column)
        } else {
            Ok(cast(&column, data_type)?)
        }
    }
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => has_floats(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::Union(fields, _) => {
            (fields.iter()).any(|(_, field)| has_floats(field.data_type()))
        }
        DataType::Dictionary(_, values) => has_floats(values),
        _ => false,
    }
}

/// The same values with one NaN and one zero, at every depth.
fn canonical(data: ArrayData) -> Result<ArrayData> {
    fn of<T: ArrowPrimitiveType<Native: Canonical>>(data: ArrayData) -> Result<ArrayData> {
        let values = &data.buffers()[0].typed_data::<T::Native>()[data.offset()..][..data.len()];
        let values: Vec<T::Native> = values.iter().map(|value| value.canonical()).collect();
        let nulls = data.nulls().cloned();
        Ok(ArrayData::builder(data.data_type().clone())
            .len(data.len())
            .nulls(nulls)
            .add_buffer(Buffer::from_vec(values))
            .build()?)
    }
    match data.data_type() {
        DataType::Float16 => of::<Float16Type>(data),
        DataType::Float32 => of::<Float32Type>(data),
        DataType::Float64 => of::<Float64Type>(data),
        data_type if has_floats(data_type) => {
            let children = (data.child_data().iter().cloned())
                .map(canonical)
                .collect::<Result<_>>()?;
            Ok(data.into_builder().child_data(children).build()?)
        }
        _ => Ok(data),
    }
}
