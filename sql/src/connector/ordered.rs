//! Work done on several threads whose results come out in the order it was given in.
//!
//! ```text
//!            ┌─ slots, in order ──────────────┐
//!  feed ───▶ │ slot │ slot │ slot │ slot      │ ───▶ next
//!  a job     └──▲──────▲──────▲───────────────┘      items of the first slot
//!  and its      │      │      └─ worker
//!  slot         │      └──────── worker
//! ```
//!
//! Everything is bounded: a job is taken only while few slots wait and few rows are
//! ready, and a worker waits while its slot holds [`SLOT_ITEMS_MAX`] items. The first
//! slot is always being worked on or done, so that nobody waits for ever.
//!
//! Dropping [`Ordered`] ends all threads at their next item.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::threads;
use windrow_core::stream::Backlog;
use windrow_core::{Error, Result};

/// A worker that is so many items ahead waits.
const SLOT_ITEMS_MAX: usize = 16;

/// Takes an item; breaks when nobody wants more.
pub(super) type Emit<'a, T> = dyn FnMut(Result<T>) -> ControlFlow<()> + 'a;

/// A piece of work.
pub(super) type Job<T> = Box<dyn FnOnce(&mut Emit<'_, T>) + Send>;

struct Slot<T> {
    items: VecDeque<Result<T>>,
    done: bool,
    /// When its job or item was given in.
    since: Instant,
}

struct State<T> {
    jobs: VecDeque<(u64, Job<T>)>,
    slots: VecDeque<Slot<T>>,
    /// The number of the first slot.
    first: u64,
    rows_ready: usize,
    fed: bool,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// A slot has become free, or rows have been taken.
    room: Condvar,
    /// A job has come.
    work: Condvar,
    /// An item has come.
    ready: Condvar,
    rows_of: fn(&T) -> usize,
    slots_max: usize,
    rows_max: usize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic is caught outside the lock, which is held for a few moves only.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end at which the results come out.
pub(super) struct Ordered<T> {
    shared: Arc<Shared<T>>,
    waited: Duration,
}

impl<T> fmt::Debug for Ordered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered").finish_non_exhaustive()
    }
}

/// The end at which the work is given in.
pub(super) struct Feed<T> {
    shared: Arc<Shared<T>>,
}

/// What [`Ordered::next`] gives.
#[derive(Debug)]
pub(super) enum Next<T> {
    Item(T),
    Pending,
    End,
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts `workers` threads, and one that runs `feed`.
    ///
    /// - `rows_of`: what an item weighs.
    /// - `rows_max`: no more jobs are taken while items of so many rows are ready.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(super) fn start(
        name: &str,
        workers: usize,
        rows_max: usize,
        rows_of: fn(&T) -> usize,
        feed: impl FnOnce(&Feed<T>) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                slots: VecDeque::new(),
                first: 0,
                rows_ready: 0,
                fed: false,
                closed: false,
            }),
            room: Condvar::new(),
            work: Condvar::new(),
            ready: Condvar::new(),
            rows_of,
            slots_max: workers * 2 + 1,
            rows_max,
        });
        let ordered = Self {
            shared: shared.clone(),
            waited: Duration::ZERO,
        };
        let spawn = |name: String, body: Box<dyn FnOnce() + Send>| {
            threads::start(&name, None, body).map_err(|error| Error::io("starting a thread", error))
        };
        for _ in 0..workers {
            let shared = shared.clone();
            spawn(format!("{name}-parse"), Box::new(move || work(&shared)))?;
        }
        let feeder = Feed { shared };
        spawn(
            format!("{name}-read"),
            Box::new(move || {
                let fed = catch_unwind(AssertUnwindSafe(|| feed(&feeder)));
                let fed = fed.unwrap_or_else(|panic| Err(panicked("reader", &*panic)));
                if let Err(error) = fed {
                    let _closed = feeder.item(Err(error));
                }
                feeder.shared.lock().fed = true;
                feeder.shared.work.notify_all();
                feeder.shared.ready.notify_all();
            }),
        )?;
        Ok(ordered)
    }

    /// How long the last item took since its job was given in.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// The rows that are ready, and how many there may be while jobs are taken.
    pub(super) fn backlog(&self) -> Backlog {
        let rows = self.shared.lock().rows_ready as u64;
        let rows_max = self.shared.rows_max as u64;
        Backlog { rows, rows_max }
    }

    /// The next item, waiting for it at most `wait`.
    ///
    /// # Errors
    /// What a job or the feed has failed with.
    pub(super) fn next(&mut self, wait: Duration) -> Result<Next<T>> {
        let deadline = Instant::now().checked_add(wait);
        let mut state = self.shared.lock();
        loop {
            while let Some(slot) = state.slots.front_mut() {
                if let Some(item) = slot.items.pop_front() {
                    self.waited = slot.since.elapsed();
                    if let Ok(item) = &item {
                        state.rows_ready -= (self.shared.rows_of)(item);
                    }
                    self.shared.room.notify_all();
                    return item.map(Next::Item);
                }
                if !slot.done {
                    break;
                }
                state.slots.pop_front();
                state.first += 1;
                self.shared.room.notify_all();
            }
            if state.fed && state.slots.is_empty() {
                return Ok(Next::End);
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => wait,
            };
            if left.is_zero() {
                return Ok(Next::Pending);
            }
            state = (self.shared.ready.wait_timeout(state, left))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.shared.room.notify_all();
        self.shared.work.notify_all();
    }
}

impl<T> Feed<T> {
    /// Gives a job in, waiting for room. Breaks when nobody wants the results.
    pub(super) fn job(&self, job: Job<T>) -> ControlFlow<()> {
        self.push(VecDeque::new(), Some(job))
    }

    /// Gives an item in that needs no work.
    pub(super) fn item(&self, item: Result<T>) -> ControlFlow<()> {
        self.push(VecDeque::from([item]), None)
    }

    fn push(&self, items: VecDeque<Result<T>>, job: Option<Job<T>>) -> ControlFlow<()> {
        let shared = &*self.shared;
        let mut state = shared.lock();
        while !state.closed
            && (state.slots.len() >= shared.slots_max || state.rows_ready >= shared.rows_max)
        {
            state = shared
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return ControlFlow::Break(());
        }
        let number = state.first + state.slots.len() as u64;
        state.rows_ready += items.iter().flatten().map(shared.rows_of).sum::<usize>();
        state.slots.push_back(Slot {
            items,
            done: job.is_none(),
            since: Instant::now(),
        });
        match job {
            Some(job) => {
                state.jobs.push_back((number, job));
                shared.work.notify_one();
            }
            None => shared.ready.notify_all(),
        }
        ControlFlow::Continue(())
    }
}

/// Does jobs in the order in which they came, until there are no more.
fn work<T>(shared: &Shared<T>) {
    loop {
        let mut state = shared.lock();
        let (number, job) = loop {
            if state.closed {
                return;
            }
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.fed {
                return;
            }
            state = shared
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let mut emit = |item: Result<T>| {
            let mut state = shared.lock();
            loop {
                if state.closed {
                    return ControlFlow::Break(());
                }
                let slot = (number - state.first) as usize;
                if state.slots[slot].items.len() < SLOT_ITEMS_MAX {
                    state.rows_ready += item.as_ref().map_or(0, shared.rows_of);
                    state.slots[slot].items.push_back(item);
                    break;
                }
                state = shared
                    .room
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            shared.ready.notify_all();
            ControlFlow::Continue(())
        };
        let done = catch_unwind(AssertUnwindSafe(|| job(&mut emit)));
        if let Err(panic) = done {
            let _closed = emit(Err(panicked("parser", &*panic)));
        }
        let mut state = shared.lock();
        let slot = (number - state.first) as usize;
        state.slots[slot].done = true;
        drop(state);
        shared.ready.notify_all();
    }
}

fn panicked(operator: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let message = (panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Error::Panic {
        operator: operator.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LONG: Duration = Duration::from_secs(60);

    fn all(ordered: &mut Ordered<usize>) -> Vec<usize> {
        let mut items = Vec::new();
        loop {
            match ordered.next(LONG).expect("no error") {
                Next::Item(item) => items.push(item),
                Next::Pending => panic!("nothing came"),
                Next::End => return items,
            }
        }
    }

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        for workers in [1, 2, 7] {
            let mut ordered = Ordered::start(
                "test",
                workers,
                100,
                |_| 1,
                |feed| {
                    for job in 0..50 {
                        let _open = feed.job(Box::new(move |emit| {
                            for item in 0..job % 7 {
                                let _open = emit(Ok(job * 10 + item));
                            }
                        }));
                        let _open = feed.item(Ok(job * 10 + 9));
                    }
                    Ok(())
                },
            )
            .expect("starts");
            let expected: Vec<usize> = (0..50)
                .flat_map(|job| (0..job % 7).chain([9]).map(move |item| job * 10 + item))
                .collect();
            assert_eq!(all(&mut ordered), expected);
        }
    }

    #[test]
    fn an_error_and_a_panic_come_out_in_their_place() {
        let mut ordered = Ordered::start(
            "test",
            2,
            100,
            |_| 1,
            |feed| {
                let _open = feed.job(Box::new(|emit| {
                    let _open = emit(Ok(1));
                }));
                let _open = feed.job(Box::new(|_| panic!("oh")));
                Err(Error::invalid("no more"))
            },
        )
        .expect("starts");
        assert!(matches!(ordered.next(LONG), Ok(Next::Item(1))));
        let error = ordered.next(LONG).expect_err("a panic");
        assert_eq!(error.to_string(), "internal error in parser: oh");
        let error = ordered.next(LONG).expect_err("an error");
        assert_eq!(error.to_string(), "no more");
        assert!(matches!(ordered.next(LONG), Ok(Next::End)));
    }

    #[test]
    fn dropping_it_ends_its_threads() {
        let (alive, ended) = channel::<()>();
        let ordered = Ordered::start(
            "test",
            2,
            10,
            |_| 1,
            move |feed| {
                loop {
                    let alive = alive.clone();
                    let job: Job<usize> = Box::new(move |emit| {
                        while emit(Ok(0)).is_continue() {}
                        drop(alive);
                    });
                    if feed.job(job).is_break() {
                        return Ok(());
                    }
                }
            },
        )
        .expect("starts");
        drop(ordered);
        // Every sender is gone once the reader and the workers have ended.
        ended.recv().expect_err("closed");
    }

    #[test]
    fn waiting_ends() {
        let (release, hold) = channel::<()>();
        let mut ordered = Ordered::start(
            "test",
            1,
            10,
            |_: &usize| 1,
            move |_| {
                let _released = hold.recv();
                Ok(())
            },
        )
        .expect("starts");
        assert!(matches!(ordered.next(Duration::ZERO), Ok(Next::Pending)));
        drop(release);
        assert!(matches!(ordered.next(LONG), Ok(Next::End)));
    }
}
