//! The statements of a script, as they are written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};
use datafusion::sql::sqlparser::ast;

use super::interval::FixedInterval;
use super::positions::Positions;
use super::window_call::WindowCall;

/// A statement and its place.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Its bytes in the script, without the `;`.
    pub span: Range<usize>,
}

/// What a statement says.
#[derive(Debug, Clone)]
pub enum StatementKind {
    /// `CREATE STREAM`, `CREATE SOURCE`, `CREATE TABLE`.
    CreateStream(CreateStream),
    /// `CREATE [MATERIALIZED] VIEW`.
    CreateView(CreateView),
    /// `CREATE SINK`, `CREATE TABLE … WITH (type = 'sink')`.
    CreateSink(CreateSink),
    /// `INSERT INTO`.
    Insert(Insert),
    /// A query whose rows are the answer.
    Query(Query),
    /// `EXPLAIN`.
    Explain {
        /// Whether the statement is run and measured.
        analyze: bool,
        /// Whether every step of the plan is wanted.
        verbose: bool,
        /// What is explained.
        statement: Box<Statement>,
    },
    /// `DESCRIBE`.
    Describe {
        /// A stream, a view or a sink.
        name: Name,
    },
    /// `SHOW`.
    Show(Show),
    /// `DROP`.
    Drop {
        /// What is dropped.
        kind: DropKind,
        /// Its name.
        name: Name,
        /// Whether it may be missing.
        if_exists: bool,
        /// Whether what depends on it is dropped too.
        cascade: bool,
    },
    /// `SET name = value`.
    Set {
        /// The setting, in lower case unless quoted.
        name: Name,
        /// Its value.
        value: OptionValue,
    },
    /// `ALTER STREAM`.
    AlterStream {
        /// The stream.
        name: Name,
        /// What a source would say.
        action: AlterAction,
    },
}

/// A name: in lower case unless it was quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name without quotes.
    pub value: String,
    /// Where it is written.
    pub span: Range<usize>,
}

/// The options of `WITH (…)` by name.
pub type Options = BTreeMap<String, OptionValue>;

/// An option's value: the text of a string, a number, a word, or an interval
/// without its keyword and quotes (`10 SECOND`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionValue {
    /// The value.
    pub value: String,
    /// Where it is written.
    pub span: Range<usize>,
    /// Where the option's name is written.
    pub name_span: Range<usize>,
}

/// `CREATE STREAM`.
#[derive(Debug, Clone)]
pub struct CreateStream {
    /// Its name.
    pub name: Name,
    /// Whether one of that name is replaced.
    pub or_replace: bool,
    /// Whether one of that name may exist.
    pub if_not_exists: bool,
    /// Empty: to be inferred from a sample.
    pub columns: Vec<ColumnDef>,
    /// Checks that are not written behind a column.
    pub table_checks: Vec<Check>,
    /// The bound on disorder.
    pub watermark: Option<Watermark>,
    /// The option `event_time_field`.
    pub event_time_field: Option<Name>,
    /// The other options.
    pub options: Options,
    /// The way from places in its expressions to bytes.
    pub positions: Arc<Positions>,
}

/// A column of a stream.
#[derive(Debug, Clone)]
pub struct ColumnDef {
    /// Its name.
    pub name: Name,
    /// Its type; `None` only for a computed column that has the type of its expression.
    pub data_type: Option<DataType>,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// The conditions written behind it.
    pub checks: Vec<Check>,
    /// The expression of a computed column.
    pub computed: Option<ast::Expr>,
    /// Where it is written.
    pub span: Range<usize>,
}

/// A condition that rejects a row where it is FALSE.
#[derive(Debug, Clone)]
pub struct Check {
    /// The name of its constraint.
    pub name: Option<String>,
    /// The condition.
    pub expr: ast::Expr,
    /// The condition as written.
    pub text: String,
    /// Where it is written.
    pub span: Range<usize>,
}

/// `WATERMARK FOR column [AS column - constant]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The event-time column.
    pub column: Name,
    /// The bound on disorder.
    pub bound: FixedInterval,
    /// Where the clause is written.
    pub span: Range<usize>,
}

/// `CREATE [MATERIALIZED] VIEW`.
#[derive(Debug, Clone)]
pub struct CreateView {
    /// Its name.
    pub name: Name,
    /// Whether its rows are kept.
    pub materialized: bool,
    /// Whether one of that name is replaced.
    pub or_replace: bool,
    /// Whether one of that name may exist.
    pub if_not_exists: bool,
    /// What it stands for.
    pub query: Query,
    /// The options.
    pub options: Options,
}

/// `CREATE SINK`.
#[derive(Debug, Clone)]
pub struct CreateSink {
    /// Its name.
    pub name: Name,
    /// Whether one of that name is replaced.
    pub or_replace: bool,
    /// Whether one of that name may exist.
    pub if_not_exists: bool,
    /// The columns, where they are declared.
    pub columns: Option<Vec<ColumnDef>>,
    /// What is written to it; `None`: what is inserted.
    pub query: Option<Query>,
    /// The options.
    pub options: Options,
}

/// `INSERT INTO target [(columns)] query`.
#[derive(Debug, Clone)]
pub struct Insert {
    /// A stream or a sink.
    pub target: Name,
    /// The columns in the order of the query's; empty: all, in their order.
    pub columns: Vec<Name>,
    /// `SELECT` or `VALUES`.
    pub source: Query,
}

/// A query in canonical form.
#[derive(Debug, Clone)]
pub struct Query {
    /// What DataFusion plans.
    pub ast: ast::Query,
    /// The windows that the calls of [`WINDOW_FUNCTION`](super::WINDOW_FUNCTION) in
    /// `ast` name by index.
    pub windows: Vec<WindowCall>,
    /// When results come out.
    pub emit: Emit,
    /// How long a closed window can be restated.
    pub allow_lateness: Option<FixedInterval>,
    /// Its bytes in the script, with the tail.
    pub span: Range<usize>,
    /// The way from the spans of `ast` to bytes.
    pub positions: Arc<Positions>,
}

/// When results come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emit {
    /// Nothing is said.
    Default,
    /// Each window once, when it closes.
    OnWindowClose,
    /// A changelog, as results change.
    Changes,
    /// Early results at a cadence, then the final ones.
    Every(FixedInterval),
}

/// What `SHOW` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Show {
    /// Streams.
    Streams,
    /// Views, materialized or not.
    Views,
    /// Sinks.
    Sinks,
    /// Continuous queries.
    Queries,
    /// All of streams, views and sinks.
    Tables,
    /// Functions.
    Functions,
    /// All settings.
    Settings,
    /// One setting.
    Setting(Name),
}

/// What `DROP` drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropKind {
    /// A stream.
    Stream,
    /// A view, materialized or not.
    View,
    /// A sink.
    Sink,
    /// A continuous query.
    Query,
    /// `DROP TABLE`: a stream or a sink, as `CREATE TABLE` declares either.
    Table,
}

/// What `ALTER STREAM` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlterAction {
    /// `ADVANCE WATERMARK TO`.
    AdvanceWatermark {
        /// The watermark.
        to: DateTime<Utc>,
        /// Where it is written.
        span: Range<usize>,
    },
    /// `END`.
    End,
}
