//! What is written, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::setting::{Settings, unfit, unknown};
use crate::error::{Error, ErrorKind, Result};

/// A format that result rows can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputFormat {
    /// Aligned columns in a box, for people.
    Table,
    /// A table in Markdown.
    Markdown,
    /// Values between commas, or another delimiter.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Arrow IPC: a stream, or a file with a footer.
    Arrow,
    /// Apache Parquet.
    Parquet,
    /// InfluxDB line protocol.
    Line,
}

impl OutputFormat {
    /// Every format, in the order in which they are listed to a user.
    pub const ALL: [Self; 8] = [
        Self::Table,
        Self::Csv,
        Self::Json,
        Self::Ndjson,
        Self::Arrow,
        Self::Parquet,
        Self::Line,
        Self::Markdown,
    ];

    /// Its name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Markdown => "markdown",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
            Self::Line => "line",
        }
    }

    /// The extension of a file of this format, without a point.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Table => "txt",
            Self::Markdown => "md",
            Self::Line => "lp",
            other => other.name(),
        }
    }

    /// The format that a file's extension tells, beneath one of a compression.
    pub fn of_path(path: &Path) -> Option<Self> {
        let mut name = path.file_name()?.to_str()?.to_lowercase();
        for packed in [".gz", ".zst", ".zstd"] {
            if let Some(bare) = name.strip_suffix(packed) {
                name = bare.to_owned();
                break;
            }
        }
        Some(match name.rsplit_once('.')?.1 {
            "csv" | "tsv" => Self::Csv,
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "arrow" | "arrows" | "ipc" | "feather" => Self::Arrow,
            "parquet" => Self::Parquet,
            "lp" | "line" => Self::Line,
            "md" | "markdown" => Self::Markdown,
            "txt" => Self::Table,
            _ => return None,
        })
    }

    /// Whether the bytes are for machines only, not for a terminal.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OutputFormat {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Ok(match word.to_lowercase().as_str() {
            "jsonl" | "jsonlines" => Self::Ndjson,
            "md" => Self::Markdown,
            "ipc" | "feather" => Self::Arrow,
            "influx" => Self::Line,
            lower => match Self::ALL.iter().find(|format| format.name() == lower) {
                Some(format) => *format,
                None => return Err(unknown("format", word, &Self::ALL.map(Self::name))),
            },
        })
    }
}

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip, around the text formats only.
    Gzip,
    /// Zstandard: around the text formats, inside Parquet and Arrow IPC.
    Zstd,
    /// LZ4, inside Parquet and Arrow IPC only.
    Lz4,
    /// Snappy, inside Parquet only.
    Snappy,
}

impl Compression {
    const NAMES: [&'static str; 5] = ["none", "gzip", "zstd", "lz4", "snappy"];

    /// The compression that a file's extension tells.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        })
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Ok(match word.to_lowercase().as_str() {
            "none" | "uncompressed" => Self::None,
            "gzip" | "gz" => Self::Gzip,
            "zstd" | "zst" => Self::Zstd,
            "lz4" => Self::Lz4,
            "snappy" => Self::Snappy,
            _ => return Err(unknown("compression", word, &Self::NAMES)),
        })
    }
}

/// How rows are written; each format reads what concerns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeOptions {
    /// CSV: whether a line of column names comes first.
    pub header: bool,
    /// CSV: the byte between two values.
    pub delimiter: u8,
    /// CSV: the byte around a value that needs it; doubled inside.
    pub quote: u8,
    /// CSV, table and Markdown: the text of NULL.
    pub null_value: String,
    /// `None`: Parquet is packed by Zstandard, nothing else is packed.
    pub compression: Option<Compression>,
    /// Parquet: rows in a row group.
    pub row_group_rows: usize,
    /// Arrow: a file with a footer rather than a stream.
    pub arrow_file: bool,
    /// Line protocol: the measurement.
    pub measurement: String,
    /// Line protocol: the column of the timestamp; `None` = the first of that type.
    pub time_column: Option<String>,
    /// Table: how many columns of a terminal it may fill; `None` = any.
    pub width: Option<u16>,
    /// Table: each row as lines, one for each column; `false` = only where few rows are
    /// wider than the terminal.
    pub vertical: bool,
    /// Table and Markdown: rows shown; those after them are counted. `None` = all.
    pub rows_max: Option<u64>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            quote: b'"',
            null_value: String::new(),
            compression: None,
            row_group_rows: 1 << 20,
            arrow_file: false,
            measurement: "readings".to_owned(),
            time_column: None,
            width: None,
            vertical: false,
            rows_max: None,
        }
    }
}

impl EncodeOptions {
    /// The names that [`EncodeOptions::from_pairs`] knows.
    pub const NAMES: [&'static str; 8] = [
        "header",
        "delimiter",
        "quote",
        "null_value",
        "compression",
        "row_group_rows",
        "measurement",
        "time_column",
    ];

    /// Options by name, and the names that are none of [`EncodeOptions::NAMES`].
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Option`] if a value does not fit; it says what is allowed.
    pub fn from_pairs(pairs: &BTreeMap<String, String>) -> Result<(Self, Vec<String>)> {
        let mut settings = Settings::new(pairs);
        let options = Self::take(&mut settings)?;
        Ok((options, settings.rest()))
    }

    pub(crate) fn take(settings: &mut Settings<'_>) -> Result<Self> {
        let mut options = Self::default();
        if let Some(header) = settings.flag("header")? {
            options.header = header;
        }
        if let Some(delimiter) = settings.character("delimiter")? {
            options.delimiter = delimiter;
        }
        if let Some(quote) = settings.character("quote")? {
            options.quote = quote;
        }
        if options.quote == options.delimiter {
            let quote = char::from(options.quote).to_string();
            return Err(unfit(
                "quote",
                &quote,
                "another character than the delimiter",
            ));
        }
        if let Some(text) = settings.text("null_value") {
            options.null_value = text.to_owned();
        }
        if let Some(word) = settings.text("compression") {
            options.compression = Some(word.parse()?);
        }
        if let Some(rows) = settings.count("row_group_rows", 1..=1 << 30)? {
            options.row_group_rows = rows as usize;
        }
        if let Some(name) = settings.text("measurement") {
            if name.is_empty() {
                return Err(unfit("measurement", name, "a name"));
            }
            options.measurement = name.to_owned();
        }
        if let Some(name) = settings.text("time_column") {
            options.time_column = Some(name.to_owned());
        }
        Ok(options)
    }
}

/// The error of a compression that a format cannot take.
pub(super) fn cannot_pack(format: OutputFormat, compression: Compression, allowed: &str) -> Error {
    Error::new(
        ErrorKind::Option,
        format!("format {format} cannot be packed by {compression}"),
    )
    .help(format!("compression may be {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_has_one_name_and_near_misses_are_helped() {
        for format in OutputFormat::ALL {
            assert_eq!(
                format.name().parse::<OutputFormat>().expect("known"),
                format
            );
        }
        assert_eq!(
            "parqet"
                .parse::<OutputFormat>()
                .expect_err("a slip")
                .to_string(),
            "unknown format 'parqet'\n   = help: did you mean 'parquet'? known are table, csv, \
             json, ndjson, arrow, parquet, line, markdown"
        );
    }

    #[test]
    fn extensions_tell_the_format() {
        for (path, format) in [
            ("out/a.csv", Some(OutputFormat::Csv)),
            ("a.JSONL", Some(OutputFormat::Ndjson)),
            ("a.csv.gz", Some(OutputFormat::Csv)),
            ("result.json", Some(OutputFormat::Json)),
            ("a.feather", Some(OutputFormat::Arrow)),
            ("a.xlsx", None),
            ("out/", None),
        ] {
            assert_eq!(OutputFormat::of_path(Path::new(path)), format, "{path}");
        }
    }

    #[test]
    fn options_are_validated() {
        let pairs = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let (options, rest) = EncodeOptions::from_pairs(&pairs("delimiter", "\\t")).expect("fits");
        assert_eq!((options.delimiter, rest.len()), (b'\t', 0));
        assert_eq!(
            EncodeOptions::from_pairs(&pairs("delimiter", "ab"))
                .expect_err("two")
                .to_string(),
            "option delimiter is 'ab', but must be one ASCII character"
        );
        assert_eq!(
            EncodeOptions::from_pairs(&pairs("compression", "zst d"))
                .expect_err("a slip")
                .message(),
            "unknown compression 'zst d'"
        );
        let (_, rest) = EncodeOptions::from_pairs(&pairs("path", "x")).expect("not its own");
        assert_eq!(rest, ["path"]);
    }
}
