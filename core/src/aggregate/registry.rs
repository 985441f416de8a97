//! Which aggregates are computed natively, by name and argument types.
//!
//! What is not native here is left to the caller, who has an implementation of any
//! aggregate; so only the argument types are listed that SQL's type coercion gives, and
//! those that need no coercion here: `sum` and `avg` of `Float32` are of 64 bits.

use std::sync::Arc;

use arrow::datatypes::*;

use super::AggregateFactory;
use super::bytes::is_bytes;
use super::collect::{self, HeldMax};
use super::count::count;
use super::distinct::{DistinctBytes, DistinctFixed};
use super::exact::Exact;
use super::first_last::{Boolean, FirstLast, Primitive};
use super::held;
use super::hll::ApproxDistinct;
use super::keys::is_fixed;
use super::min_max::{BoolExtreme, FloatExtreme, IntExtreme};
use super::moments::{Relation, Spread};
use super::physical::ordered_as;
use super::quantile::Which;
use super::sketch::Approximate;
use super::stacks::factory;
use super::sum::{Avg, SumFloat, SumInt};
use super::widened::Widened;
use crate::error::{Error, Result};

/// A literal argument of an aggregate, such as the 0.95 of `percentile_cont`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScalarArg {
    /// A number with a fraction.
    Float(f64),
    /// A whole number.
    Int(i64),
}

/// An aggregate call as SQL states it, after type coercion.
#[derive(Debug, Clone, Copy)]
pub struct NativeCall<'a> {
    /// The function's name or one of its aliases, in lower case.
    pub name: &'a str,
    /// `DISTINCT`.
    pub distinct: bool,
    /// `IGNORE NULLS`.
    pub ignore_nulls: bool,
    /// `WITHIN GROUP (ORDER BY x DESC)`.
    pub descending: bool,
    /// The types of the arguments, literals included.
    pub arg_types: &'a [DataType],
    /// For each argument, its value if it is a literal.
    pub literals: &'a [Option<ScalarArg>],
    /// How much its states may hold.
    pub limits: Limits,
}

/// How many values the states of one aggregate call may hold, in panes and in the
/// windows that are put together from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Values of `median` and `percentile_cont`.
    pub percentile_values_max: usize,
    /// Values of `count(DISTINCT x)`.
    pub distinct_values_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            percentile_values_max: 1 << 24,
            distinct_values_max: 1 << 24,
        }
    }
}

/// The native factory of a call; `None` if there is none for these types.
///
/// The states read their arguments from the front of [`Rows::args`](super::Rows); a
/// literal argument need not be there.
///
/// # Errors
/// If a literal argument is out of its range.
pub fn native(call: &NativeCall<'_>) -> Result<Option<Arc<dyn AggregateFactory>>> {
    let NativeCall {
        name, arg_types, ..
    } = *call;
    if call.distinct {
        return Ok(match (name, arg_types) {
            // A value more than once changes nothing.
            ("min" | "max" | "bool_and" | "bool_or", [data_type]) => extreme(name, data_type),
            ("approx_distinct", [data_type]) => approx_distinct(data_type),
            ("count", [data_type]) => distinct(data_type, call.limits),
            _ => None,
        });
    }
    Ok(match (name, arg_types) {
        ("count", _) => Some(count()),
        ("sum", [data_type]) => sum(data_type),
        ("avg" | "mean", [data_type]) => avg(data_type),
        ("min" | "max" | "bool_and" | "bool_or", [data_type]) => extreme(name, data_type),
        ("first_value", [data_type]) => Some(first_last(false, data_type, call.ignore_nulls)),
        ("last_value", [data_type]) => Some(first_last(true, data_type, call.ignore_nulls)),
        ("approx_distinct", [data_type]) => approx_distinct(data_type),
        ("median", [data_type]) => exact(data_type, Which::Median, call.limits),
        ("approx_median", [data_type]) => approximate("approx_median", data_type, 0.5),
        ("percentile_cont" | "quantile_cont", [data_type, _]) => match fraction(call)? {
            Some(fraction) => exact(data_type, Which::Percentile(fraction), call.limits),
            None => None,
        },
        // The third argument is the size of another sketch than ours.
        ("approx_percentile_cont", [data_type, _] | [data_type, _, _]) => match fraction(call)? {
            Some(fraction) => approximate("approx_percentile_cont", data_type, fraction),
            None => None,
        },
        (_, [DataType::Float64]) => spread(name),
        (_, [DataType::Float64, DataType::Float64]) => relation(name),
        _ => None,
    })
}

fn sum(data_type: &DataType) -> Option<Arc<dyn AggregateFactory>> {
    Some(match data_type {
        DataType::Float64 => factory(SumFloat),
        DataType::Float32 => factory(Widened(SumFloat)),
        DataType::Int64 | DataType::Duration(_) => factory(SumInt::<Int64Type>::new(data_type)),
        DataType::UInt64 => factory(SumInt::<UInt64Type>::new(data_type)),
        _ => return None,
    })
}

fn avg(data_type: &DataType) -> Option<Arc<dyn AggregateFactory>> {
    Some(match data_type {
        DataType::Float64 => factory(Avg::<Float64Type>::new(data_type)),
        DataType::Float32 => factory(Widened(Avg::<Float64Type>::new(&DataType::Float64))),
        DataType::Duration(_) => factory(Avg::<Int64Type>::new(data_type)),
        _ => return None,
    })
}

fn extreme(name: &str, data_type: &DataType) -> Option<Arc<dyn AggregateFactory>> {
    let max = match name {
        "bool_and" | "bool_or" if *data_type != DataType::Boolean => return None,
        "min" | "bool_and" => false,
        _ => true,
    };
    macro_rules! float {
        ($type:ident) => {
            if max {
                factory(FloatExtreme::<$type, true>::new())
            } else {
                factory(FloatExtreme::<$type, false>::new())
            }
        };
    }
    macro_rules! int {
        ($type:ident) => {
            if max {
                factory(IntExtreme::<$type, true>::new(data_type))
            } else {
                factory(IntExtreme::<$type, false>::new(data_type))
            }
        };
    }
    Some(match data_type {
        DataType::Float16 => float!(Float16Type),
        DataType::Float32 => float!(Float32Type),
        DataType::Float64 => float!(Float64Type),
        DataType::Boolean if max => factory(BoolExtreme::<true>),
        DataType::Boolean => factory(BoolExtreme::<false>),
        _ if is_bytes(data_type) => held::bytes_extreme(max, data_type),
        _ => match ordered_as(data_type)? {
            DataType::Int8 => int!(Int8Type),
            DataType::Int16 => int!(Int16Type),
            DataType::Int32 => int!(Int32Type),
            DataType::Int64 => int!(Int64Type),
            DataType::UInt8 => int!(UInt8Type),
            DataType::UInt16 => int!(UInt16Type),
            DataType::UInt32 => int!(UInt32Type),
            DataType::UInt64 => int!(UInt64Type),
            DataType::Decimal128(..) => int!(Decimal128Type),
            _ => int!(Decimal256Type),
        },
    })
}

fn first_last(last: bool, data_type: &DataType, ignore_nulls: bool) -> Arc<dyn AggregateFactory> {
    macro_rules! fixed {
        ($kind:ty) => {
            if last {
                factory(FirstLast::<$kind, true>::new(data_type, ignore_nulls))
            } else {
                factory(FirstLast::<$kind, false>::new(data_type, ignore_nulls))
            }
        };
    }
    match data_type.primitive_width() {
        _ if *data_type == DataType::Boolean => fixed!(Boolean),
        Some(1) => fixed!(Primitive<UInt8Type>),
        Some(2) => fixed!(Primitive<UInt16Type>),
        Some(4) => fixed!(Primitive<UInt32Type>),
        Some(8) => fixed!(Primitive<UInt64Type>),
        _ => held::first_last(last, data_type, ignore_nulls),
    }
}

fn distinct(data_type: &DataType, limits: Limits) -> Option<Arc<dyn AggregateFactory>> {
    let max = HeldMax {
        values: limits.distinct_values_max,
        remedy: "shorten the windows, or use approx_distinct()",
    };
    if is_fixed(data_type) {
        Some(collect::factory(DistinctFixed(max)))
    } else if is_bytes(data_type) {
        Some(collect::factory(DistinctBytes(max)))
    } else {
        None
    }
}

fn approx_distinct(data_type: &DataType) -> Option<Arc<dyn AggregateFactory>> {
    (is_fixed(data_type) || is_bytes(data_type)).then(|| collect::factory(ApproxDistinct))
}

fn exact(data_type: &DataType, which: Which, limits: Limits) -> Option<Arc<dyn AggregateFactory>> {
    let max = HeldMax {
        values: limits.percentile_values_max,
        remedy: "shorten the windows, or use approx_percentile_cont()",
    };
    match data_type {
        DataType::Float32 => Some(collect::factory(Exact::<Float32Type>::new(which, max))),
        DataType::Float64 => Some(collect::factory(Exact::<Float64Type>::new(which, max))),
        _ => None,
    }
}

fn approximate(
    name: &'static str,
    data_type: &DataType,
    fraction: f64,
) -> Option<Arc<dyn AggregateFactory>> {
    Some(match data_type {
        DataType::Float32 => collect::factory(Approximate::<Float32Type>::new(name, fraction)),
        DataType::Float64 => collect::factory(Approximate::<Float64Type>::new(name, fraction)),
        _ => return None,
    })
}

/// The second argument of a percentile, counted from the least value up; `None` if it
/// is no literal.
fn fraction(call: &NativeCall<'_>) -> Result<Option<f64>> {
    let fraction = match call.literals.get(1) {
        Some(Some(ScalarArg::Float(fraction))) => *fraction,
        Some(Some(ScalarArg::Int(fraction))) => *fraction as f64,
        _ => return Ok(None),
    };
    if !(0.0..=1.0).contains(&fraction) {
        return Err(Error::invalid(format!(
            "the fraction of {}() must lie between 0 and 1, not {fraction}",
            call.name
        )));
    }
    Ok(Some(if call.descending {
        1.0 - fraction
    } else {
        fraction
    }))
}

fn spread(name: &str) -> Option<Arc<dyn AggregateFactory>> {
    let (sample, root) = match name {
        "var" | "var_samp" | "var_sample" => (true, false),
        "var_pop" | "var_population" => (false, false),
        "stddev" | "stddev_samp" => (true, true),
        "stddev_pop" => (false, true),
        _ => return None,
    };
    Some(factory(Spread { sample, root }))
}

fn relation(name: &str) -> Option<Arc<dyn AggregateFactory>> {
    Some(factory(match name {
        "covar_pop" => Relation::CovarPop,
        "covar_samp" | "covar" => Relation::CovarSamp,
        "corr" => Relation::Corr,
        "regr_slope" => Relation::Slope,
        "regr_intercept" => Relation::Intercept,
        "regr_r2" => Relation::R2,
        "regr_count" => Relation::Count,
        "regr_avgx" => Relation::AvgX,
        "regr_avgy" => Relation::AvgY,
        "regr_sxx" => Relation::Sxx,
        "regr_syy" => Relation::Syy,
        "regr_sxy" => Relation::Sxy,
        _ => return None,
    }))
}
