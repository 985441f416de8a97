//! The shape in which an operator's state is saved.
//!
//! A [`Snapshot`] is a named tree of record batches: immutable columns behind
//! `Arc`s, cheap to take between two events and encoded later. It holds key
//! *values*, never ids, so that it can be restored into an engine whose ids were
//! given out in another order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::ipc::{MessageHeader, root_as_message};

use crate::error::{Error, Result};

/// The saved state of one operator, or of a part of it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Scalars: counters, positions, flags.
    pub numbers: BTreeMap<String, i64>,
    /// Columns, one batch for each name.
    pub tables: BTreeMap<String, RecordBatch>,
    /// Parts, each with a name of its own.
    pub parts: BTreeMap<String, Snapshot>,
}

impl Snapshot {
    /// A number that must be there.
    ///
    /// # Errors
    /// If the snapshot was taken of something else.
    pub fn number(&self, name: &str) -> Result<i64> {
        (self.numbers.get(name).copied())
            .ok_or_else(|| Error::Snapshot(format!("it holds no number {name:?}")))
    }

    /// A number that counts something and must be there.
    ///
    /// # Errors
    /// If the snapshot was taken of something else, or the number is below zero.
    pub fn count(&self, name: &str) -> Result<u64> {
        let number = self.number(name)?;
        u64::try_from(number)
            .map_err(|_| Error::Snapshot(format!("its count {name:?} is {number}")))
    }

    /// A table that must be there.
    ///
    /// # Errors
    /// If the snapshot was taken of something else.
    pub fn table(&self, name: &str) -> Result<&RecordBatch> {
        (self.tables.get(name))
            .ok_or_else(|| Error::Snapshot(format!("it holds no table {name:?}")))
    }

    /// A part that must be there.
    ///
    /// # Errors
    /// If the snapshot was taken of something else.
    pub fn part(&self, name: &str) -> Result<&Snapshot> {
        (self.parts.get(name)).ok_or_else(|| Error::Snapshot(format!("it holds no part {name:?}")))
    }
}

const MAGIC: &[u8; 8] = b"WNDRSNP3";

impl Snapshot {
    /// The snapshot as bytes.
    ///
    /// ```text
    /// magic "WNDRSNP3" · tree
    /// tree   = numbers · tables · parts, each: count u32 LE · entries
    /// entry  = name (u32 LE length · UTF-8) · body
    /// body   = i64 LE | u64 LE length · Arrow IPC stream | tree
    /// ```
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    /// The snapshot that [`Snapshot::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are cut short, damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut rest = (bytes.strip_prefix(MAGIC))
            .ok_or_else(|| Error::Snapshot("it does not start as a snapshot does".into()))?;
        let snapshot = Self::read(&mut rest, 0)?;
        if rest.is_empty() {
            Ok(snapshot)
        } else {
            Err(Error::Snapshot("bytes follow its end".into()))
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        fn name(bytes: &mut Vec<u8>, name: &str) {
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        bytes.extend((self.numbers.len() as u32).to_le_bytes());
        for (key, number) in &self.numbers {
            name(bytes, key);
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((self.tables.len() as u32).to_le_bytes());
        for (key, table) in &self.tables {
            name(bytes, key);
            let mut stream = Vec::new();
            let mut writer = StreamWriter::try_new(&mut stream, &table.schema())?;
            writer.write(table)?;
            writer.finish()?;
            drop(writer);
            bytes.extend((stream.len() as u64).to_le_bytes());
            bytes.extend(stream);
        }
        bytes.extend((self.parts.len() as u32).to_le_bytes());
        for (key, part) in &self.parts {
            name(bytes, key);
            part.write(bytes)?;
        }
        Ok(())
    }

    fn read(rest: &mut &[u8], depth: u32) -> Result<Self> {
        const DEPTH_MAX: u32 = 32;
        if depth > DEPTH_MAX {
            return Err(Error::Snapshot("its parts are nested too deep".into()));
        }
        fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
            let (head, tail) = (rest.split_at_checked(len))
                .ok_or_else(|| Error::Snapshot("it is cut short".into()))?;
            *rest = tail;
            Ok(head)
        }
        fn u32_of(rest: &mut &[u8]) -> Result<u32> {
            let bytes = take(rest, 4)?;
            Ok(u32::from_le_bytes(
                bytes.try_into().expect("four bytes were taken"),
            ))
        }
        fn u64_of(rest: &mut &[u8]) -> Result<u64> {
            let bytes = take(rest, 8)?;
            Ok(u64::from_le_bytes(
                bytes.try_into().expect("eight bytes were taken"),
            ))
        }
        fn name(rest: &mut &[u8]) -> Result<String> {
            let len = u32_of(rest)? as usize;
            let bytes = take(rest, len)?;
            (String::from_utf8(bytes.to_vec()))
                .map_err(|_| Error::Snapshot("a name in it is not UTF-8".into()))
        }

        let mut snapshot = Self::default();
        for _ in 0..u32_of(rest)? {
            let key = name(rest)?;
            snapshot.numbers.insert(key, u64_of(rest)? as i64);
        }
        for _ in 0..u32_of(rest)? {
            let key = name(rest)?;
            let len = usize::try_from(u64_of(rest)?)
                .map_err(|_| Error::Snapshot("it is cut short".into()))?;
            let table = table_of(take(rest, len)?, &key)?;
            snapshot.tables.insert(key, table);
        }
        for _ in 0..u32_of(rest)? {
            let key = name(rest)?;
            let part = Self::read(rest, depth + 1)?;
            snapshot.parts.insert(key, part);
        }
        Ok(snapshot)
    }
}

/// The table in a stream of Arrow IPC.
fn table_of(stream: &[u8], key: &str) -> Result<RecordBatch> {
    let damaged = || Error::Snapshot(format!("its table {key:?} is damaged"));
    check_lengths(stream).ok_or_else(damaged)?;
    // The library stumbles over lengths that contradict each other.
    let read = catch_unwind(AssertUnwindSafe(|| -> Result<_> {
        Ok(StreamReader::try_new(stream, None)?.next().transpose()?)
    }));
    (read.map_err(|_| damaged())??)
        .ok_or_else(|| Error::Snapshot(format!("its table {key:?} is empty")))
}

/// Holds the lengths that messages say of themselves against the bytes that are there: the
/// library takes memory for them before it reads. `None` if one is wrong.
///
/// ```text
/// message = FFFFFFFF · i32 LE length · metadata · body; the last one has length 0
/// ```
fn check_lengths(mut rest: &[u8]) -> Option<()> {
    loop {
        let (prefix, message) = rest.split_first_chunk::<8>()?;
        let [255, 255, 255, 255, length @ ..] = *prefix else {
            return None;
        };
        let length = usize::try_from(i32::from_le_bytes(length)).ok()?;
        if length == 0 {
            return message.is_empty().then_some(());
        }
        let (metadata, body) = message.split_at_checked(length)?;
        let message = root_as_message(metadata).ok()?;
        let held = usize::try_from(message.bodyLength()).ok()?;
        let batch = match message.header_type() {
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch()?.data(),
            _ => message.header_as_record_batch(),
        };
        // What is packed says how much room it wants. We pack nothing.
        if batch.is_some_and(|batch| batch.compression().is_some()) {
            return None;
        }
        rest = body.get(held..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn sample() -> Snapshot {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let table = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        let mut snapshot = Snapshot::default();
        snapshot.numbers.insert("late".into(), -7);
        snapshot.tables.insert("keys".into(), table);
        let inner = snapshot.clone();
        snapshot.parts.insert("inner".into(), inner);
        snapshot
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes = sample().encode().expect("encodes");
        let back = Snapshot::decode(&bytes).expect("decodes");
        assert_eq!(back.number("late").expect("there"), -7);
        let inner = back.part("inner").expect("there");
        assert_eq!(
            inner.table("keys").expect("there"),
            sample().table("keys").expect("there")
        );
    }

    #[test]
    fn a_cut_at_any_byte_is_an_error_not_a_panic() {
        let bytes = sample().encode().expect("encodes");
        for len in 0..bytes.len() {
            assert!(Snapshot::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
    }
    #[test]
    fn a_length_is_not_believed_before_its_bytes_are_there() {
        let bytes = sample().encode().expect("encodes");
        let mut damaged = 0;
        // Whichever number says how long a body is: nobody has 64 TiB for it.
        for at in 0..bytes.len() - 8 {
            let mut bytes = bytes.clone();
            bytes[at..at + 8].copy_from_slice(&i64::to_le_bytes(1 << 46));
            let error = Snapshot::decode(&bytes).err();
            damaged += u32::from(error.is_some_and(|error| error.to_string().contains("damaged")));
        }
        assert!(damaged > 0);
    }
}
