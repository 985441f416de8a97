//! Progress for programs: each line of stderr is an object of JSON.
//!
//! `cargo build -p windrow-sql` builds the binary beforehand.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use windrow_tests::command::{interrupted, output, text, windrow};
use windrow_tests::port::free_address;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The objects of a text, one a line.
#[track_caller]
fn objects(lines: &str) -> Vec<Value> {
    let object = |line: &str| -> Value {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object(), "{line}");
        value
    };
    lines.lines().map(object).collect()
}

const LATE: &str = "CREATE STREAM f (ts TIMESTAMP, k TEXT, v DOUBLE CHECK (v >= 0), WATERMARK FOR ts) \
     WITH (connector = 'file', path = 'tests/slt/data/late.csv', format = 'csv'); \
     CREATE MATERIALIZED VIEW m AS SELECT window_start, count(*) AS n \
     FROM TUMBLE(f, ts, INTERVAL '10' SECOND) GROUP BY window_start, window_end; \
     SELECT sum(n) AS n FROM m";

#[test]
fn a_file_with_late_and_rejected_rows() {
    let output = output(&["--progress", "json", "-c", LATE]);
    assert_eq!(text(&output.stdout), "n\n4\n");
    let objects = objects(&text(&output.stderr));
    let (end, remarks) = objects.split_last().expect("there is an end");
    assert_eq!(end["state"], "done");
    for (name, count) in [("rows", 7), ("rejected", 2), ("late", 1), ("bytes", 181)] {
        assert_eq!(end[name], count, "{name}: {end}");
    }
    assert_eq!((&end["share"], &end["lag_ms"]), (&1.0.into(), &Value::Null));
    let warnings: Vec<_> = (remarks.iter())
        .filter_map(|remark| remark["warning"].as_str())
        .collect();
    assert_eq!(warnings.len(), 2, "{remarks:?}");
    assert!(
        warnings[0].starts_with("2 rows of 'f' rejected"),
        "{warnings:?}"
    );
    assert!(warnings[1].starts_with("1 row too late"), "{warnings:?}");
}

#[test]
fn a_row_that_is_late_for_three_queries_is_one_late_row() {
    let view = |name: &str| {
        format!(
            "CREATE MATERIALIZED VIEW {name} AS SELECT window_start, count(*) AS n
             FROM TUMBLE(f, ts, INTERVAL '10' SECOND) GROUP BY window_start, window_end;"
        )
    };
    let (before, after) = LATE.split_once("SELECT sum").expect("it is there");
    let sql = format!("{before} {} {} SELECT sum{after}", view("m2"), view("m3"));
    let output = output(&["--progress", "json", "-c", &sql]);
    let objects = objects(&text(&output.stderr));
    let (end, remarks) = objects.split_last().expect("there is an end");
    assert_eq!((&end["state"], &end["late"]), (&"done".into(), &1.into()));
    let is_one = |remark: &Value| {
        let warning = remark["warning"].as_str();
        warning.is_some_and(|warning| warning.starts_with("1 row too late"))
    };
    assert!(remarks.iter().any(is_one), "{remarks:?}");
}

#[test]
fn long_work_says_where_it_stands() {
    let sql = "SELECT k FROM stdin";
    let mut child = windrow(&["--progress", "json", "-c", sql])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"k,v\na,1\nb,2\n").expect("it is read");
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let (mut lines, mut states) = (stderr.lines(), Vec::new());
    // It goes on until the pipe is closed, when something has been said of it.
    while !states.iter().any(|state| state == "running") {
        let line = lines.next().expect("it goes on").expect("text");
        states.extend(objects(&line)[0]["state"].as_str().map(str::to_owned));
    }
    drop(stdin);
    let rest: Vec<Value> = lines
        .map(|line| objects(&line.expect("text")).remove(0))
        .collect();
    let end = rest.last().expect("an end");
    assert_eq!((&end["state"], &end["rows"]), (&"done".into(), &2.into()));
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn an_error_is_an_object_too() {
    let output = output(&["--progress", "json", "-c", "SELECT * FROM 'nothing.csv'"]);
    assert_eq!(output.status.code(), Some(1));
    let objects = objects(&text(&output.stderr));
    let (error, before) = objects.split_last().expect("an error");
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("nothing.csv"))
    );
    assert!(
        before.iter().any(|object| object["state"] == "failed"),
        "{before:?}"
    );
}

#[test]
fn off_says_nothing_and_a_bar_needs_a_terminal() {
    let off = output(&["--progress", "off", "-c", LATE]);
    assert_eq!(
        (text(&off.stderr), off.status.code()),
        (String::new(), Some(0))
    );
    let bar = output(&["--progress", "bar", "-c", LATE]);
    assert_eq!(bar.status.code(), Some(2));
    let stderr = text(&bar.stderr);
    assert!(
        stderr.contains("needs a terminal") && stderr.contains("--progress plain"),
        "{stderr}"
    );
}

#[test]
fn the_first_reject_of_a_followed_file_is_told_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("grown.csv");
    fs::write(&path, "v\n1\n2\n").expect("written");
    let shown = path.display();
    let sql = format!(
        "CREATE STREAM s (v BIGINT) WITH (connector = 'file', path = '{shown}', follow = 'true');
         SELECT v FROM s"
    );
    let mut child = (windrow(&["-c", &sql]).spawn()).expect("the binary starts");
    // Two rows have come when the file grows.
    let stdout = child.stdout.take().expect("a pipe");
    let mut rows = BufReader::new(stdout).lines();
    assert_eq!(rows.by_ref().take(3).count(), 3);
    let grown = fs::OpenOptions::new().append(true).open(&path);
    (grown.expect("it is there").write_all(b"3\nmany\n4\nmore\n")).expect("written");
    let stderr = child.stderr.take().expect("a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    // The header is the first line.
    let first = "column v: 'many' is not a BIGINT";
    assert_eq!(
        next(),
        format!("warning: a row of 's' rejected, the first: {shown}:5: {first}")
    );
    assert!(next().contains("rejected('s')"));
    interrupted(child);
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].contains("2 rejected"), "{rest:?}");
}

#[test]
fn the_first_reject_of_a_live_stream_is_told_when_it_comes() {
    let address = free_address();
    let sql = format!(
        "CREATE STREAM s (v INT) WITH (connector = 'tcp', address = '{address}', format = 'ndjson');
         SELECT v FROM s"
    );
    let mut child = (windrow(&["-c", &sql]).spawn()).expect("the binary starts");
    let start = Instant::now();
    let mut client = loop {
        match TcpStream::connect(address) {
            Ok(client) => break client,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    client
        .write_all(b"garbage\nmore of it\n")
        .expect("it reads");
    let stderr = child.stderr.take().expect("a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    let warning = next();
    assert!(
        warning.starts_with("warning: a row of 's' rejected, the first: tcp 127.0.0.1:"),
        "{warning}"
    );
    assert!(next().contains("rejected('s')"));
    interrupted(child);
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].contains("2 rejected"), "{rest:?}");
}
