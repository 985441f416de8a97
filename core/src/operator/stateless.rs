//! Operators without state of their own: row functions, unions and limits.

use std::collections::VecDeque;
use std::fmt::Debug;

use arrow::datatypes::SchemaRef;

use super::{Counters, Drain, Operator, Output};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, MIN_TIME};

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

/// Hands over what is ready; the queues of these operators hold the answer to one
/// event only, so the budget does not matter.
fn hand_over(ready: &mut VecDeque<Output>, out: &mut Vec<Output>) -> Result<Drain> {
    out.extend(ready.drain(..));
    Ok(Drain::Done)
}

fn save_counters(counters: &Counters) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, value) in [
        ("rows_in", counters.rows_in),
        ("rows_out", counters.rows_out),
        ("filtered", counters.filtered),
    ] {
        snapshot.numbers.insert(name.into(), value as i64);
    }
    snapshot
}

fn load_counters(snapshot: &Snapshot) -> Result<Counters> {
    Ok(Counters {
        rows_in: snapshot.number("rows_in")? as u64,
        rows_out: snapshot.number("rows_out")? as u64,
        filtered: snapshot.number("filtered")? as u64,
        ..Counters::default()
    })
}

impl Operator for Stateless {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn schema(&self) -> SchemaRef {
        self.function.schema()
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
        hand_over(&mut self.ready, out)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        Ok(save_counters(&self.counters))
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.counters = load_counters(snapshot)?;
        Ok(())
    }
}

/// Passes the rows of several inputs on; its watermark is the least of theirs.
#[derive(Debug)]
pub struct Union {
    schema: SchemaRef,
    /// The watermark of each input, [`MAX_TIME`] once it has ended.
    watermarks: Vec<i64>,
    ended: Vec<bool>,
    sent: i64,
    ready: VecDeque<Output>,
    counters: Counters,
}

impl Union {
    /// A union of `inputs` inputs of the same columns.
    pub fn new(schema: SchemaRef, inputs: usize) -> Self {
        Self {
            schema,
            watermarks: vec![MIN_TIME; inputs],
            ended: vec![false; inputs],
            sent: MIN_TIME,
            ready: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    fn least(&self) -> i64 {
        self.watermarks.iter().copied().min().unwrap_or(MAX_TIME)
    }

    fn send_watermark(&mut self) {
        let least = self.least();
        if least > self.sent && least < MAX_TIME {
            self.sent = least;
            self.ready.push_back(Output::Watermark(least));
        }
    }
}

impl Operator for Union {
    fn name(&self) -> &str {
        "Union"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn on_batch(&mut self, input: usize, mut batch: Batch) -> Result<()> {
        self.counters.rows_in += batch.num_rows() as u64;
        self.counters.rows_out += batch.num_rows() as u64;
        // Fields may differ in name and nullability from one input to the other.
        batch.records = arrow::array::RecordBatch::try_new(
            self.schema.clone(),
            batch.records.columns().to_vec(),
        )?;
        if let Some(behind) = batch.behind.as_mut() {
            let others = (self.watermarks.iter().enumerate())
                .filter(|(other, _)| *other != input)
                .map(|(_, watermark)| *watermark)
                .min()
                .unwrap_or(MAX_TIME);
            let sent = self.sent;
            behind.watermarks = (behind.watermarks.iter())
                .map(|watermark| sent.max(others.min(*watermark)))
                .collect();
        }
        self.ready.push_back(Output::Batch(batch));
        Ok(())
    }

    fn on_watermark(&mut self, input: usize, watermark: i64) -> Result<()> {
        self.watermarks[input] = self.watermarks[input].max(watermark);
        self.send_watermark();
        Ok(())
    }

    fn on_end(&mut self, input: usize) -> Result<()> {
        self.ended[input] = true;
        self.watermarks[input] = MAX_TIME;
        if self.ended.iter().all(|ended| *ended) {
            self.ready.push_back(Output::End);
        } else {
            self.send_watermark();
        }
        Ok(())
    }

    fn drain(&mut self, _budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain> {
        hand_over(&mut self.ready, out)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        let mut snapshot = save_counters(&self.counters);
        snapshot.numbers.insert("sent".into(), self.sent);
        for (input, watermark) in self.watermarks.iter().enumerate() {
            let ended = i64::from(self.ended[input]);
            (snapshot.numbers).insert(format!("watermark_{input}"), *watermark);
            snapshot.numbers.insert(format!("ended_{input}"), ended);
        }
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.counters = load_counters(snapshot)?;
        self.sent = snapshot.number("sent")?;
        for input in 0..self.watermarks.len() {
            self.watermarks[input] = snapshot.number(&format!("watermark_{input}"))?;
            self.ended[input] = snapshot.number(&format!("ended_{input}"))? != 0;
        }
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

    fn on_batch(&mut self, _input: usize, batch: Batch) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let rows = batch.num_rows() as u64;
        let before = self.counters.rows_in;
        self.counters.rows_in += rows;
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
        hand_over(&mut self.ready, out)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        let mut snapshot = save_counters(&self.counters);
        (snapshot.numbers).insert("ended".into(), i64::from(self.ended));
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.counters = load_counters(snapshot)?;
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
        hand_over(&mut self.ready, out)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        Ok(save_counters(&self.counters))
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.counters = load_counters(snapshot)?;
        Ok(())
    }
}
