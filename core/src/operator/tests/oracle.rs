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

/// A row of a window: time, arrival, value.
type Member = (i64, usize, f64);

/// What an oracle expects: windows with their rows, late rows, counts.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// End, start, key, rows.
    pub(crate) windows: Vec<(i64, i64, String, Vec<Member>)>,
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
    let mut windows: BTreeMap<(i64, i64, String), Vec<Member>> = BTreeMap::new();
    for (arrival, (row, watermark)) in rows.iter().zip(watermarks(rows, bound)).enumerate() {
        let Some(time) = row.time else {
            expected.filtered += 1;
            continue;
        };
        let all = fixed(kind, offset, time);
        let open: Vec<_> = all.iter().filter(|window| window.1 > watermark).collect();
        if open.is_empty() {
            expected.late.push((row.value, watermark - time));
            continue;
        }
        expected.in_window += 1;
        expected.missed += (all.len() - open.len()) as u64;
        for &&(start, end) in &open {
            let rows = windows.entry((end, start, key(row, keys)));
            rows.or_default().push((time, arrival, row.value));
        }
    }
    let windows = windows.into_iter();
    expected.windows = windows
        .map(|((end, start, key), rows)| (end, start, key, rows))
        .collect();
    expected
}

/// What sessions hold when rows arrive one by one. A session takes rows until the
/// watermark is past its end.
pub(crate) fn expect_sessions(
    gap: i64,
    partition: usize,
    keys: usize,
    rows: &[Row],
    bound: i64,
) -> Expected {
    let mut expected = Expected::default();
    // (partition, rows as places in `rows`)
    let mut open: Vec<(String, Vec<usize>)> = Vec::new();
    let mut closed = Vec::new();
    let time = |place: usize| rows[place].time.expect("rows without time are filtered");
    let start = |session: &[usize]| session.iter().map(|&row| time(row)).min().expect("a row");
    let last = |session: &[usize]| session.iter().map(|&row| time(row)).max().expect("a row");
    for (arrival, (row, watermark)) in rows.iter().zip(watermarks(rows, bound)).enumerate() {
        let Some(time) = row.time else {
            expected.filtered += 1;
            continue;
        };
        let (past, still) = (open.into_iter()).partition(|held| last(&held.1) + gap < watermark);
        closed.extend::<Vec<_>>(past);
        let own = key(row, partition);
        let touches = |held: &(String, Vec<usize>)| {
            held.0 == own && time <= last(&held.1) + gap && time >= start(&held.1) - gap
        };
        let (touched, rest): (Vec<_>, Vec<_>) = Vec::into_iter(still).partition(touches);
        open = rest;
        if touched.is_empty() && time + gap <= watermark {
            expected.late.push((row.value, watermark - time));
            continue;
        }
        expected.in_window += 1;
        let mut merged: Vec<usize> = touched.into_iter().flat_map(|held| held.1).collect();
        merged.push(arrival);
        open.push((own, merged));
    }
    closed.extend(open);
    for (_, session) in closed {
        let bounds = (last(&session) + gap, start(&session));
        let mut groups: BTreeMap<String, Vec<Member>> = BTreeMap::new();
        for place in session {
            let row = &rows[place];
            let group = groups.entry(key(row, keys)).or_default();
            group.push((time(place), place, row.value));
        }
        for (key, members) in groups {
            expected.windows.push((bounds.0, bounds.1, key, members));
        }
    }
    expected
}

/// What counted windows hold.
pub(crate) fn expect_counts(
    n: usize,
    slide: usize,
    partition: usize,
    keys: usize,
    rows: &[Row],
    bound: i64,
) -> Expected {
    let mut expected = Expected::default();
    let mut taken: BTreeMap<String, Vec<(Member, String)>> = BTreeMap::new();
    for (arrival, (row, watermark)) in rows.iter().zip(watermarks(rows, bound)).enumerate() {
        match row.time {
            None => expected.filtered += 1,
            Some(time) if time < watermark => expected.late.push((row.value, watermark - time)),
            Some(time) => {
                expected.in_window += 1;
                let member = ((time, arrival, row.value), key(row, keys));
                taken.entry(key(row, partition)).or_default().push(member);
            }
        }
    }
    for mut rows in taken.into_values() {
        rows.sort_by_key(|row| (row.0.0, row.0.1));
        let mut seen = 0;
        for start in (0..rows.len()).step_by(slide) {
            let end = rows.len().min(start + n);
            let is_full = end == start + n;
            if is_full || seen < rows.len() {
                let window = &rows[start..end];
                let bounds = (window[window.len() - 1].0.0, window[0].0.0);
                let mut groups: BTreeMap<&str, Vec<Member>> = BTreeMap::new();
                for (member, key) in window {
                    groups.entry(key).or_default().push(*member);
                }
                for (key, members) in groups {
                    expected
                        .windows
                        .push((bounds.0, bounds.1, key.into(), members));
                }
                seen = end;
            }
        }
    }
    expected
}

/// Holds the answers of an aggregation against what is expected.
pub(crate) fn check(outcome: &Outcome, expected: &Expected, keys: usize) {
    check_counts(outcome, expected);
    assert_eq!(outcome.counters.windows, expected.windows.len() as u64);
    let mut found: Vec<_> = outcome
        .answers
        .iter()
        .map(|answer| digest(answer, keys))
        .collect();
    let mut wanted: Vec<_> = (expected.windows.iter())
        .map(|(end, start, key, rows)| {
            let mut values: Vec<f64> = rows.iter().map(|row| row.2).collect();
            values.sort_by(f64::total_cmp);
            let first = rows.iter().min_by_key(|row| (row.0, row.1)).expect("a row");
            (*end, *start, key.clone(), values, first.2)
        })
        .collect();
    found.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    wanted.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
}

/// Late rows and counts.
pub(crate) fn check_counts(outcome: &Outcome, expected: &Expected) {
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
}

/// An answer as its window, its key, all values in order of size, and the first one.
/// Its aggregates must agree with each other.
fn digest(answer: &Answer, keys: usize) -> (i64, i64, String, Vec<f64>, f64) {
    let key: Vec<&str> = ["name", "site"][..keys]
        .iter()
        .map(|name| answer.get(name))
        .collect();
    let mut list: Vec<f64> = (answer.get("list").trim_matches(['[', ']']).split(", "))
        .map(|value| value.parse().expect("a number"))
        .collect();
    list.sort_by(f64::total_cmp);
    assert_eq!(answer.get("count"), list.len().to_string());
    let found: f64 = answer.get("sum").parse().expect("a number");
    let magnitude: f64 = list.iter().map(|value| value.abs()).sum();
    assert!(
        (found - list.iter().sum::<f64>()).abs() <= 1e-9 * magnitude,
        "{answer:?}"
    );
    let max: f64 = answer.get("max").parse().expect("a number");
    assert_eq!(Some(&max), list.last());
    let first = answer.get("first").parse().expect("a number");
    (answer.end, answer.start, key.join("/"), list, first)
}

/// Holds rows with their windows against what is expected; `key` names the partition
/// of an answer. The rows of a window come in event-time order, ties by arrival, if
/// `in_time` says so.
pub(crate) fn check_rows(outcome: &Outcome, expected: &Expected, partition: usize, in_time: bool) {
    check_counts(outcome, expected);
    let mut found: BTreeMap<(i64, i64, String), Vec<f64>> = BTreeMap::new();
    for answer in &outcome.answers {
        let key: Vec<&str> = ["name", "site"][..partition]
            .iter()
            .map(|name| answer.get(name))
            .collect();
        let values = found.entry((answer.end, answer.start, key.join("/")));
        values
            .or_default()
            .push(answer.get("value").parse().expect("a number"));
    }
    let mut wanted: BTreeMap<(i64, i64, String), Vec<f64>> = BTreeMap::new();
    for (end, start, key, rows) in &expected.windows {
        let mut rows = rows.clone();
        if in_time {
            rows.sort_by_key(|row| (row.0, row.1));
        }
        let values = wanted.entry((*end, *start, key.clone())).or_default();
        values.extend(rows.iter().map(|row| row.2));
    }
    assert_eq!(found, wanted);
}
