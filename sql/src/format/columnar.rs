//! Arrow IPC and Parquet: record batches as they are.
//!
//! Parts of a Parquet file can be read at the same time, and only the wanted columns of
//! them are; a stream of Arrow IPC is read from the front.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::file::metadata::PageIndexPolicy;

use super::adapt::Adapter;
use super::fitted::RowFile;
use super::origin::PlacedRows;
use super::passing::{PassedOver, Passing};
use super::reader::Counted;
use crate::error::{Error, ErrorKind, Result};

/// Takes rows and the bytes that were read for them.
pub(crate) type Out<'a> = dyn FnMut(PlacedRows, u64) -> ControlFlow<()> + 'a;

pub(super) fn unreadable(
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

pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).caused_by(error)
    })
}

/// The name of a file as positions and errors show it.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Neighbouring rows of one row group of Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    row_group: usize,
    /// How many rows of the row group stand before it.
    start: usize,
    rows: usize,
    /// How many rows of the file stand before it.
    first_row: u64,
    /// What it answers for of the file's size.
    bytes: u64,
}

/// A Parquet file whose parts can be read at the same time.
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
        // With the places of the pages, those before a part are passed over unread.
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options)
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

    fn row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Its rows in order, in parts of at most `rows_max`: a row group may be the whole
    /// file, and then be more than one thread should read.
    pub(crate) fn parts(&self, rows_max: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut first_row = 0;
        for row_group in 0..self.row_groups() {
            let metadata = self.metadata.metadata().row_group(row_group);
            let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
            let mut bytes = self.row_group_bytes(row_group);
            for start in (0..rows.max(1)).step_by(rows_max) {
                parts.push(Part {
                    row_group,
                    start,
                    rows: rows_max.min(rows - start),
                    first_row: first_row + start as u64,
                    bytes: std::mem::take(&mut bytes),
                });
            }
            first_row += rows as u64;
        }
        parts
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

    /// Reads a part in pieces of at most `batch_rows` rows.
    ///
    /// # Errors
    /// If the file is damaged.
    pub(crate) fn read(
        &self,
        part: Part,
        adapter: &Adapter,
        batch_rows: usize,
        out: &mut Out<'_>,
    ) -> Result<()> {
        let damaged = |error| unreadable(&self.path, "Parquet", error);
        let columns = adapter.file_columns();
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            open(&self.path)?,
            self.metadata.clone(),
        );
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        let rows = self
            .metadata
            .metadata()
            .row_group(part.row_group)
            .num_rows();
        if rows != part.rows as i64 {
            let before = RowSelector::skip(part.start);
            let selection = RowSelection::from(vec![before, RowSelector::select(part.rows)]);
            builder = builder.with_row_selection(selection);
        }
        let reader = builder
            .with_projection(mask)
            .with_row_groups(vec![part.row_group])
            .with_batch_size(batch_rows)
            .build()
            .map_err(damaged)?;
        let (mut row, mut bytes) = (part.first_row, part.bytes);
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

impl ParquetFile {
    /// The row groups of which no query takes a row.
    pub(crate) fn passed_over(&self, adapter: &Adapter, passing: &Passing) -> PassedOver {
        PassedOver::new(&self.metadata, adapter, passing)
    }
}

/// Gives rows in place of those of a part that is passed over.
///
/// # Errors
/// If there is no memory for them.
pub(crate) fn pass_over(
    passed: &PassedOver,
    part: Part,
    batch_rows: usize,
    out: &mut Out<'_>,
) -> Result<()> {
    let batch = passed.rows(part.row_group, batch_rows.min(part.rows))?;
    let mut bytes = part.bytes;
    for start in (0..part.rows).step_by(batch_rows) {
        let rows = PlacedRows {
            records: batch.slice(0, batch_rows.min(part.rows - start)),
            rejected: Vec::new(),
            origin: None,
        };
        if out(rows, std::mem::take(&mut bytes)).is_break() {
            break;
        }
    }
    Ok(())
}

impl Part {
    pub(crate) fn is_passed(self, passed: &PassedOver) -> bool {
        self.rows > 0 && passed.holds(self.row_group)
    }
}

impl RowFile for ParquetFile {
    fn read_again(&self, adapter: &Adapter, first_row: u64, rows: usize) -> Result<RecordBatch> {
        let mut before = 0;
        for row_group in 0..self.row_groups() {
            let metadata = self.metadata.metadata().row_group(row_group);
            let held = u64::try_from(metadata.num_rows()).unwrap_or(0);
            if first_row < before + held {
                let part = Part {
                    row_group,
                    start: (first_row - before) as usize,
                    rows,
                    first_row,
                    bytes: 0,
                };
                let mut records = Vec::new();
                self.read(part, adapter, rows, &mut |piece, _| {
                    records.push(piece.records);
                    ControlFlow::Continue(())
                })?;
                let joined = concat_batches(&adapter.schema, &records);
                return Ok(joined.map_err(windrow_core::Error::from)?);
            }
            before += held;
        }
        Ok(RecordBatch::new_empty(adapter.schema.clone()))
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
pub(super) fn is_ipc_file(file: &mut File, path: &Path) -> Result<bool> {
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
    let mut pieces = Pieces::new(adapter, batch_rows, 0, false);
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
pub(super) struct Pieces<'a> {
    adapter: &'a Adapter,
    batch_rows: usize,
    row: u64,
    projected: bool,
}

impl<'a> Pieces<'a> {
    /// Gives rows on in pieces of at most `batch_rows`, the first of them row `row` of
    /// the file. `projected`: as [`Adapter::adapt`] has it.
    pub(super) fn new(adapter: &'a Adapter, batch_rows: usize, row: u64, projected: bool) -> Self {
        Self {
            adapter,
            batch_rows,
            row,
            projected,
        }
    }

    pub(super) fn give(
        &mut self,
        records: &RecordBatch,
        mut bytes: u64,
        out: &mut Out<'_>,
    ) -> Result<ControlFlow<()>> {
        for start in (0..records.num_rows().max(1)).step_by(self.batch_rows) {
            let rows = self.batch_rows.min(records.num_rows() - start);
            let piece =
                self.adapter
                    .adapt(&records.slice(start, rows), self.projected, self.row)?;
            self.row += rows as u64;
            if out(piece, std::mem::take(&mut bytes)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    #[test]
    fn parts_of_row_groups_hold_all_rows_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let n = Int64Array::from_iter_values(0..25);
        let records = RecordBatch::try_from_iter([("n", Arc::new(n) as _)]).expect("columns");
        // Pages of three rows, which the parts do not begin with.
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(10))
            .set_data_page_row_count_limit(3)
            .set_write_batch_size(1)
            .build();
        let file = File::create(&path).expect("created");
        let mut writer =
            ArrowWriter::try_new(file, records.schema(), Some(properties)).expect("a writer");
        writer.write(&records).expect("written");
        writer.close().expect("written");

        let file = ParquetFile::open(&path).expect("opens");
        let adapter = Adapter::new("f", file.schema(), file.schema().clone()).expect("fits");
        for rows_max in [1, 4, 10, 100] {
            let (mut rows, mut bytes) = (Vec::new(), 0);
            let parts = file.parts(rows_max);
            for part in &parts {
                let expected = rows.len();
                assert_eq!(part.first_row, expected as u64);
                file.read(*part, &adapter, 3, &mut |piece, more| {
                    let column = piece.records.column(0).as_primitive::<Int64Type>();
                    assert!(column.len() <= 3);
                    rows.extend_from_slice(column.values());
                    bytes += more;
                    ControlFlow::Continue(())
                })
                .expect("reads");
                assert_eq!(rows.len(), expected + part.rows);
                assert!(part.rows <= rows_max);
            }
            assert_eq!(rows, (0..25).collect::<Vec<i64>>());
            assert_eq!(bytes, file.bytes());
        }
    }
}
