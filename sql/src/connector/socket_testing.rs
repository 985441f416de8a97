//! Sources over sockets, opened and read for tests.

use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use windrow_core::stream::{Reject, Source, SourceEvent};

use super::registry::{Connectors, Pairs};
use crate::format::testing::{schema, shown};

/// Long enough for anything that happens on one machine.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// Rows are shown up to so many.
const SHOWN_MAX: usize = 1_000;

/// A source of columns `n` and `s` that listens on an address.
pub(super) fn open(connector: &str, address: &str, options: &[(&str, &str)]) -> Box<dyn Source> {
    let pairs: Pairs = (options.iter().chain(&[("address", address)]))
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut connectors = Connectors::none();
    super::register_all(&mut connectors);
    let columns = schema(&[("n", DataType::Int64), ("s", DataType::Utf8)]);
    let kind = connectors.get(connector).expect("it is there");
    let (connector, unknown) = kind.source(&pairs, Some(columns)).expect("it fits");
    assert_eq!(unknown, Vec::<String>::new());
    connector.open().expect("it listens")
}

/// What came.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) rows: Vec<String>,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) rejects: Vec<Reject>,
    pub(super) dropped: u64,
    pub(super) ended: Vec<u32>,
}

/// What comes until it is `done`.
pub(super) fn until(source: &mut dyn Source, done: impl Fn(&Came) -> bool) -> Came {
    let (mut came, start) = (Came::default(), Instant::now());
    while !done(&came) {
        let Came { count, dropped, .. } = came;
        assert!(
            start.elapsed() < LONG,
            "{count} rows, {dropped} dropped: {:?}",
            came.rejects
        );
        match source
            .poll(Duration::from_millis(20))
            .expect("it can be read")
        {
            SourceEvent::Batch {
                records,
                rejected,
                bytes,
                ..
            } => {
                came.bytes += bytes;
                came.count += records.num_rows() as u64;
                if came.rows.len() < SHOWN_MAX {
                    came.rows.extend(shown(&records));
                }
                came.rejects.extend(rejected);
            }
            SourceEvent::Dropped(rows) => came.dropped += rows,
            SourceEvent::PartitionEnd(partition) => came.ended.push(partition),
            SourceEvent::Pending | SourceEvent::Watermark(_) => {}
            SourceEvent::End => panic!("it never ends"),
        }
    }
    came
}
