//! The loop: polls sources and carries what they give into the engine.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, StreamId};
use crate::stream::{Arrival, Source, SourceEvent};

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

    /// Polls each source once and carries on what it gives, waiting at most `wait`
    /// in all when none has anything. `clock` reads nanoseconds since the Unix epoch.
    ///
    /// An error of a source fails the queries on its stream and ends the source.
    pub fn step(&mut self, wait: Duration, clock: &dyn Fn() -> i64) -> Stepped {
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
