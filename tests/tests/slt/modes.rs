//! The ways in which a file is run. What it answers is the same in all of them.

use sqllogictest::{Normalizer, default_validator};
use windrow_tests::rewrite::Exclusions;

/// How the rows of an INSERT are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    /// All at once.
    Whole,
    /// One by one.
    Rows,
    /// In pieces of random lengths.
    Random,
}

/// A way to run a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Its name in the test's output.
    pub name: &'static str,
    /// How rows are pushed.
    pub pieces: Pieces,
    /// Worker threads.
    pub workers: usize,
    /// The fraction digits of `TIMESTAMP` in declarations, if not those of the file.
    pub time_digits: Option<u8>,
    /// Whether the session is saved, dropped and restored before every push.
    pub is_restarted: bool,
    /// Whether the rows of an INSERT are reordered within the watermark's bound.
    pub is_shuffled: bool,
    /// Where the random choices start.
    pub seed: u64,
}

const WHOLE: Mode = Mode {
    name: "whole",
    pieces: Pieces::Whole,
    workers: 1,
    time_digits: None,
    is_restarted: false,
    is_shuffled: false,
    seed: 0,
};

/// All modes. Each way to cut rows comes with each number of workers at least once.
pub fn all() -> Vec<Mode> {
    vec![
        WHOLE,
        Mode {
            name: "row by row, 2 workers",
            pieces: Pieces::Rows,
            workers: 2,
            ..WHOLE
        },
        Mode {
            name: "random batches",
            pieces: Pieces::Random,
            seed: 1,
            ..WHOLE
        },
        Mode {
            name: "random batches, 7 workers",
            pieces: Pieces::Random,
            workers: 7,
            seed: 2,
            ..WHOLE
        },
        Mode {
            name: "milliseconds",
            time_digits: Some(3),
            ..WHOLE
        },
        Mode {
            name: "microseconds, row by row",
            pieces: Pieces::Rows,
            time_digits: Some(6),
            ..WHOLE
        },
        Mode {
            name: "nanoseconds, 2 workers",
            workers: 2,
            time_digits: Some(9),
            ..WHOLE
        },
        Mode {
            name: "restored before every batch",
            is_restarted: true,
            ..WHOLE
        },
        Mode {
            name: "restored before every row",
            pieces: Pieces::Rows,
            is_restarted: true,
            ..WHOLE
        },
        Mode {
            name: "restored between random batches, 7 workers",
            pieces: Pieces::Random,
            workers: 7,
            is_restarted: true,
            seed: 3,
            ..WHOLE
        },
        Mode {
            name: "shuffled",
            is_shuffled: true,
            seed: 4,
            ..WHOLE
        },
        Mode {
            name: "shuffled, row by row",
            pieces: Pieces::Rows,
            is_shuffled: true,
            seed: 5,
            ..WHOLE
        },
        Mode {
            name: "shuffled, random batches, 2 workers",
            pieces: Pieces::Random,
            workers: 2,
            is_shuffled: true,
            seed: 6,
            ..WHOLE
        },
    ]
}

impl Mode {
    /// Whether a file lets it run.
    pub fn is_allowed(&self, excluded: &Exclusions) -> bool {
        !(excluded.shuffle && self.is_shuffled
            || excluded.units && self.time_digits.is_some()
            || excluded.pieces && self.pieces != Pieces::Whole
            || excluded.restart && self.is_restarted)
    }
}

/// Rows that are equal but for the last digits of floats, which depend on the order in
/// which numbers are added.
pub fn about_equal(normalizer: Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    if default_validator(normalizer, actual, expected) {
        return true;
    }
    let actual: Vec<String> = (actual.iter())
        .map(|row| row.iter().map(normalizer).collect::<Vec<_>>().join(" "))
        .collect();
    let expected: Vec<String> = expected.iter().map(normalizer).collect();
    actual.len() == expected.len()
        && (actual.iter().zip(&expected)).all(|(actual, expected)| {
            let (actual, expected) = (actual.split(' '), expected.split(' '));
            actual.clone().count() == expected.clone().count()
                && actual.zip(expected).all(|(a, e)| is_about(a, e))
        })
}

fn is_about(actual: &str, expected: &str) -> bool {
    if actual == expected {
        return true;
    }
    // Whole numbers and times have no last digits to lose.
    let is_float = |text: &str| text.contains('.') && !text.contains(':');
    match (actual.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(a), Ok(e)) if is_float(actual) && is_float(expected) => {
            (a - e).abs() <= 1e-9 * e.abs().max(1.0)
        }
        _ => false,
    }
}
