//! Intervals as they are written.

use std::ops::Range;

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::sql::sqlparser::ast::{DataType, Expr, UnaryOperator, Value};

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// A constant span of time without calendar units; a day is 24 hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedInterval {
    /// Its length in nanoseconds, never negative.
    pub nanos: i128,
    /// Where it is written.
    pub span: Range<usize>,
}

/// The value of a literal interval: `INTERVAL '5' SECOND`, `INTERVAL '5 seconds'`,
/// `INTERVAL 5 SECOND`, `'5 seconds'::INTERVAL`; `None` for anything else.
pub fn interval(expr: &Expr) -> Option<IntervalMonthDayNano> {
    let (text, unit) = match expr {
        Expr::Nested(inner) => return interval(inner),
        Expr::Interval(interval) if interval.last_field.is_none() => {
            (literal(&interval.value)?, interval.leading_field.as_ref())
        }
        Expr::Cast {
            expr,
            data_type: DataType::Interval { .. },
            ..
        } => (literal(expr)?, None),
        _ => return None,
    };
    let text = match unit {
        Some(unit) => format!("{text} {unit}"),
        // Without a unit Arrow would count months.
        None if !text.contains(|c: char| c.is_alphabetic() || c == ':') => return None,
        None => text,
    };
    parse_interval_month_day_nano(&text).ok()
}

/// The length of a literal interval in nanoseconds; `None` if it is none, counts in
/// months, or is negative.
pub(super) fn fixed_nanos(expr: &Expr) -> Option<i128> {
    let value = interval(expr)?;
    let nanos = i128::from(value.days) * NANOS_PER_DAY + i128::from(value.nanoseconds);
    (value.months == 0 && nanos >= 0).then_some(nanos)
}

/// Whether an expression is written as an interval, whatever its value.
pub(super) fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_interval(inner),
        Expr::Interval(_) => true,
        Expr::Cast { data_type, .. } => matches!(data_type, DataType::Interval { .. }),
        Expr::BinaryOp { left, right, .. } => is_interval(left) || is_interval(right),
        Expr::UnaryOp { expr, .. } => is_interval(expr),
        _ => false,
    }
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(digits, _) => Some(digits.clone()),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => Some(format!("-{}", literal(expr)?)),
        _ => None,
    }
}
