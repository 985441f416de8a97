//! What all sources that read bytes have in common: one thread reads, several parse,
//! the rows come out in order.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::available_parallelism;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::stream::{Backlog, Reject, SourceEvent};

use super::ordered::{Emit, Feed, Job, Next, Ordered};
use crate::error::Result;
use crate::format::chunk::{Chunk, ChunkParser};
use crate::format::column::nullable;
use crate::format::encode::setting::Settings;
use crate::format::options::parse_count;
use crate::format::origin::{PlacedRows, TextRows};
use crate::format::reader::Fill;
use crate::format::rows::RowShape;
use crate::format::text::TextReader;

/// How rows are taken from a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// The greatest number of rows of a batch.
    pub batch_rows: usize,
    /// About how many bytes of text make a batch.
    pub batch_bytes: usize,
    /// Reading pauses while so many rows wait to be taken.
    pub queue_rows: usize,
    /// How many threads parse.
    pub workers: usize,
}

/// The names of the options that [`SourceOptions::from_pairs`] knows.
pub const SOURCE_OPTIONS: [&str; 4] = ["batch_rows", "batch_bytes", "linger", "queue_rows"];

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            batch_rows: 65_536,
            batch_bytes: 2 << 20,
            queue_rows: 262_144,
            workers: available_parallelism().map_or(1, usize::from),
        }
    }
}

impl SourceOptions {
    /// Reads these options out of all options of a stream; gives back the names that
    /// are none of them.
    ///
    /// # Errors
    /// If a value is not allowed.
    pub fn from_pairs(pairs: &BTreeMap<String, String>) -> Result<(Self, Vec<String>)> {
        let mut options = Self::default();
        let mut unknown = Vec::new();
        for (name, value) in pairs {
            match name.as_str() {
                "batch_rows" => options.batch_rows = parse_count(name, value, 1, 1 << 24)?,
                "batch_bytes" => options.batch_bytes = parse_count(name, value, 1, 1 << 28)?,
                "queue_rows" => options.queue_rows = parse_count(name, value, 1, 1 << 30)?,
                // Rows are given on as they come: they never wait for as long.
                "linger" => drop(Settings::new(pairs).duration(name)?),
                _ => unknown.push(name.clone()),
            }
        }
        Ok((options, unknown))
    }
}

/// What the reading thread does.
type Body = Box<dyn FnOnce(&RowFeed<'_>) -> Result<()> + Send>;

/// Reads on threads of its own from the first poll on.
pub(super) struct Reading {
    schema: SchemaRef,
    options: SourceOptions,
    name: &'static str,
    state: State,
}

enum State {
    Planned(Body),
    Running(Ordered<SourceEvent>),
    Ended,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("schema", &self.schema)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Reading {
    /// Rows of `schema`, made nullable, that `body` reads once they are asked for.
    pub(super) fn new(
        name: &'static str,
        schema: &SchemaRef,
        options: &SourceOptions,
        body: impl FnOnce(&RowFeed<'_>) -> Result<()> + Send + 'static,
    ) -> Self {
        Self {
            schema: nullable(schema),
            options: options.clone(),
            name,
            state: State::Planned(Box::new(body)),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// As [`windrow_core::stream::Source::backlog`]: the rows that have been parsed.
    pub(super) fn backlog(&self) -> Option<Backlog> {
        match &self.state {
            State::Running(ordered) => Some(ordered.backlog()),
            State::Planned(_) | State::Ended => None,
        }
    }

    /// As [`windrow_core::stream::Source::waited`].
    pub(super) fn waited(&self) -> Duration {
        match &self.state {
            State::Running(ordered) => ordered.waited(),
            State::Planned(_) | State::Ended => Duration::ZERO,
        }
    }

    /// The next event. After an error nothing follows.
    pub(super) fn poll(&mut self, wait: Duration) -> windrow_core::Result<SourceEvent> {
        if let State::Planned(_) = self.state
            && let State::Planned(body) = std::mem::replace(&mut self.state, State::Ended)
        {
            self.state = State::Running(self.start(body)?);
        }
        let State::Running(ordered) = &mut self.state else {
            return Ok(SourceEvent::End);
        };
        match ordered.next(wait) {
            Ok(Next::Item(event)) => Ok(event),
            Ok(Next::Pending) => Ok(SourceEvent::Pending),
            Ok(Next::End) => {
                self.state = State::Ended;
                Ok(SourceEvent::End)
            }
            Err(error) => {
                self.state = State::Ended;
                Err(error)
            }
        }
    }

    fn start(&self, body: Body) -> windrow_core::Result<Ordered<SourceEvent>> {
        let rows_of = |event: &SourceEvent| match event {
            SourceEvent::Batch {
                records, rejected, ..
            } => records.num_rows() + rejected.len(),
            _ => 0,
        };
        let schema = self.schema.clone();
        let (workers, queue_rows) = (self.options.workers.max(1), self.options.queue_rows);
        Ordered::start(self.name, workers, queue_rows, rows_of, move |feed| {
            Ok(body(&RowFeed { feed, schema })?)
        })
    }
}

/// Where the reading thread gives its work.
pub(super) struct RowFeed<'a> {
    feed: &'a Feed<SourceEvent>,
    /// The columns, all of them nullable.
    pub(super) schema: SchemaRef,
}

impl RowFeed<'_> {
    /// Has a chunk of text parsed.
    pub(super) fn chunk(
        &self,
        partition: u32,
        chunk: Chunk,
        parser: Arc<dyn ChunkParser>,
        bytes: u64,
    ) -> ControlFlow<()> {
        let chunk = Arc::new(chunk);
        self.work(partition, bytes, move |out| {
            parser.parse(&chunk, &mut |piece| {
                let rows = TextRows {
                    chunk: chunk.clone(),
                    parser: parser.clone(),
                    marks: piece.marks,
                };
                let placed = PlacedRows {
                    records: piece.records,
                    rejected: piece.rejected,
                    origin: Some(Box::new(rows)),
                };
                out(placed, 0)
            })
        })
    }

    /// Has rows made by `work`, which gives them with the bytes that were read for them;
    /// `bytes` have been read already.
    pub(super) fn work<E: Into<windrow_core::Error>>(
        &self,
        partition: u32,
        mut bytes: u64,
        work: impl FnOnce(&mut dyn FnMut(PlacedRows, u64) -> ControlFlow<()>) -> Result<(), E>
        + Send
        + 'static,
    ) -> ControlFlow<()> {
        let schema = self.schema.clone();
        let job: Job<SourceEvent> = Box::new(move |emit: &mut Emit<'_, SourceEvent>| {
            let worked = work(&mut |placed, more| {
                emit(Ok(SourceEvent::Batch {
                    partition,
                    records: placed.records,
                    rejected: placed.rejected,
                    origin: placed.origin,
                    bytes: std::mem::take(&mut bytes) + more,
                }))
            });
            let _open = match worked {
                Err(error) => emit(Err(error.into())),
                Ok(()) if bytes > 0 => emit(Ok(no_rows(partition, &schema, bytes))),
                Ok(()) => ControlFlow::Continue(()),
            };
        });
        self.feed.job(job)
    }

    /// Has the rows of a text parsed. `read` counts the bytes that are read for it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn text<R: Fill>(
        &self,
        partition: u32,
        mut reader: TextReader<R>,
        read: &AtomicU64,
    ) -> Result<ControlFlow<()>> {
        while let Some((chunk, parser)) = reader.next()? {
            if self
                .chunk(partition, chunk, parser, read.swap(0, Relaxed))
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(self.bytes(partition, read.swap(0, Relaxed)))
    }

    /// Counts bytes that held no row.
    pub(super) fn bytes(&self, partition: u32, bytes: u64) -> ControlFlow<()> {
        if bytes == 0 {
            return ControlFlow::Continue(());
        }
        self.feed.item(Ok(no_rows(partition, &self.schema, bytes)))
    }

    /// Gives a row that could not be read, or what else is wrong with a partition.
    pub(super) fn reject(&self, partition: u32, reject: Reject) -> ControlFlow<()> {
        let mut event = no_rows(partition, &self.schema, 0);
        if let SourceEvent::Batch { rejected, .. } = &mut event {
            rejected.push(reject);
        }
        self.feed.item(Ok(event))
    }

    /// Says that a partition has ended.
    pub(super) fn end(&self, partition: u32) -> ControlFlow<()> {
        self.feed.item(Ok(SourceEvent::PartitionEnd(partition)))
    }

    /// What parsers are told.
    pub(super) fn shape(
        &self,
        text: &crate::format::text::TextFormat,
        file: &str,
        batch_rows: usize,
    ) -> RowShape {
        RowShape {
            schema: self.schema.clone(),
            times: text.options.timestamp_format.clone().map(Arc::new),
            file: file.into(),
            batch_rows,
            line_bytes_max: text.options.line_bytes_max,
        }
    }
}

fn no_rows(partition: u32, schema: &SchemaRef, bytes: u64) -> SourceEvent {
    SourceEvent::Batch {
        partition,
        records: RecordBatch::new_empty(schema.clone()),
        rejected: Vec::new(),
        origin: None,
        bytes,
    }
}
