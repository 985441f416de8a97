//! Rows and what is around them.

use std::sync::Arc;

use arrow::datatypes::Field;
use proptest::prelude::*;

use super::harness::{Outcome, Row, Step, run, schema, watermarks};
use super::oracle::{Random, key};
use super::panes::{assert_same, one_by_one, script, sorted, stream};
use crate::aggregate::AggregateCall;
use crate::aggregate::registry::{Limits, NativeCall, native};
use crate::operator::{Operator, OverCall, OverSpec, over};
use crate::window::OverFrame;

const FUNCTIONS: [&str; 8] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "var_samp",
    "first_value",
    "last_value",
];

/// Of the names, whose states lie on the heap.
const TEXT_FUNCTIONS: [&str; 2] = ["min", "last_value"];

fn call(name: &str, column: usize, frame: OverFrame, number: usize) -> OverCall {
    let arg = schema().field(column).clone();
    let factory = native(&NativeCall {
        name,
        distinct: false,
        ignore_nulls: false,
        descending: false,
        arg_types: &[arg.data_type().clone()],
        literals: &[None],
        limits: Limits::default(),
    });
    let factory = factory.expect("it fits").expect("it is native");
    let data_type = factory.return_type();
    OverCall {
        call: AggregateCall {
            factory,
            args: vec![column],
            filter: None,
            field: Arc::new(Field::new(
                format!("{name}_{}_{number}", arg.name()),
                data_type,
                true,
            )),
        },
        frame,
    }
}

fn operator(frames: &[OverFrame], keys: usize) -> Box<dyn Operator> {
    let calls = frames.iter().enumerate().flat_map(|(number, frame)| {
        let of_names = TEXT_FUNCTIONS.map(|name| call(name, 1, *frame, number));
        let of_values = FUNCTIONS.map(|name| call(name, 3, *frame, number));
        of_names.into_iter().chain(of_values)
    });
    over(OverSpec {
        input: schema(),
        time: 0,
        keys: vec![1, 2][..keys].to_vec(),
        calls: calls.collect(),
        keeps_untimed: false,
    })
    .expect("it fits")
}

fn frame(random: &mut Random) -> OverFrame {
    match random.within(0, 1) {
        0 => OverFrame::Range {
            preceding: [0, 1, 7, 40, 1_000][random.within(0, 4) as usize],
        },
        _ => OverFrame::Rows {
            preceding: [0, 1, 2, 9, 200][random.within(0, 4) as usize],
        },
    }
}

/// The rows that come in time, in order of time, ties in order of arrival.
fn in_time(rows: &[Row], bound: i64) -> Vec<(i64, Row)> {
    let mut found: Vec<(i64, Row)> = (rows.iter().zip(watermarks(rows, bound)))
        .filter_map(|(row, watermark)| Some((row.time?, row.clone(), watermark)))
        .filter(|(time, _, watermark)| time >= watermark)
        .map(|(time, row, _)| (time, row))
        .collect();
    found.sort_by_key(|(time, _)| *time);
    found
}

/// What a function gives over values.
fn value(function: &str, values: &[f64]) -> Option<f64> {
    let (n, sum) = (values.len() as f64, values.iter().sum::<f64>());
    let mean = sum / n;
    Some(match function {
        "count" => n,
        "sum" => sum,
        "avg" => mean,
        "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
        "max" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "var_samp" if values.len() < 2 => return None,
        "var_samp" => values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0),
        "first_value" => values[0],
        "last_value" => values[values.len() - 1],
        _ => unreachable!("it is one of the above"),
    })
}

fn check(outcome: &Outcome, frames: &[OverFrame], keys: usize, rows: &[Row], bound: i64) {
    let rows = in_time(rows, bound);
    assert_eq!(outcome.answers.len(), rows.len());
    for (place, (answer, (time, row))) in outcome.answers.iter().zip(&rows).enumerate() {
        assert_eq!(answer.time, *time);
        assert_eq!(answer.get("value").parse(), Ok(row.value));
        let same_key = |other: &Row| key(other, keys) == key(row, keys);
        for (number, frame) in frames.iter().enumerate() {
            let around: Vec<&Row> = match *frame {
                OverFrame::Range { preceding } => (rows.iter())
                    .filter(|(other, _)| *other >= time - preceding && other <= time)
                    .map(|(_, row)| row)
                    .filter(|row| same_key(row))
                    .collect(),
                OverFrame::Rows { preceding } => {
                    let before = rows[..=place].iter().map(|(_, row)| row);
                    let before: Vec<&Row> = before.filter(|row| same_key(row)).collect();
                    before[before.len().saturating_sub(preceding as usize + 1)..].to_vec()
                }
            };
            let names = || around.iter().map(|row| row.name);
            let name = |name: Option<&'static str>| name.unwrap_or("∅");
            let found = |function| answer.get(&format!("{function}_name_{number}"));
            assert_eq!(found("min"), name(names().flatten().min()));
            assert_eq!(found("last_value"), name(names().next_back().flatten()));
            let around: Vec<f64> = around.iter().map(|row| row.value).collect();
            for function in FUNCTIONS {
                let found = answer.get(&format!("{function}_value_{number}"));
                let found: Option<f64> = (found != "∅").then(|| found.parse().expect("a number"));
                let wanted = value(function, &around);
                let close = match (found, wanted) {
                    (Some(found), Some(wanted)) => {
                        (found - wanted).abs() <= 1e-9 * (1.0 + wanted.abs())
                    }
                    (found, wanted) => found == wanted,
                };
                assert!(close, "{function} over {frame:?} of {around:?}: {found:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    #[test]
    fn each_row_has_what_its_frame_says(seed: u64) {
        let random = &mut Random(seed);
        let disorder = random.within(0, 80);
        let rows = stream(random, disorder);
        let bound = [0, 1, 5, 30, 100][random.within(0, 4) as usize];
        let keys = random.within(0, 2) as usize;
        let frames: Vec<OverFrame> = (0..random.within(1, 3)).map(|_| frame(random)).collect();
        let make = || operator(&frames, keys);
        let single = run(make, &rows, bound, &one_by_one(&rows));
        check(&single, &frames, keys, &rows, bound);
        // The same bits, whatever the batches and wherever it was saved and restored.
        let single = sorted(single);
        for _ in 0..3 {
            let steps = script(random);
            assert_same(&sorted(run(make, &rows, bound, &steps)), &single, &steps);
        }
    }
}

fn row(time: i64, site: i64, value: f64) -> Row {
    Row {
        time: Some(time),
        name: None,
        site,
        value,
    }
}

#[test]
fn a_key_is_forgotten_when_its_rows_are_in_no_frame() {
    let rows: Vec<Row> = (0..1_000).map(|site| row(site, site, 1.0)).collect();
    let alive = |frame| {
        let mut operator = operator(&[frame], 2);
        for part in rows.chunks(10) {
            let batch = super::harness::records(part);
            let last = part.last().and_then(|row| row.time).expect("a time");
            let mut out = Vec::new();
            operator
                .on_batch(0, crate::batch::Batch::on_time(batch))
                .expect("it fits");
            operator.on_watermark(0, last).expect("it rises");
            operator.drain(1_000, &mut out).expect("it drains");
        }
        operator.counters().keys
    };
    // The last row waits; those of the last 50 ticks may be in a frame to come.
    assert_eq!(alive(OverFrame::Range { preceding: 50 }), 50);
    assert_eq!(alive(OverFrame::Rows { preceding: 50 }), 999);
}

#[test]
fn times_at_the_ends_of_their_range_are_near_nothing() {
    let rows = [
        row(i64::MIN + 2, 0, 1.0),
        row(0, 0, 2.0),
        row(i64::MAX - 2, 0, 3.0),
    ];
    let frame = OverFrame::Range {
        preceding: i64::MAX - 5,
    };
    let outcome = run(|| operator(&[frame], 0), &rows, 0, &[Step::Push(3)]);
    let sums: Vec<&str> = (outcome.answers.iter())
        .map(|answer| answer.get("sum_value_0"))
        .collect();
    assert_eq!(sums, ["1.0", "2.0", "3.0"]);
}
