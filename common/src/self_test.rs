//! The self-test that a bundle carries: a picture that every machine draws alike, and what the
//! exported file answered for it. A device that answers otherwise computes another model than the
//! one that was certified.

use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::photo::sha256_hex;
use crate::reading::NetworkOutput;

/// Where maps are sampled: squares of the plane (left, top, side), each at the middles of
/// [`GRID`] x [`GRID`] cells. The whole picture, round the disc, round the fovea.
const SAMPLED: [(usize, usize, usize); 3] = [(0, 0, 1024), (590, 400, 200), (310, 435, 200)];
/// Cells along each side of a sampled square.
const GRID: usize = 4;
/// Values sampled from each map.
pub const SAMPLES: usize = SAMPLED.len() * GRID * GRID;

/// What a file answered for [`picture`], and how far another engine's answer may lie from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// SHA-256 of the picture's bytes (row major, RGB), in hexadecimal.
    pub picture: String,
    /// The classifier's probability.
    pub glaucoma: f32,
    /// The disc map.
    pub disc: MapFigures,
    /// The cup map.
    pub cup: MapFigures,
    /// The fovea map.
    pub fovea: MapFigures,
    /// Largest differences allowed.
    pub tolerance: Tolerance,
}

/// Figures of one map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapFigures {
    /// Mean of all its probabilities.
    pub mean: f32,
    /// Its probabilities at [`SAMPLES`] places: square by square, row by row.
    pub samples: Vec<f32>,
}

/// Largest differences allowed, all of probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Of the classifier's probability.
    pub glaucoma: f32,
    /// Of a map's mean.
    pub mean: f32,
    /// Of one sampled value.
    pub sample: f32,
}

/// Why a self-test did not pass.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SelfTestError {
    /// This program draws another picture than the exporter drew.
    #[error("self-test: the picture drawn here is not the one that the bundle was tested with")]
    Picture,
    /// A map of another size than `side * side`, or another number of samples than is taken here.
    #[error("self-test: {map} holds {found} values, not {expected}")]
    Size {
        /// The map.
        map: &'static str,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// A figure that is off, or no number.
    #[error("self-test: {figure} is {found}, the bundle says {expected} within {tolerance}")]
    Off {
        /// Which figure, such as `glaucoma`, `disc.mean` or `cup.samples[7]`.
        figure: String,
        /// Its value here.
        found: f32,
        /// Its value when the bundle was exported.
        expected: f32,
        /// The difference allowed.
        tolerance: f32,
    },
}

impl SelfTest {
    /// The figures of `output`, a file's answer for [`picture`]`(output.side)`.
    ///
    /// # Errors
    /// A map of the wrong size.
    pub fn record(output: &NetworkOutput, tolerance: Tolerance) -> Result<Self, SelfTestError> {
        let [disc, cup, fovea] = maps(output);
        Ok(Self {
            picture: sha256_hex(picture(output.side).as_raw()),
            glaucoma: output.glaucoma,
            disc: figures(disc, output.side)?,
            cup: figures(cup, output.side)?,
            fovea: figures(fovea, output.side)?,
            tolerance,
        })
    }

    /// Whether `output`, an engine's answer for [`picture`]`(output.side)`, is that of the export.
    ///
    /// # Errors
    /// The first figure that is off: the probability, then each map's mean and samples.
    pub fn check(&self, output: &NetworkOutput) -> Result<(), SelfTestError> {
        let Tolerance { glaucoma, mean, sample } = self.tolerance;
        let found = Self::record(output, self.tolerance)?;
        if found.picture != self.picture {
            return Err(SelfTestError::Picture);
        }
        near(|| "glaucoma".into(), found.glaucoma, self.glaucoma, glaucoma)?;
        for ((map, found), expected) in
            found.named().into_iter().zip([&self.disc, &self.cup, &self.fovea])
        {
            near(|| format!("{map}.mean"), found.mean, expected.mean, mean)?;
            if expected.samples.len() != SAMPLES {
                let held = expected.samples.len();
                return Err(SelfTestError::Size { map, found: held, expected: SAMPLES });
            }
            for (at, (&found, &expected)) in found.samples.iter().zip(&expected.samples).enumerate()
            {
                near(|| format!("{map}.samples[{at}]"), found, expected, sample)?;
            }
        }
        Ok(())
    }

    fn named(&self) -> [(&'static str, &MapFigures); 3] {
        [("disc", &self.disc), ("cup", &self.cup), ("fovea", &self.fovea)]
    }

    /// Every probability and tolerance by its path in the manifest.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, f32)> {
        let Tolerance { glaucoma, mean, sample } = self.tolerance;
        let maps = [&self.disc, &self.cup, &self.fovea].into_iter();
        let maps = maps.flat_map(|map| map.samples.iter().copied().chain([map.mean]));
        let tolerances = [glaucoma, mean, sample].map(|value| ("self_test.tolerance", value));
        let first = [("self_test.glaucoma", self.glaucoma)].into_iter();
        first.chain(maps.map(|value| ("self_test.maps", value))).chain(tolerances)
    }
}

fn maps(output: &NetworkOutput) -> [(&'static str, &[f32]); 3] {
    [("disc", &output.disc), ("cup", &output.cup), ("fovea", &output.fovea)]
}

fn figures((map, values): (&'static str, &[f32]), side: u32) -> Result<MapFigures, SelfTestError> {
    let side = side as usize;
    if values.len() != side * side || side == 0 {
        return Err(SelfTestError::Size { map, found: values.len(), expected: side * side });
    }
    let pixel = |start: usize, extent: usize, cell: usize| {
        (start + (2 * cell + 1) * extent / (2 * GRID)) * side / PLANE as usize
    };
    let places = SAMPLED.into_iter().flat_map(|(left, top, extent)| {
        (0..GRID * GRID).map(move |cell| {
            pixel(top, extent, cell / GRID) * side + pixel(left, extent, cell % GRID)
        })
    });
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    Ok(MapFigures {
        mean: (sum / values.len() as f64) as f32,
        samples: places.map(|place| values[place]).collect(),
    })
}

/// A NaN on either side is not near anything.
fn near(
    figure: impl FnOnce() -> String,
    found: f32,
    expected: f32,
    tolerance: f32,
) -> Result<(), SelfTestError> {
    if (found - expected).abs() <= tolerance {
        return Ok(());
    }
    Err(SelfTestError::Off { figure: figure(), found, expected, tolerance })
}

/// The width of the plane in which the picture is composed.
const PLANE: i64 = 1024;

/// A fundus-like picture of `side * side` pixels: a shaded round field with a bright disc and cup, a
/// dark fovea, four vessels and a little grain. Integers alone, so that it is the same everywhere.
#[must_use]
pub fn picture(side: u32) -> RgbImage {
    let to_plane = |at: u32| (2 * i64::from(at) + 1) * PLANE / (2 * i64::from(side.max(1)));
    RgbImage::from_fn(side, side, |x, y| {
        let grain = i64::from(hash(x, y) % 7) - 3;
        let channels = colour(to_plane(x), to_plane(y));
        Rgb(channels.map(|level| if level == 0 { 0 } else { (level + grain).clamp(0, 255) as u8 }))
    })
}

/// Red, green and blue at a point of the plane; zero outside the field of view.
fn colour(x: i64, y: i64) -> [i64; 3] {
    const FIELD: i64 = 490;
    let from_middle = square(x - 512) + square(y - 512);
    if from_middle > square(FIELD) {
        return [0; 3];
    }
    let shade = 40 * from_middle / square(FIELD);
    let disc = hill((x - 690, y - 500), (82, 92), 90);
    let cup = hill((x - 695, y - 502), (44, 50), 70);
    let fovea = hill((x - 410, y - 535), (95, 95), 45);
    let vessel = if is_vessel(x, y) { 38 } else { 0 };
    [
        168 - shade + disc / 2 + cup / 4 - fovea - vessel,
        84 - shade / 2 + disc + cup / 2 - fovea / 2 - vessel,
        46 - shade / 4 + disc / 2 + cup - fovea / 3 - vessel / 2,
    ]
    .map(|level| level.max(1))
}

/// An elliptic hill of the given half axes and height: steep at its edge, flat on top.
fn hill((dx, dy): (i64, i64), (width, height): (i64, i64), top: i64) -> i64 {
    let inside = PLANE - PLANE * square(dx) / square(width) - PLANE * square(dy) / square(height);
    (4 * top * inside.max(0) / PLANE).min(top)
}

/// Two pairs of arcs that leave the disc upwards and downwards and bend towards the fovea.
fn is_vessel(x: i64, y: i64) -> bool {
    [(300, 9), (620, 6)].into_iter().any(|(bend, half_width)| {
        let arc = 690 - square(y - 500) / bend;
        (x - arc).abs() < half_width * (1 + (y - 500).abs() / 160)
    })
}

fn square(value: i64) -> i64 {
    value * value
}

/// A well mixed number for each pixel (the finaliser of MurmurHash3).
fn hash(x: u32, y: u32) -> u32 {
    let mut mixed = x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b);
    mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85eb_ca6b);
    mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
    mixed ^ (mixed >> 16)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::preprocess::find_field_of_view;

    const TIGHT: Tolerance = Tolerance { glaucoma: 1e-4, mean: 1e-4, sample: 1e-3 };

    fn output(side: u32) -> NetworkOutput {
        let count = side * side;
        let map = |factor: u32| (0..count).map(|at| (at * factor % 97) as f32 / 97.0).collect();
        NetworkOutput { side, glaucoma: 0.25, disc: map(3), cup: map(5), fovea: map(11) }
    }

    /// The picture is part of the contract: another one would fail every bundle in the field. Hashes by
    /// tests/golden/common/make_self_test.py.
    #[test]
    fn the_picture_is_the_same_for_ever() {
        let hash = |side| sha256_hex(picture(side).as_raw());
        assert_eq!(hash(192), "49ed1db3d8ffe7aa4c5ce9bba13195517442e9da5d9479662854941f413918bd");
        assert_eq!(hash(256), "84ed213d8a027b0193ac2e32ed96578ca19351f714595947deaa60f8d1fee10b");
    }

    #[test]
    fn the_picture_looks_like_a_fundus() {
        let picture = picture(256);
        let field = find_field_of_view(&picture).unwrap();
        assert!((field.radius - 122.5).abs() < 3.0, "{field:?}");
        let green = |x, y| picture.get_pixel(x, y).0[1];
        assert!(green(172, 125) > 2 * green(130, 60), "the disc is bright");
        assert!(green(102, 133) < green(130, 60), "the fovea is dark");
        assert_eq!(picture.get_pixel(2, 2).0, [0, 0, 0]);
    }

    #[test]
    fn the_same_answer_passes_and_the_first_figure_that_is_off_is_named() {
        let exported = output(48);
        let test = SelfTest::record(&exported, TIGHT).unwrap();
        assert_eq!(test.check(&exported), Ok(()));
        let refused = |change: &dyn Fn(&mut NetworkOutput)| {
            let mut other = exported.clone();
            change(&mut other);
            test.check(&other).unwrap_err().to_string()
        };
        let error = refused(&|output| output.glaucoma += 2e-4);
        assert!(error.contains("glaucoma is 0.2502, the bundle says 0.25"), "{error}");
        let error = refused(&|output| output.glaucoma = f32::NAN);
        assert!(error.contains("glaucoma is NaN"), "{error}");
        let error = refused(&|output| output.cup.iter_mut().for_each(|value| *value += 2e-4));
        assert!(error.contains("cup.mean"), "{error}");
        // The whole picture's second row, third column: plane (640, 384), pixel (30, 18).
        let error = refused(&|output| output.fovea[18 * 48 + 30] += 0.01);
        assert!(error.contains("fovea.samples[6]"), "{error}");
        // The disc's first: plane (615, 425), pixel (28, 19).
        let error = refused(&|output| output.cup[19 * 48 + 28] += 0.01);
        assert!(error.contains("cup.samples[16]"), "{error}");
        let error = refused(&|output| output.disc.truncate(2303));
        assert!(error.contains("disc holds 2303 values, not 2304"), "{error}");
        let other = output(32);
        assert_eq!(test.check(&other), Err(SelfTestError::Picture));
    }

    #[test]
    fn a_record_that_was_tampered_with_is_refused() {
        let exported = output(48);
        let test = SelfTest::record(&exported, TIGHT).unwrap();
        let mut fewer = test.clone();
        fewer.cup.samples.pop();
        let error = fewer.check(&exported).unwrap_err();
        assert_eq!(error, SelfTestError::Size { map: "cup", found: 47, expected: 48 });
        let mut nothing = test;
        nothing.disc.mean = f32::NAN;
        assert!(nothing.check(&exported).unwrap_err().to_string().contains("disc.mean"));
    }
}
