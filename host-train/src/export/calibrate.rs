//! What values the network's maps take on real photographs, and where to cut them off.
//!
//! The folded network runs in f32 with every map as an output. Values are counted in bins that
//! follow the floating-point format itself (exponent and seven bits of mantissa): one pass, no
//! range to guess beforehand, 0.8 % wide everywhere, and histograms of different maps add up.

use super::engine::{Engine, EngineError};
use super::fold::FoldedNetwork;
use super::onnx::{self, Graph};
use super::plan::{plan, scale_groups};
use super::quantize::Levels;
use image::RgbImage;
use std::collections::BTreeMap;

/// How the largest value that a map can represent is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clipping {
    /// The largest value seen.
    Largest,
    /// The value that this share (0 to 1) of the values above zero stays below.
    Quantile(f64),
    /// The value that makes the sum of squared errors, of rounding and of clipping, smallest.
    LeastSquares,
}

impl Clipping {
    /// The ways that an export tries, to keep the one that changes the outputs least.
    pub const CANDIDATES: [Clipping; 3] =
        [Clipping::Largest, Clipping::Quantile(0.9999), Clipping::LeastSquares];
}

impl std::fmt::Display for Clipping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Clipping::Largest => write!(f, "largest value"),
            Clipping::Quantile(share) => write!(f, "{} % quantile", share * 100.0),
            Clipping::LeastSquares => write!(f, "least squares"),
        }
    }
}

/// Bits dropped of an f32 to give its bin: 16 of the 23 bits of mantissa.
const BIN_SHIFT: u32 = 16;
/// Bins of all finite numbers above zero.
const BINS: usize = (0x7f80_0000u32 >> BIN_SHIFT) as usize;

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

    fn merge(&mut self, other: &Histogram) {
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
        }
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

    /// Tries every bin's upper edge in the top four octaves. Rounding costs step^2 / 12 a value
    /// (v^2 for those that round to zero), clipping (v - limit)^2.
    fn least_squares(&self, levels: Levels) -> f32 {
        let filled: Vec<(f64, f64)> = (self.counts.iter().enumerate())
            .filter(|(_, count)| **count > 0)
            .map(|(bin, count)| (f64::from(middle(bin)), *count as f64))
            .collect();
        let top = (self.largest.to_bits() >> BIN_SHIFT) as usize;
        let bins_of_four_octaves = 4 << (23 - BIN_SHIFT);
        (top.saturating_sub(bins_of_four_octaves)..=top)
            .map(|bin| upper_edge(bin).min(self.largest))
            .map(|limit| (limit, squared_error(&filled, f64::from(limit), levels)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(self.largest, |(limit, _)| limit)
    }
}

fn squared_error(filled: &[(f64, f64)], limit: f64, levels: Levels) -> f64 {
    let step = limit / levels.steps();
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

fn upper_edge(bin: usize) -> f32 {
    f32::from_bits((bin as u32 + 1) << BIN_SHIFT)
}

fn middle(bin: usize) -> f32 {
    f32::from_bits(((bin as u32) << BIN_SHIFT) | (1 << (BIN_SHIFT - 1)))
}

/// The histograms of all maps that will be quantised.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    maps: BTreeMap<String, Histogram>,
}

impl Observed {
    /// The histogram of all of `maps` together; `None` when one of them was not seen.
    #[must_use]
    pub fn merged(&self, maps: &[&str]) -> Option<Histogram> {
        let mut merged = Histogram::default();
        for map in maps {
            merged.merge(self.maps.get(*map)?);
        }
        Some(merged)
    }
}

/// Runs `network` over `photographs` (side x side pixels, as prepared for the network) and counts
/// the values of every map.
///
/// # Errors
/// A photograph of the wrong size, or an engine that does not run the graph.
pub fn observe(
    network: &FoldedNetwork,
    side: u32,
    scale: f32,
    photographs: &[RgbImage],
) -> Result<Observed, EngineError> {
    let steps = plan(network);
    let names: Vec<String> = scale_groups(&steps).into_keys().collect();
    let graph = Graph { network, side, quantization: None, extra_outputs: &names };
    let engine = Engine::load(&onnx::encode(&graph, &[]))?;
    let mut maps: BTreeMap<String, Histogram> =
        names.iter().map(|name| (name.clone(), Histogram::default())).collect();
    for photograph in photographs {
        let (_, extra) = engine.run_with_extra(photograph, scale)?;
        for (name, values) in names.iter().zip(&extra) {
            if let Some(histogram) = maps.get_mut(name) {
                histogram.add(values);
            }
        }
    }
    Ok(Observed { maps })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::fold::fold;
    use crate::export::testing::{photograph, random_network};

    fn histogram(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(values);
        histogram
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
        let values: Vec<f32> =
            (1..200_000).map(|k| -(1.0 - k as f32 / 200_000.0).ln()).chain([25.0]).collect();
        let found = histogram(&values).limit(Clipping::LeastSquares, Levels::Half);
        let error = |limit: f32| -> f64 {
            let step = limit / 127.0;
            let rounded = |value: f32| (value.min(limit) / step).round() * step;
            values.iter().map(|&value| f64::from(value - rounded(value)).powi(2)).sum()
        };
        let best = (1..52).map(|k| k as f32 * 0.5).map(error).fold(f64::INFINITY, f64::min);
        assert!(error(found) < best * 1.05, "limit {found}: {} against {best}", error(found));
        assert!(error(found) < 0.7 * error(25.0), "the outlier is cut off");
    }

    #[test]
    fn nothing_above_zero_gives_no_limit() {
        let none = histogram(&[0.0, -1.0, f32::NAN, f32::INFINITY]);
        for clipping in Clipping::CANDIDATES {
            assert_eq!(none.limit(clipping, Levels::Half), 0.0, "{clipping}");
        }
    }

    #[test]
    fn photographs_of_another_size_are_refused() {
        let network = fold(&random_network(4, 3)).unwrap();
        let error = observe(&network, 32, 1.0, &[photograph(48, 1)]).unwrap_err();
        assert!(error.to_string().contains("48 x 48"), "{error}");
    }
}
