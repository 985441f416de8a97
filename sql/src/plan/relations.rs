//! What a table's name stands for while a query is planned.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, Result as DfResult};
use datafusion::datasource::source_as_provider;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};

use crate::error::Result;

/// Rows as they are at the moment of reading: a view's, a system table's.
pub trait RowsNow: Debug + Send + Sync {
    /// The rows.
    ///
    /// # Errors
    /// If they cannot be read.
    fn rows(&self) -> Result<Vec<RecordBatch>>;
}

/// A column in event time: no later row lies before (watermark − lag) in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeColumn {
    /// Its place.
    pub column: usize,
    /// How far it may lie behind the watermark, in ticks.
    pub lag: i64,
}

/// How the rows of a relation follow the event time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timing {
    /// The columns that follow the watermark.
    pub columns: Vec<TimeColumn>,
    /// Whether there is a watermark before the end.
    pub watermarked: bool,
    /// Whether the rows end.
    pub bounded: bool,
}

/// Where the rows of a relation come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A stream, by the name it is read under.
    Stream,
    /// A materialized view: its rows now, or those to come.
    View(Arc<dyn RowsNow>),
    /// Rows that are there: a table in memory, late rows, statistics.
    Rows(Arc<dyn RowsNow>),
}

/// A stream, a view or a table in a plan.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Where its rows come from.
    pub origin: Origin,
    /// How they follow the event time.
    pub timing: Timing,
    /// The streams and views that are read to their ends, where they have one, before
    /// rows of now are.
    pub settles: Vec<String>,
}

impl Relation {
    /// The relation that a scan reads.
    pub fn of(scan: &TableScan) -> Option<Arc<Self>> {
        let provider = source_as_provider(&scan.source).ok()?;
        provider.downcast_ref::<Self>().cloned().map(Arc::new)
    }
}

#[async_trait]
impl TableProvider for Relation {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        match self.origin {
            Origin::View(_) => TableType::View,
            _ => TableType::Base,
        }
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rows = match &self.origin {
            Origin::View(rows) | Origin::Rows(rows) => rows.clone(),
            Origin::Stream => {
                return datafusion::common::internal_err!("stream {} is not scanned", self.name);
            }
        };
        let partition = RowsPartition {
            schema: self.schema.clone(),
            rows,
        };
        let exec = StreamingTableExec::try_new(
            self.schema.clone(),
            vec![Arc::new(partition)],
            projection,
            [],
            false,
            limit,
        )?;
        Ok(Arc::new(exec))
    }
}

#[derive(Debug)]
struct RowsPartition {
    schema: SchemaRef,
    rows: Arc<dyn RowsNow>,
}

impl PartitionStream for RowsPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches: Vec<DfResult<RecordBatch>> = match self.rows.rows() {
            Ok(batches) => batches.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(datafusion::common::DataFusionError::External(
                Box::new(error),
            ))],
        };
        Box::pin(RecordBatchStreamAdapter::new(
            self.schema.clone(),
            futures::stream::iter(batches),
        ))
    }
}

/// The relations that a plan reads.
pub fn relations(plan: &LogicalPlan) -> Vec<Arc<Relation>> {
    let mut relations = Vec::new();
    // Visiting cannot fail: the closure does not.
    let _ = plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            relations.extend(Relation::of(scan));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    relations
}

/// The event-time column of a plan that reads one stream, if it is still there.
pub fn event_time_column(plan: &LogicalPlan) -> Option<Column> {
    let mut below = plan;
    let relation = loop {
        match below {
            LogicalPlan::TableScan(scan) => break Relation::of(scan)?,
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
                below = below.inputs().first().copied()?
            }
            _ => return None,
        }
    };
    let time = relation
        .timing
        .columns
        .iter()
        .find(|column| column.lag == 0)?;
    let name = relation.schema.field(time.column).name();
    let (qualifier, field) = plan
        .schema()
        .qualified_field_with_unqualified_name(name)
        .ok()?;
    Some(Column::new(qualifier.cloned(), field.name()))
}
