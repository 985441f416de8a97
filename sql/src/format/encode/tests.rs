//! Each format against a text written by hand, or read back by another reader.

use std::io::{Cursor, Read};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use proptest::prelude::*;

use super::*;

fn written(format: OutputFormat, options: &EncodeOptions, batches: &[RecordBatch]) -> Vec<u8> {
    let schema = batches.first().expect("a batch").schema();
    let mut encoder = encoder(format, options, &schema).expect("the types fit");
    let mut out = Vec::new();
    for batch in batches {
        encoder
            .encode(batch, &mut out)
            .expect("a vector takes every byte");
    }
    encoder.finish(&mut out).expect("a vector takes every byte");
    out
}

fn text(format: OutputFormat, options: &EncodeOptions, batches: &[RecordBatch]) -> String {
    String::from_utf8(written(format, options, batches)).expect("text is UTF-8")
}

fn sample() -> RecordBatch {
    let times = TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(times.with_timezone("+00:00"))),
        (
            "sensor",
            Arc::new(StringArray::from(vec![Some("a,b"), Some(""), None])),
        ),
        (
            "value",
            Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), None])),
        ),
        (
            "n",
            Arc::new(Int64Array::from(vec![Some(-3), None, Some(12)])),
        ),
        (
            "ok",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("equal lengths")
}

fn nested() -> RecordBatch {
    let list =
        ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("x \"y\""), None]));
    let window = StructArray::from(vec![(
        Arc::new(Field::new("name", inner.data_type().clone(), true)),
        inner,
    )]);
    RecordBatch::try_from_iter_with_nullable([
        ("list", Arc::new(list) as ArrayRef, true),
        ("window", Arc::new(window) as ArrayRef, true),
    ])
    .expect("equal lengths")
}

#[test]
fn csv_tells_null_from_an_empty_text() {
    assert_eq!(
        text(OutputFormat::Csv, &EncodeOptions::default(), &[sample()]),
        "ts,sensor,value,n,ok\n\
         1970-01-01T00:00:00Z,\"a,b\",1.0,-3,true\n\
         1970-01-01T00:00:01.500Z,\"\",NaN,,false\n\
         ,,,12,\n"
    );
}

#[test]
fn csv_follows_its_options() {
    let options = EncodeOptions {
        header: false,
        delimiter: b';',
        quote: b'\'',
        null_value: "NA".to_owned(),
        ..EncodeOptions::default()
    };
    let words: ArrayRef = Arc::new(StringArray::from(vec![
        Some("it's"),
        Some("NA"),
        None,
        Some("a;b"),
    ]));
    let more: ArrayRef = Arc::new(StringArray::from(vec![
        Some("x\ny"),
        Some("a,b"),
        Some("é"),
        None,
    ]));
    let batch = RecordBatch::try_from_iter([("w", words), ("m", more)]).expect("equal lengths");
    assert_eq!(
        text(OutputFormat::Csv, &options, &[batch]),
        "'it''s';'x\ny'\n'NA';a,b\nNA;é\n'a;b';NA\n"
    );
}

#[test]
fn ndjson_has_every_key_in_every_row() {
    assert_eq!(
        text(
            OutputFormat::Ndjson,
            &EncodeOptions::default(),
            &[sample(), sample().slice(2, 1)]
        ),
        "{\"ts\":\"1970-01-01T00:00:00Z\",\"sensor\":\"a,b\",\"value\":1.0,\"n\":-3,\"ok\":true}\n\
         {\"ts\":\"1970-01-01T00:00:01.500Z\",\"sensor\":\"\",\"value\":null,\"n\":null,\"ok\":false}\n\
         {\"ts\":null,\"sensor\":null,\"value\":null,\"n\":12,\"ok\":null}\n\
         {\"ts\":null,\"sensor\":null,\"value\":null,\"n\":12,\"ok\":null}\n"
    );
}

#[test]
fn nested_values_are_objects_in_json_and_json_in_csv() {
    let options = EncodeOptions::default();
    assert_eq!(
        text(OutputFormat::Ndjson, &options, &[nested()]),
        "{\"list\":[1,null],\"window\":{\"name\":\"x \\\"y\\\"\"}}\n\
         {\"list\":null,\"window\":{\"name\":null}}\n"
    );
    assert_eq!(
        text(OutputFormat::Csv, &options, &[nested()]),
        concat!(
            "list,window\n",
            r#""[1,null]","{""name"":""x \""y\""""}""#,
            "\n",
            r#","{""name"":null}""#,
            "\n",
        )
    );
}

#[test]
fn json_is_one_array_whatever_the_batches() {
    let options = EncodeOptions::default();
    let empty = sample().slice(0, 0);
    for batches in [
        vec![empty.clone()],
        vec![sample()],
        vec![sample(), empty, sample()],
    ] {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let value: serde_json::Value =
            serde_json::from_slice(&written(OutputFormat::Json, &options, &batches))
                .expect("valid JSON");
        assert_eq!(value.as_array().expect("an array").len(), rows);
    }
}

#[test]
fn floats_read_back_and_times_without_zone_have_none() {
    let values = vec![1.0, -0.0, 0.1, 1e16, 1.5e300, 5e-324, 123_456_789.25, 3.0e9];
    let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
    let batch = RecordBatch::try_from_iter([("v", column)]).expect("one column");
    let shown = text(OutputFormat::Csv, &EncodeOptions::default(), &[batch]);
    let lines: Vec<_> = shown.lines().skip(1).collect();
    assert_eq!(&lines[..3], ["1.0", "-0.0", "0.1"]);
    assert_eq!(&lines[6..], ["123456789.25", "3000000000.0"]);
    for (line, value) in lines.iter().zip(&values) {
        assert_eq!(
            line.parse::<f64>().expect("a number").to_bits(),
            value.to_bits()
        );
    }
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("t", column)]).expect("one column");
    assert_eq!(
        text(OutputFormat::Csv, &EncodeOptions::default(), &[batch]),
        "t\n1970-01-01T00:00:00.000001\n"
    );
}

#[test]
fn arrow_and_parquet_give_back_the_same_rows() {
    let batches = [sample(), sample().slice(1, 1)];
    let expected =
        arrow::compute::concat_batches(&sample().schema(), &batches).expect("one schema");
    // NaN is no equal of itself: the texts of the rows are compared.
    let shown =
        |batches: &[RecordBatch]| text(OutputFormat::Csv, &EncodeOptions::default(), batches);

    for compression in [None, Some(Compression::Zstd), Some(Compression::Lz4)] {
        let options = EncodeOptions {
            compression,
            ..EncodeOptions::default()
        };
        let bytes = written(OutputFormat::Arrow, &options, &batches);
        let back: Vec<_> = arrow::ipc::reader::StreamReader::try_new(Cursor::new(bytes), None)
            .expect("a stream")
            .map(|batch| batch.expect("whole"))
            .collect();
        assert_eq!(shown(&back), shown(std::slice::from_ref(&expected)));

        let options = EncodeOptions {
            arrow_file: true,
            ..options
        };
        let bytes = written(OutputFormat::Arrow, &options, &batches);
        let back: Vec<_> = arrow::ipc::reader::FileReader::try_new(Cursor::new(bytes), None)
            .expect("a file")
            .map(|batch| batch.expect("whole"))
            .collect();
        assert_eq!(shown(&back), shown(std::slice::from_ref(&expected)));

        let options = EncodeOptions {
            row_group_rows: 2,
            ..options
        };
        let bytes = written(OutputFormat::Parquet, &options, &batches);
        let file = bytes::Bytes::from(bytes);
        let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
            .expect("a file");
        assert_eq!(builder.metadata().num_row_groups(), 2);
        let back: Vec<_> = (builder.build().expect("a reader"))
            .map(|batch| batch.expect("whole"))
            .collect();
        assert_eq!(shown(&back), shown(std::slice::from_ref(&expected)));
    }
}

#[test]
fn dictionaries_that_differ_from_batch_to_batch_fit_into_a_file() {
    let of = |words: Vec<&str>| {
        let column: DictionaryArray<Int32Type> = words.into_iter().collect();
        RecordBatch::try_from_iter([("k", Arc::new(column) as ArrayRef)]).expect("one column")
    };
    let options = EncodeOptions {
        arrow_file: true,
        ..EncodeOptions::default()
    };
    let bytes = written(
        OutputFormat::Arrow,
        &options,
        &[of(vec!["a", "b"]), of(vec!["c"])],
    );
    let rows: Vec<_> = arrow::ipc::reader::FileReader::try_new(Cursor::new(bytes), None)
        .expect("a file")
        .map(|batch| batch.expect("whole"))
        .collect();
    assert_eq!(text(OutputFormat::Csv, &options, &rows), "k\na\nb\nc\n");
}

#[test]
fn text_can_be_packed() {
    let plain = written(OutputFormat::Csv, &EncodeOptions::default(), &[sample()]);
    let options = |compression| EncodeOptions {
        compression,
        ..EncodeOptions::default()
    };
    let mut back = Vec::new();
    let bytes = written(
        OutputFormat::Csv,
        &options(Some(Compression::Gzip)),
        &[sample()],
    );
    flate2::read::GzDecoder::new(&*bytes)
        .read_to_end(&mut back)
        .expect("gzip");
    assert_eq!(back, plain);
    let bytes = written(
        OutputFormat::Csv,
        &options(Some(Compression::Zstd)),
        &[sample()],
    );
    assert_eq!(zstd::decode_all(&*bytes).expect("zstd"), plain);
    let error = encoder(
        OutputFormat::Csv,
        &options(Some(Compression::Snappy)),
        &sample().schema(),
    );
    assert_eq!(
        error.expect_err("not for text").to_string(),
        "format csv cannot be packed by snappy\n   = help: compression may be none, gzip or zstd"
    );
}

#[test]
fn line_protocol_escapes_and_leaves_out_what_it_cannot_hold() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(1),
                None,
                Some(2),
            ])),
        ),
        (
            "my tag",
            Arc::new(StringArray::from(vec!["a b,c=d", "", "e\\"])),
        ),
        (
            "v",
            Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), None])),
        ),
        ("n", Arc::new(Int64Array::from(vec![7, 8, 9]))),
        (
            "end",
            Arc::new(TimestampMicrosecondArray::from(vec![None, Some(0), None])),
        ),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
            .expect("equal lengths");
    let options = EncodeOptions {
        measurement: "city air".to_owned(),
        ..EncodeOptions::default()
    };
    assert_eq!(
        text(OutputFormat::Line, &options, &[batch]),
        "city\\ air,my\\ tag=a\\ b\\,c\\=d v=1.5,n=7i 1000\n\
         city\\ air n=8i,end=\"1970-01-01T00:00:00\"\n\
         city\\ air,my\\ tag=e n=9i 2000\n"
    );
}

#[test]
fn line_protocol_says_what_is_missing() {
    let column: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let batch = RecordBatch::try_from_iter([("sensor", column)]).expect("one column");
    let error = encoder(
        OutputFormat::Line,
        &EncodeOptions::default(),
        &batch.schema(),
    );
    assert!(
        error
            .expect_err("no field")
            .message()
            .contains("needs a field")
    );
    let options = EncodeOptions {
        time_column: Some("tz".to_owned()),
        ..EncodeOptions::default()
    };
    assert_eq!(
        encoder(OutputFormat::Line, &options, &sample().schema())
            .expect_err("a slip")
            .to_string(),
        "option time_column is 'tz', which is no column of the rows\n   = help: did you mean 'ts'?"
    );
}

fn counts(rows: Vec<(&str, i32)>) -> RecordBatch {
    let (sensors, counts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    RecordBatch::try_from_iter([
        ("sensor", Arc::new(StringArray::from(sensors)) as ArrayRef),
        ("n", Arc::new(Int32Array::from(counts)) as ArrayRef),
    ])
    .expect("equal lengths")
}

#[test]
fn a_table_goes_on_while_rows_fit_and_opens_a_wider_box_when_not() {
    let batches = [
        counts(vec![("a", 17), ("b", 5)]),
        counts(vec![("c", 1)]),
        counts(vec![("d", 1000)]),
    ];
    assert_eq!(
        text(OutputFormat::Table, &EncodeOptions::default(), &batches),
        "┌────────┬────┐\n\
         │ sensor ┆  n │\n\
         ╞════════╪════╡\n\
         │ a      ┆ 17 │\n\
         │ b      ┆  5 │\n\
         │ c      ┆  1 │\n\
         └────────┴────┘\n\
         ┌────────┬──────┐\n\
         │ sensor ┆    n │\n\
         ╞════════╪══════╡\n\
         │ d      ┆ 1000 │\n\
         └────────┴──────┘\n\
         4 rows\n"
    );
}

#[test]
fn a_table_without_rows_shows_its_columns() {
    let batches = [counts(vec![])];
    assert_eq!(
        text(OutputFormat::Table, &EncodeOptions::default(), &batches),
        "┌────────┬───┐\n\
         │ sensor ┆ n │\n\
         ╞════════╪═══╡\n\
         └────────┴───┘\n\
         0 rows\n"
    );
}

#[test]
fn a_table_is_bounded_in_width_and_rows() {
    let options = EncodeOptions {
        width: Some(24),
        rows_max: Some(2),
        null_value: "NULL".to_owned(),
        ..EncodeOptions::default()
    };
    let batches = [counts(vec![
        ("温度传感器一二三四五六七", 1),
        ("line\nbreak", 2),
        ("never shown", 3),
        ("nor this", 4),
    ])];
    let shown = text(OutputFormat::Table, &options, &batches);
    assert_eq!(
        shown,
        "┌──────────────────┬───┐\n\
         │ sensor           ┆ n │\n\
         ╞══════════════════╪═══╡\n\
         │ 温度传感器一二…  ┆ 1 │\n\
         │ line\\nbreak      ┆ 2 │\n\
         └──────────────────┴───┘\n\
         4 rows (the first 2 are shown)\n"
    );
    assert!(
        shown
            .lines()
            .all(|line| unicode_width::UnicodeWidthStr::width(line) <= 30)
    );
}

#[test]
fn markdown_escapes_what_would_be_markup() {
    let batches = [counts(vec![("a|b", 1), ("pm_2*5", 20)])];
    assert_eq!(
        text(OutputFormat::Markdown, &EncodeOptions::default(), &batches),
        "| sensor | n |\n|---|---:|\n| a\\|b | 1 |\n| pm\\_2\\*5 | 20 |\n"
    );
}

#[test]
fn a_column_of_nothing_and_no_column_at_all_are_written() {
    let nothing: ArrayRef = Arc::new(arrow::array::NullArray::new(2));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("n", numbers, false), ("x", nothing, true)])
            .expect("equal lengths");
    let options = EncodeOptions::default();
    let shown = |format| text(format, &options, std::slice::from_ref(&batch));
    assert_eq!(shown(OutputFormat::Csv), "n,x\n1,\n2,\n");
    assert_eq!(
        shown(OutputFormat::Ndjson),
        "{\"n\":1,\"x\":null}\n{\"n\":2,\"x\":null}\n"
    );
    assert_eq!(shown(OutputFormat::Line), "readings n=1i\nreadings n=2i\n");
    assert!(shown(OutputFormat::Table).contains("│ 1 ┆   │\n"));

    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(2));
    let empty = Arc::new(Schema::empty());
    let batch = RecordBatch::try_new_with_options(empty, vec![], &rows).expect("no columns");
    for format in [OutputFormat::Csv, OutputFormat::Ndjson, OutputFormat::Table] {
        text(format, &options, std::slice::from_ref(&batch));
    }
}

#[test]
fn a_closed_pipe_is_the_cause_of_the_error() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in OutputFormat::ALL {
        let mut encoder =
            encoder(format, &EncodeOptions::default(), &sample().schema()).expect("fits");
        let error = (encoder.encode(&sample(), &mut Closed).err())
            .or_else(|| encoder.finish(&mut Closed).err())
            .unwrap_or_else(|| panic!("{format} wrote nothing"));
        let cause = std::error::Error::source(&error).expect("a cause");
        let cause = cause
            .downcast_ref::<std::io::Error>()
            .expect("of the writer");
        assert_eq!(cause.kind(), std::io::ErrorKind::BrokenPipe);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // A single NULL on a line of its own would be an empty line, which readers skip:
    // a second column keeps every row visible.
    #[test]
    fn csv_is_read_back_by_another_reader(
        rows in prop::collection::vec(
            (prop::option::of("[ab,\"\n\r é;]{1,6}"), any::<f64>(), any::<i64>()),
            0..40,
        ),
        cut in 0_usize..40,
    ) {
        let words: StringArray = rows.iter().map(|row| row.0.clone()).collect();
        let floats = Float64Array::from_iter_values(rows.iter().map(|row| row.1));
        let numbers = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(numbers) as ArrayRef, true),
            ("w", Arc::new(words) as ArrayRef, true),
            ("f", Arc::new(floats) as ArrayRef, true),
        ])
        .expect("equal lengths");
        let cut = cut.min(batch.num_rows());
        let parts = [batch.slice(0, cut), batch.slice(cut, batch.num_rows() - cut)];
        let bytes = written(OutputFormat::Csv, &EncodeOptions::default(), &parts);
        let back: Vec<_> = arrow::csv::ReaderBuilder::new(Arc::new(Schema::clone(&batch.schema())))
            .with_header(true)
            .build(Cursor::new(bytes))
            .expect("a reader")
            .map(|batch| batch.expect("whole"))
            .collect();
        let back = arrow::compute::concat_batches(&batch.schema(), &back).expect("one schema");
        prop_assert_eq!(back.num_rows(), batch.num_rows());
        for (was, is) in batch.columns().iter().zip(back.columns()) {
            let nan = was.as_any().downcast_ref::<Float64Array>();
            if let Some(was) = nan {
                let is = is.as_any().downcast_ref::<Float64Array>().expect("floats");
                for row in 0..was.len() {
                    prop_assert!(was.value(row).total_cmp(&is.value(row)).is_eq()
                        || was.value(row).is_nan() && is.value(row).is_nan());
                }
            } else {
                prop_assert_eq!(was, is);
            }
        }
    }
}

#[test]
fn two_columns_of_one_name_are_refused_where_one_would_be_lost() {
    let field = || Field::new("a", DataType::Int64, true);
    let schema: SchemaRef = Arc::new(Schema::new(vec![field(), field()]));
    for format in [
        OutputFormat::Json,
        OutputFormat::Ndjson,
        OutputFormat::Parquet,
    ] {
        let error = encoder(format, &EncodeOptions::default(), &schema).expect_err("twins");
        assert!(
            error.message().contains("two columns are named a"),
            "{error}"
        );
    }
    encoder(OutputFormat::Csv, &EncodeOptions::default(), &schema).expect("names are only shown");
}
