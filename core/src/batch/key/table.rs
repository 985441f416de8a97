//! From rows to ids: look up in bulk, then insert what was missed in row order.
//!
//! ```text
//!  rows ─┬─ morsel ─▶ find ─┐            (read-only: any number of threads)
//!        ├─ morsel ─▶ find ─┼─▶ misses ─▶ find again, else insert   (in row order)
//!        └─ morsel ─▶ find ─┘
//! ```
//!
//! New keys are given their ids in row order whatever the number of threads.

use std::fmt::Debug;
use std::ops::Range;

use arrow::buffer::NullBuffer;
use rayon::prelude::*;

use super::far::FarSlots;
use super::hash::{NO_ID, Seed};
use super::ids::Ids;
use crate::error::Result;
use crate::kernel::FIND_ROWS;

/// Rows that one thread looks up at a time.
pub(super) const MORSEL_ROWS: usize = 8 * 1024;

/// So few rows of [`FIND_ROWS`] are looked up further one by one: a table of which most keys
/// are at home lies in a cache, whose answers are not worth gathering.
const FEW_ROWS: usize = FIND_ROWS / 8;

/// From so many rows on, sharing the work costs less than it gains.
const PARALLEL_ROWS_MIN: usize = 16 * 1024;

/// Whether a batch of so many rows is looked up by several threads.
pub(super) fn in_parallel(rows: usize) -> bool {
    rows >= PARALLEL_ROWS_MIN && rayon::current_num_threads() > 1
}

/// A map from keys of one form to ids and back.
pub(super) trait Table: Send + Sync + Debug {
    /// A key, borrowed from a column.
    type Key<'k>: Copy;

    /// What is compared of a key.
    type Word: Copy + Default;

    /// A key's word.
    fn word(&self, key: Self::Key<'_>) -> Self::Word;

    /// The table of ids and the secret of their hashes, if it is far. Then [`Table::likely`]
    /// and [`Table::along`] must not be asked.
    fn far(&self) -> Option<(&FarSlots, Seed)>;

    /// Asks for what [`Table::is`] looks at.
    fn fetch(&self, id: u32);

    /// The hash of a word.
    fn hash(seed: Seed, word: Self::Word) -> u64;

    /// The id that a key with this word most likely has; [`NO_ID`] or another key's if
    /// it has not.
    fn likely(&self, word: Self::Word) -> u32;

    /// Whether what [`Table::likely`] gave for a word is the id of its key. False where
    /// the word does not tell: then [`Table::find`] does.
    fn is(&self, id: u32, word: Self::Word) -> bool;

    /// Whether a key's word tells it from all others.
    fn tells(&self, word: Self::Word) -> bool;

    /// As [`Table::likely`], so many places further on; [`NO_ID`] if the key is neither
    /// there nor behind.
    fn along(&self, word: Self::Word, steps: usize) -> u32;

    /// The id of the key, whose word this is, or [`NO_ID`].
    fn find(&self, word: Self::Word, key: Self::Key<'_>) -> u32;

    /// Takes in a key that is not there.
    fn insert(&mut self, key: Self::Key<'_>, id: u32) -> Result<()>;

    /// Forgets the key of an id.
    fn remove(&mut self, id: u32);

    /// Gives memory back after removals; `len` keys are left.
    fn shrink(&mut self, len: usize);

    fn bytes(&self) -> usize;
}

/// A column that gives keys of a table.
pub(super) trait Column<T: Table>: Sync {
    /// The key of a row that is not NULL.
    fn key(&self, row: usize) -> T::Key<'_>;

    /// The keys of neighbouring rows, none of which is NULL.
    #[inline(always)]
    fn keys(&self, rows: Range<usize>) -> impl Iterator<Item = T::Key<'_>> {
        rows.map(|row| self.key(row))
    }

    /// Fills `ids` with what is most likely the id of each row from `first` on, none of
    /// which is NULL, and lists in `further` those that are to be looked up once more;
    /// gives their number.
    ///
    /// - `ids`: `[rows]`, no more than [`FIND_ROWS`].
    #[inline(always)]
    fn find_likely(
        &self,
        table: &T,
        first: usize,
        ids: &mut [u32],
        further: &mut [u32; FIND_ROWS],
    ) -> usize {
        let mut words = [T::Word::default(); FIND_ROWS];
        let words = &mut words[..ids.len()];
        let keys = self.keys(first..first + ids.len());
        for (word, key) in words.iter_mut().zip(keys) {
            *word = table.word(key);
        }
        for (word, id) in words.iter().zip(&mut *ids) {
            *id = table.likely(*word);
        }
        let mut count = 0;
        for (i, (word, id)) in words.iter().zip(ids).enumerate() {
            further[count % FIND_ROWS] = i as u32;
            count += usize::from(!table.is(*id, *word));
        }
        count
    }
}

/// A table, the id of NULL, and the ids of both.
#[derive(Debug)]
pub(super) struct Keyed<T> {
    pub(super) table: T,
    pub(super) ids: Ids,
    null: u32,
}

impl<T: Table> Keyed<T> {
    pub(super) fn new(table: T) -> Self {
        Self {
            table,
            ids: Ids::default(),
            null: NO_ID,
        }
    }

    pub(super) fn has_null(&self) -> bool {
        self.null != NO_ID
    }

    pub(super) fn is_null(&self, id: u32) -> bool {
        id == self.null
    }

    /// Fills `ids` with the id of each of the `rows`; gives the ids of new keys.
    pub(super) fn intern(
        &mut self,
        column: &impl Column<T>,
        nulls: Option<&NullBuffer>,
        rows: usize,
        ids: &mut Vec<u32>,
    ) -> Result<Vec<u32>> {
        let mut created = Vec::new();
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        ids.clear();
        ids.resize(rows, NO_ID);
        let missed = |this: &Self, (morsel, ids): (usize, &mut [u32])| {
            this.find_morsel(column, nulls, morsel * MORSEL_ROWS, ids)
        };
        if in_parallel(rows) {
            let misses: Vec<bool> = (ids.par_chunks_mut(MORSEL_ROWS).enumerate())
                .map(|morsel| missed(self, morsel))
                .collect();
            for (morsel, ids) in ids.chunks_mut(MORSEL_ROWS).enumerate() {
                if misses[morsel] {
                    created.extend(self.insert_morsel(column, nulls, morsel * MORSEL_ROWS, ids)?);
                }
            }
        } else {
            for (morsel, ids) in ids.chunks_mut(MORSEL_ROWS).enumerate() {
                if missed(self, (morsel, ids)) {
                    created.extend(self.insert_morsel(column, nulls, morsel * MORSEL_ROWS, ids)?);
                }
            }
        }
        Ok(created)
    }

    /// Looks rows up; says whether one was missed.
    pub(super) fn find_morsel(
        &self,
        column: &impl Column<T>,
        nulls: Option<&NullBuffer>,
        first: usize,
        ids: &mut [u32],
    ) -> bool {
        if let Some((far, seed)) = self.table.far() {
            return self.find_far(far, seed, column, nulls, first, ids);
        }
        // Whether a key is found at once is a coin toss that the processor cannot
        // foresee: short loops take no branch on it and list those that were not, for
        // another that looks further.
        let mut missed = false;
        let mut further = [0; FIND_ROWS];
        for (block, ids) in ids.chunks_mut(FIND_ROWS).enumerate() {
            let first = first + block * FIND_ROWS;
            let count = match nulls {
                None => column.find_likely(&self.table, first, ids, &mut further),
                Some(nulls) => {
                    let mut count = 0;
                    for (i, id) in ids.iter_mut().enumerate() {
                        if nulls.is_null(first + i) {
                            *id = self.null;
                            missed |= *id == NO_ID;
                            continue;
                        }
                        let word = self.table.word(column.key(first + i));
                        *id = self.table.likely(word);
                        further[count % FIND_ROWS] = i as u32;
                        count += usize::from(!self.table.is(*id, word));
                    }
                    count
                }
            };
            missed |= self.find_further(column, first, &mut further[..count], ids);
        }
        missed
    }

    /// As [`Keyed::find_morsel`], in a table that is far: every step is done for many rows
    /// before the next, so that what it waits for comes together.
    fn find_far(
        &self,
        far: &FarSlots,
        seed: Seed,
        column: &impl Column<T>,
        nulls: Option<&NullBuffer>,
        first: usize,
        ids: &mut [u32],
    ) -> bool {
        let mut words = [T::Word::default(); FIND_ROWS];
        let mut hashes = [0; FIND_ROWS];
        let mut further = [0; FIND_ROWS];
        let mut missed = false;
        for (block, ids) in ids.chunks_mut(FIND_ROWS).enumerate() {
            let first = first + block * FIND_ROWS;
            let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(first + row));
            match nulls {
                None => {
                    let keys = column.keys(first..first + ids.len());
                    for (word, key) in words.iter_mut().zip(keys) {
                        *word = self.table.word(key);
                    }
                }
                Some(_) => {
                    for row in (0..ids.len()).filter(|row| !is_null(*row)) {
                        words[row] = self.table.word(column.key(first + row));
                    }
                }
            }
            let hashes = &mut hashes[..ids.len()];
            for (hash, word) in hashes.iter_mut().zip(&words) {
                *hash = T::hash(seed, *word);
                far.fetch(*hash);
            }
            for (id, hash) in ids.iter_mut().zip(hashes) {
                *id = far.find_likely(*hash);
                self.table.fetch(*id);
            }
            let mut count = 0;
            for (row, (id, word)) in ids.iter().zip(&words).enumerate() {
                further[count % FIND_ROWS] = row;
                count += usize::from(!self.table.is(*id, *word));
            }
            for &row in &further[..count] {
                if ids[row] != NO_ID && !is_null(row) {
                    ids[row] = self.table.find(words[row], column.key(first + row));
                }
                missed |= ids[row] == NO_ID && !is_null(row);
            }
            if nulls.is_some() {
                for row in (0..ids.len()).filter(|row| is_null(*row)) {
                    ids[row] = self.null;
                    missed |= self.null == NO_ID;
                }
            }
        }
        missed
    }

    /// Looks up rows that are not where they most likely were; says whether one was missed.
    ///
    /// All go one step along the table, then all those that are left the next one: what
    /// has to be fetched from far away for one is not waited for before the others'.
    ///
    /// - `further`: the rows, counted from `first`, [`FIND_ROWS`] at most; overwritten.
    fn find_further(
        &self,
        column: &impl Column<T>,
        first: usize,
        further: &mut [u32],
        ids: &mut [u32],
    ) -> bool {
        let mut missed = false;
        if further.len() <= FEW_ROWS {
            for &row in further.iter() {
                let key = column.key(first + row as usize);
                let id = self.table.find(self.table.word(key), key);
                ids[row as usize] = id;
                missed |= id == NO_ID;
            }
            return missed;
        }
        let mut words = [T::Word::default(); FIND_ROWS];
        let mut found = [NO_ID; FIND_ROWS];
        let mut left = 0;
        for at in 0..further.len() {
            let row = further[at];
            let key = column.key(first + row as usize);
            let word = self.table.word(key);
            if self.table.tells(word) {
                (further[left], words[left]) = (row, word);
                left += 1;
            } else {
                let id = self.table.find(word, key);
                ids[row as usize] = id;
                missed |= id == NO_ID;
            }
        }
        for steps in 0.. {
            if left == 0 {
                break;
            }
            for (id, word) in found[..left].iter_mut().zip(&words) {
                *id = self.table.along(*word, steps);
            }
            let count = std::mem::take(&mut left);
            for at in 0..count {
                let (row, word, id) = (further[at], words[at], found[at]);
                ids[row as usize] = id;
                missed |= id == NO_ID;
                (further[left], words[left]) = (row, word);
                left += usize::from((id != NO_ID) & !self.table.is(id, word));
            }
        }
        missed
    }

    /// Gives ids to the rows that were missed; gives those of new keys.
    pub(super) fn insert_morsel(
        &mut self,
        column: &impl Column<T>,
        nulls: Option<&NullBuffer>,
        first: usize,
        ids: &mut [u32],
    ) -> Result<Vec<u32>> {
        let mut created = Vec::new();
        for (block, ids) in ids.chunks_mut(FIND_ROWS).enumerate() {
            let first = first + block * FIND_ROWS;
            let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(first + row));
            if let Some((far, seed)) = self.table.far() {
                let rows = ids.iter().enumerate().filter(|(_, id)| **id == NO_ID);
                let rows = rows.map(|(row, _)| row).filter(|row| !is_null(*row));
                for row in rows {
                    far.fetch(T::hash(seed, self.table.word(column.key(first + row))));
                }
            }
            for (row, id) in ids.iter_mut().enumerate() {
                if *id != NO_ID {
                    continue;
                }
                if is_null(row) {
                    if self.null == NO_ID {
                        self.null = self.ids.take()?;
                        created.push(self.null);
                    }
                    *id = self.null;
                    continue;
                }
                let key = column.key(first + row);
                *id = self.table.find(self.table.word(key), key);
                if *id == NO_ID {
                    *id = self.ids.take()?;
                    self.table.insert(key, *id)?;
                    created.push(*id);
                }
            }
        }
        Ok(created)
    }

    /// Forgets the keys of ids.
    ///
    /// # Panics
    /// If an id is not in use.
    pub(super) fn release(&mut self, ids: &[u32]) {
        if ids.is_empty() {
            return;
        }
        self.ids.release(ids);
        if self.ids.len() == 0 {
            self.null = NO_ID;
            self.table.shrink(0);
            return;
        }
        for &id in ids {
            if id == self.null {
                self.null = NO_ID;
            } else {
                self.table.remove(id);
            }
        }
        self.table.shrink(self.ids.len());
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.ids.bytes()
    }
}
