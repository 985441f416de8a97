//! What is said of a panic: a fault of Windrow itself.

use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, PoisonError};

use super::interrupt;

/// So many faults are kept while nothing can be said.
const FAULTS_MAX: usize = 16;

/// A fault in words.
pub(super) fn words(fault: &PanicHookInfo<'_>) -> String {
    let place = (fault.location()).map_or_else(String::new, |place| format!(" at {place}"));
    let words = fault.payload_as_str().unwrap_or("no words");
    format!("error: windrow itself has failed{place}: {words}\n   = help: please report this")
}

/// Keeps what would be said of faults, while the screen is taken, until it is dropped.
pub(super) struct Quiet {
    /// `None`: they are said at once.
    kept: Arc<Mutex<Option<Vec<String>>>>,
}

impl Quiet {
    /// Keeps faults from now on.
    pub(super) fn begin() -> Self {
        let kept = Arc::new(Mutex::new(Some(Vec::new())));
        let before = panic::take_hook();
        let into = kept.clone();
        panic::set_hook(Box::new(move |fault| {
            let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *kept {
                Some(kept) if kept.len() < FAULTS_MAX => kept.push(words(fault)),
                Some(_) => {}
                None => before(fault),
            }
        }));
        Self { kept }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The hook stays, since it cannot be changed while a thread panics; it keeps nothing
        // any more.
        let kept = (self.kept.lock().unwrap_or_else(PoisonError::into_inner)).take();
        for fault in kept.into_iter().flatten() {
            // Nobody may be left to read it.
            let _ = interrupt::say(&fault);
        }
    }
}
