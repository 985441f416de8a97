//! Calls over one float column around rows: NULLs, filters, odd floats, gaps, long frames.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Float64Type, Int64Type, SchemaRef};
use proptest::prelude::*;

use super::oracle::Random;
use crate::aggregate::AggregateCall;
use crate::aggregate::registry::{Limits, NativeCall, native};
use crate::batch::Batch;
use crate::operator::{Drain, Operator, Output, OverCall, OverSpec, over};
use crate::window::OverFrame;

#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) time: i64,
    pub(super) key: i64,
    pub(super) value: Option<f64>,
    pub(super) keep: Option<bool>,
}

pub(super) fn records(rows: &[Reading]) -> RecordBatch {
    let each = || rows.iter();
    let columns: [(&str, ArrayRef, bool); 4] = [
        (
            "ts",
            Arc::new(TimestampMillisecondArray::from_iter_values(
                each().map(|row| row.time),
            )),
            false,
        ),
        (
            "key",
            Arc::new(Int64Array::from_iter_values(each().map(|row| row.key))),
            false,
        ),
        (
            "value",
            Arc::new(each().map(|row| row.value).collect::<Float64Array>()),
            true,
        ),
        (
            "keep",
            Arc::new(each().map(|row| row.keep).collect::<BooleanArray>()),
            true,
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("it fits")
}

/// The calls of each frame: name, whether it has an argument, whether it has a filter.
const CALLS: [(&str, bool, bool); 11] = [
    ("count", false, false),
    ("count", true, false),
    ("sum", true, false),
    ("avg", true, false),
    ("min", true, false),
    ("max", true, false),
    ("count", false, true),
    ("count", true, true),
    ("avg", true, true),
    ("min", true, true),
    ("max", true, true),
];

fn operator(frames: &[OverFrame], is_keyed: bool) -> Box<dyn Operator> {
    let input: SchemaRef = records(&[]).schema();
    let call = |frame: OverFrame, (name, has_arg, has_filter): (&str, bool, bool)| {
        let arg = input.field(2).data_type().clone();
        let factory = native(&NativeCall {
            name,
            distinct: false,
            ignore_nulls: false,
            descending: false,
            arg_types: &[arg][..usize::from(has_arg)],
            literals: &[None][..usize::from(has_arg)],
            limits: Limits::default(),
        });
        let factory = factory.expect("it fits").expect("it is native");
        let field = Arc::new(Field::new(name, factory.return_type(), true));
        OverCall {
            call: AggregateCall {
                factory,
                args: vec![2][..usize::from(has_arg)].to_vec(),
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
        keys: vec![1][..usize::from(is_keyed)].to_vec(),
        keeps_untimed: false,
        input: input.clone(),
    })
    .expect("it fits")
}

/// Runs rows through, in batches of up to so many; sometimes through a snapshot. Values by
/// row and call, as bits.
pub(super) fn run(
    make: &dyn Fn() -> Box<dyn Operator>,
    rows: &[Reading],
    batch_rows: i64,
    random: &mut Random,
) -> Vec<Vec<Option<u64>>> {
    let mut it = make();
    let mut out = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(rest.len().min(random.within(1, batch_rows) as usize));
        rest = after;
        it.on_batch(0, Batch::on_time(records(batch)))
            .expect("it fits");
        let last = batch[batch.len() - 1].time;
        it.on_watermark(0, last - random.within(0, 1))
            .expect("it rises");
        if random.within(0, 2) > 0 {
            while it.drain(10_000, &mut out).expect("it drains") == Drain::More {}
        }
        if random.within(0, 3) == 0 {
            let snapshot = it.save().expect("it is saved");
            it = make();
            it.load(&snapshot).expect("it is restored");
        }
    }
    it.on_end(0).expect("it ends");
    while it.drain(10_000, &mut out).expect("it drains") == Drain::More {}
    let mut found = Vec::new();
    for output in out {
        let Output::Batch(batch) = output else {
            continue;
        };
        let columns = &batch.records.columns()[4..];
        for row in 0..batch.num_rows() {
            let bits = |column: &ArrayRef| {
                column.is_valid(row).then(|| match column.data_type() {
                    arrow::datatypes::DataType::Int64 => {
                        column.as_primitive::<Int64Type>().value(row) as u64
                    }
                    _ => column.as_primitive::<Float64Type>().value(row).to_bits(),
                })
            };
            found.push(columns.iter().map(bits).collect());
        }
    }
    found
}

/// The order of floats: −0.0 below 0.0, NaN the greatest.
pub(super) fn order(a: &f64, b: &f64) -> std::cmp::Ordering {
    (a.is_nan().cmp(&b.is_nan())).then_with(|| match a.is_nan() {
        true => std::cmp::Ordering::Equal,
        false => a.total_cmp(b),
    })
}

/// What a call gives over the rows of a frame.
fn expected(name: &str, has_arg: bool, has_filter: bool, frame: &[&Reading]) -> Option<f64> {
    let kept: Vec<&&Reading> = (frame.iter())
        .filter(|row| !has_filter || row.keep == Some(true))
        .collect();
    if !has_arg {
        return Some(kept.len() as f64);
    }
    let values: Vec<f64> = kept.iter().filter_map(|row| row.value).collect();
    let some = (!values.is_empty()).then_some(());
    let sum: f64 = values.iter().sum();
    match name {
        "count" => Some(values.len() as f64),
        "sum" => some.map(|()| sum),
        "avg" => some.map(|()| sum / values.len() as f64),
        "min" => values.into_iter().min_by(order),
        _ => values.into_iter().max_by(order),
    }
}

/// The rows of the frame of a row.
pub(super) fn around(
    frame: OverFrame,
    is_keyed: bool,
    rows: &[Reading],
    at: usize,
) -> Vec<&Reading> {
    let row = &rows[at];
    let is_in = |other: &&Reading| !is_keyed || other.key == row.key;
    match frame {
        OverFrame::Range { preceding } => (rows.iter().filter(is_in))
            .filter(|other| other.time >= row.time - preceding && other.time <= row.time)
            .collect(),
        OverFrame::Rows { preceding } => {
            let before: Vec<&Reading> = rows[..=at].iter().filter(is_in).collect();
            before[before.len().saturating_sub(preceding as usize + 1)..].to_vec()
        }
    }
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
        for (place, (name, has_arg, has_filter)) in CALLS.into_iter().enumerate() {
            let found = found[number * CALLS.len() + place];
            let wanted = expected(name, has_arg, has_filter, &around);
            let is_same = match (found, wanted) {
                (Some(found), Some(wanted)) if name == "count" => found == wanted as u64,
                (Some(found), Some(wanted)) if name == "min" || name == "max" => {
                    found == wanted.to_bits() || f64::from_bits(found).is_nan() && wanted.is_nan()
                }
                (Some(found), Some(wanted)) => {
                    let found = f64::from_bits(found);
                    let values = around.iter().filter_map(|row| row.value);
                    let scale: f64 = values.filter(|value| value.is_finite()).map(f64::abs).sum();
                    found.is_nan() && wanted.is_nan()
                        || found == wanted
                        || (found - wanted).abs() <= 1e-12 * scale
                }
                (found, wanted) => found.is_none() && wanted.is_none(),
            };
            let found = found.map(f64::from_bits);
            assert!(
                is_same,
                "{name} {place} over {frame:?}, row {at}: {found:?}, not {wanted:?}"
            );
        }
    }
}

pub(super) fn frame(random: &mut Random) -> OverFrame {
    match random.within(0, 1) {
        0 => OverFrame::Range {
            preceding: [0, 3, 20, 90, 500][random.within(0, 4) as usize],
        },
        _ => OverFrame::Rows {
            preceding: [0, 1, 31, 40, 150, 1_200][random.within(0, 5) as usize],
        },
    }
}

pub(super) fn readings(random: &mut Random, count: i64) -> Vec<Reading> {
    let (keys, nulls) = (
        random.within(1, 6),
        [0, 0, 3, 40][random.within(0, 3) as usize],
    );
    let odd = random.within(0, 1) * 8;
    let mut time = 0;
    let row = |_| {
        time += match random.within(0, 200) {
            0 => random.within(50, 700),
            step => step / 120,
        };
        let value = match random.within(0, 99) {
            pick if pick < odd => {
                [f64::NAN, -f64::NAN, -0.0, f64::INFINITY, f64::NEG_INFINITY][pick as usize % 5]
            }
            _ => random.within(-1_000, 1_000) as f64 / 7.0,
        };
        Reading {
            time,
            key: random.within(1, keys).min(random.within(1, keys)),
            value: (random.within(0, 99) >= nulls).then_some(value),
            keep: [Some(true), Some(true), Some(false), None][random.within(0, 3) as usize],
        }
    };
    (0..count).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn floats_around_rows(seed: u64) {
        let random = &mut Random(seed);
        let count = random.within(1, 700);
        let rows = readings(random, count);
        let is_keyed = random.within(0, 1) == 1;
        let frames: Vec<OverFrame> = (0..random.within(1, 2)).map(|_| frame(random)).collect();
        let make = || operator(&frames, is_keyed);
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
fn many_rows_of_one_key_are_shared_among_threads() {
    let random = &mut Random(5);
    let rows = readings(random, 60_000);
    let frames = [
        OverFrame::Range { preceding: 7_000 },
        OverFrame::Rows { preceding: 1_999 },
    ];
    let mut run = |threads: usize, batch_rows: i64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let random = &mut *random;
        pool.expect("few threads")
            .install(|| run(&|| operator(&frames, false), &rows, batch_rows, random))
    };
    let whole = run(3, 60_000);
    for at in (0..rows.len()).step_by(1_777) {
        check_row(&whole[at], &frames, false, &rows, at);
    }
    assert!(run(1, 5_000) == whole, "one thread, small batches");
}
