//! InfluxDB line protocol: lines to rows, directed by the schema.
//!
//! ```text
//! measurement,tag=a,… field=1.5,n=3i,u=4u,ok=t,s="text" 1767225600000000000
//! ```
//!
//! - Tags and fields are columns by their key, found as those of JSON; of a key that
//!   stands twice the last counts. The measurement is the column `measurement`, the time
//!   the column `time_column`, which is `time` if it is not given.
//! - The time is in nanoseconds; one that is finer than the column's unit is cut towards
//!   the past. A line without a time has NULL there.
//! - Numbers go into numeric columns, strings into times and text. A column of text takes
//!   any value, a tag goes into any column that its text fits.
//! - `\` takes the meaning from a comma, an equals sign or a blank after it in names and
//!   tags, from a quote or a backslash in strings; else it is text. Blank lines and those
//!   that begin with `#` are no rows.
//! - A string ends on its line. One that holds a line feed, as InfluxDB allows, is cut
//!   there: the line that it begins on is rejected, and the others are read as lines of
//!   their own. Text from people who may write what they like is not to be read so.

mod grammar;

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use memchr::memchr;

use self::grammar::{
    Broken, Scalar, measurement_end, name_end, scalar, string_end, unescape, unescape_string,
};
use super::chunk::{Chunk, ChunkParser, Shape};
use super::column::{Column, Takes, type_name};
use super::keys::{KeyOrder, Meaning};
use super::names::find;
use super::number::{Fault, parse_i64};
use super::rows::{Piece, RowFault, RowShape, Rows};
use crate::error::{Error, ErrorKind, Result};

pub(super) use self::grammar::{Sampled, members};

/// The column of the measurement.
pub(super) const MEASUREMENT_COLUMN: &str = "measurement";

/// The column of the time, if no other is named.
pub(super) const TIME_COLUMN: &str = "time";

/// How the times of lines are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineTimes {
    /// How many nanoseconds one of their units is.
    pub(crate) unit_ns: i64,
    /// The time of a line that has none, in nanoseconds since the epoch; `None`: NULL.
    pub(crate) arrival_ns: Option<i64>,
}

impl Default for LineTimes {
    fn default() -> Self {
        Self {
            unit_ns: 1,
            arrival_ns: None,
        }
    }
}

/// The measurement of a line without the blanks around it, as far as it has one.
pub(crate) fn measurement_of<'s>(line: &[u8], scratch: &'s mut Vec<u8>) -> &'s [u8] {
    let (end, _) = measurement_end(line);
    unescape(&line[..end], scratch)
}

/// Whether a line, without the blanks around it, holds no row.
pub(crate) fn is_no_row(line: &[u8]) -> bool {
    matches!(line.first(), None | Some(b'#'))
}

/// Why a row is not accepted.
#[derive(Debug)]
enum Stop {
    Broken(Broken),
    /// The text between two places does not fit the column.
    Value(usize, usize, usize, Fault),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Reads the rows of lines.
#[derive(Debug)]
pub(crate) struct LineParser {
    shape: RowShape,
    measurement: Option<usize>,
    time: Option<usize>,
    times: LineTimes,
}

/// What parsing a chunk works with.
#[derive(Debug, Default)]
struct Work {
    order: KeyOrder,
    /// A text without its escapes.
    scratch: Vec<u8>,
}

impl LineParser {
    /// A parser for the columns of `shape`; `time_column` names that of the time.
    ///
    /// # Errors
    /// If a column cannot be read from a line.
    pub(crate) fn new(shape: RowShape, time_column: Option<&str>) -> Result<Self> {
        Rows::new(&shape)?;
        let fields = shape.schema.fields();
        let nested =
            |data_type: &DataType| matches!(data_type, DataType::Struct(_) | DataType::List(_));
        if let Some(field) = fields.iter().find(|field| nested(field.data_type())) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "column {} is a {}, which line protocol cannot hold",
                    field.name(),
                    type_name(field.data_type())
                ),
            ));
        }
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        Ok(Self {
            measurement: find(&names, MEASUREMENT_COLUMN),
            time: find(&names, time_column.unwrap_or(TIME_COLUMN)),
            times: LineTimes::default(),
            shape,
        })
    }

    /// Reads times as `times` says.
    pub(crate) fn timed(mut self, times: LineTimes) -> Self {
        self.times = times;
        self
    }

    #[cold]
    fn meaning(&self, key: &[u8]) -> Meaning {
        let names = || {
            self.shape
                .schema
                .fields()
                .iter()
                .map(|field| field.name().as_bytes())
        };
        if let Some(index) = names().position(|name| name == key) {
            return Meaning::Column(index);
        }
        let mut alike = names()
            .enumerate()
            .filter(|(_, name)| name.eq_ignore_ascii_case(key));
        match (alike.next(), alike.next()) {
            (Some((index, _)), None) => Meaning::Alike(index),
            _ => Meaning::Ignored,
        }
    }

    /// Reads the key at `at`, after which its value stands, and gives its column.
    #[inline]
    fn key(
        &self,
        line: &[u8],
        at: &mut usize,
        rows: &Rows<'_>,
        work: &mut Work,
    ) -> Result<Option<usize>, Stop> {
        let meaning = match work.order.expected(&line[*at..]) {
            Some((meaning, len)) => {
                *at += len;
                meaning
            }
            None => self.other_key(line, at, work)?,
        };
        Ok(match meaning {
            Meaning::Column(index) => Some(index),
            Meaning::Alike(index) if rows.columns[index].len() == rows.len() => Some(index),
            _ => None,
        })
    }

    #[cold]
    fn other_key(&self, line: &[u8], at: &mut usize, work: &mut Work) -> Result<Meaning, Stop> {
        let (end, _) = name_end(line, *at);
        if end == *at {
            return Err(Broken(end, "a key").into());
        }
        if line.get(end) != Some(&b'=') {
            return Err(Broken(end, "'='").into());
        }
        let key = &line[*at..end];
        *at = end + 1;
        let scratch = &mut work.scratch;
        work.order
            .other(key, b'=', || Ok(self.meaning(unescape(key, scratch))))
    }

    /// Appends the tag between two places.
    #[inline]
    fn tag(
        rows: &mut Rows<'_>,
        index: usize,
        line: &[u8],
        (start, end, escaped): (usize, usize, bool),
        scratch: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let column = column(rows, index);
        if column.is_text() && !escaped {
            column.append_piece(line, start, end);
            return Ok(());
        }
        let text = match escaped {
            true => unescape(&line[start..end], scratch),
            false => &line[start..end],
        };
        (column.append_text(text)).map_err(|fault| Stop::Value(index, start, end, fault))
    }

    /// Reads the value of a field at `start`, and gives its end.
    #[inline]
    fn field(
        rows: &mut Rows<'_>,
        index: Option<usize>,
        line: &[u8],
        start: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<usize, Stop> {
        if let Some(index) = index {
            let column = column(rows, index);
            let ends = |at: usize| matches!(line.get(at), None | Some(b',' | b' '));
            if let Some(end) = column.scan_field(line, start, ends) {
                return Ok(end);
            }
        }
        let (end, fits) = if line.get(start) == Some(&b'"') {
            let (end, escaped) = string_end(line, start)?;
            let text = &line[start + 1..end - 1];
            let text = match escaped {
                true => unescape_string(text, scratch),
                false => text,
            };
            (
                end,
                index.map(|index| append_string(column(rows, index), text)),
            )
        } else {
            let (end, value) = scalar(line, start)?;
            (
                end,
                index.map(|index| append_scalar(column(rows, index), value)),
            )
        };
        match (index, fits) {
            (Some(index), Some(Err(fault))) => Err(Stop::Value(index, start, end, fault)),
            _ => Ok(end),
        }
    }

    /// Appends one row, or says why not. `line` has no blanks around it.
    fn row(&self, line: &[u8], rows: &mut Rows<'_>, work: &mut Work) -> Result<(), Stop> {
        work.order.begin();
        let (mut at, escaped) = measurement_end(line);
        if at == 0 {
            return Err(Broken(0, "a measurement").into());
        }
        if let Some(index) = self.measurement {
            Self::tag(rows, index, line, (0, at, escaped), &mut work.scratch)?;
        }
        while line.get(at) == Some(&b',') {
            at += 1;
            let index = self.key(line, &mut at, rows, work)?;
            let (end, escaped) = name_end(line, at);
            if end == at {
                return Err(Broken(end, "the value of a tag").into());
            }
            if let Some(index) = index {
                Self::tag(rows, index, line, (at, end, escaped), &mut work.scratch)?;
            }
            at = end;
        }
        at = blanks(line, at, "',' or a blank")?;
        loop {
            let index = self.key(line, &mut at, rows, work)?;
            at = Self::field(rows, index, line, at, &mut work.scratch)?;
            if line.get(at) != Some(&b',') {
                break;
            }
            at += 1;
        }
        if at == line.len() {
            if let (Some(index), Some(nanos)) = (self.time, self.times.arrival_ns) {
                let appended = column(rows, index).append_nanos(nanos, b"");
                return appended.map_err(|fault| Stop::Value(index, at, at, fault));
            }
            return Ok(());
        }
        at = blanks(line, at, "',' or a blank")?;
        let unit_ns = self.times.unit_ns;
        let Ok(ticks) = parse_i64(&line[at..]) else {
            let expected = match unit_ns {
                1 => "a time in nanoseconds",
                _ => "a time in the unit of precision",
            };
            return Err(Broken(at, expected).into());
        };
        if let Some(index) = self.time {
            let appended = match ticks.checked_mul(unit_ns) {
                Some(nanos) => column(rows, index).append_nanos(nanos, &line[at..]),
                None => Err(Fault::Range),
            };
            return appended.map_err(|fault| Stop::Value(index, at, line.len(), fault));
        }
        Ok(())
    }
}

/// The column that a value of the row is appended to: of two the last counts.
#[inline]
fn column<'r>(rows: &'r mut Rows<'_>, index: usize) -> &'r mut Column {
    let len = rows.len();
    let column = &mut rows.columns[index];
    if column.len() > len {
        column.truncate(len);
    }
    column
}

/// Passes over one blank or more.
#[inline]
fn blanks(line: &[u8], start: usize, expected: &'static str) -> Result<usize, Broken> {
    let mut at = start;
    while line.get(at) == Some(&b' ') {
        at += 1;
    }
    match at > start {
        true => Ok(at),
        false => Err(Broken(start, expected)),
    }
}

fn append_string(column: &mut Column, text: &[u8]) -> Result<(), Fault> {
    match column.takes() {
        Takes::Text | Takes::Time | Takes::Decimal => column.append_text(text),
        _ => Err(Fault::Invalid),
    }
}

fn append_scalar(column: &mut Column, value: Scalar<'_>) -> Result<(), Fault> {
    let (text, takes) = match value {
        Scalar::Boolean(text) => (text, Takes::Boolean),
        Scalar::Integer(text) | Scalar::Float(text) => (text, Takes::Number),
    };
    match column.takes() {
        Takes::Text => column.append_text(text),
        Takes::Decimal if takes == Takes::Number => column.append_text(text),
        Takes::Time if takes == Takes::Number => Err(Fault::Epoch),
        taken if taken == takes => column.append_text(text),
        _ => Err(Fault::Invalid),
    }
}

#[cold]
fn describe(rows: &Rows<'_>, row: &[u8], stop: &Stop) -> RowFault {
    match *stop {
        Stop::Broken(Broken(at, expected)) if at >= row.len() => RowFault::Parse(format!(
            "not valid line protocol: it ends where {expected} was expected"
        )),
        Stop::Broken(Broken(at, expected)) => RowFault::Parse(format!(
            "not valid line protocol: expected {expected} at byte {}",
            at + 1
        )),
        Stop::Value(column, start, end, fault) => {
            let name = rows.name(column);
            RowFault::value(name, &rows.columns[column], &row[start..end], fault)
        }
    }
}

impl ChunkParser for LineParser {
    fn parse(
        &self,
        chunk: &Chunk,
        out: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> windrow_core::Result<()> {
        let mut rows = Rows::new(&self.shape)?;
        let bytes = &chunk.bytes[..];
        if let Shape::TooLong(_) = chunk.shape {
            if bytes.trim_ascii_start().first() == Some(&b'#') {
                return Ok(());
            }
            let fault = rows.too_long();
            rows.reject(bytes, chunk.first_line, fault);
            let _stopped = rows.give(out)?;
            return Ok(());
        }
        // Validated once for all values; only a damaged chunk is checked row by row.
        let check_utf8 = simdutf8::basic::from_utf8(bytes).is_err();
        let mut work = Work::default();
        let (mut at, mut line) = (chunk.start, chunk.first_line);
        while at < bytes.len() {
            let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found);
            let row = bytes[at..end].trim_ascii();
            if !is_no_row(row) {
                rows.add((row, at), line, check_utf8, |rows| {
                    (self.row(row, rows, &mut work)).map_err(|stop| describe(rows, row, &stop))
                });
                if rows.give_if_full(out)?.is_break() {
                    return Ok(());
                }
            }
            at = end + 1;
            line += 1;
        }
        let _stopped = rows.give(out)?;
        Ok(())
    }

    fn file(&self) -> &str {
        &self.shape.file
    }

    fn row<'a>(&self, chunk: &'a Chunk, start: usize) -> &'a [u8] {
        let rest = &chunk.bytes[start..];
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        rest[..end].trim_ascii()
    }
}

#[cfg(test)]
mod tests;
