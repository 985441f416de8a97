//! Functions that make times of numbers.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, TimestampMicrosecondArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::NaiveDate;
use datafusion::common::{Result as DfResult, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

/// `epoch_ms(n)`: the TIMESTAMP(3) of a number of milliseconds since 1970.
///
/// `make_timestamp(year, month, day, hour, minute, second)`: the TIMESTAMP of a date and a
/// time of day; of what is no date, an error.
pub fn time_functions() -> [ScalarUDF; 2] {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    [
        create_udf(
            "epoch_ms",
            vec![DataType::Int64],
            millis,
            Volatility::Immutable,
            Arc::new(epoch_ms),
        ),
        create_udf(
            "make_timestamp",
            vec![DataType::Int64; 6],
            micros,
            Volatility::Immutable,
            Arc::new(make_timestamp),
        ),
    ]
}

fn epoch_ms(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(args)?;
    let [millis] = arrays.as_slice() else {
        return exec_err!("epoch_ms takes one number");
    };
    let millis = millis.as_primitive::<Int64Type>();
    let times = TimestampMillisecondArray::new(millis.values().clone(), millis.nulls().cloned());
    Ok(ColumnarValue::Array(Arc::new(times)))
}

fn make_timestamp(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(args)?;
    let parts: Vec<_> = (arrays.iter())
        .map(|array| array.as_primitive::<Int64Type>())
        .collect();
    let rows = arrays.first().map_or(0, |array| array.len());
    let times = (0..rows).map(|row| {
        if parts.iter().any(|part| part.is_null(row)) {
            return Ok(None);
        }
        let values: Vec<i64> = parts.iter().map(|part| part.value(row)).collect();
        match micros(&values) {
            Some(micros) => Ok(Some(micros)),
            None => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                exec_err!("make_timestamp({}) is no time", values.join(", "))
            }
        }
    });
    let times: ArrayRef = Arc::new(times.collect::<DfResult<TimestampMicrosecondArray>>()?);
    Ok(ColumnarValue::Array(times))
}

/// The microseconds since 1970 of year, month, day, hour, minute and second.
fn micros(parts: &[i64]) -> Option<i64> {
    let [year, month, day, hour, minute, second] = parts else {
        return None;
    };
    let small = |value: &i64| u32::try_from(*value).ok();
    let date = NaiveDate::from_ymd_opt(i32::try_from(*year).ok()?, small(month)?, small(day)?)?;
    let time = date.and_hms_opt(small(hour)?, small(minute)?, small(second)?)?;
    Some(time.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_numbers() {
        assert_eq!(micros(&[1970, 1, 2, 0, 0, 1]), Some(86_401_000_000));
        // A leap day, 2024-02-29T23:59:59, is 1,709,251,199 seconds after 1970.
        assert_eq!(
            micros(&[2024, 2, 29, 23, 59, 59]),
            Some(1_709_251_199_000_000)
        );
        assert_eq!(micros(&[2023, 2, 29, 0, 0, 0]), None);
        assert_eq!(micros(&[2023, 1, 1, 24, 0, 0]), None);
        assert_eq!(micros(&[2023, -1, 1, 0, 0, 0]), None);
    }
}
