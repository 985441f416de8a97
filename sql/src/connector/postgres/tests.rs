//! What is written, without a database; with one in `tests/tests/postgres.rs`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Float32Array, Float64Array, Int64Array, NullArray,
    RecordBatch, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::lines::{self, LeftOut};
use super::route::Route;
use super::sink::PostgresKind;
use super::table::Table;
use crate::connector::registry::ConnectorKind;

fn written(columns: Vec<ArrayRef>) -> String {
    let names = (0..columns.len()).map(|number| format!("c{number}"));
    let records = RecordBatch::try_from_iter(names.zip(columns)).expect("columns");
    let mut lines = Vec::new();
    let mut left_out = LeftOut::default();
    let appended = lines::append(&records, &mut lines, &mut left_out).expect("lines");
    assert_eq!((appended, left_out.rows), (records.num_rows(), 0));
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
fn rows_that_no_table_can_hold_are_left_out_and_counted() {
    let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0, i64::MAX, 1, 2]));
    let long = format!("\0{}", "ü".repeat(40));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a\0b", "c", "d", &long]));
    let records = RecordBatch::try_from_iter([("ts", times), ("t", texts)]).expect("columns");
    let (mut lines, mut left_out) = (Vec::new(), LeftOut::default());
    let mut append = |records: &RecordBatch| {
        let appended = lines::append(records, &mut lines, &mut left_out).expect("lines");
        let (why, _) = left_out.first.clone().expect("a reason");
        (appended, left_out.rows, why)
    };
    let why = "'a\\0b' of column \"t\" holds the character U+0000, which no text of PostgreSQL can";
    assert_eq!(append(&records), (1, 3, why.to_owned()));
    // The first reason stays.
    assert_eq!(append(&records.slice(1, 1)), (0, 4, why.to_owned()));
    assert_eq!(lines, b"1970-01-01 00:00:01\td\n");
    let why = |row: usize| {
        let mut left_out = LeftOut::default();
        lines::append(&records.slice(row, 1), &mut Vec::new(), &mut left_out).expect("lines");
        left_out.first.expect("a reason").0
    };
    assert_eq!(
        why(1),
        "a value of column \"ts\" is no time that can be written"
    );
    // Of a long value the beginning: the NUL and 31 characters more.
    let shown = format!("'\\0{}…' of column", "ü".repeat(31));
    assert!(why(3).starts_with(&shown), "{}", why(3));
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
        ("postgres://ada:se?secret@host/db", "a '?' stands before"),
    ] {
        let error = Route::of(url, None).expect_err("it will not do");
        assert!(error.message().contains(told), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}

/// The next message of a client: what it is, and what it holds; `None`: it has gone.
fn message(stream: &mut TcpStream, has_kind: bool) -> Option<(u8, Vec<u8>)> {
    let (mut kind, mut length) = ([0], [0; 4]);
    if has_kind {
        stream.read_exact(&mut kind).ok()?;
    }
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body).ok()?;
    Some((kind[0], body))
}

/// Plays a database that has the table, without rows: answers so many queries, and hangs up.
/// Gives the lines of COPY.
fn play(mut stream: TcpStream, queries: usize) -> Vec<u8> {
    const READY: &[u8] = b"Z\0\0\0\x05I";
    let mut copied = Vec::new();
    let row = |value: u8| [b"D\0\0\0\x0b\0\x01\0\0\0\x01", &[value][..]].concat();
    let say = |stream: &mut TcpStream, what: &[u8]| stream.write_all(what).expect("sent");
    message(&mut stream, false).expect("who calls");
    say(&mut stream, b"R\0\0\0\x08\0\0\0\0");
    say(&mut stream, READY);
    for _ in 0..queries {
        let Some((_, query)) = message(&mut stream, true) else {
            break;
        };
        let query = String::from_utf8_lossy(&query).into_owned();
        match query.split('(').next().unwrap_or_default() {
            "SELECT to_regclass" => say(&mut stream, &row(b't')),
            "SELECT EXISTS " => say(&mut stream, &row(b'f')),
            "BEGIN; SELECT txid_current" => {
                say(&mut stream, &row(b'7'));
                say(&mut stream, b"G\0\0\0\x07\0\0\0");
                while let Some((b'd', lines)) = message(&mut stream, true) {
                    copied.extend(lines);
                }
            }
            _ => {}
        }
        say(&mut stream, b"C\0\0\0\x07OK\0");
        say(&mut stream, READY);
    }
    copied
}

#[test]
fn the_last_rows_are_written_though_the_connection_broke_while_nothing_was_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it has one").port();
    let (done, copied) = channel();
    thread::spawn(move || {
        // Whether the table is there, holds rows and fits; then BEGIN with COPY, and COMMIT.
        for queries in [3, 2] {
            let (client, _) = listener.accept().expect("a client");
            let played = play(client, queries);
            // Nobody may wait for it any more.
            let _gone = done.send(played);
        }
    });
    let url = format!("postgres://ada@127.0.0.1:{port}/db");
    let options = [("url", &url[..]), ("table", "n"), ("linger", "1 hour")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let records = RecordBatch::try_from_iter([("n", numbers)]).expect("a column");
    let opened = PostgresKind.sink(&options.into(), &records.schema());
    let (mut sink, _) = opened.expect("the table fits");
    let stop = Arc::new(AtomicBool::new(false));
    sink.watch(&stop);
    let long = Duration::from_secs(20);
    assert_eq!(copied.recv_timeout(long), Ok(vec![]));
    sink.write(&records).expect("there is room");
    stop.store(true, Relaxed);
    sink.stop().expect("it calls again");
    assert_eq!(copied.recv_timeout(long), Ok(b"1\n2\n3\n".to_vec()));
}

#[test]
fn a_database_that_does_not_answer_is_left_after_a_second() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it has one").port();
    let url = format!("postgres://ada@127.0.0.1:{port}/db");
    let options = [("url", &url[..]), ("table", "n"), ("linger", "0")];
    // What is on its way is left, and what waits for room as well.
    for queue in ["100", "1"] {
        let more = [("batch_rows", "1"), ("queue_rows", queue)];
        let options = (options.iter().chain(&more))
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let records = RecordBatch::try_from_iter([("n", numbers)]).expect("a column");
        let (mut sink, silent) = thread::scope(|scope| {
            // It is there until the table is known to fit, and then says nothing.
            let playing = scope.spawn(|| {
                let (client, _) = listener.accept().expect("a client");
                let silent = client.try_clone().expect("a socket");
                assert_eq!(play(client, 3), b"");
                silent
            });
            let opened = PostgresKind.sink(&options.collect(), &records.schema());
            let (sink, _) = opened.expect("the table fits");
            (sink, playing.join().expect("it has answered"))
        });
        sink.write(&records).expect("there is room");
        let start = Instant::now();
        let error = sink.leave().expect_err("nobody answers").to_string();
        let took = start.elapsed();
        // An answer may take half a minute, and all attempts a minute.
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(
            error.contains("2 rows were not written to table 'n'"),
            "{error}"
        );
        drop(silent);
    }
}
