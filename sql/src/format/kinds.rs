//! What kinds of values a column holds, and the type that all of them fit.

use arrow::datatypes::{DataType, TimeUnit};

use super::number::{Fault, parse_f64, parse_i64};
use super::time::{DateCache, TimestampFormat, parse_iso};

/// The kinds of values that were seen, one bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const INTEGER: Self = Self(1);
    pub(super) const LONG_INTEGER: Self = Self(2);
    pub(super) const FLOAT: Self = Self(4);
    pub(super) const BOOLEAN: Self = Self(8);
    const DATE: Self = Self(16);
    pub(super) const TIME: Self = Self(32);
    const ZONED_TIME: Self = Self(64);
    pub(super) const TEXT: Self = Self(128);

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn only(self, others: &[Self]) -> bool {
        self.0 & !others.iter().fold(0, |bits, kind| bits | kind.0) == 0
    }

    /// Whether nothing was seen.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These kinds with those of `other` that make room in the type: fractions beside
    /// whole numbers, times beside dates. All of them, if nothing was seen before.
    pub(super) fn widened_by(self, other: Self) -> Self {
        let mut room = 0;
        if self.has(Self::INTEGER) {
            room |= Self::FLOAT.0;
        }
        if self.has(Self::DATE) {
            room |= Self::TIME.0 | Self::ZONED_TIME.0;
        }
        match self.is_empty() {
            true => other,
            false => Self(self.0 | other.0 & room),
        }
    }

    /// What may still come where little was seen: a fraction after whole numbers, a time
    /// of day after dates.
    pub(super) fn with_room(self) -> Self {
        self.widened_by(Self(match self.is_empty() {
            true => 0,
            false => Self::FLOAT.0 | Self::TIME.0,
        }))
    }

    /// The narrowest type that all of them fit.
    pub(super) fn data_type(self) -> DataType {
        if self.0 == 0 {
            DataType::Utf8
        } else if self.only(&[Self::INTEGER]) {
            DataType::Int64
        } else if self.only(&[Self::INTEGER, Self::LONG_INTEGER, Self::FLOAT])
            && self.has(Self::FLOAT)
        {
            DataType::Float64
        } else if self.only(&[Self::BOOLEAN]) {
            DataType::Boolean
        } else if self.only(&[Self::DATE]) {
            DataType::Date32
        } else if self.only(&[Self::DATE, Self::TIME, Self::ZONED_TIME]) {
            let zone = self.has(Self::ZONED_TIME).then(|| "+00:00".into());
            DataType::Timestamp(TimeUnit::Microsecond, zone)
        } else {
            DataType::Utf8
        }
    }

    /// The kind of a text that is no number.
    pub(super) fn of_words(text: &str, times: Option<&TimestampFormat>) -> Self {
        let time = match times {
            Some(format) => format.parse(text.as_bytes()),
            None => parse_iso(text.as_bytes(), &mut DateCache::default()),
        };
        match time {
            None => Self::TEXT,
            Some(time) if time.has_zone() => Self::ZONED_TIME,
            Some(time) if times.is_none() && time.plain_date().is_some() => Self::DATE,
            Some(_) => Self::TIME,
        }
    }

    /// The kind of a CSV field; an empty one tells nothing.
    pub(super) fn of_field(text: &str, times: Option<&TimestampFormat>) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::default();
        }
        // The zeros of a code such as 007 belong to it.
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
        if let [b'0', b'0'..=b'9', ..] = digits
            && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.'))
        {
            return Self::TEXT;
        }
        match parse_i64(text.as_bytes()) {
            Ok(_) => return Self::INTEGER,
            Err(Fault::Range) => return Self::LONG_INTEGER,
            Err(_) => {}
        }
        match parse_f64(text.as_bytes()) {
            Ok(value) if value.is_finite() => return Self::FLOAT,
            Ok(_) if matches!(text, "NaN" | "nan" | "inf" | "-inf") => return Self::FLOAT,
            _ => {}
        }
        if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            return Self::BOOLEAN;
        }
        Self::of_words(text, times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_leading_zeros_is_text() {
        let of = |text: &str| Kinds::of_field(text, None);
        for text in ["007", "01234", "-01", "00", "00.5"] {
            assert_eq!(of(text), Kinds::TEXT, "{text}");
        }
        assert_eq!(of("0"), Kinds::INTEGER);
        assert_eq!(of("-0"), Kinds::INTEGER);
        assert_eq!(of("0.5"), Kinds::FLOAT);
        assert_eq!(of("0e5"), Kinds::FLOAT);
    }
}
