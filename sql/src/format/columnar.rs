//! Arrow IPC and Parquet: record batches as they are.
//!
//! Row groups of Parquet can be read at the same time, and only the wanted columns of
//! them are; Arrow IPC is read from the front, as a file or as a stream.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use super::adapt::Adapter;
use super::origin::PlacedRows;
use super::reader::Counted;
use crate::error::{Error, ErrorKind, Result};

/// Takes rows and the bytes that were read for them.
pub(crate) type Out<'a> = dyn FnMut(PlacedRows, u64) -> ControlFlow<()> + 'a;

fn unreadable(
    path: &Path,
    what: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("{} cannot be read as {what}: {error}", path.display()),
    )
    .caused_by(error)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).caused_by(error)
    })
}

/// The name of a file as positions and errors show it.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A Parquet file whose row groups can be read at the same time.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    bytes: u64,
}

impl ParquetFile {
    /// Reads the footer of a file.
    ///
    /// # Errors
    /// If it is no Parquet file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|error| unreadable(path, "Parquet", error))?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self {
            path: path.to_owned(),
            metadata,
            bytes,
        })
    }

    /// Its columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many row groups it has.
    pub(crate) fn row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// The size of a row group; the last one answers for the rest of the file.
    fn row_group_bytes(&self, row_group: usize) -> u64 {
        let size = |index: usize| {
            u64::try_from(self.metadata.metadata().row_group(index).compressed_size()).unwrap_or(0)
        };
        if row_group + 1 < self.row_groups() {
            size(row_group)
        } else {
            self.bytes.saturating_sub((0..row_group).map(size).sum())
        }
    }

    /// Reads a row group in pieces of at most `batch_rows` rows.
    ///
    /// # Errors
    /// If the file is damaged.
    pub(crate) fn read(
        &self,
        row_group: usize,
        adapter: &Adapter,
        batch_rows: usize,
        out: &mut Out<'_>,
    ) -> Result<()> {
        let damaged = |error| unreadable(&self.path, "Parquet", error);
        let columns = adapter.file_columns();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            open(&self.path)?,
            self.metadata.clone(),
        );
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        let reader = builder
            .with_projection(mask)
            .with_row_groups(vec![row_group])
            .with_batch_size(batch_rows)
            .build()
            .map_err(damaged)?;
        let metadata = self.metadata.metadata();
        let mut row = (0..row_group)
            .map(|index| metadata.row_group(index).num_rows() as u64)
            .sum();
        let mut bytes = self.row_group_bytes(row_group);
        for records in reader {
            let records = records.map_err(|error| unreadable(&self.path, "Parquet", error))?;
            let piece = adapter.adapt(&records, true, row)?;
            row += records.num_rows() as u64;
            if out(piece, std::mem::take(&mut bytes)).is_break() {
                return Ok(());
            }
        }
        if bytes > 0 {
            let _stopped = out(adapter.nothing(), bytes);
        }
        Ok(())
    }
}

/// The columns of an Arrow IPC file or stream.
///
/// # Errors
/// If it is none.
pub(crate) fn arrow_schema(path: &Path) -> Result<SchemaRef> {
    let damaged = |error: ArrowError| unreadable(path, "Arrow IPC", error);
    let mut file = open(path)?;
    if is_ipc_file(&mut file, path)? {
        Ok(FileReader::try_new_buffered(file, None)
            .map_err(damaged)?
            .schema())
    } else {
        Ok(StreamReader::try_new_buffered(file, None)
            .map_err(damaged)?
            .schema())
    }
}

/// What a file of Arrow IPC begins with; padding and a stream follow.
pub(crate) const ARROW_FILE_MAGIC: &[u8] = b"ARROW1";

/// What a stream of Arrow IPC begins with: the continuation of its first message.
pub(crate) const ARROW_STREAM_MAGIC: &[u8] = &[0xFF; 4];

/// Where the stream begins in the first bytes of Arrow IPC; `None` if they are not.
///
/// Other bytes are not given to the reader: it would take them for lengths.
pub(crate) fn stream_start(bytes: &[u8]) -> Option<usize> {
    let padded = bytes.strip_prefix(ARROW_FILE_MAGIC);
    let padding = padded.map_or(0, |rest| rest.iter().take_while(|byte| **byte == 0).count());
    let start = padded.map_or(0, |_| ARROW_FILE_MAGIC.len() + padding);
    bytes[start..]
        .starts_with(ARROW_STREAM_MAGIC)
        .then_some(start)
}

/// Whether it is of the file format, not of the stream format.
fn is_ipc_file(file: &mut File, path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    (file.by_ref().take(128).read_to_end(&mut head))
        .and_then(|_| file.seek(SeekFrom::Start(0)))
        .map_err(|error| {
            Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).caused_by(error)
        })?;
    match stream_start(&head) {
        Some(start) => Ok(start > 0),
        None => Err(no_arrow(&path.display().to_string())),
    }
}

/// That `file` is something else.
pub(crate) fn no_arrow(file: &str) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("{file} cannot be read as Arrow IPC: it does not begin as a file or a stream does"),
    )
}

/// Reads an Arrow IPC file or stream in pieces of at most `batch_rows` rows.
///
/// # Errors
/// If the file is damaged.
pub(crate) fn read_arrow(
    path: &Path,
    adapter: &Adapter,
    batch_rows: usize,
    out: &mut Out<'_>,
) -> Result<()> {
    let mut file = open(path)?;
    if !is_ipc_file(&mut file, path)? {
        return read_arrow_stream(Box::new(file), adapter, batch_rows, out);
    }
    let damaged = |error: ArrowError| unreadable(path, "Arrow IPC", error);
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let reader = FileReader::try_new_buffered(file, None).map_err(damaged)?;
    let batches = reader.num_batches().max(1) as u64;
    let share = |batch: u64| (u128::from(size) * u128::from(batch) / u128::from(batches)) as u64;
    let mut pieces = Pieces::new(adapter, batch_rows);
    for (index, records) in (0u64..).zip(reader) {
        let records = records.map_err(damaged)?;
        if pieces
            .give(&records, share(index + 1) - share(index), out)?
            .is_break()
        {
            break;
        }
    }
    Ok(())
}

/// Reads a stream of Arrow IPC in pieces of at most `batch_rows` rows.
///
/// # Errors
/// If the stream is damaged.
pub(crate) fn read_arrow_stream(
    reader: Box<dyn Read + Send>,
    adapter: &Adapter,
    batch_rows: usize,
    out: &mut Out<'_>,
) -> Result<()> {
    let damaged = |error: ArrowError| unreadable(Path::new(&*adapter.file), "Arrow IPC", error);
    let counter = Arc::new(AtomicU64::new(0));
    let counted = Counted::new(reader, counter.clone());
    let reader = StreamReader::try_new(BufReader::new(counted), None).map_err(damaged)?;
    let mut pieces = Pieces::new(adapter, batch_rows);
    for records in reader {
        let records = records.map_err(damaged)?;
        if pieces
            .give(&records, counter.swap(0, Relaxed), out)?
            .is_break()
        {
            return Ok(());
        }
    }
    let rest = counter.swap(0, Relaxed);
    if rest > 0 {
        let _stopped = out(adapter.nothing(), rest);
    }
    Ok(())
}

/// Record batches of any size, given on in pieces.
struct Pieces<'a> {
    adapter: &'a Adapter,
    batch_rows: usize,
    row: u64,
}

impl<'a> Pieces<'a> {
    fn new(adapter: &'a Adapter, batch_rows: usize) -> Self {
        Self {
            adapter,
            batch_rows,
            row: 0,
        }
    }

    fn give(
        &mut self,
        records: &RecordBatch,
        mut bytes: u64,
        out: &mut Out<'_>,
    ) -> Result<ControlFlow<()>> {
        for start in (0..records.num_rows().max(1)).step_by(self.batch_rows) {
            let rows = self.batch_rows.min(records.num_rows() - start);
            let piece = self
                .adapter
                .adapt(&records.slice(start, rows), false, self.row)?;
            self.row += rows as u64;
            if out(piece, std::mem::take(&mut bytes)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
