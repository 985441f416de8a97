//! Window functions in FROM, from every accepted form to the canonical one.
//!
//! ```text
//! TUMBLE(src, ts, INTERVAL …)              TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL …))
//! TUMBLE('file.csv', ts, INTERVAL …)       TUMBLE(DATA => TABLE src, TIMECOL => DESCRIPTOR(ts), SIZE => …)
//! TUMBLE((SELECT …), ts, INTERVAL …)       GROUP BY TUMBLE(ts, INTERVAL …)
//! ```

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, Select, Spanned, TableFactor, TableFunctionArgs, Value, VisitMut,
    VisitorMut,
};

use super::grouping;
use super::interval::is_interval;
use super::positions::Positions;
use super::syntax::PARTITION_BY;
use super::window_call::{
    WINDOW_FUNCTION, WindowCall, WindowKind, select_all, table, window_factor,
};
use crate::error::{Error, ErrorKind, Result, nearest};

/// Rewrites every window function of a query; returns what the calls in it stand for.
pub(super) fn canonical(query: &mut Query, positions: &Positions) -> Result<Vec<WindowCall>> {
    let mut rewriter = Rewriter {
        positions,
        calls: vec![],
    };
    match query.visit(&mut rewriter) {
        ControlFlow::Continue(()) => Ok(rewriter.calls),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Rewriter<'a> {
    positions: &'a Positions,
    calls: Vec<WindowCall>,
}

fn flow(result: Result<()>) -> ControlFlow<Box<Error>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let Query { body, order_by, .. } = query;
        match body.as_mut() {
            datafusion::sql::sqlparser::ast::SetExpr::Select(select) => flow(grouping::canonical(
                select,
                order_by.as_mut(),
                &mut self.calls,
                self.positions,
            )),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        flow(grouping::canonical(
            select,
            None,
            &mut self.calls,
            self.positions,
        ))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        // TABLE(f(…)) is f(…).
        if let TableFactor::TableFunction { expr, alias } = factor
            && let Some(mut call) = as_call(expr)
        {
            if let TableFactor::Table { alias: outer, .. } = &mut call {
                *outer = alias.take();
            }
            *factor = call;
        }
        if let TableFactor::Table { name, args, .. } = factor {
            quote_file_name(name);
            if args.is_some() {
                return flow(self.table_function(factor));
            }
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn table_function(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } = factor
        else {
            return Ok(());
        };
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return Ok(());
        };
        if ident.quote_style.is_some() {
            return Ok(());
        }
        let span = self.positions.call(ident.span).unwrap_or_default();
        let error = |message: String| {
            Error::new(ErrorKind::Plan, message)
                .at(span.clone())
                .in_script(self.positions.script())
        };
        let Some(kind) = WindowKind::of(&ident.value) else {
            if ident.value.eq_ignore_ascii_case(WINDOW_FUNCTION) {
                return Err(error(format!(
                    "{WINDOW_FUNCTION} is not for use in queries"
                )));
            }
            let names = WindowKind::ALL.map(WindowKind::name);
            return match nearest(&ident.value, names) {
                Some(meant) => Err(error(format!("there is no table function {}", ident.value))
                    .help(format!("did you mean {meant}?"))),
                None => Ok(()),
            };
        };
        let call = Arguments {
            kind,
            positions: self.positions,
            span: span.clone(),
        };
        let (source, call) = call.read(&args.args)?;
        let name = ident.span;
        let alias = alias.take();
        *factor = window_factor(source, self.calls.len(), name, alias);
        self.calls.push(call);
        Ok(())
    }
}

/// A function in an expression as a table function.
fn as_call(expr: &Expr) -> Option<TableFactor> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let mut factor = table(function.name.clone());
    if let TableFactor::Table { args, .. } = &mut factor {
        *args = Some(TableFunctionArgs {
            args: list.args.clone(),
            settings: None,
        });
    }
    Some(factor)
}

/// `FROM 'file.csv'` names what `FROM "file.csv"` names.
fn quote_file_name(name: &mut ObjectName) {
    for part in &mut name.0 {
        if let ObjectNamePart::Identifier(ident) = part
            && ident.quote_style == Some('\'')
        {
            ident.quote_style = Some('"');
        }
    }
}

/// Reads the arguments of one call.
struct Arguments<'a> {
    kind: WindowKind,
    positions: &'a Positions,
    /// The call's.
    span: Range<usize>,
}

/// The parameters of a kind, in order; those after `required` may be left out.
fn parameters(kind: WindowKind) -> (&'static [&'static str], usize) {
    match kind {
        WindowKind::Tumble => (&["data", "timecol", "size", "offset"], 3),
        WindowKind::Hop => (&["data", "timecol", "slide", "size", "offset"], 4),
        WindowKind::Cumulate => (&["data", "timecol", "step", "size", "offset"], 4),
        WindowKind::Session => (&["data", "timecol", "gap"], 3),
        WindowKind::CountWindow => (&["data", "rows", "slide"], 2),
    }
}

/// What a parameter is, in an error.
fn described(parameter: &str) -> &'static str {
    match parameter {
        "data" => "a table",
        "timecol" => "the event-time column",
        "size" => "a size",
        "slide" => "a slide",
        "step" => "a step",
        "gap" => "a gap",
        "offset" => "an offset",
        "rows" => "a number of rows",
        _ => "a time zone",
    }
}

impl Arguments<'_> {
    fn error(&self, message: String, span: Option<Range<usize>>) -> Error {
        Error::new(ErrorKind::Plan, message)
            .at(span.unwrap_or_else(|| self.span.clone()))
            .in_script(self.positions.script())
            .help(format!("write {}", self.kind.example()))
    }

    fn at(&self, expr: &Expr) -> Option<Range<usize>> {
        self.positions.range(expr.span())
    }

    fn read(&self, args: &[FunctionArg]) -> Result<(Query, WindowCall)> {
        let (mut given, mut partition_by) = self.by_parameter(args)?;
        let (names, required) = parameters(self.kind);
        let keyed = matches!(self.kind, WindowKind::Session | WindowKind::CountWindow);
        if !keyed && given.get("data").and_then(partitioned).is_some() {
            let message = format!("{} takes no PARTITION BY", self.kind.name());
            return Err(self
                .error(message, None)
                .help("group by the key instead: GROUP BY sensor, window_start, window_end"));
        }
        if let Some(time) = given.get("timecol") {
            self.time(time)?;
        }
        for name in &names[..required] {
            if !given.contains_key(name) {
                let message = format!("{} needs {}", self.kind.name(), described(name));
                return Err(self.error(message, None));
            }
        }
        let mut source = given.remove("data").expect("checked above: it is required");
        if let Some((inner, keys)) = partitioned(&source) {
            let mut all = self.keys(keys)?;
            all.append(&mut partition_by);
            partition_by = all;
            source = inner.clone();
        }
        let time = match given.remove("timecol") {
            Some(time) => Some(self.time(&time)?),
            None => None,
        };
        let offset = given.remove("offset");
        if let Some(offset) = &offset {
            self.check_interval("offset", offset)?;
        }
        let timezone = match given.remove("timezone") {
            Some(zone) => Some(self.text(&zone)?),
            None => None,
        };
        let mut sizes = vec![];
        for name in names {
            if let Some(size) = given.remove(name) {
                match self.kind {
                    WindowKind::CountWindow => self.check_number(name, &size)?,
                    _ => self.check_interval(name, &size)?,
                }
                sizes.push(size);
            }
        }
        let call = WindowCall {
            kind: self.kind,
            time,
            sizes,
            partition_by,
            offset,
            timezone,
            span: self.span.clone(),
        };
        Ok((self.source(&source)?, call))
    }

    /// The arguments by parameter, and keys that follow `PARTITION BY k1` as
    /// arguments of their own.
    fn by_parameter(
        &self,
        args: &[FunctionArg],
    ) -> Result<(BTreeMap<&'static str, Expr>, Vec<Ident>)> {
        let (names, _) = parameters(self.kind);
        let (mut positional, mut named) = (vec![], vec![]);
        for arg in args {
            let (name, arg) = match arg {
                FunctionArg::Unnamed(arg) => (None, arg),
                FunctionArg::Named { name, arg, .. } => (Some(name.clone()), arg),
                FunctionArg::ExprNamed {
                    name: Expr::Identifier(name),
                    arg,
                    ..
                } => (Some(name.clone()), arg),
                FunctionArg::ExprNamed { name, .. } => {
                    return Err(self.error(format!("`{name}` is no parameter"), self.at(name)));
                }
            };
            let FunctionArgExpr::Expr(expr) = arg else {
                return Err(self.error(format!("`{arg}` is no argument"), None));
            };
            match name {
                None => positional.push(expr.clone()),
                Some(name) => named.push((name, expr.clone())),
            }
        }
        let named_parameters = (named.iter())
            .filter(|(name, _)| self.parameter(name).is_ok_and(|name| name != "offset"))
            .count();
        let keys = self.more_keys(&mut positional, named_parameters)?;
        if positional.len() > names.len() {
            let message = format!(
                "{} takes {} arguments, not {}",
                self.kind.name(),
                names.len(),
                positional.len()
            );
            return Err(self.error(message, None));
        }
        let mut given = BTreeMap::new();
        for (name, expr) in names.iter().zip(positional) {
            given.insert(*name, expr);
        }
        for (name, expr) in named {
            let parameter = self.parameter(&name)?;
            if given.insert(parameter, expr).is_some() {
                let message = format!("{name} is given twice");
                return Err(self.error(message, self.positions.range(name.span)));
            }
        }
        Ok((given, keys))
    }

    /// The parameter of a name.
    fn parameter(&self, name: &Ident) -> Result<&'static str> {
        let (names, _) = parameters(self.kind);
        // Sessions and counts do not follow a calendar; rows are counted in the order of a
        // column that is named only where the stream has no event time of its own.
        let more: &[&'static str] = match self.kind {
            WindowKind::Session => &[],
            WindowKind::CountWindow => &["timecol"],
            _ => &["timezone"],
        };
        let known = names.iter().copied().chain(more.iter().copied());
        let lower = match name.value.to_lowercase().as_str() {
            "source" | "src" | "input" => "data".to_owned(),
            "time" | "time_col" | "time_column" => "timecol".to_owned(),
            "n" if self.kind == WindowKind::CountWindow => "rows".to_owned(),
            other => other.to_owned(),
        };
        if let Some(parameter) = known.clone().find(|parameter| *parameter == lower) {
            return Ok(parameter);
        }
        let message = format!("{} has no parameter {name}", self.kind.name());
        let error = self.error(message, self.positions.range(name.span));
        Err(match nearest(&lower, known) {
            Some(meant) => error.help(format!("did you mean {meant}?")),
            None => error,
        })
    }

    /// Takes the keys `b, c` of `src PARTITION BY a, b, c, ts, gap` out.
    /// `named` of the other arguments are given by name.
    fn more_keys(&self, positional: &mut Vec<Expr>, named: usize) -> Result<Vec<Ident>> {
        if positional.first().and_then(partitioned).is_none() {
            return Ok(vec![]);
        }
        let count = match self.kind {
            WindowKind::Session => (positional.len() + named.min(2)).saturating_sub(3),
            WindowKind::CountWindow => (positional[1..].iter())
                .take_while(|expr| column(expr).is_some())
                .count(),
            _ => 0,
        };
        (positional.drain(1..1 + count))
            .map(|expr| self.key(&expr))
            .collect()
    }

    fn keys(&self, expr: &Expr) -> Result<Vec<Ident>> {
        match expr {
            Expr::Nested(inner) => self.keys(inner),
            Expr::Tuple(all) => all.iter().map(|expr| self.key(expr)).collect(),
            one => Ok(vec![self.key(one)?]),
        }
    }

    fn key(&self, expr: &Expr) -> Result<Ident> {
        column(expr).ok_or_else(|| {
            let message = format!("PARTITION BY takes columns, not `{expr}`");
            self.error(message, self.at(expr))
                .help("compute the key in a subquery: SESSION((SELECT *, … AS k FROM readings) PARTITION BY k, …)")
        })
    }

    /// `ts`, `readings.ts`, `DESCRIPTOR(ts)`.
    fn time(&self, expr: &Expr) -> Result<Ident> {
        if let Expr::Function(function) = expr
            && function.name.to_string().eq_ignore_ascii_case("DESCRIPTOR")
            && let FunctionArguments::List(list) = &function.args
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] = list.args.as_slice()
        {
            return self.time(inner);
        }
        column(expr).ok_or_else(|| {
            let message = match is_interval(expr) {
                true => format!(
                    "{} needs the event-time column before its INTERVAL",
                    self.kind.name()
                ),
                false => format!(
                    "the event time of {} is a column, not `{expr}`",
                    self.kind.name()
                ),
            };
            self.error(message, self.at(expr))
        })
    }

    fn check_interval(&self, parameter: &str, expr: &Expr) -> Result<()> {
        let is_plain = matches!(
            expr,
            Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Tuple(_)
        );
        if is_interval(expr) || !is_plain {
            return Ok(());
        }
        let message = format!(
            "the {parameter} of {} is an INTERVAL, not `{expr}`",
            self.kind.name()
        );
        Err(self.error(message, self.at(expr)))
    }

    fn check_number(&self, parameter: &str, expr: &Expr) -> Result<()> {
        if let Expr::Value(value) = expr
            && let Value::Number(..) = value.value
        {
            return Ok(());
        }
        let message = format!(
            "the {parameter} of {} is a number of rows, not `{expr}`",
            self.kind.name()
        );
        Err(self.error(message, self.at(expr)))
    }

    fn text(&self, expr: &Expr) -> Result<String> {
        if let Expr::Value(value) = expr
            && let Value::SingleQuotedString(text) = &value.value
        {
            return Ok(text.clone());
        }
        let message = format!("a time zone is a text, not `{expr}`");
        Err(self
            .error(message, self.at(expr))
            .help("write timezone => 'Asia/Shanghai'"))
    }

    /// A table in any form, as a query.
    fn source(&self, expr: &Expr) -> Result<Query> {
        Ok(match expr {
            Expr::Nested(inner) => self.source(inner)?,
            Expr::Subquery(query) => query.as_ref().clone(),
            Expr::Identifier(name) => select_all(table(vec![name.clone()].into()), None),
            Expr::CompoundIdentifier(parts) => select_all(table(parts.clone().into()), None),
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(file) | Value::DoubleQuotedString(file) => {
                    let name = Ident::with_quote_and_span('"', value.span, file);
                    select_all(table(vec![name].into()), None)
                }
                _ => return Err(self.no_table(expr)),
            },
            Expr::Function(function) => {
                let is_table = function.name.to_string().eq_ignore_ascii_case("TABLE");
                match &function.args {
                    FunctionArguments::List(list) if is_table => match list.args.as_slice() {
                        [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] => {
                            self.source(inner)?
                        }
                        _ => return Err(self.no_table(expr)),
                    },
                    _ => match as_call(expr) {
                        Some(call) => select_all(call, None),
                        None => return Err(self.no_table(expr)),
                    },
                }
            }
            _ => return Err(self.no_table(expr)),
        })
    }

    fn no_table(&self, expr: &Expr) -> Error {
        let message = format!("{} needs a table, not `{expr}`", self.kind.name());
        self.error(message, self.at(expr))
    }
}

/// The two sides of `src PARTITION BY keys`.
fn partitioned(expr: &Expr) -> Option<(&Expr, &Expr)> {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Custom(op),
            right,
        } if op == PARTITION_BY => Some((left, right)),
        _ => None,
    }
}

/// A column by its own name: the last part of a qualified one.
fn column(expr: &Expr) -> Option<Ident> {
    match expr {
        Expr::Identifier(name) => Some(name.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().cloned(),
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}
