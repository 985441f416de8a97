//! Tables that the session itself fills: `late('s')`, `rejected('s')`,
//! `windrow.streams`, `windrow.queries`, `windrow.operators`.

use std::fmt;
use std::sync::{Arc, Weak};

use arrow::array::{
    ArrayRef, DurationMicrosecondArray, DurationMillisecondArray, DurationNanosecondArray,
    DurationSecondArray, RecordBatch, StringArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use windrow_core::time;

use super::catalog::{Entry, StreamEntry};
use super::shared::Shared;
use super::show;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::plan::{Origin, Relation, RowsNow, Timing};

pub(super) fn register(state: &mut SessionState, shared: Weak<Shared>) {
    for kind in [RowsOf::Late, RowsOf::Rejected] {
        let function = RowsFunction {
            shared: shared.clone(),
            kind,
        };
        state.register_udtf(kind.name(), Arc::new(function));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowsOf {
    Late,
    Rejected,
}

impl RowsOf {
    fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Rejected => "rejected",
        }
    }
}

#[derive(Debug)]
struct RowsFunction {
    shared: Weak<Shared>,
    kind: RowsOf,
}

impl TableFunctionImpl for RowsFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> DfResult<Arc<dyn TableProvider>> {
        self.relation(args.exprs())
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

impl RowsFunction {
    fn relation(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let kind = self.kind.name();
        let [Expr::Literal(ScalarValue::Utf8(Some(name)), _)] = args else {
            return Err(Error::new(
                ErrorKind::Plan,
                format!("{kind} takes the name of a stream in quotation marks"),
            )
            .help(format!("for example {kind}('readings')")));
        };
        let Some(shared) = self.shared.upgrade() else {
            return Err(Error::new(ErrorKind::Cancelled, "the session is closed"));
        };
        let catalog = shared.catalog();
        let stream = match catalog.entries.get(name) {
            Some(Entry::Stream(stream)) => stream.clone(),
            other => {
                let streams = (catalog.entries.iter())
                    .filter(|(_, entry)| matches!(entry, Entry::Stream(_)))
                    .map(|(name, _)| name.as_str());
                let message = match other {
                    Some(entry) => format!("\"{name}\" is a {}, not a stream", entry.noun()),
                    None => format!("there is no stream \"{name}\""),
                };
                let error = Error::new(ErrorKind::Plan, message);
                return Err(match nearest(name, streams) {
                    Some(meant) => error.help(format!("did you mean '{meant}'?")),
                    None => error.help("SHOW STREAMS lists them"),
                });
            }
        };
        drop(catalog);
        let schema = match self.kind {
            RowsOf::Late => late_schema(&stream),
            RowsOf::Rejected => rejected_schema(),
        };
        Ok(Arc::new(Relation {
            name: format!("{kind}('{name}')"),
            schema: schema.clone(),
            origin: Origin::Rows(Arc::new(StreamRows {
                shared: self.shared.clone(),
                stream,
                kind: self.kind,
                schema,
            })),
            timing: Timing {
                bounded: true,
                ..Timing::default()
            },
            settles: vec![name.clone()],
        }))
    }
}

fn unit(stream: &StreamEntry) -> TimeUnit {
    (stream.event_time)
        .and_then(|time| {
            let schema = stream.schema();
            time::time_unit(schema.field(time.column).data_type()).ok()
        })
        .unwrap_or(TimeUnit::Microsecond)
}

/// The stream's columns, the query that a row was late for, and by how much.
fn late_schema(stream: &StreamEntry) -> SchemaRef {
    let schema = stream.schema();
    let own = schema.fields().iter().cloned();
    let added = [
        Arc::new(Field::new("query", DataType::Utf8, true)),
        Arc::new(Field::new(
            "late_by",
            DataType::Duration(unit(stream)),
            true,
        )),
    ];
    Arc::new(Schema::new(own.chain(added).collect::<Vec<_>>()))
}

fn rejected_schema() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        field("text"),
        field("position"),
        field("reason"),
        field("rule"),
    ]))
}

struct StreamRows {
    shared: Weak<Shared>,
    stream: Arc<StreamEntry>,
    kind: RowsOf,
    schema: SchemaRef,
}

impl fmt::Debug for StreamRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}('{}')", self.kind.name(), self.stream.name)
    }
}

impl RowsNow for StreamRows {
    fn rows(&self) -> Result<Vec<RecordBatch>> {
        let Some(shared) = self.shared.upgrade() else {
            return Ok(Vec::new());
        };
        let readings = self.stream.readings().list.clone();
        let driver = shared.driver();
        let mut batches = Vec::new();
        match self.kind {
            RowsOf::Late => {
                for reading in readings {
                    for late in driver.engine.late_rows(reading.id)? {
                        let rows = late.rows.num_rows();
                        let mut columns = late.rows.columns().to_vec();
                        let query: ArrayRef =
                            Arc::new(StringArray::from(vec![late.query.as_ref(); rows]));
                        columns.push(query);
                        columns.push(durations(unit(&self.stream), late.late_by));
                        batches.push(self.batch(columns)?);
                    }
                }
            }
            RowsOf::Rejected => {
                // Every reading meets the same rejects: the newest one's are enough.
                if let Some(reading) = readings.last() {
                    let rejects = driver.engine.rejects(reading.id)?;
                    let column = |text: fn(&windrow_core::stream::Reject) -> &str| -> ArrayRef {
                        Arc::new(StringArray::from_iter_values(rejects.iter().map(text)))
                    };
                    batches.push(self.batch(vec![
                        column(|reject| &reject.text),
                        column(|reject| &reject.position),
                        column(|reject| &reject.reason),
                        column(|reject| &reject.rule),
                    ])?);
                }
            }
        }
        let whole = concat_batches(&self.schema, &batches)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        Ok(vec![whole])
    }
}

impl StreamRows {
    fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }
}

fn durations(unit: TimeUnit, ticks: Vec<i64>) -> ArrayRef {
    match unit {
        TimeUnit::Second => Arc::new(DurationSecondArray::from(ticks)),
        TimeUnit::Millisecond => Arc::new(DurationMillisecondArray::from(ticks)),
        TimeUnit::Microsecond => Arc::new(DurationMicrosecondArray::from(ticks)),
        TimeUnit::Nanosecond => Arc::new(DurationNanosecondArray::from(ticks)),
    }
}

/// The schema `windrow`: tables about the session.
#[derive(Debug)]
pub(super) struct System(pub(super) Weak<Shared>);

#[derive(Debug)]
struct SystemRows {
    shared: Weak<Shared>,
    rows: fn(&Shared) -> Result<RecordBatch>,
}

impl RowsNow for SystemRows {
    fn rows(&self) -> Result<Vec<RecordBatch>> {
        match self.shared.upgrade() {
            Some(shared) => Ok(vec![(self.rows)(&shared)?]),
            None => Ok(Vec::new()),
        }
    }
}

type SystemTable = (&'static str, fn(&Shared) -> Result<RecordBatch>);

const SYSTEM_TABLES: [SystemTable; 3] = [
    ("streams", show::stream_stats),
    ("queries", show::query_stats),
    ("operators", show::operator_stats),
];

/// The rows of a system table now, `None` if there is none of this name: `windrow.streams`.
pub(super) fn system_rows(shared: &Shared, name: &str) -> Option<Result<RecordBatch>> {
    let name = name.strip_prefix("windrow.")?;
    let (_, rows) = SYSTEM_TABLES.iter().find(|(known, _)| *known == name)?;
    Some(rows(shared))
}

#[async_trait]
impl SchemaProvider for System {
    fn table_names(&self) -> Vec<String> {
        SYSTEM_TABLES
            .iter()
            .map(|(name, _)| name.to_string())
            .collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let Some((_, rows)) = SYSTEM_TABLES.iter().find(|(known, _)| *known == name) else {
            return Ok(None);
        };
        let Some(shared) = self.0.upgrade() else {
            return Ok(None);
        };
        let now = rows(&shared).map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Some(Arc::new(Relation {
            name: format!("windrow.{name}"),
            schema: now.schema(),
            origin: Origin::Rows(Arc::new(SystemRows {
                shared: self.0.clone(),
                rows: *rows,
            })),
            timing: Timing {
                bounded: true,
                ..Timing::default()
            },
            settles: vec!["*".into()],
        })))
    }

    fn table_exist(&self, name: &str) -> bool {
        SYSTEM_TABLES.iter().any(|(known, _)| *known == name)
    }
}
