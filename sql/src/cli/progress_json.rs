//! Progress for programs: one object of JSON on each line of stderr.
//!
//! ```json
//! {"state":"running","elapsed_s":2.0,"rows":1200,"rows_per_s":600.0,"share":0.4,"late":0,"rejected":1, …}
//! {"warning":"1 row of 's' rejected …"}
//! {"state":"done","elapsed_s":5.1,"rows":3000, …}
//! ```
//!
//! What is not known or has no meaning is `null`. `state` is `running`, then `done`,
//! `stopped` or `failed`; an error is an object with `error`.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::session::Progress;

/// Where the work stands, as a line.
///
/// - `rate`: rows per second; `now`: the wall clock, in milliseconds since the Unix epoch.
pub(super) fn state(
    state: &str,
    progress: &Progress,
    rate: f64,
    elapsed: Duration,
    now: i64,
) -> String {
    let watermark = progress.watermark_ms;
    let watermark = watermark.and_then(DateTime::from_timestamp_millis);
    let watermark = watermark.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true));
    let object = json!({
        "state": state,
        "elapsed_s": rounded(elapsed.as_secs_f64()),
        "rows": progress.rows,
        "rows_per_s": rounded(rate),
        "bytes": progress.bytes,
        "bytes_total": progress.bytes_total,
        "share": progress.share().map(rounded),
        "watermark": watermark,
        "lag_ms": progress.lag_ms(now),
        "late": progress.late,
        "rejected": progress.rejected,
        "dropped": progress.dropped,
        "state_bytes": progress.state_bytes,
        "open_windows": progress.open_windows,
    });
    object.to_string()
}

/// A warning, an error or another remark, as a line.
pub(super) fn remark(kind: &str, text: &str) -> String {
    Value::Object([(kind.to_owned(), text.into())].into_iter().collect()).to_string()
}

/// In thousandths: more digits say nothing.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_meaning_is_null() {
        let line = state("running", &Progress::default(), 0.0, Duration::ZERO, 0);
        let object: Value = serde_json::from_str(&line).unwrap();
        for name in ["bytes_total", "share", "watermark", "lag_ms"] {
            assert_eq!(object[name], Value::Null, "{name}");
        }
        assert!(!line.contains('\n'));
        let progress = Progress {
            rows: 3_000,
            bytes: 250,
            bytes_total: Some(1_000),
            dropped: 4,
            watermark_ms: Some(1_767_225_600_000),
            is_live: true,
            ..Progress::default()
        };
        let elapsed = Duration::from_micros(1_500_400);
        let line = state("done", &progress, 2000.0 / 3.0, elapsed, 1_767_225_602_500);
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["state"], "done");
        assert_eq!(object["elapsed_s"], 1.5);
        assert_eq!(object["rows_per_s"], 666.667);
        assert_eq!(object["share"], 0.25);
        assert_eq!(object["watermark"], "2026-01-01T00:00:00.000Z");
        assert_eq!(object["lag_ms"], 2_500);
        assert_eq!(object["dropped"], 4);
    }

    #[test]
    fn a_remark_of_several_lines_is_one_line() {
        let line = remark("warning", "a \"b\"\n   = help: c");
        assert_eq!(line, r#"{"warning":"a \"b\"\n   = help: c"}"#);
    }
}
