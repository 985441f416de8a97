//! Frames of any length over rows that come and go: a tree of blocks.
//!
//! Rows stand in blocks of 32 by their ordinals, blocks in blocks of 32, and so on. What
//! a whole block comes to is kept; a frame is the end of one block, whole blocks, and the
//! beginning of another:
//!
//! ```text
//!  blocks of blocks   |           B0          |           B1          |
//!  blocks             |  b0   b1   b2 ⋯  b31  |  b32  b33  b34   ⋯    |
//!  rows               |····|····|····| ⋯ |····|····|····|····|
//!  frame                 └──────────────────────────────────┘
//!                       end of b0, b1…b31, b32…b33, beginning of b34
//! ```
//!
//! How a frame is folded follows from the ordinals of its first and its last row alone,
//! so frames can be computed in any pieces, by any number of threads. Within a block all
//! ends and beginnings are found at once; whole blocks are looked up once for the rows
//! that have the same.

use std::collections::VecDeque;

use super::fold::{Fold, Keyed, MaxF64, MaxKeyed, MinF64, MinKeyed, SumF64};
use super::lanes::{Backend, LANES, Lanes};
use super::order::is_ordinary;
use super::reference::TREE_ROWS;
use super::sliding::{prefixes, suffixes_of};

/// Stands for a row that has no value.
pub const NONE: f64 = f64::from_bits(0x7FF8_0000_6E6F_6E65);

#[inline(always)]
fn is_none(value: f64) -> bool {
    value.to_bits() == NONE.to_bits()
}

type Block = [f64; TREE_ROWS];

/// What 32 blocks come to.
#[derive(Debug, Clone)]
struct Nodes {
    sums: Block,
    mins: Block,
    maxs: Block,
}

/// A part of [`Nodes`].
trait Part: Fold<Element = f64> {
    fn of(nodes: &Nodes) -> &Block;
}

macro_rules! part {
    ($($fold:ident: $part:ident),*) => {$(
        impl Part for $fold {
            #[inline(always)]
            fn of(nodes: &Nodes) -> &Block {
                &nodes.$part
            }
        }
    )*};
}

part!(SumF64: sums, MinF64: mins, MinKeyed: mins, MaxF64: maxs, MaxKeyed: maxs);

/// What blocks of one size come to.
#[derive(Debug, Clone, Default)]
struct Level {
    /// The number of the first of `nodes`: it begins with block `32 * first`.
    first: u64,
    nodes: VecDeque<Nodes>,
    /// The next block to come.
    end: u64,
}

impl Level {
    /// Sets what block `number` comes to, the next one; those between the last and it are
    /// in no frame any more.
    fn push(&mut self, number: u64, [sum, min, max]: [f64; 3]) {
        let place = number / TREE_ROWS as u64;
        let next = self.first + self.nodes.len() as u64;
        if self.nodes.is_empty() || place > next {
            self.nodes.clear();
            self.first = place;
        }
        if place - self.first == self.nodes.len() as u64 {
            reserve(&mut self.nodes);
            let none = [0.0; TREE_ROWS];
            self.nodes.push_back(Nodes {
                sums: none,
                mins: none,
                maxs: none,
            });
        }
        let nodes = self.nodes.back_mut().expect("it was pushed");
        let slot = number as usize % TREE_ROWS;
        (nodes.sums[slot], nodes.mins[slot], nodes.maxs[slot]) = (sum, min, max);
        self.end = number + 1;
    }

    /// What blocks `from ..until`, all in one, come to.
    #[inline(always)]
    fn part<L: Lanes<Element = f64>, F: Part>(&self, from: u64, until: u64) -> f64 {
        let nodes = &self.nodes[(from / TREE_ROWS as u64 - self.first) as usize];
        let from = from as usize % TREE_ROWS;
        let until = (until as usize - 1) % TREE_ROWS;
        reduce::<L, F>(&F::of(nodes)[from..=until])
    }
}

/// Makes room for one more, and not for many.
fn reserve<T>(queue: &mut VecDeque<T>) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact(queue.len() / 4 + 1);
    }
}

/// Gives back room for what came in a burst.
fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > 4 * (queue.len() + 1) {
        queue.shrink_to(2 * queue.len());
    }
}

/// Rows by ordinal, and what their blocks come to.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The number of the first of `blocks`.
    first: u64,
    blocks: VecDeque<Block>,
    /// The ordinal of the next row.
    end: u64,
    /// Before it stands the last row that is NaN, −0.0 or [`NONE`].
    odd_until: u64,
    /// `[blocks]`: how many rows without a value there were before each.
    nones: VecDeque<u64>,
    /// How many there were in all.
    none_rows: u64,
    /// No row from here on is without a value.
    none_until: u64,
    levels: Vec<Level>,
}

impl Tree {
    /// A tree whose next row has an ordinal.
    pub fn starting_at(ordinal: u64) -> Self {
        Self {
            first: ordinal / TREE_ROWS as u64,
            end: ordinal,
            ..Self::default()
        }
    }

    /// Begins anew, with room for a few rows.
    pub fn clear(&mut self) {
        self.blocks.clear();
        shrink(&mut self.blocks);
        self.levels.clear();
        (self.first, self.end, self.odd_until) = (0, 0, 0);
        self.nones.clear();
        (self.none_rows, self.none_until) = (0, 0);
    }

    /// The ordinal of the next row.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds rows, over which the tree is then to grow ([`super::tree_grow`]). NaN is in its
    /// usual form, or [`NONE`].
    pub fn push(&mut self, values: &[f64]) {
        let is_odd = !is_ordinary(values);
        let count = |values: &[f64]| match is_odd {
            true => values.iter().filter(|value| is_none(**value)).count() as u64,
            false => 0,
        };
        let nones = count(values);
        if is_odd {
            self.odd_until = self.end + values.len() as u64;
        }
        if nones > 0 {
            self.none_until = self.odd_until;
        }
        let mut values = values;
        let filled = self.end as usize % TREE_ROWS;
        self.end += values.len() as u64;
        if filled > 0 && !values.is_empty() {
            let (begun, rest) = values.split_at(values.len().min(TREE_ROWS - filled));
            if self.blocks.is_empty() {
                reserve(&mut self.blocks);
                self.blocks.push_back([0.0; TREE_ROWS]);
                self.nones.push_back(self.none_rows);
            }
            let block = self.blocks.back_mut().expect("it was begun");
            block[filled..filled + begun.len()].copy_from_slice(begun);
            self.none_rows += count(begun);
            values = rest;
        }
        let (blocks, rest) = values.as_chunks::<TREE_ROWS>();
        if blocks.len() > self.blocks.capacity() - self.blocks.len() {
            let more = blocks.len() + self.blocks.len() / 4;
            self.blocks.reserve_exact(more);
        }
        self.blocks.extend(blocks);
        for values in values.chunks(TREE_ROWS) {
            self.nones.push_back(self.none_rows);
            self.none_rows += count(values);
        }
        if !rest.is_empty() {
            let mut block = [0.0; TREE_ROWS];
            block[..rest.len()].copy_from_slice(rest);
            reserve(&mut self.blocks);
            self.blocks.push_back(block);
        }
    }

    /// Forgets rows before one.
    pub fn leave(&mut self, start: u64) {
        let mut first = start / TREE_ROWS as u64;
        let gone = (first.saturating_sub(self.first) as usize).min(self.blocks.len());
        if gone > 0 {
            self.blocks.drain(..gone);
            self.nones.drain(..gone);
            self.first = first;
            shrink(&mut self.blocks);
        }
        for level in &mut self.levels {
            first /= TREE_ROWS as u64;
            while level.first < first && level.nodes.pop_front().is_some() {
                level.first += 1;
                shrink(&mut level.nodes);
            }
        }
    }

    /// Rows from an ordinal on, in parts.
    pub fn rows(&self, start: u64) -> impl Iterator<Item = &[f64]> {
        let until = |block: u64| (self.end - block * TREE_ROWS as u64).min(TREE_ROWS as u64);
        (self.first..)
            .zip(&self.blocks)
            .map(move |(number, block)| {
                let from = start.saturating_sub(number * TREE_ROWS as u64);
                &block[(from as usize).min(TREE_ROWS)..until(number) as usize]
            })
    }

    /// How many rows of each frame have a value, from row `first` on. `lengths`: as for
    /// [`super::tree_sums`]; `out`: one for each.
    pub fn count(&self, first: u64, lengths: &[u32], out: &mut [u32]) {
        assert_eq!(lengths.len(), out.len(), "one count for each frame");
        let Some(&length) = lengths.first() else {
            return;
        };
        let mut start = first + 1 - u64::from(length);
        if start >= self.none_until {
            out.copy_from_slice(lengths);
            return;
        }
        let is_none = |row: u64| {
            let block = &self.blocks[(row / TREE_ROWS as u64 - self.first) as usize];
            u32::from(is_none(block[row as usize % TREE_ROWS]))
        };
        // Before a row: those before its block, and those before it in its block.
        let before = |row: u64| {
            let number = row / TREE_ROWS as u64;
            let in_block: u32 = (number * TREE_ROWS as u64..row).map(is_none).sum();
            self.nones[(number - self.first) as usize] + u64::from(in_block)
        };
        let mut none = (before(first) - before(start)) as u32;
        for (row, (&length, out)) in (first..).zip(lengths.iter().zip(out)) {
            while start < row + 1 - u64::from(length) {
                none -= is_none(start);
                start += 1;
            }
            none += is_none(row);
            *out = length - none;
        }
    }

    /// How many bytes it holds on the heap.
    pub fn bytes(&self) -> usize {
        let nodes = (self.levels.iter()).map(|level| level.nodes.capacity() * size_of::<Nodes>());
        self.nones.capacity() * size_of::<u64>()
            + self.blocks.capacity() * size_of::<Block>()
            + nodes.sum::<usize>()
            + self.levels.capacity() * size_of::<Level>()
    }

    fn is_odd(&self, start: u64) -> bool {
        start < self.odd_until
    }
}

/// Blocks of one size at both sides of a frame, as they were last folded.
#[derive(Clone, Copy)]
struct Sides {
    /// From this block to the end of the larger one that it is in.
    from: u64,
    end: f64,
    /// From the beginning of a larger one to this block, which is not in it.
    until: u64,
    beginning: f64,
}

/// No ordinal needs more sizes of blocks.
const LEVELS_MAX: usize = 13;

/// What whole blocks come to: from one row to the next most are the same.
struct Whole<'a> {
    levels: &'a [Level],
    sides: [Sides; LEVELS_MAX],
}

impl<'a> Whole<'a> {
    fn new(tree: &'a Tree) -> Self {
        let none = Sides {
            from: u64::MAX,
            end: 0.0,
            until: u64::MAX,
            beginning: 0.0,
        };
        Self {
            levels: &tree.levels,
            sides: [none; LEVELS_MAX],
        }
    }

    /// What the blocks `from ..until` of rows come to.
    #[inline(always)]
    fn between<L: Lanes<Element = f64>, F: Part>(&mut self, mut from: u64, mut until: u64) -> f64 {
        const ROWS: u64 = TREE_ROWS as u64;
        let (mut ends, mut beginnings) = (F::IDENTITY, F::IDENTITY);
        for (level, sides) in self.levels.iter().zip(&mut self.sides) {
            if from >= until {
                break;
            }
            let (first, last) = (from / ROWS, (until - 1) / ROWS);
            if first == last {
                let whole = level.part::<L, F>(from, until);
                return F::one(F::one(ends, whole), beginnings);
            }
            if sides.from != from {
                sides.from = from;
                sides.end = level.part::<L, F>(from, (first + 1) * ROWS);
            }
            if sides.until != until {
                sides.until = until;
                sides.beginning = level.part::<L, F>(last * ROWS, until);
            }
            ends = F::one(ends, sides.end);
            beginnings = F::one(sides.beginning, beginnings);
            (from, until) = (first + 1, last);
        }
        F::one(ends, beginnings)
    }
}

/// Up to 32 values folded: eight lanes of rows, then a tree of the lanes.
#[inline(always)]
fn reduce<L: Lanes<Element = f64>, F: Part>(values: &[f64]) -> f64 {
    let (groups, tail) = values.as_chunks::<LANES>();
    let mut folded = L::splat(F::IDENTITY);
    for group in groups {
        folded = F::lanes(folded, L::new(*group));
    }
    if !tail.is_empty() {
        let mut group = [F::IDENTITY; LANES];
        for (slot, value) in group.iter_mut().zip(tail) {
            *slot = *value;
        }
        folded = F::lanes(folded, L::new(group));
    }
    suffixes_of::<L, F>(folded).to_array()[0]
}

/// The values of a block as they are folded.
#[inline(always)]
fn lifted<F: Part, const ODD: bool>(block: &Block) -> Block {
    if !ODD {
        return *block;
    }
    block.map(|value| if is_none(value) { F::IDENTITY } else { value })
}

/// Adds what whole blocks come to; those up to that of `start` are whole in no frame.
#[inline(always)]
pub(super) fn tree_grow<B: Backend>(tree: &mut Tree, start: u64) {
    const ROWS: u64 = TREE_ROWS as u64;
    if tree.levels.is_empty() {
        tree.levels.push(Level::default());
    }
    let next = tree.levels[0].end.max(start / ROWS + 1);
    for number in next..tree.end / ROWS {
        let block = &tree.blocks[(number - tree.first) as usize];
        let mut node = match tree.is_odd(number * ROWS) {
            false => node_of::<B::F64, MinF64, B::F64, MaxF64, B::F64, false>([block; 3]),
            true => node_of::<Keyed<B::I64>, MinKeyed, Keyed<B::I64>, MaxKeyed, B::F64, true>(
                [block; 3],
            ),
        };
        let (mut level, mut number) = (0, number);
        loop {
            tree.levels[level].push(number, node);
            if !(number + 1).is_multiple_of(ROWS) {
                break;
            }
            let nodes = tree.levels[level].nodes.back().expect("it was pushed");
            let parts = [&nodes.sums, &nodes.mins, &nodes.maxs];
            level += 1;
            number /= ROWS;
            let rows = number * ROWS.pow(level as u32 + 1);
            node = match tree.is_odd(rows) {
                false => node_of::<B::F64, MinF64, B::F64, MaxF64, B::F64, false>(parts),
                true => node_of::<Keyed<B::I64>, MinKeyed, Keyed<B::I64>, MaxKeyed, B::F64, false>(
                    parts,
                ),
            };
            if tree.levels.len() == level {
                tree.levels.push(Level::default());
            }
        }
    }
}

#[inline(always)]
fn node_of<
    L: Lanes<Element = f64>,
    Min: Part,
    M: Lanes<Element = f64>,
    Max: Part,
    S: Lanes<Element = f64>,
    const ODD: bool,
>(
    [sums, mins, maxs]: [&Block; 3],
) -> [f64; 3] {
    [
        reduce::<S, SumF64>(&lifted::<SumF64, ODD>(sums)),
        reduce::<L, Min>(&lifted::<Min, ODD>(mins)),
        reduce::<M, Max>(&lifted::<Max, ODD>(maxs)),
    ]
}

/// As [`super::reference::tree_sum`], for the frames of rows `first ..`, into `out`.
#[inline(always)]
pub(super) fn tree_sums<B: Backend>(tree: &Tree, first: u64, lengths: &[u32], out: &mut [f64]) {
    if is_odd(tree, first, lengths) {
        frames::<B::F64, SumF64, true>(tree, first, lengths, out);
    } else {
        frames::<B::F64, SumF64, false>(tree, first, lengths, out);
    }
}

/// The least in the frames of rows `first ..`, into `out`.
#[inline(always)]
pub(super) fn tree_mins<B: Backend>(tree: &Tree, first: u64, lengths: &[u32], out: &mut [f64]) {
    if is_odd(tree, first, lengths) {
        frames::<Keyed<B::I64>, MinKeyed, true>(tree, first, lengths, out);
    } else {
        frames::<B::F64, MinF64, false>(tree, first, lengths, out);
    }
}

/// The greatest in the frames of rows `first ..`, into `out`.
#[inline(always)]
pub(super) fn tree_maxs<B: Backend>(tree: &Tree, first: u64, lengths: &[u32], out: &mut [f64]) {
    if is_odd(tree, first, lengths) {
        frames::<Keyed<B::I64>, MaxKeyed, true>(tree, first, lengths, out);
    } else {
        frames::<B::F64, MaxF64, false>(tree, first, lengths, out);
    }
}

fn is_odd(tree: &Tree, first: u64, lengths: &[u32]) -> bool {
    let length = lengths.first().map_or(0, |length| u64::from(*length));
    tree.is_odd(first + 1 - length)
}

#[inline(always)]
fn frames<L: Lanes<Element = f64>, F: Part, const ODD: bool>(
    tree: &Tree,
    first: u64,
    lengths: &[u32],
    out: &mut [f64],
) {
    const ROWS: usize = TREE_ROWS;
    assert_eq!(lengths.len(), out.len(), "one result for each frame");
    // From here on rows are counted from the first that is held.
    let first = (first - tree.first * ROWS as u64) as usize;
    let start_of = |row: usize| first + row + 1 - lengths[row] as usize;
    let mut ends = [F::IDENTITY; ROWS];
    let mut ends_of = usize::MAX;
    let mut whole = Whole::new(tree);
    let mut row = 0;
    while row < lengths.len() {
        let last = (first + row) / ROWS;
        let block = &tree.blocks[last];
        let until = lengths.len().min((last + 1) * ROWS - first);
        let beginnings = beginnings::<L, F>(&lifted::<F, ODD>(block));
        while row < until {
            let start = start_of(row);
            let begun = start / ROWS;
            if begun == last {
                let frame = start % ROWS..=(first + row) % ROWS;
                out[row] = F::usual(reduce::<L, F>(&lifted::<F, ODD>(block)[frame]));
                row += 1;
                continue;
            }
            if ends_of != begun {
                ends = ends_from::<L, F>(&lifted::<F, ODD>(&tree.blocks[begun]));
                ends_of = begun;
            }
            let (from, to) = (tree.first + begun as u64 + 1, tree.first + last as u64);
            let middle = whole.between::<L, F>(from, to);
            // Rows whose frames begin in one block and end in one; starts never fall.
            let limit = (begun + 1) * ROWS;
            let count: usize = (row..until)
                .map(|row| usize::from(start_of(row) < limit))
                .sum();
            let rows = row..row + count;
            let mut older = [F::IDENTITY; ROWS];
            for (older, row) in older.iter_mut().zip(rows.clone()) {
                *older = ends[start_of(row) % ROWS];
            }
            let beginnings = &beginnings[(first + row) % ROWS..][..count];
            let out = &mut out[rows.clone()];
            for ((out, older), beginning) in out.iter_mut().zip(&older).zip(beginnings) {
                *out = F::usual(F::one(F::one(*older, middle), *beginning));
            }
            row = rows.end;
        }
    }
}

/// Each value folded with all before it.
#[inline(always)]
fn beginnings<L: Lanes<Element = f64>, F: Part>(block: &Block) -> Block {
    let mut folded = [F::IDENTITY; TREE_ROWS];
    let mut carry = L::splat(F::IDENTITY);
    let (groups, _) = block.as_chunks::<LANES>();
    for (group, folded) in groups.iter().zip(folded.as_chunks_mut::<LANES>().0) {
        let begun = prefixes::<L, F>(L::new(*group));
        *folded = F::lanes(carry, begun).to_array();
        carry = F::lanes(carry, begun.last());
    }
    folded
}

/// Each value folded with all after it.
#[inline(always)]
fn ends_from<L: Lanes<Element = f64>, F: Part>(block: &Block) -> Block {
    let mut folded = [F::IDENTITY; TREE_ROWS];
    let mut carry = L::splat(F::IDENTITY);
    let (groups, _) = block.as_chunks::<LANES>();
    for (group, folded) in (groups.iter().zip(folded.as_chunks_mut::<LANES>().0)).rev() {
        let rest = suffixes_of::<L, F>(L::new(*group));
        *folded = F::lanes(rest, carry).to_array();
        carry = F::lanes(rest.first(), carry);
    }
    folded
}
