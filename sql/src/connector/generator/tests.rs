//! What the options promise, counted in the rows.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use windrow_core::stream::{Source, SourceEvent};

use super::*;

fn options(rows: u64) -> GeneratorOptions {
    GeneratorOptions {
        rows: Some(rows),
        batch_rows: 8_192,
        ..GeneratorOptions::default()
    }
}

fn messy(rows: u64) -> GeneratorOptions {
    GeneratorOptions {
        disorder: Duration::from_millis(700),
        loss: 0.05,
        duplicates: 0.04,
        spikes: 0.03,
        nulls: 0.02,
        stuck: 0.2,
        silent: 0.2,
        ..options(rows)
    }
}

/// A row, its columns as plain values.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    ts: i64,
    sensor: String,
    value: Option<f64>,
    temp: f64,
    humidity: f64,
    seq: i64,
    label: String,
}

fn batch(options: &GeneratorOptions) -> RecordBatch {
    let batches: Vec<_> = Generator::new(options).expect("they fit").collect();
    concat_batches(&schema(), &batches).expect("one schema")
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let floats = |name| {
        batch
            .column_by_name(name)
            .expect("a column")
            .as_primitive::<Float64Type>()
    };
    let texts = |name| {
        batch
            .column_by_name(name)
            .expect("a column")
            .as_string::<i32>()
    };
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    let seqs = batch
        .column_by_name("seq")
        .expect("a column")
        .as_primitive::<Int64Type>();
    (0..batch.num_rows())
        .map(|row| Row {
            ts: times.value(row),
            sensor: texts("sensor").value(row).to_owned(),
            value: floats("value")
                .is_valid(row)
                .then(|| floats("value").value(row)),
            temp: floats("temp").value(row),
            humidity: floats("humidity").value(row),
            seq: seqs.value(row),
            label: texts("label").value(row).to_owned(),
        })
        .collect()
}

fn rows(options: &GeneratorOptions) -> Vec<Row> {
    rows_of(&batch(options))
}

/// Whether `hits` of `n` is what a share gives, within five standard deviations.
fn is_share(hits: usize, n: usize, share: f64) -> bool {
    let (hits, n) = (hits as f64, n as f64);
    (hits - n * share).abs() <= 5.0 * (n * share * (1.0 - share)).sqrt()
}

#[test]
fn the_same_options_give_the_same_rows_in_batches_of_any_size() {
    let expected = batch(&messy(3_000));
    for batch_rows in [1, 7, 500] {
        let same = GeneratorOptions {
            batch_rows,
            ..messy(3_000)
        };
        assert_eq!(batch(&same), expected, "batches of {batch_rows}");
    }
    let other = GeneratorOptions {
        seed: 43,
        ..messy(3_000)
    };
    assert_ne!(batch(&other), expected);
}

#[test]
fn the_source_gives_the_rows_of_the_generator_and_then_ends() {
    let options = GeneratorOptions {
        batch_rows: 256,
        ..messy(3_000)
    };
    let mut source = GeneratorSource::open(options.clone()).expect("they fit");
    assert!(!source.is_live());
    let (mut batches, mut total) = (Vec::new(), 0);
    loop {
        match source.poll(Duration::from_secs(10)).expect("it goes on") {
            SourceEvent::Batch {
                records,
                rejected,
                origin: _,
                bytes,
                partition,
            } => {
                assert_eq!((partition, rejected.len()), (0, 0));
                batches.push(records);
                total += bytes;
            }
            SourceEvent::End => break,
            event => panic!("{event:?}"),
        }
    }
    assert!(matches!(source.poll(Duration::ZERO), Ok(SourceEvent::End)));
    let given = concat_batches(&source.schema(), &batches).expect("one schema");
    assert_eq!(given, batch(&options));
    // Five numbers of eight bytes, and the texts, in each row.
    assert!(total > given.num_rows() as u64 * 40);
}

#[test]
fn a_paced_source_is_live_and_gives_every_row() {
    let options = GeneratorOptions {
        realtime: true,
        rate: 1e6,
        ..messy(2_000)
    };
    let options = GeneratorOptions {
        disorder: Duration::from_micros(300),
        ..options
    };
    let expected = batch(&GeneratorOptions {
        start: Some(0),
        ..options.clone()
    })
    .num_rows();
    let mut source = GeneratorSource::open(options).expect("they fit");
    assert!(source.is_live());
    let mut count = 0;
    loop {
        match source.poll(Duration::from_secs(10)).expect("it goes on") {
            SourceEvent::Batch { records, .. } => count += records.num_rows(),
            SourceEvent::End => break,
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(count, expected);
}

#[test]
fn a_row_arrives_at_its_time_and_not_before() {
    let options = GeneratorOptions {
        rate: 1_000.0,
        ..options(10)
    };
    let mut arrivals = Arrivals::new(&options);
    let mut arrived = Vec::new();
    arrivals.take(100, 2_999, &mut arrived);
    assert_eq!(arrived.len(), 3);
    assert_eq!(arrivals.due(), Some(3_000));
    arrivals.take(100, 3_000, &mut arrived);
    assert_eq!(arrived.len(), 4);
    arrivals.take(100, u64::MAX, &mut arrived);
    assert_eq!((arrived.len(), arrivals.due()), (10, None));
}

#[test]
fn an_endless_source_of_lost_readings_can_be_dropped() {
    let options = GeneratorOptions {
        rows: None,
        loss: 1.0,
        ..options(0)
    };
    let mut source = GeneratorSource::open(options).expect("they fit");
    assert!(matches!(
        source.poll(Duration::from_millis(1)),
        Ok(SourceEvent::Pending)
    ));
}

#[test]
fn readings_are_taken_in_turn_at_the_rate() {
    let options = GeneratorOptions {
        sensors: 2,
        rate: 3.0,
        start: Some(-1_000_000),
        ..options(5)
    };
    let rows = rows(&options);
    let times: Vec<_> = rows.iter().map(|row| row.ts).collect();
    assert_eq!(times, [-1_000_000, -666_667, -333_334, 0, 333_333]);
    let sensors: Vec<_> = rows.iter().map(|row| row.sensor.as_str()).collect();
    assert_eq!(
        sensors,
        ["air-000", "air-001", "air-000", "air-001", "air-000"]
    );
    let seqs: Vec<_> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, [0, 0, 1, 1, 2]);
    assert!(rows.iter().all(|row| row.label == "normal"));
}

#[test]
fn the_default_start_is_the_beginning_of_2026() {
    let shown = arrow::util::display::array_value_to_string(batch(&options(1)).column(0), 0);
    assert_eq!(shown.expect("a time"), "2026-01-01T00:00:00");
}

#[test]
fn fewer_rows_are_the_beginning_of_more() {
    let (few, many) = (batch(&options(1_000)), batch(&options(20_000)));
    assert_eq!(few, many.slice(0, 1_000));
}

#[test]
fn times_step_by_step_are_those_of_the_formula() {
    for rate in [0.001, 0.3, 1.0, 7.0, 999.999, 20_000.0, 3e6, 1e9] {
        let schedule = arrivals::Schedule::new(&GeneratorOptions { rate, ..options(0) });
        let mut moment = schedule.at(0);
        let milli = (rate * 1_000.0).round() as u128;
        for ordinal in 0..2_000_u64 {
            assert_eq!(
                u128::from(moment.micros),
                u128::from(ordinal) * 1_000_000_000 / milli
            );
            assert_eq!(moment, schedule.at(ordinal));
            moment = schedule.after(moment);
        }
        let far = 1_u64 << 40;
        let exact = u128::from(far) * 1_000_000_000 / milli;
        if let Ok(exact) = u64::try_from(exact) {
            assert_eq!(schedule.at(far).micros, exact);
        }
    }
}

#[test]
fn no_row_is_later_than_the_disorder_and_none_is_missing() {
    for (delay_share, duplicates) in [(0.2, 0.0), (1.0, 0.3)] {
        let disorder = Duration::from_millis(500);
        let options = GeneratorOptions {
            disorder,
            delay_share,
            duplicates,
            ..options(50_000)
        };
        let rows = rows(&options);
        let (mut greatest, mut worst, mut behind) = (i64::MIN, 0, 0);
        for row in &rows {
            worst = worst.max(greatest.saturating_sub(row.ts));
            behind += usize::from(row.ts < greatest);
            greatest = greatest.max(row.ts);
        }
        assert!(worst <= 500_000, "{worst} µs late");
        assert!(worst > 450_000, "the bound is used: {worst} µs");
        assert!(behind * 10 > rows.len());

        let mut sorted: Vec<_> = (rows.into_iter())
            .filter(|row| row.label != "duplicate")
            .collect();
        sorted.sort_by_key(|row| row.ts);
        assert_eq!(sorted, self::rows(&super::tests::options(50_000)));
    }
}

#[test]
fn gaps_in_the_sequence_are_the_lost_readings() {
    let options = GeneratorOptions {
        loss: 0.05,
        ..options(60_000)
    };
    let rows = rows(&options);
    assert!(is_share(60_000 - rows.len(), 60_000, 0.05));
    let mut seqs: HashMap<&str, Vec<i64>> = HashMap::new();
    for row in &rows {
        seqs.entry(&row.sensor).or_default().push(row.seq);
    }
    assert_eq!(seqs.len(), 100);
    let missing: i64 = (seqs.values())
        .map(|seqs| {
            assert!(seqs.is_sorted_by(|a, b| a < b));
            600 - seqs.len() as i64
        })
        .sum();
    assert_eq!(missing, 60_000 - rows.len() as i64);
}

#[test]
fn a_duplicate_follows_its_original_and_is_equal_to_it() {
    for disorder in [0, 300] {
        let disorder = Duration::from_millis(disorder);
        let options = GeneratorOptions {
            duplicates: 0.04,
            disorder,
            ..options(50_000)
        };
        let rows = rows(&options);
        let mut originals = HashMap::new();
        let mut copies = 0;
        for row in &rows {
            let key = (row.sensor.clone(), row.seq);
            if row.label == "duplicate" {
                copies += 1;
                let original: &Row = originals.remove(&key).expect("it came before");
                assert_eq!(
                    &Row {
                        label: original.label.clone(),
                        ..row.clone()
                    },
                    original
                );
            } else {
                assert!(originals.insert(key, row).is_none());
            }
        }
        assert_eq!(rows.len(), 50_000 + copies);
        assert!(is_share(copies, 50_000, 0.04));
    }
}

#[test]
fn spikes_and_missing_values_are_labelled() {
    let options = GeneratorOptions {
        spikes: 0.03,
        nulls: 0.02,
        ..options(50_000)
    };
    let plain = rows(&super::tests::options(50_000));
    let rows = rows(&options);
    let count = |label: &str| rows.iter().filter(|row| row.label == label).count();
    assert!(is_share(count("null"), 50_000, 0.02));
    assert!(is_share(count("spike"), 50_000, 0.03 * 0.98));
    assert_eq!(count("normal") + count("spike") + count("null"), 50_000);
    for (row, plain) in rows.iter().zip(&plain) {
        match (row.label.as_str(), row.value, plain.value) {
            ("null", None, _) => {}
            ("spike", Some(value), Some(plain)) => {
                assert!(
                    (120.0..=240.01).contains(&(value - plain)),
                    "{value} {plain}"
                );
            }
            ("normal", value, plain) => assert_eq!(value, plain),
            unexpected => panic!("{unexpected:?}"),
        }
    }
}

#[test]
fn a_stuck_sensor_repeats_its_value() {
    let options = GeneratorOptions {
        stuck: 0.3,
        ..options(60_000)
    };
    let plain = rows(&super::tests::options(60_000));
    let rows = rows(&options);
    let (mut cycles, mut beset) = (0, 0);
    for sensor in 0..100 {
        let own: Vec<_> = rows.iter().skip(sensor).step_by(100).collect();
        for (cycle, own) in own.chunks(120).enumerate() {
            cycles += 1;
            let stuck: Vec<_> = (0..120).filter(|at| own[*at].label == "stuck").collect();
            if let (Some(first), Some(last)) = (stuck.first(), stuck.last()) {
                beset += 1;
                assert_eq!(stuck.len(), last - first + 1, "one episode in a cycle");
                assert!((9..=29).contains(&stuck.len()));
                let before = own[first - 1];
                assert_eq!(before.label, "normal");
                assert!(stuck.iter().all(|at| own[*at].value == before.value));
                let ordinal = (cycle * 120 + first) * 100 + sensor;
                assert_eq!(own[*first].temp, plain[ordinal].temp);
            }
        }
    }
    assert_eq!(cycles, 500);
    assert!(is_share(beset, cycles, 0.3));
}

#[test]
fn a_silent_sensor_gives_nothing_for_a_while() {
    let options = GeneratorOptions {
        silent: 0.3,
        ..options(60_000)
    };
    let rows = rows(&options);
    let mut seqs: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for row in &rows {
        seqs.entry(&row.sensor).or_default().push(row.seq);
    }
    let mut missing_in_cycle: BTreeMap<(&str, i64), Vec<i64>> = BTreeMap::new();
    for (sensor, seqs) in &seqs {
        for seq in (0..600).filter(|seq| !seqs.contains(seq)) {
            missing_in_cycle
                .entry((*sensor, seq / 120))
                .or_default()
                .push(seq);
        }
    }
    for missing in missing_in_cycle.values() {
        assert!((10..=30).contains(&missing.len()));
        assert!(
            missing.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "one episode in a cycle"
        );
    }
    assert!(is_share(missing_in_cycle.len(), 500, 0.3));
}

#[test]
fn quantities_are_plausible_and_follow_the_day() {
    // One reading a minute and sensor, for two days.
    let options = GeneratorOptions {
        sensors: 10,
        rate: 10.0 / 60.0,
        ..options(28_800)
    };
    let rows = rows(&options);
    let mean = |hours: std::ops::Range<i64>, of: fn(&Row) -> f64| {
        let chosen: Vec<_> = (rows.iter())
            .filter(|row| hours.contains(&(row.ts / 3_600_000_000 % 24)))
            .map(of)
            .collect();
        chosen.iter().sum::<f64>() / chosen.len() as f64
    };
    for row in &rows {
        let value = row.value.expect("no nulls were asked for");
        assert!((0.0..100.0).contains(&value), "{row:?}");
        assert!((0.0..25.0).contains(&row.temp), "{row:?}");
        assert!((2.0..=100.0).contains(&row.humidity), "{row:?}");
        // Two decimals.
        assert_eq!(format!("{value:.2}").parse(), Ok(value));
    }
    assert!(mean(13..17, |row| row.temp) > mean(1..5, |row| row.temp) + 5.0);
    assert!(mean(13..17, |row| row.humidity) < mean(1..5, |row| row.humidity) - 5.0);
    // A sensor's level is its own, and neighbours in time are alike.
    let own: Vec<_> = (rows.iter().step_by(10))
        .filter_map(|row| row.value)
        .collect();
    let step = own
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .sum::<f64>();
    assert!(step / (own.len() as f64) < 2.0);
}

#[test]
fn a_plant_has_units_in_halls() {
    let options = GeneratorOptions {
        theme: Theme::Plant,
        sensors: 2_000,
        ..options(2_000)
    };
    let batch = batch(&options);
    assert_eq!(batch.column(1).as_string::<i32>().value(1_999), "unit-1999");
    let mut halls: Vec<_> = batch
        .column(2)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    halls.sort();
    halls.dedup();
    assert_eq!(halls, ["hall-1", "hall-2", "hall-3", "hall-4"]);
}
