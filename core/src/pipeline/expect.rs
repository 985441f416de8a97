//! How many readings should have come: one of each key in each interval.
//!
//! ```text
//!  every 10 s    key a  ●────────●────────·────────●      4 expected, 3 have come
//!                key b           ●────────●────────·      3 expected, 2 have come
//!                       0       10       20       30      event time
//! ```
//!
//! A key is expected from its first event time on, up to the greatest event time of the
//! whole stream: one that has fallen silent is missed. Without keys the stream is one key.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::batch::key::KeyInterner;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, MIN_TIME, span};

/// So many keys are followed for each stream (`EXPECT_KEYS_MAX`); where there are more, it
/// is not known how many readings should have come.
pub const EXPECT_KEYS_MAX: usize = 1 << 20;

/// What is expected of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The interval between two readings of a key, in ticks, above zero.
    pub every: i64,
    /// The key columns among those of accepted rows; none: the stream is one key.
    pub keys: Vec<usize>,
}

/// The keys of a stream, and since when each is expected.
#[derive(Debug)]
pub(super) struct Expected {
    expect: Expect,
    interner: KeyInterner,
    /// `[keys]`: the least event time.
    first: Vec<i64>,
    /// The greatest event time of all.
    last: i64,
    /// Whether there are more keys than are followed.
    is_full: bool,
    ids: Vec<u32>,
}

impl Expected {
    /// Expects nothing yet.
    ///
    /// # Errors
    /// If the interval is not above zero, or a key cannot be compared.
    pub(super) fn new(expect: Expect, schema: &SchemaRef) -> Result<Self> {
        if expect.every <= 0 {
            return Err(Error::invalid(
                "readings are expected at an interval above zero",
            ));
        }
        let types = expect
            .keys
            .iter()
            .map(|key| schema.field(*key).data_type().clone());
        Ok(Self {
            interner: KeyInterner::new(&types.collect::<Vec<_>>())?,
            expect,
            first: Vec::new(),
            last: MIN_TIME,
            is_full: false,
            ids: Vec::new(),
        })
    }

    /// Takes accepted rows and their event times, `[rows]`.
    ///
    /// # Errors
    /// If the rows are not of the stream's columns.
    pub(super) fn take(&mut self, records: &RecordBatch, times: &[i64]) -> Result<()> {
        if self.is_full || times.is_empty() {
            return Ok(());
        }
        let columns = self
            .expect
            .keys
            .iter()
            .map(|key| records.column(*key).clone());
        let columns: Vec<ArrayRef> = columns.collect();
        self.take_keys(&columns, times)?;
        self.last = self.last.max(span(times).1);
        Ok(())
    }

    fn take_keys(&mut self, columns: &[ArrayRef], times: &[i64]) -> Result<()> {
        if columns.is_empty() {
            let least = span(times).0;
            match self.first.first_mut() {
                Some(first) => *first = least.min(*first),
                None => self.first.push(least),
            }
            return Ok(());
        }
        let mut ids = std::mem::take(&mut self.ids);
        self.interner.intern(columns, times.len(), &mut ids)?;
        self.first.resize(self.interner.bound(), MAX_TIME);
        for (id, time) in ids.iter().zip(times) {
            let first = &mut self.first[*id as usize];
            *first = (*first).min(*time);
        }
        self.ids = ids;
        if self.interner.len() > EXPECT_KEYS_MAX {
            self.give_up()?;
        }
        Ok(())
    }

    fn give_up(&mut self) -> Result<()> {
        let types = Vec::new();
        self.interner = KeyInterner::new(&types)?;
        (self.first, self.ids, self.is_full) = (Vec::new(), Vec::new(), true);
        Ok(())
    }

    /// How many readings should have come while event time has come as far as the rows or
    /// the `watermark`; `None` where there are too many keys.
    pub(super) fn count(&self, watermark: i64) -> Option<u64> {
        if self.is_full {
            return None;
        }
        let last = match watermark {
            // The last watermark of a stream that has ended is no time.
            MAX_TIME => self.last,
            watermark => self.last.max(watermark),
        };
        let every = i128::from(self.expect.every);
        let of_key = |first: &i64| {
            let since = i128::from(last) - i128::from(*first);
            since.div_euclid(every) + 1
        };
        let count = self
            .first
            .iter()
            .map(of_key)
            .fold(0_i128, i128::saturating_add);
        Some(u64::try_from(count).unwrap_or(u64::MAX))
    }

    pub(super) fn save(&self) -> Result<Snapshot> {
        let mut part = Snapshot::default();
        part.numbers.insert("last".into(), self.last);
        (part.numbers).insert("is_full".into(), i64::from(self.is_full));
        let first: ArrayRef = Arc::new(Int64Array::from(self.first.clone()));
        let ids: Vec<u32> = (0..self.first.len() as u32).collect();
        let keys = match self.expect.keys.is_empty() || self.is_full {
            true => Vec::new(),
            false => self.interner.keys(&ids)?,
        };
        let keys = keys.into_iter().enumerate();
        let keys = keys.map(|(number, keys)| (format!("key_{number}"), keys, true));
        let columns = keys.chain([("first".to_owned(), first, true)]);
        let table = RecordBatch::try_from_iter_with_nullable(columns)?;
        part.tables.insert("keys".into(), table);
        Ok(part)
    }

    pub(super) fn load(&mut self, part: &Snapshot) -> Result<()> {
        let damaged = || Error::Snapshot("what is expected of a stream does not add up".into());
        if part.number("is_full")? != 0 {
            return self.give_up();
        }
        let table = part.table("keys")?;
        let (first, keys) = table.columns().split_last().ok_or_else(damaged)?;
        let first = first
            .as_any()
            .downcast_ref::<Int64Array>()
            .ok_or_else(damaged)?;
        if keys.len() != self.expect.keys.len() || first.null_count() > 0 {
            return Err(damaged());
        }
        if !first.is_empty() {
            self.take_keys(keys, first.values())?;
        }
        self.last = part.number("last")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;
    use arrow::datatypes::{DataType, Field, Schema};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)]))
    }

    fn expected(keys: Vec<usize>) -> Expected {
        Expected::new(Expect { every: 10, keys }, &schema()).expect("it fits")
    }

    fn take(expected: &mut Expected, rows: &[(&str, i64)]) {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
        let records = RecordBatch::try_new(schema(), vec![keys]).expect("it fits");
        let times: Vec<i64> = rows.iter().map(|row| row.1).collect();
        expected.take(&records, &times).expect("they fit");
    }

    #[test]
    fn a_stream_is_one_key() {
        let mut expected = expected(vec![]);
        assert_eq!(expected.count(MIN_TIME), Some(0));
        // 5, 15, 25, 35 are due until 37.
        take(&mut expected, &[("a", 15), ("b", 37), ("a", 5)]);
        assert_eq!(expected.count(MIN_TIME), Some(4));
        assert_eq!(expected.count(44), Some(4));
        assert_eq!(expected.count(45), Some(5));
        assert_eq!(expected.count(MAX_TIME), Some(4));
    }

    #[test]
    fn each_key_is_expected_from_its_first_time_on() {
        let mut expected = expected(vec![0]);
        // a: 0, 10, 20, 30; b: 10, 20, 30; c: 30.
        take(&mut expected, &[("a", 0), ("b", 10), ("a", 10), ("c", 30)]);
        assert_eq!(expected.count(MIN_TIME), Some(8));
        // A reading from before moves the first time: b at 3, 13, 23.
        take(&mut expected, &[("b", 3)]);
        assert_eq!(expected.count(MIN_TIME), Some(4 + 3 + 1));
        take(&mut expected, &[("b", 0)]);
        assert_eq!(expected.count(MIN_TIME), Some(4 + 4 + 1));
    }

    #[test]
    fn it_is_saved_with_its_keys() {
        for keys in [vec![], vec![0]] {
            let mut before = expected(keys.clone());
            take(&mut before, &[("a", 0), ("b", 17), ("a", 42)]);
            let mut after = expected(keys);
            after.load(&before.save().expect("saved")).expect("loaded");
            for more in [[("b", 60)], [("c", -30)]] {
                take(&mut before, &more);
                take(&mut after, &more);
                assert_eq!(after.count(MIN_TIME), before.count(MIN_TIME));
            }
        }
    }

    #[test]
    fn the_whole_range_of_times_is_counted() {
        let mut expected = Expected::new(
            Expect {
                every: 1,
                keys: vec![],
            },
            &schema(),
        )
        .expect("it fits");
        take(&mut expected, &[("a", i64::MIN + 1), ("a", i64::MAX - 1)]);
        // From 1 - 2⁶³ to 2⁶³ - 2, both included.
        assert_eq!(expected.count(MIN_TIME), Some(u64::MAX - 1));
    }
}
