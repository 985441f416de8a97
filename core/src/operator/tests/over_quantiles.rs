//! Medians and percentiles around rows, against sorting each frame.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{Field, Float32Type, SchemaRef};
use proptest::prelude::*;

use super::oracle::Random;
use super::over_floats::{Reading, around, frame, order, readings, records, run};
use crate::aggregate::AggregateCall;
use crate::aggregate::registry::{Limits, NativeCall, ScalarArg, native};
use crate::batch::Batch;
use crate::operator::{Operator, Output, OverCall, OverSpec, over};
use crate::window::OverFrame;

/// The calls of each frame: the fraction, of the median none; whether it has a filter.
const CALLS: [(Option<f64>, bool); 5] = [
    (None, false),
    (None, true),
    (Some(0.0), false),
    (Some(0.95), false),
    (Some(0.37), true),
];

fn operator(input: &SchemaRef, frames: &[OverFrame], keys: Vec<usize>) -> Box<dyn Operator> {
    let call = |frame: OverFrame, (fraction, has_filter): (Option<f64>, bool)| {
        let arg = input.field(2).data_type().clone();
        let factory = native(&NativeCall {
            name: fraction.map_or("median", |_| "percentile_cont"),
            distinct: false,
            ignore_nulls: false,
            descending: false,
            arg_types: &[arg.clone(), arg][..1 + usize::from(fraction.is_some())],
            literals: &[None, fraction.map(ScalarArg::Float)],
            limits: Limits::default(),
        });
        let factory = factory.expect("it fits").expect("it is native");
        let field = Arc::new(Field::new("quantile", factory.return_type(), true));
        OverCall {
            call: AggregateCall {
                factory,
                args: vec![2],
                filter: has_filter.then_some(3),
                field,
            },
            frame,
        }
    };
    let calls = frames
        .iter()
        .flat_map(|frame| CALLS.map(|it| call(*frame, it)));
    over(OverSpec {
        calls: calls.collect(),
        time: 0,
        keys,
        keeps_untimed: false,
        input: input.clone(),
    })
    .expect("it fits")
}

/// The quantile of values by sorting them.
fn expected(fraction: Option<f64>, mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(order);
    let last = values.len().checked_sub(1)?;
    let Some(fraction) = fraction else {
        return Some(match last % 2 {
            0 => values[last / 2],
            _ => (values[last / 2] + values[last / 2 + 1]) / 2.0,
        });
    };
    let index = fraction * last as f64;
    let (low, high) = (
        values[index.floor() as usize],
        values[index.ceil() as usize],
    );
    Some(match index == index.floor() {
        true => low,
        // The weight has six decimal places.
        false => low + (high - low) * (((index - index.floor()) * 1e6).floor() / 1e6),
    })
}

fn check_row(
    found: &[Option<u64>],
    frames: &[OverFrame],
    is_keyed: bool,
    rows: &[Reading],
    at: usize,
) {
    for (number, frame) in frames.iter().enumerate() {
        let around = around(*frame, is_keyed, rows, at);
        for (place, (fraction, has_filter)) in CALLS.into_iter().enumerate() {
            let kept = (around.iter()).filter(|row| !has_filter || row.keep == Some(true));
            let wanted = expected(fraction, kept.filter_map(|row| row.value).collect());
            let found = found[number * CALLS.len() + place].map(f64::from_bits);
            let is_same = match (found, wanted) {
                (Some(found), Some(wanted)) => {
                    found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan()
                }
                (found, wanted) => found.is_none() && wanted.is_none(),
            };
            assert!(
                is_same,
                "{fraction:?} over {frame:?}, row {at}: {found:?}, not {wanted:?}"
            );
        }
    }
}

fn keys(is_keyed: bool) -> Vec<usize> {
    vec![1][..usize::from(is_keyed)].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn quantiles_around_rows(seed: u64) {
        let random = &mut Random(seed);
        let count = random.within(1, 700);
        let rows = readings(random, count);
        let is_keyed = random.within(0, 1) == 1;
        let frames: Vec<OverFrame> = (0..random.within(1, 2)).map(|_| frame(random)).collect();
        let make = || operator(&records(&[]).schema(), &frames, keys(is_keyed));
        let whole = run(&make, &rows, count, random);
        prop_assert_eq!(whole.len(), rows.len());
        for (at, found) in whole.iter().enumerate() {
            check_row(found, &frames, is_keyed, &rows, at);
        }
        // The same bits, whatever the batches and wherever it was saved and restored.
        for batch_rows in [3, 100] {
            prop_assert_eq!(&run(&make, &rows, batch_rows, random), &whole);
        }
    }
}

#[test]
fn many_rows_are_shared_among_threads() {
    let random = &mut Random(9);
    let rows = readings(random, 60_000);
    let frames = [
        OverFrame::Range { preceding: 3_000 },
        OverFrame::Rows { preceding: 99 },
    ];
    for is_keyed in [false, true] {
        let make = || operator(&records(&[]).schema(), &frames, keys(is_keyed));
        let mut run = |threads: usize, batch_rows: i64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let random = &mut *random;
            pool.expect("few threads")
                .install(|| run(&make, &rows, batch_rows, random))
        };
        let whole = run(3, 60_000);
        for at in (0..rows.len()).step_by(1_777) {
            check_row(&whole[at], &frames, is_keyed, &rows, at);
        }
        assert!(run(1, 5_000) == whole, "one thread, small batches");
    }
}

#[test]
fn singles_are_halved_in_their_own_arithmetic() {
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(0..5));
    let values = [Some(f32::MAX), Some(f32::MAX), None, Some(1.0), Some(2.5)];
    let values: ArrayRef = Arc::new(Float32Array::from(values.to_vec()));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("ts", times.clone(), false),
        ("key", times, false),
        ("value", values, true),
        (
            "keep",
            Arc::new(arrow::array::BooleanArray::from(vec![true; 5])),
            true,
        ),
    ])
    .expect("it fits");
    let frames = [OverFrame::Rows { preceding: 1 }];
    let mut operator = operator(&batch.schema(), &frames, Vec::new());
    operator
        .on_batch(0, Batch::on_time(batch))
        .expect("it fits");
    operator.on_end(0).expect("it ends");
    let mut out = Vec::new();
    operator.drain(100, &mut out).expect("it drains");
    let Some(Output::Batch(batch)) = out.first() else {
        panic!("rows come out");
    };
    let medians = batch.records.column(4).as_primitive::<Float32Type>();
    // The sum of the two greatest is beyond all singles.
    let wanted = [f32::MAX, f32::INFINITY, f32::MAX, 1.0, 1.75].map(Some);
    assert_eq!(medians.iter().collect::<Vec<_>>(), wanted);
}
