//! Whole systems, each from the one file under `systems/` that a newcomer runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use serde_json::Value;
use windrow_sql::{ErrorKind, Session};
use windrow_tests::client::PATIENCE;
#[cfg(unix)]
use windrow_tests::client::{connected, posted};
#[cfg(unix)]
use windrow_tests::command::interrupted;
use windrow_tests::command::windrow;
use windrow_tests::port::free_address;
#[cfg(unix)]
use windrow_tests::postgres::Postgres;

/// The text of a system, with another port than the one it names.
fn system(name: &str, port: u16, with: u16) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../systems")
        .join(name);
    let text = std::fs::read_to_string(path).expect("it is there");
    let named = format!("'127.0.0.1:{port}'");
    assert!(text.contains(&named), "{name} names {named}");
    text.replace(&named, &format!("'127.0.0.1:{with}'"))
}

fn json(path: PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(&path).expect("it was written");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(unix)]
#[test]
fn traffic_of_a_network_goes_into_files() {
    let port = free_address().port();
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("network.sql");
    std::fs::write(&script, system("network.sql", 7101, port)).expect("written");
    let child = windrow(&["run", "network.sql", "--progress", "plain"])
        .current_dir(folder.path())
        .spawn()
        .expect("the binary starts");

    // 200 flows of four hosts, ten a second; and two by another client that are none.
    let (mut client, mut other) = (connected(port), connected(port));
    for flow in 0..200 {
        let line = format!(
            "{{\"ts\":\"2026-01-01T10:00:{:06.3}Z\",\"host\":\"h{}\",\"bytes\":{},\"packets\":1}}\n",
            f64::from(flow) * 0.1,
            flow % 4,
            100 * (flow % 7)
        );
        client.write_all(line.as_bytes()).expect("sent");
    }
    let broken = "{\"ts\":\"2026-01-01T10:00:01Z\",\"host\":\"h1\",\"bytes\":-5}\n{\"ts\":\n";
    other.write_all(broken.as_bytes()).expect("sent");
    drop((client, other));
    // After two seconds of silence the clock moves on and closes all windows: the sessions
    // end five seconds after their last flows, and the watermark is two behind.
    thread::sleep(Duration::from_secs(8));
    interrupted(child);

    let number = |row: &Value, column: &str| row[column].as_f64().expect("a number");
    // By hand: windows of 10 s at every 5 s hold 50, 100, 100, 100 and 50 flows.
    let traffic = json(folder.path().join("result.json"));
    let flows: Vec<f64> = traffic.iter().map(|row| number(row, "flows")).collect();
    assert_eq!(flows, [50.0, 100.0, 100.0, 100.0, 50.0]);
    let bytes = |flows: std::ops::Range<i32>| -> f64 {
        flows.map(|flow| f64::from(100 * (flow % 7))).sum()
    };
    for (row, flows) in traffic
        .iter()
        .zip([0..50, 0..100, 50..150, 100..200, 150..200])
    {
        let count = f64::from(flows.end - flows.start);
        let total = bytes(flows);
        assert_eq!(number(row, "bytes"), total);
        assert!((number(row, "mean_bytes") - total / count).abs() < 1e-9);
        assert_eq!(number(row, "largest"), 600.0);
    }
    // Each host sends every 0.4 s: one session each, from its first flow to 5 s after its
    // last.
    let mut sessions = json(folder.path().join("sessions.json"));
    sessions.sort_by_key(|row| row["host"].to_string());
    let found: Vec<(&str, f64)> = (sessions.iter())
        .map(|row| (row["host"].as_str().expect("a text"), number(row, "flows")))
        .collect();
    assert_eq!(
        found,
        [("h0", 50.0), ("h1", 50.0), ("h2", 50.0), ("h3", 50.0)]
    );
    assert_eq!(sessions[3]["window_end"], "2026-01-01T10:00:24.900");
    let hosts = json(folder.path().join("hosts.json"));
    let packets: f64 = hosts.iter().map(|row| number(row, "packets")).sum();
    assert_eq!((hosts.len(), packets), (80, 200.0));
}

#[cfg(unix)]
#[test]
fn a_log_that_grows_goes_from_one_node_to_another() {
    let port = free_address().port();
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log.csv");
    let edge = format!(
        "CREATE STREAM log (n BIGINT, value DOUBLE) WITH (connector = 'file',
           path = 'log.csv', follow = 'true');
         CREATE SINK warm WITH (connector = 'tcp', address = '{port}', format = 'ndjson') AS
         SELECT * FROM log WHERE value > 30;"
    );
    let cloud = format!(
        "CREATE STREAM warm (n BIGINT, value DOUBLE) WITH (connector = 'tcp',
           address = '{port}', format = 'ndjson');
         SELECT n, value FROM warm;"
    );
    let start = |query: &str| {
        windrow(&["--format", "csv", "-c", query])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    };
    // The sender does not mind that the receiver comes later, nor that the log does.
    let edge = start(&edge);
    let mut cloud = start(&cloud);
    let mut came = BufReader::new(cloud.stdout.take().expect("a pipe")).lines();
    let mut next = move || came.next().expect("a line").expect("text");
    std::fs::write(&log, "n,value\n1,31\n2,29\n3,32\n4,3").expect("written");
    assert_eq!([next(), next(), next()], ["n,value", "1,31.0", "3,32.0"]);
    // The log is rotated while its last line is being written.
    std::fs::rename(&log, folder.path().join("log.old")).expect("renamed");
    std::fs::write(&log, "value,n\n40,5\n").expect("written");
    assert_eq!(next(), "5,40.0");
    interrupted(edge);
    interrupted(cloud);
}

#[cfg(unix)]
#[test]
fn results_of_one_are_posted_to_another() {
    let port = free_address().port();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("http.sql"), system("http.sql", 7103, port)).expect("written");
    let run = |script: &str| {
        windrow(&["run", script, "--progress", "plain"])
            .current_dir(folder.path())
            .spawn()
            .expect("the binary starts")
    };
    let receiver = run("http.sql");
    // 4,000 readings of four rooms in 400 s, of which the receiver believes all but 40; the
    // sender starts before anybody is known to listen.
    let mut readings = "ts,room,co2\n".to_owned();
    for number in 0..4_000 {
        let (minute, second) = (number / 600, f64::from(number % 600) / 10.0);
        let co2 = if number % 100 == 7 {
            -1
        } else {
            400 + number % 4
        };
        readings += &format!(
            "2026-01-01T10:{minute:02}:{second:06.3}Z,r{},{co2}\n",
            number % 4
        );
    }
    std::fs::write(path("air.csv"), readings).expect("written");
    let sender = format!(
        "CREATE STREAM air WITH (connector = 'file', path = 'air.csv');
         CREATE SINK there WITH (connector = 'http', url = 'http://127.0.0.1:{port}/ingest/air',
           batch_rows = '300') AS SELECT * FROM air;"
    );
    std::fs::write(path("sender.sql"), sender).expect("written");
    let sent = run("sender.sql").wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(sent.status.success(), "{said}");
    // A client of another kind, while the receiver runs.
    let written = posted(
        port,
        "/write?db=house&precision=s",
        "door,room=lab open=t 1767225600\n",
    );
    assert!(written.starts_with("HTTP/1.1 204 "), "{written}");
    let late = posted(
        port,
        "/ingest/air",
        r#"{"ts":"2026-01-01T10:00:00Z","room":"r0","co2":500}"#,
    );
    let counts = r#"{"received":1,"accepted":0,"late":1,"rejected":0}"#;
    assert!(
        late.starts_with("HTTP/1.1 200 ") && late.ends_with(&format!("{counts}\n")),
        "{late}"
    );
    // Two seconds of silence, then the clock closes the last minute, which ends 20 s and the
    // bound of 5 s after the last reading: a stop comes before, and leaves it open.
    interrupted(receiver);
    let rooms = json(path("rooms.json"));
    // By hand: a room has 150 readings in each of the six closed minutes, and one in 25 of
    // room r3 is not believed (number % 100 == 7 is of r3).
    assert_eq!(rooms.len(), 24);
    for row in &rooms {
        let room = row["room"].as_str().expect("a text");
        let number: f64 = room[1..].parse().expect("a number");
        let readings = if room == "r3" { 144.0 } else { 150.0 };
        assert_eq!(row["readings"].as_f64(), Some(readings), "{row}");
        assert_eq!(row["co2"].as_f64(), Some(400.0 + number), "{row}");
    }
    let doors = json(path("doors.json"));
    assert_eq!(doors.len(), 1);
    assert_eq!(doors[0]["time"], "2026-01-01T00:00:00");
}

/// The rows of the table that an array of objects is, in the order of building and hour.
fn by_hour(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| format!("{} {}", row["building"], row["window_start"]));
    rows
}

#[cfg(unix)]
#[test]
fn wrong_values_are_cleaned_and_a_line_decides() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it has one").port();
    let panel = thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut lines = String::new();
        client.read_to_string(&mut lines).expect("text");
        let rows = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        by_hour(rows.collect())
    });
    let database = Postgres::start();
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("hours.json");
    let mut text = system("cleaning.sql", 7104, port)
        .replace("'hours.json'", &format!("'{}'", report.display()));
    let (mark, end) = ("CREATE SINK archive", "SELECT * FROM hours;\n");
    let start = text.find(mark).expect("it has an archive");
    match &database {
        Some(database) => {
            let named = "url = 'postgres://postgres@127.0.0.1:5432/postgres', password = 'windrow'";
            assert!(text.contains(named));
            let url = database.url(database.port);
            text = text.replace(named, &format!("url = '{url}'"));
        }
        None => {
            let length = text[start..].find(end).expect("it has a query") + end.len();
            text.replace_range(start..start + length, "");
        }
    }
    let script = folder.path().join("cleaning.sql");
    std::fs::write(&script, text).expect("written");
    let script = script.display().to_string();
    let run = windrow(&["run", &script, "--format", "csv", "--progress", "plain"]).spawn();
    let output = run.expect("it starts").wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");

    // By hand, from the 24 rows of the file: 6 are rejected, one has no power.
    let expected_rejects = [
        "rule,reason,rows,example",
        "not null,column building is NULL,1,\"2026-07-01T11:10:00Z,,21,77\"",
        "parse,the row has 3 fields instead of 4,1,\"2026-07-01T11:50:00Z,lab,26\"",
        "power >= 0,the check power >= 0 is false,1,\"2026-07-01T10:50:00Z,lab,24,-3\"",
        "type,column power: '9e99x' is not a DOUBLE,1,\"2026-07-01T11:20:00Z,hall,35,9e99x\"",
        "type,column power: 'broken' is not a DOUBLE,1,\"2026-07-01T10:25:00Z,hall,25,broken\"",
        "type,column ts: 'yesterday' is not a TIMESTAMP,1,\"yesterday,lab,18,52\"",
    ];
    let rejects = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(rejects.trim().lines().collect::<Vec<_>>(), expected_rejects);
    assert!(said.contains("6 rejected"), "{said}");

    // Power, and the temperatures that are numbers, as they stand in the file.
    type Readings = (&'static [f64], &'static [(f64, f64)]);
    let hours: [(&str, &str, Readings, &str); 4] = [
        (
            "hall",
            "10",
            (
                &[110., 135., 155., 140., 180.],
                &[(10., 110.), (20., 135.), (30., 155.), (40., 180.)],
            ),
            "shed load",
        ),
        (
            "hall",
            "11",
            (
                &[120.5, 144.5, 139., 170.],
                &[(15., 120.5), (25., 144.5), (35., 170.)],
            ),
            "shed load",
        ),
        (
            "lab",
            "10",
            (
                &[48., 51., 54.5, 57.5, 70.],
                &[(12., 48.), (16., 54.5), (20., 57.5), (28., 70.)],
            ),
            "keep",
        ),
        (
            "lab",
            "11",
            (&[50., 56., 59.5], &[(14., 50.), (22., 56.), (30., 59.5)]),
            "keep",
        ),
    ];
    let found = by_hour(json(report));
    let on_panel = panel.join().expect("it does not panic");
    assert_eq!((found.len(), on_panel.len()), (4, 4));
    for (place, (building, hour, (power, pairs), decision)) in hours.iter().enumerate() {
        let (mean, spread) = mean_and_spread(power);
        let (slope, intercept) = line(pairs);
        let row = &found[place];
        assert_eq!(
            (&row["building"], &row["decision"]),
            (&(*building).into(), &(*decision).into())
        );
        assert_eq!(row["window_start"], format!("2026-07-01T{hour}:00:00"));
        assert_eq!(row["readings"], power.len());
        let at_35 = intercept + slope * 35.0;
        let numbers = [
            ("mean", mean),
            ("spread", spread),
            ("slope", slope),
            ("intercept", intercept),
            ("at_35", at_35),
        ];
        for (column, expected) in numbers {
            let value = row[column].as_f64().expect("a number");
            assert!(
                (value - expected).abs() < 1e-9,
                "{column}: {value}, not {expected}"
            );
        }
        for column in ["building", "window_start", "at_35", "decision"] {
            assert_eq!(on_panel[place][column], row[column]);
        }
    }
    // By hand: Sxy = 1150, Sxx = 500.
    assert!((found[0]["slope"].as_f64().expect("a number") - 2.3).abs() < 1e-12);
    if let Some(database) = database {
        let rows = database.ask(
            "SELECT json_build_object('building', building, 'window_start', window_start, \
             'readings', readings, 'mean', mean, 'spread', spread, 'slope', slope, \
             'intercept', intercept, 'at_35', at_35, 'decision', decision) FROM hours",
        );
        let rows = rows
            .iter()
            .map(|row| serde_json::from_str(row).expect("JSON"));
        let rows = by_hour(rows.collect());
        assert_eq!(rows.len(), found.len());
        for (row, expected) in rows.iter().zip(&found) {
            for (column, value) in expected.as_object().expect("a row") {
                // PostgreSQL writes 144.0 as 144.
                match value.as_f64() {
                    Some(value) => assert_eq!(row[column].as_f64(), Some(value), "{column}"),
                    None => assert_eq!(&row[column], value),
                }
            }
        }
    }
}

/// The mean, and the standard deviation of a sample.
fn mean_and_spread(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

/// Slope and intercept of the line of least squares through points (x, y).
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let products: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let squares: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    (products / squares, y - products / squares * x)
}

fn rows(session: &Session, query: &str) -> Vec<RecordBatch> {
    let rows = session.sql(query).expect("it is planned");
    rows.collect().expect("it runs")
}

/// Counters of the one row that a query gives.
fn counters<const N: usize>(session: &Session, query: &str) -> [i64; N] {
    let batch = &rows(session, query)[0];
    std::array::from_fn(|column| batch.column(column).as_primitive::<Int64Type>().value(0))
}

#[test]
fn every_datagram_is_accounted_for() {
    let port = free_address().port();
    let folder = tempfile::tempdir().expect("a folder");
    let stored = folder.path().join("readings.parquet");
    let text = system("datagrams.sql", 7102, port)
        .replace("readings.parquet", &stored.display().to_string());
    let session = Session::new().expect("it starts");
    rows(&session, &text);
    let sent = 100_000;
    let (streams, queries) = thread::scope(|scope| {
        let running = scope.spawn(|| session.run());
        // Also where something is not as it is expected.
        let stop = Cancels(&session);
        send(port, sent);
        let received = "SELECT received, accepted, rejected, dropped FROM windrow.streams";
        let start = Instant::now();
        let streams = loop {
            let found = counters::<4>(&session, received);
            if found[0] >= sent || start.elapsed() > PATIENCE {
                break found;
            }
            thread::sleep(Duration::from_millis(50));
        };
        let accepted = "SELECT accepted, in_window, filtered, late FROM windrow.queries \
                        WHERE name = 'seconds'";
        let queries = counters::<4>(&session, accepted);
        drop(stop);
        let ended = running.join().expect("it does not panic");
        assert!(ended.is_err_and(|error| error.kind() == ErrorKind::Cancelled));
        (streams, queries)
    });
    let [received, accepted, rejected, dropped] = streams;
    assert_eq!(received, sent, "{dropped} dropped");
    assert_eq!(received, accepted + rejected + dropped);
    let [accepted_by_view, in_window, filtered, late] = queries;
    assert_eq!(accepted_by_view, accepted);
    assert_eq!(accepted, in_window + filtered + late);
    assert_eq!(filtered, 0);
    // What was dropped is anybody's guess, but some of each kind came through.
    assert!(
        rejected > 0 && late > 0 && in_window > 0,
        "{rejected} {late} {in_window}"
    );
    println!(
        "{sent} sent: {in_window} in windows, {late} late, {rejected} rejected, {dropped} dropped"
    );
}

struct Cancels<'a>(&'a Session);

impl Drop for Cancels<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Sends datagrams as fast as can be, which may be more than a small machine can take. A
/// thousandth is broken, and a thousandth late.
fn send(port: u16, count: i64) {
    let start = Instant::now();
    while UdpSocket::bind(("127.0.0.1", port)).is_ok() {
        assert!(start.elapsed() < PATIENCE, "nobody listens");
        thread::sleep(Duration::from_millis(5));
    }
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
    sender.connect(("127.0.0.1", port)).expect("it is there");
    for number in 0..count {
        let second = number / 5_000;
        let line = match number % 1_000 {
            17 => "no reading".to_string(),
            500 if second > 2 => format!("2026-01-01T10:00:00Z,s{},1.5", number % 10),
            _ => format!("2026-01-01T10:00:{second:02}Z,s{},2.5", number % 10),
        };
        sender.send(line.as_bytes()).expect("sent");
    }
}
