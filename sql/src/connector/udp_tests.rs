//! Datagrams: whole ones, broken ones, more than there is room for.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use windrow_core::stream::Source;

use super::port::free_address;
use super::socket_testing::{open, until};

/// A source, and a socket whose datagrams it receives.
fn listening(options: &[(&str, &str)]) -> (Box<dyn Source>, UdpSocket) {
    let address = free_address();
    let source = open("udp", &address.to_string(), options);
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
    sender.connect(address).expect("it is there");
    (source, sender)
}

#[test]
fn a_datagram_holds_one_line_or_more() {
    let (mut source, sender) = listening(&[("format", "csv")]);
    assert!(source.is_live());
    for datagram in ["1,a", "2,b\n", "3,c\n4,d", "", "5,e\r\n6,f\r\n"] {
        sender.send(datagram.as_bytes()).expect("sent");
    }
    let came = until(&mut *source, |came| came.count == 6);
    assert_eq!(came.rows, ["1|a", "2|b", "3|c", "4|d", "5|e", "6|f"]);
    assert_eq!((came.rejects.len(), came.dropped), (0, 0));
}

#[test]
fn what_is_broken_is_rejected_and_harms_no_other() {
    let (mut source, sender) = listening(&[("format", "ndjson")]);
    // As the first bytes of a file they would tell of UTF-16.
    sender.send(b"\xFF\xFE").expect("sent");
    sender.send(b"{\"n\":1,").expect("sent");
    sender.send(b"{\"n\":2,\"s\":\"x\"}").expect("sent");
    // The longest datagram that there is.
    let mut long = vec![b'y'; 65_507];
    long[..11].copy_from_slice(b"{\"n\":3,\"s\":");
    sender.send(&long).expect("sent");
    sender.send(b"\xFF\x00\n{\"n\":4}").expect("sent");
    let came = until(&mut *source, |came| {
        came.count == 2 && came.rejects.len() == 4
    });
    assert_eq!(came.rows, ["2|x", "4|-"]);
}

#[test]
fn a_quote_that_is_not_closed_holds_up_no_more_than_a_datagram_may_hold() {
    let (mut source, sender) = listening(&[("format", "csv")]);
    sender.send(b"1,\"open").expect("sent");
    for number in 0..10_000 {
        sender
            .send(format!("{number},some text").as_bytes())
            .expect("sent");
        if number % 100 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let came = until(&mut *source, |came| came.count > 9_000);
    assert!(came.rejects.len() <= 1, "{:?}", came.rejects);
}

#[test]
fn what_is_sent_is_received_or_dropped() {
    // The kernel's buffer is small, and nobody takes rows for a while.
    let options = [
        ("format", "csv"),
        ("queue_bytes", "100000"),
        ("queue_rows", "1000"),
        ("receive_buffer", "20000"),
    ];
    let (mut source, sender) = listening(&options);
    let _ = source.poll(Duration::ZERO).expect("it starts");
    let sent = 100_000;
    for number in 0..sent {
        sender
            .send(format!("{number},some text that fills the buffers").as_bytes())
            .expect("sent");
    }
    thread::sleep(Duration::from_millis(300));
    let came = until(&mut *source, |came| came.count + came.dropped >= sent);
    assert_eq!(came.count + came.dropped, sent);
    assert!(
        came.dropped > 0 && came.count > 0,
        "{} dropped",
        came.dropped
    );
    // It has recovered.
    sender.send(b"7,after").expect("sent");
    let came = until(&mut *source, |came| came.count > 0);
    assert_eq!((came.rows, came.dropped), (vec!["7|after".to_owned()], 0));
}
