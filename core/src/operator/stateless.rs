//! Operators that give rows on at once: row functions and limits.

use std::collections::VecDeque;
use std::fmt::Debug;

use arrow::datatypes::SchemaRef;

use super::frame::{load_counters, save_counters};
use super::outbox::{load_ready, save_ready};
use super::{Counters, Drain, Operator, Output};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;

/// A function of a batch's rows, each row for itself: a projection, a filter, or a
/// stretch of several. Implemented outside the engine, over expressions.
pub trait RowFunction: Send + Debug {
    /// Its name in `EXPLAIN` and in errors.
    fn name(&self) -> &str;

    /// The columns it gives.
    fn schema(&self) -> SchemaRef;

    /// The rows that remain, with their columns, in order.
    ///
    /// # Errors
    /// If an expression fails on the data.
    fn apply(&mut self, batch: Batch) -> Result<Batch>;
}

/// Applies a [`RowFunction`] to what passes.
#[derive(Debug)]
pub struct Stateless {
    function: Box<dyn RowFunction>,
    ready: VecDeque<Output>,
    counters: Counters,
}

impl Stateless {
    /// An operator around `function`.
    pub fn new(function: Box<dyn RowFunction>) -> Self {
        Self {
            function,
            ready: VecDeque::new(),
            counters: Counters::default(),
        }
    }
}

/// What such an operator has counted, and what it has ready.
fn save(counters: &Counters, ready: &VecDeque<Output>) -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    (snapshot.parts).insert("counters".into(), save_counters(*counters));
    snapshot.parts.insert("ready".into(), save_ready(ready)?);
    Ok(snapshot)
}

/// What [`save`] saved.
fn load(snapshot: &Snapshot, schema: &SchemaRef) -> Result<(Counters, VecDeque<Output>)> {
    let counters = load_counters(snapshot.part("counters")?)?;
    Ok((counters, load_ready(snapshot.part("ready")?, schema)?))
}

impl Operator for Stateless {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn schema(&self) -> SchemaRef {
        self.function.schema()
    }

    fn is_prompt(&self) -> bool {
        true
    }

    fn on_batch(&mut self, _input: usize, batch: Batch) -> Result<()> {
        let rows_in = batch.num_rows() as u64;
        let batch = self.function.apply(batch)?;
        let rows_out = batch.num_rows() as u64;
        self.counters.rows_in += rows_in;
        self.counters.rows_out += rows_out;
        self.counters.filtered += rows_in - rows_out;
        if rows_out > 0 {
            self.ready.push_back(Output::Batch(batch));
        }
        Ok(())
    }

    fn on_watermark(&mut self, _input: usize, watermark: i64) -> Result<()> {
        self.ready.push_back(Output::Watermark(watermark));
        Ok(())
    }

    fn on_end(&mut self, _input: usize) -> Result<()> {
        self.ready.push_back(Output::End);
        Ok(())
    }

    fn drain(&mut self, _budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain> {
        // The answer to one event only: the budget does not matter.
        out.extend(self.ready.drain(..));
        Ok(Drain::Done)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        save(&self.counters, &self.ready)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        (self.counters, self.ready) = load(snapshot, &self.schema())?;
        Ok(())
    }
}

/// Passes on rows `skip .. skip + fetch`, then ends.
#[derive(Debug)]
pub struct Limit {
    schema: SchemaRef,
    skip: u64,
    fetch: Option<u64>,
    ended: bool,
    ready: VecDeque<Output>,
    counters: Counters,
}

impl Limit {
    /// A limit; `fetch` of `None` passes on all that follows the skipped rows.
    pub fn new(schema: SchemaRef, skip: u64, fetch: Option<u64>) -> Self {
        Self {
            schema,
            skip,
            fetch,
            ended: false,
            ready: VecDeque::new(),
            counters: Counters::default(),
        }
    }
}

impl Operator for Limit {
    fn name(&self) -> &str {
        "Limit"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn is_prompt(&self) -> bool {
        true
    }

    fn on_batch(&mut self, _input: usize, batch: Batch) -> Result<()> {
        let rows = batch.num_rows() as u64;
        let before = self.counters.rows_in;
        self.counters.rows_in += rows;
        if self.ended {
            self.counters.filtered += rows;
            return Ok(());
        }
        let start = self.skip.saturating_sub(before).min(rows);
        let left = (self.fetch).map_or(u64::MAX, |fetch| fetch - self.counters.rows_out);
        let length = (rows - start).min(left);
        self.counters.rows_out += length;
        self.counters.filtered += rows - length;
        if length > 0 {
            let passed = batch.slice(start as usize, length as usize);
            self.ready.push_back(Output::Batch(passed));
        }
        if self.fetch == Some(self.counters.rows_out) {
            self.ended = true;
            self.ready.push_back(Output::End);
        }
        Ok(())
    }

    fn on_watermark(&mut self, _input: usize, watermark: i64) -> Result<()> {
        if !self.ended {
            self.ready.push_back(Output::Watermark(watermark));
        }
        Ok(())
    }

    fn on_end(&mut self, _input: usize) -> Result<()> {
        if !self.ended {
            self.ended = true;
            self.ready.push_back(Output::End);
        }
        Ok(())
    }

    fn drain(&mut self, _budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain> {
        // The answer to one event only: the budget does not matter.
        out.extend(self.ready.drain(..));
        Ok(Drain::Done)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        let mut snapshot = save(&self.counters, &self.ready)?;
        (snapshot.numbers).insert("ended".into(), i64::from(self.ended));
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        (self.counters, self.ready) = load(snapshot, &self.schema)?;
        self.ended = snapshot.number("ended")? != 0;
        if self
            .fetch
            .is_some_and(|fetch| fetch < self.counters.rows_out)
        {
            return Err(Error::Snapshot(
                "it passed on more rows than the limit".into(),
            ));
        }
        Ok(())
    }
}

/// Passes rows on and lets the watermark fall back by a number of ticks, for a column
/// that may lie so far behind the event time.
#[derive(Debug)]
pub struct Lag {
    schema: SchemaRef,
    lag: i64,
    ready: VecDeque<Output>,
    counters: Counters,
}

impl Lag {
    /// A lag of `lag` ticks.
    pub fn new(schema: SchemaRef, lag: i64) -> Self {
        Self {
            schema,
            lag,
            ready: VecDeque::new(),
            counters: Counters::default(),
        }
    }
}

impl Operator for Lag {
    fn name(&self) -> &str {
        "Lag"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn on_batch(&mut self, _input: usize, mut batch: Batch) -> Result<()> {
        self.counters.rows_in += batch.num_rows() as u64;
        self.counters.rows_out += batch.num_rows() as u64;
        if let Some(behind) = batch.behind.as_mut() {
            behind.watermarks = (behind.watermarks.iter())
                .map(|watermark| watermark.saturating_sub(self.lag))
                .collect();
        }
        self.ready.push_back(Output::Batch(batch));
        Ok(())
    }

    fn on_watermark(&mut self, _input: usize, watermark: i64) -> Result<()> {
        let lagging = watermark.saturating_sub(self.lag);
        self.ready.push_back(Output::Watermark(lagging));
        Ok(())
    }

    fn on_end(&mut self, _input: usize) -> Result<()> {
        self.ready.push_back(Output::End);
        Ok(())
    }

    fn drain(&mut self, _budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain> {
        // The answer to one event only: the budget does not matter.
        out.extend(self.ready.drain(..));
        Ok(Drain::Done)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        save(&self.counters, &self.ready)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        (self.counters, self.ready) = load(snapshot, &self.schema())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use std::sync::Arc;

    fn rows(values: &[i64]) -> Batch {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        Batch::on_time(RecordBatch::try_from_iter([("v", column)]).expect("one column"))
    }

    #[test]
    fn a_limit_that_has_ended_counts_the_rows_that_still_come() {
        let mut limit = Limit::new(rows(&[]).records.schema(), 0, Some(2));
        limit.on_batch(0, rows(&[1, 2, 3])).expect("rows");
        limit.on_batch(0, rows(&[4, 5])).expect("rows");
        let counters = limit.counters();
        assert_eq!(
            (counters.rows_in, counters.rows_out, counters.filtered),
            (5, 2, 3)
        );
    }

    #[test]
    fn what_was_not_given_on_yet_is_saved() {
        let schema = rows(&[]).records.schema();
        let mut lag = Lag::new(schema.clone(), 10);
        lag.on_batch(0, rows(&[1, 2])).expect("rows");
        lag.on_watermark(0, 100).expect("a watermark");
        lag.on_end(0).expect("an end");
        let saved = lag.save().expect("saved");
        let mut restored = Lag::new(schema, 10);
        restored.load(&saved).expect("loaded");
        let mut out = Vec::new();
        restored.drain(100, &mut out).expect("drained");
        let [Output::Batch(batch), Output::Watermark(90), Output::End] = &out[..] else {
            panic!("{out:?}");
        };
        assert_eq!(batch.records, rows(&[1, 2]).records);
    }
}
