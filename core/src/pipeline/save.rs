//! The whole state of an engine, saved between two events and taken over by another.

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use std::sync::Arc;

use super::accounts::LateRecords;
use super::engine::Engine;
use super::ingress::{Ingress, StreamCounters};
use super::stats::QueryStatus;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::stream::Reject;

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
        for ingress in self.streams.iter().flatten() {
            (streams.parts).insert(ingress.spec.name.to_string(), save_stream(ingress)?);
        }
        snapshot.parts.insert("streams".into(), streams);

        let mut queries = Snapshot::default();
        for query in self.queries.iter().flatten() {
            let mut part = Snapshot::default();
            let ended = matches!(query.status, QueryStatus::Ended);
            for (name, number) in [
                ("ended", i64::from(ended)),
                ("accepted", query.accepted as i64),
                ("passed", query.passed as i64),
                ("rows_out", query.rows_out as i64),
                ("watermark", query.watermark),
            ] {
                part.numbers.insert(name.into(), number);
            }
            if let Some(view) = &query.view {
                part.parts.insert("view".into(), view.save()?);
            }
            for (place, node) in query.nodes.iter().enumerate() {
                if let Some(node) = self.nodes[*node].as_mut() {
                    let name = format!("{place} {}", node.operator.name());
                    part.parts.insert(name, node.operator.save()?);
                }
            }
            queries.parts.insert(query.name.to_string(), part);
        }
        snapshot.parts.insert("queries".into(), queries);
        Ok(snapshot)
    }

    /// Takes over a saved state at the caller's clock reading `now`. The engine has
    /// seen no event yet; streams and queries that the snapshot does not know start
    /// empty.
    ///
    /// # Errors
    /// If the snapshot names an operator that this engine does not have.
    pub fn load(&mut self, snapshot: &Snapshot, now: i64) -> Result<()> {
        let streams = snapshot.part("streams")?;
        for ingress in self.streams.iter_mut().flatten() {
            if let Some(part) = streams.parts.get(&*ingress.spec.name) {
                load_stream(ingress, part, now)?;
            }
        }
        let queries = snapshot.part("queries")?;
        for query in self.queries.iter_mut().flatten() {
            let Some(part) = queries.parts.get(&*query.name) else {
                continue;
            };
            query.accepted = part.number("accepted")? as u64;
            query.passed = part.number("passed")? as u64;
            query.rows_out = part.number("rows_out")? as u64;
            query.watermark = part.number("watermark")?;
            if part.number("ended")? != 0 {
                query.status = QueryStatus::Ended;
            }
            if let Some(view) = &query.view {
                view.load(part.part("view")?)?;
            }
            for (place, node) in query.nodes.iter().enumerate() {
                if let Some(node) = self.nodes[*node].as_mut() {
                    let name = format!("{place} {}", node.operator.name());
                    node.operator.load(part.part(&name)?)?;
                }
            }
        }
        Ok(())
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
        ("rejects_let_go", ingress.rejects.let_go()),
        ("late_let_go", ingress.late.let_go()),
        ("ended", u64::from(ingress.ended)),
    ] {
        part.numbers.insert(name.into(), number as i64);
    }
    (part.parts).insert("watermark".into(), ingress.tracker.save());

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
    let number = |name: &str| part.number(name).map(|number| number as u64);
    ingress.counters = StreamCounters {
        received: number("received")?,
        accepted: number("accepted")?,
        rejected: number("rejected")?,
        dropped: number("dropped")?,
        bytes: number("bytes")?,
    };
    ingress.ended = number("ended")? != 0;
    ingress.tracker.load(part.part("watermark")?, now)?;

    let rejects = part.table("rejects")?;
    let text = |column: usize, row: usize| -> String {
        let column = rejects.column(column);
        (column.as_string_opt::<i32>()).map_or(String::new(), |texts| texts.value(row).into())
    };
    let restored = (0..rejects.num_rows()).map(|row| Reject {
        text: text(0, row),
        position: text(1, row),
        reason: text(2, row),
        rule: text(3, row),
    });
    (ingress.rejects).restore(restored.collect::<Vec<_>>(), number("rejects_let_go")?);

    let rows = part.table("late")?;
    let damaged = || Error::Snapshot("its late rows do not add up".into());
    let late_by = (part
        .table("late_by")?
        .column(0)
        .as_primitive_opt::<Int64Type>())
    .ok_or_else(damaged)?;
    let entries = part.table("late_entries")?;
    let mut restored = Vec::with_capacity(entries.num_rows());
    let mut start = 0;
    for entry in 0..entries.num_rows() {
        let query = (entries.column(0).as_string_opt::<i32>()).ok_or_else(damaged)?;
        let length = (entries.column(1))
            .as_primitive_opt::<arrow::datatypes::UInt64Type>()
            .ok_or_else(damaged)?
            .value(entry) as usize;
        if start + length > rows.num_rows() || start + length > late_by.len() {
            return Err(damaged());
        }
        restored.push(LateRecords {
            query: query.value(entry).into(),
            rows: rows.slice(start, length),
            late_by: late_by.values()[start..start + length].to_vec(),
        });
        start += length;
    }
    ingress.late.restore(restored, number("late_let_go")?);
    Ok(())
}
