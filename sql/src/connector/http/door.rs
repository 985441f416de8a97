//! The door of one stream: what its bodies are, and the queue in which they wait.
//!
//! ```text
//!  request ─▶ body ─▶ │ bounded queue │ ─▶ reader ─▶ parsers ─▶ rows, in order
//!               └─ full: 429, and nothing of it is taken
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::batch::queue::{Queue, Weight};

use super::arrow_body;
use super::message::Fault;
use super::ticket::Part;
use crate::format::adapt::Adapter;
use crate::format::csv::line_feeds;
use crate::format::json::ObjectScanner;
use crate::format::line::LineTimes;
use crate::format::text::TextFormat;
use crate::format::{Format, FormatOptions};

/// The greatest number of producers of a stream that name themselves.
const PRODUCERS_MAX: usize = 4_096;

/// So much of a body is looked through at a time.
const STEP_BYTES: usize = 64 << 10;

/// What is served under a stream's name.
#[derive(Debug, Clone)]
pub(super) struct DoorOptions {
    /// That of bodies which do not say what they are.
    pub(super) format: Option<Format>,
    pub(super) options: Arc<FormatOptions>,
    /// The measurement whose lines are the stream's.
    pub(super) measurement: String,
    pub(super) connections_max: usize,
    pub(super) client_timeout: Option<Duration>,
    pub(super) answer_timeout: Duration,
    pub(super) body_bytes_max: usize,
    pub(super) queue: Weight,
}

/// A body on its way to the stream.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) content: Content,
    pub(super) partition: u32,
    /// Where its rows come from, as positions show it.
    pub(super) name: String,
    pub(super) part: Part,
    /// When it had come.
    pub(super) came: Instant,
}

/// What a body holds.
#[derive(Debug)]
pub(super) enum Content {
    Text {
        bytes: Vec<u8>,
        text: TextFormat,
        times: LineTimes,
    },
    Batches {
        batches: Vec<RecordBatch>,
        adapter: Adapter,
        bytes: u64,
    },
}

impl Content {
    /// What it takes of the queue. A row of text is a line, as far as is known before it is
    /// parsed.
    pub(super) fn weight(&self) -> Weight {
        match self {
            Self::Text { bytes, .. } => Weight {
                rows: line_feeds(bytes) as usize + usize::from(!bytes.ends_with(b"\n")),
                bytes: bytes.len(),
            },
            Self::Batches { batches, bytes, .. } => Weight {
                rows: batches.iter().map(RecordBatch::num_rows).sum(),
                bytes: *bytes as usize,
            },
        }
    }
}

/// A stream's door.
#[derive(Debug)]
pub(super) struct Door {
    /// The name of the stream.
    pub(super) stream: String,
    pub(super) schema: SchemaRef,
    pub(super) options: DoorOptions,
    pub(super) queue: Queue<Post>,
    /// The partitions of producers, by name.
    producers: Mutex<BTreeMap<String, u32>>,
}

impl Door {
    pub(super) fn new(stream: &str, schema: &SchemaRef, options: &DoorOptions) -> Self {
        Self {
            stream: stream.to_owned(),
            schema: schema.clone(),
            options: options.clone(),
            queue: Queue::new(options.queue),
            producers: Mutex::default(),
        }
    }

    /// Whether a body of this weight can be taken now.
    pub(super) fn has_room(&self, weight: Weight) -> bool {
        let (held, max) = (self.queue.held(), self.queue.max());
        let fits = |held: usize, more: usize, max: usize| held.saturating_add(more) <= max;
        self.queue.is_empty()
            || fits(held.rows, weight.rows.max(1), max.rows)
                && fits(held.bytes, weight.bytes, max.bytes)
    }

    /// The partition of a producer: one for each name, one for all that have none.
    pub(super) fn partition(&self, producer: Option<&str>) -> Result<u32, Fault> {
        let Some(producer) = producer else {
            return Ok(0);
        };
        let mut known = self
            .producers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(partition) = known.get(producer) {
            return Ok(*partition);
        }
        if known.len() >= PRODUCERS_MAX {
            return Err(Fault::Bad(
                400,
                format!(
                    "stream {} has {PRODUCERS_MAX} producers already",
                    self.stream
                ),
            ));
        }
        let partition = known.len() as u32 + 1;
        known.insert(producer.to_owned(), partition);
        Ok(partition)
    }

    /// The rows of a body, as far as can be told before they are parsed.
    ///
    /// # Errors
    /// If it is JSON and cut short, or Arrow IPC that cannot be read or has none of the columns.
    pub(super) fn content(
        &self,
        format: Format,
        bytes: Vec<u8>,
        times: LineTimes,
        name: &str,
    ) -> Result<Content, Fault> {
        if format == Format::Json {
            check_whole(&bytes)?;
        }
        if format != Format::Arrow {
            let options = self.options.options.clone();
            let text = TextFormat {
                format,
                delimiter: options.delimiter.unwrap_or(b','),
                options,
            };
            return Ok(Content::Text { bytes, text, times });
        }
        let (theirs, batches) = arrow_body::batches(&bytes, self.options.body_bytes_max)?;
        let adapter = Adapter::new(name, &theirs, self.schema.clone())
            .map_err(|error| Fault::Bad(400, error.to_string()))?;
        Ok(Content::Batches {
            batches,
            adapter,
            bytes: bytes.len() as u64,
        })
    }
}

/// Refuses JSON that is cut short, before a row of it is taken.
fn check_whole(body: &[u8]) -> Result<(), Fault> {
    let mut scanner = ObjectScanner::default();
    let (mut values, mut from) = (Vec::new(), 0);
    while from < body.len() {
        let end = body.len().min(from + STEP_BYTES);
        scanner.scan(&body[..end], from, &mut values);
        // Where the values stand is seen again when they are read.
        values.clear();
        from = end;
    }
    match scanner.unclosed() {
        Some(place) => Err(Fault::Bad(
            400,
            format!("the body is cut short: {place}; send it whole"),
        )),
        None => Ok(()),
    }
}
