//! `first_value` and `last_value`: by event time, then by order of arrival.
//!
//! A value of a fixed width lies in the record itself; for any other type see
//! [`held`](super::held).

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Int8Type, Int64Type, UInt64Type};

use super::Rows;
use super::fold::{Column, Fold, column};
use super::physical::{integers, typed};
use super::saved::Saved;
use super::select::{filtered, selected};
use crate::error::Result;

/// When a row was, and when it came. Empty is a state of its own: every time and every
/// ordinal can be a row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    /// The event time, in ticks.
    pub(super) time: i64,
    /// The place in the order of arrival.
    pub(super) ordinal: u64,
}

impl Stamp {
    pub(super) const ZERO: Self = Self {
        time: 0,
        ordinal: 0,
    };

    /// Whether `self` takes the place of `other` as the first or the last of the two.
    #[inline(always)]
    pub(super) fn wins<const LAST: bool>(self, other: Self) -> bool {
        if LAST { self > other } else { self < other }
    }
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    Null,
    Value,
}

impl Held {
    pub(super) fn code(self) -> i8 {
        self as i8
    }

    /// The state of a saved code.
    pub(super) fn of_code(code: i8) -> Self {
        match code {
            0 => Self::Nothing,
            1 => Self::Null,
            _ => Self::Value,
        }
    }
}

/// A type of values of a fixed width.
pub(super) trait Fixed: Debug + Send + Sync + 'static {
    /// A value.
    type Value: Copy + Debug + Send + Sync + 'static;
    /// The values of a column.
    type Values<'a>: Column<Value = Self::Value>;

    /// A value to fill places with.
    const FILLER: Self::Value;

    /// The values of a column.
    fn values(array: &ArrayRef) -> Self::Values<'_>;

    /// A column of values.
    fn array(values: impl Iterator<Item = Option<Self::Value>>, data_type: &DataType) -> ArrayRef;

    /// The values of a saved column.
    fn load<'a>(saved: Saved<'a>, column: usize, data_type: &DataType) -> Result<Self::Values<'a>>;
}

/// Numbers and times, by integers of their width.
#[derive(Debug)]
pub(super) struct Primitive<T>(PhantomData<fn() -> T>);

impl<T: ArrowPrimitiveType + Debug> Fixed for Primitive<T> {
    type Value = T::Native;
    type Values<'a> = ScalarBuffer<T::Native>;

    const FILLER: T::Native = T::Native::ZERO;

    fn values(array: &ArrayRef) -> ScalarBuffer<T::Native> {
        integers(array)
    }

    fn array(values: impl Iterator<Item = Option<T::Native>>, data_type: &DataType) -> ArrayRef {
        typed(values.collect::<PrimitiveArray<T>>(), data_type)
    }

    fn load<'a>(
        saved: Saved<'a>,
        column: usize,
        data_type: &DataType,
    ) -> Result<ScalarBuffer<T::Native>> {
        Ok(integers(saved.of_type(column, data_type)?))
    }
}

/// Booleans.
#[derive(Debug)]
pub(super) struct Boolean;

impl Fixed for Boolean {
    type Value = bool;
    type Values<'a> = &'a BooleanBuffer;

    const FILLER: bool = false;

    fn values(array: &ArrayRef) -> &BooleanBuffer {
        array.as_boolean().values()
    }

    fn array(values: impl Iterator<Item = Option<bool>>, _data_type: &DataType) -> ArrayRef {
        Arc::new(values.collect::<BooleanArray>())
    }

    fn load<'a>(
        saved: Saved<'a>,
        column: usize,
        _data_type: &DataType,
    ) -> Result<&'a BooleanBuffer> {
        Ok(saved.array::<BooleanArray>(column)?.values())
    }
}

/// The first or the last value of a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<V> {
    stamp: Stamp,
    value: V,
    held: Held,
}

/// `first_value` or `last_value` of a type of a fixed width.
#[derive(Debug)]
pub(super) struct FirstLast<F, const LAST: bool> {
    data_type: DataType,
    ignore_nulls: bool,
    values: PhantomData<fn() -> F>,
}

impl<F, const LAST: bool> FirstLast<F, LAST> {
    pub(super) fn new(data_type: &DataType, ignore_nulls: bool) -> Self {
        Self {
            data_type: data_type.clone(),
            ignore_nulls,
            values: PhantomData,
        }
    }
}

/// Values with their stamps and NULLs.
pub(super) struct Stamped<'a, C> {
    times: &'a [i64],
    first_ordinal: u64,
    values: C,
    nulls: Option<&'a NullBuffer>,
}

impl<C: Column> Column for Stamped<'_, C> {
    type Value = Kept<C::Value>;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.values.rows().min(self.times.len())
    }

    #[inline(always)]
    fn value(&self, row: usize) -> Kept<C::Value> {
        let valid = self.nulls.is_none_or(|nulls| nulls.is_valid(row));
        Kept {
            stamp: Stamp {
                time: self.times[row],
                ordinal: self.first_ordinal.wrapping_add(row as u64),
            },
            value: self.values.value(row),
            held: if valid { Held::Value } else { Held::Null },
        }
    }
}

impl<F: Fixed, const LAST: bool> Fold for FirstLast<F, LAST> {
    type Slot = Kept<F::Value>;
    type Value = Kept<F::Value>;
    type Columns<'a> = Stamped<'a, F::Values<'a>>;

    const EMPTY: Self::Slot = Kept {
        stamp: Stamp::ZERO,
        value: F::FILLER,
        held: Held::Nothing,
    };
    const SAVED: usize = 4;

    fn columns<'a>(&self, rows: &Rows<'a>) -> Self::Columns<'a> {
        Stamped {
            times: rows.times,
            first_ordinal: rows.first_ordinal,
            values: F::values(&rows.args[0]),
            nulls: rows.args[0].nulls().filter(|nulls| nulls.null_count() > 0),
        }
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        if self.ignore_nulls {
            selected(rows, &rows.args[..1])
        } else {
            filtered(rows)
        }
    }

    #[inline(always)]
    fn add(slot: &mut Self::Slot, value: Self::Value) {
        if slot.held == Held::Nothing || value.stamp.wins::<LAST>(slot.stamp) {
            *slot = value;
        }
    }

    #[inline(always)]
    fn merge(into: &mut Self::Slot, from: Self::Slot) {
        if from.held != Held::Nothing {
            Self::add(into, from);
        }
    }

    fn return_type(&self) -> DataType {
        self.data_type.clone()
    }

    fn evaluate(&self, slots: &[Self::Slot]) -> ArrayRef {
        let value = |slot: &Self::Slot| (slot.held == Held::Value).then_some(slot.value);
        F::array(slots.iter().map(value), &self.data_type)
    }

    fn save(&self, slots: &[Self::Slot]) -> Vec<ArrayRef> {
        vec![
            column::<Int64Type>(slots.iter().map(|slot| slot.stamp.time)),
            column::<UInt64Type>(slots.iter().map(|slot| slot.stamp.ordinal)),
            column::<Int8Type>(slots.iter().map(|slot| slot.held.code())),
            self.evaluate(slots),
        ]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>> {
        let times = saved.values::<Int64Type>(0)?;
        let ordinals = saved.values::<UInt64Type>(1)?;
        let held = saved.values::<Int8Type>(2)?;
        let values = F::load(saved, 3, &self.data_type)?;
        Ok((0..times.len())
            .map(|row| Kept {
                stamp: Stamp {
                    time: times[row],
                    ordinal: ordinals[row],
                },
                value: values.value(row),
                held: Held::of_code(held[row]),
            })
            .collect())
    }
}
