//! One file that grows: what has come since the last look, and whether it is still the
//! same text.
//!
//! ```text
//!  │ given on ………………………… │ a line being written │
//!                          └ held                  └ position
//! ```
//!
//! A file is told by its inode, not by its name. It is open as long as it is followed, so
//! that no other file can get its inode. That it was written anew shows in its length or
//! in its first bytes; a file that begins with the same bytes and is longer than before is
//! taken for the same.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use crate::format::reader::{Counted, Fill};

/// So many bytes tell whether a file begins as it did.
const HEAD_BYTES: usize = 1024;

/// What tells a file from all others that are there at the same time.
#[cfg(unix)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl FileId {
    pub(super) fn of(_: &Path, metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Where files have no number: the name, and when a file of this name was made.
#[cfg(not(unix))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileId {
    path: std::path::PathBuf,
    created: Option<SystemTime>,
}

#[cfg(not(unix))]
impl FileId {
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            created: metadata.created().ok(),
        }
    }
}

/// The end of a file at which bytes are read: where there are no more yet, reading would
/// block.
#[derive(Debug)]
pub(super) struct TailReader {
    file: Arc<File>,
    position: Arc<AtomicU64>,
}

impl Read for TailReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (&*self.file).read(buffer)? {
            0 if !buffer.is_empty() => Err(ErrorKind::WouldBlock.into()),
            len => {
                self.position.fetch_add(len as u64, Relaxed);
                Ok(len)
            }
        }
    }
}

impl Fill for Counted<TailReader> {}

/// What a look at a file finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Grown {
    /// Nothing new.
    No,
    /// There is more to be read.
    Yes,
    /// It was written anew: it is at its beginning again.
    Anew,
}

/// An open file that is looked at again and again.
#[derive(Debug)]
pub(super) struct Tail {
    file: Arc<File>,
    position: Arc<AtomicU64>,
    /// Its first bytes.
    head: Vec<u8>,
    /// Its length and its time at the last look.
    seen: Option<(u64, Option<SystemTime>)>,
}

impl Tail {
    /// A file from its beginning on.
    pub(super) fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            position: Arc::default(),
            head: Vec::new(),
            seen: None,
        }
    }

    /// What reads on where the last one ended.
    pub(super) fn reader(&self) -> TailReader {
        TailReader {
            file: self.file.clone(),
            position: self.position.clone(),
        }
    }

    /// Looks whether there is more.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub(super) fn look(&mut self) -> io::Result<Grown> {
        let metadata = self.file.metadata()?;
        let (len, position) = (metadata.len(), self.position.load(Relaxed));
        let seen = Some((len, metadata.modified().ok()));
        let is_touched = self.seen != seen;
        self.seen = seen;
        if is_touched || len < position {
            let head = self.read_head(len, position)?;
            let is_same = len >= position && head.starts_with(&self.head);
            // Also of a file that was written anew: it may be once more.
            self.head = head;
            if !is_same {
                (&*self.file).seek(SeekFrom::Start(0))?;
                self.position.store(0, Relaxed);
                return Ok(Grown::Anew);
            }
        }
        Ok(match len > position {
            true => Grown::Yes,
            false => Grown::No,
        })
    }

    /// The first bytes, as many as there are now.
    fn read_head(&self, len: u64, position: u64) -> io::Result<Vec<u8>> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(0))?;
        let mut head = Vec::new();
        file.take(len.min(HEAD_BYTES as u64))
            .read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(position))?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn rest(tail: &Tail) -> Vec<u8> {
        let (mut bytes, mut reader) = (Vec::new(), tail.reader());
        let error = reader.read_to_end(&mut bytes).expect_err("it has no end");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        bytes
    }

    /// Writes a file anew, at a time that its clock tells from the one before.
    fn rewrite(path: &Path, text: &str) {
        let before = fs::metadata(path).and_then(|file| file.modified());
        fs::write(path, text).expect("written");
        let later = before.expect("a time") + std::time::Duration::from_secs(1);
        let file = File::options().write(true).open(path).expect("a file");
        file.set_modified(later).expect("it is ours");
    }

    #[test]
    fn what_is_added_is_read_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let mut file = File::create(&path).expect("created");
        let mut tail = Tail::new(File::open(&path).expect("it is there"));
        assert_eq!(tail.look().expect("a file"), Grown::No);
        for text in ["one", "two", "three"] {
            file.write_all(text.as_bytes()).expect("written");
            assert_eq!(tail.look().expect("a file"), Grown::Yes);
            assert_eq!(rest(&tail), text.as_bytes());
            assert_eq!(tail.look().expect("a file"), Grown::No);
        }
    }

    #[test]
    fn a_file_that_is_written_anew_is_at_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        // Shorter, as long, and longer than what was read before.
        for text in ["abc", "uvwxyz", "uvwxyzuvw", "abcxyzuvw"] {
            fs::write(&path, "abcdef").expect("written");
            let mut tail = Tail::new(File::open(&path).expect("it is there"));
            assert_eq!(tail.look().expect("a file"), Grown::Yes);
            assert_eq!(rest(&tail), b"abcdef");
            assert_eq!(tail.look().expect("a file"), Grown::No);
            rewrite(&path, text);
            assert_eq!(tail.look().expect("a file"), Grown::Anew, "{text}");
            assert_eq!(tail.look().expect("a file"), Grown::Yes);
            assert_eq!(rest(&tail), text.as_bytes());
            // And once more, with nothing in between: as long, then longer.
            for again in ["n".repeat(text.len()), "m".repeat(text.len() + 3)] {
                assert_eq!(tail.look().expect("a file"), Grown::No);
                rewrite(&path, &again);
                assert_eq!(tail.look().expect("a file"), Grown::Anew, "{again}");
                assert_eq!(tail.look().expect("a file"), Grown::Yes);
                assert_eq!(rest(&tail), again.as_bytes());
            }
        }
    }
}
