//! Rows into the records of their groups.

use super::lanes::{Backend, LANES, Lanes};
use super::order::{key, key_f32};
use super::record::{LaneRecord, Record};
use super::reduce::min_and_max;

/// So many rows are brought into the order of integers at a time.
const BLOCK_ROWS: usize = 256;

/// So many rows are read twice, the second time from the nearest cache.
const TWICE_ROWS: usize = 1_024;

/// As [`super::reference::add_rows`].
#[inline(always)]
pub(super) fn add_rows<B: Backend>(records: &mut [Record], slots: &[u32], values: &[f64]) {
    add_all(records, slots, values, key, |value| value, B::widen);
}

/// As [`super::reference::add_rows_f32`].
#[inline(always)]
pub(super) fn add_rows_f32<B: Backend>(records: &mut [Record<i32>], slots: &[u32], values: &[f32]) {
    add_all(records, slots, values, key_f32, f64::from, |span, key| {
        let [least, greatest] = span;
        [key.min(least), key.max(greatest)]
    });
}

/// Adds rows to the records of their slots: the key and the addend of each value, and how a
/// span takes a key in.
#[inline(always)]
fn add_all<K: Copy + Default, V: Copy>(
    records: &mut [Record<K>],
    slots: &[u32],
    values: &[V],
    key: impl Fn(V) -> K,
    wide: impl Fn(V) -> f64,
    widen: impl Fn([K; 2], K) -> [K; 2],
) {
    assert_eq!(slots.len(), values.len(), "each row has a slot");
    let add = |record: &mut Record<K>, value: V, key: K| {
        record.sum += wide(value);
        record.count += 1;
        record.span = widen(record.span, key);
    };
    let mut keys = [K::default(); BLOCK_ROWS];
    for (slots, values) in slots.chunks(BLOCK_ROWS).zip(values.chunks(BLOCK_ROWS)) {
        for (own, value) in keys.iter_mut().zip(values) {
            *own = key(*value);
        }
        let rows = slots.iter().zip(values).zip(&keys);
        // Rows sorted by key go to one slot: its record stays in registers instead of going
        // through memory for each row.
        if slots.iter().all(|slot| *slot == slots[0]) {
            let record = &mut records[slots[0] as usize];
            let mut held = *record;
            for ((_, value), key) in rows {
                add(&mut held, *value, *key);
            }
            *record = held;
        } else {
            for ((slot, value), key) in rows {
                add(&mut records[*slot as usize], *value, *key);
            }
        }
    }
}

/// As [`super::reference::add_run`].
#[inline(always)]
pub(super) fn add_run<B: Backend>(record: &mut LaneRecord, values: &[f64]) {
    for values in values.chunks(TWICE_ROWS) {
        let mut lane = (record.count % LANES as u64) as usize;
        let (head, rest) = values.split_at(values.len().min((LANES - lane) % LANES));
        let mut one_by_one = |values: &[f64], sums: &mut [f64; LANES]| {
            for value in values {
                sums[lane] += value;
                lane = (lane + 1) % LANES;
            }
        };
        one_by_one(head, &mut record.sums);
        let (eights, tail) = rest.as_chunks::<LANES>();
        let mut sums = B::F64::new(record.sums);
        for eight in eights {
            sums = sums.add(B::F64::new(*eight));
        }
        record.sums = sums.to_array();
        one_by_one(tail, &mut record.sums);
        record.count += values.len() as u64;
        if let Some((least, greatest)) = min_and_max::<B>(values) {
            let [min, max] = record.span;
            record.span = [min.min(key(least)), max.max(key(greatest))];
        }
    }
}
