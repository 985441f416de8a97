//! Sessions: runs of a key's rows with no gap longer than a given one.
//!
//! A key's sessions lie apart by more than the gap, so a row touches at most two of
//! them: the last that starts before it and the first that starts after it. If it
//! touches both, it makes one of them.
//!
//! ```text
//!      ├──────┤   gap    ├───┤            a row at ▲ touches both:
//!      start  last    ▲  start last        one session from the first start on
//! ```
//!
//! A session is closed when the watermark is *past* its end, `last + gap`: a row on
//! time may lie at the watermark, and one that lies at the end still merges. So a
//! session never depends on the order in which rows on time arrive. Closed sessions
//! are found through a heap of ends in which a session that has grown is put back, not
//! by going through all keys. Those with the same bounds come in the order in which
//! their first rows arrived.
//!
//! This module knows no key values and no rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The open sessions of all partitions, each with something that it carries.
#[derive(Debug)]
pub(crate) struct Sessions<T> {
    gap: i64,
    slab: Vec<Option<Session<T>>>,
    free: Vec<u32>,
    partitions: Vec<Partition>,
    ends: BinaryHeap<Reverse<(Order, u32)>>,
    /// How many sessions were opened: the next one's place in the order of arrival.
    opened: u64,
}

/// What sessions are closed in the order of: end, start, arrival of the first row.
type Order = (i64, i64, u64);

/// A run of rows.
#[derive(Debug)]
pub(crate) struct Session<T> {
    pub(crate) partition: u32,
    /// The time of its first row.
    pub(crate) start: i64,
    /// The time of its last row.
    pub(crate) last: i64,
    /// The place of its first row in the order of arrival.
    pub(crate) arrival: u64,
    pub(crate) carried: T,
    /// Its order as it stands in the heap.
    queued: Order,
}

/// The sessions of a partition. Most have one, and most rows go to the newest.
#[derive(Debug, Default)]
struct Partition {
    newest: Option<u32>,
    older: BTreeMap<i64, u32>,
}

/// Which open sessions a row touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touched {
    Nothing,
    One(u32),
    /// The earlier one and the later one.
    Two(u32, u32),
}

impl<T> Sessions<T> {
    pub(crate) fn new(gap: i64) -> Self {
        Self {
            gap,
            slab: Vec::new(),
            free: Vec::new(),
            partitions: Vec::new(),
            ends: BinaryHeap::new(),
            opened: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len() - self.free.len()
    }

    /// How many sessions were opened: the next one's place in the order of arrival.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// The end of a session whose last row is at `last`.
    pub(crate) fn end(&self, last: i64) -> i64 {
        last.saturating_add(self.gap)
    }

    /// The last event time whose session's end can be told in 64 bits.
    pub(crate) fn latest(&self) -> i64 {
        i64::MAX - self.gap
    }

    pub(crate) fn get(&self, session: u32) -> &Session<T> {
        let session = self.slab[session as usize].as_ref();
        session.expect("the session is open")
    }

    pub(crate) fn get_mut(&mut self, session: u32) -> &mut Session<T> {
        let session = self.slab[session as usize].as_mut();
        session.expect("the session is open")
    }

    /// All open sessions, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session<T>> {
        self.slab.iter().flatten()
    }

    /// The open sessions that a row touches.
    pub(crate) fn touched(&self, partition: u32, time: i64) -> Touched {
        let Some(held) = self.partitions.get(partition as usize) else {
            return Touched::Nothing;
        };
        let Some(newest) = held.newest else {
            return Touched::Nothing;
        };
        let (before, after) = if self.get(newest).start <= time {
            (Some(newest), None)
        } else {
            let mut later =
                (held.older).range((std::ops::Bound::Excluded(time), std::ops::Bound::Unbounded));
            let after = later.next().map_or(newest, |(_, &session)| session);
            let before = held.older.range(..=time).next_back();
            (before.map(|(_, &session)| session), Some(after))
        };
        let before =
            before.filter(|&session| time.saturating_sub(self.get(session).last) <= self.gap);
        let after =
            after.filter(|&session| self.get(session).start.saturating_sub(time) <= self.gap);
        match (before, after) {
            (None, None) => Touched::Nothing,
            (Some(one), None) | (None, Some(one)) => Touched::One(one),
            (Some(earlier), Some(later)) => Touched::Two(earlier, later),
        }
    }

    /// Opens a session of one row that touches no other.
    pub(crate) fn open(&mut self, partition: u32, time: i64, carried: T) -> u32 {
        self.insert(partition, (time, time), self.opened, carried)
    }

    /// Puts a session in that touches no other.
    pub(crate) fn insert(
        &mut self,
        partition: u32,
        (start, last): (i64, i64),
        arrival: u64,
        carried: T,
    ) -> u32 {
        self.opened = self.opened.max(arrival.saturating_add(1));
        let queued = (self.end(last), start, arrival);
        let session = Session {
            partition,
            start,
            last,
            arrival,
            carried,
            queued,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.slab[id as usize] = Some(session);
                id
            }
            None => {
                self.slab.push(Some(session));
                u32::try_from(self.slab.len() - 1).expect("2^32 sessions do not fit into memory")
            }
        };
        self.queue(queued, id);
        if self.partitions.len() <= partition as usize {
            (self.partitions).resize_with(partition as usize + 1, Partition::default);
        }
        let newest = self.partitions[partition as usize].newest;
        let newest_start = newest.map(|newest| self.get(newest).start);
        let held = &mut self.partitions[partition as usize];
        match (newest, newest_start) {
            (Some(newest), Some(newest_start)) if start > newest_start => {
                held.older.insert(newest_start, newest);
                held.newest = Some(id);
            }
            (Some(_), _) => {
                held.older.insert(start, id);
            }
            (None, _) => held.newest = Some(id),
        }
        id
    }

    /// Adds a row to the one session that it touches.
    pub(crate) fn extend(&mut self, id: u32, time: i64) {
        let session = self.get_mut(id);
        session.last = session.last.max(time);
        if time >= session.start {
            return;
        }
        let (before, partition, last) = (session.start, session.partition, session.last);
        let end = self.end(last);
        let session = self.get_mut(id);
        let queued = (end, time, session.arrival);
        session.start = time;
        // An end that has risen can wait until it is looked at. A start that has fallen
        // cannot: of two sessions with one end, the earlier start comes first.
        session.queued = queued;
        self.queue(queued, id);
        let held = &mut self.partitions[partition as usize];
        if held.newest != Some(id) {
            held.older.remove(&before);
            held.older.insert(time, id);
        }
    }

    /// Puts a session into the heap. Entries that no longer hold are let go once they are
    /// more than the sessions.
    fn queue(&mut self, order: Order, id: u32) {
        self.ends.push(Reverse((order, id)));
        if self.ends.len() > 2 * self.len() + 64 {
            let gap = self.gap;
            self.ends.clear();
            for (id, session) in self.slab.iter_mut().enumerate() {
                if let Some(session) = session {
                    session.queued = (
                        session.last.saturating_add(gap),
                        session.start,
                        session.arrival,
                    );
                    self.ends.push(Reverse((session.queued, id as u32)));
                }
            }
        }
    }

    /// Makes two sessions that one row touches into the earlier one, and gives back
    /// what the later one carried.
    pub(crate) fn merge(&mut self, earlier: u32, later: u32) -> T {
        let later = self.remove(later);
        let into = self.get_mut(earlier);
        into.last = later.last;
        // Its end has risen, so it is put in order again before its turn comes.
        into.arrival = into.arrival.min(later.arrival);
        later.carried
    }

    /// Takes a session out.
    pub(crate) fn remove(&mut self, id: u32) -> Session<T> {
        let session = (self.slab[id as usize].take()).expect("the session is open");
        self.free.push(id);
        let held = &mut self.partitions[session.partition as usize];
        if held.newest == Some(id) {
            held.newest = held.older.pop_last().map(|(_, session)| session);
        } else {
            held.older.remove(&session.start);
        }
        session
    }

    /// The session with the least end, if the watermark is past it; all are if it is
    /// `None`.
    pub(crate) fn first_closed(&mut self, watermark: Option<i64>) -> Option<u32> {
        loop {
            let &Reverse((order, id)) = self.ends.peek()?;
            if watermark.is_some_and(|watermark| order.0 >= watermark) {
                return None;
            }
            let gap = self.gap;
            match &mut self.slab[id as usize] {
                Some(session) if session.queued == order => {
                    let end = session.last.saturating_add(gap);
                    let now = (end, session.start, session.arrival);
                    if now == order {
                        return Some(id);
                    }
                    session.queued = now;
                    let mut top = self.ends.peek_mut().expect("it was peeked at");
                    *top = Reverse((now, id));
                }
                // It was put in again, or it was merged into another and its number may
                // serve a new one.
                _ => {
                    self.ends.pop();
                }
            }
        }
    }

    /// How many bytes it holds, without what the sessions carry beyond their size.
    pub(crate) fn bytes(&self) -> usize {
        self.slab.capacity() * size_of::<Option<Session<T>>>()
            + self.partitions.capacity() * size_of::<Partition>()
            + self.ends.capacity() * size_of::<Reverse<(Order, u32)>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_between_two_sessions_makes_them_one() {
        let mut sessions = Sessions::new(10);
        let first = sessions.open(0, 0, 'a');
        assert_eq!(sessions.touched(0, 11), Touched::Nothing);
        let third = sessions.open(0, 40, 'c');
        let second = sessions.open(0, 20, 'b');
        assert_eq!(sessions.touched(0, 10), Touched::Two(first, second));
        assert_eq!(sessions.touched(0, 30), Touched::Two(second, third));
        assert_eq!(sessions.touched(0, 51), Touched::Nothing);
        assert_eq!(sessions.touched(1, 20), Touched::Nothing);
        assert_eq!(sessions.merge(second, third), 'c');
        assert_eq!(
            (sessions.get(second).start, sessions.get(second).last),
            (20, 40)
        );
        assert_eq!(
            sessions.first_closed(Some(10)),
            None,
            "a row at 10 may come"
        );
        assert_eq!(sessions.first_closed(Some(11)), Some(first));
        sessions.remove(first);
        assert_eq!(sessions.first_closed(Some(50)), None);
        assert_eq!(sessions.first_closed(None), Some(second));
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn sessions_with_the_same_bounds_come_in_the_order_of_their_first_rows() {
        let mut sessions = Sessions::new(10);
        // The number of the first, which is let go, is given to a later one.
        let gone = sessions.open(0, 0, 'x');
        sessions.open(1, 100, 'a');
        sessions.remove(gone);
        sessions.open(2, 100, 'b');
        let late = sessions.open(3, 105, 'c');
        sessions.open(4, 100, 'd');
        let merged = sessions.open(3, 120, 'e');
        sessions.open(5, 105, 'f');
        assert_eq!(sessions.touched(3, 112), Touched::Two(late, merged));
        sessions.merge(late, merged);
        sessions.extend(late, 100);
        let mut order = Vec::new();
        while let Some(first) = sessions.first_closed(None) {
            order.push(sessions.remove(first).carried);
        }
        assert_eq!(order, ['a', 'b', 'd', 'f', 'c']);
    }

    #[test]
    fn starts_that_fall_one_by_one_leave_no_heap_behind() {
        let mut sessions = Sessions::new(10);
        let session = sessions.open(0, 100_000, ());
        for time in (0..100_000).rev() {
            sessions.extend(session, time);
        }
        assert!(sessions.ends.len() <= 2 + 64, "{}", sessions.ends.len());
        assert_eq!(sessions.first_closed(None), Some(session));
    }
}
