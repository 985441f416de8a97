//! Encoders: record batches to the bytes of a format.
//!
//! An encoder is given rows of one schema and a writer, batch by batch, and closes the
//! output at the end. It knows no file and no terminal. Without any rows the output is
//! still whole: a header, an empty array, a footer.

pub(crate) mod setting;

mod options;

mod cell;
mod arrow_ipc;
mod compress;
mod parquet_file;

mod json;
mod line;

mod csv;
mod vertical;
mod grid;

use std::collections::HashSet;

use arrow::datatypes::SchemaRef;

pub use options::{Compression, EncodeOptions, OutputFormat};

use super::Encoder;
use crate::error::{Error, ErrorKind, Result};

/// An encoder of `format` for rows of `schema`.
///
/// # Errors
/// Of kind [`ErrorKind::Option`] if the format cannot be packed as `options` ask;
/// otherwise if the format cannot hold a column's type.
pub fn encoder(
    format: OutputFormat,
    options: &EncodeOptions,
    schema: &SchemaRef,
) -> Result<Box<dyn Encoder>> {
    if let OutputFormat::Json | OutputFormat::Ndjson | OutputFormat::Parquet = format {
        refuse_twins(format, schema)?;
    }
    let text: Box<dyn Encoder> = match format {
        OutputFormat::Arrow => return arrow_ipc::arrow_encoder(options, schema),
        OutputFormat::Parquet => {
            return Ok(Box::new(parquet_file::ParquetEncoder::new(
                options, schema,
            )?));
        }
        OutputFormat::Csv => Box::new(csv::CsvEncoder::new(options, schema)),
        OutputFormat::Json => Box::new(json::JsonEncoder::new(true)),
        OutputFormat::Ndjson => Box::new(json::JsonEncoder::new(false)),
        OutputFormat::Line => Box::new(line::LineEncoder::new(options, schema)?),
        OutputFormat::Table => Box::new(grid::TableEncoder::new(options, schema)),
        OutputFormat::Markdown => Box::new(grid::MarkdownEncoder::new(options, schema)),
    };
    compress::packed(text, format, options.compression)
}

/// Readers of some formats see only one of two columns of one name.
fn refuse_twins(format: OutputFormat, schema: &SchemaRef) -> Result<()> {
    let mut names = HashSet::new();
    let twin = (schema.fields().iter()).find(|field| !names.insert(field.name()));
    match twin {
        None => Ok(()),
        Some(field) => Err(Error::new(
            ErrorKind::Plan,
            format!(
                "two columns are named {}, which {format} cannot hold",
                field.name()
            ),
        )
        .help(format!(
            "give one of them another name: {} AS …",
            field.name()
        ))),
    }
}

/// The error of a writer, which keeps the operating system's answer as its cause.
fn io_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write the output: {error}")).caused_by(error)
}

#[cfg(test)]
mod tests;
