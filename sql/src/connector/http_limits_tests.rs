//! What clients of an HTTP source share: connections, queues, and the counts of their bytes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use super::http_testing::{answer, connect, numbers, post, readings, request, serving};
use super::port::free_address;
use super::socket_testing::{LONG, open, until};
use crate::Session;

const ROW: &str = "{\"ts\":\"2026-01-01T00:00:01Z\",\"s\":\"a\",\"v\":1}\n";

const PING: &[u8] = b"GET /ping HTTP/1.1\r\n\r\n";

#[test]
fn one_client_more_than_are_served_waits_until_another_leaves() {
    let address = free_address();
    let options = ", format = 'ndjson', connections_max = '1'";
    serving(&readings(address, options), |_session| {
        let mut first = connect(address);
        first.write_all(PING).expect("sent");
        assert_eq!(answer(&mut first).status, 204);
        let mut second = connect(address);
        second.write_all(PING).expect("sent");
        let soon = Some(Duration::from_millis(200));
        second.set_read_timeout(soon).expect("a socket");
        assert!(second.read(&mut [0]).is_err(), "it is served");
        drop(first);
        second.set_read_timeout(Some(LONG)).expect("a socket");
        assert_eq!(answer(&mut second).status, 204);
    });
}

#[test]
fn a_full_queue_is_told_before_the_body_is_sent() {
    let address = free_address();
    // Nobody polls: what comes stays in the queue.
    let options = [("queue_rows", "2"), ("answer_timeout", "50 ms")];
    let mut source = open("http", &address.to_string(), &options);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let first = post(address, "/ingest/stream", &ndjson, "{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(first.status, 202, "{first:?}");
    for (target, status) in [("/ingest/stream", 429), ("/write?db=stream", 503)] {
        let mut client = connect(address);
        let head = format!(
            "POST {target} HTTP/1.1\r\nContent-Type: application/x-ndjson\r\n\
             Expect: 100-continue\r\nContent-Length: 8\r\n\r\n"
        );
        client.write_all(head.as_bytes()).expect("sent");
        let full = answer(&mut client);
        assert_eq!(full.status, status, "{full:?}");
        assert!(full.head.contains("Connection: close"), "{full:?}");
    }
    let came = until(&mut *source, |came| came.count == 2);
    assert_eq!(came.rows, ["1|-", "2|-"]);
}

/// Bytes without a row are counted after the answer.
fn counts_bytes(session: &Session, bytes: i64) {
    let start = Instant::now();
    loop {
        let counted = numbers(session, "SELECT bytes FROM windrow.streams");
        if counted == [bytes] {
            return;
        }
        assert!(start.elapsed() < LONG, "{counted:?}, not {bytes}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_byte_of_a_body_is_counted_once() {
    let address = free_address();
    let options = ", format = 'ndjson', batch_bytes = '1000'";
    serving(&readings(address, options), |session| {
        let mut bytes = 0;
        for body in [
            ROW.to_owned(),
            // Many chunks, no row, and one that cannot be read.
            ROW.repeat(500),
            "\n \n".to_owned(),
            "\u{feff}".to_owned(),
            "{\n".to_owned(),
        ] {
            post(address, "/ingest/readings", &[], &body);
            bytes += body.len() as i64;
            counts_bytes(session, bytes);
        }
        // A header that fits no column.
        let csv = [("Content-Type", "text/csv")];
        let refused = post(address, "/ingest/readings", &csv, "a,b\n1,2\n");
        assert_eq!(refused.status, 400, "{refused:?}");
        counts_bytes(session, bytes + 8);
    });
}

#[test]
fn rejects_of_one_connection_tell_their_request() {
    let address = free_address();
    serving(&readings(address, ", format = 'ndjson'"), |session| {
        let mut client = connect(address);
        let port = client.local_addr().expect("it has one").port();
        let bad = request("/ingest/readings", &[], format!("{ROW}bad\n").as_bytes());
        for _ in 0..2 {
            client.write_all(&bad).expect("sent");
            assert_eq!(answer(&mut client).counts(), [2, 1, 0, 1]);
        }
        for place in ["2", "request 2:2"] {
            let position = match place {
                "2" => format!("http 127.0.0.1:{port}:2"),
                place => format!("http 127.0.0.1:{port} {place}"),
            };
            let found = format!(
                "SELECT CAST(count(*) AS BIGINT) FROM rejected('readings') \
                 WHERE position = '{position}'"
            );
            assert_eq!(numbers(session, &found), [1], "{position}");
        }
    });
}

#[test]
fn an_address_that_is_taken_is_told_with_the_stream_and_its_place() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    for connector in ["http", "tcp"] {
        let script = format!(
            "CREATE STREAM air (v DOUBLE) WITH (connector = '{connector}', address = '{address}', \
             format = 'ndjson'); SELECT * FROM air"
        );
        let session = Session::new().expect("it starts");
        let rows = session.sql(&script).and_then(|rows| rows.collect());
        let error = rows.expect_err("it is taken").to_string();
        let (what, place) = error.split_once('\n').expect("it has a place");
        assert!(
            what.starts_with(&format!("stream air: listening on {address}: ")),
            "{error}"
        );
        let column = 1 + script.find(&format!("'{address}'")).expect("it is there");
        let place = place.trim_start();
        assert!(
            place.starts_with(&format!("--> sql:1:{column}: '{address}'\n")),
            "{error}"
        );
    }
}
