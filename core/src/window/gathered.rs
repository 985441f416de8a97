//! Windows of few keys, which are evaluated at once.
//!
//! A result column is an allocation or two, whether it has one row or thousands: a window
//! of a handful of keys costs more to give out than to compute. Such windows are made ready
//! one after the other, each with states of its own, and given out together.

use super::arena::Arena;
use super::key_slots::Owner;
use super::opened::Window;
use super::store::Store;
use crate::error::Result;

/// A window of so many keys is given out by itself: to copy its states would cost more.
const KEYS_MAX: usize = 512;

/// Windows that wait to be evaluated together.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// `[rows]`
    pub(crate) keys: Vec<u32>,
    /// `[rows]`
    pub(crate) slots: Vec<u32>,
    /// The windows' ends, and how many rows each has.
    pub(crate) ends: Vec<(i64, usize)>,
}

impl Gathered {
    /// Whether a window is to be gathered. States that hold values are not copied.
    pub(crate) fn takes(window: &Window, arena: &Arena) -> bool {
        window.keys.len() < KEYS_MAX && !arena.holds_values()
    }

    /// Adds a window, which can be let go then.
    ///
    /// # Errors
    /// If a state cannot be copied.
    pub(crate) fn add(&mut self, window: &mut Window, store: &mut Store) -> Result<()> {
        let first = self.slots.len();
        self.keys.extend_from_slice(&window.keys);
        window.keys.iter().for_each(|key| store.hold(*key));
        self.ends.push((window.end, window.keys.len()));
        // Most often all its slots are its own.
        if window.give_scratch(&mut self.slots) {
            return Ok(());
        }
        self.slots
            .extend(window.keys.iter().map(|_| store.arena.allocate()));
        store.arena.merge(&self.slots[first..], &window.slots)
    }

    /// Lets the windows go.
    pub(crate) fn release(&mut self, store: &mut Store) {
        store.arena.release(&self.slots);
        store.keys.release(&self.keys);
        self.keys.clear();
        self.slots.clear();
        self.ends.clear();
    }
}
