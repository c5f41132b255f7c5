//! Bias correction: the mean error that quantisation brings to each output channel, taken out of the
//! channel's bias (Nagel et al. 2019, "Data-free quantization through weight equalization and bias
//! correction", section 4.2, with means that are measured).
//!
//! A convolution is linear, so its mean output follows from the means of its input, taken channel by
//! channel and tap by tap over the pixels that the tap meets (padding counts as 0). With m the means
//! of a map in f32, q those of the same map on its grid, w and v the weights before and after
//! rounding, the mean error of a channel is `sum v q - sum w m`. Only a layer's own error is
//! corrected: what earlier layers do to its input is theirs to correct.

use super::calibrate::each_map;
use super::engine::EngineError;
use super::fold::{Conv, FoldedNetwork};
use super::plan::{Step, plan};
use super::quantize::{Quantization, QuantizedConv};
use crate::network::grid::on_grid;
use image::RgbImage;
use std::collections::BTreeMap;

/// `quantization` with its biases corrected by what is measured on `photographs` (side x side).
///
/// # Errors
/// A photograph of the wrong size, or an engine that does not run the graph.
pub fn correct(
    network: &FoldedNetwork,
    quantization: &Quantization,
    side: u32,
    scale: f32,
    photographs: &[&RgbImage],
) -> Result<Quantization, EngineError> {
    let steps = plan(network);
    let readers: BTreeMap<&str, &Conv> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Conv { input, conv } => Some((input.as_str(), *conv)),
            _ => None,
        })
        .filter(|(_, conv)| quantization.convs.contains_key(&conv.name))
        .collect();
    let mut means: BTreeMap<&str, Means> = BTreeMap::new();
    each_map(network, side, scale, photographs, |map, values| {
        let (Some((name, conv)), Some(scale)) =
            (readers.get_key_value(map), quantization.map_scale.get(map))
        else {
            return;
        };
        let grid = (*scale, quantization.levels.steps());
        means.entry(name).or_insert_with(|| Means::new(conv)).include(values, grid);
    })?;
    let mut corrected = quantization.clone();
    for (map, means) in means {
        let conv = readers[map];
        if let Some(integers) = corrected.convs.get_mut(&conv.name) {
            means.correct(conv, integers);
        }
    }
    Ok(corrected)
}

/// Sums of a map's values, and of those on its grid, for each channel and tap of its reader.
struct Means {
    channels: usize,
    kernel: usize,
    pixels: f64,
    exact: Vec<f64>,
    rounded: Vec<f64>,
}

impl Means {
    fn new(conv: &Conv) -> Self {
        let sums = vec![0.0; conv.weights_per_output()];
        let (channels, kernel) = (conv.inputs, conv.kernel);
        Self { channels, kernel, pixels: 0.0, exact: sums.clone(), rounded: sums }
    }

    /// Adds a map (channels, rows, rows) in steps of `scale`, `steps` of them.
    fn include(&mut self, values: &[f32], (scale, steps): (f32, f32)) {
        let plane = values.len() / self.channels;
        let taps = self.kernel * self.kernel;
        self.pixels += plane as f64;
        for (channel, values) in values.chunks_exact(plane).enumerate() {
            let own = channel * taps..(channel + 1) * taps;
            add_taps(values, self.kernel, &mut self.exact[own.clone()]);
            let rounded: Vec<f32> =
                values.iter().map(|value| on_grid(*value, scale, steps)).collect();
            add_taps(&rounded, self.kernel, &mut self.rounded[own]);
        }
    }

    fn correct(&self, conv: &Conv, integers: &mut QuantizedConv) {
        let per_output = conv.weights_per_output();
        let rows =
            conv.weight.chunks_exact(per_output).zip(integers.weight.chunks_exact(per_output));
        for (output, (exact, rounded)) in rows.enumerate() {
            let weight_scale = f64::from(integers.weight_scale[output]);
            let error: f64 = (0..per_output)
                .map(|at| {
                    let rounded = f64::from(rounded[at]) * weight_scale * self.rounded[at];
                    rounded - f64::from(exact[at]) * self.exact[at]
                })
                .sum();
            let wanted = f64::from(conv.bias[output]) - error / self.pixels.max(1.0);
            let steps = (wanted / f64::from(integers.bias_scale[output])).round_ties_even();
            // As when the bias was rounded first: the sums of products still fit above it.
            let largest = f64::from(i32::MAX / 4);
            integers.bias[output] = steps.clamp(-largest, largest) as i32;
        }
    }
}

/// Adds to `sums` (kernel x kernel) what each tap of a padded kernel meets of a square plane.
fn add_taps(plane: &[f32], kernel: usize, sums: &mut [f64]) {
    let side = plane.len().isqrt();
    let pad = kernel / 2;
    // The tap at offset `at` meets these rows (or columns) as the kernel's middle goes over all.
    let met = |at: usize| at.saturating_sub(pad)..side - pad.saturating_sub(at).min(side);
    for (tap, sum) in sums.iter_mut().enumerate() {
        let (rows, columns) = (met(tap / kernel), met(tap % kernel));
        for row in plane.chunks_exact(side).take(rows.end).skip(rows.start) {
            *sum += row[columns.clone()].iter().map(|value| f64::from(*value)).sum::<f64>();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::quantize::quantize_conv;

    /// 3 x 3 pixels by hand: the first tap looks up and left, and never meets the last row and column.
    #[test]
    fn taps_meet_what_a_padded_kernel_meets() {
        let plane: Vec<f32> = (1..=9).map(|value| value as f32).collect();
        let mut sums = [0.0; 9];
        add_taps(&plane, 3, &mut sums);
        assert_eq!(sums, [12.0, 21.0, 16.0, 27.0, 45.0, 33.0, 24.0, 39.0, 28.0]);
        let mut whole = [0.0];
        add_taps(&plane, 1, &mut whole);
        assert_eq!(whole, [45.0]);
    }

    /// The mean of the outputs, computed pixel by pixel, is that of f32 again.
    #[test]
    fn the_mean_of_every_channel_is_restored() {
        let weight: Vec<f32> =
            (0..2 * 3 * 9).map(|k| ((k * 37 % 101) as f32 - 50.0) / 90.0).collect();
        let conv = Conv {
            name: "conv".into(),
            inputs: 3,
            outputs: 2,
            kernel: 3,
            weight,
            bias: vec![0.3, -0.2],
        };
        let side = 7;
        let map: Vec<f32> = (0..3 * side * side).map(|k| (k * 53 % 97) as f32 / 40.0).collect();
        // Coarse, and cut off at 1.6: both errors have a mean.
        let (scale, steps) = (0.4, 4.0);
        let mut integers = quantize_conv(&conv, scale);
        let rounded: Vec<f32> = map.iter().map(|value| on_grid(*value, scale, steps)).collect();
        let mean = |map: &[f32], weight: &dyn Fn(usize) -> f64, bias: f64, output: usize| {
            let at = |c: usize, y: isize, x: isize| {
                let inside = (0..side as isize).contains(&y) && (0..side as isize).contains(&x);
                if inside {
                    f64::from(map[(c * side + y as usize) * side + x as usize])
                } else {
                    0.0
                }
            };
            let mut sum = 0.0;
            for pixel in 0..side * side {
                let (y, x) = ((pixel / side) as isize, (pixel % side) as isize);
                for tap in 0..27 {
                    let (c, dy, dx) = (tap / 9, tap as isize % 9 / 3 - 1, tap as isize % 3 - 1);
                    sum += weight(output * 27 + tap) * at(c, y + dy, x + dx);
                }
            }
            sum / (side * side) as f64 + bias
        };
        let exact = |output: usize| {
            mean(&map, &|at| f64::from(conv.weight[at]), f64::from(conv.bias[output]), output)
        };
        let written = |integers: &QuantizedConv, output: usize| {
            let weight = |at: usize| {
                f64::from(integers.weight[at]) * f64::from(integers.weight_scale[at / 27])
            };
            let bias = f64::from(integers.bias[output]) * f64::from(integers.bias_scale[output]);
            mean(&rounded, &weight, bias, output)
        };
        let before: Vec<f64> = (0..2).map(|o| (written(&integers, o) - exact(o)).abs()).collect();
        let mut means = Means::new(&conv);
        means.include(&map, (scale, steps));
        means.correct(&conv, &mut integers);
        for (output, before) in before.iter().enumerate() {
            let left = (written(&integers, output) - exact(output)).abs();
            assert!(left <= f64::from(integers.bias_scale[output]), "{output}: {left}");
            assert!(left < before / 5.0, "{output}: {before} before, {left} left");
        }
    }
}
