//! The rows of a piece under construction, and those that were not accepted.

use std::fmt::{self, Display};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use windrow_core::stream::Reject;

use super::column::{Column, type_name};
use super::number::Fault;
use super::time::TimestampFormat;
use crate::error::Result;

/// A rejected row's text is cut to this many bytes.
pub(crate) const REJECT_TEXT_BYTES_MAX: usize = 1024;

/// So many rejected rows are given on with the rows around them, so that a file of
/// nothing else does not fill the memory.
const PIECE_REJECTS_MAX: usize = 1024;

/// The rule that a row breaks when its text is no row.
pub(crate) const RULE_PARSE: &str = "parse";

/// The rule that a row breaks when a value does not fit its column.
pub(crate) const RULE_TYPE: &str = "type";

/// Where a row stands: its line, and which element it is where it stands in an array, which
/// may be of one line. Both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) line: u64,
    pub(crate) element: Option<u64>,
}

impl From<u64> for Spot {
    fn from(line: u64) -> Self {
        let element = None;
        Self { line, element }
    }
}

impl Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.element {
            Some(element) => write!(f, "{} element {element}", self.line),
            None => write!(f, "{}", self.line),
        }
    }
}

/// Rows, and those that were rejected among them.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) records: RecordBatch,
    pub(crate) rejected: Vec<Reject>,
    pub(crate) marks: Marks,
}

/// Where the rows of a piece stand in their chunk.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// `[rows]`: the byte that each begins with.
    pub(crate) starts: Vec<u32>,
    /// `[rejected]`: how many rows stand before each.
    pub(crate) before: Vec<usize>,
}

/// Why a row is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowFault {
    /// Its text is no row.
    Parse(String),
    /// A value does not fit.
    Type(String),
}

impl RowFault {
    /// A value that does not fit its column.
    #[cold]
    pub(super) fn value(name: &str, column: &Column, text: &[u8], fault: Fault) -> Self {
        let text = cut(text, 64);
        let name_of_type = type_name(column.data_type());
        Self::Type(match fault {
            Fault::Invalid => {
                let form = column.time_form().map_or_else(String::new, |form| {
                    format!(" of the timestamp_format '{form}'")
                });
                let is_vowel = name_of_type.starts_with(['A', 'E', 'I', 'O']);
                let article = if is_vowel { "an" } else { "a" };
                format!("column {name}: '{text}' is not {article} {name_of_type}{form}")
            }
            Fault::Range => {
                format!("column {name}: '{text}' is out of range for {name_of_type}")
            }
            Fault::Epoch => format!(
                "column {name}: {text} is a number, not a {name_of_type}; integer epochs need \
                 their unit: declare the column BIGINT and use to_timestamp_millis or one of its kin"
            ),
        })
    }
}

/// What every parser knows of the rows that it makes.
#[derive(Debug, Clone)]
pub(crate) struct RowShape {
    /// The columns, all of them nullable.
    pub(crate) schema: SchemaRef,
    /// The form of times.
    pub(crate) times: Option<Arc<TimestampFormat>>,
    /// The file's name, as positions show it.
    pub(crate) file: Arc<str>,
    /// The greatest number of rows of a piece.
    pub(crate) batch_rows: usize,
    /// The greatest length of a row in bytes.
    pub(crate) line_bytes_max: usize,
}

/// Rows under construction.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    shape: &'a RowShape,
    pub(super) columns: Vec<Column>,
    rejected: Vec<Reject>,
    marks: Marks,
    len: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(shape: &'a RowShape) -> Result<Self> {
        let columns = (shape.schema.fields().iter())
            .map(|field| Column::new(field.data_type(), shape.times.as_ref()))
            .collect::<Result<_>>()?;
        Ok(Self {
            shape,
            columns,
            rejected: Vec::new(),
            marks: Marks::default(),
            len: 0,
        })
    }

    /// How many rows have been accepted.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The name of a column.
    pub(super) fn name(&self, column: usize) -> &str {
        self.shape.schema.field(column).name()
    }

    /// Accepts the row that was appended, which begins with byte `start` of the chunk.
    #[inline]
    pub(super) fn accept(&mut self, start: usize) {
        let start = u32::try_from(start).expect("a chunk of text is shorter than 2 GiB");
        self.marks.starts.push(start);
        self.len += 1;
    }

    /// Appends NULL to the columns that the row does not have.
    #[inline]
    pub(super) fn complete(&mut self) {
        for column in &mut self.columns {
            if column.len() <= self.len {
                column.append_null();
            }
        }
    }

    /// Takes back what was appended of the row.
    #[cold]
    pub(super) fn take_back(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.len);
        }
    }

    /// Takes back what was appended of the row and rejects it.
    #[cold]
    pub(super) fn reject(&mut self, text: &[u8], spot: impl Into<Spot>, fault: RowFault) {
        self.take_back();
        let (rule, reason) = match fault {
            RowFault::Parse(reason) => (RULE_PARSE, reason),
            RowFault::Type(reason) => (RULE_TYPE, reason),
        };
        self.marks.before.push(self.len);
        self.rejected.push(Reject {
            text: cut(text, REJECT_TEXT_BYTES_MAX),
            position: format!("{}:{}", self.shape.file, spot.into()),
            reason,
            rule: rule.to_owned(),
        });
    }

    /// Adds a row of text that begins with byte `start` of the chunk: `append` puts its
    /// values into the columns; what it has no value for is NULL.
    ///
    /// - `check_utf8`: whether something in the chunk is no UTF-8.
    pub(super) fn add(
        &mut self,
        (row, start): (&[u8], usize),
        spot: impl Into<Spot>,
        check_utf8: bool,
        append: impl FnOnce(&mut Self) -> Result<(), RowFault>,
    ) {
        let appended = if row.len() > self.shape.line_bytes_max {
            Err(self.too_long())
        } else if check_utf8 && std::str::from_utf8(row).is_err() {
            Err(RowFault::Parse("the row is not valid UTF-8".into()))
        } else {
            append(self)
        };
        match appended {
            Ok(()) => {
                self.complete();
                self.accept(start);
            }
            Err(fault) => self.reject(row, spot, fault),
        }
    }

    /// Gives the rows on when they are enough for a piece.
    #[inline]
    pub(super) fn give_if_full(
        &mut self,
        out: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> windrow_core::Result<ControlFlow<()>> {
        if self.len < self.shape.batch_rows && self.rejected.len() < PIECE_REJECTS_MAX {
            return Ok(ControlFlow::Continue(()));
        }
        self.give(out)
    }

    /// Gives the rows on, if there are any. Columns that the text does not have are NULL.
    pub(super) fn give(
        &mut self,
        out: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> windrow_core::Result<ControlFlow<()>> {
        if self.len == 0 && self.rejected.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        for column in &mut self.columns {
            while column.len() < self.len {
                column.append_null();
            }
        }
        let columns =
            (self.columns.iter_mut().map(Column::finish)).collect::<windrow_core::Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        let schema = self.shape.schema.clone();
        self.len = 0;
        Ok(out(Piece {
            records: RecordBatch::try_new_with_options(schema, columns, &options)?,
            rejected: std::mem::take(&mut self.rejected),
            marks: std::mem::take(&mut self.marks),
        }))
    }

    /// The reason of a row of more than `line_bytes_max`.
    pub(super) fn too_long(&self) -> RowFault {
        RowFault::Parse(format!(
            "the row is longer than {} bytes; raise line_bytes_max",
            self.shape.line_bytes_max
        ))
    }
}

/// The text, cut to at most `max` bytes at the end of a character; what is no UTF-8 is
/// shown as `�`.
pub(crate) fn cut(text: &[u8], max: usize) -> String {
    // A character cut in two at the end would be shown as a damaged one.
    let mut head = &text[..text.len().min(max)];
    if head.len() < text.len()
        && let Some(start) = head.iter().rposition(|byte| (*byte as i8) >= -0x40)
        && head.len() - start < 4
        && std::str::from_utf8(&head[start..]).is_err()
    {
        head = &head[..start];
    }
    let mut shown = String::from_utf8_lossy(head).into_owned();
    // A damaged byte is shown as three.
    shown.truncate(shown.floor_char_boundary(max));
    shown
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut(b"abc", 10), "abc");
        assert_eq!(cut(b"abcdef", 3), "abc");
        assert_eq!(cut("aé€".as_bytes(), 2), "a");
        assert_eq!(cut("aé€".as_bytes(), 3), "aé");
        assert_eq!(cut("aé€".as_bytes(), 5), "aé");
        assert_eq!(cut(b"a\xFFb", 10), "a\u{FFFD}b");
        assert_eq!(cut(&[0xFF; 100], 10).len(), 9);
    }
}
