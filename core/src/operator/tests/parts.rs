//! Long batches of many keys: lifted by parts, on any number of threads, into panes with
//! blocks of slots.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::harness::{Outcome, Row, Step, run, spec};
use super::oracle::{Random, check, expect_fixed};
use super::panes::{assert_same, one_by_one, sorted};
use crate::aggregate::AggregateCall;
use crate::aggregate::registry::{Limits, NativeCall, native};
use crate::operator::{WindowAggregateSpec, window_aggregate};
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

/// A rising line of times with some behind it, a few of them late; sites come and go, and
/// there are more of them from one part to the next.
fn stream(random: &mut Random, disorder: i64) -> Vec<Row> {
    (0..ROWS)
        .map(|number| {
            let behind = match random.within(0, 4_000) {
                0 => random.within(BOUND, 700),
                _ => random.within(0, disorder),
            };
            let first = number / 9_000 * 20;
            Row {
                time: (number % 5_000 != 77).then_some(number / ROWS_PER_TICK - behind),
                name: None,
                site: random.within(first, 60 + number / 300),
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
        batches(9_000, Step::Drain(50)),
        batches(4_500, Step::DrainOnce(20)),
        batches(5_000, Step::Restore),
        batches(700, Step::Drain(1_000)),
    ]
}

#[test]
fn long_batches_hold_what_the_definition_says() {
    for (seed, kind) in [(1, TUMBLE), (2, HOP)] {
        let rows = stream(&mut Random(seed), 20);
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
    for (seed, kind, disorder) in [(3, TUMBLE, 0), (4, TUMBLE, 50), (5, HOP, 0), (6, HOP, 50)] {
        let rows = stream(&mut Random(seed), disorder);
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
