//! TUMBLE, HOP and CUMULATE over random streams.

use std::sync::Arc;

use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::harness::{Answer, Outcome, Row, Step, records, run, spec};
use super::oracle::{Random, check, expect_fixed};
use super::states::{Dear, Plain};
use crate::aggregate::registry::{Limits, NativeCall, native};
use crate::batch::Batch;
use crate::operator::window_aggregate;
use crate::window::{Span, WindowKind};

const NAMES: [Option<&str>; 5] = [Some("a"), Some("b"), None, Some("c"), Some("")];

/// A stream whose times go up and down within `disorder` of a rising line.
pub(crate) fn stream(random: &mut Random, disorder: i64) -> Vec<Row> {
    let count = random.within(0, 120);
    let pace = random.within(0, 12);
    let names = random.within(1, 5);
    let mut now = random.within(-300, 100);
    (0..count)
        .map(|number| {
            now += random.within(0, pace);
            if random.within(0, 60) == 0 {
                now += random.within(0, 2_000);
            }
            let behind = match random.within(0, 3) {
                0 => random.within(0, disorder),
                _ => 0,
            };
            Row {
                time: (random.within(0, 40) > 0).then_some(now - behind),
                name: NAMES[random.within(0, names - 1) as usize],
                site: random.within(0, 2),
                value: number as f64 + 0.1 * random.within(0, 9) as f64,
            }
        })
        .collect()
}

/// Random batches, drains and restores.
pub(crate) fn script(random: &mut Random) -> Vec<Step> {
    let size = [1, 3, 10, 40][random.within(0, 3) as usize];
    let restores = random.within(0, 3);
    let mut steps = Vec::new();
    for _ in 0..random.within(0, 60) {
        steps.push(match random.within(0, 9) {
            0..5 => Step::Push(random.within(0, size) as usize),
            5..7 => Step::Drain(random.within(1, 30) as usize),
            7..9 => Step::DrainOnce(random.within(1, 4) as usize),
            _ if restores > 0 => Step::Restore,
            _ => continue,
        });
    }
    steps
}

/// Row by row: the definition of all other ways to push.
pub(crate) fn one_by_one(rows: &[Row]) -> Vec<Step> {
    vec![Step::Push(1); rows.len()]
}

/// An outcome with its rows in an order of their own.
pub(crate) fn sorted(outcome: Outcome) -> Sorted {
    let mut answers = outcome.answers;
    answers.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    let counters = outcome.counters;
    let counts = [
        counters.rows_in,
        counters.in_window,
        counters.late,
        counters.filtered,
        counters.missed_windows,
        counters.windows,
    ];
    (answers, outcome.late, counts)
}

type Sorted = (Vec<Answer>, Vec<(f64, i64)>, [u64; 6]);

/// That a run gave bit for bit what another gave.
pub(crate) fn assert_same(found: &Sorted, expected: &Sorted, steps: &[Step]) {
    for (found, expected) in found.0.iter().zip(&expected.0) {
        assert_eq!(found, expected, "{steps:?}");
    }
    assert_eq!(found.0.len(), expected.0.len(), "{steps:?}");
    assert_eq!((&found.1, found.2), (&expected.1, expected.2), "{steps:?}");
}

pub(crate) fn kind(random: &mut Random) -> WindowKind {
    let ticks = Span::Ticks;
    match random.within(0, 4) {
        0 => WindowKind::Tumble {
            size: ticks(random.within(1, 30)),
        },
        1 | 2 => {
            let slide = random.within(1, 12);
            WindowKind::Hop {
                slide: ticks(slide),
                size: ticks(random.within(slide, 60)),
            }
        }
        3 => {
            let slide = random.within(1, 6);
            WindowKind::Hop {
                slide: ticks(slide),
                size: ticks(slide * random.within(1, 20)),
            }
        }
        _ => {
            let step = random.within(1, 8);
            WindowKind::Cumulate {
                step: ticks(step),
                size: ticks(step * random.within(1, 8)),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn windows_hold_what_their_definition_says(seed: u64) {
        let random = &mut Random(seed);
        let disorder = random.within(0, 80);
        let rows = stream(random, disorder);
        let bound = [0, 1, 5, 30, 100][random.within(0, 4) as usize];
        let kind = kind(random);
        let offset = random.within(-20, 20);
        let keys = random.within(0, 2) as usize;
        let is_dear = random.within(0, 1) == 0;
        let make = || {
            let mut spec = spec(kind, offset, keys);
            if is_dear {
                spec.aggregates[3].factory = Arc::new(Dear(Plain::List));
            }
            window_aggregate(spec).expect("it fits")
        };

        let single = run(make, &rows, bound, &one_by_one(&rows));
        check(&single, &expect_fixed(kind, offset, keys, &rows, bound), keys);
        let single = sorted(single);
        for _ in 0..3 {
            let steps = script(random);
            assert_same(&sorted(run(make, &rows, bound, &steps)), &single, &steps);
        }
    }

    /// Days of UTC are fixed times.
    #[test]
    fn days_without_daylight_saving_are_24_hours(seed: u64) {
        let random = &mut Random(seed);
        let mut rows = stream(random, 40);
        for row in &mut rows {
            row.time = row.time.map(|time| time * 7_200_001);
        }
        let slide = random.within(1, 4);
        let size = random.within(slide, 9);
        let days = |days: i64| Span::Days(days as u32);
        let ticks = |days: i64| Span::Ticks(days * 86_400_000);
        let kinds = |span: &dyn Fn(i64) -> Span| {
            [
                WindowKind::Hop { slide: span(slide), size: span(size) },
                WindowKind::Cumulate { step: span(slide), size: span(slide * 3) },
            ]
        };
        let offset = random.within(0, 23) * 3_600_000;
        let bound = random.within(0, 30) * 7_200_000;
        for (calendar, fixed) in kinds(&days).into_iter().zip(kinds(&ticks)) {
            let outcome = |kind, steps: &[Step]| {
                let make = || window_aggregate(spec(kind, offset, 1)).expect("it fits");
                sorted(run(make, &rows, bound, steps))
            };
            let steps = script(random);
            assert_same(&outcome(calendar, &steps), &outcome(fixed, &[]), &steps);
        }
    }
}

#[test]
fn the_values_of_a_median_are_held_twice_at_most_however_many_windows_hold_them() {
    const PANES: i64 = 600;
    let kind = WindowKind::Hop {
        slide: Span::Ticks(1),
        size: Span::Ticks(PANES),
    };
    let mut spec = spec(kind, 0, 0);
    let median = NativeCall {
        name: "median",
        distinct: false,
        ignore_nulls: false,
        descending: false,
        arg_types: &[DataType::Float64],
        literals: &[],
        limits: Limits::default(),
    };
    spec.aggregates.truncate(1);
    spec.aggregates[0].factory = native(&median).expect("it fits").expect("it is native");
    spec.aggregates[0].field = Arc::new(
        spec.aggregates[0]
            .field
            .as_ref()
            .clone()
            .with_data_type(DataType::Float64),
    );
    let mut operator = window_aggregate(spec).expect("it fits");
    let mut most = 0;
    for time in 0..3 * PANES {
        let rows: Vec<Row> = (0..10)
            .map(|number| Row {
                time: Some(time),
                name: None,
                site: 0,
                value: number as f64,
            })
            .collect();
        operator
            .on_batch(0, Batch::on_time(records(&rows)))
            .expect("takes rows");
        operator.on_watermark(0, time).expect("takes a watermark");
        operator.drain(1_000, &mut Vec::new()).expect("drains");
        most = most.max(operator.counters().state_bytes);
    }
    // 6,000 values of 8 bytes, the same again in the window, and what vectors keep in
    // hand; as suffixes of a block of panes they would be 14 MB.
    assert!(most < 600_000, "{most} bytes");
}
