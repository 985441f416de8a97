//! Tables of snapshots.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::ArrowPrimitiveType;

use crate::error::{Error, Result};

/// Named columns of one length.
pub(crate) type Columns = Vec<(String, ArrayRef)>;

/// A table of a snapshot from named columns of one length.
pub(crate) fn table(columns: Columns) -> Result<RecordBatch> {
    let columns = (columns.into_iter()).map(|(name, column)| {
        let nullable = true;
        (name, column, nullable)
    });
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// A column of a snapshot's table, of a type that must be its own.
pub(crate) fn column<'a, T: ArrowPrimitiveType>(
    table: &'a RecordBatch,
    name: &str,
) -> Result<&'a [T::Native]> {
    (table.column_by_name(name))
        .and_then(|column| column.as_primitive_opt::<T>())
        .filter(|column| column.null_count() == 0)
        .map(|column| column.values().as_ref())
        .ok_or_else(|| Error::Snapshot(format!("it holds no column {name:?}")))
}
