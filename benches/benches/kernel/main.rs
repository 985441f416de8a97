//! How many values a second go through each kernel, at each level of the processor.
//!
//! `kernel/sum f64, avx512` is a row. Slices lie in the second-level cache. `…, plain` is
//! the loop that one would write without the kernel, as the compiler makes it: running
//! sums over rows, two stacks over a range, queues of candidates for the least. Plain
//! loops may round differently, and none minds NaN. `benches/kernels.py` makes a table of it.

mod plain;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use windrow_core::kernel::{Bits, Frame, Kernels, range_frames};

/// 256 KiB of eight bytes each.
const ROWS: usize = 32 * 1024;

const ROWS_IN_PANE: usize = 128;

/// A frame of so many microseconds holds about 60 rows.
const RANGE_US: u64 = 3_000;

/// Pseudo-random words, the same in every run.
fn words() -> impl Iterator<Item = u64> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

fn kernels(criterion: &mut Criterion) {
    let floats: Vec<f64> = words().take(ROWS).map(|word| (word >> 40) as f64).collect();
    let integers: Vec<i64> = words().take(ROWS).map(|word| word as i64).collect();
    // NaN and −0.0 have an order of their own.
    let odd: Vec<f64> = (floats.iter().enumerate())
        .map(|(row, &value)| if row % 50 == 0 { f64::NAN } else { value })
        .collect();
    let times: Vec<i64> = (0i64..)
        .zip(words())
        .map(|(row, word)| 50 * row + (word % 50) as i64)
        .take(ROWS)
        .collect();
    // One row in eight is null.
    let bytes: Vec<u8> = (words().zip(words().skip(1)).zip(words().skip(2)))
        .map(|((a, b), c)| ((a | b | c) >> 20) as u8)
        .take(ROWS / 8)
        .collect();
    let validity = Some(Bits::new(&bytes, 0, ROWS));
    let mut frames = vec![Frame::default(); ROWS];
    range_frames(&times, RANGE_US, &mut frames);
    let frames = frames;

    let mut group = criterion.benchmark_group("kernel");
    (group.throughput(Throughput::Elements(ROWS as u64)))
        .sample_size(20)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(450));

    let mut reduce = |name: &str, kernel: &dyn Fn() -> f64| {
        group.bench_function(format!("{name}, plain"), |bencher| bencher.iter(kernel));
    };
    reduce("min, max i64", &|| {
        let (least, greatest) = plain::min_max(black_box(&integers));
        (least ^ greatest) as f64
    });
    reduce("sum f64", &|| plain::sum(black_box(&floats)));
    reduce("sum f64 with nulls", &|| {
        plain::sum_of_valid(black_box(&floats), &bytes)
    });
    reduce("min f64", &|| plain::min(black_box(&floats)));
    reduce("max f64", &|| plain::max(black_box(&floats)));
    reduce("sum, min, max f64", &|| plain::summary(black_box(&floats)));
    reduce("sum, min, max f64 with nulls", &|| {
        plain::summary_of_valid(black_box(&floats), &bytes)
    });
    reduce("sum, min, max f64 with NaN", &|| {
        plain::summary(black_box(&odd))
    });
    reduce("sum, min, max f64 of panes of 128 rows", &|| {
        let panes = black_box(&floats).chunks(ROWS_IN_PANE);
        panes.map(plain::summary).sum()
    });
    let mut out = vec![0.0; ROWS];
    let mut slide = |name: String, kernel: &mut dyn FnMut(&mut [f64])| {
        group.bench_function(format!("{name}, plain"), |bencher| {
            bencher.iter(|| kernel(black_box(&mut out)));
        });
    };
    for width in [3, 32, 1000] {
        slide(format!("sum f64 of {width} rows"), &mut |out| {
            plain::rows_sum(&floats, width, out);
        });
        slide(format!("min f64 of {width} rows"), &mut |out| {
            plain::rows_min(&floats, width, out);
        });
    }
    slide("min f64 of 32 rows with NaN".into(), &mut |out| {
        plain::rows_min(&odd, 32, out);
    });
    slide("sum f64 of a range of 60 rows".into(), &mut |out| {
        plain::range_sum(&floats, &frames, out);
    });
    slide("min f64 of a range of 60 rows".into(), &mut |out| {
        plain::range_min(&floats, &frames, out);
    });
    let mut out = vec![0; ROWS];
    group.bench_function("sum i64 of 32 rows, plain", |bencher| {
        bencher.iter(|| plain::rows_sum(&integers, 32, black_box(&mut out)));
    });
    group.bench_function("min i64 of 32 rows, plain", |bencher| {
        bencher.iter(|| plain::rows_min(&integers, 32, black_box(&mut out)));
    });
    let mut out = vec![Frame::default(); ROWS];
    group.bench_function("frames of a range, plain", |bencher| {
        bencher.iter(|| plain::range_frames(&times, RANGE_US, black_box(&mut out)));
    });
    // One code for every level.
    group.bench_function("frames of a range, baseline", |bencher| {
        bencher.iter(|| range_frames(&times, RANGE_US, black_box(&mut out)));
    });

    for kernels in Kernels::available() {
        let level = kernels.level();
        let mut reduce = |name: &str, kernel: &dyn Fn() -> f64| {
            group.bench_function(format!("{name}, {level}"), |bencher| bencher.iter(kernel));
        };
        let summed = |values: &[f64], validity| {
            let summary = kernels.summarize_f64(values, validity);
            summary.map_or(0.0, |it| it.sum + it.min + it.max)
        };
        reduce("min, max i64", &|| {
            let span = kernels.min_max_i64(black_box(&integers));
            span.map_or(0.0, |(least, greatest)| (least ^ greatest) as f64)
        });
        reduce("sum f64", &|| {
            kernels.sum_f64(black_box(&floats), None).unwrap_or(0.0)
        });
        reduce("sum f64 with nulls", &|| {
            kernels.sum_f64(black_box(&floats), validity).unwrap_or(0.0)
        });
        reduce("min f64", &|| {
            kernels.min_f64(black_box(&floats), None).unwrap_or(0.0)
        });
        reduce("max f64", &|| {
            kernels.max_f64(black_box(&floats), None).unwrap_or(0.0)
        });
        reduce("sum, min, max f64", &|| summed(black_box(&floats), None));
        reduce("sum, min, max f64 with nulls", &|| {
            summed(black_box(&floats), validity)
        });
        reduce("sum, min, max f64 with NaN", &|| {
            summed(black_box(&odd), None)
        });
        reduce("sum, min, max f64 of panes of 128 rows", &|| {
            let panes = black_box(&floats).chunks(ROWS_IN_PANE);
            panes.map(|pane| summed(pane, None)).sum()
        });

        let mut out = vec![0.0; ROWS];
        let mut slide = |name: String, kernel: &mut dyn FnMut(&mut [f64])| {
            group.bench_function(format!("{name}, {level}"), |bencher| {
                bencher.iter(|| kernel(black_box(&mut out)));
            });
        };
        for width in [3, 32, 1000] {
            slide(format!("sum f64 of {width} rows"), &mut |out| {
                kernels.rows_sum_f64(&floats, width, out);
            });
            slide(format!("min f64 of {width} rows"), &mut |out| {
                kernels.rows_min_f64(&floats, width, out);
            });
        }
        slide("min f64 of 32 rows with NaN".into(), &mut |out| {
            kernels.rows_min_f64(&odd, 32, out);
        });
        slide("sum f64 of a range of 60 rows".into(), &mut |out| {
            kernels.range_sum_f64(&floats, &frames, 0, out);
        });
        slide("min f64 of a range of 60 rows".into(), &mut |out| {
            kernels.range_min_f64(&floats, &frames, out);
        });

        let mut out = vec![0; ROWS];
        let mut slide = |name: &str, kernel: &mut dyn FnMut(&mut [i64])| {
            group.bench_function(format!("{name}, {level}"), |bencher| {
                bencher.iter(|| kernel(black_box(&mut out)));
            });
        };
        slide("sum i64 of 32 rows", &mut |out| {
            kernels.rows_sum_i64(&integers, 32, out);
        });
        slide("min i64 of 32 rows", &mut |out| {
            kernels.rows_min_i64(&integers, 32, out);
        });
    }
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
