//! The argument types that are native, each with its own values.

use arrow::array::{Array, Int64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType::*, TimeUnit::*};

use super::*;

/// Types with the order of the numbers that are cast to them.
fn ordered() -> Vec<DataType> {
    let zoned = Timestamp(Microsecond, Some("+08:00".into()));
    vec![
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Decimal32(9, 2),
        Decimal64(18, 2),
        Decimal128(38, 3),
        Decimal256(76, 3),
        Date32,
        Date64,
        Time32(Second),
        Time32(Millisecond),
        Time64(Microsecond),
        Time64(Nanosecond),
        Timestamp(Second, None),
        Timestamp(Millisecond, None),
        zoned,
        Timestamp(Nanosecond, Some("Europe/Berlin".into())),
        Duration(Second),
        Duration(Nanosecond),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
    ]
}

/// Numbers of three digits, or of two where a type holds no more, as another type.
fn column(numbers: &[Option<i64>], data_type: &DataType) -> ArrayRef {
    let base = if matches!(data_type, Int8 | UInt8) {
        90
    } else {
        0
    };
    let numbers: Int64Array = numbers
        .iter()
        .map(|number| number.map(|number| number - base))
        .collect();
    let through = match data_type {
        Date32 | Time32(_) => Int32,
        Binary | LargeBinary | BinaryView => Utf8,
        _ => Int64,
    };
    let numbers = cast(&numbers, &through).expect("a number");
    cast(&numbers, data_type).unwrap_or_else(|error| panic!("{data_type}: {error}"))
}

#[test]
fn extremes_and_ends_of_every_type() {
    let numbers = [Some(150), Some(101), None, Some(190), Some(120), None];
    let rows = |places: &[u32]| arrow::array::UInt32Array::from(places.to_vec());
    for data_type in ordered() {
        let values = column(&numbers, &data_type);
        for (name, expected) in [
            ("min", 1),
            ("max", 3),
            ("first_value", 0),
            ("last_value", 5),
        ] {
            let types = [data_type.clone()];
            let mut state = state(call(name, &types), 3);
            update(&mut *state, &[0; 6], std::slice::from_ref(&values));
            state.merge(&[1, 2], &[0, 1]).expect("merged");
            let saved = state.save(&[2]).expect("saved");
            state.clear(&[0]);
            state.load(&[0], &saved).expect("loaded");
            let result = state.evaluate(&[0, 1]).expect("values");
            let expected = take(&values, &rows(&[expected, expected]), None).expect("rows");
            assert_eq!(*result, *expected, "{name} of {data_type}");
            assert_eq!(*result.data_type(), data_type);
            assert_eq!(factory(call(name, &types)).return_type(), data_type);
            state.clear(&[0]);
            let empty = state.evaluate(&[0]).expect("a value");
            assert!(empty.is_null(0), "{name} of {data_type}");
        }
    }
}

#[test]
fn distinct_values_of_every_type() {
    let numbers = [Some(150), Some(101), None, Some(150), Some(120), None];
    for data_type in ordered() {
        let types = [data_type.clone()];
        let distinct = NativeCall {
            distinct: true,
            ..call("count", &types)
        };
        let wide = matches!(data_type, Decimal128(..) | Decimal256(..));
        assert_eq!(native(&distinct).expect("no literal").is_none(), wide);
        if wide {
            continue;
        }
        let mut state = state(distinct, 1);
        let values = column(&numbers, &data_type);
        update(&mut *state, &[0; 5], &[values.slice(1, 5)]);
        let result = state.evaluate(&[0]).expect("a value");
        assert_eq!(*result, Int64Array::from(vec![3]), "{data_type}");
    }
}

#[test]
fn durations_are_summed_and_averaged() {
    let values = cast(&Int64Array::from(vec![7, -2, 3]), &Duration(Millisecond)).expect("cast");
    for (name, expected) in [("sum", 8), ("avg", 2)] {
        let mut state = state(call(name, &[Duration(Millisecond)]), 1);
        update(&mut *state, &[0; 3], std::slice::from_ref(&values));
        let result = state.evaluate(&[0]).expect("a value");
        let result = cast(&result, &Int64).expect("ticks");
        assert_eq!(*result, Int64Array::from(vec![expected]), "{name}");
    }
}

#[test]
fn values_of_any_type_are_kept() {
    use arrow::array::{Int32Array, StructArray};
    use arrow::datatypes::Field;
    let inner: ArrayRef = Arc::new(Int32Array::from(vec![4, 5, 6]));
    let values: ArrayRef = Arc::new(StructArray::from(vec![(
        Arc::new(Field::new("a", Int32, true)),
        inner,
    )]));
    let mut state = state(call("last_value", &[values.data_type().clone()]), 2);
    update(&mut *state, &[0, 1, 0], std::slice::from_ref(&values));
    let result = state.evaluate(&[1, 0]).expect("values");
    assert_eq!(*result, *values.slice(1, 2));
}

#[test]
fn what_is_not_native_is_left_to_the_caller() {
    let none = |call: NativeCall<'_>| native(&call).expect("no literal").is_none();
    assert!(none(call("sum", &[Decimal128(10, 2)])));
    assert!(none(call("avg", &[Int64])));
    assert!(none(call("array_agg", &[Float64])));
    assert!(none(call("median", &[Decimal64(10, 2)])));
    assert!(none(NativeCall {
        distinct: true,
        ..call("sum", &[Float64])
    }));
    // A percentile that is no literal.
    let types = [Float64, Float64];
    assert!(none(call("percentile_cont", &types)));
}
