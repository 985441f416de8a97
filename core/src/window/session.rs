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
//! are found by their ends ([`Ends`]), not by going through all keys. Those with the same
//! bounds come in the order in which their first rows arrived.
//!
//! This module knows no key values and no rows.

use std::collections::BTreeMap;
use std::ops::Bound;

use hashbrown::HashMap;

use super::ends::{Ends, Entry, Order};
use crate::kernel;

/// Where there is no session.
const NONE: u32 = u32::MAX;

/// A partition is gone through for the place of a row by so many sessions at most; if it has
/// more, they are indexed.
const STEPS_MAX: usize = 16;

/// The open sessions of all partitions, each with something that it carries.
#[derive(Debug)]
pub(crate) struct Sessions<T> {
    gap: i64,
    slab: Vec<Option<Session<T>>>,
    free: Vec<u32>,
    /// Of each partition, its session that starts last, or `NONE`. Most have no other, and
    /// most rows go to this one.
    newest: Vec<u32>,
    /// The sessions of partitions that have many, by their starts.
    index: HashMap<u32, BTreeMap<i64, u32>>,
    ends: Ends,
    /// The ticket of the next entry there. One that comes again after 2^32 does no harm:
    /// an entry that counts wrongly is put where its session ends now.
    ticket: u32,
    /// How many sessions were opened: the next one's place in the order of arrival.
    opened: u64,
}

/// A run of rows. In one line of the cache, where what it carries is small.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Session<T> {
    pub(crate) partition: u32,
    /// Of its entry among the ends.
    ticket: u32,
    /// The time of its first row.
    pub(crate) start: i64,
    /// The time of its last row.
    pub(crate) last: i64,
    /// The place of its first row in the order of arrival.
    pub(crate) arrival: u64,
    pub(crate) carried: T,
    /// The next of its partition that starts before it, or `NONE`.
    older: u32,
    /// The next that starts after it, or `NONE`.
    newer: u32,
}

impl<T> Session<T> {
    fn order(&self, gap: i64) -> Order {
        (self.last.saturating_add(gap), self.start, self.arrival)
    }
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
            newest: Vec::new(),
            index: HashMap::new(),
            ends: Ends::new(gap),
            ticket: 0,
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

    fn newest(&self, partition: u32) -> Option<u32> {
        let newest = self.newest.get(partition as usize).copied();
        newest.filter(|&newest| newest != NONE)
    }

    /// Asks memory for what rows will look at: those of the first partition soon, those of the
    /// second later.
    pub(crate) fn fetch(&self, soon: Option<u32>, later: Option<u32>) {
        if let Some(session) = soon.and_then(|partition| self.newest(partition)) {
            kernel::fetch(&self.slab, session as usize);
        }
        if let Some(partition) = later {
            kernel::fetch(&self.newest, partition as usize);
        }
    }

    /// The session of a partition that starts last at `time` or before, and the first that
    /// starts after it; `NONE` where there is none.
    fn around(&mut self, partition: u32, time: i64) -> (u32, u32) {
        let (mut before, mut after) = (self.newest(partition).unwrap_or(NONE), NONE);
        for _ in 0..=STEPS_MAX {
            if before == NONE || self.get(before).start <= time {
                return (before, after);
            }
            (before, after) = (self.get(before).older, before);
        }
        if !self.index.contains_key(&partition) {
            let mut starts = BTreeMap::new();
            let mut session = self.newest(partition).unwrap_or(NONE);
            while session != NONE {
                starts.insert(self.get(session).start, session);
                session = self.get(session).older;
            }
            self.index.insert(partition, starts);
        }
        let starts = &self.index[&partition];
        let before = starts.range(..=time).next_back();
        let after = starts
            .range((Bound::Excluded(time), Bound::Unbounded))
            .next();
        let or_none = |found: Option<(&i64, &u32)>| found.map_or(NONE, |(_, &session)| session);
        (or_none(before), or_none(after))
    }

    /// The open sessions that a row touches.
    pub(crate) fn touched(&mut self, partition: u32, time: i64) -> Touched {
        let (before, after) = self.around(partition, time);
        let before = Some(before).filter(|&before| before != NONE);
        let after = Some(after).filter(|&after| after != NONE);
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
        let session = Session {
            partition,
            ticket: 0,
            start,
            last,
            arrival,
            carried,
            older: NONE,
            newer: NONE,
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
        self.queue(id);
        if self.newest.len() <= partition as usize {
            self.newest.resize(partition as usize + 1, NONE);
        }
        let (older, newer) = self.around(partition, start);
        (self.get_mut(id).older, self.get_mut(id).newer) = (older, newer);
        self.link(partition, older, (id, id), newer);
        if let Some(starts) = self.index_of(partition) {
            starts.insert(start, id);
        }
        id
    }

    /// Tells two neighbours in a partition, of which there may be none, what comes after the
    /// older now and what before the newer.
    fn link(&mut self, partition: u32, older: u32, (after, before): (u32, u32), newer: u32) {
        if older != NONE {
            self.get_mut(older).newer = after;
        }
        match newer {
            NONE => self.newest[partition as usize] = before,
            _ => self.get_mut(newer).older = before,
        }
    }

    fn index_of(&mut self, partition: u32) -> Option<&mut BTreeMap<i64, u32>> {
        match self.index.is_empty() {
            true => None,
            false => self.index.get_mut(&partition),
        }
    }

    /// Adds a row to the one session that it touches.
    pub(crate) fn extend(&mut self, id: u32, time: i64) {
        let session = self.get_mut(id);
        session.last = session.last.max(time);
        if time >= session.start {
            return;
        }
        let (before, partition) = (session.start, session.partition);
        session.start = time;
        // Of two sessions with one end, the earlier start comes first.
        let end = self.end(self.get(id).last);
        if !self.ends.waits(end) {
            self.queue(id);
        }
        if let Some(starts) = self.index_of(partition) {
            starts.remove(&before);
            starts.insert(time, id);
        }
    }

    /// Enters the end of a session anew. Entries that no longer count are let go once they
    /// are more than the sessions.
    fn queue(&mut self, id: u32) {
        self.enter(id);
        if self.ends.len() > 2 * self.len() + 64 {
            self.ends.clear();
            for id in 0..self.slab.len() as u32 {
                if self.slab[id as usize].is_some() {
                    self.enter(id);
                }
            }
        }
    }

    fn enter(&mut self, id: u32) {
        self.ticket = self.ticket.wrapping_add(1);
        let (gap, ticket) = (self.gap, self.ticket);
        let session = self.get_mut(id);
        session.ticket = ticket;
        let order = session.order(gap);
        self.ends.push(
            order,
            Entry {
                session: id,
                ticket,
            },
        );
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
        let partition = session.partition;
        self.link(
            partition,
            session.older,
            (session.newer, session.older),
            session.newer,
        );
        if let Some(starts) = self.index_of(partition) {
            starts.remove(&session.start);
            if starts.is_empty() {
                self.index.remove(&partition);
            }
        }
        session
    }

    /// The session with the least end, if the watermark is past it; all are if it is
    /// `None`.
    pub(crate) fn first_closed(&mut self, watermark: Option<i64>) -> Option<u32> {
        let (slab, newest, gap) = (&self.slab, &self.newest, self.gap);
        let order = |entry: Entry| {
            let session = slab[entry.session as usize].as_ref()?;
            // What taking it out will look at.
            kernel::fetch(slab, session.newer as usize);
            kernel::fetch(newest, session.partition as usize);
            (session.ticket == entry.ticket).then(|| session.order(gap))
        };
        let fetch = |entry: Entry| kernel::fetch(slab, entry.session as usize);
        let first = self.ends.first(watermark, order, fetch);
        first.map(|entry| entry.session)
    }

    /// How many bytes it holds, without what the sessions carry beyond their size.
    pub(crate) fn bytes(&self) -> usize {
        self.slab.capacity() * size_of::<Option<Session<T>>>()
            + self.newest.capacity() * size_of::<u32>()
            + self.index.capacity() * size_of::<(u32, BTreeMap<i64, u32>)>()
            + self.ends.bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

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
    fn starts_that_fall_one_by_one_leave_no_entries_behind() {
        let mut sessions = Sessions::new(10);
        let session = sessions.open(0, 100_000, ());
        for time in (0..100_000).rev() {
            sessions.extend(session, time);
        }
        assert!(sessions.ends.len() <= 2 + 64, "{}", sessions.ends.len());
        assert_eq!(sessions.first_closed(None), Some(session));
    }

    /// The least by end, start and arrival, found by going through all.
    fn first_by_hand(sessions: &Sessions<u32>, watermark: Option<i64>) -> Option<(Order, u32)> {
        let order = |session: &Session<u32>| (session.order(sessions.gap), session.carried);
        let first = sessions.iter().map(order).min()?;
        watermark
            .is_none_or(|watermark| first.0.0 < watermark)
            .then_some(first)
    }

    proptest! {
        #[test]
        fn sessions_close_in_the_order_of_their_ends(
            gap in prop_oneof![1i64..5, 60i64..70, 10_000i64..100_000],
            lag in prop_oneof![Just(0i64), Just(1_000)],
            rows in vec((0u32..3, -400i64..1_000, 0i64..30), 1..300),
        ) {
            let mut sessions = Sessions::new(gap);
            let (mut watermark, mut carried) = (i64::MIN, 0);
            let slowness = (gap / 40).max(1);
            for (i, (partition, behind, step)) in rows.into_iter().enumerate() {
                // Times go on by and by; some lie far behind, some ahead.
                let time = (i as i64 + behind / 8) * slowness;
                match sessions.touched(partition, time) {
                    Touched::Nothing => {
                        carried += 1;
                        sessions.open(partition, time, carried);
                    }
                    Touched::One(session) => sessions.extend(session, time),
                    Touched::Two(earlier, later) => {
                        sessions.merge(earlier, later);
                        sessions.extend(earlier, time);
                    }
                }
                watermark = watermark.max((i as i64 - step - lag) * slowness - gap / 3);
                loop {
                    let by_hand = first_by_hand(&sessions, Some(watermark));
                    let first = sessions.first_closed(Some(watermark));
                    let found = first.map(|id| (sessions.get(id).order(gap), sessions.get(id).carried));
                    prop_assert_eq!(found, by_hand);
                    match first {
                        // Some are looked at and stay for now.
                        Some(first) if step != 0 => drop(sessions.remove(first)),
                        _ => break,
                    }
                }
                prop_assert!(sessions.ends.len() <= 2 * sessions.len() + 64);
            }
            while let Some(by_hand) = first_by_hand(&sessions, None) {
                let first = sessions.first_closed(None).expect("one is left");
                prop_assert_eq!((sessions.get(first).order(gap), sessions.get(first).carried), by_hand);
                sessions.remove(first);
            }
            prop_assert_eq!(sessions.first_closed(None), None);
            prop_assert_eq!(sessions.ends.len(), 0);
        }
    }
}
