//! What is refused while a query is planned, with the clause that causes it and a way
//! out.

use std::ops::Range;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{GroupByExpr, SetExpr, Spanned};

use super::over_fault;
use super::relations::{Origin, Relation};
use crate::dialect::{Emit, Query};
use crate::error::{Error, ErrorKind, Result};

/// Which streams a plan reads.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Streams {
    /// Whether it reads any.
    pub(super) any: bool,
    /// Whether one of them may go on for ever.
    pub(super) any_live: bool,
}

impl Streams {
    pub(super) fn of(plan: &LogicalPlan) -> Self {
        let mut streams = Self::default();
        // Visiting cannot fail: the closure does not.
        let _ = plan.apply_with_subqueries(|plan| {
            if let LogicalPlan::TableScan(scan) = plan
                && let Some(relation) = Relation::of(scan)
                && matches!(relation.origin, Origin::Stream)
            {
                streams.any = true;
                streams.any_live |= !relation.timing.bounded;
            }
            Ok(TreeNodeRecursion::Continue)
        });
        streams
    }
}

/// Refuses tails that are understood but not there yet.
pub(super) fn tail(query: &Query) -> Result<()> {
    let refused = match &query.emit {
        Emit::Default | Emit::OnWindowClose => None,
        Emit::Changes => Some("EMIT CHANGES is not supported yet"),
        Emit::Every(_) => Some("EMIT EVERY is not supported yet"),
    };
    let refused = match query.allow_lateness {
        Some(_) => Some("ALLOW LATENESS is not supported yet"),
        None => refused,
    };
    match refused {
        Some(message) => Err(Error::new(ErrorKind::Unsupported, message)
            .help("leave it out: each window comes out once, when it closes; a greater bound in WATERMARK waits for late rows")
            .at(query.span.clone())
            .in_script(query.positions.script())),
        None => Ok(()),
    }
}

/// The function of the clock that an expression calls: where it is planned, it would be
/// fixed for ever.
pub fn clock_function(expr: &Expr) -> Option<String> {
    const CLOCK: [&str; 6] = [
        "now",
        "current_timestamp",
        "current_date",
        "current_time",
        "today",
        "current_timestamp()",
    ];
    let mut found: Option<String> = None;
    // Visiting cannot fail: the closure does not.
    let _ = expr.apply(|expr| {
        if let Expr::ScalarFunction(call) = expr
            && CLOCK.contains(&call.func.name())
        {
            found.get_or_insert_with(|| call.func.name().to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// What in an expression needs more than one row, where one row is all there is.
pub fn not_of_one_row(expr: &Expr) -> Option<&'static str> {
    let mut found = None;
    // Visiting cannot fail: the closure does not.
    let _ = expr.apply(|expr| {
        match expr {
            Expr::AggregateFunction(_) => found = Some("an aggregate"),
            Expr::WindowFunction(_) => found = Some("an OVER window"),
            Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::SetComparison(_) => found = Some("a subquery"),
            Expr::Unnest(_) => found = Some("unnest"),
            _ => {}
        }
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    });
    found
}

/// Refuses functions of the clock: they would be fixed when the query is planned.
pub(super) fn clock_functions(plan: &LogicalPlan, query: &Query) -> Result<()> {
    let mut found: Option<String> = None;
    let _ = plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            if found.is_none() {
                found = clock_function(expr);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    match found {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::Plan,
            format!("{name}() would be fixed at the moment when this continuous query starts"),
        )
        .help("use the event time, or a time column that the source fills in")
        .at(word(query, &name).unwrap_or_else(|| query.span.clone()))
        .in_script(query.positions.script())),
    }
}

/// Where a query first says a word.
fn word(query: &Query, word: &str) -> Option<Range<usize>> {
    let text = query.positions.script().text.get(query.span.clone())?;
    let text = text.to_ascii_lowercase();
    let is_inside = |other: Option<char>| other.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (at, _) = text.match_indices(word).find(|(at, _)| {
        let (before, after) = (&text[..*at], &text[at + word.len()..]);
        !is_inside(before.chars().next_back()) && !is_inside(after.chars().next())
    })?;
    let start = query.span.start + at;
    Some(start..start + word.len())
}

/// The error for the latest state of keys where rows are not kept as a table.
pub(super) fn changelog(query: &Query) -> Error {
    let error = match is_distinct(query) {
        true => Error::new(
            ErrorKind::Plan,
            "DISTINCT over a live stream would keep state for ever",
        ),
        false => Error::new(
            ErrorKind::Plan,
            "each row changes the latest state of its key, so that the results would be a changelog",
        ),
    };
    error
        .help(
            "keep it as a table that can be read at any moment: CREATE MATERIALIZED VIEW … WITH \
             (max_keys = '100000') AS SELECT …; or group by a window, for example FROM \
             TUMBLE(readings, ts, INTERVAL '1' MINUTE) GROUP BY …, window_start",
        )
        .at(grouping(query))
}

/// The place of the GROUP BY clause, or of the query.
pub(super) fn grouping(query: &Query) -> Range<usize> {
    group_by(query).unwrap_or_else(|| query.span.clone())
}

/// The error for a plan over live streams that would keep state without bound.
pub(super) fn unbounded(plan: &LogicalPlan, query: &Query) -> Error {
    // What stands deepest is what all above it wait for.
    let (mut causes, mut over) = (Vec::new(), None);
    let _ = plan.apply_with_subqueries(|plan| {
        if Streams::of(plan).any_live {
            causes.extend(match plan {
                LogicalPlan::Aggregate(aggregate) => Some(match &aggregate.group_expr[..] {
                    [Expr::GroupingSet(_)] => Cause::GroupingSets,
                    [] => Cause::Aggregate,
                    _ if is_distinct(query) => Cause::Distinct,
                    _ => Cause::Aggregate,
                }),
                LogicalPlan::Distinct(_) => Some(Cause::Distinct),
                LogicalPlan::Sort(_) => Some(Cause::Sort),
                LogicalPlan::Join(_) | LogicalPlan::Subquery(_) => Some(Cause::Join),
                LogicalPlan::Window(window) => {
                    over = Some(window.clone());
                    Some(Cause::Over)
                }
                plan if has_subquery(plan) => Some(Cause::Join),
                _ => None,
            });
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let first = causes.first().copied();
    let cause = (causes.into_iter())
        .rfind(|cause| matches!(cause, Cause::Join | Cause::Over | Cause::GroupingSets))
        .or(first);
    let span = |clause: Option<Range<usize>>| clause.unwrap_or_else(|| query.span.clone());
    match cause {
        Some(Cause::Aggregate) => Error::new(
            ErrorKind::Plan,
            "this query would keep state for ever",
        )
        .help("group by a window, for example FROM TUMBLE(readings, ts, INTERVAL '1' MINUTE) GROUP BY …, window_start")
        .at(span(group_by(query))),
        Some(Cause::Distinct) => Error::new(
            ErrorKind::Plan,
            "DISTINCT over a live stream would keep state for ever",
        )
        .help("select the distinct rows of a window: SELECT DISTINCT …, window_start FROM TUMBLE(…)"),
        Some(Cause::Sort) => Error::new(
            ErrorKind::Plan,
            "ORDER BY needs all rows, and a live stream does not end",
        )
        .help("leave it out: windows come out in the order of their ends; or keep the results in a materialized view and sort when you read it")
        .at(span(query.ast.order_by.as_ref().and_then(|order| query.positions.range(order.span())))),
        Some(Cause::Join) => Error::new(
            ErrorKind::Unsupported,
            "joins and subqueries beside live streams are not supported yet",
        )
        .help("keep both sides in materialized views and join those when you read them"),
        Some(Cause::GroupingSets) => Error::new(
            ErrorKind::Unsupported,
            "GROUPING SETS, ROLLUP and CUBE over live streams are not supported yet",
        )
        .help("write one windowed query for each set and join them with UNION ALL"),
        Some(Cause::Over) => match over {
            Some(window) => over_fault::of(&window),
            None => Error::new(ErrorKind::Unsupported, "this OVER window cannot run"),
        }
        .at(span(word(query, "over"))),
        None => Error::new(
            ErrorKind::Unsupported,
            "this query cannot run over a live stream",
        )
        .help("over a file or a materialized view it can"),
    }
    .at(query.span.clone())
    .in_script(query.positions.script())
}

/// Whether an expression of this step alone holds a query.
fn has_subquery(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // Visiting cannot fail: the closures do not.
    let _ = plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            found |= matches!(
                expr,
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
            );
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}

/// Whether a query is SELECT DISTINCT without groups of its own.
fn is_distinct(query: &Query) -> bool {
    match query.ast.body.as_ref() {
        SetExpr::Select(select) => select.distinct.is_some() && group_by(query).is_none(),
        _ => false,
    }
}

#[derive(Debug, Clone, Copy)]
enum Cause {
    Aggregate,
    Distinct,
    Sort,
    Join,
    Over,
    GroupingSets,
}

/// The place of the GROUP BY clause.
fn group_by(query: &Query) -> Option<Range<usize>> {
    let SetExpr::Select(select) = query.ast.body.as_ref() else {
        return None;
    };
    match &select.group_by {
        GroupByExpr::Expressions(exprs, _) if !exprs.is_empty() => {
            let first = query.positions.range(exprs.first()?.span())?;
            let last = query.positions.range(exprs.last()?.span())?;
            Some(first.start..last.end)
        }
        _ => None,
    }
}
