//! Sinks over sockets: receivers that are there, slow, away, and gone.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use socket2::SockRef;
use windrow_core::stream::Sink;

use super::port::free_address;
use super::registry::{Connectors, Pairs};
use super::socket_testing::{LONG, open, until};
use crate::error::Result;

fn rows(range: std::ops::Range<i64>, text: &str) -> RecordBatch {
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(range.clone()));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(range.map(|_| text)));
    RecordBatch::try_from_iter([("n", n), ("s", texts)]).expect("columns")
}

fn try_sink(connector: &str, address: &str, options: &[(&str, &str)]) -> Result<Box<dyn Sink>> {
    let pairs: Pairs = (options.iter().chain(&[("address", address)]))
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut connectors = Connectors::none();
    super::register_all(&mut connectors);
    let kind = connectors.get(connector)?;
    let schema = rows(0..0, "").schema();
    assert_eq!(kind.check_sink(&pairs, &schema)?, Vec::<String>::new());
    let (sink, unknown) = kind.sink(&pairs, &schema)?;
    assert_eq!(unknown, Vec::<String>::new());
    Ok(sink)
}

fn sink(connector: &str, address: &str, options: &[(&str, &str)]) -> Box<dyn Sink> {
    try_sink(connector, address, options).expect("it opens")
}

fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one").to_string();
    (listener, address)
}

/// Waits for a connection, but not for ever.
fn accepted(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a socket");
    let start = Instant::now();
    loop {
        if let Ok((client, _)) = listener.accept() {
            client.set_nonblocking(false).expect("a socket");
            client.set_read_timeout(Some(LONG)).expect("a socket");
            return client;
        }
        assert!(start.elapsed() < LONG, "nobody connects");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The number of a row of CSV or NDJSON that [`rows`] made; `None`: it is cut, or a header.
fn number(line: &str) -> Option<i64> {
    let line = line.strip_suffix('\n')?;
    let line = line.strip_prefix("{\"n\":").unwrap_or(line);
    line.split(',').next()?.parse().ok()
}

#[test]
fn a_receiver_gets_lines() {
    for (format, expected) in [
        ("csv", "n,s\n1,x\n2,x\n3,x\n"),
        (
            "ndjson",
            "{\"n\":1,\"s\":\"x\"}\n{\"n\":2,\"s\":\"x\"}\n{\"n\":3,\"s\":\"x\"}\n",
        ),
    ] {
        let (listener, address) = listening();
        let mut sink = sink("tcp", &address, &[("format", format)]);
        sink.write(&rows(1..3, "x")).expect("written");
        sink.write(&rows(3..4, "x")).expect("written");
        sink.finish().expect("it has arrived");
        let mut client = accepted(&listener);
        let mut text = String::new();
        client.read_to_string(&mut text).expect("it has ended");
        assert_eq!(text, expected);
    }
}

#[test]
fn rows_do_not_wait_for_the_end() {
    let (listener, address) = listening();
    let mut sink = sink("tcp", &address, &[("format", "ndjson")]);
    sink.write(&rows(1..2, "x")).expect("written");
    let client = accepted(&listener);
    let mut line = String::new();
    BufReader::new(client)
        .read_line(&mut line)
        .expect("it comes");
    assert_eq!(number(&line), Some(1));
}

#[test]
fn nobody_there_is_an_error_that_counts_the_rows() {
    let address = free_address().to_string();
    let options = [("format", "csv"), ("send_timeout", "300 ms")];
    let mut sink = sink("tcp", &address, &options);
    sink.write(&rows(0..2_500, "x")).expect("there is room");
    let message = sink.finish().expect_err("nobody is there").to_string();
    assert!(
        message.contains("2,500 rows were not delivered"),
        "{message}"
    );
    assert!(message.contains("connection refused"), "{message}");
}

#[test]
fn one_who_always_hangs_up_is_given_up() {
    let (listener, address) = listening();
    let options = [("format", "csv"), ("send_timeout", "1 second")];
    let mut sink = sink("tcp", &address, &options);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        listener.set_nonblocking(true).expect("a socket");
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                // What has come and was not read: the connection is reset.
                if let Ok((client, _)) = listener.accept() {
                    thread::sleep(Duration::from_millis(20));
                    drop(client);
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        // More than a socket takes that nobody reads from.
        for start in 0..50 {
            let text = "x".repeat(500);
            let written = sink.write(&rows(start * 1_000..(start + 1) * 1_000, &text));
            if written.is_err() {
                break;
            }
        }
        let error = sink.finish().expect_err("nothing arrives");
        assert!(error.to_string().contains("nothing was taken"), "{error}");
        stop.store(true, Relaxed);
    });
}

#[test]
fn a_receiver_that_comes_back_misses_nothing() {
    let (listener, address) = listening();
    // What has come to a machine counts as delivered: little may wait there to be read.
    let socket = SockRef::from(&listener);
    socket.set_recv_buffer_size(8 << 10).expect("a size");
    let mut sink = sink("tcp", &address, &[("format", "csv")]);
    let count = 60_000;
    let text = "a text of some length, so that much is on its way when it breaks";
    for start in 0..count / 1_000 {
        sink.write(&rows(start * 1_000..(start + 1) * 1_000, text))
            .expect("there is room");
    }
    let received = thread::spawn(move || {
        let mut seen = BTreeSet::new();
        let mut connections = 0;
        while seen.len() < count as usize {
            let client = accepted(&listener);
            connections += 1;
            let mut reader = BufReader::new(client);
            let mut line = String::new();
            reader.read_line(&mut line).expect("it comes");
            assert_eq!(line, "n,s\n");
            // The first ones go away in the middle of the rows.
            let most = if connections < 4 { 10_000 } else { usize::MAX };
            for _ in 0..most {
                line.clear();
                if reader.read_line(&mut line).expect("it comes") == 0 {
                    break;
                }
                seen.extend(number(&line));
            }
        }
        (seen, connections)
    });
    sink.finish().expect("everything arrives");
    // The receiver reads to the end of what has arrived.
    let (seen, connections) = received.join().expect("it has all rows");
    assert!(connections >= 4, "{connections}");
    assert!(seen.into_iter().eq(0..count));
}

#[test]
fn a_slow_receiver_slows_the_query() {
    let (listener, address) = listening();
    let mut sink = sink(
        "tcp",
        &address,
        &[("format", "ndjson"), ("queue_bytes", "100000")],
    );
    let batches = 200;
    let written = Arc::new(AtomicU64::new(0));
    let writer = written.clone();
    let writing = thread::spawn(move || {
        let text = "x".repeat(1_000);
        for batch in 0..batches {
            sink.write(&rows(batch * 100..(batch + 1) * 100, &text))
                .expect("it waits");
            writer.fetch_add(1, Relaxed);
        }
        sink.finish().expect("it has arrived");
    });
    let client = accepted(&listener);
    // It is still when the kernel's buffers and the queue are full.
    let mut before = u64::MAX;
    while before != written.load(Relaxed) {
        before = written.load(Relaxed);
        thread::sleep(Duration::from_millis(300));
    }
    assert!(
        before < batches as u64 / 2,
        "{before} of {batches} batches of 100 kB"
    );
    let lines = BufReader::new(client).lines();
    let numbers = lines.map(|line| number(&(line.expect("text") + "\n")).expect("a row"));
    assert!(numbers.eq(0..batches * 100));
    writing.join().expect("it has ended");
}

#[test]
fn a_stop_ends_the_wait_for_a_receiver_that_does_not_read() {
    let (listener, address) = listening();
    let mut sink = sink(
        "tcp",
        &address,
        &[("format", "ndjson"), ("queue_bytes", "1")],
    );
    let stop = Arc::new(AtomicBool::new(false));
    sink.watch(&stop);
    let client = TcpStream::connect(&address).expect("it listens");
    let stopping = thread::spawn({
        let stop = stop.clone();
        move || {
            thread::sleep(Duration::from_millis(200));
            stop.store(true, Relaxed);
        }
    });
    let start = Instant::now();
    let text = "x".repeat(10_000);
    let error = (0..1_000)
        .find_map(|batch| {
            sink.write(&rows(batch * 100..(batch + 1) * 100, &text))
                .err()
        })
        .expect("it does not wait for ever");
    assert!(start.elapsed() < LONG);
    let message = error.to_string();
    let told = "rows are not known to have been delivered";
    assert!(message.contains(told), "{message}");
    stopping.join().expect("it has ended");
    drop((client, listener));
}

#[test]
fn a_stop_lets_a_slow_receiver_have_all_rows() {
    let (listener, address) = listening();
    // Little waits in the kernel: the sink feels how slow it is.
    let socket = SockRef::from(&listener);
    socket.set_recv_buffer_size(64 << 10).expect("a size");
    let options = [("format", "csv"), ("queue_bytes", "1")];
    let mut sink = sink("tcp", &address, &options);
    sink.watch(&Arc::new(AtomicBool::new(true)));
    let reading = thread::spawn(move || {
        let mut client = accepted(&listener);
        let (mut lines, mut bytes) = (0, vec![0; 1 << 20]);
        loop {
            match client.read(&mut bytes).expect("it comes") {
                0 => return lines,
                len => lines += memchr::memchr_iter(b'\n', &bytes[..len]).count(),
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let text = "x".repeat(10_000);
    for batch in 0..10 {
        sink.write(&rows(batch * 100..(batch + 1) * 100, &text))
            .expect("it is taken, if slowly");
    }
    sink.finish().expect("everything arrives");
    assert_eq!(
        reading.join().expect("it has read"),
        1_001,
        "with the header"
    );
}

#[test]
fn a_receiver_that_is_silent_is_left_after_a_second_and_one_that_reads_is_not() {
    // Nobody is there: both kinds of silence would be waited for.
    for timeout in ["30 s", "0"] {
        let address = free_address().to_string();
        let mut away = sink(
            "tcp",
            &address,
            &[("format", "csv"), ("send_timeout", timeout)],
        );
        away.write(&rows(0..2_500, "x")).expect("there is room");
        let start = Instant::now();
        let message = away.leave().expect_err("nobody is there").to_string();
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        let told = "2,500 rows were not delivered to tcp ";
        assert!(message.contains(told), "{message}");
    }
    // It is connected, and more has come than a socket holds.
    let (listener, address) = listening();
    let options = [("format", "ndjson"), ("queue_bytes", "1000000000")];
    let mut silent = sink("tcp", &address, &options);
    let text = "x".repeat(10_000);
    for batch in 0..30 {
        let batch = rows(batch * 100..(batch + 1) * 100, &text);
        silent.write(&batch).expect("there is room");
    }
    let start = Instant::now();
    let message = silent.leave().expect_err("nobody reads").to_string();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let told = "rows are not known to have been delivered";
    assert!(message.contains(told), "{message}");
    drop(listener);
    // Who takes something every 600 ms gets all of it, though it takes longer than a second.
    let (listener, address) = listening();
    let socket = SockRef::from(&listener);
    socket.set_recv_buffer_size(64 << 10).expect("a size");
    let mut slow = sink("tcp", &address, &options);
    let text = "x".repeat(100_000);
    slow.write(&rows(0..100, &text)).expect("there is room");
    let leaving = thread::spawn(move || slow.leave().map_err(|error| error.to_string()));
    let mut client = accepted(&listener);
    let mut bytes = vec![0; 1 << 20];
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(600));
        client.read_exact(&mut bytes).expect("it comes");
    }
    let last = BufReader::new(client)
        .lines()
        .last()
        .expect("more comes")
        .expect("text");
    assert_eq!(number(&(last + "\n")), Some(99));
    assert_eq!(leaving.join().expect("it ends"), Ok(()));
}

#[test]
fn an_error_names_the_sink() {
    let session = crate::Session::new().expect("it starts");
    let script = format!(
        "CREATE SINK far WITH (connector = 'tcp', address = '{}', format = 'csv', \
         send_timeout = '100 ms') AS SELECT 1 AS n",
        free_address()
    );
    let planned = session.sql(&script).expect("it is planned");
    planned.collect().expect("there is nothing to show");
    let error = session.run().expect_err("nobody is there").to_string();
    assert!(
        error.starts_with("sink far: 1 row was not delivered"),
        "{error}"
    );
}

#[test]
fn datagrams_hold_whole_lines() {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    receiver.set_read_timeout(Some(LONG)).expect("a socket");
    let address = receiver.local_addr().expect("it has one").to_string();
    let mut buffer = [0; 65_536];
    let mut datagram = || {
        let len = receiver.recv(&mut buffer).expect("it comes");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    // Two rows of ten bytes fit, the third does not.
    let options = [("format", "csv"), ("datagram_bytes", "25")];
    let mut packed = sink("udp", &address, &options);
    packed.write(&rows(10..15, "seven..")).expect("sent");
    assert_eq!(datagram(), "10,seven..\n11,seven..\n");
    assert_eq!(datagram(), "12,seven..\n13,seven..\n");
    packed.flush().expect("sent");
    assert_eq!(datagram(), "14,seven..\n");
    packed.finish().expect("sent");

    let mut single = sink(
        "udp",
        &address,
        &[("format", "ndjson"), ("datagram_rows", "1")],
    );
    single.write(&rows(1..3, "x")).expect("sent");
    assert_eq!(datagram(), "{\"n\":1,\"s\":\"x\"}\n");
    assert_eq!(datagram(), "{\"n\":2,\"s\":\"x\"}\n");
    // A value with a line end in it is one row all the same.
    let mut lines = sink(
        "udp",
        &address,
        &[("format", "csv"), ("datagram_rows", "1")],
    );
    lines.write(&rows(1..3, "a\nb")).expect("sent");
    assert_eq!(datagram(), "1,\"a\nb\"\n");
    assert_eq!(datagram(), "2,\"a\nb\"\n");
}

#[test]
fn datagrams_that_cannot_be_are_errors() {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = receiver.local_addr().expect("it has one").to_string();
    let mut long = sink("udp", &address, &[("format", "csv")]);
    let error = long
        .write(&rows(1..2, &"x".repeat(1_400)))
        .expect_err("too long");
    let message = error.to_string();
    assert!(
        message.contains("does not fit into datagram_bytes = 1400"),
        "{message}"
    );
    drop(receiver);
    let mut nobody = sink(
        "udp",
        &address,
        &[("format", "csv"), ("datagram_rows", "1")],
    );
    nobody.write(&rows(0..3, "x")).expect("sent");
    let message = nobody.finish().expect_err("nobody is there").to_string();
    assert!(message.contains("nobody listens on udp"), "{message}");
    for (connector, options, reason) in [
        (
            "udp",
            &[("format", "csv"), ("header", "true")][..],
            "have no header",
        ),
        (
            "udp",
            &[("format", "parquet")],
            "must be ndjson, csv or line",
        ),
        (
            "udp",
            &[("format", "csv"), ("datagram_bytes", "70000")],
            "65507",
        ),
        ("tcp", &[], "needs the option format"),
        (
            "tcp",
            &[("format", "csv"), ("compression", "gzip")],
            "no compressed bytes",
        ),
        (
            "tcp",
            &[("format", "csv"), ("mode", "listen")],
            "must be connect",
        ),
        (
            "tcp",
            &[("format", "csv"), ("queue_bytes", "0")],
            "at least",
        ),
    ] {
        let refused = try_sink(connector, "127.0.0.1:9", options);
        let message = refused.map(drop).expect_err("it does not fit").to_string();
        let is_it = message.contains(reason) || reason == "at least" && message.contains("from 1");
        assert!(is_it, "{message} for {reason}");
    }
}

#[test]
fn what_a_sink_writes_a_source_reads() {
    for connector in ["tcp", "udp"] {
        let address = free_address().to_string();
        let mut source = open(connector, &address, &[("format", "csv")]);
        until(&mut *source, |_| true);
        let _ = source.poll(Duration::ZERO).expect("it starts");
        let mut sink = sink(connector, &address, &[("format", "csv")]);
        sink.write(&rows(0..500, "a \"quote\", a comma"))
            .expect("sent");
        sink.finish().expect("it has arrived");
        let came = until(&mut *source, |came| came.count == 500);
        assert_eq!(came.rows[499], "499|a \"quote\", a comma");
        assert_eq!(came.rejects, vec![]);
    }
}
