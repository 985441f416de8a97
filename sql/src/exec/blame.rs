//! What data made fail in a query: the value, the type, and the words of the query that
//! asked for it.
//!
//! DataFusion tells a value and a type, and no place. Where one cast alone of the query is
//! to that type, or it divides only once, that is the place; otherwise it is the query.

use std::ops::Range;
use std::sync::Arc;

use datafusion::error::DataFusionError;

use super::fault::{Misfit, data_fault, sentence};
use crate::dialect::{Cast, Division, Positions, Query};
use crate::error::Error;

/// A query, as far as data can make it fail.
#[derive(Debug)]
pub struct Blame {
    positions: Arc<Positions>,
    span: Range<usize>,
}

impl Blame {
    /// For a query.
    pub fn of(query: &Query) -> Self {
        Self {
            positions: query.positions.clone(),
            span: query.span.clone(),
        }
    }

    /// An error that data caused in this query.
    pub fn fault(&self, error: DataFusionError) -> Error {
        let misfit = Misfit::of(&sentence(&error));
        let told = data_fault(error);
        // What comes from a part of the query that has its own place is told there.
        let told = match misfit.filter(|_| told.span().is_none()) {
            Some(misfit) => place(&misfit, &self.positions, &self.span),
            None => told,
        };
        (told.at(self.span.clone())).in_script(self.positions.script())
    }
}

/// The error of `sentence`, at its place among the bytes of a query, if data caused it.
pub fn misfit(sentence: &str, positions: &Positions, within: &Range<usize>) -> Option<Error> {
    Some(place(&Misfit::of(sentence)?, positions, within))
}

fn place(misfit: &Misfit, positions: &Positions, within: &Range<usize>) -> Error {
    let error = misfit.error();
    match misfit {
        Misfit::Cast { to, .. } => {
            let casts = positions.casts(within);
            let mut fitting = casts.iter().filter(|cast| cast.to == *to);
            match (fitting.next(), fitting.next()) {
                (Some(cast), None) => of_cast(error, cast, positions),
                _ => error.help(format!(
                    "TRY_CAST(… AS {to}) gives NULL instead; or leave such rows out with WHERE"
                )),
            }
        }
        Misfit::Division => match positions.divisions(within).as_slice() {
            [division] => of_division(error, division, positions),
            _ => error.help(divide_by_null("…")),
        },
        Misfit::Overflow { .. } | Misfit::Time { .. } => error,
    }
}

fn of_cast(error: Error, cast: &Cast, positions: &Positions) -> Error {
    let (of, to) = (positions.text(&cast.of), positions.text(&cast.type_span));
    (error.at(cast.span.clone())).help(format!(
        "TRY_CAST({of} AS {to}) gives NULL instead; or leave such rows out with WHERE"
    ))
}

fn of_division(error: Error, division: &Division, positions: &Positions) -> Error {
    let by = positions.text(&division.by);
    let is_constant = by.parse::<f64>().is_ok();
    let help = divide_by_null(if is_constant { "…" } else { by });
    error.at(division.span.clone()).help(help)
}

fn divide_by_null(by: &str) -> String {
    format!("divide by NULLIF({by}, 0), which gives NULL; or leave such rows out with WHERE")
}
