//! Snapshots that lack something, whatever it is, taken over by an engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use super::*;
use crate::aggregate::AggregateCall;
use crate::aggregate::registry::{Limits, NativeCall, native};
use crate::error::{Error, Result};
use crate::operator::{
    KeyedAggregateSpec, Operator, WindowAggregateSpec, WindowRowsSpec, keyed_aggregate,
    window_aggregate, window_rows,
};
use crate::snapshot::Snapshot;
use crate::window::{Alignment, Span, WindowKind};

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("ts", time, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("value", DataType::Float64, true),
    ]))
}

fn readings(rows: &[(i64, &str, f64)]) -> RecordBatch {
    let times = rows.iter().map(|row| row.0);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(times)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    RecordBatch::try_new(schema(), columns).expect("three columns")
}

/// Values from 100 on are rejected.
#[derive(Debug)]
struct Below100;

impl Prepare for Below100 {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn prepare(&mut self, records: &RecordBatch) -> Result<Prepared> {
        let values: &Float64Array = records.column(2).as_any().downcast_ref().expect("floats");
        let broken = (values.values().iter().enumerate()).filter(|(_, value)| **value >= 100.0);
        let violations = broken.map(|(row, _)| Violation {
            row,
            rule: "below 100".into(),
            reason: "it is too large".into(),
        });
        Ok(Prepared {
            records: records.clone(),
            violations: violations.collect(),
        })
    }

    fn describe(&self, _: &RecordBatch, row: usize) -> String {
        row.to_string()
    }
}

fn calls() -> Vec<AggregateCall> {
    let call = |name: &str| {
        let factory = native(&NativeCall {
            name,
            distinct: false,
            ignore_nulls: false,
            descending: false,
            arg_types: &[DataType::Float64],
            literals: &[None],
            limits: Limits::default(),
        });
        let factory = factory.expect("it fits").expect("it is native");
        AggregateCall {
            field: Arc::new(Field::new(name, factory.return_type(), true)),
            factory,
            args: vec![2],
            filter: None,
        }
    };
    ["count", "sum", "max", "stddev", "last_value"]
        .map(call)
        .to_vec()
}

fn windowed(kind: WindowKind) -> Box<dyn Operator> {
    let spec = WindowAggregateSpec {
        input: schema(),
        time: 0,
        keys: vec![1],
        partition_keys: 1,
        kind,
        alignment: Alignment {
            offset: 0,
            timezone: None,
        },
        aggregates: calls(),
    };
    window_aggregate(spec).expect("it fits")
}

fn rows_of(kind: WindowKind) -> Box<dyn Operator> {
    let spec = WindowRowsSpec {
        input: schema(),
        time: 0,
        partition_keys: vec![1],
        kind,
        alignment: Alignment {
            offset: 0,
            timezone: None,
        },
    };
    window_rows(spec).expect("it fits")
}

/// An engine with a query of each kind over one stream.
fn engine() -> (Engine, StreamId) {
    let config = EngineConfig {
        workers: 1,
        ..EngineConfig::default()
    };
    let mut engine = Engine::new(config, Arc::new(AtomicBool::new(false))).expect("threads");
    let spec = StreamSpec {
        name: "readings".into(),
        prepare: Box::new(Below100),
        event_time: Some(EventTime {
            column: 0,
            bound: 5,
        }),
        live: None,
        partitions: 1,
        on_error: OnError::Keep,
        expect: Some(Expect {
            every: 10,
            keys: vec![1],
        }),
    };
    let stream = engine.add_stream(spec, 0).expect("a stream");
    let ticks = Span::Ticks;
    let hop = |slide, size| WindowKind::Hop {
        slide: ticks(slide),
        size: ticks(size),
    };
    let session = WindowKind::Session { gap: 15 };
    let counted = WindowKind::Count { rows: 3, slide: 2 };
    let (keyed, table) = keyed_aggregate(KeyedAggregateSpec {
        input: schema(),
        time: Some(0),
        keys: vec![1],
        aggregates: calls(),
        keys_max: 100,
        above: Vec::new(),
    })
    .expect("it fits");
    let operators: Vec<(&str, Box<dyn Operator>)> = vec![
        ("tumble", windowed(WindowKind::Tumble { size: ticks(20) })),
        ("hop", windowed(hop(10, 35))),
        ("halved", windowed(hop(2, 50))),
        (
            "cumulate",
            windowed(WindowKind::Cumulate {
                step: ticks(5),
                size: ticks(40),
            }),
        ),
        ("session", windowed(session)),
        ("counted", windowed(counted)),
        ("hop rows", rows_of(hop(10, 35))),
        ("session rows", rows_of(session)),
        ("counted rows", rows_of(counted)),
        ("keyed", keyed),
    ];
    for (name, operator) in operators {
        let view = match name {
            "keyed" => View::of_table(table.clone()),
            _ => View::new(operator.schema(), 1 << 20),
        };
        let step = Step {
            operator,
            inputs: vec![Input::Stream(stream)],
            is_window: true,
        };
        let spec = QuerySpec {
            name: name.into(),
            steps: vec![step],
            view: Some(Arc::new(view)),
            sinks: Vec::new(),
        };
        engine.attach(spec).expect("attaches");
    }
    (engine, stream)
}

fn push(engine: &mut Engine, stream: StreamId, rows: &[(i64, &str, f64)]) {
    (engine.push(stream, 0, &readings(rows), Vec::new(), 0, 0)).expect("the stream goes on");
}

/// The state of an engine that has open windows, late rows and rejects.
fn saved() -> Snapshot {
    let (mut engine, stream) = engine();
    for at in (0..8).map(|round| round * 13) {
        let rows = [
            (at, "a", 1.0 + at as f64),
            (at + 3, "b", 2.5),
            (at + 2, "c", -0.5),
            (at - 30, "a", 7.0),
            (at + 9, "d", 500.0),
            (at - 12, "b", 0.25),
        ];
        push(&mut engine, stream, &rows);
    }
    engine.save().expect("saves")
}

/// Takes a snapshot over and goes on to the end; the first internal error that is met.
fn internal_error(snapshot: &Snapshot) -> Option<String> {
    let (mut engine, stream) = engine();
    let is_internal = |error: &Error| matches!(error, Error::Panic { .. });
    if let Err(error) = engine.load(snapshot, 0) {
        return is_internal(&error).then(|| error.to_string());
    }
    engine.resume();
    if engine.stream_stats(stream).is_ok_and(|stats| !stats.ended) {
        let rows = [(110, "a", 1.0), (90, "e", 2.0), (400, "b", 1.0)];
        push(&mut engine, stream, &rows);
        engine.end_stream(stream).expect("it ends");
    }
    (engine.all_query_stats().into_iter()).find_map(|(_, stats)| match stats.status {
        QueryStatus::Failed(error) if is_internal(&error) => Some(error.to_string()),
        _ => None,
    })
}

/// A table with other columns.
fn with_columns(table: &RecordBatch, columns: Vec<(FieldRef, ArrayRef)>) -> RecordBatch {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let schema = Schema::new(fields).with_metadata(table.schema().metadata().clone());
    let options = RecordBatchOptions::new().with_row_count(Some(table.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).expect("they fit")
}

/// A table with one thing missing, for each thing that may be.
fn damaged_tables(table: &RecordBatch) -> Vec<(&'static str, RecordBatch)> {
    let schema = table.schema();
    let fields = schema.fields().iter().cloned();
    let columns: Vec<(FieldRef, ArrayRef)> = fields.zip(table.columns().to_vec()).collect();
    let mut others = vec![("has no columns", with_columns(table, Vec::new()))];
    if table.num_rows() > 0 {
        let rows = table.num_rows() - 1;
        others.push(("has no rows", table.slice(0, 0)));
        others.push(("lacks its first row", table.slice(1, rows)));
        others.push(("lacks its last row", table.slice(0, rows)));
    }
    for at in 0..columns.len() {
        let with = |new: Option<DataType>| {
            let mut columns = columns.clone();
            match new {
                None => drop(columns.remove(at)),
                Some(data_type) => {
                    let (field, column) = &mut columns[at];
                    *column = new_null_array(&data_type, table.num_rows());
                    let new = field.as_ref().clone().with_data_type(data_type);
                    *field = Arc::new(new.with_nullable(true));
                }
            }
            with_columns(table, columns)
        };
        others.push(("lacks a column", with(None)));
        others.push((
            "lacks the values of a column",
            with(Some(columns[at].0.data_type().clone())),
        ));
        others.push(("lacks the type of a column", with(Some(DataType::Null))));
    }
    others
}

/// Calls `each` with a snapshot that lacks one thing, for each thing that there is.
fn damaged(whole: &Snapshot, path: &str, each: &mut dyn FnMut(&str, &Snapshot)) {
    let mut changed = |what: String, change: &dyn Fn(&mut Snapshot)| {
        let mut other = whole.clone();
        change(&mut other);
        each(&what, &other);
    };
    for name in whole.numbers.keys() {
        for number in [i64::MIN, -1, 0, 1 << 20, i64::MAX] {
            changed(format!("{path}/{name} is {number}"), &|other| {
                other.numbers.insert(name.clone(), number);
            });
        }
    }
    for (name, table) in &whole.tables {
        for (what, table) in damaged_tables(table) {
            changed(format!("{path}/{name} {what}"), &|other| {
                other.tables.insert(name.clone(), table.clone());
            });
        }
    }
    for name in whole
        .numbers
        .keys()
        .chain(whole.tables.keys())
        .chain(whole.parts.keys())
    {
        changed(format!("{path}/{name} is missing"), &|other| {
            other.numbers.remove(name);
            other.tables.remove(name);
            other.parts.remove(name);
        });
    }
    for (name, part) in &whole.parts {
        damaged(part, &format!("{path}/{name}"), &mut |what, part| {
            let mut other = whole.clone();
            other.parts.insert(name.clone(), part.clone());
            each(what, &other);
        });
    }
}

#[test]
fn a_snapshot_that_lacks_something_gives_an_error_and_no_panic() {
    let whole = saved();
    assert_eq!(internal_error(&whole), None);
    let mut found = Vec::new();
    damaged(&whole, "", &mut |what, snapshot| {
        let met = catch_unwind(AssertUnwindSafe(|| internal_error(snapshot)));
        let met = met.unwrap_or_else(|_| Some("a panic".into()));
        found.extend(met.map(|met| format!("{what}: {met}")));
    });
    assert!(found.is_empty(), "{found:#?}");
}
