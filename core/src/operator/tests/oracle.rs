//! What windows should hold, by their definitions: for each row, a loop over windows.

use std::collections::BTreeMap;

use super::harness::{Answer, Outcome, Row, watermarks};
use crate::window::{Span, WindowKind};

/// A small generator of random numbers (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `low ..= high`.
    pub(crate) fn within(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }
}

/// What an oracle expects: windows with their rows' values, late rows, counts.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// (end, start, key) to (time, arrival, value) of each row.
    pub(crate) windows: BTreeMap<(i64, i64, String), Vec<(i64, usize, f64)>>,
    pub(crate) late: Vec<(f64, i64)>,
    pub(crate) filtered: u64,
    pub(crate) in_window: u64,
    pub(crate) missed: u64,
}

/// A row's key as an answer prints it.
pub(crate) fn key(row: &Row, keys: usize) -> String {
    let parts = [row.name.unwrap_or("∅").to_string(), row.site.to_string()];
    parts[..keys].join("/")
}

/// The fixed windows that hold an instant.
pub(crate) fn fixed(kind: WindowKind, offset: i64, time: i64) -> Vec<(i64, i64)> {
    let (step, size, grows) = match kind {
        WindowKind::Tumble {
            size: Span::Ticks(size),
        } => (size, size, false),
        WindowKind::Hop {
            slide: Span::Ticks(slide),
            size: Span::Ticks(size),
        } => (slide, size, false),
        WindowKind::Cumulate {
            step: Span::Ticks(step),
            size: Span::Ticks(size),
        } => (step, size, true),
        other => panic!("{other:?} is not fixed"),
    };
    let mut windows = Vec::new();
    for start in time - size - 1..=time {
        if grows && (start - offset) % size == 0 {
            let ends = (1..=size / step).map(|number| start + number * step);
            windows.extend(ends.map(|end| (start, end)));
        } else if !grows && (start - offset) % step == 0 {
            windows.push((start, start + size));
        }
    }
    windows.retain(|(start, end)| *start <= time && time < *end);
    windows
}

/// What fixed windows hold when rows arrive one by one.
pub(crate) fn expect_fixed(
    kind: WindowKind,
    offset: i64,
    keys: usize,
    rows: &[Row],
    bound: i64,
) -> Expected {
    let mut expected = Expected::default();
    for (arrival, (row, watermark)) in rows.iter().zip(watermarks(rows, bound)).enumerate() {
        let Some(time) = row.time else {
            expected.filtered += 1;
            continue;
        };
        let windows = fixed(kind, offset, time);
        let open: Vec<_> = windows
            .iter()
            .filter(|window| window.1 > watermark)
            .collect();
        if open.is_empty() {
            expected.late.push((row.value, watermark - time));
            continue;
        }
        expected.in_window += 1;
        expected.missed += (windows.len() - open.len()) as u64;
        for &&(start, end) in &open {
            let rows = expected.windows.entry((end, start, key(row, keys)));
            rows.or_default().push((time, arrival, row.value));
        }
    }
    expected
}

/// Holds an outcome against what is expected.
pub(crate) fn check(outcome: &Outcome, expected: &Expected, keys: usize) {
    let mut found = BTreeMap::new();
    for answer in &outcome.answers {
        let key: Vec<&str> = ["name", "site"][..keys]
            .iter()
            .map(|name| answer.get(name))
            .collect();
        let twin = found.insert((answer.end, answer.start, key.join("/")), answer);
        assert!(twin.is_none(), "{answer:?} came twice");
    }
    let windows: Vec<_> = found.keys().collect();
    assert_eq!(windows, expected.windows.keys().collect::<Vec<_>>());
    for (window, rows) in &expected.windows {
        compare(found[window], rows);
    }
    let mut late = outcome.late.clone();
    let mut expected_late = expected.late.clone();
    late.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    expected_late.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    assert_eq!(late, expected_late);
    let counters = outcome.counters;
    assert_eq!(counters.filtered, expected.filtered);
    assert_eq!(counters.in_window, expected.in_window);
    assert_eq!(counters.missed_windows, expected.missed);
    assert_eq!(counters.late, expected.late.len() as u64);
    assert_eq!(counters.windows, expected.windows.len() as u64);
}

fn compare(answer: &Answer, rows: &[(i64, usize, f64)]) {
    assert_eq!(answer.get("count"), rows.len().to_string());
    let values = || rows.iter().map(|row| row.2);
    let sum: f64 = values().sum();
    let magnitude: f64 = values().map(f64::abs).sum();
    let found: f64 = answer.get("sum").parse().expect("a number");
    assert!((found - sum).abs() <= 1e-9 * magnitude, "{answer:?}");
    let max: f64 = answer.get("max").parse().expect("a number");
    assert_eq!(max, values().reduce(f64::max).expect("a row"));
    let mut list: Vec<f64> = (answer.get("list").trim_matches(['[', ']']).split(", "))
        .map(|value| value.parse().expect("a number"))
        .collect();
    let mut all: Vec<f64> = values().collect();
    list.sort_by(f64::total_cmp);
    all.sort_by(f64::total_cmp);
    assert_eq!(list, all, "{answer:?}");
    let first = rows.iter().min_by_key(|row| (row.0, row.1)).expect("a row");
    assert_eq!(answer.get("first").parse(), Ok(first.2), "{answer:?}");
}
