//! Rows given value by value, on their way into columns.
//!
//! A [`Value`] is what a caller has at hand: an integer for every integer, date and
//! time type (times in ticks of the column's unit), a float for every float type. A
//! value that its column cannot hold is an error that names the column.

use std::fmt::{self, Debug};
use std::sync::Arc;

use arrow::array::builder::{
    BinaryBuilder, BinaryViewBuilder, BooleanBuilder, FixedSizeBinaryBuilder, LargeBinaryBuilder,
    LargeStringBuilder, PrimitiveBuilder, StringBuilder, StringViewBuilder,
};
use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use half::f16;

use super::types::with_numbers;
use crate::error::Result;

/// The longest text or bytes that a row may hold: 1 GiB.
pub(super) const VALUE_BYTES_MAX: usize = 1 << 30;

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// A boolean.
    Boolean(bool),
    /// An integer, a date in days, a time or a duration in ticks of the column's unit.
    Integer(i64),
    /// An integer that may lie above the range of [`Value::Integer`].
    Unsigned(u64),
    /// A float; a column of less precision rounds it.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

macro_rules! value_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl<'a> From<$type> for Value<'a> {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
value_from!(
    bool => Boolean, i8 => Integer, i16 => Integer, i32 => Integer, i64 => Integer,
    u8 => Integer, u16 => Integer, u32 => Integer, u64 => Unsigned,
    f32 => Float, f64 => Float, &'a str => Text, &'a [u8] => Bytes
);

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_CHARS_MAX: usize = 40;
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => match text.char_indices().nth(SHOWN_CHARS_MAX) {
                Some((end, _)) => write!(f, "'{}…'", &text[..end]),
                None => write!(f, "'{text}'"),
            },
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

/// Why a row does not fit its columns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The row is too short or too long.
    #[error("a row has {expected} values, not {found}")]
    Columns {
        /// How many columns there are.
        expected: usize,
        /// How many values were given.
        found: usize,
    },
    /// A value that its column cannot hold.
    #[error("column {column:?} of type {data_type} cannot hold {value}")]
    Value {
        /// The column's name.
        column: String,
        /// Its type.
        data_type: DataType,
        /// The value as shown to a user, cut if it is long.
        value: String,
    },
    /// NULL in a column that is NOT NULL.
    #[error("column {column:?} is NOT NULL, and its value is missing")]
    Null {
        /// The column's name.
        column: String,
    },
    /// A type without single values.
    #[error("column {column:?} of type {data_type} takes no single values; push a batch")]
    Unsupported {
        /// The column's name.
        column: String,
        /// Its type.
        data_type: DataType,
    },
}

/// A column that grows by single values.
#[derive(Debug)]
pub(super) struct RowColumn {
    field: FieldRef,
    cells: Box<dyn Cells>,
}

impl RowColumn {
    pub(super) fn new(field: &FieldRef) -> Result<Self, RowError> {
        let cells = cells(field.data_type()).ok_or_else(|| RowError::Unsupported {
            column: field.name().clone(),
            data_type: field.data_type().clone(),
        })?;
        Ok(Self {
            field: field.clone(),
            cells,
        })
    }

    /// Whether the value can be appended.
    pub(super) fn check(&self, value: Value<'_>) -> Result<(), RowError> {
        match value {
            Value::Null if self.field.is_nullable() => Ok(()),
            Value::Null => Err(RowError::Null {
                column: self.field.name().clone(),
            }),
            value if self.cells.fits(value) => Ok(()),
            value => Err(RowError::Value {
                column: self.field.name().clone(),
                data_type: self.field.data_type().clone(),
                value: value.to_string(),
            }),
        }
    }

    /// Appends a value that was checked; gives about how many bytes it takes.
    pub(super) fn append(&mut self, value: Value<'_>) -> usize {
        self.cells.append(value)
    }

    /// The column so far; the next one starts empty.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        self.cells.finish()
    }
}

/// A builder of arrow's that takes a [`Value`].
trait Cells: Debug + Send {
    /// Whether a value that is not NULL can be appended.
    fn fits(&self, value: Value<'_>) -> bool;

    /// Appends a value that fits or NULL.
    fn append(&mut self, value: Value<'_>) -> usize;

    fn finish(&mut self) -> Result<ArrayRef>;
}

fn cells(data_type: &DataType) -> Option<Box<dyn Cells>> {
    fn numbers<T: ArrowPrimitiveType<Native: Number> + Debug>(
        data_type: &DataType,
    ) -> Box<dyn Cells> {
        Box::new(PrimitiveBuilder::<T>::new().with_data_type(data_type.clone()))
    }
    Some(match data_type {
        DataType::Boolean => Box::new(BooleanBuilder::new()),
        DataType::Utf8 => Box::new(StringBuilder::new()),
        DataType::LargeUtf8 => Box::new(LargeStringBuilder::new()),
        DataType::Utf8View => Box::new(StringViewBuilder::new()),
        DataType::Binary => Box::new(BinaryBuilder::new()),
        DataType::LargeBinary => Box::new(LargeBinaryBuilder::new()),
        DataType::BinaryView => Box::new(BinaryViewBuilder::new()),
        DataType::FixedSizeBinary(len) => Box::new(Fixed {
            len: usize::try_from(*len).ok()?,
            builder: FixedSizeBinaryBuilder::new(*len),
        }),
        DataType::Dictionary(_, values) => Box::new(Encoded {
            data_type: data_type.clone(),
            values: cells(values)?,
        }),
        other => with_numbers!(other, numbers(other), else return None),
    })
}

/// A native number from a value.
trait Number: Sized {
    fn from_value(value: Value<'_>) -> Option<Self>;
}

macro_rules! integer_number {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn from_value(value: Value<'_>) -> Option<Self> {
                match value {
                    Value::Integer(value) => Self::try_from(value).ok(),
                    Value::Unsigned(value) => Self::try_from(value).ok(),
                    _ => None,
                }
            }
        }
    )*};
}
integer_number!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Number for f64 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        // Integers up to 2⁵³ are floats too; a greater one would become another number.
        const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
        match value {
            Value::Float(value) => Some(value),
            Value::Integer(value) if value.unsigned_abs() <= EXACT_MAX => Some(value as f64),
            Value::Unsigned(value) if value <= EXACT_MAX => Some(value as f64),
            _ => None,
        }
    }
}

impl Number for f32 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        f64::from_value(value).map(|value| value as f32)
    }
}

impl Number for f16 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        f64::from_value(value).map(f16::from_f64)
    }
}

impl<T: ArrowPrimitiveType<Native: Number> + Debug> Cells for PrimitiveBuilder<T> {
    fn fits(&self, value: Value<'_>) -> bool {
        T::Native::from_value(value).is_some()
    }

    fn append(&mut self, value: Value<'_>) -> usize {
        self.append_option(T::Native::from_value(value));
        size_of::<T::Native>()
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(Self::finish(self)))
    }
}

impl Cells for BooleanBuilder {
    fn fits(&self, value: Value<'_>) -> bool {
        matches!(value, Value::Boolean(_))
    }

    fn append(&mut self, value: Value<'_>) -> usize {
        self.append_option(match value {
            Value::Boolean(value) => Some(value),
            _ => None,
        });
        1
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(Self::finish(self)))
    }
}

fn text(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Text(text) if text.len() <= VALUE_BYTES_MAX => Some(text),
        _ => None,
    }
}

fn bytes(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::Bytes(bytes) if bytes.len() <= VALUE_BYTES_MAX => Some(bytes),
        value => text(value).map(str::as_bytes),
    }
}

macro_rules! string_cells {
    ($($builder:ty => $of:ident),*) => {$(
        impl Cells for $builder {
            fn fits(&self, value: Value<'_>) -> bool {
                $of(value).is_some()
            }

            fn append(&mut self, value: Value<'_>) -> usize {
                let value = $of(value);
                self.append_option(value);
                size_of::<u32>() + value.map_or(0, |value| value.len())
            }

            fn finish(&mut self) -> Result<ArrayRef> {
                Ok(Arc::new(Self::finish(self)))
            }
        }
    )*};
}
string_cells!(
    StringBuilder => text, LargeStringBuilder => text, StringViewBuilder => text,
    BinaryBuilder => bytes, LargeBinaryBuilder => bytes, BinaryViewBuilder => bytes
);

#[derive(Debug)]
struct Fixed {
    len: usize,
    builder: FixedSizeBinaryBuilder,
}

impl Cells for Fixed {
    fn fits(&self, value: Value<'_>) -> bool {
        bytes(value).is_some_and(|bytes| bytes.len() == self.len)
    }

    fn append(&mut self, value: Value<'_>) -> usize {
        match bytes(value) {
            Some(bytes) => (self.builder.append_value(bytes)).expect("its length was checked"),
            None => self.builder.append_null(),
        }
        self.len
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(self.builder.finish()))
    }
}

/// Plain values that become a dictionary in the end.
#[derive(Debug)]
struct Encoded {
    data_type: DataType,
    values: Box<dyn Cells>,
}

impl Cells for Encoded {
    fn fits(&self, value: Value<'_>) -> bool {
        self.values.fits(value)
    }

    fn append(&mut self, value: Value<'_>) -> usize {
        self.values.append(value)
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(cast(&self.values.finish()?, &self.data_type)?)
    }
}
