//! Aggregation by key without a window, over rows that do not end: the latest state of each
//! key, as a table that can be read at any moment.
//!
//! ```text
//!  Projection  round(a)                KeyedAggregate: a Stretch for each step above,
//!   └ Filter  a > 1             ─▶      │              run when the table is read
//!      └ Aggregate  by sensor           └ Stretch
//!         └ Filter                         └ …
//! ```
//!
//! What is kept for a key has one size, however many rows it has had: an aggregate that
//! holds its values is refused.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, lit};
use windrow_core::aggregate::AggregateCall;
use windrow_core::operator::{KeyedAggregateSpec, RowFunction, Stateless, keyed_aggregate};

use super::aggregate::{Call, inline};
use super::common::Common;
use super::expr::{Compiler, column_place, is_row_wise, plan_fault};
use super::{Graph, Lowered, Lowering, Mode, arrow_schema, texts};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Blame, Stretch};
use crate::plan::relations::Timing;

/// Lowers an aggregation by key without a window, with the steps above it; `None` if the
/// plan is none.
///
/// # Errors
/// If its state would have no bound.
pub fn keyed(
    plan: &LogicalPlan,
    mode: Mode,
    props: &ExecutionProps,
    blame: &Arc<Blame>,
) -> Result<Option<Graph>> {
    let Some((aggregate, steps)) = steps_above(plan) else {
        return Ok(None);
    };
    let common = Common::default();
    let mut lowering = Lowering::new(mode, props, blame, &common, false);
    let above = lowering.above(plan, &steps)?;
    let Some(input) = lowering.lower(&aggregate.input)? else {
        return Ok(None);
    };
    let Some((spec, input)) = lowering.below(aggregate, input, above)? else {
        return Ok(None);
    };
    let (operator, table) = keyed_aggregate(spec)?;
    let mut text = match aggregate.group_expr.as_slice() {
        [] => "KeyedAggregate".to_string(),
        keys => format!("KeyedAggregate: by {}", texts(keys)),
    };
    if !aggregate.aggr_expr.is_empty() {
        text = format!("{text}: {}", texts(&aggregate.aggr_expr));
    }
    for step in steps.iter().rev() {
        match step {
            LogicalPlan::Filter(filter) => {
                let condition = texts(std::slice::from_ref(&filter.predicate));
                text = format!("{text}; where {condition}");
            }
            LogicalPlan::Projection(projection) => {
                text = format!("{text}; {}", texts(&projection.expr));
            }
            _ => {}
        }
    }
    lowering.step(operator, vec![input.input], true, text, Timing::default());
    Ok(Some(Graph {
        steps: lowering.steps,
        tables: lowering.tables,
        schema: arrow_schema(plan.schema()),
        rows_max: None,
        timing: Timing::default(),
        table: Some(table),
    }))
}

/// The aggregation that a plan ends in, and the steps above it that take each row for
/// itself, the topmost first.
fn steps_above(plan: &LogicalPlan) -> Option<(&Aggregate, Vec<&LogicalPlan>)> {
    let mut steps = Vec::new();
    let mut below = plan;
    loop {
        let is_row_wise = match below {
            LogicalPlan::Aggregate(aggregate) => {
                let groups = &aggregate.group_expr;
                return groups.iter().all(is_row_wise).then_some((aggregate, steps));
            }
            LogicalPlan::SubqueryAlias(_) => true,
            LogicalPlan::Projection(projection) => projection.expr.iter().all(is_row_wise),
            LogicalPlan::Filter(filter) => is_row_wise(&filter.predicate),
            _ => false,
        };
        if !is_row_wise {
            return None;
        }
        steps.push(below);
        below = below.inputs().first().copied()?;
    }
}

impl Lowering<'_> {
    /// The steps above an aggregation, in the order in which they are run.
    fn above(
        &self,
        plan: &LogicalPlan,
        steps: &[&LogicalPlan],
    ) -> Result<Vec<Box<dyn RowFunction>>> {
        let mut above: Vec<Box<dyn RowFunction>> = Vec::new();
        for step in steps.iter().rev() {
            let schema = arrow_schema(step.schema());
            let stretch = match step {
                LogicalPlan::Projection(projection) => {
                    let columns = (projection.expr.iter())
                        .map(|expr| self.compiler.compile(expr, projection.input.schema()))
                        .collect::<Result<Vec<_>>>()?;
                    Stretch::new("Project", Vec::new(), columns, schema)
                }
                LogicalPlan::Filter(filter) => {
                    let condition =
                        (self.compiler).compile(&filter.predicate, filter.input.schema())?;
                    let columns = Compiler::places(&schema, 0..schema.fields().len());
                    Stretch::new("Filter", vec![condition], columns, schema)
                }
                _ => continue,
            };
            above.push(Box::new(stretch.of(self.compiler.blame)));
        }
        if above.is_empty() {
            let schema = arrow_schema(plan.schema());
            let columns = Compiler::places(&schema, 0..schema.fields().len());
            above.push(Box::new(Stretch::new(
                "Project",
                Vec::new(),
                columns,
                schema,
            )));
        }
        Ok(above)
    }

    /// The operator's specification, and the step that computes what it reads.
    fn below(
        &mut self,
        aggregate: &Aggregate,
        input: Lowered,
        above: Vec<Box<dyn RowFunction>>,
    ) -> Result<Option<(KeyedAggregateSpec, Lowered)>> {
        let schema = aggregate.input.schema().clone();
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let keys = (aggregate.group_expr.iter())
            .map(|group| inline(group, &schema, &columns))
            .collect::<Result<Vec<_>>>()?;
        let keys_max = self.keys_max(!keys.is_empty())?;
        let Some((calls, time)) = self.bounded_calls(aggregate, &columns, &input.timing)? else {
            return Ok(None);
        };

        // Each expression once.
        let mut below: Vec<Expr> = Vec::new();
        let mut place = |expr: &Expr| -> usize {
            match below.iter().position(|other| other == expr) {
                Some(place) => place,
                None => {
                    below.push(expr.clone());
                    below.len() - 1
                }
            }
        };
        let time = time.map(|time| place(&columns[time]));
        let key_places: Vec<usize> = keys.iter().map(&mut place).collect();
        let result = arrow_schema(&aggregate.schema);
        let mut aggregates = Vec::with_capacity(calls.len());
        for (number, call) in calls.iter().enumerate() {
            let field: &FieldRef = &result.fields()[keys.len() + number];
            aggregates.push(AggregateCall {
                args: call.args.iter().map(&mut place).collect(),
                filter: call.filter.as_ref().map(&mut place),
                factory: self.factory(call, &schema)?,
                field: field.clone(),
            });
        }
        if below.is_empty() {
            below.push(lit(true));
        }
        let columns = (below.iter())
            .map(|expr| self.compiler.compile(expr, &schema))
            .collect::<Result<Vec<_>>>()?;
        let fields = (columns.iter().enumerate())
            .map(|(place, column)| {
                let data_type = column.data_type(schema.as_arrow()).map_err(plan_fault)?;
                Ok(Field::new(format!("c{place}"), data_type, true))
            })
            .collect::<Result<Vec<_>>>()?;
        let prepared = Arc::new(Schema::new(fields));
        let stretch =
            Stretch::new("Project", Vec::new(), columns, prepared.clone()).of(self.compiler.blame);
        let text = format!("Project: {}", texts(&below));
        let operator = Box::new(Stateless::new(Box::new(stretch)));
        let timing = input.timing;
        let input = self.step(operator, vec![input.input], false, text, timing);
        let spec = KeyedAggregateSpec {
            input: prepared,
            time,
            keys: key_places,
            aggregates,
            keys_max,
            above,
        };
        Ok(Some((spec, input)))
    }

    /// How many keys there may be.
    fn keys_max(&self, has_keys: bool) -> Result<usize> {
        match self.mode {
            Mode::Kept { keys_max: None } if has_keys => Err(Error::new(
                ErrorKind::Plan,
                "this view would keep state for every key that ever comes",
            )
            .help(
                "say how many keys there may be: CREATE MATERIALIZED VIEW … WITH (max_keys = \
                 '100000') AS …, or SET max_keys = 100000; or group by a window, for example \
                 FROM TUMBLE(readings, ts, INTERVAL '1' MINUTE) GROUP BY …, window_start",
            )),
            Mode::Kept {
                keys_max: Some(keys_max),
            } => Ok(keys_max),
            _ => Ok(usize::MAX),
        }
    }

    /// The calls, and the column in event time that says what is first and last; `None` if
    /// an argument cannot be computed row by row.
    fn bounded_calls(
        &self,
        aggregate: &Aggregate,
        columns: &[Expr],
        timing: &Timing,
    ) -> Result<Option<(Vec<Call>, Option<usize>)>> {
        let schema = aggregate.input.schema();
        let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
        let mut time = (timing.columns.iter())
            .find(|column| column.lag == 0)
            .map(|column| column.column);
        let mut ordered_by = None;
        for expr in &aggregate.aggr_expr {
            let shown = texts(std::slice::from_ref(expr));
            let Expr::AggregateFunction(mut function) = inline(expr, schema, columns)? else {
                return Ok(None);
            };
            let params = &function.params;
            let orders = params.order_by.iter().map(|order| &order.expr);
            let mut parts = (params.args.iter())
                .chain(params.filter.as_deref())
                .chain(orders);
            if !parts.all(is_row_wise) {
                return Ok(None);
            }
            if is_first_or_last(&function) {
                if let Some(place) = order_in_time(&function, schema, timing) {
                    if ordered_by.is_some_and(|other| other != place) {
                        return Err(
                            not_kept(&shown, "another call is ordered by another column")
                                .help("order all of them by the event time"),
                        );
                    }
                    ordered_by = Some(place);
                    time = Some(place);
                    function.params.order_by.clear();
                } else if !function.params.order_by.is_empty() {
                    let by_time = "it is not ordered by the event time, rising";
                    return Err(not_kept(&shown, by_time).help(by_event_time(&function, timing)));
                } else if time.is_none() && timing.watermarked {
                    let unknown = "it does not name the event time that it goes by";
                    return Err(not_kept(&shown, unknown).help(by_event_time(&function, timing)));
                }
            }
            let call = self.call(function, schema)?;
            match &call.native {
                Some(native) if !native.holds_values() => calls.push(call),
                _ => {
                    return Err(not_kept(&shown, "its state may grow with every row").help(
                        "count, sum, avg, min, max, first_value, last_value, stddev, corr, \
                         approx_distinct, approx_median and their kin can; or group by a window",
                    ));
                }
            }
        }
        Ok(Some((calls, time)))
    }
}

fn not_kept(call: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::Plan,
        format!("{call} cannot be kept without a window: {reason}"),
    )
}

fn is_first_or_last(function: &AggregateFunction) -> bool {
    matches!(function.func.name(), "first_value" | "last_value")
}

/// The place of the column in event time by which alone a call orders its rows.
fn order_in_time(
    function: &AggregateFunction,
    schema: &DFSchema,
    timing: &Timing,
) -> Option<usize> {
    let [order] = function.params.order_by.as_slice() else {
        return None;
    };
    let place = column_place(&order.expr, schema).filter(|_| order.asc)?;
    let mut times = timing.columns.iter();
    times.any(|time| time.column == place).then_some(place)
}

fn by_event_time(function: &AggregateFunction, timing: &Timing) -> String {
    let name = function.func.name();
    match timing.watermarked {
        true => format!("write {name}(x ORDER BY ts), where ts is the event time of the stream"),
        false => format!(
            "declare the event time in CREATE STREAM, WATERMARK FOR ts AS ts - INTERVAL '5' \
             SECOND; or write {name}(x) to go by the order of arrival"
        ),
    }
}
