//! Window functions in FROM, in the one form that the planner sees.
//!
//! ```text
//! FROM HOP('x.csv', ts, INTERVAL '1' SECOND, INTERVAL '1' MINUTE)
//!   ─▶ FROM windrow_window((SELECT * FROM "x.csv"), 0)
//!      calls[0] = { hop, ts, [1 second, 1 minute], … }
//! ```
//!
//! The source stands as a subquery, so that DataFusion's own resolver finds files
//! and CTEs; all else is in the [`WindowCall`], by index.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, ObjectName, Query, Select,
    SelectFlavor, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value,
    WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::Span;

/// The table function that stands for every window function:
/// `windrow_window((query), index)`.
pub const WINDOW_FUNCTION: &str = "windrow_window";

/// The function of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Fixed and disjoint: sizes are `[size]`.
    Tumble,
    /// Fixed and overlapping: sizes are `[slide, size]`.
    Hop,
    /// Growing: sizes are `[step, size]`.
    Cumulate,
    /// A key's readings no further apart than the gap: sizes are `[gap]`.
    Session,
    /// Numbers of rows: sizes are `[rows]` or `[rows, slide]`.
    CountWindow,
}

/// A call of a window function.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowCall {
    /// The function.
    pub kind: WindowKind,
    /// The event-time column; `None`: the stream's own.
    pub time: Option<Ident>,
    /// Intervals, or numbers of rows, in the order of [`WindowKind`].
    pub sizes: Vec<Expr>,
    /// The keys of SESSION and COUNT_WINDOW.
    pub partition_by: Vec<Ident>,
    /// The shift of the windows against the epoch.
    pub offset: Option<Expr>,
    /// The zone in which days and longer units are counted.
    pub timezone: Option<String>,
    /// The bytes of the call in the script.
    pub span: Range<usize>,
}

impl WindowKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Tumble,
        Self::Hop,
        Self::Cumulate,
        Self::Session,
        Self::CountWindow,
    ];

    /// The function's name, in upper case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tumble => "TUMBLE",
            Self::Hop => "HOP",
            Self::Cumulate => "CUMULATE",
            Self::Session => "SESSION",
            Self::CountWindow => "COUNT_WINDOW",
        }
    }

    /// An example of its canonical form.
    pub fn example(self) -> &'static str {
        match self {
            Self::Tumble => "TUMBLE(readings, ts, INTERVAL '1' MINUTE)",
            Self::Hop => "HOP(readings, ts, INTERVAL '10' SECOND, INTERVAL '1' MINUTE)",
            Self::Cumulate => "CUMULATE(readings, ts, INTERVAL '1' HOUR, INTERVAL '1' DAY)",
            Self::Session => "SESSION(readings PARTITION BY sensor, ts, INTERVAL '5' MINUTE)",
            Self::CountWindow => "COUNT_WINDOW(readings PARTITION BY sensor, 100)",
        }
    }

    /// The kind of an unquoted name.
    pub(super) fn of(name: &str) -> Option<Self> {
        (Self::ALL.into_iter()).find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// `windrow_window((query), index) AS alias`.
pub(super) fn window_factor(
    query: Query,
    index: usize,
    name: Span,
    alias: Option<TableAlias>,
) -> TableFactor {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let number = Value::Number(index.to_string(), false);
    TableFactor::Function {
        lateral: false,
        name: ObjectName::from(vec![Ident::with_span(name, WINDOW_FUNCTION)]),
        args: vec![
            argument(Expr::Subquery(Box::new(query))),
            argument(Expr::Value(number.with_empty_span())),
        ],
        with_ordinality: false,
        alias,
    }
}

/// A table by its name.
pub(super) fn table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

/// `SELECT * FROM relation [WHERE selection]`.
pub(super) fn select_all(relation: TableFactor, selection: Option<Expr>) -> Query {
    let select = Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: vec![],
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())],
        exclude: None,
        into: None,
        from: vec![TableWithJoins {
            relation,
            joins: vec![],
        }],
        lateral_views: vec![],
        prewhere: None,
        selection,
        connect_by: vec![],
        group_by: GroupByExpr::Expressions(vec![], vec![]),
        cluster_by: vec![],
        distribute_by: vec![],
        sort_by: vec![],
        having: None,
        named_window: vec![],
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}
