//! How fast rows move: what was counted between two looks, and what follows for what waits.
//!
//! ```text
//!            input                        processing
//!  senders ─────────▶ │ backlog V        │ ─────────▶ engine        dV/dt = input − processing
//!                     0 ────────────── maximum
//!                     ◀── drain_s   overflow_s ──▶
//! ```
//!
//! Rates are those of the last [`SPAN_NS`]. What has ended has one rate: that of all its
//! time. Times are nanoseconds of a clock that the caller reads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use windrow_core::pipeline::{Driver, QueryId, QueryStats, QueryStatus, StreamCounters, StreamId};

/// How far back a rate looks.
pub(super) const SPAN_NS: i64 = 5_000_000_000;

/// Counts are noted no more often than this.
const NOTE_EVERY_NS: i64 = 500_000_000;

/// `(after − before) / seconds`; `None` where no time has passed.
pub(super) fn per_second(before: u64, after: u64, nanos: i64) -> Option<f64> {
    (nanos > 0).then(|| after.saturating_sub(before) as f64 * 1e9 / nanos as f64)
}

/// In how many seconds what waits is gone, if nothing changes: `backlog / (processing −
/// input)`; `None` if it does not become less.
pub(super) fn drain_s(backlog: u64, input: f64, processing: f64) -> Option<f64> {
    (processing > input).then(|| backlog as f64 / (processing - input))
}

/// In how many seconds as much waits as may, if nothing changes: `(max − backlog) / (input
/// − processing)`; `None` if it does not become more.
pub(super) fn overflow_s(backlog: u64, max: u64, input: f64, processing: f64) -> Option<f64> {
    (input > processing).then(|| max.saturating_sub(backlog) as f64 / (input - processing))
}

/// What a stream has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StreamCounts {
    /// Rows that have come: received, or waiting.
    pub(super) arrived: u64,
    /// Rows that have been taken in: received and not dropped.
    pub(super) taken: u64,
    /// Bytes read.
    pub(super) bytes: u64,
}

impl StreamCounts {
    /// What a stream has counted while `waiting` rows wait in its source.
    fn of(counters: &StreamCounters, waiting: u64) -> Self {
        Self {
            arrived: counters.received + waiting,
            taken: counters.received - counters.dropped,
            bytes: counters.bytes,
        }
    }
}

/// What a stream of the engine has counted by now; `None` if it is not there.
pub(super) fn stream_counts(driver: &Driver, id: StreamId) -> Option<StreamCounts> {
    let stats = driver.engine.stream_stats(id).ok()?;
    let waiting = driver.backlog(id).map_or(0, |backlog| backlog.rows);
    Some(StreamCounts::of(&stats.counters, waiting))
}

/// How fast the rows of a stream move. `None` where no time has passed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StreamRates {
    /// Rows per second that come, dropped ones with them.
    pub input: Option<f64>,
    /// Rows per second that are taken in.
    pub processing: Option<f64>,
    /// Bytes per second that are read.
    pub bytes: Option<f64>,
}

impl StreamRates {
    /// The rates from one look to another.
    pub(super) fn between(before: &At<StreamCounts>, after: &At<StreamCounts>) -> Self {
        let nanos = after.at.saturating_sub(before.at);
        let rate = |count: fn(&StreamCounts) -> u64| {
            per_second(count(&before.counts), count(&after.counts), nanos)
        };
        Self {
            input: rate(|counts| counts.arrived),
            processing: rate(|counts| counts.taken),
            bytes: rate(|counts| counts.bytes),
        }
    }
}

/// What a query has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct QueryCounts {
    /// Rows given to it.
    pub(super) rows_in: u64,
    /// Result rows.
    pub(super) rows_out: u64,
    /// `[operators]`: rows given to each.
    pub(super) operators: Vec<u64>,
}

impl QueryCounts {
    /// What a query has counted.
    pub(super) fn of(stats: &QueryStats) -> Self {
        let operators = stats.operators.iter();
        Self {
            rows_in: stats.accepted,
            rows_out: stats.rows_out,
            operators: operators.map(|(_, counters)| counters.rows_in).collect(),
        }
    }
}

/// How fast the rows of a query move. `None` where no time has passed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryRates {
    /// Rows per second that it is given.
    pub rows_in: Option<f64>,
    /// Result rows per second.
    pub rows_out: Option<f64>,
    /// `[operators]`: rows per second that each is given.
    pub operators: Vec<Option<f64>>,
}

impl QueryRates {
    /// The rates from one look to another.
    pub(super) fn between(before: &At<QueryCounts>, after: &At<QueryCounts>) -> Self {
        let nanos = after.at.saturating_sub(before.at);
        let (from, to) = (&before.counts, &after.counts);
        let operators = to.operators.iter().enumerate().map(|(place, rows)| {
            let before = from.operators.get(place).copied();
            per_second(before.unwrap_or(0), *rows, nanos)
        });
        Self {
            rows_in: per_second(from.rows_in, to.rows_in, nanos),
            rows_out: per_second(from.rows_out, to.rows_out, nanos),
            operators: operators.collect(),
        }
    }
}

/// Counts at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    /// Nanoseconds of the clock.
    pub(super) at: i64,
    pub(super) counts: T,
}

/// The counts of the last seconds, oldest first; at least one.
#[derive(Debug)]
struct Track<T> {
    first: At<T>,
    recent: VecDeque<At<T>>,
    /// What had been counted when it ended.
    last: Option<At<T>>,
}

impl<T: Clone> Track<T> {
    fn new(first: At<T>) -> Self {
        Self {
            recent: VecDeque::from([first.clone()]),
            first,
            last: None,
        }
    }

    fn note(&mut self, now: At<T>) {
        let since = |noted: &At<T>| now.at.saturating_sub(noted.at);
        match self.recent.back().map(since) {
            Some(0..NOTE_EVERY_NS) => return,
            // The clock was set back: what was noted before says nothing.
            Some(..0) => self.recent.clear(),
            _ => {}
        }
        while self
            .recent
            .get(1)
            .is_some_and(|noted| since(noted) >= SPAN_NS)
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    /// Notes what it had counted when it ended, once.
    fn end(&mut self, now: At<T>) {
        self.last.get_or_insert(now);
    }

    /// The two looks between which the rates at `now` are told.
    fn span<'a>(&'a self, now: &'a At<T>) -> (&'a At<T>, &'a At<T>) {
        match &self.last {
            Some(last) => (&self.first, last),
            None => (self.before(now.at), now),
        }
    }

    /// The look from which the rates at `now` are told.
    fn before(&self, now: i64) -> &At<T> {
        let age = |noted: &&At<T>| now.saturating_sub(noted.at);
        let is_near = |noted: &&At<T>| (1..=SPAN_NS + NOTE_EVERY_NS).contains(&age(noted));
        // What is looked at seldom has been noted longer ago.
        let is_older = |noted: &&At<T>| age(noted) > 0;
        (self.recent.iter().find(is_near))
            .or_else(|| self.recent.iter().rev().find(is_older))
            .or(self.recent.back())
            .unwrap_or(&self.first)
    }
}

/// What streams and queries have counted of late.
#[derive(Debug, Default)]
pub(super) struct Flow {
    streams: BTreeMap<StreamId, Track<StreamCounts>>,
    queries: BTreeMap<QueryId, Track<QueryCounts>>,
    /// What they read: a query that has ended is told nothing of its streams any more.
    reads: BTreeMap<QueryId, Vec<StreamId>>,
}

impl Flow {
    /// How fast the rows of a stream move; `None` if nothing has been noted.
    pub(super) fn stream(&self, id: StreamId, now: &At<StreamCounts>) -> Option<StreamRates> {
        let (before, after) = self.streams.get(&id)?.span(now);
        Some(StreamRates::between(before, after))
    }

    /// Notes what streams and all queries have counted, and forgets what is no longer there.
    pub(super) fn look(
        &mut self,
        driver: &Driver,
        streams: impl Iterator<Item = StreamId>,
        queries: &[(QueryId, QueryStats)],
        now: i64,
    ) {
        let streams: BTreeSet<StreamId> = streams.collect();
        for id in &streams {
            self.look_at_stream(driver, *id, now);
        }
        self.streams.retain(|id, _| streams.contains(id));
        let known: BTreeSet<QueryId> = queries.iter().map(|(query, _)| *query).collect();
        self.queries.retain(|id, _| known.contains(id));
        self.reads.retain(|id, _| known.contains(id));
        for (id, stats) in queries {
            self.look_at_query(driver, *id, stats, now);
        }
    }

    /// Notes what a stream has counted, if its reading has begun.
    pub(super) fn look_at_stream(&mut self, driver: &Driver, id: StreamId, now: i64) {
        let (Some(meter), Some(counts)) = (driver.meter(id), stream_counts(driver, id)) else {
            return;
        };
        let first = At {
            at: meter.started,
            counts: StreamCounts::of(&meter.before, 0),
        };
        let track = (self.streams.entry(id)).or_insert_with(|| Track::new(first));
        match meter.ended {
            Some(at) => track.end(At { at, counts }),
            None => track.note(At { at: now, counts }),
        }
    }

    /// Notes that a query over `streams` has begun.
    pub(super) fn begin_query(&mut self, id: QueryId, streams: Vec<StreamId>, now: i64) {
        let counts = QueryCounts::default();
        self.reads.insert(id, streams);
        (self.queries).insert(id, Track::new(At { at: now, counts }));
    }

    /// Notes what a query has counted. It ended when the last of its streams did, however
    /// late that is seen.
    pub(super) fn look_at_query(
        &mut self,
        driver: &Driver,
        id: QueryId,
        stats: &QueryStats,
        now: i64,
    ) {
        let counts = QueryCounts::of(stats);
        let now = At { at: now, counts };
        let track = (self.queries.entry(id)).or_insert_with(|| Track::new(now.clone()));
        match stats.status {
            QueryStatus::Running => track.note(now),
            QueryStatus::Failed(_) => track.end(now),
            QueryStatus::Ended if track.last.is_none() => {
                let streams = self.reads.get(&id).map_or(&[][..], Vec::as_slice);
                let ended = ended_at(driver, streams).unwrap_or(now.at);
                let at = ended.clamp(track.first.at, now.at.max(track.first.at));
                track.end(At { at, ..now });
            }
            QueryStatus::Ended => {}
        }
    }

    /// How fast the rows of a query move; `None` if nothing has been noted.
    pub(super) fn query(&self, id: QueryId, now: &At<QueryCounts>) -> Option<QueryRates> {
        let (before, after) = self.queries.get(&id)?.span(now);
        Some(QueryRates::between(before, after))
    }
}

/// When the last of these streams ended; `None` if one has not.
fn ended_at(driver: &Driver, streams: &[StreamId]) -> Option<i64> {
    let ends = streams.iter().map(|id| driver.meter(*id)?.ended);
    let ends: Option<Vec<i64>> = ends.collect();
    ends?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn at(at: i64, arrived: u64, taken: u64, bytes: u64) -> At<StreamCounts> {
        let counts = StreamCounts {
            arrived,
            taken,
            bytes,
        };
        At { at, counts }
    }

    #[test]
    fn a_backlog_drains_or_overflows_or_neither() {
        // 600 rows wait, 150 a second go, 100 come.
        assert_eq!(drain_s(600, 100.0, 150.0), Some(12.0));
        assert_eq!(overflow_s(600, 1_000, 100.0, 150.0), None);
        // 80 a second more come than go, and there is room for 400.
        assert_eq!(overflow_s(600, 1_000, 200.0, 120.0), Some(5.0));
        assert_eq!(drain_s(600, 200.0, 120.0), None);
        // It is full, and more than full.
        assert_eq!(overflow_s(1_000, 1_000, 200.0, 120.0), Some(0.0));
        assert_eq!(overflow_s(1_100, 1_000, 200.0, 120.0), Some(0.0));
        assert_eq!(drain_s(0, 1.0, 2.0), Some(0.0));
        assert_eq!(drain_s(600, 5.0, 5.0), None);
        assert_eq!(overflow_s(600, 1_000, 5.0, 5.0), None);
    }

    #[test]
    fn rates_are_those_between_two_looks() {
        let rates = StreamRates::between(&at(S, 100, 80, 1_000), &at(3 * S, 500, 280, 9_000));
        assert_eq!(rates.input, Some(200.0));
        assert_eq!(rates.processing, Some(100.0));
        assert_eq!(rates.bytes, Some(4_000.0));
        let none = StreamRates::between(&at(S, 0, 0, 0), &at(S, 5, 5, 5));
        assert_eq!(none, StreamRates::default());
        // A backlog that was estimated too high is no negative rate.
        let less = StreamRates::between(&at(0, 100, 0, 0), &at(S, 90, 0, 0));
        assert_eq!(less.input, Some(0.0));
    }

    #[test]
    fn a_rate_looks_back_five_seconds() {
        let mut track = Track::new(at(0, 0, 0, 0));
        // A hundred rows a second for ten seconds, then ten; looked at every 100 ms.
        let arrived = |tenths: u64| match tenths {
            0..=100 => tenths * 10,
            _ => 1_000 + (tenths - 100),
        };
        let mut input = |tenths: u64| {
            let now = at(tenths as i64 * S / 10, arrived(tenths), 0, 0);
            track.note(now.clone());
            let (before, after) = track.span(&now);
            StreamRates::between(before, after).input
        };
        let rates: Vec<_> = (0..=200).map(&mut input).collect();
        assert_eq!(rates[0], None);
        assert_eq!(rates[1], Some(100.0));
        assert_eq!(rates[100], Some(100.0));
        // Half a second later there are some of both.
        assert!(rates[105].is_some_and(|rate| rate > 80.0 && rate < 100.0));
        assert_eq!(rates[160], Some(10.0));
        // A clock that is set back starts anew.
        assert_eq!(input(50), None);
        assert!(track.recent.len() <= 12);
    }

    #[test]
    fn what_is_noted_seldom_has_the_rate_since_it_was_noted() {
        let mut track = Track::new(at(0, 0, 0, 0));
        assert_eq!(track.before(100 * S).at, 0);
        track.note(at(60 * S, 60, 0, 0));
        assert_eq!(track.before(100 * S).at, 60 * S);
        assert_eq!(track.before(60 * S).at, 0);
        track.note(at(63 * S, 60, 0, 0));
        assert_eq!(track.before(64 * S).at, 60 * S);
        assert_eq!(track.before(66 * S).at, 63 * S);
    }

    #[test]
    fn what_has_ended_has_the_rate_of_all_its_time() {
        let at = |at: i64, rows_in, rows_out| At {
            at,
            counts: QueryCounts {
                rows_in,
                rows_out,
                operators: vec![rows_in, rows_out * 2],
            },
        };
        let mut track = Track::new(at(0, 0, 0));
        track.note(at(8 * S, 80, 8));
        track.end(at(10 * S, 300, 20));
        track.end(at(90 * S, 300, 20));
        let now = at(99 * S, 300, 20);
        let (before, after) = track.span(&now);
        let rates = QueryRates::between(before, after);
        assert_eq!((rates.rows_in, rates.rows_out), (Some(30.0), Some(2.0)));
        assert_eq!(rates.operators, [Some(30.0), Some(4.0)]);
    }
}
