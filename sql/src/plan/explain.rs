//! A planned query as `EXPLAIN` prints it.

use std::collections::BTreeSet;

use datafusion::logical_expr::LogicalPlan;

use super::{BatchPlan, Graph, Planned, PlannedInput, PlannedScan, TableRows};

/// Says how a stream is read.
pub type ReadHow<'a> = &'a dyn Fn(&PlannedScan) -> &'static str;

/// The steps of a planned query, results first. `how`: what follows the name of a stream.
pub fn explain(planned: &Planned, how: ReadHow<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    match planned {
        Planned::Graph(graph) => Explained::new(&[], how, &mut lines).graph(graph, 0),
        Planned::Batch(batch) => explain_batch(batch, how, 0, &mut lines),
    }
    lines
}

fn explain_batch(batch: &BatchPlan, how: ReadHow<'_>, depth: usize, lines: &mut Vec<String>) {
    let over = match batch.leaves.is_empty() {
        true => "over rows that are there",
        false => "over the results of:",
    };
    let mut steps = Vec::new();
    batch_steps(&batch.plan, &mut steps);
    let text = match steps.as_slice() {
        [] => format!("Once, {over}"),
        steps => format!("Once: {}, {over}", steps.join(", ")),
    };
    lines.push(format!("{}{text}", "  ".repeat(depth)));
    let mut explained = Explained::new(&batch.common, how, lines);
    for (_, graph) in &batch.leaves {
        explained.graph(graph, depth + 1);
    }
}

/// What DataFusion does to the rows, the last step first, in the words of SQL.
fn batch_steps(plan: &LogicalPlan, steps: &mut Vec<String>) {
    let step = match plan {
        LogicalPlan::Sort(sort) => {
            let by: Vec<String> = (sort.expr.iter())
                .map(|sort| sort.expr.human_display().to_string())
                .collect();
            let first = sort.fetch.map(|rows| format!(", first {rows} rows"));
            Some(format!(
                "sort by {}{}",
                by.join(", "),
                first.unwrap_or_default()
            ))
        }
        LogicalPlan::Limit(_) => Some("limit".into()),
        LogicalPlan::Join(join) => Some(format!("{} join", join.join_type).to_lowercase()),
        LogicalPlan::Aggregate(_) => Some("aggregate".into()),
        LogicalPlan::Distinct(_) => Some("distinct".into()),
        LogicalPlan::Window(_) => Some("OVER windows".into()),
        LogicalPlan::Union(_) => Some("union".into()),
        LogicalPlan::Filter(_) => Some("filter".into()),
        _ => None,
    };
    steps.extend(step);
    for input in plan.inputs() {
        batch_steps(input, steps);
    }
}

/// The steps of graphs, of which several may read what is computed once.
struct Explained<'a> {
    common: &'a [Graph],
    told: BTreeSet<usize>,
    how: ReadHow<'a>,
    lines: &'a mut Vec<String>,
}

impl<'a> Explained<'a> {
    fn new(common: &'a [Graph], how: ReadHow<'a>, lines: &'a mut Vec<String>) -> Self {
        Self {
            common,
            told: BTreeSet::new(),
            how,
            lines,
        }
    }

    fn line(&mut self, depth: usize, text: &str) {
        self.lines.push(format!("{}{text}", "  ".repeat(depth)));
    }

    fn graph(&mut self, graph: &Graph, depth: usize) {
        self.step(graph, graph.steps.len() - 1, depth);
    }

    fn step(&mut self, graph: &Graph, step: usize, depth: usize) {
        let planned = &graph.steps[step];
        let is_own = !planned.text.is_empty();
        if is_own {
            self.line(depth, &planned.text);
        }
        let below = depth + usize::from(is_own);
        for input in &planned.inputs {
            match input {
                PlannedInput::Step(step) => self.step(graph, *step, below),
                PlannedInput::Stream(scan) => {
                    let how = (self.how)(scan);
                    self.line(below, &format!("Stream: {}{how}", scan.stream));
                }
                PlannedInput::View(name) => self.line(below, &format!("View: {name}")),
                PlannedInput::Table(table) => {
                    let table = &graph.tables[*table];
                    match &table.rows {
                        TableRows::Now(_) => {
                            let how = match table.time {
                                Some(_) => ", windows close as it is read",
                                None => "",
                            };
                            self.line(below, &format!("Table: {}{how}", table.name));
                        }
                        TableRows::Computed(batch) => {
                            explain_batch(batch, self.how, below, self.lines);
                        }
                    }
                }
                PlannedInput::Common(number) => {
                    let common = self.common;
                    let graph = &common[*number];
                    if self.told.insert(*number) {
                        self.line(below, &format!("Common part {}:", number + 1));
                        self.graph(graph, below + 1);
                    } else {
                        self.line(below, &format!("Common part {}, as above", number + 1));
                    }
                }
            }
        }
    }
}
