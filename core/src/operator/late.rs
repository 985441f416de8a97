//! Rows that came too late for every window of theirs.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt32Type};

use super::LateRows;
use crate::batch::Behind;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;

/// Late rows until they are taken away.
#[derive(Debug, Default)]
pub(crate) struct Late {
    found: Vec<LateRows>,
}

impl Late {
    /// Adds rows of a batch by their places in it.
    pub(crate) fn add(&mut self, behind: &Behind, rows: Vec<u32>, late_by: Vec<i64>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let places = take(&behind.source_rows, &UInt32Array::from(rows), None)?;
        self.found.push(LateRows {
            stream: behind.stream.clone(),
            rows: take_record_batch(&behind.source, &places)?,
            source_rows: places.as_primitive::<UInt32Type>().clone(),
            late_by,
        });
        Ok(())
    }

    pub(crate) fn take(&mut self) -> Vec<LateRows> {
        std::mem::take(&mut self.found)
    }

    /// Those not taken away yet: each table is the rows with `late_by` as a last column
    /// and the stream's name in its metadata.
    pub(crate) fn save(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        for (number, late) in self.found.iter().enumerate() {
            let schema = late.rows.schema();
            let mut fields = schema.fields().to_vec();
            fields.push(Arc::new(Field::new("late_by", DataType::Int64, false)));
            let name = HashMap::from([("stream".to_string(), late.stream.to_string())]);
            let mut columns = late.rows.columns().to_vec();
            columns.push(Arc::new(Int64Array::from(late.late_by.clone())) as ArrayRef);
            let schema = Arc::new(Schema::new(fields).with_metadata(name));
            let table = RecordBatch::try_new(schema, columns)?;
            snapshot.tables.insert(format!("{number:08}"), table);
        }
        Ok(snapshot)
    }

    pub(crate) fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        for table in snapshot.tables.values() {
            let damaged = || Error::Snapshot("its late rows are damaged".into());
            let schema = table.schema();
            let stream = schema.metadata().get("stream").ok_or_else(damaged)?;
            let last = table.num_columns().checked_sub(1).ok_or_else(damaged)?;
            let late_by = table.column(last);
            let late_by = late_by.as_primitive_opt::<Int64Type>();
            let columns: Vec<usize> = (0..last).collect();
            let rows = table.project(&columns)?;
            let schema = Arc::new(Schema::new(rows.schema().fields().clone()));
            self.found.push(LateRows {
                stream: stream.as_str().into(),
                rows: RecordBatch::try_new(schema, rows.columns().to_vec())?,
                source_rows: UInt32Array::from(Vec::<u32>::new()),
                late_by: late_by.ok_or_else(damaged)?.values().to_vec(),
            });
        }
        Ok(())
    }
}
