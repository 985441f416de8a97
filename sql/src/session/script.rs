//! Scripts: planned whole, then run in order.
//!
//! ```text
//!  parse ─▶ prepare each statement ─▶ run each statement ─▶ read what is left
//!           names, plans, queries      rows, INSERT, END
//!           attached; nothing read
//! ```
//!
//! Because every query is attached before the first row is read, all queries of a
//! script over one source share one reading of it.

use std::sync::Arc;

use super::job::Found;
use super::prepare::{Doors, prepare};
use super::shared::Shared;
use super::statement::{Prepared, Running, execute};
use super::{Answer, ResultHandler, Session};
use crate::error::{Result, Script};

/// Runs a script; the answer is that of its last statement.
pub(super) fn answer(session: &Session, script: &Arc<Script>) -> Result<Answer> {
    let mut prepared = prepare(session, script, Doors::Open)?;
    let Some(last) = prepared.pop() else {
        return Ok(Answer::new(session, Running::nothing()));
    };
    for statement in prepared {
        let mut answer = Answer::new(session, execute(&session.shared, statement)?);
        if let Some(error) = answer.find_map(|rows| rows.err()) {
            return Err(error);
        }
    }
    Ok(Answer::new(session, execute(&session.shared, last)?))
}

/// Runs a script with a handler of all its results.
pub(super) fn run(
    session: &Session,
    script: &Arc<Script>,
    handler: &mut dyn ResultHandler,
) -> Result<()> {
    let shared = &session.shared;
    let mut stalled: Vec<Answer> = Vec::new();
    for statement in prepare(session, script, Doors::Open)? {
        let has_rows = matches!(
            statement,
            Prepared::Rows(_) | Prepared::Show(_) | Prepared::Query(_)
        );
        let mut answer = Answer::new(session, execute(shared, statement)?);
        if has_rows && !give(&mut answer, handler, shared)? {
            stalled.push(answer);
        }
    }
    // What fed the others may have come with a later statement.
    for answer in &mut stalled {
        give(answer, handler, shared)?;
    }
    session.run()
}

/// Gives rows to a handler until they end; false if nothing more can come for now.
fn give(answer: &mut Answer, handler: &mut dyn ResultHandler, shared: &Shared) -> Result<bool> {
    handler.begin(&answer.schema())?;
    let ended = loop {
        match answer.running.look(shared)? {
            Found::Rows(rows) => handler.rows(&rows)?,
            Found::Pending => handler.flush()?,
            Found::Stalled => break false,
            Found::End => break true,
        }
    };
    handler.end()?;
    Ok(ended)
}
