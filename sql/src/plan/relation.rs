//! Window functions in FROM, from their written form to a node of the plan.

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use chrono_tz::Tz;
use datafusion::common::{Column, DataFusionError, ExprSchema, Result as DfResult};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, TableFactor, Value,
};
use std::sync::Arc;
use windrow_core::time;
use windrow_core::window::{Alignment, Span, WindowKind};

use super::node::WindowNode;
use super::relations::event_time_column;
use crate::dialect::{WINDOW_FUNCTION, WindowCall, WindowKind as Written, interval};
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::words::sql_type;

/// Plans the calls of one query.
#[derive(Debug)]
pub struct WindowPlanner {
    /// The calls that the query names by index.
    pub calls: Vec<WindowCall>,
}

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let TableFactor::Function {
            name, args, alias, ..
        } = &relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        if name.to_string() != WINDOW_FUNCTION {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(source))),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(index))),
        ] = args.as_slice()
        else {
            return datafusion::common::internal_err!("a window call has a source and an index");
        };
        let index = match &index.value {
            Value::Number(digits, _) => digits.parse::<usize>().ok(),
            _ => None,
        };
        let Some(call) = index.and_then(|index| self.calls.get(index)) else {
            return datafusion::common::internal_err!("a window call names no call");
        };
        let input = context.plan(TableFactor::Derived {
            lateral: false,
            subquery: source.clone(),
            alias: None,
            sample: None,
        })?;
        let node = window_node(input, call, context)
            .map_err(|error| external(error.at(call.span.clone())))?;
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        let planned = PlannedRelation::new(plan, alias.clone());
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn window_node(
    input: LogicalPlan,
    call: &WindowCall,
    context: &dyn RelationPlannerContext,
) -> Result<WindowNode> {
    let column = |ident: &Ident| -> Result<Column> {
        let name = context.normalize_ident(ident.clone());
        let schema = input.schema();
        match schema.qualified_field_with_unqualified_name(&name) {
            Ok((qualifier, field)) => Ok(Column::new(qualifier.cloned(), field.name())),
            Err(_)
                if schema
                    .fields()
                    .iter()
                    .filter(|field| *field.name() == name)
                    .count()
                    > 1 =>
            {
                Err(Error::new(
                    ErrorKind::Plan,
                    format!("the column {name} is in more than one table"),
                )
                .help(format!(
                    "give it a name of its own in the subquery: SELECT a.{name} AS {name}_a, …"
                )))
            }
            Err(_) => {
                let names: Vec<&str> = schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                let error = Error::new(ErrorKind::Plan, format!("there is no column {name}"));
                Err(match nearest(&name, names.iter().copied()) {
                    Some(meant) => error.help(format!("did you mean {meant}?")),
                    None => error.help(format!("the columns are {}", names.join(", "))),
                })
            }
        }
    };
    let time = match &call.time {
        Some(ident) => column(ident)?,
        None => event_time_column(&input).ok_or_else(|| {
            Error::new(
                ErrorKind::Plan,
                format!(
                    "{} does not say which column is the event time",
                    call.kind.name()
                ),
            )
            .help(match call.kind {
                Written::CountWindow => "name it: COUNT_WINDOW(readings PARTITION BY sensor, 100, timecol => ts), or declare WATERMARK FOR ts in CREATE STREAM".into(),
                kind => format!("name it, for example {}", kind.example()),
            })
        })?,
    };
    let schema = input.schema();
    let time_type = (schema.field_from_column(&time))
        .map_err(|error| Error::new(ErrorKind::Plan, error.to_string()))?
        .data_type()
        .clone();
    let DataType::Timestamp(unit, _) = time_type else {
        let error = Error::new(
            ErrorKind::Plan,
            format!(
                "column {} is {}, an event time must be a TIMESTAMP",
                time.name,
                sql_type(&time_type)
            ),
        );
        return Err(error.help(match time_type {
            DataType::Int64 | DataType::Int32 | DataType::UInt64 | DataType::UInt32 => {
                "integer epochs need their unit: declare a column such as ts TIMESTAMP AS (to_timestamp_millis(epoch))"
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                "convert it, for example ts TIMESTAMP AS (CAST(text AS TIMESTAMP)) in CREATE STREAM"
            }
            _ => "name a TIMESTAMP column",
        }));
    };
    let partition_by = (call.partition_by.iter())
        .map(column)
        .collect::<Result<Vec<_>>>()?;
    let timezone = match &call.timezone {
        Some(name) => Some(name.parse::<Tz>().map_err(|_| {
            let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let error = Error::new(ErrorKind::Plan, format!("there is no time zone {name}"));
            match nearest(name, names) {
                Some(meant) => error.help(format!("did you mean {meant}?")),
                None => error.help("write a name such as 'Europe/Berlin' or 'Asia/Shanghai'"),
            }
        })?),
        None => None,
    };
    let sizes = Sizes {
        call,
        unit,
        calendar: timezone.is_some(),
    };
    let offset = match &call.offset {
        Some(expr) => sizes.ticks(expr, "offset")?,
        None => 0,
    };
    let kind = sizes.kind()?;
    let alignment = Alignment { offset, timezone };
    WindowNode::new(input, time, partition_by, kind, alignment)
        .map_err(|error| Error::new(ErrorKind::Plan, error.to_string()))
}

/// Reads the sizes of a call in ticks of its time column.
struct Sizes<'a> {
    call: &'a WindowCall,
    unit: TimeUnit,
    /// Days and longer are counted in a time zone's calendar.
    calendar: bool,
}

impl Sizes<'_> {
    fn fail<T>(&self, message: String) -> Result<T> {
        let help = format!("for example {}", self.call.kind.example());
        Err(Error::new(ErrorKind::Plan, message).help(help))
    }

    fn value(&self, expr: &Expr, what: &str) -> Result<IntervalMonthDayNano> {
        match interval(expr) {
            Some(value) => Ok(value),
            None => self.fail(format!("the {what} {expr} is no constant INTERVAL")),
        }
    }

    fn fixed(&self, value: IntervalMonthDayNano, what: &str) -> Result<i64> {
        const NANOS_PER_DAY: i128 = 86_400_000_000_000;
        let nanos = i128::from(value.days) * NANOS_PER_DAY + i128::from(value.nanoseconds);
        (time::exact_ticks(nanos, self.unit)).map_err(|_| {
            Error::new(
                ErrorKind::Plan,
                format!(
                    "the {what} is finer than the time column, which counts in {}",
                    unit_name(self.unit)
                ),
            )
            .help("use a coarser size, or cast the column: arrow_cast(ts, 'Timestamp(Nanosecond, None)')")
        })
    }

    fn ticks(&self, expr: &Expr, what: &str) -> Result<i64> {
        let value = self.value(expr, what)?;
        if value.months != 0 {
            return self.fail(format!("the {what} cannot be a number of months"));
        }
        self.fixed(value, what)
    }

    fn span(&self, expr: &Expr, what: &str) -> Result<Span> {
        let value = self.value(expr, what)?;
        let positive = |count: i32| u32::try_from(count).ok().filter(|count| *count > 0);
        let span = match (value.months, value.days, value.nanoseconds) {
            (months, 0, 0) if months != 0 => positive(months).map(Span::Months),
            (0, days, 0) if days != 0 && self.calendar => positive(days).map(Span::Days),
            (0, _, _) => {
                let ticks = self.fixed(value, what)?;
                (ticks > 0).then_some(Span::Ticks(ticks))
            }
            _ => {
                return self.fail(format!("the {what} mixes months with shorter units"));
            }
        };
        match span {
            Some(span) => Ok(span),
            None => self.fail(format!("the {what} must be longer than nothing")),
        }
    }

    fn count(&self, expr: &Expr, what: &str) -> Result<u64> {
        let count = match expr {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => digits.parse::<u64>().ok(),
                _ => None,
            },
            _ => None,
        };
        match count.filter(|count| *count > 0) {
            Some(count) => Ok(count),
            None => self.fail(format!("the {what} {expr} is no number of rows above zero")),
        }
    }

    fn kind(&self) -> Result<WindowKind> {
        let sizes = self.call.sizes.as_slice();
        match (self.call.kind, sizes) {
            (Written::Tumble, [size]) => Ok(WindowKind::Tumble {
                size: self.span(size, "size")?,
            }),
            (Written::Hop, [slide, size]) => {
                let (written, slide) = ((slide, size), self.span(slide, "slide")?);
                let size = self.span(size, "size")?;
                if mixed(slide, size) {
                    return self.fail("the slide and the size are both of fixed length, or both of days, or both of months".into());
                }
                if longer(slide, size) {
                    let (slide, size) = written;
                    return Err(Error::new(
                        ErrorKind::Plan,
                        format!("the slide {slide} is longer than the size {size}"),
                    )
                    .help(format!(
                        "HOP takes the slide first: HOP(…, {size}, {slide})"
                    )));
                }
                Ok(WindowKind::Hop { slide, size })
            }
            (Written::Cumulate, [step, size]) => {
                let step = self.span(step, "step")?;
                let size = self.span(size, "size")?;
                // Steps of a fixed length follow the local clock of a day.
                let within_days = matches!((step, size), (Span::Ticks(_), Span::Days(_)));
                if mixed(step, size) && !within_days {
                    return self.fail("the step and the size are both of fixed length, or both of days, or both of months".into());
                }
                let whole = match (step, size) {
                    (Span::Ticks(step), Span::Ticks(size)) => size % step == 0,
                    (Span::Days(step), Span::Days(size)) => size % step == 0,
                    (Span::Months(step), Span::Months(size)) => size % step == 0,
                    _ => true,
                };
                if longer(step, size) {
                    let (step, size) = (&sizes[0], &sizes[1]);
                    return Err(Error::new(
                        ErrorKind::Plan,
                        format!("the step {step} is longer than the size {size}"),
                    )
                    .help(format!(
                        "CUMULATE takes the step first: CUMULATE(…, {size}, {step})"
                    )));
                }
                if !whole {
                    return self.fail("the size of CUMULATE must be a multiple of its step".into());
                }
                Ok(WindowKind::Cumulate { step, size })
            }
            (Written::Session, [gap]) => {
                let gap = self.ticks(gap, "gap")?;
                if gap <= 0 {
                    return self.fail("the gap must be longer than nothing".into());
                }
                Ok(WindowKind::Session { gap })
            }
            (Written::CountWindow, [rows]) => {
                let rows = self.count(rows, "size")?;
                Ok(WindowKind::Count { rows, slide: rows })
            }
            (Written::CountWindow, [rows, slide]) => {
                let rows = self.count(rows, "size")?;
                let slide = self.count(slide, "slide")?;
                if slide > rows {
                    return self.fail("the slide is greater than the size".into());
                }
                Ok(WindowKind::Count { rows, slide })
            }
            (kind, _) => self.fail(format!("{} has other sizes", kind.name())),
        }
    }
}

/// Whether two lengths cannot be told from each other without a calendar.
fn mixed(a: Span, b: Span) -> bool {
    !matches!(
        (a, b),
        (Span::Ticks(_), Span::Ticks(_))
            | (Span::Days(_), Span::Days(_))
            | (Span::Months(_), Span::Months(_))
    )
}

fn longer(a: Span, b: Span) -> bool {
    match (a, b) {
        (Span::Ticks(a), Span::Ticks(b)) => a > b,
        (Span::Days(a), Span::Days(b)) | (Span::Months(a), Span::Months(b)) => a > b,
        _ => false,
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "seconds",
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    }
}
