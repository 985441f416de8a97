//! The oracle: what a windowed query must answer, computed in the most naive way.
//!
//! It shares no code with the engine and uses no Arrow: rows are plain structs in a
//! `Vec`, every watermark is found by looking at every earlier row, every window by
//! trying every start, every aggregate by the formula of a textbook over all of its
//! rows. It is slow, and meant to be read.
//!
//! ```text
//!  rows ──arrival──▶ rows, each with its watermark ──window──▶ groups ──aggregate──▶ values
//!                                                        └───▶ late rows
//! ```

pub mod arrival;
pub mod value;

pub mod aggregate;
pub mod window;

pub use aggregate::{Aggregate, catalogue};
pub use arrival::{Arrival, Row, arrivals};
pub use value::{Cell, Value};
pub use window::{Answer, Group, Window, answer};
