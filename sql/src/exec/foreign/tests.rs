//! What aggregates without a state of our own are taken to hold.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{PhysicalSortExpr, col};
use windrow_core::aggregate::{AggregateFactory, AggregateState, Rows};

use super::{Accumulators, ForeignAggregate, SMALL_BYTES};

const SLOTS: usize = 50;

fn factory(function: Arc<AggregateUDF>, is_ordered: bool) -> ForeignAggregate {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let v = || col("v", &schema).expect("it is there");
    let order = match is_ordered {
        true => vec![PhysicalSortExpr::new_default(v())],
        false => vec![],
    };
    let call = AggregateExprBuilder::new(function, vec![v()])
        .schema(schema.clone())
        .alias("a")
        .order_by(order)
        .build()
        .expect("it fits");
    ForeignAggregate::new(Arc::new(call))
}

/// Row `i` goes to slot `i` modulo the number of slots.
fn update(state: &mut dyn AggregateState, rows: usize, columns: usize) {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let slots: Vec<u32> = (0..rows).map(|row| (row % SLOTS) as u32).collect();
    let rows = Rows {
        slots: &slots,
        args: &vec![values; columns],
        filter: None,
        times: &vec![0; rows],
        first_ordinal: 0,
    };
    state.update(rows).expect("it fits");
}

#[test]
fn the_size_of_states_is_known_without_measuring_each() {
    let expr = |function| factory(function, false).expr;
    for function in [array_agg_udaf(), sum_udaf()] {
        let mut state = Accumulators {
            expr: expr(function),
            slots: Vec::new(),
            sizes: Vec::new(),
            bytes: 0,
        };
        let measured = |state: &Accumulators| -> usize {
            state.slots.iter().map(super::Slot::heap_bytes).sum()
        };
        let check = |state: &Accumulators| {
            let measured = measured(state);
            let small = SMALL_BYTES * state.slots.len();
            let taken = measured * 2 / 3..=measured * 3 / 2 + small;
            assert!(
                taken.contains(&state.bytes),
                "{} of {measured}",
                state.bytes
            );
        };
        state.resize(2 * SLOTS);
        for round in 0..200 {
            update(&mut state, 1 + round * 7 % 300, 1);
            check(&state);
        }
        let (first, second): (Vec<u32>, Vec<u32>) = (0..SLOTS as u32)
            .map(|slot| (slot, SLOTS as u32 + slot))
            .unzip();
        // Into empty slots, and into others.
        state.merge(&second, &first).expect("it fits");
        check(&state);
        state.merge(&second, &first).expect("it fits");
        check(&state);
        state.clear(&first);
        check(&state);
        assert_ne!(state.bytes, 0);
        state.clear(&second);
        assert_eq!(state.bytes, 0);
    }
}

#[test]
fn rows_that_wait_for_their_order_are_counted_once_in_each_slot() {
    let factory = factory(array_agg_udaf(), true);
    let mut state = factory.create().expect("it has states");
    state.resize(2 * SLOTS);
    let empty = state.state_bytes();
    for _ in 0..20 {
        update(&mut *state, 5_000, 2);
    }
    // Two columns of 100,000 integers.
    let held = state.state_bytes() - empty;
    assert!((1_600_000..3_200_000).contains(&held), "{held}");
    let (first, second): (Vec<u32>, Vec<u32>) = (0..SLOTS as u32)
        .map(|slot| (slot, SLOTS as u32 + slot))
        .unzip();
    state.merge(&second, &first).expect("it fits");
    assert_eq!(state.state_bytes() - empty, 2 * held);
    state.clear(&first);
    state.clear(&second);
    assert_eq!(state.state_bytes(), empty);
}
