//! The engine of Windrow: streams of readings in, windowed aggregates out.
//!
//! Readings are sealed into Arrow record batches ([`batch`]), aggregated into
//! columnar partial states ([`aggregate`]) that live in panes ([`window`]), and
//! pushed through operators ([`operator`]) by an engine that can be stepped,
//! stopped, saved and restored at any event ([`pipeline`]). Inner loops use the vector
//! instructions that the processor has ([`kernel`]).
//!
//! This crate knows Arrow, threads and files. It knows no SQL, no DataFusion, no
//! async runtime, no socket, and it never reads a clock: time is a parameter.
//!
//! Modules are declared in the order in which they may depend on each other: each
//! names only modules above it.

pub mod error;

pub mod kernel;

pub mod time;

pub mod snapshot;

pub mod batch;

pub mod aggregate;

pub mod window;

pub mod operator;

pub mod stream;

pub mod pipeline;

pub use error::{Error, Result};
