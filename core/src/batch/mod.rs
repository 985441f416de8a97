//! Batches of readings on their way through the engine.
//!
//! A [`Batch`] is an Arrow record batch and, only when some of its rows lie behind
//! the watermark, what is needed to decide about each of them alone: the watermark
//! that was in force when it arrived, and the source row it comes from.

mod types;
pub(crate) mod room;
pub mod key;
pub mod row;
pub mod builder;
pub mod queue;

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{filter, filter_record_batch, prep_null_mask_filter, take, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::error::Result;

/// Rows in order of arrival.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The columns that the next operator asked for.
    pub records: RecordBatch,
    /// `None`: no row lies behind the watermark that was in force when it arrived,
    /// so that every row is on time for every query.
    pub behind: Option<Box<Behind>>,
}

/// The arrival of each row of a [`Batch`] that holds rows behind the watermark.
#[derive(Debug, Clone)]
pub struct Behind {
    /// `[rows]`: the watermark in force when the row arrived, in ticks of the
    /// stream's event time. It never falls from one row to the next.
    pub watermarks: ScalarBuffer<i64>,
    /// `[rows]`: the row's place in `source`.
    pub source_rows: UInt32Array,
    /// The stream that the rows come from.
    pub stream: Arc<str>,
    /// The whole rows, as the stream accepted them.
    pub source: RecordBatch,
}

/// The columns of `records` under the names of `schema`, also when there are none: a batch
/// without columns still has its number of rows.
///
/// # Errors
/// If the columns do not fit the schema.
pub fn renamed(records: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    let columns = records.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        columns,
        &rows,
    )?)
}

/// How many bytes the rows take by themselves: of a slice, not what it is a slice of.
pub fn bytes_of(records: &RecordBatch) -> usize {
    let columns = records.columns().iter();
    let bytes = columns.map(|column| {
        let sliced = column.to_data().get_slice_memory_size();
        sliced.unwrap_or_else(|_| column.get_array_memory_size())
    });
    bytes.sum()
}

/// The rows in memory of their own, if they are a small part of what they keep alive.
///
/// # Errors
/// If the rows cannot be copied.
pub fn compacted(records: RecordBatch) -> Result<RecordBatch> {
    const WASTE_MIN: usize = 16 << 10;
    let (own, held) = (bytes_of(&records), records.get_array_memory_size());
    if records.num_columns() == 0 || held < 4 * own + WASTE_MIN {
        return Ok(records);
    }
    let rows = UInt32Array::from_iter_values(0..records.num_rows() as u32);
    Ok(take_record_batch(&records, &rows)?)
}

/// Rows without columns.
///
/// # Errors
/// If the schema has columns.
pub fn without_columns(schema: &SchemaRef, rows: usize) -> Result<RecordBatch> {
    let rows = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        vec![],
        &rows,
    )?)
}

impl Batch {
    /// A batch whose rows are all on time.
    pub fn on_time(records: RecordBatch) -> Self {
        Self {
            records,
            behind: None,
        }
    }

    /// How many rows it holds.
    pub fn num_rows(&self) -> usize {
        self.records.num_rows()
    }

    /// The same rows with other columns.
    pub fn with_records(&self, records: RecordBatch) -> Self {
        debug_assert_eq!(records.num_rows(), self.num_rows());
        Self {
            records,
            behind: self.behind.clone(),
        }
    }

    /// The rows where `mask` is true; NULL counts as false.
    ///
    /// # Errors
    /// If `mask` is not as long as the batch.
    pub fn filter(&self, mask: &BooleanArray) -> Result<Self> {
        let mask = match mask.nulls() {
            Some(_) => &prep_null_mask_filter(mask),
            None => mask,
        };
        Ok(Self {
            records: filter_record_batch(&self.records, mask)?,
            behind: match &self.behind {
                Some(behind) => Some(Box::new(behind.filter(mask)?)),
                None => None,
            },
        })
    }

    /// Rows `offset .. offset + length`, without copying.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Self {
            records: self.records.slice(offset, length),
            behind: self.behind.as_ref().map(|behind| {
                Box::new(Behind {
                    watermarks: behind.watermarks.slice(offset, length),
                    source_rows: behind.source_rows.slice(offset, length),
                    stream: behind.stream.clone(),
                    source: behind.source.clone(),
                })
            }),
        }
    }
}

impl Behind {
    fn filter(&self, mask: &BooleanArray) -> Result<Self> {
        let kept: UInt32Array = (mask.values().set_indices())
            .map(|row| row as u32)
            .collect::<Vec<_>>()
            .into();
        let source_rows = filter(&self.source_rows, mask)?;
        let watermarks = arrow::array::Int64Array::new(self.watermarks.clone(), None);
        let watermarks = take(&watermarks, &kept, None)?;
        Ok(Self {
            watermarks: arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(
                &watermarks,
            )
            .values()
            .clone(),
            source_rows: arrow::array::AsArray::as_primitive::<arrow::datatypes::UInt32Type>(
                &source_rows,
            )
            .clone(),
            stream: self.stream.clone(),
            source: self.source.clone(),
        })
    }
}
