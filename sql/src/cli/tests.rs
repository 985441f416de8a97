//! What a process cannot show: terminals, streams that fail or stand still.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use arrow::array::{Float64Array, RecordBatch, StringArray};
use clap::{CommandFactory, Parser};
use unicode_width::UnicodeWidthStr;

use super::output::{Output, Sharing};
use super::pipe::Pipe;
use super::progress::{Meter, line, warnings};
use super::*;
use crate::connector::generator::GeneratorOptions;
use crate::format::encode::OutputFormat;
use crate::session::{Losses, Progress, ResultHandler};

/// A stream that keeps what is written, and may be closed after some bytes.
#[derive(Clone, Default)]
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    closes_after: Option<usize>,
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.bytes.lock().unwrap();
        if self.closes_after.is_some_and(|limit| kept.len() >= limit) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream whose reader has fallen asleep.
#[derive(Clone, Default)]
struct Stuck(Arc<(Mutex<bool>, Condvar)>);

impl Stuck {
    fn wake(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let awake = self.0.0.lock().unwrap();
        let _awake = self.0.1.wait_while(awake, |awake| !*awake).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
struct Ran {
    code: u8,
    stdout: String,
    stderr: String,
}

#[derive(Default)]
struct World {
    width: Option<u16>,
    stdin: &'static str,
    stdin_is_terminal: bool,
    closes_after: Option<usize>,
    /// Stopped as soon as it starts.
    stopped: bool,
}

impl World {
    fn run(&self, args: &[&str]) -> Ran {
        let stdout = Kept {
            closes_after: self.closes_after,
            ..Kept::default()
        };
        let (code, stderr) = self.run_to(Box::new(stdout.clone()), args);
        Ran {
            code,
            stdout: stdout.text(),
            stderr,
        }
    }

    fn run_to(&self, stdout: Box<dyn Write + Send>, args: &[&str]) -> (u8, String) {
        let stderr = Kept::default();
        let stopped = self.stopped;
        let mut io = Io {
            stdout,
            stdout_width: self.width,
            stderr: Box::new(stderr.clone()),
            stderr_is_terminal: false,
            stdin: Box::new(self.stdin.as_bytes()) as Box<dyn Read>,
            stdin_is_terminal: self.stdin_is_terminal,
            on_start: Box::new(move |cancel| cancel.store(stopped, Ordering::SeqCst)),
        };
        let args = std::iter::once(&"windrow").chain(args).map(Into::into);
        let code = run(args, &mut io);
        (code, stderr.text())
    }
}

fn terminal(width: u16) -> World {
    World {
        width: Some(width),
        ..World::default()
    }
}

#[test]
fn on_a_terminal_rows_are_a_table_as_wide_as_it() {
    let sql = "SELECT a, NULL AS b, repeat('x', 100) AS c FROM (VALUES (1), (2), (3), (4)) t(a)";
    let ran = terminal(40).run(&["-c", sql]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("│ 1 ┆ NULL ┆ xxx"), "{}", ran.stdout);
    assert!(ran.stdout.contains("x… │"), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.width() <= 40));
    assert!(ran.stdout.ends_with("4 rows\n"));
    // Few rows that are wider are whole.
    let ran = terminal(40).run(&["-c", "SELECT 1 AS a, repeat('x', 100) AS long"]);
    let whole = format!("── row 1 ──\na    │ 1\nlong │ {}\n1 row\n", "x".repeat(100));
    assert_eq!(ran.stdout, whole);
    // Elsewhere they are CSV, with nothing for NULL.
    let piped = World::default().run(&["-c", "SELECT 1 AS a, NULL AS b"]);
    assert_eq!(piped.stdout, "a,b\n1,\n");
}

#[test]
fn binary_formats_are_not_for_a_terminal() {
    for args in [
        &["--format", "parquet", "-c", "SELECT 1"][..],
        &["generate", "--rows", "1", "--format", "arrow"],
    ] {
        let ran = terminal(80).run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        assert!(
            ran.stderr
                .contains("is not for a terminal\n   = help: send stdout to a file")
        );
    }
}

#[test]
fn a_reader_that_has_gone_ends_everything_quietly() {
    let world = World {
        closes_after: Some(100),
        ..World::default()
    };
    let endless = "CREATE STREAM r WITH (connector = 'generator', rows = 'endless');";
    for query in [
        "SELECT ts, sensor FROM r",
        "CREATE SINK s WITH (connector = 'stdout') AS SELECT ts, sensor FROM r",
    ] {
        for format in ["csv", "table", "json"] {
            let ran = world.run(&["--format", format, "-c", &format!("{endless}{query}")]);
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{query} {format}");
        }
    }
    assert_eq!(world.run(&["generate"]).code, 0);
}

#[test]
fn stopping_ends_what_would_go_on_for_ever() {
    let world = World {
        stopped: true,
        ..World::default()
    };
    let sql = "CREATE STREAM r WITH (connector = 'generator', rows = 'endless'); SELECT ts FROM r";
    let ran = world.run(&["--format", "json", "-c", sql]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.starts_with("stopped after 0."), "{}", ran.stderr);
    // What was begun is closed.
    assert_eq!(ran.stdout, "[]\n");
    assert_eq!(world.run(&["--progress", "off", "-c", sql]).stderr, "");
    assert_eq!(world.run(&["generate"]).code, 0);
}

#[test]
fn a_file_of_so_many_readings_is_whole_or_absent() {
    let world = World {
        stopped: true,
        ..World::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.csv");
    let name = path.to_str().unwrap();
    let ran = world.run(&["generate", "--rows", "1000", "--output", name]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.stderr,
        format!("not written: '{name}': stopped before its last row\n")
    );
    assert!(!path.exists());
    // Endless ones have no other end.
    let ran = world.run(&["generate", "--rows", "endless", "--output", name]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(path.exists());
}

#[test]
fn a_reader_that_sleeps_does_not_hold_up_the_end() {
    let world = World {
        stopped: true,
        ..World::default()
    };
    let sql = "CREATE STREAM r WITH (connector = 'generator', rows = 'endless');
               CREATE SINK s WITH (connector = 'stdout') AS SELECT ts FROM r";
    for args in [&["-c", "SELECT 1"][..], &["-c", sql], &["generate"]] {
        let asleep = Stuck::default();
        let started = Instant::now();
        assert_eq!(world.run_to(Box::new(asleep.clone()), args).0, 0);
        // Far more than it takes, for a busy machine.
        assert!(started.elapsed() < Duration::from_secs(5), "{args:?}");
        asleep.wake();
    }
}

#[test]
fn a_check_does_not_wait_for_somebody_to_type() {
    let world = World {
        stdin: "SELECT * FROM stdin",
        stdin_is_terminal: true,
        ..World::default()
    };
    let ran = world.run(&["check", "-"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .starts_with("error: the columns of stdin are not known here\n  --> stdin:1:"),
        "{}",
        ran.stderr
    );
    let declared = World {
        stdin: "CREATE STREAM s (a BIGINT) WITH (connector = 'stdin'); SELECT a FROM s",
        ..world
    };
    assert_eq!(declared.run(&["check", "-"]).stderr, "stdin: ok\n");
}

#[test]
fn generate_takes_every_option_of_the_generator() {
    let command = args::Command::command();
    let generate = command.find_subcommand("generate").expect("is there");
    let flags: Vec<String> = (generate.get_arguments())
        .filter_map(|argument| Some(argument.get_long()?.replace('-', "_")))
        .collect();
    for name in GeneratorOptions::NAMES {
        // How many rows are made at once is nobody's concern here.
        assert!(
            name == "batch_rows" || flags.contains(&name.to_owned()),
            "{name}"
        );
    }
    // What help says of defaults.
    let args = [
        "windrow",
        "generate",
        "--sensors",
        "100",
        "--rate",
        "1000",
        "--seed",
        "42",
        "--disorder",
        "0",
        "--delay-share",
        "0.2",
        "--loss",
        "0",
        "--duplicates",
        "0",
        "--spikes",
        "0",
        "--stuck",
        "0",
        "--silent",
        "0",
        "--nulls",
        "0",
        "--theme",
        "city",
    ];
    let given = args::Command::try_parse_from(args).expect("they fit");
    let Some(args::Action::Generate(given)) = given.action else {
        panic!("another command");
    };
    let endless = GeneratorOptions {
        rows: None,
        ..GeneratorOptions::default()
    };
    assert_eq!(given.plan().expect("they fit").options, endless);
}

fn rows(sensors: &[Option<&str>], values: &[f64]) -> RecordBatch {
    let sensors = Arc::new(StringArray::from(sensors.to_vec()));
    let values = Arc::new(Float64Array::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([
        ("sensor", sensors as _, true),
        ("pm25", values as _, true),
    ])
    .unwrap()
}

fn pipe(out: impl Write + Send + 'static) -> (Pipe, Arc<AtomicBool>) {
    let cancel = Arc::new(AtomicBool::new(false));
    let pipe = Pipe::new(Box::new(out), cancel.clone(), |write| write()).unwrap();
    (pipe, cancel)
}

#[test]
fn rows_of_several_statements_stand_apart() {
    let first = rows(&[Some("a"), None], &[12.5, 3.0]);
    let second = rows(&[Some("überlang")], &[-0.25]);
    let out = Kept::default();
    let mut output = Output::new(
        OutputFormat::Markdown,
        None,
        pipe(out.clone()).0,
        Sharing::default(),
    );
    for records in [&first, &second] {
        output.begin(&records.schema()).unwrap();
        output.rows(records).unwrap();
        output.end().unwrap();
    }
    output.close().unwrap();
    let head = "| sensor | pm25 |\n|---|---:|\n";
    assert_eq!(
        out.text(),
        format!("{head}| a | 12.5 |\n|  | 3.0 |\n\n{head}| überlang | -0.25 |\n")
    );
    let mut output = Output::new(
        OutputFormat::Parquet,
        None,
        pipe(Kept::default()).0,
        Sharing::default(),
    );
    output.begin(&first.schema()).unwrap();
    output.end().unwrap();
    let error = output
        .begin(&first.schema())
        .expect_err("one file, one table");
    assert_eq!(error.message(), "parquet holds the rows of one query only");
}

#[test]
fn rows_are_seen_when_nothing_more_is_there_for_now() {
    for format in [OutputFormat::Csv, OutputFormat::Table] {
        let out = Kept::default();
        let (pipe, _) = pipe(out.clone());
        let mut output = Output::new(format, None, pipe.clone(), Sharing::default());
        let records = rows(&[Some("first")], &[1.0]);
        output.begin(&records.schema()).unwrap();
        output.rows(&records).unwrap();
        output.flush().unwrap();
        pipe.drain().unwrap();
        assert!(out.text().contains("first"), "{format}");
    }
}

#[test]
fn a_pipe_writes_in_order_and_no_more_than_is_taken() {
    let out = Kept::default();
    let (pipe, _) = pipe(out.clone());
    let mut expected = String::new();
    for number in 0..1_000 {
        let chunk = format!("{number}\n");
        expected.push_str(&chunk);
        pipe.send(chunk.into_bytes()).unwrap();
    }
    pipe.drain().unwrap();
    assert_eq!(out.text(), expected);

    let asleep = Stuck::default();
    let (pipe, cancel) = super::tests::pipe(asleep.clone());
    cancel.store(true, Ordering::SeqCst);
    let mut taken = 0;
    while pipe.send(vec![0; 1 << 20]).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 4);
    asleep.wake();
}

/// A stream that tells of each write and keeps it when it is awake.
struct Told {
    begun: mpsc::Sender<()>,
    asleep: Stuck,
    kept: Kept,
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The test may have heard enough.
        let _ = self.begun.send(());
        self.asleep.write(bytes)?;
        self.kept.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_waits_in_a_pipe_can_be_given_up() {
    let (begun, begins) = mpsc::channel();
    let (asleep, kept) = (Stuck::default(), Kept::default());
    let (pipe, _) = pipe(Told {
        begun,
        asleep: asleep.clone(),
        kept: kept.clone(),
    });
    pipe.send(b"written ".to_vec()).unwrap();
    begins.recv().unwrap();
    pipe.send(b"given up ".to_vec()).unwrap();
    pipe.clear();
    asleep.wake();
    pipe.drain().unwrap();
    pipe.send(b"after it".to_vec()).unwrap();
    pipe.drain().unwrap();
    assert_eq!(kept.text(), "written after it");
}

#[test]
fn progress_in_one_line() {
    let progress = Progress {
        rows: 1_234_567,
        bytes: 455,
        bytes_total: Some(1_000),
        late: 7,
        rejected: 0,
        dropped: 0,
        state_bytes: 1_500_000,
        open_windows: 3,
        // 2026-01-02T03:04:05Z
        watermark_ms: Some(1_767_323_045_000),
        is_live: true,
    };
    assert_eq!(
        line(&progress, 1_234_567.0, 1_767_323_048_200),
        "1,234,567 rows · 1.2 M rows/s · 45 % · watermark 2026-01-02 03:04:05 (3.2 s behind) · \
         7 late · 0 rejected · state 1.50 MB"
    );
    let bounded = Progress {
        is_live: false,
        bytes_total: None,
        ..progress
    };
    assert_eq!(
        line(&bounded, 950.0, 0),
        "1,234,567 rows · 950 rows/s · watermark 2026-01-02 03:04:05 · 7 late · 0 rejected · \
         state 1.50 MB"
    );
    let overrun = Progress {
        dropped: 12_000,
        ..bounded
    };
    assert!(line(&overrun, 950.0, 0).contains(" · 0 rejected · 12,000 dropped · state"));
    let start = Instant::now();
    let mut meter = Meter::new(start, 100);
    assert_eq!(meter.rate(start + Duration::from_secs(2), 300), 100.0);
    assert_eq!(meter.rate(start + Duration::from_secs(3), 350), 50.0);
    assert_eq!(meter.rate(start + Duration::from_secs(3), 350), 0.0);
}

#[test]
fn rows_that_are_in_no_result_are_warned_of() {
    let reject = windrow_core::stream::Reject {
        text: "10.7".into(),
        position: "x.csv:3".into(),
        reason: "column v: '10.7' is not a BIGINT".into(),
        rule: "type".into(),
    };
    let losses = |rejected, late| Losses {
        stream: "x.csv".into(),
        rejected,
        example: Some(reject.clone()),
        late,
    };
    assert_eq!(
        warnings(&[losses(181, false)], 0, ", in the same script"),
        [
            "181 rows of 'x.csv' rejected, such as x.csv:3: column v: '10.7' is not a BIGINT\n   \
             = help: SELECT * FROM rejected('x.csv') has them, in the same script"
        ]
    );
    assert_eq!(
        warnings(&[losses(0, true)], 1, ""),
        ["1 row too late for all windows of a query\n   \
             = help: SELECT * FROM late('x.csv') has them"]
    );
}
