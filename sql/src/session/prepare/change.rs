//! DROP and ALTER: what goes, with all that reads it, and what a live stream is told.

use windrow_core::time;

use super::Preparing;
use crate::dialect::{AlterAction, DropKind, Name};
use crate::error::{Error, ErrorKind, Result};
use crate::session::catalog::Entry;
use crate::session::held::Leaving;
use crate::session::statement::Prepared;

impl Preparing<'_> {
    pub(super) fn drop(
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
            let written = entry.drop_words();
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
        let mut catalog = self.shared.catalog();
        let tickets = names.iter().rev().filter_map(|name| catalog.take(name));
        let tickets = tickets.collect();
        Ok(Prepared::Leave(Leaving {
            shared: self.shared.clone(),
            tickets,
        }))
    }

    pub(super) fn alter(&self, name: &Name, action: &AlterAction) -> Result<Prepared> {
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
            AlterAction::End if stream.live.is_none() => Err(Error::new(
                ErrorKind::Plan,
                format!(
                    "stream {} ends by itself, when all of it has been read",
                    name.value
                ),
            )
            .help("leave this out: SELECT waits for the end")
            .at(name.span.clone())),
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
