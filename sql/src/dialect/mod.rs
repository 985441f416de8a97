//! Windrow's statements: a parser in front of DataFusion's.
//!
//! A script is cut into tokens once; the tokens of each statement are read by a
//! small recursive parser, which hands expressions, types and queries to sqlparser
//! under a dialect of our own. A query then goes through three steps, so that
//! DataFusion never sees what it would misread:
//!
//! ```text
//!  text ─▶ tokens ─▶ statement ─▶ tail cut off: EMIT, ALLOW LATENESS
//!                                 clauses spelled out or refused
//!                                 windows in canonical form           ─▶ planner
//! ```
//!
//! Every accepted spelling of Flink, RisingWave and Arroyo leaves in the canonical
//! form. This module knows no catalogue and plans nothing: whether a stream or a
//! column exists is not its business.

mod window_call;

mod syntax;

mod positions;

mod depth;

mod interval;

mod data_type;

mod risks;

mod message;

mod clauses;

mod grouping;

mod windows;

mod statement;

mod rows;

mod names;

mod cursor;

mod query;

mod options;

mod columns;

mod parser;

mod typed;

#[cfg(test)]
mod tests;

pub use interval::{FixedInterval, interval};
pub use parser::parse_script;
pub use positions::Positions;
pub use risks::{Cast, Division, bare_type};
pub use rows::rows_as_texts;
pub use statement::{
    AlterAction, Check, ColumnDef, CreateSink, CreateStream, CreateView, DropKind, Emit, Insert,
    Name, OptionValue, Options, Query, Show, Statement, StatementKind, Watermark,
};
pub use syntax::WindrowDialect;
pub use typed::{Piece, Pieces, Typed, keywords, pieces, typed};
pub use window_call::{WINDOW_FUNCTION, WindowCall, WindowKind};
