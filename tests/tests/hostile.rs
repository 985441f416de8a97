//! Clients that mean harm, and what the process takes of memory for them.
//!
//! `cargo build -p windrow-sql` builds the binary beforehand.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use windrow_tests::command::windrow;
use windrow_tests::port::free_address;

const PATIENCE: Duration = Duration::from_secs(60);

const MIB: u64 = 1 << 20;

/// The command, ended when it is dropped, and what it writes.
struct Serving {
    child: Child,
    rows: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Serving {
    /// Rows of `n` and `s` that come by a connector.
    fn start(connector: &str) -> Self {
        let address = free_address();
        let script = format!(
            "CREATE STREAM r (n BIGINT, s TEXT) WITH (connector = '{connector}', \
             address = '{address}', format = 'ndjson'); SELECT n FROM r"
        );
        let mut child = windrow(&["--format", "csv", "-c", &script])
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let out = child.stdout.take().expect("a pipe");
        let rows = BufReader::new(out).lines();
        Self {
            child,
            rows,
            address,
        }
    }

    fn connect(&self) -> TcpStream {
        let start = Instant::now();
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => return stream,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn row(&mut self) -> String {
        self.rows.next().expect("a line").expect("text")
    }

    /// The most memory that it has taken, in bytes.
    fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The memory that it takes, in bytes.
    fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.expect("it is told").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn a_line_of_100_megabytes_takes_no_memory() {
    let mut serving = Serving::start("tcp");
    let mut good = serving.connect();
    good.write_all(b"{\"n\":1}\n").expect("sent");
    assert_eq!([serving.row(), serving.row()], ["n", "1"]);
    let before = serving.peak();
    let mut bad = serving.connect();
    let part = vec![b'x'; MIB as usize];
    for _ in 0..100 {
        bad.write_all(&part).expect("sent");
    }
    bad.write_all(b"\n{\"n\":2}\n").expect("sent");
    assert_eq!(serving.row(), "2");
    good.write_all(b"{\"n\":3}\n").expect("sent");
    assert_eq!(serving.row(), "3");
    // line_bytes_max is 1 MiB.
    let grown = serving.peak() - before;
    println!("100 MB in a line: {} KiB more", grown / 1024);
    assert!(grown < 16 * MIB, "{} MiB", grown / MIB);
}

#[test]
fn a_body_of_100_megabytes_is_refused() {
    let mut serving = Serving::start("http");
    let post = |serving: &Serving, head: &str, body: &[&[u8]]| {
        let mut stream = serving.connect();
        let request = format!("POST /ingest/r HTTP/1.1\r\nConnection: close\r\n{head}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        for part in body {
            // Who is refused may not be read to the end.
            if stream.write_all(part).is_err() {
                break;
            }
        }
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer);
        answer
    };
    let row = |serving: &Serving, n: u32| {
        let row = format!("{{\"n\":{n}}}");
        post(
            serving,
            &format!("Content-Length: {}", row.len()),
            &[row.as_bytes()],
        )
    };
    row(&serving, 1);
    assert_eq!([serving.row(), serving.row()], ["n", "1"]);
    let before = serving.peak();
    let part = vec![b'x'; MIB as usize];
    let answer = post(&serving, "Content-Length: 104857600", &[&part[..]; 100]);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
        "{answer}"
    );
    // One that does not say how much will come.
    let mut chunk = b"100000\r\n".to_vec();
    chunk.extend(&part);
    chunk.extend(b"\r\n");
    let answer = post(&serving, "Transfer-Encoding: chunked", &[&chunk[..]; 100]);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
        "{answer}"
    );
    let answer = row(&serving, 2);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(serving.row(), "2");
    // body_bytes_max is 32 MiB.
    let grown = serving.peak() - before;
    println!("100 MB in a body: {} KiB more", grown / 1024);
    assert!(grown < 80 * MIB, "{} MiB", grown / MIB);
}

/// All are connected at the same time; most leave nothing but half a line, or say nothing.
#[test]
fn a_thousand_clients_at_once_are_heard() {
    let mut serving = Serving::start("tcp");
    serving.connect().write_all(b"{\"n\":-2}\n").expect("sent");
    assert_eq!([serving.row(), serving.row()], ["n", "-2"]);
    let before = serving.peak();
    let mut clients: Vec<TcpStream> = (0..1_000).map(|_| serving.connect()).collect();
    for client in clients.iter_mut().skip(100) {
        client.write_all(b"{\"n\":").expect("sent");
    }
    let mut sum = 0;
    for (number, client) in clients.iter_mut().enumerate().skip(500) {
        client
            .write_all(format!("{number}}}\n").as_bytes())
            .expect("sent");
        sum += number;
    }
    let found: usize = (0..500)
        .map(|_| serving.row().parse::<usize>().expect("a number"))
        .sum();
    assert_eq!(found, sum);
    drop(clients);
    serving.connect().write_all(b"{\"n\":-1}\n").expect("sent");
    assert_eq!(serving.row(), "-1");
    let grown = serving.peak() - before;
    println!("1000 clients: {} MiB more", grown / MIB);
    assert!(grown < 100 * MIB, "{} MiB", grown / MIB);
}

/// Each has held a line of a megabyte, and gives the memory back when it is silent.
#[test]
fn clients_that_wait_after_a_long_line_take_little() {
    let mut serving = Serving::start("tcp");
    let mut clients: Vec<TcpStream> = (0..100).map(|_| serving.connect()).collect();
    let long = format!("{{\"n\":1,\"s\":\"{}\"}}\n", "x".repeat(1_000_000));
    clients[0].write_all(long.as_bytes()).expect("sent");
    assert_eq!([serving.row(), serving.row()], ["n", "1"]);
    let before = serving.resident();
    for client in &mut clients {
        for line in [&long, "{\"n\":2}\n"] {
            client.write_all(line.as_bytes()).expect("sent");
            serving.row();
        }
    }
    let grown = serving.resident().saturating_sub(before);
    println!("100 clients after a line of 1 MB: {} MiB more", grown / MIB);
    assert!(grown < 90 * MIB, "{} MiB", grown / MIB);
}

/// Most of them say nothing, and the others half a request.
#[test]
fn a_thousand_idle_clients_of_http_take_little() {
    let mut serving = Serving::start("http");
    let ingest = |client: &mut TcpStream, n: u32| {
        let row = format!("{{\"n\":{n}}}");
        let length = row.len();
        let request = format!("POST /ingest/r HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{row}");
        client.write_all(request.as_bytes()).expect("sent");
    };
    let mut good = serving.connect();
    ingest(&mut good, 1);
    assert_eq!([serving.row(), serving.row()], ["n", "1"]);
    let before = serving.peak();
    let mut clients: Vec<TcpStream> = (0..1_000).map(|_| serving.connect()).collect();
    for client in &mut clients[700..] {
        let half = b"POST /ingest/r HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"n\":";
        client.write_all(half).expect("sent");
    }
    // Accepted after all of them.
    ingest(&mut serving.connect(), 2);
    assert_eq!(serving.row(), "2");
    ingest(&mut good, 3);
    assert_eq!(serving.row(), "3");
    let grown = serving.peak() - before;
    println!("1000 idle clients of http: {} MiB more", grown / MIB);
    assert!(grown < 100 * MIB, "{} MiB", grown / MIB);
}
