//! Values of frames in order of size: the two around a rank, as rows come and go.
//!
//! Values are compared as integers, [`order::key`], so equal values are one another's equals
//! in every bit. Few of them stand side by side ([`few`]), many in chunks ([`chunks`]): a row
//! costs nearly the same however long its frame is, and hardly a branch depends on values.
//!
//! What a frame gives follows from its values alone: it does not matter how they came.

use super::lanes::Backend;
use super::order;
use super::tree::NONE;

mod chunks;
mod few;

use chunks::Chunks;
use few::{FEW_MAX, Few};

/// Stands for no value; greater than any.
const FREE: i64 = i64::MAX;

/// Room that may stay empty.
const ROOM_MIN: usize = 32;

/// The values of a frame around a rank.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Around {
    /// At the rank, or below it.
    pub lower: f64,
    /// At the rank, or above it.
    pub upper: f64,
    /// How many values the frame has; if it has none, there is nothing around.
    pub values: u32,
}

/// Values in their order.
#[derive(Debug, Clone)]
enum Sorted {
    Few(Vec<i64>),
    Many(Chunks),
}

/// The rows of a frame in the order in which they came, and their values by size.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// Keys of values, [`FREE`] for a row without one.
    rows: Vec<i64>,
    /// Rows before it have left.
    first: usize,
    /// Rows from it on are to come.
    until: usize,
    /// The values of `rows[first..until]`.
    sorted: Sorted,
}

impl Default for Ranked {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            first: 0,
            until: 0,
            sorted: Sorted::Few(Vec::new()),
        }
    }
}

impl Ranked {
    /// Adds rows that are to come; [`NONE`] for one without a value.
    pub fn push(&mut self, values: impl Iterator<Item = f64>) {
        // What has left is let go when it is most of what is held.
        if self.first > self.rows.len() / 2 {
            self.rows.drain(..self.first);
            self.until -= self.first;
            self.first = 0;
            let rows = self.rows.len() + values.size_hint().0;
            if self.rows.capacity() > 4 * (rows + ROOM_MIN) {
                self.rows.shrink_to(2 * rows);
            }
        }
        let key = |value: f64| match value.to_bits() == NONE.to_bits() {
            true => FREE,
            false => order::key(value),
        };
        self.rows.extend(values.map(key));
    }

    /// Takes all rows that are to come into the frame.
    pub fn take_in(&mut self) {
        self.until = self.rows.len();
        let rows = self.rows[self.first..].iter().copied();
        let mut values: Vec<i64> = rows.filter(|value| *value != FREE).collect();
        values.sort_unstable();
        self.sorted = match values.len() <= FEW_MAX {
            true => Sorted::Few(values),
            false => Sorted::Many(Chunks::of(&values)),
        };
    }

    /// The values of the frame's rows, in the order in which they came.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Option<f64>> {
        let value = |key: &i64| (*key != FREE).then(|| order::of_key(*key));
        self.rows[self.first..self.until].iter().map(value)
    }

    /// On the heap.
    pub fn bytes(&self) -> usize {
        let sorted = match &self.sorted {
            Sorted::Few(values) => values.capacity() * size_of::<i64>(),
            Sorted::Many(chunks) => chunks.bytes(),
        };
        self.rows.capacity() * size_of::<i64>() + sorted
    }

    /// The next row comes into a frame of so many rows: where those begin that leave it, and
    /// those that stay.
    #[inline(always)]
    fn advance(&mut self, length: u32) -> (usize, usize) {
        let first = self.first;
        let start = self.until + 1 - length as usize;
        assert!(first <= start, "a frame begins nowhere before the last");
        (self.first, self.until) = (start, self.until + 1);
        (first, start)
    }

    /// Whether a value leaves when the next row comes into a frame of so many rows.
    #[inline(always)]
    fn has_leaving(&self, length: u32) -> bool {
        let start = self.until + 1 - length as usize;
        self.rows[self.first..start]
            .iter()
            .any(|value| *value != FREE)
    }

    /// Moves over rows while there are few values; how many rows it moved over.
    #[inline(always)]
    fn move_few<B: Backend>(
        &mut self,
        values: &mut Vec<i64>,
        lengths: &[u32],
        fraction: f64,
        out: &mut [Around],
    ) -> usize {
        let mut few = Few::new(values);
        let mut moved = 0;
        for (length, out) in lengths.iter().zip(out) {
            if few.values().len() == FEW_MAX && !self.has_leaving(*length) {
                break;
            }
            let (first, start) = self.advance(*length);
            let mut leaving = FREE;
            for &value in &self.rows[first..start] {
                if leaving != FREE {
                    few.replace::<B>(leaving, FREE);
                }
                leaving = value;
            }
            few.replace::<B>(leaving, self.rows[self.until - 1]);
            *out = around(few.values().len(), fraction, |rank| {
                let values = &few.values()[rank..];
                (values[0], values.get(1).copied().unwrap_or(FREE))
            });
            moved += 1;
        }
        values.clear();
        values.extend_from_slice(few.values());
        moved
    }

    /// Moves over rows.
    #[inline(always)]
    fn move_many(
        &mut self,
        chunks: &mut Chunks,
        lengths: &[u32],
        fraction: f64,
        out: &mut [Around],
    ) {
        for (length, out) in lengths.iter().zip(out) {
            let (first, start) = self.advance(*length);
            for &value in &self.rows[first..start] {
                if value != FREE {
                    chunks.remove(value);
                }
            }
            let value = self.rows[self.until - 1];
            if value != FREE {
                chunks.insert(value);
            }
            *out = around(chunks.len(), fraction, |rank| chunks.at(rank as u32));
        }
    }
}

/// What is around a rank among so many values. `at`: the value at a rank and the next.
#[inline(always)]
fn around(values: usize, fraction: f64, at: impl FnOnce(usize) -> (i64, i64)) -> Around {
    if values == 0 {
        return Around::default();
    }
    let index = fraction * (values - 1) as f64;
    let rank = index as usize;
    let (lower, next) = at(rank);
    let upper = if (rank as f64) < index { next } else { lower };
    Around {
        lower: order::of_key(lower),
        upper: order::of_key(upper),
        values: values as u32,
    }
}

/// See [`super::dispatch::rank_frames`]. The compiler makes vectors of its loops.
#[inline(always)]
pub(super) fn rank_frames<B: Backend>(
    ranked: &mut Ranked,
    lengths: &[u32],
    fraction: f64,
    out: &mut [Around],
) {
    assert_eq!(lengths.len(), out.len(), "a value for each frame");
    let sorted = std::mem::replace(&mut ranked.sorted, Sorted::Few(Vec::new()));
    let (mut chunks, moved) = match sorted {
        Sorted::Few(mut values) => {
            let moved = ranked.move_few::<B>(&mut values, lengths, fraction, out);
            if moved == lengths.len() {
                ranked.sorted = Sorted::Few(values);
                return;
            }
            (Chunks::of(&values), moved)
        }
        Sorted::Many(chunks) => (chunks, 0),
    };
    ranked.move_many(&mut chunks, &lengths[moved..], fraction, &mut out[moved..]);
    ranked.sorted = match chunks.len() < FEW_MAX / 2 {
        true => Sorted::Few(chunks.values().collect()),
        false => Sorted::Many(chunks),
    };
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Kernels;

    fn value() -> impl Strategy<Value = f64> {
        const ODD: [f64; 7] = [
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            NONE,
        ];
        prop_oneof![
            3 => -1e3..1e3,
            3 => (-4i32..4).prop_map(f64::from),
            1 => (0..ODD.len()).prop_map(|at| ODD[at]),
        ]
    }

    /// Rows that rise, fall, come and go in waves, or are in no order, of some pattern.
    fn rows() -> impl Strategy<Value = Vec<f64>> {
        (vec(value(), 1..1_500), 0..4).prop_map(|(mut rows, form)| {
            let count = rows.len() as f64;
            for (at, row) in rows.iter_mut().enumerate().filter(|_| form > 0) {
                let at = at as f64;
                *row = match form {
                    1 => at,
                    2 => count - at,
                    _ => (at / 90.0).sin() * 500.0 + *row / 100.0,
                };
            }
            rows
        })
    }

    /// The values around a rank, by sorting them.
    fn sorted(rows: &[f64], fraction: f64) -> Around {
        let is_none = |row: &&f64| row.to_bits() == NONE.to_bits();
        let mut values: Vec<f64> = rows.iter().filter(|row| !is_none(row)).copied().collect();
        values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
            (false, false) => a.total_cmp(b),
            (a, b) => a.cmp(&b),
        });
        if values.is_empty() {
            return Around::default();
        }
        let index = fraction * (values.len() - 1) as f64;
        Around {
            lower: values[index.floor() as usize],
            upper: values[index.ceil() as usize],
            values: values.len() as u32,
        }
    }

    fn is_same(found: &Around, wanted: &Around) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        found.values == wanted.values
            && same(found.lower, wanted.lower)
            && same(found.upper, wanted.upper)
    }

    /// Frames of so many rows, but that some begin anew and some let many rows go at once.
    fn lengths(rows: usize, width: usize, breaks: &[usize]) -> Vec<u32> {
        let mut length = 0;
        let each = |row: usize| {
            length = (length + 1).min(width);
            match breaks.iter().position(|at| *at == row) {
                Some(0) => length = 1,
                Some(part) => length = (length / (part + 1)).max(1),
                None => {}
            }
            length as u32
        };
        (0..rows).map(each).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

        #[test]
        fn values_around_a_rank_are_those_of_the_sorted_frame(
            rows in rows(),
            width in prop_oneof![1usize..40, 40usize..1_500],
            breaks in vec(0usize..1_500, 0..6),
            fraction in prop_oneof![Just(0.5), Just(0.0), Just(1.0), 0.0..1.0],
            piece in 1usize..400,
        ) {
            let lengths = lengths(rows.len(), width, &breaks);
            for kernels in Kernels::available() {
                let mut ranked = Ranked::default();
                let mut found = Vec::new();
                for (values, lengths) in rows.chunks(piece).zip(lengths.chunks(piece)) {
                    ranked.push(values.iter().copied());
                    let mut out = vec![Around::default(); lengths.len()];
                    kernels.rank_frames(&mut ranked, lengths, fraction, &mut out);
                    found.extend(out);
                    // As it is saved and restored.
                    let held: Vec<f64> = ranked.rows().map(|row| row.unwrap_or(NONE)).collect();
                    if held.len().is_multiple_of(3) {
                        ranked = Ranked::default();
                        ranked.push(held.into_iter());
                        ranked.take_in();
                    }
                }
                for (row, length) in lengths.iter().enumerate() {
                    let frame = &rows[row + 1 - *length as usize..=row];
                    let wanted = sorted(frame, fraction);
                    prop_assert!(
                        is_same(&found[row], &wanted),
                        "row {}: {:?}, not {:?}", row, found[row], wanted
                    );
                }
            }
        }
    }

    #[test]
    fn room_is_given_back() {
        let mut ranked = Ranked::default();
        let lengths: Vec<u32> = (1..=100_000).collect();
        let mut out = vec![Around::default(); lengths.len()];
        ranked.push((0..100_000).map(f64::from));
        Kernels::available()[0].rank_frames(&mut ranked, &lengths, 0.5, &mut out);
        assert!(ranked.bytes() > 100_000 * 16);
        for _ in 0..3 {
            ranked.push([1.0].into_iter());
            Kernels::available()[0].rank_frames(&mut ranked, &[2], 0.5, &mut out[..1]);
        }
        assert!(ranked.bytes() < 5_000, "{} bytes", ranked.bytes());
    }
}
