//! Worked out by hand.

use arrow::array::RecordBatch;
use chrono::DateTime;
use chrono_tz::Europe::Berlin;

use super::harness::{Row, Step, records, run, spec};
use super::states::{Plain, call};
use crate::batch::Batch;
use crate::operator::{Drain, Operator, Output, WindowAggregateSpec, window_aggregate};
use crate::time::{MAX_TIME, MIN_TIME};
use crate::window::{Span, WindowKind};

const MINUTE: i64 = 60_000;

fn row(time: i64, value: f64) -> Row {
    Row {
        time: Some(time),
        name: None,
        site: 0,
        value,
    }
}

/// The bids of Flink's page on windowing table-valued functions, in minutes after
/// 08:00 on 2020-04-15: the printed tables there are the expected values.
fn bids() -> Vec<Row> {
    let bids = [
        (5, 4.0),
        (7, 2.0),
        (9, 5.0),
        (11, 3.0),
        (13, 1.0),
        (17, 6.0),
    ];
    let rows = bids.iter();
    rows.map(|&(minute, price)| row(at("2020-04-15T08:00:00Z") + minute * MINUTE, price))
        .collect()
}

fn at(text: &str) -> i64 {
    let at = DateTime::parse_from_rfc3339(text);
    at.expect("a time").timestamp_millis()
}

/// (start, end, sum) in minutes after 08:00.
fn sums(kind: WindowKind, offset: i64) -> Vec<(i64, i64, f64)> {
    let make = || window_aggregate(spec(kind, offset, 0)).expect("it fits");
    let outcome = run(make, &bids(), 0, &[Step::Push(2), Step::Drain(3)]);
    let minutes = |time: i64| (time - at("2020-04-15T08:00:00Z")) / MINUTE;
    let answers = outcome.answers.iter();
    answers
        .map(|answer| {
            let sum = answer.get("sum").parse().expect("a number");
            (minutes(answer.start), minutes(answer.end), sum)
        })
        .collect()
}

fn minutes(minutes: i64) -> Span {
    Span::Ticks(minutes * MINUTE)
}

#[test]
fn flinks_tumbling_example() {
    let kind = WindowKind::Tumble { size: minutes(10) };
    assert_eq!(sums(kind, 0), [(0, 10, 11.0), (10, 20, 10.0)]);
    // With an offset of one minute.
    assert_eq!(sums(kind, MINUTE), [(1, 11, 11.0), (11, 21, 10.0)]);
}

#[test]
fn flinks_hopping_example() {
    let kind = WindowKind::Hop {
        slide: minutes(5),
        size: minutes(10),
    };
    let expected = [(0, 10, 11.0), (5, 15, 15.0), (10, 20, 10.0), (15, 25, 6.0)];
    assert_eq!(sums(kind, 0), expected);
}

#[test]
fn flinks_cumulating_example() {
    let kind = WindowKind::Cumulate {
        step: minutes(2),
        size: minutes(10),
    };
    let expected = [
        (0, 6, 4.0),
        (0, 8, 6.0),
        (0, 10, 11.0),
        (10, 12, 3.0),
        (10, 14, 4.0),
        (10, 16, 4.0),
        (10, 18, 10.0),
        (10, 20, 10.0),
    ];
    assert_eq!(sums(kind, 0), expected);
}

fn calendar(kind: WindowKind) -> WindowAggregateSpec {
    let mut spec = spec(kind, 0, 0);
    spec.alignment.timezone = Some(Berlin);
    spec
}

/// One reading an hour, and how many each window holds.
fn hours(kind: WindowKind, from: &str, until: &str) -> Vec<(i64, i64, String)> {
    let times = (at(from)..at(until)).step_by(60 * MINUTE as usize);
    let rows: Vec<Row> = times.map(|time| row(time, 1.0)).collect();
    let make = || window_aggregate(calendar(kind)).expect("it fits");
    let outcome = run(
        make,
        &rows,
        0,
        &[Step::Push(30), Step::Drain(9), Step::Restore],
    );
    let answers = outcome.answers.iter();
    answers
        .map(|answer| (answer.start, answer.end, answer.get("count").to_string()))
        .collect()
}

#[test]
fn local_days_have_23_24_or_25_hours() {
    let kind = WindowKind::Tumble {
        size: Span::Days(1),
    };
    let spring = hours(
        kind,
        "2026-03-28T00:00:00+01:00",
        "2026-03-31T00:00:00+02:00",
    );
    let expected = [
        (
            at("2026-03-28T00:00:00+01:00"),
            at("2026-03-29T00:00:00+01:00"),
            "24".into(),
        ),
        (
            at("2026-03-29T00:00:00+01:00"),
            at("2026-03-30T00:00:00+02:00"),
            "23".into(),
        ),
        (
            at("2026-03-30T00:00:00+02:00"),
            at("2026-03-31T00:00:00+02:00"),
            "24".into(),
        ),
    ];
    assert_eq!(spring, expected);
    let kind = WindowKind::Hop {
        slide: Span::Days(1),
        size: Span::Days(2),
    };
    let autumn = hours(
        kind,
        "2026-10-25T00:00:00+02:00",
        "2026-10-27T00:00:00+01:00",
    );
    let counts: Vec<&str> = autumn.iter().map(|window| window.2.as_str()).collect();
    assert_eq!(counts, ["25", "49", "24"]);
    let kind = WindowKind::Cumulate {
        step: Span::Days(1),
        size: Span::Days(2),
    };
    // 1970-01-01 starts a pair of days; 2026-10-25 is day 20,751: the second of its pair.
    let autumn = hours(
        kind,
        "2026-10-25T00:00:00+02:00",
        "2026-10-27T00:00:00+01:00",
    );
    let counts: Vec<&str> = autumn.iter().map(|window| window.2.as_str()).collect();
    assert_eq!(counts, ["25", "24", "24"]);
}

#[test]
fn local_months_start_at_local_midnight() {
    let kind = WindowKind::Tumble {
        size: Span::Months(1),
    };
    let months = hours(kind, "2024-01-31T22:00:00Z", "2024-04-01T00:00:00+02:00");
    let expected = [
        (
            at("2024-01-01T00:00:00+01:00"),
            at("2024-02-01T00:00:00+01:00"),
            "1".into(),
        ),
        (
            at("2024-02-01T00:00:00+01:00"),
            at("2024-03-01T00:00:00+01:00"),
            (29 * 24).to_string(),
        ),
        (
            at("2024-03-01T00:00:00+01:00"),
            at("2024-04-01T00:00:00+02:00"),
            (31 * 24 - 1).to_string(),
        ),
    ];
    assert_eq!(months, expected);
}

fn operator(kind: WindowKind) -> Box<dyn Operator> {
    let mut spec = spec(kind, 0, 1);
    spec.aggregates = vec![call(Plain::Count, 3)];
    window_aggregate(spec).expect("it fits")
}

fn push(operator: &mut dyn Operator, rows: &[Row]) {
    (operator.on_batch(0, Batch::on_time(records(rows)))).expect("takes rows");
}

fn drain(operator: &mut dyn Operator, budget: usize) -> (usize, Drain) {
    let mut out = Vec::new();
    let drain = operator.drain(budget, &mut out).expect("drains");
    let rows = |output: &Output| match output {
        Output::Batch(batch) => batch.num_rows(),
        Output::Watermark(_) | Output::End => 0,
    };
    (out.iter().map(rows).sum(), drain)
}

#[test]
fn a_jump_over_fifty_years_costs_two_panes() {
    let kind = WindowKind::Hop {
        slide: Span::Ticks(1),
        size: Span::Ticks(3_000),
    };
    let mut operator = operator(kind);
    push(
        &mut *operator,
        &[row(0, 1.0), row(50 * 365 * 86_400_000, 1.0)],
    );
    assert_eq!(operator.counters().panes, 2);
    operator
        .on_watermark(0, 50 * 365 * 86_400_000)
        .expect("takes a watermark");
    assert_eq!(drain(&mut *operator, 10_000), (3_000, Drain::Done));
    assert_eq!(
        (operator.counters().panes, operator.counters().keys),
        (1, 1)
    );
}

#[test]
fn closing_stops_at_the_budget_and_can_be_saved_there() {
    let kind = WindowKind::Tumble {
        size: Span::Ticks(10),
    };
    let mut running = operator(kind);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let rows: Vec<Row> = (0..80)
        .map(|number| Row {
            name: Some(names[number as usize % 8]),
            ..row(number, 1.0)
        })
        .collect();
    push(&mut *running, &rows);
    running.on_watermark(0, 100).expect("takes a watermark");
    let mut total = 0;
    let mut rounds = 0;
    loop {
        let (rows, done) = drain(&mut *running, 3);
        assert!(rows <= 3);
        total += rows;
        rounds += 1;
        if done == Drain::Done {
            break;
        }
        let snapshot = running.save().expect("saves");
        running = operator(kind);
        running.load(&snapshot).expect("loads");
    }
    // Eight windows of eight keys each.
    assert_eq!(total, 64);
    assert!(rounds >= 21);
    assert_eq!((running.counters().keys, running.counters().panes), (0, 0));
}

#[test]
fn rows_at_the_ends_of_time_do_not_panic() {
    let kinds = [
        WindowKind::Tumble {
            size: Span::Ticks(7),
        },
        WindowKind::Hop {
            slide: Span::Ticks(3),
            size: Span::Ticks(1_000),
        },
        WindowKind::Cumulate {
            step: Span::Ticks(1),
            size: Span::Ticks(4),
        },
        WindowKind::Tumble {
            size: Span::Months(5),
        },
        WindowKind::Session { gap: 10 },
        WindowKind::Count { rows: 2, slide: 1 },
    ];
    for kind in kinds {
        let mut operator = operator(kind);
        let times = [MIN_TIME, MIN_TIME + 1, -1, 0, MAX_TIME - 1, MAX_TIME];
        let rows: Vec<Row> = times.into_iter().map(|time| row(time, 1.0)).collect();
        push(&mut *operator, &rows);
        operator
            .on_watermark(0, MAX_TIME)
            .expect("takes a watermark");
        while drain(&mut *operator, 1_000).1 == Drain::More {}
        operator.on_end(0).expect("takes the end");
        while drain(&mut *operator, 1_000).1 == Drain::More {}
        let counters = operator.counters();
        assert_eq!(counters.rows_in, counters.in_window + counters.filtered);
        assert!(counters.in_window >= 2, "{kind:?}");
        assert_eq!((counters.keys, counters.panes), (0, 0), "{kind:?}");
    }
}

#[test]
fn keys_and_states_of_closed_windows_are_used_again() {
    let kinds = [
        WindowKind::Hop {
            slide: Span::Ticks(10),
            size: Span::Ticks(25),
        },
        WindowKind::Cumulate {
            step: Span::Ticks(5),
            size: Span::Ticks(20),
        },
        WindowKind::Session { gap: 15 },
        WindowKind::Count { rows: 3, slide: 3 },
    ];
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for kind in kinds {
        let mut operator = operator(kind);
        let mut most = 0;
        for round in 0..400 {
            let rows: Vec<Row> = (0..30)
                .map(|number| Row {
                    name: Some(names[(round as usize / 3) % 8]),
                    ..row(round * 30 + number, 1.0)
                })
                .collect();
            push(&mut *operator, &rows);
            operator
                .on_watermark(0, round * 30 + 29)
                .expect("takes a watermark");
            while drain(&mut *operator, 1_000).1 == Drain::More {}
            assert!(operator.counters().keys <= 3, "{kind:?}");
            if round == 100 {
                most = operator.counters().state_bytes;
            }
        }
        assert!(operator.counters().state_bytes <= most * 2, "{kind:?}");
    }
}

#[test]
fn a_row_behind_that_does_not_say_so_is_an_error() {
    for kind in [
        WindowKind::Tumble {
            size: Span::Ticks(10),
        },
        WindowKind::Session { gap: 10 },
        WindowKind::Count { rows: 2, slide: 1 },
    ] {
        let mut operator = operator(kind);
        operator.on_watermark(0, 100).expect("takes a watermark");
        let batch: RecordBatch = records(&[row(5, 1.0)]);
        assert!(operator.on_batch(0, Batch::on_time(batch)).is_err());
    }
}

#[test]
fn specifications_that_do_not_fit_are_refused() {
    let refused = [
        WindowKind::Session { gap: 0 },
        WindowKind::Count { rows: 2, slide: 3 },
        WindowKind::Count { rows: 0, slide: 0 },
        WindowKind::Tumble {
            size: Span::Ticks(0),
        },
    ];
    for kind in refused {
        assert!(window_aggregate(spec(kind, 0, 1)).is_err(), "{kind:?}");
    }
    let kind = WindowKind::Tumble {
        size: Span::Ticks(1),
    };
    let mut no_time = spec(kind, 0, 1);
    no_time.time = 1;
    assert!(window_aggregate(no_time).is_err());
    let mut no_column = spec(kind, 0, 1);
    no_column.keys = vec![9];
    assert!(window_aggregate(no_column).is_err());
}
