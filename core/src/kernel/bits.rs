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
    #[inline(always)]
    pub fn count(&self) -> usize {
        let words = self.rows.div_ceil(u64::BITS as usize);
        (0..words)
            .map(|at| self.word(at).count_ones() as usize)
            .sum()
    }

    /// The bits of rows `64 * word ..`, zero after the last row.
    #[inline(always)]
    pub(super) fn word(&self, word: usize) -> u64 {
        let bytes = &self.bytes[8 * word..];
        // Rows that do not begin with a byte end in a ninth.
        let (low, high) = match bytes.first_chunk::<9>() {
            Some([low @ .., high]) => (u64::from_le_bytes(*low), *high),
            None => {
                let mut low = [0; 8];
                let some = bytes.len().min(8);
                low[..some].copy_from_slice(&bytes[..some]);
                (u64::from_le_bytes(low), 0)
            }
        };
        let bits = ((u128::from(high) << 64 | u128::from(low)) >> self.offset) as u64;
        match self.rows - 64 * word {
            rows @ 0..64 => bits & ((1 << rows) - 1),
            _ => bits,
        }
    }
}
