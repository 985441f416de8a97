//! Room for state that grows: a long vector grows by an eighth, since of one that doubles
//! up to half stays empty.

use crate::kernel::in_large_pages;

/// Shorter ones double: longer ones are mostly moved without being copied.
const DOUBLED_BYTES_MAX: usize = 4 << 20;

/// Makes room for so many more values.
#[inline]
pub(crate) fn reserve<T>(values: &mut Vec<T>, more: usize) {
    if more > values.capacity() - values.len() {
        grow(values, more);
    }
}

#[cold]
fn grow<T>(values: &mut Vec<T>, more: usize) {
    let len = values.len();
    match len * size_of::<T>() > DOUBLED_BYTES_MAX {
        true => {
            values.reserve_exact(more.max(len / 8));
            in_large_pages(values);
        }
        false => values.reserve(more),
    }
}

/// As [`Vec::push`].
#[inline]
pub(crate) fn push<T>(values: &mut Vec<T>, value: T) {
    reserve(values, 1);
    values.push(value);
}

/// As [`Vec::resize`], to a length that is not less.
#[inline]
pub(crate) fn resize<T: Clone>(values: &mut Vec<T>, len: usize, value: T) {
    reserve(values, len.saturating_sub(values.len()));
    values.resize(len, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_vectors_keep_little_room_and_grow_seldom() {
        let (mut pushed, mut resized) = (Vec::new(), Vec::new());
        let mut moves = 0;
        for value in 0..4_000_000_u64 {
            let room = pushed.capacity();
            push(&mut pushed, value);
            moves += usize::from(pushed.capacity() != room);
            if value % 1_000 == 0 {
                resize(&mut resized, value as usize + 1, 7_u64);
            }
        }
        assert!(moves < 60, "{moves}");
        for values in [&pushed, &resized] {
            let spare = values.capacity() - values.len();
            assert!(spare <= values.len() / 8 + 1, "{spare}");
        }
        assert!((0..4_000_000).eq(pushed));
        assert!(resized.len() == 3_999_001 && resized.iter().all(|value| *value == 7));
    }
}
