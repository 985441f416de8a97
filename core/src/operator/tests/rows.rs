//! Rows with their windows.

use proptest::prelude::*;

use super::harness::{Row, Step, rows_spec, run, watermarks};
use super::oracle::{
    Random, check_counts, check_rows, expect_counts, expect_fixed, expect_sessions, fixed,
};
use super::panes::{assert_same, kind, one_by_one, script, sorted, stream};
use crate::operator::window_rows;
use crate::window::WindowKind;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn each_row_comes_once_for_each_open_window(seed: u64) {
        let random = &mut Random(seed);
        let disorder = random.within(0, 80);
        let rows = stream(random, disorder);
        let bound = [0, 1, 5, 30, 100][random.within(0, 4) as usize];
        let (kind, offset) = (kind(random), random.within(-20, 20));
        let make = || window_rows(rows_spec(kind, offset, 0)).expect("it fits");
        let expected = expect_fixed(kind, offset, 0, &rows, bound);
        let mut wanted = Vec::new();
        for (row, watermark) in rows.iter().zip(watermarks(&rows, bound)) {
            let Some(time) = row.time else { continue };
            for (start, end) in fixed(kind, offset, time) {
                if end > watermark {
                    wanted.push((row.value, start, end));
                }
            }
        }
        for steps in [one_by_one(&rows), script(random), script(random)] {
            let outcome = run(make, &rows, bound, &steps);
            check_counts(&outcome, &expected);
            let answers = outcome.answers.iter();
            let found: Vec<_> = answers
                .map(|answer| {
                    let value: f64 = answer.get("value").parse().expect("a number");
                    (value, answer.start, answer.end)
                })
                .collect();
            prop_assert_eq!(&found, &wanted);
        }
    }

    #[test]
    fn rows_come_with_their_session_in_order_of_time(seed: u64) {
        let random = &mut Random(seed);
        let disorder = random.within(0, 80);
        let rows = stream(random, disorder);
        let bound = [0, 1, 5, 30, 100][random.within(0, 4) as usize];
        let (gap, keys) = (random.within(1, 25), random.within(0, 2) as usize);
        let kind = WindowKind::Session { gap };
        let make = || window_rows(rows_spec(kind, 0, keys)).expect("it fits");
        let single = run(make, &rows, bound, &one_by_one(&rows));
        let expected = expect_sessions(gap, keys, keys, &rows, bound);
        check_rows(&single, &expected, keys, true);
        let single = sorted(single);
        for _ in 0..2 {
            let steps = script(random);
            assert_same(&sorted(run(make, &rows, bound, &steps)), &single, &steps);
        }
    }

    #[test]
    fn rows_come_with_their_counted_windows_in_order_of_time(seed: u64) {
        let random = &mut Random(seed);
        let disorder = random.within(0, 80);
        let mut rows = stream(random, disorder);
        // Windows of equal bounds could not be told apart.
        for (number, row) in rows.iter_mut().enumerate() {
            row.time = row.time.map(|time| time * 1_000 + number as i64);
        }
        let bound = [0, 1, 5, 30, 100][random.within(0, 4) as usize] * 1_000;
        let (n, keys) = (random.within(1, 12), random.within(0, 2) as usize);
        let slide = random.within(1, n);
        let kind = WindowKind::Count { rows: n as u64, slide: slide as u64 };
        let make = || window_rows(rows_spec(kind, 0, keys)).expect("it fits");
        let single = run(make, &rows, bound, &one_by_one(&rows));
        let expected = expect_counts(n as usize, slide as usize, keys, keys, &rows, bound);
        check_rows(&single, &expected, keys, true);
        let single = sorted(single);
        for _ in 0..2 {
            let steps = script(random);
            assert_same(&sorted(run(make, &rows, bound, &steps)), &single, &steps);
        }
    }
}

#[test]
fn a_column_named_like_a_windows_is_replaced() {
    use crate::time::{WINDOW_END, WINDOW_START, WINDOW_TIME};
    use arrow::datatypes::{Field, Schema};
    use std::sync::Arc;

    let mut spec = rows_spec(WindowKind::Session { gap: 1 }, 0, 0);
    let mut fields = spec.input.fields().to_vec();
    fields[0] = Arc::new(Field::clone(&fields[0]).with_name(WINDOW_TIME));
    spec.input = Arc::new(Schema::new(fields));
    let operator = window_rows(spec).expect("it fits");
    let schema = operator.schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(
        names,
        [
            "name",
            "site",
            "value",
            WINDOW_START,
            WINDOW_END,
            WINDOW_TIME
        ]
    );
}

#[test]
fn a_batch_is_given_on_within_the_budget() {
    use crate::window::Span;
    let kind = WindowKind::Hop {
        slide: Span::Ticks(1),
        size: Span::Ticks(1_000),
    };
    let row = |time| Row {
        time: Some(time),
        name: None,
        site: 0,
        value: 0.0,
    };
    let rows: Vec<Row> = (0..20).map(row).collect();
    let steps = [
        Step::Push(20),
        Step::DrainOnce(3),
        Step::Restore,
        Step::Drain(100),
    ];
    let outcome = run(
        || window_rows(rows_spec(kind, 0, 0)).expect("it fits"),
        &rows,
        50,
        &steps,
    );
    assert_eq!(outcome.answers.len(), 20_000);
}
