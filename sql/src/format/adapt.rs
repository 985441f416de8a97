//! Fitting record batches of a file to the declared columns.
//!
//! Columns are found by name (exactly, else in another case if only one is meant). One
//! that the file does not have is NULL. Another type is converted where every value
//! either keeps its meaning or is rejected with its row; any other pair of types is an
//! error when the file is opened. Inferred columns keep the unit and the zone of the file.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, make_array,
    new_null_array,
};
use arrow::compute::{can_cast_types, cast, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use windrow_core::stream::Reject;

use super::column::{Column, type_name};
use super::names::find;
use super::number::Fault;
use super::origin::{FileRows, PlacedRows, Whole};
use super::rows::{REJECT_TEXT_BYTES_MAX, RULE_TYPE, RowFault, cut};
use crate::error::{Error, ErrorKind, Result};

/// Fits the batches of a file to the declared columns.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(super) schema: SchemaRef,
    pub(super) file: Arc<str>,
    /// The file's column for each of ours.
    columns: Vec<Option<usize>>,
    /// Has the columns that are left out, if some are.
    whole: Option<Arc<dyn Whole>>,
}

impl Adapter {
    /// Fits columns of `theirs` to those of `schema`.
    ///
    /// # Errors
    /// If a column has another type that is not converted, or none is in the file.
    pub(crate) fn new(file: &str, theirs: &Schema, schema: SchemaRef) -> Result<Self> {
        let names: Vec<&str> = (theirs.fields().iter())
            .map(|field| field.name().as_str())
            .collect();
        let mut columns = Vec::new();
        for field in schema.fields() {
            let found = find(&names, field.name());
            if let Some(index) = found {
                let (from, to) = (theirs.field(index).data_type(), field.data_type());
                if !converts(from, to) {
                    return Err(no_conversion(file, field.name(), from, to));
                }
            }
            columns.push(found);
        }
        if !columns.is_empty() && columns.iter().all(Option::is_none) {
            let names = |schema: &Schema| {
                let names: Vec<&str> = schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                names.join(", ")
            };
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "{file}: it has none of the columns ({}); it has {}",
                    names(&schema),
                    names(theirs)
                ),
            ));
        }
        Ok(Self {
            schema,
            file: file.into(),
            columns,
            whole: None,
        })
    }

    /// The same without columns that are not `wanted` (`[columns]`): they are NULL, and
    /// `whole` has them. Those stay of which a value may not fit. `None`: all stay.
    pub(super) fn narrowed(
        &self,
        theirs: &Schema,
        wanted: &[bool],
        whole: Arc<dyn Whole>,
    ) -> Option<Self> {
        let stays = |place: usize| {
            let is_wanted = wanted.get(place).copied().unwrap_or(true);
            is_wanted || self.columns[place].is_none() || self.may_refuse(theirs, place)
        };
        if (0..self.columns.len()).all(stays) {
            return None;
        }
        let columns = self.columns.iter().enumerate();
        Some(Self {
            schema: self.schema.clone(),
            file: self.file.clone(),
            columns: columns
                .map(|(place, column)| column.filter(|_| stays(place)))
                .collect(),
            whole: Some(whole),
        })
    }

    /// No rows.
    pub(super) fn nothing(&self) -> PlacedRows {
        PlacedRows {
            records: RecordBatch::new_empty(self.schema.clone()),
            rejected: Vec::new(),
            origin: None,
        }
    }

    /// The file's columns that are wanted, ascending.
    pub(super) fn file_columns(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = self.columns.iter().flatten().copied().collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The file's column for one of ours.
    pub(super) fn file_column(&self, place: usize) -> Option<usize> {
        self.columns[place]
    }

    /// Whether a value of the file's column may not fit ours. `theirs`: its columns.
    pub(super) fn may_refuse(&self, theirs: &Schema, place: usize) -> bool {
        let to = self.schema.field(place).data_type();
        let column = self.columns[place];
        column.is_some_and(|index| !always_fits(theirs.field(index).data_type(), to))
    }

    /// Values of the file's column as ours; NULL where they do not fit.
    pub(super) fn converted(&self, values: &ArrayRef, place: usize) -> Result<ArrayRef> {
        let field = self.schema.field(place);
        convert(values, field.name(), field.data_type(), &mut |_, _| {})
    }

    /// Fits rows, the first of which is row `first_row` of the file, counted from 0.
    /// `projected`: the batch holds only [`Adapter::file_columns`].
    pub(crate) fn adapt(
        &self,
        records: &RecordBatch,
        projected: bool,
        first_row: u64,
    ) -> Result<PlacedRows> {
        let wanted = self.file_columns();
        let mut bad: Vec<Option<String>> = Vec::new();
        let mut texts = Vec::new();
        let mut columns = Vec::new();
        for (field, column) in self.schema.fields().iter().zip(&self.columns) {
            let Some(column) = column else {
                columns.push(new_null_array(field.data_type(), records.num_rows()));
                continue;
            };
            let place = match projected {
                true => wanted
                    .binary_search(column)
                    .expect("the column was asked for"),
                false => *column,
            };
            let theirs = records.column(place);
            let mut refuse = |row: usize, reason: String| {
                bad.resize(records.num_rows(), None);
                if bad[row].is_none() {
                    bad[row] = Some(reason);
                    let text = array_value_to_string(theirs, row).unwrap_or_default();
                    texts.push((row, cut(text.as_bytes(), REJECT_TEXT_BYTES_MAX)));
                }
            };
            columns.push(convert(
                theirs,
                field.name(),
                field.data_type(),
                &mut refuse,
            )?);
        }
        let rows = first_row..first_row + records.num_rows() as u64;
        let origin = |refused: Vec<usize>| {
            let whole = self.whole.clone();
            Box::new(FileRows::new(self.file.clone(), rows, refused, whole))
        };
        let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
        let records = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(windrow_core::Error::from)?;
        if bad.is_empty() {
            return Ok(PlacedRows {
                records,
                rejected: Vec::new(),
                origin: Some(origin(Vec::new())),
            });
        }
        let kept: BooleanArray = bad.iter().map(|reason| Some(reason.is_none())).collect();
        texts.sort_unstable_by_key(|(row, _)| *row);
        let origin = origin(texts.iter().map(|(row, _)| *row).collect());
        let rejected = (texts.into_iter())
            .map(|(row, text)| Reject {
                text,
                position: format!("{}:{}", self.file, first_row + row as u64 + 1),
                reason: bad[row].take().expect("each text has its reason"),
                rule: RULE_TYPE.to_owned(),
            })
            .collect();
        Ok(PlacedRows {
            records: filter_record_batch(&records, &kept).map_err(windrow_core::Error::from)?,
            rejected,
            origin: Some(origin),
        })
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Whether values of `from` keep their meaning as `to`, or can be refused one by one.
fn converts(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Date64, Decimal128, Timestamp};
    if from == to {
        return true;
    }
    match (from, to) {
        (DataType::Null, _) => true,
        _ if is_text(from) => is_text(to) || Column::new(to, None).is_ok(),
        _ if from.is_integer() => {
            to.is_integer() || to.is_floating() || matches!(to, Decimal128(..)) || is_text(to)
        }
        _ if from.is_floating() => to.is_floating(),
        (Decimal128(_, ours), Decimal128(_, theirs)) => ours <= theirs,
        (Decimal128(..), to) => to.is_floating(),
        (Timestamp(..), Timestamp(..)) | (Date32, Timestamp(..) | Date64) | (Date64, Date32) => {
            true
        }
        (DataType::Struct(_) | DataType::List(_), _) => {
            // The same but for what may be NULL.
            from.equals_datatype(to) && can_cast_types(from, to)
        }
        _ => false,
    }
}

/// Whether every value of `from` is one of `to`.
fn always_fits(from: &DataType, to: &DataType) -> bool {
    from == to || is_text(from) && is_text(to)
}

fn no_conversion(file: &str, name: &str, from: &DataType, to: &DataType) -> Error {
    let error = Error::new(
        ErrorKind::Data,
        format!(
            "{file}: column {name} is {} in the file and cannot be read as {}",
            type_name(from),
            type_name(to)
        ),
    );
    match to {
        DataType::Timestamp(..) if from.is_numeric() => error.help(format!(
            "integer epochs need their unit: declare {name} as {} and use to_timestamp_millis or one of its kin",
            type_name(from)
        )),
        _ => error.help(format!("declare {name} as {}", type_name(from))),
    }
}

/// The array as `to`; each value that does not fit is NULL and refused with its row.
fn convert(
    array: &ArrayRef,
    name: &str,
    to: &DataType,
    refuse: &mut dyn FnMut(usize, String),
) -> Result<ArrayRef> {
    let from = array.data_type();
    if from == to {
        return Ok(array.clone());
    }
    if *from == DataType::Null {
        return Ok(new_null_array(to, array.len()));
    }
    let arrow = |error: ArrowError| Error::from(windrow_core::Error::from(error));
    if is_text(from) && !is_text(to) {
        return parse_text(array, name, to, refuse);
    }
    let converted = match (from, to) {
        // Without a zone a time is UTC, with one its ticks are: only the unit changes.
        (DataType::Timestamp(_, _), DataType::Timestamp(unit, _)) => {
            let unlabelled = array.to_data().into_builder();
            let DataType::Timestamp(from_unit, _) = from else {
                unreachable!("matched above");
            };
            let plain = unlabelled.data_type(DataType::Timestamp(*from_unit, None));
            let plain = make_array(plain.build().map_err(arrow)?);
            let ticks = cast(&plain, &DataType::Timestamp(*unit, None)).map_err(arrow)?;
            let labelled = ticks.to_data().into_builder().data_type(to.clone());
            make_array(labelled.build().map_err(arrow)?)
        }
        _ => cast(array, to).map_err(arrow)?,
    };
    if converted.null_count() > array.null_count() {
        for row in 0..array.len() {
            if converted.is_null(row) && array.is_valid(row) {
                let text = array_value_to_string(array, row).unwrap_or_default();
                refuse(
                    row,
                    format!(
                        "column {name}: '{}' is out of range for {}",
                        cut(text.as_bytes(), 64),
                        type_name(to)
                    ),
                );
            }
        }
    }
    Ok(converted)
}

/// Text as a CSV file would be read.
fn parse_text(
    array: &ArrayRef,
    name: &str,
    to: &DataType,
    refuse: &mut dyn FnMut(usize, String),
) -> Result<ArrayRef> {
    let text = cast(array, &DataType::Utf8).map_err(windrow_core::Error::from)?;
    let mut column = Column::new(to, None)?;
    for (row, text) in text.as_string::<i32>().iter().enumerate() {
        let fits: Result<(), Fault> = match text {
            Some(text) => column.append_text(text.as_bytes()),
            None => {
                column.append_null();
                Ok(())
            }
        };
        if let Err(fault) = fits {
            column.truncate(row);
            let text = text.unwrap_or_default().as_bytes();
            let (RowFault::Parse(reason) | RowFault::Type(reason)) =
                RowFault::value(name, &column, text, fault);
            refuse(row, reason);
            column.append_null();
        }
    }
    Ok(column.finish()?)
}
