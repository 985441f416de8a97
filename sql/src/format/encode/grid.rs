//! Rows for people: a box of aligned columns, and Markdown.
//!
//! Rows are shown as they come. The box is as wide as the first rows need; later rows
//! go on below them as long as they fit, and a new box begins when one does not:
//!
//! ```text
//! ┌────────┬──────┐
//! │ sensor ┆    n │    a row that fits is one more line
//! ╞════════╪══════╡
//! │ a      ┆   17 │    a wider one closes the box and opens a wider box
//! └────────┴──────┘
//! ```

use std::io::Write;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width as TableWidth,
};
use unicode_width::UnicodeWidthStr;

use super::cell::{Cells, plain, plain_type};
use super::json::json_options;
use super::options::EncodeOptions;
use super::vertical::{BLOCK_ROWS_MAX, cut, write_block};
use super::{Encoder, io_error};
use crate::error::Result;
use crate::words::counted;

/// The width at which a long value is cut.
const CELL_WIDTH_MAX: usize = 80;

/// The width below which no column is squeezed.
const CELL_WIDTH_MIN: usize = 8;

/// The part of a column's width, in thirds, that is seen at least where others are cut too.
const SEEN_THIRDS_MIN: usize = 2;

/// What both forms share: texts of values, and how many rows were shown.
#[derive(Debug)]
struct Grid {
    names: Vec<String>,
    right: Vec<bool>,
    null_value: String,
    rows_max: u64,
    rows: u64,
}

impl Grid {
    fn new(options: &EncodeOptions, schema: &SchemaRef) -> Self {
        let fields = schema.fields();
        Self {
            names: fields.iter().map(|field| one_line(field.name())).collect(),
            right: (fields.iter())
                .map(|field| {
                    let data_type = field.data_type();
                    plain_type(data_type)
                        .unwrap_or_else(|| data_type.clone())
                        .is_numeric()
                })
                .collect(),
            null_value: options.null_value.clone(),
            rows_max: options.rows_max.unwrap_or(u64::MAX),
            rows: 0,
        }
    }

    /// The texts of the rows that may still be shown, row by row.
    fn take(&mut self, records: &RecordBatch) -> Result<Vec<Vec<String>>> {
        let shown = self.rows_max.saturating_sub(self.rows);
        let shown =
            usize::try_from(shown).map_or(records.num_rows(), |n| n.min(records.num_rows()));
        self.rows += records.num_rows() as u64;
        let records = records.slice(0, shown);
        let schema = records.schema();
        let columns = plain(&records)?;
        let json = json_options();
        let mut texts = vec![Vec::with_capacity(columns.len()); shown];
        for (array, field) in columns.iter().zip(schema.fields()) {
            let mut cells = Cells::of(field, array, &json)?;
            let nulls = array.logical_nulls();
            let mut value = Vec::new();
            for (row, line) in texts.iter_mut().enumerate() {
                line.push(match &nulls {
                    Some(nulls) if nulls.is_null(row) => self.null_value.clone(),
                    _ => {
                        value.clear();
                        cells.write(row, &mut value)?;
                        one_line(&String::from_utf8_lossy(&value))
                    }
                });
            }
        }
        Ok(texts)
    }

    /// What stands below the rows.
    fn closing(&self) -> String {
        let rows = counted(self.rows, "row", "rows");
        match self.rows.checked_sub(self.rows_max) {
            Some(hidden) if hidden > 0 => {
                let shown = counted(self.rows_max, "is shown", "are shown");
                format!("{rows} (the first {shown})")
            }
            _ => rows,
        }
    }
}

/// The text without control characters, which could break a line or steer a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Writes a box of aligned columns.
#[derive(Debug)]
pub(super) struct TableEncoder {
    grid: Grid,
    /// Columns of the terminal.
    width: usize,
    /// Whether rows are never shown in a box.
    vertical: bool,
    /// `[columns]`: the width of each value in the box that is open.
    widths: Vec<usize>,
    is_open: bool,
    /// Whether some rows were shown without a box.
    has_blocks: bool,
}

impl TableEncoder {
    pub(super) fn new(options: &EncodeOptions, schema: &SchemaRef) -> Self {
        Self {
            grid: Grid::new(options, schema),
            width: options.width.map_or(usize::MAX, usize::from),
            vertical: options.vertical,
            widths: vec![0; schema.fields().len()],
            is_open: false,
            has_blocks: false,
        }
    }

    /// The widths that these rows need and may have.
    fn fit(&self, rows: &[Vec<String>]) -> Vec<usize> {
        let mut widths = self.needed(rows);
        while framed(&widths) > self.width {
            match widths.iter_mut().max() {
                Some(widest) if *widest > CELL_WIDTH_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }

    /// The widths that these rows need.
    fn needed(&self, rows: &[Vec<String>]) -> Vec<usize> {
        let mut widths: Vec<_> = (self.grid.names.iter().zip(&self.widths))
            .map(|(name, width)| (*width).max(name.width().clamp(1, CELL_WIDTH_MAX)))
            .collect();
        for row in rows {
            for (width, text) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.width().min(CELL_WIDTH_MAX));
            }
        }
        widths
    }

    /// Whether these rows are shown as lines, a column each, and not in a box. `count`: how
    /// many there are with those that are not shown.
    fn is_vertical(&self, rows: &[Vec<String>], count: usize) -> bool {
        let is_squeezed = || {
            // One column alone is not read more easily without its box.
            let is_wide = self.widths.len() > 1 && framed(&self.needed(rows)) > self.width;
            is_wide && !self.is_open && (count <= BLOCK_ROWS_MAX || self.is_unreadable(rows))
        };
        self.vertical || is_squeezed() || self.is_too_wide(rows)
    }

    /// Whether these rows are wider than the terminal however they are squeezed.
    fn is_too_wide(&self, rows: &[Vec<String>]) -> bool {
        self.widths.len() > 1 && framed(&self.fit(rows)) > self.width
    }

    /// Whether too little would be seen in a box. One column alone may be cut to any length:
    /// the others say which row it is.
    fn is_unreadable(&self, rows: &[Vec<String>]) -> bool {
        let (fit, needed) = (self.fit(rows), self.needed(rows));
        let both = || fit.iter().zip(&needed);
        let is_cut = both().filter(|(fit, needed)| fit < needed).count() > 1;
        is_cut && both().any(|(fit, needed)| fit * 3 < needed * SEEN_THIRDS_MIN)
    }

    /// Closes the box.
    fn close(&mut self, text: &mut String) {
        if let Some(bottom) = self.lines(&[]).pop() {
            text.push_str(&bottom);
            text.push('\n');
        }
        self.is_open = false;
    }

    /// The lines of a box with these rows: top, header, rule, rows, bottom.
    fn lines(&self, rows: &[Vec<String>]) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Disabled);
        let line = |texts: &[String]| -> Vec<Cell> {
            (texts.iter().zip(&self.widths).zip(&self.grid.right))
                .map(|((text, width), right)| {
                    Cell::new_owned(cut(text, *width)).set_alignment(match right {
                        true => CellAlignment::Right,
                        false => CellAlignment::Left,
                    })
                })
                .collect()
        };
        table.set_header(line(&self.grid.names));
        for row in rows {
            table.add_row(line(row));
        }
        table.set_constraints(self.widths.iter().map(|width| {
            // The two spaces belong to the column.
            ColumnConstraint::Absolute(TableWidth::Fixed((width + 2) as u16))
        }));
        table.lines().collect()
    }
}

/// The width of a box: a border and two spaces stand around each value.
fn framed(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 3 * widths.len() + 1
}

/// Lines above the rows of a box: its top, the names, the rule.
const HEAD_LINES: usize = 3;

impl Encoder for TableEncoder {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        let before = self.grid.rows;
        let rows = self.grid.take(records)?;
        if rows.is_empty() || self.widths.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        if self.is_vertical(&rows, records.num_rows()) {
            if self.is_open {
                self.close(&mut text);
            }
            for (number, row) in (before + 1..).zip(&rows) {
                write_block(number, &self.grid.names, row, &mut text);
            }
            self.has_blocks = true;
            return out.write_all(text.as_bytes()).map_err(io_error);
        }
        let widths = self.fit(&rows);
        if self.is_open && widths != self.widths {
            self.close(&mut text);
        }
        self.widths = widths;
        let lines = self.lines(&rows);
        let first = if self.is_open { HEAD_LINES } else { 0 };
        for line in &lines[first..lines.len() - 1] {
            text.push_str(line);
            text.push('\n');
        }
        self.is_open = true;
        out.write_all(text.as_bytes()).map_err(io_error)
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        let mut text = String::new();
        if !self.is_open && !self.has_blocks && self.is_too_wide(&[]) {
            for name in &self.grid.names {
                text.push_str(name);
                text.push('\n');
            }
        } else if self.is_open || !self.has_blocks {
            if !self.is_open {
                self.widths = self.fit(&[]);
            }
            let lines = self.lines(&[]);
            let first = if self.is_open { HEAD_LINES } else { 0 };
            for line in lines.iter().skip(first) {
                text.push_str(line);
                text.push('\n');
            }
        }
        self.is_open = false;
        text.push_str(&self.grid.closing());
        text.push('\n');
        out.write_all(text.as_bytes()).map_err(io_error)
    }
}

/// Writes a table in Markdown.
#[derive(Debug)]
pub(super) struct MarkdownEncoder {
    grid: Grid,
    header_due: bool,
}

impl MarkdownEncoder {
    pub(super) fn new(options: &EncodeOptions, schema: &SchemaRef) -> Self {
        Self {
            grid: Grid::new(options, schema),
            header_due: true,
        }
    }

    fn header(&mut self, text: &mut String) {
        if std::mem::take(&mut self.header_due) {
            markdown_line(&self.grid.names, text);
            for right in &self.grid.right {
                text.push_str(if *right { "|---:" } else { "|---" });
            }
            text.push_str("|\n");
        }
    }
}

fn markdown_line(values: &[String], text: &mut String) {
    for value in values {
        text.push_str("| ");
        for c in value.chars() {
            if matches!(c, '|' | '\\' | '`' | '*' | '_' | '<' | '[') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push(' ');
    }
    text.push_str("|\n");
}

impl Encoder for MarkdownEncoder {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        let mut text = String::new();
        self.header(&mut text);
        for row in self.grid.take(records)? {
            markdown_line(&row, &mut text);
        }
        out.write_all(text.as_bytes()).map_err(io_error)
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        let mut text = String::new();
        self.header(&mut text);
        if self.grid.rows > self.grid.rows_max {
            text.push_str(&format!("\n{}\n", self.grid.closing()));
        }
        out.write_all(text.as_bytes()).map_err(io_error)
    }
}
