//! Windrow's SQL: continuous queries over streams, on DataFusion.
//!
//! Modules are declared in the order in which they may depend on each other: each
//! names only modules above it.

mod secret;

pub mod error;

mod words;

mod threads;

pub mod format;

pub mod connector;

pub mod dialect;

pub mod exec;

pub mod plan;

pub mod session;

pub mod cli;

#[cfg(test)]
mod fuzz;

pub use error::{Error, ErrorKind, Result, Script};
pub use session::{Answer, Progress, ResultHandler, Session, SessionConfig, Subscription};

/// The Rust of the README is run with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
