//! Tests of all aggregates together, against plain loops and published numbers.

mod limits;
mod model;
mod properties;
mod published;
mod records;
mod types;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array};
use arrow::datatypes::DataType;

use super::registry::{Limits, NativeCall, ScalarArg, native};
use super::{AggregateFactory, AggregateState, Rows};

/// A call without any options.
fn call<'a>(name: &'a str, arg_types: &'a [DataType]) -> NativeCall<'a> {
    NativeCall {
        name,
        distinct: false,
        ignore_nulls: false,
        descending: false,
        arg_types,
        literals: &[],
        limits: Limits::default(),
    }
}

fn factory(call: NativeCall<'_>) -> Arc<dyn AggregateFactory> {
    native(&call)
        .expect("the literals are in range")
        .unwrap_or_else(|| panic!("{} is native for {:?}", call.name, call.arg_types))
}

fn state(call: NativeCall<'_>, slots: usize) -> Box<dyn AggregateState> {
    let mut state = factory(call).create().expect("its types fit");
    state.resize(slots);
    state
}

/// Adds rows whose event times are their ordinals.
fn update(state: &mut dyn AggregateState, slots: &[u32], args: &[ArrayRef]) {
    let times: Vec<i64> = (0..slots.len() as i64).collect();
    state
        .update(Rows {
            slots,
            args,
            filter: None,
            times: &times,
            first_ordinal: 0,
        })
        .expect("the rows are accepted");
}

/// The aggregate of all rows of float columns.
fn over(name: &str, columns: &[&[f64]], fraction: Option<f64>) -> Option<f64> {
    let args: Vec<ArrayRef> = columns
        .iter()
        .map(|column| Arc::new(Float64Array::from(column.to_vec())) as ArrayRef)
        .collect();
    let mut types = vec![DataType::Float64; columns.len()];
    let mut literals = vec![None; columns.len()];
    if let Some(fraction) = fraction {
        types.push(DataType::Float64);
        literals.push(Some(ScalarArg::Float(fraction)));
    }
    let call = NativeCall {
        literals: &literals,
        ..call(name, &types)
    };
    let mut state = state(call, 1);
    update(&mut *state, &vec![0; columns[0].len()], &args);
    let result = state.evaluate(&[0]).expect("a value");
    let result = result
        .as_any()
        .downcast_ref::<Float64Array>()
        .expect("a float");
    result.is_valid(0).then(|| result.value(0))
}
