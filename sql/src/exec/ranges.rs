//! Which ranges of values a condition excludes, as DataFusion finds for files of its own.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};

use super::rows::ColumnExpr;
use crate::format::passing::{Excludes, Ranges};

/// The condition of a query over columns of a source.
#[derive(Debug)]
pub struct RangeCondition {
    predicate: PruningPredicate,
    /// Their names in the condition, and their places in the source.
    columns: Vec<(String, usize)>,
}

impl RangeCondition {
    /// A condition over columns of `schema`, which stand at `places` in the source.
    /// `None`: it excludes no range.
    pub fn new(condition: &ColumnExpr, schema: &SchemaRef, places: &[usize]) -> Option<Self> {
        let predicate = PruningPredicateBuilder::new()
            .with_file_schema(schema.clone())
            .try_build(condition.clone())
            .ok()?;
        let names = schema.fields().iter().map(|field| field.name().clone());
        (!predicate.always_true()).then(|| Self {
            predicate,
            columns: names.zip(places.iter().copied()).collect(),
        })
    }
}

impl Excludes for RangeCondition {
    fn excluded(&self, ranges: &Ranges) -> Vec<bool> {
        let statistics = Statistics {
            columns: &self.columns,
            ranges,
        };
        match self.predicate.prune(&statistics) {
            Ok(kept) => kept.into_iter().map(|kept| !kept).collect(),
            // The rows themselves tell what is wrong with the condition.
            Err(_) => vec![false; ranges.parts],
        }
    }
}

struct Statistics<'a> {
    columns: &'a [(String, usize)],
    ranges: &'a Ranges,
}

impl Statistics<'_> {
    fn range(&self, column: &Column) -> Option<&(ArrayRef, ArrayRef)> {
        let (_, place) = self.columns.iter().find(|(name, _)| *name == column.name)?;
        self.ranges.columns.get(*place)?.as_ref()
    }
}

impl PruningStatistics for Statistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        Some(self.range(column)?.0.clone())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        Some(self.range(column)?.1.clone())
    }

    fn num_containers(&self) -> usize {
        self.ranges.parts
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        // Where there are NULLs, nothing is known.
        let (least, _) = self.range(column)?;
        let counts = (0..least.len()).map(|part| least.is_valid(part).then_some(0));
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(
        &self,
        _: &Column,
        _: &HashSet<ScalarValue>,
    ) -> Option<arrow::array::BooleanArray> {
        None
    }
}
