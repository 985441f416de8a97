//! What will be needed soon, on its way from memory.

/// How many rows ahead a loop asks for what its rows will need: far enough for memory, near
/// enough for the first cache.
pub const AHEAD_ROWS: usize = 16;

/// Asks for the first bytes of an item, if there is one at this place.
#[inline]
pub fn fetch<T>(items: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(item) = items.get(at) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing and cannot fault; SSE is in the baseline.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = items.get(at);
}
