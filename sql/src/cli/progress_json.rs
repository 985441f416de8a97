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
        "state_bytes": progress.state_bytes,
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
