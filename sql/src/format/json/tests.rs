use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::format::options::{Format, FormatOptions, JsonPath};
use crate::format::testing::{read, reasons, schema, shown, timestamp, try_read};

fn ndjson(columns: &[(&str, DataType)], text: &str) -> (Vec<String>, Vec<String>) {
    let (records, rejects) = read(
        text,
        Format::Ndjson,
        &FormatOptions::default(),
        &schema(columns),
    );
    (shown(&records), reasons(&rejects))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn record(fields: &[(&str, DataType)]) -> DataType {
    DataType::Struct(schema(fields).fields().clone())
}

#[test]
fn a_key_may_be_in_another_case() {
    let columns = schema(&[("sensorid", DataType::Int64), ("v", DataType::Int64)]);
    let text = "{\"sensorId\":1,\"V\":2}\n\
        {\"sensorId\":1,\"sensorid\":3}\n\
        {\"sensorid\":4,\"SENSORID\":1}\n";
    let (records, rejects) = read(text, Format::Ndjson, &FormatOptions::default(), &columns);
    assert_eq!(rejects, []);
    assert_eq!(shown(&records), ["1|2", "3|-", "4|-"]);

    // Which of two columns is meant, nobody can tell.
    let columns = schema(&[("Ab", DataType::Int64), ("aB", DataType::Int64)]);
    let text = "{\"ab\":1,\"aB\":2}\n";
    let (records, _) = read(text, Format::Ndjson, &FormatOptions::default(), &columns);
    assert_eq!(shown(&records), ["-|2"]);
}

#[test]
fn the_last_of_two_nested_objects_counts() {
    let path = |text: &str| JsonPath(text.split('.').map(str::to_owned).collect());
    let options = FormatOptions {
        paths: BTreeMap::from([("b".into(), path("a.b")), ("c".into(), path("a.c"))]),
        ..FormatOptions::default()
    };
    let columns = schema(&[("b", DataType::Int64), ("c", DataType::Int64)]);
    let text = "{\"a\":{\"b\":1,\"c\":2},\"a\":{\"c\":3}}\n{\"a\":{\"b\":1},\"a\":5}\n";
    let (records, _) = read(text, Format::Ndjson, &options, &columns);
    assert_eq!(shown(&records), ["-|3", "-|-"]);
}

#[test]
fn every_type_is_read() {
    let columns = [
        ("ts", timestamp()),
        (
            "zoned",
            DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())),
        ),
        ("day", DataType::Date32),
        ("b", DataType::Boolean),
        ("i", DataType::Int16),
        ("f", DataType::Float64),
        ("d", DataType::Decimal128(10, 2)),
        ("s", DataType::Utf8),
        ("l", list(DataType::Int64)),
        (
            "o",
            record(&[("x", DataType::Float64), ("y", list(DataType::Utf8))]),
        ),
    ];
    let (rows, rejects) = ndjson(
        &columns,
        "{\"ts\":\"2026-01-31T12:30:00Z\",\"zoned\":\"2026-01-31 13:30:00.000000001+01:00\",\"day\":\"2026-01-31\",\"b\":true,\"i\":-7,\"f\":1.5e3,\"d\":0.1,\"s\":\"a\\u00e9\\n\\\"\",\"l\":[1,null,3],\"o\":{\"y\":[\"p\",\"q\"],\"x\":2}}\n\
         \n\
         { \"s\" : null , \"extra\" : {\"a\":[{},[]]} , \"o\" : { } , \"l\":[], \"d\":\"12.5\"}\r\n\
         {}",
    );
    assert_eq!(rejects, [""; 0]);
    assert_eq!(
        rows,
        [
            "2026-01-31T12:30:00|2026-01-31T12:30:00.000000001Z|2026-01-31|true|-7|1500.0|0.10|aé\n\"|[1, -, 3]|{x: 2.0, y: [p, q]}",
            "-|-|-|-|-|-|12.50|-|[]|{x: -, y: -}",
            "-|-|-|-|-|-|-|-|-|-",
        ]
    );
}

#[test]
fn text_takes_any_value_as_it_is_written() {
    let (rows, rejects) = ndjson(
        &[("s", DataType::Utf8)],
        "{\"s\":1.50}\n{\"s\":true}\n{\"s\":[1, {\"a\":null}]}\n{\"s\":{\"b\" : 1}}\n{\"s\":\"\"}\n",
    );
    assert_eq!(
        rows,
        ["1.50", "true", "[1, {\"a\":null}]", "{\"b\" : 1}", ""]
    );
    assert_eq!(rejects, [""; 0]);
}

#[test]
fn what_does_not_fit_is_one_rejected_row() {
    let columns = [
        ("ts", timestamp()),
        ("b", DataType::Boolean),
        ("n", DataType::Int64),
        ("o", record(&[("x", DataType::Float64)])),
    ];
    let deep = format!("{{\"z\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let lines = [
        "{\"n\":1,\"o\":{\"x\":1}}",
        "{\"n\":1,\"ts\":1767225600}",
        "{\"n\":\"1\"}",
        "{\"n\":1.0}",
        "{\"n\":9223372036854775808}",
        "{\"n\":1,\"b\":1}",
        "{\"ts\":\"soon\"}",
        "{\"o\":[1]}",
        "{\"o\":{\"x\":\"wide\"},\"n\":1}",
        "{\"n\":1",
        "{\"n\":01}",
        "{\"n\":1}}",
        "{\"n\":1,}",
        "{n:1}",
        "[1]",
        "\"n\"",
        "{\"n\":1,\"z\":\"a\tb\"}",
        "{\"n\":1,\"z\":\"cut",
        "{\"s\":tru}",
        "{\"\\ud800\":1}",
        &deep,
        "{\"n\":2,\"n\":3}",
    ];
    let (rows, rejects) = ndjson(&columns, &lines.join("\n"));
    assert_eq!(rows, ["-|-|1|{x: 1.0}", "-|-|3|-"]);
    assert_eq!(
        rejects,
        [
            "f:2 type: column ts: 1767225600 is a number, not a TIMESTAMP; integer epochs need their unit: declare the column BIGINT and use to_timestamp_millis or one of its kin",
            "f:3 type: column n: '\"1\"' is not a BIGINT",
            "f:4 type: column n: '1.0' is not a BIGINT",
            "f:5 type: column n: '9223372036854775808' is out of range for BIGINT",
            "f:6 type: column b: '1' is not a BOOLEAN",
            "f:7 type: column ts: '\"soon\"' is not a TIMESTAMP",
            "f:8 type: column o: '[1]' is not a STRUCT",
            "f:9 type: column o: '\"wide\"' is not a STRUCT",
            "f:10 parse: not valid JSON: it ends where ',' or '}' was expected",
            "f:11 parse: not valid JSON: expected no leading zero at byte 6",
            "f:12 parse: not valid JSON: expected nothing after the object at byte 8",
            "f:13 parse: not valid JSON: expected a string at byte 8",
            "f:14 parse: not valid JSON: expected a string at byte 2",
            "f:15 parse: not valid JSON: expected an object at byte 1",
            "f:16 parse: not valid JSON: expected an object at byte 1",
            "f:17 parse: not valid JSON: expected no control character in a string at byte 14",
            "f:18 parse: not valid JSON: it ends where the end of a string was expected",
            "f:19 parse: not valid JSON: expected a value at byte 6",
            "f:20 parse: not valid JSON: expected known escapes at byte 2",
            "f:21 parse: objects and lists are nested deeper than 128 levels (json_depth_max)",
        ]
    );
}

#[test]
fn paths_lead_inside() {
    let path = |text: &str| JsonPath(text.split('.').map(str::to_owned).collect());
    let options = FormatOptions {
        paths: BTreeMap::from([
            ("temp".into(), path("body.t.1")),
            ("first".into(), path("body.t.0")),
            ("again".into(), path("body.t.0")),
            ("zero".into(), path("list.0.v")),
            ("body".into(), path("body")),
        ]),
        ..FormatOptions::default()
    };
    let columns = schema(&[
        ("id", DataType::Utf8),
        ("temp", DataType::Float64),
        ("first", DataType::Float64),
        ("again", DataType::Int64),
        ("zero", DataType::Int64),
        ("body", DataType::Utf8),
    ]);
    let text = "{\"list\":[{\"v\":5},7],\"body\":{\"u\":1,\"t\":[1,2.5,3]},\"id\":\"a\"}\n\
        {\"id\":\"b\",\"body\":{\"t\":{\"0\":4}},\"list\":{}}\n\
        {\"id\":\"c\",\"body\":7,\"temp\":9}\n\
        {\"body\":{\"t\":[\"x\"]}}\n";
    let (records, rejects) = read(text, Format::Ndjson, &options, &columns);
    assert_eq!(
        shown(&records),
        [
            "a|2.5|1.0|1|5|{\"u\":1,\"t\":[1,2.5,3]}",
            "b|-|4.0|4|-|{\"t\":{\"0\":4}}",
            "c|-|-|-|-|7",
        ]
    );
    assert_eq!(
        reasons(&rejects),
        ["f:4 type: column first: '\"x\"' is not a DOUBLE"]
    );
}

#[test]
fn documents_of_objects() {
    let columns = schema(&[("a", DataType::Int64), ("s", DataType::Utf8)]);
    let json = |text: &str| {
        let (records, rejects) = read(text, Format::Json, &FormatOptions::default(), &columns);
        (shown(&records), reasons(&rejects))
    };
    let none: [&str; 0] = [];
    let (rows, rejects) = json("[\n  {\"a\": 1,\n   \"s\": \"]},[{\\\"\"},\n  {\"a\": 2}\n]\n");
    assert_eq!(rows, ["1|]},[{\"", "2|-"]);
    assert_eq!(rejects, none);
    let (rows, rejects) = json("{\"a\":1}{\"a\":2}\n{\n\"a\":3} [{\"a\":4}][{\"a\":5}]");
    assert_eq!(rows, ["1|-", "2|-", "3|-", "4|-", "5|-"]);
    assert_eq!(rejects, none);
    for empty in ["", "[]", " \n", "[\n]\n"] {
        assert_eq!(json(empty), (vec![], vec![]), "{empty:?}");
    }
    let (rows, rejects) =
        json("[{\"a\":1},\n 17, \"x y\", [{\"a\":9}], {\"a\":true},\n{\"s\":\"a\nb\"},{\"a\":2}");
    assert_eq!(rows, ["1|-", "2|-"]);
    assert_eq!(
        rejects,
        [
            "f:2 element 2 parse: not valid JSON: expected an object at byte 1",
            "f:2 element 3 parse: not valid JSON: expected an object at byte 1",
            "f:2 element 4 parse: not valid JSON: expected an object at byte 1",
            "f:2 element 5 type: column a: 'true' is not a BIGINT",
            "f:3 element 6 parse: not valid JSON: expected no control character in a string at byte 8",
            "f:1 parse: the JSON array is not closed: the text is cut short",
        ]
    );
    let (rows, rejects) = json("[{\"a\":1},\n{\"a\":2, ");
    assert_eq!(rows, ["1|-"]);
    assert_eq!(
        rejects,
        [
            "f:2 element 2 parse: not valid JSON: it ends where a string was expected",
            "f:1 parse: the JSON array is not closed: the text is cut short",
        ]
    );
}

#[test]
fn the_elements_of_an_array_are_told_apart_where_they_share_a_line() {
    let columns = schema(&[("a", DataType::Int64)]);
    let options = FormatOptions {
        line_bytes_max: 20,
        ..FormatOptions::default()
    };
    let long = format!("{{\"s\":\"{}\"}}", "x".repeat(1000));
    let text =
        format!("[{{\"a\":1}},{{\"a\":\"x\"}},[[7],{{}}],{long},{{\"a\":2}}] [4] {{\"a\":[]}}");
    let (records, rejects) = read(text, Format::Json, &options, &columns);
    assert_eq!(shown(&records), ["1", "2"]);
    assert_eq!(
        reasons(&rejects),
        [
            "f:1 element 2 type: column a: '\"x\"' is not a BIGINT",
            "f:1 element 3 parse: not valid JSON: expected an object at byte 1",
            "f:1 element 4 parse: the row is longer than 20 bytes; raise line_bytes_max",
            // Another array begins.
            "f:1 element 1 parse: not valid JSON: expected an object at byte 1",
            "f:1 type: column a: '[]' is not a BIGINT",
        ]
    );
}

#[test]
fn a_type_has_its_article() {
    for (data_type, words) in [
        (DataType::Int32, "an INTEGER"),
        (DataType::Int64, "a BIGINT"),
    ] {
        let columns = schema(&[("a", data_type)]);
        let text = "{\"a\":true}\n";
        let (_, rejects) = read(text, Format::Ndjson, &FormatOptions::default(), &columns);
        let expected = format!("f:1 type: column a: 'true' is not {words}");
        assert_eq!(reasons(&rejects), [expected]);
    }
}

#[test]
fn only_blanks_of_json_may_stand_beside_an_object() {
    let columns = schema(&[("a", DataType::Int64)]);
    let text = " {\"a\":1}\t\r\n{\"a\":2}\x0c\n\x0c{\"a\":3}\n\x0c\n{\"a\":4}\x0b\n";
    let (records, rejects) = read(text, Format::Ndjson, &FormatOptions::default(), &columns);
    assert_eq!(shown(&records), ["1"]);
    assert_eq!(
        reasons(&rejects),
        [
            "f:2 parse: not valid JSON: expected nothing after the object at byte 8",
            "f:3 parse: not valid JSON: expected an object at byte 1",
            "f:5 parse: not valid JSON: expected nothing after the object at byte 8",
        ]
    );
}

#[test]
fn a_row_of_bounded_length() {
    let options = FormatOptions {
        line_bytes_max: 20,
        ..FormatOptions::default()
    };
    let columns = schema(&[("a", DataType::Int64)]);
    let long = format!("{{\"s\":\"{}\"}}", "x".repeat(1000));
    let exact = format!("{{\"s\":\"{}\"}}", "x".repeat(12));
    for (format, text) in [
        (
            Format::Ndjson,
            format!("{{\"a\":1}}\n{long}\n{exact}\n{{\"a\":2}}"),
        ),
        (
            Format::Json,
            format!("[{{\"a\":1}},\n{long},\n{exact},{{\"a\":2}}]"),
        ),
        (
            Format::Json,
            format!("{{\"a\":1}}\n{long}{exact}{{\"a\":2}}"),
        ),
    ] {
        let place = if text.starts_with('[') {
            "f:2 element 2"
        } else {
            "f:2"
        };
        let (records, rejects) = read(text, format, &options, &columns);
        assert_eq!(shown(&records), ["1", "-", "2"]);
        assert_eq!(
            reasons(&rejects),
            [format!(
                "{place} parse: the row is longer than 20 bytes; raise line_bytes_max"
            )]
        );
        assert!(rejects[0].text.starts_with("{\"s\":\"xxxx"));
    }
}

#[test]
fn invalid_utf8_costs_its_row() {
    let columns = schema(&[("s", DataType::Utf8)]);
    let text = b"\xEF\xBB\xBF{\"s\":\"a\"}\n{\"s\":\"\xFF\"}\n{\"s\":\"\xC3\xA9\"}\n";
    let (records, rejects) = read(text, Format::Ndjson, &FormatOptions::default(), &columns);
    assert_eq!(shown(&records), ["a", "é"]);
    assert_eq!(reasons(&rejects), ["f:2 parse: the row is not valid UTF-8"]);
}

prop_compose! {
    fn value()(kind in 0..6, n in any::<i64>(), x in -1e300f64..1e300, s in "[a\"\\\\\n\té€😀/]{0,8}", b in any::<bool>())
        -> Value
    {
        match kind {
            0 => Value::Null,
            1 => json!(n),
            2 => json!(x),
            3 => json!(s),
            4 => json!([n, s, null]),
            _ => json!({"k": b, "s": s}),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_another_writer_writes_is_read(
        rows in prop::collection::vec((any::<Option<i64>>(), any::<Option<bool>>(), "[a\"\\\\\n\té€😀/]{0,8}", value(), any::<bool>()), 0..40),
        pretty in any::<bool>(), chunk_bytes in 1usize..300,
    ) {
        let columns = schema(&[
            ("n", DataType::Int64), ("b", DataType::Boolean), ("s", DataType::Utf8), ("v", DataType::Utf8),
        ]);
        let objects: Vec<Value> = rows.iter()
            .map(|(n, b, s, v, first)| match first {
                true => json!({"v": v, "n": n, "unknown": v, "b": b, "s": s}),
                false => json!({"n": n, "b": b, "s": s, "v": v}),
            })
            .collect();
        let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
        let document = Value::from(objects);
        let document = if pretty { format!("{document:#}") } else { document.to_string() };
        let options = FormatOptions::default();
        let (records, rejects) =
            try_read(lines.as_bytes(), Format::Ndjson, &options, &columns, chunk_bytes).expect("read");
        prop_assert_eq!(rejects, []);
        let show = |text: Option<String>| text.unwrap_or("-".into());
        let expected: Vec<String> = rows.iter()
            .map(|(n, b, s, v, _)| {
                let v = match v {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    value => Some(value.to_string()),
                };
                let (n, b) = (n.map(|n| n.to_string()), b.map(|b| b.to_string()));
                format!("{}|{}|{s}|{}", show(n), show(b), show(v))
            })
            .collect();
        prop_assert_eq!(shown(&records), expected);
        let (again, rejects) =
            try_read(document.as_bytes(), Format::Json, &options, &columns, chunk_bytes).expect("read");
        prop_assert_eq!(rejects, []);
        // A value that is kept as text keeps its blanks.
        prop_assert_eq!(again.num_rows(), records.num_rows());
        if !pretty {
            prop_assert_eq!(again, records);
        }
    }

    #[test]
    fn garbage_is_accounted_for_whatever_the_chunks(
        bytes in prop::collection::vec(
            prop::sample::select(b"{}[]:,\"a\"1-.e \n\n\\\xFF\xC3\xA9tn".to_vec()), 0..300),
        line_bytes_max in 5usize..400, chunk_bytes in 1usize..400,
    ) {
        let options = FormatOptions { line_bytes_max, ..FormatOptions::default() };
        let columns = schema(&[("a", DataType::Utf8)]);
        for format in [Format::Ndjson, Format::Json] {
            let read = |chunk_bytes| {
                try_read(&bytes, format, &options, &columns, chunk_bytes).map_err(|error| error.to_string())
            };
            let whole = read(1 << 20);
            prop_assert_eq!(&read(chunk_bytes), &whole);
            prop_assert_eq!(&read(1), &whole);
            if let (Format::Ndjson, Ok((records, rejects))) = (format, &whole) {
                let lines = bytes.split(|byte| *byte == b'\n')
                    .filter(|line| !line.trim_ascii().is_empty()).count();
                prop_assert_eq!(records.num_rows() + rejects.len(), lines);
            }
        }
    }

    #[test]
    fn accepts_the_objects_that_another_parser_accepts(
        text in "\\{(\"[ab]\":(1|-0.5e1|\"x\"|null|true|\\[1,2\\]|\\{\\}|[0-9.e]{1,3}),?){0,3}\\}?"
    ) {
        let columns = schema(&[("a", DataType::Utf8)]);
        let (records, _) =
            try_read(text.as_bytes(), Format::Ndjson, &FormatOptions::default(), &columns, 64)
                .expect("read");
        let expected = serde_json::from_str::<serde_json::Map<String, Value>>(&text).is_ok();
        prop_assert_eq!(records.num_rows() == 1, expected, "{}", text);
    }
}
