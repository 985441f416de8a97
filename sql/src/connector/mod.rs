//! Sources and sinks: files, pipes, the generator.

pub mod registry;

pub mod blackhole;

pub mod file_sink;

pub mod generator;

pub mod stdout;

mod kinds;

pub use kinds::register_all;
