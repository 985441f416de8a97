//! The engine: streams, queries and the loop that drives them.
