//! The terminal while a table is on it. However that ends, it is left as it was.

use std::io::{self, Write};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

/// A screen of its own, until it is dropped.
pub(super) struct Screen<W: Write> {
    terminal: Terminal<CrosstermBackend<W>>,
    is_raw: bool,
}

impl<W: Write> Screen<W> {
    /// Takes the terminal that `out` writes to. `is_raw`: keys are told at once and not
    /// shown.
    ///
    /// # Errors
    /// If it is no terminal.
    pub(super) fn open(out: W, viewport: Viewport, is_raw: bool) -> io::Result<Self> {
        let options = TerminalOptions { viewport };
        let mut screen = Self {
            terminal: Terminal::with_options(CrosstermBackend::new(out), options)?,
            is_raw,
        };
        // What fails from here on drops the screen, and leaves it.
        if is_raw {
            enable_raw_mode()?;
        }
        execute!(screen.terminal.backend_mut(), EnterAlternateScreen)?;
        screen.terminal.hide_cursor()?;
        Ok(screen)
    }

    /// Draws the whole screen.
    ///
    /// # Errors
    /// If it cannot be written to.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw)?;
        Ok(())
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        leave(self.terminal.backend_mut(), self.is_raw);
    }
}

/// Makes of a terminal what it was.
fn leave(out: &mut impl Write, is_raw: bool) {
    // A terminal that has gone needs nothing.
    let _ = execute!(out, LeaveAlternateScreen, Show);
    if is_raw {
        let _ = disable_raw_mode();
    }
}

/// As when a [`Screen`] is dropped, for a process that ends at once.
pub(super) fn leave_at_once() {
    leave(&mut io::stdout(), true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use ratatui::layout::Rect;

    const LEFT: &str = "\u{1b}[?1049l\u{1b}[?25h";

    /// Nothing follows but that the cursor is shown once more.
    fn assert_left(text: &str) {
        let (_, after) = text.split_once(LEFT).unwrap_or_else(|| panic!("{text:?}"));
        assert_eq!(after.replace("\u{1b}[?25h", ""), "", "{text:?}");
    }

    fn draws(out: &mut Vec<u8>, draw: impl FnOnce(&mut Frame<'_>)) {
        let viewport = Viewport::Fixed(Rect::new(0, 0, 20, 2));
        let mut screen = Screen::open(out, viewport, false).unwrap();
        screen.draw(draw).unwrap();
    }

    #[test]
    fn the_terminal_is_left_as_it_was() {
        let mut out = Vec::new();
        draws(&mut out, |frame| {
            frame.render_widget("figures", frame.area());
        });
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("\u{1b}[?1049h\u{1b}[?25l"), "{text:?}");
        assert!(text.contains("figures"), "{text:?}");
        assert_left(&text);
    }

    #[test]
    fn a_panic_leaves_it_too() {
        let mut out = Vec::new();
        let fallen = catch_unwind(AssertUnwindSafe(|| draws(&mut out, |_| panic!("oh"))));
        assert!(fallen.is_err());
        assert_left(&String::from_utf8(out).unwrap());
    }
}
