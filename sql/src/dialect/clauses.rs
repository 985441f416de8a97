//! Clauses that DataFusion would read past: spelled out, or refused.
//!
//! - `OVER (w …)` and `WINDOW w2 AS (w …)` lose w's PARTITION BY and ORDER BY: every
//!   named window is written out where it is used.
//! - `FROM r` alone would have no columns: it is `SELECT * FROM r`.
//! - TABLESAMPLE, FOR SYSTEM_TIME AS OF, FOR UPDATE, hints and the like are ignored:
//!   they are refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, GroupByWithModifier, Ident, LimitClause, NamedWindowDefinition,
    NamedWindowExpr, Query, Select, SelectFlavor, SelectItem, Spanned, TableFactor, Value,
    VisitMut, VisitorMut, WildcardAdditionalOptions, WindowSpec, WindowType,
};

use super::message::TEMPORAL_JOIN;
use super::positions::Positions;
use crate::error::{Error, ErrorKind, Result, nearest};

/// Writes named windows out, and refuses what would be ignored.
pub(super) fn expand(query: &mut Query, positions: &Positions) -> Result<()> {
    match query.visit(&mut Expander { positions }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Expander<'a> {
    positions: &'a Positions,
}

impl VisitorMut for Expander<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        refuse_of_query(query, self.positions)?;
        // The ORDER BY of a query sees the windows of its SELECT.
        if let (Some(select), Some(order_by)) = (query.body.as_select(), &mut query.order_by) {
            let mut named = Named::of(select, self.positions)?;
            order_by.visit(&mut named)?;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        refuse_of_select(select, self.positions)?;
        select_list(select, self.positions)?;
        let mut named = Named::of(select, self.positions)?;
        select.named_window.clear();
        select.visit(&mut named)
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        refuse_of_table(factor, self.positions)
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        refuse_of_expr(expr, self.positions)
    }
}

/// Refuses what an expression outside queries would not do: of a computed column, a CHECK.
pub(super) fn check_expr(expr: &mut Expr, positions: &Positions) -> Result<()> {
    match expr.visit(&mut Expander { positions }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

fn refuse_of_expr(expr: &Expr, positions: &Positions) -> ControlFlow<Box<Error>> {
    match expr {
        Expr::Interval(interval) if interval.leading_field.is_none() => {
            let Expr::Value(value) = interval.value.as_ref() else {
                return ControlFlow::Continue(());
            };
            let (Value::SingleQuotedString(text) | Value::Number(text, _)) = &value.value else {
                return ControlFlow::Continue(());
            };
            if text.contains(|c: char| c.is_alphabetic() || c == ':') {
                return ControlFlow::Continue(());
            }
            let message = format!("INTERVAL '{text}' has no unit");
            let error = refusal(ErrorKind::Plan, message, value.span, positions);
            ControlFlow::Break(Box::new(
                error.help(format!("write INTERVAL '{text}' SECOND")),
            ))
        }
        Expr::Collate { .. } => {
            let help = "texts are compared byte by byte; lower(x) makes that blind to case";
            refuse("COLLATE", expr.span(), positions, help)
        }
        _ => ControlFlow::Continue(()),
    }
}

/// Gives `FROM r` the columns that are meant, and refuses `SELECT FROM r`.
fn select_list(select: &mut Select, positions: &Positions) -> ControlFlow<Box<Error>> {
    if !select.projection.is_empty() {
        return ControlFlow::Continue(());
    }
    if select.flavor != SelectFlavor::FromFirstNoSelect {
        let message = "the select list is empty".to_owned();
        let error = refusal(ErrorKind::Syntax, message, select.span(), positions);
        return ControlFlow::Break(Box::new(error.help("write SELECT *")));
    }
    select.flavor = SelectFlavor::Standard;
    let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
    select.projection.push(all);
    ControlFlow::Continue(())
}

/// The named windows of one SELECT, written out.
struct Named<'a> {
    windows: Vec<(Ident, WindowSpec)>,
    /// How many queries deep below the SELECT: names are not seen there.
    depth: usize,
    positions: &'a Positions,
}

impl<'a> Named<'a> {
    fn of(select: &Select, positions: &'a Positions) -> ControlFlow<Box<Error>, Self> {
        let mut named = Self {
            windows: vec![],
            depth: 0,
            positions,
        };
        for NamedWindowDefinition(name, window) in &select.named_window {
            let spec = match window {
                NamedWindowExpr::NamedWindow(other) => named.find(other)?.clone(),
                NamedWindowExpr::WindowSpec(spec) => named.refined(spec)?,
            };
            named.windows.push((name.clone(), spec));
        }
        ControlFlow::Continue(named)
    }

    fn find(&self, name: &Ident) -> ControlFlow<Box<Error>, &WindowSpec> {
        let same = |other: &Ident| match (name.quote_style, other.quote_style) {
            (None, None) => name.value.eq_ignore_ascii_case(&other.value),
            _ => name.value == other.value,
        };
        if let Some((_, spec)) = self.windows.iter().find(|(other, _)| same(other)) {
            return ControlFlow::Continue(spec);
        }
        let known = self.windows.iter().map(|(name, _)| name.value.as_str());
        let message = format!("there is no window {}", name.value);
        let error = refusal(ErrorKind::Plan, message, name.span, self.positions);
        ControlFlow::Break(Box::new(match nearest(&name.value, known) {
            Some(meant) => error.help(format!("did you mean {meant}?")),
            None => error.help(format!(
                "name it in the same SELECT: WINDOW {} AS (PARTITION BY … ORDER BY …)",
                name.value
            )),
        }))
    }

    /// A specification with what it takes from the window that it names, by the
    /// standard's rules: PARTITION BY is w's; ORDER BY is w's or its own; w has no frame.
    fn refined(&self, spec: &WindowSpec) -> ControlFlow<Box<Error>, WindowSpec> {
        let Some(name) = &spec.window_name else {
            return ControlFlow::Continue(spec.clone());
        };
        let base = self.find(name)?;
        let clash = if !spec.partition_by.is_empty() {
            Some("PARTITION BY")
        } else if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            Some("ORDER BY")
        } else if base.window_frame.is_some() {
            Some("a frame")
        } else {
            None
        };
        if let Some(clause) = clash {
            let message = match clause {
                "a frame" => format!("the window {name} has a frame and cannot be refined"),
                _ => format!("the window {name} cannot be given another {clause}"),
            };
            let error = refusal(ErrorKind::Plan, message, name.span, self.positions);
            return ControlFlow::Break(Box::new(
                error.help(format!("write the whole window without {name}")),
            ));
        }
        ControlFlow::Continue(WindowSpec {
            window_name: None,
            partition_by: base.partition_by.clone(),
            order_by: match spec.order_by.is_empty() {
                true => base.order_by.clone(),
                false => spec.order_by.clone(),
            },
            window_frame: spec.window_frame.clone(),
        })
    }
}

impl VisitorMut for Named<'_> {
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
        if let Expr::Function(function) = expr
            && self.depth == 0
        {
            let spec = match &function.over {
                None => return ControlFlow::Continue(()),
                Some(WindowType::NamedWindow(name)) => self.find(name)?.clone(),
                Some(WindowType::WindowSpec(spec)) => self.refined(spec)?,
            };
            function.over = Some(WindowType::WindowSpec(spec));
        }
        ControlFlow::Continue(())
    }
}

fn refuse_of_query(query: &Query, positions: &Positions) -> ControlFlow<Box<Error>> {
    let clause = if !query.locks.is_empty() {
        "FOR UPDATE"
    } else if query.for_clause.is_some() {
        "FOR XML, JSON or BROWSE"
    } else if query.settings.is_some() {
        "SETTINGS"
    } else if query.format_clause.is_some() {
        "FORMAT"
    } else if let Some(LimitClause::LimitOffset { limit_by, .. }) = &query.limit_clause
        && let Some(first) = limit_by.first()
    {
        let help = "number the rows: row_number() OVER (PARTITION BY … ORDER BY …) AS rn, and keep rn <= n in an outer query";
        return refuse("LIMIT … BY", first.span(), positions, help);
    } else {
        return ControlFlow::Continue(());
    };
    refuse(clause, query.span(), positions, "leave it out")
}

/// `WITH ROLLUP` and its like behind GROUP BY, and what a `*` takes besides names: they
/// would be read past.
fn refuse_of_groups(select: &Select, positions: &Positions) -> ControlFlow<Box<Error>> {
    let (GroupByExpr::Expressions(_, modifiers) | GroupByExpr::All(modifiers)) = &select.group_by;
    if let Some(modifier) = modifiers.first() {
        let (clause, help) = match modifier {
            GroupByWithModifier::Rollup => ("WITH ROLLUP", "write GROUP BY ROLLUP (a, b)"),
            GroupByWithModifier::Cube => ("WITH CUBE", "write GROUP BY CUBE (a, b)"),
            GroupByWithModifier::Totals => {
                ("WITH TOTALS", "write GROUP BY GROUPING SETS ((a, b), ())")
            }
            GroupByWithModifier::GroupingSets(_) => (
                "GROUPING SETS behind other groups",
                "write GROUP BY GROUPING SETS ((a, b), (a), ())",
            ),
        };
        return refuse(clause, select.group_by.span(), positions, help);
    }
    for item in &select.projection {
        let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item
        else {
            continue;
        };
        if options.opt_ilike.is_some() {
            let help = "name the columns, or leave some out: SELECT * EXCLUDE (a, b)";
            return refuse("* ILIKE", item.span(), positions, help);
        }
    }
    ControlFlow::Continue(())
}

fn refuse_of_select(select: &Select, positions: &Positions) -> ControlFlow<Box<Error>> {
    let clause = if select.into.is_some() {
        return refuse(
            "INTO",
            select.span(),
            positions,
            "write CREATE SINK … AS SELECT …",
        );
    } else if select.prewhere.is_some() {
        "PREWHERE"
    } else if !select.connect_by.is_empty() {
        "CONNECT BY"
    } else if !select.distribute_by.is_empty() {
        "DISTRIBUTE BY"
    } else if !select.cluster_by.is_empty() {
        "CLUSTER BY"
    } else if let Some(first) = select.sort_by.first() {
        return refuse("SORT BY", first.span(), positions, "write ORDER BY");
    } else if !select.lateral_views.is_empty() {
        let help = "write SELECT unnest(list) AS item";
        return refuse("LATERAL VIEW", select.span(), positions, help);
    } else if select.top.is_some() {
        let help = "write LIMIT at the end of the query: SELECT … LIMIT 10";
        return refuse("TOP", select.span(), positions, help);
    } else if select.value_table_mode.is_some() {
        "SELECT AS VALUE or STRUCT"
    } else {
        return refuse_of_groups(select, positions);
    };
    refuse(clause, select.span(), positions, "leave it out")
}

fn refuse_of_table(factor: &TableFactor, positions: &Positions) -> ControlFlow<Box<Error>> {
    let (clause, help) = match factor {
        TableFactor::Table {
            sample: Some(_), ..
        }
        | TableFactor::Derived {
            sample: Some(_), ..
        } => ("TABLESAMPLE", "filter with WHERE random() < 0.1"),
        TableFactor::Table {
            version: Some(_), ..
        } => ("FOR SYSTEM_TIME AS OF", TEMPORAL_JOIN),
        TableFactor::Table {
            with_hints,
            index_hints,
            ..
        } if !with_hints.is_empty() || !index_hints.is_empty() => ("a table hint", "leave it out"),
        TableFactor::Table { partitions, .. } if !partitions.is_empty() => (
            "PARTITION (…) behind a table",
            "filter with WHERE, or write SESSION(src PARTITION BY k, ts, INTERVAL '5' MINUTE)",
        ),
        TableFactor::Table {
            with_ordinality: true,
            ..
        }
        | TableFactor::Function {
            with_ordinality: true,
            ..
        } => ("WITH ORDINALITY", "use row_number() OVER (ORDER BY …)"),
        TableFactor::Pivot { .. } => (
            "PIVOT",
            "write one aggregate for each value: sum(x) FILTER (WHERE k = 'a') AS a",
        ),
        TableFactor::Unpivot { .. } => ("UNPIVOT", "write a SELECT for each column and UNION ALL"),
        TableFactor::MatchRecognize { .. } => (
            "MATCH_RECOGNIZE",
            "use lag(…) OVER (PARTITION BY … ORDER BY …) and QUALIFY",
        ),
        _ => return ControlFlow::Continue(()),
    };
    refuse(clause, factor.span(), positions, help)
}

fn refuse(
    clause: &str,
    span: datafusion::sql::sqlparser::tokenizer::Span,
    positions: &Positions,
    help: &str,
) -> ControlFlow<Box<Error>> {
    let message = format!("{clause} is not supported");
    let error = refusal(ErrorKind::Unsupported, message, span, positions);
    ControlFlow::Break(Box::new(error.help(help)))
}

fn refusal(
    kind: ErrorKind,
    message: String,
    span: datafusion::sql::sqlparser::tokenizer::Span,
    positions: &Positions,
) -> Error {
    let error = Error::new(kind, message).in_script(positions.script());
    match positions.range(span) {
        Some(range) => error.at(range),
        None => error,
    }
}
