//! From an optimised logical plan to a graph of push operators.
//!
//! ```text
//!  Projection           Stretch
//!   └ Aggregate    ─▶    └ WindowAggregate     one operator for the window and the
//!      └ Window             └ Stretch          aggregation; what stands between them
//!         └ Filter             └ stream        is computed below
//!            └ TableScan
//! ```
//!
//! A plan that holds anything else (a sort, a join, an aggregation over all rows) is
//! not lowered; over bounded inputs DataFusion computes what stands above the largest
//! parts that are, and what stands below a window and is not.

mod expr;

mod timing;

mod aggregate;

mod over;

mod common;

mod keyed;

mod parts;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{
    Expr, FetchType, Limit as LimitPlan, LogicalPlan, SkipType, TableScan,
};
use windrow_core::operator::{
    KeyedTable, Limit, Operator, Stateless, Union, WindowRowsSpec, window_rows,
};
use windrow_core::window::WindowKind;

use super::node::WindowNode;
use super::refuse;
use super::relations::{Origin, Relation, RowsNow, Timing};
use crate::error::Result;
use crate::exec::{Blame, ColumnExpr, Stretch};
use common::Common;
use expr::{Compiler, plan_fault};
pub use keyed::keyed;
pub use parts::{BatchPlan, parts};
use timing::{carried, united, window_times};

/// What a query takes of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedScan {
    /// The stream's name.
    pub stream: String,
    /// The places of the columns that it looks at.
    pub columns: Vec<usize>,
    /// What is true for every row that it goes on with, over these columns; `None` if that
    /// is none, or one that may fail.
    pub condition: Option<ColumnExpr>,
}

/// Where a step's rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedInput {
    /// A stream.
    Stream(PlannedScan),
    /// A materialized view's further results, by name.
    View(String),
    /// Rows that are there when the query starts, by their place in
    /// [`Graph::tables`].
    Table(usize),
    /// Another step.
    Step(usize),
    /// What several parts of the query need, by its place in [`BatchPlan::common`].
    Common(usize),
}

/// An operator of a planned query.
#[derive(Debug)]
pub struct PlannedStep {
    /// The operator.
    pub operator: Box<dyn Operator>,
    /// Its inputs.
    pub inputs: Vec<PlannedInput>,
    /// Whether it puts rows into windows.
    pub is_window: bool,
    /// What it does, as `EXPLAIN` prints it; empty if that is a part of what the step below
    /// it does.
    pub text: String,
}

impl PlannedStep {
    /// Whether it computes over the rows around each row, or over all of them: no window
    /// closes.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.operator.name(), "OverAggregate" | "KeyedAggregate")
    }
}

/// Rows that are there when a query starts.
#[derive(Debug)]
pub struct PlannedTable {
    /// The table's name.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub rows: TableRows,
    /// The column by which windows over it close while it is read: nothing else in the
    /// query waits for its end.
    pub time: Option<usize>,
}

/// The rows of a [`PlannedTable`].
#[derive(Debug)]
pub enum TableRows {
    /// They are there.
    Now(Arc<dyn RowsNow>),
    /// DataFusion computes them from bounded inputs.
    Computed(Box<BatchPlan>),
}

/// A planned query: operators in an order in which each names only earlier ones.
#[derive(Debug)]
pub struct Graph {
    /// The operators; the last one gives the results.
    pub steps: Vec<PlannedStep>,
    /// Tables that it reads.
    pub tables: Vec<PlannedTable>,
    /// The columns of the results.
    pub schema: SchemaRef,
    /// The greatest number of rows that it gives, if it says one.
    pub rows_max: Option<usize>,
    /// How the results follow the event time.
    pub timing: Timing,
    /// Where the results can be read; `None`: the last operator gives them.
    pub table: Option<Arc<KeyedTable>>,
}

/// How a query is going to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It goes on while its streams do: a materialized view's rows to come are read.
    Continuous,
    /// As `Continuous`, and its results are kept as a table: they may change, of so many keys
    /// at most.
    Kept {
        /// How many keys there may be; `None`: nobody has said.
        keys_max: Option<usize>,
    },
    /// It answers once: a materialized view's rows of now are read.
    Once,
}

impl Mode {
    /// Whether it goes on while its streams do.
    pub fn goes_on(self) -> bool {
        self != Self::Once
    }
}

/// Lowers a plan; `None` if DataFusion has to compute it.
///
/// # Errors
/// If the plan cannot be run in either way.
pub fn lower(
    plan: &LogicalPlan,
    mode: Mode,
    props: &ExecutionProps,
    blame: &Arc<Blame>,
) -> Result<Option<Graph>> {
    lower_over(plan, mode, props, blame, &Common::default())
}

/// As [`lower`], over subplans that are computed for several parts of the query.
fn lower_over(
    plan: &LogicalPlan,
    mode: Mode,
    props: &ExecutionProps,
    blame: &Arc<Blame>,
    common: &Common,
) -> Result<Option<Graph>> {
    let lowering = |in_time| Lowering::new(mode, props, blame, common, in_time);
    // First as if all that follows a table could keep up with its times.
    let mut first = lowering(!mode.goes_on());
    let lowered = first.graph(plan);
    let keeps_up = matches!(lowered, Ok(Some(_))) && !first.waits_for_end;
    if keeps_up || !first.has_table_times {
        return lowered;
    }
    lowering(false).graph(plan)
}

/// The Arrow schema of a plan. Every column may hold NULL: rules about NULL belong to
/// streams, not to batches.
pub(super) fn arrow_schema(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Vec<_> = fields
        .map(|field| {
            let field = field.as_ref().clone();
            Arc::new(field.with_nullable(true).with_metadata(Default::default()))
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The lowered part of a plan.
#[derive(Debug, Clone)]
struct Lowered {
    input: PlannedInput,
    schema: SchemaRef,
    timing: Timing,
}

struct Lowering<'a> {
    compiler: Compiler<'a>,
    mode: Mode,
    common: &'a Common,
    steps: Vec<PlannedStep>,
    tables: Vec<PlannedTable>,
    /// Whether tables tell which times are complete, so that windows over them close while
    /// they are read.
    in_time: bool,
    /// Whether a window closes by the times of a table.
    has_table_times: bool,
    /// Whether some operator takes rows of a table in any order of time.
    waits_for_end: bool,
}

impl<'a> Lowering<'a> {
    fn new(
        mode: Mode,
        props: &'a ExecutionProps,
        blame: &'a Arc<Blame>,
        common: &'a Common,
        in_time: bool,
    ) -> Self {
        Self {
            compiler: Compiler { props, blame },
            mode,
            common,
            steps: Vec::new(),
            tables: Vec::new(),
            in_time,
            has_table_times: false,
            waits_for_end: false,
        }
    }

    /// All of a plan.
    fn graph(&mut self, plan: &LogicalPlan) -> Result<Option<Graph>> {
        let Some(lowered) = self.lower(plan)? else {
            return Ok(None);
        };
        let schema = arrow_schema(plan.schema());
        let lowered = self.named(lowered, &schema);
        debug_assert!(matches!(lowered.input, PlannedInput::Step(_)));
        Ok(Some(Graph {
            steps: std::mem::take(&mut self.steps),
            tables: std::mem::take(&mut self.tables),
            schema,
            rows_max: plan.max_rows(),
            timing: lowered.timing,
            table: None,
        }))
    }

    fn step(
        &mut self,
        operator: Box<dyn Operator>,
        inputs: Vec<PlannedInput>,
        is_window: bool,
        text: String,
        timing: Timing,
    ) -> Lowered {
        let schema = operator.schema();
        self.steps.push(PlannedStep {
            operator,
            inputs,
            is_window,
            text,
        });
        Lowered {
            input: PlannedInput::Step(self.steps.len() - 1),
            schema,
            timing,
        }
    }

    /// Makes sure that the last step gives `schema`'s names.
    fn named(&mut self, lowered: Lowered, schema: &SchemaRef) -> Lowered {
        if matches!(lowered.input, PlannedInput::Step(_)) && lowered.schema == *schema {
            return lowered;
        }
        let columns = Compiler::places(&lowered.schema, 0..schema.fields().len());
        let stretch = Stretch::new("Project", Vec::new(), columns, schema.clone());
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let text = format!("Project: {}", names.join(", "));
        let operator = Box::new(Stateless::new(Box::new(stretch)));
        self.step(operator, vec![lowered.input], false, text, lowered.timing)
    }

    fn lower(&mut self, plan: &LogicalPlan) -> Result<Option<Lowered>> {
        let place = self.common.place(plan);
        if let Some(place) = place.filter(|place| self.in_time || !place.closes_by_table) {
            self.has_table_times |= place.closes_by_table;
            return Ok(Some(Lowered {
                input: PlannedInput::Common(place.graph),
                schema: place.schema.clone(),
                timing: place.timing.clone(),
            }));
        }
        let mark = self.mark();
        let lowered = self.lower_node(plan)?;
        if lowered.is_none() {
            self.give_up(mark);
        }
        Ok(lowered)
    }

    /// How much has been lowered so far.
    fn mark(&self) -> (usize, usize) {
        (self.steps.len(), self.tables.len())
    }

    /// Forgets what was lowered since `mark`.
    fn give_up(&mut self, mark: (usize, usize)) {
        self.steps.truncate(mark.0);
        self.tables.truncate(mark.1);
    }

    fn lower_node(&mut self, plan: &LogicalPlan) -> Result<Option<Lowered>> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input),
            LogicalPlan::Projection(projection) => {
                if !projection.expr.iter().all(expr::is_row_wise) {
                    return Ok(None);
                }
                let Some(input) = self.lower(&projection.input)? else {
                    return Ok(None);
                };
                let columns = (projection.expr.iter())
                    .map(|expr| self.compiler.compile(expr, projection.input.schema()))
                    .collect::<Result<Vec<_>>>()?;
                let origins = (projection.expr.iter())
                    .map(|expr| expr::column_place(expr, projection.input.schema()));
                let timing = carried(&input.timing, origins);
                let schema = arrow_schema(&projection.schema);
                let text = format!("Project: {}", texts(&projection.expr));
                let stretch =
                    Stretch::new("Project", Vec::new(), columns, schema).of(self.compiler.blame);
                let operator = Box::new(Stateless::new(Box::new(stretch)));
                Ok(Some(self.step(
                    operator,
                    vec![input.input],
                    false,
                    text,
                    timing,
                )))
            }
            LogicalPlan::Filter(filter) => {
                if !expr::is_row_wise(&filter.predicate) {
                    return Ok(None);
                }
                let Some(input) = self.lower(&filter.input)? else {
                    return Ok(None);
                };
                let condition =
                    (self.compiler).compile(&filter.predicate, filter.input.schema())?;
                let columns = Compiler::places(&input.schema, 0..input.schema.fields().len());
                if expr::cannot_fail(&filter.predicate, filter.input.schema()) {
                    self.bound(&input, &condition);
                }
                let text = format!("Filter: {}", texts(std::slice::from_ref(&filter.predicate)));
                let stretch =
                    Stretch::new("Filter", vec![condition], columns, input.schema.clone())
                        .of(self.compiler.blame);
                let operator = Box::new(Stateless::new(Box::new(stretch)));
                Ok(Some(self.step(
                    operator,
                    vec![input.input],
                    false,
                    text,
                    input.timing,
                )))
            }
            LogicalPlan::Union(union) => {
                self.waits_for_end = true;
                let schema = arrow_schema(&union.schema);
                let mut inputs = Vec::with_capacity(union.inputs.len());
                let mut timing: Option<Timing> = None;
                for input in &union.inputs {
                    let Some(lowered) = self.lower(input)? else {
                        return Ok(None);
                    };
                    timing = Some(match timing {
                        Some(timing) => united(&timing, &lowered.timing),
                        None => lowered.timing,
                    });
                    inputs.push(lowered.input);
                }
                let text = format!("Union of {}", inputs.len());
                let operator = Box::new(Union::new(schema, inputs.len()));
                let timing = timing.unwrap_or_default();
                Ok(Some(self.step(operator, inputs, false, text, timing)))
            }
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Extension(extension) => {
                match extension.node.as_any().downcast_ref::<WindowNode>() {
                    Some(node) => self.window_rows(node),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Option<Lowered>> {
        let Some(relation) = Relation::of(scan) else {
            return Ok(None);
        };
        let width = relation.schema.fields().len();
        let places: Vec<usize> = match &scan.projection {
            Some(places) => places.clone(),
            None => (0..width).collect(),
        };
        let input = match (&relation.origin, self.mode) {
            (Origin::Stream, _) => PlannedInput::Stream(PlannedScan {
                stream: relation.name.clone(),
                columns: places.clone(),
                condition: None,
            }),
            (Origin::View(_), mode) if mode.goes_on() => PlannedInput::View(relation.name.clone()),
            (Origin::View(rows) | Origin::Rows(rows), _) => {
                self.tables.push(PlannedTable {
                    name: relation.name.clone(),
                    schema: relation.schema.clone(),
                    rows: TableRows::Now(rows.clone()),
                    time: None,
                });
                PlannedInput::Table(self.tables.len() - 1)
            }
        };
        let timing = match input {
            PlannedInput::Table(_) => Timing {
                bounded: true,
                ..Timing::default()
            },
            _ => relation.timing.clone(),
        };
        let lowered = Lowered {
            input,
            schema: relation.schema.clone(),
            timing,
        };
        let schema = arrow_schema(&scan.projected_schema);
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let names: Vec<&str> = names.collect();
        let text = match names.len() {
            read if read == width => format!("Read {}", relation.name),
            0 => format!("Read {}: no columns", relation.name),
            _ => format!("Read {}: {}", relation.name, names.join(", ")),
        };
        let columns = Compiler::places(&lowered.schema, places.iter().copied());
        let timing = carried(&lowered.timing, places.into_iter().map(Some));
        let stretch = Stretch::new("Read", Vec::new(), columns, schema);
        let operator = Box::new(Stateless::new(Box::new(stretch)));
        Ok(Some(self.step(
            operator,
            vec![lowered.input],
            false,
            text,
            timing,
        )))
    }

    /// Notes the condition that stands over the rows of `input`, if it is a stream.
    fn bound(&mut self, input: &Lowered, condition: &ColumnExpr) {
        if let PlannedInput::Step(step) = input.input
            && let [PlannedInput::Stream(scan)] = self.steps[step].inputs.as_mut_slice()
        {
            scan.condition = Some(condition.clone());
        }
    }

    fn limit(&mut self, limit: &LimitPlan) -> Result<Option<Lowered>> {
        let skip = limit.get_skip_type().map_err(plan_fault)?;
        let fetch = limit.get_fetch_type().map_err(plan_fault)?;
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (skip, fetch) else {
            return Ok(None);
        };
        let Some(input) = self.lower(&limit.input)? else {
            return Ok(None);
        };
        let text = match fetch {
            Some(fetch) => format!("Limit: {fetch} rows after {skip}"),
            None => format!("Skip: {skip} rows"),
        };
        let fetch = fetch.map(|fetch| fetch as u64);
        let operator = Box::new(Limit::new(input.schema.clone(), skip as u64, fetch));
        Ok(Some(self.step(
            operator,
            vec![input.input],
            false,
            text,
            input.timing,
        )))
    }

    /// What a window function stands over: operators, or the rows of a plan over bounded
    /// inputs that DataFusion computes.
    fn window_input(&mut self, node: &WindowNode) -> Result<Option<Lowered>> {
        let plan = &node.input;
        if let Some(input) = self.lower(plan)? {
            return Ok(Some(input));
        }
        if refuse::Streams::of(plan).any_live {
            return Ok(None);
        }
        let batch = parts(
            plan.clone(),
            self.mode,
            self.compiler.props,
            self.compiler.blame,
        )?;
        let schema = batch.schema.clone();
        self.tables.push(PlannedTable {
            name: "a subquery".into(),
            schema: schema.clone(),
            rows: TableRows::Computed(Box::new(batch)),
            time: None,
        });
        Ok(Some(Lowered {
            input: PlannedInput::Table(self.tables.len() - 1),
            schema,
            timing: Timing {
                bounded: true,
                ..Timing::default()
            },
        }))
    }

    /// A window function without aggregation.
    fn window_rows(&mut self, node: &WindowNode) -> Result<Option<Lowered>> {
        let Some(input) = self.window_input(node)? else {
            return Ok(None);
        };
        let (input, time) = self.on_time(input, node)?;
        let schema = node.input.schema();
        let partition_keys = (node.partition_by.iter())
            .map(|column| schema.index_of_column(column).map_err(plan_fault))
            .collect::<Result<Vec<_>>>()?;
        let spec = WindowRowsSpec {
            input: input.schema.clone(),
            time,
            partition_keys,
            kind: node.kind,
            alignment: node.alignment,
        };
        let operator = window_rows(spec)?;
        let kept = node.kept_columns();
        let mut timing = match node.kind {
            // Rows are held back until their window closes.
            WindowKind::Session { .. } | WindowKind::Count { .. } => Timing {
                columns: Vec::new(),
                ..input.timing.clone()
            },
            _ => carried(&input.timing, kept.iter().map(|column| Some(*column))),
        };
        timing.columns.extend(window_times(kept.len(), node));
        let text = format!("Window: {} on {}", node.describe(), node.time.name);
        Ok(Some(self.step(
            operator,
            vec![input.input],
            true,
            text,
            timing,
        )))
    }
}

/// Expressions as `EXPLAIN` prints them.
fn texts(exprs: &[Expr]) -> String {
    let texts: Vec<String> = exprs
        .iter()
        .map(|expr| expr.human_display().to_string())
        .collect();
    // The planner counts rows by counting a constant.
    (texts.join(", "))
        .replace("count(Int64(1))", "count(*)")
        .replace("count(1)", "count(*)")
}

/// For callers that hold a DataFusion result.
pub(super) fn planned<T>(result: DfResult<T>) -> Result<T> {
    result.map_err(plan_fault)
}
