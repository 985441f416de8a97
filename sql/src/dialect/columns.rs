//! What stands between the parentheses of `CREATE STREAM name (…)`.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::data_type::{NAMES, arrow_type};
use super::interval::{FixedInterval, fixed_nanos};
use super::statement::{Check, ColumnDef, Name, Watermark};
use crate::error::{ErrorKind, Result, nearest};

/// The columns of a stream and what is said about all of them.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub columns: Vec<ColumnDef>,
    pub checks: Vec<Check>,
    pub watermark: Option<Watermark>,
}

const WATERMARK_FORMS: &str =
    "write WATERMARK FOR ts, or WATERMARK FOR ts AS ts - INTERVAL '5' SECOND";

impl Cursor<'_> {
    /// `(column, …)`, if it is there.
    pub(super) fn columns(&mut self) -> Result<Columns> {
        let mut all = Columns::default();
        if !self.eat(&Token::LParen) {
            return Ok(all);
        }
        while !self.eat(&Token::RParen) {
            self.column_item(&mut all)?;
            if !self.eat(&Token::Comma) {
                self.expect(&Token::RParen)?;
                break;
            }
        }
        self.check_watermark(&all)?;
        Ok(all)
    }

    fn column_item(&mut self, all: &mut Columns) -> Result<()> {
        if self.at_words(&["WATERMARK", "FOR"]) {
            let start = self.here();
            let watermark = self.watermark()?;
            if all.watermark.is_some() {
                let message = "a stream has one watermark";
                return Err(self.error(ErrorKind::Plan, message, start));
            }
            all.watermark = Some(watermark);
            return Ok(());
        }
        if self.at_words(&["CONSTRAINT"]) || self.at_call("CHECK") {
            let name = self.constraint_name()?;
            all.checks.push(self.check(name)?);
            return Ok(());
        }
        self.refuse_key()?;
        let column = self.column()?;
        if all
            .columns
            .iter()
            .any(|other| other.name.value == column.name.value)
        {
            let message = format!("the column {} is declared twice", column.name.value);
            return Err(self.error(ErrorKind::Plan, message, column.name.span));
        }
        all.columns.push(column);
        Ok(())
    }

    fn column(&mut self) -> Result<ColumnDef> {
        let name = self.name("the name of a column")?;
        let data_type = if self.at_words(&["AS"]) || self.at_words(&["GENERATED"]) {
            None
        } else {
            let data_type = self.data_type();
            Some(data_type.map_err(|error| match name.value.as_str() {
                "watermark" => error.help(WATERMARK_FORMS),
                _ => error,
            })?)
        };
        let mut column = ColumnDef {
            span: name.span.clone(),
            name,
            data_type,
            not_null: false,
            checks: vec![],
            computed: None,
        };
        loop {
            if self.eat_words(&["NOT", "NULL"]) {
                column.not_null = true;
            } else if self.eat_word("NULL") {
                column.not_null = false;
            } else if self.at_words(&["CONSTRAINT"]) || self.at_call("CHECK") {
                let name = self.constraint_name()?;
                column.checks.push(self.check(name)?);
            } else if self.at_words(&["AS"]) || self.at_words(&["GENERATED"]) {
                if self.eat_word("GENERATED") {
                    self.expect_words(&["ALWAYS"])?;
                }
                self.expect_words(&["AS"])?;
                column.computed = Some(self.computed()?);
                let _ = self.eat_word("STORED") || self.eat_word("VIRTUAL");
            } else if self.eat_word("COMMENT") {
                self.value()?;
            } else {
                break;
            }
        }
        self.refuse_key()?;
        for word in ["DEFAULT", "METADATA", "UNIQUE", "REFERENCES"] {
            if self.at_words(&[word]) {
                let message = format!("{word} is not known in a stream");
                return Err(self
                    .error(ErrorKind::Unsupported, message, self.here())
                    .help("a column takes NOT NULL, CHECK (…) and AS (…)"));
            }
        }
        column.span.end = self.end_of_last();
        Ok(column)
    }

    /// The expression of a computed column, up to what else is said about the column:
    /// sqlparser would read `x NOT NULL` as a condition.
    fn computed(&mut self) -> Result<Expr> {
        let rest = self.rest();
        let tokens = self.positions().tokens();
        let word = |index: usize| match &tokens[index].token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
            _ => String::new(),
        };
        let mut depth = 0usize;
        let end = (rest.clone()).find(|&index| {
            let said = match tokens[index].token {
                Token::LParen => {
                    depth += 1;
                    false
                }
                Token::RParen if depth > 0 => {
                    depth -= 1;
                    false
                }
                Token::RParen | Token::Comma => true,
                _ => match word(index).as_str() {
                    "NOT" => index + 1 < rest.end && word(index + 1) == "NULL",
                    "STORED" | "VIRTUAL" | "CHECK" | "CONSTRAINT" | "COMMENT" | "PRIMARY" => true,
                    _ => false,
                },
            };
            // `x IS NOT NULL` is a condition.
            said && depth == 0 && index > rest.start && word(index - 1) != "IS"
        });
        let end = end.unwrap_or(rest.end);
        let mut inside = self.until(end);
        let expr = inside.expr()?;
        inside.finish()?;
        self.skip_to(end);
        Ok(expr)
    }

    /// A type, also `TIMESTAMP(3) WITH LOCAL TIME ZONE`.
    fn data_type(&mut self) -> Result<arrow::datatypes::DataType> {
        let start = self.here();
        let word = match self.peek() {
            Some(Token::Word(word)) => word.value.clone(),
            _ => return Err(self.expected("a data type")),
        };
        let sql = self.parsed(|parser| {
            let sql = parser.parse_data_type()?;
            Ok(sql)
        })?;
        let span = start.start..self.end_of_last();
        arrow_type(&sql).map_err(|message| {
            let error = self.error(ErrorKind::Plan, message, span);
            match nearest(&word, NAMES.iter().copied()) {
                Some(name) if !name.eq_ignore_ascii_case(&word) => {
                    error.help(format!("did you mean {name}?"))
                }
                _ => error,
            }
        })
    }

    /// `CONSTRAINT name`, if it is there.
    fn constraint_name(&mut self) -> Result<Option<Name>> {
        if !self.eat_word("CONSTRAINT") {
            return Ok(None);
        }
        let name = self.name("the name of a constraint")?;
        self.refuse_key()?;
        Ok(Some(name))
    }

    /// `CHECK (condition)`.
    fn check(&mut self, name: Option<Name>) -> Result<Check> {
        let start = self.here().start;
        self.expect_words(&["CHECK"])?;
        self.expect(&Token::LParen)?;
        let first = self.here().start;
        let expr = self.expr()?;
        let text = self.text(&(first..self.end_of_last())).to_owned();
        self.expect(&Token::RParen)?;
        Ok(Check {
            name: name.map(|name| name.value),
            expr,
            text,
            span: start..self.end_of_last(),
        })
    }

    fn refuse_key(&mut self) -> Result<()> {
        if self.at_words(&["PRIMARY", "KEY"]) || self.at_call("UNIQUE") {
            return Err(self
                .error(ErrorKind::Unsupported, "a stream has no key", self.here())
                .help(
                    "to keep the latest row of each key, query last_value(x ORDER BY ts) … GROUP BY key",
                ));
        }
        Ok(())
    }

    /// `WATERMARK FOR ts [AS ts [- INTERVAL …]]`.
    fn watermark(&mut self) -> Result<Watermark> {
        let start = self.here().start;
        self.expect_words(&["WATERMARK", "FOR"])?;
        let column = self.name("the event-time column")?;
        let mut bound = FixedInterval {
            nanos: 0,
            span: column.span.clone(),
        };
        if self.eat_word("AS") {
            let first = self.here().start;
            let expr = self.expr()?;
            let span = first..self.end_of_last();
            let nanos = watermark_bound(&expr, &column.value).map_err(|message| {
                self.error(ErrorKind::Plan, message, span.clone())
                    .help(WATERMARK_FORMS)
            })?;
            bound = FixedInterval { nanos, span };
        }
        Ok(Watermark {
            column,
            bound,
            span: start..self.end_of_last(),
        })
    }

    fn check_watermark(&self, all: &Columns) -> Result<()> {
        let Some(watermark) = &all.watermark else {
            return Ok(());
        };
        let names = || all.columns.iter().map(|column| column.name.value.as_str());
        let column = &watermark.column;
        // Without columns to be read, all of them are inferred later.
        let inferred = all.columns.iter().all(|column| column.computed.is_some());
        if inferred || names().any(|name| name == column.value) {
            return Ok(());
        }
        let message = format!("the stream has no column {}", column.value);
        let error = self.error(ErrorKind::Plan, message, column.span.clone());
        Err(match nearest(&column.value, names()) {
            Some(name) => error.help(format!("did you mean {name}?")),
            None => error,
        })
    }
}

/// The bound in nanoseconds of `ts` or `ts - INTERVAL …`.
fn watermark_bound(expr: &Expr, column: &str) -> Result<i128, String> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(name) if folded(name) == column);
    match expr {
        Expr::Nested(inner) => watermark_bound(inner, column),
        expr if is_column(expr) => Ok(0),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Minus,
            right,
        } if is_column(left) => fixed_nanos(right).ok_or_else(|| {
            "the bound of a watermark is a constant interval of days or less, not negative".into()
        }),
        _ => Err(format!(
            "a watermark is {column} or {column} minus a constant interval"
        )),
    }
}

/// An identifier as a name: in lower case unless quoted.
pub(super) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
