//! Planning: from a query's syntax to something that runs.
//!
//! ```text
//!  syntax ─▶ logical plan ─▶ optimised ─┬─▶ graph of operators        (all of it)
//!                                       └─▶ DataFusion over leaves,   (bounded inputs)
//!                                           each a graph of operators
//! ```
//!
//! This module opens nothing and runs nothing.

mod widen;

mod fields;

mod operators;

mod node;

mod relations;

mod relation;

mod leaf;

mod fault_calls;

mod fault;

mod over_fault;

mod refuse;

mod constants;

mod lower;

mod explain;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::OptimizerRule;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;
use futures::FutureExt;
use windrow_core::operator::KeyedTable;

use crate::dialect::{Emit, Query};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Blame;

pub use crate::words::sql_type;
pub use explain::{ReadHow, explain};
pub use fault::Context;
pub use leaf::{Leaf, LeafSource};
pub use lower::{
    BatchPlan, Graph, Mode, PlannedInput, PlannedScan, PlannedStep, PlannedTable, TableRows,
};
pub use operators::OperatorPlanner;
pub use refuse::{clock_function, not_of_one_row};
pub use relations::{Origin, Relation, RowsNow, TimeColumn, Timing, relations};
pub use widen::widened;

/// A planned query, and what it reads.
#[derive(Debug)]
pub struct PlannedQuery {
    /// How it runs.
    pub how: Planned,
    /// The names that it reads.
    pub reads: Vec<String>,
    /// The streams and views that are read to their ends before it can start.
    pub settles: Vec<String>,
}

/// How a query runs.
#[derive(Debug)]
pub enum Planned {
    /// Operators alone: results come out as they become final.
    Graph(Graph),
    /// DataFusion over parts that end: results come out when those have been read.
    Batch(BatchPlan),
}

impl Planned {
    /// The columns of the results.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Graph(graph) => graph.schema.clone(),
            Self::Batch(batch) => batch.schema.clone(),
        }
    }

    /// The table in which the results can be read at any moment, if they change.
    pub fn table(&self) -> Option<Arc<KeyedTable>> {
        match self {
            Self::Graph(graph) => graph.table.clone(),
            Self::Batch(_) => None,
        }
    }

    /// Whether it puts rows into windows that close.
    pub fn has_window(&self) -> bool {
        match self {
            Self::Graph(graph) => in_windows(graph),
            Self::Batch(batch) => batch.graphs().any(in_windows),
        }
    }

    /// The graphs that feed it.
    pub fn graphs(&self) -> Vec<&Graph> {
        match self {
            Self::Graph(graph) => vec![graph],
            Self::Batch(batch) => batch.graphs().collect(),
        }
    }
}

/// Whether a graph puts rows into windows that close.
fn in_windows(graph: &Graph) -> bool {
    let below = |table: &PlannedTable| match &table.rows {
        TableRows::Now(_) => false,
        TableRows::Computed(batch) => batch.graphs().any(in_windows),
    };
    let closes = |step: &PlannedStep| step.is_window && !step.is_open();
    graph.steps.iter().any(closes) || graph.tables.iter().any(below)
}

/// What is known by name while a query is planned.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Tables, for errors.
    pub tables: Vec<String>,
    /// Functions, for errors.
    pub functions: Vec<String>,
}

/// The logical plan of a query, before it is optimised.
///
/// # Errors
/// If a name or a type does not fit.
pub fn logical(state: &SessionState, query: &Query, names: &Names) -> Result<LogicalPlan> {
    refuse::tail(query)?;
    let context = context(query, names);
    let planner = relation::WindowPlanner {
        calls: query.windows.clone(),
    };
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_relation_planners(vec![Arc::new(planner)])
        .build();
    let statement = ast::Statement::Query(Box::new(query.ast.clone()));
    let statement = DfStatement::Statement(Box::new(statement));
    // Names are looked up in the catalogue without waiting for anything, so that this works
    // inside any executor.
    let planned = state.statement_to_plan(statement).now_or_never();
    let plan = planned
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a name is still being looked up"))?
        .and_then(widen::widened_plan)
        .and_then(fields::named)
        .map_err(|error| context.tell(error))?;
    match depth(&plan) {
        0..=PLAN_DEPTH_MAX => Ok(plan),
        _ => Err(Error::new(
            ErrorKind::Limit,
            format!(
                "the query is nested deeper than {PLAN_DEPTH_MAX} steps, views and WITH included"
            ),
        )
        .help("keep a part of it in a materialized view")
        .at(query.span.clone())
        .in_script(query.positions.script())),
    }
}

/// How many steps a plan may be deep: planning recurses over them.
const PLAN_DEPTH_MAX: usize = 1_500;

/// The steps on the longest way from a plan to a leaf, its subqueries aside.
fn depth(plan: &LogicalPlan) -> usize {
    let mut deepest = 0;
    let mut open = vec![(plan, 1)];
    while let Some((plan, depth)) = open.pop() {
        deepest = deepest.max(depth);
        open.extend(plan.inputs().into_iter().map(|input| (input, depth + 1)));
    }
    deepest
}

/// The tables that a query names, as they are written: views have not been replaced by
/// their queries.
pub fn names(state: &SessionState, query: &Query) -> Vec<String> {
    let statement = ast::Statement::Query(Box::new(query.ast.clone()));
    let statement = DfStatement::Statement(Box::new(statement));
    // A query that has been planned names tables that can be resolved.
    let references = (state.resolve_table_references(&statement)).unwrap_or_default();
    (references.iter())
        .map(|reference| reference.table().to_string())
        .collect()
}

fn context<'a>(query: &'a Query, names: &'a Names) -> fault::Context<'a> {
    fault::Context {
        positions: &query.positions,
        span: query.span.clone(),
        tables: &names.tables,
        functions: &names.functions,
    }
}

/// Computes the value of a subquery that ends; NULL if it gives no row.
pub type ValueOf<'a> = &'a dyn Fn(BatchPlan) -> Result<ScalarValue>;

/// Plans a query that goes on, or answers once. `value` computes what a query over live
/// streams compares with.
///
/// # Errors
/// If it does not fit, or would need state without bound.
pub fn plan(
    state: &SessionState,
    query: &Query,
    names: &Names,
    mode: Mode,
    value: ValueOf<'_>,
) -> Result<PlannedQuery> {
    let mut state = state.clone();
    // The moment that now() and its kin stand for in a query that answers once.
    state.mark_start_execution();
    let state = &state;
    let logical = logical(state, query, names)?;
    let logical = with_values(state, query, names, logical, value)?;
    let relations = relations(&logical);
    let reads = relations
        .iter()
        .map(|relation| relation.name.clone())
        .collect();
    let settles = match mode {
        Mode::Once => relations
            .iter()
            .flat_map(|relation| relation.settles.clone())
            .collect(),
        // Views go on giving rows; tables of now are read once.
        Mode::Continuous | Mode::Kept { .. } => relations
            .iter()
            .filter(|relation| matches!(relation.origin, Origin::Rows(_)))
            .flat_map(|relation| relation.settles.clone())
            .collect(),
    };
    Ok(PlannedQuery {
        how: how(state, query, names, mode, &logical)?,
        reads,
        settles,
    })
}

/// The plan with the values of subqueries that end, if it reads live streams.
fn with_values(
    state: &SessionState,
    query: &Query,
    names: &Names,
    logical: LogicalPlan,
    value: ValueOf<'_>,
) -> Result<LogicalPlan> {
    let external = |error: Error| DataFusionError::External(Box::new(error));
    let blame = Arc::new(Blame::of(query));
    let computed = constants::computed(logical, &|subquery| {
        let optimised = optimise(state, subquery)?;
        let plan = lower::parts(optimised, Mode::Once, state.execution_props(), &blame);
        plan.and_then(value).map_err(external)
    });
    computed.map_err(|error| context(query, names).tell(error))
}

fn how(
    state: &SessionState,
    query: &Query,
    names: &Names,
    mode: Mode,
    logical: &LogicalPlan,
) -> Result<Planned> {
    let context = context(query, names);
    let place = |error: Error| {
        error
            .at(query.span.clone())
            .in_script(query.positions.script())
    };
    let streams = refuse::Streams::of(logical);
    if mode.goes_on() || streams.any_live {
        refuse::clock_functions(logical, query)?;
    }
    let optimised = optimise(state, logical).map_err(|error| context.tell(error))?;
    let props = state.execution_props();
    let blame = Arc::new(Blame::of(query));
    if let Some(graph) = lower::lower(&optimised, mode, props, &blame).map_err(place)? {
        let needed = mode.goes_on() || streams.any || graph.steps.iter().any(|step| step.is_window);
        if needed {
            return Ok(Planned::Graph(graph));
        }
    }
    if streams.any_live {
        return match (lower::keyed(&optimised, mode, props, &blame), mode) {
            (Ok(Some(graph)), Mode::Kept { .. }) => Ok(Planned::Graph(graph)),
            (Ok(Some(_)), _) => Err(place(refuse::changelog(query))),
            (Err(error), Mode::Kept { .. }) => Err(place(error.at(refuse::grouping(query)))),
            _ => Err(place(refuse::unbounded(&optimised, query))),
        };
    }

    let plan = lower::parts(optimised, mode, props, &blame).map_err(place)?;
    Ok(Planned::Batch(plan))
}

fn optimise(state: &SessionState, plan: &LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
    if !node::has_window(plan) {
        return state.optimize(plan);
    }
    // The rule would split an aggregation by window in two, of which the inner one
    // could no longer be joined with its window.
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = (state.optimizers().iter())
        .filter(|rule| rule.name() != "single_distinct_aggregation_to_group_by")
        .cloned()
        .collect();
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_optimizer_rules(rules)
        .build();
    state.optimize(plan)
}

/// When a query's results come out, as `EXPLAIN` prints it.
pub fn emission(emit: &Emit) -> &'static str {
    match emit {
        Emit::Default | Emit::OnWindowClose => "EMIT ON WINDOW CLOSE",
        Emit::Changes => "EMIT CHANGES",
        Emit::Every(_) => "EMIT EVERY",
    }
}
