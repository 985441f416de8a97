//! One value as text: what CSV, Markdown, tables and line protocol share.
//!
//! Times are ISO 8601 with as much of the fraction as is needed, UTC shown as `Z` and
//! another zone as its offset; floats are the shortest text that reads back as the
//! same number, always with a point or an exponent; a nested value is JSON.

use std::io::Write;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, TimeUnit};
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Offset};
use windrow_core::time;

use crate::error::{Error, ErrorKind, Result};

/// The values of one column, ready to be written as text.
pub(super) enum Cells<'a> {
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Time(Times<'a>),
    Json(NullableEncoder<'a>),
    Other(ArrayFormatter<'a>),
}

impl<'a> Cells<'a> {
    /// The cells of a column that [`plain`] gave.
    ///
    /// # Errors
    /// If values of this type cannot be shown.
    pub(super) fn of(
        field: &'a FieldRef,
        array: &'a dyn Array,
        json: &'a EncoderOptions,
    ) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::LargeUtf8 => Self::LargeText(array.as_string()),
            DataType::Utf8View => Self::TextView(array.as_string_view()),
            DataType::Float32 => Self::Float32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Self::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Timestamp(..) => Self::Time(Times::of(array)?),
            kind if kind.is_nested() => {
                Self::Json(make_encoder(field, array, json).map_err(unwritable)?)
            }
            _ => {
                const SHOWN: FormatOptions<'static> =
                    FormatOptions::new().with_display_error(false);
                Self::Other(ArrayFormatter::try_new(array, &SHOWN).map_err(unwritable)?)
            }
        })
    }

    /// Appends the value of `row`, which must not be NULL.
    ///
    /// # Errors
    /// If the value has no text, such as a date beyond the calendar.
    pub(super) fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Text(array) => out.extend(array.value(row).as_bytes()),
            Self::LargeText(array) => out.extend(array.value(row).as_bytes()),
            Self::TextView(array) => out.extend(array.value(row).as_bytes()),
            Self::Float32(values) => {
                out.extend(ryu::Buffer::new().format(values[row]).as_bytes());
            }
            Self::Float64(values) => {
                out.extend(ryu::Buffer::new().format(values[row]).as_bytes());
            }
            Self::Time(times) => times.write(row, out),
            Self::Json(encoder) => encoder.encode(row, out),
            Self::Other(formatter) => write!(out, "{}", formatter.value(row)).map_err(|_| {
                Error::new(ErrorKind::Data, "a value has no text: it is out of range")
            })?,
        }
        Ok(())
    }
}

/// The columns of a batch with dictionaries and runs unpacked.
///
/// # Errors
/// If a column cannot be unpacked.
pub(super) fn plain(records: &RecordBatch) -> Result<Vec<ArrayRef>> {
    (records.columns().iter())
        .map(|column| match plain_type(column.data_type()) {
            Some(data_type) => Ok(cast(column, &data_type).map_err(unwritable)?),
            None => Ok(column.clone()),
        })
        .collect()
}

/// The type of a packed column's values.
pub(super) fn plain_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Dictionary(_, values) => Some(values.as_ref().clone()),
        DataType::RunEndEncoded(_, values) => Some(values.data_type().clone()),
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        _ => None,
    }
}

/// The error of a value or a type that a format cannot hold.
pub(super) fn unwritable(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Data, format!("cannot be written: {error}")).caused_by(error)
}

/// The values of a timestamp column.
pub(super) struct Times<'a> {
    ticks: &'a [i64],
    per_second: i64,
    zone: Zone,
}

enum Zone {
    None,
    Utc,
    Other(Tz),
}

impl<'a> Times<'a> {
    /// The times of `array`.
    ///
    /// # Errors
    /// If it is no timestamp column, or its zone is unknown.
    pub(super) fn of(array: &'a dyn Array) -> Result<Self> {
        let zone = match array.data_type() {
            DataType::Timestamp(_, Some(zone)) => match zone.as_ref() {
                "UTC" | "Z" | "+00:00" | "Etc/UTC" => Zone::Utc,
                other => Zone::Other(other.parse().map_err(unwritable)?),
            },
            _ => Zone::None,
        };
        let per_second = match time::time_unit(array.data_type())? {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
        Ok(Self {
            ticks: time::ticks(array)?.0,
            per_second,
            zone,
        })
    }

    /// Appends the time of `row`.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        let seconds = self.ticks[row].div_euclid(self.per_second);
        let nanos = self.ticks[row].rem_euclid(self.per_second) * (1_000_000_000 / self.per_second);
        match &self.zone {
            Zone::None => write_time(seconds, nanos, out),
            Zone::Utc => {
                write_time(seconds, nanos, out);
                out.push(b'Z');
            }
            // A time beyond the zone's calendar is shown in UTC.
            Zone::Other(zone) => match DateTime::from_timestamp(seconds, 0) {
                Some(utc) => {
                    let offset = utc.with_timezone(zone).offset().fix().local_minus_utc();
                    write_time(seconds + i64::from(offset), nanos, out);
                    let (sign, ahead) = if offset < 0 {
                        (b'-', -offset)
                    } else {
                        (b'+', offset)
                    };
                    out.push(sign);
                    two_digits(i64::from(ahead / 3600), out);
                    out.push(b':');
                    two_digits(i64::from(ahead / 60 % 60), out);
                }
                None => {
                    write_time(seconds, nanos, out);
                    out.push(b'Z');
                }
            },
        }
    }
}

fn two_digits(number: i64, out: &mut Vec<u8>) {
    out.extend([b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
}

/// Appends seconds since the epoch as `2026-01-01T00:00:00` with 0, 3, 6 or 9 digits
/// of fraction. The calendar is Howard Hinnant's `civil_from_days`, for any 64-bit
/// number of days.
fn write_time(seconds: i64, nanos: i64, out: &mut Vec<u8>) {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March, eras of 400 years on 0000-03-01.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);

    if (0..=9999).contains(&year) {
        two_digits(year / 100, out);
        two_digits(year % 100, out);
    } else {
        write!(out, "{year:+05}").expect("a vector takes every byte");
    }
    for (before, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', second / 3_600),
        (b':', second / 60 % 60),
        (b':', second % 60),
    ] {
        out.push(before);
        two_digits(number, out);
    }
    if nanos != 0 {
        let (mut fraction, digits) = match nanos {
            n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
            n if n % 1_000 == 0 => (n / 1_000, 6),
            n => (n, 9),
        };
        let mut text = [b'0'; 9];
        for place in text[..digits].iter_mut().rev() {
            *place = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
        out.push(b'.');
        out.extend(&text[..digits]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{TimestampMicrosecondArray, TimestampSecondArray};
    use proptest::prelude::*;

    fn text(array: &dyn Array, row: usize) -> String {
        let mut out = Vec::new();
        Times::of(array).expect("times").write(row, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn times_show_as_much_fraction_as_they_need() {
        let times = TimestampMicrosecondArray::from(vec![
            0,
            1_000_000,
            1_500_000,
            1_000_001,
            -1,
            1_772_323_199_000_000,
        ]);
        let shown: Vec<_> = (0..times.len()).map(|row| text(&times, row)).collect();
        assert_eq!(
            shown,
            [
                "1970-01-01T00:00:00",
                "1970-01-01T00:00:01",
                "1970-01-01T00:00:01.500",
                "1970-01-01T00:00:01.000001",
                "1969-12-31T23:59:59.999999",
                "2026-02-28T23:59:59",
            ]
        );
    }

    #[test]
    fn zones_are_shown_by_z_or_their_offset() {
        let times = TimestampSecondArray::from(vec![1_751_328_000]);
        for (zone, shown) in [
            ("UTC", "2025-07-01T00:00:00Z"),
            ("+00:00", "2025-07-01T00:00:00Z"),
            ("Asia/Shanghai", "2025-07-01T08:00:00+08:00"),
            ("America/New_York", "2025-06-30T20:00:00-04:00"),
            ("+05:30", "2025-07-01T05:30:00+05:30"),
        ] {
            assert_eq!(text(&times.clone().with_timezone(zone), 0), shown);
        }
    }

    #[test]
    fn the_ends_of_64_bits_have_a_text() {
        let times = TimestampMicrosecondArray::from(vec![i64::MAX, i64::MIN]);
        assert_eq!(text(&times, 0), "+294247-01-10T04:00:54.775807");
        assert_eq!(text(&times, 1), "-290308-12-21T19:59:05.224192");
        let times = TimestampSecondArray::from(vec![i64::MAX, i64::MIN]).with_timezone("+01:00");
        assert!(text(&times, 0).ends_with("15:30:07Z"));
        assert!(text(&times, 1).ends_with("08:29:52Z"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn times_agree_with_the_calendar_of_chrono(
            seconds in -70_000_000_000_i64..260_000_000_000,
            nanos in 0_u32..1_000_000_000,
        ) {
            let naive = DateTime::from_timestamp(seconds, nanos).expect("in range").naive_utc();
            let mut out = Vec::new();
            write_time(seconds, i64::from(nanos), &mut out);
            prop_assert_eq!(String::from_utf8(out).expect("ASCII"), format!("{naive:?}"));
        }
    }
}
