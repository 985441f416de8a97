//! Dense ids: given out, given back, given out again.

use super::hash::NO_ID;
use crate::batch::room;
use crate::error::{Error, Result};

/// The ids in use and those that wait to be used again.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// One flag for each id ever given out since nothing was in use.
    live: Vec<bool>,
    /// A stack.
    free: Vec<u32>,
}

impl Ids {
    /// A free id, or the next new one.
    pub(super) fn take(&mut self) -> Result<u32> {
        if let Some(id) = self.free.pop() {
            self.live[id as usize] = true;
            return Ok(id);
        }
        // The two greatest numbers stand for "none" and "not looked up yet".
        let id = (u32::try_from(self.live.len()).ok())
            .filter(|&id| id < NO_ID - 1)
            .ok_or_else(|| {
                Error::invalid(format!("more than {} keys are alive at once", NO_ID - 1))
            })?;
        room::push(&mut self.live, true);
        Ok(id)
    }

    /// Gives ids back; of those given back together the lowest is used first. When
    /// none is left in use the numbers start again at zero.
    ///
    /// # Panics
    /// If an id is not in use.
    pub(super) fn release(&mut self, ids: &[u32]) {
        for &id in ids {
            assert!(self.is_live(id), "key {id} is not in use");
            self.live[id as usize] = false;
        }
        let first = self.free.len();
        self.free.extend_from_slice(ids);
        self.free[first..].sort_unstable_by(|a, b| b.cmp(a));
        if self.len() == 0 {
            *self = Self::default();
        }
    }

    pub(super) fn is_live(&self, id: u32) -> bool {
        self.live.get(id as usize).is_some_and(|live| *live)
    }

    pub(super) fn bound(&self) -> usize {
        self.live.len()
    }

    pub(super) fn len(&self) -> usize {
        self.live.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.live.capacity() + self.free.capacity() * size_of::<u32>()
    }
}
