//! A window function in a logical plan.
//!
//! The node stands for each row of its input, once for each window that holds it, with
//! `window_start`, `window_end` and `window_time`. It is never computed as such where
//! an aggregation by window follows: the two become one operator.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, DFSchemaRef, ExprSchema, Result, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use windrow_core::time::{WINDOW_END, WINDOW_START, WINDOW_TIME, nanos_per_tick, time_unit};
use windrow_core::window::{Alignment, Span, WindowKind};

/// The columns that a window function adds, in their order.
pub const WINDOW_COLUMNS: [&str; 3] = [WINDOW_START, WINDOW_END, WINDOW_TIME];

/// A window function over its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowNode {
    /// Where the rows come from.
    pub input: LogicalPlan,
    /// The event-time column of the input.
    pub time: Column,
    /// The PARTITION BY columns of SESSION and COUNT_WINDOW.
    pub partition_by: Vec<Column>,
    /// The function with its sizes.
    pub kind: WindowKind,
    /// Where windows start counting.
    pub alignment: Alignment,
    schema: DFSchemaRef,
}

impl WindowNode {
    /// A window function over `input`.
    pub fn new(
        input: LogicalPlan,
        time: Column,
        partition_by: Vec<Column>,
        kind: WindowKind,
        alignment: Alignment,
    ) -> Result<Self> {
        let time_type = input.schema().field_from_column(&time)?.data_type().clone();
        let schema = window_schema(input.schema(), &time_type)?;
        Ok(Self {
            input,
            time,
            partition_by,
            kind,
            alignment,
            schema: Arc::new(schema),
        })
    }

    /// The places of the input's columns that remain in the output, in their order;
    /// columns of an inner window are replaced.
    pub fn kept_columns(&self) -> Vec<usize> {
        kept_columns(self.input.schema())
    }
}

fn kept_columns(input: &DFSchema) -> Vec<usize> {
    (0..input.fields().len())
        .filter(|column| !WINDOW_COLUMNS.contains(&input.field(*column).name().as_str()))
        .collect()
}

fn window_schema(input: &DFSchema, time_type: &DataType) -> Result<DFSchema> {
    let mut fields: Vec<(Option<TableReference>, Arc<Field>)> = (kept_columns(input).into_iter())
        .map(|column| {
            let (qualifier, field) = input.qualified_field(column);
            (qualifier.cloned(), field.clone())
        })
        .collect();
    for name in WINDOW_COLUMNS {
        fields.push((None, Arc::new(Field::new(name, time_type.clone(), false))));
    }
    DFSchema::new_with_metadata(fields, input.metadata().clone())
}

/// A length of time as `EXPLAIN` prints it: `10 s`, `1 d`.
pub fn length(ticks: i64, unit: TimeUnit) -> String {
    let nanos = i128::from(ticks) * i128::from(nanos_per_tick(unit));
    const UNITS: [(i128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let whole = UNITS.into_iter().find(|(length, _)| nanos % length == 0);
    let (length, name) = whole.unwrap_or((1, "ns"));
    format!("{} {name}", nanos / length)
}

/// The function and its sizes, as `EXPLAIN` prints them; `unit` is the time column's.
pub fn describe(kind: &WindowKind, unit: TimeUnit) -> String {
    let length = |ticks: i64| length(ticks, unit);
    let span = |span: &Span| match span {
        Span::Ticks(ticks) => length(*ticks),
        Span::Days(days) => format!("{days} calendar days"),
        Span::Months(months) => format!("{months} calendar months"),
    };
    match kind {
        WindowKind::Tumble { size } => format!("TUMBLE size {}", span(size)),
        WindowKind::Hop { slide, size } => {
            format!("HOP slide {}, size {}", span(slide), span(size))
        }
        WindowKind::Cumulate { step, size } => {
            format!("CUMULATE step {}, size {}", span(step), span(size))
        }
        WindowKind::Session { gap } => format!("SESSION gap {}", length(*gap)),
        WindowKind::Count { rows, slide } => format!("COUNT_WINDOW {rows} rows, slide {slide}"),
    }
}

impl WindowNode {
    /// The function and its sizes, as `EXPLAIN` prints them.
    pub fn describe(&self) -> String {
        let unit = (self.input.schema().field_from_column(&self.time).ok())
            .and_then(|field| time_unit(field.data_type()).ok());
        describe(&self.kind, unit.unwrap_or(TimeUnit::Microsecond))
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        (std::iter::once(&self.time).chain(&self.partition_by))
            .map(|column| Expr::Column(column.clone()))
            .collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let windows = WINDOW_COLUMNS.iter().map(ToString::to_string);
        match self.kind {
            // Which rows make up a session or a count depends on every condition but
            // those on the keys.
            WindowKind::Session { .. } | WindowKind::Count { .. } => {
                let names = self.schema.fields().iter().map(|field| field.name());
                let is_key = |name: &str| self.partition_by.iter().any(|key| key.name == name);
                names.filter(|name| !is_key(name)).cloned().collect()
            }
            _ => windows.collect(),
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window: {} on {}", self.describe(), self.time.name)
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let mut columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => datafusion::common::internal_err!("a window's {other} is no column"),
        });
        let (Some(time), Some(input)) = (columns.next(), inputs.pop()) else {
            return datafusion::common::internal_err!("a window has a time and an input");
        };
        let partition_by = columns.collect::<Result<Vec<_>>>()?;
        Self::new(input, time?, partition_by, self.kind, self.alignment)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let kept = self.kept_columns();
        let mut needed: Vec<usize> = (output_columns.iter())
            .filter_map(|column| kept.get(*column).copied())
            .collect();
        for column in std::iter::once(&self.time).chain(&self.partition_by) {
            needed.push(self.input.schema().index_of_column(column).ok()?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Whether a plan holds a window function.
pub fn has_window(plan: &LogicalPlan) -> bool {
    holds(plan, |plan| match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().is::<WindowNode>(),
        _ => false,
    })
}

/// Whether a plan holds per-row windows.
pub fn has_over(plan: &LogicalPlan) -> bool {
    holds(plan, |plan| matches!(plan, LogicalPlan::Window(_)))
}

fn holds(plan: &LogicalPlan, is_it: impl Fn(&LogicalPlan) -> bool) -> bool {
    let mut found = false;
    let visited = plan.apply_with_subqueries(|plan| {
        found |= is_it(plan);
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found || visited.is_err()
}
