//! The slots of one pane: which key has which.
//!
//! A pane is a plain list while it holds a handful of keys, a hash table while it
//! holds a small share of the keys between its least and its greatest id, and a table
//! indexed by key id beyond that: its memory follows the keys that are in it, and a
//! look-up is mostly one load. Where keys come and go, those of one time have ids that lie
//! together.
//! Where keys are as new as the pane, their ids and slots mostly rise one by one: then a
//! slot is a sum, and there is no table.
//!
//! A pane that is expected to hold most keys is given a *block*: neighbouring slots, one
//! for each key id. Its slots are sums, not look-ups, and two such panes are combined
//! from end to end.

use rayon::prelude::*;

use crate::batch::key::far::FarSlots;
use crate::batch::room;

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// Up to so many keys are looked up by going through them.
const LISTED_KEYS_MAX: usize = 8;

/// From one key in so many on, a pane is indexed by key id: a hash table is no smaller.
const DENSE_SHARE: usize = 4;

/// Fewer keys are not yet worth it: they tell little of those to come.
const DENSE_KEYS_MIN: usize = 64;

/// It no longer is with fewer than one in so many: a pane would have to hold twice the keys
/// to be indexed again.
const SPARSE_SHARE: usize = 2 * DENSE_SHARE;

/// An index by key id of so few places is worth its room with any number of keys.
const SMALL_DENSE_MAX: usize = 256;

/// From one key in so many on, the next pane is expected to hold most keys.
pub(crate) const FULL_SHARE: usize = 2;

/// Fewer keys are not worth a block.
const BLOCK_KEYS_MIN: usize = 16;

/// Rows that are looked up before new keys among them are taken in.
const BLOCK_ROWS: usize = 256;

/// Rows that one thread looks up at a time.
const MORSEL_ROWS: usize = 8 * 1024;

/// From so many rows on, sharing the work costs less than it gains.
const PARALLEL_ROWS_MIN: usize = 2 * MORSEL_ROWS;

/// Neighbouring slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first: u32,
    pub(crate) len: u32,
}

impl Block {
    fn holds(self, slot: u32) -> bool {
        slot.wrapping_sub(self.first) < self.len
    }
}

/// Gives keys of a pane slots and is told of each that the pane comes to hold.
pub(crate) trait Owner {
    /// The pane holds one more key.
    fn hold(&mut self, key: u32);

    /// A slot for it.
    fn allocate(&mut self) -> u32;
}

/// A map from key ids to slots that remembers the order of insertion.
#[derive(Debug, Default)]
pub(crate) struct KeySlots {
    keys: Vec<u32>,
    slots: Vec<u32>,
    index: Index,
    /// Slots that are the pane's own, whether keys have come for them or not.
    block: Option<Block>,
}

#[derive(Debug, Default)]
enum Index {
    #[default]
    Listed,
    /// Keys and slots rise by one from the first on.
    Rising,
    Hashed(Hashed),
    Dense(Dense),
    /// The slot of key `k` is the `k`-th of the block; which keys have come.
    Block(Vec<bool>),
}

/// Slots by key.
#[derive(Debug)]
struct Hashed {
    slots: FarSlots,
    len: usize,
    /// Of the keys.
    least: u32,
    greatest: u32,
}

/// The hash of a key, whose top half no other key has. Neighbouring ids, which are most of what
/// there is, lie evenly apart; a choice of ids that are not would cost steps, and no answer.
#[inline(always)]
fn hash(key: u32) -> u64 {
    const GOLDEN: u32 = 0x9E37_79B9;
    u64::from(key.wrapping_mul(GOLDEN)) << u32::BITS
}

impl Hashed {
    fn new(pairs: impl ExactSizeIterator<Item = (u32, u32)>) -> Self {
        let mut hashed = Self {
            slots: FarSlots::new(pairs.len()),
            len: 0,
            least: u32::MAX,
            greatest: 0,
        };
        pairs.for_each(|(key, slot)| hashed.insert(key, slot));
        hashed
    }

    #[inline(always)]
    fn get(&self, key: u32) -> u32 {
        self.slots.find_likely(hash(key))
    }

    fn insert(&mut self, key: u32, slot: u32) {
        self.len += 1;
        self.slots.make_room(self.len);
        self.slots.insert(hash(key), slot);
        self.least = self.least.min(key);
        self.greatest = self.greatest.max(key);
    }

    /// As [`KeySlots::look_up`]: the table may be further away than the next cache, and what
    /// it is waited for comes together.
    fn look_up(&self, keys: &mut [u32]) -> bool {
        let mut all = true;
        for keys in keys.chunks_mut(BLOCK_ROWS) {
            keys.iter().for_each(|key| self.slots.fetch(hash(*key)));
            for key in keys {
                *key = self.get(*key);
                all &= *key != NONE;
            }
        }
        all
    }

    /// Whether so many of the keys between the least and the greatest are in it that they
    /// are to be indexed by their ids.
    fn is_dense(&self) -> bool {
        self.len >= DENSE_KEYS_MIN && self.len * DENSE_SHARE > (self.greatest - self.least) as usize
    }

    /// Forgets all keys; as much room stays as they needed.
    fn clear(&mut self) {
        self.slots.shrink(self.len);
        self.slots.clear();
        (self.len, self.least, self.greatest) = (0, u32::MAX, 0);
    }
}

/// Slots of neighbouring key ids.
#[derive(Debug)]
struct Dense {
    first: u32,
    /// Those of `first` and the keys after it; [`NONE`] where there is none.
    slots: Vec<u32>,
}

impl Dense {
    #[inline(always)]
    fn get(&self, key: u32) -> u32 {
        let place = key.wrapping_sub(self.first) as usize;
        self.slots.get(place).copied().unwrap_or(NONE)
    }

    /// Adds a key, the `len`-th; false if too few of its places would be taken.
    fn insert(&mut self, key: u32, slot: u32, len: usize) -> bool {
        if len == 1 && self.get_mut(key).is_none() {
            // It is empty, so that it may be of any keys.
            self.first = key;
        }
        let (first, places) = (self.first as usize, self.slots.len());
        let (least, end) = (
            first.min(key as usize),
            (first + places).max(key as usize + 1),
        );
        if end - least > places {
            if end - least > (len * SPARSE_SHARE).max(SMALL_DENSE_MAX) {
                return false;
            }
            if least < first {
                // By half as well, so that falling keys do not move it for each.
                let more = (first - least).max(places / 2).min(first);
                self.slots.splice(0..0, std::iter::repeat_n(NONE, more));
                self.first -= more as u32;
            } else {
                room::resize(&mut self.slots, end - first, NONE);
            }
        }
        if let Some(place) = self.get_mut(key) {
            *place = slot;
        }
        true
    }

    fn get_mut(&mut self, key: u32) -> Option<&mut u32> {
        self.slots.get_mut(key.wrapping_sub(self.first) as usize)
    }
}

impl KeySlots {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys, in order of insertion.
    pub(crate) fn keys(&self) -> &[u32] {
        &self.keys
    }

    /// The slots, in the order of the keys.
    pub(crate) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Whether it holds so many of all keys that another pane like it is worth a block.
    pub(crate) fn is_full(&self, bound: usize) -> bool {
        self.keys.len() >= BLOCK_KEYS_MIN && self.keys.len() * FULL_SHARE >= bound
    }

    /// Whether it has a block in which each of `bound` keys has come.
    pub(crate) fn is_complete(&self, bound: usize) -> bool {
        self.block.is_some() && self.keys.len() == bound
    }

    /// Gives an empty pane a block.
    pub(crate) fn reserve(&mut self, block: Block) {
        debug_assert!(self.is_empty() && self.block.is_none());
        self.block = Some(block);
        self.index = Index::Block(vec![false; block.len as usize]);
    }

    /// The block that all its slots are in, if they are in one.
    pub(crate) fn block(&self) -> Option<Block> {
        self.block.filter(|_| matches!(self.index, Index::Block(_)))
    }

    /// Which keys of its block have come, if all its slots are in one; looked up by those
    /// who add rows at the same time. It must be given back.
    pub(crate) fn lend_held(&mut self) -> Option<(Block, Vec<bool>)> {
        match (&mut self.index, self.block) {
            (Index::Block(held), Some(block)) => Some((block, std::mem::take(held))),
            _ => None,
        }
    }

    /// Takes back what was lent, with the keys that have come since.
    pub(crate) fn give_back_held(&mut self, lent: Vec<bool>, new: &[u32], owner: &mut impl Owner) {
        if let (Index::Block(held), Some(block)) = (&mut self.index, self.block) {
            *held = lent;
            room::reserve(&mut self.keys, new.len());
            room::reserve(&mut self.slots, new.len());
            self.keys.extend_from_slice(new);
            self.slots.extend(new.iter().map(|key| block.first + key));
            new.iter().for_each(|key| owner.hold(*key));
        }
    }

    /// The slot of a key.
    pub(crate) fn get(&self, key: u32) -> Option<u32> {
        match &self.index {
            Index::Listed => {
                let place = self.keys.iter().position(|&other| other == key)?;
                Some(self.slots[place])
            }
            Index::Rising => {
                let place = key.wrapping_sub(self.keys[0]);
                ((place as usize) < self.keys.len()).then(|| self.slots[0] + place)
            }
            Index::Hashed(hashed) => Some(hashed.get(key)).filter(|slot| *slot != NONE),
            Index::Dense(dense) => Some(dense.get(key)).filter(|slot| *slot != NONE),
            Index::Block(held) => {
                let is_held = held.get(key as usize).is_some_and(|held| *held);
                (self.block.filter(|_| is_held)).map(|block| block.first + key)
            }
        }
    }

    /// The slots of keys, one after the other; [`NONE`] for those that have not come.
    pub(crate) fn get_all(&self, keys: &[u32]) -> Vec<u32> {
        let mut slots = keys.to_vec();
        let get = |slots: &mut [u32]| match &self.index {
            Index::Hashed(hashed) => {
                hashed.look_up(slots);
            }
            _ => (slots.iter_mut()).for_each(|slot| *slot = self.get(*slot).unwrap_or(NONE)),
        };
        match keys.len() < PARALLEL_ROWS_MIN {
            true => get(&mut slots),
            false => slots.par_chunks_mut(MORSEL_ROWS).for_each(get),
        }
        slots
    }

    /// Gives a slot to a key that has none.
    fn insert(&mut self, key: u32, slot: u32) {
        debug_assert!(self.get(key).is_none(), "the key has no slot yet");
        room::push(&mut self.keys, key);
        room::push(&mut self.slots, slot);
        let len = self.keys.len();
        match &mut self.index {
            Index::Listed if len <= LISTED_KEYS_MAX => {}
            Index::Listed if rise(&self.keys) && rise(&self.slots) => self.index = Index::Rising,
            Index::Rising if rise(&self.keys[len - 2..]) && rise(&self.slots[len - 2..]) => {}
            Index::Hashed(hashed) => {
                hashed.insert(key, slot);
                if hashed.is_dense() {
                    self.index_by_key();
                }
            }
            Index::Dense(dense) => {
                if !dense.insert(key, slot, len) {
                    self.index_by_key();
                }
            }
            // In a block, the key's slot is not of it.
            Index::Listed | Index::Rising | Index::Block(_) => self.index_by_key(),
        }
    }

    /// Makes an index of what it holds.
    fn index_by_key(&mut self) {
        let (least, greatest) = (self.keys.iter()).fold((u32::MAX, 0), |(least, greatest), key| {
            (least.min(*key), greatest.max(*key))
        });
        let pairs = self.keys.iter().copied().zip(self.slots.iter().copied());
        let places = (greatest - least) as usize + 1;
        self.index = if self.keys.len() * DENSE_SHARE >= places {
            let mut slots = vec![NONE; places];
            pairs.for_each(|(key, slot)| slots[(key - least) as usize] = slot);
            Index::Dense(Dense {
                first: least,
                slots,
            })
        } else {
            Index::Hashed(Hashed::new(pairs))
        };
    }

    /// The slots of many rows' keys, appended to `slots`; those that are missing are
    /// made.
    pub(crate) fn find(&mut self, keys: &[u32], slots: &mut Vec<u32>, owner: &mut impl Owner) {
        let first = slots.len();
        slots.extend_from_slice(keys);
        let slots = &mut slots[first..];
        let is_long = keys.len() >= PARALLEL_ROWS_MIN && rayon::current_num_threads() > 1;
        if is_long && self.is_table() {
            return self.find_together(keys, slots, owner);
        }
        for (keys, slots) in (keys.chunks(BLOCK_ROWS)).zip(slots.chunks_mut(BLOCK_ROWS)) {
            if self.look_up(slots) {
                self.hold_all(keys, owner);
            } else if self.is_table() {
                self.take_missing(keys, slots, owner);
            } else {
                self.take_in(keys, slots, owner);
            }
        }
    }

    /// Whether a key that is looked up has its slot or [`NONE`], and keeps its slot while
    /// others are made.
    fn is_table(&self) -> bool {
        matches!(self.index, Index::Hashed(_) | Index::Dense(_))
    }

    /// As [`KeySlots::find`], by several threads, of a pane without a block: a slot that a
    /// key has stays its own while others are made.
    fn find_together(&mut self, keys: &[u32], slots: &mut [u32], owner: &mut impl Owner) {
        let are_there: Vec<bool> = (slots.par_chunks_mut(MORSEL_ROWS))
            .map(|slots| self.look_up(slots))
            .collect();
        let morsels = (keys.chunks(MORSEL_ROWS)).zip(slots.chunks_mut(MORSEL_ROWS));
        for ((keys, slots), are_there) in morsels.zip(are_there) {
            if !are_there {
                self.take_missing(keys, slots, owner);
            }
        }
    }

    /// Makes the slots that were looked up and are missing.
    fn take_missing(&mut self, keys: &[u32], slots: &mut [u32], owner: &mut impl Owner) {
        let rows = keys.iter().zip(slots);
        for (key, slot) in rows.filter(|(_, slot)| **slot == NONE) {
            self.take_in(&[*key], std::slice::from_mut(slot), owner);
        }
    }

    /// Notes which keys of its block have come. They must be in it.
    pub(crate) fn hold_all(&mut self, keys: &[u32], owner: &mut impl Owner) {
        let (Index::Block(held), Some(block)) = (&mut self.index, self.block) else {
            return;
        };
        for &key in keys {
            if !std::mem::replace(&mut held[key as usize], true) {
                room::push(&mut self.keys, key);
                room::push(&mut self.slots, block.first + key);
                owner.hold(key);
            }
        }
    }

    /// Fills `slots` with those of the keys, one after the other, making those that are
    /// missing.
    fn take_in(&mut self, keys: &[u32], slots: &mut [u32], owner: &mut impl Owner) {
        for (&key, slot) in keys.iter().zip(slots) {
            *slot = match (self.get(key), self.block()) {
                (Some(slot), _) => slot,
                (None, Some(block)) if key < block.len => {
                    self.hold_all(&[key], owner);
                    block.first + key
                }
                (None, _) => {
                    owner.hold(key);
                    let slot = owner.allocate();
                    self.insert(key, slot);
                    slot
                }
            };
        }
    }

    /// Turns keys into their slots, [`NONE`] where there is none; says whether all are
    /// there. Every key of a block has its slot, also before it has come.
    pub(crate) fn look_up(&self, keys: &mut [u32]) -> bool {
        if let Index::Hashed(hashed) = &self.index {
            return hashed.look_up(keys);
        }
        let rows = keys.iter_mut();
        match (&self.index, self.block) {
            (Index::Block(_), Some(Block { first, len })) => rows.fold(true, |all, key| {
                let is_there = *key < len;
                *key = if is_there { *key + first } else { NONE };
                all & is_there
            }),
            (Index::Dense(dense), _) => rows.fold(true, |all, key| {
                *key = dense.get(*key);
                all & (*key != NONE)
            }),
            (Index::Rising, _) => {
                let (key, slot, len) = (self.keys[0], self.slots[0], self.keys.len());
                rows.fold(true, |all, row| {
                    let place = row.wrapping_sub(key);
                    let is_there = (place as usize) < len;
                    *row = if is_there {
                        slot.wrapping_add(place)
                    } else {
                        NONE
                    };
                    all & is_there
                })
            }
            (Index::Listed, _) if self.keys.len() == 1 => {
                let (known, its) = (self.keys[0], self.slots[0]);
                rows.fold(true, |all, key| {
                    let is_there = *key == known;
                    *key = if is_there { its } else { NONE };
                    all & is_there
                })
            }
            _ => rows.fold(true, |all, key| {
                *key = self.get(*key).unwrap_or(NONE);
                all & (*key != NONE)
            }),
        }
    }

    /// Forgets all keys and gives them back with those of their slots that are not in the
    /// block, and the block. The index keeps its room: the next pane is often as full.
    pub(crate) fn take(&mut self) -> (Vec<u32>, Vec<u32>, Option<Block>) {
        match &mut self.index {
            Index::Listed => {}
            Index::Rising | Index::Block(_) => self.index = Index::Listed,
            Index::Hashed(hashed) => hashed.clear(),
            Index::Dense(dense) => {
                for &key in &self.keys {
                    if let Some(slot) = dense.get_mut(key) {
                        *slot = NONE;
                    }
                }
            }
        }
        let keys = std::mem::take(&mut self.keys);
        let mut slots = std::mem::take(&mut self.slots);
        let block = self.block.take();
        if let Some(block) = block {
            slots.retain(|slot| !block.holds(*slot));
        }
        (keys, slots, block)
    }

    /// Whether what it keeps for the next pane is no more than the keys of this one took.
    pub(crate) fn keeps_little(&self) -> bool {
        !matches!(self.index, Index::Dense(_))
    }

    /// How many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        let index = match &self.index {
            Index::Listed | Index::Rising => 0,
            Index::Hashed(hashed) => hashed.slots.bytes(),
            Index::Dense(dense) => dense.slots.capacity() * size_of::<u32>(),
            Index::Block(held) => held.capacity(),
        };
        index + (self.keys.capacity() + self.slots.capacity()) * size_of::<u32>()
    }
}

/// Whether numbers rise one by one.
fn rise(numbers: &[u32]) -> bool {
    numbers
        .array_windows()
        .all(|[one, next]| next.wrapping_sub(*one) == 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Slots from 1,000 on for the keys below a bound.
    struct Counter {
        next: u32,
        held: Vec<u32>,
    }

    impl Owner for Counter {
        fn hold(&mut self, key: u32) {
            self.held.push(key);
        }

        fn allocate(&mut self) -> u32 {
            self.next += 1;
            self.next - 1
        }
    }

    fn counter() -> Counter {
        Counter {
            next: 1_000,
            held: Vec::new(),
        }
    }

    #[test]
    fn keys_find_their_slots_however_many_there_are() {
        let mut pane = KeySlots::default();
        for round in 0..3_u32 {
            let keys: Vec<u32> = (0..500).map(|key| (key * 7 + round) % 901).collect();
            let mut slots = Vec::new();
            let mut owner = counter();
            pane.find(&keys, &mut slots, &mut owner);
            assert_eq!(owner.held, keys);
            let mut again = keys.clone();
            assert!(pane.look_up(&mut again));
            assert_eq!(slots, again);
            assert_eq!(slots, (1_000..1_500).collect::<Vec<u32>>());
            assert_eq!(pane.get(keys[499]), Some(1_499));
            assert_eq!(pane.get(901), None);
            assert_eq!(pane.take(), (keys, slots, None));
            assert!(pane.is_empty());
            assert_eq!(pane.get(0), None);
        }
    }

    proptest! {
        /// Runs of keys, long enough for several threads among them, have the slots that
        /// they would have one by one, in whatever order they come; also in a pane that
        /// held others before.
        #[test]
        fn keys_have_the_slots_of_a_map(
            rounds in prop::collection::vec(
                prop::collection::vec((0..900_u32, 1..80_u32, 1..600_usize), 1..12),
                1..4,
            ),
            threads in 1..4_usize,
        ) {
            let mut pane = KeySlots::default();
            let mut owner = counter();
            let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let threads = threads.expect("threads");
            for runs in rounds {
                let (mut model, mut order) = (HashMap::new(), Vec::new());
                let first_slot = owner.next;
                owner.held.clear();
                for (first, len, times) in runs {
                    let run = (first..(first + len).min(901)).collect::<Vec<u32>>();
                    let keys = run.repeat(times);
                    let expected: Vec<u32> = (keys.iter())
                        .map(|key| {
                            let next = first_slot + model.len() as u32;
                            *model.entry(*key).or_insert_with(|| {
                                order.push(*key);
                                next
                            })
                        })
                        .collect();
                    let mut slots = vec![7];
                    threads.install(|| pane.find(&keys, &mut slots, &mut owner));
                    prop_assert_eq!(&slots[1..], &expected);
                    prop_assert_eq!(pane.keys(), &order);
                    prop_assert_eq!(&owner.held, &order);
                    for key in 0..901 {
                        prop_assert_eq!(pane.get(key), model.get(&key).copied());
                    }
                }
                let mut found: Vec<u32> = (0..901).collect();
                prop_assert_eq!(pane.look_up(&mut found), model.len() == 901);
                for (key, slot) in (0..901).zip(found) {
                    prop_assert_eq!(slot, model.get(&key).copied().unwrap_or(NONE));
                }
                pane.take();
            }
        }
    }

    #[test]
    fn keys_that_rise_with_their_slots_need_no_table() {
        let mut pane = KeySlots::default();
        let (mut slots, mut owner) = (Vec::new(), counter());
        pane.find(&(40..140).collect::<Vec<u32>>(), &mut slots, &mut owner);
        assert!(matches!(pane.index, Index::Rising));
        assert_eq!(
            (pane.get(39), pane.get(139), pane.get(140)),
            (None, Some(1_099), None)
        );
        pane.find(&[141, 60], &mut slots, &mut owner);
        assert!(!matches!(pane.index, Index::Rising));
        assert_eq!(
            (pane.get(141), pane.get(140), pane.get(60)),
            (Some(1_100), None, Some(1_020))
        );
    }

    #[test]
    fn a_block_holds_what_has_come_and_takes_other_keys_beside_it() {
        let block = Block { first: 40, len: 20 };
        let mut pane = KeySlots::default();
        for others in [false, true] {
            pane.reserve(block);
            let (mut slots, mut owner) = (Vec::new(), counter());
            pane.find(&[7, 3, 7], &mut slots, &mut owner);
            assert_eq!((&slots[..], pane.keys()), (&[47, 43, 47][..], &[7, 3][..]));
            assert_eq!((pane.get(3), pane.get(4)), (Some(43), None));
            assert_eq!(pane.block(), Some(block));
            let (mut keys, mut rest) = (vec![7, 3], Vec::new());
            if others {
                slots.clear();
                pane.find(&[20, 3, 4, 20], &mut slots, &mut owner);
                assert_eq!(slots, [1_000, 43, 1_001, 1_000]);
                assert_eq!(pane.block(), None);
                keys.extend([20, 4]);
                rest = vec![1_000, 1_001];
            }
            assert_eq!(owner.held, keys);
            assert_eq!(pane.take(), (keys, rest, Some(block)));
        }
    }
}
