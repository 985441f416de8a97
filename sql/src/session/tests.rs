//! What a session keeps when statements come in any order, and from several threads.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::util::display::array_value_to_string;

use super::{ResultHandler, Session};
use crate::error::{Error, Result, Script};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs what must not wait for ever.
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).expect("it ends")
}

fn session() -> Session {
    Session::new().expect("threads start")
}

/// Rows as texts.
fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| {
                array_value_to_string(column, row).expect("every type can be written")
            });
            rows.push(values.collect::<Vec<_>>().join(" "));
        }
    }
    rows
}

fn try_rows(session: &Session, sql: &str) -> Result<Vec<String>> {
    let (session, sql) = (session.clone(), sql.to_string());
    within(move || Ok(texts(&session.sql(&sql)?.collect()?)))
}

fn rows(session: &Session, sql: &str) -> Vec<String> {
    try_rows(session, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn refused(session: &Session, sql: &str) -> String {
    match try_rows(session, sql) {
        Ok(rows) => panic!("{sql}: {rows:?}"),
        Err(error) => error.to_string(),
    }
}

/// All rows that a script gives.
fn script(session: &Session, text: &str) -> Result<Vec<String>> {
    #[derive(Default)]
    struct Collected(Vec<RecordBatch>);

    impl ResultHandler for Collected {
        fn begin(&mut self, _schema: &arrow::datatypes::SchemaRef) -> Result<()> {
            Ok(())
        }

        fn rows(&mut self, rows: &RecordBatch) -> Result<()> {
            self.0.push(rows.clone());
            Ok(())
        }

        fn end(&mut self) -> Result<()> {
            Ok(())
        }
    }

    let (session, text) = (session.clone(), text.to_string());
    within(move || {
        let script = Arc::new(Script {
            name: "test".into(),
            text,
        });
        let mut collected = Collected::default();
        session.run_script(&script, &mut collected)?;
        Ok(texts(&collected.0))
    })
}

/// A file of readings, one a second from midnight, the values 1, 2, 3 …; gone with the test.
struct File(PathBuf);

impl File {
    fn of(readings: usize) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "windrow-session-{}-{}.csv",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let mut text = String::from("ts,v\n");
        for second in 0..readings {
            let (minute, second, value) = (second / 60, second % 60, second + 1);
            text.push_str(&format!("2026-01-01 00:{minute:02}:{second:02},{value}\n"));
        }
        fs::write(&path, text).expect("the folder of temporary files can be written");
        Self(path)
    }

    fn stream(&self, name: &str) -> String {
        format!(
            "CREATE STREAM {name} (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts) \
             WITH (connector = 'file', path = '{}', format = 'csv');",
            self.0.display()
        )
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Who deleted it before has done the same.
        let _ = fs::remove_file(&self.0);
    }
}

const PUSHED: &str = "CREATE STREAM s (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts);";

fn tumble(stream: &str) -> String {
    format!(
        "SELECT window_start, count(*) AS n, sum(v) AS total \
         FROM TUMBLE({stream}, ts, INTERVAL '1' MINUTE) GROUP BY window_start, window_end"
    )
}

fn of_values(values: Vec<i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(values));
    RecordBatch::try_from_iter([("v", column)]).expect("one column")
}

#[test]
fn a_name_that_is_missing_is_an_error_and_no_deadlock() {
    let messages = within(|| {
        let session = session();
        session
            .sql("CREATE STREAM known (v BIGINT)")
            .expect("it fits");
        let push = session
            .push("knwn", of_values(vec![1]))
            .expect_err("missing");
        let subscribe = session.subscribe("knwon").expect_err("missing");
        [push.to_string(), subscribe.to_string()]
    });
    assert_eq!(
        messages,
        [
            "there is no stream knwn\n   = help: did you mean known?",
            "there is no materialized view knwon\n   = help: did you mean known?",
        ]
    );
}

#[test]
fn rows_are_inserted_before_a_later_statement_drops_their_stream() {
    let session = session();
    let text = format!(
        "{PUSHED} CREATE MATERIALIZED VIEW m AS SELECT v FROM s; \
         INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:00', 7); \
         SELECT v FROM m; DROP STREAM s CASCADE; SHOW TABLES"
    );
    assert_eq!(script(&session, &text).expect("it runs"), ["7"]);
    refused(&session, "SELECT v FROM m");
}

#[test]
fn a_view_sees_all_rows_that_its_script_inserts() {
    let insert = |v: u8| format!("INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:0{v}', {v})");
    let create = "CREATE MATERIALIZED VIEW m AS SELECT v FROM s";
    // A script is planned whole: the view is there when the first INSERT is carried out.
    // What is in it follows the order of the statements.
    let text = format!(
        "{PUSHED} {}; {create}; SELECT v FROM m; {}; SELECT v FROM m",
        insert(1),
        insert(2)
    );
    let together = session();
    assert_eq!(script(&together, &text).expect("it runs"), ["1", "1", "2"]);
    // One by one, it joins a stream that is pushed from now on.
    let apart = session();
    for statement in [PUSHED, &insert(1), create, &insert(2)] {
        script(&apart, statement).expect("it runs");
    }
    assert_eq!(rows(&apart, "SELECT v FROM m"), ["2"]);
}

#[test]
fn a_check_computes_no_subquery() {
    let file = File::of(3);
    let text = format!(
        "{} {PUSHED} CREATE MATERIALIZED VIEW m AS \
         SELECT v FROM s WHERE v > (SELECT v FROM w WHERE v > 0)",
        file.stream("w")
    );
    let name = "sql".into();
    let checked = Arc::new(Script {
        name,
        text: text.clone(),
    });
    // That there is more than one row is found by running it.
    assert!(session().check(&checked).is_ok());
    let error = script(&session(), &text).expect_err("three rows");
    assert!(error.message().contains("more than one row"), "{error}");
}

#[test]
fn a_view_is_read_before_a_later_statement_drops_it() {
    let (session, file) = (session(), File::of(90));
    let text = format!(
        "{} CREATE MATERIALIZED VIEW m AS {}; SELECT sum(n), sum(total) FROM m; \
         DROP VIEW m; SELECT count(*) FROM w; DROP STREAM w",
        file.stream("w"),
        tumble("w")
    );
    // 1 + … + 90 = 4095
    assert_eq!(script(&session, &text).expect("it runs"), ["90 4095", "90"]);
    assert_eq!(rows(&session, "SHOW TABLES"), [""; 0]);
}

#[test]
fn a_view_is_read_before_a_later_statement_replaces_it() {
    let (session, file) = (session(), File::of(3));
    let text = format!(
        "{} CREATE MATERIALIZED VIEW m AS SELECT v FROM w; SELECT sum(v) FROM m; \
         CREATE OR REPLACE MATERIALIZED VIEW m AS SELECT v * 10 AS v FROM w; \
         SELECT sum(v) FROM m",
        file.stream("w")
    );
    assert_eq!(script(&session, &text).expect("it runs"), ["6", "60"]);
}

#[test]
fn what_a_script_drops_is_listed_until_its_turn_comes() {
    let session = session();
    let text = format!("{PUSHED} SHOW TABLES; DROP STREAM s; SHOW TABLES");
    assert_eq!(script(&session, &text).expect("it runs"), ["s stream"]);
}

#[test]
fn a_replacement_that_does_not_fit_leaves_what_was_there() {
    let session = session();
    rows(
        &session,
        &format!("{PUSHED} CREATE MATERIALIZED VIEW m AS SELECT v FROM s"),
    );
    rows(
        &session,
        "INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:00', 7)",
    );
    refused(
        &session,
        "CREATE OR REPLACE MATERIALIZED VIEW m AS SELECT vv FROM s",
    );
    refused(
        &session,
        "CREATE OR REPLACE MATERIALIZED VIEW m AS SELECT v FROM m",
    );
    assert_eq!(rows(&session, "SELECT v FROM m"), ["7"]);
}

#[test]
fn a_name_is_replaced_only_by_its_own_kind() {
    let session = session();
    rows(&session, PUSHED);
    for sql in [
        "CREATE OR REPLACE VIEW s AS SELECT 1 AS one",
        "CREATE VIEW IF NOT EXISTS s AS SELECT 1 AS one",
        "CREATE SINK IF NOT EXISTS s WITH (connector = 'blackhole')",
    ] {
        let error = refused(&session, sql);
        assert!(error.starts_with("there is a stream s already"), "{error}");
        assert!(error.contains("DROP STREAM s first"), "{error}");
    }
    rows(&session, "CREATE STREAM IF NOT EXISTS s (other TEXT)");
}

#[test]
fn readers_of_a_plain_view_are_known() {
    let session = session();
    rows(
        &session,
        &format!("{PUSHED} CREATE VIEW v AS SELECT v FROM s"),
    );
    rows(&session, "CREATE VIEW above AS SELECT v FROM v");
    rows(
        &session,
        "CREATE MATERIALIZED VIEW m AS SELECT v FROM above",
    );
    assert!(refused(&session, "DROP VIEW v").starts_with("v is read by above, m"));
    assert!(
        refused(&session, "CREATE OR REPLACE VIEW v AS SELECT 1 AS v")
            .starts_with("v is read by above")
    );
    rows(&session, "DROP VIEW v CASCADE");
    assert_eq!(rows(&session, "SHOW TABLES"), ["s stream"]);
}

#[test]
fn a_sink_reads_what_is_inserted_into_it() {
    let session = session();
    rows(
        &session,
        &format!("{PUSHED} CREATE SINK o WITH (connector = 'blackhole')"),
    );
    rows(&session, "INSERT INTO o SELECT v FROM s");
    assert!(refused(&session, "DROP STREAM s").starts_with("s is read by o"));
}

#[test]
fn a_dropped_view_no_longer_waits_for_its_inputs() {
    let (session, file) = (session(), File::of(3));
    rows(&session, &file.stream("w"));
    rows(
        &session,
        "CREATE MATERIALIZED VIEW top AS SELECT v FROM w ORDER BY v DESC LIMIT 1",
    );
    rows(
        &session,
        "CREATE SINK o WITH (connector = 'blackhole') AS SELECT v FROM w ORDER BY v",
    );
    rows(&session, "DROP STREAM w CASCADE");
    within(move || session.run()).expect("nothing is left to fail");
}

#[test]
fn system_tables_can_be_read_by_windows_and_sinks() {
    let session = session();
    rows(
        &session,
        &format!("{PUSHED} CREATE MATERIALIZED VIEW m AS {}", tumble("s")),
    );
    // The second is 2 minutes behind, the third 1 minute.
    rows(
        &session,
        "INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:02:30', 1), \
         (TIMESTAMP '2026-01-01 00:00:10', 2), (TIMESTAMP '2026-01-01 00:01:10', 3)",
    );
    assert_eq!(
        rows(
            &session,
            "SELECT window_start, count(*) FROM TUMBLE(late('s'), ts, INTERVAL '1' MINUTE) \
             GROUP BY 1",
        ),
        ["2026-01-01T00:00:00 1", "2026-01-01T00:01:00 1"]
    );
    rows(
        &session,
        "CREATE SINK o WITH (connector = 'blackhole') AS SELECT * FROM late('s')",
    );
    rows(
        &session,
        "CREATE MATERIALIZED VIEW of_queries AS SELECT name FROM windrow.queries",
    );
    rows(
        &session,
        "CREATE MATERIALIZED VIEW kept AS SELECT v FROM late('s')",
    );
    rows(
        &session,
        "CREATE MATERIALIZED VIEW sorted AS SELECT v FROM late('s') ORDER BY v",
    );
    assert_eq!(rows(&session, "SELECT v FROM kept ORDER BY v"), ["2", "3"]);
    assert_eq!(rows(&session, "SELECT v FROM sorted"), ["2", "3"]);
    assert_eq!(
        rows(
            &session,
            "SELECT window_start, total FROM (SELECT window_start, sum(v) AS total \
             FROM TUMBLE((SELECT ts, v FROM late('s') ORDER BY v LIMIT 1), ts, \
             INTERVAL '1' MINUTE) GROUP BY window_start)",
        ),
        ["2026-01-01T00:00:00 2"]
    );
}

#[test]
fn a_view_over_a_view_that_is_computed_once_has_its_rows() {
    let (session, file) = (session(), File::of(120));
    rows(&session, &file.stream("w"));
    rows(
        &session,
        "CREATE MATERIALIZED VIEW top AS SELECT ts, v FROM w ORDER BY v DESC LIMIT 60",
    );
    rows(
        &session,
        "CREATE MATERIALIZED VIEW twice AS SELECT ts, v * 2 AS v FROM top",
    );
    rows(
        &session,
        &format!("CREATE MATERIALIZED VIEW minutes AS {}", tumble("twice")),
    );
    // 2 · (61 + … + 120) = 10860
    assert_eq!(rows(&session, "SELECT n, total FROM minutes"), ["60 10860"]);
    let mut followed = session.subscribe("minutes").expect("it is there");
    let first = within(move || followed.next_within(PATIENCE)).expect("it has not failed");
    assert_eq!(first.expect("one window").num_rows(), 1);
}

#[test]
fn a_view_that_failed_says_so_when_it_is_read() {
    let session = session();
    rows(&session, "CREATE STREAM s (k TEXT)");
    rows(
        &session,
        "CREATE MATERIALIZED VIEW m AS SELECT CAST(k AS INT) AS x FROM s",
    );
    rows(&session, "INSERT INTO s VALUES ('a')");
    refused(&session, "SELECT count(x) FROM m");
    refused(
        &session,
        "CREATE MATERIALIZED VIEW above AS SELECT x FROM m",
    );

    let file = File::of(3);
    rows(&session, &file.stream("w"));
    rows(
        &session,
        "CREATE MATERIALIZED VIEW b AS SELECT CAST('a' || CAST(v AS TEXT) AS INT) AS x \
         FROM w ORDER BY v",
    );
    refused(&session, "SELECT count(x) FROM b");
    // The others are not concerned.
    assert_eq!(rows(&session, "SELECT count(*) FROM w"), ["3"]);
}

#[test]
fn queries_that_datafusion_answers_are_listed_with_their_accounts() {
    let (session, file) = (session(), File::of(3));
    rows(&session, &file.stream("w"));
    rows(
        &session,
        "CREATE MATERIALIZED VIEW top AS SELECT v FROM w WHERE v > 1 ORDER BY v",
    );
    assert_eq!(
        rows(
            &session,
            "SELECT name, accepted, in_window + filtered + late FROM windrow.queries",
        ),
        ["top 3 3"]
    );
}

#[test]
fn an_insert_from_a_live_stream_is_refused() {
    let session = session();
    rows(
        &session,
        &format!("{PUSHED} CREATE STREAM t (v BIGINT); CREATE VIEW n AS SELECT v FROM s"),
    );
    for source in ["s", "n"] {
        let error = refused(&session, &format!("INSERT INTO t SELECT v FROM {source}"));
        assert!(error.starts_with("s is a live stream"), "{error}");
        assert!(error.contains("materialized view"), "{error}");
    }
}

#[test]
fn errors_point_at_the_option_or_the_path() {
    let session = session();
    for (statement, place) in [
        (
            "CREATE STREAM x (v BIGINT) WITH (connector = 'tcp', format = 'csv', adress = ':1')",
            "1:69: adress",
        ),
        (
            "CREATE STREAM x (v BIGINT) WITH (connector = 'tcp', address = ':1')",
            "1:46: 'tcp'",
        ),
        (
            "CREATE STREAM x WITH (connector = 'file', path = 'nofile.csv')",
            "1:50: 'nofile.csv'",
        ),
        ("SELECT * FROM 'nofile.csv'", "1:16: nofile.csv"),
        (
            "CREATE SINK x WITH (connector = 'file', path = 'x.xyz') AS SELECT 1 AS v",
            "1:48: 'x.xyz'",
        ),
    ] {
        let error = refused(&session, statement);
        assert!(error.contains(&format!("--> sql:{place}\n")), "{error}");
    }
}

#[test]
fn a_column_is_inserted_once() {
    let session = session();
    rows(&session, PUSHED);
    let error = refused(&session, "INSERT INTO s (v, v) VALUES (1, 2)");
    assert!(
        error.starts_with("column v is named twice\n  --> sql:1:19: v"),
        "{error}"
    );
}

#[test]
fn what_an_insert_would_cut_off_is_refused_at_its_place() {
    let session = session();
    rows(
        &session,
        &format!("{PUSHED} CREATE MATERIALIZED VIEW m AS SELECT v FROM s"),
    );
    let error = refused(&session, "INSERT INTO s (v) VALUES (1.0), (1.7)");
    assert!(
        error.starts_with(
            "column v, row 2: 1.7 (DOUBLE) does not fit BIGINT without loss\n  --> sql:1:13: s"
        ),
        "{error}"
    );
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![2.5]));
    let floats = RecordBatch::try_from_iter([("v", floats)]).expect("one column");
    session.push("s", floats).expect_err("half is lost");
}

#[test]
fn a_bounded_stream_is_not_ended_by_hand() {
    let (session, file) = (session(), File::of(3));
    rows(&session, &file.stream("w"));
    let error = refused(&session, "ALTER STREAM w END");
    assert!(error.starts_with("stream w ends by itself"), "{error}");
    assert_eq!(rows(&session, "SELECT count(*) FROM w"), ["3"]);
}

#[test]
fn a_file_is_described_by_its_path() {
    let (session, file) = (session(), File::of(3));
    for quote in ['\'', '"'] {
        let described = rows(
            &session,
            &format!("DESCRIBE {quote}{}{quote}", file.0.display()),
        );
        let names: Vec<_> = described
            .iter()
            .filter_map(|row| row.split(' ').next())
            .collect();
        assert_eq!(names, ["ts", "v"]);
    }
}

#[test]
fn queries_that_are_over_leave_nothing_behind() {
    let (session, file) = (session(), File::of(3));
    rows(&session, &file.stream("w"));
    rows(&session, "CREATE MATERIALIZED VIEW m AS SELECT v FROM w");
    for _ in 0..5 {
        assert_eq!(rows(&session, "SELECT sum(v) FROM w"), ["6"]);
        assert_eq!(rows(&session, &tumble("w")), ["2026-01-01T00:00:00 3 6"]);
        assert_eq!(rows(&session, "SELECT v FROM m WHERE v = 2"), ["2"]);
        assert_eq!(
            rows(&session, "SELECT received FROM windrow.streams"),
            ["3"]
        );
    }
    let entry = session.stream_entry("w").expect("it is there");
    // The view's reading and the newest.
    assert_eq!(entry.readings().list.len(), 2);
    assert_eq!(session.shared.driver().engine.all_query_stats().len(), 1);
    // The first query joins the view's reading, the nine others have had their own.
    assert_eq!(session.progress().rows, 30);
}

#[test]
fn rows_can_be_pushed_while_another_thread_runs() {
    let (session, file) = (session(), File::of(10));
    rows(
        &session,
        &format!("CREATE STREAM p (v BIGINT); {}", file.stream("w")),
    );
    rows(&session, "CREATE MATERIALIZED VIEW m AS SELECT v FROM p");
    rows(
        &session,
        "CREATE STREAM clock WITH (connector = 'generator', realtime = 'true', rate = '1000')",
    );
    rows(
        &session,
        "CREATE MATERIALIZED VIEW ticks AS SELECT 1 AS one FROM clock",
    );
    let runs = {
        let session = session.clone();
        thread::spawn(move || session.run())
    };
    let pushing = session.clone();
    within(move || {
        for value in 0..500 {
            pushing.push("p", of_values(vec![value])).expect("it fits");
        }
    });
    assert_eq!(rows(&session, "SELECT count(v) FROM m"), ["500"]);
    session.cancel();
    runs.join()
        .expect("no panic")
        .expect_err("it was cancelled");
}

#[test]
fn one_of_two_threads_creates_a_name() {
    let session = session();
    for round in 0..20 {
        let made = thread::scope(|scope| {
            let create = || {
                let sql = format!("CREATE STREAM s{round} (v BIGINT)");
                session.sql(&sql).is_ok()
            };
            let (a, b) = (scope.spawn(create), scope.spawn(create));
            let made = [a.join(), b.join()];
            made.iter().filter(|made| matches!(made, Ok(true))).count()
        });
        assert_eq!(made, 1);
    }
}

/// A query that DataFusion takes part in, and its answer.
fn sum_of_a_file(session: &Session, file: &File) -> i64 {
    let sql = format!(
        "SELECT sum(v) AS total FROM '{}' ORDER BY total",
        file.0.display()
    );
    let rows = session
        .sql(&sql)
        .and_then(|answer| answer.collect())
        .expect("it runs");
    rows[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[test]
fn a_session_works_inside_executors() {
    let total = within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("an executor");
        runtime.block_on(async { sum_of_a_file(&session(), &File::of(4)) })
    });
    assert_eq!(total, 10);
    let total = within(|| {
        let mut pool = futures::executor::LocalPool::new();
        pool.run_until(async { sum_of_a_file(&session(), &File::of(5)) })
    });
    assert_eq!(total, 15);
}

#[test]
fn two_sessions_know_nothing_of_each_other() {
    let (one, other) = (session(), session());
    for session in [&one, &other] {
        rows(
            session,
            &format!("{PUSHED} CREATE MATERIALIZED VIEW m AS SELECT v FROM s"),
        );
    }
    rows(
        &one,
        "INSERT INTO s (v, ts) VALUES (1, TIMESTAMP '2026-01-01 00:00:00')",
    );
    assert_eq!(rows(&one, "SELECT v FROM m"), ["1"]);
    assert_eq!(rows(&other, "SELECT count(v) FROM m"), ["0"]);
    other.cancel();
    assert_eq!(rows(&one, "SELECT v FROM m"), ["1"]);
}

#[test]
fn rows_in_memory_have_a_name_of_their_own() {
    let session = session();
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let batch = RecordBatch::try_new(schema.clone(), of_values(vec![1, 2]).columns().to_vec());
    let batches = vec![batch.expect("it fits")];
    (session.register_table("t", schema.clone(), batches.clone())).expect("the name is free");
    let taken: Error = (session.register_table("t", schema, batches)).expect_err("it is taken");
    assert_eq!(taken.to_string(), "there is a table t already");
    assert_eq!(rows(&session, "SELECT sum(v) FROM t"), ["3"]);
}
