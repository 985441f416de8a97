//! `/write` as clients of InfluxDB send it: line protocol, `/write` of version 1 and
//! `/api/v2/write` of version 2.
//!
//! Where `bucket` (or `db`) names a stream, all lines are that stream's. Otherwise each line
//! goes to the stream of its measurement: the one whose option `measurement`, or whose name,
//! is that. Lines of measurements that no stream takes are refused, and the others are taken
//! as InfluxDB does in a partial write. A line without a time is of the moment when it came.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use memchr::memchr;
use windrow_core::batch::queue::Weight;

use super::budget::Hold;
use super::door::{Content, Door, Post};
use super::hall::Hall;
use super::message::{Connection, Fault, Response};
use super::request::{Request, WRITE_PATHS, full, now_ns, refused, there_are, unit_of};
use super::ticket::{Part, RowError, Tally, Ticket};
use crate::format::Format;
use crate::format::line::{LineTimes, is_no_row, measurement_of};
use crate::format::rows::cut;

/// So much of a measurement that nobody takes is shown.
const MEASUREMENT_SHOWN_BYTES: usize = 64;

/// The lines of a body for one stream. Those of others are empty lines, so that each stands
/// on the line on which it was sent.
#[derive(Debug, Default)]
struct Share {
    bytes: Vec<u8>,
    lines: u64,
}

/// What a body holds for whom.
#[derive(Debug)]
struct Shares {
    /// `[doors]`.
    of_doors: Vec<Share>,
    /// How many lines nobody takes, and the first of them.
    untaken: u64,
    errors: Vec<RowError>,
    measurement: String,
}

/// Parts the lines of a body by their measurements.
fn shares(body: &[u8], doors: &[Arc<Door>], hold: &mut Hold<'_>) -> Result<Shares, Fault> {
    let mut shares = Shares {
        of_doors: doors.iter().map(|_| Share::default()).collect(),
        untaken: 0,
        errors: Vec::new(),
        measurement: String::new(),
    };
    let mut scratch = Vec::new();
    let (mut at, mut before) = (0, 0);
    while at < body.len() {
        let end = memchr(b'\n', &body[at..]).map_or(body.len(), |found| at + found);
        let line = &body[at..end];
        let row = line.trim_ascii();
        if !is_no_row(row) {
            let measurement = measurement_of(row, &mut scratch);
            let door =
                (doors.iter()).position(|door| door.options.measurement.as_bytes() == measurement);
            match door {
                Some(door) => {
                    let share = &mut shares.of_doors[door];
                    let gap = (before - share.lines) as usize;
                    hold.more(gap + line.len() + 1)?;
                    share.bytes.resize(share.bytes.len() + gap, b'\n');
                    share.bytes.extend_from_slice(line);
                    share.bytes.push(b'\n');
                    share.lines = before + 1;
                }
                None => {
                    let name = cut(measurement, MEASUREMENT_SHOWN_BYTES);
                    if shares.untaken == 0 {
                        shares.measurement.clone_from(&name);
                    }
                    shares.untaken += 1;
                    if shares.errors.len() < super::ticket::ERRORS_MAX {
                        shares.errors.push(RowError {
                            line: before + 1,
                            element: None,
                            reason: format!("no stream takes the measurement \"{name}\""),
                            rule: "measurement".into(),
                        });
                    }
                }
            }
        }
        at = end + 1;
        before += 1;
    }
    Ok(shares)
}

/// Takes lines of line protocol.
pub(super) fn write(
    hall: &Hall,
    connection: &mut Connection<'_>,
    request: &Request<'_>,
    hold: &mut Hold<'_>,
) -> Result<Response, Fault> {
    let path = request.path.as_str();
    let doors = hall.doors();
    let bucket = match path == WRITE_PATHS[1] {
        true => request.parameter("bucket"),
        false => request.parameter("db"),
    };
    // A retention policy may stand behind the name.
    let bucket = bucket.map(|name| name.split('/').next().unwrap_or(name));
    let named = (doors.iter()).find(|door| Some(door.stream.as_str()) == bucket);
    let times = LineTimes {
        unit_ns: unit_of(request)?,
        arrival_ns: Some(now_ns()),
    };
    if let Some(door) = named.filter(|door| !door.has_room(Weight { rows: 1, bytes: 0 })) {
        return Ok(full(path, &door.stream).closing());
    }
    let largest = doors.iter().max_by_key(|door| door.options.body_bytes_max);
    let Some(reader) = named.or(largest) else {
        // The last stream has just gone.
        return Err(Fault::Gone);
    };
    let bytes = request.body(connection, reader, hold)?;
    let shares = match named {
        Some(_) => None,
        None => Some(shares(&bytes, &doors, hold)?),
    };
    let ticket = Arc::new(Ticket::default());
    let mut posts = Vec::new();
    let mut post = |door: &Arc<Door>, bytes: Vec<u8>| -> Result<(), Fault> {
        let content: Content = door.content(Format::Line, bytes, times, &request.name)?;
        posts.push((
            door.clone(),
            Post {
                content,
                partition: door.partition(request.parameter("producer"))?,
                name: request.name.clone(),
                part: Part::of(&ticket),
                came: Instant::now(),
            },
        ));
        Ok(())
    };
    let (mut untaken, mut errors) = (0, Vec::new());
    match (named, shares) {
        (Some(door), _) => post(door, bytes)?,
        (None, None) => {}
        (None, Some(shares)) => {
            if shares.untaken > 0 && shares.of_doors.iter().all(|share| share.lines == 0) {
                let name = &shares.measurement;
                let meant = there_are(&doors, name);
                let message = format!(
                    "no stream takes the measurement \"{name}\", and none is named as bucket or \
                     db; {meant}"
                );
                return Ok(refused(path, 404, &message));
            }
            for (door, share) in doors.iter().zip(shares.of_doors) {
                if share.lines > 0 {
                    post(door, share.bytes)?;
                }
            }
            (untaken, errors) = (shares.untaken, shares.errors);
        }
    }
    if let Err(stream) = hall.admit(posts) {
        return Ok(full(path, &stream));
    }
    hold.release();
    let mut tally = ticket.wait(reader.options.answer_timeout, &hall.stop);
    tally.rejected += untaken;
    tally.errors.extend(errors);
    tally.errors.sort_by_key(|error| error.line);
    Ok(written(path, &tally))
}

/// What InfluxDB would answer.
fn written(path: &str, tally: &Tally) -> Response {
    if tally.lost {
        return refused(
            path,
            503,
            "a stream has failed or ended before it took all lines",
        );
    }
    let reason: Option<Cow<'_, str>> = match (&tally.fault, tally.errors.first()) {
        (Some(fault), _) => Some(fault.into()),
        (None, Some(RowError { line, reason, .. })) => {
            Some(format!("line {line}: {reason}").into())
        }
        (None, None) => None,
    };
    match reason {
        Some(reason) => {
            let message = format!("partial write: {reason}; dropped={}", tally.rejected);
            refused(path, 400, &message)
        }
        // Also if it has not been carried through yet: it will be.
        None => Response::new(204, ""),
    }
}
