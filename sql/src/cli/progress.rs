//! Progress on stderr: a line that moves, or plain lines, and a summary at the end.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::ProgressMode;
use super::margin::Margin;
use super::progress_json;
use crate::session::{Losses, Progress, Session};
use crate::words::counted;

/// How often the moving line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// How often it is drawn at most, whatever changes.
const DRAWS_HZ: u8 = 20;

/// How often a plain line is written.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// How often an object of JSON is written.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// How the moving line looks while the size of the inputs is not known, and when it is.
const LINE: &str = "{spinner} {wide_msg}";
const LINE_WITH_BAR: &str = "{spinner} {bar:20} {wide_msg}";

/// Steps of the bar.
const BAR_STEPS: u64 = 1_000;

/// Where progress is shown.
#[derive(Debug, Clone)]
pub(super) enum Display {
    /// Nothing, not even the end.
    Off,
    /// Nothing but that it was stopped.
    Silent,
    /// Lines on stderr.
    Plain,
    /// Objects of JSON on stderr.
    Json,
    /// One line of the terminal.
    Bar(ProgressBar),
}

/// How the work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Stopped,
    Failed,
}

impl Display {
    pub(super) fn new(mode: ProgressMode, stderr_is_terminal: bool) -> Self {
        match mode {
            ProgressMode::Off => Self::Off,
            ProgressMode::Auto if !stderr_is_terminal => Self::Silent,
            ProgressMode::Plain => Self::Plain,
            ProgressMode::Json => Self::Json,
            ProgressMode::Auto | ProgressMode::Bar => {
                let target = match stderr_is_terminal {
                    true => {
                        ProgressDrawTarget::term_like_with_hz(Box::new(Margin::default()), DRAWS_HZ)
                    }
                    false => ProgressDrawTarget::hidden(),
                };
                let bar = ProgressBar::with_draw_target(None, target);
                look(&bar, LINE);
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

    /// Shows no moving line until something is watched.
    pub(super) fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }

    /// Shows a session's progress until `work` is done.
    pub(super) fn watch<T>(
        &self,
        session: &Session,
        lines: &mut (dyn Write + Send),
        work: impl FnOnce() -> T,
    ) -> T {
        let every = match self {
            Self::Off | Self::Silent => return work(),
            Self::Plain => WRITE_EVERY,
            Self::Json => JSON_EVERY,
            Self::Bar(_) => DRAW_EVERY,
        };
        if let Self::Bar(bar) = self {
            // The run before may have finished it.
            bar.set_message("");
            bar.reset();
            bar.unset_length();
            look(bar, LINE);
        }
        let started = Instant::now();
        std::thread::scope(|scope| {
            // Dropped when the work is done, or has panicked: the watcher ends.
            let (_working, done) = mpsc::channel::<()>();
            scope.spawn(move || {
                let mut meter = Meter::new(Instant::now(), session.progress().rows);
                while done.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    let progress = session.progress();
                    let rate = meter.rate(Instant::now(), progress.rows);
                    let line = match self {
                        Self::Json => {
                            let elapsed = started.elapsed();
                            progress_json::state("running", &progress, rate, elapsed, now_ms())
                        }
                        _ => line(&progress, rate, now_ms()),
                    };
                    match self {
                        Self::Bar(bar) => show(bar, &progress, line),
                        // A closed stderr is no reason to stop the work.
                        _ => drop(writeln!(lines, "{line}")),
                    }
                }
                self.clear();
            });
            work()
        })
    }

    /// Warns of rows that are in no result.
    pub(super) fn warn(&self, session: &Session, late: u64, lines: &mut dyn Write) {
        if matches!(self, Self::Off) {
            return;
        }
        for warning in warnings(&session.losses(), late, ", in the same script") {
            let warning = match self {
                Self::Json => progress_json::remark("warning", &warning),
                _ => format!("warning: {warning}"),
            };
            // A closed stderr is no reason to fail.
            let _ = writeln!(lines, "{warning}");
        }
    }

    /// Says for programs that the work has failed; the errors follow that have not been told.
    pub(super) fn fail(&self, progress: &Progress, elapsed: Duration, lines: &mut dyn Write) {
        if matches!(self, Self::Json) {
            let rate = progress.rows as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
            let object = progress_json::state("failed", progress, rate, elapsed, now_ms());
            // A closed stderr must not hide the error.
            let _ = writeln!(lines, "{object}");
        }
    }

    /// Says how the work ended. That it was stopped is said even where nothing is shown
    /// before; for programs [`Display::fail`] has said that it failed.
    pub(super) fn summarize(
        &self,
        progress: &Progress,
        end: End,
        elapsed: Duration,
        lines: &mut dyn Write,
    ) {
        let rate = progress.rows as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
        let end = match (self, end) {
            (Self::Off, _) | (Self::Silent, End::Done | End::Failed) => return,
            (Self::Json, End::Failed) => return,
            (Self::Json, end) => {
                let state = if end == End::Stopped {
                    "stopped"
                } else {
                    "done"
                };
                let object = progress_json::state(state, progress, rate, elapsed, now_ms());
                // A closed stderr is no reason to fail.
                let _ = writeln!(lines, "{object}");
                return;
            }
            (_, End::Stopped) => "stopped after",
            (_, End::Done) => "done in",
            (_, End::Failed) => "failed after",
        };
        let line = line(progress, rate, now_ms());
        // As above.
        let _ = writeln!(lines, "{end} {}: {line}", duration(elapsed));
        if let Some(line) = open_windows(progress.open_windows) {
            // As above.
            let _ = writeln!(lines, "{line}");
        }
    }
}

/// What is said of the windows that a stop has left open, if there are any.
pub(super) fn open_windows(count: u64) -> Option<String> {
    let were = if count == 1 { "was" } else { "were" };
    let windows = counted(count, "window", "windows");
    (count > 0).then(|| format!("{windows} {were} still open and not given out"))
}

/// Gives the moving line another look.
fn look(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏░"));
    }
}

/// Moves the line on, with a bar once the size of the inputs is known.
fn show(bar: &ProgressBar, progress: &Progress, line: String) {
    match progress.share() {
        Some(share) => {
            if bar.length().is_none() {
                look(bar, LINE_WITH_BAR);
                bar.set_length(BAR_STEPS);
            }
            bar.set_position((share * BAR_STEPS as f64) as u64);
        }
        None if bar.length().is_some() => {
            look(bar, LINE);
            bar.unset_length();
        }
        None => {}
    }
    bar.set_message(line);
    bar.tick();
}

/// What was not taken into the results, a warning for each stream. `late`: how many rows
/// were late in all; `asked`: what is said of where they can be asked for.
pub(super) fn warnings(losses: &[Losses], late: u64, asked: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for Losses {
        stream,
        rejected,
        example,
        ..
    } in losses.iter().filter(|losses| losses.rejected > 0)
    {
        let rows = counted(*rejected, "row", "rows");
        let example = example.as_ref().map_or_else(String::new, |reject| {
            format!(", such as {}: {}", reject.position, reject.reason)
        });
        warnings.push(format!(
            "{rows} of '{stream}' rejected{example}\n   = help: SELECT * FROM rejected('{stream}') has them{asked}"
        ));
    }
    if late > 0 {
        let streams = losses.iter().filter(|losses| losses.late);
        let streams: Vec<String> = streams
            .map(|losses| format!("late('{}')", losses.stream))
            .collect();
        let help = match streams.is_empty() {
            true => String::new(),
            false => format!(
                "\n   = help: SELECT * FROM {} has them{asked}",
                streams.join(", ")
            ),
        };
        let rows = counted(late, "row", "rows");
        warnings.push(format!("{rows} too late for all windows of a query{help}"));
    }
    warnings
}

/// The wall clock, in milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
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

/// `1,234,567 rows · 1.2 M rows/s · 45 % · watermark … (3.2 s behind) · 7 late · state 1.2 MB`
///
/// `now`: the wall clock, in milliseconds since the Unix epoch.
pub(super) fn line(progress: &Progress, rate: f64, now: i64) -> String {
    let mut parts = vec![
        counted(progress.rows, "row", "rows"),
        format!("{} rows/s", short(rate)),
    ];
    if let Some(share) = progress.share() {
        parts.push(format!("{:.0} %", (share * 100.0).floor()));
    }
    let watermark = progress.watermark_ms;
    if let Some(time) = watermark.and_then(DateTime::from_timestamp_millis) {
        let mut part = format!("watermark {}", time.format("%Y-%m-%d %H:%M:%S"));
        if progress.is_live {
            let behind = now.saturating_sub(time.timestamp_millis());
            let behind = Duration::from_millis(u64::try_from(behind).unwrap_or(0));
            part.push_str(&format!(" ({} behind)", duration(behind)));
        }
        parts.push(part);
    }
    parts.push(format!("{} late", HumanCount(progress.late)));
    parts.push(format!("{} rejected", HumanCount(progress.rejected)));
    if progress.dropped > 0 {
        parts.push(format!("{} dropped", HumanCount(progress.dropped)));
    }
    parts.push(format!("state {}", DecimalBytes(progress.state_bytes)));
    parts.join(" · ")
}

/// A number in three digits or so: `950`, `1.2 k`, `35 M`.
pub(super) fn short(number: f64) -> String {
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
pub(super) fn duration(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0 => format!("{:.2} s", duration.as_secs_f64()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}
