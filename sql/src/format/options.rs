//! The options of a format, as they are written in `WITH (…)`.
//!
//! | option | of | default |
//! |---|---|---|
//! | `format` | all | by the file's name |
//! | `compression` | text | by the file's name |
//! | `sample_rows` | all that are inferred | 10,000 |
//! | `line_bytes_max` | text | 16 MiB |
//! | `timestamp_format` | text | ISO 8601 |
//! | `header`, `delimiter`, `quote`, `escape`, `comment`, `null_value` | CSV | `true`, `,`, `"`, doubled quotes, none, an empty field without quotes |
//! | `time_column` | line protocol | `time` |
//! | `path.COLUMN` | JSON | the key `COLUMN` |

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::time::TimestampFormat;
use crate::error::{Error, ErrorKind, Result, nearest};

/// How rows are written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Fields between delimiters, one row a line.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// An array of JSON objects, or objects one after the other.
    Json,
    /// Arrow IPC, as a file or as a stream.
    Arrow,
    /// Apache Parquet.
    Parquet,
    /// InfluxDB's line protocol.
    Line,
}

impl Format {
    const ALL: [(&'static str, Format); 6] = [
        ("csv", Format::Csv),
        ("ndjson", Format::Ndjson),
        ("json", Format::Json),
        ("arrow", Format::Arrow),
        ("parquet", Format::Parquet),
        ("line", Format::Line),
    ];

    /// Whether its rows are lines or objects of text.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Ndjson | Self::Json | Self::Line)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Self::ALL[*self as usize];
        f.write_str(name)
    }
}

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip, several members allowed.
    Gzip,
    /// Zstandard, several frames allowed.
    Zstd,
}

/// The options of a format.
#[derive(Debug, Clone, PartialEq)]
pub struct FormatOptions {
    /// `None`: by the file's extension, or by the first bytes of a pipe.
    pub format: Option<Format>,
    /// `None`: by the file's extension, or by the first bytes of a pipe.
    pub compression: Option<Compression>,
    /// How many rows are looked at to infer columns.
    pub sample_rows: usize,
    /// The greatest length of a line, or of an object of a JSON array, in bytes; a
    /// longer one is rejected without being held in memory.
    pub line_bytes_max: usize,
    /// The form of times in text; `None` is ISO 8601.
    pub timestamp_format: Option<TimestampFormat>,
    /// Whether the first line of a CSV file names its columns.
    pub header: bool,
    /// What stands between CSV fields; `None`: a tab in `.tsv` files, else a comma.
    pub delimiter: Option<u8>,
    /// What encloses CSV fields; `None`: nothing does.
    pub quote: Option<u8>,
    /// What takes the meaning from the byte after it inside quotes; `None`: only a
    /// doubled quote.
    pub escape: Option<u8>,
    /// What starts a CSV line that is no row.
    pub comment: Option<u8>,
    /// CSV fields that are NULL; `None`: an empty field without quotes.
    pub null_values: Option<Vec<String>>,
    /// The column that takes the time of line protocol; `None`: `time`.
    pub time_column: Option<String>,
    /// Where columns are found in nested JSON, by column.
    pub paths: BTreeMap<String, JsonPath>,
}

/// Keys and list indices from the outside in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(pub Vec<String>);

/// The default of `sample_rows`.
pub const SAMPLE_ROWS_DEFAULT: usize = 10_000;

/// The default of `line_bytes_max`: 16 MiB.
pub const LINE_BYTES_MAX_DEFAULT: usize = 16 << 20;

impl Default for FormatOptions {
    fn default() -> Self {
        Self {
            format: None,
            compression: None,
            sample_rows: SAMPLE_ROWS_DEFAULT,
            line_bytes_max: LINE_BYTES_MAX_DEFAULT,
            timestamp_format: None,
            header: true,
            delimiter: None,
            quote: Some(b'"'),
            escape: None,
            comment: None,
            null_values: None,
            time_column: None,
            paths: BTreeMap::new(),
        }
    }
}

/// The names of the options that [`FormatOptions::from_pairs`] knows; `path.COLUMN`
/// stands beside them.
pub const FORMAT_OPTIONS: [&str; 12] = [
    "format",
    "compression",
    "sample_rows",
    "line_bytes_max",
    "timestamp_format",
    "header",
    "delimiter",
    "quote",
    "escape",
    "comment",
    "null_value",
    "time_column",
];

impl FormatOptions {
    /// Reads the options of a format out of all options of a stream; gives back the
    /// names that are none of them, which belong to the connector or are mistakes.
    ///
    /// - `null_value`: several are separated by commas, `'NA,'` is NA and nothing.
    /// - `delimiter`: one ASCII character, or `tab` or `\t`.
    /// - `quote`, `escape`, `comment`: one ASCII character, or nothing.
    ///
    /// # Errors
    /// If a value is not allowed, or two of them contradict each other.
    pub fn from_pairs(pairs: &BTreeMap<String, String>) -> Result<(Self, Vec<String>)> {
        let mut options = Self::default();
        let mut unknown = Vec::new();
        for (name, value) in pairs {
            match name.as_str() {
                "format" => options.format = Some(parse_format(value)?),
                "compression" => options.compression = Some(parse_compression(value)?),
                "sample_rows" => options.sample_rows = parse_count(name, value, 1, 1 << 30)?,
                "line_bytes_max" => {
                    options.line_bytes_max = parse_count(name, value, 1 << 16, 1 << 30)?;
                }
                "timestamp_format" => {
                    options.timestamp_format = Some(parse_timestamp_format(value)?);
                }
                "header" => options.header = parse_bool(name, value)?,
                "delimiter" => options.delimiter = Some(parse_delimiter(value)?),
                "quote" => options.quote = parse_byte(name, value)?,
                "escape" => options.escape = parse_byte(name, value)?,
                "comment" => options.comment = parse_byte(name, value)?,
                "null_value" => {
                    options.null_values = Some(value.split(',').map(str::to_owned).collect());
                }
                "time_column" => options.time_column = Some(value.clone()),
                _ => match name.strip_prefix("path.") {
                    Some(column) => {
                        let path = parse_path(name, value)?;
                        options.paths.insert(column.to_owned(), path);
                    }
                    None => unknown.push(name.clone()),
                },
            }
        }
        options.check_roles()?;
        Self::check_use(options.format.as_slice(), pairs)?;
        Ok((options, unknown))
    }

    /// No byte may have two meanings.
    fn check_roles(&self) -> Result<()> {
        let delimiter = self.delimiter.unwrap_or(b',');
        let roles = [
            ("quote", self.quote),
            ("escape", self.escape.filter(|_| self.escape != self.quote)),
            ("comment", self.comment),
        ];
        let mut taken = vec![("delimiter", delimiter)];
        for (name, byte) in roles {
            let Some(byte) = byte else { continue };
            if let Some((other, _)) = taken.iter().find(|(_, other)| *other == byte) {
                return Err(Error::new(
                    ErrorKind::Option,
                    format!("{name} and {other} cannot both be '{}'", byte as char),
                ));
            }
            taken.push((name, byte));
        }
        Ok(())
    }

    /// Refuses an option that would do nothing, as it belongs to none of the formats
    /// that are read. No formats: which it is, is not known yet.
    ///
    /// # Errors
    /// Names the option and the formats that have it.
    pub(crate) fn check_use(formats: &[Format], pairs: &BTreeMap<String, String>) -> Result<()> {
        let Some(format) = formats.first() else {
            return Ok(());
        };
        for name in pairs.keys() {
            let (fits, whose): (fn(Format) -> bool, _) = match name.as_str() {
                "header" | "delimiter" | "quote" | "escape" | "comment" | "null_value" => {
                    (|format| format == Format::Csv, "csv")
                }
                "timestamp_format" | "line_bytes_max" | "compression" => {
                    (Format::is_text, "csv, ndjson, json and line")
                }
                "time_column" => (|format| format == Format::Line, "line"),
                name if name.starts_with("path.") => (
                    |format| matches!(format, Format::Json | Format::Ndjson),
                    "ndjson and json",
                ),
                _ => continue,
            };
            if !formats.iter().any(|format| fits(*format)) {
                return Err(Error::new(
                    ErrorKind::Option,
                    format!("{name} is an option of {whose}, not of {format}"),
                )
                .help(format!("leave {name} out, or change format")));
            }
        }
        Ok(())
    }

    /// What a file is, by these options and its name.
    ///
    /// # Errors
    /// If neither tells.
    pub fn resolve(&self, path: &Path) -> Result<(Format, Compression)> {
        let name = (path.file_name().unwrap_or_default())
            .to_string_lossy()
            .to_lowercase();
        let (stem, by_name) = match name.rsplit_once('.') {
            Some((stem, "gz" | "gzip")) => (stem, Compression::Gzip),
            Some((stem, "zst" | "zstd")) => (stem, Compression::Zstd),
            _ => (name.as_str(), Compression::None),
        };
        let extension = stem.rsplit_once('.').map_or("", |(_, extension)| extension);
        let format = (self.format)
            .or_else(|| Self::by_extension(extension))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Option,
                    format!("the format of {} cannot be told from its name", path.display()),
                )
                .help("say which it is, for example format = 'csv'; known are csv, ndjson, json, arrow and parquet")
            })?;
        Ok((format, self.compression.unwrap_or(by_name)))
    }

    /// The format that a file name's extension stands for.
    pub fn by_extension(extension: &str) -> Option<Format> {
        Some(match extension {
            "csv" | "tsv" => Format::Csv,
            "ndjson" | "jsonl" => Format::Ndjson,
            "json" => Format::Json,
            "arrow" | "arrows" | "ipc" | "feather" => Format::Arrow,
            "parquet" => Format::Parquet,
            _ => return None,
        })
    }

    /// What stands between the fields of the CSV file `path`.
    pub fn delimiter_of(&self, path: &Path) -> u8 {
        self.delimiter.unwrap_or_else(|| {
            let name = path.to_string_lossy().to_lowercase();
            let name = (name.strip_suffix(".gz"))
                .or_else(|| name.strip_suffix(".zst"))
                .unwrap_or(&name);
            if name.ends_with(".tsv") { b'\t' } else { b',' }
        })
    }
}

fn not_allowed(name: &str, value: &str, allowed: &str) -> Error {
    Error::new(
        ErrorKind::Option,
        format!("{name} cannot be '{value}'; it must be {allowed}"),
    )
}

fn parse_format(value: &str) -> Result<Format> {
    let lower = value.to_lowercase();
    let names = || Format::ALL.iter().map(|(name, _)| *name);
    match Format::ALL.iter().find(|(name, _)| *name == lower) {
        Some((_, format)) => Ok(*format),
        None => {
            let error = not_allowed(
                "format",
                value,
                "one of csv, ndjson, json, arrow, parquet and line",
            );
            Err(match nearest(&lower, names()) {
                Some(name) => error.help(format!("did you mean '{name}'?")),
                None => error,
            })
        }
    }
}

fn parse_compression(value: &str) -> Result<Compression> {
    match value.to_lowercase().as_str() {
        "none" | "uncompressed" => Ok(Compression::None),
        "gzip" | "gz" => Ok(Compression::Gzip),
        "zstd" | "zst" => Ok(Compression::Zstd),
        _ => Err(not_allowed(
            "compression",
            value,
            "one of none, gzip and zstd",
        )),
    }
}

/// A count from `min` to `max`.
pub(crate) fn parse_count(name: &str, value: &str, min: usize, max: usize) -> Result<usize> {
    (value.parse().ok())
        .filter(|count| (min..=max).contains(count))
        .ok_or_else(|| not_allowed(name, value, &format!("a whole number from {min} to {max}")))
}

fn parse_bool(name: &str, value: &str) -> Result<bool> {
    match value.to_lowercase().as_str() {
        "true" | "on" | "1" | "yes" => Ok(true),
        "false" | "off" | "0" | "no" => Ok(false),
        _ => Err(not_allowed(name, value, "true or false")),
    }
}

fn parse_timestamp_format(value: &str) -> Result<TimestampFormat> {
    TimestampFormat::new(value).ok_or_else(|| {
        not_allowed(
            "timestamp_format",
            value,
            "a strftime format that tells the date",
        )
        .help("for example '%Y-%m-%d %H:%M:%S' or '%d.%m.%Y %H:%M %z'")
    })
}

fn parse_byte(name: &str, value: &str) -> Result<Option<u8>> {
    match value.as_bytes() {
        [] => Ok(None),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
        _ => Err(not_allowed(
            name,
            value,
            "one ASCII character, or '' for none",
        )),
    }
}

fn parse_delimiter(value: &str) -> Result<u8> {
    match value {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match value.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
            _ => Err(not_allowed(
                "delimiter",
                value,
                "one ASCII character, for example ';' or 'tab'",
            )),
        },
    }
}

fn parse_path(name: &str, value: &str) -> Result<JsonPath> {
    let keys: Vec<String> = value.split('.').map(str::to_owned).collect();
    if keys.iter().any(String::is_empty) {
        return Err(not_allowed(
            name,
            value,
            "keys with points between them, for example 'a.b.0'",
        ));
    }
    Ok(JsonPath(keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        (pairs.iter())
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn options_are_read_and_others_given_back() {
        let (options, unknown) = FormatOptions::from_pairs(&pairs(&[
            ("format", "CSV"),
            ("compression", "gzip"),
            ("delimiter", "\\t"),
            ("null_value", "NA,"),
            ("header", "false"),
            ("escape", "\\"),
            ("batch_rows", "10"),
            ("heeder", "true"),
        ]))
        .expect("valid");
        assert_eq!(unknown, ["batch_rows", "heeder"]);
        assert_eq!(options.format, Some(Format::Csv));
        assert_eq!(options.compression, Some(Compression::Gzip));
        assert_eq!(options.delimiter, Some(b'\t'));
        assert_eq!(options.null_values, Some(vec!["NA".into(), String::new()]));
        assert!(!options.header);
        assert_eq!(options.escape, Some(b'\\'));

        let (options, _) = FormatOptions::from_pairs(&pairs(&[
            ("format", "ndjson"),
            ("path.temp", "body.readings.0.t"),
        ]))
        .expect("valid");
        assert_eq!(options.paths["temp"].0, ["body", "readings", "0", "t"]);
    }

    #[test]
    fn a_value_that_is_not_allowed_is_named_with_what_is() {
        for (name, value, expected) in [
            (
                "format",
                "cvs",
                "format cannot be 'cvs'; it must be one of csv, ndjson, json, arrow, parquet and line\n   = help: did you mean 'csv'?",
            ),
            (
                "compression",
                "lz4",
                "compression cannot be 'lz4'; it must be one of none, gzip and zstd",
            ),
            (
                "sample_rows",
                "0",
                "sample_rows cannot be '0'; it must be a whole number from 1 to 1073741824",
            ),
            (
                "header",
                "maybe",
                "header cannot be 'maybe'; it must be true or false",
            ),
            (
                "delimiter",
                "::",
                "delimiter cannot be '::'; it must be one ASCII character, for example ';' or 'tab'",
            ),
            (
                "quote",
                "«",
                "quote cannot be '«'; it must be one ASCII character, or '' for none",
            ),
            ("quote", ",", "quote and delimiter cannot both be ','"),
            (
                "timestamp_format",
                "%Q",
                "timestamp_format cannot be '%Q'; it must be a strftime format that tells the date\n   = help: for example '%Y-%m-%d %H:%M:%S' or '%d.%m.%Y %H:%M %z'",
            ),
            (
                "path.t",
                "a..b",
                "path.t cannot be 'a..b'; it must be keys with points between them, for example 'a.b.0'",
            ),
        ] {
            let error = FormatOptions::from_pairs(&pairs(&[(name, value)])).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Option);
            assert_eq!(error.to_string(), expected);
        }
        let error = FormatOptions::from_pairs(&pairs(&[("format", "ndjson"), ("delimiter", ";")]))
            .expect_err("of csv");
        assert_eq!(
            error.message(),
            "delimiter is an option of csv, not of ndjson"
        );
    }

    #[test]
    fn a_name_tells_format_and_compression() {
        let resolve = |name: &str| FormatOptions::default().resolve(Path::new(name)).ok();
        assert_eq!(resolve("a/b.csv"), Some((Format::Csv, Compression::None)));
        assert_eq!(resolve("b.TSV.gz"), Some((Format::Csv, Compression::Gzip)));
        assert_eq!(
            resolve("b.jsonl.zst"),
            Some((Format::Ndjson, Compression::Zstd))
        );
        assert_eq!(resolve("b.json"), Some((Format::Json, Compression::None)));
        assert_eq!(
            resolve("b.feather"),
            Some((Format::Arrow, Compression::None))
        );
        assert_eq!(
            resolve("b.parquet"),
            Some((Format::Parquet, Compression::None))
        );
        assert_eq!(resolve("b.txt"), None);
        assert_eq!(resolve("csv"), None);
        let options = FormatOptions::default();
        assert_eq!(options.delimiter_of(Path::new("b.TSV.gz")), b'\t');
        assert_eq!(options.delimiter_of(Path::new("b.csv")), b',');
    }
}
