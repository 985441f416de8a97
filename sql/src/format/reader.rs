//! Cutting a stream of bytes into chunks of whole rows.
//!
//! ```text
//!  bytes ─▶ decompress ─▶ │ whole rows ………… │ rest │ ─▶ chunk
//!                                            └──────────▶ begins the next one
//! ```
//!
//! Memory stays bounded: a row of more than `line_bytes_max` is given up with its first
//! bytes and passed over to its end. Where the chunks are cut makes no difference to the
//! rows that are read from them.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memchr::{memchr, memrchr};

use super::chunk::{Chunk, Shape};
use super::csv::{Dialect, line_feeds};
use super::json::ObjectScanner;
use super::options::Compression;
use super::rows::REJECT_TEXT_BYTES_MAX;

/// How much is asked for at a time where the bytes are to be used as they come: more when
/// so much has come, so that a client that says little does not take much memory.
const EAGER_READ_BYTES: RangeInclusive<usize> = 8 << 10..=256 << 10;

/// The bytes of `reader` as they were before they were compressed.
///
/// # Errors
/// If a decoder cannot be set up.
pub(crate) fn decompress(
    reader: Box<dyn Read + Send>,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send>> {
    let buffered = |reader| BufReader::with_capacity(128 << 10, reader);
    Ok(match compression {
        Compression::None => reader,
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(reader))),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(buffered(reader))?),
    })
}

/// What chunks are read from.
pub(crate) trait Fill: Read {
    /// Appends `want` bytes to `buffer`, or as many as there are.
    fn fill(&mut self, buffer: &mut Vec<u8>, want: usize) -> io::Result<usize>
    where
        Self: Sized,
    {
        self.take(want as u64).read_to_end(buffer)
    }
}

impl Fill for &[u8] {}
impl Fill for io::Empty {}
impl Fill for Box<dyn Read + Send> {}

/// Counts the bytes that pass through a reader.
#[derive(Debug)]
pub(crate) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// Adds the bytes that `inner` gives to `count`.
    pub(crate) fn new(inner: R, count: Arc<AtomicU64>) -> Self {
        Self { inner, count }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

impl Fill for Counted<File> {
    /// Through the file itself, which fills memory that has not been cleared first.
    fn fill(&mut self, buffer: &mut Vec<u8>, want: usize) -> io::Result<usize> {
        let read = (&mut self.inner).take(want as u64).read_to_end(buffer)?;
        self.count.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// How whole rows are found.
#[derive(Debug)]
pub(crate) enum Splitter {
    /// A row is a line.
    Lines,
    /// A row is a record of CSV.
    Csv(Dialect),
    /// A row is a value of a JSON document.
    Values(ObjectScanner),
}

/// The chunks of a stream of bytes.
#[derive(Debug)]
pub(crate) struct Chunks<R> {
    reader: R,
    splitter: Splitter,
    /// The size of a chunk; smaller where a row may not be as long.
    chunk_bytes: usize,
    line_bytes_max: usize,
    eager: bool,
    /// How much the next eager read asks for.
    eager_bytes: usize,
    buffer: Vec<u8>,
    /// How much of the buffer the scanner of JSON has seen.
    scanned: usize,
    line: u64,
    started: bool,
    ended: bool,
    /// The row at the start of the buffer has been given up.
    skipping: bool,
}

impl<R: Fill> Chunks<R> {
    /// The chunks of `reader`, of about `chunk_bytes` each; with `eager` whatever whole
    /// rows a read has brought.
    pub(crate) fn new(
        reader: R,
        splitter: Splitter,
        chunk_bytes: usize,
        line_bytes_max: usize,
        eager: bool,
    ) -> Self {
        Self {
            reader,
            splitter,
            chunk_bytes: chunk_bytes.clamp(1, line_bytes_max + 1),
            line_bytes_max,
            eager,
            eager_bytes: *EAGER_READ_BYTES.start(),
            buffer: Vec::new(),
            scanned: 0,
            line: 1,
            started: false,
            ended: false,
            skipping: false,
        }
    }

    /// Takes the first bytes for those of a row, not for a mark of the text's encoding.
    pub(crate) fn without_mark(mut self) -> Self {
        self.started = true;
        self
    }

    /// What has been read and not been given on.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// The next chunk, or `None` at the end. Where a read would block, nothing is lost: it can
    /// be asked for again.
    ///
    /// # Errors
    /// If the reader fails, or the text is in UTF-16.
    pub(crate) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut target = self.chunk_bytes;
        loop {
            if !self.ended {
                self.fill(target)?;
            }
            if !self.started && !self.start()? {
                continue;
            }
            if let Some(chunk) = self.cut() {
                return Ok(Some(chunk));
            }
            if self.ended && self.buffer.is_empty() {
                return Ok(None);
            }
            // No row ends here yet: look at twice as much, so that a long row is not
            // walked over once for every read.
            target = (self.buffer.len() * 2).clamp(self.chunk_bytes, self.line_bytes_max + 1);
        }
    }

    /// Reads until the buffer holds `target` bytes, or once if whatever has come is
    /// wanted.
    fn fill(&mut self, target: usize) -> io::Result<()> {
        let want = target.saturating_sub(self.buffer.len()).max(1);
        if !self.eager {
            self.buffer.reserve_exact(want);
            let read = self.reader.fill(&mut self.buffer, want)?;
            self.ended = read < want;
            return Ok(());
        }
        let len = self.buffer.len();
        let want = want.min(self.eager_bytes);
        self.buffer.resize(len + want, 0);
        let read = loop {
            match self.reader.read(&mut self.buffer[len..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(len + *read.as_ref().unwrap_or(&0));
        let read = read?;
        let (least, most) = (*EAGER_READ_BYTES.start(), *EAGER_READ_BYTES.end());
        self.eager_bytes = match read == want {
            true => (2 * want).clamp(self.eager_bytes, most),
            // There may be many that say little after they have said much.
            false => (2 * read).clamp(least, self.eager_bytes),
        };
        self.ended = read == 0;
        Ok(())
    }

    /// Removes a byte order mark. Gives `false` if more bytes are needed to tell.
    fn start(&mut self) -> io::Result<bool> {
        const UTF8: &[u8] = b"\xEF\xBB\xBF";
        const UTF16: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];
        let may_become =
            |mark: &[u8]| self.buffer.len() < mark.len() && mark.starts_with(&self.buffer);
        if !self.ended && (may_become(UTF8) || UTF16.into_iter().any(may_become)) {
            return Ok(false);
        }
        if UTF16.iter().any(|mark| self.buffer.starts_with(mark)) {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the text is in UTF-16; convert it to UTF-8, for example with iconv",
            ));
        }
        if self.buffer.starts_with(UTF8) {
            self.buffer.drain(..UTF8.len());
        }
        self.started = true;
        Ok(true)
    }

    /// Cuts the whole rows off the buffer. `None`: there is none yet.
    fn cut(&mut self) -> Option<Chunk> {
        if matches!(self.splitter, Splitter::Values(_)) {
            return self.cut_values();
        }
        if self.skipping {
            let end = memchr(b'\n', &self.buffer).map(|at| at + 1);
            self.skipping = end.is_none();
            let skipped = self.take(end.unwrap_or(self.buffer.len()));
            self.line += line_feeds(&skipped);
            if self.skipping {
                return None;
            }
        }
        let boundary = match &self.splitter {
            _ if self.ended => self.buffer.len(),
            Splitter::Csv(dialect) => dialect.boundary(&self.buffer),
            _ => memrchr(b'\n', &self.buffer).map_or(0, |at| at + 1),
        };
        if boundary > 0 {
            return Some(self.chunk(boundary));
        }
        if self.buffer.len() <= self.line_bytes_max {
            return None;
        }
        // A quote that is not closed in so many bytes is a stray one: only the line on
        // which it stands is given up.
        if let Some(end) = memchr(b'\n', &self.buffer) {
            return Some(self.chunk(end + 1));
        }
        let mut bytes = self.take(self.buffer.len());
        bytes.truncate(REJECT_TEXT_BYTES_MAX);
        self.skipping = true;
        Some(Chunk {
            bytes,
            start: 0,
            first_line: self.line,
            shape: Shape::TooLong(None),
        })
    }

    fn chunk(&mut self, end: usize) -> Chunk {
        let bytes = self.take(end);
        let first_line = self.line;
        self.line += line_feeds(&bytes);
        Chunk {
            bytes,
            start: 0,
            first_line,
            shape: Shape::Lines,
        }
    }

    /// Takes the first `end` bytes off the buffer.
    fn take(&mut self, end: usize) -> Vec<u8> {
        let rest = &self.buffer[end..];
        let room = if self.eager {
            rest.len()
        } else {
            self.chunk_bytes.max(rest.len())
        };
        let mut next = Vec::with_capacity(room);
        next.extend_from_slice(rest);
        let mut taken = std::mem::replace(&mut self.buffer, next);
        taken.truncate(end);
        taken
    }

    fn cut_values(&mut self) -> Option<Chunk> {
        let Splitter::Values(scanner) = &mut self.splitter else {
            unreachable!("the caller has looked");
        };
        let mut values = Vec::new();
        scanner.scan(&self.buffer, self.scanned, &mut values);
        self.scanned = self.buffer.len();
        if self.ended {
            scanner.finish(&self.buffer, &mut values);
        }
        if self.skipping && !values.is_empty() {
            self.skipping = false;
            values.remove(0);
        }
        let open = scanner.open_value().filter(|_| !self.skipping);
        let (end, shape, first_line) = if !values.is_empty() {
            let end = values[values.len() - 1].0.end;
            (end, Some(Shape::Values(values)), 0)
        } else if self.ended {
            let broken = scanner.open_array().map(|line| {
                *scanner = ObjectScanner::default();
                (
                    Shape::Broken("the JSON array is not closed: the text is cut short"),
                    line,
                )
            });
            let line = broken.as_ref().map_or(0, |(_, line)| *line);
            (self.buffer.len(), broken.map(|(shape, _)| shape), line)
        } else {
            match open {
                Some((at, spot)) if self.buffer.len() - at > self.line_bytes_max => {
                    self.skipping = true;
                    let shape = Shape::TooLong(spot.element);
                    (self.buffer.len(), Some(shape), spot.line)
                }
                // Nothing is lost between values, nor of one that was given up.
                open => (open.map_or(self.buffer.len(), |(at, _)| at), None, 0),
            }
        };
        if end == 0 && shape.is_none() {
            return None;
        }
        scanner.advance(end);
        self.scanned -= end;
        let mut bytes = self.take(end);
        if let Some(Shape::Broken(_)) = shape {
            bytes.clear();
        }
        if let Some(Shape::TooLong(_)) = shape {
            bytes.drain(..open.map_or(0, |(at, _)| at));
            bytes.truncate(REJECT_TEXT_BYTES_MAX);
        }
        shape.map(|shape| Chunk {
            bytes,
            start: 0,
            first_line,
            shape,
        })
    }
}
