//! The options of streams and sinks over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use windrow_core::batch::queue::Weight;
use windrow_core::stream::{Sink, Source};

use super::door::DoorOptions;
use super::server::Servers;
use super::sink::{HttpSink, HttpSinkOptions};
use super::source::HttpSource;
use crate::connector::address::own_address;
use crate::connector::files::check_paths;
use crate::connector::reading::{SOURCE_OPTIONS, SourceOptions};
use crate::connector::registry::{Connector, ConnectorKind, Pairs};
use crate::error::{Error, ErrorKind, Result};
use crate::format::column::nullable;
use crate::format::encode::EncodeOptions;
use crate::format::encode::setting::{Settings, unfit};
use crate::format::options::parse_count;
use crate::format::{Compression, FORMAT_OPTIONS, Format, FormatOptions};

/// How many clients are served at a time; others wait to be accepted (`connections_max`).
const CONNECTIONS_MAX_DEFAULT: usize = 1_024;

/// A client that says nothing for so long is sent away (`client_timeout`).
const CLIENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// An answer waits for the engine so long at most (`answer_timeout`): less than the five
/// seconds after which Telegraf would send the rows once more.
const ANSWER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(4);

/// The greatest length of a body, also when it is unpacked (`body_bytes_max`).
const BODY_BYTES_MAX_DEFAULT: usize = 32 << 20;

/// Chunks of text are counted by 32 bits.
const BODY_BYTES_MAX: usize = 1 << 30;

/// So many bytes wait between the clients and the parsers at most (`queue_bytes`).
const QUEUE_BYTES_DEFAULT: usize = 64 << 20;

/// The default of `line_bytes_max`: as over TCP.
const LINE_BYTES_MAX_DEFAULT: usize = 1 << 20;

const NAMES: [&str; 7] = [
    "address",
    "connections_max",
    "client_timeout",
    "answer_timeout",
    "body_bytes_max",
    "queue_bytes",
    "measurement",
];

/// The connector `http`.
#[derive(Debug, Default)]
pub(in crate::connector) struct HttpKind {
    servers: Arc<Servers>,
}

#[derive(Debug)]
struct Http {
    stream: String,
    servers: Arc<Servers>,
    schema: SchemaRef,
    address: SocketAddr,
    door: DoorOptions,
    options: SourceOptions,
}

impl Connector for Http {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn partitions(&self) -> u32 {
        // Who has not come yet is not waited for.
        0
    }

    fn is_live(&self) -> bool {
        true
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(HttpSource::open(
            &self.servers,
            self.address,
            &self.stream,
            &self.schema,
            &self.door,
            &self.options,
        )?))
    }
}

/// The options of a door, and those that are not its own.
fn door_options(stream: &str, pairs: &Pairs) -> Result<(DoorOptions, SourceOptions, Vec<String>)> {
    let (mut format, rest) = FormatOptions::from_pairs(pairs)?;
    if format.format == Some(Format::Parquet) {
        let read = "ndjson, csv, line, json or arrow; without it each body says what it is";
        return Err(unfit("format", "parquet", read));
    }
    if (format.compression).is_some_and(|compression| compression != Compression::None) {
        let message = "connector 'http' is told by Content-Encoding whether a body is compressed";
        return Err(Error::new(ErrorKind::Option, message).help("leave the option compression out"));
    }
    if !pairs.contains_key("line_bytes_max") {
        format.line_bytes_max = LINE_BYTES_MAX_DEFAULT;
    }
    let rest: Pairs = (rest.into_iter())
        .filter(|name| !NAMES.contains(&name.as_str()))
        .map(|name| (name.clone(), pairs[&name].clone()))
        .collect();
    let (source, unknown) = SourceOptions::from_pairs(&rest)?;
    let count = |name: &str, default: usize, least: usize, most: usize| match pairs.get(name) {
        Some(value) => parse_count(name, value, least, most),
        None => Ok(default),
    };
    let mut settings = Settings::new(pairs);
    let client_timeout = settings.duration("client_timeout")?;
    let client_timeout = client_timeout.unwrap_or(CLIENT_TIMEOUT_DEFAULT);
    let answer_timeout = settings.duration("answer_timeout")?;
    let measurement = settings.text("measurement").unwrap_or(stream);
    if measurement.is_empty() {
        return Err(unfit("measurement", measurement, "a name"));
    }
    let door = DoorOptions {
        format: format.format,
        options: Arc::new(format),
        measurement: measurement.to_owned(),
        connections_max: count("connections_max", CONNECTIONS_MAX_DEFAULT, 1, 1 << 16)?,
        client_timeout: (!client_timeout.is_zero()).then_some(client_timeout),
        answer_timeout: answer_timeout.unwrap_or(ANSWER_TIMEOUT_DEFAULT),
        body_bytes_max: count("body_bytes_max", BODY_BYTES_MAX_DEFAULT, 1, BODY_BYTES_MAX)?,
        queue: Weight {
            rows: source.queue_rows,
            bytes: count("queue_bytes", QUEUE_BYTES_DEFAULT, 1, 1 << 32)?,
        },
    };
    Ok((door, source, unknown))
}

impl ConnectorKind for HttpKind {
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        self.named_source("stream", options, declared)
    }

    fn named_source(
        &self,
        name: &str,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let (door, source, unknown) = door_options(name, options)?;
        let address = own_address("http", options)?;
        let Some(declared) = declared else {
            let message =
                "the columns of connector 'http' cannot be inferred: nothing has come yet";
            return Err(Error::new(ErrorKind::Plan, message).help(
                "declare them: CREATE STREAM name (ts TIMESTAMP, value DOUBLE, …) WITH (…)",
            ));
        };
        check_paths(&door.options, &declared)?;
        let http = Http {
            stream: name.to_owned(),
            servers: self.servers.clone(),
            schema: nullable(&declared),
            address,
            door,
            options: source,
        };
        Ok((Arc::new(http), unknown))
    }

    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        let (sink, unknown) = HttpSinkOptions::from_pairs(options)?;
        sink.check(schema)?;
        Ok((Box::new(HttpSink::open(sink, schema)?), unknown))
    }

    fn check_sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<Vec<String>> {
        let (sink, unknown) = HttpSinkOptions::from_pairs(options)?;
        sink.check(schema)?;
        Ok(unknown)
    }

    fn option_names(&self) -> Vec<&'static str> {
        let names = NAMES.iter().chain(&FORMAT_OPTIONS).chain(&SOURCE_OPTIONS);
        names.copied().collect()
    }

    fn sink_option_names(&self) -> Vec<&'static str> {
        let names = HttpSinkOptions::NAMES.iter();
        names.chain(&EncodeOptions::NAMES).copied().collect()
    }
}
