//! The streams that share an address, and what their clients share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::budget::Budget;
use super::door::{Door, Post};
use crate::error::{Error, ErrorKind, Result};

/// The bodies that all clients of a server are sending may take so many bytes, or twice the
/// largest that is allowed.
const BODIES_BYTES_MAX: usize = 256 << 20;

/// The doors at one address.
#[derive(Debug)]
pub(super) struct Hall {
    doors: RwLock<Vec<Arc<Door>>>,
    pub(super) budget: Budget,
    /// Held while a body is given to its queues, so that all of them take it or none.
    admission: Mutex<()>,
    /// Whether nobody is served any more.
    pub(super) stop: AtomicBool,
}

impl Hall {
    pub(super) fn new() -> Self {
        Self {
            doors: RwLock::default(),
            budget: Budget::new(BODIES_BYTES_MAX),
            admission: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Opens a door.
    ///
    /// # Errors
    /// If another has its name or its measurement.
    pub(super) fn open(&self, door: &Arc<Door>) -> Result<()> {
        let mut doors = self.doors.write().unwrap_or_else(PoisonError::into_inner);
        let twin = |what: &str, name: &str| {
            let message = format!("{what} {name} is served at this address already");
            Error::new(ErrorKind::Option, message)
        };
        for other in doors.iter() {
            if other.stream == door.stream {
                return Err(twin("the path of stream", &door.stream)
                    .help("two streams of one name need two addresses"));
            }
            if other.options.measurement == door.options.measurement {
                return Err(twin("the measurement", &door.options.measurement)
                    .help("name another with the option measurement"));
            }
        }
        self.budget
            .raise(door.options.body_bytes_max.saturating_mul(2));
        doors.push(door.clone());
        Ok(())
    }

    /// Closes a door. Whether it was the last.
    pub(super) fn close(&self, door: &Arc<Door>) -> bool {
        let mut doors = self.doors.write().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|other| !Arc::ptr_eq(other, door));
        doors.is_empty()
    }

    /// The streams that are served.
    pub(super) fn doors(&self) -> Vec<Arc<Door>> {
        (self.doors.read().unwrap_or_else(PoisonError::into_inner)).clone()
    }

    /// What the most generous of the streams allows.
    pub(super) fn most<T: Ord>(&self, of: impl Fn(&Door) -> T) -> Option<T> {
        self.doors().iter().map(|door| of(door)).max()
    }

    /// How long a client may say nothing; `None`: any time.
    pub(super) fn client_timeout(&self) -> Option<Duration> {
        let longest = self.most(|door| door.options.client_timeout.unwrap_or(Duration::MAX));
        longest.filter(|longest| *longest != Duration::MAX)
    }

    /// Gives bodies to their queues: all of them, or none.
    ///
    /// # Errors
    /// Names the stream whose queue is full.
    pub(super) fn admit(&self, posts: Vec<(Arc<Door>, Post)>) -> Result<(), String> {
        let _one_at_a_time = self
            .admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let weighed: Vec<_> = (posts.into_iter())
            .map(|(door, post)| (post.content.weight(), door, post))
            .collect();
        for (weight, door, _) in &weighed {
            if !door.has_room(*weight) && !door.queue.is_closed() {
                return Err(door.stream.clone());
            }
        }
        for (weight, door, post) in weighed {
            // Others only take out. A queue that was closed meanwhile drops the body, and
            // its ticket tells.
            drop(door.queue.try_push(post, weight));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use arrow::datatypes::{DataType, SchemaRef};
    use windrow_core::batch::queue::Weight;

    use super::super::budget::{Hold, Spent};
    use super::super::door::{Content, DoorOptions};
    use super::super::message::Fault;
    use super::super::ticket::{Part, Ticket};
    use super::*;
    use crate::format::line::LineTimes;
    use crate::format::testing::schema;
    use crate::format::{Format, FormatOptions};

    fn columns() -> SchemaRef {
        schema(&[("n", DataType::Int64)])
    }

    /// A door with a queue of four rows and twenty bytes.
    fn door(stream: &str, measurement: &str, client_timeout: Option<Duration>) -> Arc<Door> {
        let options = DoorOptions {
            format: Some(Format::Ndjson),
            options: Arc::new(FormatOptions::default()),
            measurement: measurement.into(),
            connections_max: 1,
            client_timeout,
            answer_timeout: Duration::ZERO,
            body_bytes_max: 100,
            queue: Weight { rows: 4, bytes: 20 },
        };
        Arc::new(Door::new(stream, &columns(), &options))
    }

    fn content(door: &Door, bytes: &[u8]) -> Content {
        let times = LineTimes {
            unit_ns: 1,
            arrival_ns: None,
        };
        let content = door.content(Format::Ndjson, bytes.to_vec(), times, "a test");
        content.expect("any text will do")
    }

    fn post(door: &Arc<Door>, bytes: &[u8]) -> (Arc<Door>, Post) {
        let post = Post {
            content: content(door, bytes),
            partition: 0,
            name: "a test".into(),
            part: Part::of(&Arc::new(Ticket::default())),
            came: Instant::now(),
        };
        (door.clone(), post)
    }

    #[test]
    fn a_name_and_a_measurement_are_one_streams() {
        let hall = Hall::new();
        let first = door("a", "m", None);
        hall.open(&first).expect("it is the first");
        let same_name = hall.open(&door("a", "other", None));
        let error = same_name.expect_err("there is one").to_string();
        assert!(error.contains("the path of stream a"), "{error}");
        let same_measurement = hall.open(&door("b", "m", None));
        let error = same_measurement.expect_err("there is one").to_string();
        assert!(error.contains("the measurement m"), "{error}");
        hall.open(&door("b", "n", None)).expect("neither is taken");
        assert!(!hall.close(&first));
        hall.open(&door("a", "m", None))
            .expect("both are free again");
        assert_eq!(hall.doors().len(), 2);
    }

    #[test]
    fn the_most_patient_stream_says_how_long_a_client_may_be_silent() {
        let hall = Hall::new();
        assert_eq!(hall.client_timeout(), None);
        for (name, seconds, longest) in [("a", 5, 5), ("b", 2, 5), ("c", 9, 9)] {
            let door = door(name, name, Some(Duration::from_secs(seconds)));
            hall.open(&door).expect("a new name");
            assert_eq!(hall.client_timeout(), Some(Duration::from_secs(longest)));
        }
        hall.open(&door("d", "d", None)).expect("a new name");
        assert_eq!(hall.client_timeout(), None);
    }

    #[test]
    fn a_queue_takes_what_fits_and_any_body_when_it_is_empty() {
        let hall = Hall::new();
        let door = door("a", "a", None);
        let room = |rows: usize, bytes: usize| door.has_room(Weight { rows, bytes });
        assert!(room(1_000, 1_000));
        // A last line without its end is a row.
        assert_eq!(content(&door, b"1\n2").weight().rows, 2);
        assert_eq!(content(&door, b"1\n2\n").weight().rows, 2);
        (hall.admit(vec![post(&door, b"1\n22")])).expect("it is empty");
        assert!(room(2, 16));
        assert!(!room(3, 16) && !room(2, 17));
        assert!(!room(usize::MAX, 0) && !room(1, usize::MAX));
        // A body without a row takes the place of one.
        (hall.admit(vec![post(&door, b"3\n4")])).expect("it fits");
        assert!(!room(0, 0));
        assert_eq!(hall.admit(vec![post(&door, b"")]), Err("a".into()));
        assert_eq!(door.queue.held().rows, 4);
    }

    #[test]
    fn bodies_may_hold_what_is_promised_and_two_of_the_largest_at_least() {
        let held = |hall: &Hall, bytes: usize| Hold::none(&hall.budget).more(bytes);
        let hall = Hall::new();
        hall.open(&door("a", "a", None)).expect("it is the first");
        assert_eq!(held(&hall, 256 << 20), Ok(()));
        assert_eq!(held(&hall, (256 << 20) + 1), Err(Spent));
        let mut large = door("b", "b", None);
        let options = Arc::get_mut(&mut large).map(|door| &mut door.options);
        options.expect("nobody else has it").body_bytes_max = 200 << 20;
        hall.open(&large).expect("a new name");
        assert_eq!(held(&hall, 400 << 20), Ok(()));
        assert_eq!(held(&hall, (400 << 20) + 1), Err(Spent));
    }

    #[test]
    fn all_queues_take_a_body_or_none_does() {
        let hall = Hall::new();
        let (free, full) = (door("free", "f", None), door("full", "g", None));
        (hall.admit(vec![post(&full, b"1\n2\n3\n4")])).expect("it is empty");
        let both = || vec![post(&free, b"1"), post(&full, b"1")];
        assert_eq!(hall.admit(both()), Err("full".into()));
        assert!(free.queue.is_empty());
        // What nobody reads any more holds up nobody.
        full.queue.close();
        hall.admit(both()).expect("it is closed");
        assert_eq!(free.queue.held().rows, 1);
    }

    #[test]
    fn no_more_producers_have_names_than_may_be() {
        let door = door("a", "a", None);
        for number in 1..=4_096_u32 {
            let partition = door.partition(Some(&format!("p{number}")));
            assert_eq!(partition, Ok(number));
        }
        assert!(matches!(door.partition(Some("p")), Err(Fault::Bad(400, _))));
        assert_eq!(door.partition(Some("p7")), Ok(7));
        assert_eq!(door.partition(None), Ok(0));
    }
}
