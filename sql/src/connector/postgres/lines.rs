//! Rows as lines of COPY: columns apart by tabulators, NULL as `\N`.
//!
//! Numbers are written with all their digits, times with the digits of their unit. PostgreSQL
//! rounds nanoseconds to its microseconds.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};

use crate::error::{Error, ErrorKind, Result};

/// How much of a value is shown, in characters.
const SHOWN_CHARS: usize = 32;

/// Rows that no table of PostgreSQL can hold.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// How many they are.
    pub(super) rows: u64,
    /// Of the first one: why, and what helps.
    pub(super) first: Option<(String, String)>,
}

impl LeftOut {
    /// What an error for `others` tells of these rows, if there are any.
    pub(super) fn told(&self, others: u64) -> Option<String> {
        let (why, _) = self.first.as_ref()?;
        let first = match self.rows {
            1 => "",
            _ => "the first: ",
        };
        Some(match others {
            0 => format!("; none of them could be: {first}{why}"),
            _ => format!("; {} of them could not be: {first}{why}", self.rows),
        })
    }
}

/// Appends the rows to `lines`, and counts those that cannot be. How many were appended.
///
/// # Errors
/// If a column has no lines: a bug.
pub(super) fn append(
    records: &RecordBatch,
    lines: &mut Vec<u8>,
    left_out: &mut LeftOut,
) -> Result<usize> {
    let columns: Vec<ArrayRef> = (records.columns().iter())
        .map(plain)
        .collect::<Result<_>>()?;
    let options = FormatOptions::new().with_display_error(false);
    let cells: Vec<Cells<'_>> = (columns.iter())
        .map(|column| Cells::of(column, &options))
        .collect::<Result<_>>()?;
    let schema = records.schema();
    let (mut text, mut appended) = (String::new(), 0);
    'rows: for row in 0..records.num_rows() {
        let start = lines.len();
        for (number, (cells, column)) in cells.iter().zip(&columns).enumerate() {
            if number > 0 {
                lines.push(b'\t');
            }
            if column.is_null(row) {
                lines.extend_from_slice(b"\\N");
                continue;
            }
            text.clear();
            let written = cells.write(row, &mut text);
            if written.is_none() || text.contains('\0') {
                lines.truncate(start);
                left_out.rows += 1;
                let name = schema.field(number).name();
                left_out.first.get_or_insert_with(|| match written {
                    None => no_time(name),
                    Some(()) => nul(name, &text),
                });
                continue 'rows;
            }
            escape(&text, lines);
        }
        lines.push(b'\n');
        appended += 1;
    }
    Ok(appended)
}

fn no_time(name: &str) -> (String, String) {
    let why = format!("a value of column \"{name}\" is no time that can be written");
    let help = "leave such rows out by WHERE, or write the number: to_unixtime";
    (why, help.to_owned())
}

fn nul(name: &str, text: &str) -> (String, String) {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let shown = shown.escape_debug();
    let why = format!(
        "'{shown}' of column \"{name}\" holds the character U+0000, which no text of PostgreSQL can"
    );
    let help = format!("write it without: regexp_replace({name}, '\\x00', '', 'g') AS {name}");
    (why, help)
}

/// Columns of as few types as will do.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    use DataType as T;
    let kind = match column.data_type() {
        T::Dictionary(_, values) => {
            let values = cast(column, values).map_err(unwritable)?;
            return plain(&values);
        }
        T::LargeUtf8 | T::Utf8View | T::Null => T::Utf8,
        T::Float16 => T::Float32,
        T::Date64 => T::Date32,
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        _ => return Ok(Arc::clone(column)),
    };
    cast(column, &kind).map_err(unwritable)
}

fn unwritable(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "rows cannot be written as lines").caused_by(error)
}

/// One column.
enum Cells<'a> {
    Text(&'a arrow::array::StringArray),
    Bytes(&'a arrow::array::BinaryArray),
    Float(&'a arrow::array::Float64Array),
    Single(&'a arrow::array::Float32Array),
    Date(&'a arrow::array::Date32Array),
    /// A time, and whether it has a zone.
    Time(&'a ArrayRef, TimeUnit, bool),
    Other(ArrayFormatter<'a>),
}

impl<'a> Cells<'a> {
    fn of(column: &'a ArrayRef, options: &FormatOptions<'a>) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::Utf8 => Self::Text(column.as_string()),
            DataType::Binary => Self::Bytes(column.as_binary()),
            DataType::Float64 => Self::Float(column.as_primitive::<Float64Type>()),
            DataType::Float32 => Self::Single(column.as_primitive::<Float32Type>()),
            DataType::Date32 => Self::Date(column.as_primitive()),
            DataType::Timestamp(unit, zone) => Self::Time(column, *unit, zone.is_some()),
            _ => Self::Other(ArrayFormatter::try_new(column, options).map_err(unwritable)?),
        })
    }

    /// Writes a value that is not NULL; `None` if it cannot be.
    fn write(&self, row: usize, text: &mut String) -> Option<()> {
        match self {
            Self::Text(column) => text.push_str(column.value(row)),
            Self::Bytes(column) => {
                text.push_str("\\x");
                for byte in column.value(row) {
                    write!(text, "{byte:02x}").ok()?;
                }
            }
            Self::Float(column) => text.push_str(float(&mut ryu::Buffer::new(), column.value(row))),
            Self::Single(column) => {
                text.push_str(float(&mut ryu::Buffer::new(), column.value(row)))
            }
            Self::Date(column) => {
                let date = NaiveDate::from_epoch_days(column.value(row))?;
                day(date, text)?;
                era(date, text);
            }
            Self::Time(column, unit, has_zone) => {
                let time = instant(column, *unit, row)?;
                day(time.date(), text)?;
                write!(text, " {}", time.format("%H:%M:%S%.f")).ok()?;
                if *has_zone {
                    text.push_str("+00");
                }
                era(time.date(), text);
            }
            Self::Other(column) => write!(text, "{}", column.value(row)).ok()?,
        }
        Some(())
    }
}

/// The shortest digits that give the number back.
fn float<F: ryu::Float + Into<f64> + Copy>(buffer: &mut ryu::Buffer, value: F) -> &str {
    let wide: f64 = value.into();
    match () {
        () if wide.is_nan() => "NaN",
        () if wide == f64::INFINITY => "Infinity",
        () if wide == f64::NEG_INFINITY => "-Infinity",
        () => buffer.format_finite(value),
    }
}

/// Ticks of a column, in UTC.
fn instant(column: &ArrayRef, unit: TimeUnit, row: usize) -> Option<NaiveDateTime> {
    let time = match unit {
        TimeUnit::Second => {
            let ticks = column.as_primitive::<TimestampSecondType>().value(row);
            DateTime::from_timestamp(ticks, 0)
        }
        TimeUnit::Millisecond => {
            let ticks = column.as_primitive::<TimestampMillisecondType>().value(row);
            DateTime::from_timestamp_millis(ticks)
        }
        TimeUnit::Microsecond => {
            let ticks = column.as_primitive::<TimestampMicrosecondType>().value(row);
            DateTime::from_timestamp_micros(ticks)
        }
        TimeUnit::Nanosecond => {
            let ticks = column.as_primitive::<TimestampNanosecondType>().value(row);
            Some(DateTime::from_timestamp_nanos(ticks))
        }
    };
    time.map(|time| time.naive_utc())
}

/// The year 0 is 1 BC, which is how PostgreSQL counts.
fn day(date: NaiveDate, text: &mut String) -> Option<()> {
    let year = match date.year() {
        year if year > 0 => year,
        year => 1 - year,
    };
    write!(text, "{year:04}-{:02}-{:02}", date.month(), date.day()).ok()
}

fn era(date: NaiveDate, text: &mut String) {
    if date.year() <= 0 {
        text.push_str(" BC");
    }
}

fn escape(text: &str, lines: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => lines.extend_from_slice(b"\\\\"),
            b'\t' => lines.extend_from_slice(b"\\t"),
            b'\n' => lines.extend_from_slice(b"\\n"),
            b'\r' => lines.extend_from_slice(b"\\r"),
            byte => lines.push(byte),
        }
    }
}
