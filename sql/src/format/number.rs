//! Numbers from text.
//!
//! Integers are exact or refused. Floats are the nearest `f64`: those of at most 19
//! digits without exponent by [`ShortNumber`], all others by the standard library.

use std::str::FromStr;

use super::plain::ShortNumber;

/// Why a text is not the value that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is no such value.
    Invalid,
    /// It is one, but the type cannot hold it.
    Range,
    /// It is a number where a time must stand: the unit is not known.
    Epoch,
}

/// The sign and the magnitude of an integer.
fn parts(text: &[u8]) -> Result<(bool, u64), Fault> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(Fault::Invalid);
    }
    let mut magnitude = 0u64;
    let mut overflow = false;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Fault::Invalid);
        }
        // 19 digits never overflow; only longer texts pay for the check.
        if digits.len() <= 19 {
            magnitude = magnitude * 10 + u64::from(digit);
        } else {
            let next = (magnitude.checked_mul(10)).and_then(|m| m.checked_add(u64::from(digit)));
            overflow |= next.is_none();
            magnitude = next.unwrap_or(magnitude);
        }
    }
    if overflow {
        return Err(Fault::Range);
    }
    Ok((negative, magnitude))
}

/// A signed integer: an optional sign and digits.
pub(crate) fn parse_i64(text: &[u8]) -> Result<i64, Fault> {
    let (negative, magnitude) = parts(text)?;
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
    .ok_or(Fault::Range)
}

/// An integer that is not negative.
pub(crate) fn parse_u64(text: &[u8]) -> Result<u64, Fault> {
    match parts(text)? {
        (true, magnitude) if magnitude != 0 => Err(Fault::Range),
        (_, magnitude) => Ok(magnitude),
    }
}

/// A float, correctly rounded; one that would become infinite is out of range. `inf`,
/// `infinity` and `nan` are floats in any case.
#[inline]
pub(crate) fn parse_f64(text: &[u8]) -> Result<f64, Fault> {
    match ShortNumber::scan(text, 0) {
        Some((number, end)) if end == text.len() => Ok(number.to_f64()),
        _ => long_f64(text),
    }
}

#[cold]
fn long_f64(text: &[u8]) -> Result<f64, Fault> {
    let value: f64 = parsed(text)?;
    in_range(text, value.is_infinite()).map(|()| value)
}

/// A single-precision float, rounded once.
pub(crate) fn parse_f32(text: &[u8]) -> Result<f32, Fault> {
    let value: f32 = parsed(text)?;
    in_range(text, value.is_infinite()).map(|()| value)
}

fn parsed<F: FromStr>(text: &[u8]) -> Result<F, Fault> {
    (std::str::from_utf8(text).ok())
        .and_then(|text| text.parse().ok())
        .ok_or(Fault::Invalid)
}

/// Refuses digits that have become infinite: infinity has a name.
fn in_range(text: &[u8], is_infinite: bool) -> Result<(), Fault> {
    match is_infinite && text.iter().any(u8::is_ascii_digit) {
        true => Err(Fault::Range),
        false => Ok(()),
    }
}

/// A decimal as an integer count of 10^-scale. Digits after the scale are refused
/// unless they are zeros: nothing is rounded in silence.
pub(crate) fn parse_decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, Fault> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&rest[..at], parse_i64(&rest[at + 1..])?),
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(Fault::Invalid);
    }
    let mut value = 0i128;
    for &byte in whole.iter().chain(fraction) {
        if !byte.is_ascii_digit() {
            return Err(Fault::Invalid);
        }
        value = (value.checked_mul(10))
            .and_then(|value| value.checked_add(i128::from(byte - b'0')))
            .ok_or(Fault::Range)?;
    }
    let shift = exponent
        .checked_add(i64::from(scale))
        .and_then(|shift| shift.checked_sub(fraction.len() as i64))
        .ok_or(Fault::Range)?;
    for _ in 0..shift.clamp(0, 39) {
        value = value.checked_mul(10).ok_or(Fault::Range)?;
    }
    for _ in 0..shift.saturating_neg().clamp(0, 39) {
        if value % 10 != 0 {
            return Err(Fault::Range);
        }
        value /= 10;
    }
    let limit = 10i128.checked_pow(u32::from(precision));
    if limit.is_some_and(|limit| value >= limit) {
        return Err(Fault::Range);
    }
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_exact_or_refused() {
        assert_eq!(parse_i64(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775807"), Ok(i64::MAX));
        assert_eq!(parse_i64(b"9223372036854775808"), Err(Fault::Range));
        assert_eq!(parse_i64(b"-99999999999999999999999999"), Err(Fault::Range));
        assert_eq!(parse_i64(b"+5"), Ok(5));
        assert_eq!(parse_i64(b"000000000000000000000007"), Ok(7));
        for text in ["", "-", "+", "1.0", "1e3", "0x1", " 1", "1_000", "--1"] {
            assert_eq!(parse_i64(text.as_bytes()), Err(Fault::Invalid), "{text:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), Err(Fault::Range));
        assert_eq!(parse_u64(b"-1"), Err(Fault::Range));
        assert_eq!(parse_u64(b"-0"), Ok(0));
    }

    #[test]
    fn floats_of_every_form() {
        for text in ["5.", ".5", "-0", "1e5", "+1.5", "inf", "-Infinity", "1e308"] {
            let expected: f64 = text.parse().expect("a float");
            let value = parse_f64(text.as_bytes()).expect("a float");
            assert_eq!(value.to_bits(), expected.to_bits(), "{text}");
        }
        assert!(parse_f64(b"NaN").expect("a float").is_nan());
        // The greatest are about 1.8e308 and 3.4e38.
        for text in ["1e400", "-2e308", &"9".repeat(400)] {
            assert_eq!(parse_f64(text.as_bytes()), Err(Fault::Range), "{text}");
        }
        assert_eq!(parse_f32(b"4e38"), Err(Fault::Range));
        assert_eq!(parse_f32(b"-inf"), Ok(f32::NEG_INFINITY));
        for text in [
            "", ".", "-", "-.", "1.2.3", "1,5", " 1", "1 ", "abc", "0x10", "1e",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Err(Fault::Invalid), "{text:?}");
        }
    }

    #[test]
    fn decimals_are_never_rounded() {
        assert_eq!(parse_decimal(b"12.34", 5, 2), Ok(1234));
        assert_eq!(parse_decimal(b"-12.3", 5, 2), Ok(-1230));
        assert_eq!(parse_decimal(b"12.340", 5, 2), Ok(1234));
        let least = b"1e-9223372036854775808";
        assert_eq!(parse_decimal(least, 5, 0), Err(Fault::Range));
        assert_eq!(parse_decimal(b"1.2e2", 5, 2), Ok(12_000));
        assert_eq!(parse_decimal(b"12.345", 5, 2), Err(Fault::Range));
        assert_eq!(parse_decimal(b"1000", 5, 2), Err(Fault::Range));
        assert_eq!(parse_decimal(b"1e99999999999", 5, 2), Err(Fault::Range));
        assert_eq!(parse_decimal(b".", 5, 2), Err(Fault::Invalid));
        assert_eq!(parse_decimal(b"1x", 5, 2), Err(Fault::Invalid));
        assert_eq!(parse_decimal(b"0e99999", 5, 2), Ok(0));
    }

    proptest! {
        #[test]
        fn floats_agree_with_the_standard_library(
            text in "-?[0-9]{0,20}(\\.[0-9]{0,20})?(e-?[0-9]{1,3})?"
        ) {
            let expected = text.parse::<f64>().ok().filter(|value| value.is_finite());
            let expected = expected.map(f64::to_bits);
            let value = parse_f64(text.as_bytes()).ok().map(f64::to_bits);
            prop_assert_eq!(value, expected);
        }

        #[test]
        fn any_float_survives(value in any::<f64>()) {
            prop_assume!(!value.is_nan());
            let text = value.to_string();
            prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Ok(value.to_bits()));
        }
    }
}
