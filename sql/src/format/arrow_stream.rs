//! A stream of Arrow IPC from someone who may mean harm, or be broken.
//!
//! ```text
//!  │ FFFFFFFF │ length │ metadata … │ body … │  │ FFFFFFFF │ length │ …  │ FFFFFFFF │ 0 │
//!               └ i32                 └ its length, and those of its buffers, stand in
//!                                       the metadata
//! ```
//!
//! What a message says of itself is looked at before it is believed: no length takes memory
//! that its bytes have not filled, none reaches beyond its body, and what is compressed has
//! to say how long it is and be as long. The library, which checks the values, sees nothing
//! else.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::{
    CompressionType, Endianness, Field, Message, MessageHeader, MetadataVersion,
    RecordBatch as Batch, Type, root_as_message,
};

use super::adapt::Adapter;
use super::columnar::{ARROW_FILE_MAGIC, Out, Pieces};
use super::names::require;
use crate::error::{Error, ErrorKind, Result};

/// A record batch has no more rows: some columns need no bytes for theirs.
const BATCH_ROWS_MAX: i64 = 1 << 24;

/// Lists and structs are nested no deeper.
const DEPTH_MAX: usize = 16;

const CONTINUATION: [u8; 4] = [0xFF; 4];

/// What tells of a message stands before it.
const PREFIX_BYTES: usize = 8;

/// How a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// Behind a message, or where nobody wants more.
    Whole,
    /// Within a message.
    Cut,
}

/// What a stream may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamLimits {
    /// Bytes of a message, packed and unpacked, and of all dictionaries.
    pub(crate) message_bytes_max: usize,
    /// Rows that are given on at a time.
    pub(crate) batch_rows: usize,
}

/// Reads a stream as rows of `schema`, and gives them on with the bytes that were read for
/// them. Rows of whole messages are given on, however the stream ends.
///
/// # Errors
/// If it is no such stream, its columns do not fit, or it asks for too much.
pub(crate) fn read_messages(
    reader: impl Read,
    name: &str,
    schema: &SchemaRef,
    limits: StreamLimits,
    out: &mut Out<'_>,
) -> Result<StreamEnd> {
    let mut stream = Stream {
        reader,
        limits,
        columns: None,
        dictionaries: HashMap::new(),
        dictionary_bytes: BTreeMap::new(),
        row: 0,
    };
    loop {
        let message = match stream.receive()? {
            Ok(message) => message,
            Err(end) => return Ok(end),
        };
        // The library may not be ready for all that a message can say.
        let given = catch_unwind(AssertUnwindSafe(|| {
            stream.take(message, name, schema, &mut *out)
        }));
        if given.unwrap_or_else(|_| refuse("a message contradicts itself"))? {
            return Ok(StreamEnd::Whole);
        }
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Data, reason))
}

/// A message, as it came.
struct Received {
    /// Prefix, metadata and body.
    bytes: Vec<u8>,
    /// Where the body begins.
    body: usize,
}

struct Stream<R> {
    reader: R,
    limits: StreamLimits,
    /// Its columns, and how they become ours.
    columns: Option<(SchemaRef, Adapter)>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// How many bytes each of them has.
    dictionary_bytes: BTreeMap<i64, usize>,
    /// How many rows have come.
    row: u64,
}

impl<R: Read> Stream<R> {
    /// Appends `len` bytes. Memory is taken as they come. Gives whether they have come.
    fn read(&mut self, bytes: &mut Vec<u8>, len: usize) -> Result<bool> {
        let read = (&mut self.reader).take(len as u64).read_to_end(bytes);
        match read {
            Ok(read) => Ok(read == len),
            Err(error) => Err(Error::new(ErrorKind::Io, error.to_string()).caused_by(error)),
        }
    }

    /// The next message, or how the stream has ended.
    fn receive(&mut self) -> Result<Result<Received, StreamEnd>> {
        let max = self.limits.message_bytes_max;
        let mut bytes = Vec::new();
        if !self.read(&mut bytes, PREFIX_BYTES)? {
            return Ok(Err(match bytes.is_empty() {
                true => StreamEnd::Whole,
                false => StreamEnd::Cut,
            }));
        }
        let [.., a, b, c, d] = bytes[..] else {
            unreachable!("eight bytes were read");
        };
        if bytes.starts_with(ARROW_FILE_MAGIC) {
            return refuse("it is a file of Arrow IPC: send a stream of Arrow IPC");
        }
        if !bytes.starts_with(&CONTINUATION) {
            return refuse(match self.columns {
                None => "it is no stream of Arrow IPC",
                Some(_) => "a message does not begin with FFFFFFFF",
            });
        }
        let len = i32::from_le_bytes([a, b, c, d]);
        if len == 0 {
            let mut more = Vec::new();
            return match self.read(&mut more, 1)? {
                true => refuse("bytes follow the end of the stream"),
                false => Ok(Err(StreamEnd::Whole)),
            };
        }
        let len = length(len.into(), "metadata", max)?;
        if !self.read(&mut bytes, len)? {
            return Ok(Err(StreamEnd::Cut));
        }
        let body = bytes.len();
        let body_len = length(
            message_of(&bytes[PREFIX_BYTES..])?.bodyLength(),
            "a body",
            max,
        )?;
        Ok(match self.read(&mut bytes, body_len)? {
            true => Ok(Received { bytes, body }),
            false => Err(StreamEnd::Cut),
        })
    }

    /// Takes a message in. Gives whether nobody wants more.
    fn take(
        &mut self,
        received: Received,
        name: &str,
        schema: &SchemaRef,
        out: &mut Out<'_>,
    ) -> Result<bool> {
        let body = received.body;
        let bytes = Buffer::from_vec(received.bytes);
        let message = message_of(&bytes[PREFIX_BYTES..body])?;
        let version = message.version();
        if version < MetadataVersion::V4 {
            return refuse("its version is older than Arrow 0.8");
        }
        let body = bytes.slice(body);
        let kind = message.header_type();
        let Some((theirs, adapter)) = &self.columns else {
            if kind != MessageHeader::Schema {
                return refuse("it does not begin with a schema");
            }
            let theirs = schema_of(&message)?;
            let fields = theirs.fields().iter();
            let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
            let ours = schema.fields().iter().map(|field| field.name().as_str());
            require(name, &names, ours)?;
            let adapter = Adapter::new(name, &theirs, schema.clone())?;
            self.columns = Some((theirs, adapter));
            return Ok(false);
        };
        match kind {
            MessageHeader::RecordBatch => {
                let Some(batch) = message.header_as_record_batch() else {
                    return refuse("a record batch says nothing of itself");
                };
                check(&batch, &body, self.limits.message_bytes_max)?;
                let dictionaries = &self.dictionaries;
                let theirs = theirs.clone();
                let records = read_record_batch(&body, batch, theirs, dictionaries, None, &version)
                    .map_err(damaged)?;
                let rows = piece_rows(&records, self.limits);
                let mut pieces = Pieces::new(adapter, rows, self.row, false);
                let given = pieces.give(&records, bytes.len() as u64, out)?;
                self.row += records.num_rows() as u64;
                Ok(given.is_break())
            }
            MessageHeader::DictionaryBatch => {
                let dictionary = message.header_as_dictionary_batch();
                let Some((dictionary, batch)) = dictionary.and_then(|it| Some((it, it.data()?)))
                else {
                    return refuse("a dictionary says nothing of itself");
                };
                if dictionary.isDelta() {
                    return refuse("it adds to a dictionary: send a new one instead");
                }
                let max = self.limits.message_bytes_max;
                let unpacked = check(&batch, &body, max)?;
                self.dictionary_bytes.insert(dictionary.id(), unpacked);
                if self.dictionary_bytes.values().sum::<usize>() > max {
                    return refuse(too_much("its dictionaries", max));
                }
                let dictionaries = &mut self.dictionaries;
                read_dictionary(&body, dictionary, theirs, dictionaries, &version)
                    .map_err(damaged)?;
                Ok(out(adapter.nothing(), bytes.len() as u64).is_break())
            }
            MessageHeader::Schema => refuse("it has a second schema"),
            _ => refuse("a message is neither a record batch nor a dictionary"),
        }
    }
}

fn message_of(metadata: &[u8]) -> Result<Message<'_>> {
    root_as_message(metadata).or_else(|_| refuse("the metadata of a message is damaged"))
}

fn damaged(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Data, format!("it is damaged: {error}"))
}

fn too_much(what: &str, max: usize) -> String {
    format!(
        "{what} would take more than message_bytes_max = {max} bytes; \
         send smaller batches, or raise it"
    )
}

/// A length that a message says of a part of itself.
fn length(said: i64, what: &str, max: usize) -> Result<usize> {
    match usize::try_from(said) {
        Err(_) => refuse(format!("{what} of a message says to have {said} bytes")),
        Ok(len) if len > max => refuse(too_much(&format!("{what} of {len} bytes"), max)),
        Ok(len) if len % 8 != 0 => refuse(format!(
            "{what} of a message has {len} bytes, which is no multiple of 8"
        )),
        Ok(len) => Ok(len),
    }
}

/// The columns of a stream.
fn schema_of(message: &Message<'_>) -> Result<SchemaRef> {
    let Some((schema, fields)) = message
        .header_as_schema()
        .and_then(|schema| Some((schema, schema.fields()?)))
    else {
        return refuse("its schema has no columns");
    };
    if schema.endianness() != Endianness::Little {
        return refuse("its numbers are big-endian");
    }
    fields.iter().try_for_each(|field| check_field(field, 1))?;
    Ok(fb_to_schema(schema).into())
}

/// Refuses types that no column of ours has, and those that are nested without end.
fn check_field(field: Field<'_>, depth: usize) -> Result<()> {
    let name = || super::rows::cut(field.name().unwrap_or_default().as_bytes(), 64);
    if depth > DEPTH_MAX {
        return refuse(format!(
            "column {} is nested more than {DEPTH_MAX} deep",
            name()
        ));
    }
    match field.type_type() {
        Type::Union | Type::RunEndEncoded | Type::ListView | Type::LargeListView | Type::NONE => {
            refuse(format!("column {} has a type that is not read", name()))
        }
        _ => (field.children().into_iter().flatten())
            .try_for_each(|child| check_field(child, depth + 1)),
    }
}

/// Refuses a batch that does not fit into its body. Gives how many bytes it has unpacked.
fn check(batch: &Batch<'_>, body: &[u8], max: usize) -> Result<usize> {
    if !(0..=BATCH_ROWS_MAX).contains(&batch.length()) {
        return refuse(format!(
            "a record batch of {} rows: there may be {BATCH_ROWS_MAX}",
            batch.length()
        ));
    }
    // A value of a list takes a bit at least, if it is no NULL of no type.
    let values_max = (max as i64).saturating_mul(8).max(BATCH_ROWS_MAX);
    for node in batch.nodes().into_iter().flatten() {
        let (values, nulls) = (node.length(), node.null_count());
        if !(0..=values_max).contains(&values) || !(0..=values).contains(&nulls) {
            return refuse(format!("a column of {values} values, {nulls} of them NULL"));
        }
    }
    let count = batch.buffers().map_or(0, |buffers| buffers.len());
    let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
    if variadic.any(|buffers| !(0..=count as i64).contains(&buffers)) {
        return refuse("a column has more buffers than there are");
    }
    let codec = batch.compression().map(|compression| compression.codec());
    let (mut packed, mut unpacked) = (0_usize, 0_usize);
    for buffer in batch.buffers().into_iter().flatten() {
        let range = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok());
        let range = range.and_then(|(start, len)| Some(start..start.checked_add(len)?));
        let Some(bytes) = range.and_then(|range| body.get(range)) else {
            return refuse("a buffer lies outside of its message");
        };
        packed += bytes.len();
        unpacked = match codec {
            Some(codec) => unpacked.saturating_add(unpacked_len(bytes, codec, max)?),
            None => unpacked.saturating_add(bytes.len()),
        };
        // Buffers that share their bytes would be copied, each for itself.
        if packed > body.len() || unpacked > max {
            return refuse(match packed > body.len() {
                true => "its buffers lie on each other".to_owned(),
                false => too_much("a record batch, unpacked,", max),
            });
        }
    }
    Ok(unpacked)
}

/// How many bytes a compressed buffer has unpacked: as many as it says.
fn unpacked_len(bytes: &[u8], codec: CompressionType, max: usize) -> Result<usize> {
    const NOT_PACKED: i64 = -1;
    if bytes.is_empty() {
        return Ok(0);
    }
    let Some((said, packed)) = bytes.split_first_chunk() else {
        return refuse("a compressed buffer does not say how long it is");
    };
    let said = i64::from_le_bytes(*said);
    if said == NOT_PACKED {
        return Ok(packed.len());
    }
    let len = match usize::try_from(said) {
        Err(_) => return refuse(format!("a compressed buffer says to have {said} bytes")),
        Ok(len) if len > max => return refuse(too_much("a buffer, unpacked,", max)),
        Ok(len) => len,
    };
    // The library unpacks Zstandard into as much room as is said, LZ4 to its end.
    if codec == CompressionType::LZ4_FRAME && len > 0 {
        let unpacked = lz4_flex::frame::FrameDecoder::new(packed).take(len as u64 + 1);
        let found = io::copy(&mut { unpacked }, &mut io::sink());
        if !found.is_ok_and(|found| found == len as u64) {
            return refuse("a compressed buffer is not as long as it says");
        }
    }
    Ok(len)
}

/// How many rows are given on at a time, so that text to which several of them point does
/// not become more than a message may have.
fn piece_rows(records: &RecordBatch, limits: StreamLimits) -> usize {
    let longest = records.columns().iter().map(shared_len).max();
    let rows = limits.message_bytes_max / longest.unwrap_or(0).max(1);
    rows.clamp(1, limits.batch_rows)
}

/// The longest of the texts that several rows may point to.
fn shared_len(values: &ArrayRef) -> usize {
    let longest = |offsets: &[i32]| {
        let lens = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
        lens.max().unwrap_or(0)
    };
    match values.data_type() {
        DataType::Utf8View => {
            let views = values.as_string_view().views().iter();
            // The length is what a view begins with.
            views.map(|view| *view as u32 as usize).max().unwrap_or(0)
        }
        DataType::Dictionary(..) => {
            let values = values.as_any_dictionary().values();
            match values.data_type() {
                DataType::Utf8 => longest(values.as_string::<i32>().value_offsets()),
                DataType::LargeUtf8 => {
                    let offsets = values.as_string::<i64>().value_offsets().windows(2);
                    let lens = offsets.map(|pair| (pair[1] - pair[0]) as usize);
                    lens.max().unwrap_or(0)
                }
                _ => shared_len(values),
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
