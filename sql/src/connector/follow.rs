//! Files that are followed as they grow.
//!
//! ```text
//!  list ─▶ new files ─▶ │ a │ b │ c │ ─▶ each in turn: whole lines ─▶ parsers ─▶ rows
//!    ▲                     │
//!    └──── poll_interval ──┘ gone and read to its end: let go
//! ```
//!
//! Each file is a partition. A line is a row once its line end is written. A file that is
//! renamed is read on under its old name; the file that takes its name begins when all of
//! the old one has been read. One that is gone, or is called otherwise than the path says,
//! is let go when nothing has been added to it for [`LET_GO_AFTER`]. What is wrong with one
//! file is rejected with a reason; the others go on.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow::{self, Continue};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use windrow_core::stream::{Backlog, RULE_NOTICE, Reject, Source, SourceEvent};

use super::file::matching;
use super::follow_options::{FollowOptions, lines_of};
use super::reading::{Reading, RowFeed, SourceOptions};
use super::registry::Connector;
use super::stdout::is_caused_by;
use super::tail::{FileId, Grown, Tail, TailReader};
use crate::error::{Error, ErrorKind, Result};
use crate::format::FormatOptions;
use crate::format::columnar::shown;
use crate::format::reader::Counted;
use crate::format::rows::{REJECT_TEXT_BYTES_MAX, cut};
use crate::format::text::{TextFormat, TextReader};

/// Who writes to a file that was renamed or deleted may do so for a while.
const LET_GO_AFTER: Duration = Duration::from_secs(5);

/// So many chunks of a file are read before the next one has its turn.
const TURN_CHUNKS: usize = 8;

/// Looking for new files takes no more than this part of the time.
const LISTING_SHARE: u32 = 10;

/// So often a thread that waits sees whether it is to stop.
const WAKE: Duration = Duration::from_millis(50);

/// Files that are followed.
#[derive(Debug, Clone)]
pub(super) struct Following {
    pub(super) pattern: String,
    /// Those that are there at the start.
    pub(super) paths: Vec<PathBuf>,
    pub(super) schema: SchemaRef,
    pub(super) format: FormatOptions,
    pub(super) options: SourceOptions,
    pub(super) follow: FollowOptions,
}

impl Connector for Following {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn partitions(&self) -> u32 {
        self.paths.len() as u32
    }

    fn is_live(&self) -> bool {
        true
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        let stop = Arc::new(AtomicBool::new(false));
        let follower = Follower {
            how: self.clone(),
            stop: stop.clone(),
            partitions: 0,
            files: Vec::new(),
            is_full: false,
        };
        let reading = Reading::new("follow", &self.schema, &self.options, move |feed| {
            let mut follower = follower;
            let _open = follower.run(feed);
            Ok(())
        });
        Ok(Box::new(FollowSource {
            reading,
            partitions: self.partitions(),
            stop,
        }))
    }
}

/// Rows of files that grow.
struct FollowSource {
    reading: Reading,
    partitions: u32,
    stop: Arc<AtomicBool>,
}

impl fmt::Debug for FollowSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowSource")
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

impl Drop for FollowSource {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

impl Source for FollowSource {
    fn schema(&self) -> SchemaRef {
        self.reading.schema()
    }

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn is_live(&self) -> bool {
        true
    }

    fn poll(&mut self, wait: Duration) -> windrow_core::Result<SourceEvent> {
        self.reading.poll(wait)
    }

    fn backlog(&self) -> Option<Backlog> {
        self.reading.backlog()
    }

    fn waited(&self) -> Duration {
        self.reading.waited()
    }
}

/// A file that is followed.
struct Followed {
    id: FileId,
    /// The name under which it was found.
    path: PathBuf,
    partition: u32,
    /// `None`: it has been given up.
    open: Option<Open>,
    /// Whether all that was there at the last look has been read.
    at_end: bool,
    grown_at: Instant,
    /// Whether it has had a turn: before, it may wait for another of its name.
    has_begun: bool,
    /// Whether the path stands for it.
    is_listed: bool,
}

struct Open {
    tail: Tail,
    read: Arc<AtomicU64>,
    rows: TextReader<Counted<TailReader>>,
    text: TextFormat,
}

/// What follows files.
struct Follower {
    how: Following,
    stop: Arc<AtomicBool>,
    /// How many partitions there have been.
    partitions: u32,
    /// In the order in which they were found.
    files: Vec<Followed>,
    /// Whether it has been said that there are too many.
    is_full: bool,
}

impl Follower {
    fn is_open(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn run(&mut self, feed: &RowFeed<'_>) -> ControlFlow<()> {
        for path in self.how.paths.clone() {
            let partition = self.partitions;
            self.find(&path, feed)?;
            if self.partitions == partition {
                // It has gone in the meantime, or has two names.
                self.partitions += 1;
                feed.end(partition)?;
            }
        }
        let (mut listed_at, mut listing) = (None::<Instant>, Duration::ZERO);
        while self.is_open() {
            let pause = self.how.follow.poll_interval.max(listing * LISTING_SHARE);
            if listed_at.is_none_or(|at| at.elapsed() >= pause) {
                let start = Instant::now();
                self.list(feed)?;
                (listed_at, listing) = (Some(Instant::now()), start.elapsed());
            }
            let mut is_busy = false;
            for place in 0..self.files.len() {
                if self.files[place].has_begun || !self.waits(place) {
                    is_busy |= self.turn(place, feed)?;
                }
            }
            self.let_go(feed)?;
            if !is_busy {
                self.nap();
            }
        }
        Continue(())
    }

    fn nap(&self) {
        let mut left = self.how.follow.poll_interval.max(Duration::from_millis(1));
        while self.is_open() && !left.is_zero() {
            let nap = left.min(WAKE);
            thread::sleep(nap);
            left -= nap;
        }
    }

    /// Whether a file of the same name has to be read to its end first.
    fn waits(&self, place: usize) -> bool {
        let path = &self.files[place].path;
        let mut before = self.files[..place].iter();
        before.any(|file| file.path == *path && !file.at_end && file.open.is_some())
    }

    /// Looks for new files, and for those that are gone.
    fn list(&mut self, feed: &RowFeed<'_>) -> ControlFlow<()> {
        // A folder that cannot be read for a moment does not let its files go.
        let Ok(paths) = matching(&self.how.pattern) else {
            return Continue(());
        };
        self.files
            .iter_mut()
            .for_each(|file| file.is_listed = false);
        for path in paths {
            self.find(&path, feed)?;
        }
        Continue(())
    }

    /// Takes note of a file; a new one is followed.
    fn find(&mut self, path: &Path, feed: &RowFeed<'_>) -> ControlFlow<()> {
        let Ok(metadata) = fs::metadata(path) else {
            return Continue(());
        };
        if !metadata.is_file() || self.known(&FileId::of(path, &metadata)) {
            return Continue(());
        }
        if self.files.len() >= self.how.follow.files_max {
            if !std::mem::replace(&mut self.is_full, true) {
                let reason = format!(
                    "more than files_max = {} files match: it is not read before others are gone",
                    self.how.follow.files_max
                );
                feed.reject(self.partitions, notice(path, &reason))?;
            }
            return Continue(());
        }
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (id, open) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Continue(()),
            Err(error) => (
                FileId::of(path, &metadata),
                Err(Error::new(ErrorKind::Io, error.to_string())),
            ),
            Ok((metadata, file)) => {
                let id = FileId::of(path, &metadata);
                // Another one may have taken its name just now.
                if self.known(&id) {
                    return Continue(());
                }
                (id, self.open(path, Tail::new(file), feed))
            }
        };
        let partition = self.partitions;
        self.partitions += 1;
        if let Err(error) = &open {
            feed.reject(partition, given_up(path, error))?;
            feed.end(partition)?;
        }
        self.files.push(Followed {
            id,
            path: path.to_owned(),
            partition,
            open: open.ok(),
            at_end: false,
            grown_at: Instant::now(),
            has_begun: false,
            is_listed: true,
        });
        Continue(())
    }

    /// Whether a file is followed already.
    fn known(&mut self, id: &FileId) -> bool {
        let file = self.files.iter_mut().find(|file| file.id == *id);
        file.is_some_and(|file| {
            file.is_listed = true;
            true
        })
    }

    fn open(&self, path: &Path, tail: Tail, feed: &RowFeed<'_>) -> Result<Open> {
        let text = lines_of(path, &self.how.format)?;
        let read = Arc::new(AtomicU64::new(0));
        let rows = self.rows(path, &tail, &text, &read, feed)?;
        Ok(Open {
            tail,
            read,
            rows,
            text,
        })
    }

    /// The rows of a file from its beginning on.
    fn rows(
        &self,
        path: &Path,
        tail: &Tail,
        text: &TextFormat,
        read: &Arc<AtomicU64>,
        feed: &RowFeed<'_>,
    ) -> Result<TextReader<Counted<TailReader>>> {
        let options = &self.how.options;
        let shape = feed.shape(text, &shown(path), options.batch_rows);
        let counted = Counted::new(tail.reader(), read.clone());
        let chunks = text.chunks(counted, options.batch_bytes, true)?;
        let rows = TextReader::new(chunks, text.clone(), shape);
        // Where a file was there, the columns were compared with its own.
        Ok(match self.how.paths.is_empty() {
            true => rows.all_named(),
            false => rows,
        })
    }

    /// Reads on in a file. Gives whether there may be more already.
    fn turn(&mut self, place: usize, feed: &RowFeed<'_>) -> ControlFlow<(), bool> {
        let file = &mut self.files[place];
        file.has_begun = true;
        let Some(open) = &mut file.open else {
            return Continue(false);
        };
        let looked = open.tail.look();
        match looked {
            Err(error) => {
                let error = Error::new(ErrorKind::Io, error.to_string());
                return self.give_up(place, &error, feed);
            }
            Ok(Grown::No) => {
                file.at_end = true;
                return Continue(false);
            }
            Ok(Grown::Yes) => {
                (file.at_end, file.grown_at) = (false, Instant::now());
            }
            Ok(Grown::Anew) => {
                (file.at_end, file.grown_at) = (false, Instant::now());
                reject_rest(file.partition, &file.path, &open.rows, feed)?;
                let reason = "the file was written anew: it is read again from its beginning";
                feed.reject(file.partition, notice(&file.path, reason))?;
                return self.begin_again(place, feed);
            }
        }
        for _ in 0..TURN_CHUNKS {
            match open.rows.next() {
                Ok(Some((chunk, parser))) => {
                    let bytes = open.read.swap(0, Relaxed);
                    feed.chunk(file.partition, chunk, parser, bytes)?;
                }
                Err(error) if is_caused_by(&error, io::ErrorKind::WouldBlock) => {
                    file.at_end = true;
                    return Continue(false);
                }
                Err(error) => return self.give_up(place, &error, feed),
                Ok(None) => return Continue(false),
            }
        }
        Continue(true)
    }

    fn begin_again(&mut self, place: usize, feed: &RowFeed<'_>) -> ControlFlow<(), bool> {
        let Followed { path, open, .. } = &self.files[place];
        let Some(open) = open else {
            return Continue(false);
        };
        match self.rows(path, &open.tail, &open.text, &open.read, feed) {
            Ok(rows) => {
                if let Some(open) = &mut self.files[place].open {
                    open.rows = rows;
                }
                Continue(true)
            }
            Err(error) => self.give_up(place, &error, feed),
        }
    }

    /// Reads no more of a file, for a reason.
    fn give_up(
        &mut self,
        place: usize,
        error: &Error,
        feed: &RowFeed<'_>,
    ) -> ControlFlow<(), bool> {
        let file = &mut self.files[place];
        if let Some(open) = file.open.take() {
            feed.bytes(file.partition, open.read.swap(0, Relaxed))?;
        }
        feed.reject(file.partition, given_up(&file.path, error))?;
        feed.end(file.partition)?;
        Continue(false)
    }

    /// Lets files go that are gone.
    fn let_go(&mut self, feed: &RowFeed<'_>) -> ControlFlow<()> {
        let mut place = 0;
        while let Some(file) = self.files.get(place) {
            let is_quiet = file.at_end && file.grown_at.elapsed() >= LET_GO_AFTER;
            if file.is_listed || file.open.is_some() && !is_quiet {
                place += 1;
                continue;
            }
            let file = self.files.remove(place);
            self.is_full = false;
            if let Some(open) = file.open {
                reject_rest(file.partition, &file.path, &open.rows, feed)?;
                feed.bytes(file.partition, open.read.swap(0, Relaxed))?;
                feed.end(file.partition)?;
            }
        }
        Continue(())
    }
}

/// Rejects the line that a file ends with, if its line end is missing.
fn reject_rest(
    partition: u32,
    path: &Path,
    rows: &TextReader<Counted<TailReader>>,
    feed: &RowFeed<'_>,
) -> ControlFlow<()> {
    let rest = rows.rest();
    if rest.is_empty() {
        return Continue(());
    }
    let reject = Reject {
        text: cut(rest, REJECT_TEXT_BYTES_MAX),
        position: shown(path),
        reason: "the file ended in the middle of a line".into(),
        rule: "parse".into(),
    };
    feed.reject(partition, reject)
}

/// Why a file is not read: what stands in it counts as the row that cannot be read, where the
/// system does not let it be read there is none.
fn given_up(path: &Path, error: &Error) -> Reject {
    match error.kind() {
        ErrorKind::Io => notice(path, error.message()),
        _ => Reject {
            rule: "file".into(),
            ..notice(path, error.message())
        },
    }
}

/// A word about a file as a whole.
fn notice(path: &Path, reason: &str) -> Reject {
    Reject {
        text: String::new(),
        position: shown(path),
        // It may name what stands in the file.
        reason: cut(reason.as_bytes(), REJECT_TEXT_BYTES_MAX),
        rule: RULE_NOTICE.into(),
    }
}
