//! Bodies on their way to a receiver: at least once, in order, each with a key.
//!
//! What the receiver cannot take now, by its own word or because it is not there, is sent
//! again after a while that doubles, byte for byte and with the same key. It may have been
//! taken before, and only the answer was lost: whoever remembers the keys drops what comes
//! twice. What the receiver will never take is an error.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;

use crate::error::{Error, ErrorKind, Result, reason};
use crate::format::rows::cut;
use crate::secret::without_password;

/// What lies between two attempts: twice as much after each, up to the second.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A receiver that says when to come again is not waited for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Once the work is to stop, a receiver that is away is tried for so long.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Once nobody waits for the end of the rows, a receiver has so long to take the next body.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// So often a sender that waits sees whether it is to stop.
const WAKE: Duration = Duration::from_millis(20);

/// So much of an answer is read, and shown.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const ANSWER_SHOWN_BYTES: usize = 300;

/// Where bodies go, and how.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) url: String,
    /// The value of the header Authorization.
    pub(super) authorization: Option<String>,
    pub(super) content_type: &'static str,
    pub(super) content_encoding: Option<&'static str>,
    /// One attempt takes so long at most.
    pub(super) request_timeout: Duration,
    /// All attempts take so long at most, about; `None`: any time.
    pub(super) retry_timeout: Option<Duration>,
}

/// Some rows.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// The same for each attempt, and for nothing else.
    pub(super) key: String,
    /// The number of the first row among all that the sink was given, from 1.
    pub(super) first_row: u64,
    pub(super) rows: u64,
}

/// Whether bodies are still to be delivered.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// Nobody waits for anything any more.
    pub(super) is_abandoned: AtomicBool,
    /// Set when the work is to stop.
    pub(super) asked: OnceLock<Arc<AtomicBool>>,
    /// When that was seen first.
    seen_at: OnceLock<Instant>,
    /// Since when nothing has been taken, once nobody waits for the end of the rows.
    leaving: Mutex<Option<Instant>>,
}

impl Stop {
    fn is_asked(&self) -> bool {
        self.asked.get().is_some_and(|asked| asked.load(Relaxed))
    }

    /// A receiver that takes nothing is not waited for from now on.
    pub(super) fn leave(&self) {
        *self.leaving() = Some(Instant::now());
    }

    /// A body has been taken.
    pub(super) fn has_moved(&self) {
        if let Some(since) = &mut *self.leaving() {
            *since = Instant::now();
        }
    }

    fn leaving(&self) -> MutexGuard<'_, Option<Instant>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is tried again.
    pub(super) fn is_over(&self) -> bool {
        self.is_abandoned.load(Relaxed)
            || (*self.leaving()).is_some_and(|since| since.elapsed() > LEAVE_TIMEOUT)
            || (self.is_asked() && self.seen_at.get_or_init(Instant::now).elapsed() > STOP_TIMEOUT)
    }
}

/// What became of an attempt.
enum Attempt {
    Taken,
    /// It may be taken later: why not now, and when the receiver says.
    Later(String, Option<Duration>),
    /// It will never be taken.
    Never(Error),
}

/// Posts bodies.
#[derive(Debug)]
pub(super) struct Postman {
    route: Route,
    agent: Agent,
    stop: Arc<Stop>,
}

impl Postman {
    /// Posts along `route`, until `stop` says that it is over.
    pub(super) fn new(route: Route, stop: Arc<Stop>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // What is posted is not to be fetched elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Nothing but what is written: not what the surroundings say.
            .proxy(None)
            .user_agent("windrow")
            .timeout_global(Some(route.request_timeout))
            .build()
            .new_agent();
        Self { route, agent, stop }
    }

    /// Posts a body until it is taken.
    ///
    /// # Errors
    /// If the receiver refuses it, or has not taken it after all that time.
    pub(super) fn deliver(&self, body: &Body) -> Result<()> {
        let began = Instant::now();
        let (mut wait, longest) = RETRY_WAITS;
        loop {
            let (reason, told) = match self.attempt(body) {
                Attempt::Taken => return Ok(()),
                Attempt::Never(error) => return Err(error),
                Attempt::Later(reason, told) => (reason, told),
            };
            let waited = began.elapsed();
            let left = (self.route.retry_timeout).map(|longest| longest.saturating_sub(waited));
            if left == Some(Duration::ZERO) {
                let message = format!(
                    "{}: tried for {:.1} s in vain, at last: {reason}",
                    self.shown(body),
                    waited.as_secs_f64()
                );
                return Err(Error::new(ErrorKind::Io, message)
                    .help("see whether the receiver runs, or raise the option retry_timeout"));
            }
            // However long the receiver is away or busy, it is tried when the time is over.
            let pause = told.map_or(wait, |told| told.clamp(wait, RETRY_AFTER_MAX));
            let pause = left.map_or(pause, |left| pause.min(left));
            let slept = Instant::now();
            while slept.elapsed() < pause {
                if self.stop.is_over() {
                    let message =
                        format!("{}: {reason}, and then it was stopped", self.shown(body));
                    return Err(
                        Error::new(ErrorKind::Io, message).help("see whether the receiver runs")
                    );
                }
                thread::sleep(WAKE.min(pause));
            }
            wait = (wait * 2).min(longest);
        }
    }

    /// The place and the rows, for errors.
    fn shown(&self, body: &Body) -> String {
        let (first, url) = (body.first_row, without_password(&self.route.url));
        match body.rows {
            0 | 1 => format!("posting row {first} to {url}"),
            rows => format!("posting rows {first} to {} to {url}", first + rows - 1),
        }
    }

    fn attempt(&self, body: &Body) -> Attempt {
        let route = &self.route;
        let mut request = (self.agent.post(&route.url))
            .header("Content-Type", route.content_type)
            .header("Idempotency-Key", &body.key)
            .header("Windrow-First-Row", body.first_row.to_string())
            .header("Windrow-Rows", body.rows.to_string());
        if let Some(encoding) = route.content_encoding {
            request = request.header("Content-Encoding", encoding);
        }
        if let Some(authorization) = &route.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = match request.send(&body.bytes[..]) {
            Ok(response) => response,
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => {
                let message = format!("{}: {error}", self.shown(body));
                return Attempt::Never(Error::new(ErrorKind::Io, message));
            }
            Err(ureq::Error::Io(error)) => return Attempt::Later(reason(&error), None),
            Err(error) => return Attempt::Later(error.to_string(), None),
        };
        let status = response.status();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let (retry_after, location) = (header("retry-after"), header("location"));
        // Read to its end, the connection serves the next body too. Of an answer that cannot
        // be read the status still counts.
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let answer = answer.read_to_vec().unwrap_or_default();
        if status.is_success() {
            return Attempt::Taken;
        }
        let said = match cut(answer.trim_ascii(), ANSWER_SHOWN_BYTES) {
            said if said.is_empty() => status.to_string(),
            said => format!("{status}: {said}"),
        };
        if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
            let after = retry_after.and_then(|value| value.trim().parse().ok());
            return Attempt::Later(said, after.map(Duration::from_secs));
        }
        let error = Error::new(ErrorKind::Io, format!("{}: {said}", self.shown(body)));
        Attempt::Never(match (status.as_u16(), location) {
            (300..=399, Some(location)) => {
                error.help(format!("the receiver has moved: write url = '{location}'"))
            }
            (300..=399, None) => {
                error.help("the receiver has moved and does not say where: ask for its new url")
            }
            (401 | 403, _) if route.authorization.is_none() => error.help(
                "the receiver asks who posts: add the option authorization, for example \
                 authorization = 'Bearer 1234'",
            ),
            (401 | 403, _) => error.help(
                "the receiver knows the option authorization not, or may not take rows from it: \
                 see whether it is right",
            ),
            (404 | 410, _) => error.help("see whether the path of the url is right"),
            _ => error.help(
                "the receiver will not take these rows: see what it asks for, and change the \
                 query, the format or the url",
            ),
        })
    }
}
