//! Comma-separated values, RFC 4180 with lines that end in `\n`.
//!
//! NULL is the text of `null_value`, never quoted; a value that reads like it, and an
//! empty one, is quoted, so that the two are told apart when they are read back.

use std::io::Write;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::cell::{Cells, plain};
use super::json::json_options;
use super::options::EncodeOptions;
use super::{Encoder, io_error};
use crate::error::Result;

/// Writes CSV.
#[derive(Debug)]
pub(super) struct CsvEncoder {
    schema: SchemaRef,
    header_due: bool,
    delimiter: u8,
    quote: u8,
    null_value: Vec<u8>,
    buffer: Vec<u8>,
}

impl CsvEncoder {
    pub(super) fn new(options: &EncodeOptions, schema: &SchemaRef) -> Self {
        Self {
            schema: schema.clone(),
            header_due: options.header,
            delimiter: options.delimiter,
            quote: options.quote,
            null_value: options.null_value.clone().into_bytes(),
            buffer: Vec::new(),
        }
    }

    fn header(&mut self) {
        if std::mem::take(&mut self.header_due) {
            for (index, field) in self.schema.clone().fields().iter().enumerate() {
                if index > 0 {
                    self.buffer.push(self.delimiter);
                }
                let start = self.buffer.len();
                self.buffer.extend(field.name().as_bytes());
                self.quote_from(start);
            }
            self.buffer.push(b'\n');
        }
    }

    /// Puts quotes around what was appended since `start`, if it needs them.
    fn quote_from(&mut self, start: usize) {
        let value = &self.buffer[start..];
        let special = |byte: &u8| {
            *byte == self.delimiter || *byte == self.quote || matches!(byte, b'\n' | b'\r')
        };
        if value.is_empty() || *value == *self.null_value || value.iter().any(special) {
            let value = self.buffer.split_off(start);
            self.buffer.push(self.quote);
            for byte in value {
                if byte == self.quote {
                    self.buffer.push(byte);
                }
                self.buffer.push(byte);
            }
            self.buffer.push(self.quote);
        }
    }

    fn send(&mut self, out: &mut dyn Write) -> Result<()> {
        let sent = out.write_all(&self.buffer).map_err(io_error);
        self.buffer.clear();
        sent
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        self.header();
        let schema = records.schema();
        let columns = plain(records)?;
        let json = json_options();
        let mut cells = (columns.iter().zip(schema.fields()))
            .map(|(column, field)| Cells::of(field, column, &json))
            .collect::<Result<Vec<_>>>()?;
        let nulls: Vec<_> = columns
            .iter()
            .map(|column| column.logical_nulls())
            .collect();
        for row in 0..records.num_rows() {
            for (index, cell) in cells.iter_mut().enumerate() {
                if index > 0 {
                    self.buffer.push(self.delimiter);
                }
                if nulls[index]
                    .as_ref()
                    .is_some_and(|nulls| nulls.is_null(row))
                {
                    self.buffer.extend(&self.null_value);
                } else {
                    let start = self.buffer.len();
                    cell.write(row, &mut self.buffer)?;
                    self.quote_from(start);
                }
            }
            self.buffer.push(b'\n');
        }
        self.send(out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        self.header();
        self.send(out)
    }
}
