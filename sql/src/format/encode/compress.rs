//! Gzip and Zstandard around the bytes of a text format.

use std::io::Write;

use arrow::array::RecordBatch;
use flate2::write::GzEncoder;

use super::options::{Compression, OutputFormat, cannot_pack};
use super::{Encoder, io_error};
use crate::error::Result;

/// `encoder`, its bytes packed.
///
/// # Errors
/// If text cannot be packed so.
pub(super) fn packed(
    encoder: Box<dyn Encoder>,
    format: OutputFormat,
    compression: Option<Compression>,
) -> Result<Box<dyn Encoder>> {
    let packer = match compression {
        None | Some(Compression::None) => return Ok(encoder),
        Some(Compression::Gzip) => {
            Packer::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default()))
        }
        Some(Compression::Zstd) => {
            const LEVEL: i32 = 3;
            Packer::Zstd(zstd::stream::write::Encoder::new(Vec::new(), LEVEL).map_err(io_error)?)
        }
        Some(other) => return Err(cannot_pack(format, other, "none, gzip or zstd")),
    };
    Ok(Box::new(Packed { encoder, packer }))
}

enum Packer {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(writer) => writer,
            Self::Zstd(writer) => writer,
        }
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(writer) => writer.get_mut(),
            Self::Zstd(writer) => writer.get_mut(),
        }
    }
}

struct Packed {
    encoder: Box<dyn Encoder>,
    packer: Packer,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed")
            .field("encoder", &self.encoder)
            .finish_non_exhaustive()
    }
}

impl Packed {
    fn send(&mut self, out: &mut dyn Write) -> Result<()> {
        let bytes = self.packer.bytes();
        let sent = out.write_all(bytes).map_err(io_error);
        bytes.clear();
        sent
    }
}

impl Encoder for Packed {
    fn encode(&mut self, records: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        self.encoder.encode(records, self.packer.writer())?;
        self.send(out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        self.encoder.finish(self.packer.writer())?;
        match &mut self.packer {
            Packer::Gzip(writer) => writer.try_finish().map_err(io_error)?,
            Packer::Zstd(writer) => writer.do_finish().map_err(io_error)?,
        }
        self.send(out)
    }
}
