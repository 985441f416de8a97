//! Records that calls share: of 32 bits, and those that have counted far.

use arrow::array::{AsArray, Float32Array, Int64Array, UInt64Array};
use arrow::datatypes::{Field, Float32Type, Float64Type, Int64Type};
use proptest::prelude::*;

use super::*;
use crate::aggregate::AggregateCall;
use crate::aggregate::fused::{FusedCall, Groups, fuse};

const NAMES: [&str; 6] = ["count", "count", "sum", "avg", "min", "max"];

/// `count(*), count(x), sum(x), avg(x), min(x), max(x)` over a type of floats, in one state.
fn summaries(data_type: &DataType, groups: Groups) -> FusedCall {
    let calls: Vec<AggregateCall> = (NAMES.iter().enumerate())
        .map(|(place, name)| {
            let args: &[usize] = if place == 0 { &[] } else { &[0] };
            let factory = factory(call(name, &vec![data_type.clone(); args.len()]));
            AggregateCall {
                field: Arc::new(Field::new(*name, factory.return_type(), true)),
                factory,
                args: args.to_vec(),
                filter: None,
            }
        })
        .collect();
    let mut fused = fuse(&calls, groups);
    assert_eq!(fused.len(), 1);
    fused.swap_remove(0)
}

/// The order of floats: −0.0 below 0.0, NaN the greatest.
fn less(a: f32, b: f32) -> bool {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => false,
        (false, true) => true,
        _ => a.total_cmp(&b).is_lt(),
    }
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN } else { value }.to_bits()
}

fn value() -> impl Strategy<Value = Option<f32>> {
    prop_oneof![
        6 => (-1e6_f32..1e6).prop_map(Some),
        1 => Just(None),
        1 => prop::sample::select(vec![
            0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN, f32::MAX,
            f32::MIN_POSITIVE, f32::from_bits(1), f32::from_bits(u32::MAX),
        ])
        .prop_map(Some),
    ]
}

proptest! {
    /// What a record of 32 bits gives is what loops over the rows give; also after it was
    /// saved, loaded and merged.
    #[test]
    fn records_of_32_bits_agree_with_plain_loops(
        rows in prop::collection::vec((0..5_u32, value()), 0..900),
        cut in 0..900_usize,
        by_run in any::<bool>(),
    ) {
        let groups = if by_run { Groups::One } else { Groups::Many };
        let rows: Vec<(u32, Option<f32>)> = (rows.into_iter())
            .map(|(slot, value)| (if by_run { 0 } else { slot }, value))
            .collect();
        let fused = summaries(&DataType::Float32, groups);
        let state = || {
            let mut state = fused.factory.create().expect("its types fit");
            state.resize(10);
            state
        };
        let (mut first, mut second) = (state(), state());
        let (earlier, later) = rows.split_at(cut.min(rows.len()));
        for (state, rows, base) in [(&mut first, earlier, 0), (&mut second, later, 5)] {
            for rows in rows.chunks(300) {
                let slots: Vec<u32> = rows.iter().map(|(slot, _)| slot + base).collect();
                let column: Float32Array = rows.iter().map(|(_, value)| *value).collect();
                update(&mut **state, &slots, &[Arc::new(column)]);
            }
        }
        let saved = second.save(&[5, 6, 7, 8, 9]).expect("columns");
        first.load(&[5, 6, 7, 8, 9], &saved).expect("they are its own");
        first.merge(&[0, 1, 2, 3, 4], &[5, 6, 7, 8, 9]).expect("merged");

        let columns = fused.columns(first.evaluate(&[0, 1, 2, 3, 4]).expect("values"));
        for slot in 0..5_usize {
            let of = |rows: &[(u32, Option<f32>)]| -> Vec<Option<f32>> {
                let own = rows.iter().filter(|(other, _)| *other as usize == slot);
                own.map(|(_, value)| *value).collect()
            };
            let all = of(&rows);
            let values: Vec<f32> = all.iter().flatten().copied().collect();
            let count = |column: usize| columns[column].as_primitive::<Int64Type>().value(slot);
            prop_assert_eq!((count(0), count(1)), (all.len() as i64, values.len() as i64));
            for column in &columns[2..] {
                prop_assert_eq!(column.is_null(slot), values.is_empty());
            }
            if values.is_empty() {
                continue;
            }
            let extreme = |wins: fn(f32, f32) -> bool| {
                let best = |best: f32, value: f32| if wins(value, best) { value } else { best };
                values.iter().copied().reduce(best).expect("there are some")
            };
            let float = |column: usize| columns[column].as_primitive::<Float32Type>().value(slot);
            prop_assert_eq!(bits(float(4).into()), bits(extreme(less).into()));
            prop_assert_eq!(bits(float(5).into()), bits(extreme(|a, b| less(b, a)).into()));
            let wide = |column: usize| columns[column].as_primitive::<Float64Type>().value(slot);
            prop_assert_eq!(bits(wide(3)), bits(wide(2) / values.len() as f64));
            if !by_run {
                let sum = |rows| (of(rows).into_iter().flatten()).fold(0.0, |sum, v| sum + f64::from(v));
                prop_assert_eq!(bits(wide(2)), bits(sum(earlier) + sum(later)));
            }
        }
    }
}

#[test]
fn a_record_is_no_larger_than_its_numbers() {
    for (data_type, bytes) in [(DataType::Float64, 28), (DataType::Float32, 20)] {
        let mut state = (summaries(&data_type, Groups::Many).factory.create()).expect("a state");
        state.resize(100_000);
        let each = state.state_bytes() as f64 / 100_000.0;
        assert!(
            (f64::from(bytes)..f64::from(bytes) * 1.4).contains(&each),
            "{each}"
        );
    }
}

/// Counts beyond 32 bits: from a snapshot, by merging, and by rows.
#[test]
fn counts_go_on_beyond_what_a_record_holds() {
    const MANY: u64 = u32::MAX as u64;
    let fused = summaries(&DataType::Float64, Groups::Many);
    let mut state = fused.factory.create().expect("its types fit");
    state.resize(4);
    let value: ArrayRef = Arc::new(Float64Array::from(vec![2.0]));
    update(&mut *state, &[0], std::slice::from_ref(&value));
    let saved = state.save(&[0]).expect("columns");
    // As many values as that, which is what a sum of so many would be.
    let counted = |count: u64| -> Vec<ArrayRef> {
        (saved.iter().enumerate())
            .map(|(place, column)| match place {
                0 => Arc::new(Float64Array::from(vec![2.0 * count as f64])) as ArrayRef,
                1 => Arc::new(UInt64Array::from(vec![count])),
                _ => column.clone(),
            })
            .collect()
    };
    let seen = |state: &mut dyn AggregateState, slot: u32| {
        let columns = fused.columns(state.evaluate(&[slot]).expect("values"));
        let count = columns[1].as_primitive::<Int64Type>().value(0) as u64;
        let rows = columns[0].as_primitive::<Int64Type>().value(0) as u64;
        assert_eq!(rows, count);
        let mean = columns[3].as_primitive::<Float64Type>();
        assert_eq!(mean.is_valid(0), count > 0);
        assert!(count == 0 || (mean.value(0) - 2.0).abs() < 1e-9, "{count}");
        count
    };
    // By rows, one below the end.
    state.clear(&[0]);
    state
        .load(&[0], &counted(MANY - 1))
        .expect("they are its own");
    for more in 1..=3 {
        update(&mut *state, &[0], std::slice::from_ref(&value));
        assert_eq!(seen(&mut *state, 0), MANY - 1 + more);
    }
    // By merging what is below the half.
    for slot in 1..4 {
        state
            .load(&[slot], &counted(MANY / 2))
            .expect("they are its own");
    }
    state.merge(&[1], &[2]).expect("merged");
    state.merge_block(1, 3, 1).expect("merged");
    assert_eq!(seen(&mut *state, 1), MANY / 2 * 3);
    // From a snapshot into another state, and its slots given to others.
    let whole = state.save(&[0, 1]).expect("columns");
    let mut other = fused.factory.create().expect("its types fit");
    other.resize(2);
    other.load(&[1, 0], &whole).expect("they are its own");
    assert_eq!(seen(&mut *other, 1), MANY + 2);
    assert_eq!(seen(&mut *other, 0), MANY / 2 * 3);
    other.clear(&[0]);
    other.clear_block(1, 1);
    other.resize(3);
    update(
        &mut *other,
        &[1, 2],
        &[Arc::new(Float64Array::from(vec![2.0; 2]))],
    );
    assert_eq!([0, 1, 2].map(|slot| seen(&mut *other, slot)), [0, 1, 1]);
}

#[test]
fn sums_and_averages_of_32_bits_are_of_64_alone_too() {
    let values: ArrayRef = Arc::new(Float32Array::from(vec![16_777_216.0, 1.0, 1.0]));
    for (name, expected) in [("sum", 16_777_218.0), ("avg", 16_777_218.0 / 3.0)] {
        let mut state = state(call(name, &[DataType::Float32]), 1);
        update(&mut *state, &[0; 3], std::slice::from_ref(&values));
        let found = state.evaluate(&[0]).expect("a value");
        assert_eq!(found.as_primitive::<Float64Type>().value(0), expected);
    }
    let fused = summaries(&DataType::Float32, Groups::Many);
    let mut state = fused.factory.create().expect("its types fit");
    state.resize(1);
    update(&mut *state, &[0; 3], std::slice::from_ref(&values));
    let found = state.evaluate(&[0]).expect("values");
    assert_eq!(*found.data_type(), fused.factory.return_type());
    let columns = fused.columns(found);
    assert_eq!(*columns[1], Int64Array::from(vec![3]));
    assert_eq!(*columns[2], Float64Array::from(vec![16_777_218.0]));
    assert_eq!(*columns[4], Float32Array::from(vec![1.0]));
}
