//! What floats of a group come to.

/// As many as there are lanes.
const LANES: usize = 8;

/// What the values of a group come to: 28 bytes, and 20 where they are floats of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, packed(4))]
pub struct Record<K = i64> {
    /// The least and the greatest, as integers in the order of floats: see
    /// [`super::reference::add_rows`].
    pub span: [K; 2],
    /// Added in row order.
    pub sum: f64,
    /// How many values there are; whoever adds sees to it that there are not more.
    pub count: u32,
}

impl Record {
    /// Of no values.
    pub const EMPTY: Self = Self {
        span: [i64::MAX, i64::MIN],
        sum: 0.0,
        count: 0,
    };
}

impl Record<i32> {
    /// Of no values.
    pub const EMPTY: Self = Self {
        span: [i32::MAX, i32::MIN],
        sum: 0.0,
        count: 0,
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
