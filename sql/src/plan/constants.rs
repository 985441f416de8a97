//! Subqueries that stand for one value and end, beside live streams: their values.
//!
//! ```text
//! SELECT … FROM live WHERE v > (SELECT avg(x) FROM 'file.csv')   ─▶   … WHERE v > 17.5
//! ```
//!
//! Such a subquery has one answer, however long the query around it goes on: it is computed
//! when the query is planned. One that names a column of the query around it, a live stream,
//! or a view that is still to be computed has no such answer, and stays.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Subquery, Volatility,
};

use super::refuse::Streams;
use super::relations::{Origin, relations};

/// A plan over live streams with the values of such subqueries, each computed by `value`.
pub(super) fn computed(
    plan: LogicalPlan,
    value: &dyn Fn(&LogicalPlan) -> DfResult<ScalarValue>,
) -> DfResult<LogicalPlan> {
    if !Streams::of(&plan).any_live {
        return Ok(plan);
    }
    let computed = plan.transform_up(|plan| {
        let names = NamePreserver::new(&plan);
        let replaced = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let replaced = expr.transform_up(|expr| match &expr {
                Expr::ScalarSubquery(subquery) if is_constant(subquery) => {
                    let value = Constant::new(value(&subquery.subquery)?);
                    Ok(Transformed::yes(ScalarUDF::from(value).call(vec![])))
                }
                _ => Ok(Transformed::no(expr)),
            })?;
            Ok(replaced.update_data(|expr| name.restore(expr)))
        })?;
        match replaced.transformed {
            true => replaced.map_data(LogicalPlan::recompute_schema),
            false => Ok(replaced),
        }
    });
    Ok(computed?.data)
}

fn is_constant(subquery: &Subquery) -> bool {
    subquery.outer_ref_columns.is_empty()
        && (relations(&subquery.subquery).iter()).all(|relation| match relation.origin {
            Origin::Stream => relation.timing.bounded,
            Origin::Rows(_) => relation.settles.is_empty(),
            Origin::View(_) => false,
        })
}

/// A function that gives the value. In place of a literal: a condition that is known never to
/// hold would be folded together with the stream that it is about.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    value: ScalarValue,
    signature: Signature,
}

impl Constant {
    fn new(value: ScalarValue) -> Self {
        Self {
            value,
            signature: Signature::nullary(Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        "subquery"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}
