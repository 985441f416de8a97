//! Keys that fit into a word: integers, times, booleans, floats, pairs of ids.
//!
//! While all codes lie in a small range they index a table directly; the first code
//! outside of it moves all of them into a hash table.

use half::f16;

use super::far::FarSlots;
use super::hash::{NO_ID, Seed, Slots};
use super::table::{Column, Table};
use crate::batch::room;
use crate::error::Result;
use crate::kernel;

/// A number as a code, the same for numbers that are one key.
pub(super) trait Code: Copy + Sync + Send {
    fn code(self) -> u64;
    fn from_code(code: u64) -> Self;
}

macro_rules! integer_code {
    ($($type:ty),*) => {$(
        impl Code for $type {
            #[inline(always)]
            fn code(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn from_code(code: u64) -> Self {
                code as $type
            }
        }
    )*};
}
integer_code!(i8, i16, i32, i64, u8, u16, u32, u64);

/// The one NaN and the one zero that stand for all of them.
macro_rules! float_code {
    ($($type:ty = $nan:expr, $zero:expr);*) => {$(
        impl Code for $type {
            #[inline(always)]
            fn code(self) -> u64 {
                u64::from(self.canonical().to_bits())
            }
            #[inline(always)]
            fn from_code(code: u64) -> Self {
                <$type>::from_bits(code as _)
            }
        }
        impl Canonical for $type {
            #[inline(always)]
            fn canonical(self) -> Self {
                if self.is_nan() {
                    $nan
                } else if self == $zero {
                    $zero
                } else {
                    self
                }
            }
        }
    )*};
}

/// A float whose NaNs are one and whose zeros are one.
pub(super) trait Canonical: Copy {
    fn canonical(self) -> Self;
}

float_code!(f32 = f32::NAN, 0.0; f64 = f64::NAN, 0.0; f16 = f16::NAN, f16::ZERO);

/// A column of numbers.
pub(super) struct Numbers<'a, N>(pub(super) &'a [N]);

impl<N: Code> Column<CodeTable> for Numbers<'_, N> {
    #[inline(always)]
    fn key(&self, row: usize) -> u64 {
        self.0[row].code()
    }
}

/// A column that computes its codes.
pub(super) struct Codes<F>(pub(super) F);

impl<F: Fn(usize) -> u64 + Sync> Column<CodeTable> for Codes<F> {
    #[inline(always)]
    fn key(&self, row: usize) -> u64 {
        (self.0)(row)
    }
}

#[inline(always)]
fn hash(seed: Seed, code: u64) -> u64 {
    seed.word(code)
}

/// The greatest range that indexes directly: 256 KiB of ids.
const DIRECT_RANGE_MAX: u64 = 1 << 16;

/// A table of codes.
#[derive(Debug)]
pub(super) struct CodeTable {
    map: Map,
    /// `[ids]`: the code of each id.
    codes: Vec<u64>,
}

#[derive(Debug)]
enum Map {
    /// `ids[code - first]`, counted modulo 2⁶⁴ so that negative numbers are a range too.
    Direct {
        first: u64,
        ids: Vec<u32>,
    },
    Hashed(Slots),
}

impl CodeTable {
    pub(super) fn new() -> Self {
        Self {
            map: Map::Direct {
                first: 0,
                ids: Vec::new(),
            },
            codes: Vec::new(),
        }
    }

    /// The code of an id in use.
    #[inline(always)]
    pub(super) fn code(&self, id: u32) -> u64 {
        self.codes[id as usize]
    }

    /// Widens a direct table so that it holds `code`, or gives it up.
    fn make_room(&mut self, code: u64) {
        let Map::Direct { first, ids } = &mut self.map else {
            return;
        };
        let len = ids.len() as u64;
        if code.wrapping_sub(*first) < len {
            return;
        }
        if ids.is_empty() {
            *first = code;
            ids.resize(64, NO_ID);
            return;
        }
        // The code lies above or below the range, whichever is nearer; the range
        // doubles at least, so that a run of codes does not move it for each.
        let above = code.wrapping_sub(*first);
        let below = first.wrapping_sub(code);
        if above < DIRECT_RANGE_MAX {
            ids.resize(
                (above + 1).max(len * 2).min(DIRECT_RANGE_MAX) as usize,
                NO_ID,
            );
        } else if below <= DIRECT_RANGE_MAX - len {
            let more = below.max(len).min(DIRECT_RANGE_MAX - len) as usize;
            ids.splice(0..0, std::iter::repeat_n(NO_ID, more));
            *first = first.wrapping_sub(more as u64);
        } else {
            let mut hashed = Slots::new();
            let seed = hashed.seed;
            for &id in ids.iter().filter(|id| **id != NO_ID) {
                hashed.insert(id, |id| hash(seed, self.codes[id as usize]));
            }
            self.map = Map::Hashed(hashed);
        }
    }
}

#[inline(always)]
fn direct(first: u64, ids: &[u32], code: u64) -> u32 {
    // On 32-bit machines the conversion must not cut the code.
    let at = usize::try_from(code.wrapping_sub(first)).unwrap_or(usize::MAX);
    ids.get(at).copied().unwrap_or(NO_ID)
}

impl Table for CodeTable {
    type Key<'k> = u64;
    type Word = u64;

    #[inline(always)]
    fn word(&self, code: u64) -> u64 {
        code
    }

    #[inline(always)]
    fn far(&self) -> Option<(&FarSlots, Seed)> {
        match &self.map {
            Map::Direct { .. } => None,
            Map::Hashed(slots) => slots.far().map(|far| (far, slots.seed)),
        }
    }

    #[inline(always)]
    fn fetch(&self, id: u32) {
        kernel::fetch(&self.codes, id as usize);
    }

    #[inline(always)]
    fn hash(seed: Seed, code: u64) -> u64 {
        hash(seed, code)
    }

    #[inline(always)]
    fn likely(&self, code: u64) -> u32 {
        match &self.map {
            Map::Direct { first, ids } => direct(*first, ids, code),
            Map::Hashed(slots) => slots.at_home(hash(slots.seed, code)),
        }
    }

    #[inline(always)]
    fn is(&self, id: u32, code: u64) -> bool {
        match &self.map {
            Map::Direct { .. } => id != NO_ID,
            Map::Hashed(_) => self.codes.get(id as usize) == Some(&code),
        }
    }

    #[inline(always)]
    fn tells(&self, _: u64) -> bool {
        true
    }

    #[inline(always)]
    fn along(&self, code: u64, steps: usize) -> u32 {
        match &self.map {
            Map::Direct { first, ids } => direct(*first, ids, code),
            Map::Hashed(slots) => slots.along(hash(slots.seed, code), steps),
        }
    }

    #[inline(always)]
    fn find(&self, _: u64, code: u64) -> u32 {
        match &self.map {
            Map::Direct { first, ids } => direct(*first, ids, code),
            Map::Hashed(slots) => {
                slots.find(hash(slots.seed, code), |id| self.codes[id as usize] == code)
            }
        }
    }

    fn insert(&mut self, code: u64, id: u32) -> Result<()> {
        self.make_room(code);
        if self.codes.len() <= id as usize {
            room::resize(&mut self.codes, id as usize + 1, 0);
        }
        self.codes[id as usize] = code;
        match &mut self.map {
            Map::Direct { first, ids } => ids[code.wrapping_sub(*first) as usize] = id,
            Map::Hashed(slots) => {
                let seed = slots.seed;
                slots.insert(id, |id| hash(seed, self.codes[id as usize]));
            }
        }
        Ok(())
    }

    fn remove(&mut self, id: u32) {
        let code = self.code(id);
        match &mut self.map {
            Map::Direct { first, ids } => ids[code.wrapping_sub(*first) as usize] = NO_ID,
            Map::Hashed(slots) => {
                let seed = slots.seed;
                slots.remove(id, |id| hash(seed, self.codes[id as usize]));
            }
        }
    }

    fn shrink(&mut self, len: usize) {
        if len == 0 {
            *self = Self::new();
        } else if let Map::Hashed(slots) = &mut self.map {
            let seed = slots.seed;
            slots.shrink(|id| hash(seed, self.codes[id as usize]));
        }
    }

    fn bytes(&self) -> usize {
        let map = match &self.map {
            Map::Direct { ids, .. } => ids.capacity() * size_of::<u32>(),
            Map::Hashed(slots) => slots.bytes(),
        };
        map + self.codes.capacity() * size_of::<u64>()
    }
}
