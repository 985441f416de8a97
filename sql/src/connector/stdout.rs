//! Results to the standard output, or to any other writer.
//!
//! When the reader of a pipe has seen enough and closes it, as `head` does, writing
//! fails. [`is_closed_pipe`] tells that end from a failure.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::stream::Sink;

use super::registry::{Connector, ConnectorKind, Pairs, no_source};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;
use crate::format::encode::setting::Settings;
use crate::format::encode::{EncodeOptions, OutputFormat, encoder};

/// Encodes rows and writes them.
pub struct StdoutSink {
    out: BufWriter<Box<dyn Write + Send>>,
    encoder: Box<dyn Encoder>,
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutSink")
            .field("encoder", &self.encoder)
            .finish_non_exhaustive()
    }
}

impl StdoutSink {
    const BUFFER_BYTES: usize = 1 << 16;

    /// Writes to `out`, which needs no buffer of its own.
    pub fn to(out: Box<dyn Write + Send>, encoder: Box<dyn Encoder>) -> Self {
        Self {
            out: BufWriter::with_capacity(Self::BUFFER_BYTES, out),
            encoder,
        }
    }
}

impl Sink for StdoutSink {
    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        Ok(self.encoder.encode(records, &mut self.out)?)
    }

    fn flush(&mut self) -> windrow_core::Result<()> {
        Ok(self.out.flush().map_err(unwritten)?)
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        self.encoder.finish(&mut self.out)?;
        self.flush()
    }
}

/// The connector `stdout`: sinks that write to the standard output, or to what stands
/// for it.
pub struct StdoutKind {
    format: OutputFormat,
    width: Option<u16>,
    open: Box<Open>,
}

/// Opens what rows of a format are written to.
type Open = dyn Fn(OutputFormat) -> Result<Box<dyn Write + Send>> + Send + Sync;

impl StdoutKind {
    /// `format`: that of sinks which name none; `width`: the columns of the terminal,
    /// if it is one; `open`: what rows of a format are written to.
    pub fn new(
        format: OutputFormat,
        width: Option<u16>,
        open: impl Fn(OutputFormat) -> Result<Box<dyn Write + Send>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            format,
            width,
            open: Box::new(open),
        }
    }

    fn encoder(
        &self,
        options: &Pairs,
        schema: &SchemaRef,
    ) -> Result<(OutputFormat, Box<dyn Encoder>, Vec<String>)> {
        let mut settings = Settings::new(options);
        let format = match settings.text("format") {
            Some(format) => format.parse()?,
            None => self.format,
        };
        let mut encode = EncodeOptions::take(&mut settings)?;
        encode.width = self.width;
        if format == OutputFormat::Table && !options.contains_key("null_value") {
            encode.null_value = "NULL".to_owned();
        }
        Ok((format, encoder(format, &encode, schema)?, settings.rest()))
    }
}

impl fmt::Debug for StdoutKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutKind")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl ConnectorKind for StdoutKind {
    fn source(&self, _: &Pairs, _: Option<SchemaRef>) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        no_source("stdout")
    }

    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        let (format, encoder, unknown) = self.encoder(options, schema)?;
        let out = (self.open)(format)?;
        Ok((Box::new(StdoutSink::to(out, encoder)), unknown))
    }

    fn check_sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<Vec<String>> {
        Ok(self.encoder(options, schema)?.2)
    }

    fn option_names(&self) -> Vec<&'static str> {
        (["format"].into_iter())
            .chain(EncodeOptions::NAMES)
            .collect()
    }
}

fn unwritten(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write the output: {error}")).caused_by(error)
}

/// Whether an error, or what caused it, is that the reader has closed the pipe: a
/// quiet end, not a failure.
pub fn is_closed_pipe(error: &(dyn StdError + 'static)) -> bool {
    is_caused_by(error, io::ErrorKind::BrokenPipe)
}

/// Whether an error, or what caused it, is of this kind of the operating system's.
pub(crate) fn is_caused_by(error: &(dyn StdError + 'static), kind: io::ErrorKind) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let is_it = (error.downcast_ref::<io::Error>()).is_some_and(|error| error.kind() == kind);
        if is_it {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::encode::{EncodeOptions, OutputFormat, encoder};
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch() -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        RecordBatch::try_from_iter([("n", column)]).expect("one column")
    }

    fn csv() -> Box<dyn Encoder> {
        encoder(
            OutputFormat::Csv,
            &EncodeOptions::default(),
            &batch().schema(),
        )
        .expect("fits")
    }

    #[test]
    fn rows_are_visible_once_flushed() {
        let out = Shared::default();
        let mut sink = StdoutSink::to(Box::new(out.clone()), csv());
        sink.write(&batch()).expect("written");
        sink.flush().expect("flushed");
        assert_eq!(*out.0.lock().expect("one thread"), b"n\n1\n2\n");
        sink.finish().expect("finished");
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_failure_through_every_layer() {
        for (kind, closed) in [
            (io::ErrorKind::BrokenPipe, true),
            (io::ErrorKind::StorageFull, false),
        ] {
            let mut sink = StdoutSink::to(Box::new(Failing(kind)), csv());
            sink.write(&batch()).expect("buffered");
            let error = sink.finish().expect_err("nothing can be written");
            assert_eq!(is_closed_pipe(&error), closed);
            assert_eq!(is_closed_pipe(&Error::from(error)), closed);
        }
    }
}
