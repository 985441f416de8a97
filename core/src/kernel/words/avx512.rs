//! Eight strings at a time in registers of 512 bits, each of which holds four words.

use std::arch::x86_64::*;

use super::{FIND_ROWS, Further, SHORT_LEN_MAX, WORD_LEN, WordTable};

/// Strings that are looked up together.
const ROWS: usize = 8;

/// Looks up strings eight at a time as far as whole windows reach; the first row that is
/// left.
///
/// Runs only inside shims that enable AVX-512 F, BW, DQ and VL, and BMI2.
#[inline(always)]
pub(in super::super) fn find_eights(
    values: &[u8],
    offsets: &[i32],
    table: WordTable<'_>,
    ids: &mut [u32],
    further: &mut Further<'_>,
) -> usize {
    let (Some(last_window), Some(last_word)) = (
        values.len().checked_sub(WORD_LEN),
        table.words.len().checked_sub(1),
    ) else {
        return 0;
    };
    let last_window = u32::try_from(last_window).unwrap_or(u32::MAX);
    let last_word = u32::try_from(last_word).unwrap_or(u32::MAX);
    assert!(table.slots.len() == 1 << (u64::BITS - table.shift));
    assert!(offsets.len() > ids.len() && ids.len() <= FIND_ROWS);
    let eights = ids.len() / ROWS;
    for (eight, ids) in ids.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        let row = eight * ROWS;
        let starts: &[i32; ROWS] = offsets[row..].first_chunk().expect("it was asserted");
        let ends: &[i32; ROWS] = offsets[row + 1..].first_chunk().expect("it was asserted");
        // SAFETY: the shims enable the instructions. Memory is read from arrays of eight,
        // from windows whose start is at most `last_window`, from slots whose number has
        // no more bits than their power of two, and from words whose number is at most
        // `last_word`; it is written to `ids`, and to `further` where `count` is at most
        // `row`, so that eight places are left. It buys the row "keys of text to ids" of
        // `benches/benches/window.rs`.
        let missed = unsafe {
            let (start, end) = (load(starts), load(ends));
            if _mm256_cmpgt_epu32_mask(start, _mm256_set1_epi32(last_window as i32)) != 0 {
                return row;
            }
            let len = _mm256_sub_epi32(end, start);
            let is_long = _mm256_cmpgt_epu32_mask(len, _mm256_set1_epi32(SHORT_LEN_MAX as i32));
            let windows = |four: usize| {
                let at = |i: usize| values.as_ptr().add(starts[4 * four + i] as u32 as usize);
                gather([at(0).cast(), at(1).cast(), at(2).cast(), at(3).cast()])
            };
            let words = [word(windows(0), len, 0), word(windows(1), len, 4)];

            let place = place(words, table.secret, table.shift);
            let found = _mm512_i64gather_epi32::<4>(place, table.slots.as_ptr().cast());
            _mm256_storeu_si256(ids.as_mut_ptr().cast(), found);
            let last_word = _mm256_set1_epi32(last_word as i32);
            let is_unknown = _mm256_cmpgt_epu32_mask(found, last_word);
            let mut known = [0_u32; ROWS];
            let found = _mm256_min_epu32(found, last_word);
            _mm256_storeu_si256(known.as_mut_ptr().cast(), found);
            let others = |four: usize| {
                let at = |i: usize| table.words.as_ptr().add(known[4 * four + i] as usize);
                gather([at(0).cast(), at(1).cast(), at(2).cast(), at(3).cast()])
            };
            let halves = [0, 1].map(|four| _mm512_cmpneq_epi64_mask(words[four], others(four)));
            let halves = u32::from(halves[0]) | u32::from(halves[1]) << 8;
            let differs = _pext_u32(halves | halves >> 1, 0x5555) as u8;

            let missed = is_long | is_unknown | differs;
            let rows = _mm256_add_epi32(
                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                _mm256_set1_epi32(row as i32),
            );
            let listed = _mm256_maskz_compress_epi32(missed, rows);
            debug_assert!(further.count <= row);
            _mm256_storeu_si256(further.rows.as_mut_ptr().add(further.count).cast(), listed);
            missed
        };
        further.count += missed.count_ones() as usize;
    }
    eights * ROWS
}

/// # Safety
/// The instructions must be there.
#[inline(always)]
unsafe fn load(numbers: &[i32; ROWS]) -> __m256i {
    // SAFETY: eight numbers are read from an array of eight.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

/// Four times 16 bytes.
///
/// # Safety
/// The instructions and the bytes must be there.
#[inline(always)]
unsafe fn gather(places: [*const __m128i; 4]) -> __m512i {
    // SAFETY: as the caller promises.
    unsafe {
        let low = _mm256_inserti128_si256::<1>(
            _mm256_castsi128_si256(_mm_loadu_si128(places[0])),
            _mm_loadu_si128(places[1]),
        );
        let high = _mm256_inserti128_si256::<1>(
            _mm256_castsi128_si256(_mm_loadu_si128(places[2])),
            _mm_loadu_si128(places[3]),
        );
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

/// The words of four windows, whose lengths are `len[first ..]`: see
/// [`super::short_word`].
///
/// # Safety
/// The instructions must be there.
#[inline(always)]
unsafe fn word(windows: __m512i, len: __m256i, first: i32) -> __m512i {
    // SAFETY: no memory is touched.
    unsafe {
        let pairs = _mm512_setr_epi32(0, 0, 0, 0, 1, 0, 1, 0, 2, 0, 2, 0, 3, 0, 3, 0);
        let pairs = _mm512_add_epi32(pairs, _mm512_set1_epi32(first));
        let len = _mm512_maskz_permutexvar_epi32(0x5555, pairs, _mm512_zextsi256_si512(len));
        // How many bits of each half belong to it; shifts by 64 and more give 0.
        let before = _mm512_setr_epi64(0, 64, 0, 64, 0, 64, 0, 64);
        let bits = _mm512_subs_epu16(_mm512_slli_epi64::<3>(len), before);
        let one = _mm512_set1_epi64(1);
        let mask = _mm512_sub_epi64(_mm512_sllv_epi64(one, bits), one);
        let len = _mm512_maskz_slli_epi64::<56>(0b1010_1010, len);
        // (windows & mask) | len
        _mm512_ternarylogic_epi64::<0xEA>(windows, mask, len)
    }
}

/// Where to look for eight words first: see [`super::hash_word`].
///
/// # Safety
/// The instructions must be there.
#[inline(always)]
unsafe fn place(words: [__m512i; 2], secret: [u64; 3], shift: u32) -> __m512i {
    // SAFETY: no memory is touched.
    unsafe {
        let [low, high, multiplier] = secret.map(|secret| secret as i64);
        let added = _mm512_setr_epi64(low, high, low, high, low, high, low, high);
        let products = words.map(|words| {
            let sums = _mm512_add_epi32(words, added);
            _mm512_mul_epu32(sums, _mm512_srli_epi64::<32>(sums))
        });
        let halves = [0, 1].map(|half| {
            let of_half = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
            let of_half = _mm512_add_epi64(of_half, _mm512_set1_epi64(half));
            _mm512_permutex2var_epi64(products[0], of_half, products[1])
        });
        let hash = _mm512_mullo_epi64(
            _mm512_add_epi64(halves[0], halves[1]),
            _mm512_set1_epi64(multiplier),
        );
        _mm512_srlv_epi64(hash, _mm512_set1_epi64(shift.into()))
    }
}
