//! Windrow SQL.
