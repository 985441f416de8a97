//! How streams and queries stand, in figures: what was counted, how fast, how much waits.
//!
//! What is counted comes from the engine, which has no clock; rates, delays and lags are
//! measured here, where the clock is.

use std::collections::BTreeMap;
use std::time::Duration;

use windrow_core::pipeline::{QueryId, QueryStats, StreamCounters};
use windrow_core::stream::{Backlog, Reject};

use super::catalog::StreamEntry;
use super::flow::{At, QueryCounts, QueryRates, StreamRates, drain_s, overflow_s, stream_counts};
use super::progress::watermark_micros;
use super::shared::{Shared, now_ns, whole};

/// How a session's streams and queries stand.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The streams, in the order of their names.
    pub streams: Vec<StreamFigures>,
    /// The queries, in the order in which they were begun.
    pub queries: Vec<QueryFigures>,
}

/// How a stream stands: its newest reading, where there are several.
#[derive(Debug, Clone, Default)]
pub struct StreamFigures {
    /// Its name.
    pub name: String,
    /// What feeds it.
    pub connector: String,
    /// What it has counted.
    pub counters: StreamCounters,
    /// How many readings should have come, if that is known.
    pub expected: Option<u64>,
    /// Its watermark in microseconds since the Unix epoch.
    pub watermark_us: Option<i64>,
    /// Whether it has ended; `None` if it has not been read.
    pub ended: Option<bool>,
    /// The row that was rejected last, if it is kept.
    pub last_reject: Option<Reject>,
    /// Rejects that are no longer kept.
    pub rejects_let_go: u64,
    /// Late rows that are no longer kept.
    pub late_let_go: u64,
    /// How fast its rows move.
    pub rates: StreamRates,
    /// What waits in its source.
    pub backlog: Option<Backlog>,
    /// Seconds until nothing waits, if less and less does.
    pub drain_s: Option<f64>,
    /// Seconds until as much waits as may, if more and more does.
    pub overflow_s: Option<f64>,
    /// How far the watermark is behind the clock, where rows are read as they happen.
    pub lag_ms: Option<i64>,
    /// The delay from arrival to result that half of the last results had at most.
    pub delay_p50: Option<Duration>,
    /// The delay that 99 % of them had at most.
    pub delay_p99: Option<Duration>,
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl StreamFigures {
    /// Of the readings that should have come, which part has: `received / expected`.
    pub fn collection_rate(&self) -> Option<f64> {
        ratio(self.counters.received, self.expected?)
    }

    /// Which part of what has come has been processed: `processed / received`.
    pub fn processing_efficiency(&self) -> Option<f64> {
        ratio(self.counters.processed, self.counters.received)
    }
}

/// How a query stands.
#[derive(Debug, Clone)]
pub struct QueryFigures {
    /// What it has counted.
    pub stats: QueryStats,
    /// How fast its rows move.
    pub rates: QueryRates,
}

impl Shared {
    /// How the streams and all queries stand.
    pub(super) fn figures(&self) -> Figures {
        let streams = self.stream_figures();
        let queries = self.query_figures().into_values().collect();
        Figures { streams, queries }
    }

    /// How the streams stand, in the order of their names.
    pub(super) fn stream_figures(&self) -> Vec<StreamFigures> {
        let of = |stream: &StreamEntry| self.figures_of(stream);
        self.streams().iter().map(|stream| of(stream)).collect()
    }

    /// The newest reading of a stream: what its counters are about. Late rows are those of
    /// all queries, whatever reading they have joined.
    fn figures_of(&self, stream: &StreamEntry) -> StreamFigures {
        let mut figures = StreamFigures {
            name: stream.name.clone(),
            connector: stream.connector_name.clone(),
            ..StreamFigures::default()
        };
        // The driver is taken after the readings, as everywhere.
        let readings = stream.readings().list.clone();
        let driver = self.driver();
        let mut all = (readings.iter().rev())
            .filter_map(|reading| Some((reading.id, driver.engine.stream_stats(reading.id).ok()?)));
        let Some((id, stats)) = all.next() else {
            return figures;
        };
        let now = now_ns();
        figures.counters = stats.counters;
        figures.expected = stats.expected;
        figures.ended = Some(stats.ended);
        figures.last_reject = driver.engine.last_reject(id).ok().flatten().cloned();
        figures.rejects_let_go = stats.rejects_let_go;
        figures.late_let_go = stats.late_let_go;
        figures.late_let_go += all.map(|(_, stats)| stats.late_let_go).sum::<u64>();
        figures.watermark_us = watermark_micros(stream, stats.watermark);
        figures.backlog = driver.backlog(id);
        let is_live = stream.live.is_some() && !stats.ended;
        if let (true, Some(watermark)) = (is_live, figures.watermark_us) {
            figures.lag_ms = Some((now / 1_000).saturating_sub(watermark) / 1_000);
        }
        if let Some(meter) = driver.meter(id) {
            let delay = |quantile| {
                let delay = meter.delay(quantile)?;
                Some(Duration::from_nanos(u64::try_from(delay).unwrap_or(0)))
            };
            (figures.delay_p50, figures.delay_p99) = (delay(0.5), delay(0.99));
        }
        if let Some(counts) = stream_counts(&driver, id) {
            let mut flow = whole(&self.flow);
            flow.look_at_stream(&driver, id, now);
            let rates = flow.stream(id, &At { at: now, counts });
            figures.rates = rates.unwrap_or_default();
        }
        // What ends is read as fast as it is taken: its queue is as full as it may be.
        if let (true, Some(backlog), Some(input), Some(processing)) = (
            is_live,
            figures.backlog,
            figures.rates.input,
            figures.rates.processing,
        ) {
            figures.drain_s = drain_s(backlog.rows, input, processing);
            figures.overflow_s = overflow_s(backlog.rows, backlog.rows_max, input, processing);
        }
        figures
    }

    /// How all queries stand.
    pub(super) fn query_figures(&self) -> BTreeMap<QueryId, QueryFigures> {
        let driver = self.driver();
        let (mut flow, now) = (whole(&self.flow), now_ns());
        (driver.engine.all_query_stats().into_iter())
            .map(|(id, stats)| {
                flow.look_at_query(&driver, id, &stats, now);
                let counts = QueryCounts::of(&stats);
                let rates = flow.query(id, &At { at: now, counts });
                let rates = rates.unwrap_or_default();
                (id, QueryFigures { stats, rates })
            })
            .collect()
    }
}
