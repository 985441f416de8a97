use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use proptest::prelude::*;
use std::sync::Arc;

use crate::format::options::{Format, FormatOptions};
use crate::format::testing::{read, reasons, schema, shown, timestamp, try_read};
use crate::format::time::TimestampFormat;

fn csv(
    options: &FormatOptions,
    columns: &[(&str, DataType)],
    text: &str,
) -> (Vec<String>, Vec<String>) {
    let (records, rejects) = read(text, Format::Csv, options, &schema(columns));
    (shown(&records), reasons(&rejects))
}

fn headerless() -> FormatOptions {
    FormatOptions {
        header: false,
        ..FormatOptions::default()
    }
}

#[test]
fn every_type_is_read() {
    let columns = [
        ("ts", timestamp()),
        (
            "zoned",
            DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())),
        ),
        ("day", DataType::Date32),
        ("at", DataType::Time64(TimeUnit::Microsecond)),
        ("b", DataType::Boolean),
        ("i", DataType::Int32),
        ("u", DataType::UInt64),
        ("f", DataType::Float64),
        ("g", DataType::Float32),
        ("d", DataType::Decimal128(10, 2)),
        ("s", DataType::Utf8),
        (
            "k",
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ),
        ("v", DataType::Utf8View),
    ];
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let text = names.join(",")
        + "\n2026-01-31T12:30:00.1234567Z,2026-01-31 13:30:00+01:00,2026-01-31,12:30:00.5,TRUE,-7,18446744073709551615,1.5e3,0.1,-12.3,å,k1,v1\n"
        + ",,,,,,,,,,,,\n"
        + "1969-12-31,2026-01-31,1969-12-31,00:00,f, 7 ,0,NaN,inf,1,\"\",k1,\"a \"\"v\"\"\"\n";
    let (rows, rejects) = csv(&FormatOptions::default(), &columns, &text);
    assert_eq!(rejects, [""; 0]);
    assert_eq!(
        rows,
        [
            "2026-01-31T12:30:00.123456|2026-01-31T12:30:00Z|2026-01-31|12:30:00.500|true|-7|18446744073709551615|1500.0|0.1|-12.30|å|k1|v1",
            "-|-|-|-|-|-|-|-|-|-|-|-|-",
            "1969-12-31T00:00:00|2026-01-31T00:00:00Z|1969-12-31|00:00:00|false|7|0|NaN|inf|1.00||k1|a \"v\"",
        ]
    );
}

#[test]
fn what_does_not_fit_is_one_rejected_row() {
    let columns = [
        ("ts", timestamp()),
        ("b", DataType::Boolean),
        ("n", DataType::Int8),
        ("x", DataType::Float64),
    ];
    let text = "ts,b,n,x\n\
        2026-01-01,true,1,1\n\
        yesterday,true,1,1\n\
        1767225600000,true,1,1\n\
        2026-01-01,maybe,1,1\n\
        2026-01-01,true,128,1\n\
        2026-01-01,true,1.5,1\n\
        2026-01-01,true,1,1\u{b0}C\n\
        2026-01-01,true,1\n\
        2026-01-01,true,1,1,1\n\
        9999999,true,1,1,1\n\
        2026-01-01,true,2,2\n";
    let (rows, rejects) = csv(&FormatOptions::default(), &columns, text);
    assert_eq!(
        rows,
        [
            "2026-01-01T00:00:00|true|1|1.0",
            "2026-01-01T00:00:00|true|2|2.0"
        ]
    );
    assert_eq!(
        rejects,
        [
            "f:3 type: column ts: 'yesterday' is not a TIMESTAMP",
            "f:4 type: column ts: 1767225600000 is a number, not a TIMESTAMP; integer epochs need their unit: declare the column BIGINT and use to_timestamp_millis or one of its kin",
            "f:5 type: column b: 'maybe' is not a BOOLEAN",
            "f:6 type: column n: '128' is out of range for TINYINT",
            "f:7 type: column n: '1.5' is not a TINYINT",
            "f:8 type: column x: '1°C' is not a DOUBLE",
            "f:9 parse: the row has 3 fields instead of 4",
            "f:10 parse: the row has 5 fields instead of 4",
            "f:11 parse: the row has 5 fields instead of 4",
        ]
    );
}

#[test]
fn a_reject_keeps_its_text() {
    let columns = schema(&[("n", DataType::Int64), ("s", DataType::Utf8)]);
    let long = "x".repeat(2000);
    let text = format!("n,s\r\nx,\"a\nb\"\r\n1,ok\r\n{long},\r\n");
    let (records, rejects) = read(text, Format::Csv, &FormatOptions::default(), &columns);
    assert_eq!(shown(&records), ["1|ok"]);
    assert_eq!(rejects[0].text, "x,\"a\nb\"");
    assert_eq!(rejects[0].position, "f:2");
    assert_eq!(rejects[1].text, long[..1024]);
    assert_eq!(rejects[1].position, "f:5");
    assert!(rejects[1].reason.len() < 200);
}

#[test]
fn null_and_empty_text_are_told_apart() {
    let columns = [("s", DataType::Utf8), ("n", DataType::Int64)];
    let (rows, rejects) = csv(&headerless(), &columns, ",\n\"\",\"\"\nNA,1\n");
    assert_eq!(rows, ["-|-", "|-", "NA|1"]);
    assert_eq!(rejects, [""; 0]);

    // Words for a missing value count where the column is not text.
    let (rows, rejects) = csv(&headerless(), &columns, "NA,NA\nN/A, NULL \nx,na\n");
    assert_eq!(rows, ["NA|-", "N/A|-"]);
    assert_eq!(rejects, ["f:3 type: column n: 'na' is not a BIGINT"]);

    let options = FormatOptions {
        null_values: Some(vec!["NA".into(), "null".into()]),
        ..headerless()
    };
    let (rows, rejects) = csv(
        &options,
        &columns,
        ",\nNA,NA\n\"NA\",\"NA\"\nnull, NA \nna,na\n",
    );
    assert_eq!(rows, ["|-", "-|-", "NA|-", "-|-"]);
    assert_eq!(rejects, ["f:5 type: column n: 'na' is not a BIGINT"]);
}

#[test]
fn columns_are_found_by_name() {
    let columns = [
        ("b", DataType::Int64),
        ("gone", DataType::Utf8),
        ("A", DataType::Int64),
    ];
    let text = "\u{feff} a ,extra,b\n1,x,2\n3,y,4";
    let (rows, rejects) = csv(&FormatOptions::default(), &columns, text);
    assert_eq!(rows, ["2|-|1", "4|-|3"]);
    assert_eq!(rejects, [""; 0]);

    let error = try_read(
        b"a;b\n1;2\n",
        Format::Csv,
        &FormatOptions::default(),
        &schema(&columns),
        64,
    )
    .expect_err("no column");
    assert_eq!(
        error.to_string(),
        "f: its header (a;b) names none of the columns (b, gone, A)\n   = help: set delimiter = ';'"
    );
}

#[test]
fn names_are_made_usable() {
    let names = |fields: &[&str]| super::header_names(fields.iter().map(|field| field.as_bytes()));
    assert_eq!(
        names(&[" a ", "", "a", "a_2", "a"]),
        ["a", "column_2", "a_2", "a_2_2", "a_3"]
    );
}

#[test]
fn dialects() {
    let columns = [("a", DataType::Utf8), ("b", DataType::Utf8)];
    let semicolons = FormatOptions {
        delimiter: Some(b';'),
        quote: Some(b'\''),
        escape: Some(b'\\'),
        comment: Some(b'#'),
        ..headerless()
    };
    let text = "# a;'b\n'x;\n\\'y';\"z\"\n#\n'it''s';a\\b\n'\\\\';q";
    let (rows, rejects) = csv(&semicolons, &columns, text);
    assert_eq!(rows, ["x;\n'y|\"z\"", "it's|a\\b", "\\|q"]);
    assert_eq!(rejects, [""; 0]);

    let bare = FormatOptions {
        quote: None,
        ..headerless()
    };
    let (rows, _) = csv(&bare, &columns, "\"a,b\"\n");
    assert_eq!(rows, ["\"a|b\""]);
}

#[test]
fn lines_and_blanks() {
    let columns = [("a", DataType::Int64), ("b", DataType::Int64)];
    let (rows, rejects) = csv(&headerless(), &columns, "1,2\r\n\r\n\n3,\"4\"\r\n5,6");
    assert_eq!(rows, ["1|2", "3|4", "5|6"]);
    assert_eq!(rejects, [""; 0]);
    // In a file of one column, a blank line is a NULL.
    let (rows, _) = csv(&FormatOptions::default(), &columns[..1], "a\n1\n\n3\n");
    assert_eq!(rows, ["1", "-", "3"]);
    for empty in ["", "a,b", "a,b\r\n", "\n\n", "\u{feff}"] {
        let (rows, rejects) = csv(&FormatOptions::default(), &columns, empty);
        assert_eq!((rows.len(), rejects.len()), (0, 0), "{empty:?}");
    }
}

#[test]
fn damaged_quotes() {
    let columns = [("a", DataType::Utf8), ("b", DataType::Utf8)];
    let (rows, rejects) = csv(&headerless(), &columns, "1,\"x\"y\n2,x\"y\n3,\"x\" \n4,z\n");
    assert_eq!(rows, ["2|x\"y", "4|z"]);
    assert_eq!(
        rejects,
        [
            "f:1 parse: text follows a closing quote",
            "f:3 parse: text follows a closing quote"
        ]
    );
    // A quote that is never closed costs its line, not the rest of the file.
    let (rows, rejects) = csv(&headerless(), &columns, "1,a\n2,\"b\n3,c\n4,d");
    assert_eq!(rows, ["1|a", "3|c", "4|d"]);
    assert_eq!(rejects, ["f:2 parse: a quote is opened and not closed"]);
}

#[test]
fn a_row_of_bounded_length() {
    let columns = [("a", DataType::Utf8), ("b", DataType::Utf8)];
    let options = FormatOptions {
        line_bytes_max: 20,
        ..headerless()
    };
    let long = "x".repeat(1000);
    let text = format!("1,a\n2,{long}\n3,c\n4,\"b\n{}6,f\n", "5,e\n".repeat(10));
    let (rows, rejects) = csv(&options, &columns, &text);
    let mut expected = vec!["1|a", "3|c"];
    expected.extend(["5|e"; 10]);
    expected.push("6|f");
    assert_eq!(rows, expected);
    assert_eq!(
        rejects,
        [
            "f:2 parse: the row is longer than 20 bytes; raise line_bytes_max",
            "f:4 parse: a quote is opened and not closed",
        ]
    );
    // A quote that closes too late has not closed: each of its lines stands alone.
    let text = format!("1,\"{}\"\n2,b\n", "g\n".repeat(20));
    let (rows, rejects) = csv(&options, &columns, &text);
    assert_eq!(rows, ["2|b"]);
    assert_eq!(rejects.len(), 1 + 19 + 1);
    assert_eq!(rejects[20], "f:21 parse: a quote is opened and not closed");
    // Exactly as long as allowed.
    let (rows, rejects) = csv(&options, &columns, &format!("{},2\n", "x".repeat(18)));
    assert_eq!((rows.len(), rejects.len()), (1, 0));
    let (rows, rejects) = csv(&options, &columns, &format!("{},2", "x".repeat(19)));
    assert_eq!((rows.len(), rejects.len()), (0, 1));
}

#[test]
fn invalid_utf8_costs_its_row() {
    let columns = schema(&[("a", DataType::Utf8), ("b", DataType::Int64)]);
    let text = b"1,1\n\xFF,2\n\xC3,3\n\xC3\xA9,4\n";
    let (records, rejects) = read(text, Format::Csv, &headerless(), &columns);
    assert_eq!(shown(&records), ["1|1", "é|4"]);
    assert_eq!(
        reasons(&rejects),
        [
            "f:2 parse: the row is not valid UTF-8",
            "f:3 parse: the row is not valid UTF-8"
        ]
    );
    assert_eq!(rejects[0].text, "\u{fffd},2");
    for (text, chunk_bytes) in [
        (b"\xFF\xFEa\0", 64),
        (b"\xFE\xFF\0a", 64),
        (b"\xFF\xFEa\0", 1),
        (b"\xFE\xFF\0a", 1),
    ] {
        let error = try_read(text, Format::Csv, &headerless(), &columns, chunk_bytes)
            .expect_err("it is UTF-16");
        assert_eq!(
            error.to_string(),
            "reading f: the text is in UTF-16; convert it to UTF-8, for example with iconv"
        );
    }
}

#[test]
fn a_timestamp_format() {
    let options = FormatOptions {
        timestamp_format: TimestampFormat::new("%d.%m.%Y %H:%M"),
        ..headerless()
    };
    let columns = [("ts", timestamp()), ("day", DataType::Date32)];
    let (rows, rejects) = csv(
        &options,
        &columns,
        "31.01.2026 12:30,2026-01-31\n2026-01-31,2026-01-31\n",
    );
    assert_eq!(rows, ["2026-01-31T12:30:00|2026-01-31"]);
    assert_eq!(
        rejects,
        [
            "f:2 type: column ts: '2026-01-31' is not a TIMESTAMP of the timestamp_format '%d.%m.%Y %H:%M'"
        ]
    );
}

#[test]
fn a_stray_quote_takes_one_line_only() {
    let columns = [
        ("t", DataType::Int64),
        ("s", DataType::Utf8),
        ("v", DataType::Int64),
    ];
    let text = "t,s,v\n0,\"a,1\n1,b,2\n2,\"c\",3\n3,d,4\n";
    let (rows, rejects) = csv(&FormatOptions::default(), &columns, text);
    assert_eq!(rows, ["1|b|2", "2|c|3", "3|d|4"]);
    assert_eq!(rejects, ["f:2 parse: a quote is opened and not closed"]);

    // The quotes of two fields, and one that really reaches over a line.
    let text = "t,s,v\r\n0,\"a,1\r\n1,\"b\r\nc\",2\r\n2,\"d,3\r\n3,e,4\r\n";
    let (rows, rejects) = csv(&FormatOptions::default(), &columns, text);
    assert_eq!(rows, ["1|b\r\nc|2", "3|e|4"]);
    assert_eq!(
        rejects,
        [
            "f:2 parse: a quote is opened and not closed",
            "f:5 parse: a quote is opened and not closed",
        ]
    );
}

#[test]
fn many_stray_quotes_take_their_own_lines_whatever_the_chunks() {
    let rows = 20_000;
    let columns = schema(&[("t", DataType::Int64), ("s", DataType::Utf8)]);
    let text: String = (0..rows)
        .map(|row| match row % 1_000 {
            500 => format!("{row},\"s\n"),
            _ => format!("{row},s\n"),
        })
        .collect();
    for escape in [None, Some(b'\\')] {
        let options = FormatOptions {
            escape,
            ..headerless()
        };
        for chunk_bytes in [1, 7, 33, 1 << 20] {
            let (records, rejects) = try_read(
                text.as_bytes(),
                Format::Csv,
                &options,
                &columns,
                chunk_bytes,
            )
            .expect("it can be read");
            assert_eq!(records.num_rows(), rows - 20, "{chunk_bytes}");
            let lines: Vec<String> = rejects.into_iter().map(|reject| reject.position).collect();
            let expected: Vec<String> = (0..20).map(|n| format!("f:{}", n * 1_000 + 501)).collect();
            assert_eq!(lines, expected, "{chunk_bytes}");
        }
    }
}

#[test]
fn names_that_stand_often_are_numbered_in_time() {
    let header = vec!["a"; 50_000].join(",");
    let columns = schema(&[("a_50000", DataType::Int64)]);
    let text = format!("{header}\n{}7\n", "1,".repeat(49_999));
    let (records, rejects) = read(&text, Format::Csv, &FormatOptions::default(), &columns);
    assert_eq!((shown(&records), rejects.len()), (vec!["7".into()], 0));
}

/// A field as a careful writer writes it: in quotes when it has to be, or as `quote`
/// says. NULL is nothing at all.
fn write_field(field: Option<&str>, delimiter: char, quote: bool) -> String {
    match field {
        None => String::new(),
        Some(text) if quote || text.is_empty() || text.contains(['"', '\n', '\r', delimiter]) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Some(text) => text.to_owned(),
    }
}

prop_compose! {
    fn table()(columns in 2usize..5)(
        rows in prop::collection::vec(
            prop::collection::vec(
                (prop::option::of("[a\"',;\n\r é€😀x]{0,6}"), any::<bool>()), columns..=columns),
            0..30),
        delimiter in prop::sample::select(vec![',', ';', '\t']),
        crlf in any::<bool>(), end in any::<bool>(),
    ) -> (String, Vec<Vec<Option<String>>>, char) {
        let mut text = String::new();
        let line = if crlf { "\r\n" } else { "\n" };
        for (index, row) in rows.iter().enumerate() {
            let fields: Vec<String> = (row.iter())
                .map(|(field, quote)| write_field(field.as_deref(), delimiter, *quote))
                .collect();
            text += &fields.join(&delimiter.to_string());
            if end || index + 1 < rows.len() { text += line; }
        }
        let rows = rows.into_iter()
            .map(|row| row.into_iter().map(|(field, _)| field).collect()).collect();
        (text, rows, delimiter)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_written_is_read((text, rows, delimiter) in table(), chunk_bytes in 1usize..200) {
        let width = rows.first().map_or(2, Vec::len);
        let names: Vec<String> = (0..width).map(|index| format!("c{index}")).collect();
        let columns: Vec<(&str, DataType)> =
            names.iter().map(|name| (name.as_str(), DataType::Utf8)).collect();
        let options = FormatOptions { delimiter: Some(delimiter as u8), ..headerless() };
        let (records, rejects) =
            try_read(text.as_bytes(), Format::Csv, &options, &schema(&columns), chunk_bytes)
                .expect("it can be read");
        prop_assert_eq!(rejects, []);
        let expected: Vec<ArrayRef> = (0..width)
            .map(|column| Arc::new(
                rows.iter().map(|row| row[column].clone()).collect::<StringArray>()) as ArrayRef)
            .collect();
        let expected = RecordBatch::try_new(schema(&columns), expected).expect("columns");
        prop_assert_eq!(records, expected);
    }

    #[test]
    fn numbers_survive(rows in prop::collection::vec(
        (prop::option::of(any::<i64>()), prop::option::of(any::<f64>())), 1..50), chunk_bytes in 1usize..500) {
        let text: String = rows.iter()
            .map(|(n, x)| {
                let show = |text: Option<String>| text.unwrap_or_default();
                format!("{},{}\n", show(n.map(|n| n.to_string())), show(x.map(|x| x.to_string())))
            })
            .collect();
        let columns = schema(&[("n", DataType::Int64), ("x", DataType::Float64)]);
        let (records, rejects) =
            try_read(text.as_bytes(), Format::Csv, &headerless(), &columns, chunk_bytes)
                .expect("it can be read");
        prop_assert_eq!(rejects, []);
        let (n, x): (Vec<Option<i64>>, Vec<Option<f64>>) = rows.into_iter().unzip();
        prop_assert_eq!(records.column(0).as_primitive(), &Int64Array::from(n));
        let bits = |array: &Float64Array| -> Vec<Option<u64>> {
            array.iter().map(|x| x.map(|x| if x.is_nan() { 1 } else { x.to_bits() })).collect()
        };
        prop_assert_eq!(bits(records.column(1).as_primitive()), bits(&Float64Array::from(x)));
    }

    #[test]
    fn garbage_is_accounted_for_whatever_the_chunks(
        bytes in prop::collection::vec(
            prop::sample::select(b"ab1,,\"\"\n\n\r#\\\xFF\xC3\xA9".to_vec()), 0..300),
        escape in any::<bool>(), comment in any::<bool>(), line_bytes_max in 5usize..400,
        chunk_bytes in 1usize..400,
    ) {
        let options = FormatOptions {
            escape: escape.then_some(b'\\'),
            comment: comment.then_some(b'#'),
            line_bytes_max,
            ..headerless()
        };
        let columns = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
        let read = |chunk_bytes| {
            try_read(&bytes, Format::Csv, &options, &columns, chunk_bytes).map_err(|error| error.to_string())
        };
        let whole = read(1 << 20);
        prop_assert_eq!(&read(chunk_bytes), &whole);
        prop_assert_eq!(&read(1), &whole);
    }

    #[test]
    fn garbage_without_quotes_is_a_row_or_a_reject_a_line(
        bytes in prop::collection::vec(prop::sample::select(b"ab1,,\n\r\xFF\xC3\xA9".to_vec()), 0..300),
    ) {
        let columns = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
        if let Ok((records, rejects)) =
            try_read(&bytes, Format::Csv, &headerless(), &columns, 64)
        {
            let lines = bytes.split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty() && *line != b"\r").count();
            prop_assert_eq!(records.num_rows() + rejects.len(), lines);
            prop_assert_eq!(records.column(0).len(), records.num_rows());
        }
    }
}
