//! Clauses that DataFusion would read past: spelled out, or refused.
//!
//! - `OVER (w …)` and `WINDOW w2 AS (w …)` lose w's PARTITION BY and ORDER BY: every
//!   named window is written out where it is used.
//! - `FROM r` alone would have no columns: it is `SELECT * FROM r`.
//! - TABLESAMPLE, FOR SYSTEM_TIME AS OF, FOR UPDATE, hints and the like are ignored:
//!   they are refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, Query, Select, SelectFlavor, SelectItem,
    Spanned, TableFactor, VisitMut, VisitorMut, WildcardAdditionalOptions, WindowSpec, WindowType,
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
    } else {
        return ControlFlow::Continue(());
    };
    refuse(clause, query.span(), positions, "leave it out")
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
    } else if select.value_table_mode.is_some() {
        "SELECT AS VALUE or STRUCT"
    } else {
        return ControlFlow::Continue(());
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
