//! CSV, NDJSON, JSON and line protocol.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{Bytes, Parts, cuts, edited, fuzz};
use crate::format::reader::Fill;
use crate::format::rows::RowShape;
use crate::format::testing::{schema, shown, text_format, timestamp};
use crate::format::text::TextReader;
use crate::format::{Format, FormatOptions};

/// No row is longer, so that some are too long.
const LINE_BYTES_MAX: usize = 300;

const BATCH_ROWS: usize = 16;

const WORDS: &[&[u8]] = &[
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b",",
    b",,",
    b";",
    b"\"",
    b"\"\"",
    b"'",
    b"\\",
    b"\\\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{}",
    b"[]",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"#",
    b"=",
    b"a=",
    b"null",
    b"true",
    b"t",
    b"NaN",
    b"inf",
    b"-",
    b"-0",
    b"1e400",
    b"0x1",
    b"00",
    b"1.",
    b".5",
    b"5i",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"99999999999999999999999999999999999999999999",
    b"\\u0000",
    b"\\ud800",
    b"\\u00e9",
    b"\xFF",
    b"\xEF\xBB\xBF",
    b"\xC3\x28",
    b"\xF0\x9F\x8C\xBE",
    b"\xE2\x82",
    b"\"n\":1,",
    b"\"s\":\"x\"",
    b"2026-01-01T10:00:00Z",
    b"2026-13-41",
    b"0000-00-00",
    b"1767225600000000000",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":",
];

fn columns() -> SchemaRef {
    schema(&[
        ("n", DataType::Int64),
        ("s", DataType::Utf8),
        ("f", DataType::Float64),
        ("time", timestamp()),
        ("b", DataType::Boolean),
    ])
}

/// What a text gives: rows and rejects, or why it cannot be read.
type Answer = Result<(Vec<String>, Vec<Rejected>), String>;

/// Position, rule, reason and text.
type Rejected = (String, String, String, String);

fn read<R: Fill>(
    reader: R,
    format: Format,
    options: &FormatOptions,
    chunk_bytes: usize,
    eager: bool,
) -> Answer {
    let text = text_format(format, options);
    let columns = columns();
    let shape = RowShape {
        schema: columns.clone(),
        times: None,
        file: "f".into(),
        batch_rows: BATCH_ROWS,
        line_bytes_max: options.line_bytes_max,
    };
    let chunks = (text.chunks(reader, chunk_bytes, eager)).map_err(|error| error.to_string())?;
    let mut reader = TextReader::new(chunks, text, shape);
    let (mut batches, mut rejects) = (Vec::new(), Vec::new());
    while let Some((chunk, parser)) = reader.next().map_err(|error| error.to_string())? {
        // What is held is a chunk and the longest row, however long the text is.
        let held = chunk.bytes.len().max(reader.rest().len());
        assert!(
            held <= 2 * (chunk_bytes.max(options.line_bytes_max) + 1),
            "{held} bytes"
        );
        let parsed = parser.parse(&chunk, &mut |piece| {
            assert!(piece.records.num_rows() <= BATCH_ROWS);
            batches.push(piece.records);
            rejects.extend(piece.rejected);
            ControlFlow::Continue(())
        });
        parsed.map_err(|error| error.to_string())?;
    }
    let records = concat_batches(&columns, &batches).expect("batches of one schema");
    let rejects = (rejects.into_iter())
        .map(|reject| (reject.position, reject.rule, reject.reason, reject.text))
        .collect();
    Ok((shown(&records), rejects))
}

/// Reads a text whole and in parts, and gives the answer, which has to be the same.
fn answer(
    bytes: &[u8],
    format: Format,
    options: &FormatOptions,
    cuts: &[usize],
) -> Result<Answer, TestCaseError> {
    let whole = read(bytes, format, options, 1 << 20, false);
    let chunk_bytes = cuts[0];
    let chunks = read(bytes, format, options, chunk_bytes, false);
    prop_assert_eq!(&chunks, &whole, "chunks of {} bytes", chunk_bytes);
    let parts = read(&mut Parts::new(bytes, cuts), format, options, 1 << 20, true);
    prop_assert_eq!(&parts, &whole, "parts of {:?} bytes", cuts);
    if let Ok((_, rejects)) = &whole {
        for (_, _, reason, text) in rejects {
            prop_assert!(!reason.is_empty() && text.len() <= 1_024);
        }
    }
    Ok(whole)
}

impl Fill for &mut Parts<'_> {}

/// The lines of a text behind the mark of its encoding, but for those that hold no row.
fn lines(bytes: &[u8], is_row: fn(&[u8]) -> bool) -> impl Iterator<Item = &[u8]> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let is_row = move |line: &&[u8]| line.len() > LINE_BYTES_MAX || is_row(line);
    text.split(|byte| *byte == b'\n').filter(is_row)
}

/// Whether a line holds anything but blanks.
fn is_filled(line: &[u8]) -> bool {
    !line.trim_ascii().is_empty()
}

/// Whether a line holds a record: one of blanks is one field.
fn is_record(line: &[u8]) -> bool {
    !matches!(line, b"" | b"\r")
}

fn options(line_bytes_max: usize) -> FormatOptions {
    FormatOptions {
        line_bytes_max,
        ..FormatOptions::default()
    }
}

fn texts(seeds: &[&str]) -> impl Strategy<Value = (Bytes, Vec<usize>)> + use<> {
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    (edited(seeds, WORDS, 8), cuts())
}

#[test]
fn csv() {
    let inputs = texts(&[
        "n,s,f,time,b\n1,a,1.5,2026-01-01T10:00:00Z,true\n2,\"b\nc\",,,\n3,\"d\"\"e\",-1e3,2026-01-01,f\n",
        "s,n\r\nx,1\r\n\"y,z\",2\r\n",
        "b,time,f,s,n\n",
    ]);
    fuzz("csv", &inputs, |(Bytes(bytes), cuts)| {
        let options = options(LINE_BYTES_MAX);
        let read = answer(&bytes, Format::Csv, &options, &cuts)?;
        if let Ok((rows, rejects)) = read {
            // A record takes a line at least; where there is one column, a blank line is one.
            prop_assert!(rows.len() + rejects.len() <= lines(&bytes, |_| true).count());
        }
        Ok(())
    });
}

#[test]
fn csv_without_quotes() {
    let inputs =
        texts(&["1,a,1.5,2026-01-01T10:00:00Z,true\n2,b,,,\n3,c,-1e3,2026-01-01,f\n4,d,0,,t\n"]);
    fuzz("csv_without_quotes", &inputs, |(Bytes(bytes), cuts)| {
        let options = FormatOptions {
            header: false,
            quote: None,
            ..options(LINE_BYTES_MAX)
        };
        if let Ok((rows, rejects)) = answer(&bytes, Format::Csv, &options, &cuts)? {
            prop_assert_eq!(rows.len() + rejects.len(), lines(&bytes, is_record).count());
        }
        Ok(())
    });
}

#[test]
fn ndjson() {
    let inputs = texts(&[
        "{\"n\":1,\"s\":\"a\",\"f\":1.5,\"time\":\"2026-01-01T10:00:00Z\",\"b\":true}\n\
         {\"s\":\"b\\n\\u00e9\",\"n\":2}\n\n{\"f\":-1e3,\"x\":{\"y\":[1,{\"z\":null}]},\"n\":3}\n",
        "{\"n\":null}\n{}\n{\"n\":9,\"n\":8}",
    ]);
    fuzz("ndjson", &inputs, |(Bytes(bytes), cuts)| {
        let options = options(LINE_BYTES_MAX);
        let Ok((rows, rejects)) = answer(&bytes, Format::Ndjson, &options, &cuts)? else {
            return Ok(());
        };
        let count = lines(&bytes, is_filled).count();
        prop_assert_eq!(rows.len() + rejects.len(), count);
        // Another parser finds an object in each row, and none where ours finds none. Values
        // that it passes over are taken as they are, others have to be in its range.
        let count_of = |is_object: fn(&[u8]) -> bool| {
            lines(&bytes, is_filled)
                .filter(|line| line.len() <= LINE_BYTES_MAX && is_object(line))
                .count()
        };
        // An escape is looked at only when its string is used.
        let passed = count_of(|line| {
            let object = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(line);
            line.contains(&b'\\') || object.is_ok()
        });
        let taken = count_of(|line| serde_json::from_slice::<Map<String, Value>>(line).is_ok());
        let broken = rejects.iter().filter(|reject| reject.1 == "parse").count();
        prop_assert!(rows.len() <= passed, "{rows:?}");
        prop_assert!(broken <= count - taken, "{rejects:?}");
        Ok(())
    });
}

#[test]
fn json() {
    let inputs = texts(&[
        "[{\"n\":1,\"s\":\"a\"},\n {\"n\":2,\n \"s\":\"b]}\"}, {\"f\":1}]\n",
        "{\"n\":1} {\"n\":2}\n{\"n\":3,\"x\":[[],{}]}",
    ]);
    fuzz("json", &inputs, |(Bytes(bytes), cuts)| {
        let options = options(LINE_BYTES_MAX);
        let read = answer(&bytes, Format::Json, &options, &cuts)?;
        // What another parser takes for an array of objects has as many rows.
        let objects = serde_json::from_slice::<Vec<Map<String, Value>>>(&bytes);
        if let (Ok(objects), Ok((rows, rejects))) = (objects, read) {
            prop_assert_eq!(rows.len() + rejects.len(), objects.len());
        }
        Ok(())
    });
}

#[test]
fn line_protocol() {
    let inputs = texts(&[
        "air,s=a n=1i,f=1.5,b=t 1767225600000000000\n# a comment\nair n=2i,s=\"x y\\\"z\"\n\
         air\\ b,s=c\\,d f=-1e3 1767225601000000000\n",
        "m,s=é n=9223372036854775807i,b=false\r\nm f=1\r\n",
    ]);
    fuzz("line_protocol", &inputs, |(Bytes(bytes), cuts)| {
        let options = options(LINE_BYTES_MAX);
        if let Ok((rows, rejects)) = answer(&bytes, Format::Line, &options, &cuts)? {
            let is_row = |line: &[u8]| !matches!(line.trim_ascii().first(), None | Some(b'#'));
            let is_comment = |line: &&[u8]| line.trim_ascii_start().first() == Some(&b'#');
            let lines = lines(&bytes, is_row).filter(|line| !is_comment(line));
            prop_assert_eq!(rows.len() + rejects.len(), lines.count());
        }
        Ok(())
    });
}
