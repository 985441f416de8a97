//! Bytes that nobody meant to send, for every parser that takes bytes from outside.
//!
//! ```text
//!  seeds that are right ─▶ a few edits ─▶ parser ─▶ what must hold, whatever came
//! ```
//!
//! An edit takes bytes out, puts others in, or changes a bit or a number. Beside the absence
//! of panics each target checks what it promises: all rows are accounted for, the answer does
//! not depend on how the bytes were cut, no length is believed before its bytes are there.
//! proptest draws the edits and, when something breaks, leaves out all that it can.
//!
//! A target runs for a second; `tests/fuzz` runs each for as long as it is told to.

use std::fmt;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

pub(crate) mod arrow;

mod snapshot;

mod sql;

mod text;

/// How many seconds a target runs, if it is not told by the environment.
const SECONDS_DEFAULT: f64 = 1.0;

/// Inputs that are tried between two looks at the clock.
const INPUTS: u32 = 32;

/// No input is longer than this.
const BYTES_MAX: usize = 1 << 16;

/// Bytes, shown so that they can be pasted into a test.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Tries inputs until the time is over.
///
/// # Panics
/// If `check` fails: with the smallest input found for which it does.
pub(crate) fn fuzz<S: Strategy>(
    target: &str,
    inputs: &S,
    check: impl Fn(S::Value) -> TestCaseResult,
) {
    let seconds = std::env::var("WINDROW_FUZZ_SECONDS").map_or(SECONDS_DEFAULT, |text| {
        text.parse().expect("a number of seconds")
    });
    let (start, time) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut tried = 0;
    loop {
        // Each runner draws from a seed of its own.
        let mut runner = TestRunner::new(Config {
            cases: INPUTS,
            max_shrink_iters: 4_096,
            failure_persistence: None,
            ..Config::default()
        });
        if let Err(error) = runner.run(inputs, &check) {
            panic!("{target}, after {tried} inputs: {error}");
        }
        tried += INPUTS;
        if start.elapsed() >= time {
            break;
        }
    }
    println!("{target}: {tried} inputs in {seconds} s");
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Edit {
    Flip(Index, u8),
    Put(Index, Vec<u8>),
    TakeOut(Index, usize),
    Repeat(Index, usize, usize),
    Cut(Index),
    /// A number of so many bytes, as lengths in headers are.
    Number(Index, usize, i64),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        let range = |at: &Index, len: usize, bytes: &[u8]| {
            let start = place(at, bytes);
            start..(start + len).min(bytes.len())
        };
        match self {
            Self::Flip(at, bit) => {
                let at = place(at, bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Put(at, word) => {
                let at = place(at, bytes);
                bytes.splice(at..at, word.iter().copied());
            }
            Self::TakeOut(at, len) => {
                let range = range(at, *len, bytes);
                bytes.drain(range);
            }
            Self::Repeat(at, len, times) => {
                let range = range(at, *len, bytes);
                let part = bytes[range.clone()].repeat(*times);
                bytes.splice(range.start..range.start, part);
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Number(at, len, number) => {
                let start = place(at, bytes) & !3;
                if let Some(place) = bytes.get_mut(start..start + len) {
                    place.copy_from_slice(&number.to_le_bytes()[..*len]);
                }
            }
        }
        bytes.truncate(BYTES_MAX);
    }
}

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [i64; 12] = [
    -1,
    0,
    1,
    8,
    0x7F,
    0xFFFF,
    1 << 24,
    0x7FFF_FFF8,
    0x7FFF_FFFF,
    0xFFFF_FFF0,
    i64::MAX,
    i64::MIN,
];

fn edit(words: &[&[u8]]) -> BoxedStrategy<Edit> {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
    let at = any::<Index>;
    prop_oneof![
        2 => (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        6 => (at(), prop::sample::select(words)).prop_map(|(at, word)| Edit::Put(at, word)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..6))
            .prop_map(|(at, word)| Edit::Put(at, word)),
        2 => (at(), 1..20_usize).prop_map(|(at, len)| Edit::TakeOut(at, len)),
        1 => (at(), 1..40_usize, 1..60_usize)
            .prop_map(|(at, len, times)| Edit::Repeat(at, len, times)),
        1 => at().prop_map(Edit::Cut),
        2 => (at(), prop::sample::select(vec![2, 4, 8]), prop::sample::select(NUMBERS.to_vec()))
            .prop_map(|(at, len, number)| Edit::Number(at, len, number)),
    ]
    .boxed()
}

/// One of `seeds` with up to `edits` edits, most of which put in one of `words`.
pub(crate) fn edited(
    seeds: Vec<Vec<u8>>,
    words: &[&[u8]],
    edits: usize,
) -> impl Strategy<Value = Bytes> + use<> {
    let edits = prop::collection::vec(edit(words), 0..=edits);
    (prop::sample::select(seeds), edits).prop_map(|(mut bytes, edits)| {
        edits.iter().for_each(|edit| edit.apply(&mut bytes));
        Bytes(bytes)
    })
}

/// The lengths of the parts in which bytes arrive, over and over.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![3 => 1..12_usize, 1 => 12..2_000_usize];
    prop::collection::vec(len, 1..6)
}

/// A reader that gives bytes in parts, as a socket does.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    rest: &'a [u8],
    lens: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(bytes: &'a [u8], lens: &'a [usize]) -> Self {
        let lens = lens.iter().cycle();
        Self { rest: bytes, lens }
    }
}

impl std::io::Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = *self.lens.next().expect("there is a length");
        let (part, rest) = self
            .rest
            .split_at(len.min(self.rest.len()).min(buffer.len()));
        buffer[..part.len()].copy_from_slice(part);
        self.rest = rest;
        Ok(part.len())
    }
}
