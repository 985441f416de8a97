//! Keys that nothing refers to, kept for a while: most come again.
//!
//! To take a key out and in again costs several times as much as to find it, and rows all
//! of whose keys are known are looked up by all threads. Those that have been idle the
//! longest are forgotten first, and no more are kept than were in use at a time.

use std::collections::VecDeque;

use crate::batch::room;

/// So many may be idle however few are in use (`idle_keys_min`).
const IDLE_KEYS_MIN: usize = 4_096;

/// No more are idle however many are in use (`idle_keys_max`).
const IDLE_KEYS_MAX: usize = 1 << 20;

/// Idle keys, in the order in which they became so.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// Some have come again since they were added, and may stand in it once more.
    queue: VecDeque<u32>,
    /// How many have been taken from its front; the count starts again after 2³².
    taken: u32,
    /// `[keys]`: how many had been added when the key was, for the last time.
    added: Vec<u32>,
}

impl Idle {
    /// Adds a key that nothing refers to any longer.
    pub(crate) fn add(&mut self, key: u32) {
        if self.added.len() <= key as usize {
            room::resize(&mut self.added, key as usize + 1, 0);
        }
        self.added[key as usize] = self.taken.wrapping_add(self.queue.len() as u32);
        self.queue.push_back(key);
    }

    /// Takes out those that have been idle the longest, if there are many more than `most`,
    /// which is how many were in use at a time.
    pub(crate) fn leave(&mut self, most: usize, is_used: impl Fn(u32) -> bool) -> Vec<u32> {
        let kept = most.clamp(IDLE_KEYS_MIN, IDLE_KEYS_MAX);
        let mut left = Vec::new();
        if self.queue.len() < kept + IDLE_KEYS_MIN {
            return left;
        }
        while self.queue.len() > kept
            && let Some(key) = self.queue.pop_front()
        {
            let is_last = self.added[key as usize] == self.taken;
            self.taken = self.taken.wrapping_add(1);
            if is_last && !is_used(key) {
                left.push(key);
            }
        }
        left
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.queue.capacity() + self.added.capacity()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_idle_the_longest_leave_and_those_in_use_stay() {
        let kept = IDLE_KEYS_MIN as u32;
        let mut idle = Idle::default();
        (0..2 * kept - 1).for_each(|key| idle.add(key));
        assert!(idle.leave(0, |_| false).is_empty());
        // Key 0 is idle once more, as the last; key 1 is in use.
        idle.add(0);
        let left = idle.leave(0, |key| key == 1);
        assert_eq!(left, (2..kept).collect::<Vec<_>>());
        // What was in use is idle again, and leaves in its turn.
        idle.add(1);
        (kept * 3..kept * 4).for_each(|key| idle.add(key));
        let left = idle.leave(0, |_| false);
        let expected: Vec<u32> = (kept..2 * kept - 1).chain([0, 1]).collect();
        assert_eq!(left, expected);
        // Where more were in use at a time, more are kept.
        (0..2 * kept).for_each(|key| idle.add(key));
        assert!(idle.leave(3 * kept as usize, |_| false).is_empty());
        assert!(!idle.leave(kept as usize, |_| false).is_empty());
    }

    #[test]
    fn no_more_are_kept_than_the_bound() {
        let bound = IDLE_KEYS_MAX as u32 + IDLE_KEYS_MIN as u32;
        let mut idle = Idle::default();
        (0..bound).for_each(|key| idle.add(key));
        let left = idle.leave(usize::MAX, |_| false);
        assert_eq!(left, (0..IDLE_KEYS_MIN as u32).collect::<Vec<_>>());
    }
}
