//! Reading a text whole, for tests.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions as Display};
use windrow_core::stream::Reject;

use super::options::{Format, FormatOptions};
use super::rows::RowShape;
use super::text::{TextFormat, TextReader};
use crate::error::Result;

/// Columns by name and type.
pub(crate) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<Field> = (columns.iter())
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// TIMESTAMP.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

pub(crate) fn text_format(format: Format, options: &FormatOptions) -> TextFormat {
    TextFormat {
        format,
        options: Arc::new(options.clone()),
        delimiter: options.delimiter.unwrap_or(b','),
    }
}

/// All rows of a text, cut into chunks of `chunk_bytes`, and those that are rejected.
pub(crate) fn try_read(
    text: &[u8],
    format: Format,
    options: &FormatOptions,
    schema: &SchemaRef,
    chunk_bytes: usize,
) -> Result<(RecordBatch, Vec<Reject>)> {
    let format = text_format(format, options);
    let shape = RowShape {
        schema: schema.clone(),
        times: options.timestamp_format.clone().map(Arc::new),
        file: "f".into(),
        batch_rows: 100,
        line_bytes_max: options.line_bytes_max,
    };
    let chunks = format.chunks(text, chunk_bytes, false)?;
    let mut reader = TextReader::new(chunks, format, shape);
    let (mut batches, mut rejects) = (Vec::new(), Vec::new());
    while let Some((chunk, parser)) = reader.next()? {
        parser.parse(&chunk, &mut |piece| {
            assert!(piece.records.num_rows() <= 100);
            batches.push(piece.records);
            rejects.extend(piece.rejected);
            ControlFlow::Continue(())
        })?;
    }
    let records = concat_batches(schema, &batches).expect("batches of one schema");
    Ok((records, rejects))
}

/// As [`try_read`], of a text that can be read.
pub(crate) fn read(
    text: impl AsRef<[u8]>,
    format: Format,
    options: &FormatOptions,
    schema: &SchemaRef,
) -> (RecordBatch, Vec<Reject>) {
    let text = text.as_ref();
    let whole = try_read(text, format, options, schema, 1 << 20).expect("it can be read");
    for chunk_bytes in [1, 7] {
        let cut = try_read(text, format, options, schema, chunk_bytes).expect("it can be read");
        assert_eq!(cut, whole, "chunks of {chunk_bytes} bytes");
    }
    whole
}

/// The rows as text, fields between bars, NULL as a dash.
pub(crate) fn shown(records: &RecordBatch) -> Vec<String> {
    let options = Display::new().with_null("-");
    let columns: Vec<ArrayFormatter<'_>> = (records.columns().iter())
        .map(|column| ArrayFormatter::try_new(column, &options).expect("it can be shown"))
        .collect();
    (0..records.num_rows())
        .map(|row| {
            let fields: Vec<String> = (columns.iter())
                .map(|column| column.value(row).to_string())
                .collect();
            fields.join("|")
        })
        .collect()
}

/// Position, rule and reason of each reject.
pub(crate) fn reasons(rejects: &[Reject]) -> Vec<String> {
    (rejects.iter())
        .map(|reject| format!("{} {}: {}", reject.position, reject.rule, reject.reason))
        .collect()
}
