//! The grid of integers that a map is put on: how many levels it has, and where values are cut off.
//!
//! Values are counted in bins that follow the floating-point format itself (exponent and seven bits
//! of mantissa): one pass, no range to guess beforehand, 0.8 % wide everywhere, and histograms of
//! different maps add up.

use serde::{Deserialize, Serialize};

/// How many of the 256 integers a map uses. All maps are zero or above (they follow a ReLU).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Levels {
    /// 0 to 127, zero point 0: products of such numbers never overflow in pairs of 16 bits, so
    /// that every instruction set can compute the same sums exactly.
    #[default]
    Half,
    /// -128 to 127, zero point -128: twice as fine.
    Full,
}

impl Levels {
    /// The integer that stands for 0.
    #[must_use]
    pub fn zero_point(self) -> i8 {
        match self {
            Levels::Half => 0,
            Levels::Full => i8::MIN,
        }
    }

    /// Steps between 0 and the largest value that can be told.
    #[must_use]
    pub fn steps(self) -> f32 {
        match self {
            Levels::Half => 127.0,
            Levels::Full => 255.0,
        }
    }
}

/// `value` on the grid of steps of `scale`, of which there are `steps` above 0: what a device
/// computes on. Rounded half to even, as ONNX's QuantizeLinear; a NaN stays one.
#[must_use]
pub fn on_grid(value: f32, scale: f32, steps: f32) -> f32 {
    (value / scale).round_ties_even().clamp(0.0, steps) * scale
}

/// How the largest value that a map can represent is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clipping {
    /// The largest value seen.
    Largest,
    /// The value that this share (0 to 1) of the values above zero stays below.
    Quantile(f64),
    /// The value that makes the sum of squared errors, of rounding and of clipping, smallest.
    #[default]
    LeastSquares,
    /// The value that makes the Kullback-Leibler divergence of the rounded values' distribution from
    /// the true one smallest (Migacz, "8-bit inference with TensorRT", GTC 2017).
    Divergence,
}

impl Clipping {
    /// The ways that an export tries, map by map.
    pub const CANDIDATES: [Clipping; 4] = [
        Clipping::Largest,
        Clipping::Quantile(0.9999),
        Clipping::LeastSquares,
        Clipping::Divergence,
    ];
}

impl std::fmt::Display for Clipping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Clipping::Largest => write!(f, "largest value"),
            Clipping::Quantile(share) => write!(f, "{} % quantile", share * 100.0),
            Clipping::LeastSquares => write!(f, "least squares"),
            Clipping::Divergence => write!(f, "least divergence"),
        }
    }
}

/// Bits dropped of an f32 to give its bin: 16 of the 23 bits of mantissa.
const BIN_SHIFT: u32 = 16;
/// Bins of all finite numbers above zero.
const BINS: usize = (0x7f80_0000u32 >> BIN_SHIFT) as usize;
/// Equal bins that the divergence is taken over.
const EQUAL_BINS: usize = 2048;

/// Counts of the values of one map, zero or above.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    largest: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BINS], largest: 0.0 }
    }
}

impl Histogram {
    /// Counts `values`; those at or below zero carry no information and are left out.
    pub fn add(&mut self, values: &[f32]) {
        for &value in values.iter().filter(|value| **value > 0.0 && value.is_finite()) {
            self.counts[(value.to_bits() >> BIN_SHIFT) as usize] += 1;
            self.largest = self.largest.max(value);
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.largest = self.largest.max(other.largest);
    }

    /// The largest value to represent; 0 when no value was above zero.
    #[must_use]
    pub fn limit(&self, clipping: Clipping, levels: Levels) -> f32 {
        match clipping {
            Clipping::Largest => self.largest,
            Clipping::Quantile(share) => self.quantile(share),
            Clipping::LeastSquares => self.least_squares(levels),
            Clipping::Divergence => self.least_divergence(levels),
        }
    }

    /// The value of one step where `clipping` sets the largest; `None` where no value was above zero.
    #[must_use]
    pub fn scale(&self, clipping: Clipping, levels: Levels) -> Option<f32> {
        let scale = self.limit(clipping, levels) / levels.steps();
        scale.is_normal().then_some(scale)
    }

    fn quantile(&self, share: f64) -> f32 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut below = 0;
        for (bin, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return upper_edge(bin).min(self.largest);
            }
        }
        self.largest
    }

    /// Bins that hold something, with their counts.
    fn filled(&self) -> impl Iterator<Item = (usize, f64)> {
        let counts = self.counts.iter().enumerate();
        counts.filter(|(_, count)| **count > 0).map(|(bin, count)| (bin, *count as f64))
    }

    /// Tries every bin's upper edge in the top four octaves. Rounding costs step^2 / 12 a value
    /// (v^2 for those that round to zero), clipping (v - limit)^2.
    fn least_squares(&self, levels: Levels) -> f32 {
        let filled: Vec<(f64, f64)> =
            self.filled().map(|(bin, count)| (f64::from(middle(bin)), count)).collect();
        let top = (self.largest.to_bits() >> BIN_SHIFT) as usize;
        let bins_of_four_octaves = 4 << (23 - BIN_SHIFT);
        (top.saturating_sub(bins_of_four_octaves)..=top)
            .map(|bin| upper_edge(bin).min(self.largest))
            .map(|limit| (limit, squared_error(&filled, f64::from(limit), levels)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(self.largest, |(limit, _)| limit)
    }

    /// Tries every limit that is an edge of [`EQUAL_BINS`] bins up to the largest value and leaves as
    /// many bins as there are levels.
    fn least_divergence(&self, levels: Levels) -> f32 {
        let counts = self.equal_bins();
        let steps = levels.steps() as usize;
        let mut above: f64 = counts.iter().sum::<f64>() - counts[..steps].iter().sum::<f64>();
        let mut best = (EQUAL_BINS, f64::INFINITY);
        for bins in steps + 1..=EQUAL_BINS {
            above -= counts[bins - 1];
            let found = divergence(&counts[..bins], above.max(0.0), steps);
            if found < best.1 {
                best = (bins, found);
            }
        }
        (f64::from(self.largest) * best.0 as f64 / EQUAL_BINS as f64) as f32
    }

    /// The counts in equal bins up to the largest value, those of each own bin spread evenly.
    fn equal_bins(&self) -> Vec<f64> {
        let mut equal = vec![0.0; EQUAL_BINS];
        let largest = f64::from(self.largest).max(f64::MIN_POSITIVE);
        let place = |value: f32| (f64::from(value) / largest).min(1.0) * EQUAL_BINS as f64;
        for (bin, count) in self.filled() {
            let (low, high) = (place(lower_edge(bin)), place(upper_edge(bin)));
            let (first, last) = (low as usize, (high.ceil() as usize).min(EQUAL_BINS));
            for (at, slot) in equal.iter_mut().enumerate().take(last).skip(first) {
                let overlap = high.min(at as f64 + 1.0) - low.max(at as f64);
                *slot += count * overlap.max(0.0) / (high - low).max(f64::MIN_POSITIVE);
            }
        }
        equal
    }
}

fn squared_error(filled: &[(f64, f64)], limit: f64, levels: Levels) -> f64 {
    let step = limit / f64::from(levels.steps());
    filled
        .iter()
        .map(|&(value, count)| {
            let error = if value > limit {
                (value - limit).powi(2)
            } else if value < step / 2.0 {
                value.powi(2)
            } else {
                step.powi(2) / 12.0
            };
            error * count
        })
        .sum()
}

/// Divergence of `counts` rounded to `steps` levels from `counts` with what lies `above` them in the
/// last bin. A level's counts are spread evenly over those of its bins that hold any.
fn divergence(counts: &[f64], above: f64, steps: usize) -> f64 {
    let kept: f64 = counts.iter().sum();
    let total = kept + above;
    if kept <= 0.0 {
        return f64::INFINITY;
    }
    let edge = |level: usize| level * counts.len() / steps;
    let mut sum = 0.0;
    for level in 0..steps {
        let bins = edge(level)..edge(level + 1);
        let own = &counts[bins.clone()];
        let holding = own.iter().filter(|count| **count > 0.0).count();
        let spread = own.iter().sum::<f64>() / holding.max(1) as f64 / kept;
        for bin in bins {
            let clipped = if bin + 1 == counts.len() { above } else { 0.0 };
            let truth = (counts[bin] + clipped) / total;
            if truth > 0.0 {
                // An empty last bin that clipping fills: nearly impossible after rounding.
                let rounded = if counts[bin] > 0.0 { spread } else { 1e-12 };
                sum += truth * (truth / rounded).ln();
            }
        }
    }
    sum
}

fn lower_edge(bin: usize) -> f32 {
    f32::from_bits((bin as u32) << BIN_SHIFT)
}

fn upper_edge(bin: usize) -> f32 {
    f32::from_bits((bin as u32 + 1) << BIN_SHIFT)
}

fn middle(bin: usize) -> f32 {
    f32::from_bits(((bin as u32) << BIN_SHIFT) | (1 << (BIN_SHIFT - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(values);
        histogram
    }

    /// A decaying distribution and one value far out.
    fn with_outlier() -> Vec<f32> {
        (1..200_000).map(|k| -(1.0 - k as f32 / 200_000.0).ln()).chain([25.0]).collect()
    }

    #[test]
    fn quantile_lies_within_a_bin_of_the_exact_one() {
        let values: Vec<f32> = (1..=10_000).map(|k| (k as f32 / 10_000.0).powi(3) * 7.0).collect();
        for share in [0.5, 0.9, 0.999, 1.0] {
            let exact = values[(share * 10_000.0) as usize - 1];
            let found = histogram(&values).limit(Clipping::Quantile(share), Levels::Half);
            assert!(found >= exact && found <= exact * 1.008, "{share}: {found} for {exact}");
        }
        assert_eq!(histogram(&values).limit(Clipping::Largest, Levels::Half), 7.0);
    }

    /// Compares with rounding every value for every limit.
    #[test]
    fn least_squares_is_about_the_best_limit() {
        let values = with_outlier();
        let found = histogram(&values).limit(Clipping::LeastSquares, Levels::Half);
        let error = |limit: f32| -> f64 {
            let rounded = |value: f32| on_grid(value, limit / 127.0, 127.0);
            values.iter().map(|&value| f64::from(value - rounded(value)).powi(2)).sum()
        };
        let best = (1..52).map(|k| k as f32 * 0.5).map(error).fold(f64::INFINITY, f64::min);
        assert!(error(found) < best * 1.05, "limit {found}: {} against {best}", error(found));
        assert!(error(found) < 0.7 * error(25.0), "the outlier is cut off");
    }

    /// The divergence's own limits, by the same formula in numpy on the values themselves:
    /// tests/golden/network/divergence.py.
    #[test]
    fn least_divergence_is_that_of_the_values_themselves() {
        for (levels, expected) in [(Levels::Half, 10.83), (Levels::Full, 11.52)] {
            let found = histogram(&with_outlier()).limit(Clipping::Divergence, levels);
            assert!((found / expected - 1.0).abs() < 0.1, "{levels:?}: {found} for {expected}");
        }
        // All values alike: nothing to cut off.
        let found = histogram(&[3.0; 100]).limit(Clipping::Divergence, Levels::Half);
        assert!((found - 3.0).abs() < 0.03, "{found}");
    }

    #[test]
    fn nothing_above_zero_gives_no_limit() {
        let none = histogram(&[0.0, -1.0, f32::NAN, f32::INFINITY]);
        for clipping in Clipping::CANDIDATES {
            assert_eq!(none.limit(clipping, Levels::Half), 0.0, "{clipping}");
            assert_eq!(none.scale(clipping, Levels::Half), None, "{clipping}");
        }
    }

    #[test]
    fn the_grid_rounds_half_to_even_and_saturates() {
        for (value, expected) in
            [(-1.0, 0.0), (0.25, 0.0), (0.75, 1.0), (0.8, 1.0), (70.0, 63.5), (1.0, 1.0)]
        {
            assert_eq!(on_grid(value, 0.5, 127.0), expected, "{value}");
        }
        assert!(on_grid(f32::NAN, 0.5, 127.0).is_nan());
    }
}
