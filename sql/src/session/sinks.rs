//! The sinks of a script: checked as they are planned, opened when all of it fits.
//!
//! ```text
//!  CREATE SINK, INSERT INTO ─▶ check options, columns ─▶ attach the query ─▶ … next statement
//!                                                                │
//!  the last statement fits  ─▶ open all sinks ─▶ give each to its query
//!  one does not             ─▶ take the queries off: nothing was opened
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::{Field, Schema, SchemaRef};
use windrow_core::stream::Sink;

use super::catalog::{Catalog, Entry, SinkEntry};
use super::declare::{located, pairs, refuse_unknown};
use super::held::Held;
use super::job::{self, BatchJob, BatchQuery, Ready};
use super::settle::Inputs;
use super::shared::Shared;
use super::sink_fit::{Fit, FittedSink, Wanted};
use crate::dialect::{ColumnDef, CreateSink, Insert, Options};
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::plan::{Planned, PlannedQuery};

/// A query that writes to a sink which has not been opened yet.
#[derive(Debug)]
pub(super) struct Writer {
    target: Target,
    /// The columns that the query gives.
    given: SchemaRef,
    query: WriterQuery,
    inputs: Inputs,
    held: Held,
}

/// Where a query's rows go.
#[derive(Debug)]
struct Target {
    entry: Arc<SinkEntry>,
    /// Whether the sink was made by the same statement.
    is_new: bool,
    fit: Fit,
    /// What errors of the sink point at.
    span: Range<usize>,
}

#[derive(Debug)]
enum WriterQuery {
    Graph(Ready),
    Batch(BatchQuery),
}

/// A sink as it is declared; its name is free.
pub(super) fn declared(shared: &Shared, create: &CreateSink) -> Result<SinkEntry> {
    let mut options = create.options.clone();
    let Some(connector) = options.remove("connector") else {
        let message = format!("sink {} does not say where rows go", create.name.value);
        let error = Error::new(ErrorKind::Option, message);
        let misspelt = (options.iter()).find(|(name, _)| nearest(name, ["connector"]).is_some());
        return Err(match misspelt {
            Some((name, option)) => (error.at(option.name_span.clone()))
                .help(format!("write connector instead of {name}")),
            None => (error.at(create.name.span.clone()))
                .help("for example WITH (connector = 'file', path = 'out.csv')"),
        });
    };
    let kind = (shared.connectors().get(&connector.value))
        .map_err(|error| error.at(connector.span.clone()))?
        .clone();
    let options = pairs(&options);
    refuse_shared_place(&shared.catalog(), create, kind.sink_place(&options))?;
    Ok(SinkEntry {
        name: create.name.value.clone(),
        connector_name: connector.value.clone(),
        place: kind.sink_place(&options),
        kind,
        options,
        schema: match &create.columns {
            Some(columns) => Some(declared_columns(columns)?),
            None => None,
        },
        is_written: Default::default(),
        fed: Default::default(),
    })
}

/// Two sinks would each replace what the other has written.
fn refuse_shared_place(
    catalog: &Catalog,
    create: &CreateSink,
    place: Option<String>,
) -> Result<()> {
    let Some(place) = place else {
        return Ok(());
    };
    let other = catalog.entries.values().find_map(|entry| match entry {
        Entry::Sink(sink) if sink.place.as_ref() == Some(&place) => Some(sink.name.as_str()),
        _ => None,
    });
    let Some(other) = other else {
        return Ok(());
    };
    let path = create.options.get("path");
    let name = path.map_or(place.as_str(), |path| path.value.as_str());
    let span = path.map_or(&create.name.span, |path| &path.span);
    Err(Error::new(
        ErrorKind::Plan,
        format!("sink {other} writes to '{name}' already"),
    )
    .help("name another path, or write all rows to one sink with UNION ALL")
    .at(span.clone()))
}

/// The columns of a sink, about which nothing more can be said than their types.
fn declared_columns(columns: &[ColumnDef]) -> Result<SchemaRef> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let rule = match column {
            ColumnDef { not_null: true, .. } => Some("NOT NULL"),
            column if !column.checks.is_empty() => Some("CHECK"),
            column if column.computed.is_some() => Some("AS (…)"),
            _ => None,
        };
        let data_type = column.data_type.clone();
        let (None, Some(data_type)) = (rule, data_type) else {
            let message = format!(
                "{} is not for the column of a sink",
                rule.unwrap_or("AS (…)")
            );
            return Err(Error::new(ErrorKind::Plan, message)
                .help("state it in the stream, or in the query: WHERE …")
                .at(column.span.clone()));
        };
        fields.push(Field::new(&column.name.value, data_type, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The writer that `CREATE SINK … AS query` is, and its sink as it is known then.
pub(super) fn created(
    shared: &Arc<Shared>,
    create: &CreateSink,
    mut entry: SinkEntry,
    planned: PlannedQuery,
    inputs: Inputs,
    span: Range<usize>,
) -> Result<Writer> {
    let given = planned.how.schema();
    let wanted = Wanted {
        what: &format!("sink {}", entry.name),
        declared: entry.schema.as_ref(),
        listed: &[],
        span,
    };
    let fit = wanted.fit(&given)?;
    entry.schema.get_or_insert_with(|| fit.schema.clone());
    let span = (create.options.get("path")).map_or(&create.name.span, |path| &path.span);
    let mut options = create.options.clone();
    options.remove("connector");
    check(&entry, &fit, &options, span)?;
    let target = Target {
        entry: Arc::new(entry),
        is_new: true,
        fit,
        span: span.clone(),
    };
    attach(shared, target, planned, inputs)
}

/// The writer that `INSERT INTO sink query` is.
pub(super) fn inserted(
    shared: &Arc<Shared>,
    insert: &Insert,
    entry: &Arc<SinkEntry>,
    planned: PlannedQuery,
    inputs: Inputs,
) -> Result<Writer> {
    let target = &insert.target.span;
    if entry.is_written.load(Ordering::SeqCst) {
        let message = format!("sink {} is written by another query already", entry.name);
        return Err(Error::new(ErrorKind::Plan, message)
            .help("write all rows with one query: INSERT INTO … SELECT … UNION ALL SELECT …")
            .at(target.clone()));
    }
    let wanted = Wanted {
        what: &format!("sink {}", entry.name),
        declared: entry.schema.as_ref(),
        listed: &insert.columns,
        span: insert.source.span.clone(),
    };
    let fit = wanted.fit(&planned.how.schema())?;
    check(entry, &fit, &Options::new(), target)?;
    let target = Target {
        entry: entry.clone(),
        is_new: false,
        fit,
        span: target.clone(),
    };
    attach(shared, target, planned, inputs)
}

/// Checks a sink's options as opening it would.
fn check(entry: &SinkEntry, fit: &Fit, options: &Options, span: &Range<usize>) -> Result<()> {
    let unknown =
        (entry.kind.check_sink(&entry.options, &fit.schema)).map_err(|error| {
            match error.kind() {
                ErrorKind::Io => error.at(span.clone()),
                _ => located(error, options),
            }
        })?;
    refuse_unknown(&unknown, options, &entry.kind.sink_option_names())
}

/// Attaches a query, for whose results there is no sink yet.
fn attach(
    shared: &Arc<Shared>,
    target: Target,
    planned: PlannedQuery,
    inputs: Inputs,
) -> Result<Writer> {
    let given = planned.how.schema();
    let mut held = Held::new(shared);
    let (name, work) = (&target.entry.name, &mut held.work);
    let query = match planned.how {
        Planned::Graph(graph) => {
            let ready = job::attach(shared, graph, name, None, Vec::new(), work)?;
            WriterQuery::Graph(ready)
        }
        Planned::Batch(plan) => WriterQuery::Batch(BatchQuery::attach(shared, plan, name, work)?),
    };
    target.entry.fed().reads = planned.reads;
    target.entry.is_written.store(true, Ordering::SeqCst);
    Ok(Writer {
        target,
        given,
        query,
        inputs,
        held,
    })
}

impl Writer {
    /// The sink that is written to.
    pub(super) fn entry(&self) -> &Arc<SinkEntry> {
        &self.target.entry
    }

    fn open(&self, shared: &Shared) -> Result<Box<dyn Sink>> {
        let Target {
            entry, fit, span, ..
        } = &self.target;
        let (sink, _) = (entry.kind.sink(&entry.options, &fit.schema))
            .map_err(|error| error.at(span.clone()))?;
        Ok(FittedSink::over(
            &entry.name,
            &shared.closing,
            sink,
            fit.clone(),
            &self.given,
        ))
    }

    fn start(self, shared: &Shared, sink: Box<dyn Sink>) -> Result<()> {
        let Self {
            target,
            query,
            inputs,
            mut held,
            ..
        } = self;
        let work = &mut held.work;
        match query {
            WriterQuery::Graph(ready) => {
                let added = shared.driver().engine.add_sink(ready.query, sink);
                if let Err(error) = added {
                    target.give_up(shared);
                    return Err(error.into());
                }
                job::start(shared, ready.tables, ready.waits, inputs, work);
            }
            WriterQuery::Batch(query) => {
                let job = BatchJob {
                    query,
                    view: None,
                    sinks: vec![sink],
                    failure: work.failure.clone(),
                };
                shared.add_job(Box::new(job), inputs.entries, work);
            }
        }
        target.entry.fed().works.push(held.keep());
        Ok(())
    }
}

impl Target {
    /// Makes as if nothing had been going to write to the sink; one that is new goes.
    fn give_up(&self, shared: &Shared) {
        self.entry.fed().reads.clear();
        self.entry.is_written.store(false, Ordering::SeqCst);
        let mut catalog = shared.catalog();
        let is_listed = matches!(catalog.entries.get(&self.entry.name),
            Some(Entry::Sink(entry)) if Arc::ptr_eq(entry, &self.entry));
        if self.is_new && is_listed {
            catalog.entries.remove(&self.entry.name);
        }
    }
}

/// Opens the sinks of a script and lets their queries write.
///
/// # Errors
/// If one cannot be opened: then none is left, and their queries are taken off.
pub(super) fn open(shared: &Shared, writers: Vec<Writer>) -> Result<()> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::with_capacity(writers.len());
    for writer in &writers {
        match writer.open(shared) {
            Ok(mut sink) => {
                sink.watch(&shared.stopping);
                sinks.push(sink);
            }
            Err(error) => {
                for sink in &mut sinks {
                    sink.abort();
                }
                give_up(shared, writers);
                return Err(error);
            }
        }
    }
    let mut left = writers.into_iter().zip(sinks);
    while let Some((writer, sink)) = left.next() {
        if let Err(error) = writer.start(shared, sink) {
            for (writer, mut sink) in left {
                sink.abort();
                writer.target.give_up(shared);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Takes the queries of a script off whose sinks are not to be opened.
pub(super) fn give_up(shared: &Shared, writers: Vec<Writer>) {
    for writer in writers {
        writer.target.give_up(shared);
    }
}
