//! One number from two: every random choice of a training hangs on the run's seed and a counter.

/// Counter of the stream that draws initial weights.
pub(super) const WEIGHTS: u64 = 1;
/// Counter of the stream that draws dropout masks.
pub(super) const DROPOUT: u64 = 2;
/// Counter of the stream that orders and augments images.
pub(super) const ORDER: u64 = 3;
/// Counter of the stream that draws phantoms to choose by.
pub(super) const VALIDATION: u64 = 5;
/// Counter of the stream of a strategy's own random choices.
pub(super) const STRATEGY: u64 = 4;

/// Mixes `seed` and `counter` into a new seed (the finaliser of SplitMix64, Steele et al. 2014):
/// neighbouring counters give unrelated seeds, and no state has to be saved to resume.
#[must_use]
pub fn mix(seed: u64, counter: u64) -> u64 {
    let mut z = seed ^ counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::mix;
    use std::collections::HashSet;

    #[test]
    fn neighbours_differ() {
        let all: HashSet<u64> = (0..20).flat_map(|s| (0..200).map(move |c| mix(s, c))).collect();
        assert_eq!(all.len(), 20 * 200);
    }
}
