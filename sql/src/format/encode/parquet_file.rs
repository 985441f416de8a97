//! Apache Parquet, a row group at a time.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::options::{Compression, EncodeOptions, OutputFormat, cannot_pack};
use super::{Encoder, io_error};
use crate::error::{Error, ErrorKind, Result};

/// Writes Parquet.
#[derive(Debug)]
pub(super) struct ParquetEncoder {
    /// `None` once the footer is written.
    writer: Option<ArrowWriter<Vec<u8>>>,
}

impl ParquetEncoder {
    pub(super) fn new(options: &EncodeOptions, schema: &SchemaRef) -> Result<Self> {
        let codec = match options.compression {
            None | Some(Compression::Zstd) => Codec::ZSTD(ZstdLevel::default()),
            Some(Compression::None) => Codec::UNCOMPRESSED,
            Some(Compression::Snappy) => Codec::SNAPPY,
            Some(Compression::Lz4) => Codec::LZ4_RAW,
            Some(other) => {
                let allowed = "none, zstd, snappy or lz4";
                return Err(cannot_pack(OutputFormat::Parquet, other, allowed));
            }
        };
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_max_row_group_row_count(Some(options.row_group_rows))
            .set_created_by(concat!("windrow ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))
            .map_err(unwritable)?;
        Ok(Self {
            writer: Some(writer),
        })
    }
}

impl Encoder for ParquetEncoder {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        let writer = (self.writer.as_mut())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "rows came after the end of a file"))?;
        writer.write(records).map_err(unwritable)?;
        // What lies in the vector has been counted by the writer: it may be taken away.
        let bytes = writer.inner_mut();
        let sent = out.write_all(bytes).map_err(io_error);
        bytes.clear();
        sent
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        match self.writer.take() {
            Some(writer) => {
                let bytes = writer.into_inner().map_err(unwritable)?;
                out.write_all(&bytes).map_err(io_error)
            }
            None => Ok(()),
        }
    }
}

fn unwritable(error: ParquetError) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("cannot be written as parquet: {error}"),
    )
    .caused_by(error)
}
