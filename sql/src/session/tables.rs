//! The session's names as DataFusion sees them.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::catalog::CatalogProviderList;
use datafusion::catalog::memory::MemoryCatalogProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProviderList, SchemaProvider, TableProvider,
};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionConfig;

use super::catalog::{Entry, StreamEntry};
use super::functions;
use super::shared::Shared;
use super::stream_rules::Rules;
use super::to_timestamp;
use crate::connector::registry::Pairs;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::time_functions;
use crate::plan::{OperatorPlanner, Origin, Relation, Timing};

const CATALOG: &str = "session";
const SCHEMA: &str = "public";

/// DataFusion, set up for a session.
pub(super) fn session_state(shared: Weak<Shared>, workers: usize) -> SessionState {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false);
    if workers > 0 {
        config = config.with_target_partitions(workers);
    }
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    // A timestamp with a zone is in UTC unless it names another.
    options.execution.time_zone = Some("+00:00".into());

    let catalog = MemoryCatalogProvider::new();
    let names: Arc<dyn SchemaProvider> = Arc::new(Names(shared.clone()));
    let system: Arc<dyn SchemaProvider> = Arc::new(functions::System(shared.clone()));
    // Registering in a fresh catalogue in memory cannot fail.
    let _ = catalog.register_schema(SCHEMA, names);
    let _ = catalog.register_schema("windrow", system);
    let list = MemoryCatalogProviderList::new();
    list.register_catalog(CATALOG.into(), Arc::new(catalog));

    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_catalog_list(Arc::new(list))
        .build();
    to_timestamp::register(&mut state);
    for function in time_functions() {
        // The state's registry takes any function.
        let _ = state.register_udf(Arc::new(function));
    }
    // The state's registry takes any planner.
    let _ = state.register_expr_planner(Arc::new(OperatorPlanner));
    functions::register(&mut state, shared);
    state
}

pub(super) fn register_scalar(shared: &Shared, function: ScalarUDF) {
    let state = shared.state.write();
    let mut state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
    // The state's registry takes any function.
    let _ = state.register_udf(Arc::new(function));
}

pub(super) fn register_aggregate(shared: &Shared, function: AggregateUDF) {
    let state = shared.state.write();
    let mut state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
    // The state's registry takes any function.
    let _ = state.register_udaf(Arc::new(function));
}

#[derive(Debug)]
struct Names(Weak<Shared>);

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        match self.0.upgrade() {
            Some(shared) => shared.catalog().names(),
            None => Vec::new(),
        }
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(None);
        };
        shared
            .relation(name)
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn table_exist(&self, name: &str) -> bool {
        (self.0.upgrade()).is_some_and(|shared| shared.catalog().entries.contains_key(name))
    }
}

/// Whether a name that was not created can only be meant as a file: a dot inside one name
/// stands between quotes.
fn is_path(name: &str) -> bool {
    name == "stdin" || name.contains(['/', '*', '?', '\\', '.'])
}

impl Shared {
    /// What a name stands for in a query.
    fn relation(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(entry) = self.entry(name)? else {
            return Ok(None);
        };
        let relation = match &entry {
            Entry::Stream(stream) => Relation {
                name: name.into(),
                schema: stream.schema(),
                origin: Origin::Stream,
                timing: stream.timing(),
                settles: Vec::new(),
            },
            Entry::Table(table) => Relation {
                name: name.into(),
                schema: table.schema.clone(),
                origin: Origin::Rows(table.clone()),
                timing: Timing {
                    bounded: true,
                    ..Timing::default()
                },
                settles: Vec::new(),
            },
            Entry::View(view) => match (&view.kept, &view.plan) {
                (Some(kept), _) => Relation {
                    name: name.into(),
                    schema: view.schema.clone(),
                    origin: Origin::View(Arc::new(kept.clone())),
                    timing: kept.timing.clone(),
                    settles: vec![name.into()],
                },
                (None, Some(plan)) => {
                    let table = ViewTable::new(plan.clone(), Some(view.text.clone()));
                    return Ok(Some(Arc::new(table)));
                }
                (None, None) => return Ok(None),
            },
            Entry::Sink(_) => {
                return Err(Error::new(
                    ErrorKind::Plan,
                    format!("{name} is a sink: rows go into it, not out of it"),
                )
                .help("read the view that feeds it, or the file that it writes"));
            }
        };
        Ok(Some(Arc::new(relation)))
    }

    /// What was created under a name, or the files that it means.
    pub(super) fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let entry = self.catalog().entries.get(name).cloned();
        match entry {
            None if is_path(name) => self.file(name).map(Some),
            entry => Ok(entry),
        }
    }

    /// A file, a pattern of files or the standard input, named in a query.
    fn file(&self, name: &str) -> Result<Entry> {
        let (connector, options) = match name {
            "stdin" => ("stdin", Pairs::new()),
            path => (
                "file",
                Pairs::from([("path".to_string(), path.to_string())]),
            ),
        };
        let (source, _) = self.connectors().get(connector)?.source(&options, None)?;
        let entry = StreamEntry {
            name: name.into(),
            rules: Rules::none(source.schema()),
            event_time: None,
            watermark: None,
            live: None,
            on_error: Default::default(),
            expect: None,
            connector: Some(source),
            connector_name: connector.into(),
            implicit: true,
            place: None,
            readings: Default::default(),
        };
        // Another thread may have named it meanwhile: all read the same.
        let mut catalog = self.catalog();
        let entry =
            (catalog.entries.entry(name.into())).or_insert_with(|| Entry::Stream(Arc::new(entry)));
        Ok(entry.clone())
    }
}
