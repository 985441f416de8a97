//! Statements.

use proptest::prelude::*;

use super::{Bytes, edited, fuzz};
use crate::Session;

const SEEDS: &[&str] = &[
    "CREATE STREAM s (ts TIMESTAMP NOT NULL, k TEXT, x DOUBLE CHECK (x > 0), WATERMARK FOR ts AS \
     ts - INTERVAL '5' SECOND)",
    "SELECT k, window_start, sum(x) FROM TUMBLE(s, ts, INTERVAL '1' MINUTE) GROUP BY k, window_start",
    "SELECT TUMBLE_START(ts, INTERVAL '1' DAY), count(*) FROM s GROUP BY TUMBLE(ts, INTERVAL '1' DAY) \
     EMIT CHANGES; SHOW STREAMS",
    "SELECT x, avg(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING \
     AND CURRENT ROW) FROM s WHERE x BETWEEN 1 AND 2 OR k LIKE 'ä%' -- so\n",
    "CREATE MATERIALIZED VIEW v AS SELECT * FROM (VALUES (1, 'a'), (2, NULL)) t(n, s); DROP VIEW v",
    "INSERT INTO s VALUES (TIMESTAMP '2026-01-01 00:00:00', 'a', 1.5); ADVANCE WATERMARK OF s TO \
     '2026-01-01'; SET timezone = 'UTC'",
];

const WORDS: &[&[u8]] = &[
    b"(",
    b")",
    b"((((((((((((((((((((",
    b"))",
    b",",
    b";",
    b"'",
    b"''",
    b"\"",
    b"`",
    b"--",
    b"/*",
    b"*/",
    b"$$",
    b"$1",
    b"?",
    b".",
    b"..",
    b"=>",
    b"::",
    b"||",
    b"-",
    b"1e999",
    b"99999999999999999999",
    b"0x",
    b"NULL",
    b" NOT ",
    b" CASE WHEN ",
    b" END ",
    b" AS ",
    b" OVER ",
    b" IN (",
    b" FROM ",
    b" SELECT ",
    b" UNION ALL ",
    b" WITH RECURSIVE ",
    b" INTERVAL '1' DAY ",
    b"INTERVAL '-9999999999' YEAR",
    b" GROUP BY ",
    b" ORDER BY ",
    b" HAVING ",
    b" JOIN ",
    b" WHERE ",
    b"HOP(",
    b"SESSION(",
    b"CUMULATE(",
    b" EMIT ",
    b" CREATE ",
    b" STREAM ",
    b"\0",
    b"\xC3\xA9",
    b"\xF0\x9F\x8C\xBE",
    b"\xE2\x80\x8B",
    b"\n",
];

/// Any text gets an answer: rows, or an error that says something and points into the text.
#[test]
fn statements() {
    let seeds = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    fuzz("statements", &edited(seeds, WORDS, 5), |Bytes(bytes)| {
        let text = String::from_utf8_lossy(&bytes);
        let session = Session::new().expect("it starts");
        if session.sql(SEEDS[0]).is_err() {
            return Err(TestCaseError::fail("the stream is not declared"));
        }
        if let Err(error) = session.sql(&text) {
            prop_assert!(!error.message().trim().is_empty());
            if let Some(span) = error.span() {
                prop_assert!(
                    text.get(span.clone()).is_some(),
                    "{:?} of {}",
                    span,
                    text.len()
                );
            }
        }
        Ok(())
    });
}
