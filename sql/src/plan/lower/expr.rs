//! Expressions: which can be computed row by row, and how.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_expr::expressions::Column;

use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Blame, ColumnExpr};

/// Turns logical expressions into ones that can be evaluated.
#[derive(Clone, Copy)]
pub(super) struct Compiler<'a> {
    pub(super) props: &'a ExecutionProps,
    /// The query that is compiled.
    pub(super) blame: &'a Arc<Blame>,
}

impl Compiler<'_> {
    pub(super) fn compile(&self, expr: &Expr, schema: &DFSchema) -> Result<ColumnExpr> {
        let context = PhysicalPlanningContext::default();
        create_physical_expr(expr, schema, self.props, &context).map_err(plan_fault)
    }

    /// References to columns of `schema` by their places.
    pub(super) fn places(
        schema: &SchemaRef,
        places: impl IntoIterator<Item = usize>,
    ) -> Vec<ColumnExpr> {
        (places.into_iter())
            .map(|place| Arc::new(Column::new(schema.field(place).name(), place)) as ColumnExpr)
            .collect()
    }
}

/// An error that DataFusion found while a part of a plan was made runnable.
pub(super) fn plan_fault(error: DataFusionError) -> Error {
    let error = crate::exec::data_fault(error);
    match error.kind() {
        ErrorKind::Data => Error::new(ErrorKind::Plan, error.message()),
        _ => error,
    }
}

/// Whether an expression can be computed from one row alone.
pub(super) fn is_row_wise(expr: &Expr) -> bool {
    let mut row_wise = true;
    let visited = expr.apply(|expr| {
        row_wise &= !matches!(
            expr,
            Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Unnest(_)
                | Expr::GroupingSet(_)
                | Expr::Placeholder(_)
        );
        Ok(if row_wise {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    });
    row_wise && visited.is_ok()
}

/// Whether a condition has a value for every row: comparisons of columns with constants,
/// and what is made of them.
pub(super) fn cannot_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let mut safe = true;
    let visited = expr.apply(|expr| {
        safe &= match expr {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::Between(_)
            | Expr::InList(_) => true,
            Expr::BinaryExpr(binary) => matches!(
                binary.op,
                Operator::And
                    | Operator::Or
                    | Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
            ),
            // A time in another unit may be out of range, but then its bounds are, too.
            Expr::Cast(cast) => {
                let from = cast.expr.get_type(schema);
                let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
                is_time(cast.field.data_type()) && from.is_ok_and(|from| is_time(&from))
            }
            _ => false,
        };
        Ok(match safe {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    });
    safe && visited.is_ok()
}

/// The place of the column that an expression passes on unchanged.
pub(super) fn column_place(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of_column(column).ok(),
        Expr::Alias(alias) => column_place(&alias.expr, schema),
        _ => None,
    }
}
