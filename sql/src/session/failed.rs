//! The sinks that have failed, and the rows that they have not been given therefore; rows
//! that were rejected, or left out by a sink.

use windrow_core::stream::{LeftOut, Reject};

use super::Session;
use super::catalog::{Entry, Work};
use super::progress::Faults;
use super::shared::{Shared, whole};
use crate::connector::stdout::is_closed_pipe;
use crate::error::{Error, ErrorKind};

/// A sink that has failed.
#[derive(Debug, Clone)]
pub struct FailedSink {
    /// Its name.
    pub name: String,
    /// Why; what it was given and did not deliver is said there.
    pub error: Error,
    /// Rows that came for its query after that.
    pub rows_after: u64,
}

impl Session {
    /// How much had gone wrong when that was last looked at. Asked from any thread, it does
    /// not wait.
    pub fn faults_seen(&self) -> Faults {
        self.shared.faults_seen()
    }

    /// The first reject that is kept of each live stream which has one and is not among those
    /// that are `told`; `None` if something is in use: it does not wait.
    pub fn first_rejects(&self, told: &[String]) -> Option<Vec<(String, Reject)>> {
        self.shared.first_rejects(told)
    }

    /// What sinks over live streams that are not among those that are `told` have left out
    /// so far; `None` if something is in use: it does not wait.
    pub fn first_left_out(&self, told: &[String]) -> Option<Vec<(String, LeftOut)>> {
        self.shared.first_left_out(told)
    }

    /// The name of the sink whose output is being completed, if one is. Asked from any
    /// thread, it does not wait.
    pub fn closing_sink(&self) -> Option<String> {
        whole(&self.shared.closing).clone()
    }

    /// The sinks that have failed, in the order of their names, but for those whose reader
    /// has gone or whose work was stopped, and then those that were dropped before all rows
    /// were delivered. Waits for a step that is being done.
    pub fn failed_sinks(&self) -> Vec<FailedSink> {
        let standing = self.shared.catalog().standing();
        let mut failed = Vec::new();
        for (name, entry) in standing {
            let Entry::Sink(sink) = entry else { continue };
            let fed = sink.fed();
            failed.extend((fed.works.iter()).filter_map(|work| {
                let error = self.shared.work_failure(work)?;
                let is_told = !is_closed_pipe(&error) && error.kind() != ErrorKind::Cancelled;
                is_told.then(|| FailedSink {
                    name: name.clone(),
                    error,
                    rows_after: self.shared.rows_after_failure(work),
                })
            }));
        }
        let undelivered = self.shared.undelivered().into_iter();
        failed.extend(undelivered.map(|(name, error)| FailedSink {
            name,
            error,
            rows_after: 0,
        }));
        failed
    }
}

impl Shared {
    /// Rows that came for queries of `work` after they had failed.
    fn rows_after_failure(&self, work: &Work) -> u64 {
        let driver = self.driver();
        let stats = work.queries.iter();
        let stats = stats.filter_map(|(_, query)| driver.engine.query_stats(*query).ok());
        stats.map(|stats| stats.after_failure).sum()
    }
}
