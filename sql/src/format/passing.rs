//! Row groups of Parquet of which no query takes a row.
//!
//! A file tells the least and the greatest value of a column in each row group. A group
//! is passed over where the condition of every query excludes all that lies between. As
//! many rows are given in its place, which cost next to nothing: the greatest value where
//! it is known, else NULL.
//!
//! ```text
//!  row groups      ts 0 … 9     ts 10 … 19    ts 20 … 29        WHERE ts >= 20
//!                  ten times 9  ten times 19  as they are
//! ```
//!
//! The queries' own conditions drop these rows: what is received, accepted and filtered,
//! and how far the watermark comes, is as if the group had been read. So it is read where
//! any of its rows might break a rule: where NULL is among the event times, or a value may
//! not fit its column.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow::compute::{nullif, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::Type;

use super::adapt::Adapter;
use crate::error::Result;

/// The least and the greatest values of columns in parts of a file.
#[derive(Debug)]
pub struct Ranges {
    /// How many parts there are.
    pub parts: usize,
    /// `[columns]`: the least and the greatest value in each part, NULL where they are not
    /// known or NULL is among the values.
    pub columns: Vec<Option<(ArrayRef, ArrayRef)>>,
}

/// The condition of a query.
pub trait Excludes: Debug + Send + Sync {
    /// Of each part, whether the condition is true for none of its rows.
    fn excluded(&self, ranges: &Ranges) -> Vec<bool>;
}

/// What may be passed over.
#[derive(Debug, Clone)]
pub struct Passing {
    /// The condition of each query: a part is read if one of them may take a row.
    pub conditions: Vec<Arc<dyn Excludes>>,
    /// The columns in which a rule does not allow NULL.
    pub valid: Vec<usize>,
}

/// The row groups of a file that are passed over.
#[derive(Debug)]
pub(crate) struct PassedOver {
    schema: SchemaRef,
    excluded: Vec<bool>,
    ranges: Ranges,
}

impl PassedOver {
    /// Those of a file whose rows `adapter` fits.
    pub(super) fn new(file: &ArrowReaderMetadata, adapter: &Adapter, passing: &Passing) -> Self {
        let schema = adapter.schema.clone();
        let parts = file.metadata().num_row_groups();
        let columns = (0..schema.fields().len()).map(|place| {
            // Without statistics nothing is passed over.
            range(file, adapter, place).ok().flatten()
        });
        let ranges = Ranges {
            parts,
            columns: columns.collect(),
        };
        let is_known = |place: usize, part: usize| {
            let range = ranges.columns[place].as_ref();
            range.is_some_and(|(least, greatest)| least.is_valid(part) && greatest.is_valid(part))
        };
        let unsure =
            (0..schema.fields().len()).filter(|place| adapter.may_refuse(file.schema(), *place));
        let known: Vec<usize> = passing.valid.iter().copied().chain(unsure).collect();
        let mut excluded: Vec<bool> = (0..parts)
            .map(|part| known.iter().all(|place| is_known(*place, part)))
            .collect();
        for condition in &passing.conditions {
            let by_condition = condition.excluded(&ranges);
            for (part, excluded) in excluded.iter_mut().enumerate() {
                *excluded &= by_condition.get(part).copied().unwrap_or(false);
            }
        }
        Self {
            schema,
            excluded,
            ranges,
        }
    }

    pub(super) fn holds(&self, row_group: usize) -> bool {
        self.excluded[row_group]
    }

    /// Rows in place of those of a row group.
    pub(super) fn rows(&self, row_group: usize, rows: usize) -> Result<RecordBatch> {
        let places = UInt64Array::from_value(row_group as u64, rows);
        let columns = self.schema.fields().iter().zip(&self.ranges.columns);
        let columns: std::result::Result<Vec<ArrayRef>, ArrowError> = columns
            .map(|(field, range)| match range {
                Some((_, greatest)) => take(greatest, &places, None),
                None => Ok(new_null_array(field.data_type(), rows)),
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let records = columns.and_then(|columns| {
            RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
        });
        Ok(records.map_err(windrow_core::Error::from)?)
    }
}

/// The least and the greatest values of a declared column in each row group, where its
/// type has an order that statistics keep to: floats have not, for NaN is in none.
fn range(
    file: &ArrowReaderMetadata,
    adapter: &Adapter,
    place: usize,
) -> Result<Option<(ArrayRef, ArrayRef)>> {
    let Some(index) = adapter.file_column(place) else {
        return Ok(None);
    };
    let theirs = file.schema();
    let (field, to) = (theirs.field(index), adapter.schema.field(place).data_type());
    let keeps_order = match (field.data_type(), to) {
        (DataType::Timestamp(..), DataType::Timestamp(..)) => true,
        (from, to) => from == to && (from.is_signed_integer() || *from == DataType::Date32),
    };
    if !keeps_order || theirs.index_of(field.name()).ok() != Some(index) {
        return Ok(None);
    }
    let error =
        |error: parquet::errors::ParquetError| windrow_core::Error::from(ArrowError::from(error));
    let parquet_schema = file.metadata().file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(field.name(), theirs, parquet_schema);
    let converter = (converter.map_err(error)?).with_missing_null_counts_as_zero(false);
    let physical = converter.parquet_column_index();
    let physical = physical.map(|column| parquet_schema.column(column).physical_type());
    if !matches!(physical, Some(Type::INT32 | Type::INT64)) {
        return Ok(None);
    }
    let groups = file.metadata().row_groups();
    let nulls = converter.row_group_null_counts(groups).map_err(error)?;
    let unknown = nulls.iter().map(|nulls| Some(nulls != Some(0))).collect();
    let bound = |values: ArrayRef| -> Result<ArrayRef> {
        let values = adapter.converted(&values, place)?;
        Ok(nullif(&values, &unknown).map_err(windrow_core::Error::from)?)
    };
    let least = bound(converter.row_group_mins(groups).map_err(error)?)?;
    let greatest = bound(converter.row_group_maxes(groups).map_err(error)?)?;
    Ok(Some((least, greatest)))
}
