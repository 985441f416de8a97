//! Which windows hold a row, counted in panes.
//!
//! Time is cut at every instant where a window starts or ends; the pieces are the
//! panes, numbered in order of time. A HOP whose size is no multiple of its slide has
//! two panes to a slide, however small their common divisor is:
//!
//! ```text
//! slide 10, size 25     windows   [0 ─────────── 25)
//!                                      [10 ─────────── 35)
//!                       panes     0 │1│ 2 │3│ 4 │5│ 6 │      5 = 25 mod 10
//!                                 0 5 10    20    30
//! ```
//!
//! No two windows end at the same pane edge, so a window is named by its end: the
//! number of the first pane after it.
//!
//! (Panes: Li et al., SIGMOD Record 34(1), 2005; pairs: Krishnamurthy et al., SIGMOD
//! 2006.) This module knows no keys and no state.

use arrow::datatypes::TimeUnit;
use chrono_tz::Tz;

use super::calendar::{Calendar, CalendarUnit};
use super::{Alignment, Span, WindowKind};
use crate::error::{Error, Result};
use crate::time::{MAX_TIME, MIN_TIME, nanos_per_tick};

/// The panes of fixed or calendar windows, and the windows over them.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    cuts: Cuts,
    /// The unit count from one window's start to the next one's.
    slide: i64,
    /// What the size is longer than a multiple of the slide; above zero, every slide
    /// is cut in two.
    rest: i64,
    panes: Panes,
    /// The panes all of whose windows can be told in 64 bits.
    first: i64,
    last: i64,
    /// The event times that lie in them: `earliest <= t < latest`.
    earliest: i64,
    latest: i64,
}

/// Windows in pane numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Panes {
    /// Windows of `size` panes that start at every multiple of `slide`.
    Hop { slide: i64, size: i64 },
    /// Windows that start at every multiple of `size` and grow pane by pane.
    Cumulate { size: i64 },
}

#[derive(Debug, Clone, Copy)]
enum Cuts {
    Ticks {
        offset: i64,
    },
    Calendar(Calendar),
    /// Steps of the local clock within each day: one that the clock is put forward over
    /// is empty, one that comes twice is as much longer.
    Clock {
        calendar: Calendar,
        step_seconds: i64,
        steps_per_day: i64,
    },
}

const DAY_SECONDS: i64 = 86_400;

impl Panes {
    /// The end of the window that starts at pane 0.
    pub(crate) fn first_end(self) -> i64 {
        match self {
            Self::Hop { size, .. } => size,
            Self::Cumulate { .. } => 1,
        }
    }

    /// Whether each window is one pane.
    pub(crate) fn is_tumbling(self) -> bool {
        matches!(self, Self::Hop { size: 1, .. })
    }

    /// The first end of a window after the edge `pane`.
    pub(crate) fn end_after(self, pane: i64) -> i64 {
        match self {
            Self::Hop { slide, size } => {
                let (pane, slide, size) = (i128::from(pane), i128::from(slide), i128::from(size));
                narrow(((pane - size).div_euclid(slide) + 1) * slide + size)
            }
            Self::Cumulate { .. } => pane.saturating_add(1),
        }
    }

    /// The last end of a window not after the edge `pane`.
    pub(crate) fn end_until(self, pane: i64) -> i64 {
        match self {
            Self::Hop { slide, size } => {
                let (pane, slide, size) = (i128::from(pane), i128::from(slide), i128::from(size));
                narrow((pane - size).div_euclid(slide) * slide + size)
            }
            Self::Cumulate { .. } => pane,
        }
    }

    /// The end of the last window that holds a pane.
    pub(crate) fn last_end(self, pane: i64) -> i64 {
        narrow(self.reach(pane).1)
    }

    /// The first pane of the first window that holds a pane, and the end of the last.
    fn reach(self, pane: i64) -> (i128, i128) {
        let pane = i128::from(pane);
        match self {
            Self::Hop { slide, size } => {
                let (slide, size) = (i128::from(slide), i128::from(size));
                let first = ((pane - size).div_euclid(slide) + 1) * slide;
                (first, pane.div_euclid(slide) * slide + size)
            }
            Self::Cumulate { size } => {
                let size = i128::from(size);
                let first = pane.div_euclid(size) * size;
                (first, first + size)
            }
        }
    }

    /// The first pane of the window that ends at `end`.
    pub(crate) fn start_of(self, end: i64) -> i64 {
        match self {
            Self::Hop { size, .. } => end.saturating_sub(size),
            Self::Cumulate { size } => end.saturating_sub(1).div_euclid(size).saturating_mul(size),
        }
    }

    /// How many windows that hold `pane` end at `until` or before.
    pub(crate) fn ends_until(self, pane: i64, until: i64) -> u64 {
        let first = self.end_after(pane);
        if first > until {
            return 0;
        }
        let step = match self {
            Self::Hop { slide, .. } => slide,
            Self::Cumulate { .. } => 1,
        };
        let last = until.min(self.last_end(pane));
        (i128::from(last) - i128::from(first)).div_euclid(i128::from(step)) as u64 + 1
    }
}

fn narrow(number: i128) -> i64 {
    number.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn too_long() -> Error {
    Error::invalid("the window is longer than the times that its time column can hold")
}

impl Grid {
    /// The grid of TUMBLE, HOP or CUMULATE over a time column of `unit`.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub(crate) fn new(kind: WindowKind, alignment: Alignment, unit: TimeUnit) -> Result<Self> {
        let (step, size, cumulate) = match kind {
            WindowKind::Tumble { size } => (size, size, false),
            WindowKind::Hop { slide, size } => (slide, size, false),
            WindowKind::Cumulate { step, size } => (step, size, true),
            WindowKind::Session { .. } | WindowKind::Count { .. } => {
                return Err(Error::invalid(
                    "SESSION and COUNT_WINDOW have no fixed windows",
                ));
            }
        };
        let (slide, size, calendar) = match (step, size) {
            (Span::Ticks(slide), Span::Ticks(size)) => (slide, size, None),
            (Span::Days(slide), Span::Days(size)) => {
                (slide.into(), size.into(), Some(CalendarUnit::Day))
            }
            (Span::Months(slide), Span::Months(size)) => {
                (slide.into(), size.into(), Some(CalendarUnit::Month))
            }
            (Span::Ticks(step), Span::Days(days)) if cumulate => {
                return Self::by_clock(step, days, alignment, unit);
            }
            _ => {
                return Err(Error::invalid(
                    "a window's sizes must be of one kind: both fixed times, both days or both \
                     months",
                ));
            }
        };
        if slide <= 0 || size <= 0 {
            return Err(Error::invalid("a window's sizes must be above zero"));
        }
        if calendar.is_none() && alignment.timezone.is_some() {
            return Err(Error::invalid(
                "a time zone needs sizes in days, weeks, months or years: windows of hours and \
                 shorter do not start at local midnight; write INTERVAL '1' DAY, or leave \
                 timezone out and move the windows by an offset",
            ));
        }
        let rest = size % slide;
        if cumulate && rest != 0 {
            return Err(Error::invalid(
                "the size of CUMULATE must be a multiple of its step",
            ));
        }
        if slide > size {
            return Err(Error::invalid(
                "the slide of HOP is greater than its size; the order is HOP(source, time, slide, \
                 size)",
            ));
        }
        let panes = match (cumulate, rest) {
            (true, _) => Panes::Cumulate { size: size / slide },
            (false, 0) => Panes::Hop {
                slide: 1,
                size: size / slide,
            },
            (false, _) => Panes::Hop {
                slide: 2,
                size: 2 * (size / slide) + 1,
            },
        };
        let cuts = match calendar {
            // Moving the start by a whole size (of CUMULATE) or slide changes nothing.
            None => Cuts::Ticks {
                offset: (alignment.offset).rem_euclid(if cumulate { size } else { slide }),
            },
            Some(calendar) => {
                let second = 1_000_000_000 / nanos_per_tick(unit);
                let year = 366 * 86_400 * second;
                if alignment.offset <= -year || alignment.offset >= year {
                    return Err(Error::invalid(
                        "the offset of a calendar window must be shorter than a year",
                    ));
                }
                let zone = alignment.timezone.unwrap_or(Tz::UTC);
                Cuts::Calendar(Calendar::new(calendar, zone, second, alignment.offset))
            }
        };
        let mut grid = Self {
            cuts,
            slide,
            rest,
            panes,
            first: i64::MIN,
            last: i64::MAX,
            earliest: i64::MIN,
            latest: i64::MAX,
        };
        grid.limit();
        if grid.first > grid.last {
            return Err(too_long());
        }
        Ok(grid)
    }

    /// The grid of a CUMULATE that grows by a fixed step over calendar days.
    fn by_clock(step: i64, days: u32, alignment: Alignment, unit: TimeUnit) -> Result<Self> {
        let second = 1_000_000_000 / nanos_per_tick(unit);
        let step_seconds = step / second;
        if step <= 0 || step % second != 0 || DAY_SECONDS % step_seconds != 0 || days == 0 {
            return Err(Error::invalid(
                "the step of a CUMULATE over calendar days must divide 24 hours into whole \
                 seconds, as INTERVAL '1' HOUR does",
            ));
        }
        let days_kind = WindowKind::Cumulate {
            step: Span::Days(1),
            size: Span::Days(days),
        };
        let mut grid = Self::new(days_kind, alignment, unit)?;
        let Cuts::Calendar(calendar) = grid.cuts else {
            return Err(Error::invalid("days are no calendar units here"));
        };
        let steps_per_day = DAY_SECONDS / step_seconds;
        grid.cuts = Cuts::Clock {
            calendar,
            step_seconds,
            steps_per_day,
        };
        grid.panes = Panes::Cumulate {
            size: i64::from(days) * steps_per_day,
        };
        grid.limit();
        if grid.first > grid.last {
            return Err(too_long());
        }
        Ok(grid)
    }

    /// Finds the panes all of whose windows can be told in 64 bits.
    fn limit(&mut self) {
        let (lowest, highest): (i64, i64) = match self.cuts {
            Cuts::Ticks { offset } => {
                let slide = i128::from(self.slide);
                let pane = |time: i64| {
                    let parts = i128::from(self.parts());
                    (i128::from(time) - i128::from(offset)).div_euclid(slide) * parts
                };
                (narrow(pane(MIN_TIME)), narrow(pane(MAX_TIME) + 1))
            }
            Cuts::Calendar(calendar) => {
                let (first, last) = calendar.limits();
                let number = |unit: i64| unit.div_euclid(self.slide) * self.parts();
                (number(first) + self.parts(), number(last))
            }
            Cuts::Clock {
                calendar,
                steps_per_day,
                ..
            } => {
                let (first, last) = calendar.limits();
                ((first + 1) * steps_per_day, last * steps_per_day)
            }
        };
        // Pane numbers are compared before they are narrowed to 64 bits.
        let starts_late_enough = |pane: i64| {
            let start = self.panes.reach(pane).0;
            start >= i128::from(lowest) && self.edge(narrow(start)) >= i128::from(MIN_TIME)
        };
        let ends_early_enough = |pane: i64| {
            let end = self.panes.reach(pane).1;
            end <= i128::from(highest) && self.edge(narrow(end)) <= i128::from(MAX_TIME)
        };
        let first = first_where(lowest, highest, starts_late_enough);
        let after = first_where(lowest, highest, |pane| !ends_early_enough(pane));
        (self.first, self.last) = (first, after.saturating_sub(1));
        if self.first <= self.last {
            self.earliest = narrow(self.edge(self.first));
            self.latest = narrow(self.edge(self.last.saturating_add(1)));
        }
    }

    fn parts(&self) -> i64 {
        if self.rest > 0 { 2 } else { 1 }
    }

    /// The windows in pane numbers.
    pub(crate) fn panes(&self) -> Panes {
        self.panes
    }

    /// The event times that windows can hold: those not before the first and before
    /// the second. What lies outside is nearer to the ends of 64-bit time (or of the
    /// calendar) than a window is long, and is in no window.
    pub(crate) fn limits(&self) -> (i64, i64) {
        (self.earliest, self.latest)
    }

    /// Whether all windows of a pane can be told.
    pub(crate) fn holds(&self, pane: i64) -> bool {
        (self.first..=self.last).contains(&pane)
    }

    /// The instant at which a pane starts.
    fn edge(&self, pane: i64) -> i128 {
        let parts = self.parts();
        let rest = if pane.rem_euclid(parts) == 0 {
            0
        } else {
            self.rest
        };
        let slides = i128::from(pane.div_euclid(parts));
        let unit = slides * i128::from(self.slide) + i128::from(rest);
        match self.cuts {
            Cuts::Ticks { offset } => unit + i128::from(offset),
            Cuts::Calendar(calendar) => calendar.start(narrow(unit)),
            Cuts::Clock {
                calendar,
                step_seconds,
                steps_per_day,
            } => {
                let step = narrow(unit).rem_euclid(steps_per_day);
                let day = narrow(unit).div_euclid(steps_per_day);
                calendar.start_at(day, step * step_seconds)
            }
        }
    }

    /// The instant at which a pane starts, drawn to the ends of 64-bit time.
    pub(crate) fn start(&self, pane: i64) -> i64 {
        narrow(self.edge(pane))
    }

    /// Whether the window that ends at `end` is the one before it once more: its last pane
    /// is one that the clock was put forward over.
    pub(crate) fn is_repeated(&self, end: i64) -> bool {
        matches!(self.cuts, Cuts::Clock { .. }) && self.edge(end) == self.edge(end - 1)
    }

    /// The pane of an event time within [`Grid::limits`].
    pub(crate) fn pane(&self, time: i64) -> i64 {
        let unit = match self.cuts {
            Cuts::Ticks { offset } => time.saturating_sub(offset),
            Cuts::Calendar(calendar) => calendar.number(time),
            Cuts::Clock {
                calendar,
                steps_per_day,
                ..
            } => {
                let first = calendar.number(time) * steps_per_day;
                let is_after = |pane: i64| self.edge(pane) > i128::from(time);
                first_where(first + 1, first + steps_per_day - 1, is_after) - 1
            }
        };
        let slides = unit.div_euclid(self.slide);
        if self.rest == 0 {
            slides
        } else {
            2 * slides + i64::from(unit.rem_euclid(self.slide) >= self.rest)
        }
    }

    /// As [`Grid::closed`], and the watermark up to which it is the same.
    pub(crate) fn closed_until(&self, watermark: i64) -> (i64, i64) {
        let closed = self.closed(watermark);
        if watermark < self.earliest {
            return (closed, self.earliest);
        }
        if watermark >= self.latest {
            // Windows that began before go on to close, up to the last that can be told.
            return (closed, watermark.saturating_add(1));
        }
        (closed, self.start(self.pane(watermark).saturating_add(1)))
    }

    /// The end of the last window that is closed at a watermark: every window that
    /// ends there or before is. [`i64::MIN`] if none is.
    pub(crate) fn closed(&self, watermark: i64) -> i64 {
        if watermark < self.earliest {
            return i64::MIN;
        }
        let end = self.panes.end_until(self.pane(watermark));
        end.min(self.panes.last_end(self.last))
    }
}

/// The first number in `low ..= high` for which `condition` holds, if it holds for all
/// after it; `high + 1` if there is none.
fn first_where(low: i64, high: i64, condition: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (i128::from(low), i128::from(high) + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if condition(middle as i64) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    narrow(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(kind: WindowKind, offset: i64) -> Grid {
        let alignment = Alignment {
            offset,
            timezone: None,
        };
        Grid::new(kind, alignment, TimeUnit::Second).expect("the sizes fit")
    }

    fn hop(slide: i64, size: i64) -> WindowKind {
        WindowKind::Hop {
            slide: Span::Ticks(slide),
            size: Span::Ticks(size),
        }
    }

    #[test]
    fn windows_hold_what_their_bounds_say() {
        for (slide, size) in [(1, 1), (10, 10), (10, 20), (10, 25), (7, 10), (3, 8)] {
            for offset in [0, 4, -3, 1_000_001] {
                let grid = grid(hop(slide, size), offset);
                for time in -60..60 {
                    let pane = grid.pane(time);
                    assert!(grid.start(pane) <= time && time < grid.start(pane + 1));
                    let mut expected = Vec::new();
                    for number in -100..100 {
                        let start = number * slide + offset.rem_euclid(slide);
                        if start <= time && time < start + size {
                            expected.push((start, start + size));
                        }
                    }
                    let mut found = Vec::new();
                    let mut end = grid.panes().end_after(pane);
                    while end <= grid.panes().last_end(pane) {
                        let start = grid.panes().start_of(end);
                        found.push((grid.start(start), grid.start(end)));
                        end = grid.panes().end_after(end);
                    }
                    assert_eq!(found, expected, "{slide} {size} {offset} {time}");
                    let closed = grid.closed(time + 5);
                    let ended = expected.iter().filter(|(_, end)| *end <= time + 5);
                    assert_eq!(
                        grid.panes().ends_until(pane, closed),
                        ended.count() as u64,
                        "{slide} {size} {offset} {time}"
                    );
                }
            }
        }
    }

    #[test]
    fn cumulate_grows_step_by_step() {
        let kind = WindowKind::Cumulate {
            step: Span::Ticks(2),
            size: Span::Ticks(10),
        };
        let grid = grid(kind, -1);
        let panes = grid.panes();
        let pane = grid.pane(-6);
        assert_eq!(
            (grid.start(pane), grid.start(panes.end_after(pane))),
            (-7, -5)
        );
        assert_eq!(grid.start(panes.start_of(panes.end_after(pane))), -11);
        assert_eq!(grid.start(panes.last_end(pane)), -1);
        assert_eq!(panes.ends_until(pane, grid.closed(-3)), 2);
    }

    #[test]
    fn cumulate_at_the_ends_of_time_has_whole_windows_only() {
        let kind = WindowKind::Cumulate {
            step: Span::Ticks(1),
            size: Span::Ticks(4),
        };
        // -2^63 is a multiple of 4; a window up to 2^63 cannot be told.
        assert_eq!(grid(kind, 0).limits(), (i64::MIN, i64::MAX - 3));
        assert_eq!(grid(kind, 1).limits(), (i64::MIN + 1, i64::MAX - 2));
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        let sizes = [1, 2, 3, 10, 1 << 40, i64::MAX / 2, i64::MAX];
        for slide in sizes {
            for size in sizes.into_iter().filter(|size| *size >= slide) {
                for offset in [0, 1, -1, i64::MIN, i64::MAX] {
                    let alignment = Alignment {
                        offset,
                        timezone: None,
                    };
                    let Ok(grid) = Grid::new(hop(slide, size), alignment, TimeUnit::Second) else {
                        assert!(size > 1 << 40, "{slide} {size} {offset}");
                        continue;
                    };
                    let (earliest, latest) = grid.limits();
                    assert!(earliest <= latest);
                    for time in [earliest, latest.saturating_sub(1)] {
                        if earliest < latest {
                            let pane = grid.pane(time);
                            let end = grid.panes().last_end(pane);
                            assert!(grid.edge(end) <= MAX_TIME.into());
                            let first = grid.panes().start_of(grid.panes().end_after(pane));
                            assert!(grid.edge(first) >= MIN_TIME.into());
                            assert_eq!(
                                grid.closed(MAX_TIME).max(end),
                                grid.closed(MAX_TIME),
                                "the end of time closes every window"
                            );
                        }
                    }
                    for time in [MIN_TIME, -1, 0, 1, MAX_TIME] {
                        grid.closed(time);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_closed_is_the_same_until_it_is_said() {
        for grid in [
            grid(hop(3, 10), 1),
            grid(hop(10, 10), 0),
            grid(hop(7, 35), -2),
        ] {
            let (earliest, latest) = grid.limits();
            for near in [earliest, -50, latest.saturating_sub(50)] {
                for watermark in (0..100).map(|step| near.saturating_add(step)) {
                    let (closed, until) = grid.closed_until(watermark);
                    assert_eq!(closed, grid.closed(watermark));
                    assert!(until > watermark || watermark == MAX_TIME);
                    for later in watermark..until.min(watermark.saturating_add(40)) {
                        assert_eq!(grid.closed(later), closed, "{watermark} {later}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_day_grows_by_the_hours_of_the_local_clock() {
        let at = |text: &str| {
            let at = chrono::DateTime::parse_from_rfc3339(text).expect("a time");
            at.timestamp()
        };
        let kind = WindowKind::Cumulate {
            step: Span::Ticks(3_600),
            size: Span::Days(1),
        };
        let alignment = Alignment {
            offset: 0,
            timezone: Some(chrono_tz::Europe::Berlin),
        };
        let grid = Grid::new(kind, alignment, TimeUnit::Second).expect("it fits");
        let panes = grid.panes();
        let bounds = |text: &str| {
            let pane = grid.pane(at(text));
            let end = panes.end_after(pane);
            (
                grid.start(panes.start_of(end)),
                grid.start(end),
                grid.start(panes.last_end(pane)),
            )
        };
        // The day of 23 hours: 02:00 to 03:00 does not exist.
        assert_eq!(
            bounds("2026-03-29T03:30:00+02:00"),
            (
                at("2026-03-29T00:00:00+01:00"),
                at("2026-03-29T04:00:00+02:00"),
                at("2026-03-30T00:00:00+02:00")
            )
        );
        let pane = grid.pane(at("2026-03-29T01:59:59+01:00"));
        assert_eq!(grid.start(pane + 1), at("2026-03-29T03:00:00+02:00"));
        assert!(!grid.is_repeated(pane + 1) && grid.is_repeated(pane + 2));
        // The day of 25 hours: 02:00 to 03:00 comes twice, and is one step.
        let second = bounds("2026-10-25T02:30:00+01:00");
        assert_eq!(second, bounds("2026-10-25T02:30:00+02:00"));
        assert_eq!(second.1, at("2026-10-25T03:00:00+01:00"));
        let hour = WindowKind::Cumulate {
            step: Span::Ticks(5 * 3_600),
            size: Span::Days(1),
        };
        assert!(Grid::new(hour, alignment, TimeUnit::Second).is_err());
    }

    #[test]
    fn a_time_zone_needs_calendar_sizes() {
        let alignment = Alignment {
            offset: 0,
            timezone: Some(chrono_tz::Asia::Kolkata),
        };
        let hour = WindowKind::Tumble {
            size: Span::Ticks(3_600),
        };
        assert!(Grid::new(hour, alignment, TimeUnit::Second).is_err());
        let day = WindowKind::Tumble {
            size: Span::Days(1),
        };
        assert!(Grid::new(day, alignment, TimeUnit::Second).is_ok());
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let refused = [
            WindowKind::Tumble {
                size: Span::Months(400_000),
            },
            hop(20, 10),
            hop(0, 10),
            WindowKind::Cumulate {
                step: Span::Ticks(3),
                size: Span::Ticks(10),
            },
            WindowKind::Hop {
                slide: Span::Days(1),
                size: Span::Months(1),
            },
        ];
        for kind in refused {
            assert!(Grid::new(kind, Alignment::default(), TimeUnit::Second).is_err());
        }
    }
}
