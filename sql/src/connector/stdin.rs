//! A pipe as a source.
//!
//! ```text
//!  pipe ─▶ pump: reads as bytes come ─▶ │ buffer │ ─▶ whole rows of whatever has come
//! ```
//!
//! While bytes come slowly, the rows of each write are given on at once; while they come
//! fast, they gather in the buffer and are parsed in large chunks. Columns are inferred
//! from what lies in the buffer without taking it out: the sample is read again.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use windrow_core::stream::{Backlog, Source, SourceEvent};

use super::reading::{Reading, SourceOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::format::adapt::Adapter;
use crate::format::column::nullable;
use crate::format::columnar::{no_arrow, read_arrow_stream, stream_start};
use crate::format::csv::line_feeds;
use crate::format::infer::{Extent, infer_text, sniff_format, tells_format};
use crate::format::reader::{Counted, Fill, decompress};
use crate::format::text::{TextFormat, TextReader};
use crate::format::{Compression, Format, FormatOptions};
use crate::threads;

/// The name of the pipe, as positions and errors show it.
const NAME: &str = "stdin";

/// The pump waits while so many bytes have not been taken.
const PUMP_BYTES_MAX: usize = 8 << 20;

const PUMP_READ_BYTES: usize = 256 << 10;

/// The sample is complete when nothing has come for so long and it holds a row.
const SAMPLE_QUIET: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct PumpState {
    bytes: VecDeque<u8>,
    ended: bool,
    error: Option<io::Error>,
    /// Nobody takes bytes any more.
    closed: bool,
}

#[derive(Debug, Default)]
struct PumpShared {
    state: Mutex<PumpState>,
    came: Condvar,
    room: Condvar,
}

impl PumpShared {
    fn lock(&self) -> MutexGuard<'_, PumpState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the pump at which bytes come out.
#[derive(Debug)]
struct Pump {
    shared: Arc<PumpShared>,
}

/// The other end: says that it has ended however its thread ends.
struct PumpEnd(Arc<PumpShared>);

impl Drop for PumpEnd {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.came.notify_all();
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.room.notify_all();
    }
}

/// How much of a sample there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    TooLittle,
    /// Enough, if no more comes at once.
    Enough,
    Complete,
}

/// Why a sample has no more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Because {
    /// The pipe has ended.
    Ended,
    /// These are enough.
    Enough,
    /// The pipe has fallen silent.
    Quiet,
}

impl Pump {
    fn start(
        reader: Box<dyn Read + Send>,
        compression: Option<Compression>,
        read: Arc<AtomicU64>,
    ) -> Result<Self> {
        let shared = Arc::new(PumpShared::default());
        let end = PumpEnd(shared.clone());
        let body = move || {
            if let Err(error) = pump(reader, compression, read, &end.0) {
                end.0.lock().error = Some(error);
            }
        };
        threads::start("stdin-pump", None, body)
            .map_err(|error| Error::new(ErrorKind::Io, format!("starting a thread: {error}")))?;
        Ok(Self { shared })
    }

    /// A copy of the first bytes, and why there are no more, once `judge` has enough.
    fn sample(&self, mut judge: impl FnMut(&[u8]) -> Sample) -> (Vec<u8>, Because) {
        let mut state = self.shared.lock();
        loop {
            let verdict = judge(state.bytes.make_contiguous());
            let full = state.bytes.len() >= PUMP_BYTES_MAX;
            if state.ended || full || verdict == Sample::Complete {
                let because = match state.ended {
                    true => Because::Ended,
                    false => Because::Enough,
                };
                return (state.bytes.make_contiguous().to_vec(), because);
            }
            let len = state.bytes.len();
            let unchanged = |state: &mut PumpState| state.bytes.len() == len && !state.ended;
            if verdict == Sample::TooLittle {
                state = (self.shared.came.wait_while(state, unchanged))
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (next, waited) =
                (self
                    .shared
                    .came
                    .wait_timeout_while(state, SAMPLE_QUIET, unchanged))
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if waited.timed_out() {
                return (state.bytes.make_contiguous().to_vec(), Because::Quiet);
            }
        }
    }
}

impl Read for Pump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        while state.bytes.is_empty() && !state.ended {
            state = self
                .shared
                .came
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut read = 0;
        // The bytes may lie in two runs.
        while read < buffer.len() && !state.bytes.is_empty() {
            read += state.bytes.read(&mut buffer[read..])?;
        }
        self.shared.room.notify_all();
        match state.error.take() {
            Some(error) if read == 0 => Err(error),
            error => {
                state.error = error;
                Ok(read)
            }
        }
    }
}

impl Fill for Pump {}

/// Reads until the end, or until nobody takes what is read.
fn pump(
    mut reader: Box<dyn Read + Send>,
    compression: Option<Compression>,
    read: Arc<AtomicU64>,
    shared: &PumpShared,
) -> io::Result<()> {
    let (head, sniffed) = match compression {
        Some(compression) => (Vec::new(), compression),
        None => sniff_compression(&mut reader)?,
    };
    let reader = Cursor::new(head).chain(reader);
    let mut reader = decompress(Box::new(Counted::new(reader, read)), sniffed)?;
    let mut buffer = vec![0; PUMP_READ_BYTES];
    loop {
        let len = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut state = shared.lock();
        while state.bytes.len() >= PUMP_BYTES_MAX && !state.closed {
            state = shared
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Ok(());
        }
        state.bytes.extend(&buffer[..len]);
        drop(state);
        shared.came.notify_all();
    }
}

/// The compression that the first bytes tell of, and these bytes.
fn sniff_compression(reader: &mut dyn Read) -> io::Result<(Vec<u8>, Compression)> {
    const MAGICS: [(&[u8], Compression); 2] = [
        (b"\x1F\x8B", Compression::Gzip),
        (b"\x28\xB5\x2F\xFD", Compression::Zstd),
    ];
    let mut head = Vec::new();
    loop {
        if let Some((_, found)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Ok((head, *found));
        }
        // No more is waited for than may still be one of them.
        if !MAGICS.iter().any(|(magic, _)| magic.starts_with(&head)) {
            return Ok((head, Compression::None));
        }
        let mut byte = [0];
        match reader.read(&mut byte) {
            Ok(0) => return Ok((head, Compression::None)),
            Ok(_) => head.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Rows of a pipe.
#[derive(Debug)]
pub struct StdinSource {
    reading: Reading,
}

impl StdinSource {
    /// The rows of the standard input. See [`StdinSource::open`].
    ///
    /// # Errors
    /// As [`StdinSource::open`].
    pub fn stdin(
        schema: Option<SchemaRef>,
        format: &FormatOptions,
        options: &SourceOptions,
    ) -> Result<Self> {
        Self::open(Box::new(io::stdin()), schema, format, options)
    }

    /// The rows that `reader` gives, as they come.
    ///
    /// - `schema`: the columns to read, as of a file. `None`: inferred from a sample of
    ///   `sample_rows` rows, or of those that have come when the pipe falls silent.
    /// - Format and compression are told by the first bytes where the options do not.
    ///
    /// Waits for the first bytes where they are needed to tell the format or the columns.
    ///
    /// # Errors
    /// If the pipe cannot be read or holds nothing to infer columns from.
    pub fn open(
        reader: Box<dyn Read + Send>,
        schema: Option<SchemaRef>,
        format: &FormatOptions,
        options: &SourceOptions,
    ) -> Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        let pump = Pump::start(reader, format.compression, read.clone())?;
        let kind = match format.format {
            Some(kind) => kind,
            None => sniff(&pump)?,
        };
        let reading = match kind {
            Format::Parquet => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "Parquet cannot be read from a pipe: what it holds is written at its end",
                )
                .help("name the file, or pipe csv, ndjson or arrow"));
            }
            Format::Arrow => arrow(pump, schema, options, read)?,
            _ => text(pump, kind, schema, format, options, read)?,
        };
        Ok(Self { reading })
    }
}

fn failed(pump: &Pump) -> Result<()> {
    match pump.shared.lock().error.take() {
        Some(error) => {
            Err(Error::new(ErrorKind::Io, format!("reading {NAME}: {error}")).caused_by(error))
        }
        None => Ok(()),
    }
}

/// The format that the first bytes tell of.
fn sniff(pump: &Pump) -> Result<Format> {
    let (head, _) = pump.sample(|bytes| match tells_format(bytes) {
        true => Sample::Complete,
        false => Sample::TooLittle,
    });
    failed(pump)?;
    Ok(sniff_format(&head))
}

fn text(
    pump: Pump,
    kind: Format,
    schema: Option<SchemaRef>,
    format: &FormatOptions,
    options: &SourceOptions,
    read: Arc<AtomicU64>,
) -> Result<Reading> {
    let text = TextFormat {
        format: kind,
        delimiter: format.delimiter.unwrap_or(b','),
        options: Arc::new(format.clone()),
    };
    // What cannot be read is refused before anything is waited for.
    text.chunks(io::empty(), 1, false)?;
    let declared = schema.is_some();
    let schema = match schema {
        Some(schema) => schema,
        None => {
            let (sample, because) = pump.sample(judge_rows(&text));
            failed(&pump)?;
            let end = match kind {
                // A record that is cut would be taken for a whole one.
                Format::Csv if because != Because::Ended => text.dialect().boundary(&sample),
                _ => sample.len(),
            };
            let extent = match because {
                Because::Quiet => Extent::Short,
                Because::Ended | Because::Enough => Extent::Full,
            };
            infer_text(&sample[..end], &text, NAME, extent)?
        }
    };
    let options = options.clone();
    Ok(Reading::new(
        "stdin",
        &schema,
        &options.clone(),
        move |feed| {
            let shape = feed.shape(&text, NAME, options.batch_rows);
            let chunks = text.chunks(pump, options.batch_bytes, true)?;
            let rows = TextReader::new(chunks, text, shape);
            let rows = match declared {
                true => rows.all_named(),
                false => rows,
            };
            if feed.text(0, rows, &read)?.is_continue() {
                let _open = feed.end(0);
            }
            Ok(())
        },
    ))
}

/// Whether a sample of text holds rows to infer columns from.
fn judge_rows(text: &TextFormat) -> impl FnMut(&[u8]) -> Sample {
    let needed = if text.has_header() { 2 } else { 1 };
    let sample_rows = text.options.sample_rows as u64;
    let values = text.format == Format::Json;
    let (mut seen, mut lines) = (0, 0);
    move |bytes| {
        lines += if values {
            memchr::memchr_iter(b'}', &bytes[seen..]).count() as u64
        } else {
            line_feeds(&bytes[seen..])
        };
        seen = bytes.len();
        if lines > sample_rows {
            Sample::Complete
        } else if lines >= needed {
            Sample::Enough
        } else {
            Sample::TooLittle
        }
    }
}

fn arrow(
    pump: Pump,
    schema: Option<SchemaRef>,
    options: &SourceOptions,
    read: Arc<AtomicU64>,
) -> Result<Reading> {
    let theirs = |bytes: &[u8]| {
        let start = stream_start(bytes)?;
        Some(
            StreamReader::try_new(Cursor::new(&bytes[start..]), None).map(|reader| reader.schema()),
        )
    };
    let (sample, _) = pump.sample(|bytes| match theirs(bytes) {
        Some(Ok(_)) => Sample::Complete,
        // The magic bytes and their padding.
        None if bytes.len() >= 128 => Sample::Complete,
        _ => Sample::TooLittle,
    });
    failed(&pump)?;
    let theirs = (theirs(&sample).ok_or_else(|| no_arrow(NAME))?).map_err(|error| {
        Error::new(
            ErrorKind::Data,
            format!("{NAME} cannot be read as Arrow IPC: {error}"),
        )
        .caused_by(error)
    })?;
    let schema = nullable(schema.as_ref().unwrap_or(&theirs));
    let adapter = Adapter::new(NAME, &theirs, schema.clone())?;
    let batch_rows = options.batch_rows;
    let skip = stream_start(&sample).unwrap_or(0);
    Ok(Reading::new("stdin", &schema, options, move |feed| {
        let mut pump = pump;
        pump.read_exact(&mut vec![0; skip]).map_err(|error| {
            Error::new(ErrorKind::Io, format!("reading {NAME}: {error}")).caused_by(error)
        })?;
        let given = feed.work(0, 0, move |out| {
            read_arrow_stream(Box::new(pump), &adapter, batch_rows, &mut |piece, _| {
                out(piece, read.swap(0, std::sync::atomic::Ordering::Relaxed))
            })
        });
        if given.is_continue() {
            let _open = feed.end(0);
        }
        Ok(())
    }))
}

impl Source for StdinSource {
    fn schema(&self) -> SchemaRef {
        self.reading.schema()
    }

    fn poll(&mut self, wait: Duration) -> windrow_core::Result<SourceEvent> {
        self.reading.poll(wait)
    }

    fn backlog(&self) -> Option<Backlog> {
        self.reading.backlog()
    }

    fn waited(&self) -> Duration {
        self.reading.waited()
    }
}
