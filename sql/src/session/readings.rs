//! The readings of streams: joined by queries, started when rows are asked for, given up
//! when nobody has joined them any more.

use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::Duration;

use arrow::array::RecordBatch;
use windrow_core::pipeline::{Driver, PushReport, StreamId};

use super::catalog::{Entry, Reading, Readings, StreamEntry, Work};
use super::fit::fitted;
use super::shared::{Shared, now_ns};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::PlannedScan;

/// So often one who pushes rows sees whether the sinks have room again.
const ROOM_WAIT: Duration = Duration::from_millis(2);

impl Shared {
    /// Starts the sources of streams that queries have been attached to.
    pub(super) fn start_readings(&self) -> Result<()> {
        // What replaces a stream is read when that statement's turn comes: `standing`
        // holds the old one until then.
        for stream in self.streams() {
            let Some(connector) = &stream.connector else {
                continue;
            };
            let mut readings = stream.readings();
            let unstarted = readings.list.iter_mut().filter(|reading| !reading.started);
            for reading in unstarted {
                reading.started = true;
                match connector.open_for(&stream.wanted(&reading.scans)) {
                    Ok(source) => self.driver().start(reading.id, source),
                    Err(error) => {
                        let error = unopened(&stream, error);
                        let error = Arc::new(windrow_core::Error::from(error));
                        self.driver().engine.fail_stream(reading.id, &error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The reading of a stream that a new query would join.
    pub(super) fn reading(&self, stream: &StreamEntry) -> Result<StreamId> {
        self.newest(stream, &mut stream.readings())
    }

    /// Joins the reading of a stream that has not begun, or that goes on for ever.
    /// `scan`: what is taken of it.
    pub(super) fn join(
        &self,
        stream: &Arc<StreamEntry>,
        scan: &PlannedScan,
        work: &mut Work,
    ) -> Result<StreamId> {
        let mut readings = stream.readings();
        let id = self.newest(stream, &mut readings)?;
        if let Some(reading) = readings.list.last_mut().filter(|reading| !reading.started) {
            reading.scans.push(scan.clone());
        }
        let joined = (work.readings.iter()).any(|(_, joined)| *joined == id);
        if !joined && let Some(reading) = readings.list.last_mut() {
            reading.users += 1;
            work.readings.push((stream.clone(), id));
        }
        Ok(id)
    }

    fn newest(&self, stream: &StreamEntry, readings: &mut Readings) -> Result<StreamId> {
        let joins = |reading: &&Reading| {
            !reading.started || (stream.live.is_some() && !self.has_broken_off(stream, reading))
        };
        if let Some(reading) = readings.list.last().filter(joins) {
            return Ok(reading.id);
        }
        let spec = stream.spec(readings.made);
        let name = spec.name.clone();
        let id = self.driver().engine.add_stream(spec, now_ns())?;
        readings.made += 1;
        readings.list.push(Reading {
            id,
            name,
            // Nothing has to be started where rows are pushed.
            started: stream.connector.is_none(),
            users: 0,
            scans: Vec::new(),
        });
        self.prune(readings);
        Ok(id)
    }

    /// Whether the source of a started reading could not be opened, or failed: nothing more
    /// comes of it, and a query that joined it would wait for ever.
    fn has_broken_off(&self, stream: &StreamEntry, reading: &Reading) -> bool {
        let driver = self.driver();
        let ended = (driver.engine.stream_stats(reading.id)).is_ok_and(|stats| stats.ended);
        stream.connector.is_some() && !ended && !driver.is_running(reading.id)
    }

    /// Leaves a reading that was joined.
    pub(super) fn leave(&self, stream: &StreamEntry, id: StreamId) {
        let mut readings = stream.readings();
        let joined = readings.list.iter_mut().find(|reading| reading.id == id);
        if let Some(reading) = joined {
            reading.users = reading.users.saturating_sub(1);
        }
        self.prune(&mut readings);
    }

    /// Gives up what nobody has joined, but for the newest reading: its counters, rejects
    /// and late rows are those that are asked for.
    fn prune(&self, readings: &mut Readings) {
        let newest = readings.list.last().map(|reading| reading.id);
        readings.list.retain(|reading| {
            let stays = reading.users > 0 || Some(reading.id) == newest;
            if !stays {
                self.forget(reading.id);
            }
            stays
        });
    }

    /// Stops reading what would end, for nobody: of a query that was stopped or has seen
    /// enough, of a view that was dropped. What has been counted stays.
    pub(super) fn stop_unjoined(&self) {
        for stream in self.streams() {
            if stream.live.is_some() || stream.connector.is_none() {
                continue;
            }
            let readings = stream.readings();
            for reading in (readings.list.iter()).filter(|reading| reading.users == 0) {
                self.driver().stop(reading.id);
            }
        }
    }

    /// Ends all readings of a stream that is no longer there.
    pub(super) fn close_stream(&self, stream: &StreamEntry) {
        let readings = std::mem::take(&mut stream.readings().list);
        for reading in readings {
            let error = Error::new(
                ErrorKind::Plan,
                format!("stream {} was dropped while it was read", stream.name),
            );
            let error = Arc::new(windrow_core::Error::from(error));
            (self.driver().engine).fail_stream(reading.id, &error);
            self.forget(reading.id);
        }
    }

    /// The driver, once the sinks that a stream's rows come to can take some: others go on
    /// meanwhile.
    fn driver_with_room(&self, stream: StreamId) -> Result<MutexGuard<'_, Driver>> {
        loop {
            let mut driver = self.driver();
            if driver.engine.has_room(stream) {
                return Ok(driver);
            }
            // A sink that has failed is noticed, and not waited for.
            driver.engine.tick(now_ns());
            drop(driver);
            self.check_cancelled()?;
            thread::sleep(ROOM_WAIT);
        }
    }

    /// Gives rows to a stream that is fed by INSERT and push.
    pub(super) fn push(
        &self,
        stream: &StreamEntry,
        producer: u32,
        records: &RecordBatch,
    ) -> Result<PushReport> {
        if stream.connector.is_some() {
            return Err(Error::new(
                ErrorKind::Plan,
                format!("stream {} is fed by its connector", stream.name),
            )
            .help("push into a stream that was created without a connector"));
        }
        let records = fitted(records, &stream.rules.source_schema())?;
        let reading = self.reading(stream)?;
        let mut driver = self.driver_with_room(reading)?;
        let bytes = records.get_array_memory_size() as u64;
        Ok(driver.push(reading, producer, &records, bytes, &now_ns)?)
    }

    /// The streams of the engine that an entry's rows come from.
    pub(super) fn upstream(&self, entry: &Entry, into: &mut Vec<StreamId>) {
        let of_work = |work: &Work, into: &mut Vec<StreamId>| {
            into.extend(&work.tables);
            into.extend(work.readings.iter().map(|(_, id)| *id));
        };
        match entry {
            Entry::Stream(stream) => {
                into.extend(stream.readings().list.iter().map(|reading| reading.id));
            }
            Entry::View(view) => {
                of_work(&view.work, into);
                for source in &view.sources {
                    if matches!(source, Entry::View(_)) {
                        self.upstream(source, into);
                    }
                }
            }
            Entry::Sink(sink) => {
                for work in &sink.fed().works {
                    of_work(work, into);
                }
            }
            Entry::Table(_) => {}
        }
    }

    /// The streams that are there.
    pub(super) fn streams(&self) -> Vec<Arc<StreamEntry>> {
        (self.catalog().standing().into_values())
            .filter_map(|entry| match entry {
                Entry::Stream(stream) => Some(stream),
                _ => None,
            })
            .collect()
    }
}

/// The error of a stream that cannot be listened on, or read, with its name and its place.
fn unopened(stream: &StreamEntry, error: Error) -> Error {
    match &stream.place {
        Some((span, script)) if stream.live.is_some() => {
            let message = format!("stream {}: {}", stream.name, error.message());
            (error.worded(message).at(span.clone())).in_script(script)
        }
        _ => error,
    }
}
