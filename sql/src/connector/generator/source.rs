//! The generator as a source of a stream.
//!
//! A thread decides the order of arrival and lets all cores compute the columns, a few
//! batches ahead of the engine. With `realtime` it gives each row when the wall clock
//! has come to its arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel,
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use windrow_core::stream::{Backlog, Source, SourceEvent};

use super::arrivals::{Arrivals, Arrived};
use super::readings::Readings;
use super::{GeneratorOptions, schema};
use crate::error::{Error, ErrorKind, Result};
use crate::threads;

/// Batches that wait for the engine.
const QUEUE_BATCHES: usize = 16;

/// Batches that are computed at once, for each thread of the pool.
const WAVE_BATCHES: usize = 4;

/// How long rows of `realtime` are gathered, so that a batch is more than one row.
const PACE: Duration = Duration::from_millis(5);

/// Simulated readings, computed on threads of their own.
#[derive(Debug)]
pub struct GeneratorSource {
    is_live: bool,
    batches: Receiver<Message>,
    has_ended: bool,
    /// Rows that wait for the engine.
    waiting: Arc<AtomicU64>,
    batch_rows: usize,
    /// How long the last batch had waited.
    waited: Duration,
    /// Dropped with the source: the thread ends at once.
    _stop: Sender<()>,
}

#[derive(Debug)]
enum Message {
    /// Rows, and since when they have been there.
    Batch(RecordBatch, Instant),
    End,
}

impl GeneratorSource {
    /// Starts to generate.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Option`] if the options do not fit each other.
    pub fn open(options: GeneratorOptions) -> Result<Self> {
        options.validate()?;
        let mut options = options;
        let is_live = options.realtime;
        if is_live && options.start.is_none() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            options.start = now.ok().and_then(|now| i64::try_from(now.as_micros()).ok());
        }
        let (batches_in, batches) = sync_channel(QUEUE_BATCHES);
        let (stop, stopped) = channel();
        let waiting = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            arrivals: Arrivals::new(&options),
            readings: Readings::new(&options),
            batch_rows: options.batch_rows,
            batches: batches_in,
            waiting: waiting.clone(),
            stopped,
        };
        threads::start("windrow-generator", None, move || {
            // A closed queue means that nobody wants more.
            let _ = if is_live {
                worker.pace()
            } else {
                worker.rush()
            };
        })
        .map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot start a thread: {error}")).caused_by(error)
        })?;
        Ok(Self {
            is_live,
            batches,
            has_ended: false,
            waiting,
            batch_rows: options.batch_rows,
            waited: Duration::ZERO,
            _stop: stop,
        })
    }
}

impl Source for GeneratorSource {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn is_live(&self) -> bool {
        self.is_live
    }

    fn poll(&mut self, wait: Duration) -> windrow_core::Result<SourceEvent> {
        if self.has_ended {
            return Ok(SourceEvent::End);
        }
        match self.batches.recv_timeout(wait) {
            Ok(Message::Batch(records, since)) => {
                (self.waiting).fetch_sub(records.num_rows() as u64, Ordering::Relaxed);
                self.waited = since.elapsed();
                Ok(SourceEvent::Batch {
                    partition: 0,
                    bytes: bytes(&records),
                    records,
                    rejected: Vec::new(),
                    origin: None,
                })
            }
            Ok(Message::End) => {
                self.has_ended = true;
                Ok(SourceEvent::End)
            }
            Err(RecvTimeoutError::Timeout) => Ok(SourceEvent::Pending),
            Err(RecvTimeoutError::Disconnected) => Err(windrow_core::Error::Panic {
                operator: "the generator".to_owned(),
                message: "its thread has died".to_owned(),
            }),
        }
    }

    fn backlog(&self) -> Option<Backlog> {
        (!self.has_ended).then(|| Backlog {
            rows: self.waiting.load(Ordering::Relaxed),
            rows_max: (QUEUE_BATCHES * self.batch_rows) as u64,
        })
    }

    fn waited(&self) -> Duration {
        self.waited
    }
}

/// What the values of a batch take.
fn bytes(records: &RecordBatch) -> u64 {
    (records.columns().iter())
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0) as u64)
        .sum()
}

#[derive(Debug)]
struct Worker {
    arrivals: Arrivals,
    readings: Readings,
    batch_rows: usize,
    batches: SyncSender<Message>,
    waiting: Arc<AtomicU64>,
    stopped: Receiver<()>,
}

/// Nobody receives any more.
#[derive(Debug)]
struct Abandoned;

impl Worker {
    fn send(&self, message: Message) -> Result<(), Abandoned> {
        self.batches.send(message).map_err(|_| Abandoned)
    }

    fn send_rows(&self, rows: RecordBatch) -> Result<(), Abandoned> {
        // Before they can be taken.
        (self.waiting).fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
        self.send(Message::Batch(rows, Instant::now()))
    }

    /// As fast as the queue takes them.
    fn rush(mut self) -> Result<(), Abandoned> {
        let wave = WAVE_BATCHES * rayon::current_num_threads();
        while self.arrivals.due().is_some() {
            let arrived: Vec<Vec<Arrived>> = (0..wave)
                .map(|_| {
                    let mut arrived = Vec::with_capacity(self.batch_rows);
                    self.arrivals.take(self.batch_rows, u64::MAX, &mut arrived);
                    arrived
                })
                .filter(|arrived| !arrived.is_empty())
                .collect();
            let readings = &self.readings;
            let batches: Vec<_> = (arrived.par_iter())
                .map(|arrived| readings.rows(arrived))
                .collect();
            for batch in batches {
                self.send_rows(batch)?;
            }
            // Where all readings are lost, there is nothing to send by which to learn it.
            if self.stopped.try_recv() == Err(TryRecvError::Disconnected) {
                return Err(Abandoned);
            }
        }
        self.send(Message::End)
    }

    /// Each when the clock has come to its arrival.
    fn pace(mut self) -> Result<(), Abandoned> {
        let start = Instant::now();
        loop {
            let now = start.elapsed().as_micros() as u64;
            let mut arrived = Vec::new();
            self.arrivals.take(self.batch_rows, now, &mut arrived);
            if !arrived.is_empty() {
                self.send_rows(self.readings.rows(&arrived))?;
            }
            let Some(due) = self.arrivals.due() else {
                return self.send(Message::End);
            };
            if arrived.len() < self.batch_rows {
                let now = start.elapsed().as_micros() as u64;
                let rest = Duration::from_micros(due.saturating_sub(now)).max(PACE);
                match self.stopped.recv_timeout(rest) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(Abandoned),
                }
            }
        }
    }
}
