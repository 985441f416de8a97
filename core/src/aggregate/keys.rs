//! Values as keys of sets: equal values have equal keys.
//!
//! All NaNs are one value, 0.0 and −0.0 are one. Keys and hashes are the same in every
//! process and on every machine: they are saved.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{ArrowNativeType, DataType, Float16Type, Float32Type, Float64Type};
use twox_hash::XxHash64;

use super::physical::integers;

/// Whether [`fixed_keys`] has keys for this type: booleans, numbers and times of at
/// most 64 bits.
pub(super) fn is_fixed(data_type: &DataType) -> bool {
    *data_type == DataType::Boolean
        || data_type.is_primitive() && data_type.primitive_width().is_some_and(|width| width <= 8)
}

/// Keys of every row of a column of a type that [`is_fixed`]; those of NULLs mean
/// nothing.
///
/// # Panics
/// If it is of another type.
pub(super) fn fixed_keys(array: &ArrayRef) -> Vec<u64> {
    fn floats<N: Copy + Into<f64>>(values: &[N]) -> Vec<u64> {
        let key = |value: &N| {
            let value: f64 = (*value).into();
            // Adding 0.0 turns −0.0 into 0.0.
            (if value.is_nan() {
                f64::NAN
            } else {
                value + 0.0
            })
            .to_bits()
        };
        values.iter().map(key).collect()
    }
    fn bits<N: ArrowNativeType + Into<u64>>(array: &ArrayRef) -> Vec<u64> {
        (integers::<N>(array).iter())
            .map(|value| (*value).into())
            .collect()
    }
    match array.data_type() {
        DataType::Boolean => (array.as_boolean().values().iter())
            .map(u64::from)
            .collect(),
        DataType::Float16 => floats(array.as_primitive::<Float16Type>().values()),
        DataType::Float32 => floats(array.as_primitive::<Float32Type>().values()),
        DataType::Float64 => floats(array.as_primitive::<Float64Type>().values()),
        other => match other.primitive_width() {
            Some(1) => bits::<u8>(array),
            Some(2) => bits::<u16>(array),
            Some(4) => bits::<u32>(array),
            Some(8) => bits::<u64>(array),
            _ => unreachable!("a column of at most 64 bits a value, not of {other}"),
        },
    }
}

/// Spreads a key over all bits (the finaliser of SplitMix64, Stafford's mix 13).
#[inline(always)]
pub(super) fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    key ^ (key >> 31)
}

/// The hash of a string or binary value.
#[inline]
pub(super) fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}
