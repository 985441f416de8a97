//! The air of a city, as `systems/city.sql` and `systems/sensors.sql` run it: every figure is
//! computed again from the rows that were sent, by plain loops.
#![cfg(unix)]

mod readings;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use windrow_sql::connector::generator::{Generator, GeneratorOptions};
use windrow_sql::{ErrorKind, Session};
use windrow_tests::client::{PATIENCE, connected, posted};
use windrow_tests::command::{interrupted, root, windrow};
use windrow_tests::port::free_address;

use readings::{
    Reading, SECOND, START, by_sensor, due, identified, last_time, minutes, readings, sorted,
};

/// How far the watermark stays behind.
const BOUND: i64 = 5 * SECOND;

/// What is above is not decided by the desk.
const FOR_A_PERSON: f64 = 230.0;

/// The districts whose sensors post.
const POSTING: [&str; 4] = ["centre", "north", "east", "south"];

/// Readings that the simulated sensors take: 150 seconds of 200.
const TAKEN: &str = "30000";

/// A system with other addresses than its own.
fn system(name: &str, ports: &[(u16, u16)]) -> String {
    let path = root().join("systems").join(name);
    let mut text = fs::read_to_string(path).expect("it is there");
    for (port, with) in ports {
        let named = format!("127.0.0.1:{port}");
        assert!(text.contains(&named), "{name} names {named}");
        text = text.replace(&named, &format!("127.0.0.1:{with}"));
    }
    text
}

/// The script of the sensors, as many readings as are asked for at once; and these readings.
fn sensors(ports: &[(u16, u16)]) -> (String, Vec<Reading>) {
    let (paced, counted) = ("realtime = 'true'", format!("rows = '{TAKEN}'"));
    let script = system("sensors.sql", ports);
    assert!(script.contains(paced));
    let script = script.replace(paced, &counted);
    let options = script.split("CREATE STREAM sensors WITH (").nth(1);
    let options = options.and_then(|rest| rest.split(')').next());
    let options = options.expect("it has sensors").split(',').map(|pair| {
        let (name, value) = pair.split_once('=').expect("name = 'value'");
        let value = value.trim().trim_matches('\'').to_owned();
        (name.trim().to_owned(), value)
    });
    let (options, _) = GeneratorOptions::from_pairs(&options.collect()).expect("they fit");
    let sent = readings(Generator::new(&options).expect("they fit"));
    (script, sent)
}

/// The one batch of a query, as its rows' texts.
fn table(session: &Session, query: &str) -> Vec<Vec<String>> {
    let rows = session.sql(query).expect("it is planned");
    let mut table = Vec::new();
    for batch in rows.collect().expect("it runs") {
        for row in 0..batch.num_rows() {
            let text = |column| arrow::util::display::array_value_to_string(column, row);
            let row = batch
                .columns()
                .iter()
                .map(|column| text(column).expect("a value"));
            table.push(row.collect());
        }
    }
    table
}

/// The numbers of the one row that a query gives; NULL is NaN.
fn numbers<const N: usize>(session: &Session, query: &str) -> [f64; N] {
    let table = table(session, query);
    assert_eq!(table.len(), 1, "{query}");
    std::array::from_fn(|column| table[0][column].parse().unwrap_or(f64::NAN))
}

/// Asks until the answer is as it should be in the end.
#[track_caller]
fn until<const N: usize>(session: &Session, query: &str, expected: [f64; N]) {
    let start = Instant::now();
    loop {
        let found = numbers(session, query);
        if found == expected {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{query}: {found:?}, not {expected:?}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs(),
        "{found}, not {expected}"
    );
}

struct Cancels<'a>(&'a Session);

impl Drop for Cancels<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Ends when the test does, however that is.
struct Ends(Option<Child>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a stream has counted and its rates, but for those of time.
const COUNTED: &str =
    "SELECT expected, received, rejected, late, processed, bytes FROM windrow.streams";
const RATES: &str = "SELECT collection_rate, processing_efficiency FROM windrow.streams";
const DECISIONS: &str = "SELECT raised, acknowledged, efficiency FROM decisions";

#[test]
fn a_city_is_seen_in_its_twin_and_decided_about() {
    let [http, tcp, desk] = std::array::from_fn(|_| free_address().port());
    let doors = [(7105, http), (7106, tcp), (7107, desk)];
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut city = system("city.sql", &doors);
    for name in ["readings.parquet", "minutes.csv"] {
        let quoted = format!("path = '{name}'");
        assert!(city.contains(&quoted));
        city = city.replace(&quoted, &format!("path = '{}'", path(name).display()));
    }
    let (script, sent) = sensors(&doors);
    fs::write(path("sensors.sql"), script).expect("written");

    let session = Session::new().expect("it starts");
    table(&session, &city);
    let accepted = thread::scope(|scope| {
        let running = scope.spawn(|| session.run());
        let stop = Cancels(&session);
        let accepted = live(&session, [http, tcp], &path("sensors.sql"), &sent);
        drop(stop);
        let ended = running.join().expect("it does not panic");
        assert!(ended.is_err_and(|error| error.kind() == ErrorKind::Cancelled));
        accepted
    });
    let unwritten = session.stop().expect("the files can be written");
    assert_eq!(unwritten, Vec::<String>::new());

    // What was stored is what was sent.
    let file = File::open(path("readings.parquet")).expect("it was written");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let batches = builder.build().expect("it can be read");
    let stored = readings(batches.map(|batch| batch.expect("a batch")));
    assert_eq!(sorted(stored), sorted(accepted.all.clone()));

    let expected = minutes(&accepted.on_time, accepted.watermark);
    let file = fs::read_to_string(path("minutes.csv")).expect("it was written");
    let mut lines = file.lines();
    assert_eq!(lines.next(), Some("sensor,window_start,pm25,peak,n"));
    let mut seen = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let minute = fields[1].strip_prefix("2026-01-01T00:0").expect(line);
        let minute = minute.strip_suffix(":00").expect(line).parse();
        let key = (fields[0].to_owned(), minute.expect(line));
        let (mean, peak, count) = expected[&key];
        assert_near(fields[2].parse().expect(line), mean);
        assert_near(fields[3].parse().expect(line), peak);
        assert_eq!(fields[4].parse(), Ok(count), "{line}");
        seen += 1;
    }
    assert_eq!(seen, expected.len());
    // Of two minutes, 100 sensors and those of the test.
    assert!(seen > 200, "{seen}");
}

/// What a city has taken in.
struct Accepted {
    all: Vec<Reading>,
    /// Without the one that came too late for its windows.
    on_time: Vec<Reading>,
    watermark: i64,
}

/// Sends readings to a city that runs, and asks it.
fn live(session: &Session, [http, tcp]: [u16; 2], script: &Path, sent: &[Reading]) -> Accepted {
    let of = |door: &str| format!("{COUNTED} WHERE name = '{door}'");
    let rates_of = |door: &str| format!("{RATES} WHERE name = '{door}'");

    // At first two readings of a sensor, two seconds apart, and one that cannot be: of five that
    // are due three came, and two were processed.
    let mut near = vec![
        Reading::own("hand-1", 0, 0, 12.5),
        Reading::own("hand-1", 4, 2 * SECOND, 13.0),
    ];
    let impossible = Reading::own("hand-1", 3, SECOND, -1.0);
    let body = near[0].line() + &impossible.line() + &near[1].line();
    let answer = posted(http, "/ingest/posted", &body);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains(r#""received":3,"accepted":2,"late":0,"rejected":1"#),
        "{answer}"
    );
    let bytes = body.len() as f64;
    assert_eq!(
        numbers(session, &of("posted")),
        [5.0, 3.0, 1.0, 0.0, 2.0, bytes]
    );
    assert_eq!(
        numbers(session, &rates_of("posted")),
        [3.0 / 5.0, 2.0 / 3.0]
    );
    // Bytes and rows per second are those of the same seconds, and of more than none.
    let [transfer, input] = numbers(
        session,
        "SELECT transfer_bytes_per_s, input_rows_per_s FROM windrow.streams WHERE name = 'posted'",
    );
    assert_near(transfer / input, bytes / 3.0);

    // Over TCP, one line of two is a reading.
    let mut far = vec![Reading::own("hand-2", 0, SECOND, 11.0)];
    let line = far[0].line();
    let mut client = connected(tcp);
    write!(client, "no reading\n{line}").expect("sent");
    drop(client);
    let bytes = "no reading\n".len() + line.len();
    until(
        session,
        &of("wired"),
        [1.0, 2.0, 1.0, 0.0, 1.0, bytes as f64],
    );
    assert_eq!(numbers(session, &rates_of("wired")), [2.0, 0.5]);
    assert_eq!(table(session, DECISIONS), Vec::<Vec<String>>::new());

    // The sensors, and the desk that is told of alerts.
    let start = Instant::now();
    let script = script.display().to_string();
    let around = windrow(&["run", &script, "--progress", "off"]).spawn();
    let mut around = Ends(Some(around.expect("the binary starts")));
    let (posting, wiring): (Vec<_>, Vec<_>) =
        (sent.iter().cloned()).partition(|reading| POSTING.contains(&reading.district.as_str()));
    near.extend(posting);
    far.extend(wiring);
    // The twin can be asked while rows come: it never has fewer than have been counted before,
    // nor more than are counted after.
    let accepted = "SELECT sum(accepted) FROM windrow.streams WHERE name IN ('posted', 'wired')";
    let (all, mut asked) = ((near.len() + far.len()) as f64, 0);
    loop {
        let [before] = numbers(session, accepted);
        let [in_twin] = numbers(session, "SELECT sum(n) FROM twin");
        let [after] = numbers(session, accepted);
        assert!(
            before <= in_twin && in_twin <= after,
            "{before} {in_twin} {after}"
        );
        asked += usize::from(before > 3.0 && in_twin < all);
        if in_twin == all {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{in_twin} of {all}");
    }
    let took = start.elapsed();

    // Alerts, of which the desk decides most.
    let mut alerts: Vec<&Reading> = sent.iter().filter(|reading| reading.is_alert()).collect();
    alerts.sort_by(|a, b| a.value.partial_cmp(&b.value).expect("numbers"));
    assert!(
        alerts.iter().any(|alert| alert.ts < START + 10 * SECOND),
        "whoever tries it sees one in ten seconds"
    );
    let raised = alerts.len() as f64;
    let for_a_person = |alert: &&&Reading| alert.value > Some(FOR_A_PERSON);
    let by_desk = raised - alerts.iter().filter(for_a_person).count() as f64;
    assert!(0.0 < by_desk && by_desk < raised, "{by_desk} of {raised}");
    until(session, DECISIONS, [raised, by_desk, by_desk / raised]);
    // A person decides about the highest, twice, and about what was never raised.
    let highest = alerts.last().expect("there are some").id();
    let acks =
        format!("{{\"id\":\"{highest}\",\"who\":\"me\"}}\n").repeat(2) + "{\"id\":\"none\"}\n";
    let answer = posted(http, "/ingest/acks", &acks);
    assert!(answer.contains(r#""received":3,"accepted":3"#), "{answer}");
    let decided = [raised, by_desk + 1.0, (by_desk + 1.0) / raised];
    assert_eq!(numbers(session, DECISIONS), decided);
    let open = "SELECT id FROM fates WHERE raised > 0 AND acknowledged = 0";
    let open: BTreeSet<String> = table(session, open).into_iter().flatten().collect();
    let left =
        (alerts.iter().filter(for_a_person).map(|alert| alert.id())).filter(|id| *id != highest);
    assert_eq!(open, left.collect());

    // The last reading, an alert, and one that is too late for its minute: when the answer is
    // there, the twin knows.
    let end = last_time(&far).max(last_time(&near)) - START;
    let last = Reading::own("hand-1", 500, end + SECOND, 140.0);
    let late = Reading::own("hand-1", 60, 30 * SECOND, 20.0);
    let answer = posted(http, "/ingest/posted", &(last.line() + &late.line()));
    assert!(
        answer.contains(r#""received":2,"accepted":1,"late":1,"rejected":0"#),
        "{answer}"
    );
    let twin = "SELECT pm25, n FROM twin WHERE sensor = 'hand-1'";
    assert_eq!(numbers(session, twin), [140.0, 4.0]);
    let raised = raised + 1.0;
    until(
        session,
        DECISIONS,
        [raised, by_desk + 2.0, (by_desk + 2.0) / raised],
    );
    interrupted(around.0.take().expect("it runs"));

    near.push(last);
    let on_time = [near.clone(), far.clone()].concat();
    near.push(late);
    let all = [near.clone(), far.clone()].concat();
    let watermark = last_time(&near).min(last_time(&far)) - BOUND;

    // The twin of every sensor.
    let found = "SELECT sensor, district, pm25, n FROM twin ORDER BY sensor";
    let found = table(session, found);
    let expected = by_sensor(&all);
    assert_eq!(found.len(), expected.len());
    for (row, (sensor, own)) in found.iter().zip(&expected) {
        let newest = own.last().expect("it has some");
        assert_eq!((&row[0], &row[1]), (sensor, &newest.district));
        assert_eq!(row[2].parse().ok(), newest.value, "{sensor}");
        assert_eq!(row[3].parse(), Ok(own.len()), "{sensor}");
    }

    // The doors: each rejected one, and one of them had a late one.
    for (name, door, late) in [("posted", &near, 1), ("wired", &far, 0)] {
        let (due, accepted) = (due(door), door.len() as i64);
        let (received, processed) = (accepted + 1, accepted - late);
        let [expected, got, rejected, too_late, done, _] = numbers(session, &of(name));
        let found = [expected, got, rejected, too_late, done];
        assert_eq!(
            found,
            [due, received, 1, late, processed].map(|n| n as f64),
            "{name}"
        );
        let rates = [
            received as f64 / due as f64,
            processed as f64 / received as f64,
        ];
        assert_eq!(numbers(session, &rates_of(name)), rates, "{name}");
    }

    // The analysis, of what the watermark has passed.
    let passed: Vec<Reading> = (on_time.iter())
        .filter(|reading| reading.ts < watermark)
        .cloned()
        .collect();
    let expected = identified(&passed);
    let found = table(session, "SELECT label, readings, identified FROM analysis");
    let found: BTreeMap<String, (i64, i64)> = (found.into_iter())
        .map(|row| {
            (
                row[0].clone(),
                (row[1].parse().expect("n"), row[2].parse().expect("n")),
            )
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(expected.len(), 4, "of all labels: {expected:?}");
    let count = |of: fn(&(i64, i64)) -> i64| expected.values().map(of).sum::<i64>() as f64;
    let (total, right) = (count(|counts| counts.0), count(|counts| counts.1));
    let accuracy = "SELECT readings, accuracy FROM accuracy";
    assert_eq!(numbers(session, accuracy), [total, right / total]);
    println!(
        "{} readings in {took:.1?}, asked {asked} times meanwhile; {raised} alerts; accuracy {:.4}",
        all.len(),
        right / total
    );
    Accepted {
        all,
        on_time,
        watermark,
    }
}
