//! Streams that are whole, cut, damaged and hostile.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{
    BinaryArray, DictionaryArray, Float64Array, Int32Array, Int64Array, NullArray, StringArray,
    StringViewArray, StructArray,
};
use arrow::datatypes::{Int32Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use proptest::prelude::*;

use super::*;
use crate::format::testing::{schema, shown};

fn ours() -> SchemaRef {
    schema(&[("n", DataType::Int64), ("s", DataType::Utf8)])
}

fn records(range: std::ops::Range<i64>) -> RecordBatch {
    let texts: Vec<String> = range.clone().map(|n| format!("text {n}")).collect();
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
    let s: ArrayRef = Arc::new(StringArray::from(texts));
    RecordBatch::try_from_iter([("s", s), ("n", n)]).expect("columns")
}

fn packed(codec: Option<CompressionType>, batches: &[RecordBatch]) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(codec);
    let options = options.expect("a codec");
    let mut bytes = Vec::new();
    let schema = batches[0].schema();
    let mut writer =
        StreamWriter::try_new_with_options(&mut bytes, &schema, options).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("written");
    }
    writer.finish().expect("finished");
    drop(writer);
    bytes
}

struct Read {
    rows: Vec<String>,
    bytes: u64,
    end: Result<StreamEnd>,
}

impl Read {
    fn reason(self) -> String {
        self.end.expect_err("it is refused").to_string()
    }
}

fn read_within(bytes: &[u8], message_bytes_max: usize) -> Read {
    let limits = StreamLimits {
        message_bytes_max,
        batch_rows: 10,
    };
    let (mut rows, mut count) = (Vec::new(), 0);
    let end = read_messages(bytes, "tcp", &ours(), limits, &mut |placed, bytes| {
        assert!(placed.records.num_rows() <= 10);
        rows.extend(shown(&placed.records));
        count += bytes;
        ControlFlow::Continue(())
    });
    Read {
        rows,
        bytes: count,
        end,
    }
}

fn read(bytes: &[u8]) -> Read {
    read_within(bytes, 1 << 20)
}

fn expected(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|n| format!("{n}|text {n}")).collect()
}

const CODECS: [Option<CompressionType>; 3] = [
    None,
    Some(CompressionType::LZ4_FRAME),
    Some(CompressionType::ZSTD),
];

#[test]
fn rows_come_packed_or_not() {
    for codec in CODECS {
        let bytes = packed(codec, &[records(0..25), records(25..25), records(25..31)]);
        let read = read(&bytes);
        assert_eq!(read.end.expect("whole"), StreamEnd::Whole);
        assert_eq!(read.rows, expected(0..31));
        // All but the schema and the end.
        assert!(read.bytes > 0 && read.bytes < bytes.len() as u64);
        // The end may be missing.
        let without = &bytes[..bytes.len() - 8];
        assert_eq!(
            super::tests::read(without).end.expect("whole"),
            StreamEnd::Whole
        );
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_keeps_whole_batches() {
    let one = packed(None, &[records(0..3)]).len();
    let bytes = packed(None, &[records(0..3), records(3..8)]);
    let first = one - 8;
    let mut wholes = 0;
    for len in 0..bytes.len() {
        let read = read(&bytes[..len]);
        let end = read.end.expect("it is cut, not wrong");
        wholes += usize::from(end == StreamEnd::Whole);
        let rows = match len {
            len if len < first => 0,
            len if len < bytes.len() - 8 => 3,
            _ => 8,
        };
        assert_eq!(read.rows, expected(0..rows), "{len}");
    }
    // Nothing, behind the schema, and behind each batch.
    assert_eq!(wholes, 4);
}

#[test]
fn text_of_every_kind_is_text() {
    let dictionary: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    let columns: [ArrayRef; 2] = [
        Arc::new(dictionary),
        Arc::new(StringViewArray::from(vec!["a", "b", "a"])),
    ];
    for column in columns {
        let n: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let records = RecordBatch::try_from_iter([("n", n), ("s", column)]).expect("columns");
        for codec in CODECS {
            let read = read(&packed(codec, std::slice::from_ref(&records)));
            assert_eq!(read.rows, ["1|a", "2|b", "3|a"]);
            assert_eq!(read.end.expect("whole"), StreamEnd::Whole);
        }
    }
}

#[test]
fn columns_that_do_not_fit_are_told() {
    let n: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
    let s: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let other = RecordBatch::try_from_iter([("n", n), ("s", s.clone())]).expect("columns");
    let reason = read(&packed(None, &[other])).reason();
    assert!(reason.contains("column n is DOUBLE"), "{reason}");
    let other = RecordBatch::try_from_iter([("m", s)]).expect("columns");
    let reason = read(&packed(None, &[other])).reason();
    assert!(reason.contains("has no column n"), "{reason}");
}

#[test]
fn other_bytes_are_told_for_what_they_are() {
    let mut file = Cursor::new(Vec::new());
    let batch = records(0..1);
    let mut writer = FileWriter::try_new(&mut file, &batch.schema()).expect("a writer");
    writer.write(&batch).expect("written");
    writer.finish().expect("finished");
    drop(writer);
    let mut twice = packed(None, &[records(0..1)]);
    twice.extend(packed(None, &[records(0..1)]));
    for (bytes, reason) in [
        (file.into_inner(), "it is a file of Arrow IPC"),
        (b"{\"n\":1,\"s\":\"x\"}\n".to_vec(), "it is no stream"),
        (vec![0xFF; 64], "says to have -1 bytes"),
        (twice, "bytes follow the end"),
    ] {
        let found = read(&bytes).reason();
        assert!(found.contains(reason), "{found} for {reason}");
    }
}

/// Where the first record batch begins, where its body does, and the message itself.
fn places(bytes: &[u8]) -> (usize, usize) {
    let metadata = |at: usize| {
        let len = bytes[at + 4..at + 8].try_into().expect("four bytes");
        i32::from_le_bytes(len) as usize
    };
    let batch = PREFIX_BYTES + metadata(0);
    (batch, batch + PREFIX_BYTES + metadata(batch))
}

/// Writes a number over the one place of the metadata of a record batch that holds `old`.
fn instead(bytes: &[u8], old: i64, new: i64) -> Vec<u8> {
    let (batch, body) = places(bytes);
    let mut found = (batch..body - 8).filter(|at| bytes[*at..at + 8] == old.to_le_bytes());
    let at = found.next().expect("it is there");
    let mut bytes = bytes.to_vec();
    bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
    bytes
}

#[test]
fn lengths_are_not_believed() {
    let bytes = packed(None, &[records(0..1_234)]);
    let (batch, body) = places(&bytes);
    let message = message_of(&bytes[batch + PREFIX_BYTES..body]).expect("a message");
    let body_len = message.bodyLength();
    let with_prefix = |len: i32| {
        let mut bytes = bytes.clone();
        bytes[batch + 4..batch + 8].copy_from_slice(&len.to_le_bytes());
        bytes
    };
    for (bytes, reason) in [
        (
            with_prefix(i32::MAX - 7),
            "more than message_bytes_max = 1048576 bytes",
        ),
        (with_prefix(-8), "says to have -8 bytes"),
        (with_prefix(12), "no multiple of 8"),
        (with_prefix(8), "metadata of a message is damaged"),
        (
            instead(&bytes, body_len, 1 << 60),
            "more than message_bytes_max",
        ),
        (instead(&bytes, body_len, -8), "says to have -8 bytes"),
        (instead(&bytes, body_len, body_len - 4), "no multiple of 8"),
        (instead(&bytes, body_len, 8), "outside of its message"),
        (
            instead(&bytes, 1_234, 1 << 60),
            "a record batch of 1152921504606846976 rows",
        ),
        (instead(&bytes, 1_234, -1), "a record batch of -1 rows"),
        (
            instead(&bytes, 1_234 * 8, 1 << 60),
            "outside of its message",
        ),
        (instead(&bytes, 1_234 * 8, -8), "outside of its message"),
        (instead(&bytes, 1_235 * 4, body_len), "lie on each other"),
        // Too short for its rows.
        (instead(&bytes, 1_234 * 8, 8), "it is damaged"),
    ] {
        let read = read(&bytes);
        assert_eq!(read.rows, Vec::<String>::new());
        let found = read.reason();
        assert!(found.contains(reason), "{found} for {reason}");
    }
}

#[test]
fn what_is_compressed_is_bounded_unpacked() {
    // 4 MB of one letter are some kilobytes.
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(4 << 20)]));
    let n: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let bomb = RecordBatch::try_from_iter([("n", n), ("s", text)]).expect("columns");
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let bytes = packed(Some(codec), std::slice::from_ref(&bomb));
        assert!(bytes.len() < 64 << 10, "{}", bytes.len());
        let reason = read(&bytes).reason();
        assert!(
            reason.contains("unpacked, would take more than"),
            "{reason}"
        );
        assert_eq!(read_within(&bytes, 8 << 20).rows.len(), 1);
        // It may say another length than it has.
        let (_, body) = places(&bytes);
        let said = (4_i64 << 20).to_le_bytes();
        let mut found = (body..bytes.len() - 8).filter(|at| bytes[*at..at + 8] == said);
        // The text ends where it is long: its offsets, which stand before it, say so too.
        let at = found.next_back().expect("the length of the text");
        for (says, reason) in [
            (1 << 60, "would take more than"),
            (-2, "says to have -2 bytes"),
            (1_000, ""),
            ((4 << 20) + 1, ""),
        ] {
            let mut lies = bytes.clone();
            lies[at..at + 8].copy_from_slice(&i64::to_le_bytes(says));
            let read = read_within(&lies, 8 << 20);
            assert_eq!(read.rows, Vec::<String>::new());
            let found = read.reason();
            assert!(found.contains(reason), "{found} for {reason}");
        }
    }
}

#[test]
fn all_buffers_of_a_batch_count_together() {
    let text = || -> ArrayRef { Arc::new(StringArray::from(vec!["x".repeat(700_000)])) };
    let n: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let columns = [("n", n), ("s", text()), ("t", text())];
    let bomb = RecordBatch::try_from_iter(columns).expect("columns");
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let bytes = packed(Some(codec), std::slice::from_ref(&bomb));
        let reason = read(&bytes).reason();
        assert!(reason.contains("a record batch, unpacked,"), "{reason}");
        assert_eq!(read_within(&bytes, 2 << 20).rows.len(), 1);
    }
}

#[test]
fn texts_that_rows_share_are_unpacked_in_small_pieces() {
    // 1,000 rows that point to one text of 100 kB: 100 MB, of which 1 MB at a time.
    let keys = Int32Array::from(vec![0; 1_000]);
    let values = Arc::new(StringArray::from(vec!["x".repeat(100_000)]));
    let dictionary: ArrayRef =
        Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values).expect("keys"));
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    let records = RecordBatch::try_from_iter([("n", n), ("s", dictionary)]).expect("columns");
    let limits = StreamLimits {
        message_bytes_max: 1 << 20,
        batch_rows: 1 << 16,
    };
    let (mut count, mut most) = (0, 0);
    let bytes = packed(None, &[records]);
    let end = read_messages(&bytes[..], "tcp", &ours(), limits, &mut |placed, _| {
        count += placed.records.num_rows();
        most = most.max(placed.records.get_array_memory_size());
        ControlFlow::Continue(())
    });
    assert_eq!((end.expect("whole"), count), (StreamEnd::Whole, 1_000));
    assert!(most < 4 << 20, "{most}");
}

#[test]
fn types_that_are_nested_too_deep_are_refused() {
    let mut column: ArrayRef = Arc::new(NullArray::new(1));
    for _ in 0..DEPTH_MAX {
        let field = arrow::datatypes::Field::new("f", column.data_type().clone(), true);
        column = Arc::new(StructArray::new(vec![field].into(), vec![column], None));
    }
    let records = RecordBatch::try_from_iter([("n", column)]).expect("a column");
    let reason = read(&packed(None, &[records])).reason();
    assert!(reason.contains("nested more than 16 deep"), "{reason}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever bytes are changed, there is an answer and no more memory than is allowed.
    #[test]
    fn damage_is_told_or_read(
        codec in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let binary: ArrayRef = Arc::new(BinaryArray::from(vec![&b"ab"[..]; 20]));
        let batch = records(0..20);
        let columns = [batch.column(0).clone(), batch.column(1).clone(), binary];
        let fields = batch.schema().fields().iter().cloned().chain([Arc::new(
            arrow::datatypes::Field::new("b", DataType::Binary, true),
        )]).collect::<Vec<_>>();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.to_vec())
            .expect("columns");
        let mut bytes = packed(CODECS[codec], &[batch.clone(), batch]);
        let len = bytes.len();
        for (place, byte) in changes {
            bytes[place.index(len)] = byte;
        }
        let read = read(&bytes);
        prop_assert!(read.rows.len() <= 40);
    }
}
