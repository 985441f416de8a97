//! Which branches of one stream come together again, and how.
//!
//! ```text
//!            ┌─▶ project ─┐
//!  stream ───┤            ├─▶ union      each row, then its twin: row by row
//!            └─▶ filter ──┘
//! ```
//!
//! A batch goes down one branch after the other. Where the branches meet, its rows must
//! come in the order of arrival all the same, as if each had come alone: otherwise the
//! answer would follow the sizes of batches. Branches that give each row on at once can
//! be put in order where they meet; behind a window the whole stream goes row by row.
//!
//! This module knows no operator and no rows.

use std::collections::BTreeMap;

/// The streams whose rows come to a place, and whether each row comes in the event that
/// brought it, with the watermark at which it arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Ways(BTreeMap<usize, bool>);

/// What meets in an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Meeting {
    /// Streams that come by more than one input.
    pub(super) streams: Vec<usize>,
    /// Whether all of them come at once by each of these inputs, and alone.
    pub(super) is_prompt: bool,
    /// `[inputs]`: the meeting stream that comes by it.
    pub(super) inputs: Vec<Option<usize>>,
}

impl Ways {
    /// A stream's own rows.
    pub(super) fn of_stream(stream: usize) -> Self {
        Self(BTreeMap::from([(stream, true)]))
    }

    /// What comes out of an operator with these inputs.
    pub(super) fn after(inputs: &[Self], is_prompt: bool) -> Self {
        let mut ways = BTreeMap::new();
        let is_prompt = is_prompt && inputs.len() == 1;
        for (&stream, &prompt) in inputs.iter().flat_map(|input| &input.0) {
            ways.insert(stream, prompt && is_prompt);
        }
        Self(ways)
    }
}

impl Meeting {
    /// What meets in an operator with these inputs, if anything does.
    pub(super) fn of(inputs: &[Ways]) -> Option<Self> {
        let mut found: BTreeMap<usize, usize> = BTreeMap::new();
        for stream in inputs.iter().flat_map(|input| input.0.keys()) {
            *found.entry(*stream).or_default() += 1;
        }
        found.retain(|_, inputs| *inputs > 1);
        if found.is_empty() {
            return None;
        }
        let mut meeting = Self {
            streams: found.keys().copied().collect(),
            is_prompt: true,
            inputs: Vec::with_capacity(inputs.len()),
        };
        for input in inputs {
            let met = input.0.keys().find(|stream| found.contains_key(stream));
            let is_alone = input.0.len() == 1 && input.0.values().all(|prompt| *prompt);
            meeting.is_prompt &= met.is_none() || is_alone;
            meeting.inputs.push(met.copied());
        }
        Some(meeting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_of_one_stream_meet_and_those_of_two_do_not() {
        let branch = |stream| Ways::after(&[Ways::of_stream(stream)], true);
        assert_eq!(Meeting::of(&[branch(0), branch(1)]), None);
        let meeting = Meeting::of(&[branch(0), branch(1), branch(0)]).expect("stream 0 meets");
        assert_eq!(meeting.streams, [0]);
        assert_eq!(meeting.inputs, [Some(0), None, Some(0)]);
        assert!(meeting.is_prompt);
    }

    #[test]
    fn a_branch_behind_a_window_or_a_union_does_not_come_at_once() {
        let windowed = Ways::after(&[Ways::of_stream(0)], false);
        let meeting = Meeting::of(&[windowed.clone(), Ways::of_stream(0)]);
        assert!(!meeting.expect("stream 0 meets").is_prompt);
        let above = Ways::after(&[windowed], true);
        assert!(
            !Meeting::of(&[above, Ways::of_stream(0)])
                .expect("meets")
                .is_prompt
        );
        let united = Ways::after(&[Ways::of_stream(0), Ways::of_stream(1)], true);
        assert!(
            !Meeting::of(&[united, Ways::of_stream(0)])
                .expect("meets")
                .is_prompt
        );
    }
}
