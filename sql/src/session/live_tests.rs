//! What a live stream carries where its options do not say otherwise.

use super::Session;

const SECOND_NS: i64 = 1_000_000_000;

/// The idle timeout and the future guard of a stream with options, in nanoseconds.
fn carried(options: &str) -> Option<(i64, i64)> {
    let session = Session::new().expect("it starts");
    let script = format!(
        "CREATE STREAM r (ts TIMESTAMP, n BIGINT, WATERMARK FOR ts) WITH (connector = {options})"
    );
    let declared = session.sql(&script).expect("it is planned");
    declared.collect().expect("it is declared");
    let entry = session.stream_entry("r").expect("it is there");
    (entry.live).map(|live| (live.idle_timeout_ns, live.max_future_ns))
}

#[test]
fn a_silence_of_half_a_minute_and_a_clock_five_minutes_ahead_are_borne() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, "ts,n\n").expect("written");
    // Nothing is opened before a query asks.
    let (address, path) = ("127.0.0.1:7109", path.display());
    let live = [
        format!("'tcp', address = '{address}', format = 'ndjson'"),
        format!("'tcp', mode = 'connect', address = '{address}', format = 'csv'"),
        format!("'udp', address = '{address}', format = 'csv'"),
        format!("'http', address = '{address}'"),
        format!("'file', path = '{path}', follow = 'true'"),
    ];
    for options in live {
        let defaults = Some((30 * SECOND_NS, 300 * SECOND_NS));
        assert_eq!(carried(&options), defaults, "{options}");
        let said = format!("{options}, idle_timeout = '2 seconds', max_future = '1 hour'");
        let as_said = Some((2 * SECOND_NS, 3_600 * SECOND_NS));
        assert_eq!(carried(&said), as_said, "{said}");
    }
    // A file that ends waits for nobody, and its times are what they are.
    assert_eq!(carried(&format!("'file', path = '{path}'")), None);
}
