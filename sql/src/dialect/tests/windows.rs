use super::*;

/// A call in short: `hop ts [INTERVAL '1' SECOND, …] by [k] offset … zone …`.
fn short(call: &WindowCall) -> String {
    let list = |all: Vec<String>| all.join(", ");
    let mut text = call.kind.name().to_lowercase();
    if let Some(time) = &call.time {
        text += &format!(" {time}");
    }
    text += &format!(
        " [{}]",
        list(call.sizes.iter().map(|s| s.to_string()).collect())
    );
    if !call.partition_by.is_empty() {
        let keys = call.partition_by.iter().map(|k| k.to_string()).collect();
        text += &format!(" by {}", list(keys));
    }
    if let Some(offset) = &call.offset {
        text += &format!(" offset {offset}");
    }
    if let Some(zone) = &call.timezone {
        text += &format!(" zone {zone}");
    }
    text
}

fn check(text: &str, sql: &str, calls: &[&str]) {
    let query = query(text);
    assert_eq!(plain(&query), sql, "{text}");
    let found: Vec<_> = query.windows.iter().map(short).collect();
    assert_eq!(found, calls, "{text}");
}

const MINUTE: &str = "tumble ts [INTERVAL '1' MINUTE]";

#[test]
fn the_canonical_forms() {
    let from = "SELECT * FROM windrow_window((SELECT * FROM r), 0)";
    for (call, expected) in [
        ("TUMBLE(r, ts, INTERVAL '1' MINUTE)", MINUTE),
        (
            "tumble(r, ts, INTERVAL '1 day', offset => INTERVAL '8 hours', timezone => 'Asia/Shanghai')",
            "tumble ts [INTERVAL '1 day'] offset INTERVAL '8 hours' zone Asia/Shanghai",
        ),
        (
            "HOP(r, ts, INTERVAL '1' SECOND, INTERVAL '1' MINUTE)",
            "hop ts [INTERVAL '1' SECOND, INTERVAL '1' MINUTE]",
        ),
        (
            "HOP(r, ts, INTERVAL '1' SECOND, INTERVAL '1' MINUTE, INTERVAL '5' SECOND)",
            "hop ts [INTERVAL '1' SECOND, INTERVAL '1' MINUTE] offset INTERVAL '5' SECOND",
        ),
        (
            "CUMULATE(r, ts, INTERVAL '1' HOUR, INTERVAL '1' DAY)",
            "cumulate ts [INTERVAL '1' HOUR, INTERVAL '1' DAY]",
        ),
        (
            "SESSION(r, ts, INTERVAL '5' MINUTE)",
            "session ts [INTERVAL '5' MINUTE]",
        ),
        (
            "SESSION(r PARTITION BY k, ts, INTERVAL '5' MINUTE)",
            "session ts [INTERVAL '5' MINUTE] by k",
        ),
        (
            "SESSION(r PARTITION BY (a, b), ts, INTERVAL '5' MINUTE)",
            "session ts [INTERVAL '5' MINUTE] by a, b",
        ),
        (
            "SESSION(r PARTITION BY a, r.b, c, ts, INTERVAL '5' MINUTE)",
            "session ts [INTERVAL '5' MINUTE] by a, b, c",
        ),
        ("COUNT_WINDOW(r, 100)", "count_window [100]"),
        (
            "COUNT_WINDOW(r PARTITION BY a, b, 100, 10)",
            "count_window [100, 10] by a, b",
        ),
        ("TUMBLE(r, r.ts, INTERVAL '1' MINUTE)", MINUTE),
        (
            "TUMBLE(r, \"Ts\", INTERVAL 1 HOUR)",
            "tumble \"Ts\" [INTERVAL 1 HOUR]",
        ),
    ] {
        check(&format!("SELECT * FROM {call}"), from, &[expected]);
    }
}

#[test]
fn flinks_forms() {
    let from = "SELECT * FROM windrow_window((SELECT * FROM r), 0)";
    let hop = "hop ts [INTERVAL '5' MINUTES, INTERVAL '10' MINUTES]";
    for (call, expected) in [
        (
            "TABLE(TUMBLE(TABLE r, DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
            MINUTE,
        ),
        (
            "TUMBLE(TABLE r, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
            MINUTE,
        ),
        (
            "TABLE(TUMBLE(DATA => TABLE r, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE))",
            MINUTE,
        ),
        (
            "TABLE(HOP(TABLE r, DESCRIPTOR(ts), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES))",
            hop,
        ),
        (
            "TABLE(HOP(SIZE => INTERVAL '10' MINUTES, DATA => TABLE r, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '5' MINUTES))",
            hop,
        ),
        (
            "TABLE(CUMULATE(DATA => TABLE r, TIMECOL => DESCRIPTOR(ts), STEP => INTERVAL '2' MINUTES, SIZE => INTERVAL '10' MINUTES, OFFSET => INTERVAL '1' MINUTES))",
            "cumulate ts [INTERVAL '2' MINUTES, INTERVAL '10' MINUTES] offset INTERVAL '1' MINUTES",
        ),
        (
            "SESSION(TABLE r PARTITION BY item, DESCRIPTOR(ts), INTERVAL '5' MINUTES)",
            "session ts [INTERVAL '5' MINUTES] by item",
        ),
        (
            "TABLE(SESSION(DATA => TABLE r PARTITION BY item, TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '5' MINUTES))",
            "session ts [INTERVAL '5' MINUTES] by item",
        ),
    ] {
        check(&format!("SELECT * FROM {call}"), from, &[expected]);
    }
}

#[test]
fn every_kind_of_source() {
    for (source, expected) in [
        ("r", "r"),
        ("public.r", "public.r"),
        ("\"Air quality\"", "\"Air quality\""),
        ("'data/x.csv'", "\"data/x.csv\""),
        ("'data/*.parquet'", "\"data/*.parquet\""),
        ("TABLE 'data/x.csv'", "\"data/x.csv\""),
        ("stdin", "stdin"),
        ("TABLE(r)", "r"),
        ("late('r')", "late('r')"),
    ] {
        check(
            &format!("SELECT * FROM TUMBLE({source}, ts, INTERVAL '1' MINUTE) AS w"),
            &format!("SELECT * FROM windrow_window((SELECT * FROM {expected}), 0) AS w"),
            &[MINUTE],
        );
    }
    check(
        "SELECT * FROM TUMBLE((SELECT a, ts FROM r WHERE a > 1), ts, INTERVAL '1' MINUTE)",
        "SELECT * FROM windrow_window((SELECT a, ts FROM r WHERE a > 1), 0)",
        &[MINUTE],
    );
    check(
        "WITH c AS (SELECT * FROM 'x.csv') SELECT * FROM TUMBLE(c, ts, INTERVAL '1' MINUTE)",
        "WITH c AS (SELECT * FROM \"x.csv\") SELECT * FROM windrow_window((SELECT * FROM c), 0)",
        &[MINUTE],
    );
    check(
        "SELECT * FROM 'a.csv' AS a JOIN \"B.csv\" ON a.k = 'x'",
        "SELECT * FROM \"a.csv\" AS a JOIN \"B.csv\" ON a.k = 'x'",
        &[],
    );
}

#[test]
fn windows_in_joins_subqueries_and_windows() {
    check(
        "SELECT * FROM TUMBLE(a, ts, INTERVAL '1' MINUTE) x JOIN HOP(b, t, INTERVAL '1' SECOND, INTERVAL '1' MINUTE) y USING (window_start)",
        "SELECT * FROM windrow_window((SELECT * FROM a), 0) x JOIN windrow_window((SELECT * FROM b), 1) y USING(window_start)",
        &[MINUTE, "hop t [INTERVAL '1' SECOND, INTERVAL '1' MINUTE]"],
    );
    check(
        "SELECT * FROM TUMBLE(TUMBLE(r, ts, INTERVAL '1' MINUTE), window_time, INTERVAL '1' HOUR)",
        "SELECT * FROM windrow_window((SELECT * FROM windrow_window((SELECT * FROM r), 1)), 0)",
        &["tumble window_time [INTERVAL '1' HOUR]", MINUTE],
    );
    check(
        "SELECT * FROM (SELECT * FROM TUMBLE(r, ts, INTERVAL '1' MINUTE)) WHERE x IN (SELECT y FROM SESSION(s, t, INTERVAL '1' HOUR))",
        "SELECT * FROM (SELECT * FROM windrow_window((SELECT * FROM r), 0)) WHERE x IN (SELECT y FROM windrow_window((SELECT * FROM s), 1))",
        &[MINUTE, "session t [INTERVAL '1' HOUR]"],
    );
}

#[test]
fn the_place_of_a_call() {
    let text = "SELECT * FROM TABLE(TUMBLE((SELECT f(a) FROM r), ts, INTERVAL '1' MINUTE)) AS w";
    let query = query(text);
    assert_eq!(
        &text[query.windows[0].span.clone()],
        "TUMBLE((SELECT f(a) FROM r), ts, INTERVAL '1' MINUTE)"
    );
    let time = query.windows[0].time.as_ref().unwrap();
    assert_eq!(&text[query.positions.range(time.span).unwrap()], "ts");
}

#[test]
fn flinks_grouping_forms() {
    check(
        "SELECT sensor, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS s, avg(x) FROM readings WHERE x > 0 GROUP BY sensor, TUMBLE(ts, INTERVAL '1' MINUTE)",
        "SELECT sensor, window_start AS s, avg(x) FROM windrow_window((SELECT * FROM readings), 0) AS readings WHERE x > 0 GROUP BY sensor, window_start, window_end",
        &[MINUTE],
    );
    check(
        "SELECT HOP_END(r.ts, INTERVAL '1' SECOND, INTERVAL '1' MINUTE), count(*) FROM readings AS r GROUP BY HOP(r.ts, INTERVAL '1' SECOND, INTERVAL '1' MINUTE), r.k HAVING HOP_START(r.ts, INTERVAL '1' SECOND, INTERVAL '1' MINUTE) > '2026-01-01' ORDER BY HOP_START(r.ts, INTERVAL '1' SECOND, INTERVAL '1' MINUTE)",
        "SELECT window_end, count(*) FROM windrow_window((SELECT * FROM readings AS r), 0) AS r GROUP BY window_start, window_end, r.k HAVING window_start > '2026-01-01' ORDER BY window_start",
        &["hop ts [INTERVAL '1' SECOND, INTERVAL '1' MINUTE]"],
    );
    check(
        "SELECT TUMBLE_ROWTIME(ts, INTERVAL '1' MINUTE) FROM (SELECT * FROM r) GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)",
        "SELECT window_time FROM windrow_window((SELECT * FROM (SELECT * FROM r)), 0) GROUP BY window_start, window_end, window_time",
        &[MINUTE],
    );
    // WHERE comes before the sessions are formed, and the keys are the session's.
    check(
        "SELECT k, SESSION_START(ts, INTERVAL '5' MINUTE), count(*) FROM r WHERE r.x > 0 GROUP BY 1, SESSION(ts, INTERVAL '5' MINUTE)",
        "SELECT k, window_start, count(*) FROM windrow_window((SELECT * FROM r WHERE r.x > 0), 0) AS r GROUP BY 1, window_start, window_end",
        &["session ts [INTERVAL '5' MINUTE] by k"],
    );
    check(
        "SELECT count(*) FROM 'x.csv' GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)",
        "SELECT count(*) FROM windrow_window((SELECT * FROM \"x.csv\"), 0) AS \"x.csv\" GROUP BY window_start, window_end",
        &[MINUTE],
    );
}

#[test]
fn arroyos_grouping_forms() {
    let window = "named_struct('start', window_start, 'end', window_end) AS window";
    let hop = "hop [INTERVAL '2 seconds', INTERVAL '10 seconds']";
    for group in [
        "window",
        "1",
        "hop(interval '2 seconds', interval '10 seconds')",
    ] {
        check(
            &format!(
                "SELECT hop(interval '2 seconds', interval '10 seconds') as window, k, count(*) FROM r GROUP BY {group}, k"
            ),
            &format!(
                "SELECT {window}, k, count(*) FROM windrow_window((SELECT * FROM r), 0) AS r GROUP BY window_start, window_end, k"
            ),
            &[hop],
        );
    }
    check(
        "SELECT tumble(interval '1' minute), count(*) FROM r GROUP BY 1",
        &format!(
            "SELECT {window}, count(*) FROM windrow_window((SELECT * FROM r), 0) AS r GROUP BY window_start, window_end"
        ),
        &["tumble [INTERVAL '1' MINUTE]"],
    );
    check(
        "SELECT count(*) FROM r GROUP BY k, session(interval '30 seconds')",
        "SELECT count(*) FROM windrow_window((SELECT * FROM r), 0) AS r GROUP BY k, window_start, window_end",
        &["session [INTERVAL '30 seconds'] by k"],
    );
    // Two windowed subqueries, joined on the window.
    check(
        "SELECT a.window.start, b.n FROM (SELECT tumble(interval '1' hour) AS window, count(*) AS n FROM x GROUP BY window) AS a JOIN (SELECT tumble(interval '1' hour) AS window, count(*) AS n FROM y GROUP BY window) AS b ON a.window = b.window",
        &format!(
            "SELECT a.window.start, b.n FROM (SELECT {window}, count(*) AS n FROM windrow_window((SELECT * FROM x), 0) AS x GROUP BY window_start, window_end) AS a JOIN (SELECT {window}, count(*) AS n FROM windrow_window((SELECT * FROM y), 1) AS y GROUP BY window_start, window_end) AS b ON a.window = b.window"
        ),
        &["tumble [INTERVAL '1' HOUR]", "tumble [INTERVAL '1' HOUR]"],
    );
    // In each branch of a union, and in a CTE.
    check(
        "WITH c AS (SELECT tumble(interval '1' hour) AS w FROM x GROUP BY w) SELECT 1 FROM c UNION ALL SELECT 2 FROM y GROUP BY tumble(interval '1' hour)",
        "WITH c AS (SELECT named_struct('start', window_start, 'end', window_end) AS w FROM windrow_window((SELECT * FROM x), 0) AS x GROUP BY window_start, window_end) SELECT 1 FROM c UNION ALL SELECT 2 FROM windrow_window((SELECT * FROM y), 1) AS y GROUP BY window_start, window_end",
        &["tumble [INTERVAL '1' HOUR]", "tumble [INTERVAL '1' HOUR]"],
    );
    check(
        "SELECT window.start, n FROM v WHERE window.end > '2026-01-01'",
        "SELECT window.start, n FROM v WHERE window.end > '2026-01-01'",
        &[],
    );
}
