//! Values of frames in order of size: the two around a rank, as rows come and go.
//!
//! The values of a frame stand in chunks of at most 31, in their order; a list of the first
//! value of each chunk says where a value belongs:
//!
//! ```text
//!  firsts   −7         3          8
//!  chunks   −7 −1 2 ·  3 3 5 7 ·  8 9 ·   ·         rank 4 = second of the second chunk
//! ```
//!
//! A value is found by comparing it with all of a chunk, and put in or taken out by one
//! pass over it: no branch depends on the values, and a row costs nearly the same however
//! long its frame is. Values are compared as integers, [`order::key`], so equal values are
//! one another's equals in every bit.
//!
//! What a frame gives follows from its values alone: it does not matter how they came.

use super::lanes::Backend;
use super::order;
use super::tree::NONE;

/// Values of a chunk and one place that stays free.
const CHUNK: usize = 32;

/// Chunks with fewer values are joined with their neighbours.
const CHUNK_MIN: u32 = CHUNK as u32 / 4;

/// So many chunks are compared at once; in longer lists the place is searched for.
const FIRSTS_MAX: usize = 64;

/// Lists of so few chunks are walked from the front.
const WALK_MAX: usize = 8;

/// Stands for no value; greater than any.
const FREE: i64 = i64::MAX;

type Chunk = [i64; CHUNK];

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
#[derive(Debug, Clone, Default)]
struct Sorted {
    // One entry for each chunk; none is empty, but the only one may be.
    chunks: Vec<Box<Chunk>>,
    lens: Vec<u32>,
    firsts: Vec<i64>,
    /// How many values there are.
    len: u32,
    /// The chunk that was asked last, and how many values are before it.
    asked: usize,
    before: u32,
}

impl Sorted {
    /// The last chunk that begins at a value or below it; else the first.
    #[inline(always)]
    fn chunk_of(&self, value: i64) -> usize {
        let firsts = &self.firsts[..];
        let until = if firsts.len() <= FIRSTS_MAX {
            firsts
                .iter()
                .map(|first| i64::from(*first <= value))
                .sum::<i64>() as usize
        } else {
            firsts.partition_point(|first| *first <= value)
        };
        until.saturating_sub(1)
    }

    #[inline(always)]
    fn insert(&mut self, value: i64) {
        if self.chunks.is_empty() {
            self.add_chunk(0, &[]);
        }
        let at = self.chunk_of(value);
        let chunk = &mut *self.chunks[at];
        // Values above move up by one: each place has the middle of three.
        for place in (1..CHUNK).rev() {
            chunk[place] = chunk[place - 1].max(chunk[place].min(value));
        }
        chunk[0] = chunk[0].min(value);
        self.firsts[at] = chunk[0];
        self.lens[at] += 1;
        self.len += 1;
        self.before += u32::from(at < self.asked);
        if self.lens[at] as usize == CHUNK - 1 {
            self.split(at);
        }
    }

    /// Takes a value out that is there.
    #[inline(always)]
    fn remove(&mut self, value: i64) {
        let at = self.chunk_of(value);
        let chunk = &mut *self.chunks[at];
        for place in 0..CHUNK - 1 {
            let (own, next) = (chunk[place], chunk[place + 1]);
            chunk[place] = if own < value { own } else { next };
        }
        self.firsts[at] = chunk[0];
        self.lens[at] -= 1;
        self.len -= 1;
        self.before -= u32::from(at < self.asked);
        if self.lens[at] < CHUNK_MIN {
            self.join(at);
        }
    }

    fn clear(&mut self) {
        match self.chunks.len() {
            0 => {}
            1 => {
                self.chunks[0].fill(FREE);
                self.lens[0] = 0;
                self.firsts[0] = FREE;
                (self.len, self.before) = (0, 0);
            }
            _ => *self = Self::default(),
        }
    }

    fn add_chunk(&mut self, at: usize, values: &[i64]) {
        let mut chunk: Chunk = [FREE; CHUNK];
        chunk[..values.len()].copy_from_slice(values);
        self.chunks.insert(at, Box::new(chunk));
        self.lens.insert(at, values.len() as u32);
        self.firsts.insert(at, chunk[0]);
    }

    fn drop_chunk(&mut self, at: usize) {
        self.chunks.remove(at);
        self.lens.remove(at);
        self.firsts.remove(at);
        if self.chunks.capacity() > 4 * (self.chunks.len() + CHUNK) {
            self.chunks.shrink_to_fit();
            self.lens.shrink_to_fit();
            self.firsts.shrink_to_fit();
        }
    }

    /// Makes two of a full chunk.
    #[cold]
    #[inline(never)]
    fn split(&mut self, at: usize) {
        let all = *self.chunks[at];
        let middle = CHUNK / 2;
        self.chunks[at][middle..].fill(FREE);
        self.lens[at] = middle as u32;
        self.add_chunk(at + 1, &all[middle..CHUNK - 1]);
        self.asked += usize::from(at < self.asked);
    }

    /// Joins a chunk with a neighbour, if both are small.
    #[cold]
    #[inline(never)]
    fn join(&mut self, at: usize) {
        let fits = |at: usize| {
            let lens = self.lens.get(at).zip(self.lens.get(at + 1));
            lens.is_some_and(|(one, other)| one + other <= CHUNK as u32 / 2)
        };
        let at = match at {
            _ if self.chunks.len() == 1 => return,
            at if fits(at) => at,
            1.. if fits(at - 1) => at - 1,
            _ if self.lens[at] > 0 => return,
            // It is empty, and its neighbours are large.
            0 => 0,
            at => at - 1,
        };
        let (one, other) = (self.lens[at] as usize, self.lens[at + 1] as usize);
        let values = *self.chunks[at + 1];
        self.chunks[at][one..one + other].copy_from_slice(&values[..other]);
        self.lens[at] += other as u32;
        self.firsts[at] = self.chunks[at][0];
        if self.asked == at + 1 {
            self.before -= one as u32;
        }
        self.asked -= usize::from(self.asked > at);
        self.drop_chunk(at + 1);
    }

    /// The value at a rank and the one after it, if there is one.
    #[inline(always)]
    fn at(&mut self, rank: u32) -> (i64, i64) {
        if self.lens.len() <= WALK_MAX {
            let (mut sum, mut asked, mut before) = (0, 0, 0);
            for len in &self.lens {
                sum += len;
                asked += usize::from(sum <= rank);
                before = if sum <= rank { sum } else { before };
            }
            (self.asked, self.before) = (asked, before);
        } else {
            while rank < self.before {
                self.asked -= 1;
                self.before -= self.lens[self.asked];
            }
            while rank >= self.before + self.lens[self.asked] {
                self.before += self.lens[self.asked];
                self.asked += 1;
            }
        }
        let chunk = &self.chunks[self.asked];
        let place = (rank - self.before) as usize % CHUNK;
        let next = match chunk[(place + 1) % CHUNK] {
            FREE => self.firsts.get(self.asked + 1).copied().unwrap_or(FREE),
            next => next,
        };
        (chunk[place], next)
    }

    fn bytes(&self) -> usize {
        self.chunks.len() * size_of::<Chunk>()
            + self.chunks.capacity() * size_of::<Box<Chunk>>()
            + self.lens.capacity() * size_of::<u32>()
            + self.firsts.capacity() * size_of::<i64>()
    }
}

/// The rows of a frame in the order in which they came, and their values by size.
#[derive(Debug, Clone, Default)]
pub struct Ranked {
    /// Keys of values, [`FREE`] for a row without one.
    rows: Vec<i64>,
    /// Rows before it have left.
    first: usize,
    /// The values of `rows[first..until]`; those after it are to come.
    sorted: Sorted,
    until: usize,
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
            if self.rows.capacity() > 4 * (rows + CHUNK) {
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
        for place in self.until..self.rows.len() {
            if self.rows[place] != FREE {
                self.sorted.insert(self.rows[place]);
            }
        }
        self.until = self.rows.len();
    }

    /// The values of the frame's rows, in the order in which they came.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Option<f64>> {
        let value = |key: &i64| (*key != FREE).then(|| order::of_key(*key));
        self.rows[self.first..self.until].iter().map(value)
    }

    /// On the heap.
    pub fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<i64>() + self.sorted.bytes()
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
    let Ranked {
        rows,
        first,
        sorted,
        until,
    } = ranked;
    for (length, out) in lengths.iter().zip(out) {
        let start = *until + 1 - *length as usize;
        assert!(*first <= start, "a frame begins nowhere before the last");
        if *length == 1 {
            sorted.clear();
        } else {
            for &value in &rows[*first..start] {
                if value != FREE {
                    sorted.remove(value);
                }
            }
        }
        *first = start;
        if rows[*until] != FREE {
            sorted.insert(rows[*until]);
        }
        *until += 1;
        *out = Around::default();
        if sorted.len > 0 {
            let index = fraction * f64::from(sorted.len - 1);
            let rank = index as u32;
            let (lower, next) = sorted.at(rank);
            let upper = if f64::from(rank) < index { next } else { lower };
            *out = Around {
                lower: order::of_key(lower),
                upper: order::of_key(upper),
                values: sorted.len,
            };
        }
    }
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
                    if held.len() % 3 == 0 {
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
