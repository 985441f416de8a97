//! Clients of InfluxDB at an HTTP source.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::http_testing::{Answer, numbers, post, send, serving};
use super::port::free_address;
use super::socket_testing::open;

/// Two streams at an address; the second takes a measurement of another name.
fn machines(address: SocketAddr) -> String {
    format!(
        "CREATE STREAM cpu (time TIMESTAMP, host TEXT, load DOUBLE, measurement TEXT) \
         WITH (connector = 'http', address = '{address}'); \
         CREATE STREAM disks (time TIMESTAMP, host TEXT, used BIGINT) \
         WITH (connector = 'http', address = '{address}', measurement = 'disk io'); \
         CREATE MATERIALIZED VIEW c AS SELECT * FROM cpu; \
         CREATE MATERIALIZED VIEW d AS SELECT * FROM disks;"
    )
}

#[test]
fn lines_go_to_the_stream_of_their_measurement() {
    let address = free_address();
    serving(&machines(address), |session| {
        let write = |target: &str, body: &str| -> Answer { post(address, target, &[], body) };
        // 1767225600 is midnight of 2026.
        let both = "cpu,host=a load=1.5 1767225600\n\
                    # a comment\n\
                    disk\\ io,host=a used=7i 1767225601\n\
                    cpu,host=b load=2 1767225602";
        for target in [
            "/write?db=telegraf&precision=s",
            "/api/v2/write?org=o&bucket=b&precision=s",
        ] {
            let written = write(target, both);
            assert_eq!(
                (written.status, written.body.as_str()),
                (204, ""),
                "{written:?}"
            );
        }
        let sums = "SELECT CAST(count(*) AS BIGINT), CAST(sum(load) * 10 AS BIGINT), \
                    CAST(max(epoch_s) AS BIGINT) \
                    FROM (SELECT *, CAST(to_unixtime(time) AS BIGINT) AS epoch_s FROM c)";
        assert_eq!(numbers(session, sums), [4, 70, 1_767_225_602]);
        let sums = "SELECT CAST(count(*) AS BIGINT), CAST(sum(used) AS BIGINT) FROM d";
        assert_eq!(numbers(session, sums), [2, 14]);
        // Named as the bucket, a stream takes all lines, whatever their measurement.
        let written = write(
            "/api/v2/write?bucket=cpu/autogen",
            "other load=3 1767225600000000000",
        );
        assert_eq!(written.status, 204, "{written:?}");
        let found = "SELECT CAST(count(*) AS BIGINT) FROM c WHERE measurement = 'other'";
        assert_eq!(numbers(session, found), [1]);
    });
}

#[test]
fn the_unit_of_times_is_that_of_precision() {
    let address = free_address();
    serving(&machines(address), |session| {
        for (precision, time) in [
            ("", "1767225600000000000"),
            ("ns", "1767225600000000000"),
            ("us", "1767225600000000"),
            ("u", "1767225600000000"),
            ("ms", "1767225600000"),
            ("s", "1767225600"),
            ("m", "29453760"),
            ("h", "490896"),
        ] {
            let target = format!("/write?db=x&precision={precision}");
            let written = post(address, &target, &[], format!("cpu load=1 {time}\n"));
            assert_eq!(written.status, 204, "{precision}: {written:?}");
        }
        let same = "SELECT CAST(count(*) AS BIGINT) FROM c \
                    WHERE time = TIMESTAMP '2026-01-01 00:00:00'";
        assert_eq!(numbers(session, same), [8]);
        let wrong = post(address, "/write?precision=days", &[], "cpu load=1 1\n");
        assert!(
            wrong.status == 400 && wrong.body.contains("must be ns"),
            "{wrong:?}"
        );
        // One that no column can hold.
        let target = "/write?precision=h";
        let far = post(address, target, &[], "cpu load=1 9000000000000\n");
        assert!(
            far.status == 400 && far.body.contains("out of range"),
            "{far:?}"
        );
        // Without a time a line is of now.
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("a clock")
        };
        let before = now().as_micros() as i64;
        assert_eq!(post(address, "/write", &[], "cpu load=5").status, 204);
        let after = now().as_micros() as i64;
        let found = "SELECT CAST(arrow_cast(time, 'Int64') AS BIGINT) FROM c WHERE load = 5";
        let [time] = numbers(session, found);
        assert!((before..=after).contains(&time), "{before} {time} {after}");
    });
}

#[test]
fn what_is_wrong_is_said_as_influxdb_says_it() {
    let address = free_address();
    serving(&machines(address), |session| {
        let v1 = |body: &str| post(address, "/write?db=x", &[], body);
        let v2 = |body: &str| post(address, "/api/v2/write?bucket=x", &[], body);
        let body = "cpu load=1 1\ncpu load=\n\nmemory free=1 1\ndisk\\ io used=1i 1\n";
        let partial = v1(body);
        assert_eq!(partial.status, 400, "{partial:?}");
        let error = partial.json()["error"].to_string();
        assert!(error.contains("partial write: line 2: "), "{error}");
        assert!(error.contains("dropped=2"), "{error}");
        let partial = v2(body).json();
        assert_eq!(partial["code"], "invalid");
        assert!(partial["message"].to_string().contains("line 2: "));
        // Lines of other streams and of none stand before it.
        let after = v1("disk\\ io used=1i 1\n# none\nmemory free=1 1\ncpu load=\n").json();
        let error = after["error"].to_string();
        assert!(error.contains("line 3: no stream takes"), "{error}");
        let place = "SELECT CAST(count(*) AS BIGINT) FROM rejected('cpu') \
                     WHERE position LIKE 'http 127.0.0.1:%:4'";
        assert_eq!(numbers(session, place), [1]);
        // The lines of a stream are counted as they were sent.
        let place = "SELECT CAST(count(*) AS BIGINT) FROM rejected('cpu') \
                     WHERE position LIKE 'http 127.0.0.1:%:2'";
        assert_eq!(numbers(session, place), [2]);
        let counts = "SELECT CAST(sum(received) AS BIGINT), CAST(sum(accepted) AS BIGINT), \
                      CAST(sum(rejected) AS BIGINT) FROM windrow.streams";
        assert_eq!(numbers(session, counts), [8, 5, 3]);
        let unknown = v2("disks used=1i 1");
        assert_eq!(unknown.status, 404, "{unknown:?}");
        assert_eq!(unknown.json()["code"], "not found");
        let message = unknown.json()["message"].to_string();
        assert!(
            message.contains("no stream takes the measurement"),
            "{message}"
        );
        assert_eq!(v1("").status, 204);
        assert_eq!(numbers(session, counts), [8, 5, 3]);
        let packed = |bytes: &[u8]| {
            let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
            writer.write_all(bytes).expect("into memory");
            writer.finish().expect("into memory")
        };
        let headers = [("Content-Encoding", "gzip")];
        let written = post(address, "/write?db=x", &headers, packed(b"cpu load=1 1\n"));
        assert_eq!(written.status, 204, "{written:?}");
        assert_eq!(numbers(session, counts), [9, 6, 3]);
    });
}

#[test]
fn clients_may_ask_before_they_write() {
    let address = free_address();
    serving(&machines(address), |_session| {
        let get = |target: &str| {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
            send(address, bytes.as_bytes())
        };
        let names = serde_json::json!([["cpu"], ["disks"]]);
        for target in [
            "/query?q=SHOW+DATABASES&db=cpu",
            "/query?q=show%20databases%3B",
        ] {
            let asked = get(target);
            assert_eq!(asked.status, 200, "{asked:?}");
            let series = &asked.json()["results"][0]["series"][0];
            assert_eq!(series["columns"], serde_json::json!(["name"]));
            assert_eq!(series["values"], names);
        }
        // As Telegraf asks.
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let body = "q=CREATE+DATABASE+%22telegraf%22";
        let made = post(address, "/query", &form, body);
        assert_eq!(made.status, 200, "{made:?}");
        let expected = serde_json::json!({ "results": [{ "statement_id": 0 }] });
        assert_eq!(made.json(), expected);
        for (asked, status, words) in [
            (get("/query"), 400, "q is missing"),
            (get("/query?q=SELECT+1"), 400, "SHOW DATABASES"),
            (get("/query?q=SHOW"), 400, "SHOW DATABASES"),
            (
                post(address, "/query", &form, "q=x".repeat(5_000)),
                413,
                "4096",
            ),
            (
                send(address, b"PUT /query?q=x HTTP/1.1\r\n\r\n"),
                405,
                "GET and POST",
            ),
        ] {
            assert_eq!(asked.status, status, "{asked:?}");
            let error = asked.json()["error"].to_string();
            assert!(error.contains(words), "{error}");
        }
        let pong = get("/ping");
        assert_eq!(pong.status, 204);
        assert!(pong.head.contains("\r\nX-Influxdb-Version: 1."), "{pong:?}");
        assert_eq!(get("/health").json()["status"], "pass");
        assert_eq!(get("/ready").json()["status"], "ready");
    });
}

#[test]
fn all_streams_of_a_body_take_it_or_none_does() {
    let address = free_address();
    // One source is never polled; streams that are opened so are of one name each kind.
    let options = [
        ("measurement", "a"),
        ("queue_rows", "3"),
        ("answer_timeout", "50 ms"),
    ];
    let mut source = open("http", &address.to_string(), &options);
    let write = |path: &str, body: &str| post(address, path, &[], body);
    assert_eq!(write("/write", "a n=1i\n").status, 204);
    // What each version's clients send again.
    for (path, status) in [("/write", 503), ("/api/v2/write", 429)] {
        let full = write(path, "a n=2i\na n=3i\na n=4i\n");
        assert_eq!(full.status, status, "{full:?}");
        assert!(full.head.contains("Retry-After: 1\r\n"), "{full:?}");
    }
    let came = super::socket_testing::until(&mut *source, |came| came.count > 0);
    assert_eq!(came.rows, ["1|-"]);
}
