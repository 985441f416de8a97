//! Random numbers by their place in a sequence.
//!
//! The n-th number of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) is a mix of
//! `seed + n · γ`, so that any number can be had without those before it.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A sequence of random numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence(u64);

impl Sequence {
    /// The sequence of a seed for one purpose.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(
            mix(seed.wrapping_add(GAMMA)) ^ purpose.wrapping_mul(GAMMA)
        ))
    }

    /// The sequence's part for one sensor.
    pub(super) fn of(self, sensor: u64) -> Self {
        Self(mix(self.0 ^ sensor.wrapping_mul(GAMMA)))
    }

    /// The number at a place: 64 random bits.
    #[inline]
    pub(super) fn at(self, place: u64) -> u64 {
        mix(self.0.wrapping_add(place.wrapping_mul(GAMMA)))
    }
}

#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The number in `[0, n)` that random bits choose; `n > 0`.
#[inline]
pub(super) fn below(bits: u64, n: u64) -> u64 {
    ((u128::from(bits) * u128::from(n)) >> 64) as u64
}

/// The number in `[-1, 1)` that the lowest 32 of random bits choose.
#[inline]
pub(super) fn signed_unit(bits: u64) -> f64 {
    f64::from(bits as u32 as i32) * (1.0 / 2_147_483_648.0)
}

/// What happens to a share of all places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance {
    sequence: Sequence,
    /// Of 63 random bits those below this: `share · 2⁶³`.
    below: u64,
}

impl Chance {
    pub(super) fn new(seed: u64, purpose: u64, share: f64) -> Self {
        Self {
            sequence: Sequence::new(seed, purpose),
            below: (share * 9_223_372_036_854_775_808.0) as u64,
        }
    }

    /// Whether it never happens.
    #[inline]
    pub(super) fn is_never(self) -> bool {
        self.below == 0
    }

    /// Whether it happens at a place.
    #[inline]
    pub(super) fn hits(self, place: u64) -> bool {
        self.below != 0 && self.sequence.at(place) >> 1 < self.below
    }
}

/// Readings of a sensor in which an episode, if there is one, begins and ends.
const CYCLE: u64 = 120;

/// A share of the sensors is beset for a while: in each cycle of 120 readings of
/// theirs, for 10 to 30 of them. Other cycles beset other sensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Episodes(Chance);

impl Episodes {
    pub(super) fn new(seed: u64, purpose: u64, share: f64) -> Self {
        Self(Chance::new(seed, purpose, share))
    }

    /// Whether there are none.
    pub(super) fn is_never(self) -> bool {
        self.0.is_never()
    }

    /// The first reading of the episode that a sensor's reading `round` lies in.
    #[inline]
    pub(super) fn start(self, sensor: u64, round: u64) -> Option<u64> {
        if self.0.is_never() {
            return None;
        }
        let (cycle, within) = (round / CYCLE, round % CYCLE);
        let bits = self.0.sequence.of(sensor).at(cycle);
        if bits >> 1 >= self.0.below {
            return None;
        }
        let bits = mix(bits);
        let length = 10 + below(bits, 21);
        let start = below(mix(bits), CYCLE - length + 1);
        (start..start + length)
            .contains(&within)
            .then_some(cycle * CYCLE + start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_published_for_splitmix64() {
        // The first outputs of the reference implementation for seed 0.
        let sequence = Sequence(0);
        assert_eq!(sequence.at(1), 0xE220_A839_7B1D_CDAF);
        assert_eq!(sequence.at(2), 0x6E78_9E6A_A1B9_65F4);
        assert_eq!(sequence.at(3), 0x06C4_5D18_8009_454F);
    }

    #[test]
    fn ranges_are_kept_at_their_ends() {
        assert_eq!((below(0, 7), below(u64::MAX, 7)), (0, 6));
        assert_eq!(signed_unit(1 << 31), -1.0);
        assert!(signed_unit(u64::from(u32::MAX >> 1)) < 1.0);
        let (never, always) = (Chance::new(1, 2, 0.0), Chance::new(1, 2, 1.0));
        assert!((0..1_000).all(|place| always.hits(place) && !never.hits(place)));
    }

    #[test]
    fn an_episode_lies_within_its_cycle() {
        let episodes = Episodes::new(7, 1, 1.0);
        for sensor in 0..50 {
            for cycle in 0..4 {
                let rounds = cycle * CYCLE..(cycle + 1) * CYCLE;
                let beset: Vec<_> = (rounds.clone())
                    .filter_map(|round| episodes.start(sensor, round))
                    .collect();
                assert!((10..=30).contains(&beset.len()));
                assert!(
                    beset
                        .iter()
                        .all(|start| *start == beset[0] && rounds.contains(start))
                );
            }
        }
    }
}
