//! The same script in other words: rows inserted one by one or in another order, time
//! columns of another unit.
//!
//! An `.slt` file says what a script answers. The runner says it again in ways that
//! must not change the answer; this module rewrites the SQL text for it. It knows
//! just as much SQL as the files use: strings, comments, parentheses.

use crate::random::Random;

/// What a file does not let the runner do, from lines such as
/// `# modes: no-shuffle because rows are late`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Rows of an INSERT may not be reordered.
    pub shuffle: bool,
    /// The time column may not get another unit.
    pub units: bool,
    /// Rows of an INSERT may not be pushed in pieces.
    pub pieces: bool,
    /// The session may not be stopped and restored between two batches.
    pub restart: bool,
}

/// Reads the `# modes:` lines of a file.
///
/// # Errors
/// If a line names an unknown mode or gives no reason.
pub fn exclusions(text: &str) -> Result<Exclusions, String> {
    let mut exclusions = Exclusions::default();
    for line in text.lines() {
        let Some(modes) = line.strip_prefix("# modes:") else {
            continue;
        };
        let Some((words, reason)) = modes.split_once(" because ") else {
            return Err(format!("`{line}` gives no reason: write `because …`"));
        };
        if reason.trim().is_empty() {
            return Err(format!("`{line}` gives no reason"));
        }
        for word in words.split([' ', ',']).filter(|word| !word.is_empty()) {
            match word {
                "no-shuffle" => exclusions.shuffle = true,
                "no-units" => exclusions.units = true,
                "no-pieces" => exclusions.pieces = true,
                "no-restart" => exclusions.restart = true,
                other => return Err(format!("unknown mode `{other}` in `{line}`")),
            }
        }
    }
    Ok(exclusions)
}

/// An `INSERT INTO … VALUES (…), (…)` in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    head: String,
    /// The rows as text, each with its parentheses.
    pub rows: Vec<String>,
}

impl Insert {
    /// The parts of a statement, if it is an INSERT of literal rows.
    pub fn parse(sql: &str) -> Option<Self> {
        let tokens = tokens(sql);
        let mut words = tokens.iter();
        if !words.next()?.is_word("insert") {
            return None;
        }
        let values = 1 + words.position(|token| token.is_word("values"))?;
        let head = sql[..tokens[values].end].to_owned();
        let mut rows = Vec::new();
        let mut depth = 0;
        let mut start = 0;
        for token in &tokens[values + 1..] {
            match token.text {
                "(" => {
                    if depth == 0 {
                        start = token.start;
                    }
                    depth += 1;
                }
                ")" => {
                    depth -= 1;
                    if depth == 0 {
                        rows.push(sql[start..token.end].to_owned());
                    }
                }
                "," | ";" => {}
                _ if depth == 0 => return None,
                _ => {}
            }
        }
        Some(Self { head, rows })
    }

    /// The stream that it fills.
    pub fn stream(&self) -> Option<String> {
        let tokens = tokens(&self.head);
        Some(tokens.get(2)?.text.to_lowercase())
    }

    /// An INSERT of just these rows.
    pub fn statement(&self, rows: &[String]) -> String {
        format!("{} {}", self.head, rows.join(", "))
    }

    /// The rows in another order that makes none of them late: each is delayed by less
    /// than `bound_us`, rows of one time together, so that they keep their order.
    /// Nothing is moved unless each row has a timestamp literal; the first one is
    /// taken for the event time.
    pub fn shuffled(&self, bound_us: i64, random: &mut Random) -> Vec<String> {
        let Some(times) = (self.rows.iter())
            .map(|row| event_time_us(row))
            .collect::<Option<Vec<_>>>()
        else {
            return self.rows.clone();
        };
        let mut delays = std::collections::BTreeMap::new();
        let mut order: Vec<(i64, usize)> = (times.iter().enumerate())
            .map(|(i, time)| {
                let delay = *(delays.entry(*time)).or_insert_with(|| random.between(0, bound_us));
                (time + delay, i)
            })
            .collect();
        order.sort_unstable();
        order.iter().map(|(_, i)| self.rows[*i].clone()).collect()
    }
}

/// The stream that a CREATE STREAM statement declares and its watermark's bound.
pub fn declared_bound_us(sql: &str) -> Option<(String, i64)> {
    let tokens = tokens(sql);
    if !is_create_stream(&tokens) {
        return None;
    }
    let name = (tokens.iter())
        .take_while(|token| token.text != "(")
        .last()?
        .text
        .to_lowercase();
    let watermark = tokens.iter().position(|token| token.is_word("watermark"))?;
    let interval = (tokens[watermark..].iter()).position(|token| token.is_word("interval"))?;
    let size = tokens
        .get(watermark + interval + 1)?
        .text
        .trim_matches('\'');
    let (number, unit) = match size.split_once(' ') {
        Some((number, unit)) => (number, unit),
        None => (size, tokens.get(watermark + interval + 2)?.text),
    };
    let unit_us = match unit.to_lowercase().trim_end_matches('s') {
        "millisecond" => 1_000,
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => 86_400_000_000,
        _ => return None,
    };
    Some((name, number.parse::<i64>().ok()? * unit_us))
}

/// A CREATE STREAM with `TIMESTAMP(digits)` wherever it says just TIMESTAMP for a
/// type; any other statement as it is.
pub fn with_time_unit(sql: &str, digits: u8) -> String {
    let tokens = tokens(sql);
    if !is_create_stream(&tokens) {
        return sql.to_owned();
    }
    let mut text = String::new();
    let mut written = 0;
    for (i, token) in tokens.iter().enumerate() {
        let followed_by = tokens.get(i + 1).map_or("", |next| next.text);
        let is_type = token.is_word("timestamp") || token.is_word("timestamp_ltz");
        if is_type && followed_by != "(" && !followed_by.starts_with('\'') {
            text.push_str(&sql[written..token.end]);
            text.push_str(&format!("({digits})"));
            written = token.end;
        }
    }
    text.push_str(&sql[written..]);
    text
}

/// Whether a statement declares something: it is said again to a fresh session before
/// a snapshot is restored into it.
pub fn is_declaration(sql: &str) -> bool {
    let tokens = tokens(sql);
    let first = tokens.first();
    ["create", "drop", "set"]
        .iter()
        .any(|word| first.is_some_and(|token| token.is_word(word)))
}

fn is_create_stream(tokens: &[Token<'_>]) -> bool {
    let kinds = ["stream", "source", "table"];
    tokens.first().is_some_and(|token| token.is_word("create"))
        && (tokens.iter().take(4)).any(|token| kinds.iter().any(|kind| token.is_word(kind)))
}

/// The first timestamp in a row, in microseconds since the epoch.
fn event_time_us(row: &str) -> Option<i64> {
    (tokens(row).iter()).find_map(|token| timestamp_us(token.text.strip_prefix('\'')?))
}

/// `2026-01-01 00:00:00[.fraction]`, also with `T`, `Z` or an offset, and `'` behind.
fn timestamp_us(text: &str) -> Option<i64> {
    let text = text.trim_end_matches('\'');
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if text.get(4..5)? != "-" || text.get(7..8)? != "-" {
        return None;
    }
    let (hour, minute, second) = match text.get(13..14) {
        Some(":") => (
            number(11, 13)?,
            number(14, 16)?,
            number(17, 19).unwrap_or(0),
        ),
        _ => (0, 0, 0),
    };
    let tail = text.get(19..).unwrap_or("");
    let digits: String = (tail.strip_prefix('.').unwrap_or("").chars())
        .take_while(char::is_ascii_digit)
        .collect();
    let fraction_us: i64 = format!("{digits:0<6}")[..6].parse().ok()?;
    let zone = tail.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let zone_minutes = match zone.trim() {
        "" | "Z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let digits = zone.get(1..)?;
            let minutes = digits.get(3..5).map_or(Some(0), |m| m.parse().ok())?;
            sign * (digits.get(..2)?.parse::<i64>().ok()? * 60 + minutes)
        }
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        - zone_minutes * 60;
    Some(seconds * 1_000_000 + fraction_us)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// A word, a quoted text or a sign, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    start: usize,
    end: usize,
}

impl Token<'_> {
    fn is_word(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }
}

/// The tokens of a text without white space and comments.
fn tokens(sql: &str) -> Vec<Token<'_>> {
    let bytes = sql.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = sql[at..].find('\n').map_or(bytes.len(), |line| at + line);
                continue;
            }
            quote @ (b'\'' | b'"') => {
                at += 1;
                // A doubled quote ends one text and starts the next; that they are
                // two does no harm here.
                while at < bytes.len() && bytes[at] != quote {
                    at += 1;
                }
                at = (at + 1).min(bytes.len());
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 => {
                while at < bytes.len()
                    && (bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'_' | 0x80..))
                {
                    at += 1;
                }
            }
            _ => at += 1,
        }
        tokens.push(Token {
            text: &sql[start..at],
            start,
            end: at,
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERT: &str = "INSERT INTO s (ts, k) VALUES\n\
        (TIMESTAMP '2026-01-01 00:00:01', 'a, (b'), -- one\n\
        (TIMESTAMP '2026-01-01 00:00:02', concat('it''s', ')'))";

    #[test]
    fn an_insert_falls_into_its_rows() {
        let insert = Insert::parse(INSERT).expect("an INSERT of rows");
        assert_eq!(insert.stream().as_deref(), Some("s"));
        assert_eq!(
            insert.rows,
            [
                "(TIMESTAMP '2026-01-01 00:00:01', 'a, (b')",
                "(TIMESTAMP '2026-01-01 00:00:02', concat('it''s', ')'))",
            ]
        );
        assert_eq!(
            insert.statement(&insert.rows[..1]),
            "INSERT INTO s (ts, k) VALUES (TIMESTAMP '2026-01-01 00:00:01', 'a, (b')"
        );
    }

    #[test]
    fn other_statements_are_left_alone() {
        assert_eq!(Insert::parse("SELECT 1"), None);
        assert_eq!(Insert::parse("INSERT INTO s SELECT * FROM t"), None);
        let query = "SELECT CAST(x AS TIMESTAMP) FROM t";
        assert_eq!(with_time_unit(query, 3), query);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, us) in [
            ("1970-01-01 00:00:00", 0),
            ("1969-12-31 23:59:59.5", -500_000),
            ("2000-02-29 12:00:00", 951_825_600_000_000),
            ("2026-01-01T00:00:00Z", 1_767_225_600_000_000),
            ("2026-01-01 08:00:00+08:00", 1_767_225_600_000_000),
            ("2026-01-01", 1_767_225_600_000_000),
        ] {
            assert_eq!(timestamp_us(text), Some(us), "{text}");
        }
        assert_eq!(timestamp_us("five apples"), None);
    }

    #[test]
    fn time_columns_get_a_unit() {
        let sql = "CREATE STREAM s (ts TIMESTAMP NOT NULL, t2 TIMESTAMP(9), \
                   CHECK (ts > TIMESTAMP '2020-01-01 00:00:00'))";
        assert_eq!(
            with_time_unit(sql, 3),
            "CREATE STREAM s (ts TIMESTAMP(3) NOT NULL, t2 TIMESTAMP(9), \
             CHECK (ts > TIMESTAMP '2020-01-01 00:00:00'))"
        );
    }

    #[test]
    fn the_bound_is_read_from_the_declaration() {
        for (interval, us) in [("'2' SECOND", 2_000_000), ("'90 minutes'", 5_400_000_000)] {
            let sql = format!(
                "CREATE STREAM IF NOT EXISTS Readings (ts TIMESTAMP, \
                 WATERMARK FOR ts AS ts - INTERVAL {interval})"
            );
            assert_eq!(declared_bound_us(&sql), Some(("readings".into(), us)));
        }
        assert_eq!(
            declared_bound_us("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts)"),
            None
        );
    }

    #[test]
    fn a_shuffle_delays_no_row_beyond_the_bound() {
        let rows: Vec<String> = (0..60)
            .map(|i| format!("(TIMESTAMP '2026-01-01 00:00:{:02}', {i})", i / 2))
            .collect();
        let insert = Insert {
            head: "INSERT INTO s VALUES".into(),
            rows: rows.clone(),
        };
        let bound = 3_000_000;
        let mut moved = false;
        for seed in 0..20 {
            let shuffled = insert.shuffled(bound, &mut Random::new(seed));
            moved |= shuffled != rows;
            let mut greatest = i64::MIN;
            for row in &shuffled {
                let time = event_time_us(row).expect("it has a time");
                assert!(time >= greatest.saturating_sub(bound), "{row} is late");
                greatest = greatest.max(time);
            }
            for pair in rows.chunks(2) {
                let place = |row| shuffled.iter().position(|other| other == row);
                assert!(
                    place(&pair[0]) < place(&pair[1]),
                    "equal times changed places"
                );
            }
        }
        assert!(moved);
    }

    #[test]
    fn exclusions_have_reasons() {
        assert_eq!(exclusions("# a file\nSELECT 1"), Ok(Exclusions::default()));
        assert_eq!(
            exclusions("# modes: no-shuffle, no-units because rows are late"),
            Ok(Exclusions {
                shuffle: true,
                units: true,
                ..Exclusions::default()
            })
        );
        assert!(exclusions("# modes: no-shuffle").is_err());
        assert!(exclusions("# modes: no-rain because it is dry").is_err());
    }
}
