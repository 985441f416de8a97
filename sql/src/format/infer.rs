//! The columns of a text, from a sample of its rows.
//!
//! A column has the narrowest type that all sampled values fit: BIGINT, DOUBLE, BOOLEAN,
//! DATE, TIMESTAMP (microseconds; with zone `+00:00` if any value names one), else TEXT.
//! A column without values is TEXT. Integers beyond 64 bits are TEXT too, so that
//! identifiers keep their digits, unless the column holds fractions. JSON objects are
//! structs, arrays are lists; values of different kinds in one place make it TEXT. Rows
//! that cannot be read are passed over here and rejected later.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::Value;

use super::chunk::{Chunk, ChunkParser, Shape};
use super::column::nullable;
use super::columnar::{ARROW_FILE_MAGIC, ARROW_STREAM_MAGIC, ParquetFile, arrow_schema, shown};
use super::csv::is_missing_word;
use super::csv::{CsvParser, take_header};
use super::number::{Fault, parse_f64, parse_i64};
use super::options::{Format, FormatOptions, JsonPath};
use super::reader::{Fill, decompress};
use super::rows::RowShape;
use super::text::TextFormat;
use super::time::{DateCache, TimestampFormat, parse_iso};
use crate::error::{Error, ErrorKind, Result};

/// A sample is read in chunks of this size.
const SAMPLE_CHUNK_BYTES: usize = 256 << 10;

/// The kinds of values that were seen, one bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kinds(u8);

impl Kinds {
    const INTEGER: Self = Self(1);
    const LONG_INTEGER: Self = Self(2);
    const FLOAT: Self = Self(4);
    const BOOLEAN: Self = Self(8);
    const DATE: Self = Self(16);
    const TIME: Self = Self(32);
    const ZONED_TIME: Self = Self(64);
    const TEXT: Self = Self(128);

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn only(self, others: &[Self]) -> bool {
        self.0 & !others.iter().fold(0, |bits, kind| bits | kind.0) == 0
    }

    fn data_type(self) -> DataType {
        if self.0 == 0 {
            DataType::Utf8
        } else if self.only(&[Self::INTEGER]) {
            DataType::Int64
        } else if self.only(&[Self::INTEGER, Self::LONG_INTEGER, Self::FLOAT])
            && self.has(Self::FLOAT)
        {
            DataType::Float64
        } else if self.only(&[Self::BOOLEAN]) {
            DataType::Boolean
        } else if self.only(&[Self::DATE]) {
            DataType::Date32
        } else if self.only(&[Self::DATE, Self::TIME, Self::ZONED_TIME]) {
            let zone = self.has(Self::ZONED_TIME).then(|| "+00:00".into());
            DataType::Timestamp(TimeUnit::Microsecond, zone)
        } else {
            DataType::Utf8
        }
    }

    /// The kind of a text that is no number.
    fn of_words(text: &str, times: Option<&TimestampFormat>) -> Self {
        let time = match times {
            Some(format) => format.parse(text.as_bytes()),
            None => parse_iso(text.as_bytes(), &mut DateCache::default()),
        };
        match time {
            None => Self::TEXT,
            Some(time) if time.has_zone() => Self::ZONED_TIME,
            Some(time) if times.is_none() && time.plain_date().is_some() => Self::DATE,
            Some(_) => Self::TIME,
        }
    }

    /// The kind of a CSV field; an empty one tells nothing.
    fn of_field(text: &str, times: Option<&TimestampFormat>) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::default();
        }
        match parse_i64(text.as_bytes()) {
            Ok(_) => return Self::INTEGER,
            Err(Fault::Range) => return Self::LONG_INTEGER,
            Err(_) => {}
        }
        match parse_f64(text.as_bytes()) {
            Ok(value) if value.is_finite() => return Self::FLOAT,
            Ok(_) if matches!(text, "NaN" | "nan" | "inf" | "-inf") => return Self::FLOAT,
            _ => {}
        }
        if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            return Self::BOOLEAN;
        }
        Self::of_words(text, times)
    }
}

/// The columns of a file.
///
/// Of a text, `sample_rows` rows are looked at; the other formats say what they hold.
/// Every column may be NULL.
///
/// # Errors
/// If the file cannot be read, is of no known format or holds nothing to infer columns
/// from.
pub fn infer(path: &Path, options: &FormatOptions) -> Result<SchemaRef> {
    let (format, compression) = options.resolve(path)?;
    Ok(match format {
        Format::Parquet => nullable(ParquetFile::open(path)?.schema()),
        Format::Arrow => nullable(&*arrow_schema(path)?),
        _ => {
            let text = TextFormat {
                format,
                options: Arc::new(options.clone()),
                delimiter: options.delimiter_of(path),
            };
            let io = |error: io::Error| {
                Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).caused_by(error)
            };
            let file = File::open(path).map_err(io)?;
            let reader = decompress(Box::new(file), compression).map_err(io)?;
            infer_text(reader, &text, &shown(path))?
        }
    })
}

/// The columns of a text.
///
/// # Errors
/// If it cannot be read, or holds nothing to infer them from.
pub(crate) fn infer_text(reader: impl Fill, text: &TextFormat, file: &str) -> Result<SchemaRef> {
    let mut chunks = text.chunks(reader, SAMPLE_CHUNK_BYTES, false)?;
    let mut next = || {
        chunks.next().map_err(|error| {
            Error::new(ErrorKind::Io, format!("reading {file}: {error}")).caused_by(error)
        })
    };
    let fields = match text.format {
        Format::Csv => infer_csv(&mut next, text, file)?,
        _ => infer_json(&mut next, text)?,
    };
    if fields.is_empty() {
        return Err(Error::new(
            ErrorKind::Data,
            format!("{file}: it holds no row to infer columns from"),
        )
        .help("declare the columns in CREATE STREAM"));
    }
    Ok(Arc::new(Schema::new(fields)))
}

type NextChunk<'a> = dyn FnMut() -> Result<Option<Chunk>> + 'a;

fn infer_csv(next: &mut NextChunk<'_>, text: &TextFormat, file: &str) -> Result<Vec<Field>> {
    let dialect = text.dialect();
    let times = text.options.timestamp_format.as_ref();
    let mut sample: Option<(Vec<String>, CsvParser)> = None;
    let mut kinds = Vec::new();
    let mut rows = 0;
    while rows < text.options.sample_rows
        && let Some(mut chunk) = next()?
    {
        if sample.is_none() {
            let (start, first_line) = (chunk.start, chunk.first_line);
            let Some(mut names) = take_header(&dialect, &mut chunk, file)? else {
                continue;
            };
            if !text.options.header {
                (chunk.start, chunk.first_line) = (start, first_line);
                names = (1..=names.len())
                    .map(|index| format!("column_{index}"))
                    .collect();
            }
            let fields: Fields = (names.iter())
                .map(|name| Field::new(name, DataType::Utf8, true))
                .collect();
            let shape = RowShape {
                schema: Arc::new(Schema::new(fields)),
                times: None,
                file: file.into(),
                batch_rows: text.options.sample_rows,
                line_bytes_max: text.options.line_bytes_max,
            };
            kinds = vec![Kinds::default(); names.len()];
            let null_values = text.options.null_values.as_deref();
            let parser = CsvParser::new(shape, dialect, null_values, None)?;
            sample = Some((names, parser));
        }
        let Some((_, parser)) = &sample else { continue };
        parser.parse(&chunk, &mut |piece| {
            for (column, kinds) in piece.records.columns().iter().zip(&mut kinds) {
                let left = text
                    .options
                    .sample_rows
                    .saturating_sub(rows)
                    .min(column.len());
                let ignores = text.options.null_values.is_none();
                for value in column.slice(0, left).as_string::<i32>().iter().flatten() {
                    if ignores && is_missing_word(value.as_bytes()) {
                        continue;
                    }
                    kinds.add(Kinds::of_field(value, times));
                }
            }
            rows += piece.records.num_rows() + piece.rejected.len();
            match rows < text.options.sample_rows {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
    }
    let names = sample.map(|(names, _)| names).unwrap_or_default();
    Ok((names.into_iter().zip(kinds))
        .map(|(name, kinds)| Field::new(name, kinds.data_type(), true))
        .collect())
}

/// What was seen at one place of a JSON tree.
#[derive(Debug, Default)]
struct Tree {
    kinds: Kinds,
    members: Option<Members>,
    items: Option<Box<Tree>>,
}

/// The members of objects in order of first appearance, and where each stands.
type Members = (Vec<(String, Tree)>, HashMap<String, usize>);

impl Tree {
    fn add(&mut self, value: &Value, times: Option<&TimestampFormat>) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.kinds.add(Kinds::BOOLEAN),
            Value::Number(number) => self.kinds.add(match number {
                number if number.is_i64() => Kinds::INTEGER,
                number if number.is_u64() => Kinds::LONG_INTEGER,
                _ => Kinds::FLOAT,
            }),
            Value::String(text) => self.kinds.add(Kinds::of_words(text, times)),
            Value::Array(values) => {
                let items = self.items.get_or_insert_default();
                values.iter().for_each(|value| items.add(value, times));
            }
            Value::Object(object) => {
                let (members, index) = self.members.get_or_insert_default();
                for (key, value) in object {
                    let at = match index.get(key) {
                        Some(at) => *at,
                        None => {
                            members.push((key.clone(), Self::default()));
                            index.insert(key.clone(), members.len() - 1);
                            members.len() - 1
                        }
                    };
                    members[at].1.add(value, times);
                }
            }
        }
    }

    fn fields(&self) -> Vec<Field> {
        let members = self
            .members
            .as_ref()
            .map_or(&[][..], |(members, _)| members);
        (members.iter())
            .map(|(name, tree)| Field::new(name, tree.data_type(), true))
            .collect()
    }

    fn data_type(&self) -> DataType {
        match (&self.members, &self.items) {
            (None, None) => self.kinds.data_type(),
            (Some((members, _)), None) if self.kinds.0 == 0 && !members.is_empty() => {
                DataType::Struct(self.fields().into())
            }
            (None, Some(items)) if self.kinds.0 == 0 => {
                DataType::List(Arc::new(Field::new_list_field(items.data_type(), true)))
            }
            // As text, values of any kind keep what they say.
            _ => DataType::Utf8,
        }
    }

    /// The type at the end of a path; TEXT if it leads nowhere.
    fn at(&self, path: &[String]) -> DataType {
        let Some((key, rest)) = path.split_first() else {
            return self.data_type();
        };
        let member =
            (self.members.as_ref()).and_then(|(members, index)| Some(&members[*index.get(key)?].1));
        let item = (self.items.as_deref()).filter(|_| key.parse::<u64>().is_ok());
        member.or(item).map_or(DataType::Utf8, |tree| tree.at(rest))
    }
}

fn infer_json(next: &mut NextChunk<'_>, text: &TextFormat) -> Result<Vec<Field>> {
    let times = text.options.timestamp_format.as_ref();
    let mut tree = Tree::default();
    let mut rows = 0;
    let mut add = |row: &[u8]| {
        if let Ok(row @ Value::Object(_)) = serde_json::from_slice(row) {
            tree.add(&row, times);
        }
        // Damaged rows count, or a sample could be the whole file.
        rows += usize::from(!row.trim_ascii().is_empty());
        rows < text.options.sample_rows
    };
    while let Some(chunk) = next()? {
        let more = match &chunk.shape {
            Shape::Lines => chunk.bytes.split(|byte| *byte == b'\n').all(&mut add),
            Shape::Values(values) => {
                (values.iter()).all(|(range, _)| add(&chunk.bytes[range.clone()]))
            }
            Shape::TooLong | Shape::Broken(_) => true,
        };
        if !more {
            break;
        }
    }
    if tree.members.is_none() {
        return Ok(Vec::new());
    }
    let mut fields = tree.fields();
    for (column, JsonPath(path)) in &text.options.paths {
        fields.retain(|field| field.name() != column);
        fields.push(Field::new(column, tree.at(path), true));
    }
    Ok(fields)
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const PARQUET_MAGIC: &[u8] = b"PAR1";

/// Whether these first bytes of a pipe are enough for [`sniff_format`].
pub(crate) fn tells_format(bytes: &[u8]) -> bool {
    let magics = [
        BYTE_ORDER_MARK,
        PARQUET_MAGIC,
        ARROW_FILE_MAGIC,
        ARROW_STREAM_MAGIC,
    ];
    if magics
        .iter()
        .any(|magic| magic.len() > bytes.len() && magic.starts_with(bytes))
    {
        return false;
    }
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    !text.trim_ascii_start().is_empty()
}

/// What a pipe holds, by its first bytes.
pub(crate) fn sniff_format(bytes: &[u8]) -> Format {
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if bytes.starts_with(PARQUET_MAGIC) {
        return Format::Parquet;
    }
    if bytes.starts_with(ARROW_FILE_MAGIC) || bytes.starts_with(ARROW_STREAM_MAGIC) {
        return Format::Arrow;
    }
    match text.trim_ascii_start().first() {
        Some(b'{') => Format::Ndjson,
        Some(b'[') => Format::Json,
        _ => Format::Csv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{schema, text_format, timestamp};
    use std::collections::BTreeMap;

    fn infer(text: &str, format: Format, options: &FormatOptions) -> Result<SchemaRef> {
        infer_text(text.as_bytes(), &text_format(format, options), "f")
    }

    fn zoned() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
    }

    #[test]
    fn csv_columns_have_the_narrowest_type() {
        let text = "i,f,b,day,ts,zoned,mixed,none,big,s, padded \n\
            1,1,true,2026-01-31,2026-01-31,2026-01-31 10:00,1,,18446744073709551616,1,1\n\
            -2,2.5,FALSE,,2026-01-31T10:00:00.5,2026-01-31T10:00:00+02:00,x,,1,x, 2\n\
            ,NaN,,2026-02-01,,,,,,,\n";
        let inferred = infer(text, Format::Csv, &FormatOptions::default()).expect("rows");
        let expected = schema(&[
            ("i", DataType::Int64),
            ("f", DataType::Float64),
            ("b", DataType::Boolean),
            ("day", DataType::Date32),
            ("ts", timestamp()),
            ("zoned", zoned()),
            ("mixed", DataType::Utf8),
            ("none", DataType::Utf8),
            ("big", DataType::Utf8),
            ("s", DataType::Utf8),
            ("padded", DataType::Int64),
        ]);
        assert_eq!(inferred, expected);
    }

    #[test]
    fn csv_options_count() {
        let options = FormatOptions {
            header: false,
            null_values: Some(vec!["NA".into()]),
            timestamp_format: TimestampFormat::new("%d.%m.%Y %H:%M"),
            ..FormatOptions::default()
        };
        let inferred = infer("1,NA,31.01.2026 10:00\nNA,2.5,NA\n", Format::Csv, &options);
        let expected = schema(&[
            ("column_1", DataType::Int64),
            ("column_2", DataType::Float64),
            ("column_3", timestamp()),
        ]);
        assert_eq!(inferred.expect("rows"), expected);
    }

    #[test]
    fn only_the_sample_is_looked_at() {
        let options = FormatOptions {
            sample_rows: 2,
            ..FormatOptions::default()
        };
        let inferred = infer("a\n1\n2\nx\n", Format::Csv, &options).expect("rows");
        assert_eq!(inferred, schema(&[("a", DataType::Int64)]));
        let inferred = infer(
            "{\"a\":1}\n{\"a\":2}\n{\"a\":\"x\"}\n",
            Format::Ndjson,
            &options,
        );
        assert_eq!(inferred.expect("rows"), schema(&[("a", DataType::Int64)]));
    }

    #[test]
    fn json_columns_come_in_order_of_appearance() {
        let text = "{\"z\":1,\"ts\":\"2026-01-31T10:00:00Z\",\"o\":{\"x\":1}}\n\
            broken\n\
            {\"a\":[1,2.5],\"z\":2.5,\"ts\":\"2026-01-31 11:00\",\"o\":{\"y\":\"b\",\"x\":null},\"e\":{},\"n\":null}\n\
            {\"m\":1,\"d\":\"2026-01-31\"}\n{\"m\":{\"a\":1}}\n";
        let inferred = infer(text, Format::Ndjson, &FormatOptions::default()).expect("rows");
        let record = schema(&[("x", DataType::Int64), ("y", DataType::Utf8)]);
        let expected = schema(&[
            ("z", DataType::Float64),
            ("ts", zoned()),
            ("o", DataType::Struct(record.fields().clone())),
            (
                "a",
                DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true))),
            ),
            ("e", DataType::Utf8),
            ("n", DataType::Utf8),
            ("m", DataType::Utf8),
            ("d", DataType::Date32),
        ]);
        assert_eq!(inferred, expected);
        let document = format!(
            "[{}]",
            text.replace("broken\n", "").trim().replace('\n', ",")
        );
        let inferred = infer(&document, Format::Json, &FormatOptions::default());
        assert_eq!(inferred.expect("rows"), expected);
    }

    #[test]
    fn json_paths_are_columns() {
        let path = |text: &str| JsonPath(text.split('.').map(str::to_owned).collect());
        let options = FormatOptions {
            paths: BTreeMap::from([("t".into(), path("o.l.1")), ("gone".into(), path("o.none"))]),
            ..FormatOptions::default()
        };
        let inferred =
            infer("{\"id\":7,\"o\":{\"l\":[1,2]}}", Format::Ndjson, &options).expect("rows");
        assert_eq!(
            inferred.field_with_name("t").expect("t").data_type(),
            &DataType::Int64
        );
        assert_eq!(
            inferred.field_with_name("gone").expect("gone").data_type(),
            &DataType::Utf8
        );
        let names: Vec<&str> = inferred
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(names, ["id", "o", "gone", "t"]);
    }

    #[test]
    fn nothing_to_infer_from_is_an_error() {
        for (text, format) in [
            ("", Format::Csv),
            ("\n\n", Format::Ndjson),
            ("[]", Format::Json),
        ] {
            let error = infer(text, format, &FormatOptions::default()).expect_err("no rows");
            assert_eq!(
                error.to_string(),
                "f: it holds no row to infer columns from\n   = help: declare the columns in CREATE STREAM"
            );
        }
        let error = infer("", Format::Line, &FormatOptions::default()).expect_err("unsupported");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let inferred = infer("a,b\n", Format::Csv, &FormatOptions::default()).expect("a header");
        assert_eq!(
            inferred,
            schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)])
        );
    }

    #[test]
    fn first_bytes_tell_the_format() {
        assert_eq!(sniff_format(b" {\"a\":1}"), Format::Ndjson);
        assert_eq!(sniff_format(b"\xEF\xBB\xBF[{"), Format::Json);
        assert_eq!(sniff_format(b"a,b\n"), Format::Csv);
        assert_eq!(sniff_format(b"PAR1...."), Format::Parquet);
        assert_eq!(sniff_format(b"ARROW1\0\0"), Format::Arrow);
        assert_eq!(sniff_format(b"\xFF\xFF\xFF\xFF\x10\0\0\0"), Format::Arrow);
    }
}
