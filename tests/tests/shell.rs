//! The shell in a terminal: what somebody types, and what is seen.
//!
//! `cargo build -p windrow-sql` builds the binary beforehand.
#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use windrow_tests::command::{binary, output, root, text, windrow};
use windrow_tests::port::free_address;
use windrow_tests::postgres::Postgres;

/// Longer than anything here takes on a slow machine.
const PATIENCE_MS: u64 = 20_000;

/// A shell whose history is kept under `state`.
fn shell(state: &Path) -> PtySession {
    let mut command = Command::new(binary());
    command
        .current_dir(root())
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .env("XDG_STATE_HOME", state);
    let options = Options::new()
        .timeout_ms(Some(PATIENCE_MS))
        .strip_ansi_escape_codes(true);
    let mut shell = spawn_with_options(command, options).expect("a terminal");
    see(&mut shell, "a statement ends with ;");
    see(&mut shell, "windrow> ");
    shell
}

/// Waits for a text; what came before it.
#[track_caller]
fn see(shell: &mut PtySession, wanted: &str) -> String {
    match shell.exp_string(wanted) {
        Ok(before) => before,
        Err(error) => panic!("{wanted:?} does not come: {error}"),
    }
}

/// Types a line and presses Enter.
fn enter(shell: &mut PtySession, line: &str) {
    shell
        .send(line)
        .and_then(|_| shell.send("\r"))
        .expect("typed");
    shell.flush().expect("typed");
}

/// Waits for the end of a shell that is content.
fn see_the_end(shell: PtySession) {
    see_it_end_with(0, shell);
}

fn see_it_end_with(code: u8, mut shell: PtySession) {
    shell.exp_eof().expect("it ends");
    let status = format!("{:?}", shell.process().wait().expect("it ends"));
    assert!(
        status.starts_with("Exited(") && status.ends_with(&format!(", {code})")),
        "{status}"
    );
}

#[test]
fn a_conversation() {
    let state = tempfile::tempdir().expect("a folder");
    let mut shell = shell(state.path());

    enter(&mut shell, "SELECT 6 * 7 AS answer,");
    see(&mut shell, "...> ");
    enter(&mut shell, "       'a;b' AS words;");
    see(&mut shell, "answer");
    see(&mut shell, " 42 ");
    see(&mut shell, " a;b ");
    see(&mut shell, "1 row");
    see(&mut shell, "windrow> ");

    enter(&mut shell, "SELCT 1;");
    see(&mut shell, "error: no statement starts with `SELCT`");
    see(&mut shell, "--> shell:1:1: SELCT");
    see(&mut shell, "= help: did you mean SELECT?");
    see(&mut shell, "windrow> ");

    enter(
        &mut shell,
        "CREATE STREAM r (WATERMARK FOR ts) WITH (connector = 'generator', \
         rate = '50', realtime = 'true');",
    );
    see(&mut shell, "windrow> ");
    enter(
        &mut shell,
        "CREATE MATERIALIZED VIEW v AS SELECT sensor FROM r;",
    );
    // The view over a live stream does not keep the prompt away.
    see(&mut shell, "windrow> ");

    enter(&mut shell, "SELECT 'row of ' || sensor AS name FROM r;");
    see(&mut shell, "row of air-");
    shell.send_control('c').expect("typed");
    see(&mut shell, "stopped after ");
    see(&mut shell, "windrow> ");

    // The session is alive: the view has rows.
    enter(&mut shell, "SELECT count(*) > 0 AS grows FROM v;");
    see(&mut shell, "grows");
    see(&mut shell, " true ");
    see(&mut shell, "windrow> ");
    enter(&mut shell, ".quit");
    see_the_end(shell);

    let history = fs::read_to_string(state.path().join("windrow/history")).expect("it is kept");
    assert!(
        history.contains("SELECT 6 * 7 AS answer,\\n       'a;b' AS words;"),
        "{history}"
    );
}

#[test]
fn ctrl_c_clears_and_ctrl_d_leaves() {
    // Where nothing can be kept, nothing fails.
    let mut shell = shell(Path::new("/dev/null"));
    enter(&mut shell, "SELECT 'begun");
    see(&mut shell, "...> ");
    shell.send_control('c').expect("typed");
    see(&mut shell, "windrow> ");
    enter(&mut shell, "SELECT 'wh' || 'ole' AS a;");
    see(&mut shell, " whole ");
    see(&mut shell, "windrow> ");
    shell.send_control('d').expect("typed");
    see_the_end(shell);
}

/// A shell in a terminal of so many columns that shows what is pressed.
struct Seen {
    session: PtySession,
    terminal: vt100::Parser,
}

impl Seen {
    fn new(columns: u16) -> Self {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(
                "stty echo echoctl rows 50 cols {columns}; exec \"$0\""
            ))
            .arg(binary())
            .current_dir(root())
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("XDG_STATE_HOME", "/dev/null");
        let options = Options::new().timeout_ms(Some(PATIENCE_MS));
        Self {
            session: spawn_with_options(command, options).expect("a terminal"),
            terminal: vt100::Parser::new(50, columns, 0),
        }
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    fn wait(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            while let Some(byte) = self.session.try_read() {
                // Each character is a byte.
                self.terminal.process(&[byte as u8]);
            }
            let seen = self.terminal.screen().contents();
            if wanted(&seen) {
                return seen;
            }
            assert!(
                start.elapsed() < Duration::from_millis(PATIENCE_MS),
                "it does not come:\n{seen}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types a line at the prompt.
    #[track_caller]
    fn enter(&mut self, line: &str) {
        self.wait(|seen| seen.trim_end().ends_with("windrow>"));
        enter(&mut self.session, line);
    }

    fn end(mut self) {
        self.enter(".quit");
        see_the_end(self.session);
    }
}

#[test]
fn ctrl_c_leaves_nothing_of_the_moving_line() {
    for columns in [80, 110] {
        let mut shell = Seen::new(columns);
        shell.enter(
            "CREATE STREAM r WITH (connector = 'generator', rate = '50', realtime = 'true');",
        );
        shell.enter("SELECT sensor FROM r WHERE value > 1e300;");
        shell.wait(|seen| seen.contains(" rows/s"));
        shell.session.send_control('c').expect("typed");
        let seen = shell.wait(|seen| seen.contains("stopped after "));
        assert!(!seen.contains(" rows/s"), "{columns}: {seen}");
        shell.end();
    }
}

/// Whether the last line is the prompt with what is typed there, and no other line is.
fn is_whole_prompt(seen: &str, typed: &str) -> bool {
    let prompt = format!("windrow> {typed}");
    seen.trim_end().lines().next_back() == Some(&prompt) && seen.matches(&prompt).count() == 1
}

#[test]
fn rows_of_a_sink_stand_above_the_prompt() {
    let mut shell = Seen::new(80);
    shell.enter("CREATE STREAM r WITH (connector = 'generator', rate = '20', realtime = 'true');");
    shell.enter(
        "CREATE SINK s WITH (connector = 'stdout', format = 'csv') AS SELECT 'row of ' || sensor FROM r;",
    );
    // Typed, and not yet entered, while rows come.
    shell.session.send("SELECT 6 * 7").expect("typed");
    shell.session.flush().expect("typed");
    let rows = |seen: &str| {
        let lines = seen.lines().map(str::trim_end);
        let whole =
            |line: &&str| line.len() == "row of air-001".len() && line.starts_with("row of air-");
        lines.filter(whole).count()
    };
    let is_seen = |seen: &str| is_whole_prompt(seen, "SELECT 6 * 7") && rows(seen) >= 5;
    let seen = shell.wait(is_seen);
    // Later rows too leave it as it is: one line for each row, and the prompt below.
    let before = rows(&seen);
    shell.wait(|seen| is_whole_prompt(seen, "SELECT 6 * 7") && rows(seen) >= before + 5);
    enter(&mut shell.session, " AS answer;");
    shell.wait(|seen| seen.contains(" 42 ") && seen.trim_end().ends_with("windrow>"));
    shell.session.send_control('d').expect("typed");
    see_the_end(shell.session);
}

#[test]
fn a_sink_that_fails_is_told_while_the_prompt_stands() {
    let mut shell = Seen::new(110);
    shell.enter("CREATE STREAM r WITH (connector = 'generator', rate = '50', realtime = 'true');");
    let sink = format!(
        "CREATE SINK s WITH (connector = 'http', url = 'http://{}/', retry_timeout = '1 s') AS \
         SELECT sensor FROM r;",
        free_address()
    );
    shell.enter(&sink);
    shell.wait(|seen| seen.trim_end().ends_with("windrow>"));
    shell.session.send("SELECT 1").expect("typed");
    shell.session.flush().expect("typed");
    let seen = shell.wait(|seen| seen.contains("= help: see whether the receiver runs"));
    assert!(seen.contains("error: sink s: posting rows 1 to "), "{seen}");
    shell.wait(|seen| is_whole_prompt(seen, "SELECT 1"));
    // It is told once.
    enter(&mut shell.session, " + 41 AS answer;");
    let seen = shell.wait(|seen| seen.contains(" 42 ") && seen.trim_end().ends_with("windrow>"));
    assert_eq!(seen.matches("error: sink s: ").count(), 1, "{seen}");
    // Rows have come since, and are lost.
    shell.enter(".quit");
    shell.wait(|seen| seen.contains(" rows came after it had failed"));
    see_it_end_with(1, shell.session);
}

#[test]
fn a_sink_that_fails_is_told_while_a_query_goes_on() {
    let mut shell = Seen::new(110);
    shell.enter("CREATE STREAM r WITH (connector = 'generator', rate = '50', realtime = 'true');");
    let sink = format!(
        "CREATE SINK s WITH (connector = 'http', url = 'http://{}/', retry_timeout = '2 s') AS \
         SELECT sensor FROM r;",
        free_address()
    );
    shell.enter(&sink);
    // It has no rows and does not end.
    shell.enter("SELECT sensor FROM r WHERE value > 1e300;");
    let seen = shell.wait(|seen| seen.contains("= help: see whether the receiver runs"));
    assert!(seen.contains("error: sink s: posting rows 1 to "), "{seen}");
    assert!(!seen.contains("stopped after "), "{seen}");
    // The moving line stands below it.
    shell.wait(|seen| {
        let last = seen.trim_end().lines().next_back();
        last.is_some_and(|last| last.contains(" rows/s"))
    });
    shell.session.send_control('c').expect("typed");
    let seen = shell.wait(|seen| seen.contains("stopped after "));
    assert_eq!(seen.matches("error: sink s: ").count(), 1, "{seen}");
    shell.enter(".quit");
    see_it_end_with(1, shell.session);
}

#[test]
fn a_row_that_a_sink_leaves_out_is_told_above_the_prompt() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let address = free_address();
    let mut shell = Seen::new(110);
    shell.enter(&format!(
        "CREATE STREAM r (a TEXT) WITH (connector = 'tcp', address = '{address}', format = 'ndjson');"
    ));
    shell.enter(&format!(
        "CREATE SINK p WITH (connector = 'postgres', url = '{}', table = 'n') AS SELECT a FROM r;",
        postgres.url(postgres.port)
    ));
    shell.wait(|seen| seen.trim_end().ends_with("windrow>"));
    shell.session.send("DROP SI").expect("typed");
    shell.session.flush().expect("typed");
    shell.wait(|seen| seen.trim_end().ends_with("windrow> DROP SI"));
    let mut client = TcpStream::connect(address).expect("it listens");
    (client.write_all(b"{\"a\":\"x\"}\n{\"a\":\"nu\\u0000l\"}\n")).expect("sent");
    let seen = shell.wait(|seen| seen.contains("further ones are counted"));
    assert!(
        seen.contains("warning: sink p: a row was left out of table 'n' of postgres"),
        "{seen}"
    );
    shell.wait(|seen| is_whole_prompt(seen, "DROP SI"));
    // The others are in the table: the sink has not failed.
    enter(&mut shell.session, "NK p;");
    let seen = shell.wait(|seen| seen.contains("all others were"));
    assert!(
        seen.contains("error: sink p: 1 row was not written to table 'n'"),
        "{seen}"
    );
    assert!(!seen.contains("has failed"), "{seen}");
    assert_eq!(postgres.ask("SELECT a FROM n"), ["x"]);
    shell.session.send_control('d').expect("typed");
    see_it_end_with(1, shell.session);
}

#[test]
fn an_end_that_waits_for_a_receiver_says_so() {
    let mut shell = Seen::new(110);
    shell.enter("CREATE STREAM s (v BIGINT);");
    // Nobody listens.
    let sink = format!(
        "CREATE SINK away WITH (connector = 'http', url = 'http://{}/') AS SELECT v FROM s;",
        free_address()
    );
    shell.enter(&sink);
    shell.enter("INSERT INTO s VALUES (1), (2), (3);");
    shell.wait(|seen| seen.trim_end().ends_with("windrow>"));
    let start = Instant::now();
    shell.enter(".quit");
    shell.wait(|seen| {
        seen.contains("stopping: sink away is delivering what it was given; Ctrl-C gives it up")
    });
    // It would try for a minute.
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    shell.session.send_control('c').expect("typed");
    shell.wait(|seen| seen.contains("error: sink away: posting rows 1 to 3 to "));
    see_it_end_with(1, shell.session);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

/// Drops a sink with these options to which three rows were given. It would be waited for half
/// a minute; it is gone soon, and `error` is told once.
fn drops_soon(options: &str, error: &str) {
    let mut shell = Seen::new(110);
    shell.enter("CREATE STREAM s (v BIGINT);");
    shell.enter(&format!(
        "CREATE SINK o WITH ({options}) AS SELECT v FROM s;"
    ));
    shell.enter("INSERT INTO s VALUES (1), (2), (3);");
    let start = Instant::now();
    shell.enter("DROP SINK o;");
    let seen = shell.wait(|seen| seen.contains("= help: see whether the receiver runs"));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(seen.contains(error), "{seen}");
    shell.enter("SELECT 6 * 7 AS answer;");
    let seen = shell.wait(|seen| seen.contains(" 42 "));
    assert_eq!(seen.matches("error: sink o: ").count(), 1, "{seen}");
    shell.session.send_control('d').expect("typed");
    see_it_end_with(1, shell.session);
}

#[test]
fn a_sink_is_dropped_though_its_receiver_is_silent() {
    // Who listens here never accepts.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it has one");
    drops_soon(
        &format!("connector = 'http', url = 'http://{address}/', linger = '0'"),
        "error: sink o: 3 rows were not posted to http://127.0.0.1:",
    );
}

#[test]
fn a_sink_over_tcp_is_dropped_though_nobody_is_there() {
    let address = free_address();
    drops_soon(
        &format!("connector = 'tcp', address = '{address}', format = 'csv'"),
        "error: sink o: 3 rows were not delivered to tcp 127.0.0.1:",
    );
}

#[test]
fn system_tables_are_read_in_a_narrow_terminal() {
    let mut shell = Seen::new(80);
    shell.enter("CREATE STREAM expected_readings (v BIGINT);");
    shell.enter("SELECT * FROM windrow.streams;");
    let seen = shell.wait(|seen| seen.contains("1 row\n"));
    let row = |name: &str| {
        let line = seen.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {seen}"));
        line.split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(row("name"), ["name", "│", "expected_readings"]);
    assert_eq!(row("received"), ["received", "│", "0"]);
    shell.enter(".schema windrow.streams");
    shell.wait(|seen| seen.contains(" received ") && seen.contains(" BIGINT"));
    shell.end();
}

#[test]
fn what_is_typed_ahead_is_not_lost() {
    let state = tempfile::tempdir().expect("a folder");
    let mut shell = shell(state.path());
    enter(
        &mut shell,
        "SELECT 'fi' || 'rst' AS a;\rSELECT 'se' ||\r 'cond' AS b;\rSELECT 'th' || 'ird' AS c;",
    );
    for word in [" first ", " second ", " third "] {
        see(&mut shell, word);
    }
    enter(&mut shell, ".quit");
    see_the_end(shell);
}

#[test]
fn what_live_sinks_were_given_is_published_at_the_end() {
    let state = tempfile::tempdir().expect("a folder");
    let path = state.path().join("out.csv");
    let mut shell = shell(state.path());
    enter(
        &mut shell,
        "CREATE STREAM r WITH (connector = 'generator', rate = '50', realtime = 'true');",
    );
    see(&mut shell, "windrow> ");
    let sink = format!(
        "CREATE SINK s WITH (connector = 'file', path = '{}') AS SELECT sensor FROM r;",
        path.display()
    );
    enter(&mut shell, &sink);
    see(&mut shell, "windrow> ");
    // It goes on while rows are looked at, and until the end.
    enter(&mut shell, "SELECT 'row of ' || sensor AS name FROM r;");
    see(&mut shell, "row of air-");
    see(&mut shell, "row of air-");
    shell.send_control('c').expect("typed");
    see(&mut shell, "windrow> ");
    assert!(!path.exists(), "a file appears when it is whole");
    enter(&mut shell, ".quit");
    see_the_end(shell);
    let written = fs::read_to_string(&path).expect("it is published");
    assert!(written.starts_with("sensor\nair-"), "{written}");
}

#[test]
fn tab_completes() {
    let state = tempfile::tempdir().expect("a folder");
    let mut shell = shell(state.path());
    enter(&mut shell, "CREATE STREAM readings (humidity BIGINT);");
    see(&mut shell, "windrow> ");
    enter(&mut shell, "descr\t read\t;");
    see(&mut shell, "describe readings");
    see(&mut shell, " humidity ");
    see(&mut shell, "windrow> ");
    enter(&mut shell, ".qu\t");
    see_the_end(shell);
}

/// Standard output and the exit code of the binary alone with a text on stdin.
fn piped(stdin: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("script.sql");
    fs::write(&path, stdin).expect("a file");
    let mut command = windrow(&[]);
    command.stdin(fs::File::open(&path).expect("it is there"));
    let output = command.output().expect("the binary starts");
    (text(&output.stdout), output.status.code())
}

#[test]
fn what_is_piped_is_a_script() {
    let script = "CREATE VIEW v AS SELECT 1 AS a;\nSELECT a + 1 AS b FROM v";
    assert_eq!(piped(script), ("b\n2\n".into(), Some(0)));
    assert_eq!(piped("SELCT 1;"), (String::new(), Some(1)));
}

#[test]
fn nothing_gets_help() {
    let output = output(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("windrow run city.sql"));
    assert_eq!(piped(" \n").1, Some(2));
}

#[test]
fn the_shells_that_complete_the_command() {
    for (shell, wanted) in [
        ("bash", "complete -F _windrow"),
        ("zsh", "#compdef windrow"),
        ("fish", "complete -c windrow"),
    ] {
        let output = output(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        assert!(script.contains(wanted), "{shell}: {script}");
        assert!(script.contains("progress"), "{shell}");
        // The shell itself reads it, and runs nothing.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("windrow");
        fs::write(&path, script).expect("written");
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(read) => {
                let said = text(&read.stderr);
                assert!(read.status.success() && said.is_empty(), "{shell}: {said}");
            }
            Err(error) => println!("skipped: {shell} cannot be asked: {error}"),
        }
    }
}
