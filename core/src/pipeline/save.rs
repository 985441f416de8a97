//! The whole state of an engine, saved between two events and taken over by another.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, UInt64Type};

use super::accounts::LateRecords;
use super::engine::{Engine, Input, Query, QueryId, StreamId, Target};
use super::guard::guarded;
use super::ingress::{Ingress, StreamCounters};
use super::stats::{Accounted, QueryStatus};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::stream::Reject;

// How a saved query stood.
const RUNNING: i64 = 0;
const ENDED: i64 = 1;
const FAILED: i64 = 2;

impl Engine {
    /// The state of all streams and queries. It goes by their names and by the places
    /// of operators in their queries, so an engine with the same streams and queries
    /// can take it over.
    ///
    /// # Errors
    /// If a state cannot be saved.
    pub fn save(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let mut streams = Snapshot::default();
        for ingress in self.streams.values() {
            (streams.parts).insert(ingress.spec.name.to_string(), save_stream(ingress)?);
        }
        snapshot.parts.insert("streams".into(), streams);

        // Before anything is said of queries: one that cannot be saved fails, and those
        // that read its results with it.
        let mut operators = self.save_operators();
        let mut queries = Snapshot::default();
        for (id, query) in &self.queries {
            let stats = self.query_stats(QueryId(*id))?;
            let mut part = operators.remove(id).unwrap_or_default();
            let status = match query.status {
                QueryStatus::Running => RUNNING,
                QueryStatus::Ended => ENDED,
                QueryStatus::Failed(_) => FAILED,
            };
            for (name, number) in [
                ("status", status),
                ("accepted", query.accepted as i64),
                ("passed", query.passed as i64),
                ("in_window", stats.in_window as i64),
                ("filtered", stats.filtered as i64),
                ("late", stats.late as i64),
                ("missed_windows", stats.missed_windows as i64),
                ("rows_out", query.rows_out as i64),
                ("watermark", query.watermark),
            ] {
                part.numbers.insert(name.into(), number);
            }
            if let QueryStatus::Failed(error) = &query.status {
                let text: ArrayRef = Arc::new(StringArray::from(vec![error.to_string()]));
                let error = RecordBatch::try_from_iter([("error", text)])?;
                part.tables.insert("error".into(), error);
            }
            if let Some(view) = &query.view {
                part.parts.insert("view".into(), view.save()?);
            }
            queries.parts.insert(query.name.to_string(), part);
        }
        snapshot.parts.insert("queries".into(), queries);
        Ok(snapshot)
    }

    /// The operators' states of each running query; one that cannot be saved fails.
    fn save_operators(&mut self) -> BTreeMap<usize, Snapshot> {
        let mut saved = BTreeMap::new();
        for id in self.queries.keys().copied().collect::<Vec<_>>() {
            match self.save_query(QueryId(id)) {
                Ok(Some(part)) => {
                    saved.insert(id, part);
                }
                Ok(None) => {}
                Err(error) => self.fail(QueryId(id), Arc::new(error)),
            }
        }
        saved.retain(|id, _| (self.queries.get(id)).is_some_and(Query::is_running));
        saved
    }

    fn save_query(&mut self, query: QueryId) -> Result<Option<Snapshot>> {
        let Some(query) = self
            .queries
            .get(&query.0)
            .filter(|query| query.is_running())
        else {
            return Ok(None);
        };
        let mut part = Snapshot::default();
        for (place, node) in query.nodes.iter().enumerate() {
            if let Some(node) = self.nodes.get_mut(node) {
                let name = format!("{place} {}", node.operator.name());
                let state = guarded(&mut *node.operator, |operator| operator.save())?;
                part.parts.insert(name, state);
            }
        }
        Ok(Some(part))
    }

    /// Takes over a saved state at the caller's clock reading `now`. The engine has
    /// seen no event yet; streams and queries that the snapshot does not know start
    /// empty.
    ///
    /// What a cancelled engine had not given out yet is given out by
    /// [`Engine::resume`].
    ///
    /// # Errors
    /// If the snapshot names an operator that this engine does not have.
    pub fn load(&mut self, snapshot: &Snapshot, now: i64) -> Result<()> {
        let streams = snapshot.part("streams")?;
        for ingress in self.streams.values_mut() {
            if let Some(part) = streams.parts.get(&*ingress.spec.name) {
                load_stream(ingress, part, now)?;
            }
        }
        let queries = snapshot.part("queries")?;
        for id in self.queries.keys().copied().collect::<Vec<_>>() {
            let Some(query) = self.queries.get(&id) else {
                continue;
            };
            if let Some(part) = queries.parts.get(&*query.name) {
                self.load_query(QueryId(id), part)?;
            }
        }
        self.catch_up_new(queries);
        Ok(())
    }

    fn load_query(&mut self, id: QueryId, part: &Snapshot) -> Result<()> {
        let number = |name: &str| part.count(name);
        let Some(query) = self.queries.get_mut(&id.0) else {
            return Ok(());
        };
        query.accepted = number("accepted")?;
        query.passed = number("passed")?;
        query.rows_out = number("rows_out")?;
        query.watermark = part.number("watermark")?;
        if let Some(view) = &query.view {
            view.load(part.part("view")?)?;
        }
        let status = part.number("status")?;
        if status == RUNNING {
            for (place, node) in query.nodes.iter().enumerate() {
                if let Some(node) = self.nodes.get_mut(node) {
                    let name = format!("{place} {}", node.operator.name());
                    let state = part.part(&name)?;
                    guarded(&mut *node.operator, |operator| operator.load(state))?;
                }
            }
            return Ok(());
        }
        query.passed = 0;
        query.before = Accounted {
            in_window: number("in_window")?,
            filtered: number("filtered")?,
            late: number("late")?,
            missed_windows: number("missed_windows")?,
        };
        // What there was to publish has been, by the run that was saved.
        for sink in &mut query.sinks {
            sink.abort();
        }
        query.sinks.clear();
        if status == ENDED {
            query.status = QueryStatus::Ended;
            if let Some(view) = &query.view {
                view.end();
            }
        } else {
            let error = part.table("error")?;
            let text = (error.columns().first())
                .and_then(|column| column.as_string_opt::<i32>())
                .filter(|text| !text.is_empty());
            let text = text.map_or("it failed before", |text| text.value(0));
            let error = Arc::new(Error::invalid(text));
            query.status = QueryStatus::Failed(error.clone());
            if let Some(view) = &query.view {
                view.fail(error);
            }
        }
        self.unlink(id);
        Ok(())
    }

    /// Tells queries that the snapshot does not know how far their inputs have come.
    fn catch_up_new(&mut self, known: &Snapshot) {
        let is_known = |query: &Query| known.parts.contains_key(&*query.name);
        let unknown: Vec<usize> = (self.queries.values())
            .filter(|query| !is_known(query))
            .flat_map(|query| query.nodes.iter().copied())
            .collect();
        let mut waiting = Vec::new();
        let mut look = |from: Input, targets: &[Target]| {
            for target in targets {
                if matches!(target, Target::Node { node, .. } if unknown.contains(node)) {
                    waiting.push((*target, from));
                }
            }
        };
        for (stream, targets) in &self.stream_targets {
            look(Input::Stream(StreamId(*stream)), targets);
        }
        for (id, query) in self.queries.iter().filter(|(_, query)| is_known(query)) {
            look(Input::Query(QueryId(*id)), &query.targets);
        }
        self.install(|engine| {
            for (target, from) in waiting {
                engine.catch_up(target, from);
            }
        });
    }
}

fn save_stream(ingress: &Ingress) -> Result<Snapshot> {
    let mut part = Snapshot::default();
    let counters = ingress.counters;
    for (name, number) in [
        ("received", counters.received),
        ("accepted", counters.accepted),
        ("rejected", counters.rejected),
        ("dropped", counters.dropped),
        ("bytes", counters.bytes),
        ("late", counters.late),
        ("processed", counters.processed),
        ("unread", counters.unread),
        ("emitted", counters.emitted),
        ("rejects_let_go", ingress.rejects.let_go()),
        ("late_let_go", ingress.late.let_go()),
        ("ended", u64::from(ingress.ended)),
    ] {
        part.numbers.insert(name.into(), number as i64);
    }
    (part.parts).insert("watermark".into(), ingress.tracker.save());
    if let Some(expected) = &ingress.expected {
        part.parts.insert("expected".into(), expected.save()?);
    }

    let texts = |field: fn(&Reject) -> &str| -> ArrayRef {
        let values = ingress.rejects.iter().map(|reject| Some(field(reject)));
        Arc::new(values.collect::<StringArray>())
    };
    let rejects = RecordBatch::try_from_iter([
        ("text", texts(|reject| &reject.text)),
        ("position", texts(|reject| &reject.position)),
        ("reason", texts(|reject| &reject.reason)),
        ("rule", texts(|reject| &reject.rule)),
    ])?;
    part.tables.insert("rejects".into(), rejects);

    let entries: Vec<&LateRecords> = ingress.late.entries().collect();
    let rows = concat_batches(
        &ingress.spec.prepare.schema(),
        entries.iter().map(|entry| &entry.rows),
    )?;
    let late_by = entries
        .iter()
        .flat_map(|entry| entry.late_by.iter().copied());
    let late_by: ArrayRef = Arc::new(Int64Array::from_iter_values(late_by));
    let queries = entries.iter().map(|entry| Some(&*entry.query));
    let queries: ArrayRef = Arc::new(queries.collect::<StringArray>());
    let lengths = entries.iter().map(|entry| entry.late_by.len() as u64);
    let lengths: ArrayRef = Arc::new(UInt64Array::from_iter_values(lengths));
    part.tables.insert("late".into(), rows);
    (part.tables).insert(
        "late_by".into(),
        RecordBatch::try_from_iter([("late_by", late_by)])?,
    );
    (part.tables).insert(
        "late_entries".into(),
        RecordBatch::try_from_iter([("query", queries), ("rows", lengths)])?,
    );
    Ok(part)
}

fn load_stream(ingress: &mut Ingress, part: &Snapshot, now: i64) -> Result<()> {
    let number = |name: &str| part.count(name);
    ingress.counters = StreamCounters {
        received: number("received")?,
        accepted: number("accepted")?,
        rejected: number("rejected")?,
        dropped: number("dropped")?,
        bytes: number("bytes")?,
        late: number("late")?,
        processed: number("processed")?,
        unread: number("unread")?,
        emitted: number("emitted")?,
    };
    ingress.ended = number("ended")? != 0;
    ingress.tracker.load(part.part("watermark")?, now)?;
    ingress.told = ingress.tracker.current();
    if let Some(expected) = &mut ingress.expected {
        expected.load(part.part("expected")?)?;
    }

    let rejects = part.table("rejects")?;
    let texts = (rejects.columns().iter())
        .map(|column| column.as_string_opt::<i32>())
        .collect::<Option<Vec<_>>>();
    let [text, position, reason, rule] = texts.as_deref().unwrap_or_default() else {
        return Err(Error::Snapshot("its rejects do not add up".into()));
    };
    let restored = (0..rejects.num_rows()).map(|row| Reject {
        text: text.value(row).into(),
        position: position.value(row).into(),
        reason: reason.value(row).into(),
        rule: rule.value(row).into(),
    });
    (ingress.rejects).restore(restored.collect::<Vec<_>>(), number("rejects_let_go")?);

    let rows = part.table("late")?;
    let damaged = || Error::Snapshot("its late rows do not add up".into());
    let late_by = (part.table("late_by")?.columns().first())
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or_else(damaged)?;
    let entries = part.table("late_entries")?;
    let [queries, lengths] = entries.columns() else {
        return Err(damaged());
    };
    let queries = queries.as_string_opt::<i32>().ok_or_else(damaged)?;
    let lengths = lengths
        .as_primitive_opt::<UInt64Type>()
        .ok_or_else(damaged)?;
    let mut restored = Vec::with_capacity(entries.num_rows());
    let mut start = 0;
    for entry in 0..entries.num_rows() {
        let end = (usize::try_from(lengths.value(entry)).ok())
            .and_then(|length| length.checked_add(start))
            .filter(|end| *end <= rows.num_rows() && *end <= late_by.len())
            .ok_or_else(damaged)?;
        restored.push(LateRecords {
            query: queries.value(entry).into(),
            rows: rows.slice(start, end - start),
            late_by: late_by.values()[start..end].to_vec(),
        });
        start = end;
    }
    ingress.late.restore(restored, number("late_let_go")?);
    Ok(())
}
