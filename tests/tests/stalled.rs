//! A receiver that does not read holds up what feeds its sink, and nobody else.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use windrow_sql::Session;

/// Longer than anything takes that does not wait for the receiver.
const PROMPT: Duration = Duration::from_secs(2);

/// Enough for all that is to happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one").to_string();
    (listener, address)
}

/// The one number that a query gives, at once.
fn one(session: &Session, query: &str) -> i64 {
    let start = Instant::now();
    let rows = (session.sql(query).and_then(|answer| answer.collect())).expect("it fits");
    let took = start.elapsed();
    assert!(took < PROMPT, "{query} took {took:?}");
    rows[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Lets the session go on until the sink is full: a stream of generated rows comes no
/// further, which is how many have come.
fn go_on_until_full(session: &Session) -> i64 {
    let (start, mut seen) = (Instant::now(), (0, Instant::now()));
    loop {
        let asked = Instant::now();
        session.go_on(Duration::from_millis(5)).expect("it runs");
        assert!(
            asked.elapsed() < PROMPT,
            "a step took {:?}",
            asked.elapsed()
        );
        let received = one(
            session,
            "SELECT CAST(received AS BIGINT) FROM windrow.streams WHERE name = 'g'",
        );
        if received != seen.0 {
            seen = (received, Instant::now());
        }
        if received > 0 && seen.1.elapsed() > Duration::from_millis(300) {
            return received;
        }
        assert!(start.elapsed() < PATIENCE, "it is never full: {received}");
    }
}

#[test]
fn a_receiver_that_does_not_read_holds_up_its_source_alone() {
    let (listener, address) = listening();
    let session = Session::new().expect("threads start");
    // More than the kernel takes for one who does not read.
    let rows = 200_000;
    let statements = format!(
        "CREATE STREAM g WITH (connector = 'generator', rows = '{rows}', rate = '400000', \
         realtime = 'true'); \
         CREATE STREAM pushed (n BIGINT); \
         CREATE MATERIALIZED VIEW kept AS SELECT n FROM pushed; \
         CREATE SINK o WITH (connector = 'tcp', address = '{address}', format = 'ndjson', \
         queue_bytes = '1000000') AS SELECT * FROM g"
    );
    session.sql(&statements).expect("they fit");
    let full = go_on_until_full(&session);
    assert!(full < rows, "{full}");

    // Others are pushed into, and asked.
    session
        .sql("INSERT INTO pushed VALUES (1), (2)")
        .expect("it fits");
    assert_eq!(one(&session, "SELECT count(*) FROM kept"), 2);

    // A stop that is meant for a statement leaves the sink as it is.
    session.cancel();
    std::thread::sleep(Duration::from_millis(2_500));
    session.resume();
    session.go_on(Duration::from_millis(5)).expect("it runs");
    assert!(session.failures().is_empty(), "{:?}", session.failures());

    // Once the receiver reads, it gets all rows. It has been called by now.
    let (client, _) = listener.accept().expect("it connects");
    let reader = std::thread::spawn(move || lines(client));
    let start = Instant::now();
    while session.go_on(Duration::from_millis(5)).expect("it runs") {
        assert!(start.elapsed() < PATIENCE, "it does not end");
    }
    assert_eq!(reader.join().expect("it reads"), rows);
}

fn lines(client: TcpStream) -> i64 {
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    BufReader::new(client).lines().map_while(Result::ok).count() as i64
}
