//! What a stream makes of the rows of its source: computed columns, NOT NULL, CHECK.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use windrow_core::error::{Error, Result};
use windrow_core::pipeline::{Prepare, Prepared, Violation};

use super::rows::{ColumnExpr, evaluate};

/// A computed column.
#[derive(Debug, Clone)]
pub struct ComputedColumn {
    /// Its name.
    pub name: String,
    /// Its value over the columns before it.
    pub expr: ColumnExpr,
}

/// A CHECK: a row where it is FALSE is rejected; NULL passes.
#[derive(Debug, Clone)]
pub struct CheckRule {
    /// The constraint's name, or its text.
    pub name: String,
    /// The condition over all columns.
    pub expr: ColumnExpr,
}

/// The rules of one stream.
#[derive(Debug)]
pub struct StreamRules {
    /// The columns of accepted rows, in the order of their declaration.
    pub schema: SchemaRef,
    /// The source's columns followed by the computed ones, as the expressions count.
    pub working: SchemaRef,
    /// Computed one after the other, each over the source's columns and those before.
    pub computed: Vec<ComputedColumn>,
    /// The place among the working columns of each declared column.
    pub places: Vec<usize>,
    /// Declared columns that refuse NULL.
    pub not_null: Vec<usize>,
    /// Conditions over the declared columns.
    pub checks: Vec<CheckRule>,
}

/// Evaluates over a batch; where that fails, row by row, so that one bad row does not
/// take the others with it.
fn evaluate_each(
    expr: &ColumnExpr,
    records: &RecordBatch,
    mut failed: impl FnMut(usize, String),
) -> Result<ArrayRef> {
    let whole = evaluate(expr, records);
    if whole.is_ok() || records.num_rows() == 0 {
        return whole;
    }
    let data_type = (expr.data_type(records.schema_ref()))
        .map_err(|error| Error::from(super::fault::data_fault(error)))?;
    let values: Vec<ArrayRef> = (0..records.num_rows())
        .map(|row| match evaluate(expr, &records.slice(row, 1)) {
            Ok(value) => value,
            Err(error) => {
                failed(row, crate::Error::from(error).message().to_owned());
                new_null_array(&data_type, 1)
            }
        })
        .collect();
    let values: Vec<&dyn Array> = values.iter().map(|value| &**value).collect();
    Ok(concat(&values)?)
}

impl Prepare for StreamRules {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn prepare(&mut self, records: &RecordBatch) -> Result<Prepared> {
        let rows = records.num_rows();
        let count = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut violations: Vec<Violation> = Vec::new();
        let mut columns = records.columns().to_vec();
        for computed in &self.computed {
            let fields = self.working.fields()[..columns.len()].to_vec();
            let schema = Arc::new(Schema::new(fields));
            // A stream may have computed columns only: rows are what it has then.
            let before = RecordBatch::try_new_with_options(schema, columns.clone(), &count)?;
            let value = evaluate_each(&computed.expr, &before, |row, reason| {
                violations.push(Violation {
                    row,
                    rule: format!("computed column {}", computed.name),
                    reason,
                });
            })?;
            columns.push(value);
        }
        let declared = self.places.iter().map(|place| columns[*place].clone());
        let declared = declared.collect();
        let records = RecordBatch::try_new_with_options(self.schema.clone(), declared, &count)?;

        for column in &self.not_null {
            let values = records.column(*column);
            if values.null_count() > 0 {
                let name = self.schema.field(*column).name();
                let nulls = (0..rows).filter(|row| values.is_null(*row));
                violations.extend(nulls.map(|row| Violation {
                    row,
                    rule: "not null".into(),
                    reason: format!("column {name} is NULL"),
                }));
            }
        }
        for check in &self.checks {
            let passed = evaluate_each(&check.expr, &records, |row, reason| {
                violations.push(Violation {
                    row,
                    rule: check.name.clone(),
                    reason,
                });
            })?;
            let passed =
                (passed.as_boolean_opt()).ok_or_else(|| Error::invalid("a CHECK is no BOOLEAN"))?;
            if passed.false_count() > 0 {
                let broken = (0..rows).filter(|row| passed.is_valid(*row) && !passed.value(*row));
                violations.extend(broken.map(|row| Violation {
                    row,
                    rule: check.name.clone(),
                    reason: format!("the check {} is false", check.name),
                }));
            }
        }
        // The first rule that a row breaks is the one it is rejected under.
        violations.sort_by_key(|violation| violation.row);
        violations.dedup_by_key(|violation| violation.row);
        Ok(Prepared {
            records,
            violations,
        })
    }

    fn describe(&self, records: &RecordBatch, row: usize) -> String {
        let options = FormatOptions::default();
        let values = records.columns().iter().map(|column| {
            (ArrayFormatter::try_new(column, &options))
                .map(|formatter| formatter.value(row).to_string())
                .unwrap_or_default()
        });
        values.collect::<Vec<_>>().join(",")
    }
}
