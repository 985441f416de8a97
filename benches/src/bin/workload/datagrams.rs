//! What becomes of datagrams (S1): `systems/datagrams.sql`, with a sender that knows what it
//! has sent.
//!
//! ```text
//!  sent = received + dropped
//!         received = windowed + late + rejected
//! ```
//!
//! The sender keeps its rate whatever the engine does. A thousandth of the datagrams is no
//! reading, and a thousandth too late. To send more than one call each allows, it gives the
//! kernel many at once, which cuts them apart before the receiver's buffer.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use clap::Args;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use windrow_sql::{ErrorKind, Session};

use crate::Result;
use crate::machine;
use crate::pace::Schedule;

/// The address in the system's file.
const ADDRESS: &str = "127.0.0.1:7102";

/// So long nothing may change before what is missing is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Windows of so many seconds from the first on are closed when late readings come.
const SECONDS_AHEAD: u64 = 2;

/// All datagrams are as long: the kernel cuts by length.
const DATAGRAM_BYTES: usize = "2026-01-01T10:00:00Z,s0,2.5".len();

#[derive(Debug, Args)]
pub struct Settings {
    /// Datagrams to send
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Datagrams a second
    #[arg(long, default_value_t = 25_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    rate: u32,
    /// Datagrams that one call may send (on Linux)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    volley: u32,
    /// Fail if one is dropped
    #[arg(long)]
    whole: bool,
}

/// Gives the line that is printed.
///
/// # Errors
/// If a datagram is not accounted for.
pub fn measured(settings: &Settings) -> Result<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("systems/datagrams.sql"))?;
    let free = UdpSocket::bind("127.0.0.1:0")?;
    let address = free.local_addr()?.to_string();
    drop(free);
    let folder = std::env::temp_dir().join(format!("windrow-datagrams-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let stored = folder.join("readings.parquet");
    let text = (text.replace(ADDRESS, &address))
        .replace("readings.parquet", &stored.display().to_string());
    let session = Session::new()?;
    session.sql(&text)?.collect()?;
    let before = machine::resident().0;
    let outcome = thread::scope(|scope| {
        let running = scope.spawn(|| session.run());
        let outcome = exchange(&session, &address, settings);
        session.cancel();
        match running.join() {
            Ok(Err(error)) if error.kind() != ErrorKind::Cancelled => Err(error.into()),
            Ok(_) => outcome,
            Err(_) => Err("the session panicked".into()),
        }
    });
    // What live streams gave is published.
    session.stop()?;
    let peak = machine::resident().1;
    let rows = fs::File::open(&stored)
        .map_err(Into::into)
        .and_then(SerializedFileReader::new)
        .map(|file| file.metadata().file_metadata().num_rows());
    fs::remove_dir_all(&folder)?;
    let (mut line, accepted) = outcome?;
    let rows = rows?;
    if rows != accepted {
        return Err(format!("{rows} readings are stored of {accepted} accepted: {line}").into());
    }
    line["stored"] = json!(rows);
    line["rss_bytes_before"] = json!(before);
    line["rss_bytes_max"] = json!(peak);
    Ok(line)
}

/// Sends all datagrams, and waits until they are accounted for. Gives what became of them,
/// and how many were accepted.
fn exchange(session: &Session, address: &str, settings: &Settings) -> Result<(Value, i64)> {
    let start = Instant::now();
    while UdpSocket::bind(address).is_ok() {
        if start.elapsed() > PATIENCE {
            return Err("nobody listens".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let (took, late_sent, rejected_sent) = send(address, settings)?;
    let mut changed = Instant::now();
    let mut seen = 0;
    let sent = i64::try_from(settings.count)?;
    let query = "SELECT received, accepted, rejected, dropped FROM windrow.streams";
    let [received, accepted, rejected, dropped] = loop {
        let found: [i64; 4] = counters(session, query)?;
        if found[0] >= sent || changed.elapsed() > PATIENCE {
            break found;
        }
        if found[0] != seen {
            (seen, changed) = (found[0], Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    };
    let settled = start.elapsed();
    let kernel_dropped = machine::datagrams_dropped(address.parse()?);
    let query = "SELECT in_window, late FROM windrow.queries WHERE name = 'seconds'";
    let [windowed, late] = counters(session, query)?;
    // What is dropped counts as received by the stream, not by us.
    let line = json!({
        "workload": "S1",
        "sent": sent,
        "rate": settings.rate,
        "volley": settings.volley,
        "rate_reached": settings.count as f64 / took.as_secs_f64(),
        "received": received - dropped,
        "windowed": windowed,
        "late": late,
        "rejected": rejected,
        "dropped": dropped,
        "dropped_by_kernel": kernel_dropped,
        "seconds": settled.as_secs_f64(),
    });
    let holds = received == sent
        && accepted + rejected + dropped == received
        && windowed + late == accepted
        && dropped >= kernel_dropped
        // Of those that were dropped nobody knows what they were.
        && (dropped > 0 || (late, rejected) == (late_sent, rejected_sent));
    if !holds {
        return Err(format!("not all datagrams are accounted for: {line}").into());
    }
    if settings.whole && dropped > 0 {
        return Err(format!("datagrams were dropped: {line}").into());
    }
    Ok((line, accepted))
}

fn counters<const N: usize>(session: &Session, query: &str) -> Result<[i64; N]> {
    let batches = session.sql(query)?.collect()?;
    let batch = batches.first().ok_or("there are no counters")?;
    Ok(std::array::from_fn(|column| {
        batch.column(column).as_primitive::<Int64Type>().value(0)
    }))
}

/// Gives how long it took, and how many were late and how many no reading.
fn send(address: &str, settings: &Settings) -> Result<(Duration, i64, i64)> {
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    sender.connect(address)?;
    let volley_bytes = settings.volley as usize * DATAGRAM_BYTES;
    if settings.volley > 1 {
        cut_apart(&sender)?;
    }
    let mut volley = Vec::with_capacity(volley_bytes);
    let schedule = Schedule {
        rows_per_second: settings.rate.into(),
    };
    let (mut late, mut rejected) = (0, 0);
    let start = Instant::now();
    for number in 0..settings.count {
        let due = schedule.at(number);
        while let Some(wait) = due.checked_sub(start.elapsed()) {
            give(&sender, &mut volley)?;
            // Some are sent at once: a timer is no finer than this.
            thread::sleep(wait.max(Duration::from_micros(500)));
        }
        let second = number / u64::from(settings.rate);
        let line = match number % 1_000 {
            17 => {
                rejected += 1;
                "no reading, but some words.".to_owned()
            }
            500 if second > SECONDS_AHEAD => {
                late += 1;
                format!("2026-01-01T10:00:00Z,s{},1.5", number % 10)
            }
            _ => format!(
                "2026-01-01T{:02}:{:02}:{:02}Z,s{},2.5",
                10 + second / 3_600,
                second / 60 % 60,
                second % 60,
                number % 10
            ),
        };
        if line.len() != DATAGRAM_BYTES {
            return Err(format!("datagram {number} has another length: {line}").into());
        }
        volley.extend_from_slice(line.as_bytes());
        if volley.len() >= volley_bytes {
            give(&sender, &mut volley)?;
        }
    }
    give(&sender, &mut volley)?;
    Ok((start.elapsed(), late, rejected))
}

fn give(sender: &UdpSocket, volley: &mut Vec<u8>) -> Result<()> {
    if !volley.is_empty() {
        sender.send(volley)?;
        volley.clear();
    }
    Ok(())
}

/// Has the kernel make datagrams of what one call sends.
#[cfg(target_os = "linux")]
fn cut_apart(sender: &UdpSocket) -> Result<()> {
    use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
    setsockopt(sender, UdpGsoSegment, &(DATAGRAM_BYTES as i32))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn cut_apart(_sender: &UdpSocket) -> Result<()> {
    Err("this system sends one datagram a call: leave --volley out".into())
}
