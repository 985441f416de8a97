//! Keys that fit into a word: integers, times, booleans, floats, pairs of ids.
//!
//! While all codes lie in a range that is small, or not much larger than their number, they
//! index a table directly, which follows them where they rise with time; the first code
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

/// A range that indexes directly however few codes lie in it: 256 KiB of ids.
const DIRECT_RANGE_MIN: u64 = 1 << 16;

/// The greatest range that does: 16 MiB of ids.
const DIRECT_RANGE_MAX: u64 = 1 << 22;

/// A larger one than the least has so many places for each code at most: a hash table takes
/// no less room for twice as many.
const DIRECT_PLACES: u64 = 8;

/// A table of codes.
#[derive(Debug)]
pub(super) struct CodeTable {
    map: Map,
    /// `[ids]`: the code of each id.
    codes: Vec<u64>,
}

#[derive(Debug)]
enum Map {
    Direct(Direct),
    Hashed(Slots),
}

impl CodeTable {
    pub(super) fn new() -> Self {
        Self {
            map: Map::Direct(Direct::default()),
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
        let Map::Direct(direct) = &mut self.map else {
            return;
        };
        if direct.make_room(code) {
            return;
        }
        let mut hashed = Slots::new();
        let seed = hashed.seed;
        for &id in direct.ids.iter().filter(|id| **id != NO_ID) {
            hashed.insert(id, |id| hash(seed, self.codes[id as usize]));
        }
        self.map = Map::Hashed(hashed);
    }
}

/// Ids by code: `ids[code - first]`, counted modulo 2⁶⁴ so that negative numbers are a range
/// too.
#[derive(Debug, Default)]
struct Direct {
    first: u64,
    ids: Vec<u32>,
    /// How many of them are taken.
    len: u64,
}

impl Direct {
    /// Makes a place for `code`; false if too few of all places would be taken.
    fn make_room(&mut self, code: u64) -> bool {
        let places = self.ids.len() as u64;
        let above = code.wrapping_sub(self.first);
        if above < places {
            return true;
        }
        if self.ids.is_empty() {
            self.first = code;
            self.ids.resize(64, NO_ID);
            return true;
        }
        let max = (self.len * DIRECT_PLACES).clamp(DIRECT_RANGE_MIN, DIRECT_RANGE_MAX);
        // The code lies above or below the range, whichever is nearer; the range
        // doubles at least, so that a run of codes does not move it for each.
        let below = self.first.wrapping_sub(code);
        if above < max {
            let places = (above + 1).max(places * 2).min(max);
            room::resize(&mut self.ids, places as usize, NO_ID);
            return true;
        }
        if below <= max.saturating_sub(places) {
            let more = below.max(places).min(max - places);
            self.ids
                .splice(0..0, std::iter::repeat_n(NO_ID, more as usize));
            self.first = self.first.wrapping_sub(more);
            return true;
        }
        self.follow(code, max)
    }

    /// Moves the range to where codes are taken, and `code`; false if that is no shorter than
    /// half of `max`: it would not do for long.
    #[cold]
    fn follow(&mut self, code: u64, max: u64) -> bool {
        let is_taken = |id: &u32| *id != NO_ID;
        let (Some(least), Some(greatest)) = (
            self.ids.iter().position(is_taken),
            self.ids.iter().rposition(is_taken),
        ) else {
            *self = Self::default();
            return self.make_room(code);
        };
        let above = code.wrapping_sub(self.first);
        let below = self.first.wrapping_sub(code);
        let span = (greatest - least) as u64 + 1;
        // Where those are that were taken, and as much room again on the side of the code.
        let (shift, places) = match above <= below {
            true => (0, (above - least as u64).saturating_add(1)),
            false => {
                let shift = below.saturating_add(least as u64);
                (
                    shift.saturating_mul(2).saturating_add(span),
                    shift.saturating_add(span),
                )
            }
        };
        if places > max / 2 {
            return false;
        }
        let mut ids = vec![NO_ID; (places * 2) as usize];
        let at = shift as usize;
        ids[at..=at + greatest - least].copy_from_slice(&self.ids[least..=greatest]);
        self.first = self.first.wrapping_add(least as u64).wrapping_sub(shift);
        self.ids = ids;
        true
    }

    #[inline(always)]
    fn get(&self, code: u64) -> u32 {
        // On 32-bit machines the conversion must not cut the code.
        let at = usize::try_from(code.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        self.ids.get(at).copied().unwrap_or(NO_ID)
    }

    /// Puts an id, or [`NO_ID`], in the place of a code that has one.
    fn put(&mut self, code: u64, id: u32) {
        let place = &mut self.ids[code.wrapping_sub(self.first) as usize];
        self.len += u64::from(id != NO_ID);
        self.len -= u64::from(*place != NO_ID);
        *place = id;
    }
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
            Map::Direct(_) => None,
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
            Map::Direct(direct) => direct.get(code),
            Map::Hashed(slots) => slots.at_home(hash(slots.seed, code)),
        }
    }

    #[inline(always)]
    fn is(&self, id: u32, code: u64) -> bool {
        match &self.map {
            Map::Direct(_) => id != NO_ID,
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
            Map::Direct(direct) => direct.get(code),
            Map::Hashed(slots) => slots.along(hash(slots.seed, code), steps),
        }
    }

    #[inline(always)]
    fn find(&self, _: u64, code: u64) -> u32 {
        match &self.map {
            Map::Direct(direct) => direct.get(code),
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
            Map::Direct(direct) => direct.put(code, id),
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
            Map::Direct(direct) => direct.put(code, NO_ID),
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
            Map::Direct(direct) => direct.ids.capacity() * size_of::<u32>(),
            Map::Hashed(slots) => slots.bytes(),
        };
        map + self.codes.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// What a table says of codes, after some have come and others gone.
    fn check(table: &CodeTable, model: &HashMap<u64, u32>, asked: &[u64]) {
        for code in asked {
            let expected = model.get(code).copied().unwrap_or(NO_ID);
            assert_eq!(table.find(*code, *code), expected, "{code}");
        }
    }

    proptest! {
        /// Codes that move away while the oldest go, up or down, near or far, by steps of
        /// about one size, are those of a map.
        #[test]
        fn it_is_a_map(
            start in prop::sample::select(vec![0, 1 << 40, u64::MAX - 100_000]),
            step in prop::sample::select(vec![3_i64, 700, 30_000, 300_000, i64::MAX / 4]),
            steps in prop::collection::vec((-1..4_i64, 0..100_i64, 0..3_usize), 1..200),
            is_falling in any::<bool>(),
        ) {
            let mut table = CodeTable::new();
            let (mut model, mut order) = (HashMap::new(), VecDeque::new());
            let mut free: Vec<u32> = (0..200).rev().collect();
            let (mut front, mut asked) = (start, vec![start, start.wrapping_sub(1)]);
            for (way, share, gone) in steps {
                let way = if is_falling { -way } else { way };
                front = front.wrapping_add((way.wrapping_mul(step / 100 * share)) as u64);
                asked.push(front);
                if let (false, Some(id)) = (model.contains_key(&front), free.pop()) {
                    table.insert(front, id).expect("it fits");
                    model.insert(front, id);
                    order.push_back((front, id));
                }
                for _ in 0..gone.min(order.len().saturating_sub(2)) {
                    let (code, id) = order.pop_front().expect("there are more");
                    table.remove(id);
                    model.remove(&code);
                    free.push(id);
                }
                check(&table, &model, &[front]);
            }
            check(&table, &model, &asked);
        }
    }

    #[test]
    fn a_table_follows_codes_that_move_and_gives_up_those_that_are_scattered() {
        for is_rising in [true, false] {
            let mut table = CodeTable::new();
            let code = |n: u64| match is_rising {
                true => n,
                false => 1_u64.wrapping_sub(n),
            };
            // A thousand at a time, of three million.
            for n in 0..3_000_000_u64 {
                let id = (n % 1_000) as u32;
                if n >= 1_000 {
                    table.remove(id);
                }
                table.insert(code(n), id).expect("it fits");
            }
            assert!(matches!(table.map, Map::Direct(_)));
            assert!(table.bytes() < 1 << 20, "{} bytes", table.bytes());
            assert_eq!(table.find(code(2_999_500), code(2_999_500)), 500);
            assert_eq!(table.find(code(1), code(1)), NO_ID);
            table.insert(code(1 << 40), 1_000).expect("it fits");
            assert!(matches!(table.map, Map::Hashed(_)));
            assert_eq!(table.find(code(2_999_500), code(2_999_500)), 500);
            assert_eq!(table.find(code(1 << 40), code(1 << 40)), 1_000);
        }
    }
}
