//! Formats: bytes to record batches and back.

pub mod encode;

use std::fmt::Debug;
use std::io::Write;

use arrow::array::RecordBatch;

use crate::error::Result;

/// Writes record batches of one schema as bytes of one format.
pub trait Encoder: Send + Debug {
    /// Appends rows.
    ///
    /// # Errors
    /// If a type cannot be written in this format, or the writer fails.
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()>;

    /// Writes what closes the output: a footer, a bracket.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn finish(&mut self, out: &mut dyn Write) -> Result<()>;
}
