//! The rows of statements on their way to stdout.

use std::io::{BufWriter, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::pipe::{Pipe, reason};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;
use crate::format::encode::{EncodeOptions, OutputFormat, encoder};
use crate::session::ResultHandler;

/// Bytes that are gathered before they are handed over.
const BUFFER_BYTES: usize = 1 << 16;

/// Writes the rows of each statement in one format.
pub(super) struct Output {
    format: OutputFormat,
    options: EncodeOptions,
    out: BufWriter<Pipe>,
    /// The encoder of the statement whose rows are under way.
    encoder: Option<Box<dyn Encoder>>,
    /// Statements that have begun.
    statements: u64,
}

impl Output {
    /// `width`: the columns of the terminal, if it is one.
    pub(super) fn new(format: OutputFormat, width: Option<u16>, pipe: Pipe) -> Self {
        let mut options = EncodeOptions {
            width,
            ..EncodeOptions::default()
        };
        if format == OutputFormat::Table {
            options.null_value = "NULL".into();
        }
        Self {
            format,
            options,
            out: BufWriter::with_capacity(BUFFER_BYTES, pipe),
            encoder: None,
            statements: 0,
        }
    }

    /// Closes what is open and waits until it is written.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn close(&mut self) -> Result<()> {
        self.end()?;
        self.out.get_ref().drain().map_err(unwritten)
    }
}

impl ResultHandler for Output {
    fn begin(&mut self, schema: &SchemaRef) -> Result<()> {
        if self.statements > 0 {
            if self.format.is_binary() {
                let message = format!("{} holds the rows of one query only", self.format);
                return Err(Error::new(ErrorKind::Option, message)
                    .help("run the queries one by one, or use CREATE SINK for each"));
            }
            // The rows of several statements stand apart where they have a header.
            if !matches!(
                self.format,
                OutputFormat::Json | OutputFormat::Ndjson | OutputFormat::Line
            ) {
                self.out.write_all(b"\n").map_err(unwritten)?;
            }
        }
        self.statements += 1;
        self.encoder = Some(encoder(self.format, &self.options, schema)?);
        Ok(())
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.encoder {
            Some(encoder) => encoder.encode(rows, &mut self.out),
            None => Err(Error::new(
                ErrorKind::Internal,
                "rows came before their statement has begun",
            )),
        }
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut encoder) = self.encoder.take() {
            encoder.finish(&mut self.out)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(unwritten)
    }
}

/// The error of rows that could not be written.
pub(super) fn unwritten(error: std::io::Error) -> Error {
    let message = format!("the rows cannot be written: {}", reason(&error));
    Error::new(ErrorKind::Io, message).caused_by(error)
}
