//! Which panes the rows of a batch go to.
//!
//! Rows in order, or nearly, go to panes by runs. In disorder runs are of a few rows, and
//! to find them would take one thread longer than all that follows: then each row's pane
//! is found by whoever looks its key up.

use std::ops::{Range, RangeInclusive};

use super::grid::Grid;
use super::key_slots::Block;
use super::rollover::Rollover;
use crate::time::span;

/// How many panes a batch in disorder is expected to touch at a time.
const RECENT_PANES: usize = 16;

/// As many panes before a batch's first row have numbers above zero.
const PANES_BACK: f64 = (1 << 20) as f64;

/// So many runs tell how long runs are.
const RUNS_ASKED: usize = 64;

/// Shorter runs than this, on average, are not worth looking for.
const RUN_ROWS_MIN: usize = 8;

/// Rows of a batch that lie further apart than so many panes go by runs.
const PANES_MAX: i64 = 256;

/// The place of rows that go to no pane.
const NOWHERE: u32 = u32::MAX;

/// Rows of one pane, from the end of the run before.
#[derive(Debug, Clone, Copy)]
struct Run {
    place: u32,
    end: usize,
}

/// The rows of a batch, and those of its panes that have places.
pub(crate) struct Times<'a> {
    /// `[rows]`
    pub(crate) ticks: &'a [i64],
    /// Bounds of those that go to panes.
    pub(crate) least: i64,
    pub(crate) greatest: i64,
    /// The rows that go to no pane, rising.
    pub(crate) skipped: Vec<u32>,
}

/// Where rows go.
pub(crate) struct Route<'a> {
    times: Times<'a>,
    way: Way,
}

enum Way {
    Runs(Vec<Run>),
    Rows(Spread),
}

/// Neighbouring panes.
struct Spread {
    /// `[panes + 1]`: the first tick of each, and that after the last.
    edges: Vec<i64>,
    /// `[panes]`
    places: Vec<u32>,
    /// In parts of 2^64.
    panes_per_tick: u64,
}

/// How the slots of rows are found, as panes stand.
pub(crate) struct Lookup<'a> {
    route: &'a Route<'a>,
    panes: &'a Rollover,
    /// `[panes]` of rows that are spread, if all have one.
    blocks: Option<Vec<Block>>,
}

impl<'a> Route<'a> {
    /// Finds the rows' panes; `seat` gives the place of each.
    pub(crate) fn new(times: Times<'a>, grid: &Grid, mut seat: impl FnMut(i64) -> u32) -> Self {
        let rows = times.ticks.len();
        let (first, last) = (grid.pane(times.least), grid.pane(times.greatest));
        if first == last && times.skipped.is_empty() {
            let place = seat(first);
            let way = Way::Runs(vec![Run { place, end: rows }]);
            return Self { times, way };
        }
        let may_spread = last.saturating_sub(first) < PANES_MAX;
        let way = match runs(&times, grid, may_spread, &mut seat) {
            Some(runs) => Way::Runs(runs),
            None => Way::Rows(Spread::new(first..=last, grid, seat)),
        };
        Self { times, way }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.times.ticks.len()
    }

    /// The places of panes that rows from `first` on may go to; they may be named more than
    /// once.
    pub(crate) fn places(&self, first: usize) -> Vec<u32> {
        match &self.way {
            Way::Runs(runs) => {
                let runs = &runs[runs.partition_point(|run| run.end <= first)..];
                let places = runs.iter().map(|run| run.place);
                places.filter(|place| *place != NOWHERE).collect()
            }
            Way::Rows(spread) => spread.places.clone(),
        }
    }

    /// The runs of rows that each go to one pane, and its place, if there are few of them.
    pub(crate) fn runs(&self, run_rows_min: usize) -> Option<Vec<(u32, Range<usize>)>> {
        match &self.way {
            Way::Runs(runs) if runs.len() * run_rows_min <= self.rows() => {
                let rows = 0..self.rows();
                Some(within(runs, &rows).collect())
            }
            _ => None,
        }
    }

    /// The parts of `rows`, counted from the first, that go to panes.
    pub(crate) fn kept(&self, rows: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (first, end) = (rows.start, rows.end);
        let skipped = &self.times.skipped;
        let before = skipped.partition_point(|row| (*row as usize) < first);
        let cuts = skipped[before..].iter().map(|row| *row as usize);
        let cuts = cuts.take_while(move |row| *row < end).chain([end]);
        let mut start = first;
        cuts.filter_map(move |cut| {
            let part = start - first..cut - first;
            start = cut + 1;
            (!part.is_empty()).then_some(part)
        })
    }

    /// The parts of `rows`, counted from the first, that each go to one pane, in order,
    /// with its place.
    pub(crate) fn pieces(&self, rows: &Range<usize>) -> Vec<(u32, Range<usize>)> {
        match &self.way {
            Way::Runs(runs) => within(runs, rows).collect(),
            Way::Rows(spread) => {
                let mut pieces: Vec<(u32, Range<usize>)> = Vec::new();
                for part in self.kept(rows) {
                    for row in part {
                        let pane = spread.pane(self.times.ticks[rows.start + row]);
                        let place = spread.places[pane];
                        match pieces.last_mut() {
                            Some((last, run)) if *last == place && run.end == row => run.end += 1,
                            _ => pieces.push((place, row..row + 1)),
                        }
                    }
                }
                pieces
            }
        }
    }

    /// The places of the panes that rows are spread over, though none may go to some of
    /// them; `None` if rows go by runs.
    pub(crate) fn spread(&self) -> Option<&[u32]> {
        match &self.way {
            Way::Runs(_) => None,
            Way::Rows(spread) => Some(&spread.places),
        }
    }

    /// Looks slots up, as panes stand now.
    pub(crate) fn lookup(&'a self, panes: &'a Rollover) -> Lookup<'a> {
        let block = |place: &u32| panes.pane(*place).block();
        let blocks = match &self.way {
            Way::Runs(_) => None,
            Way::Rows(spread) => spread.places.iter().map(block).collect(),
        };
        Lookup {
            route: self,
            panes,
            blocks,
        }
    }
}

impl Lookup<'_> {
    /// Turns the key ids of the rows from `first` on into slots; says whether all have one.
    /// What it gives for rows that go to no pane has no meaning.
    ///
    /// - `panes`: where rows are spread, the number of each row's pane is appended.
    pub(crate) fn look_up(&self, first: usize, ids: &mut [u32], panes: &mut Vec<u8>) -> bool {
        let rows = first..first + ids.len();
        let spread = match &self.route.way {
            Way::Runs(runs) => {
                return within(runs, &rows)
                    .all(|(place, part)| self.panes.pane(place).look_up(&mut ids[part]));
            }
            Way::Rows(spread) => spread,
        };
        let ticks = &self.route.times.ticks[rows.clone()];
        panes.extend(ticks.iter().map(|tick| spread.pane(*tick) as u8));
        let numbers = &panes[..];
        let mut kept = self.route.kept(&rows);
        if let Some(blocks) = &self.blocks {
            return kept.all(|part| {
                let rows = ids[part.clone()].iter_mut().zip(&numbers[part]);
                rows.fold(true, |all, (id, pane)| {
                    let block = blocks[*pane as usize];
                    let is_there = *id < block.len;
                    *id = id.wrapping_add(block.first);
                    all & is_there
                })
            });
        }
        kept.flatten().all(|row| {
            let place = spread.places[numbers[row] as usize];
            let slot = self.panes.pane(place).get(ids[row]);
            ids[row] = slot.unwrap_or(ids[row]);
            slot.is_some()
        })
    }
}

impl Spread {
    fn new(panes: RangeInclusive<i64>, grid: &Grid, seat: impl FnMut(i64) -> u32) -> Self {
        let (first, last) = (*panes.start(), *panes.end());
        let edges: Vec<i64> = (first..=last + 1).map(|pane| grid.start(pane)).collect();
        let places: Vec<u32> = panes.map(seat).collect();
        let ticks = edges[places.len()].wrapping_sub(edges[0]) as u64;
        Self {
            panes_per_tick: u64::MAX / (ticks / places.len() as u64).max(1),
            edges,
            places,
        }
    }
    /// The number of the pane of a row; of one that goes to none, any.
    #[inline(always)]
    fn pane(&self, tick: i64) -> usize {
        let last = self.places.len() - 1;
        let ticks = tick.wrapping_sub(self.edges[0]) as u64;
        let guess = (u128::from(ticks) * u128::from(self.panes_per_tick)) >> u64::BITS;
        let mut pane = (guess as usize).min(last);
        while pane > 0 && tick < self.edges[pane] {
            pane -= 1;
        }
        while pane < last && tick >= self.edges[pane + 1] {
            pane += 1;
        }
        pane
    }
}

/// The runs of all rows; `None` if they are short and `may_fail`.
fn runs(
    times: &Times<'_>,
    grid: &Grid,
    may_fail: bool,
    seat: &mut impl FnMut(i64) -> u32,
) -> Option<Vec<Run>> {
    let ticks = times.ticks;
    let mut runs = Vec::new();
    let mut skipped = times.skipped.iter().map(|row| *row as usize).peekable();
    // (first tick, first tick after, place), by a guess at the pane's number: whether it
    // was right is seen by the ticks.
    let mut recent = [(0, 0, 0); RECENT_PANES];
    let mut panes_per_tick = 0.0;
    let mut row = 0;
    while row < ticks.len() {
        if skipped.next_if_eq(&row).is_some() {
            row += 1;
            runs.push(Run {
                place: NOWHERE,
                end: row,
            });
            continue;
        }
        if may_fail && runs.len() >= RUNS_ASKED && row < runs.len() * RUN_ROWS_MIN {
            return None;
        }
        let until = skipped.peek().copied().unwrap_or(ticks.len());
        let tick = ticks[row];
        let guess = tick.wrapping_sub(ticks[0]) as f64 * panes_per_tick + PANES_BACK;
        let entry = &mut recent[guess as i64 as usize % RECENT_PANES];
        if tick < entry.0 || tick >= entry.1 {
            let pane = grid.pane(tick);
            *entry = (grid.start(pane), grid.start(pane + 1), seat(pane));
            if panes_per_tick == 0.0 {
                panes_per_tick = 1.0 / (entry.1.wrapping_sub(entry.0) as f64);
            }
        }
        let (start, end, place) = *entry;
        row += 1 + run_within(&ticks[row + 1..until], start, end);
        runs.push(Run { place, end: row });
    }
    Some(runs)
}

/// How many of the first ticks lie between `start` and just before `end`, which is after
/// it.
fn run_within(ticks: &[i64], start: i64, end: i64) -> usize {
    const FEW_ROWS: usize = 32;
    // Most chunks are told by their bounds.
    const CHUNK_ROWS: usize = 256;
    let is_within = |tick: i64| start <= tick && tick < end;
    // In disorder runs are short.
    if let Some(run) = (ticks.iter().take(FEW_ROWS)).position(|tick| !is_within(*tick)) {
        return run;
    }
    let mut run = 0;
    for chunk in ticks.chunks(CHUNK_ROWS) {
        let (least, greatest) = span(chunk);
        if !(is_within(least) && is_within(greatest)) {
            return run + chunk.iter().take_while(|tick| is_within(**tick)).count();
        }
        run += chunk.len();
    }
    run
}

/// The runs within `rows`: the place of the pane, and the rows counted from the first.
fn within(runs: &[Run], rows: &Range<usize>) -> impl Iterator<Item = (u32, Range<usize>)> {
    let skipped = runs.partition_point(|run| run.end <= rows.start);
    let (first, last) = (rows.start, rows.end);
    let mut start = first;
    (runs[skipped..].iter())
        .map_while(move |run| {
            let end = run.end.min(last);
            (start < end).then(|| {
                let range = start - first..end - first;
                start = end;
                (run.place, range)
            })
        })
        .filter(|(place, _)| *place != NOWHERE)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use proptest::prelude::*;

    use super::*;
    use crate::window::{Alignment, Span, WindowKind};

    fn grid() -> Grid {
        let kind = WindowKind::Hop {
            slide: Span::Ticks(10),
            size: Span::Ticks(25),
        };
        Grid::new(kind, Alignment::default(), TimeUnit::Microsecond).expect("it fits")
    }

    /// Times around a line that rises by `pace` ticks every hundred rows.
    fn ticks() -> impl Strategy<Value = Vec<i64>> {
        (0..300_i64, 0..60_i64, -500..500_i64).prop_flat_map(|(pace, disorder, start)| {
            let row = move |behind: Vec<i64>| -> Vec<i64> {
                (behind.iter().enumerate())
                    .map(|(row, behind)| start + row as i64 * pace / 100 - behind)
                    .collect()
            };
            prop::collection::vec(0..=disorder, 1..1_500).prop_map(row)
        })
    }

    proptest! {
        /// Every row that is not skipped goes to its pane, whichever way was chosen and
        /// wherever the batch is cut into parts.
        #[test]
        fn rows_go_to_their_panes(
            ticks in ticks(),
            share in 0..40_usize,
            cut in 0..1_500_usize,
        ) {
            let grid = grid();
            let is_skipped = |row: usize| row % 41 < share && row.is_multiple_of(3);
            let kept: Vec<usize> = (0..ticks.len()).filter(|row| !is_skipped(*row)).collect();
            let kept_ticks = || kept.iter().map(|row| ticks[*row]);
            let (Some(least), Some(greatest)) = (kept_ticks().min(), kept_ticks().max()) else {
                return Ok(());
            };
            let times = Times {
                ticks: &ticks,
                least,
                greatest,
                skipped: (0..ticks.len() as u32).filter(|row| is_skipped(*row as usize)).collect(),
            };
            // The place of a pane is its number from -10,000 on.
            let route = Route::new(times, &grid, |pane| (pane + 10_000) as u32);
            let cut = cut.min(ticks.len());
            let mut found = Vec::new();
            for rows in [0..cut, cut..ticks.len()] {
                for (place, part) in route.pieces(&rows) {
                    found.extend(part.map(|row| (rows.start + row, i64::from(place) - 10_000)));
                }
                let parts: Vec<usize> = route.kept(&rows).flatten().collect();
                let expected = (rows.clone()).filter(|row| !is_skipped(*row));
                prop_assert_eq!(parts, expected.map(|row| row - rows.start).collect::<Vec<_>>());
            }
            let expected: Vec<_> = kept.iter().map(|row| (*row, grid.pane(ticks[*row]))).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn order_makes_runs_and_disorder_does_not() {
        let way = |disorder: usize| {
            let ticks: Vec<i64> = (0..1_000)
                .map(|row| (row / 20 + row % 7 * disorder) as i64)
                .collect();
            let times = Times {
                ticks: &ticks,
                least: ticks.iter().copied().min().expect("rows"),
                greatest: ticks.iter().copied().max().expect("rows"),
                skipped: vec![],
            };
            Route::new(times, &grid(), |pane| pane as u32)
                .spread()
                .is_some()
        };
        assert_eq!((way(0), way(5)), (false, true));
    }
}
