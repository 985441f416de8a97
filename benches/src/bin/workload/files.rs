//! The files that all engines read.
//!
//! `uniform-10000000.arrow` holds a set whole; `uniform-2000000.csv` and its like hold its
//! first readings in other forms. A file is written beside and renamed: it is whole or absent.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use arrow::{csv, json};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use windrow_bench::{Names, SENSORS};

use crate::Result;
use crate::data::{Readings, Set};

/// Microseconds, always six digits: one form for all parsers.
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.6f";

/// How readings lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Arrow,
    ParquetZstd,
    ParquetSnappy,
    Csv,
    Ndjson,
}

impl Form {
    const ALL: [Self; 5] = [
        Self::Arrow,
        Self::ParquetZstd,
        Self::ParquetSnappy,
        Self::Csv,
        Self::Ndjson,
    ];

    fn ending(self) -> &'static str {
        match self {
            Self::Arrow => "arrow",
            Self::ParquetZstd => "zstd.parquet",
            Self::ParquetSnappy => "snappy.parquet",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    pub fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Ndjson)
    }
}

/// Where so many readings of a set lie.
pub fn path(dir: &Path, set: Set, rows: usize, form: Form) -> PathBuf {
    dir.join(format!("{}-{rows}.{}", set.name(), form.ending()))
}

/// Writes those of the files that are not there and, if names are given, whose name is
/// `SET.FORM` of one of them, as in `uniform.csv`.
pub fn write_missing(dir: &Path, rows: usize, text_rows: usize, names: &[String]) -> Result<()> {
    fs::create_dir_all(dir)?;
    for set in Set::ALL {
        let mut readings = None;
        for form in Form::ALL {
            let name = format!("{}.{}", set.name(), form.ending());
            let wanted = names.is_empty() || names.contains(&name);
            if !wanted || (form != Form::Arrow && set != Set::Uniform) {
                continue;
            }
            let count = if form.is_text() {
                text_rows
            } else {
                set.rows(rows)
            };
            let path = path(dir, set, count, form);
            if path.exists() {
                continue;
            }
            let readings = readings.get_or_insert_with(|| Readings::new(set, count));
            let part = path.with_extension("part");
            write(&part, form, readings, count)?;
            fs::rename(&part, &path)?;
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}

fn write(path: &Path, form: Form, readings: &Readings, rows: usize) -> Result<()> {
    let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let schema = readings.batch(0..0).schema();
    let mut batches = readings.batches(rows);
    match form {
        Form::Arrow => {
            let mut writer = FileWriter::try_new(file, &schema)?;
            batches.try_for_each(|batch| writer.write(&batch))?;
            writer.finish()?;
        }
        Form::ParquetZstd | Form::ParquetSnappy => {
            let compression = match form {
                Form::ParquetZstd => Compression::ZSTD(ZstdLevel::default()),
                _ => Compression::SNAPPY,
            };
            let properties = WriterProperties::builder().set_compression(compression);
            let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build()))?;
            batches.try_for_each(|batch| writer.write(&batch))?;
            writer.close()?;
        }
        Form::Csv => {
            let builder = csv::WriterBuilder::new().with_timestamp_format(TIME_FORMAT.into());
            let mut writer = builder.build(file);
            batches.try_for_each(|batch| writer.write(&batch))?;
        }
        Form::Ndjson => {
            let builder = json::WriterBuilder::new().with_timestamp_format(TIME_FORMAT.into());
            let mut writer = builder.build::<_, json::writer::LineDelimited>(file);
            batches.try_for_each(|batch| writer.write(&batch))?;
            writer.finish()?;
        }
    }
    Ok(())
}

/// The first `first` readings of a file in memory, the sensors named in this way.
pub fn load(path: &Path, names: Names, first: usize) -> Result<Vec<RecordBatch>> {
    let file = File::open(path)
        .map_err(|error| format!("{}: {error}; `workload data` writes it", path.display()))?;
    let dictionary: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..SENSORS).map(|sensor| format!("sensor-{sensor:04}")),
    ));
    let mut left = first;
    let mut batches = Vec::new();
    for batch in FileReader::try_new(file, None)? {
        let batch = batch?;
        let batch = batch.slice(0, left.min(batch.num_rows()));
        if batch.num_rows() == 0 {
            break;
        }
        left -= batch.num_rows();
        batches.push(named(&batch, names, &dictionary)?);
    }
    match left {
        0 => Ok(batches),
        _ => Err(format!("{} has {left} rows too few", path.display()).into()),
    }
}

fn named(batch: &RecordBatch, names: Names, dictionary: &ArrayRef) -> Result<RecordBatch> {
    let texts = batch.column(1).as_string::<i32>();
    let numbers = || -> Result<Vec<i32>> {
        let digits = |text: &str| Ok(text.trim_start_matches("sensor-").parse()?);
        texts
            .iter()
            .map(|text| digits(text.unwrap_or_default()))
            .collect()
    };
    let sensor: ArrayRef = match names {
        Names::Text => Arc::new(texts.clone()),
        Names::Number => Arc::new(Int64Array::from_iter_values(
            numbers()?.into_iter().map(i64::from),
        )),
        Names::Dictionary => Arc::new(DictionaryArray::try_new(
            Int32Array::from(numbers()?),
            dictionary.clone(),
        )?),
    };
    Ok(RecordBatch::try_from_iter([
        ("ts", batch.column(0).clone()),
        ("sensor", sensor),
        ("pm25", batch.column(2).clone()),
        ("temp", batch.column(3).clone()),
    ])?)
}

/// Bytes of the columns that a query reads, for each row.
pub fn bytes_per_row(names: Option<Names>) -> f64 {
    const NAME_BYTES: f64 = 11.0;
    // The time and one value.
    16.0 + match names {
        None => 0.0,
        Some(Names::Text) => 4.0 + NAME_BYTES,
        Some(Names::Number) => 8.0,
        Some(Names::Dictionary) => 4.0,
    }
}
