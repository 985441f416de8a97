//! The rows of one text, as chunks and the parser that reads them.

use std::sync::Arc;

use super::chunk::{Chunk, ChunkParser, Shape};
use super::csv::{CsvParser, Dialect, repeated_name, take_header};
use super::json::{JsonParser, ObjectScanner};
use super::line::{LineParser, LineTimes};
use super::names::require_header;
use super::options::{Format, FormatOptions};
use super::reader::{Chunks, Fill, Splitter};
use super::rows::RowShape;
use crate::error::{Error, ErrorKind, Result};

/// How a text is to be read.
#[derive(Debug, Clone)]
pub(crate) struct TextFormat {
    pub(crate) format: Format,
    pub(crate) options: Arc<FormatOptions>,
    /// What stands between CSV fields.
    pub(crate) delimiter: u8,
}

impl TextFormat {
    /// The bytes of CSV that have a meaning.
    pub(crate) fn dialect(&self) -> Dialect {
        Dialect {
            delimiter: self.delimiter,
            quote: self.options.quote,
            escape: self.options.escape.filter(|_| self.options.quote.is_some()),
            comment: self.options.comment,
        }
    }

    /// The chunks of a text of this format.
    ///
    /// # Errors
    /// If the format is not read.
    pub(crate) fn chunks<R: Fill>(
        &self,
        reader: R,
        chunk_bytes: usize,
        eager: bool,
    ) -> Result<Chunks<R>> {
        let splitter = match self.format {
            Format::Csv => Splitter::Csv(self.dialect()),
            Format::Ndjson | Format::Line => Splitter::Lines,
            Format::Json => Splitter::Values(ObjectScanner::default()),
            Format::Arrow | Format::Parquet => unreachable!("not a format of text"),
        };
        let line_bytes_max = self.options.line_bytes_max;
        Ok(Chunks::new(
            reader,
            splitter,
            chunk_bytes,
            line_bytes_max,
            eager,
        ))
    }

    /// Whether the first record is a header.
    pub(crate) fn has_header(&self) -> bool {
        self.format == Format::Csv && self.options.header
    }
}

/// The rows of a text.
#[derive(Debug)]
pub(crate) struct TextReader<R> {
    chunks: Chunks<R>,
    text: TextFormat,
    shape: RowShape,
    /// Whether a header has to name all columns.
    all_named: bool,
    times: LineTimes,
    /// Known once the header is.
    parser: Option<Arc<dyn ChunkParser>>,
}

impl<R: Fill> TextReader<R> {
    /// Reads `chunks` of the format `text` as rows of `shape`.
    pub(crate) fn new(chunks: Chunks<R>, text: TextFormat, shape: RowShape) -> Self {
        Self {
            chunks,
            text,
            shape,
            all_named: false,
            times: LineTimes::default(),
            parser: None,
        }
    }

    /// Refuses a header that does not name all columns.
    pub(crate) fn all_named(mut self) -> Self {
        self.all_named = true;
        self
    }

    /// What has been read of a row that has no end yet.
    pub(crate) fn rest(&self) -> &[u8] {
        self.chunks.rest()
    }

    /// Reads the times of line protocol as `times` says.
    pub(crate) fn timed(mut self, times: LineTimes) -> Self {
        self.times = times;
        self
    }

    /// The next chunk and what parses it, or `None` at the end.
    ///
    /// # Errors
    /// If the text cannot be read, or its header fits no column.
    pub(crate) fn next(&mut self) -> Result<Option<(Chunk, Arc<dyn ChunkParser>)>> {
        loop {
            let file = &self.shape.file;
            let chunk = self.chunks.next().map_err(|error| {
                Error::new(ErrorKind::Io, format!("reading {file}: {error}")).caused_by(error)
            })?;
            let Some(mut chunk) = chunk else {
                return Ok(None);
            };
            if let Some(parser) = &self.parser {
                return Ok(Some((chunk, parser.clone())));
            }
            let names = if self.text.has_header() {
                if let Shape::TooLong(_) = chunk.shape {
                    return Err(Error::new(
                        ErrorKind::Limit,
                        format!(
                            "{file}: the header is longer than {} bytes",
                            self.shape.line_bytes_max
                        ),
                    )
                    .help("raise line_bytes_max, if it is CSV"));
                }
                match take_header(&self.text.dialect(), &mut chunk, file)? {
                    None => continue,
                    names => names,
                }
            } else {
                None
            };
            let parser = self.parser(names.as_deref())?;
            if let Some(names) = names.filter(|_| self.all_named) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let columns = self.shape.schema.fields().iter();
                let columns = columns.map(|field| field.name().as_str());
                let twice = repeated_name(&self.text.dialect(), &chunk.bytes, file)?;
                require_header(file, &names, twice.as_deref(), columns)?;
            }
            self.parser = Some(parser.clone());
            return Ok(Some((chunk, parser)));
        }
    }

    fn parser(&self, names: Option<&[String]>) -> Result<Arc<dyn ChunkParser>> {
        let options = &self.text.options;
        let shape = self.shape.clone();
        Ok(match self.text.format {
            Format::Csv => Arc::new(CsvParser::new(
                shape,
                self.text.dialect(),
                options.null_values.as_deref(),
                names,
            )?),
            Format::Line => {
                let parser = LineParser::new(shape, options.time_column.as_deref())?;
                Arc::new(parser.timed(self.times))
            }
            _ => Arc::new(JsonParser::new(shape, &options.paths)?),
        })
    }
}
