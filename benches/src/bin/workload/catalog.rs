//! The workloads by name: which readings, how they come in, which query.

use windrow_bench::Names;

use crate::data::Set;
use crate::files::Form;

/// All that [`workload`] knows.
pub const IDS: [&str; 28] = [
    "W1",
    "W2",
    "W2-dict",
    "W2-int",
    "W2-zipf",
    "W2-stddev",
    "W2-dict-stddev",
    "W2-int-stddev",
    "W2-open",
    "W2-open-3600",
    "W3",
    "W3b",
    "W4-range",
    "W4-range-key",
    "W4-rows",
    "W4-rows-key",
    "W5",
    "W5-ordered",
    "W6",
    "W6-median",
    "W7-q5",
    "W7-q11",
    "W8-ndjson",
    "W8-csv",
    "W8-parquet-zstd",
    "W8-parquet-snappy",
    "W8-ipc",
    "W8-ipc-hop",
];

/// How readings come to the query, which calls them `readings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A table in memory.
    Table(Names),
    /// Pushed into a stream whose watermark is ten seconds behind.
    Stream {
        /// Whether it ends, so that all windows close; if not, those that are open stay so.
        ends: bool,
    },
    /// Read from a file.
    File(Form),
}

#[derive(Debug)]
pub struct Workload {
    pub set: Set,
    pub input: Input,
    /// Whether the query reads the sensors.
    pub keyed: bool,
    pub query: String,
}

const BASIC: &str = "count(*) AS n, avg(pm25) AS mean, min(pm25) AS low, max(pm25) AS high";
const WITH_SUM: &str = "count(*) AS n, sum(pm25) AS total, avg(pm25) AS mean, min(pm25) AS low, \
                        max(pm25) AS high";
const WITH_SPREAD: &str = "count(*) AS n, sum(pm25) AS total, avg(pm25) AS mean, \
                           min(pm25) AS low, max(pm25) AS high, stddev(pm25) AS spread";
const PERCENTILES: &str = "count(*) AS n, approx_percentile_cont(pm25, 0.5) AS p50, \
                           approx_percentile_cont(pm25, 0.95) AS p95, \
                           approx_percentile_cont(pm25, 0.99) AS p99";
const SLIDING: &str = "avg(pm25) OVER w AS mean, min(pm25) OVER w AS low, max(pm25) OVER w AS high";

const TUMBLE: &str = "TUMBLE(readings, ts, INTERVAL '10' SECOND)";
const MINUTE: &str = "HOP(readings, ts, INTERVAL '1' SECOND, INTERVAL '60' SECOND)";
const HOUR: &str = "HOP(readings, ts, INTERVAL '1' SECOND, INTERVAL '3600' SECOND)";
const FIVE_MINUTES: &str = "HOP(readings, ts, INTERVAL '10' SECOND, INTERVAL '300' SECOND)";

const RANGE: &str = "RANGE INTERVAL '60' SECOND";

pub fn workload(id: &str) -> Option<Workload> {
    let text = Input::Table(Names::Text);
    let [codes, numbers] = [Names::Dictionary, Names::Number].map(Input::Table);
    let [open, ended] = [false, true].map(|ends| Input::Stream { ends });
    let keyed = |set, input, window, aggregates| Workload {
        set,
        input,
        keyed: true,
        query: format!(
            "SELECT sensor, window_start, window_end, {aggregates} FROM {window} \
             GROUP BY sensor, window_start, window_end"
        ),
    };
    let over = |keyed: bool, calls: &str, frame: &str| Workload {
        set: Set::Uniform,
        input: text,
        keyed,
        query: format!(
            "SELECT {calls} FROM readings WINDOW w AS ({}ORDER BY ts {frame} PRECEDING)",
            if keyed { "PARTITION BY sensor " } else { "" }
        ),
    };
    // A bid's sensor is its auction in q5, its bidder in q11.
    let bids = |query: &str| Workload {
        set: Set::Bids,
        input: numbers,
        keyed: true,
        query: query.into(),
    };
    let file = |form| keyed(Set::Uniform, Input::File(form), TUMBLE, BASIC);
    Some(match id {
        "W1" => Workload {
            set: Set::Slow,
            input: text,
            keyed: false,
            query: format!(
                "SELECT window_start, window_end, {BASIC} FROM {HOUR} \
                 GROUP BY window_start, window_end"
            ),
        },
        "W2" => keyed(Set::Uniform, text, MINUTE, WITH_SUM),
        "W2-dict" => keyed(Set::Uniform, codes, MINUTE, WITH_SUM),
        "W2-int" => keyed(Set::Uniform, numbers, MINUTE, WITH_SUM),
        "W2-zipf" => keyed(Set::Zipf, text, MINUTE, WITH_SUM),
        "W2-stddev" => keyed(Set::Uniform, text, MINUTE, WITH_SPREAD),
        "W2-dict-stddev" => keyed(Set::Uniform, codes, MINUTE, WITH_SPREAD),
        "W2-int-stddev" => keyed(Set::Uniform, numbers, MINUTE, WITH_SPREAD),
        "W2-open" => keyed(Set::Uniform, open, MINUTE, WITH_SUM),
        "W2-open-3600" => keyed(Set::Uniform, open, HOUR, WITH_SUM),
        "W3" => keyed(Set::Uniform, text, TUMBLE, BASIC),
        "W3b" => keyed(Set::Wide, text, TUMBLE, BASIC),
        "W4-range" => over(false, SLIDING, RANGE),
        "W4-range-key" => over(true, SLIDING, RANGE),
        "W4-rows" => over(false, SLIDING, "ROWS 999"),
        "W4-rows-key" => over(true, SLIDING, "ROWS 999"),
        "W5" => keyed(Set::Disorder, ended, MINUTE, WITH_SUM),
        "W5-ordered" => keyed(Set::Uniform, ended, MINUTE, WITH_SUM),
        "W6" => keyed(Set::Zipf, text, FIVE_MINUTES, PERCENTILES),
        "W6-median" => over(true, "median(pm25) OVER w AS median", "ROWS 99"),
        "W7-q5" => bids(
            "WITH items AS (SELECT sensor, window_start, count(*) AS n \
             FROM HOP(readings, ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND) \
             GROUP BY sensor, window_start, window_end) \
             SELECT sensor, window_start, n FROM items \
             JOIN (SELECT window_start AS hot, max(n) AS most FROM items GROUP BY window_start) \
             ON window_start = hot AND n = most",
        ),
        "W7-q11" => bids(
            "SELECT sensor, window_start, window_end, count(*) AS n \
             FROM SESSION(readings PARTITION BY sensor, ts, INTERVAL '10' SECOND) \
             GROUP BY sensor, window_start, window_end",
        ),
        "W8-ndjson" => file(Form::Ndjson),
        "W8-csv" => file(Form::Csv),
        "W8-parquet-zstd" => file(Form::ParquetZstd),
        "W8-parquet-snappy" => file(Form::ParquetSnappy),
        "W8-ipc" => file(Form::Arrow),
        "W8-ipc-hop" => keyed(Set::Uniform, Input::File(Form::Arrow), MINUTE, WITH_SUM),
        _ => return None,
    })
}
