//! Formats: bytes to record batches and back.
//!
//! A stream of bytes is cut into chunks of whole rows, which are parsed independently
//! of each other, straight into columns:
//!
//! ```text
//!  bytes ─▶ reader: chunks ─▶ csv, json, line: rows ─▶ record batches, rejected rows
//!           options · infer: columns
//!  Arrow, Parquet ─▶ columnar ─▶ record batches
//!                    fitted · passing: what of a file is not read
//! ```
//!
//! What does not fit is rejected row by row, with its text, its place and a reason; the
//! rows around it are kept. Nothing here knows threads or the engine.

pub mod encode;

use std::fmt::Debug;
use std::io::Write;

use arrow::array::RecordBatch;

use crate::error::Result;

// In the order in which they may name each other.
pub(crate) mod names;

pub(crate) mod search;

pub(crate) mod plain;

pub(crate) mod number;

pub mod time;

pub mod options;

pub(crate) mod column;

pub(crate) mod rows;

pub(crate) mod chunk;

pub(crate) mod csv;

pub(crate) mod keys;

pub(crate) mod origin;

pub(crate) mod json;

pub(crate) mod line;

pub(crate) mod reader;

pub(crate) mod text;

pub(crate) mod adapt;

pub(crate) mod fitted;

pub mod passing;

pub(crate) mod columnar;

pub(crate) mod arrow_file;

pub(crate) mod arrow_stream;

pub(crate) mod kinds;

pub(crate) mod infer;

pub(crate) mod sample;

#[cfg(test)]
pub(crate) mod testing;

pub use options::{Compression, FORMAT_OPTIONS, Format, FormatOptions, JsonPath};
pub use sample::infer;
pub use time::TimestampFormat;

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
