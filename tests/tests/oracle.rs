//! Random streams through SQL against the oracle: every window, every aggregate, late
//! rows, NULLs, NaN, times before 1970; pushed in random batches, saved and restored in
//! between. A failure names its seed and its query.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use windrow_sql::session::{Session, SessionConfig};
use windrow_tests::cell::cell;
use windrow_tests::oracle::{
    Aggregate, Answer, Cell, Group, Row, Window, answer, arrivals, catalogue,
};
use windrow_tests::random::Random;

/// A stream and a query over it.
struct Case {
    rows: Vec<Row>,
    bound: i64,
    window: Window,
    by_key: bool,
    aggregates: Vec<Aggregate>,
}

impl Case {
    fn random(random: &mut Random, window: fn(&mut Random, i64) -> (Window, bool)) -> Self {
        // The unit of times and sizes: a microsecond, or a second and a bit.
        let unit = *random.pick(&[1, 1_000_001]);
        let (window, by_key) = window(random, unit);
        let takes_nan = random.one_in(3);
        let mut known = catalogue();
        known.retain(|aggregate| aggregate.takes_nan || !takes_nan);
        let aggregates = (0..6).map(|_| *random.pick(&known)).collect();
        let bound = unit * random.between(0, 12);
        Self {
            rows: rows(random, unit, takes_nan),
            bound,
            window,
            by_key,
            aggregates,
        }
    }

    fn declarations(&self) -> [String; 2] {
        let keys = if self.by_key { "k, " } else { "" };
        let calls: String = (self.aggregates.iter().enumerate())
            .map(|(i, aggregate)| format!(", {} AS a{i}", aggregate.sql))
            .collect();
        [
            format!(
                "CREATE STREAM s (ts TIMESTAMP, k TEXT, v DOUBLE, w BIGINT, id BIGINT, \
                 WATERMARK FOR ts AS ts - {})",
                interval(self.bound)
            ),
            format!(
                "CREATE MATERIALIZED VIEW m AS SELECT {keys}window_start, window_end{calls} \
                 FROM {} GROUP BY {keys}window_start, window_end",
                call(self.window)
            ),
        ]
    }

    fn session(&self, workers: usize) -> Session {
        let session = Session::with_config(SessionConfig {
            workers,
            ..SessionConfig::default()
        })
        .expect("a session");
        for declaration in self.declarations() {
            run(&session, &declaration);
        }
        session
    }

    /// Pushes the rows in random batches, now and then saved and restored between two
    /// of them; `check` sees the session and the number of rows after each.
    fn push(
        &self,
        random: &mut Random,
        workers: usize,
        check: impl Fn(&Session, usize),
    ) -> Session {
        let longest = *random.pick(&[1, 5, 1_000]);
        let pieces = random.pieces(self.rows.len(), longest);
        self.push_in(random, &pieces, workers, true, check)
    }

    fn push_in(
        &self,
        random: &mut Random,
        pieces: &[usize],
        workers: usize,
        restarts: bool,
        check: impl Fn(&Session, usize),
    ) -> Session {
        let mut session = self.session(workers);
        let mut pushed = 0;
        for piece in pieces {
            if restarts && random.one_in(6) {
                let snapshot = session.snapshot().expect("the session is saved");
                session = self.session(workers);
                session.restore(&snapshot).expect("the session is restored");
            }
            // A batch comes from one producer.
            for rows in
                self.rows[pushed..pushed + piece].chunk_by(|a, b| a.partition == b.partition)
            {
                session
                    .push_from("s", rows[0].partition as u32, batch(rows, pushed))
                    .expect("rows are pushed");
                pushed += rows.len();
            }
            check(&session, pushed);
        }
        run(&session, "ALTER STREAM s END");
        session
    }

    fn expected(&self, rows: usize) -> Answer {
        // A producer is waited for from its first row on.
        let arrivals = arrivals(&self.rows[..rows], 0, self.bound);
        answer(&arrivals, self.window, self.by_key)
    }

    fn check_result(&self, session: &Session) {
        let expected = self.expected(self.rows.len());
        let keys = usize::from(self.by_key);
        let mut actual = cells(session, "SELECT * FROM m");
        let bounds = |row: &[Cell]| (row[keys].clone(), row[keys + 1].clone());
        let group_of = |row: &Vec<Cell>| {
            let (Cell::Int(start), Cell::Int(end)) = bounds(row) else {
                panic!("a window has no bounds: {row:?}");
            };
            let key = self.by_key.then(|| match &row[0] {
                Cell::Text(key) => Some(key.clone()),
                _ => None,
            });
            (end, start, key)
        };
        // Counted windows can share their bounds; they keep the order in which they
        // closed.
        actual.sort_by_key(group_of);
        let wanted: Vec<_> = (expected.groups.iter())
            .map(|group| (group.end, group.start, group.key.clone()))
            .collect();
        let found: Vec<_> = actual.iter().map(group_of).collect();
        assert_eq!(found, wanted, "windows (end, start, key)");
        for (row, group) in actual.iter().zip(&expected.groups) {
            self.check_group(&row[keys + 2..], group);
        }
        let late = cells(session, "SELECT id FROM late('s')");
        let late: Vec<_> = late.into_iter().map(|row| row[0].clone()).collect();
        let wanted: Vec<_> = (expected.late.iter())
            .map(|row| Cell::Int(row.ordinal as i64))
            .collect();
        assert_eq!(late, wanted, "late rows");
    }

    fn check_group(&self, values: &[Cell], group: &Group) {
        for (aggregate, value) in self.aggregates.iter().zip(values) {
            let wanted = (aggregate.of)(&group.rows);
            assert!(
                wanted.agrees(value),
                "{} of [{}, {}) {:?} is {value:?}, not {wanted:?}; its rows: {:#?}",
                aggregate.sql,
                group.start,
                group.end,
                group.key,
                group.rows,
            );
        }
    }

    /// Every row is accounted for after every push.
    fn check_accounts(&self, session: &Session, pushed: usize) {
        let received = pushed as i64;
        let rejected = (self.rows[..pushed].iter())
            .filter(|row| row.ts.is_none())
            .count() as i64;
        let expected = self.expected(pushed);
        let numbers = |sql| -> Vec<i64> {
            (cells(session, sql).iter().flatten())
                .map(|cell| match cell {
                    Cell::Int(number) => *number,
                    other => panic!("{sql}: {other:?} is no count"),
                })
                .collect()
        };
        assert_eq!(
            numbers("SELECT received, accepted, rejected, dropped FROM windrow.streams"),
            [received, received - rejected, rejected, 0],
            "received, accepted, rejected, dropped"
        );
        assert_eq!(
            numbers(
                "SELECT accepted, in_window, filtered, late, missed_windows FROM windrow.queries"
            ),
            [
                received - rejected,
                expected.in_window as i64,
                0,
                expected.late.len() as i64,
                expected.missed_windows as i64,
            ],
            "accepted, in_window, filtered, late, missed_windows"
        );
    }
}

fn run(session: &Session, sql: &str) -> Vec<RecordBatch> {
    (session.sql(sql).and_then(|answer| answer.collect()))
        .unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

fn cells(session: &Session, sql: &str) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for batch in run(session, sql) {
        for row in 0..batch.num_rows() {
            rows.push(
                (batch.columns().iter())
                    .map(|column| cell(column, row))
                    .collect(),
            );
        }
    }
    rows
}

fn interval(us: i64) -> String {
    format!("INTERVAL '{us} microseconds'")
}

fn call(window: Window) -> String {
    let partition = |partitioned| if partitioned { " PARTITION BY k" } else { "" };
    match window {
        Window::Tumble { size, offset } => format!(
            "TUMBLE(s, ts, {}, offset => {})",
            interval(size),
            interval(offset)
        ),
        Window::Hop {
            slide,
            size,
            offset,
        } => format!(
            "HOP(s, ts, {}, {}, offset => {})",
            interval(slide),
            interval(size),
            interval(offset)
        ),
        Window::Cumulate { step, size, offset } => format!(
            "CUMULATE(s, ts, {}, {}, offset => {})",
            interval(step),
            interval(size),
            interval(offset)
        ),
        Window::Session { gap, partitioned } => format!(
            "SESSION(s{}, ts, {})",
            partition(partitioned),
            interval(gap)
        ),
        Window::Count {
            rows,
            slide,
            partitioned,
        } => format!("COUNT_WINDOW(s{}, {rows}, {slide})", partition(partitioned)),
    }
}

fn rows(random: &mut Random, unit: i64, takes_nan: bool) -> Vec<Row> {
    let count = match random.between(0, 9) {
        0 => 0,
        1 => 1,
        2 => 200,
        _ => random.between(2, 40),
    };
    let disorder = random.between(0, 20);
    let pace = random.between(0, 4);
    let mut clock = random.between(-60, 60);
    let producers = *random.pick(&[1, 1, 3]);
    let mut partition = 0;
    (0..count)
        .map(|_| {
            clock += random.between(0, pace);
            if random.one_in(40) {
                clock += 500;
            }
            let ts = (clock - random.between(0, disorder)) * unit;
            if random.one_in(5) {
                partition = random.between(0, producers - 1) as usize;
            }
            Row {
                partition,
                ts: (!random.one_in(25)).then_some(ts),
                key: (random.pick(&[Some("a"), Some("b"), Some(""), None])).map(str::to_owned),
                v: (!random.one_in(6)).then(|| value(random, takes_nan)),
                w: (!random.one_in(6)).then(|| random.between(-20, 20)),
            }
        })
        .collect()
}

/// A multiple of a quarter, so that sums are exact; now and then something odd.
fn value(random: &mut Random, takes_nan: bool) -> f64 {
    if takes_nan && random.one_in(4) {
        *random.pick(&[
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            0.0,
        ])
    } else {
        random.between(-200, 200) as f64 / 4.0
    }
}

fn batch(rows: &[Row], first: usize) -> RecordBatch {
    let ts: TimestampMicrosecondArray = rows.iter().map(|row| row.ts).collect();
    let k: StringArray = rows.iter().map(|row| row.key.clone()).collect();
    let v: Float64Array = rows.iter().map(|row| row.v).collect();
    let w: Int64Array = rows.iter().map(|row| row.w).collect();
    let id: Int64Array = (first..)
        .take(rows.len())
        .map(|id| Some(id as i64))
        .collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("ts", Arc::new(ts)),
        ("k", Arc::new(k)),
        ("v", Arc::new(v)),
        ("w", Arc::new(w)),
        ("id", Arc::new(id)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .expect("columns of one length")
}

/// Checks random streams over windows of one kind.
fn check(window: fn(&mut Random, i64) -> (Window, bool)) {
    for seed in 0..cases() {
        let mut random = Random::new(seed);
        let case = Case::random(&mut random, window);
        let place = Place::new(seed, &case);
        let workers = *random.pick(&[1, 2, 7]);
        // Asking after every push costs more than all the rest.
        let every = *random.pick(&[1, 10, 10, usize::MAX]);
        let session = case.push(&mut random, workers, |session, pushed| {
            if pushed % every == 0 && pushed <= 60 {
                case.check_accounts(session, pushed);
            }
        });
        case.check_accounts(&session, case.rows.len());
        case.check_result(&session);
        drop(place);
    }
}

/// Says which case a panic is about: its seed, its statements, its rows.
struct Place(String);

impl Place {
    fn new(seed: u64, case: &Case) -> Self {
        let mut text = format!("seed {seed}: {}\n", case.declarations().join(";\n"));
        for (id, row) in case.rows.iter().enumerate() {
            text += &format!(
                "id {id} producer {} ts {:?} k {:?} v {:?} w {:?}\n",
                row.partition, row.ts, row.key, row.v, row.w
            );
        }
        Self(text)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// How many streams each kind of window is tried with; `WINDROW_ORACLE_CASES` says
/// otherwise.
fn cases() -> u64 {
    let set = std::env::var("WINDROW_ORACLE_CASES").ok();
    set.map_or(30, |cases| {
        cases.parse().expect("WINDROW_ORACLE_CASES is a number")
    })
}

#[test]
fn tumbling_windows() {
    check(|random, unit| {
        let window = Window::Tumble {
            size: unit * random.between(1, 15),
            offset: unit * random.between(-20, 20),
        };
        (window, random.one_in(2))
    });
}

#[test]
fn hopping_windows() {
    check(|random, unit| {
        let slide = random.between(1, 12);
        let window = Window::Hop {
            slide: unit * slide,
            size: unit * (slide + random.between(0, 30)),
            offset: unit * random.between(-20, 20),
        };
        (window, random.one_in(2))
    });
}

#[test]
fn cumulating_windows() {
    check(|random, unit| {
        let step = random.between(1, 8);
        let window = Window::Cumulate {
            step: unit * step,
            size: unit * step * random.between(1, 6),
            offset: unit * random.between(-20, 20),
        };
        (window, random.one_in(2))
    });
}

#[test]
fn sessions() {
    check(|random, unit| {
        let partitioned = random.one_in(2);
        let window = Window::Session {
            gap: unit * random.between(1, 8),
            partitioned,
        };
        (window, partitioned || random.one_in(2))
    });
}

#[test]
fn counted_windows() {
    check(|random, _| {
        let partitioned = random.one_in(2);
        let rows = random.between(1, 6) as usize;
        let window = Window::Count {
            rows,
            slide: random.between(1, rows as i64) as usize,
            partitioned,
        };
        (window, partitioned || random.one_in(2))
    });
}

/// The same rows give the same bits whatever the batches, the workers and the
/// restarts, also where floats do not add up exactly.
#[test]
fn the_same_bits_every_time() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let unit = 1_000_000;
        let (slide, size) = (random.between(1, 5), random.between(5, 40));
        let windows = [
            Window::Hop {
                slide: unit * slide,
                size: unit * size,
                offset: 0,
            },
            Window::Cumulate {
                step: unit * slide,
                size: unit * slide * size,
                offset: 0,
            },
            Window::Session {
                gap: unit * slide,
                partitioned: true,
            },
            Window::Count {
                rows: size as usize,
                slide: slide as usize,
                partitioned: true,
            },
        ];
        let mut case = Case {
            rows: rows(&mut random, unit, false),
            bound: unit * random.between(0, 12),
            window: *random.pick(&windows),
            by_key: true,
            aggregates: catalogue(),
        };
        for row in &mut case.rows {
            row.v = row.v.map(|v| v / 3.0 + 1e6);
        }
        let place = Place::new(seed, &case);
        let sql = "SELECT * FROM m ORDER BY window_end, window_start, k";
        let bits = |session: &Session| -> Vec<Vec<String>> {
            (cells(session, sql).iter())
                .map(|row| row.iter().map(bits_of).collect())
                .collect()
        };
        let whole = case.push_in(&mut random, &[case.rows.len()], 1, false, |_, _| {});
        let expected = bits(&whole);
        for workers in [1, 2, 7] {
            let session = case.push(&mut random, workers, |_, _| {});
            assert_eq!(bits(&session), expected, "{workers} workers");
        }
        drop(place);
    }
}

fn bits_of(cell: &Cell) -> String {
    match cell {
        Cell::Float(number) => format!("{number} = {:016x}", number.to_bits()),
        other => format!("{other:?}"),
    }
}
