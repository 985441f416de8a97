//! Long batches of many keys: lifted by parts, on any number of threads, into panes with
//! blocks of slots.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::harness::{Outcome, Row, Step, records, run, spec};
use super::oracle::{Random, check, expect_fixed};
use super::panes::{assert_same, one_by_one, sorted};
use crate::aggregate::AggregateCall;
use crate::aggregate::registry::{Limits, NativeCall, native};
use crate::batch::Batch;
use crate::operator::{Drain, WindowAggregateSpec, window_aggregate};
use crate::window::{Span, WindowKind};

const ROWS: i64 = 24_000;
const ROWS_PER_TICK: i64 = 8;
const BOUND: i64 = 60;

const TUMBLE: WindowKind = WindowKind::Tumble {
    size: Span::Ticks(400),
};
const HOP: WindowKind = WindowKind::Hop {
    slide: Span::Ticks(100),
    size: Span::Ticks(350),
};

/// Of so few panes that windows are put together from them.
const SHORT_HOP: WindowKind = WindowKind::Hop {
    slide: Span::Ticks(100),
    size: Span::Ticks(300),
};

/// A rising line of times with some behind it, a few of them late; sites come and go, and
/// there are more of them from one part to the next, unless they are `settled`.
fn stream(random: &mut Random, disorder: i64, settled: bool) -> Vec<Row> {
    (0..ROWS)
        .map(|number| {
            let behind = match random.within(0, 4_000) {
                0 => random.within(BOUND, 700),
                _ => random.within(0, disorder),
            };
            let (first, last) = match settled {
                true => (0, 79),
                false => (number / 9_000 * 20, 60 + number / 300),
            };
            Row {
                time: (number % 5_000 != 77).then_some(number / ROWS_PER_TICK - behind),
                name: None,
                site: random.within(first, last),
                value: number as f64 + 0.1 * random.within(0, 9) as f64,
            }
        })
        .collect()
}

/// By site; every aggregate of `names` over the value.
fn native_spec(kind: WindowKind, names: &[&'static str]) -> WindowAggregateSpec {
    let mut spec = spec(kind, 0, 2);
    spec.aggregates = (names.iter())
        .map(|name| {
            let call = NativeCall {
                name,
                distinct: false,
                ignore_nulls: false,
                descending: false,
                arg_types: &[DataType::Float64],
                literals: &[None],
                limits: Limits::default(),
            };
            let factory = (native(&call).expect("it fits")).expect("it is native");
            AggregateCall {
                field: Arc::new(Field::new(*name, factory.return_type(), true)),
                factory,
                args: vec![3],
                filter: None,
            }
        })
        .collect();
    spec
}

fn on_threads(threads: usize, run: impl FnOnce() -> Outcome + Send) -> Outcome {
    (rayon::ThreadPoolBuilder::new().num_threads(threads).build())
        .expect("threads")
        .install(run)
}

fn scripts() -> Vec<Vec<Step>> {
    let batches = |rows: usize, step: Step| {
        (0..ROWS as usize / rows)
            .flat_map(|_| [Step::Push(rows), step])
            .collect()
    };
    vec![
        vec![],
        // The first batch fills a pane, those after it are of several parts.
        vec![Step::Push(3_300), Step::Drain(50), Step::Push(12_500)],
        vec![
            Step::Push(4_000),
            Step::Drain(1_000),
            Step::Push(10_000),
            Step::Restore,
        ],
        batches(9_000, Step::Drain(50)),
        batches(4_500, Step::DrainOnce(20)),
        batches(5_000, Step::Restore),
        batches(700, Step::Drain(1_000)),
    ]
}

/// As [`stream`], of sites each of which comes for a while and then no more: so many that
/// those which went first are forgotten, while others come again after having been away.
fn passing(random: &mut Random) -> Vec<Row> {
    let mut rows = stream(random, 20, true);
    for (number, row) in rows.iter_mut().enumerate() {
        row.site = number as i64 / 2 - random.within(0, 2_000);
    }
    rows
}

#[test]
fn keys_that_come_and_go_hold_what_the_definition_says() {
    for (seed, kind) in [(1, TUMBLE), (2, HOP), (3, SHORT_HOP)] {
        let rows = passing(&mut Random(seed));
        let make = || window_aggregate(spec(kind, 0, 2)).expect("it fits");
        let expected = expect_fixed(kind, 0, 2, &rows, BOUND);
        for steps in scripts() {
            let outcome = on_threads(3, || run(make, &rows, BOUND, &steps));
            check(&outcome, &expected, 2);
        }
    }
}

#[test]
fn long_batches_hold_what_the_definition_says() {
    for (seed, kind, settled) in [
        (1, TUMBLE, false),
        (2, HOP, false),
        (3, HOP, true),
        (4, SHORT_HOP, false),
        (5, SHORT_HOP, true),
    ] {
        let rows = stream(&mut Random(seed), 20, settled);
        let make = || window_aggregate(spec(kind, 0, 2)).expect("it fits");
        let expected = expect_fixed(kind, 0, 2, &rows, BOUND);
        assert!(!expected.late.is_empty(), "some rows are late");
        for steps in scripts() {
            let outcome = on_threads(3, || run(make, &rows, BOUND, &steps));
            check(&outcome, &expected, 2);
        }
    }
}

#[test]
fn neither_threads_nor_the_cut_into_batches_change_a_bit() {
    // The first four share a record; the others have their own.
    let names = ["avg", "sum", "min", "max", "stddev", "last_value", "median"];
    for (seed, kind, disorder, settled) in [
        (3, TUMBLE, 0, true),
        (4, TUMBLE, 50, false),
        (5, HOP, 0, true),
        (6, HOP, 50, true),
        (7, HOP, 50, false),
    ] {
        let rows = stream(&mut Random(seed), disorder, settled);
        for names in [&names[..6], &names[..]] {
            let make = || window_aggregate(native_spec(kind, names)).expect("it fits");
            let single = run(make, &rows, BOUND, &one_by_one(&rows));
            let in_order = single.answers.clone();
            let single = sorted(single);
            for steps in scripts() {
                for threads in [1, 2, 7] {
                    let outcome = on_threads(threads, || run(make, &rows, BOUND, &steps));
                    // A window's keys come in the order in which they came first.
                    assert!(outcome.answers == in_order, "{kind:?} {threads}");
                    assert_same(&sorted(outcome), &single, &steps);
                }
            }
        }
    }
}

/// Rows of so many sites that neither their keys nor their states lie in a cache: few come
/// twice in a batch, and there are new ones in each.
fn wide_stream(random: &mut Random, disorder: i64) -> Vec<Row> {
    (0..120_000)
        .map(|number| Row {
            time: Some(number / 200 - random.within(0, disorder)),
            name: None,
            site: random.within(0, 90_000) * 1_000_003,
            value: number as f64 + 0.1 * random.within(0, 9) as f64,
        })
        .collect()
}

#[test]
fn nor_do_they_where_there_are_more_keys_than_caches_hold() {
    // The first four share a record.
    let names = ["avg", "sum", "min", "max", "stddev", "count"];
    let batches = |rows: usize, step: Step| -> Vec<Step> {
        (0..120_000 / rows)
            .flat_map(|_| [Step::Push(rows), step])
            .collect()
    };
    for (seed, kind, disorder) in [(8, TUMBLE, 0), (9, TUMBLE, 50), (10, HOP, 0)] {
        let rows = wide_stream(&mut Random(seed), disorder);
        let plain = || window_aggregate(spec(kind, 0, 2)).expect("it fits");
        let steps = batches(40_000, Step::Drain(1_000));
        let outcome = on_threads(3, || run(plain, &rows, BOUND, &steps));
        check(&outcome, &expect_fixed(kind, 0, 2, &rows, BOUND), 2);

        let make = || window_aggregate(native_spec(kind, &names)).expect("it fits");
        let few = batches(3_000, Step::Drain(1_000));
        let few = on_threads(1, || run(make, &rows, BOUND, &few));
        for (threads, steps) in [
            (1, batches(60_000, Step::Drain(1_000))),
            (2, batches(60_000, Step::Drain(1_000))),
            (3, batches(40_000, Step::Restore)),
        ] {
            let outcome = on_threads(threads, || run(make, &rows, BOUND, &steps));
            assert!(outcome.answers == few.answers, "{kind:?} {threads}");
        }
    }
}

#[test]
fn panes_of_few_rows_take_little_memory_after_a_full_one() {
    const SITES: i64 = 2_000;
    let kind = WindowKind::Tumble {
        size: Span::Ticks(1),
    };
    let rows = |times: &mut dyn Iterator<Item = (i64, i64)>| -> Vec<Row> {
        times
            .map(|(time, site)| Row {
                time: Some(time),
                name: None,
                site,
                value: 1.0,
            })
            .collect()
    };
    let mut operator =
        window_aggregate(native_spec(kind, &["avg", "min", "max"])).expect("it fits");
    let mut bytes = 0;
    for rows in [
        rows(&mut (0..SITES).map(|site| (0, site))),
        rows(&mut (1..5_000).map(|time| (time, 7))),
    ] {
        operator
            .on_batch(0, Batch::on_time(records(&rows)))
            .expect("takes rows");
        bytes = operator.counters().state_bytes;
    }
    // 5,000 panes with a place of 32 bytes for each site would be 320 MB.
    assert!(bytes < 10 << 20, "{bytes} bytes");
}

#[test]
fn more_and_fewer_keys_from_day_to_day_take_no_more_memory() {
    let kind = WindowKind::Tumble {
        size: Span::Ticks(1),
    };
    let mut operator =
        window_aggregate(native_spec(kind, &["avg", "min", "max"])).expect("it fits");
    let mut after = Vec::new();
    let mut time = 0;
    for _ in 0..12 {
        for sites in (100..4_000)
            .step_by(300)
            .chain((100..4_000).rev().step_by(700))
        {
            let rows: Vec<Row> = (0..sites)
                .map(|site| Row {
                    time: Some(time),
                    name: None,
                    site,
                    value: 1.0,
                })
                .collect();
            time += 1;
            operator
                .on_batch(0, Batch::on_time(records(&rows)))
                .expect("takes rows");
            operator.on_watermark(0, time).expect("takes a watermark");
            while operator.drain(10_000, &mut Vec::new()).expect("drains") == Drain::More {}
        }
        after.push(operator.counters().state_bytes);
    }
    assert!(after[11] <= after[1], "{after:?}");
}
