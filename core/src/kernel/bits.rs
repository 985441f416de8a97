//! One bit per row.

/// Which rows are valid: one bit per row, least significant first, as Arrow has them.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// The bit of row 0.
    offset: usize,
    rows: usize,
}

impl<'a> Bits<'a> {
    /// The bits of `rows` rows, of which the first is bit `offset` of `bytes`.
    ///
    /// # Panics
    /// If the bytes end before the rows.
    pub fn new(bytes: &'a [u8], offset: usize, rows: usize) -> Self {
        assert!(
            (offset.checked_add(rows)).is_some_and(|bits| bits.div_ceil(8) <= bytes.len()),
            "{rows} rows from bit {offset} in {} bytes",
            bytes.len()
        );
        Self {
            bytes: &bytes[offset / 8..],
            offset: offset % 8,
            rows,
        }
    }

    /// How many rows there are, valid or not.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a row is valid.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn is_valid(&self, row: usize) -> bool {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let bit = self.offset + row;
        self.bytes[bit / 8] >> (bit % 8) & 1 == 1
    }

    /// How many rows are valid.
    pub fn count(&self) -> usize {
        let groups = self.rows.div_ceil(8);
        let ones = |group| self.group(group).count_ones() as usize;
        (0..groups).map(ones).sum()
    }

    /// The bits of rows `8 * group ..`, zero after the last row.
    #[inline(always)]
    pub(super) fn group(&self, group: usize) -> u8 {
        let low = self.bytes[group];
        // Only a byte with rows of this group may be missing.
        let high = self.bytes.get(group + 1).copied().unwrap_or(0);
        let bits = (u16::from_le_bytes([low, high]) >> self.offset) as u8;
        match self.rows - 8 * group {
            rows @ 0..8 => bits & ((1 << rows) - 1),
            _ => bits,
        }
    }
}
