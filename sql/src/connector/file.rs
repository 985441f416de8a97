//! Files as a source: one, or all that match a pattern.
//!
//! Files are read one after the other in the order of their names, each as a partition;
//! within a file rows keep their order. Chunks of text, parts of Parquet and record batches
//! of Arrow are parsed at the same time, also across files.

use std::fs::{self, File};
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use glob::MatchOptions;
use windrow_core::stream::{Backlog, Source, SourceEvent};

use super::reading::{Reading, RowFeed, SourceOptions};
use super::registry::Wanted;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::format::adapt::Adapter;
use crate::format::arrow_file::ArrowFile;
use crate::format::columnar::{
    ParquetFile, arrow_schema, open, pass_over, read_arrow_stream, shown,
};
use crate::format::fitted::Fitted;
use crate::format::reader::{Counted, decompress};
use crate::format::sample::infer_all;
use crate::format::text::{TextFormat, TextReader};
use crate::format::{Compression, Format, FormatOptions};

/// A row group of Parquet is read as a whole up to so many rows: each part of it decodes
/// the dictionaries of its columns anew, which costs more than a second thread brings.
const PART_ROWS_MIN: usize = 1 << 20;

/// The files that a path, a folder or a pattern stands for, in the order of their names.
///
/// - A file that is there stands for itself, even if its name looks like a pattern.
/// - A folder stands for the files in it whose names tell a format, not for those in
///   folders below it; names that begin with `.` or `_` are passed over.
/// - `*`, `?` and `[…]` match within a folder, `**` matches folders of any depth; none
///   of them matches a `.` at the beginning of a name.
///
/// # Errors
/// If there is no such file: names the nearest one.
pub fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let files = matching(pattern)?;
    let path = Path::new(pattern);
    match (files.is_empty(), path.is_dir()) {
        (false, _) => Ok(files),
        (true, true) => Err(Error::new(
            ErrorKind::Io,
            format!("the folder {pattern} holds no file of a known format"),
        )
        .help(format!(
            "name the files with a pattern, for example '{}/*'",
            pattern.trim_end_matches('/')
        ))),
        (true, false) => Err(not_found(path)),
    }
}

/// As [`expand`], where there may be none.
pub(super) fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    // A pipe or a device can be read, too.
    if path.exists() && !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if path.is_dir() {
        let mut files = list(path)?;
        files.retain(|file| FormatOptions::default().resolve(file).is_ok());
        return Ok(files);
    }
    if !pattern.contains(['*', '?', '[']) {
        return Ok(Vec::new());
    }
    let options = MatchOptions {
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    let matches = glob::glob_with(pattern, options).map_err(|error| {
        Error::new(
            ErrorKind::Option,
            format!("'{pattern}' is no pattern of file names: {error}"),
        )
    })?;
    let mut files = Vec::new();
    for entry in matches {
        let file = entry.map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("{}: {}", error.path().display(), error.error()),
            )
        })?;
        // A link may lead nowhere.
        if file.exists() && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The files of a folder that are not hidden, in the order of their names.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("{}: {error}", folder.display())).caused_by(error)
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let hidden = entry.file_name().to_string_lossy().starts_with(['.', '_']);
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// That no file matches, with the one that may have been meant.
pub(super) fn not_found(path: &Path) -> Error {
    let error = Error::new(
        ErrorKind::Io,
        format!("no file matches '{}'", path.display()),
    );
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return error,
    };
    if folder.to_string_lossy().contains(['*', '?', '[']) {
        return error;
    }
    if !folder.is_dir() {
        return error.help(format!("there is no folder {}", folder.display()));
    }
    let files = list(folder).unwrap_or_default();
    let names: Vec<String> = (files.iter().filter_map(|file| file.file_name()))
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(name) => error.help(format!(
            "did you mean '{}'?",
            path.with_file_name(name).display()
        )),
        None if names.is_empty() => {
            error.help(format!("the folder {} holds no files", folder.display()))
        }
        None => {
            let some: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
            let more = if names.len() > some.len() {
                ", …"
            } else {
                ""
            };
            error.help(format!(
                "{} holds {}{more}",
                folder.display(),
                some.join(", ")
            ))
        }
    }
}

/// Rows of files.
#[derive(Debug)]
pub struct FileSource {
    reading: Reading,
    partitions: u32,
    bytes_total: Option<u64>,
}

impl FileSource {
    /// The rows of `paths`, each a partition, in the order of their names.
    ///
    /// - `schema`: the columns to read. They are found by name; what a file does not
    ///   have is NULL, what is not named here is passed over. `None`: inferred from a
    ///   sample of all files.
    ///
    /// Every column of [`Source::schema`] is nullable: where NULL is not allowed is
    /// decided where rows are accepted. Nothing is read before the first poll but what
    /// the columns are inferred from.
    ///
    /// # Errors
    /// If a file is missing, is of no known format, or has no columns to infer.
    pub fn open(
        paths: Vec<PathBuf>,
        schema: Option<SchemaRef>,
        format: &FormatOptions,
        options: &SourceOptions,
    ) -> Result<Self> {
        Self::reading(paths, schema, format, options, None)
    }

    /// As [`FileSource::open`], without columns that are not wanted where the format lets
    /// them be passed over: they are NULL.
    ///
    /// # Errors
    /// As [`FileSource::open`].
    pub fn open_for(
        paths: Vec<PathBuf>,
        schema: SchemaRef,
        format: &FormatOptions,
        options: &SourceOptions,
        wanted: &Wanted,
    ) -> Result<Self> {
        Self::reading(paths, Some(schema), format, options, Some(wanted.clone()))
    }

    fn reading(
        mut paths: Vec<PathBuf>,
        schema: Option<SchemaRef>,
        format: &FormatOptions,
        options: &SourceOptions,
        wanted: Option<Wanted>,
    ) -> Result<Self> {
        paths.sort();
        let mut bytes_total = Some(0);
        for path in &paths {
            if path.is_dir() || !path.exists() {
                return Err(not_found(path));
            }
            format.resolve(path)?;
            // The size of a pipe is not known.
            let size = path.metadata().ok().filter(fs::Metadata::is_file);
            bytes_total = bytes_total.zip(size).map(|(sum, size)| sum + size.len());
        }
        let schema = match schema {
            Some(schema) => schema,
            None => infer_all(&paths, format)?,
        };
        let partitions = u32::try_from(paths.len())
            .map_err(|_| Error::new(ErrorKind::Limit, "more than 4,294,967,295 files match"))?;
        let how = How {
            format: format.clone(),
            options: options.clone(),
            wanted,
        };
        let reading = Reading::new("file", &schema, options, move |feed| {
            for (partition, path) in (0..).zip(&paths) {
                if read_file(feed, partition, path, &how)?.is_break() {
                    break;
                }
            }
            Ok(())
        });
        Ok(Self {
            reading,
            partitions,
            bytes_total,
        })
    }
}

/// How files are read.
struct How {
    format: FormatOptions,
    options: SourceOptions,
    /// `None`: everything.
    wanted: Option<Wanted>,
}

fn is_empty(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

fn text_format(path: &Path, kind: Format, format: &FormatOptions) -> TextFormat {
    TextFormat {
        format: kind,
        delimiter: format.delimiter_of(path),
        options: Arc::new(format.clone()),
    }
}

/// Gives the rows of a file and its end to `feed`.
fn read_file(
    feed: &RowFeed<'_>,
    partition: u32,
    path: &Path,
    how: &How,
) -> Result<ControlFlow<()>> {
    let (format, batch_rows) = (&how.format, how.options.batch_rows);
    let (kind, compression) = format.resolve(path)?;
    let given = match kind {
        // An empty file holds no rows in any format.
        _ if is_empty(path) => Continue(()),
        Format::Parquet => {
            let file = Arc::new(ParquetFile::open(path)?);
            let adapter = Adapter::new(&shown(path), file.schema(), feed.schema.clone())?;
            let wanted = how.wanted.as_ref().map(|wanted| &*wanted.columns);
            let fitted = Fitted::new(file.clone(), adapter, file.schema(), wanted);
            let fitted = Arc::new(fitted);
            let parts = file.parts(PART_ROWS_MIN.max(batch_rows));
            let mut given = match parts.is_empty() {
                true => feed.bytes(partition, file.bytes()),
                false => Continue(()),
            };
            let passing = how
                .wanted
                .as_ref()
                .and_then(|wanted| wanted.passing.as_ref());
            let passed = passing.map(|passing| file.passed_over(fitted.whole(), passing));
            let passed = passed.map(Arc::new);
            for part in parts {
                let (file, fitted) = (file.clone(), fitted.clone());
                let passed = passed.clone().filter(|passed| part.is_passed(passed));
                given = feed.work(partition, 0, move |out| match passed {
                    Some(passed) => pass_over(&passed, part, batch_rows, out),
                    None => file.read(part, &fitted.adapter(), batch_rows, out),
                });
                if given.is_break() {
                    break;
                }
            }
            given
        }
        Format::Arrow => match ArrowFile::open(path)? {
            Some(file) => read_arrow_file(feed, partition, file, path, how)?,
            None => {
                let theirs = arrow_schema(path)?;
                let adapter = Adapter::new(&shown(path), &theirs, feed.schema.clone())?;
                let stream = open(path)?;
                feed.work(partition, 0, move |out| {
                    read_arrow_stream(Box::new(stream), &adapter, batch_rows, out)
                })
            }
        },
        _ => {
            let io = |error: std::io::Error| {
                Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).caused_by(error)
            };
            let read = Arc::new(AtomicU64::new(0));
            let file = Counted::new(File::open(path).map_err(io)?, read.clone());
            let text = text_format(path, kind, format);
            let shape = feed.shape(&text, &shown(path), batch_rows);
            if compression == Compression::None {
                let chunks = text.chunks(file, how.options.batch_bytes, false)?;
                feed.text(partition, TextReader::new(chunks, text, shape), &read)?
            } else {
                let reader = decompress(Box::new(file), compression).map_err(io)?;
                let chunks = text.chunks(reader, how.options.batch_bytes, false)?;
                feed.text(partition, TextReader::new(chunks, text, shape), &read)?
            }
        }
    };
    Ok(match given {
        Continue(()) => feed.end(partition),
        Break(()) => Break(()),
    })
}

/// Gives the rows of an Arrow IPC file to `feed`.
fn read_arrow_file(
    feed: &RowFeed<'_>,
    partition: u32,
    file: ArrowFile,
    path: &Path,
    how: &How,
) -> Result<ControlFlow<()>> {
    let (file, batch_rows) = (Arc::new(file), how.options.batch_rows);
    let adapter = Adapter::new(&shown(path), file.schema(), feed.schema.clone())?;
    let wanted = how.wanted.as_ref().map(|wanted| &*wanted.columns);
    let fitted = Arc::new(Fitted::new(file.clone(), adapter, file.schema(), wanted));
    let parts = file.parts(batch_rows);
    if parts.is_empty() {
        return Ok(feed.bytes(partition, file.bytes()));
    }
    for part in parts {
        let (file, fitted) = (file.clone(), fitted.clone());
        let given = feed.work(partition, 0, move |out| {
            file.read(part, &fitted.adapter(), batch_rows, out)
        });
        if given.is_break() {
            return Ok(given);
        }
    }
    Ok(Continue(()))
}

impl Source for FileSource {
    fn schema(&self) -> SchemaRef {
        self.reading.schema()
    }

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn poll(&mut self, wait: Duration) -> windrow_core::Result<SourceEvent> {
        self.reading.poll(wait)
    }

    fn backlog(&self) -> Option<Backlog> {
        self.reading.backlog()
    }

    fn waited(&self) -> Duration {
        self.reading.waited()
    }

    fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }
}
