//! The tables of streams and queries, as they are drawn.
//!
//! Columns stand in the order of what is asked for first; those that the terminal is too
//! narrow for are left out from the right.

use std::time::Duration;

use chrono::DateTime;
use indicatif::{DecimalBytes, HumanCount};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table};
use unicode_width::UnicodeWidthStr;
use windrow_core::pipeline::QueryStatus;

use super::super::progress::{duration, short};
use crate::session::{Figures, QueryFigures, StreamFigures};

/// A longer name or word is cut.
const NAME_WIDTH_MAX: usize = 24;

/// Columns of the terminal between two of a table.
const GAP: u16 = 2;

/// What lies further ahead is no outlook: rates are never quite the same.
const OUTLOOK_S_MAX: f64 = 3_599.0;

/// What stands where a figure has no meaning.
const NONE: &str = "–";

/// Everything that is shown.
pub(super) struct Shown<'a> {
    /// What runs.
    pub(super) name: &'a str,
    /// Whether it does, and for how long.
    pub(super) state: &'a str,
    pub(super) figures: &'a Figures,
}

/// A column: its header, whether it holds words, and its cells.
struct Column {
    header: &'static str,
    is_words: bool,
    /// Room for what its cells may become, so that those beside them stand still.
    least: u16,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> u16 {
        let cells = self.cells.iter().map(|cell| cell.width());
        let width = cells.fold(self.header.width(), usize::max);
        match self.is_words {
            true => width.min(NAME_WIDTH_MAX) as u16,
            false => self.least.max(width as u16),
        }
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, shown: &Shown<'_>) {
    let figures = shown.figures;
    // Its title and its header.
    let height = |rows: usize| rows as u16 + 2;
    let [head, streams, queries, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(height(figures.streams.len()) + 1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let title = Line::from(vec![shown.name.bold(), "  ".into(), shown.state.into()]);
    frame.render_widget(title, head);
    let title = format!("{} streams", figures.streams.len());
    table(frame, streams, &title, &stream_columns(&figures.streams));
    let title = format!("{} queries", figures.queries.len());
    table(frame, queries, &title, &query_columns(&figures.queries));
    frame.render_widget(Line::from("q quits").dim(), foot);
}

/// Draws a table with as many of its columns as there is room for.
fn table(frame: &mut Frame<'_>, area: Rect, title: &str, columns: &[Column]) {
    let mut left = area.width;
    let fitting: Vec<&Column> = (columns.iter().enumerate())
        .take_while(|(place, column)| {
            let gap = if *place == 0 { 0 } else { GAP };
            let rest = left.checked_sub(column.width() + gap);
            left = rest.unwrap_or(0);
            // The first is shown in any case.
            rest.is_some() || *place == 0
        })
        .map(|(_, column)| column)
        .collect();
    let cell = |column: &Column, text: &str| {
        let alignment = match column.is_words {
            true => Alignment::Left,
            false => Alignment::Right,
        };
        let is_bad = column.header == "status" && text.starts_with("failed");
        let style = if is_bad {
            Style::new().red()
        } else {
            Style::new()
        };
        let text = Text::from(text.to_owned());
        Cell::from(text.alignment(alignment)).style(style)
    };
    let header = Row::new(fitting.iter().map(|column| cell(column, column.header))).bold();
    let count = columns.first().map_or(0, |column| column.cells.len());
    let rows = (0..count).map(|row| {
        Row::new(
            fitting
                .iter()
                .map(|column| cell(column, &column.cells[row])),
        )
    });
    let widths = (fitting.iter()).map(|column| Constraint::Length(column.width()));
    let table = Table::new(rows, widths).header(header).column_spacing(GAP);
    let [top, below] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Line::from(title.to_owned()).dim(), top);
    frame.render_widget(table, below);
}

fn none_or<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), text)
}

fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

fn rate(rate: Option<f64>) -> String {
    none_or(rate, short)
}

fn share(share: Option<f64>) -> String {
    none_or(share, |share| format!("{:.1} %", share * 100.0))
}

fn delay(delay: Option<Duration>) -> String {
    none_or(delay, |delay| match delay.as_secs() {
        0 => format!("{:.1} ms", delay.as_secs_f64() * 1e3),
        _ => duration(delay),
    })
}

/// When the backlog is gone, or as large as it may be, if that is soon.
fn outlook(stream: &StreamFigures) -> String {
    let soon = |seconds: Option<f64>| {
        let soon = seconds.filter(|seconds| *seconds <= OUTLOOK_S_MAX)?;
        Some(duration(Duration::from_secs_f64(soon)))
    };
    match (soon(stream.drain_s), soon(stream.overflow_s)) {
        (Some(drain), _) => format!("empty in {drain}"),
        (None, Some(overflow)) => format!("full in {overflow}"),
        (None, None) => NONE.to_owned(),
    }
}

fn lag(lag_ms: i64) -> String {
    let lag = Duration::from_millis(lag_ms.unsigned_abs());
    match lag_ms < 0 {
        true => format!("-{}", duration(lag)),
        false => duration(lag),
    }
}

fn watermark(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros);
    none_or(time, |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

fn stream_columns(streams: &[StreamFigures]) -> Vec<Column> {
    let column = |header, is_words, cell: &dyn Fn(&StreamFigures) -> String| Column {
        header,
        is_words,
        least: match header {
            "outlook" => 16,
            "rows/s" | "lag" | "p50" | "p99" => 7,
            "bytes/s" => 9,
            _ => 0,
        },
        cells: streams.iter().map(cell).collect(),
    };
    let number = |header, cell: &dyn Fn(&StreamFigures) -> String| column(header, false, cell);
    vec![
        column("stream", true, &|stream| stream.name.clone()),
        number("received", &|stream| count(stream.counters.received)),
        number("rows/s", &|stream| rate(stream.rates.processing)),
        number("bytes/s", &|stream| {
            none_or(stream.rates.bytes, |bytes| {
                DecimalBytes(bytes as u64).to_string()
            })
        }),
        number("backlog", &|stream| {
            none_or(stream.backlog, |backlog| count(backlog.rows))
        }),
        number("outlook", &outlook),
        number("rejected", &|stream| count(stream.counters.rejected)),
        number("late", &|stream| count(stream.counters.late)),
        number("dropped", &|stream| count(stream.counters.dropped)),
        number("p99", &|stream| delay(stream.delay_p99)),
        number("lag", &|stream| none_or(stream.lag_ms, lag)),
        number("p50", &|stream| delay(stream.delay_p50)),
        number("processed", &|stream| share(stream.processing_efficiency())),
        number("collected", &|stream| share(stream.collection_rate())),
        number("watermark", &|stream| {
            none_or(stream.watermark_us, watermark)
        }),
        column("connector", true, &|stream| stream.connector.clone()),
    ]
}

fn query_columns(queries: &[QueryFigures]) -> Vec<Column> {
    let column = |header, is_words, cell: &dyn Fn(&QueryFigures) -> String| Column {
        header,
        is_words,
        least: if header == "state" { 9 } else { 0 },
        cells: queries.iter().map(cell).collect(),
    };
    let number = |header, cell: &dyn Fn(&QueryFigures) -> String| column(header, false, cell);
    vec![
        column("query", true, &|query| query.stats.name.to_string()),
        column("status", true, &|query| match &query.stats.status {
            QueryStatus::Running => "running".to_owned(),
            QueryStatus::Ended => "ended".to_owned(),
            QueryStatus::Failed(error) => format!("failed: {error}"),
        }),
        number("rows in/s", &|query| rate(query.rates.rows_in)),
        number("rows out/s", &|query| rate(query.rates.rows_out)),
        number("emitted", &|query| count(query.stats.rows_out)),
        number("windows", &|query| count(query.stats.open_windows)),
        number("keys", &|query| count(query.stats.keys)),
        number("state", &|query| {
            DecimalBytes(query.stats.state_bytes).to_string()
        }),
        number("late", &|query| count(query.stats.late)),
        number("filtered", &|query| count(query.stats.filtered)),
        number("accepted", &|query| count(query.stats.accepted)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use windrow_core::pipeline::StreamCounters;
    use windrow_core::stream::Backlog;

    use crate::session::StreamRates;

    /// The lines of a terminal, without what is blank at their ends.
    fn lines(figures: &Figures, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let shown = Shown {
            name: "city.sql",
            state: "running for 12.0 s",
            figures,
        };
        terminal.draw(|frame| draw(frame, &shown)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(move |x| buffer[(x, y)].symbol());
        (0..height)
            .map(|y| line(y).collect::<String>().trim_end().to_owned())
            .collect()
    }

    fn figures() -> Figures {
        let waiting = StreamFigures {
            name: "air".into(),
            connector: "udp".into(),
            counters: StreamCounters {
                received: 1_234_567,
                rejected: 3,
                processed: 1_111_110,
                dropped: 2,
                ..StreamCounters::default()
            },
            expected: Some(1_300_000),
            rates: StreamRates {
                input: Some(2_000.0),
                processing: Some(1_500.0),
                bytes: Some(64_000.0),
            },
            backlog: Some(Backlog {
                rows: 500,
                rows_max: 8_000,
            }),
            overflow_s: Some(15.0),
            lag_ms: Some(-1_500),
            delay_p99: Some(Duration::from_micros(1_250)),
            ..StreamFigures::default()
        };
        let silent = StreamFigures {
            name: "a stream with a name that is much too long".into(),
            ..StreamFigures::default()
        };
        Figures {
            streams: vec![waiting, silent],
            queries: Vec::new(),
        }
    }

    #[test]
    fn figures_stand_below_their_headers() {
        let lines = lines(&figures(), 160, 12);
        assert_eq!(lines[0], "city.sql  running for 12.0 s");
        assert_eq!(lines[2], "2 streams");
        let (header, air) = (&lines[3], &lines[4]);
        let at = |name: &str| {
            let end = header.find(name).expect(name) + name.len();
            // Headers are ASCII; cells end where their headers do.
            let cells: String = air.chars().take(end).collect();
            let mut words = cells.rsplit("  ");
            words.next().unwrap().trim().to_owned()
        };
        for (name, cell) in [
            ("received", "1,234,567"),
            (" rows/s", "1.5 k"),
            ("bytes/s", "64.00 kB"),
            ("backlog", "500"),
            ("outlook", "full in 15.0 s"),
            ("rejected", "3"),
            ("dropped", "2"),
            ("p99", "1.2 ms"),
            ("lag", "-1.5 s"),
            ("processed", "90.0 %"),
            ("collected", "95.0 %"),
        ] {
            assert_eq!(at(name), cell, "{name}: {lines:#?}");
        }
        assert!(
            lines[5].starts_with("a stream with a name tha "),
            "{lines:#?}"
        );
        assert_eq!(lines[7], "0 queries");
        assert_eq!(lines[11], "q quits");
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out() {
        let narrow = lines(&figures(), 60, 12);
        assert!(narrow[3].contains("received") && narrow[3].contains("rows/s"));
        assert!(!narrow[3].contains("collected"), "{narrow:#?}");
        // Nothing panics however small it is.
        for (width, height) in [(1, 1), (3, 2), (0, 0), (200, 1), (1, 40)] {
            lines(&figures(), width, height);
        }
    }
}
