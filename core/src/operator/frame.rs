//! What the windowed aggregations have in common: which columns they read and give.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

use super::{Counters, WindowAggregateSpec, WindowRowsSpec};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{WINDOW_END, WINDOW_START, WINDOW_TIME, time_unit, timestamps};

/// The columns of a windowed query.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The event-time column's place and type.
    pub(crate) time: usize,
    pub(crate) time_type: DataType,
    pub(crate) schema: SchemaRef,
}

impl Frame {
    /// The frame of a windowed aggregation.
    ///
    /// # Errors
    /// If the specification names columns that are not there or of a wrong type.
    pub(crate) fn new(spec: &WindowAggregateSpec) -> Result<Self> {
        let time_type = time_type(&spec.input, spec.time)?;
        let mut fields: Vec<FieldRef> = Vec::new();
        for &key in &spec.keys {
            fields.push(field(&spec.input, key)?.clone());
        }
        if spec.partition_keys > spec.keys.len() {
            return Err(Error::invalid(
                "a window has more partition keys than grouping keys",
            ));
        }
        fields.extend(window_fields(&time_type));
        for call in &spec.aggregates {
            for &column in call.args.iter().chain(&call.filter) {
                field(&spec.input, column)?;
            }
            if let Some(filter) = call.filter
                && spec.input.field(filter).data_type() != &DataType::Boolean
            {
                return Err(Error::invalid(format!(
                    "the filter of {} is no BOOLEAN",
                    call.field.name()
                )));
            }
            fields.push(call.field.clone());
        }
        Ok(Self {
            time: spec.time,
            time_type,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The unit of the event-time column.
    pub(crate) fn unit(&self) -> Result<TimeUnit> {
        time_unit(&self.time_type)
    }

    /// Result rows.
    pub(crate) fn rows(
        &self,
        keys: Vec<ArrayRef>,
        bounds: Bounds,
        values: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        let mut columns = keys;
        columns.extend(bounds.columns(&self.time_type)?);
        columns.extend(values);
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// The columns of rows with their windows.
#[derive(Debug)]
pub(crate) struct RowsFrame {
    /// The event-time column's place and type.
    pub(crate) time: usize,
    pub(crate) time_type: DataType,
    pub(crate) input: SchemaRef,
    pub(crate) schema: SchemaRef,
    /// The input columns that are given on: the windows of an inner query are replaced.
    kept: Vec<usize>,
}

impl RowsFrame {
    /// The frame of a window function without aggregation.
    ///
    /// # Errors
    /// If the specification names columns that are not there or of a wrong type.
    pub(crate) fn new(spec: &WindowRowsSpec) -> Result<Self> {
        let time_type = time_type(&spec.input, spec.time)?;
        for &key in &spec.partition_keys {
            field(&spec.input, key)?;
        }
        let windows = window_fields(&time_type);
        let is_window = |name: &str| windows.iter().any(|window| window.name() == name);
        let kept: Vec<usize> = (0..spec.input.fields().len())
            .filter(|&column| !is_window(spec.input.field(column).name()))
            .collect();
        let mut fields: Vec<FieldRef> = (kept.iter())
            .map(|&column| spec.input.fields()[column].clone())
            .collect();
        fields.extend(windows);
        Ok(Self {
            time: spec.time,
            time_type,
            input: spec.input.clone(),
            schema: Arc::new(Schema::new(fields)),
            kept,
        })
    }

    /// The types of the partition keys.
    pub(crate) fn key_types(&self, keys: &[usize]) -> Vec<DataType> {
        (keys.iter())
            .map(|&key| self.input.field(key).data_type().clone())
            .collect()
    }

    /// Rows with their windows.
    pub(crate) fn rows(&self, records: &RecordBatch, bounds: Bounds) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = (self.kept.iter())
            .map(|&column| records.column(column).clone())
            .collect();
        columns.extend(bounds.columns(&self.time_type)?);
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// The windows of result rows, each `[rows]`, in ticks.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) starts: Vec<i64>,
    pub(crate) ends: Vec<i64>,
    pub(crate) times: Vec<i64>,
}

impl Bounds {
    /// Adds `rows` rows of the window from `start` to just before `end`.
    pub(crate) fn push(&mut self, start: i64, end: i64, rows: usize) {
        self.starts.resize(self.starts.len() + rows, start);
        self.ends.resize(self.ends.len() + rows, end);
        self.times
            .resize(self.times.len() + rows, end.saturating_sub(1));
    }

    /// Adds `rows` rows of the window from `first` to `last`, which are readings' times.
    pub(crate) fn push_inclusive(&mut self, first: i64, last: i64, rows: usize) {
        self.starts.resize(self.starts.len() + rows, first);
        self.ends.resize(self.ends.len() + rows, last);
        self.times.resize(self.times.len() + rows, last);
    }

    /// `window_start`, `window_end`, `window_time`.
    pub(crate) fn columns(self, time_type: &DataType) -> Result<[ArrayRef; 3]> {
        Ok([
            timestamps(time_type, self.starts)?,
            timestamps(time_type, self.ends)?,
            timestamps(time_type, self.times)?,
        ])
    }
}

/// The fields of `window_start`, `window_end`, `window_time`.
pub(crate) fn window_fields(time_type: &DataType) -> [FieldRef; 3] {
    [WINDOW_START, WINDOW_END, WINDOW_TIME]
        .map(|name| Arc::new(Field::new(name, time_type.clone(), false)))
}

/// A field of the input by its place.
pub(crate) fn field(input: &SchemaRef, column: usize) -> Result<&FieldRef> {
    (input.fields().get(column)).ok_or_else(|| {
        Error::invalid(format!(
            "a window reads column {column} of an input with {} columns",
            input.fields().len()
        ))
    })
}

/// The type of the event-time column.
pub(crate) fn time_type(input: &SchemaRef, time: usize) -> Result<DataType> {
    let data_type = field(input, time)?.data_type().clone();
    time_unit(&data_type)?;
    Ok(data_type)
}

/// Rows of a batch by their places, which rise strictly; consecutive ones are not
/// copied.
pub(crate) fn select(records: &RecordBatch, rows: &[u32]) -> Result<RecordBatch> {
    match (rows.first(), rows.last()) {
        (Some(&first), Some(&last)) if (last - first) as usize + 1 == rows.len() => {
            Ok(records.slice(first as usize, rows.len()))
        }
        _ => Ok(take_record_batch(
            records,
            &UInt32Array::from(rows.to_vec()),
        )?),
    }
}

/// Rows of a batch by their places, which never fall; each may be named more than
/// once.
pub(crate) fn repeat(records: &RecordBatch, rows: &[u32]) -> Result<RecordBatch> {
    if rows.windows(2).all(|pair| pair[0] < pair[1]) {
        select(records, rows)
    } else {
        Ok(take_record_batch(
            records,
            &UInt32Array::from(rows.to_vec()),
        )?)
    }
}

/// The error for rows behind the watermark that came without [`crate::batch::Behind`].
pub(crate) fn behind_unannounced(time: i64, watermark: i64) -> Error {
    Error::invalid(format!(
        "a row at tick {time} lies behind the watermark {watermark}, but its batch does not say \
         at which watermark it arrived"
    ))
}

/// The counters that only rise, by name.
fn rising(counters: &mut Counters) -> [(&'static str, &mut u64); 7] {
    [
        ("rows_in", &mut counters.rows_in),
        ("rows_out", &mut counters.rows_out),
        ("filtered", &mut counters.filtered),
        ("in_window", &mut counters.in_window),
        ("late", &mut counters.late),
        ("missed_windows", &mut counters.missed_windows),
        ("windows", &mut counters.windows),
    ]
}

/// Saves the counters that only rise.
pub(crate) fn save_counters(mut counters: Counters) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, count) in rising(&mut counters) {
        snapshot.numbers.insert(name.into(), *count as i64);
    }
    snapshot
}

/// The counters that [`save_counters`] saved.
pub(crate) fn load_counters(snapshot: &Snapshot) -> Result<Counters> {
    let mut counters = Counters::default();
    for (name, count) in rising(&mut counters) {
        *count = snapshot.count(name)?;
    }
    Ok(counters)
}
