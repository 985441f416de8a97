//! Planning: from a query's syntax to something that runs.
//!
//! ```text
//!  syntax ─▶ logical plan ─▶ optimised ─┬─▶ graph of operators        (all of it)
//!                                       └─▶ DataFusion over leaves,   (bounded inputs)
//!                                           each a graph of operators
//! ```
//!
//! This module opens nothing and runs nothing.

mod node;

mod relations;

mod relation;

mod lower;

mod leaf;

mod fault;

mod refuse;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::OptimizerRule;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;

use crate::dialect::{Emit, Query};
use crate::error::{Error, ErrorKind, Result};

pub use leaf::{Leaf, LeafSource};
pub use lower::{Graph, Mode, PlannedInput, PlannedStep, PlannedTable};
pub use relations::{Origin, Relation, RowsNow, TimeColumn, Timing, relations};

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

/// A plan that DataFusion runs, over parts that Windrow runs.
#[derive(Debug)]
pub struct BatchPlan {
    /// The plan.
    pub plan: LogicalPlan,
    /// Its parts.
    pub leaves: Vec<(Arc<Leaf>, Graph)>,
    /// The columns of the results.
    pub schema: SchemaRef,
}

impl Planned {
    /// The columns of the results.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Graph(graph) => graph.schema.clone(),
            Self::Batch(batch) => batch.schema.clone(),
        }
    }

    /// The graphs that feed it.
    pub fn graphs(&self) -> Vec<&Graph> {
        match self {
            Self::Graph(graph) => vec![graph],
            Self::Batch(batch) => batch.leaves.iter().map(|(_, graph)| graph).collect(),
        }
    }
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
    let context = context(query, names);
    let planner = relation::WindowPlanner {
        calls: query.windows.clone(),
    };
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_relation_planners(vec![Arc::new(planner)])
        .build();
    let statement = ast::Statement::Query(Box::new(query.ast.clone()));
    let statement = DfStatement::Statement(Box::new(statement));
    // Names are looked up in the catalogue without waiting for anything.
    futures::executor::block_on(state.statement_to_plan(statement))
        .map_err(|error| context.tell(error))
}

fn context<'a>(query: &'a Query, names: &'a Names) -> fault::Context<'a> {
    fault::Context {
        positions: &query.positions,
        span: query.span.clone(),
        tables: &names.tables,
        functions: &names.functions,
    }
}

/// Plans a query that goes on, or answers once.
///
/// # Errors
/// If it does not fit, or would need state without bound.
pub fn plan(
    state: &SessionState,
    query: &Query,
    names: &Names,
    mode: Mode,
) -> Result<PlannedQuery> {
    refuse::tail(query)?;
    let mut state = state.clone();
    // The moment that now() and its kin stand for in a query that answers once.
    state.mark_start_execution();
    let state = &state;
    let logical = logical(state, query, names)?;
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
        Mode::Continuous => Vec::new(),
    };
    Ok(PlannedQuery {
        how: how(state, query, names, mode, &logical)?,
        reads,
        settles,
    })
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
    if mode == Mode::Continuous || streams.any_live {
        refuse::clock_functions(logical, query)?;
    }
    let optimised = optimise(state, logical).map_err(|error| context.tell(error))?;
    let props = state.execution_props();
    if let Some(graph) = lower::lower(&optimised, mode, props).map_err(place)? {
        let needed = mode == Mode::Continuous || streams.any || has_window(&optimised);
        if needed {
            return Ok(Planned::Graph(graph));
        }
    }
    if streams.any_live {
        return Err(place(refuse::unbounded(&optimised, query)));
    }

    let schema = lower::arrow_schema(optimised.schema());
    let mut leaves = Vec::new();
    let mut failed = None;
    let cut = optimised.transform_down_with_subqueries(|plan| {
        if matches!(plan, LogicalPlan::Subquery(_))
            || !refuse::Streams::of(&plan).any && !has_window(&plan)
        {
            return Ok(Transformed::no(plan));
        }
        match lower::lower(&plan, mode, props) {
            Ok(Some(graph)) => {
                let (scan, leaf) = leaf::in_place_of(&plan)?;
                leaves.push((leaf, graph));
                Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
            }
            Ok(None) => Ok(Transformed::no(plan)),
            Err(error) => {
                failed.get_or_insert(error);
                Ok(Transformed::new(plan, false, TreeNodeRecursion::Stop))
            }
        }
    });
    if let Some(error) = failed {
        return Err(place(error));
    }
    let plan = cut.map_err(|error| context.tell(error))?.data;
    if has_window(&plan) {
        return Err(place(
            Error::new(
                ErrorKind::Unsupported,
                "a window function cannot stand over this input",
            )
            .help("give the window function a stream, a view, a file or a plain subquery"),
        ));
    }
    Ok(Planned::Batch(BatchPlan {
        plan,
        leaves,
        schema,
    }))
}

fn optimise(state: &SessionState, plan: &LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
    if !has_window(plan) {
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

fn has_window(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let visited = plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Extension(extension) = plan {
            found |= extension.node.as_any().is::<node::WindowNode>();
        }
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found || visited.is_err()
}

/// The steps of a planned query as `EXPLAIN` prints them, results first.
pub fn explain(planned: &Planned) -> Vec<String> {
    match planned {
        Planned::Graph(graph) => {
            let mut lines = Vec::new();
            explain_step(graph, graph.steps.len() - 1, 0, &mut lines);
            lines
        }
        Planned::Batch(batch) => {
            let mut lines = vec!["Once, over the results of:".to_string()];
            if batch.leaves.is_empty() {
                lines = vec!["Once, over rows that are there".to_string()];
            }
            for (_, graph) in &batch.leaves {
                explain_step(graph, graph.steps.len() - 1, 1, &mut lines);
            }
            lines
        }
    }
}

fn explain_step(graph: &Graph, step: usize, depth: usize, lines: &mut Vec<String>) {
    let planned = &graph.steps[step];
    lines.push(format!("{}{}", "  ".repeat(depth), planned.text));
    for input in &planned.inputs {
        match input {
            PlannedInput::Step(step) => explain_step(graph, *step, depth + 1, lines),
            PlannedInput::Stream(name) => {
                lines.push(format!("{}Stream: {name}", "  ".repeat(depth + 1)));
            }
            PlannedInput::View(name) => {
                lines.push(format!("{}View: {name}", "  ".repeat(depth + 1)));
            }
            PlannedInput::Table(table) => {
                let name = &graph.tables[*table].name;
                lines.push(format!("{}Table: {name}", "  ".repeat(depth + 1)));
            }
        }
    }
}

/// When a query's results come out, as `EXPLAIN` prints it.
pub fn emission(emit: &Emit) -> &'static str {
    match emit {
        Emit::Default | Emit::OnWindowClose => "EMIT ON WINDOW CLOSE",
        Emit::Changes => "EMIT CHANGES",
        Emit::Every(_) => "EMIT EVERY",
    }
}
