//! Snapshots, as they are read from a disk.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use windrow_core::snapshot::Snapshot;

use super::{Bytes, edited, fuzz};

fn seeds() -> Vec<Vec<u8>> {
    let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let s: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "äöü"]));
    let table = RecordBatch::try_from_iter([("n", n), ("s", s)]).expect("two columns");
    let mut small = Snapshot::default();
    small.numbers.insert("late".into(), -7);
    let mut snapshot = small.clone();
    snapshot.tables.insert("keys".into(), table);
    let inner = snapshot.clone();
    snapshot.parts.insert("inner".into(), inner);
    snapshot.parts.insert("other".into(), Snapshot::default());
    [Snapshot::default(), small, snapshot]
        .map(|snapshot| snapshot.encode().expect("encoded"))
        .to_vec()
}

#[test]
fn snapshot() {
    let words: &[&[u8]] = &[
        b"WNDRSNP3",
        b"\0\0\0\0",
        b"\x01\0\0\0",
        b"\xFF\xFF\xFF\xFF",
        b"late",
    ];
    fuzz("snapshot", &edited(seeds(), words, 4), |Bytes(bytes)| {
        if let Ok(snapshot) = Snapshot::decode(&bytes) {
            // What is believed can be written and read again: the same.
            let again = snapshot.encode().expect("it can be written");
            let back = Snapshot::decode(&again).expect("it can be read");
            assert_eq!(back.encode().expect("it can be written"), again);
        }
        Ok(())
    });
}
