//! Requests, and the answers that refuse them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::body::{is_gzip, unpacked};
use super::budget::Hold;
use super::door::Door;
use super::message::{Connection, Fault, Framing, Head, Response};
use crate::error::nearest;

/// Where InfluxDB's clients write, by version.
pub(super) const WRITE_PATHS: [&str; 2] = ["/write", "/api/v2/write"];

/// After so many seconds a client that was refused may come again.
const RETRY_AFTER_S: &str = "1";

/// A request, as far as its head tells.
#[derive(Debug)]
pub(super) struct Request<'h> {
    pub(super) head: &'h Head,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// Where its rows come from, as positions show it.
    pub(super) name: String,
}

impl<'h> Request<'h> {
    pub(super) fn new(head: &'h Head, name: String) -> Self {
        let target = in_origin_form(&head.target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() { "/" } else { path };
        let query = form_urlencoded::parse(query.as_bytes());
        Self {
            head,
            path: path.to_owned(),
            query: query
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
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
    pub(super) fn unread(&self, response: Response) -> Response {
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

/// The path and the query of a target. Clients that know a proxy say the whole address, and a
/// server has to take it (RFC 9112, 3.2.2).
fn in_origin_form(target: &str) -> &str {
    let Some((scheme, rest)) = target.split_once("://") else {
        return target;
    };
    match scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
        true => &rest[rest.find(['/', '?']).unwrap_or(rest.len())..],
        false => target,
    }
}

/// An error, as clients of a path read it.
pub(super) fn error_body(path: &str, status: u16, message: &str) -> String {
    let body = match path {
        path if path == WRITE_PATHS[1] => {
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
    match status {
        429 => {
            // Telegraf drops what it wrote as to version 1 at any status of 4xx.
            let status = if path == WRITE_PATHS[0] { 503 } else { 429 };
            Response::new(status, error_body(path, status, message))
                .with("Retry-After", RETRY_AFTER_S)
        }
        _ => Response::new(status, error_body(path, status, message)),
    }
}

/// The answer to a request that cannot be read; `None` if there is nobody to answer.
pub(super) fn refusal(fault: &Fault, path: &str) -> Option<Response> {
    let refused = |status: u16, message: &str| Some(refused(path, status, message).closing());
    match fault {
        Fault::Gone => None,
        Fault::Ended => refused(
            400,
            "the request ended before it was whole; nothing of it was taken: a body has as many \
             bytes as its Content-Length says",
        ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_as_good_as_its_path() {
        for (target, path_and_query) in [
            ("/ingest/s?producer=p", "/ingest/s?producer=p"),
            ("http://127.0.0.1:8080/ingest/s?a=b", "/ingest/s?a=b"),
            ("HTTP://host/write", "/write"),
            ("https://user@[::1]:1/x?u=http://y/z", "/x?u=http://y/z"),
            ("http://host?q=/", "?q=/"),
            ("http://host", ""),
            // These are paths.
            ("/http://host/write", "/http://host/write"),
            ("/x?u=http://y/z", "/x?u=http://y/z"),
            ("ftp://host/write", "ftp://host/write"),
            ("*", "*"),
        ] {
            assert_eq!(in_origin_form(target), path_and_query, "{target}");
        }
    }
}
