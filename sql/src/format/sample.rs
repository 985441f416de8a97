//! The columns of files, from a sample of each.
//!
//! ```text
//!  ├─ head ─┤      ├┤      ├┤      ├┤      ├┤  … 48 blocks, the last at the end
//! ```
//!
//! A file that is longer than its sample is looked at all along, so that what changes
//! later, such as a sensor's whole numbers that become fractions, is seen. All files of a
//! pattern count: a column is what the values of all of them fit, and a column that only
//! some files have is one too.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::columnar::{ParquetFile, arrow_schema, shown};
use super::csv::line_feeds;
use super::infer::{Seen, no_rows};
use super::options::{Compression, Format, FormatOptions};
use super::reader::decompress;
use super::text::TextFormat;
use crate::error::{Error, ErrorKind, Result};

/// Of many files so many times `sample_rows` rows are looked at in all.
const SAMPLES: usize = 4;

/// Of each file at least so many rows are looked at, if `sample_rows` allows it.
const FILE_ROWS_MIN: usize = 64;

/// So many places of a file are looked at behind its head.
const BLOCKS: usize = 48;

/// The length of a line is estimated from so many bytes.
const ESTIMATE_BYTES: u64 = 64 << 10;

/// No more of a file is read at one place.
const BLOCK_BYTES_MAX: u64 = 256 << 10;

/// The columns of a file.
///
/// Of a text, `sample_rows` rows are looked at; the other formats say what they hold.
/// Every column may be NULL.
///
/// # Errors
/// If the file cannot be read, is of no known format or holds nothing to infer columns
/// from.
pub fn infer(path: &Path, options: &FormatOptions) -> Result<SchemaRef> {
    infer_all(&[path.to_owned()], options)
}

/// The columns of several files. Files without rows are passed over.
///
/// # Errors
/// If a file cannot be read or is of no known format, or all of them hold nothing to infer
/// columns from.
pub(crate) fn infer_all(paths: &[PathBuf], options: &FormatOptions) -> Result<SchemaRef> {
    let share = (SAMPLES * options.sample_rows / paths.len().max(1))
        .max(FILE_ROWS_MIN)
        .min(options.sample_rows);
    let mut seen = Seen::default();
    let mut columns: Vec<FieldRef> = Vec::new();
    for path in paths {
        let (format, compression) = options.resolve(path)?;
        refuse_pipe(path)?;
        let empty = (path.metadata()).is_ok_and(|file| file.is_file() && file.len() == 0);
        match format {
            _ if empty => {}
            Format::Parquet => add_columns(&mut columns, ParquetFile::open(path)?.schema()),
            Format::Arrow => add_columns(&mut columns, &*arrow_schema(path)?),
            _ => {
                let text = TextFormat {
                    format,
                    options: Arc::new(options.clone()),
                    delimiter: options.delimiter_of(path),
                };
                look(&mut seen, path, compression, &text, share)?;
            }
        }
    }
    let of_text = Schema::new(seen.fields(options));
    add_columns(&mut columns, &of_text);
    match (columns.is_empty(), paths) {
        (false, _) => Ok(Arc::new(Schema::new(columns))),
        (true, [first, ..]) => Err(no_rows(&shown(first))),
        (true, []) => Err(Error::new(ErrorKind::Io, "there is no file to read")),
    }
}

/// Adds the columns of a file to those of the files before it.
fn add_columns(columns: &mut Vec<FieldRef>, theirs: &Schema) {
    for field in theirs.fields() {
        let field = Arc::new(field.as_ref().clone().with_nullable(true));
        let known = columns
            .iter_mut()
            .find(|known| known.name() == field.name());
        match known {
            None => columns.push(field),
            Some(known) => {
                let (old, new) = (known.data_type(), field.data_type());
                let wider = match old {
                    DataType::Null => Some(new.clone()),
                    _ if old.is_integer() && new.is_floating() => Some(DataType::Float64),
                    DataType::Float32 if *new == DataType::Float64 => Some(DataType::Float64),
                    _ => None,
                };
                if let Some(wider) = wider {
                    *known = Arc::new(Field::new(field.name(), wider, true));
                }
            }
        }
    }
}

/// A pipe gives its bytes once: what is looked at would be missing.
fn refuse_pipe(path: &Path) -> Result<()> {
    if path.metadata().is_ok_and(|file| !file.is_file()) {
        let message = format!("{} can be read only once", path.display());
        return Err(Error::new(ErrorKind::Unsupported, message).help(format!(
            "send it to stdin, FROM stdin … < {}, or declare its columns in CREATE STREAM",
            path.display()
        )));
    }
    Ok(())
}

/// The names of the columns that a file has; `None` where it does not say. A file that
/// holds nothing has none.
///
/// # Errors
/// If the file cannot be read or is of no known format.
pub(crate) fn column_names(path: &Path, options: &FormatOptions) -> Result<Option<Vec<String>>> {
    let names = |schema: &Schema| -> Vec<String> {
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.collect()
    };
    let (format, compression) = options.resolve(path)?;
    let file = path.metadata().ok().filter(|file| file.is_file());
    match (format, file) {
        (_, None) => Ok(None),
        (_, Some(file)) if file.len() == 0 => Ok(Some(Vec::new())),
        (Format::Parquet, _) => Ok(Some(names(ParquetFile::open(path)?.schema()))),
        (Format::Arrow, _) => Ok(Some(names(&*arrow_schema(path)?))),
        (Format::Csv, _) if options.header => {
            let text = TextFormat {
                format,
                options: Arc::new(options.clone()),
                delimiter: options.delimiter_of(path),
            };
            let failed = |error: io::Error| {
                Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).caused_by(error)
            };
            let file = File::open(path).map_err(failed)?;
            let reader = decompress(Box::new(file), compression).map_err(failed)?;
            let mut seen = Seen::default();
            seen.read(reader, &text, &shown(path), 1)?;
            let fields = seen.fields(&FormatOptions::default());
            Ok(Some(names(&Schema::new(fields))))
        }
        _ => Ok(None),
    }
}

/// Looks at about `rows` rows of a text, all along it.
fn look(
    seen: &mut Seen,
    path: &Path,
    compression: Compression,
    text: &TextFormat,
    rows: usize,
) -> Result<()> {
    let failed = |error: io::Error| {
        Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).caused_by(error)
    };
    let mut file = File::open(path).map_err(failed)?;
    let len = (file.metadata().ok())
        .filter(|file| file.is_file())
        .map_or(0, |file| file.len());
    // Places within a document, or within what is compressed, cannot be found.
    let by_lines = compression == Compression::None && text.format != Format::Json;
    let line_bytes = match by_lines && len > 0 {
        true => line_bytes(&mut file).map_err(failed)?,
        false => 0,
    };
    let whole = line_bytes * rows as u64 >= len || rows < BLOCKS * 2 || line_bytes == 0;
    let head = if whole { rows } else { rows / 4 };
    let reader = decompress(Box::new(file), compression).map_err(failed)?;
    let csv = seen.read(reader, text, &shown(path), head)?;
    if whole {
        return Ok(());
    }
    let mut file = File::open(path).map_err(failed)?;
    let block = (line_bytes * ((rows - head) / BLOCKS + 1) as u64).min(BLOCK_BYTES_MAX);
    let start = line_bytes * head as u64;
    let room = len.saturating_sub(start + block);
    for index in 0..BLOCKS as u64 {
        let at = start + room * index / (BLOCKS as u64 - 1);
        let lines = whole_lines(&mut file, at, block, len).map_err(failed)?;
        seen.read_lines(lines, text, csv.as_ref())?;
    }
    Ok(())
}

/// About how long a line is. The file is at its beginning again afterwards.
fn line_bytes(file: &mut File) -> io::Result<u64> {
    let mut bytes = Vec::new();
    file.take(ESTIMATE_BYTES).read_to_end(&mut bytes)?;
    file.rewind()?;
    Ok(bytes.len() as u64 / line_feeds(&bytes).max(1))
}

/// The lines that begin behind byte `at` and end before `at + block`.
fn whole_lines(file: &mut File, at: u64, block: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(block).read_to_end(&mut bytes)?;
    let end = match at + block >= len {
        true => bytes.len(),
        false => memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1),
    };
    bytes.truncate(end);
    let start = memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |start| start + 1);
    bytes.drain(..start);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::schema;
    use std::fs;

    #[test]
    fn fractions_far_behind_the_head_are_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("long.csv");
        let rows = |from: usize| {
            (0..100_000usize)
                .map(|row| match row >= from {
                    true => format!("\"s\",{row}.7\n"),
                    false => format!("\"s\",{row}\n"),
                })
                .collect::<String>()
        };
        for (from, expected) in [
            (60_000, DataType::Float64),
            (99_999, DataType::Float64),
            (100_000, DataType::Int64),
        ] {
            fs::write(&path, format!("s,v\n{}", rows(from))).expect("written");
            let inferred = infer(&path, &FormatOptions::default()).expect("rows");
            assert_eq!(inferred, schema(&[("s", DataType::Utf8), ("v", expected)]));
        }
    }

    #[test]
    fn all_files_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths: Vec<PathBuf> = ["", "a,b\n1,\n", "a,c\n2.5,x\n", "b\n7\n"]
            .into_iter()
            .enumerate()
            .map(|(index, text)| {
                let path = folder.path().join(format!("{index}.csv"));
                fs::write(&path, text).expect("written");
                path
            })
            .collect();
        let inferred = infer_all(&paths, &FormatOptions::default()).expect("rows");
        let expected = schema(&[
            ("a", DataType::Float64),
            ("b", DataType::Int64),
            ("c", DataType::Utf8),
        ]);
        assert_eq!(inferred, expected);
        infer_all(&paths[..1], &FormatOptions::default()).expect_err("no rows");
    }
}
