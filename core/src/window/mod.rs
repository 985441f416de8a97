//! Windows: which of them hold a row, and the panes that they are made of.
//!
//! This module knows times in ticks and slots of partial states. It knows no SQL, no
//! source and no sink.

pub(crate) mod calendar;
mod ends;

pub(crate) mod frames;
pub(crate) mod grid;
pub(crate) mod held;
pub(crate) mod in_time;
pub(crate) mod key_slots;
pub(crate) mod session;
pub(crate) mod stages;
pub(crate) mod tables;

pub(crate) mod arena;

mod idle;
pub(crate) mod store;

pub(crate) mod opened;

pub(crate) mod rollover;

pub(crate) mod route;

pub(crate) mod gathered;

pub(crate) mod lift;

pub use frames::OverFrame;
pub use held::COUNT_WINDOW_ROWS_MAX;
pub use in_time::WAITING_BYTES_MAX;

use chrono_tz::Tz;

/// A length of time: fixed, or a number of calendar units in a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// Ticks of the time column.
    Ticks(i64),
    /// Days of a time zone's calendar: 23 to 25 hours each.
    Days(u32),
    /// Months of a time zone's calendar.
    Months(u32),
}

/// A window function with its sizes, in ticks of the time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Disjoint windows of one size.
    Tumble {
        /// The size, above zero.
        size: Span,
    },
    /// Windows of `size` that start at every `slide`; `slide <= size`.
    Hop {
        /// The distance of two starts, above zero.
        slide: Span,
        /// The size; it need not be a multiple of `slide`.
        size: Span,
    },
    /// Windows that grow by `step` up to `size`, then start again.
    Cumulate {
        /// The growth, above zero; `size` is a multiple of it.
        step: Span,
        /// The full size.
        size: Span,
    },
    /// A key's rows no further apart than `gap` (a distance of `gap` merges); the
    /// window ends at its last row plus `gap`.
    Session {
        /// The gap, above zero.
        gap: i64,
    },
    /// `rows` rows of a key in event-time order, ties in order of arrival.
    Count {
        /// Rows in a window, above zero.
        rows: u64,
        /// The distance of two windows' first rows; `slide <= rows`.
        slide: u64,
    },
}

/// Where windows start counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Alignment {
    /// Ticks after the Unix epoch (or after local midnight for calendar spans) at
    /// which a window starts; may be negative.
    pub offset: i64,
    /// The time zone of calendar spans; UTC if none.
    pub timezone: Option<Tz>,
}
