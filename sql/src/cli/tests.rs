//! Command lines, by what they write and how they exit.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use chrono::{TimeZone, Utc};

use super::progress::{Meter, line};
use super::*;
use crate::error::{Error, ErrorKind, Result, Script};
use crate::format::Encoder;

/// An engine whose scripts are a list of commands of its own.
struct Fake;

fn rows(sensors: &[Option<&str>], values: &[f64]) -> RecordBatch {
    let sensors = Arc::new(StringArray::from(sensors.to_vec()));
    let values = Arc::new(Float64Array::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([
        ("sensor", sensors as _, true),
        ("pm25", values as _, true),
    ])
    .unwrap()
}

impl Runner for Fake {
    fn check(&self, script: &Arc<Script>) -> Result<()> {
        match script.text.find("bad") {
            None => Ok(()),
            Some(at) => Err(Error::new(ErrorKind::Plan, "this is bad")
                .at(at..at + 3)
                .in_script(script)
                .help("write good")),
        }
    }

    fn run(
        &self,
        script: &Arc<Script>,
        handler: &mut dyn ResultHandler,
        cancel: &CancelFlag,
    ) -> Result<Summary> {
        self.check(script)?;
        let first = rows(&[Some("a"), None], &[12.5, 3.0]);
        let second = rows(&[Some("überlang"), Some("b|c")], &[1.0, -0.25]);
        for word in script.text.split(' ') {
            match word {
                "begin" => handler.begin(0, &first.schema())?,
                "begin1" => handler.begin(1, &first.schema())?,
                "one" => handler.rows(0, &first)?,
                "two" => handler.rows(0, &second)?,
                "other" => handler.rows(1, &second)?,
                "end" => handler.end(0)?,
                "end1" => handler.end(1)?,
                "forever" => {
                    while !cancel.is_set() {
                        handler.rows(0, &first)?;
                    }
                }
                "interrupt" => drop(cancel.set()),
                "abandon" => return Err(Error::new(ErrorKind::Cancelled, "cancelled")),
                other => panic!("{other}"),
            }
        }
        Ok(Summary {
            progress: self.progress(),
            cancelled: cancel.is_set(),
        })
    }

    fn progress(&self) -> Progress {
        Progress {
            rows_in: 1_234_567,
            rows_out: 4,
            watermark: Some(Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap()),
            watermark_lag: Some(Duration::from_millis(3_200)),
            late: 7,
            rejected: 0,
            state_bytes: 1_500_000,
        }
    }
}

/// Writes how many rows a batch has.
#[derive(Debug)]
struct Counts;

impl Encoder for Counts {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        writeln!(out, "{} rows", records.num_rows())
            .map_err(|error| Error::new(ErrorKind::Io, "writing failed").caused_by(error))
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        writeln!(out, "end")
            .map_err(|error| Error::new(ErrorKind::Io, "writing failed").caused_by(error))
    }
}

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

struct Ran {
    code: u8,
    stdout: String,
    stderr: String,
}

struct World {
    terminal: bool,
    stdin: &'static str,
    closes_after: Option<usize>,
}

const PIPED: World = World {
    terminal: false,
    stdin: "",
    closes_after: None,
};

impl World {
    fn run(&self, args: &[&str]) -> Ran {
        let stdout = Kept {
            closes_after: self.closes_after,
            ..Kept::default()
        };
        let stderr = Kept::default();
        let mut io = Io {
            stdout: Box::new(stdout.clone()),
            stdout_is_terminal: self.terminal,
            stderr: Box::new(stderr.clone()),
            stderr_is_terminal: false,
            stdin: Box::new(self.stdin.as_bytes()) as Box<dyn Read>,
        };
        let encoder = |format: OutputFormat, _: &SchemaRef| -> Result<Box<dyn Encoder>> {
            assert!(!matches!(
                format,
                OutputFormat::Table | OutputFormat::Markdown
            ));
            Ok(Box::new(Counts))
        };
        let tools = Tools {
            runner: &|| Ok(Box::new(Fake)),
            encoder: &encoder,
            generator: &|options: &GenerateOptions| {
                let numbers = Int64Array::from_iter_values(0..options.rows as i64);
                let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap();
                Ok(Box::new(std::iter::once(Ok(batch))))
            },
        };
        let args = std::iter::once(&"windrow").chain(args).map(Into::into);
        let code = run(args, &tools, &mut io, &CancelFlag::default());
        Ran {
            code,
            stdout: stdout.text(),
            stderr: stderr.text(),
        }
    }
}

fn ran(args: &[&str]) -> Ran {
    PIPED.run(args)
}

#[test]
fn rows_go_to_stdout_in_the_chosen_format() {
    let ran = ran(&["-c", "begin one two end"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "2 rows\n2 rows\nend\n");
    let terminal = World {
        terminal: true,
        ..PIPED
    };
    assert_eq!(
        terminal.run(&["-c", "begin one two end"]).stdout,
        " sensor | pm25\n\
         --------+------\n \
          a      | 12.5\n \
          NULL   |  3.0\n \
          überlang |  1.0\n \
          b|c    | -0.25\n"
    );
}

#[test]
fn tables_of_several_queries_stand_apart() {
    let ran = ran(&[
        "--format",
        "markdown",
        "-c",
        "begin begin1 one other one end end1",
    ]);
    let first = "| sensor | pm25 |\n|:-------|-----:|\n| a      | 12.5 |\n|        |  3.0 |\n";
    let second =
        "| sensor   |  pm25 |\n|:---------|------:|\n| überlang |   1.0 |\n| b\\|c     | -0.25 |\n";
    let empty = "| sensor | pm25 |\n|:-------|-----:|\n";
    assert_eq!(ran.stdout, format!("{first}\n{second}\n{first}\n{empty}"));
}

#[test]
fn a_query_without_rows_has_a_header() {
    let ran = ran(&["--format", "table", "-c", "begin end"]);
    assert_eq!(ran.stdout, " sensor | pm25\n--------+------\n");
}

#[test]
fn errors_go_to_stderr() {
    let ran = ran(&["-c", "begin bad"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(
        ran.stderr,
        "error: this is bad\n  --> -c:1:7: bad\n   = help: write good\n"
    );
}

#[test]
fn check_reports_every_script() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("a.sql"), "bad").unwrap();
    std::fs::write(path("b.sql"), "begin").unwrap();
    std::fs::write(path("c.sql"), "also bad").unwrap();
    let ran = PIPED.run(&["check", &path("a.sql"), &path("b.sql"), &path("c.sql")]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr.matches("error: this is bad").count(), 2);
    assert!(ran.stderr.contains("c.sql:1:6: bad"));
    assert_eq!(PIPED.run(&["check", &path("b.sql")]).code, 0);
}

#[test]
fn run_reads_scripts_from_files_and_stdin() {
    let world = World {
        stdin: "begin one end",
        ..PIPED
    };
    assert_eq!(world.run(&["run", "-"]).stdout, "2 rows\nend\n");
    let ran = world.run(&["run", "/nowhere/x.sql"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .starts_with("error: /nowhere/x.sql cannot be read: ")
    );
}

#[test]
fn wrong_arguments_exit_with_2() {
    let unknown = ran(&["--format", "excel", "-c", ""]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("excel"));
    assert_eq!(ran(&["run"]).code, 2);
    assert_eq!(ran(&["--format", "csv"]).code, 2);
    assert_eq!(ran(&["generate", "--rate", "-1"]).code, 2);
    assert_eq!(ran(&["generate", "--sensors", "0"]).code, 2);
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = ran(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for word in ["Examples:", "generate", "--format", "--progress", "check"] {
        assert!(help.stdout.contains(word), "{word}");
    }
    let version = ran(&["--version"]);
    assert_eq!(
        version.stdout,
        format!("windrow {}\n", env!("CARGO_PKG_VERSION"))
    );
    // Without arguments there is help too.
    assert!(ran(&[]).stderr.contains("Usage:"));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let world = World {
        closes_after: Some(100),
        ..PIPED
    };
    for format in ["csv", "table"] {
        let ran = world.run(&["--format", format, "-c", "begin forever end"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{format}");
    }
    assert_eq!(world.run(&["generate", "--rows", "5"]).code, 0);
}

#[test]
fn cancelling_stops_cleanly() {
    let ran = ran(&[
        "--progress",
        "plain",
        "-c",
        "interrupt begin one end",
        "-c",
        "bad",
    ]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stdout, "2 rows\nend\n");
    assert!(ran.stderr.starts_with("stopped in 0."), "{}", ran.stderr);
    assert_eq!(super::tests::ran(&["-c", "abandon"]).code, 130);
}

#[test]
fn binary_formats_are_not_for_a_terminal() {
    let terminal = World {
        terminal: true,
        ..PIPED
    };
    let ran = terminal.run(&["--format", "parquet", "-c", "begin"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(
        ran.stderr,
        "error: parquet is not for a terminal\n   = help: send stdout to a file or a pipe, or choose another --format\n"
    );
    let ran = PIPED.run(&["--format", "arrow", "-c", "begin one end begin1"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .starts_with("error: arrow holds the rows of one query only")
    );
}

#[test]
fn generate_writes_to_stdout_or_a_file() {
    assert_eq!(ran(&["generate", "--rows", "5"]).stdout, "5 rows\nend\n");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.md");
    let text = path.display().to_string();
    let ran = ran(&["generate", "--rows", "2", "--output", &text]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        "|   n |\n|----:|\n|   0 |\n|   1 |\n"
    );
}

#[test]
fn progress_in_one_line() {
    assert_eq!(
        line(&Fake.progress(), 1_234_567.0),
        "1,234,567 rows · 1.2 M rows/s · watermark 2026-01-02 03:04:05 (3.2 s behind) · 7 late · \
         0 rejected · state 1.50 MB · 4 rows out"
    );
    let start = Instant::now();
    let mut meter = Meter::new(start, 100);
    assert_eq!(meter.rate(start + Duration::from_secs(2), 300), 100.0);
    assert_eq!(meter.rate(start + Duration::from_secs(3), 350), 50.0);
    assert_eq!(meter.rate(start + Duration::from_secs(3), 350), 0.0);
}
