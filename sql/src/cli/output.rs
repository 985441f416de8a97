//! The rows of queries on their way to stdout or a file.

use std::io::{self, ErrorKind as IoKind, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::args::OutputFormat;
use super::progress::Display;
use super::runner::{EncoderFactory, ResultHandler};
use super::table::{Style, TableEncoder};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;

/// Writes the rows of each query in one format.
pub(super) struct Output<'a> {
    format: OutputFormat,
    encoders: &'a EncoderFactory<'a>,
    display: Display,
    out: Pipe<'a>,
    /// The queries that have begun, by number.
    queries: Vec<Option<Query>>,
    /// The query whose rows were written last.
    last: Option<usize>,
}

struct Query {
    schema: SchemaRef,
    encoder: Box<dyn Encoder>,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        format: OutputFormat,
        encoders: &'a EncoderFactory<'a>,
        display: Display,
        out: &'a mut dyn Write,
    ) -> Self {
        Self {
            format,
            encoders,
            display,
            out: Pipe { out, closed: false },
            queries: vec![],
            last: None,
        }
    }

    /// Whether the reader has gone, so that there is nobody to write for.
    pub(super) fn is_closed(&self) -> bool {
        self.out.closed
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(match self.format {
            OutputFormat::Table => Box::new(TableEncoder::new(Style::Plain, schema)),
            OutputFormat::Markdown => Box::new(TableEncoder::new(Style::Markdown, schema)),
            format => (self.encoders)(format, schema)?,
        })
    }

    fn write(
        &mut self,
        query: usize,
        write: impl FnOnce(&mut dyn Encoder, &mut Pipe<'_>) -> Result<()>,
    ) -> Result<()> {
        let is_table = matches!(self.format, OutputFormat::Table | OutputFormat::Markdown);
        // Tables of several queries stand apart, each under its own header.
        let turns = is_table && self.last.is_some_and(|last| last != query);
        if turns {
            let schema = self.query(query)?.schema.clone();
            let encoder = self.encoder(&schema)?;
            self.query(query)?.encoder = encoder;
        }
        self.last = Some(query);
        let Self {
            display,
            out,
            queries,
            ..
        } = self;
        let encoder = &mut (queries[query].as_mut())
            .expect("checked by the callers: the query has begun")
            .encoder;
        display.suspend(|| {
            if turns {
                out.write_all(b"\n").map_err(unwritten)?;
            }
            write(encoder.as_mut(), out)?;
            out.flush().map_err(unwritten)
        })
    }

    fn query(&mut self, query: usize) -> Result<&mut Query> {
        (self.queries.get_mut(query).and_then(Option::as_mut)).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                format!("query {query} gives rows before it begins"),
            )
        })
    }
}

impl ResultHandler for Output<'_> {
    fn begin(&mut self, query: usize, schema: &SchemaRef) -> Result<()> {
        if self.format.is_binary() && !self.queries.is_empty() {
            let message = format!("{} holds the rows of one query only", self.format.name());
            return Err(Error::new(ErrorKind::Unsupported, message)
                .help("run the queries one by one, or use CREATE SINK for each"));
        }
        let encoder = self.encoder(schema)?;
        if self.queries.len() <= query {
            self.queries.resize_with(query + 1, || None);
        }
        self.queries[query] = Some(Query {
            schema: schema.clone(),
            encoder,
        });
        Ok(())
    }

    fn rows(&mut self, query: usize, rows: &RecordBatch) -> Result<()> {
        self.query(query)?;
        self.write(query, |encoder, out| encoder.encode(rows, out))
    }

    fn end(&mut self, query: usize) -> Result<()> {
        self.query(query)?;
        self.write(query, |encoder, out| encoder.finish(out))
    }
}

/// A writer that remembers that its reader has gone.
struct Pipe<'a> {
    out: &'a mut dyn Write,
    closed: bool,
}

impl Pipe<'_> {
    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.closed |= error.kind() == IoKind::BrokenPipe;
        }
        result
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.noted(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.noted(result)
    }
}

fn unwritten(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("writing the rows failed: {error}")).caused_by(error)
}
