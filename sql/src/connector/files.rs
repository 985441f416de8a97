//! The connectors `file` and `stdin`: options, columns, and how they are opened.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use windrow_core::stream::{Sink, Source};

use super::file::{FileSource, expand};
use super::file_sink::{FileSink, FileSinkOptions};
use super::follow::Following;
use super::follow_options::{FOLLOW_OPTIONS, FollowOptions};
use super::reading::{SOURCE_OPTIONS, SourceOptions};
use super::registry::{Connector, ConnectorKind, Pairs, Wanted};
use super::stdin::StdinSource;
use super::target::identity;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::format::encode::EncodeOptions;
use crate::format::names::{find, missing};
use crate::format::sample::{column_names, infer_all};
use crate::format::{FORMAT_OPTIONS, Format, FormatOptions};

/// The connector `file`.
#[derive(Debug)]
pub(super) struct FileKind;

/// The connector `stdin`.
#[derive(Debug)]
pub(super) struct StdinKind;

#[derive(Debug)]
struct Files {
    paths: Vec<PathBuf>,
    schema: SchemaRef,
    format: FormatOptions,
    options: SourceOptions,
}

impl Connector for Files {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn partitions(&self) -> u32 {
        self.paths.len() as u32
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        let all = vec![true; self.schema.fields().len()];
        self.open_for(&Wanted {
            columns: all,
            passing: None,
        })
    }

    fn passes_over(&self) -> bool {
        let format = |path| self.format.resolve(path).map(|(format, _)| format);
        (self.paths.iter()).any(|path| matches!(format(path), Ok(Format::Parquet)))
    }

    fn open_for(&self, wanted: &Wanted) -> Result<Box<dyn Source>> {
        let (paths, schema) = (self.paths.clone(), self.schema.clone());
        let source = FileSource::open_for(paths, schema, &self.format, &self.options, wanted)?;
        Ok(Box::new(source))
    }
}

/// The format's and the reader's options, and what neither knows.
fn read_options(pairs: &Pairs) -> Result<(FormatOptions, SourceOptions, Vec<String>)> {
    let (format, rest) = FormatOptions::from_pairs(pairs)?;
    let rest: Pairs = (pairs.iter())
        .filter(|(name, _)| rest.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let (options, unknown) = SourceOptions::from_pairs(&rest)?;
    Ok((format, options, unknown))
}

/// Refuses `path.COLUMN` for a column that is not declared.
pub(super) fn check_paths(format: &FormatOptions, declared: &SchemaRef) -> Result<()> {
    let unknown = (format.paths.keys()).find(|column| declared.index_of(column).is_err());
    let Some(column) = unknown else {
        return Ok(());
    };
    let error = Error::new(
        ErrorKind::Option,
        format!("the option path.{column} is for a column that is not declared"),
    );
    let names = declared.fields().iter().map(|field| field.name().as_str());
    Err(match nearest(column, names) {
        Some(meant) => error.help(format!("did you mean path.{meant}?")),
        None => error.help(format!(
            "declare the column {column}, or leave the option out"
        )),
    })
}

/// Refuses a declared column that no file has, where the files say which they have.
fn check_columns(paths: &[PathBuf], format: &FormatOptions, declared: &SchemaRef) -> Result<()> {
    let mut left: Vec<&str> = (declared.fields().iter())
        .map(|field| field.name().as_str())
        .collect();
    let mut first = None;
    for path in paths {
        let Some(names) = column_names(path, format)? else {
            return Ok(());
        };
        let theirs: Vec<&str> = names.iter().map(String::as_str).collect();
        left.retain(|column| find(&theirs, column).is_none());
        if left.is_empty() {
            return Ok(());
        }
        if !names.is_empty() {
            first.get_or_insert((path, names));
        }
    }
    match (left.first(), first) {
        // Where no column is there the reader has more to say.
        (Some(column), Some((path, names))) if left.len() < declared.fields().len() => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Err(missing(&path.display().to_string(), &names, column))
        }
        _ => Ok(()),
    }
}

impl ConnectorKind for FileKind {
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let mut pairs = options.clone();
        let Some(path) = pairs.remove("path") else {
            let error = Error::new(ErrorKind::Option, "connector 'file' needs the option path");
            return Err(match nearest("path", pairs.keys().map(String::as_str)) {
                Some(written) => error.help(format!("write path instead of {written}")),
                None => error.help("a file or a pattern: path = 'data/*.csv'"),
            });
        };
        let (follow, pairs) = FollowOptions::from_pairs(&pairs)?;
        let (mut format, options, unknown) = read_options(&pairs)?;
        let paths = match &follow {
            None => expand(&path)?,
            Some(follow) => {
                follow.limit_lines(&pairs, &mut format);
                follow.expand(&path, &format)?
            }
        };
        let formats = (paths.iter())
            .map(|path| Ok(format.resolve(path)?.0))
            .collect::<Result<Vec<_>>>()?;
        FormatOptions::check_use(&formats, &pairs)?;
        let schema = match declared {
            Some(declared) => {
                check_paths(&format, &declared)?;
                check_columns(&paths, &format, &declared)?;
                declared
            }
            None if paths.is_empty() => {
                let message = format!("no file matches '{path}' yet, to infer the columns from");
                return Err(Error::new(ErrorKind::Plan, message).help(
                    "declare them: CREATE STREAM name (ts TIMESTAMP, value DOUBLE, …) WITH (…)",
                ));
            }
            None => infer_all(&paths, &format)?,
        };
        if let Some(follow) = follow {
            let following = Following {
                pattern: path,
                paths,
                schema,
                format,
                options,
                follow,
            };
            return Ok((Arc::new(following), unknown));
        }
        let files = Files {
            paths,
            schema,
            format,
            options,
        };
        Ok((Arc::new(files), unknown))
    }

    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        let (options, unknown) = FileSinkOptions::from_pairs(options)?;
        Ok((Box::new(FileSink::create(options, schema)?), unknown))
    }

    fn check_sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<Vec<String>> {
        let (options, unknown) = FileSinkOptions::from_pairs(options)?;
        options.check(schema)?;
        Ok(unknown)
    }

    fn sink_place(&self, options: &Pairs) -> Option<String> {
        let place = identity(Path::new(options.get("path")?));
        Some(place.to_string_lossy().into_owned())
    }

    fn option_names(&self) -> Vec<&'static str> {
        let source = FORMAT_OPTIONS.iter().chain(&SOURCE_OPTIONS);
        let source = source.chain(&FOLLOW_OPTIONS).copied();
        ["path"].into_iter().chain(source).collect()
    }

    fn sink_option_names(&self) -> Vec<&'static str> {
        let own = FileSinkOptions::NAMES.into_iter();
        own.chain(EncodeOptions::NAMES).collect()
    }
}

#[derive(Debug)]
struct Stdin {
    schema: SchemaRef,
    format: FormatOptions,
    options: SourceOptions,
    /// Where columns were inferred, the pipe has been opened for that already.
    opened: Mutex<Once>,
}

#[derive(Debug)]
enum Once {
    Unopened,
    Opened(StdinSource),
    Taken,
}

impl Connector for Stdin {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *opened, Once::Taken) {
            Once::Unopened => {
                let schema = Some(self.schema.clone());
                let source = StdinSource::stdin(schema, &self.format, &self.options)?;
                Ok(Box::new(source))
            }
            Once::Opened(source) => Ok(Box::new(source)),
            Once::Taken => Err(Error::new(
                ErrorKind::Io,
                "the standard input can be read once only, and has been",
            )
            .help("put all queries over it in one script: they share one reading")),
        }
    }
}

impl ConnectorKind for StdinKind {
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let (format, options, unknown) = read_options(options)?;
        let (schema, opened) = match declared {
            Some(declared) => {
                check_paths(&format, &declared)?;
                (declared, Once::Unopened)
            }
            None => {
                let source = StdinSource::stdin(None, &format, &options)?;
                (source.schema(), Once::Opened(source))
            }
        };
        let stdin = Stdin {
            schema,
            format,
            options,
            opened: Mutex::new(opened),
        };
        Ok((Arc::new(stdin), unknown))
    }

    fn sink(&self, _: &Pairs, _: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        Err(
            Error::new(ErrorKind::Option, "connector 'stdin' takes no rows")
                .help("write to 'stdout' or 'file'"),
        )
    }

    fn option_names(&self) -> Vec<&'static str> {
        FORMAT_OPTIONS
            .iter()
            .chain(&SOURCE_OPTIONS)
            .copied()
            .collect()
    }
}
