//! A sink without room holds up the sources that feed it, and no others.

use super::*;
use crate::stream::Sink;

/// Takes rows; has room while it is told so.
#[derive(Debug, Clone, Default)]
struct Door {
    is_shut: Arc<AtomicBool>,
    has_failed: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<i64>>>,
}

impl Door {
    fn taken(&self) -> Vec<i64> {
        self.taken.lock().expect("nobody panics").clone()
    }
}

impl Sink for Door {
    fn has_room(&self) -> bool {
        !self.is_shut.load(Ordering::Relaxed)
    }

    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        let values = records.column(0).as_primitive::<Int64Type>().values();
        (self.taken.lock().expect("nobody panics")).extend_from_slice(values);
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        match self.has_failed.load(Ordering::Relaxed) {
            true => Err(Error::invalid("nobody reads")),
            false => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Gives one row after the other.
#[derive(Debug)]
struct Counting(i64);

impl Source for Counting {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn poll(&mut self, _: Duration) -> Result<SourceEvent> {
        self.0 += 1;
        Ok(SourceEvent::Batch {
            partition: 0,
            records: rows(&[self.0 % 100]),
            rejected: Vec::new(),
            origin: None,
            bytes: 10,
        })
    }
}

fn query(name: &str, input: Input, sinks: Vec<Box<dyn Sink>>) -> QuerySpec {
    QuerySpec {
        name: name.into(),
        steps: vec![Step {
            operator: same(),
            inputs: vec![input],
            is_window: false,
        }],
        view: None,
        sinks,
    }
}

#[test]
fn sources_wait_for_the_sinks_that_they_feed_and_others_go_on() {
    let Bench {
        mut engine, stream, ..
    } = bench(OnError::Keep);
    let spec = StreamSpec {
        name: "other".into(),
        prepare: Box::new(Below100),
        event_time: None,
        live: None,
        partitions: 1,
        on_error: OnError::Keep,
        expect: None,
    };
    let other = engine.add_stream(spec, 0).expect("it fits");
    // The sink stands behind two queries.
    let (door, free) = (Door::default(), Door::default());
    let first = query("first", Input::Stream(stream), Vec::new());
    let first = engine.attach(first).expect("attaches");
    let second = query("second", Input::Query(first), vec![Box::new(door.clone())]);
    engine.attach(second).expect("attaches");
    let aside = query("aside", Input::Stream(other), vec![Box::new(free.clone())]);
    engine.attach(aside).expect("attaches");

    let mut driver = Driver::new(engine);
    driver.start(stream, Box::new(Counting(0)));
    driver.start(other, Box::new(Counting(0)));
    let clock = || 0;
    driver.step(Duration::ZERO, &clock);
    let (before, aside) = (door.taken().len(), free.taken().len());
    assert!(before > 0 && aside > 0);

    door.is_shut.store(true, Ordering::Relaxed);
    assert!(!driver.engine.has_room(stream) && driver.engine.has_room(other));
    assert_eq!(driver.step(Duration::ZERO, &clock), Stepped::Progress);
    assert_eq!(door.taken().len(), before);
    assert!(free.taken().len() > aside);

    // Nothing is lost or comes twice.
    door.is_shut.store(false, Ordering::Relaxed);
    driver.step(Duration::ZERO, &clock);
    let taken = door.taken();
    assert!(taken.len() > before);
    let expected: Vec<i64> = (1..=taken.len() as i64).map(|value| value % 100).collect();
    assert_eq!(taken, expected);

    // Where all wait, nothing comes, and a sink that has failed holds nobody up.
    driver.stop(other);
    door.is_shut.store(true, Ordering::Relaxed);
    assert_eq!(driver.step(Duration::from_secs(60), &clock), Stepped::Idle);
    assert_eq!(door.taken(), taken);
    door.has_failed.store(true, Ordering::Relaxed);
    driver.step(Duration::ZERO, &clock);
    assert!(driver.engine.has_room(stream));
}
