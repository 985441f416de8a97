//! What holds for every live stream: a silence and a wrong clock do not stop its windows.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::http_testing::{ACCOUNT, connect, numbers, post, serving};
use super::port::free_address;
use super::socket_testing::LONG;

/// Readings of one window, and one of a clock that is wrong.
const ROWS: [&str; 3] = [
    "{\"ts\":\"2026-01-01T10:00:00.2Z\",\"n\":1}\n",
    "{\"ts\":\"2999-01-01T10:00:00Z\",\"n\":10}\n",
    "{\"ts\":\"2026-01-01T10:00:00.1Z\",\"n\":100}\n",
];

/// A socket whose datagrams somebody receives: one without bytes is no row.
fn heard(address: SocketAddr) -> UdpSocket {
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
    sender.connect(address).expect("an address");
    let start = Instant::now();
    loop {
        let sent = sender.send(b"");
        thread::sleep(Duration::from_millis(5));
        if sent.is_ok() && sender.take_error().expect("a socket").is_none() {
            return sender;
        }
        assert!(start.elapsed() < LONG, "nobody listens");
    }
}

#[test]
fn a_silence_closes_windows_and_what_comes_from_the_future_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.ndjson");
    for connector in ["tcp", "udp", "http", "file"] {
        let address = free_address();
        let (place, format) = match connector {
            "http" => (format!("address = '{address}'"), ""),
            "file" => (
                format!("path = '{}', follow = 'true'", path.display()),
                ", format = 'ndjson'",
            ),
            _ => (format!("address = '{address}'"), ", format = 'ndjson'"),
        };
        let script = format!(
            "CREATE STREAM r (ts TIMESTAMP NOT NULL, n BIGINT, \
             WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) \
             WITH (connector = '{connector}', {place}{format}, idle_timeout = '1 second', \
             max_future = '1 hour'); \
             CREATE MATERIALIZED VIEW seconds AS SELECT window_start, sum(n) AS n \
             FROM TUMBLE(r, ts, INTERVAL '1' SECOND) GROUP BY window_start, window_end"
        );
        serving(&script, |session| {
            let mut silent = None;
            match connector {
                "tcp" => {
                    let mut client = connect(address);
                    client.write_all(ROWS.concat().as_bytes()).expect("sent");
                    silent = Some(client);
                }
                "udp" => {
                    let sender = heard(address);
                    for row in ROWS {
                        sender.send(row.as_bytes()).expect("sent");
                    }
                }
                "http" => {
                    let kind = [("Content-Type", "application/x-ndjson")];
                    let answer = post(address, "/ingest/r", &kind, ROWS.concat());
                    assert_eq!(answer.counts(), [3, 2, 0, 1], "{answer:?}");
                }
                _ => {
                    let file = OpenOptions::new().create(true).append(true).open(&path);
                    let mut file = file.expect("it can be written");
                    file.write_all(ROWS.concat().as_bytes()).expect("written");
                }
            }
            let sums = "SELECT CAST(count(*) AS BIGINT), CAST(coalesce(sum(n), 0) AS BIGINT) \
                        FROM seconds";
            let start = Instant::now();
            while numbers::<2>(session, sums) == [0, 0] {
                let account = numbers::<4>(session, ACCOUNT);
                assert!(start.elapsed() < LONG, "{connector}: {account:?}");
                thread::sleep(Duration::from_millis(20));
            }
            // The window ends a second after it begins, and the watermark is one behind.
            assert!(start.elapsed() > Duration::from_millis(700), "{connector}");
            assert_eq!(numbers(session, sums), [1, 101], "{connector}");
            assert_eq!(numbers(session, ACCOUNT), [3, 2, 1, 0], "{connector}");
            let future = "SELECT CAST(count(*) AS BIGINT) FROM rejected('r') WHERE rule = 'future'";
            assert_eq!(numbers(session, future), [1], "{connector}");
            drop(silent);
        });
    }
    fs::remove_file(&path).expect("it was written");
}
