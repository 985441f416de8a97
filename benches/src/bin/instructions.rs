//! Each of the engine's inner loops once, on few rows, so that valgrind can count its
//! instructions: a figure that no neighbour on the machine changes.
//!
//! It prints `name<TAB>rows` for each call of [`measured`], in order;
//! `benches/instructions.py` runs it and puts counts beside them. The level of SIMD is
//! that of the process (`WINDROW_SIMD`).

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use windrow_bench::{Era, Names, ROWS_PER_SECOND, SECOND_US, SENSORS, readings};
use windrow_core::aggregate::registry::{Limits, NativeCall, native};
use windrow_core::aggregate::{AggregateCall, AggregateFactory, Rows};
use windrow_core::batch::Batch;
use windrow_core::batch::key::KeyInterner;
use windrow_core::kernel::{self, Bits, Frame};
use windrow_core::operator::{
    Drain, Operator, OverCall, OverSpec, WindowAggregateSpec, over, window_aggregate,
};
use windrow_core::window::{Alignment, OverFrame, Span, WindowKind};

/// Enough for blocks, lanes and frames to be full.
const ROWS: usize = 16 * 1024;

/// Rows of two seconds of event time.
const ROWS_TAKEN_IN: usize = 2 * ROWS_PER_SECOND;

const VALUES: usize = 2;

/// What valgrind counts: it starts when this is entered and ends when it is left.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Nothing may be moved behind the end.
    black_box(());
}

/// Runs a piece of work once to warm up and once to be counted.
fn count(name: &str, rows: usize, mut work: impl FnMut()) {
    work();
    count_once(name, rows, work);
}

fn count_once(name: &str, rows: usize, mut work: impl FnMut()) {
    measured(&mut work);
    println!("{name}\t{rows}");
}

fn main() {
    // Work on other threads would not be counted.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a thread can be started").install(|| {
        kernels();
        keys();
        aggregates();
        operators();
    });
}

fn kernels() {
    let batch = readings(ROWS, Names::Number, Era::One).swap_remove(0);
    let floats = floats(&batch);
    let integers: Vec<i64> = floats.iter().map(|value| value.to_bits() as i64).collect();
    let times: Vec<i64> = (0..ROWS as i64).map(|row| 50 * row + row % 7).collect();
    // One row in eight is null.
    let bits = vec![0b1110_1111; ROWS / 8];
    let validity = Some(Bits::new(&bits, 0, ROWS));
    count("kernel sum f64", ROWS, || {
        black_box(kernel::sum_f64(black_box(&floats), None));
    });
    count("kernel sum f64 with nulls", ROWS, || {
        black_box(kernel::sum_f64(black_box(&floats), validity));
    });
    count("kernel min f64", ROWS, || {
        black_box(kernel::min_f64(black_box(&floats), None));
    });
    count("kernel sum, min, max f64", ROWS, || {
        black_box(kernel::summarize_f64(black_box(&floats), None));
    });
    count("kernel min, max i64", ROWS, || {
        black_box(kernel::min_max_i64(black_box(&integers)));
    });
    let mut out = vec![0.0; ROWS];
    for width in [3, 32, 1000] {
        count(&format!("kernel sum f64 of {width} rows"), ROWS, || {
            kernel::rows_sum_f64(black_box(&floats), width, &mut out);
        });
        count(&format!("kernel min f64 of {width} rows"), ROWS, || {
            kernel::rows_min_f64(black_box(&floats), width, &mut out);
        });
    }
    let mut frames = vec![Frame::default(); ROWS];
    count("kernel frames of a range of 60 rows", ROWS, || {
        kernel::range_frames(black_box(&times), 3_000, &mut frames);
    });
    count("kernel sum f64 of a range of 60 rows", ROWS, || {
        black_box(kernel::range_sum_f64(&floats, &frames, 0, &mut out));
    });
    count("kernel min f64 of a range of 60 rows", ROWS, || {
        kernel::range_min_f64(&floats, &frames, &mut out);
    });
}

fn floats(batch: &RecordBatch) -> Vec<f64> {
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;
    let column = batch.column(VALUES).as_primitive::<Float64Type>();
    column.values().to_vec()
}

fn keys() {
    for (name, names) in [
        ("text", Names::Text),
        ("integers", Names::Number),
        ("a dictionary", Names::Dictionary),
    ] {
        let batch = readings(ROWS, names, Era::One).swap_remove(0);
        let keys = [batch.column(1).clone()];
        let types = [keys[0].data_type().clone()];
        let mut interner = KeyInterner::new(&types).expect("it can be compared");
        let mut ids = Vec::new();
        count(&format!("keys of {name} to ids"), ROWS, || {
            (interner.intern(&keys, ROWS, &mut ids)).expect("few keys");
        });
    }
}

fn factory(name: &str, types: &[DataType]) -> Arc<dyn AggregateFactory> {
    let call = NativeCall {
        name,
        distinct: false,
        ignore_nulls: false,
        descending: false,
        arg_types: types,
        literals: &[None],
        limits: Limits::default(),
    };
    native(&call).expect("no literals").expect("it is native")
}

fn aggregates() {
    let batch = readings(ROWS, Names::Number, Era::One).swap_remove(0);
    let keys = [batch.column(1).clone()];
    let mut interner = KeyInterner::new(&[DataType::Int64]).expect("it can be compared");
    let mut ids = Vec::new();
    (interner.intern(&keys, ROWS, &mut ids)).expect("few keys");
    let times = vec![0; ROWS];
    let args: [ArrayRef; 1] = [batch.column(VALUES).clone()];
    for name in ["count", "sum", "avg", "min", "stddev"] {
        let factory = factory(name, &[DataType::Float64]);
        let mut state = factory.create().expect("its type fits");
        state.resize(SENSORS);
        count(&format!("{name} into 1,000 slots"), ROWS, || {
            let rows = Rows {
                slots: &ids,
                args: &args,
                filter: None,
                times: &times,
                first_ordinal: 0,
            };
            state.update(rows).expect("floats are taken");
        });
    }
}

/// `count(*)`, avg, min and max of the readings' values.
fn calls(schema: &SchemaRef) -> Vec<AggregateCall> {
    let call = |name: &str, args: &[usize]| {
        let types: Vec<_> = args
            .iter()
            .map(|&arg| schema.field(arg).data_type().clone())
            .collect();
        let factory = factory(name, &types);
        let field = Field::new(name, factory.return_type(), true);
        AggregateCall {
            factory,
            args: args.to_vec(),
            filter: None,
            field: Arc::new(field),
        }
    };
    vec![
        call("count", &[]),
        call("avg", &[VALUES]),
        call("min", &[VALUES]),
        call("max", &[VALUES]),
    ]
}

/// Takes in some seconds to know the keys, then counts the next ones and what is given
/// out for them.
fn steps(name: &str, mut operator: Box<dyn Operator>, batches: &[RecordBatch], next_us: i64) {
    let (warm, counted) = batches.split_at(batches.len() - 1);
    for batch in warm {
        (operator.on_batch(0, Batch::on_time(batch.clone()))).expect("it takes rows");
    }
    let rows = counted[0].num_rows();
    let mut batch = Some(Batch::on_time(counted[0].clone()));
    count_once(&format!("{name}, rows in"), rows, || {
        let batch = batch.take().expect("it runs once");
        operator.on_batch(0, batch).expect("it takes rows");
    });
    let mut out = Vec::new();
    count_once(&format!("{name}, rows out"), rows, || {
        operator
            .on_watermark(0, next_us)
            .expect("it takes a watermark");
        while let Drain::More = operator.drain(usize::MAX, &mut out).expect("it drains") {}
    });
    assert!(!out.is_empty(), "{name} gave nothing");
}

fn operators() {
    // Without `temp`: an operator's input holds what it reads.
    let slim = |names| -> Vec<RecordBatch> {
        let all = readings(2 * ROWS_TAKEN_IN, names, Era::One);
        let schema = all[0].schema();
        let all = arrow::compute::concat_batches(&schema, &all).expect("one schema");
        let all = all.project(&[0, 1, VALUES]).expect("the columns are there");
        vec![
            all.slice(0, ROWS_TAKEN_IN),
            all.slice(ROWS_TAKEN_IN, ROWS_TAKEN_IN),
        ]
    };
    let first_us = windrow_bench::FIRST_US;
    for (name, names) in [("text", Names::Text), ("integers", Names::Number)] {
        let batches = slim(names);
        let schema = batches[0].schema();
        let kinds = [
            (
                "tumble 1 s",
                WindowKind::Tumble {
                    size: Span::Ticks(SECOND_US),
                },
            ),
            (
                "hop 60 s / 1 s",
                WindowKind::Hop {
                    slide: Span::Ticks(SECOND_US),
                    size: Span::Ticks(60 * SECOND_US),
                },
            ),
        ];
        for (window, kind) in kinds {
            let operator = window_aggregate(WindowAggregateSpec {
                input: schema.clone(),
                time: 0,
                keys: vec![1],
                partition_keys: 1,
                kind,
                alignment: Alignment::default(),
                aggregates: calls(&schema),
            });
            let operator = operator.expect("it fits");
            let name = format!("{window} by {name}");
            steps(&name, operator, &batches, first_us + 4 * SECOND_US);
        }
    }
    let batches = slim(Names::Number);
    let schema = batches[0].schema();
    let frames = [
        (
            "range 1 s",
            OverFrame::Range {
                preceding: SECOND_US,
            },
        ),
        ("rows 100", OverFrame::Rows { preceding: 99 }),
    ];
    for (name, frame) in frames {
        for keys in [vec![], vec![1]] {
            let by = if keys.is_empty() { "" } else { " by integers" };
            let operator = over(OverSpec {
                input: schema.clone(),
                time: 0,
                keys,
                calls: (calls(&schema).into_iter().skip(1))
                    .map(|call| OverCall { call, frame })
                    .collect(),
                keeps_untimed: false,
            });
            let operator = operator.expect("it fits");
            steps(
                &format!("over {name}{by}"),
                operator,
                &batches,
                first_us + 4 * SECOND_US,
            );
        }
    }
}
