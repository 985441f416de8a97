//! The one value of a subquery that ends, for a query that goes on.
//!
//! It is computed in a session beside, of the same bounded streams: nothing of this session
//! is read before its script has been planned whole. So the value's readings are not among
//! those that this session accounts for.

use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;

use super::catalog::{Entry, StreamEntry, Work};
use super::job::BatchQuery;
use super::shared::Shared;
use super::{Session, SessionConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::BatchPlan;

/// How long rows are waited for before it is asked whether they are still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Computes the value; NULL if there is no row.
pub(super) fn value(shared: &Shared, plan: BatchPlan) -> Result<ScalarValue> {
    let null = none(&plan)?;
    let beside = Session::with_config(SessionConfig {
        workers: shared.workers,
        ..SessionConfig::default()
    })?;
    for stream in bounded_streams(shared) {
        let name = stream.name.clone();
        beside
            .shared
            .catalog()
            .put(&name, Entry::Stream(stream.into()));
    }
    let mut work = Work::default();
    let query = BatchQuery::attach(&beside.shared, plan, "subquery", &mut work)?;
    let running = query.start(&beside.shared)?;
    let mut found = None;
    loop {
        shared.check_cancelled()?;
        match running.look(LOOK)? {
            None => {}
            Some(None) => return Ok(found.unwrap_or(null)),
            Some(Some(rows)) => {
                if found.is_some() || rows.num_rows() > 1 {
                    return Err(too_many());
                }
                found = Some(first(&rows)?);
            }
        }
    }
}

/// A value of the type, where none is computed: what is planned with it is not run.
pub(super) fn any(plan: &BatchPlan) -> Result<ScalarValue> {
    let data_type = plan.schema.field(0).data_type();
    ScalarValue::new_default(data_type).or_else(|_| none(plan))
}

fn none(plan: &BatchPlan) -> Result<ScalarValue> {
    ScalarValue::try_from(plan.schema.field(0).data_type()).map_err(crate::exec::data_fault)
}

fn first(rows: &RecordBatch) -> Result<ScalarValue> {
    ScalarValue::try_from_array(rows.column(0), 0).map_err(crate::exec::data_fault)
}

fn too_many() -> Error {
    Error::new(
        ErrorKind::Data,
        "a subquery that stands for one value gives more than one row",
    )
    .help("take one of them: max(…), or ORDER BY … LIMIT 1")
}

fn bounded_streams(shared: &Shared) -> Vec<StreamEntry> {
    let catalog = shared.catalog();
    (catalog.entries.values())
        .filter_map(|entry| match entry {
            Entry::Stream(stream) if stream.live.is_none() => Some(stream.afresh()),
            _ => None,
        })
        .collect()
}
