//! Threads that nobody waits for.
//!
//! The C library of many systems (glibc up to 2.41) looks once more at a thread that it has
//! let go, after the thread may have freed its own stack: to let go of one that is about to
//! end can end the process. So a handle is kept until its thread has ended.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Those that have not been seen to end: as many as there are threads, and the last that
/// ended.
static LEFT: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Starts a thread of a name, with a stack of so many bytes or the usual one.
///
/// # Errors
/// If the system has no thread left; `body` is dropped then.
pub(crate) fn start(
    name: &str,
    stack_bytes: Option<usize>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let mut builder = Builder::new().name(name.to_owned());
    if let Some(bytes) = stack_bytes {
        builder = builder.stack_size(bytes);
    }
    leave(builder.spawn(move || {
        body();
        put_away();
    })?);
    Ok(())
}

/// Leaves a thread to itself.
pub(crate) fn leave(thread: JoinHandle<()>) {
    put_away();
    LEFT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(thread);
}

/// Frees what has ended.
fn put_away() {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    let ended: Vec<_> = left.extract_if(.., |thread| thread.is_finished()).collect();
    drop(left);
    for thread in ended {
        // One that panicked has said so.
        let _ended = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;

    fn named(name: &str) -> usize {
        let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
        (left.iter())
            .filter(|handle| handle.thread().name() == Some(name))
            .count()
    }

    #[test]
    fn what_has_ended_is_put_away_by_the_next() {
        const NAME: &str = "threads-test";
        for _ in 0..100 {
            let (done, ended) = channel();
            start(NAME, Some(64 << 10), move || done.send(()).expect("heard")).expect("started");
            ended.recv().expect("it runs");
        }
        let (go_on, waits) = channel::<()>();
        start(NAME, None, move || {
            let _over = waits.recv();
        })
        .expect("started");
        let start = Instant::now();
        while named(NAME) > 1 {
            assert!(start.elapsed() < Duration::from_secs(10), "they are kept");
            put_away();
        }
        assert_eq!(named(NAME), 1);
        drop(go_on);
    }
}
