//! From statements to what can run: names, plans, queries attached; nothing is read.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use windrow_core::pipeline::View;
use windrow_core::stream::Sink;
use windrow_core::time;

use super::catalog::{Entry, Kept, SinkEntry, ViewEntry};
use super::declare::{Declaration, located, pairs, refuse_unknown};
use super::job::{BatchJob, BatchQuery, GraphRows};
use super::results::{QueueSink, ResultQueue};
use super::shared::Shared;
use super::statement::{InsertRows, Prepared, Waiting, WaitingQuery, execute};
use super::{Session, show};
use crate::dialect::{
    AlterAction, CreateSink, CreateStream, CreateView, DropKind, Insert, Name, Query, Statement,
    StatementKind, parse_script,
};
use crate::error::{Error, ErrorKind, Result, Script, nearest};
use crate::plan::{self, Mode, Names, Planned, PlannedQuery};

/// Plans every statement of a script and attaches its queries.
pub(super) fn prepare(
    session: &Session,
    script: &Arc<Script>,
    doors: Doors,
) -> Result<Vec<Prepared>> {
    let statements = parse_script(script)?;
    let shared = &session.shared;
    (statements.iter())
        .map(|statement| {
            Preparing {
                shared,
                script,
                doors,
            }
            .statement(statement)
            .map_err(|error| error.at(statement.span.clone()).in_script(script))
        })
        .collect()
}

/// Sinks of one query.
type Sinks = Vec<Box<dyn Sink>>;

/// Whether sinks are opened as they are declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doors {
    Open,
    Closed,
}

struct Preparing<'a> {
    shared: &'a Arc<Shared>,
    script: &'a Arc<Script>,
    doors: Doors,
}

impl Preparing<'_> {
    fn statement(&self, statement: &Statement) -> Result<Prepared> {
        match &statement.kind {
            StatementKind::CreateStream(create) => self.create_stream(create),
            StatementKind::CreateView(create) => self.create_view(create),
            StatementKind::CreateSink(create) => self.create_sink(create),
            StatementKind::Insert(insert) => self.insert(insert),
            StatementKind::Query(query) => Ok(Prepared::Query(self.once(query)?)),
            StatementKind::Explain {
                analyze, statement, ..
            } => self.explain(*analyze, statement),
            StatementKind::Describe { name } => {
                let entry = self.entry(name)?;
                Ok(Prepared::Rows(show::describe(&entry)?))
            }
            StatementKind::Show(what) => Ok(Prepared::Show(what.clone())),
            StatementKind::Drop {
                kind,
                name,
                if_exists,
                cascade,
            } => self.drop(*kind, name, *if_exists, *cascade),
            StatementKind::Set { name, value } => {
                let settings = self.shared.settings.write();
                let mut settings = settings.unwrap_or_else(std::sync::PoisonError::into_inner);
                (settings.set(&name.value, &value.value))
                    .map_err(|error| error.at(name.span.clone()))?;
                Ok(Prepared::Done)
            }
            StatementKind::AlterStream { name, action } => self.alter(name, action),
        }
    }

    fn names(&self) -> Names {
        let tables = self.shared.catalog().names();
        let functions = show::functions(self.shared)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        Names { tables, functions }
    }

    fn plan(&self, query: &Query, mode: Mode) -> Result<PlannedQuery> {
        plan::plan(&self.shared.state(), query, &self.names(), mode)
    }

    fn entry(&self, name: &Name) -> Result<Entry> {
        let catalog = self.shared.catalog();
        catalog.entries.get(&name.value).cloned().ok_or_else(|| {
            let names = catalog.names();
            let error = Error::new(
                ErrorKind::Plan,
                format!("there is no stream, view or sink {}", name.value),
            )
            .at(name.span.clone());
            match nearest(&name.value, names.iter().map(String::as_str)) {
                Some(meant) => error.help(format!("did you mean {meant}?")),
                None => error.help("SHOW TABLES lists what there is"),
            }
        })
    }

    /// Makes room for a new name; true if it is taken and may be.
    fn is_taken(&self, name: &Name, or_replace: bool, if_not_exists: bool) -> Result<bool> {
        let entry = self.shared.catalog().entries.get(&name.value).cloned();
        let Some(entry) = entry else {
            return Ok(false);
        };
        if if_not_exists {
            return Ok(true);
        }
        if or_replace {
            let readers = self.shared.catalog().readers(&name.value);
            if !readers.is_empty() {
                return Err(Error::new(
                    ErrorKind::Plan,
                    format!("{} is read by {}", name.value, readers.join(", ")),
                )
                .help(format!(
                    "drop them with it first: DROP … {} CASCADE",
                    name.value
                ))
                .at(name.span.clone()));
            }
            let prepared = self.remove(&name.value);
            execute(self.shared, prepared)?;
            return Ok(false);
        }
        Err(Error::new(
            ErrorKind::Plan,
            format!("there is a {} {} already", entry.noun(), name.value),
        )
        .help("choose another name, or write CREATE OR REPLACE or IF NOT EXISTS")
        .at(name.span.clone()))
    }

    fn insert_entry(&self, name: &str, entry: Entry) {
        self.shared.catalog().entries.insert(name.into(), entry);
    }

    fn create_stream(&self, create: &CreateStream) -> Result<Prepared> {
        if self.is_taken(&create.name, create.or_replace, create.if_not_exists)? {
            return Ok(Prepared::Done);
        }
        let declaration = Declaration {
            state: &self.shared.state(),
            connectors: &self.shared.connectors(),
        };
        let stream = Arc::new(declaration.stream(create)?);
        if stream.connector.is_none() {
            // Rows can be pushed from now on, whether anything reads them or not.
            self.shared.reading(&stream)?;
        }
        self.insert_entry(&create.name.value, Entry::Stream(stream));
        Ok(Prepared::Done)
    }

    fn create_view(&self, create: &CreateView) -> Result<Prepared> {
        if self.is_taken(&create.name, create.or_replace, create.if_not_exists)? {
            return Ok(Prepared::Done);
        }
        let unknown: Vec<String> = create.options.keys().cloned().collect();
        refuse_unknown(&unknown, &create.options, &[])?;
        let name = create.name.value.clone();
        let text = self
            .script
            .text
            .get(create.query.span.clone())
            .unwrap_or_default()
            .to_string();
        let entry = if create.materialized {
            let PlannedQuery { how, reads, .. } = self.plan(&create.query, Mode::Continuous)?;
            let schema = how.schema();
            let bytes_max = self.shared.settings().view_bytes_max();
            let view = Arc::new(View::new(schema.clone(), bytes_max));
            let (timing, query) = match how {
                Planned::Graph(graph) => {
                    let timing = graph.timing.clone();
                    let attached =
                        self.shared
                            .attach(graph, &name, Some(view.clone()), Vec::new())?;
                    self.shared.start_tables(attached.tables);
                    (timing, Some(attached.query))
                }
                Planned::Batch(plan) => {
                    let query = BatchQuery::attach(self.shared, plan, &name)?;
                    self.add_job(BatchJob {
                        query,
                        view: Some(view.clone()),
                        sinks: Vec::new(),
                    });
                    let timing = plan::Timing {
                        bounded: true,
                        ..plan::Timing::default()
                    };
                    (timing, None)
                }
            };
            ViewEntry {
                name: name.clone(),
                schema,
                text,
                reads,
                kept: Some(Kept {
                    view,
                    timing,
                    query,
                }),
                plan: None,
            }
        } else {
            let plan = plan::logical(&self.shared.state(), &create.query, &self.names())?;
            let reads = plan::relations(&plan)
                .iter()
                .map(|relation| relation.name.clone())
                .collect();
            ViewEntry {
                name: name.clone(),
                schema: Arc::new(plan.schema().as_arrow().clone()),
                text,
                reads,
                kept: None,
                plan: Some(plan),
            }
        };
        self.insert_entry(&name, Entry::View(Arc::new(entry)));
        Ok(Prepared::Done)
    }

    fn add_job(&self, job: BatchJob) {
        let jobs = self.shared.jobs.lock();
        jobs.unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(Box::new(job));
    }

    fn create_sink(&self, create: &CreateSink) -> Result<Prepared> {
        if self.is_taken(&create.name, create.or_replace, create.if_not_exists)? {
            return Ok(Prepared::Done);
        }
        let mut options = create.options.clone();
        let Some(connector) = options.remove("connector") else {
            return Err(Error::new(
                ErrorKind::Option,
                format!("sink {} does not say where rows go", create.name.value),
            )
            .help("for example WITH (connector = 'file', path = 'out.csv')")
            .at(create.name.span.clone()));
        };
        let connectors = self.shared.connectors();
        let kind = connectors
            .get(&connector.value)
            .map_err(|error| error.at(connector.span.clone()))?
            .clone();
        let schema = match &create.columns {
            Some(columns) => {
                let fields = columns.iter().map(|column| {
                    let data_type = column.data_type.clone();
                    let data_type = data_type.unwrap_or(arrow::datatypes::DataType::Utf8);
                    Field::new(&column.name.value, data_type, true)
                });
                Some(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
            }
            None => None,
        };
        let mut entry = SinkEntry {
            name: create.name.value.clone(),
            kind,
            connector_name: connector.value.clone(),
            options: pairs(&options),
            schema,
            reads: Vec::new(),
            query: Default::default(),
        };
        if let Some(query) = &create.query {
            let planned = self.plan(query, Mode::Continuous)?;
            entry.reads = planned.reads.clone();
            entry.schema.get_or_insert_with(|| planned.how.schema());
            let (sinks, unknown) = (self.open(&entry, &planned.how.schema()))
                .map_err(|error| located(error, &options))?;
            refuse_unknown(&unknown, &options, &entry.kind.option_names())?;
            self.write_to(&entry, planned, sinks)?;
        }
        self.insert_entry(&create.name.value, Entry::Sink(Arc::new(entry)));
        Ok(Prepared::Done)
    }

    /// A sink for rows of `schema` and the names of options that it does not know; no
    /// sink where none is to be opened.
    fn open(&self, entry: &SinkEntry, schema: &SchemaRef) -> Result<(Sinks, Vec<String>)> {
        match self.doors {
            Doors::Open => {
                let (sink, unknown) = entry.kind.sink(&entry.options, schema)?;
                Ok((vec![sink], unknown))
            }
            Doors::Closed => Ok((Vec::new(), entry.kind.check_sink(&entry.options, schema)?)),
        }
    }

    /// Starts a continuous query into a sink.
    fn write_to(&self, entry: &SinkEntry, planned: PlannedQuery, sinks: Sinks) -> Result<()> {
        match planned.how {
            Planned::Graph(graph) => {
                let attached = self.shared.attach(graph, &entry.name, None, sinks)?;
                self.shared.start_tables(attached.tables);
                let queries = entry.query.lock();
                queries
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push(attached.query);
            }
            Planned::Batch(plan) => {
                let query = BatchQuery::attach(self.shared, plan, &entry.name)?;
                self.add_job(BatchJob {
                    query,
                    view: None,
                    sinks,
                });
            }
        }
        Ok(())
    }

    /// Attaches a query that answers once, or goes on while its streams do.
    fn once(&self, query: &Query) -> Result<Waiting> {
        let PlannedQuery { how, settles, .. } = self.plan(query, Mode::Once)?;
        let name = self.shared.catalog().query_name();
        let query = match how {
            Planned::Graph(graph) => {
                let schema = graph.schema.clone();
                let queue = Arc::new(ResultQueue::default());
                let sink = Box::new(QueueSink(queue.clone()));
                let attached = self.shared.attach(graph, &name, None, vec![sink])?;
                WaitingQuery::Graph {
                    rows: GraphRows {
                        query: attached.query,
                        queue,
                    },
                    tables: attached.tables,
                    schema,
                }
            }
            Planned::Batch(plan) => {
                WaitingQuery::Batch(BatchQuery::attach(self.shared, plan, &name)?)
            }
        };
        Ok(Waiting { settles, query })
    }

    fn insert(&self, insert: &Insert) -> Result<Prepared> {
        match self.entry(&insert.target)? {
            Entry::Stream(stream) if stream.connector.is_some() => Err(Error::new(
                ErrorKind::Plan,
                format!("stream {} is fed by its connector", insert.target.value),
            )
            .help("insert into a stream that was created without a connector")
            .at(insert.target.span.clone())),
            Entry::Stream(stream) => {
                let source = stream.rules.source_schema();
                let columns = self.insert_columns(insert, &source)?;
                let rows = self.once(&insert.source)?;
                let width = match &rows.query {
                    WaitingQuery::Graph { schema, .. } => schema.fields().len(),
                    WaitingQuery::Batch(query) => query.schema.fields().len(),
                };
                if width != columns.len() {
                    return Err(Error::new(
                        ErrorKind::Plan,
                        format!(
                            "{} values are inserted into {} columns: {}",
                            width,
                            columns.len(),
                            columns.join(", ")
                        ),
                    )
                    .at(insert.target.span.clone()));
                }
                Ok(Prepared::Insert(InsertRows {
                    stream,
                    columns,
                    rows,
                }))
            }
            Entry::Sink(entry) => {
                let planned = self.plan(&insert.source, Mode::Continuous)?;
                let (sinks, unknown) = self.open(&entry, &planned.how.schema())?;
                refuse_unknown(&unknown, &Default::default(), &entry.kind.option_names())?;
                self.write_to(&entry, planned, sinks)?;
                Ok(Prepared::Done)
            }
            other => Err(Error::new(
                ErrorKind::Plan,
                format!(
                    "{} is a {}: rows cannot be inserted",
                    insert.target.value,
                    other.noun()
                ),
            )
            .at(insert.target.span.clone())),
        }
    }

    fn insert_columns(&self, insert: &Insert, source: &SchemaRef) -> Result<Vec<String>> {
        if insert.columns.is_empty() {
            return Ok(source
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect());
        }
        for column in &insert.columns {
            if source.column_with_name(&column.value).is_none() {
                let names = source.fields().iter().map(|field| field.name().as_str());
                let error = Error::new(
                    ErrorKind::Plan,
                    format!(
                        "stream {} has no column {}",
                        insert.target.value, column.value
                    ),
                )
                .at(column.span.clone());
                return Err(match nearest(&column.value, names.clone()) {
                    Some(meant) => error.help(format!("did you mean {meant}?")),
                    None => error.help(format!(
                        "the columns are {}",
                        names.collect::<Vec<_>>().join(", ")
                    )),
                });
            }
        }
        Ok(insert
            .columns
            .iter()
            .map(|column| column.value.clone())
            .collect())
    }

    fn explain(&self, analyze: bool, statement: &Statement) -> Result<Prepared> {
        if analyze {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "EXPLAIN ANALYZE is not supported yet",
            )
            .help("write EXPLAIN; windrow.queries tells what running queries do"));
        }
        let (query, mode) = match &statement.kind {
            StatementKind::Query(query) => (query, Mode::Once),
            StatementKind::CreateView(create) => (&create.query, Mode::Continuous),
            StatementKind::CreateSink(CreateSink {
                query: Some(query), ..
            }) => (query, Mode::Continuous),
            StatementKind::Insert(insert) => (&insert.source, Mode::Continuous),
            _ => {
                return Err(Error::new(
                    ErrorKind::Plan,
                    "EXPLAIN takes a query, or a statement that holds one",
                ));
            }
        };
        let planned = self.plan(query, mode)?;
        let mut lines = vec![plan::emission(&query.emit).to_string()];
        lines.extend(plan::explain(&planned.how));
        let plan: ArrayRef = Arc::new(StringArray::from(lines));
        let rows = RecordBatch::try_from_iter([("plan", plan)])
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        Ok(Prepared::Rows(rows))
    }

    fn drop(
        &self,
        kind: DropKind,
        name: &Name,
        if_exists: bool,
        cascade: bool,
    ) -> Result<Prepared> {
        let entry = match self.entry(name) {
            Ok(entry) => entry,
            Err(_) if if_exists => return Ok(Prepared::Done),
            Err(error) => return Err(error),
        };
        let fits = match (&entry, kind) {
            (Entry::Stream(_), DropKind::Stream | DropKind::Table)
            | (Entry::View(_), DropKind::View)
            | (Entry::Sink(_), DropKind::Sink | DropKind::Table)
            | (Entry::Table(_), DropKind::Table) => true,
            (_, DropKind::Query) => matches!(entry, Entry::View(_) | Entry::Sink(_)),
            _ => false,
        };
        if !fits {
            let noun = entry.noun();
            let written = match &entry {
                Entry::Stream(_) => "DROP STREAM",
                Entry::View(_) => "DROP VIEW",
                Entry::Sink(_) => "DROP SINK",
                Entry::Table(_) => "DROP TABLE",
            };
            return Err(
                Error::new(ErrorKind::Plan, format!("{} is a {noun}", name.value))
                    .help(format!("write {written} {}", name.value))
                    .at(name.span.clone()),
            );
        }
        let mut names = vec![name.value.clone()];
        let mut next = 0;
        while next < names.len() {
            for reader in self.shared.catalog().readers(&names[next]) {
                if !names.contains(&reader) {
                    names.push(reader);
                }
            }
            next += 1;
        }
        if names.len() > 1 && !cascade {
            return Err(Error::new(
                ErrorKind::Plan,
                format!("{} is read by {}", name.value, names[1..].join(", ")),
            )
            .help("drop them first, or all together with CASCADE")
            .at(name.span.clone()));
        }
        let (mut queries, mut streams) = (Vec::new(), Vec::new());
        for name in names.iter().rev() {
            if let Prepared::Detach(of_queries, of_streams) = self.remove(name) {
                queries.extend(of_queries);
                streams.extend(of_streams);
            }
        }
        Ok(Prepared::Detach(queries, streams))
    }

    /// Takes a name out of the catalogue; what is left to do is to detach it.
    fn remove(&self, name: &str) -> Prepared {
        let entry = self.shared.catalog().entries.remove(name);
        let (mut queries, mut streams) = (Vec::new(), Vec::new());
        match entry {
            Some(Entry::Stream(stream)) => {
                streams.extend(stream.readings().iter().map(|reading| reading.id));
            }
            Some(Entry::View(view)) => {
                queries.extend(view.kept.as_ref().and_then(|kept| kept.query));
            }
            Some(Entry::Sink(sink)) => {
                let of_sink = sink.query.lock();
                let of_sink = of_sink.unwrap_or_else(std::sync::PoisonError::into_inner);
                queries.extend(of_sink.iter().copied());
            }
            Some(Entry::Table(_)) | None => {}
        }
        Prepared::Detach(queries, streams)
    }

    fn alter(&self, name: &Name, action: &AlterAction) -> Result<Prepared> {
        let stream = match self.entry(name)? {
            Entry::Stream(stream) => stream,
            other => {
                return Err(Error::new(
                    ErrorKind::Plan,
                    format!("{} is a {}, not a stream", name.value, other.noun()),
                )
                .at(name.span.clone()));
            }
        };
        match action {
            AlterAction::End => Ok(Prepared::End(stream)),
            AlterAction::AdvanceWatermark { to, span } => {
                let Some(event_time) = stream.event_time else {
                    return Err(Error::new(
                        ErrorKind::Plan,
                        format!("stream {} has no watermark", name.value),
                    )
                    .help("declare one in CREATE STREAM: WATERMARK FOR ts")
                    .at(name.span.clone()));
                };
                let schema = stream.schema();
                let unit = time::time_unit(schema.field(event_time.column).data_type())?;
                let nanos = i128::from(to.timestamp()) * 1_000_000_000
                    + i128::from(to.timestamp_subsec_nanos());
                let ticks = nanos.div_euclid(i128::from(time::nanos_per_tick(unit)));
                let ticks = i64::try_from(ticks).map_err(|_| {
                    Error::new(ErrorKind::Plan, "this time is out of range").at(span.clone())
                })?;
                Ok(Prepared::AdvanceWatermark(stream, ticks))
            }
        }
    }
}
