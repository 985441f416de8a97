//! What the tests share: an oracle that sorts everything and loops over everything,
//! and a source of random streams that is the same on every machine.
//!
//! Modules are declared in the order in which they may depend on each other.

pub mod random;

pub mod oracle;
