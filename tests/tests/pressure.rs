//! More than can be taken at once: nothing is lost unseen, and memory stays where it is.
//!
//! `cargo build -p windrow-sql` builds the binary beforehand.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use parquet::file::reader::{FileReader, SerializedFileReader};
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use tempfile::TempDir;
use windrow_tests::client::connected;
use windrow_tests::command::{binary, interrupted, root, windrow};
use windrow_tests::port::free_address;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process may take, whatever comes.
const PEAK_BYTES_MAX: u64 = 256 << 20;

/// Datagrams a second that a development build takes on a small machine.
const RATE: u32 = 40_000;

/// All datagrams are as long: the kernel cuts what one call sends by length.
const DATAGRAM_BYTES: usize = "2026-01-01T10:00:00Z,s0,2.5".len();

/// So many datagrams are sent by one call where one a call is too slow.
const VOLLEY: usize = 32;

/// Tests that measure do not disturb each other.
static ALONE: Mutex<()> = Mutex::new(());

/// The most memory that a process has taken, in bytes.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.expect("it is told").parse::<u64>().expect("a number") * 1024
}

/// `systems/datagrams.sql`, read by a shell in a terminal.
struct Receiving {
    shell: PtySession,
    process: u32,
    address: SocketAddr,
    folder: TempDir,
}

impl Receiving {
    fn start() -> Self {
        let (address, folder) = (free_address(), tempfile::tempdir().expect("a folder"));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let text = fs::read_to_string(root().join("systems/datagrams.sql")).expect("it is there");
        let (named, stored) = ("127.0.0.1:7102", "readings.parquet");
        assert!(text.contains(&format!("'{named}'")) && text.contains(&format!("'{stored}'")));
        let text = (text.replace(named, &address.to_string())).replace(stored, &path(stored));
        fs::write(path("datagrams.sql"), text).expect("written");
        // The process is told before it becomes the shell.
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo process $$.; exec \"$0\""])
            .arg(binary())
            .current_dir(folder.path())
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("XDG_STATE_HOME", folder.path());
        let options = Options::new()
            .timeout_ms(Some(PATIENCE.as_millis() as u64))
            .strip_ansi_escape_codes(true);
        let mut shell = spawn_with_options(command, options).expect("a terminal");
        let (_, process) = shell.exp_regex(r"process \d+\.").expect("it is told");
        let process = process.trim_matches(|c: char| !c.is_ascii_digit());
        let mut receiving = Self {
            shell,
            process: process.parse().expect("a number"),
            address,
            folder,
        };
        receiving.see("windrow> ");
        receiving.enter(".mode csv");
        receiving.see("windrow> ");
        receiving.enter(".read datagrams.sql");
        // A datagram without bytes is no row.
        let (sender, start) = (calling(address), Instant::now());
        loop {
            let sent = sender.send(b"");
            thread::sleep(Duration::from_millis(5));
            if sent.is_ok() && sender.take_error().expect("a socket").is_none() {
                return receiving;
            }
            assert!(start.elapsed() < PATIENCE, "nobody listens");
        }
    }

    #[track_caller]
    fn see(&mut self, wanted: &str) {
        if let Err(error) = self.shell.exp_string(wanted) {
            panic!("{wanted:?} does not come: {error}");
        }
    }

    fn enter(&mut self, line: &str) {
        let typed = self.shell.send(line).and_then(|_| self.shell.send("\r"));
        typed.and_then(|_| self.shell.flush()).expect("typed");
    }

    /// The columns of the one row that a query gives.
    fn figures<const N: usize>(&mut self, columns: [&str; N], from: &str) -> [u64; N] {
        let columns = columns.join(" || ' ' || ");
        self.enter(&format!(
            "SELECT 'row ' || {columns} || '.' AS x FROM {from};"
        ));
        let found = self.shell.exp_regex(r"row [\d ]+\.").expect("a row").1;
        let found = found.trim_start_matches("row ").trim_end_matches('.');
        let mut numbers = found.split(' ').map(|word| word.parse().expect("a number"));
        std::array::from_fn(|_| numbers.next().expect("as many as were asked for"))
    }

    /// What the kernel could not keep for the socket.
    fn dropped_by_kernel(&self) -> u64 {
        let table = fs::read_to_string("/proc/net/udp").expect("it is there");
        let port = format!(":{:04X} 00000000:0000", self.address.port());
        let line = table.lines().find(|line| line.contains(&port));
        let dropped = line.and_then(|line| line.split_whitespace().next_back());
        dropped.expect("it is told").parse().expect("a number")
    }

    /// Ends the shell. Gives how many readings it has stored.
    fn stored(mut self) -> u64 {
        self.enter(".quit");
        self.shell.exp_eof().expect("it ends");
        let file = File::open(self.folder.path().join("readings.parquet")).expect("a file");
        let file = SerializedFileReader::new(file).expect("it is whole");
        u64::try_from(file.metadata().file_metadata().num_rows()).expect("a count")
    }
}

fn calling(address: SocketAddr) -> UdpSocket {
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
    sender.connect(address).expect("an address");
    sender
}

/// What was sent.
struct Sent {
    broken: u64,
    late: u64,
    took: Duration,
}

/// Sends datagrams at a rate. A thousandth is no reading; and a thousandth is late, once
/// windows have closed.
fn send(address: SocketAddr, count: u32, rate: u32) -> Sent {
    let sender = calling(address);
    let (mut broken, mut late) = (0, 0);
    let line = |number: u32| {
        let (second, sensor) = (number / RATE, number % 10);
        match number % 1_000 {
            17 => {
                broken += 1;
                "no reading, but some words.".to_owned()
            }
            500 if second > 2 => {
                late += 1;
                format!("2026-01-01T10:00:00Z,s{sensor},1.5")
            }
            _ => format!("2026-01-01T10:00:{second:02}Z,s{sensor},2.5"),
        }
    };
    // Written beforehand, so that the sender is quick.
    let lines: String = (0..count).map(line).collect();
    assert_eq!(lines.len(), count as usize * DATAGRAM_BYTES);
    let volley = if rate > RATE { VOLLEY } else { 1 };
    if volley > 1 {
        setsockopt(&sender, UdpGsoSegment, &(DATAGRAM_BYTES as i32)).expect("Linux has it");
    }
    let start = Instant::now();
    let volleys = lines.as_bytes().chunks(volley * DATAGRAM_BYTES);
    for (number, datagrams) in (0..count).step_by(volley).zip(volleys) {
        let due = Duration::from_secs_f64(f64::from(number) / f64::from(rate));
        while let Some(wait) = due.checked_sub(start.elapsed()) {
            // Some are sent at once: a timer is no finer than this.
            thread::sleep(wait.max(Duration::from_micros(500)));
        }
        sender.send(datagrams).expect("sent");
    }
    let took = start.elapsed();
    Sent { broken, late, took }
}

/// Sends datagrams, accounts for each, and gives how many of them were dropped.
fn accounted(count: u32, rate: u32) -> u64 {
    let mut receiving = Receiving::start();
    let sent = send(receiving.address, count, rate);
    let all = u64::from(count);
    let columns = ["received", "accepted", "rejected", "dropped"];
    let start = Instant::now();
    let [received, accepted, rejected, dropped] = loop {
        let found = receiving.figures(columns, "windrow.streams");
        if found[0] >= all || start.elapsed() > PATIENCE {
            break found;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let by_kernel = receiving.dropped_by_kernel();
    let queries = "windrow.queries WHERE name = 'seconds'";
    let [windowed, late] = receiving.figures(["in_window", "late"], queries);
    let peak = peak(receiving.process);
    let seen = format!(
        "{count} sent, {:.0} a second: {windowed} in windows, {late} late, {rejected} rejected, \
         {dropped} dropped, {by_kernel} by the kernel; {} MiB",
        f64::from(count) / sent.took.as_secs_f64(),
        peak >> 20
    );
    println!("{seen}");
    assert_eq!(received, all, "{seen}");
    assert_eq!(windowed + late + rejected + dropped, all, "{seen}");
    assert!(dropped >= by_kernel, "{seen}");
    if dropped == 0 {
        // By the sender's own account.
        assert_eq!((late, rejected), (sent.late, sent.broken), "{seen}");
    }
    assert!(peak < PEAK_BYTES_MAX, "{seen}");
    assert_eq!(receiving.stored(), accepted, "{seen}");
    dropped
}

#[test]
fn of_a_million_datagrams_none_is_lost() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(accounted(1_000_000, RATE), 0);
}

#[test]
fn a_burst_at_ten_times_the_rate_is_accounted_for() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    accounted(300_000, 10 * RATE);
}

/// A command that does not outlive the test.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

#[test]
fn a_receiver_that_does_not_read_blocks_the_client_and_no_row_is_lost() {
    /// More than all buffers on the way hold.
    const SENT_BYTES_MAX: usize = 200 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let receiver = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let there = receiver.local_addr().expect("it has one");
    let address = free_address();
    let script = format!(
        "CREATE STREAM r (n BIGINT, s TEXT) WITH (connector = 'tcp', address = '{address}',
           format = 'ndjson');
         CREATE SINK there WITH (connector = 'tcp', address = '{there}', format = 'ndjson',
           send_timeout = '60 seconds') AS SELECT * FROM r;"
    );
    let child = windrow(&["-c", &script, "--progress", "off"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let process = child.id();
    let mut running = Running(Some(child));

    let mut client = connected(address.port());
    // So long it makes no way at all.
    let blocked = Duration::from_secs(3);
    client.set_write_timeout(Some(blocked)).expect("a socket");
    let filling = "x".repeat(200);
    let (mut rows, mut sent, mut rest) = (0_u64, 0, Vec::new());
    loop {
        if rest.is_empty() {
            for _ in 0..1_000 {
                writeln!(rest, "{{\"n\":{rows},\"s\":\"{filling}\"}}").expect("in memory");
                rows += 1;
            }
        }
        match client.write(&rest) {
            Ok(len) => {
                sent += len;
                rest.drain(..len);
                assert!(sent < SENT_BYTES_MAX, "{sent} bytes, and it is not blocked");
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
    let held = peak(process);
    println!("blocked after {sent} bytes, with {} MiB", held >> 20);
    assert!(held < PEAK_BYTES_MAX, "{} MiB", held >> 20);

    // It reads at last: all rows come, each once and in order.
    let reader = thread::spawn(move || {
        let (came, _) = receiver.accept().expect("it has connected");
        came.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let lines = BufReader::new(came).lines();
        for (number, line) in (0..rows).zip(lines) {
            let (line, begin) = (line.expect("a line"), format!("{{\"n\":{number},"));
            assert!(line.starts_with(&begin), "{line} is not row {number}");
        }
    });
    client.set_write_timeout(Some(PATIENCE)).expect("a socket");
    client.write_all(&rest).expect("sent");
    drop(client);
    reader.join().expect("all have come");
    let held = peak(process);
    assert!(held < PEAK_BYTES_MAX, "{} MiB", held >> 20);
    interrupted(running.0.take().expect("it runs"));
}
