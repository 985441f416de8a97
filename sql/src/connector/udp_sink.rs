//! Rows to a receiver over UDP.
//!
//! A datagram holds as many whole lines as fit into `datagram_bytes`, or `datagram_rows` of
//! them. Whether it arrives nobody tells, but for one thing: a machine on which nobody
//! listens says so. That is an error at the end.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use windrow_core::stream::Sink;

use super::address::addresses;
use super::line_sink::{LineFormat, encode_rows};
use super::registry::Pairs;
use crate::error::{Error, ErrorKind, Result, reason};
use crate::format::Encoder;
use crate::format::encode::EncodeOptions;
use crate::format::encode::setting::Settings;

/// A datagram of so many bytes goes over nearly every network in one piece
/// (`datagram_bytes`).
const DATAGRAM_BYTES_DEFAULT: usize = 1_400;

/// The longest datagram.
const DATAGRAM_BYTES_MAX: u64 = 65_507;

/// Rows that are written as text at a time.
const BLOCK_ROWS: usize = 1_024;

const NAMES: [&str; 4] = ["address", "format", "datagram_bytes", "datagram_rows"];

/// Where rows are sent, and how.
#[derive(Debug, Clone)]
pub(super) struct UdpSinkOptions {
    address: SocketAddr,
    lines: LineFormat,
    datagram_bytes: usize,
    datagram_rows: u64,
}

impl UdpSinkOptions {
    /// The options of a sink, and the names that are unknown.
    ///
    /// # Errors
    /// If a value does not fit.
    pub(super) fn from_pairs(pairs: &Pairs) -> Result<(Self, Vec<String>)> {
        let addresses = addresses("udp", pairs)?;
        let mut settings = Settings::new(pairs);
        settings.text("address");
        let lines = LineFormat::take("udp", &mut settings)?;
        if lines.has_header() && pairs.contains_key("header") {
            let message = "datagrams of CSV have no header: any may be the first";
            return Err(Error::new(ErrorKind::Option, message).help("leave the option header out"));
        }
        let datagram_bytes = settings.count("datagram_bytes", 1..=DATAGRAM_BYTES_MAX)?;
        let datagram_rows = settings.count("datagram_rows", 1..=u64::MAX)?;
        let options = Self {
            address: addresses[0],
            lines,
            datagram_bytes: datagram_bytes.map_or(DATAGRAM_BYTES_DEFAULT, |bytes| bytes as usize),
            datagram_rows: datagram_rows.unwrap_or(u64::MAX),
        };
        Ok((options, settings.rest()))
    }

    /// Whether the format can hold the rows.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check(&self, schema: &SchemaRef) -> Result<()> {
        self.lines.encoder(schema).map(drop)
    }

    /// The names of all options.
    pub(super) fn names() -> Vec<&'static str> {
        NAMES.into_iter().chain(EncodeOptions::NAMES).collect()
    }
}

/// Sends rows.
pub(super) struct UdpSink {
    options: UdpSinkOptions,
    encoder: Box<dyn Encoder>,
    socket: UdpSocket,
    /// The next datagram.
    datagram: Vec<u8>,
    rows: u64,
    sent: u64,
    /// Datagrams that nobody has taken, as far as was told.
    refused: u64,
}

impl fmt::Debug for UdpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSink")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl UdpSink {
    /// A socket of its own.
    ///
    /// # Errors
    /// If the format cannot hold the rows, or the operating system refuses.
    pub(super) fn open(options: &UdpSinkOptions, schema: &SchemaRef) -> Result<Self> {
        let any: SocketAddr = match options.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(options.address)?;
            Ok(socket)
        });
        Ok(Self {
            encoder: options.lines.encoder(schema)?,
            socket: socket.map_err(|error| unsent(options.address, error))?,
            options: options.clone(),
            datagram: Vec::new(),
            rows: 0,
            sent: 0,
            refused: 0,
        })
    }

    fn append(&mut self, records: &RecordBatch) -> Result<()> {
        for start in (0..records.num_rows()).step_by(BLOCK_ROWS) {
            let rows = BLOCK_ROWS.min(records.num_rows() - start);
            let block = records.slice(start, rows);
            let (bytes, ends) = encode_rows(&mut *self.encoder, &block)?;
            let mut from = 0;
            for end in ends {
                self.append_row(&bytes[from..end])?;
                from = end;
            }
        }
        Ok(())
    }

    fn append_row(&mut self, line: &[u8]) -> Result<()> {
        let max = self.options.datagram_bytes;
        // A row of line protocol without any value is no line.
        if line.is_empty() {
            return Ok(());
        }
        if line.len() > max {
            let message = format!(
                "a row of {} bytes does not fit into datagram_bytes = {max}",
                line.len()
            );
            return Err(Error::new(ErrorKind::Limit, message).help(format!(
                "raise datagram_bytes, up to {DATAGRAM_BYTES_MAX}, or select fewer columns"
            )));
        }
        if self.datagram.len() + line.len() > max {
            self.send()?;
        }
        self.datagram.extend_from_slice(line);
        self.rows += 1;
        if self.rows >= self.options.datagram_rows {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if self.datagram.is_empty() {
            return Ok(());
        }
        // Each refusal is told of once, in place of a datagram: so many may have been told
        // of by now that this one has to be tried again.
        const TRIES: usize = 8;
        for attempt in 1.. {
            match self.socket.send(&self.datagram) {
                Ok(_) => break,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionRefused => {
                        self.refused += 1;
                        if attempt >= TRIES {
                            break;
                        }
                    }
                    _ => return Err(unsent(self.options.address, error)),
                },
            }
        }
        self.sent += 1;
        self.rows = 0;
        self.datagram.clear();
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.send()?;
        let told = self.socket.take_error().ok().flatten();
        self.refused += u64::from(told.is_some());
        if self.refused == 0 {
            return Ok(());
        }
        let message = format!(
            "nobody listens on udp {}: at least {} of {} datagrams were not delivered",
            self.options.address, self.refused, self.sent
        );
        Err(Error::new(ErrorKind::Io, message).help("start the receiver first"))
    }
}

impl Sink for UdpSink {
    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        Ok(self.append(records)?)
    }

    fn flush(&mut self) -> windrow_core::Result<()> {
        Ok(self.send()?)
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        Ok(self.end()?)
    }
}

fn unsent(address: SocketAddr, error: io::Error) -> Error {
    let message = format!("cannot send to udp {address}: {}", reason(&error));
    Error::new(ErrorKind::Io, message).caused_by(error)
}
