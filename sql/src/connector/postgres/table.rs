//! A table: its name, and the types of its columns.

use arrow::datatypes::{DataType, Field, SchemaRef};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::error::{Error, ErrorKind, Result};
use crate::format::column::type_name;

/// PostgreSQL holds no more columns in a table.
const COLUMNS_MAX: usize = 1_600;

/// PostgreSQL cuts longer names.
const NAME_BYTES_MAX: usize = 63;

/// A table and the columns that are written to.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Quoted, with its schema if it has one.
    name: String,
    /// Quoted, and its type.
    columns: Vec<(String, String)>,
}

impl Table {
    /// The table `written` (`name` or `schema.name`, with capitals as they are) for rows of
    /// `schema`.
    ///
    /// # Errors
    /// If a name does not fit, or a column has no type of PostgreSQL.
    pub(super) fn new(written: &str, schema: &SchemaRef) -> Result<Self> {
        let parts: Vec<&str> = written.split('.').collect();
        if parts.len() > 2 {
            let message = format!("option table is '{written}', but must be a name");
            return Err(Error::new(ErrorKind::Option, message)
                .help("write 'readings' or 'schema.readings'"));
        }
        let parts: Vec<String> = (parts.iter())
            .map(|part| quoted("option table", part))
            .collect::<Result<_>>()?;
        if schema.fields().is_empty() || schema.fields().len() > COLUMNS_MAX {
            let message = format!("a table has 1 to {COLUMNS_MAX} columns");
            return Err(Error::new(ErrorKind::Plan, message).help("name the columns in SELECT"));
        }
        let columns = (schema.fields().iter())
            .map(|field| {
                Ok((
                    quoted("a column's name", field.name())?,
                    column_type(field)?,
                ))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            name: parts.join("."),
            columns,
        })
    }

    fn names(&self) -> String {
        let names: Vec<&str> = (self.columns.iter()).map(|(name, _)| &name[..]).collect();
        names.join(", ")
    }

    /// Asks whether the table is there: `t` or `f`.
    pub(super) fn exists(&self) -> String {
        let name = escape_literal(&self.name);
        format!("SELECT to_regclass({name}) IS NOT NULL")
    }

    pub(super) fn create(&self) -> String {
        let columns: Vec<String> = (self.columns.iter())
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        let columns = columns.join(", ");
        format!("CREATE TABLE IF NOT EXISTS {} ({columns})", self.name)
    }

    /// Asks for no row: an error tells which column is missing.
    pub(super) fn probe(&self) -> String {
        format!("SELECT {} FROM {} LIMIT 0", self.names(), self.name)
    }

    /// Asks whether there are rows: `t` or `f`.
    pub(super) fn holds_rows(&self) -> String {
        format!("SELECT EXISTS (SELECT 1 FROM {})", self.name)
    }

    /// Removes all rows. Who reads sees them until the transaction ends.
    pub(super) fn clear(&self) -> String {
        format!("DELETE FROM {}", self.name)
    }

    pub(super) fn copy(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.name, self.names())
    }
}

fn quoted(what: &str, name: &str) -> Result<String> {
    let why = match () {
        () if name.is_empty() => "is empty",
        () if name.contains('\0') => "holds a NUL",
        () if name.len() > NAME_BYTES_MAX => "is longer than the 63 bytes of PostgreSQL",
        () => return Ok(escape_identifier(name).trim().to_owned()),
    };
    let message = format!("{what} '{}' {why}", name.replace('\0', "\\0"));
    Err(Error::new(ErrorKind::Option, message).help("write another name, in SELECT with AS"))
}

/// The type of a column that is made for a field.
fn column_type(field: &Field) -> Result<String> {
    use DataType as T;
    let kind = match field.data_type() {
        T::Dictionary(_, values) => {
            let values = Field::new(field.name(), values.as_ref().clone(), true);
            return column_type(&values);
        }
        T::Boolean => "boolean",
        T::Int8 | T::Int16 | T::UInt8 => "smallint",
        T::Int32 | T::UInt16 => "integer",
        T::Int64 | T::UInt32 => "bigint",
        T::UInt64 => "numeric(20)",
        T::Float16 | T::Float32 => "real",
        T::Float64 => "double precision",
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            // A scale below zero is for the version 15 on; whole digits say the same.
            let (digits, scale) = match s.is_negative() {
                true => (u32::from(*p) + u32::from(s.unsigned_abs()), 0),
                false => (u32::from(*p), *s),
            };
            return Ok(format!("numeric({digits}, {scale})"));
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Null => "text",
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "bytea",
        T::Date32 | T::Date64 => "date",
        T::Time32(_) | T::Time64(_) => "time",
        T::Timestamp(_, None) => "timestamp",
        T::Timestamp(_, Some(_)) => "timestamptz",
        other => {
            let help = match other {
                T::List(_) | T::LargeList(_) | T::FixedSizeList(..) | T::ListView(_) => {
                    "write array_to_string(column, ',') or an element, column[1]"
                }
                T::Struct(_) => "select its fields: column['field'] AS field",
                T::Duration(_) | T::Interval(_) => "write a number: date_part('epoch', column)",
                _ => "leave it out, or convert it by CAST",
            };
            let message = format!(
                "a table of postgres cannot hold column \"{}\", which is {}",
                field.name(),
                type_name(other)
            );
            return Err(Error::new(ErrorKind::Plan, message).help(help));
        }
    };
    Ok(kind.to_owned())
}
