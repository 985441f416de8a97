//! Figures of a stream that is live, where something waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use windrow_core::pipeline::Stepped;
use windrow_core::stream::{Backlog, Source, SourceEvent};

use super::Session;
use super::shared::{STEP_WAIT, now_ns};
use crate::connector::registry::Connector;
use crate::error::Result;

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("ts", time, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

/// Gives so many rows one by one, each dated ten seconds ago, and says that so many wait. Then
/// it may end.
#[derive(Debug, Clone)]
struct Queue {
    left: Arc<AtomicU64>,
    waiting: u64,
    ends: bool,
}

impl Connector for Queue {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.clone()))
    }
}

impl Source for Queue {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn poll(&mut self, _: Duration) -> windrow_core::Result<SourceEvent> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Ok(match self.ends {
                true => SourceEvent::End,
                false => SourceEvent::Pending,
            });
        }
        self.left.store(left - 1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
        let time = now.as_micros() as i64 - 10_000_000;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(vec![time])),
            Arc::new(Int64Array::from(vec![left as i64])),
        ];
        Ok(SourceEvent::Batch {
            partition: 0,
            records: RecordBatch::try_new(schema(), columns).expect("it fits"),
            rejected: Vec::new(),
            origin: None,
            bytes: 16,
        })
    }

    fn backlog(&self) -> Option<Backlog> {
        Some(Backlog {
            rows: self.waiting,
            rows_max: 100,
        })
    }

    fn waited(&self) -> Duration {
        Duration::from_millis(250)
    }
}

/// A session with a live stream that has given twenty rows to a view, while forty wait.
fn session() -> Session {
    let session = Session::new().expect("threads");
    let queue = Queue {
        left: Arc::new(AtomicU64::new(20)),
        waiting: 40,
        ends: false,
    };
    (session.add_stream("q", Arc::new(queue), Some(("ts", Duration::ZERO)))).expect("it fits");
    session
        .sql("CREATE MATERIALIZED VIEW m AS SELECT v FROM q WHERE v > 5")
        .expect("it fits");
    while session.figures().streams[0].counters.received < 20 {
        let stepped = session.shared.step(STEP_WAIT).expect("not cancelled");
        assert_ne!(stepped, Stepped::NoSource);
    }
    session
}

#[test]
fn a_live_stream_has_a_lag_a_backlog_and_delays() {
    let session = session();
    // Time passes for sure: a rate needs some.
    std::thread::sleep(Duration::from_millis(2));
    let figures = session.figures();
    let [stream] = figures.streams.as_slice() else {
        panic!("{figures:?}");
    };
    assert_eq!(stream.counters.processed, 20);
    // 6 to 20 are above 5.
    assert_eq!(stream.counters.emitted, 15);
    assert_eq!(stream.processing_efficiency(), Some(1.0));
    assert_eq!(stream.collection_rate(), None);
    let lag = stream.lag_ms.expect("a watermark");
    assert!((10_000..60_000).contains(&lag), "{lag} ms");
    // Each row has waited for 250 ms before it was taken.
    for delay in [stream.delay_p50, stream.delay_p99] {
        let delay = delay.expect("there are results");
        assert!(delay >= Duration::from_millis(247), "{delay:?}");
        assert!(delay < Duration::from_secs(30), "{delay:?}");
    }
    let backlog = stream.backlog.expect("some wait");
    assert_eq!((backlog.rows, backlog.rows_max), (40, 100));
    // Sixty have come since the beginning, twenty have gone: in twice the time that has
    // passed until now, 120 would have come and the queue be full.
    let (input, processing) = (
        stream.rates.input.expect("time has passed"),
        stream.rates.processing.expect("time has passed"),
    );
    assert!(
        (input / processing - 3.0).abs() < 1e-9,
        "{input} {processing}"
    );
    assert_eq!(stream.drain_s, None);
    let overflow = stream.overflow_s.expect("more come than go");
    assert!((overflow * (input - processing) - 60.0).abs() < 1e-6);
    assert!((stream.rates.bytes.expect("time has passed") / processing - 16.0).abs() < 1e-9);
}

#[test]
fn a_query_has_ended_when_its_stream_did_however_late_that_is_seen() {
    let session = Session::new().expect("threads");
    let queue = Queue {
        left: Arc::new(AtomicU64::new(20)),
        waiting: 0,
        ends: true,
    };
    (session.add_stream("q", Arc::new(queue), Some(("ts", Duration::ZERO)))).expect("it fits");
    let begun = Instant::now();
    for view in ["a AS SELECT v FROM q", "b AS SELECT v FROM a"] {
        let create = format!("CREATE MATERIALIZED VIEW {view}");
        session.sql(&create).expect("it fits");
    }
    // Nobody looks until it is over.
    session.shared.start_readings().expect("not cancelled");
    while session.shared.driver().step(Duration::ZERO, &now_ns) != Stepped::NoSource {}
    let took = begun.elapsed();
    std::thread::sleep(took + Duration::from_millis(300));
    let figures = session.figures();
    assert_eq!(figures.queries.len(), 2);
    for query in figures.queries {
        let rate = query.rates.rows_in.expect("time has passed");
        let seconds = 20.0 / rate;
        assert!(seconds <= took.as_secs_f64(), "{seconds} s, {took:?}");
    }
}

#[test]
fn live_streams_can_be_asked_about_in_sql_while_a_select_runs() {
    let session = session();
    let select = session.sql("SELECT v FROM q").expect("it fits");
    let names: Vec<String> = (session.figures().queries.iter())
        .map(|query| query.stats.name.to_string())
        .collect();
    assert_eq!(names, ["m", "query 1"]);
    let asked = "SELECT backlog_rows, received FROM windrow.streams \
                 WHERE lag_ms >= 10000 AND delay_p99_ms >= 247 AND overflow_s >= 0 AND drain_s IS NULL";
    let rows = session
        .sql(asked)
        .expect("it fits")
        .collect()
        .expect("rows");
    assert_eq!(rows.len(), 1);
    let number = |column: usize| rows[0].column(column).as_primitive::<Int64Type>().value(0);
    assert_eq!((number(0), number(1)), (40, 20));
    let asked = "SELECT CAST(sum(rows_out) AS BIGINT) FROM windrow.operators WHERE query = 'm' AND step = 1";
    let rows = session
        .sql(asked)
        .expect("it fits")
        .collect()
        .expect("rows");
    let number = rows[0].column(0).as_primitive::<Int64Type>().value(0);
    assert!(number == 20 || number == 15, "{number}");
    drop(select);
}
