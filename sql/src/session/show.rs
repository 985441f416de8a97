//! What a session tells about itself: `SHOW`, `DESCRIBE`, the system tables, progress.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use windrow_core::pipeline::{QueryId, QueryStats, QueryStatus, StreamStats};

use super::catalog::{Entry, StreamEntry};
use super::progress::watermark_micros;
use super::settings::Settings;
use super::shared::{Shared, shared_error};
use crate::dialect::Show;
use crate::error::{Error, ErrorKind, Result};
use crate::format::column::declared_type;

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

impl Shared {
    /// Continuous queries by name, each followed by the parts that feed it.
    pub(super) fn named_queries(&self) -> Vec<(String, QueryId)> {
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

    /// The newest reading of a stream: what its counters are about. Late rows are those of
    /// all queries, whatever reading they have joined.
    fn stats(&self, stream: &StreamEntry) -> Option<StreamStats> {
        let readings = stream.readings().list.clone();
        let driver = self.driver();
        let mut all = (readings.iter().rev())
            .filter_map(|reading| driver.engine.stream_stats(reading.id).ok());
        let mut newest = all.next()?;
        newest.late_let_go += all.map(|stats| stats.late_let_go).sum::<u64>();
        Some(newest)
    }
}

/// `windrow.streams`: received = accepted + rejected + dropped, exactly.
pub(super) fn stream_stats(shared: &Shared) -> Result<RecordBatch> {
    let streams = shared.streams();
    let stats: Vec<Option<StreamStats>> =
        streams.iter().map(|stream| shared.stats(stream)).collect();
    let number = |count: fn(&StreamStats) -> u64| {
        counts(stats.iter().map(|stats| stats.as_ref().map_or(0, count)))
    };
    let watermarks = streams.iter().zip(&stats).map(|(stream, stats)| {
        stats
            .as_ref()
            .and_then(|stats| watermark_micros(stream, stats.watermark))
    });
    let ended = stats
        .iter()
        .map(|stats| stats.as_ref().map(|stats| stats.ended));
    table(vec![
        (
            "name",
            texts(streams.iter().map(|stream| Some(stream.name.clone()))),
        ),
        (
            "connector",
            texts(
                streams
                    .iter()
                    .map(|stream| Some(stream.connector_name.clone())),
            ),
        ),
        ("received", number(|stats| stats.counters.received)),
        ("accepted", number(|stats| stats.counters.accepted)),
        ("rejected", number(|stats| stats.counters.rejected)),
        ("dropped", number(|stats| stats.counters.dropped)),
        ("bytes", number(|stats| stats.counters.bytes)),
        (
            "watermark",
            Arc::new(watermarks.collect::<TimestampMicrosecondArray>()),
        ),
        ("ended", Arc::new(ended.collect::<BooleanArray>())),
        ("rejects_let_go", number(|stats| stats.rejects_let_go)),
        ("late_let_go", number(|stats| stats.late_let_go)),
    ])
}

/// `windrow.queries`: accepted = in_window + filtered + late + failed, exactly.
pub(super) fn query_stats(shared: &Shared) -> Result<RecordBatch> {
    let queries = shared.named_queries();
    let mut names = Vec::new();
    let mut stats: Vec<QueryStats> = Vec::new();
    {
        let driver = shared.driver();
        for (name, query) in queries {
            if let Ok(found) = driver.engine.query_stats(query) {
                names.push(Some(name));
                stats.push(found);
            }
        }
    }
    let number = |count: fn(&QueryStats) -> u64| counts(stats.iter().map(count));
    let status = stats.iter().map(|stats| {
        Some(match &stats.status {
            QueryStatus::Running => "running".to_string(),
            QueryStatus::Ended => "ended".to_string(),
            QueryStatus::Failed(error) => format!("failed: {}", shared_error(error).message()),
        })
    });
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
        ("keys", number(|stats| stats.keys)),
        ("panes", number(|stats| stats.panes)),
        ("state_bytes", number(|stats| stats.state_bytes)),
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
                    // It opens a receiver's door to whoever reads it.
                    "authorization" => format!("{name} = '…'"),
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
