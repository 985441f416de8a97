//! Windows in GROUP BY, as older Flink and Arroyo write them, as windows in FROM.
//!
//! ```text
//! SELECT sensor, TUMBLE_START(ts, i), avg(x)       SELECT sensor, window_start, avg(x)
//! FROM readings                               ─▶   FROM TUMBLE(readings, ts, i) AS readings
//! GROUP BY sensor, TUMBLE(ts, i)                   GROUP BY sensor, window_start, window_end
//!
//! SELECT tumble(i) AS window, avg(x)               SELECT named_struct('start', window_start,
//! FROM readings                               ─▶     'end', window_end) AS window, avg(x)
//! GROUP BY window                                  FROM TUMBLE(readings, <its event time>, i) …
//! ```
//!
//! Sessions are formed from the rows that pass WHERE, per combination of the other
//! grouping columns: WHERE moves below the window, and they become its keys.

use std::ops::{ControlFlow, Range};

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    GroupByExpr, Ident, ObjectName, ObjectNamePart, OrderBy, Query, Select, SelectItem, TableAlias,
    TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use windrow_core::time::{WINDOW_END, WINDOW_START, WINDOW_TIME};

use super::interval::is_interval;
use super::positions::Positions;
use super::window_call::{WindowCall, WindowKind, select_all, window_factor};
use crate::error::{Error, ErrorKind, Result};

/// The name of a window in a select list that is given none.
const WINDOW: &str = "window";

/// Rewrites one SELECT and the ORDER BY behind it, if it is grouped by a window.
pub(super) fn canonical(
    select: &mut Select,
    mut order_by: Option<&mut OrderBy>,
    calls: &mut Vec<WindowCall>,
    positions: &Positions,
) -> Result<()> {
    let reader = Reader { positions };
    let Some(grouped) = reader.grouped(select)? else {
        let mut stray = Rewriter::new(reader, None);
        return stray.run(select, order_by.as_deref_mut());
    };
    let window = grouped.window.clone();
    let mut rewriter = Rewriter::new(reader, Some(&window));
    rewriter.run(select, order_by)?;
    let with_time = rewriter.with_time;
    reader.regroup(select, &grouped, with_time);
    reader.replace_source(select, &grouped, calls)
}

/// A window function in an expression.
#[derive(Debug, Clone)]
struct Window {
    kind: WindowKind,
    /// `None`: the stream's own event time, as Arroyo writes it.
    time: Option<Ident>,
    sizes: Vec<Expr>,
    name: Span,
}

impl Window {
    fn same(&self, other: &Self) -> bool {
        let time = |window: &Self| window.time.as_ref().map(|time| time.value.to_lowercase());
        self.kind == other.kind && time(self) == time(other) && self.sizes == other.sizes
    }
}

/// A SELECT that is grouped by a window.
struct Grouped {
    window: Window,
    /// Where the window stands in GROUP BY.
    places: Vec<usize>,
    /// The other expressions of GROUP BY, aliases and ordinals resolved.
    others: Vec<Expr>,
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    positions: &'a Positions,
}

impl Reader<'_> {
    fn error(&self, kind: ErrorKind, message: impl Into<String>, name: Span) -> Error {
        let error = Error::new(kind, message).in_script(self.positions.script());
        match self.positions.call(name) {
            Some(range) => error.at(range),
            None => error,
        }
    }

    /// The window of an expression that is a window function.
    fn window(&self, expr: &Expr) -> Result<Option<Window>> {
        let Some((name, args)) = call(expr) else {
            return Ok(None);
        };
        let kind = match WindowKind::of(&name.value) {
            Some(kind @ (WindowKind::Tumble | WindowKind::Hop | WindowKind::Session)) => kind,
            _ => return Ok(None),
        };
        let (time, sizes) = self.window_args(kind, name, &args)?;
        Ok(Some(Window {
            kind,
            time,
            sizes,
            name: name.span,
        }))
    }

    /// `[ts,] size` or `[ts,] slide, size`.
    fn window_args(
        &self,
        kind: WindowKind,
        name: &Ident,
        args: &[&Expr],
    ) -> Result<(Option<Ident>, Vec<Expr>)> {
        let (time, sizes) = match args.split_first() {
            Some((first, rest)) if !is_interval(first) => (Some(*first), rest),
            _ => (None, args),
        };
        let wanted = if kind == WindowKind::Hop { 2 } else { 1 };
        let time = match time {
            None => None,
            Some(Expr::Identifier(time)) => Some(time.clone()),
            Some(Expr::CompoundIdentifier(parts)) => parts.last().cloned(),
            Some(other) => {
                let message = format!("the event time of {name} is a column, not `{other}`");
                return Err(self.misused(kind, message, name.span));
            }
        };
        if sizes.len() != wanted || !sizes.iter().all(|size| is_interval(size)) {
            let message = match kind {
                WindowKind::Hop => format!("{name} needs two INTERVALs: slide and size"),
                _ => format!("{name} needs one INTERVAL"),
            };
            return Err(self.misused(kind, message, name.span));
        }
        Ok((time, sizes.iter().map(|size| (*size).clone()).collect()))
    }

    fn misused(&self, kind: WindowKind, message: String, name: Span) -> Error {
        self.error(ErrorKind::Plan, message, name).help(format!(
            "write FROM {} … GROUP BY window_start, window_end",
            kind.example()
        ))
    }

    /// What GROUP BY says, if a window is in it.
    fn grouped(&self, select: &Select) -> Result<Option<Grouped>> {
        let GroupByExpr::Expressions(exprs, _) = &select.group_by else {
            return Ok(None);
        };
        let mut found: Option<Window> = None;
        let (mut places, mut others) = (vec![], vec![]);
        for (place, expr) in exprs.iter().enumerate() {
            let expr = resolved(expr, &select.projection);
            match self.window(expr)? {
                None => others.push(expr.clone()),
                Some(window) => {
                    if let Some(first) = &found
                        && !first.same(&window)
                    {
                        let message = "a query is grouped by one window";
                        return Err(self
                            .error(ErrorKind::Unsupported, message, window.name)
                            .help("write one query for each, and join them on the window"));
                    }
                    places.push(place);
                    found.get_or_insert(window);
                }
            }
        }
        Ok(found.map(|window| Grouped {
            window,
            places,
            others,
        }))
    }

    /// GROUP BY the window's columns where the window stood.
    fn regroup(&self, select: &mut Select, grouped: &Grouped, with_time: bool) {
        let GroupByExpr::Expressions(exprs, _) = &mut select.group_by else {
            return;
        };
        let mut columns = vec![WINDOW_START, WINDOW_END];
        if with_time {
            columns.push(WINDOW_TIME);
        }
        let first = grouped.places.first();
        *exprs = (std::mem::take(exprs).into_iter().enumerate())
            .flat_map(|(place, expr)| match grouped.places.contains(&place) {
                false => vec![expr],
                true if Some(&place) == first => (columns.iter())
                    .map(|column| identifier(column, grouped.window.name))
                    .collect(),
                true => vec![],
            })
            .collect();
    }

    /// FROM the window of what stood there.
    fn replace_source(
        &self,
        select: &mut Select,
        grouped: &Grouped,
        calls: &mut Vec<WindowCall>,
    ) -> Result<()> {
        let window = &grouped.window;
        let kind = window.kind;
        let [from] = select.from.as_mut_slice() else {
            let message = format!("{} needs one table in FROM", kind.name());
            return Err(self.misused(kind, message, window.name));
        };
        if !from.joins.is_empty() {
            let message = format!("GROUP BY {} over a join is not supported", kind.name());
            return Err(self
                .error(ErrorKind::Unsupported, message, window.name)
                .help(format!(
                    "join in a subquery: FROM {}((SELECT … FROM a JOIN b …), ts, …)",
                    kind.name()
                )));
        }
        let (partition_by, selection) = match kind {
            WindowKind::Session => (self.keys(grouped)?, select.selection.take()),
            _ => (vec![], None),
        };
        let relation = std::mem::replace(
            &mut from.relation,
            TableFactor::TableFunction {
                expr: Expr::Value(Value::Null.with_empty_span()),
                alias: None,
            },
        );
        let alias = outer_alias(&relation);
        let source = select_all(relation, selection);
        from.relation = window_factor(source, calls.len(), window.name, alias);
        calls.push(WindowCall {
            kind,
            time: window.time.clone(),
            sizes: window.sizes.clone(),
            partition_by,
            offset: None,
            timezone: None,
            span: self.span(window.name),
        });
        Ok(())
    }

    fn span(&self, name: Span) -> Range<usize> {
        self.positions.call(name).unwrap_or_default()
    }

    /// The other grouping columns, which are the keys of a session.
    fn keys(&self, grouped: &Grouped) -> Result<Vec<Ident>> {
        let key = |expr: &Expr| match expr {
            Expr::Identifier(name) => Some(name.clone()),
            Expr::CompoundIdentifier(parts) => parts.last().cloned(),
            _ => None,
        };
        (grouped.others.iter())
            .map(|expr| {
                key(expr).ok_or_else(|| {
                    let message = format!("the key of a session is a column, not `{expr}`");
                    self.error(ErrorKind::Unsupported, message, grouped.window.name)
                        .help("compute it in a subquery: FROM (SELECT *, … AS k FROM readings)")
                })
            })
            .collect()
    }
}

/// Replaces the window and its helper functions in the clauses of a SELECT.
struct Rewriter<'a> {
    reader: Reader<'a>,
    /// `None`: there is no window, and any use is an error.
    window: Option<&'a Window>,
    /// Whether `window_time` is used.
    with_time: bool,
    /// How many queries deep below the SELECT.
    depth: usize,
}

impl<'a> Rewriter<'a> {
    fn new(reader: Reader<'a>, window: Option<&'a Window>) -> Self {
        Self {
            reader,
            window,
            with_time: false,
            depth: 0,
        }
    }

    fn run(&mut self, select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && self.reader.window(expr)?.is_some()
            {
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::new(WINDOW),
                };
            }
        }
        let flow = (|| {
            select.projection.visit(self)?;
            select.having.visit(self)?;
            select.qualify.visit(self)?;
            match order_by {
                Some(order_by) => order_by.visit(self),
                None => ControlFlow::Continue(()),
            }
        })();
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }

    /// What an expression becomes, if it is about the window.
    fn replacement(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        let Some((name, args)) = call(expr) else {
            return Ok(None);
        };
        let span = name.span;
        if let Some(window) = self.reader.window(expr)? {
            self.check(&window, name)?;
            return Ok(Some(window_struct(span)));
        }
        let Some((kind, part)) = helper(&name.value) else {
            return Ok(None);
        };
        let (time, sizes) = self.reader.window_args(kind, name, &args)?;
        let window = Window {
            kind,
            time,
            sizes,
            name: span,
        };
        self.check(&window, name)?;
        Ok(Some(match part {
            "START" => identifier(WINDOW_START, span),
            "END" => identifier(WINDOW_END, span),
            _ => {
                self.with_time = true;
                identifier(WINDOW_TIME, span)
            }
        }))
    }

    /// Makes sure that the query is grouped by this very window.
    fn check(&self, window: &Window, name: &Ident) -> Result<()> {
        if self.window.is_some_and(|grouped| grouped.same(window)) {
            return Ok(());
        }
        let kind = window.kind;
        let message = match self.window {
            None => format!("{name} needs GROUP BY {}", kind.name()),
            Some(_) => format!("{name} is not the window that the query is grouped by"),
        };
        Err(self.reader.misused(kind, message, name.span))
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match self.replacement(expr) {
            Ok(None) => {}
            Ok(Some(replacement)) => *expr = replacement,
            Err(error) => return ControlFlow::Break(Box::new(error)),
        }
        ControlFlow::Continue(())
    }
}

/// `TUMBLE_START` and its like: the window's kind, and the part of it.
fn helper(name: &str) -> Option<(WindowKind, &'static str)> {
    let name = name.to_uppercase();
    let (kind, part) = name.split_once('_')?;
    let kind = match WindowKind::of(kind)? {
        kind @ (WindowKind::Tumble | WindowKind::Hop | WindowKind::Session) => kind,
        _ => return None,
    };
    (["START", "END", "ROWTIME"].into_iter())
        .find(|known| *known == part)
        .map(|part| (kind, part))
}

/// An unquoted function's name and its plain arguments.
fn call(expr: &Expr) -> Option<(&Ident, Vec<&Expr>)> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    if name.quote_style.is_some() || function.over.is_some() {
        return None;
    }
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    Some((name, args.collect::<Option<_>>()?))
}

/// The expression that an alias or an ordinal in GROUP BY stands for.
fn resolved<'a>(expr: &'a Expr, projection: &'a [SelectItem]) -> &'a Expr {
    let found = match expr {
        Expr::Identifier(name) => projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if same_name(alias, name) => Some(expr),
            _ => None,
        }),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => (digits.parse::<usize>().ok())
                .and_then(|ordinal| projection.get(ordinal.checked_sub(1)?))
                .and_then(|item| match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                        Some(expr)
                    }
                    _ => None,
                }),
            _ => None,
        },
        Expr::Nested(inner) => return resolved(inner, projection),
        _ => None,
    };
    found.unwrap_or(expr)
}

fn same_name(left: &Ident, right: &Ident) -> bool {
    let folded = |name: &Ident| match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    };
    folded(left) == folded(right)
}

/// The name by which the columns of a table were qualified.
fn outer_alias(relation: &TableFactor) -> Option<TableAlias> {
    let name = match relation {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::TableFunction {
            alias: Some(alias), ..
        }
        | TableFactor::Function {
            alias: Some(alias), ..
        } => alias.name.clone(),
        TableFactor::Table {
            name, args: None, ..
        } => match name.0.last()? {
            ObjectNamePart::Identifier(name) => {
                let mut name = name.clone();
                name.quote_style = name.quote_style.map(|_| '"');
                name
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(TableAlias {
        explicit: true,
        name,
        columns: vec![],
        at: None,
    })
}

fn identifier(name: &str, span: Span) -> Expr {
    Expr::Identifier(Ident::with_span(span, name))
}

/// `named_struct('start', window_start, 'end', window_end)`.
fn window_struct(span: Span) -> Expr {
    let text =
        |text: &str| Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span());
    let args = [
        text("start"),
        identifier(WINDOW_START, span),
        text("end"),
        identifier(WINDOW_END, span),
    ];
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_span(span, "named_struct")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args
                .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
                .into(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
