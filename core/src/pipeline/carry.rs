//! How an event goes on from operator to operator, to views and sinks; and what
//! becomes of a query that ends or fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::engine::{Engine, Query, QueryId, StreamId, Target};
use super::guard::guarded;
use super::stats::QueryStatus;
use crate::error::{Error, Result};
use crate::operator::{Drain, Output};
use crate::stream::Sink;

impl Engine {
    /// Carries an event to its target and on to the sinks.
    pub(super) fn deliver(&mut self, target: Target, event: Output) {
        match target {
            Target::Node { node, input } => self.deliver_to_node(node, input, event),
            Target::Output(query) => self.deliver_to_output(query, event),
        }
    }

    fn deliver_to_node(&mut self, at: usize, input: usize, event: Output) {
        let Some(node) = self.nodes.get_mut(&at).filter(|node| !node.failed) else {
            return;
        };
        let taken = guarded(&mut *node.operator, |operator| match event {
            Output::Batch(batch) => operator.on_batch(input, batch),
            Output::Watermark(watermark) => operator.on_watermark(input, watermark),
            Output::End => operator.on_end(input),
        });
        let query = node.query;
        self.collect_late(at);
        if let Err(error) = taken {
            return self.fail(query, Arc::new(error));
        }
        self.carry_on(at);
    }

    /// Whether all sinks that a stream's rows come to can take them without waiting.
    pub fn has_room(&self, stream: StreamId) -> bool {
        let is_full =
            |query: &Query| query.is_running() && query.sinks.iter().any(|sink| !sink.has_room());
        if !self.queries.values().any(is_full) {
            return true;
        }
        let mut next = (self.stream_targets.get(&stream.0)).map_or(Vec::new(), Vec::clone);
        let mut seen = BTreeSet::new();
        while let Some(target) = next.pop() {
            match target {
                Target::Node { node, .. } => {
                    if let (true, Some(node)) = (seen.insert(node), self.nodes.get(&node)) {
                        next.extend_from_slice(&node.targets);
                    }
                }
                Target::Output(query) => {
                    let query = self.queries.get(&query.0);
                    if query.is_some_and(is_full) {
                        return false;
                    }
                    next.extend(
                        query
                            .into_iter()
                            .flat_map(|query| query.targets.iter().copied()),
                    );
                }
            }
        }
        true
    }

    /// Lets operators in which branches of a stream meet give out what has come by all
    /// of them. They stand in an order in which each reads from earlier ones only.
    pub(super) fn settle(&mut self) {
        for at in self.gathering.iter().copied().collect::<Vec<_>>() {
            let Some(node) = self.nodes.get_mut(&at).filter(|node| !node.failed) else {
                continue;
            };
            let query = node.query;
            match guarded(&mut *node.operator, |operator| operator.settle()) {
                Ok(()) => self.carry_on(at),
                Err(error) => self.fail(query, Arc::new(error)),
            }
        }
    }

    /// Gives an operator's results to the next ones until it has no more.
    fn carry_on(&mut self, at: usize) {
        let mut out = Vec::new();
        while !self.cancel.load(Ordering::Relaxed) {
            let Some(node) = self.nodes.get_mut(&at).filter(|node| !node.failed) else {
                return;
            };
            let budget = self.config.drain_rows;
            let drained = guarded(&mut *node.operator, |operator| {
                operator.drain(budget, &mut out)
            });
            let query = node.query;
            let targets = node.targets.clone();
            let is_passing = node.on_rows && !node.is_window;
            for event in out.drain(..) {
                for target in &targets {
                    if let (Output::Batch(batch), true, Target::Output(query)) =
                        (&event, is_passing, *target)
                        && let Ok(query) = self.query_mut(query)
                    {
                        query.passed += batch.num_rows() as u64;
                    }
                    self.deliver(*target, event.clone());
                }
            }
            match drained {
                Ok(Drain::More) => {}
                Ok(Drain::Done) => return,
                Err(error) => return self.fail(query, Arc::new(error)),
            }
        }
    }

    /// Moves the late rows that an operator found to their stream's store.
    fn collect_late(&mut self, at: usize) {
        let Some(node) = self.nodes.get_mut(&at) else {
            return;
        };
        let late = node.operator.take_late();
        if late.is_empty() {
            return;
        }
        let Some(query) = self.queries.get(&node.query.0) else {
            return;
        };
        for rows in late {
            if let Some((stream, late_now)) = &mut self.late_now
                && *stream == rows.stream
            {
                late_now.extend_from_slice(rows.source_rows.values());
            }
            let stream =
                (self.streams.values_mut()).find(|ingress| ingress.spec.name == rows.stream);
            if let Some(stream) = stream {
                stream.late.push(&query.name, rows);
            }
        }
    }

    fn deliver_to_output(&mut self, id: QueryId, event: Output) {
        let Some(query) = self.queries.get_mut(&id.0) else {
            return;
        };
        if !matches!(query.status, QueryStatus::Running) {
            return;
        }
        match &event {
            Output::Batch(batch) => {
                query.rows_out += batch.num_rows() as u64;
                self.given_out += batch.num_rows() as u64;
                if !std::mem::replace(&mut query.unflushed, true) {
                    self.unflushed.push(id);
                }
                if let Some(view) = &query.view {
                    view.append(batch.records.clone());
                }
                for sink in &mut query.sinks {
                    if let Err(error) = sink.write(&batch.records) {
                        return self.fail(id, Arc::new(error));
                    }
                }
            }
            Output::Watermark(watermark) => query.watermark = query.watermark.max(*watermark),
            Output::End => self.close_sinks(id, true),
        }
        let targets = match self.queries.get(&id.0) {
            Some(query) => query.targets.clone(),
            None => return,
        };
        for target in targets {
            if let (Output::Batch(batch), Some(reader)) = (&event, self.query_of(target)) {
                reader.accepted += batch.num_rows() as u64;
            }
            self.deliver(target, event.clone());
        }
        if matches!(event, Output::End) {
            self.unlink(id);
        }
    }

    /// Lets sinks show what they were given since the last call.
    pub(super) fn flush(&mut self) {
        for id in std::mem::take(&mut self.unflushed) {
            let Some(query) = self.queries.get_mut(&id.0) else {
                continue;
            };
            query.unflushed = false;
            let flushed = query.sinks.iter_mut().try_for_each(|sink| sink.flush());
            if let Err(error) = flushed {
                self.fail(id, Arc::new(error));
            }
        }
    }

    /// Publishes what a running query's sinks were given, and says so to its view.
    pub(super) fn close_sinks(&mut self, id: QueryId, ended: bool) {
        self.close_sinks_by(id, ended, |sink| sink.finish());
    }

    /// As [`Engine::close_sinks`], each sink by `close`.
    pub(super) fn close_sinks_by(
        &mut self,
        id: QueryId,
        ended: bool,
        close: fn(&mut dyn Sink) -> Result<()>,
    ) {
        let Some(query) = self.queries.get_mut(&id.0) else {
            return;
        };
        if !matches!(query.status, QueryStatus::Running) {
            return;
        }
        query.status = QueryStatus::Ended;
        for mut sink in std::mem::take(&mut query.sinks) {
            if let Err(error) = close(&mut *sink) {
                query.status = QueryStatus::Failed(Arc::new(error));
            }
        }
        if let Some(view) = &query.view {
            if ended && let Err(error) = view.keep_last() {
                query.status = QueryStatus::Failed(Arc::new(error));
            }
            match &query.status {
                QueryStatus::Failed(error) => view.fail(error.clone()),
                _ if ended => view.end(),
                _ => {}
            }
        }
    }

    /// Takes a query off with an error; those that read its results fail with it.
    pub(super) fn fail(&mut self, id: QueryId, error: Arc<Error>) {
        let left = self.inputs_of(id);
        let Some(query) = self.queries.get_mut(&id.0) else {
            return;
        };
        if !matches!(query.status, QueryStatus::Running) {
            return;
        }
        query.status = QueryStatus::Failed(error.clone());
        query.left = left;
        if let Some(view) = &query.view {
            view.fail(error.clone());
        }
        for sink in &mut query.sinks {
            sink.abort();
        }
        query.sinks.clear();
        let readers = query.targets.clone();
        for node in &query.nodes {
            if let Some(node) = self.nodes.get_mut(node) {
                node.failed = true;
            }
        }
        self.unlink(id);
        for reader in readers {
            if let Target::Node { node, .. } = reader
                && let Some(query) = self.nodes.get(&node).map(|node| node.query)
            {
                self.fail(query, error.clone());
            }
        }
    }

    /// Takes a query's operators out of the way of further events.
    pub(super) fn unlink(&mut self, id: QueryId) {
        let nodes = &self.nodes;
        let of_query = |target: &Target| match *target {
            Target::Node { node, .. } => nodes.get(&node).is_none_or(|node| node.query == id),
            Target::Output(query) => query == id,
        };
        for targets in self.stream_targets.values_mut() {
            targets.retain(|target| !of_query(target));
        }
        for other in self.queries.values_mut() {
            other.targets.retain(|target| !of_query(target));
        }
    }

    /// Goes on with what a cancelled or restored operator had not yet given out.
    pub fn resume(&mut self) {
        self.install(|engine| {
            let origins = engine.origins();
            // What has come further goes first, so that rows stay in their order.
            for node in engine.nodes.keys().rev().copied().collect::<Vec<_>>() {
                let given = engine.given_out;
                engine.carry_on(node);
                if let Some(stream) = origins.get(&node) {
                    engine.account_emitted(*stream, given);
                }
            }
            engine.flush();
        });
    }

    /// The stream that each operator's rows come from; of several, the first.
    fn origins(&self) -> BTreeMap<usize, StreamId> {
        let mut origins = BTreeMap::new();
        for (stream, targets) in &self.stream_targets {
            let mut next = targets.clone();
            while let Some(target) = next.pop() {
                let further = match target {
                    Target::Node { node, .. } if origins.contains_key(&node) => None,
                    Target::Node { node, .. } => {
                        origins.insert(node, StreamId(*stream));
                        self.nodes.get(&node).map(|node| &node.targets)
                    }
                    Target::Output(query) => self.queries.get(&query.0).map(|query| &query.targets),
                };
                next.extend(further.into_iter().flatten());
            }
        }
        origins
    }
}
