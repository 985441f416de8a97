//! Plain numbers, read where they stand: a sign, at most 19 digits, a point among them.
//!
//! Digits are read eight at a time without a look at each. The nearest float is one
//! division where `f64` holds both numbers exactly (Clinger, "How to read floating point
//! numbers accurately", PLDI 1990), otherwise one multiplication by a power of five of
//! 128 bits (Lemire, "Number parsing at a gigabyte per second", Software: Practice and
//! Experience 51(8), 2021).

use super::search::{HIGH, LOW};

const POWERS_OF_TEN: [f64; 20] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19,
];

/// The most digits whose value 64 bits hold, whatever they are.
const DIGITS_MAX: usize = 19;

/// A number without exponent, as `mantissa / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShortNumber {
    pub(crate) negative: bool,
    pub(crate) mantissa: u64,
    /// How many digits stand after the point, at most 19; `None`: there is no point.
    pub(crate) scale: Option<u8>,
}

impl ShortNumber {
    /// Reads the number that begins at `start`, and gives it with its end. `None`: there
    /// is no digit, or there are more than 19.
    #[inline(always)]
    pub(crate) fn scan(bytes: &[u8], start: usize) -> Option<(Self, usize)> {
        let negative = bytes.get(start) == Some(&b'-');
        let whole = start + usize::from(negative);
        let mut mantissa = 0;
        let mut end = digits(bytes, whole, &mut mantissa);
        let mut count = end - whole;
        let mut scale = None;
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(bytes, fraction, &mut mantissa);
            count += end - fraction;
            scale = u8::try_from(end - fraction).ok();
        }
        let number = Self {
            negative,
            mantissa,
            scale,
        };
        (1..=DIGITS_MAX).contains(&count).then_some((number, end))
    }

    /// As [`ShortNumber::scan`], for a number of JSON: digits stand before and after the
    /// point, and no zero before other digits.
    #[inline(always)]
    pub(crate) fn scan_json(bytes: &[u8], start: usize) -> Option<(Self, usize)> {
        let (number, end) = Self::scan(bytes, start)?;
        let whole = start + usize::from(number.negative);
        let (first, second) = (bytes[whole], bytes.get(whole + 1));
        let is_json = first.is_ascii_digit()
            && !(first == b'0' && second.is_some_and(u8::is_ascii_digit))
            && number.scale != Some(0);
        is_json.then_some((number, end))
    }

    /// The nearest float.
    #[inline(always)]
    pub(crate) fn to_f64(self) -> f64 {
        const EXACT: u64 = 1 << 53;
        let scale = usize::from(self.scale.unwrap_or(0));
        let value = if self.mantissa <= EXACT {
            // Processors convert signed integers in one step.
            self.mantissa as i64 as f64 / POWERS_OF_TEN[scale]
        } else if scale == 0 {
            self.mantissa as f64
        } else {
            nearest(self.mantissa, scale)
        };
        if self.negative { -value } else { value }
    }

    /// The integer, if there is no point and 64 bits hold it.
    #[inline]
    pub(crate) fn to_i64(self) -> Option<i64> {
        match (self.scale, self.negative) {
            (None, true) => 0i64.checked_sub_unsigned(self.mantissa),
            (None, false) => i64::try_from(self.mantissa).ok(),
            _ => None,
        }
    }
}

/// Reads digits from `start` on into `mantissa`, which must hold what stands before them,
/// and gives their end. What more than 19 of them say is lost.
#[inline(always)]
pub(crate) fn digits(bytes: &[u8], start: usize, mantissa: &mut u64) -> usize {
    const POWERS: [u64; 9] = [
        1,
        10,
        100,
        1_000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
    ];
    let mut at = start;
    while let Some(text) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let (value, count) = leading_digits(text);
        *mantissa = mantissa.wrapping_mul(POWERS[count]).wrapping_add(value);
        at += count;
        if count < 8 {
            return at;
        }
    }
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        *mantissa = (mantissa.wrapping_mul(10)).wrapping_add(u64::from(byte - b'0'));
        at += 1;
    }
    at
}

/// The digits that eight bytes begin with: what they say, and how many they are.
#[inline(always)]
fn leading_digits(text: &[u8; 8]) -> (u64, usize) {
    let values = u64::from_le_bytes(*text) ^ (LOW * u64::from(b'0'));
    // The high bit of each byte that is no digit.
    let others = (((values & !HIGH) + LOW * (0x80 - 10)) | values) & HIGH;
    let count = (others.trailing_zeros() / 8) as usize;
    // Zeros stand before the digits, so that eight are read whatever their number.
    let values = values.checked_shl(64 - 8 * count as u32).unwrap_or(0);
    // Pairs, then fours, then all of them (D. Lemire, "Quickly parsing eight digits").
    let pairs = (values * 10) + (values >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    (low.wrapping_add(high) >> 32, count)
}

/// `2^b / 5^power`, rounded up, with the `b` that makes it one of 128 bits.
const fn reciprocal(power: u32) -> u128 {
    let five = 5u128.pow(power);
    let bits = 128 - (five - 1).leading_zeros() + 127;
    let (mut quotient, mut rest, mut bit) = (0u128, 1u128, 0);
    while bit < bits {
        rest *= 2;
        quotient <<= 1;
        if rest >= five {
            rest -= five;
            quotient |= 1;
        }
        bit += 1;
    }
    quotient + 1
}

const RECIPROCALS: [u128; DIGITS_MAX + 1] = {
    let mut table = [0; DIGITS_MAX + 1];
    let mut power = 1;
    while power <= DIGITS_MAX {
        table[power] = reciprocal(power as u32);
        power += 1;
    }
    table
};

/// The float nearest to `mantissa / 10^scale`; `mantissa` is above 2⁵³ and `scale` from 1
/// to 19, so that it is a normal one.
#[inline(never)]
fn nearest(mantissa: u64, scale: usize) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    let zeros = mantissa.leading_zeros();
    let normal = u128::from(mantissa << zeros);
    let reciprocal = RECIPROCALS[scale];
    let mut product = normal * (reciprocal >> 64);
    // Only these bits can be changed by a carry out of the lower half.
    if (product >> 64) & 0x1FF == 0x1FF {
        product += (normal * (reciprocal & u128::from(u64::MAX))) >> 64;
    }
    let (high, low) = ((product >> 64) as u64, product as u64);
    let carried = (high >> 63) as u32;
    let shift = carried + 64 - MANTISSA_BITS - 3;
    let mut bits = high >> shift;
    // Half-way between two floats: to the even one. Further scales never lie there.
    if low <= 1 && scale <= 4 && bits & 3 == 1 && bits << shift == high {
        bits &= !1;
    }
    bits = (bits + (bits & 1)) >> 1;
    // ⌊-scale · log₂ 10⌋, in fixed point.
    let binary = ((-(scale as i32) * 217_706) >> 16) + 63 + carried as i32 - zeros as i32;
    // A mantissa that was rounded up to the next power of two counts the exponent on.
    let exponent = (binary + 1023) as u64;
    f64::from_bits((exponent << MANTISSA_BITS) + (bits - (1 << MANTISSA_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &str) -> Option<(f64, usize)> {
        let (number, end) = ShortNumber::scan(text.as_bytes(), 0)?;
        Some((number.to_f64(), end))
    }

    #[test]
    fn a_number_ends_where_its_digits_do() {
        assert_eq!(scan("12.5,7"), Some((12.5, 4)));
        assert_eq!(scan("-3"), Some((-3.0, 2)));
        assert_eq!(scan("5."), Some((5.0, 2)));
        assert_eq!(scan(".5x"), Some((0.5, 2)));
        assert_eq!(scan("123456789012.25\n"), Some((123_456_789_012.25, 15)));
        assert_eq!(scan("1e5"), Some((1.0, 1)));
        assert_eq!(
            scan("1234567890123456789"),
            Some((1_234_567_890_123_456_789.0, 19))
        );
        for text in [
            "",
            "-",
            ".",
            "-.",
            "x",
            "+1",
            "12345678901234567890",
            "/",
            ":",
        ] {
            assert_eq!(scan(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_of_json_has_digits_around_its_point() {
        let end = |text: &str| Some(ShortNumber::scan_json(text.as_bytes(), 0)?.1);
        assert_eq!(end("-12.5,"), Some(5));
        assert_eq!(end("0.25}"), Some(4));
        assert_eq!(end("0"), Some(1));
        for text in ["01", "-01.5", "00", "5.", ".5", "-.5", "-", "+1", "x"] {
            assert_eq!(end(text), None, "{text}");
        }
    }

    #[test]
    fn half_way_goes_to_the_even_float() {
        for text in [
            "9007199254740993.0",
            "9007199254740995.0",
            "4503599627370496.5",
            "4503599627370497.5",
            "1125899906842624.125",
            "1125899906842624.375",
            "0.100000000000000005",
        ] {
            let expected: f64 = text.parse().expect("a float");
            assert_eq!(scan(text), Some((expected, text.len())), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn the_nearest_float_is_that_of_the_standard_library(
            mantissa in prop_oneof![0..10u64.pow(19), 0u64..1 << 54],
            scale in 0usize..=19,
        ) {
            let text = format!("{mantissa:0>20}");
            let text = format!("{}.{}", &text[1..20 - scale], &text[20 - scale..]);
            let expected: f64 = text.parse().expect("a float");
            let (value, end) = scan(&text).expect("a number");
            prop_assert_eq!(end, text.len());
            prop_assert_eq!(value.to_bits(), expected.to_bits(), "{}", text);
        }

        #[test]
        fn eight_bytes_are_read_up_to_the_first_that_is_no_digit(text in any::<[u8; 8]>(), digits in "[0-9]{0,8}") {
            let mut text = text;
            text[..digits.len()].copy_from_slice(digits.as_bytes());
            let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let value = text[..count].iter().fold(0, |value, byte| value * 10 + u64::from(byte - b'0'));
            prop_assert_eq!(leading_digits(&text), (value, count));
        }
    }
}
