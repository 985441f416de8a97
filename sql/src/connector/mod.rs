//! Sources and sinks: files, pipes, sockets, the generator.

// In the order in which they may name each other.
mod ordered;

mod reading;

pub mod registry;

pub mod memory;

pub mod file;

pub mod stdin;

pub mod generator;

pub mod blackhole;

mod target;

pub mod file_sink;

pub mod stdout;

mod tail;

mod follow_options;

mod follow;

mod files;

mod address;

mod presence;

mod client;

mod socket;

mod line_sink;

mod drops;

mod tcp_sender;

mod tcp_sink;

mod tcp;

mod udp_sink;

mod udp;

mod http;

mod postgres;

mod kinds;

pub use kinds::register_all;
pub use reading::{SOURCE_OPTIONS, SourceOptions};

#[cfg(test)]
mod socket_testing;
#[cfg(test)]
#[path = "../../../tests/src/port.rs"]
mod port;

#[cfg(test)]
mod follow_tests;

#[cfg(test)]
mod tcp_tests;

#[cfg(test)]
mod udp_tests;

#[cfg(test)]
mod socket_sink_tests;

#[cfg(test)]
mod http_testing;

#[cfg(test)]
mod http_arrow_tests;

#[cfg(test)]
mod http_framing_tests;

#[cfg(test)]
mod http_hostile_tests;

#[cfg(test)]
mod http_limits_tests;

#[cfg(test)]
mod http_tests;

#[cfg(test)]
mod http_write_tests;

#[cfg(test)]
mod http_sink_tests;

#[cfg(test)]
mod live_tests;

#[cfg(test)]
mod tests;
