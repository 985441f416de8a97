//! From the bodies in a stream's queue to its rows.

use std::fmt;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::batch::queue::{Popped, Queue};
use windrow_core::stream::{Backlog, Source, SourceEvent};

use super::door::{Content, Door, DoorOptions, Post};
use super::server::{Seat, Servers};
use super::ticket::{Heard, Part};
use crate::connector::reading::{Reading, RowFeed, SourceOptions};
use crate::error::Result;
use crate::format::adapt::Adapter;
use crate::format::line::LineTimes;
use crate::format::origin::{PlacedRows, TextRows};
use crate::format::text::{TextFormat, TextReader};

/// Rows of requests.
pub(super) struct HttpSource {
    reading: Reading,
    door: Arc<Door>,
    /// How many nanoseconds the last body that was taken out of the queue had waited.
    waited: Arc<AtomicU64>,
    _seat: Seat,
}

impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSource")
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

impl Drop for HttpSource {
    fn drop(&mut self) {
        self.door.queue.close();
        drain(&self.door.queue);
    }
}

/// Drops what waits: nobody will read it, and who sent it is told so.
fn drain(queue: &Queue<Post>) {
    while let Popped::Item(post) = queue.pop(Duration::ZERO) {
        drop(post);
    }
}

impl HttpSource {
    /// Serves the stream from now on: what comes before the first poll waits in the queue.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub(super) fn open(
        servers: &Arc<Servers>,
        address: SocketAddr,
        stream: &str,
        schema: &SchemaRef,
        door: &DoorOptions,
        options: &SourceOptions,
    ) -> Result<Self> {
        let door = Arc::new(Door::new(stream, schema, door));
        let seat = servers.join(address, door.clone())?;
        let waited = Arc::<AtomicU64>::default();
        let reader = Reader {
            door: door.clone(),
            waited: waited.clone(),
            batch_rows: options.batch_rows,
            batch_bytes: options.batch_bytes,
        };
        let reading = Reading::new("http", schema, options, move |feed| {
            reader.run(feed);
            Ok(())
        });
        Ok(Self {
            reading,
            door,
            waited,
            _seat: seat,
        })
    }
}

impl Source for HttpSource {
    fn schema(&self) -> SchemaRef {
        self.reading.schema()
    }

    fn partitions(&self) -> u32 {
        // Who has not come yet is not waited for.
        0
    }

    fn is_live(&self) -> bool {
        true
    }

    fn poll(&mut self, wait: Duration) -> windrow_core::Result<SourceEvent> {
        self.reading.poll(wait)
    }

    fn backlog(&self) -> Option<Backlog> {
        let parsed = self.reading.backlog();
        let (held, max) = (self.door.queue.held(), self.door.queue.max());
        Some(Backlog {
            rows: held.rows as u64 + parsed.map_or(0, |parsed| parsed.rows),
            rows_max: max.rows as u64 + parsed.map_or(0, |parsed| parsed.rows_max),
        })
    }

    fn waited(&self) -> Duration {
        self.reading.waited() + Duration::from_nanos(self.waited.load(Relaxed))
    }
}

/// Takes bodies out of the queue and has them parsed.
struct Reader {
    door: Arc<Door>,
    waited: Arc<AtomicU64>,
    batch_rows: usize,
    batch_bytes: usize,
}

impl Reader {
    fn run(&self, feed: &RowFeed<'_>) {
        while let Popped::Item(post) = self.door.queue.pop(Duration::MAX) {
            let waited = u64::try_from(post.came.elapsed().as_nanos());
            self.waited.store(waited.unwrap_or(u64::MAX), Relaxed);
            if self.post(post, feed).is_break() {
                break;
            }
        }
        self.door.queue.close();
        drain(&self.door.queue);
    }

    fn post(&self, post: Post, feed: &RowFeed<'_>) -> ControlFlow<()> {
        let Post {
            content,
            partition,
            name,
            part,
            came: _,
        } = post;
        match content {
            Content::Text { bytes, text, times } => {
                let from = From { partition, name };
                self.text(&bytes, text, times, &from, &part, feed)?;
            }
            Content::Batches {
                batches,
                adapter,
                bytes,
            } => {
                let (batch_rows, own) = (self.batch_rows, part.another());
                feed.work(partition, bytes, move |out| {
                    adapted(&batches, &adapter, batch_rows, &own, out);
                    own.settle();
                    Ok::<_, windrow_core::Error>(())
                })?;
            }
        }
        part.settle();
        ControlFlow::Continue(())
    }

    fn text(
        &self,
        bytes: &[u8],
        text: TextFormat,
        times: LineTimes,
        from: &From,
        part: &Part,
        feed: &RowFeed<'_>,
    ) -> ControlFlow<()> {
        let shape = feed.shape(&text, &from.name, self.batch_rows);
        let mut unread = bytes.len() as u64;
        // No more memory than a short body needs: there may be many.
        let chunk_bytes = self.batch_bytes.min(bytes.len() + 1);
        let chunks = text.chunks(bytes, chunk_bytes, false);
        let mut reader = match chunks {
            Ok(chunks) => (TextReader::new(chunks, text, shape).all_named()).timed(times),
            Err(error) => {
                part.fail(&error.advice());
                return ControlFlow::Continue(());
            }
        };
        loop {
            let (chunk, parser) = match reader.next() {
                Ok(Some(next)) => next,
                Ok(None) => return feed.bytes(from.partition, unread),
                // Its header fits no column, say: no row has been read.
                Err(error) => {
                    part.fail(&error.advice());
                    return feed.bytes(from.partition, unread);
                }
            };
            let (chunk, own) = (Arc::new(chunk), part.another());
            feed.work(from.partition, std::mem::take(&mut unread), move |out| {
                let parsed = parser.parse(&chunk, &mut |piece| {
                    let rows = TextRows {
                        chunk: chunk.clone(),
                        parser: parser.clone(),
                        marks: piece.marks,
                    };
                    let heard = Heard {
                        rows: Some(Box::new(rows)),
                        part: own.another(),
                    };
                    let placed = PlacedRows {
                        records: piece.records,
                        rejected: piece.rejected,
                        origin: Some(Box::new(heard)),
                    };
                    out(placed, 0)
                });
                if parsed.is_ok() {
                    own.settle();
                }
                parsed
            })?;
        }
    }
}

/// Who sent a body.
struct From {
    partition: u32,
    name: String,
}

/// Gives batches on as rows of the stream, in pieces.
fn adapted(
    batches: &[RecordBatch],
    adapter: &Adapter,
    batch_rows: usize,
    part: &Part,
    out: &mut dyn FnMut(PlacedRows, u64) -> ControlFlow<()>,
) {
    let mut row = 0;
    for records in batches {
        for start in (0..records.num_rows()).step_by(batch_rows) {
            let rows = batch_rows.min(records.num_rows() - start);
            let mut placed = match adapter.adapt(&records.slice(start, rows), false, row) {
                Ok(placed) => placed,
                // It is the sender's fault, not the stream's.
                Err(error) => return part.fail(error.message()),
            };
            row += rows as u64;
            placed.origin = Some(Box::new(Heard {
                rows: placed.origin.take(),
                part: part.another(),
            }));
            if out(placed, 0).is_break() {
                return;
            }
        }
    }
}
