//! Deep statements, names of columns, and clauses that would be read past.

use super::*;
use crate::error::ErrorKind;

fn chain(term: &str, terms: usize, operator: &str) -> String {
    format!("SELECT {}", vec![term; terms].join(operator))
}

#[test]
fn long_chains_are_read_up_to_a_limit() {
    // As deep a stack as planning has.
    let reading = std::thread::Builder::new().stack_size(64 << 20);
    let reading = reading.spawn(read_long_chains).unwrap();
    reading.join().unwrap();
}

fn read_long_chains() {
    query(&chain("a", 300, " + "));
    query(&chain("a = 1", 450, " OR "));
    // Beside each other, not inside.
    query(&format!("SELECT {}", vec!["a + 1"; 5_000].join(", ")));
    query(&format!(
        "SELECT CASE {} END",
        "WHEN a = 1 THEN b + 1 ".repeat(2_000)
    ));
    query(&format!("SELECT a IN ({})", vec!["-1"; 5_000].join(", ")));
    for text in [
        chain("a", 600, " + "),
        chain("a = 1", 1_500, " OR "),
        chain("a", 100_000, " + "),
        format!("SELECT {}", vec!["1"; 100_000].join("||")),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(100_000)),
        format!("SELECT * FROM {}", vec!["t"; 100_000].join(", ")),
        format!("SELECT * FROM t {}", "JOIN t ON true ".repeat(100_000)),
        format!("SELECT a{}", " IS NULL".repeat(100_000)),
        // Each level alone is short.
        format!(
            "SELECT {}1{}",
            "(".repeat(20),
            "+ 1".repeat(40).to_owned() + &(")".to_owned() + &"+ 1".repeat(40)).repeat(20)
        ),
    ] {
        let error = parse_script(&script(&text)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{:.60}", text);
        assert!(
            error.to_string().contains("nested deeper than 500"),
            "{error}"
        );
    }
}

#[test]
fn computed_intervals_are_not_nested_deep() {
    // Each level doubles what the parser does.
    for text in [
        format!(
            "SELECT {}ts{}",
            "f(ts, INTERVAL ".repeat(40),
            ")".repeat(40)
        ),
        format!("SELECT {}1", "INTERVAL ".repeat(40)),
        format!("SELECT {}1", "INTERVAL -".repeat(40)),
    ] {
        let error = parse_script(&script(&text)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{text}");
        let told = error.to_string();
        assert!(
            told.contains("intervals are nested deeper than 8"),
            "{told}"
        );
    }
    let literals = "f(ts, INTERVAL '1' DAY + ".repeat(12) + "INTERVAL '1' DAY" + &")".repeat(12);
    query(&format!("SELECT {literals} FROM t"));
    query(&format!(
        "SELECT {} FROM t",
        vec!["CAST(a AS INTERVAL)"; 40].join(" + ")
    ));
    query(&format!(
        "SELECT {} FROM t",
        vec!["a::INTERVAL"; 40].join(" + ")
    ));
}

/// The names that a query gives its columns; `?` where it gives none.
fn names(text: &str) -> Vec<String> {
    let SetExpr::Select(select) = *query(text).ast.body else {
        panic!("{text}");
    };
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
        _ => "?".into(),
    };
    select.projection.iter().map(name).collect()
}

#[test]
fn columns_are_called_as_they_are_written() {
    assert_eq!(
        names("SELECT k, t.k, (k), count(*), Sum( v )  + 1, 'a,b' || k, v AS w FROM t"),
        ["?", "?", "?", "count(*)", "Sum( v ) + 1", "'a,b' || k", "w"]
    );
    assert_eq!(
        names("WITH t AS (SELECT 1 + 1, 2) SELECT DISTINCT a - 1 FROM t"),
        ["a - 1"]
    );
    assert_eq!(
        names("SELECT a IS DISTINCT FROM b, 1"),
        ["a IS DISTINCT FROM b", "1"]
    );
    assert_eq!(
        names("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v), 1 FROM r"),
        ["percentile_cont(0.5) WITHIN GROUP (ORDER BY v)", "1"]
    );
    assert_eq!(
        names("SELECT (SELECT 1, 2 FROM t), -- why\n x\n+\n1 FROM t"),
        ["(SELECT 1, 2 FROM t)", "x + 1"]
    );
    assert_eq!(names("FROM t SELECT a * 2"), ["a * 2"]);
    assert_eq!(names("SELECT unnest(a) FROM t"), ["?"]);
}

#[test]
fn what_would_be_read_past_is_refused() {
    for (text, message, help) in [
        (
            "SELECT count(*) FROM t GROUP BY a WITH ROLLUP",
            "WITH ROLLUP is not supported",
            "ROLLUP (a, b)",
        ),
        (
            "SELECT count(*) FROM t GROUP BY a WITH TOTALS",
            "WITH TOTALS is not supported",
            "GROUPING SETS",
        ),
        (
            "SELECT * ILIKE 'x%' FROM t",
            "* ILIKE is not supported",
            "EXCLUDE",
        ),
        (
            "SELECT a FROM t LIMIT 1 BY b",
            "LIMIT … BY is not supported",
            "row_number()",
        ),
        ("SELECT TOP 3 a FROM t", "TOP is not supported", "LIMIT"),
        (
            "SELECT a FROM t SORT BY a",
            "SORT BY is not supported",
            "ORDER BY",
        ),
        (
            "SELECT a FROM t CLUSTER BY a",
            "CLUSTER BY is not supported",
            "leave it out",
        ),
        (
            "SELECT a FROM t LATERAL VIEW explode(b) x AS y",
            "LATERAL VIEW is not supported",
            "unnest",
        ),
        (
            "SELECT a COLLATE de FROM t",
            "COLLATE is not supported",
            "lower",
        ),
        (
            "SELECT * FROM t PIVOT(sum(v) FOR k IN ('a'))",
            "PIVOT is not supported",
            "FILTER",
        ),
        (
            "SELECT ts - INTERVAL '1' FROM t",
            "INTERVAL '1' has no unit",
            "INTERVAL '1' SECOND",
        ),
        (
            "CREATE STREAM s (a INT CHECK (b > INTERVAL '1'))",
            "INTERVAL '1' has no unit",
            "SECOND",
        ),
    ] {
        let told = error(text);
        assert!(told.starts_with(message), "{text}\n{told}");
        assert!(told.contains(help), "{text}\n{told}");
    }
    // The standard's own form stays.
    query("SELECT a, count(*) FROM t GROUP BY ROLLUP (a)");
}

#[test]
fn emit_may_be_the_alias_of_a_joined_table() {
    let query = query("SELECT * FROM r JOIN t emit ON emit.a = r.a");
    assert_eq!(query.emit, Emit::Default);
    let told = error("SELECT 1 EMIT ON WINDW CLOSE");
    assert!(told.contains("EMIT ON WINDOW CLOSE"), "{told}");
}

#[test]
fn arguments_of_sessions_and_counts() {
    let call = |text: &str| query(&format!("SELECT * FROM {text}")).windows.remove(0);
    let keys = |text: &str| -> Vec<String> {
        (call(text).partition_by.into_iter())
            .map(|key| key.value)
            .collect()
    };
    let gap = "INTERVAL '5' SECOND";
    assert_eq!(
        keys(&format!("SESSION(s PARTITION BY k, v, ts, {gap})")),
        ["k", "v"]
    );
    assert_eq!(
        keys(&format!("SESSION(s PARTITION BY k, v, ts, gap => {gap})")),
        ["k", "v"]
    );
    assert_eq!(
        keys(&format!(
            "SESSION(s PARTITION BY k, v, timecol => ts, gap => {gap})"
        )),
        ["k", "v"]
    );
    let time = call("COUNT_WINDOW(s PARTITION BY k, 10, timecol => at)").time;
    assert_eq!(time.map(|time| time.value), Some("at".into()));
    for text in [
        format!("SESSION(s, ts, {gap}, timezone => 'Europe/Berlin')"),
        "COUNT_WINDOW(s, 10, timezone => 'Europe/Berlin')".into(),
    ] {
        let told = error(&format!("SELECT * FROM {text}"));
        assert!(told.contains("has no parameter timezone"), "{told}");
    }
}

#[test]
fn columns_are_inferred_beside_computed_ones() {
    let StatementKind::CreateStream(stream) =
        one("CREATE STREAM s (late BOOLEAN AS (v > 1), WATERMARK FOR ts) WITH (path = 'a.csv')")
    else {
        panic!("a stream");
    };
    assert_eq!(
        stream.watermark.map(|watermark| watermark.column.value),
        Some("ts".into())
    );
}
