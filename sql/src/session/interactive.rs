//! Statement by statement: what somebody asks for who stays, and goes on after a stop.

use std::sync::Arc;
use std::time::Duration;

use windrow_core::pipeline::Stepped;

use super::catalog::Entry;
use super::{ResultHandler, Session, script};
use crate::error::{Error, Result, Script};

impl Session {
    /// As [`Session::run_script`], for one who has more to say: bounded inputs of what is
    /// created are read to their ends, live ones are left to [`Session::go_on`]. A query
    /// over a live stream runs until [`Session::cancel`].
    ///
    /// # Errors
    /// As [`Session::run_script`]; of views and sinks see [`Session::failures`].
    pub fn run_beside_live(
        &self,
        script: &Arc<Script>,
        handler: &mut dyn ResultHandler,
    ) -> Result<()> {
        script::run_beside_live(self, script, handler)
    }

    /// Reads for a moment, at most `wait` if there is nothing yet, what streams have for
    /// views and sinks; false if nothing is being read.
    ///
    /// # Errors
    /// If the session is cancelled.
    pub fn go_on(&self, wait: Duration) -> Result<bool> {
        let stepped = self.shared.go_on(wait)?;
        self.shared.run_ready_jobs()?;
        Ok(stepped != Stepped::NoSource)
    }

    /// Goes on after [`Session::cancel`], when all calls have returned: streams, views and
    /// sinks are there as they were, and what waited in them is given out. A view whose
    /// rows were to come all at once has failed if it was cut short. Gives the names of
    /// the outputs that are missing therefore.
    pub fn resume(&self) -> Vec<String> {
        self.shared.stop_unjoined();
        self.shared.resume();
        self.shared.take_unwritten()
    }

    /// The views and sinks that have failed, and why; also sinks that were dropped before
    /// all rows were delivered.
    pub fn failures(&self) -> Vec<(String, Error)> {
        let standing = self.shared.catalog().standing();
        let failure = |entry: &Entry| match entry {
            Entry::View(view) => self.shared.work_failure(&view.work),
            Entry::Sink(sink) => {
                let fed = sink.fed();
                (fed.works.iter()).find_map(|work| self.shared.work_failure(work))
            }
            Entry::Stream(_) | Entry::Table(_) => None,
        };
        (standing.into_iter())
            .filter_map(|(name, entry)| failure(&entry).map(|error| (name, error)))
            .chain(self.shared.undelivered())
            .collect()
    }
}
