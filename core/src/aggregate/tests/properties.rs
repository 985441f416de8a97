//! Every aggregate over random rows, batches, merges, clears and restarts.

use arrow::array::{Array, AsArray, Int64Array, StringArray};
use arrow::datatypes::{Field, Float64Type, Int64Type, UInt64Type};
use proptest::prelude::*;

use super::model::{self, Row, Value};
use super::*;
use crate::aggregate::AggregateCall;
use crate::aggregate::fused::{Groups, fuse};

const SLOTS: u32 = 6;

/// What happens to a state.
#[derive(Debug, Clone)]
enum Step {
    /// The next rows are added, each to its slot.
    Update(Vec<(u32, Row)>),
    /// A slot is combined into another.
    Merge(u32, u32),
    /// A slot is made empty.
    Clear(u32),
    /// Everything is saved, and loaded into a new state in another order of slots.
    Restart,
    /// Values are taken: that must change nothing.
    Evaluate,
}

fn number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        1 => Just(None),
        6 => (-400i32..400).prop_map(|value| Some(f64::from(value) * 0.25)),
        1 => prop_oneof![
            Just(0.0), Just(-0.0), Just(f64::NAN), Just(-f64::NAN),
            Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e-9), Just(1e15),
        ].prop_map(Some),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let int = prop_oneof![4 => -9i64..9, 1 => prop_oneof![Just(i64::MAX), Just(i64::MIN)]];
    (
        0i64..20,
        number(),
        proptest::option::of(-20i32..20),
        proptest::option::of(int),
        proptest::option::of(any::<bool>()),
        proptest::option::of("[a-cé]{0,3}"),
        prop_oneof![3 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)],
    )
        .prop_map(|(time, x, y, int, flag, text, filter)| Row {
            time,
            ordinal: 0,
            x,
            y: y.map(f64::from),
            int,
            flag,
            text,
            filter,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Some batches go to one slot alone.
    let rows = (
        0..SLOTS,
        any::<bool>(),
        proptest::collection::vec((0..SLOTS, row()), 0..90),
    );
    let update = rows.prop_map(|(slot, single, mut rows)| {
        if single {
            rows.iter_mut().for_each(|row| row.0 = slot);
        }
        Step::Update(rows)
    });
    let step = prop_oneof![
        4 => update,
        3 => (0..SLOTS, 1..SLOTS).prop_map(|(into, by)| Step::Merge(into, (into + by) % SLOTS)),
        1 => (0..SLOTS).prop_map(Step::Clear),
        1 => Just(Step::Restart),
        1 => Just(Step::Evaluate),
    ];
    proptest::collection::vec(step, 1..14).prop_map(|mut steps| {
        let rows = steps.iter_mut().flat_map(|step| match step {
            Step::Update(rows) => rows.as_mut_slice(),
            _ => &mut [],
        });
        for (ordinal, (_, row)) in rows.enumerate() {
            row.ordinal = ordinal as u64;
        }
        steps
    })
}

/// An aggregate under test.
struct Case {
    name: &'static str,
    options: fn(&mut NativeCall<'_>),
    args: fn(&[&Row]) -> Vec<ArrayRef>,
    filter: bool,
    expected: fn(&[&Row]) -> Value,
}

fn floats(rows: &[&Row], of: fn(&Row) -> Option<f64>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| of(row)).collect::<Float64Array>())
}

fn x(rows: &[&Row]) -> Vec<ArrayRef> {
    vec![floats(rows, |row| row.x)]
}

fn y_and_x(rows: &[&Row]) -> Vec<ArrayRef> {
    vec![floats(rows, |row| row.y), floats(rows, model::derived_x)]
}

fn int(rows: &[&Row]) -> Vec<ArrayRef> {
    vec![Arc::new(
        rows.iter().map(|row| row.int).collect::<Int64Array>(),
    )]
}

fn flag(rows: &[&Row]) -> Vec<ArrayRef> {
    vec![Arc::new(
        rows.iter().map(|row| row.flag).collect::<BooleanArray>(),
    )]
}

fn text(rows: &[&Row]) -> Vec<ArrayRef> {
    vec![Arc::new(
        rows.iter()
            .map(|row| row.text.as_deref())
            .collect::<StringArray>(),
    )]
}

/// Text as a type for which there is no other path than the one for any type.
fn labels(rows: &[&Row]) -> Vec<ArrayRef> {
    let labels: arrow::array::DictionaryArray<arrow::datatypes::Int32Type> =
        rows.iter().map(|row| row.text.as_deref()).collect();
    vec![Arc::new(labels)]
}

fn no_args(_: &[&Row]) -> Vec<ArrayRef> {
    vec![]
}

fn x_and_text(rows: &[&Row]) -> Vec<ArrayRef> {
    vec![x(rows).remove(0), text(rows).remove(0)]
}

fn plain(_: &mut NativeCall<'_>) {}

fn distinct(call: &mut NativeCall<'_>) {
    call.distinct = true;
}

fn ignore_nulls(call: &mut NativeCall<'_>) {
    call.ignore_nulls = true;
}

fn at_30(call: &mut NativeCall<'_>) {
    call.arg_types = &[DataType::Float64, DataType::Float64];
    call.literals = &[None, Some(ScalarArg::Float(0.3))];
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    fn case(
        name: &'static str,
        args: fn(&[&Row]) -> Vec<ArrayRef>,
        expected: fn(&[&Row]) -> Value,
    ) -> Case {
        Case { name, options: plain, args, filter: false, expected }
    }
    let filtered = |case: Case| Case { filter: true, ..case };
    let with = |options, case: Case| Case { options, ..case };
    vec![
        case("count", no_args, model::count),
        filtered(case("count", no_args, model::count)),
        case("count", x_and_text, model::count_both),
        case("sum", x, model::sum),
        filtered(case("sum", x, model::sum)),
        case("sum", int, model::sum_int),
        case("avg", x, model::avg),
        case("min", x, model::min),
        case("max", x, model::max),
        filtered(case("max", x, model::max)),
        case("min", int, model::min_int),
        case("min", text, model::min_text),
        filtered(case("max", text, model::max_text)),
        case("bool_and", flag, model::all),
        case("bool_or", flag, model::any),
        case("min", flag, model::all),
        case("first_value", x, model::first),
        filtered(case("last_value", flag, model::last_flag)),
        case("last_value", text, model::last_text),
        case("last_value", labels, model::last_text),
        with(ignore_nulls, case("last_value", int, model::last_int_not_null)),
        with(ignore_nulls, case("first_value", text, model::first_text_not_null)),
        filtered(with(ignore_nulls, case("first_value", labels, model::first_text_not_null))),
        case("var_samp", x, model::var_samp),
        case("var_pop", x, model::var_pop),
        case("stddev", x, model::stddev_samp),
        case("covar_samp", y_and_x, model::covar_samp),
        case("corr", y_and_x, model::corr),
        case("regr_slope", y_and_x, model::slope),
        filtered(case("regr_intercept", y_and_x, model::intercept)),
        case("regr_count", y_and_x, model::regr_count),
        case("regr_avgx", y_and_x, model::regr_avgx),
        case("median", x, model::median),
        with(at_30, filtered(case("percentile_cont", x, model::percentile_30))),
        with(at_30, case("approx_percentile_cont", x, model::approx_percentile_30)),
        with(distinct, case("count", x, model::distinct)),
        with(distinct, filtered(case("count", text, model::distinct_text))),
        case("approx_distinct", x, model::distinct),
        case("approx_distinct", text, model::distinct_text),
    ]
}

/// One value of a result.
fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::UInt64 => Value::Int(array.as_primitive::<UInt64Type>().value(row).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row), 0.0),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).into()),
        DataType::Dictionary(..) => {
            let text = arrow::compute::cast(array, &DataType::Utf8).expect("text");
            value(&text, row)
        }
        other => panic!("{other} is not expected"),
    }
}

fn run(case: &Case, steps: &[Step]) {
    let types: Vec<DataType> = ((case.args)(&[]).iter())
        .map(|array| array.data_type().clone())
        .collect();
    let mut call = call(case.name, &types);
    (case.options)(&mut call);
    let factory = factory(call);
    check(
        case.name,
        &*factory,
        case.args,
        case.filter,
        &[case.expected],
        steps,
    );
}

/// Does the steps to a state and compares what comes out: a column, or a struct of
/// several.
fn check(
    name: &str,
    factory: &dyn AggregateFactory,
    args_of: fn(&[&Row]) -> Vec<ArrayRef>,
    filtered: bool,
    expected: &[fn(&[&Row]) -> Value],
    steps: &[Step],
) {
    let mut state = factory.create().expect("its types fit");
    state.resize(SLOTS as usize);
    // Where each slot of the model lies in the state.
    let mut place: Vec<u32> = (0..SLOTS).collect();
    let mut rows_of: Vec<Vec<&Row>> = vec![vec![]; SLOTS as usize];
    for step in steps {
        match step {
            Step::Update(rows) => {
                let slots: Vec<u32> = rows.iter().map(|row| place[row.0 as usize]).collect();
                let records: Vec<&Row> = rows.iter().map(|row| &row.1).collect();
                let filter: BooleanArray = records.iter().map(|row| row.filter).collect();
                let times: Vec<i64> = records.iter().map(|row| row.time).collect();
                let args = args_of(&records);
                let batch = Rows {
                    slots: &slots,
                    args: &args,
                    filter: filtered.then_some(&filter),
                    times: &times,
                    first_ordinal: records.first().map_or(0, |row| row.ordinal),
                };
                state.update(batch).expect("accepted");
                for (slot, row) in rows {
                    if !filtered || row.filter == Some(true) {
                        rows_of[*slot as usize].push(row);
                    }
                }
            }
            Step::Merge(into, from) => {
                let (into, from) = (*into as usize, *from as usize);
                state.merge(&[place[into]], &[place[from]]).expect("merged");
                let later = rows_of[from].clone();
                rows_of[into].extend(later);
            }
            Step::Clear(slot) => {
                state.clear(&[place[*slot as usize]]);
                rows_of[*slot as usize].clear();
            }
            Step::Restart => {
                let columns = state.save(&place).expect("saved");
                place.rotate_left(1);
                place.iter_mut().for_each(|slot| *slot += 3);
                state = factory.create().expect("its types fit");
                state.resize(64);
                state.load(&place, &columns).expect("loaded");
                let again = state.save(&place).expect("saved again");
                assert_eq!(format!("{columns:?}"), format!("{again:?}"), "{name}");
                place.rotate_right(1);
                let moved = state.evaluate(&place).expect("values");
                assert_eq!(moved.len(), SLOTS as usize);
                place.rotate_left(1);
            }
            Step::Evaluate => drop(state.evaluate(&place).expect("values")),
        }
    }
    let result = state.evaluate(&place).expect("values");
    assert_eq!(*result.data_type(), factory.return_type(), "{name}");
    let columns = match result.as_struct_opt() {
        Some(results) => results.columns().to_vec(),
        None => vec![result],
    };
    assert_eq!(columns.len(), expected.len(), "{name}");
    for (column, expected) in columns.iter().zip(expected) {
        for (slot, rows) in rows_of.iter().enumerate() {
            let (expected, actual) = (expected(rows), value(column, slot));
            assert!(
                expected.admits(&actual),
                "{name} of slot {slot}: {actual:?}, not {expected:?}, over {rows:?}",
            );
        }
    }
    let bytes = state.state_bytes();
    state.clear(&place);
    assert!(state.state_bytes() <= bytes, "{name}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn every_aggregate_agrees_with_plain_loops(steps in steps()) {
        for case in cases() {
            run(&case, &steps);
        }
        for (filter, groups) in [
            (None, Groups::Many), (Some(1), Groups::Many), (None, Groups::One), (Some(1), Groups::One),
        ] {
            let fused = fuse(&[
                summary("count", &[], filter),
                summary("count", &[0], filter),
                summary("sum", &[0], filter),
                summary("avg", &[0], filter),
                summary("min", &[0], filter),
                summary("max", &[0], filter),
            ], groups);
            assert_eq!(fused.len(), 1);
            let expected = [
                model::count, model::count_x, model::sum, model::avg, model::min, model::max,
            ];
            check("fused", &*fused[0].factory, x, filter.is_some(), &expected, &steps);
        }
    }
}

/// A call over float columns.
fn summary(name: &str, args: &[usize], filter: Option<usize>) -> AggregateCall {
    let types = vec![DataType::Float64; args.len()];
    let factory = factory(call(name, &types));
    AggregateCall {
        field: Arc::new(Field::new(name, factory.return_type(), true)),
        factory,
        args: args.to_vec(),
        filter,
    }
}

#[test]
fn calls_over_one_column_and_filter_are_fused() {
    let calls = [
        summary("sum", &[0], None),
        summary("max", &[1], None),
        summary("count", &[], None),
        summary("stddev", &[0], None),
        summary("avg", &[0], None),
        summary("min", &[0], Some(2)),
        summary("count", &[1], None),
    ];
    let fused = fuse(&calls, Groups::Many);
    let outputs: Vec<&[usize]> = fused.iter().map(|call| &call.outputs[..]).collect();
    assert_eq!(outputs, [&[0, 2, 4][..], &[1], &[3], &[5], &[6]]);
    assert_eq!((&fused[0].args[..], fused[0].filter), (&[0][..], None));
    assert_eq!((&fused[3].args[..], fused[3].filter), (&[0][..], Some(2)));
    let mut state = fused[0].factory.create().expect("its types fit");
    state.resize(1);
    let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None, Some(2.5)]));
    update(&mut *state, &[0; 3], &[values]);
    let columns = fused[0].columns(state.evaluate(&[0]).expect("values"));
    assert_eq!(*columns[0], Float64Array::from(vec![4.0]));
    assert_eq!(*columns[1], Int64Array::from(vec![3]));
    assert_eq!(*columns[2], Float64Array::from(vec![2.0]));
}

/// However rows are batched, and with or without neighbours, float sums have the bits
/// of the plain loop.
#[test]
fn float_sums_are_added_in_row_order() {
    let values: Vec<f64> = (0..999u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12) as f64 * 1e-7 - 1e8)
        .collect();
    let in_order = |slot: usize| {
        let rows = values.iter().skip(slot).step_by(3);
        rows.fold(0.0, |sum, value| sum + value)
    };
    for batch in [1, 7, 64, 999] {
        let mut state = state(call("sum", &[DataType::Float64]), 3);
        for (chunk, values) in values.chunks(batch).enumerate() {
            let slots: Vec<u32> = (0..values.len())
                .map(|row| ((chunk * batch + row) % 3) as u32)
                .collect();
            let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
            update(&mut *state, &slots, &[column]);
        }
        let sums = state.evaluate(&[0, 1, 2]).expect("values");
        for slot in 0..3 {
            let sum = sums.as_primitive::<Float64Type>().value(slot);
            assert_eq!(
                sum.to_bits(),
                in_order(slot).to_bits(),
                "batches of {batch}"
            );
        }
    }
}

#[test]
fn without_a_key_a_sum_is_the_same_alone_and_beside_others() {
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1e16, 1.0, -1e16, 1.0, 3.0]));
    let sum = |calls: &[AggregateCall]| {
        let fused = fuse(calls, Groups::One).swap_remove(0);
        let mut state = fused.factory.create().expect("its types fit");
        state.resize(1);
        let rows = Rows {
            slots: &[],
            args: std::slice::from_ref(&values),
            filter: None,
            times: &[0; 5],
            first_ordinal: 0,
        };
        state.update_run(0, rows).expect("floats are taken");
        let evaluated = state.evaluate(&[0]).expect("it has values");
        let sum = fused.columns(evaluated).swap_remove(0);
        sum.as_primitive::<Float64Type>().value(0)
    };
    let alone = [summary("sum", &[0], None)];
    let others = ["sum", "min", "max"].map(|name| summary(name, &[0], None));
    // Each value has a lane; lanes 0 and 4, 2, 1, 3 are added in halves.
    let by_hand = ((1e16 + 3.0) + -1e16) + (1.0 + 1.0);
    assert_eq!((sum(&alone), sum(&others)), (by_hand, by_hand));
}

#[test]
fn percentiles_of_one_column_have_one_state() {
    let percentile = |name: &'static str, fraction: f64, column: usize, filter: Option<usize>| {
        let types = [DataType::Float64, DataType::Float64];
        let literals = [None, Some(ScalarArg::Float(fraction))];
        let factory = factory(NativeCall {
            literals: &literals,
            ..call(name, &types)
        });
        AggregateCall {
            field: Arc::new(Field::new(name, factory.return_type(), true)),
            factory,
            args: vec![column, 9],
            filter,
        }
    };
    let (exact, sketch) = ("percentile_cont", "approx_percentile_cont");
    let calls = [
        percentile(sketch, 0.5, 0, None),
        percentile(exact, 0.25, 0, None),
        summary("sum", &[0], None),
        percentile(sketch, 0.95, 0, None),
        summary("median", &[0], None),
        percentile(sketch, 0.5, 1, None),
        percentile(sketch, 0.5, 0, Some(2)),
        percentile(sketch, 0.99, 0, None),
    ];
    let fused = fuse(&calls, Groups::Many);
    let mut outputs: Vec<&[usize]> = fused.iter().map(|call| &call.outputs[..]).collect();
    outputs.sort_unstable();
    assert_eq!(outputs, [&[0, 3, 7][..], &[1, 4], &[2], &[5], &[6]]);
    // Enough values for a sketch, in two slots that are combined.
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..500).map(f64::from)));
    let slots: Vec<u32> = (0..500).map(|row| row % 2).collect();
    let evaluated = |factory: &dyn AggregateFactory| {
        let mut state = factory.create().expect("its types fit");
        state.resize(3);
        update(&mut *state, &slots, std::slice::from_ref(&values));
        state.merge(&[2, 2], &[0, 1]).expect("both are there");
        let saved = state.save(&[2]).expect("it can be saved");
        let mut loaded = factory.create().expect("its types fit");
        loaded.resize(1);
        loaded.load(&[0], &saved).expect("it was saved");
        let evaluated = state.evaluate(&[2]).expect("values");
        assert_eq!(*loaded.evaluate(&[0]).expect("values"), *evaluated);
        evaluated
    };
    for fused in &fused {
        let columns = fused.columns(evaluated(&*fused.factory));
        for (place, column) in fused.outputs.iter().zip(columns) {
            assert_eq!(*column, *evaluated(&*calls[*place].factory), "call {place}");
        }
    }
}
