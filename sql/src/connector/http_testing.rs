//! Clients over HTTP, and sessions that serve them, for tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::Value;

use super::socket_testing::LONG;
use crate::Session;

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Received, accepted, late, rejected.
    pub(super) fn counts(&self) -> [u64; 4] {
        let json = self.json();
        ["received", "accepted", "late", "rejected"]
            .map(|name| json[name].as_u64().unwrap_or_else(|| panic!("{self:?}")))
    }
}

/// Connects as soon as somebody listens.
pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let start = Instant::now();
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(LONG)).expect("a socket");
            return stream;
        }
        assert!(start.elapsed() < LONG, "nobody listens");
        thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Reads one answer.
pub(super) fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).expect("text");
    let status = head[9..12].parse().expect("a status");
    let length = (head.lines())
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    Answer {
        status,
        head,
        body: String::from_utf8(body).expect("text"),
    }
}

/// The bytes of a request with a body of known length.
pub(super) fn request(target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("POST {target} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}

/// Sends a request on a connection of its own.
pub(super) fn send(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = connect(address);
    // Who is refused may not be read to the end.
    let _cut = stream.write_all(bytes);
    answer(&mut stream)
}

pub(super) fn post(
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Answer {
    send(address, &request(target, headers, body.as_ref()))
}

struct Cancels<'a>(&'a Session);

impl Drop for Cancels<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a script for as long as `work` does.
pub(super) fn serving(script: &str, work: impl FnOnce(&Session)) {
    let session = Session::new().expect("it starts");
    (session.sql(script).expect("it is planned"))
        .collect()
        .expect("it runs");
    thread::scope(|scope| {
        let _running = scope.spawn(|| session.run());
        // Also where something is not as it is expected.
        let _stop = Cancels(&session);
        work(&session);
    });
}

/// Numbers of the one row that a query gives.
pub(super) fn numbers<const N: usize>(session: &Session, query: &str) -> [i64; N] {
    let rows = session.sql(query).expect("it is planned");
    let rows = rows.collect().expect("it runs");
    std::array::from_fn(|column| rows[0].column(column).as_primitive::<Int64Type>().value(0))
}

/// A stream `readings` at an address, and a view of its minutes.
pub(super) fn readings(address: SocketAddr, options: &str) -> String {
    format!(
        "CREATE STREAM readings (ts TIMESTAMP NOT NULL, s TEXT, v DOUBLE CHECK (v >= 0), \
         WATERMARK FOR ts) WITH (connector = 'http', address = '{address}'{options}); \
         CREATE MATERIALIZED VIEW minutes AS SELECT window_start, count(*) AS n \
         FROM TUMBLE(readings, ts, INTERVAL '1' MINUTE) GROUP BY window_start"
    )
}

/// Received, accepted, rejected, dropped.
pub(super) const ACCOUNT: &str =
    "SELECT received, accepted, rejected, dropped FROM windrow.streams";
