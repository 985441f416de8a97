//! The connectors that come with Windrow.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use windrow_core::stream::{Sink, Source};

use super::blackhole::BlackholeSink;
use super::files::{FileKind, StdinKind};
use super::generator::{self, GeneratorOptions, GeneratorSource};
use super::http::HttpKind;
use super::postgres::PostgresKind;
use super::registry::{Connector, ConnectorKind, Connectors, Pairs, no_sink, no_source};
use super::stdout::StdoutKind;
use super::tcp::TcpKind;
use super::udp::UdpKind;
use crate::error::{Error, ErrorKind, Result};
use crate::format::column::type_name;
use crate::format::encode::OutputFormat;

/// Makes all connectors known.
pub fn register_all(connectors: &mut Connectors) {
    connectors.register("file", Arc::new(FileKind));
    connectors.register("stdin", Arc::new(StdinKind));
    connectors.register("generator", Arc::new(GeneratorKind));
    connectors.register("tcp", Arc::new(TcpKind));
    connectors.register("udp", Arc::new(UdpKind));
    connectors.register("http", Arc::new(HttpKind::default()));
    connectors.register("postgres", Arc::new(PostgresKind));
    let stdout = StdoutKind::new(OutputFormat::Csv, None, |_| Ok(Box::new(std::io::stdout())));
    connectors.register("stdout", Arc::new(stdout));
    connectors.register("blackhole", Arc::new(BlackholeKind));
}

#[derive(Debug)]
struct GeneratorKind;

#[derive(Debug)]
struct GeneratorConnector {
    options: GeneratorOptions,
}

impl Connector for GeneratorConnector {
    fn schema(&self) -> SchemaRef {
        generator::schema()
    }

    fn is_live(&self) -> bool {
        self.options.realtime
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(GeneratorSource::open(self.options.clone())?))
    }
}

impl ConnectorKind for GeneratorKind {
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let (options, unknown) = GeneratorOptions::from_pairs(options)?;
        let schema = generator::schema();
        if let Some(declared) = declared {
            let same = declared.fields().len() == schema.fields().len()
                && (declared.fields().iter().zip(schema.fields()))
                    .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
            if !same {
                let columns = schema.fields().iter();
                let columns = columns
                    .map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
                let columns = columns.collect::<Vec<_>>().join(", ");
                return Err(
                    Error::new(ErrorKind::Plan, "the generator has columns of its own").help(
                        format!("leave the columns out, or write them all: {columns}"),
                    ),
                );
            }
        }
        Ok((Arc::new(GeneratorConnector { options }), unknown))
    }

    fn sink(&self, _: &Pairs, _: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        no_sink("generator")
    }

    fn option_names(&self) -> Vec<&'static str> {
        GeneratorOptions::NAMES.to_vec()
    }
}

#[derive(Debug)]
struct BlackholeKind;

impl ConnectorKind for BlackholeKind {
    fn source(&self, _: &Pairs, _: Option<SchemaRef>) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        no_source("blackhole")
    }

    fn sink(&self, options: &Pairs, _: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        Ok((
            Box::new(BlackholeSink::new()),
            options.keys().cloned().collect(),
        ))
    }

    fn option_names(&self) -> Vec<&'static str> {
        Vec::new()
    }
}
