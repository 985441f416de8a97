//! How the columns of a query become those of what is written to.
//!
//! Columns go by place, or by the list of names behind INSERT INTO; values are converted
//! to the declared types. A value that has no equal there fails the query.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use windrow_core::error::Result as CoreResult;
use windrow_core::stream::{LeftOut, Sink};

use super::shared::whole;
use crate::dialect::Name;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::format::column::type_name;

/// Where a sink's columns come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    /// The columns of the sink.
    pub(super) schema: SchemaRef,
    /// The query's column of each; `None`: NULL.
    places: Vec<Option<usize>>,
}

/// What columns are fitted to.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// The noun and the name, for errors.
    pub(super) what: &'a str,
    /// The declared columns, if there are any.
    pub(super) declared: Option<&'a SchemaRef>,
    /// The list of names behind INSERT INTO.
    pub(super) listed: &'a [Name],
    /// The query.
    pub(super) span: Range<usize>,
}

impl Wanted<'_> {
    /// Fits a query that gives these columns.
    pub(super) fn fit(&self, given: &SchemaRef) -> Result<Fit> {
        let names = listed_names(self.what, self.listed, self.declared)?;
        let Some(declared) = self.declared else {
            let names = names.unwrap_or_else(|| names_of(given));
            self.same_number(&names, given)?;
            let fields: Vec<Field> = (names.iter().zip(given.fields()))
                .map(|(name, field)| field.as_ref().clone().with_name(name))
                .collect();
            return Ok(Fit {
                schema: std::sync::Arc::new(Schema::new(fields)),
                places: (0..names.len()).map(Some).collect(),
            });
        };
        let names = names.unwrap_or_else(|| names_of(declared));
        self.same_number(&names, given)?;
        let mut places = Vec::with_capacity(declared.fields().len());
        for field in declared.fields() {
            let place = names.iter().position(|name| name == field.name());
            if let Some(place) = place {
                let from = given.field(place).data_type();
                if !can_cast_types(from, field.data_type()) {
                    let message = format!(
                        "column {} of {} is {}, the query gives {}",
                        field.name(),
                        self.what,
                        type_name(field.data_type()),
                        type_name(from)
                    );
                    let span = (self.listed.get(place)).map_or(&self.span, |name| &name.span);
                    return Err(Error::new(ErrorKind::Plan, message)
                        .help("convert it in the query with CAST, or declare another type")
                        .at(span.clone()));
                }
            }
            places.push(place);
        }
        Ok(Fit {
            schema: declared.clone(),
            places,
        })
    }

    fn same_number(&self, names: &[String], given: &SchemaRef) -> Result<()> {
        let width = given.fields().len();
        if width == names.len() {
            return Ok(());
        }
        let message = format!(
            "the query gives {}, but {} {}: {}",
            columns(width),
            self.what,
            match self.listed.is_empty() {
                true => format!("has {}", names.len()),
                false => format!("is to take {}", names.len()),
            },
            names.join(", ")
        );
        Err(Error::new(ErrorKind::Plan, message)
            .help("give one value for each column; INSERT INTO name (column, …) lists some of them")
            .at(self.span.clone()))
    }
}

fn columns(number: usize) -> String {
    match number {
        1 => "1 column".to_owned(),
        number => format!("{number} columns"),
    }
}

fn names_of(schema: &SchemaRef) -> Vec<String> {
    let fields = schema.fields().iter();
    fields.map(|field| field.name().clone()).collect()
}

/// The names of a list of columns; `None` if there is no list.
///
/// # Errors
/// If a name stands twice, or is not among the columns that are there.
pub(super) fn listed_names(
    what: &str,
    listed: &[Name],
    there: Option<&SchemaRef>,
) -> Result<Option<Vec<String>>> {
    if listed.is_empty() {
        return Ok(None);
    }
    let mut names: Vec<String> = Vec::with_capacity(listed.len());
    for column in listed {
        if names.contains(&column.value) {
            let message = format!("column {} is named twice", column.value);
            return Err(Error::new(ErrorKind::Plan, message)
                .help("name each column once, in the order of the values")
                .at(column.span.clone()));
        }
        if let Some(there) = there
            && there.column_with_name(&column.value).is_none()
        {
            let known = names_of(there);
            let message = format!("{what} has no column {}", column.value);
            let error = Error::new(ErrorKind::Plan, message).at(column.span.clone());
            return Err(
                match nearest(&column.value, known.iter().map(String::as_str)) {
                    Some(meant) => error.help(format!("did you mean {meant}?")),
                    None => error.help(format!("the columns are {}", known.join(", "))),
                },
            );
        }
        names.push(column.value.clone());
    }
    Ok(Some(names))
}

impl Fit {
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = (self.schema.fields().iter().zip(&self.places))
            .map(|(field, place)| match place {
                Some(place) => converted(rows.column(*place), field),
                None => Ok(new_null_array(field.data_type(), rows.num_rows())),
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }
}

/// A column with a declared type.
///
/// # Errors
/// If a value has no equal there.
fn converted(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(column.clone());
    }
    let unfit = |value: &str| {
        let message = format!(
            "{value} does not fit column {}, which is {}",
            field.name(),
            type_name(field.data_type())
        );
        Error::new(ErrorKind::Data, message)
            .help("leave it out with WHERE, or write TRY_CAST for NULL in its place")
    };
    // What does not fit is NULL, and is looked for then: nearly always there is none.
    let converted = cast(column, field.data_type()).map_err(|_| {
        unfit(&format!(
            "a value of type {}",
            type_name(column.data_type())
        ))
    })?;
    let (before, after) = (column.logical_nulls(), converted.logical_nulls());
    let nulls = |nulls: &Option<arrow::buffer::NullBuffer>| {
        nulls.as_ref().map_or(0, |nulls| nulls.null_count())
    };
    if nulls(&after) > nulls(&before) {
        let was_valid = |row: usize| before.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let lost = (0..column.len())
            .find(|row| was_valid(*row) && after.as_ref().is_some_and(|nulls| nulls.is_null(*row)));
        let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default());
        let value = match (lost, &formatter) {
            (Some(row), Ok(formatter)) => formatter.value(row).try_to_string().unwrap_or_default(),
            _ => "a value".to_owned(),
        };
        return Err(match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                unfit(&format!("'{value}'"))
            }
            _ => unfit(&value),
        });
    }
    Ok(converted)
}

/// The name of the sink whose output is being completed, if one is.
pub(super) type Closing = Arc<Mutex<Option<String>>>;

/// A sink that is given rows as a query gives them; its errors name it.
pub(super) struct FittedSink {
    name: String,
    closing: Closing,
    /// `None`: the rows fit as they are.
    fit: Option<Fit>,
    sink: Box<dyn Sink>,
}

impl FittedSink {
    /// A sink called `name` for a query that gives `given`. While its output is completed,
    /// `closing` says so.
    pub(super) fn over(
        name: &str,
        closing: &Closing,
        sink: Box<dyn Sink>,
        fit: Fit,
        given: &SchemaRef,
    ) -> Box<dyn Sink> {
        let in_place = (fit.places.iter().enumerate()).all(|(at, place)| *place == Some(at));
        Box::new(Self {
            name: name.to_owned(),
            closing: closing.clone(),
            fit: (!in_place || fit.schema != *given).then_some(fit),
            sink,
        })
    }

    /// As [`FittedSink::named`], of what may take long.
    fn closed<T>(&mut self, act: impl FnOnce(&mut dyn Sink) -> CoreResult<T>) -> CoreResult<T> {
        *whole(&self.closing) = Some(self.name.clone());
        let done = self.named(act);
        *whole(&self.closing) = None;
        done
    }

    /// Has the sink do something. Queries may have several sinks, and scripts several queries:
    /// an error tells which one it was.
    fn named<T>(&mut self, act: impl FnOnce(&mut dyn Sink) -> CoreResult<T>) -> CoreResult<T> {
        act(&mut *self.sink).map_err(|error| {
            let error = Error::from(error);
            let message = format!("sink {}: {}", self.name, error.message());
            error.worded(message).into()
        })
    }
}

impl fmt::Debug for FittedSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FittedSink")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

impl Sink for FittedSink {
    fn watch(&mut self, stop: &Arc<AtomicBool>) {
        self.sink.watch(stop);
    }

    fn has_room(&self) -> bool {
        self.sink.has_room()
    }

    fn write(&mut self, records: &RecordBatch) -> CoreResult<()> {
        let fitted = match &self.fit {
            Some(fit) => fit.apply(records)?,
            None => return self.named(|sink| sink.write(records)),
        };
        self.named(|sink| sink.write(&fitted))
    }

    fn flush(&mut self) -> CoreResult<()> {
        self.named(|sink| sink.flush())
    }

    fn tick(&mut self) -> CoreResult<()> {
        self.named(|sink| sink.tick())
    }

    fn stop(&mut self) -> CoreResult<Option<String>> {
        self.closed(|sink| sink.stop())
    }

    fn left_out(&self) -> Option<LeftOut> {
        self.sink.left_out()
    }

    fn leave(&mut self) -> CoreResult<()> {
        self.closed(|sink| sink.leave())
    }

    fn finish(&mut self) -> CoreResult<()> {
        self.closed(|sink| sink.finish())
    }

    fn abort(&mut self) {
        self.sink.abort();
    }
}
