use arrow::datatypes::{DataType, Field, TimeUnit};
use chrono::{TimeZone, Utc};

use super::*;

fn stream(text: &str) -> CreateStream {
    match one(text) {
        StatementKind::CreateStream(stream) => stream,
        other => panic!("{other:?}"),
    }
}

fn sink(text: &str) -> CreateSink {
    match one(text) {
        StatementKind::CreateSink(sink) => sink,
        other => panic!("{other:?}"),
    }
}

const SECOND: i128 = 1_000_000_000;

#[test]
fn a_stream_in_full() {
    let text = "CREATE STREAM readings (
  ts TIMESTAMP NOT NULL, sensor TEXT, pm25 DOUBLE CHECK (pm25 BETWEEN 0 AND 2000), temp DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND          -- the bound on disorder
) WITH (connector = 'file', path = 'data/city/*.csv', format = 'csv');";
    let stream = stream(text);
    assert_eq!(stream.name.value, "readings");
    assert!(!stream.or_replace && !stream.if_not_exists);
    let columns: Vec<_> = (stream.columns.iter())
        .map(|c| {
            (
                c.name.value.as_str(),
                c.data_type.clone().unwrap(),
                c.not_null,
            )
        })
        .collect();
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(
        columns,
        [
            ("ts", micros, true),
            ("sensor", DataType::Utf8, false),
            ("pm25", DataType::Float64, false),
            ("temp", DataType::Float64, false),
        ]
    );
    let check = &stream.columns[2].checks[0];
    assert_eq!(check.text, "pm25 BETWEEN 0 AND 2000");
    assert_eq!(check.name, None);
    assert_eq!(
        &text[stream.columns[2].span.clone()],
        "pm25 DOUBLE CHECK (pm25 BETWEEN 0 AND 2000)"
    );
    let watermark = stream.watermark.unwrap();
    assert_eq!(watermark.column.value, "ts");
    assert_eq!(watermark.bound.nanos, 5 * SECOND);
    assert_eq!(&text[watermark.bound.span], "ts - INTERVAL '5' SECOND");
    let options: Vec<_> = (stream.options.iter())
        .map(|(name, option)| (name.as_str(), option.value.as_str()))
        .collect();
    assert_eq!(
        options,
        [
            ("connector", "file"),
            ("format", "csv"),
            ("path", "data/city/*.csv")
        ]
    );
    assert_eq!(&text[stream.options["format"].span.clone()], "'csv'");
    assert_eq!(&text[stream.options["format"].name_span.clone()], "format");
}

#[test]
fn the_bound_of_a_watermark() {
    for (clause, nanos) in [
        ("WATERMARK FOR ts", 0),
        ("WATERMARK FOR ts AS ts", 0),
        ("watermark for TS as (Ts)", 0),
        ("WATERMARK FOR ts AS ts - INTERVAL '5' SECOND", 5 * SECOND),
        ("WATERMARK FOR ts AS ts - INTERVAL '5' SECONDS", 5 * SECOND),
        ("WATERMARK FOR ts AS ts - INTERVAL '5 seconds'", 5 * SECOND),
        ("WATERMARK FOR ts AS ts - INTERVAL '0.5' SECOND", SECOND / 2),
        (
            "WATERMARK FOR ts AS (ts - INTERVAL '2 minutes')",
            120 * SECOND,
        ),
        (
            "WATERMARK FOR ts AS ts - '1 day'::INTERVAL",
            86_400 * SECOND,
        ),
        ("WATERMARK FOR ts AS ts - INTERVAL 10 MINUTE", 600 * SECOND),
    ] {
        let stream = stream(&format!("CREATE STREAM s (ts TIMESTAMP, {clause})"));
        assert_eq!(stream.watermark.unwrap().bound.nanos, nanos, "{clause}");
    }
    // The columns are inferred: only the watermark is said.
    let stream = stream("CREATE STREAM s (WATERMARK FOR ts) WITH (connector = 'file')");
    assert!(stream.columns.is_empty() && stream.watermark.is_some());
}

#[test]
fn the_types_of_other_engines() {
    let time = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
    use TimeUnit::*;
    for (sql, expected) in [
        ("BIGINT UNSIGNED", DataType::UInt64),
        ("BIGINT", DataType::Int64),
        ("INT UNSIGNED", DataType::UInt32),
        ("INTEGER", DataType::Int32),
        ("SMALLINT", DataType::Int16),
        ("TINYINT UNSIGNED", DataType::UInt8),
        ("STRING", DataType::Utf8),
        ("TEXT", DataType::Utf8),
        ("VARCHAR", DataType::Utf8),
        ("VARCHAR(20)", DataType::Utf8),
        ("CHARACTER VARYING", DataType::Utf8),
        ("DOUBLE", DataType::Float64),
        ("DOUBLE PRECISION", DataType::Float64),
        ("FLOAT", DataType::Float32),
        ("FLOAT(53)", DataType::Float64),
        ("REAL", DataType::Float32),
        ("BOOLEAN", DataType::Boolean),
        ("DATE", DataType::Date32),
        ("TIME", DataType::Time64(Microsecond)),
        ("BYTEA", DataType::Binary),
        ("DECIMAL(10, 2)", DataType::Decimal128(10, 2)),
        ("NUMERIC", DataType::Decimal128(38, 10)),
        ("TIMESTAMP", time(Microsecond, None)),
        ("TIMESTAMP(0)", time(Second, None)),
        ("TIMESTAMP(3)", time(Millisecond, None)),
        ("TIMESTAMP(6)", time(Microsecond, None)),
        ("TIMESTAMP(9)", time(Nanosecond, None)),
        ("TIMESTAMP_LTZ(3)", time(Millisecond, Some("+00:00"))),
        ("TIMESTAMP_LTZ", time(Microsecond, Some("+00:00"))),
        ("TIMESTAMPTZ", time(Microsecond, Some("+00:00"))),
        (
            "TIMESTAMP WITH TIME ZONE",
            time(Microsecond, Some("+00:00")),
        ),
        (
            "TIMESTAMP(3) WITH LOCAL TIME ZONE",
            time(Millisecond, Some("+00:00")),
        ),
        ("TIMESTAMP WITHOUT TIME ZONE", time(Microsecond, None)),
        (
            "INT[]",
            DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true))),
        ),
        (
            "STRUCT<a INT, b TEXT>",
            DataType::Struct(
                vec![
                    Field::new("a", DataType::Int32, true),
                    Field::new("b", DataType::Utf8, true),
                ]
                .into(),
            ),
        ),
    ] {
        let stream = stream(&format!("CREATE STREAM s (x {sql} NOT NULL, y INT)"));
        assert_eq!(stream.columns[0].data_type, Some(expected), "{sql}");
        assert!(stream.columns[0].not_null);
        assert_eq!(stream.columns.len(), 2);
    }
}

#[test]
fn computed_columns_and_constraints() {
    let stream = stream(
        "CREATE STREAM s (
           x BIGINT,
           ts TIMESTAMP AS (to_timestamp_millis(x)) NOT NULL,
           a AS x + 1,
           d BOOLEAN AS (x) IS NOT NULL AND round(x, 2) > 1 NOT NULL,
           b INT GENERATED ALWAYS AS (x * 2) STORED,
           c INT CONSTRAINT positive CHECK (c > 0) CHECK (c < 9) COMMENT 'counts',
           CONSTRAINT sane CHECK (a < b),
           CHECK (b > 0),
         )",
    );
    let computed: Vec<_> = (stream.columns.iter())
        .map(|column| column.computed.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(
        computed,
        [
            None,
            Some("(to_timestamp_millis(x))".into()),
            Some("x + 1".into()),
            Some("(x) IS NOT NULL AND round(x, 2) > 1".into()),
            Some("(x * 2)".into()),
            None
        ]
    );
    assert!(stream.columns[1].not_null);
    assert_eq!(stream.columns[2].data_type, None);
    assert!(stream.columns[3].not_null);
    let checks = &stream.columns[5].checks;
    assert_eq!(checks[0].name.as_deref(), Some("positive"));
    assert_eq!(checks[1].text, "c < 9");
    assert_eq!(stream.table_checks[0].name.as_deref(), Some("sane"));
    assert_eq!(stream.table_checks[1].text, "b > 0");
}

#[test]
fn names_fold_unless_quoted() {
    let stream = stream("CREATE STREAM \"Air\" (Sensor TEXT, \"PM2.5\" DOUBLE, `No2` DOUBLE)");
    assert_eq!(stream.name.value, "Air");
    let names: Vec<_> = stream
        .columns
        .iter()
        .map(|c| c.name.value.as_str())
        .collect();
    assert_eq!(names, ["sensor", "PM2.5", "No2"]);
}

#[test]
fn options_in_every_spelling() {
    let stream = stream(
        "CREATE OR REPLACE STREAM IF NOT EXISTS s (x INT) WITH (
           'connector' = 'single_file', Format = ndjson, path.temp = 'a.b', 'path.hum' = 'c',
           batch_rows = 8192, max_future = -1, header = true, idle_timeout = INTERVAL '10' SECOND,
           linger = '5 ms', event_time_field = 'x',
         )",
    );
    assert!(stream.or_replace && stream.if_not_exists);
    let options: Vec<_> = (stream.options.iter())
        .map(|(name, option)| (name.as_str(), option.value.as_str()))
        .collect();
    assert_eq!(
        options,
        [
            ("batch_rows", "8192"),
            ("connector", "file"),
            ("format", "ndjson"),
            ("header", "true"),
            ("idle_timeout", "10 SECOND"),
            ("linger", "5 ms"),
            ("max_future", "-1"),
            ("path.hum", "c"),
            ("path.temp", "a.b"),
        ]
    );
    assert_eq!(stream.event_time_field.unwrap().value, "x");
}

#[test]
fn synonyms_of_create_stream() {
    for text in [
        "CREATE STREAM s (x INT) WITH (connector = 'filesystem')",
        "CREATE SOURCE s (x INT) WITH (connector = 'single_file')",
        "CREATE TABLE s (x INT) WITH (connector = 'file')",
        "CREATE TABLE s (x INT) WITH (connector = 'file', type = 'source')",
        "create table s(x int)with(connector='file')",
    ] {
        let stream = stream(text);
        assert_eq!(stream.options.len(), 1, "{text}");
        assert_eq!(stream.options["connector"].value, "file", "{text}");
    }
}

#[test]
fn sinks() {
    let table = sink("CREATE TABLE out (x INT) WITH (connector = 'file', type = 'sink')");
    assert_eq!(table.columns.unwrap().len(), 1);
    assert!(table.query.is_none());
    assert!(!table.options.contains_key("type"));

    for text in [
        "CREATE SINK out WITH (format = 'parquet') AS SELECT * FROM v WHERE x > 75",
        "CREATE SINK out AS SELECT * FROM v WHERE x > 75 WITH (format = 'parquet')",
    ] {
        let sink = sink(text);
        assert_eq!(
            sink.query.unwrap().ast.to_string(),
            "SELECT * FROM v WHERE x > 75"
        );
        assert_eq!(sink.options["format"].value, "parquet", "{text}");
    }
    let risingwave = sink("CREATE SINK out FROM v WITH (format = 'csv')");
    assert_eq!(risingwave.query.unwrap().ast.to_string(), "SELECT * FROM v");
    // A CTE is no list of options.
    let cte = sink("CREATE SINK out AS WITH a AS (SELECT 1) SELECT * FROM a WHERE x IN (1, 2)");
    assert!(cte.options.is_empty());
}

#[test]
fn views_and_tails() {
    let second = |nanos: i128, text: &str, whole: &str| {
        let start = whole.find(text).unwrap();
        FixedInterval {
            nanos: nanos * SECOND,
            span: start..start + text.len(),
        }
    };
    let text = "CREATE MATERIALIZED VIEW v WITH (retention = '1 day') AS
        SELECT a, count(*) FROM r GROUP BY a EMIT CHANGES";
    let StatementKind::CreateView(view) = one(text) else {
        panic!()
    };
    assert!(view.materialized);
    assert_eq!(view.options["retention"].value, "1 day");
    assert_eq!(view.query.emit, Emit::Changes);
    assert_eq!(plain(&view.query), "SELECT a, count(*) FROM r GROUP BY a");

    let text = "SELECT emit FROM t AS emit WHERE emit IN (1) emit every interval '10' second \
                allow lateness interval '1 hour'";
    let found = query(text);
    assert_eq!(
        found.emit,
        Emit::Every(second(10, "interval '10' second", text))
    );
    assert_eq!(
        found.allow_lateness,
        Some(second(3600, "interval '1 hour'", text))
    );
    assert_eq!(&text[found.span], text);
    assert_eq!(
        query("SELECT 1 ALLOW LATENESS INTERVAL '1' DAY EMIT ON WINDOW CLOSE").emit,
        Emit::OnWindowClose
    );
    // A column of that name is none.
    assert_eq!(query("SELECT 1 AS x ORDER BY emit").emit, Emit::Default);
    assert_eq!(query("SELECT emit, allow FROM t").emit, Emit::Default);
}

#[test]
fn the_small_statements() {
    let text = "
      ;; -- nothing
      INSERT INTO s (a, B) VALUES (1, ';'), (2, $$;$$) /* ; /* nested */ */;
      insert into s select * from r; INSERT INTO s (SELECT 1);
      EXPLAIN ANALYZE SELECT 1; DESCRIBE x; DESC STREAM y; DESCRIBE stream;
      SHOW STREAMS; SHOW MATERIALIZED VIEWS; show sinks; SHOW queries; SHOW max_keys;
      DROP MATERIALIZED VIEW IF EXISTS v CASCADE; DROP TABLE t;
      SET max_keys = 1000; SET datafusion.execution.time_zone TO '+00:00'; SET state_ttl = INTERVAL '1' HOUR;
      ALTER STREAM s ADVANCE WATERMARK TO TIMESTAMP '2026-01-02 03:04:05';
      ALTER STREAM s END";
    let said: Vec<String> = (parse(text).iter())
        .map(|statement| match &statement.kind {
            StatementKind::Insert(insert) => {
                let columns: Vec<_> = insert.columns.iter().map(|c| c.value.as_str()).collect();
                let ast = &insert.source.ast;
                format!("insert {} {columns:?} {ast}", insert.target.value)
            }
            StatementKind::Explain {
                analyze, statement, ..
            } => format!("explain {analyze} {}", &text[statement.span.clone()]),
            StatementKind::Describe { name } => format!("describe {}", name.value),
            StatementKind::Show(Show::Setting(name)) => format!("show {}", name.value),
            StatementKind::Show(show) => format!("show {show:?}"),
            StatementKind::Drop {
                kind,
                name,
                if_exists,
                cascade,
            } => format!("drop {kind:?} {} {if_exists} {cascade}", name.value),
            StatementKind::Set { name, value } => format!("set {} {}", name.value, value.value),
            StatementKind::AlterStream { name, action } => match action {
                AlterAction::AdvanceWatermark { to, .. } => format!("advance {} {to}", name.value),
                AlterAction::End => format!("end {}", name.value),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    let time = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap();
    assert_eq!(
        said,
        [
            "insert s [\"a\", \"b\"] VALUES (1, ';'), (2, $$;$$)",
            "insert s [] SELECT * FROM r",
            "insert s [] (SELECT 1)",
            "explain true SELECT 1",
            "describe x",
            "describe y",
            "describe stream",
            "show Streams",
            "show Views",
            "show Sinks",
            "show Queries",
            "show max_keys",
            "drop View v true true",
            "drop Table t false false",
            "set max_keys 1000",
            "set datafusion.execution.time_zone +00:00",
            "set state_ttl 1 HOUR",
            &format!("advance s {time}"),
            "end s",
        ]
    );
}

#[test]
fn places_are_bytes() {
    let text = "SELECT 'Ä°' AS ä;\r\n\tSELECT ß, b FROM \"tä\"";
    let statements = parse(text);
    assert_eq!(&text[statements[0].span.clone()], "SELECT 'Ä°' AS ä");
    assert_eq!(&text[statements[1].span.clone()], "SELECT ß, b FROM \"tä\"");
    let StatementKind::Query(query) = &statements[1].kind else {
        panic!()
    };
    use datafusion::sql::sqlparser::ast::Spanned;
    let select = query.ast.body.as_select().unwrap();
    let range = query.positions.range(select.from[0].span()).unwrap();
    assert_eq!(&text[range], "\"tä\"");
    let range = query.positions.range(select.span()).unwrap();
    assert_eq!(&text[range], "SELECT ß, b FROM \"tä\"");
}

#[test]
fn refined_windows_keep_what_they_refine() {
    for (text, expected) in [
        (
            "SELECT sum(x) OVER (w ROWS 2 PRECEDING) FROM r WINDOW w AS (PARTITION BY k ORDER BY ts)",
            "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts ROWS 2 PRECEDING) FROM r",
        ),
        (
            "SELECT sum(x) OVER w2 FROM r WINDOW w AS (PARTITION BY k), w2 AS (w ORDER BY ts)",
            "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts) FROM r",
        ),
        (
            "SELECT a FROM r WINDOW w AS (ORDER BY ts), v AS w ORDER BY sum(x) OVER v",
            "SELECT a FROM r ORDER BY sum(x) OVER (ORDER BY ts)",
        ),
        (
            "SELECT (SELECT sum(x) OVER W FROM s WINDOW w AS (ORDER BY a)), sum(x) OVER w FROM r WINDOW w AS (ORDER BY b)",
            "SELECT (SELECT sum(x) OVER (ORDER BY a) FROM s), sum(x) OVER (ORDER BY b) FROM r",
        ),
    ] {
        assert_eq!(plain(&query(text)), expected, "{text}");
    }
}

#[test]
fn what_the_generic_dialect_reads() {
    for text in [
        "FROM r SELECT a",
        "SELECT * EXCLUDE (a) FROM r",
        "SELECT a, b, FROM r",
        "SELECT a FROM r GROUP BY ALL",
        "SELECT a FROM r QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1",
        "SELECT \"PM2.5\" FROM r",
        "SELECT a FROM r ASOF JOIN c MATCH_CONDITION (r.ts >= c.ts) ON r.k = c.k",
        "SELECT x FROM r TABLESPACE",
        "(SELECT 1) UNION ALL SELECT 2",
        "VALUES (1), (2)",
    ] {
        query(text);
    }
}
