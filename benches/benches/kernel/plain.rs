//! The loops that one would write without the kernels.

use std::collections::VecDeque;

use windrow_core::kernel::Frame;

pub fn min_max(values: &[i64]) -> (i64, i64) {
    (values.iter()).fold((i64::MAX, i64::MIN), |(least, greatest), &value| {
        (least.min(value), greatest.max(value))
    })
}

pub fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn is_valid(bits: &[u8], row: usize) -> bool {
    bits[row / 8] >> (row % 8) & 1 == 1
}

pub fn sum_of_valid(values: &[f64], bits: &[u8]) -> f64 {
    let valid = values.iter().enumerate();
    valid
        .map(|(row, &value)| if is_valid(bits, row) { value } else { 0.0 })
        .sum()
}

pub fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

pub fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

const NONE: (f64, f64, f64) = (0.0, f64::INFINITY, f64::NEG_INFINITY);

fn with((sum, least, greatest): (f64, f64, f64), value: f64) -> (f64, f64, f64) {
    (sum + value, least.min(value), greatest.max(value))
}

pub fn summary(values: &[f64]) -> f64 {
    let (sum, least, greatest) = values.iter().copied().fold(NONE, with);
    sum + least + greatest
}

pub fn summary_of_valid(values: &[f64], bits: &[u8]) -> f64 {
    let valid = values.iter().enumerate();
    let (sum, least, greatest) = valid.fold(NONE, |sums, (row, &value)| {
        if is_valid(bits, row) {
            with(sums, value)
        } else {
            sums
        }
    });
    sum + least + greatest
}

pub fn rows_sum<T>(values: &[T], width: usize, out: &mut [T])
where
    T: Copy + Default + Wrapping,
{
    let mut sum = T::default();
    for row in 0..values.len() {
        sum = sum.plus(values[row]);
        if row >= width {
            sum = sum.minus(values[row - width]);
        }
        out[row] = sum;
    }
}

/// Adds and subtracts as a benchmark's numbers need it: integers wrap.
pub trait Wrapping {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
}

impl Wrapping for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn minus(self, other: Self) -> Self {
        self - other
    }
}

impl Wrapping for i64 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }
}

pub fn rows_min<T: Copy + PartialOrd>(values: &[T], width: usize, out: &mut [T]) {
    let mut candidates = VecDeque::with_capacity(width);
    for (row, (&value, out)) in values.iter().zip(out).enumerate() {
        push(&mut candidates, values, row, value);
        if candidates[0] + width == row {
            candidates.pop_front();
        }
        *out = values[candidates[0]];
    }
}

/// Rows that a later one undercuts can no longer be the least.
fn push<T: Copy + PartialOrd>(
    candidates: &mut VecDeque<usize>,
    values: &[T],
    row: usize,
    value: T,
) {
    while candidates.back().is_some_and(|&last| values[last] >= value) {
        candidates.pop_back();
    }
    candidates.push_back(row);
}

pub fn range_frames(times: &[i64], width: u64, frames: &mut [Frame]) {
    let (mut start, mut end) = (0, 0);
    for (&time, frame) in times.iter().zip(frames) {
        while end < times.len() && times[end] <= time {
            end += 1;
        }
        while time.abs_diff(times[start]) > width {
            start += 1;
        }
        *frame = Frame {
            start: start as u32,
            end: end as u32,
        };
    }
}

/// Two stacks: nothing is subtracted, as the kernel promises.
pub fn range_sum(values: &[f64], frames: &[Frame], out: &mut [f64]) {
    let mut older = vec![0.0; values.len()];
    let (mut split, mut end, mut newer) = (0, 0, 0.0);
    for (frame, out) in frames.iter().zip(out) {
        let (first, last) = (frame.start as usize, frame.end as usize);
        if first >= split {
            let mut sum = 0.0;
            for row in (first..last).rev() {
                sum += values[row];
                older[row] = sum;
            }
            (split, end, newer) = (last, last, 0.0);
        }
        newer = (values[end..last].iter()).fold(newer, |sum, value| sum + value);
        end = last;
        *out = older[first] + newer;
    }
}

pub fn range_min(values: &[f64], frames: &[Frame], out: &mut [f64]) {
    let (mut candidates, mut end) = (VecDeque::new(), 0);
    for (frame, out) in frames.iter().zip(out) {
        while end < frame.end as usize {
            push(&mut candidates, values, end, values[end]);
            end += 1;
        }
        while candidates[0] < frame.start as usize {
            candidates.pop_front();
        }
        *out = values[candidates[0]];
    }
}
