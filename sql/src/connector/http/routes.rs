//! Which request means what, and what is answered.
//!
//! | request | is answered |
//! |---|---|
//! | `POST /ingest/STREAM` | how many rows were accepted, late and rejected, and why |
//! | `POST /write`, `POST /api/v2/write` | as InfluxDB answers |
//! | `GET /ping`, `GET /health` | that somebody is here |

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use windrow_core::batch::queue::Weight;

use super::body::{format_of, is_gzip, unpacked};
use super::door::{Door, Post};
use super::message::{Connection, Fault, Framing, Head, Hold, Response};
use super::server::Server;
use super::ticket::{Part, RowError, Tally, Ticket};
use super::write;
use crate::error::nearest;
use crate::format::Format;
use crate::format::line::LineTimes;

/// After so many seconds a client that was refused may come again.
const RETRY_AFTER_S: &str = "1";

const INGEST: &str = "/ingest/";

/// A request, as far as its head tells.
#[derive(Debug)]
pub(super) struct Request<'h> {
    pub(super) head: &'h Head,
    pub(super) path: String,
    query: Vec<(String, String)>,
    /// Where its rows come from, as positions show it.
    pub(super) name: String,
}

impl<'h> Request<'h> {
    pub(super) fn new(head: &'h Head, name: String) -> Self {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let query = form_urlencoded::parse(query.as_bytes());
        Self {
            head,
            path: path.to_owned(),
            query: query.map(|(name, value)| (name.into(), value.into())).collect(),
            name,
        }
    }

    /// A parameter of the query; an empty one is as good as none.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        (self.query.iter())
            .find(|(other, value)| other == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    fn has_body(&self) -> bool {
        self.head.framing != Framing::Sized(0)
    }

    /// An answer that is given before the body has been read.
    fn unread(&self, response: Response) -> Response {
        match self.has_body() || self.head.method == "HEAD" {
            true => response.closing(),
            false => response,
        }
    }

    /// Reads the body, and unpacks it.
    pub(super) fn body(
        &self,
        connection: &mut Connection<'_>,
        door: &Door,
        hold: &mut Hold<'_>,
    ) -> Result<Vec<u8>, Fault> {
        let is_gzip = is_gzip(self.head)?;
        let bytes_max = door.options.body_bytes_max;
        let body = connection.body(self.head, bytes_max, door.options.client_timeout, hold)?;
        match is_gzip {
            true => unpacked(&body, bytes_max, hold),
            false => Ok(body),
        }
    }
}

/// An error, as clients of a path read it.
pub(super) fn error_body(path: &str, status: u16, message: &str) -> String {
    let body = match path {
        write::V2_PATH => {
            let code = match status {
                400 | 408 | 415 | 431 => "invalid",
                403 => "forbidden",
                404 => "not found",
                405 => "method not allowed",
                413 => "request too large",
                429 => "too many requests",
                501 => "not implemented",
                503 => "unavailable",
                _ => "internal error",
            };
            json!({ "code": code, "message": message })
        }
        _ => json!({ "error": message }),
    };
    body.to_string()
}

/// An error as an answer.
pub(super) fn refused(path: &str, status: u16, message: &str) -> Response {
    let response = Response::new(status, error_body(path, status, message));
    match status {
        429 => response.with("Retry-After", RETRY_AFTER_S),
        _ => response,
    }
}

/// The answer to a request that cannot be read; `None` if there is nobody to answer.
pub(super) fn refusal(fault: &Fault, path: &str) -> Option<Response> {
    let refused = |status: u16, message: &str| Some(refused(path, status, message).closing());
    match fault {
        Fault::Gone => None,
        Fault::Slow => refused(408, "the request did not come to its end in time"),
        Fault::Bad(status, reason) => refused(*status, reason),
        Fault::TooLarge(bytes_max) => refused(
            413,
            &format!(
                "the body is larger than {bytes_max} bytes; send it in parts, or raise the \
                 option body_bytes_max of the stream"
            ),
        ),
        Fault::Busy => refused(429, "too many bodies are being sent at once; come again"),
    }
}

/// The answer of a stream whose queue is full.
pub(super) fn full(path: &str, stream: &str) -> Response {
    let message = format!("the queue of stream {stream} is full; nothing was taken, come again");
    refused(path, 429, &message)
}

/// Does what a request asks for.
///
/// # Errors
/// If its body cannot be read; nothing of it was taken then.
pub(super) fn answer(
    server: &Server,
    connection: &mut Connection<'_>,
    request: &Request<'_>,
    hold: &mut Hold<'_>,
) -> Result<Response, Fault> {
    let Request { head, path, .. } = request;
    let refused = |status: u16, message: &str| request.unread(refused(path, status, message));
    if head.header("origin").is_some() {
        // Browsers say so of what a page sends, and any page can send to this machine.
        return Ok(refused(403, "pages in a browser may not send readings here"));
    }
    let is_get = matches!(head.method.as_str(), "GET" | "HEAD");
    match path.as_str() {
        "/ping" if is_get => return Ok(request.unread(Response::new(204, ""))),
        "/health" if head.method == "GET" => {
            let body = json!({ "name": "windrow", "status": "pass" });
            return Ok(request.unread(Response::new(200, body.to_string())));
        }
        _ => {}
    }
    let is_write = matches!(path.as_str(), write::V1_PATH | write::V2_PATH);
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
            ingest(server, connection, request, &stream, hold)
        }
        None => write::write(server, connection, request, hold),
    }
}

/// The streams that are served, for those who look for another.
pub(super) fn there_are(doors: &[Arc<Door>], name: &str) -> String {
    let names = || doors.iter().map(|door| door.stream.as_str());
    match nearest(name, names()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => {
            let mut names: Vec<&str> = names().collect();
            names.sort_unstable();
            format!("there are {}", names.join(", "))
        }
    }
}

/// How long one unit of `precision=` is.
pub(super) fn unit_of(request: &Request<'_>) -> Result<i64, Fault> {
    Ok(match request.parameter("precision").unwrap_or("ns") {
        "ns" | "n" => 1,
        "us" | "u" | "µs" | "µ" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        other => {
            let message = format!("precision is '{other}', but must be ns, us, ms, s, m or h");
            return Err(Fault::Bad(400, message));
        }
    })
}

/// The clock, in nanoseconds since the Unix epoch.
pub(super) fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

/// Takes rows for one stream.
fn ingest(
    server: &Server,
    connection: &mut Connection<'_>,
    request: &Request<'_>,
    stream: &str,
    hold: &mut Hold<'_>,
) -> Result<Response, Fault> {
    let path = request.path.as_str();
    let doors = server.doors();
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
    };
    if let Err(stream) = server.admit(vec![(door.clone(), post)]) {
        return Ok(full(path, &stream));
    }
    // From here on the queue holds the body.
    *hold = Hold::none(&server.budget);
    let tally = ticket.wait(door.options.answer_timeout, &server.stop);
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
    let place = if format == Format::Arrow { "row" } else { "line" };
    let errors = tally.errors.iter().map(|error| {
        let RowError { line, reason, rule } = error;
        json!({ place: line, "reason": reason, "rule": rule })
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
        _ if rejected > 0 && on_time + late == 0 => {
            (400, Some("every row was rejected".into()))
        }
        _ => (200, None),
    };
    if let Some(error) = error {
        body["error"] = json!(error);
    }
    Response::new(status, body.to_string() + "\n")
}
