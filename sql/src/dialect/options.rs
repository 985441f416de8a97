//! `WITH (name = value, …)`, and the values of settings.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::statement::{OptionValue, Options};
use crate::error::{ErrorKind, Result};

impl Cursor<'_> {
    /// `WITH (…)`, if it is there.
    pub(super) fn options(&mut self) -> Result<Options> {
        if self.eat_word("WITH") {
            self.option_list()
        } else {
            Ok(BTreeMap::new())
        }
    }

    /// `(name = value, …)`.
    pub(super) fn option_list(&mut self) -> Result<Options> {
        let mut options = BTreeMap::new();
        self.expect(&Token::LParen)?;
        while !self.eat(&Token::RParen) {
            let (name, name_span) = self.option_name()?;
            if !self.eat(&Token::Eq) {
                let help = format!("write {name} = '…'");
                return Err(self
                    .error_here("`=` is expected after an option's name")
                    .help(help));
            }
            let mut value = self.value()?;
            value.name_span = name_span.clone();
            if name == "connector" {
                value.value = connector(&value.value);
            }
            if options.insert(name.clone(), value).is_some() {
                let message = format!("the option {name} is given twice");
                return Err(self.error(ErrorKind::Option, message, name_span));
            }
            if !self.eat(&Token::Comma) {
                self.expect(&Token::RParen)?;
                break;
            }
        }
        Ok(options)
    }

    /// A quoted or a bare name, which may be dotted: `path.temp`, `'path.temp'`.
    fn option_name(&mut self) -> Result<(String, std::ops::Range<usize>)> {
        let start = self.here().start;
        let mut name = String::new();
        loop {
            match self.next() {
                Some(Token::SingleQuotedString(text)) => name.push_str(&text),
                Some(Token::Word(word)) => match word.quote_style {
                    Some(_) => name.push_str(&word.value),
                    None => name.push_str(&word.value.to_lowercase()),
                },
                _ => return Err(self.error_before("the name of an option is expected here")),
            }
            if !self.eat(&Token::Period) {
                return Ok((name, start..self.end_of_last()));
            }
            name.push('.');
        }
    }

    /// A text, a number, a word, or an interval.
    pub(super) fn value(&mut self) -> Result<OptionValue> {
        let start = self.here().start;
        let negative = self.eat(&Token::Minus);
        let value = match self.next() {
            Some(Token::SingleQuotedString(text)) if !negative => text,
            Some(Token::Number(digits, _)) if negative => format!("-{digits}"),
            Some(Token::Number(digits, _)) => digits,
            Some(Token::Word(word))
                if !negative
                    && word.value.eq_ignore_ascii_case("INTERVAL")
                    && word.quote_style.is_none() =>
            {
                self.interval_value()?
            }
            Some(Token::Word(word)) if !negative => word.value,
            _ => {
                return Err(self
                    .error_before("a value is expected here")
                    .help("a value is a text in single quotes, a number, TRUE or FALSE"));
            }
        };
        let span = start..self.end_of_last();
        Ok(OptionValue {
            value,
            name_span: span.clone(),
            span,
        })
    }

    /// `'10' SECOND`, `'10 seconds'`: the text and the unit.
    fn interval_value(&mut self) -> Result<String> {
        let text = match self.next() {
            Some(Token::SingleQuotedString(text) | Token::Number(text, _)) => text,
            _ => {
                return Err(self.error_before("INTERVAL is followed by a text, as in '10 seconds'"));
            }
        };
        match self.peek() {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                let unit = word.value.clone();
                self.next();
                Ok(format!("{text} {unit}"))
            }
            _ => Ok(text),
        }
    }
}

/// The connectors of other engines by our names.
fn connector(name: &str) -> String {
    match name.to_lowercase().as_str() {
        "single_file" | "filesystem" => "file".into(),
        other => other.into(),
    }
}
