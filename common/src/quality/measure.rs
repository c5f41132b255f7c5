//! The numbers a photograph's quality is judged by, each with its definition.
//!
//! All are taken on a copy of the field of view that is [`SIDE`] pixels wide, so that they do not
//! depend on the camera's resolution, and only inside [`INNER_RADIUS`] of the field's radius, where
//! neither the rim nor the camera's notch reaches. These definitions belong to the limits in the
//! manifest: a change here makes every released limit mean something else.

use crate::preprocess::{
    FieldOfView, NativePoint, Placement, PreprocessError, ResizeFilter, prepare_region,
};
use image::RgbImage;

/// Width of the working copy of the field of view in pixels.
pub const SIDE: u32 = 512;
/// Share of the field's radius inside which is measured.
pub const INNER_RADIUS: f64 = 0.85;
/// Working pixels left out beside the photograph's own edge, where resizing mixes in black.
const EDGE: usize = 10;
/// The surround begins at this many radii: clear of the rim's glow.
const SURROUND_FROM: f64 = 1.06;
/// Less than this share of the photograph is no surround to judge by.
const SURROUND_SHARE: f64 = 0.01;
/// A working pixel brighter than this in any channel is lit.
const LIT: u8 = 8;
/// A working row or column with a smaller share of lit pixels is a black bar.
const BAR_SHARE: f64 = 0.1;
/// Green at or above this is saturated (0 to 1). Not red: many good photographs show it at its end.
const SATURATED: f32 = 0.9;
/// Luma (Rec. 601) below this is dark (0 to 1).
const DARK: f32 = 0.08;
/// Standard deviations in working pixels of the two Gaussians that bound what counts as detail:
/// below the first is noise, above the second is illumination.
const NOISE_SIGMA: f32 = 1.5;
const ILLUMINATION_SIGMA: f32 = 8.0;

/// What was measured of a photograph.
#[derive(Debug, Clone, PartialEq)]
pub struct Measures {
    /// Mean of the brightest channel over the whole photograph, 0 to 1.
    pub brightness: f64,
    /// What was measured inside the field of view, where there is one.
    pub field: Option<FieldMeasures>,
}

/// What was measured inside the field of view.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldMeasures {
    /// Radius of the field over half the shorter side of the photograph.
    pub radius_share: f64,
    /// Mean of the brightest channel in the photograph outside the field, 0 to 1; 0 where hardly any
    /// of the photograph lies outside.
    pub surround: f64,
    /// Share of the field's circle that lies inside the photograph, 0 to 1.
    pub visible: f64,
    /// How round the bright field is, 0 to 1.
    pub circularity: f64,
    /// Standard deviation of green's Laplacian over that of green's local contrast: the share of
    /// fine detail in all detail, which blur lowers and exposure leaves as it is. Green is smoothed
    /// by a Gaussian of 1.5 working pixels before the Laplacian; local contrast is green less its
    /// Gaussian of 8.
    pub focus: f64,
    /// Standard deviation of green's local contrast over green's mean.
    pub contrast: f64,
    /// Mean luma (Rec. 601), 0 to 1.
    pub brightness: f64,
    /// Share of pixels whose green is at least 0.9.
    pub saturated_share: f64,
    /// Share of pixels whose luma is below 0.08.
    pub dark_share: f64,
    /// Mean of (red - blue) over the brightest channel: 0 for grey, towards 1 for red to orange,
    /// negative for blue.
    pub redness: f64,
    /// Share of pixels whose red exceeds green by 5 % and blue by 10 %.
    pub warm_share: f64,
}

/// Measures a photograph. `field` is its field of view, where one was found.
///
/// # Errors
/// When the working copy cannot be made.
pub fn measure(photo: &RgbImage, field: Option<&FieldOfView>) -> Result<Measures, PreprocessError> {
    let field = match field {
        Some(field) => measure_field(photo, field)?,
        None => None,
    };
    let (brightness, _) = mean_brightness(photo, |_, _| true);
    Ok(Measures { brightness, field })
}

/// Mean of the brightest channel, 0 to 1, over those pixels of a grid of about 100 000 that are
/// `wanted`, and their share of the grid.
fn mean_brightness(photo: &RgbImage, wanted: impl Fn(u32, u32) -> bool) -> (f64, f64) {
    let pixels = f64::from(photo.width()) * f64::from(photo.height());
    let step = ((pixels / 1e5).sqrt().ceil() as usize).max(1);
    let (mut sum, mut count, mut grid) = (0u64, 0u64, 0u64);
    for y in (0..photo.height()).step_by(step) {
        for x in (0..photo.width()).step_by(step) {
            grid += 1;
            if wanted(x, y) {
                sum += u64::from(brightest(photo.get_pixel(x, y).0));
                count += 1;
            }
        }
    }
    (sum as f64 / (count.max(1) as f64 * 255.0), count as f64 / grid.max(1) as f64)
}

/// Mean brightness of the photograph outside the field, where enough of it lies there to tell.
fn surround(photo: &RgbImage, field: &FieldOfView) -> f64 {
    let radius = SURROUND_FROM * field.radius;
    let (mean, share) = mean_brightness(photo, |x, y| {
        (f64::from(x) - field.center.x).hypot(f64::from(y) - field.center.y) > radius
    });
    if share < SURROUND_SHARE { 0.0 } else { mean }
}

fn measure_field(
    photo: &RgbImage,
    field: &FieldOfView,
) -> Result<Option<FieldMeasures>, PreprocessError> {
    let placement = Placement::square(field.center, 2.0 * field.radius, SIDE);
    let working = prepare_region(photo, &placement, ResizeFilter::AntialiasedBilinear)?;
    let inside = measured_pixels(&working, photo, &placement);
    if inside.is_empty() {
        return Ok(None);
    }
    let green: Vec<f32> = working.pixels().map(|pixel| f32::from(pixel.0[1]) / 255.0).collect();
    let (focus, contrast) = focus_and_contrast(&green, &inside);
    let colour = colour_measures(&working, &inside);
    let shorter = f64::from(photo.width().min(photo.height()));
    Ok(Some(FieldMeasures {
        radius_share: 2.0 * field.radius / shorter,
        surround: surround(photo, field),
        visible: field.visible,
        circularity: field.circularity,
        focus,
        contrast,
        brightness: colour.luma,
        saturated_share: colour.saturated,
        dark_share: colour.dark,
        redness: colour.redness,
        warm_share: colour.warm,
    }))
}

/// Indices of the working pixels that are measured: inside the shrunken circle, inside the
/// photograph, and not in a black bar that cuts the field off.
fn measured_pixels(working: &RgbImage, photo: &RgbImage, placement: &Placement) -> Vec<usize> {
    let side = SIDE as usize;
    let last =
        NativePoint { x: f64::from(photo.width()) - 1.0, y: f64::from(photo.height()) - 1.0 };
    let first = placement.to_network(NativePoint { x: 0.0, y: 0.0 });
    let last = placement.to_network(last);
    let columns = lit_range(working, |across, along| (across, along));
    let rows = lit_range(working, |across, along| (along, across));
    let bounds = |range: (usize, usize), low: f64, high: f64| {
        let low = (low.ceil().max(0.0) as usize).max(range.0);
        let high = (high.floor().max(0.0) as usize).min(range.1);
        // The circle's own edge needs no further margin, a cut does.
        let low = if low > 2 { low + EDGE } else { low };
        let high = if high + 3 < side { high.saturating_sub(EDGE) } else { high };
        low..=high
    };
    let columns = bounds(columns, first.x, last.x);
    let rows = bounds(rows, first.y, last.y);
    let center = (side as f64 - 1.0) / 2.0;
    let radius = INNER_RADIUS * side as f64 / 2.0;
    let mut inside = Vec::new();
    for y in rows {
        for x in columns.clone() {
            if (x as f64 - center).hypot(y as f64 - center) <= radius {
                inside.push(y * side + x);
            }
        }
    }
    inside
}

/// First and last working row (or column, as `position` maps line and place to x and y) that is
/// lit over more than [`BAR_SHARE`].
fn lit_range(working: &RgbImage, position: impl Fn(u32, u32) -> (u32, u32)) -> (usize, usize) {
    let lit = |line: u32| {
        let count = (0..SIDE)
            .filter(|&place| {
                let (x, y) = position(line, place);
                brightest(working.get_pixel(x, y).0) > LIT
            })
            .count();
        count as f64 > BAR_SHARE * f64::from(SIDE)
    };
    let first = (0..SIDE).find(|&line| lit(line)).unwrap_or(SIDE);
    let last = (0..SIDE).rev().find(|&line| lit(line)).unwrap_or(0);
    (first as usize, last as usize)
}

/// Sharpness and contrast of the working copy's green plane over the pixels `inside`.
fn focus_and_contrast(green: &[f32], inside: &[usize]) -> (f64, f64) {
    let side = SIDE as usize;
    let smooth = gaussian(green, NOISE_SIGMA);
    let illumination = gaussian(green, ILLUMINATION_SIGMA);
    let laplacian = inside.iter().map(|&at| {
        let (x, y) = (at % side, at / side);
        // Inside lies well away from the working copy's border, except where the field's own edge
        // was cut there: the nearest pixel stands in.
        let left = smooth[y * side + x.saturating_sub(1)];
        let right = smooth[y * side + (x + 1).min(side - 1)];
        let above = smooth[y.saturating_sub(1) * side + x];
        let below = smooth[(y + 1).min(side - 1) * side + x];
        f64::from(left + right + above + below - 4.0 * smooth[at])
    });
    let detail = inside.iter().map(|&at| f64::from(green[at] - illumination[at]));
    let sharpness = deviation(laplacian);
    let local = deviation(detail);
    let mean = inside.iter().map(|&at| f64::from(green[at])).sum::<f64>() / inside.len() as f64;
    // An even picture has no detail at all: out of focus and without contrast.
    let ratio = |part: f64, whole: f64| if whole > 1e-9 { part / whole } else { 0.0 };
    (ratio(sharpness, local), ratio(local, mean))
}

struct ColourMeasures {
    luma: f64,
    saturated: f64,
    dark: f64,
    redness: f64,
    warm: f64,
}

fn colour_measures(working: &RgbImage, inside: &[usize]) -> ColourMeasures {
    let side = SIDE as usize;
    let mut sums = ColourMeasures { luma: 0.0, saturated: 0.0, dark: 0.0, redness: 0.0, warm: 0.0 };
    for &at in inside {
        let pixel = working.get_pixel((at % side) as u32, (at / side) as u32).0;
        let [r, g, b] = pixel.map(|value| f32::from(value) / 255.0);
        let luma = 0.299 * r + 0.587 * g + 0.114 * b;
        let largest = r.max(g).max(b);
        let share = |holds: bool| if holds { 1.0 } else { 0.0 };
        sums.luma += f64::from(luma);
        sums.saturated += share(g >= SATURATED);
        sums.dark += share(luma < DARK);
        // The small constant keeps the noise of black pixels from counting as colour.
        sums.redness += f64::from((r - b) / (largest + 0.02));
        sums.warm += share(r > 1.05 * g && r > 1.1 * b);
    }
    let count = inside.len() as f64;
    ColourMeasures {
        luma: sums.luma / count,
        saturated: sums.saturated / count,
        dark: sums.dark / count,
        redness: sums.redness / count,
        warm: sums.warm / count,
    }
}

fn brightest(pixel: [u8; 3]) -> u8 {
    pixel[0].max(pixel[1]).max(pixel[2])
}

/// Population standard deviation.
fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

/// The [`SIDE`] x [`SIDE`] plane convolved with a Gaussian cut at three deviations, edges repeated.
fn gaussian(plane: &[f32], sigma: f32) -> Vec<f32> {
    let side = SIDE as usize;
    let reach = (3.0 * sigma).ceil() as usize;
    let mut kernel: Vec<f32> = (0..=2 * reach)
        .map(|k| {
            let distance = k as f32 - reach as f32;
            (-distance * distance / (2.0 * sigma * sigma)).exp()
        })
        .collect();
    let sum: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|weight| *weight /= sum);

    let mut across = vec![0.0f32; side * side];
    let mut padded = vec![0.0f32; side + 2 * reach];
    for (source, target) in plane.chunks_exact(side).zip(across.chunks_exact_mut(side)) {
        padded[..reach].fill(source[0]);
        padded[reach..reach + side].copy_from_slice(source);
        padded[reach + side..].fill(source[side - 1]);
        for (k, &weight) in kernel.iter().enumerate() {
            for (value, &input) in target.iter_mut().zip(&padded[k..k + side]) {
                *value += weight * input;
            }
        }
    }
    let mut both = vec![0.0f32; side * side];
    for (y, target) in both.chunks_exact_mut(side).enumerate() {
        for (k, &weight) in kernel.iter().enumerate() {
            let row = (y + k).saturating_sub(reach).min(side - 1);
            for (value, &input) in target.iter_mut().zip(&across[row * side..(row + 1) * side]) {
                *value += weight * input;
            }
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// A round field of the given colour with a fine pattern on it.
    fn disc(color: [u8; 3], pattern: u8) -> (RgbImage, FieldOfView) {
        let photo = RgbImage::from_fn(600, 600, |x, y| {
            let inside = (f64::from(x) - 299.5).hypot(f64::from(y) - 299.5) < 290.0;
            let dark = (x / 4 + y / 4) % 2 == 0;
            match (inside, dark) {
                (false, _) => Rgb([0; 3]),
                (true, false) => Rgb(color),
                (true, true) => Rgb(color.map(|value| value.saturating_sub(pattern))),
            }
        });
        let center = NativePoint { x: 299.5, y: 299.5 };
        let field = FieldOfView { center, radius: 290.0, circularity: 1.0, visible: 1.0 };
        (photo, field)
    }

    fn measured(photo: &RgbImage, field: &FieldOfView) -> FieldMeasures {
        measure(photo, Some(field))
            .ok()
            .and_then(|measures| measures.field)
            .unwrap_or_else(|| panic!("a field was measured"))
    }

    #[test]
    fn an_even_field_has_its_own_levels_and_no_detail() {
        let (photo, field) = disc([204, 102, 51], 0);
        let found = measured(&photo, &field);
        assert!((found.brightness - (0.299 * 0.8 + 0.587 * 0.4 + 0.114 * 0.2)).abs() < 0.005);
        assert!((found.redness - (0.8 - 0.2) / 0.82).abs() < 0.005);
        assert!((found.radius_share - 290.0 / 300.0).abs() < 1e-9);
        assert_eq!((found.warm_share, found.dark_share, found.saturated_share), (1.0, 0.0, 0.0));
        assert!(found.contrast < 1e-3);
    }

    #[test]
    fn blur_lowers_focus_and_darkness_does_not() {
        let (photo, field) = disc([204, 102, 51], 40);
        let sharp = measured(&photo, &field);
        let blurred = measured(&image::imageops::fast_blur(&photo, 4.0), &field);
        assert!(blurred.focus < 0.7 * sharp.focus, "{} {}", blurred.focus, sharp.focus);
        let mut dark = photo;
        dark.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| value / 2));
        let dark = measured(&dark, &field);
        assert!((dark.focus / sharp.focus - 1.0).abs() < 0.05);
        assert!((dark.contrast / sharp.contrast - 1.0).abs() < 0.05);
    }

    #[test]
    fn black_bars_and_the_frame_are_not_measured() {
        let (mut photo, field) = disc([204, 102, 51], 0);
        for y in 0..600 {
            for x in 0..600 {
                if !(100..500).contains(&y) {
                    photo.put_pixel(x, y, Rgb([0; 3]));
                }
            }
        }
        let found = measured(&photo, &field);
        assert_eq!(found.dark_share, 0.0);
        // Resampling softens the cut by a hundredth; a bar that was measured would give a third.
        assert!(found.contrast < 0.03, "{}", found.contrast);
    }

    #[test]
    fn a_field_of_nothing_is_none() {
        let photo = RgbImage::new(600, 600);
        let (_, field) = disc([0; 3], 0);
        let measures = measure(&photo, Some(&field));
        assert_eq!(measures, Ok(Measures { brightness: 0.0, field: None }));
        assert_eq!(measure(&photo, None), Ok(Measures { brightness: 0.0, field: None }));
    }
}
