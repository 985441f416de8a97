//! What becomes of the sinks of queries: shown, completed, stopped, given up.
//!
//! ```text
//!  rows end ─▶ finish: the output is whole
//!  stopped  ─▶ finish where the input is live, otherwise stop: no half for a whole
//!  failed   ─▶ abort: nothing is left behind
//! ```

use std::sync::Arc;

use super::engine::{Engine, QueryId};
use super::stats::QueryStatus;
use crate::error::{Error, Result};
use crate::stream::{LeftOut, Sink};

impl Engine {
    /// Adds a receiver of a query's further results. If the query has ended, there are
    /// none: the output is completed.
    ///
    /// # Errors
    /// If there is no such query, it has failed, or the output cannot be completed.
    pub fn add_sink(&mut self, query: QueryId, mut sink: Box<dyn Sink>) -> Result<()> {
        let query = self.query_mut(query)?;
        match &query.status {
            QueryStatus::Running => query.sinks.push(sink),
            QueryStatus::Ended => sink.finish()?,
            QueryStatus::Failed(error) => {
                sink.abort();
                return Err(Error::Shared(error.clone()));
            }
        }
        Ok(())
    }

    /// Stops: open windows stay open in the state. Sinks of live queries publish what they
    /// were given; those of the others give up what would pass for the whole. The names
    /// of what was given up.
    pub fn stop(&mut self) -> Vec<String> {
        let ids: Vec<usize> = self.queries.keys().copied().collect();
        (ids.into_iter())
            .flat_map(|id| self.cut_sinks(QueryId(id)))
            .collect()
    }

    /// Ends the sinks of a running query before its rows have ended. The names of what
    /// was given up.
    pub(super) fn cut_sinks(&mut self, id: QueryId) -> Vec<String> {
        self.cut_sinks_by(id, |sink| sink.finish())
    }

    /// As [`Engine::cut_sinks`]; `close` ends each sink of a live query.
    pub(super) fn cut_sinks_by(
        &mut self,
        id: QueryId,
        close: fn(&mut dyn Sink) -> Result<()>,
    ) -> Vec<String> {
        let mut given_up = Vec::new();
        let Some(query) = self.queries.get_mut(&id.0) else {
            return given_up;
        };
        let is_cut = matches!(query.status, QueryStatus::Running) && !query.is_live;
        if is_cut {
            query.status = QueryStatus::Ended;
            for mut sink in std::mem::take(&mut query.sinks) {
                match sink.stop() {
                    Ok(name) => given_up.extend(name),
                    Err(error) => query.status = QueryStatus::Failed(Arc::new(error)),
                }
            }
        }
        self.close_sinks_by(id, false, close);
        given_up
    }

    /// Gives up what all sinks were given and have not published.
    pub fn abort(&mut self) {
        for query in self.queries.values_mut() {
            for mut sink in std::mem::take(&mut query.sinks) {
                sink.abort();
            }
        }
    }

    /// Whether any query takes rows and has somewhere to write its results to.
    pub fn has_running_sinks(&self) -> bool {
        (self.queries.values())
            .any(|query| matches!(query.status, QueryStatus::Running) && !query.sinks.is_empty())
    }

    /// What the sinks of live queries have left out so far, with the name of the query.
    pub fn left_out(&self) -> Vec<(Arc<str>, LeftOut)> {
        let live = self.queries.values().filter(|query| query.is_live);
        live.flat_map(|query| {
            let left_out = query.sinks.iter().filter_map(|sink| sink.left_out());
            left_out.map(|left_out| (query.name.clone(), left_out))
        })
        .collect()
    }

    /// Lets sinks do what is due by the clock.
    pub(super) fn tick_sinks(&mut self) {
        for id in self.queries.keys().copied().collect::<Vec<_>>() {
            let Some(query) = self.queries.get_mut(&id) else {
                continue;
            };
            let ticked = query.sinks.iter_mut().try_for_each(|sink| sink.tick());
            if let Err(error) = ticked {
                self.fail(QueryId(id), Arc::new(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::SchemaRef;

    use super::super::engine::{EngineConfig, Input, QuerySpec, Step, StreamId};
    use super::super::ingress::{LiveRules, Prepare, Prepared, StreamSpec};
    use super::*;
    use crate::operator::Union;

    fn rows() -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        RecordBatch::try_from_iter([("v", column)]).expect("one column")
    }

    #[derive(Debug)]
    struct AsTheyAre;

    impl Prepare for AsTheyAre {
        fn schema(&self) -> SchemaRef {
            rows().schema()
        }

        fn prepare(&mut self, records: &RecordBatch) -> Result<Prepared> {
            Ok(Prepared {
                records: records.clone(),
                violations: Vec::new(),
            })
        }

        fn describe(&self, _: &RecordBatch, _: usize) -> String {
            String::new()
        }
    }

    /// Writes down what is asked of it.
    #[derive(Debug, Clone, Default)]
    struct Asked(Arc<Mutex<Vec<&'static str>>>);

    impl Asked {
        fn note(&self, what: &'static str) {
            self.0.lock().expect("one thread").push(what);
        }

        fn take(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.0.lock().expect("one thread"))
        }
    }

    impl Sink for Asked {
        fn write(&mut self, _: &RecordBatch) -> Result<()> {
            self.note("write");
            Ok(())
        }

        fn tick(&mut self) -> Result<()> {
            self.note("tick");
            Ok(())
        }

        fn stop(&mut self) -> Result<Option<String>> {
            self.note("stop");
            Ok(Some("out.csv".into()))
        }

        fn finish(&mut self) -> Result<()> {
            self.note("finish");
            Ok(())
        }

        fn abort(&mut self) {
            self.note("abort");
        }
    }

    fn engine(live: Option<LiveRules>) -> (Engine, StreamId, QueryId) {
        let config = EngineConfig {
            workers: 1,
            ..EngineConfig::default()
        };
        let mut engine = Engine::new(config, Arc::new(AtomicBool::new(false))).expect("threads");
        let stream = StreamSpec {
            name: "s".into(),
            prepare: Box::new(AsTheyAre),
            event_time: None,
            live,
            partitions: 1,
            on_error: Default::default(),
            expect: None,
        };
        let stream = engine.add_stream(stream, 0).expect("it fits");
        let query = QuerySpec {
            name: "q".into(),
            steps: vec![Step {
                operator: Box::new(Union::new(rows().schema(), 1)),
                inputs: vec![Input::Stream(stream)],
                is_window: false,
            }],
            view: None,
            sinks: Vec::new(),
        };
        let query = engine.attach(query).expect("it fits");
        (engine, stream, query)
    }

    #[test]
    fn a_clock_that_ticks_is_heard_without_rows() {
        let (mut engine, _, query) = engine(None);
        let sink = Asked::default();
        (engine.add_sink(query, Box::new(sink.clone()))).expect("it runs");
        engine.tick(1);
        assert_eq!(sink.take(), ["tick"]);
    }

    #[test]
    fn a_stop_is_an_end_for_live_rows_alone() {
        let rules = LiveRules {
            idle_timeout_ns: 0,
            max_future_ns: i64::MAX,
        };
        for (live, asked, missing) in [
            (None, "stop", vec!["out.csv".to_owned()]),
            (Some(rules), "finish", vec![]),
        ] {
            let (mut engine, stream, query) = engine(live);
            let sink = Asked::default();
            (engine.add_sink(query, Box::new(sink.clone()))).expect("it runs");
            (engine.push(stream, 0, &rows(), Vec::new(), 0, 0)).expect("it fits");
            assert_eq!(engine.stop(), missing);
            assert_eq!(sink.take(), ["write", asked]);
            assert_eq!(engine.stop(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_sink_of_a_query_that_has_ended_is_completed_at_once() {
        let (mut engine, stream, query) = engine(None);
        engine.end_stream(stream).expect("it is there");
        let sink = Asked::default();
        (engine.add_sink(query, Box::new(sink.clone()))).expect("it has ended well");
        assert_eq!(sink.take(), ["finish"]);
        assert!(!engine.has_running_sinks());
    }

    #[test]
    fn a_query_that_is_taken_off_leaves_no_half_for_a_whole() {
        let (mut engine, stream, query) = engine(None);
        let sink = Asked::default();
        (engine.add_sink(query, Box::new(sink.clone()))).expect("it runs");
        (engine.push(stream, 0, &rows(), Vec::new(), 0, 0)).expect("it fits");
        drop(engine.detach(query));
        assert_eq!(sink.take(), ["write", "stop"]);
    }

    /// Takes so many batches, and no more.
    #[derive(Debug)]
    struct Full(usize);

    impl Sink for Full {
        fn write(&mut self, _: &RecordBatch) -> Result<()> {
            self.0 = (self.0.checked_sub(1)).ok_or_else(|| Error::invalid("it is full"))?;
            Ok(())
        }

        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn rows_that_come_after_a_query_has_failed_are_counted() {
        let (mut engine, stream, query) = engine(None);
        (engine.add_sink(query, Box::new(Full(2)))).expect("it runs");
        let reader = QuerySpec {
            name: "r".into(),
            steps: vec![Step {
                operator: Box::new(Union::new(rows().schema(), 1)),
                inputs: vec![Input::Query(query)],
                is_window: false,
            }],
            view: None,
            sinks: vec![Box::new(Full(1))],
        };
        let reader = engine.attach(reader).expect("it fits");
        let mut after = Vec::new();
        for _ in 0..5 {
            (engine.push(stream, 0, &rows(), Vec::new(), 0, 0)).expect("it fits");
            after.push([query, reader].map(|id| {
                let stats = engine.query_stats(id).expect("it is there");
                stats.after_failure
            }));
        }
        // The reader fails on the second row, what it reads on the third, which it does not
        // give on.
        assert_eq!(after, [[0, 0], [0, 0], [0, 1], [1, 2], [2, 3]]);
    }

    #[test]
    fn an_abort_gives_up_what_is_not_published() {
        let (mut engine, _, query) = engine(None);
        let sink = Asked::default();
        (engine.add_sink(query, Box::new(sink.clone()))).expect("it runs");
        assert!(engine.has_running_sinks());
        engine.abort();
        assert_eq!(sink.take(), ["abort"]);
    }
}
