//! Conversations without a terminal, completion and colours.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::sync::Mutex;

use super::complete::complete;
use super::editor::{COMMENT, KEYWORD, PLAIN, TEXT, coloured};
use super::*;
use crate::session::{Known, Relation};

/// A stream that keeps what is written.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that are given in advance.
#[derive(Default)]
struct Given {
    lines: VecDeque<Line>,
    prompts: Vec<String>,
    remembered: Vec<String>,
}

impl Lines for Given {
    fn next(&mut self, prompt: &str, _: &str) -> Result<Line> {
        self.prompts.push(prompt.trim().to_owned());
        Ok(self.lines.pop_front().unwrap_or(Line::End))
    }

    fn remember(&mut self, text: &str) {
        self.remembered.push(text.to_owned());
    }
}

/// What is said and asked when these lines are given.
struct Talk {
    stdout: String,
    stderr: String,
    prompts: Vec<String>,
    remembered: Vec<String>,
}

/// Has a conversation in CSV. `stops`: whether the first statement is stopped as soon as
/// it has rows.
fn talk_with(lines: impl IntoIterator<Item = Line>, stops: bool) -> Talk {
    let (stdout, stderr) = (Kept::default(), Kept::default());
    let cancel = Arc::new(Mutex::new(None));
    let started = cancel.clone();
    let mut io = Io {
        stdout: match stops {
            true => Box::new(Stopping {
                out: stdout.clone(),
                cancel,
            }),
            false => Box::new(stdout.clone()),
        },
        stdout_width: Some(80),
        stderr: Box::new(stderr.clone()),
        stderr_is_terminal: false,
        stdin: Box::new(io::empty()),
        stdin_is_terminal: true,
        on_start: Box::new(move |cancel| *started.lock().unwrap() = Some(cancel.clone())),
    };
    let mut given = Given {
        lines: lines.into_iter().collect(),
        ..Given::default()
    };
    let mut shell = Shell::new(OutputFormat::Csv, Running::default(), &mut io).unwrap();
    shell.run(&mut given).unwrap();
    drop(shell);
    let stdout = stdout.text();
    Talk {
        stdout: stdout.strip_prefix(GREETING).unwrap().to_owned(),
        stderr: stderr.text(),
        prompts: given.prompts,
        remembered: given.remembered,
    }
}

/// As Ctrl-C when the first rows are seen.
struct Stopping {
    out: Kept,
    cancel: Arc<Mutex<Option<Arc<AtomicBool>>>>,
}

impl Write for Stopping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes != GREETING.as_bytes()
            && let Some(cancel) = self.cancel.lock().unwrap().take()
        {
            cancel.store(true, Ordering::SeqCst);
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn talk(lines: &[&str]) -> Talk {
    talk_with(lines.iter().map(|line| Line::Typed((*line).into())), false)
}

#[test]
fn a_statement_over_two_lines_is_answered_when_it_ends() {
    let talk = talk(&["SELECT 1 AS one,", "  ';' AS two;"]);
    assert_eq!(talk.stdout, "one,two\n1,;\n");
    assert_eq!(talk.prompts, ["windrow>", "...>", "windrow>"]);
    assert_eq!(talk.remembered, ["SELECT 1 AS one,\n  ';' AS two;"]);
}

#[test]
fn a_line_may_end_one_statement_and_begin_another() {
    let talk = talk(&["SELECT 1 AS a; SELECT 2 AS b; SELECT", "3 AS c;"]);
    assert_eq!(talk.stdout, "a\n1\nb\n2\nc\n3\n");
    assert_eq!(talk.prompts, ["windrow>", "...>", "windrow>"]);
}

#[test]
fn what_is_pasted_is_taken_line_by_line() {
    let talk = talk(&[
        ".mode ndjson\nSELECT 1\n AS a;\n\nSELECT 2 AS b;\nSELECT",
        "3 AS c;",
    ]);
    assert_eq!(talk.stdout, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
    assert_eq!(talk.prompts, ["windrow>", "...>", "windrow>"]);
    assert_eq!(
        talk.remembered,
        [
            ".mode ndjson",
            "SELECT 1\n AS a;",
            "SELECT 2 AS b;",
            "SELECT\n3 AS c;"
        ]
    );
}

#[test]
fn ctrl_c_clears_what_is_typed() {
    let lines = [
        Line::Typed("SELECT 'never".into()),
        Line::Cleared,
        Line::Typed("SELECT 1 AS a;".into()),
    ];
    let talk = talk_with(lines, false);
    assert_eq!(talk.stdout, "a\n1\n");
    assert_eq!(talk.prompts, ["windrow>", "...>", "windrow>", "windrow>"]);
}

#[test]
fn an_error_leaves_the_session_as_it_is() {
    let talk = talk(&[
        "CREATE STREAM s (v BIGINT);",
        "SELECT nosuch FROM s; SELECT 1 AS not_asked;",
        "INSERT INTO s VALUES (1), (2);",
        "SHOW TABLES;",
    ]);
    assert!(
        talk.stderr.starts_with("error: ") && talk.stderr.contains("--> shell:1:8: nosuch"),
        "{}",
        talk.stderr
    );
    assert_eq!(talk.stdout, "name,kind\ns,stream\n");
}

#[test]
fn a_view_is_there_in_later_statements() {
    let talk = talk(&[
        "CREATE STREAM s (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts);",
        "CREATE MATERIALIZED VIEW big AS SELECT v FROM s WHERE v > 1;",
        "INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:00', 1);",
        "INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:01', 2);",
        "SELECT v FROM big;",
    ]);
    assert_eq!((talk.stderr.as_str(), talk.stdout.as_str()), ("", "v\n2\n"));
}

#[test]
fn a_query_that_is_stopped_brings_the_prompt_back() {
    let lines = [
        "CREATE STREAM g WITH (connector = 'generator', rows = 'endless');",
        "SELECT sensor FROM g; SELECT 'not asked' AS a;",
        "SELECT 'asked' AS a;",
    ];
    let talk = talk_with(lines.map(|line| Line::Typed(line.into())), true);
    assert!(talk.stdout.starts_with("sensor\n"));
    assert!(talk.stdout.ends_with("\na\nasked\n"));
    assert!(talk.stderr.starts_with("stopped after "), "{}", talk.stderr);
    assert!(!talk.stdout.contains("not asked"));
    assert_eq!(talk.prompts.len(), 4);
}

#[test]
fn windows_that_are_left_open_are_told() {
    const OPEN: &str = "still open and not given out";
    let view = |n: i64| {
        format!(
            "CREATE MATERIALIZED VIEW hours{n} AS SELECT window_start, count(*) AS n \
             FROM TUMBLE(s, ts, INTERVAL '{n}' HOUR) GROUP BY window_start;"
        )
    };
    let said = talk(&[
        "CREATE STREAM s (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts);",
        &view(1),
        "INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:00', 1);",
        ".quit",
    ]);
    assert_eq!(said.stderr, format!("1 window was {OPEN}\n"));
    // Those of a query that is stopped are told at once, those of a view when all ends.
    let lines = [
        "CREATE STREAM g (WATERMARK FOR ts) WITH (connector = 'generator', rows = 'endless'); \
         CREATE STREAM s (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts);"
            .to_owned(),
        view(1),
        view(2),
        "INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:00', 1);".to_owned(),
        "SELECT window_start, count(*) AS n FROM TUMBLE(g, ts, INTERVAL '1' MINUTE) \
         GROUP BY window_start;"
            .to_owned(),
    ];
    let said = talk_with(lines.map(Line::Typed), true);
    let told: Vec<_> = (said.stderr.lines())
        .filter(|line| line.contains(OPEN))
        .collect();
    assert!(said.stderr.starts_with("stopped after "), "{}", said.stderr);
    assert_eq!(told.len(), 2, "{}", said.stderr);
    assert_eq!(told[1], format!("2 windows were {OPEN}"));
}

#[test]
fn commands_with_a_point() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("some city.sql");
    fs::write(
        &script,
        "CREATE STREAM city (pm25 DOUBLE NOT NULL);\nSELECT 7 AS n",
    )
    .unwrap();
    let read = format!(".read {}", script.display());
    let said = talk(&[
        &read,
        ".tables",
        ".schema city",
        ".mode json",
        "SELECT 1 AS a;",
        ".timer on",
        "SELECT 1 AS a;",
        ".tabels",
        ".schema town",
        ".quit",
        "SELECT 'too late';",
    ]);
    assert_eq!(
        said.stdout,
        "n\n7\nname,kind\ncity,stream\ncolumn_name,data_type,notes\npm25,DOUBLE,NOT NULL\n\
         [\n{\"a\":1}\n]\n[\n{\"a\":1}\n]\n"
    );
    let mut errors = said.stderr.lines();
    let timer = errors.next().unwrap();
    assert!(timer.starts_with("1 row in 0."), "{timer}");
    assert_eq!(errors.next(), Some("error: there is no command .tabels"));
    assert_eq!(errors.next(), Some("   = help: did you mean .tables?"));
    assert!(
        said.stderr.contains("--> .schema:1:10: town"),
        "{}",
        said.stderr
    );
    let help = talk(&["help"]).stdout;
    for (name, ..) in dot::COMMANDS {
        assert!(help.contains(name), "{help}");
    }
}

#[test]
fn the_keyboard_gives_no_rows() {
    let talk = talk(&["SELECT * FROM stdin;", "SELECT 1 AS a;"]);
    assert!(
        talk.stderr.starts_with("error: stdin is the keyboard here"),
        "{}",
        talk.stderr
    );
    assert_eq!(talk.stdout, "a\n1\n");
}

#[test]
fn what_is_in_no_result_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    fs::write(&path, "v\n1\nx\n").unwrap();
    let create = format!(
        "CREATE STREAM s (v BIGINT) WITH (connector = 'file', path = '{}');",
        path.display()
    );
    let talk = talk(&[&create, "SELECT v FROM s;", "SELECT 1 AS a;"]);
    assert_eq!(talk.stderr.matches("1 row of 's' rejected").count(), 1);
    assert_eq!(talk.stdout, "v\n1\na\n1\n");
}

#[test]
fn a_sink_that_fails_is_told_of_once() {
    let talk = talk(&[
        "CREATE STREAM s (v BIGINT);",
        "CREATE MATERIALIZED VIEW inverse AS SELECT 1 / v AS i FROM s;",
        "INSERT INTO s VALUES (0);",
        "SELECT 1 AS a;",
    ]);
    assert_eq!(
        talk.stderr.matches("error: inverse has failed: ").count(),
        1,
        "{}",
        talk.stderr
    );
    assert_eq!(talk.stdout, "a\n1\n");
}

/// A session with a stream and a view, as far as completion goes.
fn known() -> Known {
    let relation = |name: &str, columns: &[&str]| Relation {
        name: name.into(),
        columns: columns.iter().map(|&column| column.into()).collect(),
    };
    let options = |name: &str, options: &[&str]| {
        let options = options.iter().map(|&option| option.into()).collect();
        (name.to_owned(), options)
    };
    Known {
        relations: vec![
            relation("city", &["ts", "sensor", "PM2.5"]),
            relation("per_minute", &["sensor", "mean"]),
        ],
        functions: vec!["avg".into(), "approx_distinct".into(), "tumble".into()],
        connectors: vec![
            options("file", &["connector", "path", "format"]),
            options("generator", &["connector", "rate", "realtime"]),
        ],
        settings: vec!["view_bytes_max".into()],
    }
}

/// A line with the one word that it may go on with, or all that there are.
#[track_caller]
fn assert_completed(line: &str, words: &[&str]) {
    let (before, last) = match line.rfind('\n') {
        Some(end) => line.split_at(end + 1),
        None => ("", line),
    };
    let (start, found) = complete(before, last, &known());
    assert_eq!(found, words, "{line:?}");
    let begun = last[start..].to_lowercase();
    for word in found {
        let word = word.trim_matches('"').to_lowercase();
        assert!(word.starts_with(&begun), "{word} for {begun}");
    }
}

#[test]
fn keywords_keep_the_case_of_what_is_typed() {
    assert_completed("SELE", &["SELECT"]);
    assert_completed("sele", &["select"]);
    assert_completed("CREATE MATER", &["MATERIALIZED"]);
    assert_completed("SELECT 1; SHO", &["SHOW"]);
}

#[test]
fn relations_and_their_columns() {
    assert_completed("SELECT * FROM ci", &["city"]);
    assert_completed("select * from tum", &["tumble("]);
    assert_completed("SELECT city.", &["\"PM2.5\"", "sensor", "ts"]);
    assert_completed("SELECT sens", &["sensor"]);
    assert_completed("SELECT *\nFROM per_minute WHERE me", &["mean"]);
    // Only those of what is named, as far as something is.
    assert_completed("SELECT * FROM per_minute WHERE pm", &[]);
    assert_completed("SELECT pm", &["\"PM2.5\""]);
    assert_completed("SELECT AV", &["avg("]);
    assert_completed("SET vi", &["view_bytes_max"]);
}

#[test]
fn options_are_those_of_the_connector() {
    let create = "CREATE STREAM s WITH (";
    assert_completed(create, &["connector", "format", "path", "rate", "realtime"]);
    assert_completed(&format!("{create}connector = 'ge"), &["generator'"]);
    assert_completed(
        &format!("{create}connector = 'generator', "),
        &["rate", "realtime"],
    );
    assert_completed(&format!("{create}connector = 'file', pa"), &["path"]);
    assert_completed(&format!("{create}format = 'par"), &["parquet'"]);
    assert_completed(&format!("{create}rate = 's"), &[]);
}

#[test]
fn paths_in_quotation_marks() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("weather.csv"), "").unwrap();
    fs::create_dir(folder.path().join("wet")).unwrap();
    fs::write(folder.path().join(".hidden"), "").unwrap();
    let folder = folder.path().to_str().unwrap();
    let found = |name: &str| format!("{folder}/{name}");
    assert_completed(
        &format!("SELECT * FROM '{folder}/we"),
        &[&found("weather.csv"), &found("wet/")],
    );
    assert_completed(&format!(".read {folder}/wea"), &[&found("weather.csv")]);
    assert_completed(
        &format!("SELECT * FROM '{folder}/"),
        &[&found("weather.csv"), &found("wet/")],
    );
}

#[test]
fn words_of_commands() {
    assert_completed(".m", &[".mode "]);
    assert_completed(".q", &[".quit"]);
    assert_completed(".mode nd", &["ndjson"]);
    assert_completed(".timer o", &["off", "on"]);
    assert_completed(".schema per", &["per_minute"]);
    assert_completed("SELECT 1\n.m", &[]);
}

#[test]
fn nothing_is_offered_in_comments_and_other_texts() {
    assert_completed("SELECT 1 /* FROM ci", &[]);
    assert_completed("SELECT $$ci", &[]);
    assert_completed("SELECT 'a\nci", &[]);
}

#[test]
fn keywords_and_texts_have_colours() {
    assert_eq!(
        coloured("", "SELECT v, 'a b' FROM s -- all"),
        "\x1b[36mSELECT\x1b[0m v, \x1b[32m'a b'\x1b[0m \x1b[36mFROM\x1b[0m s \x1b[90m-- all\x1b[0m"
    );
    // A text that began in the line before.
    assert_eq!(coloured("SELECT 'a\n", "b', v"), "\x1b[32mb'\x1b[0m, v");
    assert_eq!(
        coloured("", "SELECT 'ü"),
        "\x1b[36mSELECT\x1b[0m \x1b[32m'ü\x1b[0m"
    );
    assert_eq!(coloured("", ".mode csv"), ".mode csv");
    // Colours alone are added.
    for line in ["", "  ", "SELECT 1 +", "\"a", "/* b", "é 'x' é"] {
        let plain = coloured("", line);
        let plain = [KEYWORD, TEXT, COMMENT, PLAIN]
            .iter()
            .fold(plain, |text, colour| text.replace(colour, ""));
        assert_eq!(plain, line);
    }
}
