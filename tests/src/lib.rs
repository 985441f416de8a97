//! What the tests share: an oracle that sorts everything and loops over everything, a
//! source of random streams that is the same on every machine, and the ways in which
//! an `.slt` file is said again.
//!
//! Modules are declared in the order in which they may depend on each other.

pub mod random;

pub mod oracle;
pub mod rewrite;

pub mod cell;

pub mod client;
pub mod command;
pub mod port;

#[cfg(unix)]
pub mod postgres;
