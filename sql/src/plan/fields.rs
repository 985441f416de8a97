//! Names for fields of structs in a query's columns: the field's own.
//!
//! ```text
//! SELECT a.b.c FROM 'x.json'              ─▶  c
//! SELECT a.x, b.x FROM 'x.json'           ─▶  a.x, b.x      one name for two would not do
//! ```
//!
//! Whether `a.b` is a column of a table or a field of a column is known when names have
//! been looked up, so that this is done to the plan. The planner's own name of a field
//! tells the path of its table.

use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

/// A plan whose columns that are fields of structs have names that a reader would give them.
pub(super) fn named(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let width = plan.schema().fields().len();
    let paths: Vec<Option<Vec<String>>> = (0..width).map(|place| path(&plan, place)).collect();
    if paths.iter().all(Option::is_none) {
        return Ok(plan);
    }
    let columns = plan.schema().columns();
    let named: Vec<Expr> = (paths.iter().zip(&columns))
        .enumerate()
        .map(|(place, (path, column))| {
            let column = Expr::Column(column.clone());
            match path {
                Some(path) => column.alias(name(path, &paths, &columns, place)),
                None => column,
            }
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(named)?.build()
}

/// The last part of a path, or all of it if another column has that name.
fn name(
    path: &[String],
    paths: &[Option<Vec<String>>],
    columns: &[datafusion::common::Column],
    place: usize,
) -> String {
    let last = path.last().cloned().unwrap_or_default();
    let is_taken = (paths.iter().zip(columns).enumerate()).any(|(other, (path, column))| {
        other != place
            && match path {
                Some(path) => path.last() == Some(&last),
                None => column.name == last,
            }
    });
    match is_taken {
        true => path.join("."),
        false => last,
    }
}

/// The column and the fields that the output at `place` is reached by, if it is a field
/// that was given no name.
fn path(plan: &LogicalPlan, place: usize) -> Option<Vec<String>> {
    match plan {
        LogicalPlan::Projection(projection) => match projection.expr.get(place)? {
            Expr::Column(column) => {
                let place = projection.input.schema().maybe_index_of_column(column)?;
                path(&projection.input, place)
            }
            expr => field_path(expr),
        },
        LogicalPlan::Aggregate(aggregate) => field_path(aggregate.group_expr.get(place)?),
        LogicalPlan::Sort(sort) => path(&sort.input, place),
        LogicalPlan::Limit(limit) => path(&limit.input, place),
        LogicalPlan::Filter(filter) => path(&filter.input, place),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => path(input, place),
        LogicalPlan::SubqueryAlias(alias) => path(&alias.input, place),
        LogicalPlan::Union(union) => path(union.inputs.first()?, place),
        _ => None,
    }
}

/// `a`, `b`, `c` of `get_field(a, 'b', 'c')`.
fn field_path(expr: &Expr) -> Option<Vec<String>> {
    let Expr::ScalarFunction(call) = expr else {
        return None;
    };
    if call.func.name() != "get_field" {
        return None;
    }
    let (of, fields) = call.args.split_first()?;
    let mut path = match of {
        Expr::Column(column) => vec![column.name.clone()],
        inner => field_path(inner)?,
    };
    for field in fields {
        let Expr::Literal(value, _) = field else {
            return None;
        };
        path.push(value.try_as_str()??.to_owned());
    }
    Some(path)
}
