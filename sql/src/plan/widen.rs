//! Times of different units: what is finer widens the comparison, nothing is truncated.
//!
//! DataFusion brings two timestamps to the coarser of their units. Here
//!
//! - a constant that lies between two ticks of the other side is compared by the ticks
//!   around it: `ts < '…:01.5'` over whole seconds is `ts <= '…:01'`, `ts = '…:01.5'` is
//!   never true;
//! - of two columns, the coarser is cast to the finer unit;
//! - so is a column to which a finer interval is added.

use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use windrow_core::time::nanos_per_tick;

/// A comparison of two times of different units; `None` if nothing is lost as it is.
pub(super) fn comparison(
    left: &Expr,
    op: Operator,
    right: &Expr,
    schema: &DFSchema,
) -> Option<Expr> {
    let (left_type, right_type) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    if let Some(compared) = with_constant(left, &left_type, op, right, schema) {
        return Some(compared);
    }
    if let Some(compared) = with_constant(right, &right_type, op.swap()?, left, schema) {
        return Some(compared);
    }
    let (left_unit, right_unit) = (unit_of(&left_type)?, unit_of(&right_type)?);
    if is_constant(left) || is_constant(right) || left_unit == right_unit {
        return None;
    }
    let unit = finer(left_unit, right_unit);
    let (left, right) = (cast(left, &left_type, unit), cast(right, &right_type, unit));
    Some(binary(left, op, right))
}

/// `time ± interval`, or the difference of two times; `None` if nothing is lost as it is.
pub(super) fn arithmetic(
    left: &Expr,
    op: Operator,
    right: &Expr,
    schema: &DFSchema,
) -> Option<Expr> {
    let (left_type, right_type) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    match (&left_type, &right_type) {
        (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) if a != b => {
            let unit = finer(*a, *b);
            let (left, right) = (cast(left, &left_type, unit), cast(right, &right_type, unit));
            Some(binary(left, op, right))
        }
        (DataType::Timestamp(unit, _), DataType::Interval(_)) => {
            let needed = interval_unit(right)?;
            (finer(needed, *unit) != *unit)
                .then(|| binary(cast(left, &left_type, needed), op, right.clone()))
        }
        (DataType::Interval(_), DataType::Timestamp(unit, _)) => {
            let needed = interval_unit(left)?;
            (finer(needed, *unit) != *unit)
                .then(|| binary(left.clone(), op, cast(right, &right_type, needed)))
        }
        _ => None,
    }
}

/// `side op constant` where the constant lies between two ticks of the side's unit.
fn with_constant(
    side: &Expr,
    side_type: &DataType,
    op: Operator,
    constant: &Expr,
    schema: &DFSchema,
) -> Option<Expr> {
    let DataType::Timestamp(unit, zone) = side_type else {
        return None;
    };
    if is_constant(side) {
        return None;
    }
    let nanos = constant_nanos(constant, schema)?;
    let tick = nanos_per_tick(*unit);
    if nanos % tick == 0 {
        return None;
    }
    let floor = nanos.div_euclid(tick);
    let floor = match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(Some(floor), zone.clone()),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(floor), zone.clone()),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(floor), zone.clone()),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(floor), zone.clone()),
    };
    let floor = Expr::Literal(floor, None);
    let side = side.clone();
    Some(match op {
        Operator::Lt | Operator::LtEq => side.lt_eq(floor),
        Operator::Gt | Operator::GtEq => side.gt(floor),
        Operator::Eq => never(side),
        Operator::NotEq => always(side),
        Operator::IsDistinctFrom => lit(true),
        Operator::IsNotDistinctFrom => lit(false),
        _ => return None,
    })
}

/// FALSE, and NULL where a value is NULL.
fn never(value: Expr) -> Expr {
    value.is_null().and(lit(ScalarValue::Boolean(None)))
}

/// TRUE, and NULL where a value is NULL.
fn always(value: Expr) -> Expr {
    value.is_not_null().or(lit(ScalarValue::Boolean(None)))
}

fn is_constant(expr: &Expr) -> bool {
    let mut constant = !expr.is_volatile();
    let visited = expr.apply(|expr| {
        constant &= matches!(
            expr,
            Expr::Literal(..)
                | Expr::Cast(_)
                | Expr::TryCast(_)
                | Expr::BinaryExpr(_)
                | Expr::Negative(_)
                | Expr::ScalarFunction(_)
                | Expr::Alias(_)
        );
        Ok(TreeNodeRecursion::Continue)
    });
    constant && visited.is_ok()
}

/// The instant that a constant expression stands for, in nanoseconds.
fn constant_nanos(expr: &Expr, schema: &DFSchema) -> Option<i64> {
    if !is_constant(expr) {
        return None;
    }
    let literal = match expr {
        Expr::Literal(value, _) => value.clone(),
        expr => {
            let context = SimplifyContext::builder()
                .with_schema(Arc::new(schema.clone()))
                .build();
            let simplifier = ExprSimplifier::new(context);
            let coerced = simplifier.coerce(expr.clone(), schema).ok()?;
            match simplifier.simplify(coerced).ok()? {
                Expr::Literal(value, _) => value,
                _ => return None,
            }
        }
    };
    match literal {
        ScalarValue::TimestampSecond(Some(ticks), _) => ticks.checked_mul(1_000_000_000),
        ScalarValue::TimestampMillisecond(Some(ticks), _) => ticks.checked_mul(1_000_000),
        ScalarValue::TimestampMicrosecond(Some(ticks), _) => ticks.checked_mul(1_000),
        ScalarValue::TimestampNanosecond(Some(ticks), _) => Some(ticks),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::Utf8View(Some(text))
        | ScalarValue::LargeUtf8(Some(text)) => string_to_timestamp_nanos(&text).ok(),
        _ => None,
    }
}

/// The finest unit that the intervals in an expression need.
fn interval_unit(expr: &Expr) -> Option<TimeUnit> {
    let of_nanos = |nanos: i64| {
        [
            TimeUnit::Second,
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
        ]
        .into_iter()
        .find(|unit| nanos % nanos_per_tick(*unit) == 0)
        .unwrap_or(TimeUnit::Nanosecond)
    };
    let mut finest: Option<TimeUnit> = None;
    let _ = expr.apply(|expr| {
        let unit = match expr {
            Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => {
                Some(of_nanos(value.nanoseconds))
            }
            Expr::Literal(ScalarValue::IntervalDayTime(Some(value)), _) => {
                Some(of_nanos(i64::from(value.milliseconds) * 1_000_000))
            }
            Expr::Cast(Cast { field, .. }) => match field.data_type() {
                DataType::Duration(unit) => Some(*unit),
                _ => None,
            },
            _ => None,
        };
        if let Some(unit) = unit {
            finest = Some(finest.map_or(unit, |other| finer(other, unit)));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    finest
}

/// `count * interval` and `interval * count`, for whole numbers and intervals of a fixed
/// length; `None` for anything else.
pub(super) fn multiplied(left: &Expr, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    let (count, interval) = match (left, right) {
        (Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _), count)
        | (count, Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _)) => {
            (count, *interval)
        }
        _ => return None,
    };
    if !count.get_type(schema).ok()?.is_integer() {
        return None;
    }
    if let Expr::Literal(ScalarValue::Int64(Some(count)), _) = count {
        let short = i32::try_from(*count).ok()?;
        let interval = arrow::datatypes::IntervalMonthDayNano {
            months: interval.months.checked_mul(short)?,
            days: interval.days.checked_mul(short)?,
            nanoseconds: interval.nanoseconds.checked_mul(*count)?,
        };
        let interval = ScalarValue::IntervalMonthDayNano(Some(interval));
        return Some(Expr::Literal(interval, None));
    }
    if interval.months != 0 {
        return None;
    }
    const NANOS_PER_DAY: i64 = 86_400_000_000_000;
    let nanos =
        (i64::from(interval.days).checked_mul(NANOS_PER_DAY)?).checked_add(interval.nanoseconds)?;
    // The coarsest unit that holds it: a longer reach, and no finer a result than needed.
    let literal = Expr::Literal(
        ScalarValue::IntervalMonthDayNano(Some(arrow::datatypes::IntervalMonthDayNano {
            months: 0,
            days: 0,
            nanoseconds: nanos,
        })),
        None,
    );
    let unit = interval_unit(&literal)?;
    let count = Expr::Cast(Cast::new(Box::new(count.clone()), DataType::Int64));
    let ticks = binary(count, Operator::Multiply, lit(nanos / nanos_per_tick(unit)));
    let duration = Expr::Cast(Cast::new(Box::new(ticks), DataType::Duration(unit)));
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    Some(Expr::Cast(Cast::new(Box::new(duration), interval)))
}

/// BETWEEN and IN of an expression, widened as comparisons are.
pub fn widened(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let written = match &expr {
            Expr::Between(between) => widened_between(between, schema),
            Expr::InList(list) => widened_list(list, schema),
            _ => None,
        };
        Ok(match written {
            Some(written) => Transformed::yes(written),
            None => Transformed::no(expr),
        })
    })
}

fn widened_between(between: &Between, schema: &DFSchema) -> Option<Expr> {
    let Between {
        expr,
        negated,
        low,
        high,
    } = between;
    let (from, to) = match negated {
        false => (Operator::GtEq, Operator::LtEq),
        true => (Operator::Lt, Operator::Gt),
    };
    if expr.is_volatile() {
        return None;
    }
    let (above, below) = (
        comparison(expr, from, low, schema),
        comparison(expr, to, high, schema),
    );
    if above.is_none() && below.is_none() {
        return None;
    }
    let plain = |op, bound: &Expr| binary(expr.as_ref().clone(), op, bound.clone());
    let above = above.unwrap_or_else(|| plain(from, low));
    let below = below.unwrap_or_else(|| plain(to, high));
    Some(match negated {
        false => above.and(below),
        true => above.or(below),
    })
}

fn widened_list(list: &InList, schema: &DFSchema) -> Option<Expr> {
    let InList {
        expr,
        list,
        negated,
    } = list;
    let changed = |item: &Expr| comparison(expr, Operator::Eq, item, schema).is_some();
    if expr.is_volatile() || !list.iter().any(changed) {
        return None;
    }
    // One comparison each: the items may need different units.
    let equal = list.iter().map(|item| {
        comparison(expr, Operator::Eq, item, schema)
            .unwrap_or_else(|| binary(expr.as_ref().clone(), Operator::Eq, item.clone()))
    });
    let any = equal.reduce(Expr::or)?;
    Some(match negated {
        false => any,
        true => Expr::Not(Box::new(any)),
    })
}

/// A plan in which BETWEEN and IN are widened.
pub(super) fn widened_plan(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let widened = plan.transform_up_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(widened(expr, &schema)?.update_data(|expr| name.restore(expr)))
        })
    });
    Ok(widened?.data)
}

fn unit_of(data_type: &DataType) -> Option<TimeUnit> {
    match data_type {
        DataType::Timestamp(unit, _) => Some(*unit),
        _ => None,
    }
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    if nanos_per_tick(a) <= nanos_per_tick(b) {
        a
    } else {
        b
    }
}

fn cast(expr: &Expr, from: &DataType, unit: TimeUnit) -> Expr {
    match from {
        DataType::Timestamp(own, zone) if *own != unit => {
            let to = DataType::Timestamp(unit, zone.clone());
            Expr::Cast(Cast::new(Box::new(expr.clone()), to))
        }
        _ => expr.clone(),
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}
