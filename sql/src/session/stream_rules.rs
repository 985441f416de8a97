//! The rules of a stream as they were declared, from which each reading's are made.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_expr::utils::collect_columns;

use crate::exec::{CheckRule, ColumnExpr, ComputedColumn, StreamRules};

/// What a stream makes of its source's rows; each reading gets a copy.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) schema: SchemaRef,
    pub(super) working: SchemaRef,
    pub(super) computed: Vec<ComputedColumn>,
    pub(super) places: Vec<usize>,
    pub(super) not_null: Vec<usize>,
    pub(super) checks: Vec<CheckRule>,
    /// Where each column comes from and what holds for it, for `DESCRIBE`.
    pub(super) notes: Vec<String>,
}

impl Rules {
    /// No rules: rows pass as they are.
    pub(super) fn none(schema: SchemaRef) -> Self {
        Self {
            working: schema.clone(),
            computed: Vec::new(),
            places: (0..schema.fields().len()).collect(),
            not_null: Vec::new(),
            checks: Vec::new(),
            notes: vec![String::new(); schema.fields().len()],
            schema,
        }
    }

    /// The columns that the source gives.
    pub(super) fn source_schema(&self) -> SchemaRef {
        let fields = self.working.fields();
        let source = fields.len() - self.computed.len();
        Arc::new(Schema::new(fields[..source].to_vec()))
    }

    /// Whether a row is taken as it is, if it has a value wherever one is demanded.
    pub(super) fn take_each_alike(&self) -> bool {
        self.computed.is_empty() && self.checks.is_empty()
    }

    /// Which columns of the source are needed (`[columns]`) for the declared ones at the
    /// places `asked` and for the rules: what is rejected does not depend on what is asked
    /// for.
    pub(super) fn source_columns(&self, asked: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let used = |expr: &ColumnExpr| {
            let columns = collect_columns(expr).into_iter();
            columns.map(|column| column.index()).collect::<Vec<_>>()
        };
        let mut needed = vec![false; self.working.fields().len()];
        let checked = self.checks.iter().flat_map(|check| used(&check.expr));
        let declared = (asked.into_iter()).chain(self.not_null.iter().copied());
        for place in declared.chain(checked) {
            needed[self.places[place]] = true;
        }
        for place in self
            .computed
            .iter()
            .flat_map(|computed| used(&computed.expr))
        {
            needed[place] = true;
        }
        needed.truncate(self.working.fields().len() - self.computed.len());
        needed
    }

    pub(super) fn prepare(&self) -> Box<StreamRules> {
        Box::new(StreamRules {
            schema: self.schema.clone(),
            working: self.working.clone(),
            computed: self.computed.clone(),
            places: self.places.clone(),
            not_null: self.not_null.clone(),
            checks: self.checks.clone(),
        })
    }
}
