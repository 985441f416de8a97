//! What the bodies that are being sent may take of memory, all together.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many bytes of bodies all connections of a server may hold.
#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicUsize,
    max: AtomicUsize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        }
    }

    pub(super) fn raise(&self, max: usize) {
        self.max.fetch_max(max, Relaxed);
    }
}

/// There is nothing left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spent;

/// A share of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl<'a> Hold<'a> {
    pub(super) fn none(budget: &'a Budget) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Takes more of the budget, if there is so much.
    pub(super) fn more(&mut self, bytes: usize) -> Result<(), Spent> {
        let before = self.budget.held.fetch_add(bytes, Relaxed);
        self.bytes += bytes;
        match before.saturating_add(bytes) <= self.budget.max.load(Relaxed) {
            true => Ok(()),
            false => Err(Spent),
        }
    }
}

impl Hold<'_> {
    /// Gives all of it back.
    pub(super) fn release(&mut self) {
        (self.budget.held).fetch_sub(std::mem::take(&mut self.bytes), Relaxed);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_given_back() {
        let budget = Budget::new(10);
        let mut first = Hold::none(&budget);
        assert_eq!(first.more(8), Ok(()));
        let mut second = Hold::none(&budget);
        assert_eq!(second.more(3), Err(Spent));
        drop((first, second));
        assert_eq!(Hold::none(&budget).more(10), Ok(()));
    }
}
