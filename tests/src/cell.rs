//! The cells of a record batch: as text for `.slt` files, as plain values for the oracle.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::oracle::Cell;

/// The cells of a batch as text, row by row.
///
/// NULL is `NULL`, an empty text `(empty)`; a time is written as in ISO 8601 with as
/// much of a fraction as it has, a float with as few digits as tell it from others.
///
/// # Errors
/// If a type cannot be written.
pub fn texts(records: &RecordBatch) -> Result<Vec<Vec<String>>, arrow::error::ArrowError> {
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.f%:z"));
    let columns = (records.columns().iter())
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    (0..records.num_rows())
        .map(|row| {
            (columns.iter())
                .map(|column| {
                    let text = column.value(row).try_to_string()?;
                    Ok(if text.is_empty() {
                        "(empty)".into()
                    } else {
                        text
                    })
                })
                .collect()
        })
        .collect()
}

/// The cell of a column as a plain value; a time is its number of ticks.
///
/// # Panics
/// On a type that no aggregate of the oracle gives.
pub fn cell(column: &dyn Array, row: usize) -> Cell {
    use arrow::datatypes as t;
    if column.is_null(row) {
        return Cell::Null;
    }
    macro_rules! int {
        ($type:ty) => {
            Cell::Int(column.as_primitive::<$type>().value(row) as i64)
        };
    }
    match column.data_type() {
        DataType::Int32 => int!(t::Int32Type),
        DataType::Int64 => int!(t::Int64Type),
        DataType::UInt64 => int!(t::UInt64Type),
        DataType::Float64 => Cell::Float(column.as_primitive::<t::Float64Type>().value(row)),
        DataType::Boolean => Cell::Bool(column.as_boolean().value(row)),
        DataType::Utf8 => Cell::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Cell::Text(column.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Cell::Text(column.as_string_view().value(row).to_owned()),
        DataType::Timestamp(t::TimeUnit::Second, _) => int!(t::TimestampSecondType),
        DataType::Timestamp(t::TimeUnit::Millisecond, _) => int!(t::TimestampMillisecondType),
        DataType::Timestamp(t::TimeUnit::Microsecond, _) => int!(t::TimestampMicrosecondType),
        DataType::Timestamp(t::TimeUnit::Nanosecond, _) => int!(t::TimestampNanosecondType),
        other => panic!("the oracle knows no {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    };
    use std::sync::Arc;

    #[test]
    fn cells_as_text() {
        let columns: [(&str, ArrayRef); 4] = [
            ("us", Arc::new(TimestampMicrosecondArray::from(vec![0, -1]))),
            (
                "ms",
                Arc::new(TimestampMillisecondArray::from(vec![0, 1_500]).with_timezone("+08:00")),
            ),
            ("v", Arc::new(Float64Array::from(vec![Some(1.0), None]))),
            ("k", Arc::new(StringArray::from(vec!["", "a"]))),
        ];
        let records = RecordBatch::try_from_iter(columns).expect("columns of one length");
        assert_eq!(
            texts(&records).expect("texts"),
            [
                [
                    "1970-01-01T00:00:00",
                    "1970-01-01T08:00:00+08:00",
                    "1.0",
                    "(empty)"
                ],
                [
                    "1969-12-31T23:59:59.999999",
                    "1970-01-01T08:00:01.500+08:00",
                    "NULL",
                    "a"
                ],
            ]
        );
        assert_eq!(cell(records.column(0), 1), Cell::Int(-1));
        assert_eq!(cell(records.column(2), 1), Cell::Null);
    }
}
