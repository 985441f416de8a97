//! Where the rows of a piece were read, told when one of them breaks a rule.
//!
//! Rows of text are kept as their chunk and the byte that each begins with: lines are
//! counted, and records are delimited again, only for the rows that are asked for.
//! Columnar files have no text; a row is told by its number.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use windrow_core::stream::{Origin, Place, Reject};

use super::chunk::{Chunk, ChunkParser, Shape};
use super::csv::line_feeds;
use super::rows::{Marks, REJECT_TEXT_BYTES_MAX, Spot, cut};
use crate::error::Result;

/// Rows, those that were rejected among them, and where they were read.
#[derive(Debug)]
pub(crate) struct PlacedRows {
    pub(crate) records: RecordBatch,
    pub(crate) rejected: Vec<Reject>,
    /// `None` where there is no row.
    pub(crate) origin: Option<Box<dyn Origin>>,
}

/// Rows of text.
#[derive(Debug)]
pub(crate) struct TextRows {
    /// What they were parsed from.
    pub(crate) chunk: Arc<Chunk>,
    /// What parsed them.
    pub(crate) parser: Arc<dyn ChunkParser>,
    /// Where they stand in the chunk.
    pub(crate) marks: Marks,
}

impl Origin for TextRows {
    fn places(&self, rows: &[usize]) -> Vec<Place> {
        let chunk = &*self.chunk;
        let (mut counted, mut line) = (chunk.start, chunk.first_line);
        let mut place = |row: usize| {
            let start = self.marks.starts[row] as usize;
            let spot = match &chunk.shape {
                Shape::Values(values) => {
                    let value = values.partition_point(|(range, _)| range.start < start);
                    values[value].1
                }
                _ => {
                    line += line_feeds(&chunk.bytes[counted..start]);
                    counted = start;
                    Spot::from(line)
                }
            };
            Place {
                position: format!("{}:{spot}", self.parser.file()),
                text: Some(cut(self.parser.row(chunk, start), REJECT_TEXT_BYTES_MAX)),
            }
        };
        rows.iter().map(|row| place(*row)).collect()
    }

    fn rows_before(&self) -> &[usize] {
        &self.marks.before
    }
}

/// Gives rows of a columnar file with all their columns.
pub(crate) trait Whole: Debug + Send + Sync {
    /// The rows from `first_row` on, counted from 0, without those that do not fit.
    ///
    /// # Errors
    /// If they cannot be read any more.
    fn rows(&self, first_row: u64, rows: usize) -> Result<RecordBatch>;
}

/// Rows of a columnar file, some of which did not fit.
#[derive(Debug)]
pub(crate) struct FileRows {
    file: Arc<str>,
    rows: Range<u64>,
    before: Vec<usize>,
    whole: Option<Arc<dyn Whole>>,
}

impl FileRows {
    /// The rows of `file` with these numbers, counted from 0, without those at the places
    /// `refused`, which ascend. `whole`: has the columns that were left out.
    pub(crate) fn new(
        file: Arc<str>,
        rows: Range<u64>,
        refused: impl IntoIterator<Item = usize>,
        whole: Option<Arc<dyn Whole>>,
    ) -> Self {
        let refused = refused.into_iter().enumerate();
        Self {
            file,
            rows,
            before: refused.map(|(count, place)| place - count).collect(),
            whole,
        }
    }
}

impl Origin for FileRows {
    fn places(&self, rows: &[usize]) -> Vec<Place> {
        (rows.iter())
            .map(|row| {
                let refused = self.before.partition_point(|before| before <= row);
                Place {
                    position: format!(
                        "{}:{}",
                        self.file,
                        self.rows.start + (row + refused) as u64 + 1
                    ),
                    text: None,
                }
            })
            .collect()
    }

    fn rows_before(&self) -> &[usize] {
        &self.before
    }

    fn whole(&self) -> windrow_core::Result<Option<RecordBatch>> {
        let Some(whole) = &self.whole else {
            return Ok(None);
        };
        let rows = (self.rows.end - self.rows.start) as usize;
        Ok(Some(whole.rows(self.rows.start, rows)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_file_are_numbered_as_they_stand_there() {
        // Of rows 100 to 106, the places 0, 3 and 4 are refused.
        let rows = FileRows::new("f".into(), 100..107, [0, 3, 4], None);
        let positions: Vec<String> = (rows.places(&[0, 1, 2, 3]).into_iter())
            .map(|place| place.position)
            .collect();
        assert_eq!(positions, ["f:102", "f:103", "f:106", "f:107"]);
        assert_eq!(rows.rows_before(), [0, 2, 2]);
    }
}
