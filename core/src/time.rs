//! Event times, as they are.
//!
//! An event time is an `i64` count of *ticks* of its column's unit since the Unix
//! epoch; nothing in the engine converts a column from one unit to another. A
//! duration is converted to ticks once, when a query is planned.
//!
//! A watermark is an event time too: `W` says that rows before `W` are no longer
//! waited for. A window is closed when `W ≥ window_end`; a row with `ts = W` is on
//! time. [`MIN_TIME`] is the watermark of a stream of which nothing is known,
//! [`MAX_TIME`] that of a stream that has ended.
//!
//! This module knows no clock.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::kernel::min_max_i64;

/// Before every event time: the watermark before the first row.
pub const MIN_TIME: i64 = i64::MIN;

/// After every event time: the watermark of a stream that has ended.
pub const MAX_TIME: i64 = i64::MAX;

/// The name of a column that holds a window's first instant.
pub const WINDOW_START: &str = "window_start";

/// The name of a column that holds the first instant after a window.
pub const WINDOW_END: &str = "window_end";

/// The name of a column that holds a window's last instant: its end minus one tick.
pub const WINDOW_TIME: &str = "window_time";

/// How many nanoseconds one tick of `unit` lasts.
pub fn nanos_per_tick(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// The unit of a timestamp type.
///
/// # Errors
/// If `data_type` is no timestamp.
pub fn time_unit(data_type: &DataType) -> Result<TimeUnit> {
    match data_type {
        DataType::Timestamp(unit, _) => Ok(*unit),
        other => Err(Error::invalid(format!(
            "an event time must be a TIMESTAMP, not {other}"
        ))),
    }
}

/// A duration in ticks of `unit`, if it is a whole number of them.
///
/// # Errors
/// If the duration is finer than the unit, or too long for 64 bits.
pub fn exact_ticks(nanos: i128, unit: TimeUnit) -> Result<i64> {
    let per_tick = i128::from(nanos_per_tick(unit));
    if nanos % per_tick != 0 {
        return Err(Error::invalid(format!(
            "a duration of {nanos} ns is finer than the time column's unit ({unit:?})"
        )));
    }
    i64::try_from(nanos / per_tick)
        .map_err(|_| Error::invalid("a duration is too long for 64-bit ticks"))
}

/// The bound on disorder in ticks of `unit`, rounded up, so that
/// `max − ticks ≥ end` exactly when `max − bound ≥ end` for whole ticks.
pub fn bound_ticks(nanos: i128, unit: TimeUnit) -> Result<i64> {
    let per_tick = i128::from(nanos_per_tick(unit));
    let ticks = nanos.div_euclid(per_tick) + i128::from(nanos.rem_euclid(per_tick) != 0);
    i64::try_from(ticks).map_err(|_| Error::invalid("a bound is too long for 64-bit ticks"))
}

/// The ticks of a timestamp column, without copying, and its validity.
///
/// # Errors
/// If `array` is no timestamp column.
pub fn ticks(array: &dyn Array) -> Result<(&ScalarBuffer<i64>, Option<&NullBuffer>)> {
    fn of<T: ArrowPrimitiveType<Native = i64>>(
        array: &dyn Array,
    ) -> (&ScalarBuffer<i64>, Option<&NullBuffer>) {
        let array = array.as_primitive::<T>();
        (array.values(), array.nulls())
    }
    Ok(match time_unit(array.data_type())? {
        TimeUnit::Second => of::<TimestampSecondType>(array),
        TimeUnit::Millisecond => of::<TimestampMillisecondType>(array),
        TimeUnit::Microsecond => of::<TimestampMicrosecondType>(array),
        TimeUnit::Nanosecond => of::<TimestampNanosecondType>(array),
    })
}

/// The least and the greatest of some times; of none, [`MAX_TIME`] and [`MIN_TIME`].
///
/// Many times are shared among the threads of rayon's current pool.
pub fn span(times: &[i64]) -> (i64, i64) {
    const MORSEL_TIMES: usize = 128 * 1024;
    if times.len() >= 2 * MORSEL_TIMES && rayon::current_num_threads() > 1 {
        let spans = times.par_chunks(MORSEL_TIMES).map(span_of);
        return spans.reduce(|| (MAX_TIME, MIN_TIME), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    }
    span_of(times)
}

fn span_of(times: &[i64]) -> (i64, i64) {
    min_max_i64(times).unwrap_or((MAX_TIME, MIN_TIME))
}

/// A timestamp column of `data_type` from ticks.
///
/// # Errors
/// If `data_type` is no timestamp.
pub fn timestamps(data_type: &DataType, ticks: Vec<i64>) -> Result<ArrayRef> {
    fn of<T: ArrowPrimitiveType<Native = i64>>(data_type: &DataType, ticks: Vec<i64>) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::new(ticks.into(), None).with_data_type(data_type.clone()))
    }
    Ok(match time_unit(data_type)? {
        TimeUnit::Second => of::<TimestampSecondType>(data_type, ticks),
        TimeUnit::Millisecond => of::<TimestampMillisecondType>(data_type, ticks),
        TimeUnit::Microsecond => of::<TimestampMicrosecondType>(data_type, ticks),
        TimeUnit::Nanosecond => of::<TimestampNanosecondType>(data_type, ticks),
    })
}
