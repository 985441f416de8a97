//! Sources and sinks: files, pipes, the generator.

// In the order in which they may name each other.
mod ordered;

mod reading;

pub mod file;

pub mod stdin;

pub use reading::{SOURCE_OPTIONS, SourceOptions};

#[cfg(test)]
mod tests;
