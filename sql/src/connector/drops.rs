//! What the kernel has dropped of a UDP socket's datagrams.
//!
//! The kernel counts them for each socket and shows the count in `/proc/net/udp`, also when
//! no datagram follows that could tell of them. Where there is no such file nothing is
//! counted.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// The drops of one socket.
#[derive(Debug)]
pub(super) struct KernelDrops {
    file: &'static str,
    /// The socket as the file names it.
    local: String,
    told: u64,
}

impl KernelDrops {
    /// Those of the socket with a local address, which no other has, from its first on.
    pub(super) fn of(address: SocketAddr) -> Self {
        Self {
            file: match address.is_ipv4() {
                true => "/proc/net/udp",
                false => "/proc/net/udp6",
            },
            local: kernel_name(address),
            told: 0,
        }
    }

    /// How many datagrams were dropped since it was last asked, or since the socket was
    /// opened.
    pub(super) fn since(&mut self) -> u64 {
        let Ok(table) = fs::read_to_string(self.file) else {
            return 0;
        };
        let dropped = (table.lines()).find_map(|line| drops_of(line, &self.local));
        let dropped = dropped.unwrap_or(self.told);
        // The kernel's counter has 32 bits.
        let since = (dropped as u32).wrapping_sub(self.told as u32);
        self.told = dropped;
        since.into()
    }
}

/// An address as the kernel's tables have it.
pub(super) fn kernel_name(address: SocketAddr) -> String {
    // Words of 32 bits, each as this machine would print it.
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let ip = match address.ip() {
        IpAddr::V4(ip) => word(ip.octets()),
        IpAddr::V6(ip) => {
            let words = ip.octets();
            let words = words.as_chunks::<4>().0.iter().map(|bytes| word(*bytes));
            words.collect()
        }
    };
    format!("{ip}:{:04X}", address.port())
}

/// The last field of the socket's line.
fn drops_of(line: &str, local: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let is_it = fields.nth(1) == Some(local);
    is_it.then(|| fields.next_back())??.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = " 1023: 0100007F:1B58 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 91877 2 0000000000000000 42";
        assert_eq!(drops_of(line, "0100007F:1B58"), Some(42));
        assert_eq!(drops_of(line, "0100007F:1B59"), None);
        assert_eq!(
            drops_of("  sl  local_address rem_address   st", "local"),
            None
        );
    }

    #[test]
    fn what_a_full_buffer_cannot_hold_is_counted() {
        if !cfg!(target_os = "linux") {
            eprintln!("skipped: the kernel's count is read on Linux only");
            return;
        }
        for host in ["127.0.0.1", "::1"] {
            let Ok(socket) = UdpSocket::bind((host, 0)) else {
                eprintln!("skipped: no address {host}");
                continue;
            };
            let address = socket.local_addr().expect("it is bound");
            let mut drops = KernelDrops::of(address);
            let sender = UdpSocket::bind((host, 0)).expect("bound");
            let sent = 2_000;
            for _ in 0..sent {
                sender.send_to(&[b'x'; 1_000], address).expect("sent");
            }
            let dropped = drops.since();
            socket.set_nonblocking(true).expect("a socket");
            let received = std::iter::from_fn(|| socket.recv(&mut [0; 1_000]).ok()).count();
            assert!(dropped > 0, "2 MB do not fit into the buffer");
            assert_eq!(received as u64 + dropped, sent);
            assert_eq!(drops.since(), 0);
        }
    }
}
