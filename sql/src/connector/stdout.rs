//! Results to the standard output, or to any other writer.
//!
//! When the reader of a pipe has seen enough and closes it, as `head` does, writing
//! fails. [`is_closed_pipe`] tells that end from a failure.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, BufWriter, Write};

use arrow::array::RecordBatch;
use windrow_core::stream::Sink;

use crate::error::{Error, ErrorKind};
use crate::format::Encoder;

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

    /// Writes to the standard output of the process.
    pub fn new(encoder: Box<dyn Encoder>) -> Self {
        Self::to(Box::new(io::stdout()), encoder)
    }

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

fn unwritten(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write the output: {error}")).caused_by(error)
}

/// Whether an error, or what caused it, is that the reader has closed the pipe: a
/// quiet end, not a failure.
pub fn is_closed_pipe(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let closed = (error.downcast_ref::<io::Error>())
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        if closed {
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
