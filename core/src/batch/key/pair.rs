//! Keys of two parts: each part is interned by itself, then the pair of ids is a code.
//!
//! ```text
//!  left  column(s) ──▶ left ids ──┐
//!                                 ├─▶ code = left << 32 | right ──▶ id
//!  right column ─────▶ right ids ─┘
//! ```
//!
//! So every column takes the way that is fast for its type. A part's key lives as
//! long as a pair holds it.

use super::code::{CodeTable, Codes};
use super::table::Keyed;
use crate::error::Result;

/// The pairs, and how many of them hold each id of a part.
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) keyed: Keyed<CodeTable>,
    left_uses: Vec<u32>,
    right_uses: Vec<u32>,
}

fn code(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// The ids of both parts of a pair.
fn parts(code: u64) -> (u32, u32) {
    ((code >> 32) as u32, code as u32)
}

impl Pairs {
    pub(super) fn new() -> Self {
        Self {
            keyed: Keyed::new(CodeTable::new()),
            left_uses: Vec::new(),
            right_uses: Vec::new(),
        }
    }

    /// Fills `ids` with the id of each pair.
    pub(super) fn intern(&mut self, left: &[u32], right: &[u32], ids: &mut Vec<u32>) -> Result<()> {
        let code = |row: usize| code(left[row], right[row]);
        let created = self.keyed.intern(&Codes(code), None, left.len(), ids)?;
        for &id in &created {
            let (left, right) = parts(self.keyed.table.code(id));
            hold(&mut self.left_uses, left);
            hold(&mut self.right_uses, right);
        }
        Ok(())
    }

    /// Fills `ids` with the id of each pair; whether all are known.
    pub(super) fn find(&self, left: &[u32], right: &[u32], ids: &mut [u32]) -> bool {
        let code = |row: usize| code(left[row], right[row]);
        !self.keyed.find_morsel(&Codes(code), None, 0, ids)
    }

    /// The ids of both parts.
    pub(super) fn parts(&self, ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
        (ids.iter())
            .map(|&id| parts(self.keyed.table.code(id)))
            .unzip()
    }

    /// Forgets pairs; gives the ids of parts that no pair holds any more.
    pub(super) fn release(&mut self, ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let (mut dead_left, mut dead_right) = (Vec::new(), Vec::new());
        for &id in ids {
            let (left, right) = parts(self.keyed.table.code(id));
            if let_go(&mut self.left_uses, left) {
                dead_left.push(left);
            }
            if let_go(&mut self.right_uses, right) {
                dead_right.push(right);
            }
        }
        self.keyed.release(ids);
        (dead_left, dead_right)
    }

    pub(super) fn bytes(&self) -> usize {
        let uses = self.left_uses.capacity() + self.right_uses.capacity();
        self.keyed.bytes() + uses * size_of::<u32>()
    }
}

fn hold(uses: &mut Vec<u32>, id: u32) {
    let at = id as usize;
    if uses.len() <= at {
        uses.resize(at + 1, 0);
    }
    uses[at] += 1;
}

/// Whether that was the last use.
fn let_go(uses: &mut [u32], id: u32) -> bool {
    uses[id as usize] -= 1;
    uses[id as usize] == 0
}
