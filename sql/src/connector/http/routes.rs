//! Which request means what, and what is answered.
//!
//! | request | is answered |
//! |---|---|
//! | `POST /ingest/STREAM` | how many rows were accepted, late and rejected, and why |
//! | `POST /write`, `POST /api/v2/write` | as InfluxDB answers |
//! | `GET /query`, `POST /query` | what clients of InfluxDB 1 ask before they write |
//! | `GET /ping`, `GET /health`, `GET /ready` | that somebody is here |

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use windrow_core::batch::queue::Weight;

use super::body::format_of;
use super::budget::Hold;
use super::door::Post;
use super::hall::Hall;
use super::message::{Connection, Fault, Response};
use super::query::query;
use super::request::{Request, WRITE_PATHS, full, refused, there_are, unit_of};
use super::ticket::{Part, Tally, Ticket};
use super::write;
use crate::error::nearest;
use crate::format::Format;
use crate::format::line::LineTimes;

/// What stands before the name of a stream.
const INGEST: &str = "/ingest/";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Clients of InfluxDB read the numbers to know what they may send: what version 1.8 takes,
/// `/write` and `/api/v2/write`.
const INFLUXDB_VERSION: &str = concat!("1.8.0-windrow-", env!("CARGO_PKG_VERSION"));

/// Does what a request asks for.
///
/// # Errors
/// If its body cannot be read; nothing of it was taken then.
pub(super) fn answer(
    hall: &Hall,
    connection: &mut Connection<'_>,
    request: &Request<'_>,
    hold: &mut Hold<'_>,
) -> Result<Response, Fault> {
    let Request { head, path, .. } = request;
    let refused = |status: u16, message: &str| request.unread(refused(path, status, message));
    if head.header("origin").is_some() {
        // Browsers say so of what a page sends, and any page can send to this machine.
        return Ok(refused(
            403,
            "pages in a browser may not send readings here",
        ));
    }
    let is_get = matches!(head.method.as_str(), "GET" | "HEAD");
    match path.as_str() {
        "/ping" if is_get => {
            let pong = Response::new(204, "").with("X-Influxdb-Version", INFLUXDB_VERSION);
            return Ok(request.unread(pong));
        }
        "/health" if head.method == "GET" => {
            let body = json!({ "name": "windrow", "status": "pass", "version": VERSION });
            return Ok(request.unread(Response::new(200, body.to_string())));
        }
        "/ready" if head.method == "GET" => {
            let body = json!({ "status": "ready" });
            return Ok(request.unread(Response::new(200, body.to_string())));
        }
        "/query" => return query(hall, connection, request, hold),
        _ => {}
    }
    let is_write = WRITE_PATHS.contains(&path.as_str());
    let stream = path.strip_prefix(INGEST);
    if stream.is_none() && !is_write {
        let message = format!("there is no {path}; send rows to /ingest/STREAM or to /write");
        return Ok(refused(404, &message));
    }
    if head.method != "POST" {
        let message = format!("{path} takes POST, not {}", head.method);
        return Ok(refused(405, &message).with("Allow", "POST"));
    }
    match stream {
        Some(stream) => {
            let stream = percent_decode_str(stream).decode_utf8_lossy();
            ingest(hall, connection, request, &stream, hold)
        }
        None => write::write(hall, connection, request, hold),
    }
}

/// Takes rows for one stream.
fn ingest(
    hall: &Hall,
    connection: &mut Connection<'_>,
    request: &Request<'_>,
    stream: &str,
    hold: &mut Hold<'_>,
) -> Result<Response, Fault> {
    let path = request.path.as_str();
    let doors = hall.doors();
    if doors.is_empty() {
        // The last stream has just gone, and the server with it.
        return Err(Fault::Gone);
    }
    let Some(door) = doors.iter().find(|door| door.stream == stream) else {
        let meant = there_are(&doors, stream);
        let message = format!("there is no stream \"{stream}\" here; {meant}");
        return Ok(request.unread(refused(path, 404, &message)));
    };
    const PARAMETERS: [&str; 2] = ["producer", "precision"];
    let unknown = (request.query.iter()).find(|(name, _)| !PARAMETERS.contains(&name.as_str()));
    if let Some((name, _)) = unknown {
        let meant = match nearest(name, PARAMETERS) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("there are {}", PARAMETERS.join(" and ")),
        };
        let message = format!("there is no parameter \"{name}\"; {meant}");
        return Ok(request.unread(refused(path, 400, &message)));
    }
    let format = format_of(request.head, door.options.format)?;
    let times = LineTimes {
        unit_ns: unit_of(request)?,
        arrival_ns: None,
    };
    let partition = door.partition(request.parameter("producer"))?;
    if !door.has_room(Weight { rows: 1, bytes: 0 }) {
        return Ok(request.unread(full(path, stream)));
    }
    let bytes = request.body(connection, door, hold)?;
    let content = door.content(format, bytes, times, &request.name)?;
    let ticket = Arc::new(Ticket::default());
    let post = Post {
        content,
        partition,
        name: request.name.clone(),
        part: Part::of(&ticket),
        came: Instant::now(),
    };
    if let Err(stream) = hall.admit(vec![(door.clone(), post)]) {
        return Ok(full(path, &stream));
    }
    // From here on the queue holds the body.
    hold.release();
    let tally = ticket.wait(door.options.answer_timeout, &hall.stop);
    Ok(report(&tally, stream, format))
}

/// What became of rows, in numbers.
fn report(tally: &Tally, stream: &str, format: Format) -> Response {
    let Tally {
        on_time,
        late,
        rejected,
        ..
    } = *tally;
    let place = if format == Format::Arrow {
        "row"
    } else {
        "line"
    };
    let errors = tally.errors.iter().map(|error| {
        let mut told = json!({ place: error.line, "reason": error.reason, "rule": error.rule });
        if let Some(element) = error.element {
            told["element"] = json!(element);
        }
        told
    });
    let mut body = json!({
        "received": on_time + late + rejected,
        "accepted": on_time,
        "late": late,
        "rejected": rejected,
    });
    if rejected > 0 {
        body["errors"] = Value::Array(errors.collect());
        body["errors_omitted"] = json!(rejected.saturating_sub(tally.errors.len() as u64));
    }
    let (status, error): (u16, Option<Cow<'_, str>>) = match tally {
        Tally {
            fault: Some(fault), ..
        } => (400, Some(fault.into())),
        Tally { lost: true, .. } => {
            let message = format!("stream {stream} has failed or ended before it took all rows");
            (503, Some(message.into()))
        }
        _ if !tally.is_done() => {
            body["pending"] = json!(true);
            (202, None)
        }
        _ if rejected > 0 && on_time + late == 0 => (400, Some("every row was rejected".into())),
        _ => (200, None),
    };
    if let Some(error) = error {
        body["error"] = json!(error);
    }
    Response::new(status, body.to_string() + "\n")
}
