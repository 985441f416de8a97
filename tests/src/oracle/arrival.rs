//! How rows arrive: which are accepted, and the watermark in force for each.

use std::collections::BTreeSet;

/// A reading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// The partition of the stream that it comes through.
    pub partition: usize,
    /// The event time.
    pub ts: Option<i64>,
    /// The key.
    pub key: Option<String>,
    /// A measured value.
    pub v: Option<f64>,
    /// A whole number.
    pub w: Option<i64>,
}

/// An accepted reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Its place in the order of arrival.
    pub ordinal: usize,
    /// Its event time.
    pub ts: i64,
    /// The watermark when it arrived.
    pub watermark: i64,
    /// The reading.
    pub row: Row,
}

/// The accepted rows, each with the watermark of the rows before it: the minimum over
/// the partitions of (greatest event time − `bound`), which never falls. The first
/// `partitions` are waited for from the start and hold the watermark back until they have
/// given a row, another one is waited for from its first accepted row on. A row without
/// event time is rejected and moves nothing.
pub fn arrivals(rows: &[Row], partitions: usize, bound: i64) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut watermark = i64::MIN;
    for (i, row) in rows.iter().enumerate() {
        if let Some(ts) = row.ts {
            arrivals.push(Arrival {
                ordinal: i,
                ts,
                watermark,
                row: row.clone(),
            });
        }
        let accepted: Vec<(usize, i64)> = (rows[..=i].iter())
            .filter_map(|row| Some((row.partition, row.ts?)))
            .collect();
        let mut waited_for: BTreeSet<usize> = (0..partitions).collect();
        waited_for.extend(accepted.iter().map(|(partition, _)| *partition));
        let least = (waited_for.iter())
            .map(|waited| {
                let times = accepted.iter().filter(|(partition, _)| partition == waited);
                let greatest = times.map(|(_, ts)| *ts).max().unwrap_or(i64::MIN);
                greatest.saturating_sub(bound)
            })
            .min();
        watermark = watermark.max(least.unwrap_or(i64::MIN));
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: usize, ts: Option<i64>) -> Row {
        Row {
            partition,
            ts,
            ..Row::default()
        }
    }

    fn watermarks(rows: &[Row], partitions: usize, bound: i64) -> Vec<i64> {
        (arrivals(rows, partitions, bound).iter())
            .map(|arrival| arrival.watermark)
            .collect()
    }

    #[test]
    fn the_watermark_follows_the_greatest_time_before_the_row() {
        let rows = [10, 30, 20, 40].map(|ts| at(0, Some(ts)));
        assert_eq!(watermarks(&rows, 1, 5), [i64::MIN, 5, 25, 25]);
    }

    #[test]
    fn a_row_without_time_is_rejected_and_moves_nothing() {
        let rows = [at(0, Some(10)), at(0, None), at(0, Some(20))];
        assert_eq!(watermarks(&rows, 1, 0), [i64::MIN, 10]);
    }

    #[test]
    fn without_known_partitions_the_first_row_says_whom_to_wait_for() {
        let rows = [at(3, None), at(3, Some(10)), at(3, Some(20))];
        assert_eq!(watermarks(&rows, 0, 0), [i64::MIN, 10]);
        let rows = [at(0, Some(10)), at(0, Some(20))];
        assert_eq!(watermarks(&rows, 2, 0), [i64::MIN, i64::MIN]);
    }

    #[test]
    fn the_slowest_partition_holds_the_watermark() {
        let rows = [
            at(0, Some(100)),
            at(0, Some(200)),
            at(1, Some(50)),
            at(0, Some(300)),
            at(1, Some(400)),
            at(1, Some(500)),
        ];
        let none = i64::MIN;
        assert_eq!(watermarks(&rows, 2, 10), [none, none, none, 40, 40, 290]);
    }

    #[test]
    fn a_partition_that_begins_later_holds_the_watermark_but_does_not_lower_it() {
        let rows = [
            at(0, Some(100)),
            at(1, None),
            at(0, Some(110)),
            at(1, Some(50)),
            at(0, Some(200)),
            at(1, Some(120)),
            at(0, Some(300)),
        ];
        let none = i64::MIN;
        assert_eq!(watermarks(&rows, 1, 10), [none, 90, 100, 100, 100, 110]);
    }
}
