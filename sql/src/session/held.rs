//! What is given up when who holds it goes away.

use std::sync::Arc;

use super::catalog::{Entry, Ticket, Work};
use super::shared::{Shared, whole};
use crate::error::{Error, ErrorKind};

/// The work for one query, given up unless it is kept.
#[derive(Debug)]
pub(super) struct Held {
    shared: Arc<Shared>,
    pub(super) work: Work,
}

impl Held {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            work: Work::default(),
        }
    }

    /// Hands the work to a view or a sink, which live until they are dropped.
    pub(super) fn keep(mut self) -> Work {
        std::mem::take(&mut self.work)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.give_up(&self.work);
    }
}

/// Entries that a statement takes away: they go when its turn comes, or when the script
/// ends before that.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) shared: Arc<Shared>,
    /// Readers before what they read.
    pub(super) tickets: Vec<Ticket>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        for ticket in &self.tickets {
            let entry = self.shared.catalog().let_go(*ticket);
            match entry {
                Some(Entry::Stream(stream)) => self.shared.close_stream(&stream),
                Some(Entry::View(view)) => {
                    self.shared.give_up(&view.work);
                    if let Some(kept) = &view.kept {
                        kept.view.end();
                    }
                }
                Some(Entry::Sink(sink)) => {
                    for work in &sink.fed().works {
                        self.shared.give_up(work);
                    }
                }
                Some(Entry::Table(_)) | None => {}
            }
        }
    }
}

/// A name that something is being created under; another thread cannot take it.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    pub(super) shared: &'a Shared,
    pub(super) name: String,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.shared.catalog().reserved.remove(&self.name);
    }
}

impl Shared {
    /// Gives up the work for a query: it ends where it stands.
    fn give_up(&self, work: &Work) {
        if !work.jobs.is_empty() {
            // A job that is running must not take the end of its parts for theirs.
            let dropped = Error::new(ErrorKind::Plan, "it was dropped before it had its rows");
            let _ = work.failure.set(dropped);
            whole(&self.jobs).retain_mut(|pending| {
                let stays = !work.jobs.contains(&pending.id);
                if !stays {
                    pending.job.abort();
                }
                stays
            });
        }
        for (_, query) in &work.queries {
            self.detach(*query);
        }
        for table in &work.tables {
            self.forget_table(*table);
        }
        for (stream, reading) in &work.readings {
            self.leave(stream, *reading);
        }
    }
}
