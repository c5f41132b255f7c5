//! How far two runs of a network over the same photographs lie apart.

use glaucoma_common::manifest::Decoding;
use glaucoma_common::mask::Mask;
use glaucoma_common::metrics::{dice, distance};
use glaucoma_common::preprocess::NetworkPoint;
use glaucoma_common::reading::{NetworkOutput, center_of_mass, vcdr_of};
use std::collections::BTreeMap;

/// Named numbers, photograph by photograph.
#[derive(Clone, Debug, Default)]
struct Series(BTreeMap<String, Vec<f64>>);

impl Series {
    fn push(&mut self, name: String, value: f64) {
        self.0.entry(name).or_default().push(value);
    }
}

/// Collects the differences between two runs, `trainer` and `file`.
#[derive(Clone, Debug)]
pub struct Agreement {
    decoding: Decoding,
    photographs: u64,
    series: Series,
}

impl Agreement {
    /// Nothing compared yet. Masks and fovea are decoded as the model's manifest says.
    #[must_use]
    pub fn new(decoding: Decoding) -> Self {
        Self { decoding, photographs: 0, series: Series::default() }
    }

    /// Photographs compared so far.
    #[must_use]
    pub fn photographs(&self) -> u64 {
        self.photographs
    }

    /// Compares the class alone, for a view of the disc.
    pub fn add_class(&mut self, trainer: &NetworkOutput, file: &NetworkOutput) {
        self.photographs += 1;
        let glaucoma = f64::from((trainer.glaucoma - file.glaucoma).abs());
        self.series.push("glaucoma.max".into(), glaucoma);
        self.series.push("glaucoma.mean".into(), glaucoma);
    }

    /// Compares the outputs for one photograph.
    pub fn add(&mut self, trainer: &NetworkOutput, file: &NetworkOutput) {
        self.add_class(trainer, file);
        let maps = [
            ("disc", &trainer.disc, &file.disc),
            ("cup", &trainer.cup, &file.cup),
            ("fovea", &trainer.fovea, &file.fovea),
        ];
        for (name, a, b) in maps {
            let (max, mean) = map_difference(a, b);
            self.series.push(format!("{name}.max"), max);
            self.series.push(format!("{name}.mean"), mean);
        }
        self.add_masks(trainer, file);
        let points = (fovea_of(trainer, &self.decoding), fovea_of(file, &self.decoding));
        match points {
            (Some(a), Some(b)) => {
                self.series.push("fovea.shift_px".into(), distance((a.x, a.y), (b.x, b.y)));
            }
            (None, None) => {}
            _ => self.series.push("fovea.only_in_one".into(), 1.0),
        }
    }

    fn add_masks(&mut self, trainer: &NetworkOutput, file: &NetworkOutput) {
        let mut refine = |name: &str, a: Mask, b: Mask| {
            let differing = a.data().iter().zip(b.data()).filter(|(a, b)| a != b).count();
            let share = differing as f64 / a.data().len().max(1) as f64;
            self.series.push(format!("{name}.pixels_differing"), share);
            let (a, b) = (a.largest_component(), b.largest_component());
            self.series.push(format!("{name}.dice"), dice(&a, &b));
            (a, b)
        };
        let decoding = &self.decoding;
        let discs = refine("disc", disc_of(trainer, decoding), disc_of(file, decoding));
        let cups = refine("cup", cup_of(trainer, decoding), cup_of(file, decoding));
        match (vcdr_of(&discs.0, &cups.0), vcdr_of(&discs.1, &cups.1)) {
            (Some(a), Some(b)) => self.series.push("vcdr.difference".into(), (a - b).abs()),
            (None, None) => {}
            _ => self.series.push("vcdr.only_in_one".into(), 1.0),
        }
    }

    /// The figures by name. For each head `max` (the largest difference of a probability on any
    /// photograph) and `mean`; for the masks the share of pixels that differ at the threshold,
    /// and Dice between the two refined masks; the difference of the vertical cup-to-disc ratios
    /// of those; for the fovea the distance in network pixels. `only_in_one` counts photographs
    /// on which only one of the two has a ratio, or a fovea.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures: BTreeMap<String, f64> =
            ["vcdr", "fovea"].map(|name| (format!("{name}.only_in_one"), 0.0)).into();
        for (name, values) in &self.series.0 {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let largest = values.iter().copied().fold(f64::NEG_INFINITY, nan_or_max);
            let least = -values.iter().map(|value| -value).fold(f64::NEG_INFINITY, nan_or_max);
            let mean_and =
                |worst| vec![(format!("{name}_mean"), mean), (format!("{name}_worst"), worst)];
            figures.extend(match name.rsplit('.').next() {
                Some("max") => vec![(name.clone(), largest)],
                Some("only_in_one") => vec![(name.clone(), values.len() as f64)],
                Some("dice") => mean_and(least),
                Some("shift_px" | "difference") => mean_and(largest),
                _ => vec![(name.clone(), mean)],
            });
        }
        figures
    }
}

/// The larger of two, or NaN when there is one: a NaN in an output must not hide behind `max`.
fn nan_or_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Largest and mean absolute difference; NaN for maps of different lengths.
fn map_difference(a: &[f32], b: &[f32]) -> (f64, f64) {
    if a.len() != b.len() || a.is_empty() {
        return (f64::NAN, f64::NAN);
    }
    let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    let (max, sum) = differences.fold((0.0, 0.0), |(max, sum), d| (nan_or_max(max, d), sum + d));
    (max, sum / a.len() as f64)
}

fn disc_of(output: &NetworkOutput, decoding: &Decoding) -> Mask {
    mask_of(&output.disc, output.side, decoding.disc_threshold)
}

fn cup_of(output: &NetworkOutput, decoding: &Decoding) -> Mask {
    mask_of(&output.cup, output.side, decoding.cup_threshold)
}

/// Empty for a map of the wrong length, whose difference is NaN anyway.
fn mask_of(map: &[f32], side: u32, threshold: f32) -> Mask {
    if map.len() != side as usize * side as usize {
        return Mask::new(side, side);
    }
    Mask::from_probabilities(map, side, side, threshold)
}

fn fovea_of(output: &NetworkOutput, decoding: &Decoding) -> Option<NetworkPoint> {
    let peak = output.fovea.iter().copied().fold(0.0, f32::max);
    if peak < decoding.fovea_min_peak {
        return None;
    }
    center_of_mass(&output.fovea, output.side, decoding.fovea_floor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SIDE: u32 = 16;

    /// A disc that is a square of `size` pixels, a cup half as high, a fovea at one pixel.
    fn output(glaucoma: f32, size: u32, fovea: (u32, u32)) -> NetworkOutput {
        let map = |inside: &dyn Fn(u32, u32) -> bool| -> Vec<f32> {
            let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
            pixels.map(|(x, y)| if inside(x, y) { 1.0 } else { 0.0 }).collect()
        };
        NetworkOutput {
            side: SIDE,
            glaucoma,
            disc: map(&|x, y| x < size && y < size),
            cup: map(&|x, y| x < size && y < size / 2),
            fovea: map(&|x, y| (x, y) == fovea),
        }
    }

    #[test]
    fn differences_by_hand() {
        let mut agreement = Agreement::new(Decoding::default());
        agreement.add(&output(0.5, 8, (3, 4)), &output(0.4, 4, (6, 8)));
        agreement.add(&output(0.5, 8, (3, 4)), &output(0.5, 8, (3, 4)));
        let figures = agreement.figures();
        let close = |name: &str, expected: f64| {
            let found = figures[name];
            assert!((found - expected).abs() < 1e-6, "{name}: {found}, expected {expected}");
        };
        close("glaucoma.max", 0.1);
        close("glaucoma.mean", 0.05);
        close("disc.max", 1.0);
        // 64 - 16 of 256 pixels differ on one photograph of two.
        close("disc.pixels_differing", 48.0 / 256.0 / 2.0);
        close("disc.dice_worst", 2.0 * 16.0 / 80.0);
        close("disc.dice_mean", (0.4 + 1.0) / 2.0);
        close("fovea.shift_px_mean", 2.5);
        close("fovea.shift_px_worst", 5.0);
        close("vcdr.difference_worst", 0.0);
        close("vcdr.only_in_one", 0.0);
    }

    #[test]
    fn a_fovea_or_ratio_in_only_one_is_counted() {
        let whole = output(0.5, 8, (3, 4));
        let mut blind = whole.clone();
        blind.fovea.fill(0.0);
        blind.cup.fill(0.0);
        let mut agreement = Agreement::new(Decoding::default());
        agreement.add(&whole, &blind);
        let figures = agreement.figures();
        assert_eq!((figures["fovea.only_in_one"], figures["vcdr.only_in_one"]), (1.0, 1.0));
        assert!(!figures.contains_key("fovea.shift_px_mean"));
    }
}
