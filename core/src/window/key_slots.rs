//! The slots of one pane: which key has which.
//!
//! A pane is a plain list while it holds a handful of keys, a hash table while it
//! holds a small share of all keys, and a table indexed by key id beyond that: its
//! memory follows the keys that are in it, and a look-up in a full pane is one load.
//!
//! A pane that is expected to hold most keys is given a *block*: neighbouring slots, one
//! for each key id. Its slots are sums, not look-ups, and two such panes are combined
//! from end to end.

use hashbrown::HashMap;

use crate::batch::room;

/// No slot.
const NONE: u32 = u32::MAX;

/// Up to so many keys are looked up by going through them.
const LISTED_KEYS_MAX: usize = 8;

/// From one key in so many on, a pane is indexed by key id.
const DENSE_SHARE: usize = 8;

/// From one key in so many on, the next pane is expected to hold most keys.
pub(crate) const FULL_SHARE: usize = 2;

/// Fewer keys are not worth a block.
const BLOCK_KEYS_MIN: usize = 16;

/// Rows that are looked up before new keys among them are taken in.
const BLOCK_ROWS: usize = 256;

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

    /// One more than the greatest key id.
    fn bound(&self) -> usize;
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
    Hashed(HashMap<u32, u32>),
    Dense(Vec<u32>),
    /// The slot of key `k` is the `k`-th of the block; which keys have come.
    Block(Vec<bool>),
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
            Index::Hashed(slots) => slots.get(&key).copied(),
            Index::Dense(slots) => {
                let slot = slots.get(key as usize).copied().unwrap_or(NONE);
                (slot != NONE).then_some(slot)
            }
            Index::Block(held) => {
                let is_held = held.get(key as usize).is_some_and(|held| *held);
                (self.block.filter(|_| is_held)).map(|block| block.first + key)
            }
        }
    }

    /// Gives a slot to a key that has none. `bound` is one more than the greatest id.
    fn insert(&mut self, key: u32, slot: u32, bound: usize) {
        debug_assert!(self.get(key).is_none(), "the key has no slot yet");
        room::push(&mut self.keys, key);
        room::push(&mut self.slots, slot);
        match &mut self.index {
            Index::Listed if self.keys.len() <= LISTED_KEYS_MAX => return,
            Index::Listed => {
                let pairs = self.keys.iter().copied().zip(self.slots.iter().copied());
                self.index = Index::Hashed(pairs.collect());
            }
            Index::Hashed(slots) => {
                slots.insert(key, slot);
            }
            Index::Dense(slots) => {
                if slots.len() <= key as usize {
                    room::resize(slots, (key as usize + 1).max(bound), NONE);
                }
                slots[key as usize] = slot;
            }
            // Its slot is not of the block.
            Index::Block(_) => self.index_by_key(bound.max(key as usize + 1)),
        }
        if matches!(self.index, Index::Hashed(_)) && self.keys.len() * DENSE_SHARE >= bound {
            self.index_by_key(bound.max(key as usize + 1));
        }
    }

    fn index_by_key(&mut self, bound: usize) {
        let mut slots = vec![NONE; bound];
        for (&key, &slot) in self.keys.iter().zip(&self.slots) {
            if slots.len() <= key as usize {
                slots.resize(key as usize + 1, NONE);
            }
            slots[key as usize] = slot;
        }
        self.index = Index::Dense(slots);
    }

    /// The slots of many rows' keys, appended to `slots`; those that are missing are
    /// made.
    pub(crate) fn find(&mut self, keys: &[u32], slots: &mut Vec<u32>, owner: &mut impl Owner) {
        let first = slots.len();
        slots.extend_from_slice(keys);
        for (keys, slots) in (keys.chunks(BLOCK_ROWS)).zip(slots[first..].chunks_mut(BLOCK_ROWS)) {
            if self.look_up(slots) {
                self.hold_all(keys, owner);
            } else {
                self.take_in(keys, slots, owner);
            }
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
                    self.insert(key, slot, owner.bound());
                    slot
                }
            };
        }
    }

    /// Turns keys into their slots, [`NONE`] where there is none; says whether all are
    /// there. Every key of a block has its slot, also before it has come.
    pub(crate) fn look_up(&self, keys: &mut [u32]) -> bool {
        let rows = keys.iter_mut();
        match (&self.index, self.block) {
            (Index::Block(_), Some(Block { first, len })) => rows.fold(true, |all, key| {
                let is_there = *key < len;
                *key = if is_there { *key + first } else { NONE };
                all & is_there
            }),
            (Index::Dense(table), _) => rows.fold(true, |all, key| {
                *key = table.get(*key as usize).copied().unwrap_or(NONE);
                all & (*key != NONE)
            }),
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
            Index::Hashed(_) | Index::Block(_) => self.index = Index::Listed,
            Index::Dense(slots) => {
                for &key in &self.keys {
                    slots[key as usize] = NONE;
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

    /// How many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        let index = match &self.index {
            Index::Listed => 0,
            Index::Hashed(slots) => slots.allocation_size(),
            Index::Dense(slots) => slots.capacity() * size_of::<u32>(),
            Index::Block(held) => held.capacity(),
        };
        index + (self.keys.capacity() + self.slots.capacity()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
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

        fn bound(&self) -> usize {
            901
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
