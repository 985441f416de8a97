//! The rules of a stream as they were declared, from which each reading's are made.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use crate::exec::{CheckRule, ComputedColumn, StreamRules};

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
