//! Which windows hold a row, and which rows come too late for all of theirs.

use super::arrival::Arrival;

/// A window function. Times and sizes are in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// `TUMBLE(…, size, offset => offset)`
    Tumble { size: i64, offset: i64 },
    /// `HOP(…, slide, size, offset => offset)`
    Hop { slide: i64, size: i64, offset: i64 },
    /// `CUMULATE(…, step, size, offset => offset)`
    Cumulate { step: i64, size: i64, offset: i64 },
    /// `SESSION(… [PARTITION BY key], gap)`
    Session { gap: i64, partitioned: bool },
    /// `COUNT_WINDOW(… [PARTITION BY key], rows, slide)`
    Count {
        rows: usize,
        slide: usize,
        partitioned: bool,
    },
}

/// The rows of one key in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// `window_start`
    pub start: i64,
    /// `window_end`
    pub end: i64,
    /// The key, or `None` where the query does not group by it.
    pub key: Option<Option<String>>,
    /// Its rows in event-time order, ties in order of arrival.
    pub rows: Vec<Arrival>,
}

/// What a windowed query finds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Every window that holds rows, by end, start and key.
    pub groups: Vec<Group>,
    /// The rows that came too late, in order of arrival.
    pub late: Vec<Arrival>,
    /// Rows in at least one window.
    pub in_window: usize,
    /// Closed windows that a row missed although others of its windows took it.
    pub missed_windows: usize,
}

/// What a query over `window` finds; `by_key`: it groups by the key as well.
pub fn answer(arrivals: &[Arrival], window: Window, by_key: bool) -> Answer {
    let mut answer = match window {
        Window::Session { gap, partitioned } => sessions(arrivals, gap, partitioned),
        Window::Count {
            rows,
            slide,
            partitioned,
        } => counted(arrivals, rows, slide, partitioned),
        fixed => fixed_windows(arrivals, fixed),
    };
    if by_key {
        answer.groups = (answer.groups.iter()).flat_map(divide_by_key).collect();
    }
    for group in &mut answer.groups {
        group.rows.sort_by_key(|row| (row.ts, row.ordinal));
    }
    (answer.groups).sort_by(|a, b| (a.end, a.start, &a.key).cmp(&(b.end, b.start, &b.key)));
    answer
}

/// The windows `[start, end)` of fixed size that hold an event time.
pub fn holding(window: Window, ts: i64) -> Vec<(i64, i64)> {
    let (slide, size, offset) = match window {
        Window::Tumble { size, offset } => (size, size, offset),
        Window::Hop {
            slide,
            size,
            offset,
        } => (slide, size, offset),
        Window::Cumulate { size, offset, .. } => (size, size, offset),
        Window::Session { .. } | Window::Count { .. } => unreachable!("of no fixed size"),
    };
    // Every start that could be meant, and a few that cannot: the test decides.
    let nearest = (ts - offset).div_euclid(slide);
    let reach = size / slide + 2;
    let mut windows = Vec::new();
    for number in nearest - reach..=nearest + reach {
        let start = number * slide + offset;
        if !(start <= ts && ts < start + size) {
            continue;
        }
        match window {
            Window::Cumulate { step, .. } => windows.extend(
                (1..=size / step)
                    .map(|steps| (start, start + steps * step))
                    .filter(|(_, end)| ts < *end),
            ),
            _ => windows.push((start, start + size)),
        }
    }
    windows
}

fn fixed_windows(arrivals: &[Arrival], window: Window) -> Answer {
    let mut answer = Answer::default();
    for arrival in arrivals {
        let (open, closed): (Vec<_>, Vec<_>) = (holding(window, arrival.ts).into_iter())
            .partition(|(_, end)| *end > arrival.watermark);
        if open.is_empty() {
            answer.late.push(arrival.clone());
            continue;
        }
        answer.in_window += 1;
        answer.missed_windows += closed.len();
        for (start, end) in open {
            let group =
                (answer.groups.iter_mut()).find(|group| (group.start, group.end) == (start, end));
            match group {
                Some(group) => group.rows.push(arrival.clone()),
                None => answer.groups.push(Group {
                    start,
                    end,
                    key: None,
                    rows: vec![arrival.clone()],
                }),
            }
        }
    }
    answer
}

/// A row joins every open session of its partition that it is no further than `gap`
/// from. A session is closed once the watermark has reached its last row plus `gap`.
fn sessions(arrivals: &[Arrival], gap: i64, partitioned: bool) -> Answer {
    struct Session {
        first: i64,
        last: i64,
        rows: Vec<Arrival>,
    }
    let mut answer = Answer::default();
    let mut sessions: Vec<Session> = Vec::new();
    for arrival in arrivals {
        let ts = arrival.ts;
        let joins = |session: &Session| {
            let same = !partitioned || session.rows[0].row.key == arrival.row.key;
            let open = session.last + gap > arrival.watermark;
            same && open && ts >= session.first - gap && ts <= session.last + gap
        };
        let (joined, others): (Vec<_>, Vec<_>) = sessions.into_iter().partition(joins);
        sessions = others;
        if joined.is_empty() && ts + gap <= arrival.watermark {
            answer.late.push(arrival.clone());
            continue;
        }
        answer.in_window += 1;
        let mut session = Session {
            first: ts,
            last: ts,
            rows: vec![arrival.clone()],
        };
        for other in joined {
            session.first = session.first.min(other.first);
            session.last = session.last.max(other.last);
            session.rows.extend(other.rows);
        }
        sessions.push(session);
    }
    answer.groups = (sessions.into_iter())
        .map(|session| Group {
            start: session.first,
            end: session.last + gap,
            key: None,
            rows: session.rows,
        })
        .collect();
    answer
}

/// The rows of a partition that are on time, sorted; a window of `rows` of them at
/// every `slide`, until each row is in a window: the last one may be cut short.
fn counted(arrivals: &[Arrival], rows: usize, slide: usize, partitioned: bool) -> Answer {
    let mut answer = Answer::default();
    let mut partitions: Vec<Vec<Arrival>> = Vec::new();
    for arrival in arrivals {
        if arrival.ts < arrival.watermark {
            answer.late.push(arrival.clone());
            continue;
        }
        answer.in_window += 1;
        let partition = (partitions.iter_mut())
            .find(|partition| !partitioned || partition[0].row.key == arrival.row.key);
        match partition {
            Some(partition) => partition.push(arrival.clone()),
            None => partitions.push(vec![arrival.clone()]),
        }
    }
    for mut partition in partitions {
        partition.sort_by_key(|row| (row.ts, row.ordinal));
        let mut held = 0;
        for first in (0..partition.len()).step_by(slide) {
            if held == partition.len() {
                break;
            }
            held = partition.len().min(first + rows);
            let rows = &partition[first..held];
            answer.groups.push(Group {
                start: rows[0].ts,
                end: rows[rows.len() - 1].ts,
                key: None,
                rows: rows.to_vec(),
            });
        }
    }
    answer
}

fn divide_by_key(group: &Group) -> Vec<Group> {
    let mut parts: Vec<Group> = Vec::new();
    for row in &group.rows {
        let key = Some(row.row.key.clone());
        match parts.iter_mut().find(|part| part.key == key) {
            Some(part) => part.rows.push(row.clone()),
            None => parts.push(Group {
                key,
                rows: vec![row.clone()],
                ..*group
            }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::arrival::{Row, arrivals};
    use super::*;

    /// Rows of one partition at these times; keys as given.
    fn stream(rows: &[(i64, &str)], bound: i64) -> Vec<Arrival> {
        let rows: Vec<Row> = (rows.iter())
            .map(|(ts, key)| Row {
                ts: Some(*ts),
                key: Some((*key).to_owned()),
                ..Row::default()
            })
            .collect();
        arrivals(&rows, 1, bound)
    }

    fn times(answer: &Answer) -> Vec<(i64, i64, Vec<i64>)> {
        (answer.groups.iter())
            .map(|group| {
                let times = group.rows.iter().map(|row| row.ts).collect();
                (group.start, group.end, times)
            })
            .collect()
    }

    fn late(answer: &Answer) -> Vec<i64> {
        answer.late.iter().map(|row| row.ts).collect()
    }

    #[test]
    fn tumbling_windows_floor_before_the_epoch_too() {
        let window = Window::Tumble {
            size: 10,
            offset: 0,
        };
        assert_eq!(holding(window, 0), [(0, 10)]);
        assert_eq!(holding(window, 9), [(0, 10)]);
        assert_eq!(holding(window, -1), [(-10, 0)]);
        assert_eq!(holding(window, -10), [(-10, 0)]);
    }

    #[test]
    fn an_offset_moves_the_windows() {
        // Flink's page on windowing table-valued functions: a row at 4 seconds past
        // midnight and windows of 10 minutes, in seconds.
        let midnight = 1_625_011_200;
        for (offset, start) in [
            (-16, -6),
            (-6, -6),
            (-4, -4),
            (0, 0),
            (4, -6),
            (6, -4),
            (16, -4),
        ] {
            let window = Window::Tumble {
                size: 600,
                offset: offset * 60,
            };
            let start = midnight + start * 60;
            assert_eq!(holding(window, midnight + 4), [(start, start + 600)]);
        }
    }

    #[test]
    fn hopping_windows_overlap_and_need_be_no_multiple() {
        let hop = |slide, size| Window::Hop {
            slide,
            size,
            offset: 0,
        };
        assert_eq!(holding(hop(5, 10), 7), [(0, 10), (5, 15)]);
        assert_eq!(holding(hop(4, 10), 8), [(0, 10), (4, 14), (8, 18)]);
        assert_eq!(holding(hop(4, 10), 10), [(4, 14), (8, 18)]);
        assert_eq!(holding(hop(4, 10), -1), [(-8, 2), (-4, 6)]);
    }

    #[test]
    fn cumulating_windows_share_a_start() {
        let window = Window::Cumulate {
            step: 2,
            size: 6,
            offset: 0,
        };
        assert_eq!(holding(window, 0), [(0, 2), (0, 4), (0, 6)]);
        assert_eq!(holding(window, 3), [(0, 4), (0, 6)]);
        assert_eq!(holding(window, 11), [(6, 12)]);
    }

    #[test]
    fn a_row_is_late_when_its_window_has_closed() {
        let window = Window::Tumble {
            size: 10,
            offset: 0,
        };
        // Bound 2. Before the row at 9 the watermark is 11 − 2 = 9: on time. Before
        // the row at 8 it is 12 − 2 = 10: the window [0, 10) has closed.
        let rows = stream(&[(1, "a"), (11, "a"), (9, "a"), (12, "a"), (8, "a")], 2);
        let answer = answer(&rows, window, false);
        assert_eq!(
            times(&answer),
            [(0, 10, vec![1, 9]), (10, 20, vec![11, 12])]
        );
        assert_eq!(late(&answer), [8]);
        assert_eq!((answer.in_window, answer.missed_windows), (4, 0));
    }

    #[test]
    fn a_row_counts_in_those_of_its_windows_that_are_open() {
        let window = Window::Hop {
            slide: 5,
            size: 10,
            offset: 0,
        };
        let rows = stream(&[(3, "a"), (10, "a"), (8, "a"), (20, "a"), (9, "a")], 0);
        let answer = answer(&rows, window, false);
        let expected = [
            (-5, 5, vec![3]),
            (0, 10, vec![3]),
            (5, 15, vec![8, 10]),
            (10, 20, vec![10]),
            (15, 25, vec![20]),
            (20, 30, vec![20]),
        ];
        assert_eq!(times(&answer), expected);
        assert_eq!(late(&answer), [9]);
        assert_eq!((answer.in_window, answer.missed_windows), (4, 1));
    }

    #[test]
    fn a_distance_of_just_the_gap_merges() {
        let window = Window::Session {
            gap: 5,
            partitioned: true,
        };
        let rows = stream(&[(0, "a"), (5, "a"), (11, "a"), (3, "b")], 100);
        let answer = answer(&rows, window, true);
        assert_eq!(
            times(&answer),
            [(3, 8, vec![3]), (0, 10, vec![0, 5]), (11, 16, vec![11])]
        );
    }

    #[test]
    fn a_row_between_two_sessions_makes_them_one() {
        let window = Window::Session {
            gap: 5,
            partitioned: false,
        };
        let rows = stream(&[(0, "a"), (8, "b"), (4, "a")], 100);
        let by_key = answer(&rows, window, true);
        assert_eq!(times(&by_key), [(0, 13, vec![0, 4]), (0, 13, vec![8])]);
        assert_eq!(
            times(&answer(&rows, window, false)),
            [(0, 13, vec![0, 4, 8])]
        );
    }

    #[test]
    fn a_row_is_late_for_a_session_that_has_closed() {
        let window = Window::Session {
            gap: 5,
            partitioned: true,
        };
        // No bound. The row at 20 closes the session of 0 (end 5). The row at 4
        // touches no open session, and its own would end at 9.
        let rows = stream(&[(0, "a"), (20, "a"), (4, "a"), (16, "a")], 0);
        let answer = answer(&rows, window, true);
        assert_eq!(times(&answer), [(0, 5, vec![0]), (16, 25, vec![16, 20])]);
        assert_eq!(late(&answer), [4]);
    }

    #[test]
    fn an_old_row_that_touches_an_open_session_is_on_time() {
        let window = Window::Session {
            gap: 5,
            partitioned: true,
        };
        // Key b carries the watermark to 20. The row of a at 13 ends at 18, but it
        // touches a's session that stays open until 21.
        let rows = stream(&[(16, "a"), (20, "b"), (13, "a"), (10, "a")], 0);
        let answer = answer(&rows, window, true);
        assert_eq!(
            times(&answer),
            [(10, 21, vec![10, 13, 16]), (20, 25, vec![20])]
        );
        assert_eq!(late(&answer), Vec::<i64>::new());
    }

    #[test]
    fn counted_windows_follow_event_time_and_end_incomplete() {
        let window = Window::Count {
            rows: 3,
            slide: 2,
            partitioned: true,
        };
        let rows = stream(&[(1, "a"), (3, "a"), (2, "a"), (4, "a"), (9, "b")], 5);
        let answer = answer(&rows, window, true);
        assert_eq!(
            times(&answer),
            [(1, 3, vec![1, 2, 3]), (3, 4, vec![3, 4]), (9, 9, vec![9])]
        );
    }

    #[test]
    fn a_counted_window_is_cut_short_only_for_rows_that_are_in_no_other() {
        let window = Window::Count {
            rows: 3,
            slide: 1,
            partitioned: false,
        };
        let rows = stream(&[(1, "a"), (2, "a"), (3, "a"), (4, "a")], 0);
        let all = answer(&rows, window, false);
        assert_eq!(times(&all), [(1, 3, vec![1, 2, 3]), (2, 4, vec![2, 3, 4])]);
        let two = answer(&rows[..2], window, false);
        assert_eq!(times(&two), [(1, 2, vec![1, 2])]);
    }

    #[test]
    fn a_row_behind_the_watermark_is_late_for_a_counted_window() {
        let window = Window::Count {
            rows: 2,
            slide: 2,
            partitioned: false,
        };
        let rows = stream(&[(1, "a"), (10, "a"), (7, "a"), (8, "a")], 2);
        let answer = answer(&rows, window, false);
        assert_eq!(times(&answer), [(1, 8, vec![1, 8]), (10, 10, vec![10])]);
        assert_eq!(late(&answer), [7]);
    }
}
