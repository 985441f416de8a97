//! `/query` as clients of InfluxDB 1 use it before they write: which databases there are, and
//! may there be one more.
//!
//! A stream is found by the name of a database, or else by the measurement of each line: so
//! there is a database for each stream, and one of any other name need not be made.

use std::borrow::Cow;

use serde_json::json;

use super::budget::Hold;
use super::hall::Hall;
use super::message::{Connection, Fault, Response};
use super::request::{Request, refused};

/// The longest question.
const QUERY_BYTES_MAX: usize = 4 << 10;

/// Answers a question.
///
/// # Errors
/// If it cannot be read.
pub(super) fn query(
    hall: &Hall,
    connection: &mut Connection<'_>,
    request: &Request<'_>,
    hold: &mut Hold<'_>,
) -> Result<Response, Fault> {
    let (path, method) = (request.path.as_str(), request.head.method.as_str());
    if !matches!(method, "GET" | "POST") {
        let message = format!("{path} takes GET and POST, not {method}");
        let refused = refused(path, 405, &message).with("Allow", "GET, POST");
        return Ok(request.unread(refused));
    }
    let body = connection
        .body(request.head, QUERY_BYTES_MAX, hall.client_timeout(), hold)
        .map_err(|fault| match fault {
            Fault::TooLarge(max) => Fault::Bad(413, format!("a query has {max} bytes at most")),
            other => other,
        })?;
    let in_body = || {
        let mut pairs = form_urlencoded::parse(&body);
        pairs.find_map(|(name, value)| (name == "q").then_some(value))
    };
    let asked = match request.parameter("q") {
        Some(asked) => Some(Cow::from(asked)),
        None => in_body(),
    };
    let Some(asked) = asked else {
        return Ok(refused(path, 400, "the parameter q is missing"));
    };
    let mut words = asked.split([' ', '\t', '\r', '\n', ';']);
    let mut word = || words.find(|word| !word.is_empty()).map(str::to_uppercase);
    let statement = [word(), word()].map(Option::unwrap_or_default);
    let result = match statement.each_ref().map(String::as_str) {
        ["SHOW", "DATABASES"] => {
            let doors = hall.doors();
            let mut names: Vec<[&str; 1]> = doors.iter().map(|door| [&*door.stream]).collect();
            names.sort_unstable();
            let series = json!({ "name": "databases", "columns": ["name"], "values": names });
            json!({ "statement_id": 0, "series": [series] })
        }
        ["CREATE", "DATABASE"] => json!({ "statement_id": 0 }),
        _ => {
            let message = "only SHOW DATABASES and CREATE DATABASE are answered here; \
                           Windrow is asked in its own SQL";
            return Ok(refused(path, 400, message));
        }
    };
    let body = json!({ "results": [result] }).to_string();
    Ok(Response::new(200, body + "\n"))
}
