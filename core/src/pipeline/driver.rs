//! The loop: polls sources and carries what they give into the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::engine::{Engine, StreamId};
use crate::stream::{Arrival, Source, SourceEvent};

/// How long a step goes on while there is something to read and little to give out.
const STEP_NS: i64 = 4_000_000;

/// How often a step polls the sources at most.
const STEP_POLLS: usize = 64;

/// Result rows after which a step ends, so that whoever wants them comes to have them.
const STEP_RESULTS: u64 = 32 * 1024;

/// An engine with the sources that feed it.
#[derive(Debug)]
pub struct Driver {
    /// The engine.
    pub engine: Engine,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    stream: StreamId,
    source: Box<dyn Source>,
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
        }
    }

    /// Lets a source feed a stream.
    pub fn start(&mut self, stream: StreamId, source: Box<dyn Source>) {
        self.running.push(Running { stream, source });
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
    /// the Unix epoch.
    ///
    /// An error of a source fails the queries on its stream and ends the source.
    pub fn step(&mut self, wait: Duration, clock: &(dyn Fn() -> i64 + Sync)) -> Stepped {
        // The engine's threads stay awake from batch to batch.
        let pool = self.engine.pool();
        pool.install(|| {
            let (start, given) = (clock(), self.engine.given_out());
            let stepped = self.poll_all(wait, clock);
            let is_due = |engine: &Engine| {
                // A clock may be set back.
                !(start..start.saturating_add(STEP_NS)).contains(&clock())
                    || engine.given_out().saturating_sub(given) >= STEP_RESULTS
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
        let mut place = 0;
        while place < self.running.len() {
            let Running { stream, source } = &mut self.running[place];
            let stream = *stream;
            let engine = &mut self.engine;
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
                    let arrival = Arrival {
                        partition,
                        records: &records,
                        rejected,
                        origin: origin.as_deref(),
                        bytes,
                    };
                    // An error here has failed the stream's queries already.
                    is_over = engine.take(stream, arrival, now).is_err();
                }
                Ok(SourceEvent::Dropped(rows)) => {
                    stepped = Stepped::Progress;
                    engine.note_dropped(stream, rows);
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
            } else {
                place += 1;
            }
        }
        self.engine.tick(clock());
        stepped
    }
}
