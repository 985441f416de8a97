//! Requests that nobody meant to send, over a connection.

use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use proptest::prelude::*;
use socket2::SockRef;

use super::super::budget::Budget;
use super::*;
use crate::fuzz::{Bytes, cuts, edited, fuzz};

const BODY_BYTES_MAX: usize = 200;

const SEEDS: &[&str] = &[
    "POST /ingest/air?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{\"n\":1}\n{\"\"\
     GET /health HTTP/1.1\r\n\r\n",
    "POST /write HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nm f=1\r\na;x=y\r\n0123456789\r\n\
     0\r\nTrailer: x\r\n\r\nPOST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
];

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b";",
    b"?",
    b"%",
    b"%zz",
    b"\0",
    b"\xFF",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"10000000000000000\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Content-Length: 201\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Host: b\r\n",
    b"x: y\r\n",
    b"Expect: 100-continue\r\n",
];

/// What is found on a connection: each request with its body, and why there are no more.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    requests: Vec<(String, String, Bytes)>,
    end: Option<Fault>,
}

/// Reads what a client sends, `len` bytes at a time.
fn read(listener: &TcpListener, bytes: &[u8], len: usize) -> Found {
    let address = listener.local_addr().expect("it has one");
    let mut client = TcpStream::connect(address).expect("it listens");
    // A connection that is reset leaves nothing behind: there are many of them.
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    let (stream, _) = listener.accept().expect("it has come");
    client.write_all(bytes).expect("there is room");
    client.shutdown(Shutdown::Write).expect("open");
    let stop = AtomicBool::new(false);
    let mut connection = Connection::new(stream, &stop).expect("a connection");
    connection.buffer.truncate(len);
    let budget = Budget::new(BODY_BYTES_MAX);
    let mut requests = Vec::new();
    let patience = Some(Duration::from_secs(5));
    loop {
        let head = match connection.head(patience) {
            Ok(Some(head)) => head,
            Ok(None) => {
                break Found {
                    requests,
                    end: None,
                };
            }
            Err(fault) => {
                break Found {
                    requests,
                    end: Some(fault),
                };
            }
        };
        let mut hold = Hold::none(&budget);
        match connection.body(&head, BODY_BYTES_MAX, patience, &mut hold) {
            Ok(body) => {
                assert!(body.len() <= BODY_BYTES_MAX);
                if let Framing::Sized(length) = head.framing {
                    assert_eq!(body.len() as u64, length);
                }
                requests.push((head.method, head.target, Bytes(body)));
            }
            Err(fault) => {
                break Found {
                    requests,
                    end: Some(fault),
                };
            }
        }
        assert!(connection.held.len() <= HEAD_BYTES_MAX + READ_BYTES);
    }
}

#[test]
fn http() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let seeds = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let inputs = (edited(seeds, WORDS, 6), cuts());
    fuzz("http", &inputs, |(Bytes(bytes), cuts)| {
        let whole = read(&listener, &bytes, READ_BYTES);
        prop_assert_eq!(
            &read(&listener, &bytes, cuts[0]),
            &whole,
            "{} at a time",
            cuts[0]
        );
        let bodies: usize = whole.requests.iter().map(|(.., body)| body.0.len()).sum();
        prop_assert!(bodies <= bytes.len());
        if let Some(Fault::Bad(status, reason)) = &whole.end {
            prop_assert!((400..600).contains(status) && !reason.is_empty());
        }
        Ok(())
    });
}

/// Requests that are right come as they were sent, however they are framed and cut.
#[test]
fn http_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let body = prop::collection::vec(any::<u8>(), 0..BODY_BYTES_MAX);
    let requests = prop::collection::vec((body, any::<bool>(), 1..50_usize), 1..6);
    fuzz(
        "http_requests",
        &(requests, 1..300_usize),
        |(requests, len)| {
            let mut bytes = Vec::new();
            for (number, (body, is_chunked, chunk)) in requests.iter().enumerate() {
                bytes.extend(format!("POST /{number} HTTP/1.1\r\nHost: a\r\n").bytes());
                if *is_chunked {
                    bytes.extend(b"transfer-encoding: CHUNKED\r\n\r\n");
                    for chunk in body.chunks(*chunk) {
                        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                        bytes.extend(chunk);
                        bytes.extend(b"\r\n");
                    }
                    bytes.extend(b"0\r\n\r\n");
                } else {
                    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
                    bytes.extend(body);
                }
            }
            let expected: Vec<_> = (requests.into_iter().enumerate())
                .map(|(number, (body, ..))| ("POST".to_owned(), format!("/{number}"), Bytes(body)))
                .collect();
            let found = read(&listener, &bytes, len);
            prop_assert_eq!(found.requests, expected);
            prop_assert_eq!(found.end, None);
            Ok(())
        },
    );
}
