//! What a session does, and does not do any more, once it was cancelled.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::{Accumulator, Volatility, create_udaf};

use super::Session;
use crate::error::ErrorKind;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// More results than an operator gives at once.
const GENERATED: &str = "CREATE STREAM g WITH (connector = 'generator', rows = '60000', \
     sensors = '1000', rate = '1000');";

#[test]
fn rows_that_wait_are_not_given_out_after_a_cancel() {
    let session = Session::new().expect("threads start");
    let windows = format!(
        "{GENERATED} SELECT sensor, window_start, count(*) AS n \
         FROM TUMBLE(g, ts, INTERVAL '1' SECOND) GROUP BY sensor, window_start"
    );
    let mut answer = session.sql(&windows).expect("it fits");
    assert!(matches!(answer.next(), Some(Ok(_))), "the first rows");
    session.cancel();
    let error = (answer.next().expect("an answer")).expect_err("it is cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(answer.next().is_none());
}

/// Counts nothing, and tells on which thread it is dropped.
#[derive(Debug)]
struct Telling(Arc<Mutex<mpsc::Sender<ThreadId>>>);

impl Drop for Telling {
    fn drop(&mut self) {
        let told = self.0.lock().expect("nobody panics");
        // The test may have heard enough.
        let _ = told.send(thread::current().id());
    }
}

impl Accumulator for Telling {
    fn update_batch(&mut self, _: &[ArrayRef]) -> DataFusionResult<()> {
        Ok(())
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> DataFusionResult<()> {
        Ok(())
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(None)])
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        Ok(ScalarValue::Int64(None))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// A session with a view whose window is open, and the threads on which its states are
/// dropped.
fn with_an_open_window() -> (Session, mpsc::Receiver<ThreadId>) {
    let (sender, receiver) = mpsc::channel();
    let sender = Arc::new(Mutex::new(sender));
    let session = Session::new().expect("threads start");
    session.register_aggregate(create_udaf(
        "telling",
        vec![DataType::Int64],
        Arc::new(DataType::Int64),
        Volatility::Immutable,
        Arc::new(move |_| Ok(Box::new(Telling(sender.clone())))),
        Arc::new(vec![DataType::Int64]),
    ));
    let view = "CREATE STREAM s (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts AS ts); \
         CREATE MATERIALIZED VIEW m AS SELECT window_start, telling(v) AS t \
         FROM TUMBLE(s, ts, INTERVAL '1' MINUTE) GROUP BY window_start; \
         INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:00', 1)";
    session
        .sql(view)
        .and_then(|answer| answer.collect())
        .expect("it fits");
    // What planning and running needed is gone.
    while receiver.try_recv().is_ok() {}
    (session, receiver)
}

#[test]
fn nobody_who_cancels_waits_for_states_to_be_dropped() {
    let (session, dropped) = with_an_open_window();
    session.cancel();
    drop(session);
    let thread = dropped.recv_timeout(PATIENCE).expect("it is dropped");
    assert_ne!(thread, thread::current().id());
}

#[test]
fn states_of_a_session_that_is_not_cancelled_are_gone_with_it() {
    let (session, dropped) = with_an_open_window();
    drop(session);
    assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
}
