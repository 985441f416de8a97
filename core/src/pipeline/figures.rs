//! What an engine tells of its streams and queries.

use arrow::datatypes::SchemaRef;

use super::accounts::LateRecords;
use super::engine::{Engine, Input, Query, QueryId, StreamId, Target};
use super::guard::counters_of;
use super::stats::{QueryStats, QueryStatus, StreamStats};
use crate::error::Result;
use crate::stream::Reject;

impl Engine {
    /// How a stream stands.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn stream_stats(&self, stream: StreamId) -> Result<StreamStats> {
        let ingress = self.ingress(stream)?;
        Ok(StreamStats {
            counters: ingress.counters,
            watermark: ingress.tracker.current(),
            expected: (ingress.expected.as_ref())
                .and_then(|expected| expected.count(ingress.tracker.current())),
            ended: ingress.ended,
            rejects_let_go: ingress.rejects.let_go(),
            late_let_go: ingress.late.let_go(),
        })
    }

    /// How a query stands.
    ///
    /// # Errors
    /// If there is no such query.
    pub fn query_stats(&self, query: QueryId) -> Result<QueryStats> {
        let query = self.query(query)?;
        let mut stats = QueryStats {
            name: query.name.clone(),
            status: query.status.clone(),
            accepted: query.accepted,
            in_window: query.passed + query.before.in_window,
            filtered: query.before.filtered,
            late: query.before.late,
            missed_windows: query.before.missed_windows,
            failed: 0,
            after_failure: self.after_failure(query),
            rows_out: query.rows_out,
            watermark: query.watermark,
            keys: 0,
            panes: 0,
            open_windows: 0,
            state_bytes: 0,
            operators: Vec::new(),
        };
        for node in query.nodes.iter().filter_map(|node| self.nodes.get(node)) {
            let counters = counters_of(&*node.operator);
            if node.on_rows {
                stats.in_window += counters.in_window;
                stats.filtered += counters.filtered;
                stats.late += counters.late;
                stats.missed_windows += counters.missed_windows;
            }
            stats.keys += counters.keys;
            stats.panes += counters.panes;
            stats.open_windows += counters.open_windows;
            stats.state_bytes += counters.state_bytes;
            stats
                .operators
                .push((node.operator.name().into(), counters));
        }
        if matches!(stats.status, QueryStatus::Failed(_)) {
            let accounted = stats.in_window + stats.filtered + stats.late;
            stats.failed = stats.accepted.saturating_sub(accounted);
        }
        Ok(stats)
    }

    /// Rows that came for a query after it had failed.
    fn after_failure(&self, query: &Query) -> u64 {
        let since = |(input, before): &(Input, u64)| match input {
            Input::Stream(stream) => (self.streams.get(&stream.0)).map_or(0, |ingress| {
                ingress.counters.accepted.saturating_sub(*before)
            }),
            Input::Query(read) => self.queries.get(&read.0).map_or(0, |read| {
                read.rows_out.saturating_sub(*before) + self.after_failure(read)
            }),
            Input::Operator(_) => 0,
        };
        query.left.iter().map(since).sum()
    }

    /// What a query reads, with the rows that each has given.
    pub(super) fn inputs_of(&self, id: QueryId) -> Vec<(Input, u64)> {
        let is_read = |targets: &[Target]| {
            targets.iter().any(|target| match *target {
                Target::Node { node, .. } => {
                    (self.nodes.get(&node)).is_some_and(|node| node.query == id)
                }
                Target::Output(query) => query == id,
            })
        };
        let streams = (self.streams.iter())
            .filter(|(stream, _)| {
                self.stream_targets
                    .get(stream)
                    .is_some_and(|of| is_read(of))
            })
            .map(|(stream, from)| (Input::Stream(StreamId(*stream)), from.counters.accepted));
        let queries = (self.queries.iter())
            .filter(|(_, query)| is_read(&query.targets))
            .map(|(query, from)| (Input::Query(QueryId(*query)), from.rows_out));
        streams.chain(queries).collect()
    }

    /// The streams that a query reads, itself or by way of other queries; none once it has
    /// ended.
    pub fn streams_of(&self, query: QueryId) -> Vec<StreamId> {
        let mut streams = Vec::new();
        let mut queries = vec![query];
        while let Some(query) = queries.pop() {
            for (input, _) in self.inputs_of(query) {
                match input {
                    Input::Stream(stream) => streams.push(stream),
                    Input::Query(read) => queries.push(read),
                    Input::Operator(_) => {}
                }
            }
        }
        streams
    }

    /// Whether any query takes rows.
    pub fn has_running_queries(&self) -> bool {
        (self.queries.values()).any(|query| matches!(query.status, QueryStatus::Running))
    }

    /// How all queries stand.
    pub fn all_query_stats(&self) -> Vec<(QueryId, QueryStats)> {
        (self.queries.keys())
            .map(|query| QueryId(*query))
            .filter_map(|query| Some((query, self.query_stats(query).ok()?)))
            .collect()
    }

    /// The rejects of a stream that are kept, oldest first.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn rejects(&self, stream: StreamId) -> Result<Vec<Reject>> {
        Ok(self.ingress(stream)?.rejects.iter().cloned().collect())
    }

    /// The newest row among the rejects of a stream that are kept, if there is one.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn last_reject(&self, stream: StreamId) -> Result<Option<&Reject>> {
        let rejects = &self.ingress(stream)?.rejects;
        Ok(rejects.iter().rev().find(|reject| reject.is_row()))
    }

    /// The late rows of a stream that are kept, oldest first.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn late_rows(&self, stream: StreamId) -> Result<Vec<LateRecords>> {
        Ok(self.ingress(stream)?.late.entries().cloned().collect())
    }

    /// Whether a stream may go on for ever.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn is_live(&self, stream: StreamId) -> Result<bool> {
        Ok(self.ingress(stream)?.spec.live.is_some())
    }

    /// The columns of a stream's accepted rows.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn stream_schema(&self, stream: StreamId) -> Result<SchemaRef> {
        Ok(self.ingress(stream)?.spec.prepare.schema())
    }
}
