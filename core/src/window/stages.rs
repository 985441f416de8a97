//! Parts of a batch in two stages: prepared by any thread, folded in their order.
//!
//! ```text
//!  thread A   prepare 0 │ fold 0 │ prepare 2 │ prepare 3 │ fold 2, 3 │ …
//!  thread B   prepare 1   │ fold 1 │ prepare 4      │ …
//! ```
//!
//! No thread waits for another as long as a part is left to prepare, and a part is folded
//! while the caches still hold it. Each fold sees all parts one after the other, so that
//! what it gives does not depend on the number of threads.
//!
//! This module knows no rows and no state.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};

use crate::error::{Error, Result};

/// A fold and how far it has come.
struct Line<'a, F> {
    fold: &'a mut F,
    next: usize,
    failure: Option<Error>,
}

/// Prepares `parts` on at most `threads` threads of rayon's current pool and gives each
/// of `folds` what was prepared, in order. Where nothing can be prepared it stops.
///
/// The first part that was not folded, which is the end if all were.
///
/// # Errors
/// Those of `fold`: that of the first part that has one, and of the first of `folds` there.
pub(crate) fn in_stages<P: Send + Sync, F: Send>(
    parts: Range<usize>,
    threads: usize,
    prepare: impl Fn(usize) -> Option<P> + Sync,
    folds: &mut [F],
    fold: impl Fn(&mut F, usize, &P) -> Result<()> + Sync,
) -> Result<usize> {
    let ready: Vec<OnceLock<P>> = parts.clone().map(|_| OnceLock::new()).collect();
    let unclaimed = AtomicUsize::new(parts.start);
    let is_over = AtomicBool::new(false);
    let line = |fold| {
        Mutex::new(Line {
            fold,
            next: parts.start,
            failure: None,
        })
    };
    let lines: Vec<Mutex<Line<'_, F>>> = folds.iter_mut().map(line).collect();

    let go_on = |line: &mut Line<'_, F>, until: usize| {
        while line.failure.is_none()
            && line.next < until
            && let Some(prepared) = ready.get(line.next - parts.start).and_then(OnceLock::get)
        {
            match fold(line.fold, line.next, prepared) {
                Ok(()) => line.next += 1,
                Err(error) => {
                    line.failure = Some(error);
                    is_over.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            for line in &lines {
                match line.try_lock() {
                    Ok(mut line) => go_on(&mut line, parts.end),
                    Err(TryLockError::WouldBlock) => {}
                    // A fold has panicked, which ends the batch.
                    Err(TryLockError::Poisoned(_)) => is_over.store(true, Ordering::Relaxed),
                }
            }
            let part = unclaimed.fetch_add(1, Ordering::Relaxed);
            if part >= parts.end {
                break;
            }
            match prepare(part) {
                // Each part is claimed once, so its place is free.
                Some(prepared) => drop(ready[part - parts.start].set(prepared)),
                None => is_over.store(true, Ordering::Relaxed),
            }
        }
    };
    if threads.min(parts.len()) > 1 {
        rayon::scope(|scope| {
            for _ in 1..threads.min(parts.len()) {
                scope.spawn(|_| work());
            }
            work();
        });
    } else {
        work();
    }

    // What became ready while another thread held the line; where one has failed, as far
    // as there, so that the error does not depend on the threads.
    let mut lines: Vec<Line<'_, F>> = (lines.into_iter())
        .map(|line| line.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect();
    let failed = |line: &Line<'_, F>| line.failure.is_some().then_some(line.next + 1);
    let mut until = lines.iter().filter_map(failed).min().unwrap_or(parts.end);
    for line in &mut lines {
        go_on(line, until);
        until = failed(line).map_or(until, |after| until.min(after));
    }
    let folded = lines.iter().map(|line| line.next).min();
    let failures = lines.into_iter().filter(|line| line.failure.is_some());
    match failures.min_by_key(|line| line.next) {
        Some(Line {
            failure: Some(error),
            ..
        }) => Err(error),
        _ => Ok(folded.unwrap_or(parts.end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        (rayon::ThreadPoolBuilder::new().num_threads(threads).build()).expect("threads")
    }

    /// Folds each part's square into lists, stopping before part `stop`.
    fn squares(threads: usize, stop: usize, folds: &mut [Vec<usize>]) -> Result<usize> {
        pool(threads).install(|| {
            in_stages(
                3..200,
                threads,
                |part| (part < stop).then_some(part * part),
                folds,
                |fold, part, square| {
                    fold.push(*square);
                    match fold.len() == 150 {
                        true => Err(Error::invalid(format!("part {part}"))),
                        false => Ok(()),
                    }
                },
            )
        })
    }

    #[test]
    fn every_fold_sees_all_parts_in_order() {
        for threads in [1, 2, 7] {
            for _ in 0..50 {
                let mut folds = vec![Vec::new(); 3];
                let folded = squares(threads, 100, &mut folds).expect("no fold fails");
                assert_eq!(folded, 100);
                let expected: Vec<usize> = (3..100).map(|part| part * part).collect();
                assert!(folds.iter().all(|fold| *fold == expected));
            }
        }
    }

    #[test]
    fn a_failing_fold_ends_it() {
        for threads in [1, 2] {
            let mut folds = vec![Vec::new(); 2];
            let error = squares(threads, 1_000, &mut folds).expect_err("the 150th part fails");
            assert_eq!(error.to_string(), Error::invalid("part 152").to_string());
            assert!(folds[0].len() <= 150);
        }
    }
}
