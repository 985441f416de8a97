//! `count`, `sum`, `avg`, `min` and `max` of one `Float64` column over frames that slide
//! from row to row.
//!
//! Calls over the same rows share one copy of their values for each key, a
//! [`Tree`](crate::kernel::Tree): a row costs the same whatever the length of its frame.
//!
//! ```text
//!   column ──by key──▶ values of a key, in blocks ──▶ sums, least, greatest ──▶ rows
//! ```
//!
//! Where the blocks of a key begin depends on its rows alone: the first row after a frame
//! was empty begins one. So results are the same bits however rows were batched.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, Float64Type};
use rayon::prelude::*;

use super::select::selected;
use super::slide::{Moves, OfRows, SHARD_ROWS, Stretch, by_shards};
use super::{AggregateCall, Rows, Shared};
use crate::error::{Error, Result};
use crate::kernel::{self, NONE, Tree};

/// Where rows stand once they are sorted by key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// `[rows]`: the row at each place.
    pub(crate) order: &'a [u32],
    /// `[rows]`: the place of each row.
    pub(crate) places: &'a [u32],
}

/// The frames of a key's last row.
#[derive(Debug, Default)]
struct Frame {
    values: Tree,
    /// How many rows it holds.
    rows: u32,
}

/// What is asked of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// How many rows there are.
    Rows,
    /// What their values come to.
    Shared(Shared),
}

impl Output {
    fn needs_sum(self) -> bool {
        matches!(self, Self::Shared(Shared::Sum | Shared::Avg))
    }
}

/// Calls that share frames.
#[derive(Debug)]
pub(crate) struct SlidingFloats {
    outputs: Vec<Output>,
    /// By key.
    frames: Vec<Frame>,
    /// On the heap, in all frames.
    bytes: usize,
    /// Room for a step's results.
    room: Folded,
}

/// What frames come to, `[rows]`; what nobody asks for is empty.
#[derive(Debug, Default)]
struct Folded {
    sums: Vec<f64>,
    mins: Vec<f64>,
    maxs: Vec<f64>,
    /// How many values they hold.
    counts: Vec<u32>,
}

/// A part of [`Folded`].
#[derive(Debug)]
struct Part<'a> {
    sums: &'a mut [f64],
    mins: &'a mut [f64],
    maxs: &'a mut [f64],
    counts: &'a mut [u32],
}

impl OfRows for Part<'_> {
    #[inline(always)]
    fn cut(self, rows: usize) -> (Self, Self) {
        fn cut<T>(slots: &mut [T], rows: usize) -> (&mut [T], &mut [T]) {
            slots.split_at_mut(rows.min(slots.len()))
        }
        let (sums, mins) = (cut(self.sums, rows), cut(self.mins, rows));
        let (maxs, counts) = (cut(self.maxs, rows), cut(self.counts, rows));
        let part = |sums, mins, maxs, counts| Part {
            sums,
            mins,
            maxs,
            counts,
        };
        (
            part(sums.0, mins.0, maxs.0, counts.0),
            part(sums.1, mins.1, maxs.1, counts.1),
        )
    }
}

impl Part<'_> {
    fn all(&mut self) -> Part<'_> {
        Part {
            sums: self.sums,
            mins: self.mins,
            maxs: self.maxs,
            counts: self.counts,
        }
    }

    /// Fills it for the rows of a tree from `first` on.
    fn fill(self, tree: &Tree, first: u64, lengths: &[u32]) {
        if lengths.len() >= 2 * SHARD_ROWS {
            let middle = lengths.len() / 2;
            let (left, right) = self.cut(middle);
            let lengths = lengths.split_at(middle);
            rayon::join(
                || left.fill(tree, first, lengths.0),
                || right.fill(tree, first + middle as u64, lengths.1),
            );
            return;
        }
        if !self.sums.is_empty() {
            kernel::tree_sums(tree, first, lengths, self.sums);
        }
        if !self.mins.is_empty() {
            kernel::tree_mins(tree, first, lengths, self.mins);
        }
        if !self.maxs.is_empty() {
            kernel::tree_maxs(tree, first, lengths, self.maxs);
        }
        tree.count(first, lengths, self.counts);
    }

    /// Gives rows what their last peers have.
    fn share(&mut self, has_peer: &[bool]) {
        share(self.sums, has_peer);
        share(self.mins, has_peer);
        share(self.maxs, has_peer);
        share(self.counts, has_peer);
    }
}

fn share<T: Copy>(slots: &mut [T], has_peer: &[bool]) {
    for row in (0..slots.len().saturating_sub(1)).rev() {
        if has_peer[row] {
            slots[row] = slots[row + 1];
        }
    }
}

/// Whether a call can share frames; what it then asks of them.
fn output(call: &AggregateCall) -> Option<Output> {
    if call.factory.is_narrow() {
        return None;
    }
    match call.factory.shared()? {
        // Others count what their filters let through.
        Shared::Count if call.args.is_empty() => call.filter.is_none().then_some(Output::Rows),
        shared => Some(Output::Shared(shared)),
    }
}

/// Calls, by their places among those that were grouped, over the same column and filter.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) column: usize,
    pub(crate) filter: Option<usize>,
    pub(crate) calls: Vec<usize>,
    pub(crate) state: SlidingFloats,
}

/// Groups calls that can share frames, which are those of one frame; the others are left.
pub(crate) fn group(calls: &[(usize, &AggregateCall)]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let asked = || (calls.iter()).filter_map(|(place, call)| Some((*place, *call, output(call)?)));
    let is_count = |output| matches!(output, Output::Rows | Output::Shared(Shared::Count));
    for (place, call, output) in asked().filter(|(_, _, output)| !is_count(*output)) {
        let (column, filter) = (call.args[0], call.filter);
        let found = (groups.iter_mut()).find(|it| it.column == column && it.filter == filter);
        let group = match found {
            Some(group) => group,
            None => {
                groups.push(Group {
                    column,
                    filter,
                    calls: Vec::new(),
                    state: SlidingFloats {
                        outputs: Vec::new(),
                        frames: Vec::new(),
                        bytes: 0,
                        room: Folded::default(),
                    },
                });
                groups.last_mut().expect("it was pushed")
            }
        };
        group.calls.push(place);
        group.state.outputs.push(output);
    }
    // Counts of the rows or of such a column join a group that is there.
    for (place, call, output) in asked().filter(|(_, _, output)| is_count(*output)) {
        let joins = |group: &&mut Group| match call.args.first() {
            Some(column) => group.column == *column && group.filter == call.filter,
            None => true,
        };
        if let Some(group) = groups.iter_mut().find(joins) {
            group.calls.push(place);
            group.state.outputs.push(output);
        }
    }
    groups
}

/// Values of rows, in their order.
struct Values<'a> {
    values: &'a [f64],
    /// The rows that have one; all, if it is `None`.
    selection: Option<BooleanBuffer>,
    order: Option<&'a [u32]>,
    has_nan: bool,
}

impl Values<'_> {
    /// Those at some places, NaN in its usual form.
    fn at<'a>(&'a self, places: std::ops::Range<usize>, room: &'a mut Vec<f64>) -> &'a [f64] {
        let usual = |value: f64| if value.is_nan() { f64::NAN } else { value };
        let value = |row: usize| match &self.selection {
            Some(selection) if !selection.value(row) => NONE,
            _ => usual(self.values[row]),
        };
        match (&self.selection, self.order) {
            (None, None) if !self.has_nan => return &self.values[places],
            (None, Some(order)) if !self.has_nan => {
                room.extend((order[places].iter()).map(|row| self.values[*row as usize]));
            }
            (_, Some(order)) => room.extend(order[places].iter().map(|row| value(*row as usize))),
            (_, None) => room.extend(places.map(value)),
        }
        room
    }
}

impl Frame {
    /// Moves over rows of its key.
    fn slide(&mut self, values: &[f64], lengths: &[u32], mut part: Part<'_>) {
        let mut from = 0;
        while from < lengths.len() {
            if lengths[from] == 1 {
                self.values.clear();
            }
            let rest = &lengths[from + 1..];
            let next = rest.iter().position(|length| *length == 1);
            let rows = from..next.map_or(lengths.len(), |next| from + 1 + next);
            let lengths = &lengths[rows.clone()];
            let first = self.values.end();
            let start = first + 1 - u64::from(lengths[0]);
            self.values.push(&values[rows.clone()]);
            kernel::tree_grow(&mut self.values, start);
            let (slots, rest) = part.cut(rows.len());
            slots.fill(&self.values, first, lengths);
            self.rows = lengths[lengths.len() - 1];
            self.values.leave(self.start());
            (from, part) = (rows.end, rest);
        }
    }

    /// The ordinal of its first row.
    fn start(&self) -> u64 {
        self.values.end() - u64::from(self.rows)
    }
}

impl SlidingFloats {
    /// Moves frames over rows; the values of each call, `[rows]`, as the rows stand.
    ///
    /// - `rows`: as they stand; without slots.
    /// - `places`: where they go; `None` = they stand so.
    /// - `stretches`, `moves`: by place.
    pub(crate) fn slide(
        &mut self,
        rows: Rows<'_>,
        places: Option<Places<'_>>,
        stretches: &[Stretch],
        moves: &Moves,
    ) -> Vec<ArrayRef> {
        let keys = stretches
            .last()
            .map_or(0, |stretch| stretch.key as usize + 1);
        if self.frames.len() < keys {
            self.frames.resize_with(keys, Frame::default);
        }
        let values: &[f64] = rows.args[0].as_primitive::<Float64Type>().values();
        let values = Values {
            values,
            selection: selected(&rows, rows.args),
            order: places.map(|places| places.order),
            has_nan: values.iter().fold(false, |any, value| any | value.is_nan()),
        };
        let count = moves.lengths.len();
        let mut folded = std::mem::take(&mut self.room);
        self.make_room(&mut folded, count);
        let part = Part {
            sums: &mut folded.sums,
            mins: &mut folded.mins,
            maxs: &mut folded.maxs,
            counts: &mut folded.counts,
        };
        let work = |stretch: &Stretch, frame: &mut Frame, mut part: Part<'_>| {
            let before = frame.values.bytes();
            let lengths = &moves.lengths[stretch.rows.clone()];
            let mut room = Vec::new();
            let values = values.at(stretch.rows.clone(), &mut room);
            frame.slide(values, lengths, part.all());
            let has_peer = &moves.has_peer[stretch.rows.clone()];
            if has_peer.contains(&true) {
                part.share(has_peer);
            }
            frame.values.bytes() as isize - before as isize
        };
        let more = by_shards(stretches, &mut self.frames, part, &work);
        self.bytes = self.bytes.strict_add_signed(more);
        match places {
            Some(places) => {
                let columns = self.columns(&folded, places.places, moves);
                self.room = folded;
                columns
            }
            None => self.whole_columns(folded, moves),
        }
    }

    /// Gives back room between steps.
    pub(crate) fn rest(&mut self) {
        self.room = Folded::default();
    }

    fn asks(&self, asked: impl Fn(Output) -> bool) -> bool {
        self.outputs.iter().any(|output| asked(*output))
    }

    /// Makes room for what is asked.
    fn make_room(&self, folded: &mut Folded, rows: usize) {
        let fit = |slots: &mut Vec<f64>, is_asked| {
            if is_asked {
                slots.resize(rows, 0.0);
            }
        };
        fit(&mut folded.sums, self.asks(Output::needs_sum));
        let is = |shared| move |output| output == Output::Shared(shared);
        fit(&mut folded.mins, self.asks(is(Shared::Min)));
        fit(&mut folded.maxs, self.asks(is(Shared::Max)));
        folded.counts.resize(rows, 0);
    }

    /// What was asked, as the rows stand.
    fn columns(&self, folded: &Folded, places: &[u32], moves: &Moves) -> Vec<ArrayRef> {
        let counts = &folded.counts;
        let is_valid = |at: &u32| counts[*at as usize] > 0;
        let valid = has_empty(counts).then(|| places.iter().map(is_valid).collect());
        let valid: Option<NullBuffer> = valid.map(|valid: BooleanBuffer| NullBuffer::new(valid));
        let floats = |values| -> ArrayRef { Arc::new(Float64Array::new(values, valid.clone())) };
        let plain = |values: &[f64]| floats(in_order(places, |at| values[at]));
        let integers = |numbers: &[u32]| -> ArrayRef {
            let numbers = in_order(places, |at| i64::from(numbers[at]));
            Arc::new(Int64Array::new(numbers, None))
        };
        let column = |output: &Output| -> ArrayRef {
            match output {
                Output::Rows => integers(&row_counts(moves)),
                Output::Shared(Shared::Count) => integers(counts),
                Output::Shared(Shared::Avg) => floats(in_order(places, |at| {
                    folded.sums[at] / f64::from(counts[at])
                })),
                Output::Shared(Shared::Sum) => plain(&folded.sums),
                Output::Shared(Shared::Min) => plain(&folded.mins),
                Output::Shared(Shared::Max) => plain(&folded.maxs),
            }
        };
        self.outputs.iter().map(column).collect()
    }

    /// What was asked, where rows stand by key already: what frames come to, as it is.
    fn whole_columns(&self, folded: Folded, moves: &Moves) -> Vec<ArrayRef> {
        let counts = &folded.counts;
        let is_valid = |count: &u32| *count > 0;
        let valid = has_empty(counts).then(|| counts.iter().map(is_valid).collect());
        let valid: Option<NullBuffer> = valid.map(|valid: BooleanBuffer| NullBuffer::new(valid));
        let integers = |numbers: &[u32]| -> ArrayRef {
            let numbers = numbers.iter().map(|number| i64::from(*number));
            Arc::new(Int64Array::new(numbers.collect(), None))
        };
        let means = match self.asks(|output| output == Output::Shared(Shared::Avg)) {
            true => (folded.sums.iter().zip(counts))
                .map(|(sum, count)| sum / f64::from(*count))
                .collect(),
            false => ScalarBuffer::default(),
        };
        let (sums, mins, maxs) = (folded.sums.into(), folded.mins.into(), folded.maxs.into());
        let floats = |values: &ScalarBuffer<f64>| -> ArrayRef {
            Arc::new(Float64Array::new(values.clone(), valid.clone()))
        };
        let column = |output: &Output| -> ArrayRef {
            match output {
                Output::Rows => integers(&row_counts(moves)),
                Output::Shared(Shared::Count) => integers(counts),
                Output::Shared(Shared::Avg) => floats(&means),
                Output::Shared(Shared::Sum) => floats(&sums),
                Output::Shared(Shared::Min) => floats(&mins),
                Output::Shared(Shared::Max) => floats(&maxs),
            }
        };
        self.outputs.iter().map(column).collect()
    }

    /// Empties the frame of a key.
    pub(crate) fn clear(&mut self, key: u32) {
        if let Some(frame) = self.frames.get_mut(key as usize) {
            self.bytes -= std::mem::take(frame).values.bytes();
        }
    }

    /// The frames of keys: the values of their rows, NULL where a row has none, and for
    /// each key the ordinal of its first row and how many there are.
    pub(crate) fn save(&self, keys: &[u32]) -> SavedFloats {
        let empty = Frame::default();
        let frames = || (keys.iter()).map(|key| self.frames.get(*key as usize).unwrap_or(&empty));
        let rows = frames().flat_map(|frame| frame.values.rows(frame.start()).flatten());
        let value = |value: &f64| (value.to_bits() != NONE.to_bits()).then_some(*value);
        SavedFloats {
            values: rows.map(value).collect(),
            ordinals: frames().map(Frame::start).collect(),
            rows: frames().map(|frame| u64::from(frame.rows)).collect(),
        }
    }

    /// Takes over saved frames.
    ///
    /// # Errors
    /// If they are damaged.
    pub(crate) fn load(&mut self, keys: &[u32], saved: &SavedFloats) -> Result<()> {
        let rows: u64 = saved.rows.iter().sum();
        let each = [saved.rows.len(), saved.ordinals.len()];
        if rows != saved.values.len() as u64 || each != [keys.len(); 2] {
            return Err(Error::Snapshot("its frames are damaged".into()));
        }
        let bound = keys.iter().max().map_or(0, |key| *key as usize + 1);
        self.frames.resize_with(bound, Frame::default);
        let mut values = saved.values.iter().map(|value| value.unwrap_or(NONE));
        for (key, (ordinal, rows)) in keys.iter().zip(saved.ordinals.iter().zip(&saved.rows)) {
            let held: Vec<f64> = values.by_ref().take(*rows as usize).collect();
            let mut tree = Tree::starting_at(*ordinal);
            tree.push(&held);
            kernel::tree_grow(&mut tree, *ordinal);
            self.bytes += tree.bytes();
            self.frames[*key as usize] = Frame {
                values: tree,
                rows: *rows as u32,
            };
        }
        Ok(())
    }

    pub(crate) fn state_bytes(&self) -> usize {
        self.bytes + self.frames.capacity() * size_of::<Frame>()
    }
}

/// Frames as columns.
#[derive(Debug)]
pub(crate) struct SavedFloats {
    /// `[rows]`, key after key.
    pub(crate) values: Float64Array,
    /// `[keys]`.
    pub(crate) ordinals: Vec<u64>,
    /// `[keys]`.
    pub(crate) rows: Vec<u64>,
}

/// Whether some frame has no value.
fn has_empty(counts: &[u32]) -> bool {
    counts.iter().fold(false, |any, count| any | (*count == 0))
}

/// How many rows are in the frame of each, those of its peers among them.
fn row_counts(moves: &Moves) -> Vec<u32> {
    let mut rows = moves.lengths.clone();
    share(&mut rows, &moves.has_peer);
    rows
}

/// Something for each row as the rows stand. `value`: by place.
fn in_order<T: ArrowNativeType>(
    places: &[u32],
    value: impl Fn(usize) -> T + Sync,
) -> ScalarBuffer<T> {
    let mut values = vec![T::default(); places.len()];
    let fill = |(slots, places): (&mut [T], &[u32])| {
        for (slot, place) in slots.iter_mut().zip(places) {
            *slot = value(*place as usize);
        }
    };
    let shards = values
        .par_chunks_mut(SHARD_ROWS)
        .zip(places.par_chunks(SHARD_ROWS));
    shards.for_each(fill);
    values.into()
}
