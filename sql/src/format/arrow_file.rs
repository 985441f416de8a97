//! Arrow IPC files: record batches where the footer says that they are.
//!
//! The bytes of a batch are read once, into memory of their own, and its columns point
//! into them; bytes of columns that are not wanted are passed over. Batches are independent of each other, so that several are read at the
//! same time; dictionaries are read first.
//!
//! A file is not mapped: were it cut short by another process while it is read, a look
//! at a page that is gone would end ours, and a column that changes under a reader is no
//! value of its type.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileDecoder, FileReader, read_footer_length};
use arrow::ipc::{Block, Message, MetadataVersion, root_as_footer, root_as_message};

use super::adapt::Adapter;
use super::columnar::{Out, Pieces, is_ipc_file, open, unreadable};
use super::fitted::RowFile;
use crate::error::Result;

/// An Arrow IPC file whose record batches can be read at the same time.
#[derive(Debug)]
pub(crate) struct ArrowFile {
    path: PathBuf,
    schema: SchemaRef,
    decoder: FileDecoder,
    /// By the columns that they read: those that are asked for, and all declared ones.
    narrow: Mutex<Vec<(Vec<usize>, Arc<FileDecoder>)>>,
    version: MetadataVersion,
    dictionaries: Vec<Block>,
    blocks: Vec<RowBlock>,
    bytes: u64,
}

/// Where a record batch stands.
#[derive(Debug, Clone, Copy)]
struct RowBlock {
    block: Block,
    rows: u64,
    first_row: u64,
}

fn damaged(reason: &str) -> ArrowError {
    ArrowError::IpcError(reason.to_owned())
}

/// The bytes of a block: metadata, then columns.
fn read_block(file: &mut File, block: &Block, size: u64) -> Result<Buffer, ArrowError> {
    let (metadata, body) = (i64::from(block.metaDataLength()), block.bodyLength());
    if metadata < 0 || body < 0 {
        return Err(damaged("a record batch has a length below zero"));
    }
    let len = metadata.checked_add(body);
    read_at(file, block.offset(), len.unwrap_or(-1), size)
}

fn read_at(file: &mut File, offset: i64, len: i64, size: u64) -> Result<Buffer, ArrowError> {
    let cut_short = || damaged("a record batch lies outside of the file");
    let (start, len) = u64::try_from(offset)
        .ok()
        .zip(u64::try_from(len).ok())
        .filter(|(start, len)| start.checked_add(*len).is_some_and(|end| end <= size))
        .ok_or_else(cut_short)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::with_capacity(len as usize);
    if file.take(len).read_to_end(&mut bytes)? as u64 != len {
        return Err(cut_short());
    }
    Ok(Buffer::from_vec(bytes))
}

/// The message that a block begins with.
fn message_of(metadata: &[u8]) -> Option<Message<'_>> {
    const CONTINUATION: [u8; 4] = [0xFF; 4];
    let prefix = if metadata.starts_with(&CONTINUATION) {
        8
    } else {
        4
    };
    root_as_message(metadata.get(prefix..)?).ok()
}

/// How many rows a record batch has, by its metadata.
fn rows_of(file: &mut File, block: &Block, size: u64) -> Result<u64, ArrowError> {
    let metadata = read_at(file, block.offset(), block.metaDataLength().into(), size)?;
    let message = message_of(&metadata).ok_or_else(|| damaged("a block holds no message"))?;
    let batch = message.header_as_record_batch();
    let rows = batch.and_then(|batch| u64::try_from(batch.length()).ok());
    rows.ok_or_else(|| damaged("a block of rows holds none"))
}

fn with_dictionaries(
    mut decoder: FileDecoder,
    file: &mut File,
    blocks: &[Block],
    size: u64,
) -> Result<FileDecoder, ArrowError> {
    for block in blocks {
        decoder.read_dictionary(block, &read_block(file, block, size)?)?;
    }
    Ok(decoder)
}

/// How many buffers a column has; `None` where that is not told by its type alone.
fn buffers_of(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Null => Some(0),
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => Some(3),
        DataType::Dictionary(..) | DataType::FixedSizeBinary(_) => Some(2),
        _ if data_type.is_primitive() || *data_type == DataType::Boolean => Some(2),
        _ => None,
    }
}

/// The bytes of a block of which those of some columns are there; the others are zero.
/// `None`: where they stand cannot be told.
fn read_columns(
    file: &mut File,
    block: &Block,
    size: u64,
    schema: &Schema,
    columns: &[usize],
) -> Result<Option<Buffer>, ArrowError> {
    let metadata = read_at(file, block.offset(), block.metaDataLength().into(), size)?;
    let Some(message) = message_of(&metadata) else {
        return Ok(None);
    };
    let Some(buffers) = message
        .header_as_record_batch()
        .and_then(|batch| batch.buffers())
    else {
        return Ok(None);
    };
    let counts = schema
        .fields()
        .iter()
        .map(|field| buffers_of(field.data_type()));
    let Some(counts) = counts.collect::<Option<Vec<usize>>>() else {
        return Ok(None);
    };
    if counts.iter().sum::<usize>() != buffers.len() {
        return Ok(None);
    }
    let body = block.bodyLength();
    let Some(len) = usize::try_from(body).ok().map(|body| metadata.len() + body) else {
        return Ok(None);
    };
    // It lies inside of the file, so that no memory is asked for that it does not fill.
    let end = block.offset().checked_add(len as i64);
    if end
        .and_then(|end| u64::try_from(end).ok())
        .is_none_or(|end| end > size)
    {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    bytes[..metadata.len()].copy_from_slice(&metadata);
    let mut first = 0;
    for (place, count) in counts.iter().enumerate() {
        let own = first..first + count;
        first += count;
        if columns.binary_search(&place).is_err() {
            continue;
        }
        for buffer in own.map(|place| buffers.get(place)) {
            let (start, len) = (buffer.offset(), buffer.length());
            let end = start.checked_add(len);
            if start < 0 || len < 0 || end.is_none_or(|end| end > body) {
                return Ok(None);
            }
            let start = metadata.len() + start as usize;
            file.seek(SeekFrom::Start(block.offset() as u64 + start as u64))?;
            file.read_exact(&mut bytes[start..start + len as usize])?;
        }
    }
    Ok(Some(Buffer::from_vec(bytes)))
}

impl ArrowFile {
    /// Reads the footer and the dictionaries of a file. `None`: it is a stream.
    ///
    /// # Errors
    /// If it is no Arrow IPC.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let mut file = open(path)?;
        if !is_ipc_file(&mut file, path)? {
            return Ok(None);
        }
        let file = Self::read_footer(&mut file, path);
        Ok(Some(
            file.map_err(|error| unreadable(path, "Arrow IPC", error))?,
        ))
    }

    fn read_footer(file: &mut File, path: &Path) -> Result<Self, ArrowError> {
        const TRAILER_BYTES: u64 = 10;
        // The library looks at what it says of itself before it is trusted.
        let schema = FileReader::try_new(&mut *file, None)?.schema();
        let size = file.metadata()?.len();
        let trailer_start = size.saturating_sub(TRAILER_BYTES);
        let trailer = read_at(file, trailer_start as i64, TRAILER_BYTES as i64, size)?;
        let trailer = trailer
            .first_chunk()
            .ok_or_else(|| damaged("it has no trailer"))?;
        let len = read_footer_length(*trailer)? as i64;
        let footer = read_at(file, trailer_start as i64 - len, len, size)?;
        let footer = root_as_footer(&footer).map_err(|error| damaged(&error.to_string()))?;
        let dictionaries: Vec<Block> = footer.dictionaries().iter().flatten().copied().collect();
        let decoder = FileDecoder::new(schema.clone(), footer.version());
        let decoder = with_dictionaries(decoder, file, &dictionaries, size)?;
        let mut blocks = Vec::new();
        let mut first_row = 0;
        for block in footer.recordBatches().iter().flatten() {
            let rows = rows_of(file, block, size)?;
            blocks.push(RowBlock {
                block: *block,
                rows,
                first_row,
            });
            first_row = (first_row.checked_add(rows))
                .ok_or_else(|| damaged("its record batches have more than 2^64 rows"))?;
        }
        Ok(Self {
            path: path.to_owned(),
            schema,
            decoder,
            narrow: Mutex::default(),
            version: footer.version(),
            dictionaries,
            blocks,
            bytes: size,
        })
    }

    /// Its columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its record batches in order, in parts of at least `rows_min` rows, if there are as
    /// many.
    pub(crate) fn parts(&self, rows_min: usize) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let (mut start, mut rows) = (0, 0);
        for (index, block) in self.blocks.iter().enumerate() {
            rows += block.rows;
            if rows >= rows_min as u64 || index + 1 == self.blocks.len() {
                parts.push(start..index + 1);
                (start, rows) = (index + 1, 0);
            }
        }
        parts
    }

    /// The share of the file's size that its first `block` record batches answer for.
    fn share(&self, block: usize) -> u64 {
        let blocks = self.blocks.len().max(1) as u128;
        (u128::from(self.bytes) * block as u128 / blocks) as u64
    }

    /// The columns of a record batch that stand at the places `columns`, ascending.
    fn records(
        &self,
        file: &mut File,
        block: &Block,
        columns: &[usize],
    ) -> Result<Option<RecordBatch>, ArrowError> {
        if columns.len() < self.schema.fields().len()
            && let Some(bytes) = read_columns(file, block, self.bytes, &self.schema, columns)?
        {
            return self.narrow(file, columns)?.read_record_batch(block, &bytes);
        }
        let buffer = read_block(file, block, self.bytes)?;
        let records = self.decoder.read_record_batch(block, &buffer)?;
        records.map(|records| records.project(columns)).transpose()
    }

    /// What reads these columns alone.
    fn narrow(&self, file: &mut File, columns: &[usize]) -> Result<Arc<FileDecoder>, ArrowError> {
        // A list stays whole when a thread that holds it panics.
        let mut narrow = self.narrow.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, decoder)) = narrow.iter().find(|(read, _)| read == columns) {
            return Ok(decoder.clone());
        }
        let decoder = FileDecoder::new(self.schema.clone(), self.version);
        let decoder = decoder.with_projection(columns.to_vec());
        let decoder = with_dictionaries(decoder, file, &self.dictionaries, self.bytes)?;
        let decoder = Arc::new(decoder);
        narrow.push((columns.to_vec(), decoder.clone()));
        Ok(decoder)
    }

    /// Reads a part in pieces of at most `batch_rows` rows.
    ///
    /// # Errors
    /// If the file is damaged.
    pub(crate) fn read(
        &self,
        part: Range<usize>,
        adapter: &Adapter,
        batch_rows: usize,
        out: &mut Out<'_>,
    ) -> Result<()> {
        let damaged = |error| unreadable(&self.path, "Arrow IPC", error);
        let mut file = open(&self.path)?;
        let columns = adapter.file_columns();
        for index in part {
            let RowBlock {
                block, first_row, ..
            } = &self.blocks[index];
            let records = self.records(&mut file, block, &columns);
            let Some(records) = records.map_err(damaged)? else {
                continue;
            };
            let bytes = self.share(index + 1) - self.share(index);
            let mut pieces = Pieces::new(adapter, batch_rows, *first_row, true);
            if pieces.give(&records, bytes, out)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl RowFile for ArrowFile {
    fn read_again(&self, adapter: &Adapter, first_row: u64, rows: usize) -> Result<RecordBatch> {
        let damaged = |error| unreadable(&self.path, "Arrow IPC", error);
        let after = (self.blocks).partition_point(|block| block.first_row <= first_row);
        let holds = |block: &&RowBlock| first_row - block.first_row + rows as u64 <= block.rows;
        let before = after.checked_sub(1).map(|before| &self.blocks[before]);
        let Some(held) = before.filter(holds) else {
            return Ok(RecordBatch::new_empty(adapter.schema.clone()));
        };
        let mut file = open(&self.path)?;
        let records = self.records(&mut file, &held.block, &adapter.file_columns());
        let Some(records) = records.map_err(damaged)? else {
            return Ok(RecordBatch::new_empty(adapter.schema.clone()));
        };
        let start = (first_row - held.first_row) as usize;
        Ok((adapter.adapt(&records.slice(start, rows), true, first_row)?).records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
    use arrow::compute::concat;
    use arrow::ipc::writer::FileWriter;

    /// Batches of `n` and `text`, of these numbers of rows.
    fn write(path: &Path, batches: &[i64]) {
        let mut writer: Option<FileWriter<File>> = None;
        let mut first = 0;
        for rows in batches {
            let n = Int64Array::from_iter_values(first..first + rows);
            let text = StringArray::from_iter_values((first..first + rows).map(|n| n.to_string()));
            first += rows;
            let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(n)), ("text", Arc::new(text))];
            let records = RecordBatch::try_from_iter(columns).expect("columns");
            writer
                .get_or_insert_with(|| {
                    let file = File::create(path).expect("created");
                    FileWriter::try_new(file, &records.schema()).expect("a writer")
                })
                .write(&records)
                .expect("written");
        }
        writer.expect("batches").finish().expect("finished");
    }

    #[test]
    fn parts_hold_all_rows_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.arrow");
        write(&path, &[3, 0, 4, 5, 1]);
        let file = ArrowFile::open(&path).expect("opens").expect("a file");
        let parts = file.parts(4);
        assert_eq!(parts, [0..3, 3..4, 4..5]);
        let adapter = Adapter::new("f", file.schema(), file.schema().clone()).expect("fits");
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for part in parts {
            file.read(part, &adapter, 2, &mut |piece, more| {
                assert!(piece.records.num_rows() <= 2);
                rows.push(piece.records.column(0).clone());
                bytes += more;
                ControlFlow::Continue(())
            })
            .expect("reads");
        }
        let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
        let rows = concat(&rows).expect("one type");
        let rows = rows.as_primitive::<arrow::datatypes::Int64Type>();
        assert_eq!(rows.values()[..], (0..13).collect::<Vec<i64>>());
        assert_eq!(bytes, file.bytes());
    }

    #[test]
    fn columns_point_into_the_bytes_that_were_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.arrow");
        write(&path, &[1000]);
        let file = ArrowFile::open(&path).expect("opens").expect("a file");
        let block = &file.blocks[0].block;
        let mut bytes = File::open(&path).expect("opens");
        let buffer = read_block(&mut bytes, block, file.bytes).expect("reads");
        let records = file.decoder.read_record_batch(block, &buffer);
        let records = records.expect("reads").expect("rows");
        let read = buffer.as_ptr_range();
        for column in records.columns() {
            for buffer in column.to_data().buffers() {
                assert!(read.contains(&buffer.as_ptr()));
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_short_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.arrow");
        write(&path, &[1000, 1000]);
        let whole = std::fs::read(&path).expect("reads");
        // Its first half is gone, its footer is whole.
        std::fs::write(&path, [&whole[..8], &whole[whole.len() / 2..]].concat()).expect("written");
        let error = ArrowFile::open(&path).map(|_| ()).expect_err("damaged");
        assert!(error.to_string().contains("cannot be read as Arrow IPC"));
        for len in [0, 9, 100, whole.len() - 1] {
            std::fs::write(&path, &whole[..len]).expect("written");
            assert!(ArrowFile::open(&path).is_err(), "{len}");
        }
    }
}
