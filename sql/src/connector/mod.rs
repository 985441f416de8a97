//! Sources and sinks: files, pipes, the generator.

pub mod blackhole;
pub mod file_sink;
pub mod generator;
pub mod stdout;
