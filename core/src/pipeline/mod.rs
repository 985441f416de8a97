//! The engine: streams, queries and the loop that drives them.
//!
//! A [`Driver`] polls sources and carries what they give into an [`Engine`]; the
//! engine carries each event through all queries to their sinks and views before it
//! takes the next. Between two events the whole state can be saved.
//!
//! This module knows no expression: computed columns, rules and row functions are
//! plugged in. It knows no source and no sink by name.

mod accounts;

mod watermark;

mod expect;

mod view;

mod ingress;

mod stats;

mod guard;

mod sharing;

mod engine;

mod carry;

mod figures;

mod outputs;

mod save;

mod meter;

mod driver;

pub use accounts::LateRecords;
pub use driver::{Driver, Stepped};
pub use engine::{Engine, EngineConfig, Input, QueryId, QuerySpec, Removed, Step, StreamId};
pub use expect::{EXPECT_KEYS_MAX, Expect};
pub use ingress::{
    EventTime, LiveRules, OnError, Prepare, Prepared, StreamCounters, StreamSpec, Violation,
};
pub use meter::Meter;
pub use stats::{PushReport, QueryStats, QueryStatus, StreamStats};
pub use view::{Cursor, Next, View, ViewSize};

#[cfg(test)]
mod damage;
#[cfg(test)]
mod tests;
