//! Where a file is written: what stands under its name already, and what may replace it.
//!
//! ```text
//!  nothing        a new file
//!  a file         replaced by a rename; the new one has the mode of the old one
//!  a symlink      what it points to is replaced, the link stays
//!  all the rest   (a pipe, a device, a socket) is no place for a file that is renamed
//! ```

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, reason};

/// Links that are followed: as many as the operating system would.
const LINKS_MAX: usize = 40;

/// A file to be, by the name that is renamed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The file: no symbolic link.
    pub(super) file: PathBuf,
    /// The permissions of the file that is replaced.
    pub(super) permissions: Option<Permissions>,
}

impl Target {
    /// The target of a path.
    ///
    /// # Errors
    /// If what stands there is no file, or there is no folder for it.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let file = followed(path)?;
        let permissions = match fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
            Ok(metadata) => return Err(no_file(path, &metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("cannot write to", path, error)),
        };
        let target = Self { file, permissions };
        if !target.folder().is_dir() {
            let message = format!(
                "cannot write to '{}': its folder is missing",
                path.display()
            );
            return Err(Error::new(ErrorKind::Io, message)
                .help(format!("create the folder '{}'", target.folder().display())));
        }
        Ok(target)
    }

    /// The folder that holds the file.
    pub(super) fn folder(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }
}

/// What a path stands for behind symbolic links, whether that exists or not.
fn followed(path: &Path) -> Result<PathBuf> {
    let mut file = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&file) {
            Ok(next) => file = file.parent().unwrap_or(Path::new("")).join(next),
            // It is no link, or is not there.
            Err(_) => return Ok(file),
        }
    }
    let message = format!(
        "cannot write to '{}': its links lead in circles",
        path.display()
    );
    Err(Error::new(ErrorKind::Io, message))
}

/// The one name of a file or folder that may not exist yet, for comparing.
pub(super) fn identity(path: &Path) -> PathBuf {
    let file = followed(path).unwrap_or_else(|_| path.to_path_buf());
    if let Ok(found) = file.canonicalize() {
        return found;
    }
    let folder = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match (folder.canonicalize(), file.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => std::path::absolute(&file).unwrap_or(file),
    }
}

fn no_file(path: &Path, metadata: &Metadata) -> Error {
    let message = format!(
        "cannot write to '{}': it is {}, not a file",
        path.display(),
        noun(metadata)
    );
    Error::new(ErrorKind::Io, message).help(
        "a file is written beside and renamed; for anything else write \
         connector = 'stdout' and redirect the output of windrow",
    )
}

#[cfg(unix)]
fn noun(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(not(unix))]
fn noun(metadata: &Metadata) -> &'static str {
    match metadata.is_dir() {
        true => "a folder",
        false => "a device",
    }
}

/// The error of something that the operating system refuses.
pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("{what} '{}': {}", path.display(), reason(&error));
    Error::new(ErrorKind::Io, message).caused_by(error)
}
