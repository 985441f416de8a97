//! HTTP/1.1 over one connection: heads, bodies and answers.
//!
//! Everything is bounded: a head by [`HEAD_BYTES_MAX`], a body by what the caller allows,
//! the time by [`Patience`]. Bodies are framed by their length or by chunks; what is said
//! in two ways at once is refused, since another program on the way may have read the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::budget::{Hold, Spent};

/// The greatest length of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The greatest number of its headers.
const HEADERS_MAX: usize = 64;

/// The greatest length of the line before a chunk.
const CHUNK_LINE_BYTES_MAX: usize = 1 << 10;

/// The greatest length of what follows the last chunk.
const TRAILER_BYTES_MAX: usize = 8 << 10;

/// So often a reader that waits for bytes sees whether it is to stop.
const WAKE: Duration = Duration::from_millis(100);

/// A request that is not whole after so long is cut, however it trickles.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(300);

/// So long a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// So much of what a refused client still sends is passed over, and for so long, so that
/// it comes to read the answer.
const LINGER: (usize, Duration) = (64 << 20, Duration::from_secs(2));

const READ_BYTES: usize = 64 << 10;

/// Why a request cannot be served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The other side has gone, or nobody serves any more: there is no one to answer.
    Gone,
    /// The other side has sent its last byte, and the request is not whole: it may still
    /// read.
    Ended,
    /// It took too long.
    Slow,
    /// It is no HTTP that is understood: a status and a reason.
    Bad(u16, String),
    /// The body is larger than so many bytes.
    TooLarge(usize),
    /// Too many bytes of bodies are held at the moment.
    Busy,
}

impl From<Spent> for Fault {
    fn from(_: Spent) -> Self {
        Self::Busy
    }
}

fn bad(reason: impl Into<String>) -> Fault {
    Fault::Bad(400, reason.into())
}

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The longest silence; `None`: any.
    pub(super) silence_max: Option<Duration>,
    /// When the request began; `None`: none is under way.
    pub(super) began: Option<Instant>,
}

impl Patience {
    pub(super) fn new(silence_max: Option<Duration>) -> Self {
        Self {
            silence_max,
            began: Some(Instant::now()),
        }
    }

    /// Whether the request has taken too long.
    fn is_over(&self) -> bool {
        (self.began).is_some_and(|began| began.elapsed() > REQUEST_TIME_MAX)
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Sized(u64),
    Chunked,
}

/// What stands before a body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    /// The path and the query.
    pub(super) target: String,
    headers: Vec<(String, Vec<u8>)>,
    pub(super) framing: Framing,
    /// Whether the client waits for a word before it sends the body.
    pub(super) expects: bool,
    pub(super) keep_alive: bool,
}

impl Head {
    /// The value of a header; of one that stands twice, the first.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let value = *self.values(name).first()?;
        Some(std::str::from_utf8(value).unwrap_or(""))
    }

    /// The values of a header, one for each time that it stands there.
    pub(super) fn values(&self, name: &str) -> Vec<&[u8]> {
        (self.headers.iter())
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_ascii())
            .collect()
    }

    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Fault::Bad(
                    431,
                    format!("the request has more than {HEADERS_MAX} headers"),
                ));
            }
            Err(error) => return Err(bad(format!("this is no HTTP request: {error}"))),
        };
        let mut head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            headers: (request.headers.iter())
                .map(|header| (header.name.to_owned(), header.value.to_vec()))
                .collect(),
            framing: Framing::Sized(0),
            expects: false,
            keep_alive: request.version == Some(1),
        };
        if !head.keep_alive && head.header("transfer-encoding").is_some() {
            // Programs of that time do not know it, and read another body.
            return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
        }
        head.framing = head.framed()?;
        // To a program of HTTP/1.0 the word would be the answer.
        head.expects = head.keep_alive
            && (head.header("expect"))
                .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        let told = head.values("connection");
        let has = |word: &str| {
            let mut tokens = told
                .iter()
                .flat_map(|value| value.split(|byte| *byte == b','));
            tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        head.keep_alive = !has("close") && (head.keep_alive || has("keep-alive"));
        Ok(Some((head, len)))
    }

    fn framed(&self) -> Result<Framing, Fault> {
        let lengths = self.values("content-length");
        let codings = self.values("transfer-encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(Framing::Sized(0)),
            ([length], []) => (std::str::from_utf8(length).ok())
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .map(Framing::Sized)
                .ok_or_else(|| bad("Content-Length is no number")),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            ([], _) => Err(Fault::Bad(
                501,
                "the only Transfer-Encoding that is read is chunked".into(),
            )),
            _ => Err(bad("the length of the body is said in two ways")),
        }
    }
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    /// Whether the connection ends with it.
    pub(super) closes: bool,
}

impl Response {
    /// An answer in JSON, or without a body if it is empty.
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            closes: false,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    fn reason(&self) -> &'static str {
        match self.status {
            200 => "OK",
            202 => "Accepted",
            204 => "No Content",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            415 => "Unsupported Media Type",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    stream: TcpStream,
    stop: &'a AtomicBool,
    /// What has come and not been read.
    held: BytesMut,
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    /// # Errors
    /// If the operating system refuses.
    pub(super) fn new(stream: TcpStream, stop: &'a AtomicBool) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAKE))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        Ok(Self {
            stream,
            stop,
            held: BytesMut::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Waits for bytes.
    fn receive(&mut self, patience: &Patience) -> Result<(), Fault> {
        let asked = Instant::now();
        loop {
            if self.stop.load(Relaxed) {
                return Err(Fault::Gone);
            }
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(Fault::Ended),
                Ok(len) => {
                    self.held.extend_from_slice(&self.buffer[..len]);
                    break;
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(Fault::Gone),
                },
            }
            let is_silent = (patience.silence_max).is_some_and(|max| asked.elapsed() > max);
            if is_silent || patience.is_over() {
                return Err(Fault::Slow);
            }
        }
        match patience.is_over() {
            true => Err(Fault::Slow),
            false => Ok(()),
        }
    }

    /// Waits for the next request's head; the silence before it is the client's right, but
    /// for `silence_max`. `None`: no request came.
    pub(super) fn head(&mut self, silence_max: Option<Duration>) -> Result<Option<Head>, Fault> {
        if self.held.is_empty() {
            let idle = Patience {
                silence_max,
                began: None,
            };
            match self.receive(&idle) {
                Ok(()) => {}
                Err(Fault::Gone | Fault::Ended | Fault::Slow) => return Ok(None),
                Err(fault) => return Err(fault),
            }
        }
        let patience = Patience::new(silence_max);
        loop {
            if let Some((head, len)) = Head::parse(&self.held)? {
                self.held.advance(len);
                return Ok(Some(head));
            }
            if self.held.len() > HEAD_BYTES_MAX {
                let reason = format!("the request's head is longer than {HEAD_BYTES_MAX} bytes");
                return Err(Fault::Bad(431, reason));
            }
            self.receive(&patience)?;
        }
    }

    /// Reads a body of at most `bytes_max` bytes.
    pub(super) fn body(
        &mut self,
        head: &Head,
        bytes_max: usize,
        silence_max: Option<Duration>,
        hold: &mut Hold<'_>,
    ) -> Result<Vec<u8>, Fault> {
        let patience = Patience::new(silence_max);
        if let Framing::Sized(length) = head.framing
            && length > bytes_max as u64
        {
            return Err(Fault::TooLarge(bytes_max));
        }
        if head.expects && self.held.is_empty() {
            (self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")).map_err(|_| Fault::Gone)?;
        }
        let mut body = Vec::new();
        match head.framing {
            Framing::Sized(length) => {
                self.take(length as usize, &mut body, &patience, hold)?;
            }
            Framing::Chunked => loop {
                let length = self.chunk_length(&patience)?;
                if length == 0 {
                    self.trailer(&patience)?;
                    break;
                }
                if length > (bytes_max - body.len()) as u64 {
                    return Err(Fault::TooLarge(bytes_max));
                }
                self.take(length as usize, &mut body, &patience, hold)?;
                while self.held.len() < 2 {
                    self.receive(&patience)?;
                }
                if !self.held.starts_with(b"\r\n") {
                    return Err(bad("a chunk of the body is longer than it says"));
                }
                self.held.advance(2);
            },
        }
        Ok(body)
    }

    /// Moves the next `length` bytes to `body`.
    fn take(
        &mut self,
        length: usize,
        body: &mut Vec<u8>,
        patience: &Patience,
        hold: &mut Hold<'_>,
    ) -> Result<(), Fault> {
        let mut left = length;
        while left > 0 {
            if self.held.is_empty() {
                self.receive(patience)?;
            }
            let part = left.min(self.held.len());
            hold.more(part)?;
            body.extend_from_slice(&self.held[..part]);
            self.held.advance(part);
            left -= part;
        }
        Ok(())
    }

    fn chunk_length(&mut self, patience: &Patience) -> Result<u64, Fault> {
        let no_length = || bad("a chunk of the body does not begin with its length");
        loop {
            // The parser takes a line without digits for that of the last chunk.
            let has_digits = self.held.first().is_none_or(u8::is_ascii_hexdigit);
            match httparse::parse_chunk_size(&self.held) {
                _ if !has_digits => return Err(no_length()),
                Ok(httparse::Status::Complete((len, length))) => {
                    self.held.advance(len);
                    return Ok(length);
                }
                Ok(httparse::Status::Partial) if self.held.len() <= CHUNK_LINE_BYTES_MAX => {}
                _ => return Err(no_length()),
            }
            self.receive(patience)?;
        }
    }

    /// Passes over the lines after the last chunk.
    fn trailer(&mut self, patience: &Patience) -> Result<(), Fault> {
        let mut passed = 0;
        loop {
            let Some(end) = memchr(b'\n', &self.held) else {
                if self.held.len() > TRAILER_BYTES_MAX {
                    return Err(bad("what follows the last chunk is too long"));
                }
                self.receive(patience)?;
                continue;
            };
            let line = &self.held[..end];
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                return Err(bad("a line after the last chunk begins with a blank"));
            }
            let is_last = matches!(line, b"" | b"\r");
            self.held.advance(end + 1);
            if is_last {
                return Ok(());
            }
            passed += end;
            if passed > TRAILER_BYTES_MAX {
                return Err(bad("what follows the last chunk is too long"));
            }
        }
    }

    /// Writes an answer.
    pub(super) fn answer(&mut self, response: &Response) -> Result<(), Fault> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", response.status, response.reason());
        if !response.body.is_empty() {
            text += "Content-Type: application/json\r\n";
        }
        if response.status != 204 {
            text += &format!("Content-Length: {}\r\n", response.body.len());
        }
        for (name, value) in &response.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if response.closes {
            text += "Connection: close\r\n";
        }
        text += "\r\n";
        text += &response.body;
        (self.stream.write_all(text.as_bytes())).map_err(|_| Fault::Gone)
    }

    /// Lets a client that still sends read the answer: were the connection closed with
    /// bytes that nobody has read, the answer would be lost with it.
    pub(super) fn linger(mut self) {
        let (bytes_max, time_max) = LINGER;
        if self.stream.shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let (mut bytes, start) = (0, Instant::now());
        while bytes < bytes_max && start.elapsed() < time_max && !self.stop.load(Relaxed) {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return,
                Ok(len) => bytes += len,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<(Head, usize)>, Fault> {
        Head::parse(text.as_bytes())
    }

    #[test]
    fn a_head_tells_where_its_body_ends() {
        let of = |headers: &str| {
            head(&format!("POST /a?b=c HTTP/1.1\r\n{headers}\r\n"))
                .map(|parsed| parsed.expect("it is whole").0.framing)
        };
        assert_eq!(of(""), Ok(Framing::Sized(0)));
        assert_eq!(of("content-LENGTH: 12\r\n"), Ok(Framing::Sized(12)));
        assert_eq!(of("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for both in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 99999999999999999999\r\n",
        ] {
            assert!(matches!(of(both), Err(Fault::Bad(400, _))), "{both}");
        }
        let old = head("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(matches!(old, Err(Fault::Bad(400, _))), "{old:?}");
        let coded = of("Transfer-Encoding: gzip, chunked\r\n");
        assert!(matches!(coded, Err(Fault::Bad(501, _))));
        assert!(
            head("POST / HTTP/1.1\r\nHost: a")
                .expect("so far")
                .is_none()
        );
        assert!(head("\x16\x03\x01\x00\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_of_which_nothing_more_comes_is_cut_though_clients_may_be_silent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let _client = TcpStream::connect(address).expect("it listens");
        let (stream, _) = listener.accept().expect("a client");
        let stop = AtomicBool::new(false);
        let mut connection = Connection::new(stream, &stop).expect("a socket");
        let long_ago = Instant::now().checked_sub(REQUEST_TIME_MAX + WAKE);
        let Some(began) = long_ago else {
            println!("skipped: the clock has just begun");
            return;
        };
        let patience = Patience {
            silence_max: None,
            began: Some(began),
        };
        assert_eq!(connection.receive(&patience), Err(Fault::Slow));
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_the_client_say() {
        for (version, header, keeps) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let text = format!("GET / HTTP/{version}\r\n{header}\r\n");
            let (head, len) = head(&text).expect("it is HTTP").expect("it is whole");
            assert_eq!((head.keep_alive, len), (keeps, text.len()), "{text}");
        }
    }
}
