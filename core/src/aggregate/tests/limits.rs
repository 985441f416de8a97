//! Limits, and snapshots that do not fit.

use super::*;
use crate::error::Error;
use arrow::array::{Int64Array, StringArray};

#[test]
fn values_are_held_up_to_a_named_limit() {
    let limits = Limits {
        percentile_values_max: 10,
        distinct_values_max: 3,
    };
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0]));
    let rows = |slots: &'static [u32], args: &'static [ArrayRef]| Rows {
        slots,
        args,
        filter: None,
        times: &[0; 4],
        first_ordinal: 0,
    };
    let args: &'static [ArrayRef] = Box::leak(Box::new([values]));
    let types = [DataType::Float64];
    let median = NativeCall {
        limits,
        ..call("median", &types)
    };
    let mut state = state(median, 4);
    state.update(rows(&[0; 4], args)).expect("four values");
    state.merge(&[1], &[0]).expect("eight values");
    let error = state.merge(&[2], &[0]).expect_err("twelve values");
    assert_eq!(
        error.to_string(),
        "median() needs more than 10 values in its windows; shorten the windows, or use \
         approx_percentile_cont()"
    );
    // What is cleared is not held any more.
    state.clear(&[1, 2]);
    state.merge(&[1], &[0]).expect("eight values");
    let distinct = NativeCall {
        distinct: true,
        limits,
        ..call("count", &types)
    };
    let mut state = super::state(distinct, 1);
    let error = state.update(rows(&[0; 4], args)).expect_err("four values");
    assert!(matches!(
        error,
        Error::Bound {
            remedy: "shorten the windows, or use approx_distinct()",
            ..
        }
    ));
}

#[test]
fn a_fraction_lies_between_0_and_1() {
    let types = [DataType::Float64, DataType::Float64];
    let literals = [None, Some(ScalarArg::Float(95.0))];
    let error = native(&NativeCall {
        literals: &literals,
        ..call("percentile_cont", &types)
    })
    .expect_err("95 is too much");
    assert_eq!(
        error.to_string(),
        "the fraction of percentile_cont() must lie between 0 and 1, not 95"
    );
}

#[test]
fn foreign_columns_are_refused() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let types = [DataType::Float64];
    let names = [
        "count",
        "sum",
        "avg",
        "min",
        "var",
        "median",
        "approx_median",
        "first_value",
        "approx_distinct",
    ];
    for name in names {
        for columns in [
            vec![],
            vec![text.clone()],
            vec![text.clone(); 4],
            vec![number.clone(); 2],
        ] {
            let mut state = state(call(name, &types), 1);
            let error = state
                .load(&[0], &columns)
                .expect_err("columns of another state");
            assert!(matches!(error, Error::Snapshot(_)), "{name}: {error}");
        }
    }
}

#[test]
fn heap_memory_is_accounted_for_and_freed() {
    let values: Vec<f64> = (0..5_000).map(f64::from).collect();
    let text: StringArray = (0..5_000).map(|i| Some(format!("sensor {i}"))).collect();
    let floats: ArrayRef = Arc::new(Float64Array::from(values));
    let text: ArrayRef = Arc::new(text);
    for (name, distinct, column, at_least) in [
        ("median", false, &floats, 40_000),
        ("approx_median", false, &floats, 500),
        ("count", true, &floats, 40_000),
        ("count", true, &text, 5_000 * 16 + 5_000 * 8),
        ("approx_distinct", false, &text, 16_384),
        ("max", false, &text, 11),
        ("last_value", false, &text, 11),
    ] {
        let types = [column.data_type().clone()];
        let mut state = state(
            NativeCall {
                distinct,
                ..call(name, &types)
            },
            2,
        );
        let empty = state.state_bytes();
        update(&mut *state, &[0; 5_000], std::slice::from_ref(column));
        state.merge(&[1], &[0]).expect("merged");
        assert!(state.state_bytes() >= empty + 2 * at_least, "{name}");
        state.clear(&[0, 1]);
        assert!(state.state_bytes() <= empty + 64, "{name}");
    }
}
