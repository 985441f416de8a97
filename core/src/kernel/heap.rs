//! What is asked of the system that memory comes from.
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

/// Shorter vectors are not worth large pages.
#[cfg(target_os = "linux")]
const LARGE_BYTES_MIN: usize = 4 << 20;

/// Asks the system to back the room of a long vector, whose places are visited in no order,
/// with pages of 2 MiB where it can: then the processor finds the page of a place without a
/// walk through memory. Before the room is filled, that is.
pub(crate) fn in_large_pages<T>(values: &Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE_BYTES: usize = 4 << 10;
        let bytes = values.capacity() * size_of::<T>();
        if bytes < LARGE_BYTES_MIN {
            return;
        }
        let start = values.as_ptr().cast::<u8>();
        let before = start.align_offset(PAGE_BYTES);
        let pages = (bytes - before) / PAGE_BYTES * PAGE_BYTES;
        // SAFETY: the pages lie within the vector's own room, and the advice changes nothing
        // of what they hold; one that is not taken changes nothing at all. It buys W3b of
        // `benches/README.md`.
        unsafe {
            libc::madvise(
                start.wrapping_add(before).cast_mut().cast(),
                pages,
                libc::MADV_HUGEPAGE,
            )
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_vector_holds_stays() {
        let mut values: Vec<u32> = Vec::with_capacity(3 << 20);
        in_large_pages(&values);
        values.extend(0..3 << 20);
        in_large_pages(&values);
        in_large_pages(&vec![1_u8]);
        in_large_pages(&vec![(); 9]);
        in_large_pages(&Vec::<u64>::new());
        keep_freed_memory();
        assert!((0..3 << 20).eq(values));
    }
}
