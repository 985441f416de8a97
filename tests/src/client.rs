//! Clients of a server that a test has started.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Connects as soon as somebody listens.
///
/// # Panics
/// If nobody does for [`PATIENCE`].
pub fn connected(port: u16) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Posts to the port and gives the answer, its head and its body.
///
/// # Panics
/// If nobody listens, or the answer is cut.
pub fn posted(port: u16, target: &str, body: &str) -> String {
    let mut stream = connected(port);
    let request = format!(
        "POST {target} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}
