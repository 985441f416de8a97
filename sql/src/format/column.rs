//! A column under construction, directed by its declared type.
//!
//! A parser appends the fields of a row to their columns one by one. When one does not
//! fit, [`Column::truncate`] takes back what the row had already appended to the
//! others: a rejected row leaves no trace. Nothing is allocated for a field.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, StringArray,
    StructArray, Time32MillisecondArray, Time32SecondArray, Time64MicrosecondArray,
    Time64NanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use windrow_core::time::{nanos_per_tick, timestamps};

use super::number::{Fault, parse_decimal, parse_f32, parse_f64, parse_i64, parse_u64};
use super::plain::ShortNumber;
use super::search::string_stop;
use super::time::{DateCache, TimestampFormat, parse_iso, parse_time_of_day, scan_iso};
use crate::error::{Error, ErrorKind, Result};

/// Which JSON values a column takes as they are; a column of text takes all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Boolean,
    Number,
    /// A number, or a string that holds one: JSON's own numbers are often read as
    /// floats on the way, which decimals are meant to avoid.
    Decimal,
    Time,
    Text,
    Struct,
    List,
}

/// A column of one type that grows by a value at a time.
#[derive(Debug)]
pub(super) struct Column {
    data_type: DataType,
    values: Values,
    validity: Validity,
    times: Option<Arc<TimestampFormat>>,
}

/// Which values are there. Nothing is written down before the first NULL.
#[derive(Debug, Default)]
struct Validity {
    len: usize,
    bits: Option<BooleanBufferBuilder>,
}

impl Validity {
    #[inline]
    fn append_valid(&mut self) {
        self.len += 1;
        if let Some(bits) = &mut self.bits {
            bits.append(true);
        }
    }

    fn append_null(&mut self) {
        let len = self.len;
        let bits = self.bits.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(len + 1);
            bits.append_n(len, true);
            bits
        });
        bits.append(false);
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            if let Some(bits) = &mut self.bits {
                bits.truncate(len);
            }
        }
    }

    fn finish(&mut self) -> Option<NullBuffer> {
        self.len = 0;
        let mut bits = self.bits.take()?;
        Some(NullBuffer::new(bits.finish())).filter(|nulls| nulls.null_count() > 0)
    }
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Integer {
        values: Vec<i64>,
        min: i64,
        max: i64,
    },
    Unsigned(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Date(Vec<i32>, DateCache),
    Time(Vec<i64>),
    Timestamp {
        ticks: Vec<i64>,
        unit: TimeUnit,
        cache: DateCache,
    },
    Text {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
    },
    Struct(Fields, Vec<Column>),
    List {
        offsets: Vec<i32>,
        item: FieldRef,
        child: Box<Column>,
    },
}

/// A type as SQL names it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INTEGER UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            format!("DECIMAL({p}, {s})")
        }
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".into(),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::Struct(_) => "STRUCT".into(),
        DataType::List(item) => format!("{}[]", type_name(item.data_type())),
        other => other.to_string(),
    }
}

/// A type as it can be declared, with the unit of a time that is not in microseconds.
pub(crate) fn declared_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => {
            let digits = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            let zone = zone.as_ref().map_or("", |_| " WITH TIME ZONE");
            format!("TIMESTAMP({digits}){zone}")
        }
        other => type_name(other),
    }
}

/// The schema with every column, and every part of one, nullable: that a NULL is not
/// allowed is decided where the rows are accepted, not where they are read.
pub(crate) fn nullable(schema: &Schema) -> SchemaRef {
    fn of(field: &Field) -> Field {
        let data_type = match field.data_type() {
            DataType::Struct(fields) => {
                DataType::Struct(fields.iter().map(|field| of(field)).collect())
            }
            DataType::List(item) => DataType::List(Arc::new(of(item))),
            other => other.clone(),
        };
        (field.clone())
            .with_data_type(data_type)
            .with_nullable(true)
    }
    let fields: Fields = schema.fields().iter().map(|field| of(field)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

impl Column {
    /// An empty column of `data_type`, whose times have the form `times`.
    ///
    /// # Errors
    /// If text cannot be read as this type.
    pub(super) fn new(data_type: &DataType, times: Option<&Arc<TimestampFormat>>) -> Result<Self> {
        let integer = |min, max| Values::Integer {
            values: Vec::new(),
            min,
            max,
        };
        let values = match data_type {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => integer(i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => integer(i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => integer(i64::MIN, i64::MAX),
            DataType::UInt8 => integer(0, u8::MAX.into()),
            DataType::UInt16 => integer(0, u16::MAX.into()),
            DataType::UInt32 => integer(0, u32::MAX.into()),
            DataType::UInt64 => Values::Unsigned(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => Values::Decimal {
                values: Vec::new(),
                precision: *precision,
                scale: *scale,
            },
            DataType::Date32 | DataType::Date64 => Values::Date(Vec::new(), DateCache::default()),
            DataType::Time32(_) | DataType::Time64(_) => Values::Time(Vec::new()),
            DataType::Timestamp(unit, _) => Values::Timestamp {
                ticks: Vec::new(),
                unit: *unit,
                cache: DateCache::default(),
            },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text(),
            DataType::Dictionary(_, values) if **values == DataType::Utf8 => text(),
            DataType::Struct(fields) => Values::Struct(
                fields.clone(),
                (fields.iter())
                    .map(|field| Self::new(field.data_type(), times))
                    .collect::<Result<_>>()?,
            ),
            DataType::List(item) => Values::List {
                offsets: vec![0],
                item: item.clone(),
                child: Box::new(Self::new(item.data_type(), times)?),
            },
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("text cannot be read as {}", type_name(other)),
                ));
            }
        };
        Ok(Self {
            data_type: data_type.clone(),
            values,
            validity: Validity::default(),
            times: times.cloned(),
        })
    }

    /// How many values it holds, NULLs among them.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.validity.len
    }

    /// Its type.
    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The form that its values have, if it holds times of a form of their own.
    pub(super) fn time_form(&self) -> Option<&str> {
        let is_time = matches!(self.values, Values::Timestamp { .. } | Values::Date(..));
        let times = self.times.as_ref().filter(|_| is_time);
        times.map(|format| format.as_str())
    }

    /// Whether any text is one of its values, the empty one too.
    #[inline]
    pub(super) fn is_text(&self) -> bool {
        matches!(self.values, Values::Text { .. })
    }

    /// Which JSON values it takes.
    #[inline]
    pub(super) fn takes(&self) -> Takes {
        match self.values {
            Values::Boolean(_) => Takes::Boolean,
            Values::Integer { .. }
            | Values::Unsigned(_)
            | Values::Float32(_)
            | Values::Float64(_) => Takes::Number,
            Values::Decimal { .. } => Takes::Decimal,
            Values::Date(..) | Values::Time(_) | Values::Timestamp { .. } => Takes::Time,
            Values::Text { .. } => Takes::Text,
            Values::Struct(..) => Takes::Struct,
            Values::List { .. } => Takes::List,
        }
    }

    /// Appends NULL.
    pub(super) fn append_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Integer { values, .. } => values.push(0),
            Values::Unsigned(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Date(values, _) => values.push(0),
            Values::Time(values) => values.push(0),
            Values::Timestamp { ticks, .. } => ticks.push(0),
            Values::Text { offsets, bytes } => offsets.push(offset(bytes.len())),
            Values::Struct(_, children) => children.iter_mut().for_each(Self::append_null),
            Values::List { offsets, child, .. } => offsets.push(offset(child.len())),
        }
        self.validity.append_null();
    }

    /// Appends the value that `text` stands for. `text` is UTF-8.
    #[inline]
    pub(super) fn append_text(&mut self, text: &[u8]) -> Result<(), Fault> {
        match &mut self.values {
            Values::Text { offsets, bytes } => {
                bytes.extend_from_slice(text);
                offsets.push(offset(bytes.len()));
            }
            Values::Float64(values) => values.push(parse_f64(text)?),
            Values::Timestamp { ticks, unit, cache } => {
                let instant = match &self.times {
                    None => parse_iso(text, cache),
                    Some(format) => format.parse(text),
                };
                match instant {
                    Some(instant) => ticks.push(instant.ticks(*unit)?),
                    None => return Err(no_time(text)),
                }
            }
            Values::Integer { values, min, max } => {
                let value = parse_i64(text)?;
                if value < *min || value > *max {
                    return Err(Fault::Range);
                }
                values.push(value);
            }
            Values::Unsigned(values) => values.push(parse_u64(text)?),
            Values::Float32(values) => values.push(parse_f32(text)?),
            Values::Decimal {
                values,
                precision,
                scale,
            } => values.push(parse_decimal(text, *precision, *scale)?),
            Values::Boolean(values) => values.append(parse_bool(text)?),
            Values::Date(values, cache) => {
                let instant = match &self.times {
                    None => parse_iso(text, cache),
                    // A date is plain in the one form or the other.
                    Some(format) => format.parse(text).or_else(|| parse_iso(text, cache)),
                };
                match instant.and_then(|instant| instant.plain_date()) {
                    Some(days) => values.push(days),
                    None => return Err(no_time(text)),
                }
            }
            Values::Time(values) => values.push(parse_time_of_day(text).ok_or(Fault::Invalid)?),
            Values::Struct(..) | Values::List { .. } => return Err(Fault::Invalid),
        }
        self.validity.append_valid();
        Ok(())
    }

    /// Appends the number or the time that begins at `start`, if the column holds such,
    /// it is plainly written and `ends` allows its end, which is given. `None`: nothing
    /// was appended, and [`Column::append_text`] knows more.
    #[inline]
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        start: usize,
        ends: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let end = match &mut self.values {
            Values::Float64(values) => {
                let (number, end) =
                    ShortNumber::scan(bytes, start).filter(|(_, end)| ends(*end))?;
                values.push(number.to_f64());
                end
            }
            Values::Integer { values, min, max } => {
                let (number, end) =
                    ShortNumber::scan(bytes, start).filter(|(_, end)| ends(*end))?;
                let within = |value: &i64| (*min..=*max).contains(value);
                values.push(number.to_i64().filter(within)?);
                end
            }
            Values::Timestamp { .. } => return self.scan_time(bytes, start, ends),
            _ => return None,
        };
        self.validity.append_valid();
        Some(end)
    }

    /// Appends the JSON value that begins at `start` if it is a plain number, time or
    /// string, and gives its end. `None`: nothing was appended.
    #[inline]
    pub(super) fn scan_json(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let ends = |end: &usize| matches!(bytes.get(*end), Some(b',' | b'}' | b' '));
        let end = match &mut self.values {
            Values::Float64(values) => {
                let (number, end) =
                    ShortNumber::scan_json(bytes, start).filter(|(_, end)| ends(end))?;
                values.push(number.to_f64());
                end
            }
            Values::Integer { values, min, max } => {
                let (number, end) =
                    ShortNumber::scan_json(bytes, start).filter(|(_, end)| ends(end))?;
                let within = |value: &i64| (*min..=*max).contains(value);
                values.push(number.to_i64().filter(within)?);
                end
            }
            _ if bytes.get(start) != Some(&b'"') => return None,
            Values::Timestamp { .. } => {
                let closes = |end| bytes.get(end) == Some(&b'"');
                return Some(self.scan_time(bytes, start + 1, closes)? + 1);
            }
            Values::Text { .. } => {
                let end = string_stop(bytes, start + 1);
                if bytes.get(end) != Some(&b'"') {
                    return None;
                }
                self.append_piece(bytes, start + 1, end);
                return Some(end + 1);
            }
            _ => return None,
        };
        self.validity.append_valid();
        Some(end)
    }

    /// As [`Column::scan`], for a number that may have the `i` of an integer behind it.
    #[inline]
    pub(super) fn scan_field(
        &mut self,
        bytes: &[u8],
        start: usize,
        ends: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if !matches!(self.values, Values::Float64(_) | Values::Integer { .. }) {
            return None;
        }
        let (number, end) = ShortNumber::scan(bytes, start)?;
        let marked = number.scale.is_none() && bytes.get(end) == Some(&b'i');
        let end = end + usize::from(marked);
        if !ends(end) {
            return None;
        }
        match &mut self.values {
            Values::Float64(values) => values.push(number.to_f64()),
            Values::Integer { values, min, max } => {
                let within = |value: &i64| (*min..=*max).contains(value);
                values.push(number.to_i64().filter(within)?);
            }
            _ => return None,
        }
        self.validity.append_valid();
        Some(end)
    }

    /// Appends a time in nanoseconds since the epoch, which is written as `text`.
    #[inline]
    pub(super) fn append_nanos(&mut self, nanos: i64, text: &[u8]) -> Result<(), Fault> {
        match &mut self.values {
            Values::Timestamp { ticks, unit, .. } => ticks.push(match unit {
                TimeUnit::Second => nanos.div_euclid(1_000_000_000),
                TimeUnit::Millisecond => nanos.div_euclid(1_000_000),
                TimeUnit::Microsecond => nanos.div_euclid(1_000),
                TimeUnit::Nanosecond => nanos,
            }),
            Values::Integer { .. } | Values::Text { .. } => return self.append_text(text),
            _ => return Err(Fault::Invalid),
        }
        self.validity.append_valid();
        Ok(())
    }

    /// As [`Column::scan`], for times alone.
    #[inline]
    fn scan_time(
        &mut self,
        bytes: &[u8],
        start: usize,
        ends: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let Values::Timestamp { ticks, unit, cache } = &mut self.values else {
            return None;
        };
        if self.times.is_some() {
            return None;
        }
        let (instant, end) = scan_iso(bytes, start, cache).filter(|(_, end)| ends(*end))?;
        ticks.push(instant.ticks(*unit).ok()?);
        self.validity.append_valid();
        Some(end)
    }

    /// Appends `bytes[start..end]` to a column of text.
    #[inline]
    pub(super) fn append_piece(&mut self, bytes: &[u8], start: usize, end: usize) {
        const SHORT: usize = 16;
        let Values::Text { offsets, bytes: to } = &mut self.values else {
            unreachable!("a column of text");
        };
        // A copy of a fixed length is two moves; what it brings too much is cut off.
        let short = bytes[start..].first_chunk::<SHORT>();
        match short.filter(|_| end - start <= SHORT) {
            Some(text) => {
                let len = to.len() + (end - start);
                to.extend_from_slice(text);
                to.truncate(len);
            }
            None => to.extend_from_slice(&bytes[start..end]),
        }
        offsets.push(offset(to.len()));
        self.validity.append_valid();
    }

    /// Appends a number that was read already; `text` is how it is written.
    #[inline]
    pub(super) fn append_number(
        &mut self,
        number: Option<ShortNumber>,
        text: &[u8],
    ) -> Result<(), Fault> {
        match (&mut self.values, number) {
            (Values::Float64(values), Some(number)) => values.push(number.to_f64()),
            (Values::Integer { values, min, max }, Some(number)) => match number.to_i64() {
                Some(value) if value >= *min && value <= *max => values.push(value),
                _ => return self.append_text(text),
            },
            _ => return self.append_text(text),
        }
        self.validity.append_valid();
        Ok(())
    }

    /// The children of a struct and the fields that name them.
    pub(super) fn children(&mut self) -> Option<(&Fields, &mut [Column])> {
        match &mut self.values {
            Values::Struct(fields, children) => Some((fields, children)),
            _ => None,
        }
    }

    /// What the items of a list are appended to.
    pub(super) fn child(&mut self) -> Option<&mut Column> {
        match &mut self.values {
            Values::List { child, .. } => Some(child),
            _ => None,
        }
    }

    /// Completes a struct or list whose parts have been appended.
    pub(super) fn close(&mut self) {
        match &mut self.values {
            Values::Struct(_, children) => {
                let len = self.validity.len;
                (children.iter_mut())
                    .filter(|child| child.len() == len)
                    .for_each(Self::append_null);
            }
            Values::List { offsets, child, .. } => offsets.push(offset(child.len())),
            _ => unreachable!("only structs and lists have parts"),
        }
        self.validity.append_valid();
    }

    /// Takes back everything after the first `len` values.
    pub(super) fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(len),
            Values::Integer { values, .. } => values.truncate(len),
            Values::Unsigned(values) => values.truncate(len),
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Decimal { values, .. } => values.truncate(len),
            Values::Date(values, _) => values.truncate(len),
            Values::Time(values) => values.truncate(len),
            Values::Timestamp { ticks, .. } => ticks.truncate(len),
            Values::Text { offsets, bytes } => {
                offsets.truncate(len + 1);
                bytes.truncate(offsets[offsets.len() - 1] as usize);
            }
            Values::Struct(_, children) => {
                children.iter_mut().for_each(|child| child.truncate(len));
            }
            Values::List { offsets, child, .. } => {
                offsets.truncate(len + 1);
                child.truncate(offsets[offsets.len() - 1] as usize);
            }
        }
        self.validity.truncate(len);
    }

    /// The values so far as an array; the column is empty afterwards.
    pub(super) fn finish(&mut self) -> windrow_core::Result<ArrayRef> {
        let nulls = self.validity.finish();
        let array: ArrayRef = match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Integer { values, .. } => integers(&self.data_type, take(values), nulls),
            Values::Unsigned(values) => Arc::new(UInt64Array::new(take(values).into(), nulls)),
            Values::Float32(values) => Arc::new(Float32Array::new(take(values).into(), nulls)),
            Values::Float64(values) => Arc::new(Float64Array::new(take(values).into(), nulls)),
            Values::Decimal {
                values,
                precision,
                scale,
            } => Arc::new(
                Decimal128Array::new(take(values).into(), nulls)
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            Values::Date(values, _) => Arc::new(Date32Array::new(take(values).into(), nulls)),
            Values::Time(values) => times_of_day(&self.data_type, take(values), nulls),
            Values::Timestamp { ticks, .. } => {
                let array = timestamps(&self.data_type, take(ticks))?;
                arrow::array::make_array(array.to_data().into_builder().nulls(nulls).build()?)
            }
            Values::Text { offsets, bytes } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(StringArray::try_new(
                    offsets,
                    Buffer::from_vec(take(bytes)),
                    nulls,
                )?)
            }
            Values::Struct(fields, children) => {
                let arrays =
                    (children.iter_mut().map(Self::finish)).collect::<windrow_core::Result<_>>()?;
                Arc::new(StructArray::try_new(fields.clone(), arrays, nulls)?)
            }
            Values::List {
                offsets,
                item,
                child,
            } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let items = child.finish()?;
                Arc::new(ListArray::try_new(item.clone(), offsets, items, nulls)?)
            }
        };
        if array.data_type() == &self.data_type {
            Ok(array)
        } else {
            // Text of another layout, a dictionary, a date or a decimal of another width.
            Ok(cast(&array, &self.data_type)?)
        }
    }
}

/// The values, leaving room for as many: the next batch is likely as long.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}

fn text() -> Values {
    Values::Text {
        offsets: vec![0],
        bytes: Vec::new(),
    }
}

#[inline]
fn offset(len: usize) -> i32 {
    i32::try_from(len).expect("a chunk of text is shorter than 2 GiB")
}

/// A text of digits alone is an epoch whose unit is not known.
#[cold]
fn no_time(text: &[u8]) -> Fault {
    match parse_f64(text) {
        Ok(number) if number.is_finite() => Fault::Epoch,
        _ => Fault::Invalid,
    }
}

fn parse_bool(text: &[u8]) -> Result<bool, Fault> {
    match text {
        b"1" | b"t" | b"T" => Ok(true),
        b"0" | b"f" | b"F" => Ok(false),
        _ if text.eq_ignore_ascii_case(b"true") => Ok(true),
        _ if text.eq_ignore_ascii_case(b"false") => Ok(false),
        _ => Err(Fault::Invalid),
    }
}

/// Integers as the type that their range was checked for.
fn integers(data_type: &DataType, values: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
    macro_rules! narrow {
        ($array:ident, $native:ty) => {{
            let values: Vec<$native> = values.into_iter().map(|value| value as $native).collect();
            Arc::new($array::new(values.into(), nulls))
        }};
    }
    match data_type {
        DataType::Int8 => narrow!(Int8Array, i8),
        DataType::Int16 => narrow!(Int16Array, i16),
        DataType::Int32 => narrow!(Int32Array, i32),
        DataType::UInt8 => narrow!(UInt8Array, u8),
        DataType::UInt16 => narrow!(UInt16Array, u16),
        DataType::UInt32 => narrow!(UInt32Array, u32),
        _ => Arc::new(Int64Array::new(values.into(), nulls)),
    }
}

/// Nanoseconds since midnight as a time of day, cut to its unit.
fn times_of_day(data_type: &DataType, nanos: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
    let (DataType::Time32(unit) | DataType::Time64(unit)) = data_type else {
        unreachable!("only times of day are built from nanoseconds since midnight");
    };
    let per_tick = nanos_per_tick(*unit);
    let ticks = nanos.into_iter().map(|nanos| nanos / per_tick);
    match unit {
        TimeUnit::Second => {
            let ticks: Vec<i32> = ticks.map(|tick| tick as i32).collect();
            Arc::new(Time32SecondArray::new(ticks.into(), nulls))
        }
        TimeUnit::Millisecond => {
            let ticks: Vec<i32> = ticks.map(|tick| tick as i32).collect();
            Arc::new(Time32MillisecondArray::new(ticks.into(), nulls))
        }
        TimeUnit::Microsecond => {
            let ticks: Vec<i64> = ticks.collect();
            Arc::new(Time64MicrosecondArray::new(ticks.into(), nulls))
        }
        TimeUnit::Nanosecond => {
            let ticks: Vec<i64> = ticks.collect();
            Arc::new(Time64NanosecondArray::new(ticks.into(), nulls))
        }
    }
}
