//! `Union`: the rows of several inputs, as one.
//!
//! Its watermark is the least of its inputs'. A row that lies behind is held against
//! what its own input and the others had said when it arrived.
//!
//! Where inputs are branches of one stream, a batch of it comes by one after the other.
//! Their rows are held until all have come and given out in order of arrival, a row's
//! copies by input: as if each row had come alone. The watermark at which a row arrived
//! was then that of all these branches.

use std::collections::VecDeque;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;

use super::frame::{load_counters, save_counters};
use super::outbox::{load_ready, save_ready};
use super::{Counters, Drain, Operator, Output};
use crate::batch::{Batch, Behind, renamed};
use crate::error::Result;
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, MIN_TIME};

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
    /// `[inputs]`: the stream that an input is one of several branches of.
    branches: Vec<Option<usize>>,
    /// Rows of branches of one stream, until all of the event's have come.
    gathered: Vec<Gathered>,
}

/// A branch's rows of one event.
#[derive(Debug)]
struct Gathered {
    input: usize,
    records: RecordBatch,
    behind: Box<Behind>,
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
            branches: vec![None; inputs],
            gathered: Vec::new(),
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

    /// Holds a row's own watermark against what the other inputs have said; branches of
    /// the same stream say what the row's own does.
    fn limit(&self, input: usize, behind: &mut Behind) {
        let is_twin = |other: usize| {
            other == input
                || self.branches[input].is_some() && self.branches[other] == self.branches[input]
        };
        let others = (self.watermarks.iter().enumerate())
            .filter(|(other, _)| !is_twin(*other))
            .map(|(_, watermark)| *watermark)
            .min()
            .unwrap_or(MAX_TIME);
        behind.watermarks = (behind.watermarks.iter())
            .map(|watermark| self.sent.max(others.min(*watermark)))
            .collect();
    }

    /// Gives out the gathered rows in order of arrival.
    fn give_gathered(&mut self) -> Result<()> {
        let mut gathered = std::mem::take(&mut self.gathered);
        if gathered.len() < 2 {
            if let Some(only) = gathered.pop() {
                let batch = Batch {
                    records: only.records,
                    behind: Some(only.behind),
                };
                self.ready.push_back(Output::Batch(batch));
            }
            return Ok(());
        }
        // (place in the stream's batch, input, (batch, row))
        let mut order = Vec::new();
        for (number, branch) in gathered.iter().enumerate() {
            let rows = branch.behind.source_rows.values().iter().enumerate();
            order.extend(rows.map(|(row, &place)| (place, branch.input, (number, row))));
        }
        order.sort_unstable();
        let indices: Vec<(usize, usize)> = order.iter().map(|row| row.2).collect();
        let records = if self.schema.fields().is_empty() {
            let rows = gathered.iter().map(|branch| branch.records.num_rows());
            crate::batch::without_columns(&self.schema, rows.sum())?
        } else {
            let batches: Vec<&RecordBatch> = gathered.iter().map(|rows| &rows.records).collect();
            interleave_record_batch(&batches, &indices)?
        };
        let watermarks = indices
            .iter()
            .map(|&(batch, row)| gathered[batch].behind.watermarks[row]);
        let behind = Behind {
            watermarks: watermarks.collect(),
            source_rows: UInt32Array::from_iter_values(order.iter().map(|row| row.0)),
            stream: gathered[0].behind.stream.clone(),
            source: gathered[0].behind.source.clone(),
        };
        self.ready.push_back(Output::Batch(Batch {
            records,
            behind: Some(Box::new(behind)),
        }));
        Ok(())
    }
}

impl Operator for Union {
    fn name(&self) -> &str {
        "Union"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn gather(&mut self, branches: Vec<Option<usize>>) {
        self.branches = branches;
    }

    fn settle(&mut self) -> Result<()> {
        self.give_gathered()?;
        self.send_watermark();
        Ok(())
    }

    fn on_batch(&mut self, input: usize, batch: Batch) -> Result<()> {
        self.counters.rows_in += batch.num_rows() as u64;
        self.counters.rows_out += batch.num_rows() as u64;
        // Fields may differ in name and nullability from one input to the other.
        let records = renamed(&batch.records, &self.schema)?;
        let Some(mut behind) = batch.behind else {
            self.give_gathered()?;
            self.ready.push_back(Output::Batch(Batch::on_time(records)));
            return Ok(());
        };
        self.limit(input, &mut behind);
        let branch = self.branches[input];
        if self
            .gathered
            .first()
            .is_some_and(|first| self.branches[first.input] != branch)
        {
            self.give_gathered()?;
        }
        self.gathered.push(Gathered {
            input,
            records,
            behind,
        });
        if branch.is_none() {
            self.give_gathered()?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, input: usize, watermark: i64) -> Result<()> {
        self.give_gathered()?;
        self.watermarks[input] = self.watermarks[input].max(watermark);
        self.send_watermark();
        Ok(())
    }

    fn on_end(&mut self, input: usize) -> Result<()> {
        // The end of a branch may come between the rows of its twins: it changes
        // nothing for them.
        self.ended[input] = true;
        self.watermarks[input] = MAX_TIME;
        if self.ended.iter().all(|ended| *ended) {
            self.give_gathered()?;
            self.ready.push_back(Output::End);
        } else if self.gathered.is_empty() {
            self.send_watermark();
        }
        Ok(())
    }

    fn drain(&mut self, _budget_rows: usize, out: &mut Vec<Output>) -> Result<Drain> {
        out.extend(self.ready.drain(..));
        Ok(Drain::Done)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn save(&mut self) -> Result<Snapshot> {
        self.give_gathered()?;
        let mut snapshot = Snapshot::default();
        snapshot.numbers.insert("sent".into(), self.sent);
        for (input, watermark) in self.watermarks.iter().enumerate() {
            let ended = i64::from(self.ended[input]);
            (snapshot.numbers).insert(format!("watermark_{input}"), *watermark);
            snapshot.numbers.insert(format!("ended_{input}"), ended);
        }
        snapshot.parts.extend([
            ("counters".into(), save_counters(self.counters)),
            ("ready".into(), save_ready(&self.ready)?),
        ]);
        Ok(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.counters = load_counters(snapshot.part("counters")?)?;
        self.ready = load_ready(snapshot.part("ready")?, &self.schema)?;
        self.sent = snapshot.number("sent")?;
        for input in 0..self.watermarks.len() {
            self.watermarks[input] = snapshot.number(&format!("watermark_{input}"))?;
            self.ended[input] = snapshot.number(&format!("ended_{input}"))? != 0;
        }
        Ok(())
    }
}
