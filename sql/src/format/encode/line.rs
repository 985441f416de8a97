//! InfluxDB line protocol: `measurement,tag=a field=1.5,n=3i 1767225600000000000`.
//!
//! Strings are tags, everything else is a field, and the time is in nanoseconds. A
//! NULL, an empty tag, NaN and the infinities have no form here and are left out. As
//! in Telegraf, a line break in a tag is written as `\n`, and the backslashes at its
//! end, which would swallow what follows, are dropped.

use std::io::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use windrow_core::time;

use super::cell::{Cells, plain, plain_type};
use super::json::json_options;
use super::options::EncodeOptions;
use super::{Encoder, io_error};
use crate::error::{Error, ErrorKind, Result, nearest};

/// Writes line protocol.
#[derive(Debug)]
pub(super) struct LineEncoder {
    measurement: Vec<u8>,
    time: Option<usize>,
    columns: Vec<Column>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Column {
    index: usize,
    key: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Tag,
    /// A number that is written as it is, with the letter after it.
    Number(&'static str),
    Boolean,
    /// Anything else: a text in quotes.
    Text,
}

impl LineEncoder {
    /// # Errors
    /// If the column of the time is unknown or holds no times, or no field is left.
    pub(super) fn new(options: &EncodeOptions, schema: &SchemaRef) -> Result<Self> {
        let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
        let time = match &options.time_column {
            Some(name) => {
                let Some((index, field)) = schema.column_with_name(name) else {
                    let names = schema.fields().iter().map(|field| field.name().as_str());
                    let error = Error::new(
                        ErrorKind::Option,
                        format!("option time_column is '{name}', which is no column of the rows"),
                    );
                    return Err(match nearest(name, names) {
                        Some(meant) => error.help(format!("did you mean '{meant}'?")),
                        None => error,
                    });
                };
                if !is_time(field.data_type()) {
                    return Err(Error::new(
                        ErrorKind::Option,
                        format!(
                            "option time_column is '{name}', a column of {}, but must be a timestamp",
                            field.data_type()
                        ),
                    ));
                }
                Some(index)
            }
            None => (schema.fields().iter()).position(|field| is_time(field.data_type())),
        };
        let columns: Vec<_> = (schema.fields().iter().enumerate())
            .filter(|(index, _)| Some(*index) != time)
            .map(|(index, field)| {
                let data_type = field.data_type();
                let data_type = plain_type(data_type).unwrap_or_else(|| data_type.clone());
                let mut key = Vec::new();
                escape(field.name().as_bytes(), &mut key);
                let kind = kind(&data_type);
                Column { index, key, kind }
            })
            .collect();
        if columns.iter().all(|column| column.kind == Kind::Tag) {
            return Err(Error::new(
                ErrorKind::Data,
                "line protocol needs a field, but every column is a text or the time",
            )
            .help("select a number or a boolean too, such as count(*)"));
        }
        let mut measurement = Vec::new();
        escape(options.measurement.as_bytes(), &mut measurement);
        Ok(Self {
            measurement,
            time,
            columns,
            buffer: Vec::new(),
        })
    }
}

fn kind(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Tag,
        DataType::Boolean => Kind::Boolean,
        data_type if data_type.is_signed_integer() => Kind::Number("i"),
        data_type if data_type.is_unsigned_integer() => Kind::Number("u"),
        data_type if data_type.is_floating() => Kind::Number(""),
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Kind::Number(""),
        _ => Kind::Text,
    }
}

/// Appends a measurement, a key or the value of a tag.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    let end = text
        .iter()
        .rposition(|byte| *byte != b'\\')
        .map_or(0, |last| last + 1);
    for byte in &text[..end] {
        match byte {
            b',' | b'=' | b' ' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            byte => out.push(*byte),
        }
    }
}

impl Encoder for LineEncoder {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        let schema = records.schema();
        let columns = plain(records)?;
        let json = json_options();
        let mut cells = (self.columns.iter())
            .map(|column| {
                Cells::of(
                    &schema.fields()[column.index],
                    &columns[column.index],
                    &json,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let times = match self.time {
            Some(index) => {
                let array = &columns[index];
                let per_tick = time::nanos_per_tick(time::time_unit(array.data_type())?);
                Some((time::ticks(array)?, per_tick))
            }
            None => None,
        };
        let nulls: Vec<_> = (columns.iter())
            .map(|column| column.logical_nulls())
            .collect();
        let is_null = |column: &Column, row| {
            (nulls[column.index].as_ref()).is_some_and(|nulls: &NullBuffer| nulls.is_null(row))
        };
        let mut value = Vec::new();
        for row in 0..records.num_rows() {
            self.buffer.extend(&self.measurement);
            let tags = (self.columns.iter().zip(&mut cells))
                .filter(|(column, _)| column.kind == Kind::Tag);
            for (column, cell) in tags {
                if is_null(column, row) {
                    continue;
                }
                value.clear();
                cell.write(row, &mut value)?;
                let start = self.buffer.len();
                self.buffer.push(b',');
                self.buffer.extend(&column.key);
                self.buffer.push(b'=');
                let before = self.buffer.len();
                escape(&value, &mut self.buffer);
                if self.buffer.len() == before {
                    self.buffer.truncate(start);
                }
            }
            let mut separator = b' ';
            let fields = (self.columns.iter().zip(&mut cells))
                .filter(|(column, _)| column.kind != Kind::Tag);
            for (column, cell) in fields {
                let array = &columns[column.index];
                if is_null(column, row) {
                    continue;
                }
                value.clear();
                match column.kind {
                    Kind::Boolean => {
                        let text: &[u8] = match array.as_boolean().value(row) {
                            true => b"true",
                            false => b"false",
                        };
                        value.extend(text);
                    }
                    Kind::Number(letter) => {
                        cell.write(row, &mut value)?;
                        if matches!(value.as_slice(), b"NaN" | b"inf" | b"-inf") {
                            continue;
                        }
                        value.extend(letter.as_bytes());
                    }
                    Kind::Text | Kind::Tag => {
                        let mut text = Vec::new();
                        cell.write(row, &mut text)?;
                        value.push(b'"');
                        for byte in text {
                            if matches!(byte, b'"' | b'\\') {
                                value.push(b'\\');
                            }
                            value.push(byte);
                        }
                        value.push(b'"');
                    }
                }
                self.buffer.push(separator);
                separator = b',';
                self.buffer.extend(&column.key);
                self.buffer.push(b'=');
                self.buffer.extend(&value);
            }
            if separator == b' ' {
                return Err(Error::new(
                    ErrorKind::Data,
                    "a row has no field that line protocol can hold: all are NULL, NaN or infinite",
                )
                .help("select a column that is never NULL too, such as count(*)"));
            }
            if let Some(((ticks, nulls), per_tick)) = times
                && nulls.is_none_or(|nulls| nulls.is_valid(row))
            {
                let nanos = ticks[row].checked_mul(per_tick).ok_or_else(|| {
                    Error::new(ErrorKind::Data, "a time lies beyond 64 bits of nanoseconds")
                        .help("line protocol holds the years from 1677 to 2262")
                })?;
                write!(self.buffer, " {nanos}").map_err(io_error)?;
            }
            self.buffer.push(b'\n');
        }
        let sent = out.write_all(&self.buffer).map_err(io_error);
        self.buffer.clear();
        sent
    }

    fn finish(&mut self, _out: &mut dyn Write) -> Result<()> {
        Ok(())
    }
}
