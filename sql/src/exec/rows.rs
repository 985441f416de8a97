//! Stateless stretches of a query: conditions, then columns, over one batch.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use windrow_core::batch::Batch;
use windrow_core::error::{Error, Result};
use windrow_core::operator::RowFunction;

use super::blame::Blame;
use super::fault::data_fault;

/// An expression over a batch's columns.
pub type ColumnExpr = Arc<dyn PhysicalExpr>;

/// Conditions in order, then the columns that remain.
pub struct Stretch {
    name: &'static str,
    conditions: Vec<ColumnExpr>,
    columns: Vec<ColumnExpr>,
    /// The input's columns by place, where nothing has to be computed.
    places: Option<Vec<usize>>,
    schema: SchemaRef,
    blame: Option<Arc<Blame>>,
}

impl Stretch {
    /// A stretch; `columns` are of `schema`'s types.
    pub fn new(
        name: &'static str,
        conditions: Vec<ColumnExpr>,
        columns: Vec<ColumnExpr>,
        schema: SchemaRef,
    ) -> Self {
        let places = (columns.iter())
            .map(|column| column.downcast_ref::<Column>().map(Column::index))
            .collect();
        Self {
            name,
            conditions,
            columns,
            places,
            schema,
            blame: None,
        }
    }

    /// The same, with the query that its expressions stand in.
    #[must_use]
    pub fn of(mut self, query: &Arc<Blame>) -> Self {
        self.blame = Some(query.clone());
        self
    }

    fn evaluate(&self, expr: &ColumnExpr, records: &RecordBatch) -> Result<ArrayRef> {
        computed(expr, records).map_err(|error| {
            Error::from(match &self.blame {
                Some(query) => query.fault(error),
                None => data_fault(error),
            })
        })
    }
}

impl fmt::Debug for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        write!(f, "{}: {}", self.name, columns.join(", "))?;
        for condition in &self.conditions {
            write!(f, " where {condition}")?;
        }
        Ok(())
    }
}

pub(super) fn evaluate(expr: &ColumnExpr, records: &RecordBatch) -> Result<ArrayRef> {
    computed(expr, records).map_err(|error| Error::from(data_fault(error)))
}

fn computed(expr: &ColumnExpr, records: &RecordBatch) -> DfResult<ArrayRef> {
    expr.evaluate(records)?.into_array(records.num_rows())
}

impl RowFunction for Stretch {
    fn name(&self) -> &str {
        self.name
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn apply(&mut self, mut batch: Batch) -> Result<Batch> {
        for condition in &self.conditions {
            let mask = self.evaluate(condition, &batch.records)?;
            let mask = (mask.as_boolean_opt())
                .ok_or_else(|| Error::invalid("a condition is no BOOLEAN"))?;
            if mask.true_count() < mask.len() {
                batch = batch.filter(mask)?;
            }
        }
        let columns = match &self.places {
            Some(places) => (places.iter())
                .map(|place| batch.records.column(*place).clone())
                .collect(),
            None => (self.columns.iter())
                .map(|column| self.evaluate(column, &batch.records))
                .collect::<Result<Vec<_>>>()?,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let records = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(Batch {
            records,
            behind: batch.behind,
        })
    }
}
