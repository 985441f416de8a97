//! Numbers that others have published, or that can be checked by hand.

use super::*;

#[track_caller]
fn assert_near(actual: Option<f64>, expected: f64, relative: f64) {
    let actual = actual.expect("a value");
    let error = ((actual - expected) / expected).abs();
    assert!(
        error <= relative,
        "{actual} is not {expected}, but {error:e} off"
    );
}

/// Anscombe, The American Statistician 27(1) 1973, first data set.
const ANSCOMBE_X: [f64; 11] = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
const ANSCOMBE_Y: [f64; 11] = [
    8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68,
];

#[test]
fn anscombe() {
    let x_only: &[&[f64]] = &[&ANSCOMBE_X];
    let both: &[&[f64]] = &[&ANSCOMBE_Y, &ANSCOMBE_X];
    assert_near(over("avg", x_only, None), 9.0, 1e-15);
    assert_near(over("var", x_only, None), 11.0, 1e-15);
    assert_near(over("var_pop", x_only, None), 10.0, 1e-15);
    assert_near(over("stddev_pop", x_only, None), 10f64.sqrt(), 1e-15);
    assert_near(over("regr_slope", both, None), 0.500_090_909, 1e-8);
    assert_near(over("regr_intercept", both, None), 3.000_090_909, 1e-8);
    assert_near(over("corr", both, None), 0.816_420_516, 1e-8);
    assert_near(over("regr_r2", both, None), 0.666_542_459, 1e-8);
    assert_near(over("regr_sxx", both, None), 110.0, 1e-15);
    assert_near(over("regr_sxy", both, None), 55.01, 1e-13);
    assert_near(over("covar_samp", both, None), 5.501, 1e-13);
    assert_near(over("median", x_only, None), 9.0, 0.0);
}

/// NIST, Statistical Reference Datasets, Norris.
const NORRIS: [(f64, f64); 36] = [
    (0.1, 0.2),
    (338.8, 337.4),
    (118.1, 118.2),
    (888.0, 884.6),
    (9.2, 10.1),
    (228.1, 226.5),
    (668.5, 666.3),
    (998.5, 996.3),
    (449.1, 448.6),
    (778.9, 777.0),
    (559.2, 558.2),
    (0.3, 0.4),
    (0.1, 0.6),
    (778.1, 775.5),
    (668.8, 666.9),
    (339.3, 338.0),
    (448.9, 447.5),
    (10.8, 11.6),
    (557.7, 556.0),
    (228.3, 228.1),
    (998.0, 995.8),
    (888.8, 887.6),
    (119.6, 120.2),
    (0.3, 0.3),
    (0.6, 0.3),
    (557.6, 556.8),
    (339.3, 339.1),
    (888.0, 887.2),
    (998.5, 999.0),
    (778.9, 779.0),
    (10.2, 11.1),
    (117.6, 118.3),
    (228.9, 229.2),
    (668.4, 669.1),
    (449.2, 448.9),
    (0.2, 0.5),
];

#[test]
fn nist_norris() {
    let y: Vec<f64> = NORRIS.iter().map(|row| row.0).collect();
    let x: Vec<f64> = NORRIS.iter().map(|row| row.1).collect();
    let both: &[&[f64]] = &[&y, &x];
    assert_near(over("regr_slope", both, None), 1.002_116_818_020_45, 1e-13);
    assert_near(
        over("regr_intercept", both, None),
        -0.262_323_073_774_029,
        1e-11,
    );
    assert_near(over("regr_r2", both, None), 0.999_993_745_883_712, 1e-14);
}

/// NIST, Statistical Reference Datasets, NumAcc1 to NumAcc4: the certified standard
/// deviations are 1, 0.1, 0.1 and 0.1; what is left of the digits of the last two is
/// what the input keeps after rounding to 64 bits.
#[test]
fn nist_numerical_accuracy() {
    let alternating = |centre: f64| {
        let around = move |i| {
            if i % 2 == 0 {
                centre - 0.1
            } else {
                centre + 0.1
            }
        };
        std::iter::once(centre)
            .chain((0..1000).map(around))
            .collect::<Vec<_>>()
    };
    let one = [10_000_001.0, 10_000_003.0, 10_000_002.0];
    assert_near(over("stddev", &[&one], None), 1.0, 0.0);
    assert_near(over("stddev", &[&alternating(1.2)], None), 0.1, 1e-14);
    assert_near(
        over("stddev", &[&alternating(1_000_000.2)], None),
        0.1,
        1e-9,
    );
    assert_near(
        over("stddev", &[&alternating(10_000_000.2)], None),
        0.1,
        1e-8,
    );
}

#[test]
fn a_small_spread_on_a_great_mean_is_exact() {
    // Every number here is a whole one, and so is the sum of squares: 2/3 · n.
    let values: Vec<f64> = (0..30_000).map(|i| 1e9 + f64::from(i % 3) - 1.0).collect();
    assert_near(over("var_pop", &[&values], None), 2.0 / 3.0, 1e-15);
    // The first value may lie far from all others.
    let mut values = values;
    values[0] = 0.0;
    let n = values.len() as f64;
    let mean = 1e9 - 1e9 / n;
    let squares = mean * mean + (n - 1.0) * (1e9 - mean) * (1e9 - mean);
    assert_near(over("var_pop", &[&values], None), squares / n, 1e-12);
}

#[test]
fn fewer_than_two_values() {
    let none: &[f64] = &[];
    for name in [
        "sum", "avg", "min", "max", "var", "var_pop", "stddev", "median",
    ] {
        assert_eq!(over(name, &[none], None), None, "{name}");
    }
    for name in [
        "corr",
        "covar_pop",
        "covar_samp",
        "regr_slope",
        "regr_sxx",
        "regr_avgx",
    ] {
        assert_eq!(over(name, &[none, none], None), None, "{name}");
    }
    for name in ["var", "stddev"] {
        assert_eq!(over(name, &[&[5.0]], None), None, "{name}");
    }
    assert_eq!(over("var_pop", &[&[5.0]], None), Some(0.0));
    assert_eq!(over("covar_pop", &[&[5.0], &[6.0]], None), Some(0.0));
    assert_eq!(over("covar_samp", &[&[5.0], &[6.0]], None), None);
    assert_eq!(over("corr", &[&[5.0], &[6.0]], None), None);
    assert_eq!(over("regr_slope", &[&[5.0], &[6.0]], None), None);
    // Without any spread of x there is no line, and without spread no correlation.
    let (y, x): (&[f64], &[f64]) = (&[1.0, 2.0, 4.0], &[0.1, 0.1, 0.1]);
    assert_eq!(over("regr_slope", &[y, x], None), None);
    assert_eq!(over("regr_r2", &[x, y], None), None);
    assert_eq!(over("corr", &[y, x], None), None);
    assert_eq!(over("regr_slope", &[x, y], None), Some(0.0));
}

#[test]
fn nan_infinity_and_signed_zero() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let min = |values: &[f64]| over("min", &[values], None).expect("a value");
    let max = |values: &[f64]| over("max", &[values], None).expect("a value");
    assert_eq!(min(&[nan, 2.0, -nan, 1.0]), 1.0);
    assert!(max(&[2.0, -nan, inf]).is_nan());
    assert!(min(&[nan, -nan]).is_nan());
    assert_eq!(min(&[inf, -inf, nan]), -inf);
    assert_eq!(max(&[-inf, inf]), inf);
    assert!(min(&[0.0, -0.0]).is_sign_negative());
    assert!(max(&[-0.0, 0.0]).is_sign_positive());
    // As DataFusion's, sums start at 0.0.
    let sum = over("sum", &[&[-0.0, -0.0]], None).expect("a value");
    assert!(sum == 0.0 && sum.is_sign_positive());
    assert!(over("sum", &[&[inf, -inf]], None).is_some_and(f64::is_nan));
    assert_eq!(over("sum", &[&[f64::MAX, f64::MAX]], None), Some(inf));
    assert!(over("var_pop", &[&[inf]], None).is_some_and(f64::is_nan));
    assert!(over("median", &[&[nan, 1.0, -nan]], None).is_some_and(f64::is_nan));
    assert_eq!(over("median", &[&[-nan, 1.0, 0.5]], None), Some(1.0));
    assert!(over("corr", &[&[nan, 1.0], &[nan, 1.0]], None).is_some_and(f64::is_nan));
    assert_eq!(over("corr", &[&[nan, 1.0], &[2.0, 1.0]], None), None);
}

#[test]
fn percentiles_by_hand() {
    let values: &[f64] = &[15.0, 20.0, 35.0, 40.0, 50.0];
    let percentile = |fraction| over("percentile_cont", &[values], Some(fraction));
    assert_eq!(percentile(0.0), Some(15.0));
    assert_eq!(percentile(0.25), Some(20.0));
    assert_eq!(percentile(0.4), Some(29.0));
    assert_eq!(percentile(1.0), Some(50.0));
    let types = [DataType::Float64, DataType::Float64];
    let literals = [None, Some(ScalarArg::Float(0.1))];
    let descending = NativeCall {
        descending: true,
        literals: &literals,
        ..call("percentile_cont", &types)
    };
    let mut state = state(descending, 1);
    let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    update(&mut *state, &[0; 5], &[values]);
    let result = state.evaluate(&[0]).expect("a value");
    assert_eq!(*result, Float64Array::from(vec![46.0]));
}

#[test]
fn a_sketch_is_within_one_per_cent() {
    // Values over 40 decades on both sides of zero, in a scrambled order.
    let values: Vec<f64> = (0..20_001u64)
        .map(|i| {
            let rank = (i * 7919) % 20_001;
            let size = 10f64.powf((rank as f64 - 10_000.0).abs() / 250.0 - 20.0);
            if rank < 10_000 { -size } else { size }
        })
        .collect();
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    for fraction in [0.0, 0.001, 0.05, 0.25, 0.499, 0.51, 0.75, 0.95, 0.99, 1.0] {
        let rank = fraction * 20_000.0;
        let exact = sorted[(rank + 0.5) as usize];
        let sketched = over("approx_percentile_cont", &[&values], Some(fraction));
        assert_near(sketched, exact, 0.010_001);
    }
    let zeros = [0.0, -0.0, 1e-310, f64::INFINITY, f64::NEG_INFINITY];
    let many: Vec<f64> = zeros.iter().copied().cycle().take(500).collect();
    let at = |fraction| over("approx_percentile_cont", &[&many], Some(fraction));
    assert_eq!(at(0.0), Some(f64::NEG_INFINITY));
    assert_eq!(at(0.5), Some(0.0));
    assert_eq!(at(1.0), Some(f64::INFINITY));
    // Few values are exact.
    assert_eq!(over("approx_median", &[&[1.0, 2.0, 4.0]], None), Some(2.0));
}

#[test]
fn distinct_values_are_estimated_within_three_standard_errors() {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::UInt64Type;
    for count in [1u64, 256, 257, 1_000, 20_000, 50_000, 1_000_000] {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(
            (0..count as i64).map(|i| i * 3),
        ));
        let mut state = state(call("approx_distinct", &[DataType::Int64]), 1);
        for _ in 0..2 {
            update(
                &mut *state,
                &vec![0; count as usize],
                std::slice::from_ref(&values),
            );
        }
        let estimate = state.evaluate(&[0]).expect("a value");
        let estimate = estimate.as_primitive::<UInt64Type>().value(0);
        let error = (estimate as f64 - count as f64).abs() / count as f64;
        assert!(error <= 3.0 * 0.008_125, "{estimate} for {count}");
        assert!(count > 256 || estimate == count);
    }
}
