//! What is said to the shell and not to the session: `.help`, `.mode csv`, `.quit`.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result, nearest};
use crate::format::encode::{self, OutputFormat};

/// The commands in the order of `.help`: name, argument, what it does.
pub(super) const COMMANDS: [(&str, &str, &str); 8] = [
    (".help", "", "list these commands"),
    (".tables", "", "list streams, views and sinks"),
    (
        ".schema",
        "NAME",
        "list the columns of one of them, or of a file",
    ),
    (".read", "FILE", "run a script"),
    (".mode", "FORMAT", MODES),
    (
        ".timer",
        "on|off",
        "say after each statement how long it took",
    ),
    (".quit", "", "leave; so does Ctrl-D"),
    (".exit", "", "leave"),
];

/// What `.help` says of `.mode`.
const MODES: &str = "write rows as table, vertical (a line for each column), csv,
json, ndjson, line (InfluxDB's protocol) or markdown";

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Format(OutputFormat),
    /// As a table with a line for each column.
    Vertical,
}

impl Mode {
    /// Those that are for a terminal, in the order in which they are listed.
    pub(super) fn names() -> Vec<&'static str> {
        let formats = OutputFormat::ALL.into_iter();
        let mut names: Vec<_> = (formats.filter(|format| !format.is_binary()))
            .map(OutputFormat::name)
            .collect();
        names.insert(1, VERTICAL);
        names
    }

    pub(super) fn format(self) -> OutputFormat {
        match self {
            Self::Format(format) => format,
            Self::Vertical => OutputFormat::Table,
        }
    }
}

const VERTICAL: &str = "vertical";

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dot {
    Help,
    Tables,
    Schema(String),
    Read(PathBuf),
    Mode(Mode),
    Timer(bool),
    Quit,
}

/// The command that a line is, if it is one. Some are known without their point.
pub(super) fn command(line: &str) -> Option<Result<Dot>> {
    let line = line.trim();
    let bare = line.trim_end_matches(';').trim_end().to_lowercase();
    match bare.as_str() {
        "help" => return Some(Ok(Dot::Help)),
        "quit" | "exit" => return Some(Ok(Dot::Quit)),
        _ => {}
    }
    line.starts_with('.').then(|| parse(line))
}

fn parse(line: &str) -> Result<Dot> {
    // A `;` at the end is a habit.
    let line = line.trim_end_matches(';').trim_end();
    let (name, argument) = match line.split_once(char::is_whitespace) {
        Some((name, argument)) => (name, argument.trim()),
        None => (line, ""),
    };
    let Some((name, takes, _)) = (COMMANDS.iter()).find(|(known, ..)| *known == name) else {
        return Err(unknown(name));
    };
    if takes.is_empty() != argument.is_empty() {
        let message = match takes.is_empty() {
            true => format!("{name} takes no argument"),
            false => format!("{name} takes an argument"),
        };
        let usage = format!("write {name} {takes}");
        return Err(Error::new(ErrorKind::Option, message).help(usage.trim_end()));
    }
    Ok(match *name {
        ".help" => Dot::Help,
        ".tables" => Dot::Tables,
        ".schema" => Dot::Schema(argument.to_owned()),
        ".read" => Dot::Read(PathBuf::from(unquoted(argument))),
        ".mode" => Dot::Mode(mode(argument)?),
        ".timer" => Dot::Timer(switch(argument)?),
        _ => Dot::Quit,
    })
}

fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::Option, format!("there is no command {name}"));
    match nearest(name, COMMANDS.iter().map(|(known, ..)| *known)) {
        Some(meant) => error.help(format!("did you mean {meant}?")),
        None => error.help(".help lists the commands"),
    }
}

fn mode(name: &str) -> Result<Mode> {
    if name.eq_ignore_ascii_case(VERTICAL) {
        return Ok(Mode::Vertical);
    }
    let format: OutputFormat =
        (name.parse()).map_err(|_| encode::setting::unknown("mode", name, &Mode::names()))?;
    if format.is_binary() {
        let message = format!("{format} is not for a terminal");
        return Err(Error::new(ErrorKind::Option, message)
            .help("write it to a file: CREATE SINK … WITH (connector = 'file', path = …)"));
    }
    Ok(Mode::Format(format))
}

fn switch(word: &str) -> Result<bool> {
    match word.to_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Error::new(ErrorKind::Option, format!("'{word}' is no switch")).help("on or off")),
    }
}

/// A path without the quotation marks around it.
fn unquoted(path: &str) -> &str {
    let between = |mark| path.strip_prefix(mark)?.strip_suffix(mark);
    between('\'').or_else(|| between('"')).unwrap_or(path)
}

/// The text of `.help`.
pub(super) fn help() -> String {
    let mut text = String::from(
        "A statement ends with ;, and may go over several lines.\n\
         Ctrl-C stops one that runs.\n\n",
    );
    for (name, takes, what) in COMMANDS {
        let usage = format!("{name} {takes}");
        let what = what.replace('\n', &format!("\n{:18}", ""));
        text.push_str(&format!("  {usage:<16}{what}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Dot {
        let command = command(line).unwrap_or_else(|| panic!("{line} is no command"));
        command.unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn refused(line: &str) -> String {
        match command(line) {
            Some(Err(error)) => error.to_string(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_command_is_known() {
        for (line, command) in [
            (".help", Dot::Help),
            ("help;", Dot::Help),
            (" .tables ", Dot::Tables),
            (".schema city", Dot::Schema("city".into())),
            (".schema 'a b.csv'", Dot::Schema("'a b.csv'".into())),
            (".read 'my city.sql';", Dot::Read("my city.sql".into())),
            (".read my city.sql", Dot::Read("my city.sql".into())),
            (".mode csv", Dot::Mode(Mode::Format(OutputFormat::Csv))),
            (".mode vertical", Dot::Mode(Mode::Vertical)),
            (".timer ON", Dot::Timer(true)),
            (".timer off", Dot::Timer(false)),
            (".quit", Dot::Quit),
            (".exit", Dot::Quit),
            ("EXIT", Dot::Quit),
        ] {
            assert_eq!(parsed(line), command, "{line}");
        }
    }

    #[test]
    fn the_help_fits_a_terminal_of_80_columns() {
        for line in help().lines() {
            assert!(line.len() <= 79, "{line}");
        }
    }

    #[test]
    fn sql_is_no_command() {
        for line in ["", "SELECT 1;", "quit now", "SELECT .5;", "-- .quit"] {
            assert!(command(line).is_none(), "{line}");
        }
    }

    #[test]
    fn the_nearest_command_is_named() {
        assert_eq!(
            refused(".tabels"),
            "there is no command .tabels\n   = help: did you mean .tables?"
        );
        assert_eq!(
            refused(".frobnicate"),
            "there is no command .frobnicate\n   = help: .help lists the commands"
        );
    }

    #[test]
    fn arguments_are_asked_for() {
        assert_eq!(
            refused(".read"),
            ".read takes an argument\n   = help: write .read FILE"
        );
        assert_eq!(
            refused(".quit now"),
            ".quit takes no argument\n   = help: write .quit"
        );
        assert!(refused(".timer maybe").starts_with("'maybe' is no switch"));
        assert!(refused(".mode parquet").starts_with("parquet is not for a terminal"));
        assert!(refused(".mode tabel").contains("table"));
        let other = refused(".mode xml");
        for name in Mode::names() {
            assert!(other.contains(name), "{other}");
            assert!(help().contains(name), "{name}: {}", help());
        }
        assert!(!other.contains("parquet"), "{other}");
    }
}
