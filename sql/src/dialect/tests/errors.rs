use super::*;

fn check(text: &str, expected: &str) {
    assert_eq!(error(text), expected, "{text}");
}

#[test]
fn mistyped_keywords() {
    check(
        "SELCT * FROM r",
        "no statement starts with `SELCT`\n  --> sql:1:1: SELCT\n   = help: did you mean SELECT?",
    );
    check(
        "SELECT 1;\n  CREATE STEAM s (x INT)",
        "CREATE STEAM is not known\n  --> sql:2:10: STEAM\n   = help: did you mean CREATE STREAM?",
    );
    check(
        "SELECT a FORM r",
        "`r` is not expected here\n  --> sql:1:15: r\n   = help: did you mean FROM instead of FORM?",
    );
    check(
        "SELECT * FORM r",
        "`FORM` is not expected here\n  --> sql:1:10: FORM\n   = help: did you mean FROM instead of FORM?",
    );
    check(
        "SELECT a FROM r GRUOP BY a",
        "`BY` is not expected here\n  --> sql:1:23: BY\n   = help: did you mean GROUP BY instead of GRUOP?",
    );
    check(
        "SELECT * FROM TUMBEL(r, ts, INTERVAL '1' MINUTE)",
        "there is no table function TUMBEL\n  --> sql:1:15: TUMBEL(r, ts, INTERVAL '1' MINUTE)\n   = help: did you mean TUMBLE?",
    );
    check(
        "SHOW STREMS",
        "there is nothing to show called strems\n  --> sql:1:6: STREMS\n   = help: did you mean SHOW STREAMS?",
    );
    check(
        "SELECT 1 EMIT CHANGE",
        "EMIT CHANGE is not known\n  --> sql:1:15: CHANGE\n   = help: write EMIT ON WINDOW CLOSE, EMIT CHANGES or EMIT EVERY INTERVAL '10' SECOND",
    );
    check(
        "CREATE STREAM s (ts TIMESTAM)",
        "there is no type `TIMESTAM`\n  --> sql:1:21: TIMESTAM\n   = help: did you mean TIMESTAMP?",
    );
}

#[test]
fn forgotten_commas() {
    check(
        "SELECT sensor pm v FROM r",
        "`v` is not expected here\n  --> sql:1:18: v\n   = help: a comma may be missing before it",
    );
}

#[test]
fn forgotten_words() {
    check(
        "SELECT a FROM r GROUP a",
        "`GROUP` is not expected here\n  --> sql:1:17: GROUP\n   = help: write GROUP BY",
    );
    check(
        "SELECT avg(x) OVER (PARTITION k ORDER BY ts) FROM r",
        "ROWS, RANGE or GROUPS is expected before `PARTITION`\n  --> sql:1:21: PARTITION\n   = help: write PARTITION BY",
    );
    check(
        "SELECT * FROM r WHERE ts > x - INTERVAL '1' SECONDE",
        "`SECONDE` is not expected here\n  --> sql:1:45: SECONDE\n   = help: did you mean SECOND instead of SECONDE?",
    );
    check(
        "CREATE STREAM s (ts TIMESTAMP, WATERMARK ts)",
        "there is no type `ts`\n  --> sql:1:42: ts\n   = help: write WATERMARK FOR ts, or WATERMARK FOR ts AS ts - INTERVAL '5' SECOND",
    );
    check(
        "DROP v",
        "STREAM, VIEW, SINK or QUERY is expected before `v`\n  --> sql:1:6: v\n   = help: write DROP STREAM v",
    );
    check(
        "EXPLAIN",
        "the statement ends where a query is expected\n  --> sql:1:1: EXPLAIN",
    );
}

#[test]
fn unfinished_statements() {
    check(
        "SELECT a FROM",
        "the statement ends where a name is expected\n  --> sql:1:10: FROM",
    );
    check(
        "SELECT a FROM r WHERE",
        "the statement ends where an expression is expected\n  --> sql:1:17: WHERE",
    );
    check(
        "CREATE STREAM",
        "the statement ends where the name of a stream is expected\n  --> sql:1:8: STREAM",
    );
    check(
        "SELECT 'abc",
        "this text is never closed\n  --> sql:1:8: 'abc\n   = help: close it with '; a quote inside is written twice: ''",
    );
    check(
        "SELECT 1 /* abc",
        "this comment is never closed\n  --> sql:1:16: \n   = help: close it with */",
    );
    check(
        "SELECT (1 + 2",
        "the statement ends where `)` is expected\n  --> sql:1:13: 2",
    );
}

#[test]
fn what_would_be_misread() {
    check(
        "SELECT 1_000",
        "`1_000` is no number\n  --> sql:1:8: 1_000\n   = help: write 1000",
    );
    check(
        "SELECT INTERVAL 5min",
        "`5min` is no number\n  --> sql:1:17: 5min\n   = help: write INTERVAL '5min'",
    );
    check(
        "SELECT FROM r",
        "the select list is empty\n  --> sql:1:1: SELECT FROM r\n   = help: write SELECT *",
    );
    check(
        "SELECT * FROM r TABLESAMPLE (10 PERCENT)",
        "TABLESAMPLE is not supported\n  --> sql:1:15: r\n   = help: filter with WHERE random() < 0.1",
    );
    check(
        "SELECT sum(x) OVER v FROM r WINDOW w AS (ORDER BY ts)",
        "there is no window v\n  --> sql:1:20: v\n   = help: did you mean w?",
    );
    check(
        "SELECT sum(x) OVER (w PARTITION BY a) FROM r WINDOW w AS (PARTITION BY k ORDER BY ts)",
        "the window w cannot be given another PARTITION BY\n  --> sql:1:21: w\n   = help: write the whole window without w",
    );
    check(
        "SELECT * FROM (SELECT a FROM r EMIT CHANGES)",
        "`CHANGES` is not expected here\n  --> sql:1:37: CHANGES\n   = help: EMIT and ALLOW LATENESS stand at the end of the statement, outside parentheses",
    );
}

#[test]
fn errors_inside_of_subqueries() {
    for (text, message, place) in [
        (
            "SELECT * FROM (SELECT a FORM r) AS x",
            "`r` is not expected here",
            "1:30: r",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT a FORM r), ts, INTERVAL '1' HOUR)",
            "`r` is not expected here",
            "1:37: r",
        ),
        (
            "SELECT (SELECT 1), a FROM b JOIN (SELECT a FROM (SELECT a FORM r)) c USING (a)",
            "`r` is not expected here",
            "1:64: r",
        ),
    ] {
        check(
            text,
            &format!("{message}\n  --> sql:{place}\n   = help: did you mean FROM instead of FORM?"),
        );
    }
}

#[test]
fn watermarks() {
    let forms = "write WATERMARK FOR ts, or WATERMARK FOR ts AS ts - INTERVAL '5' SECOND";
    check(
        "CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS ts + INTERVAL '5' SECOND)",
        &format!(
            "a watermark is ts or ts minus a constant interval\n  --> sql:1:52: ts + INTERVAL '5' SECOND\n   = help: {forms}"
        ),
    );
    check(
        "CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' MONTH)",
        &format!(
            "the bound of a watermark is a constant interval of days or less, not negative\n  --> sql:1:52: ts - INTERVAL '1' MONTH\n   = help: {forms}"
        ),
    );
    check(
        "CREATE STREAM s (time TIMESTAMP, WATERMARK FOR tme)",
        "the stream has no column tme\n  --> sql:1:48: tme\n   = help: did you mean time?",
    );
}

#[test]
fn columns_and_options() {
    check(
        "CREATE STREAM s (a INT, A TEXT)",
        "the column a is declared twice\n  --> sql:1:25: A",
    );
    check(
        "CREATE STREAM s (a INT PRIMARY KEY)",
        "a stream has no key\n  --> sql:1:24: PRIMARY\n   = help: to keep the latest row of each key, query last_value(x ORDER BY ts) … GROUP BY key",
    );
    check(
        "CREATE STREAM s (a TIMESTAMP(5))",
        "a time has a precision of 0, 3, 6 or 9 digits, not 5\n  --> sql:1:20: TIMESTAMP(5)",
    );
    check(
        "CREATE STREAM s WITH (format 'csv')",
        "`=` is expected after an option's name\n  --> sql:1:30: 'csv'\n   = help: write format = '…'",
    );
    check(
        "CREATE STREAM s WITH (a = 1, A = 2)",
        "the option a is given twice\n  --> sql:1:30: A",
    );
    check(
        "ALTER STREAM s ADVANCE WATERMARK TO 'noon'",
        "'noon' is no time\n  --> sql:1:37: 'noon'\n   = help: write it as '2026-01-01 00:00:00' (UTC), or with an offset or Z",
    );
}

#[test]
fn calls_of_window_functions() {
    let tumble = "\n   = help: write TUMBLE(readings, ts, INTERVAL '1' MINUTE)";
    for (call, message, place) in [
        ("TUMBLE(r, ts)", "TUMBLE needs a size", "15: TUMBLE(r, ts)"),
        (
            "TUMBLE(r, INTERVAL '1' MINUTE)",
            "TUMBLE needs the event-time column before its INTERVAL",
            "34: '1'",
        ),
        (
            "TUMBLE(r, ts, 60)",
            "the size of TUMBLE is an INTERVAL, not `60`",
            "29: 60",
        ),
        (
            "TUMBLE(r, ts, '1 minute')",
            "the size of TUMBLE is an INTERVAL, not `'1 minute'`",
            "29: '1 minute'",
        ),
        (
            "TUMBLE(r, a + 1, INTERVAL '1' MINUTE)",
            "the event time of TUMBLE is a column, not `a + 1`",
            "25: a + 1",
        ),
        (
            "TUMBLE(r, ts, INTERVAL '1' DAY, INTERVAL '1' DAY, 5)",
            "TUMBLE takes 4 arguments, not 5",
            "15: TUMBLE(r, ts, INTERVAL '1' DAY, INTERVAL '1' DAY, 5)",
        ),
        (
            "TUMBLE(5, ts, INTERVAL '1' MINUTE)",
            "TUMBLE needs a table, not `5`",
            "22: 5",
        ),
    ] {
        check(
            &format!("SELECT * FROM {call}"),
            &format!("{message}\n  --> sql:1:{place}{tumble}"),
        );
    }
    check(
        "SELECT * FROM HOP(r, ts, INTERVAL '1' SECOND, sise => INTERVAL '1' MINUTE)",
        "HOP has no parameter sise\n  --> sql:1:47: sise\n   = help: did you mean size?",
    );
    check(
        "SELECT * FROM HOP(r, INTERVAL '1' SECOND, INTERVAL '1' MINUTE, INTERVAL '1' MINUTE)",
        "HOP needs the event-time column before its INTERVAL\n  --> sql:1:31: '1'\n   = help: write HOP(readings, ts, INTERVAL '10' SECOND, INTERVAL '1' MINUTE)",
    );
    check(
        "SELECT * FROM COUNT_WINDOW(r, INTERVAL '1' HOUR)",
        "the rows of COUNT_WINDOW is a number of rows, not `INTERVAL '1' HOUR`\n  --> sql:1:40: '1'\n   = help: write COUNT_WINDOW(readings PARTITION BY sensor, 100)",
    );
    check(
        "SELECT * FROM TUMBLE(r PARTITION BY k, ts, INTERVAL '1' HOUR)",
        "TUMBLE takes no PARTITION BY\n  --> sql:1:15: TUMBLE(r PARTITION BY k, ts, INTERVAL '1' HOUR)\n   = help: group by the key instead: GROUP BY sensor, window_start, window_end",
    );
}

#[test]
fn grouping_forms() {
    let tumble =
        "write FROM TUMBLE(readings, ts, INTERVAL '1' MINUTE) … GROUP BY window_start, window_end";
    check(
        "SELECT TUMBLE_START(ts, INTERVAL '1' HOUR) FROM r GROUP BY k",
        &format!(
            "TUMBLE_START needs GROUP BY TUMBLE\n  --> sql:1:8: TUMBLE_START(ts, INTERVAL '1' HOUR)\n   = help: {tumble}"
        ),
    );
    check(
        "SELECT TUMBLE_START(ts, INTERVAL '1' DAY) FROM r GROUP BY TUMBLE(ts, INTERVAL '1' HOUR)",
        &format!(
            "TUMBLE_START is not the window that the query is grouped by\n  --> sql:1:8: TUMBLE_START(ts, INTERVAL '1' DAY)\n   = help: {tumble}"
        ),
    );
    check(
        "SELECT count(*) FROM r GROUP BY TUMBLE(ts, 60)",
        &format!("TUMBLE needs one INTERVAL\n  --> sql:1:33: TUMBLE(ts, 60)\n   = help: {tumble}"),
    );
    check(
        "SELECT 1 FROM a JOIN b ON a.k = b.k GROUP BY tumble(INTERVAL '1' HOUR)",
        "GROUP BY TUMBLE over a join is not supported\n  --> sql:1:46: tumble(INTERVAL '1' HOUR)\n   = help: join in a subquery: FROM TUMBLE((SELECT … FROM a JOIN b …), ts, …)",
    );
}
