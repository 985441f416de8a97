//! Clients of a TCP source: good ones, bad ones, many.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::ipc::writer::StreamWriter;
use windrow_core::stream::Source;

use super::http_testing::{ACCOUNT, connect, numbers, serving};
use super::port::free_address;
use super::socket_testing::{Came, LONG, open, until};

fn listening(address: SocketAddr, options: &[(&str, &str)]) -> Box<dyn Source> {
    open("tcp", &address.to_string(), options)
}

/// Connects once somebody listens.
fn client(source: &mut dyn Source, address: SocketAddr) -> TcpStream {
    // The first poll starts it.
    until(source, |_| true);
    let _ = source.poll(Duration::ZERO).expect("nothing has come");
    TcpStream::connect(address).expect("it listens")
}

#[test]
fn rows_come_as_they_are_sent_and_a_client_is_a_partition() {
    let address = free_address();
    let mut source = listening(address, &[("format", "ndjson")]);
    assert!(source.is_live());
    assert_eq!(source.partitions(), 0);
    let mut first = client(&mut *source, address);
    first
        .write_all(b"{\"n\":1,\"s\":\"a\"}\n{\"n\":2,")
        .expect("sent");
    let came = until(&mut *source, |came| !came.rows.is_empty());
    assert_eq!(came.rows, ["1|a"]);
    let mut second = client(&mut *source, address);
    second.write_all(b"{\"n\":7}\n").expect("sent");
    let came = until(&mut *source, |came| !came.rows.is_empty());
    assert_eq!(came.rows, ["7|-"]);
    first.write_all(b"\"s\":\"b\"}\n").expect("sent");
    drop(first);
    let came = until(&mut *source, |came| !came.ended.is_empty());
    assert_eq!((came.rows, came.ended), (vec!["2|b".to_owned()], vec![0]));
    drop(second);
    let came = until(&mut *source, |came| !came.ended.is_empty());
    assert_eq!((came.rejects, came.ended), (vec![], vec![1]));
}

#[test]
fn each_client_of_csv_sends_its_own_header() {
    let address = free_address();
    let mut source = listening(address, &[("format", "csv")]);
    for (text, row) in [("n,s\n1,x\n", "1|x"), ("s,n\ny,2\n", "2|y")] {
        let mut client = client(&mut *source, address);
        client.write_all(text.as_bytes()).expect("sent");
        let came = until(&mut *source, |came| !came.rows.is_empty());
        assert_eq!(came.rows, [row]);
    }
    let mut wrong = client(&mut *source, address);
    wrong.write_all(b"a,b\n1,2\n").expect("sent");
    let came = until(&mut *source, |came| !came.rejects.is_empty());
    assert_eq!(came.rejects[0].rule, "connection");
    assert!(came.rejects[0].is_row());
    assert!(came.rejects[0].position.starts_with("tcp 127.0.0.1:"));
    assert_eq!(
        came.rejects[0].reason,
        "the connection was ended: its header (a, b) names none of the columns (n, s); write a \
         header, such as n,s, or set header = 'false' if the first line is a row; else check \
         delimiter"
    );
}

#[test]
fn a_bad_client_harms_no_other() {
    let address = free_address();
    let mut source = listening(
        address,
        &[
            ("format", "ndjson"),
            ("line_bytes_max", "65536"),
            ("client_timeout", "1 second"),
        ],
    );
    let mut good = client(&mut *source, address);
    good.write_all(b"{\"n\":1,\"s\":\"good\"}\n").expect("sent");
    let bad: [(&[u8], &str); 5] = [
        (
            b"{\"n\":1,\"s\":\"cut",
            "the connection ended in the middle of a line",
        ),
        (b"\xFF\xFE\x00garbage\n", "UTF-16"),
        (b"{\"n\":\"x\"}\n", "n"),
        (b"not json\n", "JSON"),
        (b"{\"n\":1,\"s\":\"\xC3\x28\"}\n", "UTF-8"),
    ];
    let mut rows = Vec::new();
    for (bytes, reason) in bad {
        let mut bad = client(&mut *source, address);
        bad.write_all(bytes).expect("sent");
        bad.shutdown(Shutdown::Write).expect("open");
        let came = until(&mut *source, |came| !came.rejects.is_empty());
        let found = &came.rejects[0].reason;
        assert!(found.contains(reason), "{found} for {reason}");
        rows.extend(came.rows);
    }
    // A line of a megabyte.
    let mut long = client(&mut *source, address);
    long.write_all(&vec![b'x'; 1 << 20]).expect("sent");
    long.write_all(b"\n{\"n\":3,\"s\":\"after\"}\n")
        .expect("sent");
    let came = until(&mut *source, |came| {
        came.rows.iter().any(|row| row == "3|after")
    });
    assert_eq!(came.rejects.len(), 1);
    assert!(
        came.rejects[0].reason.contains("65536"),
        "{:?}",
        came.rejects
    );
    rows.extend(came.rows);
    // One that connects and says nothing is sent away, and so are all others by then.
    let came = until(&mut *source, |came| came.ended.len() >= 2);
    assert!(
        came.rejects
            .iter()
            .any(|reject| reject.reason.contains("nothing for 1 s"))
    );
    assert_eq!(rows, ["1|good", "3|after"]);
}

fn arrow(batches: &[i64]) -> Vec<u8> {
    let rows = |n: i64| {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        RecordBatch::try_from_iter([("n", column), ("s", text)]).expect("columns")
    };
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &rows(0).schema()).expect("a writer");
    for n in batches {
        writer.write(&rows(*n)).expect("written");
    }
    writer.finish().expect("finished");
    drop(writer);
    bytes
}

#[test]
fn a_client_may_send_arrow() {
    let address = free_address();
    let options = [("format", "arrow"), ("message_bytes_max", "65536")];
    let mut source = listening(address, &options);
    let mut open = client(&mut *source, address);
    let bytes = arrow(&[1, 2]);
    // A batch is given on when it has come.
    open.write_all(&bytes[..bytes.len() - 100]).expect("sent");
    let came = until(&mut *source, |came| !came.rows.is_empty());
    assert_eq!(came.rows, ["1|x"]);
    // Others may do what they like.
    let mut huge = arrow(&[3]);
    huge[4..8].copy_from_slice(&i32::to_le_bytes(0x7FFF_FFF8));
    for (bytes, rule, reason) in [
        (&b"{\"n\":1}\n"[..], "connection", "no stream of Arrow IPC"),
        (&huge[..], "connection", "message_bytes_max = 65536"),
        (
            &bytes[..bytes.len() - 100],
            "parse",
            "in the middle of a message",
        ),
    ] {
        let mut bad = client(&mut *source, address);
        bad.write_all(bytes).expect("sent");
        drop(bad);
        let came = until(&mut *source, |came| !came.ended.is_empty());
        assert_eq!(came.rejects.len(), 1, "{:?}", came.rejects);
        assert_eq!(came.rejects[0].rule, rule);
        let found = &came.rejects[0].reason;
        assert!(found.contains(reason), "{found} for {reason}");
    }
    open.write_all(&bytes[bytes.len() - 100..]).expect("sent");
    let came = until(&mut *source, |came| !came.rows.is_empty());
    assert_eq!(came.rows, ["2|x"]);
    drop(open);
    let came = until(&mut *source, |came| !came.ended.is_empty());
    assert_eq!((came.rejects, came.ended), (vec![], vec![0]));
}

#[test]
fn texts_without_end_cost_no_more_than_a_line() {
    let long = vec![b'x'; 1 << 20];
    let fields = "1,".repeat(100_000);
    let keys: String = (0..100_000).map(|key| format!("\"k{key}\":1,")).collect();
    let deep = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat();
    let json = [
        format!("{{\"n\":1,\"s\":{}}}", deep("[", "]")),
        format!(
            "{{\"n\":1,\"s\":{}1{}}}",
            "{\"a\":".repeat(10_000),
            "}".repeat(10_000)
        ),
        deep("[", "]"),
        "{\"n\":9223372036854775808,\"s\":\"x\"}".to_owned(),
        "{\"n\":1e400,\"s\":\"x\"}".to_owned(),
        format!("{{\"n\":{},\"s\":\"x\"}}", "9".repeat(100_000)),
    ];
    // How many of them are no rows is known for each.
    let wide = format!("{{{keys}\"n\":7,\"s\":\"wide\"}}");
    for (format, first, last, bad, rows) in [
        (
            "csv",
            "n,s\n1,first\n",
            "2,last\n",
            vec![fields.clone(), "9223372036854775808,x".into()],
            vec!["1|first", "2|last"],
        ),
        (
            "ndjson",
            "{\"n\":1,\"s\":\"first\"}\n",
            "{\"n\":2,\"s\":\"last\"}\n",
            json.to_vec(),
            vec!["1|first", "2|last"],
        ),
    ] {
        let address = free_address();
        let options = [("format", format), ("line_bytes_max", "2000000")];
        let mut source = listening(address, &options);
        let mut good = client(&mut *source, address);
        good.write_all(first.as_bytes()).expect("sent");
        let came = until(&mut *source, |came| !came.rows.is_empty());
        assert_eq!(came.rows, [rows[0]]);
        let mut client = client(&mut *source, address);
        if format == "csv" {
            client.write_all(b"n,s\n").expect("sent");
        }
        for line in &bad {
            client.write_all(line.as_bytes()).expect("sent");
            client.write_all(b"\n").expect("sent");
            let came = until(&mut *source, |came| !came.rejects.is_empty());
            let start = &line[..line.len().min(40)];
            assert_eq!(came.count, 0, "{start} gave {:?}", came.rows);
            assert_eq!(came.rejects.len(), 1, "{start} gave {:?}", came.rejects);
            let reject = &came.rejects[0];
            assert!(
                !reject.reason.is_empty() && reject.reason.len() < 2_000,
                "{start}"
            );
            assert!(reject.text.len() <= 1_024, "{start}");
        }
        // A line of 100 MB, which is read by those who give it up.
        let sender = thread::spawn({
            let long = long.clone();
            move || {
                for _ in 0..100 {
                    client.write_all(&long).expect("sent");
                }
                client.write_all(b"\n").expect("sent");
                client
            }
        });
        let came = until(&mut *source, |came| !came.rejects.is_empty());
        assert!(
            came.rejects[0].reason.contains("2000000"),
            "{:?}",
            came.rejects
        );
        let mut client = sender.join().expect("sent");
        if format == "ndjson" {
            client.write_all(wide.as_bytes()).expect("sent");
            client.write_all(b"\n").expect("sent");
            let came = until(&mut *source, |came| !came.rows.is_empty());
            assert_eq!(
                (came.rows, came.rejects),
                (vec!["7|wide".to_owned()], vec![])
            );
        }
        for client in [&mut client, &mut good] {
            client.write_all(last.as_bytes()).expect("sent");
            let came = until(&mut *source, |came| !came.rows.is_empty());
            assert_eq!(
                (came.rows, came.rejects),
                (vec![rows[1].to_owned()], vec![])
            );
        }
    }
}

#[test]
fn a_thousand_clients_are_all_heard() {
    let address = free_address();
    let mut source = listening(
        address,
        &[
            ("format", "line"),
            ("time_column", "n"),
            ("connections_max", "200"),
        ],
    );
    until(&mut *source, |_| true);
    let _ = source.poll(Duration::ZERO).expect("it starts");
    let senders: Vec<_> = (0..10)
        .map(|sender| {
            thread::spawn(move || {
                for number in 0..100 {
                    let mut client = TcpStream::connect(address).expect("it listens");
                    let line = format!("m s=\"{sender}\" {number}\n");
                    client.write_all(line.as_bytes()).expect("sent");
                }
            })
        })
        .collect();
    let came = until(&mut *source, |came| came.ended.len() == 1_000);
    assert_eq!((came.rows.len(), came.rejects.len()), (1_000, 0));
    senders
        .into_iter()
        .for_each(|sender| sender.join().expect("all was sent"));
}

#[test]
fn a_client_that_says_nothing_gives_up_its_place() {
    let address = free_address();
    let options = [
        ("format", "ndjson"),
        ("connections_max", "1"),
        ("client_timeout", "1 second"),
    ];
    let mut source = listening(address, &options);
    let mut silent = client(&mut *source, address);
    silent.write_all(b"{\"n\":1}\n{\"n\":2,").expect("sent");
    let came = until(&mut *source, |came| !came.rows.is_empty());
    assert_eq!(came.rows, ["1|-"]);
    // It is connected, and waits until there is a place.
    let mut next = client(&mut *source, address);
    next.write_all(b"{\"n\":3}\n").expect("sent");
    let came = until(&mut *source, |came| came.rows.len() == 1);
    assert_eq!((came.rows, came.ended), (vec!["3|-".to_owned()], vec![0]));
    let (rows, notices): (Vec<_>, Vec<_>) = came.rejects.iter().partition(|one| one.is_row());
    let [notice, end] = notices[..] else {
        panic!("{notices:?}");
    };
    assert_eq!(
        notice.position,
        format!("tcp {}", next.local_addr().expect("it has one"))
    );
    assert_eq!(
        notice.reason,
        "1 client is served, as many as connections_max allows: this one waits until one leaves"
    );
    let reasons = [end, rows[0]].map(|reject| &*reject.reason);
    assert_eq!(rows.len(), 1);
    assert!(
        reasons[0].contains("has sent nothing for 1 s"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].contains("in the middle of a line"),
        "{reasons:?}"
    );
    drop(silent);
}

#[test]
fn clients_that_wait_for_a_place_are_told_of_once_a_minute() {
    let address = free_address();
    let script = format!(
        "CREATE STREAM r (n BIGINT) WITH (connector = 'tcp', address = '{address}', \
         format = 'ndjson', connections_max = '1'); \
         CREATE MATERIALIZED VIEW all_of_them AS SELECT n FROM r"
    );
    serving(&script, |session| {
        let first = connect(address);
        let waiting = [connect(address), connect(address)];
        let told = "SELECT count(*), CAST((SELECT max(rejected) FROM windrow.streams) AS BIGINT) \
                    FROM rejected('r') WHERE rule = 'notice' AND reason LIKE '1 client is served%'";
        let start = Instant::now();
        while numbers::<2>(session, told) != [1, 0] {
            assert!(start.elapsed() < LONG, "nothing is told");
            thread::sleep(Duration::from_millis(20));
        }
        // The other has the place, and now the last one waits: it is too soon to tell again.
        drop(first);
        let [mut second, last] = waiting;
        second.write_all(b"{\"n\":1}\n").expect("sent");
        let rows = "SELECT CAST(count(*) AS BIGINT) FROM all_of_them";
        while numbers::<1>(session, rows) != [1] {
            assert!(start.elapsed() < LONG, "it has no place");
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(400));
        assert_eq!(numbers(session, told), [1, 0]);
        drop((second, last));
    });
}

#[test]
fn the_end_of_a_connection_is_told_and_is_no_row() {
    let address = free_address();
    let script = format!(
        "CREATE STREAM r (n BIGINT) WITH (connector = 'tcp', address = '{address}', \
         format = 'ndjson', client_timeout = '1 second', on_error = 'skip'); \
         CREATE MATERIALIZED VIEW each AS SELECT n FROM r"
    );
    serving(&script, |session| {
        let silent: Vec<TcpStream> = (0..5).map(|_| connect(address)).collect();
        let mut cut = connect(address);
        cut.write_all(b"{\"n\":1}\n{\"n\":2,").expect("sent");
        drop(cut);
        let told = "SELECT CAST(count(*) AS BIGINT) FROM rejected('r') WHERE rule = 'notice' \
                    AND reason = 'the connection was ended: the client has sent nothing for 1 s'";
        let start = Instant::now();
        while numbers(session, told) != [5] {
            assert!(start.elapsed() < LONG, "{:?}", numbers::<1>(session, told));
            thread::sleep(Duration::from_millis(20));
        }
        // A row, and what was cut.
        assert_eq!(numbers(session, ACCOUNT), [2, 1, 1, 0]);
        drop(silent);
    });
}

#[test]
fn windows_do_not_wait_for_a_client_that_says_nothing() {
    let address = free_address();
    let script = format!(
        "CREATE STREAM r (ts TIMESTAMP NOT NULL, n BIGINT, WATERMARK FOR ts) \
         WITH (connector = 'tcp', address = '{address}', format = 'ndjson', \
         idle_timeout = '1 second'); \
         CREATE MATERIALIZED VIEW minutes AS SELECT window_start, sum(n) AS n \
         FROM TUMBLE(r, ts, INTERVAL '1' MINUTE) GROUP BY window_start"
    );
    serving(&script, |session| {
        let row = |second: u32, n: u32| {
            let (minute, second) = (second / 60, second % 60);
            format!("{{\"ts\":\"2026-01-01T10:{minute:02}:{second:02}Z\",\"n\":{n}}}\n")
        };
        let mut silent = connect(address);
        silent.write_all(row(0, 1).as_bytes()).expect("sent");
        let mut talking = connect(address);
        talking.write_all(row(1, 10).as_bytes()).expect("sent");
        let sums = "SELECT CAST(count(*) AS BIGINT), CAST(coalesce(sum(n), 0) AS BIGINT) \
                    FROM minutes";
        // It says something all the time, so that the clock is not asked.
        let start = Instant::now();
        let mut second = 120;
        while numbers::<2>(session, sums) == [0, 0] {
            assert!(start.elapsed() < LONG, "the window is not closed");
            talking
                .write_all(row(second, 100).as_bytes())
                .expect("sent");
            second = (second + 1).min(179);
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(numbers(session, sums), [1, 11]);
        assert!(
            start.elapsed() > Duration::from_millis(500),
            "it was waited for"
        );
        drop(silent);
    });
}

#[test]
fn it_connects_again_when_the_server_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let mut source = listening(address, &[("format", "ndjson"), ("mode", "connect")]);
    let _ = source.poll(Duration::ZERO).expect("it starts");
    for number in 0..3 {
        let (mut server, _) = listener.accept().expect("it connects");
        writeln!(server, "{{\"n\":{number},\"s\":\"x\"}}").expect("sent");
        drop(server);
        let came = until(&mut *source, |came| !came.ended.is_empty());
        assert_eq!(came.rows, [format!("{number}|x")]);
    }
}

/// What comes of a whole connection.
fn sent(source: &mut dyn Source, address: SocketAddr, bytes: &[u8]) -> Came {
    let mut client = client(source, address);
    client.write_all(bytes).expect("sent");
    drop(client);
    until(source, |came| !came.ended.is_empty())
}

#[test]
fn every_byte_that_comes_is_counted() {
    let arrow = arrow(&[1, 2]);
    let cases: [(&str, &[u8], u64, usize); 7] = [
        ("ndjson", b"", 0, 0),
        ("ndjson", b"{\"n\":1}\n\n{\"n\":2}\n", 2, 0),
        ("ndjson", b"{\"n\":1}\n{\"n\":2,", 1, 1),
        ("csv", b"n,s\n1,x\n", 1, 0),
        ("csv", b"a,b\n1,x\n2,y\n", 0, 1),
        ("arrow", &arrow, 2, 0),
        // The end of the stream is 8 bytes long: the second message is cut.
        ("arrow", &arrow[..arrow.len() - 20], 1, 1),
    ];
    for (format, bytes, rows, rejected) in cases {
        let address = free_address();
        let mut source = listening(address, &[("format", format)]);
        let came = sent(&mut *source, address, bytes);
        let seen = format!("{format} of {} bytes", bytes.len());
        assert_eq!((came.count, came.rejects.len()), (rows, rejected), "{seen}");
        assert_eq!(came.bytes, bytes.len() as u64, "{seen}");
    }
}

#[test]
fn a_server_that_hangs_up_at_once_is_called_less_and_less() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let mut source = listening(address, &[("format", "ndjson"), ("mode", "connect")]);
    let _ = source.poll(Duration::ZERO).expect("it starts");
    listener.set_nonblocking(true).expect("a socket");
    let mut called = |says: &[u8]| {
        let start = Instant::now();
        loop {
            // What it has to tell is taken all the time.
            let _ = source.poll(Duration::from_millis(5)).expect("it goes on");
            if let Ok((mut server, _)) = listener.accept() {
                server.write_all(says).expect("sent");
                return Instant::now();
            }
            assert!(start.elapsed() < LONG, "it does not connect");
        }
    };
    let first = called(b"");
    let last = (0..4).map(|_| called(b"")).last().expect("four");
    // 0.1 + 0.2 + 0.4 + 0.8 s; less by what the first was late.
    let took = last - first;
    assert!(took > Duration::from_millis(1_200), "{took:?}");
    // The next is 1.6 s later. Once it has said something, the wait begins anew.
    let heard = called(b"{\"n\":1}\n");
    assert!(heard - last > Duration::from_millis(1_200));
    let again = called(b"") - heard;
    assert!(again < Duration::from_millis(1_200), "{again:?}");
}

#[test]
fn dropping_it_frees_the_port_and_ends_its_clients() {
    let address = free_address();
    let mut source = listening(address, &[("format", "ndjson")]);
    let client = client(&mut *source, address);
    drop(source);
    let start = Instant::now();
    while TcpListener::bind(address).is_err() {
        assert!(start.elapsed() < LONG, "the port is still taken");
        thread::sleep(Duration::from_millis(10));
    }
    drop(client);
}
