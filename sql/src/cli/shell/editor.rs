//! The line that is typed: history, completion and colours, by rustyline.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, ExternalPrinter};

use super::above::Show;
use super::complete::complete;
use super::{Line, Lines};
use crate::dialect::{Piece, pieces};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;

/// Statements that are remembered.
const HISTORY_MAX: usize = 10_000;

pub(super) const KEYWORD: &str = "\x1b[36m";
pub(super) const TEXT: &str = "\x1b[32m";
pub(super) const COMMENT: &str = "\x1b[90m";
pub(super) const PLAIN: &str = "\x1b[0m";

/// Lines from the terminal of the process.
pub(in super::super) struct Editor {
    editor: rustyline::Editor<Assistant, FileHistory>,
    /// Where statements are remembered; `None` if they are not, once the shell is left.
    history: Option<PathBuf>,
}

impl Editor {
    /// An editor whose words are those of a session.
    ///
    /// # Errors
    /// If the terminal cannot be used.
    pub(in super::super) fn new(session: &Session) -> Result<Self> {
        let config = (Config::builder().max_history_size(HISTORY_MAX))
            .map_err(unusable)?
            .completion_type(CompletionType::List)
            .build();
        let past = FileHistory::with_config(&config);
        let mut editor = rustyline::Editor::with_history(config, past).map_err(unusable)?;
        editor.set_helper(Some(Assistant {
            session: session.clone(),
            before: String::new(),
        }));
        let history = history_path().filter(|path| {
            let folder = path.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).is_ok()
        });
        if let Some(path) = &history {
            // There is none before the first time, and none that cannot be read.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor, history })
    }
}

impl Lines for Editor {
    fn next(&mut self, prompt: &str, before: &str) -> Result<Line> {
        if let Some(assistant) = self.editor.helper_mut() {
            assistant.before = before.to_owned();
        }
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Line::Typed(line)),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Ok(Line::Cleared),
            // A terminal that has gone has no more lines either.
            Err(ReadlineError::Eof | ReadlineError::Io(_)) => Ok(Line::End),
            Err(error) => Err(unusable(error)),
        }
    }

    fn show_above(&mut self) -> Option<Show> {
        let mut printer = self.editor.create_external_printer().ok()?;
        Some(Box::new(move |lines| printer.print(lines).is_ok()))
    }

    fn remember(&mut self, text: &str) {
        // Where it cannot be kept, it is not.
        let _ = self.editor.add_history_entry(text);
        if let Some(path) = &self.history {
            let _ = self.editor.append_history(path);
        }
    }

    fn width(&self) -> Option<u16> {
        terminal_size::terminal_size().map(|(width, _)| width.0)
    }
}

fn unusable(error: ReadlineError) -> Error {
    let message = format!("the terminal cannot be used: {error}");
    Error::new(ErrorKind::Io, message).caused_by(error)
}

/// `$XDG_STATE_HOME/windrow/history`, or what stands for it without the variable.
fn history_path() -> Option<PathBuf> {
    let folder = |name: &str| {
        let folder = std::env::var_os(name).map(PathBuf::from);
        folder.filter(|folder| folder.is_absolute())
    };
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("windrow/history"))
}

/// What helps while a line is typed.
struct Assistant {
    session: Session,
    /// The lines before it, of the same statement.
    before: String,
}

impl rustyline::Helper for Assistant {}

impl Validator for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(&self.before, &line[..at], &self.session.known()))
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        Cow::Owned(coloured(&self.before, line))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

/// A line with its keywords, texts and comments in colours.
///
/// - `before`: the lines before it, of the same statement.
pub(super) fn coloured(before: &str, line: &str) -> String {
    if before.trim().is_empty() && line.trim_start().starts_with('.') {
        return line.to_owned();
    }
    let text = format!("{before}{line}");
    let mut coloured = String::with_capacity(2 * line.len());
    let mut done = before.len();
    for (bytes, piece) in pieces(&text).all {
        let colour = match piece {
            Piece::Keyword => KEYWORD,
            Piece::Text => TEXT,
            Piece::Comment => COMMENT,
            Piece::Name | Piece::Number | Piece::Sign => continue,
        };
        // What began in a line before ends here.
        let start = bytes.start.max(done);
        if bytes.end <= start {
            continue;
        }
        coloured.push_str(&text[done..start]);
        coloured.push_str(colour);
        coloured.push_str(&text[start..bytes.end]);
        coloured.push_str(PLAIN);
        done = bytes.end;
    }
    coloured.push_str(&text[done..]);
    coloured
}
