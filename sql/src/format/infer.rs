//! The columns of a text, from a sample of its rows.
//!
//! A column has the narrowest type that all sampled values fit: BIGINT, DOUBLE, BOOLEAN,
//! DATE, TIMESTAMP (microseconds; with zone `+00:00` if any value names one), else TEXT.
//! A column without values is TEXT. Integers beyond 64 bits and numbers with leading
//! zeros are TEXT too, so that identifiers keep their digits. JSON objects are structs,
//! arrays are lists; values of different kinds in one place make it TEXT. Rows that
//! cannot be read are passed over here and rejected later.
//!
//! So much for the first rows. What is seen further on makes room in numbers and times,
//! but no TEXT of them: there one bad value is to be rejected, not to take its column.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::Value;

use super::chunk::{Chunk, ChunkParser, Shape};
use super::columnar::{ARROW_FILE_MAGIC, ARROW_STREAM_MAGIC};
use super::csv::is_missing_word;
use super::csv::{CsvParser, other_delimiter, take_header};
use super::kinds::Kinds;
use super::line::{self, Sampled};
use super::options::{Format, FormatOptions, JsonPath};
use super::reader::Fill;
use super::rows::RowShape;
use super::text::TextFormat;
use super::time::TimestampFormat;
use crate::error::{Error, ErrorKind, Result};

/// A sample is read in chunks of this size.
const SAMPLE_CHUNK_BYTES: usize = 256 << 10;

/// Whether a sample tells what else there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// It is whole, or as long as was asked for.
    Full,
    /// It is what had come when a pipe fell silent: a column of whole numbers may go on
    /// with fractions, one of dates with times.
    Short,
}

/// The columns of a text.
///
/// # Errors
/// If it cannot be read, or holds nothing to infer them from.
pub(crate) fn infer_text(
    reader: impl Fill,
    text: &TextFormat,
    file: &str,
    extent: Extent,
) -> Result<SchemaRef> {
    let mut seen = Seen::default();
    seen.read(reader, text, file, text.options.sample_rows)?;
    if extent == Extent::Short {
        seen.root.make_room();
    }
    match seen.fields(&text.options) {
        fields if fields.is_empty() => Err(no_rows(file)),
        fields => Ok(Arc::new(Schema::new(fields))),
    }
}

/// That there is nothing to infer columns from.
pub(super) fn no_rows(file: &str) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("{file}: it holds no row to infer columns from"),
    )
    .help("declare the columns in CREATE STREAM")
}

/// What was seen of the rows of one text or more.
#[derive(Debug, Default)]
pub(super) struct Seen {
    root: Tree,
}

/// What reads the rows of a CSV file as text, and the place in the tree of each field.
#[derive(Debug)]
pub(super) struct CsvRows {
    parser: CsvParser,
    places: Vec<usize>,
}

impl Seen {
    /// Looks at the first `rows_max` rows of a text. Gives what reads more of it, if it
    /// is CSV.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn read(
        &mut self,
        reader: impl Fill,
        text: &TextFormat,
        file: &str,
        rows_max: usize,
    ) -> Result<Option<CsvRows>> {
        let mut chunks = text.chunks(reader, SAMPLE_CHUNK_BYTES, false)?;
        let mut next = || {
            chunks.next().map_err(|error| {
                Error::new(ErrorKind::Io, format!("reading {file}: {error}")).caused_by(error)
            })
        };
        match text.format {
            Format::Csv => self.read_csv(&mut next, text, file, rows_max),
            _ => {
                self.read_objects(&mut next, text, rows_max)?;
                Ok(None)
            }
        }
    }

    fn read_csv(
        &mut self,
        next: &mut NextChunk<'_>,
        text: &TextFormat,
        file: &str,
        rows_max: usize,
    ) -> Result<Option<CsvRows>> {
        let mut sample: Option<CsvRows> = None;
        let mut seen: Vec<Kinds> = Vec::new();
        let mut rows = 0;
        while rows < rows_max
            && let Some(mut chunk) = next()?
        {
            let csv = match &sample {
                Some(csv) => csv,
                None => match self.csv_rows(&mut chunk, text, file, rows_max)? {
                    Some(csv) => sample.insert(csv),
                    None => continue,
                },
            };
            let (kinds, read) = kinds_of(&csv.parser, &chunk, text, rows_max - rows)?;
            rows += read;
            seen.resize(csv.places.len(), Kinds::default());
            for (seen, kinds) in seen.iter_mut().zip(kinds) {
                seen.add(kinds);
            }
        }
        if let Some(csv) = &sample {
            self.widen(csv, seen);
        }
        Ok(sample)
    }

    /// Makes room for what was seen later.
    fn widen(&mut self, csv: &CsvRows, kinds: Vec<Kinds>) {
        let columns = &mut self.root.members.get_or_insert_default().0;
        for (place, kinds) in csv.places.iter().zip(kinds) {
            let known = &mut columns[*place].1.kinds;
            *known = known.widened_by(kinds);
        }
    }

    /// Takes the names off the first chunk of a CSV file.
    fn csv_rows(
        &mut self,
        chunk: &mut Chunk,
        text: &TextFormat,
        file: &str,
        rows_max: usize,
    ) -> Result<Option<CsvRows>> {
        let (start, first_line) = (chunk.start, chunk.first_line);
        let Some(mut names) = take_header(&text.dialect(), chunk, file)? else {
            return Ok(None);
        };
        if text.options.header
            && text.options.delimiter.is_none()
            && let Some(delimiter) = other_delimiter(&names)
        {
            return Err(Error::new(
                ErrorKind::Data,
                format!("{file}: its header is one column, \"{}\"", names[0]),
            )
            .help(format!(
                "say how it is delimited: CREATE STREAM … WITH (…, delimiter = '{delimiter}')"
            )));
        }
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
            batch_rows: rows_max,
            line_bytes_max: text.options.line_bytes_max,
        };
        let null_values = text.options.null_values.as_deref();
        Ok(Some(CsvRows {
            parser: CsvParser::new(shape, text.dialect(), null_values, None)?,
            places: names.iter().map(|name| self.root.member(name)).collect(),
        }))
    }

    fn read_objects(
        &mut self,
        next: &mut NextChunk<'_>,
        text: &TextFormat,
        rows_max: usize,
    ) -> Result<()> {
        let mut tree = Tree::default();
        let mut rows = 0;
        let mut add = |row: &[u8]| {
            tree.add_row(row, text);
            // Damaged rows count, or a sample could be the whole file.
            rows += usize::from(!row.trim_ascii().is_empty());
            rows < rows_max
        };
        while let Some(chunk) = next()? {
            let more = match &chunk.shape {
                Shape::Lines => chunk.bytes.split(|byte| *byte == b'\n').all(&mut add),
                Shape::Values(values) => {
                    (values.iter()).all(|(range, _)| add(&chunk.bytes[range.clone()]))
                }
                Shape::TooLong(_) | Shape::Broken(_) => true,
            };
            if !more {
                break;
            }
        }
        self.root.widen(tree);
        Ok(())
    }

    /// Looks at lines from the middle of a text that [`Seen::read`] has looked at.
    ///
    /// # Errors
    /// Never for what the text says.
    pub(super) fn read_lines(
        &mut self,
        lines: Vec<u8>,
        text: &TextFormat,
        csv: Option<&CsvRows>,
    ) -> Result<()> {
        let Some(csv) = csv else {
            let mut tree = Tree::default();
            for line in lines.split(|byte| *byte == b'\n') {
                tree.add_row(line, text);
            }
            self.root.widen(tree);
            return Ok(());
        };
        let chunk = Chunk {
            bytes: lines,
            ..Chunk::default()
        };
        let (kinds, _) = kinds_of(&csv.parser, &chunk, text, usize::MAX)?;
        self.widen(csv, kinds);
        Ok(())
    }

    /// The columns, those that are found by a path last.
    pub(super) fn fields(&self, options: &FormatOptions) -> Vec<Field> {
        if self.root.members.is_none() {
            return Vec::new();
        }
        let mut fields = self.root.fields();
        for (column, JsonPath(path)) in &options.paths {
            fields.retain(|field| field.name() != column);
            fields.push(Field::new(column, self.root.at(path), true));
        }
        fields
    }
}

type NextChunk<'a> = dyn FnMut() -> Result<Option<Chunk>> + 'a;

/// The kinds of values in the columns of the first `rows_max` rows of a chunk, and how
/// many rows that were.
fn kinds_of(
    parser: &CsvParser,
    chunk: &Chunk,
    text: &TextFormat,
    rows_max: usize,
) -> Result<(Vec<Kinds>, usize)> {
    let times = text.options.timestamp_format.as_ref();
    let ignores = text.options.null_values.is_none();
    let mut kinds: Vec<Kinds> = Vec::new();
    let mut rows = 0;
    parser.parse(chunk, &mut |piece| {
        kinds.resize(piece.records.num_columns(), Kinds::default());
        let left = (rows_max - rows).min(piece.records.num_rows());
        for (column, kinds) in piece.records.columns().iter().zip(&mut kinds) {
            for value in column.slice(0, left).as_string::<i32>().iter().flatten() {
                if ignores && is_missing_word(value.as_bytes()) {
                    continue;
                }
                kinds.add(Kinds::of_field(value, times));
            }
        }
        rows += left + piece.rejected.len();
        match rows < rows_max {
            true => ControlFlow::Continue(()),
            false => {
                rows = rows_max;
                ControlFlow::Break(())
            }
        }
    })?;
    Ok((kinds, rows))
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
    /// The place of a member, which may be new.
    fn member(&mut self, name: &str) -> usize {
        let (members, index) = self.members.get_or_insert_default();
        if let Some(at) = index.get(name) {
            return *at;
        }
        members.push((name.to_owned(), Self::default()));
        index.insert(name.to_owned(), members.len() - 1);
        members.len() - 1
    }

    /// Makes room for what was seen later; what was not seen before is as it was later.
    fn widen(&mut self, later: Self) {
        self.kinds = self.kinds.widened_by(later.kinds);
        if let Some((members, _)) = later.members {
            for (name, tree) in members {
                let at = self.member(&name);
                if let Some((known, _)) = &mut self.members {
                    known[at].1.widen(tree);
                }
            }
        }
        if let Some(items) = later.items {
            self.items.get_or_insert_default().widen(*items);
        }
    }

    /// Makes room in all types for what has not been seen.
    fn make_room(&mut self) {
        self.kinds = self.kinds.with_room();
        if let Some((members, _)) = &mut self.members {
            members.iter_mut().for_each(|(_, tree)| tree.make_room());
        }
        if let Some(items) = &mut self.items {
            items.make_room();
        }
    }

    /// Adds an object or a line of line protocol, if it is one.
    fn add_row(&mut self, row: &[u8], text: &TextFormat) {
        let times = text.options.timestamp_format.as_ref();
        if text.format == Format::Line {
            self.add_line(row.trim_ascii(), text);
        } else if let Ok(row @ Value::Object(_)) = serde_json::from_slice(row) {
            self.add(&row, times);
        }
    }

    fn add_line(&mut self, line: &[u8], text: &TextFormat) {
        let options = &text.options;
        if line::is_no_row(line) {
            return;
        }
        let Some((members, has_time)) = line::members(line) else {
            return;
        };
        let time = options.time_column.as_deref().unwrap_or(line::TIME_COLUMN);
        let measurement = [(line::MEASUREMENT_COLUMN.to_owned(), Sampled::Tag)];
        let time = has_time.then(|| (time.to_owned(), Sampled::Time));
        for (key, value) in measurement.into_iter().chain(members).chain(time) {
            let kinds = match value {
                Sampled::Tag => Kinds::TEXT,
                Sampled::Boolean => Kinds::BOOLEAN,
                Sampled::Integer(digits) if digits.parse::<i64>().is_ok() => Kinds::INTEGER,
                Sampled::Integer(_) => Kinds::LONG_INTEGER,
                Sampled::Float => Kinds::FLOAT,
                Sampled::Text(text) => Kinds::of_words(&text, options.timestamp_format.as_ref()),
                Sampled::Time => Kinds::TIME,
            };
            let at = self.member(&key);
            if let Some((members, _)) = &mut self.members {
                members[at].1.kinds.add(kinds);
            }
        }
    }

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
                // An object without members is one all the same.
                self.members.get_or_insert_default();
                for (key, value) in object {
                    let at = self.member(key);
                    if let Some((members, _)) = &mut self.members {
                        members[at].1.add(value, times);
                    }
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
            (Some((members, _)), None) if self.kinds.is_empty() && !members.is_empty() => {
                DataType::Struct(self.fields().into())
            }
            (None, Some(items)) if self.kinds.is_empty() => {
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
    use crate::format::time::TimestampFormat;
    use arrow::datatypes::TimeUnit;
    use std::collections::BTreeMap;

    fn infer(text: &str, format: Format, options: &FormatOptions) -> Result<SchemaRef> {
        infer_text(
            text.as_bytes(),
            &text_format(format, options),
            "f",
            Extent::Full,
        )
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
    fn a_short_sample_leaves_room() {
        let text = "n,day,s,x\n1,2026-01-31,a,\n";
        let text_format = text_format(Format::Csv, &FormatOptions::default());
        let inferred = infer_text(text.as_bytes(), &text_format, "f", Extent::Short);
        let expected = schema(&[
            ("n", DataType::Float64),
            ("day", timestamp()),
            ("s", DataType::Utf8),
            ("x", DataType::Utf8),
        ]);
        assert_eq!(inferred.expect("rows"), expected);
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
            ("# a comment\nno row\n", Format::Line),
        ] {
            let error = infer(text, format, &FormatOptions::default()).expect_err("no rows");
            assert_eq!(
                error.to_string(),
                "f: it holds no row to infer columns from\n   = help: declare the columns in CREATE STREAM"
            );
        }
        let inferred = infer("a,b\n", Format::Csv, &FormatOptions::default()).expect("a header");
        assert_eq!(
            inferred,
            schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)])
        );
    }

    #[test]
    fn line_protocol_has_tags_fields_and_a_time() {
        let text = "# readings\n\
            air,sensor=7,place=a\\ b pm25=12,n=3i,ok=T,note=\"a, b=c\" 1767225600000000000\n\
            no row\n\
            air,sensor=8 pm25=1.5,big=18446744073709551615u,at=\"2026-01-01T00:00:00\"\n";
        let inferred = infer(text, Format::Line, &FormatOptions::default()).expect("rows");
        let columns = [
            ("measurement", DataType::Utf8),
            ("sensor", DataType::Utf8),
            ("place", DataType::Utf8),
            ("pm25", DataType::Float64),
            ("n", DataType::Int64),
            ("ok", DataType::Boolean),
            ("note", DataType::Utf8),
            ("time", timestamp()),
            ("big", DataType::Utf8),
            ("at", timestamp()),
        ];
        assert_eq!(inferred, schema(&columns));
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
