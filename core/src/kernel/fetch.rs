//! Memory asked for ahead of its use.

/// How many rows ahead a loop asks for what its rows will need: far enough for memory, near
/// enough for the first cache.
pub const AHEAD_ROWS: usize = 16;

/// Asks for a value that will be read soon, and does not wait for it. Any place may be
/// named: of one outside of the slice nothing is read.
///
/// Values of many rows that lie far from each other are asked for in one loop and read in
/// the next: then they are waited for together, also where their use takes more
/// instructions than a processor looks ahead.
#[inline(always)]
pub fn fetch<T>(values: &[T], place: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let value = values.as_ptr().wrapping_add(place);
        // SAFETY: a hint reads nothing that a program can see and never faults, whatever
        // the address. It buys W3b and W7-q11 of `benches/README.md`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(value.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, place);
}

#[cfg(test)]
mod tests {
    use super::fetch;

    #[test]
    fn any_place_may_be_named() {
        for place in [0, 1, 2, 1 << 40, usize::MAX] {
            fetch(&[1_u64, 2], place);
        }
        fetch::<u8>(&[], 0);
    }
}
