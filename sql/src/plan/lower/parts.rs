//! A plan that operators cannot run as a whole: DataFusion runs it, over the largest
//! parts of it that operators run.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::LogicalPlan;

use super::common::Common;
use super::expr::plan_fault;
use super::{Graph, Mode, arrow_schema, lower_over};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Blame;
use crate::plan::leaf::{self, Leaf};
use crate::plan::node::{has_over, has_window};
use crate::plan::refuse;

/// A plan that DataFusion runs, over parts that Windrow runs.
#[derive(Debug)]
pub struct BatchPlan {
    /// The plan.
    pub plan: LogicalPlan,
    /// Its parts.
    pub leaves: Vec<(Arc<Leaf>, Graph)>,
    /// What several of them read: each names no other.
    pub common: Vec<Graph>,
    /// The columns of the results.
    pub schema: SchemaRef,
    /// The query that it is of.
    pub blame: Arc<Blame>,
}

impl BatchPlan {
    /// The graphs that feed it, each after those that it reads.
    pub fn graphs(&self) -> impl Iterator<Item = &Graph> {
        let leaves = self.leaves.iter().map(|(_, graph)| graph);
        self.common.iter().chain(leaves)
    }
}

/// Cuts a plan over bounded inputs into parts that operators run and the rest.
///
/// # Errors
/// If a part cannot be run.
pub fn parts(
    plan: LogicalPlan,
    mode: Mode,
    props: &ExecutionProps,
    blame: &Arc<Blame>,
) -> Result<BatchPlan> {
    let schema = arrow_schema(plan.schema());
    let (common, graphs) = Common::of(&plan, mode, props, blame)?;
    let mut leaves = Vec::new();
    let mut failed = None;
    let cut = plan.transform_down_with_subqueries(|plan| {
        if matches!(plan, LogicalPlan::Subquery(_))
            || !refuse::Streams::of(&plan).any && !has_window(&plan) && !has_over(&plan)
        {
            return Ok(Transformed::no(plan));
        }
        match lower_over(&plan, mode, props, blame, &common) {
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
        return Err(error);
    }
    let plan = cut.map_err(plan_fault)?.data;
    if has_window(&plan) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "a window function cannot stand over this input",
        )
        .help("give the window function a stream, a view, a file or a plain subquery"));
    }
    Ok(BatchPlan {
        plan,
        leaves,
        common: graphs,
        schema,
        blame: blame.clone(),
    })
}
