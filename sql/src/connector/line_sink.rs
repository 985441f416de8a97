//! What sinks over sockets have in common: they write rows as lines.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;
use crate::format::encode::setting::{Settings, unfit};
use crate::format::encode::{Compression, EncodeOptions, OutputFormat, encoder};

/// How rows are written as lines.
#[derive(Debug, Clone)]
pub(super) struct LineFormat {
    format: OutputFormat,
    encode: EncodeOptions,
}

impl LineFormat {
    /// Takes the options of the format.
    ///
    /// # Errors
    /// If one is missing or does not fit.
    pub(super) fn take(connector: &str, settings: &mut Settings<'_>) -> Result<Self> {
        const ALLOWED: &str = "ndjson, csv or line";
        let Some(word) = settings.text("format") else {
            let message = format!("a sink over {connector} needs the option format");
            return Err(Error::new(ErrorKind::Option, message).help(format!("it writes {ALLOWED}")));
        };
        let format: OutputFormat = word.parse()?;
        if !matches!(
            format,
            OutputFormat::Ndjson | OutputFormat::Csv | OutputFormat::Line
        ) {
            return Err(unfit("format", word, ALLOWED));
        }
        let encode = EncodeOptions::take(settings)?;
        if (encode.compression).is_some_and(|compression| compression != Compression::None) {
            let message = format!("a sink over {connector} writes no compressed bytes");
            return Err(
                Error::new(ErrorKind::Option, message).help("leave the option compression out")
            );
        }
        Ok(Self { format, encode })
    }

    /// Whether lines of CSV follow a line of names.
    pub(super) fn has_header(&self) -> bool {
        self.format == OutputFormat::Csv && self.encode.header
    }

    /// The line of names; nothing if there is none.
    ///
    /// # Errors
    /// If the format cannot hold the rows.
    pub(super) fn header(&self, schema: &SchemaRef) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        encoder(self.format, &self.encode, schema)?.finish(&mut bytes)?;
        Ok(bytes)
    }

    /// What writes rows, without a header.
    ///
    /// # Errors
    /// If the format cannot hold the rows.
    pub(super) fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        let encode = EncodeOptions {
            header: false,
            ..self.encode.clone()
        };
        encoder(self.format, &encode, schema)
    }
}

/// Rows as text, each by itself: gives them with where each ends.
///
/// # Errors
/// If a value cannot be written.
pub(super) fn encode_rows(
    encoder: &mut dyn Encoder,
    records: &RecordBatch,
) -> Result<(Vec<u8>, Vec<usize>)> {
    let mut bytes = Vec::new();
    encoder.encode(records, &mut bytes)?;
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', &bytes)
        .map(|at| at + 1)
        .collect();
    if ends.len() == records.num_rows() {
        return Ok((bytes, ends));
    }
    // A value holds a line end: only rows written one by one are told apart.
    bytes.clear();
    let mut ends = Vec::with_capacity(records.num_rows());
    for row in 0..records.num_rows() {
        encoder.encode(&records.slice(row, 1), &mut bytes)?;
        ends.push(bytes.len());
    }
    Ok((bytes, ends))
}
