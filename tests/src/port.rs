//! Ports that stay free until a test listens on them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range from which systems take ports of connections: one that was asked for as
/// port 0 and let go may be given to a connection of the next test.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// An address of this machine on which nobody listens, neither over TCP nor UDP. No other
/// call in this process gives it, and other processes begin elsewhere.
///
/// # Panics
/// If all ports are taken.
pub fn free_address() -> SocketAddr {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(211);
    for _ in 0..COUNT {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(call) % COUNT;
        let port = u16::try_from(port).expect("it is below 65,536");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}
