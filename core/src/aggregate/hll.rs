//! `approx_distinct`: a HyperLogLog with 2¹⁴ registers.
//!
//! The standard error is 1.04 / √2¹⁴ = 0.8 %. Up to [`EXACT_HASHES`] different hashes
//! are kept as they are, and the count is exact but for collisions of 64-bit hashes.
//! The state depends on the set of values alone, not on how the rows were divided.
//!
//! Sources: Flajolet, Fusy, Gandouet, Meunier, AofA 2007; the estimator, which needs no
//! tables of bias: Ertl, arXiv 1702.01284, algorithm 6.

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::datatypes::{DataType, UInt64Type};
use std::sync::Arc;

use super::bytes::{is_bytes, slices};
use super::collect::{Collect, HeldMax};
use super::fold::column;
use super::keys::{fixed_keys, hash, mix};
use super::saved::{Saved, list_column};
use crate::error::Result;

/// How many different hashes of a slot are kept exactly.
const EXACT_HASHES: usize = 256;

/// The binary logarithm of the number of registers.
const INDEX_BITS: u32 = 14;

/// The number of registers.
const REGISTERS: usize = 1 << INDEX_BITS;

/// The bits of a hash that a register's rank is counted in.
const RANK_BITS: u32 = 64 - INDEX_BITS;

/// A slot: hashes in order, or registers.
#[derive(Debug, Default)]
pub(super) struct Hll {
    hashes: Vec<u64>,
    registers: Option<Box<[u8]>>,
}

/// Lets a hash count in its register: the greatest rank of the first 1 bit wins.
#[inline(always)]
fn register(registers: &mut [u8], hash: u64) {
    let index = (hash >> RANK_BITS) as usize;
    // A 1 after the last bit bounds the rank.
    let rank = ((hash << INDEX_BITS) | (1 << (INDEX_BITS - 1))).leading_zeros() + 1;
    registers[index] = registers[index].max(rank as u8);
}

impl Hll {
    #[inline(always)]
    fn add(&mut self, hash: u64) {
        match &mut self.registers {
            Some(registers) => register(registers, hash),
            None => self.keep(hash),
        }
    }

    fn keep(&mut self, hash: u64) {
        let Err(place) = self.hashes.binary_search(&hash) else {
            return;
        };
        if self.hashes.len() < EXACT_HASHES {
            self.hashes.insert(place, hash);
        } else {
            register(self.filled_registers(), hash);
        }
    }

    fn filled_registers(&mut self) -> &mut [u8] {
        let hashes = std::mem::take(&mut self.hashes);
        let registers = (self.registers).get_or_insert_with(|| vec![0; REGISTERS].into());
        (hashes.into_iter()).for_each(|hash| register(registers, hash));
        registers
    }

    fn merge(&mut self, other: &Self) {
        other.hashes.iter().for_each(|hash| self.add(*hash));
        if let Some(other) = &other.registers {
            for (register, other) in self.filled_registers().iter_mut().zip(other) {
                *register = (*register).max(*other);
            }
        }
    }

    fn estimate(&self) -> u64 {
        let Some(registers) = &self.registers else {
            return self.hashes.len() as u64;
        };
        let mut ranks = [0u32; RANK_BITS as usize + 2];
        (registers.iter()).for_each(|rank| ranks[usize::from(*rank)] += 1);
        let m = REGISTERS as f64;
        let share = |rank: usize| f64::from(ranks[rank]) / m;
        let last = RANK_BITS as usize + 1;
        let mut z = m * tau(1.0 - share(last));
        for rank in (1..last).rev() {
            z = 0.5 * (z + f64::from(ranks[rank]));
        }
        z += m * sigma(share(0));
        let estimate = m / (2.0 * std::f64::consts::LN_2) * m / z;
        estimate.round() as u64
    }
}

/// Ertl's σ: the weight of the registers that are empty.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// Ertl's τ: the weight of the registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// `approx_distinct`.
#[derive(Debug)]
pub(super) struct ApproxDistinct;

impl Collect for ApproxDistinct {
    type Slot = Hll;
    type Value<'a> = u64;
    type Columns<'a> = Vec<u64>;

    const SAVED: usize = 2;

    fn name(&self) -> &str {
        "approx_distinct"
    }

    fn columns(&self, values: &ArrayRef) -> Vec<u64> {
        if is_bytes(values.data_type()) {
            slices(values).into_iter().map(hash).collect()
        } else {
            fixed_keys(values).into_iter().map(mix).collect()
        }
    }

    #[inline(always)]
    fn add(slot: &mut Hll, hash: u64) {
        slot.add(hash);
    }

    fn merge(into: &mut Hll, from: &Hll) {
        into.merge(from);
    }

    #[inline(always)]
    fn heap_bytes(slot: &Hll) -> usize {
        slot.hashes.capacity() * size_of::<u64>() + slot.registers.as_ref().map_or(0, |r| r.len())
    }

    #[inline(always)]
    fn held(_slot: &Hll) -> usize {
        0
    }

    fn held_max(&self) -> Option<HeldMax> {
        None
    }

    fn return_type(&self) -> DataType {
        DataType::UInt64
    }

    fn evaluate(&self, slots: &[&Hll]) -> ArrayRef {
        column::<UInt64Type>(slots.iter().map(|slot| slot.estimate()))
    }

    fn save(&self, slots: &[&Hll]) -> Vec<ArrayRef> {
        let hashes = slots.iter().flat_map(|slot| slot.hashes.iter().copied());
        let registers = slots.iter().map(|slot| slot.registers.as_deref());
        vec![
            list_column(
                slots.iter().map(|slot| slot.hashes.len()),
                column::<UInt64Type>(hashes),
            ),
            Arc::new(registers.collect::<BinaryArray>()),
        ]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Hll>> {
        let registers = saved.array::<BinaryArray>(1)?;
        (saved.lists::<UInt64Type>(0)?.enumerate())
            .map(|(row, hashes)| {
                let registers = registers.is_valid(row).then(|| registers.value(row));
                let fits = registers.is_none_or(|registers| {
                    let full = |rank: &u8| u32::from(*rank) <= RANK_BITS + 1;
                    registers.len() == REGISTERS && registers.iter().all(full)
                });
                let sorted = hashes.is_sorted_by(|a, b| a < b);
                let both = registers.is_some() && !hashes.is_empty();
                if !fits || !sorted || both || hashes.len() > EXACT_HASHES {
                    return Err(Saved::damaged("registers of approx_distinct"));
                }
                Ok(Hll {
                    hashes: hashes.to_vec(),
                    registers: registers.map(Into::into),
                })
            })
            .collect()
    }
}
