//! Streams of Arrow IPC, as they come over TCP.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, StringViewArray,
};
use arrow::datatypes::{DataType, Int32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use proptest::prelude::*;

use super::{Bytes, Parts, cuts, edited, fuzz};
use crate::format::arrow_stream::{StreamEnd, StreamLimits, read_messages};
use crate::format::testing::{schema, shown};

const MESSAGE_BYTES_MAX: usize = 1 << 16;

const BATCH_ROWS: usize = 10;

/// How a message begins, and how a file does.
pub(crate) const WORDS: &[&[u8]] = &[
    b"\xFF\xFF\xFF\xFF",
    b"\0\0\0\0",
    b"ARROW1\0\0",
    b"\0\0\0\0\0\0\0\0",
];

fn batches(text: fn(Vec<&'static str>) -> ArrayRef) -> [RecordBatch; 2] {
    [
        vec!["a", "bc", "ä"],
        vec!["d", "a text that is longer than twelve bytes"],
    ]
    .map(|texts| {
        let n: ArrayRef = Arc::new(Int64Array::from_iter(
            (0..texts.len()).map(|n| (n != 1).then_some(n as i64)),
        ));
        RecordBatch::try_from_iter([("n", n), ("s", text(texts))]).expect("two columns")
    })
}

fn stream(batches: &[RecordBatch], codec: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(codec);
    let mut bytes = Vec::new();
    let columns = batches[0].schema();
    let mut writer =
        StreamWriter::try_new_with_options(&mut bytes, &columns, options.expect("a codec"))
            .expect("a writer");
    for batch in batches {
        writer.write(batch).expect("written");
    }
    writer.finish().expect("finished");
    drop(writer);
    bytes
}

fn file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &batches[0].schema()).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("written");
    }
    writer.finish().expect("finished");
    drop(writer);
    bytes
}

/// Streams of each kind, and a file.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let plain = batches(|texts| Arc::new(StringArray::from(texts)));
    let views = batches(|texts| Arc::new(StringViewArray::from(texts)));
    let dictionary =
        batches(|texts| Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()));
    vec![
        stream(&plain, None),
        stream(&plain, Some(CompressionType::LZ4_FRAME)),
        stream(&plain, Some(CompressionType::ZSTD)),
        stream(&views, None),
        stream(&dictionary[..1], None),
        file(&plain),
    ]
}

/// Rows, and how the stream ended or why it cannot be read.
type Answer = (Vec<String>, Result<StreamEnd, String>);

fn read(reader: impl std::io::Read) -> Answer {
    let ours = schema(&[("n", DataType::Int64), ("s", DataType::Utf8)]);
    let limits = StreamLimits {
        message_bytes_max: MESSAGE_BYTES_MAX,
        batch_rows: BATCH_ROWS,
    };
    let mut rows = Vec::new();
    let end = read_messages(reader, "f", &ours, limits, &mut |placed, _| {
        let records = placed.records;
        assert!(records.num_rows() <= BATCH_ROWS);
        // Our columns are made of what one message holds.
        assert!(records.get_array_memory_size() <= 4 * MESSAGE_BYTES_MAX);
        rows.extend(shown(&records));
        ControlFlow::Continue(())
    });
    (rows, end.map_err(|error| error.to_string()))
}

#[test]
fn arrow_stream() {
    let inputs = (edited(seeds(), WORDS, 3), cuts());
    fuzz("arrow_stream", &inputs, |(Bytes(bytes), cuts)| {
        let whole = read(&bytes[..]);
        let parts = read(Parts::new(&bytes, &cuts));
        prop_assert_eq!(&parts, &whole, "parts of {:?} bytes", cuts);
        Ok(())
    });
}
