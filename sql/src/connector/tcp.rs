//! Rows over TCP.
//!
//! ```text
//!  client ─▶ thread: whole lines ─┐
//!  client ─▶ thread: whole lines ─┼─▶ │ bounded queue │ ─▶ parsers ─▶ rows, in order
//!  client ─▶ thread: whole lines ─┘
//! ```
//!
//! Each client is a partition, from its first row until it leaves. While the queue is full
//! nobody reads, so that clients feel it at their own sockets. What a client does wrong is
//! rejected or ends its connection, with a reason; the others go on.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use windrow_core::stream::{Backlog, RULE_NOTICE, Reject, Sink, Source, SourceEvent};

use super::address::{addresses, in_use, own_address};
use super::client::{Client, Closed};
use super::reading::{Reading, RowFeed, SOURCE_OPTIONS, SourceOptions};
use super::registry::{Connector, ConnectorKind, Pairs};
use super::socket;
use super::tcp_sink::{TcpSink, TcpSinkOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::format::arrow_stream::{StreamEnd, StreamLimits, read_messages};
use crate::format::encode::setting::{Settings, unfit};
use crate::format::options::parse_count;
use crate::format::reader::Counted;
use crate::format::rows::{REJECT_TEXT_BYTES_MAX, cut};
use crate::format::text::{TextFormat, TextReader};
use crate::format::{FORMAT_OPTIONS, Format};
use crate::words::counted;

/// How many clients are served at a time; others wait to be accepted
/// (`connections_max`).
const CONNECTIONS_MAX_DEFAULT: usize = 1_024;

/// A client that says nothing for so long is sent away (`client_timeout`).
const CLIENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);

/// The default of `line_bytes_max`: as much as each client may make us hold.
const LINE_BYTES_MAX_DEFAULT: usize = 1 << 20;

/// A client's thread calls nothing deep.
const CLIENT_STACK_BYTES: usize = 512 << 10;

/// So often it is seen whether a client has come.
const ACCEPT_WAIT: Duration = Duration::from_millis(5);

/// A client that waits so long for a place is told of, and the next so long after that.
const WAITING_TOLD: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// What lies between two attempts to connect: twice as much after each that brings nothing,
/// up to the second.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The most bytes of a message of Arrow IPC (`message_bytes_max`).
const MESSAGE_BYTES_MAX_DEFAULT: usize = 16 << 20;

const NAMES: [&str; 5] = [
    "address",
    "mode",
    "connections_max",
    "client_timeout",
    "message_bytes_max",
];

/// The connector `tcp`.
#[derive(Debug)]
pub(super) struct TcpKind;

/// Who calls whom.
#[derive(Debug, Clone)]
enum Mode {
    Listen(SocketAddr),
    Connect(Vec<SocketAddr>),
}

#[derive(Debug, Clone)]
struct TcpOptions {
    mode: Mode,
    connections_max: usize,
    client_timeout: Option<Duration>,
    /// How text is read, if it is not Arrow.
    text: TextFormat,
    message_bytes_max: usize,
}

/// What is read.
const FORMATS: [Format; 5] = [
    Format::Ndjson,
    Format::Csv,
    Format::Line,
    Format::Json,
    Format::Arrow,
];

impl TcpOptions {
    /// Reads these options out of all options of a stream; gives back the others.
    fn from_pairs(pairs: &Pairs) -> Result<(Self, Pairs)> {
        let (text, mut rest) = socket::text("tcp", &FORMATS, LINE_BYTES_MAX_DEFAULT, pairs)?;
        rest.retain(|name, _| !NAMES.contains(&name.as_str()));
        let mode = match pairs.get("mode").map(String::as_str) {
            None | Some("listen") => Mode::Listen(own_address("tcp", pairs)?),
            Some("connect") => Mode::Connect(addresses("tcp", pairs)?),
            Some(other) => return Err(unfit("mode", other, "listen or connect")),
        };
        let connections_max = match pairs.get("connections_max") {
            Some(value) => parse_count("connections_max", value, 1, 1 << 16)?,
            None => CONNECTIONS_MAX_DEFAULT,
        };
        let message_bytes_max = match pairs.get("message_bytes_max") {
            None => MESSAGE_BYTES_MAX_DEFAULT,
            Some(value) if text.format == Format::Arrow => {
                parse_count("message_bytes_max", value, 1 << 10, 1 << 30)?
            }
            Some(_) => {
                let message = format!(
                    "message_bytes_max is an option of arrow, not of {}",
                    text.format
                );
                return Err(Error::new(ErrorKind::Option, message)
                    .help("leave message_bytes_max out: line_bytes_max bounds lines"));
            }
        };
        let client_timeout = Settings::new(pairs).duration("client_timeout")?;
        let client_timeout = client_timeout.unwrap_or(CLIENT_TIMEOUT_DEFAULT);
        let options = Self {
            mode,
            connections_max,
            client_timeout: (!client_timeout.is_zero()).then_some(client_timeout),
            text,
            message_bytes_max,
        };
        Ok((options, rest))
    }
}

#[derive(Debug)]
struct Tcp {
    schema: SchemaRef,
    tcp: TcpOptions,
    options: SourceOptions,
}

impl Connector for Tcp {
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
        Ok(Box::new(TcpSource::open(
            &self.schema,
            &self.tcp,
            &self.options,
        )?))
    }
}

/// Rows of connections.
struct TcpSource {
    reading: Reading,
    stop: Arc<AtomicBool>,
}

impl fmt::Debug for TcpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSource")
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

impl Drop for TcpSource {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

impl TcpSource {
    fn open(schema: &SchemaRef, tcp: &TcpOptions, options: &SourceOptions) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let door = Door {
            tcp: tcp.clone(),
            batch_rows: options.batch_rows,
            batch_bytes: options.batch_bytes,
            stop: stop.clone(),
            connected: AtomicUsize::new(0),
        };
        let reading = match &tcp.mode {
            Mode::Listen(address) => {
                let listener =
                    TcpListener::bind(address).map_err(|error| in_use(*address, error))?;
                (listener.set_nonblocking(true))
                    .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
                Reading::new("tcp", schema, options, move |feed| {
                    door.listen(&listener, feed)
                })
            }
            Mode::Connect(addresses) => {
                let addresses = addresses.clone();
                Reading::new("tcp", schema, options, move |feed| {
                    door.connect(&addresses, feed)
                })
            }
        };
        Ok(Self { reading, stop })
    }
}

impl Source for TcpSource {
    fn schema(&self) -> SchemaRef {
        self.reading.schema()
    }

    fn partitions(&self) -> u32 {
        0
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

/// What serves clients.
struct Door {
    tcp: TcpOptions,
    batch_rows: usize,
    batch_bytes: usize,
    stop: Arc<AtomicBool>,
    connected: AtomicUsize,
}

impl Door {
    fn is_open(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// Serves all that come.
    fn listen(&self, listener: &TcpListener, feed: &RowFeed<'_>) -> Result<()> {
        thread::scope(|scope| {
            let mut partition = 0;
            // Let go of once they have ended, as in `threads`.
            let mut clients: Vec<ScopedJoinHandle<'_, ()>> = Vec::new();
            let mut waiting = Waiting::default();
            while self.is_open() {
                for client in clients.extract_if(.., |client| client.is_finished()) {
                    let _ended = client.join();
                }
                let connections_max = self.tcp.connections_max;
                let is_full = self.connected.load(Relaxed) >= connections_max;
                if let Some(peer) = waiting.due() {
                    let _open = feed.reject(partition, kept_waiting(peer, connections_max));
                }
                let accepted = match is_full {
                    true => {
                        waiting.look(listener);
                        None
                    }
                    false => (waiting.next()).or_else(|| listener.accept().ok()),
                };
                let Some((stream, peer)) = accepted else {
                    // None has come, or it has gone before it was accepted, or there are no
                    // more files to open: the next one may be luckier.
                    thread::sleep(ACCEPT_WAIT);
                    continue;
                };
                self.connected.fetch_add(1, Relaxed);
                let serve = move || {
                    self.serve(stream, peer, partition, feed);
                    self.connected.fetch_sub(1, Relaxed);
                };
                let thread = thread::Builder::new().name("tcp-client".into());
                match thread
                    .stack_size(CLIENT_STACK_BYTES)
                    .spawn_scoped(scope, serve)
                {
                    Ok(client) => clients.push(client),
                    Err(_) => {
                        self.connected.fetch_sub(1, Relaxed);
                        let reason = "no thread can be started for one more client";
                        let _open = feed.reject(partition, ended(peer, reason));
                    }
                }
                partition += 1;
            }
            for client in clients {
                let _ended = client.join();
            }
        });
        Ok(())
    }

    /// Reads from one server; when it cannot be reached or ends, it is tried again.
    fn connect(&self, addresses: &[SocketAddr], feed: &RowFeed<'_>) -> Result<()> {
        let (mut wait, longest) = RETRY_WAITS;
        let mut partition = 0;
        while self.is_open() {
            let connected = addresses.iter().find_map(|address| {
                let stream = TcpStream::connect_timeout(address, longest).ok()?;
                Some((stream, *address))
            });
            if let Some((stream, peer)) = connected {
                // One that takes every call and says nothing is not called all the time.
                if self.serve(stream, peer, partition, feed) {
                    wait = RETRY_WAITS.0;
                }
                partition += 1;
            }
            let mut left = wait;
            while self.is_open() && !left.is_zero() {
                let nap = left.min(ACCEPT_WAIT);
                thread::sleep(nap);
                left -= nap;
            }
            wait = (wait * 2).min(longest);
        }
        Ok(())
    }

    /// Reads what a client sends, to its end. Gives whether it has sent anything.
    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        partition: u32,
        feed: &RowFeed<'_>,
    ) -> bool {
        let line_bytes_max = match self.tcp.text.format {
            // An object needs no line end, and a message has none.
            Format::Json | Format::Arrow => 0,
            _ => self.tcp.text.options.line_bytes_max,
        };
        let client = Client::new(stream, line_bytes_max, self.tcp.client_timeout, &self.stop);
        let mut client = match client {
            Ok(client) => client,
            Err(error) => {
                let _open = feed.reject(partition, ended(peer, &error.to_string()));
                return false;
            }
        };
        let name = format!("tcp {peer}");
        let mut rejects = Vec::new();
        let mut is_read = true;
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted::new(&mut client, read.clone());
        let end = match self.tcp.text.format {
            Format::Arrow => self.messages(counted, &read, &name, partition, feed),
            _ => (self.lines(counted, &read, &name, partition, feed)).map(|()| StreamEnd::Whole),
        };
        match end {
            Ok(StreamEnd::Whole) => {}
            Ok(StreamEnd::Cut) => {
                let reason = "the connection ended in the middle of a message";
                rejects.push(incomplete(&[], &name, reason));
            }
            Err(error) => {
                rejects.push(unreadable(peer, &error.advice()));
                is_read = false;
            }
        }
        let has_sent = client.has_sent();
        let (closed, tail) = client.closed();
        match closed {
            Closed::Ended | Closed::Stopped => {}
            Closed::Silent(max) => {
                let reason = format!("the client has sent nothing for {} s", max.as_secs_f64());
                rejects.push(ended(peer, &reason));
            }
            Closed::Broken(error) => {
                rejects.push(ended(peer, &format!("the connection broke: {error}")));
            }
        }
        if is_read && !tail.is_empty() {
            let reason = "the connection ended in the middle of a line";
            rejects.push(incomplete(&tail, &name, reason));
        }
        for reject in rejects {
            let _open = feed.reject(partition, reject);
        }
        let _open = feed.bytes(partition, read.swap(0, Relaxed) + tail.len() as u64);
        let _open = feed.end(partition);
        has_sent
    }

    /// Reads a stream of Arrow IPC.
    fn messages(
        &self,
        client: Counted<&mut Client<'_>>,
        read: &AtomicU64,
        name: &str,
        partition: u32,
        feed: &RowFeed<'_>,
    ) -> Result<StreamEnd> {
        let limits = StreamLimits {
            message_bytes_max: self.tcp.message_bytes_max,
            batch_rows: self.batch_rows,
        };
        read_messages(client, name, &feed.schema, limits, &mut |rows, _| {
            feed.work(partition, read.swap(0, Relaxed), |out| {
                let _open = out(rows, 0);
                Ok::<(), Error>(())
            })
        })
    }

    fn lines(
        &self,
        client: Counted<&mut Client<'_>>,
        read: &AtomicU64,
        name: &str,
        partition: u32,
        feed: &RowFeed<'_>,
    ) -> Result<()> {
        let text = self.tcp.text.clone();
        let shape = feed.shape(&text, name, self.batch_rows);
        let chunks = text.chunks(client, self.batch_bytes, true)?;
        let rows = TextReader::new(chunks, text, shape).all_named();
        let _open = feed.text(partition, rows, read)?;
        Ok(())
    }
}

/// A client that has come while all places are taken.
#[derive(Default)]
struct Waiting {
    next: Option<(TcpStream, SocketAddr)>,
    since: Option<Instant>,
    /// When one was last told of.
    told_at: Option<Instant>,
}

impl Waiting {
    /// Sees whether one has come; others wait to be accepted.
    fn look(&mut self, listener: &TcpListener) {
        if self.next.is_none() {
            self.next = listener.accept().ok();
            self.since = self.next.as_ref().map(|_| Instant::now());
        }
    }

    /// The one that waits: there is a place.
    fn next(&mut self) -> Option<(TcpStream, SocketAddr)> {
        self.since = None;
        self.next.take()
    }

    /// The one that has waited for so long that it is to be told of, once.
    fn due(&mut self) -> Option<SocketAddr> {
        let (patience, between) = WAITING_TOLD;
        let (_, peer) = self.next.as_ref()?;
        let is_soon = |told: Instant| told.elapsed() < between;
        if self.since?.elapsed() < patience || self.told_at.is_some_and(is_soon) {
            return None;
        }
        (self.since, self.told_at) = (None, Some(Instant::now()));
        Some(*peer)
    }
}

/// That a client waits for a place.
fn kept_waiting(peer: SocketAddr, connections_max: usize) -> Reject {
    let served = counted(connections_max as u64, "client is", "clients are");
    Reject {
        text: String::new(),
        position: format!("tcp {peer}"),
        reason: format!(
            "{served} served, as many as connections_max allows: this one waits until one leaves"
        ),
        rule: RULE_NOTICE.into(),
    }
}

/// That a connection was ended: no row, since nothing that came was lost by it.
fn ended(peer: SocketAddr, reason: &str) -> Reject {
    Reject {
        rule: RULE_NOTICE.into(),
        ..unreadable(peer, reason)
    }
}

/// That a connection was ended by what came: its header or its message counts as the row that
/// cannot be read. The reason may name what the client has sent.
fn unreadable(peer: SocketAddr, reason: &str) -> Reject {
    let position = format!("tcp {peer}");
    // The place need not be told twice.
    let reason =
        (reason.strip_prefix(&position)).map_or(reason, |rest| rest.trim_start_matches(": "));
    let reason = cut(reason.as_bytes(), REJECT_TEXT_BYTES_MAX);
    Reject {
        text: String::new(),
        position,
        reason: format!("the connection was ended: {reason}"),
        rule: "connection".into(),
    }
}

/// What the end of a connection has cut.
fn incomplete(tail: &[u8], name: &str, reason: &str) -> Reject {
    Reject {
        text: cut(tail, REJECT_TEXT_BYTES_MAX),
        position: name.to_owned(),
        reason: reason.to_owned(),
        rule: "parse".into(),
    }
}

impl ConnectorKind for TcpKind {
    fn source(
        &self,
        options: &Pairs,
        declared: Option<SchemaRef>,
    ) -> Result<(Arc<dyn Connector>, Vec<String>)> {
        let (tcp, rest) = TcpOptions::from_pairs(options)?;
        let (options, unknown) = SourceOptions::from_pairs(&rest)?;
        let tcp = Tcp {
            schema: socket::columns("tcp", &tcp.text, declared)?,
            tcp,
            options,
        };
        Ok((Arc::new(tcp), unknown))
    }

    fn sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<(Box<dyn Sink>, Vec<String>)> {
        let (options, unknown) = TcpSinkOptions::from_pairs(options)?;
        Ok((Box::new(TcpSink::open(&options, schema)?), unknown))
    }

    fn check_sink(&self, options: &Pairs, schema: &SchemaRef) -> Result<Vec<String>> {
        let (options, unknown) = TcpSinkOptions::from_pairs(options)?;
        options.check(schema)?;
        Ok(unknown)
    }

    fn sink_option_names(&self) -> Vec<&'static str> {
        TcpSinkOptions::names()
    }

    fn option_names(&self) -> Vec<&'static str> {
        let names = NAMES.iter().chain(&FORMAT_OPTIONS).chain(&SOURCE_OPTIONS);
        names.copied().collect()
    }
}
