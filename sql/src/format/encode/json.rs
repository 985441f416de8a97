//! JSON: one array of objects, or one object a line.
//!
//! NULL, NaN and the infinities are `null`, and every key is there in every row. Times
//! and floats are written as everywhere else; nested values are objects and arrays.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder as ValueEncoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder,
};

use super::cell::{Times, unwritable};
use super::{Encoder, io_error};
use crate::error::Result;

/// Writes JSON.
#[derive(Debug)]
pub(super) struct JsonEncoder {
    array: bool,
    rows: u64,
    options: EncoderOptions,
    buffer: Vec<u8>,
}

impl JsonEncoder {
    /// `array`: one array rather than lines.
    pub(super) fn new(array: bool) -> Self {
        Self {
            array,
            rows: 0,
            options: json_options(),
            buffer: Vec::new(),
        }
    }

    fn send(&mut self, out: &mut dyn Write) -> Result<()> {
        let sent = out.write_all(&self.buffer).map_err(io_error);
        self.buffer.clear();
        sent
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        let object = StructArray::from(records.clone());
        let field: FieldRef = Arc::new(Field::new("", object.data_type().clone(), false));
        let mut encoder = make_encoder(&field, &object, &self.options).map_err(unwritable)?;
        for row in 0..records.num_rows() {
            if self.array {
                let before: &[u8] = if self.rows == 0 { b"[\n" } else { b",\n" };
                self.buffer.extend(before);
            }
            encoder.encode(row, &mut self.buffer);
            if !self.array {
                self.buffer.push(b'\n');
            }
            self.rows += 1;
        }
        drop(encoder);
        self.send(out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        if self.array {
            let end: &[u8] = if self.rows == 0 { b"[]\n" } else { b"\n]\n" };
            self.buffer.extend(end);
        }
        self.send(out)
    }
}

/// How values are written as JSON here and inside the cells of other formats.
pub(super) fn json_options() -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Values))
}

/// Floats and times as everywhere else, in place of Arrow's own.
#[derive(Debug)]
struct Values;

impl EncoderFactory for Values {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn ValueEncoder + 'a> = match array.data_type() {
            DataType::Float32 => Box::new(Floats(array.as_primitive::<Float32Type>().values())),
            DataType::Float64 => Box::new(Floats(array.as_primitive::<Float64Type>().values())),
            DataType::Timestamp(..) => Box::new(
                Times::of(array).map_err(|error| ArrowError::ExternalError(Box::new(error)))?,
            ),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Floats<'a, T>(&'a [T]);

impl<T: ryu::Float + Into<f64>> ValueEncoder for Floats<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0[row];
        if value.into().is_finite() {
            out.extend(ryu::Buffer::new().format_finite(value).as_bytes());
        } else {
            out.extend(b"null");
        }
    }
}

impl ValueEncoder for Times<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        self.write(row, out);
        out.push(b'"');
    }
}
