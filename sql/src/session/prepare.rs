//! From statements to what can run: names, plans, queries attached; nothing is read.

mod change;

use std::cell::RefCell;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use windrow_core::pipeline::View;

use super::catalog::{Entry, Kept, ViewEntry, Work, refuse_reading};
use super::declare::Declaration;
use super::held::{Held, Leaving, Reserved};
use super::job::{self, BatchJob, BatchQuery, GraphRows};
use super::results::{QueueSink, ResultQueue};
use super::settle::{Inputs, Settles};
use super::shared::{PLANNING_STACK_BYTES, Shared};
use super::sink_fit::listed_names;
use super::sinks::{self, Writer};
use super::statement::{InsertRows, Prepared, Waiting, WaitingQuery};
use super::{Session, constant, functions, no_rows, show};
use crate::dialect::{
    CreateSink, CreateStream, CreateView, Insert, Name, Query, Show, Statement, StatementKind,
    parse_script, rows_as_texts,
};
use crate::error::{Error, ErrorKind, Result, Script, nearest};
use crate::plan::{self, Mode, Names, Planned, PlannedInput, PlannedQuery};
use crate::words::counted;

/// Plans every statement of a script, attaches its queries, and opens its sinks when all
/// of it fits.
pub(super) fn prepare(session: &Session, script: &Arc<Script>) -> Result<Vec<Prepared>> {
    on_deep_stack(|| prepare_here(session, script))
}

/// Plans every statement of a script that can be; no sink is opened. What is wrong, in
/// the order of the text; what only follows from an error before it is left out.
pub(super) fn check(session: &Session, script: &Arc<Script>) -> Vec<Error> {
    on_deep_stack(|| Ok(check_here(session, script))).unwrap_or_else(|error| vec![error])
}

/// Runs `work` on a thread with a stack of [`PLANNING_STACK_BYTES`].
fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("windrow-plan".into())
            .stack_size(PLANNING_STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("no thread can be started: {error}"))
            })?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn prepare_here(session: &Session, script: &Arc<Script>) -> Result<Vec<Prepared>> {
    let statements = parse_script(script)?;
    let preparing = Preparing::new(session, script, true);
    let prepared: Result<Vec<_>> = (statements.iter())
        .map(|statement| preparing.placed(statement))
        .collect();
    let writers = preparing.writers.into_inner();
    match prepared {
        Ok(prepared) => {
            sinks::open(&session.shared, writers).map_err(|error| error.in_script(script))?;
            Ok(prepared)
        }
        Err(error) => {
            sinks::give_up(&session.shared, writers);
            Err(error)
        }
    }
}

fn check_here(session: &Session, script: &Arc<Script>) -> Vec<Error> {
    let statements = match parse_script(script) {
        Ok(statements) => statements,
        Err(error) => return vec![error],
    };
    let preparing = Preparing::new(session, script, false);
    let mut errors = Vec::new();
    let mut missing: Vec<&str> = Vec::new();
    for statement in &statements {
        let Err(error) = preparing.placed(statement) else {
            continue;
        };
        let text = script.text.get(statement.span.clone()).unwrap_or_default();
        let follows = (text.split(|c: char| !(c.is_alphanumeric() || c == '_')))
            .any(|word| missing.iter().any(|name| name.eq_ignore_ascii_case(word)));
        if !follows {
            errors.push(error);
        }
        missing.extend(match &statement.kind {
            StatementKind::CreateStream(create) => Some(create.name.value.as_str()),
            StatementKind::CreateView(create) => Some(create.name.value.as_str()),
            StatementKind::CreateSink(create) => Some(create.name.value.as_str()),
            _ => None,
        });
    }
    errors
}

struct Preparing<'a> {
    shared: &'a Arc<Shared>,
    script: &'a Arc<Script>,
    /// Queries whose sinks are to be opened.
    writers: RefCell<Vec<Writer>>,
    /// Whether what is planned is going to run.
    runs: bool,
}

impl<'a> Preparing<'a> {
    fn new(session: &'a Session, script: &'a Arc<Script>, runs: bool) -> Self {
        Self {
            shared: &session.shared,
            script,
            writers: RefCell::default(),
            runs,
        }
    }

    /// Plans a statement; errors point into it.
    fn placed(&self, statement: &Statement) -> Result<Prepared> {
        (self.statement(statement))
            .map_err(|error| error.at(statement.span.clone()).in_script(self.script))
    }

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
                if let Some(rows) = functions::system_rows(self.shared, &name.value) {
                    return Ok(Prepared::Rows(show::columns(&rows?.schema(), &[])?));
                }
                let entry = match self.shared.entry(&name.value) {
                    Ok(Some(entry)) => entry,
                    Ok(None) => self.entry(name)?,
                    Err(error) => return Err(error.at(name.span.clone())),
                };
                Ok(Prepared::Rows(show::describe(&entry)?))
            }
            StatementKind::Show(what @ Show::Setting(name)) => {
                let rows = show::show(self.shared, what);
                Ok(Prepared::Rows(
                    rows.map_err(|error| error.at(name.span.clone()))?,
                ))
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
        let state = self.shared.state();
        let value = |plan| match self.runs {
            true => constant::value(self.shared, plan),
            false => constant::any(&plan),
        };
        let mut planned = (plan::plan(&state, query, &self.names(), mode, &value))
            .map_err(|error| no_rows::explained(error, &self.named(query)))?;
        planned.reads.extend(self.views_named(query));
        if mode.goes_on() {
            self.refuse_changing(&planned)
                .map_err(|error| error.at(query.span.clone()))?;
        }
        Ok(planned)
    }

    /// Refuses a query that goes on over rows which change.
    fn refuse_changing(&self, planned: &PlannedQuery) -> Result<()> {
        let graphs = planned.how.graphs().into_iter();
        let inputs = graphs.flat_map(|graph| graph.steps.iter().flat_map(|step| &step.inputs));
        let catalog = self.shared.catalog();
        for input in inputs {
            if let PlannedInput::View(name) = input
                && let Some(Entry::View(view)) = catalog.entries.get(name)
                && (view.kept.as_ref()).is_some_and(|kept| kept.view.is_table())
            {
                let message = format!(
                    "the rows of {name} change with each row of its stream, so that what follows \
                     would be a changelog"
                );
                return Err(Error::new(ErrorKind::Plan, message).help(format!(
                    "read it as it is at a moment, SELECT … FROM {name}; or group by a window \
                     over the stream"
                )));
            }
        }
        Ok(())
    }

    /// How the query of a view is planned; refuses options that views do not have.
    fn view_mode(&self, create: &CreateView) -> Result<Mode> {
        let mut keys_max = self.shared.settings().keys_max();
        for (option, value) in &create.options {
            if option != "max_keys" || !create.materialized {
                let error = Error::new(
                    ErrorKind::Option,
                    format!("a view has no option \"{option}\""),
                );
                return Err(error
                    .help(
                        "a materialized view has max_keys; SET view_bytes_max = … bounds what it \
                         keeps of windows",
                    )
                    .at(value.name_span.clone()));
            }
            let number = value.value.parse().ok().filter(|keys| *keys > 0);
            keys_max = Some(number.ok_or_else(|| {
                Error::new(
                    ErrorKind::Option,
                    format!(
                        "max_keys is a whole number above zero, not '{}'",
                        value.value
                    ),
                )
                .help("write for example max_keys = '100000'")
                .at(value.span.clone())
            })?);
        }
        Ok(Mode::Kept { keys_max })
    }

    /// The views that a query names: plain ones are replaced by their queries in its plan.
    fn views_named(&self, query: &Query) -> Vec<String> {
        let mut names = plan::names(&self.shared.state(), query);
        let catalog = self.shared.catalog();
        names.retain(|name| matches!(catalog.entries.get(name), Some(Entry::View(_))));
        names
    }

    /// What a query names.
    fn named(&self, query: &Query) -> Vec<Entry> {
        let names = plan::names(&self.shared.state(), query);
        self.resolve(&names).entries
    }

    /// What names stand for now.
    fn resolve(&self, names: &[String]) -> Settles {
        let catalog = self.shared.catalog();
        let entries = names.iter().filter_map(|name| catalog.entries.get(name));
        Settles {
            all: names.iter().any(|name| name == "*"),
            entries: entries.cloned().collect(),
        }
    }

    /// What a continuous query takes its rows from.
    fn inputs(&self, planned: &PlannedQuery) -> Inputs {
        let mut settles = self.resolve(&planned.settles);
        let waits = !settles.is_empty();
        if settles.all {
            let catalog = self.shared.catalog();
            settles.entries.extend(catalog.entries.values().cloned());
        }
        let sources = self.resolve(&planned.reads).entries;
        Inputs {
            entries: [settles.entries, sources].concat(),
            waits,
        }
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

    /// Reserves the name of a new `noun`; `None` if there is one already, and may be.
    fn reserve(
        &self,
        name: &Name,
        noun: &str,
        or_replace: bool,
        if_not_exists: bool,
    ) -> Result<Option<Reserved<'_>>> {
        let mut catalog = self.shared.catalog();
        let refused = match catalog.entries.get(&name.value) {
            None => None,
            Some(entry) if if_not_exists && entry.noun() == noun => return Ok(None),
            // A view may become materialized, and the other way round.
            Some(entry)
                if or_replace
                    && (entry.noun() == noun || entry.is_view() && noun.ends_with("view")) =>
            {
                let readers = catalog.readers(&name.value);
                (!readers.is_empty()).then(|| {
                    let message = format!("{} is read by {}", name.value, readers.join(", "));
                    let help = format!("drop them with it first: DROP … {} CASCADE", name.value);
                    Error::new(ErrorKind::Plan, message).help(help)
                })
            }
            Some(entry) => {
                let message = format!("there is a {} {} already", entry.noun(), name.value);
                let help = match or_replace || if_not_exists {
                    true => format!(
                        "choose another name, or write {} {} first",
                        entry.drop_words(),
                        name.value
                    ),
                    false => {
                        "choose another name, or write CREATE OR REPLACE or IF NOT EXISTS".into()
                    }
                };
                Some(Error::new(ErrorKind::Plan, message).help(help))
            }
        };
        if let Some(error) = refused {
            return Err(error.at(name.span.clone()));
        }
        if !catalog.reserved.insert(name.value.clone()) {
            let message = format!("{} is being created already", name.value);
            return Err(Error::new(ErrorKind::Plan, message).at(name.span.clone()));
        }
        Ok(Some(Reserved {
            shared: self.shared,
            name: name.value.clone(),
        }))
    }

    /// Puts an entry under its name; what it replaces goes when this statement's turn comes.
    fn put(&self, name: &str, entry: Entry) -> Prepared {
        let replaced = self.shared.catalog().put(name, entry);
        match replaced {
            Some(ticket) => Prepared::Leave(Leaving {
                shared: self.shared.clone(),
                tickets: vec![ticket],
            }),
            None => Prepared::Done,
        }
    }

    /// A view or a sink that is replaced cannot read what it replaces.
    fn refuse_itself(&self, name: &Name, reads: &[String]) -> Result<()> {
        match reads.contains(&name.value) {
            true => Err(
                Error::new(ErrorKind::Plan, format!("{} would read itself", name.value))
                    .help("create it under another name")
                    .at(name.span.clone()),
            ),
            false => Ok(()),
        }
    }

    fn create_stream(&self, create: &CreateStream) -> Result<Prepared> {
        refuse_reading(&create.name.value).map_err(|error| error.at(create.name.span.clone()))?;
        let Some(_reserved) = self.reserve(
            &create.name,
            "stream",
            create.or_replace,
            create.if_not_exists,
        )?
        else {
            return Ok(Prepared::Done);
        };
        let declaration = Declaration {
            state: &self.shared.state(),
            connectors: &self.shared.connectors(),
            script: self.script,
        };
        let stream = Arc::new(declaration.stream(create)?);
        if stream.connector.is_none() {
            // Rows can be pushed from now on, whether anything reads them or not.
            self.shared.reading(&stream)?;
        }
        Ok(self.put(&create.name.value, Entry::Stream(stream)))
    }

    fn create_view(&self, create: &CreateView) -> Result<Prepared> {
        let noun = match create.materialized {
            true => "materialized view",
            false => "view",
        };
        let Some(_reserved) =
            self.reserve(&create.name, noun, create.or_replace, create.if_not_exists)?
        else {
            return Ok(Prepared::Done);
        };
        let mode = self.view_mode(create)?;
        let name = create.name.value.clone();
        let text = self
            .script
            .text
            .get(create.query.span.clone())
            .unwrap_or_default()
            .to_string();
        let entry = if create.materialized {
            let planned = self.plan(&create.query, mode)?;
            self.refuse_itself(&create.name, &planned.reads)?;
            let sources = self.resolve(&planned.reads).entries;
            let inputs = self.inputs(&planned);
            let schema = planned.how.schema();
            let bytes_max = self.shared.settings().view_bytes_max();
            let view = Arc::new(match planned.how.table() {
                Some(table) => View::of_table(table),
                None => View::new(schema.clone(), bytes_max),
            });
            let mut held = Held::new(self.shared);
            let (timing, query) = match planned.how {
                Planned::Graph(graph) => {
                    let timing = graph.timing.clone();
                    let view = Some(view.clone());
                    let ready =
                        job::attach(self.shared, graph, &name, view, Vec::new(), &mut held.work)?;
                    let query = ready.query;
                    job::start(
                        self.shared,
                        ready.tables,
                        ready.waits,
                        inputs,
                        &mut held.work,
                    );
                    (timing, Some(query))
                }
                Planned::Batch(plan) => {
                    let query = BatchQuery::attach(self.shared, plan, &name, &mut held.work)?;
                    let job = BatchJob {
                        query,
                        view: Some(view.clone()),
                        sinks: Vec::new(),
                        failure: held.work.failure.clone(),
                    };
                    (self.shared).add_job(Box::new(job), inputs.entries, &mut held.work);
                    let timing = plan::Timing {
                        bounded: true,
                        ..plan::Timing::default()
                    };
                    (timing, None)
                }
            };
            let (reads, work) = (planned.reads, held.keep());
            ViewEntry {
                name: name.clone(),
                schema,
                text,
                reads,
                sources,
                work,
                kept: Some(Kept {
                    view,
                    timing,
                    query,
                }),
                plan: None,
            }
        } else {
            let plan = plan::logical(&self.shared.state(), &create.query, &self.names())
                .map_err(|error| no_rows::explained(error, &self.named(&create.query)))?;
            let relations = plan::relations(&plan);
            let relations = relations.iter().map(|relation| relation.name.clone());
            let reads: Vec<String> = relations.chain(self.views_named(&create.query)).collect();
            self.refuse_itself(&create.name, &reads)?;
            ViewEntry {
                name: name.clone(),
                schema: Arc::new(plan.schema().as_arrow().clone()),
                text,
                reads,
                sources: Vec::new(),
                work: Work::default(),
                kept: None,
                plan: Some(plan),
            }
        };
        Ok(self.put(&name, Entry::View(Arc::new(entry))))
    }

    fn create_sink(&self, create: &CreateSink) -> Result<Prepared> {
        let Some(_reserved) = self.reserve(
            &create.name,
            "sink",
            create.or_replace,
            create.if_not_exists,
        )?
        else {
            return Ok(Prepared::Done);
        };
        let entry = sinks::declared(self.shared, create)?;
        let entry = match &create.query {
            None => Arc::new(entry),
            Some(query) => {
                let planned = self.plan(query, Mode::Continuous)?;
                self.refuse_itself(&create.name, &planned.reads)?;
                let inputs = self.inputs(&planned);
                let span = query.span.clone();
                let writer = sinks::created(self.shared, create, entry, planned, inputs, span)?;
                let entry = writer.entry().clone();
                self.writers.borrow_mut().push(writer);
                entry
            }
        };
        Ok(self.put(&create.name.value, Entry::Sink(entry)))
    }

    /// Attaches a query that answers once, or goes on while its streams do.
    fn once(&self, query: &Query) -> Result<Waiting> {
        let planned = self.plan(query, Mode::Once)?;
        self.once_planned(planned)
    }

    fn once_planned(&self, planned: PlannedQuery) -> Result<Waiting> {
        let PlannedQuery { how, settles, .. } = planned;
        let name = self.shared.catalog().query_name();
        let settles = self.resolve(&settles);
        let mut held = Held::new(self.shared);
        let query = match how {
            Planned::Graph(graph) => {
                let (schema, rows_max) = (graph.schema.clone(), graph.rows_max);
                let queue = Arc::new(ResultQueue::default());
                let sink = Box::new(QueueSink(queue.clone()));
                let ready =
                    job::attach(self.shared, graph, &name, None, vec![sink], &mut held.work)?;
                WaitingQuery::Graph {
                    rows: GraphRows {
                        query: ready.query,
                        parts: ready.parts,
                        queue,
                    },
                    tables: ready.tables,
                    schema,
                    rows_max,
                }
            }
            Planned::Batch(plan) => {
                let query = BatchQuery::attach(self.shared, plan, &name, &mut held.work)?;
                WaitingQuery::Batch(query)
            }
        };
        Ok(Waiting {
            settles,
            query,
            held,
        })
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
                let what = format!("stream {}", insert.target.value);
                let columns = listed_names(&what, &insert.columns, Some(&source))?;
                let columns = columns.unwrap_or_else(|| {
                    let fields = source.fields().iter();
                    fields.map(|field| field.name().clone()).collect()
                });
                let as_texts = rows_as_texts(&insert.source);
                let rows = as_texts.as_ref().unwrap_or(&insert.source);
                let planned = self.plan(rows, Mode::Once)?;
                self.refuse_live(insert, &planned.reads)?;
                let rows = self.once_planned(planned)?;
                let width = match &rows.query {
                    WaitingQuery::Graph { schema, .. } => schema.fields().len(),
                    WaitingQuery::Batch(query) => query.schema.fields().len(),
                };
                if width != columns.len() {
                    return Err(Error::new(
                        ErrorKind::Plan,
                        format!(
                            "{} inserted into {}: {}",
                            counted(width as u64, "value is", "values are"),
                            counted(columns.len() as u64, "column", "columns"),
                            columns.join(", ")
                        ),
                    )
                    .at(insert.target.span.clone()));
                }
                Ok(Prepared::Insert(InsertRows {
                    stream,
                    columns,
                    rows,
                    span: insert.target.span.clone(),
                    script: self.script.clone(),
                }))
            }
            Entry::Sink(entry) => {
                let planned = self.plan(&insert.source, Mode::Continuous)?;
                let inputs = self.inputs(&planned);
                let writer = sinks::inserted(self.shared, insert, &entry, planned, inputs)?;
                self.writers.borrow_mut().push(writer);
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

    /// An INSERT into a stream ends, and a live stream does not.
    fn refuse_live(&self, insert: &Insert, reads: &[String]) -> Result<()> {
        let sources = self.resolve(reads).entries;
        let live = sources.iter().find_map(|entry| match entry {
            Entry::Stream(stream) if stream.live.is_some() => Some(&stream.name),
            _ => None,
        });
        match live {
            Some(name) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{name} is a live stream, and an INSERT into a stream ends"),
            )
            .help("keep the rows in a materialized view and insert from that, or read this view in place of the stream")
            .at(insert.source.span.clone())),
            None => Ok(()),
        }
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
            StatementKind::CreateView(create) if create.materialized => {
                (&create.query, self.view_mode(create)?)
            }
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
        let mut lines = Vec::new();
        if planned.how.has_window() {
            lines.push(plan::emission(&query.emit).to_string());
        }
        let how = |scan: &plan::PlannedScan| match self.shared.catalog().entries.get(&scan.stream) {
            Some(Entry::Stream(stream)) if stream.may_pass_over(scan) => {
                ", parts without such rows passed over"
            }
            _ => "",
        };
        lines.extend(plan::explain(&planned.how, &how));
        let plan: ArrayRef = Arc::new(StringArray::from(lines));
        let rows = RecordBatch::try_from_iter([("plan", plan)])
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        Ok(Prepared::Rows(rows))
    }
}
