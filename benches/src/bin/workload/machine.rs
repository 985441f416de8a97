//! What the machine gives, and what a process has taken of it.

use std::fs;
use std::hint::black_box;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

/// Far larger than any cache.
const BUFFER_BYTES: usize = 1 << 30;

const REPEATS: usize = 5;

/// Bytes read from memory in a second by so many threads that add up integers: the best
/// of some runs.
pub fn bandwidth(threads: usize) -> f64 {
    // Written, so that each page is there.
    let words: Vec<u64> = (0..(BUFFER_BYTES / 8) as u64).collect();
    let part = words.len().div_ceil(threads);
    let seconds = (0..REPEATS).map(|_| {
        let start = Instant::now();
        thread::scope(|scope| {
            for words in words.chunks(part) {
                scope.spawn(move || {
                    let sum = (black_box(words).iter()).fold(0_u64, |sum, word| sum ^ word);
                    black_box(sum)
                });
            }
        });
        start.elapsed().as_secs_f64()
    });
    BUFFER_BYTES as f64 / seconds.fold(f64::INFINITY, f64::min)
}

/// How many times as much so many threads compute in a second as one does, without touching
/// memory: less than `threads` where they share a core. Of the best of some runs.
pub fn compute_gain(threads: usize) -> f64 {
    const STEPS: u64 = 20_000_000;
    // As many chains as keep a core's units busy.
    let work = || {
        let mut chains = black_box([1_u64, 2, 3, 4, 5, 6, 7, 8]);
        for step in 0..STEPS {
            chains = chains.map(|chain| (chain ^ step).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        }
        black_box(chains);
    };
    let seconds = |threads: usize| {
        let seconds = (0..REPEATS).map(|_| {
            let start = Instant::now();
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
            start.elapsed().as_secs_f64()
        });
        seconds.fold(f64::INFINITY, f64::min)
    };
    threads as f64 * seconds(1) / seconds(threads)
}

/// How many datagrams the kernel could not keep for the socket at an address of IPv4; 0
/// where the system does not say.
pub fn datagrams_dropped(address: SocketAddr) -> i64 {
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let port = format!(":{:04X}", address.port());
    let dropped = table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let is_it = fields.nth(1)?.ends_with(&port);
        is_it.then(|| fields.next_back()?.parse().ok())?
    });
    dropped.unwrap_or(0)
}

/// Bytes of memory in use, and the most that ever were; 0 where the system does not say.
pub fn resident() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.map_or(0, |kib: u64| kib * 1024)
    };
    (field("VmRSS:"), field("VmHWM:"))
}
