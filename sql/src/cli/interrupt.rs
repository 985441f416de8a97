//! Ctrl-C: the first asks the work to stop, the second ends the process.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// The code of a process that is stopped by a signal from the keyboard.
const EXIT_INTERRUPTED: i32 = 130;

/// When a stop takes so long, a word of why is due.
const PATIENCE: Duration = Duration::from_secs(1);

/// So long the last word may take.
const LAST_WORD: Duration = Duration::from_millis(100);

/// What is done before the second signal ends the process.
static BEFORE_EXIT: OnceLock<fn()> = OnceLock::new();

/// Has something done before the second signal ends the process; the first call counts.
pub(super) fn before_exit(put_right: fn()) {
    let _ = BEFORE_EXIT.set(put_right);
}

/// Lets signals that ask for an end set `cancel`. Before, they end the process.
pub(super) fn catch(cancel: &Arc<AtomicBool>) {
    let cancel = cancel.clone();
    let handler = move || {
        if cancel.swap(true, Ordering::SeqCst) {
            if let Some(put_right) = BEFORE_EXIT.get() {
                put_right();
            }
            // Whoever holds stderr may never let go of it.
            let (said, has_said) = sync_channel(1);
            thread::spawn(move || {
                let _ = say("broken off: what had not been written or delivered is lost");
                let _ = said.send(());
            });
            let _ = has_said.recv_timeout(LAST_WORD);
            std::process::exit(EXIT_INTERRUPTED);
        }
        let cancel = cancel.clone();
        thread::spawn(move || {
            thread::sleep(PATIENCE);
            if !cancel.load(Ordering::SeqCst) {
                // It has stopped, and goes on with something else.
                return;
            }
            // Nobody may be left to read it.
            let _ = say("stopping: sinks are publishing what they were given; Ctrl-C gives it up");
        });
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        // As above.
        let _ = say(&format!("warning: Ctrl-C stops at once: {error}"));
    }
}

/// A line on stderr, from any thread; a closed stderr is an error, not a panic.
pub(super) fn say(line: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{line}")
}
