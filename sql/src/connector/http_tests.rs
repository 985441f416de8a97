//! Clients of an HTTP source: what they send, what they are answered, what is counted.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::Float64Array;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::http_arrow_tests::{arrow_rows, times};
use super::http_testing::{
    ACCOUNT, Answer, answer, connect, numbers, post, readings, request, send, serving,
};
use super::port::free_address;
use super::socket_testing::{LONG, open, until};

const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

fn row(minute: u32, second: u32, value: f64) -> String {
    format!("{{\"ts\":\"2026-01-01T10:{minute:02}:{second:02}Z\",\"s\":\"a\",\"v\":{value}}}\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::best());
    writer.write_all(bytes).expect("into memory");
    writer.finish().expect("into memory")
}

#[test]
fn the_answer_says_what_became_of_each_row() {
    let address = free_address();
    serving(&readings(address, ""), |session| {
        // The third row is of a minute that the second has closed.
        let body = [
            row(0, 10, 1.0),
            row(5, 0, 2.0),
            row(0, 20, 3.0),
            "nonsense\n".into(),
            row(5, 1, -1.0),
            "{\"s\":\"no time\"}".into(),
        ];
        let answered = post(address, "/ingest/readings", &[NDJSON], body.concat());
        assert_eq!(answered.status, 200, "{answered:?}");
        assert_eq!(answered.counts(), [6, 2, 1, 3]);
        let json = answered.json();
        let errors = json["errors"].as_array().expect("a list");
        let told: Vec<_> = (errors.iter())
            .map(|error| (error["line"].as_u64(), error["rule"].as_str()))
            .collect();
        let expected = [(4, "parse"), (5, "v >= 0"), (6, "not null")];
        assert_eq!(told, expected.map(|(line, rule)| (Some(line), Some(rule))));
        assert_eq!(json["errors_omitted"], 0);
        assert!(
            errors[0]["reason"]
                .as_str()
                .expect("a text")
                .contains("JSON")
        );
        assert_eq!(numbers(session, ACCOUNT), [6, 3, 3, 0]);
        // None at all is an error of the request.
        let answered = post(address, "/ingest/readings", &[NDJSON], "1\n2\n");
        assert_eq!((answered.status, answered.counts()), (400, [2, 0, 0, 2]));
        let answered = post(address, "/ingest/readings", &[NDJSON], "");
        assert_eq!((answered.status, answered.counts()), (200, [0, 0, 0, 0]));
        assert_eq!(numbers(session, ACCOUNT), [8, 3, 5, 0]);
    });
}

#[test]
fn each_body_says_what_it_is() {
    let address = free_address();
    serving(&readings(address, ", format = 'csv'"), |session| {
        let ingest = |kind: &str, body: &[u8]| {
            post(address, "/ingest/readings", &[("Content-Type", kind)], body)
        };
        let csv = b"v,s,ts\n1.5,x,2026-01-01T00:00:00Z\n2.5,y,2026-01-01T00:00:01Z";
        let values = Float64Array::from(vec![Some(1.0), None, Some(-1.0)]);
        let arrow = arrow_rows(vec![("ts", times(3)), ("v", Arc::new(values))], None);
        let json = b"[{\"ts\":\"2026-01-01T00:00:03Z\"},\n {\"ts\":\"2026-01-01T00:00:04Z\"}]";
        for (kind, body, counts) in [
            ("text/csv; charset=utf-8", &csv[..], [2, 2, 0, 0]),
            // What curl says, and what is said of any bytes.
            ("application/x-www-form-urlencoded", csv, [2, 2, 0, 0]),
            ("text/plain", csv, [2, 2, 0, 0]),
            ("application/json", json, [2, 2, 0, 0]),
            ("application/vnd.apache.arrow.stream", &arrow, [3, 2, 0, 1]),
            // Columns that fit nothing: the body is refused as a whole.
            (
                "application/x-ndjson",
                b"{\"ts\":\"\xC3\x28\"}\n",
                [1, 0, 0, 1],
            ),
        ] {
            let answered = ingest(kind, body);
            assert_eq!(answered.counts(), counts, "{kind}: {answered:?}");
        }
        let [received, accepted, ..] = numbers::<4>(session, ACCOUNT);
        assert_eq!((received, accepted), (12, 10));
        let wrong = ingest("text/csv", b"a,b\n1,2\n");
        assert_eq!((wrong.status, wrong.counts()), (400, [0, 0, 0, 0]));
        let error = wrong.json()["error"].to_string();
        assert!(error.contains("column") && error.contains('a'), "{error}");
        let wrong = ingest("application/json", b"\xFF\xFE[\0]\0");
        assert!(
            wrong.status == 400 && wrong.body.contains("UTF-16"),
            "{wrong:?}"
        );
        let unread = ingest("image/png", b"x");
        assert!(
            unread.status == 415 && unread.body.contains("text/csv"),
            "{unread:?}"
        );
        assert_eq!(numbers::<1>(session, ACCOUNT), [12]);
    });
}

#[test]
fn what_cannot_be_served_is_told_why() {
    let address = free_address();
    let options = ", body_bytes_max = '1000', client_timeout = '1 second', format = 'ndjson'";
    serving(&readings(address, options), |session| {
        let line = row(0, 0, 1.0);
        let large = "x".repeat(1_001);
        let bomb = gzip(&vec![b'\n'; 10 << 20]);
        let to = |target: &str, headers: &[(&str, &str)], body: &[u8]| {
            post(address, target, headers, body)
        };
        let packed = [("Content-Encoding", "gzip")];
        for (answered, status, words) in [
            (
                to("/ingest/reading", &[], line.as_bytes()),
                404,
                "did you mean readings?",
            ),
            (to("/ingest/x", &[], b""), 404, "there are readings"),
            (to("/nowhere", &[], b""), 404, "/ingest/STREAM"),
            (
                to("/ingest/readings?producr=a", &[], b""),
                400,
                "did you mean producer?",
            ),
            (
                to("/ingest/readings", &[("Origin", "http://a")], b""),
                403,
                "browser",
            ),
            (
                to("/ingest/readings", &[("Content-Encoding", "br")], b""),
                415,
                "br",
            ),
            (to("/ingest/readings", &packed, b"no gzip"), 400, "gzip"),
            (to("/ingest/readings", &packed, &bomb), 413, "1000 bytes"),
            (
                to("/ingest/readings", &[], large.as_bytes()),
                413,
                "1000 bytes",
            ),
            (
                send(address, b"GET /ingest/readings HTTP/1.1\r\n\r\n"),
                405,
                "takes POST, not GET",
            ),
            (send(address, b"what is this?\r\n\r\n"), 400, "no HTTP"),
            (
                send(
                    address,
                    &[b"POST / HTTP/1.1\r\nA: ", "x".repeat(20_000).as_bytes()].concat(),
                ),
                431,
                "longer than 16384 bytes",
            ),
            (
                send(
                    address,
                    b"POST /ingest/readings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                ),
                400,
                "chunk",
            ),
            (
                send(
                    address,
                    b"POST /ingest/readings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                      FFFFFFFFFFFFFFF0\r\n",
                ),
                413,
                "1000 bytes",
            ),
            // The rest of the body never comes.
            (
                send(
                    address,
                    b"POST /ingest/readings HTTP/1.1\r\nContent-Length: 50\r\n\r\n{\"ts\":",
                ),
                408,
                "in time",
            ),
            (send(address, b"POST /ingest/readings HT"), 408, "in time"),
        ] {
            assert_eq!(answered.status, status, "{answered:?}");
            assert!(answered.body.contains(words), "{words}: {answered:?}");
            assert!(answered.json()["error"].is_string(), "{answered:?}");
            assert_eq!(status == 405, answered.head.contains("Allow: POST"));
        }
        assert_eq!(numbers(session, ACCOUNT), [0, 0, 0, 0]);
        assert_eq!(to("/ingest/readings", &[], line.as_bytes()).status, 200);
    });
}

#[test]
fn one_connection_brings_many_bodies_however_they_are_framed() {
    let address = free_address();
    serving(&readings(address, ", format = 'ndjson'"), |session| {
        let mut stream = connect(address);
        let one = row(0, 0, 1.0);
        stream
            .write_all(&request("/ingest/readings", &[], one.as_bytes()))
            .expect("sent");
        assert_eq!(answer(&mut stream).counts(), [1, 1, 0, 0]);
        // A row over two chunks, an extension, a trailer, no line end; in small pieces.
        let (left, right) = one.trim_end().split_at(20);
        let chunked = format!(
            "POST /ingest/readings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
             14;a=b\r\n{left}\r\n{:x}\r\n{right}\r\n0\r\nX: y\r\n\r\n",
            right.len()
        );
        for piece in chunked.as_bytes().chunks(7) {
            stream.write_all(piece).expect("sent");
            stream.flush().expect("sent");
        }
        assert_eq!(answer(&mut stream).counts(), [1, 1, 0, 0]);
        // A client that asks before it sends.
        stream
            .write_all(
                format!(
                    "POST /ingest/readings HTTP/1.1\r\nExpect: 100-continue\r\n\
                     Content-Length: {}\r\n\r\n",
                    one.len()
                )
                .as_bytes(),
            )
            .expect("sent");
        assert_eq!(answer(&mut stream).status, 100);
        stream.write_all(one.as_bytes()).expect("sent");
        assert_eq!(answer(&mut stream).counts(), [1, 1, 0, 0]);
        // Two at once, packed, and the end of the connection.
        let packed = gzip(one.repeat(1_000).as_bytes());
        let headers = [("Content-Encoding", "gzip")];
        let both = [
            request("/ingest/readings", &headers, &packed),
            request(
                "/ingest/readings",
                &[("Connection", "close")],
                one.as_bytes(),
            ),
        ];
        stream.write_all(&both.concat()).expect("sent");
        assert_eq!(answer(&mut stream).counts(), [1_000, 1_000, 0, 0]);
        let last = answer(&mut stream);
        assert!(last.head.contains("Connection: close"), "{last:?}");
        assert_eq!(stream.read(&mut [0]).expect("closed"), 0);
        assert_eq!(numbers(session, ACCOUNT), [1_004, 1_004, 0, 0]);
        assert_eq!(send(address, b"GET /ping HTTP/1.1\r\n\r\n").status, 204);
        assert_eq!(
            send(address, b"GET /health HTTP/1.1\r\n\r\n").json()["status"],
            "pass"
        );
    });
}

#[test]
fn of_a_client_that_goes_in_mid_body_nothing_is_taken() {
    let address = free_address();
    serving(&readings(address, ", format = 'ndjson'"), |session| {
        for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
            let mut stream = connect(address);
            let rows = row(0, 0, 1.0).repeat(3);
            let text = match framing.starts_with('C') {
                true => rows,
                false => format!("{:x}\r\n{rows}\r\n", rows.len()),
            };
            let request = format!("POST /ingest/readings HTTP/1.1\r\n{framing}\r\n\r\n{text}");
            stream.write_all(request.as_bytes()).expect("sent");
            stream.shutdown(Shutdown::Write).expect("open");
            // It may still read: it is told, and the connection ends.
            let told = answer(&mut stream);
            assert_eq!(told.status, 400, "{told:?}");
            assert!(told.body.contains("Content-Length"), "{told:?}");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("it ends");
            assert_eq!(rest, b"");
        }
        let one = post(address, "/ingest/readings", &[], row(0, 0, 1.0));
        assert_eq!(one.counts(), [1, 1, 0, 0]);
        assert_eq!(numbers(session, ACCOUNT), [1, 1, 0, 0]);
    });
}

#[test]
fn a_thousand_requests_of_several_clients_are_all_accounted_for() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 125;
    let address = free_address();
    serving(
        &readings(address, ", format = 'ndjson', queue_rows = '50'"),
        |session| {
            let client = |client: usize| {
                move || {
                    let mut stream = connect(address);
                    let (mut sums, mut refused) = ([0; 4], 0);
                    for number in 0..REQUESTS {
                        let good = (number % 7 + 1) as u32;
                        let mut body: String = (0..good)
                            .map(|second| row(number as u32 % 60, second, 1.0))
                            .collect();
                        body += "broken\n";
                        let headers = [("X-Client", client.to_string())];
                        let headers = headers
                            .each_ref()
                            .map(|(name, value)| (*name, value.as_str()));
                        let request = request("/ingest/readings", &headers, body.as_bytes());
                        let answered = loop {
                            stream.write_all(&request).expect("sent");
                            let answered = answer(&mut stream);
                            if answered.status != 429 {
                                break answered;
                            }
                            refused += 1;
                            if answered.head.contains("Connection: close") {
                                stream = connect(address);
                            }
                        };
                        assert_eq!(answered.status, 200, "{answered:?}");
                        let counts = answered.counts();
                        assert_eq!((counts[0], counts[3]), (u64::from(good) + 1, 1));
                        assert_eq!(counts[0], counts[1..].iter().sum::<u64>());
                        sums.iter_mut()
                            .zip(counts)
                            .for_each(|(sum, count)| *sum += count);
                    }
                    (sums, refused)
                }
            };
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| thread::spawn(client(number)))
                .collect();
            let mut sums = [0; 4];
            let mut refused = 0;
            for client in clients {
                let (own, again) = client.join().expect("all was answered");
                sums.iter_mut()
                    .zip(own)
                    .for_each(|(sum, count)| *sum += count);
                refused += again;
            }
            // 125 requests are 17 weeks of 1 to 7 rows and 6 days more, 1 to 6.
            let sent = (CLIENTS * (17 * 28 + 21 + REQUESTS)) as u64;
            let [received, accepted, late, rejected] = sums;
            assert_eq!(received, sent);
            assert_eq!(rejected, (CLIENTS * REQUESTS) as u64);
            assert!(late > 0, "{sums:?}");
            let counted = [sent, accepted + late, rejected, 0].map(|count| count as i64);
            assert_eq!(numbers(session, ACCOUNT), counted);
            let view =
                "SELECT accepted, in_window, late FROM windrow.queries WHERE name = 'minutes'";
            let expected = [accepted + late, accepted, late].map(|count| count as i64);
            assert_eq!(numbers(session, view), expected);
            println!("{sent} rows in 1000 requests, {late} late, {refused} requests came again");
        },
    );
}

#[test]
fn a_full_queue_takes_nothing() {
    let address = free_address();
    // Nobody polls: what comes stays in the queue.
    let options = [
        ("format", "ndjson"),
        ("queue_rows", "4"),
        ("answer_timeout", "50 ms"),
    ];
    let mut source = open("http", &address.to_string(), &options);
    let ingest = |rows: &[i64]| -> Answer {
        let body: String = rows.iter().map(|n| format!("{{\"n\":{n}}}\n")).collect();
        post(address, "/ingest/stream", &[], body)
    };
    let first = ingest(&[1, 2]);
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.json()["pending"], true);
    for _ in 0..3 {
        let full = ingest(&[3, 4, 5]);
        assert_eq!(full.status, 429, "{full:?}");
        assert!(full.head.contains("Retry-After: 1\r\n"));
        assert!(full.body.contains("the queue of stream stream is full"));
    }
    assert_eq!(ingest(&[6]).status, 202);
    let came = until(&mut *source, |came| came.count == 3);
    assert_eq!(came.rows, ["1|-", "2|-", "6|-"]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(100) {
        assert_eq!(until(&mut *source, |_| true).count, 0);
        let _ = source
            .poll(Duration::from_millis(20))
            .expect("nothing more comes");
    }
}

#[test]
fn a_stream_that_goes_says_so_and_frees_its_port() {
    let address = free_address();
    let source = open("http", &address.to_string(), &[("format", "ndjson")]);
    let waiting = thread::spawn(move || post(address, "/ingest/stream", &[], "{\"n\":1}\n"));
    let idle = connect(address);
    let mut silent = connect(address);
    thread::sleep(Duration::from_millis(500));
    drop(source);
    TcpListener::bind(address).expect("the port is free at once");
    let answered = waiting.join().expect("it was answered");
    assert_eq!(answered.status, 503, "{answered:?}");
    // Clients that wait are let go.
    let mut byte = [0];
    silent.set_read_timeout(Some(LONG)).expect("a socket");
    let start = Instant::now();
    assert_eq!(silent.read(&mut byte).unwrap_or(0), 0);
    assert!(start.elapsed() < LONG / 2, "it waited in vain");
    drop(idle);
}

#[test]
fn streams_of_one_address_share_it_and_producers_are_partitions() {
    let address = free_address();
    let script = format!(
        "CREATE STREAM a (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts) \
         WITH (connector = 'http', address = '{address}', format = 'csv', header = 'false'); \
         CREATE STREAM b (ts TIMESTAMP, v BIGINT) \
         WITH (connector = 'http', address = '{address}', format = 'ndjson'); \
         CREATE MATERIALIZED VIEW va AS SELECT window_start, count(*) AS n \
         FROM TUMBLE(a, ts, INTERVAL '1' MINUTE) GROUP BY window_start; \
         CREATE MATERIALIZED VIEW vb AS SELECT v FROM b;"
    );
    serving(&script, |session| {
        let to = |target: &str, body: &str| post(address, target, &[], body).counts();
        assert_eq!(to("/ingest/b", "{\"v\":1}"), [1, 1, 0, 0]);
        assert_eq!(
            to("/ingest/a?producer=x", "2026-01-01T10:00:00Z,1"),
            [1, 1, 0, 0]
        );
        assert_eq!(
            to("/ingest/a?producer=y", "2026-01-01T10:00:00Z,1"),
            [1, 1, 0, 0]
        );
        // One is far ahead of the other, which is waited for.
        assert_eq!(
            to("/ingest/a?producer=x", "2026-01-01T10:09:00Z,2"),
            [1, 1, 0, 0]
        );
        assert_eq!(
            to("/ingest/a?producer=y", "2026-01-01T10:00:30Z,2"),
            [1, 1, 0, 0]
        );
        assert_eq!(
            to("/ingest/a?producer=y", "2026-01-01T10:08:00Z,3"),
            [1, 1, 0, 0]
        );
        assert_eq!(
            to("/ingest/a?producer=y", "2026-01-01T10:00:40Z,4"),
            [1, 0, 1, 0]
        );
        let counts = "SELECT sum(received), sum(accepted) FROM windrow.streams";
        assert_eq!(numbers(session, counts), [7, 7]);
        // The address stays while one of them is served.
        (session.sql("DROP STREAM a CASCADE").expect("it is there"))
            .collect()
            .expect("it goes");
        let gone = post(address, "/ingest/a", &[], "x");
        assert_eq!(gone.status, 404, "{gone:?}");
        assert_eq!(to("/ingest/b", "{\"v\":2}"), [1, 1, 0, 0]);
    });
}

#[test]
fn rows_that_wait_in_the_queue_are_counted_with_the_time_that_they_wait() {
    let address = free_address();
    let mut source = open("http", &address.to_string(), &[("format", "ndjson")]);
    let posting = thread::spawn(move || {
        let rows = "{\"n\":1,\"s\":\"a\"}\n".repeat(3);
        post(address, "/ingest/stream", &[], rows)
    });
    let start = Instant::now();
    let waiting = loop {
        let backlog = source.backlog().expect("there is a queue");
        if backlog.rows > 0 {
            break backlog;
        }
        assert!(start.elapsed() < LONG, "nothing comes");
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(waiting.rows, 3);
    assert!(waiting.rows_max > waiting.rows);
    // Nobody asks for them for a while.
    thread::sleep(Duration::from_millis(200));
    until(&mut *source, |came| came.count == 3);
    assert!(source.waited() >= Duration::from_millis(200));
    assert_eq!(source.backlog().map(|backlog| backlog.rows), Some(0));
    drop(source);
    posting.join().expect("it was answered");
}
