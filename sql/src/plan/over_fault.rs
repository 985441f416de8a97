//! Why no operator runs an OVER window over a live stream, and what to write instead.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, Window, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};

use super::relations::{Origin, Relation};
use crate::error::{Error, ErrorKind};

/// Functions that slide, as users know them.
const SLIDING: &str = "count, sum, avg, min, max, median, percentile_cont, var, stddev, covar, \
                       corr, regr, bool_and, bool_or, first_value and last_value can";

/// What is wrong with an OVER window that was not lowered.
pub(super) fn of(window: &Window) -> Error {
    if lacks_watermark(&window.input) {
        return Error::new(
            ErrorKind::Plan,
            "an OVER window over a live stream needs a watermark, and the stream has none",
        )
        .help("declare one in CREATE STREAM: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND");
    }
    let schema = window.input.schema();
    let calls = || {
        (window.window_expr.iter()).filter_map(|expr| match expr.clone().unalias() {
            Expr::WindowFunction(function) => Some(function),
            _ => None,
        })
    };
    (calls().find_map(|call| of_call(&call, schema)))
        .or_else(|| calls().find_map(|call| of_type(&call, schema)))
        .unwrap_or_else(order)
}

fn lacks_watermark(plan: &LogicalPlan) -> bool {
    let mut lacks = false;
    // Visiting cannot fail: the closure does not.
    let _ = plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(relation) = Relation::of(scan)
            && matches!(relation.origin, Origin::Stream)
        {
            lacks |= !relation.timing.bounded && !relation.timing.watermarked;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    lacks
}

fn of_call(call: &WindowFunction, schema: &DFSchema) -> Option<Error> {
    let (params, name) = (&call.params, call.fun.name());
    let is_time = |expr: &Expr| {
        let data_type = expr.get_type(schema);
        data_type.is_ok_and(|data_type| matches!(data_type, DataType::Timestamp(..)))
    };
    if let WindowFunctionDefinition::WindowUDF(_) = call.fun
        && !matches!(name, "first_value" | "last_value")
    {
        return Some(unsupported(format!(
            "{name}() cannot run in an OVER window on a live stream yet"
        )));
    }
    if params.distinct {
        return Some(unsupported(format!(
            "{name}(DISTINCT …) cannot run in an OVER window on a live stream yet"
        )));
    }
    let is_ordered = matches!(
        params.order_by.as_slice(),
        [Sort { expr: expr @ Expr::Column(_), asc: true, .. }] if is_time(expr)
    );
    if !is_ordered {
        return Some(order());
    }
    let frame = &params.window_frame;
    if frame.units == WindowFrameUnits::Groups {
        return Some(
            Error::new(
                ErrorKind::Unsupported,
                "on a live stream, the frame of an OVER window is in RANGE or ROWS, not in GROUPS",
            )
            .help("write RANGE BETWEEN INTERVAL '1' MINUTE PRECEDING AND CURRENT ROW"),
        );
    }
    if frame.start_bound.is_unbounded() {
        return Some(
            Error::new(
                ErrorKind::Plan,
                "this OVER window reaches back to the first row, and a live stream would be kept \
                 for ever",
            )
            .help(
                "give its frame a start: ORDER BY ts RANGE BETWEEN INTERVAL '1' MINUTE PRECEDING \
                 AND CURRENT ROW",
            ),
        );
    }
    if frame.end_bound != WindowFrameBound::CurrentRow {
        return Some(
            Error::new(
                ErrorKind::Unsupported,
                "on a live stream, the frame of an OVER window ends with the current row",
            )
            .help("write … PRECEDING AND CURRENT ROW, or run the query over a file"),
        );
    }
    if let WindowFrameBound::Preceding(ScalarValue::IntervalMonthDayNano(Some(length))) =
        &frame.start_bound
        && length.months != 0
    {
        return Some(
            Error::new(
                ErrorKind::Unsupported,
                "months and years are not of one length, and the frame of an OVER window on a \
                 live stream is",
            )
            .help("write it in days: RANGE BETWEEN INTERVAL '30' DAY PRECEDING AND CURRENT ROW"),
        );
    }
    None
}

/// A function that does not slide, or not over this type.
fn of_type(call: &WindowFunction, schema: &DFSchema) -> Option<Error> {
    let name = call.fun.name();
    let is_decimal = |arg: &Expr| {
        let data_type = arg.get_type(schema);
        data_type.is_ok_and(|data_type| data_type.is_decimal())
    };
    if call.params.args.iter().any(is_decimal) {
        return Some(
            Error::new(
                ErrorKind::Unsupported,
                format!("{name}() of DECIMAL cannot run in an OVER window on a live stream yet"),
            )
            .help("cast it: CAST(x AS DOUBLE)"),
        );
    }
    let slides = (SLIDING.split([' ', ',']))
        .filter(|word| !word.is_empty())
        .any(|word| name.starts_with(word) || name == "mean");
    (!slides).then(|| {
        unsupported(format!(
            "{name}() cannot run in an OVER window on a live stream yet"
        ))
    })
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, message).help(SLIDING)
}

fn order() -> Error {
    Error::new(
        ErrorKind::Plan,
        "on a live stream, the rows of an OVER window are ordered by the event time alone, \
         ascending",
    )
    .help(
        "write OVER (PARTITION BY … ORDER BY ts RANGE BETWEEN …) with the column of WATERMARK FOR",
    )
}
