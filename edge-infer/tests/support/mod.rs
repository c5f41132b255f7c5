//! What several tests share: the stand-in model and a made-up photograph.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod camp;

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

/// The stand-in model, which finds disc, cup and fovea by colour arithmetic.
pub fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/colour_rules.onnx")
}

/// Where things are in [`eye`], in its own pixels.
pub const EYE_SIDE: u32 = 600;
/// Centre and radius of the disc.
pub const EYE_DISC: (f64, f64, f64) = (420.0, 300.0, 42.0);
/// Centre and radius of the cup.
pub const EYE_CUP: (f64, f64, f64) = (420.0, 300.0, 21.0);
/// The fovea.
pub const EYE_FOVEA: (f64, f64) = (230.0, 318.0);

/// A plain made-up right eye: field of view, disc, cup, fovea, and vessels as fine detail.
pub fn eye() -> RgbImage {
    let center = f64::from(EYE_SIDE - 1) / 2.0;
    RgbImage::from_fn(EYE_SIDE, EYE_SIDE, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        if (x - center).hypot(y - center) > 290.0 {
            return Rgb([0, 0, 0]);
        }
        let inside = |(cx, cy, radius): (f64, f64, f64)| (x - cx).hypot(y - cy) < radius;
        let to_fovea = (x - EYE_FOVEA.0).hypot(y - EYE_FOVEA.1);
        // Arcades that open towards the fovea, each with finer ones beside it.
        let along = (EYE_DISC.0 - x) / 100.0;
        let arcade = (y - EYE_DISC.1).abs() - 95.0 * along.max(0.0).sqrt();
        let vessel = x < EYE_DISC.0 && (arcade.rem_euclid(34.0) < 2.6) && to_fovea > 70.0;
        let color = if inside(EYE_CUP) {
            [250, 225, 170]
        } else if inside(EYE_DISC) {
            [240, 180, 100]
        } else if vessel {
            [150, 45, 30]
        } else {
            let dark = 60.0 * (-(to_fovea / 45.0).powi(2)).exp();
            [200 - dark as u8, 95 - (dark * 0.7) as u8, 50]
        };
        Rgb(color)
    })
}
