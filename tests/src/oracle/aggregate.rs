//! What each aggregate gives over the rows of a group, by the formula of a textbook.
//!
//! NULL rules and types are those of DataFusion's aggregate of the same name. NaN is
//! the greatest number whatever its sign, and `min` passes over it unless there is
//! nothing else.

use std::collections::BTreeSet;

use super::arrival::Arrival;
use super::value::{Cell, Value};

/// An aggregate call, and how the oracle computes it.
#[derive(Debug, Clone, Copy)]
pub struct Aggregate {
    /// The call in SQL, over the columns `k`, `v` and `w`.
    pub sql: &'static str,
    /// Its value over the rows of a group, which are in event-time order.
    pub of: fn(&[Arrival]) -> Value,
    /// Whether NaN and infinities are allowed in `v`.
    pub takes_nan: bool,
}

/// Every aggregate that the oracle knows.
pub fn catalogue() -> Vec<Aggregate> {
    type Of = fn(&[Arrival]) -> Value;
    let any: &[(&'static str, Of)] = &[
        ("count(*)", |rows| int(rows.len())),
        ("count(v)", |rows| int(v(rows).len())),
        ("count(v, w)", |rows| int(pairs(rows).len())),
        ("count(w) FILTER (WHERE v > 0)", |rows| {
            int(w(&positive(rows)).len())
        }),
        ("count(DISTINCT v)", |rows| int(distinct(&v(rows)))),
        ("count(DISTINCT w)", |rows| {
            int(w(rows).into_iter().collect::<BTreeSet<_>>().len())
        }),
        ("count(DISTINCT k)", |rows| {
            int(keys(rows).into_iter().collect::<BTreeSet<_>>().len())
        }),
        ("sum(v)", |rows| sum(&v(rows))),
        ("sum(v) FILTER (WHERE w % 2 = 0)", |rows| {
            sum(&v(&even(rows)))
        }),
        ("avg(v)", |rows| avg(&v(rows))),
        ("min(v)", |rows| extreme(&v(rows), true)),
        ("max(v)", |rows| extreme(&v(rows), false)),
        ("max(v) FILTER (WHERE k IS NOT NULL)", |rows| {
            extreme(&v(&keyed(rows)), false)
        }),
        ("first_value(v)", |rows| {
            float(rows.first().and_then(|row| row.row.v))
        }),
        ("last_value(v)", |rows| {
            float(rows.last().and_then(|row| row.row.v))
        }),
        ("first_value(v) IGNORE NULLS", |rows| {
            float(v(rows).first().copied())
        }),
        ("last_value(w) IGNORE NULLS", |rows| {
            whole(w(rows).last().copied())
        }),
        ("first_value(k)", |rows| {
            text(rows.first().and_then(|row| row.row.key.clone()))
        }),
    ];
    let finite: &[(&'static str, Of)] = &[
        ("sum(w)", |rows| {
            let w = w(rows);
            let sum = w.iter().fold(0_i64, |sum, w| sum.wrapping_add(*w));
            whole((!w.is_empty()).then_some(sum))
        }),
        ("avg(w)", |rows| avg(&as_floats(&w(rows)))),
        ("min(w)", |rows| whole(w(rows).into_iter().min())),
        ("max(w)", |rows| whole(w(rows).into_iter().max())),
        ("min(k)", |rows| text(keys(rows).into_iter().min())),
        ("max(k)", |rows| text(keys(rows).into_iter().max())),
        ("bool_and(v > 0)", |rows| {
            truth(&v(rows), |all| all.iter().all(|v| *v > 0.0))
        }),
        ("bool_or(v > 0)", |rows| {
            truth(&v(rows), |all| all.iter().any(|v| *v > 0.0))
        }),
        ("var_pop(v)", |rows| moment(&v(rows), 0, |m2, n| m2 / n)),
        ("var_samp(v)", |rows| {
            moment(&v(rows), 1, |m2, n| m2 / (n - 1.0))
        }),
        ("stddev_pop(v)", |rows| {
            moment(&v(rows), 0, |m2, n| (m2 / n).sqrt())
        }),
        ("stddev_samp(v)", |rows| {
            moment(&v(rows), 1, |m2, n| (m2 / (n - 1.0)).sqrt())
        }),
        ("covar_pop(v, w)", |rows| {
            regression(&pairs(rows), 1, |r| Some(r.xy / r.n))
        }),
        ("covar_samp(v, w)", |rows| {
            regression(&pairs(rows), 2, |r| Some(r.xy / (r.n - 1.0)))
        }),
        ("corr(v, w)", |rows| {
            regression(&pairs(rows), 2, |r| {
                (r.xx > 0.0 && r.yy > 0.0).then(|| r.xy / (r.xx * r.yy).sqrt())
            })
        }),
        ("regr_slope(v, w)", |rows| {
            regression(&pairs(rows), 2, |r| (r.xx > 0.0).then(|| r.xy / r.xx))
        }),
        ("regr_intercept(v, w)", |rows| {
            regression(&pairs(rows), 2, |r| {
                (r.xx > 0.0).then(|| r.mean_y - r.xy / r.xx * r.mean_x)
            })
        }),
        ("regr_r2(v, w)", |rows| {
            regression(&pairs(rows), 2, |r| {
                (r.xx > 0.0 && r.yy > 0.0).then(|| r.xy * r.xy / (r.xx * r.yy))
            })
        }),
        ("regr_count(v, w)", |rows| int(pairs(rows).len())),
        ("regr_avgx(v, w)", |rows| {
            regression(&pairs(rows), 1, |r| Some(r.mean_x))
        }),
        ("regr_sxy(v, w)", |rows| {
            regression(&pairs(rows), 1, |r| Some(r.xy))
        }),
        ("median(v)", |rows| percentile(&v(rows), 0.5)),
        ("median(w)", |rows| percentile(&as_floats(&w(rows)), 0.5)),
        ("percentile_cont(v, 0.25)", |rows| {
            percentile(&v(rows), 0.25)
        }),
        ("percentile_cont(0.9) WITHIN GROUP (ORDER BY v)", |rows| {
            percentile(&v(rows), 0.9)
        }),
        ("approx_percentile_cont(v, 0.75)", |rows| {
            approximate(&v(rows), 0.75)
        }),
        ("approx_median(v)", |rows| approximate(&v(rows), 0.5)),
        ("approx_distinct(w)", |rows| {
            let distinct = w(rows).into_iter().collect::<BTreeSet<_>>().len() as f64;
            Value::Between {
                low: (distinct * 0.97).floor(),
                high: (distinct * 1.03).ceil(),
            }
        }),
    ];
    let call = |takes_nan| {
        move |(sql, of): &(&'static str, Of)| Aggregate {
            sql,
            of: *of,
            takes_nan,
        }
    };
    (any.iter().map(call(true)))
        .chain(finite.iter().map(call(false)))
        .collect()
}

fn v(rows: &[Arrival]) -> Vec<f64> {
    rows.iter().filter_map(|row| row.row.v).collect()
}

fn w(rows: &[Arrival]) -> Vec<i64> {
    rows.iter().filter_map(|row| row.row.w).collect()
}

fn keys(rows: &[Arrival]) -> Vec<String> {
    rows.iter().filter_map(|row| row.row.key.clone()).collect()
}

/// Pairs (v, w) without NULLs.
fn pairs(rows: &[Arrival]) -> Vec<(f64, f64)> {
    (rows.iter())
        .filter_map(|row| Some((row.row.v?, row.row.w? as f64)))
        .collect()
}

fn kept(rows: &[Arrival], keep: impl Fn(&Arrival) -> bool) -> Vec<Arrival> {
    rows.iter().filter(|row| keep(row)).cloned().collect()
}

/// Rows with `v > 0`. A comparison follows the total order of IEEE 754, as Arrow's
/// does: NaN lies above all numbers, NaN with a sign below them.
fn positive(rows: &[Arrival]) -> Vec<Arrival> {
    kept(rows, |row| {
        row.row.v.is_some_and(|v| v.total_cmp(&0.0).is_gt())
    })
}

fn even(rows: &[Arrival]) -> Vec<Arrival> {
    kept(rows, |row| row.row.w.is_some_and(|w| w % 2 == 0))
}

fn keyed(rows: &[Arrival]) -> Vec<Arrival> {
    kept(rows, |row| row.row.key.is_some())
}

fn as_floats(numbers: &[i64]) -> Vec<f64> {
    numbers.iter().map(|number| *number as f64).collect()
}

fn int(count: usize) -> Value {
    Value::Exact(Cell::Int(count as i64))
}

fn whole(number: Option<i64>) -> Value {
    Value::Exact(number.map_or(Cell::Null, Cell::Int))
}

fn float(number: Option<f64>) -> Value {
    Value::Exact(number.map_or(Cell::Null, Cell::Float))
}

fn text(text: Option<String>) -> Value {
    Value::Exact(text.map_or(Cell::Null, Cell::Text))
}

fn truth(values: &[f64], of: impl Fn(&[f64]) -> bool) -> Value {
    Value::Exact(if values.is_empty() {
        Cell::Null
    } else {
        Cell::Bool(of(values))
    })
}

/// Distinct numbers, of which all NaNs are one, and 0.0 and −0.0 too.
fn distinct(values: &[f64]) -> usize {
    (values.iter())
        .map(|v| match *v {
            v if v.is_nan() => f64::NAN.to_bits(),
            0.0 => 0,
            v => v.to_bits(),
        })
        .collect::<BTreeSet<_>>()
        .len()
}

fn magnitude(values: &[f64]) -> f64 {
    values.iter().map(|v| v.abs()).sum()
}

fn sum(values: &[f64]) -> Value {
    if values.is_empty() {
        return Value::Exact(Cell::Null);
    }
    Value::Near {
        number: values.iter().sum(),
        slack: 1e-12 * magnitude(values),
    }
}

fn avg(values: &[f64]) -> Value {
    if values.is_empty() {
        return Value::Exact(Cell::Null);
    }
    let n = values.len() as f64;
    Value::Near {
        number: values.iter().sum::<f64>() / n,
        slack: 1e-12 * magnitude(values) / n,
    }
}

/// The least or the greatest number.
fn extreme(values: &[f64], least: bool) -> Value {
    let numbers: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    let any_nan = numbers.len() < values.len();
    float(if values.is_empty() {
        None
    } else if numbers.is_empty() || (any_nan && !least) {
        Some(f64::NAN)
    } else if least {
        Some(numbers.iter().copied().fold(f64::INFINITY, f64::min))
    } else {
        Some(numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    })
}

/// A function of Σ(x − mean)² and n; NULL unless there are more than `beyond` values.
fn moment(values: &[f64], beyond: usize, of: fn(f64, f64) -> f64) -> Value {
    if values.len() <= beyond {
        return Value::Exact(Cell::Null);
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let m2: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    near_relative(of(m2, n))
}

/// Sums about the means of pairs (y, x), in the order of SQL's `regr_slope(y, x)`.
struct Regression {
    n: f64,
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

fn regression(pairs: &[(f64, f64)], at_least: usize, of: fn(&Regression) -> Option<f64>) -> Value {
    if pairs.len() < at_least {
        return Value::Exact(Cell::Null);
    }
    let n = pairs.len() as f64;
    let mean_y = pairs.iter().map(|(y, _)| y).sum::<f64>() / n;
    let mean_x = pairs.iter().map(|(_, x)| x).sum::<f64>() / n;
    let sums = Regression {
        n,
        mean_x,
        mean_y,
        xx: pairs.iter().map(|(_, x)| (x - mean_x).powi(2)).sum(),
        yy: pairs.iter().map(|(y, _)| (y - mean_y).powi(2)).sum(),
        xy: (pairs.iter())
            .map(|(y, x)| (x - mean_x) * (y - mean_y))
            .sum(),
    };
    of(&sums).map_or(Value::Exact(Cell::Null), near_relative)
}

/// Numbers of moderate size from moderate sums: nine digits are to be expected.
fn near_relative(number: f64) -> Value {
    Value::Near {
        number,
        slack: 1e-9 * number.abs().max(1.0),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The neighbours of rank `p · (n − 1)` and how far the rank lies between them.
fn neighbours(values: &[f64], p: f64) -> Option<(f64, f64, f64)> {
    let sorted = sorted(values);
    let last = sorted.len().checked_sub(1)?;
    let rank = p * last as f64;
    let low = sorted[rank.floor() as usize];
    let high = sorted[(rank.ceil() as usize).min(last)];
    Some((low, high, rank - rank.floor()))
}

fn percentile(values: &[f64], p: f64) -> Value {
    match neighbours(values, p) {
        None => Value::Exact(Cell::Null),
        // DataFusion weighs the neighbours in millionths.
        Some((low, high, weight)) => Value::Near {
            number: low + (high - low) * weight,
            slack: 2e-6 * (high - low) + 1e-12 * low.abs().max(high.abs()),
        },
    }
}

/// Any number within one per cent of what lies about the rank.
fn approximate(values: &[f64], p: f64) -> Value {
    match neighbours(values, p) {
        None => Value::Exact(Cell::Null),
        Some((low, high, _)) => Value::Between {
            low: low - 0.010_001 * low.abs(),
            high: high + 0.010_001 * high.abs(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrival::{Row, arrivals};
    use super::*;

    /// Rows in order of time and arrival.
    fn rows(values: &[(Option<&str>, Option<f64>, Option<i64>)]) -> Vec<Arrival> {
        let rows: Vec<Row> = (values.iter().enumerate())
            .map(|(i, (key, v, w))| Row {
                partition: 0,
                ts: Some(i as i64),
                key: key.map(str::to_owned),
                v: *v,
                w: *w,
            })
            .collect();
        arrivals(&rows, 1, 0)
    }

    fn check(rows: &[Arrival], sql: &str, cell: Cell) {
        let all = catalogue();
        let aggregate = (all.iter().find(|aggregate| aggregate.sql == sql))
            .unwrap_or_else(|| panic!("no {sql}"));
        let value = (aggregate.of)(rows);
        assert!(value.agrees(&cell), "{sql}: {value:?} is not {cell:?}");
    }

    #[test]
    fn the_values_of_a_small_group() {
        // v: 2, 4, 4, 4, 5, 5, 7, 9: mean 5, Σ(v − 5)² = 32.
        let group: Vec<_> = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
            .iter()
            .enumerate()
            .map(|(i, v)| (Some("k"), Some(*v), Some(i as i64 + 1)))
            .collect();
        let group = rows(&group);
        let float = Cell::Float;
        for (sql, cell) in [
            ("count(*)", Cell::Int(8)),
            ("count(DISTINCT v)", Cell::Int(5)),
            ("sum(v)", float(40.0)),
            ("sum(v) FILTER (WHERE w % 2 = 0)", float(22.0)),
            ("avg(v)", float(5.0)),
            ("min(v)", float(2.0)),
            ("max(v)", float(9.0)),
            ("sum(w)", Cell::Int(36)),
            ("avg(w)", float(4.5)),
            ("var_pop(v)", float(4.0)),
            ("var_samp(v)", float(32.0 / 7.0)),
            ("stddev_pop(v)", float(2.0)),
            ("stddev_samp(v)", float(2.138_089_935_299_395)),
            ("median(v)", float(4.5)),
            ("median(w)", float(4.5)),
            ("percentile_cont(v, 0.25)", float(4.0)),
            ("percentile_cont(0.9) WITHIN GROUP (ORDER BY v)", float(7.6)),
            ("first_value(v)", float(2.0)),
            ("last_value(v)", float(9.0)),
            ("bool_and(v > 0)", Cell::Bool(true)),
            ("min(k)", Cell::Text("k".into())),
            // w: 1 … 8, mean 4.5, Σ(w − 4.5)² = 42.
            // Σ(v − 5)(w − 4.5) = 10.5+2.5+1.5+0.5+0+0+5+14 = 34.
            ("covar_pop(v, w)", float(34.0 / 8.0)),
            ("covar_samp(v, w)", float(34.0 / 7.0)),
            ("corr(v, w)", float(0.927_426_033_502_967_7)),
            ("regr_slope(v, w)", float(34.0 / 42.0)),
            ("regr_intercept(v, w)", float(5.0 - 34.0 / 42.0 * 4.5)),
            ("regr_r2(v, w)", float(34.0 * 34.0 / (42.0 * 32.0))),
        ] {
            check(&group, sql, cell);
        }
    }

    #[test]
    fn nulls_are_passed_over() {
        let group = rows(&[
            (None, None, Some(3)),
            (Some("b"), Some(1.5), None),
            (Some("a"), None, None),
        ]);
        for (sql, cell) in [
            ("count(*)", Cell::Int(3)),
            ("count(v)", Cell::Int(1)),
            ("count(v, w)", Cell::Int(0)),
            ("count(DISTINCT k)", Cell::Int(2)),
            ("sum(v)", Cell::Float(1.5)),
            ("var_pop(v)", Cell::Float(0.0)),
            ("var_samp(v)", Cell::Null),
            ("corr(v, w)", Cell::Null),
            ("regr_count(v, w)", Cell::Int(0)),
            ("regr_avgx(v, w)", Cell::Null),
            ("first_value(v)", Cell::Null),
            ("first_value(v) IGNORE NULLS", Cell::Float(1.5)),
            ("last_value(w) IGNORE NULLS", Cell::Int(3)),
            ("first_value(k)", Cell::Null),
            ("min(k)", Cell::Text("a".into())),
            ("max(v) FILTER (WHERE k IS NOT NULL)", Cell::Float(1.5)),
            ("sum(v) FILTER (WHERE w % 2 = 0)", Cell::Null),
        ] {
            check(&group, sql, cell);
        }
    }

    #[test]
    fn nan_is_the_greatest_number_whatever_its_sign() {
        let group = rows(&[
            (None, Some(-f64::NAN), None),
            (None, Some(3.0), None),
            (None, Some(f64::NAN), None),
        ]);
        check(&group, "max(v)", Cell::Float(f64::NAN));
        check(&group, "min(v)", Cell::Float(3.0));
        check(&group, "sum(v)", Cell::Float(f64::NAN));
        check(&group, "count(DISTINCT v)", Cell::Int(2));
        check(&group[..1], "min(v)", Cell::Float(f64::NAN));
    }

    #[test]
    fn both_zeros_are_one_value() {
        let group = rows(&[(None, Some(0.0), None), (None, Some(-0.0), None)]);
        check(&group, "count(DISTINCT v)", Cell::Int(1));
    }

    #[test]
    fn sums_of_integers_wrap() {
        let group = rows(&[(None, None, Some(i64::MAX)), (None, None, Some(1))]);
        check(&group, "sum(w)", Cell::Int(i64::MIN));
    }

    #[test]
    fn an_empty_group_has_nulls_and_zero_counts() {
        for aggregate in catalogue() {
            let value = (aggregate.of)(&[]);
            let count = ["count", "regr_count", "approx_distinct"]
                .iter()
                .any(|name| aggregate.sql.starts_with(name));
            let expected = if count { Cell::Int(0) } else { Cell::Null };
            assert!(value.agrees(&expected), "{}: {value:?}", aggregate.sql);
        }
    }
}
