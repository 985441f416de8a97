//! What a session tells about itself: `SHOW`, `DESCRIBE`, the system tables, progress.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use windrow_core::operator::Counters;
use windrow_core::pipeline::{QueryId, QueryStats, QueryStatus, StreamCounters};

use super::catalog::Entry;
use super::figures::{QueryFigures, StreamFigures};
use super::flow::QueryRates;
use super::settings::Settings;
use super::shared::{Shared, shared_error};
use crate::dialect::Show;
use crate::error::{Error, ErrorKind, Result};
use crate::format::column::declared_type;
use crate::secret::{is_secret, without_password};

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

/// A table of texts and numbers, column by column.
fn texts(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

/// A column of counts.
fn counts(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    let values = values
        .into_iter()
        .map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    Arc::new(Int64Array::from_iter_values(values))
}

/// A column of figures that may have no meaning.
fn floats(values: impl IntoIterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Float64Array>())
}

/// As [`counts`], of counts that may have no meaning.
fn counts_if(values: impl IntoIterator<Item = Option<u64>>) -> ArrayRef {
    let values = values
        .into_iter()
        .map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)));
    Arc::new(values.collect::<Int64Array>())
}

fn millis(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64() * 1e3)
}

impl Shared {
    /// Continuous queries by name, each followed by the parts that feed it.
    fn named_queries(&self) -> Vec<(String, QueryId)> {
        let mut queries = Vec::new();
        let standing = self.catalog().standing();
        for entry in standing.values() {
            match entry {
                Entry::View(view) => queries.extend(view.work.queries.iter().cloned()),
                Entry::Sink(sink) => {
                    for work in &sink.fed().works {
                        queries.extend(work.queries.iter().cloned());
                    }
                }
                _ => {}
            }
        }
        queries
    }

    /// How continuous queries stand, by name.
    fn named_query_figures(&self) -> Vec<(String, QueryFigures)> {
        let named = self.named_queries();
        let mut figures = self.query_figures();
        (named.into_iter())
            .filter_map(|(name, query)| Some((name, figures.remove(&query)?)))
            .collect()
    }
}

/// `windrow.streams`: received = accepted + rejected + dropped and accepted = processed +
/// late + unread, exactly.
pub(super) fn stream_stats(shared: &Shared) -> Result<RecordBatch> {
    let streams = shared.stream_figures();
    let name = |name: fn(&StreamFigures) -> &str| {
        texts(streams.iter().map(|stream| Some(name(stream).to_string())))
    };
    let count =
        |count: fn(&StreamCounters) -> u64| counts(streams.iter().map(|s| count(&s.counters)));
    let count_if = |count: fn(&StreamFigures) -> Option<u64>| counts_if(streams.iter().map(count));
    let float = |float: fn(&StreamFigures) -> Option<f64>| floats(streams.iter().map(float));
    let watermarks = streams.iter().map(|stream| stream.watermark_us);
    let ended = streams.iter().map(|stream| stream.ended);
    let lags = streams.iter().map(|stream| stream.lag_ms);
    let let_go = |count: fn(&StreamFigures) -> u64| counts(streams.iter().map(count));
    table(vec![
        ("name", name(|stream| &stream.name)),
        ("connector", name(|stream| &stream.connector)),
        ("expected", count_if(|stream| stream.expected)),
        ("received", count(|counters| counters.received)),
        ("accepted", count(|counters| counters.accepted)),
        ("rejected", count(|counters| counters.rejected)),
        ("dropped", count(|counters| counters.dropped)),
        ("processed", count(|counters| counters.processed)),
        ("late", count(|counters| counters.late)),
        ("unread", count(|counters| counters.unread)),
        ("emitted", count(|counters| counters.emitted)),
        ("bytes", count(|counters| counters.bytes)),
        ("collection_rate", float(StreamFigures::collection_rate)),
        (
            "processing_efficiency",
            float(StreamFigures::processing_efficiency),
        ),
        ("transfer_bytes_per_s", float(|stream| stream.rates.bytes)),
        ("input_rows_per_s", float(|stream| stream.rates.input)),
        (
            "processing_rows_per_s",
            float(|stream| stream.rates.processing),
        ),
        (
            "backlog_rows",
            count_if(|stream| Some(stream.backlog?.rows)),
        ),
        (
            "backlog_rows_max",
            count_if(|stream| Some(stream.backlog?.rows_max)),
        ),
        ("drain_s", float(|stream| stream.drain_s)),
        ("overflow_s", float(|stream| stream.overflow_s)),
        (
            "watermark",
            Arc::new(watermarks.collect::<TimestampMicrosecondArray>()),
        ),
        ("lag_ms", Arc::new(lags.collect::<Int64Array>())),
        ("delay_p50_ms", float(|stream| millis(stream.delay_p50))),
        ("delay_p99_ms", float(|stream| millis(stream.delay_p99))),
        ("ended", Arc::new(ended.collect::<BooleanArray>())),
        ("rejects_let_go", let_go(|stream| stream.rejects_let_go)),
        ("late_let_go", let_go(|stream| stream.late_let_go)),
    ])
}

/// How a query stands, in words.
fn status_words(status: &QueryStatus) -> String {
    match status {
        QueryStatus::Running => "running".to_string(),
        QueryStatus::Ended => "ended".to_string(),
        QueryStatus::Failed(error) => format!("failed: {}", shared_error(error).message()),
    }
}

/// `windrow.queries`: accepted = in_window + filtered + late + failed, exactly.
pub(super) fn query_stats(shared: &Shared) -> Result<RecordBatch> {
    let queries = shared.named_query_figures();
    let number = |count: fn(&QueryStats) -> u64| {
        counts(queries.iter().map(|(_, query)| count(&query.stats)))
    };
    let rate = |rate: fn(&QueryRates) -> Option<f64>| {
        floats(queries.iter().map(|(_, query)| rate(&query.rates)))
    };
    let names = queries.iter().map(|(name, _)| Some(name.clone()));
    let status = (queries.iter()).map(|(_, query)| Some(status_words(&query.stats.status)));
    table(vec![
        ("name", texts(names)),
        ("status", texts(status)),
        ("accepted", number(|stats| stats.accepted)),
        ("in_window", number(|stats| stats.in_window)),
        ("filtered", number(|stats| stats.filtered)),
        ("late", number(|stats| stats.late)),
        ("failed", number(|stats| stats.failed)),
        ("missed_windows", number(|stats| stats.missed_windows)),
        ("emitted", number(|stats| stats.rows_out)),
        ("rows_in_per_s", rate(|rates| rates.rows_in)),
        ("rows_out_per_s", rate(|rates| rates.rows_out)),
        ("keys", number(|stats| stats.keys)),
        ("open_windows", number(|stats| stats.open_windows)),
        ("panes", number(|stats| stats.panes)),
        ("state_bytes", number(|stats| stats.state_bytes)),
    ])
}

/// `windrow.operators`: one row for each operator of a query, in the order in which rows go
/// through them.
pub(super) fn operator_stats(shared: &Shared) -> Result<RecordBatch> {
    let queries = shared.named_query_figures();
    let operators: Vec<(&String, usize, &String, &Counters, Option<f64>)> = (queries.iter())
        .flat_map(|(name, query)| {
            let rates = query.rates.operators.iter().copied();
            (query
                .stats
                .operators
                .iter()
                .zip(rates.chain(std::iter::repeat(None))))
            .enumerate()
            .map(move |(place, ((operator, counters), rate))| {
                (name, place + 1, operator, counters, rate)
            })
        })
        .collect();
    let number = |count: fn(&Counters) -> u64| {
        counts(
            operators
                .iter()
                .map(|(_, _, _, counters, _)| count(counters)),
        )
    };
    table(vec![
        (
            "query",
            texts(operators.iter().map(|row| Some(row.0.clone()))),
        ),
        ("step", counts(operators.iter().map(|row| row.1 as u64))),
        (
            "operator",
            texts(operators.iter().map(|row| Some(row.2.clone()))),
        ),
        ("rows_in", number(|counters| counters.rows_in)),
        ("rows_out", number(|counters| counters.rows_out)),
        ("rows_in_per_s", floats(operators.iter().map(|row| row.4))),
        ("in_window", number(|counters| counters.in_window)),
        ("filtered", number(|counters| counters.filtered)),
        ("late", number(|counters| counters.late)),
        ("missed_windows", number(|counters| counters.missed_windows)),
        ("windows", number(|counters| counters.windows)),
        ("keys", number(|counters| counters.keys)),
        ("open_windows", number(|counters| counters.open_windows)),
        ("panes", number(|counters| counters.panes)),
        ("state_bytes", number(|counters| counters.state_bytes)),
    ])
}

/// The answer to a `SHOW`.
pub(super) fn show(shared: &Shared, what: &Show) -> Result<RecordBatch> {
    match what {
        Show::Streams => stream_stats(shared),
        Show::Queries => query_stats(shared),
        Show::Views => {
            let entries = shared.catalog().standing();
            let views: Vec<_> = (entries.values())
                .filter_map(|entry| match entry {
                    Entry::View(view) => Some(view.clone()),
                    _ => None,
                })
                .collect();
            let sizes: Vec<_> = views
                .iter()
                .map(|view| view.kept.as_ref().map(|kept| kept.view.size()))
                .collect();
            let kept = views.iter().map(|view| Some(view.kept.is_some()));
            table(vec![
                (
                    "name",
                    texts(views.iter().map(|view| Some(view.name.clone()))),
                ),
                ("materialized", Arc::new(kept.collect::<BooleanArray>())),
                (
                    "rows",
                    counts(sizes.iter().map(|size| size.map_or(0, |size| size.rows))),
                ),
                (
                    "bytes",
                    counts(
                        sizes
                            .iter()
                            .map(|size| size.map_or(0, |size| size.bytes as u64)),
                    ),
                ),
                (
                    "rows_let_go",
                    counts(
                        sizes
                            .iter()
                            .map(|size| size.map_or(0, |size| size.rows_let_go)),
                    ),
                ),
                (
                    "query",
                    texts(views.iter().map(|view| Some(view.text.clone()))),
                ),
            ])
        }
        Show::Sinks => {
            let entries = shared.catalog().standing();
            let sinks: Vec<_> = (entries.values())
                .filter_map(|entry| match entry {
                    Entry::Sink(sink) => Some(sink.clone()),
                    _ => None,
                })
                .collect();
            let options = sinks.iter().map(|sink| {
                let options = sink.options.iter();
                let options = options.map(|(name, value)| match name.as_str() {
                    name if is_secret(name) => format!("{name} = '…'"),
                    "url" => format!("{name} = '{}'", without_password(value)),
                    _ => format!("{name} = '{value}'"),
                });
                Some(options.collect::<Vec<_>>().join(", "))
            });
            table(vec![
                (
                    "name",
                    texts(sinks.iter().map(|sink| Some(sink.name.clone()))),
                ),
                (
                    "connector",
                    texts(sinks.iter().map(|sink| Some(sink.connector_name.clone()))),
                ),
                ("options", texts(options)),
            ])
        }
        Show::Tables => {
            let entries = shared.catalog().standing();
            let named: Vec<_> = (entries.iter())
                .filter(|(_, entry)| !matches!(entry, Entry::Stream(stream) if stream.implicit))
                .collect();
            let names = named.iter().map(|(name, _)| Some(name.to_string()));
            let kinds = texts((named.iter()).map(|(_, entry)| Some(entry.noun().to_string())));
            table(vec![("name", texts(names)), ("kind", kinds)])
        }
        Show::Functions => {
            let functions = functions(shared);
            let names = texts(functions.iter().map(|(name, _)| Some(name.clone())));
            let kinds = texts(functions.iter().map(|(_, kind)| Some(kind.to_string())));
            table(vec![("name", names), ("kind", kinds)])
        }
        Show::Settings => settings_table(&shared.settings(), None),
        Show::Setting(name) => settings_table(&shared.settings(), Some(&name.value)),
    }
}

fn settings_table(settings: &Settings, only: Option<&str>) -> Result<RecordBatch> {
    let rows: Vec<_> = settings
        .list()
        .filter(|(name, _, _)| only.is_none_or(|only| only == *name))
        .collect();
    if rows.is_empty() {
        // Asking for its value names the nearest setting.
        settings.clone().set(only.unwrap_or_default(), "0")?;
    }
    table(vec![
        (
            "name",
            texts(rows.iter().map(|(name, _, _)| Some(name.to_string()))),
        ),
        (
            "value",
            texts(rows.iter().map(|(_, value, _)| Some(value.clone()))),
        ),
        (
            "description",
            texts(rows.iter().map(|(_, _, text)| Some(text.to_string()))),
        ),
    ])
}

/// The functions of SQL and their kinds, in the order of their names.
pub(super) fn functions(shared: &Shared) -> Vec<(String, &'static str)> {
    let state = shared.state();
    let scalar = state
        .scalar_functions()
        .keys()
        .map(|name| (name.clone(), "scalar"));
    let aggregate = state
        .aggregate_functions()
        .keys()
        .map(|name| (name.clone(), "aggregate"));
    let window = state
        .window_functions()
        .keys()
        .map(|name| (name.clone(), "window"));
    let table = state
        .table_functions()
        .keys()
        .map(|name| (name.clone(), "table"));
    let own = ["tumble", "hop", "cumulate", "session", "count_window"];
    let own = own.into_iter().map(|name| (name.to_string(), "table"));
    let mut functions: Vec<_> = scalar
        .chain(aggregate)
        .chain(window)
        .chain(table)
        .chain(own)
        .collect();
    functions.sort();
    functions.dedup();
    functions
}

/// The answer to a `DESCRIBE`.
pub(super) fn describe(entry: &Entry) -> Result<RecordBatch> {
    let (schema, notes) = match entry {
        Entry::Stream(stream) => {
            let schema = stream.schema();
            let mut notes = stream.rules.notes.clone();
            if let (Some(time), Some(watermark)) = (&stream.event_time, &stream.watermark) {
                let note = &mut notes[time.column];
                let space = if note.is_empty() { "" } else { " " };
                note.push_str(&format!("{space}WATERMARK {watermark}"));
            }
            (schema, notes)
        }
        Entry::View(view) => (view.schema.clone(), Vec::new()),
        Entry::Table(table) => (table.schema.clone(), Vec::new()),
        Entry::Sink(sink) => match &sink.schema {
            Some(schema) => (schema.clone(), Vec::new()),
            None => {
                return Err(Error::new(
                    ErrorKind::Plan,
                    format!(
                        "sink {} has no columns before something is written to it",
                        sink.name
                    ),
                ));
            }
        },
    };
    columns(&schema, &notes)
}

/// The columns of a relation. `notes`: what is said of each, as far as there are any.
pub(super) fn columns(schema: &SchemaRef, notes: &[String]) -> Result<RecordBatch> {
    let fields = schema.fields();
    let notes = (0..fields.len()).map(|place| Some(notes.get(place).cloned().unwrap_or_default()));
    table(vec![
        (
            "column_name",
            texts(fields.iter().map(|field| Some(field.name().clone()))),
        ),
        (
            "data_type",
            texts(
                fields
                    .iter()
                    .map(|field| Some(declared_type(field.data_type()))),
            ),
        ),
        ("notes", texts(notes)),
    ])
}
