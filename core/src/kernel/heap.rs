//! How much freed memory a process keeps for what it allocates next.
//!
//! A batch of results is a few buffers of some hundred kilobytes, which are freed soon after
//! they were made. The allocator of glibc gives such memory back to the system at once, and
//! asks for it again with the next batch; the system fills each page with zeros first.

/// Larger blocks are always given back at once. The most that glibc allows.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK_BYTES_MIN: i32 = 32 << 20;

/// So much may lie unused at the end of a heap; of smaller heaps, which other threads than
/// the first have, at most all of their 64 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES_MAX: i32 = 256 << 20;

/// So much is asked for beyond what is needed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ASKED_BYTES: i32 = 16 << 20;

/// Lets the process keep memory that it has freed, a bounded amount, instead of giving it
/// back with every batch. For a program that is Windrow's own: it holds for the whole
/// process. It does nothing with other allocators than glibc's.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, bytes) in [
        (libc::M_MMAP_THRESHOLD, GIVEN_BACK_BYTES_MIN),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX),
        (libc::M_TOP_PAD, ASKED_BYTES),
    ] {
        // SAFETY: it sets a number of the allocator, under the allocator's own lock, and
        // takes no pointer; a number that it refuses changes nothing. It buys the rows W4
        // of the record.
        unsafe { libc::mallopt(parameter, bytes) };
    }
}
