//! The binary from end to end: what a newcomer types, and what comes out.
//!
//! `cargo build -p windrow-sql` builds the binary beforehand.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use windrow_tests::command::{answer, output, root, text, windrow};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The rows of a CSV text by column name; no field here holds a comma or a quote.
fn csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").split(',').collect();
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields.len(), header.len(), "{line}");
            (header.iter().zip(fields))
                .map(|(name, field)| {
                    (
                        name.trim_matches('"').into(),
                        field.trim_matches('"').into(),
                    )
                })
                .collect()
        })
        .collect()
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    let field = &row[column];
    field
        .parse()
        .unwrap_or_else(|_| panic!("{column} is {field:?} in {row:?}"))
}

/// Reads lines on a thread of its own, so that a test can wait for one only so long.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = child.stdout.take().expect("standard output is a pipe");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[test]
fn daily_means_of_a_file() {
    let answer = answer(&[
        "--format",
        "csv",
        "-c",
        "SELECT origin, window_start, avg(temp) t, count(*) n \
         FROM TUMBLE('data/weather.csv', time_hour, INTERVAL '1' DAY) \
         GROUP BY origin, window_start ORDER BY 1, 2",
    ]);
    let days = csv(&answer);

    let file = fs::read_to_string(root().join("data/weather.csv")).expect("the sample is there");
    let hours = csv(&file);
    let of = |station: &str| {
        (days.iter())
            .filter(|row| row["origin"] == station)
            .map(|row| number(row, "n"))
            .sum::<f64>()
    };
    for station in ["EWR", "JFK", "LGA"] {
        let rows = hours.iter().filter(|row| row["origin"] == station).count();
        assert!(rows > 8_000, "{station} has {rows} rows in the file");
        assert_eq!(of(station), rows as f64, "{station}");
    }

    // The means again, from the text of the file.
    let mut temperatures: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for row in &hours {
        let day = row["time_hour"][..10].to_owned();
        let values = temperatures
            .entry((row["origin"].clone(), day))
            .or_default();
        values.extend(row["temp"].parse::<f64>());
    }
    assert_eq!(days.len(), temperatures.len());
    for (day, ((origin, date), values)) in days.iter().zip(&temperatures) {
        assert_eq!(
            (&day["origin"], &day["window_start"][..10]),
            (origin, date.as_str())
        );
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((number(day, "t") - mean).abs() < 1e-9, "{day:?}: {mean}");
    }
}

#[test]
fn no_row_of_a_file_is_late() {
    let answer = answer(&[
        "--format",
        "csv",
        "-c",
        "CREATE MATERIALIZED VIEW days AS SELECT origin, window_start, count(*) AS n \
         FROM TUMBLE('data/weather.csv', time_hour, INTERVAL '1' DAY) GROUP BY origin, window_start; \
         SELECT (SELECT count(*) FROM late('data/weather.csv')) AS late, (SELECT sum(n) FROM days) AS n",
    ]);
    let file = fs::read_to_string(root().join("data/weather.csv")).expect("the sample is there");
    let rows = file.lines().count() - 1;
    assert_eq!(answer.trim(), format!("late,n\n0,{rows}"));
}

/// One run over a generated stream in a pipe.
fn through_a_pipe(format: &str, rows: u64) {
    let mut generator = windrow(&[
        "generate",
        "--rows",
        &rows.to_string(),
        "--sensors",
        "5",
        "--format",
        format,
    ])
    .spawn()
    .expect("the generator starts");
    let readings = generator.stdout.take().expect("standard output is a pipe");
    let output = windrow(&[
        "--format",
        "csv",
        "-c",
        "SELECT sensor, window_start, avg(value), count(*) AS n \
         FROM TUMBLE(stdin, ts, INTERVAL '1' MINUTE) GROUP BY 1, 2",
    ])
    .stdin(readings)
    .output()
    .expect("the binary starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(generator.wait().expect("it ends").success());
    let minutes = csv(&text(&output.stdout));
    let total: f64 = minutes.iter().map(|row| number(row, "n")).sum();
    assert_eq!(total, rows as f64);
    let mut sensors: Vec<&str> = minutes.iter().map(|row| row["sensor"].as_str()).collect();
    sensors.sort_unstable();
    sensors.dedup();
    assert_eq!(sensors.len(), 5);
}

#[test]
fn a_generated_stream_through_a_pipe() {
    through_a_pipe("csv", 20_000);
}

#[test]
fn a_generated_stream_of_json_lines_through_a_pipe() {
    through_a_pipe("ndjson", 20_000);
}

const LIVE: &str = "CREATE STREAM readings (ts TIMESTAMP, v DOUBLE, \
     WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (connector = 'stdin', format = 'csv'); \
     SELECT window_start, sum(v) AS total FROM TUMBLE(readings, ts, INTERVAL '10' SECOND) \
     GROUP BY window_start, window_end";

/// Rows of which the last closes the first window and leaves the second open.
const READINGS: &str = "ts,v\n\
     2026-01-01T00:00:01Z,1.5\n\
     2026-01-01T00:00:05Z,2.0\n\
     2026-01-01T00:00:12Z,4.0\n";

/// A session over a pipe that has read [`READINGS`] and has given the first window.
fn live() -> (Child, mpsc::Receiver<String>) {
    let mut child = windrow(&["--format", "csv", "-c", LIVE])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let lines = lines_of(&mut child);
    let writer = child.stdin.as_mut().expect("standard input is a pipe");
    writer.write_all(READINGS.as_bytes()).expect("it reads");
    writer.flush().expect("it reads");
    let header = lines
        .recv_timeout(PATIENCE)
        .expect("a header while the writer waits");
    assert_eq!(header, "window_start,total");
    let first = lines
        .recv_timeout(PATIENCE)
        .expect("a window while the writer waits");
    assert!(
        first.starts_with("2026-01-01T00:00:00") && first.ends_with(",3.5"),
        "{first}"
    );
    (child, lines)
}

#[test]
fn a_window_is_printed_while_the_writer_still_waits() {
    let (mut child, lines) = live();
    // The end of the input closes the second window.
    drop(child.stdin.take());
    let second = lines.recv_timeout(PATIENCE).expect("the last window");
    assert!(
        second.starts_with("2026-01-01T00:00:10") && second.ends_with(",4.0"),
        "{second}"
    );
    assert!(lines.recv_timeout(PATIENCE).is_err(), "nothing follows");
    assert!(child.wait().expect("it ends").success());
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_at_once_and_leaves_windows_open() {
    let (mut child, lines) = live();
    // Waiting would close it: the end of the rows, not the interrupt, might come first.
    let stdin = child.stdin.take();
    let asked = Instant::now();
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(interrupt.success());
    let status = child.wait().expect("it ends");
    let took = asked.elapsed();
    assert!(took < Duration::from_millis(200), "it took {took:?}");
    assert_eq!(status.code(), Some(0), "stopping is no failure");
    let rest: Vec<String> = lines.iter().collect();
    assert_eq!(rest, Vec::<String>::new(), "stopping is not ending");
    let mut told = String::new();
    let mut stderr = child.stderr.take().expect("standard error is a pipe");
    stderr.read_to_string(&mut told).expect("text");
    let (stopped, left) = told.split_once('\n').expect("two lines");
    assert!(stopped.starts_with("stopped after "), "{told}");
    assert_eq!(left, "1 window was still open and not given out\n");
    drop(stdin);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = windrow(&["generate", "--format", "csv"])
        .spawn()
        .expect("the binary starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
    let mut header = String::new();
    stdout.read_line(&mut header).expect("a line");
    assert!(header.contains("sensor"), "{header}");
    drop(stdout);
    let status = child.wait().expect("it ends");
    let mut errors = String::new();
    let mut stderr = child.stderr.take().expect("standard error is a pipe");
    stderr.read_to_string(&mut errors).expect("text");
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn exit_codes() {
    assert_eq!(output(&["-c", "SELECT 1 AS one"]).status.code(), Some(0));
    for sql in [
        "SELECT * FROM TUMBLE('no/such.csv', ts, INTERVAL '1' DAY)",
        "SELCT 1",
    ] {
        let failed = output(&["-c", sql]);
        assert_eq!(failed.status.code(), Some(1), "{sql}");
        assert_eq!(text(&failed.stdout), "", "errors are no data");
        assert!(
            text(&failed.stderr).contains("error"),
            "{}",
            text(&failed.stderr)
        );
    }
    assert_eq!(output(&["--no-such-option"]).status.code(), Some(2));
}

#[test]
fn the_version_says_which_vector_instructions_run() {
    let version = answer(&["--version"]);
    let levels = ["baseline", "avx2", "avx512"];
    let is_one = |level: &&str| {
        version == format!("windrow {} (simd: {level})\n", env!("CARGO_PKG_VERSION"))
    };
    assert_eq!(
        levels.iter().filter(|level| is_one(level)).count(),
        1,
        "{version}"
    );

    let forced = |level: &str, arguments: &[&str]| {
        let mut command = windrow(arguments);
        command
            .env("WINDROW_SIMD", level)
            .output()
            .expect("the binary starts")
    };
    let baseline = text(&forced("baseline", &["--version"]).stdout);
    assert!(baseline.ends_with("(simd: baseline)\n"), "{baseline}");

    let refused = forced("sse9", &["-c", "SELECT 1"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        text(&refused.stderr),
        "error: WINDROW_SIMD is 'sse9'; it can be baseline, avx2, avx512\n"
    );
}

#[test]
fn a_script_is_checked_without_being_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, sql: &str| {
        let path = folder.path().join(name);
        fs::write(&path, sql).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let good = write("good.sql", "SELECT * FROM 'data/weather.csv' LIMIT 1;\n");
    let bad = write(
        "bad.sql",
        "SELECT 1;\nSELECT nosuchcolumn FROM 'data/weather.csv';\n",
    );
    let checked = output(&["check", &good]);
    assert_eq!(
        (checked.status.code(), text(&checked.stdout)),
        (Some(0), String::new())
    );
    let checked = output(&["check", &bad]);
    assert_eq!(checked.status.code(), Some(1));
    // The error names the file, the line and the word.
    let errors = text(&checked.stderr);
    assert!(
        errors.contains("bad.sql:2:8") && errors.contains("nosuchcolumn"),
        "{errors}"
    );
}

#[test]
fn three_views_read_a_file_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("readings.csv");
    let mut readings = String::from("ts,k,v\n");
    for second in 0..50_000 {
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        readings += &format!(
            "2026-01-01T{hour:02}:{minute:02}:{:02}Z,k{},1.0\n",
            second % 60,
            second % 7
        );
    }
    fs::write(&path, &readings).expect("a file");
    let view = |name: &str, call: &str| {
        format!(
            "CREATE MATERIALIZED VIEW {name} AS SELECT k, window_start, count(*) AS n FROM {call} \
             GROUP BY k, window_start, window_end; "
        )
    };
    let script = format!(
        "CREATE STREAM s (ts TIMESTAMP, k TEXT, v DOUBLE, WATERMARK FOR ts) \
         WITH (connector = 'file', path = '{}', format = 'csv'); {}{}{}\
         SELECT (SELECT sum(n) FROM a) AS a, (SELECT sum(n) FROM b) AS b, (SELECT sum(n) FROM c) AS c, \
         (SELECT received FROM windrow.streams) AS received, (SELECT bytes FROM windrow.streams) AS bytes",
        path.display(),
        view("a", "TUMBLE(s, ts, INTERVAL '1' MINUTE)"),
        view("b", "TUMBLE(s, ts, INTERVAL '1' HOUR)"),
        view("c", "HOP(s, ts, INTERVAL '1' MINUTE, INTERVAL '2' MINUTE)"),
    );
    let answer = answer(&["--format", "csv", "-c", &script]);
    assert_eq!(
        answer.trim(),
        format!(
            "a,b,c,received,bytes\n50000,50000,100000,50000,{}",
            readings.len()
        )
    );
}

/// What Python's `csv` and `math.fsum` find in the files of twelve stations: hours with
/// a value, hours above 75 µg/m³, the worst day and its mean; windows of 24 hours (one
/// starts each hour) with a mean above 75, the start of the worst of them and its mean.
const BEIJING: &str = "\
station,valid,above,worst_day,worst,slides_above,worst_start,worst_slide
Aotizhongxin,34139,13895,2015-12-25,512.2916666666666,14814,2015-11-30T14,533.695652173913
Changping,34290,11863,2017-01-01,433.4583333333333,12434,2017-01-01T04,467.9166666666667
Dingling,34285,10748,2015-12-01,418.625,11369,2015-12-25T14,513.125
Dongsi,34314,14543,2015-12-25,567.4166666666666,15501,2015-11-30T16,579.7083333333334
Guanyuan,34448,14236,2015-12-25,536.0833333333334,15006,2015-11-30T16,568.5416666666666
Gucheng,34418,14257,2015-12-01,519.75,15115,2015-12-25T08,571.75
Huairou,34111,11538,2015-12-01,445.9583333333333,12032,2015-12-01T05,460.14285714285717
Nongzhanguan,34436,14164,2015-12-25,514.0,15082,2015-11-30T16,553.9583333333334
Shunyi,34151,13319,2015-12-01,514.625,14179,2014-02-25T19,527.3076923076923
Tiantan,34387,13934,2015-12-25,499.3333333333333,14729,2015-11-30T14,539.875
Wanliu,34682,14223,2017-01-01,481.2916666666667,15167,2015-11-30T17,517.125
Wanshouxigong,34368,14282,2015-12-25,536.625,15223,2015-11-30T14,580.6666666666666
";

/// Hours of each station from 2013-03-01 to 2017-02-28.
const BEIJING_HOURS: f64 = 35_064.0;

#[test]
fn four_years_of_air_in_twelve_files() {
    let folder = root().join("../shared/data/beijing");
    if !folder.exists() {
        println!("skipped: there is no {}", folder.display());
        return;
    }
    let script = "CREATE STREAM air (\
           year INT, month INT, day INT, hour INT, \"PM2.5\" DOUBLE, station TEXT, \
           ts TIMESTAMP AS (to_timestamp_seconds( \
             date_part('epoch', make_date(year, month, day))::BIGINT + hour * 3600)), \
           WATERMARK FOR ts AS ts - INTERVAL '1' HOUR) \
         WITH (connector = 'file', path = '../shared/data/beijing/*.csv', format = 'csv', null_value = 'NA'); \
         CREATE MATERIALIZED VIEW days AS \
           SELECT station, window_start, avg(\"PM2.5\") AS mean, count(*) AS n, count(\"PM2.5\") AS valid, \
             count(*) FILTER (WHERE \"PM2.5\" > 75) AS above \
           FROM TUMBLE(air, ts, INTERVAL '1' DAY) GROUP BY station, window_start, window_end; \
         CREATE MATERIALIZED VIEW slides AS \
           SELECT station, window_start, avg(\"PM2.5\") AS mean \
           FROM HOP(air, ts, INTERVAL '1' HOUR, INTERVAL '24' HOUR) GROUP BY station, window_start, window_end; \
         SELECT d.station, d.n, d.valid, d.above, d.worst, d.worst_day, s.slides, s.above AS slides_above, \
           s.worst AS worst_slide, s.worst_start FROM ( \
             SELECT station, sum(n) AS n, sum(valid) AS valid, sum(above) AS above, max(mean) AS worst, \
               first_value(window_start ORDER BY mean DESC NULLS LAST) AS worst_day FROM days GROUP BY station) AS d \
         JOIN ( \
             SELECT station, count(*) AS slides, count(*) FILTER (WHERE mean > 75) AS above, max(mean) AS worst, \
               first_value(window_start ORDER BY mean DESC NULLS LAST) AS worst_start FROM slides GROUP BY station) AS s \
         ON d.station = s.station ORDER BY d.station";
    let rows = csv(&answer(&["--format", "csv", "-c", script]));
    let expected = csv(BEIJING);
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(number(row, "n"), BEIJING_HOURS, "{row:?}");
        assert_eq!(number(row, "slides"), BEIJING_HOURS + 23.0, "{row:?}");
        for column in ["station", "valid", "above", "slides_above"] {
            assert_eq!(row[column], expected[column], "{column} in {row:?}");
        }
        for column in ["worst_day", "worst_start"] {
            assert!(
                row[column].starts_with(&expected[column]),
                "{column} in {row:?}"
            );
        }
        for column in ["worst", "worst_slide"] {
            let distance = number(row, column) - number(expected, column);
            assert!(distance.abs() < 1e-9, "{column} in {row:?}");
        }
    }
}
