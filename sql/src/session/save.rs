//! Snapshots of a session.
//!
//! The engine knows a stream that is read again by a name that counts its readings, and
//! another session may count them otherwise: what could not be opened at first may be open
//! now, and views that were declared one after the other may be declared at once. So a
//! snapshot knows readings by their age: the newest has the name of the stream.

use windrow_core::snapshot::Snapshot;

use super::shared::{Shared, now_ns, whole};
use crate::error::Result;

/// The part of an engine's snapshot that holds its streams.
const STREAMS: &str = "streams";

/// What a snapshot calls a reading of a stream, by how many there are after it.
fn saved_name(stream: &str, after: usize) -> String {
    match after {
        0 => stream.to_owned(),
        // No name that is written in SQL has this sign.
        _ => format!("{stream}\0{after}"),
    }
}

impl Shared {
    /// The state of the engine between two events.
    pub(super) fn snapshot(&self) -> Result<Vec<u8>> {
        let names = self.reading_names();
        let mut snapshot = self.driver().engine.save()?;
        rename(&mut snapshot, names);
        Ok(snapshot.encode()?)
    }

    /// Takes over the state of another session's engine.
    pub(super) fn restore(&self, bytes: &[u8]) -> Result<()> {
        let mut snapshot = Snapshot::decode(bytes)?;
        let names = self.reading_names().into_iter();
        rename(&mut snapshot, names.map(|(engine, saved)| (saved, engine)));
        let mut driver = self.driver();
        driver.engine.load(&snapshot, now_ns())?;
        // What was counted elsewhere has not flowed here.
        *whole(&self.flow) = Default::default();
        // A session that was cancelled may have been saved with results on their way.
        driver.engine.resume();
        Ok(())
    }

    /// What the engine calls each reading, and what a snapshot does.
    fn reading_names(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for stream in self.streams() {
            let readings = stream.readings();
            let newest_first = readings.list.iter().rev().enumerate();
            names.extend(newest_first.map(|(after, reading)| {
                (reading.name.to_string(), saved_name(&stream.name, after))
            }));
        }
        names
    }
}

/// Gives parts of the streams other names, all at once.
fn rename(snapshot: &mut Snapshot, names: impl IntoIterator<Item = (String, String)>) {
    let Some(streams) = snapshot.parts.get_mut(STREAMS) else {
        return;
    };
    let renamed: Vec<_> = (names.into_iter())
        .filter_map(|(from, to)| Some((to, streams.parts.remove(&from)?)))
        .collect();
    streams.parts.extend(renamed);
}
