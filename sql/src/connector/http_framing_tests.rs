//! Where requests and bodies end: chunks, lengths, packed bodies, clients that ask first.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::http_testing::{
    ACCOUNT, Answer, answer, connect, numbers, post, readings, request, send, serving,
};
use super::port::free_address;

const ROW: &str = "{\"ts\":\"2026-01-01T00:00:01Z\",\"s\":\"a\",\"v\":1}\n";

const HEAD: &str = "POST /ingest/readings HTTP/1.1\r\n";

fn gzip(text: &str) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::best());
    writer.write_all(text.as_bytes()).expect("into memory");
    writer.finish().expect("into memory")
}

/// Sends a request and nothing more, so that nobody waits for the rest.
fn send_all(address: SocketAddr, text: &str) -> Answer {
    let mut stream = connect(address);
    // Who is refused may not be read to the end.
    let _cut = stream.write_all(text.as_bytes());
    let _cut = stream.shutdown(Shutdown::Write);
    answer(&mut stream)
}

#[test]
fn a_body_in_chunks_that_are_framed_wrong_is_refused_whole() {
    let address = free_address();
    let options = ", format = 'ndjson', body_bytes_max = '1000'";
    serving(&readings(address, options), |session| {
        let row = format!("{:x}\r\n{ROW}\r\n", ROW.len());
        let long = ROW.repeat(12);
        let half = format!("{:x}\r\n{long}\r\n", long.len());
        for (chunks, status, words) in [
            // A length of no digits is not the last chunk's.
            (format!("{row}\r\n\r\n"), 400, "begin with its length"),
            (format!("{row};a=b\r\n\r\n"), 400, "begin with its length"),
            (format!("{row} 0\r\n\r\n"), 400, "begin with its length"),
            (format!("{row}-1\r\n\r\n"), 400, "begin with its length"),
            (format!("{row}0\n\n"), 400, "begin with its length"),
            (
                format!("{row}0;{}", "x".repeat(2_000)),
                400,
                "begin with its length",
            ),
            (
                format!("5\r\n{ROW}\r\n0\r\n\r\n"),
                400,
                "longer than it says",
            ),
            (format!("{row}0\r\n{}", "x".repeat(9_000)), 400, "too long"),
            (
                format!("{row}0\r\n{}", "a: b\r\n".repeat(2_000)),
                400,
                "too long",
            ),
            (format!("{row}0\r\na: b\r\n\tc\r\n\r\n"), 400, "blank"),
            (format!("{half}{half}0\r\n\r\n"), 413, "1000 bytes"),
            // It ends before its last chunk.
            (row.clone(), 400, "before it was whole"),
            (format!("{row}0\r\n"), 400, "before it was whole"),
        ] {
            let text = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}");
            let answered = send_all(address, &text);
            let start = &chunks[..chunks.len().min(80)];
            assert_eq!(answered.status, status, "{start}: {answered:?}");
            assert!(answered.body.contains(words), "{start}: {answered:?}");
        }
        assert_eq!(numbers(session, ACCOUNT), [0, 0, 0, 0]);
        let text = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{half}{row}00\r\n\r\n");
        assert_eq!(send_all(address, &text).counts(), [13, 13, 0, 0]);
    });
}

#[test]
fn only_a_client_that_waits_for_a_word_is_given_one() {
    let address = free_address();
    let options = ", format = 'ndjson', body_bytes_max = '1000'";
    serving(&readings(address, options), |session| {
        let length = ROW.len();
        let expect = "Expect: 100-continue\r\n";
        // The body comes with the head.
        let text = format!("{HEAD}{expect}Content-Length: {length}\r\n\r\n{ROW}");
        assert_eq!(send_all(address, &text).counts(), [1, 1, 0, 0]);
        // HTTP/1.0 does not know the word, and would take it for the answer.
        let mut stream = connect(address);
        let old = HEAD.replace("1.1", "1.0");
        let text = format!("{old}{expect}Content-Length: {length}\r\n\r\n");
        stream.write_all(text.as_bytes()).expect("sent");
        stream
            .set_read_timeout(Some(std::time::Duration::from_millis(200)))
            .expect("a socket");
        let told = stream.read(&mut [0]);
        assert!(told.is_err(), "it is told something: {told:?}");
        stream
            .set_read_timeout(Some(super::socket_testing::LONG))
            .expect("a socket");
        stream.write_all(ROW.as_bytes()).expect("sent");
        assert_eq!(answer(&mut stream).counts(), [1, 1, 0, 0]);
        // Who is refused is told at once, and sends nothing.
        for (target, length, status) in [("/nowhere", 10, 404), ("/ingest/readings", 1_001, 413)] {
            let mut stream = connect(address);
            let text =
                format!("POST {target} HTTP/1.1\r\n{expect}Content-Length: {length}\r\n\r\n");
            stream.write_all(text.as_bytes()).expect("sent");
            let refused = answer(&mut stream);
            assert_eq!(refused.status, status, "{refused:?}");
            assert!(refused.head.contains("Connection: close"), "{refused:?}");
        }
        assert_eq!(numbers(session, ACCOUNT), [2, 2, 0, 0]);
    });
}

#[test]
fn what_follows_a_body_that_was_not_read_is_no_request() {
    let address = free_address();
    serving(&readings(address, ", format = 'ndjson'"), |session| {
        let inner = String::from_utf8(request("/ingest/readings", &[], ROW.as_bytes()));
        let inner = inner.expect("text");
        for (first, status) in [
            ("POST /nowhere HTTP/1.1\r\n", 404),
            ("PUT /ingest/readings HTTP/1.1\r\n", 405),
            (
                "POST /ingest/readings HTTP/1.1\r\nOrigin: http://a\r\n",
                403,
            ),
            ("POST /ingest/readings?producr=a HTTP/1.1\r\n", 400),
            ("PUT /query HTTP/1.1\r\n", 405),
            ("GET /ping HTTP/1.1\r\n", 204),
            ("GET /health HTTP/1.1\r\n", 200),
            // No client reads a body after this.
            ("HEAD /nowhere HTTP/1.1\r\n", 404),
        ] {
            let mut stream = connect(address);
            let text = format!("{first}Content-Length: {}\r\n\r\n{inner}", inner.len());
            stream.write_all(text.as_bytes()).expect("sent");
            let answered = answer(&mut stream);
            assert_eq!(answered.status, status, "{first}: {answered:?}");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("it ends");
            assert_eq!(String::from_utf8_lossy(&rest), "", "{first}");
        }
        // Nobody reads what is written after an answer to HEAD: it is no next answer.
        let mut stream = connect(address);
        let text = "HEAD /nowhere HTTP/1.1\r\n\r\nGET /ping HTTP/1.1\r\n\r\n";
        stream.write_all(text.as_bytes()).expect("sent");
        assert_eq!(answer(&mut stream).status, 404);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("it ends");
        assert_eq!(String::from_utf8_lossy(&rest), "");
        assert_eq!(numbers(session, ACCOUNT), [0, 0, 0, 0]);
    });
}

#[test]
fn a_client_that_still_sends_reads_why_it_is_refused() {
    let address = free_address();
    let options = ", format = 'ndjson', body_bytes_max = '1000'";
    serving(&readings(address, options), |_session| {
        let large = ROW.repeat(100_000);
        for _ in 0..5 {
            let refused = post(address, "/ingest/readings", &[], &large);
            assert_eq!(refused.status, 413, "{refused:?}");
        }
        let headers = "A: b\r\n".repeat(65);
        let many = send(address, format!("{HEAD}{headers}\r\n").as_bytes());
        assert!(
            many.status == 431 && many.body.contains("64 headers"),
            "{many:?}"
        );
    });
}

#[test]
fn a_packed_body_is_taken_whole_or_not_at_all() {
    let address = free_address();
    serving(&readings(address, ", format = 'csv'"), |session| {
        let packed = gzip(&ROW.repeat(100));
        let ingest = |coding: &str, body: &[u8]| {
            let headers = [
                ("Content-Type", "Application/X-NDJSON"),
                ("Content-Encoding", coding),
            ];
            post(address, "/ingest/readings", &headers, body)
        };
        for cut in [
            0,
            1,
            9,
            10,
            packed.len() / 2,
            packed.len() - 8,
            packed.len() - 1,
        ] {
            let refused = ingest("gzip", &packed[..cut]);
            assert_eq!(refused.status, 400, "{cut}: {refused:?}");
            assert!(refused.body.contains("as gzip"), "{cut}: {refused:?}");
        }
        let mut damaged = packed.clone();
        let sum = damaged.len() - 8;
        damaged[sum] ^= 1;
        let longer = [&packed[..], b"more"].concat();
        for body in [damaged, longer] {
            assert_eq!(ingest("gzip", &body).status, 400);
        }
        assert_eq!(numbers(session, ACCOUNT), [0, 0, 0, 0]);
        // The row of the middle is packed half in one member, half in the next.
        let (left, right) = ROW.split_at(20);
        let members = [
            gzip(&format!("{ROW}{left}")),
            gzip(&format!("{right}{ROW}")),
        ]
        .concat();
        assert_eq!(ingest("X-GZIP", &members).counts(), [3, 3, 0, 0]);
        assert_eq!(ingest("identity", ROW.as_bytes()).counts(), [1, 1, 0, 0]);
        // Packed twice, or said twice.
        assert_eq!(ingest("gzip, gzip", &packed).status, 415);
        let twice = [
            ("Content-Encoding", "identity"),
            ("Content-Encoding", "gzip"),
        ];
        assert_eq!(
            post(address, "/ingest/readings", &twice, &packed).status,
            415
        );
        assert_eq!(numbers(session, ACCOUNT), [4, 4, 0, 0]);
    });
}

#[test]
fn errors_of_an_array_tell_its_elements() {
    let address = free_address();
    serving(&readings(address, ", format = 'json'"), |_session| {
        // The second breaks a rule, the third is no row.
        let row = ROW.trim_end();
        let negative = row.replace("\"v\":1", "\"v\":-1");
        let body = format!("[{row},{negative},17,{row}]");
        let answered = post(address, "/ingest/readings", &[], body);
        assert_eq!(answered.counts(), [4, 2, 0, 2]);
        let json = answered.json();
        let errors = json["errors"].as_array().expect("a list");
        let places = errors
            .iter()
            .map(|error| [&error["line"], &error["element"]]);
        let places: Vec<_> = places
            .map(|place| place.map(serde_json::Value::as_u64))
            .collect();
        assert_eq!(places, [[Some(1), Some(2)], [Some(1), Some(3)]]);
    });
}

#[test]
fn a_connection_is_closed_by_whichever_header_says_so() {
    let address = free_address();
    serving(&readings(address, ", format = 'ndjson'"), |_session| {
        for headers in [
            "Connection: close\r\n",
            "Connection: keep-alive, Close\r\n",
            "Connection: keep-alive\r\nConnection: close\r\n",
        ] {
            let mut stream = connect(address);
            let ping = format!("GET /ping HTTP/1.1\r\n{headers}\r\n");
            stream.write_all(ping.repeat(2).as_bytes()).expect("sent");
            let told = answer(&mut stream);
            assert!(
                told.head.contains("Connection: close"),
                "{headers}: {told:?}"
            );
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("it ends");
            assert_eq!(String::from_utf8_lossy(&rest), "", "{headers}");
        }
    });
}

#[test]
fn json_that_is_cut_short_is_refused_whole() {
    let address = free_address();
    serving(&readings(address, ""), |session| {
        let ingest = |body: &str| {
            let json = [("Content-Type", "application/json")];
            post(address, "/ingest/readings", &json, body)
        };
        let row = "{\"ts\":\"2026-01-01T00:00:03Z\"}";
        for (body, words) in [
            (format!("[{row},"), "ends on line 1, after element 1"),
            (format!("\n[{row},\n{row}"), "begins on line 2"),
            (
                format!("[{row},\n{{\"ts\":\"2026"),
                "ends on line 2, in element 2",
            ),
            ("[".into(), "begins on line 1"),
            (
                format!("{row}\n{{\"ts\":"),
                "value that begins on line 2 is not closed",
            ),
        ] {
            let refused = ingest(&body);
            assert_eq!(refused.status, 400, "{body}: {refused:?}");
            let error = refused.json()["error"].to_string();
            assert!(error.contains(words), "{body}: {error}");
            assert!(!error.contains("file"), "{error}");
        }
        assert_eq!(numbers(session, ACCOUNT), [0, 0, 0, 0]);
        for body in [format!("[{row},{row}]"), format!("{row}{row}"), "[]".into()] {
            assert_eq!(ingest(&body).status, 200, "{body}");
        }
        assert_eq!(numbers(session, ACCOUNT), [4, 4, 0, 0]);
    });
}

#[test]
fn a_header_that_does_not_fit_is_told_with_what_it_has() {
    let address = free_address();
    serving(&readings(address, ""), |session| {
        let csv = [("Content-Type", "text/csv")];
        for (header, words) in [
            ("ts,s,w", "its header has no column v; the header has"),
            ("t,s,v", "the header has t; did you mean ts?"),
            ("ts,s,s", "s stands twice in the header"),
        ] {
            let body = format!("{header}\n2026-01-01T00:00:03Z,a,1\n");
            let refused = post(address, "/ingest/readings", &csv, body);
            assert_eq!(refused.status, 400, "{refused:?}");
            let error = refused.json()["error"].to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(numbers(session, ACCOUNT), [0, 0, 0, 0]);
    });
}

#[test]
fn a_target_may_be_a_whole_address() {
    let address = free_address();
    serving(&readings(address, ", format = 'ndjson'"), |_session| {
        let row = "{\"ts\":\"2026-01-01T00:00:01Z\",\"s\":\"a\",\"v\":1}\n";
        for target in ["http://127.0.0.1:8080", "HTTP://windrow.example"] {
            let taken = post(address, &format!("{target}/ingest/readings"), &[], row);
            assert_eq!(
                (taken.status, taken.counts()),
                (200, [1, 1, 0, 0]),
                "{target}"
            );
        }
        let nowhere = post(address, "http://127.0.0.1:8080", &[], row);
        assert_eq!(nowhere.status, 404);
        let told = nowhere.json()["error"].to_string();
        assert!(told.contains("there is no /;"), "{told}");
    });
}
