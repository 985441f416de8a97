//! What became of the rows of a body, told to who sent it.
//!
//! ```text
//!  body ─▶ │ queue │ ─▶ chunks ─▶ pieces ─▶ engine
//!  part      part        parts     parts      │ accepted, late, rejected
//!                                             ▼
//!  ticket: parts under way, what became of the others ─▶ answer
//! ```
//!
//! Whatever carries rows of the body on holds a part. The answer is due when there are none
//! left; a part that is dropped on the way, because the stream has failed or ended, is
//! told too.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use windrow_core::stream::{Origin, Place, PushReport, Reject};

/// An answer names so many rejected rows at most; the others are counted.
pub(super) const ERRORS_MAX: usize = 100;

/// So often one that waits for an answer sees whether the server stops.
const WAKE: Duration = Duration::from_millis(100);

/// A row that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowError {
    /// Its line, or its number where rows are no lines, from 1.
    pub(super) line: u64,
    /// Which element of an array it is, from 1.
    pub(super) element: Option<u64>,
    pub(super) reason: String,
    pub(super) rule: String,
}

/// What became of the rows of a body.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Rows that were on time for every query.
    pub(super) on_time: u64,
    /// Rows that came too late for at least one.
    pub(super) late: u64,
    pub(super) rejected: u64,
    /// The first rows that were rejected.
    pub(super) errors: Vec<RowError>,
    /// Why the body could not be read to its end.
    pub(super) fault: Option<String>,
    /// Whether the stream failed or ended before all rows were carried through.
    pub(super) lost: bool,
    /// Parts under way.
    parts: usize,
}

impl Tally {
    /// Whether all rows have been carried through.
    pub(super) fn is_done(&self) -> bool {
        self.parts == 0
    }

    fn add_error(&mut self, error: RowError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }
}

/// What an answer waits for.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    tally: Mutex<Tally>,
    changed: Condvar,
}

impl Ticket {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        // Only counters are changed under it.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is under way, for `wait` at most, or until `stop` is true; gives
    /// how it stands then.
    pub(super) fn wait(&self, wait: Duration, stop: &AtomicBool) -> Tally {
        let start = Instant::now();
        let mut tally = self.lock();
        while !tally.is_done() && !stop.load(Relaxed) {
            let left = wait.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            tally = (self.changed.wait_timeout(tally, left.min(WAKE)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let mut tally = tally.clone();
        // All streams of the address have ended: nobody carries the rest through.
        tally.lost |= !tally.is_done() && stop.load(Relaxed);
        tally
            .errors
            .sort_by_key(|error| (error.line, error.element));
        tally
    }
}

/// Something that carries rows of a body on.
#[derive(Debug)]
pub(super) struct Part {
    ticket: Arc<Ticket>,
    is_settled: AtomicBool,
}

impl Part {
    pub(super) fn of(ticket: &Arc<Ticket>) -> Self {
        ticket.lock().parts += 1;
        Self {
            ticket: ticket.clone(),
            is_settled: AtomicBool::new(false),
        }
    }

    /// One more of the same body.
    pub(super) fn another(&self) -> Self {
        Self::of(&self.ticket)
    }

    /// Says that its rows went on, or are accounted for.
    pub(super) fn settle(&self) {
        self.is_settled.store(true, Relaxed);
    }

    /// Says why the rest of the body cannot be read.
    pub(super) fn fail(&self, reason: &str) {
        let fault = &mut self.ticket.lock().fault;
        fault.get_or_insert_with(|| reason.to_owned());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut tally = self.ticket.lock();
        tally.parts -= 1;
        tally.lost |= !self.is_settled.load(Relaxed);
        drop(tally);
        self.ticket.changed.notify_all();
    }
}

/// Where rows of a body were read; hears what becomes of them.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) rows: Option<Box<dyn Origin>>,
    pub(super) part: Part,
}

impl Origin for Heard {
    fn places(&self, rows: &[usize]) -> Vec<Place> {
        match &self.rows {
            Some(origin) => origin.places(rows),
            // Nothing is known of them.
            None => (rows.iter())
                .map(|row| Place {
                    position: format!("row {}", row + 1),
                    text: None,
                })
                .collect(),
        }
    }

    fn rows_before(&self) -> &[usize] {
        self.rows.as_ref().map_or(&[], |rows| rows.rows_before())
    }

    fn whole(&self) -> windrow_core::Result<Option<RecordBatch>> {
        self.rows.as_ref().map_or(Ok(None), |rows| rows.whole())
    }

    fn rejected(&self, rejects: &[Reject]) {
        let mut tally = self.part.ticket.lock();
        for reject in rejects {
            if tally.errors.len() == ERRORS_MAX {
                break;
            }
            let (_, spot) = reject.position.rsplit_once(':').unwrap_or_default();
            let (line, element) = spot.split_once(" element ").unwrap_or((spot, ""));
            tally.add_error(RowError {
                line: line.parse().unwrap_or(0),
                element: element.parse().ok(),
                reason: reject.reason.clone(),
                rule: reject.rule.clone(),
            });
        }
    }

    fn settled(&self, report: &PushReport) {
        let mut tally = self.part.ticket.lock();
        tally.on_time += report.accepted.saturating_sub(report.late);
        tally.late += report.late;
        tally.rejected += report.rejected;
        drop(tally);
        self.part.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(accepted: u64, late: u64, rejected: u64) -> PushReport {
        PushReport {
            accepted,
            late,
            rejected,
        }
    }

    #[test]
    fn an_answer_is_due_when_nothing_is_under_way() {
        let (ticket, never) = (Arc::new(Ticket::default()), AtomicBool::new(false));
        let body = Part::of(&ticket);
        let heard = Heard {
            rows: None,
            part: body.another(),
        };
        body.settle();
        drop(body);
        assert!(!ticket.wait(Duration::ZERO, &never).is_done());
        heard.settled(&report(5, 2, 1));
        drop(heard);
        let tally = ticket.wait(Duration::ZERO, &never);
        assert!(tally.is_done() && !tally.lost);
        assert_eq!((tally.on_time, tally.late, tally.rejected), (3, 2, 1));
    }

    #[test]
    fn rows_that_are_dropped_on_the_way_are_told() {
        let (ticket, never) = (Arc::new(Ticket::default()), AtomicBool::new(false));
        let body = Part::of(&ticket);
        drop(body.another());
        body.settle();
        drop(body);
        assert!(ticket.wait(Duration::ZERO, &never).lost);
    }

    #[test]
    fn rows_that_are_under_way_when_the_server_stops_are_lost() {
        let ticket = Arc::new(Ticket::default());
        let heard = Heard {
            rows: None,
            part: Part::of(&ticket),
        };
        let stop = AtomicBool::new(true);
        assert!(ticket.wait(Duration::from_secs(1), &stop).lost);
        heard.settled(&report(5, 0, 0));
        drop(heard);
        assert!(!ticket.wait(Duration::from_secs(1), &stop).lost);
    }

    #[test]
    fn errors_are_in_order_and_bounded() {
        let ticket = Arc::new(Ticket::default());
        let heard = Heard {
            rows: None,
            part: Part::of(&ticket),
        };
        for line in (1..=500).rev() {
            heard.rejected(&[Reject {
                text: "x".into(),
                position: format!("http 127.0.0.1:1:{line}"),
                reason: "no row".into(),
                rule: "parse".into(),
            }]);
        }
        let tally = ticket.wait(Duration::ZERO, &AtomicBool::new(true));
        let lines: Vec<u64> = tally.errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, (401..=500).collect::<Vec<_>>());
    }
}
