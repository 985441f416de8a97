//! The options of files that are followed, and which files can be.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::file::{matching, not_found};
use super::registry::Pairs;
use crate::error::{Error, ErrorKind, Result};
use crate::format::encode::setting::Settings;
use crate::format::text::TextFormat;
use crate::format::{Compression, Format, FormatOptions};

/// So often files are looked at (`poll_interval`).
const POLL_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);

/// How many files are followed at a time (`files_max`): each is open.
const FILES_MAX_DEFAULT: usize = 512;

/// The default of `line_bytes_max`: as much as each file may make us hold.
const LINE_BYTES_MAX_DEFAULT: usize = 1 << 20;

/// The options that are for files which are followed.
pub(super) const FOLLOW_OPTIONS: [&str; 3] = ["follow", "poll_interval", "files_max"];

/// How files are followed.
#[derive(Debug, Clone)]
pub(super) struct FollowOptions {
    pub(super) poll_interval: Duration,
    pub(super) files_max: usize,
}

impl FollowOptions {
    /// Reads these options out of all options of a stream; gives back the others. `None`:
    /// files are read to their end.
    ///
    /// # Errors
    /// If a value does not fit.
    pub(super) fn from_pairs(pairs: &Pairs) -> Result<(Option<Self>, Pairs)> {
        let mut settings = Settings::new(pairs);
        let follows = settings.flag("follow")?.unwrap_or(false);
        let poll_interval = settings.duration("poll_interval")?;
        let files_max = settings.count("files_max", 1..=1 << 20)?;
        let mut rest = pairs.clone();
        rest.retain(|name, _| !FOLLOW_OPTIONS.contains(&name.as_str()));
        if !follows {
            let given = [
                poll_interval.map(|_| "poll_interval"),
                files_max.map(|_| "files_max"),
            ];
            return match given.into_iter().flatten().next() {
                None => Ok((None, rest)),
                Some(name) => Err(Error::new(
                    ErrorKind::Option,
                    format!("{name} is an option of files that are followed"),
                )
                .help(format!("add follow = 'true', or leave {name} out"))),
            };
        }
        let options = Self {
            poll_interval: poll_interval.unwrap_or(POLL_INTERVAL_DEFAULT),
            files_max: files_max.map_or(FILES_MAX_DEFAULT, |count| count as usize),
        };
        Ok((Some(options), rest))
    }

    /// The files that a path stands for now; there may be none yet.
    ///
    /// # Errors
    /// If there can be none, or what is there cannot be followed.
    pub(super) fn expand(&self, pattern: &str, format: &FormatOptions) -> Result<Vec<PathBuf>> {
        let paths = matching(pattern)?;
        let path = Path::new(pattern);
        let folder = match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => path,
        };
        if paths.is_empty() && !pattern.contains(['*', '?', '[']) && !folder.is_dir() {
            return Err(not_found(path));
        }
        if paths.len() > self.files_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "{} files match '{pattern}', and files_max = {} of them can be followed",
                    paths.len(),
                    self.files_max
                ),
            )
            .help("narrow the pattern, or raise files_max and the limit of open files"));
        }
        for path in &paths {
            if !path.is_file() {
                let message = format!("{} is no file that can be followed", path.display());
                return Err(Error::new(ErrorKind::Option, message)
                    .help("read a pipe with connector = 'stdin', or without follow"));
            }
            lines_of(path, format)?;
        }
        if let (true, Some(format)) = (paths.is_empty(), format.format) {
            lines(format)?;
        }
        Ok(paths)
    }

    /// The limit of a line where the option does not say otherwise.
    pub(super) fn limit_lines(&self, pairs: &Pairs, format: &mut FormatOptions) {
        if !pairs.contains_key("line_bytes_max") {
            format.line_bytes_max = LINE_BYTES_MAX_DEFAULT;
        }
    }
}

/// Refuses a format whose rows are no lines.
fn lines(format: Format) -> Result<()> {
    if let Format::Csv | Format::Ndjson | Format::Line = format {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Option,
        format!("format {format} cannot be followed: its rows are no lines"),
    )
    .help("follow csv, ndjson or line, or leave follow out"))
}

/// How the lines of a file are read.
///
/// # Errors
/// If it holds none that can be followed.
pub(super) fn lines_of(path: &Path, format: &FormatOptions) -> Result<TextFormat> {
    let (kind, compression) = format.resolve(path)?;
    lines(kind)?;
    if compression != Compression::None {
        let message = format!("{} is compressed and cannot be followed", path.display());
        return Err(Error::new(ErrorKind::Option, message)
            .help("narrow the pattern, so that it leaves compressed files out"));
    }
    Ok(TextFormat {
        format: kind,
        delimiter: format.delimiter_of(path),
        options: Arc::new(format.clone()),
    })
}
