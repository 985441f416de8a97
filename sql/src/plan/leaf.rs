//! A part of a plan that Windrow runs, as a table for the part that DataFusion runs.

use std::fmt::{self, Debug};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DataFusionError, Result as DfResult, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
    Statistics, StatisticsArgs,
};

use windrow_core::batch::renamed;

use crate::error::Result;

/// Gives the rows of a leaf, one batch after the other.
pub trait LeafSource: Debug + Send + Sync {
    /// The next rows, waiting for them as long as it takes; `None` after the last.
    ///
    /// # Errors
    /// If the part of the query below has failed, or was cancelled.
    fn next(&self) -> Result<Option<RecordBatch>>;
}

/// A leaf of a plan; its rows are plugged in when the query starts.
#[derive(Debug)]
pub struct Leaf {
    schema: SchemaRef,
    /// About how many rows it gives, for the choice between ways to join.
    rows: usize,
    source: OnceLock<Arc<dyn LeafSource>>,
}

impl Leaf {
    /// A leaf with the columns of a plan, under names of its own: a plan's columns may
    /// have the same names under different tables.
    fn new(plan: &LogicalPlan) -> Self {
        let fields = plan.schema().fields().iter().enumerate();
        let fields: Vec<Field> = fields
            .map(|(place, field)| {
                let data_type = field.data_type().clone();
                Field::new(format!("c{place}"), data_type, field.is_nullable())
            })
            .collect();
        Self {
            schema: Arc::new(Schema::new(fields)),
            rows: about_rows(plan),
            source: OnceLock::new(),
        }
    }

    /// Plugs the rows in. Only the first call counts.
    pub fn plug(&self, source: Arc<dyn LeafSource>) {
        // A second source would mean that a leaf is run twice, which nothing does.
        let _ = self.source.set(source);
    }
}

/// About how many rows a plan gives. Nothing is known of the streams but that what has been
/// aggregated is shorter than what has not.
fn about_rows(plan: &LogicalPlan) -> usize {
    const STREAM_ROWS: usize = 1_000_000_000;
    const ROWS_OF_A_GROUP: usize = 1_000;
    let of_inputs = plan.inputs().into_iter().map(about_rows);
    let rows = match plan {
        LogicalPlan::TableScan(_) => STREAM_ROWS,
        _ => of_inputs.fold(0, usize::saturating_add),
    };
    match plan {
        LogicalPlan::Aggregate(_) => (rows / ROWS_OF_A_GROUP).max(1),
        _ => rows,
    }
}

/// A scan of a new leaf in place of `plan`: the same columns under the same names.
pub fn in_place_of(plan: &LogicalPlan) -> DfResult<(LogicalPlan, Arc<Leaf>)> {
    const TABLE: &str = "part";
    let leaf = Arc::new(Leaf::new(plan));
    let source = provider_as_source(Arc::new(LeafTable(leaf.clone())));
    let columns = plan
        .schema()
        .iter()
        .enumerate()
        .map(|(place, (qualifier, field))| {
            let column = Column::new(Some(TableReference::bare(TABLE)), format!("c{place}"));
            Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
        });
    let columns: Vec<Expr> = columns.collect();
    let scan = LogicalPlanBuilder::scan(TABLE, source, None)?
        .project(columns)?
        .build()?;
    Ok((scan, leaf))
}

#[derive(Debug, Clone)]
struct LeafTable(Arc<Leaf>);

#[async_trait]
impl TableProvider for LeafTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        // One partition: the rows keep their order.
        let partitions: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(self.clone())];
        let schema = self.0.schema.clone();
        let read = StreamingTableExec::try_new(schema, partitions, projection, [], false, limit)?;
        Ok(Arc::new(LeafExec {
            read: Arc::new(read),
            rows: self.0.rows,
        }))
    }
}

/// The reading of a leaf, with about how many rows it gives: a join then keeps the rows of
/// its smaller side.
#[derive(Debug)]
struct LeafExec {
    read: Arc<dyn ExecutionPlan>,
    rows: usize,
}

impl DisplayAs for LeafExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeafExec: about {} rows", self.rows)
    }
}

impl ExecutionPlan for LeafExec {
    fn name(&self) -> &'static str {
        "LeafExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.read.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        self.read.execute(partition, context)
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        let unknown = Statistics::new_unknown(&self.schema());
        let rows = Precision::Inexact(self.rows);
        Ok(Arc::new(unknown.with_num_rows(rows)))
    }

    fn fetch(&self) -> Option<usize> {
        self.read.fetch()
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self {
            read: self.read.with_fetch(limit)?,
            rows: limit.map_or(self.rows, |limit| limit.min(self.rows)),
        }))
    }
}

impl PartitionStream for LeafTable {
    fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = self.0.schema.clone();
        let source = self.0.source.get().cloned();
        let names = schema.clone();
        let mut over = false;
        let batches = std::iter::from_fn(move || {
            if over {
                return None;
            }
            let next = match &source {
                Some(source) => source
                    .next()
                    .map_err(|error| DataFusionError::External(Box::new(error))),
                None => datafusion::common::internal_err!("a part of the query was not started"),
            };
            over = !matches!(next, Ok(Some(_)));
            let batch = next.transpose()?;
            Some(batch.and_then(|batch| {
                renamed(&batch, &names).map_err(|error| DataFusionError::External(Box::new(error)))
            }))
        });
        let batches = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}
