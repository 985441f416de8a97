//! Rows and small batches become batches of a good size.
//!
//! ```text
//!  push_row ─▶ columns ─┐
//!                       ├─▶ pending pieces ─▶ sealed batches ─▶ next
//!  push ────────────────┘   rows_max │ bytes_max │ linger
//! ```
//!
//! What is pending is sealed when it has `rows_max` rows or `bytes_max` bytes, or when
//! its first row has waited for `linger`, whichever comes first. Rows keep their
//! order. A large batch is never copied: what is pending is sealed before it, and it
//! passes in slices.
//!
//! Time is a parameter: nanoseconds of any clock that does not run backwards.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{FieldRef, SchemaRef};

use super::row::{RowColumn, RowError, VALUE_BYTES_MAX, Value};
use crate::error::{Error, Result};

/// When a batch is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealLimits {
    /// At so many rows; at least 1.
    pub rows_max: usize,
    /// At about so many bytes, judged by the average row of what comes in.
    pub bytes_max: usize,
    /// So many nanoseconds after its first row came; 0 seals at once.
    pub linger_nanos: u64,
}

impl Default for SealLimits {
    /// 64 Ki rows, 16 MiB, 10 ms.
    fn default() -> Self {
        Self {
            rows_max: 64 * 1024,
            bytes_max: 16 * 1024 * 1024,
            linger_nanos: 10_000_000,
        }
    }
}

/// Seals rows and batches into batches.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow::datatypes::{DataType, Field, Schema};
/// # use windrow_core::batch::builder::{BatchBuilder, SealLimits};
/// # use windrow_core::batch::row::Value;
/// let schema = Arc::new(Schema::new(vec![
///     Field::new("sensor", DataType::Utf8, false),
///     Field::new("pm25", DataType::Float64, true),
/// ]));
/// let limits = SealLimits { rows_max: 2, ..SealLimits::default() };
/// let mut builder = BatchBuilder::new(schema, limits);
/// builder.push_row(&[Value::from("roof"), Value::from(12.5)], 0)?;
/// assert!(builder.next().is_none());
/// builder.push_row(&[Value::from("yard"), Value::Null], 0)?;
/// assert_eq!(builder.next().expect("sealed").num_rows(), 2);
/// # Ok::<(), windrow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    schema: SchemaRef,
    limits: SealLimits,
    /// Rows on their way into columns; made at the first row.
    columns: Option<Vec<RowColumn>>,
    rows: usize,
    row_bytes: usize,
    pieces: Vec<RecordBatch>,
    piece_rows: usize,
    piece_bytes: usize,
    /// When the first pending row came.
    first_at: i64,
    sealed: VecDeque<RecordBatch>,
}

impl BatchBuilder {
    /// A builder of batches with these columns.
    pub fn new(schema: SchemaRef, limits: SealLimits) -> Self {
        Self {
            schema,
            limits: SealLimits {
                rows_max: limits.rows_max.max(1),
                ..limits
            },
            columns: None,
            rows: 0,
            row_bytes: 0,
            pieces: Vec::new(),
            piece_rows: 0,
            piece_bytes: 0,
            first_at: 0,
            sealed: VecDeque::new(),
        }
    }

    /// Takes rows that came at `now`.
    ///
    /// # Errors
    /// If the batch has other columns.
    pub fn push(&mut self, batch: RecordBatch, now: i64) -> Result<()> {
        let batch = self.with_our_schema(&batch)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.seal_due(now)?;
        let bytes = batch_bytes(&batch);
        let is_large =
            batch.num_rows() >= self.limits.rows_max / 2 || bytes >= self.limits.bytes_max / 2;
        if is_large {
            self.flush()?;
        } else {
            self.finish_columns()?;
        }
        let bytes_per_row = bytes.div_ceil(batch.num_rows());
        let mut offset = 0;
        while offset < batch.num_rows() {
            let room = self.limits.bytes_max.saturating_sub(self.piece_bytes);
            let rows = (batch.num_rows() - offset)
                .min(self.limits.rows_max - self.piece_rows)
                .min((room / bytes_per_row.max(1)).max(1));
            if self.piece_rows == 0 {
                self.first_at = now;
            }
            self.pieces.push(batch.slice(offset, rows));
            self.piece_rows += rows;
            self.piece_bytes += rows * bytes_per_row;
            offset += rows;
            // What remains of the room may be less than one row.
            if offset < batch.num_rows() || self.is_full() {
                self.flush()?;
            }
        }
        self.seal_due(now)
    }

    /// Takes one row that came at `now`: one value for each column.
    ///
    /// # Errors
    /// If a value does not fit its column. The row is not taken; the others are kept.
    pub fn push_row(&mut self, values: &[Value<'_>], now: i64) -> Result<(), PushRowError> {
        self.seal_due(now)?;
        if values.len() != self.schema.fields().len() {
            return Err(PushRowError::Row(RowError::Columns {
                expected: self.schema.fields().len(),
                found: values.len(),
            }));
        }
        if self.columns.is_none() {
            let columns = (self.schema.fields().iter())
                .map(RowColumn::new)
                .collect::<Result<_, _>>()?;
            self.columns = Some(columns);
        }
        let columns = self.columns.as_mut().expect("they were made");
        // All values are checked before the first is appended: a row is whole.
        for (column, value) in columns.iter().zip(values) {
            column.check(*value)?;
        }
        let mut bytes = 0;
        for (column, value) in columns.iter_mut().zip(values) {
            bytes += column.append(*value);
        }
        if self.pending_rows() == 0 {
            self.first_at = now;
        }
        self.rows += 1;
        self.row_bytes += bytes;
        if self.is_full() {
            self.flush()?;
        }
        Ok(self.seal_due(now)?)
    }

    /// Seals what has lingered long enough.
    ///
    /// # Errors
    /// If the pieces are too long for one batch: strings of more than 2 GiB.
    pub fn seal_due(&mut self, now: i64) -> Result<()> {
        match self.due() {
            Some(due) if now >= due => self.flush(),
            _ => Ok(()),
        }
    }

    /// When [`BatchBuilder::seal_due`] will have something to seal.
    pub fn due(&self) -> Option<i64> {
        (self.pending_rows() > 0).then(|| {
            self.first_at
                .saturating_add_unsigned(self.limits.linger_nanos)
        })
    }

    /// Seals all that is pending.
    ///
    /// # Errors
    /// As [`BatchBuilder::seal_due`].
    pub fn flush(&mut self) -> Result<()> {
        self.finish_columns()?;
        let batch = match self.pieces.as_slice() {
            [] => return Ok(()),
            [piece] => piece.clone(),
            pieces => concat_batches(&self.schema, pieces)?,
        };
        self.pieces.clear();
        self.piece_rows = 0;
        self.piece_bytes = 0;
        self.sealed.push_back(batch);
        Ok(())
    }

    /// Takes the oldest sealed batch.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end, this one may go on after the next row"
    )]
    pub fn next(&mut self) -> Option<RecordBatch> {
        self.sealed.pop_front()
    }

    /// How many rows are not sealed yet.
    pub fn pending_rows(&self) -> usize {
        self.rows + self.piece_rows
    }

    /// About how many bytes are not sealed yet.
    pub fn pending_bytes(&self) -> usize {
        self.row_bytes + self.piece_bytes
    }

    /// The same rows as a batch of our schema: a batch may differ in metadata, and in
    /// what may be NULL as long as no value is.
    fn with_our_schema(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let same = |(ours, theirs): (&FieldRef, &FieldRef)| {
            ours.name() == theirs.name() && ours.data_type() == theirs.data_type()
        };
        let (ours, theirs) = (self.schema.fields(), batch.schema_ref().fields());
        if ours.len() != theirs.len() || !ours.iter().zip(theirs).all(same) {
            return Err(Error::invalid(format!(
                "a batch with the columns {} does not fit a stream with {}",
                names(batch.schema_ref()),
                names(&self.schema)
            )));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }

    fn is_full(&self) -> bool {
        // Columns of strings with 32-bit offsets hold 2 GiB, whatever the limit is.
        let bytes_max = self.limits.bytes_max.min(VALUE_BYTES_MAX);
        self.pending_rows() >= self.limits.rows_max || self.pending_bytes() >= bytes_max
    }

    /// Makes the single rows a piece, so that a batch can follow them.
    fn finish_columns(&mut self) -> Result<()> {
        let Some(columns) = self.columns.as_mut().filter(|_| self.rows > 0) else {
            return Ok(());
        };
        let arrays = (columns.iter_mut())
            .map(RowColumn::finish)
            .collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
        self.pieces.push(batch);
        self.piece_rows += std::mem::take(&mut self.rows);
        self.piece_bytes += std::mem::take(&mut self.row_bytes);
        Ok(())
    }
}

/// Why a row was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushRowError {
    /// A value does not fit.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The batch before it could not be sealed.
    #[error(transparent)]
    Seal(#[from] Error),
}

impl From<PushRowError> for Error {
    fn from(error: PushRowError) -> Self {
        match error {
            PushRowError::Row(error) => Self::invalid(error.to_string()),
            PushRowError::Seal(error) => error,
        }
    }
}

fn names(schema: &SchemaRef) -> String {
    let names: Vec<String> = (schema.fields().iter())
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    format!("({})", names.join(", "))
}

/// How many bytes the rows of a batch take, without those of its buffers that lie
/// outside of a slice.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    (batch.columns().iter())
        .map(|column| {
            // What cannot be sliced into is counted whole.
            let data = column.to_data();
            (data.get_slice_memory_size()).unwrap_or_else(|_| column.get_array_memory_size())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
    use proptest::prelude::*;

    const NEVER: u64 = u64::MAX;

    fn limits(rows_max: usize, bytes_max: usize, linger_nanos: u64) -> SealLimits {
        SealLimits {
            rows_max,
            bytes_max,
            linger_nanos,
        }
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
    }

    fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_new(schema(), vec![column]).expect("one column")
    }

    fn sealed(builder: &mut BatchBuilder) -> Vec<Vec<i64>> {
        std::iter::from_fn(|| builder.next())
            .map(|batch| {
                batch
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .collect()
    }

    #[test]
    fn small_batches_are_sealed_at_rows_max() {
        let mut builder = BatchBuilder::new(schema(), limits(10, usize::MAX, NEVER));
        for start in [0, 4, 8] {
            builder.push(batch(start..start + 4), 0).expect("fits");
        }
        assert_eq!(sealed(&mut builder), [(0..10).collect::<Vec<i64>>()]);
        assert_eq!(builder.pending_rows(), 2);
        builder.flush().expect("fits");
        builder.flush().expect("nothing left");
        assert_eq!(sealed(&mut builder), [[10, 11]]);
    }

    #[test]
    fn batches_are_sealed_at_bytes_max() {
        // Eight bytes a row.
        let mut builder = BatchBuilder::new(schema(), limits(1_000, 80, NEVER));
        builder.push(batch(0..4), 0).expect("fits");
        builder.push(batch(4..8), 0).expect("fits");
        builder.push(batch(8..12), 0).expect("fits");
        assert_eq!(sealed(&mut builder), [(0..10).collect::<Vec<i64>>()]);
        assert_eq!(builder.pending_bytes(), 16);
        builder.push(batch(12..40), 0).expect("fits");
        let lengths: Vec<usize> = sealed(&mut builder).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 10, 10]);
        assert_eq!(builder.pending_rows(), 8);
    }

    #[test]
    fn what_lingers_is_sealed_when_it_is_due() {
        let mut builder = BatchBuilder::new(schema(), limits(1_000, usize::MAX, 50));
        assert_eq!(builder.due(), None);
        builder.push(batch(0..1), 100).expect("fits");
        builder.push(batch(1..2), 120).expect("fits");
        assert_eq!(builder.due(), Some(150));
        builder.seal_due(149).expect("fits");
        assert!(builder.next().is_none());
        builder.seal_due(150).expect("fits");
        assert_eq!(sealed(&mut builder), [[0, 1]]);
        // The next row waits for its own linger; a late push finds the others due.
        builder.push(batch(2..3), 160).expect("fits");
        builder.push(batch(3..4), 300).expect("fits");
        assert_eq!(sealed(&mut builder), [[2]]);
        assert_eq!(builder.due(), Some(350));
    }

    #[test]
    fn without_linger_each_push_is_sealed() {
        let mut builder = BatchBuilder::new(schema(), limits(1_000, usize::MAX, 0));
        builder.push(batch(0..3), 7).expect("fits");
        builder.push_row(&[Value::from(3_i64)], 7).expect("fits");
        assert_eq!(sealed(&mut builder), [vec![0, 1, 2], vec![3]]);
    }

    #[test]
    fn a_large_batch_passes_without_copy() {
        let mut builder = BatchBuilder::new(schema(), limits(100, usize::MAX, NEVER));
        builder.push(batch(-3..0), 0).expect("fits");
        let large = batch(0..250);
        let values = |batch: &RecordBatch| {
            let values = batch.column(0).as_primitive::<Int64Type>().values().clone();
            (values.as_ptr() as usize, values.len())
        };
        let start = values(&large).0;
        builder.push(large, 0).expect("fits");
        builder.flush().expect("fits");
        assert_eq!(builder.next().expect("what was pending").num_rows(), 3);
        let passed: Vec<(usize, usize)> = std::iter::from_fn(|| builder.next())
            .map(|batch| values(&batch))
            .collect();
        assert_eq!(
            passed,
            [(start, 100), (start + 800, 100), (start + 1600, 50)]
        );
    }

    #[test]
    fn rows_and_batches_keep_their_order() {
        let mut builder = BatchBuilder::new(schema(), limits(100, usize::MAX, NEVER));
        builder.push_row(&[Value::Integer(0)], 0).expect("fits");
        builder.push(batch(1..3), 0).expect("fits");
        builder.push_row(&[Value::Unsigned(3)], 0).expect("fits");
        builder.flush().expect("fits");
        assert_eq!(sealed(&mut builder), [[0, 1, 2, 3]]);
    }

    #[test]
    fn a_row_of_every_type() {
        let types = [
            DataType::Boolean,
            DataType::Int8,
            DataType::UInt64,
            DataType::Float16,
            DataType::Float32,
            DataType::Float64,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Utf8,
            DataType::Utf8View,
            DataType::Binary,
            DataType::FixedSizeBinary(2),
            DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8)),
        ];
        let values = [
            Value::from(true),
            Value::from(-5_i8),
            Value::from(u64::MAX),
            Value::from(1.5),
            Value::from(0.1),
            Value::from(7_i64),
            Value::from(1_i64),
            Value::from(1_000_000_i64),
            Value::from("text"),
            Value::from("view"),
            Value::from(b"\0\xff".as_slice()),
            Value::from("ab"),
            Value::from("word"),
        ];
        let shown = [
            "true",
            "-5",
            "18446744073709551615",
            "1.5",
            "0.1",
            "7.0",
            "1970-01-02",
            "1970-01-01T00:00:01Z",
            "text",
            "view",
            "00ff",
            "6162",
            "word",
        ];
        let fields: Vec<Field> = (types.iter().enumerate())
            .map(|(i, data_type)| Field::new(format!("c{i}"), data_type.clone(), true))
            .collect();
        let mut builder =
            BatchBuilder::new(Arc::new(Schema::new(fields)), limits(2, usize::MAX, NEVER));
        builder.push_row(&values, 0).expect("fits");
        builder.push_row(&[Value::Null; 13], 0).expect("NULL fits");
        let batch = builder.next().expect("two rows");
        for ((column, data_type), shown) in batch.columns().iter().zip(&types).zip(shown) {
            assert_eq!(column.data_type(), data_type);
            let text = cast(column, &DataType::Utf8).unwrap_or_else(|_| column.clone());
            match text
                .as_string_opt::<i32>()
                .filter(|_| !shown.starts_with("00"))
            {
                Some(text) => assert_eq!(text.value(0), shown),
                None => {
                    let options = Default::default();
                    let text = arrow::util::display::ArrayFormatter::try_new(column, &options)
                        .expect("every type is shown");
                    assert_eq!(text.value(0).to_string(), shown);
                }
            }
            assert!(column.is_null(1));
        }
    }

    #[test]
    fn a_row_that_does_not_fit_is_not_taken() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("sensor", DataType::Utf8, false),
            Field::new("n", DataType::Int8, true),
        ]));
        let mut builder = BatchBuilder::new(schema, limits(100, usize::MAX, NEVER));
        let mut error = |values: &[Value<'_>]| match builder.push_row(values, 0) {
            Err(PushRowError::Row(error)) => error,
            other => panic!("{other:?}"),
        };
        let wrong = |column: &str, data_type, value: &str| RowError::Value {
            column: column.into(),
            data_type,
            value: value.into(),
        };
        assert_eq!(
            error(&[Value::Null, Value::Null]),
            RowError::Null {
                column: "sensor".into()
            }
        );
        assert_eq!(
            error(&[Value::from("a"), Value::from(128_i64)]),
            wrong("n", DataType::Int8, "128")
        );
        assert_eq!(
            error(&[Value::from(1_i64), Value::Null]),
            wrong("sensor", DataType::Utf8, "1")
        );
        assert_eq!(
            error(&[Value::from("a")]),
            RowError::Columns {
                expected: 2,
                found: 1
            }
        );
        assert_eq!(
            error(&[Value::from("a"), Value::from("b")]).to_string(),
            "column \"n\" of type Int8 cannot hold 'b'"
        );
        assert_eq!(builder.pending_rows(), 0);
        builder
            .push_row(&[Value::from("a"), Value::from(127_i64)], 0)
            .expect("fits");
        assert_eq!(builder.pending_rows(), 1);
    }

    #[test]
    fn types_without_single_values_are_an_error() {
        let list = DataType::new_list(DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![Field::new("l", list, true)]));
        let mut builder = BatchBuilder::new(schema, SealLimits::default());
        assert!(matches!(
            builder.push_row(&[Value::Null], 0),
            Err(PushRowError::Row(RowError::Unsupported { .. }))
        ));
    }

    #[test]
    fn a_batch_of_other_columns_is_an_error() {
        let mut builder = BatchBuilder::new(schema(), SealLimits::default());
        let column: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let other = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        let error = builder.push(other, 0).expect_err("text");
        assert_eq!(
            error.to_string(),
            "a batch with the columns (n Utf8) does not fit a stream with (n Int64)"
        );
        let column: ArrayRef = Arc::new(Int64Array::from(vec![None]));
        let with_null = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        assert!(builder.push(with_null, 0).is_err());
        let nullable: ArrayRef = Arc::new(Int64Array::from(vec![Some(1)]));
        let field = Field::new("n", DataType::Int64, true);
        let without_null = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![nullable]);
        builder
            .push(without_null.expect("one column"), 0)
            .expect("no value is NULL");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever is pushed, in whatever pieces: the same rows in the same order, in
        /// batches within the limits, none of which lingers too long.
        #[test]
        fn nothing_is_lost_or_moved(
            rows_max in 1..50_usize,
            bytes_max in 8..500_usize,
            linger in 0..40_u64,
            pushes in proptest::collection::vec((0..70_i64, any::<bool>(), 0..20_i64), 0..40),
        ) {
            let mut builder = BatchBuilder::new(schema(), limits(rows_max, bytes_max, linger));
            let (mut next, mut now) = (0, -100);
            let mut seen = Vec::new();
            let mut came_at = Vec::new();
            for (rows, single, pause) in pushes {
                now += pause;
                builder.seal_due(now).expect("fits");
                if single {
                    for n in next..next + rows {
                        builder.push_row(&[Value::from(n)], now).expect("fits");
                    }
                } else {
                    builder.push(batch(next..next + rows), now).expect("fits");
                }
                next += rows;
                came_at.resize(next as usize, now);
                for batch in sealed(&mut builder) {
                    prop_assert!(batch.len() <= rows_max && !batch.is_empty());
                    prop_assert!((batch.len() - 1) * 8 <= bytes_max);
                    seen.extend(batch);
                }
                if let Some(oldest) = came_at.get(seen.len()) {
                    prop_assert_eq!(builder.due(), Some(oldest + linger as i64));
                    prop_assert!(oldest + linger as i64 > now);
                }
                prop_assert_eq!(seen.len() + builder.pending_rows(), next as usize);
            }
            builder.flush().expect("fits");
            seen.extend(sealed(&mut builder).concat());
            prop_assert_eq!(seen, (0..next).collect::<Vec<i64>>());
        }
    }
}
