//! Receivers of an HTTP sink: good ones, busy ones, slow ones, and those that refuse.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use windrow_core::stream::Sink;

use super::port::free_address;
use super::registry::{Connectors, Pairs};
use super::socket_testing::LONG;
use crate::error::Error;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> String {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map_or_else(String::new, |(_, value)| value.to_owned())
    }

    /// The numbers of its rows, each with what tells it from all others.
    fn rows(&self) -> Vec<(String, i64)> {
        let text = String::from_utf8(self.body.clone()).expect("text");
        (text.lines().enumerate())
            .map(|(place, line)| {
                let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let id = format!("{}/{place}", self.header("idempotency-key"));
                (id, row["n"].as_i64().expect("a number"))
            })
            .collect()
    }
}

fn read(stream: &mut TcpStream) -> Option<Got> {
    stream.set_read_timeout(Some(LONG)).expect("a socket");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let mut got = Got {
        head,
        body: Vec::new(),
    };
    got.body = vec![0; got.header("content-length").parse().expect("a number")];
    stream.read_exact(&mut got.body).expect("a body");
    Some(got)
}

/// Answers requests as it is told, one after the other, and gives what came; an empty answer
/// is an end of the connection. It ends when nobody tells it more.
fn receiver(listener: TcpListener, answers: Receiver<String>) -> Receiver<Got> {
    let (sender, got) = channel();
    thread::spawn(move || {
        let mut stream: Option<TcpStream> = None;
        'answers: for answer in answers {
            let request = loop {
                let mut open = match stream.take() {
                    Some(open) => open,
                    None => match listener.accept() {
                        Ok((open, _)) => open,
                        Err(_) => break 'answers,
                    },
                };
                if let Some(request) = read(&mut open) {
                    stream = Some(open);
                    break request;
                }
            };
            let _gone = sender.send(request);
            match answer.as_str() {
                "" => stream = None,
                answer => {
                    let open = stream.as_mut().expect("it has just been read");
                    let _gone = open.write_all(answer.as_bytes());
                }
            }
        }
    });
    got
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn refusal(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

struct Other {
    address: SocketAddr,
    answers: Sender<String>,
    got: Receiver<Got>,
}

impl Other {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let (answers, told) = channel();
        let got = receiver(listener, told);
        Self {
            address,
            answers,
            got,
        }
    }

    fn answers(&self, answers: impl IntoIterator<Item = impl Into<String>>) {
        for answer in answers {
            self.answers.send(answer.into()).expect("it listens");
        }
    }

    fn next(&self) -> Got {
        self.got.recv_timeout(LONG).expect("a request")
    }

    fn sink(&self, options: &[(&str, &str)]) -> Box<dyn Sink> {
        let url = format!("http://{}/rows?to=x", self.address);
        sink(&url, options).expect("it opens")
    }
}

fn sink(url: &str, options: &[(&str, &str)]) -> Result<Box<dyn Sink>, Error> {
    let pairs: Pairs = (options.iter().chain(&[("url", url)]))
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut connectors = Connectors::none();
    super::register_all(&mut connectors);
    let kind = connectors.get("http")?;
    let (sink, unknown) = kind.sink(&pairs, &rows(0..1).schema())?;
    assert_eq!(unknown, Vec::<String>::new());
    Ok(sink)
}

fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    RecordBatch::try_from_iter([("n", column)]).expect("one column")
}

#[test]
fn rows_are_posted_in_bodies_of_a_few() {
    let other = Other::start();
    let mut sink = other.sink(&[
        ("batch_rows", "4"),
        ("linger", "0"),
        ("authorization", "Token t"),
    ]);
    other.answers([OK, OK, OK]);
    sink.write(&rows(0..6)).expect("taken");
    sink.write(&rows(6..9)).expect("taken");
    sink.flush().expect("taken");
    sink.finish().expect("all was taken");
    let got = [other.next(), other.next(), other.next()];
    let numbers = |got: &Got| got.rows().iter().map(|(_, n)| *n).collect::<Vec<_>>();
    let all = [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8]];
    assert_eq!(got.each_ref().map(numbers), all);
    let firsts = got.each_ref().map(|got| got.header("windrow-first-row"));
    assert_eq!(firsts, ["1", "5", "9"]);
    assert!(got[0].head.starts_with("POST /rows?to=x HTTP/1.1\r\n"));
    assert_eq!(got[0].header("content-type"), "application/x-ndjson");
    assert_eq!(got[0].header("authorization"), "Token t");
    assert_ne!(
        got[0].header("idempotency-key"),
        got[1].header("idempotency-key")
    );
}

#[test]
fn a_receiver_that_fails_twice_gets_the_same_once_more() {
    let other = Other::start();
    let mut sink = other.sink(&[]);
    let busy = "HTTP/1.1 429 Slow Down\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    // The last one takes the rows, and its answer is lost.
    other.answers([&refusal("503 Busy", "later"), busy, "", OK, OK]);
    sink.write(&rows(0..3)).expect("taken");
    sink.finish().expect("all was taken");
    let first = other.next();
    assert_eq!(first.rows().len(), 3);
    for _ in 0..3 {
        let again = other.next();
        assert_eq!((&again.body, again.rows()), (&first.body, first.rows()));
    }
    // Another run of the same query has other keys.
    let mut next = other.sink(&[]);
    next.write(&rows(0..3)).expect("taken");
    next.finish().expect("all was taken");
    let (ours, theirs) = (first.rows(), other.next().rows());
    assert_ne!(ours, theirs);
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn a_refusal_stops_the_sink_and_names_the_rows() {
    let other = Other::start();
    let mut sink = other.sink(&[("batch_rows", "100"), ("linger", "0")]);
    other.answers([OK, &refusal("400 Bad Request", "no column n")]);
    sink.write(&rows(0..150)).expect("taken");
    sink.flush().expect("given on");
    let start = Instant::now();
    let error = loop {
        // Told at the next opportunity, also if no rows come.
        match sink.tick() {
            Ok(()) => assert!(start.elapsed() < LONG),
            Err(error) => break error.to_string(),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let address = other.address;
    let expected = format!(
        "posting rows 101 to 150 to http://{address}/rows?to=x: 400 Bad Request: no column n"
    );
    assert!(error.contains(&expected), "{error}");
    let again = sink.write(&rows(0..1)).expect_err("it has failed");
    assert_eq!(again.to_string(), error);
    assert!(sink.finish().is_err());

    let mut sink = other.sink(&[]);
    other.answers(["HTTP/1.1 301 Moved\r\nLocation: http://b/\r\nContent-Length: 0\r\n\r\n"]);
    sink.write(&rows(0..1)).expect("taken");
    let error = sink.finish().expect_err("it has moved").to_string();
    assert!(error.contains("write url = 'http://b/'"), "{error}");
}

#[test]
fn a_slow_receiver_slows_its_query() {
    let other = Other::start();
    let options = [("batch_rows", "10"), ("queue_rows", "20"), ("linger", "0")];
    let mut sink = other.sink(&options);
    let (written, count) = channel();
    let writer = thread::spawn(move || {
        for number in 0..20 {
            sink.write(&rows(number * 10..number * 10 + 10))
                .expect("taken");
            let seen = (number, sink.has_room());
            written.send(seen).expect("somebody counts");
        }
        sink.finish().expect("all was taken");
    });
    // One is under way and two wait: then there is no room, but as much again is taken of
    // what comes all the same. The sixth waits.
    for number in 0..5 {
        let (written, has_room) = count.recv_timeout(LONG).expect("it is taken");
        assert_eq!(written, number);
        // Whether the first is under way when the second comes is a matter of threads.
        assert!(
            number == 1 || has_room == (number == 0),
            "{number}: {has_room}"
        );
    }
    assert!(count.recv_timeout(Duration::from_millis(300)).is_err());
    other.answers(std::iter::repeat_n(OK, 20));
    writer.join().expect("all was taken");
    assert_eq!(count.try_iter().count(), 15);
    assert_eq!(other.got.try_iter().count(), 20);
}

#[test]
fn nobody_there_is_told_after_a_while_and_an_abort_does_not_wait() {
    let url = format!("http://{}/", free_address());
    let mut waiting = sink(&url, &[("retry_timeout", "500 ms")]).expect("it opens");
    waiting.write(&rows(0..5)).expect("taken");
    let start = Instant::now();
    let error = waiting.finish().expect_err("nobody is there").to_string();
    assert!(
        error.contains("posting rows 1 to 5") && error.contains("in vain"),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    let mut aborted = sink(&url, &[("linger", "0")]).expect("it opens");
    aborted.write(&rows(0..5)).expect("taken");
    aborted.flush().expect("given on");
    let start = Instant::now();
    aborted.abort();
    drop(aborted);
    assert!(start.elapsed() < Duration::from_millis(500));
}

/// Ends a sink on a thread of its own, and gives how, if that does not take for ever.
fn ended(mut sink: Box<dyn Sink>) -> Result<(), String> {
    let (done, ended) = channel();
    thread::spawn(move || {
        // Nobody may wait for it any more.
        let _gone = done.send(sink.stop().map(drop).map_err(|error| error.to_string()));
    });
    ended.recv_timeout(LONG).expect("it does not wait for ever")
}

#[test]
fn the_help_follows_what_the_receiver_refused() {
    let other = Other::start();
    let token: &[(&str, &str)] = &[("authorization", "Bearer 1234")];
    for (status, options, help) in [
        ("401 Unauthorized", &[][..], "add the option authorization"),
        ("403 Forbidden", token, "see whether it is right"),
        ("404 Not Found", token, "the path of the url"),
        ("302 Found", token, "ask for its new url"),
        ("400 Bad Request", token, "change the query"),
    ] {
        let mut sink = other.sink(options);
        other.answers([&refusal(status, "no")]);
        sink.write(&rows(0..1)).expect("taken");
        let error = sink.finish().expect_err("it is refused").to_string();
        assert!(error.contains("posting row 1 to "), "{status}: {error}");
        assert!(error.contains(help), "{status}: {error}");
    }
}

#[test]
fn a_receiver_that_does_not_answer_is_left_after_a_second_and_one_that_does_is_not() {
    // Who listens here never accepts: the body waits with the system.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", silent.local_addr().expect("it has one"));
    // Neither what is on its way nor a full queue keeps who leaves.
    for queue in ["100", "2"] {
        let options = [("batch_rows", "2"), ("queue_rows", queue)];
        let mut sink = sink(&url, &options).expect("it opens");
        sink.write(&rows(0..5)).expect("taken");
        let start = Instant::now();
        let error = sink.leave().expect_err("nobody answers").to_string();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        let told = format!("5 rows were not posted to {url}: stopped while it did not answer");
        assert!(error.contains(&told), "{queue}: {error}");
    }
    // Each answer gives a second more: three bodies take longer than one second.
    let other = Other::start();
    let mut sink = other.sink(&[("batch_rows", "1"), ("linger", "0")]);
    sink.write(&rows(0..3)).expect("taken");
    let leaving = thread::spawn(move || sink.leave().map_err(|error| error.to_string()));
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(600));
        other.answers([OK]);
        other.next();
    }
    assert_eq!(leaving.join().expect("it ends"), Ok(()));
}

#[test]
fn a_stop_ends_the_wait_for_a_receiver_that_is_away() {
    let url = format!("http://{}/", free_address());
    let mut away = sink(&url, &[("retry_timeout", "0"), ("batch_rows", "5")]).expect("it opens");
    let stop = Arc::new(AtomicBool::new(false));
    away.watch(&stop);
    away.write(&rows(0..8)).expect("taken");
    stop.store(true, Relaxed);
    let error = ended(away).expect_err("nobody is there");
    assert!(error.contains("posting rows 1 to 5"), "{error}");
    assert!(error.contains("and then it was stopped"), "{error}");
    // Three more waited behind them.
    assert!(error.contains("8 rows were not posted in all"), "{error}");
}

#[test]
fn a_stop_lets_a_receiver_that_was_busy_have_the_rows() {
    let other = Other::start();
    let mut sink = other.sink(&[]);
    let stop = Arc::new(AtomicBool::new(false));
    sink.watch(&stop);
    other.answers([&refusal("503 Busy", "later"), OK]);
    sink.write(&rows(0..3)).expect("taken");
    stop.store(true, Relaxed);
    assert_eq!(ended(sink), Ok(()));
    assert_eq!(other.next().rows(), other.next().rows());
}

#[test]
fn a_receiver_that_is_busy_for_long_is_tried_when_the_time_is_over() {
    let other = Other::start();
    let mut sink = other.sink(&[("retry_timeout", "500 ms")]);
    let busy = "HTTP/1.1 429 Slow Down\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n";
    other.answers([busy, OK]);
    sink.write(&rows(0..3)).expect("taken");
    sink.finish().expect("it was tried once more");
    assert_eq!(other.next().rows(), other.next().rows());
}

#[test]
fn a_body_says_what_it_is_and_is_whole() {
    let other = Other::start();
    let post = |options: &[(&str, &str)]| {
        other.answers([OK]);
        let mut sink = other.sink(options);
        sink.write(&rows(0..2)).expect("taken");
        sink.write(&rows(2..3)).expect("taken");
        sink.finish().expect("all was taken");
        other.next()
    };
    let csv = post(&[("format", "csv"), ("compression", "gzip")]);
    assert_eq!(csv.header("content-type"), "text/csv");
    assert_eq!(csv.header("content-encoding"), "gzip");
    let mut text = String::new();
    let mut reader = flate2::read::GzDecoder::new(&csv.body[..]);
    reader.read_to_string(&mut text).expect("gzip");
    assert_eq!(text, "n\n0\n1\n2\n");
    let json = post(&[("format", "json")]);
    assert_eq!(json.header("content-type"), "application/json");
    let list: serde_json::Value = serde_json::from_slice(&json.body).expect("JSON");
    assert_eq!(
        list,
        serde_json::json!([{ "n": 0 }, { "n": 1 }, { "n": 2 }])
    );
    let arrow = post(&[("format", "arrow")]);
    assert_eq!(
        arrow.header("content-type"),
        "application/vnd.apache.arrow.stream"
    );
    let reader = arrow::ipc::reader::StreamReader::try_new(&arrow.body[..], None);
    let batches = reader
        .expect("a stream")
        .map(|batch| batch.expect("a batch").num_rows());
    assert_eq!(batches.sum::<usize>(), 3);
    // Nothing is posted where there is nothing.
    let mut sink = other.sink(&[]);
    sink.flush().expect("nothing to do");
    sink.finish().expect("nothing to do");
}

#[test]
fn a_secret_is_not_shown() {
    let session = crate::Session::new().expect("it starts");
    let script = "CREATE SINK s WITH (connector = 'http', url = 'http://127.0.0.1:1/', \
                  authorization = 'Token hidden') AS SELECT 1 AS n WHERE false; SHOW SINKS";
    let shown = session.sql(script).expect("it is planned");
    let shown = format!("{:?}", shown.collect().expect("it runs"));
    assert!(shown.contains("http://127.0.0.1:1/"), "{shown}");
    assert!(
        shown.contains("authorization = '…'") && !shown.contains("hidden"),
        "{shown}"
    );
    let url = format!("http://ada:hidden@{}/", free_address());
    let mut away = sink(&url, &[("retry_timeout", "10 ms")]).expect("it opens");
    away.write(&rows(0..1)).expect("taken");
    let error = away.finish().expect_err("nobody is there").to_string();
    assert!(error.contains("http://ada:…@127.0.0.1"), "{error}");
    let unfit = sink("ftp://ada:hidden@a/", &[]).map(drop);
    let unfit = unfit.expect_err("it is no http").to_string();
    assert!(
        !error.contains("hidden") && !unfit.contains("hidden"),
        "{error} {unfit}"
    );
}

#[test]
fn options_that_do_not_fit_say_what_to_write() {
    let error = |url: &str, options: &[(&str, &str)]| match sink(url, options) {
        Ok(_) => panic!("{url} {options:?}"),
        Err(error) => error.to_string(),
    };
    assert!(error("https://a/", &[]).contains("without encryption"));
    assert!(error("127.0.0.1:80/x", &[]).contains("http://127.0.0.1:8080/rows"));
    assert!(error("ftp://a/", &[]).contains("does not begin with http://"));
    assert!(error("http://a b/", &[]).contains("option url"));
    assert!(error("http://a/", &[("format", "table")]).contains("ndjson, json, csv"));
    assert!(error("http://a/", &[("authorization", "a\nb: c")]).contains("no header"));
    assert!(error("http://a/", &[("batch_rows", "0")]).contains("batch_rows"));
}
