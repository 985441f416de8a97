//! What a session does statement by statement, beside live streams and after a stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::logical_expr::{Volatility, create_udf};
use windrow_core::stream::{Source, SourceEvent};

use super::{ResultHandler, Session};
use crate::connector::registry::Connector;
use crate::error::{Error, ErrorKind, Result, Script};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives the numbers from 0 on, one a batch; then it ends, or is silent for ever.
#[derive(Debug, Clone)]
struct Numbers {
    count: i64,
    is_live: bool,
    /// Set when the first one is asked for.
    cancels: Option<Arc<AtomicBool>>,
}

fn number(n: i64) -> RecordBatch {
    let values = Arc::new(Int64Array::from(vec![n]));
    RecordBatch::try_from_iter([("n", values as _)]).expect("one column")
}

impl Connector for Numbers {
    fn schema(&self) -> SchemaRef {
        number(0).schema()
    }

    fn is_live(&self) -> bool {
        self.is_live
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(Counting {
            numbers: self.clone(),
            next: 0,
        }))
    }
}

#[derive(Debug)]
struct Counting {
    numbers: Numbers,
    next: i64,
}

impl Source for Counting {
    fn schema(&self) -> SchemaRef {
        number(0).schema()
    }

    fn is_live(&self) -> bool {
        self.numbers.is_live
    }

    fn poll(&mut self, _: Duration) -> windrow_core::Result<SourceEvent> {
        if let Some(cancel) = self.numbers.cancels.take() {
            cancel.store(true, Ordering::Relaxed);
        }
        if self.next == self.numbers.count {
            return Ok(match self.numbers.is_live {
                true => SourceEvent::Pending,
                false => SourceEvent::End,
            });
        }
        let records = number(self.next);
        self.next += 1;
        Ok(SourceEvent::Batch {
            partition: 0,
            bytes: 8,
            records,
            rejected: Vec::new(),
            origin: None,
        })
    }
}

fn session(numbers: Numbers) -> Session {
    let session = Session::new().expect("threads start");
    (session.add_stream("numbers", Arc::new(numbers), None)).expect("the name is free");
    session
}

/// Counts rows, and may stop the session when the first come.
struct Counted {
    rows: usize,
    rows_max: Option<usize>,
    stops: Option<Session>,
}

impl ResultHandler for Counted {
    fn begin(&mut self, _: &SchemaRef) -> Result<()> {
        Ok(())
    }

    fn begin_at_most(&mut self, _: &SchemaRef, rows_max: usize) -> Result<()> {
        self.rows_max = Some(rows_max);
        Ok(())
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows();
        if let Some(session) = self.stops.take() {
            session.cancel();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Runs a statement; how many rows it gave. It must come back.
fn run(session: &Session, text: &str, stops: bool) -> Result<usize, Error> {
    let script = Arc::new(Script {
        name: "test".into(),
        text: text.into(),
    });
    let mut counted = Counted {
        rows: 0,
        rows_max: None,
        stops: stops.then(|| session.clone()),
    };
    let session = session.clone();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let done = session.run_beside_live(&script, &mut counted);
        sender.send(done.map(|()| counted.rows))
    });
    receiver.recv_timeout(PATIENCE).expect("it comes back")
}

/// The one number that a query gives.
fn one(session: &Session, query: &str) -> i64 {
    let rows = (session.sql(query).and_then(|answer| answer.collect())).expect("it fits");
    rows[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Lets the session go on until a query gives a number.
fn go_on_until(session: &Session, query: &str, wanted: i64) {
    let start = Instant::now();
    while one(session, query) != wanted {
        assert!(start.elapsed() < PATIENCE, "{query} is never {wanted}");
        session.go_on(Duration::from_millis(1)).expect("it runs");
    }
}

#[test]
fn a_view_over_a_live_stream_goes_on_between_statements() {
    let session = session(Numbers {
        count: 100,
        is_live: true,
        cancels: None,
    });
    let view = "CREATE MATERIALIZED VIEW odd AS SELECT n FROM numbers WHERE n % 2 = 1";
    assert_eq!(run(&session, view, false).expect("it fits"), 0);
    go_on_until(&session, "SELECT count(*) FROM odd", 50);
    assert_eq!(
        run(&session, "SELECT * FROM odd", false).expect("it fits"),
        50
    );
}

#[test]
fn a_view_over_what_ends_is_complete_after_its_statement() {
    let session = session(Numbers {
        count: 100,
        is_live: false,
        cancels: None,
    });
    let view = "CREATE MATERIALIZED VIEW odd AS SELECT n FROM numbers WHERE n % 2 = 1";
    run(&session, view, false).expect("it fits");
    assert_eq!(session.progress().rows, 100);
    assert!(!session.go_on(Duration::ZERO).expect("it runs"));
}

#[test]
fn a_live_query_that_is_stopped_leaves_the_views_as_they_are() {
    let session = session(Numbers {
        count: 100,
        is_live: true,
        cancels: None,
    });
    let view = "CREATE MATERIALIZED VIEW kept AS SELECT n FROM numbers";
    run(&session, view, false).expect("it fits");
    let error = run(&session, "SELECT n FROM numbers", true).expect_err("it is stopped");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(session.resume(), [""; 0]);
    go_on_until(&session, "SELECT count(*) FROM kept", 100);
    assert_eq!(one(&session, "SELECT sum(n) FROM kept"), 99 * 100 / 2);
    assert!(session.failures().is_empty());
}

/// A session with a function that gives back its argument, and stops the session when it
/// is called for the first time.
fn with_a_stop(session: Session) -> Session {
    let stopping = session.clone();
    let is_first = AtomicBool::new(true);
    session.register_function(create_udf(
        "stopping",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Immutable,
        Arc::new(move |values| {
            if is_first.swap(false, Ordering::Relaxed) {
                stopping.cancel();
            }
            Ok(values[0].clone())
        }),
    ));
    session
}

#[test]
fn windows_that_are_being_given_out_are_given_out_later() {
    let session = with_a_stop(Session::new().expect("threads start"));
    // More results than an operator gives at once; each of the 60,000 rows is in one window.
    let script = "CREATE STREAM g WITH (connector = 'generator', rows = '60000', \
         sensors = '1000', rate = '1000'); \
         CREATE MATERIALIZED VIEW w AS SELECT sensor, window_start, stopping(count(*)) AS n \
         FROM TUMBLE(g, ts, INTERVAL '1' SECOND) GROUP BY sensor, window_start";
    let error = run(&session, script, false).expect_err("it is stopped");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    session.resume();
    assert_eq!(one(&session, "SELECT sum(n) FROM w"), 60_000);
}

#[test]
fn what_was_being_read_for_a_view_is_read_on() {
    let mut numbers = Numbers {
        count: 100,
        is_live: false,
        cancels: None,
    };
    let session = Session::new().expect("threads start");
    numbers.cancels = Some(session.cancel_flag());
    (session.add_stream("numbers", Arc::new(numbers), None)).expect("the name is free");
    let view = "CREATE MATERIALIZED VIEW m AS SELECT n % 3 AS k, count(*) AS c \
         FROM numbers GROUP BY n % 3 ORDER BY k";
    let error = run(&session, view, false).expect_err("it is stopped");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    session.resume();
    assert!(session.failures().is_empty());
    assert_eq!(one(&session, "SELECT sum(c) FROM m"), 100);
}

#[test]
fn rows_that_come_at_once_do_not_pass_for_the_whole_when_they_are_cut_short() {
    let session = with_a_stop(session(Numbers {
        count: 100,
        is_live: false,
        cancels: None,
    }));
    let view = "CREATE MATERIALIZED VIEW m AS SELECT stopping(count(*)) AS c FROM numbers";
    let error = run(&session, view, false).expect_err("it is stopped");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    session.resume();
    let failures = session.failures();
    let failures: Vec<_> = (failures.iter())
        .map(|(name, error)| (name.as_str(), error.message()))
        .collect();
    let cut = "it was interrupted before it had its rows";
    assert_eq!(failures, [("m", cut)]);
    let error = run(&session, "SELECT * FROM m", false).expect_err("it is not whole");
    assert_eq!(error.message(), cut);
}

#[test]
fn what_nobody_asks_for_any_more_is_not_read_on() {
    let endless = Numbers {
        count: i64::MAX,
        is_live: false,
        cancels: None,
    };
    let session = session(endless);
    let error = run(&session, "SELECT n FROM numbers", true).expect_err("it is stopped");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    session.resume();
    assert!(!session.go_on(Duration::ZERO).expect("it runs"));
    // Nor for a query that has seen enough.
    assert_eq!(
        run(&session, "SELECT n FROM numbers LIMIT 3", false).ok(),
        Some(3)
    );
    assert!(!session.go_on(Duration::ZERO).expect("it runs"));
}

#[test]
fn what_was_stopped_does_not_hold_up_other_statements() {
    let mut endless = Numbers {
        count: i64::MAX,
        is_live: false,
        cancels: None,
    };
    let session = Session::new().expect("threads start");
    endless.cancels = Some(session.cancel_flag());
    (session.add_stream("numbers", Arc::new(endless), None)).expect("the name is free");
    for view in [
        "CREATE MATERIALIZED VIEW m AS SELECT n FROM numbers WHERE n % 1000000 = 0",
        "CREATE MATERIALIZED VIEW m AS SELECT count(*) AS c FROM numbers",
    ] {
        let error = run(&session, view, false).expect_err("it is stopped");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        session.resume();
        assert!(session.go_on(Duration::ZERO).expect("it runs"));
        run(&session, "CREATE VIEW other AS SELECT 1 AS a", false).expect("it fits");
        run(&session, "DROP VIEW other; DROP VIEW m", false).expect("it fits");
        assert!(!session.go_on(Duration::ZERO).expect("it runs"));
    }
}

#[test]
fn what_is_known_can_be_named() {
    let session = session(Numbers {
        count: 0,
        is_live: false,
        cancels: None,
    });
    run(
        &session,
        "CREATE VIEW twice AS SELECT 2 * n AS m FROM numbers",
        false,
    )
    .expect("it fits");
    let known = session.known();
    let relations: Vec<_> = (known.relations.iter())
        .map(|relation| (relation.name.as_str(), relation.columns.join(" ")))
        .collect();
    assert_eq!(relations, [("numbers", "n".into()), ("twice", "m".into())]);
    for function in ["avg", "tumble", "upper"] {
        assert!(known.functions.iter().any(|name| name == function));
    }
    let file = known.connectors.iter().find(|(name, _)| name == "file");
    let (_, options) = file.expect("it is there");
    for option in ["path", "connector", "existing"] {
        assert!(options.iter().any(|name| name == option), "{option}");
    }
    assert!(known.settings.iter().any(|name| name == "view_bytes_max"));
}

/// Numbers behind a door that may be shut: a port that another has.
#[derive(Debug)]
struct Door {
    numbers: Numbers,
    is_shut: Arc<AtomicBool>,
}

impl Connector for Door {
    fn schema(&self) -> SchemaRef {
        number(0).schema()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        match self.is_shut.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Io, "the door is shut")),
            false => self.numbers.open(),
        }
    }
}

#[test]
fn a_source_that_could_not_be_opened_is_opened_for_the_next_query() {
    let is_shut = Arc::new(AtomicBool::new(true));
    let door = Door {
        numbers: Numbers {
            count: 3,
            is_live: true,
            cancels: None,
        },
        is_shut: is_shut.clone(),
    };
    let session = Session::new().expect("threads start");
    (session.add_stream("numbers", Arc::new(door), None)).expect("the name is free");
    let ask = || session.sql("SELECT n FROM numbers LIMIT 3")?.collect();
    for _ in 0..3 {
        let error = ask().expect_err("it is shut");
        assert_eq!(error.message(), "the door is shut");
    }
    // A view that failed with it stays failed; the stream does not.
    session
        .sql("CREATE MATERIALIZED VIEW kept AS SELECT n FROM numbers")
        .expect("it fits");
    while session.go_on(Duration::ZERO).expect("nobody cancels") {}
    assert_eq!(session.failures().len(), 1);
    is_shut.store(false, Ordering::Relaxed);
    let rows = ask().expect("it is open");
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

#[test]
fn how_many_rows_a_limit_leaves_is_told_before_they_come() {
    let numbers = Numbers {
        count: 5,
        is_live: true,
        cancels: None,
    };
    for (query, rows, rows_max) in [
        ("SELECT n FROM numbers LIMIT 3", 3, Some(3)),
        (
            "SELECT n + 1 AS m FROM numbers WHERE n > 1 LIMIT 2",
            2,
            Some(2),
        ),
    ] {
        let session = session(numbers.clone());
        let text = query.to_owned();
        let name = "test".to_owned();
        let mut counted = Counted {
            rows: 0,
            rows_max: None,
            stops: None,
        };
        let script = Arc::new(Script { name, text });
        (session.run_beside_live(&script, &mut counted)).expect("it ends");
        assert_eq!(
            (counted.rows, counted.rows_max),
            (rows, rows_max),
            "{query}"
        );
    }
}
