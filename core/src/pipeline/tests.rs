//! The engine as a whole, over small operators.

mod room;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::*;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::operator::{Counters, Drain, Limit, Operator, Output, RowFunction, Stateless};
use crate::snapshot::Snapshot;
use crate::stream::{Arrival, Origin, Place, RULE_NOTICE, Reject, Source, SourceEvent};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
}

fn rows(values: &[i64]) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_new(schema(), vec![column]).expect("one column")
}

fn values(view: &View) -> Vec<i64> {
    let batches = view.batches().expect("rows are there");
    let column = |batch: &RecordBatch| {
        batch
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    };
    batches.iter().flat_map(column).collect()
}

/// A stream without rules but that values lie below 100.
#[derive(Debug)]
struct Below100;

impl Prepare for Below100 {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn prepare(&mut self, records: &RecordBatch) -> Result<Prepared> {
        let column: &Int64Array = records.column(0).as_primitive();
        let broken = column
            .values()
            .iter()
            .enumerate()
            .filter(|(_, v)| **v >= 100);
        Ok(Prepared {
            records: records.clone(),
            violations: broken
                .map(|(row, _)| Violation {
                    row,
                    rule: "below 100".into(),
                    reason: "it is too large".into(),
                })
                .collect(),
        })
    }

    fn describe(&self, _: &RecordBatch, row: usize) -> String {
        row.to_string()
    }
}

/// Gives rows on as they are, or fails at a value, or sets a flag.
#[derive(Debug, Default)]
struct Same {
    fails_at: Option<i64>,
    cancels: Option<Arc<AtomicBool>>,
}

impl RowFunction for Same {
    fn name(&self) -> &str {
        "Same"
    }

    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn apply(&mut self, batch: Batch) -> Result<Batch> {
        let column: &Int64Array = batch.records.column(0).as_primitive();
        if column
            .values()
            .iter()
            .any(|value| Some(*value) == self.fails_at)
        {
            return Err(Error::invalid("a value that cannot be borne"));
        }
        if let Some(cancel) = &self.cancels {
            cancel.store(true, Ordering::Relaxed);
        }
        Ok(batch)
    }
}

/// An operator that cannot be saved.
#[derive(Debug)]
struct Unsaveable(Stateless);

impl Operator for Unsaveable {
    fn name(&self) -> &str {
        "Unsaveable"
    }
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn on_batch(&mut self, input: usize, batch: Batch) -> Result<()> {
        self.0.on_batch(input, batch)
    }
    fn on_watermark(&mut self, input: usize, watermark: i64) -> Result<()> {
        self.0.on_watermark(input, watermark)
    }
    fn on_end(&mut self, input: usize) -> Result<()> {
        self.0.on_end(input)
    }
    fn drain(&mut self, budget: usize, out: &mut Vec<Output>) -> Result<Drain> {
        self.0.drain(budget, out)
    }
    fn counters(&self) -> Counters {
        panic!("it cannot count either")
    }
    fn save(&mut self) -> Result<Snapshot> {
        panic!("it cannot be saved")
    }
    fn load(&mut self, _: &Snapshot) -> Result<()> {
        Ok(())
    }
}

struct Bench {
    engine: Engine,
    stream: StreamId,
    cancel: Arc<AtomicBool>,
}

fn bench(on_error: OnError) -> Bench {
    let cancel = Arc::new(AtomicBool::new(false));
    let config = EngineConfig {
        workers: 1,
        ..EngineConfig::default()
    };
    let mut engine = Engine::new(config, cancel.clone()).expect("threads");
    let spec = StreamSpec {
        name: "s".into(),
        prepare: Box::new(Below100),
        event_time: None,
        live: None,
        partitions: 1,
        on_error,
        expect: None,
    };
    let stream = engine.add_stream(spec, 0).expect("a stream");
    Bench {
        engine,
        stream,
        cancel,
    }
}

impl Bench {
    fn attach(&mut self, name: &str, operators: Vec<Box<dyn Operator>>) -> (QueryId, Arc<View>) {
        let view = Arc::new(View::new(schema(), 1 << 20));
        let steps = operators
            .into_iter()
            .enumerate()
            .map(|(place, operator)| Step {
                operator,
                inputs: vec![match place.checked_sub(1) {
                    Some(before) => Input::Operator(before),
                    None => Input::Stream(self.stream),
                }],
                is_window: false,
            });
        let spec = QuerySpec {
            name: name.into(),
            steps: steps.collect(),
            view: Some(view.clone()),
            sinks: Vec::new(),
        };
        (self.engine.attach(spec).expect("attaches"), view)
    }

    fn push(&mut self, values: &[i64]) -> Result<PushReport> {
        (self.engine).push(self.stream, 0, &rows(values), Vec::new(), 0, 0)
    }
}

fn same() -> Box<dyn Operator> {
    Box::new(Stateless::new(Box::new(Same::default())))
}

fn failing_at(value: i64) -> Box<dyn Operator> {
    Box::new(Stateless::new(Box::new(Same {
        fails_at: Some(value),
        cancels: None,
    })))
}

#[test]
fn what_a_cancelled_engine_had_under_way_is_restored_and_given_out() {
    let mut first = bench(OnError::Keep);
    let cancels = Stateless::new(Box::new(Same {
        fails_at: None,
        cancels: Some(first.cancel.clone()),
    }));
    let limit = || Box::new(Limit::new(schema(), 1, Some(2)));
    let (_, view) = first.attach("q", vec![Box::new(cancels), same(), limit()]);
    first.push(&[1, 2, 3, 4]).expect("pushed");
    assert!(values(&view).is_empty(), "it was cancelled on the way");
    let saved = first
        .engine
        .save()
        .expect("saved")
        .encode()
        .expect("encoded");

    let mut second = bench(OnError::Keep);
    let (query, view) = second.attach("q", vec![same(), same(), limit()]);
    let saved = Snapshot::decode(&saved).expect("decoded");
    second.engine.load(&saved, 0).expect("loaded");
    second.engine.resume();
    assert_eq!(values(&view), [2, 3]);
    let stats = second.engine.query_stats(query).expect("there");
    assert!(matches!(stats.status, QueryStatus::Ended));
    assert_eq!((stats.accepted, stats.in_window, stats.filtered), (4, 2, 2));
    let stats = second.engine.stream_stats(second.stream).expect("there");
    assert_eq!(stats.counters.emitted, 2);
}

#[test]
fn a_query_that_failed_stays_failed_and_its_view_says_why() {
    let mut first = bench(OnError::Keep);
    let (query, view) = first.attach("bad", vec![same(), failing_at(3)]);
    let (_, good) = first.attach("good", vec![same()]);
    first.push(&[1, 2]).expect("pushed");
    first.push(&[3, 4, 5]).expect("pushed");
    let check = |engine: &Engine, query, view: &Arc<View>| {
        let stats = engine.query_stats(query).expect("there");
        let QueryStatus::Failed(error) = &stats.status else {
            panic!("{:?}", stats.status);
        };
        assert_eq!(error.to_string(), "a value that cannot be borne");
        assert_eq!((stats.accepted, stats.in_window, stats.failed), (5, 2, 3));
        let mut cursor = view.subscribe();
        assert!(matches!(cursor.next(Duration::ZERO), Next::Batch(b) if b == rows(&[1, 2])));
        assert!(matches!(cursor.next(Duration::ZERO), Next::Failed(_)));
    };
    check(&first.engine, query, &view);
    assert_eq!(values(&good), [1, 2, 3, 4, 5]);
    let saved = first.engine.save().expect("saved");

    let mut second = bench(OnError::Keep);
    let (query, view) = second.attach("bad", vec![same(), failing_at(3)]);
    let (_, good) = second.attach("good", vec![same()]);
    second.engine.load(&saved, 0).expect("loaded");
    second.engine.resume();
    second.push(&[6]).expect("pushed");
    check(&second.engine, query, &view);
    assert_eq!(values(&good), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_query_that_ended_is_given_no_more_rows_after_a_restore() {
    let limit = || Box::new(Limit::new(schema(), 0, Some(1)));
    let mut first = bench(OnError::Keep);
    first.attach("q", vec![limit()]);
    first.push(&[1, 2]).expect("pushed");
    let saved = first.engine.save().expect("saved");
    let mut second = bench(OnError::Keep);
    let (query, view) = second.attach("q", vec![limit()]);
    // A reader that the saved run did not have.
    let (late, _) = second.attach("new", vec![same()]);
    second.engine.load(&saved, 0).expect("loaded");
    second.push(&[3]).expect("pushed");
    assert_eq!(values(&view), [1]);
    let stats = second.engine.query_stats(query).expect("there");
    assert_eq!((stats.accepted, stats.in_window, stats.filtered), (2, 1, 1));
    assert_eq!(second.engine.query_stats(late).expect("there").accepted, 1);
    let mut cursor = view.subscribe();
    assert!(matches!(cursor.next(Duration::ZERO), Next::Batch(_)));
    assert!(matches!(cursor.next(Duration::ZERO), Next::End));
}

#[test]
fn an_operator_that_cannot_be_saved_fails_its_query_alone() {
    let mut bench = bench(OnError::Keep);
    let inner = Stateless::new(Box::new(Same::default()));
    let (bad, _) = bench.attach("bad", vec![Box::new(Unsaveable(inner))]);
    let (good, _) = bench.attach("good", vec![same()]);
    bench.push(&[1]).expect("pushed");
    let saved = bench.engine.save().expect("the others are saved");
    let status = |query| bench.engine.query_stats(query).expect("there").status;
    assert!(matches!(status(bad), QueryStatus::Failed(_)));
    assert!(matches!(status(good), QueryStatus::Running));
    let queries = saved.part("queries").expect("queries");
    assert_eq!(
        queries
            .part("good")
            .expect("good")
            .number("status")
            .expect("status"),
        0
    );
    assert_eq!(
        queries
            .part("bad")
            .expect("bad")
            .number("status")
            .expect("status"),
        2
    );
}

#[test]
fn rows_beside_a_reject_that_fails_the_stream_are_counted() {
    let reject = || Reject {
        text: "x".into(),
        position: "line 3".into(),
        reason: "no number".into(),
        rule: "parse".into(),
    };
    let mut bench = bench(OnError::Fail);
    let (query, _) = bench.attach("q", vec![same()]);
    let pushed = (bench.engine).push(bench.stream, 0, &rows(&[1, 2]), vec![reject()], 0, 0);
    assert!(pushed.is_err());
    let counters = bench
        .engine
        .stream_stats(bench.stream)
        .expect("there")
        .counters;
    assert_eq!(
        (counters.received, counters.accepted, counters.rejected),
        (3, 0, 3)
    );
    let status = bench.engine.query_stats(query).expect("there").status;
    assert!(matches!(status, QueryStatus::Failed(_)));
}

#[test]
fn a_notice_is_kept_and_is_no_row() {
    let notice = || Reject {
        text: String::new(),
        position: "a.csv".into(),
        reason: "it was written anew".into(),
        rule: RULE_NOTICE.into(),
    };
    for on_error in [OnError::Keep, OnError::Skip, OnError::Fail] {
        let mut bench = bench(on_error);
        let _query = bench.attach("q", vec![same()]);
        for records in [rows(&[1, 2]), rows(&[])] {
            let pushed = (bench.engine).push(bench.stream, 0, &records, vec![notice()], 0, 0);
            assert_eq!(pushed.expect("no row is wrong").rejected, 0);
        }
        let stats = bench.engine.stream_stats(bench.stream).expect("there");
        let counters = stats.counters;
        assert_eq!(
            (counters.received, counters.accepted, counters.rejected),
            (2, 2, 0)
        );
        assert_eq!(bench.engine.rejects(bench.stream).expect("there").len(), 2);
    }
}

/// Rows that cannot be read again as they were.
#[derive(Debug)]
struct Changed;

impl Origin for Changed {
    fn places(&self, _: &[usize]) -> Vec<Place> {
        Vec::new()
    }

    fn rows_before(&self) -> &[usize] {
        &[]
    }

    fn whole(&self) -> Result<Option<RecordBatch>> {
        Ok(Some(rows(&[1])))
    }
}

/// Hears what becomes of its rows.
#[derive(Debug, Default)]
struct Heard {
    rejected: Mutex<Vec<String>>,
    settled: Mutex<Vec<PushReport>>,
}

impl Origin for Heard {
    fn places(&self, rows: &[usize]) -> Vec<Place> {
        let place = |row: &usize| Place {
            position: format!("row {row}"),
            text: None,
        };
        rows.iter().map(place).collect()
    }

    fn rows_before(&self) -> &[usize] {
        &[1]
    }

    fn rejected(&self, rejects: &[Reject]) {
        let positions = rejects.iter().map(|reject| reject.position.clone());
        self.rejected.lock().expect("one thread").extend(positions);
    }

    fn settled(&self, report: &PushReport) {
        self.settled.lock().expect("one thread").push(*report);
    }
}

#[test]
fn an_origin_hears_what_became_of_its_rows_unless_the_stream_fails() {
    for on_error in [OnError::Keep, OnError::Skip, OnError::Fail] {
        let mut bench = bench(on_error);
        let _query = bench.attach("q", vec![same()]);
        let heard = Heard::default();
        let unparsed = Reject {
            text: String::new(),
            position: "unparsed".into(),
            reason: String::new(),
            rule: String::new(),
        };
        // The first and the last are too large; one between them could not be parsed.
        let arrival = Arrival {
            partition: 0,
            records: &rows(&[100, 1, 2, 200]),
            rejected: vec![unparsed],
            origin: Some(&heard),
            bytes: 0,
        };
        let taken = bench.engine.take(bench.stream, arrival, 0);
        let rejected = heard.rejected.lock().expect("one thread");
        assert_eq!(*rejected, ["row 0", "unparsed", "row 3"]);
        let settled = heard.settled.lock().expect("one thread");
        let report = PushReport {
            accepted: 2,
            late: 0,
            rejected: 3,
        };
        match on_error {
            OnError::Fail => assert!(taken.is_err() && settled.is_empty()),
            _ => assert_eq!(
                (taken.expect("it goes on"), &settled[..]),
                (report, &[report][..])
            ),
        }
    }
}

#[test]
fn rows_that_have_changed_when_they_are_wanted_whole_fail_the_stream_and_are_counted() {
    let mut bench = bench(OnError::Keep);
    let (query, _) = bench.attach("q", vec![same()]);
    let stream = bench.stream;
    let take = |engine: &mut Engine, values: &[i64]| {
        let arrival = Arrival {
            partition: 0,
            records: &rows(values),
            rejected: Vec::new(),
            origin: Some(&Changed),
            bytes: 0,
        };
        engine.take(stream, arrival, 0)
    };
    // Nobody asks for them.
    let fits = take(&mut bench.engine, &[1, 2]);
    assert_eq!(fits.expect("it fits").accepted, 2);
    let broken = take(&mut bench.engine, &[3, 100]);
    let error = broken.expect_err("one row is not two").to_string();
    assert_eq!(error, "rows have changed while they were read");
    let stats = bench.engine.query_stats(query).expect("it is there");
    assert!(matches!(stats.status, QueryStatus::Failed(_)));
    let counters = bench
        .engine
        .stream_stats(bench.stream)
        .expect("there")
        .counters;
    assert_eq!(
        (counters.received, counters.accepted, counters.rejected),
        (4, 2, 2)
    );
}

#[test]
fn what_is_detached_leaves_nothing_behind() {
    let mut bench = bench(OnError::Keep);
    for _ in 0..100 {
        let (query, _) = bench.attach("q", vec![same(), same()]);
        drop(bench.engine.detach(query));
    }
    assert_eq!(
        (bench.engine.nodes.len(), bench.engine.queries.len()),
        (0, 0)
    );
}

#[test]
fn accepted_rows_are_processed_late_or_unread() {
    let mut bench = bench(OnError::Keep);
    let counters = |bench: &Bench| {
        let stats = bench
            .engine
            .stream_stats(bench.stream)
            .expect("it is there");
        let counters = stats.counters;
        let parts = (counters.processed, counters.late, counters.unread);
        assert_eq!(counters.accepted, parts.0 + parts.1 + parts.2);
        (counters.processed, counters.unread, counters.emitted)
    };
    // Nobody takes them.
    bench.push(&[1, 2]).expect("it fits");
    assert_eq!(counters(&bench), (0, 2, 0));
    let (_, all) = bench.attach("all", vec![same()]);
    bench.attach("failing", vec![failing_at(7)]);
    // Given out by both, then by the one that is left; one is rejected.
    bench.push(&[3, 4, 100]).expect("it fits");
    assert_eq!(counters(&bench), (2, 2, 4));
    bench.push(&[7]).expect("it fits");
    assert_eq!(counters(&bench), (3, 2, 5));
    assert_eq!(values(&all), [3, 4, 7]);

    let mut failed = self::bench(OnError::Keep);
    failed.attach("failing", vec![failing_at(7)]);
    failed.push(&[6]).expect("it fits");
    failed.push(&[7, 8]).expect("it fits");
    assert_eq!(counters(&failed), (1, 2, 1));
    // Who has seen enough has not failed.
    let mut enough = self::bench(OnError::Keep);
    enough.attach("two", vec![Box::new(Limit::new(schema(), 0, Some(2)))]);
    enough.push(&[1, 2, 3]).expect("it fits");
    assert_eq!(counters(&enough), (3, 0, 2));
}

#[test]
fn what_was_counted_is_saved() {
    let mut first = bench(OnError::Keep);
    first.attach("all", vec![same()]);
    first.push(&[1, 2, 100]).expect("it fits");
    let saved = first.engine.save().expect("saves");
    let mut second = bench(OnError::Keep);
    second.attach("all", vec![same()]);
    second.engine.load(&saved, 0).expect("loads");
    let counters = |bench: &Bench| {
        (bench.engine.stream_stats(bench.stream))
            .expect("it is there")
            .counters
    };
    assert_eq!(counters(&second), counters(&first));
    assert_eq!(
        (counters(&second).processed, counters(&second).emitted),
        (2, 2)
    );
}

/// Gives batches that have waited, and ends.
#[derive(Debug)]
struct Waited {
    batches: Vec<(RecordBatch, Duration)>,
    waited: Duration,
}

impl Source for Waited {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn poll(&mut self, _: Duration) -> Result<SourceEvent> {
        let Some((records, waited)) = self.batches.pop() else {
            return Ok(SourceEvent::End);
        };
        self.waited = waited;
        Ok(SourceEvent::Batch {
            partition: 0,
            records,
            rejected: Vec::new(),
            origin: None,
            bytes: 10,
        })
    }

    fn waited(&self) -> Duration {
        self.waited
    }
}

#[test]
fn a_driver_measures_by_its_clock() {
    let Bench { engine, stream, .. } = bench(OnError::Keep);
    let mut driver = Driver::new(engine);
    let bench = &mut driver.engine;
    let step = Step {
        operator: same(),
        inputs: vec![Input::Stream(stream)],
        is_window: false,
    };
    let spec = QuerySpec {
        name: "all".into(),
        steps: vec![step],
        view: None,
        sinks: Vec::new(),
    };
    bench.attach(spec).expect("attaches");
    let source = Waited {
        // Taken from the end. The last one brings nothing out.
        batches: vec![
            (rows(&[100]), Duration::from_secs(9)),
            (rows(&[1, 2]), Duration::from_millis(40)),
        ],
        waited: Duration::ZERO,
    };
    driver.start(stream, Box::new(source));
    assert!(driver.meter(stream).is_none(), "nobody has asked it");
    // The clock goes on by a millisecond whenever it is read.
    let now = std::sync::atomic::AtomicI64::new(1_000_000_000);
    let clock = || now.fetch_add(1_000_000, Ordering::Relaxed);
    while driver.sources() > 0 {
        driver.step(Duration::ZERO, &clock);
    }
    let meter = driver.meter(stream).expect("it has been read");
    assert!(
        (1_000_000_000..1_005_000_000).contains(&meter.started),
        "{meter:?}"
    );
    assert!(meter.ended.is_some_and(|ended| ended > meter.started));
    for quantile in [0.5, 0.99] {
        // 40 ms in a queue, 1 ms until the clock is read again.
        let delay = meter.delay(quantile).expect("two rows came out");
        assert!((delay - 41_000_000).abs() < 500_000, "{delay} ns");
    }
    driver.remove_stream(stream);
    assert!(driver.meter(stream).is_none());
}
