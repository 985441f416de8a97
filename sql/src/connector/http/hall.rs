//! The streams that share an address, and what their clients share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::budget::Budget;
use super::door::{Door, Post};
use crate::error::{Error, ErrorKind, Result};

/// The bodies that all clients of a server are sending may take so many bytes, or twice the
/// largest that is allowed.
const BODIES_BYTES_MAX: usize = 256 << 20;

/// The doors at one address.
#[derive(Debug)]
pub(super) struct Hall {
    doors: RwLock<Vec<Arc<Door>>>,
    pub(super) budget: Budget,
    /// Held while a body is given to its queues, so that all of them take it or none.
    admission: Mutex<()>,
    /// Whether nobody is served any more.
    pub(super) stop: AtomicBool,
}

impl Hall {
    pub(super) fn new() -> Self {
        Self {
            doors: RwLock::default(),
            budget: Budget::new(BODIES_BYTES_MAX),
            admission: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Opens a door.
    ///
    /// # Errors
    /// If another has its name or its measurement.
    pub(super) fn open(&self, door: &Arc<Door>) -> Result<()> {
        let mut doors = self.doors.write().unwrap_or_else(PoisonError::into_inner);
        let twin = |what: &str, name: &str| {
            let message = format!("{what} {name} is served at this address already");
            Error::new(ErrorKind::Option, message)
        };
        for other in doors.iter() {
            if other.stream == door.stream {
                return Err(twin("the path of stream", &door.stream)
                    .help("two streams of one name need two addresses"));
            }
            if other.options.measurement == door.options.measurement {
                return Err(twin("the measurement", &door.options.measurement)
                    .help("name another with the option measurement"));
            }
        }
        self.budget
            .raise(door.options.body_bytes_max.saturating_mul(2));
        doors.push(door.clone());
        Ok(())
    }

    /// Closes a door. Whether it was the last.
    pub(super) fn close(&self, door: &Arc<Door>) -> bool {
        let mut doors = self.doors.write().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|other| !Arc::ptr_eq(other, door));
        doors.is_empty()
    }

    /// The streams that are served.
    pub(super) fn doors(&self) -> Vec<Arc<Door>> {
        (self.doors.read().unwrap_or_else(PoisonError::into_inner)).clone()
    }

    /// What the most generous of the streams allows.
    pub(super) fn most<T: Ord>(&self, of: impl Fn(&Door) -> T) -> Option<T> {
        self.doors().iter().map(|door| of(door)).max()
    }

    /// How long a client may say nothing; `None`: any time.
    pub(super) fn client_timeout(&self) -> Option<Duration> {
        let longest = self.most(|door| door.options.client_timeout.unwrap_or(Duration::MAX));
        longest.filter(|longest| *longest != Duration::MAX)
    }

    /// Gives bodies to their queues: all of them, or none.
    ///
    /// # Errors
    /// Names the stream whose queue is full.
    pub(super) fn admit(&self, posts: Vec<(Arc<Door>, Post)>) -> Result<(), String> {
        let _one_at_a_time = self
            .admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let weighed: Vec<_> = (posts.into_iter())
            .map(|(door, post)| (post.content.weight(), door, post))
            .collect();
        for (weight, door, _) in &weighed {
            if !door.has_room(*weight) && !door.queue.is_closed() {
                return Err(door.stream.clone());
            }
        }
        for (weight, door, post) in weighed {
            // Others only take out. A queue that was closed meanwhile drops the body, and
            // its ticket tells.
            drop(door.queue.try_push(post, weight));
        }
        Ok(())
    }
}
