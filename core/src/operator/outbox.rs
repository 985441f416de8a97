//! What an operator has ready, on its way downstream.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, UInt32Type};

use super::Output;
use crate::batch::{Batch, Behind, bytes_of};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::window::tables::{column, table};

/// Small pieces are put together to batches of so many rows.
pub(crate) const OUTPUT_ROWS: usize = 8_192;

/// A piece of so many rows is a batch of its own: to copy it would cost more than it
/// spares those who take it.
const PIECE_ROWS_MAX: usize = 512;

/// Rows, then a watermark, then the end.
#[derive(Debug)]
pub(crate) struct Outbox {
    schema: SchemaRef,
    pieces: Vec<RecordBatch>,
    piece_rows: usize,
    ready: VecDeque<Batch>,
    watermark: Option<i64>,
    end: bool,
}

impl Outbox {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            pieces: Vec::new(),
            piece_rows: 0,
            ready: VecDeque::new(),
            watermark: None,
            end: false,
        }
    }

    /// The columns of its rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds rows that are on time.
    pub(crate) fn push(&mut self, records: RecordBatch) -> Result<()> {
        if records.num_rows() >= PIECE_ROWS_MAX {
            return self.push_batch(Batch::on_time(records));
        }
        if records.num_rows() > 0 {
            self.piece_rows += records.num_rows();
            self.pieces.push(records);
        }
        if self.piece_rows >= OUTPUT_ROWS {
            self.seal()?;
        }
        Ok(())
    }

    /// Adds a batch as it is.
    pub(crate) fn push_batch(&mut self, batch: Batch) -> Result<()> {
        self.seal()?;
        if batch.num_rows() > 0 {
            self.ready.push_back(batch);
        }
        Ok(())
    }

    /// Makes one batch of the pieces at hand.
    fn seal(&mut self) -> Result<()> {
        let records = match self.pieces.len() {
            0 => return Ok(()),
            1 => self.pieces.pop().expect("it was counted"),
            _ => concat_batches(&self.schema, &self.pieces)?,
        };
        self.pieces.clear();
        self.piece_rows = 0;
        self.ready.push_back(Batch::on_time(records));
        Ok(())
    }

    /// Says what to promise once all rows that it is true of have been pushed.
    pub(crate) fn promise(&mut self, watermark: i64) {
        self.watermark = Some(watermark.max(self.watermark.unwrap_or(watermark)));
    }

    /// Says that nothing follows the rows that are still to be pushed.
    pub(crate) fn promise_end(&mut self) {
        self.end = true;
    }

    /// Gives whole batches and takes their rows from the budget, cutting the last.
    fn give(&mut self, budget: &mut usize, out: &mut Vec<Output>) {
        while *budget > 0
            && let Some(mut batch) = self.ready.pop_front()
        {
            if batch.num_rows() > *budget {
                self.ready
                    .push_front(batch.slice(*budget, batch.num_rows() - *budget));
                batch = batch.slice(0, *budget);
            }
            *budget -= batch.num_rows();
            out.push(Output::Batch(batch));
        }
    }

    /// Gives what is ready; how many more rows the budget asks for, `None` if it ran out.
    pub(crate) fn serve(
        &mut self,
        budget: &mut usize,
        out: &mut Vec<Output>,
    ) -> Result<Option<usize>> {
        loop {
            self.give(budget, out);
            if *budget == 0 {
                return Ok(None);
            }
            if self.piece_rows < *budget {
                return Ok(Some(*budget - self.piece_rows));
            }
            self.seal()?;
        }
    }

    /// Gives the rest, once nothing more is to be pushed: rows, watermark, end. Says
    /// whether the budget was enough.
    pub(crate) fn close(&mut self, budget: &mut usize, out: &mut Vec<Output>) -> Result<bool> {
        self.seal()?;
        self.give(budget, out);
        if !self.ready.is_empty() {
            return Ok(false);
        }
        out.extend(self.watermark.take().map(Output::Watermark));
        if std::mem::take(&mut self.end) {
            out.push(Output::End);
        }
        Ok(true)
    }

    pub(crate) fn bytes(&self) -> usize {
        let ready = self.ready.iter().map(|batch| &batch.records);
        (ready.chain(&self.pieces)).map(bytes_of).sum()
    }

    /// Its rows and promises.
    pub(crate) fn save(&mut self) -> Result<Snapshot> {
        self.seal()?;
        let mut snapshot = Snapshot::default();
        for (number, batch) in self.ready.iter().enumerate() {
            (snapshot.parts).insert(format!("{number:08}"), save_batch(batch)?);
        }
        if let Some(watermark) = self.watermark {
            snapshot.numbers.insert("watermark".into(), watermark);
        }
        snapshot.numbers.insert("end".into(), self.end.into());
        Ok(snapshot)
    }

    pub(crate) fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        for part in snapshot.parts.values() {
            self.ready.push_back(load_batch(part, &self.schema)?);
        }
        self.watermark = snapshot.numbers.get("watermark").copied();
        self.end = snapshot.number("end")? != 0;
        Ok(())
    }
}

/// A batch as a snapshot, with what is known of rows behind the watermark.
pub(crate) fn save_batch(batch: &Batch) -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    (snapshot.tables).insert("records".into(), batch.records.clone());
    if let Some(behind) = &batch.behind {
        let watermarks = Int64Array::new(behind.watermarks.clone(), None);
        let places = table(vec![
            ("watermark".into(), Arc::new(watermarks)),
            ("source_row".into(), Arc::new(behind.source_rows.clone())),
        ])?;
        snapshot.tables.insert("behind".into(), places);
        // The stream's name is the name of the part that holds its rows.
        let source = Snapshot {
            tables: [("rows".into(), behind.source.clone())].into(),
            ..Snapshot::default()
        };
        snapshot.parts.insert(behind.stream.to_string(), source);
    }
    Ok(snapshot)
}

/// The batch that [`save_batch`] saved.
pub(crate) fn load_batch(snapshot: &Snapshot, schema: &SchemaRef) -> Result<Batch> {
    let records = snapshot.table("records")?;
    let found = records.schema();
    let types = |schema: &SchemaRef| -> Vec<DataType> {
        let fields = schema.fields().iter();
        fields.map(|field| field.data_type().clone()).collect()
    };
    if types(&found) != types(schema) {
        return Err(Error::Snapshot(
            "its rows have other columns than the query's".into(),
        ));
    }
    let mut batch = Batch::on_time(records.clone());
    if let Some((stream, source)) = snapshot.parts.first_key_value() {
        let places = snapshot.table("behind")?;
        batch.behind = Some(Box::new(Behind {
            watermarks: column::<Int64Type>(places, "watermark")?.to_vec().into(),
            source_rows: column::<UInt32Type>(places, "source_row")?.to_vec().into(),
            stream: stream.as_str().into(),
            source: source.table("rows")?.clone(),
        }));
    }
    Ok(batch)
}

/// Rows, watermarks and an end, in their order.
pub(crate) fn save_ready(ready: &VecDeque<Output>) -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for (number, output) in ready.iter().enumerate() {
        let name = format!("{number:08}");
        match output {
            Output::Batch(batch) => {
                snapshot.parts.insert(name, save_batch(batch)?);
            }
            Output::Watermark(watermark) => {
                snapshot.numbers.insert(name, *watermark);
            }
            Output::End => {
                snapshot.parts.insert(name, Snapshot::default());
            }
        }
    }
    Ok(snapshot)
}

/// What [`save_ready`] saved.
pub(crate) fn load_ready(snapshot: &Snapshot, schema: &SchemaRef) -> Result<VecDeque<Output>> {
    let mut ready = VecDeque::new();
    for number in 0..snapshot.parts.len() + snapshot.numbers.len() {
        let name = format!("{number:08}");
        ready.push_back(
            match (snapshot.numbers.get(&name), snapshot.parts.get(&name)) {
                (Some(watermark), _) => Output::Watermark(*watermark),
                (None, Some(part)) if part.tables.is_empty() => Output::End,
                (None, Some(part)) => Output::Batch(load_batch(part, schema)?),
                (None, None) => return Err(Error::Snapshot("its rows have gaps".into())),
            },
        );
    }
    Ok(ready)
}
