//! Operators whose operands need a look at their types: times of different units, numbers
//! of intervals, and operands that do not fit together.

use datafusion::common::{DFSchema, DataFusionError, Diagnostic, Result as DfResult, Span};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use arrow::datatypes::DataType;

use super::widen;
use crate::error::{Error, ErrorKind};
use crate::words::sql_type;

/// Plans operators before DataFusion does.
#[derive(Debug)]
pub struct OperatorPlanner;

impl ExprPlanner for OperatorPlanner {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let Some(op) = operator(&raw.op) else {
            return Ok(PlannerResult::Original(raw));
        };
        let (left, right) = (&raw.left, &raw.right);
        let planned = match op {
            Operator::Multiply => widen::multiplied(left, right, schema),
            Operator::Plus | Operator::Minus => widen::arithmetic(left, op, right, schema),
            _ if compares(op) => widen::comparison(left, op, right, schema),
            _ => None,
        };
        if let Some(planned) = planned {
            return Ok(PlannerResult::Planned(planned));
        }
        if let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema))
            && (BinaryTypeCoercer::new(&left_type, &op, &right_type).get_input_types()).is_err()
        {
            let error = misfit((left, &left_type), op, (right, &right_type));
            let place = first_span(left).or_else(|| first_span(right));
            let diagnostic = Diagnostic::new_error(error.message(), place);
            let error = DataFusionError::External(Box::new(error));
            return Err(error.with_diagnostic(diagnostic));
        }
        Ok(PlannerResult::Original(raw))
    }
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
    )
}

fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
        _ => return None,
    })
}

/// Two operands that do not fit together, with a way that would do.
fn misfit(left: (&Expr, &DataType), op: Operator, right: (&Expr, &DataType)) -> Error {
    let is = |(expr, data_type): (&Expr, &DataType)| {
        let sql = sql_type(data_type);
        match written(expr) {
            Some(text) => format!("{text} is {sql}"),
            None => format!("the other is {sql}"),
        }
    };
    let message = match (written(left.0), written(right.0)) {
        (None, None) => format!(
            "{} and {} do not go together with {op}",
            sql_type(left.1),
            sql_type(right.1)
        ),
        (None, Some(_)) => format!("{op} does not fit: {}, {}", is(right), is(left)),
        _ => format!("{op} does not fit: {}, {}", is(left), is(right)),
    };
    let error = Error::new(ErrorKind::Plan, message);
    let time = [left, right]
        .into_iter()
        .find(|(_, data_type)| matches!(data_type, DataType::Timestamp(..) | DataType::Date32));
    let has = |wanted: fn(&DataType) -> bool| wanted(left.1) || wanted(right.1);
    let is_text = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8
        )
    };
    match (op, time) {
        (Operator::And | Operator::Or, _) => {
            error.help("AND and OR take conditions: write v <> 0 for a number")
        }
        (Operator::Plus | Operator::Minus, Some((time, _))) => {
            let time = written(time).unwrap_or_else(|| "ts".into());
            error.help(format!("a time takes an interval: {time} {op} INTERVAL '5' SECOND"))
        }
        (op, Some((time, _))) if compares(op) => {
            let time = written(time).unwrap_or_else(|| "ts".into());
            error.help(format!(
                "compare with a time: {time} {op} TIMESTAMP '2026-01-01 00:00:00'; integer epochs need their unit: to_timestamp_millis(n)"
            ))
        }
        (Operator::Multiply | Operator::Divide, None)
            if has(|data_type| matches!(data_type, DataType::Interval(_))) =>
        {
            error.help("an interval of a fixed length is multiplied by a whole number: n * INTERVAL '1' HOUR")
        }
        _ if has(is_text) && has(DataType::is_numeric) => {
            error.help("convert the text: CAST(… AS DOUBLE)")
        }
        _ => error.help("convert one of them with CAST(… AS …)"),
    }
}

/// A column's name or a literal's value.
fn written(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        Expr::Literal(value, _) => match value.data_type() {
            DataType::Utf8 => Some(format!("'{value}'")),
            data_type if data_type.is_numeric() => Some(value.to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// The place of the first column in an expression, as the planner counts.
fn first_span(expr: &Expr) -> Option<Span> {
    expr.spans().and_then(|spans| spans.first())
}
