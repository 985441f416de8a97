//! What each aggregate gives over a list of rows, by plain loops that share no code
//! with the states.

use std::cmp::Ordering;
use std::collections::BTreeSet;

/// A row of the random input.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) time: i64,
    pub(super) ordinal: u64,
    pub(super) x: Option<f64>,
    pub(super) y: Option<f64>,
    pub(super) int: Option<i64>,
    pub(super) flag: Option<bool>,
    pub(super) text: Option<String>,
    pub(super) filter: Option<bool>,
}

/// A value, and how far a float may be from it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i128),
    Bool(bool),
    Text(String),
    Float(f64, f64),
}

impl Value {
    fn float(value: Option<f64>, tolerance: f64) -> Self {
        value.map_or(Self::Null, |value| Self::Float(value, tolerance))
    }

    /// Whether `actual`, whose tolerance is not looked at, is near enough.
    pub(super) fn admits(&self, actual: &Self) -> bool {
        match (self, actual) {
            (Self::Float(expected, tolerance), Self::Float(actual, _)) => {
                expected.to_bits() == actual.to_bits()
                    || expected.is_nan() && actual.is_nan()
                    || (expected - actual).abs() <= *tolerance && *tolerance > 0.0
            }
            _ => self == actual,
        }
    }
}

fn compare(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a, b) => a.cmp(&b),
    }
}

fn xs(rows: &[&Row]) -> Vec<f64> {
    rows.iter().filter_map(|row| row.x).collect()
}

pub(super) fn count(rows: &[&Row]) -> Value {
    Value::Int(rows.len() as i128)
}

pub(super) fn count_x(rows: &[&Row]) -> Value {
    Value::Int(xs(rows).len() as i128)
}

pub(super) fn count_both(rows: &[&Row]) -> Value {
    let both = rows
        .iter()
        .filter(|row| row.x.is_some() && row.text.is_some());
    Value::Int(both.count() as i128)
}

pub(super) fn sum(rows: &[&Row]) -> Value {
    let values = xs(rows);
    let size: f64 = values.iter().map(|x| x.abs()).sum();
    let sum = values.iter().fold(0.0, |sum, x| sum + x);
    Value::float((!values.is_empty()).then_some(sum), 1e-12 * size)
}

pub(super) fn avg(rows: &[&Row]) -> Value {
    match sum(rows) {
        Value::Float(sum, tolerance) => {
            let n = xs(rows).len() as f64;
            Value::Float(sum / n, tolerance / n)
        }
        other => other,
    }
}

pub(super) fn sum_int(rows: &[&Row]) -> Value {
    let values: Vec<i64> = rows.iter().filter_map(|row| row.int).collect();
    if values.is_empty() {
        return Value::Null;
    }
    let sum: i128 = values.iter().map(|value| i128::from(*value)).sum();
    Value::Int(i128::from(sum as i64))
}

pub(super) fn min(rows: &[&Row]) -> Value {
    Value::float(xs(rows).into_iter().min_by(compare), 0.0)
}

pub(super) fn max(rows: &[&Row]) -> Value {
    Value::float(xs(rows).into_iter().max_by(compare), 0.0)
}

pub(super) fn min_int(rows: &[&Row]) -> Value {
    let values = rows.iter().filter_map(|row| row.int);
    values
        .min()
        .map_or(Value::Null, |value| Value::Int(value.into()))
}

pub(super) fn max_text(rows: &[&Row]) -> Value {
    let values = rows.iter().filter_map(|row| row.text.clone());
    values.max().map_or(Value::Null, Value::Text)
}

pub(super) fn min_text(rows: &[&Row]) -> Value {
    let values = rows.iter().filter_map(|row| row.text.clone());
    values.min().map_or(Value::Null, Value::Text)
}

pub(super) fn all(rows: &[&Row]) -> Value {
    let values: Vec<bool> = rows.iter().filter_map(|row| row.flag).collect();
    match values.is_empty() {
        true => Value::Null,
        false => Value::Bool(values.iter().all(|value| *value)),
    }
}

pub(super) fn any(rows: &[&Row]) -> Value {
    let values: Vec<bool> = rows.iter().filter_map(|row| row.flag).collect();
    match values.is_empty() {
        true => Value::Null,
        false => Value::Bool(values.iter().any(|value| *value)),
    }
}

/// The row with the least or the greatest (time, ordinal).
fn chosen<'a>(rows: &[&'a Row], last: bool) -> Option<&'a Row> {
    let stamp = |row: &&Row| (row.time, row.ordinal);
    let rows = rows.iter().copied();
    if last {
        rows.max_by_key(stamp)
    } else {
        rows.min_by_key(stamp)
    }
}

pub(super) fn first(rows: &[&Row]) -> Value {
    Value::float(chosen(rows, false).and_then(|row| row.x), 0.0)
}

pub(super) fn last_flag(rows: &[&Row]) -> Value {
    let value = chosen(rows, true).and_then(|row| row.flag);
    value.map_or(Value::Null, Value::Bool)
}

pub(super) fn last_text(rows: &[&Row]) -> Value {
    let value = chosen(rows, true).and_then(|row| row.text.clone());
    value.map_or(Value::Null, Value::Text)
}

pub(super) fn last_int_not_null(rows: &[&Row]) -> Value {
    let rows: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| row.int.is_some())
        .collect();
    let value = chosen(&rows, true).and_then(|row| row.int);
    value.map_or(Value::Null, |value| Value::Int(value.into()))
}

pub(super) fn first_text_not_null(rows: &[&Row]) -> Value {
    let rows: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| row.text.is_some())
        .collect();
    let value = chosen(&rows, false).and_then(|row| row.text.clone());
    value.map_or(Value::Null, Value::Text)
}

/// Σ(a − mean a)(b − mean b), in two passes.
fn co_moment(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - mean_a) * (b - mean_b))
        .sum()
}

fn spread(rows: &[&Row], sample: usize) -> Option<f64> {
    let values = xs(rows);
    if values.len() <= sample {
        return None;
    }
    if values.iter().any(|x| !x.is_finite()) {
        return Some(f64::NAN);
    }
    Some(co_moment(&values, &values) / (values.len() - sample) as f64)
}

fn near(value: Option<f64>) -> Value {
    Value::float(value, 1e-11 * value.unwrap_or(0.0).abs() + 1e-11)
}

pub(super) fn var_samp(rows: &[&Row]) -> Value {
    near(spread(rows, 1))
}

pub(super) fn var_pop(rows: &[&Row]) -> Value {
    near(spread(rows, 0))
}

pub(super) fn stddev_samp(rows: &[&Row]) -> Value {
    near(spread(rows, 1).map(f64::sqrt))
}

/// The finite pairs: (y, x). The two-column aggregates are tested over these alone.
fn pairs(rows: &[&Row]) -> (Vec<f64>, Vec<f64>) {
    (rows.iter())
        .filter_map(|row| Some((row.y?, f64::from(u8::from(row.flag?)) + row.y? * 0.5)))
        .unzip()
}

/// The column that is derived as in [`pairs`].
pub(super) fn derived_x(row: &Row) -> Option<f64> {
    Some(f64::from(u8::from(row.flag?)) + row.y.unwrap_or(7.0) * 0.5)
}

fn equal(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

pub(super) fn covar_samp(rows: &[&Row]) -> Value {
    let (y, x) = pairs(rows);
    near((y.len() > 1).then(|| co_moment(&x, &y) / (y.len() - 1) as f64))
}

pub(super) fn corr(rows: &[&Row]) -> Value {
    let (y, x) = pairs(rows);
    let defined = y.len() > 1 && !equal(&x) && !equal(&y);
    near(defined.then(|| co_moment(&x, &y) / (co_moment(&x, &x) * co_moment(&y, &y)).sqrt()))
}

pub(super) fn slope(rows: &[&Row]) -> Value {
    let (y, x) = pairs(rows);
    near((y.len() > 1 && !equal(&x)).then(|| co_moment(&x, &y) / co_moment(&x, &x)))
}

pub(super) fn intercept(rows: &[&Row]) -> Value {
    let (y, x) = pairs(rows);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    near(
        (y.len() > 1 && !equal(&x))
            .then(|| mean(&y) - co_moment(&x, &y) / co_moment(&x, &x) * mean(&x)),
    )
}

pub(super) fn regr_count(rows: &[&Row]) -> Value {
    Value::Int(pairs(rows).0.len() as i128)
}

pub(super) fn regr_avgx(rows: &[&Row]) -> Value {
    let (_, x) = pairs(rows);
    near((!x.is_empty()).then(|| x.iter().sum::<f64>() / x.len() as f64))
}

/// The value at a fraction of the way, with the two values around it.
fn percentile(rows: &[&Row], fraction: f64) -> Option<(f64, f64, f64)> {
    let mut values = xs(rows);
    if values.is_empty() {
        return None;
    }
    values.sort_by(compare);
    let place = (values.len() - 1) as f64 * fraction;
    let (low, high) = (values[place as usize], values[place.ceil() as usize]);
    let weight = (place.fract() * 1e6).trunc() / 1e6;
    let value = if place.fract() == 0.0 {
        low
    } else {
        low + (high - low) * weight
    };
    Some((value, low, high))
}

pub(super) fn percentile_30(rows: &[&Row]) -> Value {
    let value = percentile(rows, 0.3).map(|found| found.0);
    Value::float(value, 1e-12 * value.unwrap_or(0.0).abs())
}

pub(super) fn median(rows: &[&Row]) -> Value {
    let value = percentile(rows, 0.5).map(|(value, low, high)| {
        let odd = xs(rows).len() % 2 == 1;
        if odd { value } else { (low + high) / 2.0 }
    });
    Value::float(value, 1e-12 * value.unwrap_or(0.0).abs())
}

pub(super) fn approx_percentile_30(rows: &[&Row]) -> Value {
    match percentile(rows, 0.3) {
        None => Value::Null,
        // Between two bins, one of which is infinite or NaN, the sketch is in no
        // other case than the exact value.
        Some((value, low, high)) => Value::Float(
            value,
            0.0101 * low.abs().max(high.abs()).max(f64::MIN_POSITIVE),
        ),
    }
}

pub(super) fn distinct(rows: &[&Row]) -> Value {
    let usual = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 };
    let values: BTreeSet<u64> = xs(rows).into_iter().map(|x| usual(x).to_bits()).collect();
    Value::Int(values.len() as i128)
}

pub(super) fn distinct_text(rows: &[&Row]) -> Value {
    let values: BTreeSet<&String> = rows.iter().filter_map(|row| row.text.as_ref()).collect();
    Value::Int(values.len() as i128)
}
