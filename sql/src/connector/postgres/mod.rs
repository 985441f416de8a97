//! Rows into a table of PostgreSQL.
//!
//! ```text
//!  rows ─▶ lines of COPY ─ full, or linger is over ─▶ │ bounded queue │ ─▶ thread ─▶ table
//!                                                                        │ one transaction a batch
//!                                                                        └ connects again, and asks
//!                                                                          whether the last one counts
//! ```
//!
//! A batch is in the table whole or not at all. Where a connection breaks, the database is
//! asked what became of the transaction that was under way, so that a row comes neither
//! twice nor not at all while the database lives.
//!
//! The messages are those of the crate `postgres-protocol`, over a plain thread: its client
//! needs tokio's sockets, a feature that nothing else here uses. There is no TLS: the
//! database is meant to be on this machine, or behind a proxy that encrypts.
//!
//! This module does not know what a query is, nor which of its rows are final.

// In the order in which they may name each other.
mod route;

mod table;

mod lines;

mod wire;

mod sender;

mod sink;

pub(super) use sink::PostgresKind;

#[cfg(test)]
mod tests;
