//! What is written, without a database; with one in `tests/tests/postgres.rs`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Float32Array, Float64Array, Int64Array, NullArray,
    RecordBatch, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::lines;
use super::route::Route;
use super::table::Table;

fn written(columns: Vec<ArrayRef>) -> String {
    let names = (0..columns.len()).map(|number| format!("c{number}"));
    let records = RecordBatch::try_from_iter(names.zip(columns)).expect("columns");
    let mut lines = Vec::new();
    lines::append(&records, &mut lines).expect("they can be written");
    String::from_utf8(lines).expect("text")
}

#[test]
fn numbers_keep_their_digits_and_texts_their_characters() {
    let lines = written(vec![
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0)])),
        Arc::new(Float64Array::from(vec![0.1, f64::NAN, f64::NEG_INFINITY])),
        Arc::new(Float32Array::from(vec![0.1, 1e30, f32::INFINITY])),
        Arc::new(StringArray::from(vec![
            Some("a\tb\\"),
            None,
            Some("\n\r\\N"),
        ])),
        Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, None])),
        Arc::new(NullArray::new(3)),
    ]);
    let expected = [
        r"-9223372036854775808	0.1	0.1	a\tb\\	\\x00ff	\N",
        r"\N	NaN	1e30	\N	\N	\N",
        r"0	-Infinity	Infinity	\n\r\\N	\N	\N",
        "",
    ];
    assert_eq!(lines, expected.join("\n"));
}

#[test]
fn times_are_written_as_postgres_counts_years() {
    // By hand: the year 0 is 1 BC, and begins 719528 days before 1970; 9999-12-31 is day 2932896.
    let year_0 = -719_528 * 86_400;
    let lines = written(vec![
        Arc::new(TimestampSecondArray::from(vec![0, year_0]).with_timezone("Asia/Shanghai")),
        Arc::new(TimestampMicrosecondArray::from(vec![-1, 1_500_000])),
        Arc::new(TimestampNanosecondArray::from(vec![1, -1])),
        Arc::new(Date32Array::from(vec![-719_529, 2_932_897])),
    ]);
    let expected = "1970-01-01 00:00:00+00\t1969-12-31 23:59:59.999999\t\
                    1970-01-01 00:00:00.000000001\t0002-12-31 BC\n\
                    0001-01-01 00:00:00+00 BC\t1970-01-01 00:00:01.500\t\
                    1969-12-31 23:59:59.999999999\t10000-01-01\n";
    assert_eq!(lines, expected);
}

#[test]
fn a_time_beyond_all_calendars_is_an_error() {
    let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
    let records = RecordBatch::try_from_iter([("ts", times)]).expect("a column");
    let error = lines::append(&records, &mut Vec::new()).expect_err("no time");
    let message = "a value of column \"ts\" is no time that can be written";
    assert_eq!(error.message(), message);
}

fn schema(kinds: &[(&str, DataType)]) -> SchemaRef {
    let fields = (kinds.iter()).map(|(name, kind)| Field::new(*name, kind.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[test]
fn columns_get_the_types_that_hold_them() {
    let zone = Some("UTC".into());
    let schema = schema(&[
        ("a", DataType::UInt64),
        ("B \"b\"", DataType::Decimal128(12, 3)),
        ("c", DataType::Decimal128(5, -2)),
        ("d", DataType::Timestamp(TimeUnit::Second, None)),
        ("e", DataType::Timestamp(TimeUnit::Second, zone)),
        ("f", DataType::UInt16),
    ]);
    let table = Table::new("house.Rooms", &schema).expect("it fits");
    let expected = "CREATE TABLE IF NOT EXISTS \"house\".\"Rooms\" (\"a\" numeric(20), \
                    \"B \"\"b\"\"\" numeric(12, 3), \"c\" numeric(7, 0), \"d\" timestamp, \
                    \"e\" timestamptz, \"f\" integer)";
    assert_eq!(table.create(), expected);
}

#[test]
fn what_a_table_cannot_hold_says_what_to_write() {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let number = schema(&[("n", DataType::Int64)]);
    let long = "x".repeat(64);
    for (table, schema, told) in [
        (
            "t",
            &schema(&[("l", DataType::List(item))]),
            "cannot hold column \"l\"",
        ),
        ("a.b.c", &number, "option table is 'a.b.c'"),
        ("a.", &number, "option table '' is empty"),
        (&long, &number, "is longer than the 63 bytes"),
    ] {
        let error = Table::new(table, schema).expect_err("it does not fit");
        assert!(error.message().contains(told), "{error}");
    }
}

#[test]
fn a_url_tells_who_calls_where() {
    let route = Route::of("postgresql://ada%40x:p%2Fw@db.example:6000/My%20db", None);
    let route = route.expect("a database");
    assert_eq!(
        (route.user.as_str(), route.password.as_deref()),
        ("ada@x", Some("p/w"))
    );
    assert_eq!(route.to_string(), "postgres db.example:6000/My db");
    assert!(!format!("{route:?}").contains("p/w"));
    let route = Route::of("postgres://ada:old@[::1]?sslmode=disable", Some("new"));
    let route = route.expect("a database");
    assert_eq!((route.host.as_str(), route.port), ("::1", 5432));
    assert_eq!(
        (route.password.as_deref(), &*route.database),
        (Some("new"), "ada")
    );
}

#[test]
fn a_url_that_will_not_do_is_refused_without_its_password() {
    for (url, told) in [
        (
            "mysql://ada:secret@host/db",
            "it does not begin with postgres://",
        ),
        ("postgres://host/db", "it needs a user and a host"),
        (
            "postgres://ada:secret@host/db?sslmode=require",
            "without encryption",
        ),
        (
            "postgres://ada:secret@host/db?options=x",
            "its setting 'options' is not known",
        ),
        ("postgres://ada:secret@ho st/db", "does not name a database"),
        ("postgres://ada:secret%00@host/db", "it holds a NUL"),
    ] {
        let error = Route::of(url, None).expect_err("it will not do");
        assert!(error.message().contains(told), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
