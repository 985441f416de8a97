//! Rows in order of their keys.

use rayon::prelude::*;

use crate::aggregate::slide::{SHARD_ROWS, Stretch};
use crate::aggregate::slide_floats::Places;

/// Rows in order of their keys, rows of one key in their order.
#[derive(Debug, Default)]
pub(super) struct ByKey {
    /// `[rows]`: the row at each place. Empty, as `places`, if rows are of one key.
    order: Vec<u32>,
    /// `[rows]`: the place of each row.
    places: Vec<u32>,
    /// Room for [`ByKey::count`].
    next: Vec<u32>,
    /// Where each key stands.
    pub(super) stretches: Vec<Stretch>,
}

impl ByKey {
    /// Sorts rows by the ids of their keys, each below `bound`.
    pub(super) fn sort(&mut self, owners: &[u32], bound: usize) {
        self.stretches.clear();
        self.places.clear();
        self.order.clear();
        let Some(&first) = owners.first() else {
            return;
        };
        if bound == 1 || owners.iter().all(|owner| *owner == first) {
            self.stretches.push(Stretch {
                key: first,
                rows: 0..owners.len(),
            });
        } else if bound <= 2 * owners.len() {
            self.count(owners, bound);
        } else {
            self.compare(owners);
        }
    }

    /// A stable counting sort, by as many threads as are worth it.
    fn count(&mut self, owners: &[u32], bound: usize) {
        let threads = rayon::current_num_threads().min(owners.len() / (4 * bound).max(SHARD_ROWS));
        let part_rows = owners.len().div_ceil(threads.max(1));
        let parts = owners.len().div_ceil(part_rows);
        // Part after part: how many rows each key has there, then the place of its next.
        let next = &mut self.next;
        next.clear();
        next.resize(parts * bound, 0);
        let each = |(owners, next): (&[u32], &mut [u32])| {
            for &owner in owners {
                next[owner as usize] += 1;
            }
        };
        (owners.par_chunks(part_rows).zip(next.par_chunks_mut(bound))).for_each(each);
        let mut place = 0;
        for key in 0..bound {
            let start = place;
            for part in 0..parts {
                let next = &mut next[part * bound + key];
                place += *next;
                *next = place - *next;
            }
            if place > start {
                self.stretches.push(Stretch {
                    key: key as u32,
                    rows: start as usize..place as usize,
                });
            }
        }
        self.places.resize(owners.len(), 0);
        let places = self.places.par_chunks_mut(part_rows);
        let each = |((owners, next), places): ((&[u32], &mut [u32]), &mut [u32])| {
            for (owner, place) in owners.iter().zip(places) {
                let next = &mut next[*owner as usize];
                *place = *next;
                *next += 1;
            }
        };
        let parts = owners.par_chunks(part_rows).zip(next.par_chunks_mut(bound));
        parts.zip(places).for_each(each);
        self.order.resize(owners.len(), 0);
        for (row, place) in (0..).zip(&self.places) {
            self.order[*place as usize] = row;
        }
    }

    /// For few rows of many keys.
    fn compare(&mut self, owners: &[u32]) {
        self.order.extend(0..owners.len() as u32);
        (self.order).sort_unstable_by_key(|&row| (owners[row as usize], row));
        self.places.resize(owners.len(), 0);
        for (place, &row) in self.order.iter().enumerate() {
            self.places[row as usize] = place as u32;
            let key = owners[row as usize];
            match self.stretches.last_mut() {
                Some(stretch) if stretch.key == key => stretch.rows.end = place + 1,
                _ => self.stretches.push(Stretch {
                    key,
                    rows: place..place + 1,
                }),
            }
        }
    }

    /// Where rows go; `None` if they are of one key.
    pub(super) fn places(&self) -> Option<Places<'_>> {
        (self.stretches.len() > 1).then_some(Places {
            order: &self.order,
            places: &self.places,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_key_stand_together_in_their_order() {
        // Nearly as many keys as rows, and far more.
        for apart in [1, 1_000] {
            let owners = [2, 0, 2, 1, 0].map(|owner| owner * apart);
            let mut by_key = ByKey::default();
            by_key.sort(&owners, 2 * apart as usize + 1);
            let places = by_key.places().expect("keys differ");
            assert_eq!(places.order, [1, 4, 3, 0, 2]);
            assert_eq!(places.places, [3, 0, 4, 2, 1]);
            let stretches: Vec<(u32, usize, usize)> = (by_key.stretches.iter())
                .map(|it| (it.key, it.rows.start, it.rows.end))
                .collect();
            assert_eq!(stretches, [(0, 0, 2), (apart, 2, 3), (2 * apart, 3, 5)]);
            by_key.sort(&[7, 7], 9);
            assert!(by_key.places().is_none());
            assert_eq!(by_key.stretches.len(), 1);
            assert_eq!(by_key.stretches[0].rows, 0..2);
        }
    }

    #[test]
    fn many_rows_are_sorted_as_few() {
        let owners: Vec<u32> = (0..100_000u32)
            .map(|row| row.wrapping_mul(0x9E37_79B9) >> 24)
            .collect();
        let mut order: Vec<u32> = (0..owners.len() as u32).collect();
        order.sort_by_key(|row| owners[*row as usize]);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let mut by_key = ByKey::default();
            pool.expect("few threads")
                .install(|| by_key.sort(&owners, 256));
            let places = by_key.places().expect("keys differ");
            assert_eq!(places.order, order);
            for (row, place) in (0..).zip(places.places) {
                assert_eq!(order[*place as usize], row);
            }
            for stretch in &by_key.stretches {
                let rows = order[stretch.rows.clone()].iter();
                assert!(
                    rows.map(|row| owners[*row as usize])
                        .all(|key| key == stretch.key)
                );
            }
        }
    }
}
