//! Many values in order of size, in chunks.
//!
//! A list of the first value of each chunk says where a value belongs:
//!
//! ```text
//!  firsts   −7         3          8
//!  chunks   −7 −1 2 ·  3 3 5 7 ·  8 9 ·   ·         rank 4 = second of the second chunk
//! ```
//!
//! Within a chunk a value is put in or taken out by one pass over all of it.

use super::FREE;

/// Values of a chunk and one place that stays free.
const CHUNK: usize = 32;

/// Chunks with fewer values are joined with their neighbours.
const CHUNK_MIN: u32 = CHUNK as u32 / 4;

/// So many chunks are compared at once; in longer lists the place is searched for.
const FIRSTS_MAX: usize = 64;

/// Lists of so few chunks are walked from the front.
const WALK_MAX: usize = 8;

/// On the heap, so that little moves when one comes between others.
type Chunk = Box<[i64; CHUNK]>;

/// Many values in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunks {
    // One entry for each chunk; none is empty, but the only one may be.
    chunks: Vec<Chunk>,
    lens: Vec<u32>,
    firsts: Vec<i64>,
    /// How many values there are.
    len: u32,
    /// The chunk that was asked last, and how many values are before it.
    asked: usize,
    before: u32,
}

impl Chunks {
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
    pub(super) fn insert(&mut self, value: i64) {
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
    pub(super) fn remove(&mut self, value: i64) {
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

    /// Values in their order.
    pub(super) fn of(values: &[i64]) -> Self {
        let mut chunks = Self::default();
        for part in values.chunks(CHUNK * 3 / 4) {
            chunks.add_chunk(chunks.chunks.len(), part);
            chunks.len += part.len() as u32;
        }
        chunks
    }

    /// All values in their order.
    pub(super) fn values(&self) -> impl Iterator<Item = i64> {
        let each = self.chunks.iter().zip(&self.lens);
        each.flat_map(|(chunk, len)| &chunk[..*len as usize])
            .copied()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    fn add_chunk(&mut self, at: usize, values: &[i64]) {
        let mut chunk = [FREE; CHUNK];
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
    pub(super) fn at(&mut self, rank: u32) -> (i64, i64) {
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

    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * size_of::<[i64; CHUNK]>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.lens.capacity() * size_of::<u32>()
            + self.firsts.capacity() * size_of::<i64>()
    }
}
