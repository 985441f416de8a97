//! COUNT_WINDOW over random streams.

use proptest::prelude::*;

use super::harness::{Row, Step, run, spec};
use super::oracle::{Random, check, expect_counts};
use super::panes::{assert_same, one_by_one, script, sorted, stream};
use crate::operator::{Operator, window_aggregate};
use crate::window::WindowKind;

fn counts(rows: u64, slide: u64, partition: usize, keys: usize) -> Box<dyn Operator> {
    let mut spec = spec(WindowKind::Count { rows, slide }, 0, keys);
    spec.partition_keys = partition;
    window_aggregate(spec).expect("it fits")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn counted_windows_hold_what_their_definition_says(seed: u64) {
        let random = &mut Random(seed);
        let disorder = random.within(0, 80);
        let rows = stream(random, disorder);
        let bound = [0, 1, 5, 30, 100][random.within(0, 4) as usize];
        let n = random.within(1, 12);
        let slide = if random.within(0, 2) == 0 { n } else { random.within(1, n) };
        let keys = random.within(0, 2) as usize;
        let partition = random.within(0, keys as i64) as usize;
        let make = || counts(n as u64, slide as u64, partition, keys);

        let single = run(make, &rows, bound, &one_by_one(&rows));
        let expected = expect_counts(n as usize, slide as usize, partition, keys, &rows, bound);
        check(&single, &expected, keys);
        let single = sorted(single);
        for _ in 0..3 {
            let steps = script(random);
            assert_same(&sorted(run(make, &rows, bound, &steps)), &single, &steps);
        }
    }
}

#[test]
fn the_last_window_of_a_key_comes_as_it_is() {
    let rows: Vec<Row> = (0..5)
        .map(|number| Row {
            time: Some(number * 10),
            name: None,
            site: 0,
            value: number as f64,
        })
        .collect();
    let windows = |n, slide| -> Vec<(i64, i64, String)> {
        let outcome = run(|| counts(n, slide, 0, 0), &rows, 0, &[Step::Push(9)]);
        let answers = outcome.answers.iter();
        answers
            .map(|answer| (answer.start, answer.end, answer.get("count").to_string()))
            .collect()
    };
    let window = |start, end, count: i32| (start, end, count.to_string());
    assert_eq!(
        windows(2, 2),
        [window(0, 10, 2), window(20, 30, 2), window(40, 40, 1)]
    );
    assert_eq!(windows(3, 2), [window(0, 20, 3), window(20, 40, 3)]);
    assert_eq!(windows(4, 2), [window(0, 30, 4), window(20, 40, 3)]);
    assert_eq!(windows(9, 1), [window(0, 40, 5)]);
}
