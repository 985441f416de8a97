//! Scripts: planned whole, then run in order.
//!
//! ```text
//!  parse ─▶ prepare each statement ─▶ open sinks ─▶ run each statement ─▶ read what is left
//!           names, plans, queries                   rows, INSERT, END
//!           attached; nothing read
//! ```
//!
//! Because every query is attached before the first row is read, all queries of a
//! script over one source share one reading of it.
//!
//! The rows of a query are one block. A query whose rows come with statements after it
//! waits for the last of them, so that its block is whole.

use std::sync::Arc;

use super::job::Found;
use super::prepare::prepare;
use super::shared::Shared;
use super::statement::{Prepared, Running, execute};
use super::{Answer, ResultHandler, Session};
use crate::connector::stdout::is_closed_pipe;
use crate::error::{Error, ErrorKind, Result, Script};

/// Runs a script; the answer is that of its last statement.
pub(super) fn answer(session: &Session, script: &Arc<Script>) -> Result<Answer> {
    let mut prepared = prepare(session, script)?;
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

/// Runs a script with a handler of all its results, and reads what is left to its end.
pub(super) fn run(
    session: &Session,
    script: &Arc<Script>,
    handler: &mut dyn ResultHandler,
) -> Result<()> {
    match run_statements(session, prepare(session, script)?, handler)? {
        None => session.run(),
        Some(gone) => {
            session.shared.run_sinks()?;
            Err(gone)
        }
    }
}

/// As [`run`], but what live streams feed is left to go on later, and what was being read
/// before: bounded inputs are read to their ends for what the script has created.
pub(super) fn run_beside_live(
    session: &Session,
    script: &Arc<Script>,
    handler: &mut dyn ResultHandler,
) -> Result<()> {
    let shared = &session.shared;
    let left = shared.being_read();
    let gone = run_statements(session, prepare(session, script)?, handler);
    shared.stop_unjoined();
    let gone = gone?;
    shared.settle_without(&left)?;
    // What has been read may still be on its way.
    shared.check_cancelled()?;
    gone.map_or(Ok(()), Err)
}

/// Runs statements in order; why the handler took not all of their rows, if its reader
/// has gone.
fn run_statements(
    session: &Session,
    statements: Vec<Prepared>,
    handler: &mut dyn ResultHandler,
) -> Result<Option<Error>> {
    let shared = &session.shared;
    let mut feeds_left = statements.iter().filter(|next| is_feed(next)).count();
    let mut results = Results {
        shared,
        handler,
        waiting: Vec::new(),
        gone: None,
    };
    for statement in statements {
        let has_rows = has_rows(&statement);
        feeds_left -= usize::from(is_feed(&statement));
        if has_rows && results.gone.is_some() {
            // Nobody is left to read them.
            drop(statement);
            continue;
        }
        let running = match execute(shared, statement) {
            Err(error) if has_rows && is_closed_pipe(&error) => {
                results.gone = Some(error);
                continue;
            }
            running => running?,
        };
        if has_rows {
            results.waiting.push(Block {
                answer: Answer::new(session, running),
                is_open: false,
                given: 0,
            });
        }
        results.give(feeds_left > 0)?;
    }
    results.give(false)?;
    Ok(results.gone)
}

/// Whether a statement is answered with rows.
fn has_rows(statement: &Prepared) -> bool {
    matches!(
        statement,
        Prepared::Rows(_) | Prepared::Show(_) | Prepared::Query(_)
    )
}

/// Whether rows of other statements may come with it.
fn is_feed(statement: &Prepared) -> bool {
    matches!(
        statement,
        Prepared::Insert(_) | Prepared::AdvanceWatermark(..) | Prepared::End(_)
    )
}

/// The rows of one statement.
struct Block {
    answer: Answer,
    /// Whether its rows have begun and not ended.
    is_open: bool,
    /// How often they have begun.
    given: u32,
}

/// The blocks of a script on their way to its handler.
struct Results<'a> {
    shared: &'a Shared,
    handler: &'a mut dyn ResultHandler,
    /// Those that have not ended, in the order of their statements.
    waiting: Vec<Block>,
    /// Why the handler takes nothing more: its reader has gone.
    gone: Option<Error>,
}

impl Results<'_> {
    /// Gives the rows of the blocks that can be given. A block that nothing brings rows
    /// for stays if `more_may_come`, and otherwise ends.
    fn give(&mut self, more_may_come: bool) -> Result<()> {
        for mut block in std::mem::take(&mut self.waiting) {
            if self.gone.is_some() {
                return Ok(());
            }
            if more_may_come && block.answer.running.is_stalled(self.shared)? {
                self.waiting.push(block);
                continue;
            }
            let ended = self.give_block(&mut block)?;
            if !ended && more_may_come {
                self.waiting.push(block);
            }
        }
        Ok(())
    }

    /// Gives rows until they end; false if nothing more can come for now.
    fn give_block(&mut self, block: &mut Block) -> Result<bool> {
        loop {
            let found = match block.answer.running.look(self.shared) {
                Err(error) if error.kind() == ErrorKind::Cancelled && block.given == 0 => {
                    // What is shown is whole, if empty.
                    self.begin(block)?;
                    return Err(error);
                }
                found => found?,
            };
            let ends = matches!(found, Found::Stalled | Found::End);
            let ended = matches!(found, Found::End);
            match self.hand_over(block, found) {
                Err(error) if is_closed_pipe(&error) => {
                    self.gone = Some(error);
                    return Ok(true);
                }
                done => done?,
            }
            if ends {
                return Ok(ended);
            }
        }
    }

    fn begin(&mut self, block: &Block) -> Result<()> {
        let schema = block.answer.schema();
        match block.answer.running.rows_max() {
            Some(rows_max) => self.handler.begin_at_most(&schema, rows_max),
            None => self.handler.begin(&schema),
        }
    }

    fn hand_over(&mut self, block: &mut Block, found: Found) -> Result<()> {
        let is_more = block.given == 0 || matches!(found, Found::Rows(_));
        if !block.is_open && is_more && !matches!(found, Found::Pending) {
            self.begin(block)?;
            block.is_open = true;
            block.given += 1;
        }
        match found {
            Found::Rows(rows) => self.handler.rows(&rows),
            Found::Pending => self.handler.flush(),
            Found::Stalled | Found::End if block.is_open => {
                block.is_open = false;
                self.handler.end()
            }
            Found::Stalled | Found::End => Ok(()),
        }
    }
}
