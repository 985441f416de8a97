//! A bounded hand-off between threads.
//!
//! ```text
//!  producer ──push──▶ │ item │ item │ item │ ──pop──▶ consumer
//!            waits     ≤ rows_max, ≤ bytes_max           waits
//! ```
//!
//! What a producer reads faster than its consumer works waits in the producer's
//! source, not in memory: that is back-pressure. Items are bounded by what they hold,
//! rows and bytes, since their number says little. An item larger than the bound
//! passes when it is alone.
//!
//! Either side may close the queue. Items that are inside can still be taken out.
//!
//! This module does not know what an item is: its weight is told.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What an item holds, or how much a queue may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Rows. An item without rows counts as one, so that their number is bounded too.
    pub rows: usize,
    /// Bytes.
    pub bytes: usize,
}

/// What [`Queue::pop`] gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// The oldest item.
    Item(T),
    /// Nothing came within the time to wait.
    Empty,
    /// The queue is closed, and all that was inside has been taken out.
    Closed,
}

/// An item that was not taken, with the item.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// There was no room within the time to wait.
    Full(T),
    /// The queue is closed.
    Closed(T),
}

impl<T> Refused<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the queue is closed",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for Refused<T> {}

/// A first-in, first-out queue that any number of threads share.
///
/// ```
/// # use std::time::Duration;
/// # use windrow_core::batch::queue::{Popped, Queue, Weight};
/// let queue = Queue::new(Weight { rows: 100, bytes: 4096 });
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         for n in 0..1000 {
///             queue.push(n, Weight { rows: 10, bytes: 80 }).expect("open");
///         }
///         queue.close();
///     });
///     let mut sum = 0;
///     while let Popped::Item(n) = queue.pop(Duration::MAX) {
///         sum += n;
///     }
///     assert_eq!(sum, 499_500);
/// });
/// ```
#[derive(Debug)]
pub struct Queue<T> {
    max: Weight,
    state: Mutex<State<T>>,
    has_items: Condvar,
    has_room: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, Weight)>,
    held: Weight,
    closed: bool,
}

impl<T> Queue<T> {
    /// A queue that holds at most `max`, or one item.
    pub fn new(max: Weight) -> Self {
        Self {
            max,
            state: Mutex::new(State {
                items: VecDeque::new(),
                held: Weight::default(),
                closed: false,
            }),
            has_items: Condvar::new(),
            has_room: Condvar::new(),
        }
    }

    /// Puts an item in, waiting for room.
    ///
    /// # Errors
    /// If the queue is closed, before or while waiting.
    pub fn push(&self, item: T, weight: Weight) -> Result<(), Refused<T>> {
        self.push_timeout(item, weight, Duration::MAX)
    }

    /// Puts an item in if there is room now.
    ///
    /// # Errors
    /// If the queue is full or closed.
    pub fn try_push(&self, item: T, weight: Weight) -> Result<(), Refused<T>> {
        self.push_timeout(item, weight, Duration::ZERO)
    }

    /// Puts an item in, waiting for room at most `wait`.
    ///
    /// # Errors
    /// If the queue is still full, or closed, before or while waiting.
    pub fn push_timeout(&self, item: T, weight: Weight, wait: Duration) -> Result<(), Refused<T>> {
        self.push_below(item, weight, self.max, wait)
    }

    fn push_below(
        &self,
        item: T,
        weight: Weight,
        max: Weight,
        wait: Duration,
    ) -> Result<(), Refused<T>> {
        let weight = Weight {
            rows: weight.rows.max(1),
            bytes: weight.bytes,
        };
        let must_wait = |state: &mut State<T>| !state.closed && !state.has_room(weight, max);
        let mut state = self.lock();
        if must_wait(&mut state) && wait > Duration::ZERO {
            state = (self.has_room)
                .wait_timeout_while(state, wait, must_wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if state.closed {
            return Err(Refused::Closed(item));
        }
        if !state.has_room(weight, max) {
            return Err(Refused::Full(item));
        }
        state.held.rows += weight.rows;
        state.held.bytes += weight.bytes;
        state.items.push_back((item, weight));
        drop(state);
        self.has_items.notify_one();
        Ok(())
    }

    /// As [`Queue::push_timeout`], for what cannot be held back any more: it may take as much
    /// room again as there is. Who fills a queue so asks [`Queue::is_full`] before more is made.
    ///
    /// # Errors
    /// As [`Queue::push_timeout`].
    pub fn push_over(&self, item: T, weight: Weight, wait: Duration) -> Result<(), Refused<T>> {
        let max = Weight {
            rows: self.max.rows.saturating_mul(2),
            bytes: self.max.bytes.saturating_mul(2),
        };
        self.push_below(item, weight, max, wait)
    }

    /// Whether no further item would be let in, however small; false once it is closed.
    pub fn is_full(&self) -> bool {
        let state = self.lock();
        !state.closed && !state.has_room(Weight { rows: 1, bytes: 1 }, self.max)
    }

    /// Takes the oldest item out, waiting for one at most `wait`.
    pub fn pop(&self, wait: Duration) -> Popped<T> {
        let must_wait = |state: &mut State<T>| !state.closed && state.items.is_empty();
        let mut state = self.lock();
        if must_wait(&mut state) && wait > Duration::ZERO {
            state = (self.has_items)
                .wait_timeout_while(state, wait, must_wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        match state.items.pop_front() {
            Some((item, weight)) => {
                state.held.rows -= weight.rows;
                state.held.bytes -= weight.bytes;
                drop(state);
                // Items differ in weight: the producer that was waiting first may
                // need more room than there is, another one less.
                self.has_room.notify_all();
                Popped::Item(item)
            }
            None if state.closed => Popped::Closed,
            None => Popped::Empty,
        }
    }

    /// Refuses all further items and wakes every thread that waits. To close a closed
    /// queue changes nothing.
    pub fn close(&self) {
        self.lock().closed = true;
        self.has_items.notify_all();
        self.has_room.notify_all();
    }

    /// Whether [`Queue::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many items are inside.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much is inside.
    pub fn held(&self) -> Weight {
        self.lock().held
    }

    /// How much may be inside.
    pub fn max(&self) -> Weight {
        self.max
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code of others runs under the lock, so that a panic cannot leave the
        // state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn has_room(&self, weight: Weight, max: Weight) -> bool {
        let fits = |held: usize, more: usize, max: usize| {
            held.checked_add(more).is_some_and(|sum| sum <= max)
        };
        self.items.is_empty()
            || (fits(self.held.rows, weight.rows, max.rows)
                && fits(self.held.bytes, weight.bytes, max.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn weight(rows: usize, bytes: usize) -> Weight {
        Weight { rows, bytes }
    }

    #[test]
    fn what_cannot_be_held_back_takes_as_much_room_again() {
        let queue = Queue::new(Weight { rows: 4, bytes: 40 });
        let two = Weight { rows: 2, bytes: 20 };
        assert!(!queue.is_full());
        (0..2).for_each(|n| queue.try_push(n, two).expect("it has room"));
        assert!(queue.is_full());
        assert_eq!(queue.try_push(2, two), Err(Refused::Full(2)));
        (2..4).for_each(|n| {
            queue
                .push_over(n, two, Duration::ZERO)
                .expect("twice as much")
        });
        assert_eq!(
            queue.push_over(4, two, Duration::ZERO),
            Err(Refused::Full(4))
        );
        (0..3).for_each(|n| assert_eq!(queue.pop(Duration::ZERO), Popped::Item(n)));
        assert!(!queue.is_full());
        queue
            .push_over(4, two, Duration::ZERO)
            .expect("it has room");
        queue.close();
        // Who waits for room is to come and be told.
        assert!(!queue.is_full());
    }

    #[test]
    fn rows_and_bytes_are_bounds() {
        let queue = Queue::new(weight(10, 100));
        queue.try_push("a", weight(6, 10)).expect("room");
        assert_eq!(queue.try_push("b", weight(5, 10)), Err(Refused::Full("b")));
        assert_eq!(queue.try_push("c", weight(1, 91)), Err(Refused::Full("c")));
        queue.try_push("d", weight(4, 90)).expect("just fits");
        assert_eq!((queue.len(), queue.held()), (2, weight(10, 100)));
        assert_eq!(queue.pop(LONG), Popped::Item("a"));
        assert_eq!(queue.held(), weight(4, 90));
        assert_eq!(queue.pop(LONG), Popped::Item("d"));
        assert_eq!(queue.pop(Duration::ZERO), Popped::Empty);
        assert_eq!(queue.held(), weight(0, 0));
    }

    #[test]
    fn a_large_item_passes_alone() {
        let queue = Queue::new(weight(10, 100));
        queue
            .try_push(1, weight(usize::MAX, usize::MAX))
            .expect("alone");
        assert_eq!(queue.try_push(2, weight(1, 1)), Err(Refused::Full(2)));
        assert_eq!(queue.pop(LONG), Popped::Item(1));
        queue.try_push(2, weight(1, 1)).expect("room");
        let large = queue.push_timeout(3, weight(11, 1), Duration::from_nanos(1));
        assert_eq!(large, Err(Refused::Full(3)));
    }

    #[test]
    fn items_without_rows_are_bounded_too() {
        let queue = Queue::new(weight(3, 100));
        let pushed = (0..10).filter(|&n| queue.try_push(n, weight(0, 0)).is_ok());
        assert_eq!(pushed.count(), 3);
    }

    #[test]
    fn a_closed_queue_gives_what_it_holds_and_takes_no_more() {
        let queue = Queue::new(weight(10, 100));
        queue.push(1, weight(1, 1)).expect("open");
        queue.close();
        queue.close();
        assert!(queue.is_closed());
        assert_eq!(queue.push(2, weight(1, 1)), Err(Refused::Closed(2)));
        assert_eq!(queue.pop(Duration::ZERO), Popped::Item(1));
        assert_eq!(queue.pop(LONG), Popped::Closed);
        assert!(queue.is_empty());
    }

    #[test]
    fn closing_wakes_both_sides() {
        let full = Queue::new(weight(1, 1));
        full.push(0, weight(1, 1)).expect("open");
        let empty = Queue::<u32>::new(weight(1, 1));
        std::thread::scope(|scope| {
            let producer = scope.spawn(|| full.push(1, weight(1, 1)));
            let consumer = scope.spawn(|| empty.pop(LONG));
            full.close();
            empty.close();
            let refused = producer.join().expect("no panic").expect_err("it is full");
            assert_eq!(refused.into_inner(), 1);
            assert_eq!(consumer.join().expect("no panic"), Popped::Closed);
        });
    }

    #[test]
    fn many_producers_lose_nothing_and_keep_their_order() {
        let queue = Queue::new(weight(20, 1_000));
        let producers = 4_usize;
        let items = 500_usize;
        std::thread::scope(|scope| {
            for producer in 0..producers {
                let queue = &queue;
                scope.spawn(move || {
                    for item in 0..items {
                        let weight = weight((item * 7 + producer) % 25, item % 300);
                        queue.push((producer, item), weight).expect("open");
                    }
                });
            }
            let mut next = vec![0; producers];
            for _ in 0..producers * items {
                // The heaviest item is 24 rows: alone it is the most that is held.
                let held = queue.held();
                assert!(held.rows <= 24 && held.bytes <= 1_000, "{held:?}");
                match queue.pop(LONG) {
                    Popped::Item((producer, item)) => {
                        assert_eq!(next[producer], item);
                        next[producer] += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(next, vec![items; producers]);
        });
        assert_eq!((queue.len(), queue.held()), (0, weight(0, 0)));
    }
}
