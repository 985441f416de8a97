//! Rows for reading: aligned columns, or Markdown.
//!
//! ```text
//!  sensor | window_start        |  pm25        | sensor | window_start        |  pm25 |
//! --------+---------------------+------        |:-------|:--------------------|------:|
//!  a      | 2026-01-01T00:00:00 | 12.5         | a      | 2026-01-01T00:00:00 |  12.5 |
//! ```
//!
//! The first rows set the widths, so that rows of a live query can be written as they
//! come; a wider value later pushes its line out.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use unicode_width::UnicodeWidthStr;

use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;

/// How a table is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Markdown,
}

/// Writes rows as a table.
#[derive(Debug)]
pub(super) struct TableEncoder {
    style: Style,
    schema: SchemaRef,
    /// `[columns]`, in terminal cells; empty until the header is written.
    widths: Vec<usize>,
}

impl TableEncoder {
    pub(super) fn new(style: Style, schema: &SchemaRef) -> Self {
        Self {
            style,
            schema: schema.clone(),
            widths: vec![],
        }
    }

    fn is_number(&self, column: usize) -> bool {
        self.schema.field(column).data_type().is_numeric()
    }

    /// The columns' names, and a rule below them.
    fn header(&mut self, rows: &[Vec<String>], out: &mut dyn Write) -> std::io::Result<()> {
        let names: Vec<String> = (self.schema.fields().iter())
            .map(|field| self.shown(field.name()))
            .collect();
        self.widths = (names.iter().enumerate())
            .map(|(column, name)| {
                let cells = rows.iter().map(|row| row[column].width());
                // Markdown needs three dashes.
                cells.max().unwrap_or(0).max(name.width()).max(3)
            })
            .collect();
        self.line(&names, out)?;
        let rules = self.widths.iter().enumerate().map(|(column, width)| {
            match (self.style, self.is_number(column)) {
                (Style::Plain, _) => "-".repeat(width + 2),
                (Style::Markdown, true) => format!("{}:", "-".repeat(width + 1)),
                (Style::Markdown, false) => format!(":{}", "-".repeat(width + 1)),
            }
        });
        let rules: Vec<String> = rules.collect();
        match self.style {
            Style::Plain => writeln!(out, "{}", rules.join("+").trim_end()),
            Style::Markdown => writeln!(out, "|{}|", rules.join("|")),
        }
    }

    fn line(&self, cells: &[String], out: &mut dyn Write) -> std::io::Result<()> {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(&self.widths).enumerate() {
            if column > 0 || self.style == Style::Markdown {
                line.push('|');
            }
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            line.push(' ');
            if self.is_number(column) {
                line.push_str(&padding);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&padding);
            }
            line.push(' ');
        }
        match self.style {
            Style::Plain => writeln!(out, "{}", line.trim_end()),
            Style::Markdown => writeln!(out, "{line}|"),
        }
    }

    /// A value on one line.
    fn shown(&self, text: &str) -> String {
        let text = text
            .replace('\n', "\\n")
            .replace('\r', "\\r")
            .replace('\t', "\\t");
        match self.style {
            Style::Plain => text,
            Style::Markdown => text.replace('|', "\\|"),
        }
    }
}

impl Encoder for TableEncoder {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        let options = FormatOptions::default().with_null(match self.style {
            Style::Plain => "NULL",
            Style::Markdown => "",
        });
        let unreadable =
            |error| Error::new(ErrorKind::Data, "a value cannot be shown").caused_by(error);
        let columns = (records.columns().iter())
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        let rows = (0..records.num_rows())
            .map(|row| {
                (columns.iter())
                    .map(|column| Ok(self.shown(&column.value(row).try_to_string()?)))
                    .collect::<Result<Vec<_>, _>>()
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        if self.widths.is_empty() {
            self.header(&rows, out).map_err(unwritten)?;
        }
        for row in &rows {
            self.line(row, out).map_err(unwritten)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        if self.widths.is_empty() {
            self.header(&[], out).map_err(unwritten)?;
        }
        Ok(())
    }
}

fn unwritten(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("writing the rows failed: {error}")).caused_by(error)
}
