//! A stream in small: rows with the watermark at which each arrives, batches that say
//! so only when a row lies behind, and an operator that is drained, saved and restored
//! as a script says.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::states::{Plain, call};
use crate::batch::{Batch, Behind};
use crate::operator::{Counters, Drain, Operator, Output, WindowAggregateSpec, WindowRowsSpec};
use crate::snapshot::Snapshot;
use crate::time::{MAX_TIME, MIN_TIME, WINDOW_END, WINDOW_START, WINDOW_TIME, ticks};
use crate::window::{Alignment, WindowKind};

/// A reading: event time, two keys, a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) time: Option<i64>,
    pub(crate) name: Option<&'static str>,
    pub(crate) site: i64,
    pub(crate) value: f64,
}

/// The watermark before each row: the greatest time of the rows before it, less the
/// bound.
pub(crate) fn watermarks(rows: &[Row], bound: i64) -> Vec<i64> {
    let mut greatest = None;
    let mut watermarks = Vec::new();
    for row in rows {
        watermarks.push(greatest.map_or(MIN_TIME, |greatest: i64| greatest.saturating_sub(bound)));
        greatest = greatest.max(row.time);
    }
    watermarks
}

pub(crate) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("ts", time, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("site", DataType::Int64, false),
        Field::new("value", DataType::Float64, false),
    ]))
}

pub(crate) fn records(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter(
            rows.iter().map(|row| row.time),
        )),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.name))),
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|row| row.site),
        )),
        Arc::new(Float64Array::from_iter_values(
            rows.iter().map(|row| row.value),
        )),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns fit")
}

/// The aggregation that most tests use, by the first `keys` of name and site.
pub(crate) fn spec(kind: WindowKind, offset: i64, keys: usize) -> WindowAggregateSpec {
    WindowAggregateSpec {
        input: schema(),
        time: 0,
        keys: vec![1, 2][..keys].to_vec(),
        partition_keys: keys,
        kind,
        alignment: Alignment {
            offset,
            timezone: None,
        },
        aggregates: vec![
            call(Plain::Count, 3),
            call(Plain::Sum, 3),
            call(Plain::Max, 3),
            call(Plain::List, 3),
            call(Plain::First, 3),
        ],
    }
}

/// Rows with their windows, partitioned by the first `keys` of name and site.
pub(crate) fn rows_spec(kind: WindowKind, offset: i64, keys: usize) -> WindowRowsSpec {
    let spec = spec(kind, offset, keys);
    WindowRowsSpec {
        input: spec.input,
        time: spec.time,
        partition_keys: spec.keys,
        kind,
        alignment: spec.alignment,
    }
}

/// A row of a result, as text but for its window.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(crate) struct Answer {
    pub(crate) end: i64,
    pub(crate) start: i64,
    pub(crate) time: i64,
    /// The other columns by name.
    pub(crate) columns: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.columns.iter().find(|(column, _)| column == name);
        &found.expect("the column is there").1
    }
}

fn answers(records: &RecordBatch) -> Vec<Answer> {
    let schema = records.schema();
    let options = FormatOptions::default().with_null("∅");
    let window = |name: &str| {
        // Rows around rows have no window but their time.
        let column = records.column_by_name(name);
        let column = column.unwrap_or_else(|| records.column(0));
        ticks(column).expect("a time").0.clone()
    };
    let (starts, ends, times) = (
        window(WINDOW_START),
        window(WINDOW_END),
        window(WINDOW_TIME),
    );
    (0..records.num_rows())
        .map(|row| Answer {
            end: ends[row],
            start: starts[row],
            time: times[row],
            columns: (schema.fields().iter().zip(records.columns()))
                .filter(|(field, _)| !field.name().starts_with("window_"))
                .map(|(field, column)| {
                    let text = ArrayFormatter::try_new(column, &options).expect("it prints");
                    (field.name().clone(), text.value(row).to_string())
                })
                .collect(),
        })
        .collect()
}

/// What a run does between its events.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Pushes the next so many rows and the watermark after them.
    Push(usize),
    /// Drains until done, by this budget.
    Drain(usize),
    /// Drains once.
    DrainOnce(usize),
    /// Saves, encodes, decodes and loads into a fresh operator.
    Restore,
}

/// All that came out of a run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) answers: Vec<Answer>,
    /// Whole late rows, by value, and how late they were.
    pub(crate) late: Vec<(f64, i64)>,
    pub(crate) counters: Counters,
}

/// Runs an operator over rows as the steps say; what the steps leave is pushed at
/// once, then the stream ends.
pub(crate) fn run(
    make: impl Fn() -> Box<dyn Operator>,
    rows: &[Row],
    bound: i64,
    steps: &[Step],
) -> Outcome {
    let mut run = Run {
        operator: make(),
        outcome: Outcome::default(),
        promised: MIN_TIME,
        ended: false,
        ending: false,
        last: None,
    };
    let watermarks = watermarks(rows, bound);
    let mut next = 0;
    let rest = [Step::Push(rows.len()), Step::Drain(1_000)];
    for step in steps.iter().chain(&rest) {
        match *step {
            Step::Push(count) => {
                let until = rows.len().min(next + count);
                run.push(&rows[next..until], &watermarks[next..until]);
                next = until;
                let greatest = rows[..next].iter().filter_map(|row| row.time).max();
                if let Some(greatest) = greatest {
                    let watermark = greatest.saturating_sub(bound);
                    (run.operator.on_watermark(0, watermark)).expect("takes a watermark");
                }
            }
            Step::Drain(budget) => while run.drain(budget) == Drain::More {},
            Step::DrainOnce(budget) => {
                run.drain(budget);
            }
            Step::Restore => {
                let bytes = run
                    .operator
                    .save()
                    .expect("saves")
                    .encode()
                    .expect("encodes");
                let before = run.operator.counters();
                run.operator = make();
                let snapshot = Snapshot::decode(&bytes).expect("decodes");
                run.operator.load(&snapshot).expect("loads");
                let after = run.operator.counters();
                let same = |counters: Counters| Counters {
                    state_bytes: 0,
                    panes: 0,
                    ..counters
                };
                assert_eq!(same(before), same(after));
            }
        }
        run.take_late();
    }
    run.ending = true;
    let (open, given) = (
        run.operator.counters().open_windows,
        run.outcome.answers.len(),
    );
    run.operator.on_end(0).expect("takes the end");
    while run.drain(7) == Drain::More {}
    assert!(run.ended, "the end is passed on");
    if run.operator.name() == "WindowAggregate" {
        let windows =
            (run.outcome.answers[given..].iter()).map(|answer| (answer.start, answer.end));
        let windows: BTreeSet<_> = windows.collect();
        assert_eq!(open, windows.len() as u64, "the end closes what is open");
    }
    let counters = run.operator.counters();
    let left = (counters.keys, counters.panes, counters.open_windows);
    assert_eq!(left, (0, 0, 0), "nothing is left");
    run.outcome.counters = Counters {
        state_bytes: 0,
        ..counters
    };
    assert_eq!(counters.rows_out, run.outcome.answers.len() as u64);
    run.outcome
}

struct Run {
    operator: Box<dyn Operator>,
    outcome: Outcome,
    promised: i64,
    ended: bool,
    ending: bool,
    last: Option<(i64, i64)>,
}

impl Run {
    fn push(&mut self, rows: &[Row], watermarks: &[i64]) {
        let mut batch = Batch::on_time(records(rows));
        let is_behind = |(row, &watermark): (&Row, &i64)| row.time.is_some_and(|t| t < watermark);
        if rows.iter().zip(watermarks).any(is_behind) {
            // The source holds the rows in another order and with other columns.
            let source: Vec<Row> = rows.iter().rev().cloned().collect();
            let places = (0..rows.len() as u32).rev();
            batch.behind = Some(Box::new(Behind {
                watermarks: watermarks.to_vec().into(),
                source_rows: UInt32Array::from_iter_values(places),
                stream: "readings".into(),
                source: records(&source).project(&[3, 0]).expect("two columns"),
            }));
        }
        self.operator.on_batch(0, batch).expect("takes rows");
        let counters = self.operator.counters();
        assert_eq!(
            counters.rows_in,
            counters.in_window + counters.late + counters.filtered,
            "every row is accounted for"
        );
    }

    fn drain(&mut self, budget: usize) -> Drain {
        let mut out = Vec::new();
        let drain = self.operator.drain(budget, &mut out).expect("drains");
        let mut given = 0;
        for output in out {
            assert!(!self.ended, "nothing follows the end");
            match output {
                Output::Batch(batch) => {
                    given += batch.num_rows();
                    assert_eq!(batch.records.schema(), self.operator.schema());
                    for answer in answers(&batch.records) {
                        assert!(
                            answer.time >= self.promised || batch.behind.is_some(),
                            "{answer:?} was promised not to come after {}",
                            self.promised
                        );
                        let place = (answer.end, answer.start);
                        match self.operator.name() {
                            "WindowRows" => {}
                            // A partition's last window may have ended long before.
                            "CountAggregate" | "CountRows" => {
                                let in_order = self.last.is_none_or(|last| last.0 <= place.0);
                                assert!(self.ending || in_order, "in order of ends");
                            }
                            _ => assert!(self.last.is_none_or(|last| last <= place), "in order"),
                        }
                        self.last = Some(place);
                        self.outcome.answers.push(answer);
                    }
                }
                Output::Watermark(watermark) => {
                    assert!(watermark >= self.promised && watermark < MAX_TIME);
                    self.promised = watermark;
                }
                Output::End => self.ended = true,
            }
        }
        assert!(
            given <= budget,
            "{given} rows exceed the budget of {budget}"
        );
        drain
    }

    fn take_late(&mut self) {
        for late in self.operator.take_late() {
            assert_eq!(&*late.stream, "readings");
            let values = late.rows.column(0);
            let values =
                arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(values);
            assert_eq!(values.len(), late.late_by.len());
            (self.outcome.late).extend(values.values().iter().copied().zip(late.late_by));
        }
    }
}
