//! The latest state by key against a map that is kept row by row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef};
use proptest::prelude::*;

use super::harness::{Row, records, schema};
use super::oracle::Random;
use super::panes::stream;
use crate::aggregate::AggregateCall;
use crate::aggregate::registry::{Limits, NativeCall, native};
use crate::batch::Batch;
use crate::operator::{
    Drain, KeyedAggregateSpec, KeyedTable, Operator, Output, RowFunction, keyed_aggregate,
};
use crate::snapshot::Snapshot;
use crate::time::MIN_TIME;

type Made = (Box<dyn Operator>, Arc<KeyedTable>);

fn call(name: &str) -> AggregateCall {
    let factory = native(&NativeCall {
        name,
        distinct: false,
        ignore_nulls: false,
        descending: false,
        arg_types: &[DataType::Float64],
        literals: &[None],
        limits: Limits::default(),
    });
    let factory = factory.expect("no literal").expect("there is one");
    AggregateCall {
        field: Arc::new(Field::new(name, factory.return_type(), true)),
        factory,
        args: vec![3],
        filter: None,
    }
}

/// `count`, `sum`, `max`, `first_value`, `last_value` of the value by the first `keys` of
/// name and site.
fn made(keys: usize, keys_max: usize, above: Vec<Box<dyn RowFunction>>) -> Made {
    keyed_aggregate(KeyedAggregateSpec {
        input: schema(),
        time: Some(0),
        keys: vec![1, 2][..keys].to_vec(),
        aggregates: ["count", "sum", "max", "first_value", "last_value"]
            .map(call)
            .to_vec(),
        keys_max,
        above,
    })
    .expect("the columns fit")
}

fn row(time: i64, name: &'static str, value: f64) -> Row {
    Row {
        time: Some(time),
        name: Some(name),
        site: 0,
        value,
    }
}

fn push(made: &mut Made, rows: &[Row]) -> crate::error::Result<()> {
    made.0.on_batch(0, Batch::on_time(records(rows)))
}

/// What a key's rows give.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    name: Option<String>,
    site: Option<i64>,
    count: i64,
    sum: f64,
    max: f64,
    first: f64,
    last: f64,
}

fn read(table: &KeyedTable, keys: usize) -> Vec<Held> {
    let mut held = Vec::new();
    for batch in table.batches().expect("values are there") {
        let float = |place: usize| batch.column(keys + place).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let name = (keys > 0).then(|| batch.column(0).as_string::<i32>());
            let site = (keys > 1).then(|| batch.column(1).as_primitive::<Int64Type>());
            held.push(Held {
                name: name
                    .filter(|name| name.is_valid(row))
                    .map(|name| name.value(row).into()),
                site: site.map(|site| site.value(row)),
                count: batch.column(keys).as_primitive::<Int64Type>().value(row),
                sum: float(1).value(row),
                max: float(2).value(row),
                first: float(3).value(row),
                last: float(4).value(row),
            });
        }
    }
    held
}

/// The same, one row after the other, keys in the order in which they come.
fn expected(rows: &[Row], keys: usize) -> Vec<Held> {
    let mut held: Vec<(Held, i64, i64)> = Vec::new();
    for row in rows {
        let name = row.name.filter(|_| keys > 0).map(str::to_string);
        let site = (keys > 1).then_some(row.site);
        let (time, value) = (row.time.unwrap_or(MIN_TIME), row.value);
        let known = held
            .iter_mut()
            .find(|(held, _, _)| held.name == name && held.site == site);
        match known {
            None => {
                let new = Held {
                    name,
                    site,
                    count: 1,
                    sum: value,
                    max: value,
                    first: value,
                    last: value,
                };
                held.push((new, time, time));
            }
            Some((held, earliest, latest)) => {
                held.count += 1;
                held.sum += value;
                held.max = held.max.max(value);
                if time < *earliest {
                    (held.first, *earliest) = (value, time);
                }
                if time >= *latest {
                    (held.last, *latest) = (value, time);
                }
            }
        }
    }
    held.into_iter().map(|(held, _, _)| held).collect()
}

fn restored(mut made: Made, fresh: Made) -> Made {
    let saved = made.0.save().expect("saves").encode().expect("encodes");
    let snapshot = Snapshot::decode(&saved).expect("decodes");
    let mut fresh = fresh;
    fresh.0.load(&snapshot).expect("loads");
    let counters = fresh.0.counters();
    assert_eq!(counters.keys, made.0.counters().keys);
    assert_eq!(counters.rows_in, made.0.counters().rows_in);
    fresh
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_table_is_what_all_rows_so_far_give(seed in any::<u64>(), keys in 0..3_usize) {
        let mut random = Random(seed);
        let rows = stream(&mut random, 200);
        let mut made_so_far = made(keys, 100, Vec::new());
        let mut next = 0;
        while next < rows.len() {
            let until = rows.len().min(next + random.within(1, 30) as usize);
            push(&mut made_so_far, &rows[next..until]).expect("few keys");
            next = until;
            if random.within(0, 3) == 0 {
                made_so_far = restored(made_so_far, made(keys, 100, Vec::new()));
            }
            if random.within(0, 1) == 0 {
                prop_assert_eq!(read(&made_so_far.1, keys), expected(&rows[..next], keys));
            }
        }
        if !rows.is_empty() {
            prop_assert_eq!(read(&made_so_far.1, keys), expected(&rows, keys));
        }
        let counters = made_so_far.0.counters();
        prop_assert_eq!(counters.in_window, rows.len() as u64);
        prop_assert_eq!(counters.late, 0);
    }
}

#[test]
fn the_last_of_equal_times_is_the_last_to_arrive() {
    let mut made = made(1, 10, Vec::new());
    push(&mut made, &[row(5, "a", 1.0), row(5, "a", 2.0)]).expect("few keys");
    push(&mut made, &[row(5, "a", 3.0), row(4, "a", 9.0)]).expect("few keys");
    let held = read(&made.1, 1);
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].first, held[0].last), (9.0, 3.0));
    assert_eq!((held[0].count, held[0].sum, held[0].max), (4, 15.0, 9.0));
}

#[test]
fn without_keys_there_is_one_row_before_any_comes() {
    let (_, table) = made(0, 1, Vec::new());
    let batches = table.batches().expect("it counts nothing");
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].num_rows(), 1);
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 0);
    assert!(batches[0].column(4).is_null(0));
}

#[test]
fn a_batch_with_a_key_too_many_is_refused_whole() {
    let mut made = made(1, 2, Vec::new());
    push(&mut made, &[row(1, "a", 1.0)]).expect("one key");
    let before = read(&made.1, 1);
    let rows = [row(2, "a", 2.0), row(2, "b", 2.0), row(2, "c", 2.0)];
    let error = push(&mut made, &rows).expect_err("three keys");
    assert_eq!(
        error.to_string(),
        "the latest state by key needs more than 2 keys; raise max_keys"
    );
    assert_eq!(read(&made.1, 1), before);
}

#[test]
fn a_snapshot_without_states_is_refused() {
    let mut whole = made(1, 10, Vec::new());
    push(&mut whole, &[row(1, "a", 1.0), row(2, "b", 2.0)]).expect("few keys");
    let mut snapshot = whole.0.save().expect("saves");
    snapshot.tables.remove("slots");
    let mut fresh = made(1, 10, Vec::new());
    let error = fresh.0.load(&snapshot).expect_err("its counts are gone");
    assert!(error.to_string().contains("no table"), "{error}");
}

#[test]
fn the_end_and_watermarks_are_passed_on_and_no_rows() {
    let mut made = made(1, 2, Vec::new());
    push(&mut made, &[row(1, "a", 1.0)]).expect("one key");
    made.0.on_watermark(0, 7).expect("it takes it");
    made.0.on_end(0).expect("it takes it");
    let mut out = Vec::new();
    assert_eq!(made.0.drain(10, &mut out).expect("drains"), Drain::Done);
    assert!(matches!(out[..], [Output::Watermark(7), Output::End]));
}

/// Keeps rows with a count above one, and fails on a value that is asked for.
#[derive(Debug)]
struct Above {
    schema: SchemaRef,
    fails: bool,
}

impl RowFunction for Above {
    fn name(&self) -> &str {
        "Filter"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn apply(&mut self, batch: Batch) -> crate::error::Result<Batch> {
        if self.fails {
            return Err(crate::error::Error::invalid("no such luck"));
        }
        let counts = batch.records.column(1).as_primitive::<Int64Type>();
        let mask: BooleanArray = counts.iter().map(|n| n.map(|n| n > 1)).collect();
        batch.filter(&mask)
    }
}

#[test]
fn what_stands_above_is_applied_to_each_reading() {
    for fails in [false, true] {
        let (_, plain) = made(1, 10, Vec::new());
        let schema = plain.schema();
        let mut made = made(1, 10, vec![Box::new(Above { schema, fails })]);
        push(&mut made, &[row(1, "a", 1.0), row(1, "b", 1.0)]).expect("few keys");
        push(&mut made, &[row(2, "b", 2.0)]).expect("few keys");
        if fails {
            let error = made.1.batches().expect_err("it fails");
            assert_eq!(error.to_string(), "no such luck");
            continue;
        }
        let names: Vec<_> = read(&made.1, 1).into_iter().map(|it| it.name).collect();
        assert_eq!(names, [Some("b".to_string())]);
    }
}

#[test]
fn a_reader_sees_all_of_a_batch_or_none() {
    // Each batch has a row of every key, more keys than are evaluated at a time.
    const KEYS: i64 = 5_000;
    let batch = |number: usize| -> RecordBatch {
        let rows: Vec<Row> = (0..KEYS)
            .map(|site| Row {
                site,
                ..row(number as i64, "a", number as f64)
            })
            .collect();
        records(&rows)
    };
    let (mut operator, table) = made(2, KEYS as usize, Vec::new());
    let batches = 40;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut seen = Vec::new();
            while seen.last() != Some(&batches) {
                let read = table.batches().expect("values are there");
                let counts: Vec<ArrayRef> = read.iter().map(|it| it.column(2).clone()).collect();
                let counts: Vec<i64> = (counts.iter())
                    .flat_map(|it| it.as_primitive::<Int64Type>().values().to_vec())
                    .collect();
                assert!(counts.is_empty() || counts.len() == KEYS as usize);
                let first = counts.first().copied().unwrap_or(0);
                assert!(counts.iter().all(|count| *count == first));
                let lasts = read
                    .iter()
                    .map(|it| it.column(6).as_primitive::<Float64Type>());
                let is_last = |values: &Float64Array| {
                    values.values().iter().all(|it| *it == (first - 1) as f64)
                };
                assert!(lasts.into_iter().all(is_last));
                assert!(seen.last().is_none_or(|last| *last <= first));
                seen.push(first);
            }
            seen
        });
        for number in 0..batches as usize {
            (operator.on_batch(0, Batch::on_time(batch(number)))).expect("few keys");
        }
        let seen = reader.join().expect("it saw whole batches");
        assert_eq!(seen.last(), Some(&batches));
    });
}
