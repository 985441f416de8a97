//! The doors of the engine: where rows come from and where results go.
//!
//! [`Source`] and [`Sink`] are implemented outside this crate: they know files and
//! sockets, the engine does not.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;

/// A row that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The raw text, cut to a bounded length.
    pub text: String,
    /// Where it was read: a file and a line, a peer, an ordinal.
    pub position: String,
    /// Why, as a sentence.
    pub reason: String,
    /// The rule that it broke: `parse`, `type`, `not null`, `event time`, `future`,
    /// or the name or text of a CHECK.
    pub rule: String,
}

/// The rule of a [`Reject`] that is no row, but a word about where rows are read: it is kept
/// among them and not counted.
pub const RULE_NOTICE: &str = "notice";

impl Reject {
    /// Whether it is a row, and counts as one.
    pub fn is_row(&self) -> bool {
        self.rule != RULE_NOTICE
    }
}

/// Where a row was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As [`Reject::position`].
    pub position: String,
    /// The raw text, cut to a bounded length; `None` where it has not been kept.
    pub text: Option<String>,
}

/// What became of pushed rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Rows given to the queries.
    pub accepted: u64,
    /// Of these, rows too late for at least one query.
    pub late: u64,
    /// Rows that broke a rule.
    pub rejected: u64,
}

/// Where the rows of a batch were read. Only those that break a rule are asked for, so
/// that it may be costly to answer.
pub trait Origin: Debug + Send + Sync {
    /// The places of `rows`, which are places in the batch and ascend.
    fn places(&self, rows: &[usize]) -> Vec<Place>;

    /// How many rows of the batch were read before each of those that could not be
    /// parsed: `[rejected]`, ascending.
    fn rows_before(&self) -> &[usize];

    /// The rows of the batch with all columns, if some are NULL in it because no query
    /// asks for them. They are wanted where a row is kept whole.
    ///
    /// # Errors
    /// If they cannot be read any more.
    fn whole(&self) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// Told which rows were rejected, in the order in which they were read: those that could
    /// not be parsed and those that broke a rule.
    fn rejected(&self, rejects: &[Reject]) {
        let _ = rejects;
    }

    /// Told what became of the rows, once they have been carried through all queries. It is
    /// not told where the stream has failed on them.
    fn settled(&self, report: &PushReport) {
        let _ = report;
    }
}

/// What a source gives when it is polled.
#[derive(Debug)]
pub enum SourceEvent {
    /// Rows of one partition in order of arrival.
    Batch {
        /// The partition, below [`Source::partitions`] for those known at the start.
        partition: u32,
        /// Rows of the source's schema.
        records: RecordBatch,
        /// Rows read between the last batch and the end of this one that could not
        /// be parsed. `received = records + rejected`.
        rejected: Vec<Reject>,
        /// Where the rows were read; `None`: rows are told by their number.
        origin: Option<Box<dyn Origin>>,
        /// Bytes read for them.
        bytes: u64,
    },
    /// So many rows were dropped, unread: a bounded buffer could not take them.
    Dropped(u64),
    /// No row before this time follows, in ticks of the stream's event time: the source
    /// knows what it holds.
    Watermark(i64),
    /// A partition has ended; it no longer holds back the watermark.
    PartitionEnd(u32),
    /// Nothing came within the time to wait.
    Pending,
    /// The source has ended.
    End,
}

/// Rows of one partition on their way into an engine: a [`SourceEvent::Batch`].
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The partition.
    pub partition: u32,
    /// Rows of the source's schema.
    pub records: &'a RecordBatch,
    /// Rows among them that could not be parsed.
    pub rejected: Vec<Reject>,
    /// Where the rows were read.
    pub origin: Option<&'a dyn Origin>,
    /// Bytes read for them.
    pub bytes: u64,
}

/// Rows that a source holds and that have not been taken from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// How many they are, as far as they have been counted.
    pub rows: u64,
    /// How many there may be before rows are dropped or whoever sends them has to wait.
    pub rows_max: u64,
}

/// A source of rows, polled by the driver.
///
/// A source does its reading and parsing on threads of its own behind a bounded
/// queue; dropping it stops them.
pub trait Source: Send + Debug {
    /// The columns of its rows.
    fn schema(&self) -> SchemaRef;

    /// How many partitions it has at the start: each holds the watermark back until
    /// it has given rows or has ended.
    fn partitions(&self) -> u32 {
        1
    }

    /// Whether it may go on for ever and rows arrive as they happen.
    fn is_live(&self) -> bool {
        false
    }

    /// The next event, waiting for it at most `wait`.
    ///
    /// # Errors
    /// If the source cannot be read further: its queries fail.
    fn poll(&mut self, wait: Duration) -> Result<SourceEvent>;

    /// The size of the whole input in bytes, if it is known.
    fn bytes_total(&self) -> Option<u64> {
        None
    }

    /// What waits to be taken; `None` where nothing waits or it is not known.
    fn backlog(&self) -> Option<Backlog> {
        None
    }

    /// How long the rows of the last batch have waited since they were read.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }
}

/// Rows that a sink has left out: where it writes to can hold no such row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// How many there are so far.
    pub rows: u64,
    /// Of the first one: what it was not written to and why, as a sentence.
    pub first: String,
    /// What to do now.
    pub help: String,
}

/// A receiver of result rows.
pub trait Sink: Send + Debug {
    /// Told before the first row: `stop` is set when the work is to stop. Who waits for
    /// others in [`Sink::write`] has to look at it.
    fn watch(&mut self, stop: &Arc<AtomicBool>) {
        let _ = stop;
    }

    /// Whether it can take rows without waiting for others. As long as it cannot, the
    /// sources whose rows come to it are not read: a slow sink slows them and nothing else.
    fn has_room(&self) -> bool {
        true
    }

    /// Takes rows, in order. What had been read when [`Sink::has_room`] came to be false
    /// is still given.
    ///
    /// # Errors
    /// If the rows cannot be written: the query fails.
    fn write(&mut self, records: &RecordBatch) -> Result<()>;

    /// Makes what was written visible where that is possible before the end; called
    /// when the query has nothing more to write for now.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called again and again while rows may come, whether they do or not: what is due
    /// by the clock is done here.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn tick(&mut self) -> Result<()> {
        Ok(())
    }

    /// Ends the output although rows of a bounded input are still to come. What would
    /// pass for the whole is given up, as by [`Sink::abort`]; its name is the answer.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn stop(&mut self) -> Result<Option<String>> {
        self.finish()?;
        Ok(None)
    }

    /// Rows that were left out while the others were taken; `None` if there are none. What
    /// ends the output fails because of them.
    fn left_out(&self) -> Option<LeftOut> {
        None
    }

    /// Completes the output of a query that is taken off while rows may still come: as
    /// [`Sink::finish`], but who does not answer is not waited for.
    ///
    /// # Errors
    /// As [`Sink::write`]; of rows that were not delivered it says how many.
    fn leave(&mut self) -> Result<()> {
        self.finish()
    }

    /// Completes the output: a file appears under its name.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn finish(&mut self) -> Result<()>;

    /// Gives up the output: what is not whole is removed.
    fn abort(&mut self) {}
}
