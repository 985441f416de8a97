//! Rows into records by several threads, each of which has some of the records.
//!
//! ```text
//!  rows      r0 r1 r2 r3 r4 …        every thread goes through all of them, in order,
//!             │  ╰──┼──╮             and adds those whose slots it has
//!  records   [ thread A │ thread B ]
//! ```
//!
//! A record takes its rows in their order, whoever has it: no bit depends on how many
//! threads there are, nor on where the records are cut.

use rayon::prelude::*;

use crate::kernel;

/// So many rows at most are handed over at a time.
pub(super) const SHARD_ROWS: usize = 256;

/// From so many rows on, sharing the work costs less than it gains.
const SHARED_ROWS_MIN: usize = 16 * 1024;

/// Fewer bytes of records lie in the cache of one processor: there, finding the rows of a
/// shard takes as long as adding them.
const SHARED_BYTES_MIN: usize = 1 << 20;

/// More threads would mostly pass over rows of others.
const SHARDS_MAX: usize = 8;

/// So many slots of a batch tell where to cut the records.
const SLOTS_ASKED: usize = 1_024;

/// Some of the records.
struct Shard<'a, R> {
    first: u32,
    records: &'a mut [R],
}

/// Whether so many rows are to be added to records by several threads.
pub(super) fn are_worth_sharing<R>(records: &[R], rows: usize) -> bool {
    rows >= SHARED_ROWS_MIN
        && size_of_val(records) >= SHARED_BYTES_MIN
        && rayon::current_num_threads() > 1
}

/// Calls `add` with some of the records, slots in them and the numbers of their rows, which
/// rise from call to call; each row is in one call. The threads are those of rayon's
/// current pool.
///
/// - `slots`: `[rows]`, each below the number of records.
/// - `add` is given [`SHARD_ROWS`] rows at most.
pub(super) fn in_shards<R: Send>(
    records: &mut [R],
    slots: &[u32],
    add: impl Fn(&mut [R], &[u32], &[usize]) + Sync,
) {
    let shards = shards(records, slots, rayon::current_num_threads().min(SHARDS_MAX));
    shards.into_par_iter().for_each(|shard| {
        let mut own = [0; SHARD_ROWS];
        let mut rows = [0; SHARD_ROWS];
        let len = shard.records.len();
        for (block, slots) in slots.chunks(SHARD_ROWS).enumerate() {
            let mut count = 0;
            for (row, slot) in slots.iter().enumerate() {
                let slot = slot.wrapping_sub(shard.first);
                own[count % SHARD_ROWS] = slot;
                rows[count % SHARD_ROWS] = block * SHARD_ROWS + row;
                count += usize::from((slot as usize) < len);
            }
            let own = &own[..count];
            (own.iter()).for_each(|slot| kernel::fetch(shard.records, *slot as usize));
            add(shard.records, own, &rows[..count]);
        }
    });
}

/// Cuts records so that each shard has about as many rows as the others.
fn shards<'a, R>(records: &'a mut [R], slots: &[u32], count: usize) -> Vec<Shard<'a, R>> {
    let step = (slots.len() / SLOTS_ASKED).max(1);
    let mut asked: Vec<u32> = slots.iter().copied().step_by(step).collect();
    asked.sort_unstable();
    let mut shards = Vec::with_capacity(count);
    let (mut first, mut rest) = (0, records);
    for cut in 1..count {
        let until = asked
            .get(asked.len() * cut / count)
            .copied()
            .unwrap_or(first);
        let len = (until.saturating_sub(first) as usize).min(rest.len());
        let (records, others) = rest.split_at_mut(len);
        shards.push(Shard { first, records });
        (first, rest) = (first + len as u32, others);
    }
    shards.push(Shard {
        first,
        records: rest,
    });
    shards
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every record has the rows of its slot, in order, by however many threads.
        #[test]
        fn records_have_their_rows_in_order(
            slots in prop::collection::vec(0..50_u32, 0..2_000),
            hot in prop::option::of(0..50_u32),
            spare in 0..3_usize,
            threads in 1..10_usize,
        ) {
            // Some slots have most rows.
            let slots: Vec<u32> = (slots.iter().enumerate())
                .map(|(row, slot)| hot.filter(|_| row % 4 > 0).unwrap_or(*slot))
                .collect();
            let mut expected = vec![Vec::new(); 50 + spare];
            for (row, slot) in slots.iter().enumerate() {
                expected[*slot as usize].push(row);
            }
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let mut records = vec![Vec::new(); 50 + spare];
            pool.expect("threads").install(|| {
                in_shards(&mut records, &slots, |records, slots, rows| {
                    for (slot, row) in slots.iter().zip(rows) {
                        records[*slot as usize].push(*row);
                    }
                });
            });
            prop_assert_eq!(records, expected);
        }
    }

    #[test]
    fn shards_have_as_many_rows_as_each_other() {
        // One row in two goes to the first hundred of ten thousand records.
        let slots: Vec<u32> = (0..40_000)
            .map(|row| row / 2 % 100 * (row % 2 * 99 + 1))
            .collect();
        let mut records = vec![0; 10_000];
        let of = |shard: &Shard<'_, i32>| {
            let own = shard.first..shard.first + shard.records.len() as u32;
            slots.iter().filter(|slot| own.contains(slot)).count()
        };
        let rows: Vec<usize> = shards(&mut records, &slots, 4).iter().map(of).collect();
        assert_eq!(rows.iter().sum::<usize>(), 40_000);
        assert!(
            rows.iter().all(|rows| (8_000..12_000).contains(rows)),
            "{rows:?}"
        );
    }
}
