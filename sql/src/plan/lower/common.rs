//! Windows that several parts of a query need are computed once; each part goes on from
//! their results.
//!
//! ```text
//!                    ┌─▶ project ──────────────────────▶ leaf ─┐
//!  stream ─▶ windows ┤                                         ├─▶ join
//!                    └─▶ project ─▶ the greatest of each ─▶ leaf ─┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{LogicalPlan, TableScan};

use super::expr::plan_fault;
use super::{Graph, Mode, lower};
use crate::error::Result;
use crate::exec::Blame;
use crate::plan::depth;
use crate::plan::node::has_window;
use crate::plan::relations::{Origin, Relation, RowsNow, Timing};

/// Deeper plans are not searched: all that lies below a step is compared for each step.
const SEARCHED_DEPTH_MAX: usize = 100;

/// The subplans of a query that are computed once.
#[derive(Debug, Default)]
pub(super) struct Common {
    places: HashMap<LogicalPlan, Place>,
}

/// Where the rows of a common subplan come from.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its place among [`super::BatchPlan::common`].
    pub(super) graph: usize,
    pub(super) schema: SchemaRef,
    pub(super) timing: Timing,
    /// Whether its windows close by the times of a table: what follows has to keep up.
    pub(super) closes_by_table: bool,
}

impl Common {
    /// Finds the largest subplans with windows that stand more than once in `plan`, and
    /// lowers each of them.
    ///
    /// # Errors
    /// If one cannot be run.
    pub(super) fn of(
        plan: &LogicalPlan,
        mode: Mode,
        props: &ExecutionProps,
        blame: &Arc<Blame>,
    ) -> Result<(Self, Vec<Graph>)> {
        let (mut common, mut graphs) = (Self::default(), Vec::new());
        if depth(plan) > SEARCHED_DEPTH_MAX {
            return Ok((common, graphs));
        }
        let mut times: HashMap<&LogicalPlan, usize> = HashMap::new();
        each_with_windows(plan, &mut |plan| {
            *times.entry(plan).or_default() += 1;
            Ok(true)
        })?;
        if times.values().all(|times| *times < 2) {
            return Ok((common, graphs));
        }
        let tables = Tables::of(plan);
        each_with_windows(plan, &mut |plan| {
            if common.places.contains_key(plan) {
                return Ok(false);
            }
            if times[plan] < 2 || !is_repeatable(plan, &tables)? {
                return Ok(true);
            }
            let Some(graph) = lower(plan, mode, props, blame)? else {
                return Ok(true);
            };
            let place = Place {
                graph: graphs.len(),
                schema: graph.schema.clone(),
                timing: graph.timing.clone(),
                closes_by_table: graph.tables.iter().any(|table| table.time.is_some()),
            };
            common.places.insert(plan.clone(), place);
            graphs.push(graph);
            Ok(false)
        })?;
        Ok((common, graphs))
    }

    /// Where the rows of `plan` come from, if it is computed once for several parts.
    pub(super) fn place(&self, plan: &LogicalPlan) -> Option<&Place> {
        match self.places.is_empty() {
            true => None,
            false => self.places.get(plan),
        }
    }
}

/// Visits the subplans with windows from above; `visit` says whether to go below.
fn each_with_windows<'a>(
    plan: &'a LogicalPlan,
    visit: &mut dyn FnMut(&'a LogicalPlan) -> Result<bool>,
) -> Result<()> {
    if !has_window(plan) {
        return Ok(());
    }
    if visit(plan)? {
        for input in plan.inputs() {
            each_with_windows(input, visit)?;
        }
    }
    Ok(())
}

/// The tables in memory that a plan reads: plans are compared by names, and calls of a table
/// function may have one name for different rows.
#[derive(Debug, Default)]
struct Tables {
    /// `None`: the name stands for more than one.
    rows: HashMap<TableReference, Option<Arc<dyn RowsNow>>>,
}

impl Tables {
    fn of(plan: &LogicalPlan) -> Self {
        let mut tables = Self::default();
        // Visiting cannot fail: the closure does not.
        let _ = plan.apply_with_subqueries(|plan| {
            if let LogicalPlan::TableScan(scan) = plan
                && let Some(rows) = rows_of(scan)
            {
                let known = (tables.rows.entry(scan.table_name.clone()))
                    .or_insert_with(|| Some(rows.clone()));
                if !known
                    .as_ref()
                    .is_some_and(|known| Arc::ptr_eq(known, &rows))
                {
                    *known = None;
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        tables
    }

    /// Whether all scans of this name read the same rows.
    fn is_one(&self, scan: &TableScan) -> bool {
        matches!(self.rows.get(&scan.table_name), Some(Some(_)))
    }
}

/// The rows that a scan of a table in memory reads.
fn rows_of(scan: &TableScan) -> Option<Arc<dyn RowsNow>> {
    match &Relation::of(scan)?.origin {
        Origin::Rows(rows) => Some(rows.clone()),
        Origin::Stream | Origin::View(_) => None,
    }
}

/// Whether a subplan gives the same rows wherever it stands: it reads streams and tables
/// that are known by their names, and computes nothing that differs from call to call.
fn is_repeatable(plan: &LogicalPlan, tables: &Tables) -> Result<bool> {
    let mut repeatable = true;
    plan.apply_with_subqueries(|plan| {
        repeatable &= match plan {
            LogicalPlan::TableScan(scan) => {
                let relation = Relation::of(scan);
                relation.is_some_and(|relation| match relation.origin {
                    Origin::Stream => true,
                    Origin::Rows(_) => tables.is_one(scan),
                    Origin::View(_) => false,
                })
            }
            plan => !plan.expressions().iter().any(|expr| expr.is_volatile()),
        };
        Ok(match repeatable {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    })
    .map_err(plan_fault)?;
    Ok(repeatable)
}
