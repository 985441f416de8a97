//! Arrow IPC: a stream for pipes, a file with a footer for files.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

use super::cell::{plain, plain_type, unwritable};
use super::options::{Compression, EncodeOptions, OutputFormat, cannot_pack};
use super::{Encoder, io_error};
use crate::error::Result;

/// An encoder of a stream, or of a file if the options say so.
pub(super) fn arrow_encoder(
    options: &EncodeOptions,
    schema: &SchemaRef,
) -> Result<Box<dyn Encoder>> {
    let compression = match options.compression {
        None | Some(Compression::None) => None,
        Some(Compression::Zstd) => Some(CompressionType::ZSTD),
        Some(Compression::Lz4) => Some(CompressionType::LZ4_FRAME),
        Some(other) => {
            return Err(cannot_pack(OutputFormat::Arrow, other, "none, zstd or lz4"));
        }
    };
    let written =
        (IpcWriteOptions::default().try_with_compression(compression)).map_err(unwritable)?;
    if !options.arrow_file {
        let writer =
            StreamWriter::try_new_with_options(Vec::new(), schema, written).map_err(unwritable)?;
        return Ok(Box::new(ArrowEncoder::Stream(writer)));
    }
    // A file holds each dictionary once, while every batch of a result may bring its
    // own: the values are written instead.
    let fields: Vec<_> = (schema.fields().iter())
        .map(|field| match plain_type(field.data_type()) {
            Some(data_type) => Arc::new(Field::clone(field).with_data_type(data_type)),
            None => field.clone(),
        })
        .collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let writer =
        FileWriter::try_new_with_options(Vec::new(), &schema, written).map_err(unwritable)?;
    Ok(Box::new(ArrowEncoder::File(schema, writer)))
}

enum ArrowEncoder {
    Stream(StreamWriter<Vec<u8>>),
    File(SchemaRef, FileWriter<Vec<u8>>),
}

impl fmt::Debug for ArrowEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream(_) => "ArrowEncoder::Stream",
            Self::File(..) => "ArrowEncoder::File",
        })
    }
}

impl Encoder for ArrowEncoder {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Stream(writer) => {
                writer.write(records).map_err(unwritable)?;
                send(writer.get_mut(), out)
            }
            Self::File(schema, writer) => {
                let records =
                    RecordBatch::try_new(schema.clone(), plain(records)?).map_err(unwritable)?;
                writer.write(&records).map_err(unwritable)?;
                send(writer.get_mut(), out)
            }
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Stream(writer) => {
                writer.finish().map_err(unwritable)?;
                send(writer.get_mut(), out)
            }
            Self::File(_, writer) => {
                writer.finish().map_err(unwritable)?;
                send(writer.get_mut(), out)
            }
        }
    }
}

fn send(bytes: &mut Vec<u8>, out: &mut dyn Write) -> Result<()> {
    let sent = out.write_all(bytes).map_err(io_error);
    bytes.clear();
    sent
}
