//! Tables of a real PostgreSQL, read back by its own client.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use windrow_tests::command::windrow;
use windrow_tests::port::free_address;
use windrow_tests::postgres::Postgres;

/// Runs a script, in which `URL` stands for the database.
fn run(script: &str, url: &str) -> Output {
    let script = script.replace("URL", url);
    let child = windrow(&["-c", &script, "--progress", "plain"]).spawn();
    child
        .expect("it starts")
        .wait_with_output()
        .expect("it ends")
}

fn succeeds(script: &str, url: &str) -> String {
    let output = run(script, url);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(script: &str, url: &str) -> String {
    let output = run(script, url);
    assert!(!output.status.success(), "it should fail");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn values_of_every_type_come_back_as_they_were() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let script = r#"
        CREATE STREAM v (ts TIMESTAMP, at TIMESTAMP_LTZ(3), n BIGINT, x DOUBLE, r REAL,
          d DECIMAL(12, 3), t TEXT, b BOOLEAN, day DATE);
        CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 'odd "Name"; --') AS
        SELECT *, arrow_cast(t, 'Binary') AS raw, arrow_cast(n, 'UInt64') AS "select",
          arrow_cast(t, 'Dictionary(Int32, Utf8)') AS "A ""b""" FROM v;
        INSERT INTO v VALUES
          (TIMESTAMP '2026-01-02 03:04:05.678901', TIMESTAMP '2026-01-02T03:04:05.678Z', 1, 0.1,
           0.5, 123456789.125, E'tab\tand \\slash', true, DATE '2026-02-28'),
          (TIMESTAMP '1969-12-31 23:59:59.5', TIMESTAMP '1969-12-31T23:59:59Z', 7, 'NaN',
           '-Infinity', -0.001, '\N', false, DATE '0001-01-01'),
          (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        ALTER STREAM v END;"#;
    succeeds(script, &postgres.url(postgres.port));
    let found = postgres.ask(r#"SELECT * FROM "odd ""Name""; --" ORDER BY n"#);
    assert_eq!(
        found,
        [
            "2026-01-02 03:04:05.678901|2026-01-02 03:04:05.678+00|1|0.1|0.5|123456789.125|\
             tab\tand \\slash|t|2026-02-28|\\x74616209616e64205c736c617368|1|tab\tand \\slash",
            "1969-12-31 23:59:59.5|1969-12-31 23:59:59+00|7|NaN|-Infinity|-0.001|\
             \\N|f|0001-01-01|\\x5c4e|7|\\N",
            "NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
        ]
    );
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) \
                 FROM pg_attribute WHERE attnum > 0 AND attrelid = '\"odd \"\"Name\"\"; --\"'::regclass";
    assert_eq!(
        postgres.ask(types),
        [
            "timestamp without time zone,timestamp with time zone,bigint,double precision,real,\
          numeric(12,3),text,boolean,date,bytea,numeric(20,0),text"
        ]
    );
}

#[test]
fn rows_that_are_there_stay_or_go_as_is_said() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let url = &postgres.url(postgres.port);
    let sink = |options: &str, query: &str| {
        format!(
            "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 'n'{options}) AS
             {query};"
        )
    };
    let rows = || postgres.ask("SELECT n FROM n ORDER BY n");
    succeeds(&sink("", "SELECT 1 AS n WHERE 1 = 2"), url);
    assert!(rows().is_empty());
    succeeds(&sink("", "SELECT 1 AS n"), url);
    let error = fails(&sink("", "SELECT 2 AS n"), url);
    assert!(
        error.contains("table 'n' of postgres 127.0.0.1:"),
        "{error}"
    );
    assert!(error.contains("it holds rows already"), "{error}");
    assert!(error.contains("existing = 'append'"), "{error}");
    succeeds(&sink(", existing = 'append'", "SELECT 2 AS n"), url);
    assert_eq!(rows(), ["1", "2"]);
    // What fails leaves the old rows: 'a' is no number.
    let bad = "SELECT CASE WHEN value = 1 THEN 'a' ELSE '5' END AS n FROM generate_series(1, 3)";
    let error = fails(&sink(", existing = 'replace'", bad), url);
    assert!(
        error.contains("invalid input syntax for type bigint"),
        "{error}"
    );
    assert_eq!(rows(), ["1", "2"]);
    succeeds(&sink(", existing = 'replace'", "SELECT 3 AS n"), url);
    assert_eq!(rows(), ["3"]);
    succeeds(
        &sink(", existing = 'replace'", "SELECT 1 AS n WHERE 1 = 2"),
        url,
    );
    assert!(rows().is_empty());
    let error = fails(&sink(", existing = 'append'", "SELECT 1 AS n, 2 AS m"), url);
    assert!(error.contains("column \"m\" does not exist"), "{error}");
}

#[test]
fn a_row_that_no_table_can_hold_is_told_and_the_others_arrive() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.ndjson");
    let rows = "{\"n\":1,\"t\":\"a\"}\n{\"n\":2,\"t\":\"b\\u0000c\"}\n{\"n\":3,\"t\":\"d\"}\n\
                {\"n\":4,\"t\":\"\\u0000\"}\n";
    std::fs::write(&path, rows).expect("written");
    let script = format!(
        "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 'n') AS
         SELECT n, t FROM '{path}';
         CREATE SINK o WITH (connector = 'postgres', url = 'URL', table = 'o') AS
         SELECT n, regexp_replace(t, '\\x00', '', 'g') AS t FROM '{path}';",
        path = path.display()
    );
    let error = fails(&script, &postgres.url(postgres.port));
    let told = "sink s: 2 rows were not written to table 'n' of postgres 127.0.0.1:";
    assert!(error.contains(told), "{error}");
    let first = "all others were: the first: 'b\\0c' of column \"t\" holds the character U+0000";
    assert!(error.contains(first), "{error}");
    let help = r"regexp_replace(t, '\x00', '', 'g') AS t";
    assert!(error.contains(help), "{error}");
    assert_eq!(
        postgres.ask("SELECT n, t FROM n ORDER BY n"),
        ["1|a", "3|d"]
    );
    // The other sink is not held up, and what the help says helps.
    assert_eq!(
        postgres.ask("SELECT n, t FROM o ORDER BY n"),
        ["1|a", "2|bc", "3|d", "4|"]
    );
}

#[test]
fn rows_that_no_table_can_hold_count_among_those_that_a_failure_left_out() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    postgres.ask("CREATE TABLE small (a varchar(3))");
    postgres.ask("CREATE TABLE once (a text PRIMARY KEY)");
    postgres.ask("INSERT INTO once VALUES ('b')");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.ndjson");
    let rows = "{\"a\":\"x\"}\n{\"a\":\"nu\\u0000l\"}\n{\"a\":\"toolong\"}\n{\"a\":\"b\"}\n";
    std::fs::write(&path, rows).expect("written");
    let script = |table: &str| {
        format!(
            "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = '{table}',
               existing = 'append', retry_timeout = '300 ms') AS SELECT a FROM '{}';",
            path.display()
        )
    };
    let nul = "; 1 of them could not be: 'nu\\0l' of column \"a\" holds the character U+0000";
    let url = &postgres.url(postgres.port);
    let nobody = &postgres.url(free_address().port());
    for (table, url, why) in [
        ("small", url, "value too long for type character varying(3)"),
        ("once", url, "duplicate key value"),
        ("small", nobody, "tried for"),
    ] {
        let error = fails(&script(table), url);
        let told = format!("4 rows were not written to table '{table}' of postgres");
        assert!(error.contains(&told), "{error}");
        assert!(error.contains(why) && error.contains(nul), "{error}");
    }
    assert!(postgres.ask("SELECT a FROM small").is_empty());
    assert_eq!(postgres.ask("SELECT a FROM once"), ["b"]);
}

#[test]
fn the_first_row_that_is_left_out_of_a_live_stream_is_told_when_it_comes() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let address = free_address();
    let script = format!(
        "CREATE STREAM r (a TEXT) WITH (connector = 'tcp', address = '{address}', format = 'ndjson');
         CREATE SINK s WITH (connector = 'postgres', url = '{}', table = 'n') AS SELECT a FROM r;",
        postgres.url(postgres.port)
    );
    let mut child = (windrow(&["-c", &script]).spawn()).expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    let mut client = loop {
        match TcpStream::connect(address) {
            Ok(client) => break client,
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
        assert!(child.try_wait().expect("it is ours").is_none());
    };
    let rows = b"{\"a\":\"x\"}\n{\"a\":\"nu\\u0000l\"}\n{\"a\":\"\\u0000\"}\n";
    client.write_all(rows).expect("sent");
    // While it goes on, and once.
    let told = next();
    let start = "warning: sink s: a row was left out of table 'n' of postgres 127.0.0.1:";
    assert!(told.starts_with(start), "{told}");
    assert!(told.contains("'nu\\0l' of column \"a\" holds"), "{told}");
    assert!(next().contains("regexp_replace(a, "));
    assert!(child.try_wait().expect("it is ours").is_none());
    let interrupt = (Command::new("kill"))
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill is there").success());
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    let rest = rest.join("\n");
    assert!(rest.contains("sink s: 2 rows were not written"), "{rest}");
    assert_eq!(rest.matches("was left out").count(), 0, "{rest}");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert_eq!(postgres.ask("SELECT a FROM n"), ["x"]);
}

#[test]
fn who_is_not_let_in_is_told_what_to_look_at() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let url = &postgres.url(postgres.port);
    let script = "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 'n',
                    retry_timeout = '300 ms') AS SELECT 1 AS n;";
    let help = "= help: see whether the user, the password and the database are right: in the url, \
                or the password in the option password";
    let (host, _) = url.rsplit_once('/').expect("a database");
    let error = fails(script, &format!("{host}/nowhere"));
    let why = "database \"nowhere\" does not exist";
    assert!(error.contains(why) && error.contains(help), "{error}");
    let error = fails(script, &url.replace("se%2Fcret", "wrong"));
    let why = "password authentication failed for user \"ada\"";
    assert!(error.contains(why) && error.contains(help), "{error}");
    assert!(!error.contains("wrong"), "{error}");
    // No name below "invalid" ever has an address.
    let error = fails(script, &url.replace("127.0.0.1", "no-host.invalid"));
    let why = "cannot write to table 'n' of postgres no-host.invalid:";
    let rows = "1 row was not written to table 'n' of postgres no-host.invalid:";
    assert!(error.contains(why) || error.contains(rows), "{error}");
    let help = "= help: see whether host and port are right and the database runs";
    assert!(error.contains(help), "{error}");
}

#[test]
fn a_password_is_not_shown() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let script =
        "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 't') AS SELECT 1 AS n;
                  SHOW SINKS;";
    let shown = succeeds(script, &postgres.url(postgres.port));
    assert!(shown.contains("postgres://ada:…@127.0.0.1:"), "{shown}");
    let wrong = postgres.url(postgres.port).replace("se%2Fcret", "hidden");
    let output = run(
        "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 'u') AS SELECT 1 AS n;",
        &wrong,
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("password authentication failed for user \"ada\""),
        "{error}"
    );
    assert!(
        error.contains("the user, the password and the database"),
        "{error}"
    );
}

/// Stands between a client and the database, and cuts connections at their COMMITs.
struct Scissors {
    port: u16,
    /// COMMITs that came.
    commits: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scissors {
    fn start(database: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it has one").port();
        let (commits, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counted, stopped) = (commits.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(SeqCst) {
                    return;
                }
                let server = TcpStream::connect(("127.0.0.1", database)).expect("it is there");
                between(client.expect("a client"), server, Some(&counted));
            }
        });
        Self {
            port,
            commits,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Scissors {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // It waits for a client.
        let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Carries bytes both ways until one side ends. Of three COMMITs that are counted the first does
/// not arrive, the second does but is not answered, and the third passes.
fn between(mut client: TcpStream, mut server: TcpStream, commits: Option<&AtomicUsize>) {
    let (mut to_client, mut from_server) = (
        client.try_clone().expect("cloned"),
        server.try_clone().expect("cloned"),
    );
    let muted = Arc::new(AtomicBool::new(false));
    let is_muted = muted.clone();
    let back = thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from_server.read(&mut bytes) {
            // The answer to a COMMIT that was carried over, and that nobody hears.
            if is_muted.load(SeqCst) || to_client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let bytes = &bytes[..count];
        // COMMIT comes alone, after the answer to COPY.
        let number = match commits {
            Some(commits) if bytes == b"Q\x00\x00\x00\x0bCOMMIT\x00" => {
                commits.fetch_add(1, SeqCst)
            }
            _ => 2,
        };
        match number % 3 {
            0 => break,
            1 => {
                muted.store(true, SeqCst);
                server.write_all(bytes).expect("sent");
                break;
            }
            _ => {}
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    if muted.load(SeqCst) {
        back.join().expect("it ends");
    } else {
        let _ = server.shutdown(Shutdown::Both);
        let _ = back.join();
    }
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn a_row_comes_once_though_connections_break() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let scissors = Scissors::start(postgres.port);
    succeeds(
        "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 'n',
           existing = 'replace', batch_rows = '1000') AS
         SELECT value AS n FROM generate_series(1, 10000);",
        &postgres.url(scissors.port),
    );
    // Of ten batches every second one is cut twice, once before and once after it is committed.
    assert_eq!(scissors.commits.load(SeqCst), 15);
    // 10,000 · 10,001 / 2.
    let found = postgres.ask("SELECT count(*), count(DISTINCT n), sum(n) FROM n");
    assert_eq!(found, ["10000|10000|50005000"]);
}

#[test]
fn a_database_that_is_away_is_told_after_a_while() {
    let port = free_address().port();
    let url = format!("postgres://ada@127.0.0.1:{port}/db");
    let script = "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 'n',
                    retry_timeout = '500 ms') AS SELECT value AS n FROM generate_series(1, 9);";
    let error = fails(script, &url);
    let told =
        format!("9 rows were not written to table 'n' of postgres 127.0.0.1:{port}/db: tried");
    assert!(error.contains(&told), "{error}");
    assert!(error.contains("retry_timeout"), "{error}");
}

#[test]
fn a_database_that_comes_later_gets_all_rows() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let port = free_address().port();
    let script = "CREATE SINK s WITH (connector = 'postgres', url = 'URL', table = 'n') AS
                  SELECT value AS n FROM generate_series(1, 9);"
        .replace("URL", &postgres.url(port));
    let child = windrow(&["-c", &script, "--progress", "plain"]).spawn();
    let child = child.expect("it starts");
    // Some attempts meet nobody.
    thread::sleep(Duration::from_millis(600));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("still free");
    let (client, _) = listener.accept().expect("it calls again");
    let server = TcpStream::connect(("127.0.0.1", postgres.port)).expect("it is there");
    between(client, server, None);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(postgres.ask("SELECT count(*) FROM n"), ["9"]);
}
