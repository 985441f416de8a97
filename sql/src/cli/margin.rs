//! The terminal of stderr, as narrow as the moving line may see it.
//!
//! The line fills what it takes for the width. What the terminal echoes behind it, the `^C`
//! of somebody who stops the work, must find room there: wrapped, it would leave the line
//! behind where nothing erases it.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;
use terminal_size::{Height, Width, terminal_size_of};

/// Columns that stay free at the right: `^C` and the cursor.
const FREE_COLUMNS: u16 = 3;

/// What a terminal that does not tell its size is taken for.
const SIZE_UNKNOWN: (u16, u16) = (80, 24);

/// Stderr, less the last columns.
#[derive(Debug, Default)]
pub(super) struct Margin {
    /// What is drawn until it is flushed.
    drawn: Mutex<Vec<u8>>,
}

impl Margin {
    fn put(&self, text: &str) -> io::Result<()> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Moves the cursor `n` places; `way`: the letter of the terminal's command.
    fn move_cursor(&self, n: usize, way: char) -> io::Result<()> {
        match n {
            0 => Ok(()),
            n => self.put(&format!("\x1b[{n}{way}")),
        }
    }
}

/// Columns and rows of the terminal.
fn size() -> (u16, u16) {
    match terminal_size_of(io::stderr()) {
        Some((Width(columns), Height(rows))) if columns > 0 => (columns, rows),
        _ => SIZE_UNKNOWN,
    }
}

impl TermLike for Margin {
    fn width(&self) -> u16 {
        size().0.saturating_sub(FREE_COLUMNS).max(1)
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(text)?;
        self.put("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn = std::mem::take(&mut *drawn);
        let mut stderr = io::stderr().lock();
        stderr.write_all(&drawn)?;
        stderr.flush()
    }
}
