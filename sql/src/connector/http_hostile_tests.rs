//! Bodies that mean harm: each row is answered for, and none beside it is lost.

use super::http_testing::{ACCOUNT, numbers, post, readings, send, serving};
use super::port::free_address;

const GOOD: [&str; 2] = [
    "{\"ts\":\"2026-01-01T00:00:01Z\",\"s\":\"a\",\"v\":1}\n",
    "{\"ts\":\"2026-01-01T00:00:02Z\",\"s\":\"b\",\"v\":2}\n",
];

#[test]
fn a_row_that_cannot_be_read_harms_no_other() {
    let deep = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat();
    let keys: String = (0..100_000).map(|key| format!("\"{key:x}\":0,")).collect();
    let of = |v: &str| format!("{{\"ts\":\"2026-01-01T00:00:01Z\",\"v\":{v}}}\n").into_bytes();
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (of(&deep("[", "]")), "128"),
        (of(&deep("{\"a\":", "}")), "128"),
        (of("1e400"), "range"),
        (of("\"warm\""), "column v"),
        (of("[1]"), "column v"),
        (b"{\"ts\":\"2026-01-01T0".to_vec(), "JSON"),
        (b"{\"ts\":\"2026-13-01T00:00:00Z\"}".to_vec(), "column ts"),
        (b"{\"s\":\"\xC3\x28\"}".to_vec(), "UTF-8"),
        (vec![b'x'; 2 << 20], "line_bytes_max"),
        (format!("{{{keys}\"v\":\"warm\"}}").into_bytes(), "column v"),
    ];
    let address = free_address();
    // A row of many keys takes its time where nothing is optimised.
    let options = ", format = 'ndjson', answer_timeout = '60 seconds'";
    serving(&readings(address, options), |session| {
        let count = bad.len() as i64;
        for (row, reason) in &bad {
            let body = [GOOD[0].as_bytes(), row, b"\n", GOOD[1].as_bytes()].concat();
            let answer = post(address, "/ingest/readings", &[], body);
            let start = String::from_utf8_lossy(&row[..row.len().min(40)]);
            assert_eq!(answer.counts(), [3, 2, 0, 1], "{start}: {answer:?}");
            assert!(answer.body.contains(reason), "{start}: {answer:?}");
            assert!(answer.body.len() < 8_192, "{start}");
        }
        // More columns than there are, of which only ours count.
        let wide = format!("{{{keys}{}", &GOOD[0][1..]);
        let answer = post(address, "/ingest/readings", &[], wide);
        assert_eq!(answer.counts(), [1, 1, 0, 0], "{answer:?}");
        let fields = "1,".repeat(100_000);
        let csv = format!("ts,s,v\n2026-01-01T00:00:03Z,a,1\n{fields}\n2026-01-01T00:00:04Z,b,2\n");
        let answer = post(
            address,
            "/ingest/readings",
            &[("Content-Type", "text/csv")],
            csv,
        );
        assert_eq!(answer.counts(), [3, 2, 0, 1], "{answer:?}");
        let account = numbers::<4>(session, ACCOUNT);
        assert_eq!(account, [3 * count + 4, 2 * count + 3, count + 1, 0]);
    });
}

#[test]
fn a_line_of_blanks_does_not_end_a_body() {
    let address = free_address();
    serving(&readings(address, ", format = 'ndjson'"), |session| {
        // Another program on the way may take what follows for a part of the same body.
        let head =
            "POST /ingest/readings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let row = GOOD[0];
        let chunk = format!("{:x}\r\n{row}\r\n0\r\n", row.len());
        let answer = send(address, format!("{head}{chunk} \r\n\r\n").as_bytes());
        assert_eq!(answer.status, 400, "{answer:?}");
        let answer = send(address, format!("{head}{chunk}a: b\r\n\r\n").as_bytes());
        assert_eq!(answer.counts(), [1, 1, 0, 0], "{answer:?}");
        assert_eq!(numbers::<4>(session, ACCOUNT), [1, 1, 0, 0]);
    });
}
