//! Rows fitted to a stream's columns: by name, and converted where nothing is lost.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use windrow_core::time::nanos_per_tick;

use crate::error::{Error, ErrorKind, Result, nearest};
use crate::format::column::type_name;

/// Rows with the columns of `schema`, by name; a missing column is NULL.
///
/// # Errors
/// If there is a column that the schema does not have, or a value loses something.
pub(super) fn fitted(records: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let given = records.schema();
    refuse_others(&given, schema)?;
    let columns =
        (schema.fields().iter()).map(|field| match given.column_with_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), records.num_rows())),
            Some((place, _)) => converted(field.name(), records.column(place), field.data_type()),
        });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| Error::new(ErrorKind::Data, error.to_string()))
}

fn refuse_others(given: &Schema, schema: &Schema) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    for field in given.fields() {
        let name = field.name().as_str();
        if seen.contains(&name) {
            let message = format!("column {name} is given twice");
            return Err(Error::new(ErrorKind::Data, message));
        }
        seen.push(name);
        if schema.column_with_name(name).is_some() {
            continue;
        }
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let error = Error::new(ErrorKind::Data, format!("there is no column {name}"));
        return Err(match nearest(name, names.clone()) {
            Some(meant) => error.help(format!("did you mean {meant}?")),
            None => error.help(format!(
                "the columns are {}",
                names.collect::<Vec<_>>().join(", ")
            )),
        });
    }
    Ok(())
}

/// A column in another type, if every value keeps all that it says.
fn converted(name: &str, column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    // A column of NULLs alone has no type, and no list of which values are NULL.
    if column.data_type().is_null() {
        return Ok(new_null_array(to, column.len()));
    }
    let misfit = |row: Option<usize>| {
        let (from, into) = (sql_type(column.data_type()), sql_type(to));
        let message = match row {
            Some(row) => format!(
                "column {name}, row {}: {} ({from}) does not fit {into} without loss",
                row + 1,
                shown(column, row)
            ),
            None => format!("column {name} is {from} and does not fit {into}"),
        };
        let error = Error::new(ErrorKind::Data, message);
        match row {
            Some(_) => error.help("round or cast it where it is inserted, or declare a wider type"),
            None => error,
        }
    };
    let lenient = CastOptions::default();
    let Ok(cast_column) = cast_with_options(column, to, &lenient) else {
        return Err(misfit(None));
    };
    // What cannot be converted at all has become NULL.
    let nulls = column.logical_nulls();
    let has_value = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
    let lost = (0..column.len()).find(|row| has_value(row) && cast_column.is_null(*row));
    match lost.or_else(|| first_loss(column, &cast_column)) {
        Some(row) => Err(misfit(Some(row))),
        None => Ok(cast_column),
    }
}

/// A type in the words of SQL, with the digits of a time where they matter.
fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", digits(*unit)),
        DataType::Timestamp(unit, Some(_)) => {
            format!("TIMESTAMP({}) WITH TIME ZONE", digits(*unit))
        }
        other => type_name(other),
    }
}

fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn shown(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default();
    match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => "a value".into(),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// The first row whose value says less after the conversion than before.
fn first_loss(before: &ArrayRef, after: &ArrayRef) -> Option<usize> {
    use DataType as T;
    if let T::Dictionary(_, values) = before.data_type() {
        let before = cast(before, values).ok()?;
        return first_loss(&before, after);
    }
    match (before.data_type(), after.data_type()) {
        // Any value can be written down.
        (_, to) if is_text(to) => None,
        (from, T::Timestamp(unit, _)) if is_text(from) => {
            // A time too far away for nanoseconds has been read to the microsecond.
            let nanos = cast(before, &T::Timestamp(TimeUnit::Nanosecond, None)).ok()?;
            first_rest(&nanos, nanos_per_tick(*unit))
        }
        (from, T::Date32 | T::Date64) if is_text(from) => {
            let micros = cast(before, &T::Timestamp(TimeUnit::Microsecond, None)).ok()?;
            first_rest(&micros, 86_400_000_000)
        }
        (from, T::Decimal32(_, scale) | T::Decimal64(_, scale) | T::Decimal128(_, scale))
            if is_text(from) =>
        {
            let texts = cast(before, &T::Utf8).ok()?;
            let texts = texts.as_string_opt::<i32>()?;
            let scale = usize::try_from(*scale).unwrap_or(0);
            (0..texts.len())
                .find(|row| texts.is_valid(*row) && fraction_digits(texts.value(*row)) > scale)
        }
        // Other texts are read as a whole or not at all.
        (from, _) if is_text(from) => None,
        // A DOUBLE stands for the decimal number next to it, and so does a REAL: rounding
        // is what these types do, but they have an end.
        (T::Float64 | T::Float32 | T::Float16, T::Float64 | T::Float32 | T::Float16)
        | (
            T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..),
            T::Float64 | T::Float32,
        ) => {
            let (before, after) = (doubles(before)?, doubles(after)?);
            let (before, after) = (
                before.as_primitive::<Float64Type>(),
                after.as_primitive::<Float64Type>(),
            );
            (0..before.len()).find(|row| {
                before.is_valid(*row)
                    && before.value(*row).is_finite()
                    && !after.value(*row).is_finite()
            })
        }
        (T::Timestamp(from, _), T::Timestamp(to, _)) => {
            let (from, to) = (nanos_per_tick(*from), nanos_per_tick(*to));
            first_rest(before, to / from.min(to))
        }
        _ => {
            // Converted back it is the same, zeros of either sign aside.
            let back = cast(after, before.data_type()).ok()?;
            let (before, back) = (plain_zeros(before), plain_zeros(&back));
            (0..before.len())
                .find(|row| before.is_valid(*row) && before.slice(*row, 1) != back.slice(*row, 1))
        }
    }
}

fn doubles(column: &ArrayRef) -> Option<ArrayRef> {
    cast(column, &DataType::Float64).ok()
}

/// The first value that is no multiple of `step` ticks.
fn first_rest(times: &ArrayRef, step: i64) -> Option<usize> {
    if step <= 1 {
        return None;
    }
    let ticks = cast(times, &DataType::Int64).ok()?;
    let ticks = ticks.as_primitive_opt::<Int64Type>()?;
    (0..ticks.len()).find(|row| ticks.is_valid(*row) && ticks.value(*row) % step != 0)
}

/// The digits behind the point of a number in text that are not zeros at its end.
fn fraction_digits(text: &str) -> usize {
    let text = text.trim();
    match text.split_once('.') {
        Some((_, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            fraction.trim_end_matches('0').len()
        }
        _ => 0,
    }
}

fn plain_zeros(column: &ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<Float64Type>() {
        Some(floats) => Arc::new(floats.unary::<_, Float64Type>(|value| value + 0.0)),
        None => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Float64Array, Int64Array, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    };

    use super::*;

    fn fit(column: ArrayRef, to: DataType) -> Result<ArrayRef> {
        converted("c", &column, &to)
    }

    fn message(column: ArrayRef, to: DataType) -> String {
        fit(column, to)
            .expect_err("something is lost")
            .message()
            .into()
    }

    const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

    #[test]
    fn whole_numbers_become_bigint_and_others_are_refused_with_their_row() {
        let whole: ArrayRef = Arc::new(Float64Array::from(vec![Some(2.0), None, Some(-0.0)]));
        let fitted = fit(whole, DataType::Int64).expect("nothing is lost");
        assert_eq!(
            fitted.as_primitive::<Int64Type>(),
            &Int64Array::from(vec![Some(2), None, Some(0)])
        );
        assert_eq!(
            message(
                Arc::new(Float64Array::from(vec![1.0, 1.7])),
                DataType::Int64
            ),
            "column c, row 2: 1.7 (DOUBLE) does not fit BIGINT without loss"
        );
        for lost in [f64::NAN, f64::INFINITY, 9.3e18] {
            fit(Arc::new(Float64Array::from(vec![lost])), DataType::Int64).expect_err("no number");
        }
    }

    #[test]
    fn a_whole_number_that_a_double_cannot_hold_is_refused() {
        let even = (1 << 53) + 2;
        fit(Arc::new(Int64Array::from(vec![even])), DataType::Float64).expect("it has 53 bits");
        for odd in [(1 << 53) + 1, i64::MAX] {
            fit(Arc::new(Int64Array::from(vec![odd])), DataType::Float64).expect_err("54 bits");
        }
    }

    #[test]
    fn a_double_is_rounded_to_real_but_not_to_infinity() {
        let column = |value| Arc::new(Float64Array::from(vec![value]));
        fit(column(0.1), DataType::Float32).expect("REAL is approximate");
        fit(column(f64::INFINITY), DataType::Float32).expect("it was infinite before");
        fit(column(1e300), DataType::Float32).expect_err("no REAL is so great");
    }

    #[test]
    fn times_keep_their_digits() {
        let nanos = |ticks| Arc::new(TimestampNanosecondArray::from(vec![ticks]));
        fit(nanos(-1_000), MICROS).expect("a whole microsecond");
        fit(nanos(123_456_700), MICROS).expect_err("the seventh digit");
        let text = |text| Arc::new(StringArray::from(vec![text]));
        fit(text("2026-01-01 00:00:00.123456"), MICROS).expect("six digits");
        fit(text("2600-01-01 00:00:00.5"), MICROS).expect("out of reach of nanoseconds");
        assert_eq!(
            message(text("2026-01-01 00:00:00.1234567"), MICROS),
            "column c, row 1: 2026-01-01 00:00:00.1234567 (TEXT) does not fit TIMESTAMP(6) \
             without loss"
        );
        let micros = |ticks| Arc::new(TimestampMicrosecondArray::from(vec![ticks]));
        fit(micros(86_400_000_000), DataType::Date32).expect("midnight");
        fit(micros(86_400_000_001), DataType::Date32).expect_err("a moment later");
    }

    #[test]
    fn decimals_keep_their_digits() {
        let text = |text| Arc::new(StringArray::from(vec![text]));
        let to = DataType::Decimal128(5, 2);
        fit(text("1.2300"), to.clone()).expect("zeros say nothing");
        fit(text("1.239"), to.clone()).expect_err("three digits");
        fit(Arc::new(Float64Array::from(vec![0.1])), to.clone()).expect("one digit");
        fit(Arc::new(Float64Array::from(vec![0.123])), to).expect_err("three digits");
    }

    #[test]
    fn nulls_fit_any_type() {
        let fitted = fit(new_null_array(&DataType::Null, 2), MICROS).expect("NULL loses nothing");
        assert_eq!((fitted.null_count(), fitted.data_type()), (2, &MICROS));
        let words = StringArray::from(vec![None, Some("a")]);
        let keys = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let words = cast(&words, &keys).expect("words are numbered");
        assert_eq!(
            fit(words, DataType::Utf8)
                .expect("the same words")
                .null_count(),
            1
        );
    }

    #[test]
    fn a_text_that_is_no_number_is_refused() {
        assert_eq!(
            message(Arc::new(StringArray::from(vec!["x"])), DataType::Int64),
            "column c, row 1: x (TEXT) does not fit BIGINT without loss"
        );
    }
}
