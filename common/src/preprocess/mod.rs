//! From an upright photograph to the network's square input, and the way back.

mod field_of_view;
mod placement;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use serde::{Deserialize, Serialize};

pub use field_of_view::{FieldOfView, find_field_of_view};
pub use placement::{NativePoint, NetworkPoint, Placement};

/// What part of the photograph the network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// The square around the circular field of view, black where it leaves the photograph.
    FieldOfView,
    /// The whole photograph, squeezed into a square (the paper's framing).
    WholeImage,
}

/// How the photograph is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// `fast_image_resize` 6, `ResizeAlg::Convolution(FilterType::Bilinear)` on 8-bit RGB: a
    /// triangle as wide as the larger of two source and two target pixels, so that nothing
    /// aliases; per axis, with 8-bit values in between.
    AntialiasedBilinear,
}

/// From photograph to network input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputContract {
    /// Network pixels along each side.
    pub side: u32,
    /// What part of the photograph the network sees.
    pub framing: Framing,
    /// How it is resized.
    pub filter: ResizeFilter,
    /// The network's input is the 8-bit pixel times this.
    pub scale: f32,
}

/// A photograph made ready for the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// `side` x `side` pixels, black outside the photograph.
    pub pixels: RgbImage,
    /// Where they lie in the photograph.
    pub placement: Placement,
    /// The field of view, where one was found (looked for in either framing).
    pub field_of_view: Option<FieldOfView>,
}

/// Why a photograph cannot be made ready.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PreprocessError {
    /// The photograph has no pixels.
    #[error("preparing the photograph: it has no pixels")]
    Empty,
    /// The placement is not finite, not positive or absurdly large.
    #[error(
        "preparing the photograph: {width} x {height} native pixels cannot be placed on {side} network pixels"
    )]
    Placement {
        /// Native pixels covered horizontally.
        width: f64,
        /// Native pixels covered vertically.
        height: f64,
        /// Network pixels along each side.
        side: u32,
    },
    /// The resizing library refused.
    #[error("preparing the photograph: resizing failed: {0}")]
    Resize(String),
}

/// A region may reach this many times its photograph's longer side beyond it: more is a mistake,
/// and would only cost memory.
const MAX_REACH: f64 = 4.0;

/// Makes `photo` ready for a network: finds the field of view, cuts and resizes.
///
/// Under [`Framing::FieldOfView`] the network sees the square around the circle. Where no circle
/// is found it sees the smallest square around the whole photograph, so that there is still
/// something to measure and to show; `field_of_view` tells.
///
/// # Errors
/// When the photograph has no pixels or the contract's side is 0.
pub fn prepare(photo: &RgbImage, input: &InputContract) -> Result<Prepared, PreprocessError> {
    prepare_within(photo, find_field_of_view(photo), input)
}

/// As [`prepare`], for a photograph whose field of view has been looked for.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_within(
    photo: &RgbImage,
    field_of_view: Option<FieldOfView>,
    input: &InputContract,
) -> Result<Prepared, PreprocessError> {
    let (width, height) = (f64::from(photo.width()), f64::from(photo.height()));
    let placement = match (input.framing, &field_of_view) {
        (Framing::WholeImage, _) => {
            Placement { origin_x: 0.0, origin_y: 0.0, width, height, side: input.side }
        }
        (Framing::FieldOfView, Some(circle)) => {
            Placement::square(circle.center, 2.0 * circle.radius, input.side)
        }
        (Framing::FieldOfView, None) => {
            let center = NativePoint { x: (width - 1.0) / 2.0, y: (height - 1.0) / 2.0 };
            Placement::square(center, width.max(height), input.side)
        }
    };
    let pixels = prepare_region(photo, &placement, input.filter)?;
    Ok(Prepared { pixels, placement, field_of_view })
}

/// The part of `photo` that `placement` covers, resized to `side` x `side` pixels; black where it
/// lies outside the photograph.
///
/// # Errors
/// When the photograph has no pixels, or the placement is not finite, empty, or reaches beyond
/// the photograph by more than four times its longer side.
pub fn prepare_region(
    photo: &RgbImage,
    placement: &Placement,
    filter: ResizeFilter,
) -> Result<RgbImage, PreprocessError> {
    if photo.width() == 0 || photo.height() == 0 {
        return Err(PreprocessError::Empty);
    }
    let Placement { origin_x, origin_y, width, height, side } = *placement;
    let longer = f64::from(photo.width().max(photo.height()));
    let reach = MAX_REACH * longer;
    let sound = width > 0.0
        && height > 0.0
        && side > 0
        && origin_x >= -reach
        && origin_y >= -reach
        && origin_x + width <= longer + reach
        && origin_y + height <= longer + reach;
    if !sound {
        return Err(PreprocessError::Placement { width, height, side });
    }
    // The filter looks this far beyond the region's edge.
    let per_pixel = width.max(height) / f64::from(side);
    let margin = per_pixel.max(1.0).ceil() + 1.0;
    let left = (origin_x - margin).floor();
    let top = (origin_y - margin).floor();
    let right = (origin_x + width + margin).ceil();
    let bottom = (origin_y + height + margin).ceil();
    let inside = left >= 0.0
        && top >= 0.0
        && right <= f64::from(photo.width())
        && bottom <= f64::from(photo.height());
    let crop = (origin_x, origin_y, width, height);
    // What fills the photograph exactly meets only its own edge; no black may bleed in.
    let whole = crop == (0.0, 0.0, f64::from(photo.width()), f64::from(photo.height()));
    if inside || whole {
        return resize(photo, crop, (side, side), filter);
    }
    let canvas = cut(photo, left as i64, top as i64, (right - left) as u32, (bottom - top) as u32);
    resize(&canvas, (origin_x - left, origin_y - top, width, height), (side, side), filter)
}

/// The network's input: channel, row, column; red first; each 8-bit value times `scale`.
#[must_use]
pub fn to_input(pixels: &RgbImage, scale: f32) -> Vec<f32> {
    let plane = pixels.width() as usize * pixels.height() as usize;
    let mut input = vec![0.0; 3 * plane];
    let (red, rest) = input.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let targets = red.iter_mut().zip(green).zip(blue);
    for (pixel, ((r, g), b)) in pixels.as_raw().chunks_exact(3).zip(targets) {
        *r = f32::from(pixel[0]) * scale;
        *g = f32::from(pixel[1]) * scale;
        *b = f32::from(pixel[2]) * scale;
    }
    input
}

/// `width` x `height` pixels of `photo` from (`left`, `top`), black outside it.
fn cut(photo: &RgbImage, left: i64, top: i64, width: u32, height: u32) -> RgbImage {
    let mut canvas = RgbImage::new(width, height);
    let x0 = left.clamp(0, i64::from(photo.width()));
    let x1 = (left + i64::from(width)).clamp(x0, i64::from(photo.width()));
    let y0 = top.clamp(0, i64::from(photo.height()));
    let y1 = (top + i64::from(height)).clamp(y0, i64::from(photo.height()));
    let length = (x1 - x0) as usize * 3;
    let (from_stride, to_stride) = (photo.width() as usize * 3, width as usize * 3);
    let source = photo.as_raw();
    let target: &mut [u8] = &mut canvas;
    for y in y0..y1 {
        let from = y as usize * from_stride + x0 as usize * 3;
        let to = (y - top) as usize * to_stride + (x0 - left).max(0) as usize * 3;
        if length > 0 {
            target[to..to + length].copy_from_slice(&source[from..from + length]);
        }
    }
    canvas
}

/// `photo` with at most `longest` pixels (at least 1) on its longer side, in its own proportions: what a screen or a
/// page can show of it.
///
/// # Errors
/// When the photograph has no pixels.
pub fn reduce(photo: &RgbImage, longest: u32) -> Result<RgbImage, PreprocessError> {
    let (width, height) = photo.dimensions();
    if width == 0 || height == 0 {
        return Err(PreprocessError::Empty);
    }
    let scale = f64::from(longest.max(1)) / f64::from(width.max(height));
    if scale >= 1.0 {
        return Ok(photo.clone());
    }
    let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let whole = (0.0, 0.0, f64::from(width), f64::from(height));
    resize(photo, whole, (side(width), side(height)), ResizeFilter::AntialiasedBilinear)
}

/// Resizes the part (left, top, width, height) of `photo` to so many pixels across and down.
fn resize(
    photo: &RgbImage,
    (left, top, width, height): (f64, f64, f64, f64),
    (across, down): (u32, u32),
    filter: ResizeFilter,
) -> Result<RgbImage, PreprocessError> {
    let ResizeFilter::AntialiasedBilinear = filter;
    let failed = |error: &dyn std::fmt::Display| PreprocessError::Resize(error.to_string());
    // Typed, so that the filter is compiled for this one kind of pixel and not for all twelve.
    let source = TypedImageRef::<U8x3>::from_buffer(photo.width(), photo.height(), photo.as_raw())
        .map_err(|error| failed(&error))?;
    let mut pixels = vec![0; across as usize * down as usize * 3];
    let mut target = TypedImage::<U8x3>::from_buffer(across, down, &mut pixels)
        .map_err(|error| failed(&error))?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(left, top, width, height);
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|error| failed(&error))?;
    RgbImage::from_raw(across, down, pixels)
        .ok_or_else(|| failed(&"the resized picture has another size"))
}

#[cfg(test)]
mod tests;
