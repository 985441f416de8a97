//! Days and months of a time zone, numbered.
//!
//! A calendar cuts time at local midnights, so that a day at a daylight-saving change
//! has 23 or 25 hours. Where a midnight does not exist, because the clock was put
//! forward over it, the day starts at the change; where it comes twice, at the first.
//! An offset moves the cut to another local time of day, for which the same holds: a day
//! that starts at 06:00 does so before, on and after the day of a change.
//!
//! This module knows no window.

use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

const DAY_SECONDS: i64 = 86_400;

/// About the years −5970 to 9910: what lies outside has no calendar here.
const DAY_LIMIT: i64 = 2_900_000;

/// 1970-01-01 counted from the first day of the common era.
const EPOCH_FROM_CE: i64 = 719_163;

/// The unit that a calendar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CalendarUnit {
    Day,
    Month,
}

/// Numbered days or months: number 0 holds 1970-01-01.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calendar {
    unit: CalendarUnit,
    zone: Tz,
    ticks_per_second: i64,
    /// Whole days of the offset move the calendar itself, so that they stay at
    /// midnight over a daylight-saving change.
    offset_days: i64,
    /// The local time of day at which units start, below a day.
    offset_seconds: i64,
    /// What the offset has beyond whole seconds.
    offset_ticks: i64,
}

impl Calendar {
    pub(crate) fn new(unit: CalendarUnit, zone: Tz, ticks_per_second: i64, offset: i64) -> Self {
        let day = DAY_SECONDS.saturating_mul(ticks_per_second);
        Self {
            unit,
            zone,
            ticks_per_second,
            offset_days: offset.div_euclid(day).clamp(-DAY_LIMIT, DAY_LIMIT),
            offset_seconds: offset.rem_euclid(day) / ticks_per_second,
            offset_ticks: offset.rem_euclid(day) % ticks_per_second,
        }
    }

    /// The first and the last number that this calendar knows.
    pub(crate) fn limits(&self) -> (i64, i64) {
        let number = |day| match self.unit {
            CalendarUnit::Day => day,
            CalendarUnit::Month => month_of(day),
        };
        (number(-DAY_LIMIT + 1), number(DAY_LIMIT - 1))
    }

    /// When a numbered unit starts, in ticks. Numbers beyond the limits are drawn to
    /// them.
    pub(crate) fn start(&self, number: i64) -> i128 {
        self.start_at(number, 0)
    }

    /// When the local clock has gone on by `seconds`, less than a day, since a numbered
    /// unit's first day started. Where the clock was put forward over that time, it is
    /// the instant of the change.
    pub(crate) fn start_at(&self, number: i64, seconds: i64) -> i128 {
        let (first, last) = self.limits();
        let number = number.clamp(first, last);
        let day = match self.unit {
            CalendarUnit::Day => number,
            CalendarUnit::Month => first_day_of(number),
        };
        let seconds = self.instant(day + self.offset_days, seconds);
        i128::from(seconds) * i128::from(self.ticks_per_second) + i128::from(self.offset_ticks)
    }

    /// The unit that holds an instant.
    pub(crate) fn number(&self, ticks: i64) -> i64 {
        let seconds = (ticks.saturating_sub(self.offset_ticks)).div_euclid(self.ticks_per_second);
        let seconds = seconds.clamp(-DAY_LIMIT * DAY_SECONDS, DAY_LIMIT * DAY_SECONDS);
        let local = self.local(seconds) - self.offset_seconds;
        let day = local.div_euclid(DAY_SECONDS) - self.offset_days;
        let (first, last) = self.limits();
        let mut number = match self.unit {
            CalendarUnit::Day => day,
            CalendarUnit::Month => month_of(day.clamp(-DAY_LIMIT, DAY_LIMIT)),
        }
        .clamp(first, last);
        // Where a clock is put back over midnight, the local date falls for a while;
        // the starts never do.
        while number > first && i128::from(ticks) < self.start(number) {
            number -= 1;
        }
        while number < last && i128::from(ticks) >= self.start(number + 1) {
            number += 1;
        }
        number
    }

    /// Local seconds since 1970-01-01 00:00 of an instant in seconds.
    fn local(&self, seconds: i64) -> i64 {
        let utc = naive(seconds);
        seconds
            + i64::from(
                self.zone
                    .offset_from_utc_datetime(&utc)
                    .fix()
                    .local_minus_utc(),
            )
    }

    /// The first instant, in seconds, at which a local day has come so far beyond the time
    /// of day at which units start.
    fn instant(&self, day: i64, seconds: i64) -> i64 {
        let midnight = day.clamp(-DAY_LIMIT, DAY_LIMIT) * DAY_SECONDS;
        let local = midnight + self.offset_seconds + seconds;
        match self.zone.from_local_datetime(&naive(local)) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp(),
            // The clock was put forward over that time: the instant of the change is the
            // first at which local time has reached it.
            LocalResult::None => {
                let (mut before, mut after) = (local - 2 * DAY_SECONDS, local + 2 * DAY_SECONDS);
                while after - before > 1 {
                    let middle = before + (after - before) / 2;
                    if self.local(middle) < local {
                        before = middle;
                    } else {
                        after = middle;
                    }
                }
                after
            }
        }
    }
}

fn naive(seconds: i64) -> NaiveDateTime {
    let at = DateTime::from_timestamp(seconds, 0);
    at.expect("seconds within the limits are a date")
        .naive_utc()
}

fn date(day: i64) -> NaiveDate {
    NaiveDate::from_num_days_from_ce_opt((day + EPOCH_FROM_CE) as i32)
        .expect("a day within the limits is a date")
}

fn month_of(day: i64) -> i64 {
    let date = date(day);
    (i64::from(date.year()) - 1970) * 12 + i64::from(date.month0())
}

fn first_day_of(month: i64) -> i64 {
    let year = 1970 + month.div_euclid(12);
    let first = NaiveDate::from_ymd_opt(year as i32, month.rem_euclid(12) as u32 + 1, 1);
    let first = first.expect("a month within the limits is a date");
    i64::from(first.num_days_from_ce()) - EPOCH_FROM_CE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text)
            .expect("a time")
            .timestamp()
    }

    fn days(zone: Tz) -> Calendar {
        Calendar::new(CalendarUnit::Day, zone, 1, 0)
    }

    #[test]
    fn days_at_daylight_saving_changes_have_23_and_25_hours() {
        let calendar = days(chrono_tz::Europe::Berlin);
        let spring = calendar.number(at("2026-03-29T12:00:00+02:00"));
        assert_eq!(
            calendar.start(spring),
            at("2026-03-29T00:00:00+01:00").into()
        );
        assert_eq!(
            calendar.start(spring + 1) - calendar.start(spring),
            23 * 3600
        );
        let autumn = calendar.number(at("2026-10-25T12:00:00+01:00"));
        assert_eq!(
            calendar.start(autumn + 1) - calendar.start(autumn),
            25 * 3600
        );
    }

    #[test]
    fn an_offset_is_a_local_time_of_day_on_the_days_of_changes_too() {
        let six = 6 * 3_600;
        let zone = chrono_tz::Europe::Berlin;
        let calendar = Calendar::new(CalendarUnit::Day, zone, 1_000, six * 1_000 + 5);
        for day in ["2026-03-28T06:00:00+01:00", "2026-03-29T06:00:00+02:00"] {
            let start = at(day) * 1_000 + 5;
            let number = calendar.number(start);
            assert_eq!(calendar.start(number), start.into(), "{day}");
            assert_eq!(calendar.number(start - 1), number - 1, "{day}");
        }
        let autumn = at("2026-10-25T06:00:00+01:00") * 1_000 + 5;
        assert_eq!(calendar.start(calendar.number(autumn)), autumn.into());
        // 02:30 does not exist on the day of the change: the day starts at the change.
        let calendar = Calendar::new(CalendarUnit::Day, zone, 1, 2 * 3_600 + 1_800);
        let spring = calendar.number(at("2026-03-29T12:00:00+02:00"));
        assert_eq!(
            calendar.start(spring),
            at("2026-03-29T03:00:00+02:00").into()
        );
    }

    #[test]
    fn a_day_without_midnight_starts_at_the_change() {
        let calendar = days(chrono_tz::America::Sao_Paulo);
        let day = calendar.number(at("2018-11-04T12:00:00-02:00"));
        assert_eq!(calendar.start(day), at("2018-11-04T01:00:00-02:00").into());
        assert_eq!(
            calendar.number(at("2018-11-03T23:59:59-03:00")),
            day - 1,
            "the second before"
        );
    }

    #[test]
    fn every_instant_lies_in_its_own_unit() {
        let zones = [
            chrono_tz::Europe::Berlin,
            chrono_tz::America::St_Johns,
            chrono_tz::Pacific::Apia,
            chrono_tz::America::Sao_Paulo,
        ];
        for zone in zones {
            for unit in [CalendarUnit::Day, CalendarUnit::Month] {
                for offset in [0, -3_600, 5 * DAY_SECONDS + 1_800] {
                    let calendar = Calendar::new(unit, zone, 1, offset);
                    let mut ticks = at("1985-01-01T00:00:00Z");
                    while ticks < at("2013-01-01T00:00:00Z") {
                        let number = calendar.number(ticks);
                        assert!(calendar.start(number) <= ticks.into());
                        assert!(calendar.start(number + 1) > ticks.into());
                        ticks += 3_607 * 5;
                    }
                }
            }
        }
    }

    #[test]
    fn months_before_the_epoch_count_down() {
        let calendar = Calendar::new(CalendarUnit::Month, Tz::UTC, 1_000, 0);
        assert_eq!(calendar.number(-1), -1);
        assert_eq!(calendar.start(-1), -31 * 86_400_000);
        assert_eq!(calendar.number(at("2024-02-29T00:00:00Z") * 1_000), 649);
    }

    #[test]
    fn an_offset_of_whole_days_stays_at_midnight() {
        // Weeks that start on Monday: 1970-01-05.
        let calendar = Calendar::new(
            CalendarUnit::Day,
            chrono_tz::Europe::Berlin,
            1,
            4 * DAY_SECONDS,
        );
        let day = calendar.number(at("2026-03-30T00:00:00+02:00"));
        assert_eq!(calendar.start(day), at("2026-03-30T00:00:00+02:00").into());
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        for ticks_per_second in [1, 1_000, 1_000_000, 1_000_000_000] {
            let calendar = Calendar::new(
                CalendarUnit::Month,
                chrono_tz::Asia::Shanghai,
                ticks_per_second,
                i64::MIN,
            );
            for ticks in [i64::MIN, i64::MAX] {
                calendar.start(calendar.number(ticks));
            }
            calendar.start(i64::MIN);
            calendar.start(i64::MAX);
        }
    }
}
