//! Any text gets an answer: statements, or an error that points into it.

use proptest::prelude::*;

use super::*;

/// Words whose sequences come near to what the parser takes.
const WORDS: &[&str] = &[
    "SELECT",
    "*",
    "FROM",
    "r",
    "'x.csv'",
    "(",
    ")",
    ",",
    ";",
    ".",
    "=",
    "=>",
    "-",
    "1",
    "1_0",
    "TUMBLE",
    "HOP(",
    "SESSION(",
    "TABLE",
    "DESCRIPTOR(ts)",
    "ts",
    "INTERVAL '1' MINUTE",
    "PARTITION BY",
    "GROUP BY",
    "ORDER BY",
    "OVER (w",
    "OVER w",
    "WINDOW w AS (",
    "EMIT",
    "CHANGES",
    "ON WINDOW CLOSE",
    "EVERY",
    "ALLOW LATENESS",
    "CREATE STREAM",
    "CREATE SINK s",
    "VIEW",
    "AS",
    "WITH",
    "WITH (",
    "WATERMARK FOR",
    "CHECK (",
    "NOT NULL",
    "TIMESTAMP",
    "WITH LOCAL TIME ZONE",
    "INSERT INTO",
    "VALUES (",
    "SET",
    "SHOW",
    "DROP",
    "ALTER STREAM",
    "END",
    "ADVANCE WATERMARK TO",
    "'ä",
    "$$",
    "/*",
    "--\n",
    "\"",
    "sum(x)",
    "TUMBLE_START(",
    "window",
];

fn answers(text: &str) {
    match parse_script(&script(text)) {
        Ok(statements) => {
            for statement in statements {
                assert!(!text[statement.span].is_empty());
            }
        }
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
            assert!(!error.message().contains("found: "), "{error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_words_get_an_answer(words in prop::collection::vec(prop::sample::select(WORDS), 0..24)) {
        answers(&words.join(" "));
    }

    #[test]
    fn any_characters_get_an_answer(text in "\\PC{0,40}") {
        answers(&text);
    }

    /// A statement with one word taken out or put in.
    #[test]
    fn a_damaged_statement_gets_an_answer(
        at in 0usize..40,
        word in prop::sample::select(WORDS),
        replaced in any::<bool>(),
    ) {
        let text = "CREATE STREAM s ( ts TIMESTAMP NOT NULL , x DOUBLE CHECK ( x > 0 ) , \
                    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND ) WITH ( connector = 'file' ) ; \
                    SELECT k , TUMBLE_START( ts , INTERVAL '1' DAY ) FROM s AS r GROUP BY k , \
                    TUMBLE( ts , INTERVAL '1' DAY ) EMIT CHANGES";
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let at = at * words.len() / 40;
        if replaced {
            words[at] = word;
        } else {
            words.insert(at, word);
        }
        answers(&words.join(" "));
    }
}
