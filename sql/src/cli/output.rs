//! The rows of statements on their way to stdout.

use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use windrow_core::Error as CoreError;

use super::pipe::Pipe;
use crate::connector::stdout::StdoutKind;
use crate::error::{Error, ErrorKind, Result, reason};
use crate::format::Encoder;
use crate::format::encode::{EncodeOptions, OutputFormat, encoder};
use crate::session::ResultHandler;

/// Bytes that are gathered before they are handed over.
const BUFFER_BYTES: usize = 1 << 16;

/// Rows of a table that are held until they are whole, so that they stand in one box.
const BOX_ROWS_MAX: usize = 1_000;

/// Who writes to stdout. What is one document from its first byte to its last stands
/// beside nothing else at the same time.
#[derive(Debug, Clone, Default)]
pub(super) struct Sharing {
    sinks: Arc<Mutex<Vec<Weak<OutputFormat>>>>,
}

impl Sharing {
    /// The writer of a sink, until it is dropped.
    ///
    /// # Errors
    /// If it would be mixed with another sink.
    pub(super) fn sink(&self, format: OutputFormat, pipe: Pipe) -> Result<Box<dyn Write + Send>> {
        self.refuse_mixed(format, "a second sink")?;
        let held = Arc::new(format);
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.push(Arc::downgrade(&held));
        Ok(Box::new(SinkPipe { pipe, _held: held }))
    }

    /// The connector `stdout` for sinks that share `pipe` with the rows of queries.
    /// `format`: that of sinks which name none; `width`: as in [`Output::new`].
    pub(super) fn connector(
        &self,
        format: OutputFormat,
        width: Option<u16>,
        pipe: &Pipe,
    ) -> StdoutKind {
        let (pipe, sharing) = (pipe.clone(), self.clone());
        StdoutKind::new(format, width, move |format| {
            sharing.sink(format, pipe.clone())
        })
    }

    /// Refuses rows in `format` where a sink writes in one that cannot be shared.
    fn refuse_mixed(&self, format: OutputFormat, what: &str) -> Result<()> {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|sink| sink.strong_count() > 0);
        let others = sinks.iter().filter_map(Weak::upgrade);
        let mixed = others
            .map(|other| *other)
            .find(|other| is_document(*other) || is_document(format));
        let Some(other) = mixed else {
            return Ok(());
        };
        let document = if is_document(format) { format } else { other };
        let message = format!(
            "{what} cannot write to stdout beside a sink in {other}: {document} is one document"
        );
        Err(Error::new(ErrorKind::Option, message).help(
            "write both as ndjson, or one of them to a file: WITH (connector = 'file', path = …)",
        ))
    }
}

/// Whether rows of others would break it.
fn is_document(format: OutputFormat) -> bool {
    format.is_binary() || format == OutputFormat::Json
}

/// A sink's way to stdout.
struct SinkPipe {
    pipe: Pipe,
    _held: Arc<OutputFormat>,
}

impl Write for SinkPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

/// Writes the rows of each statement in one format.
pub(super) struct Output {
    sharing: Sharing,
    format: OutputFormat,
    options: EncodeOptions,
    out: BufWriter<Pipe>,
    /// The encoder of the statement whose rows are under way.
    encoder: Option<Box<dyn Encoder>>,
    /// Its rows, where they are to stand in one box.
    held: Option<Vec<RecordBatch>>,
    /// Statements that have begun.
    statements: u64,
    /// Rows of all of them.
    rows: u64,
}

impl Output {
    /// `width`: the columns of the terminal, if it is one.
    pub(super) fn new(
        format: OutputFormat,
        width: Option<u16>,
        pipe: Pipe,
        sharing: Sharing,
    ) -> Self {
        let mut options = EncodeOptions {
            width,
            ..EncodeOptions::default()
        };
        if format == OutputFormat::Table {
            options.null_value = "NULL".into();
        }
        Self {
            sharing,
            format,
            options,
            out: BufWriter::with_capacity(BUFFER_BYTES, pipe),
            encoder: None,
            held: None,
            statements: 0,
            rows: 0,
        }
    }

    /// Shows each row of a table as lines, or only where few rows are wider than the
    /// terminal.
    pub(super) fn vertical(mut self, vertical: bool) -> Self {
        self.options.vertical = vertical;
        self
    }

    /// How many rows there were; `None` if no statement has rows.
    pub(super) fn row_count(&self) -> Option<u64> {
        (self.statements > 0).then_some(self.rows)
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
        self.sharing.refuse_mixed(self.format, "SELECT")?;
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

    fn begin_at_most(&mut self, schema: &SchemaRef, rows_max: usize) -> Result<()> {
        self.begin(schema)?;
        let is_box = self.format == OutputFormat::Table && rows_max <= BOX_ROWS_MAX;
        self.held = is_box.then(Vec::new);
        Ok(())
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.encoder {
            Some(encoder) => {
                self.rows += rows.num_rows() as u64;
                match &mut self.held {
                    Some(held) => held.push(rows.clone()),
                    None => encoder.encode(rows, &mut self.out)?,
                }
                Ok(())
            }
            None => Err(Error::new(
                ErrorKind::Internal,
                "rows came before their statement has begun",
            )),
        }
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut encoder) = self.encoder.take() {
            if let Some(held) = self.held.take()
                && let Some(first) = held.first()
            {
                let rows = concat_batches(first.schema_ref(), &held);
                encoder.encode(&rows.map_err(CoreError::from)?, &mut self.out)?;
            }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is shown of ever longer texts, one at a time, of which there are `rows_max`.
    fn shown(texts: &[&str], rows_max: usize) -> String {
        let batch = |text: &str| {
            let texts = Arc::new(StringArray::from(vec![text])) as ArrayRef;
            RecordBatch::try_from_iter([("text", texts)]).unwrap()
        };
        let (kept, cancel) = (Kept::default(), Arc::<AtomicBool>::default());
        let pipe = Pipe::new(Box::new(kept.clone()), cancel, |write| write()).unwrap();
        let mut output = Output::new(OutputFormat::Table, Some(80), pipe, Sharing::default());
        (output.begin_at_most(batch("").schema_ref(), rows_max)).unwrap();
        for text in texts {
            output.rows(&batch(text)).unwrap();
            output.flush().unwrap();
        }
        // As where the rest does not come any more.
        output.close().unwrap();
        let shown = kept.0.lock().unwrap().clone();
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_result_that_ends_stands_in_one_box() {
        let whole = "┌──────┐\n│ text │\n╞══════╡\n│ a    │\n│ bbbb │\n└──────┘\n2 rows\n";
        assert_eq!(shown(&["a", "bbbb"], 3), whole);
        let growing = ["a", "b-b-b-b", "c-c-c-c-c-c"];
        assert_eq!(shown(&growing, 3).matches('┌').count(), 1);
        assert_eq!(shown(&growing, BOX_ROWS_MAX + 1).matches('┌').count(), 3);
        assert!(shown(&[], 3).ends_with("└──────┘\n0 rows\n"));
    }
}
