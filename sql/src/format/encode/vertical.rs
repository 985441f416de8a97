//! A row as lines, one for each column, where a box would be wider than the terminal.
//!
//! ```text
//! ── row 1 ──
//! stream    │ air
//! received  │ 1200
//! ```

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows of a batch that are shown as lines when they do not fit into a box; more are read
/// more easily in a box.
pub(super) const BLOCK_ROWS_MAX: usize = 3;

/// The width at which a long name is cut.
const NAME_WIDTH_MAX: usize = 40;

/// The width at which a long value is cut; it may go over several lines of the terminal.
const VALUE_WIDTH_MAX: usize = 1_000;

/// The text cut to a width, with `…` where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut short: String = (text.chars())
        .take_while(|c| {
            let fits = c.width().unwrap_or(0) <= left;
            left = left.saturating_sub(c.width().unwrap_or(0));
            fits
        })
        .collect();
    short.push('…');
    short
}

/// Adds the lines of a row to a text. `number`: that of the row, from 1.
pub(super) fn write_block(number: u64, names: &[String], row: &[String], text: &mut String) {
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let widest = widest.min(NAME_WIDTH_MAX);
    text.push_str(&format!("── row {number} ──\n"));
    for (name, value) in names.iter().zip(row) {
        let name = cut(name, widest);
        let space = " ".repeat(widest.saturating_sub(name.width()));
        text.push_str(&format!(
            "{name}{space} │ {}\n",
            cut(value, VALUE_WIDTH_MAX)
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};

    use crate::format::encode::{EncodeOptions, OutputFormat, encoder};

    /// Rows of a name and a number, in a table `width` columns wide.
    fn shown(rows: &[(&str, i32)], options: EncodeOptions) -> String {
        let (names, numbers): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
        let batch = RecordBatch::try_from_iter([
            ("place", Arc::new(StringArray::from(names)) as ArrayRef),
            ("n", Arc::new(Int32Array::from(numbers)) as ArrayRef),
        ])
        .unwrap();
        let mut encoder = encoder(OutputFormat::Table, &options, &batch.schema()).unwrap();
        let mut out = Vec::new();
        encoder.encode(&batch, &mut out).unwrap();
        encoder.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn wide(width: u16) -> EncodeOptions {
        EncodeOptions {
            width: Some(width),
            ..EncodeOptions::default()
        }
    }

    const ROWS: [(&str, i32); 2] = [("the roof of the town hall", 1), ("yard", 23)];

    const BLOCKS: &str = "── row 1 ──\n\
        place │ the roof of the town hall\n\
        n     │ 1\n\
        ── row 2 ──\n\
        place │ yard\n\
        n     │ 23\n\
        2 rows\n";

    #[test]
    fn few_rows_that_do_not_fit_are_shown_as_lines() {
        // 25 and 2 columns of values, 7 of the frame.
        assert_eq!(shown(&ROWS, wide(33)), BLOCKS);
        let fits = shown(&ROWS, wide(34));
        assert!(
            fits.contains("│ the roof of the town hall ┆  1 │"),
            "{fits}"
        );
        let many = [ROWS, ROWS].concat();
        let many = shown(&many, wide(33));
        assert!(many.contains("│ the roof of the town ha… ┆  1 │"), "{many}");
    }

    /// Rows of so many columns, each with a name and a value of ten letters.
    fn many_columns(columns: usize, rows: usize, width: u16) -> String {
        let texts = Arc::new(StringArray::from(vec!["abcdefghij"; rows])) as ArrayRef;
        let columns = (0..columns).map(|n| (format!("column_{n:03}"), texts.clone()));
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut encoder = encoder(OutputFormat::Table, &wide(width), &batch.schema()).unwrap();
        let mut out = Vec::new();
        encoder.encode(&batch, &mut out).unwrap();
        encoder.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_that_do_not_fit_however_they_are_cut_are_lines() {
        // Seven columns of 8, and 22 of the frame: 78.
        let boxed = many_columns(7, 5, 78);
        assert!(boxed.contains("│ abcdefg… ┆"), "{boxed}");
        let lines = many_columns(7, 5, 77);
        assert!(lines.starts_with("── row 1 ──\ncolumn_000 │ abcdefghij\n"));
        assert!(lines.ends_with("column_006 │ abcdefghij\n5 rows\n"));
        // Without rows, the names.
        assert_eq!(many_columns(7, 0, 78).matches('│').count(), 2);
        assert_eq!(
            many_columns(3, 0, 33),
            "column_000\ncolumn_001\ncolumn_002\n0 rows\n"
        );
    }

    #[test]
    fn where_two_columns_are_cut_each_can_still_be_read() {
        let text = |text: &str| Arc::new(StringArray::from(vec![text; 4])) as ArrayRef;
        // 46 letters, and 20.
        let reason = "the value of the column is not a number at all";
        let columns = [
            ("reason", text(reason)),
            ("position", text("tcp 127.0.0.1:7104:1")),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let shown = |width: u16| {
            let mut encoder = encoder(OutputFormat::Table, &wide(width), &batch.schema()).unwrap();
            let mut out = Vec::new();
            encoder.encode(&batch, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        // Twice 20 and 7 of the frame: one column is cut.
        let boxed = shown(47);
        assert!(
            boxed.contains("│ the value of the co… ┆ tcp 127.0.0.1:7104:1 │"),
            "{boxed}"
        );
        let lines = shown(46);
        assert!(lines.contains(&format!("reason   │ {reason}\n")), "{lines}");
    }

    #[test]
    fn whoever_asks_for_lines_gets_them_whatever_fits() {
        let options = EncodeOptions {
            vertical: true,
            ..wide(200)
        };
        assert_eq!(shown(&ROWS, options), BLOCKS);
    }
}
