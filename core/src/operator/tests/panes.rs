//! TUMBLE, HOP and CUMULATE over random streams.

use proptest::prelude::*;

use super::harness::{Answer, Outcome, Row, Step, run, spec};
use super::oracle::{Random, check, expect_fixed};
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
        let make = || window_aggregate(spec(kind, offset, keys)).expect("it fits");

        let single = run(make, &rows, bound, &one_by_one(&rows));
        check(&single, &expect_fixed(kind, offset, keys, &rows, bound), keys);
        let single = sorted(single);
        for _ in 0..3 {
            let steps = script(random);
            assert_same(&sorted(run(make, &rows, bound, &steps)), &single, &steps);
        }
    }
}
