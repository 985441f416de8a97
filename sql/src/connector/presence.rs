//! Whether the other machine of a connection is still there.
//!
//! One that has lost its power or its cable ends nothing: from here it looks as if it had
//! nothing to say. So the kernel asks a silent one, and breaks the connection if it does not
//! answer, however long a silence is allowed.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// After so long a silence the other machine is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// It is asked so many times, with so much time to answer each.
const QUESTIONS: u32 = 3;
const ANSWER: Duration = Duration::from_secs(10);

/// Has a machine that is silent asked whether it is there: one that is not breaks the
/// connection after [`SILENCE`] and three times [`ANSWER`].
///
/// # Errors
/// If the operating system refuses.
pub(super) fn ask_when_silent(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE)
        .with_interval(ANSWER)
        .with_retries(QUESTIONS);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Breaks the connection if the other machine acknowledges nothing of what was sent, or has
/// no room for it, for so long. Where the system cannot, its own limit holds: about 15
/// minutes.
///
/// # Errors
/// If the operating system refuses.
pub(super) fn wait_for_acknowledgement(stream: &TcpStream, most: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(most))?;
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, most);
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_vanished_machine_is_noticed_within_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let stream = TcpStream::connect(address).expect("it listens");
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().expect("a socket"));
        ask_when_silent(&stream).expect("it is allowed");
        assert!(socket.keepalive().expect("a socket"));
        let (silence, answer, questions) = (
            socket.tcp_keepalive_time().expect("a socket"),
            socket.tcp_keepalive_interval().expect("a socket"),
            socket.tcp_keepalive_retries().expect("a socket"),
        );
        assert!(silence + answer * questions < Duration::from_secs(120));
        assert!(questions > 1, "a packet may be lost");
        wait_for_acknowledgement(&stream, Duration::from_millis(1_500)).expect("it is allowed");
        let told = socket.tcp_user_timeout().expect("a socket");
        assert_eq!(told, Some(Duration::from_millis(1_500)));
    }
}
