//! The order of floats: −0.0 below 0.0, NaN one value and the greatest.

/// Rises with the value.
#[inline(always)]
pub(super) fn key(value: f64) -> i64 {
    let value = if value.is_nan() { f64::NAN } else { value };
    turned(value.to_bits() as i64)
}

/// The value of a key, NaN in its usual form.
#[inline(always)]
pub(super) fn of_key(key: i64) -> f64 {
    f64::from_bits(turned(key) as u64)
}

/// Negative floats have the order of their bits turned round.
#[inline(always)]
fn turned(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// As [`key`], of 32 bits.
#[inline(always)]
pub(super) fn key_f32(value: f32) -> i32 {
    let value = if value.is_nan() { f32::NAN } else { value };
    let bits = value.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// Whether there is neither NaN nor −0.0, so that the processor's `<` is the order.
#[inline(always)]
pub(super) fn is_ordinary(values: &[f64]) -> bool {
    const MINUS_ZERO: u64 = 1 << 63;
    // Chunks stop early; within one, no branch stands in the way of vectors.
    values.chunks(1024).all(|chunk| {
        let mut any_odd = false;
        for &value in chunk {
            any_odd |= value.is_nan() | (value.to_bits() == MINUS_ZERO);
        }
        !any_odd
    })
}

/// A sum as it is given out: never −0.0, NaN in its usual form.
#[inline(always)]
pub(super) fn usual(sum: f64) -> f64 {
    if sum.is_nan() { f64::NAN } else { sum + 0.0 }
}
