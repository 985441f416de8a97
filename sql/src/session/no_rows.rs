//! Why a query does not fit its columns: the file that they were inferred from has no rows.
//!
//! A header without rows tells names and no types, so that all columns are TEXT, and what
//! needs a TIMESTAMP or a number refuses them. To guess a type for each from the query would
//! let an empty day pass, and say that a query fits which the next day's rows do not.

use std::time::Duration;

use arrow::datatypes::{DataType, Schema};
use windrow_core::stream::SourceEvent;

use super::catalog::{Entry, StreamEntry};
use crate::error::Error;

/// The same error; with what to do if it is about a TEXT, and a file without rows is among
/// what the query reads.
pub(super) fn explained(error: Error, read: &[Entry]) -> Error {
    if !error.message().contains("TEXT") {
        return error;
    }
    let empty = read.iter().find_map(|entry| match entry {
        Entry::Stream(stream) if has_no_rows(stream) => Some(stream),
        _ => None,
    });
    let Some(stream) = empty else {
        return error;
    };
    let message = format!(
        "{}: {} has no rows that tell the types of its columns",
        error.message(),
        stream.name
    );
    error.worded(message).help(format!(
        "declare them: CREATE STREAM … ({}) WITH (connector = 'file', path = …)",
        columns(&stream.rules.source_schema())
    ))
}

/// The first columns, with room for their types.
fn columns(schema: &Schema) -> String {
    const SHOWN: usize = 4;
    let names = schema.fields().iter().take(SHOWN);
    let mut shown: Vec<String> = names.map(|field| format!("{} …", field.name())).collect();
    if schema.fields().len() > SHOWN {
        shown.push("…".into());
    }
    shown.join(", ")
}

/// Whether a stream is of files that hold a header at most. They are read again for that.
fn has_no_rows(stream: &StreamEntry) -> bool {
    // A pipe cannot be read twice.
    let Some(connector) = (stream.connector.as_ref()).filter(|_| stream.connector_name == "file")
    else {
        return false;
    };
    let is_text = |schema: &Schema| {
        let mut types = schema.fields().iter().map(|field| field.data_type());
        types.all(|data_type| *data_type == DataType::Utf8)
    };
    if stream.live.is_some() || !is_text(&stream.rules.source_schema()) {
        return false;
    }
    let Ok(mut source) = connector.open() else {
        return false;
    };
    loop {
        match source.poll(POLL) {
            Ok(SourceEvent::Batch {
                records, rejected, ..
            }) if records.num_rows() == 0 && rejected.is_empty() => {}
            Ok(SourceEvent::End) => return true,
            Ok(SourceEvent::Batch { .. }) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

/// How long the first rows are waited for before they are asked for again.
const POLL: Duration = Duration::from_millis(10);
