use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use crate::format::encode::{EncodeOptions, OutputFormat, encoder};
use crate::format::options::{Format, FormatOptions};
use crate::format::testing::{read, reasons, schema, shown, timestamp};

fn lines(columns: &[(&str, DataType)], text: &str) -> (Vec<String>, Vec<String>) {
    let (records, rejects) = read(
        text,
        Format::Line,
        &FormatOptions::default(),
        &schema(columns),
    );
    (shown(&records), reasons(&rejects))
}

#[test]
fn tags_fields_and_times_are_columns() {
    let columns = [
        ("time", timestamp()),
        ("measurement", DataType::Utf8),
        ("sensor", DataType::Utf8),
        ("value", DataType::Float64),
        ("n", DataType::Int64),
        ("ok", DataType::Boolean),
        ("note", DataType::Utf8),
    ];
    // 2026-01-01 is 20,454 days after the epoch.
    let text = "# a comment\n\
        air,sensor=a,place=x value=1.5,n=3i,ok=t,note=\"fine, so far\" 1767225600000001999\n\
        \n\
        air,sensor=b n=-4i,value=2,ok=FALSE 1767225600000000000\r\n\
        air value=-1e3   -1\n\
        water,sensor=c ok=True\n\
        air,sensor=a value=7i,n=5,n=6u,note=3.50";
    let (rows, reasons) = lines(&columns, text);
    assert_eq!(reasons, [""; 0]);
    assert_eq!(
        rows,
        [
            "2026-01-01T00:00:00.000001|air|a|1.5|3|true|fine, so far",
            "2026-01-01T00:00:00|air|b|2.0|-4|false|-",
            "1969-12-31T23:59:59.999999|air|-|-1000.0|-|-|-",
            "-|water|c|-|-|true|-",
            "-|air|a|7.0|6|-|3.50",
        ]
    );
}

#[test]
fn escapes_stand_for_what_follows() {
    let columns = [
        ("measurement", DataType::Utf8),
        ("my tag", DataType::Utf8),
        ("a=b", DataType::Int64),
        ("text", DataType::Utf8),
    ];
    let text = "city\\ air\\,x=y,my\\ tag=a\\ b\\,c\\=d,dir=C:\\temp a\\=b=1i,text=\"say \\\"hi\\\\ \\n=\"\n\
        m,my\\ tag=\\x a\\=b=2i\n";
    let (rows, reasons) = lines(&columns, text);
    assert_eq!(reasons, [""; 0]);
    assert_eq!(
        rows,
        ["city air,x=y|a b,c=d|1|say \"hi\\ \\n=", "m|\\x|2|-",]
    );
}

#[test]
fn what_is_no_line_is_rejected_with_its_place() {
    let columns = [
        ("sensor", DataType::Utf8),
        ("n", DataType::Int64),
        ("v", DataType::Float64),
    ];
    let text = "air,sensor=a n=1i 1\n\
        air\n\
        ,sensor=a n=1i\n\
        air,sensor n=1i\n\
        air,sensor= n=1i\n\
        air,sensor=a=b n=1i\n\
        air,sensor=a\n\
        air n=\n\
        air n=1x\n\
        air n=1i,\n\
        air note=\"open\\\n\
        air n=1i noon\n\
        air n=1.5\n\
        air n=99999999999999999999i\n\
        air v=\"text\"\n\
        air v=t\n\
        air v=NaN\n\
        air v=1.5i\n\
        air,sensor=z n=2i 2\n";
    let (rows, reasons) = lines(&columns, text);
    assert_eq!(rows, ["a|1|-", "z|2|-"]);
    let broken = "parse: not valid line protocol:";
    assert_eq!(
        reasons,
        [
            format!("f:2 {broken} it ends where ',' or a blank was expected"),
            format!("f:3 {broken} expected a measurement at byte 1"),
            format!("f:4 {broken} expected '=' at byte 11"),
            format!("f:5 {broken} expected the value of a tag at byte 12"),
            format!("f:6 {broken} expected ',' or a blank at byte 13"),
            format!("f:7 {broken} it ends where ',' or a blank was expected"),
            format!("f:8 {broken} it ends where the value of a field was expected"),
            format!("f:9 {broken} expected the value of a field at byte 7"),
            format!("f:10 {broken} it ends where a key was expected"),
            format!("f:11 {broken} it ends where the end of a string was expected"),
            format!("f:12 {broken} expected a time in nanoseconds at byte 10"),
            "f:13 type: column n: '1.5' is not a BIGINT".to_owned(),
            "f:14 type: column n: '99999999999999999999i' is out of range for BIGINT".to_owned(),
            "f:15 type: column v: '\"text\"' is not a DOUBLE".to_owned(),
            "f:16 type: column v: 't' is not a DOUBLE".to_owned(),
            format!("f:17 {broken} expected the value of a field at byte 7"),
            format!("f:18 {broken} expected the value of a field at byte 7"),
        ]
    );
}

#[test]
fn keys_may_come_in_any_order_and_case() {
    let columns = [
        ("sensorid", DataType::Utf8),
        ("a", DataType::Int64),
        ("b", DataType::Int64),
    ];
    let text = "m,sensorId=x a=1i,b=2i\n\
        m,sensorId=x b=4i,c=0i,a=3i\n\
        m c=0i,b=5i\n\
        m,sensorid=y,SENSORID=z a=6i,A=0i\n";
    let (rows, reasons) = lines(&columns, text);
    assert_eq!(reasons, [""; 0]);
    assert_eq!(rows, ["x|1|2", "x|3|4", "-|-|5", "y|6|-"]);
}

fn written_columns(unit: TimeUnit) -> SchemaRef {
    schema(&[
        ("ts", DataType::Timestamp(unit, None)),
        ("sensor", DataType::Utf8),
        ("value", DataType::Float64),
        ("n", DataType::Int64),
        ("ok", DataType::Boolean),
    ])
}

#[test]
fn what_is_written_is_read_back() {
    let text = "ts,sensor,value,n,ok\n\
        2026-01-01T00:00:00.5,air 1,0.1,-3,true\n\
        1969-12-31T23:59:59,\"a,b=c\",24.401073574099307,9223372036854775807,false\n\
        2026-01-01T00:00:01,,1e300,,\n\
        2262-01-01T00:00:00,é\\x,-0,0,true\n";
    for unit in [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Nanosecond,
    ] {
        let columns = written_columns(unit);
        let (records, rejects) = read(text, Format::Csv, &FormatOptions::default(), &columns);
        assert_eq!((records.num_rows(), rejects.len()), (4, 0));
        let mut written = Vec::new();
        encoder(OutputFormat::Line, &EncodeOptions::default(), &columns)
            .and_then(|mut encoder| encoder.encode(&records, &mut written))
            .expect("line protocol holds them");
        let options = FormatOptions {
            time_column: Some("ts".to_owned()),
            ..FormatOptions::default()
        };
        let (read_back, rejects) = read(&written, Format::Line, &options, &columns);
        assert_eq!(rejects, []);
        assert_eq!(read_back, records);
    }
}

#[test]
fn a_comment_is_no_row_however_long_it_is() {
    let options = FormatOptions {
        line_bytes_max: 20,
        ..FormatOptions::default()
    };
    let comment = "x".repeat(50);
    let text = format!("m n=1i\n  # {comment}\nm n=2i,s=\"{comment}\"\nm n=3i\n");
    let columns = schema(&[("n", DataType::Int64)]);
    let (records, rejects) = read(text, Format::Line, &options, &columns);
    assert_eq!(shown(&records), ["1", "3"]);
    assert_eq!(
        reasons(&rejects),
        ["f:3 parse: the row is longer than 20 bytes; raise line_bytes_max"]
    );
}
