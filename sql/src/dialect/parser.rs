//! Statements.

use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::Utc;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::columns::Columns;
use super::cursor::Cursor;
use super::depth;
use super::positions::Positions;
use super::statement::{
    AlterAction, ColumnDef, CreateSink, CreateStream, CreateView, DropKind, Insert, Name, Options,
    Query, Show, Statement, StatementKind,
};
use crate::error::{Error, ErrorKind, Result, Script, nearest};

/// The words that a statement starts with.
pub(super) const STATEMENTS: &[&str] = &[
    "SELECT", "WITH", "VALUES", "FROM", "TABLE", "CREATE", "INSERT", "EXPLAIN", "DESCRIBE", "SHOW",
    "DROP", "SET", "ALTER",
];

/// Reads a script: statements between `;`, comments anywhere. Empty statements are
/// left out. It recurses as deep as a statement is nested, up to a
/// limit: give it a deep stack.
///
/// # Errors
/// At the first word that fits no statement, with its place and what to write instead.
pub fn parse_script(script: &Arc<Script>) -> Result<Vec<Statement>> {
    let positions = Arc::new(Positions::new(script)?);
    (positions.statements().into_iter())
        .map(|within| {
            depth::check(&positions, &within)?;
            Cursor::new(&positions, within).statement()
        })
        .collect()
}

/// What `CREATE` says before the name.
#[derive(Debug, Clone, Copy)]
struct Created {
    or_replace: bool,
    if_not_exists: bool,
}

impl Cursor<'_> {
    /// A statement that takes all tokens that are left.
    fn statement(&mut self) -> Result<Statement> {
        let span = self.bytes_from(self.index());
        let kind = if self.at_query() {
            StatementKind::Query(self.query()?)
        } else if self.eat_word("CREATE") {
            self.create()?
        } else if self.eat_word("INSERT") {
            self.insert()?
        } else if self.eat_word("EXPLAIN") {
            StatementKind::Explain {
                analyze: self.eat_word("ANALYZE"),
                verbose: self.eat_word("VERBOSE"),
                statement: Box::new(self.statement()?),
            }
        } else if self.eat_word("DESCRIBE") || self.eat_word("DESC") {
            let _ = (["STREAM", "TABLE", "VIEW", "SINK", "SOURCE"].iter())
                .any(|kind| self.at_words(&[kind]) && self.rest().len() > 1 && self.eat_word(kind));
            StatementKind::Describe {
                name: self.name_or_path("the name of a stream, a view or a sink, or a path")?,
            }
        } else if self.eat_word("SHOW") {
            StatementKind::Show(self.show()?)
        } else if self.eat_word("DROP") {
            self.drop_statement()?
        } else if self.eat_word("SET") {
            self.set()?
        } else if self.eat_word("ALTER") {
            self.alter()?
        } else {
            return Err(self.unknown_statement());
        };
        self.finish()?;
        Ok(Statement { kind, span })
    }

    fn unknown_statement(&self) -> Error {
        if self.at_end() {
            return self.expected("a query");
        }
        let word = self.text(&self.here()).to_owned();
        let message = format!("no statement starts with `{word}`");
        let help = match (
            word.to_uppercase().as_str(),
            nearest(&word, STATEMENTS.iter().copied()),
        ) {
            ("COPY", _) => "to write a query's rows, use CREATE SINK … AS SELECT …".to_owned(),
            ("UPDATE" | "DELETE" | "MERGE", _) => {
                "a stream is only added to: INSERT INTO".to_owned()
            }
            (_, Some(meant)) => format!("did you mean {meant}?"),
            (_, None) => format!("a statement starts with {}", STATEMENTS.join(", ")),
        };
        self.error(ErrorKind::Syntax, message, self.here())
            .help(help)
    }

    fn create(&mut self) -> Result<StatementKind> {
        let or_replace = self.eat_words(&["OR", "REPLACE"]);
        let _ = self.eat_word("TEMPORARY") || self.eat_word("TEMP") || self.eat_word("UNBOUNDED");
        let start = self.here();
        let object = match self.next() {
            Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_uppercase(),
            _ => return Err(self.error_before("CREATE is followed by STREAM, VIEW or SINK")),
        };
        let materialized = object == "MATERIALIZED";
        if materialized {
            self.expect_words(&["VIEW"])?;
        }
        let created = |cursor: &mut Self| Created {
            or_replace,
            if_not_exists: cursor.eat_words(&["IF", "NOT", "EXISTS"]),
        };
        match object.as_str() {
            "STREAM" | "SOURCE" | "TABLE" => {
                let created = created(self);
                self.create_stream(created, object == "TABLE")
            }
            "SINK" => {
                let created = created(self);
                self.create_sink(created)
            }
            "VIEW" | "MATERIALIZED" => {
                let created = created(self);
                self.create_view(created, materialized)
            }
            "EXTERNAL" => Err(self
                .error(
                    ErrorKind::Unsupported,
                    "there are no external tables",
                    start,
                )
                .help(
                    "write CREATE STREAM name WITH (connector = 'file', path = '…', format = '…')",
                )),
            _ => {
                let message = format!("CREATE {object} is not known");
                let known = [
                    "STREAM",
                    "SOURCE",
                    "TABLE",
                    "VIEW",
                    "MATERIALIZED VIEW",
                    "SINK",
                ];
                let error = self.error(ErrorKind::Syntax, message, start);
                Err(match nearest(&object, known.iter().map(|k| k.split(' ').next().unwrap_or(k))) {
                    Some(meant) => error.help(format!("did you mean CREATE {meant}?")),
                    None => error.help("write CREATE STREAM, CREATE VIEW, CREATE MATERIALIZED VIEW or CREATE SINK"),
                })
            }
        }
    }

    /// `name [(columns)] [WITH (…)]`.
    fn create_stream(&mut self, created: Created, is_table: bool) -> Result<StatementKind> {
        let name = self.name("the name of a stream")?;
        let all = self.columns()?;
        if self.at_words(&["AS"]) {
            return Err(self
                .error(
                    ErrorKind::Unsupported,
                    "a stream is not filled by a query",
                    self.here(),
                )
                .help(
                    "write CREATE MATERIALIZED VIEW name AS SELECT …, or INSERT INTO name SELECT …",
                ));
        }
        let mut options = self.options()?;
        self.refuse_format_clause()?;
        if is_table && let Some(kind) = options.remove("type") {
            match kind.value.to_lowercase().as_str() {
                "source" => {}
                "sink" => {
                    let columns = self.sink_columns(all)?;
                    return Ok(StatementKind::CreateSink(CreateSink {
                        name,
                        or_replace: created.or_replace,
                        if_not_exists: created.if_not_exists,
                        columns,
                        query: None,
                        options,
                    }));
                }
                other => {
                    let message = format!("there is no type '{other}'");
                    return Err(self
                        .error(ErrorKind::Option, message, kind.span)
                        .help("write type = 'source' or type = 'sink'"));
                }
            }
        }
        let event_time_field = options.remove("event_time_field").map(|option| Name {
            value: option.value,
            span: option.span,
        });
        if let (Some(field), Some(watermark)) = (&event_time_field, &all.watermark)
            && field.value != watermark.column.value
        {
            let message = format!(
                "the event time is {} here and {} in WATERMARK FOR",
                field.value, watermark.column.value
            );
            return Err(self
                .error(ErrorKind::Plan, message, field.span.clone())
                .help("leave event_time_field out"));
        }
        Ok(StatementKind::CreateStream(CreateStream {
            name,
            or_replace: created.or_replace,
            if_not_exists: created.if_not_exists,
            columns: all.columns,
            table_checks: all.checks,
            watermark: all.watermark,
            event_time_field,
            options,
            positions: self.positions().clone(),
        }))
    }

    /// RisingWave's `FORMAT PLAIN ENCODE JSON`.
    fn refuse_format_clause(&self) -> Result<()> {
        if self.at_words(&["FORMAT"]) {
            return Err(self
                .error(
                    ErrorKind::Unsupported,
                    "the format is an option here",
                    self.here(),
                )
                .help("write WITH (…, format = 'ndjson')"));
        }
        Ok(())
    }

    /// `name [WITH (…)] AS query`, `name AS query WITH (…)`, `name FROM view WITH (…)`.
    fn create_sink(&mut self, created: Created) -> Result<StatementKind> {
        let name = self.name("the name of a sink")?;
        let all = self.columns()?;
        let columns = self.sink_columns(all)?;
        let mut options = self.options()?;
        let (with, end) = match self.trailing_options() {
            Some(with) if options.is_empty() => (Some(with), with),
            _ => (None, self.rest().end),
        };
        // `FROM view` alone is a query too: FROM may come first.
        let query = match self.eat_word("AS") || self.at_words(&["FROM"]) {
            true => Some(self.sub_query(end)?),
            false => None,
        };
        if with.is_some() {
            options = self.options()?;
        }
        self.refuse_format_clause()?;
        Ok(StatementKind::CreateSink(CreateSink {
            name,
            or_replace: created.or_replace,
            if_not_exists: created.if_not_exists,
            columns,
            query,
            options,
        }))
    }

    /// The columns of a sink, if they are declared: nothing is said about its rows.
    fn sink_columns(&self, all: Columns) -> Result<Option<Vec<ColumnDef>>> {
        let of_streams = (all.watermark.map(|watermark| ("watermark", watermark.span))).or(all
            .checks
            .into_iter()
            .next()
            .map(|check| ("CHECK", check.span)));
        if let Some((what, span)) = of_streams {
            let message = format!("a sink has no {what}");
            return Err(self
                .error(ErrorKind::Plan, message, span)
                .help("state it in the stream that the rows come from"));
        }
        Ok((!all.columns.is_empty()).then_some(all.columns))
    }

    /// The query up to a token.
    fn sub_query(&mut self, end: usize) -> Result<Query> {
        let query = self.until(end).query()?;
        self.skip_to(end);
        Ok(query)
    }

    /// The token of `WITH (…)` at the very end of the statement.
    fn trailing_options(&self) -> Option<usize> {
        let rest = self.rest();
        let tokens = &self.positions().tokens()[rest.clone()];
        let (last, before) = tokens.split_last()?;
        if last.token != Token::RParen {
            return None;
        }
        let mut depth = 1usize;
        let open = before.iter().rposition(|token| {
            match token.token {
                Token::RParen => depth += 1,
                Token::LParen => depth -= 1,
                _ => {}
            }
            depth == 0
        })?;
        let with = open.checked_sub(1)?;
        let is_with = matches!(&tokens[with].token,
            Token::Word(word) if word.value.eq_ignore_ascii_case("WITH"));
        is_with.then_some(rest.start + with)
    }

    fn create_view(&mut self, created: Created, materialized: bool) -> Result<StatementKind> {
        let name = self.name("the name of a view")?;
        if self.peek() == Some(&Token::LParen) {
            return Err(self
                .error(
                    ErrorKind::Unsupported,
                    "a view has no list of columns",
                    self.here(),
                )
                .help("name the columns in its query: SELECT avg(pm25) AS pm25"));
        }
        let options: Options = self.options()?;
        self.expect_words(&["AS"])?;
        let query = self.query()?;
        Ok(StatementKind::CreateView(CreateView {
            name,
            materialized,
            or_replace: created.or_replace,
            if_not_exists: created.if_not_exists,
            query,
            options,
        }))
    }

    /// `INTO target [(columns)] query`.
    fn insert(&mut self) -> Result<StatementKind> {
        self.expect_words(&["INTO"])?;
        let target = self.name("the name of a stream or a sink")?;
        let mut columns = vec![];
        if self.peek() == Some(&Token::LParen) && !self.paren_starts_query() {
            self.expect(&Token::LParen)?;
            while !self.eat(&Token::RParen) {
                columns.push(self.name("the name of a column")?);
                if !self.eat(&Token::Comma) {
                    self.expect(&Token::RParen)?;
                    break;
                }
            }
        }
        let source = self.query()?;
        Ok(StatementKind::Insert(Insert {
            target,
            columns,
            source,
        }))
    }

    /// Whether `(SELECT` or the like comes next.
    fn paren_starts_query(&self) -> bool {
        let mut inside = self.until(self.rest().end);
        while inside.eat(&Token::LParen) {}
        inside.at_query()
    }

    fn show(&mut self) -> Result<Show> {
        const KNOWN: &[(&str, Show)] = &[
            ("STREAMS", Show::Streams),
            ("SOURCES", Show::Streams),
            ("VIEWS", Show::Views),
            ("SINKS", Show::Sinks),
            ("QUERIES", Show::Queries),
            ("TABLES", Show::Tables),
            ("FUNCTIONS", Show::Functions),
            ("SETTINGS", Show::Settings),
            ("ALL", Show::Settings),
        ];
        if self.eat_words(&["MATERIALIZED", "VIEWS"]) {
            return Ok(Show::Views);
        }
        let name = self.name("STREAMS, VIEWS, SINKS, QUERIES or SETTINGS")?;
        if let Some((_, show)) = KNOWN
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&name.value))
        {
            return Ok(show.clone());
        }
        match nearest(&name.value, KNOWN.iter().map(|(word, _)| *word)) {
            Some(meant) => {
                let message = format!("there is nothing to show called {}", name.value);
                Err(self
                    .error(ErrorKind::Syntax, message, name.span)
                    .help(format!("did you mean SHOW {meant}?")))
            }
            None => Ok(Show::Setting(name)),
        }
    }

    fn drop_statement(&mut self) -> Result<StatementKind> {
        const KNOWN: &[(&str, DropKind)] = &[
            ("STREAM", DropKind::Stream),
            ("SOURCE", DropKind::Stream),
            ("TABLE", DropKind::Table),
            ("VIEW", DropKind::View),
            ("SINK", DropKind::Sink),
            ("QUERY", DropKind::Query),
        ];
        let _ = self.at_words(&["MATERIALIZED", "VIEW"]) && self.eat_word("MATERIALIZED");
        let Some((_, kind)) = KNOWN.iter().find(|(word, _)| self.at_words(&[word])) else {
            let word = self.text(&self.here()).to_owned();
            let error = self.expected("STREAM, VIEW, SINK or QUERY");
            return Err(match nearest(&word, KNOWN.iter().map(|(word, _)| *word)) {
                Some(meant) => error.help(format!("did you mean DROP {meant}?")),
                None => error.help(format!("write DROP STREAM {word}")),
            });
        };
        self.next();
        let if_exists = self.eat_words(&["IF", "EXISTS"]);
        let name = self.name("the name of what is dropped")?;
        let cascade = self.eat_word("CASCADE");
        let _ = !cascade && self.eat_word("RESTRICT");
        Ok(StatementKind::Drop {
            kind: *kind,
            name,
            if_exists,
            cascade,
        })
    }

    /// `name = value`, `name TO value`.
    fn set(&mut self) -> Result<StatementKind> {
        let first = self.here().start;
        let mut text = String::new();
        loop {
            match self.next() {
                Some(Token::Word(word)) if word.quote_style.is_none() => {
                    text.push_str(&word.value.to_lowercase());
                }
                Some(Token::Word(word)) => text.push_str(&word.value),
                _ => return Err(self.error_before("the name of a setting is expected here")),
            }
            if !self.eat(&Token::Period) {
                break;
            }
            text.push('.');
        }
        let name = Name {
            value: text,
            span: first..self.end_of_last(),
        };
        if !(self.eat(&Token::Eq) || self.eat_word("TO")) {
            return Err(self.expected("`=`"));
        }
        let mut value = self.value()?;
        value.name_span = name.span.clone();
        Ok(StatementKind::Set { name, value })
    }

    /// `STREAM name ADVANCE WATERMARK TO TIMESTAMP '…'`, `STREAM name END`.
    fn alter(&mut self) -> Result<StatementKind> {
        const FORMS: &str = "write ALTER STREAM s ADVANCE WATERMARK TO TIMESTAMP '2026-01-01 00:00:00', or ALTER STREAM s END";
        if !["STREAM", "SOURCE", "TABLE"]
            .iter()
            .any(|word| self.eat_word(word))
        {
            return Err(self.expected("STREAM").help(FORMS));
        }
        let name = self.name("the name of a stream")?;
        let action = if self.eat_word("END") {
            AlterAction::End
        } else if self.eat_words(&["ADVANCE", "WATERMARK", "TO"]) {
            let _ = self.eat_word("TIMESTAMP") || self.eat_word("TIMESTAMPTZ");
            let span = self.here();
            let Some(Token::SingleQuotedString(text)) = self.next() else {
                return Err(self
                    .error_before("a time in single quotes is expected here")
                    .help(FORMS));
            };
            let to = string_to_datetime(&Utc, &text).map_err(|_| {
                self.error(
                    ErrorKind::Syntax,
                    format!("'{text}' is no time"),
                    span.clone(),
                )
                .help("write it as '2026-01-01 00:00:00' (UTC), or with an offset or Z")
            })?;
            AlterAction::AdvanceWatermark { to, span }
        } else {
            return Err(self.expected("ADVANCE WATERMARK TO or END").help(FORMS));
        };
        Ok(StatementKind::AlterStream { name, action })
    }
}
