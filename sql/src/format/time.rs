//! Times from text.
//!
//! ISO 8601 and RFC 3339 by hand: `2026-01-31`, `2026-01-31T12:30`,
//! `2026-01-31 12:30:00.123456789Z`, `…+05:30`. A time without zone is read as UTC,
//! one with an offset is converted to it; a plain date is its midnight. A fraction
//! finer than the column's unit is cut towards the past. Any other form is read by a
//! `timestamp_format`, as `strftime` describes it.

use std::fmt::Write;

use arrow::datatypes::TimeUnit;
use chrono::format::{Fixed, Item, Parsed, StrftimeItems};

use super::number::Fault;
use super::plain::digits;

/// An instant as its text gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant {
    /// Days since 1970-01-01.
    days: i64,
    /// Seconds since midnight.
    seconds: u32,
    /// Nanoseconds since the second.
    nanos: u32,
    /// Seconds east of UTC, if the text says.
    offset: Option<i32>,
    /// Whether the text has a time of day.
    has_time: bool,
}

impl Instant {
    /// The instant in ticks of `unit` since the epoch, UTC.
    #[inline]
    pub(crate) fn ticks(&self, unit: TimeUnit) -> Result<i64, Fault> {
        let seconds =
            self.days * 86_400 + i64::from(self.seconds) - i64::from(self.offset.unwrap_or(0));
        // By constants: a division by what is known only at run time costs as much as
        // reading all digits.
        let nanos = i64::from(self.nanos);
        let (per_second, ticks) = match unit {
            TimeUnit::Second => (1, 0),
            TimeUnit::Millisecond => (1_000, nanos / 1_000_000),
            TimeUnit::Microsecond => (1_000_000, nanos / 1_000),
            TimeUnit::Nanosecond => (1_000_000_000, nanos),
        };
        (seconds.checked_mul(per_second))
            .and_then(|seconds| seconds.checked_add(ticks))
            .ok_or(Fault::Range)
    }

    /// Days since the epoch, if the text is a plain date.
    pub(crate) fn plain_date(&self) -> Option<i32> {
        (!self.has_time)
            .then_some(self.days)
            .and_then(|days| i32::try_from(days).ok())
    }

    /// Whether the text names its zone.
    pub(crate) fn has_zone(&self) -> bool {
        self.offset.is_some()
    }
}

/// The last minute and the last date that were read. Readings come in order of time, so
/// that most share them with the row before.
#[derive(Debug, Clone)]
pub(crate) struct DateCache {
    date: [u8; 10],
    /// Days since the epoch.
    days: i64,
    /// As it was written, `yyyy-mm-ddThh:mm`, and where it begins.
    minute: [u8; 16],
    minute_start: (i64, u32),
}

impl Default for DateCache {
    fn default() -> Self {
        Self {
            date: *b"1970-01-01",
            days: 0,
            minute: *b"1970-01-01T00:00",
            minute_start: (0, 0),
        }
    }
}

impl DateCache {
    /// Days since the epoch of `yyyy-mm-dd`.
    #[inline]
    fn days(&mut self, date: &[u8; 10]) -> Option<i64> {
        if *date != self.date {
            self.days = parse_days(date)?;
            self.date = *date;
        }
        Some(self.days)
    }

    /// Days since the epoch and seconds since midnight of `yyyy-mm-ddThh:mm`.
    #[inline]
    fn minute(&mut self, minute: &[u8; 16]) -> Option<(i64, u32)> {
        if *minute != self.minute {
            self.minute_start = self.parse_minute(minute)?;
            self.minute = *minute;
        }
        Some(self.minute_start)
    }

    fn parse_minute(&mut self, text: &[u8; 16]) -> Option<(i64, u32)> {
        let days = self.days(text.first_chunk()?)?;
        if !matches!(text[10], b'T' | b't' | b' ') || text[13] != b':' {
            return None;
        }
        let (hour, minute) = (two(text, 11)?, two(text, 14)?);
        (hour <= 23 && minute <= 59).then_some((days, hour * 3600 + minute * 60))
    }
}

fn digit(text: &[u8], at: usize) -> Option<u32> {
    let digit = text.get(at)?.wrapping_sub(b'0');
    (digit <= 9).then_some(u32::from(digit))
}

fn two(text: &[u8], at: usize) -> Option<u32> {
    Some(digit(text, at)? * 10 + digit(text, at + 1)?)
}

/// Days since the epoch of `yyyy-mm-dd`.
fn parse_days(text: &[u8]) -> Option<i64> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let date = chrono::NaiveDate::from_ymd_opt(year as i32, two(text, 5)?, two(text, 8)?)?;
    Some(i64::from(date.to_epoch_days()))
}

/// Seconds east of UTC of `Z`, `UTC`, `+hh`, `+hhmm` or `+hh:mm`.
fn parse_offset(text: &[u8]) -> Option<i32> {
    let sign = match text {
        [b'Z' | b'z'] | b"UTC" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let minutes = match text.len() {
        3 => 0,
        5 => two(text, 3)?,
        6 if text[3] == b':' => two(text, 4)?,
        _ => return None,
    };
    let hours = two(text, 1)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60) as i32)
}

/// Reads the time that begins at `start` in its usual form,
/// `yyyy-mm-ddThh:mm:ss[.fraction][Z|±hh:mm]`, and gives it with its end. `None`: it has
/// another form, which [`parse_iso`] may know.
#[inline]
pub(crate) fn scan_iso(
    bytes: &[u8],
    start: usize,
    cache: &mut DateCache,
) -> Option<(Instant, usize)> {
    let text = bytes.get(start..)?;
    let head = text.first_chunk::<19>()?;
    let (minute, second) = head.split_first_chunk::<16>()?;
    let (days, seconds) = cache.minute(minute)?;
    if second[0] != b':' {
        return None;
    }
    let second = two(second, 1).filter(|second| *second <= 59)?;
    let mut instant = Instant {
        days,
        seconds: seconds + second,
        nanos: 0,
        offset: None,
        has_time: true,
    };
    let mut end = head.len();
    if text.get(end) == Some(&b'.') {
        let fraction = end + 1;
        let mut value = 0;
        end = digits(text, fraction, &mut value);
        let scale = FRACTIONS.get(end - fraction).filter(|_| end > fraction)?;
        instant.nanos = value as u32 * scale;
    }
    match text.get(end) {
        Some(b'Z') => {
            instant.offset = Some(0);
            end += 1;
        }
        Some(b'+' | b'-') => {
            instant.offset = Some(parse_offset(text.get(end..end + 6)?)?);
            end += 6;
        }
        _ => {}
    }
    Some((instant, start + end))
}

/// Reads an ISO 8601 date or time.
#[inline]
pub(crate) fn parse_iso(text: &[u8], cache: &mut DateCache) -> Option<Instant> {
    match scan_iso(text, 0, cache) {
        Some((instant, end)) if end == text.len() => Some(instant),
        _ => parse_any_iso(text, cache),
    }
}

/// As [`parse_iso`], in all forms.
fn parse_any_iso(text: &[u8], cache: &mut DateCache) -> Option<Instant> {
    let mut instant = Instant {
        days: 0,
        seconds: 0,
        nanos: 0,
        offset: None,
        has_time: text.len() > 10,
    };
    if !instant.has_time {
        instant.days = cache.days(text.first_chunk()?)?;
        return Some(instant);
    }
    (instant.days, instant.seconds) = cache.minute(text.first_chunk()?)?;
    let mut at = 16;
    if text.get(at) == Some(&b':') {
        instant.seconds += two(text, 17).filter(|second| *second <= 59)?;
        at = 19;
        if matches!(text.get(at), Some(b'.' | b',')) {
            (instant.nanos, at) = parse_fraction(text, at + 1)?;
        }
    }
    if at < text.len() {
        instant.offset = Some(parse_offset(text[at..].trim_ascii_start())?);
    }
    Some(instant)
}

/// What the last of so many digits after the point counts, in nanoseconds.
const FRACTIONS: [u32; 10] = [
    0,
    100_000_000,
    10_000_000,
    1_000_000,
    100_000,
    10_000,
    1_000,
    100,
    10,
    1,
];

/// The digits after the point, of which there is one, as nanoseconds, and where they
/// end. What is finer than a nanosecond is cut.
fn parse_fraction(text: &[u8], start: usize) -> Option<(u32, usize)> {
    let mut at = start;
    let mut value = 0;
    while let Some(digit) = digit(text, at) {
        if at - start < 9 {
            value = value * 10 + digit;
        }
        at += 1;
    }
    (at > start).then(|| (value * FRACTIONS[(at - start).min(9)], at))
}

/// Nanoseconds since midnight of `hh:mm[:ss[.fraction]]`.
pub(crate) fn parse_time_of_day(text: &[u8]) -> Option<i64> {
    let mut dated = *b"1970-01-01T00:00:00.000000000";
    if text.len() > 18 || text.len() < 5 {
        return None;
    }
    dated[11..11 + text.len()].copy_from_slice(text);
    let instant = parse_iso(&dated[..11 + text.len()], &mut DateCache::default())?;
    if instant.offset.is_some() {
        return None;
    }
    instant.ticks(TimeUnit::Nanosecond).ok()
}

/// A `timestamp_format`.
#[derive(Debug, Clone, PartialEq)]
pub struct TimestampFormat {
    text: String,
    items: Vec<Item<'static>>,
}

impl TimestampFormat {
    /// Reads a format of `strftime`, or `None` if it is none, or tells no date. `%Z` is
    /// none: the name of a zone does not tell its offset.
    pub fn new(text: &str) -> Option<Self> {
        let items = StrftimeItems::new(text).parse_to_owned().ok()?;
        if items.contains(&Item::Fixed(Fixed::TimezoneName)) {
            return None;
        }
        let format = Self {
            text: text.to_owned(),
            items,
        };
        // What it writes it must be able to read.
        let some_time = chrono::DateTime::UNIX_EPOCH.fixed_offset();
        let mut written = String::new();
        write!(
            written,
            "{}",
            some_time.format_with_items(format.items.iter())
        )
        .ok()?;
        format.parse(written.as_bytes())?;
        Some(format)
    }

    /// The format as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reads a time of this format.
    pub(crate) fn parse(&self, text: &[u8]) -> Option<Instant> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, self.items.iter()).ok()?;
        if parsed.hour_mod_12().is_some() && parsed.minute().is_none() {
            parsed.set_minute(0).ok()?;
        }
        let has_time = parsed.hour_mod_12().is_some() || parsed.timestamp().is_some();
        // Seconds since the epoch (`%s`) are in UTC; chrono has then added the offset.
        let zoned = parsed.offset().is_some() || parsed.timestamp().is_some();
        let offset = parsed.offset().unwrap_or(0);
        let local = if has_time {
            parsed.to_naive_datetime_with_offset(offset).ok()?
        } else {
            parsed.to_naive_date().ok()?.and_hms_opt(0, 0, 0)?
        };
        let seconds = local.and_utc().timestamp();
        Some(Instant {
            days: seconds.div_euclid(86_400),
            seconds: u32::try_from(seconds.rem_euclid(86_400)).ok()?,
            nanos: local.and_utc().timestamp_subsec_nanos().min(999_999_999),
            offset: zoned.then_some(offset),
            has_time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, NaiveDateTime, SecondsFormat};
    use proptest::prelude::*;

    fn micros(text: &str) -> Option<i64> {
        parse_iso(text.as_bytes(), &mut DateCache::default())?
            .ticks(TimeUnit::Microsecond)
            .ok()
    }

    #[test]
    fn forms_of_one_instant() {
        // 2026-01-31 12:30 UTC is 20,484 days and 45,000 seconds after the epoch.
        let expected = Some((20_484 * 86_400 + 45_000) * 1_000_000);
        for text in [
            "2026-01-31T12:30",
            "2026-01-31 12:30:00",
            "2026-01-31t12:30:00z",
            "2026-01-31T12:30:00.000000000Z",
            "2026-01-31 12:30:00 +00:00",
            "2026-01-31 12:30:00 UTC",
            "2026-01-31T12:30:00.000000000999Z",
            "2026-01-31T18:00:00+05:30",
            "2026-01-31T18:00:00+0530",
            "2026-01-31T04:30:00.0-08",
            "2026-01-30T23:30:00-13:00",
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
        assert_eq!(micros("1970-01-01"), Some(0));
        assert_eq!(micros("1969-12-31T23:59:59.9999995"), Some(-1));
        assert_eq!(micros("0001-01-01"), Some(-719_162 * 86_400_000_000));
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-01T",
            "2026-01-01T1",
            "2026-01-01T24:00",
            "2026-01-01T12:60",
            "2026-01-01T12:00:60",
            "2026-01-01T12:00:00.",
            "2026-01-01T12:00:00+24:00",
            "2026-01-01T12:00:00X",
            "2026-01-01X12:00:00",
            "2026/01/01",
            "1700000000",
            "2026-01-01T12:00:0",
            "2026-01-01T12:00:00+1",
            "2026-01-01 ",
            "２026-01-01",
            "\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_read_up_to_its_end() {
        let end = |text: &str| {
            let (instant, end) = scan_iso(text.as_bytes(), 0, &mut DateCache::default())?;
            Some((instant.ticks(TimeUnit::Microsecond).ok()?, end))
        };
        let noon = (20_484 * 86_400 + 43_200) * 1_000_000;
        assert_eq!(end("2026-01-31T12:00:00,5"), Some((noon, 19)));
        assert_eq!(end("2026-01-31 12:00:00.25\n"), Some((noon + 250_000, 22)));
        assert_eq!(end("2026-01-31T12:00:00Z\""), Some((noon, 20)));
        assert_eq!(end("2026-01-31T14:00:00.0+02:00,"), Some((noon, 27)));
        for text in [
            "2026-01-31",
            "2026-01-31T12:00",
            "2026-01-31T12:00:60",
            "2026-01-31T12:00:00.,",
            "2026-01-31T12:00:00.0000000000",
            "2026-01-31T12:00:00+0200",
            "2026-02-31T12:00:00",
        ] {
            assert_eq!(end(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_read_before_makes_no_difference() {
        let mut cache = DateCache::default();
        for (text, seconds) in [
            ("2026-01-31T12:00:01", Some(20_484 * 86_400 + 43_201)),
            ("2026-02-30T12:00:01", None),
            ("2026-01-31T12:00:02", Some(20_484 * 86_400 + 43_202)),
            ("2026-01-31T24:00:02", None),
            ("2026-01-30", Some(20_483 * 86_400)),
            ("2026-01-31T12:00:03", Some(20_484 * 86_400 + 43_203)),
            ("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0:00", None),
        ] {
            let read = parse_iso(text.as_bytes(), &mut cache);
            assert_eq!(
                read.map(|time| time.ticks(TimeUnit::Second)),
                seconds.map(Ok),
                "{text}"
            );
        }
    }

    #[test]
    fn nanoseconds_end_in_2262() {
        let at = |text: &str| {
            parse_iso(text.as_bytes(), &mut DateCache::default())
                .expect("a time")
                .ticks(TimeUnit::Nanosecond)
        };
        assert_eq!(at("2262-04-11T23:47:16.854775807"), Ok(i64::MAX));
        assert_eq!(at("2262-04-12"), Err(Fault::Range));
        assert_eq!(at("1600-01-01"), Err(Fault::Range));
    }

    #[test]
    fn a_format_reads_what_it_describes() {
        let micros = |format: &str, text: &str| {
            TimestampFormat::new(format)
                .expect("a format")
                .parse(text.as_bytes())
                .map(|instant| instant.ticks(TimeUnit::Microsecond).expect("in range"))
        };
        let noon = (20_484 * 86_400 + 43_200) * 1_000_000;
        assert_eq!(micros("%d.%m.%Y %H:%M", "31.01.2026 12:00"), Some(noon));
        assert_eq!(
            micros("%d/%m/%Y", "31/01/2026"),
            Some(noon - 43_200_000_000)
        );
        assert_eq!(
            micros("%Y%m%dT%H%M%S%z", "20260131T140000+0200"),
            Some(noon)
        );
        assert_eq!(micros("%s", "1769860800"), Some(noon));
        assert_eq!(
            micros("%Y-%m-%d %H:%M:%S%.f", "2026-01-31 12:00:00.5"),
            Some(noon + 500_000)
        );
        assert_eq!(micros("%d.%m.%Y", "2026-01-31"), None);
        assert_eq!(micros("%Y-%m-%d %H", "2026-01-31 12"), Some(noon));
        assert_eq!(micros("%s %z", "1769860800 +0200"), Some(noon));
        for format in ["%Q", "", "%m", "%H:%M", "DD.MM.YYYY"] {
            assert_eq!(TimestampFormat::new(format), None, "{format}");
        }
        assert_eq!(TimestampFormat::new("%Y-%m-%d %Z"), None);
    }

    #[test]
    fn times_of_day() {
        assert_eq!(parse_time_of_day(b"01:00"), Some(3_600_000_000_000));
        assert_eq!(parse_time_of_day(b"00:00:01.5"), Some(1_500_000_000));
        assert_eq!(
            parse_time_of_day(b"23:59:59.999999999"),
            Some(86_399_999_999_999)
        );
        for text in ["", "1:00", "24:00", "12:00Z", "12:00:00.0000000000"] {
            assert_eq!(parse_time_of_day(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_chrono(
            seconds in -62_135_596_800i64..253_402_300_799, nanos in 0u32..1_000_000_000,
        ) {
            let time = DateTime::from_timestamp(seconds, nanos).expect("in range");
            let expected = seconds * 1_000_000 + i64::from(nanos) / 1000;
            prop_assert_eq!(micros(&time.to_rfc3339_opts(SecondsFormat::Nanos, true)), Some(expected));
            prop_assert_eq!(micros(&time.naive_utc().to_string()), Some(expected));
        }

        #[test]
        fn accepts_no_date_that_chrono_refuses(text in "[0-3][0-9]{3}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9]") {
            let expected = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S").ok();
            // chrono takes second 60 for a leap second.
            prop_assume!(!text.ends_with(":60"));
            prop_assert_eq!(micros(&text), expected.map(|time| time.and_utc().timestamp_micros()));
        }
    }
}
