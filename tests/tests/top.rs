//! The live table in a terminal: what is seen, and how the terminal is left.
//!
//! `cargo build -p windrow-sql` builds the binary beforehand.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use windrow_tests::command::{binary, output, root, text};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What leaves the screen and shows the cursor.
const LEFT: &str = "\u{1b}[?1049l\u{1b}[?25h";

const LIVE: &str = "CREATE STREAM breeze (WATERMARK FOR ts)
  WITH (connector = 'generator', rate = '500', realtime = 'true');
CREATE MATERIALIZED VIEW per_second AS SELECT window_start, count(*) AS n
  FROM TUMBLE(breeze, ts, INTERVAL '1' SECOND) GROUP BY window_start, window_end;
SELECT sensor FROM breeze;";

/// Rows and columns of the terminal.
const SIZE: (u16, u16) = (30, 150);

/// The table over a script, in a terminal.
struct Top {
    session: PtySession,
    terminal: vt100::Parser,
    /// All that was written to it.
    written: Vec<u8>,
}

impl Top {
    fn new(folder: &Path, script: &str) -> Self {
        let path = folder.join("script.sql");
        fs::write(&path, script).expect("a file");
        let (rows, columns) = SIZE;
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(
                "stty rows {rows} cols {columns}; exec \"$0\" top \"$1\""
            ))
            .arg(binary())
            .arg(&path)
            .current_dir(root())
            .env("TERM", "xterm")
            .env("NO_COLOR", "1");
        let options = Options::new().timeout_ms(Some(PATIENCE.as_millis() as u64));
        Self {
            session: spawn_with_options(command, options).expect("a terminal"),
            terminal: vt100::Parser::new(rows, columns, 0),
            written: Vec::new(),
        }
    }

    /// Takes what has been written to the terminal.
    fn look(&mut self) -> String {
        while let Some(byte) = self.session.try_read() {
            // Each character is a byte.
            let byte = byte as u8;
            self.terminal.process(&[byte]);
            self.written.push(byte);
        }
        self.terminal.screen().contents()
    }

    /// Waits until a text is on the screen.
    #[track_caller]
    fn see(&mut self, wanted: &str) {
        let start = Instant::now();
        loop {
            let seen = self.look();
            if seen.contains(wanted) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{wanted:?} does not come:\n{seen}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, key: &str) {
        let typed = self.session.send(key).and_then(|_| self.session.flush());
        typed.expect("typed");
    }

    /// Waits for the end; what follows the table on a terminal that is left as it was.
    #[track_caller]
    fn see_the_end(mut self, code: i32) -> String {
        let rest = self.session.exp_eof().expect("it ends");
        self.written.extend(rest.chars().map(|byte| byte as u8));
        let status = self.session.process().wait().expect("it ends");
        let written = text(&self.written);
        let status = format!("{status:?}");
        assert!(
            status.ends_with(&format!(", {code})")),
            "{status}: {written}"
        );
        let (_, after) = written.split_once(LEFT).expect("the screen is left");
        assert!(!after.contains("\u{1b}[?1049h"), "{after}");
        after.to_owned()
    }
}

#[test]
fn a_live_script_is_shown_until_q() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut top = Top::new(folder.path(), LIVE);
    top.see("running for ");
    top.see("breeze");
    top.see("per_second");
    // A SELECT is a query like others, but its rows are not shown.
    top.see("query 1");
    top.see("q quits");
    // About 500 rows a second: after three of them a window has closed.
    top.see("running for 3.");
    let seen = top.look();
    let line = |name: &str| {
        let line = seen.lines().find(|line| line.starts_with(name));
        let words = line
            .unwrap_or_else(|| panic!("{name}: {seen}"))
            .split_whitespace();
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let received: u64 = line("breeze")[1]
        .replace(',', "")
        .parse()
        .expect("a number");
    assert!((100..5_000).contains(&received), "{seen}");
    let (query, header) = (line("per_second"), line("query "));
    assert_eq!(query[1], "running");
    let place = header
        .iter()
        .position(|word| word == "emitted")
        .expect("it is there");
    // Two headers are of two words.
    let emitted: u64 = query[place - 2].parse().expect("a number");
    assert!((1..=4).contains(&emitted), "{seen}");
    top.press("q");
    let after = top.see_the_end(0);
    assert!(after.contains("stopped after "), "{after}");
    assert!(after.contains(" rows/s"), "{after}");
}

#[test]
fn ctrl_c_quits() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut top = Top::new(folder.path(), LIVE);
    top.see("breeze");
    top.press("\u{3}");
    top.see_the_end(0);
}

#[test]
fn what_is_done_stays_until_it_was_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = folder.path().join("out.csv");
    let script = format!(
        "CREATE SINK s WITH (connector = 'file', path = '{}') AS
         SELECT sensor, value FROM 'tests/slt/data/readings.csv';
         CREATE SINK shown WITH (connector = 'stdout') AS
         SELECT 'not to be ' || 'seen' FROM 'tests/slt/data/readings.csv';",
        sink.display()
    );
    let mut top = Top::new(folder.path(), &script);
    top.see("done in ");
    // A long name is cut.
    top.see("tests/slt/data/readings.");
    let written = fs::read_to_string(&sink).expect("it is published");
    assert_eq!(written.lines().count(), 8, "{written}");
    top.press("q");
    let after = top.see_the_end(0);
    assert!(
        after.contains("done in ") && !after.contains("not to be seen"),
        "{after}"
    );
}

#[test]
fn the_last_reject_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = folder.path().join("r.csv");
    fs::write(&rows, "v\n1\nthree\n2\n").expect("a file");
    let script = format!(
        "CREATE STREAM r (v BIGINT) WITH (connector = 'file', path = '{}'); SELECT v FROM r;",
        rows.display()
    );
    let mut top = Top::new(folder.path(), &script);
    top.see("rejected last: r, ");
    top.see("r.csv:3: ");
    top.see("'three'");
    top.press("q");
    top.see_the_end(0);
}

#[test]
fn a_script_that_fails_leaves_the_screen_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let top = Top::new(folder.path(), "SELECT * FROM 'nothing.csv'");
    let after = top.see_the_end(1);
    assert!(
        after.contains("error: ") && after.contains("nothing.csv"),
        "{after}"
    );
}

#[test]
fn without_a_terminal_it_says_what_to_do_instead() {
    let output = output(&["top", "data/weather.sql"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("draws on a terminal"), "{stderr}");
    assert!(stderr.contains("--progress json"), "{stderr}");
    assert!(output.stdout.is_empty());
}
