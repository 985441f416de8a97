//! The level of the processor, found once, and each kernel at each level.

use std::env;
use std::fmt;
use std::sync::OnceLock;

use super::bits::Bits;
use super::lanes::Portable;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::ranked::{Around, Ranked};
use super::record::{LaneRecord, Record};
use super::reference::{Frame, Summary};
use super::tree::Tree;
use super::words::{FIND_ROWS, WordTable};
use super::{grouped, ranked, reduce, sliding, strings, tree};
use crate::error::{Error, Result};

/// The environment variable that forces a level.
pub const LEVEL_VARIABLE: &str = "WINDROW_SIMD";

/// Which vector instructions kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Those that every processor of the target has.
    Baseline,
    /// 256 bits: AVX2, BMI1 and BMI2.
    Avx2,
    /// 512 bits: those of [`Level::Avx2`] and AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Level {
    /// All levels, the widest last.
    pub const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Avx512];

    /// The word for it in [`LEVEL_VARIABLE`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this processor has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The level that kernels run at: the widest there is, or the one that is forced.
///
/// # Errors
/// If [`LEVEL_VARIABLE`] names no level, or one that the processor lacks.
pub fn level() -> Result<Level> {
    match chosen() {
        Ok(kernels) => Ok(kernels.level),
        Err(message) => Err(Error::invalid(message)),
    }
}

/// What the environment and the processor say when they are first asked.
fn chosen() -> &'static Result<Kernels, String> {
    // A fact of the machine and of the process, not state of an engine: two engines in
    // one process share it as they share the processor.
    static CHOSEN: OnceLock<Result<Kernels, String>> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let forced = env::var_os(LEVEL_VARIABLE);
        choose(
            forced
                .map(|word| word.to_string_lossy().into_owned())
                .as_deref(),
        )
    })
}

/// The kernels of the level that is forced, or of the widest.
fn choose(forced: Option<&str>) -> Result<Kernels, String> {
    let available = Kernels::available();
    let Some(word) = forced else {
        return Ok(available[available.len() - 1]);
    };
    let names = |levels: &[Level]| levels.iter().map(|level| level.name()).collect::<Vec<_>>();
    let Some(level) = Level::ALL.into_iter().find(|level| level.name() == word) else {
        return Err(format!(
            "{LEVEL_VARIABLE} is '{word}'; it can be {}",
            names(&Level::ALL).join(", ")
        ));
    };
    (available.iter().copied())
        .find(|kernels| kernels.level == level)
        .ok_or_else(|| {
            let levels: Vec<_> = available.iter().map(|kernels| kernels.level).collect();
            format!(
                "{LEVEL_VARIABLE} is '{word}', which this processor lacks; it has {}",
                names(&levels).join(", ")
            )
        })
}

/// All kernels at one level, which the processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernels {
    // Private: that the processor has it makes the shims safe to call.
    level: Level,
}

impl Kernels {
    /// The kernels of a level.
    ///
    /// # Errors
    /// If the processor lacks it.
    pub fn at(level: Level) -> Result<Self> {
        match level.is_available() {
            true => Ok(Self { level }),
            false => Err(Error::invalid(format!("this processor has no {level}"))),
        }
    }

    /// The kernels of every level that the processor has, the widest last.
    pub fn available() -> Vec<Self> {
        (Level::ALL.into_iter().filter(|level| level.is_available()))
            .map(|level| Self { level })
            .collect()
    }

    /// Their level.
    pub fn level(self) -> Level {
        self.level
    }

    /// Those of [`level`]. Engines do not start where it is an error.
    fn active() -> Self {
        let baseline = Self {
            level: Level::Baseline,
        };
        chosen().as_ref().map_or(baseline, |kernels| *kernels)
    }
}

/// For each kernel a method that runs its body at a level, and a function that runs it
/// at the level of the process.
macro_rules! kernels {
    ($(
        $(#[$doc:meta])*
        $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)? = $room:ident;
    )*) => {
        impl Kernels {$(
            #[doc = concat!("As [`", stringify!($name), "`], at this level.")]
            pub fn $name(self, $($argument: $kind),*) $(-> $result)? {
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2")]
                fn avx512($($argument: $kind),*) $(-> $result)? {
                    $room::$name::<Avx512>($($argument),*)
                }
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx2,bmi1,bmi2")]
                fn avx2($($argument: $kind),*) $(-> $result)? {
                    $room::$name::<Avx2>($($argument),*)
                }
                match self.level {
                    // SAFETY: `Kernels` of a level exist only where the processor has it.
                    // It buys the rows "avx512" of `benches/benches/kernel`.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => unsafe { avx2($($argument),*) },
                    _ => $room::$name::<Portable>($($argument),*),
                }
            }
        )*}

        $(
            $(#[$doc])*
            pub fn $name($($argument: $kind),*) $(-> $result)? {
                Kernels::active().$name($($argument),*)
            }
        )*
    };
}

kernels! {
    /// The least and the greatest; of none, nothing.
    min_max_i64(values: &[i64]) -> Option<(i64, i64)> = reduce;

    /// The sum of the valid values; of none, nothing.
    ///
    /// - `validity`: a bit for each row; `None` = all valid.
    ///
    /// Added in the order of [`super::reference`]: the same bits at every level.
    /// # Panics
    /// If lengths disagree: a caller's bug, not bad data.
    sum_f64(values: &[f64], validity: Option<Bits<'_>>) -> Option<f64> = reduce;

    /// The least of the valid values, NaN only if all are; of none, nothing.
    ///
    /// - `validity`: a bit for each row; `None` = all valid.
    ///
    /// # Panics
    /// If lengths disagree.
    min_f64(values: &[f64], validity: Option<Bits<'_>>) -> Option<f64> = reduce;

    /// The greatest of the valid values, NaN if one is; of none, nothing.
    ///
    /// - `validity`: a bit for each row; `None` = all valid.
    ///
    /// # Panics
    /// If lengths disagree.
    max_f64(values: &[f64], validity: Option<Bits<'_>>) -> Option<f64> = reduce;

    /// Count, sum, least and greatest of the valid values in one pass; of none, nothing.
    ///
    /// - `validity`: a bit for each row; `None` = all valid.
    ///
    /// Added in the order of [`super::reference`]: the same bits at every level.
    /// # Panics
    /// If lengths disagree.
    summarize_f64(values: &[f64], validity: Option<Bits<'_>>) -> Option<Summary> = reduce;

    /// Adds rows to the records of their slots, in row order.
    ///
    /// - `slots`, `values`: `[rows]`.
    ///
    /// # Panics
    /// If lengths disagree, or a slot has no record.
    add_rows(records: &mut [Record], slots: &[u32], values: &[f64]) = grouped;

    /// As [`add_rows`], of floats of 32 bits; sums have 64.
    ///
    /// # Panics
    /// As there.
    add_rows_f32(records: &mut [Record<i32>], slots: &[u32], values: &[f32]) = grouped;

    /// Adds rows to one record, in row order.
    add_run(record: &mut LaneRecord, values: &[f64]) = grouped;

    /// The ids of strings in a table, for up to [`FIND_ROWS`] rows; how many are listed in
    /// `further`: those whose string is not the one in the first slot for its hash, or is
    /// longer than [`super::SHORT_LEN_MAX`], or so near to the end of the buffer that it
    /// cannot be told. Their ids mean nothing.
    ///
    /// - `values`: the bytes; `offsets`: `[rows + 1]`, where each begins and the last ends.
    /// - `ids`: `[rows]`.
    ///
    /// # Panics
    /// If lengths disagree, or there are more rows.
    find_short(
        values: &[u8],
        offsets: &[i32],
        table: WordTable<'_>,
        ids: &mut [u32],
        further: &mut [u32; FIND_ROWS]
    ) -> usize = strings;

    /// As [`find_short`], with offsets of 64 bits.
    ///
    /// # Panics
    /// As there.
    find_short_large(
        values: &[u8],
        offsets: &[i64],
        table: WordTable<'_>,
        ids: &mut [u32],
        further: &mut [u32; FIND_ROWS]
    ) -> usize = strings;

    /// For each row, the sum of it and the `width - 1` rows before it.
    ///
    /// - `values`, `out`: `[rows]`, any unit; the first frames hold the rows there are.
    ///
    /// Added in the order of [`super::reference`]: the same bits at every level.
    /// # Panics
    /// If lengths disagree, or `width` is 0.
    rows_sum_f64(values: &[f64], width: usize, out: &mut [f64]) = sliding;

    /// For each row, the least of it and the `width - 1` rows before it.
    ///
    /// - `values`, `out`: `[rows]`, any unit; the first frames hold the rows there are.
    ///
    /// # Panics
    /// If lengths disagree, or `width` is 0.
    rows_min_f64(values: &[f64], width: usize, out: &mut [f64]) = sliding;

    /// The greatest, as [`rows_min_f64`].
    rows_max_f64(values: &[f64], width: usize, out: &mut [f64]) = sliding;

    /// As [`rows_sum_f64`]; sums wrap.
    rows_sum_i64(values: &[i64], width: usize, out: &mut [i64]) = sliding;

    /// As [`rows_min_f64`].
    rows_min_i64(values: &[i64], width: usize, out: &mut [i64]) = sliding;

    /// As [`rows_max_f64`].
    rows_max_i64(values: &[i64], width: usize, out: &mut [i64]) = sliding;

    /// The sum of each frame, and the split at the end.
    ///
    /// - `values`: `[rows]`, any unit; all rows of all frames.
    /// - `frames`, `out`: `[frames]`; starts and ends never fall, each holds a row.
    /// - `split`: 0 at first. Whoever gets frames in pieces gives what the piece before
    ///   gave, as a row of these values.
    ///
    /// Added in the order of [`super::reference`]: the same bits at every level.
    /// # Panics
    /// If lengths disagree, or a frame names a row that is not there.
    range_sum_f64(values: &[f64], frames: &[Frame], split: usize, out: &mut [f64]) -> usize
        = sliding;

    /// The least of each frame.
    ///
    /// - `values`: `[rows]`, any unit; all rows of all frames.
    /// - `frames`, `out`: `[frames]`; starts and ends never fall, each holds a row.
    ///
    /// # Panics
    /// If lengths disagree, or a frame names a row that is not there.
    range_min_f64(values: &[f64], frames: &[Frame], out: &mut [f64]) = sliding;

    /// The greatest of each frame, as [`range_min_f64`].
    range_max_f64(values: &[f64], frames: &[Frame], out: &mut [f64]) = sliding;

    /// The sum of each frame, as [`range_min_f64`]; sums wrap.
    range_sum_i64(values: &[i64], frames: &[Frame], out: &mut [i64]) = sliding;

    /// The least of each frame, as [`range_min_f64`].
    range_min_i64(values: &[i64], frames: &[Frame], out: &mut [i64]) = sliding;

    /// The greatest of each frame, as [`range_min_f64`].
    range_max_i64(values: &[i64], frames: &[Frame], out: &mut [i64]) = sliding;

    /// Adds what whole blocks of a tree come to; those up to that of row `start` are whole
    /// in no frame to come.
    tree_grow(grown: &mut Tree, start: u64) = tree;

    /// The sum of the frames that end with the rows from `first` on; 0.0 of none.
    ///
    /// - `lengths`, `out`: `[rows]`; a frame holds so many rows, at least its own, and
    ///   begins nowhere before that of the row before.
    ///
    /// Added in the order of [`super::reference`]: the same bits at every level.
    /// # Panics
    /// If lengths disagree, or the tree does not hold all rows of the frames.
    tree_sums(over: &Tree, first: u64, lengths: &[u32], out: &mut [f64]) = tree;

    /// The least, as [`tree_sums`]; of no value, anything.
    tree_mins(over: &Tree, first: u64, lengths: &[u32], out: &mut [f64]) = tree;

    /// The greatest, as [`tree_mins`].
    tree_maxs(over: &Tree, first: u64, lengths: &[u32], out: &mut [f64]) = tree;

    /// Moves a frame over the rows that are to come, for each of which it gives the values
    /// around a rank: at `fraction` of the way from the least to the greatest.
    ///
    /// - `lengths`, `out`: `[rows]`; a frame holds so many rows, at least its own, and
    ///   begins nowhere before that of the row before.
    /// - `fraction`: from 0 to 1.
    ///
    /// # Panics
    /// If lengths disagree, or there are not so many rows.
    rank_frames(over: &mut Ranked, lengths: &[u32], fraction: f64, out: &mut [Around]) = ranked;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_forced_by_its_name() {
        let widest = Kernels::available()[Kernels::available().len() - 1];
        assert_eq!(choose(None), Ok(widest));
        for kernels in Kernels::available() {
            assert_eq!(choose(Some(kernels.level().name())), Ok(kernels));
            assert_eq!(Kernels::at(kernels.level()).expect("it is there"), kernels);
        }
        for level in Level::ALL.into_iter().filter(|level| !level.is_available()) {
            let message = choose(Some(level.name())).expect_err("it is not there");
            assert!(message.starts_with("WINDROW_SIMD"), "{message}");
            assert!(message.contains("lacks; it has baseline"), "{message}");
        }
    }

    #[test]
    fn an_unknown_level_is_refused_with_those_that_are() {
        for word in ["", "AVX2", "sse9"] {
            assert_eq!(
                choose(Some(word)).expect_err("no level"),
                format!("WINDROW_SIMD is '{word}'; it can be baseline, avx2, avx512")
            );
        }
    }
}
