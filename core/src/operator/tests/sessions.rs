//! SESSION over random streams.

use proptest::prelude::*;

use super::harness::{Row, run, spec};
use super::oracle::{Random, check, expect_sessions, key};
use super::panes::{assert_same, one_by_one, script, sorted, stream};
use crate::operator::{Operator, window_aggregate};
use crate::window::WindowKind;

fn sessions(gap: i64, partition: usize, keys: usize) -> Box<dyn Operator> {
    let mut spec = spec(WindowKind::Session { gap }, 0, keys);
    spec.partition_keys = partition;
    window_aggregate(spec).expect("it fits")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn sessions_hold_what_their_definition_says(seed: u64) {
        let random = &mut Random(seed);
        let disorder = random.within(0, 80);
        let rows = stream(random, disorder);
        let bound = [0, 1, 5, 30, 100][random.within(0, 4) as usize];
        let gap = random.within(1, 25);
        let keys = random.within(0, 2) as usize;
        let partition = random.within(0, keys as i64) as usize;
        let make = || sessions(gap, partition, keys);

        let single = run(make, &rows, bound, &one_by_one(&rows));
        check(&single, &expect_sessions(gap, partition, keys, &rows, bound), keys);
        let single = sorted(single);
        for _ in 0..3 {
            let steps = script(random);
            assert_same(&sorted(run(make, &rows, bound, &steps)), &single, &steps);
        }
    }

    /// On time, a session is what sorting and cutting at the gaps says, whatever the
    /// order of arrival.
    #[test]
    fn sessions_do_not_depend_on_the_order_of_rows_on_time(seed: u64) {
        let random = &mut Random(seed);
        let disorder = random.within(0, 40);
        let rows = stream(random, disorder);
        let gap = random.within(1, 25);
        let outcome = run(|| sessions(gap, 1, 1), &rows, disorder, &script(random));
        prop_assert_eq!(outcome.counters.late, 0);

        let mut dated: Vec<&Row> = rows.iter().filter(|row| row.time.is_some()).collect();
        dated.sort_by_key(|row| (key(row, 1), row.time));
        let same = |a: &&Row, b: &&Row| {
            key(a, 1) == key(b, 1) && b.time.zip(a.time).is_some_and(|(b, a)| b - a <= gap)
        };
        let mut wanted: Vec<_> = dated
            .chunk_by(same)
            .map(|run| {
                let (first, last) = (run[0], run[run.len() - 1]);
                let times = first.time.zip(last.time).expect("dated");
                (key(first, 1), times.0, times.1 + gap, run.len().to_string())
            })
            .collect();
        let mut found: Vec<_> = (outcome.answers.iter())
            .map(|answer| {
                let count = answer.get("count").to_string();
                (answer.get("name").to_string(), answer.start, answer.end, count)
            })
            .collect();
        wanted.sort();
        found.sort();
        prop_assert_eq!(found, wanted);
    }
}
