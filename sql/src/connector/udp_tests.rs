//! Datagrams: whole ones, broken ones, more than there is room for.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use windrow_core::stream::Source;

use super::http_testing::{ACCOUNT, numbers, serving};
use super::port::free_address;
use super::socket_testing::{LONG, open, until};

/// A source, and a socket whose datagrams it receives.
fn listening(options: &[(&str, &str)]) -> (Box<dyn Source>, UdpSocket) {
    let address = free_address();
    let source = open("udp", &address.to_string(), options);
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
    sender.connect(address).expect("it is there");
    (source, sender)
}

#[test]
fn a_datagram_holds_one_line_or_more() {
    let (mut source, sender) = listening(&[("format", "csv")]);
    assert!(source.is_live());
    for datagram in ["1,a", "2,b\n", "3,c\n4,d", "", "5,e\r\n6,f\r\n"] {
        sender.send(datagram.as_bytes()).expect("sent");
    }
    let came = until(&mut *source, |came| came.count == 6);
    assert_eq!(came.rows, ["1|a", "2|b", "3|c", "4|d", "5|e", "6|f"]);
    assert_eq!((came.rejects.len(), came.dropped), (0, 0));
    // As many as were sent: 3, 4, 7, 0 and 10. A line end that was not sent is not counted.
    assert_eq!(came.bytes, 24);
}

#[test]
fn what_is_broken_is_rejected_and_harms_no_other() {
    let (mut source, sender) = listening(&[("format", "ndjson")]);
    // As the first bytes of a file they would tell of UTF-16.
    sender.send(b"\xFF\xFE").expect("sent");
    sender.send(b"{\"n\":1,").expect("sent");
    sender.send(b"{\"n\":2,\"s\":\"x\"}").expect("sent");
    // The longest datagram that there is.
    let mut long = vec![b'y'; 65_507];
    long[..11].copy_from_slice(b"{\"n\":3,\"s\":");
    sender.send(&long).expect("sent");
    sender.send(b"\xFF\x00\n{\"n\":4}").expect("sent");
    let came = until(&mut *source, |came| {
        came.count == 2 && came.rejects.len() == 4
    });
    assert_eq!(came.rows, ["2|x", "4|-"]);
}

#[test]
fn a_quote_that_is_not_closed_holds_up_no_more_than_a_datagram_may_hold() {
    let (mut source, sender) = listening(&[("format", "csv")]);
    sender.send(b"1,\"open").expect("sent");
    for number in 0..10_000 {
        sender
            .send(format!("{number},some text").as_bytes())
            .expect("sent");
        if number % 100 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let came = until(&mut *source, |came| came.count > 9_000);
    assert!(came.rejects.len() <= 1, "{:?}", came.rejects);
}

#[test]
fn what_is_sent_is_received_or_dropped() {
    // The kernel's buffer is small, and nobody takes rows for a while.
    let options = [
        ("format", "csv"),
        ("queue_bytes", "100000"),
        ("queue_rows", "1000"),
        ("receive_buffer", "20000"),
    ];
    let (mut source, sender) = listening(&options);
    let _ = source.poll(Duration::ZERO).expect("it starts");
    let sent = 100_000;
    for number in 0..sent {
        sender
            .send(format!("{number},some text that fills the buffers").as_bytes())
            .expect("sent");
    }
    thread::sleep(Duration::from_millis(300));
    let came = until(&mut *source, |came| came.count + came.dropped >= sent);
    assert_eq!(came.count + came.dropped, sent);
    assert!(
        came.dropped > 0 && came.count > 0,
        "{} dropped",
        came.dropped
    );
    // It has recovered.
    sender.send(b"7,after").expect("sent");
    let came = until(&mut *source, |came| came.count > 0);
    assert_eq!((came.rows, came.dropped), (vec!["7|after".to_owned()], 0));
}

fn calling(address: SocketAddr) -> UdpSocket {
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
    sender.connect(address).expect("an address");
    sender
}

/// Sends something that is no reading until somebody receives it.
fn knock(address: SocketAddr) {
    let (sender, start) = (calling(address), Instant::now());
    loop {
        let sent = sender.send(b"is anybody there?");
        thread::sleep(Duration::from_millis(5));
        if sent.is_ok() && sender.take_error().expect("a socket").is_none() {
            return;
        }
        assert!(start.elapsed() < LONG, "nobody listens");
    }
}

/// The kernel's own count of what it dropped at an address.
fn dropped_by_kernel(address: SocketAddr) -> i64 {
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let port = format!(":{:04X} 00000000:0000", address.port());
    let line = table.lines().find(|line| line.contains(&port));
    let dropped = line.and_then(|line| line.split_whitespace().last());
    dropped.map_or(0, |count| count.parse().expect("a number"))
}

#[test]
fn a_flood_is_accounted_for_to_the_last_datagram() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 10_000;
    let address = free_address();
    let script = format!(
        "CREATE STREAM readings (ts TIMESTAMP NOT NULL, s BIGINT, WATERMARK FOR ts) \
         WITH (connector = 'udp', address = '{address}', format = 'csv', \
         receive_buffer = '20000', queue_bytes = '100000'); \
         CREATE MATERIALIZED VIEW each AS SELECT s FROM readings; \
         CREATE MATERIALIZED VIEW minutes AS SELECT window_start, count(*) AS n \
         FROM TUMBLE(readings, ts, INTERVAL '1' MINUTE) GROUP BY window_start"
    );
    serving(&script, |session| {
        knock(address);
        thread::scope(|scope| {
            for number in 0..SENDERS {
                scope.spawn(move || {
                    let sender = calling(address);
                    for row in 0..EACH {
                        let line = match row % 100 {
                            7 => "no reading".to_owned(),
                            50 => format!("2026-01-01T10:00:00Z,{number}"),
                            _ => format!("2026-01-01T10:{:02}:00Z,{number}", row / 1_000),
                        };
                        sender.send(line.as_bytes()).expect("sent");
                    }
                });
            }
        });
        let sent = i64::from(1 + SENDERS * EACH);
        let start = Instant::now();
        while numbers::<1>(session, ACCOUNT) != [sent] {
            assert!(
                start.elapsed() < LONG,
                "{:?}",
                numbers::<4>(session, ACCOUNT)
            );
            thread::sleep(Duration::from_millis(20));
        }
        let [_, accepted, rejected, dropped] = numbers::<4>(session, ACCOUNT);
        let seen = format!("{accepted} accepted, {rejected} rejected, {dropped} dropped");
        assert_eq!(accepted + rejected + dropped, sent, "{seen}");
        assert!(accepted > 0 && dropped > 0, "{seen}");
        assert!(
            (1..=i64::from(1 + SENDERS * EACH / 100)).contains(&rejected),
            "{seen}"
        );
        let by_kernel = dropped_by_kernel(address);
        assert!(dropped >= by_kernel, "{seen}, {by_kernel} by the kernel");
        assert!(by_kernel > 0 || !cfg!(target_os = "linux"), "{seen}");
        // Counted by another way.
        let rows = "SELECT CAST(count(*) AS BIGINT) FROM each";
        assert_eq!(numbers(session, rows), [accepted]);
        let query = "SELECT in_window, late FROM windrow.queries WHERE name = 'minutes'";
        let [in_window, late] = numbers(session, query);
        assert_eq!(in_window + late, accepted, "{late} late");
        // It has recovered.
        calling(address)
            .send(b"2026-01-01T10:59:00Z,7")
            .expect("sent");
        let after = "SELECT CAST(count(*) AS BIGINT) FROM each WHERE s = 7";
        while numbers(session, after) != [1] {
            assert!(start.elapsed() < 2 * LONG, "nothing is received any more");
            thread::sleep(Duration::from_millis(20));
        }
    });
}
