//! `min` and `max` of numbers, times and booleans.
//!
//! Floats are compared by integer keys in their total order: −0.0 is below 0.0. NaN,
//! whatever its sign and payload, is one value and the greatest, so `min` passes over
//! it unless there is nothing else.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};

use super::fold::{Fold, column, nullable, valid, values};
use super::physical::{integers, typed};
use super::saved::Saved;
use super::{Rows, Shared};
use crate::error::Result;

/// A float type, ordered by integer keys.
pub(super) trait FloatKey: ArrowPrimitiveType + Debug {
    /// The integers of the same width.
    type Key: ArrowPrimitiveType<Native: Ord>;

    /// Rises with the value; NaN is the greatest. Never the least nor the greatest
    /// integer, which stand for no value at all.
    fn key(value: Self::Native) -> <Self::Key as ArrowPrimitiveType>::Native;

    /// The value of a key, NaN in its usual form.
    fn of_key(key: <Self::Key as ArrowPrimitiveType>::Native) -> Self::Native;
}

macro_rules! float_key {
    ($float:ident, $key:ident, $signed:ty, $unsigned:ty) => {
        impl FloatKey for $float {
            type Key = $key;

            // Negative floats have the order of their bits turned round. The extreme
            // integers are NaNs with a full payload, which the usual NaN replaces.
            #[inline(always)]
            fn key(value: Self::Native) -> $signed {
                let value = if value.is_nan() {
                    <Self::Native>::NAN
                } else {
                    value
                };
                let bits = value.to_bits() as $signed;
                bits ^ ((bits >> (<$signed>::BITS - 1)) as $unsigned >> 1) as $signed
            }

            #[inline(always)]
            fn of_key(key: $signed) -> Self::Native {
                let bits = key ^ ((key >> (<$signed>::BITS - 1)) as $unsigned >> 1) as $signed;
                Self::Native::from_bits(bits as $unsigned)
            }
        }
    };
}

float_key!(Float16Type, Int16Type, i16, u16);
float_key!(Float32Type, Int32Type, i32, u32);
float_key!(Float64Type, Int64Type, i64, u64);

/// The key type's native integer.
type KeyOf<T> = <<T as FloatKey>::Key as ArrowPrimitiveType>::Native;

/// `min` or `max` of floats: the state is the key alone.
#[derive(Debug)]
pub(super) struct FloatExtreme<T, const MAX: bool>(PhantomData<fn() -> T>);

impl<T, const MAX: bool> FloatExtreme<T, MAX> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: FloatKey, const MAX: bool> Fold for FloatExtreme<T, MAX> {
    type Slot = KeyOf<T>;
    type Value = T::Native;
    type Columns<'a> = &'a [T::Native];

    const EMPTY: Self::Slot = if MAX {
        KeyOf::<T>::MIN_TOTAL_ORDER
    } else {
        KeyOf::<T>::MAX_TOTAL_ORDER
    };
    const SAVED: usize = 1;

    fn columns<'a>(&self, rows: &Rows<'a>) -> &'a [T::Native] {
        values::<T>(rows, 0)
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, 1)
    }

    #[inline(always)]
    fn add(slot: &mut Self::Slot, value: T::Native) {
        Self::merge(slot, T::key(value));
    }

    #[inline(always)]
    fn merge(into: &mut Self::Slot, from: Self::Slot) {
        *into = if MAX {
            from.max(*into)
        } else {
            from.min(*into)
        };
    }

    fn return_type(&self) -> DataType {
        T::DATA_TYPE
    }

    fn shared(&self) -> Option<Shared> {
        let is_wide = matches!(T::DATA_TYPE, DataType::Float32 | DataType::Float64);
        is_wide.then_some(if MAX { Shared::Max } else { Shared::Min })
    }

    fn is_narrow(&self) -> bool {
        T::DATA_TYPE == DataType::Float32
    }

    fn evaluate(&self, slots: &[Self::Slot]) -> ArrayRef {
        let value = |key: &Self::Slot| (*key != Self::EMPTY).then(|| T::of_key(*key));
        Arc::new(nullable::<T>(slots.iter().map(value)))
    }

    fn save(&self, slots: &[Self::Slot]) -> Vec<ArrayRef> {
        vec![column::<T::Key>(slots.iter().copied())]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>> {
        Ok(saved.values::<T::Key>(0)?.to_vec())
    }
}

/// `min` or `max` of integers, decimals, dates, times, timestamps and durations, by the
/// integers that they are made of.
#[derive(Debug)]
pub(super) struct IntExtreme<T, const MAX: bool> {
    data_type: DataType,
    values: PhantomData<fn() -> T>,
}

impl<T, const MAX: bool> IntExtreme<T, MAX> {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self {
            data_type: data_type.clone(),
            values: PhantomData,
        }
    }
}

impl<T: ArrowPrimitiveType<Native: Ord> + Debug, const MAX: bool> Fold for IntExtreme<T, MAX> {
    type Slot = (T::Native, bool);
    type Value = T::Native;
    type Columns<'a> = ScalarBuffer<T::Native>;

    const EMPTY: Self::Slot = if MAX {
        (T::Native::MIN_TOTAL_ORDER, false)
    } else {
        (T::Native::MAX_TOTAL_ORDER, false)
    };
    const SAVED: usize = 2;

    fn columns(&self, rows: &Rows<'_>) -> ScalarBuffer<T::Native> {
        integers(&rows.args[0])
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, 1)
    }

    #[inline(always)]
    fn add(slot: &mut Self::Slot, value: T::Native) {
        Self::merge(slot, (value, true));
    }

    #[inline(always)]
    fn merge((value, seen): &mut Self::Slot, from: Self::Slot) {
        *value = if MAX {
            from.0.max(*value)
        } else {
            from.0.min(*value)
        };
        *seen |= from.1;
    }

    fn return_type(&self) -> DataType {
        self.data_type.clone()
    }

    fn evaluate(&self, slots: &[Self::Slot]) -> ArrayRef {
        let value = |(value, seen): &Self::Slot| seen.then_some(*value);
        typed(nullable::<T>(slots.iter().map(value)), &self.data_type)
    }

    fn save(&self, slots: &[Self::Slot]) -> Vec<ArrayRef> {
        let seen: BooleanArray = slots.iter().map(|(_, seen)| Some(*seen)).collect();
        vec![
            column::<T>(slots.iter().map(|(value, _)| *value)),
            Arc::new(seen),
        ]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>> {
        let seen = saved.array::<BooleanArray>(1)?.values();
        Ok((saved.values::<T>(0)?.iter().copied()).zip(seen).collect())
    }
}

/// `min` and `max` of booleans, which are `bool_and` and `bool_or`.
///
/// The state says which values were there: bit 0 for false, bit 1 for true.
#[derive(Debug)]
pub(super) struct BoolExtreme<const MAX: bool>;

impl<const MAX: bool> Fold for BoolExtreme<MAX> {
    type Slot = u8;
    type Value = bool;
    type Columns<'a> = &'a BooleanBuffer;

    const EMPTY: u8 = 0;
    const SAVED: usize = 1;

    fn columns<'a>(&self, rows: &Rows<'a>) -> &'a BooleanBuffer {
        rows.args[0].as_boolean().values()
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, 1)
    }

    #[inline(always)]
    fn add(seen: &mut u8, value: bool) {
        *seen |= 1 << u8::from(value);
    }

    #[inline(always)]
    fn merge(into: &mut u8, from: u8) {
        *into |= from;
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, slots: &[u8]) -> ArrayRef {
        let value = |seen: &u8| match (*seen, MAX) {
            (0, _) => None,
            (seen, true) => Some(seen & 2 != 0),
            (seen, false) => Some(seen & 1 == 0),
        };
        Arc::new(slots.iter().map(value).collect::<BooleanArray>())
    }

    fn save(&self, slots: &[u8]) -> Vec<ArrayRef> {
        vec![column::<Int8Type>(slots.iter().map(|seen| *seen as i8))]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<u8>> {
        let seen = saved.values::<Int8Type>(0)?;
        Ok(seen.iter().map(|seen| *seen as u8 & 3).collect())
    }
}
