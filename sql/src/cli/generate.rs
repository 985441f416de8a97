//! `windrow generate`: simulated readings to stdout or into a file.
//!
//! On the way to stdout batches become bytes on all cores and are written in order, so
//! that a pipe is filled as fast as it is read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use clap::Args;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use windrow_core::stream::{Sink, Source, SourceEvent};

use super::output::unwritten;
use super::pipe::Pipe;
use crate::connector::file_sink::{FileSink, FileSinkOptions};
use crate::connector::generator::{self, GeneratorOptions, GeneratorSource};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;
use crate::format::encode::{EncodeOptions, OutputFormat, encoder};

/// How long rows are waited for until it is asked whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Batches that become bytes at once.
const WAVE_BATCHES_MAX: usize = 16;

const EXAMPLES: &str = "\
Examples:
  windrow generate --rows 5 --format table
  windrow generate --rows 1_000_000 --loss 0.01 --spikes 0.001 --output city.parquet
  windrow generate --realtime --rate 10
  windrow generate --disorder 10s --seed 7 | head -3

A share is a number from 0 to 1. What is wrong with a reading stands in its label.";

#[derive(Debug, Default, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Generate {
    /// How many readings the sensors take [default: endless]
    #[arg(short = 'n', long, value_name = "N")]
    rows: Option<String>,
    /// How many sensors take turns [default: 100]
    #[arg(long, value_name = "N")]
    sensors: Option<String>,
    /// Readings per second of event time, of all sensors together [default: 1000]
    #[arg(long, value_name = "N")]
    rate: Option<String>,
    /// The first reading's time [default: 2026-01-01, or now with --realtime]
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Another seed gives other readings [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// The most that a reading is delayed, such as 10s [default: 0]
    #[arg(long, value_name = "TIME")]
    disorder: Option<String>,
    /// The share of readings that are delayed [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    delay_share: Option<String>,
    /// The share of readings that never arrive [default: 0]
    #[arg(long, value_name = "SHARE")]
    loss: Option<String>,
    /// The share of readings that arrive twice [default: 0]
    #[arg(long, value_name = "SHARE")]
    duplicates: Option<String>,
    /// The share of readings that are far too high [default: 0]
    #[arg(long, value_name = "SHARE")]
    spikes: Option<String>,
    /// The share of sensors that repeat a value for a while [default: 0]
    #[arg(long, value_name = "SHARE")]
    stuck: Option<String>,
    /// The share of sensors that give nothing for a while [default: 0]
    #[arg(long, value_name = "SHARE")]
    silent: Option<String>,
    /// The share of readings without a value [default: 0]
    #[arg(long, value_name = "SHARE")]
    nulls: Option<String>,
    /// What is measured: city or plant [default: city]
    #[arg(long, value_name = "NAME")]
    theme: Option<String>,
    /// Give a second of event time a second, from now on
    #[arg(long)]
    realtime: bool,
    /// ndjson, csv, line, arrow, parquet, json, table or markdown [default: by the name of
    /// the output, otherwise ndjson]
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<OutputFormat>,
    /// A file that appears when it is whole [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is made, and where it goes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) options: GeneratorOptions,
    pub(super) format: OutputFormat,
    /// `None`: stdout.
    pub(super) file: Option<PathBuf>,
}

impl Generate {
    /// What the arguments ask for.
    ///
    /// # Errors
    /// If a value does not fit; the error names the argument.
    pub(super) fn plan(self) -> Result<Plan> {
        if self.output.is_some() && self.rows.is_none() {
            return Err(
                Error::new(ErrorKind::Option, "--output needs --rows to end")
                    .help("say how many, or --rows endless to go on until Ctrl-C"),
            );
        }
        let texts = [
            ("rows", self.rows.or(Some("endless".into()))),
            ("sensors", self.sensors),
            ("rate", self.rate),
            ("start", self.start),
            ("seed", self.seed),
            ("disorder", self.disorder),
            ("delay_share", self.delay_share),
            ("loss", self.loss),
            ("duplicates", self.duplicates),
            ("spikes", self.spikes),
            ("stuck", self.stuck),
            ("silent", self.silent),
            ("nulls", self.nulls),
            ("theme", self.theme),
            ("realtime", Some(self.realtime.to_string())),
        ];
        let pairs: BTreeMap<String, String> = (texts.into_iter())
            .filter_map(|(name, text)| Some((name.to_owned(), text?)))
            .collect();
        let (options, _) = GeneratorOptions::from_pairs(&pairs)?;
        let by_name = self.output.as_deref().and_then(OutputFormat::of_path);
        Ok(Plan {
            options,
            format: self.format.or(by_name).unwrap_or(OutputFormat::Ndjson),
            file: self.output,
        })
    }
}

impl Plan {
    /// Writes a file, whole or not at all. When `cancel` is set, endless readings end
    /// there; of a number of readings there is none, and the file's name is the answer.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write_file(
        self,
        path: &std::path::Path,
        cancel: &AtomicBool,
    ) -> Result<Option<String>> {
        let is_endless = self.options.rows.is_none();
        let pairs = BTreeMap::from([
            ("path".to_owned(), path.display().to_string()),
            ("format".to_owned(), self.format.to_string()),
        ]);
        let (options, _) = FileSinkOptions::from_pairs(&pairs)?;
        let mut sink = FileSink::create(options, &generator::schema())?;
        let mut source = GeneratorSource::open(self.options)?;
        let written = waves(&mut source, cancel, |batches| {
            let mut batches = batches
                .iter()
                .take_while(|_| !cancel.load(Ordering::Relaxed));
            Ok(batches.try_for_each(|rows| sink.write(rows))?)
        });
        match written {
            Ok(()) if cancel.load(Ordering::Relaxed) && !is_endless => Ok(sink.stop()?),
            Ok(()) => {
                sink.finish()?;
                Ok(None)
            }
            Err(error) => {
                sink.abort();
                Err(error)
            }
        }
    }

    /// Writes to a pipe until the end, or until `cancel` is set.
    ///
    /// # Errors
    /// If it cannot be written, or nobody reads it any more.
    pub(super) fn write_pipe(
        self,
        width: Option<u16>,
        pipe: &Pipe,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let mut writer = Writer::new(self.format, width)?;
        let mut source = GeneratorSource::open(self.options)?;
        waves(&mut source, cancel, |batches| {
            writer.write(batches, pipe, cancel)
        })?;
        writer.finish(pipe)?;
        pipe.drain().map_err(unwritten)
    }
}

/// Gives what a source has, a few batches at a time, until it ends or `cancel` is set.
fn waves(
    source: &mut GeneratorSource,
    cancel: &AtomicBool,
    mut take: impl FnMut(&[RecordBatch]) -> Result<()>,
) -> Result<()> {
    let mut wave = Vec::new();
    let mut has_ended = false;
    while !has_ended && !cancel.load(Ordering::Relaxed) {
        let mut wait = LOOK;
        while wave.len() < WAVE_BATCHES_MAX {
            match source.poll(wait)? {
                SourceEvent::Batch { records, .. } => wave.push(records),
                SourceEvent::Pending => break,
                SourceEvent::PartitionEnd(_)
                | SourceEvent::Watermark(_)
                | SourceEvent::Dropped(_) => {}
                SourceEvent::End => {
                    has_ended = true;
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        take(&wave)?;
        wave.clear();
    }
    Ok(())
}

/// Makes bytes of batches.
enum Writer {
    /// Each batch for itself; the options of the next.
    Apart(OutputFormat, EncodeOptions),
    /// One after another.
    InTurn(Box<dyn Encoder>),
}

impl Writer {
    fn new(format: OutputFormat, width: Option<u16>) -> Result<Self> {
        let options = EncodeOptions {
            width,
            ..EncodeOptions::default()
        };
        Ok(match format {
            OutputFormat::Csv | OutputFormat::Ndjson | OutputFormat::Line => {
                Self::Apart(format, options)
            }
            _ => Self::InTurn(encoder(format, &options, &generator::schema())?),
        })
    }

    /// Writes batches in order, as far as `cancel` lets it come.
    fn write(&mut self, batches: &[RecordBatch], pipe: &Pipe, cancel: &AtomicBool) -> Result<()> {
        let goes_on = || !cancel.load(Ordering::Relaxed);
        match self {
            Self::Apart(format, options) => {
                let format = *format;
                let later = EncodeOptions {
                    header: false,
                    ..options.clone()
                };
                let chunks: Vec<_> = (batches.par_iter().enumerate())
                    .map(|(place, rows)| {
                        let options = if place == 0 { &*options } else { &later };
                        goes_on().then(|| bytes(format, options, rows))
                    })
                    .collect();
                if !chunks.is_empty() {
                    *options = later;
                }
                for chunk in chunks.into_iter().map_while(|chunk| chunk) {
                    pipe.send(chunk?).map_err(unwritten)?;
                }
                Ok(())
            }
            Self::InTurn(encoder) => {
                for rows in batches.iter().take_while(|_| goes_on()) {
                    let mut chunk = Vec::new();
                    encoder.encode(rows, &mut chunk)?;
                    pipe.send(chunk).map_err(unwritten)?;
                }
                Ok(())
            }
        }
    }

    fn finish(self, pipe: &Pipe) -> Result<()> {
        let mut chunk = Vec::new();
        match self {
            Self::Apart(format, options) => {
                // Where there was no row, there is a header still.
                encoder(format, &options, &generator::schema())?.finish(&mut chunk)?;
            }
            Self::InTurn(mut encoder) => encoder.finish(&mut chunk)?,
        }
        pipe.send(chunk).map_err(unwritten)
    }
}

fn bytes(format: OutputFormat, options: &EncodeOptions, rows: &RecordBatch) -> Result<Vec<u8>> {
    let mut chunk = Vec::new();
    encoder(format, options, &rows.schema())?.encode(rows, &mut chunk)?;
    Ok(chunk)
}
