//! The connectors `file` and `stdin`: options, columns, and how they are opened.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use windrow_core::stream::{Sink, Source};

use super::file::{FileSource, expand};
use super::file_sink::{FileSink, FileSinkOptions};
use super::reading::{SOURCE_OPTIONS, SourceOptions};
use super::registry::{Connector, ConnectorKind, Pairs};
use super::stdin::StdinSource;
use crate::error::{Error, ErrorKind, Result};
use crate::format::encode::{EncodeOptions, encoder};
use crate::format::{FORMAT_OPTIONS, FormatOptions, infer};

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
        let paths = self.paths.clone();
        let schema = Some(self.schema.clone());
        let source = FileSource::open(paths, schema, &self.format, &self.options)?;
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

impl ConnectorKind for FileKind {
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let mut pairs = options.clone();
        let Some(path) = pairs.remove("path") else {
            return Err(
                Error::new(ErrorKind::Option, "connector 'file' needs the option path")
                    .help("a file or a pattern: path = 'data/*.csv'"),
            );
        };
        let (format, options, unknown) = read_options(&pairs)?;
        let paths = expand(&path)?;
        let schema = match declared {
            Some(declared) => declared,
            None => infer(&paths[0], &format)?,
        };
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
        encoder(options.format, &options.encode, schema)?;
        Ok(unknown)
    }

    fn option_names(&self) -> Vec<&'static str> {
        let sink = FileSinkOptions::NAMES
            .into_iter()
            .chain(EncodeOptions::NAMES);
        let source = FORMAT_OPTIONS.iter().chain(&SOURCE_OPTIONS).copied();
        source.chain(sink).collect()
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
            Some(declared) => (declared, Once::Unopened),
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
