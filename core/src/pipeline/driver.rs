//! The loop: polls sources and carries what they give into the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use arrow::array::RecordBatch;

use super::engine::{Engine, StreamId};
use super::meter::Meter;
use super::stats::PushReport;
use crate::error::Result;
use crate::stream::{Arrival, Backlog, Source, SourceEvent};

/// How long a step goes on while there is something to read and little to give out.
const STEP_NS: i64 = 4_000_000;

/// How often a step polls the sources at most.
const STEP_POLLS: usize = 64;

/// Result rows after which a step ends, so that whoever wants them comes to have them.
const STEP_RESULTS: u64 = 32 * 1024;

/// How long a step waits at most where all sources wait for sinks.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// An engine with the sources that feed it.
#[derive(Debug)]
pub struct Driver {
    /// The engine.
    pub engine: Engine,
    running: Vec<Running>,
    meters: BTreeMap<StreamId, Meter>,
}

#[derive(Debug)]
struct Running {
    stream: StreamId,
    source: Box<dyn Source>,
    /// Whether it has been polled.
    has_begun: bool,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// Something arrived.
    Progress,
    /// Nothing arrived within the time to wait.
    Idle,
    /// No source is running.
    NoSource,
}

impl Driver {
    /// A driver without sources.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            running: Vec::new(),
            meters: BTreeMap::new(),
        }
    }

    /// Lets a source feed a stream.
    pub fn start(&mut self, stream: StreamId, source: Box<dyn Source>) {
        self.running.push(Running {
            stream,
            source,
            has_begun: false,
        });
    }

    /// Gives rows to a stream that no source feeds, and measures their way. `clock` reads
    /// nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn push(
        &mut self,
        stream: StreamId,
        partition: u32,
        records: &RecordBatch,
        bytes: u64,
        clock: &(dyn Fn() -> i64 + Sync),
    ) -> Result<PushReport> {
        let now = clock();
        start_meter(&mut self.meters, &self.engine, stream, now);
        let given = self.engine.given_out;
        let report = (self.engine).push(stream, partition, records, Vec::new(), bytes, now)?;
        let given = self.engine.given_out - given;
        note_delay(&mut self.meters, stream, now, given, clock);
        self.engine.tick(now);
        Ok(report)
    }

    /// Ends a stream and its source at the clock reading `now`.
    ///
    /// # Errors
    /// As [`Engine::end_stream`].
    pub fn end(&mut self, stream: StreamId, now: i64) -> Result<()> {
        self.stop(stream);
        if let Some(meter) = self.meters.get_mut(&stream) {
            meter.ended.get_or_insert(now);
        }
        self.engine.end_stream(stream)
    }

    /// What has been measured of a stream since it was first asked for rows.
    pub fn meter(&self, stream: StreamId) -> Option<&Meter> {
        self.meters.get(&stream)
    }

    /// What waits in the source of a stream; `None` if it is not running.
    pub fn backlog(&self, stream: StreamId) -> Option<Backlog> {
        let running = (self.running.iter()).find(|running| running.stream == stream);
        running.and_then(|running| running.source.backlog())
    }

    /// How many sources are running.
    pub fn sources(&self) -> usize {
        self.running.len()
    }

    /// Takes a stream away, with its source and what was measured. Its queries must have
    /// been detached.
    pub fn remove_stream(&mut self, stream: StreamId) {
        self.stop(stream);
        self.meters.remove(&stream);
        self.engine.remove_stream(stream);
    }

    /// Stops the source of a stream, if it is running.
    pub fn stop(&mut self, stream: StreamId) {
        self.running.retain(|running| running.stream != stream);
    }

    /// Whether the source of a stream is running.
    pub fn is_running(&self, stream: StreamId) -> bool {
        self.running.iter().any(|running| running.stream == stream)
    }

    /// The size of the running inputs in bytes, if all are known.
    pub fn bytes_total(&self) -> Option<u64> {
        (self
            .running
            .iter()
            .map(|running| running.source.bytes_total()))
        .sum()
    }

    /// Polls the sources in turn and carries on what they give, for some milliseconds at
    /// most; waits at most `wait` when none has anything. `clock` reads nanoseconds since
    /// the Unix epoch. Those that feed a sink without room are left alone.
    ///
    /// An error of a source fails the queries on its stream and ends the source.
    pub fn step(&mut self, wait: Duration, clock: &(dyn Fn() -> i64 + Sync)) -> Stepped {
        // The engine's threads stay awake from batch to batch.
        let pool = self.engine.pool();
        pool.install(|| {
            let (start, given) = (clock(), self.engine.given_out);
            let stepped = self.poll_all(wait, clock);
            let is_due = |engine: &Engine| {
                // A clock may be set back.
                !(start..start.saturating_add(STEP_NS)).contains(&clock())
                    || engine.given_out.saturating_sub(given) >= STEP_RESULTS
                    || engine.cancel.load(Ordering::Relaxed)
            };
            let mut last = stepped;
            for _ in 1..STEP_POLLS {
                if last != Stepped::Progress || is_due(&self.engine) {
                    break;
                }
                last = self.poll_all(Duration::ZERO, clock);
            }
            stepped
        })
    }

    /// Polls each source once.
    fn poll_all(&mut self, wait: Duration, clock: &(dyn Fn() -> i64 + Sync)) -> Stepped {
        if self.running.is_empty() {
            return Stepped::NoSource;
        }
        let share = wait / self.running.len() as u32;
        let mut stepped = Stepped::Idle;
        let (mut place, mut waiting) = (0, 0);
        while place < self.running.len() {
            let Running {
                stream,
                source,
                has_begun,
            } = &mut self.running[place];
            let stream = *stream;
            let engine = &mut self.engine;
            if !engine.has_room(stream) {
                waiting += 1;
                place += 1;
                continue;
            }
            if !std::mem::replace(has_begun, true) {
                start_meter(&mut self.meters, engine, stream, clock());
            }
            let patience = match stepped {
                Stepped::Progress => Duration::ZERO,
                _ => share,
            };
            let mut is_over = false;
            match source.poll(patience) {
                Ok(SourceEvent::Batch {
                    partition,
                    records,
                    rejected,
                    origin,
                    bytes,
                }) => {
                    stepped = Stepped::Progress;
                    let now = clock();
                    let waited = i64::try_from(source.waited().as_nanos()).unwrap_or(i64::MAX);
                    let given = engine.given_out;
                    let arrival = Arrival {
                        partition,
                        records: &records,
                        rejected,
                        origin: origin.as_deref(),
                        bytes,
                    };
                    // An error here has failed the stream's queries already.
                    is_over = engine.take(stream, arrival, now).is_err();
                    let (given, since) = (engine.given_out - given, now.saturating_sub(waited));
                    note_delay(&mut self.meters, stream, since, given, clock);
                }
                Ok(SourceEvent::Dropped(rows)) => {
                    stepped = Stepped::Progress;
                    engine.note_dropped(stream, rows);
                }
                Ok(SourceEvent::Watermark(time)) => {
                    stepped = Stepped::Progress;
                    is_over = engine.advance_watermark(stream, time).is_err();
                }
                Ok(SourceEvent::PartitionEnd(partition)) => {
                    stepped = Stepped::Progress;
                    is_over = engine.end_partition(stream, partition).is_err();
                }
                Ok(SourceEvent::Pending) => {}
                Ok(SourceEvent::End) => {
                    stepped = Stepped::Progress;
                    is_over = true;
                    let _ = engine.end_stream(stream);
                }
                Err(error) => {
                    stepped = Stepped::Progress;
                    is_over = true;
                    engine.fail_stream(stream, &Arc::new(error));
                }
            }
            if is_over {
                self.running.remove(place);
                if let Some(meter) = self.meters.get_mut(&stream) {
                    meter.ended = Some(clock());
                }
            } else {
                place += 1;
            }
        }
        if waiting > 0 && waiting == self.running.len() {
            thread::sleep(wait.min(ROOM_WAIT));
        }
        self.engine.tick(clock());
        stepped
    }
}

/// Measures a stream from the clock reading `now` on, unless that has begun.
fn start_meter(
    meters: &mut BTreeMap<StreamId, Meter>,
    engine: &Engine,
    stream: StreamId,
    now: i64,
) {
    meters.entry(stream).or_insert_with(|| {
        let before = engine.stream_stats(stream).map(|stats| stats.counters);
        Meter::new(now, before.unwrap_or_default())
    });
}

/// Notes that `rows` result rows have come out of what arrived at `since`.
fn note_delay(
    meters: &mut BTreeMap<StreamId, Meter>,
    stream: StreamId,
    since: i64,
    rows: u64,
    clock: &(dyn Fn() -> i64 + Sync),
) {
    if rows > 0
        && let Some(meter) = meters.get_mut(&stream)
    {
        let now = clock();
        meter.note(now, now.saturating_sub(since), rows);
    }
}
