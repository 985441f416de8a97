//! Rows over HTTP: streams that are posted to, and sinks that post.
//!
//! ```text
//!  client ─▶ thread ─▶ body ─▶ │ queue of the stream │ ─▶ parsers ─▶ rows, in order ─▶ engine
//!    ▲                                                                                 │
//!    └──────── accepted, late, rejected and why ◀── ticket ◀───────────────────────────┘
//! ```
//!
//! A body is taken whole or not at all: it is read to its end, within its limits, before it
//! is given to the queue, and a full queue is answered with 429. The answer waits until the
//! engine has carried the rows through, because only then it is known which came too late.
//! Streams of one address share a server, and the path names the stream.
//!
//! The protocol is read by `httparse`, the parser of hyper, over plain threads. axum, and hyper
//! as it is mostly served, need tokio's sockets, which nothing else here does; a server such as
//! `tiny_http` keeps its sockets to itself, so that no silence and no trickle could be cut.
//! `ureq` posts for sinks, without TLS: both ends are meant for one machine, or for the near
//! side of a proxy.

// In the order in which they may name each other.
mod ticket;

mod budget;

mod message;

mod body;

mod arrow_body;

mod door;

mod hall;

mod request;

mod write;

mod query;

mod routes;

mod server;

mod source;

mod deliver;

mod sink;

mod options;

pub(super) use options::HttpKind;
