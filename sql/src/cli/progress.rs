//! Progress on stderr: a line that moves, or plain lines, and a summary at the end.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::ProgressMode;
use super::runner::{Progress, Runner, Summary};

/// How often the moving line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// How often a plain line is written.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Where progress is shown.
#[derive(Debug, Clone)]
pub(super) enum Display {
    Off,
    /// Lines on stderr.
    Plain,
    /// One line of the terminal.
    Bar(ProgressBar),
}

impl Display {
    pub(super) fn new(mode: ProgressMode, stderr_is_terminal: bool) -> Self {
        match mode {
            ProgressMode::Off => Self::Off,
            ProgressMode::Auto if !stderr_is_terminal => Self::Off,
            ProgressMode::Plain => Self::Plain,
            ProgressMode::Auto => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                let style = ProgressStyle::with_template("{spinner} {wide_msg}");
                if let Ok(style) = style {
                    bar.set_style(style);
                }
                Self::Bar(bar)
            }
        }
    }

    /// Writes something else while the moving line is out of the way.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match self {
            Self::Bar(bar) => bar.suspend(write),
            _ => write(),
        }
    }

    /// Shows a runner's progress until `work` is done.
    pub(super) fn watch<T>(
        &self,
        runner: &dyn Runner,
        lines: &mut (dyn Write + Send),
        work: impl FnOnce() -> T,
    ) -> T {
        let every = match self {
            Self::Off => return work(),
            Self::Plain => WRITE_EVERY,
            Self::Bar(_) => DRAW_EVERY,
        };
        if let Self::Bar(bar) = self {
            // The run before may have finished it.
            bar.reset();
        }
        std::thread::scope(|scope| {
            // Dropped when the work is done, or has panicked: the watcher ends.
            let (_working, done) = mpsc::channel::<()>();
            scope.spawn(move || {
                let mut meter = Meter::new(Instant::now(), runner.progress().rows_in);
                while done.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    let progress = runner.progress();
                    let rate = meter.rate(Instant::now(), progress.rows_in);
                    let line = line(&progress, rate);
                    match self {
                        Self::Bar(bar) => {
                            bar.set_message(line);
                            bar.tick();
                        }
                        // A closed stderr is no reason to stop the work.
                        _ => drop(writeln!(lines, "{line}")),
                    }
                }
                if let Self::Bar(bar) = self {
                    bar.finish_and_clear();
                }
            });
            work()
        })
    }

    /// Says how a run ended.
    pub(super) fn summarize(&self, summary: &Summary, elapsed: Duration, lines: &mut dyn Write) {
        if matches!(self, Self::Off) {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        let rate = summary.progress.rows_in as f64 / seconds.max(f64::EPSILON);
        let end = if summary.cancelled { "stopped" } else { "done" };
        let line = line(&summary.progress, rate);
        // A closed stderr is no reason to fail.
        let _ = writeln!(lines, "{end} in {}: {line}", duration(elapsed));
    }
}

/// Rows per second between two looks.
#[derive(Debug)]
pub(super) struct Meter {
    at: Instant,
    rows: u64,
}

impl Meter {
    pub(super) fn new(at: Instant, rows: u64) -> Self {
        Self { at, rows }
    }

    pub(super) fn rate(&mut self, now: Instant, rows: u64) -> f64 {
        let seconds = now.duration_since(self.at).as_secs_f64();
        let gained = rows.saturating_sub(self.rows);
        *self = Self::new(now, rows);
        match seconds > 0.0 {
            true => gained as f64 / seconds,
            false => 0.0,
        }
    }
}

/// `1,234,567 rows · 1.2 M rows/s · watermark … (3.2 s behind) · 0 late · 0 rejected · state 1.2 MB`
pub(super) fn line(progress: &Progress, rate: f64) -> String {
    let mut parts = vec![
        format!("{} rows", HumanCount(progress.rows_in)),
        format!("{} rows/s", short(rate)),
    ];
    if let Some(watermark) = progress.watermark {
        let time = watermark.format("%Y-%m-%d %H:%M:%S");
        parts.push(match progress.watermark_lag {
            Some(lag) => format!("watermark {time} ({} behind)", duration(lag)),
            None => format!("watermark {time}"),
        });
    }
    parts.push(format!("{} late", HumanCount(progress.late)));
    parts.push(format!("{} rejected", HumanCount(progress.rejected)));
    parts.push(format!("state {}", DecimalBytes(progress.state_bytes)));
    parts.push(format!("{} rows out", HumanCount(progress.rows_out)));
    parts.join(" · ")
}

/// A number in three digits or so: `950`, `1.2 k`, `35 M`.
fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        n if n >= 1e9 => (n / 1e9, " G"),
        n if n >= 1e6 => (n / 1e6, " M"),
        n if n >= 1e3 => (n / 1e3, " k"),
        n => return format!("{n:.0}"),
    };
    match scaled < 10.0 {
        true => format!("{scaled:.1}{unit}"),
        false => format!("{scaled:.0}{unit}"),
    }
}

/// `0.42 s`, `3.2 s`, `5 min 10 s`, `2 h 5 min`, `3 d 4 h`.
fn duration(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0 => format!("{:.2} s", duration.as_secs_f64()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}
