//! Arrow IPC streams as bodies.
//!
//! The lengths in a message are what its sender says. Before the reader believes them, each
//! is held against the bytes that are there, and what a few bytes could be blown up to is
//! refused: packed buffers, rows without bytes, a long text that every row points to.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::{MessageHeader, root_as_message};

use super::message::Fault;
use crate::format::columnar::stream_start;

/// The greatest number of dictionaries, each of which may be joined to those before.
const DICTIONARIES_MAX: usize = 256;

fn damaged(reason: impl std::fmt::Display) -> Fault {
    Fault::Bad(
        400,
        format!("the body cannot be read as a stream of Arrow IPC: {reason}"),
    )
}

/// The batches of a stream.
///
/// - `bytes_max`: no column may become larger when it is written out.
///
/// # Errors
/// If it is damaged, or would take more memory than its bytes tell.
pub(super) fn batches(
    body: &[u8],
    bytes_max: usize,
) -> Result<(SchemaRef, Vec<RecordBatch>), Fault> {
    if stream_start(body) != Some(0) {
        return Err(damaged("it does not begin as one"));
    }
    check(body)?;
    // The reader is not made for lies: what it stumbles over is the sender's fault.
    let read = catch_unwind(AssertUnwindSafe(|| -> Result<_, Fault> {
        let reader = StreamReader::try_new(Cursor::new(body), None).map_err(damaged)?;
        let schema = reader.schema();
        let mut batches = Vec::new();
        for records in reader {
            let records = records.map_err(damaged)?;
            for column in records.columns() {
                check_size(column, bytes_max)?;
            }
            batches.push(records);
        }
        Ok((schema, batches))
    }));
    read.unwrap_or_else(|_| Err(damaged("it contradicts itself")))
}

/// Holds all lengths against the bytes that are there.
fn check(body: &[u8]) -> Result<(), Fault> {
    let (mut at, mut rows, mut dictionaries) = (0, 0_u64, 0);
    let word = |at: usize| {
        let bytes = body.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let cut_short = || damaged("it ends in the middle of a message");
    while at < body.len() {
        let mut length = word(at).ok_or_else(cut_short)?;
        at += 4;
        if length == u32::MAX {
            length = word(at).ok_or_else(cut_short)?;
            at += 4;
        }
        if length == 0 {
            break;
        }
        let end = (at.checked_add(length as usize)).ok_or_else(cut_short)?;
        let message = body.get(at..end).ok_or_else(cut_short)?;
        let message = root_as_message(message).map_err(damaged)?;
        let held = usize::try_from(message.bodyLength())
            .ok()
            .and_then(|held| end.checked_add(held))
            .filter(|end| *end <= body.len());
        at = held.ok_or_else(|| damaged("a message is longer than the body"))?;
        let batch = match message.header_type() {
            MessageHeader::DictionaryBatch => {
                dictionaries += 1;
                message
                    .header_as_dictionary_batch()
                    .and_then(|dictionary| dictionary.data())
            }
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch();
                let length = batch.map_or(0, |batch| batch.length());
                let length =
                    u64::try_from(length).map_err(|_| damaged("a batch has less than no rows"))?;
                rows = rows.saturating_add(length);
                batch
            }
            _ => None,
        };
        let Some(batch) = batch else {
            continue;
        };
        // Each buffer may be copied, so that no two may be the same bytes.
        let buffers = batch.buffers().into_iter().flatten();
        let claimed = buffers.fold(0_i64, |sum, buffer| {
            sum.saturating_add(buffer.length().max(0))
        });
        if claimed > message.bodyLength() {
            return Err(damaged("its columns share their bytes"));
        }
        if batch.compression().is_some() {
            return Err(damaged(
                "its buffers are compressed; send them as they are, with Content-Encoding: gzip \
                 if need be",
            ));
        }
    }
    if dictionaries > DICTIONARIES_MAX {
        return Err(damaged(format!(
            "it has more than {DICTIONARIES_MAX} dictionaries"
        )));
    }
    // The smallest value is a bit.
    if rows > 8 * body.len() as u64 {
        return Err(damaged("it says that it has more rows than bits"));
    }
    Ok(())
}

/// Refuses a column of which many rows point to the same bytes, when written out they would
/// be more than `bytes_max`.
fn check_size(column: &ArrayRef, bytes_max: usize) -> Result<(), Fault> {
    let bytes: u64 = match column.data_type() {
        DataType::Utf8View => (column.as_string_view().lengths()).map(u64::from).sum(),
        DataType::BinaryView => (column.as_binary_view().lengths()).map(u64::from).sum(),
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let values = dictionary.values();
            check_size(values, bytes_max)?;
            let lengths = lengths(values)?;
            match lengths.is_empty() {
                true => 0,
                false => (dictionary.normalized_keys().iter())
                    .map(|key| lengths[*key])
                    .sum(),
            }
        }
        data_type if data_type.is_nested() => return check_nested(data_type),
        _ => 0,
    };
    match bytes <= bytes_max as u64 {
        true => Ok(()),
        false => Err(damaged(format!(
            "a column is larger than {bytes_max} bytes when its values are written out"
        ))),
    }
}

/// How long each value of a dictionary is; nothing where it is no text, all values of which
/// are of one length.
fn lengths(values: &ArrayRef) -> Result<Vec<u64>, Fault> {
    let text = match values.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            cast(values, &DataType::LargeUtf8).map_err(damaged)?
        }
        data_type if data_type.is_nested() => {
            return Err(damaged("a dictionary of lists or structs is not read"));
        }
        _ => return Ok(Vec::new()),
    };
    let offsets = text.as_string::<i64>().value_offsets();
    Ok((offsets.windows(2))
        .map(|pair| pair[1].abs_diff(pair[0]))
        .collect())
}

/// Nested values are taken as they are, if nothing in them is shared.
fn check_nested(data_type: &DataType) -> Result<(), Fault> {
    use DataType::{
        BinaryView, Dictionary, FixedSizeList, LargeList, List, ListView, Struct, Utf8View,
    };
    match data_type {
        List(field) | LargeList(field) => check_nested(field.data_type()),
        Struct(fields) => (fields.iter()).try_for_each(|field| check_nested(field.data_type())),
        Dictionary(..)
        | Utf8View
        | BinaryView
        | FixedSizeList(..)
        | ListView(_)
        | DataType::LargeListView(_)
        | DataType::Map(..)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..)
        | DataType::Null => Err(damaged(format!(
            "a {data_type} is not read inside a column"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod fuzz;
