//! Random draws of one phantom: every part of a sample has its own reproducible stream.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for. Separate streams keep the anatomy of sample `i` the
/// same whatever the output side or the camera do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Class, laterality, disc, fovea, pigment.
    Eye = 1,
    /// The vessel tree.
    Vessels = 2,
    /// Choroid, sheen and lesions.
    Tissue = 3,
    /// Camera, framing and capture faults.
    Capture = 4,
    /// Sensor noise.
    Sensor = 5,
}

/// A seeded source of draws (ChaCha with 8 rounds).
#[derive(Debug, Clone)]
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of `part` of sample `index` of the series `seed`.
    #[must_use]
    pub fn new(seed: u64, index: u64, part: Part) -> Self {
        let mixed = seed ^ (part as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut rng = ChaCha8Rng::seed_from_u64(mixed);
        rng.set_stream(index);
        Self(rng)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f32 {
        self.0.random::<f32>()
    }

    /// Uniform between `low` and `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Normal with `mean` and `deviation` (Box and Muller).
    pub fn normal(&mut self, mean: f32, deviation: f32) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).max(1e-12).ln()).sqrt();
        mean + deviation * radius * (std::f32::consts::TAU * self.unit()).cos()
    }

    /// Normal, drawn anew until it lies within `[low, high]` (clamped after 16 attempts).
    pub fn normal_within(&mut self, mean: f32, deviation: f32, low: f32, high: f32) -> f32 {
        for _ in 0..16 {
            let value = self.normal(mean, deviation);
            if (low..=high).contains(&value) {
                return value;
            }
        }
        mean.clamp(low, high)
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// -1 or +1.
    pub fn sign(&mut self) -> f32 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }

    /// An angle in radians, uniform over the circle.
    pub fn angle(&mut self) -> f32 {
        self.between(0.0, std::f32::consts::TAU)
    }

    /// An integer of `0..count` (0 where `count` is 0).
    pub fn below(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { self.0.random_range(0..count) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.random::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_distinct() {
        let take = |seed, index, part| Draw::new(seed, index, part).bits();
        assert_eq!(take(1, 2, Part::Eye), take(1, 2, Part::Eye));
        assert_ne!(take(1, 2, Part::Eye), take(1, 3, Part::Eye));
        assert_ne!(take(1, 2, Part::Eye), take(2, 2, Part::Eye));
        assert_ne!(take(1, 2, Part::Eye), take(1, 2, Part::Vessels));
    }

    #[test]
    fn normal_has_its_mean_and_deviation() {
        let mut draw = Draw::new(3, 0, Part::Eye);
        let values: Vec<f32> = (0..20_000).map(|_| draw.normal(2.0, 0.5)).collect();
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!((mean - 2.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.02, "{variance}");
    }
}
