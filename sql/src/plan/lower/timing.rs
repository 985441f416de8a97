//! Which columns of a step are in event time, and how far behind the watermark.
//!
//! A window needs a time column of which is known what is complete. It comes from a stream
//! by way of columns that are taken as they are, from a window's edges, or from a table
//! that tells its times while it is read.

use datafusion::logical_expr::LogicalPlan;
use windrow_core::operator::Lag;
use windrow_core::window::{Span, WindowKind};

use super::expr::{column_place, plan_fault};
use super::{Lowered, Lowering, TableRows};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::node::WindowNode;
use crate::plan::relations::{TimeColumn, Timing};

impl Lowering<'_> {
    /// Checks that a window's time column is in event time, and lets the watermark lag
    /// behind where the column does.
    pub(super) fn on_time(
        &mut self,
        input: Lowered,
        node: &WindowNode,
    ) -> Result<(Lowered, usize)> {
        let schema = node.input.schema();
        let time = schema.index_of_column(&node.time).map_err(plan_fault)?;
        let timing = &input.timing;
        let column = timing.columns.iter().find(|column| column.column == time);
        match column {
            Some(column) if column.lag == 0 => Ok((input, time)),
            Some(column) => {
                let lag = column.lag;
                Ok((self.lagging(input, lag), time))
            }
            None if timing.bounded && !timing.watermarked => {
                let mut input = input;
                if self.closes_by_table(node, time) {
                    input.timing.watermarked = true;
                    input.timing.columns = vec![TimeColumn {
                        column: time,
                        lag: 0,
                    }];
                }
                Ok((input, time))
            }
            None => Err(self.no_event_time(&input, node)),
        }
    }

    /// Whether a window's time is a column of a table that tells which times are complete.
    fn closes_by_table(&mut self, node: &WindowNode, time: usize) -> bool {
        match (table_column(&node.input, time), self.tables.last_mut()) {
            (Some(column), Some(table))
                if self.in_time && matches!(table.rows, TableRows::Now(_)) =>
            {
                table.time = Some(column);
                self.has_table_times = true;
                true
            }
            _ => {
                self.waits_for_end = true;
                false
            }
        }
    }

    fn no_event_time(&self, input: &Lowered, node: &WindowNode) -> Error {
        let name = &node.time.name;
        let event_times: Vec<&str> = (input.timing.columns.iter())
            .filter_map(|column| input.schema.fields().get(column.column))
            .map(|field| field.name().as_str())
            .collect();
        if !input.timing.watermarked {
            return Error::new(
                ErrorKind::Plan,
                "a window over a live stream needs a watermark, and the stream has none",
            )
            .help(format!(
                "declare one in CREATE STREAM: WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND"
            ));
        }
        let error = Error::new(
            ErrorKind::Plan,
            format!("column {name} is not the event time of this stream"),
        );
        match event_times.as_slice() {
            [] => error
                .help("the event-time column must come through unchanged; name it in the subquery"),
            names => error.help(format!("use {}", names.join(" or "))),
        }
    }

    /// Lets the watermark fall back by `lag` ticks.
    pub(super) fn lagging(&mut self, input: Lowered, lag: i64) -> Lowered {
        let mut timing = input.timing;
        timing.columns = (timing.columns.iter())
            .map(|column| TimeColumn {
                lag: (column.lag - lag).max(0),
                ..*column
            })
            .collect();
        let operator = Box::new(Lag::new(input.schema, lag));
        let text = format!("Lag: {lag} ticks");
        self.step(operator, vec![input.input], false, text, timing)
    }
}

/// The place in a table of a column that comes from it unchanged, with nothing in between
/// but filters and projections.
fn table_column(plan: &LogicalPlan, column: usize) -> Option<usize> {
    match plan {
        LogicalPlan::TableScan(scan) => match &scan.projection {
            Some(places) => places.get(column).copied(),
            None => Some(column),
        },
        LogicalPlan::SubqueryAlias(alias) => table_column(&alias.input, column),
        LogicalPlan::Filter(filter) => table_column(&filter.input, column),
        LogicalPlan::Projection(projection) => {
            let expr = projection.expr.get(column)?;
            let column = column_place(expr, projection.input.schema())?;
            table_column(&projection.input, column)
        }
        _ => None,
    }
}

/// The window columns that follow the watermark, when `window_start` is at `start`.
pub(super) fn window_times(start: usize, node: &WindowNode) -> Vec<TimeColumn> {
    // A later window ends after the watermark, so it starts after it minus its size.
    let size = match node.kind {
        WindowKind::Tumble {
            size: Span::Ticks(size),
        }
        | WindowKind::Hop {
            size: Span::Ticks(size),
            ..
        }
        | WindowKind::Cumulate {
            size: Span::Ticks(size),
            ..
        } => Some(size),
        _ => None,
    };
    let exact = [start + 1, start + 2].map(|column| TimeColumn { column, lag: 0 });
    (size
        .map(|lag| TimeColumn { column: start, lag })
        .into_iter())
    .chain(exact)
    .collect()
}

/// The timing of columns that come from `origins` of the input.
pub(super) fn carried(timing: &Timing, origins: impl Iterator<Item = Option<usize>>) -> Timing {
    let columns = origins.enumerate().filter_map(|(column, origin)| {
        let origin = origin?;
        let from = timing.columns.iter().find(|time| time.column == origin)?;
        Some(TimeColumn {
            column,
            lag: from.lag,
        })
    });
    Timing {
        columns: columns.collect(),
        ..timing.clone()
    }
}

/// The timing of the rows of two inputs.
pub(super) fn united(a: &Timing, b: &Timing) -> Timing {
    // Rows without a watermark hold the union's back until they end, so any column
    // of theirs is as good.
    let columns = match (a.watermarked, b.watermarked) {
        (true, true) => (a.columns.iter())
            .filter_map(|column| {
                let other = b
                    .columns
                    .iter()
                    .find(|other| other.column == column.column)?;
                Some(TimeColumn {
                    column: column.column,
                    lag: column.lag.max(other.lag),
                })
            })
            .collect(),
        (false, true) => b.columns.clone(),
        _ => a.columns.clone(),
    };
    Timing {
        columns,
        watermarked: a.watermarked || b.watermarked,
        bounded: a.bounded && b.bounded,
    }
}
