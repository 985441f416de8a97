//! Sessions that are saved after a source was opened again, and restored into others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use windrow_core::stream::{Source, SourceEvent};

use super::Session;
use super::shared::STEP_WAIT;
use crate::connector::registry::Connector;
use crate::error::{Error, ErrorKind, Result};

/// Nothing here takes so many steps.
const STEPS_MAX: usize = 1_000;

const VIEW: &str = "AS SELECT window_start, count(*) AS n \
                    FROM TUMBLE(r, ts, INTERVAL '1' MINUTE) GROUP BY window_start";

/// What an opening gives: seconds of 1970, one a batch, and whether they end.
type Opening = Option<(&'static [i64], bool)>;

/// A source by its openings, the last one first; `None` is one that fails.
#[derive(Debug)]
struct Openings {
    is_live: bool,
    left: Mutex<Vec<Opening>>,
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![Field::new("ts", time, true)]))
}

impl Connector for Openings {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn is_live(&self) -> bool {
        self.is_live
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        let next = self.left.lock().expect("nobody panics").pop();
        let Some((seconds, ends)) = next.expect("it is opened no more") else {
            return Err(Error::new(ErrorKind::Io, "the door is shut"));
        };
        Ok(Box::new(Opened {
            is_live: self.is_live,
            seconds,
            ends,
        }))
    }
}

#[derive(Debug)]
struct Opened {
    is_live: bool,
    seconds: &'static [i64],
    ends: bool,
}

impl Source for Opened {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn is_live(&self) -> bool {
        self.is_live
    }

    fn poll(&mut self, _: Duration) -> windrow_core::Result<SourceEvent> {
        let Some((second, later)) = self.seconds.split_first() else {
            return Ok(match self.ends {
                true => SourceEvent::End,
                false => SourceEvent::Pending,
            });
        };
        self.seconds = later;
        let times = TimestampMicrosecondArray::from(vec![second * 1_000_000]);
        Ok(SourceEvent::Batch {
            partition: 0,
            records: RecordBatch::try_new(schema(), vec![Arc::new(times)]).expect("it fits"),
            rejected: Vec::new(),
            origin: None,
            bytes: 8,
        })
    }
}

fn session(is_live: bool, openings: &[Opening]) -> Session {
    let session = Session::new().expect("threads");
    let left = Mutex::new(openings.iter().rev().copied().collect());
    let source = Arc::new(Openings { is_live, left });
    (session.add_stream("r", source, Some(("ts", Duration::ZERO)))).expect("it fits");
    session
}

fn say(session: &Session, sql: &str) {
    let said = session.sql(sql).expect("it fits").collect();
    said.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// All values of one column.
fn numbers(session: &Session, query: &str) -> Vec<i64> {
    let rows = session.sql(query).expect("it fits").collect().expect(query);
    let column = |rows: &RecordBatch| rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    rows.iter().flat_map(column).collect()
}

/// Received, and late among them.
fn counted(session: &Session) -> [u64; 2] {
    let counters = session.figures().streams[0].counters;
    [counters.received, counters.late]
}

fn step_until(session: &Session, done: impl Fn() -> bool) {
    for _ in 0..STEPS_MAX {
        if done() {
            return;
        }
        session.shared.step(STEP_WAIT).expect("nobody cancels");
    }
    panic!("it does not come to that: {:?}", session.figures());
}

#[test]
fn a_live_stream_that_was_opened_again_goes_on_where_it_was_saved() {
    let first = session(true, &[None, Some((&[0, 30, 70], false))]);
    say(&first, &format!("CREATE MATERIALIZED VIEW m {VIEW}"));
    step_until(&first, || !first.failures().is_empty());
    say(&first, "DROP VIEW m");
    say(&first, &format!("CREATE MATERIALIZED VIEW m {VIEW}"));
    step_until(&first, || counted(&first) == [3, 0]);
    let saved = first.snapshot().expect("it is saved");
    drop(first);

    // The row of the first minute comes too late, as the first session has seen 70.
    let second = session(true, &[Some((&[20, 80, 130], false))]);
    say(&second, &format!("CREATE MATERIALIZED VIEW m {VIEW}"));
    second.restore(&saved).expect("it is the same");
    assert_eq!(counted(&second), [3, 0]);
    step_until(&second, || counted(&second)[0] == 6);
    assert_eq!(counted(&second), [6, 1]);
    let counts = "SELECT n FROM m ORDER BY window_start";
    assert_eq!(numbers(&second, counts), [2, 2]);
}

#[test]
fn what_a_later_view_reads_again_goes_on_where_it_was_saved() {
    // The second reading has come to its first row when all is saved.
    let first = session(false, &[Some((&[0, 30], true)), Some((&[0], false))]);
    say(&first, &format!("CREATE MATERIALIZED VIEW a {VIEW}"));
    step_until(&first, || first.figures().streams[0].ended == Some(true));
    say(&first, &format!("CREATE MATERIALIZED VIEW b {VIEW}"));
    step_until(&first, || counted(&first) == [1, 0]);
    let saved = first.snapshot().expect("it is saved");
    drop(first);

    // Declared at once, both views join one reading: `a` has all its rows already.
    let second = session(false, &[Some((&[30], true))]);
    for view in ["a", "b"] {
        say(&second, &format!("CREATE MATERIALIZED VIEW {view} {VIEW}"));
    }
    second.restore(&saved).expect("it is the same");
    step_until(&second, || second.figures().streams[0].ended == Some(true));
    assert_eq!(counted(&second), [2, 0]);
    assert_eq!(numbers(&second, "SELECT n FROM a"), [2]);
    assert_eq!(numbers(&second, "SELECT n FROM b"), [2]);
}
