//! Results to one file, or to a folder of parts.
//!
//! A file is written under a temporary name in its own folder and renamed when it is
//! complete: under its name there is a whole file or none.
//!
//! ```text
//! path = 'out.csv'   .out.csv.Xy12.tmp ──finish──▶ out.csv
//! path = 'out/'      out/.part.Xy12.tmp ──full, old or finish──▶ out/part-00000.parquet,
//!                                                    then out/part-00001.parquet, …
//! ```
//!
//! A part is complete when it holds `roll_rows` rows, when `roll_interval` of the wall
//! clock has passed since its first row, or at the end. A file that is there is replaced,
//! at the end; a folder that holds parts is refused, unless `existing` says whether they
//! are continued ('append') or removed when the first new one is complete ('replace').
//! What a killed process leaves behind begins with a point and is taken for no part. It is not
//! removed by the next one: its name does not tell whether another process, here or on another
//! machine of the same file system, is writing to it at this moment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tempfile::NamedTempFile;
use windrow_core::stream::Sink;

use super::target::{Target, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Encoder;
use crate::format::encode::setting::{Settings, unfit};
use crate::format::encode::{Compression, EncodeOptions, OutputFormat, encoder};

/// What a [`FileSink`] writes, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSinkOptions {
    /// A file; or a folder: it ends with `/`, or is one, or rows are rolled.
    pub path: PathBuf,
    /// The format of the files.
    pub format: OutputFormat,
    /// How rows are written.
    pub encode: EncodeOptions,
    /// Rows in a part.
    pub roll_rows: Option<u64>,
    /// How long a part is written to, by the wall clock.
    pub roll_interval: Option<Duration>,
    /// Whether a file is on the disk before it gets its name (default), so that it is
    /// whole or absent after a power loss too.
    pub fsync: bool,
    /// What becomes of parts that are in the folder already.
    pub existing: Existing,
}

/// What becomes of the parts that a folder holds before a [`FileSink`] writes to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and nothing is written.
    #[default]
    Refuse,
    /// They stay; their numbers are continued.
    Append,
    /// They are removed when the first new part is complete, or at the end.
    Replace,
}

impl FileSinkOptions {
    /// The names that [`FileSinkOptions::from_pairs`] knows besides those of
    /// [`EncodeOptions::NAMES`].
    pub const NAMES: [&'static str; 6] = [
        "path",
        "format",
        "roll_rows",
        "roll_interval",
        "fsync",
        "existing",
    ];

    /// Options by name, and the names that are unknown.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Option`] if a value does not fit; it says what is allowed.
    pub fn from_pairs(pairs: &BTreeMap<String, String>) -> Result<(Self, Vec<String>)> {
        let mut settings = Settings::new(pairs);
        let text = (settings.text("path")).ok_or_else(|| {
            Error::new(ErrorKind::Option, "a file sink needs the option path")
                .help("path = 'result.csv' is one file, path = 'out/' a folder of parts")
        })?;
        if text.is_empty() {
            return Err(unfit("path", text, "a file, or a folder that ends with /"));
        }
        let path = PathBuf::from(text);
        let format = match settings.text("format") {
            Some(word) => word.parse()?,
            None => OutputFormat::of_path(&path).ok_or_else(|| {
                Error::new(
                    ErrorKind::Option,
                    format!("the name '{text}' does not tell the format"),
                )
                .help("add format = 'parquet', 'csv', 'ndjson' or another")
            })?,
        };
        let mut encode = EncodeOptions::take(&mut settings)?;
        if !format.is_binary() {
            encode.compression = encode.compression.or(Compression::of_path(&path));
        }
        encode.arrow_file = path
            .extension()
            .is_none_or(|extension| extension != "arrows");
        if text.to_lowercase().ends_with(".tsv") && !pairs.contains_key("delimiter") {
            encode.delimiter = b'\t';
        }
        let roll_interval = settings.duration("roll_interval")?;
        if roll_interval == Some(Duration::ZERO) {
            return Err(unfit("roll_interval", "0", "longer than nothing"));
        }
        let existing = settings.parse("existing", "'append' or 'replace'", |word| match word {
            "append" => Some(Existing::Append),
            "replace" => Some(Existing::Replace),
            _ => None,
        })?;
        let options = Self {
            path,
            format,
            encode,
            roll_rows: settings.count("roll_rows", 1..=u64::MAX)?,
            roll_interval,
            fsync: settings.flag("fsync")?.unwrap_or(true),
            existing: existing.unwrap_or_default(),
        };
        if options.existing == Existing::Append && !options.is_folder() {
            return Err(unfit("existing", "append", "'replace', for a single file")
                .help("rows are added to a folder of parts: path = 'out/'"));
        }
        Ok((options, settings.rest()))
    }

    /// Whether files can be written where the path says, as far as can be seen without
    /// writing one.
    ///
    /// # Errors
    /// If not; it says what to change.
    pub(super) fn check(&self, schema: &SchemaRef) -> Result<()> {
        if self.is_folder() {
            self.parts()?;
        } else {
            Target::of(&self.path)?;
        }
        // That the format can hold the rows.
        encoder(self.format, &self.encode, schema).map(|_| ())
    }

    /// The parts in the folder, if it is there and they may be.
    fn parts(&self) -> Result<Vec<(u64, PathBuf)>> {
        let folder = &self.path;
        if !folder.exists() {
            return Ok(Vec::new());
        }
        if !folder.is_dir() {
            let name = folder.to_string_lossy();
            return Err(unfit("path", &name, "a folder, not a file")
                .help("roll_rows and roll_interval write several files: name a folder"));
        }
        let parts = parts_of(folder)?;
        if !parts.is_empty() && self.existing == Existing::Refuse {
            let message = format!("the folder '{}' holds parts already", folder.display());
            return Err(Error::new(ErrorKind::Option, message).help(
                "add existing = 'append' to continue them, existing = 'replace' to remove \
                 them, or name another path",
            ));
        }
        Ok(parts)
    }

    fn is_folder(&self) -> bool {
        self.roll_rows.is_some()
            || self.roll_interval.is_some()
            || self.path.to_string_lossy().ends_with('/')
            || self.path.is_dir()
    }

    /// The extension of a part, such as `csv.gz`.
    fn extension(&self) -> String {
        let packed = match self.encode.compression {
            _ if self.format.is_binary() => "",
            Some(Compression::Gzip) => ".gz",
            Some(Compression::Zstd) => ".zst",
            _ => "",
        };
        format!("{}{packed}", self.format.extension())
    }
}

/// Writes files that are whole or absent.
pub struct FileSink {
    options: FileSinkOptions,
    schema: SchemaRef,
    is_folder: bool,
    /// The number of the next part.
    next_part: u64,
    /// Parts to be removed when there are new ones.
    stale: Vec<PathBuf>,
    /// Whether the folder was not there before.
    made_folder: bool,
    /// The file that is being written.
    part: Option<Part>,
    clock: Box<dyn Fn() -> Instant + Send>,
}

struct Part {
    file: BufWriter<NamedTempFile>,
    encoder: Box<dyn Encoder>,
    rows: u64,
    opened: Instant,
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink")
            .field("options", &self.options)
            .field("next_part", &self.next_part)
            .finish_non_exhaustive()
    }
}

impl FileSink {
    /// A sink for rows of `schema`.
    ///
    /// # Errors
    /// If the folder of a single file is missing, a folder cannot be made, or the
    /// format cannot hold the rows.
    pub fn create(options: FileSinkOptions, schema: &SchemaRef) -> Result<Self> {
        Self::with_clock(options, schema, Box::new(Instant::now))
    }

    fn with_clock(
        options: FileSinkOptions,
        schema: &SchemaRef,
        clock: Box<dyn Fn() -> Instant + Send>,
    ) -> Result<Self> {
        let is_folder = options.is_folder();
        let mut sink = Self {
            options,
            schema: schema.clone(),
            is_folder,
            next_part: 0,
            stale: Vec::new(),
            made_folder: false,
            part: None,
            clock,
        };
        if is_folder {
            let parts = sink.options.parts()?;
            let folder = &sink.options.path;
            sink.made_folder = !folder.exists();
            fs::create_dir_all(folder).map_err(|error| failed("cannot create", folder, error))?;
            if sink.options.existing == Existing::Replace {
                sink.stale = parts.into_iter().map(|(_, path)| path).collect();
            } else if let Some(last) = parts.iter().map(|(number, _)| *number).max() {
                sink.next_part = last.saturating_add(1);
            }
            // The first part is opened with its first row; that the format can hold
            // the rows is known before.
            encoder(sink.options.format, &sink.options.encode, schema)?;
        } else {
            sink.part = Some(sink.open()?);
        }
        Ok(sink)
    }

    fn open(&self) -> Result<Part> {
        let path = &self.options.path;
        let mut prefix = ".part.".to_owned();
        let (folder, permissions) = if self.is_folder {
            (path.clone(), None)
        } else {
            let target = Target::of(path)?;
            let name = target.file.file_name().unwrap_or_default();
            prefix = format!(".{}.", name.to_string_lossy());
            (target.folder().to_path_buf(), target.permissions)
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As of any file: what the user's mask leaves of it. What replaces a secret
            // is one from the first byte on.
            let usual = fs::Permissions::from_mode(0o666);
            builder.permissions(permissions.unwrap_or(usual));
        }
        #[cfg(not(unix))]
        drop(permissions);
        let file = (builder.tempfile_in(folder))
            .map_err(|error| failed("cannot write to", path, error))?;
        const BUFFER_BYTES: usize = 1 << 18;
        Ok(Part {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            encoder: encoder(self.options.format, &self.options.encode, &self.schema)?,
            rows: 0,
            opened: (self.clock)(),
        })
    }

    /// Gives the open file its name.
    fn publish(&mut self) -> Result<()> {
        let Some(mut part) = self.part.take() else {
            return Ok(());
        };
        part.encoder.finish(&mut part.file)?;
        let path = self.options.path.clone();
        let mut file = (part.file.into_inner())
            .map_err(|error| failed("cannot write to", &path, error.into_error()))?;
        let mut folder = path.clone();
        if self.options.fsync {
            (file.as_file().sync_all()).map_err(|error| failed("cannot sync", &path, error))?;
        }
        if self.is_folder {
            self.remove_stale()?;
            loop {
                let name = format!("part-{:05}.{}", self.next_part, self.options.extension());
                self.next_part += 1;
                match file.persist_noclobber(path.join(name)) {
                    Ok(_) => break,
                    // Another writer was quicker: the next number is free.
                    Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                        file = error.file;
                    }
                    Err(error) => return Err(failed("cannot write to", &path, error.error)),
                }
            }
        } else {
            // Something else may stand there by now.
            let target = Target::of(&path)?;
            folder = target.folder().to_path_buf();
            if let Some(permissions) = target.permissions.clone() {
                (file.as_file().set_permissions(permissions))
                    .map_err(|error| failed("cannot set the permissions of", &path, error))?;
            }
            (file.persist(&target.file))
                .map_err(|error| failed("cannot write to", &path, error.error))?;
        }
        if self.options.fsync && cfg!(unix) {
            (File::open(folder).and_then(|folder| folder.sync_all()))
                .map_err(|error| failed("cannot sync the folder of", &path, error))?;
        }
        Ok(())
    }

    fn remove_stale(&mut self) -> Result<()> {
        for path in std::mem::take(&mut self.stale) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("cannot remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn publish_if_old(&mut self) -> Result<()> {
        match (&self.part, self.options.roll_interval) {
            (Some(part), Some(interval))
                if (self.clock)().saturating_duration_since(part.opened) >= interval =>
            {
                self.publish()
            }
            _ => Ok(()),
        }
    }

    fn append(&mut self, records: &RecordBatch) -> Result<()> {
        self.publish_if_old()?;
        let mut offset = 0;
        while offset < records.num_rows() {
            let mut part = match self.part.take() {
                Some(part) => part,
                None if self.is_folder => self.open()?,
                None => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "rows came after the end of a file",
                    ));
                }
            };
            let left = records.num_rows() - offset;
            let room = (self.options.roll_rows).map_or(u64::MAX, |rows| rows - part.rows);
            let length = usize::try_from(room).map_or(left, |room| room.min(left));
            part.encoder
                .encode(&records.slice(offset, length), &mut part.file)?;
            part.rows += length as u64;
            offset += length;
            let full = self.options.roll_rows == Some(part.rows);
            self.part = Some(part);
            if full {
                self.publish()?;
            }
        }
        Ok(())
    }
}

impl Sink for FileSink {
    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        Ok(self.append(records)?)
    }

    fn flush(&mut self) -> windrow_core::Result<()> {
        Ok(self.publish_if_old()?)
    }

    fn tick(&mut self) -> windrow_core::Result<()> {
        Ok(self.publish_if_old()?)
    }

    fn stop(&mut self) -> windrow_core::Result<Option<String>> {
        let is_cut = self.part.is_some();
        self.abort();
        let path = self.options.path.display();
        Ok(is_cut.then(|| match self.is_folder {
            true => format!("the last part of '{path}'"),
            false => format!("'{path}'"),
        }))
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        self.publish()?;
        Ok(self.remove_stale()?)
    }

    fn abort(&mut self) {
        // Dropping a temporary file removes it.
        self.part = None;
        if self.made_folder {
            // Only if nothing is in it.
            let _ = fs::remove_dir(&self.options.path);
        }
    }
}

/// The parts in a folder, with their numbers.
fn parts_of(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let unreadable = |error| failed("cannot read", folder, error);
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let number = (name.to_string_lossy().strip_prefix("part-"))
            .and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
        parts.extend(number.map(|number| (number, entry.path())));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
