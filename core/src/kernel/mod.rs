//! Inner loops over slices: numbers in, numbers out.
//!
//! One binary uses the widest vectors that the processor has. Each kernel is one
//! generic body over eight logical lanes ([`lanes`]), compiled once for each level; the
//! level is chosen once ([`dispatch`]), and a call costs one branch.
//!
//! ```text
//!  kernel::sum_f64(…) ─▶ Kernels { level } ─┬─▶ shim with AVX-512 ─┐
//!                                           ├─▶ shim with AVX2 ────┼─▶ one body over `Lanes`
//!                                           └─▶ baseline ──────────┘
//! ```
//!
//! Lanes, blocks and the order of every addition are fixed, and nothing is fused: all
//! levels give the same bits, those of [`reference`], which is each kernel as one plain
//! loop. A body that does not beat its plain loop is a plain loop, under the same shims if
//! compilers make more of it there.
//!
//! Floats are ordered as everywhere in the engine: −0.0 is below 0.0; NaN, whatever its
//! sign, is one value and the greatest. A sum is never −0.0. A NaN that is given out is
//! in its usual form.
//!
//! This module knows no Arrow, no windows and no threads. It holds `unsafe`, for
//! processor instructions, and for what is asked of the allocator.

mod bits;

mod fetch;

mod heap;

mod order;

mod record;

mod words;

mod lanes;

pub mod reference;

mod reduce;

mod grouped;

mod strings;

mod fold;

mod sliding;

mod tree;

mod ranked;

mod dispatch;

#[cfg(test)]
mod tests;

pub use bits::Bits;
pub use dispatch::{
    Kernels, LEVEL_VARIABLE, Level, add_rows, add_rows_f32, add_run, find_short, find_short_large,
    level, max_f64, min_f64, min_max_i64, range_max_f64, range_max_i64, range_min_f64,
    range_min_i64, range_sum_f64, range_sum_i64, rank_frames, rows_max_f64, rows_max_i64,
    rows_min_f64, rows_min_i64, rows_sum_f64, rows_sum_i64, sum_f64, summarize_f64, tree_grow,
    tree_maxs, tree_mins, tree_sums,
};
pub use fetch::{AHEAD_ROWS, fetch};
pub(crate) use heap::in_large_pages;
pub use heap::keep_freed_memory;
pub use ranked::{Around, Ranked};
pub use record::{LaneRecord, Record};
pub use reference::{BLOCK_ROWS, Frame, NARROW_ROWS, Summary, TREE_ROWS};
pub use sliding::{range_frames, range_starts};
pub use tree::{NONE, Tree};
pub use words::{FIND_ROWS, SHORT_LEN_MAX, WORD_LEN, WordTable, hash_word, short_word};
