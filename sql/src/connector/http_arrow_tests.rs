//! Bodies of Arrow IPC, honest and not.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, NullArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int8Type;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::http_testing::{ACCOUNT, numbers, post, readings, serving};
use super::port::free_address;

pub(super) fn arrow_rows(
    columns: Vec<(&str, ArrayRef)>,
    packed: Option<CompressionType>,
) -> Vec<u8> {
    let records = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let options = IpcWriteOptions::default();
    let options = options.try_with_compression(packed).expect("it is there");
    let schema = records.schema();
    let writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options);
    let mut writer = writer.expect("it starts");
    writer.write(&records).expect("into memory");
    writer.into_inner().expect("into memory")
}

/// Midnight of 2026 and so many seconds.
pub(super) fn times(count: i64) -> ArrayRef {
    let times = (0..count).map(|second| (1_767_225_600 + second) * 1_000_000);
    Arc::new(TimestampMicrosecondArray::from_iter_values(times))
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_taken() {
    let address = free_address();
    serving(&readings(address, ""), |session| {
        let arrow = ("Content-Type", "application/vnd.apache.arrow.stream");
        let ingest = |body: &[u8]| post(address, "/ingest/readings", &[arrow], body);
        let good = arrow_rows(vec![("ts", times(100))], None);
        let nothing: ArrayRef = Arc::new(NullArray::new(3));
        let sparse = arrow_rows(vec![("ts", times(3)), ("s", nothing)], None);
        assert_eq!(ingest(&sparse).counts(), [3, 3, 0, 0]);
        assert_eq!(ingest(&good).counts(), [100, 100, 0, 0]);
        let text: ArrayRef = Arc::new(StringArray::from_iter_values(["x".repeat(1 << 20)]));
        let keys = arrow::array::Int8Array::from_iter_values(std::iter::repeat_n(0, 1_000));
        let dictionary = DictionaryArray::<Int8Type>::try_new(keys, text).expect("it fits");
        let nulls = |rows: usize| -> ArrayRef { Arc::new(NullArray::new(rows)) };
        let numbers_of =
            |rows: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..rows)) };
        let mut long = good.clone();
        // The first message says that it is longer than all memory.
        long[4..8].copy_from_slice(&0x7FFF_FFF0_u32.to_le_bytes());
        let mut bodies: Vec<(Vec<u8>, &str)> = vec![
            (long, "middle of a message"),
            (good[..good.len() / 2].to_vec(), "the body"),
            (b"ARROW1\0\0".to_vec(), "begin"),
            (b"no arrow".to_vec(), "begin"),
            (
                arrow_rows(vec![("ts", times(1_000))], Some(CompressionType::ZSTD)),
                "compressed",
            ),
            (
                arrow_rows(vec![("s", Arc::new(dictionary) as ArrayRef)], None),
                "written out",
            ),
            (
                arrow_rows(vec![("s", nulls(1 << 30))], None),
                "more rows than bits",
            ),
            (
                arrow_rows(vec![("other", numbers_of(3))], None),
                "none of the columns",
            ),
            (
                arrow_rows(vec![("ts", numbers_of(3))], None),
                "cannot be read as",
            ),
        ];
        // The length of a body that is far too great, wherever it stands.
        let place = (good.windows(8)).position(|bytes| bytes == 896_i64.to_le_bytes());
        if let Some(place) = place {
            let mut body = good.clone();
            body[place..place + 8].copy_from_slice(&(1_i64 << 60).to_le_bytes());
            bodies.push((body, "the body"));
        }
        for (body, reason) in bodies {
            let refused = ingest(&body);
            assert!(
                refused.status == 400 && refused.body.contains(reason),
                "{reason}: {refused:?}"
            );
        }
        // Whatever is changed, the next one is served.
        for place in (0..good.len()).step_by(3) {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut body = good.clone();
                body[place] = value;
                let answered = ingest(&body);
                assert!(
                    matches!(answered.status, 200 | 400),
                    "{place}: {answered:?}"
                );
            }
        }
        let [received, accepted, rejected, _] = numbers(session, ACCOUNT);
        assert_eq!(received, accepted + rejected);
        assert!(ingest(&good).status == 200);
    });
}
