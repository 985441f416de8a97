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
use windrow_tests::client::{connected, posted};
use windrow_tests::command::{interrupted, root, windrow};
use windrow_tests::port::free_address;

use readings::{
    Reading, SECOND, START, by_sensor, due, identified, last_time, minutes, readings, sorted,
};

/// All of it takes no longer, on a slow machine too; the clock moves no watermark before, since
/// a door is idle after 30 seconds.
const LIMIT: Duration = Duration::from_secs(15);

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

/// The rows of a query, as texts.
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

/// A city that runs, and what it has been sent.
struct City<'a> {
    begun: Instant,
    session: &'a Session,
    http: u16,
    tcp: u16,
    /// What came over HTTP and was accepted, but for [`City::late`].
    posted: Vec<Reading>,
    /// The same over TCP.
    wired: Vec<Reading>,
    /// What was posted and came too late for its windows.
    late: Vec<Reading>,
    /// Alerts that have been raised and acknowledged.
    raised: usize,
    acknowledged: usize,
}

impl City<'_> {
    fn all(&self) -> Vec<Reading> {
        [&self.posted[..], &self.wired, &self.late].concat()
    }

    fn on_time(&self) -> Vec<Reading> {
        [&self.posted[..], &self.wired].concat()
    }

    /// That of both doors: the lesser.
    fn watermark(&self) -> i64 {
        last_time(&self.posted).min(last_time(&self.wired)) - BOUND
    }

    /// What a door has counted: due, received, rejected, late, processed, bytes.
    fn counted(door: &str) -> String {
        format!(
            "SELECT expected, received, rejected, late, processed, bytes
             FROM windrow.streams WHERE name = '{door}'"
        )
    }

    /// Collection rate and processing efficiency of a door.
    fn rates(&self, door: &str) -> [f64; 2] {
        let query = format!(
            "SELECT collection_rate, processing_efficiency
             FROM windrow.streams WHERE name = '{door}'"
        );
        numbers(self.session, &query)
    }

    /// Asks until the answer is as it should be in the end.
    #[track_caller]
    fn until<const N: usize>(&self, query: &str, expected: [f64; N]) {
        loop {
            let found = numbers(self.session, query);
            if found == expected {
                return;
            }
            let in_time = self.begun.elapsed() < LIMIT;
            assert!(in_time, "{query}: {found:?}, not {expected:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until as many alerts are acknowledged as are expected.
    fn sees_decisions(&self) {
        let (raised, acknowledged) = (self.raised as f64, self.acknowledged as f64);
        self.until(
            "SELECT raised, acknowledged, efficiency FROM decisions",
            [raised, acknowledged, acknowledged / raised],
        );
    }

    /// A few readings over each door, before all others.
    fn begins(&mut self) {
        // Two seconds apart, and one that cannot be: of five that are due three came, and two
        // were processed.
        self.posted = vec![
            Reading::own("hand-1", 0, 0, 12.5),
            Reading::own("hand-1", 4, 2 * SECOND, 13.0),
        ];
        let impossible = Reading::own("hand-1", 3, SECOND, -1.0);
        let body = self.posted[0].line() + &impossible.line() + &self.posted[1].line();
        let answer = posted(self.http, "/ingest/posted", &body);
        let counts = r#""received":3,"accepted":2,"late":0,"rejected":1"#;
        assert!(answer.contains(counts), "{answer}");
        let bytes = body.len() as f64;
        let counted = numbers(self.session, &Self::counted("posted"));
        assert_eq!(counted, [5.0, 3.0, 1.0, 0.0, 2.0, bytes]);
        assert_eq!(self.rates("posted"), [3.0 / 5.0, 2.0 / 3.0]);
        // Bytes and rows per second are those of the same seconds: these three rows.
        let speed = "SELECT transfer_bytes_per_s, input_rows_per_s
             FROM windrow.streams WHERE name = 'posted'";
        let [transfer, input] = numbers(self.session, speed);
        assert_near(transfer / input, bytes / 3.0);

        // Of two lines over TCP one is a reading, of which nobody knows whether it is right.
        let mut unknown = Reading::own("hand-2", 0, SECOND, 11.0);
        unknown.label.clear();
        self.wired = vec![unknown];
        let lines = format!("no reading\n{}", self.wired[0].line());
        let mut client = connected(self.tcp);
        client.write_all(lines.as_bytes()).expect("sent");
        let counted = [1.0, 2.0, 1.0, 0.0, 1.0, lines.len() as f64];
        self.until(&Self::counted("wired"), counted);
        assert_eq!(self.rates("wired"), [2.0, 0.5]);
        // Of no alerts there is no share.
        assert!(table(self.session, "SELECT * FROM decisions").is_empty());
    }

    /// Asks the twin while the sensors' readings come, until all have. It never has fewer than
    /// have been counted before, nor more than are counted after.
    fn takes(&mut self, sent: &[Reading]) {
        let (posting, wiring): (Vec<_>, Vec<_>) = (sent.iter().cloned())
            .partition(|reading| POSTING.contains(&reading.district.as_str()));
        self.posted.extend(posting);
        self.wired.extend(wiring);
        let accepted =
            "SELECT sum(accepted) FROM windrow.streams WHERE name IN ('posted', 'wired')";
        let (start, all) = (Instant::now(), self.all().len() as f64);
        loop {
            let [before] = numbers(self.session, accepted);
            let [in_twin] = numbers(self.session, "SELECT sum(n) FROM twin");
            let [after] = numbers(self.session, accepted);
            let order = [before, in_twin, after];
            assert!(order.is_sorted(), "{order:?}");
            if in_twin == all {
                return println!("{all} readings in {:.1?}", start.elapsed());
            }
            assert!(self.begun.elapsed() < LIMIT, "{in_twin} of {all}");
        }
    }

    /// Of the sensors' alerts the desk decides most, and a person the highest.
    fn decides(&mut self, sent: &[Reading]) {
        let mut alerts: Vec<&Reading> = sent.iter().filter(|reading| reading.is_alert()).collect();
        alerts.sort_by(|a, b| a.value.partial_cmp(&b.value).expect("numbers"));
        assert!(
            alerts.iter().any(|alert| alert.ts < START + 10 * SECOND),
            "whoever tries it sees one in ten seconds"
        );
        let by_desk = alerts.partition_point(|alert| alert.value <= Some(FOR_A_PERSON));
        (self.raised, self.acknowledged) = (alerts.len(), by_desk);
        assert!(0 < by_desk && by_desk < self.raised, "{by_desk}");
        self.sees_decisions();

        // The person says so twice, and decides about what was never raised.
        let highest = alerts.last().expect("there are some").id();
        let own = format!("{{\"id\":\"{highest}\",\"who\":\"me\"}}\n");
        let acks = own.repeat(2) + "{\"id\":\"none\"}\n";
        let answer = posted(self.http, "/ingest/acks", &acks);
        assert!(answer.contains(r#""received":3,"accepted":3"#), "{answer}");
        self.acknowledged += 1;
        self.sees_decisions();
        let open = "SELECT id FROM fates WHERE raised > 0 AND acknowledged = 0";
        let open: BTreeSet<String> = table(self.session, open).into_iter().flatten().collect();
        let left = &alerts[by_desk..alerts.len() - 1];
        assert_eq!(open, left.iter().map(|alert| alert.id()).collect());
    }

    /// The last reading, an alert, and one that is too late for its minute: when the answer is
    /// there, the twin knows.
    fn ends(&mut self) {
        let end = last_time(&self.on_time()) - START;
        let last = Reading::own("hand-1", 500, end + SECOND, 140.0);
        let late = Reading::own("hand-1", 60, 30 * SECOND, 20.0);
        let answer = posted(self.http, "/ingest/posted", &(last.line() + &late.line()));
        let counts = r#""received":2,"accepted":1,"late":1,"rejected":0"#;
        assert!(answer.contains(counts), "{answer}");
        let twin = "SELECT pm25, n FROM twin WHERE sensor = 'hand-1'";
        assert_eq!(numbers(self.session, twin), [140.0, 4.0]);
        self.posted.push(last);
        self.late.push(late);
        (self.raised, self.acknowledged) = (self.raised + 1, self.acknowledged + 1);
        self.sees_decisions();
    }

    fn knows_every_sensor(&self) {
        let found = "SELECT sensor, district, pm25, n FROM twin ORDER BY sensor";
        let found = table(self.session, found);
        let expected = by_sensor(&self.all());
        assert_eq!(found.len(), expected.len());
        let mut without = 0;
        for (row, (sensor, own)) in found.iter().zip(&expected) {
            let newest = own.last().expect("it has some");
            assert_eq!((&row[0], &row[1]), (sensor, &newest.district));
            let known = own.iter().rev().find_map(|reading| reading.value);
            assert_eq!(row[2].parse().ok(), known, "{sensor}");
            without += usize::from(newest.value.is_none());
            assert_eq!(row[3].parse(), Ok(own.len()), "{sensor}");
        }
        assert!(without > 0, "no last reading is without a value");
    }

    /// Each door has rejected one reading.
    fn counts_its_doors(&self) {
        let posted = [&self.posted[..], &self.late].concat();
        for (name, door, late) in [("posted", &posted, 1), ("wired", &self.wired, 0)] {
            let (due, accepted) = (due(door), door.len() as i64);
            let (received, processed) = (accepted + 1, accepted - late);
            let [counted @ .., _] = numbers::<6>(self.session, &Self::counted(name));
            let expected = [due, received, 1, late, processed].map(|count| count as f64);
            assert_eq!(counted, expected, "{name}");
            let ratio = |part: i64, whole: i64| part as f64 / whole as f64;
            let rates = [ratio(received, due), ratio(processed, received)];
            assert_eq!(self.rates(name), rates, "{name}");
        }
    }

    /// The analysis knows what the watermark has passed.
    fn is_told_how_well_it_judges(&self) {
        let (mut passed, watermark) = (self.on_time(), self.watermark());
        passed.retain(|reading| reading.ts < watermark);
        let expected = identified(&passed);
        assert_eq!(expected.len(), 4, "of all labels: {expected:?}");
        let found = table(
            self.session,
            "SELECT label, readings, identified FROM analysis",
        );
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let found: BTreeMap<String, (i64, i64)> = (found.into_iter())
            .map(|row| (row[0].clone(), (number(&row[1]), number(&row[2]))))
            .collect();
        assert_eq!(found, expected);
        let count = |of: fn(&(i64, i64)) -> i64| expected.values().map(of).sum::<i64>() as f64;
        let (readings, right) = (count(|counts| counts.0), count(|counts| counts.1));
        let accuracy = "SELECT readings, accuracy FROM accuracy";
        assert_eq!(
            numbers(self.session, accuracy),
            [readings, right / readings]
        );
        println!("{right} of {readings} identified: {expected:?}");
    }
}

/// The readings that were stored.
fn stored(path: &Path) -> Vec<Reading> {
    let file = File::open(path).expect("it was written");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let batches = builder.build().expect("it can be read");
    readings(batches.map(|batch| batch.expect("a batch")))
}

/// Whether the minutes that were written are those of the readings until `end`.
fn assert_minutes(path: &Path, readings: &[Reading], end: i64) {
    let mut expected = minutes(readings, end);
    // Two minutes of 100 sensors and those of the test.
    assert!(expected.len() > 200);
    let file = fs::read_to_string(path).expect("it was written");
    let mut lines = file.lines();
    let header = "sensor,window_start,pm25,peak,n,trend,with_humidity";
    assert_eq!(lines.next(), Some(header));
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let minute = fields[1].strip_prefix("2026-01-01T00:0").expect(line);
        let minute = minute.strip_suffix(":00").expect(line).parse();
        let key = (fields[0].to_owned(), minute.expect(line));
        let minute = expected.remove(&key).expect(line);
        assert_near(fields[2].parse().expect(line), minute.mean);
        assert_near(fields[3].parse().expect(line), minute.peak);
        assert_eq!(fields[4].parse(), Ok(minute.count), "{line}");
        for (field, expected) in [(5, minute.trend), (6, minute.with_humidity)] {
            let found = fields[field].parse().ok();
            assert_eq!(found.is_some(), expected.is_some(), "{line}");
            if let (Some(found), Some(expected)) = (found, expected) {
                let found: f64 = found;
                assert!((found - expected).abs() < 1e-6, "{line}: {expected}");
            }
        }
    }
    assert!(expected.is_empty(), "{expected:?}");
}

#[test]
fn a_city_is_seen_in_its_twin_and_decided_about() {
    let [http, tcp, desk] = std::array::from_fn(|_| free_address().port());
    let doors = [(7105, http), (7106, tcp), (7107, desk)];
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut script = system("city.sql", &doors);
    for name in ["readings.parquet", "minutes.csv"] {
        let quoted = format!("path = '{name}'");
        assert!(script.contains(&quoted));
        script = script.replace(&quoted, &format!("path = '{}'", path(name).display()));
    }
    let (around, sent) = sensors(&doors);
    let around_path = path("sensors.sql").display().to_string();
    fs::write(&around_path, around).expect("written");

    let session = Session::new().expect("it starts");
    table(&session, &script);
    let mut city = City {
        begun: Instant::now(),
        session: &session,
        http,
        tcp,
        posted: Vec::new(),
        wired: Vec::new(),
        late: Vec::new(),
        raised: 0,
        acknowledged: 0,
    };
    thread::scope(|scope| {
        let running = scope.spawn(|| session.run());
        // Also where something is not as it is expected.
        let stop = Cancels(&session);
        city.begins();
        let around = windrow(&["run", &around_path, "--progress", "off"]).spawn();
        let mut around = Ends(Some(around.expect("the binary starts")));
        city.takes(&sent);
        city.decides(&sent);
        city.ends();
        interrupted(around.0.take().expect("it runs"));
        city.knows_every_sensor();
        city.counts_its_doors();
        city.is_told_how_well_it_judges();
        drop(stop);
        let ended = running.join().expect("it does not panic");
        assert!(ended.is_err_and(|error| error.kind() == ErrorKind::Cancelled));
    });
    let unwritten = session.stop().expect("the files can be written");
    assert_eq!(unwritten, Vec::<String>::new());
    assert_eq!(
        sorted(stored(&path("readings.parquet"))),
        sorted(city.all())
    );
    assert_minutes(&path("minutes.csv"), &city.on_time(), city.watermark());
}
