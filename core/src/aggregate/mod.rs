//! Aggregates as columns of partial states.
//!
//! An [`AggregateState`] holds one *slot* for each (pane, key) that has rows: a
//! column of partial states, not an object for each group. Rows are *lifted* into
//! their slots, slots are *combined* into others when panes become windows, and
//! *lowered* to values when a window closes.
//!
//! ```text
//!  rows ──update──▶ slots ──merge──▶ slots ──evaluate──▶ values
//!                     │ ▲
//!                save ▼ │ load        (columns, by slot)
//! ```
//!
//! Values, NULL rules, types and overflow are those of DataFusion's aggregate of the
//! same name, but for NaN (greatest whatever its sign; `min` passes over it unless
//! all values are NaN) and for the exceptions that a state's documentation names.
//!
//! [`registry::native`] gives the factory of a call by its name and types;
//! [`fused::fuse`] then joins calls that can share one pass and one record. A state of
//! a fixed size is a `Fold`, one that grows is a `Collect`: these two hold the columns
//! of states and the loops over rows, and each aggregate says what a row does.
//!
//! This module knows no window, no key and no SQL.

// In the order in which they may use each other.
mod bytes;
mod physical;
mod saved;
mod select;
mod shards;

pub mod slide;

mod fold;
mod keys;

mod slots;
mod stacks;

pub(crate) mod slide_floats;

mod collect;

mod count;
mod first_last;
mod min_max;
mod moments;
mod sum;
mod widened;

mod held;

mod distinct;
mod hll;
mod quantile;

mod slide_quantiles;

mod exact;

mod sketch;

mod numbers;

mod counts;

pub mod fused;
pub mod registry;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, FieldRef};

use crate::error::Result;
use slide::SlidingState;

/// Rows on their way into slots.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// `[rows]`: the slot of each row, each below the number of slots.
    pub slots: &'a [u32],
    /// The arguments, each `[rows]`.
    pub args: &'a [ArrayRef],
    /// `[rows]`: only rows where it is true (not NULL) take part.
    pub filter: Option<&'a BooleanArray>,
    /// `[rows]`: event times, in ticks.
    pub times: &'a [i64],
    /// The ordinal of the first row in the order of arrival; the others follow it.
    pub first_ordinal: u64,
}

/// The partial states of one aggregate, one for each slot.
///
/// A slot that no row has reached is *empty*: `merge` of an empty slot changes
/// nothing, `evaluate` gives what the aggregate gives over no rows.
pub trait AggregateState: Send + Debug {
    /// Makes room for slots `0 .. slots`; the new ones are empty. Never shrinks.
    fn resize(&mut self, slots: usize);

    /// Makes slots empty again, so that they can serve another (pane, key).
    fn clear(&mut self, slots: &[u32]);

    /// As [`AggregateState::clear`], for `len` neighbouring slots.
    fn clear_block(&mut self, first: u32, len: u32) {
        self.clear(&(first..first + len).collect::<Vec<_>>());
    }

    /// Adds rows to their slots, in row order.
    ///
    /// # Errors
    /// On data that the aggregate refuses, or when a named limit is reached.
    fn update(&mut self, rows: Rows<'_>) -> Result<()>;

    /// As [`AggregateState::update`], where all rows go to one slot.
    ///
    /// - `rows.slots`: none.
    ///
    /// # Errors
    /// As [`AggregateState::update`].
    fn update_run(&mut self, slot: u32, rows: Rows<'_>) -> Result<()> {
        self.update(Rows {
            slots: &vec![slot; rows.times.len()],
            ..rows
        })
    }

    /// Combines slot `from[i]` into slot `into[i]`, for each `i` in order. `into[i]`
    /// holds the earlier rows of the two; `from[i]` keeps its state.
    ///
    /// # Errors
    /// When a named limit is reached.
    ///
    /// # Panics
    /// If the lengths disagree.
    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()>;

    /// As [`AggregateState::merge`], for neighbouring slots: `len` of them from `from` on
    /// into those from `into` on. The two runs share no slot.
    ///
    /// # Errors
    /// As [`AggregateState::merge`].
    ///
    /// # Panics
    /// If the runs share a slot.
    fn merge_block(&mut self, into: u32, from: u32, len: u32) -> Result<()> {
        let run = |first: u32| (first..first + len).collect::<Vec<_>>();
        self.merge(&run(into), &run(from))
    }

    /// The values of slots, `[slots]`, of the factory's return type. States stay as
    /// they are.
    ///
    /// # Errors
    /// On values that the aggregate refuses.
    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef>;

    /// The states of slots as columns, each `[slots]`. The number of columns and
    /// their types are the same for every call.
    ///
    /// # Errors
    /// If a state cannot be expressed as columns.
    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Puts saved states into empty slots: bit for bit what was saved.
    ///
    /// # Errors
    /// If the columns are not those of [`AggregateState::save`].
    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()>;

    /// How many bytes the states hold.
    fn state_bytes(&self) -> usize;
}

/// Makes the states of one aggregate call.
pub trait AggregateFactory: Any + Send + Sync + Debug {
    /// A state without slots.
    ///
    /// # Errors
    /// If the aggregate cannot be made for its argument types.
    fn create(&self) -> Result<Box<dyn AggregateState>>;

    /// The type of the values.
    fn return_type(&self) -> DataType;

    /// Whether a state grows with its rows, so that copies of it are dear.
    fn holds_values(&self) -> bool {
        false
    }

    /// Whether rows may come in smaller parts than the batches that they came in: the
    /// values do not depend on the cut, and an update costs little beside its rows.
    fn takes_parts(&self) -> bool {
        true
    }

    /// Its states over frames that slide from row to row; `None` if it has none: what
    /// holds all values would hold those of a frame many times.
    fn sliding(&self) -> Option<Box<dyn SlidingState>> {
        if self.holds_values() {
            return None;
        }
        self.create().ok().map(slots::sliding)
    }

    /// Makes states that serve this aggregate and others over the same values, whose
    /// values are a struct with a field for each; `None` if they differ in more than in
    /// what is made of a state.
    fn join(&self, others: &[Arc<dyn AggregateFactory>]) -> Option<Arc<dyn AggregateFactory>> {
        let _ = others;
        None
    }

    /// What it gives where it shares a record with others over one column of floats;
    /// `None` if it cannot.
    fn shared(&self) -> Option<Shared> {
        None
    }

    /// Whether its argument is a column of `Float32`.
    fn is_narrow(&self) -> bool {
        false
    }
}

/// What can be read from one record of a column of floats: see [`fused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// How many rows there are, or how many in which the argument is valid.
    Count,
    /// The sum.
    Sum,
    /// The average.
    Avg,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
}

/// One aggregate of a query: which one, over which columns.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// Makes the states.
    pub factory: std::sync::Arc<dyn AggregateFactory>,
    /// The argument columns of the operator's input.
    pub args: Vec<usize>,
    /// The boolean column of `FILTER (WHERE …)`.
    pub filter: Option<usize>,
    /// The output column.
    pub field: FieldRef,
}
