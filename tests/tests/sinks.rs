//! What the binary leaves in files and pipes, however it ends.
//!
//! `cargo build -p windrow-sql` builds the binary beforehand.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use windrow_tests::command::{answer, output, text, windrow};
use windrow_tests::port::free_address;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// All names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = (fs::read_dir(folder).expect("a folder"))
        .map(|entry| entry.expect("readable").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what} never was");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The end of a process: its code, and what it said on stderr.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let status = child.wait().expect("it ends");
    let mut errors = String::new();
    let mut stderr = child.stderr.take().expect("standard error is a pipe");
    stderr.read_to_string(&mut errors).expect("text");
    (status.code(), errors)
}

fn sink(name: &str, path: &Path, more: &str) -> String {
    format!(
        "CREATE SINK {name} WITH (connector = 'file', path = '{}'{more})",
        path.display()
    )
}

/// A refused command: nothing on stdout, the code 1, the error.
fn refusal(sql: &str) -> String {
    let failed = output(&["-c", sql]);
    assert_eq!(failed.status.code(), Some(1), "{sql}");
    assert_eq!(text(&failed.stdout), "", "{sql}");
    text(&failed.stderr)
}

#[test]
fn rows_of_a_stream_that_nobody_ends_are_written_at_the_end_of_the_script() {
    let folder = folder();
    let path = folder.path().join("rows.csv");
    let script = format!(
        "CREATE STREAM s (a INT); {} AS SELECT a FROM s; INSERT INTO s VALUES (1), (2)",
        sink("o", &path, "")
    );
    assert_eq!(answer(&["-c", &script]), "");
    assert_eq!(read(&path), "a\n1\n2\n");
    assert_eq!(names(folder.path()), ["rows.csv"]);
}

#[test]
fn a_reader_that_goes_takes_its_select_along_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join("all.csv");
    let rows = 300_000;
    let script = format!(
        "CREATE STREAM r WITH (connector = 'generator', rows = {rows}); \
         {} AS SELECT sensor FROM r; SELECT ts, sensor, value FROM r; SELECT 1",
        sink("all_rows", &path, "")
    );
    let mut child = windrow(&["--format", "csv", "-c", &script])
        .spawn()
        .expect("the binary starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
    let mut header = String::new();
    stdout.read_line(&mut header).expect("a line");
    drop(stdout);
    assert_eq!(header, "ts,sensor,value\n");
    assert_eq!(ended(child), (Some(0), String::new()));
    assert_eq!(read(&path).lines().count(), rows + 1);
    assert_eq!(names(folder.path()), ["all.csv"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_the_old_file() {
    let folder = folder();
    let path = folder.path().join("result.json");
    fs::write(&path, "the old one").expect("written");
    let parts = folder.path().join("parts");
    let script = format!(
        "CREATE STREAM s (v INT) WITH (connector = 'stdin', format = 'csv'); \
         {} AS SELECT v FROM s; {} AS SELECT v FROM s",
        sink("one", &path, ""),
        sink("many", &parts, ", format = 'csv', roll_rows = 2")
    );
    let mut child = windrow(&["-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Open to the end: `wait` would close it, and the rows would end before the interrupt.
    let mut writer = child.stdin.take().expect("standard input is a pipe");
    writer.write_all(b"v\n1\n2\n3\n").expect("it reads");
    writer.flush().expect("it reads");
    let first = parts.join("part-00000.csv");
    until("the first part", || first.exists());
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(interrupted.success());
    let (code, errors) = ended(child);
    drop(writer);
    assert_eq!(code, Some(0), "{errors}");
    let missing = |name: String| format!("not written: {name}: stopped before its last row\n");
    assert!(
        errors.contains(&missing(format!("'{}'", path.display()))),
        "{errors}"
    );
    assert!(
        errors.contains(&missing(format!("the last part of '{}'", parts.display()))),
        "{errors}"
    );
    assert_eq!(read(&path), "the old one");
    assert_eq!(names(folder.path()), ["parts", "result.json"]);
    assert_eq!(names(&parts), ["part-00000.csv"]);
    assert_eq!(read(&first), "v\n1\n2\n");
}

#[test]
fn parts_by_rows_and_by_time() {
    let folder = folder();
    let by_rows = folder.path().join("rows");
    let by_time = folder.path().join("time");
    let script = format!(
        "CREATE STREAM s (v INT) WITH (connector = 'stdin', format = 'csv'); \
         {} AS SELECT v FROM s; {} AS SELECT v FROM s",
        sink("a", &by_rows, ", format = 'csv', roll_rows = 2"),
        sink("b", &by_time, ", format = 'csv', roll_interval = '50 ms'")
    );
    let mut child = windrow(&["-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut writer = child.stdin.take().expect("standard input is a pipe");
    writer.write_all(b"v\n1\n2\n3\n").expect("it reads");
    writer.flush().expect("it reads");
    // No more rows come, and the input does not end.
    let first = by_time.join("part-00000.csv");
    until("the part of a time", || first.exists());
    drop(writer);
    assert_eq!(ended(child), (Some(0), String::new()));
    assert_eq!(names(&by_rows), ["part-00000.csv", "part-00001.csv"]);
    assert_eq!(read(&by_rows.join("part-00000.csv")), "v\n1\n2\n");
    assert_eq!(read(&by_rows.join("part-00001.csv")), "v\n3\n");
    assert!(read(&first).starts_with("v\n1\n"));

    // A second run says what is to become of them.
    let again = |more: &str| {
        format!(
            "{} AS SELECT 9 AS v",
            sink("a", &by_rows, &format!(", format = 'csv'{more}"))
        )
    };
    let errors = refusal(&again(""));
    assert!(errors.contains("holds parts already"), "{errors}");
    answer(&["-c", &again(", existing = 'append'")]);
    assert_eq!(read(&by_rows.join("part-00002.csv")), "v\n9\n");
    answer(&["-c", &again(", existing = 'replace'")]);
    assert_eq!(names(&by_rows), ["part-00000.csv"]);
}

#[test]
fn a_query_is_one_block_however_its_rows_come() {
    let pushed = "CREATE STREAM s (a INT); SELECT a FROM s; \
                  INSERT INTO s VALUES (1),(2); ALTER STREAM s END";
    let json: serde_json::Value =
        serde_json::from_str(&answer(&["--format", "json", "-c", pushed])).expect("one document");
    assert_eq!(json, serde_json::json!([{"a": 1}, {"a": 2}]));
    assert_eq!(answer(&["--format", "csv", "-c", pushed]), "a\n1\n2\n");
    let parquet = windrow(&["--format", "parquet", "-c", pushed])
        .output()
        .expect("the binary starts");
    assert!(parquet.status.success(), "{}", text(&parquet.stderr));
    assert!(parquet.stdout.starts_with(b"PAR1") && parquet.stdout.ends_with(b"PAR1"));
    // Without an end, and with rows before and after.
    let between = "CREATE STREAM s (a INT); INSERT INTO s VALUES (1); SELECT a FROM s; \
                   INSERT INTO s VALUES (2); SELECT 3 AS b";
    assert_eq!(
        answer(&["--format", "csv", "-c", between]),
        "a\n1\n2\n\nb\n3\n"
    );
    let failing = "SELECT * FROM 'no/such/file.csv'";
    assert_eq!(
        text(&output(&["--format", "csv", "-c", failing]).stdout),
        ""
    );
}

#[test]
fn rows_fit_the_declared_columns() {
    let folder = folder();
    let path = folder.path().join("o.csv");
    let declared = format!(
        "CREATE SINK o (a BIGINT, b TEXT, c DOUBLE) WITH (connector = 'file', path = '{}')",
        path.display()
    );
    let written = |insert: &str| {
        answer(&["-c", &format!("{declared}; {insert}")]);
        read(&path)
    };
    // By place, whatever the query's names; by the list; NULL where nothing is said.
    assert_eq!(
        written("INSERT INTO o SELECT '7' AS x, 8 AS y, 9 AS z"),
        "a,b,c\n7,8,9.0\n"
    );
    assert_eq!(
        written("INSERT INTO o (c, a) VALUES (1, 2)"),
        "a,b,c\n2,,1.0\n"
    );
    answer(&["-c", &format!("{declared} AS SELECT 1, 2, 3")]);
    assert_eq!(read(&path), "a,b,c\n1,2,3.0\n");

    for (insert, message) in [
        ("INSERT INTO o VALUES (1, 'x')", "the query gives 2 columns"),
        (
            "INSERT INTO o (a, a) VALUES (1, 2)",
            "column a is named twice",
        ),
        (
            "INSERT INTO o (a, d) VALUES (1, 2)",
            "sink o has no column d",
        ),
        (
            "INSERT INTO o SELECT 'seven', 'b', 1.0",
            "'seven' does not fit column a, which is BIGINT",
        ),
        (
            "INSERT INTO o SELECT 1, 'b', 1.0; INSERT INTO o SELECT 2, 'b', 1.0",
            "sink o is written by another query already",
        ),
    ] {
        let errors = refusal(&format!("{declared}; {insert}"));
        assert!(errors.contains(message), "{insert}: {errors}");
    }
    assert_eq!(
        read(&path),
        "a,b,c\n1,2,3.0\n",
        "what failed replaces nothing"
    );
    assert_eq!(names(folder.path()), ["o.csv"]);
    for column in [
        "a BIGINT NOT NULL",
        "a BIGINT CHECK (a > 0)",
        "a TIMESTAMP, WATERMARK FOR a",
    ] {
        let errors = refusal(&format!(
            "CREATE SINK o ({column}) WITH (connector = 'blackhole') AS SELECT 1"
        ));
        assert!(errors.contains(" sink"), "{column}: {errors}");
    }
    let errors = refusal("CREATE STREAM s (a INT, b INT); INSERT INTO s (a, a) VALUES (1, 2)");
    assert!(errors.contains("column a is named twice"), "{errors}");
}

#[test]
fn two_sinks_do_not_write_one_file() {
    let folder = folder();
    let path = folder.path().join("o.csv");
    let other = folder.path().join(".").join("o.csv");
    let script = format!(
        "{} AS SELECT 1; {} AS SELECT 2",
        sink("a", &path, ""),
        sink("b", &other, "")
    );
    let errors = refusal(&script);
    assert!(errors.contains("sink a writes to '"), "{errors}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_sink_that_is_dropped_before_its_rows_were_read_replaces_nothing() {
    let folder = folder();
    let (input, old) = (folder.path().join("in.csv"), folder.path().join("old.csv"));
    fs::write(&input, "a,b\n1,2\n3,4\n").expect("a file");
    fs::write(&old, "old").expect("a file");
    let input = input.display();
    for rows in ["*", "count(*) AS n"] {
        let first = format!("{} AS SELECT {rows} FROM '{input}'", sink("o", &old, ""));
        answer(&["-c", &format!("{first}; DROP SINK o")]);
        assert_eq!(read(&old), "old");
        let new = folder.path().join("new.csv");
        let second = sink("o", &new, "").replace("CREATE", "CREATE OR REPLACE");
        answer(&[
            "-c",
            &format!("{first}; {second} AS SELECT a FROM '{input}'"),
        ]);
        assert_eq!(
            (read(&old).as_str(), read(&new).as_str()),
            ("old", "a\n1\n3\n")
        );
    }
    assert_eq!(names(folder.path()), ["in.csv", "new.csv", "old.csv"]);
}

#[test]
fn nothing_is_opened_before_the_whole_script_fits() {
    let folder = folder();
    let script = format!(
        "{} AS SELECT 1; {} AS SELECT 2; SELECT nosuch",
        sink("a", &folder.path().join("o.csv"), ""),
        sink(
            "b",
            &folder.path().join("parts"),
            ", format = 'csv', roll_rows = 1"
        ),
    );
    refusal(&script);
    assert_eq!(names(folder.path()), Vec::<String>::new());
    // Nor is anything left when a query fails on its way.
    let script = format!(
        "CREATE STREAM s (v TEXT); {} AS SELECT CAST(v AS INT) AS v FROM s; \
         INSERT INTO s VALUES ('1'), ('x'); ALTER STREAM s END",
        sink("a", &folder.path().join("o.csv"), "")
    );
    refusal(&script);
    assert_eq!(names(folder.path()), Vec::<String>::new());
    // A folder that is missing is known before anything runs.
    let missing = folder.path().join("none").join("o.csv");
    let file = folder.path().join("q.sql");
    fs::write(&file, format!("{} AS SELECT 1", sink("a", &missing, ""))).expect("written");
    let checked = output(&["check", &file.to_string_lossy()]);
    let errors = text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("its folder is missing") && !errors.contains("tmp:"),
        "{errors}"
    );
}

#[cfg(unix)]
#[test]
fn what_stands_under_the_name_stays_what_it_is() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = folder();
    let real = folder.path().join("real.csv");
    let link = folder.path().join("link.csv");
    fs::write(&real, "the old one").expect("written");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("it is ours");
    symlink("real.csv", &link).expect("made");
    answer(&["-c", &format!("{} AS SELECT 1 AS a", sink("l", &link, ""))]);
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert_eq!(read(&real), "a\n1\n");
    let mode = fs::metadata(&real).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    let pipe = folder.path().join("pipe.csv");
    let made = Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo is there");
    assert!(made.success());
    let errors = refusal(&format!("{} AS SELECT 1 AS a", sink("p", &pipe, "")));
    assert!(
        errors.contains("it is a named pipe, not a file"),
        "{errors}"
    );
    assert!(errors.contains("connector = 'stdout'"), "{errors}");
    assert_eq!(names(folder.path()), ["link.csv", "pipe.csv", "real.csv"]);
}

#[test]
fn one_document_is_not_shared() {
    let script = "CREATE SINK o WITH (connector = 'stdout') AS SELECT 1 AS a; SELECT 2 AS b";
    let failed = output(&["--format", "json", "-c", script]);
    assert_eq!(failed.status.code(), Some(1));
    let errors = text(&failed.stderr);
    assert!(errors.contains("json is one document"), "{errors}");
    assert!(errors.contains("ndjson"), "{errors}");
    let both = answer(&["--format", "ndjson", "-c", script]);
    let mut lines: Vec<&str> = both.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}"]);
}

#[test]
fn rows_that_no_receiver_takes_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let script = |more: &str, query: &str| {
        format!(
            "CREATE SINK o WITH (connector = 'tcp', address = '{address}', format = 'csv'{more})
             AS {query}"
        )
    };
    // One who is connected, and does not read: a stop does not wait for him for long.
    let rows = "SELECT * FROM 'many.csv'";
    let folder = folder();
    let many: String = (0..1_000_000)
        .map(|row| format!("{row},a text of some length\n"))
        .collect();
    fs::write(folder.path().join("many.csv"), format!("n,s\n{many}")).expect("written");
    let child = windrow(&["-c", &script(", queue_bytes = '100_000'", rows)])
        .current_dir(folder.path())
        .spawn()
        .expect("the binary starts");
    let (client, _) = listener.accept().expect("it connects");
    thread::sleep(Duration::from_secs(1));
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill is there").success());
    let start = Instant::now();
    let (code, errors) = ended(child);
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains(" rows are not known to have been delivered to tcp"),
        "{errors}"
    );
    assert!(errors.contains("still runs and reads"), "{errors}");
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    // Nobody at all.
    drop((client, listener));
    let query = "SELECT * FROM (VALUES (1), (2), (3)) AS t (a)";
    let failed = output(&["-c", &script(", send_timeout = '500 ms'", query)]);
    assert_eq!(failed.status.code(), Some(1));
    let errors = text(&failed.stderr);
    assert!(errors.contains("3 rows were not delivered"), "{errors}");
    assert!(errors.contains("start the receiver first"), "{errors}");
}

#[test]
fn a_second_signal_says_that_rows_are_lost() {
    let script = format!(
        "CREATE STREAM c WITH (connector = 'generator', rate = '50', realtime = 'true');
         CREATE SINK b WITH (connector = 'http', url = 'http://{}/') AS SELECT sensor FROM c",
        free_address()
    );
    let child = (windrow(&["-c", &script]).spawn()).expect("the binary starts");
    let interrupt = || {
        let kill = (Command::new("kill"))
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(kill.expect("kill is there").success());
    };
    thread::sleep(Duration::from_secs(1));
    interrupt();
    // A receiver that is away is tried for two seconds more.
    thread::sleep(Duration::from_millis(100));
    interrupt();
    let (code, errors) = ended(child);
    assert_eq!(code, Some(130), "{errors}");
    let told = "broken off: what had not been written or delivered is lost";
    assert!(errors.contains(told), "{errors}");
}

#[test]
fn each_sink_that_fails_is_told_with_its_rows() {
    let (one, other) = (free_address(), free_address());
    let script = format!(
        "CREATE STREAM c WITH (connector = 'generator', rows = '50');
         CREATE SINK a WITH (connector = 'tcp', address = '{one}', format = 'csv',
             send_timeout = '200 ms') AS SELECT sensor FROM c;
         CREATE SINK b WITH (connector = 'http', url = 'http://{other}/', format = 'ndjson',
             retry_timeout = '200 ms') AS SELECT sensor FROM c"
    );
    let failed = output(&["-c", &script]);
    assert_eq!(failed.status.code(), Some(1));
    let errors = text(&failed.stderr);
    for sink in ["a", "b"] {
        let of_sink = errors.matches(&format!("sink {sink}: ")).count();
        assert_eq!(of_sink, 1, "{errors}");
    }
    assert!(errors.contains("50 rows were not delivered"), "{errors}");
    assert!(errors.contains("posting rows 1 to 50"), "{errors}");
}

#[test]
fn what_became_of_the_rows_is_told_though_a_sink_has_failed() {
    let script = format!(
        "CREATE STREAM c WITH (connector = 'generator', rows = '50');
         CREATE SINK a WITH (connector = 'tcp', address = '{}', format = 'csv',
             send_timeout = '200 ms') AS SELECT sensor FROM c",
        free_address()
    );
    let failed = output(&["--progress", "plain", "-c", &script]);
    assert_eq!(failed.status.code(), Some(1));
    let errors = text(&failed.stderr);
    let (error, end) = errors.split_once("failed after ").expect("both");
    assert!(error.contains("error: sink a: 50 rows"), "{errors}");
    assert!(end.contains(" s: 50 rows · "), "{errors}");
    assert!(end.contains(" · 0 late · 0 rejected · "), "{errors}");
    // What is no sink's has no rows.
    let failed = output(&["--progress", "plain", "-c", "SELECT x"]);
    assert!(!text(&failed.stderr).contains("failed after"));
    // One that is stopped says so.
    let live = script.replace("rows = '50'", "rate = '50', realtime = 'true'")
        + "; CREATE SINK whole WITH (connector = 'blackhole') AS SELECT sensor FROM c";
    let mut child = (windrow(&["-c", &live]).spawn()).expect("the binary starts");
    let stderr = child.stderr.take().expect("standard error is a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let first = lines.next().expect("a line").expect("text");
    assert!(first.starts_with("error: sink a: "), "{first}");
    let interrupt = (Command::new("kill"))
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill is there").success());
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    let last = rest.last().expect("a line");
    assert!(last.starts_with("stopped after "), "{rest:?}");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

#[test]
fn a_sink_that_fails_is_told_at_once_and_all_its_rows_are_counted() {
    let folder = folder();
    let whole = folder.path().join("whole.csv");
    let script = format!(
        "CREATE STREAM c WITH (connector = 'generator', rows = '200', rate = '100',
             realtime = 'true');
         {} AS SELECT sensor FROM c;
         CREATE SINK dead WITH (connector = 'tcp', address = '{}', format = 'csv',
             send_timeout = '300 ms') AS SELECT sensor FROM c",
        sink("whole", &whole, ""),
        free_address(),
    );
    let mut child = (windrow(&["-c", &script]).spawn()).expect("the binary starts");
    let stderr = child.stderr.take().expect("standard error is a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    let first = next();
    assert!(child.try_wait().expect("it is ours").is_none(), "{first}");
    let undelivered = first.strip_prefix("error: sink dead: ").expect("the sink");
    let undelivered: u64 = (undelivered.split(' ').next())
        .and_then(|rows| rows.parse().ok())
        .expect("a number");
    assert!(next().contains("start the receiver first"));
    let last = next();
    let after: u64 = (last.strip_prefix("error: sink dead: "))
        .and_then(|last| last.strip_suffix(" rows came after it had failed"))
        .and_then(|rows| rows.parse().ok())
        .unwrap_or_else(|| panic!("{last}"));
    assert_eq!(undelivered + after, 200, "{first}\n{last}");
    assert_eq!(lines.next().map(|line| line.expect("text")), None);
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert_eq!(read(&whole).lines().count(), 1 + 200);
}

#[test]
fn small_things_of_the_command() {
    assert_eq!(answer(&["-c", "-- nothing"]), "");
    assert!(answer(&["help", "--help"]).contains("Usage:"));
    let folder = folder();
    let file = folder.path().join("q.sql");
    fs::write(&file, "\u{feff}SELECT 1 AS a").expect("written");
    assert_eq!(answer(&["run", &file.to_string_lossy()]), "a\n1\n");
    // All that is wrong is said at once, but what follows from something else.
    let script = "CREATE STREAM s (a NOSUCHTYPE2);";
    fs::write(&file, script).expect("written");
    assert_eq!(
        output(&["check", &file.to_string_lossy()]).status.code(),
        Some(1)
    );
    let script = "CREATE VIEW v AS SELECT nosuch; SELECT * FROM v; SELECT other; SELECT 1";
    fs::write(&file, script).expect("written");
    let checked = output(&["check", &file.to_string_lossy()]);
    let errors = text(&checked.stderr);
    assert_eq!(errors.matches("error: ").count(), 2, "{errors}");
    assert!(
        errors.contains("nosuch") && errors.contains("other"),
        "{errors}"
    );
}
