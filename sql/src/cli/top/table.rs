//! The tables of streams and queries, as they are drawn.
//!
//! Columns that the terminal is too narrow for are left out, those first that are asked
//! for least. Rows for which it is too low are counted below the others.

use std::cmp::Reverse;
use std::time::Duration;

use chrono::DateTime;
use indicatif::{DecimalBytes, HumanCount};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use windrow_core::pipeline::QueryStatus;

use super::super::progress::{duration, short};
use crate::session::{Figures, QueryFigures, StreamFigures};
use crate::words::counted;

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
    /// The row that was rejected last.
    pub(super) rejected: Option<&'a str>,
}

/// A column: its header, whether it holds words, and its cells.
struct Column {
    header: &'static str,
    is_words: bool,
    /// Room for what its cells may become, so that those beside them stand still.
    least: u16,
    /// How late it is left out: those of the least are first.
    worth: u8,
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
    let [head, streams, queries, foot] = heights(
        frame.area().height,
        figures.streams.len(),
        figures.queries.len(),
        shown.rejected.is_some(),
    );
    let [head, streams, queries, foot] =
        Layout::vertical([head, streams, queries, foot].map(Constraint::Length))
            .areas(frame.area());
    let title = Line::from(vec![shown.name.bold(), "  ".into(), shown.state.into()]);
    frame.render_widget(title, head);
    let title = counted(figures.streams.len() as u64, "stream", "streams");
    table(frame, streams, &title, &stream_columns(&figures.streams));
    let title = counted(figures.queries.len() as u64, "query", "queries");
    table(frame, queries, &title, &query_columns(&figures.queries));
    if let Some(rejected) = shown.rejected
        && foot.height > 1
    {
        frame.render_widget(Line::from(cut(rejected, foot.width)), foot);
    }
    let last = Rect {
        y: foot.bottom().saturating_sub(1),
        height: foot.height.min(1),
        ..foot
    };
    frame.render_widget(Line::from("q quits").dim(), last);
}

/// As much of a text as there is room for in one line.
fn cut(text: &str, width: u16) -> String {
    let text = text.replace(char::is_control, " ");
    if text.width() <= usize::from(width) {
        return text;
    }
    let mut room = usize::from(width).saturating_sub(1);
    let fits = |c: &char| {
        let left = room.checked_sub(c.width().unwrap_or(0));
        room = left.unwrap_or(0);
        left.is_some()
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// The lines of what runs, of the streams, of the queries, and of the foot, which has one more
/// where a row was rejected.
///
/// Each table has its title, its header and its rows. Where not all rows fit, no line is
/// blank, and what one table does not need is the other's.
fn heights(height: u16, streams: usize, queries: usize, has_reject: bool) -> [u16; 4] {
    let needed = |rows: usize| {
        let rows = u16::try_from(rows).unwrap_or(u16::MAX);
        rows.saturating_add(2)
    };
    let (streams, queries) = (needed(streams), needed(queries));
    let (head, foot) = (1, 1 + u16::from(has_reject));
    let left = height.saturating_sub(head + foot);
    match left.checked_sub(streams.saturating_add(queries)) {
        Some(free @ 2..) => [head + 1, streams + 1, queries + free - 2, foot],
        _ => {
            let streams = streams.min(left.div_ceil(2).max(left.saturating_sub(queries)));
            [head, streams, left - streams, foot]
        }
    }
}

/// The columns that there is room for, in their order.
fn fitting(columns: &[Column], width: u16) -> Vec<&Column> {
    let mut places: Vec<usize> = (0..columns.len()).collect();
    // The order of columns of one worth stays.
    places.sort_by_key(|place| Reverse(columns[*place].worth));
    let mut left = width;
    let mut fitting: Vec<usize> = (places.into_iter())
        .take_while(|place| {
            let gap = if *place == 0 { 0 } else { GAP };
            let rest = left.checked_sub(columns[*place].width() + gap);
            left = rest.unwrap_or(0);
            // The name is shown in any case.
            rest.is_some() || *place == 0
        })
        .collect();
    fitting.sort_unstable();
    fitting.into_iter().map(|place| &columns[place]).collect()
}

/// Draws a table with as many of its columns and rows as there is room for.
fn table(frame: &mut Frame<'_>, area: Rect, title: &str, columns: &[Column]) {
    let fitting = fitting(columns, area.width);
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
    let [top, below] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let room = usize::from(below.height.saturating_sub(1));
    // The last line says what else there is.
    let shown = if count <= room {
        count
    } else {
        room.saturating_sub(1)
    };
    let rows = (0..shown).map(|row| {
        Row::new(
            fitting
                .iter()
                .map(|column| cell(column, &column.cells[row])),
        )
    });
    let widths = (fitting.iter()).map(|column| Constraint::Length(column.width()));
    let table = Table::new(rows, widths).header(header).column_spacing(GAP);
    frame.render_widget(Line::from(title.to_owned()).dim(), top);
    frame.render_widget(table, below);
    if shown < count && room > 0 {
        let last = Rect {
            y: below.bottom() - 1,
            height: 1,
            ..below
        };
        frame.render_widget(Line::from(format!("… {} more", count - shown)).dim(), last);
    }
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
        worth: match header {
            "stream" => 6,
            "received" | "rows/s" | "lag" => 5,
            "dropped" if streams.iter().any(|stream| stream.counters.dropped > 0) => 5,
            "rejected" | "late" => 4,
            "backlog" => 3,
            "dropped" => 2,
            "outlook" | "bytes/s" | "p99" => 1,
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
        worth: 0,
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
    use windrow_core::pipeline::{QueryStats, StreamCounters};
    use windrow_core::stream::Backlog;

    use crate::session::{QueryRates, StreamRates};

    /// The lines of a terminal, without what is blank at their ends.
    fn lines(figures: &Figures, width: u16, height: u16) -> Vec<String> {
        lines_with(None, figures, width, height)
    }

    /// As [`lines`], where a row was rejected.
    fn lines_with(
        rejected: Option<&str>,
        figures: &Figures,
        width: u16,
        height: u16,
    ) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let shown = Shown {
            name: "city.sql",
            state: "running for 12.0 s",
            figures,
            rejected,
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
        let at_80 = lines(&figures(), 80, 12);
        for name in ["received", "rows/s", "dropped", "lag"] {
            assert!(at_80[3].contains(name), "{name}: {at_80:#?}");
        }
        assert!(at_80[4].ends_with("-1.5 s"), "{at_80:#?}");
        // Nothing panics however small it is.
        for (width, height) in [(1, 1), (3, 2), (0, 0), (200, 1), (1, 40)] {
            lines(&figures(), width, height);
            lines_with(Some("üü"), &figures(), width, height);
        }
    }

    #[test]
    fn the_last_reject_stands_at_the_bottom_as_far_as_there_is_room() {
        let told = "rejected last: air, f.csv:7: column v: 'ü\n語' is no DOUBLE";
        let wide = lines_with(Some(told), &figures(), 80, 12);
        let words = |line: &str| line.split_whitespace().collect::<String>();
        assert_eq!(words(&wide[10]), words(told));
        assert_eq!(wide[11], "q quits");
        // 語 takes two columns: the cut comes before it.
        for (width, end) in [(42, "v: 'ü…"), (44, "v: 'ü …"), (45, "'ü 語…")] {
            let narrow = lines_with(Some(told), &figures(), width, 12);
            // A wide character has a blank cell behind it.
            assert!(
                words(&narrow[10]).ends_with(&words(end)),
                "{width}: {narrow:#?}"
            );
        }
        // All rows are shown above it, or counted.
        let low = lines_with(Some(told), &figures(), 80, 9);
        assert!(low[3].starts_with("air "), "{low:#?}");
        assert!(low[4].starts_with("a stream with a name tha"), "{low:#?}");
        assert!(low[7].starts_with("rejected last: air"), "{low:#?}");
    }

    #[test]
    fn streams_and_queries_share_a_low_terminal() {
        let query = |name: &str| QueryFigures {
            stats: QueryStats {
                after_failure: 0,
                name: name.into(),
                status: QueryStatus::Running,
                accepted: 0,
                in_window: 0,
                filtered: 0,
                late: 0,
                missed_windows: 0,
                failed: 0,
                rows_out: 0,
                watermark: 0,
                keys: 0,
                panes: 0,
                open_windows: 0,
                state_bytes: 0,
                operators: Vec::new(),
            },
            rates: QueryRates::default(),
        };
        let mut figures = figures();
        figures.queries = ["a", "b", "c", "d", "e", "f"].map(query).into();
        // Eight lines for both, four for each.
        let low = lines(&figures, 40, 10);
        assert_eq!(low[1], "2 streams");
        assert!(low[3].starts_with("air "), "{low:#?}");
        assert_eq!(low[5], "6 queries");
        assert!(low[7].starts_with("a "), "{low:#?}");
        assert_eq!(low[8], "… 5 more");
        // The streams need four of ten.
        let higher = lines(&figures, 40, 12);
        assert_eq!(higher[5], "6 queries");
        assert!(higher[9].starts_with("c "), "{higher:#?}");
        assert_eq!(higher[10], "… 3 more");
        let all = lines(&figures, 40, 16);
        assert!(all[14].starts_with("f "), "{all:#?}");
    }
}
