//! The types of columns, as SQL names them, in Arrow.
//!
//! | written | read as |
//! |---|---|
//! | `TIMESTAMP`, `DATETIME` | microseconds; `(0)`, `(3)`, `(6)`, `(9)` give the units |
//! | `TIMESTAMPTZ`, `TIMESTAMP_LTZ(3)`, `… WITH [LOCAL] TIME ZONE` | the same with zone `+00:00` |
//! | `TEXT`, `STRING`, `VARCHAR(n)`, `CHAR(n)`, `UUID`, `JSON` | Utf8 |
//! | `DOUBLE`, `DOUBLE PRECISION`, `FLOAT8`, `FLOAT64` | Float64 |
//! | `FLOAT`, `REAL`, `FLOAT4`, `FLOAT32` | Float32 |
//! | `BIGINT UNSIGNED`, `UBIGINT`, `UINT64` | UInt64; the other widths alike |
//! | `DECIMAL(p, s)`, `NUMERIC` | Decimal128; without precision (38, 10) |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as Sql, ExactNumberInfo, TimezoneInfo,
};

/// The names that a mistyped one is compared with.
pub(super) const NAMES: &[&str] = &[
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "TEXT",
    "STRING",
    "VARCHAR",
    "CHAR",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "TIMESTAMP_LTZ",
    "BYTEA",
    "BINARY",
    "UUID",
    "JSON",
    "ARRAY",
    "STRUCT",
];

/// The zone of every time that is written with one.
const UTC: &str = "+00:00";

/// The Arrow type of an SQL type, or what is wrong with it.
pub(super) fn arrow_type(sql: &Sql) -> Result<DataType, String> {
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::TinyInt(_) => DataType::Int8,
        Sql::SmallInt(_) | Sql::Int2(_) | Sql::Int16 => DataType::Int16,
        Sql::MediumInt(_)
        | Sql::Int(_)
        | Sql::Int4(_)
        | Sql::Integer(_)
        | Sql::Int32
        | Sql::Signed
        | Sql::SignedInteger => DataType::Int32,
        Sql::BigInt(_) | Sql::Int8(_) | Sql::Int64 => DataType::Int64,
        Sql::TinyIntUnsigned(_) | Sql::UTinyInt | Sql::UInt8 => DataType::UInt8,
        Sql::SmallIntUnsigned(_) | Sql::Int2Unsigned(_) | Sql::USmallInt | Sql::UInt16 => {
            DataType::UInt16
        }
        Sql::MediumIntUnsigned(_)
        | Sql::IntUnsigned(_)
        | Sql::Int4Unsigned(_)
        | Sql::IntegerUnsigned(_)
        | Sql::Unsigned
        | Sql::UnsignedInteger
        | Sql::UInt32 => DataType::UInt32,
        Sql::BigIntUnsigned(_) | Sql::Int8Unsigned(_) | Sql::UBigInt | Sql::UInt64 => {
            DataType::UInt64
        }
        Sql::Real | Sql::Float4 | Sql::Float32 => DataType::Float32,
        // FLOAT(53) is double precision in the standard.
        Sql::Float(ExactNumberInfo::Precision(25..)) => DataType::Float64,
        Sql::Float(_) => DataType::Float32,
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 | Sql::Float64 => DataType::Float64,
        Sql::Decimal(size) | Sql::Numeric(size) | Sql::Dec(size) => decimal(size)?,
        Sql::Char(_)
        | Sql::Character(_)
        | Sql::CharVarying(_)
        | Sql::CharacterVarying(_)
        | Sql::Varchar(_)
        | Sql::Nvarchar(_)
        | Sql::Text
        | Sql::TinyText
        | Sql::MediumText
        | Sql::LongText
        | Sql::String(_)
        | Sql::Clob(_)
        | Sql::Uuid
        | Sql::JSON
        | Sql::JSONB => DataType::Utf8,
        Sql::Bytea | Sql::Binary(_) | Sql::Varbinary(_) | Sql::Blob(_) | Sql::Bytes(_) => {
            DataType::Binary
        }
        Sql::Date | Sql::Date32 => DataType::Date32,
        Sql::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            match unit(*precision)? {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
                unit => DataType::Time64(unit),
            }
        }
        Sql::Timestamp(precision, zone) => {
            let zone = match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
                TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => Some(UTC.into()),
            };
            DataType::Timestamp(unit(*precision)?, zone)
        }
        Sql::TimestampNtz(precision) | Sql::Datetime(precision) => {
            DataType::Timestamp(unit(*precision)?, None)
        }
        Sql::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => DataType::List(Arc::new(Field::new_list_field(arrow_type(item)?, true))),
        Sql::Struct(fields, _) => {
            let fields = fields.iter().map(|field| match &field.field_name {
                Some(name) => Ok(Field::new(
                    match name.quote_style {
                        Some(_) => name.value.clone(),
                        None => name.value.to_lowercase(),
                    },
                    arrow_type(&field.field_type)?,
                    true,
                )),
                None => Err("every field of a STRUCT needs a name".to_owned()),
            });
            DataType::Struct(fields.collect::<Result<_, _>>()?)
        }
        Sql::Custom(name, modifiers) => custom(&name.to_string(), modifiers)?,
        other => return Err(format!("a stream has no type `{other}`")),
    })
}

/// Types that sqlparser knows no name for.
fn custom(name: &str, modifiers: &[String]) -> Result<DataType, String> {
    let precision = || match modifiers {
        [] => Ok(None),
        [digits] => (digits.parse().map(Some)).map_err(|_| format!("`{digits}` is no precision")),
        _ => Err(format!("`{name}` takes one precision")),
    };
    match name.to_uppercase().as_str() {
        "TIMESTAMP_LTZ" => Ok(DataType::Timestamp(unit(precision()?)?, Some(UTC.into()))),
        "TIMESTAMP_NTZ" => Ok(DataType::Timestamp(unit(precision()?)?, None)),
        _ => Err(format!("there is no type `{name}`")),
    }
}

fn unit(precision: Option<u64>) -> Result<TimeUnit, String> {
    match precision {
        Some(0) => Ok(TimeUnit::Second),
        Some(3) => Ok(TimeUnit::Millisecond),
        None | Some(6) => Ok(TimeUnit::Microsecond),
        Some(9) => Ok(TimeUnit::Nanosecond),
        Some(other) => Err(format!(
            "a time has a precision of 0, 3, 6 or 9 digits, not {other}"
        )),
    }
}

fn decimal(size: &ExactNumberInfo) -> Result<DataType, String> {
    let (precision, scale) = match size {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale >= 0 && scale as u8 <= precision => {
            Ok(DataType::Decimal128(precision, scale))
        }
        _ => Err("a DECIMAL has 1 to 38 digits, of which the scale is a part".into()),
    }
}
