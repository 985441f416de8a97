//! Per-row windows (`OVER`) in event time: one operator for each PARTITION BY.
//!
//! What is not lowered here (another order, frames that reach ahead or to the first row,
//! functions without a sliding state) is computed by DataFusion where the input ends.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::logical_expr::expr::{AggregateFunction, Sort, WindowFunction};
use datafusion::logical_expr::{
    Expr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use windrow_core::aggregate::AggregateCall;
use windrow_core::operator::{OverCall, OverSpec, Stateless, over};
use windrow_core::time;
use windrow_core::window::OverFrame;

use super::expr::{Compiler, column_place, is_row_wise, plan_fault};
use super::{Lowered, Lowering, arrow_schema, texts};
use crate::error::Result;
use crate::exec::Stretch;
use crate::plan::node::length;
use crate::plan::relations::{TimeColumn, Timing};

/// A call of a per-row window.
struct OverExpr<'a> {
    function: &'a WindowFunction,
    /// The place of the column that orders the rows.
    order: usize,
    frame: OverFrame,
}

impl OverExpr<'_> {
    /// As `EXPLAIN` prints it.
    fn text(&self, unit: TimeUnit) -> String {
        let params = &self.function.params;
        let args = texts(&params.args);
        let frame = match self.frame {
            OverFrame::Range { preceding: 0 } => "over its time".to_owned(),
            OverFrame::Range { preceding } => format!("over {}", length(preceding, unit)),
            OverFrame::Rows { preceding } => format!("over {} rows", preceding.saturating_add(1)),
        };
        let text = match self.function.fun.name() {
            "count" if matches!(params.args.as_slice(), [Expr::Literal(..)]) => "count(*)".into(),
            name => format!("{name}({args})"),
        };
        format!("{text} {frame}")
    }
}

impl Lowering<'_> {
    pub(super) fn over(&mut self, window: &Window) -> Result<Option<Lowered>> {
        let schema = window.input.schema();
        let calls = (window.window_expr.iter())
            .map(|expr| over_expr(expr, schema))
            .collect::<Option<Vec<_>>>();
        let Some(calls) = calls else {
            return Ok(None);
        };
        let Some(first) = calls.first() else {
            return Ok(None);
        };
        let (order, partition) = (first.order, &first.function.params.partition_by);
        let is_one = (calls.iter())
            .all(|call| call.order == order && call.function.params.partition_by == *partition);
        let is_key = |expr: &Expr| is_row_wise(expr) && !expr.is_volatile();
        if !is_one || !partition.iter().all(is_key) {
            return Ok(None);
        }
        let Some(input) = self.lower(&window.input)? else {
            return Ok(None);
        };
        let keeps_untimed = input.timing.bounded && !input.timing.watermarked;
        let nulls_first = |call: &OverExpr<'_>| call.function.params.order_by[0].nulls_first;
        let lag = if keeps_untimed {
            self.waits_for_end = true;
            if calls.iter().any(nulls_first) {
                return Ok(None);
            }
            0
        } else {
            let mut times = input.timing.columns.iter();
            let time = times.find(|time| time.column == order);
            let Some(time) = time.filter(|_| input.timing.watermarked) else {
                return Ok(None);
            };
            time.lag
        };

        // Below: the input's columns, then what is computed of them.
        let columns = schema.fields().len();
        let mut below: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let mut place = |expr: &Expr| -> usize {
            if let Some(place) = column_place(expr, schema) {
                return place;
            }
            (below.iter().skip(columns).position(|other| other == expr)).map_or_else(
                || {
                    below.push(expr.clone());
                    below.len() - 1
                },
                |place| columns + place,
            )
        };
        let keys: Vec<usize> = partition.iter().map(&mut place).collect();
        let mut over_calls = Vec::with_capacity(calls.len());
        for (number, call) in calls.iter().enumerate() {
            let field = window.schema.field(columns + number);
            let Some(aggregate) = self.over_call(call, schema, field, &mut place)? else {
                return Ok(None);
            };
            over_calls.push(OverCall {
                call: aggregate,
                frame: call.frame,
            });
        }

        let input = match lag {
            0 => input,
            lag => self.lagging(input, lag),
        };
        let input = self.with_columns(input, &below, schema)?;
        let timing = Timing {
            // Rows wait for the watermark to pass their order.
            columns: vec![TimeColumn {
                column: order,
                lag: 0,
            }],
            ..input.timing
        };
        let operator = over(OverSpec {
            input: input.schema.clone(),
            time: order,
            keys,
            calls: over_calls,
            keeps_untimed,
        })?;
        let by = match partition.as_slice() {
            [] => String::new(),
            keys => format!(" by {}", texts(keys)),
        };
        let unit = time::time_unit(schema.field(order).data_type())?;
        let calls: Vec<String> = calls.iter().map(|call| call.text(unit)).collect();
        let order = schema.field(order).name();
        let text = format!("OverAggregate: on {order}{by}: {}", calls.join(", "));
        let given = self.step(operator, vec![input.input], true, text, timing);
        let places = (0..columns).chain(below.len()..given.schema.fields().len());
        let stretch = Stretch::new(
            "Project",
            Vec::new(),
            Compiler::places(&given.schema, places),
            arrow_schema(&window.schema),
        );
        let stretch = Box::new(Stateless::new(Box::new(stretch)));
        let timing = given.timing.clone();
        Ok(Some(self.step(
            stretch,
            vec![given.input],
            false,
            String::new(),
            timing,
        )))
    }

    /// The aggregate of a call; `None` if it has no sliding state.
    fn over_call(
        &self,
        over: &OverExpr<'_>,
        schema: &DFSchema,
        field: &Field,
        place: &mut impl FnMut(&Expr) -> usize,
    ) -> Result<Option<AggregateCall>> {
        let params = &over.function.params;
        let parts = || params.args.iter().chain(params.filter.as_deref());
        if !parts().all(is_row_wise) {
            return Ok(None);
        }
        let function = match &over.function.fun {
            WindowFunctionDefinition::AggregateUDF(function) => AggregateFunction::new_udf(
                function.clone(),
                params.args.clone(),
                params.distinct,
                params.filter.clone(),
                Vec::new(),
                params.null_treatment,
            ),
            WindowFunctionDefinition::WindowUDF(function) => {
                let function = match function.name() {
                    "first_value" => first_value_udaf(),
                    "last_value" => last_value_udaf(),
                    _ => return Ok(None),
                };
                let (args, nulls) = (params.args.clone(), params.null_treatment);
                AggregateFunction::new_udf(function, args, false, None, Vec::new(), nulls)
            }
        };
        let call = self.call(function, schema)?;
        let Some(factory) = call.native else {
            return Ok(None);
        };
        if factory.sliding().is_none() || factory.return_type() != *field.data_type() {
            return Ok(None);
        }
        Ok(Some(AggregateCall {
            factory,
            args: call.args.iter().map(&mut *place).collect(),
            filter: call.filter.as_ref().map(place),
            field: Arc::new(field.clone().with_nullable(true)),
        }))
    }

    /// Rows with further columns.
    fn with_columns(
        &mut self,
        input: Lowered,
        columns: &[Expr],
        schema: &DFSchema,
    ) -> Result<Lowered> {
        if columns.len() == input.schema.fields().len() {
            return Ok(input);
        }
        let further = &columns[input.schema.fields().len()..];
        let mut fields: Vec<_> = input.schema.fields().to_vec();
        let mut compiled = Compiler::places(&input.schema, 0..fields.len());
        for expr in further {
            let column = self.compiler.compile(expr, schema)?;
            let data_type: DataType = column.data_type(schema.as_arrow()).map_err(plan_fault)?;
            fields.push(Arc::new(Field::new(
                expr.schema_name().to_string(),
                data_type,
                true,
            )));
            compiled.push(column);
        }
        let text = format!("Project: {}", texts(further));
        let stretch = Stretch::new(
            "Project",
            Vec::new(),
            compiled,
            Arc::new(Schema::new(fields)),
        )
        .of(self.compiler.blame);
        let stretch = Box::new(Stateless::new(Box::new(stretch)));
        let timing = input.timing.clone();
        Ok(self.step(stretch, vec![input.input], false, text, timing))
    }
}

fn over_expr<'a>(expr: &'a Expr, schema: &DFSchema) -> Option<OverExpr<'a>> {
    match expr {
        Expr::Alias(alias) => over_expr(&alias.expr, schema),
        Expr::WindowFunction(function) => {
            let [
                Sort {
                    expr, asc: true, ..
                },
            ] = function.params.order_by.as_slice()
            else {
                return None;
            };
            let order = column_place(expr, schema)?;
            let time_type = schema.field(order).data_type();
            time::time_unit(time_type).ok()?;
            Some(OverExpr {
                function,
                order,
                frame: frame(&function.params.window_frame, time_type)?,
            })
        }
        _ => None,
    }
}

/// A frame that ends with the current row and starts a fixed way before it.
fn frame(frame: &WindowFrame, time_type: &DataType) -> Option<OverFrame> {
    let (WindowFrameBound::Preceding(_) | WindowFrameBound::CurrentRow) = &frame.start_bound else {
        return None;
    };
    if frame.end_bound != WindowFrameBound::CurrentRow {
        return None;
    }
    let zero = ScalarValue::UInt64(Some(0));
    let start = match &frame.start_bound {
        WindowFrameBound::Preceding(start) => start,
        _ => &zero,
    };
    match frame.units {
        WindowFrameUnits::Rows => {
            let preceding = match start {
                ScalarValue::UInt64(Some(rows)) => *rows,
                ScalarValue::Int64(Some(rows)) => u64::try_from(*rows).ok()?,
                _ => return None,
            };
            Some(OverFrame::Rows { preceding })
        }
        WindowFrameUnits::Range => {
            let nanos = match start {
                ScalarValue::UInt64(Some(0)) => 0,
                // Days are not of one length in every zone.
                ScalarValue::IntervalMonthDayNano(Some(value))
                    if value.months == 0 && (value.days == 0 || is_utc(time_type)) =>
                {
                    i128::from(value.days) * 86_400_000_000_000 + i128::from(value.nanoseconds)
                }
                _ => return None,
            };
            let unit = time::time_unit(time_type).ok()?;
            // Times are whole ticks: those a part of a tick further back are none.
            let ticks = nanos.div_euclid(i128::from(time::nanos_per_tick(unit)));
            let preceding = i64::try_from(ticks).ok().filter(|ticks| *ticks >= 0)?;
            Some(OverFrame::Range { preceding })
        }
        WindowFrameUnits::Groups => None,
    }
}

/// Whether every day of a time column has 24 hours.
fn is_utc(time_type: &DataType) -> bool {
    match time_type {
        DataType::Timestamp(_, Some(zone)) => matches!(&**zone, "UTC" | "Z" | "+00:00"),
        _ => true,
    }
}
