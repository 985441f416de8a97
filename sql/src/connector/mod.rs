//! Sources and sinks: files, pipes, the generator.
