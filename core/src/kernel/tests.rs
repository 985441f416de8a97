//! Every kernel at every level gives the bits of its reference; the references give what
//! arithmetic says.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    BLOCK_ROWS, Bits, FIND_ROWS, Frame, Kernels, LaneRecord, NARROW_ROWS, NONE, Record,
    SHORT_LEN_MAX, Summary, Tree, WordTable, hash_word, range_frames, range_starts, reference,
    short_word,
};

/// Values that a float may be wrong about, among others.
fn float() -> impl Strategy<Value = f64> {
    const ODD: [f64; 10] = [
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        -5e-324,
    ];
    prop_oneof![
        8 => -1e3..1e3,
        2 => (-4i32..4).prop_map(f64::from),
        1 => (0..ODD.len()).prop_map(|at| ODD[at]),
        1 => any::<f64>(),
    ]
}

/// All plain, all from a few odd values, or mixed: what leads kernels into each branch.
fn floats(rows: usize) -> impl Strategy<Value = Vec<f64>> {
    let few = |values: &'static [f64]| (0..values.len()).prop_map(|at| values[at]);
    let positive = prop_oneof![Just(0.0), Just(-0.0), 0.0..9.0];
    let negative = prop_oneof![Just(0.0), Just(-0.0), -9.0..0.0];
    prop_oneof![
        vec(float(), 0..rows),
        vec(-1e3..1e3, 0..rows),
        vec(positive, 0..rows),
        vec(negative, 0..rows),
        vec(few(&[0.0, -0.0]), 0..rows),
        vec(few(&[f64::NAN, -f64::NAN]), 0..rows),
        vec(few(&[-f64::NAN, f64::INFINITY]), 0..rows),
        vec(few(&[-f64::NAN, 0.0, 1.0]), 0..rows),
        vec(few(&[f64::NAN, -0.0, f64::NEG_INFINITY]), 0..rows),
    ]
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -1000i64..1000,
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
        1 => any::<i64>(),
    ]
}

/// Bits, and at which of them the rows begin.
fn validity(rows: usize) -> impl Strategy<Value = (Vec<u8>, usize)> {
    let byte = prop_oneof![2 => any::<u8>(), 1 => Just(0), 1 => Just(u8::MAX)];
    let mixed = vec(byte, rows.div_ceil(8) + 2);
    let none = vec(Just(0), rows.div_ceil(8) + 2);
    (prop_oneof![4 => mixed, 1 => none], 0..16usize)
}

fn bits(values: impl IntoIterator<Item = f64>) -> Vec<u64> {
    values.into_iter().map(f64::to_bits).collect()
}

fn summary_bits(summary: Option<Summary>) -> Option<(usize, Vec<u64>)> {
    summary.map(|it| (it.count, bits([it.sum, it.min, it.max])))
}

/// Runs a kernel that fills a slice.
fn filled<T: Clone>(rows: usize, blank: T, kernel: impl FnOnce(&mut [T])) -> Vec<T> {
    let mut out = vec![blank; rows];
    kernel(&mut out);
    out
}

fn assert_reductions(values: &[f64], validity: Option<Bits<'_>>) {
    let expected = reference::summarize_f64(values, validity);
    let one = |value: Option<f64>| value.map(f64::to_bits);
    for kernels in Kernels::available() {
        let actual = kernels.summarize_f64(values, validity);
        assert_eq!(summary_bits(actual), summary_bits(expected), "{kernels:?}");
        let sum = kernels.sum_f64(values, validity);
        assert_eq!(one(sum), one(expected.map(|it| it.sum)), "{kernels:?}");
        let min = kernels.min_f64(values, validity);
        assert_eq!(one(min), one(expected.map(|it| it.min)), "{kernels:?}");
        let max = kernels.max_f64(values, validity);
        assert_eq!(one(max), one(expected.map(|it| it.max)), "{kernels:?}");
    }
}

fn assert_rows(values: &[f64], width: usize) {
    let sums = bits(reference::rows_sum_f64(values, width));
    let least = bits(reference::rows_min_f64(values, width));
    let greatest = bits(reference::rows_max_f64(values, width));
    for kernels in Kernels::available() {
        let run = |kernel: fn(Kernels, &[f64], usize, &mut [f64])| {
            bits(filled(values.len(), 7.0, |out| {
                kernel(kernels, values, width, out)
            }))
        };
        assert_eq!(run(Kernels::rows_sum_f64), sums, "{kernels:?}");
        assert_eq!(run(Kernels::rows_min_f64), least, "{kernels:?}");
        assert_eq!(run(Kernels::rows_max_f64), greatest, "{kernels:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn reductions(values in floats(200)) {
        assert_reductions(&values, None);
    }

    #[test]
    fn reductions_with_nulls(values in floats(200), (bytes, offset) in validity(200)) {
        assert_reductions(&values, Some(Bits::new(&bytes, offset, values.len())));
    }

    #[test]
    fn reductions_of_many_blocks(
        values in floats(10 * BLOCK_ROWS),
        (bytes, offset) in validity(10 * BLOCK_ROWS),
    ) {
        assert_reductions(&values, None);
        assert_reductions(&values, Some(Bits::new(&bytes, offset, values.len())));
    }

    #[test]
    fn bits_are_counted(offset in 0..20usize, rows in 0..80usize, bytes in vec(any::<u8>(), 13)) {
        let bits = Bits::new(&bytes, offset, rows);
        let set = |bit: usize| bytes[bit / 8] & 1 << (bit % 8) != 0;
        prop_assert_eq!(bits.count(), (offset..offset + rows).filter(|&bit| set(bit)).count());
        for row in 0..rows {
            prop_assert_eq!(bits.is_valid(row), set(offset + row));
        }
    }

    #[test]
    fn spans_of_integers(values in vec(integer(), 0..200)) {
        for kernels in Kernels::available() {
            prop_assert_eq!(kernels.min_max_i64(&values), reference::min_max_i64(&values));
        }
    }

    #[test]
    fn frames_of_rows(values in floats(200), width in 1..80usize) {
        assert_rows(&values, width);
    }

    #[test]
    fn frames_of_many_rows(values in floats(500), width in 80..600usize) {
        assert_rows(&values, width);
    }

    #[test]
    fn frames_of_rows_of_integers(values in vec(integer(), 0..200), width in 1..80usize) {
        let sums = reference::rows_sum_i64(&values, width);
        let least = reference::rows_min_i64(&values, width);
        let greatest = reference::rows_max_i64(&values, width);
        for kernels in Kernels::available() {
            let run = |kernel: fn(Kernels, &[i64], usize, &mut [i64])| {
                filled(values.len(), 7, |out| kernel(kernels, &values, width, out))
            };
            prop_assert_eq!(&run(Kernels::rows_sum_i64), &sums);
            prop_assert_eq!(&run(Kernels::rows_min_i64), &least);
            prop_assert_eq!(&run(Kernels::rows_max_i64), &greatest);
        }
    }

    #[test]
    fn frames_of_a_range(
        values in floats(200),
        steps in vec(prop_oneof![3 => Just(0u64), 6 => 1..20u64, 1 => 20..500u64], 200),
        width in prop_oneof![Just(0u64), 0..30u64, 30..2000u64],
    ) {
        let times: Vec<i64> = (values.iter().zip(&steps))
            .scan(-500i64, |time, (_, step)| {
                *time += *step as i64;
                Some(*time)
            })
            .collect();
        assert_ranges(&times, width, &values)?;
    }

    #[test]
    fn frames_of_a_range_at_the_ends_of_time(
        times in vec(integer(), 0..60),
        width in prop_oneof![any::<u64>(), Just(u64::MAX), Just(i64::MAX as u64), 0..2000u64],
    ) {
        let mut times = times;
        times.sort_unstable();
        let values: Vec<f64> = (0..times.len()).map(|row| row as f64).collect();
        assert_ranges(&times, width, &values)?;
    }

    #[test]
    fn starts_among_older_rows(
        steps in vec(prop_oneof![3 => Just(0i64), 6 => 1..20i64, 1 => 20..500i64], 1..300),
        cut in any::<prop::sample::Index>(),
        width in prop_oneof![Just(0u64), 0..30u64, 30..2000u64],
        extremes in vec(integer(), 0..20),
    ) {
        let mut times: Vec<i64> = (steps.iter())
            .scan(-500, |time, step| {
                *time += step;
                Some(*time)
            })
            .chain(extremes)
            .collect();
        times.sort_unstable();
        let (older, times) = times.split_at(cut.index(times.len()));
        let starts = filled(times.len(), 7, |out| range_starts(older, times, width, out));
        prop_assert_eq!(starts, reference::range_starts(older, times, width));
    }

    /// Results do not depend on how rows were cut into pieces.
    #[test]
    fn pieces_of_frames_of_rows(
        values in vec(-1e3..1e3, 0..400),
        width in 1..40usize,
        cut in 0..10usize,
    ) {
        let whole = bits(reference::rows_sum_f64(&values, width));
        let cut = (cut * width).min(values.len() / width * width);
        let from = cut.saturating_sub(width);
        for kernels in Kernels::available() {
            let piece = &values[from..];
            let sums = filled(piece.len(), 0.0, |out| kernels.rows_sum_f64(piece, width, out));
            prop_assert_eq!(&bits(sums)[cut - from..], &whole[cut..]);
        }
    }

    /// Nor do those of a range, once the split is handed on.
    #[test]
    fn pieces_of_frames_of_a_range(
        rows in vec((-1e3..1e3, 0..9i64), 1..200),
        width in 0..300u64,
        cut in any::<prop::sample::Index>(),
    ) {
        let (values, steps): (Vec<f64>, Vec<i64>) = rows.into_iter().unzip();
        let times: Vec<i64> = (steps.iter())
            .scan(0, |time, step| {
                *time += step;
                Some(*time)
            })
            .collect();
        let frames = reference::range_frames(&times, width);
        let (whole, end) = reference::range_sum_f64(&values, &frames, 0);
        let cut = cut.index(frames.len());
        for kernels in Kernels::available() {
            let mut sums = vec![0.0; frames.len()];
            let split = kernels.range_sum_f64(&values, &frames[..cut], 0, &mut sums[..cut]);
            // Rows that no frame of the piece holds are gone.
            let gone = (frames[cut].start as usize).min(split) as u32;
            let moved = |frame: &Frame| Frame { start: frame.start - gone, end: frame.end - gone };
            let rest: Vec<Frame> = frames[cut..].iter().map(moved).collect();
            let split = kernels.range_sum_f64(
                &values[gone as usize..],
                &rest,
                split - gone as usize,
                &mut sums[cut..],
            );
            prop_assert_eq!(bits(sums), bits(whole.iter().copied()));
            prop_assert_eq!(split + gone as usize, end);
        }
    }

    #[test]
    fn frames_over_a_tree(
        values in floats(4_000),
        none in prop_oneof![3 => Just(0u64), 1 => 2..9u64, 1 => Just(1)],
        leaving in vec(prop_oneof![8 => 0..3usize, 1 => 0..90usize], 4_000),
        pieces in vec(1..300usize, 4_000),
        first in prop_oneof![Just(0usize), 0..70usize, 900..3_000usize],
    ) {
        assert_trees(&values, none, &leaving, &pieces, first)?;
    }

    /// The references add in an order of their own, but they add what is there.
    #[test]
    fn references_add_up(values in vec(-1e3..1e3, 0..300), width in 1..400usize) {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * 1e3 * 300.0;
        let plain = |values: &[f64]| values.iter().sum::<f64>();
        if let Some(summary) = reference::summarize_f64(&values, None) {
            prop_assert!(near(summary.sum, plain(&values)));
        }
        for (row, sum) in reference::rows_sum_f64(&values, width).into_iter().enumerate() {
            let first = (row + 1).saturating_sub(width);
            prop_assert!(near(sum, plain(&values[first..=row])));
        }
        for row in 0..values.len() {
            let frame = (row + 1).saturating_sub(width)..row + 1;
            prop_assert!(near(reference::tree_sum(&values, frame.clone()), plain(&values[frame])));
        }
        let times: Vec<i64> = (0..values.len() as i64).map(|row| row / 2).collect();
        let frames = reference::range_frames(&times, width as u64 / 4);
        let (sums, _) = reference::range_sum_f64(&values, &frames, 0);
        for (frame, sum) in frames.iter().zip(sums) {
            prop_assert!(near(sum, plain(&values[frame.start as usize..frame.end as usize])));
        }
    }
}

/// Trees at every level, grown in pieces, whose first row has an ordinal. After each row
/// some rows leave; each `none`-th row has no value.
fn assert_trees(
    values: &[f64],
    none: u64,
    leaving: &[usize],
    pieces: &[usize],
    first: usize,
) -> Result<(), TestCaseError> {
    let is_none = |row: u64| none > 0 && row.is_multiple_of(none);
    let usual = |value: f64| if value.is_nan() { f64::NAN } else { value };
    let values: Vec<f64> = (0..)
        .zip(values)
        .map(|(row, value)| if is_none(row) { NONE } else { usual(*value) })
        .collect();
    let starts: Vec<usize> = (leaving[..values.len()].iter().enumerate())
        .scan(0, |start, (row, leaving)| {
            *start = row.min(*start + leaving);
            Some(*start)
        })
        .collect();
    let lengths: Vec<u32> = (starts.iter().enumerate())
        .map(|(row, start)| (row + 1 - start) as u32)
        .collect();
    let mut ordinals = vec![-0.0; first];
    ordinals.extend(
        values
            .iter()
            .map(|value| match value.to_bits() == NONE.to_bits() {
                true => -0.0,
                false => *value,
            }),
    );
    for kernels in Kernels::available() {
        let mut tree = Tree::starting_at(first as u64);
        let mut row = 0;
        for piece in pieces {
            let rows = row..values.len().min(row + piece);
            let Some(&start) = starts[rows.clone()].first() else {
                break;
            };
            let (lengths, place) = (&lengths[rows.clone()], (first + row) as u64);
            tree.push(&values[rows.clone()]);
            kernels.tree_grow(&mut tree, (first + start) as u64);
            let run = |kernel: fn(Kernels, &Tree, u64, &[u32], &mut [f64])| {
                filled(rows.len(), 7.0, |out| {
                    kernel(kernels, &tree, place, lengths, out)
                })
            };
            let mut counts = vec![0; rows.len()];
            tree.count(place, lengths, &mut counts);
            let sums = run(Kernels::tree_sums);
            let (least, greatest) = (run(Kernels::tree_mins), run(Kernels::tree_maxs));
            for (at, row) in rows.clone().enumerate() {
                let frame = first + starts[row]..first + row + 1;
                let sum = reference::tree_sum(&ordinals, frame);
                prop_assert_eq!(sums[at].to_bits(), sum.to_bits());
                let frame: Vec<f64> = (starts[row]..=row)
                    .map(|row| values[row])
                    .filter(|value| value.to_bits() != NONE.to_bits())
                    .collect();
                prop_assert_eq!(counts[at] as usize, frame.len());
                if let Some(all) = reference::summarize_f64(&frame, None) {
                    prop_assert_eq!(least[at].to_bits(), all.min.to_bits());
                    prop_assert_eq!(greatest[at].to_bits(), all.max.to_bits());
                }
            }
            row = rows.end;
            let held = (first + starts[row - 1]) as u64;
            tree.leave(held);
            let rows: Vec<u64> = bits(tree.rows(held).flatten().copied());
            prop_assert_eq!(rows, bits(values[starts[row - 1]..row].iter().copied()));
        }
    }
    Ok(())
}

fn assert_ranges(times: &[i64], width: u64, values: &[f64]) -> Result<(), TestCaseError> {
    let frames = reference::range_frames(times, width);
    let integers: Vec<i64> = values.iter().map(|value| value.to_bits() as i64).collect();
    let (sums, split) = reference::range_sum_f64(values, &frames, 0);
    let actual = filled(times.len(), Frame::default(), |out| {
        range_frames(times, width, out);
    });
    prop_assert_eq!(&actual, &frames);
    for kernels in Kernels::available() {
        let mut actual = vec![7.0; values.len()];
        prop_assert_eq!(
            kernels.range_sum_f64(values, &frames, 0, &mut actual),
            split
        );
        prop_assert_eq!(bits(actual), bits(sums.iter().copied()));
        let floats = |kernel: fn(Kernels, &[f64], &[Frame], &mut [f64])| {
            bits(filled(values.len(), 7.0, |out| {
                kernel(kernels, values, &frames, out)
            }))
        };
        let least = reference::range_min_f64(values, &frames);
        prop_assert_eq!(floats(Kernels::range_min_f64), bits(least));
        let greatest = reference::range_max_f64(values, &frames);
        prop_assert_eq!(floats(Kernels::range_max_f64), bits(greatest));
        let run = |kernel: fn(Kernels, &[i64], &[Frame], &mut [i64])| {
            filled(values.len(), 7, |out| {
                kernel(kernels, &integers, &frames, out)
            })
        };
        let sums = reference::range_sum_i64(&integers, &frames);
        prop_assert_eq!(run(Kernels::range_sum_i64), sums);
        let least = reference::range_min_i64(&integers, &frames);
        prop_assert_eq!(run(Kernels::range_min_i64), least);
        let greatest = reference::range_max_i64(&integers, &frames);
        prop_assert_eq!(run(Kernels::range_max_i64), greatest);
    }
    Ok(())
}

#[test]
fn the_levels_of_this_processor_are_those_it_says() {
    let levels: Vec<_> = Kernels::available().iter().map(|it| it.level()).collect();
    assert!(levels.is_sorted() && levels[0] == super::Level::Baseline);
    assert!(levels.contains(&super::level().expect("no level that is not there")));
}

#[test]
fn nan_and_zeros_are_ordered() {
    let nan = f64::NAN;
    let case = |values: &[f64], sum: f64, min: f64, max: f64| {
        for kernels in Kernels::available() {
            // Alone, and behind so many rows of the same that a block is full.
            let many = values.repeat(BLOCK_ROWS);
            for values in [values, &many] {
                let it = kernels.summarize_f64(values, None).expect("some rows");
                assert_eq!(bits([it.min, it.max]), bits([min, max]), "{values:?}");
                assert!(it.sum == sum || sum.is_nan() && it.sum.is_nan());
                assert!(it.sum.to_bits() != (-0.0f64).to_bits());
            }
        }
    };
    case(&[-0.0], 0.0, -0.0, -0.0);
    case(&[0.0, -0.0], 0.0, -0.0, 0.0);
    case(&[-0.0, 0.0], 0.0, -0.0, 0.0);
    case(&[-nan, -1.0, 1.0], nan, -1.0, nan);
    case(&[-nan, nan], nan, nan, nan);
    case(&[-nan, f64::INFINITY], nan, f64::INFINITY, nan);
    case(&[-nan, 0.0], nan, 0.0, nan);
    case(
        &[f64::INFINITY, f64::NEG_INFINITY],
        nan,
        f64::NEG_INFINITY,
        f64::INFINITY,
    );
}

#[test]
fn what_is_huge_leaves_with_its_row() {
    let values = [
        1.0,
        f64::INFINITY,
        1e300,
        f64::NAN,
        1.0,
        2.0,
        3.0,
        4.0,
        5.0,
        6.0,
        7.0,
        8.0,
    ];
    for width in [3, NARROW_ROWS + 1] {
        for kernels in Kernels::available() {
            let long: Vec<f64> = (values.iter().copied())
                .chain((9..40).map(f64::from))
                .collect();
            let sums = filled(long.len(), 0.0, |out| {
                kernels.rows_sum_f64(&long, width, out)
            });
            for row in 3 + width..long.len() {
                let exact: f64 = long[row + 1 - width..=row].iter().sum();
                assert_eq!(sums[row], exact, "row {row}, {kernels:?}");
            }
        }
    }
}

#[test]
fn frames_of_equal_times_hold_each_other() {
    let mut frames = [Frame::default(); 5];
    range_frames(&[10, 20, 20, 30, 31], 10, &mut frames);
    let ends: Vec<_> = frames
        .iter()
        .map(|it| (it.start, it.end, it.rows()))
        .collect();
    assert_eq!(
        ends,
        [(0, 1, 1), (0, 3, 3), (0, 3, 3), (1, 4, 3), (3, 5, 2)]
    );
    for kernels in Kernels::available() {
        let mut sums = [0.0; 5];
        kernels.range_sum_f64(&[1.0, 2.0, 4.0, 8.0, 16.0], &frames, 0, &mut sums);
        assert_eq!(sums, [1.0, 7.0, 7.0, 14.0, 24.0]);
    }
}

#[test]
#[should_panic(expected = "one bit for each row")]
fn a_bitmap_of_another_length_is_a_bug() {
    super::sum_f64(&[1.0, 2.0], Some(Bits::new(&[3], 0, 1)));
}

/// Of partial sums, every NaN is as good as another.
fn sum_bits(sums: &[f64]) -> Vec<u64> {
    let usual = |sum: &f64| if sum.is_nan() { f64::NAN } else { *sum };
    bits(sums.iter().map(usual))
}

fn record_bits(record: &Record) -> (Vec<u64>, u64, [i64; 2]) {
    (sum_bits(&[record.sum]), record.count.into(), record.span)
}

fn lane_bits(record: &LaneRecord) -> (Vec<u64>, u64, [i64; 2]) {
    (sum_bits(&record.sums), record.count, record.span)
}

/// Strings of all lengths around those that are words, few of each, so that they repeat.
fn strings() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let string = (0..SHORT_LEN_MAX + 4, 0..9_u8).prop_map(|(len, fill)| {
        let mut string = vec![fill; len];
        if let Some(last) = string.last_mut() {
            *last = u8::MAX - fill;
        }
        string
    });
    vec(string, 0..=FIND_ROWS)
}

/// Puts words into a table of at least twice as many slots, each at its home or behind it.
fn filled_table(words: &[u128], secret: [u64; 3], shift: u32) -> Vec<u32> {
    let mut slots = vec![u32::MAX; 1 << (u64::BITS - shift)];
    for (id, word) in words.iter().enumerate() {
        let mut at = (hash_word(secret, *word) >> shift) as usize;
        while slots[at] != u32::MAX {
            at = (at + 1) % slots.len();
        }
        slots[at] = id as u32;
    }
    slots
}

proptest! {
    #[test]
    fn rows_are_added_to_their_records(
        values in floats(700),
        groups in prop_oneof![Just(1_u32), 1..40_u32],
        seed in any::<u32>(),
    ) {
        let slots: Vec<u32> = (0..values.len() as u32)
            .map(|row| row.wrapping_mul(seed | 1).rotate_left(7) % groups)
            .collect();
        let mut expected = vec![Record::<i64>::EMPTY; groups as usize];
        reference::add_rows(&mut expected, &slots, &values);
        for kernels in Kernels::available() {
            let mut records = vec![Record::<i64>::EMPTY; groups as usize];
            kernels.add_rows(&mut records, &slots, &values);
            for (record, expected) in records.iter().zip(&expected) {
                prop_assert_eq!(record_bits(record), record_bits(expected), "{}", kernels.level());
            }
        }
    }

    #[test]
    fn rows_of_32_bits_are_added_to_their_records(
        values in floats(700),
        groups in prop_oneof![Just(1_u32), 1..40_u32],
        seed in any::<u32>(),
    ) {
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        let slots: Vec<u32> = (0..values.len() as u32)
            .map(|row| row.wrapping_mul(seed | 1).rotate_left(7) % groups)
            .collect();
        let mut expected = vec![Record::<i32>::EMPTY; groups as usize];
        reference::add_rows_f32(&mut expected, &slots, &values);
        for kernels in Kernels::available() {
            let mut records = vec![Record::<i32>::EMPTY; groups as usize];
            kernels.add_rows_f32(&mut records, &slots, &values);
            for (record, expected) in records.iter().zip(&expected) {
                let bits = |record: &Record<i32>| (sum_bits(&[record.sum]), record.count, record.span);
                prop_assert_eq!(bits(record), bits(expected), "{}", kernels.level());
            }
        }
    }

    #[test]
    fn a_run_is_added_lane_by_lane_however_it_is_cut(
        values in floats(3_000),
        cuts in vec(0..3_000_usize, 0..4),
    ) {
        let mut expected = LaneRecord::EMPTY;
        reference::add_run(&mut expected, &values);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        for kernels in Kernels::available() {
            let mut record = LaneRecord::EMPTY;
            for cut in cuts.windows(2) {
                kernels.add_run(&mut record, &values[cut[0]..cut[1]]);
            }
            prop_assert_eq!(lane_bits(&record), lane_bits(&expected), "{}", kernels.level());
        }
    }

    #[test]
    fn strings_are_found_in_a_table(
        rows in strings(),
        known in 0..FIND_ROWS,
        secret in any::<[u64; 3]>(),
        crowded in any::<bool>(),
        behind in 0..20_usize,
    ) {
        let secret = [secret[0], secret[1], secret[2] | 1];
        let word = |string: &Vec<u8>| {
            let mut window = [0; 16];
            window[..string.len()].copy_from_slice(string);
            short_word(u128::from_le_bytes(window), string.len())
        };
        let mut words: Vec<u128> = (rows.iter().take(known))
            .filter(|string| string.len() <= SHORT_LEN_MAX)
            .map(word)
            .collect();
        words.sort_unstable();
        words.dedup();
        let shift = u64::BITS - if crowded { 9 } else { 13 };
        let slots = filled_table(&words, secret, shift);
        let table = WordTable { secret, slots: &slots, shift, words: &words };

        let strings: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let (expected, mut missed) = reference::find_short(&strings, table);
        let mut values: Vec<u8> = rows.concat();
        values.extend(vec![0xA5; behind]);
        let mut end = 0;
        let offsets: Vec<i32> = (std::iter::once(0))
            .chain(rows.iter().map(|string| {
                end += string.len() as i32;
                end
            }))
            .collect();
        // What is so near to the end that no whole window is there cannot be told.
        missed.extend((0..rows.len()).filter(|&row| offsets[row] as usize + 16 > values.len()));
        missed.sort_unstable();
        missed.dedup();
        let large: Vec<i64> = offsets.iter().map(|&offset| offset.into()).collect();
        for kernels in Kernels::available() {
            for is_large in [false, true] {
                let (mut ids, mut further) = (vec![7; rows.len()], [0; FIND_ROWS]);
                let count = match is_large {
                    false => kernels.find_short(&values, &offsets, table, &mut ids, &mut further),
                    true => {
                        kernels.find_short_large(&values, &large, table, &mut ids, &mut further)
                    }
                };
                let further: Vec<usize> = further[..count].iter().map(|&row| row as usize).collect();
                prop_assert_eq!(&further, &missed, "{}", kernels.level());
                for row in (0..rows.len()).filter(|row| !missed.contains(row)) {
                    prop_assert_eq!(ids[row], expected[row], "{}", kernels.level());
                }
            }
        }
    }
}
