//! A connection to PostgreSQL: who calls, statements one by one, and COPY.
//!
//! A connection that has failed is given up: what its last transaction came to is asked on
//! the next one. This module does not know what is written.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Message};
use postgres_protocol::message::frontend::{self, CopyData};

use super::route::Route;
use crate::error::reason;

/// An attempt to connect to one address takes no longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// So often one that waits for an answer sees whether it is still to wait.
const WAKE: Duration = Duration::from_millis(100);

/// Rows are sent in pieces of so many bytes.
const PIECE_BYTES: usize = 256 << 10;

/// No answer that is asked for here is longer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why something did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection: another one may do.
    Lost(String),
    /// The database has refused it, and will again.
    Refused(String),
    /// It lets this user not in, or knows no such database.
    Denied(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(reason(&error))
    }
}

/// Whether one that waits is to wait no longer.
pub(super) type IsOver<'a> = &'a dyn Fn() -> bool;

/// A connection that is ready for a statement.
pub(super) struct Connection {
    stream: TcpStream,
    came: BytesMut,
    /// An answer comes within this.
    answer_timeout: Option<Duration>,
}

impl Connection {
    /// Connects and says who calls.
    ///
    /// # Errors
    /// If nobody answers, or the user is not let in.
    pub(super) fn open(
        route: &Route,
        answer_timeout: Option<Duration>,
        is_over: IsOver<'_>,
    ) -> Result<Self, Failure> {
        let mut failure = Failure::Lost("no such host is known".to_owned());
        let addresses = (route.host.as_str(), route.port).to_socket_addrs()?;
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(WAKE))?;
                    stream.set_write_timeout(Some(WAKE))?;
                    let mut connection = Self {
                        stream,
                        came: BytesMut::new(),
                        answer_timeout,
                    };
                    connection.enter(route, is_over)?;
                    return Ok(connection);
                }
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    fn enter(&mut self, route: &Route, is_over: IsOver<'_>) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        let about = [
            ("user", route.user.as_str()),
            ("database", &route.database),
            ("client_encoding", "UTF8"),
            ("application_name", "windrow"),
            // Times are written so.
            ("DateStyle", "ISO, YMD"),
        ];
        frontend::startup_message(about, &mut out)?;
        self.send(&out, is_over)?;
        let mut scram = None;
        loop {
            out.clear();
            match self.next(is_over)? {
                Message::AuthenticationOk => {}
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(password(route)?, &mut out)?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(route.user.as_bytes(), password(route)?, body.salt());
                    frontend::password_message(hash.as_bytes(), &mut out)?;
                }
                Message::AuthenticationSasl(body) => {
                    let mut offered = body.mechanisms();
                    while let Some(offer) = offered.next()? {
                        if offer == SCRAM_SHA_256 {
                            let binding = ChannelBinding::unsupported();
                            scram = Some(ScramSha256::new(password(route)?, binding));
                        }
                    }
                    let scram = scram.as_ref().ok_or_else(unknown_authentication)?;
                    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)?;
                }
                Message::AuthenticationSaslContinue(body) => {
                    let scram = scram.as_mut().ok_or_else(unknown_authentication)?;
                    scram.update(body.data()).map_err(refused)?;
                    frontend::sasl_response(scram.message(), &mut out)?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    let scram = scram.as_mut().ok_or_else(unknown_authentication)?;
                    scram.finish(body.data()).map_err(refused)?;
                }
                Message::BackendKeyData(_) => {}
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ErrorResponse(body) => return Err(told(&body)?),
                _ => return Err(unknown_authentication()),
            }
            if !out.is_empty() {
                self.send(&out, is_over)?;
            }
        }
    }

    /// Runs statements. Gives the first value of the last row, if there are rows.
    ///
    /// # Errors
    /// If the connection is lost, or the database refuses one.
    pub(super) fn ask(
        &mut self,
        statements: &str,
        is_over: IsOver<'_>,
    ) -> Result<Option<String>, Failure> {
        self.say(statements, is_over)?;
        self.answer(is_over)
    }

    /// Runs statements of which the last is a COPY, and gives it `lines`. Gives the first
    /// value of the last row, as [`Connection::ask`].
    ///
    /// # Errors
    /// If the connection is lost, or the database refuses a statement or a row.
    pub(super) fn copy(
        &mut self,
        statements: &str,
        lines: &[u8],
        is_over: IsOver<'_>,
    ) -> Result<Option<String>, Failure> {
        self.say(statements, is_over)?;
        let mut value = None;
        loop {
            match self.next(is_over)? {
                Message::DataRow(body) => value = first(&body)?,
                Message::CopyInResponse(_) => break,
                Message::ErrorResponse(body) => {
                    let failure = told(&body)?;
                    self.answer(is_over)?;
                    return Err(failure);
                }
                Message::ReadyForQuery(_) => {
                    return Err(Failure::Refused("it takes no rows by COPY".to_owned()));
                }
                _ => {}
            }
        }
        let mut out = BytesMut::new();
        for piece in lines.chunks(PIECE_BYTES) {
            out.clear();
            CopyData::new(piece)?.write(&mut out);
            self.send(&out, is_over)?;
        }
        out.clear();
        frontend::copy_done(&mut out);
        self.send(&out, is_over)?;
        self.answer(is_over)?;
        Ok(value)
    }

    /// Says that no more comes.
    pub(super) fn close(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        // The other side sees the end of the connection if not this.
        let _ = self.send(&out, &|| false);
    }

    fn say(&mut self, statements: &str, is_over: IsOver<'_>) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::query(statements, &mut out)?;
        self.send(&out, is_over)
    }

    /// What comes until the database is ready again.
    fn answer(&mut self, is_over: IsOver<'_>) -> Result<Option<String>, Failure> {
        let (mut value, mut failure) = (None, None);
        loop {
            match self.next(is_over)? {
                Message::DataRow(body) => value = first(&body)?,
                Message::ErrorResponse(body) => match told(&body)? {
                    // The database closes the connection: nothing else comes.
                    lost @ Failure::Lost(_) => return Err(lost),
                    refused => failure = failure.or(Some(refused)),
                },
                Message::ReadyForQuery(_) => return failure.map_or(Ok(value), Err),
                _ => {}
            }
        }
    }

    fn send(&mut self, mut bytes: &[u8], is_over: IsOver<'_>) -> Result<(), Failure> {
        let began = Instant::now();
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(Failure::Lost("the connection is closed".to_owned())),
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) => self.patient(error, began, is_over)?,
            }
        }
        Ok(())
    }

    /// The next message that is not a notice.
    fn next(&mut self, is_over: IsOver<'_>) -> Result<Message, Failure> {
        let began = Instant::now();
        let mut bytes = [0; 4 << 10];
        loop {
            match Message::parse(&mut self.came)? {
                Some(
                    Message::NoticeResponse(_)
                    | Message::ParameterStatus(_)
                    | Message::NotificationResponse(_),
                ) => continue,
                Some(message) => return Ok(message),
                None if self.came.len() > ANSWER_BYTES_MAX => {
                    return Err(Failure::Lost("an answer has no end".to_owned()));
                }
                None => {}
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Failure::Lost("the connection was closed".to_owned())),
                Ok(count) => self.came.extend_from_slice(&bytes[..count]),
                Err(error) => self.patient(error, began, is_over)?,
            }
        }
    }

    /// Whether to go on after an error that may be mere waiting.
    fn patient(
        &self,
        error: io::Error,
        began: Instant,
        is_over: IsOver<'_>,
    ) -> Result<(), Failure> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        if !matches!(error.kind(), Interrupted | TimedOut | WouldBlock) {
            return Err(error.into());
        }
        let waited = began.elapsed();
        if is_over() || self.answer_timeout.is_some_and(|longest| waited > longest) {
            let seconds = waited.as_secs_f64();
            return Err(Failure::Lost(format!("no answer for {seconds:.1} s")));
        }
        Ok(())
    }
}

fn password(route: &Route) -> Result<&[u8], Failure> {
    match &route.password {
        Some(password) => Ok(password.as_bytes()),
        None => Err(Failure::Denied(
            "it asks for a password: add the option password".to_owned(),
        )),
    }
}

fn unknown_authentication() -> Failure {
    let known = "it asks for an authentication other than a password, MD5 or SCRAM-SHA-256";
    Failure::Denied(known.to_owned())
}

fn refused(error: io::Error) -> Failure {
    Failure::Refused(error.to_string())
}

/// The first value of a row.
fn first(body: &DataRowBody) -> Result<Option<String>, Failure> {
    let range = body.ranges().next()?.flatten();
    let bytes = range.and_then(|range| body.buffer().get(range));
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// What the database says went wrong.
fn told(body: &ErrorResponseBody) -> Result<Failure, Failure> {
    let (mut code, mut message, mut detail, mut place) = (String::new(), String::new(), None, None);
    let mut fields = body.fields();
    while let Some(field) = fields.next()? {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = value,
            b'M' => message = value,
            b'D' => detail = Some(value),
            b'W' => place = Some(value),
            _ => {}
        }
    }
    let more = detail.or(place).map(|more| format!(" ({more})"));
    let words = format!("{message}{}", more.unwrap_or_default());
    // Lost connections, too many of them, a server that starts or ends, and transactions
    // that stood in the way of others.
    let passes = ["08", "57P", "53", "40"];
    // Users, passwords and databases that it does not know.
    let denied = ["28", "3D"];
    let is_of = |classes: &[&str]| classes.iter().any(|class| code.starts_with(class));
    Ok(if is_of(&passes) {
        Failure::Lost(words)
    } else if is_of(&denied) {
        Failure::Denied(words)
    } else {
        Failure::Refused(words)
    })
}
