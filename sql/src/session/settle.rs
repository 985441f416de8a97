//! Reading bounded inputs to their ends, and the jobs that wait for that.

use std::time::Duration;

use windrow_core::pipeline::{Engine, Stepped, StreamId};

use super::catalog::{Entry, JobId, Work};
use super::shared::{Job, PendingJob, STEP_WAIT, Shared, whole};
use crate::connector::stdout::is_closed_pipe;
use crate::error::{Error, ErrorKind, Result};

/// What is read to its end before a query starts that asks for rows of now.
#[derive(Debug, Clone, Default)]
pub(super) struct Settles {
    /// Everything, whatever stands in `entries`.
    pub(super) all: bool,
    pub(super) entries: Vec<Entry>,
}

/// What a continuous query takes its rows from.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) entries: Vec<Entry>,
    /// Whether some of the rows are those that are there when the rest has been read.
    pub(super) waits: bool,
}

impl Settles {
    pub(super) fn all() -> Self {
        Self {
            all: true,
            entries: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.all && self.entries.is_empty()
    }
}

impl Shared {
    /// Reads the bounded inputs of streams and views to their ends.
    ///
    /// # Errors
    /// If one of the views has failed: what it holds is not all.
    pub(super) fn settle(&self, what: &Settles) -> Result<()> {
        if what.is_empty() {
            return Ok(());
        }
        loop {
            self.read_out(what)?;
            // Jobs may have started tables that views read.
            if !self.run_jobs()? {
                break;
            }
        }
        for entry in &what.entries {
            if let Entry::View(view) = entry
                && let Some(error) = self.work_failure(&view.work)
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The bounded inputs that are being read.
    pub(super) fn being_read(&self) -> Vec<StreamId> {
        let mut streams = self.all_upstream();
        streams.retain(|stream| self.is_being_read(std::slice::from_ref(stream)));
        streams
    }

    /// Reads bounded inputs to their ends, but for those that are `left` to go on, and runs
    /// the jobs that do not wait for these.
    pub(super) fn settle_without(&self, left: &[StreamId]) -> Result<()> {
        let is_ready = |job: &PendingJob| {
            let mut streams = Vec::new();
            for entry in &job.inputs {
                self.upstream(entry, &mut streams);
            }
            streams.retain(|stream| left.contains(stream));
            !self.is_being_read(&streams)
        };
        loop {
            self.start_readings()?;
            loop {
                let mut streams = self.all_upstream();
                streams.retain(|stream| !left.contains(stream));
                if !self.is_being_read(&streams) {
                    break;
                }
                self.step(STEP_WAIT)?;
            }
            if !self.run_job(is_ready)? {
                return Ok(());
            }
        }
    }

    /// The streams of the engine that everything there is reads.
    fn all_upstream(&self) -> Vec<StreamId> {
        let mut streams = Vec::new();
        let standing = self.catalog().standing();
        for entry in standing.values() {
            self.upstream(entry, &mut streams);
        }
        streams
    }

    fn read_out(&self, what: &Settles) -> Result<()> {
        self.start_readings()?;
        loop {
            let mut streams = match what.all {
                true => self.all_upstream(),
                false => Vec::new(),
            };
            for entry in &what.entries {
                self.upstream(entry, &mut streams);
            }
            if !self.is_being_read(&streams) {
                return Ok(());
            }
            self.step(STEP_WAIT)?;
        }
    }

    /// Whether one of these is being read and will end.
    fn is_being_read(&self, streams: &[StreamId]) -> bool {
        let driver = self.driver();
        streams.iter().any(|stream| {
            let is_live = driver.engine.is_live(*stream).unwrap_or(true);
            let ended = (driver.engine.stream_stats(*stream)).is_ok_and(|stats| stats.ended);
            !is_live && !ended && driver.is_running(*stream)
        })
    }

    /// Reads all sources to their ends and runs all jobs.
    pub(super) fn run_out(&self) -> Result<()> {
        self.run_while(Engine::has_running_queries)
    }

    /// As [`Shared::run_out`], for those queries alone whose results are written somewhere.
    pub(super) fn run_sinks(&self) -> Result<()> {
        self.run_while(Engine::has_running_sinks)
    }

    fn run_while(&self, is_running: impl Fn(&Engine) -> bool) -> Result<()> {
        loop {
            while is_running(&self.driver().engine) {
                if self.step(STEP_WAIT)? == Stepped::NoSource {
                    break;
                }
                self.run_ready_jobs()?;
            }
            if !self.run_jobs()? {
                break;
            }
        }
        self.first_failure()
    }

    /// The error of the first view or sink that has failed; that a reader has gone says
    /// least.
    pub(super) fn first_failure(&self) -> Result<()> {
        let mut closed = None;
        let standing = self.catalog().standing();
        for entry in standing.values() {
            let failure = match entry {
                Entry::View(view) => self.work_failure(&view.work),
                Entry::Sink(sink) => {
                    let fed = sink.fed();
                    fed.works.iter().find_map(|work| self.work_failure(work))
                }
                _ => None,
            };
            match failure {
                Some(error) if is_closed_pipe(&error) => closed = closed.or(Some(error)),
                Some(error) => return Err(error),
                None => {}
            }
        }
        closed.map_or(Ok(()), Err)
    }

    /// The error that a query or a job has failed with, if it has.
    pub(super) fn work_failure(&self, work: &Work) -> Option<Error> {
        // A part's own error says more than that of what it feeds.
        let mut queries = work.queries.iter().rev();
        (queries.find_map(|(_, query)| self.failure(*query)))
            .or_else(|| work.failure.get().cloned())
    }

    /// Lets a job wait for its inputs, and for the jobs before it.
    pub(super) fn add_job(&self, job: Box<dyn Job>, inputs: Vec<Entry>, work: &mut Work) {
        let mut jobs = whole(&self.jobs);
        let id = JobId(
            self.jobs_made
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        );
        jobs.push(PendingJob {
            id,
            inputs,
            failure: work.failure.clone(),
            job,
        });
        work.jobs.push(id);
    }

    /// Gives up the work that waits for bounded inputs.
    pub(super) fn abandon_jobs(&self) {
        let jobs = std::mem::take(&mut *whole(&self.jobs));
        for mut pending in jobs {
            pending.job.stop(self);
        }
    }

    /// Runs what waits for bounded inputs, in order; whether there was anything.
    pub(super) fn run_jobs(&self) -> Result<bool> {
        let mut ran = false;
        while self.run_job(|_| true)? {
            ran = true;
        }
        Ok(ran)
    }

    /// Beside live sources, which do not end: runs what waits only for inputs that have.
    pub(super) fn run_ready_jobs(&self) -> Result<()> {
        if whole(&self.jobs).is_empty() {
            return Ok(());
        }
        if self.is_being_read(&self.all_upstream()) {
            return Ok(());
        }
        let has_ended = |job: &PendingJob| {
            let mut streams = Vec::new();
            for entry in &job.inputs {
                self.upstream(entry, &mut streams);
            }
            let driver = self.driver();
            !(streams.iter()).any(|stream| driver.engine.is_live(*stream).unwrap_or(false))
        };
        while self.run_job(has_ended)? {}
        Ok(())
    }

    /// Runs the first job that is ready; whether there was one.
    fn run_job(&self, is_ready: impl Fn(&PendingJob) -> bool) -> Result<bool> {
        // Who waits for a job's rows waits here while another thread runs it.
        let _turn = whole(&self.job_turn);
        let next = {
            let mut jobs = whole(&self.jobs);
            let place = jobs.iter().position(is_ready);
            place.map(|place| jobs.remove(place))
        };
        let Some(PendingJob { failure, job, .. }) = next else {
            return Ok(false);
        };
        match job.run(self) {
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                self.note_cut(failure);
                Err(error)
            }
            Err(error) => {
                // It belongs to who asks for these rows; the first error stays.
                let _ = failure.set(error);
                Ok(true)
            }
            Ok(()) => Ok(true),
        }
    }

    /// Reads sources and pushed rows for a while, and what has waited for their ends.
    pub(super) fn go_on(&self, wait: Duration) -> Result<Stepped> {
        match self.step(wait)? {
            Stepped::NoSource if self.run_jobs()? => Ok(Stepped::Progress),
            stepped => Ok(stepped),
        }
    }
}
