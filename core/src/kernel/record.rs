//! What floats of a group come to.

/// As many as there are lanes.
const LANES: usize = 8;

/// What the values of a group come to.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(32))]
pub struct Record {
    /// Added in row order.
    pub sum: f64,
    /// How many values there are.
    pub count: u64,
    /// The least and the greatest, as integers in the order of floats: see
    /// [`super::reference::add_rows`].
    pub span: [i64; 2],
}

impl Record {
    /// Of no values.
    pub const EMPTY: Self = Self {
        sum: 0.0,
        count: 0,
        span: [i64::MAX, i64::MIN],
    };
}

/// What the values of one group come to that takes many in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct LaneRecord {
    /// Value `n` is added to lane `n % 8`, in row order.
    pub sums: [f64; LANES],
    /// How many values there are.
    pub count: u64,
    /// As in [`Record`].
    pub span: [i64; 2],
}

impl LaneRecord {
    /// Of no values.
    pub const EMPTY: Self = Self {
        sums: [0.0; LANES],
        count: 0,
        span: [i64::MAX, i64::MIN],
    };
}
