//! Aggregation by window: the aggregation and the window function below it become one
//! operator.
//!
//! ```text
//!  Aggregate  by upper(sensor), window_start          WindowAggregate
//!   └ Projection  sensor, window_start, pm25    ─▶     └ Stretch  ts, upper(sensor), pm25
//!      └ Filter  pm25 > 0                                         where pm25 > 0
//!         └ Window  ts
//! ```
//!
//! What stands between the two is written in terms of the window's input and computed
//! once per row, whatever the number of windows that hold it. Conditions on window
//! columns move above.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Case, NullTreatment};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, lit};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use windrow_core::aggregate::registry::{Limits, NativeCall, ScalarArg, native as native_call};
use windrow_core::aggregate::{AggregateCall, AggregateFactory};
use windrow_core::operator::{Stateless, WindowAggregateSpec, window_aggregate};
use windrow_core::time::{WINDOW_END, WINDOW_START, WINDOW_TIME};
use windrow_core::window::{Alignment, Span, WindowKind};

use super::expr::{column_place, is_row_wise, plan_fault};
use super::timing::{carried, window_times};
use super::{Lowered, Lowering, arrow_schema, planned, texts};
use crate::error::Result;
use crate::exec::{ForeignAggregate, Stretch};
use crate::plan::node::{WINDOW_COLUMNS, WindowNode};
use crate::plan::relations::{TimeColumn, Timing};

/// What stands between an aggregation and the window function below it.
struct Chain<'a> {
    node: &'a WindowNode,
    /// The chain's output columns in terms of the node's.
    columns: Vec<Expr>,
    /// Conditions in terms of the node's columns.
    conditions: Vec<Expr>,
}

/// Follows projections and filters down to a window function.
fn chain(plan: &LogicalPlan) -> Result<Option<Chain<'_>>> {
    Ok(match plan {
        LogicalPlan::SubqueryAlias(alias) => chain(&alias.input)?,
        LogicalPlan::Projection(projection) => {
            if !projection.expr.iter().all(is_row_wise) {
                return Ok(None);
            }
            let Some(below) = chain(&projection.input)? else {
                return Ok(None);
            };
            let columns = (projection.expr.iter())
                .map(|expr| inline(expr, projection.input.schema(), &below.columns))
                .collect::<Result<_>>()?;
            Some(Chain { columns, ..below })
        }
        LogicalPlan::Filter(filter) => {
            if !is_row_wise(&filter.predicate) {
                return Ok(None);
            }
            let Some(mut below) = chain(&filter.input)? else {
                return Ok(None);
            };
            let predicate = inline(&filter.predicate, filter.input.schema(), &below.columns)?;
            below.conditions.extend(split_conjunction_owned(predicate));
            Some(below)
        }
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any().downcast_ref::<WindowNode>();
            node.map(|node| Chain {
                node,
                columns: plan
                    .schema()
                    .columns()
                    .into_iter()
                    .map(Expr::Column)
                    .collect(),
                conditions: Vec::new(),
            })
        }
        _ => None,
    })
}

/// `expr` over `schema` with each column replaced by what it stands for.
pub(super) fn inline(expr: &Expr, schema: &DFSchema, columns: &[Expr]) -> Result<Expr> {
    let inlined = expr.clone().transform_up(|expr| {
        Ok(match &expr {
            Expr::Column(column) => {
                Transformed::yes(columns[schema.index_of_column(column)?].clone())
            }
            Expr::Alias(alias) => Transformed::yes(alias.expr.as_ref().clone()),
            _ => Transformed::no(expr),
        })
    });
    Ok(planned(inlined)?.data)
}

/// An aggregate call in parts.
pub(super) struct Call {
    function: AggregateFunction,
    /// The arguments that are columns, without literals.
    pub(super) native: Option<Arc<dyn AggregateFactory>>,
    pub(super) args: Vec<Expr>,
    pub(super) filter: Option<Expr>,
}

/// An aggregation to be lowered: everything in terms of one input schema.
struct Grouping<'a> {
    input: Lowered,
    /// The schema that the expressions below count in.
    schema: DFSchemaRef,
    conditions: Vec<Expr>,
    /// Counts the rows that the query is about; groups without any do not come out.
    /// `None`: all rows that get here.
    present: Option<Call>,
    time: Expr,
    partition_keys: usize,
    keys: Vec<Expr>,
    calls: Vec<Call>,
    kind: WindowKind,
    alignment: Alignment,
    aggregate: &'a Aggregate,
}

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Option<Lowered>> {
        let grouping = (aggregate.group_expr.iter()).any(|expr| !is_row_wise(expr));
        if grouping {
            return Ok(None);
        }
        if let Some(chain) = chain(&aggregate.input)? {
            let mark = self.mark();
            if let Some(lowered) = self.by_window(aggregate, chain)? {
                return Ok(Some(lowered));
            }
            // Steps that are left behind would read the stream a second time.
            self.give_up(mark);
        }
        self.by_time(aggregate)
    }

    /// An aggregation over a window function whose columns it groups by.
    fn by_window(&mut self, aggregate: &Aggregate, chain: Chain<'_>) -> Result<Option<Lowered>> {
        let node = chain.node;
        let above = aggregate.input.schema();
        let mut groups = (aggregate.group_expr.iter())
            .map(|expr| inline(expr, above, &chain.columns))
            .collect::<Result<Vec<_>>>()?;
        let grouped_by = |name: &str| groups.iter().any(|group| is_window_column(group, name));
        let starts = grouped_by(WINDOW_START);
        let ends = grouped_by(WINDOW_END) || grouped_by(WINDOW_TIME);
        let is_by_window = match node.kind {
            WindowKind::Cumulate { .. } => ends && starts,
            WindowKind::Count { .. } => starts && ends,
            WindowKind::Session { .. } => starts || ends,
            WindowKind::Tumble { .. } | WindowKind::Hop { .. } => starts || ends,
        };
        if !is_by_window {
            return Ok(None);
        }

        let partition: Vec<Expr> = node
            .partition_by
            .iter()
            .cloned()
            .map(Expr::Column)
            .collect();
        let mut keys = match node.kind {
            WindowKind::Session { .. } | WindowKind::Count { .. } => {
                if partition.iter().any(|key| !groups.contains(key)) {
                    return Ok(None);
                }
                partition
            }
            _ => Vec::new(),
        };
        let partition_keys = keys.len();
        for group in &groups {
            if !uses_windows(group) && !keys.contains(group) {
                keys.push(group.clone());
            }
        }
        let partition_keys = match node.kind {
            WindowKind::Session { .. } | WindowKind::Count { .. } => partition_keys,
            _ => keys.len(),
        };

        let (below, above_conditions): (Vec<Expr>, Vec<Expr>) = chain
            .conditions
            .into_iter()
            .partition(|condition| !uses_windows(condition));
        let schema = node.input.schema().clone();
        let Some(mut calls) = self.calls(aggregate, &chain.columns, &schema, true)? else {
            return Ok(None);
        };
        let (below, among): (Vec<Expr>, Vec<Expr>) = below
            .into_iter()
            .partition(|condition| keeps_windows(condition, node));
        let present = match conjunction(among) {
            None => None,
            Some(condition) => {
                for call in &mut calls {
                    call.only_where(&condition);
                }
                let further = keys[partition_keys..].to_vec();
                for key in keys.iter_mut().chain(&mut groups) {
                    if further.contains(key) {
                        *key = only_where(&condition, key);
                    }
                }
                Some(self.call(rows_where(condition), &schema)?)
            }
        };
        let Some(input) = self.window_input(node)? else {
            return Ok(None);
        };
        let (input, _) = self.on_time(input, node)?;
        let grouping = Grouping {
            input,
            schema,
            conditions: below,
            present,
            time: Expr::Column(node.time.clone()),
            partition_keys,
            keys,
            calls,
            kind: node.kind,
            alignment: node.alignment,
            aggregate,
        };
        let text = format!("{} on {}", node.describe(), node.time.name);
        self.windowed(grouping, &groups, above_conditions, text, |keys| {
            window_times(keys, node)
        })
    }

    /// An aggregation that groups by a column in event time: each value of it is
    /// complete when the watermark has passed it.
    fn by_time(&mut self, aggregate: &Aggregate) -> Result<Option<Lowered>> {
        let Some(input) = self.lower(&aggregate.input)? else {
            return Ok(None);
        };
        if !input.timing.watermarked {
            return Ok(None);
        }
        let schema = aggregate.input.schema().clone();
        let groups = &aggregate.group_expr;
        let times = groups.iter().filter_map(|group| {
            let place = column_place(group, &schema)?;
            input
                .timing
                .columns
                .iter()
                .find(|time| time.column == place)
        });
        let Some(time) = times.min_by_key(|time| time.lag).copied() else {
            return Ok(None);
        };
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let groups = (groups.iter())
            .map(|group| inline(group, &schema, &columns))
            .collect::<Result<Vec<_>>>()?;
        let Some(calls) = self.calls(aggregate, &columns, &schema, false)? else {
            return Ok(None);
        };
        let input = match time.lag {
            0 => input,
            lag => self.lagging(input, lag),
        };
        let timing = input.timing.clone();
        let mut keys: Vec<Expr> = Vec::new();
        for group in &groups {
            if !keys.contains(group) {
                keys.push(group.clone());
            }
        }
        let places: Vec<Option<usize>> =
            keys.iter().map(|key| column_place(key, &schema)).collect();
        let grouping = Grouping {
            input,
            time: columns[time.column].clone(),
            schema,
            conditions: Vec::new(),
            present: None,
            partition_keys: keys.len(),
            keys,
            calls,
            // One tick: each value of the time column is a window of its own.
            kind: WindowKind::Tumble {
                size: Span::Ticks(1),
            },
            alignment: Alignment::default(),
            aggregate,
        };
        let text = "each event time".to_string();
        self.windowed(grouping, &groups, Vec::new(), text, |_| {
            carried(&timing, places.iter().copied()).columns
        })
    }

    /// The aggregate calls over a chain's columns; `None` if one of them cannot be
    /// computed by window.
    fn calls(
        &self,
        aggregate: &Aggregate,
        columns: &[Expr],
        schema: &DFSchema,
        by_window: bool,
    ) -> Result<Option<Vec<Call>>> {
        let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
        for expr in &aggregate.aggr_expr {
            let expr = inline(expr, aggregate.input.schema(), columns)?;
            let Expr::AggregateFunction(function) = expr else {
                return Ok(None);
            };
            let params = &function.params;
            let orders = params.order_by.iter().map(|order| &order.expr);
            let parts = params
                .args
                .iter()
                .chain(params.filter.as_deref())
                .chain(orders);
            let mut parts = parts;
            if parts.any(|part| (by_window && uses_windows(part)) || !is_row_wise(part)) {
                return Ok(None);
            }
            calls.push(narrowed(self.call(function, schema)?, schema)?);
        }
        Ok(Some(calls))
    }

    pub(super) fn call(&self, function: AggregateFunction, schema: &DFSchema) -> Result<Call> {
        let params = &function.params;
        let name = function.func.name().to_lowercase();
        let filter = params.filter.as_deref().cloned();
        // `WITHIN GROUP (ORDER BY x)` comes as an argument and an order of the same
        // expression: the order only says which way the values run.
        let within = matches!(name.as_str(), "percentile_cont" | "approx_percentile_cont");
        let ordered = match params.order_by.as_slice() {
            [] => false,
            [order] => !(within && Some(&order.expr) == params.args.first()),
            _ => true,
        };
        let descending = within && params.order_by.first().is_some_and(|order| !order.asc);

        let mut arg_types = Vec::with_capacity(params.args.len());
        let mut literals = Vec::with_capacity(params.args.len());
        for arg in &params.args {
            arg_types.push(planned(arg.get_type(schema))?);
            literals.push(literal(arg));
        }
        let mut native = None;
        if !ordered {
            native = native_call(&NativeCall {
                name: &name,
                distinct: params.distinct,
                ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
                descending,
                arg_types: &arg_types,
                literals: &literals,
                limits: Limits::default(),
            })?;
        }
        let mut args = params.args.clone();
        if native.is_some() {
            let is_literal =
                |arg: &Expr| matches!(arg, Expr::Literal(value, _) if !value.is_null());
            match name.as_str() {
                // count(1) counts rows.
                "count" => args.retain(|arg| !is_literal(arg)),
                // The fraction was given with the call.
                name if name.contains("percentile") || name.contains("quantile") => {
                    args.truncate(1);
                }
                _ => {}
            }
        } else {
            let orders = params.order_by.iter().map(|order| order.expr.clone());
            if ordered {
                args.extend(orders);
            }
        }
        Ok(Call {
            function,
            native,
            args,
            filter,
        })
    }

    /// The operator, what is computed below it, and what is made of its rows.
    fn windowed(
        &mut self,
        grouping: Grouping<'_>,
        groups: &[Expr],
        above_conditions: Vec<Expr>,
        text: String,
        times: impl FnOnce(usize) -> Vec<TimeColumn>,
    ) -> Result<Option<Lowered>> {
        let Grouping {
            input,
            schema,
            conditions,
            present,
            time,
            partition_keys,
            keys,
            calls,
            kind,
            alignment,
            aggregate,
        } = grouping;

        // Below: each expression once.
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
        let time = place(&time);
        let key_places: Vec<usize> = keys.iter().map(&mut place).collect();
        let mut aggregates = Vec::with_capacity(calls.len() + 1);
        for (number, call) in calls.iter().chain(&present).enumerate() {
            let data_type = match calls.get(number) {
                Some(_) => (aggregate.schema.field(groups.len() + number))
                    .data_type()
                    .clone(),
                None => DataType::Int64,
            };
            aggregates.push(AggregateCall {
                args: call.args.iter().map(&mut place).collect(),
                filter: call.filter.as_ref().map(&mut place),
                factory: self.factory(call, &schema)?,
                field: Arc::new(Field::new(format!("a{number}"), data_type, true)),
            });
        }
        let conditions_text = match conditions.as_slice() {
            [] => String::new(),
            conditions => format!(" where {}", texts(conditions)),
        };
        let conditions = (conditions.iter())
            .map(|condition| self.compiler.compile(condition, &schema))
            .collect::<Result<Vec<_>>>()?;
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
        let stretch_text = format!("Project: {}{conditions_text}", texts(&below));
        let stretch =
            Stretch::new("Project", conditions, columns, prepared.clone()).of(self.compiler.blame);
        let stretch = Box::new(Stateless::new(Box::new(stretch)));
        let timing = input.timing.clone();
        let input = self.step(
            stretch,
            vec![input.input],
            false,
            stretch_text,
            input.timing,
        );

        let operator = window_aggregate(WindowAggregateSpec {
            input: prepared.clone(),
            time,
            keys: key_places.clone(),
            partition_keys,
            kind,
            alignment,
            aggregates,
        })?;
        let by = match keys.as_slice() {
            [] => String::new(),
            keys => format!(" by {}", texts(keys)),
        };
        let of = match aggregate.aggr_expr.as_slice() {
            [] => String::new(),
            aggregates => format!(": {}", texts(aggregates)),
        };
        let text = format!("WindowAggregate: {text}{by}{of}");
        let is_window = true;
        let operator_schema = operator.schema();
        let windowed = self.step(operator, vec![input.input], is_window, text, timing.clone());

        // Above: the aggregation's own columns, in terms of the operator's.
        let result_schema = result_schema(&operator_schema, keys.len())?;
        let key_name = |place: usize| Expr::Column(Column::from_name(format!("k{place}")));
        let rename = |expr: &Expr| rename(expr, &keys, &key_name);
        let mut conditions = Vec::with_capacity(above_conditions.len());
        for condition in &above_conditions {
            let Some(renamed) = rename(condition)? else {
                return Ok(None);
            };
            conditions.push(self.compiler.compile(&renamed, &result_schema)?);
        }
        if present.is_some() {
            let rows = Expr::Column(Column::from_name(format!("a{}", calls.len())));
            let some = rows.gt(lit(0_i64));
            conditions.push(self.compiler.compile(&some, &result_schema)?);
        }
        let mut outputs = Vec::with_capacity(aggregate.schema.fields().len());
        for group in groups {
            let Some(renamed) = rename(group)? else {
                return Ok(None);
            };
            outputs.push(renamed);
        }
        for number in 0..calls.len() {
            outputs.push(Expr::Column(Column::from_name(format!("a{number}"))));
        }
        let mut window_timing = Timing {
            columns: times(keys.len()),
            ..timing
        };
        let origins = (outputs.iter()).map(|output| column_place(output, &result_schema));
        window_timing = carried(&window_timing, origins);
        let columns = (outputs.iter())
            .map(|output| self.compiler.compile(output, &result_schema))
            .collect::<Result<Vec<_>>>()?;
        let schema = arrow_schema(&aggregate.schema);
        let text = match above_conditions.as_slice() {
            [] => String::new(),
            conditions => format!("Filter: {}", texts(conditions)),
        };
        let stretch = Stretch::new("Project", conditions, columns, schema).of(self.compiler.blame);
        let stretch = Box::new(Stateless::new(Box::new(stretch)));
        Ok(Some(self.step(
            stretch,
            vec![windowed.input],
            false,
            text,
            window_timing,
        )))
    }

    pub(super) fn factory(
        &self,
        call: &Call,
        schema: &DFSchema,
    ) -> Result<Arc<dyn AggregateFactory>> {
        if let Some(native) = &call.native {
            return Ok(native.clone());
        }
        let expr = Expr::AggregateFunction(call.function.clone());
        let context = PhysicalPlanningContext::default();
        let lowered = LoweredAggregateBuilder::new(
            &expr,
            schema,
            schema.as_arrow(),
            self.compiler.props,
            &context,
        )
        .with_name(call.function.func.name())
        .build()
        .map_err(plan_fault)?;
        Ok(Arc::new(ForeignAggregate::new(lowered.aggregate)))
    }
}

impl Call {
    /// The same call over the rows where a condition holds.
    fn only_where(&mut self, condition: &Expr) {
        self.filter = Some(match self.filter.take() {
            Some(own) => condition.clone().and(own),
            None => condition.clone(),
        });
        for arg in &mut self.args {
            *arg = only_where(condition, arg);
        }
    }
}

/// The same call over the column of REAL itself, where its values are widened for it: what
/// else is asked of the column shares a state with it.
fn narrowed(mut call: Call, schema: &DFSchema) -> Result<Call> {
    let name = call.function.func.name().to_lowercase();
    let (params, args) = (&call.function.params, call.args.as_slice());
    let ("sum" | "avg", [Expr::Cast(cast)]) = (name.as_str(), args) else {
        return Ok(call);
    };
    let is_narrow = *cast.field.data_type() == DataType::Float64
        && planned(cast.expr.get_type(schema))? == DataType::Float32;
    if !is_narrow || params.distinct || call.native.is_none() {
        return Ok(call);
    }
    let native = native_call(&NativeCall {
        name: &name,
        distinct: false,
        ignore_nulls: false,
        descending: false,
        arg_types: &[DataType::Float32],
        literals: &[None],
        limits: Limits::default(),
    })?;
    if native.is_some() {
        let narrow = (*cast.expr).clone();
        (call.native, call.args) = (native, vec![narrow]);
    }
    Ok(call)
}

/// An expression that is not computed, and NULL, where a condition does not hold: what
/// the query excludes must not make it fail.
fn only_where(condition: &Expr, expr: &Expr) -> Expr {
    match expr {
        Expr::Column(_) | Expr::Literal(..) => expr.clone(),
        _ => Expr::Case(Case::new(
            None,
            vec![(Box::new(condition.clone()), Box::new(expr.clone()))],
            None,
        )),
    }
}

/// `count(*) FILTER (WHERE condition)`.
fn rows_where(condition: Expr) -> AggregateFunction {
    let one = vec![lit(1_i64)];
    let filter = Some(Box::new(condition));
    AggregateFunction::new_udf(count_udaf(), one, false, filter, Vec::new(), None)
}

/// Whether the windows are the same when rows that a condition excludes are not there: not
/// where the rows themselves make up the windows, unless it excludes whole keys.
fn keeps_windows(condition: &Expr, node: &WindowNode) -> bool {
    match node.kind {
        WindowKind::Session { .. } | WindowKind::Count { .. } => {
            !condition.is_volatile()
                && (condition.column_refs().into_iter())
                    .all(|column| node.partition_by.contains(column))
        }
        _ => true,
    }
}

/// The value of a literal, where an aggregate may want it.
fn literal(expr: &Expr) -> Option<ScalarArg> {
    match expr {
        Expr::Literal(value, _) => match value {
            ScalarValue::Float64(Some(value)) => Some(ScalarArg::Float(*value)),
            ScalarValue::Float32(Some(value)) => Some(ScalarArg::Float(f64::from(*value))),
            ScalarValue::Int64(Some(value)) => Some(ScalarArg::Int(*value)),
            ScalarValue::UInt64(Some(value)) => i64::try_from(*value).ok().map(ScalarArg::Int),
            _ => None,
        },
        _ => None,
    }
}

fn is_window_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.relation.is_none() && column.name == name)
}

fn uses_windows(expr: &Expr) -> bool {
    let mut uses = false;
    let visited = expr.apply(|expr| {
        uses |= WINDOW_COLUMNS
            .iter()
            .any(|name| is_window_column(expr, name));
        Ok(TreeNodeRecursion::Continue)
    });
    uses || visited.is_err()
}

/// The operator's columns under the names `k0…`, the window columns, `a0…`.
fn result_schema(operator: &Schema, keys: usize) -> Result<DFSchema> {
    let fields: Vec<Field> = (operator.fields().iter().enumerate())
        .map(|(place, field)| {
            let aggregates = keys + WINDOW_COLUMNS.len();
            let name = match place {
                place if place < keys => format!("k{place}"),
                place if place < aggregates => WINDOW_COLUMNS[place - keys].to_string(),
                place => format!("a{}", place - aggregates),
            };
            let data_type: DataType = field.data_type().clone();
            Field::new(name, data_type, true)
        })
        .collect();
    planned(DFSchema::try_from(Schema::new(fields)))
}

/// An expression over keys and window columns, in terms of the operator's columns;
/// `None` if it uses anything else.
fn rename(expr: &Expr, keys: &[Expr], key_name: &dyn Fn(usize) -> Expr) -> Result<Option<Expr>> {
    let mut unknown = false;
    let renamed = expr.clone().transform_down(|expr| {
        if let Some(place) = keys.iter().position(|key| *key == expr) {
            return Ok(Transformed::new(
                key_name(place),
                true,
                TreeNodeRecursion::Jump,
            ));
        }
        if let Expr::Column(_) = &expr {
            unknown |= !WINDOW_COLUMNS
                .iter()
                .any(|name| is_window_column(&expr, name));
        }
        Ok(Transformed::no(expr))
    });
    let renamed = planned(renamed)?.data;
    Ok((!unknown).then_some(renamed))
}
