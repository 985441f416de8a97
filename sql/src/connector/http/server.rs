//! One server for each address, whatever the number of streams that share it.
//!
//! It is made for the first stream and stops with the last. A connection has a thread of
//! its own, and waits for nothing but its client and the rows that it has brought.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::budget::Hold;
use super::door::Door;
use super::hall::Hall;
use super::message::Connection;
use super::request::{self, Request};
use super::routes;
use crate::connector::address::in_use;
use crate::connector::presence::ask_when_silent;
use crate::error::{Error, ErrorKind, Result};
use crate::threads;

/// A connection's thread: the reader of Arrow IPC goes down into nested columns.
const CLIENT_STACK_BYTES: usize = 1 << 20;

/// So often it is seen whether a client has come.
const ACCEPT_WAIT: Duration = Duration::from_millis(5);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The servers of a session, by address.
#[derive(Debug, Default)]
pub(super) struct Servers {
    running: Mutex<BTreeMap<SocketAddr, Weak<Server>>>,
}

/// A stream's place at a server; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    servers: Arc<Servers>,
    server: Arc<Server>,
    door: Arc<Door>,
}

impl Servers {
    /// Serves a stream at an address.
    ///
    /// # Errors
    /// If somebody else listens there, or a stream of the same name is served there.
    pub(super) fn join(self: &Arc<Self>, address: SocketAddr, door: Arc<Door>) -> Result<Seat> {
        let mut running = locked(&self.running);
        let found = running.get(&address).and_then(Weak::upgrade);
        let server = match found {
            Some(server) => {
                server.hall.open(&door)?;
                server
            }
            None => {
                let server = Server::start(address, &door)?;
                running.insert(address, Arc::downgrade(&server));
                server
            }
        };
        Ok(Seat {
            servers: self.clone(),
            server,
            door,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Nobody may join a server that is about to stop.
        let mut running = locked(&self.servers.running);
        if self.server.hall.close(&self.door) {
            running.remove(&self.server.address);
            self.server.stop();
        }
    }
}

/// What listens at an address.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    hall: Hall,
    connected: AtomicUsize,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Listens; the first who comes finds the door open.
    fn start(address: SocketAddr, door: &Arc<Door>) -> Result<Arc<Self>> {
        let listener = TcpListener::bind(address).map_err(|error| in_use(address, error))?;
        let failed =
            |error: std::io::Error| Error::new(ErrorKind::Io, format!("listening: {error}"));
        listener.set_nonblocking(true).map_err(failed)?;
        let server = Arc::new(Self {
            address,
            hall: Hall::new(),
            connected: AtomicUsize::new(0),
            listener: Mutex::default(),
        });
        server.hall.open(door)?;
        let listening = server.clone();
        let thread = (thread::Builder::new().name("http-listen".into()))
            .spawn(move || listening.listen(&listener))
            .map_err(failed)?;
        *locked(&server.listener) = Some(thread);
        Ok(server)
    }

    fn stop(&self) {
        self.hall.stop.store(true, Relaxed);
        // The address is free when this returns.
        if let Some(thread) = locked(&self.listener).take() {
            let _ended = thread.join();
        }
    }

    /// Serves all that come.
    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        while !self.hall.stop.load(Relaxed) {
            let connections_max = self.hall.most(|door| door.options.connections_max);
            let is_full = self.connected.load(Relaxed) >= connections_max.unwrap_or(1);
            let accepted = match is_full {
                true => None,
                false => listener.accept().ok(),
            };
            let Some((stream, peer)) = accepted else {
                // None has come, or it has gone before it was accepted, or there are no
                // more files to open: the next one may be luckier.
                thread::sleep(ACCEPT_WAIT);
                continue;
            };
            self.connected.fetch_add(1, Relaxed);
            let server = self.clone();
            let serve = move || {
                let _leaves = Leaves(&server.connected);
                server.serve(stream, peer);
            };
            if threads::start("http-client", Some(CLIENT_STACK_BYTES), serve).is_err() {
                // The closure is gone, and the connection with it.
                self.connected.fetch_sub(1, Relaxed);
            }
        }
    }

    /// Answers a client's requests, until it or an error ends the connection.
    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        if ask_when_silent(&stream).is_err() {
            // It has gone already.
            return;
        }
        let Ok(mut connection) = Connection::new(stream, &self.hall.stop) else {
            return;
        };
        for number in 1_u64.. {
            let head = match connection.head(self.hall.client_timeout()) {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(fault) => {
                    if let Some(response) = request::refusal(&fault, "") {
                        let _sent = connection.answer(&response);
                        connection.linger();
                    }
                    return;
                }
            };
            let name = match number {
                1 => format!("http {peer}"),
                _ => format!("http {peer} request {number}"),
            };
            let request = Request::new(&head, name);
            let mut hold = Hold::none(&self.hall.budget);
            let answered = routes::answer(&self.hall, &mut connection, &request, &mut hold);
            drop(hold);
            let mut response = match answered {
                Ok(response) => response,
                // Its body may not have been read: what follows is no request.
                Err(fault) => match request::refusal(&fault, &request.path) {
                    Some(response) => response,
                    None => return,
                },
            };
            response.closes |= !head.keep_alive;
            let sent = connection.answer(&response);
            if sent.is_err() || response.closes {
                connection.linger();
                return;
            }
        }
    }
}

/// Counts a connection out, also if its thread panics.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::message::Fault;
    use super::*;

    #[test]
    fn where_the_last_stream_has_just_gone_nobody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        for path in ["/ingest/s", "/write", "/api/v2/write"] {
            let mut client = TcpStream::connect(address).expect("it listens");
            let text = format!("POST {path} HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
            client.write_all(text.as_bytes()).expect("sent");
            let hall = Hall::new();
            let (stream, _) = listener.accept().expect("a client");
            let mut connection = Connection::new(stream, &hall.stop).expect("a socket");
            let head = connection.head(None).expect("HTTP").expect("a request");
            let request = Request::new(&head, "a test".to_owned());
            let mut hold = Hold::none(&hall.budget);
            // A word of refusal would be taken for the last one.
            let answered = routes::answer(&hall, &mut connection, &request, &mut hold);
            assert_eq!(answered, Err(Fault::Gone), "{path}");
        }
    }
}
