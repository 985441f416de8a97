//! The thread that writes: a batch, a transaction.
//!
//! ```text
//!  BEGIN; COPY ──▶ COMMIT ──▶ answer: the batch is in the table
//!     │              │
//!     │ broke: none  │ broke: its number is asked for on the next connection
//!     ▼              ▼
//!   again          committed: done · aborted: again · under way: asked again
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use windrow_core::batch::queue::{Popped, Queue, Weight};

use super::route::Route;
use super::table::Table;
use super::wire::{Connection, Failure};
use crate::connector::file_sink::Existing;

/// What lies between two attempts: twice as much after each, up to the second.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Once the work is to stop, a database that does not answer is waited for so long.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Once nobody waits for the end of the rows, a database has so long for the next batch.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// So often one that waits sees whether it is still to wait.
pub(super) const WAKE: Duration = Duration::from_millis(50);

/// Some rows.
#[derive(Debug)]
pub(super) struct Batch {
    /// As COPY takes them.
    pub(super) lines: Vec<u8>,
    pub(super) rows: usize,
}

/// What the sink and its thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue<Batch>,
    /// Rows that were given to the thread and are not in the table.
    pub(super) waiting: AtomicU64,
    /// Why the database was given up.
    failed: Mutex<Option<Failure>>,
    /// Nobody waits for anything any more.
    pub(super) abandoned: AtomicBool,
    /// All rows have been given, and the old ones are to go.
    pub(super) complete: AtomicBool,
    /// Set when the work is to stop.
    pub(super) stop: OnceLock<Arc<AtomicBool>>,
    /// When that was seen first.
    stopped_at: OnceLock<Instant>,
    /// Since when no batch has been written, once nobody waits for the end of the rows.
    leaving: Mutex<Option<Instant>>,
}

impl Shared {
    /// Nothing yet; `queue` may wait.
    pub(super) fn new(queue: Weight) -> Self {
        Self {
            queue: Queue::new(queue),
            waiting: AtomicU64::new(0),
            failed: Mutex::default(),
            abandoned: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            stop: OnceLock::new(),
            stopped_at: OnceLock::new(),
            leaving: Mutex::default(),
        }
    }

    /// A database that does not answer is not waited for from now on.
    pub(super) fn leave(&self) {
        *self.leaving() = Some(Instant::now());
    }

    /// A batch has been written.
    fn has_moved(&self) {
        if let Some(since) = &mut *self.leaving() {
            *since = Instant::now();
        }
    }

    fn leaving(&self) -> MutexGuard<'_, Option<Instant>> {
        // An instant is whole: a panic elsewhere leaves it so.
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        let failed = self.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_stopping(&self) -> bool {
        self.abandoned.load(Relaxed) || self.stop.get().is_some_and(|stop| stop.load(Relaxed))
    }

    /// Whether nothing is waited for any longer.
    fn is_over(&self) -> bool {
        self.abandoned.load(Relaxed)
            || (self.is_stopping()
                && self.stopped_at.get_or_init(Instant::now).elapsed() > STOP_TIMEOUT)
            || (self.leaving()).is_some_and(|since| since.elapsed() > LEAVE_TIMEOUT)
    }
}

/// How long things may take; `None`: any time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// One answer.
    pub(super) request_timeout: Option<Duration>,
    /// All attempts to write a batch, about.
    pub(super) retry_timeout: Option<Duration>,
}

/// Writes batches.
pub(super) struct Sender {
    route: Route,
    table: Table,
    existing: Existing,
    patience: Patience,
    shared: Arc<Shared>,
    connection: Option<Connection>,
    /// Whether the table is known to be there and to fit.
    is_prepared: bool,
    /// Whether the old rows are still to be removed.
    must_clear: bool,
    /// The number of a transaction that may have been committed.
    unanswered: Option<String>,
}

impl Sender {
    /// A sender that has not called yet.
    pub(super) fn new(
        route: Route,
        table: Table,
        existing: Existing,
        patience: Patience,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            route,
            table,
            existing,
            patience,
            shared,
            connection: None,
            is_prepared: false,
            must_clear: existing == Existing::Replace,
            unanswered: None,
        }
    }

    /// Connects once, and sees that the table is there and fits.
    ///
    /// # Errors
    /// If the database is away, or something does not fit.
    pub(super) fn prepare(&mut self) -> Result<(), Failure> {
        let mut connection = self.connected()?;
        let shared = Arc::clone(&self.shared);
        let is_over = || shared.is_over();
        if !self.is_prepared {
            let mut says_yes = |question: String| {
                let answer = connection.ask(&question, &is_over)?;
                Ok::<_, Failure>(answer.as_deref() == Some("t"))
            };
            if !says_yes(self.table.exists())? {
                connection.ask(&self.table.create(), &is_over)?;
            } else if self.existing == Existing::Refuse && says_yes(self.table.holds_rows())? {
                return Err(Failure::Refused("it holds rows already".to_owned()));
            }
            connection.ask(&self.table.probe(), &is_over)?;
            self.is_prepared = true;
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// The connection, or a new one. It is put back by whoever is done with it.
    fn connected(&mut self) -> Result<Connection, Failure> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.route, self.patience.request_timeout, &|| {
                self.shared.is_over()
            }),
        }
    }

    /// Writes what comes until the queue is closed.
    pub(super) fn run(mut self) {
        let mut result = Ok(());
        while result.is_ok()
            && let Popped::Item(batch) = self.shared.queue.pop(Duration::MAX)
        {
            result = self.patiently(|sender| sender.write(&batch));
            if result.is_ok() {
                let rows = batch.rows as u64;
                self.shared.waiting.fetch_sub(rows, Relaxed);
                self.shared.has_moved();
            }
        }
        if result.is_ok() && self.shared.complete.load(Relaxed) {
            // Of no rows too the table is made, and cleared.
            result = self.patiently(Self::settle);
        }
        if let Err(failure) = result {
            let mut failed = (self.shared.failed.lock()).unwrap_or_else(PoisonError::into_inner);
            *failed = Some(failure);
        }
        // Who waits for room waits in vain.
        self.shared.queue.close();
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }

    /// Does it until it is done.
    fn patiently(
        &mut self,
        mut act: impl FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let (mut wait, longest) = RETRY_WAITS;
        loop {
            let why = match act(self) {
                Err(Failure::Lost(why)) => why,
                done => return done,
            };
            let waited = began.elapsed();
            let is_late = |longest: Duration| waited.saturating_add(wait) > longest;
            if self.patience.retry_timeout.is_some_and(is_late) {
                let seconds = waited.as_secs_f64();
                let why = format!("tried for {seconds:.1} s in vain, at last: {why}");
                return Err(Failure::Lost(why));
            }
            let slept = Instant::now();
            while slept.elapsed() < wait {
                // A connection that broke long ago is noticed only now: one more may do.
                if self.shared.is_over() {
                    return Err(Failure::Lost(format!("{why}, and then it was stopped")));
                }
                thread::sleep(WAKE.min(wait));
            }
            wait = (wait * 2).min(longest);
        }
    }

    /// Writes a batch, once.
    fn write(&mut self, batch: &Batch) -> Result<(), Failure> {
        self.prepare()?;
        let mut connection = self.connected()?;
        let shared = Arc::clone(&self.shared);
        let is_over = || shared.is_over();
        if let Some(number) = &self.unanswered {
            let question = format!("SELECT txid_status({number})");
            let answer = connection.ask(&question, &is_over)?;
            match answer.as_deref() {
                Some("committed") => {
                    self.settled(connection);
                    return Ok(());
                }
                Some("aborted") => self.unanswered = None,
                Some(_) => {
                    let why = "the transaction of a connection that broke is still under way";
                    return Err(Failure::Lost(why.to_owned()));
                }
                None => {
                    let why = "it no longer knows whether the last rows are in the table";
                    return Err(Failure::Refused(why.to_owned()));
                }
            }
        }
        let mut statements = "BEGIN; ".to_owned();
        if self.must_clear {
            statements += &format!("{}; ", self.table.clear());
        }
        statements += &format!("SELECT txid_current(); {}", self.table.copy());
        let number = connection.copy(&statements, &batch.lines, &is_over)?;
        self.unanswered = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        match connection.ask("COMMIT", &is_over) {
            Ok(_) => self.settled(connection),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// A transaction is in the table.
    fn settled(&mut self, connection: Connection) {
        self.unanswered = None;
        self.must_clear = false;
        self.connection = Some(connection);
    }

    /// What is still to be done when all rows are in the table.
    fn settle(&mut self) -> Result<(), Failure> {
        if self.is_prepared && !self.must_clear {
            return Ok(());
        }
        self.prepare()?;
        let mut connection = self.connected()?;
        if self.must_clear {
            let shared = Arc::clone(&self.shared);
            connection.ask(&self.table.clear(), &|| shared.is_over())?;
        }
        self.settled(connection);
        Ok(())
    }
}
