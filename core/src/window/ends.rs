//! What ends when: open sessions in the order in which they close.
//!
//! Ends are put into buckets of time, and only the bucket that the watermark has reached is
//! kept in order, by a heap. An end that has risen waits in its bucket until that is
//! reached, and then goes to the one in which it lies now: so most sessions, which grow,
//! are looked at once or twice in all, and never compared with each other.
//!
//! ```text
//!        reached
//!   heap    │ later
//!   ────────┤─────────┬─────────┬─────────┐
//!   in order│ as they │ came    │         │
//! ```
//!
//! This module knows no session: an entry is a number and a ticket, and whoever asks says
//! what has become of it.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};

use crate::kernel::AHEAD_ROWS;

/// How many buckets there are in one gap, at least.
const BUCKETS_PER_GAP: i64 = 64;

/// What sessions are closed in the order of: end, start, arrival of the first row.
pub(super) type Order = (i64, i64, u64);

/// A session and which of its entries this is: only the one given last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) session: u32,
    pub(super) ticket: u32,
}

/// Entries by their end.
#[derive(Debug)]
pub(super) struct Ends {
    /// A bucket is `2^shift` ticks.
    shift: u32,
    /// The last bucket whose entries are in the heap.
    reached: i64,
    heap: BinaryHeap<Reverse<(Order, Entry)>>,
    /// By bucket, all after `reached`.
    later: BTreeMap<i64, Vec<Entry>>,
    /// How many entries are in `later`.
    waiting: usize,
}

impl Ends {
    /// For ends that are mostly a `gap` away from the watermark.
    pub(super) fn new(gap: i64) -> Self {
        Self {
            shift: (gap / BUCKETS_PER_GAP).max(1).ilog2(),
            reached: i64::MIN,
            heap: BinaryHeap::new(),
            later: BTreeMap::new(),
            waiting: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len() + self.waiting
    }

    /// Whether entries are in the order of their ends alone, and so need no new place where
    /// only a start has fallen.
    pub(super) fn waits(&self, end: i64) -> bool {
        end >> self.shift > self.reached
    }

    pub(super) fn push(&mut self, order: Order, entry: Entry) {
        let bucket = order.0 >> self.shift;
        if bucket <= self.reached {
            self.heap.push(Reverse((order, entry)));
        } else {
            self.later.entry(bucket).or_default().push(entry);
            self.waiting += 1;
        }
    }

    /// The first entry, if its end lies before the watermark; the first of all if there is
    /// no watermark. `order` says where an entry belongs now, if it still counts;
    /// `fetch` is told before of what will be asked.
    pub(super) fn first(
        &mut self,
        watermark: Option<i64>,
        order: impl Fn(Entry) -> Option<Order>,
        fetch: impl Fn(Entry),
    ) -> Option<Entry> {
        loop {
            loop {
                let Some(mut top) = self.heap.peek_mut() else {
                    break;
                };
                let Reverse((queued, entry)) = *top;
                if watermark.is_some_and(|watermark| queued.0 >= watermark) {
                    return None;
                }
                match order(entry) {
                    Some(now) if now == queued => return Some(entry),
                    Some(now) if now.0 >> self.shift <= self.reached => {
                        *top = Reverse((now, entry));
                    }
                    Some(now) => {
                        PeekMut::pop(top);
                        self.push(now, entry);
                    }
                    None => {
                        PeekMut::pop(top);
                    }
                }
            }
            let (&bucket, _) = self.later.first_key_value()?;
            if watermark.is_some_and(|watermark| bucket << self.shift >= watermark) {
                return None;
            }
            self.reached = bucket;
            let entries = self.later.remove(&bucket).unwrap_or_default();
            self.waiting -= entries.len();
            for (i, &entry) in entries.iter().enumerate() {
                if let Some(&soon) = entries.get(i + AHEAD_ROWS) {
                    fetch(soon);
                }
                if let Some(now) = order(entry) {
                    self.push(now, entry);
                }
            }
        }
    }

    /// Lets all entries go.
    pub(super) fn clear(&mut self) {
        self.heap.clear();
        self.later.clear();
        self.waiting = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        let later: usize = self.later.values().map(Vec::capacity).sum();
        self.heap.capacity() * size_of::<Reverse<(Order, Entry)>>()
            + later * size_of::<Entry>()
            + self.later.len() * size_of::<(i64, Vec<Entry>)>()
    }
}
