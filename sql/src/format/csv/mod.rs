//! CSV: records to rows, directed by the schema.
//!
//! - `NA`, `N/A` and `NULL` are NULL in columns that are not text, unless a `null_value`
//!   is given.
//! - A field is NULL when it is one of the `null_value`s and does not stand in quotes;
//!   by default, when it is empty. In a column that is not text an empty field is NULL
//!   always, and quotes make no difference.
//! - Booleans are `true`, `t`, `1`, `false`, `f`, `0` in either case. Numbers and times
//!   may have blanks around them.
//! - Columns are found by the header's names (exactly, else in another case if only one
//!   is meant), without a header by position. A column that the file does not have is
//!   NULL; fields that the schema does not have are ignored.
//! - A row has as many fields as the header, or the schema, has names. Blank lines are
//!   no rows, unless there is only one field.

mod dialect;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

pub(crate) use dialect::Dialect;
pub(crate) use dialect::line_feeds;
use dialect::{FieldText, Fields, RecordEnd, RecordFault, line_end};

use super::chunk::{Chunk, ChunkParser, Shape};
use super::column::{Column, type_name};
use super::names::find;
use super::number::Fault;
use super::rows::{Piece, RowFault, RowShape, Rows};
use super::search;
use crate::error::{Error, ErrorKind, Result};

/// The names of a header, made usable: blanks around them are cut off; a name that is
/// empty becomes `column_N`, one that was there before gets `_2`, `_3` and so on.
fn header_names<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut taken: HashSet<String> = HashSet::new();
    // The last number that a name was given: the search for a free one goes on there.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for (index, field) in fields.into_iter().enumerate() {
        let field = String::from_utf8_lossy(field);
        let name = match field.trim() {
            "" => format!("column_{}", index + 1),
            name => name.to_owned(),
        };
        let mut unique = name.clone();
        while taken.contains(&unique) {
            let number = numbers.entry(name.clone()).or_insert(1);
            *number += 1;
            unique = format!("{name}_{number}");
        }
        taken.insert(unique.clone());
        names.push(unique);
    }
    names
}

/// The first name that stands twice.
fn twice(fields: &[Vec<u8>]) -> Option<String> {
    let mut taken = HashSet::new();
    let names = fields.iter().map(|field| field.trim_ascii());
    let mut named = names.filter(|name| !name.is_empty());
    let name = named.find(|name| !taken.insert(*name))?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The first record of a file.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Its fields as names.
    names: Vec<String>,
    /// The first name that stands twice.
    twice: Option<String>,
    /// Where the next record begins.
    next: usize,
    /// How many lines lie before it.
    lines: u64,
}

/// Reads the first record that is no comment and no blank line. `None`: there is none
/// in these bytes.
///
/// # Errors
/// If it is no record: `file` names it.
fn read_header(dialect: &Dialect, bytes: &[u8], file: &str) -> Result<Option<Header>> {
    let mut at = 0;
    while at < bytes.len() {
        let (end, next) = line_end(bytes, at);
        if end == at || dialect.is_comment(bytes, at) {
            at = next;
            continue;
        }
        let mut fields = Vec::new();
        let end = dialect.record(bytes, at, &mut Vec::new(), |_, field: FieldText<'_>| {
            fields.push(field.text.to_vec());
        });
        if end.fault.is_some() || std::str::from_utf8(&bytes[at..end.end]).is_err() {
            return Err(Error::new(
                ErrorKind::Data,
                format!("{file}: its first line cannot be read as a CSV header"),
            )
            .help("if it is CSV, check delimiter, quote and comment, or set header = 'false'"));
        }
        // Old files of the Macintosh would be one long header.
        if !end.quoted && memchr::memchr(b'\r', &bytes[at..end.end]).is_some() {
            return Err(Error::new(
                ErrorKind::Data,
                format!("{file}: its lines end in a carriage return alone"),
            )
            .help("convert it, for example with tr '\\r' '\\n'"));
        }
        return Ok(Some(Header {
            names: header_names(fields.iter().map(Vec::as_slice)),
            twice: twice(&fields),
            next: end.next,
            lines: line_feeds(&bytes[..end.next]),
        }));
    }
    Ok(None)
}

/// Takes the header off a file's first chunks. `None`: it is not in this one.
///
/// # Errors
/// As [`read_header`].
pub(crate) fn take_header(
    dialect: &Dialect,
    chunk: &mut Chunk,
    file: &str,
) -> Result<Option<Vec<String>>> {
    let header = read_header(dialect, &chunk.bytes, file)?;
    Ok(header.map(|header| {
        chunk.start = header.next;
        chunk.first_line += header.lines;
        header.names
    }))
}

/// The first name that stands twice in the header of these bytes.
///
/// # Errors
/// As [`take_header`].
pub(crate) fn repeated_name(dialect: &Dialect, bytes: &[u8], file: &str) -> Result<Option<String>> {
    Ok(read_header(dialect, bytes, file)?.and_then(|header| header.twice))
}

/// Whether a field is one of the words that stand for a missing value. They do so in
/// columns that are not text, and only where no `null_value` is given.
pub(crate) fn is_missing_word(text: &[u8]) -> bool {
    matches!(text, b"NA" | b"N/A" | b"n/a" | b"NULL" | b"Null" | b"null")
}

/// Reads the rows of one CSV file.
#[derive(Debug)]
pub(crate) struct CsvParser {
    shape: RowShape,
    dialect: Dialect,
    null_values: Option<Vec<Box<[u8]>>>,
    /// The column of each field of a record.
    columns: Vec<Option<usize>>,
    /// Numbers and times can be read where they stand: none of their bytes has another
    /// meaning, and none of them is NULL.
    scans: bool,
}

impl CsvParser {
    /// A parser for a file with the header `names`; without one, fields are columns by
    /// position.
    ///
    /// # Errors
    /// If a column cannot be read from text, or the header names none of the columns.
    pub(crate) fn new(
        shape: RowShape,
        dialect: Dialect,
        null_values: Option<&[String]>,
        names: Option<&[String]>,
    ) -> Result<Self> {
        for (field, column) in shape.schema.fields().iter().zip(Rows::new(&shape)?.columns) {
            if matches!(
                column.data_type(),
                arrow::datatypes::DataType::Struct(_) | arrow::datatypes::DataType::List(_)
            ) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "column {} is a {}, which a CSV field cannot hold",
                        field.name(),
                        type_name(field.data_type())
                    ),
                ));
            }
        }
        let columns = match names {
            Some(names) => by_name(&shape, names)?,
            None => (0..shape.schema.fields().len()).map(Some).collect(),
        };
        Ok(Self {
            shape,
            scans: scans(&dialect, null_values),
            dialect,
            null_values: null_values
                .map(|values| values.iter().map(|value| value.as_bytes().into()).collect()),
            columns,
        })
    }

    #[inline]
    fn is_null(&self, text: &[u8]) -> bool {
        match &self.null_values {
            None => text.is_empty(),
            Some(values) => values.iter().any(|value| **value == *text),
        }
    }

    /// Whether a field that is no text says in words that it has no value.
    fn is_missing(&self, text: &[u8]) -> bool {
        self.null_values.is_none() && is_missing_word(text)
    }

    #[inline]
    fn append(&self, column: &mut Column, field: FieldText<'_>) -> Result<(), Fault> {
        let FieldText { text, quoted } = field;
        if column.is_text() {
            if !quoted && self.is_null(text) {
                column.append_null();
                return Ok(());
            }
            return column.append_text(text);
        }
        if text.is_empty() || (self.null_values.is_some() && self.is_null(text)) {
            column.append_null();
            return Ok(());
        }
        column.append_text(text).or_else(|fault| {
            let trimmed = text.trim_ascii();
            if trimmed.is_empty() || self.is_null(trimmed) || self.is_missing(trimmed) {
                column.append_null();
                Ok(())
            } else if trimmed.len() == text.len() {
                Err(fault)
            } else {
                column.append_text(trimmed)
            }
        })
    }

    /// Appends the unquoted text that begins at `start`, and gives its end.
    #[inline]
    fn append_plain(&self, column: &mut Column, bytes: &[u8], start: usize) -> Option<usize> {
        if self.dialect.quote.is_some() && bytes.get(start).copied() == self.dialect.quote {
            return None;
        }
        let mut end = search::find(bytes, start, self.dialect.delimiter, b'\n');
        if bytes.get(end).is_none_or(|byte| *byte == b'\n') {
            end -= usize::from(bytes[start..end].ends_with(b"\r"));
        }
        match self.is_null(&bytes[start..end]) {
            true => column.append_null(),
            false => column.append_piece(bytes, start, end),
        }
        Some(end)
    }

    /// What is wrong with a record that was tokenised, if anything.
    fn fault(&self, end: &RecordEnd, row: &[u8], check_utf8: bool) -> Option<RowFault> {
        let expected = self.columns.len();
        if let Some(fault) = end.fault {
            return Some(RowFault::Parse(match fault {
                RecordFault::AfterQuote => "text follows a closing quote".into(),
                RecordFault::Unclosed => "a quote is opened and not closed".into(),
            }));
        }
        if check_utf8 && std::str::from_utf8(row).is_err() {
            return Some(RowFault::Parse("the row is not valid UTF-8".into()));
        }
        (end.fields != expected).then(|| {
            RowFault::Parse(format!(
                "the row has {} field{} instead of {expected}",
                end.fields,
                if end.fields == 1 { "" } else { "s" },
            ))
        })
    }
}

/// Whether numbers and times can be read before it is known where their fields end.
fn scans(dialect: &Dialect, null_values: Option<&[String]>) -> bool {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.: ".contains(&byte);
    let meant = [Some(dialect.delimiter), dialect.quote];
    let mut nulls = null_values.unwrap_or_default().iter();
    !(meant.into_iter().flatten()).any(belongs)
        && !nulls.any(|null| null.starts_with(|c: char| c.is_ascii_digit() || "-.".contains(c)))
}

/// Appends the fields of one row to their columns, up to the first that does not fit.
struct RowFields<'a> {
    parser: &'a CsvParser,
    columns: &'a mut [Column],
    /// The first field that does not fit: its column, its text and why.
    fault: Option<(usize, Vec<u8>, Fault)>,
}

impl Fields for &mut RowFields<'_> {
    #[inline]
    fn plain(&mut self, index: usize, bytes: &[u8], start: usize) -> Option<usize> {
        if self.fault.is_some() {
            return None;
        }
        let parser = self.parser;
        let column = &mut self.columns[parser.columns.get(index).copied()??];
        if column.is_text() {
            parser.append_plain(column, bytes, start)
        } else if parser.scans {
            column.scan(bytes, start, |end| parser.dialect.field_ends(bytes, end))
        } else {
            None
        }
    }

    fn field(&mut self, index: usize, field: FieldText<'_>) {
        if self.fault.is_none()
            && let Some(Some(column)) = self.parser.columns.get(index)
            && let Err(fault) = self.parser.append(&mut self.columns[*column], field)
        {
            self.fault = Some((*column, field.text.to_vec(), fault));
        }
    }
}

/// The delimiter that a header of one column seems to have been written with.
pub(crate) fn other_delimiter(names: &[String]) -> Option<&'static str> {
    match names {
        [name] if name.contains(';') => Some(";"),
        [name] if name.contains('\t') => Some("tab"),
        [name] if name.contains('|') => Some("|"),
        [name] if name.contains(',') => Some(","),
        _ => None,
    }
}

/// The column of each field that a header names.
fn by_name(shape: &RowShape, names: &[String]) -> Result<Vec<Option<usize>>> {
    let fields = shape.schema.fields();
    let theirs: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut columns = vec![None; names.len()];
    for (column, field) in fields.iter().enumerate() {
        if let Some(index) = find(&theirs, field.name())
            && columns[index].is_none()
        {
            columns[index] = Some(column);
        }
    }
    if !fields.is_empty() && columns.iter().all(Option::is_none) {
        let declared: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        return Err(Error::new(
            ErrorKind::Data,
            format!(
                "{}: its header ({}) names none of the columns ({})",
                shape.file,
                names.join(", "),
                declared.join(", ")
            ),
        )
        .help(match other_delimiter(names) {
            Some(delimiter) => format!("set delimiter = '{delimiter}'"),
            None => format!(
                "write a header, such as {}, or set header = 'false' if the first line is a row; \
                 else check delimiter",
                declared.join(",")
            ),
        }));
    }
    Ok(columns)
}

impl ChunkParser for CsvParser {
    fn parse(
        &self,
        chunk: &Chunk,
        out: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> windrow_core::Result<()> {
        let mut rows = Rows::new(&self.shape)?;
        let bytes = &chunk.bytes[..];
        if let Shape::TooLong(_) = chunk.shape {
            let fault = rows.too_long();
            rows.reject(bytes, chunk.first_line, fault);
            let _stopped = rows.give(out)?;
            return Ok(());
        }
        // Validated once for all fields; only a damaged chunk is checked row by row.
        let check_utf8 = simdutf8::basic::from_utf8(bytes).is_err();
        let mut scratch = Vec::new();
        // Lines are counted only up to rejected rows.
        let mut counted = (chunk.start, chunk.first_line);
        let mut at = chunk.start;
        while at < bytes.len() {
            if self.dialect.is_comment(bytes, at) {
                at = line_end(bytes, at).1;
                continue;
            }
            let mut fields = RowFields {
                parser: self,
                columns: &mut rows.columns,
                fault: None,
            };
            let mut end = self.dialect.record(bytes, at, &mut scratch, &mut fields);
            let value_fault = fields.fault;
            let mut row = &bytes[at..end.end];
            if row.is_empty() && self.columns.len() != 1 {
                rows.take_back();
                at = end.next;
                continue;
            }
            if row.len() > self.shape.line_bytes_max && end.quoted {
                // The thread that cuts the file gives up such a record too, after its
                // first line.
                let (first_end, next) = line_end(bytes, at);
                end = RecordEnd {
                    next,
                    fault: Some(RecordFault::Unclosed),
                    ..end
                };
                row = &bytes[at..first_end];
            }
            let fault = if row.len() > self.shape.line_bytes_max {
                Some(rows.too_long())
            } else {
                self.fault(&end, row, check_utf8)
            };
            let fault = fault.or_else(|| {
                let (column, text, fault) = value_fault?;
                let name = rows.name(column);
                Some(RowFault::value(name, &rows.columns[column], &text, fault))
            });
            match fault {
                None => rows.accept(at),
                Some(fault) => {
                    counted = (at, counted.1 + line_feeds(&bytes[counted.0..at]));
                    rows.reject(row, counted.1, fault);
                }
            }
            at = end.next;
            if rows.give_if_full(out)?.is_break() {
                return Ok(());
            }
        }
        let _stopped = rows.give(out)?;
        Ok(())
    }

    fn file(&self) -> &str {
        &self.shape.file
    }

    fn row<'a>(&self, chunk: &'a Chunk, start: usize) -> &'a [u8] {
        let end = (self.dialect).record(
            &chunk.bytes,
            start,
            &mut Vec::new(),
            |_, _: FieldText<'_>| {},
        );
        &chunk.bytes[start..end.end]
    }
}

#[cfg(test)]
mod tests;
